"""The floor under each workload on this machine, and how it is measured.

    python bench/limits.py                      # of every workload of bench/run.py
    python bench/limits.py --only crops-lz4 --rounds 9

decoder limit
    The distinct encoded chunks of every batch, in memory already, decoded by the bare C library: one thread per core,
    each with one context and one target that it uses again.  No reading, no planning, no placing, and no filters.
memory limit
    As many bytes as the workload gives, copied once from memory into memory that was touched before, on every core.
    Batches of one chunk, or of less than a MiB, leave the other cores idle in both limits.
page cache limit
    What the batches want of the files, read by ``pread`` from the page cache, on every core, each into one buffer that
    stays in its cache; of raw chunks the wanted bytes only, as if they lay together. Files are opened and closed. Who
    reads these bytes, and does not map them, cannot be faster, and what is decoded is decoded after that, by the same
    cores.
disk limit
    What fio reads per second with requests of the same size and as many in flight, from the same files.

``bench/run.py`` lets all but the last take part in each contest like any contender, and quotes results as shares of
them.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from _common import MIB, Entry, UnavailableError
from _encoded import EncodedArray, Extents, Integers, encoded_array, load, locate, wanted_chunks

SOURCE = Path(__file__).resolve().parent / "limits.c"
BUILD = Path("build/bench")
DECODER, MEMORY, PAGE_CACHE = "decoder limit", "memory limit", "page cache limit"
NAMES = (DECODER, MEMORY, PAGE_CACHE)
DEFINITIONS = {
    "copy": "LIMITS_COPY",
    "read": "LIMITS_READ",
    "open": "LIMITS_OPEN",
    "blosc": "LIMITS_BLOSC",
    "zstd": "LIMITS_ZSTD",
    "gzip": "LIMITS_DEFLATE",
    "zlib": "LIMITS_DEFLATE",
}
PIECE_COLUMNS = 6  # struct piece in limits.c
MEMORY_SOURCE_NBYTES = 1024 * MIB  # far more than any cache holds
PIECE_NBYTES_MAX = MIB
READ_NBYTES_MAX = MIB // 4  # fits into the cache of a core

Bytes = npt.NDArray[np.uint8]


def library_flags(codec: str) -> list[str]:
    """What the C compiler needs to find the codec's library: the system's, and c-blosc2 from the blosc2 wheel."""
    if codec == "blosc":
        specification = importlib.util.find_spec("blosc2")
        if specification is None or not specification.submodule_search_locations:
            raise UnavailableError("the Python package blosc2, whose wheel brings c-blosc2, is not installed")
        folder = Path(specification.submodule_search_locations[0])
        return ["-isystem", str(folder / "include"), str(folder / "lib" / "libblosc2.a"), "-lm", "-ldl"]
    flags = {"zstd": ["-lzstd"], "gzip": ["-ldeflate"], "zlib": ["-ldeflate"]}
    return flags.get(codec, [])


def compile_limits(codec: str) -> ctypes.CDLL:
    """Compiles ``limits.c`` for a codec where that was not done yet, and loads it."""
    definition = DEFINITIONS[codec]
    library = (BUILD / f"{definition.lower()}.so").resolve()
    if not library.exists() or library.stat().st_mtime < SOURCE.stat().st_mtime:
        library.parent.mkdir(parents=True, exist_ok=True)
        unfinished = library.with_suffix(f".{os.getpid()}")
        command = [os.environ.get("CC", "cc"), "-std=c11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden"]
        command += ["-Wl,--exclude-libs,ALL", f"-D{definition}", str(SOURCE), "-o", str(unfinished), "-pthread"]
        finished = subprocess.run(command + library_flags(codec), capture_output=True, text=True)
        if finished.returncode != 0:
            raise UnavailableError(f"limits.c does not compile: {finished.stderr.strip().splitlines()[0]}")
        unfinished.replace(library)
    loaded = ctypes.CDLL(str(library))
    pointer, integer = ctypes.c_void_p, ctypes.c_int64
    loaded.limits_run.argtypes = [pointer, pointer, integer, pointer, integer, ctypes.c_int]
    loaded.limits_run.restype = integer
    return loaded


def make_run(
    codec: str, source: Bytes, pieces: Integers, target: Bytes, stride_nbytes: int, threads: int
) -> Callable[[], None]:
    """Gives the function that is timed: every piece once."""
    library = compile_limits(codec)
    assert pieces.shape[1] == PIECE_COLUMNS
    assert pieces.flags.c_contiguous

    def run() -> None:
        wrong = library.limits_run(
            source.ctypes.data, pieces.ctypes.data, len(pieces), target.ctypes.data, stride_nbytes, threads
        )
        if wrong != -1:
            raise UnavailableError("limits.c had no thread" if wrong < 0 else f"limits.c: piece {wrong} went wrong")

    return run


def thread_count(largest_batch: int) -> int:
    """A thread per core, as far as a batch has work for them."""
    return min(len(os.sched_getaffinity(0)), largest_batch)


def decoder_limit(path: str, batches: Sequence[Integers], crop_shape: Sequence[int]) -> Entry:
    """Decodes what batches of crops need of an array; of points in blosc chunks, only the blocks that hold them."""
    array = encoded_array(path)
    if array.codec == "raw":
        raise UnavailableError("nothing is encoded")
    point = all(length == 1 for length in crop_shape) and array.codec == "blosc"
    per_batch = [wanted_items(array, starts) if point else distinct(array, starts, crop_shape) for starts in batches]
    chunks, items = np.concatenate([rows[0] for rows in per_batch]), np.concatenate([rows[1] for rows in per_batch])
    known, row = np.unique(chunks, return_inverse=True)
    extents = locate(array, known)
    source, places = load(extents)
    pieces = np.zeros((len(chunks), PIECE_COLUMNS), np.int64)
    pieces[:, 0], pieces[:, 1] = places[row], extents.nbytes[row]
    pieces[:, 3] = array.itemsize if point else array.decompressed_nbytes
    pieces[:, 4], pieces[:, 5] = items, int(point)
    stride_nbytes = -(-array.decompressed_nbytes // 4096) * 4096
    threads = thread_count(max(len(rows[0]) for rows in per_batch))
    target = np.ones(stride_nbytes * threads, np.uint8)
    run = make_run(array.codec, source, pieces, target, stride_nbytes, threads)
    return Entry(run, run)


def distinct(array: EncodedArray, starts: Integers, crop_shape: Sequence[int]) -> tuple[Integers, Integers]:
    chunks = np.unique(np.concatenate(wanted_chunks(array, starts, crop_shape)))
    return chunks, np.zeros_like(chunks)


def wanted_items(array: EncodedArray, starts: Integers) -> tuple[Integers, Integers]:
    """The chunk and the item inside it of each point."""
    chunks = np.ravel_multi_index(tuple((starts // array.inner_chunk).T), array.inner_grid)
    items = np.ravel_multi_index(tuple((starts % array.inner_chunk).T), array.inner_chunk)
    return np.asarray(chunks, np.int64), np.asarray(items, np.int64)


def memory_limit(batch_nbytes: Sequence[int], piece_nbytes: int) -> Entry:
    """Copies what each batch gives, from random places into one target that all batches share.

    ``piece_nbytes`` lie together (a crop, a range, a file); at most ``PIECE_NBYTES_MAX`` of them are copied at a time.
    """
    piece_nbytes = min(piece_nbytes, PIECE_NBYTES_MAX)
    counts = [-(-nbytes // piece_nbytes) for nbytes in batch_nbytes]
    total = sum(counts)
    source_nbytes = max(piece_nbytes, min(MEMORY_SOURCE_NBYTES, total * piece_nbytes))
    source = np.ones(source_nbytes, np.uint8)
    target = np.ones(max(counts) * piece_nbytes, np.uint8)
    pieces = np.zeros((total, PIECE_COLUMNS), np.int64)
    pieces[:, 0] = np.random.default_rng(3).integers(0, source_nbytes - piece_nbytes + 1, total)
    pieces[:, 1] = pieces[:, 3] = piece_nbytes
    pieces[:, 2] = np.concatenate([np.arange(count) for count in counts]) * piece_nbytes
    run = make_run("copy", source, pieces, target, 0, thread_count(max(counts)))
    return Entry(run, run)


def page_cache_limit(paths: Sequence[Path], file_index: Integers, offsets: Integers, nbytes: Integers) -> Entry:
    """Reads extents of files, in the order given."""
    pieces = np.zeros((len(offsets), PIECE_COLUMNS), np.int64)
    pieces[:, 0], pieces[:, 1], pieces[:, 3] = offsets, nbytes, nbytes
    descriptors = np.array([os.open(path, os.O_RDONLY) for path in paths], np.int64)  # open as long as the process
    pieces[:, 4] = descriptors[file_index]
    return reading("read", np.zeros(1, np.uint8), pieces)


def page_cache_limit_files(paths: Sequence[str], nbytes: int) -> Entry:
    """Opens, reads and closes files of one size."""
    packed = [os.fsencode(path) + b"\0" for path in paths]
    pieces = np.zeros((len(paths), PIECE_COLUMNS), np.int64)
    pieces[1:, 0] = np.cumsum([len(path) for path in packed])[:-1]
    pieces[:, 3] = nbytes
    return reading("open", np.frombuffer(b"".join(packed), np.uint8), pieces)


def reading(way: str, source: Bytes, pieces: Integers) -> Entry:
    stride_nbytes = -(-int(pieces[:, 3].max()) // 4096) * 4096
    threads = thread_count(len(pieces))
    target = np.ones(stride_nbytes * threads, np.uint8)
    run = make_run(way, source, pieces, target, stride_nbytes, threads)
    return Entry(run, run)


def page_cache_limit_crops(path: str, batches: Sequence[Integers], crop_shape: Sequence[int]) -> Entry:
    """Reads what batches of crops want of an array; encoded chunks that lie side by side are read together."""
    if all(length == 1 for length in crop_shape):
        raise UnavailableError("of a chunk only a part may be read")
    if max(map(len, batches)) == 1:
        raise UnavailableError("one read at a time is a matter of latency")
    array = encoded_array(path)
    extents = [(wanted_parts if array.codec == "raw" else together)(array, starts, crop_shape) for starts in batches]
    paths = list(dict.fromkeys(path for batch in extents for path in batch.paths))
    number = {path: index for index, path in enumerate(paths)}
    return page_cache_limit(
        paths,
        np.concatenate([np.array([number[path] for path in batch.paths])[batch.path_index] for batch in extents]),
        np.concatenate([batch.offsets for batch in extents]),
        np.concatenate([batch.nbytes for batch in extents]),
    )


def wanted_parts(array: EncodedArray, starts: Integers, crop_shape: Sequence[int]) -> Extents:
    """Of each raw chunk that a crop touches, as many bytes as the crop wants."""
    chunk, crop = np.array(array.inner_chunk), np.array(crop_shape)
    per_crop = wanted_chunks(array, starts, crop_shape)
    chunks, firsts = np.concatenate(per_crop), np.repeat(starts, [len(chunks) for chunks in per_crop], axis=0)
    corners = np.stack(np.unravel_index(chunks, array.inner_grid), 1) * chunk
    counts = np.minimum(corners + chunk, firsts + crop) - np.maximum(corners, firsts)
    extents = locate(array, chunks)
    return replace(extents, nbytes=counts.prod(1) * array.itemsize)


def together(array: EncodedArray, starts: Integers, crop_shape: Sequence[int]) -> Extents:
    """The distinct chunks, in the order of their files, those side by side as one up to ``READ_NBYTES_MAX``."""
    extents = locate(array, distinct(array, starts, crop_shape)[0])
    order = np.lexsort((extents.offsets, extents.path_index))
    rows: list[list[int]] = []
    for file, offset, nbytes in zip(*(column[order].tolist() for column in columns(extents))):
        last = rows[-1] if rows else [-1, 0, 0]
        if last[0] == file and sum(last[1:]) == offset and last[2] + nbytes <= READ_NBYTES_MAX:
            last[2] += nbytes
        else:
            rows.append([file, offset, nbytes])
    table = np.array(rows, np.int64)
    return Extents(extents.paths, table[:, 0], table[:, 1], table[:, 2])


def columns(extents: Extents) -> tuple[Integers, Integers, Integers]:
    return extents.path_index, extents.offsets, extents.nbytes


def main() -> None:
    """Measures the limits alone: ``bench/run.py`` with no contenders."""
    from _common import run_contest, say
    from _contests import make_contest
    from _workloads import all_workloads

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, default=BUILD, help="where the data is kept")
    parser.add_argument("--only", action="append", metavar="TEXT", help="workloads whose names have it; again for more")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for workload in all_workloads(512):
        if options.only and not any(text in workload.name for text in options.only):
            continue
        contest = make_contest(workload, options.dir)
        say(f"{contest.title}\n  {contest.description}")
        names = [name for name in NAMES if name in contest.contenders]
        for timing in run_contest(contest.module, names, contest.task, options.rounds):
            if timing.unavailable is not None:
                print(f"{contest.name}: {timing.contender}: {timing.unavailable}")
                continue
            print(
                f"{contest.name}: {timing.contender} {timing.median_s * 1e3:,.2f} ms, "
                f"{contest.unit_count / timing.median_s:,.0f} {contest.unit}/s, "
                f"{timing.median_s * 1e6 / contest.chunk_count:,.3f} µs per chunk"
            )


if __name__ == "__main__":
    main()
