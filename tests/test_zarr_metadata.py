"""Metadata documents against zarr-python: what it wrote is read as it reads it, what is damaged is a clear error."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ringio_zarr._chain import build_pipeline
from ringio_zarr._document import parse_json
from ringio_zarr._errors import MetadataError, UnsupportedError
from ringio_zarr._metadata import ArrayMetadata, parse_array_metadata, parse_group_metadata

V2: dict[str, Any] = {
    "zarr_format": 2,
    "shape": [4, 6],
    "chunks": [2, 3],
    "dtype": "<i2",
    "fill_value": 0,
    "order": "C",
    "filters": None,
    "compressor": {"id": "zlib", "level": 1},
}
V3: dict[str, Any] = {
    "zarr_format": 3,
    "node_type": "array",
    "shape": [4, 6],
    "data_type": "int16",
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2, 3]}},
    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
    "fill_value": 0,
    "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
    "attributes": {"unit": "K"},
}
SHARDING: dict[str, Any] = {
    "name": "sharding_indexed",
    "configuration": {
        "chunk_shape": [1, 3],
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "zstd", "configuration": {}}],
        "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
        "index_location": "end",
    },
}
DTYPES = [
    *["bool", "i1", "u1", "<i2", ">i2", "<i4", "<u4", "<i8", ">u8", "<f2", ">f4", "<f8", "<c8", ">c16"],
    *["<M8[s]", ">M8[10us]", "<M8[D]", "<m8[ns]", ">m8[25s]", "S5", "<U3", ">U3", "V4"],
]
FILLS = {
    "b": True,
    "i": -3,
    "u": 7,
    "f": float("nan"),
    "c": 1 - 2j,
    "M": np.datetime64("NaT", "s"),
    "m": 5,
    "S": b"ab",
    "U": "xé",
    "V": b"abcd",
}


def parse(document: dict[str, Any], **changes: Any) -> ArrayMetadata:
    changed = {**document, **changes}
    return parse_array_metadata(changed, zarr_format=changed["zarr_format"], path="a/doc")


def create(path: Path, **options: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some data types have no v3 specification yet
        zarr.create_array(store=str(path), **options)


def read(path: Path) -> tuple[ArrayMetadata, Any]:
    """The metadata as it is read here, and the array as zarr-python opens it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array = zarr.open_array(str(path), mode="r")
    zarr_format = array.metadata.zarr_format
    document = path / (".zarray" if zarr_format == 2 else "zarr.json")
    metadata = parse_array_metadata(
        parse_json(document.read_bytes(), str(document)), zarr_format=zarr_format, path=str(document)
    )
    return metadata, array


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_data_type_is_what_zarr_python_says(tmp_path: Path, dtype: str, zarr_format: int) -> None:
    """Shape, chunks, dtype, order, and the fill value with its type and its bytes are those of zarr-python."""
    for number, (shape, chunks) in enumerate([((4, 6), (2, 3)), ((), ()), ((0, 3), (1, 2))]):
        path = tmp_path / str(number)
        fill_value = FILLS[np.dtype(dtype).kind]
        create(path, shape=shape, chunks=chunks, dtype=dtype, fill_value=fill_value, zarr_format=zarr_format)
        metadata, array = read(path)
        assert (metadata.shape, metadata.chunks, metadata.shards) == (array.shape, array.chunks, array.shards)
        assert (metadata.dtype, metadata.order, metadata.ndim) == (array.dtype, array.order, array.ndim)
        assert type(metadata.fill_value) is type(array.fill_value)
        assert metadata.fill_data == np.full((), array.fill_value, array.dtype).tobytes()


@pytest.mark.parametrize(
    "options",
    [
        {"shards": (4, 6)},
        {"shards": (4, 6), "attributes": {"a": [1, {"b": None}]}, "dimension_names": ["y", None]},
        {"chunk_key_encoding": {"name": "v2", "separator": "."}},
        {"chunk_key_encoding": {"name": "default", "separator": "."}},
        {"filters": [zarr.codecs.TransposeCodec(order=(1, 0))], "compressors": [zarr.codecs.BloscCodec()]},
        {"serializer": zarr.codecs.BytesCodec(endian="big"), "compressors": [zarr.codecs.GzipCodec()]},
        {"compressors": [zarr.codecs.ZstdCodec(checksum=True), zarr.codecs.Crc32cCodec()]},
        {"zarr_format": 2, "order": "F"},
        {"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "/"}, "attributes": {"a": 1}},
        {"zarr_format": 2, "fill_value": None, "filters": [numcodecs.Shuffle(2)]},
    ],
)
def test_every_option_is_what_zarr_python_says(tmp_path: Path, options: dict[str, Any]) -> None:
    """Shards, keys, codecs, attributes and names of what zarr-python wrote are those that it reads back."""
    create(tmp_path / "a", **{"shape": (8, 12), "chunks": (2, 3), "dtype": "<i2", **options})
    metadata, array = read(tmp_path / "a")
    assert (metadata.chunks, metadata.shards, metadata.order) == (array.chunks, array.shards, array.order)
    if metadata.zarr_format == 3:
        assert metadata.attributes == dict(array.attrs)
        assert metadata.dimension_names == array.metadata.dimension_names
        assert [codec["name"] for codec in metadata.codecs] == [
            codec["name"] for codec in array.metadata.to_dict()["codecs"]
        ]
    for coordinates in [(0, 0), (1, 2)]:
        assert metadata.chunk_keys.encode(coordinates) == array.metadata.encode_chunk_key(coordinates)


def test_groups(tmp_path: Path) -> None:
    """Groups that zarr-python wrote: attributes, and the consolidated documents of a v3 group."""
    for zarr_format, name in [(2, ".zgroup"), (3, "zarr.json")]:
        path = tmp_path / str(zarr_format)
        group = zarr.create_group(str(path), zarr_format=zarr_format, attributes={"a": 1})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            group.create_array("x/y", shape=(4,), dtype="i2")
            zarr.consolidate_metadata(str(path))
        document = parse_json((path / name).read_bytes(), name)
        metadata = parse_group_metadata(document, zarr_format=zarr_format, attributes={"a": 1}, path=name)
        assert metadata.attributes == {"a": 1}
        if zarr_format == 3:
            assert metadata.consolidated is not None
            assert set(metadata.consolidated) == {"x", "x/y"}
            inner = parse_array_metadata(metadata.consolidated["x/y"], zarr_format=3, path=name)
            assert inner.shape == (4,)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"a": 1} x', "not valid JSON"),
        (b"[1]", "expected a JSON object, got [1]"),
        (b"null", "expected a JSON object"),
        (b'{"a": "\xff"}', "not valid JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b"[" * 1_000_000, "not valid JSON"),
        (b'{"a":' * 1_000_000, "not valid JSON"),
        (b"\x00" * 64, "not valid JSON"),
    ],
)
def test_what_is_not_json_is_a_metadata_error(data: bytes, problem: str) -> None:
    """Cut, binary, not UTF-8, too deep, a number of thousands of digits: MetadataError that names the document."""
    with pytest.raises(MetadataError) as error:
        parse_json(data, "/data/zarr.json")
    assert str(error.value).startswith("/data/zarr.json: ")
    assert problem in str(error.value)
    assert len(str(error.value)) < 300


def test_any_depth_of_nesting_is_json_or_a_metadata_error() -> None:
    """Right below the parser's limit a value parses but is too deep for repr(): the message still comes out."""
    for depth in [100, *range(800, 1100, 10), 5_000, 10_000, 50_000]:
        data = b'{"zarr_format": 3, "node_type": "array", "shape": ' + b"[" * depth + b"]" * depth + b"}"
        with pytest.raises(MetadataError):
            parse_array_metadata(parse_json(data, "d"), zarr_format=3, path="d")


def test_json_that_zarr_python_takes() -> None:
    """A byte-order mark, the tokens NaN and Infinity, and a repeated member (the last counts) are taken."""
    assert parse_json(b'\xef\xbb\xbf{"a": 1}', "d") == {"a": 1}
    assert parse_json(b'{"a": Infinity, "b": -Infinity}', "d") == {"a": float("inf"), "b": float("-inf")}
    assert parse_json(b'{"a": 1, "a": 2}', "d") == {"a": 2}
    metadata = parse(V2, dtype="<f4", fill_value=json.loads("NaN"))
    assert np.isnan(metadata.fill_value)


@pytest.mark.parametrize(
    ("changes", "key", "problem"),
    [
        ({"shape": [4, -1]}, "shape[1]", "expected an integer from 0 to 2**63 - 1, got -1"),
        ({"shape": [4, 2**63]}, "shape[1]", "expected an integer from 0"),
        ({"shape": [4, 6.0]}, "shape[1]", "expected an integer, got 6.0"),
        ({"shape": [4, True]}, "shape[1]", "expected an integer, got True"),
        ({"shape": [4, None]}, "shape[1]", "expected an integer, got None"),
        ({"shape": 4}, "shape", "expected a list of integers, got 4"),
        ({"shape": "44"}, "shape", "expected a list of integers"),
        ({"shape": [1] * 33}, "shape", "33 dimensions, at most 32 are supported"),
        ({"shape": [4]}, "", "has 2 dimensions, the array has 1"),
        ({"zarr_format": True}, "zarr_format", "got True"),
    ],
)
@pytest.mark.parametrize("document", [V2, V3], ids=["v2", "v3"])
def test_absurd_shapes(document: dict[str, Any], changes: dict[str, Any], key: str, problem: str) -> None:
    """Negative, huge, not an integer, too many dimensions: MetadataError naming document, key and value."""
    with pytest.raises(MetadataError) as error:
        parse_array_metadata({**document, **changes}, zarr_format=document["zarr_format"], path="a/doc")
    assert str(error.value).startswith(f"a/doc: {key}")
    assert problem in str(error.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"chunks": [-1, 3]}, ["chunks[0]", "-1"]),
        ({"chunks": [2, -3]}, ["chunks[1]", "-3"]),
        ({"order": "A"}, ["order", "'C' or 'F'"]),
        ({"order": ["C"]}, ["order"]),
        ({"dimension_separator": "-"}, ["dimension_separator", "'/' or '.'"]),
        ({"dimension_separator": ""}, ["dimension_separator"]),
        ({"filters": 3}, ["filters", "list of filters"]),
        ({"filters": [None]}, ["filters[0]", "with an id"]),
        ({"compressor": "zlib"}, ["compressor", "expected an object"]),
        ({"compressor": {"level": 1}}, ["compressor", "'id' is missing"]),
        ({"compressor": {"id": ["zlib"]}}, ["compressor.id", "expected a string"]),
        ({"dtype": "i99"}, ["dtype", "'i99'"]),
        ({"dtype": "|i2"}, ["dtype", "byte order"]),
        ({"dtype": 7}, ["dtype", "got 7"]),
        ({"dtype": "<M8[parsec]"}, ["dtype", "parsec"]),
        ({"dtype": "|S0"}, ["dtype", "zero bytes"]),
        ({"fill_value": "x"}, ["fill_value", "expected an integer"]),
    ],
)
def test_v2_documents_that_cannot_be_right(changes: dict[str, Any], words: list[str]) -> None:
    """Each member of a v2 document that makes no sense is named, with what is there."""
    with pytest.raises(MetadataError) as error:
        parse(V2, **changes)
    assert not isinstance(error.value, UnsupportedError)
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"node_type": "group"}, ["node_type", "'array'"]),
        ({"attributes": [1]}, ["attributes", "expected an object"]),
        ({"surprise": 1}, ["unknown key 'surprise'"]),
        ({"surprise": {"must_understand": True}}, ["unknown key 'surprise'"]),
        ({"surprise": {"must_understand": 0}}, ["unknown key 'surprise'"]),
        ({"chunk_grid": {"name": "regular"}}, ["'chunk_shape' is missing"]),
        ({"chunk_grid": {"configuration": {}}}, ["'name' is missing"]),
        ({"chunk_grid": {"name": ["regular"]}}, ["chunk_grid.name"]),
        ({"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [-1, 3]}}}, ["chunk_shape[0]"]),
        ({"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2, 3], "x": 1}}}, ["'x'"]),
        ({"chunk_key_encoding": {"name": "default", "configuration": {"separator": ":"}}}, ["separator"]),
        ({"dimension_names": ["x"]}, ["1 names for 2 dimensions"]),
        ({"dimension_names": ["x", 1]}, ["dimension_names"]),
        ({"dimension_names": "xy"}, ["dimension_names"]),
        ({"fill_value": None}, ["fill_value"]),
        ({"codecs": []}, ["codecs", "got none"]),
        ({"codecs": {"name": "bytes"}}, ["list of codecs"]),
        ({"codecs": [None]}, ["codecs[0]"]),
        ({"codecs": ["bytes", "bytes"]}, ["bytes, bytes"]),
        ({"codecs": ["zstd", "bytes"]}, ["zstd, bytes"]),
        ({"codecs": ["bytes", {"name": "transpose", "configuration": {"order": [1, 0]}}]}, ["bytes, transpose"]),
        ({"codecs": ["transpose", "bytes"]}, ["'order' is missing"]),
        ({"codecs": [{"name": "transpose", "configuration": {"order": [0, 0]}}, "bytes"]}, ["no permutation"]),
        ({"codecs": [{"name": "transpose", "configuration": {"order": [0]}}, "bytes"]}, ["order"]),
        ({"codecs": [{"name": "transpose", "configuration": {"order": [0, 2]}}, "bytes"]}, ["no permutation"]),
        ({"codecs": [{"name": "bytes", "configuration": {"endian": "middle"}}]}, ["endian", "'middle'"]),
        ({"codecs": [{"name": "bytes", "configuration": [1]}]}, ["codecs[0].configuration"]),
        ({"data_type": {"name": "numpy.datetime64", "configuration": {"unit": [], "scale_factor": 1}}}, ["unit"]),
        ({"data_type": {"name": "numpy.datetime64", "configuration": {"unit": "s"}}}, ["scale_factor"]),
        ({"data_type": {"name": "numpy.datetime64", "configuration": {"unit": "s", "scale_factor": 2**40}}}, ["M8"]),
        ({"data_type": {"name": "fixed_length_utf32", "configuration": {"length_bytes": 7}}}, ["multiple of 4"]),
        ({"data_type": {"name": "raw_bytes", "configuration": {"length_bytes": 0}}}, ["zero bytes"]),
        ({"data_type": "r12"}, ["multiple of 8"]),
        ({"data_type": {"name": "int16", "configuration": {"endian": "big"}}}, ["'endian'"]),
    ],
)
def test_v3_documents_that_cannot_be_right(changes: dict[str, Any], words: list[str]) -> None:
    """Each member of a v3 document that makes no sense is named, with what is there."""
    with pytest.raises(MetadataError) as error:
        parse(V3, **changes)
    assert not isinstance(error.value, UnsupportedError)
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize(
    ("document", "changes", "name"),
    [
        (V2, {"dtype": "<f16"}, "<f16"),
        (V2, {"dtype": "|S99999999"}, "99999999"),
        (V3, {"data_type": "float256"}, "'float256'"),
        (V3, {"chunk_grid": {"name": "hexagonal", "configuration": {}}}, "'hexagonal'"),
        (V3, {"chunk_key_encoding": {"name": "fanout"}}, "'fanout'"),
        (V3, {"storage_transformers": [{"name": "cache"}]}, "cache"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(document: dict[str, Any], changes: dict[str, Any], name: str) -> None:
    """A valid document that wants something we lack is an UnsupportedError, a NotImplementedError, that names it."""
    with pytest.raises(UnsupportedError, match="supported") as error:
        parse(document, **changes)
    assert name in str(error.value)
    assert isinstance(error.value, NotImplementedError)


@pytest.mark.parametrize("key", sorted(V2.keys() - {"zarr_format", "filters"}))
def test_v2_keys_that_must_be_there(key: str) -> None:
    """A missing required key is named."""
    document = {name: value for name, value in V2.items() if name != key}
    with pytest.raises(MetadataError, match=f"required key '{key}' is missing"):
        parse(document)


@pytest.mark.parametrize("key", sorted(V3.keys() - {"zarr_format", "attributes"}))
def test_v3_keys_that_must_be_there(key: str) -> None:
    """A missing required key is named."""
    document = {name: value for name, value in V3.items() if name != key}
    with pytest.raises(MetadataError, match=f"required key '{key}' is missing"):
        parse(document)


def test_what_need_not_be_understood_is_passed_over() -> None:
    """An unknown member of v3 is fine where it says must_understand false; v2 has always allowed unknown members."""
    assert parse(V3, surprise={"name": "x", "must_understand": False}).shape == (4, 6)
    assert parse(V3, storage_transformers=[], dimension_names=None, attributes=None).attributes == {}
    assert parse(V2, surprise=1).shape == (4, 6)


@pytest.mark.parametrize(
    ("spelling", "codecs"),
    [
        (["bytes"], [{"name": "bytes", "configuration": {"endian": "little"}}]),
        ([{"name": "bytes"}], [{"name": "bytes", "configuration": {"endian": "little"}}]),
        ([{"name": "bytes", "configuration": {}}], [{"name": "bytes", "configuration": {"endian": "little"}}]),
        ([{"name": "bytes", "configuration": None}], [{"name": "bytes", "configuration": {"endian": "little"}}]),
        (
            [{"name": "endian", "configuration": {"endian": "big"}}],
            [{"name": "bytes", "configuration": {"endian": "big"}}],
        ),
        (
            [{"name": "transpose", "configuration": {"order": "F"}}, "bytes", "crc32c"],
            [
                {"name": "transpose", "configuration": {"order": (1, 0)}},
                {"name": "bytes", "configuration": {"endian": "little"}},
                {"name": "crc32c", "configuration": {}},
            ],
        ),
        (
            [{"name": "transpose", "configuration": {"order": "C"}}, "bytes"],
            [
                {"name": "transpose", "configuration": {"order": (0, 1)}},
                {"name": "bytes", "configuration": {"endian": "little"}},
            ],
        ),
        (
            ["bytes", {"name": "numcodecs.shuffle"}, {"name": "numcodecs.zlib", "configuration": {"level": 1}}],
            [
                {"name": "bytes", "configuration": {"endian": "little"}},
                {"name": "shuffle", "configuration": {"elementsize": 0}},
                {"name": "zlib", "configuration": {"level": 1}},
            ],
        ),
    ],
)
def test_old_spellings_become_one(spelling: list[Any], codecs: list[Any]) -> None:
    """Bare names, absent configurations, "endian", "C" and "F", and numcodecs names all end in the same words."""
    assert list(parse(V3, codecs=spelling).codecs) == codecs


@pytest.mark.parametrize(("elementsize", "expected"), [(0, 0), (8, 8), (None, 4)])
def test_v2_shuffle_element_size(elementsize: int | None, expected: int) -> None:
    """netCDF-C writes 0 and means the size of an item; numcodecs means 4 where nothing is written."""
    shuffle = {"id": "shuffle"} if elementsize is None else {"id": "shuffle", "elementsize": elementsize}
    assert parse(V2, filters=[shuffle]).codecs[1]["configuration"] == {"elementsize": expected}


def test_v2_defaults_and_old_habits() -> None:
    """No separator is ".", 0 as the chunk of a dimension of no elements is 1, netCDF-C's "<u1" is a byte."""
    metadata = parse(V2, shape=[0, 6], chunks=[0, 3], dtype="<u1", dimension_separator=None, filters=[])
    assert metadata.chunk_keys.encode((1, 2)) == "1.2"
    assert metadata.chunk_shape == (1, 3)
    assert metadata.dtype == np.dtype("u1")
    assert parse(V3, shape=[0, 6], chunk_grid={"name": "regular", "configuration": {"chunk_shape": [0, 3]}}).chunks == (
        1,
        3,
    )


def test_sharding_defaults_and_limits() -> None:
    """The index stands at the end unless it says otherwise; nesting has a limit; odd index codecs are named."""
    sharding = copy.deepcopy(SHARDING)
    del sharding["configuration"]["index_location"]
    metadata = parse(V3, codecs=[sharding])
    assert metadata.sharding is not None
    assert metadata.sharding["index_location"] == "end"
    assert (metadata.chunks, metadata.shards) == ((1, 3), (2, 3))
    for _ in range(7):
        outer = copy.deepcopy(SHARDING)
        outer["configuration"]["codecs"] = [sharding]
        sharding = outer
    with pytest.raises(UnsupportedError, match="nested more than 7 deep"):
        parse(V3, codecs=[sharding])
    bad = copy.deepcopy(SHARDING)
    bad["configuration"]["index_codecs"].append({"name": "zstd"})
    with pytest.raises(UnsupportedError, match=r"index_codecs\[2\].*'zstd' for a shard index"):
        parse(V3, codecs=[bad])
    for key in ("chunk_shape", "codecs", "index_codecs"):
        bad = copy.deepcopy(SHARDING)
        del bad["configuration"][key]
        with pytest.raises(MetadataError, match=f"'{key}' is missing"):
            parse(V3, codecs=[bad])


def test_raw_bits_of_the_core_specification() -> None:
    """zarr-python does not know r<N>; other writers do."""
    metadata = parse(V3, data_type="r32", fill_value=[1, 2, 3, 255])
    assert metadata.dtype == np.dtype("V4")
    assert metadata.fill_data == b"\x01\x02\x03\xff"


@pytest.mark.parametrize(
    "changes",
    [
        {"node_type": "array"},
        {"zarr_format": 2},
        {"surprise": 1},
        {"attributes": 3},
        {"consolidated_metadata": {"kind": "elsewhere", "metadata": {}}},
        {"consolidated_metadata": {"kind": "inline"}},
        {"consolidated_metadata": [1]},
    ],
)
def test_groups_that_cannot_be_right(changes: dict[str, Any]) -> None:
    """A group document with the wrong type, format, members or consolidated metadata is a MetadataError."""
    document = {"zarr_format": 3, "node_type": "group", **changes}
    with pytest.raises(MetadataError, match=next(iter(changes))):
        parse_group_metadata(document, zarr_format=3, path="g/zarr.json")


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["bytes", "transpose", "sharding_indexed", "F", "big", "<f8", "NaN", "0x7fc00001", "int8", "r8"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["name", "configuration", "id", "order", "endian", "chunk_shape", "codecs"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


def places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way] + [place for key, item in items for place in places(item, (*way, key))]


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_a_mutated_document_is_metadata_or_a_metadata_error(data: st.DataObject) -> None:
    """Whatever stands at whatever place, opening ends in a pipeline or in a MetadataError of bounded length."""
    sharded = {**V3, "codecs": [SHARDING]}
    group = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {},
        "consolidated_metadata": {"kind": "inline", "metadata": {"a": {}}},
    }
    document = copy.deepcopy(data.draw(st.sampled_from([V2, V3, sharded, group])))
    zarr_format = document["zarr_format"]
    for _ in range(data.draw(st.integers(1, 2))):
        *way, last = data.draw(st.sampled_from(places(document)[1:]))
        parent = document
        for key in way:
            parent = parent[key]
        parent[last] = data.draw(anything)
    problem = ""
    try:
        if document.get("node_type") == "group":
            parse_group_metadata(document, zarr_format=zarr_format, path="d")
        else:
            build_pipeline(parse_array_metadata(document, zarr_format=zarr_format, path="d"))
    except MetadataError as error:
        problem = str(error)
    assert problem == "" or problem.startswith("d: ")
    assert len(problem) < 500
