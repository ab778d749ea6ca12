"""Hierarchies in zip files: stored members are ranges of the file, compressed ones are decompressed into memory."""

from __future__ import annotations

import errno
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ringio import DecodeError, FileChangedError, Reader, planning

from ._errors import MetadataError, Place
from ._parts import Parts, PartStore, files_in_memory
from ._store_base import MAX_DOCUMENT_NBYTES, child_names, too_large

_HEADER: Final = struct.Struct("<4s22xHH")  # a local header: signature, lengths of name and extra field
_SIGNATURE: Final = b"PK\x03\x04"
_STORED: Final = 0
_DEFLATED: Final = 8
_ENCRYPTED: Final = 1
_PIECE_NBYTES: Final = 1 << 30  # Linux reads no more at once than 2 GiB


class _Directory:
    """What the central directory of a zip file says.

    It has the file open, and never moves in it, so that threads and forked processes may share it.

    Args:
        path: of the file.

    Raises:
        OSError: the file cannot be opened.
        MetadataError: it is no zip file.
    """

    __slots__ = ("_descriptor", "_starts", "identity", "members", "names", "nbytes", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        self.identity = planning.stat([path])
        try:
            status = os.fstat(self._descriptor)
            self.nbytes = status.st_size
            if (status.st_ino, status.st_size) != (int(self.identity["inode"][0]), int(self.identity["nbytes"][0])):
                raise FileChangedError(errno.ESTALE, "the file is replaced while it is opened", path)
            self.members = self._read_directory()
        except OSError as error:
            error.filename = path
            raise
        self.names = list(self.members)
        self._starts: dict[str, int] = {}  # where the data of members begins, once that was looked at

    def _read_directory(self) -> dict[str, Any]:
        import zipfile  # late: it takes 5 ms to import

        try:
            with open(self._descriptor, "rb", closefd=False) as file, zipfile.ZipFile(file) as archive:
                # Of members with one name the last one counts: it was written over the others.
                return {each.filename.lstrip("/"): each for each in archive.infolist() if not each.is_dir()}
        except OSError:
            raise
        except Exception as error:  # zipfile raises of many kinds
            raise Place(self.path).error(f"not a zip file that can be read: {error}") from error

    def __del__(self) -> None:
        if getattr(self, "_descriptor", -1) >= 0:
            os.close(self._descriptor)

    def start_of(self, member: Any) -> int:
        """Where in the file the data of a member begins.

        Raises:
            MetadataError: the directory contradicts the file.
            UnsupportedError: it is encrypted.
        """
        start = self._starts.get(member.filename)
        if start is None:
            start = self._starts[member.filename] = self._find_start(member)
        return start

    def _find_start(self, member: Any) -> int:
        if member.flag_bits & _ENCRYPTED:
            raise Place(f"{self.path}/{member.filename}").unsupported("it is encrypted")
        header = os.pread(self._descriptor, _HEADER.size, member.header_offset) if member.header_offset >= 0 else b""
        if len(header) < _HEADER.size:
            raise self._broken(member, "its header lies outside the file")
        signature, name_nbytes, extra_nbytes = _HEADER.unpack(header)
        start: int = member.header_offset + _HEADER.size + name_nbytes + extra_nbytes
        if signature != _SIGNATURE:
            raise self._broken(member, "there is no header where the directory says")
        if start + member.compress_size > self.nbytes:
            raise self._broken(member, "it reaches over the end of the file")
        if member.compress_type == _STORED and member.compress_size != member.file_size:
            raise self._broken(member, "it is stored as it is, in another size than its own")
        return start

    def _broken(self, member: Any, problem: str) -> MetadataError:
        return Place(f"{self.path}/{member.filename}").error(f"a member of a damaged zip file: {problem}")

    def read(self, member: Any, limit_nbytes: int) -> bytes:
        """All bytes of a member, decompressed, and its checksum compared.

        Raises:
            DecodeError: they are damaged, or far too many.
            MetadataError: the directory contradicts the file, or a document is far too large.
        """
        where = f"{self.path}/{member.filename}"
        if member.file_size > limit_nbytes:
            raise too_large(where, member.file_size, limit_nbytes)
        data = self._raw(member)
        try:
            if member.compress_type == _DEFLATED:
                data = _inflate(data, member.file_size)
            elif member.compress_type != _STORED:
                return self._read_slowly(member)
            if len(data) != member.file_size or zlib.crc32(data) != member.CRC:
                raise ValueError("the size or the checksum is wrong")
        except Exception as error:  # of zlib, zipfile, lzma, ...
            raise DecodeError(f"{where}: a member of a zip file cannot be read: {error}", path=where) from error
        return data

    def _raw(self, member: Any) -> bytes:
        start, pieces, left = self.start_of(member), [], member.compress_size
        while left > 0 and (piece := os.pread(self._descriptor, min(left, _PIECE_NBYTES), start)):
            pieces.append(piece)
            start, left = start + len(piece), left - len(piece)
        return b"".join(pieces)

    def _read_slowly(self, member: Any) -> bytes:
        import zipfile

        with zipfile.ZipFile(self.path) as archive:
            return archive.read(member)


def _inflate(data: bytes, nbytes: int) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(data, nbytes + 1)  # one more, so that too many are seen
    if not inflater.eof:
        raise ValueError("the compressed data ends too early, or is more than it should be")
    return inflated


class ZipStore(PartStore):
    """A zip file on a local file system.

    Args:
        path: of the file. A relative one is made absolute here and now.
    """

    __slots__ = ("_directory", "path")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.abspath(os.fspath(path))  # noqa: PTH100  # resolve() would follow links
        self._directory: _Directory | None = None

    def location(self, key: str) -> str:
        """The path of the zip file, a slash, and the key."""
        return f"{self.path}/{key}" if key else self.path

    def directory(self) -> _Directory:
        """The directory of the file as it is now.

        Raises:
            OSError: the file cannot be opened.
            MetadataError: it is no zip file.
        """
        directory = self._directory
        if directory is None or self._is_stale(directory):
            directory = self._directory = _Directory(self.path)
        return directory

    def _is_stale(self, directory: _Directory) -> bool:
        return planning.stat([self.path]).tobytes() != directory.identity.tobytes()

    def read(self, key: str, reader: Reader | None = None, limit_nbytes: int = MAX_DOCUMENT_NBYTES) -> bytes | None:
        """The bytes of a document, or None where there is none."""
        del reader
        directory = self.directory()
        member = directory.members.get(key)
        if member is None:
            return None
        return directory.read(member, limit_nbytes)

    def exists(self, key: str) -> bool:
        """Whether there is anything at or below a key."""
        below = f"{key}/"
        return not key or any(name == key or name.startswith(below) for name in self.directory().names)

    def is_file(self, key: str) -> bool:
        """Whether a document has this key."""
        return key in self.directory().members

    def child_directories(self, key: str, reader: Reader | None = None) -> list[str]:
        """The names directly below a key that have something below them, sorted."""
        del reader
        return child_names(self.directory().names, key)

    def files_below(self, key: str, reader: Reader | None = None) -> Iterator[tuple[str, int]]:
        """The paths of all members below a key, from there on, and the bytes that they take."""
        del reader
        prefix = f"{key}/" if key else ""
        for name, member in self.directory().members.items():
            if name.startswith(prefix) and not name.endswith("/"):
                yield name[len(prefix) :], member.compress_size

    def parts(self, keys: Sequence[str], limit_nbytes: int, reader: Reader) -> Parts:
        """Where the members are: in the file, or in memory where they had to be decompressed."""
        del reader
        directory = self.directory()
        count = len(keys)
        paths, identities = [self.path], [directory.identity.tobytes()]
        file_numbers = np.zeros(count, np.uint32)
        offsets, nbytes = np.full(count, planning.MISSING, np.uint64), np.zeros(count, np.uint64)
        errors: dict[int, Exception] = {}
        inflated: list[npt.NDArray[np.uint8]] = []
        for number, key in enumerate(keys):
            member = directory.members.get(key)
            if member is None:
                continue
            try:
                if member.compress_type == _STORED:
                    offsets[number], nbytes[number] = directory.start_of(member), member.compress_size
                    continue
                data = np.frombuffer(directory.read(member, limit_nbytes), np.uint8)
            except Exception as error:
                errors[number] = error
                continue
            file_numbers[number] = len(paths)
            offsets[number], nbytes[number] = 0, data.nbytes
            paths.append(self.location(key))
            identities.append(b"")
            inflated.append(data)
        files = np.zeros(1, planning.FILE)
        for name in ("nbytes", "device", "inode", "mtime_ns"):
            files[name] = directory.identity[name]
        if inflated:
            files = np.concatenate([files, files_in_memory(inflated)])
        return Parts(paths, files, identities, file_numbers, offsets, nbytes, errors, inflated)

    def find(self, key: str) -> tuple[bytes, bytes, int, int] | None:
        """Path, identity, offset and size of a stored member, or of one that is missing."""
        directory = self._directory
        if directory is None:
            return None
        member = directory.members.get(key)
        if member is None or member.compress_type != _STORED:
            return None
        try:
            start = directory.start_of(member)
        except Exception:  # parts() will say what is wrong
            return None
        return os.fsencode(self.path), directory.identity.tobytes(), start, member.compress_size

    def has_changed(self) -> bool:
        """Whether the file is another one now."""
        return self._directory is None or self._is_stale(self._directory)

    def refresh(self) -> None:
        """Read the directory anew."""
        self._directory = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ZipStore) and self.path == other.path

    def __hash__(self) -> int:
        return hash((ZipStore, self.path))

    def __reduce__(self) -> tuple[Any, ...]:
        return ZipStore, (self.path,)

    def __repr__(self) -> str:
        return f"ZipStore({self.path!r})"
