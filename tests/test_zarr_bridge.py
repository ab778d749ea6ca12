"""Stores of zarr-python and mappings of fsspec that are asked: what they say counts, as it is then."""

from __future__ import annotations

import asyncio
import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import zarr
from zarr.core.buffer import cpu
from zarr.core.sync import sync
from zarr.storage import LoggingStore, MemoryStore, WrapperStore
from zarr.testing.store import LatencyStore

import ringio
import ringio_zarr
from ringio_zarr._bridge import FsspecBridge, ZarrStoreBridge

pytestmark = pytest.mark.filterwarnings("ignore::Warning:zarr")


class Inverting(WrapperStore[Any]):
    """Chunks are stored inverted; ``get`` alone is overridden."""

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        found = await super().get(key, prototype, byte_range)
        if found is None or key.endswith(".json"):
            return found
        return prototype.buffer.from_bytes((~found.as_numpy_array()).tobytes())


class ObspecStore:
    """Any store with obspec's methods: its bytes come without their ETag."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}
        self.ranges: list[str] = []

    def head(self, path: str) -> dict[str, Any]:
        data = self._data(path)
        return {"size": len(data), "e_tag": str(hash(data)), "last_modified": None, "version": None}

    def get_ranges(self, path: str, *, starts: Any, ends: Any) -> list[bytes]:
        self.ranges += [path] * len(starts)
        return [self._data(path)[start:end] for start, end in zip(starts, ends, strict=True)]

    def _data(self, path: str) -> bytes:
        try:
            return self.data[path]
        except KeyError:
            raise FileNotFoundError(path) from None


def two_states(store: Any) -> Any:
    """An array of one shard, written; then a function that writes it with other inner chunks, of the same size."""
    array = zarr.create_array(store, shape=(32,), chunks=(8,), shards=(32,), dtype="i4", compressors=None, fill_value=0)
    values = np.zeros(32, "i4")
    values[:8], values[8:16] = 1, 2
    array[...] = values
    other = np.zeros(32, "i4")
    other[16:24], other[24:] = 3, 4

    def rewrite() -> None:
        array[...] = other

    return values, other, rewrite


@pytest.mark.parametrize("kind", ["zarr-python", "fsspec", "fsspec, without times", "obspec"])
def test_a_shard_that_is_replaced(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that was read before is not used with a new shard of the same size."""
    behind = MemoryStore()
    given: Any = LoggingStore(behind, log_level="ERROR")
    if kind == "obspec":
        given = ObspecStore()
    elif kind != "zarr-python":
        given = fsspec.filesystem("memory").get_mapper(f"/{kind} replaced")
        if kind == "fsspec, without times":
            monkeypatch.setattr("ringio_zarr._bridge._TIMES", ())

    def copy() -> None:
        for key, value in behind._store_dict.items():
            if kind == "obspec":
                given.data[key] = value.to_bytes()
            elif kind != "zarr-python":
                given[key] = value.to_bytes()

    values, other, rewrite = two_states(behind)
    copy()
    array = ringio_zarr.open_array(given)
    for _ in range(2):
        np.testing.assert_array_equal(array[...], values)
    rewrite()
    copy()
    for _ in range(2):
        np.testing.assert_array_equal(array[...], other)


def test_an_index_is_kept_while_its_shard_has_the_same_tag() -> None:
    behind, given = MemoryStore(), ObspecStore()
    two_states(behind)
    given.data = {key: value.to_bytes() for key, value in behind._store_dict.items()}
    array = ringio_zarr.open_array(given, cache=ringio_zarr.Cache())
    counts = []
    for _ in range(3):
        given.ranges.clear()
        array[:8]
        counts.append(len(given.ranges))
    assert counts == [2, 1, 1]


def test_what_fsspec_says_of_an_object() -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/said/a", b"123")
    said = FsspecBridge(fs, "/said").head("a")
    assert said["size"] == 3
    assert said["last_modified"] == fs.info("/said/a")["created"]


def test_what_a_path_is_called_says_nothing() -> None:
    """fsspec's error of a file that is not there has no words but its path."""
    fs = fsspec.filesystem("memory")
    mapping = fs.get_mapper("/NoSuchBucket ContainerNotFound/NoSuchBucket.zarr")
    mapping[".zarray"] = json.dumps(
        {
            "zarr_format": 2,
            "shape": [4],
            "chunks": [4],
            "dtype": "<i4",
            "fill_value": 7,
            "order": "C",
            "compressor": None,
            "filters": None,
        }
    ).encode()
    assert ringio_zarr.open_array(mapping)[:].tolist() == [7, 7, 7, 7]


def test_an_archive_has_been_listed_before_threads_ask(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("a/zarr.json", b"{}")
    fs = fsspec.filesystem("zip", fo=str(tmp_path / "x.zip"))
    bridge = FsspecBridge(fs, "")
    fs._get_dirs = None
    assert "a/zarr.json" in fs.dir_cache
    del fs._get_dirs
    assert bridge.head("a/zarr.json")["size"] == 2


def test_a_size_alone_tells_nothing() -> None:
    """Nor does the time that obstore puts in where a server says none."""
    epoch = datetime.fromtimestamp(0, UTC)

    class Told(ObspecStore):
        def head(self, path: str) -> dict[str, Any]:
            return {"size": 1, "e_tag": None, "version": None, "last_modified": epoch if path == "epoch" else None}

    with ringio.Reader() as reader:
        for state in reader.look_up(["x://epoch", "x://none"], suffix_nbytes=0, store={"x:/": Told()}):
            assert not isinstance(state, Exception)
            assert state.tag == b""


def test_get_sync_is_used_where_it_does_what_get_does() -> None:
    class Own(Inverting):
        def get_sync(self, key: str, *, prototype: Any = None, byte_range: Any = None) -> Any:
            raise AssertionError("not asked for: its get is another class's")

    behind = MemoryStore()
    zarr.create_array(behind, shape=(6,), chunks=(6,), dtype="u1", compressors=None)[...] = np.arange(6)
    # Only the wrappers of newer zarr-python hand get_sync on.
    assert ZarrStoreBridge(LoggingStore(behind))._has_sync == hasattr(LoggingStore, "get_sync")
    for store in (Inverting(behind), LoggingStore(Inverting(behind)), Own(behind)):
        assert not ZarrStoreBridge(store)._has_sync
        np.testing.assert_array_equal(ringio_zarr.open_array(store)[...], 255 - np.arange(6))
        np.testing.assert_array_equal(zarr.open_array(store, mode="r")[...], 255 - np.arange(6))


def test_in_the_event_loop_that_answers() -> None:
    """Waiting there would never end, and is refused; awaiting works."""
    behind = MemoryStore()
    zarr.create_array(behind, shape=(6,), chunks=(3,), dtype="u1")[...] = np.arange(6)
    store = Inverting(behind)
    array = ringio_zarr.open_array(LoggingStore(behind, log_level="ERROR"))

    async def inside() -> Any:
        with pytest.raises(RuntimeError, match="zarr-python's own event loop"):
            ringio_zarr.open_array(store)
        with pytest.raises(RuntimeError, match="zarr-python's own event loop"):
            array[...]
        return await array.read_async()

    np.testing.assert_array_equal(sync(inside(), timeout=60), np.arange(6))

    async def elsewhere() -> Any:
        return array[...]

    np.testing.assert_array_equal(asyncio.run(elsewhere()), np.arange(6))


class Recording(MemoryStore):
    """Notes which objects are read to their end."""

    def __init__(self) -> None:
        super().__init__()
        self.whole: list[str] = []

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        if byte_range is None:
            self.whole.append(key)
        return await super().get(key, prototype, byte_range)

    async def getsize(self, key: str) -> int:
        return len(self._store_dict[key])


def test_no_shard_is_read_for_its_size() -> None:
    """The getsize that wrappers inherit does that; what they are wrapped around is asked."""

    class Named(WrapperStore[Any]):
        """A wrapper of somebody's, which leaves the bytes alone."""

    for wrap in (WrapperStore, LatencyStore, LoggingStore, Named, lambda store: LatencyStore(Named(store))):
        behind = Recording()
        values, _, _ = two_states(behind)
        array = ringio_zarr.open_array(wrap(behind))
        for _ in range(2):
            behind.whole.clear()
            np.testing.assert_array_equal(array[...], values)
            assert behind.whole == []


def test_a_wrapper_that_changes_bytes_says_how_many_there_are() -> None:
    class Longer(WrapperStore[Any]):
        """Leaves out the first four bytes of what is stored."""

        async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
            assert byte_range is None or key.startswith("c/")
            found = await super().get(key, prototype)
            if found is None or key.endswith(".json"):
                return found
            data = found.to_bytes()[4:]
            first, end = (byte_range.start, byte_range.end) if byte_range else (0, None)
            return prototype.buffer.from_bytes(data[first:end])

    behind = MemoryStore()
    values, _, _ = two_states(behind)
    behind._store_dict["c/0"] = cpu.Buffer.from_bytes(b"1234" + behind._store_dict["c/0"].to_bytes())
    np.testing.assert_array_equal(ringio_zarr.open_array(Longer(behind))[...], values)
