"""Where chunks lie: in files of their own, or in shards."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import prod
from typing import Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from ringio import Reader, planning
from ringio.planning import NamedTuple

from ._cache import Cache
from ._chain import Pipeline
from ._sharding import U64, FlatIndexes, IndexReader, KnownShard, Lookup, Shards
from ._store import ChunkFiles

_KEPT_PATHS: Final = 4096  # per array: some 500 KiB
_MAX_ERRNO: Final = 4095  # of Linux; what planning.stat() adds to them lies beyond


class Located(NamedTuple):
    """Where some chunks lie. A tuple, because one is made for each ``a[...]``.

    Chunks that have to be in memory first may be more than fit there: then this is about the first ones of those that
    were asked for.

    Attributes:
        paths: of files.
        files: FILE[file]: what these must still be when they are read; None: whatever is there.
        file_numbers: which file each chunk is in, u32.
        offsets: where in it each chunk begins, u64; MISSING for a missing chunk.
        nbytes: of each encoded chunk, u64; TO_END where it is all of the file.
        missing_fills: a file that does not exist is a missing chunk.
        bad: the chunks that cannot be found; None: all can.
        errors: why not.
        identities: IDENTITY[file]: what the files were when the chunks were looked up; None: nothing was looked up.
        objects: where files are that are objects, and in what state; None: there are none.
        keep: what must live while the files are read.
        changed: whether looking up once more may help against an error, where the identities do not say it.
        told: an error in words that say more of it; None: it says all that there is to say.
    """

    paths: list[str]
    files: npt.NDArray[np.void] | None
    file_numbers: npt.NDArray[np.uint32]
    offsets: U64
    nbytes: U64
    missing_fills: bool
    bad: npt.NDArray[np.bool_] | None
    errors: list[Exception]
    identities: npt.NDArray[np.void] | None
    objects: planning.PlanObjects | None = None
    keep: object = None
    changed: Callable[[Exception, Reader], bool] | None = None
    told: Callable[[Exception, Reader], Exception] | None = None

    @property
    def chunk_count(self) -> int:
        """How many chunks this is about."""
        return len(self.file_numbers)

    def raise_first(self) -> None:
        """Raise why the first of the bad chunks cannot be found."""
        if self.errors:
            error = self.errors[0]
            if len(self.errors) > 1:
                error.add_note(f"and {len(self.errors) - 1} more shards of this batch cannot be read")
            raise error

    def has_changed(self, error: Exception, reader: Reader) -> bool:
        """Whether a file is another one now, so that looking up once more may help against an error."""
        if self.changed is not None:
            return self.changed(error, reader)
        return self.identities is not None and planning.stat(self.paths).tobytes() != self.identities.tobytes()


# As ``Reader.execute_chunk`` has them: a path, what the file there must be (the bytes of an IDENTITY) or None, offset,
# nbytes.
Place: TypeAlias = tuple[bytes, bytes | None, int, int]


class Locator(Protocol):
    """Finds the chunks of one array; where that needs reading, ``reader`` does it.

    Attributes:
        missing_fills: a file that does not exist is a missing chunk.
    """

    @property
    def missing_fills(self) -> bool: ...

    def locate(self, ids: U64, reader: Reader) -> Located:
        """Where the chunks with these ids lie, or some of the first of them; ids ascend."""
        ...

    def find(self, chunk_id: int, read: planning.ChunkRead) -> Place | None:
        """Where a chunk that ``read`` has found lies, as far as that is known; else None, and ``locate`` is due."""
        ...

    def find_all(self, draft: planning.Draft) -> bool:
        """Give all chunks of a draft their places, as far as that is known; else False, and ``locate`` is due."""
        ...

    def forget(self, chunk_id: int) -> None:
        """What ``find`` said of a chunk was wrong, or may have been."""
        ...

    def forget_all(self, draft: planning.Draft) -> bool:
        """The same of ``find_all``; returns whether looking up may help."""
        ...


class EachTime:
    """What a locator that knows nothing beforehand of a draft has of ``Locator``."""

    __slots__ = ()

    missing_fills: Final = False

    def find_all(self, draft: planning.Draft) -> bool:
        """Everything has to be looked up."""
        del draft
        return False

    def forget_all(self, draft: planning.Draft) -> bool:
        """Nothing is kept."""
        del draft
        return False


class FilePerChunk:
    """Finds chunks that are files of their own. Nothing is looked up: the read finds out what is there."""

    __slots__ = ("_files",)

    missing_fills: Final = True

    def __init__(self, files: ChunkFiles) -> None:
        self._files = files

    def locate(self, ids: U64, reader: Reader) -> Located:
        """Where the chunks with these ids lie; ids ascend."""
        del reader
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
        )

    def find(self, chunk_id: int, read: planning.ChunkRead) -> Place | None:
        """Where a chunk that ``read`` has found lies."""
        del chunk_id
        return self._files.encoded_path(read.outer), None, 0, planning.TO_END

    def find_all(self, draft: planning.Draft) -> bool:
        """Give all chunks of a draft their places, if that is simple."""
        return self._files.name(draft)

    def forget(self, chunk_id: int) -> None:
        """Nothing is kept."""

    def forget_all(self, draft: planning.Draft) -> bool:
        """Nothing is kept."""
        del draft
        return False


class ShardLocator:
    """Finds chunks in shards, and in shards inside shards.

    Args:
        files: the outermost shards.
        pipeline: of the array.
        cache: keeps shard indexes.
        describe: names an innermost chunk by its id, for messages.
    """

    __slots__ = ("_describe", "_flat", "_ids_per_shard", "_known", "_levels", "_outer", "_path")

    missing_fills: Final = False

    def __init__(self, files: ChunkFiles, pipeline: Pipeline, cache: Cache, describe: Callable[[int], str]) -> None:
        counts = [level.entry_count for level in pipeline.levels]
        # The same shards are wanted again and again, and a key costs a microsecond.
        self._path = lru_cache(_KEPT_PATHS)(files.path)
        self._known: dict[int, KnownShard] = {}  # as they were when they were last looked at
        self._describe = describe
        self._levels = [
            IndexReader(level, prod(counts[depth:]), prod(counts[depth + 1 :]), cache, describe)
            for depth, level in enumerate(pipeline.levels)
        ]
        # Shards in shards are first looked for one in the other, and from then on at once.
        self._flat = FlatIndexes(pipeline.levels[0], self._levels, cache, describe) if len(counts) > 1 else None
        self._outer = self._flat or self._levels[0]
        self._ids_per_shard = self._outer.ids_per_shard

    def locate(self, ids: U64, reader: Reader) -> Located:
        """Where the chunks with these ids lie; ids ascend. Every shard is looked at anew, every new index is read.

        Raises:
            FileChangedError, FileNotFoundError: a shard was replaced or removed meanwhile.
        """
        numbers, firsts = planning.segments(ids, self._ids_per_shard)
        paths = [self._path(number) for number in numbers.tolist()]
        lookup = Lookup(ids, paths, planning.stat(paths), reader)
        known = self._remember(numbers.tolist(), lookup)
        shards = self._outermost(lookup, firsts)
        offsets, nbytes = self._levels[0].locate(lookup, shards)
        for level in self._levels[1:]:
            shards = shards_inside(shards, offsets, nbytes, ids, level.ids_per_shard)
            offsets, nbytes = level.locate(lookup, shards)
        if self._flat is not None and known is not None and not lookup.errors:
            self._flat.learn(lookup, known, firsts, offsets, nbytes)
        return Located(
            paths=paths,
            files=lookup.files(),
            file_numbers=shards.file_numbers(),
            offsets=offsets,
            nbytes=nbytes,
            missing_fills=False,
            bad=lookup.bad if lookup.errors else None,
            errors=lookup.errors,
            identities=lookup.identities,
        )

    def find(self, chunk_id: int, read: planning.ChunkRead) -> Place | None:
        """Where a chunk that ``read`` has found lies; None unless the one index that it takes is in the cache."""
        del read
        number, entry = divmod(chunk_id, self._ids_per_shard)
        shard = self._known.get(number) or self._look_up(number)
        return None if shard is None else self._outer.find(shard, entry)

    def forget(self, chunk_id: int) -> None:
        """The shard of this chunk is another one now, or may be."""
        self._known.pop(chunk_id // self._ids_per_shard, None)

    def find_all(self, draft: planning.Draft) -> bool:
        """Give all chunks of a draft their places; False unless all indexes that it takes are in the cache."""
        known = self._known
        try:
            shards = [known[number] for number in draft.shards()]
        except KeyError:
            return False
        return self._outer.find_all(draft, shards)

    def forget_all(self, draft: planning.Draft) -> bool:
        """The shards of a draft are others now, or may be."""
        for number in draft.shards():
            self._known.pop(number, None)
        return True

    def _look_up(self, number: int) -> KnownShard | None:
        """What there is to know of a shard before its index is."""
        path = self._path(number)
        identity = planning.stat([path])[0]
        if identity["status"]:
            return None  # locate() will say why, or that all its chunks are missing
        return self._keep(number, self._outer.known(path, int(identity["nbytes"])))

    def _remember(self, numbers: Sequence[int], lookup: Lookup) -> list[KnownShard] | None:
        """Note what the shards are; returns that, None where one cannot be looked at."""
        identities, known = lookup.identities, []
        for number, path, status, nbytes in zip(
            numbers, lookup.paths, identities["status"].tolist(), identities["nbytes"].tolist(), strict=True
        ):
            if status in (0, -errno.ENOENT):
                known.append(self._keep(number, self._outer.known(path, None if status else nbytes)))
        return known if len(known) == len(numbers) else None

    def _keep(self, number: int, shard: KnownShard) -> KnownShard:
        if len(self._known) >= _KEPT_PATHS:
            self._known.clear()
        self._known[number] = shard
        return shard

    def _outermost(self, lookup: Lookup, firsts: U64) -> Shards:
        """The files as shards. What is there but is no file, or may not be looked at, is noted as bad."""
        statuses = lookup.identities["status"].tolist()
        shards = Shards(
            files=np.arange(len(statuses), dtype=np.uint32),
            bases=np.array([planning.MISSING if status else 0 for status in statuses], np.uint64),
            sizes=lookup.identities["nbytes"].copy(),
            firsts=firsts,
        )
        for shard, status in enumerate(statuses):
            if status not in (0, -errno.ENOENT):
                first, end = shards.span(shard)
                error = _stat_error(-status, lookup.paths[shard])
                error.add_note(f"while reading {self._describe(int(lookup.ids[first]))}")
                lookup.fail(first, end, error)
        return shards


def shards_inside(outer: Shards, offsets: U64, nbytes: U64, ids: U64, ids_per_shard: int) -> Shards:
    """The shards of the next level: what the entries found in the outer ones' indexes are."""
    _, firsts = planning.segments(ids, ids_per_shard)
    first = firsts[:-1]
    right = nbytes[first] != planning.MISSING
    return Shards(
        files=outer.file_numbers()[first],
        bases=np.where(right, offsets[first], np.uint64(planning.MISSING)),
        sizes=nbytes[first],
        firsts=firsts,
    )


def _stat_error(number: int, path: str) -> OSError:
    if number > _MAX_ERRNO:
        return OSError(errno.EINVAL, "not a regular file", path)
    return OSError(number, os.strerror(number), path)
