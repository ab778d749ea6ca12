"""The C reader: made, used by many threads at once, and freed when the last of them is done."""

from __future__ import annotations

import os
import time
import weakref
from contextlib import suppress
from typing import Any, Final

from . import _execute
from ._core import ffi, lib
from ._errors import RingioError
from ._exit import at_exit

# At the end of the process, this long for reads that are in flight; then the kernel cleans up.
_EXIT_WAIT_S: Final = 2.0
_DRAIN_MS: Final = 100
_POLL_S: Final = 0.002


class Handle:
    """Owns a ``struct ringio_reader``.

    It is used like this, and in no other way::

        user = object()
        try:
            pointer = handle.use(user)
            ...
        finally:
            handle.users.discard(user)

    Python raises what a signal handler raises between any two instructions, so also at the first one of an
    ``__exit__``. A use whose end were not noted because of that would make ``close`` wait for ever. A C function's call
    is not torn apart, and nothing comes between ``finally`` and this one.

    Args:
        options: ``struct ringio_options *``.

    Attributes:
        users: whoever uses the reader now.
    """

    def __init__(self, options: Any) -> None:
        _free_unfreed()
        pointer = lib.ringio_reader_new(options)
        if pointer == ffi.NULL:
            raise MemoryError("out of memory while making a reader")
        self.users: set[object] = set()
        self._owned = [pointer]  # empty once it is freed
        self._closed = False
        _handles.add(self)

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def use(self, user: object) -> Any:
        """Note a user, which keeps the reader from being freed; returns the pointer.

        Raises:
            RingioError: the reader is closed.
        """
        self.users.add(user)
        if self._closed:  # looked at only now: close() does the same the other way round
            raise RingioError("the reader is closed")
        return self._owned[0]

    def close(self, timeout_s: float | None = None) -> bool:
        """Wait for whoever uses it, then free it; returns whether it is freed."""
        self._closed = True
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while self.users:
            if deadline is not None and time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
        for pointer in tuple(self._owned):
            # Those of an event loop too, which may be the one that is kept waiting here: they end without it.
            while not _execute.settle_awaited(pointer):
                if deadline is not None and time.monotonic() >= deadline:
                    return False
                time.sleep(_POLL_S)
            while not _execute.drain(pointer, wait_ms=0 if timeout_s == 0 else _DRAIN_MS):
                if timeout_s is not None:
                    return False
        with suppress(IndexError):  # another thread has freed it
            lib.ringio_reader_free(self._owned.pop())
        return True

    def close_unused(self) -> None:
        """Close it without waiting for anything: the garbage collector calls this, wherever it happens to run."""
        if not self.close(timeout_s=0):
            _unfreed.add(self)

    def forget_users(self) -> None:
        """For a child after fork(): the threads that used it do not exist here."""
        self.users = set()


# Of readers that were collected while cancelled reads of theirs were in flight.
_unfreed: set[Handle] = set()


def _free_unfreed() -> None:
    for handle in tuple(_unfreed):
        if handle.close(timeout_s=0):
            _unfreed.discard(handle)


_handles: weakref.WeakSet[Handle] = weakref.WeakSet()


def _at_exit() -> None:
    # Without this, worker threads would write to arrays while the interpreter takes them down.
    _execute.give_up_all()
    for handle in tuple(_handles):
        handle.close(_EXIT_WAIT_S)


def _after_fork_in_child() -> None:
    for handle in tuple(_handles):
        handle.forget_users()


at_exit(_at_exit)
os.register_at_fork(after_in_child=_after_fork_in_child)
