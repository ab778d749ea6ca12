"""What an array says of its codecs and of what is stored: the attributes of zarr-python's arrays that few ask for."""

from __future__ import annotations

from math import prod
from typing import Any

from ringio.planning import NamedTuple

from ._codecs import ARRAY_TO_BYTES
from ._metadata import ArrayMetadata
from ._store_base import Store
from ._zarr_python import zarr_metadata


class Described:
    """The attributes; for an array that has the members named here."""

    __slots__ = ()

    _metadata: ArrayMetadata
    _store: Store
    _path: str
    _options: Any

    @property
    def filters(self) -> tuple[Any, ...]:
        """The codecs from array to array, in the order of encoding; in v2 what stands under ``filters``.

        They are zarr-python's and numcodecs' own objects, as zarr-python has them, where it is installed, and else the
        configurations of the document.
        """
        return describe_codecs(self._metadata).filters

    @property
    def serializer(self) -> Any:
        """The codec from array to bytes, likewise; None in v2."""
        return describe_codecs(self._metadata).serializer

    @property
    def compressors(self) -> tuple[Any, ...]:
        """The codecs from bytes to bytes, likewise; in v2 the compressor, if there is one."""
        return describe_codecs(self._metadata).compressors

    @property
    def compressor(self) -> Any:
        """The compressor of v2, None where there is none.

        Raises:
            TypeError: v3 may have several, see ``compressors``.
        """
        if self._metadata.zarr_format == 3:
            raise TypeError("`compressor` is not available for Zarr format 3 arrays.")
        return next(iter(self.compressors), None)

    @property
    def read_chunk_sizes(self) -> tuple[tuple[int, ...], ...]:
        """Along each dimension the elements of each chunk that are in the array; of inner chunks, not of shards."""
        return self._metadata.chunk_sizes(outer=False)

    @property
    def write_chunk_sizes(self) -> tuple[tuple[int, ...], ...]:
        """The same, of shards where there are shards."""
        return self._metadata.chunk_sizes(outer=True)

    @property
    def nchunks_initialized(self) -> int:
        """How many chunks are stored; each stored shard counts as all its chunks, as in zarr-python.

        Raises:
            OSError: the files cannot be listed; a ``ringio.StoreError`` where the store has no way to.
        """
        coordinates = [file.coordinates for file in self._stored() if file.coordinates is not None]
        sharding = self._metadata.sharding
        if sharding is None:
            return len(coordinates)
        inner: tuple[int, ...] = sharding["chunk_shape"]
        axes = self._metadata.axes
        if axes is None:
            return len(coordinates) * prod(
                outer // length for outer, length in zip(self._metadata.chunk_shape, inner, strict=True)
            )
        return sum(
            prod(axis.length_of(place) // length for axis, place, length in zip(axes, places, inner, strict=True))
            for places in coordinates
        )

    def nbytes_stored(self) -> int:
        """The bytes of all files of the array, with its metadata.

        Raises:
            OSError: the files cannot be listed; a ``ringio.StoreError`` where the store has no way to.
        """
        return sum(file.nbytes for file in self._stored())

    def _stored(self) -> list[Any]:
        from ._stored import KeyParser, stored_files  # late: few ask

        parser = KeyParser(self._metadata.chunk_keys, self._metadata.outer_grid_shape)
        return list(stored_files(self._store, self._path, parser, self._options.get_reader()))


class CodecObjects(NamedTuple):
    """The codecs of an array; of its inner chunks where there are shards."""

    filters: tuple[Any, ...]
    serializer: Any
    compressors: tuple[Any, ...]


def describe_codecs(metadata: ArrayMetadata) -> CodecObjects:
    """The codecs of an array, as zarr-python's objects, or as they stand in the document."""
    try:
        return _zarr_objects(metadata)
    except Exception:  # not installed, or it does not know a codec or the data type: that is no reason to say nothing
        return _configurations(metadata)


def _zarr_objects(metadata: ArrayMetadata) -> CodecObjects:
    from zarr.abc.codec import ArrayArrayCodec, ArrayBytesCodec, BytesBytesCodec

    document = dict(metadata.document)
    if metadata.axes is not None:  # zarr-python may have to be asked to read such a grid; its codecs are the same
        document["chunk_grid"] = {"name": "regular", "configuration": {"chunk_shape": list(metadata.chunk_shape)}}
    theirs = zarr_metadata(document, metadata.zarr_format)
    if metadata.zarr_format == 2:
        return CodecObjects(theirs.filters or (), None, () if theirs.compressor is None else (theirs.compressor,))
    codecs = theirs.inner_codecs
    return CodecObjects(
        tuple(codec for codec in codecs if isinstance(codec, ArrayArrayCodec)),
        next(codec for codec in codecs if isinstance(codec, ArrayBytesCodec)),
        tuple(codec for codec in codecs if isinstance(codec, BytesBytesCodec)),
    )


def _configurations(metadata: ArrayMetadata) -> CodecObjects:
    document = metadata.document
    if metadata.zarr_format == 2:
        compressor = document.get("compressor")
        return CodecObjects(tuple(document.get("filters") or ()), None, () if compressor is None else (compressor,))
    stored, parsed = tuple(document["codecs"]), metadata.codecs
    if (sharding := metadata.sharding) is not None:
        stored, parsed = tuple(stored[0]["configuration"]["codecs"]), sharding["codecs"]
    place = next(i for i, codec in enumerate(parsed) if codec["name"] in ARRAY_TO_BYTES)
    return CodecObjects(stored[:place], stored[place], stored[place + 1 :])
