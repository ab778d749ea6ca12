"""Regular chunk grids: how many chunks, and how they are numbered."""

from __future__ import annotations

from collections.abc import Sequence


def grid_shape(shape: Sequence[int], chunk_shape: Sequence[int]) -> tuple[int, ...]:
    """How many chunks there are along each dimension; the last one may reach over the edge.

    >>> grid_shape((10, 4, 0), (4, 4, 4))
    (3, 1, 0)
    """
    return tuple(-(-length // chunk) for length, chunk in zip(shape, chunk_shape, strict=True))


def regular_sizes(shape: Sequence[int], chunk_shape: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Elements of each chunk that are in the array, along each dimension.

    >>> regular_sizes((10, 4, 0), (4, 4, 4))
    ((4, 4, 2), (4,), ())
    """
    return tuple(
        tuple(min(chunk, length - start) for start in range(0, length, chunk))
        for length, chunk in zip(shape, chunk_shape, strict=True)
    )


def c_strides(shape: Sequence[int], item_stride: int = 1) -> tuple[int, ...]:
    """The strides of a C-order array, ``item_stride`` being that of the last dimension.

    >>> c_strides((4, 3, 2)), c_strides((4, 3, 2), 8)
    ((6, 2, 1), (48, 16, 8))
    """
    strides = []
    stride = item_stride
    for length in reversed(shape):
        strides.append(stride)
        stride *= length
    return tuple(reversed(strides))


def unpermute(values: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
    """Values given per stored dimension, put per array dimension; stored dimension k is array dimension ``order[k]``.

    >>> unpermute((10, 20, 30), (2, 0, 1))
    (20, 30, 10)
    """
    placed = [0] * len(order)
    for value, dimension in zip(values, order, strict=True):
        placed[dimension] = value
    return tuple(placed)
