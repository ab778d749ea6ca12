"""Answers of stores: how many are in memory at one time, who waits for them, and what becomes of them in the end."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import ringio
from ringio import _execute, _object_fetch
from ringio.testing import memory_store
from servers import Rule

MIB = 1 << 20


class ViewStore:
    """A store that gives views of what it has, and keeps them."""

    def __init__(self) -> None:
        self.views: list[memoryview] = []

    def head(self, path):
        return {"size": 100, "e_tag": None, "last_modified": None, "version": None}

    def get_ranges(self, path, *, starts, ends):
        new = [memoryview(bytes(100))[start:end] for start, end in zip(starts, ends, strict=True)]
        self.views += new
        return new


def test_an_error_in_a_cycle_keeps_no_export_of_an_answer(monkeypatch):
    """CPython before 3.11.8 crashes where it collects a memoryview that has one (gh-77894); which can be released."""
    store = ViewStore()

    def fail(*arguments):
        raise MemoryError

    monkeypatch.setattr(_execute, "run", fail)
    with ringio.Reader() as reader:
        errors = []
        for nbytes in (10, 20):
            with pytest.raises(MemoryError) as caught:
                reader.read_ranges([("a", 0, nbytes)], store=store)
            errors.append(caught.value)
            caught.value.cycle = caught.value
    assert len(store.views) == len(errors)
    for view in store.views:
        view.release()
    del errors, caught
    gc.collect()


def chunks_plan(urls, chunk_nbytes, **options):
    """Chunks that are objects, one after the other into a target."""
    tasks = [ringio.Task(i, (chunk_nbytes,), (0,), (chunk_nbytes,), (i * chunk_nbytes,)) for i in range(len(urls))]
    return ringio.Plan([(url, 0, None) for url in urls], tasks, dtype="u1", **options)


@pytest.mark.parametrize(("nbytes", "most"), [(3 * MIB, 2), (9 * MIB, 1)])
def test_chunks_of_unknown_size_are_counted_as_they_decode(latency, nbytes, most):
    """Half of the memory limit is for answers; one that has more comes alone."""
    urls = [latency.put_pattern(f"c{i}", nbytes) for i in range(6)]
    latency.rules(Rule(delay_s=0.05))
    with ringio.Reader(memory_limit_bytes=16 * MIB) as reader:
        out = np.zeros(len(urls) * nbytes, np.uint8)
        reader.execute(chunks_plan(urls, nbytes), out)
    assert latency.seen().most_in_flight == most
    assert (out.reshape(len(urls), nbytes) == out[:nbytes]).all()


@pytest.mark.parametrize(("nbytes", "are_awaited"), [(4096, False), (300 << 10, True)])
def test_only_long_chunks_are_awaited_in_the_event_loop(monkeypatch, nbytes, are_awaited):
    store = memory_store("awaited")
    for i in range(4):
        store.put(f"{nbytes}/{i}", bytes([i]) * nbytes)
    awaited = []
    await_one = _object_fetch.Fetch._await
    monkeypatch.setattr(_object_fetch.Fetch, "_await", lambda *args: awaited.append(args) or await_one(*args))
    out = np.zeros(4 * nbytes, np.uint8)
    with ringio.Reader() as reader:
        reader.execute(chunks_plan([f"memory://awaited/{nbytes}/{i}" for i in range(4)], nbytes), out)
    assert out.reshape(4, nbytes)[:, -1].tolist() == [0, 1, 2, 3]
    assert len(awaited) == 4 * are_awaited
