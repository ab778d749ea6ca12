"""The arrays that results are put into: new ones, or the caller's own (``out=``)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


class _Memory:
    """The bytes from the lowest to the highest address of an array, as numpy sees them through its array interface."""

    __slots__ = ("__array_interface__", "owner")

    def __init__(self, address: int, nbytes: int, owner: object) -> None:
        self.__array_interface__ = {"data": (address, False), "shape": (nbytes,), "typestr": "|u1", "version": 3}
        self.owner = owner  # keeps the memory


def check_out(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """What the caller gave as ``out=``, as a numpy array over the same memory.

    Args:
        out: a numpy array, anything with the buffer protocol, or a tensor in CPU memory.
        shape: that it must have.
        dtype: that it must have.

    Raises:
        TypeError: not an array, or another dtype.
        ValueError: another shape, or read-only.
    """
    array = out if isinstance(out, np.ndarray) else _view(out)
    if array.dtype != dtype:
        raise TypeError(f"out has dtype {array.dtype.str!r}, expected {dtype.str!r}")
    if array.shape != shape:
        raise ValueError(f"out has shape {array.shape}, expected {shape}")
    if not array.flags.writeable:
        raise ValueError("out is read-only")
    return array


def _view(out: Any) -> npt.NDArray[Any]:
    # A list would become a new array, which the caller would never see; these become a view of themselves.
    if hasattr(out, "__array_interface__") or hasattr(out, "__dlpack__"):
        return np.asarray(out)
    try:
        return np.asarray(memoryview(out))
    except TypeError:
        raise TypeError(f"out is a {type(out).__name__}, expected an array or a writable buffer") from None


def flatten(array: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], int]:
    """An array's memory as one contiguous target, and where in it, in bytes, the array's first element is.

    >>> target, first = flatten(np.zeros((4, 3), "u1")[::-2, 1:])
    >>> target.size, first
    (8, 6)
    """
    if array.flags.c_contiguous:
        return array, 0
    reaches = [(length - 1) * stride for length, stride in zip(array.shape, array.strides, strict=True)]
    first = -sum(min(reach, 0) for reach in reaches)
    nbytes = sum(map(abs, reaches)) + array.itemsize
    address = array.__array_interface__["data"][0] - first
    return np.asarray(_Memory(address, nbytes, array)), first
