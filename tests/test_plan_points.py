"""Points over a grid: every point is in the chunk, and at the place in it, that plain arithmetic says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringio import planning


@st.composite
def grids(draw: st.DrawFn) -> tuple[planning.Grid, tuple[int, ...], tuple[int, ...]]:
    """A grid of one or two levels, the shape of its array, and its chunks per shard."""
    ndim = draw(st.integers(1, 4))
    chunk = tuple(draw(st.integers(1, 5)) for _ in range(ndim))
    factors = tuple(draw(st.integers(1, 3)) for _ in range(ndim))
    outer = tuple(draw(st.integers(1, 3)) for _ in range(ndim))
    inner_ids = np.cumprod([1, *factors[::-1]])
    outer_ids = np.cumprod([1, *outer[::-1]]) * inner_ids[-1]
    strides = 2 * np.cumprod([1, *chunk[::-1]])
    levels = [(factors, outer_ids[-2::-1]), ((1,) * ndim, inner_ids[-2::-1])]
    grid = planning.Grid(chunk, strides[-2::-1].tolist(), *zip(*[(f, i.tolist()) for f, i in levels], strict=True))
    return grid, tuple(a * b * c for a, b, c in zip(chunk, factors, outer, strict=True)), factors


@given(grids(), st.data())
def test_points_are_where_arithmetic_says(
    case: tuple[planning.Grid, tuple[int, ...], tuple[int, ...]], data: st.DataObject
) -> None:
    grid, shape, factors = case
    count = data.draw(st.integers(0, 700))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    points = np.stack([rng.integers(0, length, count) for length in shape])
    if data.draw(st.booleans()):  # many in a row
        points = np.stack(np.unravel_index(np.sort(rng.integers(0, np.prod(shape), count)), shape))
    stride = data.draw(st.sampled_from([2, -2, 6]))
    layout = planning.layout(source_strides=[2], target_strides=[stride], itemsize=2)
    found = grid.intersect_points(points, layout, 5000)

    chunk = points // np.array(grid.chunk_shape)[:, None]
    outer, inner = chunk // np.array(factors)[:, None], chunk % np.array(factors)[:, None]
    ids = (outer * np.array(grid.id_strides[0])[:, None] + inner * np.array(grid.id_strides[1])[:, None]).sum(0)
    offsets = ((points % np.array(grid.chunk_shape)[:, None]) * np.array(grid.chunk_strides)[:, None]).sum(0)
    want = sorted((int(ids[i]), int(offsets[i]), 5000 + i * stride) for i in range(count))

    got = []
    pair_chunks = np.repeat(found.chunk_ids, np.diff(found.first_projections).astype(int))
    for chunk_id, projection, length in zip(pair_chunks, found.projections, found.counts[:, 0], strict=True):
        for k in range(length):
            source, target = projection["source_offset"] + 2 * k, projection["target_offset"] + stride * k
            got.append((int(chunk_id), int(source), int(target)))
    assert sorted(got) == want
    assert (np.diff(found.chunk_ids.astype(np.int64)) > 0).all()
    assert int(found.first_projections[-1]) == len(found.projections) == len(found.counts)


def test_points_in_a_row_are_one_projection() -> None:
    grid = planning.Grid((4, 8), (16, 2), [(1, 1)], [(1, 1)])
    layout = planning.layout(source_strides=[2], target_strides=[2], itemsize=2)
    found = grid.intersect_points(np.unravel_index(np.arange(32), (4, 8)), layout, 0)
    assert found.counts.tolist() == [[32]]
    found = grid.intersect_points([[0, 0, 0, 1], [3, 3, 4, 4]], layout, 0)
    assert found.counts.tolist() == [[1], [2], [1]]


def test_what_is_no_point_is_refused() -> None:
    grid = planning.Grid((4, 8), (16, 2), [(1, 1)], [(1, 1)])
    layout = planning.layout(source_strides=[2], target_strides=[2], itemsize=2)
    with pytest.raises(ValueError, match="negative"):
        grid.intersect_points([[0, -1], [0, 0]], layout, 0)
    with pytest.raises(ValueError, match="shapes"):
        grid.intersect_points([[0, 1], [0]], layout, 0)
    with pytest.raises(ValueError, match="2 dimensions"):
        grid.intersect_points([[0, 1]], layout, 0)
    with pytest.raises(ValueError, match="LAYOUT"):
        grid.intersect_points([[0], [1]], np.concatenate([layout, layout]), 0)
