"""Servers that answer with whole objects, whatever range is asked for."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import ringio
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
            assert "(url, 0, None)" in str(error)

    def test_missing_ones(self, rangeless: Any, reader: ringio.Reader) -> None:
        """Also where the first one, which finds out about the server, is not there."""
        urls = [rangeless.url("none"), *(rangeless.put(f"{i}", bytes([i])) for i in range(9)), rangeless.url("neither")]
        buffers = reader.read_ranges([(url, 0, None) for url in urls], on_error="return")
        assert sorted(buffers.errors) == [0, 10]
        assert {type(error) for error in buffers.errors.values()} == {FileNotFoundError}
        assert [bytes(buffers[i]) for i in range(1, 10)] == [bytes([i]) for i in range(9)]

    def test_more_than_fits(self, rangeless: Any) -> None:
        urls = [rangeless.put(f"{i}", bytes(3 << 20)) for i in range(3)]
        with ringio.Reader(memory_limit_bytes=8 << 20) as reader:
            buffers = reader.read_ranges([(url, 0, None) for url in urls], on_error="return")
        assert len(buffers.errors) == 1
        assert "memory_limit_bytes" in str(next(iter(buffers.errors.values())))

    def test_what_is_compressed_on_its_way_is_an_error(self, latency: Any, reader: ringio.Reader) -> None:
        url = latency.put("text", bytes(1000))
        latency.rules(Rule(gzip="whole"))
        with pytest.raises(ringio.StoreError, match="has compressed them"):
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
