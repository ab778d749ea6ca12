"""Answers of stores: how many are in memory at one time, who waits for them, and what becomes of them in the end."""

from __future__ import annotations

import gc

import pytest

import ringio
from ringio import _execute


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
