"""Answers of stores: how many are in memory at one time, who waits for them, and what becomes of them in the end."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

import ringio
from ringio import _execute, _object_fetch, codecs
from ringio._object_decode import DecodingPlacer
from ringio._object_pool import Pool
from ringio._object_work import Work
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


@pytest.mark.parametrize(("dtype", "nbytes"), [("u1", 5), (object, 0), (np.dtypes.StringDType(), 0)])
def test_of_items_of_any_length_nobody_knows_how_long_they_are(dtype, nbytes):
    chain = codecs.chain([lambda data: np.frombuffer(data, "u1").astype(dtype)])
    plan = ringio.Plan([("a", 0, None)], [ringio.Task(0, (5,), (0,), (5,), (0,))], codecs=chain, dtype=dtype)
    placer = DecodingPlacer(None, plan.bind(np.zeros(5, dtype)), MIB)
    assert placer.answer_nbytes().tolist() == [nbytes]


# ------------------------------------------------------------------------------------------ what happens but rarely


def ends(call) -> bool:
    """Whether a call comes to an end."""
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(10)
    return not thread.is_alive()


class CollectedUnits:
    """Where the garbage collector comes to run, with the lock of the work held, and closes who waits for it."""

    def __init__(self, work) -> None:
        self.work = work

    def clear(self):
        self.work.cancel()


class Bare(Work):
    """Nothing but what all work has."""

    def result(self):
        self._check()

    def _is_all_of(self, store):
        return False


def test_work_may_be_cancelled_by_the_collector_while_it_ends():
    work = Bare(Pool(1, 1), 1)
    called = []
    work.add_done_callback(called.append)
    work._units = CollectedUnits(work)
    assert ends(lambda: work._finish_steps(1))
    assert work.done()
    assert called == [work]


def test_work_may_be_cancelled_by_the_collector_while_steps_are_counted():
    work = Bare(Pool(1, 1), 2)

    class Count(int):
        def __sub__(self, other):
            work.cancel()
            return 1

    work._left_count = Count(2)
    assert ends(lambda: work._finish_steps(1))
    assert work.cancelled()


def test_work_whose_units_cannot_be_made_fails():
    def units():
        raise MemoryError("no unit")
        yield

    work = Bare(Pool(1, 1), 1)
    work._units.append(units())
    work.start()
    assert work.wait(10)
    with pytest.raises(MemoryError, match="no unit"):
        work.result()


@pytest.mark.parametrize("error", [MemoryError, RuntimeError])
def test_one_thread_does_it_all_where_no_other_can_be_started(monkeypatch, error):
    store = memory_store("one")
    store.put("a", bytes(range(200)) * 1000)
    start, begun = threading.Thread.start, []

    def one(thread):
        if thread.name == "ringio-object":
            begun.append(thread)
            if len(begun) > 1:
                raise error
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", one)
    with ringio.Reader(max_gap_bytes=0) as reader:
        found = []
        assert ends(lambda: found.extend(reader.read_ranges([("memory://one/a", i * 5000, 200) for i in range(30)])))
    assert [bytes(buffer) for buffer in found] == [bytes(range(200))] * 30
    assert len(begun) > 1


def test_no_thread_at_all_is_said_as_of_files(monkeypatch):
    memory_store("none").put("a", bytes(10))
    start = threading.Thread.start

    def refuse(thread):
        if thread.name == "ringio-object":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with ringio.Reader() as reader, pytest.raises(ringio.RingioError, match="no more threads"):
        reader.read_ranges([("memory://none/a", 0, 5)])
