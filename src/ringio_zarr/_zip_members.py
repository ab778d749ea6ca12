"""Members of zip files: where their bytes are, and how to decompress them. Nothing that the file says is believed."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any, Final

from ringio import DecodeError, codecs
from ringio.planning import NamedTuple

from ._errors import MetadataError, Place
from ._store_base import too_large

# A local header: signature, lengths of name and extra field. The compressed bytes come behind these.
HEADER: Final = struct.Struct("<4s22xHH")
_SIGNATURE: Final = b"PK\x03\x04"
STORED: Final = 0
LEVELS: Final = 6  # flags: how hard a compressor has tried; of LZMA, the next one
_ENCRYPTED: Final = 1
_LZMA_ENDS_ITSELF: Final = 2  # a flag: there is a marker at the end of the data

# No method makes data larger by more than some percent and some headers.
_MAX_FACTOR: Final = 2
_MAX_EXTRA_NBYTES: Final = 1 << 16

_LZMA_HEADER: Final = struct.Struct("<2xH")  # version, bytes of properties
_LZMA_PROPERTIES: Final = struct.Struct("<BI")  # how literals and positions are coded, bytes of the dictionary
_LZMA_DICTIONARY_MIN_NBYTES: Final = 4096


class Members(NamedTuple):
    """What the directory of a zip file says.

    Attributes:
        members: by their names, as ``zipfile`` has them.
        borders: where in the file members begin, also those that others were written over, and where the directory
            does; ascending.
    """

    members: dict[str, Any]
    borders: list[int]


def read_directory(file: Any, path: str) -> Members:
    """The members of a zip file.

    Args:
        file: can be read and sought in.
        path: of the file, for messages.

    Raises:
        OSError: it cannot be read.
        MetadataError: it is no zip file.
    """
    import zipfile  # late: it takes 5 ms to import

    try:
        with zipfile.ZipFile(file) as archive:
            found = archive.infolist()
            borders = sorted([each.header_offset for each in found] + [archive.start_dir])
            # Of members with one name the last one counts: it was written over the others.
            return Members({each.filename.lstrip("/"): each for each in found if not each.is_dir()}, borders)
    except OSError:
        raise
    except Exception as error:  # zipfile raises of many kinds
        raise Place(path).error(f"not a zip file that can be read: {error}") from error


def data_start(member: Any, header: bytes, file_nbytes: int, where: str) -> int:
    """Where in the file the data of a member begins.

    Args:
        member: from the directory.
        header: bytes of the file from ``member.header_offset`` on: as many as ``HEADER`` has, if there are so many.
        file_nbytes: of the file.
        where: the member is, for messages.

    Raises:
        MetadataError: the directory contradicts the file.
        UnsupportedError: it is encrypted.
    """
    if member.flag_bits & _ENCRYPTED:
        raise Place(where).unsupported("it is encrypted")
    if len(header) < HEADER.size:
        raise _broken(where, "its header lies outside the file")
    signature, name_nbytes, extra_nbytes = HEADER.unpack(header[: HEADER.size])
    start: int = member.header_offset + HEADER.size + name_nbytes + extra_nbytes
    if signature != _SIGNATURE:
        raise _broken(where, "there is no header where the directory says")
    if start + member.compress_size > file_nbytes:
        raise _broken(where, "it reaches over the end of the file")
    if member.compress_type == STORED and member.compress_size != member.file_size:
        raise _broken(where, "it is stored as it is, in another size than its own")
    return start


def check_size(member: Any, limit_nbytes: int, where: str) -> None:
    """Refuse a member that nobody should take into memory.

    Raises:
        MetadataError, DecodeError: it is larger than the limit, as it is or compressed.
    """
    if member.file_size > limit_nbytes:
        raise too_large(where, member.file_size, limit_nbytes)
    if member.compress_size > _MAX_FACTOR * member.file_size + _MAX_EXTRA_NBYTES:
        raise _broken(where, f"{member.file_size} bytes are compressed to {member.compress_size}")


def decompress(member: Any, data: bytes | memoryview, where: str) -> bytes | memoryview:
    """The bytes of a member. Memory for no more than the directory says is used.

    Args:
        member: from the directory.
        data: the member as it is in the file.
        where: it is, for messages.

    Raises:
        DecodeError: they are damaged, too few or too many.
        UnsupportedError: they are compressed in a way that nobody here knows.
    """
    if member.compress_type != STORED and member.compress_type not in _DECODERS:
        raise Place(where).unsupported(f"a member of a zip file with compression method {member.compress_type}")
    try:
        if member.compress_type != STORED:
            data = _DECODERS[member.compress_type](data, member)
        if len(data) != member.file_size or zlib.crc32(data) != member.CRC:
            raise ValueError("the size or the checksum is wrong")
    except Exception as error:  # of zlib, lzma, ...
        raise DecodeError(f"{where}: a member of a zip file cannot be read: {error}", path=where) from error
    return data


def _inflate(data: bytes | memoryview, member: Any) -> bytes:
    return _all_of(zlib.decompressobj(-zlib.MAX_WBITS), data, member.file_size)


def _bunzip2(data: bytes | memoryview, member: Any) -> bytes:
    import bz2

    return _all_of(bz2.BZ2Decompressor(), data, member.file_size)


def _unlzma(data: bytes | memoryview, member: Any) -> bytes:
    import lzma

    # The stream behind zip's own header is that of a .lzma file, which says beside the properties how long it is.
    data = bytes(data)
    (nbytes,) = _LZMA_HEADER.unpack_from(data)
    if nbytes != _LZMA_PROPERTIES.size:
        raise ValueError(f"{nbytes} bytes of LZMA properties")
    coding, dictionary_nbytes = _LZMA_PROPERTIES.unpack_from(data, _LZMA_HEADER.size)
    # It reaches back to the first byte at most. What is said here is allocated.
    dictionary_nbytes = min(dictionary_nbytes, max(member.file_size, _LZMA_DICTIONARY_MIN_NBYTES))
    length = 2**64 - 1 if member.flag_bits & _LZMA_ENDS_ITSELF else member.file_size
    header = _LZMA_PROPERTIES.pack(coding, dictionary_nbytes) + length.to_bytes(8, "little")
    body = data[_LZMA_HEADER.size + _LZMA_PROPERTIES.size :]
    return _all_of(lzma.LZMADecompressor(lzma.FORMAT_ALONE), header + body, member.file_size)


def _unzstd(data: bytes | memoryview, member: Any) -> memoryview:
    decoded = codecs.chain(["zstd"]).decode(data, (member.file_size,), "u1")
    return decoded.data.cast("B")


def _all_of(decompressor: Any, data: bytes | memoryview, nbytes: int) -> bytes:
    decoded: bytes = decompressor.decompress(data, nbytes + 1)  # one more, so that too many are seen
    while not decompressor.eof and len(decoded) <= nbytes:
        # Some come to the end of their input only when they are asked once more.
        more = decompressor.decompress(b"", nbytes + 1 - len(decoded))
        if not more:
            break
        decoded += more
    if not decompressor.eof:
        raise ValueError("the compressed data ends too early, or is more than it should be")
    return decoded


_DECODERS: Final[dict[int, Callable[[bytes | memoryview, Any], bytes | memoryview]]] = {
    8: _inflate,
    12: _bunzip2,
    14: _unlzma,
    93: _unzstd,
}


def _broken(where: str, problem: str) -> MetadataError:
    return Place(where).error(f"a member of a damaged zip file: {problem}")
