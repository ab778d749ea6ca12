"""Where the encoded chunks of a Zarr array lie, found without any Zarr library: what the limits decode.

Knows what the benchmarks write and no more: v3 with or without one level of sharding (index at the end), and v2, with
filters too; every chunk is there; one compressor, or none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
INDEX_ENTRY_NBYTES, INDEX_CHECKSUM_NBYTES = 16, 4
VLEN_ITEMSIZES = {"string": 16, "variable_length_bytes": 8}


@dataclass(frozen=True)
class EncodedArray:
    """What the metadata document says, as far as it is needed here."""

    path: Path
    shape: tuple[int, ...]
    inner_chunk: tuple[int, ...]
    shard: tuple[int, ...]  # where there are no shards, the inner chunk
    itemsize: int  # of strings, what numpy keeps for each beside its text
    codec: str  # "blosc", "zstd", "gzip", "zlib" or "raw"
    key_parts: tuple[str, str]  # what a chunk's key starts with, and what separates its numbers
    compressed_itemsize: int  # of what the compressor was given: filters may make smaller items

    @property
    def chunk_nbytes(self) -> int:
        return self.itemsize * math.prod(self.inner_chunk)

    @property
    def decompressed_nbytes(self) -> int:
        return self.compressed_itemsize * math.prod(self.inner_chunk)

    @property
    def inner_grid(self) -> tuple[int, ...]:
        return tuple(-(-length // chunk) for length, chunk in zip(self.shape, self.inner_chunk))

    def shard_path(self, shard: Sequence[int]) -> Path:
        start, separator = self.key_parts
        return self.path / (start + separator.join(map(str, shard)))


def encoded_array(path: str | Path) -> EncodedArray:
    """Reads the metadata document of the array at ``path``."""
    path = Path(path)
    if (path / ".zarray").exists():
        return v2_array(path, json.loads((path / ".zarray").read_text()))
    document = json.loads((path / "zarr.json").read_text())
    shard = inner_chunk = tuple(document["chunk_grid"]["configuration"]["chunk_shape"])
    codecs = document["codecs"]
    if codecs[0]["name"] == "sharding_indexed":
        configuration = codecs[0]["configuration"]
        assert configuration["index_location"] == "end", "the index is looked for at the end of a shard"
        inner_chunk, codecs = tuple(configuration["chunk_shape"]), configuration["codecs"]
    names = [codec["name"] for codec in codecs if codec["name"] not in ("bytes", "vlen-utf8", "vlen-bytes")]
    assert len(names) <= 1, f"one compressor or none is due, not {names}"
    itemsize = VLEN_ITEMSIZES.get(document["data_type"]) or np.dtype(document["data_type"]).itemsize
    codec = names[0] if names else "raw"
    return EncodedArray(
        path, tuple(document["shape"]), inner_chunk, shard, itemsize, codec, ("c/", "/"), compressed_itemsize=itemsize
    )


def v2_array(path: Path, document: dict[str, Any]) -> EncodedArray:
    chunk = tuple(document["chunks"])
    codec = document["compressor"]["id"] if document["compressor"] else "raw"
    separator = document.get("dimension_separator", ".")
    itemsize = np.dtype(document["dtype"]).itemsize
    made = [np.dtype(filter_["astype"]).itemsize for filter_ in document["filters"] or () if "astype" in filter_]
    compressed_itemsize = made[-1] if made else itemsize
    return EncodedArray(
        path, tuple(document["shape"]), chunk, chunk, itemsize, codec, ("", separator), compressed_itemsize
    )


def wanted_chunks(array: EncodedArray, starts: Integers, crop_shape: Sequence[int]) -> list[Integers]:
    """For each crop the flat numbers of the inner chunks that it touches."""
    chunk = np.array(array.inner_chunk)
    first, end = starts // chunk, (starts + np.array(crop_shape) - 1) // chunk + 1
    boxes = [np.meshgrid(*map(np.arange, low, high), indexing="ij") for low, high in zip(first.tolist(), end.tolist())]
    return [np.ravel_multi_index(tuple(box), array.inner_grid).ravel() for box in boxes]


@dataclass(frozen=True)
class Extents:
    """Where chunks lie: one row for each chunk that was asked for."""

    paths: list[Path]
    path_index: Integers
    offsets: Integers
    nbytes: Integers


def locate(array: EncodedArray, chunks: Integers) -> Extents:
    """Finds the inner chunks of these flat numbers (count,) in the files of the array."""
    coordinates = np.stack(np.unravel_index(chunks, array.inner_grid), 1)
    per_shard = np.array(array.shard) // np.array(array.inner_chunk)
    shards, path_index = np.unique(coordinates // per_shard, axis=0, return_inverse=True)
    path_index = path_index.reshape(-1)
    paths = [array.shard_path(shard) for shard in shards.tolist()]
    offsets, nbytes = np.zeros(len(chunks), np.int64), np.zeros(len(chunks), np.int64)
    inside = np.ravel_multi_index(tuple((coordinates % per_shard).T), tuple(per_shard.tolist()))
    for number, path in enumerate(paths):
        mine = path_index == number
        if array.shard == array.inner_chunk:
            nbytes[mine] = path.stat().st_size
            continue
        index = read_index(path, math.prod(per_shard.tolist()))
        offsets[mine], nbytes[mine] = index[inside[mine]].T
    return Extents(paths, path_index, offsets, nbytes)


def read_index(path: Path, entry_count: int) -> Integers:
    """The index of a shard, (entry, [offset, nbytes]); its checksum is not looked at."""
    index_nbytes = entry_count * INDEX_ENTRY_NBYTES
    with path.open("rb") as file:
        file.seek(-index_nbytes - INDEX_CHECKSUM_NBYTES, 2)
        return np.frombuffer(file.read(index_nbytes), "<u8").astype(np.int64).reshape(-1, 2)


def load(extents: Extents) -> tuple[npt.NDArray[np.uint8], Integers]:
    """Reads the chunks into memory back to back; gives the bytes and where each chunk starts in them."""
    ends = np.cumsum(extents.nbytes)
    memory, places = np.empty(int(ends[-1]), np.uint8), ends - extents.nbytes
    for number, path in enumerate(extents.paths):
        with path.open("rb") as file:
            for row in np.flatnonzero(extents.path_index == number):
                file.seek(int(extents.offsets[row]))
                file.readinto(memory[places[row] : ends[row]].data)
    return memory, places
