"""One box of one chunk: a plan whose records are made once and filled in again for each read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from ._core import ffi, lib
from ._records import MAX_DIMS, MAX_U64
from ._targets import byte_span
from .codecs import CompiledChain


class ChunkRead:
    """A plan for one box of one chunk, to be filled in again for the next box.

    To make a :class:`ringio.Plan` takes longer than to read and decode a chunk that is in the page cache. Here only
    numbers are set. :meth:`look_up` or :meth:`set_file` says which file, then :meth:`set_bytes`, :meth:`set_box` and
    :meth:`set_target` the rest, and ``Reader.execute_chunk`` reads. It says only whether all went well: who wants to
    know what went wrong does the same with a plan, which has the words.

    One thread at a time may use it. After ``execute_chunk`` has raised, nobody may: reads in flight still do.

    Args:
        chain: decodes the chunk.
        dim_count: dimensions of the chunk, at most 32.
        itemsize: bytes of one element.
        fill_value: the ``itemsize`` bytes that a file that does not exist is full of; None: that is a failure.

    Attributes:
        struct: ``struct ringio_plan *``.
    """

    __slots__ = (
        "_chain",
        "_codecs",
        "_counts",
        "_dim_count",
        "_file",
        "_fill",
        "_identity",
        "_layout",
        "_path",
        "_projection",
        "_request",
        "_start",
        "_target",
        "_target_array",
        "_task",
        "struct",
    )

    def __init__(self, chain: CompiledChain, dim_count: int, itemsize: int, fill_value: bytes | None = None) -> None:
        if not 0 <= dim_count <= MAX_DIMS:
            raise ValueError(f"{dim_count} dimensions, at most {MAX_DIMS} are possible")
        if fill_value is not None and len(fill_value) != itemsize:
            raise ValueError(f"a fill value of {len(fill_value)} bytes for elements of {itemsize}")
        self._dim_count = dim_count
        self._codecs = ffi.from_buffer("struct ringio_codec[]", chain.records)
        self._fill = ffi.from_buffer("uint8_t[]", fill_value or b"")
        self._chain = ffi.new("struct ringio_chain *", (chain.decoded_nbytes, chain.encoded_nbytes_max, 0))
        self._chain.codec_count = len(chain.records)
        self._file = ffi.new("struct ringio_file *")
        self._request = ffi.new("struct ringio_request *", {"task_count": 1})
        self._task = ffi.new("struct ringio_task *", {"projection_count": 1})
        self._projection = ffi.new("struct ringio_projection *")
        self._counts = ffi.new("int64_t[]", MAX_DIMS)
        self._layout = ffi.new("struct ringio_layout *", {"itemsize": itemsize, "fill_offset": MAX_U64})
        if fill_value is not None:
            self._layout.fill_offset = 0
            self._request.flags = lib.RINGIO_REQUEST_MISSING_FILLS
        self._target = ffi.new("struct ringio_target *")
        self._target_array: object = None
        self._path: Any = None
        self._start = ffi.new("uint64_t *", 0)
        self._identity = ffi.new("struct ringio_identity *")
        self.struct = self._make_struct()

    def _make_struct(self) -> Any:
        plan = ffi.new("struct ringio_plan *")
        plan.files, plan.file_count = self._file, 1
        plan.requests, plan.request_count = self._request, 1
        plan.tasks, plan.task_count = self._task, 1
        plan.projections, plan.projection_count = self._projection, 1
        plan.counts, plan.dim_count = self._counts, self._dim_count
        plan.chains, plan.chain_count = self._chain, 1
        plan.codecs, plan.codec_count = self._codecs, len(self._codecs)
        plan.layouts, plan.layout_count = self._layout, 1
        plan.fill_values, plan.fill_values_nbytes = self._fill, len(self._fill)
        plan.targets, plan.target_count = self._target, 1
        return plan

    def set_file(self, path: str) -> None:
        """Read from this file, whatever is there.

        Raises:
            ValueError: a NUL in the path.
        """
        self._set_path(path)
        self._file.inode = 0

    def look_up(self, path: str) -> tuple[bytes, int]:
        """Read from this file, which must then still be the one that it is now.

        Returns:
            What it is, as the bytes of an ``IDENTITY``, and how many bytes it has.

        Raises:
            ValueError: a NUL in the path.
        """
        self._set_path(path)
        identity, file = self._identity, self._file
        lib.ringio_stat(self._path, self._start, 1, identity)
        nbytes: int = identity.nbytes
        file.nbytes = nbytes
        file.device = identity.device
        file.inode = identity.inode
        file.mtime_ns = identity.mtime_ns
        return bytes(ffi.buffer(identity)), nbytes

    def _set_path(self, path: str) -> None:
        if "\0" in path:
            raise ValueError(f"path {path!r} has a NUL in it")
        encoded = os.fsencode(path) + b"\0"
        self._path = ffi.from_buffer(encoded)
        self.struct.paths = self._path
        self.struct.paths_nbytes = len(encoded)

    def set_bytes(self, offset: int, nbytes: int) -> None:
        """Where in the file the encoded chunk lies; ``nbytes`` may be ``TO_END``."""
        self._request.offset = offset
        self._request.nbytes = nbytes
        self._task.source_nbytes = nbytes

    def set_box(self, counts: Sequence[int], source_strides: Sequence[int], source_offset: int) -> None:
        """The box of the decoded chunk.

        Args:
            counts: elements along each dimension.
            source_strides: bytes from one to the next along each dimension.
            source_offset: bytes to the first one.
        """
        dim_count = self._dim_count
        self._counts[0:dim_count] = counts
        self._layout.source_strides[0:dim_count] = source_strides
        self._projection.source_offset = source_offset

    def set_target(self, array: NDArray[Any], strides: Sequence[int], offset: int) -> None:
        """Where the box goes.

        Args:
            array: writable, without Python objects, with any strides.
            strides: bytes from one element of the box to the next along each dimension of the chunk.
            offset: bytes from the first element of ``array`` to where the first one of the box goes.
        """
        low, nbytes, first = byte_span(array)
        self._target_array = array
        self._target.data = low
        self._target.nbytes = nbytes
        self._layout.target_strides[0 : self._dim_count] = strides
        self._projection.target_offset = first + offset

    def release(self) -> None:
        """Let go of the target."""
        self._target_array = None
