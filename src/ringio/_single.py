"""One box of one chunk: a plan whose records are made once and filled in again for each read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ._core import ffi, lib
from ._grid import Grid
from ._records import MAX_DIMS, MAX_U64
from .codecs import CompiledChain

_CHUNK: Final = ffi.typeof("struct ringio_chunk *")


class ChunkRead:
    """A plan for one box of one chunk, to be filled in again for the next box.

    To make a :class:`ringio.Plan` takes longer than to read and decode a chunk that is in the page cache. Here only
    numbers are set: :meth:`find` says which chunk holds a box, :meth:`set_walk` how the box is walked, which is the
    same for all boxes of one shape, and ``Reader.execute_chunk`` has the rest as arguments. It says only whether all
    went well: who wants to know what went wrong does the same with a plan, which has the words.

    One thread at a time may use it. After ``execute_chunk`` has raised, nobody may: reads in flight still do.

    Args:
        grid: that the chunk is one of.
        chain: decodes the chunk.
        itemsize: bytes of one element.
        fill_value: the ``itemsize`` bytes that a file that does not exist is full of; None: that is a failure.

    Attributes:
        struct: ``struct ringio_chunk *``.
        plan: ``struct ringio_plan *``, a part of it.
    """

    __slots__ = ("_chain", "_codecs", "_dim_count", "_fill", "_grid", "_inside", "_outer", "plan", "struct")

    def __init__(self, grid: Grid, chain: CompiledChain, itemsize: int, fill_value: bytes | None = None) -> None:
        if fill_value is not None and len(fill_value) != itemsize:
            raise ValueError(f"a fill value of {len(fill_value)} bytes for elements of {itemsize}")
        self._grid = grid
        self._dim_count = len(grid.chunk_shape)
        self._chain = chain
        self._codecs = ffi.from_buffer("struct ringio_codec[]", chain.records)
        self._fill = ffi.from_buffer("uint8_t[]", fill_value or b"")
        self._inside = ffi.new("int64_t *")
        self._outer = ffi.new("int64_t[]", MAX_DIMS)
        self.struct = chunk = ffi.new(_CHUNK)
        chunk.chain = (chain.decoded_nbytes, chain.encoded_nbytes_max, 0, len(chain.records))
        chunk.request.task_count = 1
        chunk.task.projection_count = 1
        chunk.layout.itemsize = itemsize
        chunk.layout.fill_offset = MAX_U64
        if fill_value is not None:
            chunk.layout.fill_offset = 0
            chunk.request.flags = lib.RINGIO_REQUEST_MISSING_FILLS
        self.plan = self._link()

    def _link(self) -> Any:
        """The plan, pointing to the records around it."""
        chunk = self.struct
        plan = ffi.addressof(chunk, "plan")
        plan.files, plan.file_count = ffi.addressof(chunk, "file"), 1
        plan.requests, plan.request_count = ffi.addressof(chunk, "request"), 1
        plan.tasks, plan.task_count = ffi.addressof(chunk, "task"), 1
        plan.projections, plan.projection_count = ffi.addressof(chunk, "projection"), 1
        plan.counts, plan.dim_count = chunk.counts, self._dim_count
        plan.chains, plan.chain_count = ffi.addressof(chunk, "chain"), 1
        plan.codecs, plan.codec_count = self._codecs, len(self._codecs)
        plan.layouts, plan.layout_count = ffi.addressof(chunk, "layout"), 1
        plan.fill_values, plan.fill_values_nbytes = self._fill, len(self._fill)
        plan.targets, plan.target_count = ffi.addressof(chunk, "target"), 1
        return plan

    def find(self, starts: tuple[int, ...], counts: tuple[int, ...], steps: tuple[int, ...]) -> int:
        """The id of the chunk that holds all of a box, which is not empty and lies in the array; -1: of more than one.

        >>> import numpy as np
        >>> from ringio import codecs
        >>> grid = Grid((2, 3), (12, 4), [(1, 1)], [(4, 1)])
        >>> read = ChunkRead(grid, codecs.chain(["bytes"]).compile((2, 3), np.dtype("<i4")), 4)
        >>> read.find((3, 4), (1, 2), (1, 1)), read.inside, read.outer
        (5, 16, [1, 1])
        """
        if not len(starts) == len(counts) == len(steps) == self._dim_count:
            raise ValueError(f"a box of {len(starts)} dimensions, the chunks have {self._dim_count}")
        chunk_id: int = lib.ringio_plan_chunk_of(self._grid.struct, starts, counts, steps, self._inside, self._outer)
        return chunk_id

    @property
    def inside(self) -> int:
        """After :meth:`find`: bytes from the start of the decoded chunk to the box."""
        offset: int = self._inside[0]
        return offset

    @property
    def outer(self) -> list[int]:
        """After :meth:`find`: where in the grid of outermost chunks the chunk lies."""
        coordinates: list[int] = ffi.unpack(self._outer, self._dim_count)
        return coordinates

    def set_walk(
        self,
        counts: Sequence[int],
        source_strides: Sequence[int],
        target_strides: Sequence[int],
        target_offset: int,
    ) -> None:
        """How the box is walked.

        Args:
            counts: elements along each dimension.
            source_strides: bytes in the decoded chunk from one element of the box to the next, along each dimension.
            target_strides: bytes in the target, likewise.
            target_offset: bytes from the lowest address of the target to where the first element of the box goes.
        """
        chunk, dim_count = self.struct, self._dim_count
        chunk.counts[0:dim_count] = counts
        chunk.layout.source_strides[0:dim_count] = source_strides
        chunk.layout.target_strides[0:dim_count] = target_strides
        chunk.projection.target_offset = target_offset
