"""States of objects in stores: what a front-end learns before it plans, and what its plan says it was made for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._named import NamedTuple


class ObjectState(NamedTuple):
    """What a store said of an object when it was looked up.

    Attributes:
        nbytes: its size.
        tag: tells this state of the object from others, as far as the store does; empty: it says nothing but the size.
        data: bytes of the object that came along, up to its end; None: none did.
        found: for ``Plan``: what was found out.
    """

    nbytes: int
    tag: bytes
    data: memoryview | None
    found: Any

    def without_data(self) -> ObjectState:
        """The same, to be kept."""
        return ObjectState(self.nbytes, self.tag, None, self.found._replace(tail=None))


class PlanObjects(NamedTuple):
    """What a plan knows of its files that are objects.

    Attributes:
        store: where they are, as ``Reader.execute(store=)`` has it; None: their URLs say it.
        states: by the number of the file. An object that is in another state when it is read is a FileChangedError;
            bytes that came along with the state are not asked for again.
    """

    store: object
    states: Mapping[int, ObjectState]
