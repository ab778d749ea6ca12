"""Servers that may give no byte ranges are asked for whole objects with care: for one first, then for a few at a time.

Many of those that give none are simple ones, which lose connections where many come at once. As soon as one object
has come with a range, all others are asked for. Servers differ from object to object, too: nginx gives an empty file
without a range, and some compress some objects. So one answer without a range says how that object is to be had, and
only for as long as no other has come with one, how the others are asked for.
"""

from __future__ import annotations

import errno
from abc import abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Final, Generic, TypeVar

from ._object_pool import Pool, Unit
from ._object_store import CARE_MAX, Store
from ._object_work import Work, emptied
from ._store_errors import Problem

T = TypeVar("T")
Item = TypeVar("Item")

# At once of a server without ranges: as many as browsers ask for.
_PLAIN_IN_FLIGHT: Final = 6


class CarefulWork(Work[T], Generic[T, Item]):
    """Work that asks servers which may give no byte ranges for whole objects, its items."""

    def __init__(self, pool: Pool, step_count: int) -> None:
        super().__init__(pool, step_count)
        self._plain: dict[Store, Problem] = {}  # what came instead of a range, of stores that had given none
        self._troubles: Counter[Store] = Counter()  # objects that could not be had, and not because they do not exist

    @abstractmethod
    def _units_of(self, item: Item) -> Iterator[Unit]:
        """How an item is asked for: in one unit where that is done with care."""

    def _with_care(self, store: Store, waiting: deque[Item]) -> Unit:
        """Ask for the first of some items; the others follow."""
        return self._unit_with_followers(store, waiting, waiting.popleft(), _PLAIN_IN_FLIGHT)

    def _is_plain(self, store: Store) -> bool:
        """Whether a store is taken for one that gives no ranges."""
        return store in self._plain and not store.gives_ranges

    def _note_plain(self, store: Store, problem: Problem, nbytes: int) -> None:
        """An object of so many bytes has come without a range; ``problem`` says so."""
        if nbytes and not store.gives_ranges:
            self._plain[store] = problem
            store.care_left = CARE_MAX

    def _unit_with_followers(self, store: Store, waiting: deque[Item], item: Item, count: int) -> Unit:
        unit = next(self._units_of(item))

        def run() -> None:
            store.care_left -= 1
            unit.run()
            self._let_follow(store, waiting, count)

        return Unit(run, unit.request_count, unit.nbytes)

    def _let_follow(self, store: Store, waiting: deque[Item], count: int) -> None:
        """When one item is done: go on with so many others, or with all."""
        if not waiting or self._stopped.is_set():
            return
        if self._needs_care(store):
            units = [self._unit_with_followers(store, waiting, item, 1) for item in islice(emptied(waiting), count)]
            self._add(iter(units))
        else:
            self._add(chain.from_iterable(map(self._units_of, emptied(waiting))))

    def _needs_care(self, store: Store) -> bool:
        if store.gives_ranges:
            return False
        # A server that is down is waited for once, and not once for each object.
        if store in self._plain:
            return self._troubles[store] < _PLAIN_IN_FLIGHT
        return not self._troubles[store] and store.care_left > 0

    def _try(
        self, store: Store, ask: Callable[[], object], failed: Problem | None = None, *, needs_range: bool = False
    ) -> Problem | None:
        problem = super()._try(store, ask, failed, needs_range=needs_range)
        if problem is None:
            store.gives_ranges = store.gives_ranges or needs_range
        elif store.may_lack_ranges and not problem.is_rangeless and problem.status != errno.ENOENT:
            self._troubles[store] += 1
        return problem
