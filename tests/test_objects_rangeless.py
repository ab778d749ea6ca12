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


@pytest.mark.parametrize("extent", [(10, 100), (-10, None), (1, NBYTES - 1)], ids=str)
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
