"""``ringio info``: the backend and why, the limits that ringio found, and what file systems can do."""

from __future__ import annotations

import mmap
import os
import platform
import re
import resource
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np

from . import _limits, _locations
from ._core import ffi, lib
from ._entries import is_remote, normalise
from ._reader import Reader
from ._version import __version__

_PAGE_NBYTES: Final = 4096  # the largest block of any disk, too
_REFUSALS: Final = {
    lib.RINGIO_DIRECT_IN_MEMORY: "it is nowhere but in memory",
    lib.RINGIO_DIRECT_FUSE: "io_uring may give wrong bytes of it",
    lib.RINGIO_DIRECT_BLOCKS: "it demands blocks above 4096 bytes",
}
_CANDIDATES_MAX: Final = 1000  # names of a folder that are looked at for a file to try


def facts(reader: Reader, paths: Iterable[str]) -> tuple[dict[str, Any], list[Exception]]:
    """Everything, as JSON has it; None where something is not known or not limited.

    Args:
        reader: whose backend and limits.
        paths: whose file systems to look at.

    Returns:
        The facts, and what is wrong with paths, such as that they are not there; these are left out.
    """
    found: list[dict[str, Any]] = []
    errors: list[Exception] = []
    for path in paths:
        try:
            found.append(_path_facts(path))
        except (OSError, ValueError) as error:
            errors.append(error)
    return _machine_facts(reader) | {"paths": found}, errors


def _machine_facts(reader: Reader) -> dict[str, Any]:
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
    nowait, refusal = (None, None) if file is None else _abilities(file)
    return {
        "path": location,
        "remote": False,
        "filesystem": filesystem,
        "device": device,
        "nowait": nowait,
        "direct": None if nowait is None else refusal is None,
        "direct_reason": refusal,
    }


def _mount(path: str) -> tuple[str | None, str | None]:
    """Type and device of the file system that a path is on; proc(5), /proc/pid/mountinfo."""
    best: tuple[int, str | None, str | None] = (-1, None, None)
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return None, None
    for line in map(os.fsdecode, lines):
        fields, _, rest = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), fields.split()[4])  # a space is \040
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


def _abilities(path: str) -> tuple[bool | None, str | None]:
    """What a reader finds out about a file: whether it has reads that do not wait, and why none past the page cache.

    (None, None) where it cannot be read.
    """
    found = ffi.new("struct ringio_abilities *")
    if lib.ringio_try_file(os.fsencode(path), found):
        return None, None
    if not found.direct_refusal:
        return bool(found.nowait), _direct_read_refusal(path)
    if found.direct_refusal in _REFUSALS:
        return bool(found.nowait), _REFUSALS[found.direct_refusal]
    return bool(found.nowait), f"open with O_DIRECT: {os.strerror(found.direct_refusal)}"


def _direct_read_refusal(path: str) -> str | None:
    """What the system says to a read, where it lets files be opened for such reads; a reader finds that out later."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_DIRECT)
    try:
        with mmap.mmap(-1, _PAGE_NBYTES) as memory:
            os.preadv(fd, [memory], 0)
    except OSError as error:
        return f"read with O_DIRECT: {error.strerror}"
    finally:
        os.close(fd)
    return None


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
    if nbytes is None:
        return "no limit"
    size, unit = float(nbytes), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.4g} {unit}"
