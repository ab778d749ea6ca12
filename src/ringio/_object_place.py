"""Answers of stores, decoded and put in their places by the C core, as if they had come from a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from . import _execute
from ._core import ffi, lib
from ._errors import RingioError
from ._failures import TaskFailure
from ._handle import Handle
from ._named import NamedTuple
from ._plan import BoundPlan
from ._records import FILE, MAX_U64, NO_FILE, REQUEST
from ._store_errors import PAST_THE_END, Problem

# An empty buffer may be anywhere; to the core address 0 means that there is none.
_SOMEWHERE: Final = ffi.new("uint8_t[1]")
_NO_STEP: Final = 0xFFFFFFFF


class Placer:
    """Does what a plan says with the bytes of its requests.

    Args:
        handle: of the reader whose workers do it.
        bound: the plan and its targets.
    """

    def __init__(self, handle: Handle, bound: BoundPlan) -> None:
        self._handle = handle
        self._bound = bound
        self._requests = bound.plan.requests
        self._tasks = bound.plan.tasks

    def answer_nbytes(self) -> NDArray[np.float64]:
        """How many bytes the answer to each request of the plan has, about; 0 where nobody knows."""
        return self._bound.plan.request_nbytes()

    def place(self, indices: Sequence[int], buffers: Sequence[Any], sizes: Sequence[int | None]) -> list[TaskFailure]:
        """Decode and place the tasks of some requests; returns when that is done.

        Args:
            indices: of the requests.
            buffers: the bytes of each; fewer than it asks for where the object ends before.
            sizes: of the objects; None: where the buffer ends.
        """
        # By way of numpy, which keeps no export of a memoryview. An error's traceback keeps this frame, and CPython
        # before 3.11.8 and 3.12.2 crashes when the garbage collector clears a memoryview that has one (gh-77894).
        sources = [ffi.from_buffer(np.frombuffer(buffer, np.uint8)) for buffer in buffers]
        files = np.zeros(len(indices), FILE)
        files["data"] = [int(ffi.cast("uintptr_t", source if len(source) else _SOMEWHERE)) for source in sources]
        files["nbytes"] = [len(source) for source in sources]
        requests = self._requests[indices]
        starts = requests["offset"].copy()
        requests["offset"] = 0
        requests["file"] = np.arange(len(indices))
        failures = []
        for failure in self._run(files, requests, (sources, buffers)):
            which = failure.request
            failure = failure._replace(request=indices[which])
            if failure.status == -PAST_THE_END:
                start = int(starts[which])
                size = sizes[which]
                got = start + failure.got if size is None else size
                failure = failure._replace(got=got, expected=start + failure.expected)
            failures.append(failure)
        return failures

    def stop(self) -> None:
        """Nobody wants the rest any more. The core's chunks take no time to speak of, so that they are let be."""

    def fill(self, indices: Sequence[int]) -> list[TaskFailure]:
        """Write the fill value to the places of requests whose objects do not exist."""
        requests = self._requests[indices]
        requests["file"] = NO_FILE
        failures = self._run(np.zeros(0, FILE), requests, None)
        return [failure._replace(request=indices[failure.request]) for failure in failures]

    def _run(self, files: NDArray[np.void], requests: NDArray[np.void], keep: object) -> list[TaskFailure]:
        plan = ffi.new("struct ringio_plan *", self._bound.struct[0])
        plan.files, plan.file_count = ffi.from_buffer("struct ringio_file[]", files), len(files)
        plan.requests, plan.request_count = ffi.from_buffer("struct ringio_request[]", requests), len(requests)
        user = object()
        try:
            reader = self._handle.use(user)
            return _execute.run(reader, plan, (self._bound, files, requests, keep))
        except (RingioError, OSError, MemoryError) as error:
            return [
                TaskFailure(task, i, -1, _NO_STEP, 0, 0, "", error)
                for i, request in enumerate(requests)
                for task in tasks_of(request)
            ]
        finally:
            self._handle.users.discard(user)

    def fills_missing(self, index: int) -> bool:
        """Whether an object that does not exist is a missing chunk to this request."""
        return bool(self._requests["flags"][index] & lib.RINGIO_REQUEST_MISSING_FILLS)

    def failures(self, indices: Iterable[int], problem: Problem, size: int | None = None) -> list[TaskFailure]:
        """The failures of all tasks of some requests.

        Args:
            indices: of the requests.
            problem: of all of them.
            size: of the object, where they lie behind its end.
        """
        found = []
        for i in indices:
            request = self._requests[i]
            for task in tasks_of(request):
                end = self._end(request, task) if problem.status == PAST_THE_END else 0
                failure = TaskFailure(task, i, -problem.status, _NO_STEP, size or 0, end, problem.text, problem.error)
                found.append(failure)
        return found

    def _end(self, request: Any, task: int) -> int:
        """Where in the object a task's bytes end; where they begin, if they go to the end."""
        record = self._tasks[task]
        start, nbytes = int(request["offset"]) + int(record["source_offset"]), int(record["source_nbytes"])
        return start if nbytes == MAX_U64 else start + nbytes


def tasks_of(request: Any) -> range:
    """The tasks of a REQUEST."""
    first = int(request["first_task"])
    return range(first, first + int(request["task_count"]))


class LocalPart(NamedTuple):
    """The part of a plan that the core reads.

    Attributes:
        struct: ``struct ringio_plan *``.
        numbers: int64[r], which of the plan's requests each of its requests is.
        keep: what owns the memory that it points to.
    """

    struct: Any
    numbers: NDArray[np.int64]
    keep: object


def split(bound: BoundPlan, are_objects: NDArray[np.bool_]) -> tuple[LocalPart | None, NDArray[np.int64]]:
    """Split the requests of a plan by what reads them.

    Args:
        bound: the plan.
        are_objects: for each of its files, whether a store has it.

    Returns:
        What the core reads, if there is any, and the numbers of the other requests, ascending.
    """
    requests = bound.plan.requests
    files = requests["file"]
    remote = are_objects.take(files, mode="clip") & (files < len(are_objects))
    chosen = np.flatnonzero(remote)
    if len(chosen) == len(requests):
        return None, chosen
    numbers = np.flatnonzero(~remote)
    local = np.ascontiguousarray(requests[numbers], REQUEST)
    plan = ffi.new("struct ringio_plan *", bound.struct[0])
    plan.requests, plan.request_count = ffi.from_buffer("struct ringio_request[]", local), len(local)
    return LocalPart(plan, numbers, (bound, local)), chosen
