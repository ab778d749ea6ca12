"""How the other faces of ringio read: one place for each way, so that there is one place to change."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from ._buffers import Buffers
from ._ranges import Ranges, RangeTuple
from ._reader import OnError, Reader


async def read_async(
    reader: Reader,
    ranges: Ranges | Iterable[RangeTuple],
    *,
    on_error: OnError = "raise",
    allow_short: bool = False,
) -> Buffers:
    """:meth:`Reader.read_ranges` for a coroutine."""
    return await asyncio.to_thread(reader.read_ranges, ranges, on_error=on_error, allow_short=allow_short)
