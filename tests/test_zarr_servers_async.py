"""Arrays and groups behind real servers in event loops: many tasks at once, faults, cancelling."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.storage import MemoryStore

import ringio
import ringio_zarr
from servers import Rule

pytestmark = pytest.mark.filterwarnings("ignore::Warning:zarr")

SHAPE = (120, 100)
VALUES = np.random.default_rng(0).integers(0, 99, SHAPE).astype("<i4")
EXPECTED = np.where(np.arange(SHAPE[0])[:, None] < 100, VALUES, 7)  # the last chunks, and shards, are missing
NAMES = ["files", "shards"]


@pytest.fixture(scope="module")
def data() -> dict[str, bytes]:
    """A group with consolidated metadata, as plain HTTP servers cannot list what they have."""
    store = MemoryStore()
    root = zarr.create_group(store, attributes={"title": "behind a server"})
    options: dict[str, Any] = {"shape": SHAPE, "dtype": "<i4", "fill_value": 7}
    root.create_array("files", chunks=(20, 25), **options)[:100] = VALUES[:100]
    root.create_array("deep/er/shards", chunks=(5, 25), shards=(20, 50), **options)[:100] = VALUES[:100]
    zarr.consolidate_metadata(store)
    return {key: value.to_bytes() for key, value in store._store_dict.items()}


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    if request.param == "asyncio":
        return asyncio.run
    return pytest.importorskip("uvloop").run  # type: ignore[no-any-return]


@pytest.fixture
def reader() -> Iterator[ringio.Reader]:
    with ringio.Reader(workers=2, store_options={"retries": 6}) as reader:
        yield reader


def put(server: Any, folder: str, data: dict[str, bytes]) -> str:
    for key, value in data.items():
        server.put(f"{folder}/{key}", value)
    return str(server.url(folder))


async def open_both(url: str, reader: ringio.Reader) -> list[ringio_zarr.Array]:
    group: Any = await ringio_zarr.open_group_async(url, reader=reader)
    return [group["files"], group["deep/er/shards"]]


async def read_some(array: ringio_zarr.Array, number: int) -> None:
    """One of many different reads."""
    rng = np.random.default_rng(number)
    first = int(rng.integers(0, 90))
    match number % 5:
        case 0:
            found = await array.read_async((slice(first, first + 30, 2), slice(None, None, 3)))
            np.testing.assert_array_equal(found, EXPECTED[first : first + 30 : 2, ::3])
        case 1:
            starts = np.stack([rng.integers(0, 90, 20), rng.integers(0, 70, 20)], axis=1)
            crops = await array.read_crops_async(starts, (30, 30))
            np.testing.assert_array_equal(crops, [EXPECTED[y : y + 30, x : x + 30] for y, x in starts])
        case 2:
            rows, columns = rng.integers(0, 120, 50), rng.integers(0, 100, 50)
            mask = rng.random(SHAPE) < 0.1
            found = await array.read_many_async([(rows, columns), mask, (rows, slice(3, 60)), first])
            for one, other in zip(found, [(rows, columns), mask, (rows, slice(3, 60)), first], strict=True):
                np.testing.assert_array_equal(one, EXPECTED[other])
        case 3:
            wrapped = ringio_zarr.AsyncArray(array)
            rows = rng.permutation(120)[:40]
            np.testing.assert_array_equal(await wrapped.oindex.getitem((rows, [3, 1])), EXPECTED[np.ix_(rows, [3, 1])])
            np.testing.assert_array_equal(await wrapped.getitem((first, ...)), EXPECTED[first])
        case _:
            out = np.zeros((120, 10), "<i4")
            assert (await array.read_many_async([(slice(None), slice(5, 15))], out=[out]))[0] is out
            np.testing.assert_array_equal(out, EXPECTED[:, 5:15])


def test_groups(nginx: Any, data: dict[str, bytes], run: Any, reader: ringio.Reader) -> None:
    url = put(nginx, "async/groups", data)

    async def main() -> None:
        group = await ringio_zarr.AsyncGroup.open(url, reader=reader)
        assert dict(group.attrs) == {"title": "behind a server"}
        assert [name async for name in group.keys()] == ["deep", "files"]  # noqa: SIM118
        assert [name async for name, _ in group.members(max_depth=None)] == [
            "deep", "deep/er", "deep/er/shards", "files",
        ]  # fmt: skip
        assert await group.contains("deep/er/shards")
        assert not await group.contains("nothing")
        with pytest.raises(KeyError):
            await group.getitem("nothing")
        array: Any = await group.getitem("deep/er/shards")
        np.testing.assert_array_equal(await array.getitem(...), EXPECTED)
        deep: Any = await group.getitem("deep/er")
        assert [name async for name in deep.array_keys()] == ["shards"]
        assert "shards (120, 100) int32" in str(await group.tree())
        with pytest.raises(FileNotFoundError):
            await ringio_zarr.open_async(f"{url}/nothing", reader=reader)
        plain = await ringio_zarr.AsyncArray.open(f"{url}/files", reader=reader)
        np.testing.assert_array_equal(await plain.get_block_selection((1, 2)), EXPECTED[20:40, 50:75])

    run(main())


def test_many_tasks_at_once(nginx: Any, data: dict[str, bytes], run: Any, reader: ringio.Reader) -> None:
    """Of one loop, and of two threads with a loop each."""
    url = put(nginx, "async/tasks", data)

    async def main() -> None:
        arrays = await open_both(url, reader)
        await asyncio.gather(*[read_some(arrays[number % 2], number) for number in range(150)])

    run(main())
    errors: list[BaseException] = []

    def in_thread() -> None:
        try:
            run(main())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=in_thread) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_opening_many_nodes_at_once(nginx: Any, data: dict[str, bytes], run: Any, reader: ringio.Reader) -> None:
    url = put(nginx, "async/opening", data)

    async def main() -> None:
        nodes = await asyncio.gather(
            *[
                ringio_zarr.open_array_async(f"{url}/{('files', 'deep/er/shards')[i % 2]}", reader=reader)
                for i in range(40)
            ]
        )
        assert len(set(nodes)) == 2
        found = await asyncio.gather(*[node.read_async(i) for i, node in enumerate(nodes)])
        np.testing.assert_array_equal(found, EXPECTED[: len(nodes)])

    run(main())


def test_faults_that_pass(latency: Any, data: dict[str, bytes], run: Any, reader: ringio.Reader) -> None:
    """Errors of the server, connections that break: tried again, and the answers are right."""
    url = put(latency, "async/faults", data)

    async def main() -> None:
        arrays = await open_both(url, reader)
        for rules in (
            [Rule(every=5, status=503, count=12)],
            [Rule(every=5, ending="reset", ending_after_nbytes=40, count=12)],
            [Rule(every=5, ending="cut", ending_after_nbytes=40, count=12), Rule(every=3, delay_s=0.05)],
        ):
            latency.rules(*rules)
            await asyncio.gather(*[read_some(arrays[number % 2], number) for number in range(20)])
        latency.rules()

    run(main())


def test_a_fault_that_stays(latency: Any, data: dict[str, bytes], run: Any, reader: ringio.Reader) -> None:
    """The read that wants that chunk fails and says what; others go on."""
    url = put(latency, "async/stays", data)

    async def main() -> None:
        array, _ = await open_both(url, reader)
        latency.rules(Rule(path="/async/stays/files/c/2/", status=403))
        results = await asyncio.gather(
            *[array.read_async(slice(20 * i, 20 * i + 20)) for i in range(6)], return_exceptions=True
        )
        assert isinstance(results[2], PermissionError)
        assert "files/c/2/" in str(results[2])
        for i in (0, 1, 3, 4, 5):
            np.testing.assert_array_equal(results[i], EXPECTED[20 * i : 20 * i + 20])

        async def in_group() -> None:
            async with asyncio.TaskGroup() as tasks:
                for i in range(6):
                    tasks.create_task(array.read_async(slice(20 * i, 20 * i + 20)))

        with pytest.raises(ExceptionGroup) as caught:
            await in_group()
        assert caught.group_contains(PermissionError)
        latency.rules()
        np.testing.assert_array_equal(await array.read_async(...), EXPECTED)

    run(main())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("when", ["chunks", "indexes", "documents"])
def test_cancelling(
    name: str, when: str, latency: Any, data: dict[str, bytes], run: Any, reader: ringio.Reader
) -> None:
    """A server that never answers does not hold a task that was cancelled, whatever it waits for; others go on."""
    url = put(latency, "async/cancelling", data)

    async def main() -> None:
        both = dict(zip(NAMES, await open_both(url, reader), strict=True))
        array = both[name]
        if when == "chunks":
            await array.read_async(...)  # the indexes are known now
        latency.rules(Rule(ending="stall"))
        work: Any
        if when == "documents":
            work = [ringio_zarr.open_async(url, reader=reader)]
        else:
            crops = array.read_crops_async([[0, 0], [50, 20]], (40, 40))
            work = [array.read_async(...), array.read_many_async([1, ([1, 2], slice(None))]), crops]
        tasks = [asyncio.ensure_future(each) for each in work]
        await asyncio.sleep(0.15)
        start = time.monotonic()
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert time.monotonic() - start < 1
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await array.read_async(5)
        latency.rules()
        latency.disconnect()
        np.testing.assert_array_equal(await array.read_async(...), EXPECTED)

    run(main())
