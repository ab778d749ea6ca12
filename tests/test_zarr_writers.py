"""Arrays written by others than zarr-python: zarrita, TensorStore, zarrs, and numcodecs by hand."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import tensorstore
import zarr

import ringio_zarr

ROOT = Path(__file__).parent.parent
NODE_MODULES = ROOT / "build" / "servers" / "zarrita" / "node_modules"
ZARRITA_DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")
ZARRITA_CODECS = ("raw", "big_endian", "lz4", "zstd", "blosc", "transpose")


@pytest.fixture(scope="module")
def zarrita(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of arrays that zarrita wrote."""
    if not NODE_MODULES.is_dir() or shutil.which("node") is None:
        if os.environ.get("RINGIO_TEST_SERVERS") == "required":
            raise FileNotFoundError(f"node, or {NODE_MODULES}: scripts/install_servers.sh puts it there")
        pytest.skip("no node, or no zarrita: scripts/install_servers.sh")
    root = tmp_path_factory.mktemp("zarrita")
    script = Path(__file__).parent / "writers" / "zarrita.mjs"
    subprocess.run(["node", script, NODE_MODULES, root], check=True, timeout=100)
    return root


@pytest.mark.parametrize("codec", ZARRITA_CODECS)
@pytest.mark.parametrize("dtype", ZARRITA_DTYPES)
def test_what_zarrita_writes(zarrita: Path, dtype: str, codec: str) -> None:
    a = ringio_zarr.open_array(zarrita / f"{dtype}-{codec}")
    expected = np.zeros((11, 7), dtype)
    expected[:8] = (np.arange(56).reshape(8, 7) * 3 + 1).astype(dtype)
    assert a.dtype == dtype
    assert a.dimension_names == ("y", "x")
    assert dict(a.attrs) == {"writer": "zarrita"}
    np.testing.assert_array_equal(a[...], expected)
    np.testing.assert_array_equal(a[3:9:2, 1:6], expected[3:9:2, 1:6])


NUMBERS = np.arange(11 * 7).reshape(11, 7) * 3 + 1
LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
SHARD = {
    "name": "sharding_indexed",
    "configuration": {
        "chunk_shape": [2, 3],
        "codecs": [LITTLE, {"name": "zstd", "configuration": {"level": 1}}],
        "index_codecs": [LITTLE, {"name": "crc32c"}],
        "index_location": "start",
    },
}
TENSORSTORE_V3: dict[str, list[Any]] = {
    "raw": [LITTLE],
    "big-endian": [{"name": "bytes", "configuration": {"endian": "big"}}],
    "gzip": [LITTLE, {"name": "gzip", "configuration": {"level": 3}}],
    "zstd": [LITTLE, {"name": "zstd", "configuration": {"level": 3}}],
    "blosc": [
        LITTLE,
        {"name": "blosc", "configuration": {"cname": "lz4", "clevel": 5, "shuffle": "bitshuffle"}},
    ],
    "crc32c": [LITTLE, {"name": "crc32c"}],
    "transpose": [{"name": "transpose", "configuration": {"order": [1, 0]}}, LITTLE],
    "shards": [SHARD],
    "transpose around shards": [
        {"name": "transpose", "configuration": {"order": [1, 0]}},
        {**SHARD, "configuration": {**SHARD["configuration"], "chunk_shape": [2, 2]}},
    ],
}


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float16", "float32", "complex64", "bool"])
@pytest.mark.parametrize("codec", TENSORSTORE_V3)
def test_what_tensorstore_writes_as_v3(tmp_path: Path, dtype: str, codec: str) -> None:
    data = NUMBERS.astype(dtype)
    metadata = {
        "shape": [11, 7],
        "data_type": dtype,
        "codecs": TENSORSTORE_V3[codec],
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4, 6]}},
    }
    store = {"driver": "file", "path": str(tmp_path)}
    spec = {"driver": "zarr3", "kvstore": store, "metadata": metadata}
    tensorstore.open(spec, create=True).result().write(data).result()
    a = ringio_zarr.open_array(tmp_path)
    np.testing.assert_array_equal(a[...], data)
    np.testing.assert_array_equal(a[2:10:3, 1:], data[2:10:3, 1:])


TENSORSTORE_V2: dict[str, Any] = {
    "raw": None,
    "zlib": {"id": "zlib", "level": 1},
    "blosc": {"id": "blosc", "cname": "zstd", "clevel": 5, "shuffle": -1},
    "bz2": {"id": "bz2", "level": 1},
    "zstd": {"id": "zstd", "level": 1},
}


@pytest.mark.parametrize("dtype", ["<i2", ">i4", "<f8", ">f4", "|u1", "<c8", "|b1"])
@pytest.mark.parametrize("compressor", TENSORSTORE_V2)
@pytest.mark.parametrize("order", ["C", "F"])
def test_what_tensorstore_writes_as_v2(tmp_path: Path, dtype: str, compressor: str, order: str) -> None:
    data = NUMBERS.astype(dtype)
    metadata = {
        "shape": [11, 7],
        "chunks": [4, 6],
        "dtype": dtype,
        "order": order,
        "compressor": TENSORSTORE_V2[compressor],
        "dimension_separator": "/",
    }
    store = {"driver": "file", "path": str(tmp_path)}
    spec = {"driver": "zarr", "kvstore": store, "metadata": metadata}
    tensorstore.open(spec, create=True).result().write(data).result()
    np.testing.assert_array_equal(ringio_zarr.open_array(tmp_path)[...], data)


@pytest.mark.parametrize("shards", [None, (8, 6)])
@pytest.mark.parametrize("codec", ["zstd", "blosc", "gzip"])
def test_what_zarrs_writes(tmp_path: Path, codec: str, shards: tuple[int, ...] | None) -> None:
    codecs = {
        "zstd": zarr.codecs.ZstdCodec(level=1),
        "blosc": zarr.codecs.BloscCodec(typesize=4),
        "gzip": zarr.codecs.GzipCodec(),
    }
    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options: dict[str, Any] = {"shards": shards} if shards else {}
        a = zarr.create_array(
            tmp_path, shape=(11, 7), chunks=(4, 3), dtype="int32", compressors=codecs[codec], **options
        )
        a[...] = NUMBERS.astype("int32")
    np.testing.assert_array_equal(ringio_zarr.open_array(tmp_path)[...], NUMBERS.astype("int32"))


HAND_MADE: dict[str, tuple[list[Any], Any]] = {
    "delta, zstd": ([numcodecs.Delta("<i4")], numcodecs.Zstd()),
    "three filters": ([numcodecs.Delta("<i4"), numcodecs.Shuffle(4), numcodecs.LZ4()], numcodecs.CRC32()),
    "checksum in the middle": ([numcodecs.CRC32(), numcodecs.Zlib()], numcodecs.Adler32()),
    "compressor as a filter": ([numcodecs.Blosc(cname="lz4")], None),
    "lzma with a filter of its own": ([], numcodecs.LZMA(filters=[{"id": 3, "dist": 4}, {"id": 0x21, "preset": 1}])),
    "base64": ([numcodecs.Zlib()], numcodecs.Base64()),
}


@pytest.mark.parametrize("name", HAND_MADE)
def test_what_numcodecs_encodes(tmp_path: Path, name: str) -> None:
    filters, compressor = HAND_MADE[name]
    data = NUMBERS.astype("<i4")
    document = {
        "zarr_format": 2,
        "shape": [11, 7],
        "chunks": [11, 7],
        "dtype": "<i4",
        "order": "C",
        "fill_value": 0,
        "filters": [codec.get_config() for codec in filters] or None,
        "compressor": compressor.get_config() if compressor else None,
    }
    (tmp_path / ".zarray").write_text(json.dumps(document))
    encoded: Any = data
    for codec in [*filters, *([compressor] if compressor else [])]:
        encoded = codec.encode(encoded)
    (tmp_path / "0.0").write_bytes(encoded)
    np.testing.assert_array_equal(ringio_zarr.open_array(tmp_path)[...], data)
