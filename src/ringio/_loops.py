"""Jobs awaited by event loops: one file descriptor for each loop, watched with ``add_reader``, and no thread.

This is the one module that imports asyncio. It is imported when the first coroutine runs.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final, TypeVar

from . import _execute, _reading, _spans
from ._execute import Bell, Job, Watch
from ._failures import TaskFailure
from ._handle import Handle
from ._plan import BoundPlan
from ._stream import Stream, hand_out

T = TypeVar("T")

# As for the sync calls (_execute): progress is reported so often, and a cancelled read is waited for so long.
_SLICE_S: Final = 0.02
_GRACE_S: Final = 0.06
# What is read at once does not suspend its task. A row of such reads lets others run after so long.
_BREATH_S: Final = 0.001

_numbers: Final = itertools.count()


class LoopBell:
    """The bell of one event loop, and what is to be done when it rings.

    The loop owns it, by the callback that it watches the descriptor with, and so it goes with the loop: when that is
    closed, or collected. Nothing else holds it but the coroutines of that loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.bell = Bell(has_fd=True)
        self._callbacks: dict[int, Callable[[], object]] = {}
        self._breathed = loop.time()
        loop.add_reader(self.bell.fd, self._answer)

    def expect(self, callback: Callable[[], object], token: int | None = None) -> int:
        """A token, or the same once more; the callback is called when the bell rings with it, in the loop's thread."""
        token = next(_numbers) if token is None else token
        self._callbacks[token] = callback
        return token

    def forget(self, token: int) -> None:
        """Whether the bell rings with this token matters no more."""
        self._callbacks.pop(token, None)

    def _answer(self) -> None:
        tokens = self.bell.tokens()
        for token in tokens:
            callback = self._callbacks.pop(token, None)
            if callback is not None:
                callback()
            else:  # it was cancelled
                _execute.drain(None, wait_ms=0)
        self.bell.forget(len(tokens))

    async def breathe(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let other tasks of the loop run, if it has been a while."""
        now = loop.time()
        if now - self._breathed > _BREATH_S:
            self._breathed = now
            await asyncio.sleep(0)


# Weak on both sides: neither a loop nor its bell lives any longer for having been here.
_bells: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[LoopBell]] = weakref.WeakKeyDictionary()


def bell_of(loop: asyncio.AbstractEventLoop) -> LoopBell:
    """The bell of a loop, made at first use. To be called in the loop's thread."""
    known = _bells.get(loop)
    bell = None if known is None else known()
    if bell is None:
        bell = LoopBell(loop)
        _bells[loop] = weakref.ref(bell)
    return bell


def _after_fork_in_child() -> None:
    global _bells
    _bells = weakref.WeakKeyDictionary()  # the bells are the parent's


os.register_at_fork(after_in_child=_after_fork_in_child)


async def run(handle: Handle, bound: BoundPlan, watch: Watch | None) -> list[TaskFailure]:
    """Execute a plan; returns what failed, ordered by task.

    Args:
        handle: of the reader.
        bound: the plan.
        watch: called with the number of requests that are done, now and then, in the loop's thread.

    Raises:
        CancelledError: the task was cancelled. What of the plan had not begun never will. What is in flight has ended,
            or after 60 ms is left to itself; the memory that it uses stays alive until then.
        Others as ``_execute.run``.
    """
    loop = asyncio.get_running_loop()
    bell = bell_of(loop)
    rung: asyncio.Future[None] = loop.create_future()
    token = bell.expect(lambda: _ring(rung))
    job: Job | None = None
    user = object()
    try:
        try:
            job = _execute.start(handle.use(user), bound.struct, bound.keep, bell.bell, token)
        finally:
            handle.users.discard(user)
        if job.is_settled:
            await bell.breathe(loop)
        else:
            await _finish(job, rung, watch)
            job.settle()
        return job.failures()
    except (asyncio.CancelledError, Exception):  # not GeneratorExit: a coroutine that is closed cannot wait
        if job is not None and not job.is_settled:
            job.cancel()
            await _grace(loop, bell, token, job)
        raise
    finally:
        bell.forget(token)
        if job is not None:
            _execute.leave(job)


def _ring(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _finish(job: Job, rung: asyncio.Future[None], watch: Watch | None) -> None:
    if watch is None:
        await rung
        return
    while not rung.done():
        await asyncio.wait((rung,), timeout=_SLICE_S)
        watch(job.progress())


async def _grace(loop: asyncio.AbstractEventLoop, bell: LoopBell, token: int, job: Job) -> None:
    """Wait a little for the reads of a cancelled job that are in flight, as the caller may want its buffer back."""
    if job.settle():
        return
    ended: asyncio.Future[None] = loop.create_future()
    bell.expect(lambda: _ring(ended), token)
    await asyncio.wait((ended,), timeout=_GRACE_S)


async def drive(steps: _reading.Steps[T], execute: Callable[[BoundPlan], Any]) -> T:
    """Do all steps of a read; long work is done by a thread of the loop's executor.

    Args:
        steps: a generator of them.
        execute: gives a coroutine that executes a plan.
    """
    begin_ns = _spans.begin()
    try:
        step, result = _reading.advance(steps)
        while step is not None:
            if isinstance(step, _reading.Work):
                done = await work(step)
            else:
                done = await (execute(step) if isinstance(step, BoundPlan) else _others(step))
            step, result = _reading.advance(steps, done)
    finally:
        steps.close()  # what it has begun itself it gives up now
        _spans.end_task("batch", begin_ns)
    return result  # type: ignore[return-value]  # the generator has returned it


async def work(step: _reading.Work) -> Any:
    """Do work of this process: at once, or in a thread of the loop's executor."""
    if step.is_light():
        return step.do()
    return await asyncio.get_running_loop().run_in_executor(None, step.do)


async def _others(pending: _reading.Pending) -> Any:
    """Wait for what other threads do."""
    loop = asyncio.get_running_loop()
    bell = bell_of(loop)
    rung: asyncio.Future[None] = loop.create_future()
    token = bell.expect(lambda: _ring(rung))
    bell.bell.expect()
    pending.add_done_callback(lambda _: bell.bell.ring(token))
    watch = getattr(pending, "watch", None)
    try:
        while not rung.done():
            await asyncio.wait((rung,), timeout=None if watch is None else _SLICE_S)
            if watch is not None:
                watch()
    except BaseException:
        bell.forget(token)
        pending.cancel()
        raise
    return pending.result()


async def iterate(
    make_stream: Callable[[Bell, Callable[[], int]], Stream], on_error: str
) -> AsyncGenerator[tuple[int, memoryview], None]:
    """Drive a stream in an event loop."""
    loop = asyncio.get_running_loop()
    bell = bell_of(loop)
    rung: deque[int] = deque()
    woken = asyncio.Event()

    def new_token() -> int:
        def callback() -> None:
            rung.append(token)
            woken.set()

        token = bell.expect(callback)
        return token

    stream = make_stream(bell.bell, new_token)
    try:
        while True:
            while (step := stream.next_work()) is not None:
                stream.put(await work(step))
                await bell.breathe(loop)
            if (arrived := stream.next_arrived()) is not None:
                part = arrived.part
                ranges, arrived = hand_out(arrived, on_error), None
                for numbered in ranges:
                    yield numbered
                del ranges  # and with it, unless the consumer has some of it, the memory
                stream.release(part)
                await bell.breathe(loop)
            elif stream.is_over:
                break
            else:
                await woken.wait()
                woken.clear()
                while rung:
                    stream.rung(rung.popleft())
    finally:
        for token in stream.tokens:
            bell.forget(token)
        stream.close()
