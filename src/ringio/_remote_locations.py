"""What there is at a URL, as obstore's stores say it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ._entries import Entry, is_quoted, join, relative
from ._errors import STORE_FAILED, STORE_NOT_FOUND, RingioError, StoreError, store_failure
from ._paths import scheme_of
from ._reader import Reader
from ._store_errors import sort_out


def look_up(url: str, reader: Reader) -> Entry:
    """The object at a URL, or the folder: a prefix that objects have."""
    root, key = _split(url)
    with _system_errors(url):
        store = _store_of(root, reader)
        if key:
            try:
                return _entry(root, store.head(key))
            except Exception as error:
                if not isinstance(_as_system_error(error, url), FileNotFoundError) or is_quoted(url):
                    raise
        found = store.list_with_delimiter(key or None)
        if key and not found["objects"] and not found["common_prefixes"]:
            raise FileNotFoundError(errno.ENOENT, "no such object", url)
    return Entry(url, "directory")


def list_folder(url: str, reader: Reader) -> list[Entry]:
    """The objects and folders right below a URL."""
    root, key = _split(url)
    with _system_errors(url), _errors_of_lists(url):
        found = _store_of(root, reader).list_with_delimiter(key or None)
    folders = [Entry(join(root, prefix), "directory") for prefix in found["common_prefixes"]]
    return sorted([*folders, *(_entry(root, meta) for meta in found["objects"])], key=lambda entry: entry.name)


def walk(url: str, reader: Reader) -> Iterator[Entry]:
    """All objects below a URL, in the order in which the store gives them."""
    root, key = _split(url)
    with _system_errors(url), _errors_of_lists(url):
        for chunk in _store_of(root, reader).list(key or None):
            for meta in chunk:
                yield _entry(root, meta)


def _split(url: str) -> tuple[str, str]:
    """Where the store is, and the key in it.

    >>> _split("https://host/a%20b"), _split("s3://bucket/a b?c/d")
    (('https://host', 'a b'), ('s3://bucket', 'a b?c/d'))
    """
    scheme, _, rest = url.partition("://")
    host, _, path = rest.partition("/")
    root = f"{scheme}://{host}"
    return root, relative(root, f"{root}/{path}").rstrip("/")


def _entry(root: str, meta: Any) -> Entry:
    name = join(root, meta["path"])
    return Entry(name, "file", meta["size"], meta["last_modified"], meta["e_tag"], meta.get("version"))


def _store_of(root: str, reader: Reader) -> Any:
    return reader.store_of(join(root, "x"))  # any key: an origin has one store


@contextmanager
def _errors_of_lists(url: str) -> Iterator[None]:
    """Plain HTTP has no lists; obstore asks for one in the way of WebDAV, which few servers know."""
    try:
        yield
    except Exception as error:
        if scheme_of(url) not in ("http", "https") or isinstance(_as_system_error(error, url), PermissionError):
            raise
        text = f"a server of plain HTTP, without WebDAV, does not say what there is ({sort_out(error).text})"
        raise StoreError(errno.EIO, text, url) from error


@contextmanager
def _system_errors(url: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        known = _as_system_error(error, url)
        if known is error:
            raise
        raise known from error


def _as_system_error(error: Exception, url: str) -> Exception:
    if isinstance(error, RingioError | ValueError) or (isinstance(error, OSError) and error.filename is not None):
        return error
    problem = sort_out(error)
    if problem.status in (STORE_FAILED, STORE_NOT_FOUND):
        return store_failure(problem.status, problem.text, url)
    return OSError(problem.status, problem.text, url)  # Python picks FileNotFoundError and its like by the number
