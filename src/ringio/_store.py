"""A folder, or everything below a URL, as a store of objects in the words of obspec."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from . import _entries, _locations
from ._awaited import read_async
from ._buffers import Buffers
from ._columns import integers
from ._entries import Entry
from ._errors import RangeError
from ._get import GetResult, check_options, named_errors
from ._ranges import Ranges
from ._reader import Reader, default_reader
from .exceptions import InvalidPathError, NotFoundError

if TYPE_CHECKING:
    import obspec
    from obspec import GetOptions, ListResult, ObjectMeta

_LIST_CHUNK: Final = 1000  # what a page of S3's has


class Store:
    """A read-only store of objects: the files below a folder, or what is below a URL.

    It has obspec's ``get``, ``get_range``, ``get_ranges``, ``head``, ``list`` and ``list_with_delimiter``, and their
    async twins. Bytes come from a :class:`ringio.Reader`, so ``get_ranges`` is one batch.

    Paths are relative to the prefix and have ``/`` between their parts. One with ``..``, ``.`` or an empty part in it
    is an :class:`~ringio.exceptions.InvalidPathError`, so no path leads out of the folder. Links in the folder are
    followed, wherever they lead, as obstore's ``LocalStore`` does: whoever may put a link there may as well put a copy.

    Args:
        prefix: the folder, as a path or a ``file://`` URL; or another URL that :func:`ringio.read_ranges` reads.
        reader: what reads; None: the shared one.

    Attributes:
        prefix: an absolute path, or a URL.

    Raises:
        NotFoundError: there is no such folder.
        NotADirectoryError: it is no folder.

    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "letters").write_bytes(b"abcdefgh")
    >>> store = Store(folder)
    >>> [bytes(buffer) for buffer in store.get_ranges("letters", starts=[0, 4], ends=[2, 100])]
    [b'ab', b'efgh']
    >>> store.head("letters")["size"]
    8
    """

    def __init__(self, prefix: str | os.PathLike[str], *, reader: Reader | None = None) -> None:
        self.prefix = _entries.normalise(prefix)
        self._own_reader = reader
        if not _entries.is_remote(self.prefix):
            with named_errors(self.prefix):
                os.scandir(self.prefix).close()

    # ------------------------------------------------------------------------------------------------ bytes

    def get(self, path: str, *, options: GetOptions | None = None) -> GetResult:
        """The object at a path; its bytes are read when they are asked for.

        Args:
            path: of the object.
            options: conditions (``if_match``, ``if_none_match``, ``if_unmodified_since``, ``if_modified_since``), and
                ``range``: (start, end), ``{"offset": n}`` or ``{"suffix": n}``. ``head``: no bytes, only what is known.

        Raises:
            NotFoundError, PermissionDeniedError, InvalidPathError: as for all of them.
            PreconditionError, NotModifiedError: a condition does not hold.
            RangeError: a range that is empty, or begins behind the end.
        """
        meta = self.head(path)
        chosen = check_options(cast("Mapping[str, Any]", options or {}), meta)
        return GetResult(meta, chosen, self._locate(path), self._reader)

    async def get_async(self, path: str, *, options: GetOptions | None = None) -> GetResult:
        """:meth:`get` for coroutines."""
        return await asyncio.to_thread(self.get, path, options=options)

    def get_range(self, path: str, *, start: int, end: int | None = None, length: int | None = None) -> memoryview:
        """One byte range of an object, cut at the object's end.

        Args:
            path: of the object.
            start: of the range.
            end: of the range, exclusive; this or ``length``.
            length: in bytes.

        Raises:
            RangeError: a range that is empty, or begins behind the end.
        """
        return self.get_ranges(path, starts=[start], ends=_listed(end), lengths=_listed(length))[0]

    async def get_range_async(
        self, path: str, *, start: int, end: int | None = None, length: int | None = None
    ) -> memoryview:
        """:meth:`get_range` for coroutines."""
        buffers = await self.get_ranges_async(path, starts=[start], ends=_listed(end), lengths=_listed(length))
        return buffers[0]

    def get_ranges(
        self,
        path: str,
        *,
        starts: Sequence[int],
        ends: Sequence[int] | None = None,
        lengths: Sequence[int] | None = None,
    ) -> Buffers:
        """Many byte ranges of an object, in one batch; each is cut at the object's end.

        Args:
            path: of the object.
            starts: of the ranges.
            ends: of the ranges, exclusive; these or ``lengths``.
            lengths: in bytes.

        Raises:
            RangeError: a range that is empty, or begins behind the end.
        """
        ranges = self._ranges(path, starts, ends, lengths)
        with named_errors(path):
            return self._complete(path, ranges, self._reader().read_ranges(ranges, allow_short=True))

    async def get_ranges_async(
        self,
        path: str,
        *,
        starts: Sequence[int],
        ends: Sequence[int] | None = None,
        lengths: Sequence[int] | None = None,
    ) -> Buffers:
        """:meth:`get_ranges` for coroutines."""
        ranges = self._ranges(path, starts, ends, lengths)
        with named_errors(path):
            return self._complete(path, ranges, await read_async(self._reader(), ranges, allow_short=True))

    # ------------------------------------------------------------------------------------------------ names

    def head(self, path: str) -> ObjectMeta:
        """What is known of an object: path, last_modified, size, e_tag, version."""
        with named_errors(path):
            entry = _locations.look_up(self._locate(path), self._own_reader)
        if entry.kind != "file":
            problem = "a folder" if entry.kind == "directory" else "not a regular file"
            raise NotFoundError(errno.ENOENT, f"no object, but {problem}", path)
        return self._meta(entry)

    async def head_async(self, path: str) -> ObjectMeta:
        """:meth:`head` for coroutines."""
        return await asyncio.to_thread(self.head, path)

    def list(self, prefix: str | None = None, *, offset: str | None = None) -> Iterator[Sequence[ObjectMeta]]:
        """All objects below a prefix, in the order of their paths, in lists of up to 1,000.

        Args:
            prefix: a folder of the store; None: all of it.
            offset: only what comes behind this path.
        """
        top = self._locate(prefix or "")
        return self._list(top, offset)

    def _list(self, top: str, offset: str | None) -> Iterator[Sequence[ObjectMeta]]:
        with named_errors(top):
            try:
                metas = map(self._meta, _locations.walk(top, self._own_reader))
                wanted = metas if offset is None else (meta for meta in metas if meta["path"] > offset)
                while chunk := list(islice(wanted, _LIST_CHUNK)):
                    yield chunk
            except (FileNotFoundError, NotADirectoryError):
                return  # no object has this prefix

    def list_async(
        self, prefix: str | None = None, *, offset: str | None = None
    ) -> AsyncIterator[Sequence[ObjectMeta]]:
        """:meth:`list` for coroutines: it gives an async iterator."""
        return _in_thread(self.list(prefix, offset=offset))

    def list_with_delimiter(self, prefix: str | None = None) -> ListResult[Sequence[ObjectMeta]]:
        """The objects and folders right below a prefix, as ``objects`` and ``common_prefixes``."""
        top = self._locate(prefix or "")
        with named_errors(top):
            try:
                entries = _locations.list_folder(top, self._own_reader)
            except (FileNotFoundError, NotADirectoryError):
                entries = []  # no object has this prefix
        return {
            "common_prefixes": [self._relative(entry) for entry in entries if entry.kind == "directory"],
            "objects": [self._meta(entry) for entry in entries if entry.kind == "file"],
        }

    async def list_with_delimiter_async(self, prefix: str | None = None) -> ListResult[Sequence[ObjectMeta]]:
        """:meth:`list_with_delimiter` for coroutines."""
        return await asyncio.to_thread(self.list_with_delimiter, prefix)

    # ------------------------------------------------------------------------------------------------ inside

    def _reader(self) -> Reader:
        return self._own_reader or default_reader()

    def _locate(self, path: str) -> str:
        """The location of a path; "" is the prefix itself."""
        if not isinstance(path, str):
            raise TypeError(f"path is {path!r:.100}, a str is due")
        trimmed = path.removeprefix("/").removesuffix("/")
        if trimmed:
            for part in trimmed.split("/"):
                if part in ("", ".", "..") or "\0" in part:
                    raise InvalidPathError(f"{path!r:.200}: {part!r} is no part of a path in a store")
        return _entries.join(self.prefix, trimmed)

    def _relative(self, entry: Entry) -> str:
        return _entries.relative(self.prefix, entry.name)

    def _meta(self, entry: Entry) -> ObjectMeta:
        return {
            "path": self._relative(entry),
            "last_modified": cast("datetime", entry.modified),  # a file has one
            "size": entry.nbytes,
            "e_tag": entry.e_tag,
            "version": entry.version,
        }

    def _ranges(
        self, path: str, starts: Sequence[int], ends: Sequence[int] | None, lengths: Sequence[int] | None
    ) -> Ranges:
        second = lengths if ends is None else ends
        if second is None or (ends is not None and lengths is not None):
            raise ValueError("either ends or lengths is due, and not both")
        first = integers("starts", starts)
        sizes = integers("lengths" if ends is None else "ends", second)
        if first.shape != sizes.shape or first.ndim != 1:
            raise ValueError(f"{first.size} starts, but {sizes.size} {'lengths' if ends is None else 'ends'}")
        if ends is not None:
            sizes = sizes - first
        if len(first) and (np.minimum.reduce(first) < 0 or np.minimum.reduce(sizes) <= 0):
            bad = int(np.flatnonzero((first < 0) | (sizes <= 0))[0])
            start, length = int(first[bad]), int(sizes[bad])
            problem = "is empty" if start >= 0 else "begins before the object"
            raise RangeError(f"{path}: range {bad}, {start}-{start + length}, {problem}", path=path, offset=start)
        return Ranges((self._locate(path),), 0, first, sizes)

    def _complete(self, path: str, ranges: Ranges, buffers: Buffers) -> Buffers:
        """The buffers, none of which may be empty: such a range begins behind the end."""
        if buffers.nbytes < int(ranges.lengths.sum()) and not all(map(len, buffers)):
            bad = next(i for i, buffer in enumerate(buffers) if not len(buffer))
            start, nbytes = int(ranges.offsets[bad]), self.head(path)["size"]
            message = f"{path}: range {bad} begins at {start}, but the object has {nbytes} bytes"
            raise RangeError(message, path=path, offset=start, length=int(ranges.lengths[bad]), nbytes=nbytes)
        return buffers

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Store):
            return NotImplemented
        return self.prefix == other.prefix and self._own_reader is other._own_reader

    def __hash__(self) -> int:
        return hash(self.prefix)

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, (self.prefix, self._own_reader)

    def __repr__(self) -> str:
        return f"ringio.Store({self.prefix!r})"


def _unpickle(prefix: str, reader: Reader | None) -> Store:
    return Store(prefix, reader=reader)


def _listed(value: int | None) -> list[int] | None:
    return None if value is None else [value]


async def _in_thread(chunks: Iterator[Sequence[ObjectMeta]]) -> AsyncIterator[Sequence[ObjectMeta]]:
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk


if TYPE_CHECKING:

    def _conforms(store: Store) -> tuple[object, ...]:
        """Where a signature is not obspec's, mypy refuses this."""
        getting: tuple[obspec.Get, obspec.GetRange, obspec.GetRanges] = (store, store, store)
        getting_async: tuple[obspec.GetAsync, obspec.GetRangeAsync, obspec.GetRangesAsync] = (store, store, store)
        listing: tuple[obspec.Head, obspec.List, obspec.ListWithDelimiter] = (store, store, store)
        listing_async: tuple[obspec.HeadAsync, obspec.ListAsync, obspec.ListWithDelimiterAsync] = (store, store, store)
        return getting, getting_async, listing, listing_async
