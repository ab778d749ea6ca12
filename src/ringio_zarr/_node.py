"""What arrays and groups have in common: a place in a store, attributes, and how they are read."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn, TypeAlias

from ringio import Reader, default_reader
from ringio.planning import NamedTuple

from ._absent import why_not
from ._cache import Cache, default_cache
from ._errors import Place
from ._load import Loaded, ZarrFormat, find
from ._metadata import ArrayMetadata, GroupMetadata
from ._store_base import Store, StorePath

MemoryOrder: TypeAlias = Literal["C", "F"] | None


class Options(NamedTuple):
    """How arrays are read; a group hands its own on to its members.

    Attributes:
        reader: does the work; None: the reader that the whole process shares.
        cache: keeps shard indexes and metadata.
        use_consolidated: whether groups use consolidated metadata, as zarr-python has it.
        allow_pickle: run what pickled data says.
        order: of results of v3 arrays in memory, "C" or "F"; None: "C".
        read_missing_chunks: whether chunks that are not stored are fill value; else they are an error.
    """

    reader: Reader | None = None
    cache: Cache = default_cache
    use_consolidated: bool | str | None = None
    allow_pickle: bool = False
    order: MemoryOrder = None
    read_missing_chunks: bool = True

    def get_reader(self) -> Reader:
        """The reader."""
        return default_reader() if self.reader is None else self.reader

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Options):
            return NotImplemented
        return self._configuration() == other._configuration()

    def _configuration(self) -> tuple[object, ...]:
        # What a reader pickles as is how it is configured.
        return (
            self.cache.configuration(),
            self.reader and self.reader.__reduce__(),
            self.use_consolidated,
            self.allow_pickle,
            self.order,
            self.read_missing_chunks,
        )

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

    if not TYPE_CHECKING:  # checkers of types say by themselves that there is no such thing

        def __setitem__(self, key: str, value: object) -> NoReturn:
            _refuse_item(self, "assignment")

        def __delitem__(self, key: str) -> NoReturn:
            _refuse_item(self, "deletion")


class Node:
    """An array or a group at a place in a store.

    Two of them are equal when they are of one kind, at one place, and read in one way. Pickled, a node is its place and
    its options, and its metadata is read again where it is unpickled.
    """

    __slots__ = ("__weakref__", "_attributes", "_options", "_path", "_store", "_zarr_format")

    metadata_type: ClassVar[type]  # what a node of this kind is made from

    def __init__(self, store: Store, path: str, metadata: ArrayMetadata | GroupMetadata, options: Options) -> None:
        self._store = store
        self._path = path
        self._options = options
        self._zarr_format = metadata.zarr_format
        self._attributes = Attributes(metadata.attributes)

    @property
    def store(self) -> Store:
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
    def store_path(self) -> StorePath:
        """Where it is: a store and a path in it, which :func:`ringio_zarr.open` takes; printed, a URL."""
        return StorePath(self._store, self._path)

    @property
    def location(self) -> str:
        """The directory of this node, or its URL."""
        return self._store.location(self._path)

    def refresh(self) -> None:
        """Read the metadata anew, and forget what is known of all below: what others wrote meanwhile is seen.

        Not to be called while other threads read from this object.

        Raises:
            As :func:`ringio_zarr.open`; then all is as it was.
        """
        self._store.refresh()
        self._options.cache.forget(self.location)
        self._become(_reopen(*self.__reduce__()[1]))

    def _become(self, other: Node) -> None:
        for kind in type(self).__mro__:
            for name in getattr(kind, "__slots__", ()):
                if name != "__weakref__":
                    setattr(self, name, getattr(other, name))

    def __getattr__(self, name: str) -> NoReturn:  # for what is not there
        problem = f"{type(self).__name__!r} object has no attribute {name!r}{why_not(name)}"
        raise AttributeError(problem, name=name, obj=self)

    if not TYPE_CHECKING:  # as of Attributes

        def __setitem__(self, selection: object, value: object) -> NoReturn:
            _refuse_item(self, "assignment")

        def __delitem__(self, selection: object) -> NoReturn:
            _refuse_item(self, "deletion")

    def _key(self) -> tuple[object, ...]:
        return type(self), self._store, self._path, self._zarr_format, self._options

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Node) else NotImplemented

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (type(self), self._store, self._path, self._zarr_format, self._options)

    def __hash__(self) -> int:
        return hash(self._key())


def _refuse_item(owner: object, what: str) -> NoReturn:
    raise TypeError(f"{type(owner).__name__!r} object does not support item {what}{why_not('save')}")


def _reopen(
    kind: Any, store: Store, path: str, zarr_format: ZarrFormat, options: Options, root: str | None = None
) -> Any:
    """Unpickle a node.

    Args:
        kind: its class.
        store: that it is in.
        path: there.
        zarr_format: 2 or 3.
        options: how it is read.
        root: the group whose consolidated metadata a group is from; None: there is none.
    """
    how = options.reader, options.use_consolidated, options.cache
    loaded = find(store, path if root is None else root, zarr_format, *how)
    if root is not None and loaded.consolidated is not None and root != path:
        below = path[len(root) :].strip("/")
        metadata = loaded.consolidated.metadata(below)
        if metadata is None:
            raise FileNotFoundError(errno.ENOENT, "no such node in the consolidated metadata", store.location(path))
        loaded = Loaded(metadata, loaded.consolidated.below(below))
    elif root is not None and root != path:
        loaded = find(store, path, zarr_format, *how)
    metadata = loaded.metadata
    if not isinstance(metadata, kind.metadata_type):
        raise Place(metadata.path).error(f"was {kind.__name__.lower()} when it was pickled, and is not now")
    if loaded.consolidated is None or isinstance(metadata, ArrayMetadata):
        return kind(store, path, metadata, options)
    return kind(store, path, metadata, options, loaded.consolidated, root)
