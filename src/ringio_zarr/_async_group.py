"""``AsyncGroup``: a group whose members are awaited, with the names of zarr-python."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from ._array import Array
from ._async_array import AsyncArray
from ._group import Group
from ._info import GroupInfo
from ._open import open_group
from ._steps import in_thread
from ._tree import Tree


class AsyncGroup:
    """A Zarr group, read-only, for event loops; made by :meth:`open`.

    Documents are small: threads of the loop's executor read them. What takes no reading is at hand: ``attrs``,
    ``path``, ``metadata`` and all else that a ``Group`` has.

    Args:
        group: the same group for other threads.

    Example:
        >>> g = await AsyncGroup.open("era5.zarr")  # doctest: +SKIP
        >>> t2m = await g.getitem("surface/t2m")  # doctest: +SKIP
        >>> [name async for name in g.array_keys()]  # doctest: +SKIP
        ['latitude', 'longitude']
    """

    __slots__ = ("_group",)

    def __init__(self, group: Group) -> None:
        self._group = group

    @classmethod
    async def open(cls, store: Any, **options: Any) -> AsyncGroup:
        """Open a group; arguments and errors are those of :func:`ringio_zarr.open_group`."""
        return cls(await in_thread(lambda: open_group(store, **options)))

    @property
    def group(self) -> Group:
        """The same group for other threads."""
        return self._group

    async def getitem(self, key: str) -> AsyncArray | AsyncGroup:
        """The array or group at a path below this group.

        Raises:
            KeyError: there is nothing at this path.
        """
        return _async_node(await in_thread(lambda: self._group[key]))

    async def get(self, key: str, default: Any = None) -> Any:
        """The array or group at a path, or ``default`` where there is nothing."""
        try:
            return await self.getitem(key)
        except KeyError:
            return default

    async def contains(self, member: str) -> bool:
        """Whether there is an array or group at a path."""
        return await in_thread(lambda: member in self._group)

    async def keys(self) -> AsyncIterator[str]:
        """The names of the members. Their metadata is not read."""
        for name in await in_thread(lambda: list(self._group.keys())):
            yield name

    async def members(
        self, max_depth: int | None = 0, *, use_consolidated_for_children: bool = True
    ) -> AsyncIterator[tuple[str, AsyncArray | AsyncGroup]]:
        """Paths below this group and what is there, as ``Group.members``."""
        how = {"use_consolidated_for_children": use_consolidated_for_children}
        for name, node in await in_thread(lambda: self._group.members(max_depth, **how)):
            yield name, _async_node(node)

    async def nmembers(self, max_depth: int | None = 0) -> int:
        """How many members there are, counted as in ``members``."""
        return await in_thread(lambda: self._group.nmembers(max_depth))

    async def arrays(self) -> AsyncIterator[tuple[str, AsyncArray]]:
        """Names and arrays, of the members that are arrays."""
        for name, array in await in_thread(lambda: list(self._group.arrays())):
            yield name, AsyncArray(array)

    async def groups(self) -> AsyncIterator[tuple[str, AsyncGroup]]:
        """Names and groups, of the members that are groups."""
        for name, group in await in_thread(lambda: list(self._group.groups())):
            yield name, AsyncGroup(group)

    async def array_keys(self) -> AsyncIterator[str]:
        """The names of the arrays."""
        async for name, _ in self.arrays():
            yield name

    async def array_values(self) -> AsyncIterator[AsyncArray]:
        """The arrays."""
        async for _, array in self.arrays():
            yield array

    async def group_keys(self) -> AsyncIterator[str]:
        """The names of the groups."""
        async for name, _ in self.groups():
            yield name

    async def group_values(self) -> AsyncIterator[AsyncGroup]:
        """The groups."""
        async for _, group in self.groups():
            yield group

    async def get_array(self, path: str) -> AsyncArray:
        """The array at a path; errors are those of ``Group.get_array``."""
        return AsyncArray(await in_thread(lambda: self._group.get_array(path)))

    async def get_group(self, path: str) -> AsyncGroup:
        """The group at a path; errors are those of ``Group.get_group``."""
        return AsyncGroup(await in_thread(lambda: self._group.get_group(path)))

    async def tree(
        self, expand: bool | None = None, level: int | None = None, *, max_nodes: int | None = 500, plain: bool = False
    ) -> Tree:
        """All that is below as text, as ``Group.tree``."""
        return await in_thread(lambda: self._group.tree(expand, level, max_nodes=max_nodes, plain=plain))

    async def info_complete(self) -> GroupInfo:
        """As ``Group.info_complete``."""
        return await in_thread(self._group.info_complete)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # the group itself, while it is being unpickled
            raise AttributeError(name)
        return getattr(self._group, name)

    def __eq__(self, other: object) -> bool:
        return self._group == other._group if isinstance(other, AsyncGroup) else NotImplemented

    def __hash__(self) -> int:
        return hash((AsyncGroup, self._group))

    def __reduce__(self) -> tuple[Any, ...]:
        return AsyncGroup, (self._group,)

    def __repr__(self) -> str:
        return f"<AsyncGroup {self._group.location}>"


def _async_node(node: Array | Group) -> AsyncArray | AsyncGroup:
    return AsyncArray(node) if isinstance(node, Array) else AsyncGroup(node)
