"""What works on arrays of any kind works on those of ringio_zarr: dask, also in other processes, and xarray."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr

import ringio_zarr

pytestmark = pytest.mark.filterwarnings("ignore::Warning:zarr", "ignore::DeprecationWarning")

VALUES = np.arange(50 * 80, dtype="<i4").reshape(50, 80)


@pytest.fixture(autouse=True)
def no_threads_are_left() -> Iterator[None]:
    """The threads of dask's default scheduler live as long as the process."""
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A data set as xarray lays it out."""
    root = zarr.create_group(tmp_path / "g", attributes={"title": "a data set"})
    options: dict[str, Any] = {"chunks": (10, 20), "shards": (50, 40), "dimension_names": ("y", "x")}
    attributes = {"scale_factor": 0.5, "units": "K"}
    root.create_array("t", shape=(50, 80), dtype="<i4", attributes=attributes, fill_value=-1, **options)[:] = VALUES
    root.create_array("y", data=np.arange(50) * 10, dimension_names=("y",))
    return tmp_path / "g"


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes"])
def test_dask_reads_in_chunks(path: Path, scheduler: str) -> None:
    array = ringio_zarr.open_array(path, path="t")
    lazy = da.from_array(array, chunks=array.chunks)
    assert lazy.chunksize == (10, 20)
    assert da.from_array(array).dtype == array.dtype  # in chunks of its own choice
    with ThreadPoolExecutor(2) as threads, dask.config.set(scheduler=threads if scheduler == "threads" else scheduler):
        assert int(lazy.sum().compute()) == VALUES.sum()
        np.testing.assert_array_equal(lazy[3:20, ::3].compute(), VALUES[3:20, ::3])
        np.testing.assert_array_equal(lazy[[7, 3, 3]][:, [1, 79]].compute(), VALUES[[7, 3, 3]][:, [1, 79]])


def test_dask_knows_an_array_by_its_place(path: Path) -> None:
    """What is computed of one array twice is computed once; another array is another one."""
    t = [ringio_zarr.open_array(path, path="t") for _ in range(2)]
    y = ringio_zarr.open_array(path, path="y")
    assert da.from_array(t[0]).name == da.from_array(t[1]).name != da.from_array(y).name
    strict = t[0].with_config({"read_missing_chunks": False})
    assert da.from_array(strict).name != da.from_array(t[0]).name


@pytest.fixture(scope="module")
def open_zarr() -> Any:
    """The function that the docs have for it."""
    page = (Path(__file__).parent.parent / "docs/from-zarr-python.md").read_text()
    (block,) = (block for block in page.split("```python\n")[1:] if "def open_zarr(" in block)
    names: dict[str, Any] = {}
    exec(block.partition("```")[0], names)
    return names["open_zarr"]


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("chunks", [None, {}, {"y": 7}], ids=str)
def test_xarray_opens_what_it_has_written(tmp_path: Path, open_zarr: Any, zarr_format: Any, chunks: Any) -> None:
    """The same data set as ``xarray.open_zarr``: variables, coordinates, attributes, encodings; lazily indexed."""
    times = np.datetime64("2001-01-01", "ns") + np.arange(6) * np.timedelta64(6, "h")
    t2m = np.where(np.arange(6 * 50 * 80).reshape(6, 50, 80) % 97, 280.0, np.nan).astype("f4")
    written = xr.Dataset(
        {"t2m": (("time", "y", "x"), t2m, {"units": "K"}), "name": ("y", [f"row {y}" for y in range(50)])},
        {"time": times, "y": np.arange(50) * 10, "level": 850},
        {"title": "a data set"},
    )
    encoding: dict[str, Any] = {"t2m": {"chunks": (1, 25, 40), "_FillValue": -9.0}}
    if zarr_format == 3:
        encoding["t2m"]["shards"] = (3, 50, 80)
    written.to_zarr(tmp_path / "d", encoding=encoding, zarr_format=zarr_format, consolidated=True)
    ours, theirs = open_zarr(tmp_path / "d", chunks=chunks), xr.open_zarr(tmp_path / "d", chunks=chunks)
    xr.testing.assert_identical(ours, theirs)
    for name, variable in theirs.variables.items():
        assert ours[name].chunks == variable.chunks
        assert ours[name].encoding["chunks"] == variable.encoding["chunks"]
        assert ours[name].encoding.get("shards") == variable.encoding.get("shards")
        assert ours[name].dtype == variable.dtype
    for read in (
        lambda data: data.t2m.sel(y=[30, 120], time="2001-01-02"),
        lambda data: data.t2m.isel(x=slice(3, 70, 9), y=-1),
        lambda data: data.t2m.isel(x=xr.DataArray([4, 9, 4], dims="p"), y=xr.DataArray([1, 2, 1], dims="p")),
        lambda data: data.t2m.mean("x"),
        lambda data: data["name"].isel(y=[4, 2]),
    ):
        xr.testing.assert_identical(read(ours).compute(), read(theirs).compute())


def test_what_asks_for_an_array_of_zarr_python(path: Path) -> None:
    """It says so, and does not read something else."""
    array = ringio_zarr.open_array(path, path="t")
    with pytest.raises(TypeError):
        da.from_zarr(array)
