"""Boxes inside one chunk, which are read without a plan: the same elements and the same errors as with one."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.codecs import BytesCodec, Crc32cCodec, TransposeCodec

import ringio
import ringio_zarr
from ringio import planning

pytestmark = pytest.mark.filterwarnings("ignore::Warning:zarr", "ignore::DeprecationWarning")

SHAPE = (13, 10, 7)
CHUNKS = (4, 5, 3)
KINDS: dict[str, dict[str, Any]] = {
    "unsharded": {},
    "v2": {"zarr_format": 2},
    "big-endian": {"dtype": ">i4"},
    "v2-big-endian": {"zarr_format": 2, "dtype": ">i4"},
    "dates": {"dtype": "<M8[s]"},
    "transposed": {"filters": [TransposeCodec(order=(2, 0, 1))]},
    "fortran": {"zarr_format": 2, "order": "F"},
    "sharded": {"shards": (8, 10, 6)},
    "sharded-transposed": {"shards": (8, 10, 6), "filters": [TransposeCodec(order=(2, 0, 1))]},
    "sharded-raw": {"shards": (8, 10, 6), "compressors": None},
}


def write(path: Path, kind: str = "unsharded", **options: Any) -> np.ndarray[Any, Any]:
    options = {"dtype": "<i4", "chunks": CHUNKS, "fill_value": 7, **KINDS[kind], **options}
    if np.dtype(options["dtype"]).kind == "M":
        options["fill_value"] = np.datetime64(7, "s")
    truth = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(options["dtype"])
    array = zarr.create_array(str(path), shape=SHAPE, **options)
    array[:8] = truth[:8]
    truth[8:] = options["fill_value"]
    return truth


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, np.ndarray[Any, Any]]]:
    folder = tmp_path_factory.mktemp("arrays")
    return {kind: (folder / kind, write(folder / kind, kind)) for kind in KINDS}


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The chunk ids of the reads that took a plan."""
    taken: list[int] = []
    cut = planning.Draft.cut

    def note(self: planning.Draft, *boxes: Any, **options: Any) -> None:
        cut(self, *boxes, **options)
        taken.extend(self.intersection().chunk_ids.tolist())

    monkeypatch.setattr(planning.Draft, "cut", note)
    return taken


@st.composite
def selections(draw: st.DrawFn) -> tuple[int | slice, ...]:
    """What one chunk holds: integers, and slices of either direction, some with steps."""
    items: list[int | slice] = []
    for length, chunk in zip(SHAPE, CHUNKS, strict=True):
        low = draw(st.integers(0, length - 1)) // chunk * chunk
        first, last = sorted(draw(st.tuples(*[st.integers(low, min(low + chunk, length) - 1)] * 2)))
        step = draw(st.sampled_from([1, 1, 1, 2, 9]))
        items.append(
            draw(
                st.sampled_from(
                    [
                        first,
                        first - length,
                        slice(first, last + 1, step),
                        slice(last, first - 1 if first else None, -step),
                    ]
                )
            )
        )
    return tuple(items)


@given(kind=st.sampled_from(list(KINDS)), selection=selections(), strides=st.sampled_from([1, -1, 2]))
def test_same_as_numpy(
    arrays: dict[str, tuple[Path, np.ndarray[Any, Any]]], kind: str, selection: Any, strides: int
) -> None:
    path, truth = arrays[kind]
    array = ringio_zarr.open(str(path))
    want = truth[selection]
    for _ in range(2):  # the second time with what the first one left
        got = array[selection]
        assert np.asarray(got).dtype == array.dtype or np.shape(got) == ()
        np.testing.assert_array_equal(got, want)
    memory = np.zeros([2 * length for length in np.shape(want)], array.dtype)
    out = memory[(..., *[slice(None, None, strides)] * np.ndim(want))]
    out = out[(..., *map(slice, np.shape(want)))]
    array.get_basic_selection(selection, out=out)
    np.testing.assert_array_equal(out, want)


@pytest.mark.parametrize("kind", list(KINDS))
def test_no_plan_is_made(arrays: dict[str, tuple[Path, np.ndarray[Any, Any]]], plans: list[int], kind: str) -> None:
    path, truth = arrays[kind]
    array = ringio_zarr.open(str(path))
    array[1:3, 2, :3]  # a shard index is read by a plan
    plans.clear()
    np.testing.assert_array_equal(array[1:4, 2:0:-1, :3:2], truth[1:4, 2:0:-1, :3:2])
    assert plans == []
    array[1:5]
    assert len(plans) > 1
    assert (pickle.loads(pickle.dumps(array))[0, 0] == truth[0, 0]).all()


@given(kind=st.sampled_from(list(KINDS)), data=st.data(), with_out=st.booleans(), strides=st.sampled_from([1, -1, 2]))
def test_few_crops_are_the_same_as_numpy(
    arrays: dict[str, tuple[Path, np.ndarray[Any, Any]]], kind: str, data: st.DataObject, with_out: bool, strides: int
) -> None:
    path, truth = arrays[kind]
    array = ringio_zarr.open(str(path))
    shape = data.draw(st.tuples(*[st.integers(0, min(length, 2 * chunk)) for length, chunk in zip(SHAPE, CHUNKS)]))
    corners = st.tuples(*[st.integers(0, length - crop) for length, crop in zip(SHAPE, shape)])
    starts = np.array(data.draw(st.lists(corners, min_size=1, max_size=10)), data.draw(st.sampled_from("iQ")))
    want = np.stack([truth[tuple(map(slice, start, np.add(start, shape)))] for start in starts.astype(int).tolist()])
    for _ in range(2):
        out = np.zeros([2 * length for length in want.shape], array.dtype)[(slice(None, None, strides),) * want.ndim]
        out = out[tuple(map(slice, want.shape))]
        got = array.read_crops(starts, shape, out=out if with_out else None)
        assert (got is out) == with_out
        assert got.dtype == array.dtype
        np.testing.assert_array_equal(got, want)


@given(kind=st.sampled_from(list(KINDS)), data=st.data())
def test_boxes_of_a_few_chunks_are_the_same_as_numpy(
    arrays: dict[str, tuple[Path, np.ndarray[Any, Any]]], kind: str, data: st.DataObject
) -> None:
    path, truth = arrays[kind]
    array = ringio_zarr.open(str(path))
    ends = [st.tuples(st.integers(0, length), st.integers(0, length)) for length in SHAPE]
    steps = st.sampled_from([1, 1, 1, 2, 4, 5, 9, -1, -3])
    selection = tuple(slice(*data.draw(pair), data.draw(steps)) for pair in ends)
    for _ in range(2):
        np.testing.assert_array_equal(array[selection], truth[selection])


@pytest.mark.parametrize("kind", list(KINDS))
def test_few_chunks_take_no_plan(
    arrays: dict[str, tuple[Path, np.ndarray[Any, Any]]], plans: list[int], kind: str
) -> None:
    path, truth = arrays[kind]
    array = ringio_zarr.open(str(path))
    array[:8]  # shard indexes are read by a plan
    plans.clear()
    np.testing.assert_array_equal(array[1:7, 3:8, 0], truth[1:7, 3:8, 0])  # 4 chunks
    starts = np.array([[0, 0, 0], [4, 0, 0], [0, 4, 0]])  # 1, 1 and 2 chunks, but two of them the same
    out = np.zeros((2, 2, 2, 2), array.dtype)
    assert array.read_crops(starts[:2], (2, 2, 2), out=out) is out
    np.testing.assert_array_equal(out, [truth[:2, :2, :2], truth[4:6, :2, :2]])
    assert plans == []
    array.read_crops(starts, (2, 2, 2))
    assert len(plans) == 3  # every chunk is decoded once
    seen: list[Any] = []
    array.read_crops(starts[:1], (2, 2, 2), progress=lambda *numbers: seen.append(numbers))
    assert seen
    with pytest.raises(IndexError, match="crop 1 of shape"):
        array.read_crops(np.array([[0, 0, 0], [12, 0, 0]]), (2, 2, 2))
    with pytest.raises(ValueError, match="out has shape"):
        array.read_crops(starts[:1], (2, 2, 2), out=out)


@pytest.mark.parametrize("shards", [None, (2, 1 << 20)])
def test_chunks_too_large_for_the_calling_thread(tmp_path: Path, plans: list[int], shards: Any) -> None:
    """The same records are executed by workers then."""
    truth = np.random.default_rng(0).integers(0, 255, (4, 1 << 20), "u1")
    options: dict[str, Any] = {"chunks": (1, 1 << 20), "shards": shards, "compressors": None, "dtype": "u1"}
    zarr.create_array(str(tmp_path / "a"), shape=truth.shape, **options)[...] = truth
    array = ringio_zarr.open(str(tmp_path / "a"))
    assert (array[:2, :4] == truth[:2, :4]).all()
    plans.clear()
    for row in range(2):
        assert (array[row] == truth[row]).all()
        assert array[row, 77] == truth[row, 77]
    assert plans == []
    zarr.open_array(str(tmp_path / "a"))[:2] = truth[2:]
    assert (array[0] == truth[2]).all()
    (tmp_path / "a/c/0/0").unlink()
    assert (array[0] == 0).all()


def test_an_empty_file_that_grew(tmp_path: Path) -> None:
    zarr.create_array(str(tmp_path / "a"), shape=(4,), chunks=(4,), dtype="<i2", compressors=None)[...] = 3
    array = ringio_zarr.open(str(tmp_path / "a"))
    chunk = tmp_path / "a/c/0"
    data = chunk.read_bytes()
    for _ in range(3):
        chunk.write_bytes(b"")
        with pytest.raises(ringio.RingioError):
            array[0]
        chunk.write_bytes(data)
        assert array[0] == 3


def test_without_dimensions(tmp_path: Path, plans: list[int]) -> None:
    zarr.create_array(str(tmp_path / "a"), shape=(), dtype=">f8")[...] = 1.5
    array = ringio_zarr.open(str(tmp_path / "a"))
    assert array[()] == array[...] == 1.5
    assert plans == []


@pytest.mark.parametrize("kind", ["unsharded", "sharded"])
def test_a_missing_chunk_is_full_of_the_fill_value(arrays: Any, kind: str) -> None:
    array = ringio_zarr.open(str(arrays[kind][0]))
    for _ in range(2):
        assert (array[9:11, :5, 0] == 7).all()


def test_a_missing_chunk_of_a_shard(tmp_path: Path) -> None:
    zarr.create_array(str(tmp_path / "a"), shape=(8,), chunks=(4,), shards=(8,), dtype="<i2", fill_value=3)[:4] = 1
    array = ringio_zarr.open(str(tmp_path / "a"))
    for _ in range(3):
        assert array[1:3].tolist() == [1, 1]
        assert array[5:7].tolist() == [3, 3]


@pytest.mark.parametrize("kind", ["unsharded", "sharded"])
@pytest.mark.parametrize("replace", [False, True])
def test_a_file_written_between_reads_is_noticed(tmp_path: Path, kind: str, replace: bool) -> None:
    truth = write(tmp_path / "a", kind)
    array = ringio_zarr.open(str(tmp_path / "a"))
    assert (array[0, 0, :3] == truth[0, 0, :3]).all()
    for number in range(1, 6):
        other = tmp_path / ("b" if replace else "a")
        zarr_array = zarr.open_array(str(other)) if other.exists() else None
        if zarr_array is None:
            write(other, kind)
            zarr_array = zarr.open_array(str(other))
        zarr_array[:8] = truth[:8] * number * 1000
        if replace:
            first = "c/0/0/0"
            (other / first).replace(tmp_path / "a" / first)
        np.testing.assert_array_equal(array[0, 0, :3], truth[0, 0, :3] * number * 1000)
        np.testing.assert_array_equal(array[1:3, 3, 1], truth[1:3, 3, 1] * number * 1000)


@pytest.mark.parametrize("kind", ["unsharded", "sharded"])
def test_errors_have_the_words_of_a_plan(tmp_path: Path, kind: str) -> None:
    write(tmp_path / "a", kind, serializer=BytesCodec(), compressors=[Crc32cCodec()])
    array = ringio_zarr.open(str(tmp_path / "a"))
    array[0, 0, 0]
    chunk = tmp_path / "a/c/0/0/0"
    data = bytearray(chunk.read_bytes())
    data[3] ^= 1
    chunk.write_bytes(data)
    for _ in range(2):
        with pytest.raises(ringio.DecodeError) as single:
            array[0, 0, 0]
    with pytest.raises(ringio.DecodeError) as planned:
        array.read_many([(0, 0, 0)])
    assert str(single.value) == str(planned.value)
    assert "crc32c: chunk (0, 0, 0) of" in str(single.value)
    chunk.unlink()
    chunk.mkdir()
    with pytest.raises(IsADirectoryError):
        array[0, 0, 0]
    with ringio.Reader() as closed:
        array = ringio_zarr.open(str(tmp_path / "a"), reader=closed)
    with pytest.raises(ringio.RingioError, match="closed"):
        array[0, 0, 0]


@pytest.mark.parametrize("entry", [(0, 10**6), (10**6, 8), (2**64 - 8, 16), (2**64 - 1, 8), "index"])
@pytest.mark.parametrize("location", ["start", "end"])
def test_entries_that_cannot_be_right(tmp_path: Path, entry: Any, location: str) -> None:
    """They are found in an index that is in the cache, because another chunk of the shard was read first."""
    sharding = zarr.codecs.ShardingCodec(
        chunk_shape=(4,), codecs=[BytesCodec()], index_codecs=[BytesCodec()], index_location=location
    )
    zarr.create_array(
        str(tmp_path / "a"), shape=(8,), chunks=(8,), serializer=sharding, compressors=None, dtype="<i2", fill_value=3
    )[...] = np.arange(1, 9)
    shard = tmp_path / "a/c/0"
    data = bytearray(shard.read_bytes())
    index = 0 if location == "start" else len(data) - 32
    if entry == "index":
        entry = (index, 8)
    data[index + 16 : index + 32] = b"".join(number.to_bytes(8, "little") for number in entry)
    shard.write_bytes(data)
    array = ringio_zarr.open(str(tmp_path / "a"))
    for _ in range(2):
        assert array[:2].tolist() == [1, 2]
        with pytest.raises(ringio.DecodeError, match="the shard index places it"):
            array[5]


def test_nested_shards_take_a_plan_until_a_chunk_was_found(tmp_path: Path, plans: list[int]) -> None:
    inner = zarr.codecs.ShardingCodec(chunk_shape=(2,))
    outer = zarr.codecs.ShardingCodec(chunk_shape=(4,), codecs=[inner])
    zarr.create_array(
        str(tmp_path / "a"), shape=(16,), chunks=(8,), serializer=outer, compressors=None, dtype="<i2", fill_value=0
    )[...] = np.arange(16)
    array = ringio_zarr.open(str(tmp_path / "a"))
    for _ in range(2):
        assert array[9] == 9
    assert len(plans) == 1
    assert array[12] == 12
    assert len(plans) == 2


@pytest.mark.parametrize("kind", ["unsharded", "sharded"])
def test_threads(arrays: dict[str, tuple[Path, np.ndarray[Any, Any]]], kind: str) -> None:
    path, truth = arrays[kind]
    array = ringio_zarr.open(str(path))
    wrong: list[Any] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(200):
            place = tuple(int(rng.integers(0, length)) for length in SHAPE)
            if array[place] != truth[place]:
                wrong.append(place)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("kind", ["unsharded", "sharded"])
def test_interrupted_reads(arrays: dict[str, tuple[Path, np.ndarray[Any, Any]]], kind: str) -> None:
    """An exception out of a signal handler, wherever it strikes, leaves nothing behind that later reads trip over."""
    path, truth = arrays[kind]
    array = ringio_zarr.open(str(path))

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    rng = np.random.default_rng(0)
    interrupted = 0
    try:
        for _ in range(400):
            place = tuple(int(rng.integers(0, length)) for length in SHAPE)
            try:
                signal.setitimer(signal.ITIMER_REAL, float(rng.uniform(1e-6, 2e-4)))
                array[place]
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                interrupted += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert array[place] == truth[place]
    finally:
        signal.signal(signal.SIGALRM, before)
    assert interrupted


def test_a_chunk_read_checks_what_it_is_given(make_file: Callable[..., tuple[str, bytes]]) -> None:
    chain = ringio.codecs.chain(["bytes"]).compile((4,), np.dtype("<i2"))
    grid = planning.Grid((4,), (2,), [(1,)], [(1,)])
    with pytest.raises(ValueError, match="fill value"):
        planning.ChunkRead(grid, chain, 2, b"1")
    read = planning.ChunkRead(grid, chain, 2)
    with pytest.raises(ValueError, match="dimensions"):
        read.find((1, 2))
    with pytest.raises(ValueError, match="dimensions"):
        read.set_walk((2,), (1, 1), (2,), 0)
    read.set_walk((2**62,), (2**62,), (2,), 0)
    assert read.find((1,)) == -1
    read.set_walk((2,), (2,), (2,), 0)
    assert [read.find((start,)) for start in range(8)] == [0, 0, -1, -1, 1, 1, -1, -1]
    assert read.find((5,)) == 1
    assert read.outer == (1,)
    path, data = make_file(20)
    name = os.fsencode(path)
    identity = planning.stat([path]).tobytes()
    out = np.zeros(2, "<i2")
    with ringio.Reader(workers=1) as reader:
        with pytest.raises(ValueError, match="NUL"):
            reader.execute_chunk(read, b"a\0b", None, 0, 8, out)
        with pytest.raises(ValueError, match="an identity of 3 bytes, 40 are due"):
            reader.execute_chunk(read, name, b"abc", 0, 8, out)
        with pytest.raises(ValueError, match="read-only"):
            reader.execute_chunk(read, name, None, 0, 8, np.frombuffer(bytes(out.nbytes), out.dtype))
        with pytest.raises(TypeError, match="Python objects"):
            reader.execute_chunk(read, name, None, 0, 8, np.empty(8, object))
        read.set_walk((2,), (2,), (-2,), 2)
        assert reader.execute_chunk(read, name, identity, 10, 8, out)
        assert out.tolist() == np.frombuffer(data[10:18], "<i2")[3:0:-2].tolist()
        assert not reader.execute_chunk(read, name, identity, planning.MISSING, 0, out)  # there is no fill value
        read.set_walk((2,), (2,), (4,), 0)  # beyond its end
        assert not reader.execute_chunk(read, name, identity, 10, 8, out)
        read.set_walk((2,), (2,), (2,), 0)
        assert reader.execute_chunk(read, name, identity, 10, 8, out)
        os.utime(path, ns=(1, 1))
        assert not reader.execute_chunk(read, name, identity, 10, 8, out)
        assert not reader.execute_chunk(read, name, identity, planning.MISSING, 0, out)
        assert not reader.execute_chunk(read, name, None, 10, 8, out)  # the open file is another one
