"""From the codecs of an array to what reads it: levels of shards, and the codec chain of the innermost chunks."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Final, Literal

import numpy as np

from ringio import UnsupportedCodecError, codecs
from ringio.planning import NamedTuple

from ._codecs import Codec
from ._errors import Place
from ._grid import c_strides, grid_shape, unpermute
from ._metadata import ArrayMetadata

_INDEX_ENTRY_NBYTES: Final = 16  # offset and nbytes, u64 each
_MAX_INT64: Final = 2**63 - 1


class Level(NamedTuple):
    """One level of shards: how a chunk of the grid around it is cut into inner chunks.

    Attributes:
        chunk_shape: elements of an inner chunk along each array dimension.
        grid_shape: inner chunks per outer chunk along each array dimension.
        id_strides: for each array dimension, the step in the shard index from one inner chunk to the next. The index is
            in C order of the *stored* dimensions, which a transpose outside the shard permutes.
        entry_count: inner chunks per outer chunk.
        index_location: where in the shard its index stands.
        index_chain: decodes the index.
        index_compiled: the same for an index of this size, as (entry_count, 2) little-endian u64: offset, nbytes.
        index_nbytes: size of the encoded index.
    """

    chunk_shape: tuple[int, ...]
    grid_shape: tuple[int, ...]
    id_strides: tuple[int, ...]
    entry_count: int
    index_location: Literal["start", "end"]
    index_chain: codecs.Chain
    index_compiled: codecs.CompiledChain
    index_nbytes: int


class Pipeline(NamedTuple):
    """How the chunks of an array are found in its files and decoded.

    Attributes:
        levels: of shards, outermost first; none where the chunks are files of their own.
        chain: decodes an innermost chunk.
        compiled: the same for chunks of this array.
        chunk_shape: elements of an innermost chunk along each array dimension.
        chunk_strides: bytes between neighbours along each array dimension in a decoded innermost chunk, whatever
            transposes there are, outside and inside the shards.
        wrapper: codecs around each outermost shard, in the order of encoding, for ``ringio.codecs.chain``.
    """

    levels: tuple[Level, ...]
    chain: codecs.Chain
    compiled: codecs.CompiledChain
    chunk_shape: tuple[int, ...]
    chunk_strides: tuple[int, ...]
    wrapper: tuple[Any, ...] = ()


def build_pipeline(metadata: ArrayMetadata) -> Pipeline:
    """Work out how an array's chunks are found and decoded.

    Raises:
        UnsupportedError: a codec that is not there; more chunks than can be numbered with an int64.
        MetadataError: inner chunks that do not divide their shard; a chunk too large to exist.
    """
    order = tuple(range(metadata.ndim))  # stored dimension k is array dimension order[k]
    chunk_shape = metadata.chunk_shape
    levels: list[Level] = []
    wrapper: tuple[Any, ...] = ()
    steps = metadata.codecs
    place = Place(metadata.path, "codecs")
    while True:
        sharding = next((i for i, step in enumerate(steps) if step["name"] == "sharding_indexed"), None)
        if sharding is None:
            break
        # What codecs are put around, other than transposes in front and those of bytes behind the outermost shards, is
        # decoded as a whole.
        if any(step["name"] != "transpose" for step in steps[:sharding]) or (levels and sharding + 1 < len(steps)):
            break
        for step in steps[:sharding]:
            order = tuple(order[dimension] for dimension in step["configuration"]["order"])
        if around := steps[sharding + 1 :]:
            wrapper = _made(around, place, metadata, sharding + 1)
            _chain(around, place, metadata, sharding + 1)  # so that what is wrong is said here
        inside = place.at(sharding).at("configuration")
        level = _build_level(steps[sharding], chunk_shape, order, inside, metadata)
        levels.append(level)
        chunk_shape = level.chunk_shape
        steps = steps[sharding]["configuration"]["codecs"]
        place = inside.at("codecs")
    nbytes = prod(chunk_shape) * metadata.dtype.itemsize
    if nbytes > _MAX_INT64:
        raise place.error(f"a chunk of {'x'.join(map(str, chunk_shape))} elements has {nbytes} bytes")
    # A dimension of no elements counts as one chunk, so that the strides of the grid stay small too.
    grid = [max(length, 1) for length in grid_shape(metadata.shape, metadata.chunk_shape)]
    count = prod(grid) * prod(level.entry_count for level in levels)
    if count > _MAX_INT64:
        raise Place(metadata.path, "shape").unsupported(f"{count} chunks are more than 2**63 - 1")
    # The chain is given the array as the transposes in front of it leave it, outside of shards and inside.
    first = next((i for i, step in enumerate(steps) if step["name"] != "transpose"), len(steps))
    for step in steps[:first]:
        order = tuple(order[dimension] for dimension in step["configuration"]["order"])
    chain = _chain(steps[first:], place, metadata, first)
    stored_shape = tuple(chunk_shape[dimension] for dimension in order)
    compiled = _compile(chain, stored_shape, metadata.dtype, place)
    return Pipeline(tuple(levels), chain, compiled, chunk_shape, unpermute(compiled.strides, order), wrapper)


def _build_level(
    sharding: Codec, outer_shape: tuple[int, ...], order: tuple[int, ...], place: Place, metadata: ArrayMetadata
) -> Level:
    configuration = sharding["configuration"]
    inner_shape = unpermute(configuration["chunk_shape"], order)
    for k, dimension in enumerate(order):
        if outer_shape[dimension] % inner_shape[dimension]:
            lengths = f"{inner_shape[dimension]} elements do not divide a shard of {outer_shape[dimension]}"
            raise place.at("chunk_shape").at(k).error(f"inner chunks of {lengths}")
    grid = tuple(outer // inner for outer, inner in zip(outer_shape, inner_shape, strict=True))
    entry_count = prod(grid)
    if entry_count * _INDEX_ENTRY_NBYTES > _MAX_INT64:
        raise place.at("chunk_shape").error(f"a shard of {entry_count} inner chunks")
    index_place = place.at("index_codecs")
    index_chain = _chain(configuration["index_codecs"], index_place, metadata)
    checksums = sum(codec["name"] == "crc32c" for codec in configuration["index_codecs"])
    return Level(
        chunk_shape=inner_shape,
        grid_shape=grid,
        id_strides=unpermute(c_strides([grid[dimension] for dimension in order]), order),
        entry_count=entry_count,
        index_location=configuration["index_location"],
        index_chain=index_chain,
        index_compiled=_compile(index_chain, (entry_count, 2), np.dtype("<u8"), index_place),
        index_nbytes=entry_count * _INDEX_ENTRY_NBYTES + 4 * checksums,
    )


def _chain(
    steps: Sequence[Codec], place: Place, metadata: ArrayMetadata, first: int = 0, fill: Any = None
) -> codecs.Chain:
    """The chain of some codecs, the first of which stands at place ``first``."""
    made = _made(steps, place, metadata, first, fill)
    try:
        return codecs.chain(made)
    except UnsupportedCodecError as error:
        raise place.unsupported(str(error)) from error
    except ValueError as error:
        raise place.error(str(error)) from error


def _made(
    steps: Sequence[Codec], place: Place, metadata: ArrayMetadata, first: int, fill: Any = None
) -> tuple[Any, ...]:
    """Codecs as ``ringio.codecs.chain`` takes them. What they encode is full of ``fill``; None: of the array's."""
    places = [place.at(first + i) if metadata.zarr_format == 3 else Place(metadata.path) for i in range(len(steps))]
    return tuple([_make_codec(step, steps[:i], places[i], metadata, fill) for i, step in enumerate(steps)])


def _make_codec(step: Codec, in_front: Sequence[Codec], place: Place, metadata: ArrayMetadata, fill: Any) -> Any:
    """A codec: ringio's own by name, others as objects."""
    name, configuration = step["name"], step["configuration"]
    if name == "sharding_indexed":
        from ._whole_shards import WholeShard, encoded_fill  # late: hardly any array has such shards

        inside = place.at("configuration")
        if fill is None:
            fill = np.frombuffer(metadata.fill_data, metadata.dtype if metadata.fill_data else np.uint8)
        fill = encoded_fill(in_front, fill, place)
        return WholeShard(
            configuration["chunk_shape"],
            _chain(configuration["codecs"], inside.at("codecs"), metadata, fill=fill),
            _chain(configuration["index_codecs"], inside.at("index_codecs"), metadata),
            configuration["index_location"],
            fill,
            metadata.fill_item,
        )
    if name in codecs.NAMES or codecs.is_registered(name):
        return step
    from ._other_codecs import find_codec  # late: most arrays need none

    return find_codec(name, configuration, metadata.zarr_format, place, allow_pickle=metadata.allow_pickle)


def _compile(
    chain: codecs.Chain, shape: tuple[int, ...], dtype: np.dtype[np.generic], place: Place
) -> codecs.CompiledChain:
    try:
        return chain.compile(shape, dtype)
    except UnsupportedCodecError as error:
        raise place.unsupported(str(error)) from error
    except ValueError as error:
        raise place.error(str(error)) from error
