"""``vlen-utf8`` and ``vlen-bytes``: the number of items, then each with its length in front, all u32 little-endian.

Source: numcodecs, ``vlen.pyx``; zarr-extensions, ``codecs/vlen-utf8``.
"""

from __future__ import annotations

from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ._strings import can_unpack, make_objects, unpack_strings

_LENGTH_NBYTES: Final = 4


class VlenCodec:
    """One of the two.

    Args:
        name: which.
        dtype: of the items; None: Python objects.
        count: of items in a chunk; None: any.

    >>> VlenCodec("vlen-bytes").decode(bytes.fromhex("02000000 01000000 61 00000000"))
    array([b'a', b''], dtype=object)
    """

    __slots__ = ("_count", "_dtype", "codec_id")

    def __init__(self, name: str, dtype: np.dtype[Any] | None = None, count: int | None = None) -> None:
        self.codec_id = name
        self._dtype = np.dtype(object) if dtype is None else dtype
        self._count = count

    def can_fill(self, dtype: np.dtype[Any]) -> bool:
        """Whether :meth:`fill` takes arrays of this dtype."""
        return dtype.kind == "O" or (self.codec_id == "vlen-utf8" and dtype.kind == "T" and can_unpack())

    def for_chunk(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> VlenCodec:
        """The codec for chunks of so many items of this dtype."""
        return VlenCodec(self.codec_id, dtype, prod(shape))

    def decode(self, data: Any) -> NDArray[Any]:
        """The items: strings of numpy where the dtype is that, else Python objects.

        Raises:
            ValueError: bytes that end too early, another number of items, text that is not UTF-8.
        """
        with memoryview(data).cast("B") as view:
            count = self._count_of(view)
            target = np.empty(count, self._dtype if self.can_fill(self._dtype) else object)
            self._fill(view, count, target, 0)
            return target

    def fill(self, data: Any, target: NDArray[Any], first: int) -> None:
        """Some of the items, where they belong: the others cost little, and nothing is copied.

        Args:
            data: the bytes of a chunk.
            target: of a dtype that :meth:`can_fill` takes, in C order.
            first: which item of the chunk is its first; there are enough.

        Raises:
            ValueError: as :meth:`decode`; what is wrong with the text of other items is not noticed.
        """
        with memoryview(data).cast("B") as view:
            self._fill(view, self._count_of(view), target, first)

    def _fill(self, data: memoryview, count: int, target: NDArray[Any], first: int) -> None:
        if target.dtype.kind == "T":
            unpack_strings(data[_LENGTH_NBYTES:], count, target, first)
        else:
            kind = "bytes" if self.codec_id == "vlen-bytes" else "str"
            make_objects(kind, data[_LENGTH_NBYTES:], count, target, first)

    def _count_of(self, data: memoryview) -> int:
        if len(data) < _LENGTH_NBYTES:
            raise ValueError(f"{len(data)} bytes, at least {_LENGTH_NBYTES} are due")
        count = int.from_bytes(data[:_LENGTH_NBYTES], "little")
        if self._count is not None and count != self._count:
            raise ValueError(f"decodes to {count} items, expected {self._count}")
        if count * _LENGTH_NBYTES > len(data) - _LENGTH_NBYTES:
            raise ValueError(f"{count} items cannot be in {len(data)} bytes")
        return count

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VlenCodec) and other._key() == self._key()

    def __hash__(self) -> int:
        return hash(self.codec_id)

    def __reduce__(self) -> tuple[Any, ...]:
        return VlenCodec, self._key()

    def __repr__(self) -> str:
        return f"VlenCodec({self.codec_id!r})"

    def _key(self) -> tuple[str, np.dtype[Any], int | None]:
        return self.codec_id, self._dtype, self._count
