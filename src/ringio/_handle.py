"""The C reader: made, used by many threads at once, and freed when the last of them is done."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from typing import Any, Final

from . import _execute
from ._core import ffi, lib
from ._errors import RingioError

# At the end of the process, this long for reads that are in flight; then the kernel cleans up.
_EXIT_WAIT_S: Final = 2.0
_DRAIN_MS: Final = 100


class Handle:
    """Owns a ``struct ringio_reader``; ``with handle as pointer`` uses it.

    Args:
        options: ``struct ringio_options *``.
    """

    def __init__(self, options: Any) -> None:
        self._pointer = lib.ringio_reader_new(options)
        if self._pointer == ffi.NULL:
            raise MemoryError("out of memory while making a reader")
        self._idle = threading.Condition()
        self._users = 0
        self._closed = False
        _handles.add(self)

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def __enter__(self) -> Any:
        """The pointer, which stays valid inside the ``with``.

        Raises:
            RingioError: the reader is closed.
        """
        with self._idle:
            if self._closed:
                raise RingioError("the reader is closed")
            self._users += 1
        return self._pointer

    def __exit__(self, *_: object) -> None:
        with self._idle:
            self._users -= 1
            if self._closed:
                self._idle.notify_all()

    def close(self, timeout_s: float | None = None) -> bool:
        """Wait for whoever uses it, then free it; returns whether it is freed."""
        with self._idle:
            self._closed = True
            if not self._idle.wait_for(lambda: self._users <= 0, timeout_s):
                return False
            pointer, self._pointer = self._pointer, ffi.NULL
        if pointer == ffi.NULL:
            return True
        while not _execute.drain(pointer, wait_ms=_DRAIN_MS):
            if timeout_s is not None:
                return False  # it is never freed: the process ends
        lib.ringio_reader_free(pointer)
        return True

    def forget_users(self) -> None:
        """For a child after fork(): the threads that used it, and may have held its lock, do not exist here."""
        self._idle = threading.Condition()
        self._users = 0


_handles: weakref.WeakSet[Handle] = weakref.WeakSet()


def _at_exit() -> None:
    # Without this, worker threads would write to arrays while the interpreter takes them down.
    _execute.give_up_all()
    for handle in tuple(_handles):
        handle.close(_EXIT_WAIT_S)


def _after_fork_in_child() -> None:
    for handle in tuple(_handles):
        handle.forget_users()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork_in_child)
