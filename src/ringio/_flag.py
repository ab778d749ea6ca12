"""A flag that is raised once, and that threads can wait for: ``threading.Event`` for who is called at any moment.

The garbage collector may come to run in the midst of anything, and close a coroutine, which cancels its work. An event
has a lock that is held while a thread begins or ends to wait for it. The collector would ask for the same lock in the
same thread, and wait for ever.
"""

from __future__ import annotations

from _thread import LockType, allocate_lock
from contextlib import suppress


class Flag:
    """Raised with :meth:`set`, once and for all. Any thread may call any of it, also in the midst of any of it."""

    __slots__ = ("_is_set", "_waiters")

    def __init__(self) -> None:
        self._is_set = False
        self._waiters: set[LockType] = set()  # taken, one for each thread that waits

    def is_set(self) -> bool:
        """Whether it was raised."""
        return self._is_set

    def set(self) -> None:
        """Raise it."""
        self._is_set = True
        for waiter in self._waiters.copy():
            with suppress(RuntimeError):  # somebody else raises it at the same time
                waiter.release()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for it to be raised; returns whether it is."""
        if self._is_set:
            return True
        waiter = allocate_lock()
        waiter.acquire()
        self._waiters.add(waiter)
        try:
            if not self._is_set:  # looked at once more: set() does the same the other way round
                waiter.acquire(timeout=-1 if timeout_s is None else timeout_s)
        finally:
            self._waiters.discard(waiter)
        return self._is_set
