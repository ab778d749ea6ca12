"""The reads that event loops await: methods of ``Reader``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import Any

from . import _reading
from ._buffers import Buffers
from ._failures import TaskFailure
from ._handle import Handle
from ._object_finder import LazyObjects
from ._options import OnError, Options
from ._plan import BoundPlan, Plan
from ._progress import Progress, Watcher, check_progress
from ._ranges import Ranges, RangeTuple
from ._states import ObjectState


class AsyncReads:
    """Coroutines that read; they run in an asyncio or uvloop event loop.

    The loop watches one file descriptor, whatever number of reads is awaited, and the workers of the reader do the
    rest: there is no thread for a call. All reads share the workers in turns. Small reads of open files whose bytes are
    in the page cache are done at once.
    """

    _handle: Handle
    _options: Options
    _objects: LazyObjects
    workers: int
    memory_limit_bytes: int

    async def read_ranges_async(
        self,
        ranges: Ranges | Iterable[RangeTuple],
        *,
        out: object = None,
        on_error: OnError = "raise",
        allow_short: bool = False,
        progress: Progress = None,
        store: object = None,
    ) -> Buffers:
        """:meth:`Reader.read_ranges` for an event loop: same arguments, same result, same errors.

        More than 4096 ranges, and ranges that need the size of their file, are prepared by a thread of the loop's
        executor, so that the loop is not kept waiting. The ``progress`` function is called in the loop's thread.

        When the task is cancelled, reads in flight are waited for at most 60 ms. Until the reader is done with them,
        which is after 60 ms most often but not always, they may still write to ``out``; its memory stays alive.
        """
        steps = _reading.read(
            self._options,
            ranges,
            out=out,
            on_error=on_error,
            allow_short=allow_short,
            progress=progress,
            objects=self._objects.finder(store),
        )
        return await self._drive_async(steps, progress)

    async def execute_async(
        self,
        plan: Plan,
        out: object | Sequence[object],
        *,
        on_error: OnError = "raise",
        progress: Progress = None,
        store: object = None,
    ) -> Any:
        """:meth:`Reader.execute` for an event loop: same arguments, same result, same errors.

        Chunks are decoded by the workers, as there. Cancelling is as for :meth:`read_ranges_async`.
        """
        steps = self._execute_steps(plan, out, on_error, progress, store)
        return await self._drive_async(steps, progress)

    def _execute_steps(self, plan: Plan, out: object, on_error: OnError, progress: Progress, store: object) -> Any:
        """The steps of ``execute`` and ``execute_async``."""
        objects = self._objects.finder(store)
        if plan.python_chains is None:
            return _reading.execute(plan, out, on_error=on_error, progress=progress, objects=objects)
        from . import _python_plan  # late: few plans need it

        return _python_plan.execute(
            self._options,
            plan,
            out,
            workers=self.workers,
            memory_limit_bytes=self.memory_limit_bytes,
            on_error=on_error,
            progress=progress,
            objects=objects,
        )

    async def look_up_async(
        self, paths: Sequence[str], *, suffix_nbytes: int | None = 0, limit_nbytes: int = 1 << 62, store: object = None
    ) -> list[ObjectState | Exception]:
        """:meth:`Reader.look_up` for an event loop: same arguments, same result."""
        from ._looking import look_up  # late: of files nobody asks

        steps = look_up(self._objects, paths, suffix_nbytes=suffix_nbytes, limit_nbytes=limit_nbytes, store=store)
        return await self._drive_async(steps, None)

    async def _drive_async(self, steps: _reading.Steps[_reading.T], progress: Progress) -> _reading.T:
        from . import _loops  # late: asyncio takes longer to import than all of this package

        wanted = check_progress(progress)

        async def execute(bound: BoundPlan) -> list[TaskFailure]:
            watcher = None if wanted is False or bound.is_part else Watcher(wanted, bound.plan.request_nbytes())
            with watcher or nullcontext():
                return await _loops.run(self._handle, bound, watcher)

        return await _loops.drive(steps, execute)
