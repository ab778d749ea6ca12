"""Data types of the matrix, and elements for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Values = np.ndarray[Any, Any]


class Kind(NamedTuple):
    """A data type of the matrix.

    Attributes:
        name: in the tables.
        dtype: what zarr-python is asked for.
        values: makes an array of a shape, the same one each time.
        fills: fill values beside the default.
        big_endian: whether v3 stores it in either byte order.
    """

    name: str
    dtype: Any
    values: Callable[[tuple[int, ...]], Values]
    fills: tuple[Any, ...] = ()
    big_endian: bool = False


def _count(shape: tuple[int, ...]) -> Values:
    return np.arange(np.prod(shape, dtype=np.int64)).reshape(shape)


def _of(dtype: Any) -> Callable[[tuple[int, ...]], Values]:
    """Numbers that go round in the type's range, negative ones too where there are such."""

    def values(shape: tuple[int, ...]) -> Values:
        with np.errstate(all="ignore"):
            count = _count(shape)
            if np.dtype(dtype).kind in "fc":
                return ((count - count.size // 3) / 7).astype(dtype)
            return (count * 37 - 11).astype(dtype)

    return values


def _texts(shape: tuple[int, ...]) -> Values:
    words = ["", "a", "zwölf", "雪の", "a longer text than the others, of forty-four", "é" * 3]
    return np.array([words[i % len(words)] for i in range(_count(shape).size)], object).reshape(shape)


def _bytes(shape: tuple[int, ...]) -> Values:
    items = np.empty(_count(shape).size, object)
    items[:] = [bytes(range(i % 7)) for i in range(items.size)]
    return items.reshape(shape)


def _struct(dtype: Any) -> Callable[[tuple[int, ...]], Values]:
    def values(shape: tuple[int, ...]) -> Values:
        result = np.zeros(shape, dtype)
        for number, name in enumerate(result.dtype.names or ()):
            field = result[name]
            field[...] = (_count(field.shape) * (number + 3)).astype(field.dtype)
        return result

    return values


INTS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
FLOATS = ("float16", "float32", "float64")
STRUCT = np.dtype([("a", "<i2"), ("b", "<f8"), ("c", "S3")])
MIXED = np.dtype([("a", ">i4"), ("b", "<f4"), ("c", ">u2")])

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("bool", "bool", lambda shape: _count(shape) % 3 == 0, (True,)),
        *(Kind(name, name, _of(name), (5,), np.dtype(name).itemsize > 1) for name in INTS),
        *(Kind(name, name, _of(name), (1.5, np.nan, np.inf, -np.inf, -0.0), True) for name in FLOATS),
        *(
            Kind(name, name, _of(name), (1.5 - 2j, complex(np.nan, np.inf)), True)
            for name in ("complex64", "complex128")
        ),
        Kind(
            "datetime64[s]",
            "datetime64[s]",
            lambda shape: _count(shape).astype("M8[s]"),
            (np.datetime64(7, "s"),),
            True,
        ),
        Kind("datetime64[10us]", "datetime64[10us]", lambda shape: _count(shape).astype("M8[10us]"), (), True),
        Kind("timedelta64[ns]", "timedelta64[ns]", lambda shape: _count(shape).astype("m8[ns]"), (), True),
        Kind("S4", "S4", lambda shape: _count(shape).astype("S4"), (b"ab",)),
        Kind("U3", "U3", lambda shape: _count(shape).astype("U3"), ("é",), True),
        Kind("V5", "V5", lambda shape: _count(shape).astype("S5").view("V5"), (np.void(b"abcde"),)),
        Kind("struct", STRUCT, _struct(STRUCT)),
        Kind("string", str, _texts, ("nothing",)),
        Kind("bytes", "variable_length_bytes", _bytes, (b"xy",)),
    )
}
"""By name.  ``string`` and ``bytes`` have items of any length."""
