"""What the latency server answers to a request, rules obeyed: no sockets here."""

from __future__ import annotations

import gzip
import os
import re
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote

from servers.latency import pattern, pattern_twice
from servers.rules import PATTERN_PERIOD

RANGE = re.compile(rb"\r\n(?i:range): *bytes=(\d*)-(\d*) *\r\n")
IF_MATCH = re.compile(rb"\r\n(?i:if-match): *([^\r]*)\r\n")
ENDLESS_NBYTES = 1 << 62
Actions = Mapping[str, Any]


class Source(Protocol):
    """An object that is served."""

    nbytes: int
    etag: str
    modified_s: int

    def read(self, offset: int, nbytes: int) -> bytes | memoryview: ...


class FileSource:
    """A file, opened anew for each request: it may be replaced at any time."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        status = os.fstat(self._fd)
        if not stat.S_ISREG(status.st_mode):
            raise IsADirectoryError(path)
        self.nbytes = status.st_size
        self.etag = f'"{status.st_mtime_ns:x}-{status.st_ino:x}-{status.st_size:x}"'
        self.modified_s = int(status.st_mtime)

    def read(self, offset: int, nbytes: int) -> bytes:
        data = os.pread(self._fd, nbytes, offset)
        # A body that was shifted beyond the end still has its length.
        return data if len(data) == nbytes else data + bytes(nbytes - len(data))

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            os.close(self._fd)


class PatternSource:
    """Bytes that repeat, of any size."""

    modified_s = 1_700_000_000

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self.etag = f'"pattern-{nbytes:x}"'

    def read(self, offset: int, nbytes: int) -> bytes | memoryview:
        first = offset % PATTERN_PERIOD
        if nbytes <= PATTERN_PERIOD:
            return pattern_twice()[first : first + nbytes]  # no copy
        return pattern(offset, nbytes)


class BytesSource:
    """Bytes at hand."""

    etag, modified_s = "", 0

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.nbytes = len(data)

    def read(self, offset: int, nbytes: int) -> bytes:
        return self.data[offset : offset + nbytes]


@dataclass(slots=True)
class Request:
    """A request's head."""

    head: bytes  # with the blank line
    method: str
    path: str  # decoded
    offset: int | None  # where its range starts; None: no range, or a suffix
    status: int = 0  # once it is answered


@dataclass(slots=True)
class Answer:
    """What is sent: the head, then ``nbytes`` of the source from ``offset`` on; then ``ending``."""

    status: int
    head: bytes
    source: Source
    offset: int
    nbytes: int
    ending: str = ""  # "": the connection is kept
    chunked: bool = False


def parse_request(head: bytes) -> Request:
    """Reads a request's head; raises ValueError."""
    method, target, _ = head[: head.index(b"\r\n")].decode("latin-1").split(" ")
    path = target.partition("?")[0]
    match = RANGE.search(head)
    offset = int(match[1]) if match is not None and match[1] else None
    return Request(head, method, unquote(path) if "%" in path else path, offset)


def open_source(root: Path, patterns: Mapping[str, Source], path: str) -> Source | None:
    """The object of a path, or None."""
    if (pattern := patterns.get(path)) is not None:
        return pattern
    if ".." in path.split("/") or "\0" in path:
        return None
    try:
        return FileSource(f"{root}{path}")
    except OSError:
        return None


def wanted_range(request: Request, nbytes: int, actions: Actions) -> tuple[int, int] | str | None:
    """(start, stop) of the range, None without one, or why there is none."""
    match = RANGE.search(request.head)
    if match is None or actions.get("ignore_range") or not (match[1] or match[2]):
        return None
    if not match[1]:
        count = int(match[2])
        if actions.get("refuse_suffix") or count == 0 or nbytes == 0:
            return "unsatisfiable"
        return max(0, nbytes - count), nbytes
    start = int(match[1])
    stop = min(int(match[2]) + 1, nbytes) if match[2] else nbytes
    if start >= nbytes or stop <= start:
        return "unsatisfiable"
    return start, stop


@lru_cache(maxsize=1024)
def http_date(seconds: int) -> str:
    """Seconds as HTTP writes them."""
    return formatdate(seconds, usegmt=True)


@lru_cache(maxsize=64)
def reason(status: int) -> str:
    """The words after a status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def error_answer(request: Request, status: int, actions: Actions, **headers: str) -> Answer:
    """An answer that says why there is nothing, in words that an S3 client reads, too."""
    code = {404: "NoSuchKey", 403: "AccessDenied", 503: "SlowDown", 416: "InvalidRange", 412: "PreconditionFailed"}
    text = actions.get("body")
    if text is None:
        text = f"<Error><Code>{code.get(status, 'Error')}</Code><Message>{reason(status)}</Message></Error>"
    fields = {"Content-Type": "application/xml", **headers}
    if actions.get("retry_after") is not None:
        fields["Retry-After"] = actions["retry_after"]
    if actions.get("location") is not None:
        fields["Location"] = actions["location"] or request.path
    source = BytesSource(text.encode())
    return finish(request, status, fields, source, 0, source.nbytes, actions)


def object_answer(request: Request, source: Source, serial: int, actions: Actions) -> Answer:
    """An answer that has the object, or the range of it that was asked for."""
    etag = actions.get("etag", source.etag)
    if etag == "changing":
        etag = f'"changing-{serial}"'
    match = IF_MATCH.search(request.head)
    if match is not None and match[1] != b"*" and etag.encode() not in match[1]:
        return error_answer(request, 412, {})
    found = wanted_range(request, source.nbytes, actions)
    if isinstance(found, str):
        return error_answer(request, 416, {}, **{"Content-Range": f"bytes */{source.nbytes}"})
    fields = {"Accept-Ranges": "bytes", "Last-Modified": http_date(source.modified_s)}
    if etag:
        fields["ETag"] = etag
    if found is None or actions.get("gzip") == "whole":
        status, start, stop = 200, 0, source.nbytes
    else:
        status, (start, stop) = 206, found
        stop = max(start, stop + actions.get("length_shift", 0))
        shift = actions.get("content_range_shift", 0)
        said = actions.get("content_range", f"bytes {start + shift}-{stop - 1 + shift}/{source.nbytes}")
        if said:
            fields["Content-Range"] = said
    offset, nbytes = start + actions.get("body_shift", 0), stop - start
    if actions.get("gzip"):
        fields["Content-Encoding"] = "gzip"
        source = BytesSource(gzip.compress(bytes(source.read(offset, nbytes)), 1))
        offset, nbytes = 0, source.nbytes
    return finish(request, status, fields, source, offset, nbytes, actions)


def finish(
    request: Request,
    status: int,
    fields: dict[str, str],
    source: Source,
    offset: int,
    nbytes: int,
    actions: Actions,
) -> Answer:
    """Writes the head, and lets the rules have their way with the body."""
    chunked = bool(actions.get("chunked"))
    if actions.get("endless"):
        fields.pop("Content-Range", None)
        status, source, nbytes = 200, PatternSource(ENDLESS_NBYTES), ENDLESS_NBYTES
    elif not chunked:
        fields["Content-Length"] = str(max(0, nbytes + actions.get("content_length_shift", 0)))
    if chunked:
        fields["Transfer-Encoding"] = "chunked"
    ending = actions.get("ending", "")
    if ending:
        nbytes = min(nbytes, actions.get("ending_after_nbytes", nbytes))
    elif (actions.get("endless") and not chunked) or b"\r\nconnection: close\r\n" in request.head.lower():
        fields["Connection"] = "close"
        ending = "cut"
    fields.update(actions.get("headers") or {})
    lines = "".join([f"{name}: {value}\r\n" for name, value in fields.items() if value])
    head = (
        f"HTTP/1.1 {status} {reason(status)}\r\nServer: latency\r\nDate: {http_date(int(time.time()))}\r\n{lines}\r\n"
    )
    if request.method == "HEAD":
        nbytes, chunked = 0, False
    return Answer(status, head.encode("latin-1"), source, offset, nbytes, ending, chunked)


def make_answer(request: Request, root: Path, patterns: Mapping[str, Source], serial: int, actions: Actions) -> Answer:
    """The answer to a request."""
    if request.method not in ("GET", "HEAD"):
        return error_answer(request, 405, {}, Allow="GET, HEAD")
    status = actions.get("status")
    if status is not None and not 200 <= status < 300:
        return error_answer(request, status, actions)
    if status is not None and actions.get("body") is not None:
        return error_answer(request, status, actions, **{"Content-Type": "text/html"})
    source = open_source(root, patterns, request.path)
    if source is None:
        return error_answer(request, 404, {})
    return object_answer(request, source, serial, actions)
