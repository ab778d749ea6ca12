"""Boxes of an array as a plan, drawn in memory that the next one uses again: a call of the C core for each step."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._core import ffi, lib
from ._grid import Grid, Intersection
from ._kernels import I64, call_kernel, check_status
from ._records import CHAIN, FILE, LAYOUT, MAX_DIMS, PROJECTION, REQUEST, TASK
from .codecs import CompiledChain

# Of a shard's index, as Draft.find takes it: an IDENTITY, and the rest of a cache line.
INDEX_HEAD_NBYTES: Final = ffi.sizeof("struct ringio_index")

_BAD_BOXES: Final = -errno.EINVAL
_I64S: Final = ffi.typeof("int64_t[]")
_U64S: Final = ffi.typeof("uint64_t[]")
_LAYOUTS: Final = ffi.typeof("struct ringio_layout[]")


class Draft:
    """A plan being drawn from boxes.

    ``Grid.intersect``, ``locate``, ``coalesce`` and ``Plan.from_records`` do the same with an array for everything,
    and can do more. Here nothing is made anew: a batch of boxes is planned in a third of the time.

    :meth:`cut` begins; then :meth:`find` or :meth:`name_files` says where the chunks are, :meth:`finish` completes the
    plan, and ``Plan.from_draft`` gives it to who executes it. One thread at a time may use a draft, and nobody while
    the plan is executed, nor after an execution that has raised, or a call in here that Ctrl-C has ended: reads in
    flight, or the kernel, still use it.

    Args:
        grid: that the boxes are cut at.
        chain: decodes its chunks; with Python codecs the plan cannot be executed.
        fill_value: the bytes that the layouts' fill offsets point into.

    Attributes:
        struct: ``struct ringio_draft *``.
    """

    __slots__ = ("_chain", "_codecs", "_compiled", "_fill", "_grid", "_keep", "_known", "_layouts", "_plan", "struct")

    def __init__(self, grid: Grid, chain: CompiledChain, fill_value: bytes = b"") -> None:
        pointer = lib.ringio_draft_new()
        if pointer == ffi.NULL:
            raise MemoryError("out of memory while planning")
        self.struct = ffi.gc(pointer, lib.ringio_draft_free)
        self._grid = grid
        self._compiled = chain
        self._chain = ffi.new(
            "struct ringio_chain *", (chain.decoded_nbytes, chain.encoded_nbytes_max, 0, len(chain.records))
        )
        self._codecs = ffi.from_buffer("struct ringio_codec[]", chain.records)
        self._fill = fill_value
        self._layouts: NDArray[np.void] = np.zeros(0, LAYOUT)
        self._keep: object = None
        self._known = ffi.new("struct ringio_shard_files *")
        self._plan = plan = ffi.addressof(self.struct, "plan")
        plan.chains, plan.chain_count = self._chain, 1
        plan.codecs, plan.codec_count = self._codecs, len(self._codecs)
        plan.fill_values, plan.fill_values_nbytes = ffi.from_buffer("uint8_t[]", fill_value), len(fill_value)

    def cut(
        self,
        starts: ArrayLike,
        counts: ArrayLike,
        steps: ArrayLike,
        layouts: NDArray[np.void],
        target_offsets: ArrayLike | tuple[int, int],
        box_layouts: ArrayLike | None = None,
        *,
        ids_per_shard: int = 1,
    ) -> None:
        """Cut boxes at the chunks' borders.

        Args:
            starts: as in ``Grid.intersect``, and so are the others.
            counts: see there.
            steps: see there.
            layouts: see there.
            target_offsets: see there; or two integers, that of the first box, and from each to the next.
            box_layouts: see there.
            ids_per_shard: how many consecutive ids one file has.

        Raises:
            ValueError, MemoryError: as ``Grid.intersect``.
        """
        dim_count = len(self._grid.chunk_shape)
        starts = _rows(starts, dim_count)
        counts, steps = _rows(counts, dim_count), _rows(steps, dim_count)
        count = len(starts)
        if len(counts) not in (1, count) or len(steps) not in (1, count):
            raise ValueError(f"{count} boxes, but {len(counts)} rows of counts and {len(steps)} of steps")
        boxes = ffi.new("struct ringio_boxes *")
        boxes.box_count = count
        boxes.starts = ffi.from_buffer(_I64S, starts)
        boxes.counts, boxes.counts_row_stride = ffi.from_buffer(_I64S, counts), dim_count * (len(counts) == count)
        boxes.steps, boxes.steps_row_stride = ffi.from_buffer(_I64S, steps), dim_count * (len(steps) == count)
        offsets: I64 | None = None
        if isinstance(target_offsets, tuple):
            boxes.target_offset, boxes.target_stride = target_offsets
        else:
            offsets = np.ascontiguousarray(target_offsets, np.int64)
            boxes.target_offsets = ffi.from_buffer(_I64S, offsets)
        chosen = None if box_layouts is None else np.ascontiguousarray(box_layouts, np.uint64)
        if chosen is not None:
            boxes.layouts = ffi.from_buffer(_U64S, chosen)
        if any(one is not None and one.shape != (count,) for one in (offsets, chosen)):
            raise ValueError(f"{count} boxes, but not as many target_offsets or box_layouts")
        if layouts.dtype != LAYOUT or not layouts.flags.c_contiguous:
            raise ValueError(f"layouts have dtype {layouts.dtype}, ringio.planning.LAYOUT is due")
        self._layouts = layouts
        self._check(
            call_kernel(
                count,
                (self, starts, counts, steps, offsets, chosen),
                lib.ringio_draft_cut,
                self.struct,
                self._grid.struct,
                boxes,
                ffi.from_buffer(_LAYOUTS, layouts),
                len(layouts),
                ids_per_shard,
            )
        )

    def cut_points(
        self,
        coordinates: Sequence[ArrayLike],
        layouts: NDArray[np.void],
        target_offset: int,
        *,
        ids_per_shard: int = 1,
    ) -> None:
        """The same for single elements.

        Args:
            coordinates: as in ``Grid.intersect_points``, and so are the others.
            layouts: see there.
            target_offset: see there.
            ids_per_shard: how many consecutive ids one file has.

        Raises:
            ValueError, MemoryError: as ``Grid.intersect_points``.
        """
        columns = [np.ascontiguousarray(column, np.int64) for column in coordinates]
        count = len(columns[0]) if columns else 0
        if len(columns) != len(self._grid.chunk_shape) or any(column.shape != (count,) for column in columns):
            raise ValueError(f"coordinates of shapes {[column.shape for column in columns]}")
        if layouts.dtype != LAYOUT or len(layouts) != 1:
            raise ValueError(f"layouts have dtype {layouts.dtype}, one ringio.planning.LAYOUT is due")
        self._layouts = layouts
        self._check(
            call_kernel(
                count,
                (self, columns),
                lib.ringio_draft_points,
                self.struct,
                self._grid.struct,
                count,
                ffi.new("int64_t *[]", [ffi.from_buffer(_I64S, column) for column in columns]),
                ffi.from_buffer(_LAYOUTS, layouts),
                target_offset,
                ids_per_shard,
            )
        )

    @staticmethod
    def _check(status: int) -> None:
        if status == _BAD_BOXES:
            raise ValueError("a box has a negative start or count, a step below 1, or a layout that is not there")
        check_status(status)

    @property
    def chunk_count(self) -> int:
        """How many chunks the boxes touch."""
        count: int = self.struct.chunk_count
        return count

    def shards(self) -> list[int]:
        """The numbers of the outermost chunks that the boxes touch, ascending: ids divided by ``ids_per_shard``."""
        numbers: list[int] = ffi.unpack(self.struct.shards, self.struct.shard_count)
        return numbers

    def intersection(self) -> Intersection:
        """What ``Grid.intersect`` gives for these boxes."""
        lib.ringio_draft_widen(self.struct)
        draft, dim_count = self.struct, self._plan.dim_count
        chunk_count, pair_count = draft.chunk_count, self._plan.projection_count
        return Intersection(
            _copy(draft.chunk_ids, chunk_count, np.uint64),
            _copy(draft.first_projections, chunk_count + 1, np.uint64),
            _copy(draft.projections, pair_count, PROJECTION),
            _copy(draft.counts, pair_count * dim_count, np.int64).reshape(pair_count, dim_count),
        )

    def find(
        self,
        paths: Sequence[bytes],
        indexes: Sequence[int],
        index_nbytes: int,
        *,
        index_is_first: bool = False,
        keep: object = None,
    ) -> bool:
        """Look the chunks up in the indexes of their shards, which are files.

        The plan demands that each file is what its index was read from: else it fails with FileChangedError. A file of
        which nothing will be read is looked up at once.

        Args:
            paths: of the shards, in their order.
            indexes: the address of each one's index: ``INDEX_HEAD_NBYTES``, which begin with what the file was (an
                IDENTITY), and a pair (offset, nbytes) of uint64 for each of its ids, which is not checked here; 0:
                there is no such file.
            index_nbytes: that an index takes in its file.
            index_is_first: it stands at the beginning of the file; else at the end.
            keep: what owns the memory of the indexes. Ctrl-C may end this call before it is done with them.

        Returns:
            False: a file is another one now, or an entry cannot be right. Somebody has to look closer.
        """
        if not len(paths) == len(indexes) == self.struct.shard_count:
            raise ValueError(f"{len(paths)} paths, {len(indexes)} indexes of {self.struct.shard_count} shards")
        names = b"\0".join(paths) + b"\0"
        addresses = ffi.new(_U64S, indexes)
        known = self._known
        known.paths, known.paths_nbytes = ffi.from_buffer(names), len(names)
        known.indexes = addresses
        known.index_nbytes, known.index_is_first = index_nbytes, index_is_first
        self._keep = names
        found = call_kernel(
            self.struct.chunk_count, (self, names, addresses, keep), lib.ringio_draft_find, self.struct, known
        )
        return bool(found)

    def name_files(self, prefix: bytes, separator: bytes, strides: Sequence[int]) -> None:
        """Let each chunk be a file of its own, the whole of it.

        Args:
            prefix: of all their paths.
            separator: one byte; stands between the coordinates that follow.
            strides: what an id is divided by for each coordinate, C order.
        """
        if b"\0" in prefix or len(separator) != 1 or len(strides) > MAX_DIMS or any(one <= 0 for one in strides):
            raise ValueError(f"files cannot be named {prefix!r}, {separator!r}, {strides}")
        status = call_kernel(
            self.struct.chunk_count,
            self,
            lib.ringio_draft_name_files,
            self.struct,
            prefix,
            separator,
            ffi.new(_U64S, strides),
            len(strides),
        )
        check_status(status)

    def finish(
        self,
        max_gap_bytes: int,
        max_request_bytes: int,
        *,
        missing_fills: bool = False,
        parts_of_files: bool = False,
    ) -> None:
        """Merge near chunks into requests, as ``coalesce`` does, and complete the plan.

        Of a chunk without codecs no more is read than the boxes want.

        Args:
            max_gap_bytes: as in ``coalesce``.
            max_request_bytes: see there.
            missing_fills: see there.
            parts_of_files: also where the chunk is a file: who reads it must look at the file's size.
        """
        flags = lib.RINGIO_REQUEST_MISSING_FILLS if missing_fills else 0
        flags |= lib.RINGIO_REQUEST_PART_OF_FILE if parts_of_files else 0
        count = self.struct.chunk_count
        check_status(
            call_kernel(count, self, lib.ringio_draft_finish, self.struct, max_gap_bytes, max_request_bytes, flags)
        )

    def chunk_of(self, task: int) -> int:
        """The id of the chunk that a task of the plan decodes."""
        chunk_id: int = self.struct.chunk_ids[self.struct.task_chunks[task]]
        return chunk_id

    @property
    def memory_nbytes(self) -> int:
        """How much memory it keeps for the next plan."""
        nbytes: int = self.struct.memory_nbytes + self.struct.names_nbytes
        return nbytes

    # ------------------------------------------------------------------ what a Plan asks of its records

    def bind(self, targets: Any) -> Any:
        """``struct ringio_plan *`` with these targets, ``struct ringio_target[]``."""
        self._plan.targets, self._plan.target_count = targets, len(targets)
        return self._plan

    @property
    def is_native(self) -> bool:
        """Whether there are no Python codecs."""
        return not self._compiled.stages

    @property
    def step_names(self) -> tuple[str, ...]:
        """Of the chain, in decoding order."""
        return self._compiled.step_names

    @property
    def target_count(self) -> int:
        """How many targets the layouts name."""
        layouts = self._layouts
        return int(layouts[0]["target"]) + 1 if len(layouts) == 1 else int(layouts["target"].max(initial=0)) + 1

    @property
    def task_count(self) -> int:
        """How many chunks are decoded."""
        count: int = self._plan.task_count
        return count

    @property
    def may_have_urls(self) -> bool:
        """Whether some of its files may be named by URLs: never."""
        return False

    @property
    def paths(self) -> bytes:
        """Of the files, each ended by a NUL."""
        return bytes(ffi.buffer(self._plan.paths, self._plan.paths_nbytes))

    @property
    def files(self) -> NDArray[np.void]:
        """FILE[n]; a copy, as are the others."""
        return _copy(self._plan.files, self._plan.file_count, FILE)

    @property
    def requests(self) -> NDArray[np.void]:
        """REQUEST[r]."""
        return _copy(self._plan.requests, self._plan.request_count, REQUEST)

    @property
    def tasks(self) -> NDArray[np.void]:
        """TASK[t]."""
        return _copy(self._plan.tasks, self._plan.task_count, TASK)

    @property
    def fill_values(self) -> bytes:
        """That the layouts point into."""
        return self._fill

    @property
    def chains(self) -> NDArray[np.void]:
        """CHAIN[1]."""
        return _copy(self._plan.chains, self._plan.chain_count, CHAIN)


def _rows(rows: ArrayLike, dim_count: int) -> I64:
    array = np.ascontiguousarray(rows, np.int64)
    if array.ndim != 2 or array.shape[1] != dim_count:
        raise ValueError(f"array of shape {array.shape}, (n, {dim_count}) is due")
    return array


def _copy(pointer: Any, count: int, dtype: Any) -> NDArray[Any]:
    array = np.empty(count, dtype)
    if array.nbytes:
        ffi.memmove(array, pointer, array.nbytes)
    return array
