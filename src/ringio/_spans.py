"""What threads of Python do and when, for ``ringio.trace``: next to nothing while nothing is traced."""

from __future__ import annotations

import time
from typing import Protocol


class Sink(Protocol):
    """Where spans go. All of it is called by any thread."""

    def span(self, name: str, begin_ns: int, end_ns: int, arguments: dict[str, object]) -> None:
        """The calling thread did something: spans of one thread lie within each other, or one behind the other."""

    def task(self, name: str, begin_ns: int, end_ns: int, arguments: dict[str, object]) -> None:
        """Something took place that is of no thread: what an event loop awaits."""

    def in_flight(self, owner: int, nbytes: int) -> None:
        """So many bytes are in flight now, of requests of one pool of threads."""


class _State:
    __slots__ = ("sink",)

    def __init__(self) -> None:
        self.sink: Sink | None = None


_state = _State()


def send_to(sink: Sink | None) -> None:
    """Where spans go from now on; None: nowhere."""
    _state.sink = sink


def begin() -> int:
    """The time, in ns of CLOCK_MONOTONIC; 0: nothing is traced."""
    return 0 if _state.sink is None else time.monotonic_ns()


def end(name: str, begin_ns: int, **arguments: object) -> None:
    """Note a span of the calling thread that began then; nothing where that is 0."""
    sink = _state.sink
    if begin_ns and sink is not None:
        sink.span(name, begin_ns, time.monotonic_ns(), arguments)


def end_task(name: str, begin_ns: int, **arguments: object) -> None:
    """The same for what an event loop awaits."""
    sink = _state.sink
    if begin_ns and sink is not None:
        sink.task(name, begin_ns, time.monotonic_ns(), arguments)


def set_in_flight(owner: object, nbytes: int) -> None:
    """Note how many bytes are in flight."""
    sink = _state.sink
    if sink is not None:
        sink.in_flight(id(owner), nbytes)
