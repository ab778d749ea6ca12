"""Whatever store a hierarchy is in: the same answers as zarr-python gives."""

from __future__ import annotations

import contextlib
import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import fsspec
import numcodecs
import numpy as np
import obstore.store
import pytest
import zarr
from zarr.storage import FsspecStore, LocalStore, LoggingStore, MemoryStore, ObjectStore, StorePath, ZipStore

import ringio
import ringio_zarr
from ringio.testing import memory_store
from ringio_zarr import _store, _zip

pytestmark = pytest.mark.filterwarnings("ignore::Warning:zarr")


def write(store: Any, zarr_format: int) -> Any:
    """A group with an array, and a group with an array of shards; of v2 without them. The last rows are missing."""
    root = zarr.create_group(store, zarr_format=zarr_format, attributes={"title": "a test"})
    plain = root.create_array("plain", shape=(50, 40), chunks=(10, 8), dtype="<i4", fill_value=-1)
    plain[:33] = np.arange(33 * 40).reshape(33, 40)
    inner = root.create_group("inner", attributes={"level": 1})
    shards = {"shards": (20, 16)} if zarr_format == 3 else {}
    deep = inner.create_array("deep", shape=(50, 40), chunks=(5, 8), dtype="<f4", attributes={"unit": "m"}, **shards)
    deep[:20] = np.random.default_rng(0).random((20, 40), np.float32)
    inner.create_group("empty")
    return root


def items(zarr_format: int) -> dict[str, bytes]:
    """The same as keys and bytes."""
    store = MemoryStore()
    write(store, zarr_format)
    return {key: value.to_bytes() for key, value in store._store_dict.items()}


def in_local_store(path: Path, zarr_format: int) -> Any:
    write(str(path / "h"), zarr_format)
    return LocalStore(path / "h")


def in_zip(path: Path, zarr_format: int, compression: int = zipfile.ZIP_STORED) -> str:
    store = ZipStore(path / "h.zip", mode="w", compression=compression)
    write(store, zarr_format)
    store.close()
    return str(path / "h.zip")


def in_memory_store(path: Path, zarr_format: int) -> Any:
    del path
    store = MemoryStore()
    write(store, zarr_format)
    return store


def in_obstore(path: Path, zarr_format: int) -> Any:
    del path
    store = obstore.store.MemoryStore()
    for key, data in items(zarr_format).items():
        store.put(key, data)
    return store


def in_memory_url(path: Path, zarr_format: int) -> str:
    store = memory_store(path.name)
    for key, data in items(zarr_format).items():
        store.put(f"some folder/h/{key}", data)
    return f"memory://{path.name}/some folder/h"


def in_fsspec(path: Path, zarr_format: int) -> Any:
    mapper = fsspec.filesystem("memory").get_mapper(f"/{path.name}")
    for key, data in items(zarr_format).items():
        mapper[key] = data
    return mapper


STORES: dict[str, Callable[[Path, int], Any]] = {
    "path": lambda path, version: str(in_local_store(path, version).root),
    "dict": lambda path, version: items(version),
    "read-only mapping": lambda path, version: MappingProxyType(items(version)),
    "bytearrays": lambda path, version: {key: bytearray(data) for key, data in items(version).items()},
    "memory URL": in_memory_url,
    "obstore": in_obstore,
    "obstore, local": lambda path, version: obstore.store.LocalStore(in_local_store(path, version).root),
    "ringio.Store": lambda path, version: ringio.Store(in_local_store(path, version).root),
    "zip": in_zip,
    "zip, deflated": lambda path, version: in_zip(path, version, zipfile.ZIP_DEFLATED),
    "zip, bzip2": lambda path, version: in_zip(path, version, zipfile.ZIP_BZIP2),
    "zip, lzma": lambda path, version: in_zip(path, version, zipfile.ZIP_LZMA),
    "fsspec": in_fsspec,
    "fsspec, local": lambda path, version: fsspec.get_mapper(f"file://{in_local_store(path, version).root}"),
    "zarr MemoryStore": in_memory_store,
    "zarr LocalStore": in_local_store,
    "zarr ZipStore": lambda path, version: ZipStore(in_zip(path, version), mode="r"),
    "zarr ObjectStore": lambda path, version: ObjectStore(in_obstore(path, version)),
    "zarr FsspecStore": lambda path, version: FsspecStore.from_mapper(in_fsspec(path, version)),
    "zarr FsspecStore, local": lambda path, version: FsspecStore.from_url(
        f"file://{in_local_store(path, version).root}"
    ),
    "zarr LoggingStore": lambda path, version: LoggingStore(in_local_store(path, version), log_level="ERROR"),
}
NO_PICKLE = ("obstore", "zarr ObjectStore", "read-only mapping")


@pytest.fixture(params=[2, 3])
def zarr_format(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def theirs(zarr_format: int) -> Any:
    return write(MemoryStore(), zarr_format)


@pytest.mark.parametrize("kind", STORES)
class TestAllStores:
    def test_elements(self, kind: str, zarr_format: int, tmp_path: Path, theirs: Any) -> None:
        """Boxes, points, steps, crops, missing chunks; again when indexes are known."""
        ours = ringio_zarr.open_group(STORES[kind](tmp_path, zarr_format))
        starts = np.array([[0, 0], [15, 20], [30, 20], [25, 3]])
        for path in ("plain", "inner/deep"):
            array, want = ours[path], np.asarray(theirs[path][...])
            assert isinstance(array, ringio_zarr.Array)
            for _ in range(2):
                for selection in [..., (3, 5), (slice(3, 33), slice(5, 40, 3)), (49, 39), (slice(45, None), 0)]:
                    np.testing.assert_array_equal(array[selection], want[selection])
                crops = array.read_crops(starts, (20, 16))
                for crop, (row, column) in zip(crops, starts, strict=True):
                    np.testing.assert_array_equal(crop, want[row : row + 20, column : column + 16])

    def test_members(self, kind: str, zarr_format: int, tmp_path: Path, theirs: Any) -> None:
        ours = ringio_zarr.open_group(STORES[kind](tmp_path, zarr_format))
        assert list(ours) == sorted(theirs)
        assert len(ours) == 2
        for depth in (0, 1, None):
            want = sorted(name for name, _ in theirs.members(max_depth=depth))
            assert [name for name, _ in ours.members(max_depth=depth)] == want
            assert ours.nmembers(max_depth=depth) == len(want)
        assert sorted(ours.array_keys()) == ["plain"]
        assert sorted(ours.group_keys()) == ["inner"]
        assert dict(ours.attrs) == {"title": "a test"}
        assert dict(ours["inner/deep"].attrs) == {"unit": "m"}
        assert "inner/deep" in ours
        assert "nothing" not in ours
        assert "inner/deep/c" not in ours
        assert ours.get("nothing") is None
        with pytest.raises(KeyError, match="nothing"):
            ours["nothing"]
        assert "deep (50, 40) float32" in str(ours.tree())
        assert ours["inner"].name == theirs["inner"].name == "/inner"

    def test_identity(self, kind: str, zarr_format: int, tmp_path: Path) -> None:
        """Nodes are equal by where they are, pickle as that, and say it."""
        store = STORES[kind](tmp_path, zarr_format)
        ours = ringio_zarr.open(store)
        again = ringio_zarr.open(store)
        assert ours == again
        assert hash(ours) == hash(again)
        array = ours["inner/deep"]
        assert array == again["inner"]["deep"] != ours["plain"]
        assert ringio_zarr.open(store, path="inner/deep") == array
        assert "inner/deep" in repr(array)
        if kind not in NO_PICKLE:
            for node in (ours, ours["inner"], array):
                copy = pickle.loads(pickle.dumps(node))
                assert copy == node
                assert copy.attrs == node.attrs
            np.testing.assert_array_equal(pickle.loads(pickle.dumps(array))[:7], array[:7])

    def test_what_is_stored(self, kind: str, zarr_format: int, tmp_path: Path, theirs: Any) -> None:
        """Chunks that are there are counted by listing the store, and looked up to explain a read."""
        ours = ringio_zarr.open_group(STORES[kind](tmp_path, zarr_format))
        for path in ("plain", "inner/deep"):
            info, want = ours[path].info_complete(), theirs[path].info_complete()
            assert info.count_chunks_initialized == want._count_chunks_initialized
            assert ours[path].explain().missing == {"plain": 5, "inner/deep": 30}[path]

    def test_nothing_is_there(self, kind: str, zarr_format: int, tmp_path: Path) -> None:
        store = STORES[kind](tmp_path, zarr_format)
        with pytest.raises(FileNotFoundError, match="nowhere") as caught:
            ringio_zarr.open(store, path="nowhere")
        assert caught.value.filename.endswith("/nowhere")
        with pytest.raises(FileNotFoundError):
            ringio_zarr.open(store, zarr_format=5 - zarr_format)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_what_is_behind_a_store_is_read_directly(tmp_path: Path, zarr_format: int) -> None:
    """Local files stay local files, whoever wraps them."""
    for kind in ("zarr LocalStore", "fsspec, local", "zarr FsspecStore, local", "obstore, local", "ringio.Store"):
        folder = tmp_path / kind
        folder.mkdir()
        store = ringio_zarr.open(STORES[kind](folder, zarr_format)).store
        assert store == _store.LocalStore(folder / "h")
    store = ringio_zarr.open(ZipStore(in_zip(tmp_path, zarr_format), mode="r")).store
    assert store == _zip.ZipStore(tmp_path / "h.zip")


def test_a_zip_file_that_is_being_written(tmp_path: Path) -> None:
    """It has no directory before it is closed: the store is asked, which knows what it has written."""
    store = ZipStore(tmp_path / "a.zip", mode="w")
    zarr.create_array(store, data=np.arange(10), chunks=(3,))
    assert ringio_zarr.open_array(store)[2:7].tolist() == [2, 3, 4, 5, 6]
    store.close()
    assert ringio_zarr.open_array(ZipStore(tmp_path / "a.zip", mode="r"))[8:].tolist() == [8, 9]


def test_urls_that_only_fsspec_has(tmp_path: Path) -> None:
    """Chained ones, and of file systems that are its own, as zarr-python takes them."""
    zarr.create_array(tmp_path / "a", data=np.arange(10), chunks=(3,))
    for url in (f"local://{tmp_path}/a", f"simplecache::file://{tmp_path}/a"):
        assert ringio_zarr.open_array(url)[2:7].tolist() == [2, 3, 4, 5, 6]
    with pytest.raises(ValueError, match="does not know this one"):
        ringio_zarr.open(f"nonesuch::file://{tmp_path}/a")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_what_is_too_large_in_an_archive_is_not_read(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fsspec has the sizes in memory."""
    zarr.create_array(tmp_path / "a", data=np.arange(10), chunks=(3,))
    (tmp_path / "a/large").write_bytes(bytes(1_000_000))
    archive = tmp_path / "archive"
    with zipfile.ZipFile(archive, "w") if kind == "zip" else tarfile.open(archive, "w") as file:
        add = file.write if isinstance(file, zipfile.ZipFile) else file.add
        for path in (tmp_path / "a").rglob("*"):
            if path.is_file():
                add(path, str(path.relative_to(tmp_path / "a")))
    fs = fsspec.filesystem(kind, fo=io.BytesIO(archive.read_bytes()), skip_instance_cache=True)
    array = ringio_zarr.open_array(fs.get_mapper(""))
    np.testing.assert_array_equal(array[...], np.arange(10))
    read = []
    monkeypatch.setattr(fs, "cat_file", lambda path: read.append(path) or b"{}")
    with pytest.raises(ringio.DecodeError, match="1000000 bytes, at most 1000 make sense here"):
        array.store.read("large", None, 1000)
    assert array.store.read("nothing") is None
    assert read == []


def test_a_file_system_whose_paths_are_urls() -> None:
    """As those of HTTP are: the scheme is in the name once."""

    class Urls(fsspec.AbstractFileSystem):  # type: ignore[misc]
        protocol = ("urls", "urls+s")

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return path

        def cat_file(self, path: str, **_: Any) -> bytes:
            raise FileNotFoundError(path)

        info = cat_file

    with pytest.raises(FileNotFoundError) as caught:
        ringio_zarr.open(Urls().get_mapper("urls+s://host/x"))
    assert caught.value.filename == "<urls+s://host/x>"


def test_a_store_path(tmp_path: Path) -> None:
    store = in_local_store(tmp_path, 3)
    assert ringio_zarr.open(StorePath(store, "inner")).name == "/inner"
    assert ringio_zarr.open_array(StorePath(store, "inner"), path="deep").shape == (50, 40)


class TestMemory:
    def test_what_is_in_it_is_seen_at_once(self) -> None:
        """Chunks and shards that change, come and go."""
        data = items(3)
        ours = ringio_zarr.open_group(data)
        deep, plain = ours["inner/deep"], ours["plain"]
        before = deep[:20]
        data["inner/deep/c/1/0"] = data["inner/deep/c/0/0"]
        np.testing.assert_array_equal(deep[20:40, :16], before[:, :16])
        del data["plain/c/0/0"]
        assert (plain[:10, :8] == -1).all()

    def test_bad_values(self) -> None:
        data: dict[str, Any] = {**items(3)}
        ours = ringio_zarr.open_group(data)
        data["plain/c/0/0"] = data["plain/c/0/0"][:-3]
        with pytest.raises(ringio.DecodeError, match=r"chunk \(0, 0\) of '<dict>/plain' in <dict>/plain/c/0/0"):
            ours["plain"][:5]
        data["plain/c/0/0"] = "text"
        with pytest.raises(ringio_zarr.MetadataError, match="expected bytes, got 'text'"):
            ours["plain"][:5]
        np.testing.assert_array_equal(ours["plain"][10:20, 0], np.arange(10, 20) * 40)
        data["inner/deep/c/0/0"] = b"short"
        with pytest.raises(ringio.DecodeError, match="5 bytes cannot hold its index"):
            ours["inner/deep"][:5]
        data["inner/deep/c/0/0"] = b""
        with pytest.raises(ringio.DecodeError, match="0 bytes cannot hold its index"):
            ours["inner/deep"][:5]
        data["zarr.json"] = b"{"
        with pytest.raises(ringio_zarr.MetadataError, match=r"<dict>/zarr.json: not valid JSON"):
            ringio_zarr.open(data)

    def test_every_way_to_decode(self) -> None:
        """Python codecs, and a reader that has obstore read its files, take what is in memory from there, too."""
        store = MemoryStore()
        zarr.create_array(
            store, name="bz2", shape=(30,), chunks=(7,), dtype="i4", compressors=numcodecs.BZ2(), zarr_format=2
        )[:20] = np.arange(20)
        data = {key: value.to_bytes() for key, value in store._store_dict.items()}
        for backend in ("auto", "object_store"):
            with ringio.Reader(backend) as reader:
                with contextlib.suppress(ringio_zarr.UnsupportedError):  # where there are no Python codecs
                    array = ringio_zarr.open_array(data, path="bz2", reader=reader)
                    np.testing.assert_array_equal(array[...], np.r_[:20, [0] * 10])
                group = ringio_zarr.open_group(items(3), reader=reader)
                np.testing.assert_array_equal(group["plain"][:5, 0], np.arange(5) * 40)

    def test_a_mapping_that_fails(self) -> None:
        class Failing(Mapping[str, bytes]):
            def __getitem__(self, key: str) -> bytes:
                if "/c/" in key:
                    raise TimeoutError("the database is asleep")
                return items(3)[key]

            def __iter__(self) -> Any:
                return iter(items(3))

            def __len__(self) -> int:
                return 1

        with pytest.raises(TimeoutError, match="asleep"):
            ringio_zarr.open_group(Failing())["plain"][...]

        class Broken(dict[str, bytes]):
            def __getitem__(self, key: str) -> bytes:
                raise RuntimeError("boom")

        with pytest.raises(RuntimeError, match="boom") as caught:
            ringio_zarr.open(Broken())
        assert caught.value.__notes__ == ["while reading <Broken>/zarr.json"]

    def test_wrong_content(self) -> None:
        with pytest.raises(FileNotFoundError, match="<dict>"):
            ringio_zarr.open({})
        with pytest.raises(TypeError, match="got BytesIO"):
            ringio_zarr.open(io.BytesIO())


def test_nothing_is_written() -> None:
    """What writes in zarr-python is not there, and that is said."""
    group: Any = ringio_zarr.open_group(items(3))
    for name in ("create_array", "create_group", "require_group", "update_attributes", "move"):
        with pytest.raises(AttributeError, match=f"no attribute '{name}': ringio_zarr only reads"):
            getattr(group, name)
    with pytest.raises(AttributeError, match="no attribute 'resize': ringio_zarr only reads"):
        group["plain"].resize((3, 3))
    for owner in (group, group["plain"], group["plain"].attrs):
        with pytest.raises(TypeError, match="does not support item assignment: ringio_zarr only reads"):
            owner[0] = 1
        with pytest.raises(TypeError, match="does not support item deletion: ringio_zarr only reads"):
            del owner[0]
    with pytest.raises(AttributeError, match="'Group' object has no attribute 'nonsense'"):
        group.nonsense  # noqa: B018
    assert not hasattr(group, "create_array")


def test_a_store_that_cannot_list(tmp_path: Path) -> None:
    """Its members are opened by their paths; listing says what is wrong."""

    class Mute(LocalStore):
        supports_listing = False

    write(str(tmp_path / "h"), 3)
    ours = ringio_zarr.open_group(LoggingStore(Mute(tmp_path / "h"), log_level="ERROR"))
    assert ours["inner/deep"].shape == (50, 40)
    with pytest.raises(ringio.StoreError, match="no consolidated metadata"):
        list(ours)


@pytest.mark.zarr_3_4
def test_a_path_in_a_store_of_zarr_python_in_memory() -> None:
    """What is above the path is not there."""
    store = zarr.storage.ManagedMemoryStore("test_zarr_stores", path="x/y")
    group = zarr.create_group(store)
    group.create_array("a", data=np.arange(12), chunks=(5,))
    whole = zarr.storage.ManagedMemoryStore("test_zarr_stores")
    zarr.create_array(whole, name="outside", data=np.arange(3))
    ours = ringio_zarr.open_group(store)
    assert (ours.name, ours["a"].name, list(ours)) == ("/", "/a", ["a"])
    assert ours["a"][3:11].tolist() == list(range(3, 11))
    assert ours["a"].nchunks_initialized == 3
    assert ours != ringio_zarr.open_group(zarr.storage.ManagedMemoryStore("test_zarr_stores", path="x"), path="y")
    assert ringio_zarr.open_array(zarr.storage.StorePath(store, "a"))[4] == 4
    assert ringio_zarr.open_array(whole, path="x/y/a")[4] == 4
