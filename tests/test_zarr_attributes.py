"""Attributes of arrays and groups: under the name that they have in zarr-python, with the value they have there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from zarr.codecs import BytesCodec, GzipCodec, TransposeCodec, ZstdCodec

import ringio_zarr

pytestmark = [
    pytest.mark.zarr_3_4,
    pytest.mark.filterwarnings("ignore::Warning:zarr", "ignore::Warning:numcodecs", "ignore:Use Array.compressors"),
]

VALUES = (
    *("shape", "ndim", "size", "nbytes", "dtype", "chunks", "shards", "cdata_shape", "nchunks", "fill_value", "order"),
    *("name", "path", "basename", "read_only", "filters", "serializer", "compressors", "nchunks_initialized"),
    *("read_chunk_sizes", "write_chunk_sizes"),
)
LAYOUTS: list[dict[str, Any]] = [
    {"zarr_format": 2},
    {"zarr_format": 2, "order": "F", "compressors": None},
    {"zarr_format": 2, "filters": [numcodecs.Shuffle(4)], "compressors": numcodecs.Zlib(3), "attributes": {"a": [1]}},
    {},
    {"shards": (4, 6)},
    {"filters": [TransposeCodec(order=(1, 0))], "compressors": [GzipCodec(), ZstdCodec(level=3)], "fill_value": 7},
    {"serializer": BytesCodec(endian="big"), "compressors": None, "dimension_names": ["y", None]},
    {"dtype": "string"},
    {"dtype": [("a", "<i2"), ("b", "<f8")]},
]


@pytest.mark.parametrize("options", LAYOUTS, ids=str)
def test_arrays(tmp_path: Path, options: dict[str, Any]) -> None:
    """Each attribute that needs no writing."""
    options = {"shape": (9, 8), "chunks": (2, 3), "dtype": "<i4", **options}
    group = zarr.create_group(str(tmp_path), zarr_format=options.pop("zarr_format", 3))
    theirs: Any = group.create_array("x/y", **options)
    if theirs.dtype.kind in "iu":
        theirs[:5] = np.arange(40).reshape(5, 8)
    theirs = zarr.open_array(str(tmp_path), path="x/y", mode="r")
    ours: Any = ringio_zarr.open_group(str(tmp_path))["x/y"]
    for name in VALUES:
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.nbytes_stored() == theirs.nbytes_stored()
    assert dict(ours.attrs) == dict(theirs.attrs)
    assert str(ours.info) == str(theirs.info)
    assert str(ours.info_complete()) == str(theirs.info_complete())
    if theirs.metadata.zarr_format == 2:
        assert ours.compressor == theirs.compressor
    else:
        assert ours.dimension_names == theirs.metadata.dimension_names
        with pytest.raises(TypeError, match="not available for Zarr format 3"):
            theirs.compressor  # noqa: B018  # as ours
        with pytest.raises(TypeError, match="not available for Zarr format 3"):
            ours.compressor  # noqa: B018  # it is what is tested


def test_without_zarr_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Codecs are then what stands in the document."""
    for number, options in enumerate(LAYOUTS[:6]):
        zarr.create_array(str(tmp_path / str(number)), **{"shape": (9, 8), "chunks": (2, 3), "dtype": "<i4", **options})
    monkeypatch.setitem(sys.modules, "zarr.core.metadata", None)
    arrays = [ringio_zarr.open_array(str(tmp_path / str(number))) for number in range(6)]
    assert [len(array.filters) for array in arrays] == [0, 0, 1, 0, 0, 1]
    assert [array.serializer and array.serializer["name"] for array in arrays] == [None] * 3 + ["bytes"] * 3
    assert [[codec.get("id", codec.get("name")) for codec in array.compressors] for array in arrays] == [
        *(["zstd"], [], ["zlib"]),
        *(["zstd"], ["zstd"], ["gzip", "zstd"]),
    ]
    assert arrays[2].compressor == {"id": "zlib", "level": 3}


def test_what_is_stored_in_a_mapping() -> None:
    """It is counted like files."""
    store: dict[str, Any] = {}
    zarr.create_array(zarr.storage.MemoryStore(store), shape=(4,), chunks=(2,), dtype="i1")
    array = ringio_zarr.open_array(store)  # type: ignore[arg-type]
    assert array.compressors == zarr.open_array(zarr.storage.MemoryStore(store), mode="r").compressors
    assert (array.nbytes_stored(), array.nchunks_initialized) == (len(store["zarr.json"].to_bytes()), 0)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_groups(tmp_path: Path, zarr_format: Any) -> None:
    """Names, paths and attributes; arrays and groups by name."""
    theirs = zarr.create_group(str(tmp_path), zarr_format=zarr_format, attributes={"a": 1}).create_group("g/h")
    theirs.create_array("x", shape=(3,), dtype="i1")
    theirs = zarr.open_group(str(tmp_path), path="g/h", mode="r")
    ours: Any = ringio_zarr.open_group(str(tmp_path))["g/h"]
    for name in ("name", "path", "basename", "read_only"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert dict(ours.attrs) == dict(theirs.attrs)
    assert ours.nmembers() == theirs.nmembers()
    assert list(ours.array_keys()) == list(theirs.array_keys())
