"""One box of one chunk: a plan whose records are made once and filled in again for each read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ._core import ffi, lib
from ._grid import Grid
from ._records import MAX_U64
from .codecs import CompiledChain

_find: Final = lib.ringio_chunk_find
_CHUNK: Final = ffi.typeof("struct ringio_chunk *")


class ChunkRead:
    """A plan for one box of one chunk, to be filled in again for the next box.

    To make a :class:`ringio.Plan` takes longer than to read and decode a chunk that is in the page cache. Here only
    numbers are set: :meth:`set_walk` says how boxes are walked, which is the same for all boxes of one shape,
    :meth:`find` which chunk holds the next one, and ``Reader.execute_chunk`` where that chunk lies, and reads. It says
    only whether all went well: who wants to know what went wrong does the same with a plan, which has the words.

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

    __slots__ = ("_chain", "_codecs", "_dim_count", "_fill", "_grid", "plan", "struct")

    def __init__(self, grid: Grid, chain: CompiledChain, itemsize: int, fill_value: bytes | None = None) -> None:
        if fill_value is not None and len(fill_value) != itemsize:
            raise ValueError(f"a fill value of {len(fill_value)} bytes for elements of {itemsize}")
        if chain.stages:
            raise ValueError("a chain with Python codecs takes a plan")
        self._grid = grid
        self._dim_count = len(grid.chunk_shape)
        self._chain = chain
        self._codecs = ffi.from_buffer("struct ringio_codec[]", chain.records)
        self._fill = ffi.from_buffer("uint8_t[]", fill_value or b"")
        self.struct = chunk = ffi.new(_CHUNK)
        chunk.grid = grid.struct
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

    def set_walk(
        self,
        counts: Sequence[int],
        steps: Sequence[int],
        target_strides: Sequence[int],
        target_offset: int,
    ) -> None:
        """How boxes are walked until this is called again.

        Args:
            counts: elements along each dimension, none of them 0.
            steps: from one element to the next, all positive.
            target_strides: bytes in the target from one element of the box to the next, along each dimension.
            target_offset: bytes from the lowest address of the target to where the first element of the box goes.
        """
        chunk, grid, dim_count = self.struct, self._grid, self._dim_count
        if not len(counts) == len(steps) == len(target_strides) == dim_count:
            raise ValueError(f"a box of {len(counts)} dimensions, the chunks have {dim_count}")
        chunk.counts[0:dim_count] = counts
        chunk.steps[0:dim_count] = [min(step, length) for step, length in zip(steps, grid.chunk_shape, strict=True)]
        chunk.layout.source_strides[0:dim_count] = grid.strided(steps)
        chunk.layout.target_strides[0:dim_count] = target_strides
        chunk.projection.target_offset = target_offset

    def find(self, starts: Sequence[int]) -> int:
        """The id of the chunk that holds all of the box that begins here; -1: of more than one.

        Args:
            starts: of a box that lies in the array.

        >>> import numpy as np
        >>> from ringio import codecs
        >>> grid = Grid((2, 3), (12, 4), [(1, 1)], [(4, 1)])
        >>> read = ChunkRead(grid, codecs.chain(["bytes"]).compile((2, 3), np.dtype("<i4")), 4)
        >>> read.set_walk((1, 2), (1, 1), (8, 4), 0)
        >>> read.find((3, 4)), read.outer, read.find((0, 2))
        (5, (1, 1), -1)
        """
        if len(starts) != self._dim_count:
            raise ValueError(f"a box of {len(starts)} dimensions, the chunks have {self._dim_count}")
        chunk_id: int = _find(self.struct, starts)
        return chunk_id

    @property
    def outer(self) -> tuple[int, ...]:
        """Where in the grid of outermost chunks the chunk lies that was found last."""
        return tuple(ffi.unpack(self.struct.outer, self._dim_count))
