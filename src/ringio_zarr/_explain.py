"""What a read would do, found out without doing it: ``array.explain()``."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from math import prod
from operator import add
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ringio import Plan, Reader, planning
from ringio.planning import NamedTuple

from ._codecs import Codec
from ._metadata import ArrayMetadata
from ._planned import steps
from ._planner import Boxes, PlacedPoints, Planner
from ._steps import Execute, Steps, drive
from ._store_base import is_absent

_ENOENT: Final = -errno.ENOENT


class Explanation(NamedTuple):
    """What a read would do. What has a name in ``ringio.Statistics`` has the same meaning and the same value here.

    Attributes:
        location: of the array.
        selections: how many boxes there are: 1, or one for each crop, run of indices, or point.
        shape: of the result.
        nbytes: of the result.
        chunks: chunks of the outer grid that are touched: shards, where there are shards.
        inner_chunks: chunks inside the shards that are touched; None where there are no shards.
        missing: how many of the innermost chunks are not stored, and are fill value.
        bad: how many of them cannot be found, because their shard or its index cannot be read.
        errors: why.
        bytes_asked: encoded bytes of all chunks that are stored.
        bytes_read: bytes that the requests fetch, gaps between chunks included.
        bytes_decoded: what the chunks decode to.
        requests: reads, once near ones are merged.
        coalesced_requests: how many of them serve more than one chunk.
        files: how many files, or objects, are there to be read.
        shard_indexes_read: how many indexes of shards were not known, and have been read to find the chunks. Now they
            are known, as far as there is room in the cache.
        decoder: the codecs of a chunk, in the order in which they are undone.
        backend: that reads.
        backend_reason: why that one.
        workers: threads that read and decode.
        plans: what ``Reader.execute`` would do: mostly one; none where there is nothing to be done, or where so much
            has to be decoded first that it takes several batches; one for each shape of chunks where they have several.
    """

    location: str
    selections: int
    shape: tuple[int, ...]
    nbytes: int
    chunks: int
    inner_chunks: int | None
    missing: int
    bad: int
    errors: tuple[Exception, ...]
    bytes_asked: int
    bytes_read: int
    bytes_decoded: int
    requests: int
    coalesced_requests: int
    files: int
    shard_indexes_read: int
    decoder: tuple[str, ...]
    backend: str
    backend_reason: str
    workers: int
    plans: tuple[Plan, ...]

    def paths(self) -> list[str]:
        """The files that are asked for: where each chunk is a file, those of missing chunks too."""
        found = []
        for plan in self.plans:
            paths = plan.paths()
            files = np.unique(plan.requests["file"]).tolist()
            found += [paths[file] for file in files if file < len(paths)]
        return found

    def __repr__(self) -> str:
        boxes = "" if self.selections == 1 else f", {self.selections:,} boxes"
        chunks = f"{self.chunks:,}"
        if self.inner_chunks is not None:
            chunks = f"{self.inner_chunks:,} inner chunks in {_count(self.chunks, 'shard')}"
        rows = [
            ("Array", self.location),
            ("Result", f"{self.shape}, {_size(self.nbytes)}{boxes}"),
            ("Chunks", f"{chunks}, {self.missing:,} missing" + (f", {self.bad:,} damaged" if self.bad else "")),
            ("Bytes asked", _size(self.bytes_asked)),
            ("Bytes to read", f"{_size(self.bytes_read)}, in {_count(self.requests, 'request')}"),
            ("Bytes decoded", _size(self.bytes_decoded)),
            ("Files", f"{self.files:,}"),
        ]
        if self.inner_chunks is not None:
            rows.append(("Shard indexes", _indexes(self.shard_indexes_read)))
        rows += [
            ("Decoder", " → ".join(self.decoder)),
            ("Backend", f"{self.backend}, {_count(self.workers, 'worker')}: {self.backend_reason}"),
        ]
        rows += [("Error", f"{type(error).__name__}: {error}") for error in self.errors]
        return "\n".join(f"{name:13} : {value}" for name, value in rows)


def explain(
    boxes: Boxes | PlacedPoints | None,
    shape: Sequence[int],
    *,
    metadata: ArrayMetadata,
    location: str,
    planner: Planner,
    reader: Reader,
) -> Explanation:
    """What reading boxes would do.

    Args:
        boxes: inside the array; None: there is nothing to read.
        shape: of the result.
        metadata: of the array.
        location: of the array.
        planner: of the array.
        reader: that would read.
    """
    target = stand_in(shape, metadata.dtype)
    chunks = innermost = index_count = 0
    facts, plans, errors = PlanFacts(), [], []
    for part, part_boxes in () if boxes is None or not target.size else planner.parts(boxes):
        ids = part.chunk_ids(part_boxes)
        innermost += len(ids)
        chunks += len(planning.segments(ids, part.ids_per_file)[0])
        rehearsal = Rehearsal(reader, partial(_facts_of, part, reader))
        try:
            reading = steps(part, part_boxes, target, is_light=True, anew=True)
            drive(reading, rehearsal)  # type: ignore[arg-type]  # it has what is used of a reader
        except Exception as error:
            if rehearsal.plan_count == 0:
                raise
            errors.append(error)
        index_count += rehearsal.index_count
        part_facts = rehearsal.facts
        if rehearsal.plans and not errors:  # where everything is is known now: the plan may do with less
            plan = _first_plan(steps(part, part_boxes, target, is_light=True), reader)
            rehearsal.plans = [plan]
            part_facts = _facts_of(part, reader, plan)
        plans += rehearsal.plans
        facts = facts.add(part_facts)
    return Explanation(
        location=location,
        selections=_count_boxes(boxes),
        shape=tuple(shape),
        nbytes=prod(shape) * metadata.dtype.itemsize,
        chunks=chunks,
        inner_chunks=innermost if planner.ids_per_file > 1 or metadata.sharding is not None else None,
        missing=facts.missing,
        bad=innermost - facts.tasks,
        errors=tuple(errors),
        bytes_asked=facts.bytes_asked,
        bytes_read=facts.bytes_read,
        bytes_decoded=facts.bytes_decoded,
        requests=facts.requests,
        coalesced_requests=facts.coalesced_requests,
        files=facts.files,
        shard_indexes_read=index_count,
        decoder=tuple(_decoding(metadata.codecs)),
        backend=reader.backend,
        backend_reason=reader.backend_reason,
        workers=reader.workers,
        plans=tuple(plans),
    )


class Rehearsal:
    """Stands in for a reader while a batch is planned: shard indexes are read, chunks are not.

    Args:
        reader: reads the indexes.
        facts_of: a plan.

    Attributes:
        plan_count: how many plans would read the chunks; 0: there are none.
        plans: they; none where they are several, each of which has what it reads in memory.
        facts: of all of them.
        index_count: shard indexes that were not known and have been read.
    """

    def __init__(self, reader: Reader, facts_of: Callable[[Plan], PlanFacts]) -> None:
        self._reader = reader
        self._facts_of = facts_of
        self.plan_count = 0
        self.plans: list[Plan] = []
        self.facts = PlanFacts()
        self.index_count = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def execute(self, plan: Plan, out: object, *, on_error: str = "raise", **options: Any) -> Any:
        """Read shard indexes, whose errors are asked for one by one; look at the plan of everything else."""
        if on_error == "return":
            self.index_count += plan.task_count
            return self._reader.execute(plan, out, on_error="return", **options)
        self.plan_count += 1
        self.plans = [plan] if self.plan_count == 1 else []
        self.facts = self.facts.add(self._facts_of(plan))
        return out


class PlanFacts(NamedTuple):
    """What a plan says about the work in it; see :class:`Explanation`."""

    tasks: int = 0
    missing: int = 0
    bytes_asked: int = 0
    bytes_read: int = 0
    bytes_decoded: int = 0
    requests: int = 0
    coalesced_requests: int = 0
    files: int = 0

    def add(self, other: PlanFacts) -> PlanFacts:
        """Both together."""
        return PlanFacts(*map(add, self, other))


def _facts_of(planner: Planner, reader: Reader, plan: Plan) -> PlanFacts:
    facts = plan_facts(plan, planner.chain.decoded_nbytes, reader)
    if planner.chain.step_names or planner.chain.stages:
        return facts
    return facts._replace(bytes_decoded=facts.bytes_asked)  # raw chunks need not be read whole


def plan_facts(plan: Plan, decoded_nbytes: int, reader: Reader) -> PlanFacts:
    """Look at a plan.

    Files are looked up where nobody has yet: they may be missing, and of those that are read to their end nobody knows
    the length.
    """
    requests, tasks = plan.requests, plan.tasks
    real = requests["file"] != planning.NO_FILE
    nbytes = requests["nbytes"].copy()
    to_end = real & (nbytes == planning.TO_END)
    unknown = np.flatnonzero(to_end | _whatever_is_there(plan, real))
    gone = np.zeros(len(requests), np.bool_)
    if len(unknown):
        paths = plan.paths()
        sizes, missing = _sizes([paths[file] for file in requests["file"][unknown].tolist()], plan, reader)
        left = np.maximum(sizes - requests["offset"][unknown].astype(np.int64), 0)
        nbytes[unknown] = np.where(to_end[unknown], left, nbytes[unknown])
        gone[unknown] = missing
    read = real & ~gone
    task_requests = np.repeat(np.arange(len(requests)), requests["task_count"].astype(np.int64))
    stored = read[task_requests]
    task_nbytes = tasks["source_nbytes"]
    asked = np.where(task_nbytes == planning.TO_END, nbytes[task_requests], task_nbytes)
    return PlanFacts(
        tasks=len(tasks),
        missing=int((~stored).sum()),
        bytes_asked=_sum(asked[stored]),
        bytes_read=_sum(nbytes[read]),
        bytes_decoded=int(stored.sum()) * decoded_nbytes,
        requests=int(read.sum()),
        coalesced_requests=int((read & (requests["task_count"] > 1)).sum()),
        files=len(np.unique(requests["file"][read])),
    )


def _whatever_is_there(plan: Plan, real: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The requests for files of which it is not said what they are."""
    found = np.zeros(len(real), np.bool_)
    if plan.objects is None:
        files = plan.files[plan.requests["file"][real]]
        found[real] = (files["inode"] == 0) & (files["data"] == 0)
    return found


def _sizes(paths: list[str], plan: Plan, reader: Reader) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The sizes of files, or of objects, and which of them are not there."""
    if plan.objects is None:
        identities = planning.stat(paths)
        return identities["nbytes"].astype(np.int64), identities["status"] == _ENOENT
    states = reader.look_up(paths, store=plan.objects.store)
    sizes = [0 if isinstance(state, Exception) else state.nbytes for state in states]
    return np.array(sizes, np.int64), np.array([is_absent(state) for state in states])


def stand_in(shape: Sequence[int], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """An array of this shape that takes no memory, in the place of a target that will not be written to."""
    return np.broadcast_to(np.zeros((), dtype), tuple(shape))


def _first_plan(reading: Steps[None], reader: Reader) -> Plan:
    """The plan that comes first, which nobody else will use: what was begun is not ended."""
    done: Any = None
    while True:
        step = reading.send(done)
        if isinstance(step, Execute):
            reading.close()
            return step.plan
        done = step.call(reader)


def _decoding(codecs: Iterable[Codec]) -> Iterator[str]:
    """The names of codecs in the order in which they are undone, those around shards first."""
    for codec in reversed(tuple(codecs)):
        if codec["name"] == "sharding_indexed":
            yield from _decoding(codec["configuration"]["codecs"])
        else:
            yield codec["name"]


def _count_boxes(boxes: Boxes | PlacedPoints | None) -> int:
    if isinstance(boxes, Boxes):
        return len(boxes.starts)
    return 0 if boxes is None else len(boxes.coordinates[0])


def _sum(nbytes: npt.NDArray[np.integer[Any]]) -> int:
    return int(nbytes.sum(dtype=np.uint64))


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def _indexes(read_count: int) -> str:
    return "cached" if read_count == 0 else f"{read_count:,} not cached, read for this explanation"


def _size(nbytes: int) -> str:
    """Bytes for people.

    >>> _size(999), _size(10240)
    ('999 bytes', '10.0 KiB (10,240 bytes)')
    """
    if nbytes < 1024:
        return f"{nbytes:,} byte" + ("" if nbytes == 1 else "s")
    size, unit = nbytes / 1024, "KiB"
    for larger in ("MiB", "GiB", "TiB", "PiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.1f} {unit} ({nbytes:,} bytes)"
