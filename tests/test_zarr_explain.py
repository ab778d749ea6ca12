"""``explain`` says what a read does: its numbers are those of the reader's statistics after one."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec, GzipCodec, ShardingCodec, TransposeCodec, ZstdCodec

import ringio
import ringio_zarr

SHAPE = (60, 50)
DATA = np.random.default_rng(0).integers(0, 50, SHAPE).astype("<i4")
EXPECTED = np.where(np.arange(SHAPE[0])[:, None] < 35, DATA, 0)
LAYOUTS = {
    "files": {"chunks": (10, 20)},
    "v2": {"chunks": (10, 20), "zarr_format": 2},
    "shards": {"chunks": (5, 10), "shards": (20, 30)},
    "raw shards": {"chunks": (5, 10), "shards": (20, 30), "compressors": []},
    "nested": {
        "chunks": (20, 40),
        "compressors": [],
        "serializer": ShardingCodec(
            chunk_shape=(10, 20),
            codecs=[ShardingCodec(chunk_shape=(5, 5), codecs=[BytesCodec(), ZstdCodec()])],
            index_location="start",
        ),
    },
    "transposed": {
        "chunks": (5, 10),
        "shards": (20, 30),
        "filters": [TransposeCodec(order=(1, 0))],
        "compressors": [GzipCodec(), Crc32cCodec()],
    },
}
SELECTIONS = [(), (slice(7, 33), slice(3, 48, 4)), (slice(None, None, -1), 3), (3, 4), (slice(40, 60), slice(30, 50))]


@pytest.fixture(params=LAYOUTS)
def path(request, tmp_path) -> Path:
    """An array whose last rows are missing."""
    path = tmp_path / "a"
    array = zarr.create_array(path, shape=SHAPE, dtype="<i4", fill_value=0, **LAYOUTS[request.param])
    array[:35] = DATA[:35]
    return path


@pytest.mark.parametrize("selection", SELECTIONS, ids=str)
def test_numbers_are_those_of_a_read(path, selection):
    with ringio.Reader(workers=2) as reader:
        a = ringio_zarr.open_array(path, reader=reader, shard_index_cache_bytes=1 << 20)
        explained = a.explain(selection)
        before = reader.statistics()
        (result,) = a.read_many([selection])
        after = reader.statistics() - before
    assert (result == EXPECTED[selection]).all()
    assert explained.shape == result.shape
    assert explained.nbytes == result.nbytes
    innermost = explained.chunks if explained.inner_chunks is None else explained.inner_chunks
    assert after.tasks == innermost
    for name in ["bytes_asked", "bytes_read", "bytes_decoded"]:
        assert getattr(explained, name) == getattr(after, name), name
    assert sum(Path(one).is_file() for one in explained.paths()) == explained.files <= explained.chunks


def test_requests_are_those_of_a_read(path):
    """Where all chunks are stored; a file that is not there is asked for too, and its request counted."""
    with ringio.Reader(workers=2) as reader:
        a = ringio_zarr.open_array(path, reader=reader, shard_index_cache_bytes=1 << 20)
        explained = a.explain(slice(0, 20))
        before = reader.statistics()
        a.read_many([slice(0, 20)])
        after = reader.statistics() - before
    assert explained.missing == 0
    assert explained.requests == after.requests
    assert explained.coalesced_requests == after.coalesced_requests


def test_missing_chunks_are_counted(path):
    with ringio.Reader(workers=2) as reader:
        a = ringio_zarr.open_array(path, reader=reader)
        explained = a.explain(slice(40, 60))
        before = reader.statistics()
        a.read_many([slice(40, 60)])
        after = reader.statistics() - before
    assert explained.missing == (explained.inner_chunks or explained.chunks)
    assert (explained.bytes_read, explained.requests, explained.files) == (0, 0, 0)
    assert after.bytes_read == 0


def test_crops(path):
    starts = np.random.default_rng(0).integers(0, (50, 40), (30, 2))
    with ringio.Reader(workers=2) as reader:
        a = ringio_zarr.open_array(path, reader=reader)
        explained = a.explain_crops(starts, (10, 10))
        before = reader.statistics()
        a.read_crops(starts, (10, 10))
        after = reader.statistics() - before
    assert (explained.selections, explained.shape) == (30, (30, 10, 10))
    for name in ["bytes_asked", "bytes_read", "bytes_decoded"]:
        assert getattr(explained, name) == getattr(after, name), name


def test_no_chunk_is_read(path):
    """Only indexes are, and those once."""
    with ringio.Reader(workers=2) as reader:
        a = ringio_zarr.open_array(path, reader=reader, shard_index_cache_bytes=1 << 20)
        first, read = a.explain(), reader.statistics().bytes_read
        again = a.explain()
        assert reader.statistics().bytes_read == read
    assert (first.shard_indexes_read > 0) == (read > 0) == (a.shards is not None or first.inner_chunks is not None)
    assert again.shard_indexes_read == 0
    assert first.bytes_read == again.bytes_read


def test_a_damaged_shard_is_told_of(tmp_path):
    """The rest of the plan is explained all the same."""
    zarr.create_array(tmp_path / "a", shape=SHAPE, dtype="<i4", chunks=(5, 10), shards=(20, 30))[:] = DATA
    (tmp_path / "a/c/1/0").write_bytes(b"far too short")
    explained = ringio_zarr.open_array(tmp_path / "a").explain()
    assert explained.bad == 4 * 3
    assert "c/1/0" in str(explained.errors[0])
    assert explained.files == explained.chunks - 1
    assert "12 damaged" in repr(explained)


def test_nothing_to_read(tmp_path):
    zarr.create_array(tmp_path / "a", shape=(0, 4), dtype="<i4", chunks=(5, 4))
    zarr.create_array(tmp_path / "b", shape=(), dtype="<i4")[...] = 3
    nothing = ringio_zarr.open_array(tmp_path / "a").explain()
    assert (nothing.chunks, nothing.bytes_read, nothing.shape, nothing.paths()) == (0, 0, (0, 4), [])
    scalar = ringio_zarr.open_array(tmp_path / "b").explain()
    assert (scalar.chunks, scalar.missing, scalar.shape, scalar.files) == (1, 0, (), 1)


def test_more_elements_than_memory(tmp_path):
    zarr.create_array(tmp_path / "a", shape=(1 << 40, 1 << 10), dtype="<i4", chunks=(1 << 36, 1 << 10))
    explained = ringio_zarr.open_array(tmp_path / "a").explain()
    assert (explained.chunks, explained.missing, explained.nbytes) == (16, 16, 1 << 52)


@pytest.mark.parametrize("layout", [{"chunks": [[3, 3, 4], [5, 3]]}, {"chunks": [2, 1], "shards": [[4, 6], [4, 4]]}])
@pytest.mark.zarr_3_4
def test_rectilinear_grids(tmp_path, layout):
    with zarr.config.set({"array.rectilinear_chunks": True}):
        zarr.create_array(tmp_path / "a", shape=(10, 8), dtype="i4", **layout)[:] = 1
        theirs = zarr.open(tmp_path / "a", mode="r")
        assert repr(ringio_zarr.open(tmp_path / "a").info) == repr(theirs.info)
        complete = theirs.info_complete()
    with ringio.Reader(workers=2) as reader:
        a = ringio_zarr.open_array(tmp_path / "a", reader=reader)
        assert repr(a.info_complete()) == repr(complete)
        explained = a.explain()
        before = reader.statistics()
        a.read_many([...])
        after = reader.statistics() - before
    assert explained.chunks == explained.files == len(list((tmp_path / "a/c").glob("*/*")))
    for name in ["bytes_asked", "bytes_read", "bytes_decoded", "requests"]:
        assert getattr(explained, name) == getattr(after, name), name


def test_text(path):
    text = str(ringio_zarr.open_array(path).explain((slice(0, 20), slice(0, 20))))
    assert text.startswith(f"Array         : {path}\nResult        : (20, 20), 1.6 KiB (1,600 bytes)\n")
    assert "Bytes to read :" in text


INFOS = {
    **LAYOUTS,
    "crc": {"compressors": [ZstdCodec(level=3, checksum=True), Crc32cCodec()]},
    "raw": {"compressors": []},
    "filters": {"filters": [TransposeCodec(order=(1, 0))]},
}


@pytest.mark.parametrize("layout", INFOS)
@pytest.mark.zarr_3_4
def test_info_is_zarr_python_s(tmp_path, layout):
    options = INFOS[layout]
    theirs = zarr.create_array(tmp_path / "a", shape=SHAPE, dtype="<i4", fill_value=3, **options)
    theirs[:35] = DATA[:35]
    theirs = zarr.open(tmp_path / "a", mode="r")
    ours = ringio_zarr.open_array(tmp_path / "a")
    if layout != "nested":  # whose serializer zarr-python writes as Python objects
        assert repr(ours.info) == repr(theirs.info)
    assert str(ours.info_complete()).splitlines()[-4:] == str(theirs.info_complete()).splitlines()[-4:]
    assert repr(ringio_zarr.open(tmp_path / "a").info).count("\n") == repr(theirs.info).count("\n")


@pytest.mark.parametrize("dtype", ["?", "i1", ">u2", "<f4", "<c8", "S5", "<U4", "V3", "M8[10ms]", "m8[s]"])
@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning")
@pytest.mark.zarr_3_4
def test_info_of_data_types(tmp_path, dtype, zarr_format):
    zarr.create_array(tmp_path / "a", shape=(10,), chunks=(5,), dtype=dtype, zarr_format=zarr_format)
    theirs = zarr.open(tmp_path / "a", mode="r")
    assert repr(ringio_zarr.open_array(tmp_path / "a").info) == repr(theirs.info)


def test_info_of_v2_codecs(tmp_path):
    numcodecs = pytest.importorskip("numcodecs")
    zarr.create_array(
        tmp_path / "a",
        shape=(10, 4),
        chunks=(5, 2),
        dtype=">i4",
        zarr_format=2,
        order="F",
        filters=[numcodecs.Shuffle(4)],
        compressors=numcodecs.Blosc(),
    )
    assert repr(ringio_zarr.open_array(tmp_path / "a").info) == repr(zarr.open(tmp_path / "a", mode="r").info)


def test_info_of_groups(tmp_path):
    group = zarr.open_group(tmp_path / "g", mode="w")
    group.create_group("x").create_array("y", shape=(3,), dtype="i4")
    theirs, ours = zarr.open_group(tmp_path / "g", mode="r"), ringio_zarr.open_group(tmp_path / "g")
    assert repr(ours.info) == repr(theirs.info)
    assert repr(ours.info_complete()) == repr(theirs.info_complete())
    assert repr(ours["x"].info) == repr(theirs["x"].info)


@pytest.mark.parametrize("layout", ["files", "shards", "transposed"])
@pytest.mark.parametrize("kind", ["lists", "mask"])
def test_large_lists_and_masks(tmp_path, monkeypatch, layout, kind):
    """They are read in batches, of which there is one here, and explained without a box for each element."""
    monkeypatch.setattr("ringio_zarr._placed.FEW_BOXES", 50)
    values = np.random.default_rng(1).integers(0, 99, (600, 500)).astype("<i4")
    zarr.create_array(tmp_path / "a", data=values, **LAYOUTS[layout])
    array = ringio_zarr.open(tmp_path / "a")
    rng = np.random.default_rng(2)
    mask = rng.random(values.shape) < 0.5
    mask[:200, 100:] = False
    wanted = mask if kind == "mask" else (rng.permutation(290)[:200].tolist(), slice(7, 230))
    explanation = array.explain(wanted)
    touched = np.zeros(values.shape, bool)
    touched[wanted] = True
    rows, columns = np.nonzero(touched)
    lengths = array.shards or array.chunks
    assert explanation.chunks == len(set(zip(rows // lengths[0], columns // lengths[1], strict=True)))
    assert explanation.shape == values[wanted].shape
    assert 50 < explanation.selections <= explanation.nbytes // 4
    inner = explanation.chunks if explanation.inner_chunks is None else explanation.inner_chunks
    assert inner == len(set(zip(rows // array.chunks[0], columns // array.chunks[1], strict=True)))
    assert explanation.bytes_decoded == inner * array.chunks[0] * array.chunks[1] * 4


RECTILINEAR = {
    "files": {"chunks": [[7, 13, 13, 27, 60, 80, 400], [50, 25, 25, 300, 100]]},
    "shards": {"chunks": [5, 10], "shards": [[10, 40, 50, 100, 400], [50, 50, 100, 300]]},
}


@pytest.mark.parametrize("layout", RECTILINEAR)
@pytest.mark.parametrize("kind", ["lists", "mask"])
@pytest.mark.zarr_3_4
def test_large_lists_and_masks_of_rectilinear_grids(tmp_path, monkeypatch, layout, kind):
    """What is said without a box for each element is what is said with one."""
    with zarr.config.set({"array.rectilinear_chunks": True}):
        zarr.create_array(tmp_path / "a", shape=(600, 500), dtype="<i4", **RECTILINEAR[layout])[:] = 1
    array = ringio_zarr.open(tmp_path / "a")
    rng = np.random.default_rng(2)
    mask = rng.random((600, 500)) < 0.5
    mask[:100, 100:] = mask[100:, 110:130] = False
    wanted = mask if kind == "mask" else (rng.permutation(290)[:70].tolist(), slice(7, 230, 9))
    array[wanted]  # the indexes of shards are known now
    each = array.explain(wanted)
    monkeypatch.setattr("ringio_zarr._placed.FEW_BOXES", 5)
    assert array.explain(wanted)._replace(plans=()) == each._replace(plans=())


@pytest.mark.zarr_3_4
def test_a_large_product_of_a_rectilinear_grid_takes_no_memory_for_each_element(tmp_path):
    with zarr.config.set({"array.rectilinear_chunks": True}):
        chunks = [[1000, 3000] * 25, [20000, 80000]]
        zarr.create_array(tmp_path / "a", shape=(100_000, 100_000), dtype="<i4", chunks=chunks)
    array = ringio_zarr.open(tmp_path / "a")
    rows = np.arange(0, 100_000, 3)
    tracemalloc.start()
    try:
        explained = array.explain((rows, slice(None, None, 2)))
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
    assert (explained.chunks, explained.missing, explained.shape) == (100, 100, (len(rows), 50_000))
