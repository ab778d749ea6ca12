"""Fixtures for all tests: each backend in turn, hypothesis profiles, and nothing left behind."""

from __future__ import annotations

import gc
import importlib.metadata
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest

import ringio
from ringio import _execute

pytest_plugins = ["servers.fixtures"]

BACKENDS = ("io_uring", "threads", "memory", "object_store")
# Where files are opened by obstore much is different: these are about what is read, and how that fails. Of them tests
# marked "opens_files" are about how files are opened, and processes fork.
MODULES_OF_ALL_BACKENDS = (
    "test_ranges",
    "test_reader",
    "test_plan",
    "test_zarr_read",
    "test_zarr_crops",
    "test_zarr_bad",
)

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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what is not for the backend "object_store"; skips what a zarr-python before 3.4 is no measure for."""

    def is_left_out(item: pytest.Item) -> bool:
        if not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
            return False
        if item.callspec.params.get("backend") != "object_store" or not item.fixturenames.count("backend"):
            return False
        return item.path.stem not in MODULES_OF_ALL_BACKENDS or item.get_closest_marker("opens_files") is not None

    left_out = [item for item in items if is_left_out(item)]
    items[:] = [item for item in items if not is_left_out(item)]
    config.hook.pytest_deselected(items=left_out)
    version = importlib.metadata.version("zarr")
    if tuple(map(int, version.split(".")[:2])) < (3, 4):
        skip = pytest.mark.skip(reason=f"compares with zarr-python 3.4, which needs Python 3.12; this is {version}")
        for item in items:
            if item.get_closest_marker("zarr_3_4"):
                item.add_marker(skip)


def pytest_collection_finish() -> None:
    """All tests and modules stay. The garbage collector, which many tests call, need not look at them each time."""
    gc.collect()
    gc.freeze()


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
    """Python's threads, less those that the loops of zarr-python and fsspec, and tqdm, start at first use and keep."""
    return sum(
        not thread.name.startswith(("zarr", "asyncio", "fsspec")) and type(thread).__name__ != "TMonitor"
        for thread in threading.enumerate()
    )


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


@pytest.fixture(name="our_threads")
def give_our_threads() -> Callable[[], int]:
    """``our_threads``, for tests that look in between."""
    return our_threads


@pytest.fixture(name="our_files")
def give_our_files() -> Callable[[Path], list[str]]:
    """``our_files``, for tests that look in between."""
    return our_files


@pytest.fixture
def no_job_is_left() -> Iterator[None]:
    """However a read or stream ended, all jobs of all readers end and are let go of."""
    yield
    gc.collect()
    assert not _execute._state.running
    assert not _execute._state.awaited
    assert _execute.drain(None, wait_ms=5000)


THREADS_END_S = 6  # those that read objects for a reader that was collected and not closed look up after 5

CANNOT = 77  # exit status of a child that cannot do here what its test is about; automake's convention


@pytest.fixture
def run_child(tmp_path: Path) -> Callable[..., str]:
    """Runs a script in a Python of its own and gives what it printed: ``run_child(script, *arguments, **environment)``.

    The script can import what is in ``tests/children``. A crash, an exception and a hang fail the test.
    """
    helpers = Path(__file__).parent / "children"
    paths = list(filter(None, [os.environ.get("PYTHONPATH")]))

    def run(script: str, *arguments: object, timeout_s: float = 60, **environment: str) -> str:
        path = tmp_path / "child.py"
        path.write_text(textwrap.dedent(script))
        command = [sys.executable, "-X", "faulthandler", str(path), *map(str, arguments)]
        result = subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(helpers), *paths]), **environment},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if result.returncode == CANNOT:
            pytest.skip(result.stdout.strip())
        assert result.returncode == 0, f"{result.returncode}\n{result.stdout}\n{result.stderr}"
        return result.stdout

    return run


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
    deadline = time.monotonic() + THREADS_END_S
    while python_threads() > threads and time.monotonic() < deadline:
        time.sleep(0.02)
    assert python_threads() <= threads
