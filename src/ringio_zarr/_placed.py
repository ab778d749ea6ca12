"""Outer products and points, with their places in targets: what the planner takes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ringio import planning

from ._fancy import Mask, Points, Product, Wanted
from ._planner import Boxes, PlacedPoints, Planner
from ._result import first_offset
from ._selection import Box

FEW_BOXES: Final = 20_000  # planned in some milliseconds


def box_count(product: Product) -> int:
    """How many boxes a product is: one for each combination of runs."""
    return prod(len(run.starts) for run in product.runs)


def is_large(wanted: Wanted) -> bool:
    """Whether a selection would be so many boxes that there is a better way to read it."""
    if isinstance(wanted, Box):
        return False
    return (box_count(wanted) if isinstance(wanted, Product) else prod(wanted.shape)) > FEW_BOXES


def place_product(product: Product, target: npt.NDArray[Any], planner: Planner) -> Boxes:
    """One box for each combination of runs.

    Args:
        product: not empty.
        target: where it goes; of its shape.
        planner: of the array.
    """
    box = product.box
    strides = box.target_strides(target.strides)
    shape = [len(run.starts) for run in product.runs]
    count = prod(shape)
    starts = np.empty((*shape, len(box.starts)), np.int64)
    starts[...] = box.starts
    counts = np.empty((*shape, len(box.starts)), np.int64)
    counts[...] = box.counts
    offsets = np.full(shape, box.target_offset(target.strides) + first_offset(target), np.int64)
    for axis, run in enumerate(product.runs):
        column = (-1, *(1,) * (len(shape) - axis - 1))  # along its own axis, broadcast along the others
        starts[..., run.dimension] = run.starts.reshape(column)
        counts[..., run.dimension] = run.counts.reshape(column)
        offsets += (run.places * strides[run.dimension]).reshape(column)
    return Boxes(
        starts=starts.reshape(count, -1),
        counts=counts.reshape(count, -1),
        steps=np.array([box.steps], np.int64),
        layouts=planner.layout_of(strides, box.steps),
        target_offsets=offsets.reshape(-1),
    )


def place_points(points: Points | Mask, target: npt.NDArray[Any]) -> PlacedPoints:
    """Points that follow each other along the one dimension of a target."""
    layouts = planning.layout(
        source_strides=[target.itemsize], target_strides=target.strides, itemsize=target.itemsize, fill_offset=0
    )
    return PlacedPoints(points.coordinates, layouts, first_offset(target))


def place_all(
    wanted: Sequence[Wanted | Boxes], targets: Sequence[npt.NDArray[Any]], planner: Planner
) -> Boxes | PlacedPoints:
    """Selections with a target each, none of them empty, as boxes of one batch; the target of points is flat.

    What is boxes already is placed as if its target were the only one.
    """
    if len(wanted) == 1 and isinstance(wanted[0], Points):
        return place_points(wanted[0], targets[0])
    if all(isinstance(one, Box) for one in wanted):
        return planner.boxes(wanted, targets)  # type: ignore[arg-type]  # they are boxes
    parts = [_place_one(one, target, planner) for one, target in zip(wanted, targets, strict=True)]
    sizes = [len(part.starts) for part in parts]
    layouts = np.concatenate([part.layouts for part in parts])
    layouts["target"] = np.arange(len(parts))

    def rows(tables: list[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
        filled = [np.broadcast_to(table, (size, table.shape[1])) for table, size in zip(tables, sizes, strict=True)]
        return np.concatenate(filled)

    return Boxes(
        starts=rows([part.starts for part in parts]),
        counts=rows([part.counts for part in parts]),
        steps=rows([part.steps for part in parts]),
        layouts=layouts,
        target_offsets=np.concatenate([part.target_offsets for part in parts]),
        box_layouts=np.repeat(np.arange(len(parts), dtype=np.uint64), sizes),
    )


def _place_one(wanted: Wanted | Boxes, target: npt.NDArray[Any], planner: Planner) -> Boxes:
    if isinstance(wanted, Boxes):
        return wanted
    if isinstance(wanted, Product):
        return place_product(wanted, target, planner)
    if isinstance(wanted, Box):
        return planner.boxes([wanted], [target])
    coordinates = wanted.coordinates
    ones = np.ones((1, len(coordinates)), np.int64)
    return Boxes(
        starts=np.stack(coordinates, axis=1),
        counts=ones,
        steps=ones,
        layouts=planner.layout_of((0,) * ones.size, (1,) * ones.size),
        target_offsets=first_offset(target) + target.strides[0] * np.arange(len(target)),
    )
