"""Reading arrays whose chunks have different shapes: for each shape one regular array, planned like any other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt

from ringio import Reader, RingioError

from ._axes import Axis
from ._chain import build_pipeline
from ._errors import joined
from ._keys import ChunkKeyEncoding
from ._metadata import ArrayMetadata
from ._planner import Boxes, ChunkNumbers, Planner, Progress
from ._selection import Box

_KEPT_PLANNERS: Final = 1024  # some 10 KiB each


class RectilinearPlanner(Planner):
    """What ``Planner`` is, for a rectilinear grid.

    Args:
        metadata: of the array.
        arguments: what else a planner takes.
    """

    __slots__ = ("_arguments", "_axes", "_metadata", "_parts")

    def __init__(self, metadata: ArrayMetadata, *arguments: Any) -> None:
        assert metadata.axes is not None
        self._metadata = metadata
        self._axes = metadata.axes
        self._arguments = arguments
        self._parts: dict[tuple[int, ...], Planner] = {}
        # The first shape stands for all: what does not fit together is refused when the array is opened.
        first = self._part((0,) * len(self._axes))
        self._numbers = first._numbers
        self._chains = first._chains
        self.decodes_shards = first.decodes_shards
        self._itemsize = metadata.dtype.itemsize
        self._kept_layout = None

    def piece_starts(self, dimension: int, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The first element of the innermost chunk that each of some elements is in."""
        starts = self._axes[dimension].chunk_starts(indices)
        if self._metadata.sharding is not None:  # the chunks inside of shards all have one length
            starts = indices - (indices - starts) % self.chunk_shape[dimension]
        return starts

    def read_box(self, box: Box, target: npt.NDArray[Any], reader: Reader, *, is_new: bool = False) -> None:
        """Read one box that is not empty."""
        del is_new
        self.read(self.boxes([box], [target]), target, reader)

    def read_few_crops(
        self, boxes: Sequence[Box], target: npt.NDArray[Any], reader: Reader, *, is_new: bool = False
    ) -> bool:
        """There is no way around a plan."""
        del boxes, target, reader, is_new
        return False

    def read(self, boxes: Any, targets: Any, reader: Reader, progress: Progress = None) -> None:
        """Read boxes, or points, into their targets: one batch for each shape of chunks.

        Everything that can be read is, whatever else cannot.

        Raises:
            OSError, ringio.RingioError: the first thing that went wrong in the first shape where something did.
        """
        first: Exception | None = None
        for planner, part in self.parts(boxes):
            try:
                planner.read(part, targets, reader, progress)
            except (RingioError, OSError) as error:
                first = joined(first, error)
        if first is not None:
            raise first

    def parts(self, boxes: Any) -> Iterator[tuple[Planner, Boxes]]:
        """Boxes, or points, as what the planners of the different shapes have to do."""
        for kinds, part in self._cut(boxes if isinstance(boxes, Boxes) else boxes.as_boxes()):
            planner = self._part(kinds)
            layouts = part.layouts.copy()
            rows = part.box_layouts if part.box_layouts is not None else np.zeros(len(part.starts), np.uint64)
            chosen, firsts = np.unique(rows, return_index=True)
            for layout, first in zip(chosen.tolist(), firsts.tolist(), strict=True):
                strides = planner._numbers.grid.strided(tuple(part.steps[first].tolist()))
                layouts["source_strides"][layout, : len(strides)] = strides
            yield planner, part._replace(layouts=layouts)

    def _cut(self, boxes: Boxes) -> list[tuple[tuple[int, ...], Boxes]]:
        """The parts of boxes in the chunks of each shape, in the coordinates of these chunks pushed together."""
        count, dim_count = boxes.starts.shape
        starts = boxes.starts
        counts, steps = (np.broadcast_to(table, starts.shape) for table in (boxes.counts, boxes.steps))
        box_layouts = np.zeros(count, np.uint64) if boxes.box_layouts is None else boxes.box_layouts
        offsets = boxes.offsets().copy()
        kinds = np.zeros((count, dim_count), np.int64)
        for dimension, axis in enumerate(self._axes):
            cuts = axis.cut(starts[:, dimension], counts[:, dimension], steps[:, dimension])
            starts, counts, steps, kinds = (table[cuts.walks] for table in (starts, counts, steps, kinds))
            box_layouts, offsets = box_layouts[cuts.walks], offsets[cuts.walks]
            starts[:, dimension], counts[:, dimension], kinds[:, dimension] = cuts.starts, cuts.counts, cuts.kinds
            offsets += cuts.done * boxes.layouts["target_strides"][box_layouts.view(np.int64), dimension]
        shapes, members = np.unique(kinds, axis=0, return_inverse=True)
        parts = []
        for number, shape in enumerate(shapes.tolist()):
            mine = np.flatnonzero(members.reshape(-1) == number)
            part = Boxes(starts[mine], counts[mine], steps[mine], boxes.layouts, offsets[mine], box_layouts[mine])
            parts.append((tuple(shape), part))
        return parts

    def _part(self, kinds: tuple[int, ...]) -> Planner:
        """The planner for the chunks of one shape."""
        part = self._parts.get(kinds)
        if part is None:
            if len(self._parts) >= _KEPT_PLANNERS:
                self._parts.clear()
            keys = PartKeys(self._metadata.chunk_keys, self._axes, kinds)
            metadata = self._metadata._replace(
                shape=tuple(axis.count_of(k) * int(axis.edges[k]) for axis, k in zip(self._axes, kinds, strict=True)),
                chunk_shape=tuple(int(axis.edges[k]) for axis, k in zip(self._axes, kinds, strict=True)),
                chunk_keys=cast("ChunkKeyEncoding", keys),  # it has the same methods
                axes=None,
            )
            part = self._parts[kinds] = _PartPlanner(metadata, keys, *self._arguments)
        return part


class _PartPlanner(Planner):
    """The planner of a regular array that is made of the chunks of one shape of another array."""

    __slots__ = ("_keys",)

    def __init__(self, metadata: ArrayMetadata, keys: PartKeys, *arguments: Any) -> None:
        self._keys = keys
        super().__init__(metadata, build_pipeline(metadata), *arguments)

    def _describe(self, chunk_id: int) -> str:
        return f"chunk {self._keys.inner(self._numbers.coordinates(chunk_id), self._numbers)} of {self._directory!r}"


class PartKeys:
    """The keys of the chunks of one shape, by their coordinates among themselves.

    Args:
        keys: of all chunks.
        axes: of the array.
        kinds: which of the axes' lengths these chunks have.
    """

    __slots__ = ("_axes", "_keys", "_kinds")

    def __init__(self, keys: ChunkKeyEncoding, axes: Sequence[Axis], kinds: Sequence[int]) -> None:
        self._keys = keys
        self._axes = axes
        self._kinds = kinds

    def encode(self, coordinates: Sequence[Any]) -> str:
        """The key of one chunk."""
        return self._keys.encode(self.outer(coordinates))

    def pattern(self, dim_count: int) -> str | None:
        """The key of every chunk, for those who have its coordinates in the array."""
        return self._keys.pattern(dim_count)

    def beginning(self, dim_count: int) -> None:
        """What follows are not the coordinates."""
        del dim_count

    def encode_many(self, coordinates: npt.NDArray[np.integer[Any]]) -> list[str]:
        """The keys of many chunks, int64[n, ndim]."""
        mapped = np.empty(coordinates.shape, np.int64)
        for dimension, (axis, kind) in enumerate(zip(self._axes, self._kinds, strict=True)):
            mapped[:, dimension] = axis.chunk_numbers(kind, coordinates[:, dimension])
        return self._keys.encode_many(mapped)

    def outer(self, coordinates: Sequence[Any]) -> tuple[int, ...]:
        """Coordinates in the array's grid."""
        return tuple(
            int(axis.chunk_numbers(kind, place))
            for axis, kind, place in zip(self._axes, self._kinds, coordinates, strict=True)
        )

    def inner(self, coordinates: Sequence[int], numbers: ChunkNumbers) -> tuple[int, ...]:
        """The same for innermost chunks, which are numbered through all shards."""
        lengths = numbers.grid.chunk_shape
        counts = [int(axis.edges[kind]) // n for axis, kind, n in zip(self._axes, self._kinds, lengths, strict=True)]
        outer = self.outer([number // count for number, count in zip(coordinates, counts, strict=True)])
        if max(counts, default=1) == 1:
            return outer
        return tuple(
            axis.chunk_start(place) // length + number % count
            for axis, place, length, number, count in zip(self._axes, outer, lengths, coordinates, counts, strict=True)
        )
