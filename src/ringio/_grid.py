"""Boxes over a regular grid of chunks: which chunks they touch, and which part of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._core import ffi, lib
from ._kernels import I64, U64, call_kernel, check_status, i64_pointer, record_pointer, u64_pointer
from ._named import NamedTuple
from ._records import LAYOUT, MAX_DIMS, PROJECTION


class Grid:
    """A regular grid of chunks: the innermost chunks, and the shards (chunks of chunks) around them.

    An innermost chunk has one id: the sum, over levels and dimensions, of its coordinate on that level times that
    level's id stride. Ids of the chunks of one shard are consecutive.

    Args:
        chunk_shape: elements of an innermost chunk along each dimension.
        chunk_strides: bytes between neighbours along each dimension in a decoded innermost chunk.
        level_factors: for each level, outermost first, innermost chunks per chunk of that level along each dimension;
            the last level is all ones.
        id_strides: for each level, what a step along each dimension adds to the id.

    Attributes:
        struct: ``struct ringio_grid *``.

    Raises:
        ValueError: sequences of different lengths, more than 32 dimensions or 8 levels, numbers out of range.

    >>> grid = Grid((2, 3), (12, 4), [(1, 1)], [(4, 1)])  # chunks of 2 x 3 items of 4 bytes, 4 of them in a row
    >>> from ringio.planning import layout
    >>> rows = layout(source_strides=(12, 4), target_strides=(20, 4), itemsize=4)
    >>> part = grid.intersect([[1, 2]], [[2, 3]], [[1, 1]], rows, [0])
    >>> part.chunk_ids, part.counts[0]
    (array([0, 1, 4, 5], dtype=uint64), array([1, 1]))
    """

    __slots__ = ("chunk_shape", "chunk_strides", "level_factors", "id_strides", "struct")

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
        self.struct = grid

    def _check(self) -> None:
        dim_count, level_count = len(self.chunk_shape), len(self.level_factors)
        if dim_count > MAX_DIMS:
            raise ValueError(f"{dim_count} dimensions, at most {MAX_DIMS} are supported")
        if not 1 <= level_count <= len(ffi.new("struct ringio_grid *").id_strides) // MAX_DIMS:
            raise ValueError(f"{level_count} levels, 1 to 8 are supported")
        if len(self.id_strides) != level_count:
            raise ValueError(f"id_strides of {len(self.id_strides)} levels, level_factors of {level_count}")
        for row in (self.chunk_strides, *self.level_factors, *self.id_strides):
            if len(row) != dim_count:
                raise ValueError(f"{row} has {len(row)} dimensions, the chunks have {dim_count}")
        if any(number <= 0 for row in (self.chunk_shape, *self.level_factors) for number in row):
            raise ValueError("chunk_shape and level_factors must be positive")

    def strided(self, steps: Sequence[int]) -> Sequence[int]:
        """Bytes in a decoded chunk from one element of a box with these steps to the next.

        >>> Grid((2, 3), (12, 4), [(1, 1)], [(4, 1)]).strided((1, 2))
        [12, 8]
        """
        if steps.count(1) == len(steps):
            return self.chunk_strides
        # With a step as long as a chunk there is one element in each, and no next one; the product might overflow.
        return [
            stride * step if step < length else 0
            for stride, step, length in zip(self.chunk_strides, steps, self.chunk_shape, strict=True)
        ]

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
        boxes.starts, boxes.counts, boxes.steps = i64_pointer(starts), i64_pointer(counts), i64_pointer(steps)
        boxes.counts_row_stride = dim_count if len(counts) == count else 0
        boxes.steps_row_stride = dim_count if len(steps) == count else 0
        boxes.target_offsets = i64_pointer(targets)
        boxes.layouts = ffi.NULL if chosen is None else u64_pointer(chosen)
        pair_count = lib.ringio_plan_count(self.struct, boxes)
        if pair_count < 0:
            raise MemoryError("more than 2**63 pairs of boxes and chunks")
        projections = np.empty(pair_count, PROJECTION)
        pair_counts = np.empty((pair_count, dim_count), np.int64)
        chunk_ids = np.empty(pair_count, np.uint64)
        firsts = np.empty(pair_count + 1, np.uint64)
        chunk_count = call_kernel(
            pair_count,
            (self, starts, counts, steps, targets, chosen),
            lib.ringio_plan_intersect,
            self.struct,
            boxes,
            record_pointer("struct ringio_layout[]", layouts),
            pair_count,
            record_pointer("struct ringio_projection[]", projections),
            i64_pointer(pair_counts),
            u64_pointer(chunk_ids),
            u64_pointer(firsts),
        )
        check_status(chunk_count)
        firsts[chunk_count] = pair_count
        return Intersection(chunk_ids[:chunk_count], firsts[: chunk_count + 1], projections, pair_counts)

    def intersect_points(
        self, coordinates: Sequence[ArrayLike], layouts: NDArray[np.void], target_offset: int
    ) -> Intersection:
        """The same for single elements that follow each other in the target.

        Args:
            coordinates: int64[n] for each dimension, inside the array.
            layouts: LAYOUT[1], with the strides of one dimension: of the target, how far one point is from the next; of
                the source, an item's size. Points that lie behind each other in both are one projection.
            target_offset: where the first point goes, in bytes from the start of its target.

        Returns:
            Projections of one dimension.

        Raises:
            ValueError: arrays of shapes that do not agree, a negative coordinate.
            MemoryError: no room for that many points.

        >>> grid = Grid((2, 3), (12, 4), [(1, 1)], [(4, 1)])
        >>> from ringio.planning import layout
        >>> items = layout(source_strides=[4], target_strides=[4], itemsize=4)
        >>> found = grid.intersect_points([[3, 0, 0], [4, 0, 1]], items, 0)
        >>> found.chunk_ids, found.projections["target_offset"], found.counts
        (array([0, 5], dtype=uint64), array([4, 0]), array([[2],
               [1]]))
        """
        columns = [np.ascontiguousarray(column, np.int64) for column in coordinates]
        count = len(columns[0]) if columns else 0
        if len(columns) != len(self.chunk_shape) or any(column.shape != (count,) for column in columns):
            shapes = [column.shape for column in columns]
            raise ValueError(
                f"coordinates of shapes {shapes}, one row for each of {len(self.chunk_shape)} dimensions is due"
            )
        if any(column.min(initial=0) < 0 for column in columns):
            raise ValueError("a negative coordinate")
        if layouts.dtype != LAYOUT or len(layouts) != 1:
            raise ValueError(f"layouts have dtype {layouts.dtype}, one ringio.planning.LAYOUT is due")
        layouts = np.ascontiguousarray(layouts)
        projections = np.empty(count, PROJECTION)
        counts = np.empty((count, 1), np.int64)
        chunk_ids, firsts = np.empty(count, np.uint64), np.empty(count + 1, np.uint64)
        chunk_count = call_kernel(
            count,
            (self, columns, layouts),
            lib.ringio_plan_points,
            self.struct,
            count,
            ffi.new("int64_t *[]", [i64_pointer(column) for column in columns]),
            record_pointer("struct ringio_layout[]", layouts),
            target_offset,
            record_pointer("struct ringio_projection[]", projections),
            i64_pointer(counts),
            u64_pointer(chunk_ids),
            u64_pointer(firsts),
        )
        check_status(chunk_count)
        pair_count = int(firsts[chunk_count])
        return Intersection(
            chunk_ids[:chunk_count], firsts[: chunk_count + 1], projections[:pair_count], counts[:pair_count]
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grid) and self.__reduce__() == other.__reduce__()

    def __hash__(self) -> int:
        return hash(self.__reduce__())

    def __reduce__(self) -> tuple[Any, ...]:
        return Grid, (self.chunk_shape, self.chunk_strides, self.level_factors, self.id_strides)

    def __repr__(self) -> str:
        return f"<ringio.planning.Grid: chunks of {self.chunk_shape}, {len(self.level_factors)} levels>"


class Intersection(NamedTuple):
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
