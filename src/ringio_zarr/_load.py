"""From a place in a store to what the metadata documents there say."""

from __future__ import annotations

import errno
import re
import time
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from ringio import DecodeError, Reader, RingioError, codecs
from ringio.planning import NamedTuple

from ._cache import Cache
from ._document import copied, parse_json, require
from ._errors import GroupNotFoundError, NodeNotFoundError, Place, excerpt
from ._known import FileState, Known, NodeKey, file_state
from ._metadata import ArrayMetadata, GroupMetadata, parse_array_metadata, parse_group_metadata
from ._store import LocalStore
from ._store_base import URL_SCHEMES, Store, checked

if TYPE_CHECKING:
    from ._consolidated import Consolidated

ZarrFormat = Literal[2, 3]
V2_KEY: Final = ".zmetadata"  # of consolidated metadata


class Loaded(NamedTuple):
    """What the documents at a path say.

    Attributes:
        metadata: of the array or group.
        consolidated: that of the nodes below a group, where it is there and wanted.
    """

    metadata: ArrayMetadata | GroupMetadata
    consolidated: Consolidated | None = None

    def own(self) -> Loaded:
        """The same with attributes of its own: users may change what is in theirs."""
        return self._replace(metadata=self.metadata._replace(attributes=copied(self.metadata.attributes)))


def load(
    store: Store,
    path: str,
    zarr_format: ZarrFormat | None,
    reader: Reader | None = None,
    use_consolidated: bool | str | None = False,
    cache: Cache | None = None,
) -> Loaded | None:
    """What the documents at a path say, None where there are none. A v3 document comes first.

    Args:
        store: that has them.
        path: in the store.
        zarr_format: 2, 3, or None for either.
        reader: does it, where the store needs one.
        use_consolidated: True: it is an error where there is none; False: it is ignored; None: it is used where it is
            there; a string: the key of that of a v2 group.
        cache: knows it perhaps, and will.

    Raises:
        MetadataError, UnsupportedError: what stands there cannot be read; the message names document and key.
        OSError: a document is there and cannot be opened.
        ValueError: there is no consolidated metadata.
    """
    memory = _Memory(cache, store, zarr_format, reader, use_consolidated)
    if (known := memory.recall(path)) is not None:
        return known
    found = _Documents(store, path, zarr_format, _v2_key(use_consolidated), reader)
    return memory.keep(found, _parse(found, zarr_format, use_consolidated))


def load_many(
    store: Store,
    paths: Sequence[str],
    zarr_format: ZarrFormat | None,
    reader: Reader | None,
    use_consolidated: bool | None = None,
    cache: Cache | None = None,
) -> list[Loaded | Exception | None]:
    """The same for many nodes, whose documents are read at once; what cannot be read is an exception in its place."""
    memory = _Memory(cache, store, zarr_format, reader, use_consolidated)
    loaded: dict[str, Loaded | Exception | None] = {path: memory.recall(path) for path in paths}
    for found in _Documents.many(store, [path for path in paths if loaded[path] is None], zarr_format, reader):
        try:
            loaded[found.path] = memory.keep(found, _parse(found, zarr_format, use_consolidated))
        except (RingioError, OSError) as error:
            loaded[found.path] = error
    return [loaded[path] for path in paths]


def load_metadata(
    store: Store, path: str, zarr_format: ZarrFormat | None, reader: Reader | None = None
) -> ArrayMetadata | GroupMetadata | None:
    """The metadata of the array or group at a path, None where there is neither; see :func:`load`."""
    loaded = load(store, path, zarr_format, reader)
    return None if loaded is None else loaded.metadata


def find(
    store: Store,
    path: str,
    zarr_format: ZarrFormat | None,
    reader: Reader | None = None,
    use_consolidated: bool | str | None = False,
    cache: Cache | None = None,
    missing: type[NodeNotFoundError] = GroupNotFoundError,
) -> Loaded:
    """The same, but it is an error where there are none; see :func:`load`.

    Raises:
        NodeNotFoundError: there is no document; the message says which were looked for. It is the one in ``missing``.
    """
    loaded = load(store, path, zarr_format, reader, use_consolidated, cache)
    if loaded is None:
        where = store.location(path)
        if not store.exists(path, reader):
            raise missing(errno.ENOENT, f"there is nothing at this path{_hint(where)}", where)
        names = ", ".join(documents(zarr_format))
        raise missing(errno.ENOENT, f"no Zarr array or group here (looked for {names})", where)
    return loaded


def _hint(path: str) -> str:
    """What may have been meant by a path where there is nothing."""
    if "~" in path:
        return "; ~ stands for your home only in a shell: os.path.expanduser()"
    found = re.search(rf"/({'|'.join(URL_SCHEMES)}):/", path)  # made absolute, and without doubled slashes
    return f"; a URL begins with {found[1]}://, with two slashes" if found else ""


def find_metadata(
    store: Store, path: str, zarr_format: ZarrFormat | None, reader: Reader | None = None
) -> ArrayMetadata | GroupMetadata:
    """The metadata of the array or group at a path; see :func:`find`."""
    return find(store, path, zarr_format, reader).metadata


def documents(zarr_format: ZarrFormat | None) -> tuple[str, ...]:
    """The names of the documents that make a directory an array or a group."""
    return {3: ("zarr.json",), 2: (".zarray", ".zgroup"), None: ("zarr.json", ".zarray", ".zgroup")}[zarr_format]


def join(path: str, name: str) -> str:
    """A path below a path."""
    return f"{path}/{name}" if path else name


class _Memory:
    """What a cache knows of nodes that are asked for in one way."""

    __slots__ = ("_cache", "_how", "_store")

    def __init__(
        self,
        cache: Cache | None,
        store: Store,
        zarr_format: ZarrFormat | None,
        reader: Reader | None,
        use_consolidated: bool | str | None,
    ) -> None:
        # What other stores have is at hand, or nothing says whether it is still the same.
        self._cache = cache
        if cache is not None and not (cache.metadata_max_age_s != 0 if store.is_remote else _is_local(store)):
            self._cache = None
        self._store = store
        asked_by = weakref.ref(reader) if reader is not None and store.is_remote else None
        self._how = store.name, asked_by, zarr_format, use_consolidated, codecs.registration_count()

    def recall(self, path: str) -> Loaded | None:
        """What the documents at a path say; None: it is not known."""
        if self._cache is None:
            return None
        known: Loaded | None = self._cache.get_node(self._key(path))
        return known and known.own()

    def keep(self, found: _Documents, loaded: Loaded | None) -> Loaded | None:
        """What was read just now is known from now on."""
        if self._cache is None or loaded is None:
            return loaded
        known = Known.of(loaded, found.files, found.nbytes, found.since_s)
        if known is None:
            return loaded
        self._cache.put_node(self._key(found.path), known)
        return loaded.own()

    def _key(self, path: str) -> NodeKey:
        return NodeKey(self._store.location(path), *self._how)


class _Documents:
    """The documents at a path, read when they are wanted; where that takes a while, all at once.

    Attributes:
        path: this.
        files: what was looked for on a local file system, as it was before it was read.
        nbytes: that were found.
        since_s: when they were asked for.
    """

    __slots__ = ("_data", "_reader", "_store", "files", "nbytes", "path", "since_s")

    def __init__(
        self,
        store: Store,
        path: str,
        zarr_format: ZarrFormat | None,
        consolidated_key: str | None,
        reader: Reader | None,
        data: dict[str, bytes | Exception | None] | None = None,
        since_s: float | None = None,
    ) -> None:
        self._store = store
        self._reader = reader
        self.path = path
        self._data = data
        self.files: dict[str, FileState] = {}
        self.nbytes = 0
        self.since_s = time.monotonic() if since_s is None else since_s
        if store.is_remote and data is None:
            names = _names(zarr_format)
            if consolidated_key is not None and zarr_format != 3:
                names = (*names, consolidated_key)
            self._data = dict(zip(names, store.read_each([join(path, name) for name in names], reader), strict=True))

    @staticmethod
    def many(
        store: Store, paths: Sequence[str], zarr_format: ZarrFormat | None, reader: Reader | None
    ) -> list[_Documents]:
        """Those at many paths."""
        names, since_s = _names(zarr_format), time.monotonic()
        data = iter(store.read_each([join(path, name) for path in paths for name in names], reader))
        return [
            _Documents(store, path, zarr_format, None, reader, {name: next(data) for name in names}, since_s)
            for path in paths
        ]

    def json(self, name: str) -> tuple[dict[str, Any], str] | None:
        """A document, and where it is."""
        key = join(self.path, name)
        where = self._store.location(key)
        if _is_local(self._store):
            self.files[where] = file_state(where)
        try:
            data = self._store.read(key, self._reader) if self._data is None else checked(self._data[name])
        except DecodeError as error:  # of a compressed member of a zip file
            raise Place(where).error(str(error).removeprefix(f"{where}: ")) from error
        if data is None:
            return None
        self.nbytes += len(data)
        return parse_json(data, where), where

    def has(self, name: str) -> bool:
        """Whether a document of this name is among those that are looked for."""
        return self._data is None or name in self._data

    @property
    def location(self) -> str:
        """Where they are."""
        return self._store.location(self.path)


def _is_local(store: Store) -> bool:
    return isinstance(store, LocalStore)


def _names(zarr_format: ZarrFormat | None) -> tuple[str, ...]:
    names = documents(zarr_format)
    return names if zarr_format == 3 else (*names, ".zattrs")


def _v2_key(use_consolidated: bool | str | None) -> str | None:
    if isinstance(use_consolidated, str):
        return use_consolidated
    return None if use_consolidated is False else V2_KEY


def _parse(found: _Documents, zarr_format: ZarrFormat | None, use_consolidated: bool | str | None) -> Loaded | None:
    if zarr_format in (None, 3) and (document := found.json("zarr.json")) is not None:
        if use_consolidated is False:
            document[0].pop("consolidated_metadata", None)
        metadata = _parse_v3(*document)
        if isinstance(metadata, ArrayMetadata):
            return Loaded(metadata)
        if isinstance(use_consolidated, str):
            raise TypeError("use_consolidated must be a bool or None for Zarr format 3.")
        consolidated = None
        if metadata.consolidated is not None:
            from ._consolidated import consolidated_v3  # late: most groups have none

            consolidated = consolidated_v3(metadata)
        if use_consolidated and consolidated is None:
            raise _no_consolidated(found, "zarr.json")
        return Loaded(metadata, consolidated)
    if zarr_format in (None, 2):
        if (document := found.json(".zarray")) is not None:
            attributes = found.json(".zattrs")
            return Loaded(
                parse_array_metadata(
                    document[0], zarr_format=2, attributes=attributes and attributes[0], path=document[1]
                )
            )
        if (document := found.json(".zgroup")) is not None:
            attributes = found.json(".zattrs")
            group = parse_group_metadata(
                document[0], zarr_format=2, attributes=attributes and attributes[0], path=document[1]
            )
            return Loaded(group, _parse_consolidated_v2(found, use_consolidated))
    return None


def _parse_consolidated_v2(found: _Documents, use_consolidated: bool | str | None) -> Consolidated | None:
    key = _v2_key(use_consolidated)
    if key is None or not found.has(key):
        return None
    document = found.json(key)
    if document is None:
        if use_consolidated:
            raise _no_consolidated(found, key)
        return None
    from ._consolidated import consolidated_v2  # late: most groups have none

    return consolidated_v2(*document)


def _no_consolidated(found: _Documents, key: str) -> ValueError:
    return ValueError(
        "Consolidated metadata requested with 'use_consolidated=True' but not found in "
        f"{found.location!r} (looked into {key})"
    )


def _parse_v3(document: dict[str, Any], where: str) -> ArrayMetadata | GroupMetadata:
    node_type = require(document, "node_type", Place(where))
    if node_type == "array":
        return parse_array_metadata(document, zarr_format=3, path=where)
    if node_type == "group":
        return parse_group_metadata(document, zarr_format=3, path=where)
    raise Place(where, "node_type").error(f"expected 'array' or 'group', got {excerpt(node_type)}")
