"""What has to be decoded before it can be read from is in memory for one batch at a time, of bounded size."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import zarr
from zarr.codecs import BytesCodec, GzipCodec, ShardingCodec, ZstdCodec
from zarr.storage import LocalStore, MemoryStore

import ringio
import ringio_zarr

pytestmark = pytest.mark.filterwarnings("ignore::Warning:zarr")

SIDE = 256
COUNT = 96
MEMORY_LIMIT_NBYTES = 8 << 20  # the least that there is
VALUES = (np.arange(COUNT * SIDE * SIDE, dtype="<u4") % 251).reshape(COUNT * SIDE, SIDE)
LAYOUTS: dict[str, dict[str, Any]] = {
    "chunks": {"chunks": (SIDE, SIDE), "compressors": None},
    "shards": {"chunks": (SIDE // 2, SIDE // 2), "shards": (SIDE, SIDE), "compressors": None},
    "wrapped": {
        "chunks": (SIDE, SIDE),
        "serializer": ShardingCodec(chunk_shape=(SIDE // 2, SIDE), codecs=[BytesCodec()]),
        "compressors": [GzipCodec(level=1)],
    },
    "wrapped twice": {
        "chunks": (SIDE, SIDE),
        "serializer": ShardingCodec(chunk_shape=(SIDE // 2, SIDE), codecs=[BytesCodec(), ZstdCodec(level=1)]),
        "compressors": [ZstdCodec(level=1), GzipCodec(level=1)],
    },
}
KINDS = ["zip chunks", "zip shards", "zip wrapped", "folder wrapped", "folder wrapped twice", "store wrapped"]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, layout in LAYOUTS.items():
        folder = tmp_path_factory.mktemp("batches") / f"{name}.zarr"
        zarr.create_array(folder, data=VALUES, **layout)
        found[f"folder {name}"] = str(folder)
        found[f"store {name}"] = Other(LocalStore(folder))
        path = folder.with_suffix(".zip")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for file in sorted(folder.rglob("*")):
                if file.is_file():
                    archive.write(file, file.relative_to(folder))
        found[f"zip {name}"] = str(path)
    return found


class Other(zarr.storage.WrapperStore[Any]):
    """A store that has to be asked."""


@pytest.fixture
def reader() -> Iterator[ringio.Reader]:
    with ringio.Reader(workers=2, memory_limit_bytes=MEMORY_LIMIT_NBYTES) as reader:
        yield reader


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["sync", "async", "explain"])
def test_a_large_read_takes_bounded_memory(kind: str, how: str, places: dict[str, Any], reader: ringio.Reader) -> None:
    array = ringio_zarr.open_array(places[kind], reader=reader)
    out = np.zeros_like(VALUES)
    array[0, 0]
    gc.collect()
    tracemalloc.start()
    try:
        if how == "sync":
            array.get_basic_selection(..., out=out)
        elif how == "async":
            asyncio.run(array.read_many_async([...], out=[out]))
        else:
            explained = array.explain()
        peak_nbytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert VALUES.nbytes >= 3 * MEMORY_LIMIT_NBYTES
    assert peak_nbytes < MEMORY_LIMIT_NBYTES
    if how == "explain":
        assert explained.chunks == COUNT
        assert bool(explained.plans) == ("twice" in kind)  # all of that fits, as the inner chunks are compressed, too
        assert explained.bytes_decoded == VALUES.nbytes
    else:
        np.testing.assert_array_equal(out, VALUES)


@pytest.mark.parametrize("kind", KINDS)
def test_selections_across_batches(kind: str, places: dict[str, Any], reader: ringio.Reader) -> None:
    array = ringio_zarr.open_array(places[kind], reader=reader)
    rng = np.random.default_rng(0)
    starts = np.stack([rng.integers(0, length - 40, 300) for length in VALUES.shape], axis=1)
    crops = array.read_crops(starts, (40, 30))
    np.testing.assert_array_equal(crops, [VALUES[y : y + 40, x : x + 30] for y, x in starts])
    rows = rng.integers(0, len(VALUES), 200)
    np.testing.assert_array_equal(array.oindex[rows, ::7], VALUES[rows, ::7])
    columns = rng.integers(0, SIDE, 200)
    np.testing.assert_array_equal(array.vindex[rows, columns], VALUES[rows, columns])
    part = (slice(100, None, 701), slice(None, None, -3))
    np.testing.assert_array_equal(array[part], VALUES[part])
    assert array.explain((slice(0, 10), 0)).plans


@pytest.mark.parametrize("kind", ["zip", "dict"])
def test_what_is_wrong_in_one_batch_leaves_the_others(kind: str, tmp_path: Path, reader: ringio.Reader) -> None:
    """The first thing that is wrong is raised, once all is read that can be."""
    behind = MemoryStore()
    zarr.create_array(behind, data=VALUES, **LAYOUTS["wrapped" if kind == "dict" else "chunks"])
    data = {key: value.to_bytes() for key, value in behind._store_dict.items()}
    del data["c/3/0"]
    for key in ("c/2/0", "c/20/0"):
        data[key] = b"this is no gzip" if kind == "dict" else data[key][:-1]
    store: Any = data
    if kind == "zip":
        store = tmp_path / "a.zip"
        with zipfile.ZipFile(store, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for key, value in data.items():
                archive.writestr(key, value)
    expected = VALUES.copy()
    for number in (2, 3, 20):
        expected[number * SIDE : (number + 1) * SIDE] = 0
    out = np.zeros_like(VALUES)
    with pytest.raises(ringio.DecodeError, match=r"c/2/0"):
        ringio_zarr.open_array(store, reader=reader).get_basic_selection(..., out=out)
    np.testing.assert_array_equal(out, expected)


def test_a_member_that_is_more_than_the_memory(tmp_path: Path, reader: ringio.Reader) -> None:
    values: npt.NDArray[np.uint8] = np.zeros((4, 3 << 20), "u1")
    values[:] = np.arange(4)[:, None]
    behind = MemoryStore()
    zarr.create_array(behind, data=values, chunks=(4, 3 << 20), compressors=None)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for key, value in behind._store_dict.items():
            archive.writestr(key, value.to_bytes())
    with pytest.raises(ringio.MemoryLimitError, match=r"a\.zip/c/0/0: 12582912 bytes .* memory limit is 8388608"):
        ringio_zarr.open_array(path, reader=reader)[0, :5]
    with ringio.Reader(memory_limit_bytes=64 << 20) as larger:
        np.testing.assert_array_equal(ringio_zarr.open_array(path, reader=larger)[...], values)


def test_decoding_shards_does_not_keep_the_loop_waiting(places: dict[str, Any]) -> None:
    """A thread of the loop's executor does it, also for local files."""

    async def main() -> int:
        array = await ringio_zarr.open_async(places["folder wrapped twice"])
        beats, task = 0, asyncio.ensure_future(array.read_async(...))
        while not task.done():
            await asyncio.sleep(0.001)
            beats += 1
        np.testing.assert_array_equal(task.result(), VALUES)
        return beats

    assert asyncio.run(main()) > 5
