"""Zip files: members as ranges, what writers do to them, and what damage does."""

from __future__ import annotations

import errno
import lzma
import os
import pickle
import struct
import threading
import tracemalloc
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from zarr.storage import MemoryStore, ZipStore

import ringio
import ringio_zarr
from ringio.testing import memory_store
from ringio_zarr import _cli, _zip

pytestmark = pytest.mark.filterwarnings("ignore::Warning:zarr")

VALUES = np.arange(40 * 30, dtype="<i4").reshape(40, 30)


def members(zarr_format: int = 3) -> dict[str, bytes]:
    store = MemoryStore()
    root = zarr.create_group(store, zarr_format=zarr_format)
    root.create_array("plain", shape=(40, 30), chunks=(10, 10), dtype="<i4", compressors=None)[:30] = VALUES[:30]
    if zarr_format == 3:
        array = root.create_array("sharded", shape=(40, 30), chunks=(5, 5), shards=(20, 30), dtype="<i4")
        array[...] = VALUES
    return {key: value.to_bytes() for key, value in store._store_dict.items()}


def write(path: Path, data: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> str:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for key, value in data.items():
            archive.writestr(key, value)
    return str(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "h.zip"


def test_chunks_are_ranges_of_one_file(path: Path) -> None:
    """Nothing is opened but the zip file, and a chunk that is alone is read without a plan."""
    group = ringio_zarr.open_group(write(path, members()))
    with ringio.Reader(workers=1) as reader:
        array = ringio_zarr.open_array(path, path="sharded", reader=reader)
        np.testing.assert_array_equal(array[...], VALUES)
        assert reader.statistics().opens == 1
    array = group["plain"]
    for _ in range(2):
        assert array[12, 17] == VALUES[12, 17]
        assert array[35, 5] == 0
    np.testing.assert_array_equal(array[5:35, 5:25], np.where(np.arange(5, 35)[:, None] < 30, VALUES[5:35, 5:25], 0))


def test_below_a_zip_file(path: Path) -> None:
    """The path may go on, as into a directory; a directory may be called so."""
    write(path, members())
    assert ringio_zarr.open(f"{path}/plain").shape == (40, 30)
    assert ringio_zarr.open(Path(path) / "plain", path="") == ringio_zarr.open(path, path="plain")
    with pytest.raises(FileNotFoundError, match="nothing at this path"):
        ringio_zarr.open(f"{path}/nothing")
    folder = path.with_name("folder.zip")
    zarr.create_array(str(folder), shape=(3,), chunks=(2,), dtype="i4")[...] = 7
    assert isinstance(ringio_zarr.open(folder), ringio_zarr.Array)
    with pytest.raises(FileNotFoundError):
        ringio_zarr.open(path.with_name("none.zip"))


def test_duplicates(path: Path) -> None:
    """The last member of a name counts: zarr-python writes what has changed once more."""
    store = ZipStore(path, mode="w")
    array = zarr.create_array(store, shape=(4,), chunks=(4,), dtype="<i4")
    array[:2] = 1
    with pytest.warns(UserWarning, match="Duplicate"):
        array[2:] = 2
    store.close()
    np.testing.assert_array_equal(ringio_zarr.open(path)[...], [1, 1, 2, 2])


def test_zip64(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for key, value in members().items():
            with archive.open(key, "w", force_zip64=True) as member:
                member.write(value)
    np.testing.assert_array_equal(ringio_zarr.open_group(path)["sharded"][...], VALUES)


def test_something_in_front(path: Path) -> None:
    """Offsets in a zip file that was appended to another file count from where it begins."""
    write(path, members())
    path.write_bytes(b"#!/bin/sh\nexit 0\n" * 50 + path.read_bytes())
    np.testing.assert_array_equal(ringio_zarr.open_group(path)["sharded"][...], VALUES)


def test_compressed_and_stored_members_in_one_read(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for number, (key, value) in enumerate(members().items()):
            archive.writestr(key, value, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[number % 2])
    group = ringio_zarr.open_group(path)
    np.testing.assert_array_equal(group["plain"][:30], VALUES[:30])
    np.testing.assert_array_equal(group["sharded"][...], VALUES)


def test_a_file_that_is_replaced(path: Path) -> None:
    """Its directory is read anew, whatever way the next read takes."""
    write(path, members())
    group = ringio_zarr.open_group(path)
    plain, sharded = group["plain"], group["sharded"]
    assert plain[3, 4] == VALUES[3, 4]
    assert sharded[3, 4] == VALUES[3, 4]
    data = members()
    new = {"zzz": b"x" * 1000, **{key: data[key] for key in sorted(data, reverse=True) if key != "plain/c/1/1"}}
    temporary = path.with_name("new")
    write(temporary, new)
    temporary.replace(path)
    assert plain[3, 4] == VALUES[3, 4]
    assert plain[13, 14] == 0
    np.testing.assert_array_equal(sharded[...], VALUES)
    assert "zzz" not in list(group)


def test_identity(path: Path) -> None:
    array = ringio_zarr.open(write(path, members()))["sharded"]
    again = pickle.loads(pickle.dumps(array))
    assert again == array
    assert repr(array.store) == f"ZipStore({str(path)!r})"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads that a fork leaves behind
        child = os.fork()
    if child == 0:
        os._exit(0 if (array[...] == VALUES).all() else 1)
    assert os.waitpid(child, 0)[1] == 0


class TestDamage:
    def test_no_zip_file(self, path: Path) -> None:
        path.write_bytes(b"this is no zip file")
        with pytest.raises(ringio_zarr.MetadataError, match=r"h\.zip: not a zip file"):
            ringio_zarr.open(path)
        write(path, members())
        path.write_bytes(path.read_bytes()[:-30])
        with pytest.raises(ringio_zarr.MetadataError, match=r"h\.zip: not a zip file"):
            ringio_zarr.open(path)

    def test_a_wrong_directory(self, path: Path) -> None:
        """Offsets that lead elsewhere, and sizes over the end of the file."""
        for field, value, words in (
            (42, 5, "no header"),
            (42, 0x7FFFFFFF, "outside"),
            (20, 0x7FFFFFF0, "over the end"),
        ):
            write(path, members())
            data = bytearray(path.read_bytes())
            at = data.index(b"plain/c/0/0", data.index(b"PK\x01\x02")) - 46
            struct.pack_into("<I", data, at + field, value)
            path.write_bytes(data)
            group = ringio_zarr.open_group(path)
            with pytest.raises(ringio_zarr.MetadataError, match=f"h.zip/plain/c/0/0: .*{words}") as caught:
                group["plain"][:5, :5]
            assert "chunk (0, 0)" in caught.value.__notes__[0]
            np.testing.assert_array_equal(group["plain"][10:20], VALUES[10:20])

    @pytest.mark.parametrize("offset", [2**63 + 5, 2**63 - 1, 2**64 - 1, 10**6])
    def test_an_offset_that_no_file_has(self, offset: int, path: Path) -> None:
        """In the extra field of a large member there is room for more than the system can name."""
        name, body = b"zarr.json", b"hello"
        extra = struct.pack("<HHQ", 1, 8, offset)
        header = struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 45, 3, 45, *[0] * 6, 5, 5, 9, 12, *[0] * 4, 0xFFFFFFFF)
        front, directory = b"PK\3\4" + bytes(26) + body, header + name + extra
        end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(directory), len(front), 0)
        path.write_bytes(front + directory + end)
        with pytest.raises(ringio_zarr.MetadataError, match=r"h\.zip/zarr\.json: .*outside the file"):
            ringio_zarr.open(path)

    def test_damaged_data(self, path: Path) -> None:
        """Compressed members have their checksums compared; so have documents."""
        write(path, members(), zipfile.ZIP_DEFLATED)
        data = bytearray(path.read_bytes())
        with zipfile.ZipFile(path) as archive:
            place = {each.filename: each for each in archive.infolist()}
        for key in ("plain/c/0/0", "sharded/zarr.json"):
            at = place[key].header_offset + 30 + len(key) + 5
            data[at] ^= 0xFF
        path.write_bytes(data)
        group = ringio_zarr.open_group(path)
        with pytest.raises(ringio.DecodeError, match=r"plain/c/0/0"):
            group["plain"][:5]
        with pytest.raises(
            ringio_zarr.MetadataError, match=r"^[^:]*h\.zip/sharded/zarr\.json: a member .* cannot be read"
        ):
            group["sharded"]

    @pytest.mark.parametrize("is_remote", [False, True])
    def test_a_damaged_document(self, path: Path, is_remote: bool, capsys: pytest.CaptureFixture[str]) -> None:
        """It hides no other member."""
        write(path, members(), zipfile.ZIP_DEFLATED)
        data = bytearray(path.read_bytes())
        with zipfile.ZipFile(path) as archive:
            data[archive.getinfo("plain/zarr.json").header_offset + 30 + len("plain/zarr.json") + 5] ^= 0xFF
        path.write_bytes(data)
        location = str(path)
        if is_remote:
            memory_store("damaged").put("h.zip", bytes(data))
            location = "memory://damaged/h.zip"
        group = ringio_zarr.open_group(location)
        assert list(group) == ["plain", "sharded"]
        assert "plain" in group
        words = r"left out: .*h\.zip/plain/zarr\.json: a member of a zip file cannot be read"
        with pytest.warns(ringio_zarr.errors.ZarrUserWarning, match=words):
            assert [name for name, _ in group.members()] == ["sharded"]
        assert "plain (cannot be read)" in str(group.tree())
        for command in ("verify", "tree"):
            assert _cli.main([command, location, "--json"]) == (command == "verify")
            shown = capsys.readouterr().out
            assert shown.count("plain/zarr.json: a member of a zip file cannot be read") == 1

    def test_a_bomb(self, path: Path) -> None:
        """A member that says it is larger than any chunk is not decompressed."""
        data = members()
        data["plain/c/0/0"] = bytes(100_000_000)
        write(path, data, zipfile.ZIP_DEFLATED)
        with pytest.raises(ringio.DecodeError, match="100000000 bytes, at most"):
            ringio_zarr.open_group(path)["plain"][:5]

    def test_encrypted(self, path: Path) -> None:
        write(path, members())
        data = bytearray(path.read_bytes())
        at = data.index(b"plain/c/0/0", data.index(b"PK\x01\x02")) - 46
        data[at + 8] |= 1
        path.write_bytes(data)
        with pytest.raises(ringio_zarr.UnsupportedError, match="encrypted"):
            ringio_zarr.open_group(path)["plain"][:5]

    @pytest.mark.parametrize("seed", range(30))
    def test_flipped_bytes(self, seed: int, path: Path) -> None:
        """Right values, or an exception that names the file."""
        write(path, members(), (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[seed % 2])
        data = bytearray(path.read_bytes())
        random = np.random.default_rng(seed)
        for at in random.integers(data.rindex(b"PK\x01\x02") - 1500, len(data), 3).tolist():
            data[at] ^= int(random.integers(1, 256))
        path.write_bytes(data)
        problem = ""
        try:
            group = ringio_zarr.open_group(path)
            for name in ("plain", "sharded"):
                assert group[name][...].shape == (40, 30)
        except (ringio.RingioError, OSError, KeyError) as error:
            problem = str(error)
        assert not problem or "h.zip" in problem


def test_a_document_that_inflates_to_more_than_the_memory_limit(path: Path) -> None:
    store = MemoryStore()
    zarr.create_group(store)
    data = {key: bytes(32 << 20).replace(b"\0", b" ") + value.to_bytes() for key, value in store._store_dict.items()}
    write(path, data, zipfile.ZIP_DEFLATED)
    with ringio.Reader(memory_limit_bytes=16 << 20) as reader:
        tracemalloc.start()
        try:
            with pytest.raises(ringio.MemoryLimitError, match=r"h\.zip/zarr\.json: .* memory limit is 16777216"):
                ringio_zarr.open(path, reader=reader)
            assert tracemalloc.get_traced_memory()[1] < 8 << 20
        finally:
            tracemalloc.stop()
    with ringio.Reader(memory_limit_bytes=128 << 20) as larger:
        assert isinstance(ringio_zarr.open(path, reader=larger), ringio_zarr.Group)


@pytest.mark.parametrize("shards", [None, (32,)])
def test_a_member_that_inflates_to_far_too_much(path: Path, shards: tuple[int] | None) -> None:
    """It is refused by its size, before any of it is inflated."""
    store = MemoryStore()
    zarr.create_array(store, shape=(64,), chunks=(8,), shards=shards, dtype="u1", compressors=None)
    data = {key: value.to_bytes() for key, value in store._store_dict.items()}
    write(path, data | {"c/0": bytes(8 << 20)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(ringio.DecodeError, match=r"c/0: 8388608 bytes, at most \d+ make sense here"):
        ringio_zarr.open_array(path)[:4]


def test_gaps_in_a_shard_that_is_inflated(path: Path) -> None:
    """Writers may leave some."""
    store = MemoryStore()
    array = zarr.create_array(store, shape=(64,), chunks=(8,), shards=(32,), dtype="u1", compressors=None)
    array[...] = np.arange(64)
    data = {key: value.to_bytes() for key, value in store._store_dict.items()}
    index = data["c/0"][-68:]
    data["c/0"] = data["c/0"][:-68] + bytes(1 << 20) + index
    np.testing.assert_array_equal(ringio_zarr.open_array(write(path, data, zipfile.ZIP_DEFLATED))[...], np.arange(64))


METHODS = {"deflate": zipfile.ZIP_DEFLATED, "bzip2": zipfile.ZIP_BZIP2, "lzma": zipfile.ZIP_LZMA}


@pytest.mark.parametrize("method", METHODS)
def test_ways_to_compress(path: Path, method: str) -> None:
    group = ringio_zarr.open_group(write(path, members(), METHODS[method]))
    np.testing.assert_array_equal(group["plain"][:30], VALUES[:30])
    np.testing.assert_array_equal(group["sharded"][...], VALUES)


def change_directory(path: Path, key: str, field: int, value: int) -> None:
    """Write a u32 into the entry of the directory for one member."""
    data = bytearray(path.read_bytes())
    at = data.index(key.encode(), data.index(b"PK\x01\x02")) - 46
    struct.pack_into("<I", data, at + field, value)
    path.write_bytes(data)


def test_many_compressed_members_take_several_threads(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is decompressed as if it were alone, and what is wrong with one is said of that one."""
    values = np.random.default_rng(0).integers(0, 99, (16, 256, 512), dtype="<i2")
    store = MemoryStore()
    zarr.create_array(store, shape=values.shape, chunks=(1, 256, 512), dtype="<i2", compressors=None)[:] = values
    write(path, {key: value.to_bytes() for key, value in store._store_dict.items()}, zipfile.ZIP_DEFLATED)
    threads = set()
    decompress = _zip.decompress

    def noted(*arguments: Any) -> Any:
        threads.add(threading.get_ident())
        return decompress(*arguments)

    with ringio.Reader(workers=4) as reader:
        array = ringio_zarr.open_array(path, reader=reader)
        monkeypatch.setattr(_zip, "decompress", noted)
        np.testing.assert_array_equal(array[...], values)
        assert threading.get_ident() not in threads
        with zipfile.ZipFile(path) as archive:
            member = archive.getinfo("c/5/0/0")
        with path.open("r+b") as file:
            file.seek(member.header_offset + member.compress_size // 2)
            file.write(bytes(64))
        out = np.zeros_like(values)
        array = ringio_zarr.open_array(path, reader=reader)
        with pytest.raises(ringio.DecodeError, match="c/5/0/0: a member"):
            array.get_basic_selection(..., out=out)
        values[5] = 0
        np.testing.assert_array_equal(out, values)


def test_lzma_whose_length_is_known(path: Path) -> None:
    """There is a marker at its end, which one flag says, and need not be said."""
    key = "plain/c/0/0"
    data = members()
    alone = lzma.compress(data[key], lzma.FORMAT_ALONE, filters=[{"id": lzma.FILTER_LZMA1, "preset": 6}])
    assert alone[5:13] == b"\xff" * 8  # the marker is there, and may be where the length is known
    write(path, {**data, key: b"\x09\x04\x05\x00" + alone[:5] + alone[13:]})
    for flags in (0, 2):
        change_directory(path, key, 8, flags | 14 << 16)
        change_directory(path, key, 24, len(data[key]))
        change_directory(path, key, 16, zlib.crc32(data[key]))
        np.testing.assert_array_equal(ringio_zarr.open_group(path)["plain"][:10], VALUES[:10])


def test_zstd(path: Path) -> None:
    key = "plain/c/0/0"
    data = members()
    write(path, {**data, key: bytes(numcodecs.Zstd().encode(data[key]))})
    change_directory(path, key, 8, 93 << 16)
    change_directory(path, key, 24, len(data[key]))
    change_directory(path, key, 16, zlib.crc32(data[key]))
    np.testing.assert_array_equal(ringio_zarr.open_group(path)["plain"][:10], VALUES[:10])


def test_a_method_that_nobody_knows(path: Path) -> None:
    write(path, members(), zipfile.ZIP_DEFLATED)
    change_directory(path, "plain/c/0/0", 8, 98 << 16)
    with pytest.raises(ringio_zarr.UnsupportedError, match=r"plain/c/0/0: .*compression method 98"):
        ringio_zarr.open_group(path)["plain"][:10]


@pytest.mark.parametrize("method", METHODS)
def test_a_member_that_is_not_as_large_as_the_directory_says(path: Path, method: str) -> None:
    """No more is decompressed than the directory says there is."""
    key = "plain/c/0/0"
    for nbytes in (16 << 20, 200):
        write(path, {**members(), key: bytes(nbytes)}, METHODS[method])
        change_directory(path, key, 24, 400)
        tracemalloc.start()
        try:
            with pytest.raises(ringio.DecodeError, match=r"h\.zip/plain/c/0/0: a member of a zip file cannot be read"):
                ringio_zarr.open_group(path)["plain"][:10]
            assert tracemalloc.get_traced_memory()[1] < 4 << 20
        finally:
            tracemalloc.stop()


def test_a_member_that_is_larger_compressed(path: Path) -> None:
    key = "plain/c/0/0"
    write(path, {**members(), key: np.random.default_rng(0).bytes(1 << 20)}, zipfile.ZIP_DEFLATED)
    change_directory(path, key, 24, 400)
    with pytest.raises(ringio_zarr.MetadataError, match=r"plain/c/0/0: .* 400 bytes are compressed to 104"):
        ringio_zarr.open_group(path)["plain"][:10]


def test_an_lzma_dictionary_that_nobody_can_have(path: Path) -> None:
    """It is as large as it can be of use."""
    key = "plain/c/0/0"
    write(path, members(), zipfile.ZIP_LZMA)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo(key).header_offset + 30 + len(key)
    assert data[at + 2 : at + 4] == b"\x05\x00"
    data[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    np.testing.assert_array_equal(ringio_zarr.open_group(path)["plain"][:10], VALUES[:10])


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_member_that_the_disk_does_not_give(
    path: Path, compression: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names it, and is its own: other members are read."""
    array = ringio_zarr.open_array(write(path, members(2), compression), path="plain")
    header = array.store.directory().members["plain/1.1"].header_offset  # type: ignore[attr-defined]
    pread = os.pread

    def failing(descriptor: int, nbytes: int, offset: int) -> bytes:
        if header <= offset <= header + 100:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return pread(descriptor, nbytes, offset)

    monkeypatch.setattr(os, "pread", failing)
    with pytest.raises(OSError, match="Input/output error") as caught:
        array[...]
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, f"{path}/plain/1.1")
    np.testing.assert_array_equal(array[:10], VALUES[:10])
    assert _cli.main(["verify", str(path), "--no-progress"]) == 1
    assert capsys.readouterr().out.count("Input/output error") == 1
