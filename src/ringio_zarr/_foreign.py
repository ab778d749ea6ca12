"""Stores of other libraries: what they are is found out by their classes' names, so that none has to be installed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ._store import LocalStore
from ._store_base import Store, normalise_path


def find_foreign(location: Any) -> tuple[Store, str] | None:
    """The store for something that is no path, and where in it; None: nobody knows what it is."""
    kinds = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(location).__mro__}
    if "zarr.StorePath" in kinds:
        store, path = find_foreign(location.store) or (None, "")
        return None if store is None else (store, normalise_path(f"{path}/{location.path}"))
    if "zarr.Store" in kinds:
        return _of_zarr(location), ""
    if "fsspec.FSMap" in kinds:
        return _of_fsspec(location.fs, location.root, location), ""
    if "upath.UPath" in kinds or "upath.JoinablePath" in kinds:
        return _of_fsspec(location.fs, location.path, location), ""
    if isinstance(location, Mapping):
        from ._mapping import MappingStore

        return MappingStore(location), ""
    if callable(getattr(location, "get_ranges", None)):
        return _of_obspec(location, location), ""
    return None


def _of_zarr(store: Any) -> Store:
    """A store of zarr-python. Of its own ones it is known what is behind them; of others they are asked."""
    name = type(store).__name__ if type(store).__module__.startswith("zarr.") else ""
    if name == "LocalStore":
        return LocalStore(store.root)
    if name in ("MemoryStore", "ManagedMemoryStore", "GpuMemoryStore"):
        from ._mapping import Below, MappingStore

        path = getattr(store, "path", "")  # of what memory://name/path means to zarr-python
        return MappingStore(Below(store._store_dict, path) if path else store._store_dict, store)
    # A zip file that is being written has no directory yet: the store is asked.
    if name == "ZipStore" and store.read_only and isinstance(getattr(store, "path", None), str | os.PathLike):
        from ._zip import ZipStore

        return ZipStore(store.path)
    if name == "ObjectStore":
        return _of_obspec(store.store, store)
    if name == "FsspecStore" and (local := _local_root(store.fs, store.path)) is not None:
        return LocalStore(local)
    from ._bridge import ZarrStoreBridge
    from ._remote import RemoteStore

    # Most say where they are, some of them in these brackets and with their class.
    said = str(store)
    root = said if said.startswith("<") else f"<{type(store).__name__} {said}>"
    return RemoteStore(root, ZarrStoreBridge(store), store)


def _of_obspec(store: Any, original: Any) -> Store:
    name = f"{type(store).__module__}.{type(store).__name__}"
    prefix = getattr(store, "prefix", None)
    if name == "obstore.store.LocalStore" and prefix is not None:
        return LocalStore(prefix)
    if name == "ringio._store.Store" and isinstance(prefix, str) and "://" not in prefix:
        return LocalStore(prefix)
    from ._remote import RemoteStore

    return RemoteStore(f"<{type(store).__name__}>", store, original)


def _of_fsspec(fs: Any, root: str, original: Any) -> Store:
    if (local := _local_root(fs, root)) is not None:
        return LocalStore(local)
    from ._bridge import FsspecBridge
    from ._remote import RemoteStore

    protocol = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
    # Some file systems have URLs for paths: http.
    name = root.strip("/") if "://" in root else f"{protocol}://{root.strip('/')}"
    return RemoteStore(f"<{name}>", FsspecBridge(fs, root), original)


def _local_root(fs: Any, root: str) -> str | None:
    """The folder, where the file system is just the local one."""
    fs = getattr(fs, "sync_fs", fs)  # inside a wrapper that makes it asynchronous
    if f"{type(fs).__module__}.{type(fs).__name__}" != "fsspec.implementations.local.LocalFileSystem":
        return None
    return str(fs._strip_protocol(root))
