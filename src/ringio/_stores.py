"""Which store an object is in, and its key there: from a URL, and from what the caller gave as ``store=``.

This is the one file that imports obstore, when the first URL is read.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from . import _store_options
from ._errors import BackendError
from ._named import NamedTuple
from ._object_store import Store
from ._paths import scheme_of
from ._store_errors import Problem

_HTTP: Final = _store_options.HTTP
_MEMORY: Final = "memory"
_STORES_MAX: Final = 64  # for one URL each: such a store has connections of its own
_CONTROLS: Final = re.compile(r"[\x00-\x20\x7f\\]")
# What obstore, which encodes keys, sends as it stands here: not all that is encoded needs to be.
_PLAIN_PATH: Final = re.compile(
    r"""(?:[\w .~!$&'()*+,;=:@/\[\]-]|[^\x00-\x7f]|%(?:2[0235]|3[CEF]|60|7[BD]|[89A-F][0-9A-F]))*""", re.ASCII
)


class Place(NamedTuple):
    """Where an object is.

    Attributes:
        store: that has it.
        key: its name there.
    """

    store: Store
    key: str


def is_all_of(store: Store, places: Iterable[Place | Problem]) -> bool:
    """Whether objects are of this store, all of them."""
    return all(isinstance(place, Place) and place.store is store for place in places)


class Stores:
    """The stores of a reader: made at first use, and kept, for their connections.

    Args:
        options: what ``_store_options.check`` gave.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._by_origin: dict[str, Store] = {}
        self._by_url: dict[str, Store] = {}
        # By identity, and with the object itself, so that no other gets its number.
        self._given: dict[int, tuple[object, Store]] = {}

    def find(self, path: str, given: object = None) -> Place:
        """Where an object is.

        Args:
            path: a URL; or a key, where ``given`` is a store.
            given: ``store=`` of the caller: a store, a mapping from beginnings of URLs to stores, or anything with
                ``resolve(url)``; None: the URL says it.

        Raises:
            BackendError: a scheme that nobody knows.
            TypeError: ``given`` is none of these.
            ValueError: a URL without a host or bucket, or a key that obstore cannot name.
            Exception: obstore does not like the options.
        """
        if given is None:
            return self._find_url(path)
        if callable(resolve := getattr(given, "resolve", None)):
            store, key = resolve(path)
            return Place(self._wrap(store), str(key))
        if not isinstance(given, Mapping):
            return self._place(given, path, path)
        beginnings = [beginning for beginning in given if _store_options.is_below(path, beginning)]
        if not beginnings:
            return self._find_url(path)
        beginning = max(beginnings, key=len)
        rest = path[len(beginning) :].removeprefix("/")
        key = unquote_to_bytes(rest).decode() if scheme_of(beginning) in _HTTP else rest
        return self._place(given[beginning], key, path)

    def find_file(self, path: str) -> Place:
        """Where a file of this machine is: in obstore's ``LocalStore``, which has them all.

        Raises:
            ValueError: a name that obstore has no key for.
        """
        key = _file_key(path)
        return Place(self._kept(self._by_origin, "file://", local_store), key)

    def _place(self, given: object, key: str, path: str) -> Place:
        store = self._wrap(given)
        return Place(store, _checked_key(key, path) if store.has_versions else key)

    def _wrap(self, store: object) -> Store:
        known = self._given.get(id(store))
        if known is None:
            while len(self._given) >= _STORES_MAX:
                self._given.pop(next(iter(self._given)), None)
            known = self._given[id(store)] = (store, Store(store))
        return known[1]

    def _find_url(self, url: str) -> Place:
        scheme = scheme_of(url)
        rest = url[len(scheme) + len("://") :]
        if scheme in _HTTP:
            return self._find_http(url, scheme, rest)
        host, _, key = rest.partition("/")
        if scheme == _MEMORY:
            return Place(self._kept(self._by_origin, f"memory://{host}", lambda: memory_store(host)), key)
        if scheme in _store_options.CLOUDS:
            if not host:
                raise ValueError(f"{url}: a URL without a {'container' if scheme[0] == 'a' else 'bucket'}")
            return Place(self._opened(self._by_origin, f"{scheme}://{host}", url), _checked_key(key, url))
        raise BackendError(
            f"{url}: {scheme or 'no scheme'}:// is not supported; http, https, s3, gs, az, abfs, memory and file are"
        )

    def _find_http(self, url: str, scheme: str, rest: str) -> Place:
        host, path, query = _split_http(rest)
        if not host:
            raise ValueError(f"{url}: a URL without a host")
        key = _http_key(path) if not query else None
        if key is not None:
            return Place(self._opened(self._by_origin, f"{scheme}://{host}", url), key)
        # What obstore would not ask for as it stands here is the address of a store of its own, whose only key is "".
        exact = f"{scheme}://{host}{_CONTROLS.sub(_percent, path)}{_CONTROLS.sub(_percent, query)}"
        return Place(self._opened(self._by_url, exact, url), "")

    def _opened(self, stores: dict[str, Store], address: str, url: str) -> Store:
        # Two URLs of one bucket may have options of their own.
        own = [name for name in self._options if "://" in name and _store_options.is_below(url, name)]
        name = " ".join([address, *own])
        if store := stores.get(name):
            return store
        options = _store_options.for_url(self._options, url)
        try:
            return self._kept(stores, name, lambda: open_store(address, options), options)
        except Exception as error:
            known = _store_options.of_obstore(error, url)
            if known is error:
                raise
            raise known from error

    def _kept(
        self, stores: dict[str, Store], name: str, make: Callable[[], Any], options: Mapping[str, Any] | None = None
    ) -> Store:
        with self._lock:
            store = stores.get(name)
            if store is None:
                while stores is self._by_url and len(stores) >= _STORES_MAX:
                    del stores[next(iter(stores))]
                retries = (options or self._options).get("retries", _store_options.RETRIES)
                store = stores[name] = Store(make(), retries, _shown(name))
            return store

    def forget(self) -> None:
        """For a child after fork(): the locks may be held by threads that do not exist here."""
        self._lock = threading.Lock()


def open_store(url: str, options: Mapping[str, Any]) -> Any:
    """Obstore's store for a URL, with the options that hold for it."""
    from obstore.store import HTTPStore, from_url

    if scheme_of(url) in _HTTP:
        for name in _store_options.settings(options):
            if not _is_setting(name):  # others are for other URLs of the same reader
                raise _store_options.not_known(name, _shown(url))
        return HTTPStore.from_url(url, **_store_options.obstore_arguments(options, url, takes_config=False))
    arguments = _store_options.obstore_arguments(options, url, takes_config=True)
    if "@" in url:  # abfs://container@account.dfs...: the account stands there
        arguments.pop("account_name", None)
    return from_url(url, **arguments)


@cache
def _is_setting(name: str) -> bool:
    """Whether one of obstore's stores has such a setting, which the store itself is asked."""
    from obstore.store import AzureStore, GCSStore, S3Store

    stores: tuple[Any, ...] = (S3Store, GCSStore, AzureStore)
    for store in stores:
        try:
            store("a", **{name: ""})
        except Exception as error:
            if type(error).__name__ == "UnknownConfigurationKeyError":
                continue
        return True
    return False


def local_store() -> Any:
    """Obstore's store of all files of this machine."""
    from obstore.store import LocalStore

    return LocalStore()


_memory: Final[dict[str, Any]] = {}


def memory_store(name: str = "") -> Any:
    """Obstore's ``MemoryStore`` behind the URLs ``memory://name/...``, one for each name in a process."""
    if name not in _memory:
        from obstore.store import MemoryStore

        _memory.setdefault(name, MemoryStore())
    return _memory[name]


def _shown(name: str) -> str:
    """The address of a store without what is nobody's business: passwords, and signatures in queries.

    >>> _shown("https://me:secret@host/a?sig=x"), _shown("abfs://box@account")
    ('https://host/a', 'abfs://box@account')
    """
    address = name.partition(" ")[0]
    if scheme_of(address) not in _HTTP:
        return address
    host, path, _ = _split_http(address.partition("://")[2])
    return f"{scheme_of(address)}://{host.rpartition('@')[2]}{path}"


def _split_http(rest: str) -> tuple[str, str, str]:
    """Host, path and query of what stands behind ``http://``; a fragment is never sent.

    >>> _split_http("host:80/a/b?x=1#y")
    ('host:80', '/a/b', '?x=1')
    """
    found = re.match(r"([^/?#]*)([^?#]*)(\?[^#]*)?", rest, re.DOTALL)
    assert found is not None  # it matches everything
    return found[1], found[2], found[3] or ""


def _http_key(path: str) -> str | None:
    """What obstore calls the object at a path, so that it asks the server for just that path; None: it cannot.

    >>> _http_key("/a%20b/c"), _http_key("/a//b"), _http_key("/a%2Fb")
    ('a b/c', None, None)
    """
    if not _PLAIN_PATH.fullmatch(path):
        return None
    try:
        key = unquote_to_bytes(path.removeprefix("/")).decode()
    except UnicodeDecodeError:
        return None
    return key if _is_key(key) else None


def _is_key(key: str) -> bool:
    """Whether obstore takes a key as it is: some it refuses, and of some it drops slashes."""
    parts = key.split("/")
    return not ({"", ".", ".."} & set(parts) or re.search(r"[\x00-\x1f\x7f]", key))


def _checked_key(key: str, path: str) -> str:
    if not _is_key(key):
        raise ValueError(
            f"{path!r}: obstore has no name for such a key; it takes none with control characters, empty parts (a "
            "slash at the beginning or end, or two in a row), or parts '.' and '..'"
        )
    return key


def _file_key(path: str) -> str:
    """What obstore calls a file.

    >>> _file_key("/data//a/./b c")
    'data/a/b c'
    """
    absolute = Path(path).absolute()
    if ".." in absolute.parts:
        absolute = absolute.resolve()
    key = str(absolute).lstrip("/")
    # A number behind a # is what obstore puts there while it writes; and its names are text.
    if re.search(r"#\d+$", key) or any(0xDC80 <= ord(letter) <= 0xDCFF for letter in key):
        raise ValueError(f"{path!r}: obstore has no name for such a file; another backend reads it")
    return _checked_key(key, path)


def _percent(found: re.Match[str]) -> str:
    return f"%{ord(found[0]):02X}"
