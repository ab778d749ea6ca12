"""For tests of code that reads: readers that fail on purpose, from a seed, and objects in memory.

>>> reader = faulty_reader("memory", seed=1, eio=1)  # every read fails
>>> reader.read_ranges([(__file__, 0, 1)], on_error="return").errors[0].strerror
'Input/output error'
"""

from __future__ import annotations

from typing import Any

from ._options import Direct, Options
from ._reader import Reader

__all__ = ["faulty_reader", "memory_store"]


def memory_store(name: str = "") -> Any:
    """The store behind the URLs ``memory://name/...``: an obstore ``MemoryStore``, one for each name in a process.

    >>> import ringio
    >>> _ = memory_store("tests").put("letters", b"abcdef")
    >>> bytes(ringio.read_ranges([("memory://tests/letters", 2, 3)])[0])
    b'cde'
    """
    from ._stores import memory_store

    return memory_store(name)


def faulty_reader(
    backend: str = "auto",
    *,
    seed: int,
    short: int = 0,
    zero: int = 0,
    eio: int = 0,
    eintr: int = 0,
    eagain: int = 0,
    late: int = 0,
    submit: int = 0,
    init_status: int = 0,
    workers: int | None = None,
    queue_depth: int | None = None,
    memory_limit_bytes: int | None = None,
    direct: Direct = False,
) -> Reader:
    """A reader whose reads go wrong now and then.

    Every rate is "one in so many", 0 never. What a reader can recover from (``short``, ``zero``, ``eintr``, ``eagain``,
    ``late``, ``submit``) must not be seen in the bytes; ``eio`` must be seen as an OSError and nothing else. The same
    seed gives the same faults to the same requests in one worker.

    Args:
        backend: "auto", "io_uring", "threads" or "memory".
        seed: of the random numbers.
        short: reads that give fewer bytes than asked; the rest of the buffer is poisoned.
        zero: reads that give nothing, once, as at the end of a file.
        eio: reads that fail with EIO.
        eintr: reads that fail with EINTR.
        eagain: reads that fail with EAGAIN.
        late: completions that are held back, so that they come in another order.
        submit: submissions that are refused with EBUSY, once.
        init_status: the backend cannot be made at all: this errno.
        workers: see :class:`ringio.Reader`.
        queue_depth: see :class:`ringio.Reader`.
        memory_limit_bytes: see :class:`ringio.Reader`.
        direct: see :class:`ringio.Reader`.
    """
    return Reader.from_options(
        Options(
            backend,
            workers=workers,
            queue_depth=queue_depth,
            memory_limit_bytes=memory_limit_bytes,
            direct=direct,
            faults={
                "seed": seed,
                "short_rate": short,
                "zero_rate": zero,
                "eio_rate": eio,
                "eintr_rate": eintr,
                "eagain_rate": eagain,
                "late_rate": late,
                "submit_rate": submit,
                "init_status": init_status,
            },
        )
    )
