"""Goal: codecs that compute with items, checksums and packed bools give what numcodecs and zarr-python give, for every
type of items, and whether the C core does it or numpy.
"""

from __future__ import annotations

import warnings

import numcodecs
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from ringio import DecodeError, UnsupportedCodecError, codecs

TYPES = ["i1", "<i2", ">i2", "<i4", ">i4", "<i8", ">i8", "u1", "<u2", ">u2", "<u4", ">u4", "<u8", ">u8"]
FLOATS = ["<f4", ">f4", "<f8", ">f8", "<f2", ">f2"]
ALL = [*TYPES, *FLOATS, "?"]

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def items(dtype, seed, count=777):
    """Any bits at all; and numbers that are near to each other, as real ones are."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, count).astype(bool)
    if seed % 2:
        return rng.integers(0, 100, count).astype(dtype)
    return np.frombuffer(rng.bytes(count * dtype.itemsize), dtype)


def check(codec, encoded, dtype):
    """What ringio gives of some encoded items is what numcodecs gives."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            expected = codec.decode(encoded.tobytes())
        except TypeError:  # numpy cannot do it either
            return
    chain = codecs.chain([codec.get_config()])
    out = chain.decode(encoded.tobytes(), (len(encoded),), dtype)
    # Compared as bytes; but a NaN may have any payload, as the one of an operation is not defined.
    if np.dtype(dtype).kind == "f":
        np.testing.assert_array_equal(out, expected)
        assert (np.signbit(out) == np.signbit(expected))[~np.isnan(out)].all()
    else:
        assert out.tobytes() == np.asarray(expected).tobytes()
    assert out.dtype == np.dtype(dtype)


@given(st.sampled_from(ALL), st.sampled_from(ALL), st.integers(0, 9))
def test_delta(decoded, encoded, seed):
    check(numcodecs.Delta(decoded, encoded), items(encoded, seed), decoded)


def is_undefined(encoded, decoded):
    """No integer holds any float: what becomes of others depends on the processor, and on how numpy was compiled."""
    return np.dtype(encoded).kind == "f" and np.dtype(decoded).kind in "iu"


@given(st.sampled_from(ALL), st.sampled_from(ALL), st.integers(0, 9))
def test_astype(decoded, encoded, seed):
    check(numcodecs.AsType(encoded, decoded), items(encoded, seed | is_undefined(encoded, decoded)), decoded)


@given(
    st.sampled_from(ALL),
    st.sampled_from(ALL),
    st.sampled_from([1, 3, -7, 10.0, 0.1, -1e-3, 1e30, 2**70, 0.5]),
    st.sampled_from([0, 1, -5, 0.25, 1000.1, 2**64 - 1]),
    st.integers(0, 9),
)
def test_fixedscaleoffset(decoded, encoded, scale, offset, seed):
    if np.dtype(decoded).kind in "iu":
        scale, offset, seed = 1, 0, seed | 1
    check(numcodecs.FixedScaleOffset(offset, scale, decoded, encoded), items(encoded, seed), decoded)


@given(st.sampled_from(FLOATS), st.sampled_from(FLOATS), st.integers(0, 9))
def test_quantize_and_bitround(decoded, encoded, seed):
    check(numcodecs.Quantize(3, decoded, encoded), items(encoded, seed), decoded)
    data = items(decoded, seed)
    chain = codecs.chain([numcodecs.BitRound(4).get_config()])
    assert chain.decode(data.tobytes(), data.shape, decoded).tobytes() == data.tobytes()


@given(st.integers(0, 3000), st.integers(0, 9))
def test_packbits(count, seed):
    bits = items("?", seed, count)
    encoded = bytes(numcodecs.PackBits().encode(bits)) if count else b"\0"
    out = codecs.chain(["packbits"]).decode(encoded, (count,), "?")
    np.testing.assert_array_equal(out, bits)


CHECKSUMS = [
    *[
        kind(location)
        for kind in (numcodecs.CRC32, numcodecs.Adler32, numcodecs.CRC32C)
        for location in ("start", "end")
    ],
    numcodecs.Fletcher32(),
]


@pytest.mark.parametrize("codec", CHECKSUMS, ids=repr)
def test_checksums(codec):
    rng = np.random.default_rng(0)
    configuration = codec.get_config()
    for count in (*range(1, 20), 719, 720, 721, 10_000, 100_001):
        for data in (rng.bytes(count), b"\xff" * count, bytes(count)):
            encoded = bytearray(codec.encode(data))
            chain = codecs.chain([configuration])
            assert chain.decode(encoded, (count,), "u1").tobytes() == data
            encoded[count // 2] ^= 0x40
            with pytest.raises(DecodeError, match="checksum 0x"):
                chain.decode(encoded, (count,), "u1")


def test_where_a_checksum_stands_by_default():
    for codec in (numcodecs.CRC32(), numcodecs.Adler32(), numcodecs.CRC32C()):
        assert codecs.chain([codec.codec_id]).decode(bytes(codec.encode(b"abc")), (3,), "u1").tobytes() == b"abc"
    with pytest.raises(ValueError, match="location"):
        codecs.chain([{"id": "crc32", "location": "middle"}])


# ---------------------------------------------------------------------------------------------------- chains of them


@pytest.mark.parametrize(
    "filters",
    [
        [numcodecs.Delta("<i4", "<i2")],
        [numcodecs.FixedScaleOffset(0, 1, "<i4", "<i8"), numcodecs.Delta("<i8", "<i2"), numcodecs.Shuffle(2)],
        [numcodecs.AsType("<i8", "<i4"), numcodecs.Delta("<i8"), numcodecs.CRC32()],
        [numcodecs.Shuffle(4), numcodecs.Adler32("end"), numcodecs.LZ4(), numcodecs.Fletcher32()],
        [numcodecs.Delta("<i4"), numcodecs.LZMA(), numcodecs.BZ2()],
    ],
    ids=repr,
)
def test_filters_in_any_order(filters):
    data = (np.arange(6000) // 7 - 100).astype("<i4")
    encoded = data
    for codec in filters:
        encoded = codec.encode(encoded)
    named = [codec if codec.codec_id in ("lzma", "bz2") else codec.get_config() for codec in filters]
    out = codecs.chain(["bytes", *named, "zstd"]).decode(numcodecs.Zstd().encode(encoded), (60, 100), "<i4")
    np.testing.assert_array_equal(out.ravel(), data)


V3 = [
    ([{"name": "scale_offset", "configuration": {"scale": 3, "offset": -5}}], "int16"),
    ([{"name": "scale_offset", "configuration": {"scale": "0x40200000", "offset": 1.5}}], "float32"),
    ([{"name": "scale_offset", "configuration": {"scale": 2}}], "uint64"),
    ([{"name": "cast_value", "configuration": {"data_type": "int16"}}], "float32"),
    ([{"name": "cast_value", "configuration": {"data_type": "int64", "rounding": "towards-zero"}}], "int16"),
    (
        [
            {"name": "scale_offset", "configuration": {"scale": 2.0, "offset": 1.0}},
            {"name": "cast_value", "configuration": {"data_type": "uint8", "out_of_range": "clamp"}},
        ],
        "float64",
    ),
    (
        [
            {
                "name": "cast_value",
                "configuration": {
                    "data_type": "uint8",
                    "scalar_map": {"encode": [["NaN", 255]], "decode": [[255, "NaN"]]},
                },
            }
        ],
        "float32",
    ),
    (
        [
            {"name": "transpose", "configuration": {"order": [1, 0]}},
            {"name": "numcodecs.delta", "configuration": {"dtype": "<i4", "astype": "<i2"}},
        ],
        "int32",
    ),
    ([{"name": "numcodecs.fixedscaleoffset", "configuration": {"scale": 10, "offset": 3, "astype": "<u2"}}], "float64"),
    ([{"name": "numcodecs.astype", "configuration": {"encode_dtype": "<f4", "decode_dtype": "<f8"}}], "float64"),
    ([{"name": "numcodecs.bitround", "configuration": {"keepbits": 5}}], "float16"),
    ([{"name": "numcodecs.quantize", "configuration": {"digits": 2, "dtype": "<f8"}}], "float64"),
]


@pytest.mark.parametrize("endian", ["little", "big"])
@pytest.mark.parametrize(("filters", "dtype"), V3, ids=lambda value: str(value)[:60])
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.zarr_3_4
def test_array_codecs_of_zarr_3(filters, dtype, endian):
    """What zarr-python has encoded, down to the byte order of what the filters give."""
    serializer = {"name": "bytes", "configuration": {"endian": endian}}
    store = {}
    array = zarr.create_array(
        zarr.storage.MemoryStore(store), shape=(12, 7), chunks=(12, 7), dtype=dtype, filters=filters,
        serializer=serializer, compressors=None, fill_value=1,
    )  # fmt: skip
    data = np.arange(12 * 7).reshape(12, 7).astype(dtype)
    if dtype == "float32" and "scalar_map" in str(filters):
        data[3, 3] = np.nan
    array[...] = data
    encoded = store["c/0/0"].to_bytes()
    chain = codecs.chain([*filters, serializer])
    np.testing.assert_array_equal(chain.decode(encoded, (12, 7), np.dtype(dtype)), array[...])


def test_a_transpose_behind_what_has_an_order():
    """numpy moves the items there: strides cannot do it."""
    data = np.arange(84, dtype="<i4").reshape(12, 7) ** 2
    delta = numcodecs.Delta("<i4").encode(data).reshape(12, 7)
    chain = codecs.chain([{"id": "delta", "dtype": "<i4"}, {"id": "transpose", "order": [1, 0]}, "bytes", "zstd"])
    compiled = chain.compile((12, 7), "<i4")
    assert compiled.strides == (28, 4)
    out = compiled.decode(numcodecs.Zstd().encode(np.ascontiguousarray(delta.T)))
    np.testing.assert_array_equal(out, data)


def test_scaled_integers_must_come_out_exactly():
    chain = codecs.chain([{"name": "scale_offset", "configuration": {"scale": 2, "offset": 100}}, "bytes"])
    assert chain.decode(bytes([2, 0xFE]), (2,), "i1").tolist() == [101, 99]
    for wrong in (1, 100):
        with pytest.raises(DecodeError, match="remainder, or is out of range"):
            chain.decode(bytes([wrong]), (1,), "i1")
    with pytest.raises(ValueError, match="no number of data type"):
        chain.compile((1,), "u1") and codecs.chain([{"name": "scale_offset", "configuration": {"scale": -1}}]).compile(
            (1,), "u1"
        )
    with pytest.raises(ValueError, match="scale of 0"):
        codecs.chain([{"name": "scale_offset", "configuration": {"scale": "0"}}]).compile((1,), "<f4")


@pytest.mark.parametrize("endian", ["little", "big"])
def test_structs_of_mixed_byte_orders(endian):
    inner = np.dtype([("a", ">i2"), ("b", "<c8"), ("c", "u1")])
    dtype = np.dtype([("x", "<f8"), ("y", inner, (2, 2)), ("z", ">U2"), ("w", "S3"), ("t", ">M8[s]")])
    data = np.frombuffer(np.random.default_rng(0).bytes(dtype.itemsize * 50), dtype)
    stored = data.astype(dtype.newbyteorder("<" if endian == "little" else ">"))
    chain = codecs.chain([{"name": "bytes", "configuration": {"endian": endian}}, "zstd"])
    out = chain.decode(numcodecs.Zstd().encode(stored.tobytes()), data.shape, dtype)
    assert out.dtype == dtype
    assert out.tobytes() == data.tobytes()


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ({"id": "delta", "dtype": "nonsense"}, "codec 'delta'"),
        ({"id": "delta", "dtype": "O"}, "no fixed size"),
        ({"id": "astype", "decode_dtype": "<i4"}, "encode_dtype"),
        ({"id": "fixedscaleoffset", "scale": "a", "offset": 0, "dtype": "<f4"}, "expected numbers"),
        ({"name": "cast_value", "configuration": {}}, "data_type"),
        ({"name": "scale_offset", "configuration": {"scale": [1]}}, "expected a number"),
    ],
)
def test_bad_configurations(configuration, message):
    with pytest.raises(ValueError, match=message) as caught:
        codecs.chain([configuration])
    assert not isinstance(caught.value, UnsupportedCodecError)


def test_items_that_do_not_fit():
    with pytest.raises(ValueError, match="no multiple of an item"):
        codecs.chain([{"id": "delta", "dtype": "<i4"}]).compile((3,), "u1")
    with pytest.raises(DecodeError, match="at most 4"):
        codecs.chain([{"id": "delta", "dtype": "<i4"}]).decode(b"abcde", (1,), "<i4")


@pytest.mark.parametrize("dtype", ["S0", "U0", "V0"])
@pytest.mark.parametrize("name", ["delta", "fixedscaleoffset", "quantize", "astype", "scale_offset", "bitround"])
def test_items_without_bytes(name, dtype):
    """There is nothing to compute with, and no number of items that fit."""
    configuration = {"id": name, "scale": 1, "offset": 0, "encode_dtype": "i1", "keepbits": 3, "digits": 1}
    with pytest.raises(UnsupportedCodecError, match=f"{name}.*no bytes"):
        codecs.chain([configuration, "bytes", "zstd"]).decode(b"", (3,), dtype)
