"""Shards with codecs around them: each is read and decoded whole, and its inner chunks are then found in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ringio import DecodeError, Reader, RingioError, codecs, planning

from ._parts import Parts, PartStore, files_in_memory
from ._store_base import MAX_DOCUMENT_NBYTES, Store

_EMPTY: Final = np.empty(0, np.uint8)
_GROUP_COUNT: Final = 16  # shards that are read at once


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
        count = len(keys)
        arrays: list[npt.NDArray[np.uint8]] = [_EMPTY] * count
        offsets, nbytes = np.full(count, planning.MISSING, np.uint64), np.zeros(count, np.uint64)
        errors: dict[int, Exception] = {}
        for number, decoded in enumerate(self._decoded(keys, limit_nbytes, reader)):
            if isinstance(decoded, Exception):
                errors[number] = decoded
            elif decoded is not None:
                arrays[number] = decoded
                offsets[number], nbytes[number] = 0, decoded.nbytes
        return Parts(
            paths=[self.location(key) for key in keys],
            files=files_in_memory(arrays),
            identities=[b""] * count,
            file_numbers=np.arange(count, dtype=np.uint32),
            offsets=offsets,
            nbytes=nbytes,
            errors=errors,
            keep=arrays,
        )

    def _decoded(
        self, keys: Sequence[str], limit_nbytes: int, reader: Reader
    ) -> Iterator[npt.NDArray[np.uint8] | Exception | None]:
        """The decoded shards, None where there is none; of those encoded only a few are in memory at once."""
        for first in range(0, len(keys), _GROUP_COUNT):
            group = keys[first : first + _GROUP_COUNT]
            for key, encoded in zip(group, self._read_group(group, limit_nbytes, reader), strict=True):
                if encoded is None or isinstance(encoded, Exception):
                    yield encoded
                    continue
                try:
                    yield self._decode(encoded, key)
                except (RingioError, OSError) as error:
                    yield error

    def _read_group(self, keys: Sequence[str], limit_nbytes: int, reader: Reader) -> Sequence[bytes | Exception | None]:
        try:
            return self._store.read_many(keys, reader, limit_nbytes)
        except (RingioError, OSError) as error:
            if len(keys) == 1:
                return [error]
        # One of them cannot be read: it is found out which.
        return [each for key in keys for each in self._read_group([key], limit_nbytes, reader)]

    def _decode(self, encoded: bytes, key: str) -> npt.NDArray[np.uint8]:
        """Nobody knows the size of a shard before. What a Python codec is given may have any, so one takes it here."""
        taken: list[npt.NDArray[np.uint8]] = []

        def take(data: Any) -> bytes:
            taken.append(np.frombuffer(data, np.uint8))
            return b""

        try:
            codecs.chain([take, *self._steps]).decode(encoded, (0,), np.uint8)
        except DecodeError as error:
            path = self.location(key)
            text = f"the shard in {path} as a whole: {error}"
            raise DecodeError(text, path=path, offset=0, length=len(encoded)) from error
        return taken[0]
