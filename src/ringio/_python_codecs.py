"""Codecs that are Python objects: those of numcodecs, and users' own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

# What codecs give to each other: anything with the buffer protocol, or a numpy array.
Data: TypeAlias = Any
Decode: TypeAlias = Callable[[Data], Data]
Bounded: TypeAlias = Callable[[Data, int], Data]
Factory: TypeAlias = Callable[[dict[str, Any]], Any]

_factories: Final[dict[str, Factory]] = {}
_counts: Final = {"registrations": 0}


def bounded(decode: Decode) -> Bounded | None:
    """``decode_within`` of the codec whose ``decode`` this is; None: it has none."""
    found = getattr(getattr(decode, "__self__", None), "decode_within", None)
    return found if callable(found) else None


class PythonCodec:
    """A Python object as a codec.

    Two of them are equal if they have the same name and their objects are equal.

    Args:
        codec: has a method ``decode(buffer)``, or is a function like that.
        name: for messages; None: what the object calls itself.

    Raises:
        ValueError: it is neither.
    """

    __slots__ = ("codec", "name")

    def __init__(self, codec: Any, name: str | None = None) -> None:
        if not callable(getattr(codec, "decode", None)) and not callable(codec):
            raise ValueError(
                f"expected the name of a codec, its configuration, or an object with decode(), got {codec!r:.100}"
            )
        self.codec = codec
        own = getattr(codec, "codec_id", None) or getattr(codec, "__name__", None)
        self.name = name or (own if isinstance(own, str) else type(codec).__name__)

    def bind(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Decode:
        """What decodes chunks whose decoded form has, at this place of the chain, this shape and dtype."""
        codec = self.codec
        if callable(getattr(codec, "for_chunk", None)):
            codec = codec.for_chunk(shape, dtype)
        decode = getattr(codec, "decode", None)
        return decode if callable(decode) else codec  # type: ignore[no-any-return]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PythonCodec):
            return NotImplemented
        return self.name == other.name and (self.codec is other.codec or bool(self.codec == other.codec))

    def __hash__(self) -> int:
        return hash(self.name)  # the object may be none that can be hashed

    def __reduce__(self) -> tuple[Any, ...]:
        return PythonCodec, (self.codec, self.name)

    def __repr__(self) -> str:
        return f"<PythonCodec {self.name}: {self.codec!r}>"


def register(name: str, factory: Factory) -> None:
    r"""Make a codec known by a name, in this process; it is taken even where ringio has one of that name itself.

    Args:
        name: as it stands in the configuration of a codec: ``name`` of Zarr v3, ``id`` of Zarr v2.
        factory: is called with the rest of the configuration, a dict, and returns the codec: an object with a method
            ``decode(buffer)``, or a function like that; see :func:`chain`.

    Raises:
        TypeError: the factory cannot be called.

    >>> from ringio import codecs
    >>> codecs.register("xor", lambda configuration: lambda data: bytes(b ^ configuration["key"] for b in data))
    >>> codecs.chain([{"name": "xor", "configuration": {"key": 255}}]).decode(b"\xfe\xfd", (2,), "u1")
    array([1, 2], dtype=uint8)
    """
    if not callable(factory):
        raise TypeError(f"codec {name!r}: {factory!r} is no function of a configuration")
    _factories[name] = factory
    _counts["registrations"] += 1


def is_registered(name: str) -> bool:
    """Whether :func:`register` was given a codec of that name."""
    return name in _factories


def registration_count() -> int:
    """How often :func:`register` was called: what was made of configurations before may mean something else now."""
    return _counts["registrations"]


def registered(name: str) -> Factory | None:
    """What :func:`register` was given for a name; None: nothing."""
    return _factories.get(name)


def as_bytes(data: Data) -> NDArray[np.uint8]:
    """What a codec gave as bytes in one row, without a copy where that can be.

    Raises:
        TypeError: it holds Python objects, or is no buffer at all.
    """
    if isinstance(data, np.ndarray):
        if data.dtype.hasobject or data.dtype.kind == "T":
            raise TypeError(f"an array of dtype {data.dtype} came where bytes were due")
        flat = data.reshape(-1, order="A")  # as numcodecs does
        return np.ascontiguousarray(flat).view(np.uint8) if flat.size else np.zeros(0, np.uint8)
    return np.frombuffer(data, np.uint8)


def as_items(data: Data, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """What the last codec gave as an array of one dimension.

    Args:
        data: an array, or bytes.
        count: of items.
        dtype: of them. Python objects and strings of any length must come as an array; all else may also be bytes.

    Raises:
        ValueError, TypeError: it is something else, or of another size.
    """
    is_array = isinstance(data, np.ndarray)
    if dtype.hasobject or dtype.kind == "T" or (is_array and (data.dtype.hasobject or data.dtype.kind == "T")):
        if not is_array or not (data.dtype.hasobject or data.dtype.kind in "TUS"):
            raise TypeError(f"decodes to {type(data).__name__}, expected an array of dtype {dtype}")
        if data.size != count:
            raise ValueError(f"decodes to {data.size} items, expected {count}")
        flat = data.reshape(-1, order="A")
        # Of strings astype() would make a copy, equal dtypes or not.
        return flat if flat.dtype == dtype else flat.astype(dtype)  # type: ignore[no-any-return]
    raw = as_bytes(data)
    if raw.nbytes != count * dtype.itemsize:
        raise ValueError(f"decodes to {raw.nbytes} bytes, expected {count * dtype.itemsize}")
    return raw.view(dtype) if raw.size else np.empty(count, dtype)
