"""Objects looked up: how large they are, in which state, and their bytes where these come along."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

from ._named import NamedTuple
from ._object_pool import Pool, Unit
from ._object_store import Answer, Store, Version
from ._object_work import CHANGED_TEXT, ObjectChangedError, Work, check_nbytes
from ._store_errors import PAST_THE_END, Problem, sort_out
from ._stores import Place, is_all_of

_DOCUMENT_NBYTES: Final = 64 << 10  # of an object that is asked for as a whole, as a guess
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


class Lookup(Work[list[Found]]):
    """Sizes of objects.

    Args:
        pool: whose threads ask.
        places: of the objects.
        suffixes: for each how many bytes from its end are wanted, and nothing else of it; 0: none, or more than that;
            None: all of it.
        limit_nbytes: of objects that have more, of which all is wanted, nothing is.
    """

    def __init__(
        self,
        pool: Pool,
        places: Sequence[Place | Problem],
        suffixes: Sequence[int | None],
        limit_nbytes: int = 1 << 62,
    ) -> None:
        super().__init__(pool, len(places))
        self._places = places
        self._suffixes = suffixes
        self._limit_nbytes = limit_nbytes
        self._found: list[Found] = [Found(None, None)] * len(places)
        self._units.append(self._all())

    def result(self) -> list[Found]:
        """What was found, for each place."""
        self._check()
        if self._ended is not None:
            return [Found(None, self._ended)] * len(self._places)
        return self._found

    def _is_all_of(self, store: Store) -> bool:
        return is_all_of(store, self._places) and all(found.version is None for found in self._found)

    def _all(self) -> Iterator[Unit]:
        for i in range(len(self._places)):
            nbytes = self._suffixes[i]
            nbytes = _DOCUMENT_NBYTES if nbytes is None else nbytes
            yield Unit(lambda i=i: self._look_up(i), 1, nbytes)  # type: ignore[misc]

    def _look_up(self, i: int) -> None:
        place = self._places[i]
        if isinstance(place, Problem):
            self._found[i] = Found(None, place)
        else:
            found = None
            nbytes = self._suffixes[i]
            if nbytes is None:
                found = self._ask_for_all(place)
            elif nbytes and place.store.has_versions:
                found = self._ask_for_suffix(place, nbytes)
            self._found[i] = found or self._ask_for_head(place)
        self._finish_steps(1)

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
