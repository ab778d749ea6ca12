"""The steps of codec chains: from names and configurations to the records of the C core."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ._core import lib
from ._errors import UnsupportedCodecError
from ._python_codecs import PythonCodec, registered
from ._records import CODEC

KINDS: Final = {
    "blosc": lib.RINGIO_CODEC_BLOSC,
    "zstd": lib.RINGIO_CODEC_ZSTD,
    "lz4": lib.RINGIO_CODEC_LZ4,
    "gzip": lib.RINGIO_CODEC_GZIP,
    "zlib": lib.RINGIO_CODEC_ZLIB,
    "crc32c": lib.RINGIO_CODEC_CRC32C,
    "shuffle": lib.RINGIO_CODEC_SHUFFLE,
    "bytes": lib.RINGIO_CODEC_SWAP,
}
NAMES: Final = ("transpose", "bytes", *(name for name in KINDS if name != "bytes"))
_CHECKSUM_NBYTES: Final = 4
_NUMCODECS_ELEMENTSIZE: Final = 4  # what numcodecs.Shuffle takes when its configuration does not say
MAX_INT64: Final = 2**63 - 1


class Step(NamedTuple):
    """One codec of a chain, as far as a decoder needs to know it.

    Attributes:
        name: of the codec.
        order: ``transpose``: stored dimension k is dimension ``order[k]`` before; or "C" or "F" for any number of them.
        endian: ``bytes``: "little" or "big".
        elementsize: ``shuffle``: bytes of an element; 0: an item of the dtype.
        codec: a codec that is a Python object; None: the C core has it.
    """

    name: str
    order: tuple[int, ...] | str = ()
    endian: str = "little"
    elementsize: int = 0
    codec: PythonCodec | None = None


class Sized(NamedTuple):
    """How many bytes there are at one place of a chain.

    Attributes:
        nbytes: so many; None: nobody knows, as a Python codec makes of them what it likes.
        flags: 0: exactly; RINGIO_CODEC_AT_MOST: no more.
    """

    nbytes: int | None
    flags: int = 0


class NativeStep(NamedTuple):
    """A step that the C core does.

    Attributes:
        name: of the codec.
        itemsize: as in ``struct ringio_codec``.
    """

    name: str
    itemsize: int = 0

    def record(self, given: Sized) -> tuple[int, int, int, int, int]:
        """``struct ringio_codec`` of a step that gives so many bytes."""
        return KINDS[self.name], self.itemsize, given.nbytes or 0, given.flags, 0

    def encoded(self, decoded: Sized) -> Sized:
        """How many bytes the codec makes of so many."""
        nbytes = decoded.nbytes
        if nbytes is None or self.name in ("bytes", "shuffle"):
            return decoded
        if self.name == "crc32c":
            return Sized(nbytes + _CHECKSUM_NBYTES, decoded.flags)
        # No compressor makes a chunk much larger, but who flushes after every few bytes, or joins many small frames,
        # can. So this is far above what encoders write, and below what would hurt: it only stops absurd allocations.
        return Sized(4 * nbytes + (1 << 20), lib.RINGIO_CODEC_AT_MOST)


def records_of(steps: Sequence[NativeStep], given: Sized) -> tuple[NDArray[np.void], int]:
    """The records of steps in *encoding* order, as the C core wants them.

    Args:
        steps: done one after the other.
        given: what the first of them, which is the last to be undone, gives.

    Returns:
        CODEC[n] in decoding order, and the most encoded bytes that make sense.
    """
    records = []
    for step in steps:
        records.append(step.record(given))
        given = step.encoded(given)
    return np.array(records[::-1], dtype=CODEC), min(given.nbytes or 0, MAX_INT64)


Configuration: TypeAlias = Mapping[str, Any]


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
    return _native_step(name, configuration)


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


def _native_step(name: str, configuration: Configuration) -> Step:
    # zarr-python writes numcodecs' codecs into v3 arrays under this prefix; the bytes are the same.
    stem = name.removeprefix("numcodecs.")
    match stem:
        case "transpose":
            return Step(stem, order=_order(configuration.get("order")))
        case "bytes" | "endian":  # the second: in drafts of Zarr v3
            endian = configuration.get("endian") or "little"
            if endian not in ("little", "big"):
                raise ValueError(f"codec {name!r}: expected endian 'little' or 'big', got {endian!r}")
            return Step("bytes", endian=endian)
        case "shuffle":
            elementsize = configuration.get("elementsize", _NUMCODECS_ELEMENTSIZE)
            if not _is_int(elementsize) or not 0 <= elementsize <= 0xFFFF_FFFF:
                raise ValueError(f"codec {name!r}: expected an elementsize of 0 or more, got {elementsize!r}")
            return Step(stem, elementsize=elementsize)
        case "crc32c":
            if configuration.get("location", "end") != "end":
                raise UnsupportedCodecError(f"codec {name!r} with the checksum in front of the data is not supported")
    if stem not in KINDS:
        raise UnsupportedCodecError(f"codec {name!r} is not supported; there are {', '.join(NAMES)}")
    return Step(stem)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _order(value: object) -> tuple[int, ...] | str:
    if value in ("C", "F"):  # in drafts of Zarr v3
        return str(value)
    if not isinstance(value, list | tuple) or not all(map(_is_int, value)) or sorted(value) != list(range(len(value))):
        raise ValueError(f"codec 'transpose': expected an order of all dimensions, got {value!r}")
    return tuple(value)


def permutation(step: Step, dim_count: int) -> tuple[int, ...]:
    """The order of a ``transpose`` of so many dimensions."""
    if isinstance(step.order, str):
        dimensions = range(dim_count)
        return tuple(dimensions if step.order == "C" else reversed(dimensions))
    if len(step.order) != dim_count:
        raise ValueError(f"codec 'transpose': order {step.order} for an array of {dim_count} dimensions")
    return step.order


def native_step(step: Step, dtype: np.dtype[Any]) -> NativeStep | None:
    """What a step takes of the C core for items of a dtype; None: nothing."""
    if step.name == "bytes":
        itemsize = _swap_nbytes(dtype, step.endian)
        return NativeStep(step.name, itemsize) if itemsize else None
    if step.name == "shuffle":
        # netCDF-C writes an elementsize of 0 and means the size of an item.
        itemsize = step.elementsize or dtype.itemsize
        return NativeStep(step.name, itemsize) if itemsize > 1 else None
    return NativeStep(step.name)


def _swap_nbytes(dtype: np.dtype[Any], endian: str) -> int:
    """How many bytes are to be reversed at a time; 0 where stored and dtype's byte order are the same."""
    dtype = dtype.base
    if dtype.fields is not None:
        for field, (field_dtype, *_) in dtype.fields.items():
            if _swap_nbytes(field_dtype, endian):
                raise UnsupportedCodecError(
                    f"codec 'bytes' with endian {endian!r}: field {field!r} of dtype {dtype} is not stored in the"
                    " byte order of the dtype, and swapping the bytes of structured items is not supported"
                )
        return 0
    if dtype.str[0] == "|" or (dtype.str[0] == ">") == (endian == "big"):
        return 0
    if dtype.kind == "c":
        return dtype.itemsize // 2  # real and imaginary part, each by itself
    if dtype.kind == "U":
        return 4  # one code point
    return dtype.itemsize
