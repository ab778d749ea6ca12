"""Shards in shards: what was found once is found at once, and never in another file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.codecs import BytesCodec, ShardingCodec, ZstdCodec

import ringio_zarr
from ringio_zarr import _locate, _sharding

pytestmark = pytest.mark.filterwarnings("ignore::Warning:zarr")

SHAPE = (64, 48)
DEPTHS = {2: ((32, 24), (16, 12), (4, 4)), 3: ((32, 24), (16, 24), (8, 8), (4, 4))}


def values(seed: int = 0) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Some chunks, some inner shards and one outermost shard are nothing but fill value."""
    data = np.random.default_rng(seed).integers(1, 9, SHAPE, dtype=np.int32)
    data[:4, :8] = data[16:32, 12:24] = data[32:, 24:] = 0
    return data


def write(path: Path, data: Any, depth: int, index_location: str = "end") -> ringio_zarr.Array:
    outer, *inner = DEPTHS[depth]
    codec: Any = None
    for shape in reversed(inner):
        codecs = [BytesCodec(), ZstdCodec()] if codec is None else [codec]
        codec = ShardingCodec(chunk_shape=shape, codecs=codecs, index_location=index_location)
    array = zarr.create_array(
        path, shape=SHAPE, chunks=outer, dtype="i4", serializer=codec, compressors=None, filters=None, overwrite=True
    )
    array[:] = data
    return ringio_zarr.open_array(path, cache=ringio_zarr.Cache())


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many batches had to look their chunks up since this was asked the last time."""
    count = 0
    locate = _locate.ShardLocator.locate

    def counted(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        return locate(*arguments)

    def asked() -> int:
        nonlocal count
        before, count = count, 0
        return before

    monkeypatch.setattr(_locate.ShardLocator, "locate", counted)
    return asked


@pytest.mark.parametrize("index_location", ["start", "end"])
@pytest.mark.parametrize("depth", [2, 3])
def test_what_was_found_once_is_found_at_once(
    tmp_path: Path, depth: int, index_location: str, looked_up: Callable[[], int]
) -> None:
    data = values()
    array = write(tmp_path / "a", data, depth, index_location)
    starts = np.array([[0, 0], [10, 6], [15, 11], [30, 20], [40, 30]])
    for count in (1, 0, 0):
        crops = array.read_crops(starts, (12, 12))
        np.testing.assert_array_equal(crops, [data[i : i + 12, j : j + 12] for i, j in starts])
        np.testing.assert_array_equal(array[12:16, 8:12], data[12:16, 8:12])
        assert array[2, 3] == data[2, 3] == 0
        assert looked_up() == count
    np.testing.assert_array_equal(array[...], data)  # chunks that nobody has asked for
    assert looked_up() == 1
    np.testing.assert_array_equal(array[...], data)
    assert looked_up() == 0


@pytest.mark.parametrize("depth", [2, 3])
def test_random_boxes(tmp_path: Path, depth: int) -> None:
    data = values()
    array = write(tmp_path / "a", data, depth)
    rng = np.random.default_rng(1)
    for _ in range(200):
        start, stop = np.sort(rng.integers(0, [s + 1 for s in SHAPE], (2, 2)), axis=0)
        box = tuple(map(slice, start.tolist(), stop.tolist()))
        np.testing.assert_array_equal(array[box], data[box])


@pytest.mark.parametrize("depth", [2, 3])
def test_a_rewritten_shard_is_noticed(tmp_path: Path, depth: int) -> None:
    path = tmp_path / "a"
    array = write(path, values(), depth)
    for seed in range(1, 4):
        for _ in range(2):
            np.testing.assert_array_equal(array[20:30, 0:20], values(seed - 1)[20:30, 0:20])
            assert array[20, 0] == values(seed - 1)[20, 0]
        write(tmp_path / "new", values(seed), depth)
        for shard in (tmp_path / "new" / "c").rglob("*"):
            if shard.is_file():
                shard.replace(path / "c" / shard.relative_to(tmp_path / "new" / "c"))
    assert array[20, 0] == values(3)[20, 0]
    (path / "c" / "0" / "0").unlink()
    assert array[20, 0] == 0
    np.testing.assert_array_equal(array[20:30, 0:20], 0)


def test_of_shards_with_very_many_chunks_nothing_is_kept(
    tmp_path: Path, looked_up: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sharding, "_FLAT_ENTRIES_MAX", 10)
    data = values()
    array = write(tmp_path / "a", data, 2)
    for _ in range(2):
        np.testing.assert_array_equal(array[...], data)
        assert looked_up() == 1
