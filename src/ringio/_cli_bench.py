"""``ringio bench``: how fast ranges of a file come with each backend, cached and from the disk.

The backends take turns, so that whatever else the machine does meets all of them; a figure is the median of its turns.
A plain ``os.pread`` loop reads the same ranges for comparison.
"""

from __future__ import annotations

import errno
import os
import statistics
import time
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import numpy as np

from ._entries import is_remote
from ._errors import BackendError
from ._ranges import Ranges
from ._reader import Reader

Read: TypeAlias = Callable[[Ranges], object]

_RANGE_NBYTES: Final = (4 << 10, 64 << 10, 1 << 20)
_TURNS: Final = 3
_BATCH_NBYTES_MAX: Final = 256 << 20  # of one batch: it has to fit into memory, and in a turn's time
_BATCH_RANGES: Final = (16, 20_000)
_PREAD: Final = "os.pread loop"
_PLACES: Final = 16
_CACHED_SHARE_MAX: Final = 0.25
_DROP_TRIES: Final = 10
_DROP_PAUSE_S: Final = 0.02


def measure(path: str, seconds: float) -> dict[str, Any]:
    """Read random ranges of a file in every way.

    Args:
        path: of a local file.
        seconds: for each measurement, roughly.

    Raises:
        OSError: no such file, or not readable.
        ValueError: a URL, or a file too small for any range.
    """
    if is_remote(path):
        raise ValueError(f"{path}: only local files can be measured")
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        nbytes = os.fstat(fd).st_size
        sizes = [size for size in _RANGE_NBYTES if size * _BATCH_RANGES[0] <= nbytes]
        _try(fd, path)
        if not sizes:
            raise ValueError(f"{path}: {nbytes} bytes; at least {_RANGE_NBYTES[0] * _BATCH_RANGES[0]} are due")
        readers, absent = _readers()
        try:
            ways: dict[str, Read] = {name: reader.read_ranges for name, reader in readers.items()}
            ways[_PREAD] = _pread_loop(fd)
            results = []
            for size in sizes:
                results += _measure_size(path, fd, nbytes, size, ways, seconds)
        finally:
            for reader in readers.values():
                reader.close()
    finally:
        os.close(fd)
    left_out = [size for size in _RANGE_NBYTES if size not in sizes]
    return {"path": path, "size": nbytes, "absent": absent, "left_out": left_out, "results": results}


def _try(fd: int, path: str) -> None:
    try:
        os.pread(fd, 1, 0)
    except OSError as error:  # it is a folder
        error.filename = path
        raise


def _readers() -> tuple[dict[str, Reader], dict[str, str]]:
    readers, absent = {}, {}
    for name in ("io_uring", "threads"):
        try:
            readers[name] = Reader(name)
        except BackendError as error:
            absent[name] = str(error)
    return readers, absent


def _pread_loop(fd: int) -> Read:
    def read(ranges: Ranges) -> list[bytes]:
        return [os.pread(fd, length, offset) for _, offset, length in ranges]  # type: ignore[arg-type]

    return read


def _measure_size(
    path: str, fd: int, nbytes: int, range_nbytes: int, ways: dict[str, Read], seconds: float
) -> list[dict[str, Any]]:
    """Hot and cold, for ranges of one size."""
    rng = np.random.default_rng(0)
    count_max = min(_BATCH_NBYTES_MAX, nbytes) // range_nbytes
    few = _batch(rng, path, nbytes, range_nbytes, min(_BATCH_RANGES[0], count_max))
    for read in ways.values():
        read(few)  # threads and rings are made, the file is opened
    one = min(_time(read, few) for read in ways.values()) / len(few)
    count = int(min(count_max, max(_BATCH_RANGES[0], min(_BATCH_RANGES[1], seconds / one))))
    batch = _batch(rng, path, nbytes, range_nbytes, count)
    rows = []
    for state in ("hot", "cold"):
        times: dict[str, list[float]] = {name: [] for name in ways}
        possible = True
        for _ in range(_TURNS):
            for name, read in ways.items():
                if state == "hot":
                    _pread_loop(fd)(batch)
                else:
                    possible = possible and _drop(fd)
                if possible:
                    times[name].append(_time(read, batch))
        rows.append(
            {
                "state": state,
                "range_bytes": range_nbytes,
                "ranges": len(batch),
                "ranges_per_s": {
                    name: round(len(batch) / statistics.median(taken), 1) if taken and possible else None
                    for name, taken in times.items()
                },
            }
        )
    return rows


def _batch(rng: np.random.Generator, path: str, nbytes: int, range_nbytes: int, count: int) -> Ranges:
    """Different ranges at random places, each a multiple of its size."""
    places = rng.choice(nbytes // range_nbytes, count, replace=False)
    return Ranges([path], 0, places.astype(np.int64) * range_nbytes, range_nbytes)


def _time(read: Read, batch: Ranges) -> float:
    start = time.perf_counter()
    result = read(batch)
    taken = time.perf_counter() - start
    del result  # not timed: where its memory goes is the next one's gain
    return taken


def _drop(fd: int) -> bool:
    """Ask the kernel to forget what it has cached of a file, and whether it did."""
    os.fsync(fd)  # pages that are not written back are not forgotten
    for _ in range(_DROP_TRIES):
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        cached = _cached_share(fd)
        if cached is None:
            return False
        if cached <= _CACHED_SHARE_MAX:
            return True
        time.sleep(_DROP_PAUSE_S)  # nor are pages that are still being read ahead
    return False


def _cached_share(fd: int) -> float | None:
    """Which share of a few places of a file is cached; None where nobody can tell."""
    nbytes = os.fstat(fd).st_size
    cached = 0
    for i in range(_PLACES):
        try:
            cached += bool(os.preadv(fd, [bytearray(1)], nbytes * i // _PLACES, os.RWF_NOWAIT))
        except BlockingIOError:
            pass
        except OSError as error:
            # tmpfs, overlayfs, FUSE: there may be nothing to drop at all.
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
            return None
    return cached / _PLACES


def as_text(results: dict[str, Any]) -> str:
    """A table: a line for each size, a column for each way."""
    rows = results["results"]
    names = list(rows[0]["ranges_per_s"])
    lines = [f"{results['path']}, {results['size']:,} bytes; ranges/s (GB/s)", ""]
    lines.append(f"{'':6}{'range':>9}" + "".join(f"{name:>24}" for name in names))
    for row in rows:
        cells = [_cell(row["ranges_per_s"][name], row["range_bytes"]) for name in names]
        lines.append(f"{row['state']:6}{_size(row['range_bytes']):>9}" + "".join(f"{cell:>24}" for cell in cells))
    if any(value is None for row in rows for value in row["ranges_per_s"].values()):
        lines += ["", "cold: the kernel does not drop this file from its cache, or does not say whether it did"]
    for size in results["left_out"]:
        lines += ["", f"{_size(size)}: left out, the file has less than {_BATCH_RANGES[0]} ranges of this size"]
    lines += [f"{name}: {reason}" for name, reason in results["absent"].items()]
    return "\n".join(lines) + "\n"


def _size(nbytes: int) -> str:
    return f"{nbytes >> 10} KiB" if nbytes < 1 << 20 else f"{nbytes >> 20} MiB"


def _cell(ranges_per_s: float | None, range_nbytes: int) -> str:
    if ranges_per_s is None:
        return "-"
    return f"{ranges_per_s:,.0f} ({ranges_per_s * range_nbytes / 1e9:.2f})"
