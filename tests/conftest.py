"""Fixtures for all tests: each backend in turn, hypothesis profiles, and nothing left behind."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest

import ringio

BACKENDS = ("io_uring", "threads", "memory")

# CI=1 makes failures repeatable; "thorough" is for the night.
hypothesis.settings.register_profile("default", max_examples=40, deadline=None)
hypothesis.settings.register_profile("ci", max_examples=40, deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.register_profile("thorough", max_examples=2000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "default"))


def backend_or_skip(name: str) -> str:
    """The name, where this machine has that backend."""
    try:
        ringio.Reader(name, workers=1).close()
    except ringio.BackendError as error:
        pytest.skip(f"no {name} here: {error}")
    return name


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Each backend in turn: whatever uses this runs once for each."""
    return backend_or_skip(request.param)


@pytest.fixture(scope="module")
def reader(backend: str) -> Iterator[ringio.Reader]:
    """A reader on each backend in turn, with two workers, shared by the tests of a module."""
    with ringio.Reader(backend, workers=2) as reader:
        yield reader


@pytest.fixture
def make_file(tmp_path: Path) -> Callable[..., tuple[str, bytes]]:
    """Writes a file of random bytes; gives its path and its bytes."""
    count = 0

    def make(nbytes: int, name: str | None = None, seed: int = 0) -> tuple[str, bytes]:
        nonlocal count
        count += 1
        path = tmp_path / (name or f"file-{count}")
        data = np.random.default_rng(seed + count).bytes(nbytes)
        path.write_bytes(data)
        return str(path), data

    return make


def our_threads() -> int:
    """Worker threads of readers in this process."""
    names = []
    for task in Path("/proc/self/task").iterdir():
        try:
            names.append((task / "comm").read_text())
        except OSError:  # it has ended meanwhile
            continue
    return sum(name.startswith("ringio") for name in names)


def python_threads() -> int:
    """Python's threads, less those that zarr-python's event loop starts at first use and keeps."""
    return sum(not thread.name.startswith(("zarr", "asyncio")) for thread in threading.enumerate())


def our_files(folder: Path | None = None) -> list[str]:
    """Rings, and open files in ``folder``, of this process."""
    found = []
    for fd in Path("/proc/self/fd").iterdir():
        try:
            target = str(fd.readlink())
        except OSError:
            continue
        if "io_uring" in target or (folder is not None and target.startswith(str(folder))):
            found.append(target)
    return found


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """After each module: no worker thread, no ring and no file of its temporary folders is still there."""
    threads = python_threads()
    yield
    ringio.default_reader().close()
    gc.collect()
    if sys.platform == "linux":
        assert our_threads() == 0
        assert our_files(tmp_path_factory.getbasetemp()) == []
    assert python_threads() <= threads
