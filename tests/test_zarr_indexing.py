"""Lists, arrays and masks: what is read is what numpy and zarr-python give, and only once from each chunk."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.codecs import BytesCodec, ShardingCodec, TransposeCodec, ZstdCodec
from zarr.core.indexing import oindex as numpy_oindex
from zarr.testing.strategies import basic_indices, orthogonal_indices

import ringio
import ringio_zarr
from ringio_zarr import _masked, _placed, _staged

pytestmark = [
    pytest.mark.zarr_3_4,
    pytest.mark.filterwarnings("ignore::Warning:zarr", "ignore::Warning:numcodecs"),
]

SHAPE = (11, 10, 7)
NAMES = ["plain", "order-f", "sharded", "transposed-outside", "rectilinear", "line"]


class Pair:
    """One array: what is in it, as zarr-python reads it, and as ringio_zarr does."""

    def __init__(self, path: Path, dtype: str, fill: Any, shape: tuple[int, ...] = SHAPE, **options: Any) -> None:
        options = {"zarr_format": 3, "compressors": None, **options}
        self.theirs: Any = zarr.create_array(str(path), shape=shape, dtype=dtype, fill_value=fill, **options)
        self.truth = np.full(shape, fill, dtype)
        written = (slice(0, 9), slice(3, 10), slice(2, 7))[: len(shape)]  # chunks at both ends stay missing
        numbers = np.arange(self.truth.size).reshape(shape).astype(dtype)
        self.truth[written] = numbers[written]
        self.theirs[written] = numbers[written]
        self.ours: Any = ringio_zarr.open_array(path)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Pair]]:
    folder = tmp_path_factory.mktemp("indexing")
    inside = ShardingCodec(chunk_shape=(2, 5, 3), codecs=[TransposeCodec(order=(2, 0, 1)), BytesCodec(), ZstdCodec()])
    outside = ShardingCodec(chunk_shape=(3, 2, 6), codecs=[BytesCodec(), ZstdCodec()])
    turned = [TransposeCodec(order=(2, 0, 1))]
    with zarr.config.set({"array.rectilinear_chunks": True}):
        yield {
            "plain": Pair(folder / "0", "<i4", 5, chunks=(4, 3, 7)),
            "order-f": Pair(folder / "1", ">i2", 0, chunks=(4, 3, 2), zarr_format=2, order="F"),
            "sharded": Pair(folder / "2", "<f4", 1.5, chunks=(4, 5, 6), serializer=inside),
            "transposed-outside": Pair(folder / "3", "<i8", -1, chunks=(6, 6, 6), filters=turned, serializer=outside),
            "rectilinear": Pair(folder / "5", "<i2", 3, chunks=((4, 1, 6), (3, 3, 4), (7,))),
            "line": Pair(folder / "4", "<u2", 7, (31,), chunks=(4,)),
        }


def assert_like(got: Any, want: Any) -> None:
    """Type, dtype with its byte order, shape, memory order, and every element."""
    assert type(got) is type(want)
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    np.testing.assert_array_equal(got, want)
    if isinstance(want, np.ndarray):
        assert got.flags.f_contiguous == want.flags.f_contiguous
        assert got.flags.c_contiguous == want.flags.c_contiguous


def check_out(read: Callable[..., Any], selection: Any, want: Any) -> None:
    """The same into memory of any strides."""
    for out in (np.zeros(want.shape, want.dtype), np.zeros((*want.shape[::-1], 2), want.dtype)[..., 0].T):
        assert read(selection, out=out) is out
        np.testing.assert_array_equal(out, want)


# --------------------------------------------------------------------------------------------------- any selection


def lists(length: int, *, min_size: int = 0) -> st.SearchStrategy[Any]:
    """Indices in any order, with duplicates, from either end; as lists and arrays."""
    if length == 0:
        return st.just(np.empty(0, np.int64))
    indices = st.lists(st.integers(-length, length - 1), min_size=min_size, max_size=12)
    ranges = st.builds(lambda a, b, step: list(range(a, b, step)), *[st.integers(0, length - 1)] * 2, st.just(1))
    kinds = st.sampled_from([list, np.array, lambda x: np.array(x, np.int8), lambda x: np.array(x, ">i4")])
    return st.builds(lambda kind, items: kind(items) if items else np.array(items, int), kinds, indices | ranges)


def slices(length: int, *, reverse: bool = False) -> st.SearchStrategy[slice]:
    ends = st.none() | st.integers(-length - 3, length + 3)
    steps = st.none() | st.integers(1, length + 2)
    return st.builds(slice, ends, ends, steps | st.integers(-length - 2, -1) if reverse else steps)


@st.composite
def orthogonal(draw: st.DrawFn, shape: tuple[int, ...], *, reverse: bool = False) -> tuple[Any, ...]:
    def item(length: int) -> st.SearchStrategy[Any]:
        masks = st.lists(st.booleans(), min_size=length, max_size=length).map(np.array)
        return st.integers(-length, length - 1) | slices(length, reverse=reverse) | lists(length) | masks

    items = draw(st.tuples(*map(item, shape)))
    cut = draw(st.integers(0, len(shape)))
    # In front: zarr-python compares what is before an ellipsis with it, and arrays have no truth.
    return (..., *items[cut:]) if draw(st.booleans()) and cut else items


@st.composite
def coordinates(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Arrays that can be broadcast against each other, and integers."""
    whole = tuple(draw(st.lists(st.integers(0, 4), min_size=1, max_size=3)))
    items: list[Any] = []
    for length in shape:
        if draw(st.integers(0, 3)) == 0:
            items.append(draw(st.integers(-length, length - 1)))
            continue
        sides = tuple(draw(st.sampled_from([side, 1])) for side in whole)[draw(st.integers(0, len(whole) - 1)) :]
        count = int(np.prod(sides))
        numbers = draw(st.lists(st.integers(-length, length - 1), min_size=count, max_size=count))
        items.append(np.array(numbers, draw(st.sampled_from(["i8", "i2", ">i4"]))).reshape(sides))
    return tuple(items)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_orthogonal_selections(pairs: dict[str, Pair], name: str, data: st.DataObject) -> None:
    """Any mix of integers, slices, lists and masks, as zarr-python and numpy have it; steps below 0 as numpy has it."""
    pair = pairs[name]
    selection = data.draw(orthogonal(pair.truth.shape))
    want = pair.theirs.oindex[selection]
    assert_like(pair.ours.oindex[selection], want)
    assert_like(pair.ours.get_orthogonal_selection(selection), want)
    np.testing.assert_array_equal(want, numpy_oindex(pair.truth, selection))
    check_out(pair.ours.get_orthogonal_selection, selection, want)
    selection = data.draw(orthogonal(pair.truth.shape, reverse=True))
    np.testing.assert_array_equal(pair.ours.oindex[selection], numpy_oindex(pair.truth, selection))


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_large_products_come_in_batches(pairs: dict[str, Pair], name: str, data: st.DataObject) -> None:
    """With limits so small that all are large: every list may be read with gaps, sorted, and in several batches."""
    pair = pairs[name]
    selection = data.draw(orthogonal(pair.truth.shape))
    want = numpy_oindex(pair.truth, selection)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_placed, "FEW_BOXES", 1)
        patch.setattr(_staged, "FEW_BOXES", 1)
        patch.setattr(_staged, "_WORTHWHILE", data.draw(st.sampled_from([0.7, 2])))
        patch.setattr(_staged, "_GAP_NBYTES", data.draw(st.sampled_from([0, 6, 100, 10_000])))
        patch.setattr(_staged, "_BATCH_BOXES", data.draw(st.sampled_from([1, 3, 1000])))
        patch.setattr(_staged, "_BATCH_NBYTES", data.draw(st.sampled_from([10, 300, 100_000])))
        patch.setattr(_staged, "_PART_NBYTES", data.draw(st.sampled_from([1, 50, 1 << 20])))
        np.testing.assert_array_equal(pair.ours.oindex[selection], want)
        check_out(pair.ours.get_orthogonal_selection, selection, want)


def test_large_products_are_put_in_their_place_in_parts() -> None:
    """Between any two of them Ctrl-C is seen; rows that are larger are parts of their own."""
    array = np.broadcast_to(np.zeros((), "i4"), (1000, 64 << 10))
    parts = [array[rows] for rows in _staged._rows(array)]
    assert {part.nbytes for part in parts[:-1]} == {8 << 20}
    assert sum(map(len, parts)) == len(array)
    assert len([*_staged._rows(np.broadcast_to(np.zeros((), "i4"), (7, 64 << 20)))]) == 7


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_points(pairs: dict[str, Pair], name: str, data: st.DataObject) -> None:
    """Coordinates of any shapes that can be broadcast, with duplicates, from either end."""
    pair = pairs[name]
    selection = data.draw(coordinates(pair.truth.shape))
    want = pair.theirs.vindex[selection]
    assert_like(pair.ours.vindex[selection], want)
    assert_like(pair.ours.get_coordinate_selection(selection), want)
    np.testing.assert_array_equal(want, pair.truth[selection].reshape(want.shape))
    check_out(pair.ours.get_coordinate_selection, selection, want)


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 2**32), share=st.sampled_from([0, 0.05, 0.5, 0.95, 1]))
def test_masks(pairs: dict[str, Pair], name: str, seed: int, share: float) -> None:
    pair = pairs[name]
    mask = np.random.default_rng(seed).random(pair.truth.shape) < share
    want = pair.theirs.get_mask_selection(mask)
    for got in (pair.ours[mask], pair.ours.vindex[mask], pair.ours.get_mask_selection(mask.tolist())):
        assert_like(got, want)
    check_out(pair.ours.get_mask_selection, mask, want)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_masked, "_STAGE_NBYTES", 500)  # some rows of chunks at a time
        patch.setattr(_masked, "_ITEMS_PER_POINT", 3)
        assert_like(pair.ours[mask], want)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_blocks(pairs: dict[str, Pair], name: str, data: st.DataObject) -> None:
    """Chunks by their numbers; of sharded arrays, shards."""
    pair = pairs[name]
    counts = pair.theirs._chunk_grid.grid_shape
    # What is further below 0 than there are chunks may wrap around once more in zarr-python.
    items = [
        st.integers(-count, count - 1)
        | st.builds(slice, st.none() | st.integers(-count, count + 2), st.none() | st.integers(-count, count + 2))
        for count in counts
    ]
    selection = data.draw(st.tuples(*items))
    try:
        want = pair.theirs.blocks[selection]
    except IndexError as error:
        with pytest.raises(ringio_zarr.BoundsCheckError if type(error).__name__ == "BoundsCheckError" else IndexError):
            pair.ours.blocks[selection]
        return
    assert_like(pair.ours.blocks[selection], want)
    check_out(pair.ours.get_block_selection, selection, want)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_brackets(pairs: dict[str, Pair], name: str, data: st.DataObject) -> None:
    """``a[...]`` takes whatever zarr-python's takes for the same thing."""
    pair = pairs[name]
    shape = pair.truth.shape
    one_list = st.tuples(st.integers(0, len(shape) - 1), orthogonal(shape)).map(
        lambda drawn: tuple(
            item if place == drawn[0] or isinstance(item, slice) else slice(None) for place, item in enumerate(drawn[1])
        )
    )
    strategies = [coordinates(shape), orthogonal(shape), one_list, basic_indices(shape=shape), lists(shape[0])]
    selection = data.draw(st.one_of(strategies))
    try:
        want = pair.theirs[selection]
    except (IndexError, ValueError):  # an ellipsis beside an array has zarr-python ask for the truth of the array
        return
    assert_like(pair.ours[selection], want)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_selections_that_zarr_python_tests_with(pairs: dict[str, Pair], name: str, data: st.DataObject) -> None:
    pair = pairs[name]
    selection, numpy_selection = data.draw(orthogonal_indices(shape=pair.truth.shape))
    np.testing.assert_array_equal(pair.ours.oindex[selection], pair.truth[numpy_selection])


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_read_many_takes_them_all_in_one_batch(pairs: dict[str, Pair], name: str, data: st.DataObject) -> None:
    pair = pairs[name]
    shape = pair.truth.shape
    kinds = coordinates(shape) | basic_indices(shape=shape) | lists(shape[0], min_size=1)
    selections = data.draw(st.lists(kinds, max_size=5))
    results = pair.ours.read_many(selections)
    wanted = [pair.ours[selection] for selection in selections]
    for got, want in zip(results, wanted, strict=True):
        assert_like(got, want)
    out = [np.zeros(np.shape(want)[::-1], pair.truth.dtype).T for want in wanted]
    assert pair.ours.read_many(selections, out=out) == out or not out
    for got, want in zip(out, wanted, strict=True):
        np.testing.assert_array_equal(got, want)


# --------------------------------------------------------------------------------------------------- what is special


@pytest.mark.parametrize(
    "selection",
    [[], ([], slice(None)), ([1, 2], ...), (..., [1, 2]), (slice(None, None, -1), [3, 0])],
)
def test_what_zarr_python_refuses_and_numpy_does_not(pairs: dict[str, Pair], selection: Any) -> None:
    pair = pairs["plain"]
    np.testing.assert_array_equal(pair.ours[selection], pair.truth[selection])


def test_a_tuple_of_one_is_what_is_in_it(pairs: dict[str, Pair]) -> None:
    pair = pairs["plain"]
    mask = pair.truth % 3 == 0
    for item in (mask, [2, 1], np.array([1, 1]), 1, slice(2)):
        assert_like(pair.ours[(item,)], pair.theirs[(item,)])
        assert_like(pair.ours.oindex[(item,)] if item is not mask else pair.ours.vindex[(item,)], pair.theirs[(item,)])
    assert_like(pair.ours.oindex[(mask[:, 0, 0],)], pair.theirs.oindex[(mask[:, 0, 0],)])


def test_another_array_may_select(pairs: dict[str, Pair], tmp_path: Path) -> None:
    """A Zarr array of indices, theirs or ours, and anything else that numpy can make an array of."""
    pair = pairs["line"]
    theirs = zarr.create_array(str(tmp_path / "a"), shape=(3,), dtype="i4")
    theirs[...] = [5, 4, 30]
    for indices in (theirs, ringio_zarr.open_array(tmp_path / "a")):
        np.testing.assert_array_equal(pair.ours[indices], pair.truth[[5, 4, 30]])
        np.testing.assert_array_equal(pair.ours.oindex[indices], pair.truth[[5, 4, 30]])


def test_scalars_and_arrays_without_dimensions(pairs: dict[str, Pair]) -> None:
    for read in (
        lambda a: a.oindex[1, 4, 3],
        lambda a: a.vindex[1, 4, 3],
        lambda a: a.vindex[np.array(1), 4, 3],
        lambda a: a[np.array(1), 4, 3],
        lambda a: a[np.int64(1), 4, 3],
        lambda a: a[[1], 4, 3],
        lambda a: a.get_basic_selection((1, 4, 3)),
        lambda a: a.get_orthogonal_selection((1, 4, 3)),
        lambda a: a.get_coordinate_selection((1, 4, 3)),
    ):
        assert_like(read(pairs["plain"].ours), read(pairs["plain"].theirs))
    assert_like(pairs["line"].ours[np.array(3)], pairs["line"].theirs[np.array(3)])


def test_an_array_without_dimensions(tmp_path: Path) -> None:
    theirs: Any = zarr.create_array(str(tmp_path / "a"), shape=(), dtype="f8")
    theirs[...] = 2.5
    ours: Any = ringio_zarr.open_array(tmp_path / "a")
    for selection in ((), ...):
        assert_like(ours.oindex[selection], theirs.oindex[selection])
        assert_like(ours.blocks[selection], theirs.blocks[selection])
    for bad in (ours.vindex, ours.oindex, ours.blocks, ours):
        with pytest.raises(IndexError):
            bad[[0]]


def test_dimensions_without_elements(tmp_path: Path) -> None:
    zarr.create_array(str(tmp_path / "a"), shape=(3, 0, 4), chunks=(2, 1, 3), dtype="i2")
    ours: Any = ringio_zarr.open_array(tmp_path / "a")
    assert ours.oindex[[2, 0, 1, 1], :, [3]].shape == (4, 0, 1)
    assert ours.vindex[np.empty(0, int), np.empty(0, int), 1].shape == (0,)
    assert ours[np.zeros((3, 0, 4), bool)].shape == (0,)
    assert ours.oindex[np.array([True, False, True]), np.empty(0, bool)].shape == (2, 0, 4)
    with pytest.raises(ringio_zarr.BoundsCheckError):
        ours.oindex[:, [0]]


# ------------------------------------------------------------------------------------------------------------ errors

BAD = [
    "a[11]",
    "a[[11], :]",
    "a[[0, -12]]",
    "a[[0], [0], [7]]",
    "a[[0], [0, 1], [1, 2, 3]]",
    "a[1, 2, 3, 4]",
    "a[[1], 2, 3, 4]",
    "a[None]",
    "a[1.5]",
    "a[{}]",
    "a[True]",
    "a[range(2)]",
    "a['x']",
    "a[1, 'x']",
    "a[[0.5]]",
    "a[np.zeros((3, 3), bool)]",
    "a[np.zeros(11, bool)]",
    "a[np.array([[1, 2], [3, 4]])]",
    "a[:, [[1, 2]], 0]",
    "a[0.5:3]",
    "a[::0]",
    "a.oindex[11]",
    "a.oindex[[11]]",
    "a.oindex[np.array([2**63], np.uint64)]",
    "a.oindex[[1.5]]",
    "a.oindex[None]",
    "a.oindex[True]",
    "a.oindex['x']",
    "a.oindex[[True, False]]",
    "a.oindex[np.zeros((11, 10), bool)]",
    "a.oindex[np.array([[1]])]",
    "a.oindex[1, 2, 3, 4]",
    "a.oindex[..., ...]",
    "a.vindex[1, 2]",
    "a.vindex[[1], [2], :]",
    "a.vindex[...]",
    "a.vindex[[1], [2], [7]]",
    "a.vindex[[1], [2], np.array([2**64 - 1], np.uint64)]",
    "a.vindex[[1], [2], [0.5]]",
    "a.vindex[[1], [2, 3], [0, 1, 2]]",
    "a.vindex[np.zeros((3, 3), bool)]",
    "a.vindex['x']",
    "a.blocks[3]",
    "a.blocks[-4]",
    "a.blocks[3:]",
    "a.blocks[-4:]",
    "a.blocks[::2]",
    "a.blocks[[1]]",
    "a.blocks[True]",
    "a.blocks[None]",
    "a.blocks[0, 0, 0, 0]",
    "a.get_basic_selection([1, 2])",
    "a.get_basic_selection(0, fields='x')",
    "a.get_basic_selection(0, fields=5)",
    "a.get_coordinate_selection([1, 2])",
    "a.get_coordinate_selection(slice(None))",
    "a.get_mask_selection([[True]])",
    "a.get_mask_selection(5)",
]


@pytest.mark.parametrize("expression", BAD)
def test_refused_with_an_error_of_the_same_name(pairs: dict[str, Pair], expression: str) -> None:
    """The class that zarr-python raises, or ours of that name, with the array's path where it is an IndexError."""
    with pytest.raises(Exception) as expected:
        eval(expression, {"a": pairs["plain"].theirs, "np": np})
    with pytest.raises(Exception) as error:
        eval(expression, {"a": pairs["plain"].ours, "np": np})
    names = [parent.__name__ for parent in type(error.value).__mro__]
    assert type(expected.value).__name__ in names, error.value
    if isinstance(error.value, IndexError):
        assert isinstance(expected.value, IndexError)
        assert str(pairs["plain"].ours.location) in str(error.value)


def test_messages_say_which_index(pairs: dict[str, Pair]) -> None:
    with pytest.raises(ringio_zarr.BoundsCheckError, match="index -12 is out of bounds for axis 0 with size 11"):
        pairs["plain"].ours.oindex[[3, -12]]
    with pytest.raises(ringio_zarr.VindexInvalidSelectionError, match=r"got \(int64 of shape \(1,\), slice\)"):
        pairs["plain"].ours.vindex[[3], :]
    with pytest.raises(IndexError) as error:
        pairs["plain"].ours.get_coordinate_selection([0] * 10**6)
    assert len(str(error.value)) < 500
    with pytest.raises(ringio_zarr.VindexInvalidSelectionError, match="indices: 1, dimensions of the array: 3"):
        pairs["plain"].ours.vindex[[3]]
    with pytest.raises(IndexError, match="indices: 2, dimensions of the array: 3"):
        pairs["plain"].ours.get_coordinate_selection((1, [2]))


def test_out_of_another_shape_or_dtype_is_refused(pairs: dict[str, Pair]) -> None:
    ours = pairs["plain"].ours
    with pytest.raises(ValueError, match=re.escape("out has shape (3,), expected (2,)")):
        ours.get_coordinate_selection(([1, 2], 0, 0), out=np.empty(3, "<i4"))
    with pytest.raises(TypeError, match="out has dtype"):
        ours.get_orthogonal_selection([2, 1, 1], out=np.empty((3, 10, 7), "<i8"))
    buffer = zarr.core.buffer.default_buffer_prototype().nd_buffer.from_numpy_array(np.zeros((3, 10, 7), "<i4"))
    ours.get_orthogonal_selection([2, 1, 1], out=buffer)  # what zarr-python itself takes
    np.testing.assert_array_equal(buffer.as_numpy_array(), pairs["plain"].truth[[2, 1, 1]])


# ------------------------------------------------------------------------------------------- how much work it makes


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, np.ndarray[Any, Any], ringio.Reader]]:
    path = tmp_path_factory.mktemp("large") / "a"
    truth = np.random.default_rng(0).integers(0, 2**16, (2000, 3000), np.uint16)
    theirs: Any = zarr.create_array(str(path), shape=truth.shape, chunks=(100, 100), shards=(1000, 1000), dtype="u2")
    theirs[...] = truth
    with ringio.Reader() as reader:
        yield ringio_zarr.open_array(path, reader=reader), truth, reader


def tasks(reader: ringio.Reader, read: Callable[[], object]) -> int:
    before = reader.statistics().tasks
    read()
    return reader.statistics().tasks - before


def test_each_chunk_is_read_once(large: tuple[Any, np.ndarray[Any, Any], ringio.Reader]) -> None:
    ours, truth, reader = large
    ours[...]  # all shard indexes are known from here on
    mask = np.zeros(truth.shape, bool)
    mask[500:503, ::7] = True
    assert tasks(reader, lambda: ours.oindex[[5, 1, 5, 3, 150], 20:30]) == 2
    assert tasks(reader, lambda: ours.oindex[[1999, 0, 7], [2999, 3, 3, 5]]) == 4
    assert tasks(reader, lambda: ours.vindex[[1, 2, 1, 50, 99, 100], [1, 99, 50, 2, 3, 3]]) == 2
    assert tasks(reader, lambda: ours.vindex[mask]) == 30
    mask[500:600, 250:2950] = mask[1990:, :5] = True
    mask[500:600, 1000:2000] = False
    assert tasks(reader, lambda: np.testing.assert_array_equal(ours.vindex[mask], truth[mask])) == 30 - 10 + 1
    assert tasks(reader, lambda: ours.read_many([0, [5, 2, 2], (slice(0, 100), 5), ([1, 2], [3, 9])])) == 30


def test_a_product_of_long_lists(large: tuple[Any, np.ndarray[Any, Any], ringio.Reader]) -> None:
    """Four million elements of two lists: each chunk once, however many batches there are, and none that is not hit."""
    ours, truth, reader = large
    rng = np.random.default_rng(2)
    rows, columns = rng.integers(0, 2000, 2000), rng.integers(0, 3000, 2000)
    rows = rows[(rows < 700) | (rows >= 800)]
    want = truth[rows][:, columns]
    ours[::1000, ::1000]  # all shard indexes are known from here on
    started = time.monotonic()
    assert tasks(reader, lambda: np.testing.assert_array_equal(ours.oindex[rows, columns], want)) == 19 * 30
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_staged, "_BATCH_NBYTES", 1 << 20)
        assert tasks(reader, lambda: np.testing.assert_array_equal(ours.oindex[rows, columns], want)) == 19 * 30
    assert time.monotonic() - started < 10


def test_a_million_points_and_ten_thousand_rows(large: tuple[Any, np.ndarray[Any, Any], ringio.Reader]) -> None:
    """One batch each, in seconds at the worst: nothing is done for each point in Python."""
    ours, truth, reader = large
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 2000, 1_000_000), rng.integers(0, 3000, 1_000_000)
    rows = rng.integers(0, 2000, 10_000)
    started = time.monotonic()
    assert tasks(reader, lambda: np.testing.assert_array_equal(ours.vindex[x, y], truth[x, y])) <= 600 + 6
    assert tasks(reader, lambda: np.testing.assert_array_equal(ours.oindex[rows, 100:300], truth[rows, 100:300])) == 40
    assert time.monotonic() - started < 20


# ------------------------------------------------------------------------------------------------------------ fields


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("written", [4, 9])
def test_fields(zarr_format: int, written: int, tmp_path: Path) -> None:
    """Some fields of elements, wherever a selection may stand; zarr-python 3.4 fails at them all."""
    dtype = np.dtype([("x", "<i4"), ("y", "<f8"), ("z", "S3")])
    truth = np.zeros((9, 5), dtype)
    values = np.arange(45).reshape(9, 5)
    truth["x"][:written], truth["y"][:written] = values[:written], values[:written] / 4
    truth["z"][:written] = values[:written].astype("S3")
    theirs = zarr.create_array(str(tmp_path / "a"), shape=(9, 5), chunks=(2, 3), dtype=dtype, zarr_format=zarr_format)
    theirs[:written] = truth[:written]
    ours: Any = ringio_zarr.open_array(tmp_path / "a")
    two = np.empty(truth.shape, [("y", "<f8"), ("x", "<i4")])
    two["x"], two["y"] = truth["x"], truth["y"]
    mask = truth["x"] % 2 == 1
    for got, want in [
        (ours["x"], truth["x"]),
        (ours["y", 1:7, ::2], truth["y"][1:7, ::2]),
        (ours[1:7, "z"], truth["z"][1:7]),
        (ours["y", "x"], two),
        (ours[["y", "x"]], two),
        (ours["y", "x", [7, 1, 1]], two[[7, 1, 1]]),
        (ours["x", [7, 1], [2, 3]], truth["x"][[7, 1], [2, 3]]),
        (ours["x", mask], truth["x"][mask]),
        (ours["x", 3, 4], truth["x"][3, 4, ...]),
        (ours.get_basic_selection((slice(None), 3), fields="y"), truth["y"][:, 3]),
        (ours.get_basic_selection((2, 3), fields="y"), truth["y"][2, 3]),
        (ours.get_basic_selection(2, fields=[]), truth[2]),
        (ours.oindex["x", [7, 1], [2, 3]], truth["x"][np.ix_([7, 1], [2, 3])]),
        (ours.get_orthogonal_selection([7, 1], fields=["y", "x"]), two[[7, 1]]),
        (ours.vindex["z", [7, 1], [2, 3]], truth["z"][[7, 1], [2, 3]]),
        (ours.get_coordinate_selection(([7, 1], [[2], [3]]), fields="x"), truth["x"][[7, 1], [[2], [3]]]),
        (ours.get_mask_selection(mask, fields=["y", "x"]), two[mask]),
        (ours.blocks["x", 1, 0], truth["x"][2:4, :3]),
        (ours.get_block_selection((1, 0), fields=("y", "x")), two[2:4, :3]),
        (ours.read_many([("x", 1), (["y", "x"]), (slice(None), [1, 0])])[1], two),
        (ours.read_many([("x", 1), (["y", "x"]), (slice(None), [1, 0])])[0], truth["x"][1]),
    ]:
        assert type(got) is type(want)
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)
    out = np.zeros((3, 5), "<f8")[::-1]
    assert ours.get_orthogonal_selection([7, 1, 2], fields="y", out=out) is out
    np.testing.assert_array_equal(out, truth["y"][[7, 1, 2]])
    assert ours[3, 4].dtype == theirs[3, 4].dtype
    for bad in ("q", ["x", "q"], 5):
        with pytest.raises(IndexError, match="'fields' argument"):
            ours.get_basic_selection(0, fields=bad)
    with pytest.raises(IndexError, match="field not found: 'q'"):
        ours["q"]
    with pytest.raises(TypeError, match="out has dtype '<f8', expected '<i4'"):
        ours.get_basic_selection(fields="x", out=np.empty((9, 5)))


def test_fields_with_dimensions_of_their_own(tmp_path: Path) -> None:
    dtype = np.dtype([("v", "<f4", (3,)), ("inner", [("a", "<i2"), ("b", "<u2")])])
    truth = np.zeros(4, dtype)
    truth["v"] = np.arange(12).reshape(4, 3)
    truth["inner"]["b"] = 7
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / ".zarray").write_text(
        '{"zarr_format": 2, "shape": [4], "chunks": [3], "compressor": null, "filters": null, "order": "C", '
        '"fill_value": null, "dtype": [["v", "<f4", [3]], ["inner", [["a", "<i2"], ["b", "<u2"]]]]}'
    )
    (folder / "0").write_bytes(truth[:3].tobytes())
    (folder / "1").write_bytes(np.concatenate([truth[3:], truth[:2]]).tobytes())
    ours: Any = ringio_zarr.open_array(folder)
    np.testing.assert_array_equal(ours["v", [3, 0]], truth["v"][[3, 0]])
    np.testing.assert_array_equal(ours["inner"]["b"], truth["inner"]["b"])
    out = np.zeros((2, 3), "<f4")
    ours.get_coordinate_selection([3, 0], fields="v", out=out)
    np.testing.assert_array_equal(out, truth["v"][[3, 0]])
