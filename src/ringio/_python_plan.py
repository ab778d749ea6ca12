"""Plans whose chains have Python codecs.

The encoded bytes are fetched as any others, in batches of bounded size; a few threads decode one batch while the next
one is fetched.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from . import _batch
from ._core import ffi, lib
from ._errors import StoreError
from ._failures import TaskFailure
from ._memory import empty
from ._object_place import tasks_of
from ._options import Options
from ._plan import Plan
from ._progress import Progress, Watcher, check_progress
from ._python_place import Decoder
from ._ranges import Ranges
from ._reading import LIGHT_TASK_COUNT, Begun, Finder, Steps, Work, check_on_error, outcome
from ._records import FILE, MAX_U64, NO_FILE

_BATCH_NBYTES: Final = 32 << 20  # encoded bytes; two batches are in memory at one time
_MEMORY_SHARE: Final = 8  # of the reader's limit, of each batch
_NO_STEP: Final = 0xFFFFFFFF


def execute(
    options: Options,
    plan: Plan,
    out: object,
    *,
    workers: int,
    memory_limit_bytes: int,
    on_error: str = "raise",
    progress: Progress = None,
    objects: Finder | None = None,
) -> Steps[Any]:
    """The steps of ``Reader.execute`` for a plan with Python codecs; see there.

    Args:
        options: of the reader.
        plan: what to do.
        out: the target or targets.
        workers: most threads that decode.
        memory_limit_bytes: of the reader.
        on_error: see there.
        progress: see there.
        objects: finds the objects of the plan.
    """
    check_on_error(on_error)
    wanted = check_progress(progress)
    bound = yield Work(lambda: plan.bind(out), lambda: plan.task_count <= LIGHT_TASK_COUNT)
    decoder = Decoder(bound, memory_limit_bytes)
    found = None if objects is None else objects.in_plan(plan)
    chosen = np.arange(len(plan.requests))
    if found is not None:
        files = plan.requests["file"]
        chosen = np.flatnonzero(~found.mask.take(files, mode="clip") | (files >= len(found.mask)))
    watcher = Watcher(wanted, plan.request_nbytes()) if wanted is not False and found is None else None
    local = _LocalRequests(options, plan, decoder, chosen, min(workers, len(chosen)), memory_limit_bytes)
    others = Begun()
    try:
        begun = None
        if found is not None:
            _, begun = yield Work(lambda: others.begin(found, bound, progress), lambda: found.is_light)
        failures = yield from local.steps(watcher)
        if begun is not None:
            failures = failures + (yield begun)
    finally:
        local.stop()
        others.cancel()
    if watcher is not None:
        watcher.finish()
    return outcome(plan, out, sorted(failures, key=lambda failure: failure.task), on_error)


class _LocalRequests:
    """The requests of a plan that files have.

    Args:
        options: of the reader.
        plan: the plan.
        decoder: of the plan and its targets.
        chosen: int64[c], the requests.
        thread_count: that decode them.
        limit_nbytes: of memory, for each request.
    """

    def __init__(
        self,
        options: Options,
        plan: Plan,
        decoder: Decoder,
        chosen: NDArray[np.int64],
        thread_count: int,
        limit_nbytes: int,
    ) -> None:
        self._limit_nbytes = limit_nbytes
        self._options = options
        self._plan = plan
        self._decoder = decoder
        requests = plan.requests
        are_read = requests["file"][chosen] != NO_FILE
        self._missing = chosen[~are_read].tolist()
        numbers = chosen[are_read]
        in_memory = plan.files["data"][requests["file"][numbers]] != 0
        self._in_memory = numbers[in_memory].tolist()
        self._numbers = numbers[~in_memory]
        self._thread_count = thread_count
        self._threads = ThreadPoolExecutor(thread_count) if thread_count > 1 else None
        self._decoding: deque[_Decoding] = deque()

    def steps(self, watcher: Watcher | None) -> Steps[list[TaskFailure]]:
        """Read and decode them all; gives what failed, in any order."""
        batch_nbytes = min(_BATCH_NBYTES, self._limit_nbytes // _MEMORY_SHARE)
        failures = [self._decoder.fill(i, task) for i in self._missing for task in tasks_of(self._plan.requests[i])]
        if self._in_memory:
            failures += yield from self._decode(deque((number, self._bytes_of(number)) for number in self._in_memory))
        batch: _batch.Batch = yield Work(self._resolve, lambda: False)
        giants = batch.nbytes > self._limit_nbytes
        giants[list(batch.errors)] = False  # these are not there
        for i in np.flatnonzero(giants).tolist():
            failures += self._refuse(int(self._numbers[i]), int(batch.nbytes[i]))
        batch = batch._replace(nbytes=np.where(giants, 0, batch.nbytes))
        first = 0
        for end in _cuts(batch.nbytes, batch_nbytes):
            part = _batch.part(batch, first, end)
            planned = _batch.make_plan(part, self._options.costs(part.ranges.paths, None), keep_places=False)
            data = empty(planned.target_nbytes)
            failed: list[TaskFailure] = []
            if planned.plan.task_count:
                failed = yield planned.plan.bind(data)._replace(is_part=True)
            errors = _batch.range_errors(planned, part, failed)
            rows = [(int(self._numbers[first + i]), i) for i in range(end - first)]
            jobs: deque[_Job] = deque()
            for number, i in rows:
                if (error := errors.get(i)) is not None:
                    failures += self._fail(number, error)
                elif not giants[first + i]:
                    jobs.append((number, data.data[int(planned.starts[i]) : int(planned.ends[i])]))
            failures += yield from self._decode(jobs)
            first = end
            if watcher is not None:
                watcher(len(self._missing) + first)
        for decoding in self._decoding:
            failures += yield decoding.future
        return [failure for failure in failures if failure is not None]

    def _bytes_of(self, number: int) -> memoryview:
        """What a request of a file in memory asks for, as far as it is there."""
        request = self._plan.requests[number]
        file = self._plan.files[request["file"]]
        start, nbytes, size = int(request["offset"]), int(request["nbytes"]), int(file["nbytes"])
        if not size:
            return memoryview(b"")
        data = memoryview(ffi.buffer(ffi.cast("uint8_t *", int(file["data"])), size)).toreadonly()
        return data[start:] if nbytes == MAX_U64 else data[start : start + nbytes]

    def _decode(self, jobs: deque[_Job]) -> Steps[list[TaskFailure]]:
        """Begin to decode a batch, and wait for the one before it; gives what failed there."""
        decoding = _Decoding(self._decoder, self._plan, jobs)
        self._decoding.append(decoding)  # first: stop() must know of it even where a thread cannot be started
        if self._threads is None:
            failures: list[TaskFailure] = yield Work(decoding.run_all, lambda: False)
            self._decoding.popleft()
            return failures
        decoding.start(self._threads, self._thread_count)
        if len(self._decoding) < 2:
            return []
        failures = yield self._decoding[0].future
        self._decoding.popleft()
        return failures

    def stop(self) -> None:
        """Decode no more, and write nothing more to the target."""
        for decoding in self._decoding:
            decoding.stop()
        self._decoder.stop()
        if self._threads is not None:
            self._threads.shutdown(wait=False)

    def _resolve(self) -> _batch.Batch:
        """The requests as ranges whose sizes are known, with the files that they must be of."""
        requests = self._plan.requests[self._numbers]
        files = self._plan.files
        offsets, nbytes = requests["offset"].astype(np.int64), requests["nbytes"].view(np.int64).copy()
        known = files[requests["file"]]
        to_end = (requests["nbytes"] == MAX_U64) & (known["inode"] != 0)
        nbytes[to_end] = known["nbytes"][to_end].astype(np.int64) - offsets[to_end]
        nbytes[nbytes < -1] = 0
        ranges = Ranges(self._plan.paths(), requests["file"], offsets, nbytes)
        batch = _batch.resolve(ranges, allow_short=False)
        due = np.zeros(len(files), FILE) if batch.files is None else batch.files
        given = files["inode"] != 0
        for field in ("nbytes", "device", "inode", "mtime_ns"):
            due[field][given] = files[field][given]
        return batch._replace(files=due)

    def _refuse(self, request: int, nbytes: int) -> list[TaskFailure | None]:
        """What becomes of the tasks of a request that has more bytes than there may be memory for."""
        failed = TaskFailure(0, request, -lib.RINGIO_NO_MEMORY, _NO_STEP, nbytes, self._limit_nbytes)
        return [failed._replace(task=task) for task in tasks_of(self._plan.requests[request])]

    def _fail(self, request: int, error: Exception) -> list[TaskFailure | None]:
        """What becomes of the tasks of a request whose bytes cannot be had."""
        tasks = tasks_of(self._plan.requests[request])
        fills = self._plan.requests["flags"][request] & lib.RINGIO_REQUEST_MISSING_FILLS
        if fills and isinstance(error, FileNotFoundError) and not isinstance(error, StoreError):
            return [self._decoder.fill(request, task) for task in tasks]
        path, offset, _, chunk = self._plan.origin(tasks.start, request)
        error.add_note(f"while reading {chunk or 'a chunk'} in {path} from byte {offset}")
        return [TaskFailure(task, request, -1, _NO_STEP, 0, 0, "", error) for task in tasks]


def _cuts(nbytes: NDArray[np.int64], batch_nbytes: int) -> list[int]:
    """Where batches of no more than so many bytes end, of one request at least."""
    ends = []
    total = 0
    for i, size in enumerate(nbytes.tolist()):
        if total + size > batch_nbytes and total:
            ends.append(i)
            total = 0
        total += size
    return [*ends, len(nbytes)] if len(nbytes) else []


_Job = tuple[int, memoryview]  # a request and its bytes


class _Decoding:
    """The requests of one batch, decoded by some threads.

    Attributes:
        future: done when they all are; its result is what failed.
    """

    def __init__(self, decoder: Decoder, plan: Plan, jobs: deque[_Job]) -> None:
        self.future: Future[list[TaskFailure]] = Future()
        self.future.set_running_or_notify_cancel()  # so that who cancels it does not take it from the threads
        self._decoder = decoder
        self._plan = plan
        self._jobs = jobs
        self._failures: list[TaskFailure] = []
        self._lock = threading.Lock()
        self._thread_count = 0
        self._error: BaseException | None = None

    def start(self, threads: ThreadPoolExecutor, thread_count: int) -> None:
        """Begin, with so many threads at most."""
        self._thread_count = max(1, min(thread_count, len(self._jobs)))
        for _ in range(self._thread_count):
            threads.submit(self._run)

    def stop(self) -> None:
        """Decode no more requests than those that are being decoded."""
        self._jobs.clear()

    def run_all(self) -> list[TaskFailure]:
        """Decode them all in this thread."""
        for request, buffer in self._next():
            self._decode(request, buffer)
        return self._failures

    def _run(self) -> None:
        try:
            for request, buffer in self._next():
                self._decode(request, buffer)
        except BaseException as error:  # KeyboardInterrupt of a codec, say: for who waits
            self._error = error
            self._jobs.clear()
        with self._lock:
            self._thread_count -= 1
            is_last = self._thread_count == 0
        if is_last and self._error is not None:
            self.future.set_exception(self._error)
        elif is_last:
            self.future.set_result(self._failures)

    def _next(self) -> Iterator[_Job]:
        while True:
            try:
                yield self._jobs.popleft()
            except IndexError:
                return

    def _decode(self, request: int, buffer: memoryview) -> None:
        for task in tasks_of(self._plan.requests[request]):
            failure = self._decoder.run(request, task, buffer)
            if failure is not None:
                self._failures.append(failure)
