"""One object of which requests are read, and what is known of it meanwhile."""

from __future__ import annotations

from ._object_lookup import Found
from ._store_errors import Problem
from ._stores import Place


class Object:
    """One object, and the requests of it that are not done yet.

    Attributes:
        place: where it is.
        first, last: its requests are ``chosen[first:last]``.
        left_count: how many of them are not done.
        version: its state, when it is known.
        problem: why none of it can be read.
        tail: its last bytes, where a lookup brought them.
        guarded: its state is looked at again at the end.
        is_sound: a request of it was answered as it should be.
    """

    __slots__ = ("first", "guarded", "is_sound", "last", "left_count", "place", "problem", "tail", "version")

    def __init__(self, place: Place, first: int, last: int, found: Found | None) -> None:
        self.place = place
        self.first, self.last = first, last
        self.left_count = last - first
        self.version = found.version if found else None
        self.tail = found.tail if found else None
        self.problem: Problem | None = None
        self.guarded = False
        self.is_sound = False
