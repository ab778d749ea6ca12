"""Who takes part where many small files are read whole: each in its library's own way."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import limits
from _common import Entry, say

Buffers = Sequence[Any]
ReadFiles = Callable[[], Buffers]

THREADS = 8
FILES_PER_FOLDER = 500
OPEN_FILES_MAX = 500


@dataclass(frozen=True)
class FilesTask:
    """Files of one size, in the order in which they are read."""

    paths: tuple[str, ...]
    file_nbytes: int


def write_files(folder: Path, count: int, nbytes: int) -> tuple[str, ...]:
    """Gives the paths in random order; each file holds its own incompressible bytes."""
    paths = [folder / f"{number // FILES_PER_FOLDER:03}" / f"{number:06}.bin" for number in range(count)]
    if not folder.exists():
        say(f"  writing {folder.name}")
        unfinished = folder.with_suffix(".unfinished")
        rng = np.random.default_rng(17)
        for path in paths:
            place = unfinished / path.relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(rng.bytes(nbytes))
        os.sync()
        unfinished.replace(folder)
    order = np.random.default_rng(19).permutation(count).tolist()
    return tuple(str(paths[number]) for number in order)


def ringio(task: FilesTask) -> ReadFiles:
    import ringio

    ranges = [(path, 0, None) for path in task.paths]
    return lambda: ringio.read_ranges(ranges)


def ringio_columns(task: FilesTask) -> ReadFiles:
    import ringio

    count = len(task.paths)
    ranges = ringio.Ranges(
        paths=list(task.paths),
        path_index=np.arange(count, dtype=np.uint32),
        offsets=np.zeros(count, np.int64),
        lengths=np.full(count, task.file_nbytes, np.int64),
    )
    output = np.ones((count, task.file_nbytes), np.uint8)

    def read() -> Buffers:
        ringio.read_ranges(ranges, out=output)
        return output  # type: ignore[return-value]

    return read


def read_file(path: str, nbytes: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.pread(descriptor, nbytes, 0)
    finally:
        os.close(descriptor)


def pread_loop(task: FilesTask) -> ReadFiles:
    return lambda: [read_file(path, task.file_nbytes) for path in task.paths]


def pread_threads(task: FilesTask) -> ReadFiles:
    pool = ThreadPoolExecutor(THREADS)
    parts = [task.paths[first::THREADS] for first in range(THREADS)]

    def read_part(part: Sequence[str]) -> list[bytes]:
        return [read_file(path, task.file_nbytes) for path in part]

    def read() -> Buffers:
        buffers: list[bytes] = [b""] * len(task.paths)
        for first, part in enumerate(pool.map(read_part, parts)):
            buffers[first::THREADS] = part
        return buffers

    return read


def obstore(task: FilesTask) -> ReadFiles:
    import obstore as obs
    from obstore.store import LocalStore

    root = os.path.commonpath(task.paths)
    store = LocalStore(root)
    names = [os.path.relpath(path, root) for path in task.paths]

    async def read_one(name: str, place: asyncio.Semaphore) -> Any:
        async with place:
            response = await obs.get_async(store, name)
            return await response.bytes_async()

    async def read_all() -> Buffers:
        place = asyncio.Semaphore(OPEN_FILES_MAX)  # with all at once there are too many open files
        return await asyncio.gather(*(read_one(name, place) for name in names))

    return lambda: asyncio.run(read_all())


def fsspec(task: FilesTask) -> ReadFiles:
    import fsspec

    filesystem: Any = fsspec.filesystem("file")
    paths = list(task.paths)

    def read() -> Buffers:
        contents = filesystem.cat(paths)
        return [contents[path] for path in paths]

    return read


CONTENDERS: dict[str, Callable[[FilesTask], ReadFiles]] = {
    "ringio, list of tuples": ringio,
    "ringio, columns, `out=`": ringio_columns,
    "`os.open` and `os.pread` loop": pread_loop,
    f"`os.open` and `os.pread` in {THREADS} threads": pread_threads,
    f"obstore `get_async`, {OPEN_FILES_MAX} at once": obstore,
    "fsspec `cat`": fsspec,
}
COLD_NAMES = (limits.MEMORY, *CONTENDERS)
HOT_NAMES = (limits.PAGE_CACHE, *COLD_NAMES)


def entry(contender: str, task: FilesTask) -> Entry:
    """Makes a contender, or a limit that takes part like one; called in its own process."""
    if contender == limits.MEMORY:
        return limits.memory_limit([len(task.paths) * task.file_nbytes], task.file_nbytes)
    if contender == limits.PAGE_CACHE:
        return limits.page_cache_limit_files(task.paths, task.file_nbytes)
    read = CONTENDERS[contender](task)

    def check() -> None:
        buffers = read()
        assert len(buffers) == len(task.paths), contender
        for path, buffer in zip(task.paths, buffers, strict=True):
            assert bytes(buffer) == Path(path).read_bytes(), f"{contender}: {path} is wrong"

    return Entry(read, check)
