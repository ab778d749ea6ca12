"""Goal: what zarr-python has encoded with any codec of numcodecs, of Zarr v3, or of anybody else is read, the same; a
codec that is not there is named, with what would have to be installed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile

import numcodecs
import numpy as np
import pytest
import zarr
from numcodecs.registry import codec_registry
from obstore.store import MemoryStore

import ringio_zarr
from ringio import DecodeError, Reader, codecs
from ringio_zarr import UnsupportedError

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]

NUMBERS = (np.arange(35 * 21) % 100).reshape(35, 21)
LZMA2 = {"id": 33, "preset": 1}

FILTERS = {
    "delta": [("<i4", numcodecs.Delta("<i4")), (">i2", numcodecs.Delta(">i2", ">i4")), ("<f8", numcodecs.Delta("<f8"))],
    "fixedscaleoffset": [
        ("<f8", numcodecs.FixedScaleOffset(10, 2.5, "<f8", "<u2")),
        ("<f4", numcodecs.FixedScaleOffset(0.1, 7, "<f4", "<i4")),
        ("<f2", numcodecs.FixedScaleOffset(1, 2, "<f2", "<i2")),
        ("<i4", numcodecs.FixedScaleOffset(3, 1, "<i4", "u1")),
    ],
    "quantize": [("<f8", numcodecs.Quantize(2, "<f8")), ("<f8", numcodecs.Quantize(1, "<f8", "<f4"))],
    "bitround": [("<f4", numcodecs.BitRound(4)), ("<f2", numcodecs.BitRound(3))],
    "astype": [("<i8", numcodecs.AsType("u1", "<i8")), (">f8", numcodecs.AsType("<f4", ">f8"))],
    "packbits": [("?", numcodecs.PackBits())],
    "shuffle": [("<i4", numcodecs.Shuffle()), ("<i2", numcodecs.Shuffle(2)), ("<f8", numcodecs.Shuffle(8))],
    "crc32": [("<i4", numcodecs.CRC32()), ("<i4", numcodecs.CRC32("end"))],
    "crc32c": [("<i4", numcodecs.CRC32C()), ("<i4", numcodecs.CRC32C("start"))],
    "adler32": [("<i4", numcodecs.Adler32()), ("<i4", numcodecs.Adler32("end"))],
    "fletcher32": [("<i4", numcodecs.Fletcher32()), ("u1", numcodecs.Fletcher32())],
    "jenkins_lookup3": [("<i4", numcodecs.JenkinsLookup3()), ("<i4", numcodecs.JenkinsLookup3(5))],
    "base64": [("<i4", numcodecs.Base64())],
    "blosc": [
        (dtype, numcodecs.Blosc(cname, 5, shuffle))
        for dtype in ("u1", "<f8")
        for cname in ("lz4", "lz4hc", "blosclz", "zlib", "zstd")
        for shuffle in (-1, 0, 1, 2)
    ],
    "zstd": [("<i4", numcodecs.Zstd(1)), ("<i4", numcodecs.Zstd(1, checksum=True))],
    "lz4": [("<i4", numcodecs.LZ4())],
    "zlib": [("<i4", numcodecs.Zlib())],
    "gzip": [("<i4", numcodecs.GZip())],
    "bz2": [("<i4", numcodecs.BZ2())],
    "lzma": [
        ("<i4", numcodecs.LZMA()),
        ("<i4", numcodecs.LZMA(format=2)),
        ("<i4", numcodecs.LZMA(format=3, filters=[LZMA2])),
    ],
}
OBJECTS = {
    "vlen-utf8": (numcodecs.VLenUTF8(), ["", "añb", "x" * 300]),
    "vlen-bytes": (numcodecs.VLenBytes(), [b"", b"a\0b", b"x" * 300]),
    "vlen-array": (numcodecs.VLenArray("<i4"), [np.arange(n, dtype="<i4") for n in (0, 1, 5)]),
    "json2": (numcodecs.JSON(), ["a", 1, None, [1, 2], {"b": 3.5}]),
    "msgpack2": (numcodecs.MsgPack(), ["a", 1, None, [1, 2], {"b": 3.5}]),
    "categorize": (numcodecs.Categorize(["a", "b"], dtype=object), ["a", "b", ""]),
    "pickle": (numcodecs.Pickle(), ["a", 1, None, (1, 2)]),
}
NOT_HERE = {"zfpy", "pcodec"}  # they take packages of their own


def test_every_codec_of_numcodecs_is_tried():
    assert set(codec_registry) - NOT_HERE <= set(FILTERS) | set(OBJECTS)


def write_v2(path, data, filters, compressor, order="C"):
    """A v2 array of 35 x 21 in chunks of 10 x 8, by numcodecs: zarr-python writes some dtypes and codecs no more."""
    path.mkdir()
    document = {
        "zarr_format": 2,
        "shape": data.shape,
        "chunks": [10, 8],
        "dtype": data.dtype.str,
        "order": order,
        "fill_value": None,
        "filters": [codec.get_config() for codec in filters],
        "compressor": compressor and compressor.get_config(),
    }
    (path / ".zarray").write_text(json.dumps(document))
    for i in range(4):
        for j in range(3):
            chunk = np.zeros((10, 8), data.dtype)
            part = data[10 * i : 10 * i + 10, 8 * j : 8 * j + 8]
            chunk[: part.shape[0], : part.shape[1]] = part
            encoded = chunk.ravel(order)
            for codec in (*filters, *([compressor] if compressor else [])):
                encoded = codec.encode(encoded)
            (path / f"{i}.{j}").write_bytes(bytes(encoded))


def check(path, **options):
    ours, theirs = ringio_zarr.open(path, **options), zarr.open(str(path), mode="r")
    for selection in (..., (3, 4), (slice(5, 33, 3), slice(None, None, 2)), (slice(0, 0), 1)):
        expected, got = theirs[selection], ours[selection]
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)
    starts = np.array([[0, 0], [7, 3], [30, 16], [7, 3]])
    crops = ours.read_crops(starts, (5, 5))
    for crop, (row, column) in zip(crops, starts, strict=True):
        np.testing.assert_array_equal(crop, theirs[row : row + 5, column : column + 5])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(
    ("dtype", "codec"),
    [pair for pairs in FILTERS.values() for pair in pairs],
    ids=lambda value: value if isinstance(value, str) else value.codec_id,
)
def test_codecs_of_v2(tmp_path, dtype, codec, order):
    data = NUMBERS.astype(dtype) * (1 if np.dtype(dtype).kind in "iub" else np.dtype(dtype).type(1.25))
    data = data.astype(dtype)
    if codec.codec_id == "blosc":  # zarr-python passes items of the dtype on to it
        write_v2(tmp_path / "a", data, [], codec, order)
    else:
        write_v2(tmp_path / "a", data, [codec], numcodecs.Zlib(), order)
        check(tmp_path / "a")
        write_v2(tmp_path / "b", data, [codec], None, order)
        check(tmp_path / "b")
        return
    check(tmp_path / "a")


def test_filters_in_any_order(tmp_path):
    filters = [numcodecs.Delta("<i4"), numcodecs.BZ2(), numcodecs.CRC32(), numcodecs.LZ4(), numcodecs.Fletcher32()]
    write_v2(tmp_path / "a", NUMBERS.astype("<i4"), filters, numcodecs.LZMA())
    check(tmp_path / "a")
    write_v2(tmp_path / "b", NUMBERS.astype("<f8"), [
        numcodecs.FixedScaleOffset(0, 10, "<f8", "<i8"), numcodecs.Delta("<i8", "<i2"), numcodecs.Shuffle(2),
        numcodecs.Base64(),
    ], numcodecs.Blosc())  # fmt: skip
    check(tmp_path / "b")


@pytest.mark.parametrize("name", [name for name in OBJECTS if name not in ("pickle", "categorize")])
def test_object_codecs_of_v2(tmp_path, name):
    codec, items = OBJECTS[name]
    data = np.empty((35, 21), object)
    for i in range(data.size):
        data.flat[i] = items[i % len(items)]
    write_v2(tmp_path / "a", data, [codec], numcodecs.Zstd())
    out = ringio_zarr.open(tmp_path / "a")[...]
    for i in range(data.size):
        np.testing.assert_equal(out.flat[i], data.flat[i])


def test_pickle_only_for_who_asks_for_it(tmp_path):
    codec, items = OBJECTS["pickle"]
    data = np.empty((35, 21), object)
    for i in range(data.size):
        data.flat[i] = items[i % len(items)]
    write_v2(tmp_path / "a", data, [codec], None)
    with pytest.raises(UnsupportedError, match="allow_pickle=True"):
        ringio_zarr.open(tmp_path / "a")
    assert (ringio_zarr.open(tmp_path / "a", allow_pickle=True)[...] == data).all()
    assert (ringio_zarr.open_array(tmp_path / "a", allow_pickle=True)[3] == data[3]).all()
    group = tmp_path / "g"
    group.mkdir()
    (group / ".zgroup").write_text('{"zarr_format": 2}')
    write_v2(group / "a", data, [codec], None)
    assert (ringio_zarr.open_group(group, allow_pickle=True)["a"][3] == data[3]).all()


def test_gdal_writes_a_key_that_numcodecs_does_not_know(tmp_path):
    write_v2(tmp_path / "a", NUMBERS.astype("<i4"), [], numcodecs.LZMA())
    document = json.loads((tmp_path / "a/.zarray").read_text())
    for key, value in (("delta", 4), ("filters", [{"id": 3, "dist": 4}, LZMA2])):
        document["compressor"][key] = value
        (tmp_path / "a/.zarray").write_text(json.dumps(document))
        np.testing.assert_array_equal(ringio_zarr.open(tmp_path / "a")[...], NUMBERS)


@pytest.mark.parametrize("kind", ["dict", "zip", "deflated zip", "obstore", "zarr"])
def test_python_codecs_in_other_stores(tmp_path, kind):
    write_v2(tmp_path / "a", NUMBERS.astype("<i4"), [numcodecs.Delta("<i4")], numcodecs.BZ2())
    (tmp_path / "a/1.1").unlink()
    expected = NUMBERS.copy()
    expected[10:20, 8:16] = 0
    files = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    if "zip" in kind:
        store = tmp_path / "a.zip"
        method = zipfile.ZIP_DEFLATED if kind == "deflated zip" else zipfile.ZIP_STORED
        with zipfile.ZipFile(store, "w", method) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    elif kind == "obstore":
        store = MemoryStore()
        for name, data in files.items():
            store.put(name, data)
    else:
        store = files if kind == "dict" else zarr.storage.LocalStore(tmp_path / "a")
    array = ringio_zarr.open(store)
    np.testing.assert_array_equal(array[...], expected)
    np.testing.assert_array_equal(array[12, 9:20], expected[12, 9:20])


@pytest.mark.parametrize("store", ["path", "memory"])
def test_a_damaged_chunk_of_a_python_codec_is_named(tmp_path, store):
    write_v2(tmp_path / "a", NUMBERS.astype("<i4"), [], numcodecs.BZ2())
    (tmp_path / "a/2.1").write_bytes(b"nonsense")
    files = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    array = ringio_zarr.open(files if store == "memory" else tmp_path / "a")
    with pytest.raises(DecodeError, match=r"bz2: chunk \(2, 1\) of .*2\.1, bytes 0-8: OSError") as caught:
        array[...]
    assert isinstance(caught.value.__cause__, OSError)
    np.testing.assert_array_equal(array[:20], NUMBERS[:20])


# ----------------------------------------------------------------------------------------------------------- Zarr v3

COMPRESSORS_V3 = [
    {"name": f"numcodecs.{name}", "configuration": configuration}
    for name, configuration in [
        ("blosc", {"cname": "zstd", "shuffle": 1}),
        ("zstd", {"level": 1}),
        ("lz4", {}),
        ("zlib", {}),
        ("gzip", {}),
        ("bz2", {}),
        ("lzma", {"format": 1}),
        ("shuffle", {}),
        ("shuffle", {"elementsize": 2}),
        ("crc32", {}),
        ("crc32c", {}),
        ("crc32c", {"location": "start"}),
        ("adler32", {"location": "end"}),
        ("fletcher32", {}),
        ("jenkins_lookup3", {"initval": 3}),
    ]
]


@pytest.mark.parametrize("shards", [None, (20, 8)])
@pytest.mark.parametrize("compressor", COMPRESSORS_V3, ids=lambda value: value["name"])
def test_numcodecs_in_v3(tmp_path, compressor, shards):
    array = zarr.create_array(
        tmp_path / "a", shape=(35, 21), chunks=(10, 8), shards=shards, dtype="int16", compressors=[compressor],
        filters=[{"name": "numcodecs.delta", "configuration": {"dtype": "<i2"}}], fill_value=7,
    )  # fmt: skip
    array[:20] = NUMBERS[:20]
    check(tmp_path / "a")


def shards(chunk_shape, inner, index_location):
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    configuration = {
        "chunk_shape": chunk_shape,
        "codecs": inner or [little, {"name": "zstd", "configuration": {"level": 1, "checksum": False}}],
        "index_codecs": [little, {"name": "crc32c"}],
        "index_location": index_location,
    }
    return {"name": "sharding_indexed", "configuration": configuration}


TURN = {"name": "transpose", "configuration": {"order": [1, 0]}}
GZIP = {"name": "gzip", "configuration": {"level": 1}}


@pytest.mark.parametrize("index_location", ["start", "end"])
def test_codecs_around_shards(tmp_path, index_location):
    """zarr-python writes none, but reads them."""
    array = zarr.create_array(
        tmp_path / "a", shape=(35, 21), chunks=(20, 20), dtype="int16", fill_value=7, compressors=None, filters=[TURN],
        serializer=shards([10, 5], None, index_location),
    )  # fmt: skip
    array[:15] = NUMBERS[:15]
    np.testing.assert_array_equal(ringio_zarr.open(tmp_path / "a")[...], array[...])
    document = json.loads((tmp_path / "a/zarr.json").read_text())
    document["codecs"].append(GZIP)
    (tmp_path / "a/zarr.json").write_text(json.dumps(document))
    for shard in (tmp_path / "a/c").rglob("*"):
        if shard.is_file():
            shard.write_bytes(numcodecs.GZip().encode(shard.read_bytes()))
    check(tmp_path / "a")


def wrapped(path):
    """An array of 8 bytes in 4 shards with checksums around them, the third of which is missing."""
    serializer = shards([1], [{"name": "bytes"}], "end")
    array = zarr.create_array(
        path, shape=(8,), chunks=(2,), dtype="uint8", fill_value=7, compressors=None, filters=None,
        serializer=serializer,
    )  # fmt: skip
    array[:4], array[6:] = np.arange(4), 1
    document = json.loads((path / "zarr.json").read_text())
    document["codecs"].append({"name": "crc32c"})
    (path / "zarr.json").write_text(json.dumps(document))
    for shard in (path / "c").iterdir():
        shard.write_bytes(numcodecs.CRC32C(location="end").encode(shard.read_bytes()))
    return np.array([0, 1, 2, 3, 7, 7, 1, 1])


def test_the_reader_given_reads_shards_with_codecs_around_them(tmp_path, monkeypatch):
    """All of a batch at once."""
    values = wrapped(tmp_path / "a")
    store = MemoryStore()
    for path in (tmp_path / "a").rglob("*"):
        if path.is_file():
            store.put(path.relative_to(tmp_path / "a").as_posix(), path.read_bytes())
    calls = []
    look_up = Reader.look_up
    monkeypatch.setattr(
        Reader, "look_up", lambda self, *a, **k: calls.append((self, len(a[0]))) or look_up(self, *a, **k)
    )
    with Reader(workers=1) as reader:
        array = ringio_zarr.open_array(store, reader=reader)
        calls.clear()
        np.testing.assert_array_equal(array[...], values)
        assert calls == [(reader, 4)]


def test_one_bad_shard_with_codecs_around_it(tmp_path):
    """Far too large, or no file: it is named, with the chunk, and the others are read."""
    values = wrapped(tmp_path / "a")
    os.truncate(tmp_path / "a/c/1", (1 << 30) + 100)
    target = np.zeros(8, "u1")
    with pytest.raises(DecodeError, match=r"a/c/1: 1073741924 bytes, at most \d+ make sense here") as error:
        ringio_zarr.open(tmp_path / "a").get_basic_selection(..., out=target)
    assert "chunk" in error.value.__notes__[0]
    np.testing.assert_array_equal(np.delete(target, [2, 3]), np.delete(values, [2, 3]))
    (tmp_path / "a/c/1").unlink()
    (tmp_path / "a/c/1").mkdir()
    with pytest.raises(IsADirectoryError):
        ringio_zarr.open(tmp_path / "a")[...]


@pytest.mark.parametrize("index_location", ["start", "end"])
def test_codecs_around_shards_in_shards(tmp_path, index_location):
    inner = [TURN, shards([10, 5], None, index_location), GZIP]
    array = zarr.create_array(
        tmp_path / "a", shape=(70, 21), chunks=(40, 20), dtype="int16", fill_value=7, compressors=None, filters=None,
        serializer=shards([20, 20], inner, "end"),
    )  # fmt: skip
    array[:15] = NUMBERS[:15]
    check(tmp_path / "a")


# ------------------------------------------------------------------------------------------------- codecs of others


class Inverted(numcodecs.abc.Codec):
    codec_id = "test_inverted"

    def encode(self, buf):
        return (~numcodecs.compat.ensure_contiguous_ndarray(buf).view("u1")).tobytes()

    decode = encode


def test_codecs_registered_with_numcodecs_and_ringio(tmp_path):
    numcodecs.register_codec(Inverted)
    write_v2(tmp_path / "a", NUMBERS.astype("<i4"), [Inverted()], None)
    check(tmp_path / "a")
    del codec_registry["test_inverted"]
    with pytest.raises(UnsupportedError, match=r"'test_inverted' is not supported.*register"):
        ringio_zarr.open(tmp_path / "a")
    from ringio import _python_codecs

    try:
        codecs.register("test_inverted", lambda configuration: Inverted())
        np.testing.assert_array_equal(ringio_zarr.open(tmp_path / "a")[...], NUMBERS)
    finally:
        _python_codecs._factories.clear()


def test_codecs_registered_with_zarr(tmp_path):
    from dataclasses import dataclass

    from zarr.abc.codec import BytesBytesCodec
    from zarr.registry import register_codec

    @dataclass(frozen=True)
    class Reversed(BytesBytesCodec):
        is_fixed_size = True

        @classmethod
        def from_dict(cls, data):
            return cls()

        def to_dict(self):
            return {"name": "test.reversed"}

        def compute_encoded_size(self, input_byte_length, chunk_spec):
            return input_byte_length

        async def _decode_single(self, chunk_bytes, chunk_spec):
            return chunk_spec.prototype.buffer.from_bytes(chunk_bytes.to_bytes()[::-1])

        _encode_single = _decode_single

    register_codec("test.reversed", Reversed)
    array = zarr.create_array(
        tmp_path / "a", shape=(35, 21), chunks=(10, 8), dtype="int16", compressors=[{"name": "test.reversed"}]
    )
    array[...] = NUMBERS
    check(tmp_path / "a")


@pytest.mark.parametrize(
    ("codec", "message"),
    [
        ({"id": "zfpy", "mode": 4, "tolerance": -1}, r"'zfpy'.*pip install numcodecs\[zfpy\]"),
        ({"id": "imagecodecs_jpeg"}, "zarray.*pip install imagecodecs"),
        ({"id": "grib", "var": "t"}, "pip install kerchunk"),
        ({"id": "nobody_has_this"}, r"'nobody_has_this' is not supported.*numcodecs.*ringio\.codecs\.register"),
        ({"id": "blosc", "cname": "snappy", "clevel": 1, "shuffle": 1}, "snappy"),
    ],
)
def test_codecs_that_are_not_there(tmp_path, codec, message, monkeypatch):
    monkeypatch.setitem(sys.modules, "zfpy", None)
    write_v2(tmp_path / "a", NUMBERS.astype("<i4"), [], None)
    document = json.loads((tmp_path / "a/.zarray").read_text())
    document["filters"] = [codec]
    (tmp_path / "a/.zarray").write_text(json.dumps(document))
    with pytest.raises(UnsupportedError, match=message):
        ringio_zarr.open(tmp_path / "a")


@pytest.mark.parametrize("dtype", ["<i2", "<u4", "<i8"])
@pytest.mark.parametrize("shuffle", ["filter", "blosc", "blosc in blocks"])
def test_sums_behind_shuffles(tmp_path, dtype, shuffle):
    """Elements come apart from the shuffle, and only as many of them as are wanted."""
    values = (np.arange(100 * 70).reshape(100, 70) ** 2).astype(dtype)
    filters = [numcodecs.Delta(dtype)] + [numcodecs.Shuffle(values.itemsize)] * (shuffle == "filter")
    blosc = numcodecs.Blosc("lz4", shuffle=numcodecs.Blosc.SHUFFLE, blocksize=512 * (shuffle == "blosc in blocks"))
    codec = numcodecs.Zstd() if shuffle == "filter" else blosc
    options = {"zarr_format": 2, "chunks": (60, 50), "filters": filters, "compressors": codec}
    zarr.create_array(str(tmp_path / "a"), shape=values.shape, dtype=dtype, **options)[...] = values
    array = ringio_zarr.open(tmp_path / "a")
    for selection in (..., (3, 5), np.s_[2:9, 1:60], np.s_[40:, ::3], np.s_[:, -1]):
        np.testing.assert_array_equal(array[selection], values[selection])


def test_numcodecs_is_imported_for_its_codecs_alone(tmp_path):
    write_v2(tmp_path / "a", NUMBERS.astype("<i4"), [numcodecs.Delta("<i4"), numcodecs.Shuffle()], numcodecs.Blosc())
    write_v2(tmp_path / "b", NUMBERS.astype("<i4"), [numcodecs.BZ2()], None)
    code = """
import sys, ringio_zarr
ringio_zarr.open(sys.argv[1])[...]
assert not {"numcodecs", "zarr"} & set(sys.modules)
ringio_zarr.open(sys.argv[2])[...]
assert "numcodecs" in sys.modules and "zarr" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code, tmp_path / "a", tmp_path / "b"], check=True)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("name", ["pcodec", "zfpy"])
def test_codecs_that_take_packages_of_their_own(tmp_path, name, zarr_format):
    """Where these are installed."""
    pytest.importorskip(name)
    import zarr.codecs.numcodecs as coded

    module = pytest.importorskip(f"numcodecs.{name}")
    data = NUMBERS.astype("<f4") * np.float32(1.25)
    options = {} if name == "pcodec" else {"mode": 4, "tolerance": 0.001}
    if zarr_format == 2:
        make = module.PCodec if name == "pcodec" else module.ZFPY
        write_v2(tmp_path / "a", data, [], make(**options))
    else:
        make = coded.PCodec if name == "pcodec" else coded.ZFPY
        array = zarr.create_array(
            tmp_path / "a", shape=data.shape, dtype="<f4", chunks=(10, 8), serializer=make(**options), compressors=None
        )
        array[...] = data
    check(tmp_path / "a")
