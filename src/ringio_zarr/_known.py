"""What metadata documents have been found to say, kept while there is room and while they stay as they were."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import OrderedDict
from typing import Any, Final

from ringio.planning import NamedTuple

# A parsed document takes up to ten times the memory of its text: a Python object for each number and name.
_NBYTES_PER_BYTE: Final = 10
_ENTRY_OVERHEAD_BYTES: Final = 2000
# A file that was written just now may be written again within the same tick of its file system's clock, and then looks
# the same. So what is said by younger ones is not kept.
_AGE_MIN_NS: Final = 2_000_000_000

FileState = tuple[int, ...] | None  # device, inode, nbytes, times of modification and change; None: there is no file


class NodeKey(NamedTuple):
    """What is known is found by where it is, and how it was asked for.

    Attributes:
        location: of the node.
        store: tells stores of one root apart.
        reader: that asked for it, with credentials and servers of its own.
        zarr_format: 2, 3, or None for either.
        use_consolidated: as ``ringio_zarr.open`` has it.
        registration_count: of codecs: documents are read by what is registered.
    """

    location: str
    store: str
    reader: weakref.ref[Any] | None
    zarr_format: int | None
    use_consolidated: bool | str | None
    registration_count: int


class Known(NamedTuple):
    """What the documents of a node say.

    Attributes:
        loaded: that.
        files: which were looked for, and how they were before they were read; of other stores none.
        since_s: when that was, by ``time.monotonic()``.
        nbytes: about as much memory is taken.
    """

    loaded: Any
    files: tuple[tuple[str, FileState], ...]
    since_s: float
    nbytes: int

    @classmethod
    def of(cls, loaded: Any, files: dict[str, FileState], nbytes: int, since_s: float) -> Known | None:
        """What was said by so many bytes of text; None: it is not to be kept."""
        now_ns = time.time_ns()
        if any(state is not None and now_ns - state[-1] < _AGE_MIN_NS for state in files.values()):
            return None
        return cls(loaded, tuple(files.items()), since_s, _NBYTES_PER_BYTE * nbytes + _ENTRY_OVERHEAD_BYTES)

    def is_so(self, max_age_s: float | None) -> bool:
        """Whether it is still so: the files are the same, or objects are trusted for as long as that."""
        if self.files:
            return all(file_state(path) == state for path, state in self.files)
        return max_age_s is None or time.monotonic() - self.since_s < max_age_s


def file_state(path: str) -> FileState:
    """How a file is now."""
    try:
        status = os.stat(path)  # noqa: PTH116  # pathlib takes 3 ms to import
    except OSError:
        return None  # whoever reads it then says what is wrong
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


class KnownNodes:
    """What is known, least recently used first. Any number of threads may share it."""

    __slots__ = ("_known", "_lock", "nbytes")

    def __init__(self) -> None:
        self.start_over()

    def start_over(self) -> None:
        """Forget all, whoever holds the lock."""
        self._lock = threading.Lock()
        self._known: OrderedDict[NodeKey, Known] = OrderedDict()
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: NodeKey, max_age_s: float | None) -> Any:
        """What the documents of a node say, if that is known and still so, or None."""
        known = self._known.get(key)
        if known is None:
            return None
        is_so = known.is_so(max_age_s)
        with self._lock:
            if self._known.get(key) is known:
                if is_so:
                    self._known.move_to_end(key)
                else:
                    self._discard(key)
        return known.loaded if is_so else None

    def put(self, key: NodeKey, known: Known, capacity_bytes: int) -> None:
        """Keep this; what was used longest ago makes room."""
        with self._lock:
            self._discard(key)
            if known.nbytes > capacity_bytes:
                return
            self._known[key] = known
            self.nbytes += known.nbytes
            while self.nbytes > capacity_bytes:
                self._discard(next(iter(self._known)))

    def forget_around(self, location: str) -> None:
        """Forget what is said of a node, of all below it, and of the groups above, which may say something of it."""
        here = f"{location.rstrip('/')}/"
        with self._lock:
            for key in list(self._known):
                there = f"{key.location.rstrip('/')}/"
                if there.startswith(here) or here.startswith(there):
                    self._discard(key)

    def _discard(self, key: NodeKey) -> None:
        known = self._known.pop(key, None)
        if known is not None:
            self.nbytes -= known.nbytes
