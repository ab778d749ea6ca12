"""Threads that wait for stores of objects: as many as there are requests to be in flight, and no more.

A thread asks a store, waits, puts what came in its place, and takes the next unit of work of whichever batch is due.
Threads with obstore's blocking calls take a half to a third of the processor time of its asyncio ones, while answers
are short. Long ones are awaited in an event loop (``_object_loop``), and a thread only puts them in their places.

They are daemon threads, because a call of obstore cannot be stopped: others would keep the process from ending for as
long as a server that has gone silent is waited for. At the end of the process they are given a moment, so that none of
them comes back from its call while the interpreter is taken down.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, Protocol, TypeAlias

from . import _spans
from ._exit import at_exit
from ._named import NamedTuple
from ._object_loop import Loop

_IDLE_S: Final = 5.0
_EXIT_WAIT_S: Final = 2.0


Run: TypeAlias = Callable[[], None]
Ask: TypeAlias = Callable[[], Coroutine[Any, Any, "Run | None"]]


class Unit(NamedTuple):
    """What one thread does in one go.

    Attributes:
        run: does it; raises nothing.
        request_count: how many requests are in flight meanwhile, at most.
        nbytes: how much memory the answers take.
        ask: awaited in the event loop before, gives what to run then; None: nothing is left to be done.
    """

    run: Run
    request_count: int
    nbytes: int
    ask: Ask | None = None


class Source(Protocol):
    """Whoever has units to be run."""

    def next_unit(self) -> Unit | None:
        """The next one; None: there is none now. Called with the pool's lock held."""


class Pool:
    """Runs units of all sources in turn, so that a small batch does not wait for a large one.

    Args:
        requests_in_flight: most requests in flight at one time.
        memory_limit_bytes: most bytes of answers at one time; a unit that has more runs alone.

    Attributes:
        peak_in_flight: most requests that were in flight at one time.
    """

    def __init__(self, requests_in_flight: int, memory_limit_bytes: int) -> None:
        self._request_max = requests_in_flight
        self._nbytes_max = memory_limit_bytes
        # Taken by "with", and not through the condition: a signal handler's exception cannot tear that apart.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._sources: deque[Source] = deque()
        self._held: Unit | None = None  # it is due, but there is no room for it
        self._answered: deque[Unit] = deque()  # they are in flight still, and only have to be run
        self._loop = Loop()
        self._request_count = 0
        self._nbytes = 0
        self._thread_count = 0
        self._idle_count = 0
        self._closed = False
        self.peak_in_flight = 0
        _pools.add(self)

    def add(self, source: Source) -> None:
        """Run what a source has now; to be called again when it has more.

        Raises:
            RuntimeError, MemoryError: the system gives no thread.
        """
        with self._lock:
            if source not in self._sources:
                self._sources.append(source)
            self._changed.notify()
            is_short = self._idle_count == 0
        if is_short:
            self._start_thread()

    def close(self) -> None:
        """Let the threads end, each after what it is doing."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()
        self._loop.close()

    def close_unused(self) -> None:
        """The same without a lock: for the garbage collector, which may come to run in a thread that holds it."""
        self._closed = True  # those that wait for work see it when they have waited long enough
        self._loop.close()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the threads to end; returns whether they have."""
        deadline = time.monotonic() + timeout_s
        with self._lock:
            while self._thread_count and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            is_empty = self._thread_count == 0
        self._loop.wait(max(0.0, deadline - time.monotonic()))
        return is_empty

    def forget(self) -> None:
        """For a child after fork(): the threads are the parent's."""
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._sources.clear()
        self._answered.clear()
        self._loop = Loop()
        self._held = None
        self._request_count = self._nbytes = self._thread_count = self._idle_count = 0

    def _start_thread(self) -> None:
        if self._closed or self._thread_count >= self._request_max:
            return
        try:
            threading.Thread(target=self._work, name="ringio-object", daemon=True).start()
        except (RuntimeError, MemoryError):
            if not self._thread_count:  # else those that are there will do it
                raise

    def _work(self) -> None:
        # Counted here and not where it is started: there an exception of a signal handler may come in between.
        with self._lock:
            self._thread_count += 1
        unit: Unit | None = None
        while True:
            with self._lock:
                if unit is not None:
                    self._release(unit)
                unit = self._claim()
                if unit is None:
                    self._thread_count -= 1
                    self._changed.notify_all()
                    return
                # What is awaited keeps this thread for no time: it goes on itself.
                is_busy = bool(self._answered) or (unit.ask is None and bool(self._sources or self._held))
                is_short = is_busy and self._idle_count == 0
                if is_busy and not is_short:
                    self._changed.notify()
            if is_short:
                self._start_thread()
            if unit.ask is not None and self._await(unit):
                unit = None
                continue
            unit.run()
            # What it has worked on must not stay alive while this thread waits.
            unit = Unit(_nothing, unit.request_count, unit.nbytes)

    def _release(self, unit: Unit) -> None:
        self._request_count -= unit.request_count
        self._nbytes -= unit.nbytes
        _spans.set_in_flight(self, self._nbytes)
        if self._held is not None:
            self._changed.notify()

    def _await(self, unit: Unit) -> bool:
        """Leave a unit to the event loop; returns whether there is one."""
        try:
            self._loop.start(partial(self._ask, unit))
        except Exception:  # there is no thread or descriptor for it: this thread asks, and waits
            return False
        return True

    async def _ask(self, unit: Unit) -> None:
        """In the event loop: one unit, and those that come after it."""
        following: Unit | None = unit
        del unit  # here, and below: a batch that is done is not to be kept by those behind it
        while following is not None and following.ask is not None:
            run = await following.ask()
            with self._lock:
                if run is None:
                    self._release(following)
                else:
                    self._answered.append(Unit(run, following.request_count, following.nbytes))
                run = following = None
                following = self._take()
                if following is not None and following.ask is None:
                    self._answered.append(following)
                    following = None
                is_short = bool(self._answered) and self._idle_count == 0
                if self._answered:
                    self._changed.notify()
            if is_short:
                try:
                    self._start_thread()
                except (RuntimeError, MemoryError):
                    following = self._run_here(following)

    def _run_here(self, following: Unit | None) -> Unit | None:
        """Run all that threads were to run, where there are none; returns the next unit that is to be awaited."""
        while True:
            with self._lock:
                if self._answered:
                    unit = self._answered.popleft()
                elif following is not None:
                    return following
                elif (taken := self._take()) is None or taken.ask is not None:
                    return taken
                else:
                    unit = taken
            unit.run()
            with self._lock:
                self._release(unit)

    def _claim(self) -> Unit | None:
        """The next unit that there is room for; None: this thread is to end."""
        while not self._closed:
            if self._answered:
                return self._answered.popleft()
            if (unit := self._take()) is not None:
                return unit
            self._idle_count += 1
            try:
                woken = self._changed.wait(_IDLE_S)
            finally:
                self._idle_count -= 1
            if not woken and not self._sources and self._held is None and not self._answered:
                return None
        return None

    def _take(self) -> Unit | None:
        """The next unit that there is room for now; from here on it is in flight."""
        unit = self._next_fitting()
        if unit is not None:
            self._request_count += unit.request_count
            self._nbytes += unit.nbytes
            _spans.set_in_flight(self, self._nbytes)
            self.peak_in_flight = max(self.peak_in_flight, self._request_count)
        return unit

    def _next_fitting(self) -> Unit | None:
        unit, self._held = self._held, None
        while unit is None and self._sources:
            source = self._sources.popleft()
            unit = source.next_unit()
            if unit is not None:
                self._sources.append(source)
        if unit is None or self._request_count == 0:
            return unit
        if (
            self._request_count + unit.request_count <= self._request_max
            and self._nbytes + unit.nbytes <= self._nbytes_max
        ):
            return unit
        self._held = unit
        return None


def _nothing() -> None:
    pass


_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


def _at_exit() -> None:
    pools = tuple(_pools)
    for pool in pools:
        pool.close()
    deadline = time.monotonic() + _EXIT_WAIT_S
    for pool in pools:
        pool.wait(max(0.0, deadline - time.monotonic()))


def _after_fork_in_child() -> None:
    for pool in tuple(_pools):
        pool.forget()


at_exit(_at_exit)
os.register_at_fork(after_in_child=_after_fork_in_child)
