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

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

try:
    from . import _errors as _errors
except ImportError as _error:
    from ._interpreters import refusal

    raise refusal(_error) from _error
# Noted from the beginning: others may use obstore, fork, or register functions for exit before anybody reads here.
from . import _exit as _exit
from . import _forked as _forked
from ._errors import (
    BackendError,
    DecodeError,
    FileChangedError,
    MemoryLimitError,
    PlanError,
    RangeError,
    RingioError,
    StoreError,
    StoreNotFoundError,
    UnsupportedCodecError,
)
from ._version import __version__

if TYPE_CHECKING:
    from . import codecs, planning
    from ._buffers import Buffers
    from ._memory import empty
    from ._plan import Plan
    from ._progress import progress_bar
    from ._ranges import Ranges
    from ._reader import Reader, default_reader, read_ranges
    from ._statistics import Statistics
    from ._store import Store
    from ._tasks import Task, Tasks
    from ._trace import trace
    from ._twins import iter_ranges, iter_ranges_async, read_ranges_async

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
    "StoreNotFoundError",
    "MemoryLimitError",
    "__version__",
]

# All else is imported when it is first used: where each name is.
_LATE: Final = {
    "Buffers": "_buffers",
    "Plan": "_plan",
    "Ranges": "_ranges",
    "Reader": "_reader",
    "Statistics": "_statistics",
    "Store": "_store",
    "Task": "_tasks",
    "Tasks": "_tasks",
    "default_reader": "_reader",
    "empty": "_memory",
    "iter_ranges": "_twins",
    "iter_ranges_async": "_twins",
    "progress_bar": "_progress",
    "read_ranges": "_reader",
    "read_ranges_async": "_twins",
    "trace": "_trace",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if not TYPE_CHECKING:  # for type checkers there is what is imported above, and nothing else

    def __getattr__(name: str) -> Any:
        if name in ("codecs", "planning"):
            found = import_module(f".{name}", __name__)
        elif name in _LATE:
            found = getattr(import_module(f".{_LATE[name]}", __name__), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = found
        return found
