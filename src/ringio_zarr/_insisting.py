"""Finds chunks for who has ``read_missing_chunks=False``: one that the store does not have is an error."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from ringio import Reader, planning

from ._errors import MISSING_NAMED_MAX, ChunkNotFoundError, MissingChunks, chunks_not_found
from ._keys import ChunkKeyEncoding
from ._locate import EachTime, Located, Locator, Place
from ._parts import PartStore
from ._remote import RemoteStore
from ._sharding import U64
from ._store import ChunkFiles
from ._store_base import Store, is_absent


class Insisting(EachTime):
    """Finds chunks as another locator does, and takes those that the store does not have for bad ones.

    It is about what is in the store: inner chunks that a shard does not have are fill value, as in zarr-python.

    Args:
        locator: the other one.
        store: that has the chunks of the outer grid.
        files: these chunks.
        limit_nbytes: they are no larger.
        ids_per_file: how many innermost chunks each of them has.
        chunk_keys: how they are named.
        array: a name of the array.
    """

    __slots__ = ("_array", "_chunk_keys", "_files", "_ids_per_file", "_inner", "_limit_nbytes", "_store")

    def __init__(
        self,
        locator: Locator,
        store: Store,
        files: ChunkFiles,
        limit_nbytes: int,
        ids_per_file: int,
        chunk_keys: ChunkKeyEncoding,
        array: str,
    ) -> None:
        self._inner = locator
        self._store = store
        self._files = files
        self._limit_nbytes = limit_nbytes
        self._ids_per_file = ids_per_file
        self._chunk_keys = chunk_keys
        self._array = array

    def locate(self, ids: U64, reader: Reader) -> Located:
        """Where the chunks with these ids lie, or some of the first of them; ids ascend."""
        located = self._inner.locate(ids, reader)
        if located.missing_fills:  # nothing was looked up: the read finds out what is there
            return located._replace(missing_fills=False, told=partial(self._tell, ids))
        missing = located.offsets == np.uint64(planning.MISSING)
        bad = np.zeros(located.chunk_count, np.bool_) if located.bad is None else located.bad
        missing &= ~bad
        if not missing.any():
            return located
        numbers, firsts = planning.segments(ids[: located.chunk_count], self._ids_per_file)
        # Whoever has none of the wanted chunks may be a shard that is there, and empty.
        bounds = firsts.astype(np.intp)
        empty = np.logical_and.reduceat(missing, bounds[:-1])
        empty[empty] = self._absent(numbers[empty], reader) if empty.any() else False
        if not empty.any():
            return located
        bad = bad | np.repeat(empty, bounds[1:] - bounds[:-1])
        return located._replace(bad=bad, errors=[*located.errors, self._error(numbers[empty])])

    def find(self, chunk_id: int, read: planning.ChunkRead) -> Place | None:
        """None: what is read without a plan is fill value where there is no file."""
        del chunk_id, read
        return None

    def find_all(self, draft: planning.Draft) -> bool:
        """Give all chunks of a draft their places, where each is a file, and the read finds out what is there."""
        return self._inner.missing_fills and self._inner.find_all(draft)

    def forget(self, chunk_id: int) -> None:
        """Nothing is kept here."""

    def forget_all(self, draft: planning.Draft) -> bool:
        """Whatever went wrong, ``locate`` has the words for it."""
        self._inner.forget_all(draft)
        return True

    def _tell(self, ids: U64, error: Exception, reader: Reader) -> Exception:
        """That of the chunks with these ids some are missing, if that is what is wrong; each is a file of its own."""
        if not is_absent(error):
            return error
        absent = ids[self._absent(ids, reader)]
        return self._error(absent) if len(absent) else error

    def _absent(self, numbers: U64, reader: Reader) -> npt.NDArray[np.bool_]:
        """Of which outer chunks the store has nothing."""
        paths = self._files.paths(numbers)
        if isinstance(self._store, PartStore):
            return self._absent_parts(self._store, paths, reader)
        if isinstance(self._store, RemoteStore):
            states = reader.look_up(paths, store=self._store.source)
            return np.array([is_absent(state) for state in states], np.bool_)
        return np.asarray(planning.stat(paths)["status"] == -errno.ENOENT)

    def _absent_parts(self, store: PartStore, keys: Sequence[str], reader: Reader) -> npt.NDArray[np.bool_]:
        absent = np.zeros(len(keys), np.bool_)
        done = 0
        while done < len(keys):
            parts = store.parts(keys[done:], self._limit_nbytes, reader)
            count = len(parts.offsets)
            absent[done : done + count] = parts.offsets == np.uint64(planning.MISSING)
            absent[[done + number for number in parts.errors]] = False
            done += count
        return absent

    def _error(self, numbers: U64) -> ChunkNotFoundError:
        """The error for these outer chunks."""
        places = [self._files.coordinates(number) for number in numbers[:MISSING_NAMED_MAX].tolist()]
        named = tuple([(self._chunk_keys.outer(place), self._chunk_keys.encode(place)) for place in places])
        return chunks_not_found(MissingChunks(self._array, len(numbers), named))
