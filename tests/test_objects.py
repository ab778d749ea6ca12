"""Objects in stores: the same ranges, the same bytes and the same errors as of local files."""

from __future__ import annotations

import asyncio
import doctest
import errno
import gc
import itertools
import os
import pickle
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from obstore.store import HTTPStore, LocalStore, MemoryStore, S3Store

import ringio
from ringio import _cli, codecs
from ringio.testing import memory_store
from servers import Rule
from servers.latency import pattern

NBYTES = 1 << 20


@pytest.fixture
def reader():
    """A reader of its own, so that counters begin at 0."""
    with ringio.Reader(workers=2, store_options={"retries": 2}) as reader:
        yield reader


@pytest.fixture
def big(latency):
    """The URL of an object of 1 MiB."""
    return latency.put_pattern("big.bin", NBYTES)


def read(reader, ranges, **options):
    return [bytes(buffer) for buffer in reader.read_ranges(ranges, **options)]


def error_of(reader, *range_, **options):
    """The one error of one range, given and raised."""
    (error,) = reader.read_ranges([range_], on_error="return", **options).errors.values()
    with pytest.raises(type(error)):
        reader.read_ranges([range_], **options)
    return error


class TestRanges:
    def test_all_kinds(self, reader, big):
        ranges = [(big, 0, 10), (big, 100, 0), (big, -7, None), (big, -10, 4), (big, NBYTES - 3, None), (big, 5, 10)]
        expected = [(0, 10), (100, 0), (NBYTES - 7, 7), (NBYTES - 10, 4), (NBYTES - 3, 3), (5, 10)]
        assert read(reader, ranges) == [pattern(start, nbytes) for start, nbytes in expected]

    def test_files_and_objects_in_one_batch(self, reader, big, make_file):
        path, data = make_file(5000)
        memory_store("mixed").put("a", b"abcdef")
        ranges = [(big, 9, 20), (path, 10, 20), ("memory://mixed/a", 1, 3), (path, -5, None), (big, 0, 1)]
        expected = [pattern(9, 20), data[10:30], b"bcd", data[-5:], pattern(0, 1)]
        assert read(reader, ranges) == expected
        out = np.zeros(49, np.uint8)
        reader.read_ranges(ranges, out=out)
        assert bytes(out) == b"".join(expected)

    @given(
        st.lists(
            st.tuples(st.integers(-2100, 2100), st.none() | st.integers(0, 2100)),
            max_size=60,
        ),
        st.booleans(),
    )
    def test_as_slices(self, pairs, allow_short):
        """Whatever is asked for is what a slice of the bytes gives, or an error that says the size."""
        data = np.random.default_rng(7).bytes(2000)
        memory_store("slices").put("data", data)
        ranges = [("memory://slices/data", offset, length) for offset, length in pairs]
        buffers = ringio.read_ranges(ranges, on_error="return", allow_short=allow_short)
        for (offset, length), buffer in zip(pairs, buffers, strict=True):
            start = offset + 2000 if offset < 0 else offset
            end = max(start, 2000) if length is None else start + length
            if length == 0:
                assert bytes(buffer) == b""
            elif allow_short:
                assert bytes(buffer) == data[min(max(start, 0), 2000) : min(max(end, 0), 2000)]
            elif start < 0 or end > 2000 or start > 2000:
                assert isinstance(buffer, ringio.RangeError)
                assert buffer.nbytes == 2000
                assert "2000 bytes" in str(buffer)
            else:
                assert bytes(buffer) == data[start:end]

    def test_many_in_one_object(self, reader, latency):
        url = latency.put_pattern("huge.bin", 5 << 30)
        latency.rules(Rule(delay_s=0.02))
        starts = [i * 1_000_003 for i in range(5000)]
        buffers = reader.read_ranges([(url, start, 100) for start in starts])
        assert all(bytes(buffer) == pattern(start, 100) for start, buffer in zip(starts, buffers, strict=True))
        seen = latency.seen()
        assert seen.requests == 5001  # its state is asked for once more at the end
        assert 100 < seen.most_in_flight <= 256

    def test_near_ranges_are_merged_and_long_ones_split(self, reader, latency):
        url = latency.put_pattern("long.bin", 64 << 20)
        assert read(reader, [(url, i * 1000, 500) for i in range(1000)]) == [
            pattern(i * 1000, 500) for i in range(1000)
        ]
        assert latency.seen().requests == 1
        assert read(reader, [(url, 12345, 20 << 20)]) == [pattern(12345, 20 << 20)]
        assert latency.seen().requests == 7
        with ringio.Reader(max_gap_bytes=0, max_request_bytes=4096) as small:
            read(small, [(url, 0, 10), (url, 20, 10), (url, 30, 10)])
        assert latency.seen().requests == 9

    def test_behind_4_gib(self, reader, latency):
        url = latency.put_pattern("huge.bin", 5 << 30)
        assert read(reader, [(url, (4 << 30) + 7, 20), (url, -9, None)]) == [
            pattern((4 << 30) + 7, 20),
            pattern((5 << 30) - 9, 9),
        ]

    def test_suffixes_take_one_request(self, reader, big, latency):
        assert read(reader, [(big, -20, None), (big, -8, 8)]) == [pattern(NBYTES - 20, 20), pattern(NBYTES - 8, 8)]
        assert latency.seen().requests == 1
        latency.rules(Rule(refuse_suffix=True))
        assert read(reader, [(big, -20, None)]) == [pattern(NBYTES - 20, 20)]

    def test_sizes_without_head(self, reader, big, latency):
        latency.rules(Rule(method="HEAD", status=405))
        assert read(reader, [(big, NBYTES - 4, None)]) == [pattern(NBYTES - 4, 4)]

    def test_empty_object(self, reader, latency):
        url = latency.put("empty", b"")
        assert read(reader, [(url, 0, None), (url, 0, 0)]) == [b"", b""]
        assert error_of(reader, url, 0, 1).nbytes == 0
        assert error_of(reader, url, -1, None).nbytes == 0

    def test_counted(self, reader, big):
        read(reader, [(big, 0, 10), (big, 500_000, 20)])
        statistics = reader.statistics()
        assert (statistics.requests, statistics.bytes_read, statistics.tasks) == (2, 30, 2)
        assert statistics.peak_in_flight >= 1

    def test_progress(self, reader, big, make_file):
        calls = []
        path, _ = make_file(1000)
        read(reader, [(big, i * 200_000, 10) for i in range(5)] + [(path, 0, 10)], progress=lambda *a: calls.append(a))
        assert calls[-1] == (60, 60)
        assert calls == sorted(calls)


class TestPlans:
    def test_chunks_of_both_kinds(self, reader, latency, make_file):
        chunk = np.arange(1000, dtype="<i4")
        chain = codecs.chain(["bytes", "zstd"])
        import numcodecs

        encoded = numcodecs.Zstd().encode(chunk.tobytes())
        url = latency.put("chunks.bin", b"xx" + encoded * 3)
        local = Path(make_file(1)[0])
        local.write_bytes(encoded)
        n = len(encoded)
        ranges = [(url, 2, n), (url, 2 + n, n), (str(local), 0, n), (url, 2 + 2 * n, None)]
        tasks = [ringio.Task(i, (1000,), (0,), (1000,), (1000 * i,)) for i in range(4)]
        plan = ringio.Plan(ranges, tasks, codecs=chain, dtype="<i4")
        out = np.zeros(4000, "<i4")
        reader.execute(plan, out)
        assert np.array_equal(out, np.tile(chunk, 4))

    def test_damaged_and_missing(self, reader, latency):
        url = latency.put("bad.bin", b"this is no zstd frame")
        tasks = [ringio.Task(i, (4,), (0,), (4,), (4 * i,)) for i in range(2)]
        ranges = [(url, 0, 20), (latency.url("nowhere"), 0, 10)]
        chain = codecs.chain(["bytes", "zstd"])
        plan = ringio.Plan(ranges, tasks, codecs=chain, dtype="<i4")
        (first, bad), (second, missing) = reader.execute(plan, np.zeros(8, "<i4"), on_error="return")
        assert (first, second) == (0, 1)
        assert isinstance(bad, ringio.DecodeError)
        assert url in str(bad)
        assert isinstance(missing, FileNotFoundError)
        assert missing.filename == latency.url("nowhere")
        plan = ringio.Plan(ranges[1:], tasks[:1], codecs=chain, dtype="<i4", fill_value=-7, missing_fills=True)
        assert np.array_equal(reader.execute(plan, np.zeros(4, "<i4")), np.full(4, -7))


class TestAsync:
    async def test_ranges(self, reader, big, make_file):
        path, data = make_file(1000)
        ranges = [(big, 10, 20), (path, 3, 4), (big, -5, None), ("memory://nobody/a", 0, 1)]
        both = await asyncio.gather(*[reader.read_ranges_async(ranges, on_error="return") for _ in range(8)])
        for buffers in both:
            assert [bytes(buffer) for buffer in buffers[:3]] == [pattern(10, 20), data[3:7], pattern(NBYTES - 5, 5)]
            assert isinstance(buffers[3], FileNotFoundError)

    async def test_a_plan(self, reader, big):
        tasks = [ringio.Task(0, (100,), (0,), (100,), (0,))]
        plan = ringio.Plan([(big, 50, 100)], tasks, dtype="u1")
        calls = []
        out = await reader.execute_async(plan, np.zeros(100, "u1"), progress=lambda *numbers: calls.append(numbers))
        assert bytes(out) == pattern(50, 100)
        assert calls[-1] == (100, 100)

    async def test_cancelled(self, reader, big, latency):
        latency.rules(Rule(delay_s=20.0))
        out = np.zeros(10, "u1")
        task = asyncio.create_task(reader.read_ranges_async([(big, 0, 10)], out=out))
        await asyncio.sleep(0.2)
        start = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - start < 0.2
        latency.disconnect()

    @pytest.mark.parametrize("count", [10, 3000])
    async def test_streams(self, reader, latency, count):
        url = latency.put_pattern("huge.bin", 1 << 30)
        ranges = [(url, i * 100_000, 300) for i in range(count)] + [(url, -7, None), (latency.url("nowhere"), 0, 1)]
        expected = [pattern(i * 100_000, 300) for i in range(count)] + [pattern((1 << 30) - 7, 7)]
        found = dict(reader.iter_ranges(ranges, on_error="return"))
        assert isinstance(found.pop(count + 1), FileNotFoundError)
        assert [bytes(found[i]) for i in range(count + 1)] == expected
        found = {i: buffer async for i, buffer in reader.iter_ranges_async(ranges[:-1])}
        assert [bytes(found[i]) for i in range(count + 1)] == expected

    async def test_functions_of_the_module(self):
        store = MemoryStore()
        store.put("a", b"abc")
        ranges = [("a", 1, 2)]
        assert bytes(ringio.read_ranges(ranges, store=store)[0]) == b"bc"
        assert bytes((await ringio.read_ranges_async(ranges, store=store))[0]) == b"bc"
        assert [bytes(buffer) for _, buffer in ringio.iter_ranges(ranges, store=store)] == [b"bc"]
        assert [bytes(buffer) async for _, buffer in ringio.iter_ranges_async(ranges, store=store)] == [b"bc"]


class TestStores:
    def test_one_store(self, reader, big, latency):
        store = HTTPStore.from_url(latency.base_url, client_options={"allow_http": True})
        assert read(reader, [("big.bin", 3, 9)], store=store) == [pattern(3, 9)]

    def test_a_mapping(self, reader, tmp_path):
        one, two = MemoryStore(), MemoryStore()
        one.put("x/a", b"one")
        two.put("a", b"two")
        memory_store("three").put("a", b"three")
        stores = {"s3://bucket": one, "s3://bucket/deep/": two, "/data": two}
        ranges = [
            ("s3://bucket/x/a", 0, None),
            ("s3://bucket/deep/a", 0, 3),
            ("/data/a", 1, 2),
            ("memory://three/a", 0, 5),
        ]
        assert read(reader, ranges, store=stores) == [b"one", b"two", b"wo", b"three"]
        assert isinstance(error_of(reader, "s3://bucket2/a", 0, 1, store={"s3://bucket": one}), OSError)

    def test_a_resolver(self, reader):
        store = MemoryStore()
        store.put("key", b"value")

        class Registry:
            def resolve(self, url):
                if not url.startswith("catalog://"):
                    raise ValueError(f"unknown: {url}")
                return store, url.removeprefix("catalog://")

        assert read(reader, [("catalog://key", 1, 3)], store=Registry()) == [b"alu"]
        with pytest.raises(ValueError, match="unknown"):
            reader.read_ranges([("other://key", 1, 3)], store=Registry())

    @pytest.mark.parametrize("argument", ["ends", "lengths"])
    def test_of_ones_own(self, reader, argument):
        data = np.random.default_rng(1).bytes(100_000)

        class Lengths:
            def get_ranges(self, path, *, starts, lengths):
                if path != "dir//odd key\n":
                    raise FileNotFoundError(path)
                return [data[start : start + nbytes] for start, nbytes in zip(starts, lengths, strict=True)]

        class Ends:
            def get_ranges(self, path, *, starts, ends):
                return Lengths().get_ranges(path, starts=starts, lengths=np.subtract(ends, starts))

            def head(self, path):
                return {"path": path, "size": len(data), "e_tag": None, "last_modified": None}

        store = Ends() if argument == "ends" else Lengths()
        ranges = [("dir//odd key\n", i * 1500, 100) for i in range(60)]
        with ringio.Reader(max_gap_bytes=0) as narrow:
            assert read(narrow, ranges, store=store) == [data[i * 1500 : i * 1500 + 100] for i in range(60)]
        assert isinstance(error_of(reader, "nothing", 0, 1, store=store), FileNotFoundError)
        bad = reader.read_ranges([*ranges, (ranges[0][0], 99_990, 20)], store=store, on_error="return")
        assert list(bad.errors) == [60]
        if argument == "ends":
            assert bad.errors[60].nbytes == len(data)
            assert read(reader, [(ranges[0][0], -10, None)], store=store) == [data[-10:]]
        else:
            assert "head" in str(error_of(reader, ranges[0][0], -10, None, store=store))

    @pytest.mark.parametrize("change_count", [0, 1, 2])
    def test_all_of_an_object_that_is_replaced_meanwhile(self, reader, change_count):
        """Its bytes and its state belong together, or it is an error: also where two answers have to say them."""
        states = [(b"old" * 10, "1"), (b"new" * 10, "2"), (b"short", "3")]
        changes = iter(range(change_count))

        class Changing:
            def __init__(self):
                self.data, self.e_tag = states[0]

            def head(self, path):
                tag = {"size": len(self.data), "e_tag": self.e_tag, "last_modified": None}
                if (number := next(changes, None)) is not None:
                    self.data, self.e_tag = states[number + 1]
                return tag

            def get_ranges(self, path, *, starts, ends):
                return [self.data[start:end] for start, end in zip(starts, ends, strict=True)]

        (found,) = reader.look_up(["a"], suffix_nbytes=None, store=Changing())
        if change_count == 2:
            assert isinstance(found, ringio.FileChangedError)
            assert "changed" in str(found)
        else:
            data, e_tag = states[change_count]
            assert bytes(found.data) == data
            assert f"'{e_tag}'".encode() in found.tag

    def test_all_of_an_object_within_a_limit(self, reader):
        """Of a larger one the state is told, and no bytes are asked for."""

        class Sized:
            def head(self, path):
                return {"size": int(path), "e_tag": path, "last_modified": None}

            def get_ranges(self, path, *, starts, ends):
                assert int(path) <= 10
                return [bytes(int(path))]

        class Whole(Sized):
            def get(self, path):
                return SimpleNamespace(meta=self.head(path), bytes=lambda: self.get_ranges(path, starts=0, ends=0)[0])

        for store in (Sized(), Whole()):
            for found, nbytes in zip(
                reader.look_up(["10", "11"], suffix_nbytes=None, limit_nbytes=10, store=store), (10, 11), strict=True
            ):
                assert (found.nbytes, found.data) == (nbytes, bytes(10) if nbytes == 10 else None)

    @pytest.mark.parametrize("store", [7, object(), {"s3://bucket": "nothing"}])
    def test_none(self, reader, store):
        assert isinstance(error_of(reader, "s3://bucket/key", 0, 1, store=store), TypeError)

    def test_a_folder(self, reader, tmp_path):
        (tmp_path / "a").write_bytes(b"abc")
        assert read(reader, [("a", 1, None)], store=LocalStore(tmp_path)) == [b"bc"]

    def test_s3(self, reader, latency):
        latency.put("bucket/ä key/100%25", b"value")
        store = S3Store("bucket", **latency.s3_options)
        assert read(reader, [("ä key/100%25", 1, 2)], store=store) == [b"al"]
        options = {"endpoint": latency.base_url, "region": "us-east-1", "anonymous": True}
        with ringio.Reader(store_options=options) as other:
            assert read(other, [("s3://bucket/ä key/100%25", -3, None)]) == [b"lue"]
            copy = pickle.loads(pickle.dumps(other))
            assert "us-east-1" not in repr(other)
        with copy, ringio.Reader(store_options={"s3://bucket": options, "s3://other": {"region": "x"}}) as third:
            for each in (copy, third):
                assert read(each, [("s3://bucket/ä key/100%25", 0, 1)]) == [b"v"]


NAMES = ["with space", "ünïcödé/ß", "100%25", "a+b", "a;b&c=d", "new\nline", "a%2Fb", "end/", "a//b", "tab\t", "q?x"]


class TestNames:
    @pytest.mark.parametrize("name", NAMES)
    def test_what_is_asked_for_is_what_the_url_says(self, reader, latency, name):
        url = latency.url(name)
        error_of(reader, url, 0, 1)
        targets = {request.target for request in latency.requests()}
        assert targets == {url[len(latency.base_url) :]}

    def test_a_query_is_sent(self, reader, latency):
        latency.put("signed", b"abc")
        assert read(reader, [(latency.url("signed") + "?signature=a%2Fb#fragment", 1, 1)]) == [b"b"]
        assert {request.target for request in latency.requests()} == {"/signed?signature=a%2Fb"}

    def test_ipv6(self, reader, latency, big):
        if not latency.ipv6:
            pytest.skip("no IPv6 on the loopback interface")
        assert read(reader, [(latency.url("big.bin", ipv6=True), 5, 9)]) == [pattern(5, 9)]

    @pytest.mark.parametrize("key", ["a//b", "/a", "a/", "a\nb", "a/../b", ""])
    def test_keys_that_obstore_would_change_are_refused(self, reader, key):
        error = error_of(reader, f"s3://bucket/{key}", 0, 1)
        assert isinstance(error, ValueError)
        assert "obstore" in str(error)

    @pytest.mark.parametrize(
        ("url", "error"),
        [
            ("ftp://host/x", ringio.BackendError),
            ("s3:///key", ValueError),
            ("http:///key", ValueError),
            ("https://host:port/key", Exception),
        ],
    )
    def test_urls_that_are_none(self, reader, url, error):
        memory_store("beside").put("a", b"abc")
        buffers = reader.read_ranges([(url, 0, 1), ("memory://beside/a", 0, 3)], on_error="return")
        assert isinstance(buffers.errors[0], error)
        assert bytes(buffers[1]) == b"abc"


class TestErrors:
    @pytest.mark.parametrize(
        ("status", "error"),
        [(404, FileNotFoundError), (403, PermissionError), (401, PermissionError), (400, ringio.StoreError)],
    )
    def test_what_is_not_tried_again(self, reader, big, latency, status, error):
        latency.rules(Rule(status=status))
        found = error_of(reader, big, 0, 10)
        assert type(found) is error
        assert found.filename == big
        assert str(status) in str(found)
        assert f"{big}, bytes 0-10" in found.__notes__[0]
        assert latency.seen().requests == 2
        assert reader.statistics().retries == 0

    @pytest.mark.parametrize(
        "fault",
        [
            {"status": 500},
            {"status": 503, "retry_after": "1"},
            {"status": 429},
            {"ending": "reset"},
            {"ending": "cut"},
            {"ending": "reset", "ending_after_nbytes": 300},
            {"ending": "cut", "ending_after_nbytes": 300},
            {"content_length_shift": 10, "ending": "cut", "ending_after_nbytes": 1000},
            {"content_length_shift": -10},
            {"content_range_shift": 5},
            {"length_shift": -10},
            {"length_shift": 10},
            {"raw": "garbage\r\n\r\n"},
            {"ending": "stall", "ending_after_nbytes": 3},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("count", [1, 100])
    def test_what_may_pass_is_tried_again(self, big, latency, fault, count):
        ranges = [(big, i * 10_000, 1000) for i in range(count)]
        with ringio.Reader(max_gap_bytes=0, store_options={"retries": 3, "timeout_s": 2}) as reader:
            latency.rules(Rule(method="GET", offset=(count - 1) * 10_000, count=1, **fault))
            assert read(reader, ranges) == [pattern(start, 1000) for _, start, _ in ranges]
            assert reader.statistics().retries >= 1

    @pytest.mark.parametrize("fault", [{"status": 503}, {"ending": "cut", "ending_after_nbytes": 3}], ids=str)
    @pytest.mark.parametrize("count", [1, 100])
    def test_one_that_stays_does_not_spoil_the_others(self, big, latency, fault, count):
        ranges = [(big, i * 10_000, 1000) for i in range(count)]
        with ringio.Reader(max_gap_bytes=0, store_options={"retries": 1}) as reader:
            latency.rules(Rule(method="GET", offset=(count - 1) * 10_000, **fault))
            buffers = reader.read_ranges(ranges, on_error="return")
            assert [bytes(buffer) for buffer in buffers[:-1]] == [pattern(start, 1000) for _, start, _ in ranges[:-1]]
            error = buffers[count - 1]
            assert isinstance(error, ringio.StoreError)
            assert error.filename == big
            assert "in 2 tries" in str(error)

    @pytest.mark.parametrize("count", [1, 100])
    def test_a_server_that_compresses_parts(self, big, latency, count):
        latency.rules(Rule(method="GET", gzip="part"))
        with ringio.Reader(max_gap_bytes=0, store_options={"retries": 0}) as reader:
            buffers = reader.read_ranges([(big, i * 10_000, 1000) for i in range(count)], on_error="return")
            assert len(buffers.errors) == count
            assert "1000 were due" in str(buffers[0])

    @pytest.mark.parametrize(
        ("fault", "text"),
        [
            ({"ignore_range": True}, "does not give byte ranges"),
            ({"gzip": "whole"}, "does not give byte ranges"),
            ({"content_range": ""}, "Content-Range"),
            ({"content_range": "garbage"}, "garbage"),
            ({"status": 302, "location": ""}, "redirect"),
            ({"status": 418, "body": "a teapot"}, "a teapot"),
        ],
        ids=str,
    )
    def test_servers_that_cannot(self, reader, big, latency, fault, text):
        latency.rules(Rule(**fault))
        error = error_of(reader, big, 10, 10)
        assert type(error) is ringio.StoreError
        assert error.filename == big
        assert text in str(error)

    def test_a_redirect(self, reader, big, latency):
        latency.rules(Rule(path="/old", status=307, location="/big.bin"))
        assert read(reader, [(latency.url("old"), 5, 5)]) == [pattern(5, 5)]

    def test_nobody_there(self):
        with ringio.Reader(store_options={"retries": 1, "timeout_s": 5}) as reader:
            assert "refused" in str(error_of(reader, "http://127.0.0.1:9/x", 0, 1))
            assert "no such host" in str(error_of(reader, "http://nowhere.invalid/x", 0, 1))

    def test_time_is_up(self, big, latency):
        latency.rules(Rule(ending="stall", ending_after_nbytes=5))
        with ringio.Reader(store_options={"retries": 0, "timeout_s": 0.3}) as reader:
            assert "timed out" in str(error_of(reader, big, 0, 10))

    def test_a_missing_object_is_asked_for_once_or_so(self, reader, latency):
        url = latency.url("nowhere")
        buffers = reader.read_ranges([(url, i * 300_000, 10) for i in range(1000)], on_error="return")
        assert len(buffers.errors) == 1000
        assert latency.seen().requests == 1

    def test_outside(self, reader, big):
        for count in (1, 100):
            ranges = [(big, i * 10_000, 100) for i in range(count)]
            outside = [(big, NBYTES - 50, 100), (big, NBYTES, 1), (big, 1 << 62, 1), (big, 5 * NBYTES, 10)]
            with ringio.Reader(max_gap_bytes=0) as narrow:
                buffers = narrow.read_ranges(ranges + outside, on_error="return")
            assert sorted(buffers.errors) == list(range(count, count + 4))
            for error, (_, offset, length) in zip(buffers[count:], outside, strict=True):
                assert isinstance(error, ringio.RangeError)
                assert (error.path, error.offset, error.length, error.nbytes) == (big, offset, length, NBYTES)
        assert read(reader, outside, allow_short=True) == [pattern(NBYTES - 50, 50), b"", b"", b""]


class TestChanges:
    @pytest.mark.parametrize("count", [2, 100])
    def test_always(self, big, latency, count):
        latency.rules(Rule(etag="changing"))
        with ringio.Reader(max_gap_bytes=0) as reader:
            ranges = [(big, i * 10_000, 10) for i in range(count)]
            with pytest.raises(ringio.FileChangedError) as caught:
                reader.read_ranges(ranges)
            assert caught.value.filename == big
            memory_store("constant").put("a", b"abc")
            buffers = reader.read_ranges([*ranges, ("memory://constant/a", 0, 1)], on_error="return")
            assert len(buffers.errors) == count
            assert bytes(buffers[count]) == b"a"

    @pytest.mark.parametrize("count", [2, 100])
    def test_once(self, latency, count):
        """All that is read of an object is of one state of it, whenever it changes."""
        states = [bytes([i]) * NBYTES for i in range(8)]
        url = latency.put("changing", states[0])
        latency.rules(Rule(delay_s=0.003))
        done = threading.Event()

        def change():
            for state in itertools.cycle(states):
                if done.wait(0.02):
                    break
                latency.put("changing", state)

        thread = threading.Thread(target=change)
        thread.start()
        try:
            with ringio.Reader(max_gap_bytes=0) as reader:
                for _ in range(15):
                    try:
                        buffers = read(reader, [(url, i * 10_000, 100) for i in range(count)])
                    except ringio.FileChangedError:
                        continue
                    assert len(set(buffers)) == 1
        finally:
            done.set()
            thread.join()

    def test_between_size_and_read(self, reader, latency):
        """The size that a range to the end was measured by is checked against each answer."""
        url = latency.put("growing", b"x" * 1000)
        latency.rules(Rule(method="GET", delay_s=0.2))
        timer = threading.Timer(0.1, lambda: latency.put("growing", b"y" * 2000))
        timer.start()
        assert read(reader, [(url, 0, None)]) == [b"y" * 2000]
        timer.join()


class TestStopping:
    def test_interrupt(self, big, latency, run_child):
        latency.rules(Rule(delay_s=30.0))
        text = run_child(
            """
            import contextlib, signal, sys, time, ringio
            url = sys.argv[1]
            with contextlib.suppress(FileNotFoundError):  # imports all that it takes, which may swallow interrupts
                ringio.read_ranges([("memory://nothing/here", 0, 10), ("memory://nothing/here", -5, None)])
            def interrupt(*_): raise KeyboardInterrupt
            signal.signal(signal.SIGALRM, interrupt)
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            start = time.monotonic()
            try:
                ringio.read_ranges([(url, i * 10_000, 10) for i in range(50)] + [(url, -5, None)])
            except KeyboardInterrupt:
                print(time.monotonic() - start - 0.5 < 0.15)
            """,
            big,
            timeout_s=15,
        )
        assert text.split() == ["True"]

    def test_exit_with_requests_in_flight(self, big, latency, run_child):
        latency.rules(Rule(delay_s=30.0))
        run_child(
            """
            import sys, threading, time, ringio
            threading.Thread(target=ringio.read_ranges, args=([(sys.argv[1], 0, 10)],), daemon=True).start()
            time.sleep(0.5)
            """,
            big,
            timeout_s=15,
        )

    def test_threads_end(self, big):
        def count():
            return sum(thread.name == "ringio-object" for thread in threading.enumerate())

        before = count()
        reader = ringio.Reader()
        read(reader, [(big, 0, 10)])
        assert count() > before
        reader.close()
        assert count() == before
        with pytest.raises(ringio.RingioError, match="closed"):
            reader.read_ranges([(big, 0, 10)])

    def test_many_threads(self, reader, big):
        failed = []

        def work(seed):
            offsets = np.random.default_rng(seed).integers(0, NBYTES - 100, 200).tolist()
            buffers = read(reader, [(big, offset, 100) for offset in offsets])
            if buffers != [pattern(offset, 100) for offset in offsets]:
                failed.append(seed)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed

    def test_memory_limit(self, latency):
        url = latency.put_pattern("long.bin", 64 << 20)
        latency.rules(Rule(delay_s=0.02))
        with ringio.Reader(memory_limit_bytes=8 << 20) as reader:
            assert read(reader, [(url, 0, 64 << 20)]) == [pattern(0, 64 << 20)]
        assert latency.seen().most_in_flight <= 1

    def test_requests_in_flight(self, big, latency):
        latency.rules(Rule(delay_s=0.01))
        with ringio.Reader(max_gap_bytes=0, store_options={"requests_in_flight": 3}) as reader:
            read(reader, [(big, i * 100_000, 10) for i in range(10)])
        assert latency.seen().most_in_flight == 3

    def test_nothing_keeps_results_alive(self, reader, big):
        out = np.zeros(10, np.uint8)
        keeper = np.zeros(1)  # an array cannot be weakly referenced through its buffer alone
        del keeper
        reader.read_ranges([(big, 0, 10)], out=out)
        gc.collect()
        time.sleep(0.05)
        assert not [each for each in gc.get_referrers(out) if type(each).__name__ in ("Fetch", "Placer", "BoundPlan")]


FORK = """
import os, sys, ringio
from ringio.testing import memory_store
url, local, before = sys.argv[1:]
reader = ringio.Reader()
if before == "objects":
    reader.read_ranges([(url, 0, 10)])
elif before == "obstore":
    import obstore.store
    obstore.store.LocalStore().head(local)
pid = os.fork()
if pid == 0:
    assert len(reader.read_ranges([(local, 0, 10)])[0]) == 10
    try:
        print(bytes(reader.read_ranges([(url, 0, 10)])[0]).hex(), flush=True)
    except ringio.RingioError as error:
        print("spawn" in str(error), flush=True)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert len(reader.read_ranges([(url, 0, 10)])[0]) == 10
"""


class TestFork:
    @pytest.mark.parametrize("before", ["objects", "obstore", "nothing"])
    def test_a_child_works_or_says_what_to_do(self, big, make_file, run_child, before):
        path, _ = make_file(100)
        text = run_child(FORK, big, path, before, timeout_s=20).strip()
        assert text == (pattern(0, 10).hex() if before == "nothing" else "True")


def test_examples_of_the_page():
    page = Path(__file__).parent.parent / "docs" / "cloud.md"
    result = doctest.testfile(str(page), module_relative=False)
    assert result.attempted > 5
    assert result.failed == 0


def test_errno_and_filename(reader, latency):
    error = error_of(reader, latency.url("nowhere"), -3, None)
    assert (error.errno, error.filename) == (errno.ENOENT, latency.url("nowhere"))


def test_a_file_whose_name_begins_like_a_url(reader, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("s3:").mkdir()
    Path("s3:/bucket").write_bytes(b"abc")
    assert read(reader, [("./s3://bucket", 0, 3)]) == [b"abc"]


class TestServers:
    """The servers that people have."""

    DATA = bytes(range(256)) * 100

    def test_nginx(self, reader, nginx):
        url = nginx.put("objects/ä b+c", self.DATA)
        assert read(reader, [(url, 5, 10), (url, -5, None)]) == [self.DATA[5:15], self.DATA[-5:]]
        place = url[len(nginx.base_url) :]
        for status in (301, 302, 307, 308):
            assert read(reader, [(f"{nginx.base_url}/redirect-{status}{place}", 5, 10)]) == [self.DATA[5:15]]
        assert isinstance(error_of(reader, f"{nginx.base_url}/forbidden{place}", 0, 1), PermissionError)
        assert "byte ranges" in str(error_of(reader, f"{nginx.base_url}/no-ranges{place}", 0, 1))
        assert "500" in str(error_of(reader, f"{nginx.base_url}/broken{place}", 0, 1))
        assert read(reader, [(f"{nginx.base_url}/gzip{place}", 5, 10)]) == [self.DATA[5:15]]

    def test_s3(self, moto):
        moto.make_bucket("objects")
        url = moto.put("objects", "folder/ä key+%20#?", self.DATA)
        empty = moto.put("objects", "empty", b"")
        options = {"endpoint": moto.s3_endpoint, "region": "us-east-1"}
        keys = {"access_key_id": "testing", "secret_access_key": "testing"}
        with ringio.Reader(store_options=options | keys) as reader:
            assert read(reader, [(url, 5, 10), (url, -5, None), (empty, 0, None)]) == [
                self.DATA[5:15],
                self.DATA[-5:],
                b"",
            ]
            assert "NoSuchKey" in str(error_of(reader, "s3://objects/nothing", 0, 1))
            missing = error_of(reader, "s3://no-such-bucket/key", 0, 1)
            assert isinstance(missing, ringio.StoreNotFoundError)
            assert isinstance(missing, FileNotFoundError)
            assert "NoSuchBucket" in str(missing)
            with pytest.raises(ringio.StoreNotFoundError):
                ringio.Store("s3://no-such-bucket", reader=reader).get("key").bytes()
            absent = error_of(reader, "s3://objects/NoSuchBucket", 0, 1)
            assert isinstance(absent, FileNotFoundError)
            assert not isinstance(absent, ringio.StoreError)
            assert error_of(reader, empty, 0, 1).nbytes == 0
            assert error_of(reader, url, 50_000, 1).nbytes == len(self.DATA)
        with ringio.Reader(store_options=options | {"anonymous": True}) as reader:
            assert isinstance(error_of(reader, url, 0, 1), PermissionError)
        with ringio.Reader(store_options=options | {"regoin": "x"}) as reader:
            assert "regoin" in str(error_of(reader, url, 0, 1))

    @pytest.mark.parametrize("kind", ["url", "endpoint"])
    def test_https_where_there_is_none(self, kind, moto):
        """It is said, and not tried again."""
        moto.make_bucket("plain")
        https = moto.base_url.replace("http://", "https://")
        options = {"endpoint": https, "region": "us-east-1", "access_key_id": "x", "secret_access_key": "x"}
        with ringio.Reader(store_options=options if kind == "endpoint" else None) as reader:
            url = "s3://plain/x" if kind == "endpoint" else f"{https}/plain/x"
            error = error_of(reader, url, 0, 1)
            assert isinstance(error, ringio.StoreError)
            assert "http:// instead of https://" in str(error)
            assert reader.statistics().retries == 0

    def test_missing_credentials(self, latency, monkeypatch):
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        options = {"region": "us-east-1", "metadata_endpoint": latency.base_url + "/169.254.169.254", "retries": 0}
        with ringio.Reader(store_options=options | {"client_options": {"allow_http": True}}) as reader:
            error = error_of(reader, "s3://bucket/key", 0, 1)
        assert isinstance(error, PermissionError)
        assert "anonymous=True" in str(error)

    @pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"])
    def test_an_endpoint_of_the_environment(self, latency, monkeypatch, capsysbinary, name):
        """As the clouds' own tools have it, and where the command has its options from."""
        latency.put("bucket/key", b"value")
        options = {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
        for variable, value in {**options, name: latency.base_url}.items():
            monkeypatch.setenv(variable, value)
        with ringio.Reader() as reader:
            assert read(reader, [("s3://bucket/key", 1, 2), ("s3a://bucket/key", -2, None)]) == [b"al", b"ue"]
        assert _cli.main(["read", "s3://bucket/key", "-3", "end"]) == 0
        assert _cli.main(["head", "s3://bucket/key"]) == 0
        assert capsysbinary.readouterr().out.startswith(b"lue")

    def test_gs(self, latency):
        """Google's way of asking, with the address of another server."""
        latency.put("bucket/ä key/100%25", b"value")
        options = {"base_url": latency.base_url, "anonymous": True, "retries": 0}
        with ringio.Reader(store_options=options) as reader:
            url = "gs://bucket/ä key/100%25"
            assert read(reader, [(url, 1, 2), (url, -2, None), (url, 0, None)]) == [b"al", b"ue", b"value"]
            assert error_of(reader, url, 3, 9).nbytes == 5
            assert isinstance(error_of(reader, "gs://bucket/nothing", 0, 1), FileNotFoundError)

    def test_azure(self, azurite):
        azurite.make_container("objects")
        url = azurite.put("objects", "folder/x y", self.DATA)
        options = {name: value for name, value in azurite.azure_options.items() if name != "client_options"}
        with ringio.Reader(store_options=options) as reader:
            # It has no suffixes: the size comes first.
            assert read(reader, [(url, 5, 10), (url, -5, None)]) == [self.DATA[5:15], self.DATA[-5:]]
            assert read(reader, [(url.replace("az://", "abfs://"), -5, 2)]) == [self.DATA[-5:-3]]
            assert isinstance(error_of(reader, "az://objects/nothing", -5, None), FileNotFoundError)
            assert "ContainerNotFound" in str(error_of(reader, "az://nowhere/nothing", 0, 1))
        with ringio.Reader(store_options=options | {"account_key": "AAAA"}) as reader:
            assert isinstance(error_of(reader, url, 0, 1), PermissionError)

    def test_a_sparse_object_of_5_gib(self, reader, nginx):
        size = (5 << 30) + 123
        path = nginx.root / "objects-sparse"
        with path.open("wb") as file:
            file.truncate(size)
            file.seek(-9, 2)
            file.write(b"the end.\n")
        url = nginx.url("objects-sparse")
        try:
            ranges = [(url, -9, None), (url, size - 9, 3), (url, (4 << 30) - 2, 4), (url, 0, 2), (url, size - 3, None)]
            assert read(reader, ranges) == [b"the end.\n", b"the", bytes(4), bytes(2), b"d.\n"]
            assert str(size) in str(error_of(reader, url, size - 1, 2))
        finally:
            path.unlink()

    def test_lists(self, moto, azurite, nginx):
        moto.make_bucket("listed")
        azurite.make_container("listed")
        keys = ["a", "b/c d", "b/e%20f", "b/ü/x"]
        for key in keys:
            moto.put("listed", key, b"12345")
            azurite.put("listed", key, b"12345")
        of_s3 = {"endpoint": moto.s3_endpoint, "region": "us-east-1"}
        of_s3 |= {"access_key_id": "testing", "secret_access_key": "testing"}
        of_azure = {name: value for name, value in azurite.azure_options.items() if name != "client_options"}
        for url, options in {"s3://listed": of_s3, "az://listed": of_azure}.items():
            with ringio.Reader(store_options=options) as reader:
                store = ringio.Store(url, reader=reader)
                assert sorted(meta["path"] for some in store.list() for meta in some) == sorted(keys)
                found = store.list_with_delimiter("b")
                assert list(found["common_prefixes"]) == ["b/ü"]
                assert {meta["path"]: meta["size"] for meta in found["objects"]} == {"b/c d": 5, "b/e%20f": 5}
        with ringio.Reader() as reader, pytest.raises((ringio.RingioError, OSError, NotImplementedError)) as caught:
            list(ringio.Store(nginx.base_url, reader=reader).list())
        assert "plain HTTP" in str(caught.value)


class TestCrowds:
    def test_a_small_batch_does_not_wait_for_a_huge_one(self, big, latency):
        """Sync and awaited: the requests of all that read come in turns."""
        latency.rules(Rule(delay_s=0.02))
        with ringio.Reader(store_options={"requests_in_flight": 8}, max_gap_bytes=0) as reader:
            urls = [latency.put_pattern(f"crowd/{i}", 1000) for i in range(600)]  # 1.5 s and more
            huge = threading.Thread(target=lambda: reader.read_ranges([(url, 0, 10) for url in urls]))
            begin = time.monotonic()
            huge.start()
            time.sleep(0.1)
            taken = []
            for way in ("sync", "async"):
                small_begin = time.monotonic()
                ranges = [(big, 0, 10), (big, 500_000, 10)]
                got = reader.read_ranges(ranges) if way == "sync" else asyncio.run(reader.read_ranges_async(ranges))
                assert [bytes(each) for each in got] == [pattern(0, 10), pattern(500_000, 10)]
                taken.append(time.monotonic() - small_begin)
            assert huge.is_alive()
            huge.join()
            assert max(taken) < (time.monotonic() - begin) / 3

    def test_progress_of_a_stream(self, reader, big):
        seen = []
        ranges = [(big, i * 2000, 1000) for i in range(500)]
        got = dict(reader.iter_ranges(ranges, progress=lambda done, total: seen.append((done, total))))
        assert all(bytes(got[i]) == pattern(i * 2000, 1000) for i in range(500))
        assert seen[-1] == (500_000, 500_000)
        assert [done for done, _ in seen] == sorted(done for done, _ in seen)
