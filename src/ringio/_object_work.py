"""Work on objects that is spread over the threads of a pool: started, waited for, stopped; tried again where it fails.

:class:`Lookup` finds out how large objects are.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, Generic, TypeVar

from ._errors import STORE_FAILED, RingioError
from ._exit import at_exit
from ._flag import Flag
from ._named import NamedTuple
from ._object_pool import Ask, Pool, Run, Unit
from ._object_store import Answer, Store, Version
from ._store_errors import CHANGED, PAST_THE_END, Problem, delay_s, sort_out
from ._stores import Place, is_all_of

T = TypeVar("T")

# Ctrl-C is promised to stop a batch within 100 ms.
_GRACE_S: Final = 0.06


_SLICE_S: Final = 0.02
_DOCUMENT_NBYTES: Final = 64 << 10  # of an object that is asked for as a whole, as a guess
# After so many answers without the range that was asked for, and none with, a store is asked for no more in this batch.
# It is not the first that decides: some servers compress some objects.
_RANGELESS_MAX: Final = 8
_STATES_MAX: Final = 2  # of an object that is replaced while it is read: who does that all the time has no state
CHANGED_TEXT: Final = "the object changed while it was read"
_exiting: list[bool] = []  # has something in it when the process ends: whoever waits must give it up then
at_exit(lambda: _exiting.append(True))


class CutShortError(Exception):
    """An answer that has fewer bytes than it should have."""


class ObjectChangedError(Exception):
    """An object that was replaced while it was read."""


class Work(Generic[T]):
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

    def result(self) -> T:
        """What came out of it, when it is done, which is waited for.

        Raises:
            RingioError: it was cancelled.
        """
        raise NotImplementedError

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

    def _is_all_of(self, store: Store) -> bool:
        """Whether this store is the only one that is asked, and has answered nothing."""
        raise NotImplementedError

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


class Found(NamedTuple):
    """What a lookup found out about an object.

    Attributes:
        version: its state; None: see ``problem``.
        problem: why it is not known.
        tail: its last bytes, where these came along.
    """

    version: Version | None
    problem: Problem | None
    tail: Answer | None = None


class Lookup(Work[list[Found]]):
    """Sizes of objects.

    Args:
        pool: whose threads ask.
        places: of the objects.
        suffixes: for each how many bytes from its end are wanted, and nothing else of it; 0: none, or more than that;
            None: all of it.
        limit_nbytes: of objects that have more, of which all is wanted, nothing is.
    """

    def __init__(
        self,
        pool: Pool,
        places: Sequence[Place | Problem],
        suffixes: Sequence[int | None],
        limit_nbytes: int = 1 << 62,
    ) -> None:
        super().__init__(pool, len(places))
        self._places = places
        self._suffixes = suffixes
        self._limit_nbytes = limit_nbytes
        self._found: list[Found] = [Found(None, None)] * len(places)
        self._units.append(self._all())

    def result(self) -> list[Found]:
        """What was found, for each place."""
        self._check()
        if self._ended is not None:
            return [Found(None, self._ended)] * len(self._places)
        return self._found

    def _is_all_of(self, store: Store) -> bool:
        return is_all_of(store, self._places) and all(found.version is None for found in self._found)

    def _all(self) -> Iterator[Unit]:
        for i in range(len(self._places)):
            nbytes = self._suffixes[i]
            nbytes = _DOCUMENT_NBYTES if nbytes is None else nbytes
            yield Unit(lambda i=i: self._look_up(i), 1, nbytes)  # type: ignore[misc]

    def _look_up(self, i: int) -> None:
        place = self._places[i]
        if isinstance(place, Problem):
            self._found[i] = Found(None, place)
        else:
            found = None
            nbytes = self._suffixes[i]
            if nbytes is None:
                found = self._ask_for_all(place)
            elif nbytes and place.store.has_versions:
                found = self._ask_for_suffix(place, nbytes)
            self._found[i] = found or self._ask_for_head(place)
        self._finish_steps(1)

    def _ask_for_all(self, place: Place) -> Found:
        answers: list[Answer] = []
        store, key = place

        def ask() -> None:
            limit_nbytes = self._limit_nbytes
            get_all = store.get_all if store.gives_all else partial(_get_all_between_heads, store)
            answer = get_all(key, limit_nbytes)
            if answer.version.nbytes <= limit_nbytes:
                check_nbytes(answer.buffer, answer.version.nbytes)
            answers.append(answer)

        problem = self._try(store, ask)
        if problem is not None:
            return Found(None, problem)
        version = answers[-1].version
        return Found(version, None, answers[-1] if version.nbytes <= self._limit_nbytes else None)

    def _ask_for_suffix(self, place: Place, nbytes: int) -> Found | None:
        answers: list[Answer] = []

        def ask() -> None:
            answer = place.store.get_suffix(place.key, nbytes)
            check_nbytes(answer.buffer, min(nbytes, answer.version.nbytes))
            answers.append(answer)

        problem = self._try(place.store, ask, needs_range=True)
        if problem is None:
            return Found(answers[0].version, None, answers[0])
        if problem.is_rangeless:  # perhaps it only has no suffixes
            return self._ask_for_byte(place)
        # What has no suffixes (Azure), or no bytes, is asked for its size instead.
        return Found(None, problem) if problem.is_final else None

    def _ask_for_byte(self, place: Place) -> Found | None:
        """The size, of a server that may not give ranges."""
        versions: list[Version] = []
        problem = self._try_range(place.store, lambda: versions.append(place.store.get(place.key, 0, 1).version))
        if problem is not None:
            return Found(None, problem) if problem.is_rangeless else None
        return Found(versions[0], None)

    def _ask_for_head(self, place: Place) -> Found:
        return ask_for_head(self._try, place)


def _get_all_between_heads(store: Store, key: str, limit_nbytes: int) -> Answer:
    """All of an object, of a store whose answers say nothing of its state; no bytes where they are more than the limit.

    Raises:
        ObjectChangedError: it was replaced meanwhile, each time.
    """
    before = store.head(key)
    if before.nbytes > limit_nbytes:
        return Answer(b"", 0, before)
    for _ in range(_STATES_MAX):
        buffer = store.get_many(key, [0], [before.nbytes])[0] if before.nbytes else b""
        after = store.head(key)
        if after.is_same(before):
            return Answer(buffer, 0, before)
        if after.nbytes > limit_nbytes:
            return Answer(b"", 0, after)
        before = after
    raise ObjectChangedError(CHANGED_TEXT)


def ask_for_head(attempt: Callable[[Store, Callable[[], object]], Problem | None], place: Place) -> Found:
    """The size of an object.

    Args:
        attempt: asks, and again where that fails.
        place: of the object.
    """
    if not place.store.is_sized:
        return Found(None, sort_out(TypeError("the store has no head(path), so the size of the object is not known")))
    versions: list[Version] = []
    problem = attempt(place.store, lambda: versions.append(place.store.head(place.key)))
    if problem is not None and not problem.is_final and not problem.may_pass and place.store.has_versions:
        # Servers that know no HEAD, and addresses that are signed for GET alone.
        again = attempt(place.store, lambda: versions.append(place.store.get(place.key, 0, 1).version))
        if again is None:
            problem = None
        elif again.status == PAST_THE_END:
            return Found(Version(0, None, None, None), None)
    return Found(versions[0] if versions else None, problem)


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
