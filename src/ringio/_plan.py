"""Plans: what to fetch, how to decode it, and where it goes. Pure data; nothing here opens a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from . import _costs
from ._core import ffi
from ._errors import PlanError, error_from_failure
from ._failures import TaskFailure
from ._named import NamedTuple
from ._paths import EncodedPaths, are_urls, encode_paths
from ._plan_records import PlanRecords, Recorded, Records, chain_records, checked, file_records, path_at
from ._ranges import Ranges, RangeTuple, as_ranges
from ._records import LAYOUT, MAX_DIMS, MAX_U64, NO_FILE, PROJECTION, REQUEST, TASK
from ._stages import Origin
from ._states import PlanObjects
from ._targets import byte_span, writable_array
from ._tasks import Task, Tasks
from .codecs import Chain, CompiledChain

if TYPE_CHECKING:
    from ._draft import Draft
    from ._placing import Placement

_TARGETS: Final = ffi.typeof("struct ringio_target[]")


class Plan:
    """Byte ranges to fetch, and for each decoded chunk which box of it goes where in the target.

    ::

        ranges = [("a.bin", 0, 100), ("a.bin", 100, 80)]        # two compressed chunks of 4 x 4
        tasks = [
            ringio.Task(0, chunk_shape=(4, 4), source_start=(0, 0), counts=(4, 4), target_start=(0, 0)),
            ringio.Task(1, chunk_shape=(4, 4), source_start=(0, 0), counts=(4, 2), target_start=(0, 4)),
        ]
        plan = ringio.Plan(ranges, tasks, codecs=ringio.codecs.chain(["bytes", "zstd"]), dtype="<i2")
        reader.execute(plan, np.empty((4, 6), "<i2"))

    A range that several tasks name is fetched and decoded once. Near ranges are fetched by one request.

    Chains may have Python codecs (see :func:`ringio.codecs.chain`): their chunks are fetched in the same way, in
    batches of bounded size, decoded by a few threads, and placed by numpy. Then ``dtype`` may also be ``object`` or
    numpy's ``StringDType``.

    Args:
        ranges: as ``read_ranges`` takes them; an offset counted from the end is refused, because a plan opens no file.
        tasks: :class:`Tasks`, or single ones of :class:`Task`.
        codecs: how the chunks are encoded; None: they are raw, in C order.
        dtype: of the decoded chunks and of the target.
        fill_value: what the places of missing chunks get; None: a missing chunk is an error.
        missing_fills: a file that does not exist is a missing chunk, not a FileNotFoundError.
        max_gap_bytes: read over gaps of up to so many bytes between two ranges; None: as many as pay where they are.
        max_request_bytes: one request fetches at most so much, or one range; None: what suits where they are.

    Raises:
        PlanError: tasks and ranges that do not agree.
        UnsupportedCodecError: a codec that cannot decode this dtype.
    """

    __slots__ = (
        "_records",
        "_step_names",
        "_placement",
        "_describe",
        "_keep",
        "_fill_item",
        "objects",
        "python_chains",
        "target_count",
    )

    def __init__(
        self,
        ranges: Ranges | Iterable[RangeTuple],
        tasks: Tasks | Iterable[Task],
        *,
        codecs: Chain | None = None,
        dtype: DTypeLike,
        fill_value: ArrayLike | None = None,
        missing_fills: bool = False,
        max_gap_bytes: int | None = None,
        max_request_bytes: int | None = None,
    ) -> None:
        from ._placing import check_ranges, compile_chains, group, place  # late: front-ends make their own records

        ranges = as_ranges(ranges)
        tasks = tasks if isinstance(tasks, Tasks) else Tasks.from_tasks(tasks)
        check_ranges(ranges, tasks)
        item = np.dtype(dtype)
        chains, chain_of_task = compile_chains(codecs, tasks, item)
        pieces = group(ranges, tasks, chain_of_task)
        requests, records, task_pieces = _costs.coalesce(
            pieces.files,
            pieces.offsets,
            pieces.nbytes,
            pieces.first_projections,
            _costs.of_files(ranges.paths, are_urls(ranges.paths), max_gap_bytes, max_request_bytes),
            chains=pieces.chains,
            missing_fills=missing_fills,
        )
        self._placement: Placement | None = place(
            tasks, pieces.order, item, chains, chain_of_task, fill=fill_value is not None
        )
        paths, path_offsets = encode_paths(ranges.paths)
        self._set(
            paths=paths,
            files=file_records(path_offsets, None),
            requests=requests,
            tasks=records,
            projections=np.zeros(len(tasks), PROJECTION),
            counts=np.ascontiguousarray(tasks.counts[pieces.order]),
            layouts=np.zeros(0, LAYOUT),
            chains=chains,
            fill_values=b"" if fill_value is None or _holds_objects(item) else _fill_bytes(fill_value, item),
        )
        self._fill_item: object = fill_value
        first_tasks = pieces.order[pieces.first_projections[:-1].astype(np.int64)]
        self._describe: Callable[[int], str] | None = lambda task: f"task {first_tasks[int(task_pieces[task])]}"
        self.target_count = int(tasks.target_index.max(initial=0)) + 1

    @classmethod
    def from_records(
        cls,
        *,
        paths: Sequence[str | bytes] | EncodedPaths,
        files: Records | None = None,
        requests: Records,
        tasks: Records,
        projections: Records,
        counts: NDArray[np.int64],
        layouts: Records,
        chains: Sequence[CompiledChain] = (),
        fill_values: bytes = b"",
        fill_item: object = None,
        describe: Callable[[int], str] | None = None,
        keep: object = None,
        objects: PlanObjects | None = None,
    ) -> Plan:
        """A plan from the core's own records, for front-ends that plan with :mod:`ringio.planning`.

        Args:
            paths: of the files.
            files: FILE[n], one for each path, with the identities that they must have; ``path_offset`` is filled in
                here. None: whatever is there.
            requests: REQUEST[r].
            tasks: TASK[t].
            projections: PROJECTION[p]; their target offsets count from the lowest address of the target.
            counts: int64[p, d].
            layouts: LAYOUT[l].
            chains: that the tasks name; none: one that leaves the bytes as they are. One with Python codecs gives items
                of its dtype, ``object`` and ``StringDType`` among them; the layouts' ``itemsize``, strides and offsets
                are in bytes of that dtype (8 and 16 there), and the targets have it, too.
            fill_values: that the layouts point into.
            fill_item: the fill value where the dtype is ``object`` or ``StringDType``: what is assigned to each element
                of a missing chunk, wherever the ``fill_offset`` of the layout is not NO_FILL.
            describe: names the chunk of a task in an error, e.g. ``"chunk (3, 7) of '/data/a.zarr/temp'"``.
            keep: anything that must live as long as the plan.
            objects: where those files are that are objects, and their states; None: their URLs say it, in any state.

        Raises:
            PlanError: an array of another dtype or shape. What the records say is checked when they are used.
        """
        plan = cls.__new__(cls)
        blob, path_offsets = paths if isinstance(paths, EncodedPaths) else encode_paths(paths)
        plan._set(
            paths=blob,
            files=file_records(path_offsets, files),
            requests=checked("requests", requests, REQUEST),
            tasks=checked("tasks", tasks, TASK),
            projections=checked("projections", projections, PROJECTION),
            counts=counts,
            layouts=checked("layouts", layouts, LAYOUT),
            chains=chains,
            fill_values=fill_values,
        )
        plan._placement = None
        plan._describe = describe
        plan._keep = keep
        plan._fill_item = fill_item
        plan.objects = objects
        plan.target_count = (
            int(layouts["target"].max(initial=0)) + 1 if len(layouts) != 1 else int(layouts[0]["target"]) + 1
        )
        return plan

    @classmethod
    def from_draft(cls, draft: Draft, describe: Callable[[int], str] | None = None) -> Plan:
        """The plan that a :class:`ringio.planning.Draft` is, once it is finished; the last one before the next is cut.

        Args:
            draft: see there.
            describe: as in :meth:`from_records`.

        Raises:
            PlanError: its chunks need Python codecs.
        """
        if not draft.is_native:
            raise PlanError("a draft with Python codecs: they need a plan of records")
        plan = cls.__new__(cls)
        plan._records = draft
        plan._step_names = [draft.step_names]
        plan._placement = None
        plan._describe = describe
        plan._keep = None
        plan._fill_item = None
        plan.objects = None
        plan.python_chains = None
        plan.target_count = draft.target_count
        return plan

    def _set(self, *, chains: Sequence[CompiledChain], counts: NDArray[np.int64], **records: Any) -> None:
        counts = np.ascontiguousarray(counts, np.int64)
        if counts.ndim != 2 or counts.shape[1] > MAX_DIMS or len(counts) != len(records["projections"]):
            raise PlanError(f"counts have shape {counts.shape}, there are {len(records['projections'])} projections")
        chain_table, codec_table = chain_records(chains)
        self._records: Recorded = PlanRecords(counts=counts, chains=chain_table, codecs=codec_table, **records)
        self._step_names = [chain.step_names for chain in chains] or [()]
        self.python_chains = tuple(chains) if any(chain.stages for chain in chains) else None
        self._keep: object = None
        self.objects: PlanObjects | None = None

    @property
    def requests(self) -> Records:
        """REQUEST[r]: the reads, in the order in which they are started."""
        return self._records.requests

    @property
    def files(self) -> Records:
        """FILE[f]: what its files must be."""
        return self._records.files

    def request_nbytes(self) -> NDArray[np.float64]:
        """Bytes of each read; of one to the end of its file, as many as its chunk decodes to, or 0 where nobody knows.

        For progress bars, and for the memory of answers that come from stores.
        """
        requests, tasks, chains = self._records.requests, self._records.tasks, self._records.chains
        nbytes = requests["nbytes"].astype(np.float64)
        to_end = np.flatnonzero(requests["nbytes"] == MAX_U64)
        if len(to_end) and len(tasks):
            # Clipped: whether the records name what is there is checked when they are used.
            chain_numbers = tasks["chain"].take(requests["first_task"][to_end], mode="clip")
            decoded = chains["decoded_nbytes"].take(chain_numbers, mode="clip")
            nbytes[to_end] = np.where(decoded == MAX_U64, 0, decoded)
        return nbytes

    @property
    def tasks(self) -> Records:
        """TASK[t]: the chunks, in the order of the requests."""
        return self._records.tasks

    def may_have_urls(self) -> bool:
        """Whether some of its files may be named by URLs, which is found out fast."""
        return self._records.may_have_urls

    def paths(self) -> list[str]:
        """The paths or URLs of its files."""
        blob = self._records.paths
        return [path_at(blob, int(start)) for start in self._records.files["path_offset"]]

    @property
    def task_count(self) -> int:
        """How many chunks are decoded."""
        return self._records.task_count

    def bind(self, out: object) -> BoundPlan:
        """The plan with its targets, as the C core takes it.

        Args:
            out: a writable array or buffer, or a list or tuple of them.

        Raises:
            PlanError: the targets do not fit the plan.
            TypeError, ValueError: a target that cannot be written to.
        """
        outs = out if isinstance(out, list | tuple) else (out,)
        arrays = [writable_array(one, may_hold_objects=self.python_chains is not None) for one in outs]
        if len(arrays) < self.target_count:
            raise PlanError(f"{len(arrays)} targets, the plan writes to {self.target_count}")
        spans = [byte_span(array) for array in arrays]
        records = self._records
        if self._placement is not None:
            assert isinstance(records, PlanRecords)  # those of a draft have their places
            projections, layouts = self._placement.resolve(arrays, [first for _, _, first in spans])
            records = records._replace(projections=projections, layouts=layouts)
        targets = ffi.new(_TARGETS, [(low, nbytes) for low, nbytes, _ in spans])
        return BoundPlan(self, records.bind(targets), (self, records, targets, arrays), records, arrays)

    def error(self, failure: TaskFailure) -> Exception:
        """The exception for a failed task."""
        if failure.error is not None:
            return failure.error
        requests, tasks = self._records.requests, self._records.tasks
        if failure.task >= len(tasks) or failure.request >= len(requests):
            return error_from_failure(failure, path="the plan", offset=0, length=None, step_names=(), chunk=None)
        chain = int(tasks[failure.task]["chain"])
        path, offset, length, chunk = self.origin(failure.task, failure.request)
        return error_from_failure(
            failure,
            path=path,
            offset=offset,
            length=length,
            step_names=self._step_names[chain] if chain < len(self._step_names) else (),
            chunk=chunk,
        )

    def origin(self, task: int, request: int) -> Origin:
        """Where the bytes of a task are from, for messages.

        Args:
            task: its number.
            request: number of the request that fetches them.
        """
        source, fetched = self._records.tasks[task], self._records.requests[request]
        nbytes = int(source["source_nbytes"])
        return Origin(
            path=self._path(int(fetched["file"])),
            offset=int(fetched["offset"]) + int(source["source_offset"]),
            length=None if nbytes == MAX_U64 else nbytes,
            chunk=None if self._describe is None else self._describe(int(task)),
        )

    def fill_item(self, fill_offset: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """The fill value of a layout as an array without dimensions, of the target's dtype."""
        item = np.empty((), dtype)
        if _holds_objects(dtype):
            item[()] = self._fill_item
        else:
            raw = self._records.fill_values[fill_offset : fill_offset + dtype.itemsize]
            item.reshape(1).view(np.uint8)[:] = np.frombuffer(raw, np.uint8)
        return item

    def _path(self, file: int) -> str:
        if file == NO_FILE:
            return "no file"
        files = self._records.files
        return f"file {file}" if file >= len(files) else path_at(self._records.paths, int(files[file]["path_offset"]))

    def __repr__(self) -> str:
        return f"<ringio.Plan: {len(self._records.requests)} requests, {self.task_count} tasks>"


class BoundPlan(NamedTuple):
    """A plan and its targets.

    Attributes:
        plan: the plan.
        struct: ``struct ringio_plan *``.
        keep: what owns the memory that it points to.
        records: its records, with the projections and layouts of these targets.
        arrays: the targets.
        is_part: the struct has some of the requests only; others are read at the same time.
    """

    plan: Plan
    struct: Any
    keep: object
    records: Recorded
    arrays: Sequence[NDArray[Any]]
    is_part: bool = False


def _holds_objects(dtype: np.dtype[Any]) -> bool:
    """Whether items are not in the array itself, so that bytes cannot be copied there."""
    return dtype.hasobject or dtype.kind == "T"


def _fill_bytes(fill_value: ArrayLike, item: np.dtype[Any]) -> bytes:
    value = np.asarray(fill_value)
    if value.size != 1:
        raise PlanError(f"fill_value has {value.size} elements, one is due")
    return value.astype(item).tobytes()
