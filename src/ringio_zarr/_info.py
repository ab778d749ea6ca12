"""What ``array.info`` and ``group.info`` show, with the fields and the text of zarr-python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from ringio.planning import NamedTuple

from ._metadata import ArrayMetadata

_ENDIANNESS: Final = {"<": "little", "=": "little", ">": "big"}
_NUMBERS: Final = {"i": "Int", "u": "UInt", "f": "Float", "c": "Complex"}
_TIMES: Final = {"M": "DateTime64", "m": "TimeDelta64"}
_SERIALIZERS: Final = {"bytes", "endian", "vlen-utf8", "vlen-bytes", "sharding_indexed"}
_CLASSES: Final = {"vlen-utf8": "VLenUTF8Codec", "vlen-bytes": "VLenBytesCodec", "endian": "BytesCodec"}
# Values that documents may leave out.
_DEFAULTS: Final[dict[str, dict[str, Any]]] = {
    "bytes": {"endian": None},
    "endian": {"endian": None},
    "zstd": {"level": 0, "checksum": False},
}


class ArrayInfo(NamedTuple):
    """An array at a glance; printed, it is what zarr-python shows.

    Attributes:
        zarr_format: 2 or 3.
        data_type: as zarr-python calls it.
        fill_value: of missing chunks.
        shape: of the array.
        shard_shape: None where there are no shards; "<variable>" where they differ.
        chunk_shape: of the inner chunks where there are shards; "<variable>" where they differ.
        order: "C" or "F".
        store_type: the class of the store.
        filters: codecs from array to array.
        serializer: the codec from array to bytes; v2 has none.
        compressors: codecs from bytes to bytes.
        count_bytes: of all elements.
        count_bytes_stored: of all files; None: not asked for.
        count_chunks_initialized: how many chunks, or shards where there are shards, are stored; None: not asked for.
    """

    zarr_format: int
    data_type: str
    fill_value: Any
    shape: tuple[int, ...]
    shard_shape: tuple[int, ...] | str | None
    chunk_shape: tuple[int, ...] | str
    order: str
    store_type: str
    filters: tuple[str, ...]
    serializer: str | None
    compressors: tuple[str, ...]
    count_bytes: int
    count_bytes_stored: int | None = None
    count_chunks_initialized: int | None = None

    def __repr__(self) -> str:
        rows: list[tuple[str, object]] = [
            ("Type", "Array"),
            ("Zarr format", self.zarr_format),
            ("Data type", self.data_type),
            ("Fill value", self.fill_value),
            ("Shape", self.shape),
        ]
        if self.shard_shape is not None:
            rows.append(("Shard shape", self.shard_shape))
        rows += [
            ("Chunk shape", self.chunk_shape),
            ("Order", self.order),
            ("Read-only", True),
            ("Store type", self.store_type),
            ("Filters", _tuple_text(self.filters)),
        ]
        if self.serializer is not None:
            rows.append(("Serializer", self.serializer))
        rows += [("Compressors", _tuple_text(self.compressors)), ("No. bytes", _size(self.count_bytes))]
        stored = self.count_bytes_stored
        if stored is not None:
            rows.append(("No. bytes stored", _size(stored)))
            if stored:
                rows.append(("Storage ratio", f"{self.count_bytes / stored:.1f}"))
        if self.count_chunks_initialized is not None:
            what = "Chunks" if self.shard_shape is None else "Shards"
            rows.append((f"{what} Initialized", self.count_chunks_initialized))
        return "\n".join(f"{name:18} : {value}" for name, value in rows)


class GroupInfo(NamedTuple):
    """A group at a glance; printed, it is what zarr-python shows.

    Attributes:
        name: its path in the store.
        zarr_format: 2 or 3.
        store_type: the class of the store.
        count_members: arrays and groups below it, at any depth; None: not asked for.
        count_arrays: how many of them are arrays.
        count_groups: how many of them are groups.
    """

    name: str
    zarr_format: int
    store_type: str
    count_members: int | None = None
    count_arrays: int | None = None
    count_groups: int | None = None

    def __repr__(self) -> str:
        rows: list[tuple[str, object]] = [
            ("Name", self.name),
            ("Type", "Group"),
            ("Zarr format", self.zarr_format),
            ("Read-only", True),
            ("Store type", self.store_type),
        ]
        if self.count_members is not None:
            rows += [
                ("No. members", self.count_members),
                ("No. arrays", self.count_arrays),
                ("No. groups", self.count_groups),
            ]
        return "\n".join(f"{name:11} : {value}" for name, value in rows)


def array_info(
    metadata: ArrayMetadata,
    store_type: str,
    count_bytes: int,
    *,
    count_bytes_stored: int | None = None,
    count_chunks_initialized: int | None = None,
) -> ArrayInfo:
    """The information about an array that its metadata has, and what else is known."""
    filters, serializer, compressors = _codec_texts(metadata)
    outer = "<variable>" if metadata.axes else metadata.chunk_shape
    sharding = metadata.sharding
    return ArrayInfo(
        zarr_format=metadata.zarr_format,
        data_type=data_type_text(metadata.dtype, metadata.stored),
        fill_value=metadata.fill_value,
        shape=metadata.shape,
        shard_shape=None if sharding is None else outer,
        chunk_shape=outer if sharding is None else sharding["chunk_shape"],
        order=metadata.order,
        store_type=store_type,
        filters=filters,
        serializer=serializer,
        compressors=compressors,
        count_bytes=count_bytes,
        count_bytes_stored=count_bytes_stored,
        count_chunks_initialized=count_chunks_initialized,
    )


def data_type_text(dtype: np.dtype[Any], document: Mapping[str, Any]) -> str:
    """A data type as zarr-python writes it.

    >>> data_type_text(np.dtype("<u2"), {}), data_type_text(np.dtype("M8[10ms]"), {})
    ("UInt16(endianness='little')", "DateTime64(endianness='little', scale_factor=10, unit='ms')")
    """
    endianness = f"endianness={_ENDIANNESS.get(dtype.byteorder, 'little')!r}"
    if dtype.fields is not None and dtype.names is not None:
        fields = ", ".join(f"({name!r}, {data_type_text(dtype[name], {})})" for name in dtype.names)
        return f"Struct(fields=({fields}{',' if len(dtype.names) == 1 else ''}))"
    if dtype.kind == "b":
        return "Bool()"
    if dtype.kind in _NUMBERS:
        name = f"{_NUMBERS[dtype.kind]}{8 * dtype.itemsize}"
        return f"{name}()" if dtype.itemsize == 1 else f"{name}({endianness})"
    if dtype.kind == "S":
        return f"NullTerminatedBytes(length={dtype.itemsize})"
    if dtype.kind == "U":
        return f"FixedLengthUTF32(length={dtype.itemsize // 4}, {endianness})"
    if dtype.kind in _TIMES:
        unit, count = np.datetime_data(dtype)
        return f"{_TIMES[dtype.kind]}({endianness}, scale_factor={count}, unit={unit!r})"
    named: Any = document.get("data_type")
    given: Any = named.get("name") if isinstance(named, dict) else named
    if dtype.kind == "V" and (given is None or str(given).startswith(("raw", "r"))):
        return f"RawBytes(length={dtype.itemsize})"
    if dtype.kind == "T" or given == "string":
        return "VariableLengthUTF8()"
    if given in ("bytes", "variable_length_bytes"):
        return "VariableLengthBytes()"
    return str(given or dtype)


def _codec_texts(metadata: ArrayMetadata) -> tuple[tuple[str, ...], str | None, tuple[str, ...]]:
    """Filters, serializer and compressors, as text."""
    document = metadata.stored
    if metadata.zarr_format == 2:
        compressor = document.get("compressor")
        compressors = (_v2_text(compressor),) if compressor else ()
        return tuple(_v2_text(item) for item in document.get("filters") or ()), None, compressors
    codecs = document["codecs"]
    if metadata.sharding is not None:
        codecs = codecs[0]["configuration"]["codecs"]
    names = [_name(codec) for codec in codecs]
    place = next((number for number, name in enumerate(names) if name in _SERIALIZERS), 0)
    texts = [_v3_text(codec) for codec in codecs]
    return tuple(texts[:place]), texts[place], tuple(texts[place + 1 :])


def _name(codec: Any) -> str:
    return str(codec if isinstance(codec, str) else codec["name"])


def _v3_text(codec: Any) -> str:
    name = _name(codec)
    given = {} if isinstance(codec, str) else codec.get("configuration") or {}
    configuration = {**_DEFAULTS.get(name, {}), **given}
    if name == "sharding_indexed":
        return _sharding_text(configuration)
    short = name.removeprefix("numcodecs.")
    known = _CLASSES.get(short) or "".join(map(_capital, short.split("_"))) + ("Codec" if short == name else "")
    return f"{known}({_arguments(configuration)})"


def _sharding_text(configuration: Mapping[str, Any]) -> str:
    """A shard in a shard, with all that zarr-python says of one."""
    chunk_shape, location = tuple(configuration["chunk_shape"]), configuration.get("index_location", "end")
    inner, index = (
        _tuple_text([_v3_text(codec) for codec in configuration[key]]) for key in ("codecs", "index_codecs")
    )
    return (
        f"ShardingCodec(chunk_shape={chunk_shape}, codecs={inner}, index_codecs={index}, "
        f"index_location={location!r}, subchunk_write_order='morton')"
    )


def _v2_text(configuration: Mapping[str, Any]) -> str:
    """A codec of numcodecs as it writes itself, where it is installed; its name and configuration where it is not."""
    rest = {key: value for key, value in configuration.items() if key != "id"}
    try:
        from numcodecs import get_codec

        return repr(get_codec(dict(configuration)))
    except Exception:  # not installed, or it has no such codec: that is no reason to show nothing
        return f"{_capital(str(configuration['id']))}({_arguments(rest)})"


def _arguments(configuration: Mapping[str, Any]) -> str:
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in configuration.items()}
    return ", ".join(f"{key}={value!r}" for key, value in values.items())


def _capital(word: str) -> str:
    return word[:1].upper() + word[1:]


def _tuple_text(items: Sequence[str]) -> str:
    return f"({', '.join(items)}{',' if len(items) == 1 else ''})"


def _size(nbytes: int) -> str:
    """Bytes for people.

    >>> _size(1000), _size(10000)
    ('1000', '10000 (9.8K)')
    """
    if nbytes < 1024:
        return str(nbytes)
    size, unit = nbytes / 1024, "K"
    for larger in "MGTP":
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{nbytes} ({size:.1f}{unit})"
