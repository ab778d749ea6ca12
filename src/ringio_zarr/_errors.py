"""What can be wrong with a Zarr hierarchy, as exceptions.

::

    ringio.RingioError
    ├── MetadataError (ValueError)                      a metadata document contradicts itself or the specification
    │   └── UnsupportedError (NotImplementedError)      it is fine, and names something that ringio_zarr cannot read
    ├── ChunkNotFoundError (ValueError)                 read_missing_chunks=False: chunks are not stored
    └── NodeNotFoundError (FileNotFoundError, ValueError)
        ├── ArrayNotFoundError                          there is no array
        │   └── ContainsGroupError (MetadataError)      but a group
        └── GroupNotFoundError                          there is no group, or neither
            └── ContainsArrayError (MetadataError)      but an array

``ringio_zarr.errors`` has them all, and zarr-python's other names for them.
"""

from __future__ import annotations

import reprlib
from typing import Final, TypeVar

from ringio import RingioError
from ringio.planning import NamedTuple

_EXCERPT_LENGTH: Final = 64
MISSING_NAMED_MAX: Final = 100  # chunks in one message

_Error = TypeVar("_Error", bound="MetadataError")


class MetadataError(RingioError, ValueError):
    """A metadata document that cannot be right; the message names the document and the key.

    Attributes:
        path: of the document; None where it is none that is wrong.
    """

    path: str | None = None


class UnsupportedError(MetadataError, NotImplementedError):
    """A valid document that asks for a data type, codec, grid or limit that ringio_zarr does not have; named."""


class MissingChunks(NamedTuple):
    """Which chunks an array does not have.

    Attributes:
        array: a name of it.
        chunk_count: how many they are.
        named: the places in the grid, and the keys, of the first of them.
    """

    array: str
    chunk_count: int
    named: tuple[tuple[tuple[int, ...], str], ...]


class ChunkNotFoundError(RingioError, ValueError):
    """Chunks are not stored, and are to be with ``config={"read_missing_chunks": False}``; the message names them."""

    _missing: MissingChunks | None = None


class NodeNotFoundError(FileNotFoundError, RingioError, ValueError):
    """There is no array or group at a path; ``filename`` says at which."""


class ArrayNotFoundError(NodeNotFoundError):
    """There is no array at a path."""


class GroupNotFoundError(NodeNotFoundError):
    """There is no group at a path; also where either would do, as in zarr-python."""


class ContainsGroupError(ArrayNotFoundError, MetadataError):
    """There is a group where an array was asked for."""


class ContainsArrayError(GroupNotFoundError, MetadataError):
    """There is an array where a group was asked for."""


class ZarrUserWarning(UserWarning):
    """Something is left out, or may not be what is meant."""


# Shown, and found by pickle, where they are to be imported from.
MetadataError.__module__ = UnsupportedError.__module__ = "ringio_zarr"
for _error in (
    ChunkNotFoundError,
    NodeNotFoundError,
    ArrayNotFoundError,
    GroupNotFoundError,
    ContainsGroupError,
    ContainsArrayError,
    ZarrUserWarning,
):
    _error.__module__ = "ringio_zarr.errors"


def chunks_not_found(missing: MissingChunks) -> ChunkNotFoundError:
    """The error for missing chunks, in the words of zarr-python."""
    lines = [f"  chunk '{key}' (grid position {place})" for place, key in missing.named]
    if missing.chunk_count > len(lines):
        lines.append(f"  and {missing.chunk_count - len(lines)} more")
    error = ChunkNotFoundError(
        f"{missing.chunk_count} chunk(s) not found in store '{missing.array}'.\n"
        "Set the 'array.read_missing_chunks' config to True to fill missing chunks with the fill value.\n"
        "Missing chunks:\n" + "\n".join(lines)
    )
    error._missing = missing
    return error


def joined(first: Exception | None, second: Exception) -> Exception:
    """The first thing that went wrong in two parts of a read; chunks that either does not have are in one error."""
    if not (isinstance(first, ChunkNotFoundError) and isinstance(second, ChunkNotFoundError)):
        return first or second
    one, other = first._missing, second._missing
    if one is None or other is None:
        return first
    named = tuple(sorted({*one.named, *other.named})[:MISSING_NAMED_MAX])
    twice = len({*one.named} & {*other.named})  # a shard may be at the border of two parts
    return chunks_not_found(one._replace(chunk_count=one.chunk_count + other.chunk_count - twice, named=named))


class Place(NamedTuple):
    """A value's place in a metadata document, for messages.

    Args:
        path: where the document is, e.g. ``/data/a.zarr/zarr.json``.
        key: the way to the value inside it, e.g. ``codecs[0].configuration.chunk_shape``; empty for the whole document.
    """

    path: str
    key: str = ""

    def at(self, key: str | int) -> Place:
        """The place of one item of the list, or one member of the object, that is here."""
        if isinstance(key, int):
            return Place(self.path, f"{self.key}[{key}]")
        return Place(self.path, f"{self.key}.{key}" if self.key else key)

    def error(self, problem: str) -> MetadataError:
        """The exception that says what is wrong here."""
        return self._of_here(MetadataError(self._message(problem)))

    def unsupported(self, problem: str) -> UnsupportedError:
        """The exception that says what ringio_zarr does not have."""
        return self._of_here(UnsupportedError(self._message(problem)))

    def _of_here(self, error: _Error) -> _Error:
        error.path = self.path
        return error

    def _message(self, problem: str) -> str:
        return f"{self.path}: {self.key}: {problem}" if self.key else f"{self.path}: {problem}"


def excerpt(value: object) -> str:
    """A value for a message: its repr, cut where an outsider made it long or deep.

    >>> excerpt("x" * 1000), excerpt([[[[[[1]]]]]])
    ("'xxxxxxxxxxxxxxxxxxxxxxxxxxxxx...xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'", '[[[[[...]]]]]')
    """
    text = _excerpts.repr(value)
    return text if len(text) <= _EXCERPT_LENGTH else f"{text[: _EXCERPT_LENGTH - 3]}..."


# The builtin repr() of what json.loads() just managed to nest can be too deep: a RecursionError out of a message.
_excerpts = reprlib.Repr()
_excerpts.maxlevel = 4
_excerpts.maxstring = _excerpts.maxlong = _excerpts.maxother = _EXCERPT_LENGTH
