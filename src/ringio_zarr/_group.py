"""Groups: members, and the way down to them."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from ._array import Array
from ._errors import (
    ArrayNotFoundError,
    ContainsArrayError,
    ContainsGroupError,
    GroupNotFoundError,
    MetadataError,
    ZarrUserWarning,
)
from ._load import Loaded, documents, join, load, load_many
from ._metadata import ArrayMetadata, GroupMetadata
from ._node import Node, Options
from ._store_base import Store, normalise_path
from ._tree import Tree, draw

if TYPE_CHECKING:
    from ringio import Reader

    from ._cache import Cache
    from ._consolidated import Consolidated
    from ._info import GroupInfo


class Group(Node):
    """A Zarr group, read-only; made by :func:`ringio_zarr.open`.

    Members are looked for in the store each time, unless the group has consolidated metadata: then they are what that
    says, and the store is not asked. Those of a v2 group are v2, those of a v3 group v3.

    Example:
        >>> g = ringio_zarr.open("era5.zarr")  # doctest: +SKIP
        >>> list(g), g["surface/t2m"].shape  # doctest: +SKIP
        (['pressure', 'surface'], (8784, 721, 1440))
    """

    __slots__ = ("_consolidated", "_metadata", "_root")

    metadata_type = GroupMetadata

    def __init__(
        self,
        store: Store,
        path: str,
        metadata: GroupMetadata,
        options: Options,
        consolidated: Consolidated | None = None,
        root: str | None = None,
    ) -> None:
        super().__init__(store, path, metadata, options)
        self._metadata = metadata
        self._consolidated = consolidated
        self._root = path if root is None else root  # the group that has the consolidated metadata

    @classmethod
    def open(cls, store: Any, **options: Any) -> Group:
        """:func:`ringio_zarr.open_group`."""
        from ringio_zarr import open_group  # by its public name: it stands above this module

        return open_group(store, **options)

    @property
    def synchronizer(self) -> None:
        """None, as in zarr-python."""

    @property
    def metadata(self) -> GroupMetadata:
        """The metadata document, checked; with ``consolidated_metadata`` where that is used."""
        if self._consolidated is None:
            return self._metadata
        from ._consolidated import ConsolidatedMetadata  # late: most groups have none

        return self._metadata._replace(consolidated_metadata=ConsolidatedMetadata(self._consolidated))

    def __getitem__(self, path: str) -> Array | Group:
        """The array or group at a path below this group, e.g. ``"x"`` or ``"x/y"``.

        Raises:
            KeyError: there is nothing at this path.
            MetadataError: what is there cannot be read.
        """
        if not isinstance(path, str):
            raise TypeError(
                f"{self.location} is a group, whose members are named by strings, not {type(path).__name__}; "
                "open one of its arrays to index it"
            )
        member = self._open(path)
        if member is None:
            if self._consolidated is not None:
                hint = "use_consolidated=False looks for it in the store"
                raise KeyError(f"{path!r} is not in the consolidated metadata of {self.location}; {hint}")
            names = ", ".join(documents(self._zarr_format))
            raise KeyError(f"{path!r}: no array or group in {self.location} (looked for {names})")
        return member

    def __array__(self, *_: object, **__: object) -> NoReturn:
        raise TypeError(f"{self.location} is a group; open one of its arrays")

    def get(self, path: str, default: Any = None) -> Any:
        """The array or group at a path, or ``default`` where there is nothing."""
        try:
            return self[path]
        except KeyError:
            return default

    def get_array(self, path: str) -> Array:
        """The array at a path.

        Raises:
            ArrayNotFoundError: there is nothing; a ``ContainsGroupError``: there is a group.
        """
        member = self._open(path)
        if member is None:
            raise ArrayNotFoundError(errno.ENOENT, "no array here", self._store.location(join(self._path, path)))
        if isinstance(member, Group):
            raise ContainsGroupError(f"{member.location}: this is a group, not an array")
        return member

    def get_group(self, path: str) -> Group:
        """The group at a path.

        Raises:
            GroupNotFoundError: there is nothing; a ``ContainsArrayError``: there is an array.
        """
        member = self._open(path)
        if member is None:
            raise GroupNotFoundError(errno.ENOENT, "no group here", self._store.location(join(self._path, path)))
        if isinstance(member, Array):
            raise ContainsArrayError(f"{member.location}: this is an array, not a group")
        return member

    def __contains__(self, path: object) -> bool:
        if not isinstance(path, str):
            return False
        below = normalise_path(path)
        if self._consolidated is not None:
            return not below or self._consolidated.has(below)
        return self._is_node(join(self._path, below))

    def __iter__(self) -> Iterator[str]:
        return self.keys()

    def __len__(self) -> int:
        return self.nmembers()

    def keys(self) -> Iterator[str]:
        """The names of the members, sorted. Their metadata is not read."""
        if self._consolidated is not None:
            yield from self._consolidated.names()
        elif self._store.is_remote:
            for name, loaded in self._load_remote():
                if isinstance(loaded, OSError):  # nobody knows whether there is anything
                    raise loaded
                yield name
        else:
            for name in self._store.child_directories(self._path):
                if self._is_node(join(self._path, name)):
                    yield name

    def members(
        self, max_depth: int | None = 0, *, use_consolidated_for_children: bool = True
    ) -> tuple[tuple[str, Array | Group], ...]:
        """Paths below this group, and what is there.

        What cannot be read, like an array with an unknown codec or a damaged document, is left out with a warning, here
        and in :meth:`arrays` and :meth:`groups`; ``list(group)`` has its name, ``group[name]`` says why.

        Args:
            max_depth: 0 for the members alone, 1 for theirs too, …; None for all. What a link that leads back up goes
                to is not counted again.
            use_consolidated_for_children: whether consolidated metadata that stands in groups below is used.
        """
        _check_depth(max_depth)
        if not use_consolidated_for_children and self._consolidated is None:
            self = Group(self._store, self._path, self._metadata, self._options._replace(use_consolidated=False))
        return tuple(_walk(self, max_depth))

    def nmembers(self, max_depth: int | None = 0) -> int:
        """How many members there are, counted as in ``members``."""
        _check_depth(max_depth)
        if self._consolidated is not None:
            return self._consolidated.count(max_depth)
        return sum(1 for _ in self.keys()) if max_depth == 0 else len(self.members(max_depth))

    def arrays(self) -> Iterator[tuple[str, Array]]:
        """Names and arrays, of the members that are arrays."""
        for name, member in _walk(self, 0):
            if isinstance(member, Array):
                yield name, member

    def groups(self) -> Iterator[tuple[str, Group]]:
        """Names and groups, of the members that are groups."""
        for name, member in _walk(self, 0):
            if isinstance(member, Group):
                yield name, member

    def array_keys(self) -> Iterator[str]:
        """The names of the arrays."""
        return (name for name, _ in self.arrays())

    def array_values(self) -> Iterator[Array]:
        """The arrays."""
        return (array for _, array in self.arrays())

    def group_keys(self) -> Iterator[str]:
        """The names of the groups."""
        return (name for name, _ in self.groups())

    def group_values(self) -> Iterator[Group]:
        """The groups."""
        return (group for _, group in self.groups())

    def tree(
        self, expand: bool | None = None, level: int | None = None, *, max_nodes: int | None = 500, plain: bool = False
    ) -> Tree:
        """All that is below as text, with the shapes and dtypes of arrays.

        Args:
            expand: as in zarr-python, not to be given.
            level: how deep: 0 for the members alone, 1 for theirs too, …; None for all.
            max_nodes: how many arrays and groups are looked at, level by level; None for all.
            plain: nothing is bold, in notebooks and consoles either.
        """
        if expand is not None:
            raise NotImplementedError("'expand' is not supported, as in zarr-python")
        return draw(self, None if level is None else level + 1, max_nodes, plain=plain)

    @property
    def info(self) -> GroupInfo:
        """What the metadata says, as zarr-python shows it: members are counted where it is consolidated."""
        from ._info import GroupInfo

        info = GroupInfo(self._path, self._zarr_format, type(self._store).__name__)
        return info if self._consolidated is None else self._with_members(info)

    def info_complete(self) -> GroupInfo:
        """The same, with the number of arrays and groups below, at any depth."""
        return self._with_members(self.info)

    def _with_members(self, info: GroupInfo) -> GroupInfo:
        members = self.members(max_depth=None)
        arrays = sum(isinstance(member, Array) for _, member in members)
        return info._replace(count_members=len(members), count_arrays=arrays, count_groups=len(members) - arrays)

    def __repr__(self) -> str:
        return f"<ringio_zarr.Group {self.location!r}>"

    def _open(self, path: str) -> Array | Group | None:
        below = normalise_path(path)
        if not below:
            return self
        if self._consolidated is not None:
            return self._open_consolidated(self._consolidated, below)
        full = join(self._path, below)
        loaded = load(self._store, full, self._zarr_format, *self._how_of_members())
        return None if loaded is None else self._member(full, loaded)

    def _open_consolidated(self, consolidated: Consolidated, below: str) -> Array | Group | None:
        full = join(self._path, below)
        metadata = consolidated.metadata(below)
        if metadata is None:
            return None
        if isinstance(metadata, ArrayMetadata):
            return Array(self._store, full, metadata, self._options)
        return Group(self._store, full, metadata, self._options, consolidated.below(below), self._root)

    def _open_all(self) -> Iterator[tuple[str, Array | Group | MetadataError]]:
        """All members, and what is wrong with those that cannot be read."""
        if self._consolidated is None and self._store.is_remote:
            for name, loaded in self._load_remote():
                if isinstance(loaded, Loaded):
                    yield name, _attempt(partial(self._member, join(self._path, name), loaded))
                elif isinstance(loaded, MetadataError):
                    yield name, loaded
                else:
                    raise loaded
            return
        for name in self.keys():
            yield name, _attempt(partial(self.__getitem__, name))

    def _load_remote(self) -> list[tuple[str, Loaded | Exception]]:
        """What the documents of all members say: the store is asked for names, and for all documents at once."""
        names = self._store.child_directories(self._path, self._options.reader)
        paths = [join(self._path, name) for name in names]
        found = load_many(self._store, paths, self._zarr_format, *self._how_of_members())
        return [(name, loaded) for name, loaded in zip(names, found, strict=True) if loaded is not None]

    def _how_of_members(self) -> tuple[Reader | None, bool | None, Cache]:
        # Members have no document for consolidated metadata alone; what stands in that of v3 is used.
        use = False if self._zarr_format == 2 or self._options.use_consolidated is False else None
        return self._options.reader, use, self._options.cache

    def _member(self, path: str, loaded: Loaded) -> Array | Group:
        if self._options.use_consolidated is False:
            loaded = Loaded(loaded.metadata)
        return make_node(self._store, path, loaded, self._options)

    def _is_node(self, path: str) -> bool:
        keys = [join(path, name) for name in documents(self._zarr_format)]
        if self._store.is_remote:
            found = self._store.read_each(keys, self._options.reader)
            for each in found:
                if isinstance(each, OSError):
                    raise each
            return any(each is not None for each in found)
        return any(map(self._store.is_file, keys))

    def __reduce__(self) -> tuple[Any, ...]:
        make, arguments = super().__reduce__()
        return make, arguments if self._consolidated is None else (*arguments, self._root)


def _walk(group: Group, max_depth: int | None) -> Iterator[tuple[str, Array | Group]]:
    # No recursion: groups may be nested deeper than Python calls may be.
    above = [group.store.real_path(group.path)]
    levels = [("", group._open_all())]
    while levels:
        prefix, members = levels[-1]
        for name, member in members:
            if isinstance(member, MetadataError):
                warnings.warn(f"left out: {member}", ZarrUserWarning, stacklevel=4)
                continue
            path = join(prefix, name)
            yield path, member
            if (max_depth is None or len(levels) <= max_depth) and isinstance(member, Group):
                place = member.store.real_path_below(above[-1], member.path)
                if place not in above:
                    above.append(place)
                    levels.append((path, member._open_all()))
                    break
        else:
            levels.pop()
            above.pop()


def make_node(store: Store, path: str, loaded: Loaded, options: Options) -> Array | Group:
    """The array or group that has this metadata."""
    if isinstance(loaded.metadata, ArrayMetadata):
        return Array(store, path, loaded.metadata, options)
    return Group(store, path, loaded.metadata, options, loaded.consolidated)


def _attempt(make: Callable[[], Array | Group]) -> Array | Group | MetadataError:
    try:
        return make()
    except MetadataError as error:
        return error


def _check_depth(max_depth: int | None) -> None:
    if max_depth is not None and max_depth < 0:
        raise ValueError(f"max_depth must be None or >= 0. Got '{max_depth}' instead")
