"""Columns of integers, from whatever a user has them in."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def integers(name: str, values: ArrayLike) -> NDArray[np.int64]:
    """The values as int64; an array of that dtype in C order is not copied.

    Args:
        name: of the column, for messages.
        values: integers of any size and kind.

    Raises:
        TypeError: no integers, or one that no 64 bits hold.
        ValueError: one above 2**63 - 1.

    >>> integers("offsets", [0, 4096])
    array([   0, 4096])
    """
    array = np.asarray(values)
    if array.size == 0 and not isinstance(values, np.ndarray):
        array = array.astype(np.int64)  # an empty list is a float64 array to numpy
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} has dtype {array.dtype}, integers are due")
    if array.dtype == np.uint64 and array.size and int(array.max()) > np.iinfo(np.int64).max:
        raise ValueError(f"{name} has a value of {array.max()}, which no file reaches")
    return np.ascontiguousarray(array, np.int64) if array.ndim else array.astype(np.int64)
