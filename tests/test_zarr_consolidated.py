"""Consolidated metadata of v2 and v3, used and not used as zarr-python does."""

from __future__ import annotations

import json
import pickle
import re
import time
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.storage import MemoryStore

import ringio_zarr

pytestmark = pytest.mark.filterwarnings("ignore::Warning:zarr")


def hierarchy(zarr_format: int, *, consolidate: bool = True) -> MemoryStore:
    store = MemoryStore()
    root = zarr.create_group(store, zarr_format=zarr_format, attributes={"title": "root"})
    root.create_array("a", shape=(4,), chunks=(2,), dtype="<i4", attributes={"unit": "m"})[...] = [1, 2, 3, 4]
    inner = root.create_group("inner", attributes={"level": 1})
    inner.create_array("b", shape=(3, 3), chunks=(2, 2), dtype="<f8")
    inner.create_group("deep").create_array("c", shape=(1,), chunks=(1,), dtype="bool")
    root.create_group("empty")
    if consolidate:
        zarr.consolidate_metadata(store)
    return store


class Counting(dict[str, Any]):
    """A mapping that notes what is asked for, and cannot be listed."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__({key: value.to_bytes() for key, value in store._store_dict.items()})
        self.asked: list[str] = []

    def __getitem__(self, key: str) -> Any:
        self.asked.append(key)
        return super().__getitem__(key)

    def __iter__(self) -> Any:
        raise AssertionError("it is listed")


@pytest.fixture(params=[2, 3])
def zarr_format(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def test_the_store_is_not_asked(zarr_format: int) -> None:
    """Members, their attributes and what is below them are known from the one document."""
    store = hierarchy(zarr_format)
    theirs = zarr.open_group(store, mode="r")
    data = Counting(store)
    ours = ringio_zarr.open_group(data)
    data.asked.clear()
    for depth in (0, 1, None):
        assert [name for name, _ in ours.members(max_depth=depth)] == sorted(
            name for name, _ in theirs.members(max_depth=depth)
        )
        assert ours.nmembers(max_depth=depth) == theirs.nmembers(max_depth=depth)
    with pytest.raises(ValueError, match="max_depth must be None or >= 0"):
        ours.members(max_depth=-1)
    assert dict(ours["a"].attrs) == dict(theirs["a"].attrs) == {"unit": "m"}
    assert dict(ours["inner"].attrs) == {"level": 1}
    assert list(ours["inner"]) == ["b", "deep"]
    assert list(ours["inner/deep"]) == list(ours["inner"]["deep"]) == ["c"]
    assert list(ours["empty"]) == []
    assert "inner/deep/c" in ours
    assert "inner/x" not in ours
    assert "c (1,) bool" in str(ours.tree())
    with pytest.raises(KeyError, match="nowhere"):
        ours["inner/nowhere"]
    with pytest.raises(KeyError):
        ours["a/b"]
    assert data.asked == []
    np.testing.assert_array_equal(ours["a"][...], [1, 2, 3, 4])


def test_what_it_says_counts(zarr_format: int) -> None:
    """A member that it does not have is not there; without it, it is."""
    store = hierarchy(zarr_format)
    zarr.open_group(store, mode="a", use_consolidated=False).create_array("new", shape=(1,), chunks=(1,), dtype="i1")
    assert "new" not in ringio_zarr.open_group(store)
    assert "new" not in zarr.open_group(store, mode="r")
    for array in (
        ringio_zarr.open_group(store, use_consolidated=False),
        zarr.open_group(store, use_consolidated=False),
    ):
        assert "new" in array
        assert "new" in list(array)


def test_use_consolidated(zarr_format: int) -> None:
    without = hierarchy(zarr_format, consolidate=False)
    ours = ringio_zarr.open_group(without)
    assert list(ours) == ["a", "empty", "inner"]
    for function in (ringio_zarr.open, ringio_zarr.open_group):
        with pytest.raises(ValueError, match="use_consolidated=True' but not found"):
            function(without, use_consolidated=True)
    with pytest.raises(ValueError, match="not found"):
        ringio_zarr.open_consolidated(without)
    assert list(ringio_zarr.open_consolidated(hierarchy(zarr_format))) == ["a", "empty", "inner"]
    with pytest.raises(TypeError, match="must be 'True'"):
        ringio_zarr.open_consolidated(without, use_consolidated=False)
    with pytest.raises(TypeError, match="use_consolidated is 7"):
        ringio_zarr.open_group(without, use_consolidated=7)
    assert ringio_zarr.open(hierarchy(zarr_format), path="a", use_consolidated=True).shape == (4,)


def test_what_consolidated_metadata_says_of_its_members(zarr_format: int) -> None:
    """As zarr-python: their number in ``info``, and that nobody has looked for others."""
    store = hierarchy(zarr_format)
    ours, theirs = ringio_zarr.open_group(store), zarr.open_group(store, mode="r")
    counts = [row for row in repr(theirs.info).splitlines() if row.startswith("No. ")]
    assert counts
    assert set(counts) <= set(repr(ours.info).splitlines())
    assert repr(ours.info) == repr(ours.info_complete())
    with pytest.raises(KeyError, match=r"not in the consolidated metadata .*use_consolidated=False looks"):
        ours["late"]


@pytest.mark.parametrize("options", [{"reader": "threads"}, {"reader": 0}, {"cache": 0}, {"cache": False}])
def test_options_that_are_none(options: dict[str, object]) -> None:
    with pytest.raises(TypeError, match=f"{next(iter(options))} is .* is due"):
        ringio_zarr.open(hierarchy(3), **options)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="capacity_bytes is '64 MiB'; a number of bytes is due"):
        ringio_zarr.Cache("64 MiB")  # type: ignore[arg-type]


def test_another_key() -> None:
    """v2 may have it somewhere else; v3 may not."""
    store = hierarchy(2)
    store._store_dict["meta/own.json"] = store._store_dict.pop(".zmetadata")
    assert ringio_zarr.open_group(store)._consolidated is None
    ours = ringio_zarr.open_group(store, use_consolidated="meta/own.json")
    assert ours._consolidated is not None
    assert list(ours) == ["a", "empty", "inner"]
    with pytest.raises(ValueError, match="nowhere"):
        ringio_zarr.open_group(store, use_consolidated="nowhere")
    with pytest.raises(TypeError, match="must be a bool or None for Zarr format 3"):
        ringio_zarr.open_group(hierarchy(3), use_consolidated="x")


def test_pickles(zarr_format: int) -> None:
    """Groups are known from the same document again, wherever in it they are."""
    ours = ringio_zarr.open_group(hierarchy(zarr_format))
    for node in (ours, ours["inner"], ours["inner/deep"], ours["a"]):
        again = pickle.loads(pickle.dumps(node))
        assert again == node
        assert dict(again.attrs) == dict(node.attrs)
        if isinstance(node, ringio_zarr.Group):
            assert again._consolidated is not None
            assert list(again) == list(node)


def test_thousands_of_arrays() -> None:
    """Opening and listing takes no more than reading one document; an array is made when it is asked for."""
    document = json.loads(hierarchy(3)._store_dict["a/zarr.json"].to_bytes())
    group = {
        "zarr_format": 3,
        "node_type": "group",
        "consolidated_metadata": {
            "kind": "inline",
            "must_understand": False,
            "metadata": {f"a{number:05}": document for number in range(20_000)},
        },
    }
    data = {"zarr.json": json.dumps(group).encode()}
    begin = time.perf_counter()
    ours = ringio_zarr.open_group(data)
    assert ours.nmembers() == 20_000
    assert ours["a19999"].shape == (4,)
    assert "a20000" not in ours
    assert time.perf_counter() - begin < 3, "0.2 s are usual"


@pytest.mark.parametrize(
    ("key", "change", "place"),
    [
        (".zmetadata", {"metadata": 7}, r"\.zmetadata: metadata: expected an object"),
        (".zmetadata", {"metadata": None}, r"\.zmetadata: metadata: expected an object"),
        (".zmetadata", {"metadata": ...}, r"\.zmetadata: required key 'metadata'"),
        (".zmetadata", {"zarr_consolidated_format": 2}, r"\.zmetadata: zarr_consolidated_format: 2 is not supported"),
        (".zmetadata", {"metadata": {"a/.zarray": 7}}, r"\.zmetadata: metadata\.a/\.zarray: expected an object"),
        (".zmetadata", {"metadata": {"a/.zarray": {}}}, r"\.zmetadata: metadata\.a/\.zarray: required key"),
        (".zmetadata", {"metadata": {"a/../.zarray": {}}}, r"\.zmetadata: metadata: 'a/\.\./\.zarray' is no path"),
        (".zmetadata", {"metadata": {"/.zgroup": {}}}, r"\.zmetadata: metadata: '/\.zgroup' is no path"),
        *[
            ("zarr.json", {"metadata": {key: {}}}, rf"zarr\.json: .*\.metadata: '{re.escape(key)}' is no path")
            for key in ("..", "a/./b", "/a", "a/", "b//c")
        ],
        ("zarr.json", {"kind": "else"}, r"zarr\.json: consolidated_metadata\.kind: expected 'inline'"),
        ("zarr.json", {"metadata": [1]}, r"zarr\.json: consolidated_metadata\.metadata: expected an object"),
        ("zarr.json", {"metadata": {"a": 7}}, r"zarr\.json: consolidated_metadata\.metadata\.a: expected an object"),
        ("zarr.json", {"metadata": {"a": {}}}, r"consolidated_metadata\.metadata\.a: required key 'node_type'"),
        ("zarr.json", {"metadata": {"a": {"node_type": "x"}}}, "node_type: expected 'array' or 'group'"),
    ],
)
def test_documents_that_cannot_be(key: str, change: dict[str, Any], place: str) -> None:
    """The error names document and key."""
    store = hierarchy(2 if key == ".zmetadata" else 3)
    data = {name: value.to_bytes() for name, value in store._store_dict.items()}
    document = json.loads(data[key])
    inside = document if key == ".zmetadata" else document["consolidated_metadata"]
    inside |= change
    for name in [name for name, value in inside.items() if value is ...]:
        del inside[name]
    data[key] = json.dumps(document).encode()
    with pytest.raises(ringio_zarr.MetadataError, match=place):
        ringio_zarr.open_group(data)["a"]
    assert next(iter(ringio_zarr.open_group(data, use_consolidated=False))) == "a" or "kind" in change
