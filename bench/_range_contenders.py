"""Who takes part in the workloads of ranges: each reads the same byte ranges of one file in its library's own way."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import limits
from _common import Entry

Buffers = Sequence[Any] | npt.NDArray[np.uint8]
ReadRanges = Callable[[], Buffers]

THREADS = 8


@dataclass(frozen=True)
class RangeTask:
    """Ranges of one length in one file."""

    path: str
    offsets: npt.NDArray[np.int64]
    length: int

    def tuples(self) -> list[tuple[str, int, int]]:
        return [(self.path, offset, self.length) for offset in self.offsets.tolist()]

    def new_output(self) -> npt.NDArray[np.uint8]:
        output = np.empty((len(self.offsets), self.length), np.uint8)
        output.fill(0)  # touched: who reads into it does not pay for its pages
        return output


def ringio_tuples(task: RangeTask) -> ReadRanges:
    import ringio

    ranges = task.tuples()
    return lambda: ringio.read_ranges(ranges)


def ringio_columns(task: RangeTask, out: bool = False) -> ReadRanges:
    import ringio

    count = len(task.offsets)
    ranges = ringio.Ranges(
        paths=[task.path],
        path_index=np.zeros(count, np.uint32),
        offsets=task.offsets,
        lengths=np.full(count, task.length, np.int64),
    )
    if not out:
        return lambda: ringio.read_ranges(ranges)
    output = task.new_output()

    def read() -> Buffers:
        ringio.read_ranges(ranges, out=output)
        return output

    return read


def ringio_tuples_out(task: RangeTask) -> ReadRanges:
    import ringio

    ranges = task.tuples()
    output = task.new_output()

    def read() -> Buffers:
        ringio.read_ranges(ranges, out=output)
        return output

    return read


def ringio_columns_out(task: RangeTask) -> ReadRanges:
    return ringio_columns(task, out=True)


def ringio_direct(task: RangeTask) -> ReadRanges:
    import ringio

    reader, ranges = ringio.Reader(direct=True), task.tuples()
    return lambda: reader.read_ranges(ranges)


def ringio_auto(task: RangeTask) -> ReadRanges:
    import ringio

    reader, ranges = ringio.Reader(direct="auto"), task.tuples()
    return lambda: reader.read_ranges(ranges)


def ringio_direct_out(task: RangeTask) -> ReadRanges:
    import ringio

    reader, ranges, output = ringio.Reader(direct=True), task.tuples(), task.new_output()

    def read() -> Buffers:
        reader.read_ranges(ranges, out=output)
        return output

    return read


def pread_loop(task: RangeTask) -> ReadRanges:
    descriptor, offsets, length = os.open(task.path, os.O_RDONLY), task.offsets.tolist(), task.length
    return lambda: [os.pread(descriptor, length, offset) for offset in offsets]


def pread_loop_out(task: RangeTask) -> ReadRanges:
    descriptor, offsets = os.open(task.path, os.O_RDONLY), task.offsets.tolist()
    output = task.new_output()
    places = [(memoryview(row),) for row in output]

    def read() -> Buffers:
        for place, offset in zip(places, offsets, strict=True):
            os.preadv(descriptor, place, offset)
        return output

    return read


def pread_threads(task: RangeTask) -> ReadRanges:
    descriptor, offsets, length = os.open(task.path, os.O_RDONLY), task.offsets.tolist(), task.length
    parts = [offsets[first::THREADS] for first in range(THREADS)]
    pool = ThreadPoolExecutor(THREADS)

    def read_part(part: list[int]) -> list[bytes]:
        return [os.pread(descriptor, length, offset) for offset in part]

    def read() -> Buffers:
        buffers: list[bytes] = [b""] * len(offsets)
        for first, part in enumerate(pool.map(read_part, parts)):
            buffers[first::THREADS] = part
        return buffers

    return read


def obstore(task: RangeTask) -> ReadRanges:
    import obstore as obs
    from obstore.store import LocalStore

    directory, name = os.path.split(task.path)
    store = LocalStore(directory)
    starts, lengths = task.offsets.tolist(), [task.length] * len(task.offsets)
    return lambda: obs.get_ranges(store, name, starts=starts, lengths=lengths)


def fsspec(task: RangeTask) -> ReadRanges:
    import fsspec

    filesystem: Any = fsspec.filesystem("file")
    starts = task.offsets.tolist()
    ends = [start + task.length for start in starts]
    paths = [task.path] * len(starts)
    return lambda: filesystem.cat_ranges(paths, starts, ends)


CONTENDERS: dict[str, Callable[[RangeTask], ReadRanges]] = {
    "ringio, list of tuples": ringio_tuples,
    "ringio, list of tuples, `out=`": ringio_tuples_out,
    "ringio, columns": ringio_columns,
    "ringio, columns, `out=`": ringio_columns_out,
    "ringio, `direct=True`": ringio_direct,
    "ringio, `direct=True`, `out=`": ringio_direct_out,
    'ringio, `direct="auto"`': ringio_auto,
    "`os.pread` loop": pread_loop,
    "`os.preadv` loop into one buffer": pread_loop_out,
    f"`os.pread` in {THREADS} threads": pread_threads,
    "obstore `get_ranges`": obstore,
    "fsspec `cat_ranges`": fsspec,
}
COLD_NAMES = (limits.MEMORY, *CONTENDERS)
HOT_NAMES = (limits.PAGE_CACHE, *(name for name in COLD_NAMES if "direct" not in name))


def entry(contender: str, task: RangeTask) -> Entry:
    """Makes a contender, or a limit that takes part like one; called in its own process."""
    if contender == limits.MEMORY:
        return limits.memory_limit([len(task.offsets) * task.length], task.length)
    if contender == limits.PAGE_CACHE:
        count = len(task.offsets)
        return limits.page_cache_limit(
            [Path(task.path)], np.zeros(count, np.int64), task.offsets, np.full(count, task.length, np.int64)
        )
    read = CONTENDERS[contender](task)

    def check() -> None:
        buffers = read()
        assert len(buffers) == len(task.offsets), contender
        descriptor = os.open(task.path, os.O_RDONLY)
        try:
            for buffer, offset in zip(buffers, task.offsets.tolist(), strict=True):
                expected = os.pread(descriptor, task.length, offset)
                assert bytes(buffer) == expected, f"{contender}: range at {offset} is wrong"
        finally:
            os.close(descriptor)

    return Entry(read, check)
