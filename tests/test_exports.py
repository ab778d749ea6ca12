"""The public names: what is here is a promise, what is not is nobody's to use."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

import ringio
import ringio.command_line
import ringio.exceptions
import ringio.fsspec
import ringio.testing
import ringio_zarr

RINGIO = {
    "read_ranges",
    "read_ranges_async",
    "iter_ranges",
    "iter_ranges_async",
    "Ranges",
    "Buffers",
    "Reader",
    "default_reader",
    "Statistics",
    "Store",
    "progress_bar",
    "trace",
    "Plan",
    "Task",
    "Tasks",
    "codecs",
    "planning",
    "empty",
    "RingioError",
    "BackendError",
    "RangeError",
    "DecodeError",
    "UnsupportedCodecError",
    "PlanError",
    "FileChangedError",
    "StoreError",
    "StoreNotFoundError",
    "MemoryLimitError",
    "__version__",
}
RINGIO_ZARR = {
    "open",
    "open_array",
    "open_consolidated",
    "Cache",
    "open_group",
    "Array",
    "AsyncArray",
    "AsyncGroup",
    "open_async",
    "open_array_async",
    "open_group_async",
    "Group",
    "MetadataError",
    "UnsupportedError",
    "BoundsCheckError",
    "VindexInvalidSelectionError",
    "errors",
    "load",
    "storage",
    "tree",
    "__version__",
}


# All that is there before something is used: what forks and exits have to know of, and what may go wrong.
EARLY = {"_core", "_core.lib", "_records", "_errors", "_exit", "_forked", "_version"}


@pytest.mark.parametrize(("module", "names"), [(ringio, RINGIO), (ringio_zarr, RINGIO_ZARR)])
def test_names(module, names):
    assert set(module.__all__) == names
    assert len(module.__all__) == len(names)
    assert all(hasattr(module, name) for name in names)


@pytest.mark.parametrize(
    "module",
    [
        ringio,
        ringio.command_line,
        ringio.exceptions,
        ringio.fsspec,
        ringio.planning,
        ringio.testing,
        ringio_zarr,
    ],
)
def test_everything_public_says_what_it_is(module):
    for name in module.__all__:
        thing = getattr(module, name)
        if callable(thing):
            assert thing.__doc__, name


@pytest.mark.parametrize(("module", "names"), [(ringio, RINGIO), (ringio_zarr, RINGIO_ZARR)])
def test_names_are_where_they_are_said_to_be(module, names):
    """What is imported when it is used is shown before, and nothing else is there."""
    code = (
        f"import {module.__name__} as m; print(*dir(m)); print(*(name for name in m.__all__ if not hasattr(m, name)))"
    )
    shown, missing = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert names <= set(shown.split())
    assert missing == ""
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        module.nothing  # noqa: B018


def test_what_programs_register_for_exit_may_read(tmp_path):
    """Also where it was registered before anything was read."""
    code = """
import atexit, sys
import ringio
atexit.register(lambda: print(len(ringio.read_ranges([(sys.argv[1], 0, 5)])[0])))
ringio.default_reader()
"""
    (tmp_path / "file").write_bytes(bytes(9))
    command = [sys.executable, "-c", code, str(tmp_path / "file")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "5\n"


def test_error_tree():
    """Whoever knows only the standard exceptions catches the right ones."""
    for error, parents in {
        ringio.RangeError: (ringio.RingioError, ValueError),
        ringio.DecodeError: (ringio.RingioError, ValueError),
        ringio.UnsupportedCodecError: (ringio.RingioError, ValueError),
        ringio.PlanError: (ringio.RingioError, ValueError),
        ringio.FileChangedError: (ringio.RingioError, OSError),
        ringio.MemoryLimitError: (ringio.RingioError, MemoryError),
        ringio.BackendError: (ringio.RingioError,),
        ringio.StoreError: (ringio.RingioError, OSError),
        ringio.StoreNotFoundError: (ringio.StoreError, FileNotFoundError),
    }.items():
        assert all(issubclass(error, parent) for parent in parents)


def test_version_is_that_of_the_package():
    try:
        installed = metadata.version("ringio")
    except metadata.PackageNotFoundError:
        pytest.skip("ringio is not installed, only importable")
    assert ringio.__version__ == installed


@pytest.mark.parametrize("module", ["ringio", "ringio_zarr"])
def test_import_is_light(module):
    """Nothing that is slow to import comes along, and no thread and no ring is made."""
    code = f"""
import sys, threading, pathlib
import numpy
before = set(sys.modules)
import {module}
assert threading.active_count() == 1
assert not any("io_uring" in str(fd.readlink()) for fd in pathlib.Path("/proc/self/fd").iterdir() if fd.exists())
heavy = set("zarr obstore obspec fsspec tqdm asyncio multiprocessing blosc2 numcodecs ml_dtypes".split())
heavy |= set("json dataclasses zipfile tarfile tempfile urllib.parse http.client uuid ringio._stream".split())
heavy |= {{"numpy.testing", "urllib.request"}}
print(*sorted(heavy & (set(sys.modules) - before)))
own = {{"ringio", "{module}", *(f"ringio.{{name}}" for name in {EARLY})}}
print(*sorted(name for name in sys.modules if name.startswith("ringio") and name not in own))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""
