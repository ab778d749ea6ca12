"""Numpy arrays as the C core's kernels take them, and what their status means."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import _spans
from ._core import ffi
from ._errors import PlanError

U64: TypeAlias = NDArray[np.uint64]
I64: TypeAlias = NDArray[np.int64]

# A kernel takes about 0.1 us an item, and a signal waits for it: up to so many that is no time.
_ITEMS_MAX: Final = 300_000
_SLICE_S: Final = 0.02


def call_kernel(item_count: int, keep: object, kernel: Callable[..., int], *arguments: Any) -> int:
    """Call a kernel so that Ctrl-C does not have to wait for it: a long one runs beside the calling thread.

    Args:
        item_count: how many items it works on.
        keep: what owns the memory that it uses. Interrupted, the caller is gone before the kernel is done.
        kernel: of the C core; it does not hold the GIL.
        arguments: of the kernel.

    Raises:
        MemoryError: there is not enough for the thread.
    """
    begin_ns = _spans.begin()
    try:
        return _call(item_count, keep, kernel, *arguments)
    finally:
        if begin_ns:
            _spans.end("plan", begin_ns, kernel=getattr(kernel, "__name__", ""), items=item_count)


def _call(item_count: int, keep: object, kernel: Callable[..., int], *arguments: Any) -> int:
    if item_count < _ITEMS_MAX:
        return kernel(*arguments)
    results: list[int] = []
    errors: list[BaseException] = []

    def run(_keep: object) -> None:
        try:
            results.append(kernel(*arguments))
        except BaseException as error:  # an argument that C cannot hold, say: for who waits
            errors.append(error)

    thread = threading.Thread(target=run, args=(keep,), name="ringio-plan", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the system gives no thread: better late than not at all
        return kernel(*arguments)
    while thread.is_alive():
        thread.join(_SLICE_S)
    if errors:
        raise errors[0]
    if not results:  # the thread ended before it began
        raise MemoryError("out of memory while planning")
    return results[0]


def check_status(result: int) -> None:
    if result == -errno.ENOMEM:
        raise MemoryError("out of memory while planning")
    if result < 0:
        raise PlanError(f"planning failed with status {result}: more than 2**32 - 1 pieces, or a box outside its array")


def u64_pointer(array: U64) -> Any:
    return ffi.from_buffer("uint64_t[]", array)


def i64_pointer(array: I64) -> Any:
    return ffi.from_buffer("int64_t[]", array)


def record_pointer(kind: str, array: NDArray[np.void]) -> Any:
    return ffi.from_buffer(kind, array)
