"""Thousands of threads at once, and processes that may not have much: of cores, of memory, of threads."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
CGROUPS = Path("/sys/fs/cgroup")


def test_two_thousand_threads_at_once(run_child, make_file, backend):
    """All get their bytes, soon; buffers and workers are those of one reader, however many callers it has."""
    path, _ = make_file(4 << 20)
    run_child(
        """
        import random, resource, sys, threading, time
        import ringio
        path, backend, count = sys.argv[1], sys.argv[2], 2000
        data = open(path, "rb").read()
        reader = ringio.Reader(backend, workers=2, memory_limit_bytes=32 << 20)
        reader.read_ranges([(path, i * 7000, 3000) for i in range(500)])
        threading.stack_size(256 << 10)
        together, wrong = threading.Barrier(count + 1), []

        def work(seed):
            rng = random.Random(seed)
            together.wait()
            for _ in range(5):
                wanted = [(rng.randrange(4 << 20 - 9000), rng.randrange(8000)) for _ in range(rng.choice([1, 2, 30]))]
                wanted = [(offset % ((4 << 20) - 9000), length) for offset, length in wanted]
                got = reader.read_ranges([(path, offset, length) for offset, length in wanted])
                for (offset, length), buffer in zip(wanted, got, strict=True):
                    if bytes(buffer) != data[offset : offset + length]:
                        wrong.append((offset, length))

        threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
        for thread in threads:
            thread.start()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begin = time.monotonic()
        together.wait()
        for thread in threads:
            thread.join()
        assert not wrong
        assert reader.statistics().peak_buffer_bytes <= 32 << 20
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
        assert grown < 300 << 20, grown  # Python's own memory of 2,000 calls, most of it
        assert time.monotonic() - begin < 45
        reader.close()
        """,
        path,
        backend,
        timeout_s=90,
    )


@pytest.fixture
def public_file() -> Iterator[Path]:
    """A file of 4 MiB that any user may read; those of pytest are for its own user."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "file"
        path.write_bytes(np.random.default_rng(0).bytes(4 << 20))
        yield path


def test_two_thousand_threads_that_may_have_next_to_nothing(run_child, public_file):
    """48 open files and no locked memory, for a user who is nobody: all threads read, also as streams and in loops."""
    run_child(
        """
        import asyncio, os, resource, sys, threading, time
        import ringio
        path, count = sys.argv[1], 2000
        data = open(path, "rb").read()

        async def nothing():
            async for _ in ringio.iter_ranges_async([(path, 0, 1)]):
                pass

        asyncio.run(nothing())  # all that is imported late
        ringio.default_reader().close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        reader = ringio.Reader(workers=4)
        threading.stack_size(256 << 10)
        together, failed, done = threading.Barrier(count + 1), [], []

        def work(seed):
            wanted = [(path, (seed * 997 + i * 40_000) % (4 << 20), 4096) for i in range(12)]
            wanted = [(path, min(offset, (4 << 20) - 4096), nbytes) for _, offset, nbytes in wanted]
            right = [data[offset : offset + nbytes] for _, offset, nbytes in wanted]
            together.wait()
            try:
                for way in range(2):
                    if (seed + way) % 2:
                        got = dict(reader.iter_ranges(wanted))
                    else:
                        got = reader.read_ranges(wanted)
                    assert [bytes(got[i]) for i in range(12)] == right
                done.append(seed)
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
        for thread in threads:
            thread.start()
        together.wait()

        async def beside():
            for _ in range(20):
                buffers = await reader.read_ranges_async([(path, i * 100_000, 100) for i in range(30)])
                assert [bytes(each) for each in buffers] == [data[i * 100_000 : i * 100_000 + 100] for i in range(30)]

        asyncio.run(beside())
        for thread in threads:
            thread.join()
        assert not failed, (len(failed), failed[0])
        assert len(done) == count
        assert reader.backend in ("io_uring", "threads") and reader.backend_reason
        """,
        public_file,
        timeout_s=90,
        RINGIO_BACKEND="",
    )


@pytest.fixture
def in_cgroup(tmp_path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Runs a script in a control group of its own: ``run(controller, {file: value}, script, *arguments)``."""
    made: list[Path] = []

    def run(
        controller: str, limits: dict[str, str], script: str, *arguments: object
    ) -> subprocess.CompletedProcess[str]:
        folder = CGROUPS / controller / f"ringio-test-{os.getpid()}"
        try:
            folder.mkdir()
            made.append(folder)
            for name, value in limits.items():
                (folder / name).write_text(value)
        except OSError as error:
            pytest.skip(f"no control group can be made here: {error}")
        enter = f'echo $$ > {folder}/cgroup.procs && exec "$@"'
        command = ["sh", "-c", enter, "sh", sys.executable, "-c", script, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    yield run
    for folder in made:
        folder.rmdir()


def test_workers_are_as_many_as_the_quota_of_cores(in_cgroup):
    script = "import ringio; print(ringio.Reader().workers)"
    done = in_cgroup("cpu", {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "100000"}, script)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_buffers_stay_within_a_quota_of_memory(in_cgroup, tmp_path):
    """A process that may have 192 MiB reads 2 GiB, at most a quarter of what it may have at a time."""
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(2 << 30)
    script = """
import sys, ringio
reader = ringio.Reader()
assert reader.memory_limit_bytes == 48 << 20, reader.memory_limit_bytes
total = 0
for _, buffer in reader.iter_ranges((sys.argv[1], i << 20, 1 << 20) for i in range(2048)):
    total += len(buffer)
assert total == 2 << 30
assert reader.statistics().peak_buffer_bytes <= 48 << 20
"""
    done = in_cgroup("memory", {"memory.limit_in_bytes": str(192 << 20)}, script, path)
    assert done.returncode == 0, done.stderr
