"""One plan, run by the C core: started, waited for in slices, and never let go of while it is running.

The core reads from the plan and writes to its targets until the job is done, whatever happens to the Python thread that
started it. So a job is noted in a set of this module, with all that it uses, before it starts, and stays there until
the core says that it is done.

:func:`run` waits in the calling thread. :func:`start` does not wait: a :class:`Bell` rings when the job is done.
"""

from __future__ import annotations

import errno
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Final

from . import _spans
from ._core import ffi, lib
from ._errors import PlanError, RingioError
from ._failures import TaskFailure, task_failures

# Signals are looked at between slices, and an interrupted batch waits for the reads that are in flight: Ctrl-C is
# promised to stop a batch within 100 ms.
_SLICE_MS: Final = 20
_GRACE_MS: Final = 60

Watch = Callable[[int], None]

_TOKENS_MAX: Final = 256  # taken from a bell at a time


class Bell:
    """``struct ringio_bell``: tells who waits for many jobs which of them are done.

    Args:
        has_fd: for an event loop, which watches it; else :meth:`wait` waits, and no file descriptor is taken.

    Attributes:
        pointer: ``struct ringio_bell *``.
        fd: readable while there are tokens; -1: there is none.
        process: that made it; no other may use it.

    Raises:
        OSError: no file descriptor is left.
    """

    def __init__(self, *, has_fd: bool) -> None:
        status = ffi.new("int *")
        self.pointer = lib.ringio_bell_new(has_fd, status)
        if self.pointer == ffi.NULL:
            raise not_started(-status[0])
        self.fd: int = lib.ringio_bell_fd(self.pointer)
        self.process = os.getpid()
        self._room = ffi.new("uint64_t[]", _TOKENS_MAX)
        weakref.finalize(self, _free_bell, self.pointer, self.process).atexit = False

    def wait(self) -> None:
        """Wait until there are tokens, or for one slice: then signals are due."""
        lib.ringio_bell_wait(self.pointer, _SLICE_MS)

    def tokens(self) -> list[int]:
        """The oldest tokens; they come again until they are dropped by :meth:`forget`."""
        count = lib.ringio_bell_tokens(self.pointer, self._room, _TOKENS_MAX)
        return list(ffi.unpack(self._room, count))

    def expect(self) -> None:
        """Make room for one :meth:`ring`, which must follow: of work that is no job."""
        status = lib.ringio_bell_expect(self.pointer)
        if status:
            raise not_started(-status)

    def ring(self, token: int) -> None:
        """From any thread; in a child after fork() nobody listens."""
        if os.getpid() == self.process:
            lib.ringio_bell_ring(self.pointer, token)

    def forget(self, count: int) -> None:
        """Drop the oldest tokens: they have been dealt with."""
        lib.ringio_bell_forget(self.pointer, count)


def _free_bell(pointer: Any, process: int) -> None:
    # A child leaves what it inherited alone: the lock in it may be held by a thread that the child does not have, and
    # the number of the descriptor may be another file's by now.
    if os.getpid() == process:
        lib.ringio_bell_free(pointer)


class Job:
    """A job of the core and all that must stay alive with it.

    One thread may settle it, as ``Reader.close`` does, while another one, which waits for it, cancels it: hence the
    lock. It is reentrant, as the garbage collector may close a coroutine, and cancel its job, in the midst of anything.
    """

    __slots__ = ("_lock", "_outcome", "begin_ns", "box", "keep", "reader")

    def __init__(self, reader: Any, keep: object) -> None:
        self.box = ffi.new("struct ringio_job **")
        self.keep = keep
        self.reader = reader
        self._lock = threading.RLock()
        self._outcome: list[TaskFailure] | Exception | None = None
        self.begin_ns = _spans.begin()

    def settle(self, wait_ms: int = 0) -> bool:
        """Free the job if it is done, and keep what became of it; returns whether it is done."""
        with self._lock:
            pointer = self.box[0]
            if pointer == ffi.NULL:
                return True
            done = lib.ringio_job_wait(pointer, wait_ms)
            if done == 0:
                return False
            self.box[0] = ffi.NULL
            if done < 0:  # a child after fork(): threads of its parent stand in it, as far as the child can tell
                self._outcome = not_started(-done)
                return True
            try:
                self._outcome = task_failures(pointer)
            except MemoryError as error:
                self._outcome = error
            finally:
                lib.ringio_job_free(pointer)
            return True

    def disown(self) -> None:
        """In a child after fork(): let go of the parent's job, whose lock may be held by a thread of the parent."""
        self._lock = threading.RLock()
        self._outcome = not_started(errno.ECHILD)
        self.box[0] = ffi.NULL

    @property
    def is_settled(self) -> bool:
        """Whether the core is done with all that the job uses."""
        return bool(self.box[0] == ffi.NULL)

    def failures(self) -> list[TaskFailure]:
        """What failed, once it is settled, ordered by task."""
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome or []

    def progress(self) -> int:
        """How many requests are done."""
        with self._lock:
            return 0 if self.is_settled else int(lib.ringio_job_progress(self.box[0]))

    def cancel(self) -> None:
        """Start no more of its requests; those in flight go on."""
        with self._lock:
            if not self.is_settled:
                lib.ringio_job_cancel(self.box[0])


class _State:
    """The jobs of this process.

    Attributes:
        running: those that a thread waits for.
        awaited: those that were started, to be waited for in some other way.
        abandoned: those that were cancelled, but still have reads in flight.
        sweeping: held by the one thread that looks after the abandoned ones.
        exiting: the process ends; whoever waits for a job must give it up.
    """

    def __init__(self) -> None:
        self.running: set[Job] = set()
        self.awaited: set[Job] = set()
        self.abandoned: set[Job] = set()
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
    job = Job(reader, (plan, keep))
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
            raise not_started(-done)
        failures = task_failures(job.box[0])
    except BaseException:
        _abandon(job)
        raise
    _state.running.discard(job)
    lib.ringio_job_free(job.box[0])
    if job.begin_ns:
        _spans.end("execute", job.begin_ns, requests=plan.request_count, failed=len(failures))
    return failures


def _abandon(job: Job) -> None:
    if job.box[0] == ffi.NULL:  # never started
        _state.running.discard(job)
        return
    # A second Ctrl-C in here leaves the job among those that run: its memory stays, which is safe.
    lib.ringio_job_cancel(job.box[0])
    if not job.settle(_GRACE_MS):
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
        for job in _state.abandoned.copy():  # not tuple(): the garbage collector may abandon jobs in the midst of it
            if reader is not None and job.reader != reader:
                continue
            if job.settle(wait_ms):
                _state.abandoned.discard(job)
            else:
                left = True
        return not left


def start(reader: Any, plan: Any, keep: object, bell: Bell, token: int) -> Job:
    """Start a plan and return at once.

    Args:
        reader: ``struct ringio_reader *``.
        plan: ``struct ringio_plan *``.
        keep: whatever owns the memory that the plan points to.
        bell: rings when the job is done, unless it is settled already when this returns.
        token: that it rings with.

    Returns:
        The job, which must be given to :func:`leave` in the end.

    Raises:
        PlanError, OSError, MemoryError, RingioError: it could not be started.
    """
    if _state.abandoned:
        drain(None, wait_ms=0)
    job = Job(reader, (plan, keep))
    _state.awaited.add(job)
    try:
        done = lib.ringio_start(reader, plan, bell.pointer, token, job.box)
        if done < 0:
            raise not_started(-done)
        if done == 1:
            job.settle()
    except BaseException:
        leave(job)
        raise
    return job


def leave(job: Job) -> None:
    """Nobody waits for a job any more: what the core is not done with stays alive until it is. Does not wait."""
    job.cancel()
    if not job.settle():
        _state.abandoned.add(job)
    _state.awaited.discard(job)
    begin_ns, job.begin_ns = job.begin_ns, 0
    _spans.end_task("execute", begin_ns)


def settle_awaited(reader: Any) -> bool:
    """Settle the started jobs of a reader that are done by now; returns whether none of them is left."""
    return all(job.settle() for job in _state.awaited.copy() if job.reader == reader)


def is_exiting() -> bool:
    """Whether the process ends: who waits for a job must give it up."""
    return _state.exiting


def give_up_all() -> None:
    """At the end of the process: threads that wait for a job give it up within one slice."""
    _state.exiting = True


def not_started(status: int) -> Exception:
    """The exception for a job, or what belongs to one, that could not be had: ``status`` is an errno or RINGIO_...."""
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
    # A child after fork(): the jobs belong to the parent's threads, which do not exist here. What awaits one, such as a
    # coroutine that came along, finds it settled.
    global _state
    for job in _state.awaited | _state.abandoned:
        job.disown()
    _state = _State()


os.register_at_fork(after_in_child=_forget)
