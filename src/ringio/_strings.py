"""Items of any length, made into what numpy has by the C core: much faster than one Python object after the other."""

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
        last_bytes = _last_bytes()
        fields = (table[_ACQUIRE], table[_RELEASE], table[_PACK], len(last_bytes), list(last_bytes))
        return ffi.new("struct ringio_string_api *", fields)
    except (AttributeError, ImportError, TypeError, ValueError):
        return None


def _last_bytes() -> bytes:
    """How numpy marks items that hold their texts themselves: the last byte of those with 0, 1, 2, ... bytes of text.

    Nothing, where they do not look like that; no header of numpy says it, so that it is looked at.
    """
    texts = ["abcdefghijklmno"[:length] for length in range(_ITEM_NBYTES)]
    items = np.array(texts, np.dtypes.StringDType())
    found = bytes(ffi.buffer(ffi.cast("uint8_t *", address_of(items)), items.nbytes))
    raw = [found[i : i + _ITEM_NBYTES] for i in range(0, len(found), _ITEM_NBYTES)]
    are_known = all(item[:-1] == text.encode().ljust(_ITEM_NBYTES - 1, b"\0") for item, text in zip(raw, texts))
    return bytes(item[-1] for item in raw) if are_known else b""


def can_unpack() -> bool:
    """Whether there is :func:`unpack_strings` here."""
    return _string_api() is not None


def address_of(array: NDArray[Any]) -> int:
    """Of the first item."""
    return array.__array_interface__["data"][0]  # type: ignore[no-any-return]


def unpack_strings(data: memoryview, count: int, target: NDArray[Any], first: int = 0) -> None:
    """Some strings, into an array; where :func:`can_unpack` says so.

    Args:
        data: ``count`` texts, each with its length in front, a little-endian u32.
        count: of texts; there must be room for their lengths.
        target: of ``StringDType``, in C order; as many are taken.
        first: which text is its first item.

    Raises:
        ValueError: the data ends too early, or a text is not UTF-8.
        MemoryError: there is not enough.
    """
    assert target.dtype.kind == "T"
    assert target.flags.c_contiguous
    assert 0 <= first <= count - target.size
    done = ffi.new("uint64_t *")
    status = lib.ringio_unpack_strings(
        ffi.from_buffer("uint8_t[]", data),
        len(data),
        count,
        first,
        target.size,
        ffi.cast("uint8_t *", address_of(target)),
        ffi.cast("void *", id(target.dtype)),
        _string_api(),
        done,
    )
    if status == -errno.ENOMEM:
        raise MemoryError("no memory for the strings of a chunk")
    if status:
        raise _error(status, int(done[0]), count)


def find_items(data: memoryview, count: int) -> NDArray[np.uint64]:
    """Where items end.

    Args:
        data: ``count`` items, each with its length in front, a little-endian u32.
        count: of items; there must be room for their lengths.

    Raises:
        ValueError: the data ends too early.
    """
    ends = np.empty(count, np.uint64)
    done = ffi.new("uint64_t *")
    status = lib.ringio_find_items(
        ffi.from_buffer("uint8_t[]", data), len(data), count, ffi.from_buffer("uint64_t[]", ends), done
    )
    if status:
        raise _error(status, int(done[0]), count)
    return ends


def expand_items(data: memoryview, ends: NDArray[np.uint64], width: int) -> NDArray[Any]:
    """Items as numpy's bytes of one length, with zeros behind.

    Args:
        data: the items.
        ends: what ``find_items`` found.
        width: of the longest, or more; at least 1.
    """
    target = np.empty(len(ends), f"S{width}")
    lib.ringio_expand_items(
        ffi.from_buffer("uint8_t[]", data),
        ffi.from_buffer("uint64_t[]", ends),
        len(ends),
        width,
        ffi.cast("uint8_t *", address_of(target)),
    )
    return target


def _error(status: int, number: int, count: int) -> ValueError:
    what = "is not valid utf-8" if status == -errno.EILSEQ else "ends behind the data"
    return ValueError(f"item {number} of {count} {what}")
