"""What the latency server is told to do, and what it has seen: plain data that both of its sides share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

PATTERN_PERIOD = 1_048_573  # a prime: a range that is shifted by any power of two has other bytes


@dataclass(frozen=True)
class Rule:
    """Which requests are meant, and what is done to their answers.

    All rules that fit a request are joined; where two say something about the same thing, the later rule has it. The
    first part of the fields chooses requests: those whose path starts with ``path``, of ``method`` and whose range
    starts at ``offset`` if these are given; of them the first ``skip`` are left alone, then every ``every``-th is
    chosen, with ``probability``, until ``count`` of them were.
    """

    path: str = "/"
    method: str | None = None
    offset: int | None = None
    skip: int = 0
    every: int = 1
    probability: float = 1.0
    count: int | None = None

    delay_s: float | None = None  # before anything is answered
    jitter_s: float | None = None  # more or less than that, evenly
    bytes_per_s: float | None = None  # of the whole server: all connections share it

    status: int | None = None  # an error without the object; with `body` instead of the usual text
    body: str | None = None
    retry_after: str | None = None  # seconds or a date
    location: str | None = None  # of a redirect, with a `status` of 3xx; "" is the request's own path: a loop
    headers: dict[str, str] | None = None  # more of them; they replace those of the same name; "": none
    raw: str | None = None  # sent as it is, instead of an answer; then the connection is closed

    # "reset": RST, "cut": FIN, "stall": nothing more. After that many bytes of the body; None: not even a status line.
    ending: Literal["reset", "cut", "stall"] | None = None
    ending_after_nbytes: int | None = None
    drip_nbytes: int | None = None  # the body comes in such pieces ...
    drip_wait_s: float | None = None  # ... and so long apart
    endless: bool | None = None  # a body without an end

    ignore_range: bool | None = None  # 200 and the whole object
    refuse_suffix: bool | None = None  # 416 for bytes=-10, as of a server that does not know it
    content_range: str | None = None  # this instead of the right one; "": none
    content_range_shift: int | None = None  # the header speaks of a range so many bytes later
    body_shift: int | None = None  # the body is of a range so many bytes later, the headers are right
    length_shift: int | None = None  # so many bytes more or less than asked for, and the headers say so
    content_length_shift: int | None = None  # the header alone is wrong
    etag: str | None = None  # "changing": another with each answer; "": none
    gzip: Literal["whole", "part"] | None = None  # the object, with 200; or the range that was asked for, with 206
    chunked: bool | None = None  # Transfer-Encoding instead of Content-Length


CHOICE_FIELDS = ("path", "method", "offset", "skip", "every", "probability", "count")


@dataclass(frozen=True)
class SeenRequest:
    """A request as it came; ``status`` is 0 where no status was answered."""

    method: str
    target: str  # path and query, percent-encoded
    headers: dict[str, str]  # names in lower case
    status: int

    @property
    def range(self) -> str | None:
        return self.headers.get("range")


@dataclass(frozen=True)
class Seen:
    """Counts since the start or the last ``reset()``."""

    requests: int = 0
    connections: int = 0  # that were opened
    in_flight: int = 0  # requests that are not answered yet
    most_in_flight: int = 0
    open_connections: int = 0
    most_connections: int = 0
    body_nbytes: int = 0
    statuses: dict[int, int] = field(default_factory=dict)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Seen:
        statuses = {int(status): count for status, count in document.pop("statuses").items()}
        return cls(**document, statuses=statuses)
