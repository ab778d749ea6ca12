"""Ranges: which bytes of which objects, as columns, or as tuples that are made into columns."""

from __future__ import annotations

import os
from array import array as packed
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._columns import integers
from ._paths import object_paths

Path: TypeAlias = "str | bytes | os.PathLike[str] | os.PathLike[bytes]"
RangeTuple: TypeAlias = "tuple[Path, int, int | None]"

_TO_END: Final = -1


class Ranges:
    """Byte ranges of files and objects, in columns: a million of them cost four arrays, not a million Python objects.

    Args:
        paths: the distinct files and objects; ``str``, ``bytes``, ``os.PathLike`` or URLs.
        path_index: for each range, which of ``paths`` it is in; one number where all are in the same.
        offsets: where each begins, in bytes; negative: counted back from the end of the file.
        lengths: how many bytes each has; -1: to the end of the file; one number where all have the same.

    Attributes:
        paths: tuple of str.
        path_index: uint32[n], read-only.
        offsets: int64[n], read-only.
        lengths: int64[n], read-only.

    The arrays are not copied where they have these dtypes already.

    Raises:
        TypeError: arrays that do not hold integers.
        ValueError: arrays of different lengths, an index of no path, a length below -1, a NUL in a path.

    >>> ranges = Ranges(paths=["a.bin", "b.bin"], path_index=[0, 1, 1], offsets=[0, 10, -4], lengths=[8, 8, -1])
    >>> len(ranges), ranges[2]
    (3, ('b.bin', -4, None))
    """

    __slots__ = ("paths", "path_index", "offsets", "lengths")

    paths: tuple[str, ...]
    path_index: NDArray[np.uint32]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]

    def __init__(self, paths: Sequence[Path], path_index: ArrayLike, offsets: ArrayLike, lengths: ArrayLike) -> None:
        if isinstance(paths, str | bytes | os.PathLike):
            raise TypeError(f"paths is one path, {paths!r}; a sequence of paths is due")
        offsets = integers("offsets", offsets)
        if offsets.ndim != 1:
            raise ValueError(f"offsets has {offsets.ndim} dimensions, 1 is due")
        count = len(offsets)
        index = _column("path_index", path_index, count)
        self.paths = object_paths(tuple(paths))
        self.offsets = _read_only(offsets)
        self.lengths = _read_only(_column("lengths", lengths, count))
        # As unsigned numbers the negative ones are the largest: one pass sees both ends.
        if count and np.maximum.reduce(index.view(np.uint64)) >= len(self.paths):
            bad = int(np.flatnonzero((index < 0) | (index >= len(self.paths)))[0])
            raise ValueError(f"range {bad}: path_index {index[bad]}, but there are {len(self.paths)} paths")
        if count and np.minimum.reduce(self.lengths) < _TO_END:
            bad = int(np.flatnonzero(self.lengths < _TO_END)[0])
            raise ValueError(f"range {bad}: length {self.lengths[bad]}; -1 (to the end) is the least there is")
        self.path_index = _read_only(index.astype(np.uint32, copy=False))

    @classmethod
    def from_tuples(cls, ranges: Iterable[RangeTuple]) -> Ranges:
        """Ranges from tuples (path, offset, length); length None reads to the end of the file.

        >>> Ranges.from_tuples([("a", 0, 8), ("a", -4, None)]).lengths
        array([ 8, -1])
        """
        rows = ranges if isinstance(ranges, list | tuple) else list(many(ranges))
        if not rows:
            return cls((), np.empty(0, np.uint32), np.empty(0, np.int64), np.empty(0, np.int64))
        try:
            # Three passes: twice as fast as zip(*rows), which makes an iterator for each row.
            paths = [path for path, _, _ in rows]
            offsets = _tuple_column([row[1] for row in rows])
            lengths = _tuple_lengths([row[2] for row in rows])
            distinct, index = _distinct(paths)
        except (TypeError, ValueError, OverflowError):
            raise _bad_row(rows) from None
        try:
            return cls(distinct, index, offsets, lengths)
        except TypeError:
            raise _bad_row(rows) from None

    def _part(self, start: int, stop: int) -> tuple[Ranges, NDArray[np.intp] | None]:
        """The ranges from ``start`` to ``stop``, with the paths that they use.

        Returns:
            The ranges, and which paths those are; None: all of them.

        >>> ranges = Ranges(paths=["a", "b", "c"], path_index=[0, 2, 1, 2], offsets=[0, 1, 2, 3], lengths=8)
        >>> part, used = ranges._part(1, 4)
        >>> list(part), used
        ([('c', 1, 8), ('b', 2, 8), ('c', 3, 8)], array([1, 2]))
        """
        index = self.path_index[start:stop]
        paths, used = self.paths, None
        if len(paths) > 1:
            # Not np.unique: its first call imports a module. Nothing here takes time for paths that are not used.
            ordered = np.sort(index)
            used = ordered[np.flatnonzero(np.diff(ordered, prepend=-1))].astype(np.intp)
            index = _read_only(np.searchsorted(used, index).astype(np.uint32))
            paths = tuple([paths[i] for i in used.tolist()])
        part = Ranges.__new__(Ranges)
        part.paths, part.path_index = paths, index
        part.offsets, part.lengths = self.offsets[start:stop], self.lengths[start:stop]
        return part, used

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, i: int) -> tuple[str, int, int | None]:
        length = int(self.lengths[i])
        return self.paths[int(self.path_index[i])], int(self.offsets[i]), None if length == _TO_END else length

    def __iter__(self) -> Iterator[tuple[str, int, int | None]]:
        return (self[i] for i in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Ranges):
            return NotImplemented
        return (
            self.paths == other.paths
            and np.array_equal(self.path_index, other.path_index)
            and np.array_equal(self.offsets, other.offsets)
            and np.array_equal(self.lengths, other.lengths)
        )

    __hash__ = None  # type: ignore[assignment]  # it holds arrays

    def __reduce__(self) -> tuple[Any, ...]:
        return Ranges, (self.paths, self.path_index, self.offsets, self.lengths)

    def __repr__(self) -> str:
        return f"<ringio.Ranges: {len(self)} ranges of {len(self.paths)} files>"


def many(ranges: Iterable[RangeTuple]) -> Iterable[RangeTuple]:
    """The ranges.

    Raises:
        TypeError: they are one path: a string is a sequence, too.
    """
    if isinstance(ranges, str | bytes | os.PathLike):
        raise TypeError(f"ranges is one path, {ranges!r:.100}; a sequence of (path, offset, length) is due")
    return ranges


def as_ranges(ranges: Ranges | Iterable[RangeTuple]) -> Ranges:
    """Ranges from either form."""
    return ranges if isinstance(ranges, Ranges) else Ranges.from_tuples(ranges)


def _column(name: str, values: ArrayLike, count: int) -> NDArray[np.int64]:
    array = integers(name, values)
    if array.ndim == 0:
        return np.full(count, array)
    if array.shape != (count,):
        raise ValueError(f"{name} has shape {array.shape}, but there are {count} offsets")
    return array


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view


def _tuple_column(values: Sequence[Any]) -> NDArray[np.int64]:
    # Takes integers only, where numpy would round floats; and is faster.
    return np.frombuffer(packed("q", values), np.int64)


def _tuple_lengths(lengths: Sequence[int | None]) -> NDArray[np.int64]:
    try:
        column = _tuple_column(lengths)
        given = column
    except TypeError:  # some may be None; looking for it would take as long as this does
        column = _tuple_column([_TO_END if length is None else length for length in lengths])
        given = column[[length is not None for length in lengths]]
    if int(given.min(initial=0)) < 0:
        raise ValueError("a negative length")
    return column


def _distinct(paths: Sequence[Path]) -> tuple[tuple[Path, ...], ArrayLike]:
    """The paths without repetitions, and which of them each is."""
    if paths[0] == paths[-1] and paths.count(paths[0]) == len(paths):
        return tuple(dict.fromkeys(paths[:1])), 0
    distinct = dict.fromkeys(paths)
    if len(distinct) == len(paths):
        return tuple(distinct), np.arange(len(paths), dtype=np.uint32)
    numbers = dict(zip(distinct, range(len(distinct)), strict=True))
    return tuple(distinct), np.fromiter(map(numbers.__getitem__, paths), np.uint32, len(paths))


def _bad_row(rows: Sequence[Any]) -> Exception:
    """What is wrong with the first row that makes no sense."""
    for i, row in enumerate(rows):
        if isinstance(row, str | bytes) or not isinstance(row, Sequence) or len(row) != 3:
            return TypeError(f"range {i}: expected (path, offset, length), got {row!r:.100}")
        path, *numbers = row
        if not isinstance(path, str | bytes | os.PathLike):
            return TypeError(f"range {i}: {path!r:.100} is not a path")
        for name, number in zip(("offset", "length"), numbers, strict=True):
            if number is None and name == "length":
                continue
            if not isinstance(number, int | np.integer):
                return TypeError(f"range {i}: {name} {number!r:.100} is not an integer")
            if not -(2**63) <= number < 2**63:
                return ValueError(f"range {i}: {name} {number}, which no file reaches")
            if name == "length" and number < 0:
                return ValueError(f"range {i}: length {number} is negative; None reads to the end")
    return TypeError("expected tuples (path, offset, length)")
