"""Shards that other codecs are wrapped around: such a shard is decoded as a whole, as if it were one chunk."""

from __future__ import annotations

from itertools import product
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ringio import DecodeError, codecs, planning

_ENTRY_NBYTES: Final = 16  # of an index: offset and nbytes, u64 each


class WholeShard:
    """Codec ``sharding_indexed`` as a Python codec.

    Args:
        chunk_shape: of the inner chunks.
        chain: decodes them.
        index_chain: decodes the index.
        index_location: "start" or "end".
        fill_data: the bytes of one item of a missing inner chunk.
        fill_item: the item, where it has no fixed size.
    """

    codec_id = "sharding_indexed"

    def __init__(
        self,
        chunk_shape: tuple[int, ...],
        chain: codecs.Chain,
        index_chain: codecs.Chain,
        index_location: str,
        fill_data: bytes,
        fill_item: Any,
    ) -> None:
        self._arguments = (chunk_shape, chain, index_chain, index_location, fill_data, fill_item)

    def for_chunk(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        """What decodes shards of one shape and dtype."""
        return _Shard(shape, dtype, *self._arguments).decode

    def decode(self, _data: Any) -> Any:
        """Not without a shape and a dtype."""
        raise TypeError("a shard of what shape?")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WholeShard) and self._arguments == other._arguments

    def __hash__(self) -> int:
        return hash(self._arguments[:-1])

    def __reduce__(self) -> tuple[Any, ...]:
        return WholeShard, self._arguments


class _Shard:
    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        chunk_shape: tuple[int, ...],
        chain: codecs.Chain,
        index_chain: codecs.Chain,
        index_location: str,
        fill_data: bytes,
        fill_item: Any,
    ) -> None:
        if any(outer % inner for outer, inner in zip(shape, chunk_shape, strict=True)):
            raise ValueError(f"inner chunks of shape {chunk_shape} do not divide a shard of shape {shape}")
        self._shape, self._dtype, self._chunk_shape = shape, dtype, chunk_shape
        self._grid = tuple(outer // inner for outer, inner in zip(shape, chunk_shape, strict=True))
        self._chunk = chain.compile(chunk_shape, dtype)
        self._index = index_chain.compile((*self._grid, 2), "<u8")
        checksums = sum(step.name == "crc32c" for step in index_chain.steps)
        self._index_nbytes = self._index.decoded_nbytes + 4 * checksums
        self._is_behind = index_location == "end"
        if dtype.hasobject:
            self._fill = np.empty((), dtype)
            self._fill[()] = fill_item
        else:
            self._fill = np.frombuffer(fill_data, dtype)

    def decode(self, data: Any) -> npt.NDArray[Any]:
        """The items of a shard."""
        with memoryview(data) as shard:
            if len(shard) < self._index_nbytes:
                raise DecodeError(f"a shard of {len(shard)} bytes cannot hold its index of {self._index_nbytes}")
            index_start = len(shard) - self._index_nbytes if self._is_behind else 0
            entries = self._index.decode(shard[index_start : index_start + self._index_nbytes])
            result = np.empty(self._shape, self._dtype)
            for place in product(*map(range, self._grid)):
                offset, nbytes = entries[place].tolist()
                box = tuple(
                    slice(at * length, (at + 1) * length) for at, length in zip(place, self._chunk_shape, strict=True)
                )
                if offset == nbytes == planning.MISSING:
                    result[box] = self._fill
                elif offset + nbytes > len(shard):
                    raise DecodeError(f"inner chunk {place} lies outside its shard")
                else:
                    result[box] = self._chunk.decode(shard[offset : offset + nbytes])
            return result
