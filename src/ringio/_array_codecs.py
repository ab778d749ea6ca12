"""Array codecs of numcodecs and Zarr in numpy: for items that the C core cannot compute with, such as float16.

Each function makes what decodes; that gives exactly what numcodecs or zarr-python give.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from ._errors import UnsupportedCodecError
from ._python_codecs import Data, Decode, as_bytes

DType = np.dtype[Any]


def _items(data: Data, dtype: DType) -> Any:
    raw = as_bytes(data)
    if raw.nbytes % dtype.itemsize:
        raise ValueError(f"{raw.nbytes} bytes are no multiple of the {dtype.itemsize} of {dtype}")
    return raw.view(dtype)


def delta(decoded: DType, encoded: DType) -> Decode:
    """The sum of all items so far, in the decoded dtype."""

    def decode(data: Data) -> Data:
        items = _items(data, encoded)
        sums = np.empty(len(items), decoded)
        with np.errstate(all="ignore"):
            np.cumsum(items, out=sums)
        return sums

    return decode


def cast(decoded: DType, encoded: DType) -> Decode:
    """Conversion as by ``ndarray.astype``."""

    def decode(data: Data) -> Data:
        with np.errstate(all="ignore"):
            return _items(data, encoded).astype(decoded)

    return decode


def fixed_scale_offset(decoded: DType, encoded: DType, scale: Any, offset: Any) -> Decode:
    """Division by ``scale``, then addition of ``offset``."""

    def decode(data: Data) -> Data:
        with np.errstate(all="ignore"):
            return ((_items(data, encoded) / scale) + offset).astype(decoded, copy=False)

    return decode


def rescale(dtype: DType, scale: Any, offset: Any) -> Decode:
    """The same in one dtype; integers must come out exactly."""
    native = dtype.newbyteorder("=")

    def decode(data: Data) -> Data:
        items = _items(data, dtype).astype(native, copy=False)
        if dtype.kind == "f":
            with np.errstate(all="ignore"):
                return (items / native.type(scale) + native.type(offset)).astype(dtype, copy=False)
        wide = items.astype(object)  # Python's integers do not overflow
        if (wide % scale).any():
            raise ValueError(f"an item is no multiple of scale={scale}")
        wide = wide // scale + offset
        info = np.iinfo(native)
        if wide.size and not (info.min <= wide.min() and wide.max() <= info.max):
            raise ValueError(f"an item is out of range for {dtype}")
        return wide.astype(dtype)

    return decode


def permute(shape: tuple[int, ...], dtype: DType, order: tuple[int, ...]) -> Decode:
    """Undo a transpose of an array of this shape (before the transpose)."""
    stored_shape = tuple(shape[dimension] for dimension in order)

    def decode(data: Data) -> Data:
        items = _items(data, dtype)
        if len(items) != prod(shape):
            raise ValueError(f"{len(items)} items, expected {prod(shape)}")
        return np.ascontiguousarray(items.reshape(stored_shape).transpose(np.argsort(order)))

    return decode


def cast_value(decoded: DType, encoded: DType, configuration: Mapping[str, Any]) -> Decode:
    """Codec ``cast_value`` of Zarr v3, by the package that zarr-python has for it.

    Raises:
        UnsupportedCodecError: it is not installed.
    """
    try:
        from cast_value_rs import cast_array
    except ImportError:
        raise UnsupportedCodecError(
            "codec 'cast_value' with these data types or options takes the package cast-value-rs: "
            "pip install 'cast-value-rs>=0.4.2'"
        ) from None
    entries = _scalar_map(configuration.get("scalar_map"), decoded, encoded)

    def decode(data: Data) -> Data:
        return cast_array(
            _items(data, encoded).astype(encoded.newbyteorder("="), copy=False),
            target_dtype=decoded.newbyteorder("="),
            rounding_mode=configuration.get("rounding", "nearest-even"),
            out_of_range_mode=configuration.get("out_of_range"),
            scalar_map_entries=entries,
        ).astype(decoded, copy=False)

    return decode


def _scalar_map(value: Any, decoded: DType, encoded: DType) -> dict[Any, Any] | None:
    if not isinstance(value, Mapping) or not value.get("decode"):
        return None
    pairs = value["decode"]
    pairs = pairs.items() if isinstance(pairs, Mapping) else pairs
    take, give = (int if dtype.kind in "iu" else float for dtype in (encoded, decoded))
    return {take(key): give(item) for key, item in pairs}
