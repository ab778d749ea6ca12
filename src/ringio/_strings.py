"""Items of any length, made into what numpy has by the C core: much faster than one Python object after the other."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ._core import ffi, lib

# Places in the table of the C API, which is the same for all of NumPy 2: numpy/_core/include/numpy/__multiarray_api.h.
_ABI: Final = 0
_LOAD: Final = 313
_PACK: Final = 314
_ACQUIRE: Final = 316
_RELEASE: Final = 318
_ABI_OF_NUMPY_2: Final = 0x0200_0000
_ITEM_NBYTES: Final = 16
_LENGTH_NBYTES: Final = 4
_MEDIUM_MAX: Final = 255  # bytes of a text whose length numpy keeps in one byte


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
        longer = _longer_texts(*(table[i] or 0 for i in (_ACQUIRE, _RELEASE, _LOAD))) if last_bytes else None
        known = (list(last_bytes), *longer) if longer else ([], 0, 0, 0)
        return ffi.new("struct ringio_string_api *", (table[_ACQUIRE], table[_RELEASE], table[_PACK], *known))
    except (AttributeError, ImportError, TypeError, ValueError):
        return None


def _last_bytes() -> bytes:
    """How numpy marks items that hold their texts themselves: the last byte of those with 0, 1, 2, ... bytes of text.

    Nothing, where they do not look like that; no header of numpy says it, so that it is looked at.
    """
    texts = ["abcdefghijklmno"[:length] for length in range(_ITEM_NBYTES)]
    raw = _raw_items(np.array(texts, np.dtypes.StringDType()))
    are_known = all(item[:-1] == text.encode().ljust(_ITEM_NBYTES - 1, b"\0") for item, text in zip(raw, texts))
    return bytes(item[-1] for item in raw) if are_known else b""


def _longer_texts(acquire: int, release: int, load: int) -> tuple[int, int, int] | None:
    """How numpy keeps longer texts: the fields of ``struct ringio_string_api`` that say it.

    None, where its memory and the items do not look like that: these texts lie there in a row, with their lengths.
    """
    texts = [b"a" * _ITEM_NBYTES, b"b" * _MEDIUM_MAX, b"c" * (_MEDIUM_MAX + 1), b"d" * _ITEM_NBYTES]
    lengths = [len(text).to_bytes(1 if len(text) <= _MEDIUM_MAX else 8, "little") for text in texts]
    array = np.array([text.decode() for text in texts], np.dtypes.StringDType())
    raw = _raw_items(array)
    at = int.from_bytes(raw[0][:8], "little") - len(lengths[0])
    for item, length, text in zip(raw, lengths, texts):
        at += len(length)
        if item[:-1] != at.to_bytes(8, "little") + len(text).to_bytes(7, "little"):
            return None
        at += len(text)
    last = [item[-1] for item in raw]
    if not last[0] == last[1] == last[3] != last[2] or set(last) & set(_last_bytes()):
        return None
    memory = b"".join(length + text for length, text in zip(lengths, texts))
    is_known = _memory_before(array, len(lengths[0]), len(memory), acquire, release, load) == memory
    return (_MEDIUM_MAX, last[0], last[2]) if is_known else None


def _memory_before(array: NDArray[Any], lead_nbytes: int, nbytes: int, acquire: int, release: int, load: int) -> bytes:
    """Numpy's memory from ``lead_nbytes`` before the text of an array's first item on."""
    import ctypes

    pointer = ctypes.c_void_p
    found = (pointer * 2)()  # npy_static_string: length and address
    allocator = ctypes.CFUNCTYPE(pointer, ctypes.py_object)(acquire)(array.dtype)
    loaded = ctypes.CFUNCTYPE(ctypes.c_int, pointer, pointer, pointer)(load)
    status = loaded(allocator, address_of(array), ctypes.addressof(found))
    ctypes.CFUNCTYPE(None, pointer)(release)(allocator)
    return b"" if status or not found[1] else ctypes.string_at(found[1] - lead_nbytes, nbytes)


def _raw_items(array: NDArray[Any]) -> list[bytes]:
    found = bytes(ffi.buffer(ffi.cast("uint8_t *", address_of(array)), array.nbytes))
    return [found[i : i + _ITEM_NBYTES] for i in range(0, len(found), _ITEM_NBYTES)]


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


def make_objects(kind: str, data: memoryview, count: int, target: NDArray[Any], first: int = 0) -> None:
    """Some items as Python objects, into an array.

    Args:
        kind: "bytes", or "str" for texts.
        data: ``count`` items, each with its length in front, a little-endian u32.
        count: of items; there must be room for their lengths.
        target: of objects, in C order; as many are taken.
        first: which item is its first item.

    Raises:
        ValueError: the data ends too early, or a text is not UTF-8.
        MemoryError: there is not enough.
    """
    assert target.dtype.kind == "O"
    assert target.flags.c_contiguous
    assert 0 <= first <= count - target.size
    found = _object_api(kind)
    if found is None:
        target.reshape(-1)[:] = list(_split(kind, data, count))[first : first + target.size]
        return
    make, api = found
    done = ffi.new("uint64_t *")
    # A traceback that keeps the source would keep an export of a memoryview: CPython before 3.11.8 and 3.12.2 crashes
    # when the garbage collector clears one (gh-77894).
    with ffi.from_buffer("uint8_t[]", data) as source:
        addresses = [int(ffi.cast("uintptr_t", pointer)) for pointer in (source, api, done)]
        try:
            status = make(addresses[0], len(data), count, first, target.size, address_of(target), *addresses[1:])
        except UnicodeDecodeError:
            status = -errno.EILSEQ
    if status:
        raise _error(status, int(done[0]), count)


@cache
def _object_api(kind: str) -> tuple[Any, Any] | None:
    """``ringio_make_objects()``, to be called with the GIL, and what it wants; None where Python has no such API."""
    try:
        import ctypes

        api = ctypes.pythonapi
        make = api.PyBytes_FromStringAndSize if kind == "bytes" else api.PyUnicode_FromStringAndSize
        addresses = [ctypes.cast(function, ctypes.c_void_p).value for function in (make, api.Py_DecRef)]
        pointer, u64 = ctypes.c_void_p, ctypes.c_uint64
        signature = ctypes.PYFUNCTYPE(ctypes.c_int64, pointer, u64, u64, u64, u64, pointer, pointer, pointer)
        own = int(ffi.cast("uintptr_t", ffi.addressof(lib, "ringio_make_objects")))
        return signature(own), ffi.new("struct ringio_object_api *", addresses)
    except (AttributeError, ImportError):
        return None


def _split(kind: str, data: memoryview, count: int) -> Iterator[Any]:
    at = 0
    for number in range(count):
        start = at + _LENGTH_NBYTES
        at = start + int.from_bytes(data[at:start], "little")
        if at > len(data):
            raise _error(-errno.EPROTO, number, count)
        yield bytes(data[start:at]) if kind == "bytes" else str(data[start:at], "utf-8")


def _error(status: int, number: int, count: int) -> ValueError:
    what = "is not valid utf-8" if status == -errno.EILSEQ else "ends behind the data"
    return ValueError(f"item {number} of {count} {what}")
