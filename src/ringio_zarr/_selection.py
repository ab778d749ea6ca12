"""Selections: what a user writes between brackets, as a walk over the array and a place in the result. Pure numbers."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index as to_int
from typing import Any, Final, NoReturn

import numpy as np
import numpy.typing as npt

from ringio import planning
from ringio.planning import NamedTuple

_new_tuple: Final = tuple.__new__
_ELSEWHERE: Final = "lists and masks are for a[...], oindex and vindex; newaxis is not supported"


class BoundsCheckError(IndexError):
    """An index, or the number of a chunk, that is out of bounds."""

    __module__ = "ringio_zarr"  # where it is to be imported from

    @classmethod
    def at(cls, number: int, dimension: int, length: int, path: str) -> BoundsCheckError:
        """The error for one index, in numpy's words."""
        problem = f"index {number} is out of bounds for axis {dimension} with size {length}"
        return cls(f"{problem} (array {path})" if path else problem)


class VindexInvalidSelectionError(IndexError):
    """What is given to ``vindex`` is neither coordinates nor a mask."""

    __module__ = "ringio_zarr"


class Box(NamedTuple):
    """A box of an array, possibly with gaps: the elements ``starts + k * steps``, ``0 <= k < counts``.

    The walk is always forward and inside the array. A dimension that the user reversed is walked forward too, and its
    elements are put down backwards: its target stride is negative and the target offset is that of the last element.

    Attributes:
        starts: first element along each array dimension.
        counts: elements along each array dimension, may be 0; 1 where the selection has an integer.
        steps: between elements along each array dimension, at least 1; 1 where there are fewer than two elements.
        signs: along each array dimension 1, or -1 where it is reversed, or 0 where an integer drops it from the result.
        shape: of the result.

    A tuple and not a dataclass: one is made for each ``a[...]``, and a frozen dataclass takes four times as long.
    """

    starts: tuple[int, ...]
    counts: tuple[int, ...]
    steps: tuple[int, ...]
    signs: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def target_shape(self) -> tuple[int, ...]:
        """The shape of the array that it is read to."""
        return self.shape

    def target_strides(self, result_strides: Sequence[int]) -> tuple[int, ...]:
        """Bytes in the result between one step and the next along each *array* dimension; 0 where it is dropped.

        Args:
            result_strides: bytes along each dimension of the result, as ``ndarray.strides``.

        >>> normalise_basic((2, slice(None, None, -1)), (4, 5)).target_strides((8,))
        (0, -8)
        """
        strides = iter(result_strides)
        return tuple([sign * next(strides) if sign else 0 for sign in self.signs])

    def target_offset(self, result_strides: Sequence[int]) -> int:
        """Bytes from the first element of the result to where the first element of the walk goes.

        >>> normalise_basic((2, slice(None, None, -1)), (4, 5)).target_offset((8,))
        32
        """
        offset = 0
        if -1 in self.signs:
            strides = iter(result_strides)
            for sign, count in zip(self.signs, self.counts, strict=True):
                stride = next(strides) if sign else 0
                if sign < 0 < count:
                    offset += (count - 1) * stride
        return offset


def normalise_basic(selection: Any, shape: tuple[int, ...], path: str = "") -> Box:
    """What ``a[selection]`` means: integers, slices with steps of either sign, and one ellipsis, as in numpy.

    An integer is anything with ``__index__``, so numpy integers and 0-d integer arrays too; not a bool.

    Args:
        selection: what stands between the brackets.
        shape: of the array.
        path: of the array, for messages.

    Raises:
        IndexError: an integer out of bounds, more indices than dimensions, something that is neither integer nor slice.
        TypeError: a slice whose ends are no integers.
        ValueError: a slice with step 0.

    Source: NumPy user guide, "Basic indexing". zarr-python has the same without negative steps.

    >>> normalise_basic((3, slice(10, 20)), (4, 100))
    Box(starts=(3, 10), counts=(1, 10), steps=(1, 1), signs=(0, 1), shape=(10,))
    """
    items = selection if isinstance(selection, tuple) else (selection,)
    missing = len(shape) - len(items)
    if missing == 0 and (point := _point(items, shape)):
        return point
    if missing:
        if missing < 0 and not _has_ellipsis(items):
            _check_items(items, path)
        items = expand_items(items, shape, path)
    starts, counts, steps, signs, result_shape = [], [], [], [], []
    for dimension, item in enumerate(items):
        length = shape[dimension]
        if isinstance(item, slice):
            start, stop, step = item.indices(length)
            sign = 1
            if step == 1:
                count = stop - start
            elif step > 0:
                count = (stop - start + step - 1) // step
            else:
                count = (start - stop - step - 1) // -step
                start += (count - 1) * step
                step = -step
                sign = -1
            if count < 2:
                step = 1  # it may be larger than any int64
                if count <= 0:
                    start = count = 0
            result_shape.append(count)
        elif item is Ellipsis:
            return normalise_basic(expand_items(items, shape, path), shape, path)
        else:
            start = item if type(item) is int and 0 <= item < length else _parse_int(item, dimension, length, path)
            count = step = 1
            sign = 0
        starts.append(start)
        counts.append(count)
        steps.append(step)
        signs.append(sign)
    # As Box() does it, in half the time.
    return _new_tuple(Box, (tuple(starts), tuple(counts), tuple(steps), tuple(signs), tuple(result_shape)))


def _point(items: tuple[Any, ...], shape: tuple[int, ...]) -> Box | None:
    """One element, by plain integers that count from the start, in half the time."""
    for item, length in zip(items, shape, strict=True):
        if type(item) is not int or not 0 <= item < length:
            return None
    dim_count = len(items)
    ones = (1,) * dim_count
    return _new_tuple(Box, (items, ones, ones, (0,) * dim_count, ()))


def _has_ellipsis(items: tuple[Any, ...]) -> bool:
    return any(item is Ellipsis for item in items)  # not "in", which compares arrays


def _parse_int(item: Any, dimension: int, length: int, path: str) -> int:
    if type(item) is not int:
        _check_items((item,), path)
    number = to_int(item)
    if not -length <= number < length:
        raise BoundsCheckError.at(number, dimension, length, path)
    return number if number >= 0 else number + length


def expand_items(items: tuple[Any, ...], shape: tuple[int, ...], path: str) -> tuple[Any, ...]:
    """As many items as there are dimensions: full slices in place of an ellipsis, or behind the last one.

    Raises:
        IndexError: more items than dimensions, or two ellipses.
    """
    if _has_ellipsis(items):
        items = _expand_ellipsis(items, shape, path)
    if len(items) > len(shape):
        problem = f"array is {len(shape)}-dimensional, but {len(items)} were indexed"
        raise index_error(f"too many indices for array: {problem}", path)
    return items + (slice(None),) * (len(shape) - len(items))


def _expand_ellipsis(items: tuple[Any, ...], shape: tuple[int, ...], path: str) -> tuple[Any, ...]:
    """The items with as many full slices in place of the ellipsis as there are dimensions left."""
    places = [place for place, item in enumerate(items) if item is Ellipsis]
    if len(places) > 1:
        raise index_error("an index can only have a single ellipsis ('...')", path)
    return (*items[: places[0]], *((slice(None),) * (len(shape) - len(items) + 1)), *items[places[0] + 1 :])


def _check_items(items: tuple[Any, ...], path: str) -> None:
    """Refuse what is neither integer nor slice."""
    for item in items:
        if isinstance(item, slice):
            continue
        if isinstance(item, bool | np.bool_):  # NumPy 1 takes its own as an index
            _refuse_item(item, path)
        try:
            to_int(item)
        except TypeError:
            _refuse_item(item, path)


def _refuse_item(item: Any, path: str) -> NoReturn:
    fancy = item is None or isinstance(item, bool | np.bool_ | list | np.ndarray)
    reason = _ELSEWHERE if fancy else f"not {type(item).__name__}"
    # From None: the TypeError of operator.index() says less than this.
    raise index_error(f"only integers, slices (`:`) and ellipsis (`...`) are valid indices; {reason}", path) from None


def index_error(problem: str, path: str) -> IndexError:
    """An error that names the array."""
    return IndexError(f"{problem} (array {path})" if path else problem)


def normalise_crop_shape(crop_shape: Sequence[Any], dim_count: int) -> tuple[int, ...]:
    """The shape of crops: one non-negative integer for each dimension of the array.

    Raises:
        TypeError: no sequence of integers.
        ValueError: a negative length, or not one for each dimension.

    >>> normalise_crop_shape([4, np.int32(128)], 2)
    (4, 128)
    """
    try:
        shape = tuple([to_int(length) for length in crop_shape])
    except TypeError:
        raise TypeError(f"crops of shape {crop_shape!r}: expected {dim_count} integers") from None
    if len(shape) != dim_count:
        raise ValueError(f"crops of shape {shape} have {len(shape)} dimensions, the array has {dim_count}")
    if any(length < 0 for length in shape):
        raise ValueError(f"crops of shape {shape}: a length is negative")
    return shape


def few_crops(
    starts: npt.ArrayLike, crop_shape: tuple[int, ...], array_shape: Sequence[int], most: int
) -> list[Box] | None:
    """The same as ``normalise_crops`` for at most so many crops, as boxes and in a fraction of the time.

    Returns:
        None where there are more, or none, or where ``normalise_crops`` has something to say about them.

    >>> few_crops(np.array([[2, 6]]), (2, 4), (4, 10), 3)
    [Box(starts=(2, 6), counts=(2, 4), steps=(1, 1), signs=(1, 1), shape=(2, 4))]
    """
    if not isinstance(starts, np.ndarray) or starts.ndim != 2 or starts.dtype.kind not in "iu":
        return None
    count, dim_count = starts.shape
    if not 0 < count <= most or dim_count != len(array_shape) or 0 in crop_shape:
        return None
    ones = (1,) * dim_count
    boxes = []
    for row in starts.tolist():
        for start, length, crop in zip(row, array_shape, crop_shape, strict=True):
            if not 0 <= start <= length - crop:
                return None
        boxes.append(Box(tuple(row), crop_shape, ones, ones, crop_shape))
    return boxes


def normalise_crops(
    starts: npt.ArrayLike, crop_shape: Sequence[int], array_shape: Sequence[int], path: str = ""
) -> npt.NDArray[np.int64]:
    """The first elements of crops that all lie wholly inside the array.

    Args:
        starts: integers, shape (n, ndim): crop ``i`` begins at element ``starts[i]``. Nothing counts from the end.
        crop_shape: the shape of every crop, as ``normalise_crop_shape`` gives it.
        array_shape: of the array.
        path: of the array, for messages.

    Returns:
        int64, shape (n, ndim), C order. A copy, so that nobody can move a crop out of the array after the check.

    Raises:
        TypeError: ``starts`` are not integers; bool counts as none.
        ValueError: ``starts`` do not have shape (n, ndim).
        IndexError: a crop is not inside the array; the message names the first one.

    >>> normalise_crops([[0, 0], [2, 6]], (2, 4), (4, 10))
    array([[0, 0],
           [2, 6]])
    """
    try:
        given = np.asarray(starts)
    except ValueError:  # rows of different lengths
        raise ValueError(f"starts of crops are no table, expected integers of shape (n, {len(array_shape)})") from None
    dim_count = len(array_shape)
    if given.size == 0 and given.ndim == 1:  # [] as well as np.empty((0, ndim))
        given = given.reshape(0, dim_count)
    if given.ndim != 2 or given.shape[1] != dim_count:
        raise ValueError(f"starts of crops have shape {given.shape}, expected (n, {dim_count})")
    if given.dtype.kind not in "iu" and given.size:
        raise TypeError(f"starts of crops are {given.dtype}, expected integers")
    checked = np.array(given, np.int64, order="C")  # numbers beyond int64 become negative
    limits = [length - crop for length, crop in zip(array_shape, crop_shape, strict=True)]
    if len(checked) and limits and (min(limits) < 0 or planning.outside(checked, limits) is not None):
        raise _crop_error(given, limits, crop_shape, array_shape, path)
    return checked


def _crop_error(
    starts: npt.NDArray[Any], limits: Sequence[int], crop_shape: Sequence[int], array_shape: Sequence[int], path: str
) -> IndexError:
    # Row by row as Python integers, which compare right whatever the dtype is: this happens only once, to say no.
    outside = (
        (number, tuple(row))
        for number, row in enumerate(starts.tolist())
        if not all(0 <= start <= limit for start, limit in zip(row, limits, strict=True))
    )
    number, start = next(outside)
    problem = f"crop {number} of shape {tuple(crop_shape)} at {start} is out of bounds for shape {tuple(array_shape)}"
    return index_error(problem, path)
