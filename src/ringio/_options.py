"""The options of a reader: checked, with their defaults, and as the C core takes them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import _costs, _limits
from ._core import ffi, lib
from ._errors import BackendError
from ._named import NamedTuple

OBJECT_STORE: Final = "object_store"
BACKENDS: Final = {
    "auto": lib.RINGIO_BACKEND_AUTO,
    "io_uring": lib.RINGIO_BACKEND_URING,
    "threads": lib.RINGIO_BACKEND_THREADS,
    "memory": lib.RINGIO_BACKEND_MEMORY,
    OBJECT_STORE: lib.RINGIO_BACKEND_THREADS,  # what the core does then is decode and place, for which it needs no ring
}
Direct: TypeAlias = Literal[False, True, "auto"]
OnError: TypeAlias = Literal["raise", "return"]

_DIRECT: Final[dict[Direct, int]] = {
    False: lib.RINGIO_DIRECT_OFF,
    True: lib.RINGIO_DIRECT_ON,
    "auto": lib.RINGIO_DIRECT_AUTO,
}
# Past the page cache nothing is read ahead: a gap costs bandwidth over IOPS of the disk, and a request costs little for
# its size.
_DIRECT_COSTS: Final = _costs.Costs(32 << 10, 512 << 10)
_ENVIRONMENT: Final = "RINGIO_BACKEND"
_WORKERS_MAX: Final = 1024
# Measured on NVMe: reads in flight beyond 128 in each worker bring nothing, and below some 64 the device idles.
_QUEUE_DEPTH: Final = 128
_QUEUE_DEPTH_MAX: Final = 4096
# A worker needs at least one huge page of small buffers (2 MiB), and as much again for a large one.
_MEMORY_MIN_BYTES: Final = 8 << 20


class Options(NamedTuple):
    """What ``Reader`` was given; None: the default, which is worked out on the machine where the reader is made.

    A tuple and not a dataclass, whose making costs each program that imports ringio 2 ms.
    """

    backend: str = "auto"
    workers: int | None = None
    queue_depth: int | None = None
    max_gap_bytes: int | None = None
    max_request_bytes: int | None = None
    memory_limit_bytes: int | None = None
    open_files: int | None = None
    direct: Direct = False
    faults: Mapping[str, int] | None = None
    store_options: Mapping[str, Any] | None = None

    def check(self) -> None:
        """Raise TypeError or ValueError for an option that makes no sense."""
        if self.backend not in BACKENDS:
            raise ValueError(f"backend {self.backend!r}, one of {', '.join(map(repr, BACKENDS))} is due")
        if not isinstance(self.direct, bool | str):
            raise TypeError(f"direct is {self.direct!r}; False, True or 'auto' is due")
        if self.direct not in _DIRECT:
            raise ValueError(f"direct is {self.direct!r}; False, True or 'auto' is due")
        if self.direct and self.backend == OBJECT_STORE:
            raise ValueError(
                f"direct={self.direct!r} is of files that ringio opens; backend {OBJECT_STORE!r} opens none"
            )
        _check("workers", self.workers, 1, _WORKERS_MAX)
        _check("queue_depth", self.queue_depth, 1, _QUEUE_DEPTH_MAX)
        _check("max_gap_bytes", self.max_gap_bytes, 0, 1 << 40)
        _check("max_request_bytes", self.max_request_bytes, 1, 1 << 40)
        _check("memory_limit_bytes", self.memory_limit_bytes, _MEMORY_MIN_BYTES, 1 << 60)
        _check("open_files", self.open_files, 1, 1 << 20)
        if self.store_options:
            from ._store_options import check  # late: most readers read files alone

            check(self.store_options)

    def __repr__(self) -> str:
        return f"<Options of a reader: {self.backend}>"  # there may be passwords in store_options

    @property
    def gap_bytes(self) -> int:
        """``max_gap_bytes``, or its default."""
        return self.local_costs.max_gap_bytes if self.max_gap_bytes is None else self.max_gap_bytes

    @property
    def request_bytes(self) -> int:
        """``max_request_bytes``, or its default."""
        return self.local_costs.max_request_bytes if self.max_request_bytes is None else self.max_request_bytes

    @property
    def local_costs(self) -> _costs.Costs:
        """How ranges of local files are merged by default."""
        return _DIRECT_COSTS if self.direct is True else _costs.LOCAL

    def costs(self, paths: Sequence[str], are_objects: NDArray[np.bool_] | None) -> Sequence[_costs.Costs]:
        """How ranges of files and objects are merged; see ``_costs.of_files``."""
        return _costs.of_files(paths, are_objects, self.max_gap_bytes, self.max_request_bytes, self.local_costs)

    def struct(self) -> Any:
        """``struct ringio_options *`` for this machine.

        Raises:
            BackendError: the environment variable RINGIO_BACKEND names no backend.
        """
        options = ffi.new("struct ringio_options *")
        options.backend = BACKENDS[self.backend_name()]
        options.worker_count = self.workers or min(_limits.worker_count(), _WORKERS_MAX)
        options.queue_depth = self.queue_depth or _QUEUE_DEPTH
        options.open_files = self.open_files or _limits.open_files()
        options.memory_limit_bytes = self.memory_limit_bytes or max(_limits.memory_limit_bytes(), _MEMORY_MIN_BYTES)
        options.direct = _DIRECT[self.direct]
        for name, value in (self.faults or {}).items():
            setattr(options.faults, name, value)
        return options

    def backend_name(self) -> str:
        """The backend that is asked for; "auto" where nobody asks for one, not the environment either.

        Raises:
            BackendError: the environment variable RINGIO_BACKEND names none.
        """
        name = self.backend
        if name == "auto":
            name = os.environ.get(_ENVIRONMENT) or "auto"
            if name not in BACKENDS:
                raise BackendError(f"{_ENVIRONMENT}={name}: one of {', '.join(BACKENDS)} is due")
        return name


def backend_name(kind: int) -> str:
    """The name of a RINGIO_BACKEND_... number."""
    return next(name for name, number in BACKENDS.items() if number == kind)


def _check(name: str, value: object, low: int, high: int) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}, an integer is due")
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}, {low} to {high} is due")
