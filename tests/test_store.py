"""Goal: ``ringio.Store`` is what obspec asks for, and gives what obstore's ``LocalStore`` gives of the same folder."""

from __future__ import annotations

import asyncio
import functools
import os
import pickle
from datetime import timedelta
from pathlib import Path

import numpy as np
import obspec
import obspec.exceptions
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import LocalStore

import ringio
from ringio import exceptions

DATA = bytes(range(256)) * 40


def fill(folder: Path) -> None:
    (folder / "sub/deep").mkdir(parents=True)
    (folder / "empty_folder").mkdir()
    (folder / "data").write_bytes(DATA)
    (folder / "empty").write_bytes(b"")
    (folder / "sub.txt").write_bytes(b"between sub and what is in it")
    (folder / "sub/b.txt").write_bytes(b"hello")
    (folder / "sub/deep/c").write_bytes(b"c")
    (folder / ".hidden").write_bytes(b"h")
    (folder / "pct%20 é").write_bytes(b"spaces")
    (folder / "link").symlink_to("data")
    (folder / "link_out").symlink_to(folder.parent / "outside")
    (folder / "link_folder").symlink_to("sub")
    (folder / "link_nowhere").symlink_to("nowhere")
    (folder.parent / "outside").write_bytes(b"outside")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("store") / "root"
    folder.mkdir()
    fill(folder)
    return folder


@pytest.fixture(scope="module")
def peer(folder):
    return LocalStore(folder)


@pytest.fixture(scope="module")
def store(folder):
    return ringio.Store(folder)


def names(chunks) -> list[str]:
    return [meta["path"] for chunk in chunks for meta in chunk]


def outcome(function):
    """What a call gives, or which of obspec's errors."""
    try:
        return function()
    except Exception as error:
        return type(obspec.exceptions.map_exception(error)).__name__


PATHS = ["data", "/data", "data/", "empty", "sub/b.txt", "link", "link_out", "link_folder/deep/c", ".hidden"]
MISSING = ["sub", "sub/", "nowhere", "nowhere/x", "link_nowhere", "link_folder", "empty_folder"]


class TestAsObstore:
    @pytest.mark.parametrize("path", [*PATHS, "pct%20 é"])
    def test_objects(self, store, peer, path):
        assert store.head(path) == peer.head(path)
        mine, other = store.get(path), peer.get(path)
        assert mine.meta == other.meta
        assert mine.range == other.range
        assert mine.attributes == other.attributes
        assert mine.bytes() == bytes(mine.buffer()) == bytes(other.bytes())

    @pytest.mark.parametrize("path", MISSING)
    def test_no_object(self, store, peer, path):
        for call in (store.head, store.get, peer.head, peer.get):
            assert outcome(functools.partial(call, path)) == "NotFoundError"

    @pytest.mark.parametrize("path", ["..", "../outside", "sub/../data", ".", "./data", "sub//b.txt", "//data", "a\0b"])
    def test_no_path_leads_out(self, store, peer, path):
        byte = functools.partial(store.get_range, start=0, length=1)
        for call in (store.head, store.get, store.list, store.list_with_delimiter, byte):
            with pytest.raises(exceptions.InvalidPathError):
                call(path)
        with pytest.raises(ValueError):
            peer.head(path)

    @pytest.mark.parametrize(
        "prefix", [None, "", "/", "sub", "sub/", "/sub", "su", "sub.txt", "nowhere", "link_folder"]
    )
    def test_listing(self, store, peer, prefix):
        mine = names(store.list(prefix))
        assert mine == sorted(names(peer.list(prefix)))
        objects = {meta["path"]: meta for chunk in peer.list(prefix) for meta in chunk}
        assert all(objects[meta["path"]] == meta for chunk in store.list(prefix) for meta in chunk)
        for offset in ("", "sub", "sub.txt", "sub/b.txt", "zzz"):
            expected = sorted(names(peer.list(prefix, offset=offset)))
            assert names(store.list(prefix, offset=offset)) == expected, offset
        one, other = store.list_with_delimiter(prefix), peer.list_with_delimiter(prefix)
        assert sorted(one["common_prefixes"]) == sorted(other["common_prefixes"])
        assert sorted(map(str, one["objects"])) == sorted(map(str, other["objects"]))

    @pytest.mark.parametrize(
        "wanted",
        [(0, 10), [5, 7], (10230, 99999), {"offset": 10200}, {"suffix": 7}, {"suffix": 0}, {"suffix": 99999}, None],
    )
    def test_range_of_get(self, store, peer, wanted):
        options = {} if wanted is None else {"range": wanted}
        mine, other = store.get("data", options=options), peer.get("data", options=options)
        assert mine.range == other.range
        assert mine.bytes() == bytes(other.bytes())
        assert mine.meta["size"] == len(DATA)

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 11_000), st.integers(0, 500)), max_size=20))
    def test_ranges(self, folder, pairs):
        """Of each range the same bytes or an error, as get_range of LocalStore; one bad one is an error of them all."""
        store, peer = ringio.Store(folder), LocalStore(folder)
        starts, lengths = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        ends = [start + length for start, length in pairs]
        good = all(length and start < len(DATA) for start, length in pairs)
        for given_as in ({"ends": ends}, {"lengths": lengths}):
            try:
                buffers = store.get_ranges("data", starts=starts, **given_as)
            except ringio.RangeError:
                assert not good
            else:
                assert good
                assert [bytes(b) for b in buffers] == [
                    bytes(peer.get_range("data", start=start, end=end)) for start, end in zip(starts, ends, strict=True)
                ]
        for start, length in pairs[:3]:
            mine = outcome(lambda s=start, n=length: bytes(store.get_range("data", start=s, length=n)))
            other = outcome(lambda s=start, n=length: bytes(peer.get_range("data", start=s, length=n)))
            assert mine == other or (mine == "RangeError" and other in ("ValueError", "GenericError"))


class TestConditions:
    def test_e_tag(self, store, peer):
        e_tag = store.head("data")["e_tag"]
        for options, good in [
            ({"if_match": "*"}, True),
            ({"if_match": e_tag}, True),
            ({"if_match": f'"x", {e_tag}'}, True),
            ({"if_match": '"x"'}, False),
            ({"if_none_match": '"x"'}, True),
            ({"if_none_match": f'"x",{e_tag}'}, False),
            ({"if_none_match": "*"}, False),
        ]:
            mine = outcome(lambda o=options: store.get("data", options=o).bytes())
            assert mine == outcome(lambda o=options: bytes(peer.get("data", options=o).bytes()))
            assert (mine == DATA) == good, options

        assert store.get("data", options={"if_match": None, "version": None}).bytes() == DATA  # obspec allows None

    def test_time(self, store):
        modified = store.head("data")["last_modified"]
        for seconds, unmodified, is_modified in [(-1, False, True), (0, True, False), (1, True, False)]:
            time = modified + timedelta(seconds=seconds)
            got = outcome(lambda t=time: store.get("data", options={"if_unmodified_since": t}).range)
            assert got == ((0, len(DATA)) if unmodified else "PreconditionError")
            got = outcome(lambda t=time: store.get("data", options={"if_modified_since": t}).range)
            assert got == ((0, len(DATA)) if is_modified else "NotModifiedError")
        with pytest.raises(ValueError, match="time zone"):
            store.get("data", options={"if_modified_since": modified.replace(tzinfo=None)})

    def test_no_content(self, store):
        result = store.get("data", options={"head": True})
        assert result.meta["size"] == len(DATA)
        assert result.bytes() == b""

    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"range": (5, 5)}, ringio.RangeError),
            ({"range": (7, 3)}, ringio.RangeError),
            ({"range": (len(DATA), len(DATA) + 1)}, ringio.RangeError),
            ({"range": {"offset": len(DATA)}}, ringio.RangeError),
            ({"range": (-5, 3)}, ValueError),
            ({"range": {"suffix": -1}}, ValueError),
            ({"range": "0-5"}, ValueError),
            ({"rnage": (0, 5)}, ValueError),
            ({"version": "3"}, exceptions.NotSupportedError),
        ],
    )
    def test_nonsense(self, store, options, error):
        with pytest.raises(error):
            store.get("data", options=options)


class TestBytes:
    def test_buffers(self, store):
        buffers = store.get_ranges("data", starts=np.array([0, 256]), lengths=np.array([4, 4]))
        assert len(buffers) == 2
        for buffer in (buffers[1], store.get_range("data", start=0, end=4), store.get("data").buffer()):
            view = memoryview(buffer)
            assert view.readonly
            assert bytes(view[:4]) == b"\0\1\2\3"
        assert list(store.get_ranges("data", starts=[], ends=[])) == []

    def test_stream(self, store):
        pieces = list(store.get("data", options={"range": (1, 5000)}).stream(min_chunk_size=1000))
        assert [len(piece) for piece in pieces] == [1000, 1000, 1000, 1000, 999]
        assert b"".join(pieces) == DATA[1:5000]
        assert b"".join(store.get("data")) == DATA
        with pytest.raises(ValueError):
            store.get("data").stream(min_chunk_size=0)

    @pytest.mark.parametrize(
        "arguments",
        [
            {"starts": [0]},
            {"starts": [0], "ends": [1], "lengths": [1]},
            {"starts": [0, 1], "ends": [1]},
            {"starts": [-1], "ends": [1]},
            {"starts": [2], "ends": [2]},
            {"starts": [2], "lengths": [-1]},
        ],
    )
    def test_ranges_that_make_no_sense(self, store, arguments):
        with pytest.raises(ValueError):
            store.get_ranges("data", **arguments)

    def test_the_error_says_the_size(self, store):
        with pytest.raises(ringio.RangeError, match="begins at 10240, but the object has 10240 bytes") as caught:
            store.get_ranges("data", starts=[0, 10240], ends=[1, 10241])
        assert caught.value.nbytes == len(DATA)

    def test_a_file_that_changes(self, tmp_path):
        """After get() the file is replaced: an error, not the bytes of one with the ETag of the other."""
        path = tmp_path / "x"
        path.write_bytes(b"old")
        result = ringio.Store(tmp_path).get("x")
        assert result.bytes() == b"old"
        (tmp_path / "y").write_bytes(b"new")
        (tmp_path / "y").replace(path)
        with pytest.raises(ringio.FileChangedError) as caught:
            result.bytes()
        assert caught.value.__cause__ is None
        path.unlink()
        with pytest.raises(exceptions.NotFoundError):
            result.bytes()


class TestErrors:
    def test_prefix(self, folder):
        with pytest.raises(exceptions.NotFoundError):
            ringio.Store(folder / "nowhere")
        with pytest.raises(NotADirectoryError):
            ringio.Store(folder / "data")

    def test_names(self):
        """Each error of obspec that a reader can have is here under its name, and is found by map_exception."""
        for name in exceptions.__all__:
            kind = getattr(exceptions, name)
            assert issubclass(kind, ringio.RingioError)
            if name != "BaseError":
                assert type(obspec.exceptions.map_exception(kind("x"))) is getattr(obspec.exceptions, name)

    def test_not_a_regular_file(self, tmp_path):
        os.mkfifo(tmp_path / "fifo")
        store = ringio.Store(tmp_path)
        for call in (store.head, store.get):
            with pytest.raises(exceptions.NotFoundError, match="regular"):
                call("fifo")
        with pytest.raises(OSError, match="regular"):
            store.get_range("fifo", start=0, end=1)
        assert names(store.list()) == []

    def test_a_link_in_a_circle(self, tmp_path):
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub/loop").symlink_to("..")
        (tmp_path / "self").symlink_to("self")
        store = ringio.Store(tmp_path)
        with pytest.raises(OSError, match="link"):
            names(store.list())
        assert store.list_with_delimiter()["common_prefixes"] == ["sub"]

    def test_names_that_obstore_refuses(self, tmp_path):
        """Line breaks, and what looks like a multipart upload of obstore's, are names like others."""
        for name in ("a\nb", "x#2", "tab\t", os.fsdecode(b"\xff")):
            (tmp_path / name).write_bytes(b"x")
            assert ringio.Store(tmp_path).get(name).bytes() == b"x"
        assert len(names(ringio.Store(tmp_path).list())) == 4


class TestAsync:
    async def test_twins(self, store):
        assert await store.head_async("data") == store.head("data")
        assert await (await store.get_async("data")).bytes_async() == DATA
        result = await store.get_async("data", options={"range": (0, 5000)})
        assert [len(piece) async for piece in result.stream(min_chunk_size=2000)] == [2000, 2000, 1000]
        assert b"".join([bytes(piece) async for piece in result]) == DATA[:5000]
        assert bytes(await store.get_range_async("data", start=5, length=3)) == DATA[5:8]
        buffers = await store.get_ranges_async("data", starts=[0, 10], ends=[5, 99999])
        assert [bytes(buffer) for buffer in buffers] == [DATA[:5], DATA[10:]]
        assert [chunk async for chunk in store.list_async("sub")] == list(store.list("sub"))
        assert await store.list_with_delimiter_async("sub") == store.list_with_delimiter("sub")

    async def test_errors(self, store):
        with pytest.raises(exceptions.NotFoundError):
            await store.head_async("nowhere")
        with pytest.raises(exceptions.NotFoundError):
            await store.get_ranges_async("nowhere", starts=[0], ends=[1])
        with pytest.raises(ringio.RangeError):
            await store.get_range_async("data", start=99999, length=1)

    async def test_many_at_once(self, store):
        got = await asyncio.gather(*[store.get_range_async("data", start=i, length=9) for i in range(200)])
        assert [bytes(buffer) for buffer in got] == [DATA[i : i + 9] for i in range(200)]


class TestTheStoreItself:
    def test_pickle(self, store, folder):
        for one in (store, ringio.Store(folder, reader=ringio.default_reader())):
            other = pickle.loads(pickle.dumps(one))
            assert other == one
            assert hash(other) == hash(one)
            assert other.get("sub/b.txt").bytes() == b"hello"
        assert repr(store) == f"ringio.Store({str(folder)!r})"

    def test_relative_and_url(self, folder, monkeypatch):
        monkeypatch.chdir(folder.parent)
        store = ringio.Store("root")
        monkeypatch.chdir("/")
        assert store == ringio.Store(f"file://{folder}")
        assert store.get("sub/b.txt").bytes() == b"hello"

    def test_reader(self, folder):
        with ringio.Reader("memory", workers=1) as reader:
            ringio.Store(folder, reader=reader).get("data").buffer()
            assert reader.statistics().bytes_asked == len(DATA)

    def test_a_long_listing_comes_in_pieces(self, tmp_path):
        for i in range(2500):
            (tmp_path / f"{i:04}").touch()
        assert [len(chunk) for chunk in ringio.Store(tmp_path).list()] == [1000, 1000, 500]


def test_it_has_the_protocols_of_obspec(store):
    """mypy checks the signatures, in _store.py; here, that each method is there at run time."""
    for protocol in PROTOCOLS:
        wanted = {name for name in vars(protocol) if not name.startswith("_")}
        assert wanted
        assert all(callable(getattr(store, name)) for name in wanted)


PROTOCOLS = [
    obspec.Get,
    obspec.GetAsync,
    obspec.GetRange,
    obspec.GetRangeAsync,
    obspec.GetRanges,
    obspec.GetRangesAsync,
    obspec.Head,
    obspec.HeadAsync,
    obspec.List,
    obspec.ListAsync,
    obspec.ListWithDelimiter,
    obspec.ListWithDelimiterAsync,
]
