"""Selections with lists, arrays and masks in them, as numbers: which elements, and what shape they have.

What is taken, and what is said of the rest, is zarr-python's (``zarr/core/indexing.py`` of 3.4). What that refuses
though it has but one meaning is taken here: an empty list, an ellipsis beside a list, steps below 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any, Final, TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt

from ringio.planning import NamedTuple

from ._selection import BoundsCheckError, Box, VindexInvalidSelectionError, expand_items, index_error, normalise_basic

_INDEX_KINDS: Final = "iu"
_EVERYTHING: Final = slice(None)


class Runs(NamedTuple):
    """The indices of one dimension, as runs of numbers that follow each other.

    Attributes:
        dimension: of the array.
        starts: first index of each run, int64[k].
        counts: indices of each run, int64[k].
        places: which element of the result along its dimension the first of each run is, int64[k].
    """

    dimension: int
    starts: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]


class Product(NamedTuple):
    """Every combination of what is selected along each dimension, where a single step does not say that for all.

    Attributes:
        box: of the other dimensions; along those with runs it has the one element 0 and stays in the result.
        runs: of one dimension or more, ascending.
        shape: of the result.
    """

    box: Box
    runs: tuple[Runs, ...]
    shape: tuple[int, ...]

    @property
    def target_shape(self) -> tuple[int, ...]:
        """The shape of the array that it is read to."""
        return self.shape


class Points(NamedTuple):
    """Single elements in any order.

    Attributes:
        coordinates: int64[n] for each dimension of the array; inside it.
        shape: of the result; its product is n.
    """

    coordinates: tuple[npt.NDArray[np.int64], ...]
    shape: tuple[int, ...]

    @property
    def target_shape(self) -> tuple[int, ...]:
        """The shape of the array that they are read to: one dimension."""
        return (len(self.coordinates[0]),)


class Mask(NamedTuple):
    """The elements where a mask is true, in C order.

    Attributes:
        values: bool, of the array's shape, which has a dimension at least.
        true_count: how many are true.
    """

    values: npt.NDArray[np.bool_]
    true_count: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the result."""
        return (self.true_count,)

    @property
    def target_shape(self) -> tuple[int, ...]:
        """The shape of the array that they are read to."""
        return (self.true_count,)

    @property
    def coordinates(self) -> tuple[npt.NDArray[np.int64], ...]:
        """As those of ``Points``."""
        return true_coordinates(self.values)


Wanted: TypeAlias = Box | Product | Points | Mask


# ------------------------------------------------------------------------------------- which kind of selection it is


def is_vectorised(selection: Any, dim_count: int) -> bool:
    """Whether ``a[selection]`` means ``a.vindex[selection]``: a mask, or nothing but integers and arrays of them."""
    if _is_bool_array(selection):
        return True
    if dim_count == 1 and (_is_int_list(selection) or _is_int_array(selection) or _is_bool_list(selection)):
        return True
    if not isinstance(selection, tuple) or len(selection) != dim_count:
        return False
    lists = [_is_int_list(item) or _is_int_array(item) or _is_empty_list(item) for item in selection]
    return any(lists) and all(is_list or _is_int(item) for is_list, item in zip(lists, selection, strict=True))


def is_orthogonal(selection: Any, dim_count: int) -> bool:
    """Whether ``a[selection]`` means ``a.oindex[selection]``: one list or mask at most, or one in each dimension."""
    items = selection if isinstance(selection, tuple) else (selection,)
    lists = [is_index_list(item) or _is_empty_list(item) for item in items]
    if not any(lists):
        return False
    if len(items) == dim_count and all(lists):
        return True
    return sum(lists) == 1 and all(
        is_list or item is Ellipsis or isinstance(item, slice) or _is_int(item)
        for is_list, item in zip(lists, items, strict=True)
    )


def is_index_list(item: Any) -> bool:
    """Whether something is a list or an array of integers or of truth values."""
    return _is_int_list(item) or _is_int_array(item) or _is_bool_array(item) or _is_bool_list(item)


def _is_int(item: Any) -> bool:
    return isinstance(item, Integral) and not _is_bool(item)


def _is_bool(item: Any) -> bool:
    return isinstance(item, bool | np.bool_)


def _is_int_list(item: Any) -> bool:
    return isinstance(item, list) and bool(item) and all(map(_is_int, item))


def _is_bool_list(item: Any) -> bool:
    return isinstance(item, list) and bool(item) and all(map(_is_bool, item))


def _is_empty_list(item: Any) -> bool:
    return isinstance(item, list) and not item


def _is_array(item: Any) -> TypeGuard[npt.NDArray[Any]]:
    """Any array, also one that numpy has to be asked to make one of: another Zarr array, say."""
    return hasattr(item, "shape") and hasattr(item, "dtype") and not isinstance(item, np.generic)


def _is_int_array(item: Any) -> bool:
    return _is_array(item) and item.dtype.kind in _INDEX_KINDS


def _is_bool_array(item: Any) -> bool:
    return _is_array(item) and item.dtype == np.bool_


def _as_array(item: Any) -> Any:
    """Lists and arrays of others as numpy's; anything else as it is."""
    if _is_empty_list(item):
        return np.empty(0, np.int64)
    return np.asarray(item) if isinstance(item, list) or _is_array(item) else item


# --------------------------------------------------------------------------------------------------- outer products


def normalise_orthogonal(selection: Any, shape: tuple[int, ...], path: str = "") -> Box | Product:
    """What ``a.oindex[selection]`` means: along each dimension an integer, a slice, integers or truth values.

    Args:
        selection: what stands between the brackets.
        shape: of the array.
        path: of the array, for messages.

    Returns:
        A box where each list is a slice in other words.

    Raises:
        IndexError: something else; an index out of bounds; a mask of another length; more items than dimensions.

    >>> normalise_orthogonal(([2, 4, 6], slice(1, 3)), (9, 9))
    Box(starts=(2, 1), counts=(3, 2), steps=(2, 1), signs=(1, 1), shape=(3, 2))
    >>> normalise_orthogonal(([7, 1, 2],), (9,)).runs[0]
    Runs(dimension=0, starts=array([7, 1]), counts=array([1, 2]), places=array([0, 1]))
    """
    items = expand_items(selection if isinstance(selection, tuple) else (selection,), shape, path)
    plain: list[Any] = []
    runs: list[Runs] = []
    for dimension, item in enumerate(map(_as_array, items)):
        if isinstance(item, slice) or _is_int(item):
            plain.append(item)
            continue
        indices = _indices(item, dimension, shape[dimension], path)
        as_slice = _as_slice(indices)
        if as_slice is None:
            runs.append(make_runs(dimension, indices))
        plain.append(slice(0, 1) if as_slice is None else as_slice)
    box = normalise_basic(tuple(plain), shape, path)
    return Product(box, tuple(runs), _product_shape(box, runs)) if runs else box


def _indices(item: Any, dimension: int, length: int, path: str) -> npt.NDArray[np.int64]:
    """The indices that a list along one dimension stands for."""
    if _is_bool_array(item):
        if item.ndim != 1:
            raise index_error("Boolean arrays in an orthogonal selection must be 1-dimensional only", path)
        if len(item) != length:
            problem = "Boolean array has the wrong length for dimension"
            raise index_error(f"{problem} {dimension}; expected {length}, got {len(item)}", path)
        return np.flatnonzero(item)
    if not _is_int_array(item):
        raise index_error(
            "unsupported selection item for orthogonal indexing; expected integer, slice, integer array or Boolean "
            f"array, got {type(item)!r}",
            path,
        )
    if item.ndim != 1:
        raise index_error("integer arrays in an orthogonal selection must be 1-dimensional only", path)
    return _inside(item, dimension, length, path)


def _inside(indices: npt.NDArray[Any], dimension: int, length: int, path: str) -> npt.NDArray[np.int64]:
    """Indices that count from the start, all inside."""
    if indices.size == 0:
        return np.empty(indices.shape, np.int64)
    low, high = int(indices.min()), int(indices.max())  # as Python's own: an uint64 may be beyond every int64
    if low < -length or high >= length:
        bad = low if low < -length else high
        raise BoundsCheckError.at(bad, dimension, length, path)
    indices = indices.astype(np.int64, copy=False)
    return np.where(indices < 0, indices + length, indices) if low < 0 else indices


def _as_slice(indices: npt.NDArray[np.int64]) -> slice | None:
    """The slice that has the same indices, where there is one."""
    if len(indices) == 0:
        return slice(0, 0)
    first, last = int(indices[0]), int(indices[-1])
    if len(indices) == 1:
        return slice(first, first + 1)
    step = int(indices[1]) - first
    if step == 0 or last != first + (len(indices) - 1) * step or (np.diff(indices) != step).any():
        return None
    end = last + (1 if step > 0 else -1)
    return slice(first, None if end < 0 else end, step)


def make_runs(dimension: int, indices: npt.NDArray[np.int64]) -> Runs:
    """Indices in any order, at least one, as runs."""
    firsts = np.flatnonzero(np.diff(indices) != 1) + 1
    places = np.concatenate(([0], firsts))
    counts = np.diff(places, append=len(indices))
    return Runs(dimension, indices[places], counts, places)


def _product_shape(box: Box, runs: Sequence[Runs]) -> tuple[int, ...]:
    lengths = list(box.counts)
    for run in runs:
        lengths[run.dimension] = int(run.counts.sum())
    return tuple([length for length, sign in zip(lengths, box.signs, strict=True) if sign])


# ------------------------------------------------------------------------------------------------- points and masks


def normalise_vectorised(selection: Any, shape: tuple[int, ...], path: str = "") -> Points | Mask:
    """What ``a.vindex[selection]`` means: an index, or an array of them, for each dimension; or one mask.

    Raises:
        VindexInvalidSelectionError: neither.
        IndexError, ValueError: as ``normalise_coordinates``.
    """
    items = tuple(map(_as_array, selection if isinstance(selection, tuple) else (selection,)))
    if _are_coordinates(items, shape):
        return normalise_coordinates(items, shape, path)
    if len(items) == 1 and _is_bool_array(items[0]) and items[0].shape == shape and shape:
        return normalise_mask(items[0], shape, path)
    raise VindexInvalidSelectionError(
        "unsupported selection type for vectorized indexing; only coordinate selection (tuple of integer arrays) and "
        f"mask selection (single Boolean array) are supported; got {_kinds(items)}{_counts(items, shape)}"
        + (f" (array {path})" if path else "")
    )


def _are_coordinates(items: tuple[Any, ...], shape: tuple[int, ...]) -> bool:
    return len(items) == len(shape) > 0 and all(_is_int(item) or _is_int_array(item) for item in items)


def normalise_coordinates(selection: Any, shape: tuple[int, ...], path: str = "") -> Points:
    """The elements at coordinates that are broadcast against each other, as numpy's ``a[x, y]`` has it.

    Args:
        selection: an integer, or integers of any shape, for each dimension.
        shape: of the array.
        path: of the array, for messages.

    Returns:
        Points of the shape that the coordinates have together; integers alone are one point of shape (1,).

    Raises:
        IndexError: no coordinates, not one for each dimension, one out of bounds.
        ValueError: shapes that cannot be broadcast.

    >>> normalise_coordinates(([0, -1], 3), (9, 9))
    Points(coordinates=(array([0, 8]), array([3, 3])), shape=(2,))
    """
    items = tuple(map(_as_array, selection if isinstance(selection, tuple) else (selection,)))
    if not _are_coordinates(items, shape):
        raise index_error(
            "invalid coordinate selection; expected one integer (coordinate) array per dimension of the target array, "
            f"got {_kinds(items)}{_counts(items, shape)}",
            path,
        )
    columns = [
        _inside(np.asarray(item), dimension, length, path)
        for dimension, (item, length) in enumerate(zip(items, shape, strict=True))
    ]
    try:
        result_shape = np.broadcast_shapes(*[column.shape for column in columns]) or (1,)
    except ValueError as error:
        raise ValueError(f"{error} (array {path})" if path else str(error)) from None
    return Points(tuple([np.broadcast_to(column, result_shape).reshape(-1) for column in columns]), result_shape)


def normalise_mask(mask: Any, shape: tuple[int, ...], path: str = "") -> Mask:
    """The elements where a mask of the array's own shape is true, in C order.

    Raises:
        IndexError: it is no such mask.
    """
    items = mask if isinstance(mask, tuple) else (mask,)
    given: Any = _as_array(items[0]) if len(items) == 1 else None
    if not _is_bool_array(given) or given.shape != shape or not shape:
        raise index_error(
            "invalid mask selection; expected one Boolean (mask) array with the same shape as the target array "
            f"{shape}, got {_kinds(items)}",
            path,
        )
    return Mask(given, int(np.count_nonzero(given)))


def true_coordinates(mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int64], ...]:
    """What ``mask.nonzero()`` gives, in a fraction of the time where few are true."""
    return np.unravel_index(np.flatnonzero(mask), mask.shape)


def _kinds(items: Sequence[Any]) -> str:
    """What was given, for a message: not the values, of which there may be millions."""
    words = [
        f"{item.dtype} of shape {item.shape}" if _is_array(item) else type(item).__name__
        for item in map(_as_array, items)
    ]
    return f"({', '.join(words)})"


def _counts(items: Sequence[Any], shape: tuple[int, ...]) -> str:
    """How many indices there are for how many dimensions, for a message where that is what is wrong."""
    if len(items) == len(shape) or not all(_is_int(item) or _is_int_array(item) for item in items):
        return ""
    return f"; indices: {len(items)}, dimensions of the array: {len(shape)}"


# ------------------------------------------------------------------------------------------------------------ blocks


def normalise_blocks(
    selection: Any,
    shape: tuple[int, ...],
    block_counts: Sequence[int],
    first_of: Callable[[int, int], int],
    path: str = "",
) -> Box:
    """What ``a.blocks[selection]`` means: the elements of chunks, by their numbers in the grid.

    Args:
        selection: an integer or a slice without steps for each dimension; an integer keeps its dimension.
        shape: of the array.
        block_counts: chunks along each dimension.
        first_of: the first element of a chunk, from a dimension and a number below the count there.
        path: of the array, for messages.

    Raises:
        IndexError: something else, or a chunk out of bounds.

    >>> normalise_blocks((-1, slice(0, 1)), (9, 9), (2, 1), lambda dimension, number: (5, 9)[dimension] * number)
    Box(starts=(5, 0), counts=(4, 9), steps=(1, 1), signs=(1, 1), shape=(4, 9))
    """
    items = expand_items(selection if isinstance(selection, tuple) else (selection,), shape, path)

    def edge(dimension: int, number: int) -> int:
        return first_of(dimension, number) if number < block_counts[dimension] else shape[dimension]

    slices = []
    for dimension, (item, count) in enumerate(zip(items, block_counts, strict=True)):
        first, end = _block_range(item, dimension, count, path)
        slices.append(slice(edge(dimension, first), edge(dimension, end)))
    return normalise_basic(tuple(slices), shape, path)


def _block_range(item: Any, dimension: int, count: int, path: str) -> tuple[int, int]:
    """The first block, and the one behind the last."""
    if _is_int(item):
        first = int(item) + (count if item < 0 else 0)
        end = first + 1
    elif not isinstance(item, slice):
        problem = f"unsupported selection item for block indexing; expected integer or slice, got {type(item)!r}"
        raise index_error(problem, path)
    elif item.step not in (1, None):
        problem = f"unsupported selection item for block indexing; expected integer or slice with step=1, got {item!r}"
        raise index_error(problem, path)
    elif item == _EVERYTHING:
        return 0, count
    else:
        first = 0 if item.start is None else int(item.start) + (count if item.start < 0 else 0)
        end = count if item.stop is None else int(item.stop) + (count if item.stop < 0 else 0)
        end = min(max(end, 0), count)
    if not 0 <= first < count:
        problem = f"block index {item} is out of bounds for dimension {dimension} with {count} chunk(s)"
        raise BoundsCheckError(f"{problem} (array {path})" if path else problem)
    return first, end
