"""What stores of objects say when they fail, sorted: what it means, and whether another try may help.

obstore gives most failures as one class, ``GenericError``, whose text has the HTTP status, or the reason why there is
none, somewhere in it. So here texts are read. Stores of other kinds have their say through Python's own exceptions, and
those that obspec names.
"""

from __future__ import annotations

import errno
import random
import re
from typing import Final

from ._core import lib
from ._errors import STORE_FAILED, STORE_NOT_FOUND
from ._named import NamedTuple

PAST_THE_END: Final = lib.RINGIO_EOF
CHANGED: Final = lib.RINGIO_CHANGED


class Problem(NamedTuple):
    """Why an object, or a range of it, could not be read.

    Attributes:
        status: errno, or a status of the core, positive.
        text: what the store said.
        may_pass: whether it may be different the next time.
        error: an exception that says it all.
        is_rangeless: whether the server answers with the whole object whatever range of it is asked for.
        lacks_room: whether it is only that too much else is kept: it may be had by itself.
    """

    status: int
    text: str
    may_pass: bool = False
    error: Exception | None = None
    is_rangeless: bool = False
    lacks_room: bool = False

    @property
    def is_final(self) -> bool:
        """Whether the object as a whole cannot be had, however it is asked for."""
        return self.error is not None or self.status in (errno.ENOENT, STORE_NOT_FOUND)

    def of_whole(self, why: str = "") -> Problem:
        """The same, of who asked for a whole object of a server without ranges, and why that cannot be had."""
        return self._replace(text=self.text.replace(_WHOLE, "") + why)


_STATUS: Final = re.compile(r"status code: (\d{3})\b([^:\n]*):? ?")
_XML: Final = re.compile(r"<Code>([^<]*)</Code>(?:.*?<Message>([^<]*)</Message>)?", re.DOTALL)
# A key that is not there may be a chunk that nobody wrote; in a bucket that is not there nothing says so.
_NO_BUCKET_WORDS: Final = re.compile(r"specified (?:bucket|container) does not exist")
_NO_BUCKET: Final = re.compile(rf"\b(?:NoSuchBucket|ContainerNotFound)\b|{_NO_BUCKET_WORDS.pattern}")
_TEXT_MAX: Final = 200
_DUMP: Final = "\n\nDebug source"  # of structures, which obstore puts behind its texts
# Of instances in the clouds, which give out credentials: nobody gets there who has given some.
_METADATA_SERVERS: Final = re.compile(r"169\.254\.\d|metadata\.google\.internal|token request|fd00:ec2::")
_NO_CREDENTIALS: Final = "no credentials that work: give some in store_options or the environment, or anonymous=True"
_FIRST_DELAY_S: Final = 0.1
_DELAY_MAX_S: Final = 10.0
_RANGELESS: Final = "the server does not give byte ranges, or has compressed them"
_WHOLE: Final = "; it may give whole objects, (url, 0, None)"
_RETRIED_STATUSES: Final = (408, 425, 429, 500, 502, 503, 504, 509)
# Texts of the HTTP client and of obstore, and what they mean; the first that fits. None: as it stands.
_TEXTS: Final = (
    (re.compile(r"error following redirect"), "too many redirects, or one to a place that cannot be used", False),
    (re.compile(r"builder error"), None, False),
    (re.compile(r"Name or service not known|nodename nor servname"), "no such host", False),
    (re.compile(r"InvalidCertificate|certificate"), None, False),
    (
        re.compile(r"InvalidContentType"),
        "what answers there speaks no TLS: http:// instead of https://, perhaps",
        False,
    ),
    (re.compile(r"Requested \d+\.\.\d+, got"), None, True),
    (re.compile(r"Connection refused|ConnectionRefused"), "connection refused", True),
    (re.compile(r"Connection reset|ConnectionReset"), "connection reset", True),
    (re.compile(r"TimedOut|timed out"), "timed out", True),
    (re.compile(r"IncompleteMessage|UnexpectedEof|IncompleteBody|end of file before"), "the answer is cut off", True),
    (re.compile(r"error sending request|body error|error decoding|[Cc]onnection"), None, True),
)
_BY_NAME: Final = {
    "PermissionDeniedError": errno.EACCES,
    "UnauthenticatedError": errno.EACCES,
    "NotFoundError": errno.ENOENT,
    "PreconditionError": CHANGED,
    "NotModifiedError": CHANGED,
}


def sort_out(error: BaseException) -> Problem:
    """What an exception of a store means.

    >>> sort_out(Exception("Server returned non-2xx status code: 503 Service Unavailable: busy")).may_pass
    True
    """
    text = str(error)
    if _METADATA_SERVERS.search(text):
        return Problem(errno.EACCES, f"{_NO_CREDENTIALS} ({_first_line(text)})")
    if found := _STATUS.search(text):
        body = text[found.end() :].split(_DUMP)[0]
        return _of_status(int(found[1]), f"{found[1]}{found[2]}".strip(), body)
    name = type(error).__name__
    if name in _BY_NAME:
        return Problem(_BY_NAME[name], _first_line(text) or name)
    if isinstance(error, OSError):
        return _of_system(error)
    if name == "NotSupportedError":
        if "Range request" in text:
            return Problem(STORE_FAILED, _RANGELESS + _WHOLE, is_rangeless=True)
        return Problem(STORE_FAILED, _first_line(text))
    if re.search(r"Wanted range starting at|StartTooLarge", text):
        return Problem(PAST_THE_END, _first_line(text))
    for pattern, words, may_pass in _TEXTS:
        if pattern.search(text):
            return Problem(STORE_FAILED, words or _first_line(text), may_pass)
    return Problem(STORE_FAILED, _first_line(text) or name)


def delay_s(attempt: int) -> float:
    """How long to wait before the try behind this one: twice as long each time, and not all at the same time.

    >>> 0.05 <= delay_s(1) <= 0.1 and 0.4 <= delay_s(4) <= 0.8
    True
    """
    return min(_DELAY_MAX_S, _FIRST_DELAY_S * 2.0 ** (attempt - 1)) * random.uniform(0.5, 1.0)


def _of_status(status: int, line: str, body: str) -> Problem:
    text = f"{line} ({said})" if (said := _said(body)) and said not in line else line
    if status == 404 or status == 410:
        return Problem(_absence(said), text)
    if status in (401, 403, 407):
        return Problem(errno.EACCES, text)
    if status == 412:
        return Problem(CHANGED, text)
    if status == 416:
        return Problem(PAST_THE_END, text)
    return Problem(STORE_FAILED, text, status in _RETRIED_STATUSES)


def _of_system(error: OSError) -> Problem:
    if isinstance(error, FileNotFoundError):
        text = _first_line(error.strerror or str(error))
        # Without a number an error may consist of the path, as those of fsspec do, and that has any name.
        return Problem(_absence(text, _NO_BUCKET if error.strerror else _NO_BUCKET_WORDS), text)
    if isinstance(error, PermissionError):
        return Problem(errno.EACCES, _first_line(error.strerror or str(error)))
    return Problem(
        STORE_FAILED, _first_line(str(error)) or type(error).__name__, isinstance(error, ConnectionError | TimeoutError)
    )


def _absence(said: str, no_bucket: re.Pattern[str] = _NO_BUCKET) -> int:
    """What is not there, of an object: it, or the store that should have it."""
    return STORE_NOT_FOUND if no_bucket.search(said) else errno.ENOENT


def _said(body: str) -> str:
    """What a server says in the body of an error, if that is fit to be read."""
    if found := _XML.search(body):
        return ": ".join(part.strip().split("\n")[0] for part in found.groups() if part)
    return "" if "<" in body else " ".join(body.split())[:_TEXT_MAX]


def _first_line(text: str) -> str:
    """The text without the dump of structures that obstore puts behind it."""
    line = " ".join(text.split(_DUMP)[0].split())
    return line if len(line) <= _TEXT_MAX else line[:_TEXT_MAX] + "..."
