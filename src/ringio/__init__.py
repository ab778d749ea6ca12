"""Byte ranges of files, read in batches on all cores, and decoded into arrays where that is wanted.

::

    import ringio

    buffers = ringio.read_ranges([("a.grib", 0, 4096), ("b.grib", 100, 20), ("a.grib", -64, None)])
    buffers[0]  # a read-only memoryview

:class:`Ranges` are the same in columns, for a million of them. :class:`Reader` has the options; :class:`Plan` and
:mod:`ringio.codecs` decompress what was read and assemble it in an n-dimensional array. Errors are drawn as a tree in
:mod:`ringio._errors`.
"""

from . import codecs, planning
from ._buffers import Buffers
from ._errors import (
    BackendError,
    DecodeError,
    FileChangedError,
    MemoryLimitError,
    PlanError,
    RangeError,
    RingioError,
    UnsupportedCodecError,
)
from ._memory import empty
from ._plan import Plan
from ._ranges import Ranges
from ._reader import Reader, default_reader, read_ranges
from ._statistics import Statistics
from ._tasks import Task, Tasks
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
    "MemoryLimitError",
    "__version__",
]

__version__ = "0.1.0"
