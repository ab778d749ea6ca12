"""Ranges in whole blocks: read past the page cache, a disk writes them straight to where they are wanted.

Such a read begins and ends at a multiple of the block size, in the file and in memory. Where the memory of a result is
ours to lay out, a long range gets the blocks that it lies in, and its buffer begins inside the first of them: nothing
is copied, which is most of the work. Shorter ranges stay back to back, and are copied.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import planning
from ._named import NamedTuple
from ._ranges import Ranges

I64: TypeAlias = NDArray[np.int64]

# A page, and the largest block of any disk.
BLOCK_NBYTES: Final = 4096
# To copy 64 KiB takes some 8 us of a core; two blocks of the disk's bandwidth are cheaper.
_LONG_NBYTES: Final = 64 << 10
# One read. Beyond some 256 KiB no disk gets faster; a piece more costs a request.
_READ_NBYTES: Final = 1 << 20


class Blocks(NamedTuple):
    """What is read for each range, and where it goes.

    Attributes:
        widened: bool[n], which ranges are read in whole blocks.
        offsets: int64[n], where the read of each range begins in its file.
        nbytes: int64[n], how many bytes it has.
        targets: int64[n], where it goes in the result.
        starts: int64[n], where the range itself begins in the result.
        target_nbytes: of the result.
    """

    widened: NDArray[np.bool_]
    offsets: I64
    nbytes: I64
    targets: I64
    starts: I64
    target_nbytes: int


def widen(ranges: Ranges, offsets: I64, nbytes: I64) -> Blocks | None:
    """Lay out a result in blocks.

    Args:
        ranges: as they were asked for; their files are looked up.
        offsets: int64[n], where each range begins.
        nbytes: int64[n], how many bytes it has.

    Returns:
        None where no range is long enough.
    """
    # Far offsets are left alone: their ends must not overflow.
    widened = (nbytes >= _LONG_NBYTES) & (offsets <= 1 << 62) & (nbytes <= 1 << 61)
    if not widened.any():
        return None
    size = _sizes(ranges, widened)[ranges.path_index]
    # What reaches outside its file is an error, whose words are those of the range itself.
    widened &= np.where(widened, offsets + np.where(widened, nbytes, 0), 0) <= size
    leads = np.where(widened, offsets % BLOCK_NBYTES, 0)
    ends = np.where(widened, offsets + nbytes, 0)
    rooms = np.where(widened, _whole(ends) - (offsets - leads), 0)
    others = np.where(widened, 0, nbytes)
    # The long ones first, so that none of them has to make up for the odd lengths of others.
    ends_of_long, ends_of_others = np.cumsum(rooms), int(rooms.sum()) + np.cumsum(others)
    targets = np.where(widened, ends_of_long - rooms, ends_of_others - others)
    read_nbytes = np.where(widened, np.minimum(_whole(ends), size) - (offsets - leads), nbytes)
    return Blocks(widened, offsets - leads, read_nbytes, targets, targets + leads, int(ends_of_others[-1]))


def _sizes(ranges: Ranges, chosen: NDArray[np.bool_]) -> I64:
    """How many bytes each file has that some chosen range is in; 0 where it cannot be found out, and for the others."""
    wanted = np.zeros(len(ranges.paths), bool)
    wanted[ranges.path_index[chosen]] = True
    used = np.flatnonzero(wanted)
    sizes = np.zeros(len(ranges.paths), np.int64)
    sizes[used] = planning.stat([ranges.paths[i] for i in used])["nbytes"]
    return sizes


def _whole(nbytes: I64) -> I64:
    return -(-nbytes // BLOCK_NBYTES) * BLOCK_NBYTES


def cut(blocks: Blocks) -> tuple[I64, I64, I64, I64]:
    """Cut what is read in blocks into pieces of about equal size, which all workers share; leave out what is empty.

    Returns:
        For each piece its range, offset, size, and place in the result.
    """
    nbytes = blocks.nbytes
    counts = np.where(blocks.widened, np.maximum((nbytes + _READ_NBYTES // 2) // _READ_NBYTES, 1), nbytes > 0)
    lengths = np.where(blocks.widened, _whole(-(-nbytes // np.maximum(counts, 1))), nbytes)
    index = np.repeat(np.arange(len(nbytes)), counts)
    positions = (np.arange(len(index)) - np.repeat(np.cumsum(counts) - counts, counts)) * lengths[index]
    there = positions < nbytes[index]  # pieces rounded up may leave nothing for the last one
    index, positions = index[there], positions[there]
    sizes = np.minimum(lengths[index], nbytes[index] - positions)
    return index, blocks.offsets[index] + positions, sizes, blocks.targets[index] + positions
