"""Data types against zarr-python, and against TensorStore where zarr-python has none: the same dtype, the same bits."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tensorstore
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.core.dtype import get_data_type_from_json

import ringio_zarr
from ringio_zarr import MetadataError, UnsupportedError
from ringio_zarr._dtypes import ML_DTYPES, parse_v2_dtype, parse_v3_dtype
from ringio_zarr._errors import Place
from ringio_zarr._fill import parse_fill

pytestmark = pytest.mark.filterwarnings("ignore::Warning:zarr")

PLACE = Place("a/doc", "dtype")
POINT: list[Any] = [("x", "<i2"), ("y", "<f4")]
NESTED: list[Any] = [("a", "|u1"), ("p", [("t", "<M8[10s]"), ("s", "|S3"), ("u", "<U2")]), ("z", "<c8")]
MIXED: list[Any] = [("x", ">i2"), ("y", "<f4"), ("p", [("t", ">M8[s]"), ("u", ">U2"), ("b", "|b1")]), ("z", ">c16")]
V2_ORDER = [">i2", ">u8", ">f2", ">f8", ">c8", ">M8[ns]", ">m8[25D]", ">U3"]
BOTH = [
    *["|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8", "<c8", "<c16"],
    *["<M8[Y]", "<M8[10us]", "<M8[as]", "<m8[ns]", "<m8[3W]", "|S1", "|S7", "<U1", "<U5", "|V1", "|V9"],
    *[POINT, NESTED],
]


def random_items(dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Any bits that make sense for the dtype."""
    rng = np.random.default_rng(5)
    if dtype.names is not None:
        items = np.zeros(shape, dtype)
        for name in dtype.names:
            items[name] = random_items(dtype[name].base, items[name].shape)
        return items
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(dtype)
    if dtype.kind in "SU":
        return np.array([f"{i:x}" for i in range(int(np.prod(shape)))], dtype).reshape(shape)
    if dtype.kind in "fc":
        return (rng.standard_normal(shape) * 9).astype(dtype)
    return rng.integers(0, 256, (*shape, dtype.itemsize)).astype(np.uint8).view(dtype)[..., 0]


def assert_same(got: Any, want: Any) -> None:
    assert type(got) is type(want)
    got, want = np.asarray(got), np.asarray(want)
    assert got.dtype == want.dtype
    assert str(got.dtype) == str(want.dtype)
    assert got.shape == want.shape
    assert got.tobytes() == want.tobytes()


@pytest.mark.parametrize(
    ("zarr_format", "dtype", "layout"),
    [(2, dtype, layout) for dtype in [*BOTH, *V2_ORDER, MIXED] for layout in ("plain", "filled")]
    + [(3, dtype, layout) for dtype in BOTH for layout in ("plain", "filled", "sharded")],
    ids=str,
)
@pytest.mark.zarr_3_4
def test_every_data_type_reads_as_in_zarr_python(tmp_path: Path, zarr_format: Any, dtype: Any, layout: str) -> None:
    """Numbers, times, text, bytes, structs and structs in structs, little- and big-endian: every bit, missing chunks
    and scalars too."""
    dtype = np.dtype(dtype)
    items = random_items(dtype, (7, 5))
    # No compressor: zarr-python cannot give structs with times in them to one.
    options: dict[str, Any] = {"shards": (6, 4)} if layout == "sharded" else {}
    fill = items[0, 0] if layout == "filled" else None
    theirs = zarr.create_array(
        str(tmp_path / "a"),
        shape=(7, 5),
        chunks=(3, 2),
        dtype=dtype,
        zarr_format=zarr_format,
        fill_value=fill,
        **{"compressors": None, **options},
    )
    theirs[3:, :4] = items[3:, :4]
    ours = ringio_zarr.open_array(str(tmp_path / "a"))
    theirs = zarr.open_array(str(tmp_path / "a"), mode="r")
    assert ours.dtype == theirs.dtype
    assert type(ours.fill_value) is type(theirs.fill_value)
    for selection in (..., (slice(None, None, 2), slice(1, 5)), (4, 1), (0, 0), (slice(2, 4), 3)):
        assert_same(ours[selection], theirs[selection])


@pytest.mark.parametrize(
    "document",
    [
        [["x", "<i2"], ["y", [["u", ">f4"], ["v", [["w", "|S3"], ["x", "|b1"]]]]]],
        *["<b1", ">i1", "<u1", "|i1", "<V4", ">V6", "<M8", ">m8", "<m8[generic]", "<m8[5generic]", "<M8[μs]"],
    ],
)
@pytest.mark.zarr_3_4
def test_v2_spellings(document: Any) -> None:
    """What zarr-python reads as a v2 data type is the same dtype here."""
    theirs = get_data_type_from_json({"name": document, "object_codec_id": None}, zarr_format=2).to_native_dtype()
    ours = parse_v2_dtype(document, PLACE)
    assert ours == theirs
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize(
    "document",
    [
        {"name": "struct", "configuration": {"fields": [{"name": "a", "data_type": "int16"}, ["b", "bool"]]}},
        {"name": "structured", "configuration": {"fields": [["a", "float64"], ["b", "complex64"]]}},
        {
            "name": "struct",
            "configuration": {
                "fields": [
                    {"name": "a", "data_type": {"name": "struct", "configuration": {"fields": [["b", "uint64"]]}}},
                    {
                        "name": "t",
                        "data_type": {"name": "numpy.datetime64", "configuration": {"unit": "s", "scale_factor": 5}},
                    },
                ]
            },
        },
        {"name": "numpy.datetime64", "configuration": {"unit": "generic", "scale_factor": 3}},
        {"name": "numpy.timedelta64", "configuration": {"unit": "μs", "scale_factor": 3}},
    ],
)
@pytest.mark.zarr_3_4
def test_v3_spellings(document: Any) -> None:
    """What zarr-python reads as a v3 data type is the same dtype here."""
    theirs = get_data_type_from_json(document, zarr_format=3).to_native_dtype()
    assert parse_v3_dtype(document, PLACE) == theirs
    assert repr(parse_v3_dtype(document, PLACE)) == repr(theirs)


def test_fields_with_a_shape(tmp_path: Path) -> None:
    """Arrays inside the items, as zarr-python 2 wrote them and zarr-python 3 refuses them, are numpy's."""
    dtype = np.dtype([("x", "<i2", (2, 3)), ("p", [("t", ">f4", (2,))], (2,)), ("n", "<i4")])
    assert parse_v2_dtype([["x", "<i2", [2, 3]], ["p", [["t", ">f4", [2]]], [2]], ["n", "<i4"]], PLACE) == dtype
    items = random_items(dtype, (4,))
    fill = random_items(dtype, (1,))
    (tmp_path / "a").mkdir()
    document = {
        "zarr_format": 2,
        "shape": [6],
        "chunks": [2],
        "order": "C",
        "filters": None,
        "compressor": None,
        "dtype": [["x", "<i2", [2, 3]], ["p", [["t", ">f4", [2]]], [2]], ["n", "<i4"]],
        "fill_value": base64.b64encode(fill.tobytes()).decode(),
    }
    (tmp_path / "a/.zarray").write_text(json.dumps(document))
    (tmp_path / "a/0").write_bytes(items[:2].tobytes())
    (tmp_path / "a/1").write_bytes(items[2:].tobytes())
    got = ringio_zarr.open_array(str(tmp_path / "a"))[:]
    assert got.dtype == dtype
    assert got.tobytes() == items.tobytes() + fill.tobytes() * 2


@pytest.mark.parametrize(
    ("zarr_format", "document", "words"),
    [
        (2, [], "list of fields"),
        (2, [["x"]], r"\[0\]"),
        (2, [["x", "<i2"], ["y", "<i2", [0]]], r"\[1\]\[2\]\[0\]"),
        (2, [["x", "<i2"], ["x", "<i2"]], "field 'x' occurs more than once"),
        (2, [["x", "|O"]], r"\[0\]\[1\]"),
        (2, [["x", "<i4", [1 << 20]]], "bytes"),
        (2, [[1, "<i4"]], "name"),
        (2, "int3", "unknown data type"),
        (3, {"name": "struct"}, "'fields'"),
        (3, {"name": "struct", "configuration": {"fields": {}}}, "list of fields"),
        (3, {"name": "struct", "configuration": {"fields": [{"name": "x"}]}}, "'data_type'"),
        (3, {"name": "struct", "configuration": {"fields": [{"name": 1, "data_type": "int8"}]}}, "name of a field"),
        (3, {"name": "struct", "configuration": {"fields": [["x", "int3"]]}}, r"fields\[0\]\[1\]"),
        (3, {"name": "int4", "configuration": {"x": 1}}, "'x'"),
    ],
)
def test_what_is_no_data_type(zarr_format: int, document: Any, words: str) -> None:
    """A clear error with the place of what is wrong."""
    with pytest.raises(MetadataError, match=words):
        (parse_v2_dtype if zarr_format == 2 else parse_v3_dtype)(document, PLACE)


def test_structs_nested_without_end() -> None:
    """A struct in a struct a thousand times is refused before anything runs out."""
    document: Any = "<i2"
    for _ in range(500):
        document = [["x", document]]
    with pytest.raises(UnsupportedError, match="nested"):
        parse_v2_dtype(document, PLACE)


# Fill values of structs


SECONDS = {"name": "numpy.datetime64", "configuration": {"unit": "s", "scale_factor": 1}}
V3_POINT = {"name": "struct", "configuration": {"fields": [["x", "int16"], ["y", "float32"], ["t", SECONDS]]}}
V2_POINT = [["x", ">i2"], ["y", "<f4"], ["t", "<M8[s]"]]


@pytest.mark.parametrize(
    "value",
    [
        {"x": 7, "y": 1.5, "t": 9},
        {"x": 7.0, "y": "NaN", "t": "NaT"},
        {"y": "-Infinity", "other": 3},
        {},
        base64.b64encode(bytes(range(14))).decode(),
    ],
)
@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.zarr_3_4
def test_struct_fills_as_in_zarr_python(value: Any, zarr_format: Any) -> None:
    """An object with some of the fields, or the bytes of the item in base64."""
    data_type: Any = V2_POINT if zarr_format == 2 else V3_POINT
    spec = {"name": data_type, "object_codec_id": None} if zarr_format == 2 else data_type
    theirs = get_data_type_from_json(spec, zarr_format=zarr_format)
    dtype = (parse_v2_dtype if zarr_format == 2 else parse_v3_dtype)(data_type, PLACE)
    want = theirs.cast_scalar(theirs.from_json_scalar(value, zarr_format=zarr_format))
    got = parse_fill(value, dtype, PLACE, zarr_format=zarr_format)
    assert got.data == np.full((1,), want, dtype).tobytes()
    assert type(got.value) is type(want)


def test_struct_fill_null_and_zero() -> None:
    """v2 only: null is zeros, of times too, as in zarr-python; so is 0."""
    dtype = parse_v2_dtype(V2_POINT, PLACE)
    assert parse_fill(None, dtype, PLACE, zarr_format=2) == (None, bytes(14), None)
    assert parse_fill(0, dtype, PLACE, zarr_format=2).data == bytes(14)
    for value in (None, 0):
        with pytest.raises(MetadataError):
            parse_fill(value, dtype, PLACE, zarr_format=3)


@pytest.mark.parametrize("value", [base64.b64encode(b"abc").decode(), {"x": "a"}, {"x": 1 << 15}, [1, 2, 3], "é"])
def test_struct_fills_that_cannot_be(value: Any) -> None:
    """Too few bytes, and fields that do not fit."""
    for data_type, zarr_format in ((V2_POINT, 2), (V3_POINT, 3)):
        dtype = (parse_v2_dtype if zarr_format == 2 else parse_v3_dtype)(data_type, PLACE)
        with pytest.raises(MetadataError, match="a/doc"):
            parse_fill(value, dtype, PLACE, zarr_format=zarr_format)


@given(st.integers(-(2**15), 2**15 - 1), st.integers(0, 2**32 - 1))
def test_struct_fills_keep_every_bit(x: int, y: int) -> None:
    """A number given by its bits keeps them inside a struct too."""
    dtype = parse_v3_dtype(V3_POINT, PLACE)
    fill = parse_fill({"x": x, "y": f"0x{y:08x}"}, dtype, PLACE, zarr_format=3)
    assert fill.data[:6] == x.to_bytes(2, "little", signed=True) + y.to_bytes(4, "little")


# ml_dtypes


def write_ml(path: Path, name: str, zarr_format: int, fill: Any) -> np.ndarray[Any, Any]:
    """An array with one chunk missing, as TensorStore writes it; the elements that there should be."""
    driver = "zarr" if zarr_format == 2 else "zarr3"
    metadata: dict[str, Any] = {"shape": [6, 4], "fill_value": fill}
    if zarr_format == 2:
        metadata |= {"dtype": name, "chunks": [3, 4], "compressor": None}
    else:
        metadata |= {"data_type": name, "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [3, 4]}}}
    store = tensorstore.open(
        {"driver": driver, "kvstore": {"driver": "file", "path": str(path)}, "metadata": metadata, "create": True}
    ).result()
    dtype = store.dtype.numpy_dtype
    store[:3].write(np.arange(12).reshape(3, 4).astype("f4").astype(dtype) - np.array(2).astype(dtype)).result()
    elements: np.ndarray[Any, Any] = store.read().result()
    return elements


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("name", ML_DTYPES)
def test_small_types_read_as_in_tensorstore(tmp_path: Path, name: str, zarr_format: int) -> None:
    """Every type of ml_dtypes that TensorStore can write."""
    # TensorStore 0.1 takes 1.0 for another power of two in float8_e8m0fnu.
    fill: Any = 1 if "int" in name else "NaN" if name in ("bfloat16", "float8_e8m0fnu") else 1.0
    try:
        want = write_ml(tmp_path / "a", name, zarr_format, fill)
    except (ValueError, TypeError, AttributeError) as error:
        pytest.skip(f"TensorStore: {str(error)[:80]}")
    got = ringio_zarr.open_array(str(tmp_path / "a"))
    assert got.dtype == want.dtype
    assert_same(got[:], want)
    assert_same(got[1:5, 1:], want[1:5, 1:])


@pytest.mark.parametrize("name", ML_DTYPES)
def test_small_types_and_their_fills(tmp_path: Path, name: str) -> None:
    """The dtype of that name in ml_dtypes; fills are numbers, and for floats the bits."""
    dtype = np.dtype(getattr(ml_dtypes, name))
    assert parse_v3_dtype(name, PLACE) == dtype
    assert parse_v2_dtype(name, PLACE) == dtype
    assert parse_fill(1, dtype, PLACE, zarr_format=3).data == np.array(1, dtype).tobytes()
    if "int" in name:
        info = ml_dtypes.iinfo(dtype)
        for number in (info.min - 1, info.max + 1):
            with pytest.raises(MetadataError, match=f"out of range for data type {name}"):
                parse_fill(number, dtype, PLACE, zarr_format=3)
        assert parse_fill(info.min, dtype, PLACE, zarr_format=3).value == info.min
    else:
        bits = np.array([1], dtype).view(f"u{dtype.itemsize}")[0]
        assert parse_fill(f"0x{bits:0{2 * dtype.itemsize}x}", dtype, PLACE, zarr_format=3).value == 1


def test_bfloat16_keeps_its_bits_and_its_order(tmp_path: Path) -> None:
    """A NaN with a payload, stored big-endian."""
    (tmp_path / "a").mkdir()
    document = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [4],
        "data_type": "bfloat16",
        "fill_value": "0x7fc1",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2]}},
        "chunk_key_encoding": {"name": "default"},
        "attributes": {},
        "codecs": [{"name": "bytes", "configuration": {"endian": "big"}}],
    }
    (tmp_path / "a/zarr.json").write_text(json.dumps(document))
    (tmp_path / "a/c").mkdir()
    (tmp_path / "a/c/0").write_bytes(bytes.fromhex("3f804000"))
    got = ringio_zarr.open_array(str(tmp_path / "a"))[:]
    assert got.view("<u2").tolist() == [0x3F80, 0x4000, 0x7FC1, 0x7FC1]
    assert got[:2].astype("f4").tolist() == [1, 2]


def test_without_ml_dtypes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who lacks ml_dtypes is told what to install; who has an old one, too."""
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(UnsupportedError, match="pip install ml_dtypes"):
        parse_v3_dtype("bfloat16", PLACE)
    monkeypatch.setitem(sys.modules, "ml_dtypes", type(sys)("ml_dtypes"))
    monkeypatch.setattr(sys.modules["ml_dtypes"], "__version__", "0.0", raising=False)
    with pytest.raises(UnsupportedError, match="pip install -U ml_dtypes"):
        parse_v3_dtype("int2", PLACE)
