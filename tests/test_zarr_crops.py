"""Crops: many boxes of one shape in one batch are what stacking them one by one would give."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, BytesCodec, ShardingCodec, TransposeCodec, ZstdCodec

import ringio
import ringio_zarr
from ringio.testing import faulty_reader

pytestmark = pytest.mark.filterwarnings("ignore::Warning:zarr")

SHAPE = (6, 40, 30, 3)
NAMES = ["plain", "sharded", "nested", "transposed", "big-endian"]


def layouts() -> dict[str, dict[str, Any]]:
    """Options of ``zarr.create_array`` for each of the names."""
    blosc = BloscCodec(cname="lz4", typesize=2)
    nested = ShardingCodec(chunk_shape=(2, 16, 16, 3), codecs=[ShardingCodec(chunk_shape=(1, 8, 8, 3))])
    transposed = ShardingCodec(
        chunk_shape=(1, 8, 8, 3), codecs=[TransposeCodec(order=(3, 1, 2, 0)), BytesCodec(), ZstdCodec()]
    )
    return {
        "plain": {"chunks": (2, 7, 9, 3), "compressors": blosc},
        "sharded": {"chunks": (1, 8, 8, 3), "shards": (3, 16, 32, 3), "compressors": blosc},
        "nested": {"chunks": (4, 32, 32, 3), "serializer": nested, "compressors": None},
        "transposed": {"chunks": (2, 16, 16, 3), "serializer": transposed, "compressors": None},
        "big-endian": {"chunks": (2, 7, 9, 2), "zarr_format": 2, "order": "F", "dtype": ">i2"},
    }


@pytest.fixture(scope="module")
def truth() -> np.ndarray[Any, Any]:
    values = np.random.default_rng(3).integers(-500, 500, SHAPE).astype("<i2")
    values[:, 20:, 20:] = -7  # the fill value: these chunks are missing
    return values


@pytest.fixture(scope="module")
def arrays(
    tmp_path_factory: pytest.TempPathFactory, reader: ringio.Reader, truth: np.ndarray[Any, Any]
) -> dict[str, ringio_zarr.Array]:
    folder = tmp_path_factory.mktemp("crops")
    for name, options in layouts().items():
        options = {"dtype": "<i2", "fill_value": -7, **options}
        zarr.create_array(str(folder / name), shape=SHAPE, **options)[...] = truth
    return {name: ringio_zarr.open_array(folder / name, reader=reader) for name in NAMES}


def stack(truth: np.ndarray[Any, Any], starts: Any, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    crops = [truth[tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))] for start in starts]
    return np.stack(crops) if crops else np.empty((0, *shape), truth.dtype)


@st.composite
def crops(draw: st.DrawFn) -> tuple[np.ndarray[Any, Any], tuple[int, ...]]:
    shape = tuple(draw(st.integers(0, length)) for length in SHAPE)
    count = draw(st.integers(0, 12))
    starts = [[draw(st.integers(0, length - n)) for length, n in zip(SHAPE, shape, strict=True)] for _ in range(count)]
    return np.array(starts, np.int64).reshape(count, len(SHAPE)), shape


@pytest.mark.parametrize("name", NAMES)
@given(case=crops())
def test_any_crops(arrays: dict[str, ringio_zarr.Array], truth: np.ndarray[Any, Any], name: str, case: Any) -> None:
    starts, shape = case
    array = arrays[name]
    got = array.read_crops(starts, shape)
    assert got.dtype == array.dtype
    np.testing.assert_array_equal(got, stack(truth, starts, shape))
    many = array.read_many([tuple(slice(a, a + n) for a, n in zip(s, shape, strict=True)) for s in starts])
    for one, other in zip(many, got, strict=True):
        np.testing.assert_array_equal(one, other)


STARTS = np.array([[0, 0, 0, 0], [2, 31, 13, 1], [1, 5, 6, 0], [2, 31, 13, 1], [0, 20, 22, 1]])
CROP = (4, 9, 8, 2)


def strided_outs(dtype: np.dtype[Any]) -> dict[str, np.ndarray[Any, Any]]:
    """Arrays of shape (5, *CROP) that are not simply in C order."""
    full = (len(STARTS), *CROP)
    return {
        "fortran": np.zeros(full, dtype, order="F"),
        "transposed": np.zeros(full[::-1], dtype).transpose(),
        "every second": np.zeros(tuple(2 * n for n in full), dtype)[::2, ::2, ::2, 1::2, ::2],
        "reversed": np.zeros(full, dtype)[::-1, :, ::-1, ::-1],
        "padded": np.zeros((5, 4, 9, 100, 7), dtype)[..., 50:58, 3:5],
        "of records": np.zeros(full, [("before", "u1"), ("value", dtype), ("after", "u2")])["value"],
        "unaligned": np.ndarray(full, dtype, bytearray(1 + dtype.itemsize * int(np.prod(full))), 1),
    }


@pytest.mark.parametrize("kind", list(strided_outs(np.dtype("i2"))))
@pytest.mark.parametrize("name", ["plain", "transposed", "big-endian"])
def test_out_of_any_strides(
    arrays: dict[str, ringio_zarr.Array], truth: np.ndarray[Any, Any], name: str, kind: str
) -> None:
    array = arrays[name]
    out = strided_outs(array.dtype)[kind]
    assert array.read_crops(STARTS, CROP, out=out) is out
    np.testing.assert_array_equal(out, stack(truth, STARTS, CROP))
    out[...] = 0
    base = out if out.base is None else out.base
    everything = base.tobytes() if isinstance(base, np.ndarray) else bytes(base)
    assert not any(everything), "something outside of out was written to"


def test_out_may_be_any_buffer(arrays: dict[str, ringio_zarr.Array], truth: np.ndarray[Any, Any]) -> None:
    want = stack(truth, STARTS, CROP)
    memory = memoryview(bytearray(want.nbytes)).cast("h", want.shape)
    assert arrays["plain"].read_crops(STARTS, CROP, out=memory) is memory
    np.testing.assert_array_equal(np.asarray(memory), want)


def test_out_that_does_not_fit(arrays: dict[str, ringio_zarr.Array]) -> None:
    array = arrays["plain"]
    full = (len(STARTS), *CROP)
    with pytest.raises(ValueError, match=r"out has shape \(5, 4, 9, 8\), expected \(5, 4, 9, 8, 2\)"):
        array.read_crops(STARTS, CROP, out=np.empty(full[:-1], "<i2"))
    with pytest.raises(TypeError, match="out has dtype '<f4', expected '<i2'"):
        array.read_crops(STARTS, CROP, out=np.empty(full, "<f4"))
    with pytest.raises(TypeError, match="out has dtype '>i2', expected '<i2'"):
        array.read_crops(STARTS, CROP, out=np.empty(full, ">i2"))
    read_only = np.empty(full, "<i2")
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match="out is read-only"):
        array.read_crops(STARTS, CROP, out=read_only)
    with pytest.raises(TypeError, match="out is a list"):
        array.read_crops(STARTS, CROP, out=[0] * 10)


@pytest.mark.parametrize(
    ("starts", "crop"),
    [
        ([[0, 0, 0, 0], [3, 0, 0, 0]], 1),
        ([[0, 0, 0, 0], [0, 0, 0, 0], [0, 32, 0, 0]], 2),
        ([[-1, 0, 0, 0]], 0),
        ([[0, 0, 0, 2**62]], 0),
        (np.array([[0, 0, 0, 2**64 - 1]], np.uint64), 0),
    ],
)
def test_crops_out_of_bounds_are_named(arrays: dict[str, ringio_zarr.Array], starts: Any, crop: int) -> None:
    with pytest.raises(IndexError, match=rf"crop {crop} .*\(4, 9, 8, 2\).* out of bounds .*{SHAPE[1]}.*/plain"):
        arrays["plain"].read_crops(starts, CROP)


def test_starts_from_anywhere(arrays: dict[str, ringio_zarr.Array], truth: np.ndarray[Any, Any]) -> None:
    want = stack(truth, STARTS, CROP)
    for starts in [STARTS.tolist(), STARTS.astype("u1"), STARTS.astype(">i8"), np.asfortranarray(STARTS)]:
        np.testing.assert_array_equal(arrays["sharded"].read_crops(starts, list(CROP)), want)
    assert arrays["sharded"].read_crops([], CROP).shape == (0, *CROP)
    for wrong in [STARTS.astype("f8"), STARTS > 3]:
        with pytest.raises(TypeError, match="integers"):
            arrays["sharded"].read_crops(wrong, CROP)
    with pytest.raises(ValueError, match="3 dimensions"):
        arrays["sharded"].read_crops(STARTS, CROP[:3])


def test_every_chunk_is_decoded_once(arrays: dict[str, ringio_zarr.Array], reader: ringio.Reader) -> None:
    array = arrays["sharded"]
    starts = np.random.default_rng(0).integers(0, np.array(SHAPE) - CROP + 1, (200, 4))
    array.read_crops(starts, CROP)  # the indexes are known from here on
    before = reader.statistics()
    array.read_crops(starts, CROP)
    after = reader.statistics()
    assert after.tasks - before.tasks <= array.nchunks
    assert after.projections - before.projections > 5 * array.nchunks


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_reads_that_go_wrong_now_and_then(
    arrays: dict[str, ringio_zarr.Array], truth: np.ndarray[Any, Any], backend: str, name: str, seed: int
) -> None:
    """Short, empty, interrupted, late reads, of indexes as well, are not seen in the result."""
    rates = {"short": 3, "zero": 11, "eintr": 5, "eagain": 5, "late": 3, "submit": 7}
    with faulty_reader(backend, seed=seed, workers=2, **rates) as reader:
        array = ringio_zarr.open_array(arrays[name].location, reader=reader, shard_index_cache_bytes=0)
        for _ in range(3):
            np.testing.assert_array_equal(array.read_crops(STARTS, CROP), stack(truth, STARTS, CROP))


@pytest.mark.parametrize("name", NAMES)
def test_a_disk_that_fails(arrays: dict[str, ringio_zarr.Array], backend: str, name: str) -> None:
    with faulty_reader(backend, seed=1, workers=2, eio=1) as reader:
        array = ringio_zarr.open_array(arrays[name].location, reader=reader, shard_index_cache_bytes=0)
        with pytest.raises(OSError, match="Input/output error") as caught:
            array.read_crops(STARTS, CROP)
    assert str(caught.value.filename).startswith(array.location)
    assert f"of '{array.location}'" in "".join(caught.value.__notes__)


@pytest.mark.parametrize("name", NAMES)
def test_progress_is_reported(
    arrays: dict[str, ringio_zarr.Array], name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nobody knows how many bytes a chunk has before it is read: those of a file of their own."""
    monkeypatch.setattr("tqdm.tqdm.monitor_interval", 0)  # its thread would outlive the test
    calls: list[tuple[int, int]] = []
    for read in [
        lambda progress: arrays[name].read_crops(STARTS, CROP, progress=progress),
        lambda progress: arrays[name].read_many([0, 1], progress=progress),
    ]:
        calls.clear()
        read(lambda done, total: calls.append((done, total)))
        assert calls[-1][0] == calls[-1][1] > 0
        read(True)
    assert "ringio" not in capsys.readouterr().out  # bars go to standard error
    with pytest.raises(TypeError, match="progress"):
        arrays[name].read_crops(STARTS, CROP, progress="yes")  # type: ignore[arg-type]


def test_many_threads_at_once(arrays: dict[str, ringio_zarr.Array], truth: np.ndarray[Any, Any]) -> None:
    rng = np.random.default_rng(1)
    batches = [rng.integers(0, np.array(SHAPE) - CROP + 1, (20, 4)) for _ in range(24)]

    def check(number: int) -> None:
        array = arrays[NAMES[number % len(NAMES)]]
        np.testing.assert_array_equal(
            array.read_crops(batches[number], CROP), stack(truth, batches[number], CROP).astype(array.dtype)
        )

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(check, range(len(batches))))


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of fork() in a process with threads
def test_child_processes_read_too(tmp_path: Path, truth: np.ndarray[Any, Any], method: str) -> None:
    """As a data loader's workers do, after the parent has read from the same array."""
    options = layouts()["sharded"]
    zarr.create_array(str(tmp_path / "a"), shape=SHAPE, dtype="<i2", fill_value=-7, **options)[...] = truth
    array = ringio_zarr.open_array(tmp_path / "a")
    want = stack(truth, STARTS, CROP).tobytes()
    assert array.read_crops(STARTS, CROP).tobytes() == want
    with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context(method)) as pool:
        results = [pool.submit(array.read_crops, STARTS, CROP) for _ in range(4)]
        assert all(result.result(60).tobytes() == want for result in results)
    assert array.read_crops(STARTS, CROP).tobytes() == want


def test_out_that_overlaps_itself(tmp_path: Path) -> None:
    """Elements of out= that share memory are refused: workers would write to one place."""
    zarr.create_array(tmp_path / "a", shape=(20,), chunks=(5,), dtype="i4")
    array: Any = ringio_zarr.open(tmp_path / "a")
    memory = np.zeros(64, "i4")
    for strides in [(0, 4), (4, 4), (8, 4), (-8, 4)]:
        out = np.lib.stride_tricks.as_strided(memory[32:], (3, 5), strides)
        with pytest.raises(ValueError, match="share memory"):
            array.read_crops([[0], [5], [10]], (5,), out=out)
    apart = np.lib.stride_tricks.as_strided(memory, (3, 5), (20, 4))
    assert array.read_crops([[0], [5], [10]], (5,), out=apart) is apart


@pytest.mark.parametrize(
    ("starts", "shape", "message"), [([[0]], 5, "expected 1 integers"), ([[0], [1, 2]], (5,), "no table")]
)
def test_starts_and_shapes_that_make_no_sense(tmp_path: Path, starts: Any, shape: Any, message: str) -> None:
    """The message says what was expected."""
    zarr.create_array(tmp_path / "a", shape=(20,), chunks=(5,), dtype="i4")
    with pytest.raises((TypeError, ValueError), match=message):
        ringio_zarr.open_array(tmp_path / "a").read_crops(starts, shape)
