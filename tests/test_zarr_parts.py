"""Of chunks without codecs only the bytes that are wanted are read, and nothing is believed for that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

import ringio
import ringio_zarr

SHAPE, CHUNK, SHARD = (24, 40, 6), (6, 10, 3), (12, 20, 6)
LAYOUTS = ("sharded", "files", "transposed")


def write_array(folder: Path, layout: str) -> npt.NDArray[np.int32]:
    """Big-endian where it is transposed; the last slabs of the first dimension are missing chunks."""
    truth = np.random.default_rng(5).integers(0, 1 << 30, SHAPE, np.int32)
    options: dict[str, Any] = {"chunks": CHUNK, "compressors": None, "filters": None}
    if layout == "sharded":
        options["shards"] = SHARD
    if layout == "transposed":
        options["filters"] = [zarr.codecs.TransposeCodec(order=(2, 0, 1))]
    array = zarr.create_array(folder, shape=SHAPE, dtype="i4", fill_value=-7, **options)
    array[:18] = truth[:18]
    truth[18:] = -7
    return truth


@pytest.fixture(scope="module", params=LAYOUTS)
def stored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp(request.param) / "a.zarr"
    return folder, write_array(folder, request.param)


@st.composite
def selections(draw: st.DrawFn) -> tuple[slice, ...]:
    found = []
    for length in SHAPE:
        start, stop = sorted((draw(st.integers(0, length - 1)), draw(st.integers(1, length))))
        found.append(slice(start, max(stop, start + 1), draw(st.integers(1, 4))))
    return tuple(found)


@pytest.mark.parametrize("backend", ["io_uring", "threads"])
@pytest.mark.parametrize("direct", [False, True])
@given(boxes=st.lists(selections(), min_size=1, max_size=6))
def test_boxes_are_what_numpy_has(backend: str, direct: bool, stored: Any, boxes: list[tuple[slice, ...]]) -> None:
    path, truth = stored
    with ringio.Reader(backend, workers=1, direct=direct) as reader:
        array = ringio_zarr.open_array(path, reader=reader)
        for _ in range(2):  # the second time the shards are known
            for box, found in zip(boxes, array.read_many(boxes), strict=True):
                assert np.array_equal(found, truth[box])


def test_no_more_is_read_than_is_wanted(stored: Any) -> None:
    path, truth = stored
    starts = np.array([[5, 9, 2], [6, 0, 0], [11, 19, 1]] * 4)
    with ringio.Reader(workers=1, max_gap_bytes=0) as reader:
        array = ringio_zarr.open_array(path, reader=reader)
        for _ in range(2):
            before = reader.statistics().bytes_read
            crops = array.read_crops(starts, (2, 3, 4))
            read_nbytes = reader.statistics().bytes_read - before
        for start, crop in zip(starts, crops, strict=True):
            assert np.array_equal(crop, truth[tuple(slice(a, a + n) for a, n in zip(start, (2, 3, 4), strict=True))])
    chunk_ids = {tuple((start + offset) // CHUNK) for start in starts for offset in np.ndindex(2, 3, 4)}
    assert read_nbytes < len(chunk_ids) * np.prod(CHUNK) * 4 / 2


@pytest.mark.parametrize("change", [-4, 4])
def test_a_file_of_another_size_is_an_error_though_what_is_wanted_is_there(tmp_path: Path, change: int) -> None:
    write_array(tmp_path / "a.zarr", "files")
    chunk = tmp_path / "a.zarr/c/0/0/0"
    data = chunk.read_bytes()
    chunk.write_bytes(data[:change] if change < 0 else data + bytes(change))
    array = ringio_zarr.open_array(tmp_path / "a.zarr")
    starts = np.zeros((40, 3), np.int64)
    starts[1:, 1] = 20  # of another chunk
    with pytest.raises(ringio.RingioError, match=rf"{len(data) + change}.*{len(data)}"):
        array.read_crops(starts, (8, 11, 4))


def test_an_entry_of_another_size_is_an_error(tmp_path: Path) -> None:
    write_array(tmp_path / "a.zarr", "sharded")
    shard = tmp_path / "a.zarr/c/0/0/0"
    data = bytearray(shard.read_bytes())
    index = np.frombuffer(data, "<u8", 16, len(data) - 16 * 8 - 4).reshape(8, 2)
    assert (index[:, 1] == np.prod(CHUNK) * 4).all()
    index[3, 1] -= 4
    google_crc32c = pytest.importorskip("google_crc32c")
    data[-4:] = google_crc32c.value(bytes(data[-132:-4])).to_bytes(4, "little")
    shard.write_bytes(data)
    array = ringio_zarr.open_array(tmp_path / "a.zarr")
    with pytest.raises(ringio.RingioError, match=r"716.*720"):
        array.read_crops(np.zeros((40, 3), np.int64), (8, 20, 6))


def test_a_draft_gives_its_boxes_as_they_were() -> None:
    grid = ringio.planning.Grid((4, 4), (8, 2), [(1, 1)], [(2, 1)])
    draft = ringio.planning.Draft(grid, ringio.codecs.chain(["bytes"]).compile((4, 4), np.dtype("<u2")), b"\0\0")
    layout = ringio.planning.layout(source_strides=(8, 2), target_strides=(4, 2), itemsize=2, fill_offset=0)
    for _ in range(2):
        draft.cut([[1, 3]], [[2, 2]], [[1, 1]], layout, (0, 0))
        before = draft.intersection()
        draft.name_files(b"/nowhere/", b".", (2, 1))
        draft.finish(0, 1 << 20, parts_of_files=True)
        assert draft.requests["nbytes"].tolist() == [10, 10]
        assert draft.requests["offset"].tolist() == [14, 8]
        after = draft.intersection()
        assert after.projections.tobytes() == before.projections.tobytes()
        assert after.counts.tobytes() == before.counts.tobytes()


@pytest.mark.parametrize("backend", ["io_uring", "threads"])
def test_a_box_of_one_chunk_reads_no_more(backend: str, stored: Any) -> None:
    """On the calling thread, too, and as often as one likes."""
    path, truth = stored
    itemsize = truth.itemsize
    with ringio.Reader(backend, workers=1) as reader:
        array = ringio_zarr.open_array(path, reader=reader)
        for _ in range(2):
            for index in ((3, 7, 1), (17, 39, 5), (23, 39, 5), (slice(1, 3), slice(11, 19, 2), slice(4, 6)), (5, 3)):
                assert np.array_equal(array[index], truth[index])
        before = reader.statistics().bytes_read
        for index in ((3, 7, 1), (0, 0, 0), (17, 39, 5)):
            assert array[index] == truth[index]
        assert reader.statistics().bytes_read - before == 3 * itemsize


def test_a_chunk_of_another_size_is_an_error(stored: Any) -> None:
    path, truth = stored
    with ringio.Reader(workers=1) as reader:
        array = ringio_zarr.open_array(path, reader=reader)
        assert array[3, 7, 1] == truth[3, 7, 1]
        chunks = sorted(file for file in (path / "c").rglob("*") if file.is_file())
        kept = chunks[0].read_bytes()
        try:
            chunks[0].write_bytes(kept[:-4])
            with pytest.raises(ringio.RingioError):
                array[0, 0, 0]
        finally:
            chunks[0].write_bytes(kept)
        assert array[0, 0, 0] == truth[0, 0, 0]
