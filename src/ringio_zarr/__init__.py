"""Zarr v2 and v3 arrays, read in batches by ``ringio``.

Example:
    >>> import ringio_zarr
    >>> a = ringio_zarr.open("temperature.zarr")  # doctest: +SKIP
    >>> a[0, 100:228, 200:328]  # doctest: +SKIP
    >>> a.read_crops(starts, (4, 128, 128))  # doctest: +SKIP
"""

from ._array import Array
from ._cache import ShardIndexCache as Cache
from ._errors import MetadataError, UnsupportedError
from ._group import Group
from ._open import open, open_array, open_consolidated, open_group  # noqa: A004  # as zarr.open
from ._selection import BoundsCheckError, VindexInvalidSelectionError

__all__ = [
    "Array",
    "BoundsCheckError",
    "Cache",
    "Group",
    "MetadataError",
    "UnsupportedError",
    "VindexInvalidSelectionError",
    "open",
    "open_array",
    "open_consolidated",
    "open_group",
]
