"""The arrays that results are put into: new ones, or the caller's own (``out=``)."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ringio import empty, planning

_SMALL_NBYTES: Final = 1 << 20  # below this ringio.empty() is numpy's, with more to look at before


def new_result(shape: tuple[int, ...], dtype: np.dtype[Any], order: str = "C") -> npt.NDArray[Any]:
    """A new array with anything in it.

    Args:
        shape: elements along each dimension.
        dtype: of the elements.
        order: "C" or "F".
    """
    if prod(shape, start=dtype.itemsize) < _SMALL_NBYTES or dtype.hasobject:
        return np.empty(shape, dtype, order)  # type: ignore[call-overload,no-any-return]  # it is one of the two
    return empty(shape, dtype) if order == "C" else empty(shape[::-1], dtype).T


def pick_fields(items: npt.NDArray[Any], fields: str | Sequence[str], result: npt.NDArray[Any]) -> None:
    """Copy one field of structured items to an array of its own, or several to a structured one that has only those."""
    if isinstance(fields, str):
        result[...] = items[fields]
    else:
        for name in fields:
            result[name] = items[name]


def check_out(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any], name: str = "out") -> npt.NDArray[Any]:
    """What the caller gave as ``out=``, as a numpy array over the same memory.

    Args:
        out: a numpy array of any strides, anything with the buffer protocol, or a tensor in CPU memory.
        shape: that it must have.
        dtype: that it must have.
        name: for messages.

    Raises:
        TypeError: not an array, or another dtype.
        ValueError: another shape, or read-only.
    """
    array: npt.NDArray[Any] = out
    if not isinstance(out, np.ndarray):
        of_zarr = hasattr(out, "as_ndarray_like")  # zarr-python's buffers
        array = planning.borrow(out.as_ndarray_like() if of_zarr else out, name)
    if array.dtype != dtype:
        raise TypeError(f"{name} has dtype {array.dtype.str!r}, expected {dtype.str!r}")
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
    if not array.flags.writeable:
        raise ValueError(f"{name} is read-only")
    if _overlaps_itself(array):
        raise ValueError(
            f"{name} has elements that share memory (strides {array.strides}); each needs a place of its own"
        )
    return array


def check_prototype(prototype: Any) -> None:
    """Refuse buffers of zarr-python that are not in the memory of the host.

    Raises:
        ValueError: they are elsewhere, or it is no prototype.
    """
    if prototype is None:
        return
    kind = getattr(prototype, "nd_buffer", None)
    if kind is None or ".gpu" in kind.__module__:
        raise ValueError(f"prototype is {prototype!r:.200}; results are numpy arrays in the memory of the host")


def _overlaps_itself(array: npt.NDArray[Any]) -> bool:
    """Whether two elements may lie at the same place: a dimension whose step is within the reach of smaller ones."""
    if array.flags.c_contiguous or array.size == 0:
        return False
    reach = array.itemsize
    for stride, length in sorted(
        (abs(stride), length) for stride, length in zip(array.strides, array.shape, strict=True)
    ):
        if length > 1 and stride < reach:
            return True
        reach += (length - 1) * stride
    return False


def first_offset(array: npt.NDArray[Any]) -> int:
    """Bytes from the lowest address of an array to its first element: above 0 where strides are negative.

    >>> first_offset(np.zeros((4, 3), "u1")[::-2, 1:])
    6
    """
    if array.flags.c_contiguous:
        return 0
    reaches = [(length - 1) * stride for length, stride in zip(array.shape, array.strides, strict=True)]
    return sum([-reach for reach in reaches if reach < 0])
