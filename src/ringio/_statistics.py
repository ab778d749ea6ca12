"""What a reader has done so far."""

from __future__ import annotations

from typing import Final

from ._named import NamedTuple

# The most at one time, not a sum.
_PEAKS: Final = ("peak_in_flight", "peak_buffer_bytes")


class Statistics(NamedTuple):
    """Counters of a reader since it was made. The difference of two is what happened in between.

    Attributes:
        requests: reads that were done.
        tasks: chunks, or pieces of ranges, that were decoded and put in their places.
        projections: boxes that were put in their places.
        bytes_read: bytes that the requests fetched, gaps included.
        bytes_asked: encoded bytes of all tasks; more than ``bytes_read`` where ranges overlap, or parts of large blosc
            chunks were wanted.
        bytes_decoded: what they decoded to.
        coalesced_requests: requests that served more than one task.
        direct_requests: requests that were read past the page cache, wholly or in part.
        retries: reads that were submitted again: short, EAGAIN, EINTR, for more of a blosc chunk; requests of objects
            that were tried again.
        opens: files opened.
        stats_calls: stat(2) calls that checked whether an open file is still the one at its path.
        inline_jobs: small batches that the calling thread did itself.
        wait_ns: time that workers waited for reads, all workers together.
        decode_ns: time that they decoded and placed, all workers together.
        peak_in_flight: most requests in flight at one time, in one worker or of objects.
        peak_buffer_bytes: most bytes of buffers at one time, all workers together.
    """

    requests: int
    tasks: int
    projections: int
    bytes_read: int
    bytes_asked: int
    bytes_decoded: int
    coalesced_requests: int
    direct_requests: int
    retries: int
    opens: int
    stats_calls: int
    inline_jobs: int
    wait_ns: int
    decode_ns: int
    peak_in_flight: int
    peak_buffer_bytes: int

    def __sub__(self, earlier: Statistics) -> Statistics:
        """What happened since ``earlier``; the peaks are those since the reader was made."""
        return Statistics(
            **{
                name: now - (0 if name in _PEAKS else before)
                for name, now, before in zip(self._fields, self, earlier, strict=True)
            }
        )
