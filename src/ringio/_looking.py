"""Objects looked up before anything is planned: how large they are, and what they begin or end with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._errors import error_from_failure
from ._failures import TaskFailure
from ._object_finder import LazyObjects
from ._reading import Steps, Work
from ._states import ObjectState

if TYPE_CHECKING:
    from ._object_lookup import Found


def look_up(
    objects: LazyObjects, paths: Sequence[str], *, suffix_nbytes: int | None, limit_nbytes: int, store: object
) -> Steps[list[ObjectState | Exception]]:
    """The steps of ``Reader.look_up``; see there."""
    if suffix_nbytes is not None and suffix_nbytes < 0:
        raise ValueError(f"suffix_nbytes is {suffix_nbytes}")
    lookup = yield Work(lambda: objects.get().begin_look_up(paths, suffix_nbytes, limit_nbytes, store), lambda: False)
    try:
        found = yield lookup
    finally:
        lookup.cancel()
    return [_state(path, each) for path, each in zip(paths, found, strict=True)]


def _state(path: str, found: Found) -> ObjectState | Exception:
    if (version := found.version) is not None:
        tail = found.tail
        data = None if tail is None else memoryview(tail.buffer).cast("B")
        return ObjectState(version.nbytes, version.tag, data, found)
    problem = found.problem
    assert problem is not None  # it is one or the other
    failure = TaskFailure(0, 0, -problem.status, 0, 0, 0, problem.text)
    return problem.error or error_from_failure(failure, path=path, offset=0, length=None, step_names=(), chunk=None)
