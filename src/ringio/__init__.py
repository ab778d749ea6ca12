"""Byte ranges of files, read in batches on all cores, and decoded into arrays where that is wanted.

::

    import ringio

    buffers = ringio.read_ranges([("a.grib", 0, 4096), ("b.grib", 100, 20), ("a.grib", -64, None)])
    buffers[0]  # a read-only memoryview

:class:`Ranges` are the same in columns, for a million of them. :class:`Reader` has the options; :class:`Plan` and
:mod:`ringio.codecs` decompress what was read and assemble it in an n-dimensional array. Errors are drawn as a tree in
:mod:`ringio._errors`. :class:`Store` shows a folder to code that reads from object stores, and :mod:`ringio.fsspec` to
code that reads through fsspec.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

try:
    from . import codecs, planning
except ImportError as _error:
    from ._interpreters import refusal

    raise refusal(_error) from _error
from ._buffers import Buffers
from ._errors import (
    BackendError,
    DecodeError,
    FileChangedError,
    MemoryLimitError,
    PlanError,
    RangeError,
    RingioError,
    StoreError,
    UnsupportedCodecError,
)
from ._memory import empty
from ._plan import Plan
from ._progress import progress_bar
from ._ranges import Ranges
from ._reader import Reader, default_reader, read_ranges
from ._tasks import Task, Tasks
from ._twins import iter_ranges, iter_ranges_async, read_ranges_async
from ._version import __version__

if TYPE_CHECKING:
    from ._statistics import Statistics
    from ._store import Store
    from ._trace import trace

__all__ = [
    # reading
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
    # decoding and assembling
    "Plan",
    "Task",
    "Tasks",
    "codecs",
    "planning",
    "empty",
    # what can go wrong
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
]


def __getattr__(name: str) -> object:
    # Made at first use: few programs need them, and they take their time, or bring asyncio and json along.
    found: object
    if name == "Store":
        from ._store import Store

        found = Store
    elif name == "trace":
        from ._trace import trace

        found = trace
    elif name == "Statistics":
        from ._statistics import Statistics

        found = Statistics
    else:
        raise AttributeError(f"module 'ringio' has no attribute {name!r}")
    globals()[name] = found
    return found
