"""Reads and decodes everything that is stored, in bounded memory, to find what is damaged."""

from __future__ import annotations

from array import array as numbers
from collections.abc import Callable, Iterator
from itertools import product
from math import prod
from typing import Any, Final, NamedTuple

from ringio import RingioError

from ._array import Array
from ._chain import build_pipeline
from ._errors import MetadataError
from ._grid import grid_shape
from ._group import Group
from ._node import join
from ._store import LocalStore
from ._stored import KeyParser, stored_files

# So much is decoded at a time, or one chunk where that is more.
_BATCH_NBYTES: Final = 64 << 20

Selection = tuple[slice, ...]


class Bad(NamedTuple):
    """Something that cannot be read.

    Attributes:
        array: the path of the array, or of a node that cannot be opened, below where the verifying began.
        chunk: coordinates in the grid of the innermost chunks; None: all of a shard, or no chunk at all.
        shard: coordinates of the shard, where all of it cannot be read.
        error: what is wrong.
    """

    array: str
    chunk: tuple[int, ...] | None
    shard: tuple[int, ...] | None
    error: Exception


class Stored(NamedTuple):
    """The chunks of the outer grid that there are.

    Attributes:
        coordinates: of each, one after the other.
        nbytes: of each on disk; 0 where that is not known.
        chunk_count: how many there are.
    """

    coordinates: numbers[int]
    nbytes: numbers[int]
    chunk_count: int

    @property
    def nbytes_total(self) -> int:
        """Of all."""
        return sum(self.nbytes)


class ArrayCheck:
    """All that is stored of an array, to be read once.

    Args:
        array: the array.
        name: its path, for messages.
    """

    def __init__(self, array: Array, name: str) -> None:
        self.array = array
        self.name = name
        metadata = array.metadata
        self._outer_shape = metadata.chunk_shape
        self._outer_grid = grid_shape(array.shape, metadata.chunk_shape)
        self._inner_shape = build_pipeline(metadata).chunk_shape
        self._is_sharded = self._inner_shape != self._outer_shape or bool(array.shards)
        self._bad_before: tuple[int, ...] | None = None
        self.stored = self._find_stored()

    def _find_stored(self) -> Stored:
        coordinates, nbytes = numbers("q"), numbers("q")
        count = 0
        if isinstance(self.array.store, LocalStore):
            parser = KeyParser(self.array.metadata.chunk_keys, self._outer_grid)
            for file in stored_files(self.array.location, parser):
                if file.coordinates is not None:
                    coordinates.extend(file.coordinates)
                    nbytes.append(file.nbytes)
                    count += 1
            return Stored(coordinates, nbytes, count)
        for place in product(*map(range, self._outer_grid)):  # a store that may not be able to list
            coordinates.extend(place)
            nbytes.append(0)
            count += 1
        return Stored(coordinates, nbytes, count)

    def run(self, report: Callable[[int], object]) -> Iterator[Bad]:
        """Read it all; gives what cannot be read, in the order of the chunks' names.

        Args:
            report: called with stored bytes that have been dealt with, as it goes on.
        """
        itemsize = max(self.array.dtype.itemsize, 1)
        batch: list[Selection] = []
        batch_nbytes = stored_nbytes = 0
        for number in range(self.stored.chunk_count):
            for box in self._pieces(self._outer(number), _BATCH_NBYTES // itemsize):
                nbytes = _count(box) * itemsize
                if batch and batch_nbytes + nbytes > _BATCH_NBYTES:
                    yield from self._check_once(batch)
                    report(stored_nbytes)
                    batch, batch_nbytes, stored_nbytes = [], 0, 0
                batch.append(box)
                batch_nbytes += nbytes
            stored_nbytes += self.stored.nbytes[number]
        if batch:
            yield from self._check_once(batch)
        report(stored_nbytes)

    def _outer(self, number: int) -> Selection:
        """The elements of an outer chunk."""
        ndim = len(self._outer_shape)
        place = self.stored.coordinates[number * ndim : (number + 1) * ndim]
        return tuple(
            slice(at * length, min((at + 1) * length, end))
            for at, length, end in zip(place, self._outer_shape, self.array.shape, strict=True)
        )

    def _pieces(self, box: Selection, element_count: int) -> Iterator[Selection]:
        """A box cut at the borders of inner chunks into pieces of at most so many elements, or one chunk."""
        if _count(box) <= element_count:
            yield box
            return
        halves = _halve(box, self._inner_shape)
        if halves is None:
            yield box
            return
        for half in halves:
            yield from self._pieces(half, element_count)

    def _check_once(self, boxes: list[Selection]) -> Iterator[Bad]:
        """The same as ``_check``, where a shard that is larger than a batch is told of once."""
        for bad in self._check(boxes):
            if bad.shard is None or bad.shard != self._bad_before:
                yield bad
            self._bad_before = bad.shard

    def _check(self, boxes: list[Selection]) -> Iterator[Bad]:
        """Read boxes in one batch; if that fails, find out which chunks are to blame, by halves."""
        try:
            self.array.read_many(boxes)
            return
        except (RingioError, OSError, ValueError, MemoryError) as error:
            failed = error.with_traceback(None)  # which would keep all that was read
        if len(boxes) > 1:
            yield from self._check_each(boxes)
            return
        shard = self._bad_shard(boxes[0], failed)
        if shard is not None:
            yield Bad(self.name, None, shard, failed)
            return
        halves = _halve(boxes[0], self._inner_shape)
        if halves is None:
            yield Bad(self.name, self._chunk(boxes[0], self._inner_shape), None, failed)
        else:
            for half in halves:
                yield from self._check([half])

    def _check_each(self, boxes: list[Selection]) -> Iterator[Bad]:
        shards = set()
        for box in boxes:
            shard = self._chunk(box, self._outer_shape)
            if shard in shards:
                continue
            for bad in self._check([box]):
                if bad.shard is not None:
                    shards.add(bad.shard)
                yield bad

    def _bad_shard(self, box: Selection, error: Exception) -> tuple[int, ...] | None:
        """The shard of a box, if the error is about all of it."""
        whole = isinstance(error, OSError) or "the index of the shard" in str(error)
        return self._chunk(box, self._outer_shape) if self._is_sharded and whole else None

    def _chunk(self, box: Selection, chunk_shape: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(part.start // length for part, length in zip(box, chunk_shape, strict=True))


def arrays_below(node: Array | Group, name: str = "", above: tuple[object, ...] = ()) -> Iterator[ArrayCheck | Bad]:
    """The arrays of a hierarchy, and the nodes that cannot be opened.

    Args:
        node: where to begin.
        name: its path.
        above: places that were passed on the way, to which links may lead back.
    """
    if isinstance(node, Array):
        try:
            yield ArrayCheck(node, name)
        except OSError as error:
            yield Bad(name, None, None, error)
        return
    place = _place(node)
    if place in above:
        return
    for key in node.keys():  # noqa: SIM118  # __iter__ of a group is the same
        below = join(name, key)
        try:
            member = node[key]
        except (MetadataError, RingioError, OSError, ValueError, NotImplementedError) as error:
            yield Bad(below, None, None, error)
            continue
        yield from arrays_below(member, below, (*above, place))


def _place(group: Group) -> object:
    store: Any = group.store
    return store.real_path(group.path) if isinstance(store, LocalStore) else group.path


def _count(box: Selection) -> int:
    return prod(part.stop - part.start for part in box)


def _halve(box: Selection, chunk_shape: tuple[int, ...]) -> tuple[Selection, Selection] | None:
    """A box cut in two at a border of chunks, along the first dimension that has one; None: it is one chunk."""
    for dimension, (part, length) in enumerate(zip(box, chunk_shape, strict=True)):
        first, last = part.start // length, (part.stop - 1) // length
        if first < last:
            middle = (first + (last - first + 1) // 2) * length
            before, after = slice(part.start, middle), slice(middle, part.stop)
            return (
                (*box[:dimension], before, *box[dimension + 1 :]),
                (*box[:dimension], after, *box[dimension + 1 :]),
            )
    return None
