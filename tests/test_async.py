"""Reads awaited by event loops: same bytes and errors as the sync calls, many at once, cancelled at any time, in any
number of loops, and nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import shutil
import sys
import threading
import time
import warnings
import weakref
import zlib
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ringio
from ringio import _execute, _loops, _reading
from ringio.testing import faulty_reader

Run = Callable[[Coroutine[Any, Any, Any]], Any]

NBYTES = 4 << 20

pytestmark = pytest.mark.usefixtures("no_job_is_left")


@pytest.fixture(params=["asyncio", "uvloop"])
def loop_factory(request) -> Callable[[], asyncio.AbstractEventLoop]:
    """Makes loops of each kind in turn."""
    if request.param == "asyncio":
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop


@pytest.fixture
def run(loop_factory) -> Run:
    """Runs a coroutine in a new loop, as ``asyncio.run`` does."""

    def run(coroutine):
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            return runner.run(coroutine)

    return run


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> tuple[str, bytes]:
    """A file of 4 MiB, and its bytes."""
    path = tmp_path_factory.mktemp("async") / "file"
    data = np.random.default_rng(0).bytes(NBYTES)
    path.write_bytes(data)
    return str(path), data


def bells() -> int:
    """Event file descriptors of this process."""
    found = 0
    for fd in Path("/proc/self/fd").iterdir():
        try:
            found += "eventfd" in str(fd.readlink())
        except OSError:
            continue
    return found


def pick(count: int, seed: int, nbytes_max: int = 3000) -> tuple[Any, Any]:
    """Offsets and lengths of random ranges."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, nbytes_max, count)
    return rng.integers(0, NBYTES - nbytes_max, count), lengths


async def is_right(reader: ringio.Reader, file: tuple[str, bytes], count: int, seed: int) -> bool:
    """Read ``count`` random ranges, and compare."""
    path, data = file
    offsets, lengths = pick(count, seed)
    buffers = await reader.read_ranges_async(ringio.Ranges([path], 0, offsets, lengths))
    return all(
        buffer == data[offset : offset + length]
        for buffer, offset, length in zip(buffers, offsets.tolist(), lengths.tolist(), strict=True)
    )


class TestSameAsSync:
    def test_ranges_of_all_kinds(self, reader, file, run):
        """Tuples, columns, suffixes, open ends, empty ones, none at all."""
        path, data = file
        ranges = [(path, 5, 10), (path, -7, None), (path, NBYTES - 100, None), (path, 1, 0), (path, 0, 1 << 20)]
        rights = [data[5:15], data[-7:], data[-100:], b"", data[: 1 << 20]]
        assert [bytes(one) for one in run(reader.read_ranges_async(ranges))] == rights
        assert [bytes(one) for one in run(reader.read_ranges_async(one for one in ranges))] == rights
        assert [bytes(one) for one in run(reader.read_ranges_async(ringio.Ranges.from_tuples(ranges)))] == rights
        assert list(run(reader.read_ranges_async([]))) == []

    @pytest.mark.parametrize("count", [1, 8, 9, 700, 5000])
    def test_batches_of_all_sizes(self, reader, file, run, count):
        """From those that the loop's thread does itself to those that are planned by another one."""

        async def main():
            return [await is_right(reader, file, count, seed) for seed in range(3)]

        assert all(run(main()))

    def test_out(self, reader, file, run):
        path, data = file
        out = bytearray(300)
        buffers = run(reader.read_ranges_async([(path, 0, 100), (path, 1000, 200)], out=out))
        assert out == data[:100] + data[1000:1200]
        assert bytes(buffers[1]) == data[1000:1200]

    def test_errors(self, reader, file, run):
        """Raised as the sync call raises them, or returned."""
        path, data = file
        ranges = [(path, 0, 4), ("/none", 0, 1), (path, NBYTES, 1)]
        with pytest.raises(FileNotFoundError, match="/none"):
            run(reader.read_ranges_async(ranges))
        buffers = run(reader.read_ranges_async(ranges, on_error="return"))
        assert buffers[0] == data[:4]
        assert isinstance(buffers[1], FileNotFoundError)
        assert isinstance(buffers[2], ringio.RangeError)
        assert bytes(run(reader.read_ranges_async([(path, NBYTES - 3, 9)], allow_short=True))[0]) == data[-3:]
        for bad, error in [
            ({"on_error": "ignore"}, ValueError),
            ({"progress": 3}, TypeError),
            ({"out": b"x"}, ValueError),
        ]:
            with pytest.raises(error):
                run(reader.read_ranges_async([(path, 0, 1)], **bad))
        with pytest.raises(TypeError, match="range 0"):
            run(reader.read_ranges_async(["a"]))

    def test_plan(self, reader, run, tmp_path):
        """Decoded by the workers, into the caller's array; failures are those of the sync call."""
        rows = np.arange(64 * 32, dtype="<i4").reshape(64, 32)
        chunks = [zlib.compress(rows[i : i + 8].tobytes()) for i in range(0, 64, 8)]
        path = tmp_path / "chunks"
        path.write_bytes(b"".join(chunks))
        ends = np.cumsum([len(chunk) for chunk in chunks]).tolist()
        ranges = [(path, end - len(chunk), len(chunk)) for chunk, end in zip(chunks, ends, strict=True)]
        tasks = [
            ringio.Task(i, chunk_shape=(8, 32), source_start=(0, 0), counts=(8, 32), target_start=(8 * i, 0))
            for i in range(8)
        ]
        plan = ringio.Plan(ranges, tasks, codecs=ringio.codecs.chain(["bytes", "zlib"]), dtype="<i4")
        out = np.zeros_like(rows)
        assert run(reader.execute_async(plan, out)) is out
        assert np.array_equal(out, rows)
        with path.open("r+b") as target:
            target.seek(ends[2] + 5)
            target.write(b"damaged")
        with ringio.Reader(reader.backend) as fresh:
            with pytest.raises(ringio.DecodeError):
                run(fresh.execute_async(plan, out))
            assert [task for task, _ in run(fresh.execute_async(plan, out, on_error="return"))] == [3]

    def test_module_function(self, file, run):
        path, data = file
        assert run(ringio.read_ranges_async([(path, 3, 4)]))[0] == data[3:7]

    def test_no_loop(self, file):
        """Another way of running coroutines is refused in words."""
        coroutine = ringio.read_ranges_async([(file[0], 0, 1)])
        with pytest.raises(RuntimeError, match="no running event loop"):
            coroutine.send(None)


class TestMany:
    @pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
    def test_thousands_at_once(self, reader, file, run):
        """They need one descriptor for the loop, and not one thread."""

        async def main():
            assert await is_right(reader, file, 3, 0)
            before = threading.active_count(), bells()
            tasks = [asyncio.create_task(is_right(reader, file, 1 + i % 40, i)) for i in range(3000)]
            await asyncio.sleep(0)
            during = threading.active_count(), bells()
            return before == during, all(await asyncio.gather(*tasks))

        assert run(main()) == (True, True)

    def test_beside_a_large_one(self, file, run):
        """Small reads are done while a large one is still being read, by the one worker that there is."""
        path, data = file

        async def main():
            ranges = ringio.Ranges([path], 0, np.arange(400_000) * 7919 % (NBYTES - 3000), 3000)
            large = asyncio.create_task(reader.read_ranges_async(ranges))
            while reader.statistics().requests == 0:
                await asyncio.sleep(0.001)
            for i in range(5):
                assert (await reader.read_ranges_async([(path, i * 1000, 300_000)]))[0] == data[i * 1000 :][:300_000]
            was_done = large.done()
            await large
            return was_done

        with ringio.Reader(workers=1, max_gap_bytes=0, max_request_bytes=1) as reader:
            assert not run(main())

    def test_row_of_cached_reads_lets_others_run(self, reader, file, run):
        """What is read at once does not suspend its task: even so a timeout gets its turn."""
        path, _ = file
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        async def main():
            async def read_on():
                while True:
                    await reader.read_ranges_async([(path, 0, 10)])

            ticker = asyncio.create_task(tick())
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(read_on(), 0.2)
            ticker.cancel()

        run(main())
        assert ticks > 10

    def test_loops_in_threads_beside_sync_reads(self, reader, file, run):
        """Each thread has its own loop, or none; all share the reader."""

        async def main(seed: int) -> bool:
            return all(await asyncio.gather(*[is_right(reader, file, 1 + 9 * i, seed + i) for i in range(30)]))

        def work(i: int) -> bool:
            if i % 3:
                return run(main(i))
            return len(reader.read_ranges([(file[0], 0, 1000)] * 500)) == 500

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(work, range(24)))

    def test_faults(self, backend, file, run):
        """Short, late and interrupted reads are not seen."""

        async def main():
            return await asyncio.gather(*[is_right(reader, file, 1 + i % 50, i) for i in range(200)])

        faults = {"short": 5, "eintr": 7, "eagain": 7, "late": 3, "submit": 5}
        with faulty_reader(backend, seed=3, workers=2, **faults) as reader:
            assert all(run(main()))

    def test_reads_that_fail(self, backend, file, run):
        """Each await gets its own error, and the others their bytes."""
        path, data = file

        async def main():
            tasks = [reader.read_ranges_async([(path, i * 100_000, 50_000)]) for i in range(40)]
            return await asyncio.gather(*tasks, return_exceptions=True)

        with faulty_reader(backend, seed=3, workers=2, eio=3) as reader:
            got = run(main())
        failed = [one for one in got if isinstance(one, Exception)]
        assert all(isinstance(one, OSError) for one in failed)
        assert 0 < len(failed) < 40
        for i, one in enumerate(got):
            assert isinstance(one, OSError) or one[0] == data[i * 100_000 :][:50_000]


class TestProgress:
    def test_called_by_the_loop(self, reader, file, run):
        calls = []

        async def main():
            await reader.read_ranges_async(
                [(file[0], i % 9, NBYTES - 9) for i in range(40)],
                progress=lambda *numbers: calls.append((*numbers, threading.get_ident())),
            )

        run(main())
        assert calls[-1][0] == calls[-1][1] >= NBYTES - 9
        assert {ident for _, _, ident in calls} == {threading.get_ident()}
        assert [done for done, _, _ in calls] == sorted(done for done, _, _ in calls)

    @pytest.mark.parametrize("error", [KeyError, StopIteration])
    def test_exception(self, reader, file, run, error):
        """It stops the read, comes out of the await, and the reader goes on."""

        def give_up(done: int, total: int) -> None:
            raise error

        async def main():
            expected = RuntimeError if error is StopIteration else error  # as of any coroutine
            with pytest.raises(expected):
                await reader.read_ranges_async([(file[0], 0, NBYTES - 9)] * 60, progress=give_up)
            return await is_right(reader, file, 100, 0)

        assert run(main())


class TestCancel:
    def test_storm(self, reader, file, run):
        """Tasks of all sizes cancelled at any time, some twice: the others get their bytes."""
        rng = random.Random(0)

        async def main():
            tasks = [
                asyncio.create_task(is_right(reader, file, rng.choice([1, 8, 60, 900, 6000]), i)) for i in range(150)
            ]
            chosen = rng.sample(tasks, 90)
            for number, task in enumerate(chosen):
                task.cancel()
                if number % 3 == 0:
                    await asyncio.sleep(rng.choice([0, 0, 0.001]))
                if number % 5 == 0:
                    task.cancel()
            got = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(one is True or isinstance(one, asyncio.CancelledError) for one in got)
            assert all(one is True for task, one in zip(tasks, got, strict=True) if task not in chosen)
            return await is_right(reader, file, 1000, 0)

        assert run(main())

    def test_memory_goes(self, reader, file, run):
        """What a cancelled read would have written to is let go of in the end."""

        class Out(np.ndarray):
            pass

        async def main():
            out = np.empty(64 * (NBYTES - 9), np.uint8).view(Out)
            task = asyncio.create_task(reader.read_ranges_async([(file[0], 0, NBYTES - 9)] * 64, out=out))
            await asyncio.sleep(0.002)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return weakref.ref(out)

        gone = run(main())
        assert _execute.drain(None, wait_ms=5000)
        gc.collect()
        assert gone() is None

    def test_timeout(self, reader, file, run):
        async def read_on():
            async with asyncio.timeout(0.005):
                while True:
                    await reader.read_ranges_async([(file[0], 0, NBYTES - 9)] * 100)

        async def main():
            with pytest.raises(TimeoutError):
                await read_on()
            return await is_right(reader, file, 100, 0)

        assert run(main())

    def test_task_group(self, reader, file, run):
        """One failure cancels the rest of the group."""

        async def read_all():
            async with asyncio.TaskGroup() as group:
                for _ in range(20):
                    group.create_task(reader.read_ranges_async([(file[0], 0, NBYTES - 9)] * 20))
                group.create_task(reader.read_ranges_async([("/none", 0, 1)]))

        async def main():
            with pytest.raises(ExceptionGroup) as caught:
                await read_all()
            assert isinstance(caught.value.exceptions[0], FileNotFoundError)
            return await is_right(reader, file, 100, 0)

        assert run(main())

    @pytest.mark.skipif(shutil.which("strace") is None, reason="no strace")
    @pytest.mark.parametrize("slow_backend", ["threads", "io_uring"])
    def test_slow_reads(self, run_child, file, slow_backend):
        """Reads in flight that take long hold up a cancelled task for 60 ms, not for as long as they take; the loop
        runs on meanwhile. The program may end before they do."""
        try:
            ringio.Reader(slow_backend, workers=1).close()
        except ringio.BackendError as error:
            pytest.skip(str(error))
        script = """
            import asyncio, sys, time
            import ringio
            from tracing import injected

            path, backend = sys.argv[1:]
            ranges = [(path, i * 8192, 2000) for i in range(500)]
            reader = ringio.Reader(backend, workers=2, max_gap_bytes=0)
            slow = {
                "threads": ["preadv2:error=EAGAIN", "pread64:delay_enter=300000"],
                "io_uring": ["io_uring_enter:delay_enter=300000"],
            }[backend]


            async def main():
                longest = 0.0

                async def watch():
                    nonlocal longest
                    while True:
                        start = time.monotonic()
                        await asyncio.sleep(0.001)
                        longest = max(longest, time.monotonic() - start)

                watcher = asyncio.create_task(watch())
                for _ in range(3):
                    task = asyncio.create_task(reader.read_ranges_async(ranges))
                    await asyncio.sleep(0.05)
                    start = time.monotonic()
                    task.cancel()
                    try:
                        await task
                        print("not slow")
                    except asyncio.CancelledError:
                        print(time.monotonic() - start < 0.25)
                watcher.cancel()
                print(longest < 0.2)


            with injected(*slow):
                asyncio.run(main())
            asyncio.run(reader.read_ranges_async(ranges))
            """
        assert run_child(script, file[0], slow_backend) == "True\n" * 4


class TestOtherThreads:
    """Steps of a read that are neither work of this thread nor jobs of the core, such as requests to a store."""

    @pytest.fixture
    def pool(self):
        with ThreadPoolExecutor(4) as pool:
            yield pool

    @staticmethod
    def steps(pool: ThreadPoolExecutor, *calls: Callable[[], Any]) -> Any:
        results = []
        for call in calls:
            results += [(yield pool.submit(call))]
        return results

    def test_result(self, pool, run):
        assert _reading.drive(self.steps(pool, lambda: 1, lambda: 2), None) == [1, 2]

        async def main():
            one = _loops.drive(self.steps(pool, lambda: time.sleep(0.02), lambda: 2), None)
            return await asyncio.gather(one, *[_loops.drive(self.steps(pool, lambda: 3), None) for _ in range(50)])

        assert run(main()) == [[None, 2], *[[3]] * 50]

    def test_error(self, pool, run):
        steps = self.steps(pool, lambda: [][0])
        with pytest.raises(IndexError):
            run(_loops.drive(steps, None))
        with pytest.raises(IndexError):
            _reading.drive(self.steps(pool, lambda: [][0]), None)

    def test_cancel(self, run):
        """Nobody waits for it: it is cancelled, and may end when it likes."""
        future: Future[None] = Future()
        is_closed = []

        def steps():
            try:
                yield future
            finally:
                is_closed.append(True)

        async def main():
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(_loops.drive(steps(), None), 0.01)

        run(main())
        assert future.cancelled()
        assert is_closed == [True]

    def test_stream(self, pool, file, monkeypatch):
        """Sub-batches wait for other threads and for the core, in a stream of either kind."""
        read = _reading.read

        def slowly(*args, **options):
            delay_s = yield pool.submit(random.random)
            yield pool.submit(time.sleep, delay_s / 100)
            return (yield from read(*args, **options))

        monkeypatch.setattr(_reading, "read", slowly)
        offsets, lengths = pick(20_000, 0)
        ranges = ringio.Ranges([file[0]], 0, offsets, lengths)

        async def main():
            return {number: buffer async for number, buffer in ringio.iter_ranges_async(ranges)}

        got = dict(ringio.iter_ranges(ranges))
        assert got == asyncio.run(main())
        assert all(got[i] == file[1][offsets[i] : offsets[i] + lengths[i]] for i in range(0, 20_000, 50))
        next(ringio.iter_ranges(ranges))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
class TestLoops:
    def test_one_after_the_other(self, reader, file, run):
        """Hundreds of loops leave nothing: no descriptor, and no loop kept alive."""
        run(is_right(reader, file, 100, 0))
        before = bells()
        for i in range(200):
            assert run(is_right(reader, file, (1, 50)[i % 2], i))
        assert bells() <= before

    def test_never_closed(self, reader, file):
        """A loop of asyncio that is forgotten is collected, and the bell with it; uvloop keeps its own until closed."""
        gc.collect()
        before = bells()
        for _ in range(5):
            loop = asyncio.new_event_loop()
            assert loop.run_until_complete(is_right(reader, file, 50, 0))
        gone = weakref.ref(loop)
        del loop
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
        assert gone() is None
        assert bells() == before

    def test_closed_with_reads_in_flight(self, reader, file, loop_factory):
        """The reads end by themselves, into memory that is still there."""
        before = bells()
        for _ in range(5):
            loop = loop_factory()
            tasks = [loop.create_task(reader.read_ranges_async([(file[0], i, NBYTES - 99)] * 20)) for i in range(5)]
            loop.run_until_complete(asyncio.sleep(0.001))
            loop.close()
            for task in tasks:
                task._log_destroy_pending = False  # we know
            del loop, tasks, task
            gc.collect()
        assert _execute.drain(None, wait_ms=5000)
        end = time.monotonic() + 5
        while bells() > before and time.monotonic() < end:  # the last worker may be about to ring
            time.sleep(0.001)
        assert bells() == before
        assert len(reader.read_ranges([(file[0], 0, 100)] * 100)) == 100

    def test_reader_closed_by_its_own_loop(self, backend, file, run):
        """close() waits for reads in flight without their loop, and they get their bytes; later ones are refused."""

        async def main():
            reader = ringio.Reader(backend, workers=2)
            tasks = [asyncio.create_task(is_right(reader, file, 3000, i)) for i in range(10)]
            await asyncio.sleep(0)
            reader.close()
            got = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(one is True or "closed" in str(one) for one in got)
            with pytest.raises(ringio.RingioError, match="closed"):
                await reader.read_ranges_async([(file[0], 0, 1)])
            return got

        assert run(main())[0] is True

    def test_reader_closed_by_another_thread(self, backend, file, run):
        async def main():
            reader = ringio.Reader(backend, workers=2)
            tasks = [asyncio.create_task(is_right(reader, file, 2000, i)) for i in range(30)]
            await asyncio.sleep(0.002)
            await asyncio.to_thread(reader.close)
            got = await asyncio.gather(*tasks, return_exceptions=True)
            return all(one is True or "closed" in str(one) for one in got)

        assert run(main())

    def test_reader_dropped(self, backend, file, run):
        """An await keeps its reader alive, and nothing does afterwards."""

        async def main():
            reader = ringio.Reader(backend, workers=2)
            gone = weakref.ref(reader)
            task = asyncio.create_task(is_right(reader, file, 2000, 0))
            await asyncio.sleep(0)
            del reader
            assert await task
            del task
            gc.collect()
            return gone()

        assert run(main()) is None

    def test_coroutine_dropped(self, reader, file, run):
        """A coroutine that is closed halfway cannot wait for what is in flight, and need not."""

        async def main():
            coroutine = reader.read_ranges_async([(file[0], 0, NBYTES - 9)] * 50)
            coroutine.send(None)
            coroutine.close()
            return await is_right(reader, file, 100, 0)

        assert run(main())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork() here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
class TestFork:
    def test_between_loops(self, reader, file, run):
        """A child of a process that has read so reads so in a loop of its own; its parent goes on."""
        assert run(is_right(reader, file, 100, 0))
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                status = 0 if run(is_right(reader, file, 100, 1)) and run(is_right(reader, file, 1, 1)) else 1
            finally:
                os._exit(status)
        assert run(is_right(reader, file, 100, 2))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    def test_in_the_midst(self, reader, file, run):
        """The child of a running loop makes a loop of its own, and closes the reader; the parent's awaits end well."""

        def child() -> None:
            status = 1
            try:
                asyncio._set_running_loop(None)
                status = 0 if run(is_right(reader, file, 300, 1)) else 1
                gc.collect()
                reader.close()
            except BaseException as error:
                os.write(2, f"in the child: {error!r}\n".encode())
                status = 2
            finally:
                os._exit(status)

        async def main():
            tasks = [asyncio.create_task(is_right(reader, file, 2000, i)) for i in range(20)]
            await asyncio.sleep(0.001)
            pid = os.fork()
            if pid == 0:
                child()
            right = all(await asyncio.gather(*tasks))
            deadline = time.monotonic() + 30
            while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
                await asyncio.sleep(0.01)
            return right and os.waitstatus_to_exitcode(ended[1]) == 0

        assert run(main())
