"""The objects of a reader: where they are, how large, and their part of a plan."""

from __future__ import annotations

import errno
import os
import sys
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from . import _execute, _limits, planning
from ._errors import STORE_FAILED, BackendError, RingioError
from ._failures import TaskFailure
from ._handle import Handle
from ._object_decode import DecodingPlacer
from ._object_fetch import Fetch
from ._object_lookup import Found, Lookup
from ._object_place import LocalPart, Placer, split
from ._object_pool import Pool
from ._object_work import Work
from ._paths import scheme_of
from ._plan import BoundPlan
from ._progress import Progress, Watcher, check_progress
from ._states import ObjectState
from ._store_errors import CHANGED, Problem, sort_out
from ._store_options import REQUESTS_IN_FLIGHT, check, is_below
from ._stores import Place, Stores

_OBSTORE: Final = "obstore.store"
_MEMORY_SHARE: Final = 2  # of the reader's limit: answers on their way
# Last bytes that a lookup brings along: of all objects together this share of the limit.
_TAILS_SHARE: Final = 4
_TAIL_NBYTES_MAX: Final = 1 << 20


class Objects:
    """Reads objects for a reader.

    Args:
        handle: of the reader.
        options: ``store_options``, checked.
        memory_limit_bytes: of the reader.
        reads_files: paths are objects, too, in obstore's ``LocalStore``.

    Attributes:
        retry_count: how often a request was tried again.
        kept_count, kept_nbytes, piece_count: requests whose answers were not copied, their bytes and tasks.
    """

    def __init__(
        self, handle: Handle, options: Mapping[str, Any], memory_limit_bytes: int, reads_files: bool = False
    ) -> None:
        in_flight = options.get("requests_in_flight") or min(REQUESTS_IN_FLIGHT, 2 * _limits.open_files())
        self._handle = handle
        options = check(options)
        self._stores = Stores(options)
        self._memory_limit_bytes = memory_limit_bytes
        self._pool = Pool(in_flight, memory_limit_bytes // _MEMORY_SHARE)
        self._reads_files = reads_files
        self.retry_count = 0
        self.kept_count = self.kept_nbytes = self.piece_count = 0
        _all.add(self)

    @property
    def peak_in_flight(self) -> int:
        """Most requests that were in flight at one time."""
        return self._pool.peak_in_flight

    def find(self, paths: Sequence[str], given: object) -> list[Place | Problem]:
        """Where objects are; see :meth:`Stores.find`."""
        return [self._find(path, given) for path in paths]

    def store_of(self, url: str) -> Any:
        """Obstore's store that the object at a URL is in, for whoever wants to list it.

        Raises:
            BackendError, ValueError: see :meth:`Stores.find`.
        """
        return self._stores.find(url).store.raw

    def is_file(self, path: str, given: object) -> bool:
        """Whether a path that is to be found is one of this machine's files."""
        if not self._reads_files or scheme_of(path):
            return False
        return given is None or (isinstance(given, Mapping) and not any(is_below(path, name) for name in given))

    def _find(self, path: str, given: object) -> Place | Problem:
        try:
            if self.is_file(path, given):
                return self._stores.find_file(path)
            return self._stores.find(path, given)
        except ImportError as error:
            raise BackendError(f"{path}: obstore, which reads objects, cannot be imported: {error}") from error
        except (RingioError, TypeError, ValueError) as error:
            return Problem(STORE_FAILED, str(error), error=error)
        except Exception as error:
            return sort_out(error)._replace(may_pass=False)

    def look_up(self, places: Sequence[Place | Problem], suffixes: Sequence[int], starts: Sequence[int]) -> list[Found]:
        """Sizes of objects; see :class:`Lookup`."""
        suffixes = [nbytes if nbytes <= _TAIL_NBYTES_MAX else 0 for nbytes in suffixes]
        if sum(suffixes) > self._memory_limit_bytes // _TAILS_SHARE:
            suffixes = [0] * len(suffixes)
        lookup = Lookup(self._pool, places, suffixes, starts=starts, tails_nbytes=self._memory_limit_bytes)
        self._start(lookup)
        try:
            return lookup.result()
        finally:
            lookup.cancel()

    def begin_look_up(
        self, paths: Sequence[str], suffix_nbytes: int | None, limit_nbytes: int, given: object
    ) -> Lookup:
        """Begin to look objects up, each with so many of its last bytes; None: with all, if they are within a limit."""
        if suffix_nbytes is not None and suffix_nbytes * len(paths) > self._memory_limit_bytes // _TAILS_SHARE:
            suffix_nbytes = 0
        lookup = Lookup(self._pool, self.find(paths, given), [suffix_nbytes] * len(paths), limit_nbytes)
        self._start(lookup)
        return lookup

    def start(
        self,
        bound: BoundPlan,
        chosen: NDArray[np.int64],
        places: Mapping[int, Place | Problem],
        found: Mapping[int, Found],
        wholes: Mapping[int, int],
    ) -> Fetch:
        """Begin to read the part of a plan that is objects.

        Args:
            bound: the plan and its targets.
            chosen: its requests of objects.
            places: of the files that they name.
            found: what is known of these.
            wholes: see :class:`Fetch`.

        Returns:
            It has ``add_done_callback``, ``cancel`` and ``result``.
        """
        placer = (
            Placer(self._handle, bound)
            if bound.plan.python_chains is None
            else DecodingPlacer(self._handle, bound, self._memory_limit_bytes)
        )
        fetch = Fetch(self._pool, placer, bound.plan, chosen, places, found, wholes)
        self._start(fetch)
        return fetch

    def _start(self, work: Work[Any]) -> None:
        # Whoever closes the reader waits for it.
        work.add_done_callback(self._end)
        try:
            self._handle.use(work)
            work.start()
        except BaseException as error:
            work.cancel()
            if type(error) is RuntimeError:  # can't start new thread
                raise _execute.not_started(errno.EAGAIN) from error
            raise

    def _end(self, work: Work[Any]) -> None:
        self.retry_count += work.retry_count
        if isinstance(work, Fetch) and (buffers := work.kept.buffers):
            self.kept_count += len(buffers)
            self.kept_nbytes += sum(map(len, buffers.values()))
            self.piece_count += work.kept.piece_count
        self._handle.users.discard(work)

    def close(self) -> None:
        """Let the threads end."""
        self._pool.close()
        self._pool.wait(_CLOSE_WAIT_S)

    def close_unused(self) -> None:
        """The same without waiting for anything: the garbage collector calls this, wherever it happens to run."""
        self._pool.close_unused()

    def files(self, paths: Sequence[str], mask: NDArray[np.bool_] | None, given: object) -> ObjectFiles | None:
        """Which files are in stores.

        Args:
            paths: of all files.
            mask: bool[paths], which are named by URLs; None: none.
            given: ``store=`` of the caller.

        Returns:
            None: none of them is.
        """
        if self._reads_files:
            mask = np.ones(len(paths), bool)
        elif given is not None:
            if not isinstance(given, Mapping) and not callable(getattr(given, "resolve", None)):
                mask = np.ones(len(paths), bool)
            elif isinstance(given, Mapping):
                known = [any(is_below(path, beginning) for beginning in given) for path in paths]
                mask = np.array(known, bool) if mask is None else mask | np.array(known, bool)
        return None if mask is None or not mask.any() else ObjectFiles(self, paths, mask, given)

    def forget(self) -> None:
        """For a child after fork()."""
        self._stores.forget()


class ObjectFiles:
    """The files of one plan or batch that are in stores.

    Args:
        objects: of the reader.
        paths: of all files.
        mask: bool[paths], which of them.
        given: ``store=`` of the caller.
    """

    def __init__(self, objects: Objects, paths: Sequence[str], mask: NDArray[np.bool_], given: object) -> None:
        self.mask = mask
        self._files: NDArray[np.void] | None = None  # of the plan: what they must be
        self._objects = objects
        self._paths = paths
        self._given = given
        self._places: dict[int, Place | Problem] = {}
        self._found: dict[int, Found] = {}
        self._local: LocalPart | None = None

    def expect(self, states: Mapping[int, ObjectState]) -> None:
        """What some of them must still be when they are read."""
        self._found |= {file: state.found for file, state in states.items()}

    def look_up(self, files: Sequence[int], suffixes: Sequence[int], starts: Sequence[int]) -> list[Found]:
        """Sizes of some files; they are kept, and checked against when the files are read."""
        self._find(files)
        found = self._objects.look_up([self._places[file] for file in files], suffixes, starts)
        self._found |= zip(files, found, strict=True)
        return found

    def without_room(self) -> set[int]:
        """Files that could not be had only because others were looked up with them."""
        return {file for file, found in self._found.items() if found.problem is not None and found.problem.lacks_room}

    @property
    def is_light(self) -> bool:
        """Whether :meth:`begin` takes no time to speak of."""
        return _OBSTORE in sys.modules

    def begin(
        self, bound: BoundPlan, progress: Progress, wholes: Mapping[int, int] | None = None
    ) -> tuple[BoundPlan | None, Fetch]:
        """Begin to read the part of a plan that is objects.

        Args:
            bound: the plan and its targets.
            progress: whom to tell.
            wholes: see :class:`Fetch`; None: there are none.

        Returns:
            The rest of the plan, to be executed by the core, if there is any; and what has begun.
        """
        self._files = bound.plan.files
        self._local, chosen = split(bound, self.mask & (self._files["data"] == 0))
        wanted = np.zeros(len(self._paths), bool)
        wanted[bound.plan.requests["file"][chosen]] = True
        self._find(np.flatnonzero(wanted).tolist())
        fetch = self._objects.start(bound, chosen, self._places, self._found, wholes or {})
        if (reported := check_progress(progress)) is not False:
            fetch.report(Watcher(reported, bound.plan.request_nbytes()), len(bound.plan.requests) - len(chosen))
        if self._local is None:
            return None, fetch
        return bound._replace(struct=self._local.struct, keep=self._local.keep, is_part=True), fetch

    def join(self, failures: list[TaskFailure], others: list[TaskFailure]) -> list[TaskFailure]:
        """The failures of a plan from those of its local files and of its objects."""
        if (local := self._local) is not None:
            failures = [failure._replace(request=int(local.numbers[failure.request])) for failure in failures]
        return sorted(failures + others, key=lambda failure: failure.task)

    def part(self, used: NDArray[np.int64] | None) -> ObjectFiles | None:
        """Those of some of the paths, by their numbers; None: of all."""
        if used is None:
            return self
        numbers = {int(file): i for i, file in enumerate(used)}
        part = ObjectFiles(self._objects, [self._paths[file] for file in used], self.mask[used], self._given)
        part._places = {numbers[file]: place for file, place in self._places.items() if file in numbers}
        part._found = {numbers[file]: found for file, found in self._found.items() if file in numbers}
        return part if part.mask.any() else None

    def _find(self, files: Sequence[int]) -> None:
        new = [file for file in files if file not in self._places]
        places = self._objects.find([self._paths[file] for file in new], self._given)
        self._places |= zip(new, places, strict=True)
        here = [file for file in new if self._objects.is_file(self._paths[file], self._given)]
        self._places |= self._problems(here) if here else {}

    def _problems(self, files: Sequence[int]) -> dict[int, Problem]:
        """Which files of this machine obstore must not be asked for: a FIFO would keep it waiting for ever."""
        problems = {}
        for file, found in zip(files, planning.stat([self._paths[file] for file in files]), strict=True):
            status = -int(found["status"])
            if status and status != errno.ENOENT:
                problems[file] = Problem(status, "", error=None)
            elif not status and self._files is not None and not _is_as_planned(self._files[file], found):
                problems[file] = Problem(CHANGED, "")
        return problems


def _is_as_planned(due: np.void, found: np.void) -> bool:
    """Whether a file is the one of a FILE, if that says which."""
    return due["inode"] == 0 or all(due[name] == found[name] for name in ("device", "inode", "nbytes", "mtime_ns"))


_CLOSE_WAIT_S: Final = 0.2  # threads that wait for work end at once, those that wait for an answer when it is there
_all: weakref.WeakSet[Objects] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for objects in tuple(_all):
        objects.forget()


os.register_at_fork(after_in_child=_after_fork_in_child)
