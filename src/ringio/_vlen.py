"""``vlen-utf8`` and ``vlen-bytes``: the number of items, then each with its length in front, all u32 little-endian.

Source: numcodecs, ``vlen.pyx``; zarr-extensions, ``codecs/vlen-utf8``.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ._strings import unpack_strings

_LENGTH_NBYTES: Final = 4


class VlenCodec:
    """One of the two.

    Args:
        name: which.

    >>> VlenCodec("vlen-bytes").decode(bytes.fromhex("02000000 01000000 61 00000000"))
    array([b'a', b''], dtype=object)
    """

    __slots__ = ("_dtype", "codec_id")

    def __init__(self, name: str, dtype: np.dtype[Any] | None = None) -> None:
        self.codec_id = name
        self._dtype = np.dtype(object) if dtype is None else dtype

    def for_chunk(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> VlenCodec:
        """The codec for items of this dtype."""
        del shape
        return VlenCodec(self.codec_id, dtype)

    def decode(self, data: Any) -> NDArray[Any]:
        """The items: strings of numpy where the dtype is that, else Python objects.

        Raises:
            ValueError: bytes that end too early; text that is not UTF-8.
        """
        with memoryview(data).cast("B") as view:
            count = _count(view)
            if self.codec_id == "vlen-utf8" and self._dtype.kind == "T":
                strings = unpack_strings(view[_LENGTH_NBYTES:], count)
                if strings is not None:
                    return strings
            items = _split(view, count)
        result = np.empty(count, object)
        result[:] = [str(item, "utf-8") for item in items] if self.codec_id == "vlen-utf8" else items
        return result

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VlenCodec) and (other.codec_id, other._dtype) == (self.codec_id, self._dtype)

    def __hash__(self) -> int:
        return hash(self.codec_id)

    def __reduce__(self) -> tuple[Any, ...]:
        return VlenCodec, (self.codec_id, self._dtype)

    def __repr__(self) -> str:
        return f"VlenCodec({self.codec_id!r})"


def _count(data: memoryview) -> int:
    if len(data) < _LENGTH_NBYTES:
        raise ValueError(f"{len(data)} bytes, at least {_LENGTH_NBYTES} are due")
    count = int.from_bytes(data[:_LENGTH_NBYTES], "little")
    if count * _LENGTH_NBYTES > len(data) - _LENGTH_NBYTES:
        raise ValueError(f"{count} items cannot be in {len(data)} bytes")
    return count


def _split(data: memoryview, count: int) -> list[bytes]:
    unpack = struct.Struct("<I").unpack_from
    place = _LENGTH_NBYTES
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
