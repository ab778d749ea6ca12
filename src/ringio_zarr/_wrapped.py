"""Shards with codecs around them: each is read and decoded whole, and its inner chunks are then found in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ringio import DecodeError, RingioError, codecs, planning

from ._parts import Parts, PartStore, files_in_memory
from ._store_base import Store

_EMPTY: Final = np.empty(0, np.uint8)


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

    def read(self, key: str, reader: Any = None) -> bytes | None:
        """Documents are not encoded."""
        return self._store.read(key, reader)

    def child_directories(self, key: str, reader: Any = None) -> list[str]:
        """As the other store has them."""
        return self._store.child_directories(key, reader)

    def parts(self, keys: Sequence[str], limit_nbytes: int) -> Parts:
        """Read and decode. What is wrong with a part is said of that part alone."""
        del limit_nbytes
        count = len(keys)
        arrays: list[npt.NDArray[np.uint8]] = [_EMPTY] * count
        offsets, nbytes = np.full(count, planning.MISSING, np.uint64), np.zeros(count, np.uint64)
        errors: dict[int, Exception] = {}
        for number, key in enumerate(keys):
            try:
                encoded = self._store.read(key)
                if encoded is None:
                    continue
                arrays[number] = self._decode(encoded, key)
            except (RingioError, OSError) as error:
                errors[number] = error
                continue
            offsets[number], nbytes[number] = 0, arrays[number].nbytes
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
