"""The steps of ``Planner.read``, for those who do not wait as it does: event loops, and ``explain``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ringio import Plan, Reader, RingioError, planning

from ._errors import joined
from ._planner import Boxes, PlacedPoints, Planner
from ._steps import Execute, Steps, Work


def steps(
    planner: Planner, boxes: Boxes | PlacedPoints, targets: Any, *, is_light: bool, anew: bool = False
) -> Steps[None]:
    """The steps of ``planner.read(boxes, targets, ...)``.

    Args:
        planner: of the array.
        boxes: or points, inside the array.
        targets: one array, or a sequence of them.
        is_light: whether an event loop may plan them by itself.
        anew: look where everything is, also where that is known; then the plans keep, whatever else is read.
    """
    first: Exception | None = None
    for part, part_boxes in planner.parts(boxes):
        try:
            yield from _part_steps(part, part_boxes, targets, is_light=is_light, anew=anew)
        except (RingioError, OSError) as error:
            first = joined(first, error)
    if first is not None:
        raise first


def _part_steps(
    planner: Planner, boxes: Boxes | PlacedPoints, targets: Any, *, is_light: bool, anew: bool
) -> Steps[None]:
    draft: planning.Draft = yield Work(lambda _: planner.draft(boxes), is_light)
    if draft.chunk_count == 0:
        planner.keep(draft)
        return
    plan = None if anew else (yield Work(_known_plan(planner, draft), is_light))
    if plan is not None:
        try:
            # Whoever gives this up lets go of the draft, which the core may still be reading from.
            yield Execute(plan, targets)
        except (RingioError, OSError):
            if not planner.forget_all(draft):
                raise
        else:
            planner.keep(draft)
            return
    found = draft.intersection()  # a copy
    if plan is None:
        planner.keep(draft)
    yield from planner.located_steps(found, boxes.layouts, targets, is_light=is_light)


def _known_plan(planner: Planner, draft: planning.Draft) -> Callable[[Reader], Plan | None]:
    """The plan if all chunks are where they were when they were last looked for, as far as is known."""
    return lambda reader: planner.plan_found(draft, reader) if planner.finds_all(draft) else None
