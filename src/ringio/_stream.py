"""Ranges read as a stream: in the order in which they are there, with bounded memory, however many they are.

The stream is cut into sub-batches of some 2 MiB or 4096 ranges, each of which is read like any other batch: sorted,
coalesced, shared by all workers. Some are in flight while the ranges of one that is done are handed out, and the next
one starts when its bytes have been. So memory is bounded by what is in flight, and a slow consumer slows down the
reading, not the other way round.

:class:`Stream` does this without waiting for anything. Who drives it waits: a generator here, an asynchronous one in
``_stream_async``.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from . import _batch, _execute, _reading
from ._buffers import Buffers
from ._errors import RingioError
from ._execute import Bell, Job
from ._handle import Handle
from ._named import NamedTuple
from ._options import Options
from ._plan import BoundPlan
from ._progress import StreamWatcher
from ._ranges import Ranges, RangeTuple, many

# A block of ranges is looked at, planned and handed out at a time: so many take a millisecond or two each way.
_BLOCK_COUNT: Final = 4096
# One huge page, which is what a result of that size is in (_memory): large enough that a job costs next to nothing,
# small enough that a buffer which somebody keeps does not keep much else.
_PART_NBYTES_MAX: Final = 2 << 20
_PART_NBYTES_MIN: Final = 256 << 10
# Of sub-batches in flight: as much as disks need that answer within 10 ms, and no more than that.
_WINDOW_NBYTES_MAX: Final = 32 << 20
_WINDOW_COUNT: Final = 16
# Shorter ranges are copied out of their sub-batch (0.1 us each): kept by the consumer, they do not keep it alive.
COPIED_NBYTES_MAX: Final = 4096


class Part(NamedTuple):
    """A sub-batch.

    Attributes:
        first: number of its first range.
        batch: its ranges.
        nbytes: of all its ranges.
    """

    first: int
    batch: _batch.Batch
    nbytes: int


class Arrived(NamedTuple):
    """A sub-batch that has been read."""

    part: Part
    buffers: Buffers


@dataclass(slots=True)
class _Running:
    part: Part
    steps: _reading.Steps[Buffers]
    job: Job | None = None
    other: _reading.Pending | None = None


class Stream:
    """A stream of ranges being read.

    Whoever drives it does, again and again: the work that :meth:`next_work` gives; then :meth:`next_arrived`, whose
    ranges it hands out; or else it waits until ``bell`` rings, and tells :meth:`rung` the token. :meth:`close` has to
    be called in the end, whatever the end is.

    Args:
        handle: of the reader.
        options: of the reader.
        memory_limit_bytes: of the reader: half of it, at most 32 MiB, is in flight.
        ranges: what to read; an iterable of tuples is consumed as the stream goes on.
        bell: that rings when a sub-batch has been read.
        new_token: gives a number that a ring can be told by from all others of that bell.
        allow_short: see ``Reader.read_ranges``.
        watcher: told about progress, or None.
        objects: finds them.
    """

    def __init__(
        self,
        handle: Handle,
        options: Options,
        memory_limit_bytes: int,
        ranges: Ranges | Iterable[RangeTuple],
        *,
        bell: Bell,
        new_token: Callable[[], int],
        allow_short: bool,
        watcher: StreamWatcher | None,
        objects: _reading.Finder,
    ) -> None:
        self._handle = handle
        self._options = options
        self._limit_nbytes = memory_limit_bytes
        self._window_nbytes = min(memory_limit_bytes // 2, _WINDOW_NBYTES_MAX)
        self._part_nbytes = max(min(self._window_nbytes // 8, _PART_NBYTES_MAX), _PART_NBYTES_MIN)
        self._blocks = _blocks(ranges)
        self._bell = bell
        self._new_token = new_token
        self._allow_short = allow_short
        self._watcher = watcher
        self._objects = objects
        self._parts: deque[Part] = deque()  # cut, and not started yet
        self._running: dict[int, _Running] = {}
        self._arrived: deque[Arrived] = deque()
        self._held_nbytes = 0  # of the parts that run, have arrived, or are being handed out
        self._held_count = 0
        self._is_read_out = False

    def next_work(self) -> _reading.Work | None:
        """Work that has to be done for more to be in flight, whose result is for :meth:`put`; None: there is none now.

        It raises what a generator of ranges raises.
        """
        if self._parts:
            return _reading.Work(self._start, lambda: True) if self._has_room(self._parts[0]) else None
        block = next(self._blocks, None)
        if block is None:
            self._is_read_out = True
            return None
        first, ranges = block
        allow_short = self._allow_short
        return _reading.Work(
            lambda: self._cut(first, ranges), lambda: not _batch.asks_for_sizes(ranges, allow_short=allow_short)
        )

    def put(self, parts: list[Part]) -> None:
        """Take over what the work has given."""
        self._parts.extend(parts)
        if self._watcher is not None:
            self._watcher.expect(sum(part.nbytes for part in parts))

    def rung(self, token: int) -> None:
        """The bell has rung: a job is done."""
        running = self._running.pop(token, None)
        if running is None:
            return
        job, other, running.job, running.other = running.job, running.other, None, None
        if job is not None:
            _execute.leave(job)
        outcome = job.failures() if job is not None else other.result() if other is not None else None
        self._advance(running, outcome)

    def next_arrived(self) -> Arrived | None:
        """A sub-batch that has been read, to be handed out and then given to :meth:`release`."""
        return self._arrived.popleft() if self._arrived else None

    def release(self, part: Part) -> None:
        """The bytes of a sub-batch are with the consumer, whose they are now."""
        self._held_nbytes -= part.nbytes
        self._held_count -= 1
        if self._watcher is not None:
            self._watcher.add(part.nbytes)

    @property
    def tokens(self) -> list[int]:
        """Those that the bell has not rung with."""
        return list(self._running)

    @property
    def is_over(self) -> bool:
        """Whether nothing is left but what :meth:`next_arrived` gives."""
        return self._is_read_out and not self._parts and not self._running

    def close(self) -> None:
        """Cancel what is in flight, without waiting for it; its memory stays alive as long as it is used."""
        if self._watcher is not None and self.is_over:
            self._watcher.finish()
        all_running = list(self._running.values())
        self._running.clear()
        self._parts.clear()
        self._arrived.clear()
        for running in all_running:
            if running.job is not None:
                running.job.cancel()
            if running.other is not None:
                running.other.cancel()
        for running in all_running:
            if running.job is not None:
                _execute.leave(running.job)
            running.steps.close()

    def _has_room(self, part: Part) -> bool:
        if self._held_count == 0:
            return True  # alone it may have all there is
        return self._held_count < _WINDOW_COUNT and self._held_nbytes + part.nbytes <= self._window_nbytes

    def _cut(self, first: int, ranges: Ranges) -> list[Part]:
        """Cut a block into parts of one range, or of no more bytes than a part may have."""
        found = self._objects.among(ranges.paths)
        batch = _batch.resolve(ranges, allow_short=self._allow_short, objects=found)
        count = _count_with_room(batch)
        if count < len(ranges):
            # What there was no room for is looked up again when all before it is being read.
            self._blocks = itertools.chain(_split(first, ranges, count), self._blocks)
            if count == 0:
                return []
            batch = _batch.part(batch, 0, count)
        batch = _batch.without_giants(batch, self._limit_nbytes)
        sizes = batch.nbytes.copy()
        sizes[list(batch.errors)] = 0
        ends = np.cumsum(sizes)
        parts = []
        start = before = 0
        while start < len(sizes):
            stop = max(int(np.searchsorted(ends, before + self._part_nbytes, "right")), start + 1)
            nbytes = int(ends[stop - 1]) - before
            parts.append(Part(first + start, _batch.part(batch, start, stop), nbytes))
            start, before = stop, before + nbytes
        return parts

    def _start(self) -> list[Part]:
        part = self._parts.popleft()
        self._held_nbytes += part.nbytes
        self._held_count += 1
        steps = _reading.read(
            self._options,
            part.batch.ranges,
            on_error="return",
            allow_short=self._allow_short,
            objects=self._objects,
            batch=part.batch,
            limit_nbytes=self._limit_nbytes,
        )
        self._advance(_Running(part, steps))
        return []

    def _advance(self, running: _Running, sent: object = None) -> None:
        """Go on with a sub-batch until it is in flight, or there."""
        step, buffers = _reading.advance(running.steps, sent)
        while step is not None:
            if isinstance(step, _reading.Work):  # light most often: the sizes of files that changed are looked up again
                sent = step.do()
            elif isinstance(step, BoundPlan):
                job = self._submit(running, step)
                if job is None:
                    return
                sent = job.failures()
            else:
                self._wait_for(running, step)
                return
            step, buffers = _reading.advance(running.steps, sent)
        assert buffers is not None
        self._arrived.append(Arrived(running.part, buffers))

    def _submit(self, running: _Running, bound: BoundPlan) -> Job | None:
        """Start a job; gives it if it is done already."""
        token = self._new_token()
        user = object()
        try:
            job = _execute.start(self._handle.use(user), bound.struct, bound.keep, self._bell, token)
        finally:
            self._handle.users.discard(user)
        if job.is_settled:
            _execute.leave(job)
            return job
        running.job = job
        self._running[token] = running
        return None

    def _wait_for(self, running: _Running, other: _reading.Pending) -> None:
        token, bell = self._new_token(), self._bell
        running.other = other
        self._running[token] = running
        bell.expect()
        other.add_done_callback(lambda _: bell.ring(token))


def _blocks(ranges: Ranges | Iterable[RangeTuple]) -> Iterator[tuple[int, Ranges]]:
    """Some thousand ranges at a time, and the number of the first of them."""
    if isinstance(ranges, Ranges):
        for first in range(0, len(ranges), _BLOCK_COUNT):
            yield first, ranges._part(first, first + _BLOCK_COUNT)[0]
        return
    rows = iter(many(ranges))
    first = 0
    while some := list(itertools.islice(rows, _BLOCK_COUNT)):
        try:
            block = Ranges.from_tuples(some)
        except (TypeError, ValueError, RingioError) as error:
            if first:
                error.add_note(f"ranges are counted from number {first} on here")
            raise
        yield first, block
        first += len(some)


def _count_with_room(batch: _batch.Batch) -> int:
    """How many ranges of a block there was room for.

    What comes from servers without byte ranges is kept from when it is looked up.
    """
    count = len(batch.ranges)
    if count <= 1 or not batch.errors or batch.objects is None or not (files := batch.objects.without_room()):
        return count
    return min((i for i in batch.errors if int(batch.ranges.path_index[i]) in files), default=count)


def _split(first: int, ranges: Ranges, count: int) -> Iterator[tuple[int, Ranges]]:
    """The rest of a block of which there was room for so many ranges: twice as many at a time, as they may differ."""
    # One that has no room by itself is an error, and no measure for the others.
    bounds = [0, 1, len(ranges)] if count == 0 else [*range(count, len(ranges), 2 * count), len(ranges)]
    for start, stop in itertools.pairwise(bounds):
        yield first + start, ranges._part(start, stop)[0]


def hand_out(arrived: Arrived, on_error: str) -> Iterator[tuple[int, memoryview]]:
    """The ranges of a sub-batch, each with its number.

    With ``on_error="return"`` the exception of a range that failed stands in its place, else it is raised there.
    """
    (first, batch, _), buffers = arrived
    if buffers.errors:
        return _hand_out_with_errors(first, buffers, on_error)
    if int(batch.nbytes.max(initial=0)) < COPIED_NBYTES_MAX:
        return zip(itertools.count(first), buffers.copied())
    return zip(itertools.count(first), map(_kept, buffers))


def _kept(buffer: memoryview) -> memoryview:
    return buffer if len(buffer) >= COPIED_NBYTES_MAX else memoryview(buffer.tobytes())


def _hand_out_with_errors(first: int, buffers: Buffers, on_error: str) -> Iterator[tuple[int, Any]]:
    for i, buffer in enumerate(buffers):
        error = buffers.errors.get(i)
        if error is None:
            yield first + i, _kept(buffer)
        elif on_error == "return":
            yield first + i, error
        else:
            error.add_note(f"range {first + i}")
            raise error


def iterate(
    make_stream: Callable[[Bell, Callable[[], int]], Stream], on_error: str
) -> Generator[tuple[int, memoryview], None, None]:
    """Drive a stream in the calling thread."""
    bell = Bell(has_fd=False)
    stream = make_stream(bell, itertools.count().__next__)
    try:
        while True:
            if os.getpid() != bell.process:
                raise RingioError("the process forked during this stream, which goes on in the parent alone")
            while (work := stream.next_work()) is not None:
                stream.put(work.do())
            if (arrived := stream.next_arrived()) is not None:
                part = arrived.part
                ranges, arrived = hand_out(arrived, on_error), None
                yield from ranges
                del ranges  # and with it, unless the consumer has some of it, the memory
                stream.release(part)
            elif stream.is_over:
                break
            elif _execute.is_exiting():
                raise RingioError("the process ends")
            else:
                bell.wait()
                tokens = bell.tokens()
                for token in tokens:
                    stream.rung(token)
                bell.forget(len(tokens))
    finally:
        if os.getpid() == bell.process:
            stream.close()
