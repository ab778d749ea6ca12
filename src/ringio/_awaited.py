"""How the other faces of ringio read in coroutines: one place, so that there is one place to change."""

from __future__ import annotations

from collections.abc import Iterable

from ._buffers import Buffers
from ._options import OnError
from ._ranges import Ranges, RangeTuple
from ._reader import Reader


async def read_async(
    reader: Reader,
    ranges: Ranges | Iterable[RangeTuple],
    *,
    on_error: OnError = "raise",
    allow_short: bool = False,
) -> Buffers:
    """:meth:`Reader.read_ranges_async`."""
    return await reader.read_ranges_async(ranges, on_error=on_error, allow_short=allow_short)
