"""Rectilinear chunk grids against zarr-python and numpy: every spelling and selection, shards of different shapes."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

import ringio
import ringio_zarr
from ringio_zarr import MetadataError, UnsupportedError
from ringio_zarr._axes import Axis, parse_axes
from ringio_zarr._errors import Place

pytestmark = [
    pytest.mark.zarr_3_4,
    pytest.mark.filterwarnings("ignore::Warning:zarr"),
]

PLACE = Place("a/zarr.json", "chunk_grid.configuration")
LAYOUTS: list[dict[str, Any]] = [
    {"shape": (67, 10), "chunks": ((10, 20, 30, 7), (3, 3, 3, 1))},
    {"shape": (67, 10), "chunks": ((1,) * 60 + (7,), 4)},
    {"shape": (67, 10), "chunks": ((30, 7, 30), (5, 5)), "fill_value": 3},
    {"shape": (68, 10), "chunks": (2, 5), "shards": ((20, 20, 10, 18), (5, 5))},
    {"shape": (13, 1), "chunks": ((6, 7), (1,)), "filters": [zarr.codecs.TransposeCodec(order=(1, 0))]},
]


@pytest.fixture(autouse=True)
def rectilinear() -> Iterator[None]:
    with zarr.config.set({"array.rectilinear_chunks": True}):
        yield


def write(path: Path, options: dict[str, Any]) -> np.ndarray[Any, Any]:
    """An array with missing chunks at the front; what is in it."""
    array = zarr.create_array(str(path), dtype="<i4", **options)
    values = np.arange(array.size, dtype="<i4").reshape(array.shape)
    array[5:] = values[5:]
    whole: np.ndarray[Any, Any] = np.asarray(array[...])
    return whole


@pytest.mark.parametrize("options", LAYOUTS, ids=str)
def test_reads_as_in_zarr_python(tmp_path: Path, options: dict[str, Any]) -> None:
    """Whole, with steps of either sign, elements, crops, batches, into the caller's array; and after a pickle."""
    whole = write(tmp_path / "a", options)
    array = ringio_zarr.open_array(str(tmp_path / "a"))
    assert array[...].dtype == whole.dtype
    for selection in (
        ...,
        (slice(None, None, 3), slice(None, None, -2)),
        12,
        (-1, 0),
        (slice(11, 2, -7), -1),
        (slice(2, 9), slice(0, 1)),
        slice(4, 4),
    ):
        np.testing.assert_array_equal(array[selection], whole[selection])
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(array))[selection], whole[selection])
    rows = np.random.default_rng(0).integers(0, [whole.shape[0] - 9, whole.shape[1] // 2 + 1], (40, 2))
    width = whole.shape[1] - whole.shape[1] // 2
    crops = array.read_crops(rows, (9, width))
    np.testing.assert_array_equal(crops, np.stack([whole[i : i + 9, j : j + width] for i, j in rows]))
    out = np.zeros(whole.shape[::-1], "<i4").T[::-1]
    array.get_basic_selection(..., out=out)
    np.testing.assert_array_equal(out, whole)
    many = array.read_many([slice(2, 5), (slice(None), 0), 7])
    for got, selection in zip(many, [slice(2, 5), (slice(None), 0), 7], strict=True):
        np.testing.assert_array_equal(got, whole[selection])


@pytest.mark.parametrize("options", LAYOUTS, ids=str)
def test_what_it_says_of_its_chunks(tmp_path: Path, options: dict[str, Any]) -> None:
    """Counts, sizes, and the same refusal to name one shape where there are many."""
    write(tmp_path / "a", options)
    ours, theirs = ringio_zarr.open_array(str(tmp_path / "a")), zarr.open_array(str(tmp_path / "a"), mode="r")
    assert (ours.nchunks, ours.cdata_shape) == (theirs.nchunks, theirs.cdata_shape)
    assert ours.metadata.chunk_sizes(outer=False) == theirs.read_chunk_sizes
    assert ours.metadata.chunk_sizes(outer=True) == theirs.write_chunk_sizes
    for name in ("chunks", "shards"):
        try:
            want = getattr(theirs, name)
        except NotImplementedError:
            with pytest.raises(NotImplementedError):
                getattr(ours, name)
        else:
            assert getattr(ours, name) == want
    assert "<variable>" in repr(ours)
    assert str(ours.info) == str(theirs.info)
    assert str(ours.info_complete()) == str(theirs.info_complete())
    assert ours.explain().chunks == np.prod(ours.metadata.outer_grid_shape)


def test_fancy_selections(tmp_path: Path) -> None:
    """Rows and points through oindex and vindex, of runs that are not next to each other."""
    whole = write(tmp_path / "a", LAYOUTS[0])
    array = ringio_zarr.open_array(str(tmp_path / "a"))
    rows, columns = np.array([66, 3, 3, 29, 30, 9, 10]), np.array([0, 9, 3, 4, 4, 8, 1])
    np.testing.assert_array_equal(array.oindex[rows, columns], whole[np.ix_(rows, columns)])
    np.testing.assert_array_equal(array.oindex[rows], whole[rows])
    np.testing.assert_array_equal(array.vindex[rows, columns], whole[rows, columns])
    np.testing.assert_array_equal(array.get_mask_selection(whole % 7 == 0), whole[whole % 7 == 0])


def test_a_bad_chunk_is_named(tmp_path: Path) -> None:
    """The message has the chunk's coordinates in the array's grid, of inner chunks where there are shards."""
    write(tmp_path / "a", LAYOUTS[0])
    (tmp_path / "a/c/2/3").write_bytes(b"nonsense")
    with pytest.raises(ringio.DecodeError, match=r"chunk \(2, 3\) of .*c/2/3"):
        ringio_zarr.open_array(str(tmp_path / "a"))[...]
    write(tmp_path / "b", LAYOUTS[3])
    shard = bytearray((tmp_path / "b/c/3/1").read_bytes())  # inner chunks 25 to 33
    shard[:40] = b"\xff" * 40
    (tmp_path / "b/c/3/1").write_bytes(shard)
    with pytest.raises(ringio.DecodeError, match=r"chunk \((2[5-9]|3[0-3]), 1\) of .*c/3/1"):
        ringio_zarr.open_array(str(tmp_path / "b"))[...]


def test_a_bad_chunk_keeps_no_other_from_being_read(tmp_path: Path) -> None:
    """Of whatever shape: what can be read is in ``out``, and an error is raised, in event loops too."""
    whole = write(tmp_path / "a", LAYOUTS[0])  # rows 10, 20, 30, 7 and columns 3, 3, 3, 1
    (tmp_path / "a/c/1/0").write_bytes(b"nonsense")
    (tmp_path / "a/c/3/3").write_bytes(b"nonsense")
    expected = whole.copy()
    expected[10:30, :3] = expected[60:, 9:] = -1
    array = ringio_zarr.open_array(str(tmp_path / "a"))
    target = np.full_like(whole, -1)
    with pytest.raises(ringio.DecodeError, match=r"c/(1/0|3/3)"):
        array.get_basic_selection(..., out=target)
    np.testing.assert_array_equal(target, expected)
    target[...] = -1
    with pytest.raises(ringio.DecodeError, match=r"c/(1/0|3/3)"):
        asyncio.run(array.read_many_async([...], out=[target]))
    np.testing.assert_array_equal(target, expected)


edges = st.lists(st.one_of(st.integers(1, 9), st.tuples(st.integers(1, 9), st.integers(1, 4)).map(list)), min_size=1)


@given(edges, st.data())
def test_cuts_of_an_axis(spec: list[Any], data: st.DataObject) -> None:
    """Each element of a walk is in one piece, in the chunk that holds it, at its place there."""
    lengths = [length for item in spec for length in ([item[0]] * item[1] if isinstance(item, list) else [item])]
    extent = data.draw(st.integers(1, sum(lengths)))
    (axis,) = parse_axes({"kind": "inline", "chunk_shapes": [spec]}, (extent,), PLACE)
    ends = np.cumsum(lengths)
    chunk_of = np.searchsorted(ends, np.arange(extent), side="right")
    assert axis.chunk_count == chunk_of[-1] + 1
    assert axis.sizes() == tuple(np.bincount(chunk_of).tolist())
    start = data.draw(st.integers(0, extent - 1))
    step = data.draw(st.integers(1, 30))
    count = data.draw(st.integers(1, (extent - 1 - start) // step + 1))
    cuts = axis.cut(np.array([start]), np.array([count]), np.array([step]))
    seen = []
    for kind, first, number, done in zip(cuts.kinds, cuts.starts, cuts.counts, cuts.done, strict=True):
        length = int(axis.edges[kind])
        for k in range(number):
            element = first + k * step
            chunk = int(axis.chunk_numbers(kind, element // length))
            seen.append((done + k, chunk, element % length))
            assert axis.chunk_start(chunk) == ends[chunk] - lengths[chunk]
    elements = start + np.arange(count) * step
    chunks = chunk_of[elements]
    inside = elements - (ends - lengths)[chunks]
    assert sorted(seen) == [(k, chunk, place) for k, (chunk, place) in enumerate(zip(chunks, inside, strict=True))]


def test_axes_without_end() -> None:
    """A run of 2**60 chunks is two numbers, and so is a dimension of one length."""
    configuration = {"kind": "inline", "chunk_shapes": [[[8, 1 << 59], 5], 3]}
    axes = parse_axes(configuration, (2**62 + 1, 2**50), PLACE)
    assert [axis.chunk_count for axis in axes] == [2**59 + 1, -(-(2**50) // 3)]
    assert isinstance(axes[0], Axis)
    assert parse_axes({"kind": "inline", "chunk_shapes": [[4, 4], 7]}, (0, 0), PLACE)[0].sizes() == ()


@pytest.mark.parametrize(
    ("configuration", "words"),
    [
        ({}, "'kind'"),
        ({"kind": "inline"}, "'chunk_shapes'"),
        ({"kind": "inline", "chunk_shapes": [[4], 3], "x": 1}, "'x'"),
        ({"kind": "inline", "chunk_shapes": [[4]]}, "2 dimensions"),
        ({"kind": "inline", "chunk_shapes": [[], 3]}, r"chunk_shapes\[0\]: no chunks"),
        ({"kind": "inline", "chunk_shapes": [[0], 3]}, r"chunk_shapes\[0\]\[0\]"),
        ({"kind": "inline", "chunk_shapes": [[[4, 0]], 3]}, r"chunk_shapes\[0\]\[0\]\[1\]"),
        ({"kind": "inline", "chunk_shapes": [[[4, 1, 1]], 3]}, "length, count"),
        ({"kind": "inline", "chunk_shapes": [[3], 3]}, "reach to element 3, the array has 4"),
        ({"kind": "inline", "chunk_shapes": [[4], 1.5]}, "1.5"),
        ({"kind": "inline", "chunk_shapes": [[4], "3"]}, "'3'"),
    ],
)
def test_grids_that_cannot_be_right(configuration: Any, words: str) -> None:
    """The place of what is wrong, and what is there."""
    with pytest.raises(MetadataError, match=words):
        parse_axes(configuration, (4, 6), PLACE)


def test_other_kinds_are_refused() -> None:
    """Only what stands in the document itself can be read."""
    with pytest.raises(UnsupportedError, match="'sidecar'"):
        parse_axes({"kind": "sidecar", "chunk_shapes": []}, (), PLACE)


@pytest.mark.parametrize(
    "grid",
    [
        {"name": "rectilinear", "configuration": {"kind": "inline", "chunk_shapes": [[2.0, [2, 1]], True]}},
        {"name": "regular", "configuration": {"chunk_shape": [[2, 2], 1]}},
    ],
)
def test_what_zarr_python_has_written_by_mistake(tmp_path: Path, grid: dict[str, Any]) -> None:
    """Lengths as floats and as true, and edges in a grid that is called regular: read as zarr-python 3.4 reads them."""
    whole = write(tmp_path / "a", {"shape": (4, 3), "chunks": ((2, 2), 1), "compressors": None})
    document = json.loads((tmp_path / "a/zarr.json").read_text())
    document["chunk_grid"] = grid
    (tmp_path / "a/zarr.json").write_text(json.dumps(document))
    np.testing.assert_array_equal(zarr.open_array(str(tmp_path / "a"), mode="r")[...], whole)
    np.testing.assert_array_equal(ringio_zarr.open_array(str(tmp_path / "a"))[...], whole)
