"""``read_many``: lists, masks and coordinates of any size share one batch with all else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import ringio
import ringio_zarr

pytestmark = pytest.mark.filterwarnings("ignore::Warning:zarr")

SHAPE = (900, 700)
VALUES = np.random.default_rng(0).integers(0, 99, SHAPE).astype("<i4")
LAYOUTS: dict[str, dict[str, Any]] = {
    "files": {"chunks": (100, 70)},
    "shards": {"chunks": (50, 70), "shards": (300, 350)},
    "rectilinear": {"chunks": [[100, 300, 500], [70, 70, 560]]},
}


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.zarr_3_4) for name in LAYOUTS])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    with zarr.config.set({"array.rectilinear_chunks": True}):
        zarr.create_array(tmp_path / "a", shape=SHAPE, dtype="<i4", **LAYOUTS[request.param])[...] = VALUES
    return tmp_path / "a"


@pytest.fixture
def reader() -> Iterator[ringio.Reader]:
    with ringio.Reader(workers=2) as reader:
        yield reader


def selections() -> dict[str, Any]:
    rng = np.random.default_rng(1)
    sparse = np.zeros(SHAPE, bool)
    sparse.reshape(-1)[rng.choice(sparse.size, 25_000, replace=False)] = True
    dense = np.zeros(SHAPE, bool)
    dense[120:480, 30:600] = rng.random((360, 570)) < 0.7
    return {
        "a long list": (rng.permutation(800).tolist() * 30, slice(3, 650)),
        "many rows": (np.sort(rng.choice(900, 700, replace=False)), slice(None, None, 3)),
        "a dense mask": dense,
        "a sparse mask": sparse,
        "points": (rng.integers(0, 900, 30_000), rng.integers(0, 700, 30_000)),
        "a box": (slice(10, 300, 7), slice(None, None, -1)),
        "a column": (slice(None), 33),
        "few points": ([3, 899], [0, 699]),
    }


def test_one_batch(path: Path, reader: ringio.Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each chunk is read and decoded once, whoever wants it."""
    array = ringio_zarr.open_array(path, reader=reader)
    wanted = selections()
    array[...]  # the indexes are known now
    before = reader.statistics()
    array[...]
    once = reader.statistics() - before
    plans: list[ringio.Plan] = []
    execute = ringio.Reader.execute
    monkeypatch.setattr(
        ringio.Reader, "execute", lambda self, plan, *a, **k: plans.append(plan) or execute(self, plan, *a, **k)
    )
    before = reader.statistics()
    results = array.read_many(wanted.values())
    spent = reader.statistics() - before
    for name, result in zip(wanted, results, strict=True):
        np.testing.assert_array_equal(result, VALUES[wanted[name]], err_msg=name)
    assert spent.bytes_decoded == once.bytes_decoded
    assert len(plans) == (1 if array.metadata.axes is None else 6)  # one for each shape of chunks


@pytest.mark.parametrize("name", selections())
def test_each_alone_and_with_a_box(name: str, path: Path) -> None:
    array = ringio_zarr.open_array(path)
    wanted = selections()[name]
    expected = VALUES[wanted]
    np.testing.assert_array_equal(array[wanted], expected)
    (alone,) = array.read_many([wanted])
    np.testing.assert_array_equal(alone, expected)
    out = [np.zeros_like(expected), np.zeros((1, 700), "<i4")]
    assert array.read_many([wanted, slice(5, 6)], out=out)[0] is out[0]
    np.testing.assert_array_equal(out[0], expected)
    np.testing.assert_array_equal(out[1], VALUES[5:6])

    async def main() -> None:
        np.testing.assert_array_equal(await array.read_async(wanted), expected)
        first, second = await array.read_many_async([wanted, slice(5, 6)])
        np.testing.assert_array_equal(first, expected)
        np.testing.assert_array_equal(second, VALUES[5:6])

    asyncio.run(main())


@pytest.mark.parametrize("limit", ["_BOXES_MAX", "_STAGES_NBYTES_MAX"])
def test_what_is_too_much_for_one_batch(limit: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read by itself; all others are not."""
    monkeypatch.setattr(f"ringio_zarr._joined.{limit}", 40_000)
    array = ringio_zarr.open_array(path)
    wanted = selections()
    for name, result in zip(wanted, array.read_many(wanted.values()), strict=True):
        np.testing.assert_array_equal(result, VALUES[wanted[name]], err_msg=name)

    async def main() -> list[Any]:
        return await array.read_many_async(wanted.values())

    for name, result in zip(wanted, asyncio.run(main()), strict=True):
        np.testing.assert_array_equal(result, VALUES[wanted[name]], err_msg=name)


def test_errors_say_which_selection(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a", shape=(4, 4), chunks=(2, 2), dtype="i1")
    array = ringio_zarr.open_array(tmp_path / "a")
    wanted: Any = [slice(2)] * 500 + [9]
    with pytest.raises(IndexError) as error:
        array.read_many(wanted)
    assert error.value.__notes__ == ["selection 500 of 501"]
    with pytest.raises(IndexError) as error:
        asyncio.run(array.read_many_async(wanted))
    assert error.value.__notes__ == ["selection 500 of 501"]
    one: Any = 3
    with pytest.raises(TypeError, match="selections is 3; a sequence of selections is due"):
        array.read_many(one)
    with pytest.raises(TypeError, match="selections is 3; a sequence of selections is due"):
        asyncio.run(array.read_many_async(one))


def test_fields(tmp_path: Path) -> None:
    kinds = np.dtype([("x", "<f4"), ("y", "<i2")])
    values = np.zeros((400, 300), kinds)
    values["x"], values["y"] = np.arange(120_000).reshape(400, 300), np.arange(300)
    zarr.create_array(tmp_path / "a", data=values, chunks=(50, 100), zarr_format=2)
    array = ringio_zarr.open_array(tmp_path / "a")
    rows = np.arange(0, 400, 2).tolist() * 150
    mask = values["x"] % 3 == 0
    first, second, third = array.read_many([("x", rows), ("y", mask), mask])
    np.testing.assert_array_equal(first, values["x"][rows])
    np.testing.assert_array_equal(second, values["y"][mask])
    np.testing.assert_array_equal(third, values[mask])


def test_strings_of_any_length(tmp_path: Path) -> None:
    """Numpy's own, and Python's."""
    values = np.array([f"{i % 77} is {'long ' * (i % 5)}" for i in range(60_000)], dtype=object).reshape(300, 200)
    zarr.create_array(tmp_path / "a", shape=values.shape, dtype=str, chunks=(50, 50))[...] = values
    array = ringio_zarr.open_array(tmp_path / "a")
    rows = np.random.default_rng(0).integers(0, 300, 30_000)
    mask = np.random.default_rng(1).random((300, 200)) < 0.5
    first, second = array.read_many([(rows, slice(0, 3)), mask])
    assert (first == values[rows, :3]).all()
    assert (second == values[mask]).all()
