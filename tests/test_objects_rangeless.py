"""Servers that answer with whole objects, whatever range is asked for."""

from __future__ import annotations

import http.server
import itertools
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import ringio
import ringio_zarr
from servers import Rule
from servers.latency import pattern

COUNT = 100
NBYTES = 300_000


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    """That of ``python -m http.server``: it lets five connections wait, and loses others for seconds."""

    def handle_error(self, *_: Any) -> None:
        pass


@pytest.fixture
def plain_server(tmp_path: Path) -> Iterator[str]:
    for number in range(COUNT):
        (tmp_path / str(number)).write_bytes(bytes(NBYTES))
    with Server(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def reader() -> Iterator[ringio.Reader]:
    with ringio.Reader() as reader:
        yield reader


@pytest.mark.parametrize("extent", [(10, 100), (-10, None), (1, NBYTES - 1), (10, None)], ids=str)
def test_a_server_without_ranges_is_soon_given_up(plain_server: str, reader: ringio.Reader, extent: Any) -> None:
    begin_s = time.monotonic()
    buffers = reader.read_ranges([(f"{plain_server}/{i}", *extent) for i in range(COUNT)], on_error="return")
    assert time.monotonic() - begin_s < 3  # a lost connection costs 1, 3, 7 ... seconds
    assert len(buffers.errors) == COUNT
    for i in range(COUNT):
        assert type(buffers[i]) is ringio.StoreError
        assert "does not give byte ranges" in str(buffers[i])
        assert buffers[i].filename == f"{plain_server}/{i}"


def test_it_is_asked_no_more(latency: Any) -> None:
    names = [f"rangeless/{i}" for i in range(1000)]
    urls = [latency.put(name, bytes(100)) for name in names]
    latency.rules(Rule(path="/rangeless", ignore_range=True))
    with ringio.Reader() as reader:
        assert len(reader.read_ranges([(url, 5, 5) for url in urls], on_error="return").errors) == len(urls)
    assert latency.seen().requests < 500  # 256 are in flight at once


def test_some_objects_without_ranges_do_not_spoil_others(latency: Any) -> None:
    urls = [latency.put(f"{'rangeless' if i % 2 else 'ranged'}/{i}", bytes([i]) * 100) for i in range(100)]
    latency.rules(Rule(path="/rangeless", ignore_range=True, delay_s=0.3))
    with ringio.Reader() as reader:
        buffers = reader.read_ranges([(url, 5, 5) for url in urls], on_error="return")
    for i, buffer in enumerate(buffers):
        assert isinstance(buffer, ringio.StoreError) if i % 2 else bytes(buffer) == bytes([i]) * 5


class TestWholeObjects:
    """What is wanted from the first byte to the last can be had without ranges."""

    @pytest.fixture
    def rangeless(self, latency: Any) -> Any:
        latency.rules(Rule(ignore_range=True, delay_s=0.01))
        return latency

    def test_of_a_simple_server(self, plain_server: str, reader: ringio.Reader, tmp_path: Path) -> None:
        """It loses connections where many come at once."""
        data = [bytes([i]) * (NBYTES if i % 3 else 10 * i) for i in range(COUNT)]
        for i in range(COUNT):
            (tmp_path / str(i)).write_bytes(data[i])
        begin_s = time.monotonic()
        buffers = reader.read_ranges([(f"{plain_server}/{i}", 0, None) for i in range(COUNT)])
        assert time.monotonic() - begin_s < 5
        assert [bytes(buffer) for buffer in buffers] == data

    @pytest.mark.parametrize("nbytes", [10, 5_000_000])
    def test_one_request_for_each_and_few_at_once(self, rangeless: Any, reader: ringio.Reader, nbytes: int) -> None:
        urls = [rangeless.put(f"whole/{i}", bytes([i]) * nbytes) for i in range(30)]
        buffers = reader.read_ranges([(url, 0, None) for url in urls])
        assert [bytes(buffer) for buffer in buffers] == [bytes([i]) * nbytes for i in range(30)]
        assert rangeless.seen().requests == len(urls) + 1  # the first is asked for a range
        assert rangeless.seen().most_in_flight <= 6

    def test_into_memory_of_the_caller(self, rangeless: Any, reader: ringio.Reader) -> None:
        url = rangeless.put("all.bin", bytes(range(250)) * 40_000)
        out = bytearray(10_000_000)
        reader.read_ranges([(url, 0, None)], out=out)
        assert out == bytes(range(250)) * 40_000

    def test_as_a_stream(self, rangeless: Any, reader: ringio.Reader) -> None:
        urls = [rangeless.put(f"whole/{i}", bytes([i]) * 100_000) for i in range(30)]
        found = dict(reader.iter_ranges([(url, 0, None) for url in urls]))
        assert [bytes(found[i]) for i in range(30)] == [bytes([i]) * 100_000 for i in range(30)]

    async def test_async(self, rangeless: Any, reader: ringio.Reader) -> None:
        url = rangeless.put("all.bin", bytes(300_000))
        assert bytes((await reader.read_ranges_async([(url, 0, None)]))[0]) == bytes(300_000)

    def test_parts_of_what_is_there(self, rangeless: Any, reader: ringio.Reader) -> None:
        """Ranges of an object that is read as a whole in the same batch; those of others are errors."""
        one, other = rangeless.put("one", bytes(range(200))), rangeless.put("other", bytes(200))
        ranges = [(one, 0, None), (one, 5, 3), (other, 5, 3), (other, 7, None), (one, 190, None)]
        buffers = reader.read_ranges(ranges, on_error="return")
        assert sorted(buffers.errors) == [2, 3]
        assert [bytes(buffers[i]) for i in (0, 1, 4)] == [bytes(range(200)), bytes([5, 6, 7]), bytes(range(190, 200))]
        for error in buffers.errors.values():
            assert "does not give byte ranges" in str(error)
            assert "it may give whole objects" in str(error)

    @pytest.mark.parametrize("order", list(itertools.permutations([(0, None), (-10, None), (5, None)])), ids=str)
    def test_ends_of_what_is_there(self, rangeless: Any, reader: ringio.Reader, order: Any) -> None:
        url, data = rangeless.put("one", bytes(range(200))), bytes(range(200))
        buffers = reader.read_ranges([(url, *extent) for extent in order])
        assert [bytes(buffer) for buffer in buffers] == [data[extent[0] :] for extent in order]

    def test_other_ranges_do_not_end_it(self, rangeless: Any, reader: ringio.Reader) -> None:
        """Also if none of the many that come first is answered."""
        urls = [rangeless.put(f"part/{i}", bytes(10)) for i in range(400)]
        ranges = [*((url, 5, 3) for url in urls), (rangeless.put("all_of_it", bytes(300_000)), 0, None)]
        buffers = reader.read_ranges(ranges, on_error="return")
        assert sorted(buffers.errors) == list(range(400))
        assert bytes(buffers[400]) == bytes(300_000)

    def test_missing_ones(self, rangeless: Any, reader: ringio.Reader) -> None:
        """Also where the first one, which finds out about the server, is not there."""
        urls = [rangeless.url("none"), *(rangeless.put(f"{i}", bytes([i])) for i in range(9)), rangeless.url("neither")]
        buffers = reader.read_ranges([(url, 0, None) for url in urls], on_error="return")
        assert sorted(buffers.errors) == [0, 10]
        assert {type(error) for error in buffers.errors.values()} == {FileNotFoundError}
        assert [bytes(buffers[i]) for i in range(1, 10)] == [bytes([i]) for i in range(9)]

    def test_missing_ones_of_a_simple_server(self, plain_server: str, reader: ringio.Reader) -> None:
        begin_s = time.monotonic()
        urls = [f"{plain_server}/{'none/' * (i < 10)}{i}" for i in range(COUNT)]
        buffers = reader.read_ranges([(url, 0, None) for url in urls], on_error="return")
        assert time.monotonic() - begin_s < 5
        assert sorted(buffers.errors) == list(range(10))
        assert {bytes(buffer) for buffer in buffers[10:]} == {bytes(NBYTES)}

    def test_many_missing_ones_are_asked_for_at_once_in_the_end(self, latency: Any, reader: ringio.Reader) -> None:
        latency.rules(Rule(delay_s=0.02))
        buffers = reader.read_ranges([(latency.url(f"none/{i}"), 0, None) for i in range(500)], on_error="return")
        assert len(buffers.errors) == 500
        assert latency.seen().most_in_flight > 50

    def test_more_than_fits(self, rangeless: Any) -> None:
        urls = [rangeless.put(f"{i}", bytes(3 << 20)) for i in range(3)]
        with ringio.Reader(memory_limit_bytes=8 << 20) as reader:
            buffers = reader.read_ranges([(url, 0, None) for url in urls], on_error="return")
        assert len(buffers.errors) == 1
        text = str(next(iter(buffers.errors.values())))
        assert "memory_limit_bytes" in text
        assert "it may give whole objects" not in text

    def test_what_fails_takes_no_room(self, rangeless: Any) -> None:
        """The first one is asked for alone, to the end."""
        urls = [rangeless.put(f"{i}", bytes([i]) * (3 << 20)) for i in range(4)]
        rangeless.rules(Rule(ignore_range=True), Rule(path="/0", ending="cut", ending_after_nbytes=2 << 20))
        with ringio.Reader(memory_limit_bytes=10 << 20, store_options={"retries": 1}) as reader:
            buffers = reader.read_ranges([(url, 0, None) for url in urls], on_error="return")
        assert list(buffers.errors) == [0]

    @pytest.mark.parametrize("is_async", [False, True])
    async def test_a_stream_of_more_than_fits(self, rangeless: Any, is_async: bool) -> None:
        sizes = [3 << 20, 1 << 20, 10, 100_000, 2 << 20] * 10
        sizes[7] = 9 << 20
        urls = [rangeless.put(f"{i}", bytes([i]) * size) for i, size in enumerate(sizes)]
        ranges = [(url, 0, None) for url in urls]
        left = set(range(len(urls)))

        def check(i: int, buffer: Any) -> None:
            left.remove(i)
            assert isinstance(buffer, ringio.StoreError) if i == 7 else bytes(buffer) == bytes([i]) * sizes[i]

        with ringio.Reader(memory_limit_bytes=8 << 20) as reader:
            if is_async:
                async for i, buffer in reader.iter_ranges_async(ranges, on_error="return"):
                    check(i, buffer)
            else:
                for i, buffer in reader.iter_ranges(ranges, on_error="return"):
                    check(i, buffer)
        assert not left

    def test_what_is_compressed_on_its_way_is_an_error(self, latency: Any, reader: ringio.Reader) -> None:
        url = latency.put("text", bytes(1000))
        latency.rules(Rule(gzip="whole"))
        with pytest.raises(ringio.StoreError, match=r"has compressed them: .http"):
            reader.read_ranges([(url, 0, None)])

    @pytest.mark.parametrize("start", [0, 10])
    def test_a_server_with_ranges_is_asked_once_for_what_is_short(
        self, latency: Any, reader: ringio.Reader, start: int
    ) -> None:
        urls = [latency.put(f"short/{i}", bytes([i]) * 1000) for i in range(100)]
        buffers = reader.read_ranges([(url, start, None) for url in urls])
        assert [bytes(buffer) for buffer in buffers] == [bytes([i]) * (1000 - start) for i in range(100)]
        assert latency.seen().requests == len(urls)
        long = latency.put_pattern("long", 6 << 20)
        assert bytes(reader.read_ranges([(long, start, None)])[0]) == pattern(start, (6 << 20) - start)
        assert latency.seen().requests == len(urls) + 3  # its size, and two parts


class TestChunks:
    """Chunks that are objects of their own, as those of Zarr arrays without shards are."""

    def chunks(self, latency: Any, count: int, nbytes: int = 1000) -> list[str]:
        return [latency.put(f"chunks/{i}", bytes([i]) * nbytes) for i in range(count)]

    def read(self, reader: ringio.Reader, urls: list[str], nbytes: int = 1000, **options: Any) -> Any:
        tasks = [ringio.Task(i, (nbytes,), (0,), (nbytes,), (i * nbytes,)) for i in range(len(urls))]
        out = np.full(len(urls) * nbytes, 255, np.uint8)
        reader.execute(ringio.Plan([(url, 0, None) for url in urls], tasks, dtype="u1", **options), out)
        return out.reshape(len(urls), nbytes)

    @pytest.mark.parametrize("nbytes", [1000, 300_000])
    def test_few_at_once(self, latency: Any, reader: ringio.Reader, nbytes: int) -> None:
        urls = self.chunks(latency, 40, nbytes)
        latency.rules(Rule(ignore_range=True, delay_s=0.01))
        assert (self.read(reader, urls, nbytes) == np.arange(40)[:, np.newaxis]).all()
        assert latency.seen().requests == len(urls) + 1
        assert latency.seen().most_in_flight <= 6

    def test_of_a_server_with_ranges_all_at_once(self, latency: Any, reader: ringio.Reader) -> None:
        urls = self.chunks(latency, 100)
        latency.rules(Rule(delay_s=0.05))
        for _ in range(2):
            assert (self.read(reader, urls) == np.arange(100)[:, np.newaxis]).all()
        assert latency.seen().requests == 2 * len(urls)
        assert latency.seen().most_in_flight > 50

    @pytest.mark.parametrize("ignore_range", [True, False])
    @pytest.mark.parametrize("missing_count", [1, 10])
    def test_missing_ones_do_not_find_out(
        self, latency: Any, reader: ringio.Reader, ignore_range: bool, missing_count: int
    ) -> None:
        urls = [latency.url(f"chunks/none/{i}") for i in range(missing_count)] + self.chunks(latency, 20)
        latency.rules(Rule(ignore_range=ignore_range))
        with pytest.raises(FileNotFoundError):
            self.read(reader, urls)
        assert (self.read(reader, urls[missing_count:]) == np.arange(20)[:, np.newaxis]).all()

    def test_beside_ranges_of_others(self, latency: Any, reader: ringio.Reader) -> None:
        """Whole objects are read, whatever becomes of ranges of the same server."""
        urls = self.chunks(latency, 40)
        latency.rules(Rule(ignore_range=True))
        tasks = [ringio.Task(i, (100,), (0,), (100,), (100 * i,)) for i in range(40)]
        whole = [ringio.Task(40 + i, (1000,), (0,), (1000,), (4000 + 1000 * i,)) for i in range(40)]
        ranges = [*((url, 5, 100) for url in urls), *((f"{url}?whole", 0, None) for url in urls)]
        out = np.full(44_000, 255, np.uint8)
        errors = reader.execute(ringio.Plan(ranges, tasks + whole, dtype="u1"), out, on_error="return")
        assert [number for number, _ in errors] == list(range(40))
        assert (out[4000:].reshape(40, 1000) == np.arange(40)[:, np.newaxis]).all()

    def test_broken_ones(self, latency: Any) -> None:
        urls = self.chunks(latency, 10)
        latency.rules(Rule(ignore_range=True), Rule(path="/chunks/5", ignore_range=True, status=503))
        with (
            ringio.Reader(store_options={"retries": 1}) as reader,
            pytest.raises(ringio.StoreError, match="in 2 tries") as caught,
        ):
            self.read(reader, urls)
        assert caught.value.filename == urls[5]

    def test_what_is_compressed_on_its_way_is_an_error(self, latency: Any, reader: ringio.Reader) -> None:
        urls = self.chunks(latency, 3)
        latency.rules(Rule(gzip="whole"))
        with pytest.raises(ringio.StoreError, match=r"has compressed them: .http"):
            self.read(reader, urls)

    def test_ranges_of_others_do_not_end_it(self, latency: Any, reader: ringio.Reader) -> None:
        urls = [latency.put(f"part/{i}", bytes(10)) for i in range(400)]
        latency.rules(Rule(ignore_range=True))
        ranges = [*((url, 5, 3) for url in urls), (latency.put("all_of_it", bytes([7]) * 1000), 0, None)]
        tasks = [ringio.Task(i, (3,), (0,), (3,), (3 * i,)) for i in range(400)]
        tasks.append(ringio.Task(400, (1000,), (0,), (1000,), (1200,)))
        out = np.zeros(2200, np.uint8)
        errors = reader.execute(ringio.Plan(ranges, tasks, dtype="u1"), out, on_error="return")
        assert [number for number, _ in errors] == list(range(400))
        assert (out[1200:] == 7).all()

    def test_arrays(self, plain_server: str, tmp_path: Path) -> None:
        array = zarr.create_array(tmp_path / "array", shape=(300, 200), chunks=(20, 20), dtype="f8", fill_value=-1)
        array[40:] = np.random.default_rng(0).random((260, 200))
        begin_s = time.monotonic()
        found = ringio_zarr.open_array(f"{plain_server}/array")
        np.testing.assert_array_equal(found[...], array[...])
        np.testing.assert_array_equal(found[7:50, 3], array[7:50, 3])
        assert time.monotonic() - begin_s < 10


class TestServersThatGiveRanges:
    """What one object shows does not hold for the whole server."""

    LIMIT_NBYTES = 8 << 20

    def test_an_empty_file_of_nginx(self, nginx: Any) -> None:
        """It comes without a range, whatever is asked for."""
        data = [b"", *(bytes([i]) * (3 << 20) for i in range(5))]
        urls = [nginx.put(f"empty_first/{i}", data[i]) for i in range(6)]
        for order in (range(6), range(5, -1, -1), (3, 0, 1, 2, 4, 5)):
            with ringio.Reader(memory_limit_bytes=self.LIMIT_NBYTES) as reader:
                buffers = reader.read_ranges([(urls[i], 0, None) for i in order], on_error="return")
            assert not buffers.errors
            for i, buffer in zip(order, buffers, strict=True):
                assert bytes(buffer) == data[i]

    @pytest.mark.parametrize("number", [0, 1, 4])
    def test_one_object_compressed(self, latency: Any, number: int) -> None:
        """It is an error, and the others are read."""
        urls = [latency.put(f"{'packed' if i == number else 'data'}/{i}", bytes([i]) * (3 << 20)) for i in range(5)]
        latency.rules(Rule(path="/packed", gzip="whole"))
        with ringio.Reader(memory_limit_bytes=self.LIMIT_NBYTES) as reader:
            buffers = reader.read_ranges([(url, 0, None) for url in urls], on_error="return")
        assert list(buffers.errors) == [number]
        for i in set(range(5)) - {number}:
            assert bytes(buffers[i]) == bytes([i]) * (3 << 20)

    @pytest.mark.parametrize("number", [0, 1, 4, 7])
    def test_one_object_without_a_range(self, latency: Any, number: int) -> None:
        data = [bytes([i]) * (3 << 20) for i in range(8)]
        data[number] = bytes([99]) * (1 << 20)
        urls = [latency.put(f"{'odd' if i == number else 'even'}/{i}", data[i]) for i in range(8)]
        latency.rules(Rule(path="/odd", ignore_range=True), Rule(delay_s=0.005))
        for attempt in range(3):
            with ringio.Reader(memory_limit_bytes=self.LIMIT_NBYTES) as reader:
                buffers = reader.read_ranges([(url, 0, None) for url in urls])
            assert [bytes(buffer) for buffer in buffers] == data, attempt

    @pytest.mark.parametrize("number", [0, 1, 30])
    def test_one_chunk_without_a_range(self, latency: Any, number: int) -> None:
        urls = [latency.put(f"{'odd' if i == number else 'even'}/{i}", bytes([i]) * 100) for i in range(100)]
        latency.rules(Rule(path="/odd", ignore_range=True), Rule(delay_s=0.005))
        tasks = [ringio.Task(i, (100,), (0,), (100,), (100 * i,)) for i in range(100)]
        out = np.full(10_000, 255, np.uint8)
        with ringio.Reader() as reader:
            reader.execute(ringio.Plan([(url, 0, None) for url in urls], tasks, dtype="u1"), out)
        assert (out.reshape(100, 100) == np.arange(100)[:, np.newaxis]).all()


RETRIES = {"retries": 2}


class TestServersInTrouble:
    """A server that is down is found out once, and not once for each object."""

    COUNT = 100

    def read(self, urls: list[str]) -> float:
        begin_s = time.monotonic()
        with ringio.Reader(store_options=RETRIES) as reader:
            errors = reader.read_ranges([(url, 0, None) for url in urls], on_error="return").errors
        assert len(errors) == len(urls)
        assert {type(error) for error in errors.values()} == {ringio.StoreError}
        return time.monotonic() - begin_s

    def execute(self, urls: list[str]) -> float:
        tasks = [ringio.Task(i, (10,), (0,), (10,), (10 * i,)) for i in range(len(urls))]
        plan = ringio.Plan([(url, 0, None) for url in urls], tasks, dtype="u1")
        begin_s = time.monotonic()
        with ringio.Reader(store_options=RETRIES) as reader:
            assert len(reader.execute(plan, np.zeros(10 * len(urls), np.uint8), on_error="return")) == len(urls)
        return time.monotonic() - begin_s

    @pytest.mark.parametrize("how", ["read", "execute"])
    def test_busy(self, latency: Any, how: str) -> None:
        latency.rules(Rule(status=503, delay_s=0.2))
        urls = [latency.url(f"{i}") for i in range(self.COUNT)]
        one_s = getattr(self, how)(urls[:1])
        assert getattr(self, how)(urls) < 3 * one_s + 1

    @pytest.mark.parametrize("how", ["read", "execute"])
    def test_down(self, how: str) -> None:
        with socket.socket() as taken:  # it does not listen
            taken.bind(("127.0.0.1", 0))
            urls = [f"http://127.0.0.1:{taken.getsockname()[1]}/{i}" for i in range(self.COUNT)]
            one_s = getattr(self, how)(urls[:1])
            assert getattr(self, how)(urls) < 3 * one_s + 1

    def test_a_server_without_ranges_that_goes_down(self, latency: Any) -> None:
        names = [f"{'good' if i < 10 else 'bad'}/{i}" for i in range(self.COUNT)]
        urls = [latency.put(name, bytes(10)) for name in names]
        latency.rules(Rule(ignore_range=True), Rule(path="/bad", status=503, delay_s=0.2))
        begin_s = time.monotonic()
        with ringio.Reader(store_options=RETRIES) as reader:
            errors = reader.read_ranges([(url, 0, None) for url in urls], on_error="return").errors
        assert sorted(errors) == list(range(10, self.COUNT))
        assert time.monotonic() - begin_s < 5

    def test_missing_objects_are_asked_for_with_care_once(self, latency: Any) -> None:
        """Each batch of a sparse array would take its time otherwise."""
        ranges = [(latency.url(f"none/{i}"), 0, None) for i in range(self.COUNT)]
        with ringio.Reader() as reader:
            assert len(reader.read_ranges(ranges, on_error="return").errors) == self.COUNT
            latency.reset()
            latency.rules(Rule(delay_s=0.05))
            assert len(reader.read_ranges(ranges, on_error="return").errors) == self.COUNT
            assert latency.seen().most_in_flight > 50
