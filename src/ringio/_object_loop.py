"""An event loop in a thread of its own, for answers that are long.

A long answer comes in many parts. A thread that waits for one is woken for each of them; what an event loop awaits is
put together by obstore's own threads, and the loop is woken once.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

Begin: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


class Loop:
    """Runs coroutines; its thread is started with the first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def start(self, begin: Begin) -> None:
        """Have ``begin()`` run, which raises nothing but CancelledError.

        Raises:
            RuntimeError: the system gives no thread, or it was closed.
            OSError: the system gives no file descriptor.
        """
        with self._lock:
            loop = self._loop
            if self._closed:
                raise RuntimeError("the event loop is closed")
            if loop is None:
                loop = asyncio.SelectorEventLoop()  # whatever the policy of the program is
                thread = threading.Thread(target=self._run, args=(loop,), name="ringio-object-loop", daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    loop.close()
                    raise
                self._loop, self._thread = loop, thread
                if self._closed:  # looked at once more: close() does the same the other way round
                    loop.call_soon_threadsafe(loop.stop)
            loop.call_soon_threadsafe(self._begin, begin)

    def close(self) -> None:
        """Cancel what runs, and let the thread end. Takes no lock: the garbage collector may call it anywhere."""
        self._closed = True
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)

    def wait(self, timeout_s: float) -> None:
        """Wait for the thread to end, after :meth:`close`."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _begin(self, begin: Begin) -> None:
        task = asyncio.get_running_loop().create_task(begin())
        del begin  # what it has begun with may be done long before the task is
        self._tasks.add(task)  # the loop itself does not keep it
        task.add_done_callback(self._tasks.discard)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.run_forever()
        loop.run_until_complete(self._cancel_all())
        loop.close()

    async def _cancel_all(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
