"""How arrays and groups are opened."""

from __future__ import annotations

import os
from typing import Any, Literal

from ringio import Reader

from ._array import Array
from ._cache import ShardIndexCache, default_cache
from ._errors import Place
from ._group import Group, make_node
from ._metadata import ArrayMetadata, GroupMetadata
from ._node import Options, ZarrFormat, find_metadata
from ._store import LocalStore, make_store, normalise_path

StoreLike = str | os.PathLike[str] | LocalStore


def open(  # noqa: A001  # as zarr.open
    store: StoreLike,
    *,
    path: str = "",
    mode: Literal["r"] = "r",
    zarr_format: ZarrFormat | None = None,
    reader: Reader | None = None,
    shard_index_cache_bytes: int | None = None,
) -> Array | Group:
    """Open an array or a group, whichever is there.

    Args:
        store: a path or a ``file://`` URL.
        path: of the array or group inside the store; ``open("a.zarr", path="x")`` is ``open("a.zarr/x")``.
        mode: "r", the only one: ringio_zarr does not write.
        zarr_format: 2 or 3; None: what is there, and 3 where both are.
        reader: does the work; None: one that the whole process shares.
        shard_index_cache_bytes: a cache of this size for the shard indexes of what is opened here; None: one of 64 MiB
            that the whole process shares.

    Raises:
        FileNotFoundError: there is no metadata document.
        MetadataError: the document contradicts itself or the specification; the message names it and the key.
        UnsupportedError: the document names a data type, codec or grid that ringio_zarr does not have.
        NotImplementedError: a URL of another scheme.

    Example:
        >>> import ringio_zarr
        >>> ringio_zarr.open("temperature.zarr")  # doctest: +SKIP
        <ringio_zarr.Array '/data/temperature.zarr' shape=(365, 721, 1440) dtype=<f4 chunks=(1, 721, 1440)>
    """
    place, inside, metadata, options = _find(store, path, mode, zarr_format, reader, shard_index_cache_bytes)
    return make_node(place, inside, metadata, options)


def open_array(
    store: StoreLike,
    *,
    path: str = "",
    mode: Literal["r"] = "r",
    zarr_format: ZarrFormat | None = None,
    reader: Reader | None = None,
    shard_index_cache_bytes: int | None = None,
) -> Array:
    """Open an array; everything as in :func:`open`.

    Raises:
        MetadataError: there is a group.
    """
    place, inside, metadata, options = _find(store, path, mode, zarr_format, reader, shard_index_cache_bytes)
    if not isinstance(metadata, ArrayMetadata):
        raise Place(metadata.path).error("this is a group, not an array")
    return Array(place, inside, metadata, options)


def open_group(
    store: StoreLike,
    *,
    path: str = "",
    mode: Literal["r"] = "r",
    zarr_format: ZarrFormat | None = None,
    reader: Reader | None = None,
    shard_index_cache_bytes: int | None = None,
) -> Group:
    """Open a group; everything as in :func:`open`.

    Raises:
        MetadataError: there is an array.
    """
    place, inside, metadata, options = _find(store, path, mode, zarr_format, reader, shard_index_cache_bytes)
    if not isinstance(metadata, GroupMetadata):
        raise Place(metadata.path).error("this is an array, not a group")
    return Group(place, inside, metadata, options)


def _find(
    store: Any,
    path: str,
    mode: str,
    zarr_format: ZarrFormat | None,
    reader: Reader | None,
    shard_index_cache_bytes: int | None,
) -> tuple[LocalStore, str, ArrayMetadata | GroupMetadata, Options]:
    if mode != "r":
        raise ValueError(f"mode {mode!r}: ringio_zarr only reads, the mode is 'r'")
    if zarr_format not in (None, 2, 3):
        raise ValueError(f"zarr_format {zarr_format!r}: expected 2, 3 or None")
    place, inside = make_store(store), normalise_path(path)
    cache = default_cache if shard_index_cache_bytes is None else ShardIndexCache(shard_index_cache_bytes)
    return place, inside, find_metadata(place, inside, zarr_format), Options(reader, cache)
