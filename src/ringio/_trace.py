"""``ringio.trace``: a file that ui.perfetto.dev shows, with what each thread did and when.

The threads of the core note what they do in logs of their own (``csrc/trace.c``), those of Python in a queue. A thread
empties all of them fifty times a second and writes them as lines of JSON: text of events of the core is made in C,
without the GIL.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import threading
import time
import warnings
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from . import _spans
from ._core import ffi, lib
from ._errors import RingioError

_PERIOD_S: Final = 0.02
_EVENTS_MAX: Final = 1 << 15  # of one thread at a time; its log holds as many
_TAKES_MAX: Final = 256  # one after the other: then what Python has noted is due
_EVENT: Final = np.dtype([("begin_ns", "u8"), ("end_ns", "u8"), ("nbytes", "u8"), ("kind", "u4"), ("count", "u4")])
# After these "nbytes" is what is in flight in a worker.
_COUNTED: Final = (lib.RINGIO_EVENT_SUBMIT, lib.RINGIO_EVENT_COMPLETE)
_FILES: Final = "files"
_OBJECTS: Final = "objects"


class _File:
    """Where the text goes: at once, so that a child after ``fork()`` inherits nothing that it might write.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = FileIO(path, "w")
        self._gzip = zlib.compressobj(3, zlib.DEFLATED, 31) if path.endswith(".gz") else None

    def write(self, text: Any) -> None:
        self._write(text if self._gzip is None else self._gzip.compress(text))

    def _write(self, data: Any) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[self._file.write(view) or 0 :]
            except OSError as error:
                error.filename = self._path
                raise

    def finish(self) -> None:
        try:
            if self._gzip is not None:
                self._write(self._gzip.flush())
        finally:
            self.close()

    def close(self) -> None:
        self._file.close()


class _InFlight:
    """How many bytes are in flight, of all workers or pools together: from what each of them says for itself."""

    def __init__(self) -> None:
        self.nbytes = {_FILES: 0, _OBJECTS: 0}
        self._last: dict[int, int] = {}
        self._times: list[NDArray[np.uint64]] = []
        self._steps: list[NDArray[np.int64]] = []
        self._kinds: list[NDArray[np.bool_]] = []

    def add(self, kind: str, owner: int, times_ns: Sequence[int] | Any, nbytes: Sequence[int] | Any) -> None:
        """One owner had so many bytes in flight from these times on, which ascend."""
        values = np.asarray(nbytes, np.int64)
        if not len(values):
            return
        self._times.append(np.asarray(times_ns, np.uint64))
        self._steps.append(np.diff(values, prepend=self._last.get(owner, 0)))
        self._kinds.append(np.full(len(values), kind == _OBJECTS))
        self._last[owner] = int(values[-1])

    def lines(self, process: int) -> Iterator[str]:
        """What has been added, in the order of time."""
        if not self._times:
            return
        times, steps = np.concatenate(self._times), np.concatenate(self._steps)
        are_objects = np.concatenate(self._kinds)
        self._times, self._steps, self._kinds = [], [], []
        order = np.argsort(times, kind="stable")
        order = order[steps[order] != 0]
        files = self.nbytes[_FILES] + np.cumsum(np.where(are_objects, 0, steps)[order])
        objects = self.nbytes[_OBJECTS] + np.cumsum(np.where(are_objects, steps, 0)[order])
        for time_ns, in_files, in_objects in zip(times[order].tolist(), files.tolist(), objects.tolist(), strict=True):
            self.nbytes = {_FILES: in_files, _OBJECTS: in_objects}
            yield self.line(process, time_ns)

    def line(self, process: int, time_ns: int) -> str:
        """The counter as it is now."""
        return json.dumps(
            {"name": "bytes in flight", "ph": "C", "pid": process, "ts": time_ns / 1000, "args": self.nbytes}
        )


class _Writer:
    """Writes one trace.

    Args:
        path: of the file.

    Attributes:
        process: that is traced.
    """

    def __init__(self, path: str) -> None:
        self.process = os.getpid()
        self.path = path
        self._file = _File(path)
        self._noted: deque[tuple[str, str, int, int, int, dict[str, object] | None]] = deque()
        self._noted_in_flight: deque[tuple[int, int, int]] = deque()
        self._in_flight = _InFlight()
        self._names: dict[int, str] = {}  # that Python gave to its threads
        self._named: set[int] = set()
        self._task_count = 0
        self._lost_count = 0
        self._error: Exception | None = None
        self._events = np.zeros(_EVENTS_MAX, _EVENT)
        self._text = ffi.new("char[]", _EVENTS_MAX * lib.RINGIO_EVENT_TEXT_NBYTES)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="ringio-trace", daemon=True)

    # ---------------------------------------------------------------------------------------- a _spans.Sink, any thread

    def span(self, name: str, begin_ns: int, end_ns: int, arguments: dict[str, object]) -> None:
        thread = threading.get_native_id()
        if thread not in self._names:
            self._names[thread] = threading.current_thread().name
        self._noted.append(("X", name, begin_ns, end_ns, thread, arguments))

    def task(self, name: str, begin_ns: int, end_ns: int, arguments: dict[str, object]) -> None:
        self._noted.append(("b", name, begin_ns, end_ns, threading.get_native_id(), arguments))

    def in_flight(self, owner: int, nbytes: int) -> None:
        self._noted_in_flight.append((owner, time.monotonic_ns(), nbytes))

    # ------------------------------------------------------------------------------------------------------ its life

    def start(self) -> None:
        try:
            self._write_lines([self._metadata("process_name", 0, sys.argv[0].rpartition("/")[2] or "python")], b"[\n")
            self._thread.start()
            lib.ringio_trace_start()
            _spans.send_to(self)
        except BaseException:
            self._turn_off()
            if not self._thread.is_alive():
                self._file.close()
            raise

    @property
    def is_stopping(self) -> bool:
        """Whether nothing more is noted."""
        return self._stopping.is_set()

    @property
    def has_ended(self) -> bool:
        """Whether the file has its end, or was given up."""
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Have the thread write what is left, and wait for that. Where Ctrl-C ends the waiting it goes on.

        Raises:
            OSError: the file could not be written.
        """
        self._turn_off()
        self.wait()
        if self._error is not None:
            raise self._error
        if self._lost_count:
            warnings.warn(f"{self.path}: {self._lost_count} events are missing", RuntimeWarning, stacklevel=4)

    def wait(self) -> None:
        """Wait for the thread to end."""
        self._thread.join()

    def _turn_off(self) -> None:
        _spans.send_to(None)
        lib.ringio_trace_stop()
        self._stopping.set()

    def disown(self) -> None:
        """In a child after fork(): the trace is the parent's."""
        self._file.close()

    # ------------------------------------------------------------------------------------------------- of its thread

    def _work(self) -> None:
        try:
            while not self._stopping.wait(_PERIOD_S):
                self._drain()
            self._finish()
        except Exception as error:
            self._error = error
            _spans.send_to(None)
            lib.ringio_trace_stop()
            self._noted.clear()
            self._file.close()
            self._drop_the_rest()

    def _finish(self) -> None:
        """Write what is left."""
        while self._drain():
            pass
        self._write_lines([self._metadata("thread_name", *each) for each in list(self._names.items())])
        self._file.write(f"{self._in_flight.line(self.process, time.monotonic_ns())}\n]\n".encode())
        self._file.finish()

    def _drop_the_rest(self) -> None:
        """The next trace must not find what could not be written."""
        thread = ffi.new("struct ringio_trace_thread *")
        pointer = ffi.from_buffer("struct ringio_event[]", self._events)
        while lib.ringio_trace_take(pointer, _EVENTS_MAX, thread):
            pass

    def _drain(self) -> bool:
        """Write what was noted; returns whether there was anything."""
        found = self._take_from_core()
        lines: list[str] = []
        for _ in range(len(self._noted)):
            lines += self._lines(*self._noted.popleft())
            found = True
        by_owner: dict[int, list[tuple[int, int]]] = {}
        for _ in range(len(self._noted_in_flight)):
            owner, time_ns, nbytes = self._noted_in_flight.popleft()
            by_owner.setdefault(owner, []).append((time_ns, nbytes))
        for owner, values in by_owner.items():
            self._in_flight.add(_OBJECTS, owner, *zip(*values, strict=True))
        lines += self._in_flight.lines(self.process)
        self._write_lines(lines)
        return found

    def _take_from_core(self) -> bool:
        thread = ffi.new("struct ringio_trace_thread *")
        pointer = ffi.from_buffer("struct ringio_event[]", self._events)
        for takes in range(_TAKES_MAX):
            count = lib.ringio_trace_take(pointer, _EVENTS_MAX, thread)
            if not count:
                return takes > 0
            # Of spans that begin together the outer one has to come first.
            events = self._events[:count]
            events[:] = events[np.lexsort((-events["end_ns"].astype(np.int64), events["begin_ns"]))]
            counted = np.isin(events["kind"], _COUNTED)
            self._in_flight.add(_FILES, thread.id, events["end_ns"][counted], events["nbytes"][counted])
            self._lost_count += thread.lost_count
            self._name(thread.id, ffi.string(thread.name).decode(errors="replace"))
            nbytes = lib.ringio_trace_format(pointer, count, self.process, thread.id, self._text, len(self._text))
            self._file.write(ffi.buffer(self._text, nbytes))
        return True

    def _lines(
        self, phase: str, name: str, begin_ns: int, end_ns: int, thread: int, arguments: dict[str, object] | None
    ) -> Iterator[str]:
        record: dict[str, object] = {"name": name, "ph": phase, "pid": self.process, "tid": thread}
        record["ts"] = begin_ns / 1000
        if arguments:
            record["args"] = {name: value for name, value in arguments.items() if value is not None}
        if phase == "X":
            record["dur"] = (end_ns - begin_ns) / 1000
            yield json.dumps(record, default=str)
            return
        self._task_count += 1
        record |= {"cat": "await", "id": self._task_count}
        yield json.dumps(record, default=str)
        record.pop("args", None)
        yield json.dumps(record | {"ph": "e", "ts": end_ns / 1000})

    def _name(self, thread: int, name: str) -> None:
        """Write how a thread of the core is called, when it is seen for the first time."""
        if thread not in self._named:
            self._named.add(thread)
            self._write_lines([self._metadata("thread_name", thread, name)])

    def _metadata(self, kind: str, thread: int, name: str) -> str:
        return json.dumps({"name": kind, "ph": "M", "pid": self.process, "tid": thread, "args": {"name": name}})

    def _write_lines(self, lines: Sequence[str], before: bytes = b"") -> None:
        if lines:
            self._file.write(before + "".join(f"{line},\n" for line in lines).encode())


class _State:
    def __init__(self) -> None:
        self.writer: _Writer | None = None
        self.lock = threading.Lock()


_state = _State()


@contextmanager
def trace(path: str | os.PathLike[str]) -> Iterator[None]:
    """Write down what each thread does and when, for https://ui.perfetto.dev to show; see docs/tracing.md.

    All readers of this process are traced, those made before and those made inside. One trace is written at a time; a
    child after ``fork()`` is not traced, and writes nothing.

    Args:
        path: of the file, which is overwritten: Chrome's trace format, an array of JSON; compressed if the name ends in
            ".gz".

    Raises:
        OSError: the file cannot be written: at the beginning, or at the end when the disk is full.
        RingioError: another trace is being written.

    >>> import json, pathlib, tempfile
    >>> import ringio
    >>> path = pathlib.Path(tempfile.mkdtemp(), "trace.json")
    >>> with ringio.trace(path):
    ...     _ = ringio.read_ranges([(__file__, 0, 100)])
    >>> sorted({event["name"] for event in json.loads(path.read_text())} & {"batch", "execute", "inline"})
    ['batch', 'execute', 'inline']
    """
    with _state.lock:
        if _state.writer is not None and not _state.writer.is_stopping:
            raise RingioError(f"a trace is being written already, to {_state.writer.path}; one can be at a time")
        if _state.writer is not None:  # another thread waits for it, or nobody does since Ctrl-C
            _state.writer.wait()
        writer = _Writer(os.fspath(path))
        writer.start()
        _state.writer = writer
    try:
        yield
    finally:
        if os.getpid() == writer.process:
            try:
                writer.stop()
            finally:
                with _state.lock:
                    if _state.writer is writer and writer.has_ended:
                        _state.writer = None


def _at_exit() -> None:
    """Where Ctrl-C has ended the waiting for a trace, and then the process, the file gets its end all the same."""
    if _state.writer is not None:
        _state.writer.stop()


def _after_fork_in_child() -> None:
    _spans.send_to(None)
    _state.lock = threading.Lock()
    if _state.writer is not None:
        _state.writer.disown()
        _state.writer = None


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork_in_child)
