"""From boxes of an array to one plan: boxes × chunk grid × where the chunks lie."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from math import prod
from operator import mul
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from ringio import FileChangedError, Plan, Reader, RingioError, planning

from ._cache import ShardIndexCache
from ._chain import Pipeline
from ._grid import c_strides, grid_shape
from ._locate import FilePerChunk, Located, Locator, ShardLocator
from ._metadata import ArrayMetadata
from ._result import first_offset
from ._selection import Box
from ._store import ChunkFiles

Progress: TypeAlias = bool | Callable[[int, int], object] | None

# A batch is begun once more when a shard was replaced while it ran. Who rewrites shards all the time gets the error:
# there is no state of the array that could be read.
_ATTEMPTS: Final = 2
_IDLE_MAX: Final = 8  # more threads than that read one array at a time but rarely
_ONE_PROJECTION: Final = np.array([0, 1], np.uint64)


class Boxes(NamedTuple):
    """Boxes of an array and their places in targets: the arguments of ``planning.Grid.intersect``.

    A tuple and not a dataclass: one is made for each ``a[...]``.

    Attributes:
        starts: first elements, int64[n, ndim].
        counts: elements along each dimension, int64[n, ndim], or int64[1, ndim] where all have the same.
        steps: between elements, int64[n, ndim] or int64[1, ndim].
        layouts: LAYOUT[k].
        target_offsets: bytes from the lowest address of its target to where each box's first element goes, int64[n].
        box_layouts: the layout of each box, u64[n]; None: all have the first.
    """

    starts: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    steps: npt.NDArray[np.int64]
    layouts: npt.NDArray[np.void]
    target_offsets: npt.NDArray[np.int64]
    box_layouts: npt.NDArray[np.uint64] | None = None


class ChunkNumbers:
    """The ids of an array's innermost chunks: those of one shard are consecutive, in the order of the shard's index.

    Args:
        metadata: of the array.
        pipeline: of the same array.
    """

    __slots__ = ("_levels", "_outer_levels", "grid", "outer_shape")

    def __init__(self, metadata: ArrayMetadata, pipeline: Pipeline) -> None:
        counts = [level.entry_count for level in pipeline.levels]
        self.outer_shape = grid_shape(metadata.shape, metadata.chunk_shape)
        shapes = [metadata.chunk_shape, *(level.chunk_shape for level in pipeline.levels)]
        factors = [[outer // inner for outer, inner in zip(shape, shapes[-1], strict=True)] for shape in shapes]
        id_strides = [c_strides(self.outer_shape, prod(counts))]
        id_strides += [
            tuple(stride * prod(counts[depth + 1 :]) for stride in level.id_strides)
            for depth, level in enumerate(pipeline.levels)
        ]
        self.grid = planning.Grid(pipeline.chunk_shape, pipeline.chunk_strides, factors, id_strides)
        grid_shapes = [self.outer_shape, *(level.grid_shape for level in pipeline.levels)]
        self._outer_levels = list(zip(factors[:-1], id_strides[:-1], strict=True))
        self._levels = list(zip(grid_shapes, id_strides, strict=True))  # the way back from an id

    def chunk_of(self, box: Box) -> tuple[int, int] | None:
        """The id of the chunk that holds all of a box, and the place of its first element there, in bytes.

        None where there is more than one such chunk, and the grid has to cut the box.
        """
        grid = self.grid
        inside = 0
        coordinates = []
        for start, count, step, length, stride in zip(
            box.starts, box.counts, box.steps, grid.chunk_shape, grid.chunk_strides, strict=True
        ):
            coordinate = start // length
            if (start + (count - 1) * step) // length != coordinate:
                return None
            coordinates.append(coordinate)
            inside += (start - coordinate * length) * stride
        chunk_id = 0
        for factors, strides in self._outer_levels:
            for dimension, factor in enumerate(factors):
                outer, coordinates[dimension] = divmod(coordinates[dimension], factor)
                chunk_id += outer * strides[dimension]
        # Of the last level each chunk is one innermost chunk.
        return chunk_id + sum(map(mul, coordinates, grid.id_strides[-1])), inside

    def coordinates(self, chunk_id: int) -> tuple[int, ...]:
        """Where in the grid of innermost chunks a chunk is."""
        coordinates = [0] * len(self.outer_shape)
        for shape, strides in self._levels:
            for dimension, (length, stride) in enumerate(zip(shape, strides, strict=True)):
                coordinates[dimension] = coordinates[dimension] * length + chunk_id // stride % length
        return tuple(coordinates)


class Planner:
    """All about one array that is worked out once, and the way from boxes to the elements in them.

    Args:
        metadata: of the array.
        pipeline: of the same array.
        directory: where its chunks are.
        cache: keeps shard indexes.
    """

    __slots__ = (
        "_chains",
        "_directory",
        "_fill_data",
        "_idle",
        "_itemsize",
        "_kept_layout",
        "_locator",
        "_numbers",
        "_source_strides",
    )

    def __init__(self, metadata: ArrayMetadata, pipeline: Pipeline, directory: str, cache: ShardIndexCache) -> None:
        self._numbers = ChunkNumbers(metadata, pipeline)
        self._directory = directory
        self._chains = [pipeline.compiled]
        self._fill_data = metadata.fill_data
        files = ChunkFiles(directory, metadata.chunk_keys, self._numbers.outer_shape)
        self._locator: Locator = (
            ShardLocator(files, pipeline, cache, self._describe) if pipeline.levels else FilePerChunk(files)
        )
        self._source_strides = pipeline.chunk_strides
        self._itemsize = metadata.dtype.itemsize
        self._kept_layout: tuple[object, npt.NDArray[np.void]] | None = None
        # A deque needs no lock. What a read that was interrupted has does not come back here.
        self._idle: deque[planning.ChunkRead] = deque(maxlen=_IDLE_MAX)

    def crops(self, starts: npt.NDArray[np.int64], crop_shape: Sequence[int], target: npt.NDArray[Any]) -> Boxes:
        """Boxes of one shape that follow each other along the first dimension of a target."""
        first = first_offset(target)
        return Boxes(
            starts=starts,
            counts=np.array([crop_shape], np.int64).reshape(1, -1),
            steps=np.ones((1, len(crop_shape)), np.int64),
            layouts=self._layout_of(target.strides[1:], (1,) * len(crop_shape)),
            target_offsets=first + target.strides[0] * np.arange(len(starts)),
        )

    def boxes(self, boxes: Sequence[Box], targets: Sequence[npt.NDArray[Any]]) -> Boxes:
        """Boxes with a target each."""
        count = len(boxes)
        table = np.array([(box.starts, box.counts, box.steps) for box in boxes], np.int64).reshape(count, 3, -1)
        places = [self._place(box, target) for box, target in zip(boxes, targets, strict=True)]
        layouts = np.concatenate([layout for layout, _ in places])
        layouts["target"] = np.arange(count)
        return Boxes(
            starts=table[:, 0],
            counts=table[:, 1],
            steps=table[:, 2],
            layouts=layouts,
            target_offsets=np.array([offset for _, offset in places], np.int64),
            box_layouts=np.arange(count, dtype=np.uint64),
        )

    def _place(self, box: Box, target: npt.NDArray[Any]) -> tuple[npt.NDArray[np.void], int]:
        """The layout of a box in its target, and how far above the target's lowest address its first element goes."""
        strides = target.strides
        layout = self._layout_of(box.target_strides(strides), box.steps)
        return layout, box.target_offset(strides) + first_offset(target)

    def _layout_of(self, target_strides: tuple[int, ...], steps: tuple[int, ...]) -> npt.NDArray[np.void]:
        """LAYOUT[1] for target number 0. The last one is kept: batches tend to be alike."""
        kept = self._kept_layout
        if kept is not None and kept[0] == (target_strides, steps):
            return kept[1]
        layout = planning.layout(
            source_strides=self._strides_of(steps),
            target_strides=target_strides,
            itemsize=self._itemsize,
            fill_offset=0,
        )
        self._kept_layout = ((target_strides, steps), layout)
        return layout

    def _strides_of(self, steps: tuple[int, ...]) -> Sequence[int]:
        """Bytes in a decoded chunk from one element of a box to the next."""
        if steps.count(1) == len(steps):
            return self._source_strides
        # With a step as long as a chunk there is one element in each, and no next one; the product might overflow.
        return [
            stride * step if step < length else 0
            for stride, step, length in zip(self._source_strides, steps, self._numbers.grid.chunk_shape, strict=True)
        ]

    def read_box(self, box: Box, target: npt.NDArray[Any], reader: Reader) -> None:
        """Read one box that is not empty, as ``read`` does."""
        place = self._numbers.chunk_of(box)
        if place is None:
            self.read(self.boxes([box], [target]), target, reader)
            return
        # Most small boxes lie in one chunk: to make a plan for each would take longer than to read and decode it.
        chunk_id, inside = place
        if self._read_single(box, chunk_id, inside, target, reader):
            return
        layout, offset = self._place(box, target)
        found = planning.Intersection(
            chunk_ids=np.array([chunk_id], np.uint64),
            first_projections=_ONE_PROJECTION,
            projections=np.array([(inside, offset, 0)], planning.PROJECTION),
            counts=np.array([box.counts], np.int64),
        )
        self._read(found, layout, target, reader, None)

    def _read_single(self, box: Box, chunk_id: int, inside: int, target: npt.NDArray[Any], reader: Reader) -> bool:
        """Read a box of one chunk; False where that takes a plan, because of what is to be done or to be said."""
        try:
            read = self._idle.pop()
        except IndexError:
            read = planning.ChunkRead(self._chains[0], len(box.counts), self._itemsize, self._fill_data)
        done = self._locator.find(chunk_id, read)
        if done:
            strides = target.strides
            read.set_box(box.counts, self._strides_of(box.steps), inside)
            read.set_target(target, box.target_strides(strides), box.target_offset(strides))
            done = reader.execute_chunk(read)
        self._idle.append(read)
        return done

    def read(self, boxes: Boxes, targets: Any, reader: Reader, progress: Progress = None) -> None:
        """Read boxes into their targets.

        Everything that can be read is, whatever else cannot.

        Args:
            boxes: inside the array.
            targets: one array, or a sequence of them.
            reader: does it.
            progress: as in ``Reader.execute``.

        Raises:
            OSError, ringio.RingioError: the first thing that went wrong; it names array, chunk, file and offset.
        """
        found = self._numbers.grid.intersect(*boxes)
        if len(found.chunk_ids):
            self._read(found, boxes.layouts, targets, reader, progress)

    def _read(
        self,
        found: planning.Intersection,
        layouts: npt.NDArray[np.void],
        targets: Any,
        reader: Reader,
        progress: Progress,
    ) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            located = None
            try:
                located = self._locator.locate(found.chunk_ids, reader)
                self._read_located(found, located, layouts, targets, reader, progress)
                return
            except (RingioError, OSError) as error:
                # What was read out of a shard while it was rewritten may look like anything.
                changed = located.has_changed() if located else isinstance(error, FileChangedError | FileNotFoundError)
                if attempt == _ATTEMPTS or not changed:
                    raise

    def _read_located(
        self,
        found: planning.Intersection,
        located: Located,
        layouts: npt.NDArray[np.void],
        targets: Any,
        reader: Reader,
        progress: Progress,
    ) -> None:
        if located.bad is not None:
            found, located = _drop_bad(found, located)
        ids = found.chunk_ids
        requests, tasks, pieces = planning.coalesce(
            located.file_numbers,
            located.offsets,
            located.nbytes,
            found.first_projections,
            max_gap_bytes=reader.max_gap_bytes,
            max_request_bytes=reader.max_request_bytes,
            missing_fills=located.missing_fills,
        )
        plan = Plan.from_records(
            paths=located.paths,
            files=located.files,
            requests=requests,
            tasks=tasks,
            projections=found.projections,
            counts=found.counts,
            layouts=layouts,
            chains=self._chains,
            fill_values=self._fill_data,
            describe=lambda task: self._describe(int(ids[pieces[task]])),
        )
        reader.execute(plan, targets, progress=progress)
        if located.errors:
            error = located.errors[0]
            if len(located.errors) > 1:
                error.add_note(f"and {len(located.errors) - 1} more shards of this batch cannot be read")
            raise error

    def _describe(self, chunk_id: int) -> str:
        return f"chunk {self._numbers.coordinates(chunk_id)} of {self._directory!r}"


def _drop_bad(found: planning.Intersection, located: Located) -> tuple[planning.Intersection, Located]:
    """The same without the chunks that cannot be found."""
    assert located.bad is not None
    good = ~located.bad
    pair_counts = np.diff(found.first_projections)
    pairs = np.repeat(good, pair_counts.view(np.int64))
    first_projections = np.zeros(int(good.sum()) + 1, np.uint64)
    np.cumsum(pair_counts[good], out=first_projections[1:])
    kept = located._replace(
        file_numbers=located.file_numbers[good],
        offsets=located.offsets[good],
        nbytes=located.nbytes[good],
        bad=None,
    )
    return (
        planning.Intersection(found.chunk_ids[good], first_projections, found.projections[pairs], found.counts[pairs]),
        kept,
    )
