"""An fsspec file system that reads through ringio: ``ringio://`` before a path, or before a URL that ringio reads.

It is read-only. All ranges of ``cat_ranges``, all files of ``cat``, and all ``_cat_file`` that coroutines await at the
same time are one batch of :func:`ringio.read_ranges`, on all cores.

>>> import fsspec, pathlib, tempfile
>>> path = pathlib.Path(tempfile.mkdtemp(), "letters")
>>> _ = path.write_bytes(b"abcdefgh")
>>> with fsspec.open(f"ringio://{path}") as file:
...     _ = file.seek(4)
...     print(file.read())
b'efgh'
>>> fsspec.filesystem("ringio").cat_ranges([str(path)] * 2, [0, -2], [3, None])
[b'abc', b'gh']
"""

from __future__ import annotations

import asyncio
import errno
import functools
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Final, Never

from fsspec.asyn import AsyncFileSystem, get_loop
from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.spec import AbstractBufferedFile
from fsspec.utils import isfilelike

from . import _entries, _locations
from ._awaited import read_async
from ._buffers import Buffers
from ._entries import Entry
from ._errors import FileChangedError
from ._gather import Gatherer
from ._ranges import RangeTuple
from ._reader import Reader, default_reader

__all__ = ["RingioFileSystem", "RingioFile"]

_PROTOCOL: Final = "ringio"
# Large enough that a piece is worth a call, small enough for little memory.
_COPY_NBYTES: Final = 16 * 1024 * 1024


class RingioFileSystem(AsyncFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Local files, and what else ringio reads, as fsspec has file systems.

    Paths are absolute, or relative to the working directory; links are followed. Negative starts and ends count back
    from the end of a file, and ranges are cut at it, as slices of Python are.

    After ``fork()`` a child may go on using it.

    Args:
        reader_options: keyword arguments of a :class:`ringio.Reader` of its own; None: the shared one. They are part of
            the file system's identity: fsspec keeps one for each set of arguments.
        kwargs: of fsspec's ``AsyncFileSystem``.
    """

    protocol: ClassVar[str] = _PROTOCOL
    root_marker: ClassVar[str] = "/"
    cachable = True

    def __init__(self, *args: Any, reader_options: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        self._pid: int
        super().__init__(*args, **kwargs)
        self._own_reader = Reader(**reader_options) if reader_options else None
        self._gatherer = Gatherer(self._read_batch)

    @property
    def reader(self) -> Reader:
        """What reads."""
        return self._own_reader or default_reader()

    @property
    def loop(self) -> Any:
        """The event loop that the methods without an underscore wait for."""
        if self._pid != os.getpid():
            # fsspec refuses to go on in a child. But its loop is made anew there, and so is all that a reader has.
            self._pid = os.getpid()
            self._loop = None if self.asynchronous else get_loop()
            self._gatherer = Gatherer(self._read_batch)
        return self._loop

    # ------------------------------------------------------------------------------------------------ names

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(one) for one in path]
        text = os.fsdecode(path)
        for prefix in (f"{_PROTOCOL}://", f"{_PROTOCOL}::"):
            text = text.removeprefix(prefix)
        return _entries.normalise(text)

    def unstrip_protocol(self, name: str) -> str:
        """The path with ``ringio://`` before it."""
        return f"{_PROTOCOL}://{self._strip_protocol(name)}"

    async def _info(self, path: str, **_kwargs: Any) -> dict[str, Any]:
        return _as_info(await asyncio.to_thread(_locations.look_up, self._strip_protocol(path), self._own_reader))

    async def _ls(self, path: str, detail: bool = True, **_kwargs: Any) -> list[Any]:
        location = self._strip_protocol(path)
        try:
            entries = await asyncio.to_thread(_locations.list_folder, location, self._own_reader)
        except NotADirectoryError:
            entries = [await asyncio.to_thread(_locations.look_up, location, self._own_reader)]
        return [_as_info(entry) if detail else entry.name for entry in entries]

    def modified(self, path: str) -> datetime | None:
        """When the file was last written to."""
        modified: datetime | None = self.info(path)["modified"]
        return modified

    # ------------------------------------------------------------------------------------------------ bytes

    async def _read_batch(self, ranges: list[RangeTuple]) -> Buffers:
        return await read_async(self.reader, ranges, on_error="return", allow_short=True)

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **_kwargs: Any) -> bytes:
        location = self._strip_protocol(path)
        nbytes = (await self._info(location))["size"] if _needs_size(start, end) else 0
        return bytes(await self._gatherer.read((location, *_resolve(start, end, nbytes))))

    async def _cat(self, path: Any, recursive: bool = False, on_error: str = "raise", **_kwargs: Any) -> Any:
        if on_error not in ("raise", "return", "omit"):
            raise ValueError(f"on_error is {on_error!r}; 'raise', 'return' or 'omit' is due")
        paths = await self._expand_path(path, recursive=recursive)
        if recursive:
            kinds = await asyncio.gather(*[self._isdir(one) for one in paths])
            paths = [one for one, is_folder in zip(paths, kinds, strict=True) if not is_folder]
        buffers = await self._read_batch([(one, 0, None) for one in paths])
        if buffers.errors and on_error == "raise":
            raise buffers.errors[min(buffers.errors)]
        contents = _as_bytes(buffers)
        if len(paths) == 1 and not recursive and isinstance(path, str) and paths[0] == self._strip_protocol(path):
            return contents[0] if on_error != "omit" or not buffers.errors else {}
        return {
            one: content
            for i, (one, content) in enumerate(zip(paths, contents, strict=True))
            if on_error != "omit" or i not in buffers.errors
        }

    async def _cat_ranges(
        self,
        paths: Any,
        starts: Any,
        ends: Any,
        max_gap: int | None = None,
        batch_size: int | None = None,  # noqa: ARG002  # it is one batch
        on_error: str = "return",
        **_kwargs: Any,
    ) -> list[Any]:
        if max_gap is not None:
            raise NotImplementedError("max_gap is an option of the reader: reader_options={'max_gap_bytes': ...}")
        if on_error not in ("raise", "return"):
            raise ValueError(f"on_error is {on_error!r}; 'raise' or 'return' is due")
        if not isinstance(paths, list):
            raise TypeError(f"paths is a {type(paths).__name__}, a list is due")
        starts, ends = _repeated(starts, len(paths)), _repeated(ends, len(paths))
        if not len(paths) == len(starts) == len(ends):
            raise ValueError(f"{len(paths)} paths, but {len(starts)} starts and {len(ends)} ends")
        strip = functools.cache(self._strip_protocol)
        locations = [strip(path) for path in paths]
        sizes, errors = await self._look_up_sizes(locations, starts, ends)
        ranges = [
            (location, *_resolve(start, end, sizes.get(location, 0)))
            for location, start, end in zip(locations, starts, ends, strict=True)
        ]
        buffers = await self._read_batch(ranges)
        contents = [errors.get(location, content) for location, content in zip(locations, _as_bytes(buffers))]
        if on_error == "raise":
            for content in contents:
                if isinstance(content, Exception):
                    raise content
        return contents

    async def _look_up_sizes(
        self, locations: list[str], starts: Sequence[Any], ends: Sequence[Any]
    ) -> tuple[dict[str, int], dict[str, Exception]]:
        """Sizes of those files whose ranges cannot be told to a reader as they are, and errors of those without."""
        wanted = list(
            {
                location: None
                for location, start, end in zip(locations, starts, ends, strict=True)
                if _needs_size(start, end)
            }
        )
        found = await asyncio.gather(*[self._info(location) for location in wanted], return_exceptions=True)
        sizes: dict[str, int] = {}
        errors: dict[str, Exception] = {}
        for location, info in zip(wanted, found, strict=True):
            if isinstance(info, Exception):
                errors[location] = info
            elif not isinstance(info, BaseException):
                sizes[location] = info["size"]
        return sizes, errors

    async def _get_file(self, rpath: str, lpath: Any, callback: Any = DEFAULT_CALLBACK, **_kwargs: Any) -> None:
        info = await self._info(rpath)
        if info["type"] == "directory":
            if not isfilelike(lpath):
                await asyncio.to_thread(functools.partial(os.makedirs, lpath, exist_ok=True))
            return
        callback.set_size(info["size"])
        target = lpath if isfilelike(lpath) else await asyncio.to_thread(open, lpath, "wb")
        try:
            for start in range(0, info["size"], _COPY_NBYTES):
                length = min(_COPY_NBYTES, info["size"] - start)
                buffers = await read_async(self.reader, [(info["name"], start, length)])
                await asyncio.to_thread(target.write, buffers[0])
                callback.relative_update(length)
            if (await self._info(rpath)) != info:
                raise _changed(info["name"])
        finally:
            if target is not lpath:
                target.close()

    def _open(self, path: str, mode: str = "rb", block_size: Any = None, **kwargs: Any) -> RingioFile:
        if mode != "rb":
            raise _read_only(path)
        return RingioFile(self, path, block_size=block_size or "default", **kwargs)

    # ------------------------------------------------------------------------------------------------ no writing

    async def _refuse(self, path: Any = "", *_args: Any, **_kwargs: Any) -> Never:
        raise _read_only(path)

    _pipe_file = _rm_file = _rm = _mkdir = _makedirs = _rmdir = _refuse

    async def _cp_file(self, _path1: Any, path2: Any, **_kwargs: Any) -> Never:
        raise _read_only(path2)

    _mv_file = _put_file = _cp_file

    def _refuse_now(self, path: Any = "", *_args: Any, **_kwargs: Any) -> Never:
        raise _read_only(path)

    touch = rmdir = rm_file = mkdir = makedirs = _refuse_now

    def created(self, path: str) -> Never:
        """Nobody has noted it."""
        raise NotImplementedError(f"{path}: when a file was created is not known; modified() tells when it was written")


class RingioFile(AbstractBufferedFile):  # type: ignore[misc]  # fsspec has no types
    """An open file: seekable, read ahead and cached as fsspec does it, in ranges that ringio reads.

    It belongs to the file that was there when it was opened: once that is replaced or written to, reading is a
    :class:`ringio.FileChangedError`. What fsspec has cached is given all the same.

    Args:
        fs: the file system.
        path: of the file, without the protocol.
        kwargs: of fsspec's ``AbstractBufferedFile``: block_size, cache_type, cache_options.
    """

    def __init__(self, fs: RingioFileSystem, path: str, **kwargs: Any) -> None:
        # Not fs.info(): that would wait for fsspec's loop, which may be the one that we are called in.
        entry = _locations.look_up(path, fs._own_reader)
        if entry.kind == "directory":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if entry.kind != "file":
            raise OSError(errno.EINVAL, "not a regular file", path)
        kwargs["size"] = entry.nbytes
        super().__init__(fs, path, mode="rb", **kwargs)
        self.details = _as_info(entry)

    def _fetch_range(self, start: int, end: int) -> bytes:
        fs: RingioFileSystem = self.fs
        data = bytes(fs.reader.read_ranges([(self.path, start, end - start)], allow_short=True)[0])
        if not _entries.is_remote(self.path) and _locations.local_e_tag(Path(self.path).stat()) != self.details["ETag"]:
            raise _changed(self.path)
        return data


def _needs_size(start: int | None, end: int | None) -> bool:
    return (end is not None and end < 0) or (start is not None and start < 0 and end is not None)


def _resolve(start: int | None, end: int | None, nbytes: int) -> tuple[int, int | None]:
    """Offset and length of ``data[start:end]``.

    >>> _resolve(-4, None, 0), _resolve(2, -1, 10), _resolve(5, 3, 0), _resolve(-20, 4, 10)
    ((-4, None), (2, 7), (5, 0), (0, 4))
    """
    start = start or 0
    if end is None:
        return start, None
    if start < 0:
        start = max(0, nbytes + start)
    if end < 0:
        end = nbytes + end
    return start, max(0, end - start)


def _repeated(values: Any, count: int) -> Sequence[Any]:
    return list(values) if isinstance(values, Iterable) else [values] * count


def _as_bytes(buffers: Buffers) -> list[Any]:
    # Bytes is what fsspec promises: its users decode, hash and compare them.
    return [buffers.errors[i] if i in buffers.errors else bytes(buffer) for i, buffer in enumerate(buffers)]


def _as_info(entry: Entry) -> dict[str, Any]:
    info = {"name": entry.name, "size": entry.nbytes, "type": entry.kind, "modified": entry.modified}
    info["mtime"] = None if entry.modified is None else entry.modified.timestamp()
    info["ETag"] = entry.e_tag
    return info


def _read_only(path: Any) -> OSError:
    name = path if isinstance(path, str) else None
    return OSError(errno.EROFS, "ringio reads only; write with another file system", name)


def _changed(path: str) -> FileChangedError:
    return FileChangedError(errno.ESTALE, "the file was replaced or written to while it was read", path)
