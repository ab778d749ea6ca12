"""Shards that other codecs are wrapped around: such a shard is decoded as a whole, as if it were one chunk."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ringio import DecodeError, MemoryLimitError, codecs, planning

from ._codecs import Codec
from ._dtypes import parse_v3_dtype
from ._errors import Place
from ._fill import parse_fill

_UNLIMITED: Final = 2**63 - 1


def encoded_fill(in_front: Sequence[Codec], fill: npt.NDArray[Any], place: Place) -> npt.NDArray[Any]:
    """What a missing inner chunk is full of, one item, where there are codecs in front of its shard.

    Args:
        in_front: these codecs, in the order of encoding.
        fill: one item of what is encoded; none where items have no fixed size.
        place: of the shard's codec, for messages.

    Raises:
        MetadataError: there is no encoding of it.

    Source: ``resolve_metadata`` of zarr-python's codecs. Those of numcodecs leave the fill value as it is.
    """
    if not fill.size:
        return fill
    for step in in_front:
        configuration = step["configuration"]
        try:
            if step["name"] == "cast_value":
                fill = _cast(fill, configuration, place)
            elif step["name"] == "scale_offset":
                fill = _rescale(fill, configuration, place)
        except (DecodeError, ValueError, OverflowError) as error:
            raise place.error(f"codec {step['name']!r} has no value for the fill value {fill[0]}: {error}") from error
    return fill


def _cast(fill: npt.NDArray[Any], configuration: dict[str, Any], place: Place) -> npt.NDArray[Any]:
    # To encode is to decode the other way round.
    encoded = parse_v3_dtype(configuration["data_type"], place)
    back = {**configuration, "data_type": str(fill.dtype.newbyteorder("="))}
    if scalar_map := configuration.get("scalar_map"):
        back["scalar_map"] = {"decode": scalar_map.get("encode", [])}
    chain = codecs.chain([{"name": "cast_value", "configuration": back}, "bytes"])
    return chain.decode(fill.astype(fill.dtype.newbyteorder("<")).tobytes(), (1,), encoded)


def _rescale(fill: npt.NDArray[Any], configuration: dict[str, Any], place: Place) -> npt.NDArray[Any]:
    offset, scale = (
        parse_fill(configuration.get(key, default), fill.dtype, place, zarr_format=3).value.item()
        for key, default in (("offset", 0), ("scale", 1))
    )
    if fill.dtype.kind == "f":
        item = fill.dtype.type
        scaled: npt.NDArray[Any] = ((fill - item(offset)) * item(scale)).astype(fill.dtype)
        return scaled
    number, info = (fill[0].item() - offset) * scale, np.iinfo(fill.dtype)
    if not info.min <= number <= info.max:  # astype() would wrap it
        raise ValueError(f"{number} is outside of {fill.dtype}")
    return np.array([number], fill.dtype)


class WholeShard:
    """Codec ``sharding_indexed`` as a Python codec.

    Args:
        chunk_shape: of the inner chunks.
        chain: decodes them.
        index_chain: decodes the index.
        index_location: "start" or "end".
        fill: one item of a missing inner chunk, as codecs in front of the shard leave it; of another dtype where they
            make that of it.
        fill_item: the item, where it has no fixed size.
    """

    codec_id = "sharding_indexed"

    def __init__(
        self,
        chunk_shape: tuple[int, ...],
        chain: codecs.Chain,
        index_chain: codecs.Chain,
        index_location: str,
        fill: npt.NDArray[Any],
        fill_item: Any,
    ) -> None:
        self._arguments = (chunk_shape, chain, index_chain, index_location, fill.dtype, fill.tobytes(), fill_item)

    def for_chunk(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        """What decodes shards of one shape and dtype."""
        return _Shard(shape, dtype, *self._arguments)

    def decode(self, _data: Any) -> Any:
        """Not without a shape and a dtype."""
        raise TypeError("a shard of what shape?")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WholeShard) and self._arguments == other._arguments

    def __hash__(self) -> int:
        return hash(self._arguments[:-1])

    def __reduce__(self) -> tuple[Any, ...]:
        *others, dtype, fill_data, fill_item = self._arguments
        return WholeShard, (*others, np.frombuffer(fill_data, dtype), fill_item)


class _Shard:
    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        chunk_shape: tuple[int, ...],
        chain: codecs.Chain,
        index_chain: codecs.Chain,
        index_location: str,
        fill_dtype: np.dtype[Any],
        fill_data: bytes,
        fill_item: Any,
    ) -> None:
        if len(shape) != len(chunk_shape):
            raise ValueError(f"inner chunks of shape {chunk_shape} in a shard of shape {shape}")
        if any(outer % inner for outer, inner in zip(shape, chunk_shape, strict=True)):
            raise ValueError(f"inner chunks of shape {chunk_shape} do not divide a shard of shape {shape}")
        self._shape, self._dtype, self._chunk_shape = shape, dtype, chunk_shape
        self._nbytes = prod(shape) * dtype.itemsize
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
            self._fill = np.frombuffer(fill_data, fill_dtype)
            if fill_dtype != dtype:
                with np.errstate(all="ignore"):
                    self._fill = self._fill.astype(dtype)

    def decode(self, data: Any) -> npt.NDArray[Any]:
        """The items of a shard."""
        return self.decode_within(data, _UNLIMITED)

    def decode_within(self, data: Any, limit_nbytes: int) -> npt.NDArray[Any]:
        """The same; neither they nor what the codecs of an inner chunk are given may be more than the limit."""
        if self._nbytes > limit_nbytes:
            raise MemoryLimitError(f"a shard of {self._nbytes} bytes, the reader's memory limit leaves {limit_nbytes}")
        with memoryview(data) as shard:
            if len(shard) < self._index_nbytes:
                raise DecodeError(f"a shard of {len(shard)} bytes cannot hold its index of {self._index_nbytes}")
            index_start = len(shard) - self._index_nbytes if self._is_behind else 0
            entries = self._index.decode(
                shard[index_start : index_start + self._index_nbytes], limit_nbytes=limit_nbytes
            )
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
                    result[box] = self._chunk.decode(shard[offset : offset + nbytes], limit_nbytes=limit_nbytes)
            return result
