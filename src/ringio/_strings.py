"""Texts of any length, made into numpy's strings by the C core: ten times faster than by way of Python objects."""

from __future__ import annotations

import errno
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ._core import ffi, lib

# Places in the table of the C API, which is the same for all of NumPy 2: numpy/_core/include/numpy/__multiarray_api.h.
_ABI: Final = 0
_PACK: Final = 314
_ACQUIRE: Final = 316
_RELEASE: Final = 318
_ABI_OF_NUMPY_2: Final = 0x0200_0000
_ITEM_NBYTES: Final = 16


@cache
def _string_api() -> Any:
    """``struct ringio_string_api *``; None where NumPy's C API is not where it is known to be."""
    try:
        import ctypes

        from numpy._core import _multiarray_umath  # type: ignore[attr-defined]

        get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
        get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
        address = get_pointer(_multiarray_umath._ARRAY_API, None)
        table = (ctypes.c_void_p * (_RELEASE + 1)).from_address(address)
        abi = ctypes.CFUNCTYPE(ctypes.c_uint)(table[_ABI] or 0)()
        if abi != _ABI_OF_NUMPY_2 or np.dtypes.StringDType().itemsize != _ITEM_NBYTES:
            return None
        return ffi.new("struct ringio_string_api *", (table[_ACQUIRE], table[_RELEASE], table[_PACK]))
    except (AttributeError, ImportError, TypeError, ValueError):
        return None


def unpack_strings(data: memoryview, count: int) -> NDArray[Any] | None:
    """An array of ``StringDType``.

    Args:
        data: each text with its length in front, a little-endian u32.
        count: of texts; there must be room for their lengths.

    Returns:
        None where this cannot be done here.

    Raises:
        ValueError: the data ends too early, or a text is not UTF-8.
        MemoryError: there is not enough.
    """
    api = _string_api()
    if api is None:
        return None
    items = np.empty(count, np.dtypes.StringDType())
    done = ffi.new("uint64_t *")
    status = lib.ringio_unpack_strings(
        ffi.from_buffer("uint8_t[]", data),
        len(data),
        count,
        ffi.cast("uint8_t *", items.__array_interface__["data"][0]),
        ffi.cast("void *", id(items.dtype)),
        api,
        done,
    )
    if status == -errno.ENOMEM:
        raise MemoryError("no memory for the strings of a chunk")
    if status:
        what = "is not valid utf-8" if status == -errno.EILSEQ else "ends behind the data"
        raise ValueError(f"item {done[0]} of {count} {what}")
    return items
