"""Shard indexes and metadata that were read, kept while there is room and while files and objects stay the same."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Collection, Iterable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ringio import planning
from ringio.planning import NamedTuple

from ._known import Known, KnownNodes, NodeKey

DEFAULT_CAPACITY_BYTES: Final = 64 << 20
DEFAULT_MAX_AGE_S: Final = 60.0
_METADATA_SHARE: Final = 4  # a quarter of the room, at most, is for metadata
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
        address: of identity and entries, as ``ringio.planning.Draft.find`` takes it.
    """

    identity: bytes
    entries: npt.NDArray[np.uint64]
    address: int

    @classmethod
    def of(cls, identity: bytes, entries: npt.NDArray[np.uint64]) -> ShardIndex:
        """The index with these entries, which are copied."""
        head_count = planning.INDEX_HEAD_NBYTES // 8
        block = np.zeros(head_count + entries.size, np.uint64)
        head, kept = block[:head_count], block[head_count:].reshape(entries.shape)
        known = np.frombuffer(identity[: planning.INDEX_HEAD_NBYTES], np.uint8)  # of a file that is all
        head.view(np.uint8)[: len(known)] = known
        kept[:] = entries
        return cls(identity, kept, block.__array_interface__["data"][0])

    @property
    def entries_address(self) -> int:
        """Of the entries alone."""
        address: int = self.address + planning.INDEX_HEAD_NBYTES
        return address


class Cache:
    """Least recently used shard indexes and metadata, bounded by their bytes. Threads and arrays may share one.

    The index of a local file is used while that is the same file, and so is what its documents say of an array or
    group. A shard in a store of objects is not asked about before each read: its state, as it was when its index was
    read, is trusted for a while. Metadata documents of such stores are read by whoever opens an array or group, unless
    they are to be trusted for a while, too.

    Args:
        capacity_bytes: of all together; 0 keeps nothing.
        max_age_s: how long the state of a shard in a store is trusted; None: until ``refresh()``; 0: not at all.
        metadata_max_age_s: the same for what the documents in a store say.
    """

    __slots__ = (
        "__weakref__",
        "_indexes",
        "_lock",
        "_nbytes",
        "_nodes",
        "_states",
        "capacity_bytes",
        "max_age_s",
        "metadata_max_age_s",
    )

    def __init__(
        self,
        capacity_bytes: int = DEFAULT_CAPACITY_BYTES,
        *,
        max_age_s: float | None = DEFAULT_MAX_AGE_S,
        metadata_max_age_s: float | None = 0.0,
    ) -> None:
        if not isinstance(capacity_bytes, int | np.integer):
            raise TypeError(f"capacity_bytes is {capacity_bytes!r}; a number of bytes is due")
        if capacity_bytes < 0:
            raise ValueError(f"a cache of {capacity_bytes} bytes")
        for name, age_s in (("max_age_s", max_age_s), ("metadata_max_age_s", metadata_max_age_s)):
            try:
                is_age = age_s is None or age_s >= 0
            except TypeError:
                raise TypeError(f"{name} is {age_s!r}; a number of seconds is due, or None for no end") from None
            if not is_age:
                raise ValueError(f"{name} is {age_s}")
        self.capacity_bytes = capacity_bytes
        self.max_age_s = max_age_s
        self.metadata_max_age_s = metadata_max_age_s
        self._nodes = KnownNodes()
        self._states: OrderedDict[str, tuple[planning.ObjectState, float]] = OrderedDict()
        self._indexes: OrderedDict[IndexKey, ShardIndex] = OrderedDict()
        self._nbytes = 0
        self._lock = threading.Lock()
        _caches.add(self)

    @property
    def nbytes(self) -> int:
        """How many bytes are kept."""
        return self._nbytes + self._nodes.nbytes

    def __len__(self) -> int:
        return len(self._indexes)

    def get(self, key: IndexKey) -> ShardIndex | None:
        """The index of a shard, whatever state of the file it was read from; None where it is not here."""
        with self._lock:
            index = self._indexes.get(key)
            if index is not None:
                self._indexes.move_to_end(key)
        return index

    def get_all(self, keys: Collection[IndexKey]) -> list[ShardIndex] | None:
        """The same for some shards; None where one is not here."""
        indexes = self._indexes
        with self._lock:
            try:
                found = [indexes[key] for key in keys]
            except KeyError:
                return None
            for key in keys:
                indexes.move_to_end(key)
        return found

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
                if not index.identity:
                    continue  # nothing tells whether it is still right
                nbytes = index.entries.nbytes + _ENTRY_OVERHEAD_BYTES
                if nbytes > self.capacity_bytes:
                    continue  # it would drive out all others, and then itself
                self._indexes[key] = index
                self._nbytes += nbytes
                self._make_room()

    def get_states(self, names: Iterable[str], now_s: float) -> list[planning.ObjectState | None]:
        """The states of objects; None where it is not known, or was asked for too long ago."""
        oldest_s = float("-inf") if self.max_age_s is None else now_s - self.max_age_s
        found: list[planning.ObjectState | None] = []
        with self._lock:
            for name in names:
                state, since_s = self._states.get(name, (None, 0.0))
                found.append(state if since_s > oldest_s else None)
        return found

    def put_states(self, items: Iterable[tuple[str, planning.ObjectState]], now_s: float) -> None:
        """Keep the states of objects; the oldest make room."""
        most = self.capacity_bytes // _ENTRY_OVERHEAD_BYTES
        with self._lock:
            for name, state in items:
                self._states.pop(name, None)
                if state.tag:  # else nothing tells whether it is still right
                    self._states[name] = (state, now_s)
            while len(self._states) > most:
                self._states.popitem(last=False)

    def forget_states(self, names: Iterable[str]) -> None:
        """Ask for the states of these objects anew."""
        with self._lock:
            for name in names:
                self._states.pop(name, None)

    def get_node(self, key: NodeKey) -> Any:
        """What the documents of an array or group say, if that is known and still so, or None."""
        return self._nodes.get(key, self.metadata_max_age_s)

    def put_node(self, key: NodeKey, known: Known) -> None:
        """Keep what the documents of an array or group say."""
        self._nodes.put(key, known, self.capacity_bytes // _METADATA_SHARE)
        with self._lock:
            self._make_room()

    def forget(self, location: str) -> None:
        """Forget the indexes and states of all that is below a location, and what documents say of that and of it."""
        self._nodes.forget_around(location)
        below = f"{location.rstrip('/')}/"
        with self._lock:
            for key in [key for key in self._indexes if key.path.startswith(below)]:
                self._discard(key)
            for name in [name for name in self._states if name.startswith(below)]:
                del self._states[name]

    def _make_room(self) -> None:
        while self._indexes and self.nbytes > self.capacity_bytes:
            self._discard(next(iter(self._indexes)))

    def _discard(self, key: IndexKey) -> None:
        index = self._indexes.pop(key, None)
        if index is not None:
            self._nbytes -= index.entries.nbytes + _ENTRY_OVERHEAD_BYTES

    def start_over_in_child(self) -> None:
        """After a fork: a thread that is not here may have held the lock, half-way through a change."""
        self._nodes.start_over()
        if self._lock.acquire(blocking=False):
            self._lock.release()
            return
        self._lock = threading.Lock()
        self._indexes = OrderedDict()
        self._states = OrderedDict()
        self._nbytes = 0

    def __reduce__(self) -> tuple[Any, ...]:
        if self is default_cache:
            return _default_cache, ()
        return _make_cache, self.configuration()

    def configuration(self) -> tuple[int, float | None, float | None]:
        """What another one is made from that does the same."""
        return self.capacity_bytes, self.max_age_s, self.metadata_max_age_s


def _make_cache(capacity_bytes: int, max_age_s: float | None, metadata_max_age_s: float | None = 0.0) -> Cache:
    return Cache(capacity_bytes, max_age_s=max_age_s, metadata_max_age_s=metadata_max_age_s)


def _default_cache() -> Cache:
    return default_cache


def _start_over_in_child() -> None:
    for cache in list(_caches):
        cache.start_over_in_child()


_caches: weakref.WeakSet[Cache] = weakref.WeakSet()
default_cache: Final = Cache()
os.register_at_fork(after_in_child=_start_over_in_child)
