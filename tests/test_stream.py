"""Streams of ranges: every range once, in bounded memory however slow the consumer, and an end at any time is clean."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ringio
from ringio.testing import faulty_reader

NBYTES = 8 << 20

pytestmark = pytest.mark.usefixtures("no_job_is_left")
linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> tuple[str, bytes]:
    """A file of 8 MiB, and its bytes."""
    path = tmp_path_factory.mktemp("stream") / "file"
    data = np.random.default_rng(0).bytes(NBYTES)
    path.write_bytes(data)
    return str(path), data


async def collect(stream: Any) -> list[tuple[int, Any]]:
    return [pair async for pair in stream]


def streamed(reader: ringio.Reader, ranges: Any, way: str, **options: Any) -> dict[int, Any]:
    """What a stream gives, by number; each number once."""
    if way == "sync":
        pairs = list(reader.iter_ranges(ranges, **options))
    else:
        pairs = asyncio.run(collect(reader.iter_ranges_async(ranges, **options)))
    got = dict(pairs)
    assert len(got) == len(pairs)
    return got


@pytest.fixture(params=["sync", "async"])
def way(request) -> str:
    """Both ways of consuming a stream."""
    return request.param


def columns(path: str, count: int, nbytes_max: int, seed: int = 0) -> ringio.Ranges:
    """Random ranges of the file."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, nbytes_max, count)
    return ringio.Ranges([path], 0, rng.integers(0, NBYTES - nbytes_max, count), lengths)


def right(ranges: ringio.Ranges, data: bytes) -> dict[int, bytes]:
    pairs = zip(ranges.offsets.tolist(), ranges.lengths.tolist(), strict=True)
    return {i: data[offset : offset + length] for i, (offset, length) in enumerate(pairs)}


class TestBytes:
    @pytest.mark.parametrize(
        ("count", "nbytes_max"), [(0, 1), (1, 10), (4096, 50), (4097, 50), (9000, 9000), (9, 5 << 20)]
    )
    def test_all_sizes(self, reader, file, way, count, nbytes_max):
        """Blocks and sub-batches of all kinds of sizes, and their borders."""
        ranges = columns(file[0], count, nbytes_max)
        assert streamed(reader, ranges, way) == right(ranges, file[1])

    def test_tuples(self, reader, file, way):
        """A list, and a generator, of ranges of several files, of all kinds."""
        path, data = file
        other = path + "-other"
        Path(other).write_bytes(b"0123456789")
        kinds = [(path, 5, 10), (other, 2, 3), (path, -7, None), (Path(other), 0, None), (path, 1, 0), (other, -4, 2)]
        rights = [data[5:15], b"234", data[-7:], b"0123456789", b"", b"67"]
        ranges = kinds * 1000
        expected = dict(enumerate(rights * 1000))
        assert streamed(reader, ranges, way) == expected
        assert streamed(reader, iter(ranges), way) == expected
        assert streamed(reader, ringio.Ranges.from_tuples(ranges), way) == expected

    def test_many_paths(self, reader, tmp_path, way):
        """More files than a block has ranges; each sub-batch knows only its own."""
        names = [str(tmp_path / f"{i}") for i in range(300)]
        for i, name in enumerate(names):
            Path(name).write_bytes(b"%6d" % i)
        index = np.random.default_rng(0).integers(0, 300, 6000)
        got = streamed(reader, ringio.Ranges(names, index, np.zeros(6000, int), 6), way)
        assert got == {i: b"%6d" % number for i, number in enumerate(index.tolist())}

    @given(data=st.data())
    def test_law(self, file, data):
        """Whatever is asked: the same as read_ranges gives, range by range, errors included."""
        path, _ = file
        number = st.integers(-NBYTES - 10, NBYTES + 10)
        length = st.none() | st.integers(0, 3000) | st.integers(0, NBYTES * 2)
        ranges = data.draw(st.lists(st.tuples(st.sampled_from([path, "/none"]), number, length), max_size=30))
        allow_short = data.draw(st.booleans())
        reader = ringio.default_reader()
        expected = reader.read_ranges(ranges, on_error="return", allow_short=allow_short)
        got = dict(reader.iter_ranges(ranges, on_error="return", allow_short=allow_short))
        assert sorted(got) == list(range(len(ranges)))
        for i, buffer in enumerate(expected):
            if isinstance(buffer, Exception):
                assert (type(got[i]), str(got[i])) == (type(buffer), str(buffer))
            else:
                assert got[i] == buffer

    def test_buffers_last(self, reader, file, way):
        """They are read-only, and stay what they are when the stream goes on and ends."""
        ranges = columns(file[0], 3000, 20000)
        kept = streamed(reader, ranges, way)
        gc.collect()
        assert kept == right(ranges, file[1])
        assert all(buffer.readonly and buffer.format == "B" for buffer in kept.values())

    def test_faults(self, backend, file, way):
        """Short, late and interrupted reads are not seen."""
        ranges = columns(file[0], 5000, 9000)
        faults = {"short": 5, "eintr": 7, "eagain": 7, "late": 3, "submit": 5}
        with faulty_reader(backend, seed=3, workers=2, **faults) as reader:
            assert streamed(reader, ranges, way) == right(ranges, file[1])

    def test_direct(self, file, way):
        ranges = columns(file[0], 300, 300_000)
        with ringio.Reader(direct=True) as reader:
            assert streamed(reader, ranges, way) == right(ranges, file[1])

    def test_small_limit(self, backend, file, way):
        ranges = columns(file[0], 300, 900_000)
        with ringio.Reader(backend, workers=1, memory_limit_bytes=8 << 20) as reader:
            assert streamed(reader, ranges, way) == right(ranges, file[1])

    def test_file_replaced_meanwhile(self, reader, tmp_path, way):
        """Each range is of one version of its file, or an error."""
        path = tmp_path / "file"
        path.write_bytes(b"a" * 100_000)

        def look(i: int, buffer: memoryview) -> None:
            data = bytes(buffer)
            assert data == data[:1] * len(data), f"range {i}"
            if i % 30 == 0:
                fresh = path.with_name("fresh")
                fresh.write_bytes(b"ab"[i // 30 % 2 : i // 30 % 2 + 1] * (100_000 + i))
                fresh.rename(path)

        async def look_at_all() -> None:
            async for i, buffer in reader.iter_ranges_async([(path, 0, None)] * 300):
                look(i, buffer)

        for _ in range(3):
            if way == "async":
                asyncio.run(look_at_all())
                continue
            for i, buffer in reader.iter_ranges([(path, 0, None)] * 300):
                look(i, buffer)


class TestErrors:
    def test_raise(self, reader, file, way):
        """The ranges in front of it, then the error, which names the range, then nothing."""
        path, _ = file
        ranges = [(path, i, 10) for i in range(6000)]
        ranges[5000] = (path, NBYTES, 1)
        with pytest.raises(ringio.RangeError, match=f"{NBYTES} bytes") as caught:
            streamed(reader, ranges, way)
        assert caught.value.__notes__ == ["range 5000"]
        stream = reader.iter_ranges(ranges[4990:])
        got = [i for i, _ in itertools.islice(stream, 10)]
        assert got == list(range(10))
        with pytest.raises(ringio.RangeError):
            next(stream)
        assert list(stream) == []

    def test_return(self, reader, file, way):
        path, data = file
        ranges = [(path, i, 10) for i in range(5000)]
        ranges[3] = ("/none", 0, 1)
        ranges[4500] = (path, NBYTES, 1)
        got = streamed(reader, ranges, way, on_error="return")
        assert len(got) == 5000
        assert isinstance(got.pop(3), FileNotFoundError)
        assert isinstance(got.pop(4500), ringio.RangeError)
        assert all(buffer == data[i : i + 10] for i, buffer in got.items())

    def test_too_large(self, file, way, tmp_path):
        """A range that does not fit into the limit says so, by name and number; the others come."""
        path = tmp_path / "large"
        with path.open("wb") as large:
            large.truncate(20 << 20)
        ranges = [(path, 0, 100), (path, 0, None), (path, 5, 9 << 20), (path, 1, 8 << 20)]
        with ringio.Reader(memory_limit_bytes=8 << 20) as reader:
            got = streamed(reader, ranges, way, on_error="return")
            assert [len(got[0]), len(got[3])] == [100, 8 << 20]
            for i in (1, 2):
                assert isinstance(got[i], ringio.MemoryLimitError)
                assert "large" in str(got[i])
                assert "memory_limit_bytes" in str(got[i])
            with pytest.raises(ringio.MemoryLimitError, match="20971520"):
                streamed(reader, ranges[:2], way)

    def test_arguments(self, reader, file):
        """Wrong ones are refused at once, not at the first range."""
        for bad, error in [({"on_error": "ignore"}, ValueError), ({"progress": 3}, TypeError)]:
            with pytest.raises(error):
                reader.iter_ranges([(file[0], 0, 1)], **bad)
            with pytest.raises(error):
                reader.iter_ranges_async([(file[0], 0, 1)], **bad)
        with pytest.raises(TypeError):
            reader.iter_ranges(5)

    def test_bad_tuple(self, reader, file, way):
        """One far down the stream is found when it gets there, and the message helps to find it."""
        ranges = ((file[0], 0, 1) if i != 5000 else ("a", "b", "c") for i in range(9000))
        with pytest.raises(TypeError, match="range 904") as caught:
            streamed(reader, ranges, way)
        assert "4096" in caught.value.__notes__[0]

    def test_generator_that_raises(self, reader, file, way):
        def ranges() -> Iterator[tuple[str, int, int]]:
            yield from ((file[0], i, 100) for i in range(5000))
            raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            streamed(reader, ranges(), way)

    def test_reader_closed(self, backend, file):
        """What has been read is still handed out, perhaps; then the stream says why it ends."""
        reader = ringio.Reader(backend, workers=2)
        stream = reader.iter_ranges([(file[0], 0, 1 << 20)] * 500)
        next(stream)
        reader.close()
        with pytest.raises(ringio.RingioError, match="closed"):
            list(stream)

    def test_wrong_use(self, reader, file):
        """One stream, two threads at once: refused, not broken."""
        stream = reader.iter_ranges((file[0], 0, 10) for _ in iter(int, 1))
        errors = []

        def consume() -> None:
            try:
                for _ in itertools.islice(stream, 200_000):
                    pass
            except ValueError as error:
                errors.append(str(error))

        threads = [threading.Thread(target=consume) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all("already executing" in error for error in errors)
        stream.close()


class TestLaziness:
    def test_consumed_as_it_goes(self, reader, file):
        """No more of an endless generator is taken than what is in flight."""
        taken = 0

        def ranges() -> Iterator[tuple[str, int, int]]:
            nonlocal taken
            for i in itertools.count():
                taken += 1
                yield file[0], i % 1000, 100

        stream = reader.iter_ranges(ranges())
        for expected in range(20_000):
            next(stream)
            assert taken <= expected + 4096 * 18
        stream.close()

    def test_nothing_happens_before_the_first(self, reader):
        def ranges() -> Iterator[Any]:
            raise AssertionError
            yield

        reader.iter_ranges(ranges())

    def test_other_streams(self, reader, file):
        """Several at a time, and other reads between."""
        ranges = [columns(file[0], 5000, 3000, seed) for seed in range(3)]
        streams = [reader.iter_ranges(one) for one in ranges]
        got: list[dict[int, Any]] = [{}, {}, {}]
        for trio in itertools.zip_longest(*streams):
            for part, pair in zip(got, trio, strict=True):
                part.update([pair])
            if len(got[0]) % 500 == 0:
                assert reader.read_ranges([(file[0], 3, 4)])[0] == file[1][3:7]
        assert got == [right(one, file[1]) for one in ranges]

    def test_threads(self, reader, file):
        ranges = columns(file[0], 5000, 3000)
        got = []
        threads = [threading.Thread(target=lambda: got.append(dict(reader.iter_ranges(ranges)))) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert got == [right(ranges, file[1])] * 6


class TestEnds:
    """The fixture above looks whether jobs are left."""

    def endless(self, path: str) -> Iterator[tuple[str, int, int]]:
        return ((path, i % 1000 * 1000, 100_000) for i in itertools.count())

    def test_break(self, reader, file):
        for i in range(20):
            for number, _ in reader.iter_ranges(self.endless(file[0])):
                if number > i * 3:
                    break
        assert len(reader.read_ranges([(file[0], 0, 1)] * 99)) == 99

    def test_close_and_exception(self, reader, file):
        stream = reader.iter_ranges(self.endless(file[0]))
        next(stream)
        stream.close()
        assert list(stream) == []
        stream = reader.iter_ranges(self.endless(file[0]))
        next(stream)
        with pytest.raises(KeyError):
            stream.throw(KeyError)
        never_begun = reader.iter_ranges(self.endless(file[0]))
        never_begun.close()

    def test_collected(self, reader, file):
        """A stream in a reference cycle."""
        stream = reader.iter_ranges(self.endless(file[0]))
        next(stream)
        cycle = [stream]
        cycle.append(cycle)
        del stream, cycle
        gc.collect()

    def test_async(self, reader, file):
        async def main() -> None:
            async for number, _ in reader.iter_ranges_async(self.endless(file[0])):
                if number > 50:
                    break
            async with contextlib.aclosing(reader.iter_ranges_async(self.endless(file[0]))) as stream:
                async for _ in stream:
                    break
            stream = reader.iter_ranges_async(self.endless(file[0]))
            await anext(stream)
            await stream.aclose()
            assert [pair async for pair in stream] == []

            async def read_on() -> None:
                async for _ in reader.iter_ranges_async(self.endless(file[0])):
                    pass

            for seconds in (0, 0.001, 0.05):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(read_on(), seconds)
            tasks = [asyncio.create_task(read_on()) for _ in range(20)]
            await asyncio.sleep(0.05)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert len(await reader.read_ranges_async([(file[0], 0, 1)] * 99)) == 99

        asyncio.run(main())

    def test_uvloop(self, reader, file):
        import uvloop

        ranges = columns(file[0], 5000, 3000)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            assert dict(runner.run(collect(reader.iter_ranges_async(ranges)))) == right(ranges, file[1])

    def test_async_lets_others_run(self, reader, file):
        """However fast the bytes come."""

        async def main() -> int:
            ticks = 0

            async def tick() -> None:
                nonlocal ticks
                while True:
                    ticks += 1
                    await asyncio.sleep(0)

            ticker = asyncio.create_task(tick())
            await collect(reader.iter_ranges_async([(file[0], i, 10) for i in range(50_000)]))
            ticker.cancel()
            return ticks

        assert asyncio.run(main()) > 5

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork() here")
    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_fork(self, reader, file):
        """The child is told that the stream is its parent's; both read on."""
        ranges = columns(file[0], 20_000, 3000)
        stream = reader.iter_ranges(ranges)
        got = dict([next(stream)])
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                try:
                    list(stream)
                except ringio.RingioError as error:
                    status = 0 if "fork" in str(error) else 3
                some = columns(file[0], 5000, 3000, seed=7)
                if dict(reader.iter_ranges(some)) != right(some, file[1]):
                    status = 4
            finally:
                os._exit(status)
        got.update(stream)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert got == right(ranges, file[1])

    @linux
    def test_nothing_grows(self, reader, file):
        """No descriptor and no thread is left by streams of any end."""

        def footprint() -> tuple[int, int]:
            gc.collect()
            return sum(1 for _ in Path("/proc/self/fd").iterdir()), sum(1 for _ in Path("/proc/self/task").iterdir())

        def use() -> None:
            for _ in reader.iter_ranges(columns(file[0], 100, 9000)):
                pass
            for _ in reader.iter_ranges(self.endless(file[0])):
                break

        use()
        before = footprint()
        for _ in range(50):
            use()
        assert footprint() == before


class TestProgress:
    def test_known(self, reader, file, way):
        """Columns say how much there will be."""
        calls = []
        ranges = columns(file[0], 9000, 9000)
        streamed(reader, ranges, way, progress=lambda *numbers: calls.append(numbers))
        total = int(ranges.lengths.sum())
        assert {asked for _, asked in calls} == {total}
        assert calls[-1] == (total, total)
        assert [done for done, _ in calls] == sorted(done for done, _ in calls)

    def test_unknown(self, reader, file, way):
        """A generator does not: the end is not claimed before it is there."""
        calls = []
        ranges = ((file[0], i, 1000) for i in range(9000))
        streamed(reader, ranges, way, progress=lambda *numbers: calls.append(numbers))
        assert all(done < asked for done, asked in calls[:-1])
        assert calls[-1] == (9_000_000, 9_000_000)

    def test_exception(self, reader, file, way):
        def give_up(done: int, total: int) -> None:
            raise KeyError

        with pytest.raises(KeyError):
            streamed(reader, columns(file[0], 9000, 9000), way, progress=give_up)


@linux
class TestMemory:
    def test_slow_consumer(self, run_child, tmp_path):
        """2 GiB through a reader of 16 MiB: memory is bounded by that, slow or fast, sync or async."""
        script = """
            import asyncio, resource, sys, time
            import numpy as np
            import ringio

            path, count = sys.argv[1], 2 << 30 >> 18
            with open(path, "wb") as file:
                file.truncate(64 << 20)
            ranges = ringio.Ranges([path], 0, np.arange(count) % 256 << 18, 1 << 18)
            reader = ringio.Reader(workers=2, memory_limit_bytes=16 << 20)
            reader.read_ranges([(path, 0, 100)] * 20)
            peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


            def consume():
                for number, buffer in reader.iter_ranges(ranges):
                    assert len(buffer) == 1 << 18
                    if number % 512 == 0:
                        time.sleep(0.02)


            async def consume_async():
                async for number, buffer in reader.iter_ranges_async(ranges):
                    if number % 512 == 0:
                        await asyncio.sleep(0.02)


            async def nothing():
                pass


            asyncio.run(nothing())
            before = peak()
            consume()
            asyncio.run(consume_async())
            print((peak() - before) >> 20)
            """
        assert int(run_child(script, tmp_path / "sparse")) <= 24

    def test_a_million(self, run_child, file):
        """A million ranges take no more memory than a hundred thousand, as columns or from a generator, also where one
        small buffer of each hundred is kept."""
        script = """
            import resource, sys
            import numpy as np
            import ringio

            path = sys.argv[1]
            reader = ringio.Reader(workers=2, memory_limit_bytes=64 << 20)
            peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


            def consume(ranges):
                total, kept = 0, []
                for number, buffer in reader.iter_ranges(ranges):
                    total += len(buffer)
                    if number % 100 == 0:
                        kept.append(buffer)
                return total


            def generated(count):
                return ((path, i * 77 % 8_000_000, 64) for i in range(count))


            def columns(count):
                return ringio.Ranges([path], 0, np.arange(count) * 77 % 8_000_000, 64)


            consume(generated(100_000))
            consume(columns(100_000))
            million = columns(1_000_000)
            before = peak()
            assert consume(generated(1_000_000)) == consume(million) == 64_000_000
            print((peak() - before) >> 20)
            """
        assert int(run_child(script, file[0], timeout_s=110)) <= 16
