"""Which way the chunks of an array are found: chosen once, by the store and the codecs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Final

from ._cache import Cache
from ._chain import Pipeline
from ._locate import FilePerChunk, Locator, ShardLocator
from ._metadata import ArrayMetadata
from ._store import ChunkFiles, LocalStore
from ._store_base import Store, StorePath

# What a shard may have beside its chunks and indexes: writers may leave gaps, and chunks that were written anew.
_SHARD_GAPS_NBYTES: Final = 1 << 20
_SHARD_FACTOR: Final = 2


def make_locator(
    store: Store,
    path: str,
    metadata: ArrayMetadata,
    pipeline: Pipeline,
    grid_shape: Sequence[int],
    cache: Cache,
    describe: Callable[[int], str],
) -> Locator:
    """What finds the chunks of an array.

    Args:
        store: that they are in.
        path: of the array in the store.
        metadata: of the array.
        pipeline: of the same array.
        grid_shape: outer chunks along each dimension.
        cache: keeps shard indexes.
        describe: names an innermost chunk by its id, for messages.
    """
    if pipeline.wrapper:
        from ._wrapped import WrappedStore

        store = WrappedStore(store, pipeline.wrapper)
    files = ChunkFiles(path if _has_parts(store) else store.location(path), metadata.chunk_keys, grid_shape)
    locator = _make(store, files, pipeline, cache, describe)
    if metadata.read_missing_chunks:
        return locator
    from ._insisting import Insisting  # late: few ask for that

    ids_per_file = prod(level.entry_count for level in pipeline.levels)
    array = str(StorePath(store, path))
    return Insisting(locator, store, files, _limit_nbytes(pipeline), ids_per_file, metadata.chunk_keys, array)


def _make(store: Store, files: ChunkFiles, pipeline: Pipeline, cache: Cache, describe: Callable[[int], str]) -> Locator:
    if isinstance(store, LocalStore):
        return ShardLocator(files, pipeline, cache, describe) if pipeline.levels else FilePerChunk(files)
    from ._parts import PartStore  # late, as all that most programs can do without
    from ._remote import RemoteStore

    if isinstance(store, RemoteStore):
        from ._locate_objects import ObjectPerChunk, ObjectShardLocator

        if pipeline.levels:
            return ObjectShardLocator(store, files, pipeline, cache, describe)
        return ObjectPerChunk(store, files)
    assert isinstance(store, PartStore), store
    from ._locate_parts import PartPerChunk, PartShardLocator

    if pipeline.levels:
        return PartShardLocator(store, files, pipeline, cache, _limit_nbytes(pipeline), describe)
    return PartPerChunk(store, files, _limit_nbytes(pipeline), describe)


def _has_parts(store: Store) -> bool:
    """Whether chunks are asked for by their keys, and not by their locations."""
    if isinstance(store, LocalStore):
        return False
    from ._remote import RemoteStore  # late, as above

    return not isinstance(store, RemoteStore)


def _limit_nbytes(pipeline: Pipeline) -> int:
    """Larger chunks and shards are not taken into memory: a small zip file may inflate to anything."""
    if not pipeline.levels:
        return pipeline.compiled.encoded_nbytes_max
    count, nbytes = 1, 0
    for level in pipeline.levels:
        nbytes += count * level.index_nbytes
        count *= level.entry_count
    return _SHARD_GAPS_NBYTES + _SHARD_FACTOR * (nbytes + count * pipeline.compiled.encoded_nbytes_max)
