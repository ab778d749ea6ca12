"""The reader itself: options, faults, threads, fork, signals, the end of the process."""

from __future__ import annotations

import errno
import gc
import io
import multiprocessing
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ringio
from ringio import _execute, _handle, _limits
from ringio.testing import faulty_reader


def some_ranges(nbytes: int, count: int, seed: int = 0) -> list[tuple[int, int]]:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 20_000, count)
    return [(int(rng.integers(0, nbytes - n + 1)), int(n)) for n in lengths]


class TestOptions:
    def test_backend_and_reason(self, backend):
        with ringio.Reader(backend) as reader:
            assert reader.backend == backend
            assert reader.backend_reason
            assert backend in repr(reader)

    def test_auto_says_why(self):
        with ringio.Reader() as reader:
            assert reader.backend in ("io_uring", "threads")
            assert reader.backend_reason

    def test_refused_by_name_is_an_error_with_the_reason(self, backend):
        with pytest.raises(ringio.BackendError, match=r"Operation not permitted|EPERM"):
            faulty_reader("io_uring", seed=1, init_status=errno.EPERM)

    def test_auto_falls_back_with_the_reason(self):
        with faulty_reader("auto", seed=1, init_status=errno.EPERM) as reader:
            assert reader.backend == "threads"
            assert "EPERM" in reader.backend_reason

    def test_environment(self, monkeypatch):
        monkeypatch.setenv("RINGIO_BACKEND", "threads")
        with ringio.Reader() as reader:
            assert reader.backend == "threads"
        with ringio.Reader("memory") as reader:  # asked for by name
            assert reader.backend == "memory"
        monkeypatch.setenv("RINGIO_BACKEND", "carrier pigeon")
        with pytest.raises(ringio.BackendError, match="RINGIO_BACKEND=carrier pigeon"):
            ringio.Reader()

    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"backend": "quantum"}, ValueError),
            ({"workers": 0}, ValueError),
            ({"workers": 1.5}, TypeError),
            ({"workers": True}, TypeError),
            ({"queue_depth": 0}, ValueError),
            ({"max_gap_bytes": -1}, ValueError),
            ({"max_request_bytes": 0}, ValueError),
            ({"memory_limit_bytes": 100}, ValueError),
            ({"open_files": 0}, ValueError),
            ({"direct": "sometimes"}, ValueError),
            ({"store_options": "eu-west-1"}, TypeError),
            ({"store_options": {"retries": -1}}, ValueError),
            ({"store_options": {"timeout_s": "30s"}}, TypeError),
            ({"store_options": {"s3://bucket": {"anonymous": 1}}}, TypeError),
        ],
    )
    def test_options_that_make_no_sense(self, options, error):
        with pytest.raises(error, match=next(iter(options))):
            ringio.Reader(**options)

    def test_options_are_kept(self):
        options = {"workers": 3, "max_gap_bytes": 5, "max_request_bytes": 500, "memory_limit_bytes": 64 << 20}
        with ringio.Reader("threads", **options) as reader:
            assert {name: getattr(reader, name) for name in options} == options
            with pickle.loads(pickle.dumps(reader)) as copy:
                assert copy is not reader
                assert copy.backend == "threads"
                assert {name: getattr(copy, name) for name in options} == options

    def test_default_reader_pickles_as_itself(self):
        reader = ringio.default_reader()
        assert pickle.loads(pickle.dumps(reader)) is reader

    def test_few_open_files(self, backend, tmp_path, our_files):
        for i in range(50):
            (tmp_path / str(i)).write_bytes(b"%d" % i)
        with ringio.Reader(backend, workers=2, open_files=4) as reader:
            reader.read_ranges([(tmp_path / str(i), 0, None) for i in range(50)])
            assert len([name for name in our_files(tmp_path) if "io_uring" not in name]) <= 4

    def test_memory_limit(self, backend, tmp_path):
        """What needs more than the limit at once is an error; what fits is read, however much it is together."""
        import zlib

        limit, chunk = 16 << 20, 40 << 20
        path = tmp_path / "chunk"
        encoded = zlib.compress(bytes(chunk), 1)
        path.write_bytes(encoded + bytes(chunk))
        half = ringio.Task(0, (chunk,), (0,), (chunk // 2,), (0,))  # not the whole chunk: it needs room to be decoded
        plan = ringio.Plan([(path, 0, len(encoded))], [half], codecs=ringio.codecs.chain(["zlib"]), dtype="u1")
        out = np.ones(chunk, np.uint8)
        with ringio.Reader(backend, workers=2, memory_limit_bytes=limit) as reader:
            with pytest.raises(ringio.MemoryLimitError, match="memory limit leaves"):
                reader.execute(plan, out)
            reader.read_ranges([(path, len(encoded), chunk)], out=out)
            assert not out.any()
            assert reader.statistics().peak_buffer_bytes <= limit


class TestStatistics:
    @pytest.mark.opens_files
    def test_counts(self, backend, make_file):
        path, _ = make_file(100_000)
        with ringio.Reader(backend, workers=2) as reader:
            before = reader.statistics()
            reader.read_ranges([(path, 0, 100), (path, 150, 100), (path, 50_000, 100)])
            done = reader.statistics() - before
        assert done.requests == 2
        assert done.coalesced_requests == 1
        assert done.bytes_asked == 300
        assert done.bytes_read == 350
        assert done.tasks == 3
        assert done.opens == 1

    @pytest.mark.opens_files
    def test_an_open_file_is_kept(self, backend, make_file):
        path, _ = make_file(100)
        with ringio.Reader(backend, workers=2) as reader:
            for _ in range(5):
                reader.read_ranges([(path, 0, 100)])
            assert reader.statistics().opens == 1


class TestFaults:
    """A backend that fails on purpose: right bytes or a clear error, for any seed."""

    @settings(max_examples=25)
    @given(seed=st.integers(0, 1 << 32), workers=st.integers(1, 3), queue_depth=st.sampled_from([1, 3, 128]))
    def test_what_can_be_recovered_is_not_seen(self, backend, big_file, seed, workers, queue_depth):
        path, data = big_file
        asked = some_ranges(len(data), 200, seed)
        faults = {"short": 3, "zero": 7, "eintr": 5, "eagain": 5, "late": 3, "submit": 5}
        with faulty_reader(backend, seed=seed, workers=workers, queue_depth=queue_depth, **faults) as reader:
            got = reader.read_ranges([(path, *range_) for range_ in asked])
        assert [bytes(buffer) for buffer in got] == [data[o : o + n] for o, n in asked]

    @settings(max_examples=25)
    @given(seed=st.integers(0, 1 << 32))
    def test_eio_is_an_oserror_and_harms_nobody(self, backend, big_file, seed):
        path, data = big_file
        asked = some_ranges(len(data), 200, seed)
        with faulty_reader(backend, seed=seed, eio=4, short=3, late=3, workers=2) as reader:
            got = reader.read_ranges([(path, *range_) for range_ in asked], on_error="return")
        for (offset, length), buffer in zip(asked, got, strict=True):
            if isinstance(buffer, Exception):
                assert isinstance(buffer, OSError)
                assert (buffer.errno, buffer.filename) == (errno.EIO, path)
            else:
                assert bytes(buffer) == data[offset : offset + length]

    @pytest.fixture(scope="class")
    def big_file(self, tmp_path_factory):
        path = tmp_path_factory.mktemp("big") / "file"
        data = np.random.default_rng(7).bytes(1 << 20)
        path.write_bytes(data)
        return str(path), data


class TestThreads:
    def test_many_threads_share_one_reader(self, reader, make_file):
        path, data = make_file(1 << 20)

        def work(seed: int) -> bool:
            asked = some_ranges(len(data), 100, seed)
            got = reader.read_ranges([(path, *range_) for range_ in asked])
            return [bytes(buffer) for buffer in got] == [data[o : o + n] for o, n in asked]

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(work, range(200)))

    def test_close_waits_for_other_threads(self, backend, make_file):
        path, data = make_file(1 << 20)
        reader = ringio.Reader(backend, workers=2)
        results = []

        def work() -> None:
            while True:
                try:
                    results.append(bytes(reader.read_ranges([(path, 0, None)])[0]) == data)
                except ringio.RingioError as error:
                    results.append(str(error) == "the reader is closed")
                    return

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.05)
        reader.close()
        for thread in threads:
            thread.join(10)
        assert all(results)

    def test_closed_reader_refuses(self, backend):
        reader = ringio.Reader(backend)
        reader.close()
        reader.close()
        assert "closed" in repr(reader)
        for use in (reader.statistics, lambda: reader.read_ranges([("x", 0, 1)])):
            with pytest.raises(ringio.RingioError, match="the reader is closed"):
                use()

    def test_a_new_default_reader_after_close(self, make_file):
        path, data = make_file(100)
        ringio.default_reader().close()
        assert bytes(ringio.read_ranges([(path, 0, None)])[0]) == data

    def test_no_thread_or_file_is_left(self, backend, make_file, tmp_path, our_threads, our_files):
        path, _ = make_file(4 << 20)
        gc.collect()
        threads, files = our_threads(), len(our_files(tmp_path))
        for _ in range(5):
            reader = ringio.Reader(backend, workers=4)
            reader.read_ranges([(path, 0, None), (path, 5, 10)])  # of a long range alone a store's buffer is the result
            assert our_threads() > threads
            del reader  # not closed: collecting it is as good
            gc.collect()
        assert our_threads() == threads
        assert len(our_files(tmp_path)) == files

    def test_collected_with_reads_in_flight(self, monkeypatch):
        """The garbage collector waits for nothing: such a reader is freed when the next one is made."""
        reader = ringio.Reader("threads")
        monkeypatch.setattr(_execute, "drain", lambda reader, *, wait_ms: wait_ms > 0)
        del reader
        gc.collect()
        assert len(_handle._unfreed) == 1
        monkeypatch.undo()
        ringio.Reader("threads").close()
        assert not _handle._unfreed


class TestProgress:
    def test_callback(self, backend, make_file):
        path, _ = make_file(8 << 20)
        calls = []
        with ringio.Reader(backend, workers=1) as reader:
            reader.read_ranges([(path, 0, None)], progress=lambda done, total: calls.append((done, total)))
        assert calls[-1] == (8 << 20, 8 << 20)
        assert calls == sorted(calls)

    def test_exception_in_a_callback_stops_the_batch(self, reader, slow_plan):
        plan, out = slow_plan

        def stop(done: int, total: int) -> None:
            raise KeyError("enough")

        before = reader.statistics()
        start = time.monotonic()
        with pytest.raises(KeyError, match="enough"):
            reader.execute(plan, out, progress=stop)
        assert time.monotonic() - start < 5
        while not _execute.drain(None, wait_ms=100):
            assert time.monotonic() - start < 30
        assert (reader.statistics() - before).tasks < plan.task_count  # nobody goes on with it behind our back
        assert len(reader.read_ranges([(__file__, 0, 10)])[0]) == 10

    def test_bar(self, reader, make_file, capsys):
        path, _ = make_file(1000)
        reader.read_ranges([(path, 0, None)], progress=True)
        assert "1.00k" in capsys.readouterr().err

    def test_a_bar_ends_where_the_read_does(self, make_file, monkeypatch):
        def interrupted(*_):
            raise KeyboardInterrupt

        path, _ = make_file(1000)
        closed = []
        monkeypatch.setattr("ringio._progress._TqdmBar.close", lambda bar: closed.append(bar))
        monkeypatch.setattr("ringio._execute.run", interrupted)
        with ringio.Reader("threads") as reader, pytest.raises(KeyboardInterrupt):
            reader.read_ranges([(path, 0, None)], progress=True)
        assert len(closed) == 1

    @pytest.mark.parametrize("has_rich", [True, False])
    def test_line_without_tqdm(self, reader, make_file, monkeypatch, has_rich):
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        path, _ = make_file(2_000_000)
        monkeypatch.setitem(sys.modules, "tqdm.auto", None)
        if has_rich:
            pytest.importorskip("rich")
        else:
            monkeypatch.setitem(sys.modules, "rich.console", None)
        for stream, text in [(Terminal(), "100 %  2 MB"), (io.StringIO(), "")]:
            monkeypatch.setattr(sys, "stderr", stream)
            reader.read_ranges([(path, 0, None)], progress=True)
            assert text in stream.getvalue()
            assert bool(text) == bool(stream.getvalue())
            assert ("━" * 30 in stream.getvalue()) == (has_rich and bool(text))

    def test_others_are_refused(self, reader):
        with pytest.raises(TypeError, match="progress"):
            reader.read_ranges([(__file__, 0, 1)], progress="yes")

    @pytest.fixture
    def slow_plan(self, tmp_path):
        """Seconds of decoding."""
        import zlib

        encoded = zlib.compress(bytes(8 << 20), 1)
        path = tmp_path / "chunks"
        path.write_bytes(encoded * 2000)
        ranges = ringio.Ranges([path], 0, np.arange(2000) * len(encoded), len(encoded))
        tasks = ringio.Tasks(
            np.arange(2000), [8 << 20], np.zeros((2000, 1), int), [[1]], np.arange(2000)[:, np.newaxis]
        )
        return ringio.Plan(ranges, tasks, codecs=ringio.codecs.chain(["zlib"]), dtype="u1"), np.zeros(2000, "u1")


# ---------------------------------------------------------------------- what wants a process of its own

SLOW_PLAN = """
    import os, sys, time, threading, signal, tempfile, zlib
    import numpy as np
    import ringio
    folder = tempfile.TemporaryDirectory()
    path = folder.name + "/chunks"
    encoded = zlib.compress(bytes(8 << 20), 1)
    with open(path, "wb") as file:
        file.write(encoded * 600)
    ranges = ringio.Ranges([path], 0, np.arange(600) * len(encoded), len(encoded))
    tasks = ringio.Tasks(np.arange(600), [8 << 20], np.zeros((600, 1), int), [[1]], np.arange(600)[:, np.newaxis])
    plan = ringio.Plan(ranges, tasks, codecs=ringio.codecs.chain(["zlib"]), dtype="u1")
    out = np.zeros(600, "u1")
"""


def run_script(backend: str, code: str) -> str:
    """Run code in a process of its own, which must end well; its output."""
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SLOW_PLAN) + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "RINGIO_BACKEND": backend},
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


class TestSignals:
    def test_ctrl_c_stops_a_batch_and_leaves_the_reader_usable(self, backend):
        output = run_script(
            backend,
            """
            reader = ringio.Reader()
            def interrupt():
                global sent
                time.sleep(0.2)
                sent = time.monotonic()
                os.kill(os.getpid(), signal.SIGINT)
            for _ in range(5):
                thread = threading.Thread(target=interrupt)
                thread.start()
                try:
                    reader.execute(plan, out)
                except KeyboardInterrupt:
                    print(time.monotonic() - sent)
                thread.join()
            assert bytes(reader.read_ranges([(path, 0, 100)])[0]) == encoded[:100]
            """,
        )
        waits = [float(line) for line in output.split()]
        assert len(waits) == 5
        assert min(waits) < 0.1

    def test_signals_that_are_handled_change_nothing(self, backend):
        """A storm of signals whose handler returns: no EINTR comes through."""
        output = run_script(
            backend,
            """
            signal.signal(signal.SIGALRM, lambda *_: None)
            signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
            data = np.random.default_rng(0).bytes(4 << 20)
            with open(path, "wb") as file:
                file.write(data)
            offsets = np.random.default_rng(1).integers(0, len(data) - 100, 20000)
            for _ in range(5):
                got = ringio.read_ranges(ringio.Ranges([path], 0, offsets, 100))
                assert [bytes(buffer) for buffer in got] == [data[o : o + 100] for o in offsets.tolist()]
            signal.setitimer(signal.ITIMER_REAL, 0)
            print("right")
            """,
        )
        assert output == "right\n"


class TestExit:
    def test_with_a_batch_in_a_daemon_thread(self, backend):
        start = time.monotonic()
        run_script(
            backend,
            """
            threading.Thread(target=lambda: ringio.default_reader().execute(plan, out), daemon=True).start()
            time.sleep(0.2)
            """,
        )
        assert time.monotonic() - start < 30

    def test_with_an_open_reader(self, backend):
        run_script(backend, "reader = ringio.Reader(); reader.read_ranges([(path, 0, None)]); ringio.read_ranges([])")

    def test_after_an_interrupted_batch(self, backend):
        run_script(
            backend,
            """
            threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
            try:
                ringio.default_reader().execute(plan, out)
            except KeyboardInterrupt:
                pass
            """,
        )


@pytest.mark.opens_files
class TestFork:
    CHECK = """
        data = encoded * 600
        def check(reader):
            got = reader.read_ranges([(path, 5, 1 << 20), (path, -7, None), (path, 1, 2)])
            return [bytes(b) for b in got] == [data[5 : 5 + (1 << 20)], data[-7:], data[1:3]]
        def in_child(reader):
            pid = os.fork()
            if pid == 0:
                os._exit(0 if check(reader) else 1)
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    return os.waitstatus_to_exitcode(status) == 0
                time.sleep(0.005)
            os.kill(pid, signal.SIGKILL)
            return False
        """

    def run(self, backend: str, code: str) -> None:
        run_script(backend, textwrap.dedent(self.CHECK) + textwrap.dedent(code))

    def test_at_rest(self, backend):
        self.run(
            backend,
            """
            reader = ringio.Reader()
            assert in_child(reader)  # before its first use
            assert check(reader)
            for _ in range(3):
                assert in_child(reader)
                assert check(reader)
            reader.close()
            """,
        )

    def test_while_another_thread_reads(self, backend):
        self.run(
            backend,
            """
            reader = ringio.Reader()
            stop, results = False, []
            def work():
                while not stop:
                    results.append(check(reader))
            threads = [threading.Thread(target=work) for _ in range(3)]
            for thread in threads:
                thread.start()
            for _ in range(10):
                assert in_child(reader)
                assert in_child(ringio.default_reader())
            stop = True
            for thread in threads:
                thread.join()
            assert results and all(results)
            """,
        )

    def test_while_a_batch_runs_that_the_child_inherits(self, backend):
        """The child can use, close and collect the reader that is busy in its parent; and may end in the usual way."""
        self.run(
            backend,
            """
            reader = ringio.Reader()
            def work():
                try:
                    reader.execute(plan, out)
                except ringio.RingioError:
                    pass
            thread = threading.Thread(target=work, daemon=True)
            thread.start()
            time.sleep(0.1)
            pid = os.fork()
            if pid == 0:
                assert check(reader)
                reader.close()
                assert check(ringio.Reader())
                folder._finalizer.detach()
                sys.exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            assert check(reader)
            """,
        )

    def test_pool(self, backend, make_file):
        path, _ = make_file(100_000)
        if multiprocessing.get_start_method(allow_none=True) not in (None, "fork"):
            pytest.skip("the start method was set otherwise")
        code = f"""
            import multiprocessing
            def read(offset):
                return bytes(ringio.read_ranges([({path!r}, offset, 100)])[0])
            if __name__ == "__main__":
                read(0)
                with multiprocessing.get_context("fork").Pool(3) as pool:
                    parts = pool.map(read, range(0, 100_000, 100))
                assert b"".join(parts) == open({path!r}, "rb").read()
            """
        run_script(backend, code)


class TestLimits:
    """Control groups, as folders of files."""

    def tree(self, folder, files):
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return {"root": folder / "cgroup", "membership": folder / "membership"}

    def test_version_2_with_the_tightest_limit_of_all_groups(self, tmp_path):
        where = self.tree(
            tmp_path,
            {
                "membership": "0::/a/b\n",
                "cgroup/cpu.max": "max 100000\n",
                "cgroup/a/cpu.max": "250000 100000\n",
                "cgroup/a/b/cpu.max": "max 100000\n",
                "cgroup/a/memory.max": "1000\n",
                "cgroup/a/b/memory.max": "500\n",
            },
        )
        assert _limits.cpu_quota(**where) == 3
        assert _limits.memory_quota(**where) == 500

    def test_version_1(self, tmp_path):
        where = self.tree(
            tmp_path,
            {
                "membership": "3:cpu,cpuacct:/a\n2:memory:/a\n1:name=systemd:/x\n",
                "cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "50000\n",
                "cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000\n",
                "cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
                "cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
                "cgroup/memory/a/memory.limit_in_bytes": "700\n",
                "cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            },
        )
        assert _limits.cpu_quota(**where) == 1
        assert _limits.memory_quota(**where) == 700

    def test_more_than_there_is_is_no_limit(self, tmp_path):
        where = self.tree(
            tmp_path,
            {"membership": "2:memory:/\n", "cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"},
        )
        assert _limits.memory_quota(**where) is None

    def test_no_limits(self, tmp_path):
        where = self.tree(tmp_path, {"membership": "0::/\n", "cgroup/cpu.max": "nonsense"})
        assert _limits.cpu_quota(**where) is None
        assert _limits.memory_quota(**where) is None
        assert _limits.cpu_quota(tmp_path / "none", tmp_path / "none") is None

    def test_this_machine(self):
        assert 1 <= _limits.worker_count() <= (os.cpu_count() or 1)
        assert _limits.memory_limit_bytes() > 0
        assert _limits.open_files() >= 1
