"""ringio.trace: a file that can be looked at, which says what happened, and costs nothing while there is none."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gzip
import json
import os
import signal
import threading
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ringio
from ringio import _spans, _trace, codecs
from ringio._core import ffi, lib
from servers import Rule

Event = dict[str, Any]


def load(path: Path) -> list[Event]:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    events: list[Event] = json.loads(data)
    return events


def spans_by_thread(events: list[Event]) -> dict[int, list[tuple[int, int, str]]]:
    """(begin, end, name) in ns, the outer ones first."""
    found = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            begin = round(event["ts"] * 1000)
            found[event["tid"]].append((begin, begin + round(event["dur"] * 1000), event["name"]))
    return {thread: sorted(spans, key=lambda span: (span[0], -span[1])) for thread, spans in found.items()}


def check_nesting(events: list[Event]) -> None:
    """Spans of one row lie within each other, or one behind the other."""
    for spans in spans_by_thread(events).values():
        open_ends: list[int] = []
        for begin, end, name in spans:
            while open_ends and open_ends[-1] <= begin:
                open_ends.pop()
            # Times are microseconds as double: some nanoseconds are lost in reading them.
            assert not open_ends or end <= open_ends[-1] + 500, name
            open_ends.append(end)


def names_of_threads(events: list[Event]) -> dict[int, str]:
    return {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}


def total_ns(events: list[Event], name: str) -> float:
    return sum(event["dur"] for event in events if event["name"] == name) * 1000


def make_ranges(path: str, count: int, nbytes: int = 20_000) -> list[tuple[str, int, int]]:
    starts = np.random.default_rng(0).integers(0, (4 << 20) - nbytes, count)
    return [(path, int(start), nbytes) for start in starts]


def test_a_batch_is_seen_as_the_statistics_tell_of_it(reader, make_file, tmp_path):
    path, _ = make_file(4 << 20)
    ranges = make_ranges(path, 500)
    reader.read_ranges(ranges)  # a reader that was made before, whose workers run
    before = reader.statistics()
    begin_ns = time.monotonic_ns()
    with ringio.trace(tmp_path / "trace.json"):
        for _ in range(3):
            reader.read_ranges(ranges)
    end_ns = time.monotonic_ns()
    statistics = reader.statistics() - before
    events = load(tmp_path / "trace.json")
    check_nesting(events)
    assert total_ns(events, "wait") == pytest.approx(statistics.wait_ns, abs=1000)
    assert total_ns(events, "complete") == pytest.approx(statistics.decode_ns, abs=1000)
    names = [event["name"] for event in events]
    assert names.count("batch") == names.count("execute") == 3
    assert "prepare" in names
    assert "plan" in names
    times = [event["ts"] * 1000 for event in events if "ts" in event]
    assert begin_ns - 1000 <= min(times)
    assert max(times) <= end_ns + 1000
    assert {event["pid"] for event in events} == {os.getpid()}
    threads = names_of_threads(events)
    workers = {thread for thread, name in threads.items() if name.startswith("ringio-")}
    waited = {event["tid"] for event in events if event["name"] == "wait"}
    assert waited <= workers


def test_bytes_in_flight_are_counted_over_all_workers(backend, make_file, tmp_path):
    path, _ = make_file(4 << 20)
    with ringio.Reader(backend, workers=2) as reader, ringio.trace(tmp_path / "trace.json"):
        reader.read_ranges(make_ranges(path, 500))
    counts = [event for event in load(tmp_path / "trace.json") if event["ph"] == "C"]
    in_files = [event["args"]["files"] for event in counts]
    assert in_files[-1] == 0
    assert min(in_files) >= 0
    if backend != "memory":
        assert max(in_files) > 20_000
    times = [event["ts"] for event in counts]
    late_count = sum(later < earlier for earlier, later in pairwise(times))
    assert late_count <= 2 + len(times) // 100  # a thread may be stopped between looking at the clock and noting it


def test_chunks_are_decoded_and_scattered_in_sight(backend, tmp_path):
    chain = codecs.chain(["bytes", "gzip"])
    encoded = gzip.compress(np.arange(10_000, dtype="<i4").tobytes())
    (tmp_path / "chunks").write_bytes(encoded * 40)
    ranges = [(tmp_path / "chunks", i * len(encoded), len(encoded)) for i in range(40)]
    tasks = [ringio.Task(i, (10_000,), (0,), (10_000,), (i * 10_000,)) for i in range(40)]
    plan = ringio.Plan(ranges, tasks, codecs=chain, dtype="<i4")
    out = np.zeros(400_000, "<i4")
    with ringio.Reader(backend, workers=2) as reader, ringio.trace(tmp_path / "trace.json"):
        reader.execute(plan, out)
    assert np.array_equal(out, np.tile(np.arange(10_000), 40))
    events = load(tmp_path / "trace.json")
    check_nesting(events)
    decoded = [event["args"]["bytes"] for event in events if event["name"] == "decode"]
    assert decoded == [40_000] * 40


def test_small_reads_are_rows_of_the_threads_that_call(make_file, tmp_path):
    path, _ = make_file(1 << 20)
    with ringio.Reader() as reader:
        reader.read_ranges([(path, 0, 100)])
        with ringio.trace(tmp_path / "trace.json"):
            thread = threading.Thread(target=lambda: reader.read_ranges([(path, 5, 100)]), name="the other one")
            thread.start()
            thread.join()
            reader.read_ranges([(path, 7, 100)])
    events = load(tmp_path / "trace.json")
    check_nesting(events)
    threads = names_of_threads(events)
    inline = {threads[event["tid"]] for event in events if event["name"] == "inline"}
    assert inline == {"MainThread", "the other one"}


def test_what_event_loops_await_overlaps_and_so_has_no_row(make_file, tmp_path):
    path, _ = make_file(4 << 20)

    async def read(reader):
        await asyncio.gather(*(reader.read_ranges_async(make_ranges(path, 50)) for _ in range(4)))

    with ringio.Reader(workers=2) as reader, ringio.trace(tmp_path / "trace.json"):
        asyncio.run(read(reader))
    events = load(tmp_path / "trace.json")
    check_nesting(events)
    begun = [event["id"] for event in events if event["ph"] == "b" and event["name"] == "batch"]
    ended = [event["id"] for event in events if event["ph"] == "e" and event["name"] == "batch"]
    assert len(set(begun)) == 4
    assert begun == ended


def test_requests_of_objects_have_their_url(latency, tmp_path):
    latency.put_pattern("bucket/name", 1 << 20)
    latency.rules(Rule(delay_s=0.01))
    url = latency.url("bucket/name").replace("http://", "http://somebody:secret@") + "?sig=secret"
    with ringio.Reader() as reader, ringio.trace(tmp_path / "trace.json"):
        reader.read_ranges([(url, i * 200_000, 10) for i in range(5)])
    text = (tmp_path / "trace.json").read_text()
    events = load(tmp_path / "trace.json")
    check_nesting(events)
    assert "secret" not in text
    requests = [event for event in events if event["name"] == "GET"]
    assert requests
    assert {event["args"]["url"] for event in requests} == {latency.url("bucket/name")}
    assert max(event["args"]["objects"] for event in events if event["ph"] == "C") > 0


def test_a_name_in_gz_is_compressed(make_file, tmp_path):
    path, _ = make_file(1 << 20)
    with ringio.trace(str(tmp_path / "trace.json.gz")):
        ringio.read_ranges([(path, 0, 10)])
    assert "batch" in {event["name"] for event in load(tmp_path / "trace.json.gz")}


def test_one_trace_at_a_time_and_the_first_goes_on(make_file, tmp_path):
    path, _ = make_file(1 << 20)
    with ringio.trace(tmp_path / "a.json"):
        with pytest.raises(ringio.RingioError, match=r"being written already, to .*a\.json"), ringio.trace("b.json"):
            pass
        ringio.read_ranges([(path, 0, 10)])
    assert "batch" in {event["name"] for event in load(tmp_path / "a.json")}
    with ringio.trace(tmp_path / "b.json"):
        pass
    assert load(tmp_path / "b.json")


def test_a_path_that_cannot_be_written_is_an_error_at_once(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"), ringio.trace(tmp_path / "nowhere" / "trace.json"):
        pytest.fail("it was entered")
    with pytest.raises(IsADirectoryError), ringio.trace(tmp_path):
        pytest.fail("it was entered")
    assert not lib.ringio_trace_take(ffi.NULL, 0, ffi.new("struct ringio_trace_thread *"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_an_error_at_the_end():
    reached = []
    with pytest.raises(OSError, match=r"No space left.*/dev/full"), ringio.trace("/dev/full"):
        reached.append(1)
    assert not reached  # the first line was to be written when it was entered
    with ringio.trace("/dev/null"):
        pass


def test_what_a_full_disk_did_not_take_is_not_in_the_next_trace(make_file, tmp_path, monkeypatch):
    path, _ = make_file(1 << 20)
    is_full = threading.Event()
    write = _trace._File._write

    def write_if_there_is_room(file, data):
        if is_full.is_set():
            raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "full.json"))
        write(file, data)

    def read(trace):
        with ringio.trace(trace):
            reader.read_ranges([(path, i * 2000, 1000) for i in range(500)])
            is_full.set()
            time.sleep(0.1)
            reader.read_ranges([(path, i * 2000, 1000) for i in range(500)])

    monkeypatch.setattr(_trace._File, "_write", write_if_there_is_room)
    with ringio.Reader("threads", workers=2) as reader:
        with pytest.raises(OSError, match=r"No space left.*full\.json"):
            read(tmp_path / "full.json")
        is_full.clear()
        begin_us = time.monotonic_ns() / 1000
        with ringio.trace(tmp_path / "next.json"):
            reader.read_ranges([(path, 0, 10)])
    events = load(tmp_path / "next.json")
    assert "batch" in {event["name"] for event in events}
    assert all(event["ts"] >= begin_us for event in events if event["ph"] == "X")
    assert not lib.ringio_trace_take(ffi.NULL, 0, ffi.new("struct ringio_trace_thread *"))


def test_ctrl_c_at_the_end_leaves_a_whole_file(make_file, tmp_path, monkeypatch):
    """The thread goes on writing; the next trace waits for it."""
    path, _ = make_file(1 << 20)
    finish = _trace._Writer._finish

    def interrupt_and_finish(writer):
        if writer.path.endswith("first.json"):
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.3)
        finish(writer)

    monkeypatch.setattr(_trace._Writer, "_finish", interrupt_and_finish)
    with pytest.raises(KeyboardInterrupt), ringio.trace(tmp_path / "first.json"):
        ringio.read_ranges([(path, 0, 10)])
    with ringio.trace(tmp_path / "second.json"):
        ringio.read_ranges([(path, 0, 10)])
    for name in ("first", "second"):
        names = [event["name"] for event in load(tmp_path / f"{name}.json")]
        assert names.count("batch") == 1
        assert names.count("inline") == 1


def test_ctrl_c_that_ends_the_process_leaves_a_whole_file(run_child, make_file, tmp_path):
    path, _ = make_file(1 << 20)
    run_child(
        """
        import signal, sys, time
        import ringio
        from ringio import _trace

        finish = _trace._Writer._finish

        def interrupt_and_finish(writer):
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.3)
            finish(writer)

        _trace._Writer._finish = interrupt_and_finish
        try:
            with ringio.trace(sys.argv[2]):
                ringio.read_ranges([(sys.argv[1], 0, 10)])
        except KeyboardInterrupt:
            sys.exit(0)
        sys.exit(1)
        """,
        path,
        tmp_path / "trace.json",
    )
    assert "batch" in {event["name"] for event in load(tmp_path / "trace.json")}


def test_what_is_raised_inside_comes_out_and_the_file_is_whole(make_file, tmp_path):
    path, _ = make_file(1 << 20)

    def read():
        ringio.read_ranges([(path, 0, 10)])
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"), ringio.trace(tmp_path / "trace.json"):
        read()
    assert "batch" in {event["name"] for event in load(tmp_path / "trace.json")}
    assert _spans.begin() == 0


def test_failed_reads_are_seen(tmp_path):
    with ringio.trace(tmp_path / "trace.json"), contextlib.suppress(FileNotFoundError):
        ringio.read_ranges([(tmp_path / "missing", 0, 10)])
    events = load(tmp_path / "trace.json")
    check_nesting(events)
    assert [event["args"]["failed"] for event in events if event["name"] == "execute"] == [1]


def test_a_child_is_not_traced_and_writes_nothing(run_child, make_file, tmp_path):
    path, _ = make_file(1 << 20)
    run_child(
        """
        import json, os, pathlib, sys
        import ringio
        path, trace = sys.argv[1], sys.argv[2]
        reader = ringio.Reader(workers=2)
        ranges = [(path, i * 20000, 10000) for i in range(50)]
        with ringio.trace(trace):
            reader.read_ranges(ranges)
            child = os.fork()
            reader.read_ranges(ranges)
            if not child:
                with ringio.trace(trace + ".child"):
                    reader.read_ranges(ranges)
        if not child:
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        events = json.loads(pathlib.Path(trace).read_text())
        assert {event["pid"] for event in events} == {os.getpid()}
        assert len([event for event in events if event["name"] == "batch"]) == 2
        events = json.loads(pathlib.Path(trace + ".child").read_text())
        assert {event["pid"] for event in events} == {child}
        assert len([event for event in events if event["name"] == "batch"]) == 1
        """,
        path,
        tmp_path / "trace.json",
    )


def test_threads_may_come_and_go_meanwhile(make_file, tmp_path):
    path, _ = make_file(1 << 20)
    ranges = [(path, i * 9000, 4000) for i in range(100)]

    def read(_number: int) -> None:
        with ringio.Reader(workers=1) as reader:
            reader.read_ranges(ranges)

    for _ in range(3):
        threads = [threading.Thread(target=read, args=(i,)) for i in range(8)]
        with ringio.trace(tmp_path / "trace.json"):
            for thread in threads[:4]:
                thread.start()
            for thread in threads[:4]:
                thread.join()
            for thread in threads[4:]:
                thread.start()
        for thread in threads[4:]:
            thread.join()
        check_nesting(load(tmp_path / "trace.json"))


def test_events_that_nobody_could_take_are_counted(make_file, tmp_path, monkeypatch):
    path, _ = make_file(1 << 20)
    monkeypatch.setattr("ringio._trace._PERIOD_S", 60.0)
    ranges = ringio.Ranges(
        paths=[path],
        path_index=np.zeros(20_000, np.uint32),
        offsets=np.zeros(20_000, np.int64) + 7,
        lengths=np.full(20_000, 9, np.int64),
    )

    def read(reader):
        with ringio.trace(tmp_path / "trace.json"):
            for _ in range(4):
                reader.read_ranges(ranges)

    with ringio.Reader(workers=1) as reader, pytest.warns(RuntimeWarning, match="events are missing"):
        read(reader)
    events = load(tmp_path / "trace.json")
    assert len([event for event in events if event["ph"] == "X"]) > 30_000


def test_off_it_costs_less_than_a_thousandth_of_a_read(make_file):
    path, _ = make_file(1 << 20)
    count = 20_000
    begin_ns = time.perf_counter_ns()
    for _ in range(count):
        _spans.end("name", _spans.begin())
    of_span_ns = (time.perf_counter_ns() - begin_ns) / count
    assert of_span_ns < 2000  # 0.1 us, on a machine that has nothing else to do; a read has a handful of them
    ringio.read_ranges([(path, 0, 10)])
    assert not lib.ringio_trace_take(ffi.NULL, 0, ffi.new("struct ringio_trace_thread *"))
