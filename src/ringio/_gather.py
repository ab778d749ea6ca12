"""Reads that coroutines ask for one by one, gathered into batches: all of one tick of the event loop are one batch."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from ._buffers import Buffers
from ._ranges import RangeTuple

ReadBatch: TypeAlias = Callable[[list[RangeTuple]], Awaitable[Buffers]]


class Gatherer:
    """Gathers the reads of each event loop.

    Args:
        read_batch: reads ranges and gives an exception in the place of each that failed.
    """

    def __init__(self, read_batch: ReadBatch) -> None:
        self._read_batch = read_batch
        self._waiting: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Batch] = weakref.WeakKeyDictionary()

    async def read(self, wanted: RangeTuple) -> memoryview:
        """The bytes of a range, which is read together with those that others ask for now."""
        loop = asyncio.get_running_loop()
        batch = self._waiting.get(loop)
        if batch is None:
            batch = self._waiting[loop] = _Batch()
            # Behind all coroutines that are ready to run now, each of which may have a read to add.
            loop.call_soon(self._start, loop)
        future: asyncio.Future[memoryview] = loop.create_future()
        batch.add(wanted, future)
        return await future

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        batch = self._waiting.pop(loop)
        batch.task = loop.create_task(batch.run(self._read_batch))


class _Batch:
    """The reads of one tick, and the task that does them."""

    def __init__(self) -> None:
        self.ranges: list[RangeTuple] = []
        self.futures: list[asyncio.Future[memoryview]] = []
        self.task: asyncio.Task[None] | None = None
        self._wanted = 0

    def add(self, wanted: RangeTuple, future: asyncio.Future[memoryview]) -> None:
        self.ranges.append(wanted)
        self.futures.append(future)
        self._wanted += 1
        future.add_done_callback(self._done)

    def _done(self, _future: asyncio.Future[memoryview]) -> None:
        self._wanted -= 1
        if self._wanted == 0 and self.task is not None:
            self.task.cancel()  # does nothing to a task that has finished: nobody waits for the others any more

    async def run(self, read_batch: ReadBatch) -> None:
        try:
            buffers = await read_batch(self.ranges)
        except asyncio.CancelledError:
            for future in self.futures:
                future.cancel()
            raise
        except Exception as error:
            for future in self.futures:
                if not future.done():
                    future.set_exception(error)
            return
        for i, future in enumerate(self.futures):
            if future.done():
                continue
            if i in buffers.errors:
                future.set_exception(buffers.errors[i])
            else:
                future.set_result(buffers[i])
