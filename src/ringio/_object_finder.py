"""Which paths are objects in stores: found out without importing anything that has to do with stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import _forked  # noted from the beginning: others may use obstore before anybody reads an object here
from ._handle import Handle
from ._paths import are_urls
from ._plan import Plan

if TYPE_CHECKING:
    from ._objects import ObjectFiles, Objects
    from ._statistics import Statistics


class LazyObjects:
    """What reads objects for a reader, made when the first one is to be read.

    Args:
        handle: of the reader.
        store_options: of the reader.
        memory_limit_bytes: of the reader.
        reads_files: paths are objects, too, in obstore's ``LocalStore``.
    """

    def __init__(
        self, handle: Handle, store_options: Mapping[str, Any] | None, memory_limit_bytes: int, *, reads_files: bool
    ) -> None:
        self._handle = handle
        self._options = store_options or {}
        self._memory_limit_bytes = memory_limit_bytes
        self.reads_files = reads_files
        self._made: dict[None, Objects] = {}  # one; setdefault() needs no lock, which a fork might leave taken

    def get(self) -> Objects:
        """What reads them.

        Raises:
            RingioError: the process forked when obstore was in use.
        """
        _forked.check()
        if not self._made:
            from ._objects import Objects

            self._made.setdefault(
                None, Objects(self._handle, self._options, self._memory_limit_bytes, self.reads_files)
            )
        return self._made[None]

    def finder(self, store: object) -> ObjectFinder:
        """For one call with ``store=``."""
        return ObjectFinder(self, store)

    def add_to(self, statistics: Statistics) -> Statistics:
        """The reader's statistics with those that the core does not know."""
        for objects in self._made.values():
            statistics = statistics._replace(
                requests=statistics.requests + objects.kept_count,
                tasks=statistics.tasks + objects.piece_count,
                projections=statistics.projections + objects.piece_count,
                bytes_read=statistics.bytes_read + objects.kept_nbytes,
                bytes_asked=statistics.bytes_asked + objects.kept_nbytes,
                bytes_decoded=statistics.bytes_decoded + objects.kept_nbytes,
                retries=statistics.retries + objects.retry_count,
                peak_in_flight=max(statistics.peak_in_flight, objects.peak_in_flight),
            )
        return statistics

    def close(self) -> None:
        """Let the threads end."""
        for objects in self._made.values():
            objects.close()

    def close_unused(self) -> None:
        """The same without waiting for anything, for the garbage collector."""
        for objects in self._made.values():
            objects.close_unused()


class ObjectFinder:
    """Finds the objects of one call.

    Args:
        objects: of the reader.
        store: what the caller gave as ``store=``.
    """

    __slots__ = ("_objects", "_store")

    def __init__(self, objects: LazyObjects, store: object) -> None:
        self._objects = objects
        self._store = store

    def among(self, paths: Sequence[str]) -> ObjectFiles | None:
        """Which of some paths are in stores; None: none."""
        urls = are_urls(paths)
        if urls is None and self._store is None and not self._objects.reads_files:
            return None
        return self._objects.get().files(paths, urls, self._store)

    def in_plan(self, plan: Plan) -> ObjectFiles | None:
        """Which files of a plan are in stores; None: none."""
        objects = plan.objects
        if objects is None:
            if self._store is None and not plan.may_have_urls() and not self._objects.reads_files:
                return None
            files = self.among(plan.paths())
        else:
            finder = self if self._store is not None else ObjectFinder(self._objects, objects.store)
            files = finder.among(plan.paths())
            if files is not None:
                files.expect(objects.states)
        if files is not None:
            files.mask &= plan.files["data"] == 0  # what is in memory is in no store
        return files
