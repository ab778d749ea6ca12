"""The remote part of a plan: its requests, asked for by the threads of a pool, decoded and placed as they come.

What is read of one object in one batch is of one state of it. Of a few requests each answer says which state it is
from. Many requests of one object are made by obstore's ``get_ranges``, which takes less than half of the processor
time, but does not say it. So the object is asked for its state before the first of them and after the last.

Long answers are awaited in the pool's event loop: the threads of obstore put them together, and nobody else is woken
for each part that comes. Whatever goes wrong there is seen to by a thread. Answers that are a buffer of the result as
they come are not copied. For short answers a thread takes less: it puts them in their places itself.
"""

from __future__ import annotations

import asyncio
import operator
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ._object_lookup import Found, ask_for_head
from ._object_one import Object
from ._object_outcome import Outcome
from ._object_place import Placer
from ._object_pool import Pool, Run, Unit
from ._object_store import Answer, Buffer, Store
from ._object_work import CHANGED_TEXT, check_answer, check_nbytes, problem_of
from ._plan import Plan
from ._store_errors import CHANGED, PAST_THE_END, Problem
from ._stores import Place

_MANY: Final = 32  # as many in one object are worth two requests that ask for its state
# One call of get_ranges. It keeps ten in flight, so a multiple of ten leaves none of them alone at the end.
_GROUP: Final = 20
_GROUP_IN_FLIGHT: Final = 10
_LONG_NBYTES: Final = 256 << 10  # such answers come in many parts


class Fetch(Outcome):
    """The requests of a plan that stores have; arguments and attributes are those of :class:`Outcome`."""

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
        super().__init__(pool, placer, plan, chosen, places, found, wholes)
        files = self._requests["file"][self._chosen]
        bounds = np.flatnonzero(np.diff(files, prepend=-1, append=-1))
        firsts, lasts = bounds[:-1], bounds[1:]
        self._units.append(self._all(zip(files[firsts].tolist(), firsts.tolist(), lasts.tolist(), strict=True)))

    # --------------------------------------------------------------------------------------------- what is to be done

    def _all(
        self, spans: Iterator[tuple[int, int, int]], waiting: dict[Store, deque[Object]] | None = None
    ) -> Iterator[Unit]:
        """All that is to be done.

        Args:
            spans: files, and which of the chosen requests are theirs.
            waiting: filled in with the objects that are to be asked for with care; None: they are sorted out by a unit.
        """
        for file, first, last in spans:
            place = self._places[file]
            if isinstance(place, Problem):
                yield Unit(partial(self._give_up, first, last, place), 0, 0)
                continue
            each = Object(place, first, last, self._found.get(file))
            if not self._may_be_plain(each):
                yield from self._units_of(each)
            elif waiting is not None:
                waiting.setdefault(place.store, deque()).append(each)
            else:  # of many objects that takes a while, and here the pool's lock is held
                yield Unit(partial(self._sort, chain(((file, first, last),), spans)), 0, 0)
                return

    def _sort(self, spans: Iterator[tuple[int, int, int]]) -> None:
        waiting: dict[Store, deque[Object]] = {}
        others = list(self._all(spans, waiting))
        self._add(chain([self._with_care(store, objects) for store, objects in waiting.items()], others))

    def _may_be_plain(self, each: Object) -> bool:
        """Whether all of an object is wanted, and nothing else, of a server that may give no ranges."""
        store = each.place.store
        if not store.may_lack_ranges or store.gives_ranges or each.tail is not None or each.left_count > 1:
            return False
        return self._extent(int(self._chosen[each.first])) == (0, None)

    def _units_of(self, item: Object) -> Iterator[Unit]:
        if not item.place.store.has_versions:
            yield from self._groups(item, self._indices(item))
        elif item.left_count < _MANY:
            yield from self._singles(item, self._indices(item))
        else:
            yield Unit(lambda: self._begin(item), 1, 0)

    def _guard(self, each: Object) -> None:
        each.guarded = True
        with self._lock:
            self._left_count += 1
            self._step_count += 1

    def _begin(self, each: Object) -> None:
        """The first request of an object of which there is much to be read: it says which state that is.

        And whether the server can be trusted to send what it says it sends: of an answer that has more bytes, because
        they are compressed, ``get_ranges`` just takes the first.
        """
        first, *others = self._indices(each)
        self._guard(each)
        self._get(each, first)
        if each.is_sound:
            self._add(self._groups(each, others))
        else:
            self._add(self._singles(each, others))

    def _singles(self, each: Object, indices: Sequence[int]) -> Iterator[Unit]:
        for i in indices:
            nbytes = self._nbytes(i)
            is_long = nbytes >= _LONG_NBYTES and each.place.store.has_versions
            yield Unit(partial(self._get, each, i), 1, nbytes, partial(self._await, each, i) if is_long else None)

    def _groups(self, each: Object, indices: Sequence[int]) -> Iterator[Unit]:
        for first in range(0, len(indices), _GROUP):
            group = indices[first : first + _GROUP]
            nbytes = sum(map(self._nbytes, group))
            is_long = nbytes >= _LONG_NBYTES * len(group)
            ask = partial(self._await_many, each, group) if each.guarded and is_long else None
            yield Unit(partial(self._get_many, each, group), min(len(group), _GROUP_IN_FLIGHT), nbytes, ask)

    # ------------------------------------------------------------------------------------------------ what threads do

    async def _await(self, each: Object, i: int) -> Run | None:
        """One request, in the event loop; what does not go well there is left to :meth:`_get`."""
        start, end = self._extent(i)
        tail = each.tail
        is_here = tail is not None and start >= tail.start
        if each.problem is not None or is_here or self._is_rangeless(each.place.store):
            return partial(self._get, each, i)
        try:
            answer = await each.place.store.get_async(each.place.key, start, end)
            check_answer(answer, start, end)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            return partial(self._get, each, i, problem_of(error))
        return self._at_once_or_later([i], partial(self._accept, each, i, answer))

    async def _await_many(self, each: Object, indices: Sequence[int]) -> Run | None:
        """Some requests of one object whose state is known, in the event loop."""
        assert each.version is not None
        size = each.version.nbytes
        extents = [self._extent(i) for i in indices]
        starts, ends = [start for start, _ in extents], [size if end is None else min(end, size) for _, end in extents]
        if each.problem is not None or any(map(operator.ge, starts, ends)):
            return partial(self._get_many, each, indices)
        try:
            buffers = await each.place.store.get_many_async(each.place.key, starts, ends)
            for buffer, start, end in zip(buffers, starts, ends, strict=True):
                check_nbytes(buffer, end - start)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            return partial(self._get_many, each, indices, problem_of(error))
        return self._at_once_or_later(indices, partial(self._place, each, indices, buffers, size))

    def _at_once_or_later(self, indices: Sequence[int], place: Run) -> Run | None:
        """Put answers in their places, if nothing has to be copied; else a thread is to do it."""
        if not self.kept.has_all(indices):
            return place
        place()
        return None

    def _get(self, each: Object, i: int, failed: Problem | None = None) -> None:
        """One request, whose answer says which state of the object it is from; ``failed``: see :meth:`_try`."""
        if each.problem is not None:
            return self._fail(each, [i], each.problem)
        start, end = self._extent(i)
        tail = each.tail
        if tail is not None and start >= tail.start:
            part = memoryview(tail.buffer)[start - tail.start : end and end - tail.start]
            return self._place(each, [i], [part], tail.version.nbytes)
        store = each.place.store
        is_whole = store.may_lack_ranges and (start, end) == (0, None)
        if is_whole and self._is_plain(store):
            return self._get_whole(each, i, self._plain[store])
        answers: list[Answer] = []

        def ask() -> None:
            answer = store.get(each.place.key, start, end)
            check_answer(answer, start, end)
            answers.append(answer)

        problem = self._try_range(store, ask, failed)
        if problem is not None and problem.is_rangeless and is_whole:
            return self._get_whole(each, i, problem)
        if problem is not None and problem.status == PAST_THE_END:
            return self._get_nothing(each, i, problem)
        if problem is not None:
            return self._fail(each, [i], problem)
        return self._accept(each, i, answers[0])

    def _get_whole(self, each: Object, i: int, refusal: Problem) -> None:
        """All of an object, of a server that gives no ranges, as ``refusal`` says."""
        store, key = each.place
        answers: list[Answer | None] = []

        def ask() -> None:
            answer = store.get_plain(key)
            if answer is not None:
                check_answer(answer, 0, None)
            answers.append(answer)

        problem = self._try(store, ask)
        if problem is None and (answer := answers[0]) is not None:
            self._note_plain(store, refusal, answer.version.nbytes)
            return self._accept(each, i, answer, is_range=False)
        return self._fail(each, [i], problem or refusal.of_whole())

    def _accept(self, each: Object, i: int, answer: Answer, *, is_range: bool = True) -> None:
        """The answer to one request."""
        if not self._is_of_same_state(each, answer.version):
            return self._spoil(each, Problem(CHANGED, CHANGED_TEXT), 1)
        if is_range:
            self._rangeless.pop(each.place.store, None)
            each.place.store.gives_ranges = True
        each.is_sound = self._has_answer = True
        return self._place(each, [i], [answer.buffer], answer.version.nbytes)

    def _get_nothing(self, each: Object, i: int, problem: Problem) -> None:
        """A request that lies behind the end of its object, as the store says."""
        found = ask_for_head(self._try, each.place)
        start, end = self._extent(i)
        if found.version is None:
            return self._fail(each, [i], found.problem or problem)
        if found.version.nbytes > start or not self._is_of_same_state(each, found.version):
            return self._spoil(each, Problem(CHANGED, CHANGED_TEXT), 1)
        if end is None and start == found.version.nbytes:
            return self._place(each, [i], [b""], start)
        return self._fail(each, [i], problem, found.version.nbytes)

    def _get_many(self, each: Object, indices: Sequence[int], failed: Problem | None = None) -> None:
        """Some requests of one object in one call; ``failed``: see :meth:`_try`."""
        if each.problem is not None:
            return self._fail(each, indices, each.problem)
        size = each.version.nbytes if each.version is not None else None
        if size is None and len(indices) == 1 and self._extent(indices[0]) == (0, None) and each.place.store.gives_all:
            return self._get_all(each, indices[0])
        if size is None and any(self._extent(i)[1] is None for i in indices):
            found = ask_for_head(self._try, each.place)
            if found.version is None:
                assert found.problem is not None
                return self._fail(each, indices, found.problem)
            each.version, size = found.version, found.version.nbytes
        asked, starts, ends = [], [], []
        for i in indices:
            start, end = self._extent(i)
            if size is not None:
                end = size if end is None else min(end, size)
                if start >= end:
                    self._place(each, [i], [b""], size)
                    continue
            asked.append(i)
            starts.append(start)
            ends.append(end)
        if asked:
            self._ask_for_many(each, asked, starts, ends, size, failed)
        return None

    def _get_all(self, each: Object, i: int) -> None:
        """The whole of an object in one request, of a store whose answers say nothing of its state."""
        answers: list[Answer] = []
        problem = self._try(each.place.store, lambda: answers.append(each.place.store.get_all(each.place.key)))
        if problem is None:
            self._place(each, [i], [answers[0].buffer], answers[0].version.nbytes)
        else:
            self._fail(each, [i], problem)

    def _ask_for_many(
        self,
        each: Object,
        indices: Sequence[int],
        starts: list[int],
        ends: list[Any],
        size: int | None,
        failed: Problem | None = None,
    ) -> None:
        buffers: list[Buffer] = []
        # An answer that is short says where the object ends, if nothing else does.
        may_be_short = size is None and len(indices) == 1 and not each.place.store.is_sized

        def ask() -> None:
            answer = each.place.store.get_many(each.place.key, starts, ends)
            for buffer, start, end in zip(answer, starts, ends, strict=True):
                check_nbytes(buffer, end - start, may_be_short=may_be_short)
            buffers.extend(answer)

        problem = self._try_range(each.place.store, ask, failed)
        if problem is None:
            self._place(each, indices, buffers, size)
        elif problem.is_final or (len(indices) == 1 and size is not None):
            self._fail(each, indices, problem)
        elif len(indices) > 1:  # one of them may be to blame
            for i, start, end in zip(indices, starts, ends, strict=True):
                self._ask_for_many(each, [i], [start], [end], size)
        else:
            self._ask_for_rest(each, indices[0], starts[0], ends[0], problem)

    def _ask_for_rest(self, each: Object, i: int, start: int, end: int, problem: Problem) -> None:
        """One request that failed or came back short, of a store of which no size was known: perhaps it ends there."""
        found = ask_for_head(self._try, each.place) if each.place.store.is_sized else Found(None, problem)
        if found.version is None:
            self._fail(each, [i], found.problem or problem)
        elif start >= found.version.nbytes:
            self._fail(each, [i], Problem(PAST_THE_END, ""), found.version.nbytes)
        elif end <= found.version.nbytes:
            self._fail(each, [i], problem)
        else:
            size = found.version.nbytes
            self._ask_for_many(each, [i], [start], [size], size)

    def _end(self, each: Object) -> None:
        """Behind the last request of an object: whether it still is what it was."""
        if each.problem is not None:
            return self._finish_steps(1)
        found = ask_for_head(self._try, each.place)
        if found.version is None:
            assert found.problem is not None
            self._spoil(each, found.problem, 1)
        elif not self._is_of_same_state(each, found.version):
            self._spoil(each, Problem(CHANGED, CHANGED_TEXT), 1)
        else:
            self._finish_steps(1)
        return None
