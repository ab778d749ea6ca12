"""The shard indexes that have been read, kept while there is room and while their files stay the same."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

DEFAULT_CAPACITY_BYTES: Final = 64 << 20
_ENTRY_OVERHEAD_BYTES: Final = 600  # key, path, array object: what a small index costs besides its numbers


class IndexKey(NamedTuple):
    """What a shard index is found by.

    Attributes:
        path: of the file.
        offset: where in the file the shard starts; 0 unless it is a shard in a shard.
        nbytes: of the shard.
        layout: everything in the metadata that says how the index is read. The metadata may be rewritten.
    """

    path: str
    offset: int
    nbytes: int
    layout: str


class ShardIndex(NamedTuple):
    """A decoded shard index.

    Attributes:
        identity: of the file that it was read from, as the bytes of a ``ringio.planning.IDENTITY``.
        entries: offset and nbytes of each inner chunk, u64, shape (entry_count, 2).
        address: of the entries.
    """

    identity: bytes
    entries: npt.NDArray[np.uint64]
    address: int

    @classmethod
    def of(cls, identity: bytes, entries: npt.NDArray[np.uint64]) -> ShardIndex:
        """The index with these entries, C-contiguous."""
        return cls(identity, entries, entries.__array_interface__["data"][0])


class ShardIndexCache:
    """Least recently used shard indexes, bounded by their bytes. Any number of threads and arrays may share one.

    Args:
        capacity_bytes: of all indexes together; 0 keeps none.
    """

    __slots__ = ("__weakref__", "_indexes", "_lock", "_nbytes", "capacity_bytes")

    def __init__(self, capacity_bytes: int = DEFAULT_CAPACITY_BYTES) -> None:
        if capacity_bytes < 0:
            raise ValueError(f"a shard index cache of {capacity_bytes} bytes")
        self.capacity_bytes = capacity_bytes
        self._indexes: OrderedDict[IndexKey, ShardIndex] = OrderedDict()
        self._nbytes = 0
        self._lock = threading.Lock()
        _caches.add(self)

    @property
    def nbytes(self) -> int:
        """How many bytes are kept."""
        return self._nbytes

    def __len__(self) -> int:
        return len(self._indexes)

    def get(self, key: IndexKey) -> ShardIndex | None:
        """The index of a shard, whatever state of the file it was read from; None where it is not here."""
        with self._lock:
            index = self._indexes.get(key)
            if index is not None:
                self._indexes.move_to_end(key)
        return index

    def get_many(self, wanted: Iterable[tuple[IndexKey, bytes]]) -> list[ShardIndex | None]:
        """The indexes of some shards; None where it is not here, or was read from another state of the file.

        Args:
            wanted: keys, each with the identity of its file as it is now.
        """
        found: list[ShardIndex | None] = []
        with self._lock:
            for key, identity in wanted:
                index = self._indexes.get(key)
                if index is not None:
                    if index.identity == identity:
                        self._indexes.move_to_end(key)
                    else:
                        self._discard(key)
                        index = None
                found.append(index)
        return found

    def put_many(self, items: Iterable[tuple[IndexKey, ShardIndex]]) -> None:
        """Keep these indexes; the ones used longest ago make room."""
        with self._lock:
            for key, index in items:
                self._discard(key)
                nbytes = index.entries.nbytes + _ENTRY_OVERHEAD_BYTES
                if nbytes > self.capacity_bytes:
                    continue  # it would drive out all others, and then itself
                self._indexes[key] = index
                self._nbytes += nbytes
                while self._nbytes > self.capacity_bytes:
                    self._discard(next(iter(self._indexes)))

    def _discard(self, key: IndexKey) -> None:
        index = self._indexes.pop(key, None)
        if index is not None:
            self._nbytes -= index.entries.nbytes + _ENTRY_OVERHEAD_BYTES

    def start_over_in_child(self) -> None:
        """After a fork: a thread that is not here may have held the lock, half-way through a change."""
        if self._lock.acquire(blocking=False):
            self._lock.release()
            return
        self._lock = threading.Lock()
        self._indexes = OrderedDict()
        self._nbytes = 0

    def __reduce__(self) -> tuple[Any, ...]:
        if self is default_cache:
            return _default_cache, ()
        return ShardIndexCache, (self.capacity_bytes,)


def _default_cache() -> ShardIndexCache:
    return default_cache


def _start_over_in_child() -> None:
    for cache in list(_caches):
        cache.start_over_in_child()


_caches: weakref.WeakSet[ShardIndexCache] = weakref.WeakSet()
default_cache: Final = ShardIndexCache()
os.register_at_fork(after_in_child=_start_over_in_child)
