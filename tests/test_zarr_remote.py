"""Hierarchies behind real servers: the same answers, few requests, and errors that say what the server said."""

from __future__ import annotations

import itertools
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.storage import MemoryStore

import ringio
import ringio_zarr
from ringio_zarr import _readers
from servers import Rule

pytestmark = pytest.mark.filterwarnings("ignore::Warning:zarr")

_numbers = itertools.count()
VALUES = np.arange(60 * 40, dtype="<i4").reshape(60, 40)


def items(zarr_format: int = 3, *, consolidate: bool = False, index_location: str = "end") -> dict[str, bytes]:
    """A group with chunks that are objects (the last rows are missing), and shards (v3; the last is missing)."""
    store = MemoryStore()
    root = zarr.create_group(store, zarr_format=zarr_format, attributes={"title": "remote"})
    plain = root.create_array("plain", shape=(60, 40), chunks=(10, 20), dtype="<i4", fill_value=-1)
    plain[:50] = VALUES[:50]
    if zarr_format == 3:
        sharded = root.create_array(
            "sub/sharded",
            shape=(60, 40),
            chunks=(5, 5),
            shards={"shape": (20, 40), "index_location": index_location},
            dtype="<i4",
            fill_value=-1,
            compressors=None,
        )
        sharded[:40] = VALUES[:40]
    if consolidate:
        zarr.consolidate_metadata(store)
    return {key: value.to_bytes() for key, value in store._store_dict.items()}


def expected(name: str) -> Any:
    last = {"plain": 50, "sub/sharded": 40}[name]
    return np.where(np.arange(60)[:, None] < last, VALUES, -1)


def check(array: Any, name: str) -> None:
    want = expected(name)
    for selection in [..., (slice(7, 33), slice(3, 38, 4)), (59, 0), (12, 13)]:
        np.testing.assert_array_equal(array[selection], want[selection])
    starts = np.array([[0, 0], [35, 17], [50, 30]])
    for crop, (row, column) in zip(array.read_crops(starts, (10, 10)), starts, strict=True):
        np.testing.assert_array_equal(crop, want[row : row + 10, column : column + 10])


@pytest.fixture
def reader() -> Iterator[ringio.Reader]:
    with ringio.Reader(workers=2, store_options={"retries": 1}) as reader:
        yield reader


@pytest.fixture
def at_latency(latency: Any) -> Any:
    """Puts a hierarchy there, and gives its URL."""

    def put(data: dict[str, bytes]) -> str:
        folder = f"h{next(_numbers)}.zarr"
        for key, value in data.items():
            latency.put(f"{folder}/{key}", value)
        return str(latency.url(folder))

    return put


def targets(server: Any) -> list[str]:
    """Paths that were asked for, less the folder of the hierarchy."""
    return [each.target.split(".zarr/", 1)[-1] for each in server.requests()]


class TestServers:
    def test_http(self, nginx: Any) -> None:
        """A server that cannot list: members are opened by path, and listed where there is consolidated metadata."""
        for consolidate, key in ((False, "a b+c"), (True, "d")):
            for name, data in items(consolidate=consolidate).items():
                nginx.put(f"zarr/{key}/{name}", data)
        group = ringio_zarr.open_group(nginx.url("zarr/a b+c"))
        check(group["plain"], "plain")
        check(group["sub/sharded"], "sub/sharded")
        with pytest.raises(ringio.StoreError, match="no consolidated metadata"):
            list(group)
        listed = ringio_zarr.open_group(nginx.url("zarr/d"), use_consolidated=True)
        assert list(listed) == ["plain", "sub"]
        check(listed["sub/sharded"], "sub/sharded")
        again = pickle.loads(pickle.dumps(listed["sub"]))
        assert again == listed["sub"]
        assert list(again) == ["sharded"]

    def test_s3(self, moto: Any) -> None:
        moto.make_bucket("zarr")
        for zarr_format in (2, 3):
            for name, data in items(zarr_format).items():
                moto.put("zarr", f"folder/v{zarr_format}/{name}", data)
        options = {name: value for name, value in moto.s3_options.items() if name != "client_options"}
        group = ringio_zarr.open_group("s3://zarr/folder/v3", store_options=options)
        assert [name for name, _ in group.members(max_depth=None)] == ["plain", "sub", "sub/sharded"]
        check(group["plain"], "plain")
        check(group["sub/sharded"], "sub/sharded")
        old = ringio_zarr.open_group("s3://zarr/folder/v2/", store_options=options)
        assert list(old) == ["plain"]
        check(old["plain"], "plain")
        assert pickle.loads(pickle.dumps(old["plain"])) == old["plain"]
        assert pickle.loads(pickle.dumps(old))._options.reader is old._options.reader, "one reader for the same options"
        given = ringio_zarr.open_group(moto.store("zarr"), path="folder/v3")
        assert list(given) == ["plain", "sub"]
        check(given["sub/sharded"], "sub/sharded")
        with pytest.raises(FileNotFoundError, match="no Zarr array or group here") as caught:
            ringio_zarr.open("s3://zarr/nowhere", store_options=options)
        assert caught.value.filename == "s3://zarr/nowhere"
        with pytest.raises(FileNotFoundError):
            ringio_zarr.open("s3://no-such-bucket/x", store_options=options)

    def test_azure(self, azurite: Any) -> None:
        """Azure has no suffix ranges: the size of a shard is asked for first."""
        azurite.make_container("zarr")
        for name, data in items().items():
            azurite.put("zarr", f"h/{name}", data)
        options = {name: value for name, value in azurite.azure_options.items() if name != "client_options"}
        group = ringio_zarr.open_group("az://zarr/h", store_options=options)
        assert list(group) == ["plain", "sub"]
        check(group["plain"], "plain")
        check(group["sub/sharded"], "sub/sharded")


class TestRequests:
    def test_documents_are_asked_for_at_once(self, latency: Any, at_latency: Any, reader: ringio.Reader) -> None:
        url = at_latency(items())
        latency.rules(Rule(delay_s=0.2))
        latency.reset()
        latency.rules(Rule(delay_s=0.2))
        ringio_zarr.open(url, reader=reader)
        assert sorted(targets(latency)) == [".zarray", ".zattrs", ".zgroup", ".zmetadata", "zarr.json"]
        assert latency.seen().most_in_flight == 5

    def test_a_chunk_is_one_request(self, latency: Any, at_latency: Any, reader: ringio.Reader) -> None:
        url = at_latency(items())
        array = ringio_zarr.open_array(f"{url}/plain", reader=reader)
        latency.reset()
        np.testing.assert_array_equal(array[5:15, 0], VALUES[5:15, 0])
        assert sorted(targets(latency)) == ["plain/c/0/0", "plain/c/1/0"]

    @pytest.mark.parametrize("index_location", ["start", "end"])
    def test_a_shard(self, index_location: str, latency: Any, at_latency: Any, reader: ringio.Reader) -> None:
        """Its index comes with one request, and is kept; inner chunks that are near come with one."""
        url = at_latency(items(index_location=index_location))
        array = ringio_zarr.open_array(f"{url}/sub/sharded", reader=reader, cache=ringio_zarr.Cache())
        latency.reset()
        np.testing.assert_array_equal(array[0:5, 0:5], VALUES[0:5, 0:5])
        requests = latency.requests()
        assert len(requests) == (2 if index_location == "end" else 3)
        assert all(each.method == "GET" for each in requests) or index_location == "start"
        latency.reset()
        np.testing.assert_array_equal(array[3:20, 3:20], VALUES[3:20, 3:20])
        assert len(latency.requests()) == 1

    def test_the_state_of_a_shard_is_trusted_for_a_while(
        self, latency: Any, at_latency: Any, reader: ringio.Reader
    ) -> None:
        url = at_latency(items())
        for max_age_s, count in ((None, 1), (0, 2), (1000, 1)):
            array = ringio_zarr.open_array(
                f"{url}/sub/sharded", reader=reader, cache=ringio_zarr.Cache(max_age_s=max_age_s)
            )
            array[0, 0]
            latency.reset()
            array[0, 7]
            assert len(latency.requests()) == count
            array.refresh()
            latency.reset()
            array[0, 7]
            assert len(latency.requests()) == 2

    def test_members_are_loaded_in_one_batch(self, moto: Any) -> None:
        moto.make_bucket("many")
        store = MemoryStore()
        root = zarr.create_group(store)
        for number in range(40):
            root.create_array(f"a{number:02}", shape=(3,), chunks=(3,), dtype="i1")
        for name, value in store._store_dict.items():
            moto.put("many", name, value.to_bytes())
        options = {name: value for name, value in moto.s3_options.items() if name != "client_options"}
        with ringio.Reader(store_options=options) as reader:
            group = ringio_zarr.open_group("s3://many", reader=reader)
            assert [name for name, _ in group.arrays()] == [f"a{number:02}" for number in range(40)]
            assert reader.statistics().peak_in_flight >= 20


class TestChanges:
    def test_a_shard_that_is_replaced(self, latency: Any, at_latency: Any, reader: ringio.Reader) -> None:
        """What is read is of one state, and the present one: the ETag of the chunks says that the index is old."""
        data = items()
        url = at_latency(data)
        folder = url.rpartition("/")[2]
        array = ringio_zarr.open_array(f"{url}/sub/sharded", reader=reader, cache=ringio_zarr.Cache())
        np.testing.assert_array_equal(array[0:10, 0], VALUES[0:10, 0])
        new = MemoryStore()
        root = zarr.create_group(new)
        root.create_array(
            "sub/sharded", shape=(60, 40), chunks=(5, 5), shards=(20, 40), dtype="<i4", fill_value=-1, compressors=None
        )[5:40] = VALUES[5:40] + 1000
        latency.put(f"{folder}/sub/sharded/c/0/0", new._store_dict["sub/sharded/c/0/0"].to_bytes())
        want = np.where(np.arange(20)[:, None] < 5, -1, VALUES[:20] + 1000)
        np.testing.assert_array_equal(array[0:20], want)

    def test_a_shard_that_changes_all_the_time(self, latency: Any, at_latency: Any, reader: ringio.Reader) -> None:
        array = ringio_zarr.open_array(f"{at_latency(items())}/sub/sharded", reader=reader, cache=ringio_zarr.Cache())
        latency.rules(Rule(etag="changing"))
        with pytest.raises(ringio.FileChangedError, match="sub/sharded"):
            array[0:20]

    def test_a_shard_that_goes_and_comes(self, latency: Any, at_latency: Any, reader: ringio.Reader) -> None:
        """A missing shard is asked for each time; one that is gone is missing."""
        data = items()
        first = data.pop("sub/sharded/c/1/0")
        url = at_latency(data)
        array = ringio_zarr.open_array(f"{url}/sub/sharded", reader=reader, cache=ringio_zarr.Cache())
        assert (array[20:40] == -1).all()
        latency.put(f"{url.rpartition('/')[2]}/sub/sharded/c/1/0", first)
        np.testing.assert_array_equal(array[20:40], VALUES[20:40])
        latency.rules(Rule(path=f"/{url.rpartition('/')[2]}/sub/sharded/c/1/0", status=404))
        assert (array[20:40] == -1).all()

    def test_refresh(self, latency: Any, at_latency: Any, reader: ringio.Reader) -> None:
        """The metadata of an array that has grown, and of a group that has one more member."""
        data = items(consolidate=True)
        url = at_latency(data)
        folder = url.rpartition("/")[2]
        group = ringio_zarr.open_group(url, reader=reader)
        array = group["plain"]
        store = MemoryStore()
        root = zarr.create_group(store, attributes={"title": "new"})
        root.create_array("plain", shape=(70, 40), chunks=(10, 20), dtype="<i4", fill_value=-1)
        root.create_array("more", shape=(1,), chunks=(1,), dtype="<i4")
        zarr.consolidate_metadata(store)
        for key, value in store._store_dict.items():
            latency.put(f"{folder}/{key}", value.to_bytes())
        assert array.shape == (60, 40)
        array.refresh()
        assert array.shape == (70, 40)
        assert (array[60:] == -1).all()
        assert "more" not in group
        group.refresh()
        assert list(group) == ["more", "plain"]
        assert group.attrs["title"] == "new"
        latency.rules(Rule(path=f"/{folder}/plain/zarr.json", status=404))
        with pytest.raises(FileNotFoundError):
            array.refresh()
        assert array.shape == (70, 40)


class TestErrors:
    @pytest.mark.parametrize(
        ("status", "error"), [(403, PermissionError), (401, PermissionError), (500, ringio.StoreError)]
    )
    def test_documents(
        self, status: int, error: type[Exception], latency: Any, at_latency: Any, reader: ringio.Reader
    ) -> None:
        url = at_latency(items())
        latency.rules(Rule(path="/h", status=status))
        with pytest.raises(error, match=str(status)) as caught:
            ringio_zarr.open(url, reader=reader)
        assert caught.value.filename.startswith(url)

    def test_no_bucket_is_not_an_empty_one(self, moto: Any) -> None:
        """What the server says of a bucket, or of credentials, is said; only a key that is not there is nothing."""
        options = {name: value for name, value in moto.s3_options.items() if name != "client_options"}
        for location in ("s3://no-such-bucket/x.zarr", "s3://no-such-bucket/x.zip", "s3://no-such-bucket"):
            with pytest.raises(ringio.StoreNotFoundError, match="NoSuchBucket") as caught:
                ringio_zarr.open(location, store_options=options)
            assert isinstance(caught.value, FileNotFoundError)
            assert caught.value.filename.startswith("s3://no-such-bucket")
        with pytest.raises(ringio.StoreNotFoundError, match="NoSuchBucket"):
            ringio_zarr.open(moto.store("no-such-bucket"))
        moto.make_bucket("refused")
        unsigned = {"endpoint": moto.s3_endpoint, "region": "us-east-1", "anonymous": True}
        moto.put("refused", "x/zarr.json", b"{}")
        with pytest.raises(PermissionError, match="403 Forbidden"):
            ringio_zarr.open("s3://refused/x", store_options=unsigned)
        with pytest.raises(ringio.StoreError, match="no such host"):
            ringio_zarr.open("http://no-such-host.invalid/x", store_options={"retries": 0})

    def test_no_container_is_not_an_empty_one(self, azurite: Any) -> None:
        options = {name: value for name, value in azurite.azure_options.items() if name != "client_options"}
        with pytest.raises(ringio.StoreNotFoundError, match="ContainerNotFound"):
            ringio_zarr.open("az://no-such-container/x", store_options=options)

    @pytest.mark.parametrize("name", ["plain", "sub/sharded"])
    def test_a_bucket_that_goes(self, name: str, latency: Any, at_latency: Any, reader: ringio.Reader) -> None:
        """Its chunks are no missing ones, which would be fill value."""
        url = at_latency(items())
        array = ringio_zarr.open_array(f"{url}/{name}", reader=reader, cache=ringio_zarr.Cache())
        body = "<Error><Code>NoSuchBucket</Code><Message>There is none</Message></Error>"
        latency.rules(Rule(path=f"/{url.rpartition('/')[2]}", status=404, body=body))
        for config in ({}, {"read_missing_chunks": False}):
            with pytest.raises(ringio.StoreNotFoundError, match="There is none"):
                array.with_config(config)[:]

    def test_only_absence_is_absence(self, latency: Any, at_latency: Any, reader: ringio.Reader) -> None:
        """A .zgroup that may not be read is an error even where nothing else is there."""
        url = at_latency({"x": b""})
        with pytest.raises(FileNotFoundError, match=r"looked for zarr\.json, \.zarray, \.zgroup"):
            ringio_zarr.open(url, reader=reader)
        latency.rules(Rule(path=f"/{url.rpartition('/')[2]}/.zgroup", status=403))
        with pytest.raises(PermissionError):
            ringio_zarr.open(url, reader=reader)

    def test_chunks(self, latency: Any, at_latency: Any, reader: ringio.Reader) -> None:
        """An error names chunk, array and URL; everything else is read."""
        url = at_latency(items())
        folder = url.rpartition("/")[2]
        group = ringio_zarr.open_group(url, reader=reader, cache=ringio_zarr.Cache())
        latency.rules(Rule(path=f"/{folder}/plain/c/1/0", status=403))
        out = np.zeros((60, 40), "<i4")
        with pytest.raises(PermissionError, match="403") as caught:
            group["plain"].get_basic_selection(..., out=out)
        assert "chunk (1, 0) of " in caught.value.__notes__[0]
        assert caught.value.filename == f"{url}/plain/c/1/0"
        np.testing.assert_array_equal(out[20:], expected("plain")[20:])
        latency.rules(Rule(path=f"/{folder}/sub/sharded/c/1/0", status=403))
        with pytest.raises(PermissionError, match="403") as caught:
            group["sub/sharded"][...]
        assert caught.value.filename == f"{url}/sub/sharded/c/1/0"
        np.testing.assert_array_equal(group["sub/sharded"][:20], VALUES[:20])

    def test_passing_trouble(self, latency: Any, at_latency: Any) -> None:
        group = ringio_zarr.open_group(at_latency(items()), store_options={"retries": 5}, cache=ringio_zarr.Cache())
        latency.rules(
            Rule(every=5, status=503, count=3), Rule(every=7, ending="reset", ending_after_nbytes=20, count=2)
        )
        check(group["sub/sharded"], "sub/sharded")
        check(group["plain"], "plain")

    def test_bad_shards(self, latency: Any, at_latency: Any, reader: ringio.Reader) -> None:
        data = items()
        data["sub/sharded/c/0/0"] = data["sub/sharded/c/0/0"][:-1]
        data["sub/sharded/c/1/0"] = b"short"
        array = ringio_zarr.open_array(f"{at_latency(data)}/sub/sharded", reader=reader)
        with pytest.raises(ringio.DecodeError, match=r"crc32c.*sub/sharded/c/0/0"):
            array[0, 0]
        with pytest.raises(ringio.DecodeError, match="5 bytes cannot hold its index") as caught:
            array[20, 0]
        assert caught.value.path.endswith("sub/sharded/c/1/0")

    def test_urls_that_make_no_sense(self) -> None:
        for url, words in [
            ("gopher://x/y", "not supported"),
            ("https://host/a.zarr?signature=x", "store_options"),
            ("nosuch::s3://bucket/a.zip", "chained"),
            ("zip::dropbox://a.zip", "chained"),
            ("s3:///key", "bucket"),
        ]:
            with pytest.raises(ValueError, match=words):
                ringio_zarr.open(url)
        with pytest.raises(ValueError, match="one or the other"):
            ringio_zarr.open("s3://b", store_options={"retries": 1}, reader=ringio.default_reader())
        with pytest.raises((TypeError, ValueError), match="retries"):
            ringio_zarr.open("s3://b", store_options={"retries": "many"})


def test_threads_share_an_array(latency: Any, at_latency: Any, reader: ringio.Reader) -> None:
    array = ringio_zarr.open_array(f"{at_latency(items())}/sub/sharded", reader=reader, cache=ringio_zarr.Cache())
    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.append(array[...])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for result in results:
        np.testing.assert_array_equal(result, expected("sub/sharded"))
    assert latency.seen().requests


def test_a_dead_reader_that_another_thread_has_removed() -> None:
    def dead() -> None:
        _readers._readers.remove(dead)  # type: ignore[arg-type]  # as the other thread does meanwhile

    _readers._readers.insert(0, dead)  # type: ignore[arg-type]
    with _readers.reader_with({"region": "nowhere-1"}) as reader:
        assert reader.store_options == {"region": "nowhere-1"}  # type: ignore[attr-defined]
    assert dead not in _readers._readers
