"""Groups: members, and the way down to them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn, TypeGuard

from ._array import Array
from ._errors import UnsupportedError
from ._metadata import ArrayMetadata, GroupMetadata
from ._node import Node, Options, documents, join, load_metadata
from ._store import LocalStore, normalise_path

if TYPE_CHECKING:
    from ._info import GroupInfo


class Group(Node):
    """A Zarr group, read-only; made by :func:`ringio_zarr.open`.

    Members are looked for in the file system each time. Those of a v2 group are v2, those of a v3 group v3.

    Example:
        >>> g = ringio_zarr.open("era5.zarr")  # doctest: +SKIP
        >>> list(g), g["surface/t2m"].shape  # doctest: +SKIP
        (['pressure', 'surface'], (8784, 721, 1440))
    """

    __slots__ = ("_metadata",)

    metadata_type = GroupMetadata

    def __init__(self, store: LocalStore, path: str, metadata: GroupMetadata, options: Options) -> None:
        super().__init__(store, path, metadata, options)
        self._metadata = metadata

    @property
    def metadata(self) -> GroupMetadata:
        """The metadata document, checked."""
        return self._metadata

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

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and self._is_node(join(self._path, normalise_path(path)))

    def __iter__(self) -> Iterator[str]:
        return self.keys()

    def __len__(self) -> int:
        return self.nmembers()

    def keys(self) -> Iterator[str]:
        """The names of the members, sorted. Their metadata is not read."""
        for name in self._store.child_directories(self._path):
            if self._is_node(join(self._path, name)):
                yield name

    def members(self, max_depth: int | None = 0) -> tuple[tuple[str, Array | Group], ...]:
        """Paths below this group, and what is there.

        What cannot be read, like an array of variable-length strings, is left out with a warning, here and in
        :meth:`arrays` and :meth:`groups`; ``list(group)`` has its name, ``group[name]`` says why.

        Args:
            max_depth: 0 for the members alone, 1 for theirs too, …; None for all. What a link that leads back up goes
                to is not counted again.
        """
        return tuple(_walk(self, "", max_depth))

    def nmembers(self, max_depth: int | None = 0) -> int:
        """How many members there are, counted as in ``members``."""
        return sum(1 for _ in self.keys()) if max_depth == 0 else len(self.members(max_depth))

    def arrays(self) -> Iterator[tuple[str, Array]]:
        """Names and arrays, of the members that are arrays."""
        for name, member in _walk(self, "", 0):
            if isinstance(member, Array):
                yield name, member

    def groups(self) -> Iterator[tuple[str, Group]]:
        """Names and groups, of the members that are groups."""
        for name, member in _walk(self, "", 0):
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

    def tree(self, level: int | None = None) -> Tree:
        """All that is below as text, with the shapes and dtypes of arrays.

        Args:
            level: how deep; None for all.
        """
        return Tree("\n".join([self.name, *_tree_lines(self, level, "")]))

    @property
    def info(self) -> GroupInfo:
        """What the metadata says, as zarr-python shows it."""
        from ._info import GroupInfo

        return GroupInfo(self._path, self._zarr_format, type(self._store).__name__)

    def info_complete(self) -> GroupInfo:
        """The same, with the number of arrays and groups below, at any depth."""
        members = self.members(max_depth=None)
        arrays = sum(isinstance(member, Array) for _, member in members)
        return self.info._replace(count_members=len(members), count_arrays=arrays, count_groups=len(members) - arrays)

    def __repr__(self) -> str:
        return f"<ringio_zarr.Group {self.location!r}>"

    def _open(self, path: str) -> Array | Group | None:
        below = normalise_path(path)
        if not below:
            return self
        full = join(self._path, below)
        metadata = load_metadata(self._store, full, self._zarr_format)
        return None if metadata is None else make_node(self._store, full, metadata, self._options)

    def _is_node(self, path: str) -> bool:
        return any(self._store.is_file(join(path, name)) for name in documents(self._zarr_format))


def _walk(
    group: Group, prefix: str, max_depth: int | None, above: tuple[str, ...] = ()
) -> Iterator[tuple[str, Array | Group]]:
    way = (*above, group.store.real_path(group.path))
    for name in group:
        try:
            member = group[name]
        except UnsupportedError as error:
            warnings.warn(f"left out: {error}", stacklevel=4)
            continue
        yield join(prefix, name), member
        if max_depth != 0 and _goes_on(member, way):
            yield from _walk(member, join(prefix, name), None if max_depth is None else max_depth - 1, way)


def _tree_lines(group: Group, level: int | None, indent: str, above: tuple[str, ...] = ()) -> Iterator[str]:
    way = (*above, group.store.real_path(group.path))
    names = list(group) if level != 0 else []
    for name in names:
        branch, below = ("└── ", "    ") if name == names[-1] else ("├── ", "│   ")
        try:
            member = group[name]
        except UnsupportedError as error:
            yield f"{indent}{branch}{name} ({str(error).rpartition(': ')[2]})"
            continue
        text = f" {member.shape} {member.dtype}" if isinstance(member, Array) else ""
        yield f"{indent}{branch}{name}{text}"
        if _goes_on(member, way):
            yield from _tree_lines(member, None if level is None else level - 1, indent + below, way)


def _goes_on(member: Array | Group, way: tuple[str, ...]) -> TypeGuard[Group]:
    """Whether there is more below: not in a link that leads back to where we come from, and from there round again."""
    return isinstance(member, Group) and member.store.real_path(member.path) not in way


class Tree:
    """A tree as text, which notebooks and consoles show as it is."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text

    __repr__ = __str__


def make_node(store: LocalStore, path: str, metadata: ArrayMetadata | GroupMetadata, options: Options) -> Array | Group:
    """The array or group that has this metadata."""
    if isinstance(metadata, ArrayMetadata):
        return Array(store, path, metadata, options)
    return Group(store, path, metadata, options)
