"""Codecs by name and configuration, and the chains that the C core decodes them with.

The names and configurations are those of Zarr: version 3 (``{"name": "zstd", "configuration": {"level": 3}}``),
version 2 and numcodecs (``{"id": "zstd", "level": 3}``), or a bare name where there is nothing to configure. What only
an encoder needs to know (levels, block sizes) is ignored: the encoded bytes say what a decoder needs.

=============  ==========================================================================================
``transpose``  ``order``: the stored dimensions; costs nothing, as it only changes the strides
``bytes``      ``endian``: ``"little"`` (the default) or ``"big"``
``blosc``      blosc1 and blosc2 chunks with blosclz, lz4, lz4hc, zlib or zstd inside
``zstd``       one or more frames, with or without content size and checksum
``lz4``        as numcodecs stores it: the decoded size as int32, then one LZ4 block
``gzip``       one or more members; a zlib stream is taken too
``zlib``       one stream; gzip members are taken too
``crc32c``     a checksum behind the data
``shuffle``    ``elementsize``: bytes of an element, 0 for those of the dtype
=============  ==========================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ._core import ffi, lib
from ._errors import UnsupportedCodecError, error_from_failure
from ._records import CODEC

_KINDS: Final = {
    "blosc": lib.RINGIO_CODEC_BLOSC,
    "zstd": lib.RINGIO_CODEC_ZSTD,
    "lz4": lib.RINGIO_CODEC_LZ4,
    "gzip": lib.RINGIO_CODEC_GZIP,
    "zlib": lib.RINGIO_CODEC_ZLIB,
    "crc32c": lib.RINGIO_CODEC_CRC32C,
    "shuffle": lib.RINGIO_CODEC_SHUFFLE,
    "bytes": lib.RINGIO_CODEC_SWAP,
}
_NAMES: Final = ("transpose", "bytes", *(name for name in _KINDS if name != "bytes"))
_CHECKSUM_NBYTES: Final = 4
_MAX_INT64: Final = 2**63 - 1
_NUMCODECS_ELEMENTSIZE: Final = 4  # what numcodecs.Shuffle takes when its configuration does not say


class Step(NamedTuple):
    """One codec of a chain, as far as a decoder needs to know it.

    Attributes:
        name: of the codec.
        order: ``transpose``: stored dimension k is dimension ``order[k]`` before; or "C" or "F" for any number of them.
        endian: ``bytes``: "little" or "big".
        elementsize: ``shuffle``: bytes of an element; 0: an item of the dtype.
    """

    name: str
    order: tuple[int, ...] | str = ()
    endian: str = "little"
    elementsize: int = 0


class CompiledChain(NamedTuple):
    """A chain for chunks of one shape and dtype: what a plan holds.

    Attributes:
        records: the steps that have work to do, in *decoding* order, as ``struct ringio_codec``.
        decoded_nbytes: of a decoded chunk.
        encoded_nbytes_max: more encoded bytes than this are refused before memory is taken for them.
        strides: bytes between neighbours along each dimension of the array in a decoded chunk.
        step_names: of the records, for messages.
    """

    records: npt.NDArray[np.void]
    decoded_nbytes: int
    encoded_nbytes_max: int
    strides: tuple[int, ...]
    step_names: tuple[str, ...]


class Chain(NamedTuple):
    """A codec chain: hashable, comparable, picklable. Made by :func:`chain`.

    Attributes:
        steps: the codecs in *encoding* order.
    """

    steps: tuple[Step, ...]

    def compile(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> CompiledChain:
        """The chain for chunks of one shape and dtype.

        Args:
            shape: elements along each dimension of the array, before any transpose.
            dtype: of the array; decoded chunks are in its byte order.

        Raises:
            UnsupportedCodecError: bytes that would have to be swapped in a structured dtype.
            ValueError: a transpose of another number of dimensions; a dtype without a fixed size; a chunk too large.

        >>> compiled = chain([{"name": "transpose", "configuration": {"order": [1, 0]}}, "zstd"]).compile((3, 5), "<i2")
        >>> compiled.decoded_nbytes, compiled.strides, compiled.step_names
        (30, (2, 6), ('zstd',))
        """
        dtype = np.dtype(dtype)
        if dtype.hasobject or dtype.kind == "T":
            raise ValueError(f"items of dtype {dtype} have no fixed size")
        nbytes = prod(shape) * dtype.itemsize
        if nbytes > _MAX_INT64:
            raise ValueError(f"a chunk of {'x'.join(map(str, shape))} elements has {nbytes} bytes")
        records: list[tuple[int, int, int, int, int]] = []
        names: list[str] = []
        given_nbytes, flags = nbytes, 0  # what the step gives in decoding: exactly or at most so many bytes
        for step in self.steps:
            itemsize = _record_itemsize(step, dtype)
            if itemsize is not None:
                records.append((_KINDS[step.name], itemsize, given_nbytes, flags, 0))
                names.append(step.name)
                given_nbytes, flags = _encoded_bound(step.name, given_nbytes, flags)
        return CompiledChain(
            records=np.array(records[::-1], dtype=CODEC),
            decoded_nbytes=nbytes,
            encoded_nbytes_max=min(given_nbytes, _MAX_INT64),
            strides=_strides(self.steps, shape, dtype.itemsize),
            step_names=tuple(names[::-1]),
        )

    def decode(
        self, encoded: bytes | bytearray | memoryview, shape: tuple[int, ...], dtype: npt.DTypeLike
    ) -> npt.NDArray[Any]:
        """Decode one chunk that is in memory.

        Args:
            encoded: the encoded bytes, as any buffer.
            shape: elements along each dimension of the array.
            dtype: of the array.

        Returns:
            A new array of that shape and dtype, in the memory order that the transposes give it.

        Raises:
            DecodeError: ``encoded`` is damaged, or does not decode to exactly such an array.
            UnsupportedCodecError: it uses a feature of a codec that this build lacks.

        >>> import zlib
        >>> chain(["bytes", "zlib"]).decode(zlib.compress(bytes(range(6))), (2, 3), "u1")
        array([[0, 1, 2],
               [3, 4, 5]], dtype=uint8)
        """
        compiled = self.compile(shape, dtype)
        decoded = np.empty(compiled.decoded_nbytes, np.uint8)
        source = ffi.from_buffer(encoded)
        # cffi reads the records where numpy has them; of nothing there is no address.
        records = ffi.from_buffer("struct ringio_codec[]", compiled.records) if compiled.step_names else ffi.NULL
        fields = {
            "decoded_nbytes": compiled.decoded_nbytes,
            "encoded_nbytes_max": compiled.encoded_nbytes_max,
            "codec_count": len(compiled.records),
        }
        failure = ffi.new("struct ringio_failure *")
        status = lib.ringio_decode(
            ffi.new("struct ringio_chain *", fields),
            records,
            ffi.cast("uint8_t *", source),
            len(source),
            ffi.from_buffer("uint8_t[]", decoded),
            decoded.nbytes,
            failure,
        )
        if status != 0:
            raise error_from_failure(
                failure, path="<buffer>", offset=0, length=len(source), step_names=compiled.step_names, chunk=None
            )
        return np.ndarray(shape, dtype, decoded, strides=compiled.strides)


def chain(configurations: Iterable[str | Mapping[str, Any]]) -> Chain:
    """A codec chain from the configurations of its codecs.

    Args:
        configurations: in *encoding* order: transposes, then ``bytes`` (which may be left out where the stored byte
            order is the dtype's own), then the others. Each is a name, ``{"name": ..., "configuration": {...}}`` as in
            Zarr v3, or ``{"id": ..., ...}`` as in Zarr v2 and numcodecs.

    Raises:
        UnsupportedCodecError: a codec that this build does not have, by name.
        ValueError: a configuration that makes no sense, or codecs in an order that makes none.

    >>> chain(["bytes", {"id": "shuffle", "elementsize": 2}, {"name": "zstd", "configuration": {"level": 3}}]).steps[1]
    Step(name='shuffle', order=(), endian='little', elementsize=2)
    """
    steps = tuple(_step(*_name_and_configuration(item)) for item in configurations)
    ranks = [("transpose", "bytes").index(step.name) if step.name in ("transpose", "bytes") else 2 for step in steps]
    if ranks != sorted(ranks) or ranks.count(1) > 1:
        names = ", ".join(step.name for step in steps)
        raise ValueError(f"expected transposes, then at most one 'bytes', then other codecs; got {names}")
    return Chain(steps)


def _name_and_configuration(item: object) -> tuple[str, Mapping[str, Any]]:
    if isinstance(item, str):
        return item, {}
    if not isinstance(item, Mapping):
        raise ValueError(f"expected the name of a codec or its configuration, got {item!r}")
    name = item.get("name", item.get("id"))
    if not isinstance(name, str):
        raise ValueError(f"expected a codec with a 'name' or an 'id', got {dict(item)!r}")
    if "name" not in item:
        return name, {key: value for key, value in item.items() if key != "id"}
    configuration = item.get("configuration") or {}
    if not isinstance(configuration, Mapping):
        raise ValueError(f"codec {name!r}: expected an object as its configuration, got {configuration!r}")
    return name, configuration


def _step(name: str, configuration: Mapping[str, Any]) -> Step:
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
    if stem not in _KINDS:
        raise UnsupportedCodecError(f"codec {name!r} is not supported; there are {', '.join(_NAMES)}")
    return Step(stem)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _order(value: object) -> tuple[int, ...] | str:
    if value in ("C", "F"):  # in drafts of Zarr v3
        return str(value)
    if not isinstance(value, list | tuple) or not all(map(_is_int, value)) or sorted(value) != list(range(len(value))):
        raise ValueError(f"codec 'transpose': expected an order of all dimensions, got {value!r}")
    return tuple(value)


def _strides(steps: tuple[Step, ...], shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    order = tuple(range(len(shape)))  # stored dimension k is array dimension order[k]
    for step in steps:
        if step.name == "transpose" and step.order != "C":
            permutation = tuple(reversed(range(len(shape)))) if isinstance(step.order, str) else step.order
            if len(permutation) != len(shape):
                raise ValueError(f"codec 'transpose': order {permutation} for an array of {len(shape)} dimensions")
            order = tuple(order[dimension] for dimension in permutation)
    strides = [0] * len(shape)
    stride = itemsize
    for dimension in reversed(order):
        strides[dimension] = stride
        stride *= shape[dimension]
    return tuple(strides)


def _record_itemsize(step: Step, dtype: np.dtype[Any]) -> int | None:
    """What the record of a step has as its itemsize; None if there is nothing to do for this dtype."""
    if step.name == "transpose":
        return None
    if step.name == "bytes":
        return _swap_nbytes(dtype, step.endian) or None
    if step.name == "shuffle":
        # netCDF-C writes an elementsize of 0 and means the size of an item.
        itemsize = step.elementsize or dtype.itemsize
        return itemsize if itemsize > 1 else None
    return 0


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


def _encoded_bound(name: str, nbytes: int, flags: int) -> tuple[int, int]:
    """How many bytes a codec makes of 'nbytes', and whether that is exact (0) or a limit (RINGIO_CODEC_AT_MOST)."""
    if name == "crc32c":
        return nbytes + _CHECKSUM_NBYTES, flags
    if name in ("bytes", "shuffle"):
        return nbytes, flags
    # No compressor makes a chunk much larger, but who flushes after every few bytes, or joins many small frames, can.
    # So this is far above what encoders write, and below what would hurt: it only stops absurd allocations.
    return 4 * nbytes + (1 << 20), lib.RINGIO_CODEC_AT_MOST
