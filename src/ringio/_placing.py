"""From ranges and tasks to the core's records: chunks are grouped, boxes become projections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import planning
from ._errors import PlanError
from ._ranges import Ranges
from ._records import CODEC, LAYOUT, PROJECTION
from ._tasks import Tasks
from .codecs import Chain, CompiledChain

Records: TypeAlias = NDArray[np.void]


def check_ranges(ranges: Ranges, tasks: Tasks) -> None:
    if len(ranges) and int(ranges.offsets.min()) < 0:
        bad = int(np.flatnonzero(ranges.offsets < 0)[0])
        raise PlanError(f"range {bad}: an offset counted from the end; a plan opens no file, so give it from the start")
    if len(tasks) and int(tasks.range_index.max()) >= len(ranges):
        bad = int(np.flatnonzero(tasks.range_index >= len(ranges))[0])
        raise PlanError(f"task {bad}: range {tasks.range_index[bad]}, but there are {len(ranges)} ranges")


@dataclass(frozen=True, slots=True)
class _RawChain:
    """What a chunk without codecs decodes to: itself, in C order."""

    records: Records
    decoded_nbytes: int
    encoded_nbytes_max: int
    strides: tuple[int, ...]
    step_names: tuple[str, ...] = ()
    stages: tuple[Any, ...] = ()


def compile_chains(
    codecs: Chain | None, tasks: Tasks, dtype: np.dtype[Any]
) -> tuple[list[CompiledChain], NDArray[np.int64]]:
    """The codec chain of each distinct chunk shape, and which of them each task has."""
    if tasks.chunk_shape.ndim == 1:
        shapes, which = tasks.chunk_shape[np.newaxis], np.zeros(len(tasks), np.int64)
    else:
        shapes, which = _distinct_rows(tasks.chunk_shape)
    return [_compile(codecs, tuple(map(int, shape)), dtype) for shape in shapes], which


def _compile(codecs: Chain | None, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    nbytes = prod(shape) * dtype.itemsize
    if nbytes > np.iinfo(np.int64).max:
        raise PlanError(f"a chunk of {'x'.join(map(str, shape))} items has {nbytes} bytes")
    if codecs is not None:
        return codecs.compile(shape, dtype)
    strides = tuple(prod(shape[i + 1 :]) * dtype.itemsize for i in range(len(shape)))
    return _RawChain(np.zeros(0, CODEC), nbytes, nbytes, strides)


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    order: NDArray[np.int64]  # which task each projection is
    first_projections: NDArray[np.uint64]
    files: NDArray[np.uint32]
    offsets: NDArray[np.uint64]
    nbytes: NDArray[np.uint64]
    chains: NDArray[np.uint32]


def group(ranges: Ranges, tasks: Tasks, chain_of_task: NDArray[np.int64]) -> Pieces:
    """One piece for each chunk: tasks that take from the same range are its projections."""
    order = np.lexsort((chain_of_task, tasks.range_index))
    chunk, shape = tasks.range_index[order], chain_of_task[order]
    new = np.ones(len(order), bool)
    new[1:] = (chunk[1:] != chunk[:-1]) | (shape[1:] != shape[:-1]) | (chunk[1:] < 0)
    firsts = np.flatnonzero(new)
    chunk = chunk[firsts]
    present = chunk >= 0
    files = np.zeros(len(firsts), np.uint32)
    offsets = np.full(len(firsts), planning.MISSING, np.uint64)
    nbytes = np.zeros(len(firsts), np.uint64)
    files[present] = ranges.path_index[chunk[present]]
    offsets[present] = ranges.offsets[chunk[present]].astype(np.uint64)
    nbytes[present] = ranges.lengths[chunk[present]].astype(np.uint64)  # -1 becomes TO_END
    return Pieces(
        order, np.append(firsts, len(order)).astype(np.uint64), files, offsets, nbytes, shape[firsts].astype(np.uint32)
    )


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """Where boxes go, in elements; bytes come when the targets are known."""

    dtype: np.dtype[Any]
    source_offsets: NDArray[np.int64]
    layout_of_box: NDArray[np.int64]
    layouts: Records  # one for each pair of strides and steps, the target's strides still missing
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    target_index: NDArray[np.int64]
    tasks: NDArray[np.int64]

    def resolve(self, arrays: Sequence[NDArray[Any]], firsts: Sequence[int]) -> tuple[Records, Records]:
        if not len(self.starts):
            return np.zeros(0, PROJECTION), np.zeros(0, LAYOUT)
        dim_count = self.starts.shape[1]
        strides = np.zeros((len(arrays), dim_count), np.int64)
        for i, array in enumerate(arrays):
            if array.dtype != self.dtype:
                raise PlanError(f"target {i} has dtype {array.dtype}, the plan has {self.dtype}")
            if array.ndim != dim_count:
                raise PlanError(f"target {i} has {array.ndim} dimensions, the chunks have {dim_count}")
            outside = (self.target_index == i) & (self.ends > array.shape).any(axis=1)
            if outside.any():
                bad = int(np.flatnonzero(outside)[0])
                raise PlanError(
                    f"task {self.tasks[bad]}: its box ends at {self.ends[bad].tolist()} of target {i}, "
                    f"which has shape {array.shape}"
                )
            strides[i] = array.strides
        projections = np.empty(len(self.starts), PROJECTION)
        projections["source_offset"] = self.source_offsets
        first_bytes = np.array(firsts, np.int64)[self.target_index]
        projections["target_offset"] = first_bytes + (self.starts * strides[self.target_index]).sum(axis=1)
        projections["layout"] = self.layout_of_box * len(arrays) + self.target_index
        layouts = np.repeat(self.layouts, len(arrays))
        layouts["target"] = np.tile(np.arange(len(arrays)), len(self.layouts))
        layouts["target_strides"][:, :dim_count] = np.tile(strides, (len(self.layouts), 1))
        return projections, layouts


def place(
    tasks: Tasks,
    order: NDArray[np.int64],
    dtype: np.dtype[Any],
    chains: Sequence[CompiledChain],
    chain_of_task: NDArray[np.int64],
    *,
    fill: bool,
) -> Placement:
    dim_count = tasks.ndim
    chunk_strides = np.array([chain.strides for chain in chains], np.int64).reshape(len(chains), dim_count)
    strides = chunk_strides[chain_of_task]
    walked, layout_of_task = _distinct_rows(strides * tasks.source_steps)
    layouts = np.zeros(len(walked), LAYOUT)
    layouts["itemsize"] = dtype.itemsize
    layouts["fill_offset"] = 0 if fill else planning.NO_FILL
    layouts["source_strides"][:, :dim_count] = walked
    starts = tasks.target_starts[order]
    return Placement(
        dtype=dtype,
        source_offsets=(tasks.source_starts * strides).sum(axis=1)[order],
        layout_of_box=layout_of_task[order],
        layouts=layouts,
        starts=starts,
        ends=starts + tasks.counts[order],
        target_index=tasks.target_index[order],
        tasks=order,
    )


def _distinct_rows(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct rows of int64[n, d], and which of them each row is."""
    if rows.shape[1] == 0 or len(rows) == 0:
        return rows[:1], np.zeros(len(rows), np.int64)
    # Not np.unique: see _batch.
    order = np.lexsort(rows.T)
    ordered = rows[order]
    new = np.concatenate(([True], (ordered[1:] != ordered[:-1]).any(axis=1)))
    which = np.empty(len(rows), np.int64)
    which[order] = np.cumsum(new) - 1
    return ordered[new], which
