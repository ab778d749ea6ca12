"""What documents say is kept, bounded, and never used once they say something else."""

from __future__ import annotations

import gc
import json
import os
import shutil
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
import zarr.codecs.numcodecs

import ringio
import ringio_zarr
from ringio_zarr import _known
from ringio_zarr._cache import default_cache

FOLDER = "known.zarr"
SHAPE, OTHER_SHAPE = '"shape": [\n    4\n  ]', '"shape": [\n    3\n  ]'

pytestmark = pytest.mark.filterwarnings("ignore::Warning:zarr")


@pytest.fixture
def old_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written just now counts as old."""
    monkeypatch.setattr(_known, "_AGE_MIN_NS", -(10**18))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of documents that are read from local stores from now on."""
    from ringio_zarr._store import LocalStore

    found: list[str] = []
    read = LocalStore.read

    def noted(self: Any, key: str, *arguments: Any, **options: Any) -> bytes | None:
        found.append(key)
        return read(self, key, *arguments, **options)

    monkeypatch.setattr(LocalStore, "read", noted)
    return found


def make(root: Path, zarr_format: int = 3, *, consolidate: bool = False) -> Path:
    group = zarr.create_group(root, zarr_format=zarr_format, attributes={"list": [1, {"deep": 2}]})
    for name in "ab":
        array = group.create_array(name, shape=(4,), chunks=(2,), dtype="i4", attributes={"list": [1, {"deep": 2}]})
        array[:] = np.arange(4)
    if consolidate:
        zarr.consolidate_metadata(str(root))
    return root


def rewrite(path: Path, old: str, new: str) -> None:
    """A new file in the place of the old one, as zarr-python does it."""
    text = path.read_text()
    assert old in text
    beside = path.with_name("new")
    beside.write_text(text.replace(old, new))
    beside.replace(path)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.usefixtures("old_files")
def test_documents_are_read_once(tmp_path: Path, reads: list[str], zarr_format: int) -> None:
    root = make(tmp_path / "g", zarr_format)
    cache = ringio_zarr.Cache()
    for _ in range(3):
        group = ringio_zarr.open_group(root, cache=cache)
        assert (group["a"][:] == np.arange(4)).all()
        assert group.attrs.asdict() == group["b"].attrs.asdict() == {"list": [1, {"deep": 2}]}
        assert [name for name, _ in group.arrays()] == ["a", "b"]
    assert len(reads) == len(set(reads))
    assert 0 < cache.nbytes <= cache.capacity_bytes
    ringio_zarr.open_group(root, cache=ringio_zarr.Cache())
    assert len(reads) > len(set(reads))


@pytest.mark.usefixtures("old_files")
def test_the_process_shares_one(tmp_path: Path, reads: list[str]) -> None:
    root = make(tmp_path / "g")
    first, second = ringio_zarr.open(root / "a"), ringio_zarr.open(root / "a")
    assert first == second
    assert len(reads) == 1
    default_cache.forget(str(root))


@pytest.mark.usefixtures("old_files")
@pytest.mark.parametrize("in_place", [False, True])
def test_a_rewritten_document_is_seen(tmp_path: Path, in_place: bool) -> None:
    path = make(tmp_path / "g") / "a" / "zarr.json"
    array = ringio_zarr.open_array(path.parent)
    if in_place:
        time.sleep(0.02)  # more than a tick of the clock
        path.write_text(path.read_text().replace('"deep": 2', '"deep": 3'))
    else:
        rewrite(path, '"deep": 2', '"deep": 3')  # of the same size
    assert ringio_zarr.open_array(path.parent).attrs["list"][1] == {"deep": 3}
    assert array.attrs["list"][1] == {"deep": 2}
    array.refresh()
    assert array.attrs["list"][1] == {"deep": 3}


@pytest.mark.usefixtures("old_files")
def test_each_document_of_v2_counts(tmp_path: Path) -> None:
    path = make(tmp_path / "g", 2) / "a"
    assert ringio_zarr.open_array(path).shape == (4,)
    rewrite(path / ".zarray", SHAPE, OTHER_SHAPE)
    assert ringio_zarr.open_array(path).shape == (3,)
    rewrite(path / ".zattrs", "2", "7")
    assert ringio_zarr.open_array(path).attrs["list"] == [1, {"deep": 7}]
    (path / ".zattrs").unlink()
    assert dict(ringio_zarr.open_array(path).attrs) == {}
    (path / ".zattrs").write_text("{}")
    (path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')  # v3 comes first
    assert isinstance(ringio_zarr.open(path), ringio_zarr.Group)
    (path / "zarr.json").unlink()
    (path / ".zarray").unlink()
    with pytest.raises(FileNotFoundError):
        ringio_zarr.open_array(path)


@pytest.mark.usefixtures("old_files")
def test_what_is_gone_or_another_kind_is_seen(tmp_path: Path) -> None:
    root = make(tmp_path / "g")
    group = ringio_zarr.open_group(root)
    assert "a" in group
    assert group["a"].shape == (4,)
    shutil.rmtree(root / "a")
    with pytest.raises(KeyError):
        group["a"]
    zarr.create_group(root / "a")
    assert isinstance(group["a"], ringio_zarr.Group)
    (root / "a" / "zarr.json").write_text("{")
    with pytest.raises(ringio_zarr.MetadataError, match=r"zarr\.json"):
        group["a"]


def test_what_was_written_just_now_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be written again within the same tick of the clock, and would then look the same."""
    monkeypatch.setattr(_known, "_AGE_MIN_NS", 3600 * 10**9)
    path = make(tmp_path / "g") / "a" / "zarr.json"
    cache = ringio_zarr.Cache()
    status = path.stat()
    ringio_zarr.open_array(path.parent, cache=cache)
    assert cache.nbytes == 0
    path.write_text(path.read_text().replace('"deep": 2', '"deep": 3'))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert ringio_zarr.open_array(path.parent, cache=cache).attrs["list"][1] == {"deep": 3}


@pytest.mark.usefixtures("old_files")
@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("consolidate", [False, True])
def test_nobody_changes_the_attributes_of_others(tmp_path: Path, zarr_format: int, consolidate: bool) -> None:
    root = make(tmp_path / "g", zarr_format, consolidate=consolidate)
    cache = ringio_zarr.Cache()
    for _ in range(3):
        group = ringio_zarr.open_group(root, cache=cache)
        for node in (group, group["a"], group["a"], ringio_zarr.open(root / "a", cache=cache)):
            assert node.attrs["list"] == node.metadata.attributes["list"] == [1, {"deep": 2}]
            node.attrs["list"][1]["deep"] = 99
            node.attrs["list"].append(5)


@pytest.mark.usefixtures("old_files")
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_nobody_changes_the_documents_of_others(tmp_path: Path, zarr_format: int) -> None:
    root = make(tmp_path / "g", zarr_format)
    cache = ringio_zarr.Cache()
    first = ringio_zarr.open(root / "a", cache=cache).metadata.document
    for _ in range(2):
        metadata = ringio_zarr.open(root / "a", cache=cache).metadata
        assert metadata.document == first
        assert metadata.to_dict() == {**first, "attributes": {"list": [1, {"deep": 2}]}}
        metadata.document["shape"].append(7)
        metadata.document.clear()
        metadata.to_dict()["shape"].append(7)
        group = ringio_zarr.open(root, cache=cache).metadata
        assert group.document["zarr_format"] == zarr_format
        group.document["zarr_format"] = 4


@pytest.mark.usefixtures("old_files")
def test_a_codec_that_is_registered_later_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ringio import _python_codecs

    monkeypatch.setattr(_python_codecs, "_factories", {})
    calls = []

    def decode(data: Any) -> bytes:
        calls.append(len(data))
        return numcodecs.LZ4().decode(data)

    compressors = [zarr.codecs.numcodecs.LZ4()]
    zarr.create_array(tmp_path / "a", shape=(4,), chunks=(4,), dtype="i4", compressors=compressors)[:] = 1
    cache = ringio_zarr.Cache()
    for _ in range(2):
        assert ringio_zarr.open_array(tmp_path / "a", cache=cache)[:].tolist() == [1] * 4
    assert not calls
    ringio.codecs.register("numcodecs.lz4", lambda configuration: decode)
    for _ in range(2):
        assert ringio_zarr.open_array(tmp_path / "a", cache=cache)[:].tolist() == [1] * 4
    assert len(calls) == 2


@pytest.mark.usefixtures("old_files")
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_consolidated_metadata(tmp_path: Path, reads: list[str], zarr_format: int) -> None:
    root = make(tmp_path / "g", zarr_format, consolidate=True)
    cache = ringio_zarr.Cache()
    first = ringio_zarr.open_group(root, cache=cache)
    count = len(reads)
    second = ringio_zarr.open_consolidated(root, cache=cache)  # another way to ask
    third = ringio_zarr.open_group(root, cache=cache)
    assert len(reads) <= 2 * count
    assert list(first) == list(second) == list(third) == ["a", "b"]
    zarr.open_group(root, mode="a", zarr_format=zarr_format, use_consolidated=False).create_array(
        "c", shape=(1,), dtype="i1"
    )
    zarr.consolidate_metadata(str(root))
    assert list(ringio_zarr.open_group(root, cache=cache)) == ["a", "b", "c"]
    member = first["a"]
    first.refresh()
    assert list(first) == ["a", "b", "c"]
    member.refresh()
    assert (member[:] == np.arange(4)).all()


@pytest.mark.usefixtures("old_files")
def test_it_is_bounded(tmp_path: Path) -> None:
    """Metadata takes a quarter of the room at most, and what was used longest ago goes first."""
    root = make(tmp_path / "g")
    nbytes = sum((root / name / "zarr.json").stat().st_size * 10 + 2000 for name in "ab")
    cache = ringio_zarr.Cache(4 * (nbytes + 3000))
    for name in ("a", "b", "a", ""):
        ringio_zarr.open(root, path=name, cache=cache)
        assert cache.nbytes <= cache.capacity_bytes // 4
    known = [Path(key.location).name for key in cache._nodes._known]
    assert known == ["a", "g"]
    for capacity_bytes in (0, 1000):
        small = ringio_zarr.Cache(capacity_bytes)
        assert ringio_zarr.open(root, cache=small).attrs["list"]
        assert small.nbytes == 0


@pytest.mark.usefixtures("old_files")
def test_attributes_take_about_as_much_memory_as_is_said(tmp_path: Path) -> None:
    import tracemalloc

    root = tmp_path / "g"
    attributes = {f"name {number}": {"number": number, "list": [number / 7] * 3} for number in range(5000)}
    zarr.create_group(root, attributes=attributes)
    cache = ringio_zarr.Cache(1 << 30)
    tracemalloc.start()
    try:
        ringio_zarr.open_group(root, cache=cache)
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert taken < 1.2 * cache.nbytes


@pytest.mark.usefixtures("old_files")
def test_threads_share_it(tmp_path: Path) -> None:
    path = make(tmp_path / "g") / "a"
    cache = ringio_zarr.Cache()
    wrong: list[Any] = []
    done = threading.Event()

    def look() -> None:
        last = 0
        while not done.is_set():
            now = ringio_zarr.open_array(path, cache=cache).attrs["number"]
            if now < last:
                wrong.append((last, now))
            last = now

    document = json.loads((path / "zarr.json").read_text())

    def write(number: int) -> None:
        document["attributes"] = {"number": number}
        (path / "new").write_text(json.dumps(document))
        (path / "new").replace(path / "zarr.json")

    write(0)
    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(1, 30):
        write(number)
        time.sleep(0.01)
        assert ringio_zarr.open_array(path, cache=cache).attrs["number"] == number
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_bad_ages() -> None:
    for age_s in (-1, float("nan")):
        with pytest.raises(ValueError, match="metadata_max_age_s"):
            ringio_zarr.Cache(metadata_max_age_s=age_s)
        with pytest.raises(ValueError, match="max_age_s"):
            ringio_zarr.Cache(max_age_s=age_s)


class TestObjects:
    """Documents in stores of objects, which nobody asks about once they are trusted."""

    def test_each_open_asks_unless_told_otherwise(self, latency: Any) -> None:
        url = self.put(latency)
        with ringio.Reader() as reader:
            for age_s, is_asked in ((0, True), (1000, False), (None, False)):
                cache = ringio_zarr.Cache(metadata_max_age_s=age_s)
                ringio_zarr.open_group(url, reader=reader, cache=cache)["a"]
                latency.reset()
                group = ringio_zarr.open_group(url, reader=reader, cache=cache)
                assert group["a"].shape == (4,)
                assert bool(latency.requests()) is is_asked
                latency.reset()
                group.refresh()
                group["a"]
                assert latency.requests()

    def test_it_is_trusted_for_so_long(self, latency: Any) -> None:
        items = self.items()
        url = self.put(latency)
        cache = ringio_zarr.Cache(metadata_max_age_s=60)
        with ringio.Reader() as reader:
            assert ringio_zarr.open_array(f"{url}/a", reader=reader, cache=cache).shape == (4,)
            key = "a/zarr.json"
            latency.put(f"{FOLDER}/{key}", items[key].decode().replace(SHAPE, OTHER_SHAPE).encode())
            assert ringio_zarr.open_array(f"{url}/a", reader=reader, cache=cache).shape == (4,)
            with ringio.Reader() as other:  # which may have another server behind the same name
                assert ringio_zarr.open_array(f"{url}/a", reader=other, cache=cache).shape != (4,)
            cache.metadata_max_age_s = 0.01
            time.sleep(0.02)
            assert ringio_zarr.open_array(f"{url}/a", reader=reader, cache=cache).shape != (4,)

    def test_it_does_not_keep_readers(self, latency: Any) -> None:
        cache = ringio_zarr.Cache(metadata_max_age_s=None)
        reader = ringio.Reader()
        ringio_zarr.open_array(f"{self.put(latency)}/a", reader=reader, cache=cache)
        there = weakref.ref(reader)
        reader.close()
        del reader
        gc.collect()
        assert there() is None

    def put(self, latency: Any) -> str:
        for key, value in self.items().items():
            latency.put(f"{FOLDER}/{key}", value)
        return str(latency.url(FOLDER))

    @staticmethod
    def items() -> dict[str, bytes]:
        store: dict[str, Any] = {}
        group = zarr.create_group(store)
        group.create_array("a", shape=(4,), chunks=(2,), dtype="i4")
        return {key: value.to_bytes() for key, value in store.items()}
