"""What can go wrong, as exceptions.

::

    Exception
    ├── RingioError
    │   ├── BackendError                              a backend that was asked for by name cannot be had
    │   ├── RangeError (ValueError)                   a range is not wholly inside its object
    │   ├── DecodeError (ValueError)                  encoded bytes are damaged, or are not what they should be
    │   ├── UnsupportedCodecError (ValueError)        a codec, or a feature of one, that this build cannot decode
    │   ├── PlanError (ValueError)                    a plan contradicts itself, or does not fit its target
    │   ├── FileChangedError (OSError)                a file is not the one that the plan was made for
    │   ├── StoreError (OSError)                      a store of objects failed: status 503, no connection, ...
    │   │   └── StoreNotFoundError (FileNotFoundError)    there is no such bucket or container
    │   └── MemoryLimitError (MemoryError)            one chunk needs more than ``memory_limit_bytes``
    └── OSError                                       what the system says: FileNotFoundError, PermissionError,
                                                      IsADirectoryError, ... with errno and filename set
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from typing import Final, Protocol

from ._core import lib
from ._records import MAX_U64


class RingioError(Exception):
    """Every error that is ringio's own."""


class BackendError(RingioError):
    """A backend that was asked for by name cannot be had; the message says why."""


class RangeError(RingioError, ValueError):
    """A range that is not wholly inside its object.

    Attributes:
        path: of the object.
        offset: of the range, in bytes.
        length: of the range, in bytes; None: to the end.
        nbytes: the object's size; None where it is not known.
    """

    def __init__(
        self, message: str, *, path: str = "", offset: int = 0, length: int | None = None, nbytes: int | None = None
    ) -> None:
        super().__init__(message)
        self.path = path
        self.offset = offset
        self.length = length
        self.nbytes = nbytes


class DecodeError(RingioError, ValueError):
    """Encoded bytes that are damaged, have the wrong checksum, or decode to too few or too many bytes.

    Attributes:
        path: of the object that holds them.
        offset: where in it they begin, in bytes.
        length: how many there are; None: up to the end.
    """

    def __init__(self, message: str, *, path: str = "", offset: int = 0, length: int | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.offset = offset
        self.length = length


class UnsupportedCodecError(RingioError, ValueError):
    """A codec, or a feature of one, that this build cannot decode; the message names it.

    Attributes:
        path: of the object whose bytes ask for it; "" where it is not bytes that do.
    """

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class PlanError(RingioError, ValueError):
    """A plan that contradicts itself, or does not fit the target that it is to be executed into."""


class FileChangedError(RingioError, OSError):
    """A file that is not the one that the plan was made for: replaced, resized or written to."""


class StoreError(RingioError, OSError):
    """A store of objects that failed, after as many tries as make sense; the message has the status and the reason.

    ``filename`` is the URL. What Python has a word for is that: FileNotFoundError for 404, PermissionError for 401, 403
    and missing credentials.
    """


class StoreNotFoundError(StoreError, FileNotFoundError):
    """There is no such bucket or container: what is missing is not one object, which may be meant to be missing."""


class MemoryLimitError(RingioError, MemoryError):
    """One request needs more memory than the reader's ``memory_limit_bytes`` leaves for it."""


# Shown, and found by pickle, where they are to be imported from.
for _each in (RingioError, *RingioError.__subclasses__(), StoreNotFoundError):
    _each.__module__ = "ringio"

STORE_FAILED: Final = 10100
"""Status of a task, negated, that the C core does not know: see :class:`StoreError`."""

STORE_NOT_FOUND: Final = 10101
"""The same for :class:`StoreNotFoundError`."""


class Failure(Protocol):
    """What the C core says about a failed task: ``struct ringio_failure``.

    One of a remote object may have a ``problem`` besides, which says in words what the store said.
    """

    @property
    def task(self) -> int: ...
    @property
    def request(self) -> int: ...
    @property
    def status(self) -> int: ...
    @property
    def step(self) -> int: ...
    @property
    def got(self) -> int: ...
    @property
    def expected(self) -> int: ...


_REASONS: Final = {
    lib.RINGIO_REASON_HEADER: "the header is incomplete or contradicts itself",
    lib.RINGIO_REASON_TRUNCATED: "the encoded data ends too early",
    lib.RINGIO_REASON_DATA: "the encoded data is damaged",
    lib.RINGIO_REASON_TRAILING: "there are bytes left over behind the encoded data",
    lib.RINGIO_REASON_DICTIONARY: "it was encoded with a dictionary",
    lib.RINGIO_REASON_WINDOW: "it asks for a larger window than its chunk can justify",
    lib.RINGIO_REASON_INNER_CODEC: "it uses an inner codec or filter that this build lacks",
    lib.RINGIO_REASON_ITEMSIZE: "its size is no multiple of the element size",
    lib.RINGIO_REASON_VALUE: "an item that cannot be scaled: it leaves a remainder, or is out of range",
}
_PLAN_PARTS: Final = {
    lib.RINGIO_PLAN_FILE: "a request names a file that is not there",
    lib.RINGIO_PLAN_TASK: "a request names tasks that are not there",
    lib.RINGIO_PLAN_PROJECTION: "a task names projections that are not there",
    lib.RINGIO_PLAN_CHAIN: "a task names a codec chain that is not there",
    lib.RINGIO_PLAN_LAYOUT: "a projection names a layout that is not there",
    lib.RINGIO_PLAN_SOURCE_BOX: "a projection reaches outside the decoded chunk",
    lib.RINGIO_PLAN_TARGET_BOX: "a projection reaches outside the target",
    lib.RINGIO_PLAN_FILL: "a chunk is missing and there is no fill value",
    lib.RINGIO_PLAN_SOURCE: "a task's bytes lie outside its request",
}


def error_from_failure(
    failure: Failure, *, path: str, offset: int, length: int | None, step_names: Sequence[str], chunk: str | None
) -> Exception:
    """The exception for a failed task: the one place where a status of the C core gets its words.

    Args:
        failure: what the core says; status 0 is no failure and must not come here.
        path: of the object that the encoded bytes are in.
        offset: where in it they begin, in bytes.
        length: how many there are; None: up to the end.
        step_names: of the task's codec chain, in decoding order.
        chunk: which chunk it is, e.g. ``"chunk (3, 7) of '/data/a.zarr/temp'"``; None: the place alone says it.

    Returns:
        The exception, to be raised or handed out.
    """
    status = -int(failure.status)
    place = _place(path, offset, length, chunk)
    problem: str = getattr(failure, "problem", "")
    if 0 < status < lib.RINGIO_EOF:
        hint = slash_hint(path) if status == errno.ENOENT else ""
        return _os_error(status, (problem or os.strerror(status)) + hint, path, place)
    if status in (STORE_FAILED, STORE_NOT_FOUND):
        store_error = store_failure(status, problem, path)
        store_error.add_note(f"while reading {place}")
        return store_error
    got, expected = int(failure.got), int(failure.expected)
    step = int(failure.step)
    where = f"{step_names[step]}: {place}" if step < len(step_names) else place
    if status == lib.RINGIO_EOF:
        outside = f"ends at {expected}, but the object has {got} bytes"
        return RangeError(f"{place}: {outside}", path=path, offset=offset, length=length, nbytes=got)
    if status == lib.RINGIO_CHANGED:
        changed = problem or "the file is not the one that the plan was made for"
        return FileChangedError(errno.ESTALE, f"{place}: {changed}", path)
    if status == lib.RINGIO_NOT_REGULAR:
        return _os_error(errno.EINVAL, "not a regular file", path, place)
    if status == lib.RINGIO_BAD_PLAN:
        return PlanError(f"{place}: {_PLAN_PARTS.get(got, 'the plan contradicts itself')}")
    if status == lib.RINGIO_NO_MEMORY:
        return MemoryLimitError(f"{place}: needs {got} bytes at once, the reader's memory limit leaves {expected}")
    if status == lib.RINGIO_UNSUPPORTED:
        return UnsupportedCodecError(f"{where}: {_REASONS.get(got, 'unsupported')}", path=path)
    return DecodeError(f"{where}: {_decode_problem(status, got, expected)}", path=path, offset=offset, length=length)


def slash_hint(path: str) -> str:
    """What to say behind "there is no such file" where it looks as if a URL was meant.

    >>> slash_hint("s3:/bucket/x"), slash_hint("s3/bucket/x")
    ('; a URL begins with s3://, with two slashes', '')
    """
    # What has been made absolute has a folder before it.
    found = (
        None if "://" in path else re.search(r"(?:^|/)(s3a?|gs|azure|az|abfss?|adl|https?|memory|file):/(?!/)", path)
    )
    return f"; a URL begins with {found[1]}://, with two slashes" if found else ""


def store_failure(status: int, problem: str, url: str) -> StoreError:
    """The exception for what a store said, by the status that it was given here."""
    if status == STORE_NOT_FOUND:
        return StoreNotFoundError(errno.ENOENT, problem, url)
    return StoreError(errno.EIO, problem, url)


def codec_error(
    name: str, error: Exception, *, path: str, offset: int, length: int | None, chunk: str | None
) -> DecodeError | MemoryLimitError:
    """The exception for what a Python codec raised, which is to be its cause."""
    if isinstance(error, MemoryLimitError):
        return MemoryLimitError(f"{name}: {_place(path, offset, length, chunk)}: {error}")
    words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    message = f"{name}: {_place(path, offset, length, chunk)}: {words}"
    return DecodeError(message, path=path, offset=offset, length=length)


def _decode_problem(status: int, got: int, expected: int) -> str:
    if status == lib.RINGIO_CORRUPT:
        return _REASONS.get(got, "the encoded data is damaged")
    if status == lib.RINGIO_WRONG_SIZE:
        much = f"more than {expected}" if got == MAX_U64 else str(got)
        return f"decodes to {much} bytes, expected {expected}"
    if status == lib.RINGIO_CHECKSUM:
        # zstd does not say which checksums it compared
        return f"checksum {got:#010x}, expected {expected:#010x}" if got != expected else "the checksum is wrong"
    if status == lib.RINGIO_TOO_LARGE:
        return f"{got} encoded bytes, at most {expected} make sense for such a chunk"
    return f"status {-status} of the C core"


def _place(path: str, offset: int, length: int | None, chunk: str | None) -> str:
    end = "the end" if length is None else str(offset + length)
    return f"{chunk} in {path}, bytes {offset}-{end}" if chunk else f"{path}, bytes {offset}-{end}"


def _os_error(number: int, problem: str, path: str, place: str) -> OSError:
    # OSError picks FileNotFoundError and its like by the number.
    error = OSError(number, problem, path)
    error.add_note(f"while reading {place}")
    return error
