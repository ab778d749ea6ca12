"""The floor under each workload on this machine, and how it is measured.

    python bench/limits.py                      # of every workload of bench/run.py
    python bench/limits.py --only crops-lz4 --rounds 9

decoder limit
    The distinct encoded chunks of every batch, in memory already, decoded by the bare C library: one thread per core,
    each with one context and one target that it uses again.  No reading, no planning, no placing.
memory limit
    As many bytes as the workload gives, copied once from memory into memory that was touched before, on every core.
    Batches of one chunk, or of less than a MiB, leave the other cores idle in both limits.
disk limit
    What fio reads per second with requests of the same size and as many in flight, from the same files.

``bench/run.py`` lets the first two take part in each contest like any contender, and quotes results as shares of them.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from _common import MIB, Entry, UnavailableError
from _encoded import EncodedArray, Integers, encoded_array, load, locate, wanted_chunks

SOURCE = Path(__file__).resolve().parent / "limits.c"
BUILD = Path("build/bench")
DECODER, MEMORY = "decoder limit", "memory limit"
NAMES = (DECODER, MEMORY)
DEFINITIONS = {
    "copy": "LIMITS_COPY",
    "blosc": "LIMITS_BLOSC",
    "zstd": "LIMITS_ZSTD",
    "gzip": "LIMITS_DEFLATE",
    "zlib": "LIMITS_DEFLATE",
}
PIECE_COLUMNS = 6  # struct piece in limits.c
MEMORY_SOURCE_NBYTES = 1024 * MIB  # far more than any cache holds
PIECE_NBYTES_MAX = MIB

Bytes = npt.NDArray[np.uint8]


def library_flags(codec: str) -> list[str]:
    """What the C compiler needs to find the codec's library: the system's, and c-blosc2 from the blosc2 wheel."""
    if codec == "blosc":
        specification = importlib.util.find_spec("blosc2")
        if specification is None or not specification.submodule_search_locations:
            raise UnavailableError("the Python package blosc2, whose wheel brings c-blosc2, is not installed")
        folder = Path(specification.submodule_search_locations[0])
        return ["-isystem", str(folder / "include"), str(folder / "lib" / "libblosc2.a"), "-lm", "-ldl"]
    return {"copy": [], "zstd": ["-lzstd"]}.get(codec, ["-ldeflate"])


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
        assert wrong == -1, f"limits.c: piece {wrong} went wrong"

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
    pieces[:, 3] = array.itemsize if point else array.chunk_nbytes
    pieces[:, 4], pieces[:, 5] = items, int(point)
    stride_nbytes = -(-array.chunk_nbytes // 4096) * 4096
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
