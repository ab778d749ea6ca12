"""Errors: of the kinds that code for zarr-python catches."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
import zarr.errors

import ringio_zarr
from ringio_zarr import errors

pytestmark = [pytest.mark.zarr_3_4, pytest.mark.filterwarnings("ignore::Warning:zarr")]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A group of v3 and one of v2, an empty directory, and a file."""
    for zarr_format in (2, 3):
        group = zarr.create_group(tmp_path / f"v{zarr_format}", zarr_format=zarr_format)  # type: ignore[arg-type]
        group.create_array("a", data=np.arange(80, dtype="i4").reshape(10, 8), chunks=(3, 4))
        group.create_group("g")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("hello")
    return tmp_path


def test_a_url_with_one_slash(root: Path) -> None:
    """What was meant is said."""
    for location in ("s3:/bucket/x", "https:/host/x", root / "gs:/x", "memory:/x"):
        with pytest.raises(
            FileNotFoundError, match=r"there is nothing at this path; a URL begins with \w+://, with two"
        ):
            ringio_zarr.open(location)
    with pytest.raises(FileNotFoundError, match="there is nothing at this path: "):
        ringio_zarr.open(root / "x")


OPENS: dict[str, Callable[[Any, str], Any]] = {
    "open, nothing there": lambda z, p: z.open(f"{p}/nope", mode="r"),
    "open_array, nothing there": lambda z, p: z.open_array(f"{p}/nope", mode="r"),
    "open_group, nothing there": lambda z, p: z.open_group(f"{p}/nope", mode="r"),
    "open_consolidated, nothing there": lambda z, p: z.open_consolidated(f"{p}/nope", mode="r"),
    "open, an empty directory": lambda z, p: z.open(f"{p}/empty", mode="r"),
    "open_array, an empty directory": lambda z, p: z.open_array(f"{p}/empty", mode="r"),
    "open_group, an empty directory": lambda z, p: z.open_group(f"{p}/empty", mode="r"),
    "open, a file": lambda z, p: z.open(f"{p}/file", mode="r"),
    "open, no such path": lambda z, p: z.open(f"{p}/v3", path="nope", mode="r"),
    "open_array, no such path": lambda z, p: z.open_array(f"{p}/v3", path="nope", mode="r"),
    "open_group, no such path": lambda z, p: z.open_group(f"{p}/v3", path="nope", mode="r"),
    "open_array, a group": lambda z, p: z.open_array(f"{p}/v3", mode="r"),
    "open_array, a group of v2": lambda z, p: z.open_array(f"{p}/v2", mode="r"),
    "open_group, an array": lambda z, p: z.open_group(f"{p}/v3/a", mode="r"),
    "open_group, an array of v2": lambda z, p: z.open_group(f"{p}/v2/a", mode="r"),
    "open, another format": lambda z, p: z.open(f"{p}/v3", zarr_format=2, mode="r"),
    "open_group, another format": lambda z, p: z.open_group(f"{p}/v2", zarr_format=3, mode="r"),
    "open_array, another format": lambda z, p: z.open_array(f"{p}/v2/a", zarr_format=3, mode="r"),
    "no such format": lambda z, p: z.open(f"{p}/v3", zarr_format=4, mode="r"),
    "no consolidated metadata": lambda z, p: z.open_group(f"{p}/v3", use_consolidated=True, mode="r"),
    "open_consolidated without": lambda z, p: z.open_consolidated(f"{p}/v2", mode="r"),
    "no store": lambda z, _: z.open(42, mode="r"),
    "no mode": lambda z, p: z.open(f"{p}/v3", mode="x"),
    "member that is not there": lambda z, p: z.open_group(f"{p}/v3", mode="r")["nope"],
    "member of a group that is not there": lambda z, p: z.open_group(f"{p}/v2", mode="r")["nope/x"],
    "member of an array": lambda z, p: z.open_group(f"{p}/v3", mode="r")["a/x"],
    "member by number": lambda z, p: z.open_group(f"{p}/v3", mode="r")[0],
    "member above": lambda z, p: z.open_group(f"{p}/v3", mode="r")["../v2"],
    "get_array, nothing there": lambda z, p: z.open_group(f"{p}/v3", mode="r").get_array("nope"),
    "get_array, a group": lambda z, p: z.open_group(f"{p}/v3", mode="r").get_array("g"),
    "get_group, nothing there": lambda z, p: z.open_group(f"{p}/v2", mode="r").get_group("nope"),
    "get_group, an array": lambda z, p: z.open_group(f"{p}/v2", mode="r").get_group("a"),
}


@pytest.mark.parametrize("name", OPENS)
def test_opening(root: Path, name: str) -> None:
    """Whoever catches zarr-python's error, by its own name or by Python's, catches ours by the same name."""
    with pytest.raises(Exception) as theirs:  # whatever it is
        OPENS[name](zarr, str(root))
    with pytest.raises(Exception) as ours:
        OPENS[name](ringio_zarr, str(root))
    for kind in type(theirs.value).__mro__:
        if hasattr(zarr.errors, kind.__name__):
            assert isinstance(ours.value, getattr(errors, kind.__name__)), kind
        elif kind.__module__ == "builtins":
            assert isinstance(ours.value, kind), kind


def test_they_name_the_place(root: Path) -> None:
    with pytest.raises(errors.ArrayNotFoundError, match="nope") as caught:
        ringio_zarr.open_array(root / "v3", path="nope")
    assert caught.value.filename == str(root / "v3" / "nope")
    with pytest.raises(errors.ContainsGroupError, match=r"v3.*this is a group"):
        ringio_zarr.open_array(root / "v3")
    for error in (caught.value, errors.ContainsArrayError("it is an array")):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again)) == (type(error), str(error))


def test_every_name_is_one_of_zarr_pythons() -> None:
    ours = {"MetadataError", "UnsupportedError", "NodeNotFoundError"}
    assert set(zarr.errors.__all__) <= set(errors.__all__)
    assert all(hasattr(zarr.errors, name) for name in set(errors.__all__) - ours)
    for name in set(errors.__all__) - ours:
        for kind in getattr(zarr.errors, name).__mro__:
            if kind.__module__ == "builtins":
                assert issubclass(getattr(errors, name), kind) or name == "BaseZarrError", (name, kind)


CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "codec": lambda d: d["codecs"].append({"name": "nonesuch"}),
    "data type": lambda d: d.update(data_type="int129"),
    "chunk grid": lambda d: d.update(chunk_grid={"name": "hexagonal", "configuration": {}}),
    "key encoding": lambda d: d.update(chunk_key_encoding={"name": "nonesuch"}),
    "no codecs": lambda d: d.update(codecs=[]),
    "negative shape": lambda d: d.update(shape=[-1, 8]),
    "chunks of another rank": lambda d: d["chunk_grid"]["configuration"].update(chunk_shape=[3]),
    "names of another rank": lambda d: d.update(dimension_names=["x"]),
    "must be understood": lambda d: d.update(novelty={"must_understand": True}),
    "storage transformers": lambda d: d.update(storage_transformers=[{"name": "nonesuch"}]),
    "format": lambda d: d.update(zarr_format=4),
    "no node type": lambda d: d.pop("node_type"),
    "no shape": lambda d: d.pop("shape"),
    "no fill value": lambda d: d.pop("fill_value"),
    "fill value": lambda d: d.update(fill_value="abc"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_documents_that_cannot_be_read(root: Path, name: str) -> None:
    """Each is an error there, too; here always a ``MetadataError``, a ``ValueError``, that names the file."""
    path = root / "v3" / "a" / "zarr.json"
    document = json.loads(path.read_bytes())
    changed = copy.deepcopy(document)
    CHANGES[name](changed)
    assert changed != document
    path.write_text(json.dumps(changed))
    with pytest.raises(Exception):  # noqa: B017  # KeyError, TypeError, ValueError: as it comes
        zarr.open(root / "v3" / "a", mode="r")[:]
    with pytest.raises(errors.MetadataValidationError, match=r"v3/a/zarr.json"):
        ringio_zarr.open(root / "v3" / "a")
