"""What went wrong in a job, task by task."""

from __future__ import annotations

from typing import Any

from ._core import ffi, lib
from ._named import NamedTuple


class TaskFailure(NamedTuple):
    """``struct ringio_failure``, copied: the core's own goes with its job.

    Attributes:
        problem: what a store of objects said, in words.
        error: an exception that says it all.
    """

    task: int
    request: int
    status: int
    step: int
    got: int
    expected: int
    problem: str = ""
    error: Exception | None = None


def task_failures(job: Any) -> list[TaskFailure]:
    """The failures of a ``struct ringio_job *`` that is done, ordered by task.

    Raises:
        MemoryError: there was no memory to note them all, so nothing is known of any task.
    """
    count = ffi.new("uint64_t *")
    failures = lib.ringio_job_failures(job, count)
    if count[0] == 0:
        return []
    if failures == ffi.NULL:
        raise MemoryError("out of memory while noting what failed")
    return [
        TaskFailure(record.task, record.request, record.status, record.step, record.got, record.expected)
        for record in failures[0 : count[0]]
    ]
