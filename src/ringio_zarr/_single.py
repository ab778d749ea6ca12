"""Boxes of one chunk, or of a few, read without a plan: making one would take longer than to read and decode them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import product
from operator import mul
from typing import Any, Final, TypeAlias

import numpy.typing as npt

from ringio import Reader, planning

from ._chain import Pipeline
from ._locate import Locator
from ._metadata import ArrayMetadata
from ._result import first_offset
from ._selection import Box

_IDLE_MAX: Final = 8  # more threads than that read one array at a time but rarely

# So many chunks, of so many decoded bytes, are read sooner by the calling thread than by workers that have to be woken.
# The C core has the same limits for plans.
FEW_CHUNKS: Final = 8
_FEW_NBYTES: Final = 1 << 20

# How a box is walked, for all boxes of its shape: counts, steps, signs; strides of the target, None for a new one.
_Walk: TypeAlias = tuple[object, ...]

# Of a box: start and count of a part, and which element of the box its first is.
_Part: TypeAlias = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


class ChunkReads:
    """Reads boxes of one chunk, or of a few, while all goes well.

    Args:
        metadata: of the array.
        pipeline: of the same array.
        grid: its chunks.
        locator: finds them.
    """

    __slots__ = ("_chain", "_few_max", "_fill_data", "_grid", "_idle", "_itemsize", "_locator")

    def __init__(self, metadata: ArrayMetadata, pipeline: Pipeline, grid: planning.Grid, locator: Locator) -> None:
        self._grid = grid
        self._chain = pipeline.compiled
        self._itemsize = metadata.dtype.itemsize
        self._fill_data = metadata.fill_data
        self._locator = locator
        self._few_max = min(FEW_CHUNKS, _FEW_NBYTES // max(self._chain.decoded_nbytes, 1))
        # A deque needs no lock. What a read that was interrupted has does not come back here.
        self._idle: deque[tuple[planning.ChunkRead, _Walk]] = deque(maxlen=_IDLE_MAX)

    def read(self, box: Box, target: npt.NDArray[Any], reader: Reader, *, is_new: bool = False) -> bool:
        """Read a box into a target.

        Args:
            box: not empty.
            target: where it goes.
            reader: does it.
            is_new: the target is a new array in C order, with the shape of the box.

        Returns:
            False where that takes a plan: for the box of many chunks, for what has to be looked up first, and for what
            went wrong, which a plan has the words for.
        """
        starts, counts, steps, signs, _ = box
        read, walk = self._take()
        wanted = (counts, steps, signs, None if is_new else target.strides)
        if walk != wanted:
            strides = target.strides
            read.set_walk(counts, steps, box.target_strides(strides), box.target_offset(strides) + first_offset(target))
        chunk_id = read.find(starts)
        if chunk_id < 0:
            self._idle.append((read, wanted))
            return self.read_few([box], target, reader, 0)
        place = self._locator.find(chunk_id, read)
        done = False
        if place is not None:
            path, identity, offset, nbytes = place
            done = bool(reader.execute_chunk(read, path, identity, offset, nbytes, target))
            if not done:
                self._locator.forget(chunk_id)
        self._idle.append((read, wanted))
        return done

    def read_few(self, boxes: Sequence[Box], target: npt.NDArray[Any], reader: Reader, box_stride: int) -> bool:
        """Read boxes of one shape that touch few chunks, each of them once, and all of them in the page cache.

        Args:
            boxes: not empty; their steps are the same, too.
            target: where they go.
            reader: does it.
            box_stride: bytes in the target from one box to the next.

        Returns:
            False where that takes a plan. Some boxes may have been read.
        """
        if len(boxes) > self._few_max:
            return False
        first = boxes[0]
        inner = target.strides[len(target.strides) - len(first.shape) :]
        strides = first.target_strides(inner)
        offset = first.target_offset(inner) + first_offset(target)
        read, _ = self._take()
        parts = self._cut(boxes, strides, offset, box_stride)
        done = parts is not None and self._read_parts(parts, first.steps, strides, target, read, reader)
        self._idle.append((read, ()))
        return done

    def _cut(
        self, boxes: Sequence[Box], strides: Sequence[int], offset: int, box_stride: int
    ) -> list[tuple[Sequence[int], Sequence[int], int]] | None:
        """Start, count and place in the target of the parts of all boxes that lie in one chunk; None: too many."""
        parts: list[tuple[Sequence[int], Sequence[int], int]] = []
        for box in boxes:
            cuts = _cut_box(box, self._grid.chunk_shape, self._few_max - len(parts))
            if cuts is None:
                return None
            parts += [(starts, counts, offset + sum(map(mul, inside, strides))) for starts, counts, inside in cuts]
            offset += box_stride
        return parts

    def _read_parts(
        self,
        parts: Sequence[tuple[Sequence[int], Sequence[int], int]],
        steps: Sequence[int],
        strides: Sequence[int],
        target: npt.NDArray[Any],
        read: planning.ChunkRead,
        reader: Reader,
    ) -> bool:
        seen = set()
        for starts, counts, offset in parts:
            read.set_walk(counts, steps, strides, offset)
            chunk_id = read.find(starts)
            place = None if chunk_id in seen else self._locator.find(chunk_id, read)
            if place is None:  # or the chunk of another part, which a plan would decode but once
                return False
            done = reader.execute_chunk(read, *place, target, True)
            if done is False:
                self._locator.forget(chunk_id)
            if not done:
                return False
            seen.add(chunk_id)
        return True

    def _take(self) -> tuple[planning.ChunkRead, _Walk]:
        try:
            return self._idle.pop()
        except IndexError:
            return planning.ChunkRead(self._grid, self._chain, self._itemsize, self._fill_data), ()


def _cut_box(box: Box, chunk_shape: Sequence[int], most: int) -> list[_Part] | None:
    """A box cut at the borders of chunks; None where that gives more than so many pieces."""
    cuts: list[list[tuple[int, int, int]]] = []
    count = 1
    for place in zip(box.starts, box.counts, box.steps, chunk_shape, strict=True):
        cuts.append(_cuts(*place, most // count))
        count *= len(cuts[-1])
        if count > most:
            return None
    if count == 1:
        return [(box.starts, box.counts, (0,) * len(cuts))]
    return [tuple(zip(*part, strict=True)) for part in product(*cuts)]  # type: ignore[misc]


def _cuts(start: int, count: int, step: int, length: int, most: int) -> list[tuple[int, int, int]]:
    """The same along one dimension: start, count, and which element of the box the first is; at most one too many."""
    cuts: list[tuple[int, int, int]] = []
    done = 0
    while done < count and len(cuts) <= most:
        at = start + done * step
        here = min(count - done, -((at - (at // length + 1) * length) // step))
        cuts.append((at, here, done))
        done += here
    return cuts
