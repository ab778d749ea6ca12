"""The disk limit: what fio reads per second, and how files leave the page cache."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from _common import KIB, say

DROP_CACHES = Path("/proc/sys/vm/drop_caches")
PAGE_CACHE_AND_INODES = "3"
DEPTH = 128  # requests in flight, all processes together
BLOCK_NBYTES = 4 * KIB  # what O_DIRECT reads multiples of
FILES_MAX = 64  # that fio opens; what it reads does not depend on there being more
UNCACHED_PART = 4


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


def fio_bytes_per_s(paths: Sequence[str], request_nbytes: int, *, direct: bool, seconds: float) -> float | None:
    """What fio reads per second at random places of these files in requests of this size; None without fio."""
    if shutil.which("fio") is None:
        return None
    jobs = len(os.sched_getaffinity(0))
    block = -(-request_nbytes // BLOCK_NBYTES) * BLOCK_NBYTES
    names = ":".join(str(path).replace(":", "\\:") for path in paths[:: -(-len(paths) // FILES_MAX)])
    make_cold(paths)
    command = ["fio", "--name=limit", "--rw=randread", f"--filename={names}", f"--bs={block}", "--norandommap"]
    command += ["--ioengine=io_uring", f"--iodepth={max(DEPTH // jobs, 1)}", f"--numjobs={jobs}", "--group_reporting"]
    command += [f"--direct={int(direct)}", "--invalidate=1", "--readonly", "--output-format=json"]
    if direct:
        command += ["--time_based", f"--runtime={seconds}s"]
    else:  # no more than a part of the files: what is read twice comes from the page cache
        total_nbytes = sum(Path(path).stat().st_size for path in paths)
        command += [f"--io_size={max(total_nbytes // (UNCACHED_PART * jobs), block)}"]
    finished = subprocess.run(command, capture_output=True, text=True)
    if finished.returncode != 0:
        say(f"  fio: {finished.stderr.strip().splitlines()[:1]}")
        return None
    report = json.loads(finished.stdout[finished.stdout.index("{") :])
    return float(report["jobs"][0]["read"]["bw_bytes"]) or None
