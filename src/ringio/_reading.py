"""How a batch of ranges is read, without a word about who waits: steps, to be done one after the other.

Reading takes work of this process (look up sizes, plan), jobs of the core, and what other threads do. A generator says
which comes next and is sent what came of it; whoever drives it decides how to wait: the calling thread (:func:`drive`),
an event loop (``_loops``), a stream with many batches in flight (``_stream``).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence, Sized
from functools import partial
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from . import _batch, _spans
from ._buffers import Buffers
from ._failures import TaskFailure
from ._memory import check_room, empty
from ._named import NamedTuple
from ._options import Options
from ._plan import BoundPlan, Plan
from ._progress import Progress
from ._ranges import Ranges, RangeTuple, as_ranges
from ._targets import flat_bytes

T = TypeVar("T")

# So many ranges are planned in about a millisecond, which an event loop can do without.
LIGHT_COUNT: Final = 4096
LIGHT_TASK_COUNT: Final = 1 << 16  # a plan that is made already has to be checked and bound only


class Work(NamedTuple):
    """A step that is work of this process.

    Attributes:
        call: does it.
        is_light: whether it takes no longer than a millisecond and asks no filesystem anything, so that an event loop
            may do it itself. To be called by who needs to know.
    """

    call: Callable[[], Any]
    is_light: Callable[[], bool]

    def do(self) -> Any:
        """Do it, in sight of ``ringio.trace``."""
        begin_ns = _spans.begin()
        try:
            return self.call()
        finally:
            _spans.end("prepare", begin_ns)


class Pending(Protocol):
    """A step that other threads do, and have begun: a ``concurrent.futures.Future``, or what is used like one."""

    def add_done_callback(self, fn: Callable[[Any], object], /) -> None:
        """Have it called when it is done or cancelled, by any thread; at once if it is already."""

    def cancel(self) -> object:
        """Nobody waits for it any more."""

    def result(self) -> Any:
        """What came of it; it may be waited for."""


class Watched(Pending, Protocol):
    """A step that other threads do, and whose progress somebody wants to know."""

    watch: Callable[[], object] | None
    """To be called now and then by whoever waits for it."""


class Objects(_batch.Objects, Protocol):
    """The objects of a batch or plan, which are read by threads of their own."""

    @property
    def is_light(self) -> bool:
        """Whether :meth:`begin` takes no time to speak of."""

    def begin(
        self, bound: BoundPlan, progress: Progress, wholes: Mapping[int, int] | None = None
    ) -> tuple[BoundPlan | None, Watched]:
        """Begin to read them; gives the rest of the plan, if there is any, and what has begun."""

    def join(self, failures: list[TaskFailure], others: list[TaskFailure]) -> list[TaskFailure]:
        """The failures of a plan from those of its parts."""


class Finder(Protocol):
    """Finds out what is in stores."""

    def among(self, paths: Sequence[str]) -> Objects | None:
        """Which of some paths are; None: none."""

    def in_plan(self, plan: Plan) -> Objects | None:
        """Which files of a plan are; None: none."""


class Begun:
    """Objects that are being read. Who gives them up may do so while another thread is still beginning with it."""

    def __init__(self) -> None:
        self._reading: Watched | None = None
        self._is_cancelled = False

    def begin(
        self, objects: Objects, bound: BoundPlan, progress: Progress, wholes: Mapping[int, int] | None = None
    ) -> tuple[BoundPlan | None, Watched | None]:
        """``objects.begin()``, once."""
        if self._is_cancelled:
            return None, None
        rest, self._reading = objects.begin(bound, progress, wholes)
        if self._is_cancelled:  # looked at once more: cancel() does the same the other way round
            self._reading.cancel()
        return rest, self._reading

    def cancel(self) -> None:
        """Nobody waits for them any more."""
        self._is_cancelled = True
        if self._reading is not None:
            self._reading.cancel()


# A bound plan is to be executed, and its failures sent; of the others their result is sent.
Step: TypeAlias = Work | BoundPlan | Pending
Steps: TypeAlias = Generator[Step, Any, T]


class Prepared(NamedTuple):
    """A batch ready to be read.

    Attributes:
        batch: with all offsets and sizes.
        planned: its plan.
        bound: the plan and its target; None: there is nothing to read.
        data: the target.
    """

    batch: _batch.Batch
    planned: _batch.BatchPlan
    bound: BoundPlan | None
    data: Any


def read(
    options: Options,
    ranges: Ranges | Iterable[RangeTuple],
    *,
    out: object = None,
    on_error: str = "raise",
    allow_short: bool = False,
    progress: Progress = None,
    objects: Finder | None = None,
    batch: _batch.Batch | None = None,
    limit_nbytes: int | None = None,
) -> Steps[Buffers]:
    """The steps of ``Reader.read_ranges``; see there.

    Args:
        options: of the reader.
        ranges: what to read.
        out: see there.
        on_error: see there.
        allow_short: see there.
        progress: see there; of the objects only, whoever runs the rest reports that.
        objects: finds them.
        batch: the ranges, resolved already.
        limit_nbytes: of one range; None: there is none.

    Returns:
        By StopIteration: the buffers.
    """
    check_on_error(on_error)
    asked: Ranges
    if isinstance(ranges, Ranges):
        asked = ranges
    else:
        # Whoever made a generator may count on being called by the thread that the generator was made for.
        asked = yield Work(lambda: as_ranges(ranges), lambda: not isinstance(ranges, Sized) or _are_few(ranges))
    for attempt in (1, 2):
        in_blocks = out is None and attempt == 1 and options.direct is not False  # asks for sizes too
        prepared: Prepared = yield Work(
            partial(_prepare, options, asked, objects, batch, out, on_error, allow_short, limit_nbytes, in_blocks),
            partial(_is_light, asked, batch, allow_short, in_blocks),
        )
        failures: list[TaskFailure] = []
        own: dict[int, memoryview] = {}
        if prepared.bound is not None:
            failures = yield from _run(prepared.bound, prepared.batch.objects, progress, prepared.planned.wholes, own)
        planned = prepared.planned
        if attempt == 2 or not (_batch.is_stale(failures) or _batch.may_be_of_others(planned, failures)):
            break
        batch = None
    errors = _batch.range_errors(planned, prepared.batch, failures)
    if errors and on_error == "raise":
        raise _batch.first_error(errors, len(asked))
    return Buffers(prepared.data, planned.starts, planned.ends, errors, own)


def _are_few(ranges: Sized) -> bool:
    """Whether an event loop may look at each of them."""
    return len(ranges) <= LIGHT_COUNT


def _is_light(ranges: Ranges, batch: _batch.Batch | None, allow_short: bool, in_blocks: bool) -> bool:
    asks_for_sizes = in_blocks or (batch is None and _batch.asks_for_sizes(ranges, allow_short=allow_short))
    return _are_few(ranges) and not asks_for_sizes


def _prepare(
    options: Options,
    ranges: Ranges,
    objects: Finder | None,
    batch: _batch.Batch | None,
    out: object,
    on_error: str,
    allow_short: bool,
    limit_nbytes: int | None,
    in_blocks: bool,
) -> Prepared:
    if batch is None:
        found = None if objects is None else objects.among(ranges.paths)
        batch = _batch.resolve(ranges, allow_short=allow_short, objects=found)
    if limit_nbytes is not None:
        batch = _batch.without_giants(batch, limit_nbytes)
    if batch.errors and on_error == "raise":
        raise _batch.first_error(batch.errors, len(ranges))
    mask = None if batch.objects is None else batch.objects.mask
    planned = _batch.make_plan(
        batch,
        options.costs(ranges.paths, mask),
        keep_places=out is not None,
        in_blocks=in_blocks and mask is None,
        # Of a stream the memory is counted by its batches.
        may_own=mask is not None and out is None and limit_nbytes is None,
    )
    nbytes = planned.target_nbytes
    data = empty(nbytes) if out is None else flat_bytes(out, nbytes)
    check_room(planned.own_nbytes)
    bound = planned.plan.bind(data) if planned.plan.task_count else None
    return Prepared(batch, planned, bound, data)


def _run(
    bound: BoundPlan,
    objects: Any,
    progress: Progress,
    wholes: Mapping[int, int] | None = None,
    own: dict[int, memoryview] | None = None,
) -> Steps[list[TaskFailure]]:
    """Execute a plan, whose objects are read at the same time as its files.

    Args:
        bound: the plan and its targets.
        objects: that it reads.
        progress: of these.
        wholes: see ``_batch.BatchPlan``.
        own: gets what was read of these.
    """
    if objects is None:
        failures: list[TaskFailure] = yield bound
        return failures
    others = Begun()
    try:
        rest, begun = yield Work(lambda: others.begin(objects, bound, progress, wholes), lambda: objects.is_light)
        failures = (yield rest) if rest is not None else []
        of_objects = yield begun
    finally:
        others.cancel()
    if own is not None:
        own |= begun.kept.buffers
    joined: list[TaskFailure] = objects.join(failures, of_objects)
    return joined


def execute(
    plan: Plan, out: object, *, on_error: str = "raise", progress: Progress = None, objects: Finder | None = None
) -> Steps[Any]:
    """The steps of ``Reader.execute``; see there."""
    check_on_error(on_error)
    bound: BoundPlan = yield Work(lambda: plan.bind(out), lambda: plan.task_count <= LIGHT_TASK_COUNT)
    failures = yield from _run(bound, None if objects is None else objects.in_plan(plan), progress)
    return outcome(plan, out, failures, on_error)


def outcome(plan: Plan, out: object, failures: list[TaskFailure], on_error: str) -> Any:
    """What ``Reader.execute`` returns, or raises, when a plan is done."""
    if on_error == "return":
        return [(int(failure.task), plan.error(failure)) for failure in failures]
    if failures:
        error = plan.error(failures[0])
        if len(failures) > 1:
            error.add_note(f"and {len(failures) - 1} more of {plan.task_count} tasks failed")
        raise error
    return out


def check_on_error(on_error: str) -> None:
    """Raise ValueError for what is neither "raise" nor "return"."""
    if on_error not in ("raise", "return"):
        raise ValueError(f"on_error is {on_error!r}; 'raise' or 'return' is due")


def advance(steps: Steps[T], sent: object = None) -> tuple[Step | None, T | None]:
    """Send a step's outcome; gives the next step and None, or None and the result."""
    try:
        return steps.send(sent), None
    except StopIteration as end:
        return None, end.value


def drive(steps: Steps[T], run: Callable[[BoundPlan], list[TaskFailure]]) -> T:
    """Do all steps in the calling thread.

    Args:
        steps: a generator of them.
        run: executes a plan and waits for it.
    """
    sent: Any = None
    begin_ns = _spans.begin()
    try:
        while True:
            try:
                step = steps.send(sent)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(step, Work):
                sent = step.do()
            else:
                sent = run(step) if isinstance(step, BoundPlan) else _wait(step)
    finally:
        steps.close()  # what it has begun itself it gives up now
        _spans.end("batch", begin_ns)


def _wait(pending: Pending) -> Any:
    begin_ns = _spans.begin()
    try:
        return pending.result()
    except BaseException:
        pending.cancel()
        raise
    finally:
        _spans.end("wait for objects", begin_ns)
