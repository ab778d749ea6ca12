"""Hierarchies as OME-Zarr, AnnData and xarray lay them out: every array, name and attribute as zarr-python has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numcodecs import VLenUTF8

import ringio_zarr
from parity.compare import same

pytestmark = [pytest.mark.zarr_3_4, pytest.mark.filterwarnings("ignore::Warning")]


def check(theirs: Any, ours: Any) -> int:
    """Compare all that is below two groups; how many arrays there are."""
    assert sorted(theirs.keys()) == sorted(ours.keys())
    assert theirs.attrs.asdict() == ours.attrs.asdict()
    count = 0
    for name in ours:
        if isinstance(ours[name], ringio_zarr.Group):
            count += check(theirs[name], ours[name])
        else:
            assert same(ours[name][...], theirs[name][...]) == "", name
            assert theirs[name].attrs.asdict() == ours[name].attrs.asdict()
            count += 1
    return count


def check_all(path: Path, **options: Any) -> int:
    theirs, ours = zarr.open_group(path, mode="r", **options), ringio_zarr.open_group(path, **options)
    assert str(ours.tree()) == str(theirs.tree())
    return check(theirs, ours)


@pytest.mark.parametrize(("version", "zarr_format"), [("0.4", 2), ("0.5", 3)])
def test_an_image_pyramid_of_ome_zarr(tmp_path: Path, version: str, zarr_format: Any) -> None:
    """v0.4: keys with "/", attributes at the top; v0.5: shards, attributes below "ome"; both with labels."""
    image = np.random.default_rng(0).integers(0, 4000, (1, 2, 3, 64, 80)).astype("u2")
    group = zarr.create_group(tmp_path, zarr_format=zarr_format)
    datasets = []
    for level in range(3):
        scaled = image[..., :: 2**level, :: 2**level]
        options: dict[str, Any] = {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
        if zarr_format == 3:
            options = {"dimension_names": list("tczyx"), "shards": (1, 1, 3, 64, 64) if level == 0 else None}
        chunks = (1, 1, 1, 32, 32)
        group.create_array(str(level), shape=scaled.shape, dtype="u2", chunks=chunks, **options)[...] = scaled
        scale = [1.0, 1.0, 1.0, 2.0**level, 2.0**level]
        datasets.append({"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
    axes = [{"name": name, "type": "space"} for name in "tczyx"]
    metadata: dict[str, Any] = {"multiscales": [{"version": version, "axes": axes, "datasets": datasets}]}
    labels: dict[str, Any] = {"labels": ["cells"]}
    if version == "0.5":
        metadata, labels = {"ome": {"version": version, **metadata}}, {"ome": {"version": version, **labels}}
    group.attrs.update(metadata)
    group.create_group("labels", attributes=labels).create_group("cells").create_array("0", data=image[0, 0] // 100)

    assert check_all(tmp_path) == 4
    ours = ringio_zarr.open_group(tmp_path)
    multiscales = ours.attrs.get("ome", ours.attrs)["multiscales"][0]
    levels = [ours[dataset["path"]] for dataset in multiscales["datasets"]]
    assert [level.shape[-2:] for level in levels] == [(64, 80), (32, 40), (16, 20)]
    np.testing.assert_array_equal(levels[1][0, 1, 2, 4:9, ::3], image[0, 1, 2, 8:18:2, ::6])


@pytest.mark.parametrize("consolidated", [True, False])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_table_of_anndata(tmp_path: Path, zarr_format: Any, consolidated: bool) -> None:
    """A sparse matrix, cells by names of any length, a categorical column, nullable and structured arrays."""
    rng = np.random.default_rng(1)
    group = zarr.create_group(tmp_path, zarr_format=zarr_format, attributes={"encoding-type": "anndata"})
    matrix = group.create_group("X", attributes={"encoding-type": "csr_matrix", "shape": [100, 50]})
    indptr = np.linspace(0, 300, 101).astype("i4")
    matrix.create_array("data", data=rng.random(300).astype("f4"), chunks=(64,))
    matrix.create_array("indices", data=rng.integers(0, 50, 300).astype("i4"))
    matrix.create_array("indptr", data=indptr)
    table = group.create_group("obs", attributes={"encoding-type": "dataframe", "_index": "_index"})
    names = np.array([f"cell {number} é" for number in range(100)], dtype=object)
    kinds = np.array(["B", "T", "NK"], dtype=object)
    column = table.create_group("kind", attributes={"encoding-type": "categorical", "ordered": False})
    column.create_array("codes", data=rng.integers(-1, 3, 100).astype("i1"))
    options = {"filters": [VLenUTF8()]} if zarr_format == 2 else {}
    for parent, name, values in ((table, "_index", names), (column, "categories", kinds)):
        parent.create_array(name, shape=values.shape, chunks=(30,), dtype=str, **options)[:] = values
    nullable = table.create_group("count", attributes={"encoding-type": "nullable-integer"})
    nullable.create_array("values", data=np.arange(100))
    nullable.create_array("mask", data=np.arange(100) % 7 == 0)
    rest = group.create_group("uns")
    rest.create_array("title", shape=(), dtype=str, **options)[()] = "a title"
    ranks = np.array([(b"gene1", 0.5), (b"gene2", -1)], [("names", "S5"), ("scores", "<f4")])
    rest.create_array("ranks", shape=(2,), dtype=ranks.dtype)[:] = ranks
    if consolidated:
        zarr.consolidate_metadata(tmp_path)

    assert check_all(tmp_path) == 10
    ours = ringio_zarr.open_group(tmp_path)
    first, last = ours["X/indptr"][7:9].tolist()
    np.testing.assert_array_equal(ours["X/data"][first:last], matrix["data"][first:last])
    codes = ours["obs/kind/codes"][:]
    np.testing.assert_array_equal(ours["obs/kind/categories"][:][codes], kinds[codes])
    assert ours["obs/_index"][5] == "cell 5 é"
    assert ours["uns/title"][()] == "a title"


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_data_set_of_xarray(tmp_path: Path, zarr_format: Any) -> None:
    """Named dimensions, consolidated metadata, packed values: their scale and offset are attributes, not codecs."""
    group = zarr.create_group(tmp_path, zarr_format=zarr_format, attributes={"Conventions": "CF-1.8"})

    def put(name: str, values: Any, dimensions: list[str], fill_value: Any = None, **attributes: Any) -> None:
        named: dict[str, Any] = {"dimension_names": dimensions}
        if zarr_format == 2:
            named, attributes = {}, {**attributes, "_ARRAY_DIMENSIONS": dimensions}
        given = {} if fill_value is None else {"fill_value": fill_value}
        array = group.create_array(
            name, shape=values.shape, chunks=values.shape[:1] * values.ndim, dtype=values.dtype, **named, **given
        )
        array.attrs.update(attributes)
        array[...] = values

    put("time", np.arange(4, dtype="i8"), ["time"], units="hours since 1970-01-01", calendar="standard")
    put("x", np.linspace(0, 1, 6), ["x"])
    packed = np.arange(24, dtype="i2").reshape(4, 6)
    packed[1] = -32768
    put("t2m", packed, ["time", "x"], -32768, scale_factor=0.01, add_offset=273.15, _FillValue=-32768)
    put("when", np.array(["2020-01-01", "NaT"], "M8[ns]"), ["step"])
    zarr.consolidate_metadata(tmp_path)

    assert check_all(tmp_path) == 4
    ours = ringio_zarr.open_consolidated(tmp_path)
    t2m = ours["t2m"]
    assert t2m.dtype == "i2"
    unpacked = t2m[0] * t2m.attrs["scale_factor"] + t2m.attrs["add_offset"]
    np.testing.assert_allclose(unpacked, 273.15 + np.arange(6) * 0.01)
    names = t2m.dimension_names or t2m.attrs["_ARRAY_DIMENSIONS"]
    assert tuple(names) == ("time", "x")
