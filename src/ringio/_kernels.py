"""Numpy arrays as the C core's kernels take them, and what their status means."""

from __future__ import annotations

import errno
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ._core import ffi
from ._errors import PlanError

U64: TypeAlias = NDArray[np.uint64]
I64: TypeAlias = NDArray[np.int64]


def check_status(result: int) -> None:
    if result == -errno.ENOMEM:
        raise MemoryError("out of memory while planning")
    if result < 0:
        raise PlanError(f"planning failed with status {result}: more than 2**32 - 1 pieces, or a box outside its array")


def u64_pointer(array: U64) -> Any:
    return ffi.from_buffer("uint64_t[]", array)


def i64_pointer(array: I64) -> Any:
    return ffi.from_buffer("int64_t[]", array)


def record_pointer(kind: str, array: NDArray[np.void]) -> Any:
    return ffi.from_buffer(kind, array)
