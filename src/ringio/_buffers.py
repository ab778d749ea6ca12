"""What a batch of ranges gives back: one piece of memory, seen as a sequence of buffers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray


class Buffers(Sequence[memoryview]):
    """The bytes of each range, in the order asked: a sequence of read-only memoryviews.

    All of them lie in one allocation, back to back unless the reader is ``direct``, and a memoryview is made only when
    it is asked for. A buffer keeps the memory of its whole batch alive; ``bytes(buffers[i])`` is a copy that does not.
    A long range of an object (256 KiB and more) may lie in memory of its own, where the store has put it.

    With ``on_error="return"`` the exception of a range that failed stands in its place.

    Attributes:
        nbytes: of all ranges together.
        errors: the exceptions by the index of their range, in its order; empty unless ``on_error="return"``.
    """

    __slots__ = ("_view", "_starts", "_ends", "_own", "errors")

    errors: Mapping[int, Exception]

    def __init__(
        self,
        data: NDArray[np.uint8],
        starts: NDArray[np.int64],
        ends: NDArray[np.int64],
        errors: Mapping[int, Exception] | None = None,
        own: Mapping[int, memoryview] | None = None,
    ) -> None:
        self._view = data.data.toreadonly()
        self._starts = starts
        self._ends = ends
        self._own = own or {}  # those that lie elsewhere
        self.errors = errors or {}

    @property
    def nbytes(self) -> int:
        """How many bytes there are in all buffers together."""
        return int((self._ends - self._starts).sum())

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, i: int) -> memoryview: ...
    @overload
    def __getitem__(self, i: slice) -> Buffers: ...
    def __getitem__(self, i: int | slice) -> memoryview | Buffers:
        if isinstance(i, slice):
            return self._slice(i)
        start, end = int(self._starts[i]), int(self._ends[i])  # raises IndexError
        if self.errors and (error := self.errors.get(i if i >= 0 else i + len(self))):
            return error  # type: ignore[return-value]  # on_error="return": who asks for it expects it
        if self._own and (buffer := self._own.get(i if i >= 0 else i + len(self))) is not None:
            return buffer
        return self._view[start:end]

    def _slice(self, part: slice) -> Buffers:
        chosen = range(len(self))[part]
        errors = {place: self.errors[i] for place, i in enumerate(chosen) if i in self.errors} if self.errors else None
        buffers = Buffers.__new__(Buffers)
        buffers._view = self._view
        buffers._starts, buffers._ends = self._starts[part], self._ends[part]
        buffers._own = {place: self._own[i] for place, i in enumerate(chosen) if i in self._own} if self._own else {}
        buffers.errors = errors or {}
        return buffers

    def __iter__(self) -> Iterator[memoryview]:
        if self.errors or self._own:
            return (self[i] for i in range(len(self)))
        view = self._view
        return (view[start:end] for start, end in zip(self._starts.tolist(), self._ends.tolist(), strict=True))

    def copied(self) -> Iterator[memoryview]:
        """The same buffers, each in memory of its own; none of them may have failed."""
        data = self._view.tobytes()  # of bytes a slice is a copy, and bytes are sliced three times as fast as views
        return (memoryview(data[start:end]) for start, end in zip(self._starts.tolist(), self._ends.tolist()))

    def __repr__(self) -> str:
        failed = f", {len(self.errors)} failed" if self.errors else ""
        return f"<ringio.Buffers: {len(self)} buffers, {self.nbytes} bytes{failed}>"
