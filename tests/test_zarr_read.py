"""Every kind of array that zarr-python writes reads as zarr-python, TensorStore and numpy have it, bit for bit."""

from __future__ import annotations

import gzip
import json
import pickle
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import tensorstore
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.codecs import (
    BloscCodec,
    BytesCodec,
    Crc32cCodec,
    GzipCodec,
    ShardingCodec,
    TransposeCodec,
    ZstdCodec,
)

import ringio
import ringio_zarr

pytestmark = pytest.mark.filterwarnings("ignore::Warning:zarr", "ignore::Warning:numcodecs")

SHAPE = (13, 11)
CHUNKS = (4, 5)
WRITTEN = (slice(0, 9), slice(3, 11))  # the last rows of chunks stay missing


def random_items(shape: tuple[int, ...], dtype: np.dtype[Any], seed: int = 0) -> np.ndarray[Any, Any]:
    """Any bits that make sense for the dtype; smooth enough that codecs have something to do."""
    rng = np.random.default_rng(seed)
    count = int(np.prod(shape))
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(dtype)
    if dtype.kind in "iu":
        return (rng.integers(-300, 300, shape) * 7 + np.arange(count).reshape(shape)).astype(dtype)
    if dtype.kind == "f":
        array = rng.standard_normal(shape).astype(dtype)
        array.flat[::17] = np.nan
        array.flat[5::17] = -np.inf
        return array
    if dtype.kind == "c":
        return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)
    if dtype.kind in "mM":
        return rng.integers(-(10**6), 10**6, shape).astype(dtype.str[0] + "i8").view(dtype)
    if dtype.kind == "S":
        return np.array([b"a%d" % i for i in range(count)], dtype).reshape(shape)
    if dtype.kind == "U":
        return np.array([f"ä{i}" for i in range(count)], dtype).reshape(shape)
    return rng.integers(0, 256, (*shape, dtype.itemsize)).astype(np.uint8).view(dtype)[..., 0]


def assert_same(got: Any, want: Any) -> None:
    """Type, dtype, shape and every bit."""
    assert type(got) is type(want)
    got, want = np.asarray(got), np.asarray(want)
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    assert np.ascontiguousarray(got).tobytes() == np.ascontiguousarray(want).tobytes()


def assert_equal(got: Any, want: Any) -> None:
    """Shape and values; the dtype too unless it is a scalar's, which has the byte order of the machine."""
    np.testing.assert_array_equal(got, want)
    assert np.shape(got) == np.shape(want)
    assert np.shape(got) == () or got.dtype == want.dtype


@dataclass
class Case:
    """An array to be written."""

    name: str
    dtype: str = "<i2"
    shape: tuple[int, ...] = SHAPE
    written: tuple[slice, ...] = WRITTEN
    fill_value: Any = 0
    options: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> np.ndarray[Any, Any]:
        """Write it and return what is in it."""
        options = {"chunks": CHUNKS, "zarr_format": 3, "fill_value": self.fill_value, **self.options}
        dtype = np.dtype(self.dtype)
        array = zarr.create_array(str(path), shape=self.shape, dtype=dtype, **options)
        truth = np.full(self.shape, self.fill_value, dtype)
        values = random_items(self.shape, dtype)
        truth[self.written] = values[self.written]
        array[self.written] = values[self.written]
        return truth

    def __str__(self) -> str:
        return self.name


def v2(name: str, dtype: str = "<i2", *, fill_value: Any = 0, **options: Any) -> Case:
    return Case(f"v2-{name}", dtype, fill_value=fill_value, options={"zarr_format": 2, "compressors": None, **options})


def v3(name: str, dtype: str = "<i2", *, fill_value: Any = 0, **options: Any) -> Case:
    return Case(f"v3-{name}", dtype, fill_value=fill_value, options={"compressors": None, **options})


def sharded(
    name: str,
    *,
    inner: tuple[int, ...] = (2, 3),
    shard: tuple[int, ...] = (6, 6),
    codecs: Any = None,
    filters: Any = (),
    **sharding: Any,
) -> Case:
    serializer = ShardingCodec(chunk_shape=inner, codecs=codecs or [BytesCodec(), ZstdCodec()], **sharding)
    return v3(f"sharded-{name}", chunks=shard, serializer=serializer, filters=filters)


def blosc_v2(cname: str, shuffle: int) -> numcodecs.Blosc:
    return numcodecs.Blosc(cname=cname, clevel=5, shuffle=shuffle)


NUMBERS = ["|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8", "<c8", "<c16"]
TIMES = ["<M8[s]", "<m8[ns]"]
OTHERS = ["|S5", "<U4", "|V6"]
BLOSC_INNER = ["lz4", "lz4hc", "blosclz", "zlib", "zstd"]

CASES = [
    *[v2(f"dtype-{dtype}", dtype, fill_value=np.zeros((), dtype)[()]) for dtype in NUMBERS],
    *[v2(f"dtype-{dtype}", dtype, fill_value=np.zeros((), dtype)[()]) for dtype in [">i2", ">f8", ">c16", ">u8"]],
    *[v2(f"dtype-{dtype}", dtype, fill_value=np.array(7, dtype)[()]) for dtype in [*TIMES, ">M8[s]"]],
    *[v2(f"dtype-{dtype}", dtype, fill_value=np.zeros((), dtype)[()]) for dtype in OTHERS],
    *[v3(f"dtype-{dtype}", dtype, fill_value=np.zeros((), dtype)[()]) for dtype in NUMBERS],
    *[v3(f"dtype-{dtype}", dtype, fill_value=np.array(7, dtype)[()]) for dtype in TIMES],
    *[v3(f"dtype-{dtype}", dtype, fill_value=np.zeros((), dtype)[()]) for dtype in OTHERS],
    *[v2(f"blosc-{cname}-{s}", compressors=blosc_v2(cname, s)) for cname in BLOSC_INNER for s in (-1, 0, 1, 2)],
    v2("zstd", compressors=numcodecs.Zstd(level=3)),
    v2("zstd-checksum", compressors=numcodecs.Zstd(level=3, checksum=True)),
    v2("gzip", compressors=numcodecs.GZip(level=1)),
    v2("zlib", compressors=numcodecs.Zlib(level=6)),
    v2("lz4", compressors=numcodecs.LZ4()),
    v2("shuffle-zlib", "<f8", filters=[numcodecs.Shuffle(8)], compressors=numcodecs.Zlib(level=1)),
    v2("big-endian-blosc", ">f4", compressors=blosc_v2("lz4", 1)),
    v2("order-f", order="F"),
    v2("order-f-big-endian-zstd", ">i4", order="F", compressors=numcodecs.Zstd()),
    v2("separator", chunk_key_encoding={"name": "v2", "separator": "/"}),
    v2("fill", "<f4", fill_value=np.float32("nan")),
    *[
        v3(f"blosc-{cname}-{shuffle}", compressors=BloscCodec(cname=cname, shuffle=shuffle, typesize=2))
        for cname in BLOSC_INNER
        for shuffle in ("noshuffle", "shuffle", "bitshuffle")
    ],
    v3("zstd", compressors=ZstdCodec(level=3)),
    v3("zstd-checksum", compressors=ZstdCodec(level=3, checksum=True)),
    v3("gzip", compressors=GzipCodec(level=3)),
    v3("crc32c", compressors=Crc32cCodec()),
    v3("zstd-crc32c", compressors=[ZstdCodec(), Crc32cCodec()]),
    v3("big-endian", "<i4", serializer=BytesCodec(endian="big")),
    v3("big-endian-complex", "<c8", serializer=BytesCodec(endian="big")),
    v3("transpose", filters=[TransposeCodec(order=(1, 0))], compressors=ZstdCodec()),
    v3("keys-dot", chunk_key_encoding={"name": "default", "separator": "."}),
    v3("keys-v2", chunk_key_encoding={"name": "v2", "separator": "."}),
    v3("keys-v2-slash", chunk_key_encoding={"name": "v2", "separator": "/"}),
    v3("fill", "<i8", fill_value=-(2**40)),
    v3("fill-infinity", "<f4", fill_value=-np.inf),
    sharded("index-end"),
    sharded("index-start", index_location="start"),
    sharded("no-crc32c", index_codecs=[BytesCodec()]),
    sharded("no-crc32c-start", index_codecs=[BytesCodec()], index_location="start"),
    sharded("index-big-endian", index_codecs=[BytesCodec(endian="big"), Crc32cCodec()]),
    sharded("raw", codecs=[BytesCodec()]),
    sharded("blosc", codecs=[BytesCodec(), BloscCodec(cname="lz4", typesize=2)]),
    sharded("transpose-inside", codecs=[TransposeCodec(order=(1, 0)), BytesCodec(), ZstdCodec()]),
    sharded("transpose-outside", filters=[TransposeCodec(order=(1, 0))], inner=(3, 2)),
    sharded("nested", shard=(12, 6), inner=(6, 6), codecs=[ShardingCodec(chunk_shape=(2, 3))]),
    sharded(
        "nested-start",
        shard=(12, 6),
        inner=(6, 6),
        index_location="start",
        codecs=[ShardingCodec(chunk_shape=(2, 3), index_location="start", codecs=[BytesCodec(), Crc32cCodec()])],
    ),
    sharded(
        "nested-thrice",
        shard=(12, 12),
        inner=(6, 12),
        codecs=[ShardingCodec(chunk_shape=(6, 6), codecs=[ShardingCodec(chunk_shape=(2, 3), codecs=[BytesCodec()])])],
    ),
]

# Plain, and no two dimensions alike; what zarr-python gives for each of them must come out.
SELECTIONS: list[Any] = [
    ...,
    (),
    0,
    -1,
    (3, 4),
    (-1, -1),
    (np.int64(2), 3),
    (2, 3, ...),
    (..., 5),
    slice(2, 9),
    (slice(None), 3),
    (slice(1, 12, 3), slice(None, None, 2)),
    (slice(0, 13, 6), slice(10, 11)),
    (slice(5, 5), slice(None)),
    (slice(9, 2), 1),
    (slice(-100, 100), slice(-4, -1)),
    (slice(3, 4), slice(2, 100)),
    (slice(12, None), ...),
]
ATTRIBUTES = ["shape", "ndim", "size", "nbytes", "chunks", "shards", "cdata_shape", "nchunks", "dtype", "order"]
ATTRIBUTES += ["path", "name", "basename", "read_only"]
REVERSED: list[Any] = [
    slice(None, None, -1),
    (slice(None, None, -3), slice(8, 1, -2)),
    (slice(4, None, -1), 2),
    (7, slice(None, 3, -4)),
    (slice(0, 5, -1), slice(None)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_reads_as_zarr_python_has_it(case: Case, tmp_path: Path) -> None:
    """Every dtype, codec, order, key and shard layout, with every kind of selection, missing chunks included."""
    truth = case.write(tmp_path / "a")
    theirs = zarr.open_array(str(tmp_path / "a"), mode="r")
    ours = ringio_zarr.open(tmp_path / "a")
    assert isinstance(ours, ringio_zarr.Array)
    for name in ATTRIBUTES:
        assert getattr(ours, name) == getattr(theirs, name), name
    assert_same(np.asarray(ours.fill_value), np.asarray(theirs.fill_value))
    assert ours.zarr_format == theirs.metadata.zarr_format
    assert len(ours) == SHAPE[0]
    wanted = [theirs[selection] for selection in SELECTIONS]
    for selection, want in zip(SELECTIONS, wanted, strict=True):
        assert_same(ours[selection], want)
    for selection in REVERSED:
        assert_same(ours[selection], np.asarray(truth[selection]))
    assert_same(ours[...], truth)
    for got, want in zip(ours.read_many(SELECTIONS), wanted, strict=True):
        assert_same(got, want)


TENSORSTORE_CASES = [
    case
    for case in CASES
    if case.name.startswith(("v3-sharded", "v3-transpose", "v3-blosc-lz4", "v2-order-f", "v2-blosc-lz4-"))
]


@pytest.mark.parametrize("case", TENSORSTORE_CASES, ids=str)
def test_reads_as_tensorstore_has_it(case: Case, tmp_path: Path) -> None:
    case.write(tmp_path / "a")
    spec = {
        "driver": "zarr" if case.name.startswith("v2") else "zarr3",
        "kvstore": {"driver": "file", "path": f"{tmp_path}/a/"},
    }
    theirs = tensorstore.open(spec, open=True, read=True).result().read().result()
    ours = ringio_zarr.open_array(tmp_path / "a")[...]
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("transposed", [False, True])
def test_reads_what_tensorstore_writes(transposed: bool, tmp_path: Path) -> None:
    """Inner chunks in an order of its own; and, outside a shard, a transpose without which they would not divide it."""
    sharding = {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": [5, 4] if transposed else [4, 5],
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "gzip"}],
            "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
        },
    }
    metadata = {
        "shape": [30, 50],
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [16, 20]}},
        "codecs": [{"name": "transpose", "configuration": {"order": [1, 0]}}, sharding] if transposed else [sharding],
        "data_type": "uint32",
        "fill_value": 9,
    }
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{tmp_path}/a/"}, "metadata": metadata}
    theirs = tensorstore.open(spec, create=True).result()
    truth = np.full((30, 50), 9, np.uint32)
    truth[3:20, 7:41] = np.arange(17 * 34).reshape(17, 34)
    theirs[3:20, 7:41] = truth[3:20, 7:41]
    assert_same(ringio_zarr.open_array(tmp_path / "a")[...], truth)


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory, reader: ringio.Reader) -> dict[str, tuple[Any, Any]]:
    """A few arrays of three dimensions: what is in them, and as they are read on each backend."""
    folder = tmp_path_factory.mktemp("arrays")
    written = (slice(0, 9), slice(3, 10), slice(2, 7))
    sharding = ShardingCodec(chunk_shape=(2, 5, 3), codecs=[TransposeCodec(order=(2, 0, 1)), BytesCodec(), ZstdCodec()])
    outside = ShardingCodec(chunk_shape=(3, 2, 6), codecs=[BytesCodec(), ZstdCodec()])
    cases = [
        Case("plain", "<i4", (11, 10, 7), written, 5, {"chunks": (4, 3, 7)}),
        Case("order-f", ">i2", (11, 10, 7), written, 0, {"chunks": (4, 3, 2), "zarr_format": 2, "order": "F"}),
        Case("sharded", "<f4", (11, 10, 7), written, 1.5, {"chunks": (4, 5, 6), "serializer": sharding}),
        Case(
            "transposed-outside",
            "<i8",
            (11, 10, 7),
            written,
            -1,
            {"chunks": (6, 6, 6), "filters": [TransposeCodec(order=(2, 0, 1))], "serializer": outside},
        ),
    ]
    for case in cases:
        case.options.setdefault("compressors", None)
    return {
        case.name: (case.write(folder / case.name), ringio_zarr.open(folder / case.name, reader=reader))
        for case in cases
    }


def any_selection(shape: tuple[int, ...]) -> st.SearchStrategy[tuple[Any, ...]]:
    def item(length: int) -> st.SearchStrategy[Any]:
        places = st.none() | st.integers(-length - 3, length + 3)
        steps = st.none() | st.integers(1, length + 2) | st.integers(-length - 2, -1)
        return st.integers(-length, length - 1) | st.builds(slice, places, places, steps)

    def cut(items: tuple[Any, ...]) -> st.SearchStrategy[tuple[Any, ...]]:
        return st.tuples(st.integers(0, len(items)), st.integers(0, len(items))).map(
            lambda ends: (*items[: min(ends)], ..., *items[max(ends) :]) if ends[0] < ends[1] else items[: ends[0]]
        )

    return st.tuples(*map(item, shape)).flatmap(cut)


@pytest.mark.parametrize("name", ["plain", "order-f", "sharded", "transposed-outside"])
@given(data=st.data())
def test_any_selection_is_what_numpy_gives(arrays: dict[str, tuple[Any, Any]], name: str, data: st.DataObject) -> None:
    truth, array = arrays[name]
    selection = data.draw(any_selection(truth.shape))
    want = truth[selection]
    assert_equal(array[selection], want)
    out = np.zeros(want.shape[::-1], truth.dtype).T
    assert array.get_basic_selection(selection, out=out) is out
    np.testing.assert_array_equal(out, want)


@pytest.mark.parametrize("name", ["plain", "order-f", "sharded", "transposed-outside"])
@given(data=st.data())
def test_read_many_is_each_selection_of_its_own(
    arrays: dict[str, tuple[Any, Any]], name: str, data: st.DataObject
) -> None:
    truth, array = arrays[name]
    selections = data.draw(st.lists(any_selection(truth.shape), max_size=6))
    results = array.read_many(selections)
    assert len(results) == len(selections)
    for result, selection in zip(results, selections, strict=True):
        assert_equal(result, truth[selection])


def test_read_many_into_arrays_of_the_caller(arrays: dict[str, tuple[Any, Any]]) -> None:
    truth, array = arrays["sharded"]
    selections = [(0,), (slice(None, None, -2), 4), (slice(3, 3),), (1, 2, 3)]
    out = [np.full(truth[selection].shape, 7, "<f4")[...] for selection in selections]
    results = array.read_many(selections, out=out)
    assert all(result is item for result, item in zip(results, out, strict=True))
    for result, selection in zip(results, selections, strict=True):
        np.testing.assert_array_equal(result, truth[selection])
    with pytest.raises(ValueError, match="out has 3 arrays for 4 selections"):
        array.read_many(selections, out=out[:3])
    with pytest.raises(ValueError, match=r"out\[1\] has shape \(6, 7\), expected \(7,\)"):
        array.read_many([(1, 1), (0, 0)], out=[np.empty(7, "<f4"), np.empty((6, 7), "<f4")])


def test_out_is_a_tensor_or_refused(arrays: dict[str, tuple[Any, Any]]) -> None:
    """Into a torch tensor, but into nothing that only gives copies of itself: the caller would never see the result."""

    class Tensor:
        def __init__(self, own: bool) -> None:
            self.memory = np.zeros(7, "<f4")
            self.own = own

        def numpy(self) -> np.ndarray[Any, Any]:
            return self.memory if self.own else self.memory.copy()

        def data_ptr(self) -> int:
            return int(self.memory.ctypes.data)

        __array__ = numpy

    truth, array = arrays["sharded"]
    tensor = Tensor(own=True)
    assert array.get_basic_selection((1, 1), out=tensor) is tensor
    np.testing.assert_array_equal(tensor.memory, truth[1, 1])
    with pytest.raises(TypeError, match="out is a Tensor"):
        array.get_basic_selection((1, 1), out=Tensor(own=False))


def test_arrays_without_dimensions(tmp_path: Path) -> None:
    for zarr_format in (2, 3):
        theirs = zarr.create_array(str(tmp_path / f"{zarr_format}"), shape=(), dtype="f8", zarr_format=zarr_format)
        ours = ringio_zarr.open_array(tmp_path / f"{zarr_format}")
        assert_same(ours[()], np.float64(0))  # nothing is written yet
        theirs[...] = 2.5
        assert_same(ours[()], theirs[()])
        assert_same(ours[...], theirs[...])
        assert_same(np.asarray(ours), np.array(2.5))
        assert ours.size == 1
        assert ours.nchunks == 1
        with pytest.raises(TypeError, match="without dimensions"):
            len(ours)
        with pytest.raises(IndexError, match="too many indices"):
            ours[0]


def test_dimensions_without_elements(tmp_path: Path) -> None:
    zarr.create_array(str(tmp_path / "a"), shape=(3, 0, 4), chunks=(2, 1, 3), dtype="i2")
    ours = ringio_zarr.open_array(tmp_path / "a")
    assert_same(ours[...], np.empty((3, 0, 4), "i2"))
    assert_same(ours[1, :, ::-1], np.empty((0, 4), "i2"))
    assert ours.read_crops(np.zeros((5, 3), int), (1, 0, 4)).shape == (5, 1, 0, 4)


def test_an_array_larger_than_any_disk(tmp_path: Path) -> None:
    """2**50 elements in 2**30 chunks, of which one is written: what is read is what is asked for."""
    theirs = zarr.create_array(
        str(tmp_path / "a"), shape=(2**25, 2**25), chunks=(2**10, 2**10), dtype="u1", fill_value=3
    )
    theirs[2**24 : 2**24 + 2, 2**24 : 2**24 + 2] = 8
    ours = ringio_zarr.open_array(tmp_path / "a")
    assert ours.size == 2**50
    assert_same(ours[2**24 - 1 : 2**24 + 2, 2**24], np.array([3, 8, 8], "u1"))
    assert_same(ours[-2:, -3:], np.full((2, 3), 3, "u1"))
    assert_same(ours[:: 2**23, 2**24], np.array([3, 3, 8, 3], "u1"))


def test_thirty_two_dimensions(tmp_path: Path) -> None:
    shape = (2,) * 4 + (1,) * 28
    truth = np.arange(16, dtype="i4").reshape(shape)
    theirs = zarr.create_array(str(tmp_path / "a"), shape=shape, chunks=(1, 2) + (1,) * 30, dtype="i4")
    theirs[...] = truth
    ours = ringio_zarr.open_array(tmp_path / "a")
    assert_same(ours[...], truth)
    assert_same(ours[:, ::-1, 1], np.ascontiguousarray(truth[:, ::-1, 1]))


def test_only_chunks_that_are_wanted_are_read(tmp_path: Path) -> None:
    """Steps longer than a chunk leave chunks out; chunks wanted several times are read once."""
    theirs = zarr.create_array(str(tmp_path / "a"), shape=(100,), chunks=(5,), shards=(50,), dtype="i4")
    theirs[...] = np.arange(100)
    reader = ringio.Reader()
    ours = ringio_zarr.open_array(tmp_path / "a", reader=reader)
    ours[0:1], ours[50:51]  # both indexes are known from here on

    def tasks(read: Callable[[], object]) -> int:
        before = reader.statistics().tasks
        read()
        return reader.statistics().tasks - before

    assert tasks(lambda: ours[::25]) == 4
    assert tasks(lambda: ours[7:8]) == 1
    assert tasks(lambda: ours[3:3]) == 0
    assert tasks(lambda: ours.read_many([slice(0, 3), slice(1, 4), 2, slice(None, 5)])) == 1
    assert tasks(lambda: ours.read_crops([[0], [1], [2], [6], [5]], (4,))) == 2


def test_shard_indexes_are_read_once(tmp_path: Path) -> None:
    theirs = zarr.create_array(str(tmp_path / "a"), shape=(100,), chunks=(5,), shards=(50,), dtype="i4")
    theirs[...] = np.arange(100)
    reader = ringio.Reader()
    kept = ringio_zarr.open_array(tmp_path / "a", reader=reader)
    for array, expected in [(kept, [2, 1, 1]), (ringio_zarr.open_array(tmp_path / "a", reader=reader), [1, 1, 1])]:
        for count in expected:
            before = reader.statistics().tasks
            assert array[7:8].tolist() == [7]
            assert reader.statistics().tasks - before == count
    forgetful = ringio_zarr.open_array(tmp_path / "a", reader=reader, shard_index_cache_bytes=0)
    for _ in range(2):
        before = reader.statistics().tasks
        forgetful[7:8]
        assert reader.statistics().tasks - before == 2


def test_a_chunk_that_appears_later_is_seen(tmp_path: Path) -> None:
    """Missing chunks and missing shards are not remembered."""
    for name, shards in [("plain", None), ("sharded", (6,))]:
        theirs = zarr.create_array(
            str(tmp_path / name), shape=(12,), chunks=(3,), shards=shards, dtype="i4", fill_value=-1
        )
        ours = ringio_zarr.open_array(tmp_path / name)
        assert ours[...].tolist() == [-1] * 12
        theirs[0:3] = 5
        assert ours[...].tolist() == [5] * 3 + [-1] * 9
        theirs[...] = np.arange(12)
        assert ours[...].tolist() == list(range(12))


def test_an_array_that_was_written_anew_with_other_chunks(tmp_path: Path) -> None:
    """An index kept under the old metadata is not taken for the new, even where nothing else tells them apart."""
    for inner in (5, 10, 25):
        theirs = zarr.create_array(
            str(tmp_path / "a"), shape=(50,), chunks=(inner,), shards=(50,), dtype="i4", overwrite=True
        )
        theirs[...] = np.arange(50) + inner
        assert ringio_zarr.open_array(tmp_path / "a")[...].tolist() == (np.arange(50) + inner).tolist()


def test_pickles_as_its_place(arrays: dict[str, tuple[Any, Any]]) -> None:
    for truth, array in arrays.values():
        other = pickle.loads(pickle.dumps(array))
        assert other == array
        assert hash(other) == hash(array)
        np.testing.assert_array_equal(other[...], truth)
    assert arrays["plain"][1] != arrays["sharded"][1]
    assert arrays["plain"][1] != 3


def test_as_a_numpy_array(arrays: dict[str, tuple[Any, Any]]) -> None:
    truth, array = arrays["plain"]
    np.testing.assert_array_equal(np.asarray(array), truth, strict=True)
    np.testing.assert_array_equal(np.asarray(array, dtype="f8"), truth.astype("f8"), strict=True)
    np.testing.assert_array_equal(np.stack(list(array)), truth)
    with pytest.raises(ValueError, match="copy"):
        np.asarray(array, copy=False)


def test_says_what_it_is(arrays: dict[str, tuple[Any, Any]]) -> None:
    text = repr(arrays["sharded"][1])
    for part in ["ringio_zarr.Array", "/sharded'", "shape=(11, 10, 7)", "dtype=<f4", "chunks=", "shards=(4, 5, 6)"]:
        assert part in text
    assert "shards" not in repr(arrays["plain"][1])


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ((13,), "index 13 is out of bounds for axis 0 with size 11"),
        ((0, -11), "index -11 is out of bounds for axis 1 with size 10"),
        ((0, 0, 0, 0), "too many indices"),
        ((..., 0, ...), "single ellipsis"),
        (None, "newaxis"),
        ([1, 2.5], "lists"),
        (1.5, "float"),
        ("x", "does not have any fields"),
    ],
)
def test_what_cannot_be_selected(arrays: dict[str, tuple[Any, Any]], selection: Any, message: str) -> None:
    with pytest.raises(IndexError, match=message):
        arrays["plain"][1][selection]


def test_documents_by_others(tmp_path: Path) -> None:
    """The spellings of bytes, endian and transpose that other writers have."""
    (tmp_path / "c" / "0").mkdir(parents=True)
    document: dict[str, Any] = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [2, 3],
        "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2, 3]}},
        "chunk_key_encoding": {"name": "default"},
        "fill_value": 1.0,
        "codecs": ["bytes"],
    }
    (tmp_path / "c/0/0").write_bytes(bytes(range(6)))
    legacy = {"name": "endian", "configuration": {"endian": "little"}}
    flipped = {"name": "transpose", "configuration": {"order": "F"}}
    for codecs, want in [
        (["bytes"], [[0, 1, 2], [3, 4, 5]]),
        ([{"name": "bytes"}], [[0, 1, 2], [3, 4, 5]]),
        ([legacy], [[0, 1, 2], [3, 4, 5]]),
        ([flipped, legacy], [[0, 2, 4], [1, 3, 5]]),
    ]:
        (tmp_path / "zarr.json").write_text(json.dumps({**document, "codecs": codecs}))
        assert ringio_zarr.open_array(tmp_path)[...].tolist() == want


def test_shuffled_planes_behind_another_codec(tmp_path):
    """What gzip gives may take more room than is kept: planes in it must not be given away."""
    count = 1 << 19
    values = np.random.default_rng(1).integers(0, 1 << 15, count).astype("<i2")
    codecs = [BytesCodec(), BloscCodec(cname="lz4", shuffle="shuffle", typesize=2), GzipCodec(level=1)]
    zarr.create_array(
        tmp_path, shape=count, chunks=count, dtype="<i2", serializer=codecs[0], compressors=codecs[1:], fill_value=0
    )
    # By hand, because blosc would not make blocks of bytes that it cannot compress: one block, both planes stored.
    planes = values.view(np.uint8).reshape(-1, 2).T
    block = b"".join(struct.pack("<i", count) + plane.tobytes() for plane in planes)
    chunk = struct.pack("<4B4I", 2, 1, 0x21, 2, 2 * count, 2 * count, 20 + len(block), 20) + block
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "0").write_bytes(gzip.compress(chunk, 1))
    array = ringio_zarr.open(tmp_path)
    for _ in range(5):
        assert np.array_equal(array[1 : count - 1], values[1:-1])
    assert np.array_equal(array[:], values)
