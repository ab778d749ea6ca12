"""Arrays and selections as zarr-python draws them for its own tests: ``zarr.testing.strategies``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as npst
import hypothesis.strategies as st
import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from zarr.testing import strategies

import ringio_zarr
from parity.compare import same

if not hasattr(strategies, "rectilinear_arrays"):
    pytest.skip("zarr-python 3.4 has these strategies", allow_module_level=True)

pytestmark = [pytest.mark.zarr_3_4, pytest.mark.filterwarnings("ignore::Warning")]

# Those of arrays are slow to draw, and each is written to files.
relaxed = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True)
def _rectilinear() -> Iterator[None]:
    with zarr.config.set({"array.rectilinear_chunks": True}):
        yield


def both(theirs: Any, folder: str) -> list[Any]:
    """An array in memory as ringio_zarr has it there, and in files."""
    for key, value in theirs.store._store_dict.items():
        path = Path(folder, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value.to_bytes())
    return [ringio_zarr.open_array(store, path=theirs.path) for store in (theirs.store, folder)]


def check(theirs: Any, reads: list[Any]) -> None:
    """Each read gives the same."""
    with tempfile.TemporaryDirectory() as folder:
        for ours in both(theirs, folder):
            for read in reads:
                assert same(read(ours), read(theirs)) == ""


def attribute(array: Any, name: str) -> Any:
    """The value, or that there is none: of chunks that have no one shape, say."""
    try:
        value = getattr(array, name)
    except NotImplementedError:
        return NotImplementedError
    return value.asdict() if name == "attrs" else str(value) if name == "info" else value


@relaxed
@given(made=strategies.arrays())
def test_any_array(made: Any) -> None:
    """Any data type, codec, fill value, path and attributes, and all that an array says of itself."""
    names = ("shape", "dtype", "chunks", "shards", "order", "nchunks", "cdata_shape", "filters", "compressors", "name")
    with tempfile.TemporaryDirectory() as folder:
        in_memory, in_files = both(made, folder)
        theirs = zarr.open_array(folder, path=made.path, mode="r")
        for ours in (in_memory, in_files):
            assert same(ours[...], theirs[...]) == ""
            for name in (*names, "attrs", *(["info"] if ours is in_files else [])):
                assert attribute(ours, name) == attribute(theirs, name), name
            np.testing.assert_equal(ours.fill_value, theirs.fill_value)


ANY = strategies.simple_arrays() | strategies.rectilinear_arrays()
NOT_EMPTY = npst.array_shapes(max_dims=3, min_side=1, max_side=9)
FILLED = strategies.simple_arrays(shapes=NOT_EMPTY) | strategies.rectilinear_arrays(shapes=NOT_EMPTY)


@relaxed
@given(data=st.data())
def test_basic_indices(data: st.DataObject) -> None:
    theirs = data.draw(ANY)
    index = data.draw(strategies.basic_indices(shape=theirs.shape))
    check(theirs, [lambda a: a[index], lambda a: a.get_basic_selection(index)])


@relaxed
@given(data=st.data())
def test_basic_indices_of_chunks_of_many_shapes(data: st.DataObject) -> None:
    _, theirs = data.draw(strategies.complex_rectilinear_arrays())
    index = data.draw(strategies.basic_indices(shape=theirs.shape))
    check(theirs, [lambda a: a[index]])


@relaxed
@given(data=st.data())
def test_orthogonal_indices(data: st.DataObject) -> None:
    theirs = data.draw(FILLED)
    index, _ = data.draw(strategies.orthogonal_indices(shape=theirs.shape))
    check(theirs, [lambda a: a.oindex[index]])


@relaxed
@given(data=st.data())
def test_coordinates_and_masks(data: st.DataObject) -> None:
    theirs = data.draw(FILLED)
    index = data.draw(npst.integer_array_indices(theirs.shape, result_shape=npst.array_shapes(max_dims=3)))
    mask = data.draw(npst.arrays(np.bool_, theirs.shape))
    check(theirs, [lambda a: a.vindex[index], lambda a: a.vindex[mask], lambda a: a.get_mask_selection(mask)])


@relaxed
@given(data=st.data())
def test_blocks(data: st.DataObject) -> None:
    theirs, _ = data.draw(strategies.block_test_arrays())
    index, _ = data.draw(strategies.block_indices(chunk_sizes=theirs.write_chunk_sizes))
    check(theirs, [lambda a: a.blocks[index], lambda a: a.get_block_selection(index)])
