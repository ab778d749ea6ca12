"""One plan, run by the C core: started, waited for in slices, and never let go of while it is running.

The core reads from the plan and writes to its targets until the job is done, whatever happens to the Python thread that
started it. So a job is noted in a set of this module, with all that it uses, before it starts, and stays there until
the core says that it is done.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from typing import Any, Final

from ._core import ffi, lib
from ._errors import PlanError, RingioError
from ._failures import TaskFailure, task_failures

# Signals are looked at between slices, and an interrupted batch waits for the reads that are in flight: Ctrl-C is
# promised to stop a batch within 100 ms.
_SLICE_MS: Final = 20
_GRACE_MS: Final = 60

Watch = Callable[[int], None]


class _Job:
    """A job of the core and all that must stay alive with it."""

    __slots__ = ("box", "keep", "reader")

    def __init__(self, reader: Any, keep: object) -> None:
        self.box = ffi.new("struct ringio_job **")
        self.keep = keep
        self.reader = reader


class _State:
    """The jobs of this process.

    Attributes:
        running: those that a thread waits for.
        abandoned: those that were cancelled, but still have reads in flight.
        sweeping: held by the one thread that looks after the abandoned ones.
        exiting: the process ends; whoever waits for a job must give it up.
    """

    def __init__(self) -> None:
        self.running: set[_Job] = set()
        self.abandoned: set[_Job] = set()
        self.sweeping = threading.Lock()
        self.exiting = False


_state = _State()


def run(reader: Any, plan: Any, keep: object, watch: Watch | None = None) -> list[TaskFailure]:
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
    if _state.abandoned:
        drain(None, wait_ms=0)
    job = _Job(reader, (plan, keep))
    try:
        _state.running.add(job)
        done = lib.ringio_execute(reader, plan, _SLICE_MS, job.box)
        while done == 0:
            if _state.exiting:
                raise RingioError("the process ends")
            if watch is not None:
                watch(lib.ringio_job_progress(job.box[0]))
            done = lib.ringio_job_wait(job.box[0], _SLICE_MS)
        if done < 0:
            raise _not_started(-done)
        failures = task_failures(job.box[0])
    except BaseException:
        _abandon(job)
        raise
    _state.running.discard(job)
    lib.ringio_job_free(job.box[0])
    return failures


def _abandon(job: _Job) -> None:
    if job.box[0] == ffi.NULL:  # never started
        _state.running.discard(job)
        return
    # A second Ctrl-C in here leaves the job among those that run: its memory stays, which is safe.
    lib.ringio_job_cancel(job.box[0])
    if lib.ringio_job_wait(job.box[0], _GRACE_MS) == 1:
        _state.running.discard(job)
        lib.ringio_job_free(job.box[0])
    else:
        _state.abandoned.add(job)
        _state.running.discard(job)


def drain(reader: Any, *, wait_ms: int) -> bool:
    """Free abandoned jobs that are done by now.

    Args:
        reader: whose jobs; None: all.
        wait_ms: how long to wait for each.

    Returns:
        Whether none of them is left.
    """
    # A "with" of a lock is the one way of taking it that an exception of a signal handler cannot tear apart. Not even
    # asking for a lock of its own would end well for a thread whose garbage collector came to run in here.
    if wait_ms == 0 and _state.sweeping.locked():
        return False
    with _state.sweeping:
        left = False
        for job in tuple(_state.abandoned):
            if reader is not None and job.reader != reader:
                continue
            if lib.ringio_job_wait(job.box[0], wait_ms) == 1:
                _state.abandoned.discard(job)
                lib.ringio_job_free(job.box[0])
            else:
                left = True
        return not left


def give_up_all() -> None:
    """At the end of the process: threads that wait for a job give it up within one slice."""
    _state.exiting = True


def _not_started(status: int) -> Exception:
    if status == errno.ENOMEM:
        return MemoryError("out of memory while starting a batch")
    if status == lib.RINGIO_BAD_PLAN:
        return PlanError("the plan contradicts itself: a chain, layout, path or target is not there")
    if status == errno.EAGAIN:
        return RingioError(
            "a batch could not be started: the system gives no more threads; see RLIMIT_NPROC (ulimit -u), the control "
            "group's pids.max and, for their stacks, RLIMIT_AS (ulimit -v), or make the reader with fewer workers"
        )
    if status == errno.ECHILD:
        return RingioError("the process forked during this batch, which goes on in the parent alone; read it again")
    if status < lib.RINGIO_EOF:
        return OSError(status, f"a batch could not be started: {os.strerror(status)}")
    return RingioError(f"a batch could not be started: status {-status} of the C core")


def _forget() -> None:
    # A child after fork(): the jobs belong to the parent's threads, which do not exist here.
    global _state
    _state = _State()


os.register_at_fork(after_in_child=_forget)
