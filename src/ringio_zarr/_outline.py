"""The chunks that large selections touch, as one box for each: so ``explain`` takes no memory for every element."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._fancy import Mask, Product, Runs
from ._placed import box_count, place_product
from ._planner import Boxes, Planner
from ._staged import indices_of


def outline(wanted: Product | Mask, dtype: np.dtype[Any], planner: Planner) -> tuple[Boxes, int]:
    """What touches the same chunks, with targets that take no memory.

    Args:
        wanted: not empty.
        dtype: of the array.
        planner: of the array.

    Returns:
        The boxes, and of how many the selection itself is.
    """
    if isinstance(wanted, Mask):
        return _outline_mask(wanted, planner), wanted.true_count
    return _outline_product(wanted, dtype, planner), box_count(wanted)


def _outline_product(product: Product, dtype: np.dtype[Any], planner: Planner) -> Boxes:
    lengths = list(product.box.counts)
    runs = []
    for run in product.runs:
        indices = np.unique(indices_of(run))
        firsts = np.flatnonzero(np.diff(planner.piece_starts(run.dimension, indices), prepend=-1))
        starts = indices[firsts]
        counts = indices[np.append(firsts[1:], len(indices)) - 1] - starts + 1
        runs.append(Runs(run.dimension, starts, counts, np.cumsum(counts) - counts))
        lengths[run.dimension] = int(counts.sum())
    shape = tuple([length for length, sign in zip(lengths, product.box.signs, strict=True) if sign])
    stand_in = np.broadcast_to(np.zeros((), dtype), shape)
    return place_product(Product(product.box, tuple(runs), shape), stand_in, planner)


def _outline_mask(mask: Mask, planner: Planner) -> Boxes:
    shape = mask.values.shape
    touched = mask.values
    edges = []  # of the chunks that the array has, along each dimension
    for dimension, length in enumerate(shape):
        starts = np.unique(planner.piece_starts(dimension, np.arange(length)))
        edges.append(np.append(starts, length))
        touched = np.logical_or.reduceat(touched, starts, dimension)
    chunks = np.argwhere(touched)
    firsts, ends = (
        np.stack([edge[column + more] for edge, column in zip(edges, chunks.T, strict=True)], axis=1) for more in (0, 1)
    )
    ones = (1,) * len(shape)
    layouts = planner.layout_of((0,) * len(shape), ones)
    return Boxes(firsts, ends - firsts, np.array([ones], np.int64), layouts, np.zeros(len(chunks), np.int64))
