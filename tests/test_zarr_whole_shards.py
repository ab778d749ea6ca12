"""Codecs in front of shards that change items: such shards are decoded as a whole."""

from __future__ import annotations

import json
import pickle
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numcodecs
import numpy as np
import pytest
import zarr
from zarr.codecs import BytesCodec, GzipCodec, ShardingCodec, ZstdCodec

import ringio
import ringio_zarr

pytestmark = pytest.mark.filterwarnings("ignore::Warning:zarr", "ignore::Warning:numcodecs")

SHAPE = (24, 24)
SIDE = 8  # of a shard
INTEGERS = np.random.default_rng(0).integers(0, 100, SHAPE).astype("<i4")
FLOATS = INTEGERS.astype("<f8") / 4


class Case(NamedTuple):
    """Codecs in front of a shard.

    Attributes:
        values: of an array.
        codecs: as a document has them.
        encode: a chunk of it, as the shard has it.
        encoded_fill: what the fill value 5 is there.
    """

    values: Any
    codecs: list[dict[str, Any]]
    encode: Any
    encoded_fill: float = 5


def numcodec(name: str, **configuration: Any) -> dict[str, Any]:
    return {"name": f"numcodecs.{name}", "configuration": configuration}


def codec(name: str, **configuration: Any) -> dict[str, Any]:
    return {"name": name, "configuration": configuration}


def by_numcodecs(name: str, **configuration: Any) -> Any:
    made = numcodecs.get_codec({"id": name, **configuration})
    return lambda chunk: np.asarray(made.encode(chunk.reshape(-1))).reshape(chunk.shape)


DELTA: dict[str, Any] = {"dtype": "<i4", "astype": "<i2"}
SCALED: dict[str, Any] = {"offset": 0, "scale": 4, "dtype": "<f8", "astype": "<i2"}
AS_TYPE = {"encode_dtype": "<f4", "decode_dtype": "<i4"}
MAP = {"encode": [["NaN", 255], [5.0, 254]], "decode": [[255, "NaN"], [254, 5.0]]}
TURN = codec("transpose", order=[1, 0])
CASES = {
    "delta": Case(INTEGERS, [numcodec("delta", dtype="<i4")], by_numcodecs("delta", dtype="<i4")),
    "delta, astype": Case(INTEGERS, [numcodec("delta", **DELTA)], by_numcodecs("delta", **DELTA)),
    "bitround": Case(FLOATS.astype("<f4"), [numcodec("bitround", keepbits=12)], by_numcodecs("bitround", keepbits=12)),
    "fixedscaleoffset": Case(
        FLOATS, [numcodec("fixedscaleoffset", **SCALED)], by_numcodecs("fixedscaleoffset", **SCALED)
    ),
    "astype": Case(INTEGERS, [numcodec("astype", **AS_TYPE)], lambda chunk: chunk.astype("<f4")),
    "turned delta": Case(
        INTEGERS, [TURN, numcodec("delta", dtype="<i4")], lambda chunk: by_numcodecs("delta", dtype="<i4")(chunk.T)
    ),
    "delta turned": Case(
        INTEGERS, [numcodec("delta", dtype="<i4"), TURN], lambda chunk: by_numcodecs("delta", dtype="<i4")(chunk).T
    ),
    "scale_offset": Case(FLOATS, [codec("scale_offset", offset=1, scale=4)], lambda chunk: (chunk - 1) * 4, 16),
    "scale_offset of integers": Case(
        INTEGERS, [codec("scale_offset", offset=3, scale=2)], lambda chunk: (chunk - 3) * 2, 4
    ),
    "cast_value": Case(INTEGERS, [codec("cast_value", data_type="float32")], lambda chunk: chunk.astype("<f4")),
    "cast_value, mapped": Case(
        INTEGERS.astype("<f8"),
        [codec("cast_value", data_type="uint8", scalar_map=MAP)],
        lambda chunk: np.where(chunk == 5, 254, chunk).astype("u1"),
        254,
    ),
    "scaled and cast": Case(
        FLOATS,
        [codec("scale_offset", offset=1, scale=4), codec("cast_value", data_type="int16")],
        lambda chunk: ((chunk - 1) * 4).astype("<i2"),
        16,
    ),
}
INSIDE = {
    "raw": ShardingCodec(chunk_shape=(4, 4), codecs=[BytesCodec()]),
    "zstd": ShardingCodec(chunk_shape=(2, 4), codecs=[BytesCodec(), ZstdCodec()], index_location="start"),
    "nested": ShardingCodec(
        chunk_shape=(8, 4), codecs=[ShardingCodec(chunk_shape=(4, 4), codecs=[BytesCodec(), GzipCodec()])]
    ),
}


def write(path: Path, name: str, inside: str, around: list[Any]) -> Any:
    """Encoded chunks as an array of shards, whose document then gets the codecs that encoded them.

    Returns:
        What is to be read: with missing inner chunks, and missing shards.
    """
    case = CASES[name]
    encoded = np.block([
        [case.encode(case.values[y : y + SIDE, x : x + SIDE]) for x in range(0, SHAPE[1], SIDE)]
        for y in range(0, SHAPE[0], SIDE)
    ])  # fmt: skip
    encoded[0:4, 4:8] = encoded[12:16, 8:24] = encoded[16:] = case.encoded_fill
    array = zarr.create_array(
        path,
        shape=SHAPE,
        dtype=encoded.dtype,
        chunks=(SIDE, SIDE),
        serializer=INSIDE[inside],
        compressors=around,
        fill_value=case.encoded_fill,
    )
    array[...] = encoded
    document = json.loads((path / "zarr.json").read_text())
    document |= {"data_type": case.values.dtype.name, "fill_value": 5, "codecs": case.codecs + document["codecs"]}
    (path / "zarr.json").write_text(json.dumps(document))
    expected = case.values.copy()
    expected[16:] = 5
    return expected


def known_places(name: str) -> Any:
    """Where there is no fill value: what that decodes to says zarr-python."""
    known = np.ones(SHAPE, bool)
    holes = known.T if "turned" in name else known
    holes[0:8, 0:8] = False
    known[8:16, 8:] = False
    return known


@pytest.mark.parametrize("around", [[], [GzipCodec()]], ids=["", "gzip"])
@pytest.mark.parametrize("inside", INSIDE)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.zarr_3_4
def test_codecs_in_front(tmp_path: Path, name: str, inside: str, around: list[Any]) -> None:
    """With missing inner chunks, whose fill value some codecs change, and missing shards."""
    if "cast" in name:
        pytest.importorskip("cast_value_rs")
    expected = write(tmp_path / "a", name, inside, around)
    array = ringio_zarr.open_array(tmp_path / "a")
    found = array[...]
    known = known_places(name)
    np.testing.assert_array_equal(found[known], expected[known])
    if "delta" not in name and name != "fixedscaleoffset":
        np.testing.assert_array_equal(found[0:4, 4:8], 5)
    for selection in [(slice(2, 21, 3), slice(None, None, 4)), ([17, 3, 3, 23], slice(1, 19)), (19, 23)]:
        np.testing.assert_array_equal(array[selection], found[selection])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(array))[...], found)
    crops = array.read_crops([[0, 0], [14, 13]], (10, 10))
    np.testing.assert_array_equal(crops, [found[:10, :10], found[14:24, 13:23]])
    if name != "delta turned":  # there zarr-python takes the items in another order than it has written them in
        np.testing.assert_array_equal(found, zarr.open_array(tmp_path / "a", mode="r")[...])


@pytest.mark.zarr_3_4
def test_damaged(tmp_path: Path) -> None:
    """The message names chunk and file; other chunks are read."""
    write(tmp_path / "a", "delta", "raw", [])
    shard = tmp_path / "a/c/0/0"
    whole = shard.read_bytes()
    expected = ringio_zarr.open_array(tmp_path / "a")[8:16]
    for data in (b"", b"x" * 20, whole[:-3]):
        shard.write_bytes(data)
        array = ringio_zarr.open_array(tmp_path / "a")
        with pytest.raises(ringio.DecodeError, match=r"chunk \(0, 0\) of .*a/c/0/0"):
            array[...]
        np.testing.assert_array_equal(array[8:16], expected)


@pytest.mark.zarr_3_4
def test_a_fill_value_that_has_no_encoding(tmp_path: Path) -> None:
    pytest.importorskip("cast_value_rs")
    write(tmp_path / "a", "cast_value, mapped", "raw", [])
    path = tmp_path / "a/zarr.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "fill_value": -7}))
    with pytest.raises(ringio_zarr.MetadataError, match=r"codecs\[1\]: codec 'cast_value' has no value for the fill"):
        ringio_zarr.open_array(tmp_path / "a")


def test_codecs_that_leave_another_number_of_dimensions(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a", shape=(8, 8), dtype="u1", chunks=(8, 8), shards=(8, 8))
    path = tmp_path / "a/zarr.json"
    document = json.loads(path.read_text())
    document["data_type"], document["fill_value"] = "bool", False
    document["codecs"].insert(0, {"name": "numcodecs.packbits", "configuration": {}})
    path.write_text(json.dumps(document))
    with pytest.raises(ringio_zarr.MetadataError, match=r"zarr\.json: codecs: "):
        ringio_zarr.open_array(tmp_path / "a")


def bare_shard(path: Path, length: int, inner: int, *, in_front: Any = (), behind: Any = (), **document: Any) -> Path:
    """An array of one shard, of bytes unless said otherwise; the shard is not there."""
    index_codecs = [codec("bytes", endian="little")]
    sharding = codec("sharding_indexed", chunk_shape=[inner], codecs=[codec("bytes")], index_codecs=index_codecs)
    document = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [length],
        "data_type": "uint8",
        "chunk_grid": codec("regular", chunk_shape=[length]),
        "chunk_key_encoding": {"name": "default"},
        "fill_value": 0,
        "codecs": [*in_front, sharding, *behind],
        **document,
    }
    (path / "c").mkdir(parents=True)
    (path / "zarr.json").write_text(json.dumps(document))
    return path


@pytest.mark.parametrize(
    ("data_type", "fill_value", "offset", "scale"),
    [("int8", 100, 0, 2), ("uint8", 5, 7, 1), ("int64", 2**62, 0, 2), ("uint64", 2**63, 0, 2)],
)
def test_a_scaled_fill_value_that_is_too_large(
    tmp_path: Path, data_type: str, fill_value: int, offset: int, scale: int
) -> None:
    """It is refused when the array is opened, as by zarr-python, and does not wrap around."""
    in_front = [codec("scale_offset", offset=offset, scale=scale)]
    bare_shard(tmp_path / "a", 8, 2, in_front=in_front, data_type=data_type, fill_value=fill_value)
    with pytest.raises(ringio_zarr.MetadataError, match=rf"'scale_offset' has no value for .* outside of {data_type}"):
        ringio_zarr.open_array(tmp_path / "a")


IN_FRONT = [codec("scale_offset", offset=0, scale=2)]
GZIP = codec("gzip", level=1)


def test_a_shard_is_no_larger_than_the_memory_limit(tmp_path: Path) -> None:
    """As a chunk without a shard; what a document says takes no memory."""
    path = bare_shard(tmp_path / "a", 2**36, 2**28, in_front=IN_FRONT)
    (path / "c/0").write_bytes(b"\xff" * 16 * 2**8)
    with pytest.raises(ringio.MemoryLimitError, match=r"chunk \(0,\) of .*needs 68719476736 bytes at once"):
        ringio_zarr.open_array(path)[:4]
    with pytest.raises(ringio.MemoryLimitError, match=r"needs 68719476736 bytes at once"):
        ringio_zarr.open_array(store_of(path))[:4]


def store_of(path: Path) -> Any:
    """The same files in a store of obstore."""
    from obstore.store import MemoryStore

    store = MemoryStore()
    for file in path.rglob("*"):
        if file.is_file():
            store.put(file.relative_to(path).as_posix(), file.read_bytes())
    return store


@pytest.mark.parametrize("in_front", [[], IN_FRONT], ids=["", "whole"])
def test_a_small_file_that_inflates_to_far_more_than_a_shard(tmp_path: Path, in_front: list[Any]) -> None:
    path = bare_shard(tmp_path / "a", 64, 32, in_front=in_front, behind=[GZIP])
    deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
    (path / "c/0").write_bytes(b"".join(deflate.compress(bytes(1 << 20)) for _ in range(96)) + deflate.flush())
    with ringio.Reader(workers=1, memory_limit_bytes=8 << 20) as reader:
        for store in (path, store_of(path)):
            array = ringio_zarr.open_array(store, reader=reader)
            kind, words = (
                (ringio.MemoryLimitError, "chunk .*c/0.*memory limit leaves 8388608")
                if in_front
                else (ringio.DecodeError, r"c/0: too many bytes, at most \d+ make sense here")
            )
            with pytest.raises(kind, match=words):
                array[:]
    index = np.array([0, 32, 32, 32], "<u8").tobytes()
    (path / "c/0").write_bytes(numcodecs.GZip().encode(bytes(range(0, 128, 2)) + index))
    with ringio.Reader(workers=1, memory_limit_bytes=8 << 20) as reader:
        found = ringio_zarr.open_array(path, reader=reader)[:]
    np.testing.assert_array_equal(found, np.arange(64) if in_front else np.arange(0, 128, 2))


def test_a_shard_with_codecs_around_it_is_no_larger_than_the_memory_limit(tmp_path: Path) -> None:
    path = bare_shard(tmp_path / "a", 16 << 20, 8 << 20, behind=[GZIP])
    index = np.array([0, 8 << 20, 8 << 20, 8 << 20], "<u8").tobytes()
    (path / "c/0").write_bytes(zlib.compress(bytes(16 << 20) + index, 1))
    words = r"the shard in .*c/0 as a whole: .*leaves 8388608"
    with (
        ringio.Reader(workers=1, memory_limit_bytes=8 << 20) as reader,
        pytest.raises(ringio.MemoryLimitError, match=words),
    ):
        ringio_zarr.open_array(path, reader=reader)[:4]
    assert not ringio_zarr.open_array(path)[:4].any()


def test_inner_chunks_are_held_against_the_memory_limit(tmp_path: Path) -> None:
    """As in a shard that is not decoded as a whole: what inflates to too much for a Python codec is refused."""
    ringio.codecs.register("first-four", lambda configuration: lambda data: bytes(memoryview(data)[:4]))
    limit = 8 << 20
    inner = zlib.compress(bytes(limit + 1), 1)
    inner_codecs = [codec("bytes"), codec("first-four"), GZIP]
    index_codecs = [codec("bytes", endian="little")]
    sharding = codec("sharding_indexed", chunk_shape=[4], codecs=inner_codecs, index_codecs=index_codecs)
    words = rf"chunk \(0,\) of .*c/0.*needs \d+ bytes at once, the reader's memory limit leaves {limit}"
    for number, in_front in enumerate([[], IN_FRONT]):
        path = bare_shard(tmp_path / str(number), 4, 4, codecs=[*in_front, sharding])
        (path / "c/0").write_bytes(inner + np.array([0, len(inner)], "<u8").tobytes())
        with ringio.Reader(workers=1, memory_limit_bytes=limit) as reader:
            for store in (path, store_of(path)):
                with pytest.raises(ringio.MemoryLimitError, match=words):
                    ringio_zarr.open_array(store, reader=reader)[:]
        assert not ringio_zarr.open_array(path)[:].any()


def test_a_shard_may_be_larger_than_what_is_in_front_of_it_makes_of_it(tmp_path: Path) -> None:
    """The limit is that of the shard, not of the chunk."""
    path = bare_shard(tmp_path / "a", 2 << 20, 1 << 20, in_front=[codec("cast_value", data_type="float64")])
    (path / "c/0").write_bytes(np.full(4, 2**64 - 1, "<u8").tobytes())
    with (
        ringio.Reader(workers=1, memory_limit_bytes=8 << 20) as reader,
        pytest.raises(ringio.MemoryLimitError, match=r"c/0.*a shard of 16777216 bytes, .* limit leaves 8388608"),
    ):
        ringio_zarr.open_array(path, reader=reader)[:4]
    assert not ringio_zarr.open_array(path)[:4].any()
