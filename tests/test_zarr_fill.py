"""Fill values against zarr-python: for each data type and each spelling the same bytes, or an exception from both."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from zarr.core.dtype import get_data_type_from_json

from ringio_zarr._dtypes import parse_v2_dtype, parse_v3_dtype
from ringio_zarr._errors import MetadataError, Place
from ringio_zarr._fill import Fill, parse_fill

PLACE = Place("a/doc", "fill_value")
V2_TYPES = [
    *["|b1", "|i1", "<i2", ">i4", "<u8", "<f2", ">f4", "<f8", "<c8", ">c16"],
    *["<M8[s]", ">m8[10ns]", "|S5", "<U3", ">U3", "|V4"],
]
V3_TYPES: list[Any] = [
    *["bool", "int8", "int32", "uint64", "float16", "float32", "float64", "complex64", "complex128"],
    {"name": "numpy.datetime64", "configuration": {"unit": "s", "scale_factor": 1}},
    {"name": "numpy.timedelta64", "configuration": {"unit": "ns", "scale_factor": 10}},
    {"name": "null_terminated_bytes", "configuration": {"length_bytes": 5}},
    {"name": "fixed_length_utf32", "configuration": {"length_bytes": 12}},
    {"name": "raw_bytes", "configuration": {"length_bytes": 4}},
]
VALUES: list[Any] = [
    *[None, 0, 1, -1, 300, 2**63, -(2**63), 2**64 - 1, 2**64, 10**400, True, False],
    *[0.0, -0.0, 1.0, 1.5, 1e300, 70000.0, math.nan, math.inf],
    *["", "1", "1.5", "-0.0", "x", "xyz", "ab", "abcdef", "é", "NaN", "Infinity", "-Infinity", "NaT", "1j", "0x"],
    *["0x7fc00001", "0xffc00001", "0x3f800000", "0x7ff8000000000001", "YWI=", "YWJjZA==", "YWJjZGU=", "AAAAAA=="],
    *[[1, 2], [1.5, "NaN"], ["-Infinity", 0], [1], [1, 2, 3], [[1], 2], [None, 1], [], {}],
]


def ours(value: Any, data_type: Any, zarr_format: int) -> Fill | None:
    dtype = parse_v2_dtype(data_type, PLACE) if zarr_format == 2 else parse_v3_dtype(data_type, PLACE)
    try:
        return parse_fill(value, dtype, PLACE, zarr_format=zarr_format)
    except MetadataError:
        return None


def theirs(value: Any, data_type: Any, zarr_format: int) -> Fill | None:
    spec = {"name": data_type, "object_codec_id": None} if zarr_format == 2 else data_type
    zdtype: Any = get_data_type_from_json(spec, zarr_format=zarr_format)
    try:
        scalar: Any = None
        if value is not None or zarr_format == 3:
            scalar = zdtype.cast_scalar(zdtype.from_json_scalar(json.loads(json.dumps(value)), zarr_format=zarr_format))
        item = zdtype.default_scalar() if scalar is None else scalar
        return Fill(scalar, np.full((), item, zdtype.to_native_dtype()).tobytes())
    except (TypeError, ValueError, OverflowError):
        return None


def same(left: Fill | None, right: Fill | None) -> bool:
    if left is None or right is None:
        return left is right
    return left.data == right.data and type(left.value) is type(right.value)


def is_hex(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("0x")


@pytest.mark.parametrize(
    ("zarr_format", "data_type"),
    [(2, data_type) for data_type in V2_TYPES] + [(3, data_type) for data_type in V3_TYPES],
)
@pytest.mark.filterwarnings("ignore")
def test_every_value_for_every_type_is_what_zarr_python_makes_of_it(zarr_format: int, data_type: Any) -> None:
    """The same scalar type and the same bytes as zarr-python, or refused by both; every difference is listed here."""
    kind = (parse_v2_dtype if zarr_format == 2 else parse_v3_dtype)(data_type, PLACE).kind
    for value in VALUES:
        mine, reference = ours(value, data_type, zarr_format), theirs(value, data_type, zarr_format)
        if same(mine, reference):
            continue
        # To zarr-python any JSON value is a bool, and it drops what is no base64.
        if kind == "b":
            assert mine is None
            assert not isinstance(value, int | float | str)
        elif kind in "SV":
            assert mine is None or (zarr_format, value) == (2, 0), value
        elif kind == "f" and is_hex(value):  # zarr-python loses bits of a NaN
            assert mine is not None
            assert math.isnan(mine.value), value
        elif kind in "Mm" and isinstance(value, float | str):  # we take whole numbers in every spelling
            assert mine is not None
            assert mine.data[:8] in (int(float(value)).to_bytes(8, order) for order in ("little", "big")), value
        elif zarr_format == 2 and value == 0:  # "0" of any type was zeros in zarr-python 2
            assert mine is not None
            assert not any(mine.data.replace(b"\x80", b"")), value
        elif zarr_format == 2 and kind == "c":  # a real number is complex too
            assert mine is not None
            assert same(mine, ours([value, 0], data_type, 2)), value
        else:
            pytest.fail(f"{value!r}: {mine}, zarr-python {reference}")


@pytest.mark.parametrize(
    ("data_type", "value", "expected"),
    [
        ("float32", "0x7fc00001", "0100c07f"),
        ("float32", "0xffc00001", "0100c0ff"),
        ("float32", "0x3f800000", "0000803f"),
        ("float64", "0x7ff8000000000001", "010000000000f87f"),
        ("float16", "0x7e01", "017e"),
        ("complex64", ["0x7fc00001", "0x3f800000"], "0100c07f0000803f"),
    ],
)
def test_hex_keeps_the_bits(data_type: str, value: Any, expected: str) -> None:
    """A NaN written as its bits keeps its payload; zarr-python loses that of a float16 on the way."""
    fill = ours(value, data_type, 3)
    assert fill is not None
    assert fill.data.hex() == expected


@pytest.mark.parametrize("value", ["0x7fc000", "0x7fc000010", "0x7fc0000g", "0x7fcg", "0x", "0x 7fc0000"])
def test_hex_of_no_size_of_a_float_or_no_hex_is_refused(value: str) -> None:
    """The bits of a float are 4, 8 or 16 hex digits."""
    with pytest.raises(MetadataError):
        parse_fill(value, np.dtype("<f4"), PLACE, zarr_format=3)


@pytest.mark.parametrize("data_type", ["float16", "float32", "float64"])
@pytest.mark.parametrize("value", ["0x3e00", "0x3fc00000", "0x3ff8000000000000"])
def test_hex_of_another_float(data_type: str, value: str) -> None:
    """The bits of a float of another size are its value, as in zarr-python."""
    fill = ours(value, data_type, 3)
    assert same(fill, theirs(value, data_type, 3))
    assert fill is not None
    assert fill.value == 1.5


@pytest.mark.parametrize("dtype", ["V4", [("a", "<i2"), ("b", "|S2")]])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_bytes_that_are_too_many_are_cut_off(dtype: Any, zarr_format: int) -> None:
    """As in zarr-python: of a struct the first of several whole items counts."""
    value = base64.b64encode(bytes(range(1, 9))).decode()
    fill = parse_fill(value, np.dtype(dtype), PLACE, zarr_format=zarr_format)
    assert fill.data == bytes([1, 2, 3, 4])


@pytest.mark.parametrize("value", ["", "AAAAAAA=", "-_-_-_-_"])
def test_bytes_that_are_no_struct(value: str) -> None:
    """Nothing, one and a quarter of an item, and the alphabet for URLs, which zarr-python would drop characters of."""
    with pytest.raises(MetadataError):
        parse_fill(value, np.dtype([("a", "<i2"), ("b", "|S2")]), PLACE, zarr_format=3)


def test_hex_is_no_v2_spelling() -> None:
    """v2 has no hex; "0x7fc00001" is not a number there."""
    with pytest.raises(MetadataError, match="no number"):
        parse_fill("0x7fc00001", np.dtype("<f4"), PLACE, zarr_format=2)


def test_null_is_zeros_and_not_a_time_for_times() -> None:
    """v2's null: the value is None, the bytes are zeros, NaT for datetime64 and timedelta64; v3 has no null."""
    for typestr in V2_TYPES:
        dtype = np.dtype(typestr)
        value, data, _ = parse_fill(None, dtype, PLACE, zarr_format=2)
        assert value is None
        if dtype.kind in "Mm":
            assert np.isnat(np.frombuffer(data, dtype)[0])
        else:
            assert data == bytes(dtype.itemsize)
        with pytest.raises(MetadataError):
            parse_fill(None, dtype, PLACE, zarr_format=3)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (300, "u1"),
        (-1, "<u4"),
        (128, "i1"),
        (2**63, "<M8[s]"),
        (1.5, "<i4"),
        (math.nan, "<i4"),
        (math.inf, "<i4"),
        ("9" * 5000, "<i4"),
        (10**400, "<f8"),
        ([], "?"),
        ({}, "?"),
        (5, "<U3"),
        (5, "S3"),
        ([1, 2, 3], "V4"),
        ([1, 2, 3, 256], "V4"),
        ([1, 2, 3, True], "V4"),
        ([1, 2, 3], "<c8"),
        (["x", 0], "<c8"),
    ],
)
def test_what_does_not_fit_is_refused_not_wrapped(value: Any, dtype: str) -> None:
    """A number out of range, a fraction for an integer, bytes too many: MetadataError, never another number."""
    for zarr_format in (2, 3):
        with pytest.raises(MetadataError, match=r"^a/doc: fill_value") as error:
            parse_fill(value, np.dtype(dtype), PLACE, zarr_format=zarr_format)
        assert len(str(error.value)) < 200


@given(st.binary(max_size=4), st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=3))
def test_bytes_and_text_of_any_content(raw: bytes, text: str) -> None:
    """Bytes in base64 are padded with zeros to the item; text is code points in the order of bytes of the dtype."""
    encoded = base64.b64encode(raw).decode()
    for dtype in ("S4", "V4"):
        assert parse_fill(encoded, np.dtype(dtype), PLACE, zarr_format=3).data == raw.ljust(4, b"\0")
    for dtype, encoding in (("<U3", "utf-32-le"), (">U3", "utf-32-be")):
        fill = parse_fill(text, np.dtype(dtype), PLACE, zarr_format=2)
        assert fill.value == text
        assert fill.data == text.encode(encoding).ljust(12, b"\0")
