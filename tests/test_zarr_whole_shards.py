"""Codecs in front of shards that change items: such shards are decoded as a whole."""

from __future__ import annotations

import json
import pickle
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
