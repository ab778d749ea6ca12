"""Finds chunks in stores of objects."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ringio import FileChangedError, Reader, planning

from ._cache import Cache
from ._chain import Pipeline
from ._locate import EachTime, Located, Place
from ._locate_parts import descend, index_readers
from ._remote import RemoteStore
from ._sharding import U64, Lookup, Shards
from ._store import ChunkFiles
from ._store_base import is_absent


class ObjectPerChunk(EachTime):
    """Finds chunks that are objects of their own. Nothing is looked up: the read finds out what is there.

    Args:
        store: that has them.
        files: their locations.
    """

    __slots__ = ("_files", "_objects", "_store")

    def __init__(self, store: RemoteStore, files: ChunkFiles) -> None:
        self._store = store
        self._files = files
        self._objects = planning.PlanObjects(store.source, {})

    def locate(self, ids: U64, reader: Reader) -> Located:
        """Where the chunks with these ids lie; ids ascend."""
        del reader
        self._store.check_caller()
        count = len(ids)
        return Located(
            paths=self._files.paths(ids),
            files=None,
            file_numbers=np.arange(count, dtype=np.uint32),
            offsets=np.zeros(count, np.uint64),
            nbytes=np.full(count, planning.TO_END, np.uint64),
            missing_fills=True,
            bad=None,
            errors=[],
            identities=None,
            objects=self._objects,
        )

    def find(self, chunk_id: int, read: planning.ChunkRead) -> Place | None:
        """None: objects are read with a plan."""
        del chunk_id, read
        return None

    def forget(self, chunk_id: int) -> None:
        """Nothing is kept."""


class ObjectShardLocator(EachTime):
    """Finds chunks in shards that are objects.

    The state of a shard, which is its size and what tells it from other states, is asked for together with its last
    bytes, which mostly are its index: one request. States and indexes are kept in the cache. A shard that is in another
    state when its chunks are read is noticed then, by its ETag. Where that does not come with the bytes the state is
    asked for each time, and where there is none the index is read each time.

    Args:
        store: that has the shards.
        files: their locations.
        pipeline: of the array.
        cache: keeps shard indexes and states.
        describe: names an innermost chunk by its id, for messages.
    """

    __slots__ = ("_cache", "_describe", "_files", "_levels", "_store", "_suffix_nbytes")

    def __init__(
        self,
        store: RemoteStore,
        files: ChunkFiles,
        pipeline: Pipeline,
        cache: Cache,
        describe: Callable[[int], str],
    ) -> None:
        self._store = store
        self._files = files
        self._cache = cache
        self._describe = describe
        self._levels = index_readers(pipeline, cache, describe)
        outermost = pipeline.levels[0]
        self._suffix_nbytes = outermost.index_nbytes if outermost.index_location == "end" else 0

    def locate(self, ids: U64, reader: Reader) -> Located:
        """Where the chunks with these ids lie; ids ascend.

        Raises:
            FileChangedError, FileNotFoundError: a shard was replaced or removed meanwhile.
        """
        self._store.check_caller()
        numbers, firsts = planning.segments(ids, self._levels[0].ids_per_shard)
        paths = self._files.paths(numbers)
        lookup = _ObjectLookup(ids, paths, self._states(paths, reader), self._store, reader)
        shards = lookup.shards(firsts, self._describe)
        try:
            offsets, nbytes, file_numbers = descend(lookup, shards, self._levels)
        except (FileChangedError, FileNotFoundError):
            self._forget(paths)
            raise
        return Located(
            paths=paths,
            files=None,
            file_numbers=file_numbers,
            offsets=offsets,
            nbytes=nbytes,
            missing_fills=False,
            bad=lookup.bad if lookup.errors else None,
            errors=lookup.errors,
            identities=None,
            objects=lookup.objects(),
            changed=lambda error, _: isinstance(error, FileChangedError | FileNotFoundError) and self._forget(paths),
        )

    def find(self, chunk_id: int, read: planning.ChunkRead) -> Place | None:
        """None: objects are read with a plan."""
        del chunk_id, read
        return None

    def forget(self, chunk_id: int) -> None:
        """Nothing is kept here."""

    def _states(self, paths: list[str], reader: Reader) -> list[planning.ObjectState | Exception]:
        """The state of each shard: from the cache, or asked for, all at once."""
        names = [path + self._store.name for path in paths]
        states: list[planning.ObjectState | Exception | None] = [None] * len(names)
        if self._store.says_states or self._cache.max_age_s is None:
            states = [*self._cache.get_states(names, time.monotonic())]
        unknown = [number for number, state in enumerate(states) if state is None]
        if unknown:
            asked = reader.look_up(
                [paths[number] for number in unknown], suffix_nbytes=self._suffix_nbytes, store=self._store.source
            )
            known = []
            for number, state in zip(unknown, asked, strict=True):
                states[number] = state
                if not isinstance(state, Exception):
                    known.append((names[number], state.without_data()))
            self._cache.put_states(known, time.monotonic())
        return [state for state in states if state is not None]

    def _forget(self, paths: list[str]) -> bool:
        """Ask anew the next time; returns whether that may help."""
        self._cache.forget_states([path + self._store.name for path in paths])
        return True


class _ObjectLookup(Lookup):
    """Chunks to be found in shards that are objects."""

    __slots__ = ("_states", "_store")

    def __init__(
        self,
        ids: U64,
        paths: list[str],
        states: list[planning.ObjectState | Exception],
        store: RemoteStore,
        reader: Reader,
    ) -> None:
        super().__init__(ids, paths, np.empty(0, planning.IDENTITY), reader)
        self._states = states
        self._store = store
        self.key_paths = [path + store.name for path in paths]

    def files(self) -> npt.NDArray[np.void] | None:
        return None

    def objects(self) -> planning.PlanObjects | None:
        known = {file: state for file, state in enumerate(self._states) if not isinstance(state, Exception)}
        return planning.PlanObjects(self._store.source, known)

    def identity_bytes(self) -> list[bytes]:
        return [b"" if isinstance(state, Exception) else state.tag for state in self._states]

    def shards(self, firsts: U64, describe: Callable[[int], str]) -> Shards:
        """The outermost shards; what is wrong with those that cannot be looked up is noted."""
        count = len(self._states)
        bases, sizes = np.full(count, planning.MISSING, np.uint64), np.zeros(count, np.uint64)
        shards = Shards(np.arange(count, dtype=np.uint32), bases, sizes, firsts)
        for shard, state in enumerate(self._states):
            if not isinstance(state, Exception):
                bases[shard], sizes[shard] = 0, state.nbytes
            elif not is_absent(state):
                first, end = shards.span(shard)
                state.add_note(f"while reading {describe(int(self.ids[first]))}")
                self.fail(first, end, state)
        return shards
