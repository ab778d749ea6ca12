"""Which store a user means: a path, a URL, a mapping, or a store of some other library."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Final

from ringio.planning import NamedTuple

from ._errors import excerpt
from ._store import LocalStore
from ._store_base import URL_SCHEMES, Store, StorePath

if TYPE_CHECKING:
    from ringio import Reader

_URL: Final = r"([A-Za-z][A-Za-z0-9+.-]*)://"


class Place(NamedTuple):
    """A place in a store.

    Attributes:
        store: the store.
        path: inside it.
    """

    store: Store
    path: str = ""


def find_place(location: Any, reader: Reader | None = None) -> Place:
    """The store that a user names, and where in it.

    Args:
        location: a path, a ``file://`` URL or another; the path of a zip file, and what is below it; a mapping from
            keys to bytes; a store of obstore, or with obspec's ``get_ranges``; a store of zarr-python; a mapping of
            fsspec.
        reader: looks whether there is a zip file at a URL that says so; None: the shared one.

    Raises:
        ValueError: a URL that names nothing that can be read.
        TypeError: none of these.

    >>> find_place("file:///data/a%20b.zarr").store, find_place("s3://bucket/a.zarr/").store
    (LocalStore('/data/a b.zarr'), RemoteStore('s3://bucket/a.zarr'))
    """
    if isinstance(location, str):
        if "://" in location:
            if "::" in location.partition("://")[0]:
                return _of_fsspec(location, "chained URLs are read with fsspec, which does not know this one")
            if match := re.match(_URL, location):
                return _of_url(location, match[1].lower(), reader)
        return _of_path(location)
    if isinstance(location, Store):
        return Place(location)
    if isinstance(location, StorePath):
        return Place(location.store, location.path)
    if isinstance(location, os.PathLike):
        path = os.fspath(location)
        if not isinstance(path, str):
            raise TypeError(f"expected a path as str, got {excerpt(path)}")
        return _of_path(path)
    from ._foreign import find_foreign  # late: most programs give paths

    found = find_foreign(location)
    if found is None:
        raise TypeError(f"expected a path, a URL, a mapping or a store, got {type(location).__name__}")
    return Place(*found)


def make_store(location: Any) -> Store:
    """The same, for what is the root of a store."""
    return find_place(location).store


def _of_path(path: str) -> Place:
    if ".zip" in path and (inside := _zip_file(path)) is not None:
        from ._zip import ZipStore

        return Place(ZipStore(inside[0]), inside[1])
    return Place(LocalStore(path))


def _zip_file(path: str) -> tuple[str, str] | None:
    """A zip file that is the path, or above it, and what is left of the path."""
    end = path.find(".zip")
    while end != -1:
        end += len(".zip")
        if path[end : end + 1] in ("", "/") and os.path.isfile(path[:end]):  # noqa: PTH113  # pathlib takes 3 ms
            return path[:end], path[end:].strip("/")
        end = path.find(".zip", end)
    return None


def _zip_object(url: str, scheme: str, reader: Reader | None) -> Place | None:
    from ._zip_remote import find_zip

    found = find_zip(url.rstrip("/"), reader)
    if found is None:
        return None
    store, path = found
    if scheme.startswith("http"):
        from urllib.parse import unquote

        path = unquote(path)
    return Place(store, path)


def _of_url(url: str, scheme: str, reader: Reader | None) -> Place:
    if scheme != "file":
        if scheme not in URL_SCHEMES:
            return _of_fsspec(
                url,
                f"{scheme}:// is not supported; http, https, s3, gs, az, abfs, memory, file and what fsspec has are",
            )
        if "?" in url or "#" in url:
            raise ValueError(
                f"{excerpt(url.partition('?')[0])}: a URL with '?' or '#' names one object, not all that is below it; "
                "credentials are given with store_options="
            )
        if ".zip" in url and (inside := _zip_object(url, scheme, reader)) is not None:
            return inside
        from ._remote import RemoteStore

        return Place(RemoteStore(url.rstrip("/")))
    from urllib.parse import unquote, urlsplit  # late: with all that it imports, it takes 3 ms

    parts = urlsplit(url)
    if parts.netloc.lower() not in ("", "localhost"):
        raise ValueError(f"{excerpt(url)}: a file:// URL of the host {parts.netloc!r}")
    if parts.query or parts.fragment:
        raise ValueError(f"{excerpt(url)}: '?' and '#' of a file name are written %3F and %23 in a URL")
    return _of_path(unquote(parts.path))


def _of_fsspec(url: str, problem: str) -> Place:
    """What only fsspec has, where it is installed and knows it."""
    try:
        import fsspec
    except ImportError:
        raise ValueError(f"{excerpt(url)}: {problem} (pip install fsspec)") from None
    if url.partition("::")[0].partition("://")[0] not in fsspec.available_protocols():
        raise ValueError(f"{excerpt(url)}: {problem}")
    try:
        mapper = fsspec.get_mapper(url)
    except ImportError as error:  # of a package that a scheme needs
        raise ValueError(f"{excerpt(url)}: {problem}: {error}") from error
    return find_place(mapper)
