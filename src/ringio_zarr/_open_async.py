"""How arrays and groups are opened in event loops: by a thread of the loop's executor, which reads their documents."""

from __future__ import annotations

from typing import Any

from ._array import Array
from ._group import Group
from ._open import open as open_node
from ._open import open_array, open_group
from ._steps import in_thread


async def open_async(store: Any, **options: Any) -> Array | Group:
    """:func:`ringio_zarr.open` for an event loop: same arguments, same result, same errors.

    What it gives has reads that are awaited (``await a.read_async(selection)``) beside those that are not.
    """
    return await in_thread(lambda: open_node(store, **options))


async def open_array_async(store: Any, **options: Any) -> Array:
    """:func:`ringio_zarr.open_array` for an event loop: same arguments, same result, same errors."""
    return await in_thread(lambda: open_array(store, **options))


async def open_group_async(store: Any, **options: Any) -> Group:
    """:func:`ringio_zarr.open_group` for an event loop: same arguments, same result, same errors."""
    return await in_thread(lambda: open_group(store, **options))
