"""Chunks that Python codecs have decoded, put in their places by numpy.

A plan says where boxes lie in bytes. Python objects and strings of any length cannot be copied as bytes, so strides and
offsets become indexes again: of the decoded chunk, and of the target.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import _execute
from ._core import lib
from ._errors import PlanError, RingioError
from ._failures import TaskFailure
from ._named import NamedTuple
from ._plan import BoundPlan
from ._plan_records import PlanRecords
from ._records import MAX_U64, NO_FILE
from ._stages import AnyOrigin, LateOrigin, item_filler
from .codecs import CompiledChain

_NO_STEP: Final = 0xFFFFFFFF
_POLL_S: Final = 0.001
_MANY: Final = 4  # single elements: then one assignment with lists of indexes is faster than so many

Starts: TypeAlias = NDArray[np.int64]


class Axes(NamedTuple):
    """How an array lies in memory.

    Attributes:
        lengths: of its dimensions.
        strides: bytes, of either sign.
        nested: its dimensions of more than one element, from the longest stride to the shortest.
    """

    lengths: tuple[int, ...]
    strides: tuple[int, ...]
    nested: tuple[int, ...]

    @classmethod
    def of(cls, lengths: Sequence[int], strides: Sequence[int]) -> Axes:
        """Those of an array whose elements do not overlap."""
        wide = [dimension for dimension, length in enumerate(lengths) if length > 1]
        nested = sorted(wide, key=lambda dimension: -abs(strides[dimension]))
        return cls(tuple(lengths), tuple(strides), tuple(nested))

    def positions(self, offsets: NDArray[np.int64]) -> Starts:
        """The indexes of elements.

        Args:
            offsets: int64[n], bytes from the lowest address of the array.

        Returns:
            int64[n, d].

        Raises:
            PlanError: there is no element.

        >>> Axes.of((2, 3), (6, -2)).positions(np.array([0, 10])).tolist()
        [[0, 2], [1, 0]]
        """
        positions = np.zeros((len(offsets), len(self.lengths)), np.int64)
        rest = offsets
        for dimension in self.nested:
            stride, length = self.strides[dimension], self.lengths[dimension]
            steps = rest // abs(stride)
            rest = rest - steps * abs(stride)
            if ((steps < 0) | (steps >= length)).any():
                raise PlanError("a projection reaches outside the target or the decoded chunk")
            positions[:, dimension] = steps if stride > 0 else length - 1 - steps
        if rest.any():
            raise PlanError("a projection begins in the midst of an element")
        return positions

    def along(self, stride: int) -> tuple[int, int] | None:
        """The dimension that a walk with so long a stride goes along, and its step; None: there is none.

        >>> Axes.of((2, 30), (60, 2)).along(10)
        (1, 5)
        """
        for dimension in self.nested:
            own = self.strides[dimension]
            if abs(own) <= abs(stride):
                return None if stride % own else (dimension, stride // own)
        return None


def _view(
    array: NDArray[Any], start: Sequence[int], counts: Sequence[int], walks: Sequence[tuple[int, int] | None]
) -> NDArray[Any]:
    """A box of an array, with the dimensions of the box that have more than one element, in their order.

    Args:
        array: the array.
        start: index of the first element.
        counts: of the box.
        walks: for each dimension of the box the dimension of the array, and the step.
    """
    index: list[Any] = list(start)
    order = []
    for count, walk in zip(counts, walks, strict=True):
        if count == 1:
            continue
        if walk is None or walk[0] in order:
            raise PlanError("a projection does not walk along the dimensions of the target and of the decoded chunk")
        dimension, step = walk
        first = start[dimension]
        last = first + (count - 1) * step
        if not 0 <= last < array.shape[dimension]:
            raise PlanError("a projection reaches outside the target or the decoded chunk")
        end = last + (1 if step > 0 else -1)
        index[dimension] = slice(first, None if end < 0 else end, step)
        order.append(dimension)
    box: NDArray[Any] = array[(*index, ...)]  # "..." makes an array of what would be a scalar
    if len(order) > 1:
        kept = sorted(order)
        box = box.transpose([kept.index(dimension) for dimension in order])
    return box


def _check_requests(records: PlanRecords) -> None:
    """Raise PlanError where a request names what is not there."""
    requests, task_count = records.requests, np.uint64(len(records.tasks))
    firsts, counts = requests["first_task"], requests["task_count"]
    if ((firsts > task_count) | (counts > task_count - np.minimum(firsts, task_count))).any():
        raise PlanError("a request names tasks that are not there")
    if ((requests["file"] >= len(records.files)) & (requests["file"] != NO_FILE)).any():
        raise PlanError("a request names a file that is not there")


class Decoder:
    """Decodes and places the tasks of a plan that has Python codecs. Threads may share one.

    Args:
        bound: the plan and its targets.
        limit_nbytes: of memory, for each decoded chunk and for what its Python codecs are given.

    Raises:
        PlanError: they do not fit each other.
    """

    def __init__(self, bound: BoundPlan, limit_nbytes: int) -> None:
        chains = bound.plan.python_chains
        assert chains is not None
        self._chains: Sequence[CompiledChain] = chains
        self._plan = bound.plan
        self._limit_nbytes = limit_nbytes
        assert isinstance(bound.records, PlanRecords)
        self._records = records = bound.records
        self._arrays = bound.arrays
        layouts = records.layouts
        _check_requests(records)
        self._targets = [Axes.of(array.shape, array.strides) for array in bound.arrays]
        if len(layouts) and int(layouts["target"].max()) >= len(bound.arrays):
            raise PlanError("a layout names a target that is not there")
        if len(records.projections) and int(records.projections["layout"].max()) >= len(layouts):
            raise PlanError("a projection names a layout that is not there")
        self._dim_count = records.counts.shape[1]
        self._target_starts = self._find_targets()
        self._writers: set[int] = set()  # threads
        self._is_stopped = False
        self._process = os.getpid()

    def stop(self) -> None:
        """Write nothing to the targets any more; whoever is writing is waited for.

        That takes as long as one chunk takes to be copied. Who is in the midst of a codec, which may take any time, is
        not waited for, and finds that there is nothing left to do.
        """
        self._is_stopped = True
        if os.getpid() != self._process:  # those who write are threads of the parent
            return
        # The garbage collector may call this in the midst of writing; and at the end of the process daemon threads that
        # write never go on.
        while self._writers - {threading.get_ident()} and not _execute.is_exiting():
            time.sleep(_POLL_S)

    def _write(self, write: Callable[[], None]) -> None:
        thread = threading.get_ident()
        try:
            self._writers.add(thread)
            if not self._is_stopped:  # looked at only now: stop() does the same the other way round
                write()
        finally:
            self._writers.discard(thread)

    def _find_targets(self) -> list[list[int]] | list[Starts]:
        """The index in its target of the first element of each projection."""
        projections = self._records.projections
        targets = self._records.layouts["target"][projections["layout"]]
        starts: list[Any] = [()] * len(projections)
        for number, axes in enumerate(self._targets):
            chosen = np.flatnonzero(targets == number)
            # Boxes of no elements may begin anywhere.
            chosen = chosen[(self._records.counts[chosen] > 0).all(axis=1)]
            found = axes.positions(projections["target_offset"][chosen]).tolist()
            for projection, start in zip(chosen.tolist(), found, strict=True):
                starts[projection] = start
        return starts

    def run(self, request: int, task: int, buffer: Any) -> TaskFailure | None:
        """Decode and place one task.

        Args:
            request: its number.
            task: its number.
            buffer: the bytes of the request; fewer where the object ends before.

        Returns:
            What went wrong.
        """
        if self._is_stopped:
            return None
        record = self._records.tasks[task]
        start, nbytes = int(record["source_offset"]), int(record["source_nbytes"])
        end = len(buffer) if nbytes == MAX_U64 else start + nbytes
        if start > len(buffer) or end > len(buffer):
            first = int(self._records.requests[request]["offset"])
            got = first + len(buffer)
            return TaskFailure(task, request, -lib.RINGIO_EOF, _NO_STEP, got, first + max(start, end))
        try:
            chain = self._chains[int(record["chain"])]
            origin = LateOrigin(lambda: self._plan.origin(task, request)._replace(length=end - start))
            encoded = memoryview(buffer)[start:end]
            limit = self._limit_nbytes
            if encoded.nbytes > limit:
                return TaskFailure(task, request, -lib.RINGIO_NO_MEMORY, _NO_STEP, encoded.nbytes, limit)
            if chain.dtype.kind in "TO" and self._fill_items(record, chain, encoded, origin):
                return None
            if chain.decoded_nbytes > limit:
                return TaskFailure(task, request, -lib.RINGIO_NO_MEMORY, _NO_STEP, chain.decoded_nbytes, limit)
            chunk = chain.decode(encoded, origin, limit)
            self._write(lambda: self._place(record, chain, chunk))
        except Exception as error:
            if isinstance(error, MemoryError) and not isinstance(error, RingioError):  # numpy names no chunk
                path, offset, _, chunk_name = self._plan.origin(task, request)
                error.add_note(f"while reading {chunk_name or 'a chunk'} in {path} from byte {offset}")
            return TaskFailure(task, request, -1, _NO_STEP, 0, 0, "", error)
        return None

    def fill(self, request: int, task: int) -> TaskFailure | None:
        """Write the fill value to the places of one task."""
        try:
            for number, layout in self._projections(self._records.tasks[task]):
                if int(layout["fill_offset"]) == MAX_U64:
                    failure = TaskFailure(task, request, -lib.RINGIO_BAD_PLAN, _NO_STEP, lib.RINGIO_PLAN_FILL, 0)
                    return failure
                target = self._target(number, layout)
                item = self._plan.fill_item(int(layout["fill_offset"]), target.dtype)
                self._write(partial(np.copyto, target, item))
        except Exception as error:
            return TaskFailure(task, request, -1, _NO_STEP, 0, 0, "", error)
        return None

    def _projections(self, record: Any) -> list[tuple[int, Any]]:
        first, count = int(record["first_projection"]), int(record["projection_count"])
        if first + count > len(self._records.projections):
            raise PlanError("a task names projections that are not there")
        counts, layouts = self._records.counts, self._records.layouts
        numbers = [number for number in range(first, first + count) if 0 not in counts[number].tolist()]
        return [(number, layouts[int(self._records.projections[number]["layout"])]) for number in numbers]

    def _target(self, number: int, layout: Any) -> NDArray[Any]:
        target = int(layout["target"])
        strides = layout["target_strides"][: self._dim_count].tolist()
        walks = [self._targets[target].along(stride) for stride in strides]
        counts = self._records.counts[number].tolist()
        return _view(self._arrays[target], self._target_starts[number], counts, walks)  # type: ignore[arg-type]

    def _fill_items(self, record: Any, chain: CompiledChain, encoded: memoryview, origin: AnyOrigin) -> bool:
        """Items of any length that lie in a row, in chunk and target, need no chunk in between; whether they do."""
        projections = self._projections(record)
        if len(projections) != 1:
            return False
        number, layout = projections[0]
        target = self._target(number, layout)
        first = self._first_in_row(number, layout, chain)
        if first is None or not target.flags.c_contiguous or not target.flags.aligned:
            return False
        self._check(target, chain)
        fill = item_filler(chain.stages, encoded, target.dtype, origin, self._limit_nbytes)
        if fill is None:
            return False
        self._write(lambda: fill(target, first))
        return True

    def _first_in_row(self, number: int, layout: Any, chain: CompiledChain) -> int | None:
        """Which item of the decoded chunk a box begins with, where one follows the other; None: they do not."""
        counts = self._records.counts[number].tolist()
        strides = layout["source_strides"][: self._dim_count].tolist()
        nbytes = chain.dtype.itemsize
        for count, stride in zip(reversed(counts), reversed(strides), strict=True):
            if count > 1 and stride != nbytes:
                return None
            nbytes *= count
        offset = int(self._records.projections["source_offset"][number])
        fits = offset % chain.dtype.itemsize == 0 and offset + nbytes <= chain.decoded_nbytes
        return offset // chain.dtype.itemsize if fits else None

    def _place(self, record: Any, chain: CompiledChain, chunk: NDArray[Any]) -> None:
        projections = self._projections(record)
        if not projections:
            return
        axes = Axes.of(chunk.shape, chain.strides)
        numbers = np.array([number for number, _ in projections])
        starts = axes.positions(self._records.projections["source_offset"][numbers])
        if len(numbers) >= _MANY and (self._records.counts[numbers] == 1).all():
            self._place_items(projections, chunk, starts)
            return
        for (number, layout), start in zip(projections, starts.tolist(), strict=True):
            target = self._target(number, layout)
            self._check(target, chain)
            walks = [axes.along(stride) for stride in layout["source_strides"][: self._dim_count].tolist()]
            target[...] = _view(chunk, start, self._records.counts[number].tolist(), walks)

    def _place_items(self, projections: Sequence[tuple[int, Any]], chunk: NDArray[Any], starts: Starts) -> None:
        """Single elements, all at once."""
        targets = np.array([int(layout["target"]) for _, layout in projections])
        items = chunk[tuple(starts.T)] if chunk.ndim else np.broadcast_to(chunk, len(starts))
        for number in set(targets.tolist()):
            chosen = np.flatnonzero(targets == number)
            places = np.array([self._target_starts[projections[i][0]] for i in chosen.tolist()])
            array = self._arrays[number]
            if array.dtype != chunk.dtype:
                raise PlanError(f"the target has dtype {array.dtype}, the decoded chunk has {chunk.dtype}")
            if array.ndim:
                array[tuple(places.T)] = items[chosen]
            else:
                array[...] = items[chosen[-1]]

    def _check(self, target: NDArray[Any], chain: CompiledChain) -> None:
        if target.dtype != chain.dtype:
            raise PlanError(f"the target has dtype {target.dtype}, the decoded chunk has {chain.dtype}")
