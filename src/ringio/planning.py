"""Planning kernels: which chunks a selection touches, where they lie, and how few reads fetch them.

Thin numpy wrappers over the C core, for front-ends such as ``ringio_zarr`` that make a :class:`ringio.Plan` out of a
file format. All of it maps numbers to numbers, but for :func:`stat`. The records are structured arrays that match
``csrc/ringio_api.h``; their dtypes are in this module too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ._core import ffi, lib
from ._draft import INDEX_HEAD_NBYTES, Draft
from ._grid import Grid, Intersection
from ._kernels import U64, call_kernel, check_status, record_pointer, u64_pointer
from ._memory import empty
from ._named import NamedTuple
from ._paths import encode_paths, path_order
from ._records import FILE, IDENTITY, LAYOUT, MAX_DIMS, MAX_U64, NO_FILE, PROJECTION, REQUEST, TASK
from ._single import ChunkRead
from ._states import ObjectState, PlanObjects
from ._targets import borrow

__all__ = [
    "Grid",
    "Intersection",
    "segments",
    "locate",
    "coalesce",
    "layout",
    "stat",
    "outside",
    "borrow",
    "ChunkRead",
    "Draft",
    "ObjectState",
    "PlanObjects",
    "NamedTuple",
    "MISSING",
    "TO_END",
    "NO_FILL",
    "NO_FILE",
    "MAX_DIMS",
    "FILE",
    "IDENTITY",
    "LAYOUT",
    "PROJECTION",
    "REQUEST",
    "TASK",
    "INDEX_HEAD_NBYTES",
    "LOCAL_MAX_GAP_BYTES",
    "LOCAL_MAX_REQUEST_BYTES",
]

MISSING: Final = MAX_U64  # an offset: there is no such chunk
TO_END: Final = MAX_U64  # an nbytes: up to the end of the file
NO_FILL: Final = MAX_U64  # a fill_offset: there is no fill value

# Reading over a gap of 4 KiB costs as much as a second request, measured on cached files: 0.5 us for a request, and
# copies of 8 GB/s. On a disk the break-even is its bandwidth over its IOPS, some 32 KiB, but there the page cache reads
# ahead anyway.
LOCAL_MAX_GAP_BYTES: Final = 4096
# A worker decodes what it has just read: 256 KiB is still in its L2 cache then, and larger requests save nothing more.
LOCAL_MAX_REQUEST_BYTES: Final = 256 * 1024

# On a cold disk 16 threads look up 10,000 paths a second or more.
_PATHS_PER_CALL: Final = 512


def segments(ids: U64, ids_per_segment: int) -> tuple[U64, U64]:
    """Split ascending ids into those of each outer chunk (shard).

    Args:
        ids: uint64[n], ascending.
        ids_per_segment: how many consecutive ids one outer chunk has.

    Returns:
        The outer chunks' numbers, uint64[m], and the index of the first id of each, uint64[m + 1], the last being n.

    >>> segments(np.array([1, 5, 6, 21], np.uint64), 5)
    (array([0, 1, 4], dtype=uint64), array([0, 1, 3, 4], dtype=uint64))
    """
    if ids_per_segment <= 0:
        raise ValueError(f"ids_per_segment {ids_per_segment} is not positive")
    ids = np.ascontiguousarray(ids, np.uint64)
    quotients = np.empty(len(ids) + 1, np.uint64)
    firsts = np.empty(len(ids) + 1, np.uint64)
    count = lib.ringio_plan_segments(
        u64_pointer(ids), len(ids), ids_per_segment, u64_pointer(quotients), u64_pointer(firsts)
    )
    return quotients[:count], firsts[: count + 1]


def locate(
    ids: U64,
    firsts: U64,
    *,
    ids_per_segment: int,
    ids_per_entry: int,
    indexes: U64,
    bases: U64,
    sizes: U64,
    index_starts: U64,
    index_ends: U64,
) -> tuple[U64, U64, int]:
    """Look chunks up in shard indexes.

    Args:
        ids: uint64[n], ascending.
        firsts: uint64[m + 1]: shard s has ids [s] to [s + 1]; what :func:`segments` gives.
        ids_per_segment: ids of one shard.
        ids_per_entry: ids of one entry of its index.
        indexes: uint64[m]: address of each shard's index, uint64 pairs (offset, nbytes); 0: the shard is missing. The
            memory must hold ids_per_segment / ids_per_entry pairs: that is not checked here.
        bases: uint64[m]: where each shard begins in its file.
        sizes: uint64[m]: how many bytes it has.
        index_starts: uint64[m]: where the index lies in the shard; no chunk may reach into it.
        index_ends: uint64[m].

    Returns:
        offsets, uint64[n]: from the start of the file; :data:`MISSING` for a missing chunk. nbytes, uint64[n]. And how
        many entries cannot be right: those have nbytes :data:`MISSING`, and the offset that the index says.
    """
    count = len(firsts) - 1
    arrays = [np.ascontiguousarray(array, np.uint64) for array in (indexes, bases, sizes, index_starts, index_ends)]
    ids, firsts = np.ascontiguousarray(ids, np.uint64), np.ascontiguousarray(firsts, np.uint64)
    if ids_per_segment <= 0 or ids_per_entry <= 0 or any(array.shape != (count,) for array in arrays):
        raise ValueError(f"{count} shards, but arrays of {[array.shape for array in arrays]}")
    if count < 0 or int(firsts[-1]) != len(ids) or (firsts[:-1] > firsts[1:]).any():
        raise ValueError(f"firsts does not ascend to {len(ids)}, the number of ids")
    offsets, nbytes = np.empty(len(ids), np.uint64), np.empty(len(ids), np.uint64)
    bad_count = lib.ringio_plan_locate(
        u64_pointer(ids),
        count,
        u64_pointer(firsts),
        ids_per_segment,
        ids_per_entry,
        *map(u64_pointer, arrays),
        u64_pointer(offsets),
        u64_pointer(nbytes),
    )
    return offsets, nbytes, int(bad_count)


def coalesce(
    files: NDArray[np.uint32],
    offsets: U64,
    nbytes: U64,
    first_projections: U64,
    *,
    chains: NDArray[np.uint32] | None = None,
    max_gap_bytes: int = LOCAL_MAX_GAP_BYTES,
    max_request_bytes: int = LOCAL_MAX_REQUEST_BYTES,
    missing_fills: bool = False,
) -> tuple[NDArray[np.void], NDArray[np.void], U64]:
    """Sort pieces by file and offset, and merge near ones into requests.

    Args:
        files: uint32[n]: which file each piece is in.
        offsets: uint64[n]; :data:`MISSING`: the piece is filled with the fill value.
        nbytes: uint64[n]; :data:`TO_END`: up to the end of the file, a request of its own.
        first_projections: uint64[n + 1]: piece i has projections [i] to [i + 1].
        chains: uint32[n]: which codec chain decodes it; None: the first.
        max_gap_bytes: bytes that nobody asked for are read over up to this distance between two pieces.
        max_request_bytes: requests grow up to this; a longer piece is a request of its own.
        missing_fills: a file that does not exist is a missing chunk.

    Returns:
        requests REQUEST[r], tasks TASK[n] in the order of the requests, and which piece each task is, uint64[n].

    >>> files = np.zeros(3, np.uint32)
    >>> offsets, nbytes = np.array([100, 0, 9000], np.uint64), np.array([10, 50, 10], np.uint64)
    >>> requests, tasks, pieces = coalesce(files, offsets, nbytes, np.arange(4, dtype=np.uint64))
    >>> requests[["offset", "nbytes", "task_count"]].tolist(), pieces.tolist()
    ([(0, 110, 2), (9000, 10, 1)], [1, 0, 2])
    """
    for name, number in (("max_gap_bytes", max_gap_bytes), ("max_request_bytes", max_request_bytes)):
        if not 0 <= number <= MAX_U64:
            raise ValueError(f"{name} is {number}, 0 to 2**64 - 1 is due")
    count = len(files)
    files = np.ascontiguousarray(files, np.uint32)
    offsets, nbytes = np.ascontiguousarray(offsets, np.uint64), np.ascontiguousarray(nbytes, np.uint64)
    first_projections = np.ascontiguousarray(first_projections, np.uint64)
    if offsets.shape != (count,) or nbytes.shape != (count,) or first_projections.shape != (count + 1,):
        raise ValueError(f"{count} pieces: {offsets.shape} offsets, {nbytes.shape} nbytes, {first_projections.shape}")
    pieces = ffi.new("struct ringio_pieces *")
    pieces.count = count
    pieces.files = ffi.from_buffer("uint32_t[]", files)
    pieces.offsets, pieces.nbytes, pieces.first_projections = (
        u64_pointer(offsets),
        u64_pointer(nbytes),
        u64_pointer(first_projections),
    )
    if chains is not None:
        chains = np.ascontiguousarray(chains, np.uint32)
        if chains.shape != (count,):
            raise ValueError(f"{count} pieces, but {chains.shape} chains")
        pieces.chains = ffi.from_buffer("uint32_t[]", chains)
    pieces.max_gap_bytes, pieces.max_request_bytes = max_gap_bytes, max_request_bytes
    pieces.request_flags = lib.RINGIO_REQUEST_MISSING_FILLS if missing_fills else 0
    requests, tasks, task_pieces = empty(count, REQUEST), empty(count, TASK), np.empty(count, np.uint64)
    request_count = call_kernel(
        count,
        (files, offsets, nbytes, first_projections, chains),
        lib.ringio_plan_coalesce,
        pieces,
        record_pointer("struct ringio_request[]", requests),
        record_pointer("struct ringio_task[]", tasks),
        u64_pointer(task_pieces),
    )
    check_status(request_count)
    return requests[:request_count], tasks, task_pieces


def outside(rows: NDArray[np.int64], limits: Sequence[int]) -> int | None:
    """The first of some rows of numbers in which one is negative, or above its limit; None: none is.

    Args:
        rows: int64[n, d], C order.
        limits: int64, of each column.

    >>> outside(np.array([[0, 5], [3, 6]]), (3, 5))
    1
    """
    if rows.dtype != np.int64 or rows.ndim != 2 or rows.shape[1] != len(limits) or not rows.flags.c_contiguous:
        raise ValueError(f"rows of {rows.dtype}, shape {rows.shape}, for {len(limits)} limits")
    count = len(rows)
    first: int = lib.ringio_plan_outside(ffi.from_buffer("int64_t[]", rows), count, len(limits), limits)
    return first if first < count else None


def layout(
    *,
    source_strides: Sequence[int],
    target_strides: Sequence[int],
    itemsize: int,
    target: int = 0,
    fill_offset: int | None = None,
) -> NDArray[np.void]:
    """One layout: the strides that projections are walked with.

    Args:
        source_strides: bytes between neighbours along each dimension in the decoded chunk; for a selection with steps,
            times the step.
        target_strides: the same in the target; may be negative.
        itemsize: bytes of one element.
        target: which of the targets given to ``Reader.execute``.
        fill_offset: where the fill value lies in the plan's ``fill_values``; None: there is none.

    Returns:
        LAYOUT[1].
    """
    if len(source_strides) != len(target_strides) or len(source_strides) > MAX_DIMS:
        raise ValueError(f"{len(source_strides)} source strides, {len(target_strides)} target strides")
    record = np.zeros(1, LAYOUT)
    record["target"], record["itemsize"] = target, itemsize
    record["fill_offset"] = NO_FILL if fill_offset is None else fill_offset
    record["source_strides"][0, : len(source_strides)] = source_strides
    record["target_strides"][0, : len(target_strides)] = target_strides
    return record


def stat(paths: Sequence[str | bytes]) -> NDArray[np.void]:
    """What files are: device, inode, size, modification time.

    Args:
        paths: of local files.

    Returns:
        IDENTITY[n]. ``status`` is 0, or the negated errno of a file that cannot be looked up, or -RINGIO_NOT_REGULAR.

    Raises:
        ValueError: a path has a NUL in it.
    """
    encoded = encode_paths(paths)
    identities = np.empty(len(paths), IDENTITY)
    order = path_order(encoded)
    starts = encoded.starts if order is None else encoded.starts[order]
    blob, records = ffi.from_buffer(encoded.blob), record_pointer("struct ringio_identity[]", identities)
    for first in range(0, len(paths), _PATHS_PER_CALL):  # a signal does not wait for them all
        count = min(_PATHS_PER_CALL, len(paths) - first)
        lib.ringio_stat(blob, u64_pointer(starts) + first, count, records + first)
    if order is None:
        return identities
    in_order = np.empty_like(identities)
    in_order[order] = identities
    return in_order
