"""The chunks that large selections touch, as one box for each: so ``explain`` takes no memory for every element."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._fancy import Mask, Product, Runs
from ._masked import touched_chunks
from ._placed import box_count, place_product
from ._planner import Boxes, Planner
from ._staged import indices_of


def outline(wanted: Product | Mask, dtype: np.dtype[Any], planner: Planner) -> tuple[Boxes, int]:
    """What touches the same chunks, with targets that take no memory.

    Args:
        wanted: not empty.
        dtype: of the array.
        planner: of the array, whose chunks all have one shape.

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
        chunks = indices // planner.chunk_shape[run.dimension]
        firsts = np.flatnonzero(np.diff(chunks, prepend=-1))
        starts = indices[firsts]
        counts = indices[np.append(firsts[1:], len(indices)) - 1] - starts + 1
        runs.append(Runs(run.dimension, starts, counts, np.cumsum(counts) - counts))
        lengths[run.dimension] = int(counts.sum())
    shape = tuple([length for length, sign in zip(lengths, product.box.signs, strict=True) if sign])
    stand_in = np.broadcast_to(np.zeros((), dtype), shape)
    return place_product(Product(product.box, tuple(runs), shape), stand_in, planner)


def _outline_mask(mask: Mask, planner: Planner) -> Boxes:
    chunk_shape = np.array(planner.chunk_shape)
    starts = np.argwhere(touched_chunks(mask.values, planner.chunk_shape)) * chunk_shape
    counts = np.minimum(chunk_shape, np.array(mask.values.shape) - starts)
    ones = (1,) * mask.values.ndim
    layouts = planner.layout_of((0,) * mask.values.ndim, ones)
    return Boxes(starts, counts, np.array([ones], np.int64), layouts, np.zeros(len(starts), np.int64))
