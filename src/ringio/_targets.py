"""What the caller wants to be written: arrays and buffers, checked, as addresses."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ._core import ffi

_BYTES: Final = ffi.typeof("uint8_t[]")
_from_buffer: Final = ffi.from_buffer


def writable_array(out: object, *, may_hold_objects: bool = False) -> NDArray[Any]:
    """The caller's memory as an array that shares it.

    Args:
        out: a numpy array, anything with the buffer protocol or ``__array_interface__``, or a torch tensor in (pinned)
            CPU memory.
        may_hold_objects: it may be an array of Python objects or of strings of any length.

    Raises:
        TypeError: none of these, or an array of Python objects.
        ValueError: it is read-only.
    """
    array = np.asarray(out) if isinstance(out, np.ndarray) else borrow(out)  # a np.matrix as what it is made of
    if (array.dtype.hasobject or array.dtype.kind == "T") and not may_hold_objects:
        raise TypeError("out holds Python objects; bytes cannot be read into them")
    if not array.flags.writeable:
        raise ValueError(f"out ({type(out).__name__}) is read-only")
    return array


def borrow(out: Any, name: str = "out") -> NDArray[Any]:
    """A numpy array over the memory of something else.

    Args:
        out: anything with the buffer protocol or numpy's array interface; a tensor in CPU memory.
        name: for messages.

    Raises:
        TypeError: it has no memory that it shares: numpy would copy a list, and nobody would see what is written to it.
    """
    try:
        return np.asarray(memoryview(out))
    except TypeError:
        pass
    if hasattr(out, "__array_interface__"):
        return np.asarray(out)
    if hasattr(out, "data_ptr") and hasattr(out, "numpy"):  # a torch tensor; numpy() raises for one that is not in RAM
        array = out.numpy()
        if isinstance(array, np.ndarray) and array.__array_interface__["data"][0] == out.data_ptr():
            return array
    raise TypeError(f"{name} is a {type(out).__name__}; a writable buffer is due, such as a numpy array or a bytearray")


def flat_bytes(out: object, nbytes: int) -> NDArray[np.uint8]:
    """The caller's memory as ``nbytes`` bytes in one row.

    Raises:
        TypeError, ValueError: as :func:`writable_array`, and where it is not contiguous or has another size.
    """
    array = writable_array(out)
    if array.nbytes != nbytes:
        raise ValueError(f"out has {array.nbytes} bytes, the ranges have {nbytes}")
    if not array.flags.c_contiguous:
        raise ValueError("out is not contiguous (C order): ranges are written to it back to back")
    return array.reshape(-1).view(np.uint8)


def writable_span(array: NDArray[Any]) -> tuple[Any, int]:
    """The same bytes as :func:`byte_span` says, as a ``uint8_t *`` for the C core, and how many they are.

    The caller keeps the array alive.

    Raises:
        ValueError: it is read-only.
    """
    try:  # an eighth of the time that __array_interface__ takes
        return _from_buffer(_BYTES, array, True), array.nbytes  # require_writable
    except (ValueError, BufferError):
        if not array.flags.writeable:
            raise ValueError("the target is read-only") from None
        low, nbytes, _ = byte_span(array)
        return ffi.cast("uint8_t *", low), nbytes


def byte_span(array: NDArray[Any]) -> tuple[int, int, int]:
    """Where the bytes of an array with any strides lie.

    Returns:
        The lowest address, how many bytes there are from it to the highest one, and how far behind it the first element
        is (above 0 where strides are negative).

    >>> low, nbytes, first = byte_span(np.zeros((3, 4), "<i2")[::-1])
    >>> nbytes, first
    (24, 16)
    """
    address = int(array.__array_interface__["data"][0])
    if array.flags.c_contiguous or array.size == 0:
        return address, array.nbytes, 0
    reach = [(length - 1) * stride for length, stride in zip(array.shape, array.strides, strict=True)]
    below = -sum(step for step in reach if step < 0)
    above = sum(step for step in reach if step > 0)
    return address - below, below + above + array.itemsize, below
