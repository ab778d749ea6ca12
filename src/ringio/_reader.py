"""The reader: what users hold, and the shared one that the module's functions use."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from . import _execute, _reading
from ._async import AsyncReads
from ._buffers import Buffers
from ._core import ffi, lib
from ._errors import BackendError, RingioError
from ._failures import TaskFailure
from ._handle import Handle
from ._object_finder import LazyObjects
from ._options import OBJECT_STORE, Direct, OnError, Options, backend_name
from ._plan import BoundPlan, Plan
from ._progress import Progress, Watcher, check_progress
from ._ranges import Ranges, RangeTuple
from ._single import ChunkRead
from ._states import ObjectState
from ._streaming import StreamReads
from ._targets import writable_span

if TYPE_CHECKING:
    from ._statistics import Statistics

_NULL: Final = ffi.NULL
_IDENTITY_NBYTES: Final = ffi.sizeof("struct ringio_identity")
_chunk_read: Final = lib.ringio_chunk_read
_RINGLESS: Final = "use pread: rings for them were refused later (RLIMIT_NOFILE, RLIMIT_MEMLOCK?) or have broken"
_ONE_OBJECT: Final = np.ones(1, bool)


class Reader(AsyncReads, StreamReads):
    """Reads byte ranges in batches, and executes plans, on all cores.

    A reader keeps its worker threads, rings, buffers and open files from one batch to the next, so make one and keep
    it; most programs need none but the shared one behind the functions of this module. Its threads start with the first
    batch.

    One reader may be used by many Python threads at once. After ``fork()`` a child may go on using it: it gets threads
    and rings of its own at first use. It pickles as its configuration.

    Args:
        backend: "auto", "io_uring", "threads", "object_store" (files are read like objects, through obstore), or
            "memory" (whole files are read into memory and kept: for tests). "auto" takes what the environment variable
            RINGIO_BACKEND says, or else io_uring where the kernel lets it, or else threads; :attr:`backend_reason` says
            why.
        workers: threads that read and decode; None: one for each core that this process may use (affinity, cgroup
            quota).
        queue_depth: most requests in flight in one worker; None: 128.
        direct: True: read past the page cache (O_DIRECT), which is faster and costs a fraction of the CPU time where
            data is cold, but leaves nothing in the cache: a second epoch over data that fits into memory comes from the
            disk again. "auto": requests of 32 KiB or more that the cache has next to nothing of (Linux 6.5). Files that
            cannot be read so are read through the cache.
        max_gap_bytes: two ranges no further apart than this are read by one request; None: 4096, with direct=True
            32768, of objects 65536 (HTTP) or 131072 (clouds).
        max_request_bytes: requests grow no further than this by merging; None: 262144, with direct=True 524288, of
            objects 4194304.
        memory_limit_bytes: most bytes of buffers, all workers together; the results are not counted. None: a quarter of
            the memory that this process may use.
        open_files: most files kept open; None: 512, or a quarter of RLIMIT_NOFILE. With ``direct`` one may count twice.
        store_options: of the stores that URLs are in: ``region``, ``endpoint``, ``anonymous``, ``timeout_s``, ...; see
            docs/cloud.md.

    Attributes:
        backend: "io_uring", "threads", "object_store" or "memory".
        workers: how many worker threads it uses.
        memory_limit_bytes: most bytes of buffers.

    Raises:
        BackendError: a backend asked for by name cannot be had here.
        TypeError, ValueError: an option that makes no sense.
    """

    def __init__(
        self,
        backend: str = "auto",
        *,
        workers: int | None = None,
        queue_depth: int | None = None,
        direct: Direct = False,
        max_gap_bytes: int | None = None,
        max_request_bytes: int | None = None,
        memory_limit_bytes: int | None = None,
        open_files: int | None = None,
        store_options: Mapping[str, object] | None = None,
    ) -> None:
        self._start(
            Options(
                backend,
                workers,
                queue_depth,
                max_gap_bytes,
                max_request_bytes,
                memory_limit_bytes,
                open_files,
                direct,
                store_options=store_options,
            )
        )

    @classmethod
    def from_options(cls, options: Options) -> Self:
        """A reader with options that are checked already: what unpickling and ``ringio.testing`` call."""
        reader = cls.__new__(cls)
        reader._start(options)
        return reader

    def _start(self, options: Options) -> None:
        options.check()
        struct = options.struct()
        handle = Handle(struct)
        user = object()
        try:
            pointer = handle.use(user)
            kind = lib.ringio_reader_backend(pointer)
            self._reason: str = ffi.string(lib.ringio_reader_reason(pointer)).decode(errors="replace")
        finally:
            handle.users.discard(user)
        if kind == 0:
            handle.close()
            raise BackendError(self._reason)
        reads_files = options.backend_name() == OBJECT_STORE
        self.backend = OBJECT_STORE if reads_files else backend_name(kind)
        if reads_files:
            self._reason = "asked for by name: files are read through obstore's LocalStore"
            if options.direct:  # the variable says so: with the argument it is an error
                self._reason += f", which has no direct reads: direct={options.direct!r} is of no effect"
        self.workers = int(struct.worker_count)
        self.memory_limit_bytes = int(struct.memory_limit_bytes)
        self._options = options
        self._handle = handle
        self._objects = LazyObjects(handle, options.store_options, self.memory_limit_bytes, reads_files=reads_files)
        # The C function, or one that leaves everything to plans.
        self._chunk_read: Callable[..., int] = _refuse_chunk if reads_files else _chunk_read
        # Not at exit: _handle closes all readers then, and knows that daemon threads may still be in one.
        weakref.finalize(self, _close_unused, handle, self._objects).atexit = False

    @property
    def backend_reason(self) -> str:
        """Why that backend, in words; and how many workers have to do without a ring, if some must."""
        user = object()
        try:
            count = lib.ringio_reader_ringless(self._handle.use(user))
        except RingioError:  # it is closed
            count = 0
        finally:
            self._handle.users.discard(user)
        return self._reason + (f"; {count} of {self.workers} workers {_RINGLESS}" if count else "")

    @property
    def max_gap_bytes(self) -> int:
        """Two ranges no further apart than this are read by one request."""
        return self._options.gap_bytes

    @property
    def max_request_bytes(self) -> int:
        """Requests grow no further than this by merging."""
        return self._options.request_bytes

    @property
    def direct(self) -> Direct:
        """Whether files are read past the page cache: False, True, or "auto"."""
        return False if self.backend == OBJECT_STORE else self._options.direct

    @property
    def closed(self) -> bool:
        """Whether the reader was closed."""
        return self._handle.closed

    def read_ranges(
        self,
        ranges: Ranges | Iterable[RangeTuple],
        *,
        out: object = None,
        on_error: OnError = "raise",
        allow_short: bool = False,
        progress: Progress = None,
        store: object = None,
    ) -> Buffers:
        """Read byte ranges of files and objects, in one batch.

        Args:
            ranges: tuples (path, offset, length), or :class:`Ranges`. Length None reads to the end of the file, a
                negative offset counts back from it, length 0 gives an empty buffer and costs no I/O. Ranges may repeat,
                overlap, and come in any order.
            out: where the bytes go, back to back, in the order of the ranges: any writable contiguous buffer of exactly
                their size (numpy array, bytearray, shared memory, torch CPU tensor). None: new memory.
            on_error: "raise" the error of the first range that failed, or "return" each in the place of its buffer.
            allow_short: give what is there of a range that reaches outside its file, instead of an error.
            progress: True for a progress bar, or a function that is called with (bytes done, bytes in all).
            store: where the objects are: an obstore or obspec store, in which the paths are keys; a mapping from
                beginnings of URLs to stores; or anything with ``resolve(url)``, which gives (store, key). None: the
                URLs say it.

        Returns:
            The buffers, in the order asked.

        Raises:
            RangeError: a range that is not wholly inside its file; the message has the file's size.
            FileNotFoundError, PermissionError, IsADirectoryError, OSError: as the system says, with ``filename``.
            FileChangedError: a file was written to or replaced while it was read, twice.
            StoreError: a store of objects failed.
            BackendError: a URL whose scheme is not supported.
            TypeError, ValueError: arguments that make no sense; ``out`` of the wrong size.
        """
        steps = _reading.read(
            self._options,
            ranges,
            out=out,
            on_error=on_error,
            allow_short=allow_short,
            progress=progress,
            objects=self._objects.finder(store),
        )
        return _reading.drive(steps, lambda bound: self._run(bound, progress))

    def execute(
        self,
        plan: Plan,
        out: object | Sequence[object],
        *,
        on_error: OnError = "raise",
        progress: Progress = None,
        store: object = None,
    ) -> Any:
        """Fetch, decode and place everything in a plan.

        Args:
            plan: what to do.
            out: the target: an array of any strides, or another writable buffer; a list or tuple of them where the plan
                has several.
            on_error: "raise" the error of the first task that failed, or "return" them all. Other tasks are done all
                the same; the places of failed ones are left as they were, or hold part of their bytes.
            progress: True for a progress bar, or a function that is called with (bytes done, bytes in all).
            store: where the objects are, as :meth:`read_ranges` takes it.

        Returns:
            ``out``; with ``on_error="return"`` a list of (task index, exception) in ascending order.

        Raises:
            DecodeError: encoded bytes that are damaged or are not what the plan says.
            PlanError: a plan that contradicts itself or does not fit ``out``.
            FileChangedError: a file is not the one that the plan was made for.
            Others as :meth:`read_ranges`.
        """
        steps = self._execute_steps(plan, out, on_error, progress, store)
        return _reading.drive(steps, lambda bound: self._run(bound, progress))

    def execute_chunk(
        self,
        read: ChunkRead,
        path: bytes,
        identity: bytes | None,
        offset: int,
        nbytes: int,
        target: NDArray[Any],
        here: bool = False,
    ) -> bool | None:
        """Fetch, decode and place one box of one chunk, with the least work around it.

        What is in the page cache is read by the calling thread.

        Args:
            read: knows the chunk's codecs, and the box: its ``set_walk`` and ``find`` were called.
            path: of the file.
            identity: what the file must be, as the bytes of a ``planning.IDENTITY``; None: whatever is there.
            offset: where in the file the encoded chunk starts; ``planning.MISSING``: there is none, and the box is full
                of the fill value.
            nbytes: of the encoded chunk; ``planning.TO_END``: what the file has.
            target: writable, without Python objects, with any strides.
            here: do nothing where that takes waiting.

        Returns:
            Whether all went well; None where nothing was done because of ``here``.

        Raises:
            RingioError, OSError, MemoryError: it could not be started. ``read`` must not be used again after this or
                any other exception.
            ValueError: a NUL in the path, an identity of another size, a target that is read-only.
            TypeError: a target of Python objects.
        """
        if b"\0" in path:
            raise ValueError(f"path {path!r} has a NUL in it")
        if identity is not None and len(identity) != _IDENTITY_NBYTES:
            raise ValueError(f"an identity of {len(identity)} bytes, {_IDENTITY_NBYTES} are due")
        if target.dtype.hasobject:
            raise TypeError(f"the target has dtype {target.dtype}: Python objects cannot be read")
        memory, target_nbytes = writable_span(target)
        chunk = read.struct
        handle = self._handle
        user = object()
        try:
            reader = handle.use(user)
            # A call of C is not torn apart by a signal, and what it uses it has done with when it returns.
            done = self._chunk_read(
                reader, chunk, path, _NULL if identity is None else identity, offset, nbytes, memory, target_nbytes
            )
            if done == 0:
                return None if here else not _execute.run(reader, read.plan, (read, path, target, memory))
            return done > 0
        finally:
            handle.users.discard(user)

    def _run(self, bound: BoundPlan, progress: Progress) -> list[TaskFailure]:
        wanted = check_progress(progress)
        watcher = None if wanted is False or bound.is_part else Watcher(wanted, bound.plan.request_nbytes())
        user = object()
        with watcher or nullcontext():
            try:
                return _execute.run(self._handle.use(user), bound.struct, bound.keep, watcher)
            finally:
                self._handle.users.discard(user)

    def statistics(self) -> Statistics:
        """What the reader has done so far."""
        from ._statistics import Statistics  # late: a record of so many fields takes a millisecond to make

        record = ffi.new("struct ringio_statistics *")
        user = object()
        try:
            lib.ringio_reader_statistics(self._handle.use(user), record)
        finally:
            self._handle.users.discard(user)
        return self._objects.add_to(Statistics(*[getattr(record, name) for name in Statistics._fields]))

    def look_up(
        self, paths: Sequence[str], *, suffix_nbytes: int | None = 0, limit_nbytes: int = 1 << 62, store: object = None
    ) -> list[ObjectState | Exception]:
        """Sizes and states of objects in stores, all at once, one request each.

        Args:
            paths: URLs, or keys in ``store``.
            suffix_nbytes: so many of its last bytes come along with each, where the store has such requests; None: all.
            limit_nbytes: of objects with more bytes than this, of which all are wanted, none come along.
            store: where the objects are, as :meth:`read_ranges` takes it.

        Returns:
            For each its state, or what is wrong: FileNotFoundError, PermissionError, StoreError, ...
        """
        from ._looking import look_up  # late: of files nobody asks

        steps = look_up(self._objects, paths, suffix_nbytes=suffix_nbytes, limit_nbytes=limit_nbytes, store=store)
        return _reading.drive(steps, lambda bound: self._run(bound, None))

    def costs_of(self, url: str) -> tuple[int, int]:
        """``max_gap_bytes`` and ``max_request_bytes`` for the object at a URL, or with this key in a store."""
        (costs,) = self._options.costs([url], _ONE_OBJECT)
        return costs

    def store_of(self, url: str) -> Any:
        """Obstore's store that the object at a URL is in, with this reader's ``store_options``."""
        return self._objects.get().store_of(url)

    def close(self) -> None:
        """Wait for batches of other threads, stop the workers, close the files. Closing twice is fine."""
        self._handle.close()
        self._objects.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        if self is _shared.reader:
            return default_reader, ()
        return type(self).from_options, (self._options,)

    def __repr__(self) -> str:
        state = ", closed" if self.closed else ""
        way = {False: "", True: ", direct", "auto": ", direct where it pays"}[self.direct]
        return f"<ringio.Reader: {self.backend}, {self.workers} workers{way}{state}>"


def _refuse_chunk(*_arguments: object) -> int:
    return -1


def _close_unused(handle: Handle, objects: LazyObjects) -> None:
    handle.close_unused()
    objects.close_unused()


class _Shared:
    def __init__(self) -> None:
        self.reader: Reader | None = None
        self.lock = threading.Lock()


_shared = _Shared()


def default_reader() -> Reader:
    """The reader that the functions of this module and ``ringio_zarr`` share; made at first use.

    It pickles as what it is: in another process it is the default reader there.
    """
    reader = _shared.reader
    if reader is not None and not reader.closed:
        return reader
    with _shared.lock:
        if _shared.reader is None or _shared.reader.closed:
            _shared.reader = Reader()
        return _shared.reader


def _after_fork_in_child() -> None:
    _shared.lock = threading.Lock()  # a thread of the parent may have held it


os.register_at_fork(after_in_child=_after_fork_in_child)


def read_ranges(
    ranges: Ranges | Iterable[RangeTuple],
    *,
    out: object = None,
    on_error: OnError = "raise",
    allow_short: bool = False,
    progress: Progress = None,
    store: object = None,
    reader: Reader | None = None,
) -> Buffers:
    """Read byte ranges of files and objects in one batch: :meth:`Reader.read_ranges` of the shared reader, or another.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "letters")
    >>> _ = path.write_bytes(b"abcdefgh")
    >>> [bytes(buffer) for buffer in read_ranges([(path, 0, 2), (path, 4, 3), (path, -1, None)])]
    [b'ab', b'efg', b'h']
    """
    return (reader or default_reader()).read_ranges(
        ranges, out=out, on_error=on_error, allow_short=allow_short, progress=progress, store=store
    )
