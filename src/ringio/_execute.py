"""One plan, run by the C core: started, waited for in slices, and never let go of while it is running.

The core reads from the plan and writes to its targets until the job is done, whatever happens to the Python thread that
started it. So a job is noted in a set of this module, with all that it uses, before it starts, and stays there until the
core says that it is done.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any, Final

from ._core import ffi, lib
from ._errors import Failure, PlanError, RingioError

# Signals are looked at between slices: Ctrl-C stops a batch within 100 ms.
_SLICE_MS: Final = 50
# How long an interrupted batch waits for the reads that are in flight.
_GRACE_MS: Final = 100

Watch = Callable[[int], None]


class _Job:
    """A job of the core and all that must stay alive with it."""

    __slots__ = ("box", "keep", "__weakref__")

    def __init__(self, keep: object) -> None:
        self.box = ffi.new("struct ringio_job **")
        self.keep = keep


_running: set[_Job] = set()
_abandoned: set[_Job] = set()


def run(reader: Any, plan: Any, keep: object, watch: Watch | None = None) -> list[Failure]:
    """Execute a plan and wait for it.

    Args:
        reader: ``struct ringio_reader *``.
        plan: ``struct ringio_plan *``.
        keep: whatever owns the memory that the plan points to.
        watch: called with the number of requests that are done, now and then.

    Returns:
        What failed, ordered by task.

    Raises:
        PlanError: the plan contradicts itself.
        OSError, MemoryError: the job could not be started.
        BaseException: what a signal handler or ``watch`` raised; the job is cancelled then.
    """
    if _abandoned:
        free_abandoned()
    job = _Job((plan, keep))
    _running.add(job)
    try:
        state = lib.ringio_execute(reader, plan, _SLICE_MS, job.box)
        while state == 0:
            if watch is not None:
                watch(lib.ringio_job_progress(job.box[0]))
            state = lib.ringio_job_wait(job.box[0], _SLICE_MS)
        if state < 0:
            _running.discard(job)
            raise _not_started(-state)
        failures = _copy_failures(job.box[0])
    except BaseException:
        _abandon(job)
        raise
    _free(job, _running)
    return failures


def free_abandoned(wait_ms: int = 0) -> bool:
    """Free the jobs that were given up and are done by now; returns whether none is left."""
    for job in tuple(_abandoned):
        if lib.ringio_job_wait(job.box[0], wait_ms) == 1:
            _free(job, _abandoned)
    return not _abandoned


def cancel_all() -> None:
    """Cancel every job, at the end of the process."""
    for job in (*_running, *_abandoned):
        if job.box[0] != ffi.NULL:
            lib.ringio_job_cancel(job.box[0])


def _abandon(job: _Job) -> None:
    if job.box[0] == ffi.NULL:  # never started
        _running.discard(job)
        return
    _abandoned.add(job)
    _running.discard(job)
    lib.ringio_job_cancel(job.box[0])
    if lib.ringio_job_wait(job.box[0], _GRACE_MS) == 1:
        _free(job, _abandoned)


def _free(job: _Job, jobs: set[_Job]) -> None:
    try:
        jobs.remove(job)  # of two threads that want to free it, one gets it
    except KeyError:
        return
    lib.ringio_job_free(job.box[0])


def _copy_failures(job: Any) -> list[Failure]:
    count = ffi.new("uint64_t *")
    failures = lib.ringio_job_failures(job, count)
    if count[0] == 0:
        return []
    copy = ffi.new("struct ringio_failure[]", count[0])
    ffi.memmove(copy, failures, ffi.sizeof(copy))
    return list(copy)


def _not_started(status: int) -> Exception:
    if status == errno.ENOMEM:
        return MemoryError("out of memory while starting a batch")
    if status == lib.RINGIO_BAD_PLAN:
        return PlanError("the plan contradicts itself: a chain, layout, path or target is not there")
    if status < lib.RINGIO_EOF:
        return OSError(status, f"a batch could not be started: {os.strerror(status)}")
    return RingioError(f"a batch could not be started: status {-status} of the C core")


def _forget() -> None:
    # A child after fork(): the jobs belong to the parent's threads, which do not exist here.
    _running.clear()
    _abandoned.clear()


os.register_at_fork(after_in_child=_forget)
