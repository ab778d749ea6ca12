"""Flags, and work that the garbage collector cancels in the midst of waiting: that may be at any instruction."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from ringio import _object_work
from ringio._flag import Flag
from ringio._object_pool import Pool
from ringio._object_work import Work

STEPS_MAX = 2000


def test_all_who_wait_for_a_flag_are_told() -> None:
    flag = Flag()
    told = []
    threads = [threading.Thread(target=lambda: told.append(flag.wait(10)), daemon=True) for _ in range(20)]
    for thread in threads[:-1]:
        thread.start()
    assert not flag.is_set()
    flag.set()
    threads[-1].start()
    for thread in threads:
        thread.join(10)
    assert told == [True] * len(threads)
    assert flag.is_set()
    assert flag.wait()


def test_who_waits_for_a_flag_gives_it_up_when_time_is_up() -> None:
    begin_s = time.monotonic()
    assert not Flag().wait(0.05)
    assert not Flag().wait(0)
    assert 0.05 <= time.monotonic() - begin_s < 5


class Asked:
    """A store that is asked, and always busy."""

    retries = 1


def ask() -> None:
    raise TimeoutError("busy")


def ends_if_collected(call: Callable[[], object], collect: Callable[[], object], at: int) -> bool:
    """Whether ``call`` came to the instruction ``at``, before which ``collect`` was called; fails if it hangs."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        if event == "opcode":
            count += 1
            if count == at:
                collect()
        return trace

    def run() -> None:
        sys._getframe().f_trace_opcodes = True  # CPython 3.12 looks for it in settrace()
        sys.settrace(trace)
        call()
        sys.settrace(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive(), f"collected before instruction {at}, it waits for ever"
    return count >= at


def between_tries(work: Work[Any]) -> None:
    work._try(Asked(), ask)  # type: ignore[arg-type]


class Bare(Work[None]):
    """Nothing but what all work has."""

    def result(self) -> None:
        self._check()

    def _is_all_of(self, store: Any) -> bool:
        return False


def waiting(work: Work[Any]) -> None:
    work.wait(0.001)


def cancelling(work: Work[Any]) -> None:
    work._busy.add(work)  # somebody writes, and does not end soon
    work.cancel()


@pytest.mark.parametrize("call", [between_tries, waiting, cancelling])
def test_it_ends_wherever_the_collector_cancels_it(monkeypatch: pytest.MonkeyPatch, call: Callable[..., None]) -> None:
    monkeypatch.setattr(_object_work, "delay_s", lambda attempt: 0.001)
    monkeypatch.setattr(_object_work, "_GRACE_S", 0.002)
    for at in range(1, STEPS_MAX):
        work = Bare(Pool(1, 1), 1)
        if not ends_if_collected(lambda work=work: call(work), work.cancel, at):  # type: ignore[misc]
            break
        assert work.cancelled()
        assert work.done()
    else:
        pytest.fail("more instructions than were tried")
    assert at > 20
