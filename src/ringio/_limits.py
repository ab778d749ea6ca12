"""How much of the machine is ours: cores, memory, open files; control groups counted."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from io import FileIO
from typing import Final, TypeAlias

# Not pathlib, which takes 3 ms to import: more than all of this package.
Path: TypeAlias = str | os.PathLike[str]

_CGROUPS: Final = "/sys/fs/cgroup"
_PROC: Final = "/proc/self/cgroup"
_MEMORY_SHARE: Final = 4  # a reader takes at most a quarter of what there is
_OPEN_FILES_MAX: Final = 512
_OPEN_FILES_SHARE: Final = 4  # of RLIMIT_NOFILE: the rest is the program's


def worker_count() -> int:
    """Cores that this process may use: its affinity, and the CPU quota of its control group, rounded up."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return available if quota is None else max(1, min(available, quota))


def memory_limit_bytes() -> int:
    """A quarter of the machine's memory, or of its control group's where that has less."""
    available = _machine_memory_bytes()
    limit = memory_quota()
    return (available if limit is None else min(available, limit)) // _MEMORY_SHARE


def open_files() -> int:
    """How many files a reader keeps open: at most a quarter of what the process may have open, and 512."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _OPEN_FILES_MAX
    return max(1, min(_OPEN_FILES_MAX, soft // _OPEN_FILES_SHARE))


def cpu_quota(root: Path = _CGROUPS, membership: Path = _PROC) -> int | None:
    """Cores that the control groups allow, rounded up; None where they set no limit.

    Source: Documentation/admin-guide/cgroup-v2.rst (cpu.max), scheduler/sched-bwc.rst (v1).
    """
    quotas = []
    for folder in _folders("cpu", root, membership):
        words = _words(f"{folder}/cpu.max")
        if not words:
            words = _words(f"{folder}/cpu.cfs_quota_us") + _words(f"{folder}/cpu.cfs_period_us")
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]) > 0:
            quotas.append(max(1, -(-int(words[0]) // int(words[1]))))
    return min(quotas, default=None)


def memory_quota(root: Path = _CGROUPS, membership: Path = _PROC) -> int | None:
    """Bytes that the control groups allow; None where they set no limit.

    More than the machine has is none: version 1 has no other word for it.
    """
    machine = _machine_memory_bytes()
    limits = []
    for folder in _folders("memory", root, membership):
        words = _words(f"{folder}/memory.max") or _words(f"{folder}/memory.limit_in_bytes")
        if words and words[0].isdigit() and int(words[0]) <= machine:
            limits.append(int(words[0]))
    return min(limits, default=None)


def _machine_memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _folders(controller: str, root: Path, membership: Path) -> Iterator[str]:
    """The folders of our control group and those around it; inside a container the path may be the host's."""
    for line in _text(membership).splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if names and controller not in names.split(","):
            continue
        base = f"{os.fspath(root)}/{names}"  # v1 has a hierarchy for each set of controllers
        parts = [part for part in path.split("/") if part]
        for count in range(len(parts), -1, -1):
            yield "/".join([base, *parts[:count]])


def _words(path: Path) -> list[str]:
    return _text(path).split()


def _text(path: Path) -> str:
    try:
        with FileIO(path) as file:
            return file.read().decode(errors="replace")
    except OSError:
        return ""
