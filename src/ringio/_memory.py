"""Memory for results, used again: the first touch of fresh memory costs more than reading into it.

A new large array is a new mapping, whose every page the kernel has to find and clear when it is written to: 2 to 8
GB/s at best, a quarter of that in a virtual machine whose host gives memory on demand. A training loop makes a batch,
drops it and makes the next. So large results lie in blocks of our own on huge pages, and when the last array that uses
a block is gone, the block is kept for the next result of about that size.
"""

from __future__ import annotations

import math
import mmap
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from operator import index
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ._core import ffi
from ._limits import memory_limit_bytes

# Below this malloc keeps memory by itself, and does it faster.
SMALLEST_NBYTES: Final = 1 << 20
_HUGE_PAGE_NBYTES: Final = 2 << 20
_SEQUENCES: Final = (tuple, Sequence)  # a tuple is found at once, a Sequence asked for
_numpy_empty: Final = np.empty
# A loop has two batches at a time, the one in use and the one being read; more are kept for batches of other shapes.
_IDLE_MAX: Final = 8
_IDLE_SHARE: Final = 4  # of a reader's memory limit
_MADV_HUGEPAGE: Final = getattr(mmap, "MADV_HUGEPAGE", None)
# The kernel may take the pages of an idle block when it is short of memory, and else leaves them as they are.
_MADV_FREE: Final = getattr(mmap, "MADV_FREE", None)
# To tell it so, and to write to such pages again, takes up to 0.1 ms for 4 MiB. So the block that was given back last
# is left alone: a loop takes it again at once. Not a large one, which may never be taken again.
_WARM_NBYTES_MAX: Final = 64 << 20
_LARGE_NBYTES: Final = 1 << 30  # less than that any machine has, or may have soon


class _Block:
    """Memory that one array, and the views of it, are in; goes back to the idle ones with the last of them."""

    __slots__ = ("__array_interface__", "memory")

    def __init__(self, memory: mmap.mmap) -> None:
        self.memory = memory
        address = int(ffi.cast("uintptr_t", ffi.from_buffer(memory)))
        self.__array_interface__ = {"version": 3, "shape": (len(memory),), "typestr": "|u1", "data": (address, False)}

    def __del__(self) -> None:
        # No lock: this may run at any allocation, so also in the middle of the functions below. A deque needs none.
        with suppress(Exception):  # at the end of the process anything may be gone
            with suppress(IndexError):
                last = _idle.pop()  # so that nobody takes it meanwhile: what it is used for would be lost
                _offer(last)
                _idle.append(last)
            if len(self.memory) > _WARM_NBYTES_MAX:
                _offer(self.memory)
            _idle.append(self.memory)
            while len(_idle) > _IDLE_MAX or sum(map(len, tuple(_idle))) > _idle_nbytes_max():
                _idle.popleft()


def _offer(memory: mmap.mmap) -> None:
    """Let the kernel have the pages of a block that is not among the idle ones, and that nobody uses."""
    if _MADV_FREE is not None:
        with suppress(OSError):
            memory.madvise(_MADV_FREE)


_idle: deque[mmap.mmap] = deque()  # of all but the last one, the kernel may have the pages
_idle_limit: list[int] = []


def _idle_nbytes_max() -> int:
    if not _idle_limit:
        _idle_limit.append(memory_limit_bytes() // _IDLE_SHARE)
    return _idle_limit[0]


def _take(nbytes: int) -> mmap.mmap:
    """An idle block of this size or up to a quarter more, the one used last first; or a new one."""
    for _ in range(len(_idle)):
        try:
            memory = _idle.pop()
        except IndexError:  # another thread had it
            break
        if nbytes <= len(memory) <= nbytes + nbytes // 4 + _HUGE_PAGE_NBYTES:
            return memory
        _offer(memory)
        _idle.appendleft(memory)
    memory = _map(nbytes)
    if _MADV_HUGEPAGE is not None:
        with suppress(OSError):  # a kernel without huge pages
            memory.madvise(_MADV_HUGEPAGE)
    return memory


def _map(nbytes: int) -> mmap.mmap:
    rounded = -(-nbytes // _HUGE_PAGE_NBYTES) * _HUGE_PAGE_NBYTES
    try:
        return mmap.mmap(-1, rounded, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, OverflowError) as error:
        raise MemoryError(f"no memory for a result of {nbytes} bytes: {error}") from error


def check_room(nbytes: int) -> None:
    """Ask the kernel whether it would give so much, for a result that comes bit by bit in memory of others.

    Raises:
        MemoryError: it would not.
    """
    if nbytes >= _LARGE_NBYTES:
        _map(nbytes).close()


def empty(shape: int | Sequence[int], dtype: DTypeLike = np.uint8) -> NDArray[Any]:
    """A new array with anything in it, like ``numpy.empty``, in memory that a later one gets again.

    Readers make their results with it, and who makes buffers for ``out=`` may want to do the same. Arrays below 1 MiB
    are numpy's own. Of blocks that no array uses any more at most eight are kept, together up to a sixteenth of the
    memory there is (of the control group's where that is less). The kernel may take their pages when it needs them, but
    not those of the one that was given back last, unless that has more than 64 MiB.

    Args:
        shape: elements along each dimension, C order.
        dtype: of the elements; not Python objects.

    Raises:
        MemoryError: there is not so much.
        TypeError: a dtype with Python objects in it.

    >>> empty((2, 3), "<i2").shape
    (2, 3)
    """
    item = dtype if isinstance(dtype, np.dtype) else np.dtype(dtype)
    if item.hasobject:
        raise TypeError(f"{item} holds Python objects, for which this memory is not made")
    # As Python's own integers: the product of numpy's may overflow.
    lengths = tuple(map(index, shape)) if isinstance(shape, _SEQUENCES) else (index(shape),)
    nbytes = math.prod(lengths, start=item.itemsize)
    if nbytes < SMALLEST_NBYTES or min(lengths, default=0) < 0 or nbytes >= 1 << 62:
        return _numpy_empty(lengths, item)  # numpy has the words for what is wrong with a shape
    return np.asarray(_Block(_take(nbytes)))[:nbytes].view(item).reshape(lengths)
