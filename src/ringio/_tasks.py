"""Tasks of a plan: which box of which decoded chunk goes where."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._columns import integers
from ._errors import PlanError
from ._named import NamedTuple
from ._records import MAX_DIMS

I64: TypeAlias = NDArray[np.int64]

_MISSING: Final = -1


class Task(NamedTuple):
    """Decode the chunk that a range holds, and put a box of it into the target.

    Attributes:
        range_index: which range holds the encoded chunk; None: the chunk is missing, its place gets the fill value.
        chunk_shape: of the decoded chunk.
        source_start: the first element of the box in the chunk.
        counts: how many elements the box has along each dimension.
        target_start: where the first element goes in the target.
        source_step: the box takes every so many-th element along each dimension; None: each.
        target: which target, where ``Reader.execute`` gets several.
    """

    range_index: int | None
    chunk_shape: tuple[int, ...]
    source_start: tuple[int, ...]
    counts: tuple[int, ...]
    target_start: tuple[int, ...]
    source_step: tuple[int, ...] | None = None
    target: int = 0


class Tasks:
    """Many tasks in columns; n of them, d dimensions.

    Args:
        range_index: int[n]: which range each chunk is in; -1: the chunk is missing, its place gets the fill value.
        chunk_shape: int[d], or int[n, d] where chunks differ: shape of the decoded chunk.
        source_starts: int[n, d]: first element of each box in its chunk.
        counts: int[n, d]: elements of each box along each dimension.
        target_starts: int[n, d]: where the first element goes in the target.
        source_steps: int[d] or int[n, d]: every so many-th element; 1: each.
        target_index: int[n]: which target, or one number.

    Raises:
        PlanError: shapes that do not agree, a box that reaches outside its chunk, a step below 1.
    """

    __slots__ = (
        "range_index",
        "chunk_shape",
        "source_starts",
        "counts",
        "target_starts",
        "source_steps",
        "target_index",
    )

    range_index: I64
    chunk_shape: I64
    source_starts: I64
    counts: I64
    target_starts: I64
    source_steps: I64
    target_index: I64

    def __init__(
        self,
        range_index: ArrayLike,
        chunk_shape: ArrayLike,
        source_starts: ArrayLike,
        counts: ArrayLike,
        target_starts: ArrayLike,
        *,
        source_steps: ArrayLike = 1,
        target_index: ArrayLike = 0,
    ) -> None:
        self.range_index = integers("range_index", range_index)
        self.source_starts = integers("source_starts", source_starts)
        if self.range_index.ndim != 1 or self.source_starts.ndim != 2:
            raise PlanError("range_index has one dimension and source_starts two: (task,) and (task, dimension)")
        box = self.source_starts.shape
        if box[0] != len(self.range_index):
            raise PlanError(f"{len(self.range_index)} range indices, but {box[0]} source_starts")
        if box[1] > MAX_DIMS:
            raise PlanError(f"{box[1]} dimensions, at most {MAX_DIMS} are supported")
        self.chunk_shape = integers("chunk_shape", chunk_shape)
        if self.chunk_shape.shape not in (box, box[1:]):
            raise PlanError(f"chunk_shape has shape {self.chunk_shape.shape}, {box} or {box[1:]} is due")
        self.counts = _like("counts", counts, box)
        self.target_starts = _like("target_starts", target_starts, box)
        self.source_steps = _like("source_steps", source_steps, box)
        self.target_index = _like("target_index", target_index, box[:1])
        self._check()

    def _check(self) -> None:
        _refuse(self.range_index < _MISSING, "range_index below -1")
        _refuse(self.target_index < 0, "negative target_index")
        _refuse((self.source_steps < 1).any(axis=1), "source_steps below 1")
        _refuse((self.counts < 0).any(axis=1), "negative counts")
        _refuse((self.target_starts < 0).any(axis=1), "negative target_starts")
        # In floats of 53 bits where the product would overflow: nothing real is near 2**53 elements.
        last = self.source_starts + np.maximum(self.counts - 1, 0).astype(np.float64) * self.source_steps
        outside = (self.source_starts < 0) | ((last >= self.chunk_shape) & (self.counts > 0))
        _refuse(outside.any(axis=1), "a box that reaches outside its chunk")
        if self.chunk_shape.size and int(self.chunk_shape.min()) < 1:
            raise PlanError("chunk_shape must be positive")

    @classmethod
    def from_tasks(cls, tasks: Iterable[Task]) -> Tasks:
        """Columns from single tasks.

        Raises:
            PlanError: as the class; and tasks of different numbers of dimensions.
            TypeError: something else than tasks, or numbers that are no integers.

        >>> Tasks.from_tasks([Task(0, (4, 4), (0, 1), (2, 2), (0, 0)), Task(None, (4, 4), (0, 0), (1, 1), (3, 3))])
        <ringio.Tasks: 2 tasks of 2 dimensions>
        """
        rows = list(tasks)
        for i, row in enumerate(rows):
            if not isinstance(row, Task):
                raise TypeError(f"task {i}: {row!r:.100} is no ringio.Task")
        if not rows:
            return cls([], *np.ones((4, 0, 1), np.int64))
        dim_count = len(rows[0].chunk_shape)
        for i, row in enumerate(rows):
            fields = (row.chunk_shape, row.source_start, row.counts, row.target_start, row.source_step)
            if any(field is not None and len(field) != dim_count for field in fields):
                raise PlanError(f"task {i}: {row} mixes numbers of dimensions; the first task has {dim_count}")
        shape = (len(rows), dim_count)

        def column(name: str, values: Sequence[Sequence[int]]) -> I64:
            return integers(name, values).reshape(shape)

        shapes = [row.chunk_shape for row in rows]
        return cls(
            [_MISSING if row.range_index is None else row.range_index for row in rows],
            shapes[0] if len(set(shapes)) == 1 else column("chunk_shape", shapes),
            column("source_start", [row.source_start for row in rows]),
            column("counts", [row.counts for row in rows]),
            column("target_start", [row.target_start for row in rows]),
            source_steps=column("source_step", [row.source_step or (1,) * dim_count for row in rows]),
            target_index=[row.target for row in rows],
        )

    @property
    def ndim(self) -> int:
        """How many dimensions the chunks have."""
        return int(self.source_starts.shape[1])

    def __len__(self) -> int:
        return len(self.range_index)

    def __repr__(self) -> str:
        return f"<ringio.Tasks: {len(self)} tasks of {self.ndim} dimensions>"


def _like(name: str, values: ArrayLike, shape: tuple[int, ...]) -> I64:
    array = integers(name, values)
    try:
        return np.ascontiguousarray(np.broadcast_to(array, shape))
    except ValueError:
        raise PlanError(f"{name} has shape {array.shape}, {shape} is due") from None


def _refuse(bad: NDArray[np.bool_] | np.bool_, problem: str) -> None:
    if bad.any():
        raise PlanError(f"task {int(np.flatnonzero(bad)[0])}: {problem}")
