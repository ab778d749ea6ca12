"""Codec lists: every spelling found on disk, v2 and v3, made into one: what ``ringio.codecs.chain()`` takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypedDict

import numpy as np

from ringio.codecs import NAMES, is_registered

from ._document import parse_extension, parse_int, parse_object, parse_shape, refuse_keys, require
from ._errors import Place, excerpt


class Codec(TypedDict):
    """One codec, by name and configuration, in the order of encoding."""

    name: str
    configuration: dict[str, Any]


# Under these names alone, or behind "numcodecs.", as zarr-python writes those that are no part of Zarr v3.
ARRAY_TO_ARRAY: Final = {
    "transpose",
    "scale_offset",
    "cast_value",
    "delta",
    "bitround",
    "fixedscaleoffset",
    "quantize",
    "packbits",
    "astype",
}
ARRAY_TO_BYTES: Final = {"bytes", "sharding_indexed", "vlen-utf8", "vlen-bytes", "pcodec", "zfpy"}
BYTES_TO_BYTES: Final = {"blosc", "zstd", "gzip", "crc32c"}
# What makes Python objects in v2. Of the last one, which is no object codec of zarr-python 3, each item is a label.
OBJECT_CODECS: Final = ("vlen-utf8", "vlen-bytes", "vlen-array", "json2", "msgpack2", "pickle", "categorize")
# Levels of grids that a plan can hold (level_factors of struct ringio_grid), less one for the innermost chunks.
MAX_SHARDING_DEPTH: Final = 7


def parse_v3_codecs(value: object, dtype: np.dtype[Any], dim_count: int, place: Place) -> tuple[Codec, ...]:
    """The codecs of a v3 array.

    Args:
        value: what the document has under ``codecs``.
        dtype: the array's; codecs that want the size of an item get it from here when the document does not say.
        dim_count: how many dimensions the array has.
        place: where the list stands.

    Returns:
        The codecs in encoding order: array → array codecs, one array → bytes codec, bytes → bytes codecs. The codec
        lists inside ``sharding_indexed`` are in the same shape.

    Raises:
        UnsupportedError: a codec that ringio_zarr does not have.
        MetadataError: a list in the wrong order, or a configuration that makes no sense.
    """
    return _parse_list(value, dtype, dim_count, place, depth=0)


def _parse_list(value: object, dtype: np.dtype[Any], dim_count: int, place: Place, depth: int) -> tuple[Codec, ...]:
    if not isinstance(value, list | tuple):
        raise place.error(f"expected a list of codecs, got {excerpt(value)}")
    codecs = tuple(_parse_codec(item, dtype, dim_count, place.at(i), depth) for i, item in enumerate(value))
    kinds = [_kind(codec["name"]) for codec in codecs]
    known = [kind for kind in kinds if kind is not None]
    if known == kinds and (known != sorted(known) or known.count(1) != 1):
        names = ", ".join(codec["name"] for codec in codecs) or "none"
        raise place.error(f"expected array → array codecs, then one array → bytes codec, then others; got {names}")
    return codecs


def _kind(name: str) -> int | None:
    """Where in the list a codec belongs; None: who knows."""
    stem = name.removeprefix("numcodecs.")
    if stem in ARRAY_TO_ARRAY:
        return 0
    if stem in ARRAY_TO_BYTES:
        return 1
    return 2 if stem in BYTES_TO_BYTES or stem != name or stem in NAMES else None


def _parse_codec(value: object, dtype: np.dtype[Any], dim_count: int, place: Place, depth: int) -> Codec:
    name, configuration = parse_extension(value, place)
    inside = place.at("configuration")
    stem = name.removeprefix("numcodecs.")
    match name:
        case "transpose":
            return _transpose(_parse_order(require(configuration, "order", inside), dim_count, inside.at("order")))
        case "bytes" | "endian":  # "endian" in drafts of the specification
            # zarr-python before 3.4 left it out and meant little-endian; for items of one byte nobody has to say.
            endian = configuration.get("endian") or "little"
            if endian not in ("little", "big"):
                raise inside.at("endian").error(f"expected 'little' or 'big', got {excerpt(endian)}")
            return {"name": "bytes", "configuration": {"endian": endian}}
        case "sharding_indexed":
            return _parse_sharding(configuration, dtype, dim_count, inside, depth + 1)
    # What ringio does not have itself is looked for when the chain is made.
    return _parse_codec_of_bytes(stem if stem in NAMES and not is_registered(name) else name, configuration, place)


def _parse_sharding(
    configuration: dict[str, Any], dtype: np.dtype[Any], dim_count: int, place: Place, depth: int
) -> Codec:
    """Source: Zarr codecs, "Sharding codec" 1.0."""
    if depth > MAX_SHARDING_DEPTH:
        raise place.unsupported(f"shards nested more than {MAX_SHARDING_DEPTH} deep")
    refuse_keys(configuration, {"chunk_shape", "codecs", "index_codecs", "index_location"}, place)
    location = configuration.get("index_location", "end")
    if location not in ("start", "end"):
        raise place.at("index_location").error(f"expected 'start' or 'end', got {excerpt(location)}")
    codecs = _parse_list(require(configuration, "codecs", place), dtype, dim_count, place.at("codecs"), depth)
    index_place = place.at("index_codecs")
    index_dtype = np.dtype("<u8")
    index_codecs = _parse_list(
        require(configuration, "index_codecs", place), index_dtype, dim_count + 1, index_place, depth
    )
    for i, codec in enumerate(index_codecs):
        if codec["name"] not in ("bytes", "crc32c"):
            raise index_place.at(i).unsupported(f"codec {codec['name']!r} for a shard index is not supported")
    shape_value = require(configuration, "chunk_shape", place)
    if isinstance(shape_value, list | tuple):
        shape_value = [1 if item is True else item for item in shape_value]  # as zarr-python has written it
    return {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": parse_shape(shape_value, place.at("chunk_shape"), minimum=1, dim_count=dim_count),
            "codecs": codecs,
            "index_codecs": index_codecs,
            "index_location": location,
        },
    }


def _parse_order(value: object, dim_count: int, place: Place) -> tuple[int, ...]:
    """A permutation; "C" and "F" are what early versions of the specification had."""
    if value == "C":
        return tuple(range(dim_count))
    if value == "F":
        return tuple(reversed(range(dim_count)))
    order = parse_shape(value, place, dim_count=dim_count)
    if sorted(order) != list(range(dim_count)):
        raise place.error(f"{excerpt(list(order))} is no permutation of the {dim_count} dimensions")
    return order


def _transpose(order: tuple[int, ...]) -> Codec:
    return {"name": "transpose", "configuration": {"order": order}}


def _parse_codec_of_bytes(name: str, configuration: dict[str, Any], place: Place) -> Codec:
    if name == "shuffle" and not is_registered(name):
        # zarr-python takes the size of an item where v3 does not say; netCDF-C writes 0 and means the same.
        value = configuration.get("elementsize") or 0
        nbytes = parse_int(value, place.at("elementsize"), minimum=0)
        return {"name": name, "configuration": {"elementsize": nbytes}}
    if name == "blosc" and configuration.get("cname") == "snappy" and not is_registered(name):
        raise place.unsupported(
            "codec 'blosc' with cname 'snappy' is not supported: c-blosc2 has no snappy, nor has numcodecs"
        )
    return {"name": name, "configuration": configuration}


def parse_v2_codecs(
    filters: object, compressor: object, order: str, dtype: np.dtype[Any], dim_count: int, path: str
) -> tuple[Codec, ...]:
    """The codecs that a v2 array amounts to: order "F" is a transpose, then filters, then the compressor.

    Args:
        filters: what the document has under ``filters``: null or a list.
        compressor: what it has under ``compressor``: null or an object.
        order: "C" or "F".
        dtype: the array's; it says which end comes first.
        dim_count: how many dimensions the array has.
        path: where the document is.

    Raises:
        UnsupportedError: a filter or compressor that ringio_zarr does not have.
        MetadataError: what stands there is none.

    Source: Zarr v2 specification, "Metadata"; numcodecs for the identifiers.
    """
    codecs: list[Codec] = []
    if order == "F" and dim_count > 1:
        codecs.append(_transpose(tuple(reversed(range(dim_count)))))
    if (
        dtype.names is None and not dtype.hasobject
    ):  # each field of a struct has its own byte order, in which it is stored and stays
        endian = "big" if dtype.str[0] == ">" else "little"
        codecs.append({"name": "bytes", "configuration": {"endian": endian}})
    place = Place(path, "filters")
    if filters is not None and not isinstance(filters, list | tuple):
        raise place.error(f"expected null or a list of filters, got {excerpt(filters)}")
    codecs += [_parse_numcodec(item, place.at(i)) for i, item in enumerate(filters or ())]
    if compressor is not None:
        codecs.append(_parse_numcodec(compressor, Place(path, "compressor")))
    return tuple(codecs)


def find_object_codec(filters: object, compressor: object) -> str | None:
    """The name of the codec that makes objects out of bytes, which says what the dtype ``"|O"`` of v2 means."""
    for codec in (*(filters if isinstance(filters, list | tuple) else ()), compressor):
        if isinstance(codec, Mapping) and codec.get("id") in OBJECT_CODECS:
            return str(codec["id"])
    return None


def _parse_numcodec(value: object, place: Place) -> Codec:
    if value is None:
        raise place.error("expected an object with an id, got None")
    configuration = parse_object(value, place)
    name = require(configuration, "id", place)
    if not isinstance(name, str):
        raise place.at("id").error(f"expected a string, got {excerpt(name)}")
    del configuration["id"]
    if name == "shuffle":
        configuration.setdefault("elementsize", 4)  # what numcodecs has in mind when a document does not say
    return _parse_codec_of_bytes(name, configuration, place)
