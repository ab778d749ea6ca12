"""What there is at URLs: a real server for HTTP, obstore's store in memory for everything that lists."""

from __future__ import annotations

import functools
import http.server
import json
import threading
from collections.abc import Iterator

import fsspec
import pytest
from obstore.store import MemoryStore

import ringio
from ringio import _cli, _locations, _remote_locations, exceptions


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


@pytest.fixture
def bucket(monkeypatch) -> str:
    store = MemoryStore()
    for key in ("a", "sub/b c#1", "sub/deep/d?e", "sub.txt"):
        store.put(key, key.encode())
    monkeypatch.setattr(_remote_locations, "_store_of", lambda root, reader: store)
    return "s3://bucket"


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
            "sub/deep/d?e",
        ]
        assert [meta["path"] for chunk in ringio.Store(f"{bucket}/sub/").list() for meta in chunk] == [
            "b c#1",
            "deep/d?e",
        ]
        found = store.list_with_delimiter("sub")
        assert found["common_prefixes"] == ["sub/deep"]
        assert [meta["path"] for meta in found["objects"]] == ["sub/b c#1"]
        assert store.head("sub/b c#1")["size"] == 9
        with pytest.raises(exceptions.NotFoundError):
            store.head("sub")

    def test_fsspec(self, bucket):
        fs = fsspec.filesystem("ringio")
        assert fs.ls(bucket, detail=False) == [f"{bucket}/a", f"{bucket}/sub", f"{bucket}/sub.txt"]
        assert fs.find(f"ringio://{bucket}/sub") == [f"{bucket}/sub/b c#1", f"{bucket}/sub/deep/d?e"]
        assert fs.isdir(f"{bucket}/sub")
        assert fs.info(f"{bucket}/a")["size"] == 1
        assert not fs.exists(f"{bucket}/nothing")

    def test_ls(self, bucket, capsys):
        assert _cli.main(["ls", f"{bucket}/sub", "--json"]) == 0
        assert [entry["name"] for entry in json.loads(capsys.readouterr().out)] == [
            f"{bucket}/sub/b c#1",
            f"{bucket}/sub/deep",
        ]
        assert _cli.main(["ls", "-r", bucket]) == 0
        assert len(capsys.readouterr().out.splitlines()) == 4
