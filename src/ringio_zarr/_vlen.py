"""Codecs that make Python objects, or strings of any length, out of bytes: Zarr v2 calls them object codecs."""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np
import numpy.typing as npt

# Of the last one, which is no object codec of zarr-python 3, each item is one of some labels.
OBJECT_CODECS: Final = ("vlen-utf8", "vlen-bytes", "vlen-array", "json2", "msgpack2", "pickle", "categorize")
_LENGTH_NBYTES: Final = 4


class VlenCodec:
    """``vlen-utf8`` and ``vlen-bytes``: the number of items, then each with its length in front, all u32 little-endian.

    Args:
        name: one of the two.

    Source: numcodecs, ``vlen.pyx``; zarr-extensions, ``codecs/vlen-utf8``.

    >>> VlenCodec("vlen-bytes").decode(bytes.fromhex("02000000 01000000 61 00000000"))
    array([b'a', b''], dtype=object)
    """

    def __init__(self, name: str) -> None:
        self.codec_id = name

    def decode(self, data: Any) -> npt.NDArray[Any]:
        """The items, as Python objects.

        Raises:
            ValueError: bytes that end too early; text that is not UTF-8.
        """
        with memoryview(data).cast("B") as view:
            items = split(view)
        result = np.empty(len(items), object)
        result[:] = [str(item, "utf-8") for item in items] if self.codec_id == "vlen-utf8" else items
        return result

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VlenCodec) and other.codec_id == self.codec_id

    def __hash__(self) -> int:
        return hash(self.codec_id)

    def __repr__(self) -> str:
        return f"VlenCodec({self.codec_id!r})"


def split(data: memoryview) -> list[bytes]:
    """The items of a chunk.

    Raises:
        ValueError: they end too early.
    """
    if len(data) < _LENGTH_NBYTES:
        raise ValueError(f"{len(data)} bytes, at least {_LENGTH_NBYTES} are due")
    unpack = struct.Struct("<I").unpack_from
    (count,) = unpack(data)
    place = _LENGTH_NBYTES
    if count * _LENGTH_NBYTES > len(data) - place:
        raise ValueError(f"{count} items cannot be in {len(data)} bytes")
    items = []
    for number in range(count):
        if place + _LENGTH_NBYTES > len(data):
            raise ValueError(f"ends before item {number} of {count}")
        (nbytes,) = unpack(data, place)
        place += _LENGTH_NBYTES
        if place + nbytes > len(data):
            raise ValueError(f"ends in item {number} of {count}")
        items.append(data[place : place + nbytes].tobytes())
        place += nbytes
    return items
