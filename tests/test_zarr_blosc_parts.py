"""Of large blosc chunks only the bytes are read that the wanted elements lie in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import numpy.typing as npt
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import ringio
import ringio_zarr
from ringio.testing import faulty_reader

MIB = 1 << 20
SHAPE, CHUNK = (4, 256, 128), (1, 256, 128)
VARIANTS = [
    ("lz4", shuffle, blocksize, dtype)
    for shuffle in (0, 1, 2)
    for blocksize, dtype in ((0, "i2"), (4096, "i4"), (16384, "i2"), (5000, "u1"), (0, "c16"))
]
VARIANTS += [(cname, 1, blocksize, "i4") for cname in ("zstd", "blosclz", "zlib") for blocksize in (0, 16384)]
COORDINATES = st.tuples(*(st.integers(0, length - 1) for length in SHAPE))


def image(shape: tuple[int, ...], dtype: str, seed: int = 0) -> npt.NDArray[Any]:
    """Low bytes that nothing compresses, which blosc stores, and high bytes that repeat."""
    rng = np.random.default_rng(seed)
    values = 1000 + 3 * np.arange(shape[-1]) + rng.integers(0, 256, shape)
    return np.asarray(values % 256 if dtype == "u1" else values).astype(dtype)


def write_array(path: Path, data: npt.NDArray[Any], chunks: tuple[int, ...], codec: numcodecs.Blosc) -> None:
    zarr.create_array(path, shape=data.shape, chunks=chunks, dtype=data.dtype, compressors=codec, zarr_format=2)[
        ...
    ] = data
    for chunk in path.glob("[0-9]*"):
        with chunk.open("rb") as file:
            os.fsync(file.fileno())  # what is not on the disk yet cannot be forgotten


def forget(path: Path, *, keep_head: bool = False) -> None:
    """Takes the file out of the page cache, but for its first page where that is asked for."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        if keep_head:
            os.pread(file.fileno(), 512, 0)


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda variant: "-".join(map(str, variant)))
def stored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    cname, shuffle, blocksize, dtype = request.param
    path = tmp_path_factory.mktemp("variants") / "a.zarr"
    data = image(SHAPE, dtype)
    write_array(path, data, CHUNK, numcodecs.Blosc(cname, 5, shuffle, blocksize))
    with ringio.Reader("io_uring", workers=1) as ring, ringio.Reader("threads", workers=1) as threads:
        yield [ringio_zarr.open_array(path, reader=reader) for reader in (ring, threads)], data


@settings(max_examples=20)
@given(
    points=st.lists(COORDINATES, min_size=1, max_size=4),
    shape=st.tuples(st.just(1), st.integers(1, 200), st.integers(1, 128)),
)
def test_boxes_are_what_numpy_has(stored: Any, points: list[tuple[int, int, int]], shape: tuple[int, ...]) -> None:
    arrays, data = stored
    boxes = [tuple(slice(start, start + length) for start, length in zip(point, shape)) for point in points]
    lists = tuple(map(list, zip(*points)))
    for array in arrays:
        for box, found in zip(boxes, array.read_many(boxes), strict=True):
            assert np.array_equal(found, data[box])
        assert np.array_equal(array.vindex[lists], data[lists])
        assert array[points[0]] == data[points[0]]


class TestStoredPlane:
    """A chunk of 80 KiB in one block: a plane of 40 KiB that is stored, and one of LZ4."""

    @pytest.fixture
    def array(self, tmp_path: Path) -> Any:
        data = image((1, 320, 128), "i2")
        write_array(tmp_path / "a.zarr", data, data.shape, numcodecs.Blosc("lz4", 5, 1))
        return tmp_path / "a.zarr", data

    @pytest.mark.parametrize("backend", ["io_uring", "threads"])
    @pytest.mark.parametrize("row", [0, 160, 319])
    def test_a_point_takes_few_bytes(self, array: Any, backend: str, row: int) -> None:
        path, data = array
        (path / "0.0.0").read_bytes()  # it is cached now
        with ringio.Reader(backend, workers=1) as reader:
            opened = ringio_zarr.open_array(path, reader=reader)
            assert opened[0, row, 7] == data[0, row, 7]
            assert opened.read_crops([(0, row, 7)], (1, 1, 1)).item() == data[0, row, 7]
            statistics = reader.statistics()
        assert statistics.bytes_read < 0.4 * statistics.bytes_asked

    @pytest.mark.parametrize("backend", ["io_uring", "threads"])
    @pytest.mark.parametrize("keep_head", [True, False])
    def test_what_is_not_cached_is_read_from_the_disk(self, array: Any, backend: str, keep_head: bool) -> None:
        path, data = array
        with ringio.Reader(backend, workers=1) as reader:
            opened = ringio_zarr.open_array(path, reader=reader)
            for row in (300, 17, 5):
                forget(path / "0.0.0", keep_head=keep_head)
                assert np.array_equal(opened[:, row], data[:, row])

    def test_a_file_that_is_cut_off_is_an_error(self, array: Any) -> None:
        path, data = array
        with ringio.Reader(workers=1) as reader:
            opened = ringio_zarr.open_array(path, reader=reader)
            assert opened[0, 319, 7] == data[0, 319, 7]
            os.truncate(path / "0.0.0", 30000)
            with pytest.raises(ringio.RingioError):
                opened[0, 319, 7]


@pytest.mark.parametrize("blocksize", [16 << 10, 256 << 10])
def test_of_a_large_cold_chunk_only_its_blocks_are_read(tmp_path: Path, blocksize: int) -> None:
    data = image((1, 4096, 512), "i2")
    write_array(tmp_path / "a.zarr", data, data.shape, numcodecs.Blosc("lz4", 1, 1, blocksize))
    chunk = tmp_path / "a.zarr" / "0.0.0"
    assert chunk.stat().st_size > 2 * MIB
    for backend in ("io_uring", "threads"):
        with ringio.Reader(backend, workers=1) as reader:
            array = ringio_zarr.open_array(tmp_path / "a.zarr", reader=reader)
            for row in (0, 2000, 4095):
                forget(chunk)
                assert np.array_equal(array[0, row : row + 3], data[0, row : row + 3])
            statistics = reader.statistics()
        assert statistics.bytes_read < 0.5 * statistics.bytes_asked
        assert statistics.peak_buffer_bytes <= 16 * MIB


def test_a_large_cold_chunk_in_one_block_is_read_at_once(tmp_path: Path) -> None:
    data = image((1, 1024, 512), "i2")
    write_array(tmp_path / "a.zarr", data, data.shape, numcodecs.Blosc("lz4", 1, 1, data.nbytes))
    with ringio.Reader("threads", workers=1) as reader:
        array = ringio_zarr.open_array(tmp_path / "a.zarr", reader=reader)
        for row in (0, 500, 1023):
            forget(tmp_path / "a.zarr" / "0.0.0")
            assert np.array_equal(array[0, row : row + 3], data[0, row : row + 3])
        assert reader.statistics().retries <= 2 * 3


@pytest.mark.parametrize("backend", ["io_uring", "threads"])
@pytest.mark.parametrize("seed", range(3))
def test_faults_change_nothing(tmp_path: Path, backend: str, seed: int) -> None:
    data = image((3, 2048, 512), "i2", seed)
    write_array(tmp_path / "a.zarr", data, (1, 2048, 512), numcodecs.Blosc("lz4", 1, 1, (0, 64 << 10, 256 << 10)[seed]))
    rng = np.random.default_rng(seed)
    with faulty_reader(backend, seed=seed, workers=2, short=3, eintr=5, eagain=5, late=3, submit=5) as reader:
        array = ringio_zarr.open_array(tmp_path / "a.zarr", reader=reader)
        for number in range(20):
            forget(tmp_path / "a.zarr" / f"{number % 3}.0.0", keep_head=number % 2 == 0)
            starts = np.stack([rng.integers(0, 3, 5), rng.integers(0, 2040, 5), rng.integers(0, 500, 5)], 1)
            crops = array.read_crops(starts, (1, 8, 12))
            for (t, y, x), crop in zip(starts.tolist(), crops, strict=True):
                assert np.array_equal(crop[0], data[t, y : y + 8, x : x + 12])


def test_crops_of_shards(tmp_path: Path) -> None:
    data = image((8, 512, 512), "i2")
    compressor = zarr.codecs.BloscCodec(cname="lz4", shuffle="shuffle")
    array = zarr.create_array(
        tmp_path / "a.zarr",
        shape=data.shape,
        shards=(4, 512, 512),
        chunks=(2, 128, 128),
        dtype="i2",
        compressors=compressor,
    )
    array[...] = data
    opened = ringio_zarr.open_array(tmp_path / "a.zarr")
    rng = np.random.default_rng(1)
    starts = np.stack([rng.integers(0, 7, 100), rng.integers(0, 500, 100), rng.integers(0, 500, 100)], 1)
    for _ in range(2):
        for (t, y, x), crop in zip(starts.tolist(), opened.read_crops(starts, (2, 12, 12)), strict=True):
            assert np.array_equal(crop, data[t : t + 2, y : y + 12, x : x + 12])


@pytest.mark.parametrize("header_alone", [False, True])
def test_a_chunk_of_other_bytes_is_damaged(tmp_path: Path, header_alone: bool) -> None:
    """Whatever its first bytes look like, it has not the size that it says."""
    data = image((1, 64, 64), "i2")
    write_array(tmp_path / "a.zarr", data, data.shape, numcodecs.Blosc("lz4", 5, 1))
    chunk = tmp_path / "a.zarr" / "0.0.0"
    encoded = chunk.read_bytes()
    for seed in range(20):
        noise = np.random.default_rng(seed).bytes(16 if header_alone else len(encoded))
        chunk.write_bytes(noise + encoded[len(noise) :])
        with pytest.raises(ringio.DecodeError):
            ringio_zarr.open_array(tmp_path / "a.zarr")[...]


def test_a_format_to_come_is_unsupported(tmp_path: Path) -> None:
    data = image((1, 64, 64), "i2")
    write_array(tmp_path / "a.zarr", data, data.shape, numcodecs.Blosc("lz4", 5, 1))
    chunk = tmp_path / "a.zarr" / "0.0.0"
    chunk.write_bytes(bytes([99]) + chunk.read_bytes()[1:])
    with pytest.raises(ringio.UnsupportedCodecError) as caught:
        ringio_zarr.open_array(tmp_path / "a.zarr")[...]
    assert caught.value.path == str(chunk)
