"""The steps of codec chains: names and configurations, checked as far as that goes without a chunk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import numpy as np

from ._errors import UnsupportedCodecError
from ._named import NamedTuple
from ._native_steps import CHECKSUMS, KINDS
from ._python_codecs import PythonCodec, registered

Configuration: TypeAlias = Mapping[str, Any]

_NUMCODECS_ELEMENTSIZE: Final = 4  # what numcodecs.Shuffle takes when its configuration does not say


class Step(NamedTuple):
    """One codec of a chain, as far as a decoder needs to know it.

    Attributes:
        name: of the codec.
        order: ``transpose``: stored dimension k is dimension ``order[k]`` before; or "C" or "F" for any number of them.
        endian: ``bytes``: "little" or "big".
        elementsize: ``shuffle``: bytes of an element; 0: an item of the dtype.
        location: of a checksum: "start" or "end"; "" elsewhere.
        decoded: dtype that the codec decodes to; None: that of the array, or what the codec before makes of it.
        encoded: dtype that it decodes from; None: the same.
        scale: of the codecs that have one.
        offset: the same.
        options: of ``cast_value``: what else its configuration says.
        codec: a codec that is a Python object; None: ringio has it.
    """

    name: str
    order: tuple[int, ...] | str = ()
    endian: str = "little"
    elementsize: int = 0
    location: str = ""
    decoded: np.dtype[Any] | None = None
    encoded: np.dtype[Any] | None = None
    scale: float | str = 1
    offset: float | str = 0
    options: tuple[tuple[str, str], ...] = ()
    codec: PythonCodec | None = None


def parse_step(item: object) -> Step:
    """A step from what ``chain()`` was given.

    Raises:
        UnsupportedCodecError: a codec that this build does not have, by name.
        ValueError: a configuration that makes no sense.
    """
    if not isinstance(item, str | Mapping):
        codec = item if isinstance(item, PythonCodec) else PythonCodec(item)
        return Step(codec.name, codec=codec)
    name, configuration = _name_and_configuration(item)
    if (factory := registered(name)) is not None:
        return Step(name, codec=PythonCodec(factory(dict(configuration)), name))
    # zarr-python writes numcodecs' codecs into v3 arrays under this prefix; the bytes are the same.
    stem = _ALIASES.get(name, name.removeprefix("numcodecs."))
    if (parse := _PARSERS.get(stem)) is not None:
        return parse(stem, configuration)
    if stem in _VLEN:
        from ._vlen import VlenCodec  # late: few chunks hold strings

        return Step(name, codec=PythonCodec(VlenCodec(stem), name))
    if stem not in KINDS:
        raise UnsupportedCodecError(f"codec {name!r} is not supported; there are {', '.join(NAMES)}")
    return Step(stem)


def _name_and_configuration(item: str | Mapping[str, Any]) -> tuple[str, Configuration]:
    if isinstance(item, str):
        return item, {}
    name = item.get("name", item.get("id"))
    if not isinstance(name, str):
        raise ValueError(f"expected a codec with a 'name' or an 'id', got {dict(item)!r}")
    if "name" not in item:
        return name, {key: value for key, value in item.items() if key != "id"}
    configuration = item.get("configuration") or {}
    if not isinstance(configuration, Mapping):
        raise ValueError(f"codec {name!r}: expected an object as its configuration, got {configuration!r}")
    return name, configuration


def _transpose(name: str, configuration: Configuration) -> Step:
    order = configuration.get("order")
    if order in ("C", "F"):  # in drafts of Zarr v3
        return Step(name, order=str(order))
    if not isinstance(order, list | tuple) or not all(map(_is_int, order)) or sorted(order) != list(range(len(order))):
        raise ValueError(f"codec 'transpose': expected an order of all dimensions, got {order!r}")
    return Step(name, order=tuple(order))


def _bytes(name: str, configuration: Configuration) -> Step:
    endian = configuration.get("endian") or "little"
    if endian not in ("little", "big"):
        raise ValueError(f"codec {name!r}: expected endian 'little' or 'big', got {endian!r}")
    return Step(name, endian=endian)


def _shuffle(name: str, configuration: Configuration) -> Step:
    elementsize = configuration.get("elementsize", _NUMCODECS_ELEMENTSIZE)
    if not _is_int(elementsize) or not 0 <= elementsize <= 0xFFFF_FFFF:
        raise ValueError(f"codec {name!r}: expected an elementsize of 0 or more, got {elementsize!r}")
    return Step(name, elementsize=elementsize)


def _checksum(name: str, configuration: Configuration) -> Step:
    location = configuration.get("location") or CHECKSUMS[name]
    if location not in ("start", "end") or (name == "fletcher32" and location != "end"):
        raise ValueError(f"codec {name!r}: expected location 'start' or 'end', got {location!r}")
    return Step(name, location=location)


def _typed(name: str, configuration: Configuration) -> Step:
    decoded = _dtype(name, configuration.get("dtype"))
    return Step(name, decoded=decoded, encoded=_dtype(name, configuration.get("astype")) or decoded)


def _astype(name: str, configuration: Configuration) -> Step:
    encoded = _dtype(name, configuration.get("encode_dtype"))
    if encoded is None:
        raise ValueError(f"codec {name!r}: expected an encode_dtype")
    return Step(name, decoded=_dtype(name, configuration.get("decode_dtype")), encoded=encoded)


def _fixed_scale_offset(name: str, configuration: Configuration) -> Step:
    scale, offset = configuration.get("scale"), configuration.get("offset")
    if not isinstance(scale, int | float) or not isinstance(offset, int | float):
        raise ValueError(f"codec {name!r}: expected numbers as scale and offset, got {scale!r} and {offset!r}")
    return _typed(name, configuration)._replace(scale=scale, offset=offset)


def _scale_offset(name: str, configuration: Configuration) -> Step:
    scale, offset = configuration.get("scale", 1), configuration.get("offset", 0)
    for number in (scale, offset):
        if not isinstance(number, int | float | str) or isinstance(number, bool):
            raise ValueError(f"codec {name!r}: expected a number, got {number!r}")
    return Step(name, scale=scale, offset=offset)


def _cast_value(name: str, configuration: Configuration) -> Step:
    encoded = _dtype(name, configuration.get("data_type"))
    if encoded is None:
        raise ValueError(f"codec {name!r}: expected a data_type")
    import json  # late: few chains need it

    # As text, so that a step can be hashed.
    options = {key: configuration.get(key) for key in ("rounding", "out_of_range", "scalar_map")}
    texts = [(key, json.dumps(value)) for key, value in options.items() if value is not None]
    return Step(name, encoded=encoded, options=tuple(texts))


def _dtype(name: str, value: object) -> np.dtype[Any] | None:
    if value is None:
        return None
    dtype: np.dtype[Any] | None
    try:
        dtype = np.dtype(value)  # type: ignore[call-overload]
    except (TypeError, ValueError) as error:
        dtype = _extra_dtype(value)
        if dtype is None:
            raise ValueError(f"codec {name!r}: {error}") from error
    assert dtype is not None
    if dtype.hasobject or dtype.itemsize == 0:
        raise ValueError(f"codec {name!r}: dtype {dtype} has no fixed size")
    return dtype


def _extra_dtype(name: object) -> np.dtype[Any] | None:
    """A dtype of the package ml_dtypes, where that is installed."""
    try:
        import ml_dtypes
    except ImportError:
        return None
    found = getattr(ml_dtypes, name, None) if isinstance(name, str) else None
    return np.dtype(found) if isinstance(found, type) else None


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _plain(name: str, configuration: Configuration) -> Step:
    del configuration
    return Step(name)


_VLEN: Final = ("vlen-utf8", "vlen-bytes")
_ALIASES: Final = {"endian": "bytes"}  # in drafts of Zarr v3
_PARSERS: Final[dict[str, Callable[[str, Configuration], Step]]] = {
    "transpose": _transpose,
    "bytes": _bytes,
    "shuffle": _shuffle,
    "crc32c": _checksum,
    "crc32": _checksum,
    "adler32": _checksum,
    "fletcher32": _checksum,
    "delta": _typed,
    "fixedscaleoffset": _fixed_scale_offset,
    "quantize": _typed,
    "bitround": _plain,
    "astype": _astype,
    "packbits": _plain,
    "scale_offset": _scale_offset,
    "cast_value": _cast_value,
}
NAMES: Final = tuple(dict.fromkeys(("transpose", "bytes", *KINDS, *_PARSERS, *_VLEN)))
"""The codecs that ringio has itself."""
