"""Zarr v2 and v3 arrays, read in batches by ``ringio``.

Example:
    >>> import ringio_zarr
    >>> a = ringio_zarr.open("temperature.zarr")  # doctest: +SKIP
    >>> a[0, 100:228, 200:328]  # doctest: +SKIP
    >>> a.read_crops(starts, (4, 128, 128))  # doctest: +SKIP
"""

from typing import TYPE_CHECKING

from ._array import Array
from ._cache import ShardIndexCache as Cache
from ._errors import MetadataError, UnsupportedError
from ._group import Group
from ._open import open, open_array, open_consolidated, open_group  # noqa: A004  # as zarr.open
from ._selection import BoundsCheckError, VindexInvalidSelectionError

if TYPE_CHECKING:
    from ._async_array import AsyncArray
    from ._async_group import AsyncGroup
    from ._open_async import open_array_async, open_async, open_group_async

__all__ = [
    "Array",
    "AsyncArray",
    "AsyncGroup",
    "BoundsCheckError",
    "Cache",
    "Group",
    "MetadataError",
    "UnsupportedError",
    "VindexInvalidSelectionError",
    "open",
    "open_array",
    "open_array_async",
    "open_async",
    "open_consolidated",
    "open_group",
    "open_group_async",
]

_LATE = {
    "AsyncArray": "_async_array",
    "AsyncGroup": "_async_group",
    "open_array_async": "_open_async",
    "open_async": "_open_async",
    "open_group_async": "_open_async",
}


def __getattr__(name: str) -> object:
    # Imported at first use: many programs await nothing.
    if name not in _LATE:
        raise AttributeError(f"module 'ringio_zarr' has no attribute {name!r}")
    from importlib import import_module

    found: object = getattr(import_module(f".{_LATE[name]}", __name__), name)
    globals()[name] = found
    return found
