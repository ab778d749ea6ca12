"""The asynchronous and streaming functions of the module: those of the shared reader, or of the one that is given."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterable

from ._buffers import Buffers
from ._options import OnError
from ._progress import Progress
from ._ranges import Ranges, RangeTuple
from ._reader import Reader, default_reader


async def read_ranges_async(
    ranges: Ranges | Iterable[RangeTuple],
    *,
    out: object = None,
    on_error: OnError = "raise",
    allow_short: bool = False,
    progress: Progress = None,
    store: object = None,
    reader: Reader | None = None,
) -> Buffers:
    """:func:`read_ranges` for an event loop: :meth:`Reader.read_ranges_async` of the shared reader, or of ``reader``.

    >>> import asyncio, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "letters")
    >>> _ = path.write_bytes(b"abcdefgh")
    >>> [bytes(buffer) for buffer in asyncio.run(read_ranges_async([(path, 0, 2), (path, -1, None)]))]
    [b'ab', b'h']
    """
    return await (reader or default_reader()).read_ranges_async(
        ranges, out=out, on_error=on_error, allow_short=allow_short, progress=progress, store=store
    )


def iter_ranges(
    ranges: Ranges | Iterable[RangeTuple],
    *,
    on_error: OnError = "raise",
    allow_short: bool = False,
    progress: Progress = None,
    store: object = None,
    reader: Reader | None = None,
) -> Generator[tuple[int, memoryview], None, None]:
    """Read byte ranges as a stream: :meth:`Reader.iter_ranges` of the shared reader, or of ``reader``.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "letters")
    >>> _ = path.write_bytes(b"abcdefgh")
    >>> for number, buffer in iter_ranges((path, offset, 2) for offset in range(0, 8, 2)):
    ...     print(number, bytes(buffer))
    0 b'ab'
    1 b'cd'
    2 b'ef'
    3 b'gh'
    """
    return (reader or default_reader()).iter_ranges(
        ranges, on_error=on_error, allow_short=allow_short, progress=progress, store=store
    )


def iter_ranges_async(
    ranges: Ranges | Iterable[RangeTuple],
    *,
    on_error: OnError = "raise",
    allow_short: bool = False,
    progress: Progress = None,
    store: object = None,
    reader: Reader | None = None,
) -> AsyncGenerator[tuple[int, memoryview], None]:
    """:func:`iter_ranges` for ``async for``; see :meth:`Reader.iter_ranges_async`."""
    return (reader or default_reader()).iter_ranges_async(
        ranges, on_error=on_error, allow_short=allow_short, progress=progress, store=store
    )
