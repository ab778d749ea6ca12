"""Zarr v2 and v3 arrays, read in batches by ``ringio``.

Example:
    >>> import ringio_zarr
    >>> a = ringio_zarr.open("temperature.zarr")  # doctest: +SKIP
    >>> a[0, 100:228, 200:328]  # doctest: +SKIP
    >>> a.read_crops(starts, (4, 128, 128))  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

# Where it cannot be imported that is said now, and it wants to know of forks from the beginning.
from ringio import __version__

if TYPE_CHECKING:
    from . import errors, storage
    from ._array import Array
    from ._async_array import AsyncArray
    from ._async_group import AsyncGroup
    from ._cache import Cache
    from ._errors import MetadataError, UnsupportedError
    from ._group import Group
    from ._open import load, open, open_array, open_consolidated, open_group, tree  # noqa: A004  # as zarr.open
    from ._open_async import open_array_async, open_async, open_group_async
    from ._selection import BoundsCheckError, VindexInvalidSelectionError

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
    "__version__",
    "errors",
    "load",
    "open",
    "open_array",
    "open_array_async",
    "open_async",
    "open_consolidated",
    "open_group",
    "open_group_async",
    "storage",
    "tree",
]

# All else is imported when it is first used: where each name is.
_LATE: Final = {
    "Array": "_array",
    "AsyncArray": "_async_array",
    "AsyncGroup": "_async_group",
    "BoundsCheckError": "_selection",
    "Cache": "_cache",
    "Group": "_group",
    "MetadataError": "_errors",
    "UnsupportedError": "_errors",
    "VindexInvalidSelectionError": "_selection",
    "load": "_open",
    "open": "_open",
    "open_array": "_open",
    "open_array_async": "_open_async",
    "open_async": "_open_async",
    "open_consolidated": "_open",
    "open_group": "_open",
    "open_group_async": "_open_async",
    "tree": "_open",
}
_MODULES: Final = ("errors", "storage")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if not TYPE_CHECKING:  # for type checkers there is what is imported above, and nothing else

    def __getattr__(name: str) -> Any:
        if name in _MODULES:
            return import_module(f".{name}", __name__)
        if name not in _LATE:
            why_not = import_module("._absent", __name__).why_not
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}{why_not(name)}")
        found = getattr(import_module(f".{_LATE[name]}", __name__), name)
        globals()[name] = found
        return found
