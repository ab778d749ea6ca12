"""Long ranges of objects, which are awaited in an event loop and not copied: as good as short ones, at every fault."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import threading
import weakref

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import ringio
from ringio import _memory, _object_pool, _reading
from ringio.testing import memory_store
from servers import Rule
from servers.latency import pattern

LENGTH = 300 << 10
STEP = 400_000
COUNTS = pytest.mark.parametrize("count", [1, 40])  # alone, and so many that they are asked for together


@pytest.fixture
def long(latency):
    """The URL of an object of 64 MiB."""
    return latency.put_pattern("long.bin", 64 << 20)


@pytest.fixture
def reader():
    with ringio.Reader(workers=2, max_gap_bytes=0, store_options={"retries": 3}) as reader:
        yield reader


def ranges_of(url, count):
    return [(url, i * STEP, LENGTH) for i in range(count)]


def expected(count):
    return [pattern(i * STEP, LENGTH) for i in range(count)]


class TestBuffers:
    @COUNTS
    def test_each_in_its_place(self, reader, long, count):
        buffers = reader.read_ranges(ranges_of(long, count))
        assert [bytes(buffer) for buffer in buffers] == expected(count)
        assert all(isinstance(buffer, memoryview) and buffer.readonly for buffer in buffers)
        assert {(buffer.format, buffer.ndim) for buffer in buffers} == {("B", 1)}
        assert buffers.nbytes == count * LENGTH
        assert bytes(buffers[-1]) == expected(count)[-1]
        assert [bytes(buffer) for buffer in buffers[::-2]] == expected(count)[::-2]
        with pytest.raises(IndexError):
            buffers[count]

    def test_with_out(self, reader, long):
        for count in (1, 40):
            out = np.zeros(count * LENGTH, np.uint8)
            reader.read_ranges(ranges_of(long, count), out=out)
            assert bytes(out) == b"".join(expected(count))

    def test_beside_others(self, reader, long, make_file):
        """Short ranges, equal ones, overlapping ones, files, and one that is cut into several requests."""
        path, data = make_file(1 << 20)
        ranges = [(long, 5, 10), (path, 0, 1 << 20), *ranges_of(long, 1) * 2, (long, 7, LENGTH), (long, 9, 30 << 20)]
        ranges += [(long, -LENGTH, None), (long, 100, 0)]
        whole = pattern(0, 64 << 20)
        due = [whole[5:15], data, whole[:LENGTH], whole[:LENGTH], whole[7 : 7 + LENGTH], whole[9 : 9 + (30 << 20)]]
        assert [bytes(buffer) for buffer in reader.read_ranges(ranges)] == [*due, whole[-LENGTH:], b""]

    @given(
        st.lists(st.tuples(st.integers(0, 5 << 20), st.sampled_from([10, 5000, LENGTH, 2 << 20, 3 << 20])), max_size=9)
    )
    def test_within_each_other(self, pairs):
        """A short range may lie within a long one, which is cut into pieces."""
        data = np.random.default_rng(3).bytes(8 << 20)
        memory_store("within").put("a", data)
        buffers = ringio.read_ranges([("memory://within/a", start, nbytes) for start, nbytes in pairs])
        for buffer, (start, nbytes) in zip(buffers, pairs, strict=True):
            assert buffer == data[start : start + nbytes]

    def test_counted(self, reader, long):
        before = reader.statistics()
        reader.read_ranges(ranges_of(long, 40))
        counted = reader.statistics() - before
        nbytes = 40 * LENGTH
        assert (counted.requests, counted.bytes_read, counted.bytes_asked) == (40, nbytes, nbytes)
        assert counted.tasks >= 40

    def test_progress(self, reader, long):
        calls = []
        reader.read_ranges(ranges_of(long, 40), progress=lambda *numbers: calls.append(numbers))
        assert calls[-1] == (40 * LENGTH, 40 * LENGTH)
        assert calls == sorted(calls)

    def test_streams(self, reader, long):
        found = dict(reader.iter_ranges(ranges_of(long, 40)))
        assert [bytes(found[i]) for i in range(40)] == expected(40)

    async def test_async(self, reader, long):
        several = await asyncio.gather(*(reader.read_ranges_async(ranges_of(long, count)) for count in (1, 40, 1, 40)))
        for count, buffers in zip((1, 40, 1, 40), several, strict=True):
            assert [bytes(buffer) for buffer in buffers] == expected(count)

    @pytest.mark.parametrize("length", [LENGTH, LENGTH + 1000])
    def test_short_ones(self, reader, length):
        memory_store("short").put("a", bytes(LENGTH))
        (buffer,) = reader.read_ranges([("memory://short/a", 0, length)], allow_short=True)
        assert bytes(buffer) == bytes(LENGTH)
        if length > LENGTH:
            with pytest.raises(ringio.RangeError) as caught:
                reader.read_ranges([("memory://short/a", 0, length)])
            assert caught.value.nbytes == LENGTH


class TestMemory:
    """Ranges that stay where the store has put them take no place in the result's own memory."""

    @pytest.fixture
    def asked(self, monkeypatch):
        """How many bytes results ask for."""
        nbytes = []
        monkeypatch.setattr(_reading, "empty", lambda wanted: nbytes.append(wanted) or ringio.empty(wanted))
        return nbytes

    @COUNTS
    def test_of_long_ranges_alone(self, reader, long, asked, count):
        assert [bytes(buffer) for buffer in reader.read_ranges(ranges_of(long, count))] == expected(count)
        assert asked == [0]

    @pytest.mark.parametrize("on_error", ["raise", "return"])
    def test_beside_others(self, reader, long, asked, make_file, on_error):
        path, data = make_file(1 << 20)
        short, cut = (long, 50 << 20, 1000), (long, 20 << 20, 5 << 20)  # more than one request has
        ranges = [short, *ranges_of(long, 2), (path, 5, 700_000), *ranges_of(long, 5)[2:], cut, short]
        due = [pattern(50 << 20, 1000), data[5:700_005], pattern(20 << 20, 5 << 20)]
        lost = [(long, 100 << 20, 1 << 20)] if on_error == "return" else []
        buffers = reader.read_ranges(ranges + lost, on_error=on_error)
        wanted = [due[0], *expected(2), due[1], *expected(5)[2:], due[2], due[0]]
        assert [bytes(buffer) for buffer in buffers[: len(ranges)]] == wanted
        assert [bytes(buffer) for buffer in buffers[len(ranges) - 1 :: -3]] == wanted[::-3]
        assert asked == [2 * 1000 + 700_000 + (5 << 20)]
        assert sorted(buffers.errors) == [len(ranges)] * len(lost)

    @COUNTS
    def test_errors_say_where_objects_end(self, reader, latency, asked, count):
        url = latency.put_pattern("ends.bin", count * STEP)
        with pytest.raises(ringio.RangeError) as caught:
            reader.read_ranges([*ranges_of(url, count), (url, count * STEP - 10, LENGTH)])
        assert (caught.value.offset, caught.value.length) == (count * STEP - 10, LENGTH)
        assert caught.value.nbytes == count * STEP

    def test_of_a_store_that_knows_no_sizes(self, reader, asked):
        class Store:
            def get_ranges(self, path, *, starts, ends):
                return [bytes(range(250)) * 2000 if start == 0 else bytes(10) for start in starts]

        buffers = reader.read_ranges([("a", 0, 500_000), ("b", 7, LENGTH)], store=Store(), on_error="return")
        assert bytes(buffers[0]) == bytes(range(250)) * 2000
        assert isinstance(buffers[1], ringio.RangeError)
        assert buffers[1].nbytes == 17
        assert asked == [0]

    def test_more_than_there_is(self, reader, long, monkeypatch):
        """A result that the machine has no memory for is refused before it is asked for."""

        def refuse(nbytes):
            raise MemoryError(f"no memory for {nbytes} bytes")

        monkeypatch.setattr(_memory, "_map", refuse)
        monkeypatch.setattr(_memory, "_LARGE_NBYTES", 40 * LENGTH)
        with pytest.raises(MemoryError, match=str(40 * LENGTH)):
            reader.read_ranges(ranges_of(long, 40))
        assert reader.statistics().requests == 0
        reader.read_ranges(ranges_of(long, 39))


class TestFaults:
    @COUNTS
    @pytest.mark.parametrize(
        "fault",
        [
            {"status": 503},
            {"ending": "reset"},
            {"ending": "cut", "ending_after_nbytes": 200_000},
            {"content_range_shift": 5},
            {"length_shift": -10},
            {"raw": "garbage\r\n\r\n"},
        ],
        ids=str,
    )
    def test_what_may_pass_is_tried_again(self, reader, long, latency, fault, count):
        latency.rules(Rule(method="GET", offset=(count - 1) * STEP, count=1, **fault))
        assert [bytes(buffer) for buffer in reader.read_ranges(ranges_of(long, count))] == expected(count)
        assert reader.statistics().retries >= 1

    @COUNTS
    @pytest.mark.parametrize("fault", [{"status": 503}, {"ending": "cut", "ending_after_nbytes": 3}], ids=str)
    def test_one_that_stays_does_not_spoil_the_others(self, long, latency, fault, count):
        latency.rules(Rule(method="GET", offset=(count - 1) * STEP, **fault))
        with ringio.Reader(max_gap_bytes=0, store_options={"retries": 1}) as reader:
            buffers = reader.read_ranges(ranges_of(long, count), on_error="return")
        assert [bytes(buffer) for buffer in buffers[:-1]] == expected(count)[:-1]
        assert isinstance(buffers[count - 1], ringio.StoreError)
        assert "in 2 tries" in str(buffers[count - 1])

    @COUNTS
    def test_no_retries_are_one_try(self, long, latency, count):
        latency.rules(Rule(method="GET", status=503))
        with ringio.Reader(max_gap_bytes=0, store_options={"retries": 0}) as reader:
            buffers = reader.read_ranges(ranges_of(long, count), on_error="return")
        assert len(buffers.errors) == count
        assert latency.seen().requests <= count + 1  # and the one that looks whether the object is still the same

    @pytest.mark.parametrize("error", [OSError, RuntimeError, NotImplementedError])
    def test_without_an_event_loop(self, reader, long, monkeypatch, error):
        """Where none can be had, for want of a descriptor say, threads ask."""

        def refuse():
            raise error

        monkeypatch.setattr(asyncio, "SelectorEventLoop", refuse)
        for count in (1, 40):
            assert [bytes(buffer) for buffer in reader.read_ranges(ranges_of(long, count))] == expected(count)

    def test_without_a_thread(self, reader, long, latency, monkeypatch):
        """What was answered when all threads had ended is seen to by the event loop's."""
        monkeypatch.setattr(_object_pool, "_IDLE_S", 0.05)
        latency.rules(Rule(delay_s=0.5))
        start = threading.Thread.start
        begun = []

        def one(thread):
            if thread.name == "ringio-object" and begun:
                raise RuntimeError("can't start new thread")
            begun.extend([thread] if thread.name == "ringio-object" else [])
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", one)
        out = np.zeros(LENGTH, np.uint8)
        reader.read_ranges(ranges_of(long, 1), out=out)
        assert bytes(out) == expected(1)[0]

    @COUNTS
    def test_missing(self, reader, latency, count):
        buffers = reader.read_ranges(ranges_of(latency.url("nowhere"), count), on_error="return")
        assert {type(error) for error in buffers.errors.values()} == {FileNotFoundError}
        assert len(buffers.errors) == count

    @COUNTS
    def test_outside(self, reader, long, count):
        outside = [(long, (64 << 20) - 50, LENGTH), (long, 64 << 20, LENGTH), (long, 1 << 62, LENGTH)]
        buffers = reader.read_ranges(ranges_of(long, count) + outside, on_error="return")
        assert [bytes(buffer) for buffer in buffers[:count]] == expected(count)
        assert sorted(buffers.errors) == [count, count + 1, count + 2]
        assert all(isinstance(error, ringio.RangeError) for error in buffers[count:])

    @COUNTS
    def test_one_state(self, reader, latency, count):
        """Whenever an object changes, what is read of it is of one state, or an error."""
        states = [bytes([i]) * (2 << 20) for i in range(8)]
        url = latency.put("changing", states[0])
        latency.rules(Rule(delay_s=0.003))
        done = threading.Event()

        def change():
            for state in itertools.cycle(states):
                if done.wait(0.02):
                    break
                latency.put("changing", state)

        thread = threading.Thread(target=change)
        thread.start()
        try:
            for _ in range(10):
                try:
                    buffers = reader.read_ranges([(url, i * 40_000, LENGTH) for i in range(count)])
                except ringio.FileChangedError:
                    continue
                assert len({bytes(buffer) for buffer in buffers}) == 1
        finally:
            done.set()
            thread.join()


class TestStopping:
    @COUNTS
    def test_interrupt(self, long, latency, run_child, count):
        latency.rules(Rule(skip=1, delay_s=30.0))
        text = run_child(
            """
            import signal, sys, time, ringio
            url, count = sys.argv[1], int(sys.argv[2])
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            def interrupt(*_): raise KeyboardInterrupt
            signal.signal(signal.SIGALRM, interrupt)
            start = time.monotonic()
            try:
                while True:
                    ringio.read_ranges([(url, i * 400_000, 300 << 10) for i in range(count)])
            except KeyboardInterrupt:
                print(time.monotonic() - start - 0.5 < 0.15)
            """,
            long,
            str(count),
            timeout_s=15,
        )
        assert text.split() == ["True"]

    @COUNTS
    async def test_cancelled(self, reader, long, latency, count):
        latency.rules(Rule(skip=1, delay_s=0.5))
        task = asyncio.create_task(reader.read_ranges_async(ranges_of(long, 2 * count)))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        latency.rules()
        assert [bytes(buffer) for buffer in await reader.read_ranges_async(ranges_of(long, count))] == expected(count)

    @COUNTS
    def test_exit_with_requests_in_flight(self, long, latency, run_child, count):
        latency.rules(Rule(skip=1, delay_s=30.0))
        run_child(
            """
            import sys, threading, time, ringio
            ranges = [(sys.argv[1], i * 400_000, 300 << 10) for i in range(int(sys.argv[2]))]
            def read():
                while True:
                    ringio.read_ranges(ranges)
            threading.Thread(target=read, daemon=True).start()
            time.sleep(0.5)
            """,
            long,
            str(count),
            timeout_s=15,
        )

    def test_threads_end(self, long):
        def count():
            return sum(thread.name.startswith("ringio-object") for thread in threading.enumerate())

        before = count()
        reader = ringio.Reader(max_gap_bytes=0)
        reader.read_ranges(ranges_of(long, 40))
        assert count() > before
        reader.close()
        assert count() == before
        with pytest.raises(ringio.RingioError, match="closed"):
            reader.read_ranges(ranges_of(long, 1))

    def test_requests_in_flight(self, long, latency):
        latency.rules(Rule(delay_s=0.01))
        for count, most in ((20, 3), (40, 10)):  # obstore's get_ranges keeps ten in flight
            with ringio.Reader(max_gap_bytes=0, store_options={"requests_in_flight": most}) as reader:
                reader.read_ranges(ranges_of(long, count))
            assert latency.seen().most_in_flight == most

    def test_memory_limit(self, long, latency):
        latency.rules(Rule(delay_s=0.02))
        with ringio.Reader(memory_limit_bytes=8 << 20) as reader:
            assert bytes(reader.read_ranges([(long, 0, 64 << 20)])[0]) == pattern(0, 64 << 20)
        assert latency.seen().most_in_flight <= 1

    def test_nothing_keeps_results_alive(self, reader, long):
        class Kept(np.ndarray):
            pass

        out = np.zeros(40 * LENGTH, np.uint8).view(Kept)
        gone = weakref.ref(out)
        reader.read_ranges(ranges_of(long, 40), out=out)
        del out
        gc.collect()
        assert gone() is None

    def test_many_threads(self, reader, long):
        failed = []

        def work(count):
            buffers = reader.read_ranges(ranges_of(long, count))
            if [bytes(buffer) for buffer in buffers] != expected(count):
                failed.append(count)

        threads = [threading.Thread(target=work, args=(count,)) for count in (1, 2, 33, 40) * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed


def test_traced(reader, long, tmp_path):
    with ringio.trace(tmp_path / "trace.json"):
        reader.read_ranges(ranges_of(long, 2))
    events = [json.loads(line.rstrip(",\n")) for line in (tmp_path / "trace.json").read_text().splitlines()[1:-1]]
    gets = [event for event in events if event["name"] == "GET" and event["ph"] == "b"]
    assert len(gets) == 2
    assert {event["args"]["url"] for event in gets} == {long}
