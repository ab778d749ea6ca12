"""Stores that know at once where everything in them lies: in one file, or in memory."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from ringio import Reader, planning
from ringio.planning import NamedTuple

from ._store_base import Store

# Of the reader's limit, what a batch may have in memory beside the reader's own buffers; and in any case.
_MEMORY_SHARE: Final = 4
_BATCH_NBYTES_MAX: Final = 256 << 20  # larger batches are no faster


class Parts(NamedTuple):
    """Where what has some keys lies: all of them, or the first ones, where no more fits into memory at one time.

    Attributes:
        paths: of files, for messages too.
        files: FILE[file]: what these must still be, or where in memory they are; None: whatever is there.
        identities: of each file, to be kept and compared; b"": nothing of it may be kept.
        file_numbers: which file each part is in, u32. As many parts there are here, and one at least.
        offsets: where in it each part begins, u64; MISSING: there is none.
        nbytes: of each part, u64.
        errors: what is wrong with parts, by their number; their offset is MISSING.
        keep: what must live as long as the files are read.
        objects: where the files are that are objects, and in what state; None: there are none.
    """

    paths: list[str]
    files: npt.NDArray[np.void] | None
    identities: list[bytes]
    file_numbers: npt.NDArray[np.uint32]
    offsets: npt.NDArray[np.uint64]
    nbytes: npt.NDArray[np.uint64]
    errors: dict[int, Exception]
    keep: object
    objects: planning.PlanObjects | None = None


class PartStore(Store):
    """A store that knows at once where everything in it lies."""

    __slots__ = ()

    @abstractmethod
    def parts(self, keys: Sequence[str], limit_nbytes: int, reader: Reader) -> Parts:
        """Where what has some keys lies: for all of them, or for as many of the first ones as fit into memory.

        Args:
            keys: of parts; one at least.
            limit_nbytes: nothing larger than this is worth having in memory.
            reader: does it, where the store needs one.

        Raises:
            OSError, MetadataError: nothing of the store can be read.
        """

    def find(self, key: str) -> tuple[bytes, bytes, int, int] | None:
        """Path, identity, offset and size of a part in a file, if that is known without asking anybody.

        The file may be another one by now: it must be compared with the identity.
        """
        del key
        return None

    def forget(self) -> None:
        """What ``find`` said was wrong, or may have been."""

    def has_changed(self, parts: Parts, error: Exception, reader: Reader) -> bool:
        """Whether asking for parts once more may give others.

        Args:
            parts: that were given.
            error: that came of them.
            reader: asks, where the store needs one.
        """
        del parts, error, reader
        return False


def batch_nbytes(reader: Reader) -> int:
    """How many bytes that had to be decoded first, and encoded ones with them, may be in memory at one time."""
    return min(_BATCH_NBYTES_MAX, reader.memory_limit_bytes // _MEMORY_SHARE)


def files_in_memory(arrays: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.void]:
    """FILE[n] for bytes that are in memory."""
    files = np.zeros(len(arrays), planning.FILE)
    # Address 0 would mean that there is nothing: an empty array may have it.
    files["data"] = [array.__array_interface__["data"][0] or 1 for array in arrays]
    files["nbytes"] = [array.nbytes for array in arrays]
    return files
