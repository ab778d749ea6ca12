"""Batches whose shards are known from the one before: nobody looks at a file until it is read; nothing is stale."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

import ringio
import ringio_zarr
from ringio_zarr._locate import ShardLocator

SHAPE = (32, 48)
STARTS = np.stack(np.meshgrid(np.arange(0, 28, 3), np.arange(0, 42, 5), indexing="ij"), -1).reshape(-1, 2)
CROP = (4, 6)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One item for each time that shards were looked up for a batch."""
    taken: list[int] = []
    locate = ShardLocator.locate

    def note(self: ShardLocator, ids: Any, reader: Any) -> Any:
        taken.append(len(ids))
        return locate(self, ids, reader)

    monkeypatch.setattr(ShardLocator, "locate", note)
    return taken


class Sample:
    """A sharded array, 2 x 2 shards of 4 x 4 chunks, and what should be in it."""

    def __init__(self, path: Path, index_location: str = "end") -> None:
        self.path = path
        serializer = zarr.codecs.ShardingCodec(
            chunk_shape=(4, 6),
            codecs=[zarr.codecs.BytesCodec(), zarr.codecs.ZstdCodec()],
            index_location=index_location,
        )
        self.store: Any = zarr.create_array(
            path, shape=SHAPE, chunks=(16, 24), dtype="<i4", fill_value=-1, serializer=serializer, compressors=None
        )
        self.truth = np.full(SHAPE, -1, "<i4")
        self.clock_ns = 1_700_000_000_000_000_000
        self.rng = np.random.default_rng(0)
        self.write(slice(0, 16), slice(0, 48))

    def write(self, *place: slice) -> None:
        values = self.rng.integers(0, 10**6, self.truth[place].shape, "<i4")
        self.store[place] = self.truth[place] = values
        self.tick()

    def tick(self) -> None:
        """However coarse the clock of the file system is, whatever is there now is new."""
        self.clock_ns += 1_000_000_000
        for file in (self.path / "c").rglob("*"):
            if file.is_file():
                os.utime(file, ns=(self.clock_ns, self.clock_ns))

    def shard(self, row: int, column: int) -> Path:
        return self.path / "c" / str(row) / str(column)

    def check(self, array: ringio_zarr.Array) -> None:
        got = array.read_crops(STARTS, CROP)
        for crop, (row, column) in zip(got, STARTS, strict=True):
            np.testing.assert_array_equal(crop, self.truth[row : row + 4, column : column + 6])
        np.testing.assert_array_equal(array[::-1, 1::2], self.truth[::-1, 1::2])
        for part, place in zip(array.read_many([np.s_[:20], np.s_[15:]]), [np.s_[:20], np.s_[15:]], strict=True):
            np.testing.assert_array_equal(part, self.truth[place])


@pytest.fixture(params=["end", "start"])
def sample(tmp_path: Path, request: pytest.FixtureRequest) -> Sample:
    return Sample(tmp_path / "a", request.param)


@pytest.fixture
def array(sample: Sample) -> Iterator[ringio_zarr.Array]:
    with ringio.Reader(workers=2) as reader:
        opened = ringio_zarr.open_array(sample.path, reader=reader, shard_index_cache_bytes=1 << 20)
        sample.check(opened)
        yield opened


def test_nobody_looks_twice(sample: Sample, array: ringio_zarr.Array, looks: list[int]) -> None:
    sample.check(array)
    sample.check(array)
    assert looks == []


def rewrite(sample: Sample) -> None:
    sample.write(slice(0, 16), slice(0, 24))


def rewrite_a_part(sample: Sample) -> None:
    sample.write(slice(3, 9), slice(20, 30))


def appear(sample: Sample) -> None:
    sample.write(slice(16, 20), slice(24, 30))


def remove(sample: Sample) -> None:
    sample.shard(0, 1).unlink()
    sample.truth[:16, 24:] = -1


def remove_all(sample: Sample) -> None:
    shutil.rmtree(sample.path / "c")
    sample.truth[:] = -1


def rewrite_in_place(sample: Sample) -> None:
    file = sample.shard(0, 0)
    inode = file.stat().st_ino
    os.link(file, sample.path / "kept")
    rewrite(sample)
    data = file.read_bytes()
    (sample.path / "kept").rename(file)
    file.write_bytes(data)
    sample.tick()
    assert file.stat().st_ino == inode


CHANGES = [rewrite, rewrite_a_part, appear, remove, remove_all, rewrite_in_place]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen_at_once(sample: Sample, array: ringio_zarr.Array, looks: list[int], change: Any) -> None:
    for _ in range(2):
        change(sample)
        sample.check(array)
        assert len(looks) <= 2
        looks.clear()
        sample.check(array)
        assert looks == []
        sample.write(slice(0, 16), slice(0, 48))
        sample.check(array)
        looks.clear()


@given(steps=st.lists(st.sampled_from([*CHANGES, None]), max_size=6), data=st.data())
def test_whatever_happens_between_batches(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any], data: st.DataObject
) -> None:
    sample = Sample(tmp_path_factory.mktemp("known") / "a")
    with ringio.Reader(workers=2) as reader:
        cache_nbytes = data.draw(st.sampled_from([0, 2000, 1 << 20]))
        array = ringio_zarr.open_array(sample.path, reader=reader, shard_index_cache_bytes=cache_nbytes)
        sample.check(array)
        for step in steps:
            if step is not None and sample.shard(0, 0).exists() and sample.shard(0, 1).exists():
                step(sample)
            else:
                sample.write(slice(0, 32), slice(0, 48))
            sample.check(array)


def test_what_cannot_be_read_says_the_same_each_time(sample: Sample, array: ringio_zarr.Array) -> None:
    file = sample.shard(0, 1)
    data = bytearray(file.read_bytes())
    middle = slice(300, 400)
    data[middle] = bytes(100)
    file.write_bytes(data)
    sample.tick()
    messages = []
    for _ in range(3):
        out = np.zeros((len(STARTS), *CROP), "<i4")
        with pytest.raises(ringio.DecodeError) as caught:
            array.read_crops(STARTS, CROP, out=out)
        messages.append(str(caught.value))
        np.testing.assert_array_equal(out[0], sample.truth[:4, :6])
    assert len(set(messages)) == 1
    assert "c/0/1" in messages[0]
    assert f"of '{sample.path}'" in messages[0]


def test_a_shard_that_is_a_directory_now(sample: Sample, array: ringio_zarr.Array) -> None:
    sample.shard(0, 1).unlink()
    sample.shard(0, 1).mkdir()
    for _ in range(2):
        with pytest.raises(IsADirectoryError):
            array.read_crops(STARTS, CROP)


def test_many_threads_share_what_is_known(sample: Sample, array: ringio_zarr.Array) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            rewrite(sample)
            for done in [pool.submit(sample.check, array) for _ in range(16)]:
                done.result()


def test_progress_of_a_batch_that_is_known(array: ringio_zarr.Array) -> None:
    seen: list[tuple[int, int]] = []
    array.read_crops(STARTS, CROP, progress=lambda done, total: seen.append((done, total)))
    assert seen
    assert seen[-1][0] == seen[-1][1] > 0
