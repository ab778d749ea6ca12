"""Masks, read chunk by chunk into a stage and gathered by numpy where many elements are wanted of each chunk."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ringio import Reader
from ringio.planning import NamedTuple

from ._fancy import Mask, Points, true_coordinates
from ._grid import c_strides
from ._placed import place_points
from ._planner import Boxes, Planner
from ._result import new_result

_STAGE_NBYTES: Final = 64 << 20
_STAGE_NBYTES_MAX: Final = 256 << 20  # where the chunks are so long that less is no whole chunk
_ITEMS_PER_POINT: Final = 32  # staged, and looked at, in the time that one point takes to plan


def read_mask(mask: Mask, target: npt.NDArray[Any], planner: Planner, reader: Reader) -> None:
    """Read the elements where a mask is true.

    Args:
        mask: of the array's shape.
        target: where they go, one dimension.
        planner: of the array, whose chunks all have one shape.
        reader: does it.
    """
    values, chunk_shape = mask.values, planner.chunk_shape
    touched = touched_chunks(values, chunk_shape)
    row_nbytes = prod(values.shape[1:], start=chunk_shape[0] * target.itemsize)
    rows = max(_STAGE_NBYTES // row_nbytes, 1)
    done = 0
    for first in range(0, len(touched), rows):
        start = first * chunk_shape[0]
        part = values[start : start + rows * chunk_shape[0]]
        count = int(np.count_nonzero(part))
        if count:
            place = target[done : done + count]
            stage = stage_mask(part, start, touched[first : first + rows], count, target.dtype, planner)
            if stage is not None:
                staged = new_result(stage.shape, target.dtype)
                planner.read(stage.boxes, staged, reader)
                gather_mask(stage, staged, place)
            else:
                coordinates = true_coordinates(part)
                points = Points((coordinates[0] + start, *coordinates[1:]), (count,))
                planner.read(place_points(points, place), place, reader)
        done += count


def touched_chunks(mask: npt.NDArray[np.bool_], chunk_shape: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Whether anything is true in each chunk."""
    for axis in sorted(range(mask.ndim), key=lambda axis: -chunk_shape[axis]):  # what shrinks it most, first
        length, head = chunk_shape[axis], (slice(None),) * axis
        whole = mask.shape[axis] // length * length
        # Chunks as a dimension of their own: any() is many times faster than logical_or.reduceat().
        shape = (*mask.shape[:axis], whole // length, length, *mask.shape[axis + 1 :])
        parts = [mask[(*head, slice(whole))].reshape(shape).any(axis=axis + 1)]
        if whole < mask.shape[axis]:
            parts.append(mask[(*head, slice(whole, None))].any(axis=axis, keepdims=True))
        mask = np.concatenate(parts, axis)
    return mask


class Stage(NamedTuple):
    """Where whole chunks are read to, those alone that are touched.

    Attributes:
        boxes: the chunks.
        shape: of the stage.
        inside: the part of the mask that has the shape of the stage.
    """

    boxes: Boxes
    shape: tuple[int, ...]
    inside: npt.NDArray[np.bool_]


def stage_mask(
    part: npt.NDArray[np.bool_],
    start: int,
    touched: npt.NDArray[np.bool_],
    count: int,
    dtype: np.dtype[Any],
    planner: Planner,
) -> Stage | None:
    """The stage for a part of a mask; None: too few of its elements would be wanted.

    Args:
        part: of the mask.
        start: where along the first dimension the part begins.
        touched: whether anything is true in each of its chunks.
        count: how many are true.
        dtype: of the array.
        planner: of the array.
    """
    chunk_shape = np.array(planner.chunk_shape)
    starts = np.argwhere(touched) * chunk_shape
    ends = np.minimum(starts + chunk_shape, part.shape)
    low, high = starts.min(axis=0), ends.max(axis=0)
    shape = tuple((high - low).tolist())
    item_count = prod(shape)
    if item_count > _ITEMS_PER_POINT * count or item_count * dtype.itemsize > _STAGE_NBYTES_MAX:
        return None
    strides = c_strides(shape, dtype.itemsize)
    counts, offsets = ends - starts, ((starts - low) * np.array(strides)).sum(axis=1)
    starts[:, 0] += start
    ones = (1,) * len(shape)
    boxes = Boxes(starts, counts, np.array([ones], np.int64), planner.layout_of(strides, ones), offsets)
    return Stage(boxes, shape, part[tuple(map(slice, low.tolist(), high.tolist()))])


def gather_mask(stage: Stage, values: npt.NDArray[Any], target: npt.NDArray[Any]) -> None:
    """Take what is wanted from a stage that has been read."""
    np.take(values.reshape(-1), np.flatnonzero(stage.inside), out=target, mode="clip")  # faster than values[inside]
