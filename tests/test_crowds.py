"""Thousands of threads at once, and processes that may not have much: of cores, of memory, of threads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

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
