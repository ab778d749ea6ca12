"""Layouts at the edge: no dimensions, no elements, more elements than fit anywhere, shards in shards in shards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, ShardingCodec, ZstdCodec

import ringio
import ringio_zarr
from ringio_zarr import MetadataError, UnsupportedError

pytestmark = pytest.mark.filterwarnings("ignore::Warning:zarr")

LARGE = [((2**50,), (2**20,)), ((2**31, 2**31, 8), (64, 64, 8)), ((2**62, 4), (4, 4)), ((2**63 - 1,), (2**10,))]


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize(("shape", "chunks"), LARGE, ids=str)
@pytest.mark.zarr_3_4
def test_arrays_larger_than_any_disk(tmp_path: Path, shape: Any, chunks: Any, zarr_format: Any) -> None:
    """2**50 elements and more, more than 2**63 bytes, with one chunk at the far end: no work but for what is read."""
    theirs = zarr.create_array(
        str(tmp_path / "a"), shape=shape, chunks=chunks, dtype="<f8", fill_value=3.0, zarr_format=zarr_format
    )
    corner = tuple(slice(length - 3, length) for length in shape)
    theirs[corner] = 7
    ours = ringio_zarr.open_array(str(tmp_path / "a"))
    assert (ours.size, ours.nbytes, ours.nchunks) == (theirs.size, theirs.nbytes, theirs.nchunks)
    for selection in (corner, tuple(slice(0, 2) for _ in shape), tuple(length - 1 for length in shape)):
        np.testing.assert_array_equal(ours[selection], theirs[selection])


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize(("shape", "chunks"), [((), ()), ((0,), (5,)), ((3, 0, 2), (2, 1, 2))], ids=str)
def test_no_dimensions_and_no_elements(tmp_path: Path, shape: Any, chunks: Any, zarr_format: Any) -> None:
    """What is read is of the same type, dtype and shape as in zarr-python."""
    theirs = zarr.create_array(
        str(tmp_path / "a"), shape=shape, chunks=chunks, dtype="<f4", fill_value=2, zarr_format=zarr_format
    )
    ours = ringio_zarr.open_array(str(tmp_path / "a"))
    for _ in range(2):
        for selection in ((), ...):
            got, want = ours[selection], theirs[selection]
            assert type(got) is type(want)
            np.testing.assert_array_equal(got, want)
        if shape == ():
            theirs[()] = 5
    assert (ours.nchunks, ours.cdata_shape) == (theirs.nchunks, theirs.cdata_shape)


@pytest.mark.parametrize("depth", [4, 7])
def test_shards_in_shards(tmp_path: Path, depth: int) -> None:
    """Deep nesting: the innermost chunks are read out of the file by way of all indexes."""
    serializer: Any = ShardingCodec(chunk_shape=(1, 2), codecs=[BytesCodec(), ZstdCodec()])
    for level in range(1, depth):
        serializer = ShardingCodec(chunk_shape=(2**level, 2), codecs=[serializer])
    length = 2**depth
    theirs = zarr.create_array(
        str(tmp_path / "a"), shape=(length + 3, 4), chunks=(length, 4), dtype="<i4", serializer=serializer,
        compressors=None,
    )  # fmt: skip
    values = np.arange(theirs.size).reshape(theirs.shape)
    theirs[: length - 1] = values[: length - 1]
    want = theirs[...]
    ours = ringio_zarr.open_array(str(tmp_path / "a"))
    np.testing.assert_array_equal(ours[...], want)
    np.testing.assert_array_equal(ours[3:-1:3, 1:3], want[3:-1:3, 1:3])


@pytest.mark.parametrize("location", ["start", "end"])
@pytest.mark.parametrize(
    "around",
    [[ZstdCodec()], [GzipCodec(), Crc32cCodec()], [BloscCodec()], [Crc32cCodec()]],
    ids=str,
)
def test_codecs_around_shards(tmp_path: Path, around: Any, location: Any) -> None:
    """Shards that are compressed once more are decoded whole; missing shards and inner chunks stay missing."""
    shards = ShardingCodec(chunk_shape=(2, 3), codecs=[BytesCodec(), ZstdCodec()], index_location=location)
    theirs = zarr.create_array(
        str(tmp_path / "a"), shape=(13, 11), chunks=(6, 6), dtype="<i4", serializer=shards, compressors=around,
        fill_value=9,
    )  # fmt: skip
    theirs[:5, 1:] = np.arange(50).reshape(5, 10)
    ours, want = ringio_zarr.open_array(str(tmp_path / "a")), theirs[...]
    assert (ours.chunks, ours.shards) == (theirs.chunks, theirs.shards)
    np.testing.assert_array_equal(ours[...], want)
    np.testing.assert_array_equal(ours[3, ::-2], want[3, ::-2])
    np.testing.assert_array_equal(ours.read_crops([[0, 0], [7, 2]], (6, 9)), np.stack([want[:6, :9], want[7:, 2:]]))
    files = {str(file.relative_to(tmp_path / "a")): file.read_bytes() for file in (tmp_path / "a").rglob("*.*")}
    files |= {f"c/0/{i}": (tmp_path / f"a/c/0/{i}").read_bytes() for i in range(2)}
    np.testing.assert_array_equal(ringio_zarr.open_array(files)[...], want)  # type: ignore[arg-type]
    (tmp_path / "a/c/0/1").write_bytes(b"nonsense")
    with pytest.raises(ringio.DecodeError, match=r"c/0/1"):
        ours[...]
    np.testing.assert_array_equal(ours[:, :6], want[:, :6])


@pytest.mark.zarr_3_4
def test_chunks_of_no_elements(tmp_path: Path) -> None:
    """A chunk length of 0 is read as 1, or as an inner chunk, as zarr-python does; true is 1."""
    for name, options in (("a", {"zarr_format": 2}), ("b", {}), ("c", {"shards": (4,)})):
        path = tmp_path / name
        zarr.create_array(str(path), shape=(6,), chunks=(2,), dtype="<i2", fill_value=4, **options)
        document = path / (".zarray" if name == "a" else "zarr.json")
        metadata = json.loads(document.read_text())
        if name == "a":
            metadata["chunks"] = [0]
        else:
            metadata["chunk_grid"]["configuration"]["chunk_shape"] = [0]
        document.write_text(json.dumps(metadata))
        ours, theirs = ringio_zarr.open_array(str(path)), zarr.open_array(str(path), mode="r")
        assert (ours.chunks, ours.shards) == (theirs.chunks, theirs.shards)
        np.testing.assert_array_equal(ours[...], theirs[...])


@pytest.mark.parametrize("zarr_format", [None, 2, 3])
def test_v2_and_v3_in_one_place(tmp_path: Path, zarr_format: Any) -> None:
    """Of documents of both formats the v3 ones are read unless v2 is asked for; members are of the group's format."""
    for number in (2, 3):
        group = zarr.create_group(str(tmp_path / "g"), zarr_format=number, attributes={"is": number})
        group.create_array("x", shape=(number,), dtype="i1")
        group.create_array(f"only{number}", shape=(1,), dtype="i1")
    ours = ringio_zarr.open_group(str(tmp_path / "g"), zarr_format=zarr_format)
    theirs = zarr.open_group(str(tmp_path / "g"), mode="r", zarr_format=zarr_format)
    assert dict(ours.attrs) == dict(theirs.attrs)
    assert sorted(ours) == sorted(theirs)
    assert ours.zarr_format == theirs.metadata.zarr_format
    for name in theirs:
        member: Any = theirs[name]
        assert ours[name].zarr_format == member.metadata.zarr_format
        assert ours[name].shape == member.shape  # type: ignore[union-attr]


def write_v3(path: Path, **changes: Any) -> str:
    zarr.create_array(str(path), shape=(4,), chunks=(2,), dtype="<i2")
    document = json.loads((path / "zarr.json").read_text())
    document.update(changes)
    (path / "zarr.json").write_text(json.dumps(document))
    return str(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"extra": {"must_understand": False, "other": [1, 2]}},
        {"extra": {"name": "thing", "must_understand": False}, "storage_transformers": []},
        {"chunk_key_encoding": {"name": "default", "separator": "."}},
        {"chunk_key_encoding": {"name": "v2"}},
        {"chunk_key_encoding": {"name": "v2", "separator": "/"}},
        {"dimension_names": [None]},
        {"dimension_names": None},
    ],
    ids=str,
)
def test_what_zarr_python_opens(tmp_path: Path, changes: Any) -> None:
    """Members that need not be understood, and less usual spellings."""
    path = write_v3(tmp_path / "a", **changes)
    theirs, ours = zarr.open_array(path, mode="r"), ringio_zarr.open_array(path)
    np.testing.assert_array_equal(ours[...], theirs[...])
    assert ours.dimension_names == theirs.metadata.dimension_names  # type: ignore[union-attr]
    assert ours.metadata.chunk_keys.encode((1,)) == theirs.metadata.encode_chunk_key((1,))


@pytest.mark.parametrize(
    "changes",
    [
        {"extra": {"must_understand": True}},
        {"extra": {}},
        {"extra": 1},
        {"extra": {"must_understand": 0}},
        {"chunk_key_encoding": {"name": "default", "separator": "-"}},
        {"dimension_names": ["x", "y"]},
    ],
    ids=str,
)
def test_what_zarr_python_refuses(tmp_path: Path, changes: Any) -> None:
    """Members that must be understood and are not, and what makes no sense, are refused by both."""
    path = write_v3(tmp_path / "a", **changes)
    with pytest.raises((ValueError, TypeError)):
        zarr.open_array(path, mode="r")
    with pytest.raises(MetadataError, match=r"a/zarr\.json"):
        ringio_zarr.open_array(path)


def test_storage_transformers_change_the_bytes(tmp_path: Path) -> None:
    """zarr-python opens the array and leaves the transformers out; what it reads then may be anything, so we do not."""
    with pytest.raises(UnsupportedError, match="storage_transformers"):
        ringio_zarr.open_array(write_v3(tmp_path / "a", storage_transformers=[{"name": "cache"}]))
