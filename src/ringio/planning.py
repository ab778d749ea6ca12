"""Planning kernels: which chunks a selection touches, where they lie, and how few reads fetch them.

Thin numpy wrappers over the C core, for front-ends such as ``ringio_zarr`` that make a :class:`ringio.Plan` out of a file
format. All of it maps numbers to numbers, but for :func:`stat`. The records are structured arrays that match
``csrc/ringio_api.h``; their dtypes are in this module too.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._core import ffi, lib
from ._errors import PlanError
from ._paths import encode_paths
from ._records import FILE, IDENTITY, LAYOUT, MAX_DIMS, MAX_U64, NO_FILE, PROJECTION, REQUEST, TASK

__all__ = [
    "Grid",
    "Intersection",
    "segments",
    "locate",
    "coalesce",
    "layout",
    "stat",
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

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]


class Grid:
    """A regular grid of chunks: the innermost chunks, and the shards (chunks of chunks) around them.

    An innermost chunk has one id: the sum, over levels and dimensions, of its coordinate on that level times that level's
    id stride. Ids of the chunks of one shard are consecutive.

    Args:
        chunk_shape: elements of an innermost chunk along each dimension.
        chunk_strides: bytes between neighbours along each dimension in a decoded innermost chunk.
        level_factors: for each level, outermost first, innermost chunks per chunk of that level along each dimension;
            the last level is all ones.
        id_strides: for each level, what a step along each dimension adds to the id.

    Raises:
        ValueError: sequences of different lengths, more than 32 dimensions or 4 levels, numbers out of range.

    >>> grid = Grid((2, 3), (12, 4), [(1, 1)], [(4, 1)])  # chunks of 2 x 3 items of 4 bytes, 4 of them in a row
    >>> rows = layout(source_strides=(12, 4), target_strides=(20, 4), itemsize=4)
    >>> part = grid.intersect([[1, 2]], [[2, 3]], [[1, 1]], rows, [0])
    >>> part.chunk_ids, part.counts[0]
    (array([0, 1, 4, 5], dtype=uint64), array([1, 1]))
    """

    __slots__ = ("chunk_shape", "chunk_strides", "level_factors", "id_strides", "_grid")

    def __init__(
        self,
        chunk_shape: Sequence[int],
        chunk_strides: Sequence[int],
        level_factors: Sequence[Sequence[int]],
        id_strides: Sequence[Sequence[int]],
    ) -> None:
        self.chunk_shape = tuple(map(int, chunk_shape))
        self.chunk_strides = tuple(map(int, chunk_strides))
        self.level_factors = tuple(tuple(map(int, level)) for level in level_factors)
        self.id_strides = tuple(tuple(map(int, level)) for level in id_strides)
        self._check()
        grid = ffi.new("struct ringio_grid *")
        grid.dim_count = len(self.chunk_shape)
        grid.level_count = len(self.level_factors)
        try:
            grid.chunk_shape[0 : grid.dim_count] = self.chunk_shape
            grid.chunk_strides[0 : grid.dim_count] = self.chunk_strides
            for level in range(grid.level_count):
                row = slice(level * MAX_DIMS, level * MAX_DIMS + grid.dim_count)
                grid.level_factors[row] = self.level_factors[level]
                grid.id_strides[row] = self.id_strides[level]
        except OverflowError as error:
            raise ValueError(f"the grid has a number that does not fit into 64 bits: {error}") from error
        self._grid = grid

    def _check(self) -> None:
        dim_count, level_count = len(self.chunk_shape), len(self.level_factors)
        if dim_count > MAX_DIMS:
            raise ValueError(f"{dim_count} dimensions, at most {MAX_DIMS} are supported")
        if not 1 <= level_count <= len(ffi.new("struct ringio_grid *").id_strides) // MAX_DIMS:
            raise ValueError(f"{level_count} levels, 1 to 4 are supported")
        if len(self.id_strides) != level_count:
            raise ValueError(f"id_strides of {len(self.id_strides)} levels, level_factors of {level_count}")
        for row in (self.chunk_strides, *self.level_factors, *self.id_strides):
            if len(row) != dim_count:
                raise ValueError(f"{row} has {len(row)} dimensions, the chunks have {dim_count}")
        if any(number <= 0 for row in (self.chunk_shape, *self.level_factors) for number in row):
            raise ValueError("chunk_shape and level_factors must be positive")

    def intersect(
        self,
        starts: ArrayLike,
        counts: ArrayLike,
        steps: ArrayLike,
        layouts: NDArray[np.void],
        target_offsets: ArrayLike,
        box_layouts: ArrayLike | None = None,
    ) -> Intersection:
        """Cut boxes at the chunks' borders: one projection for each box and chunk that meet.

        Args:
            starts: int64[n, d], the first element of each box; boxes must lie inside the array.
            counts: int64[n, d] elements along each dimension, or int64[1, d] where all boxes have the same.
            steps: int64[n, d] or int64[1, d]: elements are this far apart; positive.
            layouts: LAYOUT[k]: the strides that boxes are placed with.
            target_offsets: int64[n]: where the first element of each box goes, in bytes from the start of its target.
            box_layouts: uint64[n]: which layout each box has; None: all have the first.

        Raises:
            ValueError: arrays of shapes that do not agree, a negative start or count, a step below 1.
            MemoryError: no room for that many pairs.
        """
        dim_count = len(self.chunk_shape)
        starts = _int64(starts, dim_count)
        counts, steps = _int64(counts, dim_count), _int64(steps, dim_count)
        count = len(starts)
        if len(counts) not in (1, count) or len(steps) not in (1, count):
            raise ValueError(f"{count} boxes, but {len(counts)} rows of counts and {len(steps)} of steps")
        targets = np.ascontiguousarray(target_offsets, np.int64)
        chosen = None if box_layouts is None else np.ascontiguousarray(box_layouts, np.uint64)
        if targets.shape != (count,) or (chosen is not None and chosen.shape != (count,)):
            raise ValueError(f"{count} boxes, but {targets.shape} target_offsets")
        _check_boxes(starts, counts, steps, layouts, chosen)
        layouts = np.ascontiguousarray(layouts)
        boxes = ffi.new("struct ringio_boxes *")
        boxes.box_count = count
        boxes.starts, boxes.counts, boxes.steps = _i64(starts), _i64(counts), _i64(steps)
        boxes.counts_row_stride = dim_count if len(counts) == count else 0
        boxes.steps_row_stride = dim_count if len(steps) == count else 0
        boxes.target_offsets = _i64(targets)
        boxes.layouts = ffi.NULL if chosen is None else _u64(chosen)
        pair_count = lib.ringio_plan_count(self._grid, boxes)
        if pair_count < 0:
            raise MemoryError("more than 2**63 pairs of boxes and chunks")
        projections = np.empty(pair_count, PROJECTION)
        pair_counts = np.empty((pair_count, dim_count), np.int64)
        chunk_ids = np.empty(pair_count, np.uint64)
        firsts = np.empty(pair_count + 1, np.uint64)
        chunk_count = lib.ringio_plan_intersect(
            self._grid,
            boxes,
            _records("struct ringio_layout[]", layouts),
            pair_count,
            _records("struct ringio_projection[]", projections),
            _i64(pair_counts),
            _u64(chunk_ids),
            _u64(firsts),
        )
        _check_status(chunk_count)
        firsts[chunk_count] = pair_count
        return Intersection(chunk_ids[:chunk_count], firsts[: chunk_count + 1], projections, pair_counts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grid) and self.__reduce__() == other.__reduce__()

    def __hash__(self) -> int:
        return hash(self.__reduce__())

    def __reduce__(self) -> tuple[Any, ...]:
        return Grid, (self.chunk_shape, self.chunk_strides, self.level_factors, self.id_strides)

    def __repr__(self) -> str:
        return f"<ringio.planning.Grid: chunks of {self.chunk_shape}, {len(self.level_factors)} levels>"


@dataclass(frozen=True, slots=True, eq=False)
class Intersection:
    """The chunks that boxes touch, in ascending order of their ids.

    Attributes:
        chunk_ids: uint64[c], distinct.
        first_projections: uint64[c + 1]: chunk i has projections [i] to [i + 1].
        projections: PROJECTION[p].
        counts: int64[p, d]: elements of each projection along each dimension.
    """

    chunk_ids: U64
    first_projections: U64
    projections: NDArray[np.void]
    counts: I64


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
    count = lib.ringio_plan_segments(_u64(ids), len(ids), ids_per_segment, _u64(quotients), _u64(firsts))
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
    if count < 0 or int(firsts[-1]) != len(ids):
        raise ValueError(f"firsts does not end at {len(ids)}, the number of ids")
    offsets, nbytes = np.empty(len(ids), np.uint64), np.empty(len(ids), np.uint64)
    bad_count = lib.ringio_plan_locate(
        _u64(ids), count, _u64(firsts), ids_per_segment, ids_per_entry, *map(_u64, arrays), _u64(offsets), _u64(nbytes)
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
    count = len(files)
    files = np.ascontiguousarray(files, np.uint32)
    offsets, nbytes = np.ascontiguousarray(offsets, np.uint64), np.ascontiguousarray(nbytes, np.uint64)
    first_projections = np.ascontiguousarray(first_projections, np.uint64)
    if offsets.shape != (count,) or nbytes.shape != (count,) or first_projections.shape != (count + 1,):
        raise ValueError(f"{count} pieces: {offsets.shape} offsets, {nbytes.shape} nbytes, {first_projections.shape}")
    pieces = ffi.new("struct ringio_pieces *")
    pieces.count = count
    pieces.files = ffi.from_buffer("uint32_t[]", files)
    pieces.offsets, pieces.nbytes, pieces.first_projections = _u64(offsets), _u64(nbytes), _u64(first_projections)
    if chains is not None:
        chains = np.ascontiguousarray(chains, np.uint32)
        if chains.shape != (count,):
            raise ValueError(f"{count} pieces, but {chains.shape} chains")
        pieces.chains = ffi.from_buffer("uint32_t[]", chains)
    pieces.max_gap_bytes, pieces.max_request_bytes = max_gap_bytes, max_request_bytes
    pieces.request_flags = lib.RINGIO_REQUEST_MISSING_FILLS if missing_fills else 0
    requests, tasks, task_pieces = np.empty(count, REQUEST), np.empty(count, TASK), np.empty(count, np.uint64)
    request_count = lib.ringio_plan_coalesce(
        pieces,
        _records("struct ringio_request[]", requests),
        _records("struct ringio_task[]", tasks),
        _u64(task_pieces),
    )
    _check_status(request_count)
    return requests[:request_count], tasks, task_pieces


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
    blob, path_offsets = encode_paths(paths)
    identities = np.zeros(len(paths), IDENTITY)
    if len(paths):
        identity_records = _records("struct ringio_identity[]", identities)
        lib.ringio_stat(ffi.from_buffer(blob), _u64(path_offsets), len(paths), identity_records)
    return identities


def _int64(rows: ArrayLike, dim_count: int) -> I64:
    array = np.ascontiguousarray(rows, np.int64)
    if array.ndim != 2 or array.shape[1] != dim_count:
        raise ValueError(f"array of shape {array.shape}, (n, {dim_count}) is due")
    return array


def _check_boxes(starts: I64, counts: I64, steps: I64, layouts: NDArray[np.void], chosen: U64 | None) -> None:
    if starts.size and (starts.min() < 0 or counts.min() < 0 or steps.min() < 1):
        raise ValueError("a box has a negative start or count, or a step below 1")
    if layouts.dtype != LAYOUT:
        raise ValueError(f"layouts have dtype {layouts.dtype}, ringio.planning.LAYOUT is due")
    needed = 1 if chosen is None else int(chosen.max(initial=0)) + 1
    if len(starts) and len(layouts) < needed:
        raise ValueError(f"{len(layouts)} layouts, the boxes name {needed}")


def _check_status(result: int) -> None:
    if result == -errno.ENOMEM:
        raise MemoryError("out of memory while planning")
    if result < 0:
        raise PlanError(f"planning failed with status {result}: more than 2**32 - 1 pieces, or a box outside its array")


def _u64(array: U64) -> Any:
    return ffi.from_buffer("uint64_t[]", array)


def _i64(array: I64) -> Any:
    return ffi.from_buffer("int64_t[]", array)


def _records(kind: str, array: NDArray[np.void]) -> Any:
    return ffi.from_buffer(kind, array)
