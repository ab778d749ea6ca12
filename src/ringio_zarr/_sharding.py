"""Shard indexes: read in one batch, kept in the cache, and looked up for many chunks at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from ringio import DecodeError, FileChangedError, Plan, Reader, planning
from ringio.planning import NamedTuple

from ._cache import Cache, IndexKey, ShardIndex
from ._chain import Level

U64 = npt.NDArray[np.uint64]

# Of a shard that is a file: path, key of its index in the cache (None: there is no such file), first byte and end of
# what its chunks may take.
KnownShard: TypeAlias = tuple[bytes, IndexKey | None, int, int]

_MISSING: Final = planning.MISSING
_UNKNOWN: Final = planning.MISSING - 1  # no offset and no number of bytes that can be right: nobody has looked yet
_FLAT_ENTRIES_MAX: Final = 8192  # 128 KiB
_NO_ADDRESS: Final = 0  # of an index: the shard is missing, and all its chunks with it


class Lookup:
    """Chunks to be found in shards, and what goes wrong on the way.

    Attributes:
        ids: of the chunks, ascending.
        paths: of the files of the outermost shards that hold them.
        identities: IDENTITY[file]: what these files are now.
        reader: reads indexes.
        key_paths: what the indexes in these files are kept by.
        bad: the chunks that cannot be read because their shard or its index cannot be.
        errors: why.
    """

    __slots__ = ("bad", "errors", "identities", "ids", "key_paths", "paths", "reader")

    def __init__(self, ids: U64, paths: list[str], identities: npt.NDArray[np.void], reader: Reader) -> None:
        self.ids = ids
        self.paths = paths
        self.key_paths = paths
        self.identities = identities
        self.reader = reader
        self.bad = np.zeros(len(ids), np.bool_)
        self.errors: list[Exception] = []

    def fail(self, first: int, end: int, error: Exception) -> None:
        """Note that ``ids[first:end]`` cannot be read."""
        self.bad[first:end] = True
        self.errors.append(error)

    def files(self) -> npt.NDArray[np.void] | None:
        """FILE[file]: the files, and that they must still be the same when they are read."""
        files = np.zeros(len(self.paths), planning.FILE)
        for name in ("nbytes", "device", "inode", "mtime_ns"):
            files[name] = self.identities[name]
        return files

    def objects(self) -> planning.PlanObjects | None:
        """Where the files are that are objects, and in what state; None: there are none."""

    def identity_bytes(self) -> list[bytes]:
        """The identities as something that can be kept and compared."""
        raw, width = self.identities.tobytes(), self.identities.itemsize
        return [raw[start : start + width] for start in range(0, len(raw), width)]


class Shards(NamedTuple):
    """The shards of one level that hold the chunks of a lookup. Below the outermost level they are parts of files.

    Attributes:
        files: which file each shard is in, u32.
        bases: where in it the shard begins, u64; MISSING: there is no such shard, or it is bad.
        sizes: bytes of each shard, u64.
        firsts: the first of each shard's chunks among the ids, u64; one more at the end.
    """

    files: npt.NDArray[np.uint32]
    bases: U64
    sizes: U64
    firsts: U64

    def span(self, shard: int) -> tuple[int, int]:
        """First and end of a shard's chunks among the ids."""
        first, end = self.firsts[shard : shard + 2].tolist()
        return first, end

    def file_numbers(self) -> npt.NDArray[np.uint32]:
        """The file of each chunk."""
        return np.repeat(self.files, (self.firsts[1:] - self.firsts[:-1]).view(np.int64))


class IndexReader:
    """Knows the indexes of one level of shards.

    Args:
        level: the level.
        ids_per_shard: innermost chunks in one of its shards.
        ids_per_entry: innermost chunks behind one entry of an index: 1 unless the shards hold shards.
        cache: keeps the indexes.
        describe: names an innermost chunk by its id, for messages.

    Attributes:
        layout: what ``IndexKey`` has of it.
    """

    __slots__ = ("_cache", "_describe", "_ids_per_entry", "_level", "ids_per_shard", "layout")

    def __init__(
        self,
        level: Level,
        ids_per_shard: int,
        ids_per_entry: int,
        cache: Cache,
        describe: Callable[[int], str],
    ) -> None:
        self.ids_per_shard = ids_per_shard
        self._level = level
        self._ids_per_entry = ids_per_entry
        self._cache = cache
        self._describe = describe
        codecs = level.index_compiled.records.tobytes().hex()
        self.layout = f"{level.entry_count} {level.index_location} {level.index_nbytes} {codecs}"

    def locate(self, lookup: Lookup, shards: Shards) -> tuple[U64, U64]:
        """The entry that each chunk belongs to: offset in the file, MISSING if there is none, and nbytes.

        An index that cannot be read, and an entry that cannot be right, makes its chunks ``bad``.

        Raises:
            FileChangedError, FileNotFoundError: a shard was replaced or removed since its identity was taken.
        """
        indexes = self._indexes(lookup, shards)
        index_nbytes = np.uint64(self._level.index_nbytes)
        if self._level.index_location == "start":
            index_starts = np.zeros(len(shards.sizes), np.uint64)
            index_ends = index_starts + index_nbytes
        else:
            index_starts = shards.sizes - index_nbytes  # wraps around for shards too short, which have no index
            index_ends = shards.sizes
        offsets, nbytes, bad_count = planning.locate(
            lookup.ids,
            shards.firsts,
            ids_per_segment=self.ids_per_shard,
            ids_per_entry=self._ids_per_entry,
            indexes=np.array([index.entries_address if index else _NO_ADDRESS for index in indexes], np.uint64),
            bases=shards.bases,
            sizes=shards.sizes,
            index_starts=index_starts,
            index_ends=index_ends,
        )
        if bad_count:
            wrong = nbytes == planning.MISSING
            lookup.bad |= wrong
            lookup.errors.append(self._entry_error(lookup, shards, indexes, np.flatnonzero(wrong)))
        return offsets, nbytes

    def known(self, path: str, nbytes: int | None) -> KnownShard:
        """What ``find`` needs of a shard that is a file of so many bytes, or (None) is not there."""
        if nbytes is None:
            return os.fsencode(path), None, 0, 0
        index_nbytes = self._level.index_nbytes
        first, end = (0, nbytes - index_nbytes) if self._level.index_location == "end" else (index_nbytes, nbytes)
        return os.fsencode(path), IndexKey(path, 0, nbytes, self.layout), first, end

    def find(self, shard: KnownShard, entry: int) -> tuple[bytes, bytes, int, int] | None:
        """Where an entry of a shard lies: path, identity, offset (may be MISSING), nbytes.

        The file may be another one by now: it must be compared with the identity.

        Returns:
            None where the index is not in the cache, or the entry cannot be right: then ``locate`` does what is to be
            done.
        """
        path, key, first, end = shard
        index = None if key is None else self._cache.get(key)
        if index is None:
            return None
        item = index.entries.item
        offset: int = item(entry, 0)
        nbytes: int = item(entry, 1)
        if (nbytes and first <= offset <= end - nbytes) or offset == nbytes == _MISSING:
            return path, index.identity, offset, nbytes
        return None

    def find_all(self, draft: planning.Draft, shards: Sequence[KnownShard]) -> bool:
        """Give all chunks of a draft their places; False where ``find`` would say None to one of them.

        Args:
            draft: boxes that were cut.
            shards: those that they touch.
        """
        indexes = self._cache.get_all([key for _, key, _, _ in shards if key is not None])
        if indexes is None:
            return False
        addresses = [index.address for index in indexes]
        if len(addresses) < len(shards):
            there = iter(addresses)
            addresses = [_NO_ADDRESS if key is None else next(there) for _, key, _, _ in shards]
        at_start = self._level.index_location == "start"
        paths = [shard[0] for shard in shards]
        return draft.find(paths, addresses, self._level.index_nbytes, index_is_first=at_start, keep=indexes)

    def _indexes(self, lookup: Lookup, shards: Shards) -> list[ShardIndex | None]:
        """The index of each shard; None where the shard is missing, or its index cannot be read."""
        identities, key_paths = lookup.identity_bytes(), lookup.key_paths
        places = zip(shards.files.tolist(), shards.bases.tolist(), shards.sizes.tolist(), strict=True)
        present = [
            (shard, IndexKey(key_paths[file], base, size, self.layout), identities[file])
            for shard, (file, base, size) in enumerate(places)
            if base != planning.MISSING
        ]
        cached = self._cache.get_many([(key, identity) for _, key, identity in present])
        indexes: list[ShardIndex | None] = [None] * len(shards.bases)
        unknown = []
        for (shard, key, identity), index in zip(present, cached, strict=True):
            if index:
                indexes[shard] = index
            elif key.nbytes < self._level.index_nbytes:
                first, end = shards.span(shard)
                lookup.fail(first, end, self._short_error(int(lookup.ids[first]), key))
            else:
                unknown.append((shard, key, identity))
        if unknown:
            self._read(lookup, shards, unknown, indexes)
        return indexes

    def _read(
        self,
        lookup: Lookup,
        shards: Shards,
        unknown: Sequence[tuple[int, IndexKey, bytes]],
        indexes: list[ShardIndex | None],
    ) -> None:
        """Read indexes into ``indexes`` and the cache: one batch, each index a chunk with a target of its own."""
        level = self._level
        count = len(unknown)
        numbers = [shard for shard, _, _ in unknown]
        entries = [np.empty((level.entry_count, 2), np.uint64) for _ in unknown]
        requests, tasks, order = planning.coalesce(
            shards.files[numbers],
            np.array([self._index_offset(key) for _, key, _ in unknown], np.uint64),
            np.full(count, level.index_nbytes, np.uint64),
            np.arange(count + 1, dtype=np.uint64),
            max_gap_bytes=lookup.reader.max_gap_bytes,
            max_request_bytes=lookup.reader.max_request_bytes,
        )
        layouts = np.repeat(planning.layout(source_strides=(8,), target_strides=(8,), itemsize=8), count)
        layouts["target"] = np.arange(count)
        projections = np.zeros(count, planning.PROJECTION)
        projections["layout"] = np.arange(count)
        plan = Plan.from_records(
            paths=lookup.paths,
            files=lookup.files(),
            requests=requests,
            tasks=tasks,
            projections=projections,
            counts=np.full((count, 1), 2 * level.entry_count, np.int64),
            layouts=layouts,
            chains=[level.index_compiled],
            describe=lambda task: self._name(int(lookup.ids[shards.span(numbers[int(order[task])])[0]])),
            objects=lookup.objects(),
        )
        failed = set()
        for task, error in lookup.reader.execute(plan, entries, on_error="return"):
            if isinstance(error, FileChangedError | FileNotFoundError):
                raise error
            number = int(order[task])
            failed.add(number)
            lookup.fail(*shards.span(numbers[number]), error)
        fresh = []
        for number, (shard, key, identity) in enumerate(unknown):
            if number not in failed:
                index = ShardIndex.of(identity, entries[number])
                indexes[shard] = index
                fresh.append((key, index))
        self._cache.put_many(fresh)

    def _index_offset(self, key: IndexKey) -> int:
        inside = key.nbytes - self._level.index_nbytes if self._level.index_location == "end" else 0
        return key.offset + inside

    def _name(self, chunk_id: int) -> str:
        return f"the index of the shard with {self._describe(chunk_id)}"

    def _short_error(self, chunk_id: int, key: IndexKey) -> DecodeError:
        path = key.path.partition("\0")[0]  # behind it is which store
        return DecodeError(
            f"{self._name(chunk_id)} in {path}, bytes {key.offset}-{key.offset + key.nbytes}: "
            f"a shard of {key.nbytes} bytes cannot hold its index of {self._level.index_nbytes} bytes",
            path=path,
            offset=key.offset,
            length=key.nbytes,
        )

    def _entry_error(
        self, lookup: Lookup, shards: Shards, indexes: Sequence[ShardIndex | None], wrong: npt.NDArray[np.intp]
    ) -> DecodeError:
        """About the first of the entries that cannot be right."""
        place = int(wrong[0])
        shard = int(np.searchsorted(shards.firsts, np.uint64(place), side="right")) - 1
        index = indexes[shard]
        assert index is not None  # without an index there are no entries
        chunk_id = int(lookup.ids[place])
        offset, nbytes = index.entries[chunk_id % self.ids_per_shard // self._ids_per_entry].tolist()
        base, size = int(shards.bases[shard]), int(shards.sizes[shard])
        path = lookup.paths[int(shards.files[shard])]
        where = "outside its shard" if offset + nbytes > size else "over the index of its shard"
        others = f"; {len(wrong) - 1} other chunks have the same trouble" if len(wrong) > 1 else ""
        return DecodeError(
            f"{self._describe(chunk_id)} in {path}, bytes {base + offset}-{base + offset + nbytes}: the shard index "
            f"places it {where}, which is bytes {base}-{base + size}{others}",
            path=path,
            offset=base + offset,
            length=nbytes,
        )


class FlatIndexes(IndexReader):
    """The innermost chunks of shards that hold shards, as if each of the outermost had one index of them all.

    That index is filled with what was found: who looks for the same chunks again need not go down from shard to shard.

    Args:
        level: the outermost one.
        levels: all that there are.
        cache: keeps the indexes.
        describe: names an innermost chunk by its id, for messages.
    """

    __slots__ = ()

    def __init__(
        self, level: Level, levels: Sequence[IndexReader], cache: Cache, describe: Callable[[int], str]
    ) -> None:
        super().__init__(level, levels[0].ids_per_shard, 1, cache, describe)
        self.layout = "flat " + " ".join(each.layout for each in levels)

    def learn(self, lookup: Lookup, shards: Sequence[KnownShard], firsts: U64, offsets: U64, nbytes: U64) -> None:
        """Keep where chunks are.

        Args:
            lookup: that found all that it looked for.
            shards: its files.
            firsts: the first of each file's chunks among the ids, u64; one more at the end.
            offsets: where each chunk begins in the file; MISSING: there is none.
            nbytes: that it has.
        """
        if self.ids_per_shard > _FLAT_ENTRIES_MAX:
            return  # where little of each shard is read, that would drive out what is read
        places = np.stack([offsets, np.where(offsets == _MISSING, np.uint64(_MISSING), nbytes)], axis=1)
        entries = (lookup.ids % np.uint64(self.ids_per_shard)).astype(np.intp)
        bounds = firsts.tolist()
        fresh = []
        for (_, key, _, _), identity, first, end in zip(
            shards, lookup.identity_bytes(), bounds[:-1], bounds[1:], strict=True
        ):
            if key is None:
                continue
            (index,) = self._cache.get_many([(key, identity)])
            if index is None:
                index = ShardIndex.of(identity, np.full((self.ids_per_shard, 2), _UNKNOWN, np.uint64))
                fresh.append((key, index))
            # Others may be looking at it: each number changes once, and of a pair no mixture of old and new is a place.
            index.entries[entries[first:end]] = places[first:end]
        self._cache.put_many(fresh)
