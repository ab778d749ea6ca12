"""Work on objects, spread over the threads of a pool: started, waited for, stopped; tried again where it fails."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Final, Generic, TypeVar

from ._errors import STORE_FAILED, RingioError
from ._exit import at_exit
from ._flag import Flag
from ._object_pool import Ask, Pool, Run, Unit
from ._object_store import Answer, Store
from ._store_errors import CHANGED, Problem, delay_s, sort_out

T = TypeVar("T")

# Ctrl-C is promised to stop a batch within 100 ms.
_GRACE_S: Final = 0.06
_SLICE_S: Final = 0.02
# After so many answers without the range that was asked for, and none with, a store is asked for no more ranges in this
# batch. It is not the first that decides: some servers compress some objects.
_RANGELESS_MAX: Final = 8
CHANGED_TEXT: Final = "the object changed while it was read"
_exiting: list[bool] = []  # has something in it when the process ends: whoever waits must give it up then
at_exit(lambda: _exiting.append(True))


class CutShortError(Exception):
    """An answer that has fewer bytes than it should have."""


class ObjectChangedError(Exception):
    """An object that was replaced while it was read."""


class Work(ABC, Generic[T]):
    """Units of work, and when they are all done.

    It is made, given units with ``_add``, started, and is done when as many steps were finished as were announced.

    Attributes:
        retry_count: how often a request was tried again.
        watch: called now and then by whoever waits for it; None: nothing is.
    """

    def __init__(self, pool: Pool, step_count: int) -> None:
        self._pool = pool
        # Reentrant, as the garbage collector may close a coroutine, and cancel its work, in the midst of anything.
        self._lock = threading.RLock()
        self._units: deque[Iterator[Unit]] = deque()
        self._left_count = step_count
        self._is_done = False  # of this the lock is taken; the flag follows
        self._finished = Flag()
        self._stopped = Flag()
        self._callbacks: list[Callable[[Work[T]], object]] = []
        self._busy: set[object] = set()
        self._error: BaseException | None = None
        self._rangeless: dict[Store, list[Problem]] = {}  # what came instead of ranges, since the last range
        self._ended: Problem | None = None  # of the one store that all of it is of: it was not asked to the end
        self.retry_count = 0
        self.watch: Callable[[], object] | None = None

    # ------------------------------------------------------------------------------------------------ of the caller

    def start(self) -> None:
        """Begin; returns at once."""
        if self._left_count == 0:
            self._finish()
        else:
            self._pool.add(self)

    def add_done_callback(self, callback: Callable[[Work[T]], object]) -> None:
        """Have ``callback(self)`` called when all is done, or cancelled: by some thread, or here if it is already."""
        with self._lock:
            if not self._is_done:
                self._callbacks.append(callback)
                return
        callback(self)

    def done(self) -> bool:
        """Whether all is done, or was cancelled."""
        return self._is_done

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for it to be done; returns whether it is."""
        return self._finished.wait(timeout_s)

    def cancel(self) -> None:
        """Ask for no more, and wait a moment for those who are writing to the target: nobody begins to after this.

        Requests in flight are left to themselves; what they bring is dropped. What is done stays so.
        """
        if self._is_done:
            return
        self._stopped.set()
        for _ in range(int(_GRACE_S / 0.001)):
            if not self._busy:
                break
            self._finished.wait(0.001)
        self._finish()

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._stopped.is_set()

    @abstractmethod
    def result(self) -> T:
        """What came out of it, when it is done, which is waited for.

        Raises:
            RingioError: it was cancelled.
        """

    def _check(self) -> None:
        while not self._finished.wait(_SLICE_S):
            if self.watch is not None:
                self.watch()
            if _exiting:
                raise RingioError("the process ends")
        if self._stopped.is_set() and self._ended is None:
            raise RingioError("it was cancelled")
        if self._error is not None:
            raise self._error

    # ---------------------------------------------------------------------------------------------------- of threads

    def next_unit(self) -> Unit | None:
        """The next unit for the pool; None: there is none now."""
        while not self._stopped.is_set():
            try:
                units = self._units[0]
            except IndexError:
                break
            unit: Unit | None
            try:
                unit = next(units, None)
            except BaseException as error:  # memory has run out, say; said by a unit, as the pool's lock is held here
                unit = Unit(partial(_fail, error), 0, 0)
            if unit is not None:
                ask = None if unit.ask is None else partial(self._ask, unit.ask)
                return unit._replace(run=partial(self._run, unit.run), ask=ask)
            with suppress(ValueError, IndexError):  # others may have put units in front meanwhile, or cleared it
                self._units.remove(units)
        return None

    def _run(self, run: Callable[[], None]) -> None:
        if self._stopped.is_set():
            return
        try:
            run()
        except BaseException as error:  # memory has run out, say: nobody must wait for ever for what this was to do
            self._error = error
            self._finish()

    async def _ask(self, ask: Ask) -> Run | None:
        run: Run | None = None
        if self._stopped.is_set():
            return None
        try:
            run = await ask()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._error = error
            self._finish()
        return None if run is None else partial(self._run, run)

    def _add(self, units: Iterator[Unit]) -> None:
        """More units, from a thread of the pool: before this work goes on with those that it has."""
        self._units.appendleft(units)
        self._pool.add(self)

    def _finish_steps(self, count: int) -> None:
        with self._lock:
            self._left_count -= count
            is_last = self._left_count == 0
        if is_last and not self._stopped.is_set():
            self._finish()

    def _finish(self) -> None:
        with self._lock:
            if self._is_done:
                return
            self._is_done = True
            self._units.clear()
            callbacks, self._callbacks = self._callbacks, []
        self._finished.set()
        for callback in callbacks:
            callback(self)

    def _try_range(self, store: Store, ask: Callable[[], object], failed: Problem | None = None) -> Problem | None:
        """The same as :meth:`_try`, for what only a server that knows byte ranges can answer."""
        known = self._rangeless.get(store, ())
        if len(known) >= _RANGELESS_MAX:
            return known[0]
        problem = self._try(store, ask, failed, needs_range=True)
        if problem is None:
            self._rangeless.pop(store, None)
        elif problem.is_rangeless:
            refusals = self._rangeless.setdefault(store, [])
            refusals.append(problem)
            if len(refusals) == _RANGELESS_MAX and self._is_all_of(store) and not self._stopped.is_set():
                # Others may be in flight for many seconds: what takes no connection is given up late.
                self._ended = problem
                self.cancel()
        return problem

    @abstractmethod
    def _is_all_of(self, store: Store) -> bool:
        """Whether this store is the only one that is asked, and has answered nothing."""

    def _is_rangeless(self, store: Store) -> bool:
        """Whether there is no use in asking a store for more ranges."""
        return len(self._rangeless.get(store, ())) >= _RANGELESS_MAX

    def _try(
        self, store: Store, ask: Callable[[], object], failed: Problem | None = None, *, needs_range: bool = False
    ) -> Problem | None:
        """Ask a store until it answers; returns what is wrong where it does not.

        Args:
            store: that is asked.
            ask: asks it.
            failed: what was wrong with the first try, where that was made already.
            needs_range: a server without byte ranges cannot answer.
        """
        attempt = 0
        while True:
            problem, failed = failed, None
            if problem is None:
                try:
                    ask()
                    return None
                except BaseException as error:  # also the panics of obstore, which are no Exception
                    problem = problem_of(error)
            attempt += 1
            if needs_range and problem.may_pass and (known := self._rangeless.get(store)):
                # Whole objects that nobody takes: their connections are closed, and requests are lost with them.
                return known[0]
            if not problem.may_pass or attempt > store.retries or self._stopped.is_set():
                break
            with self._lock:
                self.retry_count += 1
            if self._stopped.wait(delay_s(attempt)):
                break
        return problem if attempt == 1 else problem._replace(text=f"{problem.text}, in {attempt} tries")


def _fail(error: BaseException) -> None:
    raise error


def problem_of(error: BaseException) -> Problem:
    """What is wrong, of an exception that came while a store was asked."""
    if isinstance(error, CutShortError):
        return Problem(STORE_FAILED, str(error), may_pass=True)
    if isinstance(error, ObjectChangedError):
        return Problem(CHANGED, str(error))
    return sort_out(error)


def check_answer(answer: Answer, start: int, end: int | None) -> None:
    """Whether an answer has the bytes from ``start`` on, up to ``end`` or to the end of the object.

    Raises:
        CutShortError: it has not.
    """
    size = answer.version.nbytes
    check_nbytes(answer.buffer, (size if end is None else min(size, end)) - start)


def check_nbytes(buffer: object, nbytes: int, *, may_be_short: bool = False) -> None:
    """Whether an answer is as long as it should be.

    Raises:
        CutShortError: it is not.
    """
    with memoryview(buffer) as view:  # type: ignore[arg-type]
        if view.nbytes > nbytes or (view.nbytes < nbytes and not may_be_short):
            raise CutShortError(f"the answer has {view.nbytes} bytes, {nbytes} were due")


def emptied(items: deque[T]) -> Iterator[T]:
    """Takes items out, one by one; other threads may do the same."""
    while True:
        try:
            item = items.popleft()
        except IndexError:
            return
        yield item
