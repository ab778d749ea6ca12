"""Stores of zarr-python and mappings of fsspec, in the words of obspec, which ringio's threads for objects speak.

Each thread waits for its own answers, so as many requests are in flight as there are threads.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from ringio.planning import NamedTuple

T = TypeVar("T")

# What file systems of fsspec call these, the surest first.
_E_TAGS: Final = ("ETag", "etag", "e_tag")
_TIMES: Final = ("mtime", "LastModified", "last_modified", "Last-Modified", "updated", "modified", "created")


class Whole(NamedTuple):
    """What ``get`` gives: an object, read already."""

    data: Any

    def buffer(self) -> Any:
        """All its bytes."""
        return self.data


class Unread:
    """What ``get`` gives where the size is at hand: an object that is read only if somebody wants its bytes.

    Args:
        nbytes: its size.
        read: gives all its bytes.
    """

    __slots__ = ("_read", "meta")

    def __init__(self, nbytes: int, read: Callable[[], Any]) -> None:
        self.meta = {"size": nbytes, "e_tag": None, "last_modified": None, "version": None}
        self._read = read

    def buffer(self) -> Any:
        """All its bytes."""
        return self._read()


class ZarrStoreBridge:
    """A store of zarr-python, whose coroutines run in the event loop that zarr-python has for its own blocking calls.

    Args:
        store: the store.
    """

    __slots__ = ("_has_sync", "_prototype", "_sizes", "_store")

    def __init__(self, store: Any) -> None:
        from zarr.core.buffer import default_buffer_prototype

        self._store = store
        self._prototype = default_buffer_prototype()
        self._has_sync = _has_sync(store)
        self._sizes = _knows_sizes(store)

    def check_caller(self) -> None:
        """Whether the calling thread may wait for answers.

        Raises:
            RuntimeError: it runs the event loop that they come from.
        """
        from zarr.core.sync import loop

        _refuse(loop[0], "zarr-python")

    def get(self, path: str) -> Whole:
        """All of an object.

        Raises:
            FileNotFoundError: there is none.
        """
        if self._has_sync:
            found = self._store.get_sync(path, prototype=self._prototype)
        else:
            found = _sync(self._store.get(path, self._prototype))
        return Whole(_bytes_of(found, path))

    def get_ranges(self, path: str, *, starts: Sequence[int], ends: Sequence[int]) -> list[Any]:
        """Ranges of an object, all at once."""
        from zarr.abc.store import RangeByteRequest

        wanted = [RangeByteRequest(start, end) for start, end in zip(starts, ends, strict=True)]

        async def gather() -> list[Any]:
            import asyncio

            return await asyncio.gather(*[self._store.get(path, self._prototype, each) for each in wanted])

        return [_bytes_of(found, path) for found in _sync(gather())]

    def head(self, path: str) -> dict[str, Any]:
        """The size of an object, which is all that is known."""
        return {"size": _sync(self._sizes.getsize(path)), "e_tag": None, "last_modified": None, "version": None}

    def list_with_delimiter(self, prefix: str | None = None) -> dict[str, Any]:
        """What is directly below a prefix. Files are listed with folders: the store does not tell them apart."""
        if not self._store.supports_listing:
            raise NotImplementedError(f"{type(self._store).__name__} does not list what it has")
        return {"common_prefixes": list(_sync(_collected(self._store.list_dir(prefix or "")))), "objects": []}

    def list(self, prefix: str | None = None) -> Iterator[list[dict[str, Any]]]:
        """All objects below a prefix, with their sizes."""
        if not self._store.supports_listing:
            raise NotImplementedError(f"{type(self._store).__name__} does not list what it has")
        top = f"{prefix}/" if prefix else ""
        for name in _sync(_collected(self._store.list_prefix(top))):
            yield [{"path": name, "size": _sync(self._sizes.getsize(name))}]


class FsspecBridge:
    """A file system of fsspec, and a folder in it.

    Args:
        fs: the file system.
        root: the folder.
    """

    __slots__ = ("_fs", "_has_sizes", "_root")

    def __init__(self, fs: Any, root: str) -> None:
        if getattr(fs, "async_impl", False) and getattr(fs, "asynchronous", False):
            # Made for coroutines, whose blocking methods refuse to work: one with the same options that works.
            fs = type(fs)(*fs.storage_args, **{**fs.storage_options, "asynchronous": False})
        self._fs = fs
        self._root = root.rstrip("/")
        # Archives have a directory in memory. Others would have to be asked for each size, one more request.
        # A range of as many bytes as make sense would need no size, but goes on behind the object in reference://.
        self._has_sizes = any(kind.__name__ == "AbstractArchiveFileSystem" for kind in type(fs).__mro__)
        if self._has_sizes:
            fs.exists("")  # fills the directory: of several threads that find it empty, some would see half of it

    def check_caller(self) -> None:
        """Whether the calling thread may wait for answers.

        Raises:
            RuntimeError: it runs the event loop that they come from.
        """
        if getattr(self._fs, "async_impl", False):
            _refuse(self._fs.loop, "fsspec")

    def get(self, path: str) -> Whole | Unread:
        """All of an object."""
        full = self._full(path)
        if self._has_sizes and (nbytes := self._fs.info(full)["size"]) is not None:
            return Unread(nbytes, partial(self._fs.cat_file, full))
        return Whole(self._fs.cat_file(full))

    def get_ranges(self, path: str, *, starts: Sequence[int], ends: Sequence[int]) -> list[Any]:
        """Ranges of an object, all at once."""
        paths = [self._full(path)] * len(starts)
        found = self._fs.cat_ranges(paths, list(starts), list(ends), on_error="raise")
        return list(found)

    def head(self, path: str) -> dict[str, Any]:
        """The size of an object, and what tells its state from others as far as the file system says."""
        full = self._full(path)
        self._fs.invalidate_cache(full.rpartition("/")[0])  # not what a listing said long ago
        info = self._fs.info(full)
        if info["size"] is None:
            raise OSError(f"fsspec does not know the size of {full}")
        return {
            "size": info["size"],
            "e_tag": _first(info, _E_TAGS),
            "last_modified": _first(info, _TIMES),
            "version": None,
        }

    def list_with_delimiter(self, prefix: str | None = None) -> dict[str, Any]:
        """What is directly below a prefix."""
        self._fs.invalidate_cache(self._full(prefix or ""))
        entries = self._fs.ls(self._full(prefix or ""), detail=True)
        return {"common_prefixes": [each["name"] for each in entries if each["type"] == "directory"], "objects": []}

    def list(self, prefix: str | None = None) -> Iterator[list[dict[str, Any]]]:
        """All files below a prefix, with their sizes."""
        start = len(self._root) + 1 if self._root else 0
        found = self._fs.find(self._full(prefix or ""), detail=True)
        yield [{"path": name[start:], "size": info["size"] or 0} for name, info in found.items()]

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}" if self._root and path else self._root or path


def _has_sync(store: Any) -> bool:
    """Whether ``get_sync`` does what ``get`` does: one class has both, and so it is with each store that is wrapped.

    A wrapper that overrides ``get`` alone inherits a ``get_sync`` that goes past it.
    """
    from zarr.storage import WrapperStore

    if not getattr(store, "_supports_sync_io", True):
        return False
    names = {"get", "get_sync"}
    found = next((names & vars(each).keys() for each in type(store).__mro__ if names & vars(each).keys()), set())
    return found == names and (not isinstance(store, WrapperStore) or _has_sync(store._store))


def _knows_sizes(store: Any) -> Any:
    """The store that is asked for sizes: where a wrapper does not change the bytes, what it is wrapped around.

    A wrapper inherits a ``getsize`` that reads all of an object to see how long it is.
    """
    from zarr.abc.store import Store
    from zarr.storage import WrapperStore

    while isinstance(store, WrapperStore) and type(store).getsize is Store.getsize and not _changes_bytes(type(store)):
        store = store._store
    return store


def _changes_bytes(kind: type) -> bool:
    """Whether there may be other bytes in a wrapper than in the store inside it: nobody knows what a ``get`` does."""
    return any("get" in vars(each) and not each.__module__.startswith("zarr.") for each in kind.__mro__)


def _refuse(loop: Any, whose: str) -> None:
    import asyncio

    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        return  # none is
    if running is loop:
        raise RuntimeError(
            f"a coroutine in {whose}'s own event loop waits for a store that answers in that loop, which never ends: "
            "await the read (read_async, open_async), or read in another thread"
        )


def _first(info: Any, names: Sequence[str]) -> Any:
    return next((info[name] for name in names if info.get(name) is not None), None)


def _sync(coroutine: Coroutine[Any, Any, T]) -> T:
    from zarr.core.sync import sync

    return sync(coroutine)


async def _collected(names: Any) -> list[str]:
    return [name async for name in names]


def _bytes_of(found: Any, path: str) -> Any:
    if found is None:
        raise FileNotFoundError(2, "no such object", path)
    return found.as_numpy_array()
