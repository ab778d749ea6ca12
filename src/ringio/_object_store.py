"""One store of objects, asked for byte ranges: obstore's own, or anything else that has ``get_ranges``."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from . import _spans
from ._named import NamedTuple

Buffer: TypeAlias = Any  # with the buffer protocol

_OBSTORE: Final = "obstore.store"
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
# Objects that do not exist do not show whether their server gives ranges: so many may not, before all are asked for.
CARE_MAX: Final = 64


class Version(NamedTuple):
    """What tells one state of an object from another.

    Attributes:
        nbytes: its size.
        e_tag: as the server gives it; None: it gives none.
        modified: when it was written; None: not known.
        version: of a store that keeps several.
    """

    nbytes: int
    e_tag: str | None
    modified: object
    version: str | None

    @property
    def tag(self) -> bytes:
        """The same as bytes; none where only the size is known, which tells nothing."""
        # A server that does not say when an object was written has the epoch put in by obstore.
        when = None if self.modified == _EPOCH else self.modified
        return b"" if self.e_tag is when is self.version is None else repr(tuple(self)).encode()

    def is_same(self, other: Version) -> bool:
        """Whether both are of the same state: by the ETag where there is one."""
        if self.nbytes != other.nbytes or self.version != other.version:
            return False
        if self.e_tag is not None and other.e_tag is not None:
            return self.e_tag == other.e_tag
        return self.modified == other.modified


class Answer(NamedTuple):
    """Bytes of an object.

    Attributes:
        buffer: the bytes.
        start: where in the object they begin.
        version: of the object that they are from.
    """

    buffer: Buffer
    start: int
    version: Version


class Store:
    """A store, and how it is asked.

    Args:
        store: of obstore, or any object with ``get_ranges(path, *, starts, ends)`` (or ``lengths``), as obspec has it;
            ``head(path)`` besides lets ranges be counted from the end.
        retries: how often a request that failed is tried again; 0 where the store does that by itself.
        address: of the store, as it is shown in a trace; "": its class.

    Attributes:
        has_versions: each answer says which state of the object it is from.
        gives_all: it has ``get(path)``, for the whole of an object whose size is not known.
        may_lack_ranges: it is plain HTTP, whose servers need not give ranges.
        gives_ranges: it has given one.
        care_left: how many more whole objects are asked for with care as long as it has not (``_object_care``).

    Raises:
        TypeError: no store.
    """

    __slots__ = (
        "_get_ranges_takes_ends",
        "_store",
        "address",
        "care_left",
        "gives_all",
        "gives_ranges",
        "has_versions",
        "may_lack_ranges",
        "retries",
    )

    def __init__(self, store: Any, retries: int = 0, address: str = "") -> None:
        if not callable(getattr(store, "get_ranges", None)):
            raise TypeError(f"store is a {type(store).__name__}, which has no get_ranges(path, *, starts, ends)")
        self._store = store
        self.retries = retries
        self.address = address or f"<{type(store).__name__}>"
        # What obstore's own classes do is known; one that is made from them may do as it likes.
        self.has_versions = type(store).__module__ == _OBSTORE
        self.gives_all = callable(getattr(store, "get", None))
        self.may_lack_ranges = self.has_versions and type(store).__name__ == "HTTPStore"
        self.gives_ranges = False
        self.care_left = CARE_MAX
        self._get_ranges_takes_ends = _takes(store.get_ranges, "ends")

    @property
    def raw(self) -> Any:
        """The store as it was given."""
        return self._store

    @property
    def is_sized(self) -> bool:
        """Whether it says how large an object is."""
        return callable(getattr(self._store, "head", None))

    def head(self, key: str) -> Version:
        """The state of an object."""
        begin_ns = _spans.begin()
        try:
            return version_of(self._store.head(key))
        finally:
            self._note("HEAD", begin_ns, key)

    def get(self, key: str, start: int, end: int | None) -> Answer:
        """The bytes from ``start`` on, up to ``end`` or to the end of the object; fewer where the object ends before.

        Only of a store that ``has_versions``.
        """
        return self._get(key, {"offset": start} if end is None else (start, end))

    async def get_async(self, key: str, start: int, end: int | None) -> Answer:
        """The same as :meth:`get`."""
        begin_ns = _spans.begin()
        wanted: object = {"offset": start} if end is None else (start, end)
        try:
            result = await self._store.get_async(key, options={"range": wanted})
            meta = result.meta
            return Answer(await result.bytes_async(), int(result.range[0]), version_of(meta))
        finally:
            self._note("GET", begin_ns, key, wanted, is_awaited=True)

    def get_suffix(self, key: str, nbytes: int) -> Answer:
        """The last bytes of an object, or all of it; only of a store that ``has_versions``."""
        return self._get(key, {"suffix": nbytes})

    def _get(self, key: str, wanted: object) -> Answer:
        begin_ns = _spans.begin()
        try:
            result = self._store.get(key, options={"range": wanted})
            meta = result.meta
            return Answer(result.bytes(), int(result.range[0]), version_of(meta))
        finally:
            self._note("GET", begin_ns, key, wanted)

    def get_all(self, key: str, limit_nbytes: int = 1 << 62) -> Answer:
        """All of an object; only of a store that ``gives_all``.

        No bytes where they are more than the limit, if that is known before: the body is not waited for then.
        """
        begin_ns = _spans.begin()
        try:
            result = self._store.get(key)
            meta = getattr(result, "meta", None)
            if meta is not None and (version := version_of(meta)).nbytes > limit_nbytes:
                return Answer(b"", 0, version)
            # obspec has buffer(), obstore bytes().
            buffer = result.bytes() if callable(getattr(result, "bytes", None)) else result.buffer()
        finally:
            self._note("GET", begin_ns, key, {"offset": 0})
        with memoryview(buffer) as view:
            version = Version(view.nbytes, None, None, None)
        return Answer(buffer, 0, version if meta is None else version_of(meta))

    def get_plain(self, key: str, fits: Callable[[int], bool] | None = None) -> Answer | None:
        """All of an object, of a server that may not give ranges; only of a store that ``may_lack_ranges``.

        Args:
            key: of the object.
            fits: whether there is room for so many bytes; else there are none in the answer. None: there is.

        Returns:
            None: what comes is encoded, so that its bytes may be others than those of the object.
        """
        begin_ns = _spans.begin()
        try:
            result = self._store.get(key)
            if "Content-Encoding" in result.attributes:
                return None
            version = version_of(result.meta)
            return Answer(result.bytes() if fits is None or fits(version.nbytes) else b"", 0, version)
        finally:
            self._note("GET", begin_ns, key)

    def get_many(self, key: str, starts: Sequence[int], ends: Sequence[int]) -> Sequence[Buffer]:
        """The bytes of several ranges; none may begin behind the end of the object (obstore panics there)."""
        begin_ns = _spans.begin()
        try:
            buffers = self._get_ranges(key, starts, ends)
        finally:
            self._note("GET", begin_ns, key, len(starts))
        if len(buffers) != len(starts):
            raise ValueError(f"get_ranges gave {len(buffers)} buffers for {len(starts)} ranges")
        return buffers

    async def get_many_async(self, key: str, starts: Sequence[int], ends: Sequence[int]) -> Sequence[Buffer]:
        """The same as :meth:`get_many`; only of a store that ``has_versions``."""
        begin_ns = _spans.begin()
        try:
            buffers: Sequence[Buffer] = await self._store.get_ranges_async(key, starts=starts, ends=ends, coalesce=0)
        finally:
            self._note("GET", begin_ns, key, len(starts), is_awaited=True)
        return buffers

    def _get_ranges(self, key: str, starts: Sequence[int], ends: Sequence[int]) -> Sequence[Buffer]:
        if self.has_versions:  # what is near has been merged already
            buffers = self._store.get_ranges(key, starts=starts, ends=ends, coalesce=0)
        elif self._get_ranges_takes_ends:
            buffers = self._store.get_ranges(key, starts=starts, ends=ends)
        else:
            lengths = [end - start for start, end in zip(starts, ends, strict=True)]
            buffers = self._store.get_ranges(key, starts=starts, lengths=lengths)
        return buffers  # type: ignore[no-any-return]

    def _note(self, method: str, begin_ns: int, key: str, wanted: object = None, *, is_awaited: bool = False) -> None:
        """Show a request in a trace; called behind it, where an exception is on its way if it failed."""
        if not begin_ns:
            return
        url = f"{self.address}/{key}" if key else self.address
        error = sys.exception()
        end = _spans.end_task if is_awaited else _spans.end
        end(method, begin_ns, url=url, range=wanted, error=None if error is None else type(error).__name__)


def version_of(meta: Any) -> Version:
    """The version that an ``ObjectMeta`` of obspec tells of."""

    def field(name: str) -> Any:
        return meta.get(name) if isinstance(meta, Mapping) else getattr(meta, name, None)

    return Version(int(field("size")), field("e_tag"), field("last_modified"), field("version"))


def _takes(function: Any, name: str) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return True
    return any(each.name == name or each.kind is each.VAR_KEYWORD for each in parameters)
