"""Zip files at URLs: few requests, nothing read twice, and what happens when they are replaced."""

from __future__ import annotations

import http.server
import io
import pickle
import struct
import threading
import warnings
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.storage import MemoryStore

import ringio
import ringio_zarr
from servers import Rule

pytestmark = pytest.mark.filterwarnings("ignore::Warning:zarr")

VALUES = np.arange(60 * 40, dtype="<i4").reshape(60, 40)


def members(zarr_format: int = 3, scale: int = 1) -> dict[str, bytes]:
    store = MemoryStore()
    root = zarr.create_group(store, zarr_format=zarr_format, attributes={"title": "zipped"})
    root.create_array("plain", shape=(60, 40), chunks=(10, 20), dtype="<i4", fill_value=-1)[:50] = VALUES[:50] * scale
    if zarr_format == 3:
        name = "sub/with a space"
        array = root.create_array(
            name, shape=(60, 40), chunks=(5, 5), shards=(20, 40), dtype="<i4", compressors=None, fill_value=-1
        )
        array[:40] = VALUES[:40] * scale
    return {key: value.to_bytes() for key, value in store._store_dict.items()}


def expected(last: int, scale: int = 1) -> Any:
    return np.where(np.arange(60)[:, None] < last, VALUES * scale, -1)


def zipped(data: dict[str, bytes], compression: int = zipfile.ZIP_STORED, **options: Any) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for key, value in data.items():
            with archive.open(key, "w", **options) as member:
                member.write(value)
    return file.getvalue()


def check(group: Any, scale: int = 1) -> None:
    for path, last in (("plain", 50), ("sub/with a space", 40)):
        want = expected(last, scale)
        for selection in [..., (slice(7, 33), slice(3, 38, 4)), (59, 0), (12, 13)]:
            np.testing.assert_array_equal(group[path][selection], want[selection])
        starts = np.array([[0, 0], [35, 17], [50, 30]])
        for crop, (row, column) in zip(group[path].read_crops(starts, (10, 10)), starts, strict=True):
            np.testing.assert_array_equal(crop, want[row : row + 10, column : column + 10])


@pytest.fixture
def reader() -> Iterator[ringio.Reader]:
    with ringio.Reader(workers=2, store_options={"retries": 1}) as reader:
        yield reader


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("options", [{}, {"force_zip64": True}])
def test_http(nginx: Any, compression: int, options: dict[str, Any]) -> None:
    """Members are listed, as the directory names them all; the URL may go on below the file."""
    url = nginx.put(f"zips/http {compression}{len(options)}/a b.zip", zipped(members(), compression, **options))
    group = ringio_zarr.open_group(url)
    assert [name for name, _ in group.members(max_depth=None)] == ["plain", "sub", "sub/with a space"]
    assert dict(group.attrs) == {"title": "zipped"}
    check(group)
    array = ringio_zarr.open_array(f"{url}/sub/with%20a%20space")
    np.testing.assert_array_equal(array[...], expected(40))
    again = pickle.loads(pickle.dumps(array))
    assert again == array
    np.testing.assert_array_equal(again[3], expected(40)[3])
    assert repr(group.store) == f"RemoteZipStore({url!r})"
    assert group["plain"].nchunks_initialized == 10
    assert ringio_zarr.open_array(url, path="plain") == group["plain"]


def test_s3(moto: Any) -> None:
    moto.make_bucket("zips")
    moto.put("zips", "deep/a.zip", zipped(members()))
    options = {name: value for name, value in moto.s3_options.items() if name != "client_options"}
    check(ringio_zarr.open_group("s3://zips/deep/a.zip", store_options=options))
    with pytest.raises(FileNotFoundError):
        ringio_zarr.open("s3://zips/deep/none.zip", store_options=options)


def test_azure(azurite: Any) -> None:
    """Azure has no suffix ranges: the size of the file is asked for first."""
    azurite.make_container("zips")
    azurite.put("zips", "a.zip", zipped(members(2)))
    options = {name: value for name, value in azurite.azure_options.items() if name != "client_options"}
    group = ringio_zarr.open_group("az://zips/a.zip", store_options=options)
    np.testing.assert_array_equal(group["plain"][...], expected(50))


def test_a_folder_of_that_name(nginx: Any) -> None:
    for key, value in members().items():
        nginx.put(f"zips/folder.zip/{key}", value)
    check(ringio_zarr.open_group(nginx.url("zips/folder.zip")))


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A server that makes pages of folders."""

    def log_message(self, *arguments: Any) -> None:
        pass


def test_a_folder_of_that_name_whose_page_is_html(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "folder.zip" / "a", shape=(4,), chunks=(2,), dtype="i4")[:] = 1
    zarr.create_group(tmp_path / "group.zip", attributes={"title": "folder"})
    (tmp_path / "empty.zip").mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_address[1]}"
        assert ringio_zarr.open_array(f"{base}/folder.zip/a").shape == (4,)
        assert dict(ringio_zarr.open_group(f"{base}/group.zip").attrs) == {"title": "folder"}
        for url in ("empty.zip", "empty.zip/a"):
            with pytest.raises(ringio.StoreError, match=r"does not give byte ranges.*empty\.zip'"):
                ringio_zarr.open(f"{base}/{url}")
        server.shutdown()


def test_a_server_without_byte_ranges(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped(members()))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(ringio.StoreError, match=r"does not give byte ranges.*a\.zip'"):
            ringio_zarr.open(f"http://127.0.0.1:{server.server_address[1]}/a.zip")
        server.shutdown()


def test_no_zip_file(nginx: Any) -> None:
    url = nginx.put("zips/text.zip", b"this is no zip file")
    with pytest.raises(ringio_zarr.MetadataError, match=r"text\.zip: not a zip file that can be read"):
        ringio_zarr.open(url)
    with pytest.raises(FileNotFoundError):
        ringio_zarr.open(nginx.url("zips/none.zip"))


def test_requests(latency: Any, reader: ringio.Reader) -> None:
    """One for the directory, one for what is read next, chunks or an index; headers are not looked at."""
    latency.put("requests/a.zip", zipped(members()))
    group = ringio_zarr.open_group(str(latency.url("requests/a.zip")), reader=reader)
    assert len(latency.requests()) == 2  # the directory; the document of the group
    latency.reset()
    array = group["plain"]
    assert len(latency.requests()) == 1
    latency.reset()
    np.testing.assert_array_equal(array[:10, :20], VALUES[:10, :20])
    assert len(latency.requests()) == 1
    latency.reset()
    array = group["sub/with a space"]
    latency.reset()
    for counts in (2, 1):  # the index, which is known then
        np.testing.assert_array_equal(array[3, :5], VALUES[3, :5])
        assert len(latency.requests()) == counts
        latency.reset()
    assert "missing" not in group
    assert latency.requests() == []


def test_a_long_directory(latency: Any, reader: ringio.Reader) -> None:
    """More than what is asked for at first: one more request."""
    data = {f"{'x' * 200}{number}": b"" for number in range(3000)}
    latency.put("long/a.zip", zipped({**members(), **data}))
    group = ringio_zarr.open_group(str(latency.url("long/a.zip")), reader=reader)
    assert len(latency.requests()) == 3
    check(group)


def test_members_that_were_written_twice(nginx: Any) -> None:
    """The last one of a name counts, and its data does not begin behind the one before."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there already
        for scale in (2, 1):
            for key, value in members(scale=scale).items():
                archive.writestr(key, value)
    check(ringio_zarr.open_group(nginx.put("zips/twice.zip", file.getvalue())))


def test_headers_that_are_longer_than_the_directory_says(nginx: Any) -> None:
    """They are looked at where something does not add up."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number, (key, value) in enumerate(members().items()):
            info = zipfile.ZipInfo(key)
            info.extra = struct.pack("<HH", 0x6666, number) + bytes(number)
            archive.writestr(info, value)
    data = bytearray(file.getvalue())
    url = nginx.put("zips/extra.zip", bytes(data))
    check(ringio_zarr.open_group(url))
    at = data.index(b"plain/c/0/0", data.index(b"PK\x01\x02")) - 46
    struct.pack_into("<I", data, at + 42, 5)
    group = ringio_zarr.open_group(nginx.put("zips/wrong.zip", bytes(data)))
    with pytest.raises(ringio_zarr.MetadataError, match=r"wrong\.zip/plain/c/0/0: .*no header"):
        group["plain"][:5, :5]
    np.testing.assert_array_equal(group["plain"][10:20], VALUES[10:20])


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("path", ["plain", "sub/with a space"])
def test_a_file_that_is_replaced(nginx: Any, compression: int, path: str, reader: ringio.Reader) -> None:
    """By one whose members are elsewhere."""
    name = f"zips/replaced {compression} {path.replace('/', ' ')}.zip"
    url = nginx.put(name, zipped(members(), compression))
    array = ringio_zarr.open_array(url, path=path, reader=reader)
    last = 50 if path == "plain" else 40
    np.testing.assert_array_equal(array[...], expected(last))
    nginx.put(name, zipped({"zzz": b"x" * 1000, **dict(reversed(members(scale=3).items()))}, compression))
    np.testing.assert_array_equal(array[...], expected(last, 3))
    nginx.put(name, zipped(members(scale=5), compression))
    array.refresh()
    np.testing.assert_array_equal(array[...], expected(last, 5))


def test_faults(latency: Any, reader: ringio.Reader) -> None:
    """What the server says is told, with the URL; other members are read."""
    latency.put("faults/a.zip", zipped(members()))
    url = str(latency.url("faults/a.zip"))
    group = ringio_zarr.open_group(url, reader=reader)
    array = group["plain"]
    latency.rules(Rule(status=500))
    with pytest.raises(ringio.StoreError, match=r"faults/a\.zip"):
        array[...]
    with pytest.raises(ringio.StoreError, match=r"faults/a\.zip"):
        ringio_zarr.open_group(url, reader=reader)
    latency.reset()
    np.testing.assert_array_equal(array[...], expected(50))


def test_flipped_bytes(nginx: Any, reader: ringio.Reader) -> None:
    """Right values, or an exception that names the file."""
    for seed in range(20):
        data = bytearray(zipped(members(), (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[seed % 2]))
        random = np.random.default_rng(seed)
        for at in random.integers(data.rindex(b"PK\x01\x02") - 1500, len(data), 3).tolist():
            data[at] ^= int(random.integers(1, 256))
        url = nginx.put("zips/flipped.zip", bytes(data))
        problem = ""
        try:
            group = ringio_zarr.open_group(url, reader=reader)
            for path in ("plain", "sub/with a space"):
                assert group[path][...].shape == (60, 40)
        except (ringio.RingioError, OSError, KeyError) as error:
            problem = str(error)
        assert not problem or "flipped.zip" in problem
