"""Chunk keys: from chunk coordinates to the name under which a chunk is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, cast

import numpy as np
import numpy.typing as npt

from ringio.planning import NamedTuple

from ._document import parse_extension, refuse_keys
from ._errors import Place, excerpt

_DEFAULT_SEPARATORS: Final[dict[str, Literal["/", "."]]] = {"default": "/", "v2": "."}


class ChunkKeyEncoding(NamedTuple):
    """How chunk coordinates become keys.

    Attributes:
        name: ``"default"`` ("c/1/2") or ``"v2"`` ("1.2").
        separator: what stands between the coordinates.

    Source: Zarr core specification 3.1, "Chunk key encoding"; Zarr v2 specification, "Chunks".
    """

    name: Literal["default", "v2"]
    separator: Literal["/", "."]

    def encode(self, coordinates: Sequence[int | str]) -> str:
        """The key of one chunk.

        >>> ChunkKeyEncoding("default", "/").encode((1, 2)), ChunkKeyEncoding("v2", ".").encode((1, 2))
        ('c/1/2', '1.2')
        """
        if self.name == "default":
            return self.separator.join(("c", *map(str, coordinates)))
        return self.separator.join(map(str, coordinates)) or "0"

    def pattern(self, dim_count: int) -> str | None:
        """The key of every chunk, with ``%d`` in the place of each coordinate. None: there is no such rule.

        >>> ChunkKeyEncoding("default", "/").pattern(2), ChunkKeyEncoding("v2", ".").pattern(0)
        ('c/%d/%d', '0')
        """
        return self.encode(("%d",) * dim_count)

    def beginning(self, dim_count: int) -> str | None:
        """What all keys begin with; the coordinates follow, with the separator between them. None: something else does.

        >>> ChunkKeyEncoding("default", "/").beginning(2), ChunkKeyEncoding("v2", ".").beginning(0)
        ('c/', '0')
        """
        return self.encode(("%d",) * dim_count).partition("%")[0]

    def outer(self, coordinates: Sequence[int]) -> tuple[int, ...]:
        """Coordinates in the array's grid of outer chunks: these; see ``PartKeys``, whose chunks are some of all."""
        return tuple(coordinates)

    def encode_many(self, coordinates: npt.NDArray[np.integer[Any]]) -> list[str]:
        """The keys of many chunks, at about 100 ns each.

        Args:
            coordinates: non-negative, shape (n, ndim).

        >>> ChunkKeyEncoding("default", "/").encode_many(np.array([[1, 2], [1, 3]]))
        ['c/1/2', 'c/1/3']
        """
        chunk_count, dim_count = coordinates.shape
        if chunk_count == 0:
            return []
        if dim_count == 0:
            return [self.encode(())] * chunk_count
        prefix = f"c{self.separator}" if self.name == "default" else ""
        columns = [_to_strings(coordinates[:, d], prefix if d == 0 else "") for d in range(dim_count)]
        return list(map(self.separator.join, zip(*columns, strict=True)))


def _to_strings(column: npt.NDArray[np.integer[Any]], prefix: str) -> list[str]:
    """Each number as text; where they lie close together each distinct one is turned into text only once."""
    low, high = int(column.min()), int(column.max())
    if high - low < 2 * len(column):
        texts = np.empty(high - low + 1, dtype=object)
        texts[:] = [f"{prefix}{number}" for number in range(low, high + 1)]
        strings: list[str] = texts[column - low].tolist()
        return strings
    return [f"{prefix}{number}" for number in column.tolist()]


def parse_key_encoding(value: object, place: Place) -> ChunkKeyEncoding:
    """The ``chunk_key_encoding`` of a v3 array.

    Raises:
        UnsupportedError: an encoding of another name, which nobody has registered with zarr-python.
        MetadataError: a separator other than "/" and ".".

    >>> parse_key_encoding({"name": "default"}, Place("zarr.json", "chunk_key_encoding"))
    ChunkKeyEncoding(name='default', separator='/')
    """
    if isinstance(value, Mapping) and "separator" in value:  # as zarr-python takes it from its users
        value = {"configuration": {"separator": value["separator"]}, **value}
        del value["separator"]
    name, configuration = parse_extension(value, place)
    if name not in _DEFAULT_SEPARATORS:
        from ._other_keys import find_keys  # late: hardly any array has one

        return cast("ChunkKeyEncoding", find_keys(name, configuration, place))  # it has the same methods
    inside = place.at("configuration")
    refuse_keys(configuration, {"separator"}, inside)
    separator = configuration.get("separator", _DEFAULT_SEPARATORS[name])
    return ChunkKeyEncoding("v2" if name == "v2" else "default", parse_separator(separator, inside.at("separator")))


def parse_separator(value: object, place: Place) -> Literal["/", "."]:
    """A separator: "/" or "."."""
    if value == "/":
        return "/"
    if value == ".":
        return "."
    raise place.error(f"expected '/' or '.', got {excerpt(value)}")
