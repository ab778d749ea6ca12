"""The public names: what is here is a promise, what is not is nobody's to use."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec

import pytest

import ringio
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
}


# What few programs need is imported when it is needed.
RINGIO_LATE = (
    "_cli _cli_bench _cli_info _entries _gather _get _locations _loops _object_decode _object_fetch _object_place"
    " _object_pool _object_store _object_work _objects _placing _python_place _python_plan _remote_locations"
    " _statistics _store _store_errors _store_options _stores _stream _trace exceptions fsspec testing"
)
RINGIO_ZARR_LATE = (
    "_async_array _async_group _bridge _cli _cli_show _consolidated _explain _foreign _info _locate_objects"
    " _locate_parts _mapping _open_async _other_codecs _outline _parts _readers _rectilinear _remote _stored _verify"
    " _whole_shards _wrapped _zip"
)


@pytest.mark.parametrize(("module", "names"), [(ringio, RINGIO), (ringio_zarr, RINGIO_ZARR)])
def test_names(module, names):
    assert set(module.__all__) == names
    assert len(module.__all__) == len(names)
    assert all(hasattr(module, name) for name in names)


@pytest.mark.parametrize(
    "module", [ringio, ringio.exceptions, ringio.fsspec, ringio.planning, ringio.testing, ringio_zarr]
)
def test_everything_public_says_what_it_is(module):
    for name in module.__all__:
        thing = getattr(module, name)
        if callable(thing):
            assert thing.__doc__, name


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
    }.items():
        assert all(issubclass(error, parent) for parent in parents)


def test_version_is_that_of_the_package():
    try:
        installed = metadata.version("ringio")
    except metadata.PackageNotFoundError:
        pytest.skip("ringio is not installed, only importable")
    assert ringio.__version__ == installed


@pytest.mark.parametrize(("package", "names"), [("ringio", RINGIO_LATE), ("ringio_zarr", RINGIO_ZARR_LATE)])
def test_late_modules_are_there(package, names):
    assert all(find_spec(f"{package}.{name}") for name in names.split())


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
heavy |= {{f"ringio.{{name}}" for name in {RINGIO_LATE!r}.split()}}
heavy |= {{f"ringio_zarr.{{name}}" for name in {RINGIO_ZARR_LATE!r}.split()}}
print(*sorted(heavy & (set(sys.modules) - before)))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""
