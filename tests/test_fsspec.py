"""Goal: the fsspec file system gives what fsspec's own local one gives, in batches; and libraries read through it."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import pickle
import threading
from datetime import timedelta
from pathlib import Path

import fsspec
import numpy as np
import pytest
from fsspec.tests import abstract
from hypothesis import given, settings
from hypothesis import strategies as st

import ringio
from ringio.fsspec import RingioFileSystem

DATA = np.random.default_rng(0).bytes(100_000)
WRITES = ["pipe_file", "put_file", "rm_file", "rm", "mkdir", "makedirs", "rmdir", "touch", "cp_file", "mv", "copy"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("fsspec")
    (folder / "sub/deep").mkdir(parents=True)
    (folder / "a").write_bytes(DATA)
    (folder / "b.txt").write_bytes(b"one\ntwo\r\nthree")
    (folder / "empty").write_bytes(b"")
    (folder / "sub/c.txt").write_bytes(b"c")
    (folder / "sub/deep/d.txt").write_bytes(b"d")
    (folder / "link").symlink_to("a")
    return folder


@pytest.fixture
def fs() -> RingioFileSystem:
    return fsspec.filesystem("ringio")


@pytest.fixture
def local():
    return fsspec.filesystem("file")


class Recording(RingioFileSystem):
    """Notes how many ranges each batch has."""

    protocol = "recording"
    cachable = False

    def __init__(self, *args, **kwargs):
        self.batches = []
        super().__init__(*args, **kwargs)

    async def _read_batch(self, ranges):
        self.batches.append(len(ranges))
        return await super()._read_batch(ranges)


class TestNames:
    @pytest.mark.parametrize("path", ["", "sub", "sub/", "a", "link", "b.txt"])
    def test_info_and_ls(self, fs, local, folder, path):
        path = f"{folder}/{path}"
        mine, other = fs.info(path), local.info(path)
        assert (mine["name"], mine["type"]) == (other["name"], other["type"])
        assert mine["mtime"] == pytest.approx(other["mtime"], abs=1e-5)
        assert mine["size"] == (other["size"] if mine["type"] == "file" else 0)
        assert sorted(fs.ls(path, detail=False)) == sorted(local.ls(path, detail=False))
        assert [info["name"] for info in fs.ls(f"ringio://{path}")] == fs.ls(path, detail=False)
        for method in ("exists", "isfile", "isdir"):
            assert getattr(fs, method)(path) == getattr(local, method)(path), method
        assert abs(fs.modified(path) - local.modified(path)) < timedelta(microseconds=10)
        assert fs.du(str(folder)) == local.du(str(folder))

    def test_walk_find_glob(self, fs, local, folder):
        assert fs.find(str(folder)) == local.find(str(folder))
        assert fs.find(str(folder), withdirs=True, maxdepth=2) == local.find(str(folder), withdirs=True, maxdepth=2)
        for pattern in ("*", "*.txt", "**/*.txt", "sub/?.txt", "nothing*"):
            assert fs.glob(f"{folder}/{pattern}") == local.glob(f"{folder}/{pattern}"), pattern
        assert [(top, sorted(dirs), sorted(files)) for top, dirs, files in fs.walk(str(folder))] == [
            (top, sorted(dirs), sorted(files)) for top, dirs, files in local.walk(str(folder))
        ]

    def test_missing(self, fs, folder):
        for call in (fs.info, fs.ls, fs.cat, fs.cat_file, fs.open):
            with pytest.raises(FileNotFoundError):
                call(f"{folder}/nowhere")
        assert not fs.exists(f"{folder}/nowhere")
        assert not fs.isfile(f"{folder}/nowhere")

    def test_protocol(self, fs, folder, monkeypatch):
        assert isinstance(fs, RingioFileSystem)
        assert fsspec.open(f"ringio://{folder}/a").fs is fs
        monkeypatch.chdir(folder)
        assert fs.cat("ringio://b.txt") == fs.cat("b.txt") == fs.cat(f"file://{folder}/b.txt")
        assert fs.unstrip_protocol("/x") == "ringio:///x"
        assert fs._strip_protocol("ringio://s3://bucket/key") == "s3://bucket/key"
        with fsspec.open(f"simplecache::ringio://{folder}/b.txt") as file:
            assert file.read() == fs.cat("b.txt")


class TestBytes:
    EDGES = st.none() | st.integers(-120_000, 120_000)

    @settings(max_examples=200, deadline=None)
    @given(EDGES, EDGES)
    def test_a_range_is_a_slice(self, folder, start, end):
        fs = fsspec.filesystem("ringio")
        path = f"{folder}/a"
        assert fs.cat_file(path, start, end) == DATA[start:end]
        assert fs.cat_ranges([path], [start], [end]) == [DATA[start:end]]

    def test_cat(self, fs, folder):
        assert fs.cat(f"{folder}/a") == DATA
        assert fs.cat([f"{folder}/a", f"{folder}/empty"]) == {f"{folder}/a": DATA, f"{folder}/empty": b""}
        assert fs.cat(f"{folder}/*.txt") == {f"{folder}/b.txt": b"one\ntwo\r\nthree"}
        found = fs.cat(f"{folder}/sub", recursive=True)
        assert found == {f"{folder}/sub/c.txt": b"c", f"{folder}/sub/deep/d.txt": b"d"}
        assert fs.head(f"{folder}/a", 5) == DATA[:5]
        assert fs.tail(f"{folder}/a", 5) == DATA[-5:]
        assert fs.read_text(f"{folder}/sub/c.txt") == "c"

    def test_errors_of_cat(self, fs, folder):
        good, bad = f"{folder}/empty", f"{folder}/nowhere"
        with pytest.raises(FileNotFoundError):
            fs.cat([good, bad])
        assert fs.cat([good, bad], on_error="omit") == {good: b""}
        assert isinstance(fs.cat([good, bad], on_error="return")[bad], FileNotFoundError)
        with pytest.raises(IsADirectoryError):
            fs.cat(str(folder))

    def test_errors_of_cat_ranges(self, fs, folder):
        paths = [f"{folder}/a", f"{folder}/nowhere", f"{folder}/a"]
        got = fs.cat_ranges(paths, 10, [20, -1, -99_980])
        assert (got[0], got[2]) == (DATA[10:20], DATA[10:20])
        assert isinstance(got[1], FileNotFoundError)
        with pytest.raises(FileNotFoundError):
            fs.cat_ranges(paths, 0, 5, on_error="raise")
        for arguments, error in [
            ((tuple(paths), 0, 5), TypeError),
            ((paths, [0], 5), ValueError),
            ((paths, 0, 5, 100), NotImplementedError),
        ]:
            with pytest.raises(error):
                fs.cat_ranges(*arguments)
        assert fs.cat_ranges([], [], []) == []

    def test_get(self, fs, folder, tmp_path):
        done = fsspec.callbacks.Callback()
        fs.get_file(f"{folder}/a", str(tmp_path / "x"), callback=done)
        assert (tmp_path / "x").read_bytes() == DATA
        assert done.value == done.size == len(DATA)
        buffer = io.BytesIO()
        fs.get_file(f"{folder}/a", buffer)
        assert buffer.getvalue() == DATA
        fs.get(str(folder), str(tmp_path / "copy"), recursive=True)
        assert (tmp_path / "copy/sub/deep/d.txt").read_bytes() == b"d"

    @pytest.mark.parametrize("name", WRITES)
    def test_writing_is_refused(self, fs, folder, name):
        more = {"pipe_file": [b""], "put_file": ["/x"], "cp_file": ["/x"], "mv": ["/x"], "copy": ["/x"]}
        path = f"{folder}/a"
        method = getattr(fs, name)
        with pytest.raises(OSError, match="reads only") as caught:
            method(path, *more.get(name, []))
        assert caught.value.errno == errno.EROFS
        assert Path(path).read_bytes() == DATA

    @pytest.mark.parametrize("mode", ["wb", "ab", "xb", "r+b"])
    def test_opening_to_write_is_refused(self, fs, folder, mode):
        with pytest.raises(OSError, match="reads only"):
            fs.open(f"{folder}/new", mode)
        assert not (folder / "new").exists()


class TestBatches:
    def test_one_batch(self, folder):
        fs = Recording()
        paths = [f"{folder}/a", f"{folder}/b.txt"]
        fs.cat_ranges(paths * 50, list(range(100)), list(range(10, 110)))
        fs.cat(paths)
        assert fs.batches == [100, 2]

    async def test_calls_of_one_tick_are_gathered(self, folder):
        fs = Recording(asynchronous=True)
        path = f"{folder}/a"
        got = await asyncio.gather(*[fs._cat_file(path, i, i + 5) for i in range(1000)])
        assert got == [DATA[i : i + 5] for i in range(1000)]
        assert fs.batches == [1000]
        assert await fs._cat_file(path, 0, 1) == DATA[:1]
        assert fs.batches == [1000, 1]

    async def test_one_bad_call_spoils_no_other(self, folder):
        fs = Recording(asynchronous=True)
        calls = [fs._cat_file(f"{folder}/{name}", 0, 3) for name in ("a", "nowhere", "b.txt", "sub")]
        got = await asyncio.gather(*calls, return_exceptions=True)
        assert (got[0], got[2]) == (DATA[:3], b"one")
        assert isinstance(got[1], FileNotFoundError)
        assert isinstance(got[3], IsADirectoryError)
        assert fs.batches == [4]

    async def test_a_cancelled_call_spoils_no_other(self, folder):
        fs = Recording(asynchronous=True)
        tasks = [asyncio.create_task(fs._cat_file(f"{folder}/a", i, i + 5)) for i in range(10)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        got = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in got[::2])
        assert got[1::2] == [DATA[i : i + 5] for i in range(1, 10, 2)]
        tasks = [asyncio.create_task(fs._cat_file(f"{folder}/a")) for _ in range(3)]
        for task in tasks:
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert await fs._cat_file(f"{folder}/a", 0, 2) == DATA[:2]

    def test_loops_in_threads(self, folder):
        """One file system in the event loops of several threads: each gathers its own."""
        fs = Recording(asynchronous=True)
        results = {}

        def run(k: int) -> None:
            async def main():
                return await asyncio.gather(*[fs._cat_file(f"{folder}/a", i, i + k) for i in range(100)])

            results[k] = asyncio.run(main())

        threads = [threading.Thread(target=run, args=(k,)) for k in range(1, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == {k: [DATA[i : i + k] for i in range(100)] for k in range(1, 5)}
        assert fs.batches == [100] * 4


class TestFiles:
    @pytest.mark.parametrize("cache_type", ["readahead", "none", "bytes", "blockcache", "all", "first", "background"])
    def test_seek_and_read(self, fs, folder, cache_type):
        rng = np.random.default_rng(1)
        with fs.open(f"{folder}/a", block_size=5000, cache_type=cache_type) as file:
            assert file.size == len(DATA)
            assert file.seekable()
            assert not file.writable()
            for _ in range(30):
                start, count = int(rng.integers(0, 100_000)), int(rng.integers(0, 9000))
                assert file.seek(start) == start
                assert file.read(count) == DATA[start : start + count]
            file.seek(-10, 2)
            assert file.read() == DATA[-10:]
            assert file.read(1) == b""
            target = bytearray(10)
            file.seek(50)
            assert file.readinto(target) == 10
            assert target == DATA[50:60]

    def test_text_and_lines(self, fs, folder):
        with fs.open(f"{folder}/b.txt", "r", newline=None) as file:
            assert list(file) == ["one\n", "two\n", "three"]
        with fs.open(f"{folder}/b.txt") as file:
            assert file.readlines() == [b"one\n", b"two\r\n", b"three"]
        with fs.open(f"{folder}/empty") as file:
            assert file.read() == b""

    async def test_inside_a_loop(self, fs, folder):
        """A library that reads synchronously in a coroutine, even one of fsspec's own loop, does not hang."""
        with fs.open(f"{folder}/a") as file:
            assert file.read(3) == DATA[:3]

        async def read():
            with fs.open(f"{folder}/a") as file:
                return file.read(3)

        future = asyncio.run_coroutine_threadsafe(read(), fs.loop)
        assert await asyncio.wait_for(asyncio.wrap_future(future), 20) == DATA[:3]

    def test_what_is_no_file(self, fs, folder, tmp_path):
        with pytest.raises(IsADirectoryError):
            fs.open(str(folder))
        os.mkfifo(tmp_path / "fifo")
        with pytest.raises(OSError, match="regular"):
            fs.open(str(tmp_path / "fifo"))

    def test_a_file_that_changes(self, fs, tmp_path):
        path = tmp_path / "x"
        path.write_bytes(DATA)
        with fs.open(str(path), block_size=1000, cache_type="none") as file:
            assert file.read(10) == DATA[:10]
            path.write_bytes(DATA[::-1] + b"x")
            with pytest.raises(ringio.FileChangedError):
                file.read(10)


class TestProcesses:
    def test_pickle(self, folder):
        fs = fsspec.filesystem("ringio", reader_options={"workers": 1, "backend": "memory"})
        assert fs.reader.workers == 1
        other = pickle.loads(pickle.dumps(fs))
        assert (other.reader.workers, other.reader.backend) == (1, "memory")
        assert other.cat(f"{folder}/a") == DATA
        assert fs is fsspec.filesystem("ringio", reader_options={"workers": 1, "backend": "memory"})
        assert fs is not fsspec.filesystem("ringio")
        with fs.open(f"{folder}/a") as file:
            assert pickle.loads(pickle.dumps(file)).read(5) == DATA[:5]
        fs.reader.close()

    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_fork(self, fs, folder):
        """The very object that the parent has used goes on in a child."""
        assert fs.cat(f"{folder}/a") == DATA
        pid = os.fork()
        if pid == 0:
            good = False
            try:
                with fs.open(f"{folder}/a") as file:
                    good = file.read() == DATA
                good = good and fs.cat_ranges([f"{folder}/a"] * 5, 0, 3) == [DATA[:3]] * 5
            finally:
                os._exit(0 if good else 1)
        assert os.waitpid(pid, 0)[1] == 0
        assert fs.cat(f"{folder}/a") == DATA


class TestLibraries:
    def test_pandas(self, tmp_path):
        import pandas

        frame = pandas.DataFrame({"a": range(1000), "b": [f"x{i}" for i in range(1000)]})
        frame.to_csv(tmp_path / "t.csv", index=False)
        assert pandas.read_csv(f"ringio://{tmp_path}/t.csv").equals(pandas.read_csv(tmp_path / "t.csv"))

    def test_pyarrow(self, fs, tmp_path):
        import pyarrow
        from pyarrow import parquet

        table = pyarrow.table({"a": np.arange(10_000), "b": np.arange(10_000) / 7})
        parquet.write_table(table, tmp_path / "t.parquet", row_group_size=1000)
        assert parquet.read_table(f"{tmp_path}/t.parquet", filesystem=fs, columns=["b"]).equals(table.select(["b"]))
        with fs.open(f"{tmp_path}/t.parquet") as file:
            assert parquet.ParquetFile(file).read_row_group(3).equals(table.slice(3000, 1000))

    def test_h5py(self, fs, tmp_path):
        import h5py

        data = np.random.default_rng(2).integers(0, 999, (100, 200))
        with h5py.File(tmp_path / "t.h5", "w") as file:
            file.create_dataset("x", data=data, chunks=(10, 50), compression="gzip")
        with fs.open(f"{tmp_path}/t.h5") as opened, h5py.File(opened) as file:
            assert np.array_equal(file["x"][7:90, 30:170], data[7:90, 30:170])

    def test_references(self, tmp_path):
        """kerchunk's: a map from keys to bytes of files, as fsspec's own "reference" file system reads it."""
        import zarr

        data = np.arange(60, dtype="<i4").reshape(6, 10)
        (tmp_path / "all.bin").write_bytes(b"header" + data.tobytes())
        zarray = (
            '{"zarr_format": 2, "shape": [6, 10], "chunks": [2, 10], "dtype": "<i4", '
            '"compressor": null, "filters": null, "fill_value": 0, "order": "C"}'
        )
        references = {".zarray": zarray, ".zattrs": "{}"}
        references |= {f"{i}.0": [f"ringio://{tmp_path}/all.bin", 6 + 80 * i, 80] for i in range(3)}
        fs = fsspec.filesystem("reference", fo={"version": 1, "refs": references}, remote_protocol="ringio")
        assert fs.cat("1.0") == data[2:4].tobytes()
        assert fs.cat(["0.0", "2.0"]) == {"0.0": data[:2].tobytes(), "2.0": data[4:].tobytes()}
        fs = fsspec.filesystem(
            "reference",
            fo={"version": 1, "refs": references},
            remote_protocol="ringio",
            remote_options={"asynchronous": True},
            asynchronous=True,
        )
        array = zarr.open_array(zarr.storage.FsspecStore(fs, read_only=True, path=""), mode="r")
        assert np.array_equal(array[1:5, 3:], data[1:5, 3:])

    def test_zarr(self, tmp_path):
        import zarr

        data = np.random.default_rng(3).integers(0, 999, (64, 64)).astype("<i2")
        for name, shards in (("plain", None), ("sharded", (32, 32))):
            array = zarr.create_array(tmp_path / name, shape=(64, 64), dtype="<i2", chunks=(8, 8), shards=shards)
            array[...] = data
            store = zarr.storage.FsspecStore.from_url(f"ringio://{tmp_path}/{name}", read_only=True)
            assert np.array_equal(zarr.open_array(store, mode="r")[3:50, 7:60], data[3:50, 7:60])


class WritingElsewhere(RingioFileSystem):
    """Writes with fsspec's local file system, so that fsspec's tests, which write before they read, can be run."""

    def open(self, path, mode="rb", **kwargs):
        return super().open(path, mode, **kwargs) if mode == "rb" else fsspec.filesystem("file").open(path, mode)

    def mkdir(self, path, **kwargs):
        fsspec.filesystem("file").makedirs(path)

    def touch(self, path, **kwargs):
        fsspec.filesystem("file").touch(path)


class Fixtures(abstract.AbstractFixtures):
    """What fsspec's own tests read is written by its local file system."""

    @pytest.fixture
    def fs(self):
        return WritingElsewhere()

    @pytest.fixture
    def fs_path(self, tmp_path):
        return str(tmp_path / "remote")

    @pytest.fixture
    def fs_bulk_operations_scenario_0(self, local_fs, fs_join, fs_path):
        return self._bulk_operations_scenario_0(local_fs, fs_join, fs_path)

    @pytest.fixture
    def fs_glob_edge_cases_files(self, local_fs, fs_join, fs_path):
        return self._glob_edge_cases_files(local_fs, fs_join, fs_path)

    @pytest.fixture
    def fs_dir_and_file_with_same_name_prefix(self, local_fs, fs_join, fs_path):
        return self._dir_and_file_with_same_name_prefix(local_fs, fs_join, fs_path)

    @pytest.fixture
    def fs_10_files_with_hashed_names(self, local_fs, fs_join, fs_path):
        return self._10_files_with_hashed_names(local_fs, fs_join, fs_path)


class TestAbstractGet(abstract.AbstractGetTests, Fixtures):
    """fsspec's own tests of get: all of them."""


class TestAbstractOpen(abstract.AbstractOpenTests, Fixtures):
    """fsspec's own test of open."""

    @pytest.fixture
    def fs_target(self, tmp_path):
        return str(tmp_path / "target")
