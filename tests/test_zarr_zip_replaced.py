"""Zip files at URLs that are replaced: between reads, by other threads, and where nothing tells states apart."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import ringio
import ringio_zarr
from ringio_zarr import _zip_remote
from servers import Rule
from test_zarr_zip_remote import expected, members, zipped

pytestmark = pytest.mark.filterwarnings("ignore::Warning:zarr")

COMPRESSIONS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]
PATHS = {"plain": 50, "sub/with a space": 40}  # and how many rows of each are stored


def states(compression: int) -> tuple[bytes, bytes]:
    """Two zip files of one size, whose members are elsewhere and have values of their own."""
    old = zipped(members(), compression)
    new = zipped({"zzz": b"x" * 1000, **dict(reversed(members(scale=3).items()))}, compression)
    nbytes = max(len(old), len(new))
    return commented(old, nbytes), commented(new, nbytes)


def commented(data: bytes, nbytes: int) -> bytes:
    """A zip file with a comment that makes it so long."""
    missing = nbytes - len(data)
    return data[:-2] + struct.pack("<H", missing) + b" " * missing


@pytest.fixture
def reader() -> Iterator[ringio.Reader]:
    with ringio.Reader(workers=2, store_options={"retries": 1}) as reader:
        yield reader


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_server_that_tells_no_states(latency: Any, compression: int, reader: ringio.Reader) -> None:
    """It gives neither ETags nor times: what it says of a file is its size, which stays."""
    latency.rules(Rule(etag="", headers={"Last-Modified": ""}))
    old, new = states(compression)
    url = str(latency.put(f"states/{compression}.zip", old))
    group = ringio_zarr.open_group(url, reader=reader)
    arrays = {path: group[path] for path in PATHS}
    for data, scale in ((old, 1), (new, 3), (old, 1)):
        latency.put(f"states/{compression}.zip", data)
        for path, last in PATHS.items():
            np.testing.assert_array_equal(arrays[path][...], expected(last, scale))
            np.testing.assert_array_equal(arrays[path][12, 13], expected(last, scale)[12, 13])
        assert [name for name, _ in group.members()] == ["plain", "sub"]
        assert ("zzz" in [name for name, _ in group.store.files_below("", reader)]) == (scale == 3)


def test_only_the_given_reader_asks(latency: Any, reader: ringio.Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where there is nothing in the file: another one may not be allowed to."""
    latency.rules(Rule(etag="", headers={"Last-Modified": ""}))
    url = str(latency.put("states/given.zip", zipped(members())))
    monkeypatch.setattr(_zip_remote, "default_reader", lambda: pytest.fail("the shared reader"))
    with pytest.raises(FileNotFoundError, match="nothing at this path"):
        ringio_zarr.open(f"{url}/nothing", reader=reader)


def test_a_damaged_member_where_no_states_are_told(latency: Any, reader: ringio.Reader) -> None:
    """It may be of a file that was replaced: it is read once more, and said to be damaged then."""
    latency.rules(Rule(etag="", headers={"Last-Modified": ""}))
    data = bytearray(zipped(members(), zipfile.ZIP_DEFLATED))
    data[data.index(b"plain/c/0/0") + 20] ^= 0xFF
    url = str(latency.put("states/damaged.zip", bytes(data)))
    array = ringio_zarr.open_array(url, path="plain", reader=reader)
    with pytest.raises(ringio.DecodeError, match=r"damaged\.zip/plain/c/0/0"):
        array[...]
    np.testing.assert_array_equal(array[10:20], expected(50)[10:20])


@pytest.mark.parametrize("path", PATHS)
def test_a_thread_that_keeps_what_it_has_read_long_ago(
    latency: Any, path: str, reader: ringio.Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where members are, and of which state of the file, is of one directory."""
    old, new = states(zipfile.ZIP_STORED)
    url = str(latency.put("states/late.zip", old))
    array = ringio_zarr.open_array(url, path=path, reader=reader)
    late = array.store.directory(reader)
    latency.put("states/late.zip", new)
    array.store.refresh()
    directory = _zip_remote.RemoteZipStore.directory

    def interrupted(store: Any, reader: Any = None) -> Any:
        found = directory(store, reader)
        store._directory = late
        return found

    monkeypatch.setattr(_zip_remote.RemoteZipStore, "directory", interrupted)
    np.testing.assert_array_equal(array[...], expected(PATHS[path], 3))


@pytest.mark.parametrize("path", PATHS)
def test_a_file_that_another_thread_has_found_replaced(
    latency: Any, path: str, reader: ringio.Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Members that were read in between are not damaged."""
    old, new = states(zipfile.ZIP_DEFLATED)
    url = str(latency.put("states/found.zip", old))
    array = ringio_zarr.open_array(url, path=path, reader=reader)
    store = array.store
    encoded = _zip_remote._RemoteDirectory.encoded
    waiting = [new, old]

    def interrupted(directory: Any, members: Any, reader: Any) -> Iterator[Any]:
        if members and waiting:
            latency.put("states/found.zip", waiting.pop(0))
            store._directory = _zip_remote._read(url, reader)
        return encoded(directory, members, reader)

    monkeypatch.setattr(_zip_remote._RemoteDirectory, "encoded", interrupted)
    waiting[1:] = []
    np.testing.assert_array_equal(array[...], expected(PATHS[path], 3))
    waiting.append(old)
    assert ringio_zarr.open_array(store, path=path, reader=reader) == array
    assert not waiting
    np.testing.assert_array_equal(array[...], expected(PATHS[path]))


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_file_that_gets_shorter(latency: Any, compression: int, reader: ringio.Reader) -> None:
    """What was read of it lies behind its end."""
    long = {"aaa": np.random.default_rng(1).bytes(50_000), **members()}
    url = str(latency.put(f"states/short{compression}.zip", zipped(long, compression)))
    arrays = [ringio_zarr.open_array(url, path=path, reader=reader) for path in PATHS]
    for array in arrays:
        array.store.directory(reader)
    latency.put(f"states/short{compression}.zip", zipped(members(scale=3), compression))
    for array, last in zip(arrays, PATHS.values(), strict=True):
        np.testing.assert_array_equal(array[...], expected(last, 3))


def test_a_shard_whose_index_is_not_known_yet(latency: Any, reader: ringio.Reader) -> None:
    """That the file was replaced is found out when the index is read."""
    old, new = states(zipfile.ZIP_STORED)
    url = str(latency.put("states/index.zip", old))
    array = ringio_zarr.open_array(url, path="sub/with a space", reader=reader)
    np.testing.assert_array_equal(array[:20], expected(40)[:20])
    latency.put("states/index.zip", new)
    np.testing.assert_array_equal(array[20:40], expected(40, 3)[20:40])
