"""Hierarchies in stores of objects: below a URL, or in a store that the user has made."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Final

from ringio import Reader, RingioError, StoreError, default_reader

from ._store_base import MAX_DOCUMENT_NBYTES, Store, checked, is_absent, too_large

_serial: Final = itertools.count(1)


class RemoteStore(Store):
    """Everything below a URL, or in a given store.

    Args:
        root: the URL, without a slash at its end; or what the given store is called in messages.
        given: a store of obstore, or anything with obspec's ``get_ranges``; None: the URL says where it is.
        original: what the user gave, where ``given`` was made from that.

    Attributes:
        name: of its own for each given store.
        says_states: whether the bytes of objects come with the ETags of these, so that a stale one is noticed.
        source: what ``store=`` of ``ringio`` is for locations of this store; None: nothing.
    """

    __slots__ = ("_check_caller", "given", "name", "original", "root", "says_states", "source")

    is_remote: ClassVar[bool] = True

    def __init__(self, root: str, given: Any = None, original: Any = None) -> None:
        self.root = root
        self.given = given
        self.original = given if original is None else original
        self.name = "" if given is None else f"\0{next(_serial)}"
        self.source = None if given is None else {root: given}
        self.says_states = given is None or type(given).__module__ == "obstore.store"
        self._check_caller = getattr(given, "check_caller", None)

    def check_caller(self) -> None:
        """Whether the calling thread may wait for this store.

        Raises:
            RuntimeError: it runs the event loop that answers.
        """
        if self._check_caller is not None:
            self._check_caller()

    def location(self, key: str) -> str:
        """The URL of a key; of a given store the name of the store, a slash, and the key."""
        if not key:
            return self.root
        return f"{self.root}/{_quoted(key) if _is_http(self.root) else key}"

    def read(self, key: str, reader: Reader | None = None, limit_nbytes: int = MAX_DOCUMENT_NBYTES) -> bytes | None:
        """The bytes of a document, or None where there is none."""
        return checked(self.read_each([key], reader, limit_nbytes)[0])

    def read_each(
        self, keys: Sequence[str], reader: Reader | None = None, limit_nbytes: int = MAX_DOCUMENT_NBYTES
    ) -> list[bytes | Exception | None]:
        """The same for several: one request each, at the same time."""
        self.check_caller()
        places = [self.location(key) for key in keys]
        reader = reader or default_reader()
        states = reader.look_up(places, suffix_nbytes=None, limit_nbytes=limit_nbytes, store=self.source)
        return [_document_of(state, place, limit_nbytes) for place, state in zip(places, states, strict=True)]

    def child_directories(self, key: str, reader: Reader | None = None) -> list[str]:
        """The names directly below a key that have something below them, sorted."""
        where = self.location(key)
        try:
            prefixes = self._list(key, reader or default_reader())
        except Exception as error:  # of the store's own kinds
            if isinstance(error, PermissionError | FileNotFoundError) or type(error) is RingioError:
                raise
            raise StoreError(
                errno.ENOTSUP,
                "the members of this group cannot be listed: it has no consolidated metadata, and the store said: "
                f"{str(error).splitlines()[0][:200] if str(error) else type(error).__name__}",
                where,
            ) from error
        return sorted(each.rstrip("/").rpartition("/")[2] for each in prefixes)

    def files_below(self, key: str, reader: Reader | None = None) -> Iterator[tuple[str, int]]:
        """The paths of all objects below a key, from there on, and their sizes in bytes."""
        store: Any = self.given
        if store is None:
            from ringio import Store as Folder

            store = Folder(self.root, reader=reader or default_reader())
        prefix = f"{key}/" if key else ""
        try:
            for batch in store.list(key or None):
                for meta in batch:
                    if meta["path"].startswith(prefix):
                        yield meta["path"][len(prefix) :], int(meta["size"])
        except Exception as error:  # of the store's own kinds
            if isinstance(error, PermissionError | StoreError):
                raise
            what = f"what is in it cannot be listed: {str(error).partition(chr(10))[0][:200] or type(error).__name__}"
            raise StoreError(errno.ENOTSUP, what, self.location(key)) from error

    def _list(self, key: str, reader: Reader) -> Sequence[str]:
        if self.given is None:
            from ringio import Store as Folder

            found: Any = Folder(self.root, reader=reader).list_with_delimiter(key or None)
        else:
            found = self.given.list_with_delimiter(key or None)
        prefixes: Sequence[str] = found["common_prefixes"]
        return prefixes

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RemoteStore) or self.root != other.root:
            return False
        return self.original is other.original or bool(self.original == other.original)

    def __hash__(self) -> int:
        return hash((RemoteStore, self.root))

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteStore, (self.root, self.given, self.original)

    def __repr__(self) -> str:
        return f"RemoteStore({self.root!r})"


def _document_of(state: Any, where: str, limit_nbytes: int) -> bytes | Exception | None:
    """The bytes that a lookup brought, None where there is no such object, or why it cannot be read."""
    if is_absent(state):
        return None
    if isinstance(state, Exception):
        return state
    if state.nbytes > limit_nbytes:
        return too_large(where, state.nbytes, limit_nbytes)
    return bytes(state.data or b"")


def _is_http(url: str) -> bool:
    return url[:8].lower().startswith(("http://", "https://"))


def _quoted(key: str) -> str:
    from urllib.parse import quote  # late: with all that it imports, it takes 3 ms

    return quote(key)
