"""From the steps of a chain to what decodes chunks of one shape and dtype.

The walk goes in encoding order, from the array to the stored bytes, and keeps what there is at each place: items of a
dtype, in a shape, so many bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Final

import numpy as np

from . import _array_codecs
from ._codec_steps import Step
from ._core import lib
from ._errors import UnsupportedCodecError
from ._native_steps import CHECKSUMS, KINDS, NativeStep, Sized, type_code
from ._python_codecs import Decode, bounded
from ._stages import NativeStage, PythonStage, Stage

_ITEM_BY_ITEM: Final = {"astype", "fixedscaleoffset", "quantize", "bitround", "scale_offset", "cast_value"}


class Walk:
    """Collects the stages of a chain.

    Args:
        shape: of a chunk of the array.
        dtype: of the array.

    Attributes:
        order: stored dimension k is dimension ``order[k]`` of the array, as far as strides see to it.
        stored_shape: of the decoded chunk in memory.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.order = tuple(range(len(shape)))
        self.stored_shape = shape
        self._shape = shape  # here
        self._dtype: np.dtype[Any] = dtype  # here
        self._given = Sized(prod(shape) * dtype.itemsize)
        self._is_free = True  # all codecs so far take items one by one: the order of dimensions is a matter of strides
        self._run: list[NativeStep] = []
        self._run_given = self._given
        self._stages: list[Stage] = []

    def stages(self) -> tuple[Stage, ...]:
        """All of them, in decoding order."""
        self._end_run()
        return tuple(self._stages[::-1])

    def add(self, step: Step) -> None:
        """The next codec.

        Raises:
            UnsupportedCodecError, ValueError: it cannot decode to what there is.
        """
        if step.codec is not None:
            decode = step.codec.bind(self._shape, self._dtype)
            self._add_python(decode, step.name, Sized(None))
            self._dtype = np.dtype(np.uint8)
        elif step.name == "transpose":
            self._transpose(permutation(step, len(self._shape)))
        elif step.name == "bytes":
            for native in _swaps(self._dtype, step.endian):
                self._add_native(native)
        elif step.name == "shuffle":
            # netCDF-C writes an elementsize of 0 and means the size of an item.
            itemsize = step.elementsize or self._dtype.itemsize
            if itemsize > 1:
                self._add_native(NativeStep(step.name, KINDS[step.name], itemsize))
        elif step.name == "packbits":
            count = self._given.nbytes
            self._add_native(NativeStep(step.name, KINDS[step.name]))
            self._shape, self._dtype = (-1 if count is None else 1 + (count + 7) // 8,), np.dtype(np.uint8)
        elif step.name in CHECKSUMS:
            flags = lib.RINGIO_CODEC_FRONT if step.location == "start" else 0
            self._add_native(NativeStep(step.name, KINDS[step.name], flags=flags))
        elif step.name in _COMPUTE:
            self._compute(step)
        else:
            self._add_native(NativeStep(step.name, KINDS[step.name]))
        if step.codec is not None or step.name not in ("transpose", "bytes", *_ITEM_BY_ITEM):
            self._is_free = False

    def _transpose(self, order: tuple[int, ...]) -> None:
        shape = tuple(self._shape[dimension] for dimension in order)
        if self._is_free:
            self.order = tuple(self.order[dimension] for dimension in order)
            self.stored_shape = shape
        else:
            given = self._given
            self._add_python(_array_codecs.permute(self._shape, self._dtype, order), "transpose", given)
        self._shape = shape

    def _compute(self, step: Step) -> None:
        """A codec that computes with items."""
        decoded = self._dtype if step.decoded is None else step.decoded
        encoded = decoded if step.encoded is None else step.encoded
        nbytes = self._given.nbytes
        if not decoded.itemsize or not encoded.itemsize:
            raise UnsupportedCodecError(f"codec {step.name!r} for items of dtype {decoded}, which have no bytes")
        if nbytes is not None and nbytes % decoded.itemsize:
            raise ValueError(f"codec {step.name!r}: {nbytes} bytes are no multiple of an item of {decoded}")
        found = _COMPUTE[step.name](step, decoded, encoded)
        self._dtype = encoded
        if isinstance(found, NativeStep):
            native = found._replace(itemsize=decoded.itemsize, encoded_itemsize=encoded.itemsize)
            self._add_native(native)
        elif found is not None:
            count = None if nbytes is None else nbytes // decoded.itemsize * encoded.itemsize
            self._add_python(found, step.name, self._given._replace(nbytes=count))

    def _add_native(self, native: NativeStep) -> None:
        if not self._run:
            self._run_given = self._given
        self._run.append(native)
        self._given = native.encoded(self._given)

    def _add_python(self, decode: Decode, name: str, given: Sized) -> None:
        self._end_run()
        self._stages.append(PythonStage(decode, name, bounded(decode)))
        self._given = given

    def _end_run(self) -> None:
        if self._run:
            self._stages.append(NativeStage.of(self._run, self._run_given))
            self._run = []


def permutation(step: Step, dim_count: int) -> tuple[int, ...]:
    """The order of a ``transpose`` of so many dimensions."""
    if isinstance(step.order, str):
        dimensions = range(dim_count)
        return tuple(dimensions if step.order == "C" else reversed(dimensions))
    if len(step.order) != dim_count:
        raise ValueError(f"codec 'transpose': order {step.order} for an array of {dim_count} dimensions")
    return step.order


# ------------------------------------------------------------------------------------------------------- byte order


def _swaps(dtype: np.dtype[Any], endian: str) -> list[NativeStep]:
    """What brings stored items of a dtype into its byte order."""
    kind = lib.RINGIO_CODEC_SWAP
    if dtype.fields is None and dtype.subdtype is None:
        width = _swap_nbytes(dtype, endian)
        return [NativeStep("bytes", kind, width)] if width else []
    return [
        NativeStep("bytes", lib.RINGIO_CODEC_SWAP_FIELD, dtype.itemsize, scale=first, offset=width | count << 32)
        for first, width, count in _fields(dtype, endian, 0)
    ]


def _fields(dtype: np.dtype[Any], endian: str, first: int) -> list[tuple[int, int, int]]:
    """Where in an item there are bytes to be reversed: first byte, how many at a time, and how often."""
    count = prod(dtype.shape)
    base = dtype.base
    if base.fields is None:
        width = _swap_nbytes(base, endian)
        return [(first, width, count * base.itemsize // width)] if width else []
    return [
        place
        for i in range(count)
        for field, (field_dtype, offset, *_) in base.fields.items()
        if base.names is not None and field in base.names  # not the titles
        for place in _fields(field_dtype, endian, first + i * base.itemsize + offset)
    ]


def _swap_nbytes(dtype: np.dtype[Any], endian: str) -> int:
    """How many bytes are to be reversed at a time; 0 where stored and dtype's byte order are the same."""
    if dtype.str[0] == "|" or (dtype.str[0] == ">") == (endian == "big"):
        return 0
    if dtype.kind == "c":
        return dtype.itemsize // 2  # real and imaginary part, each by itself
    if dtype.kind == "U":
        return 4  # one code point
    return dtype.itemsize


# ------------------------------------------------------------------------------------- codecs that compute with items

Computed = NativeStep | Decode | None


def _native(name: str, decoded: np.dtype[Any], encoded: np.dtype[Any], kind: str = "") -> NativeStep | None:
    source_type, target_type = type_code(encoded), type_code(decoded)
    if source_type is None or target_type is None:
        return None
    return NativeStep(name, KINDS[kind or name], source_type=source_type, target_type=target_type)


def _delta(step: Step, decoded: np.dtype[Any], encoded: np.dtype[Any]) -> Computed:
    # numpy adds in the type that both have in common, which may be larger than that of the result.
    common = np.result_type(decoded, encoded)
    wraps = common.kind in "iu" and decoded.kind in "iu"
    is_native = "b" not in (decoded.kind, encoded.kind) and (wraps or common == decoded.newbyteorder("="))
    native = _native(step.name, decoded, encoded) if is_native else None
    return native or _array_codecs.delta(decoded, encoded)


def _cast(step: Step, decoded: np.dtype[Any], encoded: np.dtype[Any]) -> Computed:
    if decoded == encoded:
        return None
    # What becomes of a float that no integer can hold is not defined; numpy and the C core need not agree.
    native = None if encoded.kind == "f" and decoded.kind in "iu" else _native(step.name, decoded, encoded, "astype")
    return native or _array_codecs.cast(decoded, encoded)


def _fixed_scale_offset(step: Step, decoded: np.dtype[Any], encoded: np.dtype[Any]) -> Computed:
    scale, offset = step.scale, step.offset
    native = None if decoded.kind in "iub" or encoded.kind == "b" else _native(step.name, decoded, encoded)
    if native is None or not _are_floats(scale, offset):
        return _array_codecs.fixed_scale_offset(decoded, encoded, scale, offset)
    return native._replace(scale=float(scale), offset=float(offset))


def _are_floats(*numbers: float | str) -> bool:
    """Whether doubles can hold them."""
    try:
        return all(float(number) == number for number in numbers)
    except OverflowError:
        return False


def _scale_offset(step: Step, decoded: np.dtype[Any], encoded: np.dtype[Any]) -> Computed:
    if decoded.kind not in "iuf":
        raise ValueError(f"codec 'scale_offset' for items of dtype {decoded}")
    scale, offset = (parse_scalar(step.name, number, decoded) for number in (step.scale, step.offset))
    if scale == 0:
        raise ValueError("codec 'scale_offset': a scale of 0")
    if scale == 1 and offset == 0 and decoded.kind != "f":
        return None
    native = _native(step.name, decoded, encoded, "fixedscaleoffset" if decoded.kind == "f" else "")
    if native is None:
        return _array_codecs.rescale(decoded, scale, offset)
    return native._replace(scale=scale, offset=offset)


def parse_scalar(name: str, value: float | str, dtype: np.dtype[Any]) -> Any:
    """A number of a configuration as zarr-python reads it for a dtype: an int, or a float."""
    try:
        if dtype.kind == "f":
            if isinstance(value, str) and value.startswith("0x"):
                raw = int(value, 16).to_bytes(dtype.itemsize, "big")
                return float(np.frombuffer(raw, dtype.newbyteorder(">"))[0])
            with np.errstate(over="ignore"):
                return float(dtype.type(float(value)))
        number = int(value)
        info = np.iinfo(dtype)
        if number != (float(value) if isinstance(value, float) else number) or not info.min <= number <= info.max:
            raise ValueError
        return number
    except (ValueError, OverflowError):
        raise ValueError(f"codec {name!r}: {value!r} is no number of data type {dtype}") from None


def _cast_value(step: Step, decoded: np.dtype[Any], encoded: np.dtype[Any]) -> Computed:
    import json  # late: few chains need it

    options = {key: json.loads(text) for key, text in step.options}
    if decoded.kind in "bcmMSUV" and not decoded.isbuiltin == 2:
        raise ValueError(f"codec 'cast_value' for items of dtype {decoded}")
    is_nearest = options.get("rounding", "nearest-even") == "nearest-even" and not options.get("scalar_map")
    if is_nearest and (np.can_cast(encoded, decoded, "safe") or (encoded.kind in "iu" and decoded.kind == "f")):
        if decoded == encoded:
            return None
        if (native := _native(step.name, decoded, encoded, "astype")) is not None:
            return native
    return _array_codecs.cast_value(decoded, encoded, options)


def _nothing(step: Step, decoded: np.dtype[Any], encoded: np.dtype[Any]) -> Computed:
    del step, decoded, encoded
    return None


_COMPUTE: Final = {
    "delta": _delta,
    "fixedscaleoffset": _fixed_scale_offset,
    "quantize": _cast,
    "bitround": _nothing,
    "astype": _cast,
    "scale_offset": _scale_offset,
    "cast_value": _cast_value,
}


def walk(steps: Sequence[Step], shape: tuple[int, ...], dtype: np.dtype[Any]) -> Walk:
    """The walk through all steps.

    Raises:
        UnsupportedCodecError, ValueError: a codec that cannot decode to what there is at its place.
    """
    walked = Walk(shape, dtype)
    for step in steps:
        walked.add(step)
    return walked
