"""Many threads, many readers, signals, and ends of all kinds: bytes stay right, and nothing is left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import ringio
from ringio.testing import faulty_reader

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
with_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="no strace")


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> tuple[str, bytes]:
    """A file of 2 MiB, and its bytes."""
    path = tmp_path_factory.mktemp("stress") / "file"
    data = np.random.default_rng(0).bytes(2 << 20)
    path.write_bytes(data)
    return str(path), data


def is_right(reader: ringio.Reader, file: tuple[str, bytes], count: int, seed: int) -> bool:
    """Read ``count`` random ranges, from some that the calling thread does itself to some thousands."""
    path, data = file
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 3000, count)
    offsets = rng.integers(0, len(data) - 3000, count)
    got = reader.read_ranges(ringio.Ranges([path], 0, offsets, lengths))
    return all(
        buffer == data[offset : offset + length]
        for buffer, offset, length in zip(got, offsets.tolist(), lengths.tolist(), strict=True)
    )


COUNTS = (1, 3, 8, 9, 60, 700, 5000)


class TestThreads:
    def test_one_reader(self, reader, file):
        """32 threads and one reader, batches of all sizes at the same time."""
        with ThreadPoolExecutor(32) as pool:
            assert all(pool.map(lambda i: is_right(reader, file, COUNTS[i % len(COUNTS)], i), range(63)))

    def test_many_readers(self, backend, file):
        """32 threads and 8 readers of few workers, opened and closed among the others' reads."""

        def work(i: int) -> bool:
            with ringio.Reader(backend, workers=1 + i % 3, queue_depth=1 + i % 40) as reader:
                return all(is_right(reader, file, count, i) for count in COUNTS[:-1])

        with ThreadPoolExecutor(32) as pool:
            assert all(pool.map(work, range(32)))

    def test_reads_that_go_wrong_meanwhile(self, backend, file):
        """Short, late and interrupted reads, and batches with errors in them, beside those of other threads."""
        path, data = file

        def work(i: int) -> bool:
            bad = reader.read_ranges([(path, 0, 10), (path, len(data), 1), ("/none", 0, 1)] * 20, on_error="return")
            return len(bad.errors) == 40 and is_right(reader, file, COUNTS[i % len(COUNTS)], i)

        faults = {"short": 5, "eintr": 7, "eagain": 7, "late": 3, "submit": 5}
        with faulty_reader(backend, seed=5, workers=2, **faults) as reader, ThreadPoolExecutor(16) as pool:
            assert all(pool.map(work, range(32)))

    def test_interrupted_by_their_callbacks(self, reader, file):
        """Batches that are given up do no harm to those of other threads."""

        def give_up(done: int, total: int) -> None:
            raise KeyError(done)

        def work(i: int) -> bool:
            if i % 4 == 0:
                try:
                    reader.read_ranges([(file[0], 0, None)] * 8, progress=give_up)
                except KeyError:
                    return True
                return False
            return is_right(reader, file, COUNTS[i % len(COUNTS)], i)

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(work, range(32)))

    def test_two_kinds_of_readers(self, file):
        """Readers with different backends in one process know nothing of each other."""
        with ringio.Reader(workers=2) as first, ringio.Reader("threads", workers=1) as second:
            readers = (first, second)
            with ThreadPoolExecutor(8) as pool:
                assert all(pool.map(lambda i: is_right(readers[i % 2], file, 500, i), range(40)))


class TestStatistics:
    def test_monotone(self, backend, file):
        """No counter ever goes back while threads read, and in the end all that was read has been counted."""
        stop = threading.Event()
        samples = []

        def watch() -> None:
            while not stop.is_set():
                samples.append(tuple(reader.statistics()))

        with ringio.Reader(backend, workers=2, max_gap_bytes=0, max_request_bytes=1) as reader:
            watcher = threading.Thread(target=watch)
            watcher.start()
            with ThreadPoolExecutor(4) as pool:
                done = list(pool.map(lambda i: reader.read_ranges([(file[0], 0, 100 + i)] * 300), range(50)))
            stop.set()
            watcher.join()
            samples.append(tuple(reader.statistics()))
            assert reader.statistics().projections >= len(done)
        assert (np.diff(np.array(samples, np.uint64).astype(np.int64), axis=0) >= 0).all()


@linux
class TestNothingGrows:
    def test_readers_made_and_dropped(self, run_child, file, backend):
        """Readers that are closed, and readers that are forgotten, leave no thread, file, ring or memory."""
        script = """
            import gc, os, sys
            import ringio

            path, backend = sys.argv[1:]
            ranges = [(path, i * 1000, 900) for i in range(2000)] + [(path, 0, None)]


            def use(close):
                reader = ringio.Reader(backend, workers=2)
                reader.read_ranges(ranges)
                reader.read_ranges([(path, 0, 10), ("/none", 0, 1)], on_error="return")
                if close:
                    reader.close()


            def footprint():
                gc.collect()
                with open("/proc/self/statm") as file:
                    virtual, resident = [int(word) * 4096 for word in file.read().split()[:2]]
                threads, files = os.listdir("/proc/self/task"), os.listdir("/proc/self/fd")
                return len(threads), len(files), virtual, resident


            for i in range(20):
                use(i % 2)
            before = footprint()
            for i in range(40):
                use(i % 2)
            after = footprint()
            assert after[:2] == before[:2], (before, after)
            assert after[2] - before[2] < 64 << 20, (before, after)
            assert after[3] - before[3] < 8 << 20, (before, after)
            assert "io_uring" not in open("/proc/self/maps").read()
            """
        run_child(script, file[0], backend)

    def test_batches_of_one_reader(self, run_child, file, backend):
        """A reader that goes on and on, with errors and changed files among its reads, does not grow."""
        script = """
            import gc, os, sys
            import ringio

            path, backend, folder = sys.argv[1:]
            reader = ringio.Reader(backend, workers=2, open_files=8)


            def use(i):
                for name in range(12):
                    with open(f"{folder}/{name}", "wb") as file:
                        file.write(b"x" * (100 + i))
                ranges = [(f"{folder}/{name}", 0, 100 + i) for name in range(13)] * 20  # the last is not there
                assert len(reader.read_ranges(ranges, on_error="return").errors) == 20
                reader.read_ranges([(path, 0, None), (path, 5, 100_000)] * 2)


            def footprint():
                gc.collect()
                with open("/proc/self/statm") as file:
                    resident = int(file.read().split()[1]) * 4096
                return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd")), resident


            for i in range(20):
                use(i)
            before = footprint()
            for i in range(40):
                use(i)
            after = footprint()
            assert after[0] == before[0], (before, after)
            assert after[1] <= before[1] + 8, (before, after)
            assert after[2] - before[2] < 8 << 20, (before, after)
            """
        folder = Path(file[0]).with_name(f"small-{backend}")
        folder.mkdir()
        run_child(script, file[0], backend, folder)


SLOW = """
    import os, signal, sys, threading, time
    import ringio
    from tracing import injected

    path, backend = sys.argv[1:]
    data = open(path, "rb").read()
    ranges = [(path, i * 4096, 2000) for i in range(500)]
    rights = [data[i * 4096 : i * 4096 + 2000] for i in range(500)]
    reader = ringio.Reader(backend, workers=2, max_gap_bytes=0)
    slow = {
        "threads": ["preadv2:error=EAGAIN", "pread64:delay_enter=20000"],  # microseconds: 5 s for all
        "io_uring": ["io_uring_enter:delay_enter=200000"],
    }[backend]
    """


@linux
@with_strace
@pytest.mark.parametrize("slow_backend", ["threads", "io_uring"])
class TestSlowReads:
    @pytest.fixture(autouse=True)
    def has_backend(self, slow_backend):
        """io_uring may be refused here."""
        try:
            ringio.Reader(slow_backend, workers=1).close()
        except ringio.BackendError as error:
            pytest.skip(str(error))

    def test_ctrl_c(self, run_child, file, slow_backend):
        """Ctrl-C comes through in the midst of slow reads, long before they end, and the reader goes on."""
        script = f"""{SLOW}
    def interrupt():
        global sent
        time.sleep(0.2)
        sent = time.monotonic()
        os.kill(os.getpid(), signal.SIGINT)


    waits = []
    with injected(*slow):
        for _ in range(2):
            thread = threading.Thread(target=interrupt)
            thread.start()
            try:
                for _ in range(100):
                    reader.read_ranges(ranges)
            except KeyboardInterrupt:
                waits.append(time.monotonic() - sent)
            thread.join()
    assert len(waits) == 2, "not interrupted"
    assert [bytes(one) for one in reader.read_ranges(ranges)] == rights
    start = time.monotonic()
    reader.close()
    assert time.monotonic() - start < 5
    print(min(waits))
    """
        # A slice of 50 ms until signals are looked at, and 100 ms for reads that are in flight; the rest is for a busy
        # machine.
        assert float(run_child(script, file[0], slow_backend)) < 0.5

    def test_ctrl_c_twice(self, run_child, file, slow_backend):
        """Another Ctrl-C while the first is dealt with does no harm either."""
        script = f"""{SLOW}
    def interrupt():
        time.sleep(0.2)
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.03)


    with injected(*slow):
        thread = threading.Thread(target=interrupt)
        for attempt in range(4):
            try:
                if attempt == 0:
                    thread.start()
                reader.read_ranges(ranges)
            except KeyboardInterrupt:
                pass
            try:
                thread.join()
            except KeyboardInterrupt:
                pass
            if not thread.is_alive():
                break
    thread.join()
    assert [bytes(one) for one in reader.read_ranges(ranges)] == rights
    """
        run_child(script, file[0], slow_backend)

    def test_exit(self, run_child, file, slow_backend):
        """The program may end while a daemon thread is in the midst of slow reads."""
        script = f"""{SLOW}
    slowly = injected(*slow)
    slowly.__enter__()


    def work():
        while True:
            reader.read_ranges(ranges)


    threading.Thread(target=work, daemon=True).start()
    time.sleep(0.3)
    print("end")
    """
        start = time.monotonic()
        assert run_child(script, file[0], slow_backend) == "end\n"
        assert time.monotonic() - start < 20

    def test_closed_meanwhile(self, run_child, file, slow_backend):
        """close() waits for the slow batch of another thread, which gets its bytes."""
        script = f"""{SLOW}
    got = []
    with injected(*slow):
        thread = threading.Thread(target=lambda: got.append(reader.read_ranges(ranges[:20])))
        thread.start()
        time.sleep(0.1)
        reader.close()
    thread.join()
    assert [bytes(one) for one in got[0]] == rights[:20]
    """
        run_child(script, file[0], slow_backend)


class TestSignals:
    def test_storm(self, backend, file):
        """A signal every millisecond, as of a profiler: making, using and closing readers takes no notice."""
        ticks = 0

        def tick(*_: object) -> None:
            nonlocal ticks
            ticks += 1

        before = signal.signal(signal.SIGPROF, tick)
        stop = threading.Event()

        def storm() -> None:
            while not stop.wait(0.001):
                os.kill(os.getpid(), signal.SIGPROF)

        thread = threading.Thread(target=storm)
        thread.start()
        try:
            for i in range(10):
                with ringio.Reader(backend, workers=2) as reader:
                    assert all(is_right(reader, file, count, i) for count in COUNTS)
        finally:
            stop.set()
            thread.join()
            signal.signal(signal.SIGPROF, before)
        assert ticks > 20

    # The exception may hit a callback of another library, such as hypothesis' of the garbage collector.
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_storm_of_exceptions(self, backend, file):
        """A signal handler may raise at any instruction: the reader stays usable, and closing it does not hang."""
        path = file[0]
        caught, armed = 0, False

        def interrupt(*_: object) -> None:
            nonlocal armed
            if armed:
                armed = False
                raise InterruptedError

        before = signal.signal(signal.SIGALRM, interrupt)
        reader = ringio.Reader(backend, workers=2)
        end = time.monotonic() + 1.5
        signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
        try:
            while time.monotonic() < end:
                try:
                    armed = True
                    for _ in range(20):
                        reader.read_ranges([(path, 4096 * i, 100) for i in range(20)])
                    armed = False
                except InterruptedError:
                    caught += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert caught > 100
        assert len(reader.read_ranges([(path, 0, 1)])) == 1
        thread = threading.Thread(target=reader.close, daemon=True)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()


@linux
class TestKill:
    def test_kill_9(self, file, backend, tmp_path):
        """A process that is killed in the midst of reads leaves no process and no file."""
        code = f"""
import ringio
reader = ringio.Reader({backend!r}, workers=2)
print("reading", flush=True)
while True:
    reader.read_ranges([({file[0]!r}, i * 1000, 900) for i in range(2000)])
"""
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            cwd=tmp_path,
            env={**os.environ, "TMPDIR": str(tmp_path)},
            start_new_session=True,
        )
        with process:
            assert process.stdout.readline() == b"reading\n"
            time.sleep(0.1)
            process.kill()
        assert process.returncode == -signal.SIGKILL
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
        assert list(tmp_path.iterdir()) == []
