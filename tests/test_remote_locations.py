"""What there is at URLs: a real server for HTTP, obstore's store in memory for everything that lists."""

from __future__ import annotations

import functools
import http.server
import json
import threading
from collections.abc import Iterator

import fsspec
import pytest

import ringio
from ringio import _cli, _locations, exceptions
from ringio._stores import memory_store


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("http")
    (folder / "a b#1.bin").write_bytes(b"hello")
    (folder / "secret").mkdir()
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_HEAD(self):
        if "secret" in self.path:
            self.send_error(403)
        else:
            super().do_HEAD()


DATA = bytes(range(256)) * 100
KEYS = ("a", "sub/b c#1", "sub/deep/d%20?e", "sub.txt")


@pytest.fixture
def bucket() -> str:
    for key in KEYS:
        memory_store("bucket").put(key, DATA)
    return "memory://bucket"


class TestHttp:
    def test_head(self, url, capsys):
        entry = _locations.look_up(f"{url}/a%20b%231.bin")
        assert (entry.kind, entry.nbytes) == ("file", 5)
        assert entry.name == f"{url}/a%20b%231.bin"
        assert entry.modified is not None
        assert ringio.Store(url).head("a b#1.bin")["size"] == 5
        assert _cli.main(["head", f"{url}/a%20b%231.bin", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["size"] == 5

    def test_missing_and_forbidden(self, url, capsys):
        store = ringio.Store(url)
        with pytest.raises(exceptions.NotFoundError):
            store.head("nothing")
        assert _cli.main(["head", f"{url}/nothing"]) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith(f"ringio: {url}/nothing: ")
        assert captured.err.count("\n") == 1
        with pytest.raises(exceptions.PermissionDeniedError):
            store.head("secret")


class TestListing:
    def test_store(self, bucket):
        store = ringio.Store(bucket)
        assert sorted(meta["path"] for chunk in store.list() for meta in chunk) == [
            "a",
            "sub.txt",
            "sub/b c#1",
            "sub/deep/d%20?e",
        ]
        assert [meta["path"] for chunk in ringio.Store(f"{bucket}/sub/").list() for meta in chunk] == [
            "b c#1",
            "deep/d%20?e",
        ]
        found = store.list_with_delimiter("sub")
        assert found["common_prefixes"] == ["sub/deep"]
        assert [meta["path"] for meta in found["objects"]] == ["sub/b c#1"]
        assert store.head("sub/b c#1")["size"] == len(DATA)
        with pytest.raises(exceptions.NotFoundError):
            store.head("sub")

    def test_fsspec(self, bucket):
        fs = fsspec.filesystem("ringio")
        assert fs.ls(bucket, detail=False) == [f"{bucket}/a", f"{bucket}/sub", f"{bucket}/sub.txt"]
        assert fs.find(f"ringio://{bucket}/sub") == [f"{bucket}/sub/b c#1", f"{bucket}/sub/deep/d%20?e"]
        assert fs.isdir(f"{bucket}/sub")
        assert fs.info(f"{bucket}/a")["size"] == len(DATA)
        assert not fs.exists(f"{bucket}/nothing")

    def test_ls(self, bucket, capsys):
        assert _cli.main(["ls", f"{bucket}/sub", "--json"]) == 0
        assert [entry["name"] for entry in json.loads(capsys.readouterr().out)] == [
            f"{bucket}/sub/b c#1",
            f"{bucket}/sub/deep",
        ]
        assert _cli.main(["ls", "-r", bucket]) == 0
        assert len(capsys.readouterr().out.splitlines()) == 4


class TestReading:
    @pytest.mark.parametrize("key", KEYS)
    def test_store(self, bucket, key):
        store = ringio.Store(bucket)
        assert store.get(key).bytes() == DATA
        assert store.get(key, options={"range": {"suffix": 5}}).bytes() == DATA[-5:]
        assert store.get(key, options={"if_match": store.head(key)["e_tag"]}).range == (0, len(DATA))
        with pytest.raises(exceptions.NotModifiedError):
            store.get(key, options={"if_none_match": store.head(key)["e_tag"]})
        buffers = store.get_ranges(key, starts=[0, 25_590], ends=[3, 99_999])
        assert [bytes(buffer) for buffer in buffers] == [DATA[:3], DATA[25_590:]]
        with pytest.raises(ringio.RangeError, match="25600 bytes"):
            store.get_range(key, start=99_999, end=100_000)

    def test_missing(self, bucket):
        store = ringio.Store(bucket)
        for call in (store.get, store.head, functools.partial(store.get_range, start=0, end=1)):
            with pytest.raises(exceptions.NotFoundError):
                call("nothing")

    async def test_store_async(self, bucket):
        store = ringio.Store(bucket)
        assert bytes(await store.get_range_async("a", start=1, end=4)) == DATA[1:4]
        assert await (await store.get_async("a")).bytes_async() == DATA

    def test_fsspec(self, bucket):
        fs = fsspec.filesystem("ringio")
        ranges = fs.cat_ranges([f"{bucket}/a"] * 3, [0, -5, 10], [5, None, -10])
        assert ranges == [DATA[:5], DATA[-5:], DATA[10:-10]]
        assert fs.cat(f"{bucket}/sub.txt") == DATA
        with fs.open(f"ringio://{bucket}/sub/b c#1") as file:
            file.seek(-3, 2)
            assert file.read() == DATA[-3:]

    def test_command(self, bucket, tmp_path):
        output = tmp_path / "x"
        assert _cli.main(["read", f"{bucket}/a", "-5", "end", "-o", str(output)]) == 0
        assert output.read_bytes() == DATA[-5:]

    def test_options_of_the_reader(self):
        """A listing goes where the reads go: to the endpoint of the reader's store_options, with its credentials."""
        with ringio.Reader(store_options={"endpoint": "http://127.0.0.1:9", "anonymous": True, "retries": 0}) as reader:
            store = ringio.Store("s3://bucket", reader=reader)
            with pytest.raises(OSError, match="refused"):
                store.head("key")
            with pytest.raises(OSError, match="refused"):
                list(store.list())
