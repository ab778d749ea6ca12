"""Goal: a chain gives back exactly what the reference implementations encoded, for every codec, dtype and memory order;
and for any other bytes it raises DecodeError and nothing else, without taking memory on their say-so.
"""

from __future__ import annotations

import gzip
import pickle
import resource
import struct
import zlib

import blosc2
import google_crc32c
import numcodecs
import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ringio import DecodeError, UnsupportedCodecError, codecs

RAW = (1000 + np.arange(40 * 30 * 5) // 7 + np.random.default_rng(0).integers(0, 8, 6000)).astype("<i2")


def crc32c(data: bytes) -> bytes:
    return data + google_crc32c.value(data).to_bytes(4, "little")


ENCODERS = {
    "blosc": lambda data: numcodecs.Blosc(cname="lz4", shuffle=numcodecs.Blosc.SHUFFLE).encode(data),
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
    "lz4": lambda data: numcodecs.LZ4().encode(data),
    "gzip": lambda data: gzip.compress(data, 1),
    "zlib": lambda data: zlib.compress(data, 1),
    "crc32c": crc32c,
    "shuffle": lambda data: bytes(numcodecs.Shuffle(2).encode(data)),
}
CONFIGURATIONS = {name: {"name": name} for name in ENCODERS} | {
    "shuffle": {"name": "shuffle", "configuration": {"elementsize": 2}}
}


def decode(names, encoded, array=RAW):
    chain = codecs.chain([CONFIGURATIONS.get(name, name) for name in names])
    return chain.decode(encoded, array.shape, array.dtype)


def encode(names, array=RAW):
    data = array.tobytes()
    for name in names:
        data = bytes(ENCODERS[name](data))
    return data


# ----------------------------------------------------------------------------------- what the references have encoded


@pytest.mark.parametrize("name", ENCODERS)
def test_reference_bytes_are_decoded(name):
    np.testing.assert_array_equal(decode([name], encode([name])), RAW)


@pytest.mark.parametrize("cname", ["blosclz", "lz4", "lz4hc", "zlib", "zstd"])
@pytest.mark.parametrize("itemsize", [1, 2, 4, 8, 16, 3, 17])
def test_blosc1_every_inner_codec_and_shuffle(cname, itemsize):
    for nbytes in (0, 1, 15, 16, 127, 128, 1000, 4096, 40_000):
        data = np.resize(RAW.view("u1"), nbytes // itemsize * itemsize)
        items = data.view(f"V{itemsize}")
        for shuffle in (0, 1, 2):
            for clevel in (0, 1, 9):
                for blocksize in (0, 512, 4096):
                    codec = numcodecs.Blosc(cname=cname, clevel=clevel, shuffle=shuffle, blocksize=blocksize)
                    encoded = codec.encode(items)
                    out = codecs.chain([codec.get_config()]).decode(encoded, data.shape, "u1")
                    np.testing.assert_array_equal(out, data)


BLOSC2_FILTERS = {
    "none": [blosc2.Filter.NOFILTER],
    "shuffle": [blosc2.Filter.SHUFFLE],
    "bitshuffle": [blosc2.Filter.BITSHUFFLE],
    "delta": [blosc2.Filter.DELTA],
    "delta+shuffle": [blosc2.Filter.DELTA, blosc2.Filter.SHUFFLE],
    "delta+bitshuffle": [blosc2.Filter.DELTA, blosc2.Filter.BITSHUFFLE],
    "trunc_prec": [blosc2.Filter.TRUNC_PREC],
}


@pytest.mark.parametrize("filters", BLOSC2_FILTERS)
@pytest.mark.parametrize(
    ("codec", "use_dict"),  # python-blosc2 makes dictionaries for zstd alone
    [("BLOSCLZ", False), ("LZ4", False), ("LZ4HC", False), ("ZLIB", False), ("ZSTD", False), ("ZSTD", True)],
)
def test_blosc2_every_inner_codec_and_filter(codec, filters, use_dict):
    metas = [20 if filters == "trunc_prec" else 0] * len(BLOSC2_FILTERS[filters])
    for typesize in (4, 8) if filters == "trunc_prec" else (1, 2, 4, 8, 12, 16):
        for blocksize in (0, 96 * typesize, 4096 * typesize):
            for data in (np.resize(RAW, 12_000), np.zeros(12_000, "<i2"), np.full(12_000, 0x0707, "<i2")):
                encoded = blosc2.compress2(
                    data,
                    codec=blosc2.Codec[codec],
                    filters=BLOSC2_FILTERS[filters],
                    filters_meta=metas,
                    typesize=typesize,
                    blocksize=blocksize,
                    use_dict=use_dict,
                    nthreads=1,
                )
                lossy = filters == "trunc_prec"
                expected = np.frombuffer(blosc2.decompress2(encoded), data.dtype) if lossy else data
                np.testing.assert_array_equal(decode(["blosc"], encoded, data), expected)


@pytest.mark.parametrize(
    ("special", "value"), [(1, 0.0), (2, np.nan), (3, 2.5), (4, None)], ids=["zeros", "nan", "value", "uninitialised"]
)
def test_blosc2_chunks_of_one_value(special, value):
    """Chunks that are only a header. What has no value must not show what was in memory before: it is zeros."""
    payload = struct.pack("<d", value) if special == 3 else b""
    header = struct.pack("<BBBBIII", 5, 1, 0x85, 8, 8000, 800, 32 + len(payload))
    encoded = header + bytes(15) + bytes([special << 4]) + payload
    if value is not None:
        np.testing.assert_array_equal(np.frombuffer(blosc2.decompress2(encoded), "<f8"), np.full(1000, value))
    out = codecs.chain(["blosc"]).decode(encoded, (1000,), "<f8")
    np.testing.assert_array_equal(out, np.full(1000, value or 0.0))


def test_blosc_state_does_not_leak_from_chunk_to_chunk():
    """A filter setting of one blosc2 chunk must not be applied to the next."""
    first = blosc2.compress2(
        RAW, typesize=2, filters=[blosc2.Filter.SHUFFLE], filters_meta=[4], codec=blosc2.Codec.LZ4, nthreads=1
    )
    for _ in range(2):
        np.testing.assert_array_equal(decode(["blosc"], first), np.frombuffer(blosc2.decompress2(first), "<i2"))
        np.testing.assert_array_equal(decode(["blosc"], encode(["blosc"])), RAW)


@pytest.mark.parametrize("checksum", [False, True])
@pytest.mark.parametrize("content_size", [False, True])
def test_zstd_frames_of_every_kind(checksum, content_size):
    """Several frames, skippable ones between them, with and without checksum and content size."""
    compressor = zstandard.ZstdCompressor(write_checksum=checksum, write_content_size=content_size)
    data = RAW.tobytes()
    skippable = struct.pack("<II", 0x184D2A53, 5) + b"hello"
    encoded = skippable + compressor.compress(data[:100]) + skippable + compressor.compress(data[100:]) + skippable
    np.testing.assert_array_equal(decode(["zstd"], encoded), RAW)
    stream = compressor.compressobj()
    encoded = stream.compress(data[:77]) + stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK) + stream.compress(data[77:])
    np.testing.assert_array_equal(decode(["zstd"], encoded + stream.flush()), RAW)


def test_zstd_with_a_large_window_is_decoded():
    """In one pass a window costs nothing, so streams made with --ultra --long are fine."""
    parameters = zstandard.ZstdCompressionParameters(window_log=30, write_content_size=False)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    np.testing.assert_array_equal(decode(["zstd"], stream.compress(RAW.tobytes()) + stream.flush()), RAW)


def test_gzip_members_padding_and_headers():
    data = RAW.tobytes()
    members = gzip.compress(data[:1]) + gzip.compress(b"") + gzip.compress(data[1:])
    for tail in (b"", b"\0", b"\0" * 512):
        np.testing.assert_array_equal(decode(["gzip"], members + tail), RAW)
    with_name = b"\x1f\x8b\x08\x08\0\0\0\0\0\x03name\0" + gzip.compress(data)[10:]
    np.testing.assert_array_equal(decode(["gzip"], with_name), RAW)
    # Either header under either name, as TensorStore has it.
    np.testing.assert_array_equal(decode(["zlib"], members), RAW)
    np.testing.assert_array_equal(decode(["gzip"], zlib.compress(data)), RAW)


@pytest.mark.parametrize("nbytes", [0, 1, 7, 8, 9, 3071, 3072, 3073, 6144, 100_003])
def test_crc32c_lengths(nbytes):
    data = np.random.default_rng(nbytes).bytes(nbytes)
    assert codecs.chain(["crc32c"]).decode(crc32c(data), (nbytes,), "u1").tobytes() == data


@pytest.mark.parametrize("elementsize", [0, 1, 2, 3, 4, 5, 8, 16, 300])
def test_shuffle_of_every_element_size(elementsize):
    data = np.resize(RAW, 2400 * 10)
    encoded = numcodecs.Shuffle(elementsize or 2).encode(data)
    chain = codecs.chain([{"id": "shuffle", "elementsize": elementsize}])
    np.testing.assert_array_equal(chain.decode(encoded, data.shape, data.dtype), data)


# ---------------------------------------------------------------------------------------- byte order and memory order

DTYPES = ["?", "i1", "u2", "i4", "u8", "f2", "f4", "f8", "c8", "c16", "M8[s]", "m8[ns]", "S5", "U3", "V7"]


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("stored", ["<", ">"])
@pytest.mark.parametrize("wanted", ["<", ">"])
def test_byte_orders(name, stored, wanted):
    """Decoded values are the same, whatever order they are stored in and whatever order the dtype asks for."""
    data = np.arange(120).astype("U3") if name == "U3" else np.resize(RAW.view("u1"), 120 * np.dtype(name).itemsize)
    data = data.view(np.dtype(name)).copy() if name != "?" else data % 2 == 0
    chain = codecs.chain([{"name": "bytes", "configuration": {"endian": "little" if stored == "<" else "big"}}])
    dtype = data.dtype.newbyteorder(wanted)
    encoded = data.astype(data.dtype.newbyteorder(stored)).tobytes()
    out = chain.decode(encoded, data.shape, dtype)
    assert out.dtype == dtype
    assert out.astype(data.dtype).tobytes() == data.tobytes()
    swapped = stored != wanted and name not in ("?", "i1", "S5", "V7")
    assert chain.compile(data.shape, dtype).step_names == (("bytes",) if swapped else ())


def test_bytes_without_endian_is_little():
    for configuration in ("bytes", {"name": "bytes"}, {"name": "bytes", "configuration": {"endian": None}}, "endian"):
        out = codecs.chain([configuration]).decode(b"\1\0\2\0", (2,), ">i2")
        assert out.tolist() == [1, 2]


def test_structured_items():
    dtype = np.dtype([("a", "<i2"), ("b", "u1"), ("c", "S3")])
    data = np.zeros(4, dtype)
    data["a"] = [1, 2, 3, 4]
    assert (codecs.chain(["bytes"]).decode(data.tobytes(), (4,), dtype) == data).all()
    big = codecs.chain([{"name": "bytes", "configuration": {"endian": "big"}}])
    swapped = data.astype([("a", ">i2"), ("b", "u1"), ("c", "S3")])
    assert (big.decode(swapped.tobytes(), (4,), dtype) == data).all()
    assert big.compile((4,), [("b", "u1"), ("c", "S3")]).step_names == ()


@given(st.data())
def test_round_trips(data):
    """Any array through transposes and a chain of codecs that numpy and the references encode."""
    dtype = np.dtype(data.draw(st.sampled_from(["u1", "<i2", ">i2", "<f4", ">f8", "<c8"])))
    shape = tuple(data.draw(st.lists(st.integers(1, 7), min_size=0, max_size=4)))
    endian = data.draw(st.sampled_from(["little", "big"]))
    orders = data.draw(st.lists(st.permutations(range(len(shape))), max_size=2))
    names = data.draw(st.lists(st.sampled_from(sorted(set(ENCODERS) - {"shuffle"})), max_size=3))
    array = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    stored = array
    for order in orders:
        stored = stored.transpose(order)
    encoded = stored.astype(dtype.newbyteorder("<" if endian == "little" else ">")).tobytes()
    for name in names:
        encoded = bytes(ENCODERS[name](encoded))
    chain = codecs.chain(
        [
            *({"name": "transpose", "configuration": {"order": order}} for order in orders),
            {"name": "bytes", "configuration": {"endian": endian}},
            *names,
        ]
    )
    out = chain.decode(encoded, shape, dtype)
    assert out.dtype == dtype
    np.testing.assert_array_equal(out, array)


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0], "C", "F"])
def test_transpose_is_only_strides(order):
    array = RAW.reshape(40, 30, 5)
    permutation = {"C": (0, 1, 2), "F": (2, 1, 0)}.get(order, order) if isinstance(order, str) else order
    stored = np.ascontiguousarray(array.transpose(permutation))
    chain = codecs.chain([{"name": "transpose", "configuration": {"order": order}}, "bytes"])
    compiled = chain.compile(array.shape, array.dtype)
    assert len(compiled.records) == 0
    assert compiled.strides == stored.transpose(np.argsort(permutation)).strides
    np.testing.assert_array_equal(chain.decode(stored.tobytes(), array.shape, array.dtype), array)


# ------------------------------------------------------------------------------------------------ chains as objects


def test_chains_compare_hash_and_pickle():
    first = codecs.chain(["bytes", {"id": "zstd", "level": 3}])
    second = codecs.chain([{"name": "bytes"}, {"name": "numcodecs.zstd", "configuration": {"level": 9}}])
    assert first == second
    assert hash(first) == hash(second)
    assert pickle.loads(pickle.dumps(first)) == first
    assert first != codecs.chain(["bytes", "gzip"])


def test_what_a_compiled_chain_says():
    compiled = codecs.chain(["bytes", {"id": "shuffle"}, "zstd", "crc32c"]).compile((10, 10), ">i4")
    assert compiled.step_names == ("crc32c", "zstd", "shuffle", "bytes")
    assert compiled.decoded_nbytes == 400
    assert compiled.strides == (40, 4)
    assert compiled.encoded_nbytes_max > 800
    assert compiled.records["decoded_nbytes"].tolist()[1:] == [400, 400, 400]
    assert codecs.chain(["bytes", "crc32c"]).compile((16, 2), "<u8").encoded_nbytes_max == 260


@pytest.mark.parametrize(
    ("configuration", "error", "message"),
    [
        ("lzma", UnsupportedCodecError, "codec 'lzma' is not supported; there are transpose, bytes, blosc"),
        ({"id": "crc32c", "location": "middle"}, ValueError, "location 'start' or 'end'"),
        ({"name": "bytes", "configuration": {"endian": "middle"}}, ValueError, "'little' or 'big', got 'middle'"),
        ({"id": "shuffle", "elementsize": -1}, ValueError, "elementsize of 0 or more, got -1"),
        ({"id": "shuffle", "elementsize": True}, ValueError, "elementsize"),
        ({"name": "transpose", "configuration": {"order": [0, 0]}}, ValueError, "order of all dimensions"),
        ({"name": "transpose"}, ValueError, "order of all dimensions, got None"),
        ({"name": "zstd", "configuration": [1]}, ValueError, "expected an object"),
        ({"level": 1}, ValueError, "'name' or an 'id'"),
        (7, ValueError, "got 7"),
    ],
)
def test_bad_configurations(configuration, error, message):
    with pytest.raises(error, match=message):
        codecs.chain([configuration])


def test_bad_orders():
    with pytest.raises(ValueError, match="got zstd, bytes"):
        codecs.chain(["zstd", "bytes"])
    with pytest.raises(ValueError, match="at most one 'bytes'"):
        codecs.chain(["bytes", "bytes"])
    chain = codecs.chain([{"name": "transpose", "configuration": {"order": [1, 0]}}])
    with pytest.raises(ValueError, match="for an array of 3 dimensions"):
        chain.compile((1, 2, 3), "u1")
    with pytest.raises(ValueError, match="no fixed size"):
        codecs.chain([]).compile((3,), object)
    with pytest.raises(ValueError, match=f"has {2**70} bytes"):
        codecs.chain([]).compile((2**35, 2**35), "u1")


# ---------------------------------------------------------------------------------------------------- hostile bytes


@pytest.mark.parametrize("name", ENCODERS)
def test_cut_anywhere(name):
    encoded = encode([name])
    for nbytes in {*range(0, len(encoded), 97), *range(120), *range(len(encoded) - 120, len(encoded))}:
        with pytest.raises(DecodeError, match=rf"^({name}: )?<buffer>, bytes 0-{nbytes}: "):
            decode([name], encoded[:nbytes])


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("tail", [b"\1", b"garbage garbage garbage"])
def test_trailing_garbage(name, tail):
    with pytest.raises(DecodeError):
        decode([name], encode([name]) + tail)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("more", [-2, 2])
def test_too_few_or_too_many_bytes(name, more):
    """A chunk that is sound, but not as large as the array says."""
    wanted = np.empty(RAW.size + more // 2, RAW.dtype)
    with pytest.raises(DecodeError, match=r"decodes to (12000|more than 11998) bytes|at most|no multiple") as caught:
        decode([name], encode([name]), wanted)
    assert (caught.value.path, caught.value.offset) == ("<buffer>", 0)


@pytest.mark.parametrize("name", ENCODERS)
@given(data=st.data())
def test_bit_flips(name, data):
    """One changed bit gives other bytes or an error, and never more."""
    encoded = bytearray(encode([name]))
    places = st.one_of(st.integers(0, 63), st.integers(0, len(encoded) - 1))
    encoded[data.draw(places)] ^= 1 << data.draw(st.integers(0, 7))
    try:
        out = decode([name], encoded)
    except (DecodeError, UnsupportedCodecError):
        return
    assert out.shape == RAW.shape


@pytest.mark.parametrize("name", ["zstd", "gzip", "zlib", "crc32c"])
def test_checksums_are_checked(name):
    """A flipped bit in the data is an error for the codecs that carry a checksum."""
    encoders = {**ENCODERS, "zstd": lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data)}
    encoded = bytearray(encoders[name](np.random.default_rng(0).bytes(12_000)))
    for at in range(40, len(encoded), 501):
        encoded[at] ^= 4
        with pytest.raises(DecodeError):
            decode([name], encoded)
        encoded[at] ^= 4


@given(st.sampled_from(sorted(ENCODERS)), st.binary(max_size=100))
def test_any_bytes(name, encoded):
    with pytest.raises((DecodeError, UnsupportedCodecError)):
        decode([name], encoded)


PETABYTES = {
    "blosc": struct.pack("<BBBBIII", 2, 1, 0x21, 2, 0x7FFF_FFFF, 0x7FFF_FFFF, 40) + bytes(24),
    "blosc2": struct.pack("<BBBBIII", 5, 1, 0x27, 2, 0x7FFF_FFFF, 0x7FFF_FFFF, 40) + bytes(24),
    "blosc2 of one value": struct.pack("<BBBBIII", 5, 1, 0x27, 2, 0x7FFF_FFFF, 0x1000, 32) + bytes(15) + b"\x10",
    "lz4": struct.pack("<i", 2**31 - 1) + b"\0" * 40,
    "zstd": struct.pack("<IBQ", 0xFD2FB528, 0xE0, 2**50) + b"\1\0\0",
    "zstd window": struct.pack("<IBB", 0xFD2FB528, 0x00, 0xF7) + b"\1\0\0",
}


@pytest.mark.parametrize("case", PETABYTES)
def test_headers_that_claim_petabytes(case):
    """Memory is taken for what the array says, never for what a header says."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises((DecodeError, UnsupportedCodecError)):
        decode([case.split()[0].removesuffix("2")], PETABYTES[case])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024  # KiB


@pytest.mark.parametrize("name", ["gzip", "zlib", "zstd"])
def test_bombs(name):
    """A kilobyte that decodes to a gigabyte is stopped where the chunk ends."""
    bomb = {"gzip": gzip.compress, "zlib": zlib.compress, "zstd": zstandard.ZstdCompressor().compress}[name](
        bytes(64 << 20)
    )
    with pytest.raises(DecodeError, match="decodes to"):
        decode([name], bomb[: 1 << 20])


@pytest.mark.parametrize("first", [[], [lambda data: data]], ids=["core", "python"])
def test_chains_too_long_to_be_bounded(first):
    """Each compressor may make chunks four times as large: of many nobody knows how much memory they would take."""
    encoded = data = b"12345678"
    for _ in range(25):
        encoded = numcodecs.Zstd().encode(encoded)
    for count in (25, 40):
        with pytest.raises(UnsupportedCodecError, match=r"codec 'zstd'.*too many"):
            codecs.chain(["bytes", *first, *["zstd"] * count]).decode(encoded, (2,), "<f4")
    for _ in range(20):
        encoded = numcodecs.Zstd().decode(encoded)
    assert codecs.chain(["bytes", *first, *["zstd"] * 5]).decode(encoded, (2,), "<f4").tobytes() == data


def test_zstd_dictionaries_are_refused():
    samples = [np.random.default_rng(i % 7).bytes(200) for i in range(200)]
    dictionary = zstandard.train_dictionary(4096, samples)
    encoded = zstandard.ZstdCompressor(dict_data=dictionary).compress(RAW.tobytes())
    with pytest.raises(UnsupportedCodecError, match=r"zstd: .*dictionary"):
        decode(["zstd"], encoded)


def test_zstd_formats_before_the_first_are_refused():
    """zstd decodes those of version 0.5 to 0.7 too, with code that nobody looks after."""
    for magic in range(0xFD2FB522, 0xFD2FB528):
        with pytest.raises(DecodeError, match="zstd"):
            decode(["zstd"], struct.pack("<I", magic) + bytes(100))


@pytest.mark.parametrize(("byte", "flag"), [(2, 0x40), (2, 0xE0), (2, 0xC0)])
def test_blosc_inner_codecs_that_we_lack(byte, flag):
    """Snappy, and plugins, which are never loaded."""
    encoded = bytearray(encode(["blosc"]))
    encoded[byte] = encoded[byte] & 0x1F | flag
    with pytest.raises(UnsupportedCodecError, match="inner codec"):
        decode(["blosc"], encoded)


def test_blosc2_lazy_and_plugin_chunks_are_refused():
    encoded = bytearray(
        blosc2.compress2(RAW, typesize=2, filters=[blosc2.Filter.SHUFFLE], filters_meta=[0], nthreads=1)
    )
    lazy = encoded.copy()
    lazy[31] |= 0x08
    with pytest.raises(DecodeError, match="blosc"):
        decode(["blosc"], lazy)
    plugin = encoded.copy()
    plugin[16] = 35
    with pytest.raises(UnsupportedCodecError, match="filter"):
        decode(["blosc"], plugin)


def test_shuffle_of_a_part_of_an_element():
    chain = codecs.chain([{"id": "shuffle", "elementsize": 4}])
    with pytest.raises(DecodeError, match=r"shuffle: .*no multiple of the element size"):
        chain.decode(bytes(6), (3,), "<i2")


def test_messages():
    chain = codecs.chain(["bytes", "zstd", "crc32c"])
    encoded = crc32c(zstandard.ZstdCompressor().compress(RAW.tobytes()))
    with pytest.raises(DecodeError, match=r"^zstd: <buffer>, bytes 0-\d+: decodes to 12000 bytes, expected 65536$"):
        chain.decode(encoded, (65536,), "u1")
    damaged = encoded[:-1] + bytes([encoded[-1] ^ 1])
    with pytest.raises(DecodeError, match=r"^crc32c: <buffer>, .*checksum 0x[0-9a-f]{8}, expected 0x[0-9a-f]{8}$"):
        chain.decode(damaged, RAW.shape, RAW.dtype)
    with pytest.raises(DecodeError, match=r"1100000 encoded bytes, at most \d+ make sense"):
        chain.decode(bytes(1_100_000), (3,), "u1")
