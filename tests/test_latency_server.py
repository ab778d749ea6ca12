"""The latency server does what its rules say, and nothing else."""

from __future__ import annotations

import gzip
import http.client
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from obstore.exceptions import BaseError, GenericError
from obstore.store import S3Store

from servers import Rule
from servers.clients import DATA, fetch, http_store
from servers.latency import pattern


@pytest.fixture
def url(latency):
    return latency.put("bucket/a.bin", DATA)


def raw_answer(latency, target, timeout_s=5.0, head=""):
    """All bytes that come until the end, the reset or the timeout; and which of these it was."""
    received = b""
    with socket.create_connection(("127.0.0.1", latency.port), timeout=timeout_s) as client:
        client.sendall(f"GET /{target} HTTP/1.1\r\nHost: here\r\n{head}\r\n".encode())
        try:
            while data := client.recv(1 << 16):
                received += data
        except ConnectionResetError:
            return received, "reset"
        except TimeoutError:
            return received, "stall"
    return received, "end"


def test_it_is_a_good_server_without_rules(latency, url):
    assert fetch(url)[::2] == (200, DATA)
    status, headers, body = fetch(url, "10-19")
    assert (status, headers["Content-Range"], body) == (206, f"bytes 10-19/{len(DATA)}", DATA[10:20])
    assert fetch(url, "-7")[2] == DATA[-7:]
    assert fetch(url, "99990-")[2] == DATA[99990:]
    assert fetch(url, "99990-200000")[2] == DATA[99990:]
    status, headers, _ = fetch(url, "100000-")
    assert (status, headers["Content-Range"]) == (416, "bytes */100000")
    assert fetch(url, "5-4")[0] in (200, 416)
    status, headers, body = fetch(url, method="HEAD")
    assert (status, headers["Content-Length"], body) == (200, "100000", b"")
    assert fetch(url, method="PUT")[0] == 405
    assert fetch(latency.url("bucket/none"))[0] == 404
    assert fetch(latency.url("bucket"))[0] == 404
    assert fetch(latency.put("empty", b""))[::2] == (200, b"")
    assert fetch(latency.url("empty"), "0-")[0] == 416
    assert fetch(url, "0-0", If_Match='"other"')[0] == 412
    assert fetch(url, "0-0", If_Match=headers["ETag"])[0] == 206


def test_paths_may_have_any_characters_and_stay_below_the_root(latency):
    for name in ("ü ä.bin", "100%.bin", "line\nbreak.bin", "q?x#y&z+.bin"):
        assert fetch(latency.put(f"keys/{name}", name.encode()))[2] == name.encode()
    (latency.folder / "secret").write_text("secret")
    assert fetch(f"{latency.base_url}/../secret")[0] == 404
    assert fetch(f"{latency.base_url}/%2e%2e/secret")[0] == 404


def test_a_pattern_of_five_gib_takes_no_room(latency):
    nbytes = 5 << 30
    url = latency.put_pattern("big/object", nbytes)
    for offset, count in ((0, 10), ((1 << 32) - 5, 10), (nbytes - 10, 10), (3 << 30, 3 << 20)):
        assert fetch(url, f"{offset}-{offset + count - 1}")[2] == pattern(offset, count)
    assert fetch(url, method="HEAD")[1]["Content-Length"] == str(nbytes)


def test_it_is_an_s3_endpoint(latency, url):
    store = S3Store("bucket", **latency.s3_options)
    assert bytes(store.get_range("a.bin", start=5, length=10)) == DATA[5:15]
    assert store.head("a.bin")["size"] == len(DATA)
    with pytest.raises(FileNotFoundError, match="NoSuchKey"):
        store.get("none")


def test_it_counts(latency, url):
    latency.rules(Rule(delay_s=0.2))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda index: fetch(url, f"{index}-{index}"), range(8)))
    seen = latency.seen()
    assert (seen.requests, seen.connections, seen.in_flight, seen.most_in_flight) == (8, 8, 0, 8)
    assert (seen.body_nbytes, seen.statuses) == (8, {206: 8})
    requests = latency.requests()
    assert sorted(request.range for request in requests) == [f"bytes={index}-{index}" for index in range(8)]
    assert {(request.method, request.target, request.status) for request in requests} == {("GET", "/bucket/a.bin", 206)}
    latency.reset()
    assert latency.seen().requests == 0


def test_requests_of_one_connection_are_answered_in_order(latency, url):
    latency.rules(Rule(delay_s=0.05, count=1))
    with socket.create_connection(("127.0.0.1", latency.port), timeout=5) as client:
        one = "GET /bucket/a.bin HTTP/1.1\r\nRange: bytes={0}-{0}\r\n{1}\r\n"
        client.sendall((one.format(1, "") + one.format(2, "Connection: close\r\n")).encode())
        received = b""
        while data := client.recv(1 << 16):
            received += data
    assert received.index(b"bytes 1-1/") < received.index(b"bytes 2-2/")
    assert received.count(b"HTTP/1.1 206") == 2


# ----------------------------------------------------------------------------------------------- time


def test_delay_and_jitter(latency, url):
    latency.rules(Rule(delay_s=0.05, jitter_s=0.02))
    took_s = []
    for _ in range(10):
        started_s = time.perf_counter()
        fetch(url, "0-0")
        took_s.append(time.perf_counter() - started_s)
    assert min(took_s) >= 0.03
    assert max(took_s) - min(took_s) >= 0.005


def test_bandwidth_is_shared(latency):
    url = latency.put_pattern("wide", 1 << 20)
    latency.rules(Rule(bytes_per_s=2 << 20))
    started_s = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        assert [it[2] == pattern(0, 1 << 19) for it in pool.map(fetch, [url] * 2, ["0-524287"] * 2)] == [True] * 2
    assert 0.4 <= time.perf_counter() - started_s < 2


def test_drip(latency, url):
    latency.rules(Rule(drip_nbytes=10, drip_wait_s=0.02))
    started_s = time.perf_counter()
    assert fetch(url, "0-99")[2] == DATA[:100]
    assert time.perf_counter() - started_s >= 0.18


def test_stall(latency, url):
    latency.rules(Rule(ending="stall", ending_after_nbytes=10))
    received, how = raw_answer(latency, "bucket/a.bin", timeout_s=0.3)
    assert (received.endswith(b"\r\n\r\n" + DATA[:10]), how) == (True, "stall")
    latency.rules(Rule(ending="stall"))
    assert raw_answer(latency, "bucket/a.bin", timeout_s=0.3) == (b"", "stall")
    latency.disconnect()
    assert latency.seen().in_flight == 0


# ----------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("status", [403, 404, 429, 500, 503])
def test_statuses(latency, url, status):
    latency.rules(Rule(status=status, retry_after="3", count=2))
    found, headers, body = fetch(url)
    assert (found, headers["Retry-After"], b"<Code>" in body) == (status, "3", True)
    assert fetch(url, method="HEAD")[::2] == (status, b"")
    assert fetch(url)[0] == 200


def test_obstore_tries_again(latency, url):
    latency.rules(Rule(status=503, count=2))
    store = S3Store(
        "bucket", **latency.s3_options, retry_config={"backoff": {"init_backoff": timedelta(milliseconds=10)}}
    )
    assert bytes(store.get_range("a.bin", start=5, length=10)) == DATA[5:15]
    assert latency.seen().statuses == {503: 2, 206: 1}


def test_page_of_words_instead_of_an_object(latency, url):
    latency.rules(Rule(status=200, body="<html>please log in</html>"))
    status, headers, body = fetch(url, "0-9")
    assert (status, headers["Content-Type"], body) == (200, "text/html", b"<html>please log in</html>")


def test_reset_and_cut(latency, url):
    latency.rules(Rule(ending="reset"))
    assert raw_answer(latency, "bucket/a.bin") == (b"", "reset")
    latency.rules(Rule(ending="reset", ending_after_nbytes=10))
    assert raw_answer(latency, "bucket/a.bin")[1] == "reset"
    latency.rules(Rule(ending="cut"))
    assert raw_answer(latency, "bucket/a.bin") == (b"", "end")
    latency.rules(Rule(ending="cut", ending_after_nbytes=10))
    with pytest.raises(http.client.IncompleteRead):
        fetch(url)
    with pytest.raises(GenericError):
        http_store(latency.base_url).get("bucket/a.bin").bytes()


def test_headers_that_lie(latency, url):
    latency.rules(Rule(content_range="bytes 0-9/10"))
    assert fetch(url, "50-59")[1]["Content-Range"] == "bytes 0-9/10"
    latency.rules(Rule(content_range=""))
    assert "Content-Range" not in fetch(url, "50-59")[1]
    latency.rules(Rule(content_range_shift=1))
    _, headers, body = fetch(url, "50-59")
    assert (headers["Content-Range"], body) == ("bytes 51-60/100000", DATA[50:60])
    latency.rules(Rule(body_shift=1))
    _, headers, body = fetch(url, "50-59")
    assert (headers["Content-Range"], body) == ("bytes 50-59/100000", DATA[51:61])
    latency.rules(Rule(length_shift=-3))
    _, headers, body = fetch(url, "50-59")
    assert (headers["Content-Range"], body) == ("bytes 50-56/100000", DATA[50:57])
    latency.rules(Rule(content_length_shift=5))
    with pytest.raises((http.client.IncompleteRead, TimeoutError)):
        fetch(url, "50-59", timeout_s=0.3)
    latency.rules(Rule(content_length_shift=-5))
    assert fetch(url, "50-59")[2] == DATA[50:55]
    latency.rules(Rule(headers={"X-Huge": "x" * 5000, "ETag": '"mine"'}))
    _, headers, _ = fetch(url)
    assert (len(headers["X-Huge"]), headers["ETag"]) == (5000, '"mine"')
    latency.rules(Rule(headers={"Last-Modified": ""}))
    assert "Last-Modified" not in fetch(url)[1]


def test_ranges_that_are_not_obeyed(latency, url):
    latency.rules(Rule(ignore_range=True))
    assert fetch(url, "50-59")[::2] == (200, DATA)
    with pytest.raises(BaseError):
        http_store(latency.base_url).get_range("bucket/a.bin", start=50, length=10)
    latency.rules(Rule(refuse_suffix=True))
    assert fetch(url, "-5")[0] == 416
    assert fetch(url, "5-")[0] == 206


def test_etag_changes(latency, url):
    first = fetch(url)[1]["ETag"]
    assert fetch(url)[1]["ETag"] == first
    latency.put("bucket/a.bin", DATA)
    assert fetch(url)[1]["ETag"] != first
    latency.rules(Rule(etag="changing"))
    assert fetch(url)[1]["ETag"] != fetch(url)[1]["ETag"]
    latency.rules(Rule(etag=""))
    assert "ETag" not in fetch(url)[1]


def test_gzip(latency, url):
    latency.rules(Rule(gzip="whole"))
    status, headers, body = fetch(url, "0-9")
    assert (status, headers["Content-Encoding"], gzip.decompress(body)) == (200, "gzip", DATA)
    latency.rules(Rule(gzip="part"))
    status, headers, body = fetch(url, "10-19")
    assert (status, headers["Content-Range"], gzip.decompress(body)) == (206, "bytes 10-19/100000", DATA[10:20])


def test_redirects(latency, url):
    latency.rules(Rule(path="/old/", status=302, location=url), Rule(path="/loop", status=307, location=""))
    status, headers, _ = fetch(latency.url("old/a"))
    assert (status, headers["Location"]) == (302, url)
    assert fetch(latency.url("loop"))[1]["Location"] == "/loop"
    assert bytes(http_store(latency.base_url).get("old/a").bytes()) == DATA
    with pytest.raises(GenericError, match="redirect"):
        http_store(latency.base_url).get("loop")


def test_bodies_of_no_length(latency, url):
    latency.rules(Rule(chunked=True))
    status, headers, body = fetch(url)
    assert (status, headers["Content-Length"], body) == (200, None, DATA)
    latency.rules(Rule(endless=True))
    with socket.create_connection(("127.0.0.1", latency.port), timeout=5) as client:
        client.sendall(b"GET /bucket/a.bin HTTP/1.1\r\n\r\n")
        received = 0
        while received < 20 << 20:
            received += len(client.recv(1 << 20))
    latency.rules()
    assert fetch(url)[2] == DATA  # it is still there for others


def test_garbage(latency, url):
    latency.rules(Rule(raw="SSH-2.0-OpenSSH\r\n"))
    assert raw_answer(latency, "bucket/a.bin") == (b"SSH-2.0-OpenSSH\r\n", "end")
    with pytest.raises(http.client.BadStatusLine):
        fetch(url)
    with socket.create_connection(("127.0.0.1", latency.port), timeout=5) as client:
        client.sendall(b"nonsense\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 400")


# ----------------------------------------------------------------------------------------------- which requests


def test_rules_choose_requests(latency, url):
    latency.rules(
        Rule(path="/bucket/a", status=500, skip=1, count=2, every=2),
        Rule(offset=77, status=403),
        Rule(method="HEAD", status=429),
    )
    assert [fetch(url, "0-0")[0] for _ in range(6)] == [206, 500, 206, 500, 206, 206]
    assert fetch(url, "77-80")[0] == 403
    assert fetch(url, method="HEAD")[0] == 429
    assert fetch(latency.put("other", b"x"))[0] == 200
    latency.rules(Rule(status=503, probability=0.5), seed=1)
    statuses = [fetch(url, "0-0")[0] for _ in range(40)]
    assert 8 <= statuses.count(503) <= 32
    latency.rules(Rule(status=503, probability=0.5), seed=1)
    assert [fetch(url, "0-0")[0] for _ in range(40)] == statuses


def test_rules_are_joined(latency, url):
    latency.rules(Rule(delay_s=0.05), Rule(status=500), Rule(status=503, retry_after="1", count=1))
    started_s = time.perf_counter()
    assert fetch(url)[0] == 503
    assert fetch(url)[0] == 500
    assert time.perf_counter() - started_s >= 0.1


def test_many_connections_at_once(latency):
    url = latency.put_pattern("many", 1 << 30)
    latency.rules(Rule(delay_s=0.02, jitter_s=0.005))
    offsets = [index * 9973 for index in range(2000)]
    with ThreadPoolExecutor(64) as pool:
        found = list(pool.map(lambda offset: fetch(url, f"{offset}-{offset + 99}")[2], offsets))
    assert found == [pattern(offset, 100) for offset in offsets]
    assert latency.seen().most_in_flight > 16
