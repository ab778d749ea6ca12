"""Outer products of lists, as batches of bounded size.

Two lists of 2,000 indices are 4 million boxes of one element, and to plan each takes longer than to read it. So indices
that lie near each other are read as one run, with what is between them, into a stage; numpy gathers them from there. No
chunk is read for that which is not wanted anyway.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from ringio import Reader
from ringio.planning import NamedTuple

from ._fancy import Product, Runs, make_runs
from ._placed import FEW_BOXES, box_count, place_product
from ._planner import Planner
from ._result import new_result

_I64: TypeAlias = npt.NDArray[np.int64]

_BATCH_BOXES: Final = 500_000
_BATCH_NBYTES: Final = 64 << 20  # of a stage
_GAP_NBYTES: Final = 512  # to copy so much takes as long as to plan one more box
# numpy copies it in some 3 ms; where each row is on a new page it takes ten times as long.
_PART_NBYTES: Final = 8 << 20
_WORTHWHILE: Final = 0.7  # a stage that leaves more of the runs than this is a copy for nothing


class Stage(NamedTuple):
    """What is read, and how the result is gathered from it.

    Attributes:
        product: with longer runs.
        gathers: axes of the result, the last first, and for each element along them its place in the stage.
    """

    product: Product
    gathers: tuple[tuple[int, _I64], ...]


def read_product(product: Product, target: npt.NDArray[Any], planner: Planner, reader: Reader) -> None:
    """Read an outer product that is not empty.

    Args:
        product: inside the array.
        target: where it goes; of its shape.
        planner: of the array.
        reader: does it.
    """
    if box_count(product) <= FEW_BOXES:
        planner.read(place_product(product, target, planner), target, reader)
        return
    chunk_shape = planner.chunk_shape
    stage = make_stage(product, chunk_shape, target.itemsize)
    batch_count = -(-box_count(stage.product) // _BATCH_BOXES)
    if stage.gathers:
        batch_count = max(batch_count, -(-prod(stage.product.shape, start=target.itemsize) // _BATCH_NBYTES))
    if batch_count == 1:
        _read_stage(stage, target, planner, reader)
        return
    axis, parts = _split(product, chunk_shape, batch_count)
    for part, places in parts:
        piece = new_result(part.shape, target.dtype)
        _read_stage(make_stage(part, chunk_shape, target.itemsize), piece, planner, reader)
        _put(piece, target, axis, places)


def _read_stage(stage: Stage, target: npt.NDArray[Any], planner: Planner, reader: Reader) -> None:
    values = new_result(stage.product.shape, target.dtype) if stage.gathers else target
    planner.read(place_product(stage.product, values, planner), values, reader)
    gather_stage(stage, values, target)


def gather_stage(stage: Stage, values: npt.NDArray[Any], target: npt.NDArray[Any]) -> None:
    """Take what is wanted from a stage that has been read."""
    for number, (axis, places) in enumerate(stage.gathers, 1):
        if number < len(stage.gathers):
            values = np.take(values, places, axis, mode="clip")  # all are inside
        else:
            _take(values, places, axis, target)


def _take(values: npt.NDArray[Any], places: _I64, axis: int, target: npt.NDArray[Any]) -> None:
    """``np.take`` into a target."""
    for rows in _rows(target):
        taken = (values, places[rows]) if axis == 0 else (values[rows], places)
        np.take(*taken, axis, out=target[rows], mode="clip")


def _put(values: npt.NDArray[Any], target: npt.NDArray[Any], axis: int, places: _I64) -> None:
    """Assign to some places along an axis of a target."""
    for rows in _rows(values):
        if axis == 0:
            target[places[rows]] = values[rows]
        else:
            target[rows][(slice(None),) * axis + (places,)] = values[rows]


def _rows(array: npt.NDArray[Any]) -> Iterator[slice]:
    """Parts along the first dimension: numpy does nothing about signals, such as Ctrl-C, until it is done with one."""
    count = max(_PART_NBYTES // max(array[:1].nbytes, 1), 1)
    return (slice(first, first + count) for first in range(0, len(array), count))


def make_stage(product: Product, chunk_shape: Sequence[int], itemsize: int) -> Stage:
    """The same product with runs that hold gaps, and all that is needed to leave those out."""
    lengths = list(product.box.counts)
    runs = {run.dimension: run for run in product.runs}
    gathers = []
    inner_nbytes = itemsize  # of the result, below one index of the dimension at hand
    for dimension in reversed(range(len(lengths))):
        if dimension in runs:
            # Within the length of a chunk there are no chunks between two indices.
            reach = min(_GAP_NBYTES // inner_nbytes, chunk_shape[dimension])
            merged = _merge(runs[dimension], max(reach, 1))
            if merged is not None:
                runs[dimension], places = merged
                gathers.append((sum(map(bool, product.box.signs[:dimension])), places))
            lengths[dimension] = int(runs[dimension].counts.sum())
        inner_nbytes *= lengths[dimension]
    shape = tuple([length for length, sign in zip(lengths, product.box.signs, strict=True) if sign])
    return Stage(Product(product.box, tuple(runs[run.dimension] for run in product.runs), shape), tuple(gathers))


def _merge(run: Runs, reach: int) -> tuple[Runs, _I64] | None:
    """Ascending runs over gaps of less than so many indices, and the place among them of each index; None: no use."""
    indices, inverse = np.unique(indices_of(run), return_inverse=True)
    cuts = np.flatnonzero(np.diff(indices) > reach) + 1
    if len(cuts) + 1 > _WORTHWHILE * len(run.starts):
        return None
    firsts = np.concatenate(([0], cuts))
    starts = indices[firsts]
    counts = indices[np.append(cuts, len(indices)) - 1] - starts + 1
    places = np.cumsum(counts) - counts
    shifts = np.repeat(places - starts, np.diff(firsts, append=len(indices)))
    return Runs(run.dimension, starts, counts, places), (indices + shifts)[inverse.reshape(-1)]


def indices_of(run: Runs) -> _I64:
    """All indices of runs, in their order."""
    shifts = np.repeat(run.starts - run.places, run.counts)
    return shifts + np.arange(len(shifts))


def _split(product: Product, chunk_shape: Sequence[int], count: int) -> tuple[int, Iterator[tuple[Product, _I64]]]:
    """Parts of a product, cut along its longest list at the borders of chunks, so that each is read once all the same.

    Returns:
        The axis of the result along which it is cut; and about ``count`` parts with their places along that axis.
    """
    longest = max(product.runs, key=lambda run: int(run.counts.sum()))
    dimension, indices = longest.dimension, indices_of(longest)
    axis = sum(map(bool, product.box.signs[:dimension]))
    order = np.argsort(indices, kind="stable")
    chunks = indices[order] // chunk_shape[dimension]
    wanted = np.linspace(0, len(order), count, endpoint=False).astype(np.int64)
    cuts = np.unique(np.searchsorted(chunks, chunks[wanted])).tolist()

    def parts() -> Iterator[tuple[Product, _I64]]:
        for first, end in zip(cuts, [*cuts[1:], len(order)], strict=True):
            places = order[first:end]
            part = make_runs(dimension, indices[places])
            runs = tuple(part if run is longest else run for run in product.runs)
            shape = (*product.shape[:axis], len(places), *product.shape[axis + 1 :])
            yield Product(product.box, runs, shape), places

    return axis, parts()
