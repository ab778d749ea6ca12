"""Clients that the tests of the servers look through: one that shows all of an answer, and obstore's."""

from __future__ import annotations

import http.client
from email.message import Message
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from servers.latency import pattern

if TYPE_CHECKING:
    from obstore.store import HTTPStore

DATA = pattern(12345, 100_000)


def fetch(
    url: str, span: str | None = None, timeout_s: float = 10.0, method: str = "GET", **headers: str
) -> tuple[int, Message, bytes]:
    """Status, headers and body of one request on a connection of its own; redirects are not followed."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout_s)
    if span is not None:
        headers["Range"] = f"bytes={span}"
    try:
        connection.request(method, parts.path, headers={name.replace("_", "-"): it for name, it in headers.items()})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def http_store(url: str, **client_options: Any) -> HTTPStore:
    """obstore's store for a server, which does not try again."""
    from obstore.store import HTTPStore

    options: Any = {"allow_http": True, **client_options}
    return HTTPStore.from_url(url, client_options=options, retry_config={"max_retries": 0})
