"""Shards with codecs around them: each is read and decoded whole, and its inner chunks are then found in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ringio import DecodeError, MemoryLimitError, Reader, RingioError, codecs, planning

from ._parts import Parts, PartStore, batch_nbytes, files_in_memory
from ._store_base import MAX_DOCUMENT_NBYTES, Store, too_large

_EMPTY: Final = np.empty(0, np.uint8)
_GROUP_COUNT_MAX: Final = 16  # shards that are read at once


class WrappedStore(PartStore):
    """A store whose parts are those of another one, decoded.

    Args:
        store: the other one.
        steps: the codecs around each shard, in the order of encoding, as ``ringio.codecs.chain`` takes them.
    """

    __slots__ = ("_steps", "_store")

    def __init__(self, store: Store, steps: Sequence[Any]) -> None:
        self._store = store
        self._steps = tuple(steps)

    def location(self, key: str) -> str:
        """As the other store has it."""
        return self._store.location(key)

    def read(self, key: str, reader: Reader | None = None, limit_nbytes: int = MAX_DOCUMENT_NBYTES) -> bytes | None:
        """Documents are not encoded."""
        return self._store.read(key, reader, limit_nbytes)

    def child_directories(self, key: str, reader: Reader | None = None) -> list[str]:
        """As the other store has them."""
        return self._store.child_directories(key, reader)

    def parts(self, keys: Sequence[str], limit_nbytes: int, reader: Reader) -> Parts:
        """Read and decode. What is wrong with a part is said of that part alone."""
        arrays: list[npt.NDArray[np.uint8]] = []
        there: list[bool] = []
        errors: dict[int, Exception] = {}
        for number, decoded in enumerate(self._fitting(keys, limit_nbytes, reader)):
            if isinstance(decoded, Exception):
                errors[number] = decoded
            there.append(isinstance(decoded, np.ndarray))
            arrays.append(decoded if isinstance(decoded, np.ndarray) else _EMPTY)
        count = len(arrays)
        return Parts(
            paths=[self.location(key) for key in keys[:count]],
            files=files_in_memory(arrays),
            identities=[b""] * count,
            file_numbers=np.arange(count, dtype=np.uint32),
            offsets=np.where(there, np.uint64(0), np.uint64(planning.MISSING)),
            nbytes=np.array([array.nbytes for array in arrays], np.uint64),
            errors=errors,
            keep=arrays,
        )

    def _fitting(
        self, keys: Sequence[str], limit_nbytes: int, reader: Reader
    ) -> Iterator[npt.NDArray[np.uint8] | Exception | None]:
        """The first decoded shards, as many as fit into memory; None where there is none.

        Nobody knows before how large they are, so the last one may be too much, but only that one. Of those encoded as
        many are in memory as would fit if they were as large as shards mostly are: a half of what is allowed.
        """
        left_nbytes = batch_nbytes(reader)
        group_count = min(max(2 * left_nbytes // limit_nbytes, 1), _GROUP_COUNT_MAX)
        for first in range(0, len(keys), group_count):
            group = keys[first : first + group_count]
            for key, encoded in zip(group, self._store.read_each(group, reader, limit_nbytes), strict=True):
                decoded = self._decoded(encoded, key, limit_nbytes, reader.memory_limit_bytes)
                yield decoded
                left_nbytes -= decoded.nbytes if isinstance(decoded, np.ndarray) else 0
                if left_nbytes < 0:
                    return

    def _decoded(
        self, encoded: bytes | Exception | None, key: str, limit_nbytes: int, memory_limit_bytes: int
    ) -> npt.NDArray[np.uint8] | Exception | None:
        if encoded is None or isinstance(encoded, Exception):
            return encoded
        try:
            decoded = self._decode(encoded, key, min(limit_nbytes, memory_limit_bytes))
        except MemoryLimitError as error:
            return error if memory_limit_bytes < limit_nbytes else too_large(self.location(key), None, limit_nbytes)
        except (RingioError, OSError) as error:
            return error
        if decoded.nbytes > limit_nbytes:
            return too_large(self.location(key), decoded.nbytes, limit_nbytes)
        return decoded

    def _decode(self, encoded: bytes, key: str, limit_nbytes: int) -> npt.NDArray[np.uint8]:
        """Nobody knows the size of a shard before. What a Python codec is given may have any, so one takes it here."""
        taken: list[npt.NDArray[np.uint8]] = []

        def take(data: Any) -> bytes:
            taken.append(np.array(np.frombuffer(data, np.uint8)))  # it may be the beginning of far more memory
            return b""

        path = self.location(key)
        try:
            codecs.chain([take, *self._steps]).decode(encoded, (0,), np.uint8, limit_nbytes)
        except MemoryLimitError as error:
            raise MemoryLimitError(f"the shard in {path} as a whole: {error}") from error
        except DecodeError as error:
            text = f"the shard in {path} as a whole: {error}"
            raise DecodeError(text, path=path, offset=0, length=len(encoded)) from error
        return taken[0]
