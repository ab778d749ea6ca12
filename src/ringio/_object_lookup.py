"""Objects looked up: how large they are, in which state, and their bytes where these come along."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Final

from ._named import NamedTuple
from ._object_care import CarefulWork
from ._object_pool import Pool, Unit
from ._object_store import Answer, Store, Version
from ._object_work import CHANGED_TEXT, ObjectChangedError, check_answer, check_nbytes
from ._store_errors import PAST_THE_END, Problem, sort_out
from ._stores import Place, is_all_of

_DOCUMENT_NBYTES: Final = 64 << 10  # of an object that is asked for as a whole, as a guess
_SHORT_SHARE: Final = 4  # of the bytes that may come along: what is short is copied, and has memory twice
_REFUSALS_MAX: Final = 2  # of ranges, by a server without ranges of which more is wanted than there is room for
_STATES_MAX: Final = 2  # of an object that is replaced while it is read: who does that all the time has no state


class Found(NamedTuple):
    """What a lookup found out about an object.

    Attributes:
        version: its state; None: see ``problem``.
        problem: why it is not known.
        tail: its last bytes, where these came along.
    """

    version: Version | None
    problem: Problem | None
    tail: Answer | None = None


class Lookup(CarefulWork[list[Found], int]):
    """Sizes of objects.

    Who reads an object from some place to its end needs its size. A server of plain HTTP is asked for a range that
    begins there, which gives the size, and of small objects all that is wanted. A server without ranges can be read
    from only if all is wanted: then the lookup brings it along, as far as there is room.

    Args:
        pool: whose threads ask.
        places: of the objects.
        suffixes: for each how many bytes from its end are wanted, and nothing else of it; 0: none, or more than that;
            None: all of it.
        limit_nbytes: of objects that have more, of which all is wanted, nothing is.
        starts: for each from where on to its end it is wanted, and nothing before; -1: something else is.
        tails_nbytes: of all that comes along for ``starts``, together; the rest has to be asked for anew.
    """

    def __init__(
        self,
        pool: Pool,
        places: Sequence[Place | Problem],
        suffixes: Sequence[int | None],
        limit_nbytes: int = 1 << 62,
        starts: Sequence[int] = (),
        tails_nbytes: int = 0,
    ) -> None:
        super().__init__(pool, len(places))
        self._places = places
        self._suffixes = suffixes
        self._limit_nbytes = limit_nbytes
        self._tails_nbytes = tails_nbytes
        self._starts = starts or [-1] * len(places)
        self._kept: dict[int, int] = {}  # of the tails that come along, their bytes
        self._kept_nbytes = 0
        self._found: list[Found] = [Found(None, None)] * len(places)
        self._units.append(self._all())

    def result(self) -> list[Found]:
        """What was found, for each place."""
        self._check()
        if self._ended is not None:
            return [Found(None, self._ended)] * len(self._places)
        return self._found

    def _is_all_of(self, store: Store) -> bool:
        if 0 in self._starts:  # a server without ranges has something to give
            return False
        return is_all_of(store, self._places) and all(found.version is None for found in self._found)

    def _all(self) -> Iterator[Unit]:
        if not any(start == 0 for start in self._starts):
            return chain.from_iterable(map(self._units_of, range(len(self._places))))
        others: list[int] = []
        waiting: dict[Store, deque[int]] = {}
        for i, place in enumerate(self._places):
            if isinstance(place, Problem) or not self._may_be_plain(place.store, i):
                others.append(i)
            else:
                waiting.setdefault(place.store, deque()).append(i)
        careful = [self._with_care(store, items) for store, items in waiting.items()]
        return chain(careful, chain.from_iterable(map(self._units_of, others)))

    def _units_of(self, item: int) -> Iterator[Unit]:
        nbytes = self._suffixes[item]
        is_long = nbytes is None or self._starts[item] >= 0
        yield Unit(partial(self._look_up, item), 1, _DOCUMENT_NBYTES if is_long else nbytes or 0)

    def _may_be_plain(self, store: Store, i: int) -> bool:
        """Whether all of an object is wanted of a server that may give no ranges."""
        return store.may_lack_ranges and not store.gives_ranges and self._starts[i] == 0

    def _look_up(self, i: int) -> None:
        place = self._places[i]
        if isinstance(place, Problem):
            self._found[i] = Found(None, place)
        else:
            found = None
            nbytes = self._suffixes[i]
            if self._starts[i] >= 0 and place.store.may_lack_ranges:
                found = self._ask_for_rest(place, i)
            elif nbytes is None:
                found = self._ask_for_all(place)
            elif nbytes and place.store.has_versions:
                found = self._ask_for_suffix(place, nbytes)
            self._found[i] = found or self._ask_for_head(place)
        self._finish_steps(1)

    def _ask_for_rest(self, place: Place, i: int) -> Found | None:
        """The size, and what is wanted if that is not much, of a server that may not give ranges."""
        store, key = place
        start = self._starts[i]
        was_full = False
        if start == 0 and self._is_plain(store):
            problem = self._plain[store]
            if self._is_full(store):
                return _without_room(problem)
            if (whole := self._ask_for_whole(place, i, problem)) is not None:
                return whole
            was_full = True  # it may have been only the first object that came without a range
        answers: list[Answer] = []

        def ask() -> None:
            answer = store.get(key, start, start + _DOCUMENT_NBYTES)
            check_answer(answer, start, start + _DOCUMENT_NBYTES)
            answers.append(answer)

        attempt = self._try_range if start or was_full else self._try
        refusal = attempt(store, ask)
        if refusal is None:
            store.gives_ranges = True
            version = answers[0].version
            nbytes = version.nbytes - start
            is_all = nbytes <= _DOCUMENT_NBYTES and self._has_room(i, nbytes, self._tails_nbytes // _SHORT_SHARE)
            return Found(version, None, answers[0] if is_all else None)
        if refusal.is_rangeless and start == 0:
            return (None if was_full else self._ask_for_whole(place, i, refusal)) or _without_room(refusal)
        # What has no bytes from there on, say, is asked for its size instead.
        return Found(None, refusal) if refusal.is_final or refusal.is_rangeless or refusal.may_pass else None

    def _ask_for_whole(self, place: Place, i: int, refusal: Problem) -> Found | None:
        """All of an object, of a server that gives no ranges, as ``refusal`` says; None: there is no room for it."""
        answers: list[Answer | None] = []
        store, key = place

        def ask() -> None:
            answer = store.get_plain(key, lambda nbytes: self._has_room(i, nbytes, self._tails_nbytes))
            if answer is not None and len(answer.buffer):
                check_answer(answer, 0, None)
            answers.append(answer)

        problem = self._try(store, ask)
        answer = answers[-1] if problem is None else None
        if answer is None:
            self._has_room(i, 0, 0)  # what a try has taken is free again
            return Found(None, problem or refusal.of_whole())
        self._note_plain(store, refusal, answer.version.nbytes)
        return Found(answer.version, None, answer) if len(answer.buffer) == answer.version.nbytes else None

    def _is_full(self, store: Store) -> bool:
        """Whether there is no use in asking a store without ranges for more."""
        # It has been asked for ranges only where there was no room for a whole object.
        is_known = len(self._rangeless.get(store, ())) >= _REFUSALS_MAX
        return is_known and 2 * self._kept_nbytes > self._tails_nbytes

    def _has_room(self, i: int, nbytes: int, limit_nbytes: int) -> bool:
        """Whether bytes of an object may be kept: those of all objects together are limited."""
        with self._lock:
            others_nbytes = self._kept_nbytes - self._kept.get(i, 0)  # it may be another try
            has_room = others_nbytes + nbytes <= limit_nbytes
            self._kept[i] = nbytes if has_room else 0
            self._kept_nbytes = others_nbytes + self._kept[i]
        return has_room

    def _ask_for_all(self, place: Place) -> Found:
        answers: list[Answer] = []
        store, key = place

        def ask() -> None:
            limit_nbytes = self._limit_nbytes
            get_all = store.get_all if store.gives_all else partial(_get_all_between_heads, store)
            answer = get_all(key, limit_nbytes)
            if answer.version.nbytes <= limit_nbytes:
                check_nbytes(answer.buffer, answer.version.nbytes)
            answers.append(answer)

        problem = self._try(store, ask)
        if problem is not None:
            return Found(None, problem)
        version = answers[-1].version
        return Found(version, None, answers[-1] if version.nbytes <= self._limit_nbytes else None)

    def _ask_for_suffix(self, place: Place, nbytes: int) -> Found | None:
        answers: list[Answer] = []

        def ask() -> None:
            answer = place.store.get_suffix(place.key, nbytes)
            check_nbytes(answer.buffer, min(nbytes, answer.version.nbytes))
            answers.append(answer)

        problem = self._try(place.store, ask, needs_range=True)
        if problem is None:
            return Found(answers[0].version, None, answers[0])
        if problem.is_rangeless:  # perhaps it only has no suffixes
            return self._ask_for_byte(place)
        # What has no suffixes (Azure), or no bytes, is asked for its size instead.
        return Found(None, problem) if problem.is_final else None

    def _ask_for_byte(self, place: Place) -> Found | None:
        """The size, of a server that may not give ranges."""
        versions: list[Version] = []
        problem = self._try_range(place.store, lambda: versions.append(place.store.get(place.key, 0, 1).version))
        if problem is not None:
            return Found(None, problem) if problem.is_rangeless else None
        return Found(versions[0], None)

    def _ask_for_head(self, place: Place) -> Found:
        return ask_for_head(self._try, place)


def _without_room(refusal: Problem) -> Found:
    why = ", and all that is wanted of it is more than memory_limit_bytes"
    return Found(None, refusal.of_whole(why)._replace(lacks_room=True))


def _get_all_between_heads(store: Store, key: str, limit_nbytes: int) -> Answer:
    """All of an object, of a store whose answers say nothing of its state; no bytes where they are more than the limit.

    Raises:
        ObjectChangedError: it was replaced meanwhile, each time.
    """
    before = store.head(key)
    if before.nbytes > limit_nbytes:
        return Answer(b"", 0, before)
    for _ in range(_STATES_MAX):
        buffer = store.get_many(key, [0], [before.nbytes])[0] if before.nbytes else b""
        after = store.head(key)
        if after.is_same(before):
            return Answer(buffer, 0, before)
        if after.nbytes > limit_nbytes:
            return Answer(b"", 0, after)
        before = after
    raise ObjectChangedError(CHANGED_TEXT)


def ask_for_head(attempt: Callable[[Store, Callable[[], object]], Problem | None], place: Place) -> Found:
    """The size of an object.

    Args:
        attempt: asks, and again where that fails.
        place: of the object.
    """
    if not place.store.is_sized:
        return Found(None, sort_out(TypeError("the store has no head(path), so the size of the object is not known")))
    versions: list[Version] = []
    problem = attempt(place.store, lambda: versions.append(place.store.head(place.key)))
    if problem is not None and not problem.is_final and not problem.may_pass and place.store.has_versions:
        # Servers that know no HEAD, and addresses that are signed for GET alone.
        again = attempt(place.store, lambda: versions.append(place.store.get(place.key, 0, 1).version))
        if again is None:
            problem = None
        elif again.status == PAST_THE_END:
            return Found(Version(0, None, None, None), None)
    return Found(versions[0] if versions else None, problem)
