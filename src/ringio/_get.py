"""What a store's ``get`` gives: an object whose bytes are read when they are asked for."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ._awaited import read_async
from ._entries import is_remote
from ._errors import FileChangedError, RangeError, StoreError
from ._locations import local_e_tag
from ._reader import Reader
from .exceptions import (
    BaseError,
    NotFoundError,
    NotModifiedError,
    NotSupportedError,
    PermissionDeniedError,
    PreconditionError,
)

if TYPE_CHECKING:
    from obspec import Attributes, ObjectMeta

_Bytes: TypeAlias = bytes  # its own name is that of a method below
# As obstore has it: large enough that each piece is worth a call, small enough to have several in memory.
_STREAM_NBYTES: Final = 10 * 1024 * 1024
_OPTIONS: Final = frozenset(
    ("if_match", "if_none_match", "if_unmodified_since", "if_modified_since", "range", "version", "head")
)


@contextmanager
def named_errors(path: str) -> Iterator[None]:
    """Raises those errors of the system that obspec has a name for as what it calls them.

    Args:
        path: of the object, in the store.
    """
    try:
        yield
    except (BaseError, StoreError):  # a bucket that is not there is more than an object that is not
        raise
    except (FileNotFoundError, IsADirectoryError) as error:
        raise NotFoundError(errno.ENOENT, error.strerror or "no such object", path) from error
    except PermissionError as error:
        raise PermissionDeniedError(error.errno, error.strerror, path) from error


@dataclass(frozen=True, slots=True)
class GetResult:
    """One object, or a range of it, as obspec's ``GetResult`` and ``GetResultAsync`` have it.

    The bytes are read each time they are asked for. Where a local file is not the one any more that ``meta`` describes,
    that is a :class:`ringio.FileChangedError`.

    Attributes:
        meta: path, last_modified, size, e_tag, version of the whole object.
        range: the bytes that this result has, as (start, end).
        attributes: what the store keeps beside the bytes; nothing for files.
    """

    meta: ObjectMeta
    range: tuple[int, int]
    location: str = field(repr=False)
    reader: Callable[[], Reader] = field(repr=False)
    attributes: Attributes = field(default_factory=dict)

    def buffer(self) -> memoryview:
        """All bytes of the range, read-only."""
        return self._piece(*self.range)

    async def buffer_async(self) -> memoryview:
        """All bytes of the range, read-only."""
        return await self._piece_async(*self.range)

    def bytes(self) -> _Bytes:
        """All bytes of the range, copied into a ``bytes``."""
        return bytes(self.buffer())

    async def bytes_async(self) -> _Bytes:
        """All bytes of the range, copied into a ``bytes``."""
        return bytes(await self.buffer_async())

    def stream(self, min_chunk_size: int = _STREAM_NBYTES) -> Stream:
        """The range piece by piece, for ``for`` and for ``async for``.

        Args:
            min_chunk_size: bytes of each piece but the last.
        """
        if min_chunk_size < 1:
            raise ValueError(f"min_chunk_size is {min_chunk_size}, at least 1 is due")
        return Stream(self, min_chunk_size)

    def __iter__(self) -> Iterator[memoryview]:
        return iter(self.stream())

    def __aiter__(self) -> AsyncIterator[memoryview]:
        return aiter(self.stream())

    def _piece(self, start: int, end: int) -> memoryview:
        with named_errors(self.meta["path"]):
            buffer = self.reader().read_ranges([(self.location, start, end - start)])[0]
            self._check_unchanged()
        return buffer

    async def _piece_async(self, start: int, end: int) -> memoryview:
        with named_errors(self.meta["path"]):
            buffer = (await read_async(self.reader(), [(self.location, start, end - start)]))[0]
            self._check_unchanged()
        return buffer

    def _check_unchanged(self) -> None:
        if not is_remote(self.location) and local_e_tag(Path(self.location).stat()) != self.meta["e_tag"]:
            raise FileChangedError(errno.ESTALE, "the file is not the one any more that get() found", self.location)


@dataclass(frozen=True, slots=True)
class Stream:
    """The pieces of a :class:`GetResult`, one after the other."""

    result: GetResult
    piece_nbytes: int

    def _pieces(self) -> Iterator[tuple[int, int]]:
        first, last = self.result.range
        for start in range(first, last, self.piece_nbytes):
            yield start, min(start + self.piece_nbytes, last)

    def __iter__(self) -> Iterator[memoryview]:
        for start, end in self._pieces():
            yield self.result._piece(start, end)

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        for start, end in self._pieces():
            yield await self.result._piece_async(start, end)


def check_options(options: Mapping[str, Any], meta: ObjectMeta) -> tuple[int, int]:
    """The range that ``get`` is to give, once its conditions hold.

    Args:
        options: obspec's ``GetOptions``.
        meta: of the object.

    Returns:
        (start, end).

    Raises:
        PreconditionError, NotModifiedError: a condition does not hold.
        NotSupportedError: another version than the present one is asked for.
        RangeError: a range that is empty, or begins behind the end.
        ValueError: options that make no sense.
    """
    unknown = set(options) - _OPTIONS
    if unknown:
        raise ValueError(f"unknown options {sorted(unknown)}; there are {sorted(_OPTIONS)}")
    version = options.get("version")
    if version is not None and version != meta["version"]:
        raise NotSupportedError(f"{meta['path']}: version {version!r} is asked for, only the present one can be read")
    _check_conditions(options, meta)
    if options.get("head"):
        return 0, 0
    return _resolve_range(options.get("range"), meta)


def _check_conditions(options: Mapping[str, Any], meta: ObjectMeta) -> None:
    # RFC 9110, 13.2.2: a condition on the ETag goes before one on the time.
    path, e_tag, modified = meta["path"], meta["e_tag"], meta["last_modified"]
    if (wanted := options.get("if_match")) is not None:
        if not _matches(wanted, e_tag):
            raise PreconditionError(f"{path}: its ETag is {e_tag}, which is not among {wanted}")
    elif (time := options.get("if_unmodified_since")) is not None and modified > _aware(time):
        raise PreconditionError(f"{path}: modified at {modified}, after {time}")
    if (refused := options.get("if_none_match")) is not None:
        if _matches(refused, e_tag):
            raise NotModifiedError(f"{path}: its ETag {e_tag} is among {refused}")
    elif (time := options.get("if_modified_since")) is not None and modified <= _aware(time):
        raise NotModifiedError(f"{path}: last modified at {modified}, not after {time}")


def _matches(tags: str, e_tag: str | None) -> bool:
    return tags.strip() == "*" or e_tag in [tag.strip() for tag in tags.split(",")]


def _aware(time: datetime) -> datetime:
    if time.tzinfo is None:
        raise ValueError(f"{time!r} has no time zone")
    return time


def _resolve_range(wanted: Any, meta: ObjectMeta) -> tuple[int, int]:
    nbytes = meta["size"]
    if wanted is None:
        return 0, nbytes
    if isinstance(wanted, Mapping) and set(wanted) == {"suffix"} and wanted["suffix"] >= 0:
        return max(0, nbytes - wanted["suffix"]), nbytes
    if isinstance(wanted, Mapping) and set(wanted) == {"offset"} and wanted["offset"] >= 0:
        start, end = wanted["offset"], nbytes
    elif isinstance(wanted, tuple | list) and len(wanted) == 2 and min(wanted) >= 0:
        start, end = wanted
        if end <= start:
            raise RangeError(f"{meta['path']}: the range {start}-{end} is empty", path=meta["path"], offset=start)
    else:
        raise ValueError(f"range is {wanted!r}; (start, end), {{'offset': n}} or {{'suffix': n}} is due")
    if start >= nbytes:
        message = f"{meta['path']}: the range begins at {start}, but the object has {nbytes} bytes"
        raise RangeError(message, path=meta["path"], offset=start, nbytes=nbytes)
    return start, min(end, nbytes)
