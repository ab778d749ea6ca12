"""Data types: the words of Zarr v2 and v3 for what numpy calls a dtype.

The dtype is the one that zarr-python reports: v2 keeps the byte order of the document, v3 leaves the byte order to the
codec ``bytes`` and is always little-endian.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import prod
from typing import Any, Final

import numpy as np

from ._document import parse_extension, parse_int, parse_object, parse_shape, refuse_keys, require
from ._errors import Place, excerpt

# A fill value, one item, is kept with each array and copied into each plan; no real data comes near this.
MAX_ITEM_NBYTES: Final = 1 << 20

_V3_NUMBERS: Final = {
    "bool": "|b1",
    **{f"{kind}{8 * nbytes}": f"<{kind[0]}{nbytes}" for kind in ("int", "uint") for nbytes in (1, 2, 4, 8)},
    **{f"float{8 * nbytes}": f"<f{nbytes}" for nbytes in (2, 4, 8)},
    **{f"complex{8 * nbytes}": f"<c{nbytes}" for nbytes in (8, 16)},
    **{f"complex_float{4 * nbytes}": f"<c{nbytes}" for nbytes in (8, 16)},
}
_V3_TIMES: Final = {"numpy.datetime64": "M8", "numpy.timedelta64": "m8"}
_V3_FIXED_LENGTH: Final = {"null_terminated_bytes": ("S", 1), "fixed_length_utf32": ("<U", 4), "raw_bytes": ("V", 1)}
STRING: Final[np.dtype[Any]] = np.dtypes.StringDType()
_V3_VARIABLE_LENGTH: Final = {
    "string": STRING,
    "variable_length_bytes": np.dtype(object),
    "bytes": np.dtype(object),
}
_V3_STRUCTS: Final = {"struct", "structured"}
# What numpy does not have and ml_dtypes does, under one name there, in zarr-extensions and in TensorStore, which writes
# them into v2 too. An item narrower than a byte takes a byte.
ML_DTYPES: Final = (
    *("bfloat16", "float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz", "float8_e4m3fn", "float8_e4m3fnuz"),
    *("float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "float6_e2m3fn", "float6_e3m2fn", "float4_e2m1fn"),
    *("int4", "uint4", "int2", "uint2"),
)
_TIME_UNITS: Final = {"Y", "M", "W", "D", "h", "m", "s", "ms", "us", "μs", "ns", "ps", "fs", "as", "generic"}

_V2_NUMBER_NBYTES: Final = {"b": {1}, "i": {1, 2, 4, 8}, "u": {1, 2, 4, 8}, "f": {2, 4, 8}, "c": {8, 16}}
_V2_TYPESTR: Final = r"([<>|])([biufcSUV])([0-9]+)"  # compiled when a v2 array is opened
_V2_OBJECT: Final = {"|O", "|O8", "|O4"}  # with the size of a pointer where numpy 1 wrote it
_V2_TIME: Final = r"[<>][Mm]8(\[[0-9]*[A-Za-zμ]+\])?"

_MAX_NESTING: Final = 16  # of structs in structs


def parse_v2_dtype(value: object, place: Place, object_codec: str | None = None) -> np.dtype[Any]:
    """The dtype of a v2 array.

    Args:
        value: what the document has under ``dtype``, e.g. ``"<i2"``, ``"|S5"``, ``"<M8[ns]"``, or the fields of a
            structured dtype, ``[["x", "<i2"], ["y", "<f4", [2, 2]]]``.
        place: where that stands.
        object_codec: the codec that makes objects, if there is one. It says what ``"|O"`` means: StringDType for
            ``vlen-utf8``, as in zarr-python, else Python objects.

    Raises:
        UnsupportedError: an extended-precision dtype, objects in a struct.
        MetadataError: no dtype at all.

    Source: Zarr v2 specification, "Data type encoding".

    >>> parse_v2_dtype(">i2", Place(".zarray", "dtype"))
    dtype('>i2')
    """
    if isinstance(value, str) and value in _V2_OBJECT:
        if object_codec is None:
            raise place.error(f"data type {value!r} without a filter that makes objects, like vlen-utf8 or json2")
        return STRING if object_codec == "vlen-utf8" else np.dtype(object)
    return _parse_v2(value, place, 0)


def _parse_v2(value: object, place: Place, depth: int) -> np.dtype[Any]:
    if isinstance(value, list | tuple):
        return _parse_fields(value, place, depth, _parse_v2_field)
    if not isinstance(value, str):
        raise place.error(f"expected a data type such as '<f4', got {excerpt(value)}")
    if value in _V2_OBJECT:
        raise place.unsupported("objects in a struct are not supported")
    if re.fullmatch(_V2_TIME, value):
        return _make_dtype(value, place)
    match = re.fullmatch(_V2_TYPESTR, value)
    if match is None and value in ML_DTYPES:
        return _ml_dtype(value, place)
    if match is None:
        raise place.error(f"unknown data type {excerpt(value)}")
    byte_order, kind, digits = match.groups()
    nbytes = int(digits[:20])
    if kind in _V2_NUMBER_NBYTES and nbytes not in _V2_NUMBER_NBYTES[kind]:
        raise place.unsupported(f"data type {excerpt(value)} is not supported")
    if byte_order == "|" and kind not in "SV" and (nbytes > 1 or kind == "U"):
        raise place.error(f"data type {excerpt(value)} lacks its byte order, '<' or '>'")
    _check_item_nbytes(4 * nbytes if kind == "U" else nbytes, place)
    return _make_dtype(value, place)


def parse_v3_dtype(value: object, place: Place) -> np.dtype[Any]:
    """The dtype of a v3 array, always little-endian.

    Args:
        value: what the document has under ``data_type``, a name or an object.
        place: where that stands.

    Raises:
        UnsupportedError: a data type that ringio_zarr does not know.
        MetadataError: a data type whose configuration makes no sense.

    Source: Zarr core specification 3.1, "Data types"; zarr-extensions, ``data-types``.

    >>> parse_v3_dtype("int16", Place("zarr.json", "data_type"))
    dtype('int16')
    """
    return _parse_v3(value, place, 0)


def _parse_v3(value: object, place: Place, depth: int) -> np.dtype[Any]:
    name, configuration = parse_extension(value, place)
    inside = place.at("configuration")
    if name in _V3_STRUCTS:
        refuse_keys(configuration, {"fields"}, inside)
        return _parse_fields(require(configuration, "fields", inside), inside.at("fields"), depth, _parse_v3_field)
    if name in _V3_NUMBERS:
        refuse_keys(configuration, set(), inside)
        return np.dtype(_V3_NUMBERS[name])
    if name in _V3_TIMES:
        refuse_keys(configuration, {"unit", "scale_factor"}, inside)
        unit = require(configuration, "unit", inside)
        if not isinstance(unit, str) or unit not in _TIME_UNITS:
            raise inside.at("unit").error(f"unknown unit of time {excerpt(unit)}")
        scale = parse_int(require(configuration, "scale_factor", inside), inside.at("scale_factor"), minimum=1)
        if unit == "generic" and scale == 1:
            return np.dtype(f"<{_V3_TIMES[name]}")
        return _make_dtype(f"<{_V3_TIMES[name]}[{scale}{unit}]", place)
    if name in _V3_FIXED_LENGTH:
        refuse_keys(configuration, {"length_bytes"}, inside)
        prefix, item_nbytes = _V3_FIXED_LENGTH[name]
        nbytes = parse_int(require(configuration, "length_bytes", inside), inside.at("length_bytes"), minimum=0)
        if nbytes % item_nbytes:
            raise inside.at("length_bytes").error(f"{nbytes} is not a multiple of {item_nbytes}")
        _check_item_nbytes(nbytes, inside.at("length_bytes"))
        return np.dtype(f"{prefix}{nbytes // item_nbytes}")
    if re.fullmatch(r"r[0-9]+", name):
        bits = int(name[1:21])
        if bits % 8:
            raise place.error(f"data type {excerpt(name)}: the number of bits is not a multiple of 8")
        _check_item_nbytes(bits // 8, place)
        return np.dtype(f"V{bits // 8}")
    if name in ML_DTYPES:
        refuse_keys(configuration, set(), inside)
        return _ml_dtype(name, place)
    if name in _V3_VARIABLE_LENGTH:
        refuse_keys(configuration, set(), inside)
        if depth:
            raise place.unsupported(f"data type {excerpt(name)} in a struct is not supported")
        return _V3_VARIABLE_LENGTH[name]
    raise place.unsupported(f"data type {excerpt(name)} is not supported")


def _parse_fields(
    value: object, place: Place, depth: int, parse_field: Callable[[object, Place, int], tuple[Any, ...]]
) -> np.dtype[Any]:
    """A structured dtype, its fields one behind the other without gaps."""
    if not isinstance(value, list | tuple) or not value:
        raise place.error(f"expected a list of fields, got {excerpt(value)}")
    if depth == _MAX_NESTING:
        raise place.unsupported(f"structured data types nested more than {_MAX_NESTING} deep")
    fields = [parse_field(item, place.at(i), depth + 1) for i, item in enumerate(value)]
    _check_item_nbytes(sum(dtype.itemsize * prod(shape) for _, dtype, shape in fields), place)
    return _make_dtype([field if field[2] else field[:2] for field in fields], place)


def _parse_v2_field(value: object, place: Place, depth: int) -> tuple[str, np.dtype[Any], tuple[int, ...]]:
    """Name, dtype, and the shape where each item has an array in this field."""
    if not isinstance(value, list | tuple) or len(value) not in (2, 3) or not isinstance(value[0], str):
        raise place.error(f"expected [name, data type] or [name, data type, shape], got {excerpt(value)}")
    shape = parse_shape(value[2], place.at(2), minimum=1) if len(value) == 3 else ()
    return value[0], _parse_v2(value[1], place.at(1), depth), shape


def _parse_v3_field(value: object, place: Place, depth: int) -> tuple[str, np.dtype[Any], tuple[int, ...]]:
    """The same from ``{"name": ..., "data_type": ...}``, or the pair that zarr-python wrote before 3.2."""
    if isinstance(value, list | tuple) and len(value) == 2:
        name, data_type, inside = value[0], value[1], place.at(1)
    else:
        member = parse_object(value, place)
        name, data_type = require(member, "name", place), require(member, "data_type", place)
        inside = place.at("data_type")
    if not isinstance(name, str):
        raise place.error(f"expected the name of a field, got {excerpt(name)}")
    return name, _parse_v3(data_type, inside, depth), ()


def _ml_dtype(name: str, place: Place) -> np.dtype[Any]:
    try:
        import ml_dtypes
    except ImportError as error:
        raise place.unsupported(f"data type {excerpt(name)} needs ml_dtypes: pip install ml_dtypes") from error
    if not hasattr(ml_dtypes, name):
        raise place.unsupported(
            f"data type {excerpt(name)} is not in ml_dtypes {ml_dtypes.__version__}: pip install -U ml_dtypes"
        )
    dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
    return dtype


def is_ml_dtype(dtype: np.dtype[Any]) -> bool:
    """Whether a dtype is one of ml_dtypes, whose ``kind`` says nothing.

    >>> is_ml_dtype(np.dtype("V2"))
    False
    """
    return dtype.type.__module__ == "ml_dtypes"


def _check_item_nbytes(nbytes: int, place: Place) -> None:
    if nbytes < 1:
        raise place.error("an item of zero bytes")
    if nbytes > MAX_ITEM_NBYTES:
        raise place.unsupported(f"items of {nbytes} bytes, at most {MAX_ITEM_NBYTES} are supported")


def _make_dtype(description: str | list[Any], place: Place) -> np.dtype[Any]:
    try:
        return np.dtype(description.replace("μs", "us") if isinstance(description, str) else description)
    except (TypeError, ValueError, OverflowError) as error:
        raise place.error(f"data type {excerpt(description)}: {error}") from error
