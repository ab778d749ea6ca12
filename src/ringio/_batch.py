"""A batch of ranges: where each one lies once the sizes of files are known, and the plan that reads them all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import _blocks, _costs, planning
from ._core import ffi, lib
from ._errors import MemoryLimitError, RangeError, error_from_failure
from ._failures import TaskFailure
from ._named import NamedTuple
from ._paths import EncodedPaths, encode_paths, path_order
from ._plan import Plan
from ._ranges import Ranges
from ._records import FILE, PROJECTION

if TYPE_CHECKING:
    from ._object_lookup import Found

I64: TypeAlias = NDArray[np.int64]

# A range longer than this is read in pieces of at most this, so that all workers share it. It costs one request for
# each 1 MiB: 0.5 us against 60 us of copying.
_PIECE_NBYTES: Final = 1 << 20
_OWN_NBYTES: Final = 256 << 10  # such ranges of objects may stay in the memory that the store gave

# An object is asked for its size only where much memory would be taken for nothing.
_LONG_NBYTES: Final = 64 << 20

# Offsets up to here can have the length of a piece added, and offsets beyond are past the end of any file.
_FAR: Final = 1 << 62

_LAYOUT: Final = planning.layout(source_strides=(1,), target_strides=(1,), itemsize=1)


class Objects(Protocol):
    """The paths of a batch or plan that are in stores."""

    mask: NDArray[np.bool_]  # [paths]

    def look_up(self, files: Sequence[int], suffixes: Sequence[int], starts: Sequence[int]) -> Sequence[Found]:
        """Find out sizes, which takes its time; ``suffixes``, ``starts``: see ``_object_lookup.Lookup``."""

    def without_room(self) -> set[int]:
        """Files that could not be had only because others were looked up with them."""

    def part(self, used: I64 | None) -> Objects | None:
        """Those of some of the paths, by their numbers; None: of all."""


class Batch(NamedTuple):
    """Ranges with every offset and size known.

    Attributes:
        ranges: as they were asked for.
        offsets: int64[n], from the start of each file.
        nbytes: int64[n], how many bytes each range gives; 0 where that is not known because of an error.
        errors: of the ranges that cannot be read, by their index.
        files: FILE[paths] with the identities that the sizes were taken from; None: no size was needed.
        objects: which of the paths are in stores; None: none is.
    """

    ranges: Ranges
    offsets: I64
    nbytes: I64
    errors: dict[int, Exception]
    files: NDArray[np.void] | None
    objects: Objects | None = None


def resolve(ranges: Ranges, *, allow_short: bool, objects: Objects | None = None) -> Batch:
    """Look up the sizes of the files that some range needs, and nothing where none does.

    Args:
        ranges: what was asked for.
        allow_short: cut ranges to what their files have, instead of failing.
        objects: which paths are in stores; None: none.
    """
    offsets, lengths = ranges.offsets, ranges.lengths
    if not asks_for_sizes(ranges, allow_short=allow_short):
        return Batch(ranges, offsets, lengths, {}, None, objects)
    wanted = lengths != 0
    unknown = wanted if allow_short else wanted & ((offsets < 0) | (lengths < 0))
    # A long range is looked up too: past the end it is refused before there is memory for it.
    long_nbytes: int | I64 = _PIECE_NBYTES
    if objects is not None:
        long_nbytes = np.where(objects.mask[ranges.path_index], _LONG_NBYTES, _PIECE_NBYTES)
    looked_up = unknown | (lengths > long_nbytes) | (wanted & (offsets > _FAR))
    if not looked_up.any():
        return Batch(ranges, offsets, lengths, {}, None, objects)
    # Not np.unique: its first call imports a module, and a fork() during an import can hang the child in another one.
    wanted_paths = np.zeros(len(ranges.paths), bool)
    wanted_paths[ranges.path_index[looked_up]] = True
    used = np.flatnonzero(wanted_paths)
    here = used if objects is None else used[~objects.mask[used]]
    identities = planning.stat([ranges.paths[i] for i in here])
    sizes = np.zeros(len(ranges.paths), np.int64)
    status = np.zeros(len(ranges.paths), np.int32)
    sizes[here], status[here] = identities["nbytes"], identities["status"]
    problems = {} if objects is None else _look_up(objects, ranges, looked_up, used, sizes, status)
    starts, nbytes, outside = _inside(offsets, lengths, sizes[ranges.path_index], allow_short=allow_short)
    starts, nbytes = np.where(looked_up, starts, offsets), np.where(looked_up, nbytes, lengths)
    errors: dict[int, Exception] = {}
    failed = looked_up & ((status[ranges.path_index] != 0) | outside)
    for i in np.flatnonzero(failed).tolist():
        file = int(ranges.path_index[i])
        errors[i] = _error(ranges, i, int(status[file]), int(sizes[file]), problems.get(file))
        nbytes[i] = max(int(lengths[i]), 0)
    files = np.zeros(len(ranges.paths), FILE)
    # Only where a range was measured by it: a file that grows meanwhile must not spoil ranges known from the start.
    measured = np.zeros(len(ranges.paths), bool)
    measured[ranges.path_index[unknown]] = True
    chosen = measured[here] & (identities["status"] == 0)
    for field in ("nbytes", "device", "inode", "mtime_ns"):
        files[field][here[chosen]] = identities[field][chosen]
    return Batch(ranges, starts, nbytes, errors, files, objects)


def asks_for_sizes(ranges: Ranges, *, allow_short: bool) -> bool:
    """Whether :func:`resolve` may ask filesystems and stores for sizes."""
    return allow_short or not _all_known(ranges.offsets, ranges.lengths)


def part(batch: Batch, start: int, stop: int) -> Batch:
    """The ranges from ``start`` to ``stop`` as a batch of their own."""
    ranges, used = batch.ranges._part(start, stop)
    errors = {i - start: error for i, error in batch.errors.items() if start <= i < stop} if batch.errors else {}
    files = batch.files
    if files is not None and used is not None:
        files = files[used]
    objects = None if batch.objects is None else batch.objects.part(used)
    return Batch(ranges, batch.offsets[start:stop], batch.nbytes[start:stop], errors, files, objects)


def without_giants(batch: Batch, limit_nbytes: int) -> Batch:
    """The batch with an error for each range that the memory of a stream cannot hold."""
    giants = np.flatnonzero(batch.nbytes > limit_nbytes)
    if not len(giants):
        return batch
    errors, nbytes = dict(batch.errors), batch.nbytes.copy()
    for i in giants.tolist():
        path, offset, _ = batch.ranges[i]
        error = MemoryLimitError(
            f"{path}: the range at {offset} has {nbytes[i]} bytes, and a stream may hold {limit_nbytes} at a time "
            "(memory_limit_bytes): read it in parts, or give the reader a higher limit"
        )
        errors.setdefault(i, error)
    nbytes[giants] = 0
    return batch._replace(errors=errors, nbytes=nbytes)


def _look_up(
    objects: Objects, ranges: Ranges, looked_up: NDArray[np.bool_], used: I64, sizes: I64, status: NDArray[np.int32]
) -> dict[int, TaskFailure]:
    """Fill in the sizes of objects; returns what is wrong with those that have none."""
    files = used[objects.mask[used]]
    offsets, lengths = ranges.offsets, ranges.lengths
    suffixes = np.where((offsets < 0) & ((lengths < 0) | (offsets + lengths == 0)), -offsets, 0)
    longest, shortest = np.zeros(len(ranges.paths), np.int64), np.full(len(ranges.paths), np.iinfo(np.int64).max)
    np.maximum.at(longest, ranges.path_index[looked_up], suffixes[looked_up])
    np.minimum.at(shortest, ranges.path_index[looked_up], suffixes[looked_up])
    wanted = np.where(shortest > 0, longest, 0)[files].tolist()
    starts = np.full(len(ranges.paths), np.iinfo(np.int64).max)
    rests = np.where((offsets >= 0) & (lengths < 0), offsets, -1)
    np.minimum.at(starts, ranges.path_index[looked_up], rests[looked_up])
    starts[ranges.path_index[looked_up & (rests == 0)]] = 0  # all of it has what else is wanted
    problems = {}
    numbers = files.tolist()
    for file, found in zip(numbers, objects.look_up(numbers, wanted, starts[files].tolist()), strict=True):
        if found.version is not None:
            sizes[file] = found.version.nbytes
        elif (problem := found.problem) is not None:
            status[file] = -problem.status
            problems[file] = TaskFailure(0, 0, -problem.status, 0, 0, 0, problem.text, problem.error)
    return problems


def _all_known(offsets: I64, lengths: I64) -> bool:
    """Whether all ranges are counted from the start, have a length, and are short: the usual case, found out fast."""
    # As unsigned numbers the negative ones are the largest. reduce() costs half as much as max() where n is small.
    return not len(offsets) or bool(
        np.maximum.reduce(offsets.view(np.uint64)) <= _FAR
        and np.maximum.reduce(lengths.view(np.uint64)) <= _PIECE_NBYTES
    )


def _inside(offsets: I64, lengths: I64, sizes: I64, *, allow_short: bool) -> tuple[I64, I64, NDArray[np.bool_]]:
    """Where ranges begin, how many bytes they have, and which are not wholly inside their files."""
    starts = np.where(offsets < 0, sizes + offsets, offsets)
    # Lengths near 2**63 must not overflow: no file has more than 2**63 - 1 bytes, so cutting there changes nothing.
    room = np.iinfo(np.int64).max - np.maximum(starts, 0)
    ends = np.where(lengths < 0, np.maximum(sizes, starts), starts + np.minimum(lengths, room))
    if allow_short:
        inner_starts = np.clip(starts, 0, sizes)
        return inner_starts, np.clip(ends, inner_starts, sizes) - inner_starts, np.zeros(len(offsets), bool)
    outside = (starts < 0) | (ends > sizes) | (lengths > room)
    return starts, ends - starts, outside


def _error(ranges: Ranges, i: int, status: int, size: int, problem: TaskFailure | None) -> Exception:
    path, offset, length = ranges[i]
    if problem is not None:
        return _failure_error(problem, path, offset, length)
    if status:
        return _core_error(path, offset, length, status=status)
    start = offset + size if offset < 0 else offset
    if start < 0:
        message = f"{path}: begins {-offset} bytes before the end, but the object has {size} bytes"
        return RangeError(message, path=path, offset=offset, length=length, nbytes=size)
    error = _core_error(
        path, start, length, status=-lib.RINGIO_EOF, got=size, expected=start if length is None else start + length
    )
    if isinstance(error, RangeError):
        error.offset = offset  # as it was asked for
    return error


def _failure_error(failure: TaskFailure, path: str, offset: int, length: int | None) -> Exception:
    if failure.error is not None:
        return failure.error
    return error_from_failure(failure, path=path, offset=offset, length=length, step_names=(), chunk=None)


def _core_error(path: str, offset: int, length: int | None, **failure: int) -> Exception:
    record = ffi.new("struct ringio_failure *", failure)
    return error_from_failure(record, path=path, offset=offset, length=length, step_names=(), chunk=None)


class BatchPlan(NamedTuple):
    """A batch made ready to be executed.

    Attributes:
        plan: with one target: all ranges back to back.
        starts: int64[n], where each range goes in the target.
        ends: int64[n].
        target_nbytes: of the target.
        range_of_task: int64[t].
        widened: bool[n], ranges of which more is read than was asked for; None: there are none.
        wholes: by requests of objects whose answers are ranges as they come: the numbers of these. They have memory of
            their own, and their places are behind the target.
        own_nbytes: of that memory.
    """

    plan: Plan
    starts: I64
    ends: I64
    target_nbytes: int
    range_of_task: I64
    widened: NDArray[np.bool_] | None
    wholes: dict[int, int]
    own_nbytes: int


def make_plan(
    batch: Batch,
    costs: Sequence[_costs.Costs],
    *,
    keep_places: bool,
    in_blocks: bool = False,
    may_own: bool = False,
) -> BatchPlan:
    """The plan that reads a batch.

    Args:
        batch: what :func:`resolve` gave.
        costs: of the files, or one of all.
        keep_places: a range that failed already has its place in the target all the same; else it takes none.
        in_blocks: lay the target out so that long ranges can be read past the page cache without a copy; else all
            ranges are back to back.
        may_own: long ranges of objects may have memory of their own.
    """
    nbytes = batch.nbytes
    if batch.errors:
        failed = list(batch.errors)
        places = nbytes.copy()
        if not keep_places:
            places[failed] = 0
        nbytes = nbytes.copy()
        nbytes[failed] = 0
    else:
        places = nbytes
    ends = np.cumsum(places)
    starts = ends - places
    target_nbytes = int(ends[-1]) if len(ends) else 0
    blocks = _blocks.widen(batch.ranges, batch.offsets, nbytes) if in_blocks else None
    chosen: I64 | None
    if blocks is None:
        chosen, offsets, counts, targets = _pieces(batch.offsets, nbytes, starts)
    else:
        starts, ends, target_nbytes = blocks.starts, blocks.starts + nbytes, blocks.target_nbytes
        chosen, offsets, counts, targets = _blocks.cut(blocks)
    files = batch.ranges.path_index[chosen] if chosen is not None else batch.ranges.path_index
    paths, records = encode_paths(batch.ranges.paths), batch.files
    # Objects are known by the numbers of their paths.
    order = path_order(paths) if len(costs) == 1 else None
    if order is not None:
        paths = EncodedPaths(paths.blob, paths.starts[order])
        records = None if records is None else records[order]
        place = np.empty(len(order), np.uint32)
        place[order] = np.arange(len(order), dtype=np.uint32)
        files = place[files]
    requests, tasks, task_pieces = _costs.coalesce(
        files,
        offsets.view(np.uint64),
        counts.view(np.uint64),
        np.arange(len(offsets) + 1, dtype=np.uint64),
        costs,
    )
    # Each task has one projection, and they are walked in the order of the tasks: so they lie in memory like that.
    pieces = task_pieces.view(np.int64)
    range_of_task = pieces if chosen is None else chosen[pieces]
    targets = targets[pieces]
    wholes = _wholes(batch, requests, range_of_task) if may_own else {}
    own_nbytes = 0
    if wholes:
        old_starts = starts
        starts, ends, own_nbytes = _behind(places, list(wholes.values()))
        target_nbytes -= own_nbytes
        targets = targets + (starts - old_starts)[range_of_task]
    tasks["first_projection"] = np.arange(len(pieces))
    projections = np.zeros(len(pieces), PROJECTION)
    projections["target_offset"] = targets
    plan = Plan.from_records(
        paths=paths,
        files=records,
        requests=requests,
        tasks=tasks,
        projections=projections,
        counts=counts[pieces, np.newaxis],
        layouts=_LAYOUT,
    )
    return BatchPlan(
        plan,
        starts,
        ends,
        target_nbytes,
        range_of_task,
        None if blocks is None else blocks.widened,
        wholes,
        own_nbytes,
    )


def _behind(places: I64, own: list[int]) -> tuple[I64, I64, int]:
    """Where ranges begin and end if some of them are behind all others; and how many bytes these have."""
    inner, outer = places.copy(), np.zeros_like(places)
    outer[own] = places[own]
    inner[own] = 0
    ends = np.cumsum(inner)
    inner_nbytes = int(ends[-1])
    ends[own] = inner_nbytes + np.cumsum(outer)[own]
    return ends - places, ends, int(outer.sum())


def _pieces(offsets: I64, nbytes: I64, targets: I64) -> tuple[I64 | None, I64, I64, I64]:
    """Drop empty ranges and cut long ones.

    Returns:
        For each piece its range (None where pieces and ranges are the same), offset, size, and place in the target.
    """
    if len(nbytes) == 0 or (int(nbytes.min()) > 0 and int(nbytes.max()) <= _PIECE_NBYTES):
        return None, offsets, nbytes, targets
    # Cuts are at multiples of the piece size in the file, so overlapping ranges are cut at the same places.
    first = offsets // _PIECE_NBYTES
    counts = np.where(nbytes > 0, (offsets + nbytes - 1) // _PIECE_NBYTES - first + 1, 0)
    chosen = np.repeat(np.arange(len(nbytes)), counts)
    position = np.arange(len(chosen)) - np.repeat(np.cumsum(counts) - counts, counts)
    cuts = (first[chosen] + position) * _PIECE_NBYTES
    starts = np.maximum(cuts, offsets[chosen])
    ends = np.minimum(cuts + _PIECE_NBYTES, (offsets + nbytes)[chosen])
    return chosen, starts, ends - starts, targets[chosen] + (starts - offsets[chosen])


def _wholes(batch: Batch, requests: NDArray[np.void], range_of_task: I64) -> dict[int, int]:
    """The long requests of objects that are a range each, neither more nor less: by number, which range that is."""
    assert batch.objects is not None
    first = requests["first_task"].astype(np.int64)
    i = range_of_task[first]
    are = batch.objects.mask[requests["file"]] & (requests["nbytes"] == batch.nbytes[i])
    last = first + requests["task_count"].astype(np.int64) - 1
    # A range may lie within another one, between two pieces of it: all tasks have to be of the same.
    runs = np.cumsum(np.diff(range_of_task, prepend=range_of_task[:1]) != 0)
    are &= (requests["nbytes"] >= _OWN_NBYTES) & (runs[first] == runs[last])
    return {request: int(i[request]) for request in np.flatnonzero(are).tolist()}


def range_errors(planned: BatchPlan, batch: Batch, failures: list[TaskFailure]) -> dict[int, Exception]:
    """The first error of each range that failed, by its index and in that order: those found before, and the core's."""
    errors = dict(batch.errors)
    for failure in failures:
        task = int(failure.task)
        i = int(planned.range_of_task[task])
        if i not in errors:
            errors[i] = _range_error(planned.plan, batch.ranges, i, failure)
    return dict(sorted(errors.items())) if len(errors) > 1 else errors


def _range_error(plan: Plan, ranges: Ranges, i: int, failure: TaskFailure) -> Exception:
    if failure.status == -lib.RINGIO_BAD_PLAN:
        return plan.error(failure)
    path, offset, length = ranges[i]
    if failure.status == -lib.RINGIO_EOF and offset >= 0 and length is not None:
        # The core speaks of the piece that it read; the user asked for the whole.
        return _core_error(path, offset, length, status=failure.status, got=failure.got, expected=offset + length)
    return _failure_error(failure, path, offset, length)


def may_be_of_others(planned: BatchPlan, failures: list[TaskFailure]) -> bool:
    """Whether a range failed that was read with bytes around it, whose fault that may be."""
    widened = planned.widened
    return widened is not None and any(widened[planned.range_of_task[int(failure.task)]] for failure in failures)


def first_error(errors: dict[int, Exception], count: int) -> Exception:
    """The error of the first range that failed, which says how many others did."""
    first = min(errors)
    error = errors[first]
    if len(errors) > 1:
        error.add_note(f"range {first}; and {len(errors) - 1} more of {count} ranges failed")
    else:
        error.add_note(f"range {first} of {count}")
    return error


def is_stale(failures: list[TaskFailure]) -> bool:
    """Whether a file changed while the batch was read, so that it is worth another look."""
    return any(failure.status == -lib.RINGIO_CHANGED for failure in failures)
