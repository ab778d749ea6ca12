"""Codecs by name and configuration, and the chains that chunks are decoded with.

The names and configurations are those of Zarr: version 3 (``{"name": "zstd", "configuration": {"level": 3}}``),
version 2 and numcodecs (``{"id": "zstd", "level": 3}``), or a bare name where there is nothing to configure. What only
an encoder needs to know (levels, block sizes) is ignored: the encoded bytes say what a decoder needs.

====================  ===================================================================================
``transpose``         ``order``: the stored dimensions; costs nothing, as it only changes the strides
``bytes``             ``endian``: ``"little"`` (the default) or ``"big"``
``blosc``             blosc1 and blosc2 chunks with blosclz, lz4, lz4hc, zlib or zstd inside
``zstd``              one or more frames, with or without content size and checksum
``lz4``               as numcodecs stores it: the decoded size as int32, then one LZ4 block
``gzip``              one or more members; a zlib stream is taken too
``zlib``              one stream; gzip members are taken too
``crc32c``            a checksum behind the data, or in front of it: ``location``
``crc32``             a checksum in front of the data, or behind it: ``location``
``adler32``           the same
``fletcher32``        a checksum behind the data
``shuffle``           ``elementsize``: bytes of an element, 0 for those of the dtype
``delta``             ``dtype``, ``astype``: differences of neighbours
``fixedscaleoffset``  ``scale``, ``offset``, ``dtype``, ``astype``: scaled floats as integers
``quantize``          ``dtype``, ``astype``: floats of lower precision
``bitround``          the same; nothing is left to be done
``astype``            ``encode_dtype``, ``decode_dtype``: items of another type
``packbits``          bools as bits
``scale_offset``      ``scale``, ``offset``: of Zarr v3, in the dtype of the array
``cast_value``        ``data_type``, ``rounding``, ``out_of_range``, ``scalar_map``: of Zarr v3; items of another type
``vlen-utf8``         texts of any length; as ``StringDType`` or Python's ``str``
``vlen-bytes``        bytes of any length, as Python objects
====================  ===================================================================================

These are decoded by the C core; codecs that compute with items of a type that it does not know, such as float16, by
numpy. Any Python object that can ``decode(buffer)`` may stand among them, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import prod
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ._codec_steps import NAMES, Step, parse_step
from ._codec_walk import walk
from ._named import NamedTuple
from ._native_steps import MAX_INT64
from ._python_codecs import is_registered, register, registration_count
from ._records import CODEC
from ._stages import AnyOrigin, NativeStage, Origin, PythonStage, Stage, run_stages

__all__ = ["NAMES", "Chain", "CompiledChain", "Step", "chain", "is_registered", "register", "registration_count"]

_RANKS: Final = {"transpose": 0, "bytes": 1}
# Codecs of items: in front of "bytes" in Zarr v3, behind what is "bytes" here in v2, whose filters take bytes.
_ANYWHERE: Final = {
    "delta",
    "fixedscaleoffset",
    "quantize",
    "bitround",
    "astype",
    "packbits",
    "scale_offset",
    "cast_value",
}

# Stands in the records of a chain that the C core cannot run: no codec has this kind, so it refuses a plan with it.
_NOT_NATIVE: Final = np.zeros(1, CODEC)


class CompiledChain(NamedTuple):
    """A chain for chunks of one shape and dtype: what a plan holds.

    Attributes:
        records: the steps that have work to do, in *decoding* order, as ``struct ringio_codec``.
        decoded_nbytes: of a decoded chunk.
        encoded_nbytes_max: more encoded bytes than this are refused before memory is taken for them.
        strides: bytes between neighbours along each dimension of the array in a decoded chunk.
        step_names: of the records, for messages.
        stages: how a chain with Python codecs is run, in decoding order; empty where the C core does it all.
        stored_shape: of the decoded chunk as it lies in memory, that is behind the transposes.
        order: stored dimension k is dimension ``order[k]`` of the array.
        dtype: of the decoded chunk.
    """

    records: npt.NDArray[np.void]
    decoded_nbytes: int
    encoded_nbytes_max: int
    strides: tuple[int, ...]
    step_names: tuple[str, ...]
    stages: tuple[Stage, ...] = ()
    stored_shape: tuple[int, ...] = ()
    order: tuple[int, ...] = ()
    dtype: np.dtype[Any] = np.dtype(np.uint8)

    def decode(
        self,
        encoded: Any,
        origin: AnyOrigin = Origin(),  # noqa: B008  # it is a constant
        limit_nbytes: int = MAX_INT64,
    ) -> npt.NDArray[Any]:
        """Decode one chunk that is in memory.

        Args:
            encoded: its bytes, as any buffer.
            origin: where they are from, for messages.
            limit_nbytes: more are given to no Python codec: nobody knows before what it is to be given.

        Returns:
            An array of the chunk's shape and dtype, in the memory order that the transposes give it.

        Raises:
            DecodeError, UnsupportedCodecError: as of :meth:`Chain.decode`.
            MemoryLimitError: ``limit_nbytes`` are not enough.
        """
        stages = self.stages or (
            NativeStage(self.records, self.decoded_nbytes, self.encoded_nbytes_max, self.step_names),
        )
        stored = run_stages(stages, encoded, self.stored_shape, self.dtype, origin, limit_nbytes)
        return stored.transpose(np.argsort(self.order)) if self.order else stored


class Chain(NamedTuple):
    """A codec chain: hashable and comparable, and picklable where its Python codecs are. Made by :func:`chain`.

    Attributes:
        steps: the codecs in *encoding* order.
    """

    steps: tuple[Step, ...]

    def compile(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> CompiledChain:
        """The chain for chunks of one shape and dtype.

        Args:
            shape: elements along each dimension of the array, before any transpose.
            dtype: of the array; decoded chunks are in its byte order. Python objects and strings of any length
                (``object``, ``StringDType``) need a Python codec that makes them.

        Raises:
            UnsupportedCodecError: bytes that would have to be swapped in a structured dtype.
            ValueError: a transpose of another number of dimensions; a dtype without a fixed size and no Python codec;
                a chunk too large.

        >>> compiled = chain([{"name": "transpose", "configuration": {"order": [1, 0]}}, "zstd"]).compile((3, 5), "<i2")
        >>> compiled.decoded_nbytes, compiled.strides, compiled.step_names
        (30, (2, 6), ('zstd',))
        """
        dtype = np.dtype(dtype)
        if (dtype.hasobject or dtype.kind == "T") and all(step.codec is None for step in self.steps):
            raise ValueError(f"items of dtype {dtype} have no fixed size")
        nbytes = prod(shape) * dtype.itemsize
        if nbytes > MAX_INT64:
            raise ValueError(f"a chunk of {'x'.join(map(str, shape))} elements has {nbytes} bytes")
        walked = walk(self.steps, shape, dtype)
        stages = walked.stages()
        is_native = not any(isinstance(stage, PythonStage) for stage in stages)
        if not stages:
            stages = (NativeStage(np.zeros(0, CODEC), nbytes, nbytes, ()),)
        only = stages[0]
        return CompiledChain(
            records=only.records if is_native and isinstance(only, NativeStage) else _NOT_NATIVE,
            decoded_nbytes=nbytes,
            encoded_nbytes_max=only.encoded_nbytes_max if isinstance(only, NativeStage) else MAX_INT64,
            strides=_strides(walked.order, shape, dtype.itemsize),
            step_names=only.step_names if isinstance(only, NativeStage) and is_native else (),
            stages=() if is_native else stages,
            stored_shape=walked.stored_shape,
            order=walked.order,
            dtype=dtype,
        )

    def decode(
        self,
        encoded: bytes | bytearray | memoryview,
        shape: tuple[int, ...],
        dtype: npt.DTypeLike,
        limit_nbytes: int = MAX_INT64,
    ) -> npt.NDArray[Any]:
        """Decode one chunk that is in memory.

        Args:
            encoded: the encoded bytes, as any buffer.
            shape: elements along each dimension of the array.
            dtype: of the array.
            limit_nbytes: more are given to no Python codec; see :meth:`CompiledChain.decode`.

        Returns:
            A new array of that shape and dtype, in the memory order that the transposes give it.

        Raises:
            DecodeError: ``encoded`` is damaged, or does not decode to exactly such an array.
            UnsupportedCodecError: it uses a feature of a codec that this build lacks.
            MemoryLimitError: ``limit_nbytes`` are not enough.

        >>> import zlib
        >>> chain(["bytes", "zlib"]).decode(zlib.compress(bytes(range(6))), (2, 3), "u1")
        array([[0, 1, 2],
               [3, 4, 5]], dtype=uint8)
        """
        origin = Origin(length=memoryview(encoded).nbytes)
        decoded = self.compile(shape, dtype).decode(encoded, origin, limit_nbytes)
        return decoded if decoded.flags.writeable else decoded.copy(order="K")


def chain(configurations: Iterable[str | Mapping[str, Any] | Callable[[Any], Any] | Any]) -> Chain:
    """A codec chain from the configurations of its codecs.

    Args:
        configurations: in *encoding* order: transposes, then ``bytes`` (which may be left out where the stored byte
            order is the dtype's own), then the others. Each is a name, ``{"name": ..., "configuration": {...}}`` as in
            Zarr v3, or ``{"id": ..., ...}`` as in Zarr v2 and numcodecs; or a Python codec, which may stand anywhere:
            an object with a method ``decode(buffer)``, such as any codec of numcodecs, or a function like that. It is
            given what the codec behind it gives, as a ``memoryview`` of bytes where that is one of the C core, and
            returns a buffer or a numpy array. The first codec gives the items of the chunk, in C order: as bytes or as
            an array; those of dtype ``object`` and ``StringDType`` must be an array. It is called by several threads
            at the same time. An object that has to know what it decodes to has a method ``for_chunk(shape, dtype)``,
            which returns the codec for such chunks. One that decodes chunks within its own has a method
            ``decode_within(buffer, limit_nbytes)`` besides, which is called instead, and raises ``MemoryLimitError``
            where it would take more memory than that for one of them.

    Raises:
        UnsupportedCodecError: a codec that this build does not have, by name.
        ValueError: a configuration that makes no sense, an object that is no codec, or codecs in an order that makes
            no sense.

    >>> chain(["bytes", {"id": "shuffle", "elementsize": 2}, {"name": "zstd", "configuration": {"level": 3}}]).steps[1]
    ... # doctest: +ELLIPSIS
    Step(name='shuffle', order=(), endian='little', elementsize=2, ...)
    >>> import bz2, zlib
    >>> chain(["bytes", bz2.decompress, "zlib"]).decode(zlib.compress(bz2.compress(b"ab")), (2,), "S1")
    array([b'a', b'b'], dtype='|S1')
    """
    steps = tuple([parse_step(item) for item in configurations])
    ranks = [_RANKS.get(step.name, 2) for step in steps if step.codec is None and step.name not in _ANYWHERE]
    if ranks != sorted(ranks) or ranks.count(1) > 1:
        names = ", ".join(step.name for step in steps)
        raise ValueError(f"expected transposes, then at most one 'bytes', then other codecs; got {names}")
    return Chain(steps)


def _strides(order: tuple[int, ...], shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    strides = [0] * len(shape)
    stride = itemsize
    for dimension in reversed(order):
        strides[dimension] = stride
        stride *= shape[dimension]
    return tuple(strides)
