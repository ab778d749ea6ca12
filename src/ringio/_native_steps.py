"""Steps of codec chains that the C core does, and their records."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ._core import lib
from ._errors import UnsupportedCodecError
from ._named import NamedTuple
from ._records import CODEC

KINDS: Final = {
    "blosc": lib.RINGIO_CODEC_BLOSC,
    "zstd": lib.RINGIO_CODEC_ZSTD,
    "lz4": lib.RINGIO_CODEC_LZ4,
    "gzip": lib.RINGIO_CODEC_GZIP,
    "zlib": lib.RINGIO_CODEC_ZLIB,
    "crc32c": lib.RINGIO_CODEC_CRC32C,
    "crc32": lib.RINGIO_CODEC_CRC32,
    "adler32": lib.RINGIO_CODEC_ADLER32,
    "fletcher32": lib.RINGIO_CODEC_FLETCHER32,
    "shuffle": lib.RINGIO_CODEC_SHUFFLE,
    "bytes": lib.RINGIO_CODEC_SWAP,
    "packbits": lib.RINGIO_CODEC_PACKBITS,
    "delta": lib.RINGIO_CODEC_SUM,
    "astype": lib.RINGIO_CODEC_CAST,
    "fixedscaleoffset": lib.RINGIO_CODEC_SCALE,
    "scale_offset": lib.RINGIO_CODEC_RESCALE,
}
CHECKSUMS: Final = {"crc32c": "end", "crc32": "start", "adler32": "start", "fletcher32": "end"}
"""Codecs that put a checksum to the data, and where that stands by default, as in numcodecs."""

CHECKSUM_NBYTES: Final = 4
MAX_INT64: Final = 2**63 - 1
_SAME_SIZE: Final = {lib.RINGIO_CODEC_SWAP, lib.RINGIO_CODEC_SWAP_FIELD, lib.RINGIO_CODEC_SHUFFLE}
_TYPES: Final = {
    "b1": lib.RINGIO_TYPE_BOOL,
    "i1": lib.RINGIO_TYPE_I8,
    "i2": lib.RINGIO_TYPE_I16,
    "i4": lib.RINGIO_TYPE_I32,
    "i8": lib.RINGIO_TYPE_I64,
    "u1": lib.RINGIO_TYPE_U8,
    "u2": lib.RINGIO_TYPE_U16,
    "u4": lib.RINGIO_TYPE_U32,
    "u8": lib.RINGIO_TYPE_U64,
    "f4": lib.RINGIO_TYPE_F32,
    "f8": lib.RINGIO_TYPE_F64,
}


def type_code(dtype: np.dtype[Any]) -> int | None:
    """RINGIO_TYPE_... of a dtype; None: the C core cannot compute with it."""
    code = _TYPES.get(dtype.str[1:])
    return None if code is None else code | (lib.RINGIO_TYPE_BIG if dtype.str[0] == ">" else 0)


class Sized(NamedTuple):
    """How many bytes there are at one place of a chain.

    Attributes:
        nbytes: so many; None: nobody knows, as a Python codec makes of them what it likes.
        flags: 0: exactly; RINGIO_CODEC_AT_MOST: no more.
    """

    nbytes: int | None
    flags: int = 0


class NativeStep(NamedTuple):
    """A step that the C core does; fields as in ``struct ringio_codec``.

    Attributes:
        name: of the codec, for messages.
        kind: RINGIO_CODEC_...
        itemsize: of an element, in bytes.
        flags: RINGIO_CODEC_FRONT or 0.
        source_type: RINGIO_TYPE_... of the encoded items, 0 where there are none.
        target_type: RINGIO_TYPE_... of the decoded items.
        scale: of the codecs that have one; an int where they compute with integers.
        offset: the same.
        encoded_itemsize: bytes of the encoded items, where they have another size; ``itemsize`` is of the decoded ones.
    """

    name: str
    kind: int
    itemsize: int = 0
    flags: int = 0
    source_type: int = 0
    target_type: int = 0
    scale: float = 0.0
    offset: float = 0.0
    encoded_itemsize: int = 0

    def record(self, given: Sized) -> tuple[int, ...]:
        """``struct ringio_codec`` of a step that gives so many bytes.

        Raises:
            UnsupportedCodecError: so many that no buffer can hold them.
        """
        if given.nbytes is not None and given.nbytes > MAX_INT64:
            raise UnsupportedCodecError(
                f"codec {self.name!r}: what it decodes to may have 2**{given.nbytes.bit_length() - 1} bytes or more, "
                "as each compressor before it in the chain may make chunks larger; there are too many of them"
            )
        return (
            self.kind,
            self.itemsize,
            given.nbytes or 0,
            self.flags | given.flags,
            self.source_type | self.target_type << 16,
            _bits(self.scale),
            _bits(self.offset),
        )

    def encoded(self, decoded: Sized) -> Sized:
        """How many bytes the codec makes of so many."""
        nbytes, flags = decoded
        if nbytes is None or self.kind in _SAME_SIZE:
            return decoded
        if self.name in CHECKSUMS:
            return Sized(nbytes + CHECKSUM_NBYTES, flags)
        if self.kind == lib.RINGIO_CODEC_PACKBITS:
            return Sized(1 + (nbytes + 7) // 8, flags)
        if self.target_type:
            return Sized(nbytes // self.itemsize * self.encoded_itemsize, flags)
        # No compressor makes a chunk much larger, but who flushes after every few bytes, or joins many small frames,
        # can. So this is far above what encoders write, and below what would hurt: it only stops absurd allocations.
        return Sized(4 * nbytes + (1 << 20), lib.RINGIO_CODEC_AT_MOST)


def _bits(value: float) -> int:
    """A number as 64 bits: of an int64 or uint64, or of a double."""
    if isinstance(value, int):
        return value & 0xFFFF_FFFF_FFFF_FFFF
    bits: int = struct.unpack("<Q", struct.pack("<d", value))[0]
    return bits


def records_of(steps: Sequence[NativeStep], given: Sized) -> tuple[NDArray[np.void], int]:
    """The records of steps in *encoding* order, as the C core wants them.

    Args:
        steps: done one after the other.
        given: what the first of them, which is the last to be undone, gives.

    Returns:
        CODEC[n] in decoding order, and the most encoded bytes that make sense.

    Raises:
        UnsupportedCodecError: what lies between two of them may be too large for any buffer.
    """
    records = []
    for step in steps:
        records.append(step.record(given))
        given = step.encoded(given)
    return np.array(records[::-1], dtype=CODEC), min(given.nbytes or 0, MAX_INT64)
