"""Answers of stores that Python codecs decode: by the threads of the pool, which have just fetched them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._core import lib
from ._failures import TaskFailure
from ._handle import Handle
from ._object_place import Placer, tasks_of
from ._plan import BoundPlan
from ._python_place import Decoder
from ._records import MAX_U64


class DecodingPlacer(Placer):
    """Does what a plan with Python codecs says with the bytes of its requests.

    Args:
        handle: of the reader.
        bound: the plan and its targets.
        memory_limit_bytes: of the reader.
    """

    def __init__(self, handle: Handle, bound: BoundPlan, memory_limit_bytes: int) -> None:
        super().__init__(handle, bound)
        self._decoder = Decoder(bound, memory_limit_bytes)

    def answer_nbytes(self) -> NDArray[np.float64]:
        """The same; of items of any length nobody knows how long they are."""
        nbytes = super().answer_nbytes()
        if any(chain.dtype.kind in "TO" for chain in self._bound.plan.python_chains or ()):
            nbytes[self._requests["nbytes"] == MAX_U64] = 0
        return nbytes

    def place(self, indices: Sequence[int], buffers: Sequence[Any], sizes: Sequence[int | None]) -> list[TaskFailure]:
        """Decode and place the tasks of some requests."""
        failures = []
        for i, buffer, size in zip(indices, buffers, sizes, strict=True):
            for task in tasks_of(self._requests[i]):
                failure = self._decoder.run(i, task, buffer)
                if failure is not None and failure.status == -lib.RINGIO_EOF and size is not None:
                    failure = failure._replace(got=size)
                if failure is not None:
                    failures.append(failure)
        return failures

    def stop(self) -> None:
        """Write nothing to the targets any more."""
        self._decoder.stop()

    def fill(self, indices: Sequence[int]) -> list[TaskFailure]:
        """Write the fill value to the places of requests whose objects do not exist."""
        found = [self._decoder.fill(i, task) for i in indices for task in tasks_of(self._requests[i])]
        return [failure for failure in found if failure is not None]
