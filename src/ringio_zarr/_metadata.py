"""Metadata documents of arrays and groups, Zarr v2 and v3, as checked dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import numpy as np

from ringio.planning import NamedTuple

from ._axes import Axis, parse_axes, parse_chunk_shapes
from ._codecs import Codec, find_object_codec, parse_v2_codecs, parse_v3_codecs
from ._document import copied, parse_extension, parse_object, parse_shape, refuse_extra_fields, refuse_keys, require
from ._dtypes import parse_v2_dtype, parse_v3_dtype
from ._errors import MetadataError, Place, UnsupportedError, excerpt
from ._fill import Fill, parse_fill
from ._grid import grid_shape, regular_sizes
from ._keys import ChunkKeyEncoding, parse_key_encoding, parse_separator
from ._zarr_python import OBJECTS_OF_ZARR, zarr_metadata

_ARRAY_KEYS: Final = {
    "zarr_format",
    "node_type",
    "shape",
    "data_type",
    "chunk_grid",
    "chunk_key_encoding",
    "fill_value",
    "codecs",
    "attributes",
    "dimension_names",
    "storage_transformers",
}
_GROUP_KEYS: Final = {"zarr_format", "node_type", "attributes", "consolidated_metadata"}


class ArrayMetadata(NamedTuple):
    """What a metadata document says about an array.

    Attributes:
        path: where the document is, e.g. ``/data/a.zarr/zarr.json``; error messages start with it.
        zarr_format: 2 or 3.
        shape: elements along each dimension.
        chunk_shape: elements of a chunk of the outer grid, that is of a shard where there are shards.
        dtype: of the array as zarr-python reports it; big-endian only in v2.
        fill_value: a numpy scalar; None where v2 says null.
        fill_data: the bytes of one item of a missing chunk, in ``dtype``; empty where items have no fixed size.
        attributes: the user's.
        dim_names: a name, or None, for each dimension; None where the document has no names, as all of v2.
        order: "C" or "F", the order of elements in a chunk of v2; v3 says "C".
        chunk_keys: how chunks are named.
        codecs: in encoding order, in one spelling for v2 and v3 (see ``_codecs``).
        stored: the document as it was given.
        axes: how each dimension is cut where the chunks are not all of one shape, ``chunk_shape`` being that of the
            first one; None for a regular grid.
        fill_item: what is in a missing chunk, where items have no fixed size.
        allow_pickle: whoever opened the array trusts what pickled data does.
        read_missing_chunks: to whoever opened it chunks that are not stored are fill value, and no error.
    """

    path: str
    zarr_format: Literal[2, 3]
    shape: tuple[int, ...]
    chunk_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fill_value: Any
    fill_data: bytes
    attributes: dict[str, Any]
    dim_names: tuple[str | None, ...] | None
    order: Literal["C", "F"]
    chunk_keys: ChunkKeyEncoding
    codecs: tuple[Codec, ...]
    stored: Mapping[str, Any]
    axes: tuple[Axis, ...] | None = None
    fill_item: Any = None
    allow_pickle: bool = False
    read_missing_chunks: bool = True

    @property
    def document(self) -> dict[str, Any]:
        """The document as it was given: a copy, for what is known is shared by all who open the node."""
        document: dict[str, Any] = copied(dict(self.stored))
        return document

    def to_dict(self) -> dict[str, Any]:
        """The document as it was given; that of v2 with the attributes, as in zarr-python."""
        document: dict[str, Any] = copied({**self.stored, "attributes": self.attributes})
        return document

    def __getattr__(self, name: str) -> Any:  # for what is not here
        if name not in OBJECTS_OF_ZARR:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
        return getattr(zarr_metadata(self.document, self.zarr_format), name)

    @property
    def dimension_names(self) -> tuple[str | None, ...] | None:
        """Of v3 what ``dim_names`` has. In v2 there is no such thing, by which xarray knows it, as in zarr-python."""
        if self.zarr_format == 2:
            raise AttributeError("dimension_names")  # __getattr__ says it in more words
        return self.dim_names

    @property
    def node_type(self) -> str:
        """As in documents of v3."""
        return "array"

    @property
    def ndim(self) -> int:
        """How many dimensions there are."""
        return len(self.shape)

    @property
    def sharding(self) -> dict[str, Any] | None:
        """The configuration of ``sharding_indexed`` where that is the only codec: what zarr-python calls sharded."""
        if len(self.codecs) == 1 and self.codecs[0]["name"] == "sharding_indexed":
            return self.codecs[0]["configuration"]
        return None

    @property
    def chunks(self) -> tuple[int, ...]:
        """The shape that zarr-python calls ``chunks``: that of a shard's inner chunks, or else of the outer grid."""
        sharding = self.sharding
        if self.axes and sharding is None:
            raise NotImplementedError(
                f"{self.path}: the chunks have no one shape; read_chunk_sizes says which they have"
            )
        return self.chunk_shape if sharding is None else sharding["chunk_shape"]

    @property
    def shards(self) -> tuple[int, ...] | None:
        """The shape that zarr-python calls ``shards``, None where there are none."""
        if self.axes and self.sharding is not None:
            raise NotImplementedError(
                f"{self.path}: the shards have no one shape; write_chunk_sizes says which they have"
            )
        return None if self.sharding is None else self.chunk_shape

    @property
    def outer_grid_shape(self) -> tuple[int, ...]:
        """How many chunks of the outer grid, that is files, there may be along each dimension."""
        if self.axes is not None:
            return tuple(axis.chunk_count for axis in self.axes)
        return grid_shape(self.shape, self.chunk_shape)

    @property
    def grid_shape(self) -> tuple[int, ...]:
        """The same for what zarr-python calls chunks: inner chunks where there are shards."""
        return self.outer_grid_shape if self.sharding is None else grid_shape(self.shape, self.chunks)

    def chunk_sizes(self, *, outer: bool) -> tuple[tuple[int, ...], ...]:
        """Elements of each chunk that are in the array, along each dimension; of the outer grid, or of inner chunks."""
        if self.axes is not None and (outer or self.sharding is None):
            return tuple(axis.sizes() for axis in self.axes)
        return regular_sizes(self.shape, self.chunk_shape if outer else self.chunks)

    def describe_chunks(self) -> str:
        """For a repr: the shapes of chunks and shards.

        >>> parse_array_metadata({"zarr_format": 2, "shape": [4], "chunks": [2], "dtype": "|b1", "fill_value": 0,
        ...     "order": "C", "compressor": None}, zarr_format=2, path="").describe_chunks()
        'chunks=(2,)'
        """
        sharding = self.sharding
        outer = "<variable>" if self.axes else str(self.chunk_shape)
        return f"chunks={outer}" if sharding is None else f"chunks={sharding['chunk_shape']} shards={outer}"


class GroupMetadata(NamedTuple):
    """What a metadata document says about a group.

    Attributes:
        path: where the document is.
        zarr_format: 2 or 3.
        attributes: the user's.
        consolidated: documents of the nodes below by their path relative to the group, where a v3 group holds them.
        stored: the document as it was given.
        consolidated_metadata: what ``group.metadata`` has where a group uses it, as in zarr-python.
    """

    path: str
    zarr_format: Literal[2, 3]
    attributes: dict[str, Any]
    consolidated: dict[str, Any] | None
    stored: Mapping[str, Any]
    consolidated_metadata: Any = None

    @property
    def node_type(self) -> str:
        """As in documents of v3."""
        return "group"

    @property
    def document(self) -> dict[str, Any]:
        """The document as it was given: a copy, for what is known is shared by all who open the node."""
        document: dict[str, Any] = copied(dict(self.stored))
        return document

    def to_dict(self) -> dict[str, Any]:
        """The document as it was given; that of v2 with the attributes, as in zarr-python."""
        document: dict[str, Any] = copied({**self.stored, "attributes": self.attributes})
        return document


def parse_array_metadata(
    document: Mapping[str, Any],
    *,
    zarr_format: Literal[2, 3],
    attributes: Mapping[str, Any] | None = None,
    path: str,
) -> ArrayMetadata:
    """Read the metadata document of an array.

    Args:
        document: the object in ``.zarray`` or ``zarr.json``.
        zarr_format: which of the two it is.
        attributes: v2: the object in ``.zattrs``, if there is one.
        path: where the document is, for messages.

    Raises:
        MetadataError: the document cannot be right; the message names path and key.
        UnsupportedError: a data type, codec, grid or number of dimensions that ringio_zarr does not have, named.

    Source: Zarr v2 specification, "Arrays"; Zarr core specification 3.1, "Array metadata".

    >>> metadata = parse_array_metadata(
    ...     {"zarr_format": 2, "shape": [4], "chunks": [2], "dtype": ">i2", "fill_value": 7, "order": "C",
    ...      "filters": None, "compressor": {"id": "zlib", "level": 1}},
    ...     zarr_format=2, path="a/.zarray")
    >>> metadata.dtype, metadata.fill_value, [codec["name"] for codec in metadata.codecs]
    (dtype('>i2'), np.int16(7), ['bytes', 'zlib'])
    """
    if zarr_format == 2:
        return _parse_v2_array(document, attributes, path)
    return _parse_v3_array(document, path)


def _parse_v2_array(document: Mapping[str, Any], attributes: Mapping[str, Any] | None, path: str) -> ArrayMetadata:
    top = Place(path)
    _check_format(document, 2, top)
    shape = parse_shape(require(document, "shape", top), top.at("shape"))
    chunk_shape = _parse_chunk_shape(require(document, "chunks", top), shape, top.at("chunks"))
    object_codec = find_object_codec(document.get("filters"), document.get("compressor"))
    dtype, fill = _parse_items(document, "dtype", 2, top, object_codec)
    order = require(document, "order", top)
    if order != "C" and order != "F":
        raise top.at("order").error(f"expected 'C' or 'F', got {excerpt(order)}")
    separator = document.get("dimension_separator")
    compressor = require(document, "compressor", top)
    return ArrayMetadata(
        path=path,
        zarr_format=2,
        shape=shape,
        chunk_shape=chunk_shape,
        dtype=dtype,
        fill_value=fill.value,
        fill_data=fill.data,
        attributes=dict(attributes or {}),
        dim_names=None,
        order="F" if order == "F" else "C",
        chunk_keys=ChunkKeyEncoding(
            "v2", "." if separator is None else parse_separator(separator, top.at("dimension_separator"))
        ),
        codecs=parse_v2_codecs(document.get("filters"), compressor, order, dtype, len(shape), path),
        stored=document,
        fill_item=fill.item,
    )


def _parse_v3_array(document: Mapping[str, Any], path: str) -> ArrayMetadata:
    top = Place(path)
    _check_format(document, 3, top)
    _check_node_type(document, "array", top)
    refuse_extra_fields(document, _ARRAY_KEYS, top)
    if transformers := document.get("storage_transformers"):
        raise top.at("storage_transformers").unsupported(f"{excerpt(transformers)} is not supported")
    shape = parse_shape(require(document, "shape", top), top.at("shape"))
    dtype, fill = _parse_items(document, "data_type", 3, top)
    keys_place = top.at("chunk_key_encoding")
    codecs = parse_v3_codecs(require(document, "codecs", top), dtype, len(shape), top.at("codecs"))
    chunk_shape, axes = _parse_chunk_grid(
        require(document, "chunk_grid", top), shape, _inner_chunk_shape(codecs), top.at("chunk_grid")
    )
    return ArrayMetadata(
        path=path,
        zarr_format=3,
        shape=shape,
        chunk_shape=chunk_shape,
        dtype=dtype,
        fill_value=fill.value,
        fill_data=fill.data,
        attributes=parse_object(document.get("attributes"), top.at("attributes")),
        dim_names=_parse_dimension_names(document.get("dimension_names"), len(shape), top.at("dimension_names")),
        order="C",
        chunk_keys=parse_key_encoding(require(document, "chunk_key_encoding", top), keys_place),
        codecs=codecs,
        stored=document,
        axes=axes,
        fill_item=fill.item,
    )


def _parse_items(
    document: Mapping[str, Any], key: str, zarr_format: Literal[2, 3], top: Place, object_codec: str | None = None
) -> tuple[np.dtype[Any], Fill]:
    """The dtype, and the fill value."""
    data_type, place = require(document, key, top), top.at(key)
    fill_value, fill_place = require(document, "fill_value", top), top.at("fill_value")
    try:
        if zarr_format == 2:
            dtype = parse_v2_dtype(data_type, place, object_codec)
        else:
            dtype = parse_v3_dtype(data_type, place)
    except MetadataError as problem:
        if zarr_format == 3 and not isinstance(problem, UnsupportedError):
            raise
        from ._other_dtypes import find_items  # late: hardly any array has one

        return find_items(data_type, fill_value, zarr_format, fill_place, problem)
    return dtype, parse_fill(fill_value, dtype, fill_place, zarr_format=zarr_format, object_codec=object_codec)


def parse_group_metadata(
    document: Mapping[str, Any],
    *,
    zarr_format: Literal[2, 3],
    attributes: Mapping[str, Any] | None = None,
    path: str,
) -> GroupMetadata:
    """Read the metadata document of a group.

    Args:
        document: the object in ``.zgroup`` or ``zarr.json``.
        zarr_format: which of the two it is.
        attributes: v2: the object in ``.zattrs``, if there is one.
        path: where the document is, for messages.

    Raises:
        MetadataError: the document cannot be right; the message names path and key.

    >>> parse_group_metadata({"zarr_format": 3, "node_type": "group"}, zarr_format=3, path="g/zarr.json").attributes
    {}
    """
    top = Place(path)
    _check_format(document, zarr_format, top)
    if zarr_format == 2:
        return GroupMetadata(path, 2, dict(attributes or {}), None, document)
    _check_node_type(document, "group", top)
    refuse_extra_fields(document, _GROUP_KEYS, top)
    place = top.at("consolidated_metadata")
    consolidated = None
    if (value := document.get("consolidated_metadata")) is not None:
        inline = parse_object(value, place)
        if inline.get("kind") != "inline":
            raise place.at("kind").error(f"expected 'inline', got {excerpt(inline.get('kind'))}")
        consolidated = parse_object(require(inline, "metadata", place), place.at("metadata"))
    group_attributes = parse_object(document.get("attributes"), top.at("attributes"))
    return GroupMetadata(path, 3, group_attributes, consolidated, document)


def _check_format(document: Mapping[str, Any], zarr_format: int, top: Place) -> None:
    value = require(document, "zarr_format", top)
    if isinstance(value, bool) or not isinstance(value, int) or value != zarr_format:
        raise top.at("zarr_format").error(f"expected {zarr_format}, got {excerpt(value)}")


def _check_node_type(document: Mapping[str, Any], node_type: str, top: Place) -> None:
    value = require(document, "node_type", top)
    if value != node_type:
        raise top.at("node_type").error(f"expected {node_type!r}, got {excerpt(value)}")


def _parse_chunk_grid(
    value: object, shape: tuple[int, ...], inner: tuple[int, ...], place: Place
) -> tuple[tuple[int, ...], tuple[Axis, ...] | None]:
    """The shape of the chunks, or of the first one and how each dimension is cut."""
    name, configuration = parse_extension(value, place)
    inside = place.at("configuration")
    if name == "rectilinear":
        return _first_shape(parse_axes(configuration, shape, inside))
    if name != "regular":
        raise place.unsupported(f"chunk grid {excerpt(name)} is not supported")
    refuse_keys(configuration, {"chunk_shape"}, inside)
    chunks = require(configuration, "chunk_shape", inside)
    inside = inside.at("chunk_shape")
    if isinstance(chunks, list) and any(isinstance(item, list) for item in chunks):  # of zarr-python 3.2
        return _first_shape(parse_chunk_shapes(chunks, shape, inside))
    return _parse_chunk_shape(chunks, shape, inside, inner), None


def _first_shape(axes: tuple[Axis, ...]) -> tuple[tuple[int, ...], tuple[Axis, ...]]:
    return tuple(int(axis.lengths[0]) for axis in axes), axes


def _parse_chunk_shape(
    value: object, shape: tuple[int, ...], place: Place, inner: tuple[int, ...] = ()
) -> tuple[int, ...]:
    """zarr-python wrote 0, and true for 1. It reads 0 as 1, or as the inner chunks of a shard, and so do we."""
    if isinstance(value, list | tuple):
        value = [1 if item is True else item for item in value]
    chunk_shape = parse_shape(value, place, dim_count=len(shape))
    return tuple(chunk or (inner[i] if i < len(inner) else 1) for i, chunk in enumerate(chunk_shape))


def _inner_chunk_shape(codecs: tuple[Codec, ...]) -> tuple[int, ...]:
    for codec in codecs:
        if codec["name"] == "sharding_indexed":
            shape: tuple[int, ...] = codec["configuration"]["chunk_shape"]
            return shape
    return ()


def _parse_dimension_names(value: object, dim_count: int, place: Place) -> tuple[str | None, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not all(name is None or isinstance(name, str) for name in value):
        raise place.error(f"expected a list of names or nulls, got {excerpt(value)}")
    if len(value) != dim_count:
        raise place.error(f"{len(value)} names for {dim_count} dimensions")
    return tuple(value)
