"""Large lists and masks as boxes of a batch that they share with other selections, as far as there is room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from ringio.planning import NamedTuple

from ._fancy import Mask, Points, Product, Wanted
from ._masked import gather_mask, stage_mask, touched_chunks
from ._placed import box_count, is_large
from ._planner import Boxes, Planner
from ._result import new_result
from ._staged import gather_stage, make_stage

_BOXES_MAX: Final = 500_000
_STAGES_NBYTES_MAX: Final = 64 << 20

Pair: TypeAlias = tuple[Wanted | Boxes, npt.NDArray[Any]]


class Joined(NamedTuple):
    """Selections, some of them in other words.

    Attributes:
        together: what is read in one batch, and where to.
        gathers: to be called behind that: they bring what was read to where it belongs.
        apart: what is read by itself, as it would be too much.
    """

    together: list[Pair]
    gathers: list[Callable[[], None]]
    apart: list[tuple[Wanted, npt.NDArray[Any]]]


class _Room:
    """What a batch has room for."""

    def __init__(self) -> None:
        self.box_count = _BOXES_MAX
        self.nbytes = _STAGES_NBYTES_MAX

    def take(self, box_count: int, nbytes: int) -> bool:
        """Take so much of it, if there is."""
        if box_count > self.box_count or nbytes > self.nbytes:
            return False
        self.box_count -= box_count
        self.nbytes -= nbytes
        return True


def join(pairs: Sequence[tuple[Wanted, npt.NDArray[Any]]], planner: Planner, *, is_regular: bool) -> Joined:
    """Put large selections into words that make them few boxes.

    Args:
        pairs: selections that are not empty, and their targets.
        planner: of the array.
        is_regular: all chunks of the array have one shape.
    """
    joined, room = Joined([], [], []), _Room()
    for wanted, target in pairs:
        if not is_large(wanted):
            joined.together.append((wanted, target))
            continue
        if isinstance(wanted, Product):
            found = _join_product(wanted, target, planner, room)
        elif isinstance(wanted, Mask) and is_regular:
            found = _join_mask(wanted, target, planner, room)
        else:
            found = _join_points(wanted, target, room)
        if found is None:
            joined.apart.append((wanted, target))
            continue
        pair, gather = found
        joined.together.append(pair)
        if gather is not None:
            joined.gathers.append(gather)
    return joined


_Found: TypeAlias = tuple[Pair, Callable[[], None] | None] | None


def _join_product(product: Product, target: npt.NDArray[Any], planner: Planner, room: _Room) -> _Found:
    stage = make_stage(product, planner.chunk_shape, target.itemsize)
    nbytes = prod(stage.product.shape, start=target.itemsize) if stage.gathers else 0
    if not room.take(box_count(stage.product), nbytes):
        return None
    if not stage.gathers:
        return (stage.product, target), None
    values = new_result(stage.product.shape, target.dtype)
    return (stage.product, values), partial(gather_stage, stage, values, target)


def _join_mask(mask: Mask, target: npt.NDArray[Any], planner: Planner, room: _Room) -> _Found:
    touched = touched_chunks(mask.values, planner.chunk_shape)
    stage = stage_mask(mask.values, 0, touched, len(target), target.dtype, planner)
    if stage is None:
        return _join_points(mask, target, room)
    if not room.take(len(stage.boxes.starts), prod(stage.shape, start=target.itemsize)):
        return None
    values = new_result(stage.shape, target.dtype)
    return (stage.boxes, values), partial(gather_mask, stage, values, target)


def _join_points(points: Wanted, target: npt.NDArray[Any], room: _Room) -> _Found:
    assert isinstance(points, Points | Mask), points  # boxes are never large
    if not room.take(len(target), 0):
        return None
    coordinates: tuple[npt.NDArray[np.int64], ...] = points.coordinates
    return (Points(coordinates, (len(target),)), target), None
