"""``ringio info``: the backend and why, the limits that ringio found, and what file systems can do."""

from __future__ import annotations

import errno
import mmap
import os
import platform
import resource
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np

from . import _limits, _locations
from ._entries import is_remote, normalise
from ._reader import Reader
from ._version import __version__

_PAGE_NBYTES: Final = 4096  # the largest block of any disk, too
_NO_LIMIT: Final = 1 << 60  # version 1 of the control groups says so with a huge number
_CANDIDATES_MAX: Final = 1000  # names of a folder that are looked at for a file to try


def facts(reader: Reader, paths: Iterable[str]) -> dict[str, Any]:
    """Everything, as JSON has it; None where something is not known or not limited.

    Args:
        reader: whose backend and limits.
        paths: whose file systems to look at.

    Raises:
        OSError: a path is not there.
    """
    return {
        "ringio": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "io_uring_disabled": _number("/proc/sys/kernel/io_uring_disabled"),
        "backend": reader.backend,
        "backend_reason": reader.backend_reason,
        "workers": reader.workers,
        "cores": {
            "machine": os.cpu_count(),
            "affinity": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
            "cgroup_quota": _limits.cpu_quota(),
        },
        "memory_bytes": {
            "reader_limit": reader.memory_limit_bytes,
            "machine": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
            "cgroup_limit": _limits.memory_quota(),
        },
        "open_files": {"reader_limit": _limits.open_files(), **_rlimit(resource.RLIMIT_NOFILE)},
        "memlock_bytes": _rlimit(resource.RLIMIT_MEMLOCK),
        "paths": [_path_facts(path) for path in paths],
    }


def as_text(facts: dict[str, Any]) -> str:
    """The same for people."""
    cores, memory, files, memlock = (facts[key] for key in ("cores", "memory_bytes", "open_files", "memlock_bytes"))
    rows = [
        ("ringio", f"{facts['ringio']}, Python {facts['python']}, numpy {facts['numpy']}"),
        ("kernel", facts["kernel"]),
        ("backend", f"{facts['backend']}: {facts['backend_reason']}"),
        (
            "workers",
            f"{facts['workers']}; cores: {cores['machine']} in the machine, {_or(cores['affinity'], 'all')} by "
            f"affinity, {_or(cores['cgroup_quota'], 'no limit')} by control group",
        ),
        (
            "memory",
            f"{_size(memory['reader_limit'])} for buffers; {_size(memory['machine'])} in the machine, "
            f"{_size(memory['cgroup_limit'])} by control group",
        ),
        ("open files", f"{files['reader_limit']} kept; RLIMIT_NOFILE {_or(files['soft'], 'no limit')}"),
        ("memlock", f"RLIMIT_MEMLOCK {_size(memlock['soft'])}"),
    ]
    for path in facts["paths"]:
        rows += [("", ""), ("path", path["path"]), *_path_rows(path)]
    return "".join(f"{name:11} {value}".rstrip() + "\n" for name, value in rows)


def _path_rows(path: dict[str, Any]) -> list[tuple[str, str]]:
    if path["remote"]:
        return [("", "a URL, which is read through obstore")]
    return [
        ("filesystem", f"{_or(path['filesystem'], 'unknown')} on {_or(path['device'], 'unknown')}"),
        (
            "NOWAIT",
            _answer(path["nowait"], "reads that do not wait: cached data is read at once", "pread is used there"),
        ),
        (
            "O_DIRECT",
            _answer(
                path["direct"],
                "direct=True reads past the page cache",
                f"direct=True reads through it ({path['direct_reason']})",
            ),
        ),
    ]


def _answer(able: bool | None, yes: str, no: str) -> str:
    if able is None:
        return "unknown: there is no file in it to try"
    return f"yes: {yes}" if able else f"no: {no}"


def _path_facts(path: str) -> dict[str, Any]:
    location = normalise(path)
    if is_remote(location):
        return {"path": location, "remote": True}
    kind = _locations.look_up(location).kind
    filesystem, device = _mount(os.path.realpath(location))
    file = location if kind == "file" else _some_file(location) if kind == "directory" else None
    is_fuse = filesystem is not None and filesystem.partition(".")[0] in ("fuse", "fuseblk", "virtiofs")
    direct, reason = (None, None) if file is None else _has_direct(file)
    return {
        "path": location,
        "remote": False,
        "filesystem": filesystem,
        "device": device,
        "nowait": None if file is None else _has_nowait(file),
        "direct": direct and not is_fuse,
        "direct_reason": "io_uring may give wrong bytes of it" if direct and is_fuse else reason,
    }


def _mount(path: str) -> tuple[str | None, str | None]:
    """Type and device of the file system that a path is on; proc(5), /proc/pid/mountinfo."""
    best: tuple[int, str | None, str | None] = (-1, None, None)
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return None, None
    for line in lines:
        fields, _, rest = line.partition(" - ")
        point = fields.split()[4].encode().decode("unicode_escape")  # a space in it is \040
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= best[0]:  # of two at one place the later one covers the other
            best = (len(point), *rest.split()[:2])  # type: ignore[assignment]
    return best[1:]


def _some_file(folder: str) -> str | None:
    with os.scandir(folder) as entries:
        for _, entry in zip(range(_CANDIDATES_MAX), entries):
            if entry.is_file(follow_symlinks=False) and os.access(entry.path, os.R_OK):
                return entry.path
    return None


def _has_nowait(path: str) -> bool | None:
    if not hasattr(os, "RWF_NOWAIT"):
        return None
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        os.preadv(fd, [bytearray(1)], 0, os.RWF_NOWAIT)
    except BlockingIOError:
        return True  # not cached, and that is what it says
    except OSError as error:
        return None if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL) else False
    finally:
        os.close(fd)
    return True


def _has_direct(path: str) -> tuple[bool | None, str | None]:
    """Whether a file can be read past the page cache, and if not, what the system says."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_DIRECT)
    except OSError as error:
        return False, f"open with O_DIRECT: {error.strerror}"
    try:
        with mmap.mmap(-1, _PAGE_NBYTES) as memory:
            os.preadv(fd, [memory], 0)
    except OSError as error:
        return (None if error.errno != errno.EINVAL else False), f"read with O_DIRECT: {error.strerror}"
    finally:
        os.close(fd)
    return True, None


def _rlimit(which: int) -> dict[str, int | None]:
    soft, hard = resource.getrlimit(which)
    return {"soft": _or_none(soft), "hard": _or_none(hard)}


def _or_none(limit: int) -> int | None:
    return None if limit == resource.RLIM_INFINITY else limit


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return None


def _or(value: object, otherwise: str) -> str:
    return otherwise if value is None else str(value)


def _size(nbytes: int | None) -> str:
    if nbytes is None or nbytes >= _NO_LIMIT:
        return "no limit"
    size, unit = float(nbytes), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.4g} {unit}"
