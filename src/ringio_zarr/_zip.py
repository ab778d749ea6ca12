"""Hierarchies in zip files: stored members are ranges of the file, compressed ones are decompressed into memory."""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from ringio import FileChangedError, MemoryLimitError, Reader, default_reader, planning

from ._parts import Parts, PartStore, batch_nbytes, files_in_memory
from ._store_base import MAX_DOCUMENT_NBYTES, checked, child_names
from ._zip_members import HEADER, STORED, check_size, data_start, decompress, read_directory

_THREAD_NBYTES: Final = 256 << 10  # a thread that is made for less has taken as long as it saves
_PIECE_NBYTES: Final = 1 << 30  # Linux reads no more at once than 2 GiB

Data: TypeAlias = bytes | memoryview


class Directory(ABC):
    """What the central directory of a zip file says.

    Attributes:
        path: of the file; its URL.
        members: by their names, as ``zipfile`` has them.
        names: of the members.
        nbytes: of the file.
        identity: tells this state of the file from others; empty: nobody knows.
    """

    __slots__ = ("identity", "members", "names", "nbytes", "path", "starts")

    def __init__(self, path: str, nbytes: int, identity: bytes, members: Mapping[str, Any]) -> None:
        self.path = path
        self.nbytes = nbytes
        self.identity = identity
        self.members = members
        self.names = list(members)
        self.starts: dict[str, int] = {}  # where the data of members begins, once that was looked at

    @abstractmethod
    def headers(self, members: Sequence[Any], reader: Reader) -> Sequence[Data | OSError]:
        """The local headers of some members, as many bytes as ``HEADER`` has where the file has so many.

        What cannot be read is an error in its place.

        Raises:
            OSError: nothing of the file can be read.
        """

    @abstractmethod
    def encoded(self, members: Sequence[Any], reader: Reader) -> Iterator[Data | OSError]:
        """The bytes of some members as they are in the file; where they begin is known. Errors as of ``headers``."""

    def where(self, member: Any) -> str:
        """What a member is called in messages."""
        return f"{self.path}/{member.filename}"

    def find_starts(self, members: Sequence[Any], reader: Reader) -> dict[str, Exception]:
        """Find out where the data of members begins.

        Returns:
            By their names, what is wrong with those that are not as the directory says.
        """
        unknown = [member for member in members if member.filename not in self.starts]
        errors: dict[str, Exception] = {}
        for member, header in zip(unknown, self.headers(unknown, reader) if unknown else (), strict=True):
            try:
                if isinstance(header, OSError):
                    raise header
                self.starts[member.filename] = data_start(member, bytes(header), self.nbytes, self.where(member))
            except Exception as error:
                errors[member.filename] = error
        return errors

    def read(self, members: Sequence[Any], limit_nbytes: int, reader: Reader) -> Iterator[Data | Exception]:
        """All bytes of some members, decompressed, and their checksums compared; or what is wrong with a member.

        Args:
            members: that fit into memory together.
            limit_nbytes: what is larger is refused.
            reader: reads them, where the file is no local one.
        """
        errors = self.find_starts(members, reader)
        for member in members:
            try:
                check_size(member, limit_nbytes, self.where(member))
            except Exception as error:
                errors[member.filename] = error
        found = self._decompress([member for member in members if member.filename not in errors], reader)
        for member in members:
            problem = errors.get(member.filename)
            yield next(found) if problem is None else problem

    def _decompress(self, members: Sequence[Any], reader: Reader) -> Iterator[Data | Exception]:
        """The same for members with which nothing is wrong so far; by several threads, where there is work for them."""
        encoded = self.encoded(members, reader)
        nbytes = sum(member.file_size for member in members if member.compress_type != STORED)
        thread_count = min(reader.workers, len(members), nbytes // _THREAD_NBYTES)
        if thread_count <= 1:
            yield from map(self._decompressed, members, encoded)
            return
        from concurrent.futures import ThreadPoolExecutor  # late: it takes 5 ms to import

        threads = ThreadPoolExecutor(thread_count)
        try:
            yield from threads.map(self._decompressed, members, encoded)
        finally:
            threads.shutdown(cancel_futures=True)

    def _decompressed(self, member: Any, data: Data | OSError) -> Data | Exception:
        if isinstance(data, OSError):
            return data
        try:
            return decompress(member, data, self.where(member))
        except Exception as error:
            return error


class ZipArchive(PartStore):
    """What all zip files have in common, wherever they are."""

    __slots__ = ()

    @abstractmethod
    def directory(self, reader: Reader | None = None) -> Directory:
        """The directory of the file.

        Raises:
            OSError: the file cannot be opened.
            MetadataError: it is no zip file.
        """

    @abstractmethod
    def files(self, directory: Directory) -> npt.NDArray[np.void]:
        """FILE[1]: what the file must still be."""

    def read(self, key: str, reader: Reader | None = None, limit_nbytes: int = MAX_DOCUMENT_NBYTES) -> bytes | None:
        """The bytes of a document, or None where there is none."""
        return checked(self.read_each([key], reader, limit_nbytes)[0])

    def read_each(
        self, keys: Sequence[str], reader: Reader | None = None, limit_nbytes: int = MAX_DOCUMENT_NBYTES
    ) -> list[bytes | Exception | None]:
        """The same for several."""
        reader = reader or default_reader()
        return self._documents(self.directory(reader), keys, limit_nbytes, reader)

    def _documents(
        self, directory: Directory, keys: Sequence[str], limit_nbytes: int, reader: Reader
    ) -> list[bytes | Exception | None]:
        members = [directory.members.get(key) for key in keys]
        problems = [member and _too_much(directory, member, limit_nbytes, reader) for member in members]
        wanted = [member for member, problem in zip(members, problems, strict=True) if member and not problem]
        read = directory.read(wanted, limit_nbytes, reader)
        found: list[bytes | Exception | None] = []
        for member, problem in zip(members, problems, strict=True):
            data = next(read) if member and not problem else problem
            found.append(data if data is None or isinstance(data, Exception) else bytes(data))
        return found

    def exists(self, key: str, reader: Reader | None = None) -> bool:
        """Whether there is anything at or below a key."""
        below = f"{key}/"
        return not key or any(name == key or name.startswith(below) for name in self.directory(reader).names)

    def is_file(self, key: str) -> bool:
        """Whether a document has this key."""
        return key in self.directory().members

    def child_directories(self, key: str, reader: Reader | None = None) -> list[str]:
        """The names directly below a key that have something below them, sorted."""
        return child_names(self.directory(reader).names, key)

    def files_below(self, key: str, reader: Reader | None = None) -> Iterator[tuple[str, int]]:
        """The paths of all members below a key, from there on, and the bytes that they take."""
        prefix = f"{key}/" if key else ""
        for name, member in self.directory(reader).members.items():
            if name.startswith(prefix) and not name.endswith("/"):
                yield name[len(prefix) :], member.compress_size

    def parts(self, keys: Sequence[str], limit_nbytes: int, reader: Reader) -> Parts:
        """Where the members are: in the file, or in memory where they had to be decompressed."""
        return self._parts(self.directory(reader), keys, limit_nbytes, reader)

    def _parts(self, directory: Directory, keys: Sequence[str], limit_nbytes: int, reader: Reader) -> Parts:
        members = [directory.members.get(key) for key in keys]
        count = _fitting_count(members, batch_nbytes(reader))
        there = [(number, member) for number, member in enumerate(members[:count]) if member is not None]
        stored = [(number, member) for number, member in there if member.compress_type == STORED]
        wrong = directory.find_starts([member for _, member in stored], reader)
        errors = {number: wrong[member.filename] for number, member in stored if member.filename in wrong}
        file_numbers = np.zeros(count, np.uint32)
        offsets, nbytes = np.full(count, planning.MISSING, np.uint64), np.zeros(count, np.uint64)
        for number, member in stored:
            if number not in errors:
                offsets[number], nbytes[number] = directory.starts[member.filename], member.compress_size
        paths, arrays = [directory.path], []
        for number, data in _decompressed(directory, there, limit_nbytes, reader):
            if isinstance(data, Exception):
                errors[number] = data
                continue
            file_numbers[number] = len(paths)
            offsets[number], nbytes[number] = 0, len(data)
            paths.append(self.location(keys[number]))
            arrays.append(np.frombuffer(data, np.uint8))
        files = self.files(directory)
        return Parts(
            paths=paths,
            files=np.concatenate([files, files_in_memory(arrays)]) if arrays else files,
            identities=[directory.identity, *[b""] * len(arrays)],
            file_numbers=file_numbers,
            offsets=offsets,
            nbytes=nbytes,
            errors=dict(sorted(errors.items())),
            keep=arrays,
        )


class ZipStore(ZipArchive):
    """A zip file on a local file system.

    Args:
        path: of the file. A relative one is made absolute here and now.
    """

    __slots__ = ("_directory", "path")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.abspath(os.fspath(path))  # noqa: PTH100  # resolve() would follow links
        self._directory: _LocalDirectory | None = None

    def location(self, key: str) -> str:
        """The path of the zip file, a slash, and the key."""
        return f"{self.path}/{key}" if key else self.path

    def directory(self, reader: Reader | None = None) -> _LocalDirectory:
        """The directory of the file as it is now."""
        del reader
        directory = self._directory
        if directory is None or self._is_stale(directory):
            directory = self._directory = _LocalDirectory(self.path)
        return directory

    def files(self, directory: Directory) -> npt.NDArray[np.void]:
        """FILE[1]: what the file must still be."""
        files = np.zeros(1, planning.FILE)
        identity = np.frombuffer(directory.identity, planning.IDENTITY)
        for name in ("nbytes", "device", "inode", "mtime_ns"):
            files[name] = identity[name]
        return files

    def find(self, key: str) -> tuple[bytes, bytes, int, int] | None:
        """Path, identity, offset and size of a stored member, or of one that is missing."""
        directory = self._directory
        if directory is None:
            return None
        member = directory.members.get(key)
        if member is None or member.compress_type != STORED:
            return None
        start = directory.starts.get(member.filename)
        # Of what was not looked at yet parts() will find it out.
        return None if start is None else (directory.encoded_path, directory.identity, start, member.compress_size)

    def has_changed(self, parts: Parts, error: Exception, reader: Reader) -> bool:
        """Whether the file is another one now than the parts are of."""
        del error, reader
        return planning.stat([self.path]).tobytes() != parts.identities[0]

    def refresh(self) -> None:
        """Read the directory anew."""
        self._directory = None

    def _is_stale(self, directory: Directory) -> bool:
        return planning.stat([self.path]).tobytes() != directory.identity

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ZipStore) and self.path == other.path

    def __hash__(self) -> int:
        return hash((ZipStore, self.path))

    def __reduce__(self) -> tuple[Any, ...]:
        return ZipStore, (self.path,)

    def __repr__(self) -> str:
        return f"ZipStore({self.path!r})"


class _LocalDirectory(Directory):
    """The directory of a local file.

    It has the file open, and never moves in it, so that threads and forked processes may share it.

    Args:
        path: of the file.

    Raises:
        OSError: the file cannot be opened.
        MetadataError: it is no zip file.
    """

    __slots__ = ("_descriptor", "encoded_path")

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        self.encoded_path = os.fsencode(path)
        identity = planning.stat([path])
        try:
            status = os.fstat(self._descriptor)
            if (status.st_ino, status.st_size) != (int(identity["inode"][0]), int(identity["nbytes"][0])):
                raise FileChangedError(errno.ESTALE, "the file is replaced while it is opened", path)
            with open(self._descriptor, "rb", closefd=False) as file:
                members = read_directory(file, path).members
        except OSError as error:
            error.filename = path
            raise
        super().__init__(path, status.st_size, identity.tobytes(), members)

    def __del__(self) -> None:
        if getattr(self, "_descriptor", -1) >= 0:
            os.close(self._descriptor)

    def headers(self, members: Sequence[Any], reader: Reader) -> Sequence[bytes | OSError]:
        """The local headers of some members."""
        del reader
        last = self.nbytes - HEADER.size  # what lies behind that may be more than the system can name
        return [
            self._read(member, member.header_offset, HEADER.size) if 0 <= member.header_offset <= last else b""
            for member in members
        ]

    def encoded(self, members: Sequence[Any], reader: Reader) -> Iterator[bytes | OSError]:
        """The bytes of some members, each when its turn comes."""
        del reader
        for member in members:
            yield self._read(member, self.starts[member.filename], member.compress_size)

    def _read(self, member: Any, start: int, nbytes: int) -> bytes | OSError:
        """Bytes of a member, fewer where the file ends before; or what the system says instead."""
        pieces = []
        try:
            while nbytes > 0 and (piece := os.pread(self._descriptor, min(nbytes, _PIECE_NBYTES), start)):
                pieces.append(piece)
                start, nbytes = start + len(piece), nbytes - len(piece)
        except OSError as error:
            error.filename = self.where(member)  # pread() knows none
            return error
        return b"".join(pieces)


def _fitting_count(members: Sequence[Any], nbytes: int) -> int:
    """How many of the first members may be decompressed together: one at least."""
    total = 0
    for count, member in enumerate(members):
        if member is not None and member.compress_type != STORED:
            total += member.file_size + member.compress_size
            if total > nbytes and count:
                return count
    return len(members)


def _decompressed(
    directory: Directory, there: Sequence[tuple[int, Any]], limit_nbytes: int, reader: Reader
) -> Iterator[tuple[int, Data | Exception]]:
    """The numbers of the compressed members, and their bytes."""
    fitting = []
    for number, member in there:
        if (problem := _too_much(directory, member, limit_nbytes, reader)) is not None:
            yield number, problem
        elif member.compress_type != STORED:
            fitting.append((number, member))
    found = directory.read([member for _, member in fitting], limit_nbytes, reader)
    yield from zip([number for number, _ in fitting], found, strict=True)


def _too_much(directory: Directory, member: Any, limit_nbytes: int, reader: Reader) -> MemoryLimitError | None:
    """What to say of a compressed member that is more than the reader may have in memory.

    One that is more than makes sense is refused as that, elsewhere.
    """
    limit = reader.memory_limit_bytes
    if member.compress_type == STORED or not limit < member.file_size <= limit_nbytes:
        return None
    what = f"{directory.where(member)}: {member.file_size} bytes to be decompressed at once"
    return MemoryLimitError(f"{what}, and the reader's memory limit is {limit}")
