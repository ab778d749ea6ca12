"""Metadata documents: from JSON bytes to checked pieces. All of it is input from outside, so all of it is checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ._errors import Place, excerpt

MAX_DIMS: Final = 32  # RINGIO_MAX_DIMS of the C core; numpy 1 had the same limit
MAX_LENGTH: Final = 2**63 - 1  # coordinates are int64 everywhere


def parse_json(data: bytes | bytearray | memoryview, path: str) -> dict[str, Any]:
    """Parse the bytes of a metadata document.

    The tokens ``NaN``, ``Infinity`` and ``-Infinity``, which JSON does not have but zarr-python 2 wrote, are taken, and
    of members with one name the last one, as zarr-python does.

    Args:
        data: the bytes of the file.
        path: where they are from, for the message.

    Returns:
        The JSON object.

    Raises:
        MetadataError: this is not JSON, or not an object.

    >>> parse_json(b'{"zarr_format": 2}', ".zgroup")
    {'zarr_format': 2}
    """
    import json  # late: it takes 2 ms, and who only imports this package has no use for it

    try:
        document = json.loads(bytes(data))
    except (ValueError, RecursionError) as error:  # also: not UTF-8, integers of thousands of digits
        raise Place(path).error(f"not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise Place(path).error(f"expected a JSON object, got {excerpt(document)}")
    return document


def copied(value: Any) -> Any:
    """A JSON value whose lists and objects are new ones; the same where they are nested a thousand deep."""
    try:
        return _copied(value)
    except RecursionError:
        return value


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def require(document: Mapping[str, Any], key: str, place: Place) -> Any:
    """The value of a key that must be there."""
    if key not in document:
        raise place.error(f"required key {key!r} is missing")
    return document[key]


def parse_object(value: object, place: Place) -> dict[str, Any]:
    """A JSON object; null counts as an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise place.error(f"expected an object, got {excerpt(value)}")
    return dict(value)


def parse_int(value: object, place: Place, *, minimum: int) -> int:
    """An integer from ``minimum`` to 2**63 - 1; no bool, float or string."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise place.error(f"expected an integer, got {excerpt(value)}")
    if not minimum <= value <= MAX_LENGTH:
        raise place.error(f"expected an integer from {minimum} to 2**63 - 1, got {excerpt(value)}")
    return value


def parse_shape(value: object, place: Place, *, minimum: int = 0, dim_count: int | None = None) -> tuple[int, ...]:
    """A list of lengths, ``dim_count`` of them where that is given."""
    if not isinstance(value, list | tuple):
        raise place.error(f"expected a list of integers, got {excerpt(value)}")
    if dim_count is not None and len(value) != dim_count:
        raise place.error(f"has {len(value)} dimensions, the array has {dim_count}")
    if len(value) > MAX_DIMS:
        raise place.unsupported(f"{len(value)} dimensions, at most {MAX_DIMS} are supported")
    if all(type(item) is int and minimum <= item <= MAX_LENGTH for item in value):
        return tuple(value)
    return tuple(parse_int(item, place.at(i), minimum=minimum) for i, item in enumerate(value))  # it says which one


def parse_extension(value: object, place: Place) -> tuple[str, dict[str, Any]]:
    """An extension point of Zarr v3, ``"name"`` or ``{"name": ..., "configuration": {...}}``, as (name, configuration).

    Source: Zarr core specification 3.1, "Extension definition".
    """
    if isinstance(value, str):
        return value, {}
    if not isinstance(value, Mapping):
        raise place.error(f"expected a name or an object with a name, got {excerpt(value)}")
    name = require(value, "name", place)
    if not isinstance(name, str):
        raise place.at("name").error(f"expected a string, got {excerpt(name)}")
    refuse_keys(value, {"name", "configuration", "must_understand"}, place)
    return name, parse_object(value.get("configuration"), place.at("configuration"))


def refuse_keys(document: Mapping[str, Any], known: set[str], place: Place) -> None:
    """Refuse members that nobody here understands."""
    if unknown := sorted(set(document) - known):
        raise place.error(f"unknown key {excerpt(unknown[0])}; known here: {', '.join(sorted(known))}")


def refuse_extra_fields(document: Mapping[str, Any], known: set[str], place: Place) -> None:
    """Refuse top-level members of a v3 document unless they say that they need not be understood."""
    for key in document.keys() - known:
        value = document[key]
        if not (isinstance(value, Mapping) and value.get("must_understand") is False):
            raise place.error(f'unknown key {excerpt(key)}, and it does not say "must_understand": false')
