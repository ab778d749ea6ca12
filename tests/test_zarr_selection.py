"""Selections against numpy: the walk that a Box describes, done with plain loops, gives what ``a[selection]`` gives."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringio_zarr._selection import Box, normalise_basic, normalise_crop_shape, normalise_crops


def numbered(shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    return np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)


def gather(array: np.ndarray[Any, Any], box: Box, result: np.ndarray[Any, Any]) -> None:
    """Do the walk element by element, the way the scatter of the C core does: by byte offsets in the result."""
    strides = box.target_strides(result.strides)
    offset = box.target_offset(result.strides)
    for place in product(*map(range, box.counts)):
        source = tuple(start + k * step for start, k, step in zip(box.starts, place, box.steps, strict=True))
        target = offset + sum(k * stride for k, stride in zip(place, strides, strict=True))
        np.ndarray((), result.dtype, _bytes_of(result), target)[()] = array[source]


def _bytes_of(result: np.ndarray[Any, Any]) -> Any:
    # The buffer that result.strides count in; a negative target offset is then an error, never a stray write.
    return result if result.base is None else result.base


def check_walk_is_inside(box: Box, shape: tuple[int, ...]) -> None:
    for start, count, step, length in zip(box.starts, box.counts, box.steps, shape, strict=True):
        assert step >= 1
        assert count >= 0
        assert start >= 0
        assert count == 0 or start + (count - 1) * step < length
        assert all(type(number) is int for number in (start, count, step))


def bounds(length: int) -> st.SearchStrategy[int | None]:
    return st.none() | st.integers(-length - 3, length + 3)


@st.composite
def shapes_and_selections(draw: st.DrawFn) -> tuple[tuple[int, ...], Any]:
    shape = tuple(draw(st.lists(st.integers(0, 6), max_size=4)))
    items: list[Any] = []
    for length in shape[: draw(st.integers(0, len(shape)))]:
        number = draw(st.integers(-length, length - 1)) if length and draw(st.booleans()) else None
        if number is None:
            step = draw(st.none() | st.integers(-4, 4).filter(bool) | st.sampled_from([2**70, -(2**70)]))
            items.append(slice(draw(bounds(length)), draw(bounds(length)), step))
        else:
            items.append(draw(st.sampled_from([int, np.int64, np.int8, np.array]))(number))
    if draw(st.booleans()):
        # After an ellipsis the rest of the items belong to the last dimensions; full slices suit all of them.
        place = draw(st.integers(0, len(items)))
        items[place:] = [Ellipsis, *[slice(None)] * (len(items) - place)]
    if len(items) == 1 and draw(st.booleans()):
        return shape, items[0]
    return shape, tuple(items)


@given(shapes_and_selections())
def test_any_selection_walks_to_what_numpy_gives(case: tuple[tuple[int, ...], Any]) -> None:
    """Every shape with every mix of integers, slices and an ellipsis gives numpy's shape and numpy's elements."""
    shape, selection = case
    array = numbered(shape)
    expected = array[selection]
    box = normalise_basic(selection, shape)
    check_walk_is_inside(box, shape)
    assert box.shape == expected.shape
    result = np.full(box.shape, -1, dtype=np.int64)
    gather(array, box, result)
    np.testing.assert_array_equal(result, expected)


def test_the_walk_follows_the_strides_of_the_result() -> None:
    """A result that is itself F-ordered or padded gets the same elements: strides come from it, not from its shape."""
    array = numbered((4, 6))
    selection = (slice(None, None, -2), slice(5, 0, -1))
    box = normalise_basic(selection, array.shape)
    result = np.zeros(box.shape, dtype=np.int64, order="F")
    gather(array, box, result)
    np.testing.assert_array_equal(result, array[selection])
    padded = np.zeros((box.shape[0], box.shape[1] + 3), dtype=np.int64)
    gather(array, box, padded[:, : box.shape[1]])
    np.testing.assert_array_equal(padded[:, : box.shape[1]], array[selection])


@pytest.mark.parametrize(
    ("selection", "starts", "counts"),
    [
        (2**60 - 1, (2**60 - 1,), (1,)),
        (-1, (2**60 - 1,), (1,)),
        (slice(None), (0,), (2**60,)),
        (slice(-3, None), (2**60 - 3,), (3,)),
        (slice(None, None, 2**59), (0,), (2,)),
        (slice(None, None, -(2**59)), (2**59 - 1,), (2,)),
        (slice(2**70, None), (0,), (0,)),
    ],
)
def test_huge_dimensions_are_just_numbers(selection: Any, starts: tuple[int, ...], counts: tuple[int, ...]) -> None:
    """An array of 2**60 elements is selected from exactly; numpy could not hold it to compare with."""
    box = normalise_basic(selection, (2**60,))
    assert (box.starts, box.counts) == (starts, counts)
    check_walk_is_inside(box, (2**60,))


@pytest.mark.parametrize("selection", [10, -11, (0, 5), (0, -6), np.array(10)])
def test_an_integer_out_of_bounds_has_the_words_of_numpy(selection: Any) -> None:
    """Integer out of bounds: IndexError with numpy's words, naming axis and size, and the array."""
    with pytest.raises(IndexError) as expected:
        np.zeros((10, 5))[selection]
    with pytest.raises(IndexError) as error:
        normalise_basic(selection, (10, 5), "/data/a.zarr")
    assert str(error.value) == f"{expected.value} (array /data/a.zarr)"


@pytest.mark.parametrize("selection", [np.uint64(2**63), 2**80, -(2**80)])
def test_an_integer_beyond_int64_is_just_out_of_bounds(selection: Any) -> None:
    """numpy has OverflowError and other words for these; here they are what they are to the user, out of bounds."""
    with pytest.raises(IndexError, match=f"index {selection} is out of bounds for axis 0 with size 10"):
        normalise_basic(selection, (10, 5))


@pytest.mark.parametrize(
    ("selection", "shape"),
    [((1, 2, 3), (4, 4)), (0, ()), (slice(None), ()), ((slice(None), Ellipsis, 1, 1), (4, 4)), ((..., ...), (4, 4))],
)
def test_too_many_indices_have_the_words_of_numpy(selection: Any, shape: tuple[int, ...]) -> None:
    """More indices than dimensions, or two ellipses: IndexError with numpy's words."""
    with pytest.raises(IndexError) as expected:
        np.zeros(shape)[selection]
    with pytest.raises(IndexError) as error:
        normalise_basic(selection, shape)
    assert str(error.value) == str(expected.value)


@pytest.mark.parametrize(
    ("selection", "word"),
    [
        (True, "masks"),
        (np.True_, "masks"),
        (np.array(True), "masks"),
        (np.zeros((4, 4), bool), "masks"),
        ([0, 1], "oindex"),
        (np.array([0, 1]), "oindex"),
        (np.array([1]), "oindex"),
        (None, "newaxis"),
        ((0, 0, None), "newaxis"),
        ((0, [1, 2]), "vindex"),
        (1.0, "not float"),
        (np.float64(1), "not float64"),
        ("field", "not str"),
        ({}, "not dict"),
    ],
)
def test_what_is_no_basic_selection_is_an_index_error(selection: Any, word: str) -> None:
    """Masks, lists, newaxis, floats and names are an IndexError that says what is not there; a bool is no integer."""
    with pytest.raises(IndexError, match=word) as error:
        normalise_basic(selection, (4, 4), "a.zarr")
    assert "only integers, slices" in str(error.value)
    assert "a.zarr" in str(error.value)


def test_bad_slices_are_the_errors_of_numpy() -> None:
    """A step of 0 is a ValueError and a float in a slice a TypeError, as in numpy."""
    with pytest.raises(ValueError, match="step cannot be zero"):
        normalise_basic(slice(None, None, 0), (4,))
    with pytest.raises(TypeError, match="slice indices must be integers"):
        normalise_basic(slice(0.0, 2), (4,))


@given(
    st.integers(0, 4).flatmap(
        lambda ndim: st.tuples(
            st.lists(st.integers(0, 9), min_size=ndim, max_size=ndim),
            st.lists(st.integers(0, 5), min_size=ndim, max_size=ndim),
            st.lists(st.lists(st.integers(-2, 10), min_size=ndim, max_size=ndim), max_size=5),
        )
    ),
    st.sampled_from([None, "i8", "i4", "i1", ">i8", ">i2", "u8", "F"]),
)
def test_crops_are_refused_exactly_when_one_is_outside(
    case: tuple[list[int], list[int], list[list[int]]], dtype: str | None
) -> None:
    """Starts pass unchanged, as int64 in C order, if and only if every crop is inside; the first bad one is named."""
    shape, crop, rows = case
    if dtype == "u8":
        rows = [[abs(start) for start in row] for row in rows]
    starts: Any = rows
    if dtype == "F":
        starts = np.array(rows, dtype=np.int64).reshape(len(rows), len(shape)).copy(order="F")
    elif dtype is not None:
        starts = np.array(rows, dtype=dtype).reshape(len(rows), len(shape))
    bad = [
        number
        for number, row in enumerate(rows)
        if not all(0 <= s <= length - c for s, c, length in zip(row, crop, shape, strict=True))
    ]
    if bad:
        with pytest.raises(IndexError, match=f"^crop {bad[0]} of shape") as error:
            normalise_crops(starts, crop, shape, "a.zarr")
        assert str(tuple(rows[bad[0]])) in str(error.value)
        assert "a.zarr" in str(error.value)
        return
    checked = normalise_crops(starts, crop, shape)
    assert checked.dtype == np.int64
    assert checked.flags.c_contiguous
    assert checked.shape == (len(rows), len(shape))
    assert checked.tolist() == rows


def test_starts_beyond_int64_are_outside_and_not_negative() -> None:
    """uint64 starts whose bits look like small or negative int64 do not slip through."""
    for start in (2**63, 2**64 - 1):
        with pytest.raises(IndexError, match=f"crop 1 .*{start}"):
            normalise_crops(np.array([[0], [start]], dtype=np.uint64), (1,), (2**63 - 1,))
    assert normalise_crops(np.array([[2**63 - 2]], dtype=np.uint64), (1,), (2**63 - 1,)).tolist() == [[2**63 - 2]]
    with pytest.raises(IndexError, match="crop 0"):
        normalise_crops([[0]], (2**80,), (10,))


@pytest.mark.parametrize(
    "starts", [[[1.0, 2.0]], [[True, False]], [["1", "2"]], [[None, 1]], np.zeros((1, 2), "M8[s]"), [[2**70, 0]]]
)
def test_starts_that_are_no_integers_are_a_type_error(starts: Any) -> None:
    """Floats, bools, text and times are a TypeError, whatever their values."""
    with pytest.raises(TypeError, match="expected integers"):
        normalise_crops(starts, (1, 1), (4, 4))


@pytest.mark.parametrize("starts", [[1, 2], [[1], [2]], [[[1, 2]]], 3, np.zeros((0, 3), int)])
def test_starts_of_another_shape_are_a_value_error(starts: Any) -> None:
    """One row of ndim numbers for each crop; anything else is a ValueError that says which shape was expected."""
    with pytest.raises(ValueError, match=r"expected \(n, 2\)"):
        normalise_crops(starts, (1, 1), (4, 4))


def test_no_crops_are_fine() -> None:
    """An empty list, and an empty array of any dtype, are no crops."""
    for starts in ([], np.empty((0, 2)), np.empty((0, 2), np.uint8)):
        assert normalise_crops(starts, (9, 9), (4, 4)).shape == (0, 2)


def test_starts_are_copied() -> None:
    """The caller's array may change after the check without moving a crop."""
    starts = np.zeros((2, 1), dtype=np.int64)
    checked = normalise_crops(starts, (1,), (4,))
    starts[:] = 1000
    assert checked.tolist() == [[0], [0]]


def test_crop_shapes() -> None:
    """A crop shape has one non-negative integer for each dimension."""
    assert normalise_crop_shape(np.array([2, 3]), 2) == (2, 3)
    with pytest.raises(ValueError, match="the array has 3"):
        normalise_crop_shape((1, 2), 3)
    with pytest.raises(ValueError, match="negative"):
        normalise_crop_shape((1, -2), 2)
    with pytest.raises(TypeError):
        normalise_crop_shape((1.5,), 1)
