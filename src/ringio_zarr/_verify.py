"""Reads and decodes everything that is stored, in bounded memory, to find what is damaged."""

from __future__ import annotations

from array import array as numbers
from collections.abc import Callable, Iterator
from itertools import product
from math import prod
from typing import Final

from ringio import Reader, RingioError, StoreError
from ringio.planning import NamedTuple

from ._array import Array
from ._chain import build_pipeline
from ._errors import MetadataError
from ._group import Group
from ._load import join
from ._stored import KeyParser, stored_chunks

# So much is decoded at a time, or one chunk where that is more.
_BATCH_NBYTES: Final = 64 << 20

_OF_SHARDS: Final = ("the index of the shard", "the shard in")  # in the words of errors about all of a shard
_ASKED_MAX: Final = 10_000_000  # chunks

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


class _Piece(NamedTuple):
    """A box that is cut at the borders of chunks, inside the chunk of the outer grid that is at ``outer``."""

    outer: tuple[int, ...]
    box: Selection


class ArrayCheck:
    """All that is stored of an array, to be read once.

    Args:
        array: the array.
        name: its path, for messages.
        reader: lists what is stored.
    """

    def __init__(self, array: Array, name: str, reader: Reader) -> None:
        self._reader = reader
        self.array = array
        self.name = name
        self._metadata = metadata = array.metadata
        pipeline = build_pipeline(metadata)
        self._is_sharded = bool(pipeline.levels)
        # Chunks of a rectilinear grid cannot be cut; inner chunks of one shape are a regular grid in any array.
        self._inner_shape = pipeline.chunk_shape if self._is_sharded or metadata.axes is None else None
        self._bad_before: tuple[int, ...] | None = None
        self.stored = self._find_stored()

    def _find_stored(self) -> Stored:
        coordinates, nbytes = numbers("q"), numbers("q")
        grid = self._metadata.outer_grid_shape
        parser = KeyParser(self._metadata.chunk_keys, grid)
        try:
            for place, file_nbytes in stored_chunks(self.array.store, self.array.path, parser, self._reader):
                coordinates.extend(place)
                nbytes.append(file_nbytes)
        except StoreError:  # it cannot list: each chunk that there may be is asked for
            if prod(grid) > _ASKED_MAX:
                raise
            coordinates, nbytes = numbers("q"), numbers("q")
            for place in product(*map(range, grid)):
                coordinates.extend(place)
                nbytes.append(0)
        return Stored(coordinates, nbytes, len(nbytes))

    def run(self, report: Callable[[int], object]) -> Iterator[Bad]:
        """Read it all; gives what cannot be read, in the order of the chunks' names.

        Args:
            report: called with stored bytes that have been dealt with, as it goes on.
        """
        itemsize = max(self.array.dtype.itemsize, 1)
        batch: list[_Piece] = []
        batch_nbytes = stored_nbytes = 0
        for number in range(self.stored.chunk_count):
            for piece in self._cut(self._outer(number), _BATCH_NBYTES // itemsize):
                nbytes = _count(piece.box) * itemsize
                if batch and batch_nbytes + nbytes > _BATCH_NBYTES:
                    yield from self._check_once(batch)
                    report(stored_nbytes)
                    batch, batch_nbytes, stored_nbytes = [], 0, 0
                batch.append(piece)
                batch_nbytes += nbytes
            stored_nbytes += self.stored.nbytes[number]
        if batch:
            yield from self._check_once(batch)
        report(stored_nbytes)

    def _outer(self, number: int) -> _Piece:
        """A chunk of the outer grid that is stored."""
        shape, axes = self.array.shape, self._metadata.axes
        ndim = len(shape)
        place = tuple(self.stored.coordinates[number * ndim : (number + 1) * ndim])
        if axes is None:
            starts = [at * length for at, length in zip(place, self._metadata.chunk_shape, strict=True)]
            ends = [start + length for start, length in zip(starts, self._metadata.chunk_shape, strict=True)]
        else:
            starts = [axis.chunk_start(at) for axis, at in zip(axes, place, strict=True)]
            sizes = self._metadata.chunk_sizes(outer=True)
            ends = [start + size[at] for start, size, at in zip(starts, sizes, place, strict=True)]
        return _Piece(place, tuple(map(slice, starts, map(min, ends, shape))))

    def _cut(self, piece: _Piece, element_count: int) -> Iterator[_Piece]:
        """A piece cut into pieces of at most so many elements, or of one chunk."""
        halves = None if _count(piece.box) <= element_count else self._halve(piece)
        if halves is None:
            yield piece
            return
        for half in halves:
            yield from self._cut(half, element_count)

    def _halve(self, piece: _Piece) -> tuple[_Piece, _Piece] | None:
        """A piece cut in two, along the first dimension where that can be done; None: it is one chunk."""
        if self._inner_shape is None:
            return None
        for dimension, (part, length) in enumerate(zip(piece.box, self._inner_shape, strict=True)):
            first, last = part.start // length, (part.stop - 1) // length
            if first < last:
                middle = (first + (last - first + 1) // 2) * length
                before, after = slice(part.start, middle), slice(middle, part.stop)
                left, right = piece.box[:dimension], piece.box[dimension + 1 :]
                return piece._replace(box=(*left, before, *right)), piece._replace(box=(*left, after, *right))
        return None

    def _check_once(self, pieces: list[_Piece]) -> Iterator[Bad]:
        """The same as ``_check``, where a shard that is larger than a batch is told of once."""
        for bad in self._check(pieces):
            if bad.shard is None or bad.shard != self._bad_before:
                yield bad
            self._bad_before = bad.shard

    def _check(self, pieces: list[_Piece]) -> Iterator[Bad]:
        """Read pieces in one batch; if that fails, find out which chunks are to blame, by halves."""
        try:
            self.array.read_many([piece.box for piece in pieces])
            return
        except (RingioError, OSError, ValueError, MemoryError) as error:
            failed = error.with_traceback(None)  # which would keep all that was read
        if len(pieces) > 1:
            yield from self._check_each(pieces)
            return
        (piece,) = pieces
        if self._is_sharded and (isinstance(failed, OSError) or any(what in str(failed) for what in _OF_SHARDS)):
            yield Bad(self.name, None, piece.outer, failed)
            return
        halves = self._halve(piece)
        if halves is not None:
            for half in halves:
                yield from self._check([half])
        else:
            yield Bad(self.name, self._chunk(piece), None, failed)

    def _check_each(self, pieces: list[_Piece]) -> Iterator[Bad]:
        bad_shard = None
        for piece in pieces:
            if piece.outer == bad_shard:
                continue
            for bad in self._check([piece]):
                bad_shard = bad.shard
                yield bad

    def _chunk(self, piece: _Piece) -> tuple[int, ...]:
        """The coordinates of a piece that is one chunk."""
        if self._inner_shape is None:
            return piece.outer
        return tuple(part.start // length for part, length in zip(piece.box, self._inner_shape, strict=True))


def arrays_below(node: Array | Group, reader: Reader) -> Iterator[ArrayCheck | Bad]:
    """The arrays of a hierarchy, and the nodes that cannot be opened.

    Args:
        node: where to begin.
        reader: lists what is stored.
    """
    if isinstance(node, Array):
        yield from _check_of(node, "", reader)
        return
    above = [node.store.real_path(node.path)]  # to which links may lead back
    levels = [("", node, node.keys())]
    while levels:
        name, group, keys = levels[-1]
        for key in keys:
            below = join(name, key)
            try:
                member = group[key]
            except (MetadataError, RingioError, OSError, ValueError, NotImplementedError) as error:
                yield Bad(below, None, None, error)
                continue
            if isinstance(member, Array):
                yield from _check_of(member, below, reader)
            elif (place := member.store.real_path_below(above[-1], member.path)) not in above:
                above.append(place)
                levels.append((below, member, member.keys()))
                break
        else:
            levels.pop()
            above.pop()


def _check_of(array: Array, name: str, reader: Reader) -> Iterator[ArrayCheck | Bad]:
    try:
        yield ArrayCheck(array, name, reader)
    except OSError as error:
        yield Bad(name, None, None, error)


def _count(box: Selection) -> int:
    return prod(part.stop - part.start for part in box)
