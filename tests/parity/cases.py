"""Arrays of the matrix: what is written, and how."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numcodecs
import numpy as np
import zarr
from zarr.codecs import (
    BloscCodec,
    BytesCodec,
    Crc32cCodec,
    GzipCodec,
    ShardingCodec,
    TransposeCodec,
    VLenBytesCodec,
    VLenUTF8Codec,
    ZstdCodec,
)
from zarr.codecs import numcodecs as v3_numcodecs
from zarr.core.dtype import VariableLengthBytes
from zarr.storage import MemoryStore

from .values import FLOATS, INTS, KINDS, Kind


class Layout(NamedTuple):
    """Shapes: of the array, of its chunks, and where there are any of its shards."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None = None
    options: dict[str, Any] = {}  # noqa: RUF012  # nobody writes to it


class Case(NamedTuple):
    """One array of the matrix.

    Attributes:
        zarr_format: 2 or 3.
        kind: its data type.
        codec: the name of its codecs.
        layout: the name of its shape and chunks.
        fill: the fill value; None: the default.
        missing: which of its chunks are not there: "none", "some" or "all".
        options: for ``zarr.create_array``.
        shape: of the array.
    """

    zarr_format: int
    kind: Kind
    codec: str
    layout: str
    fill: Any
    missing: str
    options: dict[str, Any]
    shape: tuple[int, ...]

    @property
    def name(self) -> str:
        """One for each case."""
        fill = "" if self.fill is None else f", fill {self.fill!r}"
        return f"v{self.zarr_format}, {self.kind.name}, {self.codec}, {self.layout}{fill}, missing {self.missing}"

    def write(self, path: Path) -> None:
        """Write it with zarr-python.

        Raises:
            Exception: of zarr-python, which cannot write everything that could be asked for here.
        """
        dtype = VariableLengthBytes() if self.kind.name == "bytes" else self.kind.dtype
        fill = {} if self.fill is None else {"fill_value": self.fill}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of data types and codecs without a specification
            store = MemoryStore()  # which it writes to in half the time
            array = zarr.create_array(store, dtype=dtype, zarr_format=self.zarr_format, **self.options, **fill)
            if self.missing != "all":
                array[...] = self.kind.values(self.shape)
        for key, data in store._store_dict.items():
            file = path / key
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data.to_bytes())
        if self.missing == "some":
            _delete_every_second_file(path)


def attempt_write(case: Case, path: Path) -> bool:
    """Write a case; False where zarr-python cannot."""
    try:
        case.write(path)
    except Exception:
        return False
    return True


def _delete_every_second_file(path: Path) -> None:
    chunks = sorted(file for file in path.rglob("*") if file.is_file() and file.name not in DOCUMENTS)
    for file in chunks[::2]:
        file.unlink()


DOCUMENTS = {"zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"}

LAYOUTS = {
    "line": Layout((23,), (5,)),
    "box": Layout((7, 5, 6), (3, 2, 4)),
    "one chunk": Layout((4, 6), (4, 6)),
    "chunk larger": Layout((3, 4), (8, 8)),
    "no dimensions": Layout((), ()),
    "no elements": Layout((0, 3), (2, 3)),
    "five dimensions": Layout((2, 3, 2, 3, 2), (1, 2, 2, 2, 1)),
}
V2_LAYOUTS = {
    "order F": Layout((7, 5, 6), (3, 2, 4), options={"order": "F"}),
    "separator /": Layout((7, 5), (3, 2), options={"chunk_key_encoding": {"name": "v2", "separator": "/"}}),
}
V3_LAYOUTS = {
    "shards": Layout((14, 10), (2, 3), (6, 6)),
    "one inner chunk": Layout((14, 10), (6, 6), (6, 6)),
    "shard larger": Layout((3, 4), (2, 3), (8, 9)),
    "separator .": Layout((7, 5), (3, 2), options={"chunk_key_encoding": {"name": "default", "separator": "."}}),
    "keys of v2": Layout((7, 5), (3, 2), options={"chunk_key_encoding": {"name": "v2", "separator": "."}}),
}


def options_of(layout: Layout) -> dict[str, Any]:
    """For ``zarr.create_array``."""
    shards = {} if layout.shards is None else {"shards": layout.shards}
    return {"shape": layout.shape, "chunks": layout.chunks, **shards, **layout.options}


# Compressors for any data type: what comes before gives them bytes.
V2_COMPRESSORS: dict[str, Any] = {
    "raw": None,
    "zstd": numcodecs.Zstd(level=1),
    "zstd, checksum": numcodecs.Zstd(level=1, checksum=True),
    "zlib": numcodecs.Zlib(),
    "gzip": numcodecs.GZip(),
    "lz4": numcodecs.LZ4(),
    "bz2": numcodecs.BZ2(),
    "lzma": numcodecs.LZMA(),
    **{
        f"blosc {name} {shuffle}": numcodecs.Blosc(cname=name, shuffle=shuffle)
        for name in ("lz4", "lz4hc", "blosclz", "zlib", "zstd")
        for shuffle in (-1, 0, 1, 2)
    },
}
V3_COMPRESSORS: dict[str, Any] = {
    "raw": None,
    "zstd": ZstdCodec(level=1),
    "zstd, checksum": ZstdCodec(level=1, checksum=True),
    "gzip": GzipCodec(),
    "crc32c": Crc32cCodec(),
    "zstd, crc32c": [ZstdCodec(), Crc32cCodec()],
    **{
        f"blosc {name} {shuffle}": BloscCodec(cname=name, shuffle=shuffle)
        for name in ("lz4", "lz4hc", "blosclz", "zlib", "zstd")
        for shuffle in ("noshuffle", "shuffle", "bitshuffle")
    },
    "numcodecs.zlib": v3_numcodecs.Zlib(),
    "numcodecs.gzip": v3_numcodecs.GZip(),
    "numcodecs.lz4": v3_numcodecs.LZ4(),
    "numcodecs.bz2": v3_numcodecs.BZ2(),
    "numcodecs.lzma": v3_numcodecs.LZMA(),
    "numcodecs.zstd": v3_numcodecs.Zstd(),
    "numcodecs.blosc": v3_numcodecs.Blosc(),
    "numcodecs.shuffle": [v3_numcodecs.Shuffle(elementsize=4), ZstdCodec()],
    "numcodecs.crc32": v3_numcodecs.CRC32(),
    "numcodecs.crc32c": v3_numcodecs.CRC32C(),
    "numcodecs.adler32": v3_numcodecs.Adler32(),
    "numcodecs.fletcher32": v3_numcodecs.Fletcher32(),
    "numcodecs.jenkins_lookup3": v3_numcodecs.JenkinsLookup3(),
}
V2_CHECKSUMS: dict[str, Any] = {
    "crc32": numcodecs.CRC32(),
    "crc32 at end": numcodecs.CRC32(location="end"),
    "crc32c": numcodecs.CRC32C(),
    "adler32": numcodecs.Adler32(),
    "fletcher32": numcodecs.Fletcher32(),
    "jenkins_lookup3": numcodecs.JenkinsLookup3(),
    "shuffle 4": numcodecs.Shuffle(4),
    "base64": numcodecs.Base64(),
}


def _filters(kind: Kind) -> dict[str, list[Any]]:
    """Filters of numcodecs that make sense for a data type; v2 names."""
    name, made = kind.name, {}
    if name in INTS or name in FLOATS:
        made["delta"] = [numcodecs.Delta(name)]
        made["fixedscaleoffset"] = [numcodecs.FixedScaleOffset(offset=1, scale=10, dtype=name, astype="i8")]
        made["astype"] = [numcodecs.AsType(encode_dtype="f8", decode_dtype=name)]
    if name in INTS:
        made["delta, astype"] = [numcodecs.Delta(name, "i8")]
        made["two filters"] = [numcodecs.Delta(name), numcodecs.Shuffle(2)]
    if name in FLOATS:
        made["quantize"] = [numcodecs.Quantize(digits=2, dtype=name)]
        made["bitround"] = [numcodecs.BitRound(keepbits=4)]
    if name == "bool":
        made["packbits"] = [numcodecs.PackBits()]
    return made


def _v3_filters(kind: Kind) -> dict[str, list[Any]]:
    name, made = kind.name, {}
    if name in INTS or name in FLOATS:
        made["numcodecs.delta"] = [v3_numcodecs.Delta(dtype=name)]
        made["numcodecs.fixedscaleoffset"] = [
            v3_numcodecs.FixedScaleOffset(offset=1, scale=10, dtype=name, astype="i8")
        ]
        made["numcodecs.astype"] = [v3_numcodecs.AsType(encode_dtype="f8", decode_dtype=name)]
    if name in FLOATS:
        made["numcodecs.quantize"] = [v3_numcodecs.Quantize(digits=2, dtype=name)]
        made["numcodecs.bitround"] = [v3_numcodecs.BitRound(keepbits=4)]
    if name == "bool":
        made["numcodecs.packbits"] = [v3_numcodecs.PackBits()]
    return made


def _case(
    zarr_format: int,
    kind: Kind,
    layout: str,
    codec: str = "default",
    fill: Any = None,
    missing: str = "none",
    **options: Any,
) -> Case:
    layouts = LAYOUTS | (V2_LAYOUTS if zarr_format == 2 else V3_LAYOUTS)
    made = options_of(layouts[layout]) | options
    return Case(zarr_format, kind, codec, layout, fill, missing, made, layouts[layout].shape)


def cases() -> Iterator[Case]:
    """All arrays of the matrix: each axis against the data types, and the axes against each other for some."""
    seen = set()
    for kind in KINDS.values():
        for case in (*_codec_cases(kind), *_layout_cases(kind), *_fill_cases(kind)):
            if case.name not in seen:
                seen.add(case.name)
                yield case


def _codec_cases(kind: Kind) -> Iterator[Case]:
    for codec, compressor in (V2_COMPRESSORS | V2_CHECKSUMS).items():
        yield _case(2, kind, "box", codec, compressors=compressor)
    for codec, filters in _filters(kind).items():
        yield _case(2, kind, "box", codec, filters=filters, compressors=None)
        yield _case(2, kind, "box", f"{codec}, zstd", filters=filters, compressors=numcodecs.Zstd())
    for codec, compressor in V3_COMPRESSORS.items():
        yield _case(3, kind, "box", codec, compressors=compressor)
        if codec in ("zstd", "gzip", "blosc lz4 shuffle", "numcodecs.lz4"):
            yield _case(3, kind, "shards", codec, compressors=compressor)
    for codec, filters in _v3_filters(kind).items():
        yield _case(3, kind, "box", codec, filters=filters, compressors=None)
        yield _case(3, kind, "shards", codec, filters=filters, compressors=ZstdCodec())
    if kind.big_endian:
        yield _case(3, kind, "box", "big-endian", serializer=BytesCodec(endian="big"))
        yield _case(3, kind, "shards", "big-endian", serializer=BytesCodec(endian="big"))
        yield _case(2, kind._replace(dtype=_swapped(kind)), "box", "big-endian")
    yield from _array_codec_cases(kind)


def _swapped(kind: Kind) -> Any:
    return np.dtype(kind.dtype).newbyteorder(">")


def _array_codec_cases(kind: Kind) -> Iterator[Case]:
    yield _case(3, kind, "box", "transpose", filters=[TransposeCodec(order=(2, 0, 1))])
    yield _case(3, kind, "shards", "transpose", filters=[TransposeCodec(order=(1, 0))])
    serializer = {"string": VLenUTF8Codec(), "bytes": VLenBytesCodec()}.get(kind.name, BytesCodec())
    plain: dict[str, Callable[[], Any]] = {
        "index at start": lambda: ShardingCodec(
            chunk_shape=(2, 3), codecs=[serializer, ZstdCodec()], index_location="start"
        ),
        "index without checksum": lambda: ShardingCodec(
            chunk_shape=(2, 3), codecs=[serializer], index_codecs=[BytesCodec()]
        ),
        "nested shards": lambda: ShardingCodec(
            chunk_shape=(4, 6), codecs=[ShardingCodec(chunk_shape=(2, 3), codecs=[serializer, GzipCodec()])]
        ),
    }
    for codec, make in plain.items():
        options = {"chunks": (8, 12), "filters": [], "compressors": [], "serializer": make()}
        yield _case(3, kind, "shards", codec, **options, shards=None)
    wrapped = ShardingCodec(chunk_shape=(2, 3), codecs=[serializer])
    around = {"filters": [], "compressors": [ZstdCodec()], "serializer": wrapped, "chunks": (8, 12), "shards": None}
    yield _case(3, kind, "shards", "codec around shards", **around)
    inside = ShardingCodec(chunk_shape=(4, 4), codecs=[serializer])
    outside = {"filters": [TransposeCodec(order=(1, 0))], "compressors": [], "serializer": inside}
    yield _case(3, kind, "shards", "transpose around shards", **outside, chunks=(12, 8), shards=None)


def _layout_cases(kind: Kind) -> Iterator[Case]:
    for layout in LAYOUTS | V2_LAYOUTS:
        yield _case(2, kind, layout, missing="none")
        yield _case(2, kind, layout, missing="some")
    for layout in LAYOUTS | V3_LAYOUTS:
        yield _case(3, kind, layout, missing="none")
        yield _case(3, kind, layout, missing="some")


def _fill_cases(kind: Kind) -> Iterator[Case]:
    for fill in (None, *kind.fills):
        yield _case(2, kind, "box", fill=fill, missing="all")
        yield _case(3, kind, "box", fill=fill, missing="all")
        yield _case(3, kind, "shards", fill=fill, missing="some")
        yield _case(2, kind, "line", fill=fill, missing="some")
