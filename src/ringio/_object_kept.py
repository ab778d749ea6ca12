"""Answers of stores that are buffers of the result as they come, and so are not copied to a place in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ._object_store import Buffer
from ._plan import Plan


class Kept:
    """The buffers of the result that are the stores' own.

    Args:
        plan: whose requests are answered.
        wholes: by requests whose answers are buffers of the result: the numbers of these.

    Attributes:
        buffers: that have come, by their numbers.
        piece_count: how many tasks they have.
    """

    def __init__(self, plan: Plan, wholes: Mapping[int, int]) -> None:
        self._requests = plan.requests
        self._wholes = wholes
        self.buffers: dict[int, memoryview] = {}
        self.piece_count = 0

    def __bool__(self) -> bool:
        return bool(self._wholes)

    def has_all(self, indices: Sequence[int]) -> bool:
        """Whether all these requests are such: their answers have no other place."""
        return all(i in self._wholes for i in indices)

    def take(self, indices: Sequence[int], answers: Sequence[Buffer]) -> tuple[list[int], list[Buffer], dict[int, int]]:
        """Keep what can be kept; to be called with the lock of the work held.

        Returns:
            The other requests, and their answers; and those whose objects end within them, with what came, in bytes.
        """
        others: tuple[list[int], list[Buffer]] = ([], [])
        short: dict[int, int] = {}
        for i, answer in zip(indices, answers, strict=True):
            number = self._wholes.get(i)
            if number is None:
                others[0].append(i)
                others[1].append(answer)
                continue
            view = memoryview(answer).cast("B").toreadonly()
            if view.nbytes == self._requests["nbytes"][i]:
                self.buffers[number] = view
                self.piece_count += int(self._requests["task_count"][i])
            else:
                short[i] = view.nbytes
        return *others, short
