"""Strings, bytes and objects of any length: against zarr-python 3, and against numcodecs where only zarr-python 2 read
them."""

from __future__ import annotations

import gc
import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

import ringio
import ringio_zarr
from ringio._vlen import VlenCodec
from ringio_zarr import MetadataError, UnsupportedError

pytestmark = pytest.mark.filterwarnings("ignore::Warning:zarr", "ignore::Warning:numcodecs")

SHAPE = (7, 5)
WORDS = [f"é item {i} " * (i % 5) for i in range(35)]
STRINGS = np.array(WORDS, np.dtypes.StringDType()).reshape(SHAPE)
BYTES = np.array([word.encode() for word in WORDS], object).reshape(SHAPE)
TRANSPOSE = zarr.codecs.TransposeCodec(order=(1, 0))
LAYOUTS: dict[str, dict[str, Any]] = {
    "v2": {"zarr_format": 2},
    "v2-F": {"zarr_format": 2, "order": "F"},
    "v2-raw": {"zarr_format": 2, "compressors": None},
    "v3": {},
    "v3-sharded": {"shards": (6, 4)},
    "v3-transposed": {"filters": [TRANSPOSE], "compressors": [zarr.codecs.GzipCodec(), zarr.codecs.Crc32cCodec()]},
}
SELECTIONS: list[Any] = [..., (slice(None, None, 2), slice(1, None)), (3, 1), (0, 0), 2, (slice(0, 3), 4), slice(2, 2)]


def assert_same(got: Any, want: Any) -> None:
    assert type(got) is type(want)
    assert getattr(got, "dtype", None) == getattr(want, "dtype", None)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("fill", [None, "x"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["strings", "bytes"])
def test_reads_as_in_zarr_python(tmp_path: Path, kind: str, layout: str, fill: str | None) -> None:
    """Types, dtypes, values and missing chunks of every selection; crops, batches, the caller's own array."""
    values = STRINGS if kind == "strings" else BYTES
    dtype: Any = zarr.dtype.VariableLengthUTF8() if kind == "strings" else zarr.dtype.VariableLengthBytes()
    options = dict(LAYOUTS[layout])
    if fill is not None:
        options["fill_value"] = fill if kind == "strings" else fill.encode()
    zarr.create_array(str(tmp_path / "a"), shape=SHAPE, chunks=(3, 2), dtype=dtype, **options)[2:, :3] = values[2:, :3]
    theirs, ours = zarr.open_array(str(tmp_path / "a"), mode="r"), ringio_zarr.open_array(str(tmp_path / "a"))
    assert (ours.dtype, ours.fill_value, ours.nbytes) == (theirs.dtype, theirs.fill_value, theirs.nbytes)
    for selection in SELECTIONS:
        assert_same(ours[selection], theirs[selection])
    for got, selection in zip(ours.read_many(SELECTIONS), SELECTIONS, strict=True):
        assert_same(got, theirs[selection])
    whole: Any = theirs[...]
    np.testing.assert_array_equal(
        ours.read_crops([[0, 0], [3, 1], [0, 0]], (3, 3)), np.stack([whole[:3, :3], whole[3:6, 1:4], whole[:3, :3]])
    )
    out = np.empty((5, 7), ours.dtype).T
    assert ours.get_basic_selection(..., out=out) is out
    np.testing.assert_array_equal(out, whole)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(ours))[::-1], whole[::-1])


def test_rows_and_points(tmp_path: Path) -> None:
    """oindex, vindex, masks and blocks; points that lie behind each other in a chunk, but not in a row."""
    zarr.create_array(str(tmp_path / "a"), shape=SHAPE, chunks=(3, 4), dtype="string")[...] = STRINGS
    array: Any = ringio_zarr.open_array(str(tmp_path / "a"))
    rows, columns = np.array([0, 0, 1, 1, 1, 1, 6, 6]), np.array([2, 3, 0, 1, 2, 3, 4, 4])
    np.testing.assert_array_equal(array.vindex[rows, columns], STRINGS[rows, columns])
    np.testing.assert_array_equal(array.vindex[rows[:3], columns[:3]], STRINGS[rows[:3], columns[:3]])
    np.testing.assert_array_equal(array.oindex[[6, 0, 0, 3], [1, 4]], STRINGS[np.ix_([6, 0, 0, 3], [1, 4])])
    np.testing.assert_array_equal(array.get_mask_selection(STRINGS != ""), STRINGS[STRINGS != ""])
    np.testing.assert_array_equal(array.blocks[1, 0], STRINGS[3:6, :4])


def write_v2(path: Path, values: np.ndarray[Any, Any], codec: Any, **changes: Any) -> str:
    """An array of objects as zarr-python 2 wrote it: one chunk is there, one is missing."""
    path.mkdir()
    document = {
        "zarr_format": 2,
        "shape": [2 * len(values)],
        "chunks": [len(values)],
        "dtype": "|O",
        "fill_value": None,
        "order": "C",
        "filters": [codec.get_config()],
        "compressor": {"id": "zlib", "level": 1},
        **changes,
    }
    (path / ".zarray").write_text(json.dumps(document))
    (path / "0").write_bytes(numcodecs.Zlib(1).encode(codec.encode(values)))
    return str(path)


@pytest.mark.parametrize("codec", ["json2", "msgpack2", "vlen-array", "vlen-utf8", "vlen-bytes", "categorize"])
def test_objects_of_zarr_python_2(tmp_path: Path, codec: str) -> None:
    """Codecs that make objects, through numcodecs; missing chunks have the fill value."""
    values = np.empty(4, object)
    encoder: Any = numcodecs.get_codec({"id": codec}) if codec.startswith(("json", "msg", "vlen-u", "vlen-b")) else None
    match codec:
        case "json2" | "msgpack2":
            values[:] = ["a", {"b": [1, None]}, 3.5, True]
        case "vlen-array":
            encoder = numcodecs.VLenArray("<i4")
            values[:] = [np.arange(count, dtype="<i4") for count in range(4)]
        case "vlen-utf8":
            values[:] = WORDS[:4]
        case "vlen-bytes":
            values[:] = [word.encode() for word in WORDS[:4]]
        case "categorize":
            encoder = numcodecs.Categorize(["x", "y"], dtype=object)
            values[:] = ["x", "y", "y", "x"]
    array = ringio_zarr.open_array(write_v2(tmp_path / "a", values, encoder))
    got = array[...]
    assert got.dtype == (np.dtypes.StringDType() if codec == "vlen-utf8" else object)
    for left, right in zip(got[:4].tolist(), values.tolist(), strict=True):
        assert type(left) is type(right)
        np.testing.assert_array_equal(left, right)
    expected = {"vlen-utf8": "", "vlen-bytes": b""}.get(codec)
    assert got[4:].tolist() == [expected] * 4


def test_pickle_is_refused(tmp_path: Path) -> None:
    """The codec ``pickle`` runs whatever stands in the data, so it is not taken without being asked for."""
    path = write_v2(tmp_path / "a", np.array(["a", 1], object), numcodecs.Pickle())
    with pytest.raises(UnsupportedError, match="'pickle'"):
        ringio_zarr.open_array(path)


@pytest.mark.parametrize(
    ("value", "expected"), [(None, ""), (0, "0"), ("", ""), ("x", "x"), (1.5, "1.5"), ([], None), ({}, None)]
)
def test_fills_of_strings(tmp_path: Path, value: Any, expected: str | None) -> None:
    """zarr-python 2 wrote numbers too; they are text, as in zarr-python 3."""
    path = write_v2(tmp_path / "a", np.array(["a", "b"], object), numcodecs.VLenUTF8(), fill_value=value)
    if expected is None:
        with pytest.raises(MetadataError, match="fill_value"):
            ringio_zarr.open_array(path)
    else:
        assert ringio_zarr.open_array(path)[2:].tolist() == [expected] * 2
        np.testing.assert_array_equal(ringio_zarr.open_array(path)[...], zarr.open_array(path, mode="r")[...])


def test_what_cannot_be(tmp_path: Path) -> None:
    """Objects without a codec that makes them; strings in structs; codecs whose package is missing."""
    path = write_v2(tmp_path / "a", np.array(["a"], object), numcodecs.VLenUTF8(), filters=None)
    with pytest.raises(MetadataError, match="without a filter that makes objects"):
        ringio_zarr.open_array(path)
    path = write_v2(tmp_path / "b", np.array(["a"], object), numcodecs.VLenUTF8(), dtype=[["a", "|O"]])
    with pytest.raises(UnsupportedError, match="objects in a struct"):
        ringio_zarr.open_array(path)


def test_without_numcodecs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Strings and bytes need nothing else; json2 does, and says so."""
    strings = write_v2(tmp_path / "a", np.array(["a", "é"], object), numcodecs.VLenUTF8())
    objects = write_v2(tmp_path / "b", np.array(["a", 1], object), numcodecs.JSON())
    monkeypatch.setitem(sys.modules, "numcodecs", None)
    assert ringio_zarr.open_array(strings)[:2].tolist() == ["a", "é"]
    with pytest.raises(UnsupportedError, match="pip install numcodecs"):
        ringio_zarr.open_array(objects)


@given(st.lists(st.text(st.characters(codec="utf-8"))), st.lists(st.binary()))
def test_the_codec_is_that_of_numcodecs(texts: list[str], binaries: list[bytes]) -> None:
    """Any texts and any bytes, also none at all."""
    for name, items, encoder in (
        ("vlen-utf8", texts, numcodecs.VLenUTF8()),
        ("vlen-bytes", binaries, numcodecs.VLenBytes()),
    ):
        values = np.empty(len(items), object)
        values[:] = items
        assert VlenCodec(name).decode(encoder.encode(values)).tolist() == items


STRING_DTYPE = np.dtypes.StringDType()


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=40)))
def test_strings_of_numpy_without_python_objects(texts: list[str]) -> None:
    """The C core makes the same strings: empty ones, with NULs, short and long, of any characters."""
    encoded = numcodecs.VLenUTF8().encode(np.array([*texts, ""], object)[: len(texts)])
    got = VlenCodec("vlen-utf8", STRING_DTYPE).decode(encoded)
    assert got.dtype == STRING_DTYPE
    assert got.tolist() == texts
    assert got.copy().tolist() == texts


@given(st.lists(st.binary(max_size=12), min_size=1))
def test_utf8_as_python_has_it(items: list[bytes]) -> None:
    """What Python takes for UTF-8 is taken, and nothing else: no surrogates, no overlong forms, nothing cut off."""
    values = np.empty(len(items), object)
    values[:] = items
    encoded = numcodecs.VLenBytes().encode(values)
    try:
        want = [item.decode() for item in items]
    except UnicodeDecodeError:
        with pytest.raises(ValueError, match="utf-8"):
            VlenCodec("vlen-utf8", STRING_DTYPE).decode(encoded)
    else:
        assert VlenCodec("vlen-utf8", STRING_DTYPE).decode(encoded).tolist() == want


EDGES = ["c2", "c1bf", "c280", "dfbf", "e09fbf", "e0a080", "ed9fbf", "eda080", "edbfbf", "ee8080", "efbfbf", "f08fbfbf"]
EDGES += [
    "f0908080",
    "f48fbfbf",
    "f4908080",
    "f5808080",
    "80",
    "bf",
    "fe",
    "ff",
    "e28280",
    "e282",
    "f09f9880",
    "f09f98",
]


@pytest.mark.parametrize("edge", EDGES)
def test_utf8_at_its_edges(edge: str) -> None:
    """The first and last sequence of each length, and what lies beyond; alone and behind eight letters."""
    for raw in (bytes.fromhex(edge), b"abcdefgh" + bytes.fromhex(edge), bytes.fromhex(edge) + b"abc"):
        test_utf8_as_python_has_it.hypothesis.inner_test([raw, b"x"])  # type: ignore[attr-defined]


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=20), min_size=1), st.data())
def test_strings_straight_to_their_places(texts: list[str], data: st.DataObject) -> None:
    """Any row of them, into items that hold nothing yet and into such that do."""
    encoded = numcodecs.VLenUTF8().encode(np.array([*texts, ""], object)[: len(texts)])
    first = data.draw(st.integers(0, len(texts)))
    count = data.draw(st.integers(0, len(texts) - first))
    target = np.full(count, data.draw(st.sampled_from(["", "short", "long" * 10, "very long" * 40])), STRING_DTYPE)
    for array in (np.empty(count, STRING_DTYPE), target):
        VlenCodec("vlen-utf8").for_chunk((len(texts),), STRING_DTYPE).fill(encoded, array, first)
        assert array.tolist() == texts[first : first + count]
        assert array.copy().tolist() == texts[first : first + count]


@pytest.mark.parametrize("has_api", [True, False])
def test_bytes_of_very_different_lengths(monkeypatch: pytest.MonkeyPatch, has_api: bool) -> None:
    """A long item among many short ones, NULs at their ends; also where Python's C API cannot be had."""
    if not has_api:
        monkeypatch.setattr("ringio._strings._object_api", lambda kind: None)
    for long in (b"", b"x" * 100 + b"\0", b"x" * 100_000 + b"\0\0"):
        values = np.array([b"", b"\0", b"a\0", long, b"a\0b"] * 20, object)
        got = VlenCodec("vlen-bytes").decode(numcodecs.VLenBytes().encode(values))
        assert got.tolist() == values.tolist()
        assert {type(item) for item in got} == {bytes}
    with pytest.raises(ValueError, match="item 1 of 2 ends behind the data"):
        VlenCodec("vlen-bytes").decode(b"\2\0\0\0\1\0\0\0a\2\0\0\0b")


@given(st.lists(st.text(max_size=400), min_size=1), st.data())
def test_strings_that_are_written_again(texts: list[str], data: st.DataObject) -> None:
    """To numpy they are strings as its own: it writes shorter and longer ones in their places."""
    encoded = numcodecs.VLenUTF8().encode(np.array([*texts, ""], object)[: len(texts)])
    array = VlenCodec("vlen-utf8", STRING_DTYPE).decode(encoded)
    for _ in range(5):
        number = data.draw(st.integers(0, len(texts) - 1))
        texts[number] = texts[number][: data.draw(st.integers(0, 300))] * data.draw(st.integers(0, 2))
        array[number] = texts[number]
        assert array.tolist() == texts
    array[...] = "x" * 300
    assert set(array.tolist()) == {"x" * 300}


@given(st.lists(st.binary(max_size=20), min_size=1), st.data())
def test_objects_straight_to_their_places(items: list[bytes], data: st.DataObject) -> None:
    """Any row of them; the objects that were there are let go."""
    values = np.empty(len(items), object)
    values[:] = items
    encoded = numcodecs.VLenBytes().encode(values)
    first = data.draw(st.integers(0, len(items)))
    before = object()
    held = sys.getrefcount(before)
    target = np.full(data.draw(st.integers(0, len(items) - first)), before, object)
    VlenCodec("vlen-bytes").for_chunk((len(items),), np.dtype(object)).fill(encoded, target, first)
    assert target.tolist() == items[first : first + len(target)]
    assert sys.getrefcount(before) == held
    with pytest.raises(ValueError, match="item 0 of 1 is not valid utf-8"):
        VlenCodec("vlen-utf8").decode(b"\1\0\0\0\1\0\0\0\xff")


@pytest.mark.parametrize("kind", ["vlen-bytes", "vlen-utf8"])
def test_an_error_in_a_cycle_is_collected(kind: str) -> None:
    """What its traceback keeps of the chunk must not be what CPython before 3.11.8 cannot collect (gh-77894)."""
    for _ in range(20):
        try:
            VlenCodec(kind).decode(memoryview(b"\2\0\0\0\1\0\0\0a\2\0\0\0b"))
        except ValueError as error:
            error.cycle = error  # type: ignore[attr-defined]
        gc.collect()


def test_slices_of_strings(tmp_path: Path) -> None:
    """Parts of chunks, into new arrays and into one that is written again."""
    words = [word * (i % 4) for i, word in enumerate(WORDS)]
    zarr.create_array(str(tmp_path / "a"), shape=35, chunks=8, dtype="string")[...] = np.array(words, STRING_DTYPE)
    array: Any = ringio_zarr.open_array(str(tmp_path / "a"))
    out = np.full(20, "something that was there before", STRING_DTYPE)
    for start in range(15):
        assert array[start : start + 20].tolist() == words[start : start + 20]
        array.get_basic_selection(slice(start, start + 20), out=out)
        assert out.tolist() == words[start : start + 20]
        assert array[start : start + 20 : 3].tolist() == words[start : start + 20 : 3]


def test_where_numpy_has_no_such_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strings then come by way of Python objects."""
    monkeypatch.setattr("ringio._strings._string_api", lambda: None)
    encoded = numcodecs.VLenUTF8().encode(np.array(WORDS, object))
    assert VlenCodec("vlen-utf8", STRING_DTYPE).decode(encoded).tolist() == WORDS


@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=1), st.data())
def test_damage_is_found(texts: list[str], data: st.DataObject) -> None:
    """Bytes that are missing, and bytes that are no text."""
    encoded = numcodecs.VLenUTF8().encode(np.array([*texts, "x"], object))
    cut = data.draw(st.integers(0, len(encoded) - 1))
    for codec in (VlenCodec("vlen-utf8"), VlenCodec("vlen-utf8", STRING_DTYPE)):
        with pytest.raises(ValueError, match=r"ends|due|cannot be"):
            codec.decode(encoded[:cut])
        with pytest.raises(ValueError, match="utf-8"):
            codec.decode(encoded[:-1] + b"\xff")


def test_a_damaged_chunk_is_named(tmp_path: Path) -> None:
    """Wrong counts, lengths beyond the chunk, text that is no UTF-8: the array, the chunk and the file."""
    array = zarr.create_array(str(tmp_path / "a"), shape=(4,), chunks=(2,), dtype="string", compressors=None)
    array[...] = np.array(["a", "b", "c", "d"], np.dtypes.StringDType())
    for damage in (
        b"",
        b"\2\0\0\0",
        b"\2\0\0\0\xff\xff\xff\xff",
        b"\xff\xff\xff\xff",
        b"\3\0\0\0" + b"\0" * 12,
        b"\2\0\0\0\1\0\0\0\xff\0\0\0\0",
    ):
        (tmp_path / "a/c/1").write_bytes(damage)
        with pytest.raises(ringio.DecodeError, match=r"chunk \(1,\) of .*c/1"):
            ringio_zarr.open_array(str(tmp_path / "a"))[...]
