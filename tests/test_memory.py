"""Memory of results is used again, and never while somebody still has it."""

from __future__ import annotations

import gc
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ringio
from ringio import _memory


def address(array: np.ndarray) -> int:
    """Where an array's first element is."""
    return int(array.__array_interface__["data"][0])


@pytest.fixture(autouse=True)
def nothing_idle() -> None:
    """Each test begins without idle blocks."""
    gc.collect()
    _memory._idle.clear()


def test_memory_is_used_again() -> None:
    """The next array of about the size of one that is gone lies in the same place, whatever its shape and dtype."""
    first = ringio.empty((100, 1000, 30), "<i2")
    place = address(first)
    view = first[5:, ::2]
    del first
    second = ringio.empty((100, 1000, 30), "<i2")
    assert address(second) != place, "a view still uses the block"
    del view
    third = ringio.empty(5_800_000)
    assert address(third) == place


@given(st.lists(st.integers(0, 5), max_size=5), st.sampled_from(["u1", "<i2", ">f8", "c16", "S3", "M8[s]", "V5"]))
def test_small_arrays_are_like_those_of_numpy(shape: list[int], dtype: str) -> None:
    """Shape, dtype, order and flags are those of numpy.empty."""
    ours, theirs = ringio.empty(shape, dtype), np.empty(shape, dtype)
    assert (ours.shape, ours.dtype, ours.strides) == (theirs.shape, theirs.dtype, theirs.strides)


@pytest.mark.parametrize("dtype", ["u1", ">i2", "f8", "S7", "M8[ns]", "V5"])
def test_large_arrays_are_like_those_of_numpy(dtype: str) -> None:
    """The same where the memory is ours, which is writable and aligned to a page."""
    ours, theirs = ringio.empty((7, 1 << 20), dtype), np.empty((7, 1 << 20), dtype)
    assert (ours.shape, ours.dtype, ours.strides) == (theirs.shape, theirs.dtype, theirs.strides)
    assert ours.flags.c_contiguous
    assert ours.flags.writeable
    assert address(ours) % 4096 == 0
    ours[...] = theirs[...] = np.zeros((), dtype)
    assert ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("shape", [(1 << 40, 1 << 40), -5, (-1, 1 << 30), 1 << 61])
def test_impossible_shapes(shape: int | tuple[int, ...]) -> None:
    """What cannot be had is an exception of the kind that numpy raises."""
    with pytest.raises((ValueError, MemoryError)):
        ringio.empty(shape)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        (np.int64(1 << 20), "u1"),
        ((np.int32(1 << 11), np.int16(1 << 11)), "<f8"),
        ((), "V1048576"),
        ([2, 1 << 20], "u1"),
    ],
)
def test_shapes_of_all_kinds(shape: int, dtype: str) -> None:
    """Numbers of numpy, whose products would overflow, lists, and no dimensions at all: as numpy has it."""
    assert ringio.empty(shape, dtype).shape == np.empty(shape, dtype).shape


def test_objects_are_refused() -> None:
    """Recycled bytes are no Python objects."""
    with pytest.raises(TypeError, match="Python objects"):
        ringio.empty(10, object)


def test_idle_memory_is_bounded() -> None:
    """However many arrays there were, eight blocks are kept at most, and no more than the limit says."""
    arrays = [ringio.empty(3 << 20) for _ in range(30)]
    del arrays
    assert len(_memory._idle) == _memory._IDLE_MAX
    huge = ringio.empty(_memory._idle_nbytes_max() + 1)  # never touched, so it costs nothing
    del huge
    assert sum(map(len, _memory._idle)) <= _memory._idle_nbytes_max()


def test_the_kernel_may_have_all_but_the_last_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told so of each idle block once another is given back, or passed over, and of a large one at once."""
    offered: list[int] = []
    monkeypatch.setattr(_memory, "_offer", lambda memory: offered.append(len(memory) >> 20))
    arrays = {mib: ringio.empty(mib << 20) for mib in (2, 8, 32)}
    for mib in (2, 8, 32):
        del arrays[mib]
    assert offered == [2, 8]
    arrays[32] = ringio.empty(32 << 20)
    del arrays[32]
    assert offered == [2, 8, 8], "the last one was in use, and is idle again"
    arrays[8] = ringio.empty(8 << 20)
    assert offered == [2, 8, 8, 32]
    large = ringio.empty((64 << 20) + 1)
    del large
    assert offered[-1] == 66


def test_threads_never_share_a_block() -> None:
    """Arrays that live at the same time in different threads do not overlap."""

    def fill_and_check(mark: int) -> bool:
        for _ in range(50):
            array = ringio.empty(2 << 20)
            array[::4096] = mark
            if not (array[::4096] == mark).all():
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(fill_and_check, range(8)))


def test_fork() -> None:
    """A child that uses an idle block again changes nothing for its parent."""
    first = ringio.empty(4 << 20)
    place = address(first)
    del first
    pid = os.fork()
    if pid == 0:
        child = ringio.empty(4 << 20)
        child[:] = 1
        os._exit(address(child) != place)
    parent = ringio.empty(4 << 20)
    parent[:] = 2
    assert os.waitpid(pid, 0)[1] == 0
    assert address(parent) == place
    assert (parent == 2).all()


def test_what_no_machine_has_is_refused() -> None:
    """Also where the memory would be of others."""
    _memory.check_room(1 << 20)
    for nbytes in (1 << 60, 1 << 80):
        with pytest.raises(MemoryError, match="no memory for a result"):
            _memory.check_room(nbytes)
