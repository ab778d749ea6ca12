"""The servers that other tests rely on do what they say, seen by plain HTTP clients and by obstore."""

from __future__ import annotations

import gzip
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import pytest
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from servers import LatencyServer, NginxServer, UnavailableServerError
from servers.base import find_program, free_port, has_ipv6
from servers.clients import DATA, fetch, http_store

# ----------------------------------------------------------------------------------------------- nginx


def test_nginx_serves_ranges(nginx):
    url = nginx.put("ranges/a.bin", DATA)
    assert fetch(url)[2] == DATA
    status, headers, body = fetch(url, "10-19")
    assert (status, headers["Content-Range"], body) == (206, f"bytes 10-19/{len(DATA)}", DATA[10:20])
    assert headers["ETag"]
    assert headers["Last-Modified"]
    assert fetch(url, "-7")[2] == DATA[-7:]
    assert fetch(url, f"{len(DATA)}-")[0] == 416
    assert fetch(nginx.url("ranges/none.bin"))[0] == 404
    assert any(line.startswith('GET /ranges/a.bin 206 "bytes=10-19"') for line in nginx.requests())


def test_nginx_keys_may_have_any_characters(nginx):
    for name in ("ü ä.bin", "100%.bin", "a%2Fb.bin", "line\nbreak.bin", "q?x#y&z+.bin"):
        url = nginx.put(f"keys/{name}", name.encode())
        assert fetch(url)[2] == name.encode()
        if "\n" not in name:  # obstore refuses it by itself
            assert bytes(S3Store("keys", **nginx.s3_options).get(name).bytes()) == name.encode()


def test_nginx_is_an_s3_endpoint(nginx):
    nginx.put("bucket/some/key", DATA)
    store = S3Store("bucket", **nginx.s3_options)
    assert store.head("some/key")["size"] == len(DATA)
    assert bytes(store.get("some/key").bytes()) == DATA
    assert bytes(store.get_range("some/key", start=5, length=10)) == DATA[5:15]
    found = store.get_ranges("some/key", starts=[0, 50_000], lengths=[10, 20])
    assert [bytes(it) for it in found] == [DATA[:10], DATA[50_000:50_020]]
    assert bytes(store.get("some/key", options={"range": {"suffix": 9}}).bytes()) == DATA[-9:]
    with pytest.raises(FileNotFoundError, match="NoSuchKey"):
        store.get("some/other")
    with pytest.raises(PermissionDeniedError):
        store.put("new", b"")


def test_nginx_compresses_for_who_wants_it(nginx):
    nginx.put("gz/a.bin", b"a" * 10_000)
    status, headers, body = fetch(nginx.url("gzip/gz/a.bin"), "0-9", Accept_Encoding="gzip")
    assert (status, headers["Content-Encoding"], gzip.decompress(body)) == (200, "gzip", b"a" * 10_000)
    assert fetch(nginx.url("gzip/gz/a.bin"), "0-9")[::2] == (206, b"a" * 10)


def test_nginx_says_that_a_file_is_encoded(nginx):
    nginx.put("gz/b.gz", gzip.compress(DATA))
    status, headers, body = fetch(nginx.url("encoded/gz/b.gz"), "0-1")
    assert (status, headers["Content-Encoding"], body) == (206, "gzip", b"\x1f\x8b")


def test_nginx_does_without_ranges_where_told_to(nginx):
    nginx.put("plain/a.bin", DATA)
    assert fetch(nginx.url("no-ranges/plain/a.bin"), "0-9")[::2] == (200, DATA)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_nginx_redirects(nginx, status):
    url = nginx.put("redirected/a b%20.bin", DATA)
    found, headers, _ = fetch(url.replace("/redirected", f"/redirect-{status}/redirected"))
    assert (found, urlsplit(headers["Location"]).path) == (status, urlsplit(url).path)
    assert urlsplit(headers["Location"]).port == nginx.port
    with urllib.request.urlopen(url.replace("/redirected", "/elsewhere/redirected"), timeout=10) as response:
        assert response.read() == DATA
        assert urlsplit(response.url).port == nginx.s3_port
    assert fetch(nginx.url("redirect-loop/a"))[1]["Location"].endswith("/redirect-loop/a")


def test_nginx_refuses_and_breaks(nginx):
    assert fetch(nginx.url("forbidden/a"))[0] == 403
    assert fetch(nginx.url("broken/a"))[0] == 500


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on the loopback interface")
def test_servers_listen_on_ipv6(nginx, latency):
    nginx.put("six/a.bin", DATA)
    assert fetch(nginx.url("six/a.bin", ipv6=True))[2] == DATA
    latency.put("six.bin", DATA)
    assert fetch(latency.url("six.bin", ipv6=True))[2] == DATA


def test_nginx_speaks_tls_with_a_certificate_of_its_own(nginx):
    if not nginx.certificate_path.exists():
        pytest.skip("no openssl here")
    nginx.put("tls/a.bin", DATA)
    url = nginx.https_url("tls/a.bin")
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.urlopen(url, timeout=10)
    trusting = ssl.create_default_context(cafile=nginx.certificate_path)
    with urllib.request.urlopen(url, timeout=10, context=trusting) as response:
        assert response.read() == DATA
    certificate = nginx.certificate_path.read_text()
    for options in ({"root_certificate": certificate}, {"allow_invalid_certificates": True}):
        assert bytes(http_store(nginx.https_url(""), **options).get("tls/a.bin").bytes()) == DATA
    with pytest.raises(BaseError, match="InvalidCertificate"):
        http_store(nginx.https_url("")).get("tls/a.bin")


# ----------------------------------------------------------------------------------------------- moto and azurite


def test_moto_is_s3(moto):
    moto.make_bucket("made")
    assert moto.put("made", "a/ü b", DATA) == "s3://made/a/ü b"
    store = moto.store("made")
    assert bytes(store.get_range("a/ü b", start=7, length=100)) == DATA[7:107]
    assert [it["path"] for it in store.list().collect()] == ["a/ü b"]
    with pytest.raises(FileNotFoundError):
        store.get("none")
    with pytest.raises(FileNotFoundError, match="NoSuchBucket"):
        moto.store("no-such-bucket").get("none")
    with pytest.raises((PermissionDeniedError, UnauthenticatedError)):
        moto.store("made", skip_signature=True).get("a/ü b")


def test_azurite_has_blobs_and_no_suffix_ranges(azurite):
    azurite.make_container("made")
    azurite.make_container("open", public=True)
    assert azurite.put("made", "a/b", DATA) == "az://made/a/b"
    azurite.put("open", "c", DATA)
    store = azurite.store("made")
    assert bytes(store.get_range("a/b", start=7, length=100)) == DATA[7:107]
    assert [it["path"] for it in store.list().collect()] == ["a/b"]
    with pytest.raises(FileNotFoundError):
        store.get("none")
    with pytest.raises(BaseError, match="suffix"):
        store.get("a/b", options={"range": {"suffix": 9}})
    assert fetch(f"{azurite.endpoint}/open/c", "5-9")[2] == DATA[5:10]
    assert fetch(f"{azurite.endpoint}/made/a/b")[0] in (403, 404)


# ----------------------------------------------------------------------------------------------- starting, stopping


def test_a_missing_program_says_what_to_do():
    with pytest.raises(UnavailableServerError, match="no ringio-no-such-program here: install it"):
        find_program("ringio-no-such-program", hint="install it")


def test_a_server_that_cannot_start_says_why(tmp_path):
    server = NginxServer(tmp_path)
    try:
        server.command()
    except UnavailableServerError as error:
        pytest.skip(str(error))
    server.configuration = lambda: "nonsense;"
    with pytest.raises(RuntimeError, match='unknown directive "nonsense"'):
        server.__enter__()


@pytest.mark.parametrize("kind", [NginxServer, LatencyServer])
def test_a_server_ends_with_its_block_and_with_its_parent(kind, tmp_path):
    try:
        with kind(tmp_path / "a") as server:
            port = server.port
            socket.create_connection(("127.0.0.1", port)).close()
    except UnavailableServerError as error:
        pytest.skip(str(error))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    script = f"""
import pathlib, sys, time
sys.path[:0] = {sys.path!r}
from servers import {kind.__name__}
with {kind.__name__}(pathlib.Path({str(tmp_path / "b")!r})) as server:
    print(server.port, flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        port = int(parent.stdout.readline())
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    deadline_s = time.monotonic() + 10
    while time.monotonic() < deadline_s:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.05)
    pytest.fail("it still listens")


def test_a_port_that_somebody_took_meanwhile(tmp_path, monkeypatch):
    """The look for a free port and its use are two steps: somebody may come between."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        ports = iter([taken.getsockname()[1]])
        monkeypatch.setattr("servers.nginx.free_port", lambda: next(ports, None) or free_port())
        try:
            with NginxServer(tmp_path / "a folder") as server:
                assert server.port != taken.getsockname()[1]
                assert fetch(server.put("a", DATA))[2] == DATA
        except UnavailableServerError as error:
            pytest.skip(str(error))


def test_a_failing_test_shows_the_log_and_a_missing_program_skips(tmp_path):
    (tmp_path / "test_it.py").write_text("""
import os, signal, urllib.request
from pathlib import Path
import pytest, servers.azurite, servers.base

def test_fails(latency_process):
    Path(latency_process.log_path).write_text("what the server wrote")
    print("port", latency_process.port)
    assert False

def test_skips(monkeypatch, request):
    monkeypatch.setattr(servers.azurite, "INSTALLED", Path("/nowhere"))
    monkeypatch.setenv("PATH", "/nowhere")
    request.getfixturevalue("azurite")
""")
    command = [sys.executable, "-m", "pytest", "-p", "servers.fixtures", "-rs", "--basetemp", str(tmp_path / "base")]
    result = subprocess.run(
        [*command, "-c", os.devnull, "--rootdir", str(tmp_path), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "RINGIO_TEST_SERVERS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 failed" in result.stdout, result.stdout
    assert "log of latency" in result.stdout
    assert "what the server wrote" in result.stdout
    port = int(result.stdout.partition("port ")[2].split()[0])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    if "1 skipped" in result.stdout:  # where azurite or node is among the administrator's programs, it starts
        assert "here: install Node.js" in result.stdout or "here: run scripts/install_servers.sh" in result.stdout
