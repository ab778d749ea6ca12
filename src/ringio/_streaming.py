"""The streams of ranges: methods of ``Reader``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from typing import TYPE_CHECKING

from . import _reading
from ._execute import Bell
from ._handle import Handle
from ._object_finder import LazyObjects
from ._options import OnError, Options
from ._progress import Progress, StreamWatcher, check_progress
from ._ranges import Ranges, RangeTuple

if TYPE_CHECKING:
    from ._stream import Stream


class StreamReads:
    """Reads that give one range after the other, in the order in which they are there, and never hold them all."""

    _handle: Handle
    _options: Options
    memory_limit_bytes: int
    _objects: LazyObjects

    def iter_ranges(
        self,
        ranges: Ranges | Iterable[RangeTuple],
        *,
        on_error: OnError = "raise",
        allow_short: bool = False,
        progress: Progress = None,
        store: object = None,
    ) -> Generator[tuple[int, memoryview], None, None]:
        """Read byte ranges as a stream: any number of them, in bounded memory.

        Some thousand ranges, or 2 MiB, are read at a time: sorted, and near ones together. Some of these sub-batches
        are in flight while the ranges of others are handed out. When the consumer is slow, reading waits for it.

        Args:
            ranges: tuples (path, offset, length), or :class:`Ranges`. A generator is consumed as the stream goes on.
            on_error: "raise" the error of a range when its turn comes, which ends the stream; or "return" it in the
                place of the buffer.
            allow_short: as for :meth:`Reader.read_ranges`.
            progress: True for a progress bar, or a function that is called with (bytes done, bytes in all). Where the
                ranges are not known in advance, the latter are those of the ranges that are, and more than are done.
            store: where the objects are, as :meth:`Reader.read_ranges` takes it.

        Yields:
            (number of the range, read-only memoryview), in the order in which they are there.

            A buffer is valid as long as it is used. One below 4 KiB has memory of its own; a longer one keeps its
            sub-batch alive, which is at most 2 MiB, or the range itself.

        Raises:
            MemoryLimitError: a range that is larger than the reader's ``memory_limit_bytes``. All that the stream holds
                at a time is no more than half of that, or one range; and no more than 32 MiB, or one range.
            Others as :meth:`Reader.read_ranges`.

        Leaving the loop, by ``break`` or an exception, stops the reading at once.
        """
        from ._stream import iterate  # late, as below: most programs have no streams

        make = self._stream_maker(ranges, on_error, allow_short, progress, store)
        return iterate(make, on_error)

    def iter_ranges_async(
        self,
        ranges: Ranges | Iterable[RangeTuple],
        *,
        on_error: OnError = "raise",
        allow_short: bool = False,
        progress: Progress = None,
        store: object = None,
    ) -> AsyncGenerator[tuple[int, memoryview], None]:
        """:meth:`iter_ranges` for an event loop, with ``async for``: same arguments, same buffers, same errors.

        After a ``break`` the stream ends when the loop gets to it; ``contextlib.aclosing`` ends it at once.
        """
        from . import _loops  # late: asyncio takes longer to import than all of this package

        return _loops.iterate(self._stream_maker(ranges, on_error, allow_short, progress, store), on_error)

    def _stream_maker(
        self,
        ranges: Ranges | Iterable[RangeTuple],
        on_error: OnError,
        allow_short: bool,
        progress: Progress,
        store: object,
    ) -> Callable[[Bell, Callable[[], int]], Stream]:
        from ._stream import Stream

        _reading.check_on_error(on_error)
        wanted = check_progress(progress)
        if not isinstance(ranges, Iterable):
            raise TypeError(f"ranges is a {type(ranges).__name__}; tuples (path, offset, length) are due, or Ranges")

        def make(bell: Bell, new_token: Callable[[], int]) -> Stream:
            watcher = None if wanted is False else StreamWatcher(wanted, _bytes_total(ranges))
            return Stream(
                self._handle,
                self._options,
                self.memory_limit_bytes,
                ranges,
                bell=bell,
                new_token=new_token,
                allow_short=allow_short,
                watcher=watcher,
                objects=self._objects.finder(store),
            )

        return make


def _bytes_total(ranges: Ranges | Iterable[RangeTuple]) -> int | None:
    """How many bytes there are in all, where that is known before any is read."""
    if isinstance(ranges, Ranges) and (not len(ranges) or int(ranges.lengths.min()) >= 0):
        return int(ranges.lengths.sum())
    return None
