"""Whether obstore can still be used in this process, or was used by a parent of it.

obstore has threads of its own, which a child after ``fork()`` does not have; its calls wait for them, and never return.
There is no way to start it anew.
"""

from __future__ import annotations

import os
import sys
from io import FileIO
from typing import Final

from ._errors import RingioError

_EXTENSION: Final = "obstore._obstore"


class _State:
    def __init__(self) -> None:
        self.had_threads = False
        self.is_lost = False


_state = _State()


def check() -> None:
    """Before a call of obstore.

    Raises:
        RingioError: it cannot be used any more.
    """
    if _state.is_lost:
        raise RingioError(
            "objects cannot be read here: the process forked when obstore, which reads them, was in use, and its "
            "threads are the parent's. Start workers with 'spawn' or 'forkserver' (multiprocessing.set_start_method, "
            "DataLoader(multiprocessing_context=...)), or read no URL before the fork"
        )


def _before() -> None:
    # Whoever imported it may have used it, not only we.
    _state.had_threads = _EXTENSION in sys.modules and _are_there_threads()


def _are_there_threads() -> bool:
    try:
        with os.scandir("/proc/self/task") as threads:  # pathlib takes 3 ms to import
            return any(FileIO(f"{thread.path}/comm").read().startswith(b"tokio") for thread in threads)
    except OSError:  # no Linux, or a thread that has ended
        return True


def _after_in_child() -> None:
    _state.is_lost = _state.is_lost or _state.had_threads


os.register_at_fork(before=_before, after_in_child=_after_in_child)
