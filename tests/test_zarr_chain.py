"""Pipelines against files that others wrote: walking levels, indexes and strides by hand gives the array back."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
import zarr
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, ShardingCodec, TransposeCodec, ZstdCodec

import ringio_zarr
from ringio_zarr._chain import Level, Pipeline, build_pipeline
from ringio_zarr._document import parse_json
from ringio_zarr._errors import MetadataError, UnsupportedError
from ringio_zarr._grid import grid_shape
from ringio_zarr._metadata import ArrayMetadata, parse_array_metadata

LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
MISSING = 2**64 - 1
Writer = Callable[[Path, list[Any], np.ndarray[Any, Any], tuple[int, ...]], None]


def sharding(chunk_shape: tuple[int, ...], codecs: list[Any], **options: Any) -> ShardingCodec:
    return ShardingCodec(chunk_shape=chunk_shape, codecs=codecs, **options)


def transpose(*order: int) -> TransposeCodec:
    return TransposeCodec(order=order)


# Shapes are of three different lengths, so that a permutation that is off by one cannot go unnoticed.
SHAPE = (8, 12, 10)
CODECS: dict[str, list[Any]] = {
    "plain": [BytesCodec()],
    "zstd, crc32c": [BytesCodec(), ZstdCodec(), Crc32cCodec()],
    "big-endian": [BytesCodec(endian="big"), GzipCodec()],
    "transpose": [transpose(2, 0, 1), BytesCodec(), BloscCodec()],
    "two transposes": [transpose(2, 0, 1), transpose(1, 0, 2), BytesCodec()],
    "shard": [sharding((2, 3, 5), [BytesCodec(), ZstdCodec()])],
    "index at start": [sharding((2, 3, 5), [BytesCodec()], index_location="start")],
    "index without checksum": [sharding((2, 3, 5), [BytesCodec()], index_codecs=[BytesCodec()])],
    "index big-endian": [sharding((2, 3, 5), [BytesCodec()], index_codecs=[BytesCodec(endian="big"), Crc32cCodec()])],
    "transpose inside": [sharding((2, 3, 5), [transpose(2, 0, 1), BytesCodec(), ZstdCodec()])],
    "transpose outside": [transpose(2, 0, 1), sharding((5, 2, 3), [BytesCodec(), ZstdCodec()])],
    "transpose both": [transpose(1, 2, 0), sharding((3, 5, 2), [transpose(2, 0, 1), BytesCodec()])],
    "nested": [sharding((4, 6, 5), [sharding((2, 3, 5), [BytesCodec(), ZstdCodec()])])],
    "nested, transposes": [
        transpose(2, 0, 1),
        sharding((5, 4, 6), [transpose(0, 2, 1), sharding((5, 3, 2), [transpose(2, 1, 0), BytesCodec()])]),
    ],
}


def write_with_zarr_python(path: Path, codecs: list[Any], data: np.ndarray[Any, Any], chunks: tuple[int, ...]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some data types have no v3 specification yet
        fill_value = None if data.dtype.kind in "SUV" else 0
        array = zarr.create(
            store=str(path),
            shape=data.shape,
            chunks=chunks,
            dtype=data.dtype,
            codecs=codecs,
            fill_value=fill_value,
            zarr_format=3,
        )
        array[...] = data


def write_with_tensorstore(path: Path, codecs: list[Any], data: np.ndarray[Any, Any], chunks: tuple[int, ...]) -> None:
    metadata = document([codec.to_dict() for codec in codecs], data.shape, chunks)
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}, "metadata": metadata}
    tensorstore.open(spec, create=True).result().write(data).result()


def read_metadata(path: Path) -> ArrayMetadata:
    document = path / "zarr.json"
    if document.exists():
        return parse_array_metadata(parse_json(document.read_bytes(), "zarr.json"), zarr_format=3, path="zarr.json")
    document = path / ".zarray"
    return parse_array_metadata(parse_json(document.read_bytes(), ".zarray"), zarr_format=2, path=".zarray")


def read_by_hand(path: Path, metadata: ArrayMetadata) -> np.ndarray[Any, Any]:
    """The whole array, from what the pipeline says about levels, indexes, chains and strides, and nothing else."""
    pipeline = build_pipeline(metadata)
    padded = grid_shape(metadata.shape, metadata.chunk_shape)
    whole = np.empty([n * length for n, length in zip(padded, metadata.chunk_shape, strict=True)], metadata.dtype)
    whole[...] = np.frombuffer(metadata.fill_data, metadata.dtype)[0]
    for coordinates in product(*map(range, padded)):
        file = path / metadata.chunk_keys.encode(coordinates)
        if file.exists():
            start = [k * length for k, length in zip(coordinates, metadata.chunk_shape, strict=True)]
            _read_chunk(file.read_bytes(), pipeline, pipeline.levels, start, metadata.chunk_shape, whole)
    return whole[tuple(map(slice, metadata.shape))]


def _read_chunk(
    encoded: bytes,
    pipeline: Pipeline,
    levels: tuple[Level, ...],
    start: list[int],
    shape: tuple[int, ...],
    whole: np.ndarray[Any, Any],
) -> None:
    if not levels:
        assert shape == pipeline.chunk_shape
        flat = pipeline.chain.decode(encoded, (prod(shape),), whole.dtype)
        chunk = np.lib.stride_tricks.as_strided(np.ascontiguousarray(flat), shape, pipeline.chunk_strides)
        whole[tuple(slice(s, s + n) for s, n in zip(start, shape, strict=True))] = chunk
        return
    level = levels[0]
    part = encoded[: level.index_nbytes] if level.index_location == "start" else encoded[-level.index_nbytes :]
    index = level.index_chain.decode(part, (level.entry_count, 2), np.dtype("<u8"))
    assert level.entry_count == prod(level.grid_shape)
    for coordinates in product(*map(range, level.grid_shape)):
        entry = sum(k * stride for k, stride in zip(coordinates, level.id_strides, strict=True))
        offset, nbytes = index[entry].tolist()
        if (offset, nbytes) != (MISSING, MISSING):
            inner = [s + k * n for s, k, n in zip(start, coordinates, level.chunk_shape, strict=True)]
            _read_chunk(encoded[offset : offset + nbytes], pipeline, levels[1:], inner, level.chunk_shape, whole)


def _writers() -> list[tuple[str, Writer]]:
    """Each arrangement with who can write it: zarr-python checks a turned shard's inner chunks the wrong way round."""
    pairs: list[tuple[str, Writer]] = [(name, write_with_tensorstore) for name in CODECS]
    for name, chain in CODECS.items():
        first, second = (*chain, None)[:2]
        if not (isinstance(first, TransposeCodec) and isinstance(second, ShardingCodec)):
            pairs.append((name, write_with_zarr_python))
    return pairs


@pytest.mark.parametrize(("name", "write"), _writers())
def test_the_array_comes_back(tmp_path: Path, name: str, write: Writer) -> None:
    """Every arrangement of transposes, shards and nested shards, read by hand, is what the writer was given."""
    # Numbered items, and one corner that is only fill, so that there are missing chunks and missing inner chunks.
    data = np.arange(prod(SHAPE), dtype=np.int32).reshape(SHAPE)
    data[:4, :6, :5] = 0
    write(tmp_path, CODECS[name], data, (4, 6, 10))
    np.testing.assert_array_equal(read_by_hand(tmp_path, read_metadata(tmp_path)), data)


@pytest.mark.parametrize("dtype", ["u1", "<f2", "<c8", "<M8[s]", "<U3", "S5", "V4"])
@pytest.mark.parametrize("endian", ["little", "big"])
def test_the_byte_order_of_every_data_type(tmp_path: Path, dtype: str, endian: Any) -> None:
    """Big-endian in the file: numbers, both halves of complex numbers, code points; never bytes."""
    data = np.arange(48).reshape(6, 8)
    data = data.astype("S4").view("V4") if dtype == "V4" else data.astype(dtype)
    write_with_zarr_python(tmp_path, [transpose(1, 0), BytesCodec(endian=endian), ZstdCodec()], data, (3, 4))
    assert read_by_hand(tmp_path, read_metadata(tmp_path)).tobytes() == data.tobytes()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<i2", ">i2", ">f8", ">c16", ">U3", ">M8[s]", "|S5"])
def test_v2_orders(tmp_path: Path, dtype: str, order: Any) -> None:
    """v2 in both orders of elements and both orders of bytes; the dtype stays that of the document."""
    data = np.arange(60).reshape(5, 12).astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array = zarr.create_array(
            store=str(tmp_path), shape=(5, 12), chunks=(2, 5), dtype=dtype, order=order, zarr_format=2
        )
        array[:] = data
    metadata = read_metadata(tmp_path)
    assert metadata.dtype == np.dtype(dtype)
    assert read_by_hand(tmp_path, metadata).tobytes() == data.tobytes()


def document(codecs: list[Any], shape: tuple[int, ...] = SHAPE, chunks: tuple[int, ...] = (4, 6, 10)) -> dict[str, Any]:
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": "int32",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunks)}},
        "chunk_key_encoding": {"name": "default"},
        "fill_value": 0,
        "codecs": codecs,
    }


def shard(chunk_shape: list[int], *outer: Any) -> list[Any]:
    configuration = {"chunk_shape": chunk_shape, "codecs": [LITTLE], "index_codecs": [LITTLE, {"name": "crc32c"}]}
    return [{"name": "sharding_indexed", "configuration": configuration}, *outer]


def build(**options: Any) -> Pipeline:
    return build_pipeline(parse_array_metadata(document(**options), zarr_format=3, path="a/zarr.json"))


def test_inner_chunks_that_do_not_divide_the_shard() -> None:
    """MetadataError naming the dimension of the document and both lengths, also where a transpose stands before."""
    with pytest.raises(MetadataError, match=r"chunk_shape\[1\]: inner chunks of 4 elements do not divide .* of 6"):
        build(codecs=shard([4, 4, 5]))
    turned = [{"name": "transpose", "configuration": {"order": [2, 0, 1]}}, *shard([4, 4, 6])]
    with pytest.raises(MetadataError, match=r"chunk_shape\[0\]: inner chunks of 4 elements do not divide .* of 10"):
        build(codecs=turned)


def test_codecs_around_shards() -> None:
    """Around the outermost shards they are kept apart, around a shard in a shard it is decoded as a whole."""
    zstd: Any = {"name": "zstd", "configuration": {}}
    pipeline = build(codecs=shard([4, 6, 5], zstd))
    assert (len(pipeline.levels), [step["name"] for step in pipeline.wrapper]) == (1, ["zstd"])
    nested = shard([4, 6, 5])
    nested[0]["configuration"]["codecs"] = shard([2, 3, 5], zstd)
    pipeline = build(codecs=nested)
    assert (len(pipeline.levels), len(pipeline.compiled.stages)) == (1, 2)
    pipeline = build(codecs=[{"name": "numcodecs.bitround", "configuration": {"keepbits": 3}}, *shard([4, 6, 5])])
    assert (len(pipeline.levels), len(pipeline.compiled.stages)) == (0, 1)


def test_sizes_that_no_integer_holds() -> None:
    """A chunk of 2**63 bytes or more is an error; more chunks than an int64 can number are unsupported."""
    huge = 2**62
    with pytest.raises(MetadataError, match="a chunk of"):
        build(codecs=[LITTLE], shape=(huge, huge), chunks=(huge, huge))
    with pytest.raises(UnsupportedError, match="chunks are more than"):
        build(codecs=[LITTLE], shape=(huge, huge), chunks=(1, 1))
    with pytest.raises(UnsupportedError, match="chunks are more than"):
        build(codecs=[LITTLE], shape=(0, huge, huge), chunks=(1, 1, 1))
    with pytest.raises(MetadataError, match="a shard of"):
        build(codecs=shard([1, 1]), shape=(huge, huge), chunks=(huge, huge))
    assert build(codecs=[LITTLE], shape=(2**60, 2**50), chunks=(2**30, 2**20)).levels == ()


@pytest.mark.parametrize(
    ("shape", "chunks", "inner"),
    [
        ((2**63 - 1,), (2**63 - 1,), None),
        ((2**63 - 1,), (2**62,), None),
        ((2**63 - 1,), (1,), None),
        ((2**63 - 1,), (2**62,), (2**40,)),
        ((2**40, 2**40), (2**30, 2**30), (2**20, 2**20)),
    ],
)
def test_arrays_at_the_edge_of_int64(
    tmp_path: Path, shape: tuple[int, ...], chunks: tuple[int, ...], inner: tuple[int, ...] | None
) -> None:
    """The last elements, and elements with huge steps, of an array as large as the numbers allow: the fill value."""
    codecs = ["bytes"] if inner is None else shard(list(inner))
    (tmp_path / "zarr.json").write_text(
        json.dumps({**document(codecs, shape, chunks), "data_type": "uint8", "fill_value": 7})
    )
    array = ringio_zarr.open_array(tmp_path)
    for part in (slice(-3, None), slice(None, None, 2**58 + 1), slice(None, None, -(2**61) - 1)):
        counts = [len(range(*part.indices(length))) for length in shape]
        np.testing.assert_array_equal(array[(part,) * len(shape)], np.full(counts, 7, np.uint8))
    crops = array.read_crops([[length - 2 for length in shape]], (2,) * len(shape))
    np.testing.assert_array_equal(crops, np.full((1, *[2] * len(shape)), 7, np.uint8))


def test_the_size_of_an_index() -> None:
    """16 bytes for each inner chunk and 4 for each checksum."""
    assert build(codecs=shard([2, 3, 5])).levels[0].index_nbytes == 8 * 16 + 4
    codecs = copy.deepcopy(shard([2, 3, 5]))
    codecs[0]["configuration"]["index_codecs"] = [LITTLE]
    assert build(codecs=codecs).levels[0].index_nbytes == 8 * 16


@pytest.mark.parametrize("codecs", [[BytesCodec()], [sharding((), [BytesCodec()])]], ids=["plain", "shard"])
def test_no_dimensions(tmp_path: Path, codecs: list[Any]) -> None:
    """An array without dimensions is one chunk, with and without a shard around it."""
    write_with_tensorstore(tmp_path, codecs, np.array(42, np.int32), ())
    assert read_by_hand(tmp_path, read_metadata(tmp_path))[()] == 42
