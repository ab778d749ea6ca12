"""``vlen-utf8`` and ``vlen-bytes``: the number of items, then each with its length in front, all u32 little-endian.

Source: numcodecs, ``vlen.pyx``; zarr-extensions, ``codecs/vlen-utf8``.
"""

from __future__ import annotations

from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ._strings import can_unpack, expand_items, find_items, unpack_strings

_LENGTH_NBYTES: Final = 4
# Items are made equally long on their way to Python objects unless that takes so much more memory than they do.
_MOST_TIMES: Final = 8
_FREE_NBYTES: Final = 1 << 20


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

    @property
    def can_fill(self) -> bool:
        """Whether there is :meth:`fill`."""
        return self.codec_id == "vlen-utf8" and self._dtype.kind == "T" and can_unpack()

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
            items = view[_LENGTH_NBYTES:]
            if self.codec_id == "vlen-bytes":
                return _as_bytes(items, count)
            dtype = self._dtype if self._dtype.kind == "T" else np.dtypes.StringDType()
            strings = np.empty(count, dtype)
            if can_unpack():
                unpack_strings(items, count, strings)
                return strings.astype(object) if self._dtype.kind == "O" else strings
            result = np.empty(count, object)
            result[:] = [str(item, "utf-8") for item in _split(items, find_items(items, count))]
            return result

    def fill(self, data: Any, target: NDArray[Any], first: int) -> None:
        """Some of the items, where they belong: the others cost little, and nothing is copied.

        Args:
            data: the bytes of a chunk.
            target: of the codec's dtype, in C order.
            first: which item of the chunk is its first; there are enough.

        Raises:
            ValueError: as :meth:`decode`; what is wrong with the text of other items is not noticed.
        """
        with memoryview(data).cast("B") as view:
            unpack_strings(view[_LENGTH_NBYTES:], self._count_of(view), target, first)

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


def _as_bytes(data: memoryview, count: int) -> NDArray[Any]:
    """Items as Python's bytes, which numpy makes out of bytes of one length."""
    ends = find_items(data, count)
    lengths = np.diff(ends, prepend=np.uint64(0)) - np.uint64(_LENGTH_NBYTES)
    width = max(1, int(lengths.max(initial=0)))
    if width * count > max(_FREE_NBYTES, _MOST_TIMES * len(data)):
        result = np.empty(count, object)
        result[:] = _split(data, ends)
        return result
    result = expand_items(data, ends, width).astype(object)
    # To numpy, zeros at the end are no part of an item.
    last = np.frombuffer(data, np.uint8)[ends - np.uint64(1)] if count else np.empty(0, np.uint8)
    for number in np.flatnonzero((last == 0) & (lengths > 0)).tolist():
        end = int(ends[number])
        result[number] = bytes(data[end - int(lengths[number]) : end])
    return result


def _split(data: memoryview, ends: NDArray[np.uint64]) -> list[bytes]:
    stored = bytes(data)
    items, start = [], _LENGTH_NBYTES
    for end in ends.tolist():
        items.append(stored[start:end])
        start = end + _LENGTH_NBYTES
    return items
