"""Finds chunks in stores that know at once where everything in them lies: zip files, and memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod

import numpy as np
import numpy.typing as npt

from ringio import FileChangedError, Reader, planning

from ._cache import Cache
from ._chain import Pipeline
from ._locate import EachTime, Located, Place, shards_inside
from ._parts import Parts, PartStore
from ._sharding import U64, IndexReader, Lookup, Shards
from ._store import ChunkFiles

Describe = Callable[[int], str]


class PartPerChunk(EachTime):
    """Finds chunks that have keys of their own.

    Args:
        store: that has them.
        keys: of the chunks.
        limit_nbytes: encoded chunks are no larger.
        describe: names a chunk by its id, for messages.
    """

    __slots__ = ("_describe", "_keys", "_limit_nbytes", "_store")

    def __init__(self, store: PartStore, keys: ChunkFiles, limit_nbytes: int, describe: Describe) -> None:
        self._store = store
        self._keys = keys
        self._limit_nbytes = limit_nbytes
        self._describe = describe

    def locate(self, ids: U64, reader: Reader) -> Located:
        """Where the chunks with these ids lie, as many of them as fit into memory; ids ascend."""
        parts = self._store.parts(self._keys.paths(ids), self._limit_nbytes, reader)
        bad, errors = None, []
        if parts.errors:
            bad = np.zeros(len(parts.file_numbers), np.bool_)
            bad[list(parts.errors)] = True
            errors = _described(parts, [self._describe(int(ids[number])) for number in parts.errors])
        return Located(
            paths=parts.paths,
            files=parts.files,
            file_numbers=parts.file_numbers,
            offsets=parts.offsets,
            nbytes=parts.nbytes,
            missing_fills=False,
            bad=bad,
            errors=errors,
            identities=None,
            objects=parts.objects,
            keep=parts.keep,
            changed=partial(self._store.has_changed, parts),
        )

    def find(self, chunk_id: int, read: planning.ChunkRead) -> Place | None:
        """Where a chunk that ``read`` has found lies, if the store has it in a file."""
        del read
        return self._store.find(self._keys.path(chunk_id))

    def forget(self, chunk_id: int) -> None:
        """What the store said was wrong, or may have been."""
        del chunk_id
        self._store.forget()


class PartShardLocator(EachTime):
    """Finds chunks in shards that have keys of their own.

    Args:
        store: that has them.
        keys: of the outermost shards.
        pipeline: of the array.
        cache: keeps shard indexes.
        limit_nbytes: shards are no larger.
        describe: names an innermost chunk by its id, for messages.
    """

    __slots__ = ("_describe", "_keys", "_levels", "_limit_nbytes", "_store")

    def __init__(
        self,
        store: PartStore,
        keys: ChunkFiles,
        pipeline: Pipeline,
        cache: Cache,
        limit_nbytes: int,
        describe: Describe,
    ) -> None:
        self._store = store
        self._keys = keys
        self._limit_nbytes = limit_nbytes
        self._describe = describe
        self._levels = index_readers(pipeline, cache, describe)

    def locate(self, ids: U64, reader: Reader) -> Located:
        """Where the chunks with these ids lie, as many of them as fit into memory; ids ascend."""
        numbers, firsts = planning.segments(ids, self._levels[0].ids_per_shard)
        parts = self._store.parts(self._keys.paths(numbers), self._limit_nbytes, reader)
        firsts = firsts[: len(parts.file_numbers) + 1]
        ids = ids[: int(firsts[-1])]
        lookup = _PartLookup(ids, parts, reader)
        shards = Shards(parts.file_numbers, parts.offsets, parts.nbytes, firsts)
        first_ids = [int(ids[int(firsts[shard])]) for shard in parts.errors]
        for shard, error in zip(
            parts.errors, _described(parts, [self._describe(each) for each in first_ids]), strict=True
        ):
            lookup.fail(*shards.span(shard), error)
        try:
            offsets, nbytes, file_numbers = descend(lookup, shards, self._levels)
        except (FileChangedError, FileNotFoundError) as error:
            self._store.has_changed(parts, error, reader)  # who tries again is to be given others
            raise
        return Located(
            paths=parts.paths,
            files=parts.files,
            file_numbers=file_numbers,
            offsets=offsets,
            nbytes=nbytes,
            missing_fills=False,
            bad=lookup.bad if lookup.errors else None,
            errors=lookup.errors,
            identities=None,
            objects=parts.objects,
            keep=parts.keep,
            changed=partial(self._store.has_changed, parts),
        )

    def find(self, chunk_id: int, read: planning.ChunkRead) -> Place | None:
        """None: a shard's index is looked up with a batch."""
        del chunk_id, read
        return None

    def forget(self, chunk_id: int) -> None:
        """Nothing is kept here."""


class _PartLookup(Lookup):
    """Chunks to be found in shards that are parts of files."""

    __slots__ = ("_parts",)

    def __init__(self, ids: U64, parts: Parts, reader: Reader) -> None:
        super().__init__(ids, parts.paths, np.empty(0, planning.IDENTITY), reader)
        self._parts = parts

    def files(self) -> npt.NDArray[np.void] | None:
        return self._parts.files

    def objects(self) -> planning.PlanObjects | None:
        return self._parts.objects

    def identity_bytes(self) -> list[bytes]:
        return self._parts.identities


def index_readers(pipeline: Pipeline, cache: Cache, describe: Describe) -> list[IndexReader]:
    """What knows the indexes of each level of shards, outermost first."""
    counts = [level.entry_count for level in pipeline.levels]
    return [
        IndexReader(level, prod(counts[depth:]), prod(counts[depth + 1 :]), cache, describe)
        for depth, level in enumerate(pipeline.levels)
    ]


def descend(lookup: Lookup, shards: Shards, levels: Sequence[IndexReader]) -> tuple[U64, U64, npt.NDArray[np.uint32]]:
    """From the outermost shards to the chunks: offset, nbytes and file of each."""
    offsets, nbytes = levels[0].locate(lookup, shards)
    for level in levels[1:]:
        shards = shards_inside(shards, offsets, nbytes, lookup.ids, level.ids_per_shard)
        offsets, nbytes = level.locate(lookup, shards)
    return offsets, nbytes, shards.file_numbers()


def _described(parts: Parts, names: Sequence[str]) -> list[Exception]:
    errors = list(parts.errors.values())
    for error, name in zip(errors, names, strict=True):
        error.add_note(f"while reading {name}")
    return errors
