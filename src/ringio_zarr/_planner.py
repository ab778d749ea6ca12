"""From boxes of an array to one plan: boxes × chunk grid × where the chunks lie."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from math import prod
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from ringio import FileChangedError, Plan, Reader, RingioError, planning
from ringio.codecs import CompiledChain
from ringio.planning import NamedTuple

from ._cache import Cache
from ._chain import Pipeline
from ._errors import joined
from ._grid import c_strides, grid_shape
from ._locate import Located, Locator
from ._locators import make_locator
from ._metadata import ArrayMetadata
from ._result import first_offset
from ._selection import Box
from ._single import ChunkReads
from ._steps import Execute, Steps, Work, drive
from ._store_base import Store

Progress: TypeAlias = bool | Callable[[int, int], object] | None

# A batch is begun once more when a shard was replaced while it ran. Who rewrites shards all the time gets the error:
# there is no state of the array that could be read.
_ATTEMPTS: Final = 2

_REACH: Final = 4  # times as many chunks as the batch before had are looked up for the next one

_IDLE_MAX: Final = 4  # more threads than that seldom read batches of one array at a time
_IDLE_NBYTES_MAX: Final = 8 << 20


class Boxes(NamedTuple):
    """Boxes of an array and their places in targets: the arguments of ``planning.Grid.intersect``.

    A tuple and not a dataclass: one is made for each ``a[...]``.

    Attributes:
        starts: first elements, int64[n, ndim].
        counts: elements along each dimension, int64[n, ndim], or int64[1, ndim] where all have the same.
        steps: between elements, int64[n, ndim] or int64[1, ndim].
        layouts: LAYOUT[k].
        target_offsets: bytes from the lowest address of its target to where each box's first element goes, int64[n]; or
            two integers, that of the first box, and from each to the next.
        box_layouts: the layout of each box, u64[n]; None: all have the first.
    """

    starts: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    steps: npt.NDArray[np.int64]
    layouts: npt.NDArray[np.void]
    target_offsets: npt.NDArray[np.int64] | tuple[int, int]
    box_layouts: npt.NDArray[np.uint64] | None = None

    def offsets(self) -> npt.NDArray[np.int64]:
        """``target_offsets`` as an array."""
        if isinstance(self.target_offsets, tuple):
            first, stride = self.target_offsets
            return first + stride * np.arange(len(self.starts))
        return self.target_offsets

    def cut(self, draft: planning.Draft, ids_per_file: int) -> None:
        """Begin a draft of them."""
        draft.cut(*self, ids_per_shard=ids_per_file)


class PlacedPoints(NamedTuple):
    """Single elements that follow each other in a target: the arguments of ``planning.Grid.intersect_points``.

    Attributes:
        coordinates: int64[n] for each dimension.
        layouts: LAYOUT[1], with the strides of one dimension.
        target_offset: bytes from the lowest address of the target to where the first one goes.
    """

    coordinates: tuple[npt.NDArray[np.int64], ...]
    layouts: npt.NDArray[np.void]
    target_offset: int

    def cut(self, draft: planning.Draft, ids_per_file: int) -> None:
        """Begin a draft of them."""
        draft.cut_points(*self, ids_per_shard=ids_per_file)

    def as_boxes(self) -> Boxes:
        """The same, each as a box of one element."""
        starts = np.stack(self.coordinates, axis=1)
        ones = np.ones((1, starts.shape[1]), np.int64)
        layouts = self.layouts.copy()
        layouts["target_strides"] = 0
        stride = int(self.layouts["target_strides"][0, 0])
        return Boxes(starts, ones, ones, layouts, self.target_offset + stride * np.arange(len(starts)))


class ChunkNumbers:
    """The ids of an array's innermost chunks: those of one shard are consecutive, in the order of the shard's index.

    Args:
        metadata: of the array.
        pipeline: of the same array.
    """

    __slots__ = ("_levels", "grid", "ids_per_file", "outer_shape")

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
        self.ids_per_file = prod(counts)
        self._levels = list(zip(grid_shapes, id_strides, strict=True))  # the way back from an id

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
        store: that its chunks are in.
        path: of the array in the store.
        cache: keeps shard indexes.

    Attributes:
        decodes_shards: to find chunks takes a while, as all of their shards has to be read and decoded.
    """

    __slots__ = (
        "_chains",
        "_directory",
        "_fill_data",
        "_fill_item",
        "_idle",
        "_itemsize",
        "_kept_layout",
        "_locator",
        "_numbers",
        "_singles",
        "decodes_shards",
    )

    def __init__(self, metadata: ArrayMetadata, pipeline: Pipeline, store: Store, path: str, cache: Cache) -> None:
        self._numbers = ChunkNumbers(metadata, pipeline)
        self._directory = store.location(path)
        self._chains = [pipeline.compiled]
        self._fill_data = metadata.fill_data
        self._fill_item = metadata.fill_item
        self._locator: Locator = make_locator(
            store, path, metadata, pipeline, self._numbers.outer_shape, cache, self._describe
        )
        self.decodes_shards = bool(pipeline.wrapper)
        self._itemsize = metadata.dtype.itemsize
        self._kept_layout: tuple[object, npt.NDArray[np.void]] | None = None
        self._idle: deque[planning.Draft] = deque(maxlen=_IDLE_MAX)  # needs no lock
        # Chunks that Python codecs decode take a plan.
        self._singles = (
            None if pipeline.compiled.stages else ChunkReads(metadata, pipeline, self._numbers.grid, self._locator)
        )

    @property
    def chunk_shape(self) -> tuple[int, ...]:
        """Elements of an innermost chunk along each dimension."""
        return self._numbers.grid.chunk_shape

    def piece_starts(self, dimension: int, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The first element of the innermost chunk that each of some elements is in."""
        return indices - indices % self.chunk_shape[dimension]

    def crops(self, starts: npt.NDArray[np.int64], crop_shape: Sequence[int], target: npt.NDArray[Any]) -> Boxes:
        """Boxes of one shape that follow each other along the first dimension of a target."""
        ones = (1,) * len(crop_shape)
        return Boxes(
            starts=starts,
            counts=np.array([crop_shape], np.int64),
            steps=np.array([ones], np.int64),
            layouts=self.layout_of(target.strides[1:], ones),
            target_offsets=(first_offset(target), target.strides[0]),
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
        layout = self.layout_of(box.target_strides(strides), box.steps)
        return layout, box.target_offset(strides) + first_offset(target)

    def layout_of(self, target_strides: tuple[int, ...], steps: tuple[int, ...]) -> npt.NDArray[np.void]:
        """LAYOUT[1] for target number 0. The last one is kept: batches tend to be alike."""
        kept = self._kept_layout
        if kept is not None and kept[0] == (target_strides, steps):
            return kept[1]
        layout = planning.layout(
            source_strides=self._numbers.grid.strided(steps),
            target_strides=target_strides,
            itemsize=self._itemsize,
            fill_offset=0,
        )
        self._kept_layout = ((target_strides, steps), layout)
        return layout

    def read_box(self, box: Box, target: npt.NDArray[Any], reader: Reader, *, is_new: bool = False) -> None:
        """Read one box that is not empty, as ``read`` does.

        Args:
            box: inside the array.
            target: where it goes.
            reader: does it.
            is_new: the target is a new array in C order, with the shape of the box.
        """
        if self._singles is None or not self._singles.read(box, target, reader, is_new=is_new):
            self.read(self.boxes([box], [target]), target, reader)

    def read_few_crops(
        self, boxes: Sequence[Box], target: npt.NDArray[Any], reader: Reader, *, is_new: bool = False
    ) -> bool:
        """Read some crops that follow each other along the first dimension of a target, if that takes no plan."""
        if self._singles is None:
            return False
        if len(boxes) == 1:
            return self._singles.read(boxes[0], target[0], reader, is_new=is_new)
        return self._singles.read_few(boxes, target, reader, target.strides[0])

    def read(self, boxes: Boxes | PlacedPoints, targets: Any, reader: Reader, progress: Progress = None) -> None:
        """Read boxes into their targets.

        Everything that can be read is, whatever else cannot.

        Args:
            boxes: or points, inside the array.
            targets: one array, or a sequence of them.
            reader: does it.
            progress: as in ``Reader.execute``.

        Raises:
            OSError, ringio.RingioError: the first thing that went wrong; it names array, chunk, file and offset.
        """
        draft = self.draft(boxes)
        if draft.chunk_count == 0:
            pass
        elif not self.finds_all(draft):
            drive(self.located_steps(draft.intersection(), boxes.layouts, targets), reader, progress)
        elif not self._read_found(draft, targets, reader, progress):
            drive(self.located_steps(draft.intersection(), boxes.layouts, targets), reader, progress)
            return  # and let go of the draft: nobody knows what has gone wrong with it
        self.keep(draft)

    def draft(self, boxes: Boxes | PlacedPoints) -> planning.Draft:
        """A draft of these boxes; to be given to ``keep`` once nothing of it is used any more."""
        if self._singles is None and isinstance(boxes, PlacedPoints):
            boxes = boxes.as_boxes()  # what is put down as Python objects does not run over the end of a row
        try:
            draft = self._idle.pop()
        except IndexError:
            draft = planning.Draft(self._numbers.grid, self.chain, self._fill_data)
        boxes.cut(draft, self.ids_per_file)
        return draft

    def keep(self, draft: planning.Draft) -> None:
        """Use a draft again."""
        if draft.memory_nbytes <= _IDLE_NBYTES_MAX:
            self._idle.append(draft)

    def finds_all(self, draft: planning.Draft) -> bool:
        """Whether all chunks of a draft are where they were when they were last looked for, as far as is known."""
        return not self.chain.stages and self._locator.find_all(draft)

    def forget_all(self, draft: planning.Draft) -> bool:
        """What is known of the shards of a draft was wrong, or may have been; returns whether anything is forgotten."""
        return self._locator.forget_all(draft)

    def plan_found(self, draft: planning.Draft, reader: Reader) -> Plan:
        """The plan of a draft whose chunks were all found."""
        draft.finish(
            reader.max_gap_bytes,
            reader.max_request_bytes,
            missing_fills=self._locator.missing_fills,
            parts_of_files=reader.backend != "object_store",
        )
        return Plan.from_draft(draft, describe=lambda task: self._describe(draft.chunk_of(task)))

    def _read_found(self, draft: planning.Draft, targets: Any, reader: Reader, progress: Progress) -> bool:
        """Read what is where it was when it was last looked for; False where that has to be looked up."""
        plan = self.plan_found(draft, reader)
        try:
            reader.execute(plan, targets, progress=progress)
        except (RingioError, OSError):
            # Nobody has looked at the shards: they may be others now, and what was read out of them anything.
            if not self.forget_all(draft):
                raise
            return False
        return True

    def parts(self, boxes: Boxes | PlacedPoints) -> Iterable[tuple[Planner, Boxes | PlacedPoints]]:
        """What batches it takes to read boxes, and who plans them."""
        return ((self, boxes),)

    def chunk_ids(self, boxes: Boxes | PlacedPoints) -> npt.NDArray[np.uint64]:
        """The ids of the innermost chunks that boxes touch, ascending."""
        draft = self.draft(boxes)
        ids = draft.intersection().chunk_ids
        self.keep(draft)
        return ids

    @property
    def chain(self) -> CompiledChain:
        """What decodes an innermost chunk."""
        return self._chains[0]

    @property
    def ids_per_file(self) -> int:
        """How many innermost chunks a chunk of the outer grid has."""
        return self._numbers.ids_per_file

    def located_steps(
        self, found: planning.Intersection, layouts: npt.NDArray[np.void], targets: Any, *, is_light: bool = True
    ) -> Steps[None]:
        """The steps of reading chunks that have to be looked up first: one batch, or as many as memory takes."""
        error: Exception | None = None
        wanted = found
        while True:
            done, failed = yield from self._batch_steps(wanted, layouts, targets, is_light=is_light)
            error = joined(error, failed) if error and failed else error or failed
            if done == len(found.chunk_ids):
                break
            from ._subsets import part_of  # late, as below: few reads take several batches

            found = part_of(found, done, len(found.chunk_ids))
            wanted = part_of(found, 0, _REACH * done)  # not all, whose names would be made each time
        if error is not None:
            raise error

    def _batch_steps(
        self, found: planning.Intersection, layouts: npt.NDArray[np.void], targets: Any, *, is_light: bool
    ) -> Steps[tuple[int, Exception | None]]:
        """The same for one batch; returns how many chunks it had, and what went wrong."""
        for attempt in range(1, _ATTEMPTS + 1):
            located: Located | None = None
            try:
                located = yield Work(partial(self._locator.locate, found.chunk_ids), is_light)
                yield Execute((yield Work(partial(self._plan, found, located, layouts), is_light)), targets)
                located.raise_first()
                return located.chunk_count, None
            except (RingioError, OSError) as error:
                # What was read out of a shard while it was rewritten may look like anything.
                if located:
                    changed = yield Work(_asking(located, error), is_light)
                else:
                    changed = isinstance(error, FileChangedError | FileNotFoundError)
                if attempt < _ATTEMPTS and changed:
                    continue
                if not located:
                    raise
                told = located.told
                return located.chunk_count, error if told is None else (yield Work(partial(told, error), False))
        raise AssertionError("the last attempt returns")

    def _plan(
        self, found: planning.Intersection, located: Located, layouts: npt.NDArray[np.void], reader: Reader
    ) -> Plan:
        """The plan for all chunks that were found."""
        if located.chunk_count < len(found.chunk_ids):
            from ._subsets import part_of

            found = part_of(found, 0, located.chunk_count)
        if located.bad is not None:
            from ._subsets import drop_bad

            found, located = drop_bad(found, located)
        ids = found.chunk_ids
        is_remote = located.objects is not None and len(located.paths) > 0
        max_gap_bytes, max_request_bytes = (
            reader.costs_of(located.paths[0]) if is_remote else (reader.max_gap_bytes, reader.max_request_bytes)
        )
        requests, tasks, pieces = planning.coalesce(
            located.file_numbers,
            located.offsets,
            located.nbytes,
            found.first_projections,
            max_gap_bytes=max_gap_bytes,
            max_request_bytes=max_request_bytes,
            missing_fills=located.missing_fills,
        )
        return Plan.from_records(
            paths=located.paths,
            files=located.files,
            requests=requests,
            tasks=tasks,
            projections=found.projections,
            counts=found.counts,
            layouts=layouts,
            chains=self._chains,
            fill_values=self._fill_data,
            fill_item=self._fill_item,
            describe=lambda task: self._describe(int(ids[pieces[task]])),
            keep=located.keep,
            objects=located.objects,
        )

    def _describe(self, chunk_id: int) -> str:
        return f"chunk {self._numbers.coordinates(chunk_id)} of {self._directory!r}"


def _asking(located: Located, error: Exception) -> Callable[[Reader], bool]:
    return lambda reader: located.has_changed(error, reader)
