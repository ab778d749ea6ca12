"""How a chain with Python codecs is run: stages, one for each Python codec and one for all of the C core between."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from math import prod
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ._core import ffi, lib
from ._errors import MemoryLimitError, codec_error, error_from_failure
from ._named import NamedTuple
from ._native_steps import MAX_INT64, NativeStep, Sized, records_of
from ._python_codecs import Bounded, Data, Decode, as_bytes, as_items
from ._records import MAX_U64
from ._vlen import VlenCodec

# Where nobody knows how much the encoded bytes decode to: what there is room for at first, and in the end.
_OPEN_FACTOR: Final = 8
_OPEN_NBYTES_MIN: Final = 1 << 16
_OPEN_NBYTES_MAX: Final = (1 << 31) - 1  # of numcodecs, too


class Origin(NamedTuple):
    """Where encoded bytes are from, for messages.

    Attributes:
        path: of the object that holds them.
        offset: where in it they begin, in bytes.
        length: how many there are; None: up to the end.
        chunk: which chunk it is; None: the place alone says it.
    """

    path: str = "<buffer>"
    offset: int = 0
    length: int | None = None
    chunk: str | None = None


class LateOrigin:
    """An origin that is looked up when a message wants it: that takes as long as a small chunk.

    Args:
        find: the origin.
    """

    __slots__ = ("_find",)

    def __init__(self, find: Callable[[], Origin]) -> None:
        self._find = find

    def __iter__(self) -> Iterator[Any]:
        return iter(self._find())


AnyOrigin: TypeAlias = Origin | LateOrigin


class NativeStage(NamedTuple):
    """Steps of the C core.

    Attributes:
        records: ``struct ringio_codec`` of each, in decoding order.
        nbytes: that they give; None: nobody knows before.
        encoded_nbytes_max: more encoded bytes than this are refused.
        step_names: of the records, for messages.
        steps: in encoding order, where ``nbytes`` is None: their records depend on the room that there is.
    """

    records: NDArray[np.void]
    nbytes: int | None
    encoded_nbytes_max: int
    step_names: tuple[str, ...]
    steps: tuple[NativeStep, ...] = ()

    @classmethod
    def of(cls, steps: Sequence[NativeStep], given: Sized) -> NativeStage:
        """The stage of some steps in encoding order."""
        names = tuple(step.name for step in steps)[::-1]
        records, encoded_nbytes_max = records_of(steps, given)
        if given.nbytes is None:
            return cls(records, None, MAX_INT64, names, tuple(steps))
        return cls(records, given.nbytes, encoded_nbytes_max, names)

    def run(self, data: Data, origin: AnyOrigin, limit_nbytes: int = _OPEN_NBYTES_MAX) -> memoryview:
        """Decode; raises what ``error_from_failure`` has for what went wrong.

        Args:
            data: the encoded bytes.
            origin: where they are from, for messages.
            limit_nbytes: where ``nbytes`` is None: more than these are not given.
        """
        source = as_bytes(data)
        if self.nbytes is not None:
            decoded, failure = _decode(self.records, self.nbytes, self.encoded_nbytes_max, source)
        else:
            decoded, failure = self._run_open(source, limit_nbytes)
        if decoded is None:
            path, offset, length, chunk = origin
            raise error_from_failure(
                failure, path=path, offset=offset, length=length, step_names=self.step_names, chunk=chunk
            )
        return decoded.data

    def _run_open(self, source: NDArray[np.uint8], limit_nbytes: int) -> tuple[NDArray[np.uint8] | None, Any]:
        most_nbytes = min(limit_nbytes, _OPEN_NBYTES_MAX)
        room_nbytes = max(_OPEN_NBYTES_MIN, _OPEN_FACTOR * source.nbytes)
        while True:
            # Rounded, so that most chunks of an array have the same room, and with it the same records.
            room_nbytes = min(-(-room_nbytes // _OPEN_NBYTES_MIN) * _OPEN_NBYTES_MIN, most_nbytes)
            records, encoded_nbytes_max = _open_records(self.steps, self.records.tobytes(), room_nbytes)
            encoded_nbytes_max = max(encoded_nbytes_max, source.nbytes)
            decoded, failure = _decode(records, room_nbytes, encoded_nbytes_max, source)
            if decoded is not None:
                return decoded[: int(failure.got)], failure
            if -failure.status != lib.RINGIO_WRONG_SIZE or room_nbytes == _OPEN_NBYTES_MAX:
                return None, failure
            # Some codecs know how many bytes it will be.
            wanted = int(failure.got)
            if room_nbytes == most_nbytes:
                failure.status, failure.expected = -lib.RINGIO_NO_MEMORY, limit_nbytes
                failure.got = wanted if limit_nbytes < wanted < MAX_U64 else limit_nbytes + 1
                return None, failure
            room_nbytes = wanted if room_nbytes < wanted < MAX_U64 else 4 * room_nbytes


@lru_cache(64)
def _open_records(steps: tuple[NativeStep, ...], exact: bytes, room_nbytes: int) -> tuple[NDArray[np.void], int]:
    """The records of steps for so much room; ``exact`` tells steps apart that are equal, as 0.0 and -0.0 are."""
    del exact
    return records_of(steps, Sized(room_nbytes, lib.RINGIO_CODEC_AT_MOST))


def _decode(
    records: NDArray[np.void], nbytes: int, encoded_nbytes_max: int, source: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8] | None, Any]:
    """``ringio_decode()``: the decoded bytes, None where it failed; and the ``struct ringio_failure *``."""
    decoded = np.empty(nbytes, np.uint8)
    fields = {
        "decoded_nbytes": nbytes,
        "encoded_nbytes_max": encoded_nbytes_max,
        "codec_count": len(records),
    }
    failure = ffi.new("struct ringio_failure *")
    status = lib.ringio_decode(
        ffi.new("struct ringio_chain *", fields),
        # cffi reads the records where numpy has them; of nothing there is no address.
        ffi.from_buffer("struct ringio_codec[]", records) if len(records) else ffi.NULL,
        ffi.from_buffer("uint8_t[]", source),
        source.nbytes,
        ffi.from_buffer("uint8_t[]", decoded),
        nbytes,
        failure,
    )
    return (None if status else decoded), failure


class PythonStage(NamedTuple):
    """A Python codec.

    Attributes:
        decode: of the codec.
        name: of the codec.
        decode_within: of the codec, called in place of ``decode``; None: it has none.
    """

    decode: Decode
    name: str
    decode_within: Bounded | None = None

    def run(self, data: Data, origin: AnyOrigin, limit_nbytes: int = _OPEN_NBYTES_MAX) -> Data:
        """Decode; raises DecodeError, or MemoryLimitError, for whatever exception the codec raises."""
        try:
            if self.decode_within is not None:
                return self.decode_within(data, limit_nbytes)
            return self.decode(data)  # which takes what memory it likes
        except Exception as error:
            if isinstance(error, MemoryError) and not isinstance(error, MemoryLimitError):
                raise
            path, offset, length, chunk = origin
            raise codec_error(self.name, error, path=path, offset=offset, length=length, chunk=chunk) from error

    def filler(self, dtype: np.dtype[Any]) -> VlenCodec | None:
        """The codec, where it is one that puts items of this dtype in their places itself."""
        owner = getattr(self.decode, "__self__", None)
        return owner if isinstance(owner, VlenCodec) and owner.can_fill(dtype) else None


Stage: TypeAlias = NativeStage | PythonStage


def run_stages(
    stages: Sequence[Stage],
    encoded: Data,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    origin: AnyOrigin,
    limit_nbytes: int = _OPEN_NBYTES_MAX,
) -> NDArray[Any]:
    """Decode one chunk.

    Args:
        stages: in decoding order.
        encoded: the encoded bytes.
        shape: of the decoded chunk.
        dtype: of its items.
        origin: where the bytes are from, for messages.
        limit_nbytes: more are given to no Python codec.

    Returns:
        An array in C order, which may share memory with ``encoded``.

    Raises:
        DecodeError, UnsupportedCodecError: they cannot be decoded.
        MemoryError: there is not enough; a ``MemoryLimitError``: ``limit_nbytes`` are not.
    """
    data = encoded
    name = "decoding"
    for stage in stages:
        data = stage.run(data, origin, limit_nbytes)
        name = stage.name if isinstance(stage, PythonStage) else name
    try:
        return as_items(data, prod(shape), dtype).reshape(shape)
    except (TypeError, ValueError) as error:
        path, offset, length, chunk = origin
        raise codec_error(name, error, path=path, offset=offset, length=length, chunk=chunk) from error


def item_filler(
    stages: Sequence[Stage],
    encoded: Data,
    dtype: np.dtype[Any],
    origin: AnyOrigin,
    limit_nbytes: int = _OPEN_NBYTES_MAX,
) -> Callable[[NDArray[Any], int], None] | None:
    """Decode the items of one chunk, of any length, up to the last codec, which puts them straight where they belong.

    Args:
        stages: in decoding order.
        encoded: the encoded bytes.
        dtype: strings or Python objects.
        origin: where the bytes are from, for messages.
        limit_nbytes: more are given to no Python codec.

    Returns:
        What does that for some of them. It is called with a target of this dtype, in C order, and with the item of the
        decoded chunk that is its first; there must be enough. None: these stages make something else.

    Raises:
        DecodeError, UnsupportedCodecError: they cannot be decoded; also what is returned.
        MemoryError: there is not enough.
    """
    last = stages[-1] if stages else None
    if not isinstance(last, PythonStage) or (codec := last.filler(dtype)) is None:
        return None
    data = encoded
    for stage in stages[:-1]:
        data = stage.run(data, origin, limit_nbytes)

    def fill(target: NDArray[Any], first: int) -> None:
        PythonStage(lambda data: codec.fill(data, target, first), last.name).run(data, origin)

    return fill
