"""Reads that event loops await: the results of the reads that wait, without keeping the loop waiting."""

from __future__ import annotations

import asyncio
import pickle
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import fsspec
import numpy as np
import pytest
import uvloop
import zarr
import zarr.storage
from obstore.store import MemoryStore
from zarr.codecs import BytesCodec, ShardingCodec, ZstdCodec

import ringio
import ringio_zarr

SHAPE = (60, 50)
DATA = np.random.default_rng(0).integers(0, 50, SHAPE).astype("<i4")
LAYOUTS = {
    "files": {"chunks": (10, 20)},
    "v2": {"chunks": (10, 20), "zarr_format": 2, "order": "F"},
    "shards": {"chunks": (5, 10), "shards": (20, 30)},
    "nested": {
        "chunks": (20, 40),
        "compressors": [],
        "serializer": ShardingCodec(
            chunk_shape=(10, 20),
            codecs=[ShardingCodec(chunk_shape=(5, 5), codecs=[BytesCodec(), ZstdCodec()])],
        ),
    },
}
SELECTIONS = [
    (),
    (slice(7, 33), slice(3, 48, 4)),
    (slice(None, None, -1), 3),
    (3, 4),
    np.int64(-1),
    (3, 4, ...),
    (slice(5, 5), 0),
    [3, 50, 3],
    (np.array([1, 2, 59]), np.array([0, 49, 7])),
    DATA > 40,
]


@pytest.fixture(params=LAYOUTS)
def path(request, tmp_path):
    """An array whose last rows are missing."""
    array = zarr.create_array(tmp_path / "a", shape=SHAPE, dtype="<i4", fill_value=-1, **LAYOUTS[request.param])
    array[:35] = DATA[:35]
    return tmp_path / "a"


@pytest.fixture
def sharded(tmp_path):
    zarr.create_array(tmp_path / "s", shape=SHAPE, dtype="<i4", chunks=(5, 10), shards=(20, 30))[:] = DATA
    return tmp_path / "s"


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request):
    """Runs a coroutine in a loop of either kind."""

    def run(coroutine):
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(coroutine)

    return run


def assert_same(found, expected):
    assert type(found) is type(expected)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("selection", SELECTIONS, ids=lambda selection: str(selection)[:40].replace("\n", ""))
def test_read_async(path, run, selection):
    async def main():
        a = await ringio_zarr.open_async(path, shard_index_cache_bytes=1 << 20)
        first, second = await a.read_async(selection), await a.read_async(selection)  # before and after the index
        (third,) = await a.read_many_async([selection])
        return a[selection], first, second, third

    expected, *results = run(main())
    for result in results:
        assert_same(result, expected)


def test_read_many_async(path, run):
    async def main():
        a = await ringio_zarr.open_array_async(path)
        out = [np.empty_like(one) for one in a.read_many(SELECTIONS[:3])]
        returned = await a.read_many_async(SELECTIONS[:3], out)
        assert all(one is other for one, other in zip(returned, out, strict=True))
        return a.read_many(SELECTIONS), await a.read_many_async(SELECTIONS), a.read_many(SELECTIONS[:3]), out

    sync, awaited, sync_first, out = run(main())
    for found, expected in zip([*awaited, *out], [*sync, *sync_first], strict=True):
        assert_same(found, expected)


def test_read_crops_async(path, run):
    starts = np.random.default_rng(0).integers(0, (50, 40), (300, 2))
    done = []

    async def main():
        a = await ringio_zarr.open_array_async(path)
        out = np.empty((300, 10, 10), "<i4")
        assert await a.read_crops_async(starts, (10, 10), out=out) is out
        result = await a.read_crops_async(starts, (10, 10), progress=lambda *both: done.append(both))
        assert (out == result).all()
        assert (await a.read_crops_async(starts[:0], (10, 10))).shape == (0, 10, 10)
        return a.read_crops(starts, (10, 10)), result

    assert_same(*run(main()))
    assert done[-1][0] == done[-1][1] > 0


def test_names_of_zarr_python(path, run):
    """Each method gives what that of zarr-python's AsyncArray gives."""
    rows, mask = np.array([3, 1, 34]), DATA > 40

    async def main():
        ours = await ringio_zarr.AsyncArray.open(path)
        theirs = zarr.open_array(path, mode="r").async_array
        for call in [
            lambda a: a.getitem((slice(3, 20), 4)),
            lambda a: a.get_orthogonal_selection((rows, slice(2, 9))),
            lambda a: a.get_coordinate_selection((rows, rows)),
            lambda a: a.get_mask_selection(mask),
            lambda a: a.oindex.getitem((rows, slice(2, 9))),
            lambda a: a.vindex.getitem((rows, rows)),
        ]:
            assert_same(await call(ours), await call(theirs))
        assert_same(await ours.get_basic_selection((3, slice(None))), ours.array[3])
        assert_same(await ours.get_block_selection((0, 0)), ours.array.blocks[0, 0])
        assert (ours.shape, ours.dtype, ours.fill_value) == (SHAPE, np.dtype("<i4"), -1)
        assert repr(await ours.info_complete()) == repr(ours.array.info_complete())
        assert await ours.nchunks_initialized() == await theirs.nchunks_initialized()
        assert await ours.nbytes_stored() == await theirs.nbytes_stored()
        assert repr(ours).startswith("<AsyncArray ")
        assert pickle.loads(pickle.dumps(ours)) == ours
        out = np.empty((3, 7), "<i4")
        assert await ours.get_orthogonal_selection((rows, slice(2, 9)), out=out) is out
        assert_same(out, ours.array.oindex[rows, slice(2, 9)])

    run(main())


def test_groups(tmp_path, run):
    group = zarr.open_group(tmp_path / "g", mode="w", attributes={"x": 1})
    group.create_array("a", shape=(3,), dtype="i4")[:] = 7
    group.create_group("sub").create_array("b", shape=(2,), dtype="i4")

    async def main():
        g = await ringio_zarr.AsyncGroup.open(tmp_path / "g")
        assert isinstance(await ringio_zarr.open_group_async(tmp_path / "g"), ringio_zarr.Group)
        assert (await (await g.getitem("a")).getitem(...)).tolist() == [7, 7, 7]
        assert isinstance(await g.getitem("sub"), ringio_zarr.AsyncGroup)
        assert [name async for name in g.keys()] == ["a", "sub"]  # noqa: SIM118
        assert [name async for name, _ in g.members(max_depth=None)] == ["a", "sub", "sub/b"]
        assert [name async for name in g.array_keys()] == ["a"]
        assert [name async for name in g.group_keys()] == ["sub"]
        assert [array.shape async for array in g.array_values()] == [(3,)]
        assert [sub.path async for sub in g.group_values()] == ["sub"]
        assert (await g.nmembers(), await g.nmembers(max_depth=None)) == (2, 3)
        assert await g.contains("sub/b")
        assert not await g.contains("c")
        assert await g.get("c", 5) == 5
        assert str(await g.tree()) == str(g.group.tree())
        assert repr(await g.info_complete()) == repr(g.group.info_complete())
        assert dict(g.attrs) == {"x": 1}
        assert pickle.loads(pickle.dumps(g)) == g
        with pytest.raises(KeyError, match="nothing"):
            await g.getitem("nothing")

    run(main())


def test_errors_are_those_of_the_other_reads(sharded, run):
    """Also where the shard is found damaged before its chunks are read."""
    (sharded / "c/1/1").write_bytes(b"far too short")

    async def main():
        a = await ringio_zarr.open_array_async(sharded)
        with pytest.raises(IndexError):
            await a.read_async(60)
        with pytest.raises(ValueError, match="out has 0 arrays"):
            await a.read_many_async([0], [])
        with pytest.raises(IndexError, match="crop 0"):
            await a.read_crops_async([[55, 0]], (10, 10))
        with pytest.raises(ringio.DecodeError, match="the index of the shard"):
            await a.read_async(slice(10, 30))
        out = np.zeros((40, 50), "<i4")
        with pytest.raises(ringio.DecodeError, match="the index of the shard"):
            await a.read_many_async([slice(0, 40)], [out])
        assert (out[:20] == DATA[:20]).all()
        with pytest.raises(FileNotFoundError):
            await ringio_zarr.open_async(sharded / "nothing")

    run(main())


def test_a_shard_that_is_replaced_is_noticed(sharded, run):
    async def main():
        a = await ringio_zarr.open_array_async(sharded)
        assert (await a.read_async() == DATA).all()
        zarr.open_array(sharded)[:20] = DATA[:20] + 1
        assert (await a.read_async(slice(0, 20)) == DATA[:20] + 1).all()

    run(main())


def test_many_awaits_at_once(path, run):
    """Hundreds in flight, in a loop each in several threads, while another thread reads as it always did."""
    before = threading.active_count()

    async def main():
        a = await ringio_zarr.open_array_async(path)
        results = await asyncio.gather(*(a.read_async((slice(i % 40, i % 40 + 20), i % 50)) for i in range(300)))
        expected = a[:]
        for i, result in enumerate(results):
            assert (result == expected[i % 40 : i % 40 + 20, i % 50]).all()

    threads = [threading.Thread(target=lambda: run(main())) for _ in range(3)]
    for thread in threads:
        thread.start()
    a = ringio_zarr.open_array(path)
    for _ in range(20):
        assert (a[:35] == DATA[:35]).all()
    for thread in threads:
        thread.join()
    assert threading.active_count() <= before + 3  # workers of the default reader, not threads for calls


def test_no_thread_once_the_indexes_are_known(sharded):
    """Small reads of known shards are planned by the loop's thread, and done by the workers."""

    async def main():
        a = await ringio_zarr.open_array_async(sharded)
        await a.read_async()
        asyncio.get_running_loop().run_in_executor = None  # whoever wants a thread now fails
        assert (await a.read_async() == DATA).all()
        assert (await a.read_crops_async([[0, 0], [30, 30]], (5, 5))).shape == (2, 5, 5)

    with asyncio.Runner() as runner:
        runner.run(main())


def test_a_large_batch_does_not_keep_the_loop_waiting(tmp_path, run):
    zarr.create_array(tmp_path / "a", shape=(1000, 1000), dtype="i1", chunks=(10, 10), shards=(500, 500))[:] = 1
    starts = np.random.default_rng(0).integers(0, 900, (20_000, 2))
    longest = 0.0

    async def watch():
        nonlocal longest
        while True:
            begun = time.monotonic()
            await asyncio.sleep(0.001)
            longest = max(longest, time.monotonic() - begun)

    async def main():
        a = await ringio_zarr.open_array_async(tmp_path / "a")
        watching = asyncio.create_task(watch())
        assert (await a.read_crops_async(starts, (20, 20))).all()
        watching.cancel()

    run(main())
    assert longest < 0.5  # on a busy machine; planning alone takes 20 ms


def test_cancelling_stops_the_read(tmp_path, run):
    """Reads that take for ever are given up at once, also while an index is being read; the reader goes on."""
    path = tmp_path / "a"
    zarr.create_array(path, shape=(64 << 20,), dtype="i1", chunks=(1 << 20,), compressors=[])[:] = 1

    async def main():
        a = await ringio_zarr.open_array_async(path)
        for delay_s in [0, 0.0005, 0.002, 0.01]:
            task = asyncio.create_task(a.read_crops_async(np.arange(5000).reshape(-1, 1) * 1000, (1 << 16,)))
            await asyncio.sleep(delay_s)
            begun = time.monotonic()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert time.monotonic() - begun < 1
        assert (await a.read_async(slice(0, 10)) == 1).all()

    run(main())


def test_one_failure_in_a_task_group_cancels_the_others(path, run):
    async def main():
        a = await ringio_zarr.open_array_async(path)

        async def read_all():
            async with asyncio.TaskGroup() as group:
                group.create_task(a.read_async(1000))
                for i in range(20):
                    group.create_task(a.read_async(i))

        with pytest.raises(ExceptionGroup):
            await read_all()
        assert (await a.read_async(0) == DATA[0]).all()

    run(main())


def test_nothing_is_left_behind(path, run):
    """File descriptors and threads after loops have come and gone."""

    async def main():
        a = await ringio_zarr.open_array_async(path)
        await asyncio.gather(*(a.read_async(i) for i in range(10)))

    run(main())
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        run(main())
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1


@pytest.mark.parametrize("kind", ["obstore", "dict", "zip", "zarr", "fsspec"])
def test_stores(sharded, tmp_path, run, kind):
    """Every kind of store is awaited, explained, and counted."""
    files = {str(one.relative_to(sharded)): one.read_bytes() for one in sharded.rglob("*") if one.is_file()}
    if kind == "obstore":
        store = MemoryStore()
        for key, data in files.items():
            store.put(key, data)
    elif kind == "dict":
        store = files
    elif kind == "zip":
        store = shutil.make_archive(str(tmp_path / "z"), "zip", sharded)
    elif kind == "zarr":
        store = zarr.storage.WrapperStore(zarr.storage.LocalStore(sharded))
    else:
        store = fsspec.filesystem("memory").get_mapper("/zarr-async")
        store.update(files)

    async def main():
        a = await ringio_zarr.AsyncArray.open(store)
        results = await asyncio.gather(*(a.getitem(slice(i, 60)) for i in range(60)))
        for i, result in enumerate(results):
            assert (result == DATA[i:]).all()
        info = await a.info_complete()
        assert info.count_chunks_initialized == 6
        if kind != "zip":
            assert info.count_bytes_stored == sum(map(len, files.values()))
        explained = a.explain((slice(0, 20), slice(0, 30)))
        assert (explained.chunks, explained.inner_chunks, explained.missing) == (1, 12, 0)

    run(main())


def large_selections(shape):
    """Two lists and a mask that come to so many pieces that they are read in batches, and a box."""
    rng = np.random.default_rng(3)
    lists = tuple(rng.permutation(length)[: length * 5 // 8] for length in shape)
    return [np.ix_(*lists), rng.random(shape) < 0.5, (slice(3, 9), 5), (lists[0][:30000] * 0, np.arange(len(lists[0])))]


@pytest.mark.parametrize("layout", ["files", "shards"])
def test_large_lists_and_masks(tmp_path, run, layout):
    values = np.random.default_rng(1).integers(0, 99, (600, 500)).astype("<i4")
    zarr.create_array(tmp_path / "a", data=values, **LAYOUTS[layout])
    array = ringio_zarr.open(tmp_path / "a")
    selections = large_selections(values.shape)
    lists, mask = selections[:2]

    async def read():
        wrapped = ringio_zarr.AsyncArray(array)
        return [
            await wrapped.get_orthogonal_selection(tuple(map(np.ravel, lists))),
            await wrapped.get_mask_selection(mask),
            await array.read_async(mask),
            *await array.read_many_async(selections),
        ]

    expected = [values[selection] for selection in selections]
    found = run(read())
    for one, other in zip(found, [expected[0], expected[1], expected[1], *expected], strict=True):
        np.testing.assert_array_equal(one, other)
    out = [np.zeros(one.shape[::-1], one.dtype).T for one in expected]
    for one, other in zip(array.read_many(selections, out), expected, strict=True):
        np.testing.assert_array_equal(one, other)


PEAK = """
import asyncio, resource, sys
import numpy as np, ringio_zarr
a = ringio_zarr.open(sys.argv[1])
rng = np.random.default_rng(0)
lists = tuple(rng.permutation(length)[:2000] for length in a.shape)
mask = rng.random(a.shape) < 0.5
list(map(a.read_many, ([np.s_[:1000]], [np.s_[:8, :8]])))
wants = {
    "lists": lambda: asyncio.run(ringio_zarr.AsyncArray(a).get_orthogonal_selection(lists)),
    "mask": lambda: asyncio.run(a.read_async(mask)),
    "many": lambda: a.read_many([mask, 3]),
    "explain": lambda: a.explain(mask),
}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
wants[sys.argv[2]]()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


@pytest.mark.parametrize("how", ["lists", "mask", "many", "explain"])
def test_large_lists_and_masks_take_no_memory_for_each_element(tmp_path, how):
    """As boxes, four million elements would take 500 MiB."""
    array = zarr.create_array(tmp_path / "a", shape=(3000, 2800), chunks=(500, 500), dtype="u1", fill_value=0)
    array[...] = 1
    command = [sys.executable, "-c", PEAK, str(tmp_path / "a"), how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert int(done.stdout) < 200  # MiB
