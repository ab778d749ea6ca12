"""Rectilinear chunk grids: along each dimension chunks of any lengths, as runs of chunks that are equally long.

The chunks of one shape, taken by themselves and pushed together, are a regular array; so each shape is planned and read
as such an array, and this module has the numbers for the way there and back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ringio.planning import NamedTuple

from ._document import MAX_LENGTH, parse_int, parse_object, refuse_keys, require
from ._errors import Place, excerpt

I64 = npt.NDArray[np.int64]


class Axis(NamedTuple):
    """How one dimension is cut: run r is so many chunks of one length, one behind the other.

    Attributes:
        starts: the first element of each run, and the end of the last chunk that the array reaches into; int64[r + 1].
        first_chunks: the number of the first chunk of each run, and of all chunks; int64[r + 1].
        lengths: of the chunks of each run; int64[r].
        kinds: which of ``edges`` that is; int64[r].
        edges: the distinct lengths, ascending; int64[k].
        places: where the run begins among the chunks of its length, in chunks; int64[r].
        extent: elements of the array.
        declared: as the document has it: an integer, or the edges one by one or as runs.
    """

    starts: I64
    first_chunks: I64
    lengths: I64
    kinds: I64
    edges: I64
    places: I64
    extent: int
    declared: Any

    @property
    def chunk_count(self) -> int:
        """How many chunks the array reaches into."""
        return int(self.first_chunks[-1])

    def count_of(self, kind: int) -> int:
        """How many chunks have one of the lengths."""
        return int((self.first_chunks[1:] - self.first_chunks[:-1])[self.kinds == kind].sum())

    def sizes(self) -> tuple[int, ...]:
        """Elements of each chunk that are in the array."""
        sizes = np.repeat(self.lengths, self.first_chunks[1:] - self.first_chunks[:-1]).tolist()
        if sizes:
            sizes[-1] -= int(self.starts[-1]) - self.extent
        return tuple(sizes)

    def chunk_numbers(self, kind: int, places: npt.ArrayLike) -> I64:
        """The numbers of chunks that are known by their place among those of their length."""
        runs = np.flatnonzero(self.kinds == kind)
        wanted = np.asarray(places, np.int64)
        run = runs[np.searchsorted(self.places[runs], wanted, side="right") - 1]
        numbers: I64 = self.first_chunks[run] + wanted - self.places[run]
        return numbers

    def chunk_start(self, number: int) -> int:
        """The first element of a chunk."""
        run = int(np.searchsorted(self.first_chunks, number, side="right")) - 1
        return int(self.starts[run]) + (number - int(self.first_chunks[run])) * int(self.lengths[run])

    def chunk_starts(self, indices: I64) -> I64:
        """The first element of the chunk that each of some elements is in."""
        runs = np.searchsorted(self.starts, indices, side="right") - 1
        starts, lengths = self.starts[runs], self.lengths[runs]
        return starts + (indices - starts) // lengths * lengths

    def length_of(self, number: int) -> int:
        """The length of a chunk."""
        return int(self.lengths[int(np.searchsorted(self.first_chunks, number, side="right")) - 1])

    def cut(self, starts: I64, counts: I64, steps: I64) -> Cuts:
        """Cut walks along this dimension where a run ends.

        Args:
            starts: the first element of each walk; inside the array.
            counts: elements, at least 1.
            steps: between them, at least 1.
        """
        last = starts + (counts - 1) * steps
        first_runs = np.searchsorted(self.starts, starts, side="right") - 1
        run_counts = np.searchsorted(self.starts, last, side="right") - first_runs
        walks = np.repeat(np.arange(len(starts)), run_counts)
        runs = np.arange(len(walks)) - np.repeat(np.cumsum(run_counts) - run_counts - first_runs, run_counts)
        start, step = starts[walks], steps[walks]
        done = np.maximum(-((start - self.starts[runs]) // step), 0)  # elements before the run
        ends = np.minimum(-((start - self.starts[runs + 1]) // step), counts[walks])
        kept = ends > done  # a long step may leave a run out
        walks, runs, done, ends = walks[kept], runs[kept], done[kept], ends[kept]
        inside = start[kept] + done * step[kept] - self.starts[runs] + self.places[runs] * self.lengths[runs]
        return Cuts(walks, self.kinds[runs], inside, ends - done, done)


class Cuts(NamedTuple):
    """Pieces of walks, each in one run.

    Attributes:
        walks: which walk each piece is of.
        kinds: of the chunks that it is in.
        starts: its first element, counted in the chunks of that kind pushed together.
        counts: its elements.
        done: elements of the walk before it.
    """

    walks: npt.NDArray[np.intp]
    kinds: I64
    starts: I64
    counts: I64
    done: I64


def parse_axes(configuration: object, shape: Sequence[int], place: Place) -> tuple[Axis, ...]:
    """The configuration of the chunk grid ``rectilinear``.

    Args:
        configuration: what the document has there.
        shape: of the array.
        place: where that stands.

    Raises:
        MetadataError: lengths that make no sense, or do not reach to the end of the array.

    Source: zarr-extensions, ``chunk-grids/rectilinear``; zarr-python writes a dimension as one length, as the lengths
    one by one, or with ``[length, count]`` for several.

    >>> axis, = parse_axes({"kind": "inline", "chunk_shapes": [[[10, 2], 5]]}, (23,), Place("zarr.json"))
    >>> axis.starts.tolist(), axis.lengths.tolist(), axis.sizes()
    ([0, 20, 25], [10, 5], (10, 10, 3))
    """
    members = parse_object(configuration, place)
    refuse_keys(members, {"kind", "chunk_shapes"}, place)
    if (kind := require(members, "kind", place)) != "inline":
        raise place.at("kind").unsupported(f"expected 'inline', got {excerpt(kind)}")
    return parse_chunk_shapes(require(members, "chunk_shapes", place), shape, place.at("chunk_shapes"))


def parse_chunk_shapes(value: object, shape: Sequence[int], place: Place) -> tuple[Axis, ...]:
    """One length, or a list of lengths and runs, for each dimension."""
    if not isinstance(value, list | tuple) or len(value) != len(shape):
        raise place.error(f"expected a list for {len(shape)} dimensions, got {excerpt(value)}")
    return tuple(
        _parse_axis(item, extent, place.at(i)) for i, (item, extent) in enumerate(zip(value, shape, strict=True))
    )


def _parse_axis(value: object, extent: int, place: Place) -> Axis:
    if not isinstance(value, list | tuple):
        length = _parse_length(value, place)
        return _make_axis([(length, -(-extent // length))], extent, value)
    if not value:
        raise place.error("no chunks")
    runs = [_parse_run(item, place.at(i)) for i, item in enumerate(value)]
    reach = sum(length * count for length, count in runs)
    if reach < extent:
        raise place.error(f"the chunks reach to element {reach}, the array has {extent}")
    return _make_axis(runs, extent, value)


def _parse_run(value: object, place: Place) -> tuple[int, int]:
    if not isinstance(value, list | tuple):
        return _parse_length(value, place), 1
    if len(value) != 2:
        raise place.error(f"expected a length or [length, count], got {excerpt(value)}")
    return _parse_length(value[0], place.at(0)), parse_int(value[1], place.at(1), minimum=1)


def _parse_length(value: object, place: Place) -> int:
    """zarr-python has written 4.0 and true."""
    if value is True or (isinstance(value, float) and value.is_integer()):
        value = int(value)
    return parse_int(value, place, minimum=1)


def _make_axis(runs: Sequence[tuple[int, int]], extent: int, declared: object) -> Axis:
    """An axis of (length, count), as far as the array reaches. Runs of the same length behind each other are joined."""
    lengths: list[int] = []
    starts, first_chunks = [0], [0]
    for length, count in runs:
        here = min(count, -(-(extent - starts[-1]) // length))
        if here <= 0:
            break
        if lengths and lengths[-1] == length:
            starts.pop()
            before = first_chunks.pop() - first_chunks[-1]
        else:
            lengths.append(length)
            before = 0
        first_chunks.append(first_chunks[-1] + before + here)
        starts.append(starts[-1] + (before + here) * length)
    starts[-1] = min(starts[-1], MAX_LENGTH)  # of a last chunk that is longer than any array
    if not lengths:  # of an array without elements
        lengths, starts, first_chunks = [runs[0][0]], [0, 0], [0, 0]
    edges, kinds = np.unique(np.array(lengths, np.int64), return_inverse=True)
    counts = np.diff(np.array(first_chunks, np.int64))
    places = np.zeros(len(lengths), np.int64)
    for kind in range(len(edges)):
        chosen = kinds == kind
        places[chosen] = np.cumsum(counts[chosen]) - counts[chosen]
    return Axis(
        starts=np.array(starts, np.int64),
        first_chunks=np.array(first_chunks, np.int64),
        lengths=np.array(lengths, np.int64),
        kinds=kinds.astype(np.int64),
        edges=edges,
        places=places,
        extent=extent,
        declared=declared,
    )
