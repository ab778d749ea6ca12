"""Selections of the matrix, for arrays of any shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Reader = Callable[[Any], Any]


def _last(length: int) -> int:
    return length - 1


def selections(shape: tuple[int, ...]) -> dict[str, Reader]:
    """Reads by their names: functions of an array that do the same with one of zarr-python and one of ringio_zarr."""
    made: dict[str, Reader] = {
        "[...]": lambda a: a[...],
        "[()]": lambda a: a[()],
        "get_basic_selection": lambda a: a.get_basic_selection(Ellipsis),
    }
    if not shape:
        return made
    middle = tuple(slice(length // 3, length - length // 4) for length in shape)
    made |= {
        "[1:-1]": lambda a: a[1:-1],
        "box": lambda a: a[middle],
        "steps": lambda a: a[tuple(slice(None, None, 2) for _ in shape)],
        "empty": lambda a: a[0:0],
        "ellipsis": lambda a: a[..., 1:2],
        "blocks[0]": lambda a: a.blocks[0],
        "blocks[:]": lambda a: a.blocks[:],
        "out of bounds": lambda a: a[shape[0] + 5],
    }
    if 0 in shape:
        return made
    rng = np.random.default_rng(7)
    points = tuple(rng.integers(0, length, 11) for length in shape)
    rows = np.array([_last(shape[0]), 0, 0, shape[0] // 2, -1])
    mask = rng.random(shape) < 0.3
    rows_mask = rng.random(shape[0]) < 0.5
    made |= {
        "[0]": lambda a: a[0],
        "[-1]": lambda a: a[-1],
        "element": lambda a: a[tuple(_last(length) for length in shape)],
        "element, numpy integers": lambda a: a[tuple(np.int64(length // 2) for length in shape)],
        "oindex rows": lambda a: a.oindex[rows],
        "oindex mask": lambda a: a.oindex[rows_mask],
        "oindex product": lambda a: a.oindex[tuple(np.array([0, _last(length), 0]) for length in shape)],
        "vindex points": lambda a: a.vindex[points],
        "vindex mask": lambda a: a.vindex[mask],
        "vindex 2-d": lambda a: a.vindex[tuple(p[:10].reshape(5, 2) for p in points)],
        "[list]": lambda a: a[[0, _last(shape[0])]],
        "[mask]": lambda a: a[mask],
        "coordinates": lambda a: a.get_coordinate_selection(points),
        "mask selection": lambda a: a.get_mask_selection(mask),
        "orthogonal": lambda a: a.get_orthogonal_selection((rows, *(slice(1, None) for _ in shape[1:]))),
        "block selection": lambda a: a.get_block_selection(0),
    }
    if len(shape) > 1:
        made |= {
            "oindex, integer and list": lambda a: a.oindex[0, [0, 1]],
            "integer and slice": lambda a: a[1, 1:],
            "slice and integer": lambda a: a[:, 1],
        }
    return made


# Fewer, where the point is the codec.
FEW = ("[...]", "box", "steps", "vindex points", "oindex rows")
