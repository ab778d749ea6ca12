"""How arrays and groups are opened."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy.typing as npt

from ringio import Reader
from ringio.planning import NamedTuple

from ._array import Array
from ._cache import Cache, default_cache
from ._errors import (
    ArrayNotFoundError,
    ContainsArrayError,
    ContainsGroupError,
    GroupNotFoundError,
    MetadataError,
    NodeNotFoundError,
)
from ._group import Group, make_node
from ._load import Loaded, ZarrFormat, find, join
from ._metadata import ArrayMetadata
from ._node import Options
from ._store_base import Store, normalise_path
from ._stores import find_place
from ._tree import Tree

# A path or URL; a mapping from keys to bytes; a store of obspec, zarr-python or fsspec, which need not be installed.
StoreLike: TypeAlias = str | os.PathLike[str] | Mapping[str, Any] | Store | Any


def open(  # noqa: A001  # as zarr.open
    store: StoreLike,
    *,
    path: str | None = "",
    mode: Literal["r"] | None = "r",
    zarr_format: ZarrFormat | None = None,
    use_consolidated: bool | str | None = None,
    store_options: Mapping[str, object] | None = None,
    storage_options: Mapping[str, object] | None = None,
    reader: Reader | None = None,
    cache: Cache | None = None,
    shard_index_cache_bytes: int | None = None,
    allow_pickle: bool = False,
    **others: Any,
) -> Array | Group:
    """Open an array or a group, whichever is there.

    Args:
        store: a path, a URL (``file``, ``http``, ``https``, ``s3``, ``gs``, ``az``, ``abfs``, ``memory``), the path of
            a zip file, a mapping from keys to bytes, a store of obstore or of obspec, a store of zarr-python, or a
            mapping of fsspec.
        path: of the array or group inside the store; ``open("a.zarr", path="x")`` is ``open("a.zarr/x")``.
        mode: "r", the only one: ringio_zarr does not write.
        zarr_format: 2 or 3; None: what is there, and 3 where both are.
        use_consolidated: whether a group uses consolidated metadata: None: if there is some; True: it is an error if
            there is none; False: no; a string: the key of that of a v2 group, instead of ".zmetadata".
        store_options: for URLs: credentials, region, timeouts; see ``ringio.Reader``, which is not to be given then.
        storage_options: the same in the words of fsspec, as zarr-python takes it: ``{"anon": True}``. What has no word
            here goes to fsspec, which is slower.
        reader: does the work; None: one that the whole process shares.
        cache: keeps shard indexes and metadata; None: one of 64 MiB that the whole process shares.
        shard_index_cache_bytes: short for ``cache=Cache(shard_index_cache_bytes)``.
        allow_pickle: decode what codec ``pickle`` has encoded, which may run any code: for data that is trusted only.
        others: what else zarr-python takes and reading has no use for, such as ``synchronizer``; and of its ``config``
            the ``order`` of results and ``read_missing_chunks``.

    Raises:
        FileNotFoundError: there is no metadata document; of the kinds in ``ringio_zarr.errors``.
        PermissionError, ringio.StoreError: the store does not give it.
        MetadataError: the document contradicts itself or the specification; the message names it and the key.
        UnsupportedError: the document names a data type, codec or grid that ringio_zarr does not have.
        ValueError: arguments that make no sense; a URL of another scheme; no consolidated metadata, with
            ``use_consolidated=True``.
        TypeError: ``store`` is none of these.

    Example:
        >>> import ringio_zarr
        >>> ringio_zarr.open("temperature.zarr")  # doctest: +SKIP
        <ringio_zarr.Array '/data/temperature.zarr' shape=(365, 721, 1440) dtype=<f4 chunks=(1, 721, 1440)>
    """
    settings: dict[str, Any] = {}
    if storage_options or others:
        from ._adapted import adapt  # late: few give them

        store, store_options, settings = adapt(store, store_options, storage_options, others)
    options = _options(use_consolidated, store_options, reader, cache, shard_index_cache_bytes, allow_pickle, settings)
    found = _find(store, path, mode, zarr_format, options)
    return make_node(found.store, found.path, found.loaded, options)


def open_array(
    store: StoreLike,
    *,
    path: str | None = "",
    mode: Literal["r"] | None = "r",
    zarr_format: ZarrFormat | None = None,
    store_options: Mapping[str, object] | None = None,
    storage_options: Mapping[str, object] | None = None,
    reader: Reader | None = None,
    cache: Cache | None = None,
    shard_index_cache_bytes: int | None = None,
    allow_pickle: bool = False,
    **others: Any,
) -> Array:
    """Open an array; everything as in :func:`open`.

    Raises:
        ContainsGroupError: there is a group.
    """
    settings: dict[str, Any] = {}
    if storage_options or others:
        from ._adapted import adapt  # late: few give them

        store, store_options, settings = adapt(store, store_options, storage_options, others)
    options = _options(None, store_options, reader, cache, shard_index_cache_bytes, allow_pickle, settings)
    found = _find(store, path, mode, zarr_format, options, ArrayNotFoundError)
    metadata = found.loaded.metadata
    if not isinstance(metadata, ArrayMetadata):
        raise ContainsGroupError(f"{metadata.path}: this is a group, not an array")
    return Array(found.store, found.path, metadata, options)


def open_group(
    store: StoreLike,
    *,
    path: str | None = "",
    mode: Literal["r"] | None = "r",
    zarr_format: ZarrFormat | None = None,
    use_consolidated: bool | str | None = None,
    store_options: Mapping[str, object] | None = None,
    storage_options: Mapping[str, object] | None = None,
    reader: Reader | None = None,
    cache: Cache | None = None,
    shard_index_cache_bytes: int | None = None,
    allow_pickle: bool = False,
    **others: Any,
) -> Group:
    """Open a group; everything as in :func:`open`.

    Raises:
        ContainsArrayError: there is an array.
    """
    settings: dict[str, Any] = {}
    if storage_options or others:
        from ._adapted import adapt  # late: few give them

        store, store_options, settings = adapt(store, store_options, storage_options, others)
    options = _options(use_consolidated, store_options, reader, cache, shard_index_cache_bytes, allow_pickle, settings)
    found = _find(store, path, mode, zarr_format, options)
    node = make_node(found.store, found.path, found.loaded, options)
    if not isinstance(node, Group):
        raise ContainsArrayError(f"{found.loaded.metadata.path}: this is an array, not a group")
    return node


def open_consolidated(store: StoreLike, *, use_consolidated: Literal[True] = True, **options: Any) -> Group:
    """Open a group that must have consolidated metadata: :func:`open_group` with ``use_consolidated=True``.

    Raises:
        ValueError: it has none.
    """
    if use_consolidated is not True:
        raise TypeError(
            "'use_consolidated' must be 'True' in 'open_consolidated'. Use 'open' with "
            "'use_consolidated=False' to bypass consolidated metadata."
        )
    return open_group(store, use_consolidated=True, **options)


def load(
    store: StoreLike, path: str | None = None, zarr_format: ZarrFormat | None = None, **options: Any
) -> npt.NDArray[Any]:
    """The elements of an array, all of them: ``open(store, ...)[...]``; arguments and errors are those of :func:`open`.

    Raises:
        NotImplementedError: there is a group, as in zarr-python.
    """
    node = open(store, path=path, zarr_format=zarr_format, **options)
    if isinstance(node, Group):
        raise NotImplementedError(f"{node.location} is a group; open it, and read its arrays")
    result: npt.NDArray[Any] = node[...]
    return result


def tree(grp: Group, expand: bool | None = None, level: int | None = None) -> Tree:
    """``grp.tree(...)``, under the name that zarr-python has for it."""
    return grp.tree(expand, level)


class _Found(NamedTuple):
    store: Store
    path: str
    loaded: Loaded


def _options(
    use_consolidated: bool | str | None,
    store_options: Mapping[str, object] | None,
    reader: Reader | None,
    cache: Cache | None,
    shard_index_cache_bytes: int | None,
    allow_pickle: bool,
    settings: dict[str, Any],
) -> Options:
    if not isinstance(use_consolidated, bool | str | None):
        raise TypeError(f"use_consolidated is {use_consolidated!r}; True, False, None or a key is due")
    if reader is not None and not hasattr(reader, "execute"):  # what has a reader's methods is one
        raise TypeError(f"reader is {reader!r}; a ringio.Reader is due, or None for the one that the process shares")
    if not isinstance(cache, Cache | None):
        raise TypeError(f"cache is {cache!r}; a ringio_zarr.Cache is due, such as Cache(0) for none")
    if store_options:
        from ._readers import reader_with

        if reader is not None:
            raise ValueError("a reader has its own store_options: give one or the other")
        reader = reader_with(store_options)
    if shard_index_cache_bytes is not None:
        if cache is not None:
            raise ValueError("cache and shard_index_cache_bytes say the same thing: give one or the other")
        cache = Cache(shard_index_cache_bytes)
    options = Options(reader, default_cache if cache is None else cache, use_consolidated, allow_pickle)
    return options._replace(**settings) if settings else options


def _find(
    store: Any,
    path: str | None,
    mode: str | None,
    zarr_format: ZarrFormat | None,
    options: Options,
    missing: type[NodeNotFoundError] = GroupNotFoundError,
) -> _Found:
    if mode not in ("r", None):
        raise ValueError(f"mode {mode!r}: ringio_zarr only reads, the mode is 'r'")
    if zarr_format not in (None, 2, 3):
        raise MetadataError(f"zarr_format {zarr_format!r}: expected 2, 3 or None")
    place = find_place(store, options.reader)
    inside = join(place.path, normalise_path(path or "")).strip("/")
    how = options.reader, options.use_consolidated, options.cache
    loaded = find(place.store, inside, zarr_format, *how, missing=missing)
    return _Found(place.store, inside, loaded)
