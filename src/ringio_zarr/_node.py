"""What arrays and groups have in common: a place in a store, attributes, and how they are read."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, NamedTuple

from ringio import Reader, default_reader

from ._cache import ShardIndexCache, default_cache
from ._document import parse_json, require
from ._errors import Place, excerpt
from ._metadata import ArrayMetadata, GroupMetadata, parse_array_metadata, parse_group_metadata
from ._store import LocalStore

ZarrFormat = Literal[2, 3]


class Options(NamedTuple):
    """How arrays are read; a group hands its own on to its members.

    Attributes:
        reader: does the work; None: the reader that the whole process shares.
        cache: keeps shard indexes.
    """

    reader: Reader | None = None
    cache: ShardIndexCache = default_cache

    def get_reader(self) -> Reader:
        """The reader."""
        return self.reader or default_reader()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Options):
            return NotImplemented
        return self._configuration() == other._configuration()

    def _configuration(self) -> tuple[object, ...]:
        # What a reader pickles as is how it is configured.
        return self.cache.capacity_bytes, self.reader and self.reader.__reduce__()

    def __hash__(self) -> int:
        return hash(self.cache.capacity_bytes)


class Attributes(Mapping[str, Any]):
    """The attributes of an array or group: a mapping that cannot be changed."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def asdict(self) -> dict[str, Any]:
        """A copy as a dict."""
        return dict(self._values)

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __repr__(self) -> str:
        return f"Attributes({self._values!r})"


class Node:
    """An array or a group at a place in a store.

    Two of them are equal when they are of one kind, at one place, and read in one way. Pickled, a node is its place and
    its options, and its metadata is read again where it is unpickled.
    """

    __slots__ = ("__weakref__", "_attributes", "_options", "_path", "_store", "_zarr_format")

    metadata_type: ClassVar[type]  # what a node of this kind is made from

    def __init__(self, store: LocalStore, path: str, metadata: ArrayMetadata | GroupMetadata, options: Options) -> None:
        self._store = store
        self._path = path
        self._options = options
        self._zarr_format = metadata.zarr_format
        self._attributes = Attributes(metadata.attributes)

    @property
    def store(self) -> LocalStore:
        """The store."""
        return self._store

    @property
    def path(self) -> str:
        """The path inside the store; empty for its root."""
        return self._path

    @property
    def name(self) -> str:
        """The path with a slash in front."""
        return f"/{self._path}"

    @property
    def basename(self) -> str:
        """The last part of the path."""
        return self._path.rpartition("/")[2]

    @property
    def attrs(self) -> Attributes:
        """The user's attributes."""
        return self._attributes

    @property
    def zarr_format(self) -> ZarrFormat:
        """2 or 3."""
        return self._zarr_format

    @property
    def read_only(self) -> bool:
        """True: ringio_zarr does not write."""
        return True

    @property
    def location(self) -> str:
        """The directory of this node."""
        return self._store.file_path(self._path)

    def _key(self) -> tuple[object, ...]:
        return type(self), self._store, self._path, self._zarr_format, self._options

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Node) else NotImplemented

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (type(self), self._store, self._path, self._zarr_format, self._options)

    def __hash__(self) -> int:
        return hash(self._key())


def load_metadata(store: LocalStore, path: str, zarr_format: ZarrFormat | None) -> ArrayMetadata | GroupMetadata | None:
    """The metadata of the array or group at a path, None where there is neither. A v3 document comes first.

    Raises:
        MetadataError, UnsupportedError: what stands there cannot be read; the message names document and key.
        OSError: a document is there and cannot be opened.
    """
    if zarr_format in (None, 3) and (document := _read_json(store, path, "zarr.json")) is not None:
        return _parse_v3(*document)
    if zarr_format in (None, 2):
        if (document := _read_json(store, path, ".zarray")) is not None:
            return parse_array_metadata(
                document[0], zarr_format=2, attributes=_read_attributes(store, path), path=document[1]
            )
        if (document := _read_json(store, path, ".zgroup")) is not None:
            return parse_group_metadata(
                document[0], zarr_format=2, attributes=_read_attributes(store, path), path=document[1]
            )
    return None


def find_metadata(store: LocalStore, path: str, zarr_format: ZarrFormat | None) -> ArrayMetadata | GroupMetadata:
    """The same, but it is an error where there is neither.

    Raises:
        FileNotFoundError: there is no document; the message says which were looked for.
    """
    metadata = load_metadata(store, path, zarr_format)
    if metadata is None:
        where = store.file_path(path)
        from pathlib import Path

        if not Path(where).exists():
            hint = "; ~ stands for your home only in a shell: os.path.expanduser()" if "~" in where else ""
            raise FileNotFoundError(errno.ENOENT, f"there is nothing at this path{hint}", where)
        names = ", ".join(documents(zarr_format))
        raise FileNotFoundError(errno.ENOENT, f"no Zarr array or group here (looked for {names})", where)
    return metadata


def documents(zarr_format: ZarrFormat | None) -> tuple[str, ...]:
    """The names of the documents that make a directory an array or a group."""
    return {3: ("zarr.json",), 2: (".zarray", ".zgroup"), None: ("zarr.json", ".zarray", ".zgroup")}[zarr_format]


def join(path: str, name: str) -> str:
    """A path below a path."""
    return f"{path}/{name}" if path else name


def _reopen(kind: Any, store: LocalStore, path: str, zarr_format: ZarrFormat, options: Options) -> Any:
    """Unpickle a node."""
    metadata = find_metadata(store, path, zarr_format)
    if not isinstance(metadata, kind.metadata_type):
        raise Place(metadata.path).error(f"was {kind.__name__.lower()} when it was pickled, and is not now")
    return kind(store, path, metadata, options)


def _parse_v3(document: dict[str, Any], where: str) -> ArrayMetadata | GroupMetadata:
    node_type = require(document, "node_type", Place(where))
    if node_type == "array":
        return parse_array_metadata(document, zarr_format=3, path=where)
    if node_type == "group":
        return parse_group_metadata(document, zarr_format=3, path=where)
    raise Place(where, "node_type").error(f"expected 'array' or 'group', got {excerpt(node_type)}")


def _read_json(store: LocalStore, path: str, name: str) -> tuple[dict[str, Any], str] | None:
    """A document, and where it is."""
    key = join(path, name)
    data = store.read(key)
    where = store.file_path(key)
    return None if data is None else (parse_json(data, where), where)


def _read_attributes(store: LocalStore, path: str) -> dict[str, Any] | None:
    document = _read_json(store, path, ".zattrs")
    return None if document is None else document[0]
