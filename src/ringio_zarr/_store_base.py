"""What all stores of hierarchies have in common: keys, documents, names of members."""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar, Final

from ringio import DecodeError, Reader, RingioError, StoreError

from ._errors import Place, excerpt

# Consolidated metadata of the largest hierarchies is some 100 MB; a sparse file of terabytes is not metadata.
MAX_DOCUMENT_NBYTES: Final = 1 << 30
# Of the URLs that ringio reads.
URL_SCHEMES: Final = ("http", "https", "s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "adl", "memory")


def is_absent(state: object) -> bool:
    """Whether an error, or what a lookup brought, says that there is no such object; a store is there to say so."""
    return isinstance(state, FileNotFoundError) and not isinstance(state, StoreError)


class Store(ABC):
    """Where a hierarchy is.

    A key is a path inside the store, such as ``x/zarr.json``, without a slash at either end; the empty one is the root.
    Stores compare and pickle by where they are.
    """

    __slots__ = ()

    # Whether a document that is not wanted costs nothing to speak of when it is asked for with others that are.
    is_remote: ClassVar[bool] = False
    # Tells stores of one root apart, for caches.
    name: str = ""

    @abstractmethod
    def location(self, key: str) -> str:
        """What a key is called in messages: a path, a URL, or something that begins with a name of the store."""

    @abstractmethod
    def read(self, key: str, reader: Reader | None = None, limit_nbytes: int = MAX_DOCUMENT_NBYTES) -> bytes | None:
        """The bytes of a document, or None where there is none.

        Args:
            key: of the document.
            reader: does it, where the store needs one; None: the shared one.
            limit_nbytes: what is larger is refused.

        Raises:
            OSError: anything but absence; ``filename`` is set.
            MetadataError: far too large for a metadata document.
            DecodeError: larger than another limit.
        """

    def read_each(
        self, keys: Sequence[str], reader: Reader | None = None, limit_nbytes: int = MAX_DOCUMENT_NBYTES
    ) -> list[bytes | Exception | None]:
        """The same for several documents, which stores with latency read at once; errors are in their places.

        Raises:
            OSError, MetadataError: nothing of the store can be read.
        """
        return [self._try_to_read(key, reader, limit_nbytes) for key in keys]

    def _try_to_read(self, key: str, reader: Reader | None, limit_nbytes: int) -> bytes | Exception | None:
        try:
            return self.read(key, reader, limit_nbytes)
        except (RingioError, OSError) as error:
            return error

    @abstractmethod
    def child_directories(self, key: str, reader: Reader | None = None) -> list[str]:
        """The names directly below a key that have something below them, sorted.

        Raises:
            OSError: they cannot be listed; a :class:`ringio.StoreError` where the store has no way to.
        """

    def files_below(self, key: str, reader: Reader | None = None) -> Iterator[tuple[str, int]]:
        """The paths of all files below a key, from there on, and their sizes in bytes; none is opened.

        Raises:
            OSError: they cannot be listed; a :class:`ringio.StoreError` where the store has no way to.
        """
        del reader
        raise StoreError(errno.ENOTSUP, "the store has no way to list what is in it", self.location(key))

    def entries_below(self, key: str, reader: Reader | None = None) -> Iterator[tuple[str, int | None]]:
        """The same with all folders, whose size is None, where these are more than beginnings of keys."""
        return self.files_below(key, reader)

    def is_file(self, key: str) -> bool:
        """Whether a document has this key."""
        return self.read(key) is not None

    def exists(self, key: str, reader: Reader | None = None) -> bool:
        """Whether there is anything at or below a key, as far as that is found out without asking for it."""
        del key, reader
        return True

    def real_path(self, key: str) -> str:
        """One name for each place, whatever ways lead there."""
        return self.location(key)

    def real_path_below(self, above: str, key: str) -> str:
        """The same for a member of what has the real path ``above``."""
        del above
        return self.real_path(key)

    def refresh(self) -> None:  # noqa: B027  # most know nothing
        """Forget what is known of the store's contents."""


class StorePath:
    """A place in a store.

    Args:
        store: the store.
        path: of a node in it, without a slash at either end.

    Example:
        >>> import ringio_zarr
        >>> ringio_zarr.open("temperature.zarr").store_path  # doctest: +SKIP
        StorePath(LocalStore, 'file:///data/temperature.zarr')
    """

    __slots__ = ("path", "store")

    def __init__(self, store: Store, path: str = "") -> None:
        self.store = store
        self.path = path

    @property
    def read_only(self) -> bool:
        """True: ringio_zarr does not write."""
        return True

    def __truediv__(self, name: str) -> StorePath:
        return StorePath(self.store, normalise_path(f"{self.path}/{name}"))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StorePath) and (self.store, self.path) == (other.store, other.path)

    def __hash__(self) -> int:
        return hash((self.store, self.path))

    def __str__(self) -> str:
        place = self.store.location(self.path)
        return f"file://{place}" if place.startswith("/") else place

    def __repr__(self) -> str:
        return f"StorePath({type(self.store).__name__}, {str(self)!r})"


def too_large(where: str, nbytes: int | None, limit_nbytes: int) -> RingioError:
    """The error for a document, or with a limit of its own for a chunk or a shard, of so many bytes; None: too many."""
    found = "too many" if nbytes is None else str(nbytes)
    if limit_nbytes == MAX_DOCUMENT_NBYTES:
        return Place(where).error(f"{found} bytes; at most {limit_nbytes} make sense for metadata")
    return DecodeError(f"{where}: {found} bytes, at most {limit_nbytes} make sense here", path=where)


def checked(found: bytes | Exception | None) -> bytes | None:
    """What was read, unless that is an error, which is raised."""
    if isinstance(found, Exception):
        raise found
    return found


def normalise_path(path: str) -> str:
    """A node's path inside its store: no slash at either end, none doubled.

    Raises:
        ValueError: a part that is "." or "..".

    >>> normalise_path("/x//y/")
    'x/y'
    """
    parts = [part for part in path.split("/") if part]
    if "." in parts or ".." in parts:
        raise ValueError(f"path {excerpt(path)} has '.' or '..' in it")
    return "/".join(parts)


def child_names(keys: Sequence[str], key: str) -> list[str]:
    """The names directly below a key that have something below them, from all keys of a store.

    >>> child_names(["zarr.json", "x/zarr.json", "x/c/0", "y"], ""), child_names(["zarr.json", "x/zarr.json"], "x")
    (['x'], [])
    """
    prefix = f"{key}/" if key else ""
    start = len(prefix)
    found = set()
    for each in keys:
        if each.startswith(prefix):
            name, slash, _ = each[start:].partition("/")
            if slash and name:
                found.add(name)
    return sorted(found)
