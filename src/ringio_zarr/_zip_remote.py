"""Zip files at URLs: their directory is what the object ends with, members are ranges of the object."""

from __future__ import annotations

import errno
import io
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from ringio import DecodeError, FileChangedError, RangeError, Reader, RingioError, StoreError, default_reader, planning

from ._errors import MetadataError
from ._parts import Parts
from ._store_base import MAX_DOCUMENT_NBYTES
from ._zip import Data, Directory, ZipArchive
from ._zip_members import HEADER, LEVELS, STORED, read_directory

# What is asked for first: the directory of some thousand members, behind which there may be a comment of 64 KiB.
_TAIL_NBYTES: Final = 256 << 10
_ATTEMPTS: Final = 2  # to read a directory; whoever replaces the file all the time gets the error
_UTF8: Final = 0x800  # a flag: what the name is encoded in
_DOCUMENTS: Final = ("zarr.json", ".zarray", ".zgroup", ".zmetadata")


class RemoteZipStore(ZipArchive):
    """A zip file at a URL.

    Its directory is kept until the object turns out to be another one: by its ETag, which is compared whenever chunks
    are read, or when something is wrong with a member. Where the server says nothing that tells one state of an object
    from another, the directory is read each time. Threads may share a store: what one call reads is of one directory.

    Args:
        url: of the file.
        directory: of it; None: it is read when it is first wanted.
    """

    __slots__ = ("_directory", "url")

    is_remote: ClassVar[bool] = True

    def __init__(self, url: str, directory: _RemoteDirectory | None = None) -> None:
        self.url = url
        self._directory = directory if directory is not None and directory.identity else None

    def location(self, key: str) -> str:
        """The URL of the zip file, a slash, and the key."""
        return f"{self.url}/{key}" if key else self.url

    def directory(self, reader: Reader | None = None) -> _RemoteDirectory:
        """The directory of the file as it was when it was last read, if that can be compared; else as it is now."""
        directory = self._directory
        if directory is None:
            directory = _read(self.url, reader or default_reader())
            if directory.identity:
                self._directory = directory
        return directory

    def files(self, directory: Directory) -> npt.NDArray[np.void]:
        """FILE[1]: what the file must still be, its state says."""
        del directory
        return np.zeros(1, planning.FILE)

    def read_each(
        self, keys: Sequence[str], reader: Reader | None = None, limit_nbytes: int = MAX_DOCUMENT_NBYTES
    ) -> list[bytes | Exception | None]:
        """The bytes of documents, None where there is none: all those that are near each other in one request."""
        reader = reader or default_reader()
        directory = self.directory(reader)
        try:
            found = self._documents(directory, keys, limit_nbytes, reader)
        except (RingioError, OSError):
            if not self._was_replaced(directory.identity, reader):
                raise
        else:
            is_whole = not any(isinstance(each, Exception) for each in found)
            if is_whole or not self._was_replaced(directory.identity, reader):
                return found
        return self._documents(self.directory(reader), keys, limit_nbytes, reader)

    def parts(self, keys: Sequence[str], limit_nbytes: int, reader: Reader) -> Parts:
        """Where the members are: in the object, or in memory where they had to be decompressed."""
        directory = self.directory(reader)
        try:
            parts = self._parts(directory, keys, limit_nbytes, reader)
        except RangeError as error:  # of what is inside the file that the directory is of
            self._forget(directory.identity)
            raise FileChangedError(errno.ESTALE, "the file was replaced while it was read", self.url) from error
        return parts._replace(objects=planning.PlanObjects(None, {0: directory.state}))

    def has_changed(self, parts: Parts, error: Exception, reader: Reader) -> bool:
        """Whether the object is, or may be, another one than the parts are of."""
        identity = parts.identities[0]
        if isinstance(error, FileChangedError | FileNotFoundError):
            self._forget(identity)
            return True
        # Members that had to be decompressed were read without a comparison.
        return isinstance(error, DecodeError | MetadataError) and self._was_replaced(identity, reader)

    def refresh(self) -> None:
        """Read the directory anew."""
        self._directory = None

    def _was_replaced(self, identity: bytes, reader: Reader) -> bool:
        """Whether the file is, or may be, another one than the directory of this identity is of."""
        directory = self._directory
        if directory is None or directory.identity != identity:
            return True  # so another thread has found, or nobody can tell
        (state,) = reader.look_up([self.url])
        if not isinstance(state, Exception) and state.tag == identity:
            return False
        self._forget(identity)
        return True

    def _forget(self, identity: bytes) -> None:
        """Read the directory anew, unless another thread has done that."""
        directory = self._directory
        if directory is not None and directory.identity == identity:
            self._directory = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteZipStore) and self.url == other.url

    def __hash__(self) -> int:
        return hash((RemoteZipStore, self.url))

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteZipStore, (self.url,)

    def __repr__(self) -> str:
        return f"RemoteZipStore({self.url!r})"


def find_zip(url: str, reader: Reader | None) -> tuple[RemoteZipStore, str] | None:
    """The zip file that a URL names, or goes on below, and what is left of the URL; None: there is none.

    Args:
        url: with ".zip" in it.
        reader: looks; None: the shared one.

    Raises:
        StoreError: the store does not answer.
        MetadataError: an object of such a name is no zip file.
    """
    reader = reader or default_reader()
    problem: MetadataError | StoreError | None = None
    end = url.find(".zip")
    while end != -1:
        end += len(".zip")
        if url[end : end + 1] in ("", "/"):
            try:
                return RemoteZipStore(url[:end], _read(url[:end], reader)), url[end:].strip("/")
            except (FileNotFoundError, PermissionError, IsADirectoryError):
                pass  # a folder of that name, perhaps; who opens that will say what is wrong
            except (MetadataError, StoreError) as error:
                problem = problem or error  # or such a folder, of which the server has made a page
        end = url.find(".zip", end)
    if problem is not None and not _is_node(url, reader):
        raise problem
    return None


def _is_node(url: str, reader: Reader) -> bool:
    """Whether there is metadata of an array or group right below a URL."""
    states = reader.look_up([f"{url}/{name}" for name in _DOCUMENTS])
    return not all(isinstance(state, Exception) for state in states)


class _RemoteDirectory(Directory):
    """The directory of an object.

    Args:
        url: of the object.
        state: that it is in.
        tail: can be read and sought in.
    """

    __slots__ = ("_borders", "state")

    def __init__(self, url: str, state: planning.ObjectState, tail: _Tail) -> None:
        found = read_directory(tail, url)
        super().__init__(url, state.nbytes, state.tag, found.members)
        self.state = state.without_data()
        self._borders = found.borders

    def find_starts(self, members: Sequence[Any], reader: Reader) -> dict[str, Exception]:
        """Find out where the data of members begins, mostly without asking."""
        for member in members:
            if member.filename not in self.starts and (start := self._start_between(member)) is not None:
                self.starts[member.filename] = start
        return super().find_starts(members, reader)

    def _start_between(self, member: Any) -> int | None:
        """Where the data begins if it, a header and a name are all that fits in before the next member."""
        if member.flag_bits & ~(_UTF8 | LEVELS):
            return None  # encrypted; something behind the data; who knows
        name = member.orig_filename.encode("utf-8" if member.flag_bits & _UTF8 else "cp437")
        start: int = member.header_offset + HEADER.size + len(name)
        number = bisect_right(self._borders, member.header_offset)
        if (
            member.header_offset < 0
            or number == len(self._borders)
            or start + member.compress_size != self._borders[number]
            or self._borders[number] > self.nbytes
        ):
            return None
        is_whole = member.compress_type != STORED or member.compress_size == member.file_size
        return start if is_whole else None

    def headers(self, members: Sequence[Any], reader: Reader) -> Sequence[Data]:
        """The local headers of some members."""
        last = self.nbytes - HEADER.size
        inside = [member for member in members if 0 <= member.header_offset <= last]
        found = iter(reader.read_ranges([(self.path, member.header_offset, HEADER.size) for member in inside]))
        return [next(found) if 0 <= member.header_offset <= last else b"" for member in members]

    def encoded(self, members: Sequence[Any], reader: Reader) -> Iterator[Data]:
        """The bytes of some members, all at once."""
        yield from reader.read_ranges(
            [(self.path, self.starts[member.filename], member.compress_size) for member in members]
        )


class _Tail(io.RawIOBase):
    """An object as a file of which the end is at hand; what is in front of that is read when it is wanted.

    Args:
        url: of the object.
        state: that it is in, with its last bytes.
        reader: reads more.
    """

    def __init__(self, url: str, state: planning.ObjectState, reader: Reader) -> None:
        super().__init__()
        self._url = url
        self._state = state
        self._reader = reader
        self._data = b"" if state.data is None else bytes(state.data)
        self._place = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._state.nbytes}[whence]
        if base + offset < 0:
            raise OSError(errno.EINVAL, "a place in front of the file", self._url)
        self._place = base + offset
        return self._place

    def tell(self) -> int:
        """The place."""
        return self._place

    def read(self, size: int = -1, /) -> bytes:
        """So many bytes from the place on, or all."""
        nbytes = self._state.nbytes
        end = nbytes if size < 0 else min(self._place + size, nbytes)
        if self._place >= end:
            return b""
        if nbytes - self._place > len(self._data):
            self._fetch(nbytes - self._place)
        at_hand = nbytes - len(self._data)
        data = self._data[self._place - at_hand : end - at_hand]
        self._place = end
        return data

    def _fetch(self, nbytes: int) -> None:
        """Have so many bytes at hand."""
        if nbytes > MAX_DOCUMENT_NBYTES:
            raise ValueError(f"a directory of {nbytes} bytes")
        state = _look_up(self._url, nbytes, self._reader)
        if (state.nbytes, state.tag) != (self._state.nbytes, self._state.tag):
            raise FileChangedError(errno.ESTALE, "the file is replaced while it is opened", self._url)
        data = state.data
        if data is None or len(data) < nbytes:  # of a store without such requests
            (data,) = self._reader.read_ranges([(self._url, state.nbytes - nbytes, nbytes)])
        self._data = bytes(data)


def _read(url: str, reader: Reader) -> _RemoteDirectory:
    """The directory of a zip file as it is now."""
    for attempt in range(1, _ATTEMPTS + 1):
        state = _look_up(url, _TAIL_NBYTES, reader)
        try:
            return _RemoteDirectory(url, state, _Tail(url, state, reader))
        except FileChangedError:
            if attempt == _ATTEMPTS:
                raise
    raise AssertionError("the last attempt returns")


def _look_up(url: str, suffix_nbytes: int, reader: Reader) -> planning.ObjectState:
    (state,) = reader.look_up([url], suffix_nbytes=suffix_nbytes)
    if isinstance(state, Exception):
        raise state
    return state
