"""The disk limit: what fio reads per second, and how files leave the page cache."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from _common import KIB, MIB, say

DROP_CACHES = Path("/proc/sys/vm/drop_caches")
PAGE_CACHE_AND_INODES = "3"
DEPTH = 128  # requests in flight, all processes together
BLOCK_NBYTES = 4 * KIB  # what O_DIRECT reads multiples of
FILES_MAX = 64  # that fio opens; what it reads does not depend on there being more
NAMES_NBYTES_MAX = 4000  # that fio takes
UNCACHED_PART = 4
HUGE_PAGES = Path("/proc/sys/vm/nr_hugepages")
HUGE_PAGE_NBYTES = 2 * MIB


def make_cold(paths: Sequence[str]) -> str:
    """Drops the files from the page cache and says how: all caches where we may, else only the files' pages."""
    os.sync()
    try:
        DROP_CACHES.write_text(PAGE_CACHE_AND_INODES)
        return f"`{DROP_CACHES}`"
    except OSError:
        for path in paths:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)
        return "`POSIX_FADV_DONTNEED`"


@contextmanager
def huge_pages(nbytes: int) -> Iterator[bool]:
    """Sets huge pages aside for fio, and says whether there are enough: with small ones it reads half as fast."""
    try:
        before = HUGE_PAGES.read_text()
        wanted = int(before) + -(-nbytes // HUGE_PAGE_NBYTES)
        HUGE_PAGES.write_text(str(wanted))
    except OSError:
        yield False
        return
    try:
        yield int(HUGE_PAGES.read_text()) == wanted
    finally:
        HUGE_PAGES.write_text(before)


def fio_bytes_per_s(paths: Sequence[str], request_nbytes: int, *, direct: bool, seconds: float) -> float | None:
    """What fio reads per second at random places of these files in requests of this size; None without fio."""
    if shutil.which("fio") is None:
        return None
    jobs, block = len(os.sched_getaffinity(0)), _block(request_nbytes)
    if not direct:  # no more than a part of the files: what is read twice comes from the page cache
        part_nbytes = sum(Path(path).stat().st_size for path in paths) // (UNCACHED_PART * jobs)
        return _fio(paths, block, jobs, [f"--io_size={max(part_nbytes, block)}"])
    timed = ["--direct=1", "--time_based", f"--runtime={seconds}s"]
    with huge_pages(2 * jobs * (_depth(jobs) * block + HUGE_PAGE_NBYTES)) as there:  # fewer were too few at times
        rate = _fio(paths, block, jobs, [*timed, "--iomem=mmaphuge"]) if there else None
    return rate or _fio(paths, block, jobs, timed)


def _depth(jobs: int) -> int:
    return max(DEPTH // jobs, 1)


def _block(request_nbytes: int) -> int:
    return -(-request_nbytes // BLOCK_NBYTES) * BLOCK_NBYTES


def _fio(paths: Sequence[str], block: int, jobs: int, arguments: Sequence[str]) -> float | None:
    escaped = [str(path).replace(":", "\\:") for path in paths]
    count = max(min(FILES_MAX, NAMES_NBYTES_MAX // (max(map(len, escaped)) + 1)), 1)
    names = ":".join(escaped[:: -(-len(escaped) // count)])
    make_cold(paths)
    command = ["fio", "--name=limit", "--rw=randread", f"--filename={names}", f"--bs={block}", "--norandommap"]
    command += ["--ioengine=io_uring", f"--iodepth={_depth(jobs)}", f"--numjobs={jobs}", "--group_reporting"]
    command += [*arguments, "--invalidate=1", "--readonly", "--output-format=json"]
    finished = subprocess.run(command, capture_output=True, text=True)
    if finished.returncode != 0:
        say(f"  fio: {finished.stderr.strip().splitlines()[:1]}")
        return None
    report = json.loads(finished.stdout[finished.stdout.index("{") :])
    return float(report["jobs"][0]["read"]["bw_bytes"]) or None
