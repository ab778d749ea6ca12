"""What becomes of the answers to a plan's requests: put in their places; failures; objects that changed meanwhile."""

from __future__ import annotations

import errno
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from . import _spans
from ._failures import TaskFailure
from ._object_care import CarefulWork
from ._object_kept import Kept
from ._object_lookup import Found
from ._object_one import Object
from ._object_place import Placer
from ._object_pool import Pool, Unit
from ._object_store import Buffer, Store, Version
from ._plan import Plan
from ._progress import Watcher
from ._records import MAX_U64
from ._store_errors import PAST_THE_END, Problem
from ._stores import Place, is_all_of

_UNKNOWN_NBYTES: Final = 1 << 20  # of a request of which the plan does not say either how much it brings


class Outcome(CarefulWork[list[TaskFailure], Object]):
    """What becomes of the requests of a plan that stores have; who asks for them makes units of work of them.

    Args:
        pool: whose threads ask.
        placer: does the rest.
        plan: whose requests they are.
        chosen: int64[c], which of them.
        places: of the files.
        found: what is known of them already.
        wholes: by requests whose answers are buffers of the result: the numbers of these.

    Attributes:
        kept: these buffers, as far as they have come. What else is read is in its place.
    """

    def __init__(
        self,
        pool: Pool,
        placer: Placer,
        plan: Plan,
        chosen: NDArray[np.int64],
        places: Mapping[int, Place | Problem],
        found: Mapping[int, Found],
        wholes: Mapping[int, int],
    ) -> None:
        super().__init__(pool, len(chosen))
        self._placer = placer
        self._requests = plan.requests
        self._answer_nbytes = placer.answer_nbytes()
        self._chosen = chosen[np.argsort(self._requests["file"][chosen], kind="stable")]
        self._places = places
        self._found = found
        self.kept = Kept(plan, wholes)
        self._failures: list[TaskFailure] = []
        self._spoilt: list[Object] = []
        self._has_answer = False
        self._watcher: Watcher | None = None
        self._step_count = len(chosen)

    @property
    def done_count(self) -> int:
        """How many requests are done, about."""
        return max(0, self._step_count - self._left_count)

    def report(self, watcher: Watcher, others_count: int) -> None:
        """Have progress reported by whoever waits for it.

        Args:
            watcher: whom to tell.
            others_count: requests of the plan that are not read here.
        """
        self.watch = lambda: watcher(others_count + self.done_count)
        self._watcher = watcher

    def result(self) -> list[TaskFailure]:
        """What failed, ordered by task; to be called when it is done."""
        self._check()
        if self._watcher is not None:
            self._watcher.finish()
        self.watch = None  # it refers to this, and memory would wait for the garbage collector
        ended = self._placer.failures(self._chosen.tolist(), self._ended) if self._ended is not None else []
        failures = {failure.task: failure for failure in [*ended, *self._failures]}
        for each in self._spoilt:
            assert each.problem is not None
            for failure in self._placer.failures(self._indices(each), each.problem):
                failures[failure.task] = failure
        return [failures[task] for task in sorted(failures)]

    def _is_all_of(self, store: Store) -> bool:
        if self._has_answer or any(found.tail is not None for found in self._found.values()):
            return False
        requests = self._requests[self._chosen]
        if ((requests["offset"] == 0) & (requests["nbytes"] == MAX_U64)).any():
            return False  # whole objects may be had without ranges
        return is_all_of(store, self._places.values())

    def cancel(self) -> None:
        """As of all work; and a codec that takes its time has nothing to write to when it is done."""
        super().cancel()
        self._placer.stop()

    def _indices(self, each: Object) -> list[int]:
        return [int(i) for i in self._chosen[each.first : each.last]]

    def _nbytes(self, i: int) -> int:
        return int(self._answer_nbytes[i]) or _UNKNOWN_NBYTES

    def _extent(self, i: int) -> tuple[int, int | None]:
        request = self._requests[i]
        start, nbytes = int(request["offset"]), int(request["nbytes"])
        return start, None if nbytes == MAX_U64 else start + nbytes

    def _is_of_same_state(self, each: Object, version: Version) -> bool:
        with self._lock:
            if each.version is None:
                each.version = version
            return each.version.is_same(version)

    @abstractmethod
    def _end(self, each: Object) -> None:
        """Behind the last request of an object: whether it still is what it was."""

    # -------------------------------------------------------------------------------------------------- what comes out

    def _place(self, each: Object, indices: Sequence[int], buffers: Sequence[Buffer], size: int | None) -> None:
        count = len(indices)
        if self.kept:
            indices, buffers = self._keep(indices, buffers, size)
        if indices:
            self._write(lambda: self._placer.place(indices, buffers, [size] * len(indices)))
        self._note(each, count)

    def _keep(
        self, indices: Sequence[int], buffers: Sequence[Buffer], size: int | None
    ) -> tuple[Sequence[int], Sequence[Buffer]]:
        """Keep the answers that are buffers of the result; returns the others."""
        if self._stopped.is_set():
            return [], []
        with self._lock:
            indices, buffers, short = self.kept.take(indices, buffers)
        for i, nbytes in short.items():
            end = size if size is not None else self._extent(i)[0] + nbytes
            failures = self._placer.failures([i], Problem(PAST_THE_END, ""), end)
            with self._lock:
                self._failures += failures
        return indices, buffers

    def _fail(self, each: Object, indices: Sequence[int], problem: Problem, size: int | None = None) -> None:
        if problem.is_final:
            each.problem = problem
        missing = [i for i in indices if problem.status == errno.ENOENT and self._placer.fills_missing(i)]
        if missing:
            self._write(lambda: self._placer.fill(missing))
        others = [i for i in indices if i not in missing] if missing else indices
        failures = self._placer.failures(others, problem, size)
        with self._lock:
            self._failures += failures
        self._note(each, len(indices))

    def _spoil(self, each: Object, problem: Problem, step_count: int) -> None:
        """All of an object is in doubt, also what is in its place already."""
        with self._lock:
            each.problem = problem
            self._spoilt.append(each)
        self._note(each, step_count)

    def _give_up(self, first: int, last: int, problem: Problem) -> None:
        failures = self._placer.failures(self._chosen[first:last].tolist(), problem)
        with self._lock:
            self._failures += failures
        self._finish_steps(last - first)

    def _write(self, write: Callable[[], list[TaskFailure]]) -> None:
        token = object()
        begin_ns = _spans.begin()
        self._busy.add(token)
        try:
            if not self._stopped.is_set():  # looked at only now: cancel() does the same the other way round
                failures = write()
                if failures:
                    with self._lock:
                        self._failures += failures
        finally:
            self._busy.discard(token)
            _spans.end("place", begin_ns)

    def _note(self, each: Object, count: int) -> None:
        with self._lock:
            each.left_count -= count
            is_last = each.left_count == 0 and each.guarded
        if is_last and not self._stopped.is_set():
            self._add(iter([Unit(lambda: self._end(each), 1, 0)]))
        self._finish_steps(count)
