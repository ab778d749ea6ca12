"""What event loops await of arrays: the twins of the reads in ``_selecting`` and ``_array``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from math import prod
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ._placed import is_large
from ._planned import steps
from ._planner import Boxes, PlacedPoints, Progress
from ._result import check_out, new_result
from ._selecting import Begun, Request, Selecting, listed
from ._selection import Box, normalise_crop_shape, normalise_crops
from ._steps import drive_async, in_thread, work
from ._store import LocalStore
from ._store_base import Store

# An event loop parses and places so many numbers by itself: it takes less than a millisecond.
_LIGHT_COUNT: Final = 4096
_LIGHT_SELECTIONS: Final = 64


class Awaiting(Selecting):
    """Reads for event loops, asyncio's or uvloop's; an ``Array`` has the rest.

    The reader's workers do the work: no thread waits for a read. What takes the loop's thread longer than some
    milliseconds, like the planning of a large batch, and the indexes of shards that are read for the first time, are
    seen to by threads of the loop's executor. So are lists and masks that are too much for one batch; after cancelling,
    that thread reads the selection at hand to its end.
    """

    __slots__ = ()

    _store: Store

    async def read_async(self, selection: Any = ...) -> Any:
        """``a[selection]`` for an event loop: same result, same errors.

        When the task is cancelled the read is stopped, as ``ringio.Reader.execute_async`` says.
        """
        request = await work(lambda: self._parse(selection), is_light=_is_light(selection))
        return await self._request_async(request)

    async def read_many_async(
        self, selections: Iterable[Any], out: Sequence[Any] | None = None, progress: Progress = None
    ) -> list[Any]:
        """``read_many`` for an event loop: same arguments, same results, same errors.

        The ``progress`` function is called in the loop's thread. After cancelling, ``out`` may be written to for a
        moment still, as ``ringio.Reader.execute_async`` says.
        """
        wanted = listed(selections)
        is_light = len(wanted) <= _LIGHT_SELECTIONS and all(map(_is_light, wanted))
        requests = await work(lambda: self._parse_all(wanted), is_light=is_light)
        is_light = is_light and not any(is_large(request.wanted) for request in requests)
        begun = await work(lambda: self._begin(requests, out), is_light=is_light)
        await self._read_begun(begun, progress)
        finished = begun.finish()
        return finished if out is None else list(out)

    async def read_crops_async(
        self, starts: npt.ArrayLike, shape: Sequence[int], out: Any = None, progress: Progress = None
    ) -> npt.NDArray[Any]:
        """``read_crops`` for an event loop: same arguments, same result, same errors.

        The ``progress`` function is called in the loop's thread. After cancelling, ``out`` may be written to for a
        moment still, as ``ringio.Reader.execute_async`` says.
        """
        crop_shape = normalise_crop_shape(shape, len(self._shape))

        def begin() -> tuple[npt.NDArray[Any], Boxes | None]:
            rows = normalise_crops(starts, crop_shape, self._shape, self._location)
            result = self._new_or_checked((len(rows), *crop_shape), out)
            return result, self._planner.crops(rows, crop_shape, result) if result.size else None

        result, boxes = await work(begin, is_light=_is_light(starts))
        if boxes is not None:
            await self._read_async(boxes, result, progress)
        return result if out is None else out

    async def _request_async(self, request: Request, out: Any = None) -> Any:
        """Read a selection that is understood already."""
        wanted = request.wanted
        is_light = isinstance(wanted, Box) or (prod(wanted.shape) <= _LIGHT_COUNT and not is_large(wanted))
        begun = await work(lambda: self._begin([request], None if out is None else [out]), is_light=is_light)
        await self._read_begun(begun)
        (result,) = begun.finish()
        return result if out is None else out

    async def _read_begun(self, begun: Begun, progress: Progress = None) -> None:
        for wanted, target in begun.apart:
            await in_thread(partial(self._read, wanted, target))
        if begun.placed is not None:
            await self._read_async(begun.placed, begun.places, progress)
        if begun.gathers:
            await in_thread(begun.gather)

    def _new_or_checked(self, shape: tuple[int, ...], out: Any) -> npt.NDArray[Any]:
        return new_result(shape, self.dtype) if out is None else check_out(out, shape, self.dtype)

    async def _read_async(self, placed: Boxes | PlacedPoints, targets: Any, progress: Progress = None) -> None:
        reader = self._options.get_reader()
        # Other stores may have to ask somebody where something lies, and shards with codecs around them are decoded.
        is_light = (
            isinstance(self._store, LocalStore)
            and not self._planner.decodes_shards
            and _pair_count(placed, self._planner.chunk_shape) <= _LIGHT_COUNT
        )
        await drive_async(steps(self._planner, placed, targets, is_light=is_light), reader, progress)


def _is_light(selection: Any) -> bool:
    """Whether there are few numbers in a selection, however they are given."""
    if isinstance(selection, tuple):
        return all(map(_is_light, selection))
    if isinstance(selection, np.ndarray):
        return selection.size <= _LIGHT_COUNT
    return not hasattr(selection, "__len__") or len(selection) <= _LIGHT_COUNT


def _pair_count(placed: Boxes | PlacedPoints, chunk_shape: Sequence[int]) -> int:
    """At most so many pairs of box and chunk there are, roughly."""
    if not isinstance(placed, Boxes):
        return len(placed.coordinates[0])
    widest: list[int] = ((placed.counts - 1) * placed.steps).max(axis=0, initial=0).tolist()
    per_box = prod(width // length + 2 for width, length in zip(widest, chunk_shape, strict=True))
    return len(placed.starts) * per_box
