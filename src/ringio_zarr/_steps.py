"""How a batch is read, without a word about who waits: steps, to be done one after the other.

A generator says what comes next and is sent what came of it, or has the error thrown into it. The calling thread does
all steps itself (:func:`drive`); an event loop awaits them (:func:`drive_async`); ``explain`` leaves some of them out.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing, suppress
from typing import Any, TypeAlias, TypeVar

from ringio import Plan, Reader
from ringio.planning import NamedTuple

T = TypeVar("T")


class Work(NamedTuple):
    """A step that is work of this process, and reads of little things such as shard indexes.

    Attributes:
        call: does it; it is given the reader for what has to be read.
        is_light: whether all but that reading takes no longer than some milliseconds.
    """

    call: Callable[[Any], Any]
    is_light: bool


class Execute(NamedTuple):
    """A step for ``Reader.execute``.

    Attributes:
        plan: the plan.
        targets: its targets.
    """

    plan: Plan
    targets: Any


Step: TypeAlias = Work | Execute
Steps: TypeAlias = Generator[Step, Any, T]


def drive(steps: Steps[T], reader: Reader, progress: Any = None) -> T:
    """Do all steps in the calling thread.

    Args:
        steps: a generator of them.
        reader: executes the plans.
        progress: as in ``Reader.execute``.
    """
    done: Any = None
    error: Exception | None = None
    while True:
        try:
            step = steps.send(done) if error is None else steps.throw(error)
        except StopIteration as end:
            result: T = end.value
            return result
        done = error = None
        try:
            if isinstance(step, Work):
                done = step.call(reader)
            else:
                done = reader.execute(step.plan, step.targets, progress=progress)
        except Exception as raised:  # the generator may know better
            error = raised


async def drive_async(steps: Steps[T], reader: Reader, progress: Any = None) -> T:
    """Do all steps in an event loop: plans are executed by the reader's workers, long work by the loop's executor.

    Args:
        steps: a generator of them.
        reader: executes the plans.
        progress: as in ``Reader.execute``.

    Raises:
        CancelledError: the task was cancelled, and with it what was being executed.
    """
    done: Any = None
    error: Exception | None = None
    with closing(steps):
        while True:
            try:
                step = steps.send(done) if error is None else steps.throw(error)
            except StopIteration as end:
                result: T = end.value
                return result
            done = error = None
            try:
                if isinstance(step, Work):
                    done = await _work(step, reader)
                else:
                    done = await reader.execute_async(step.plan, step.targets, progress=progress)
            except Exception as raised:  # the generator may know better
                error = raised


class _WouldWaitError(BaseException):
    """Something has to be read first. Nobody but ``_work`` is to catch it."""


class _Impatient:
    """A reader that does not read."""

    __slots__ = ("_reader",)

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._reader, name)
        if callable(found) and name != "costs_of":  # options may be asked for
            raise _WouldWaitError
        return found


async def _work(step: Work, reader: Reader) -> Any:
    """Do work of this process: at once, if it is light and nothing has to be read for it."""
    if step.is_light:
        with suppress(_WouldWaitError):
            return step.call(_Impatient(reader))
    return await in_thread(lambda: step.call(reader))


async def in_thread(call: Callable[[], T]) -> T:
    """Do work in a thread of the loop's executor."""
    import asyncio  # late: it takes longer to import than all of this package

    return await asyncio.get_running_loop().run_in_executor(None, call)


async def work(call: Callable[[], T], *, is_light: bool) -> T:
    """Do work of this process: at once, or in a thread of the loop's executor."""
    return call() if is_light else await in_thread(call)
