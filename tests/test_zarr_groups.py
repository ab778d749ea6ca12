"""Groups: the members, attributes and trees that zarr-python wrote, v2 and v3."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import obstore.store
import pytest
import zarr

import ringio
import ringio_zarr
from ringio_zarr._cli import main
from ringio_zarr._store import LocalStore

pytestmark = pytest.mark.filterwarnings("ignore::Warning:zarr")

ATTRIBUTES = {"title": "a test", "nested": {"list": [1, 2.5, None, "ä"]}}


@pytest.fixture(params=[2, 3])
def written(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Any]:
    """A hierarchy, and it as zarr-python opens it: /, /surface, /surface/deep, arrays in each."""
    path = tmp_path / "h.zarr"
    root = zarr.create_group(str(path), zarr_format=request.param, attributes=ATTRIBUTES)
    surface = root.create_group("surface", attributes={"level": 0})
    deep = surface.create_group("deep")
    for number, group in enumerate([root, surface, deep]):
        array = group.create_array("t2m", shape=(6, 4), chunks=(2, 4), dtype="<f4", attributes={"number": number})
        array[...] = np.arange(24).reshape(6, 4) + number
    root.create_array("mask", shape=(3,), dtype="bool")
    (path / "not-a-node").mkdir()
    (path / "readme.txt").write_text("neither is this")
    return path, zarr.open_group(str(path), mode="r")


def test_members_are_those_of_zarr_python(written: tuple[Path, Any]) -> None:
    path, theirs = written
    ours = ringio_zarr.open(path)
    assert isinstance(ours, ringio_zarr.Group)
    assert sorted(ours) == sorted(theirs) == ["mask", "surface", "t2m"]
    assert len(ours) == len(theirs) == 3
    assert sorted(ours.keys()) == sorted(theirs.keys())
    assert sorted(ours.array_keys()) == sorted(theirs.array_keys()) == ["mask", "t2m"]
    assert sorted(ours.group_keys()) == sorted(theirs.group_keys()) == ["surface"]
    assert [name for name, _ in ours.arrays()] == [array.basename for array in ours.array_values()]
    assert [group.basename for group in ours.group_values()] == ["surface"]
    for depth in (0, 1, None):
        want = sorted(name for name, _ in theirs.members(max_depth=depth))
        assert sorted(name for name, _ in ours.members(max_depth=depth)) == want
        assert ours.nmembers(max_depth=depth) == theirs.nmembers(max_depth=depth) == len(want)


def test_the_way_down(written: tuple[Path, Any]) -> None:
    path, theirs = written
    ours = ringio_zarr.open_group(path)
    for name in ["t2m", "surface", "surface/deep", "surface/deep/t2m", "/surface//t2m/"]:
        node, want = ours[name], theirs[name.strip("/").replace("//", "/")]
        for attribute in ["name", "path", "basename", "read_only"]:
            assert getattr(node, attribute) == getattr(want, attribute)
        assert dict(node.attrs) == want.attrs.asdict() == node.attrs.asdict()
        assert node.zarr_format == want.metadata.zarr_format
        assert name in ours
        assert ours.get(name) == node
    np.testing.assert_array_equal(ours["surface"]["deep"]["t2m"][...], theirs["surface/deep/t2m"][...])
    assert ours["surface/t2m"] == ours["surface"]["t2m"] == ringio_zarr.open(path, path="surface/t2m")
    assert ours["surface/t2m"] != ours["t2m"]
    # The same directory, but another root: zarr-python, too, names it from there.
    assert ringio_zarr.open(path / "surface" / "t2m").name == "/"


def test_attributes_cannot_be_changed(written: tuple[Path, Any]) -> None:
    ours = ringio_zarr.open_group(written[0])
    assert ours.attrs == ATTRIBUTES
    assert ours.attrs["nested"]["list"][3] == "ä"
    assert "title" in ours.attrs
    assert len(ours.attrs) == 2
    with pytest.raises(TypeError):
        ours.attrs["title"] = "other"  # type: ignore[index]
    assert "title" in repr(ours.attrs)


def test_members_that_are_not_there(written: tuple[Path, Any]) -> None:
    path, _ = written
    ours = ringio_zarr.open_group(path)
    for name in ["nope", "surface/nope", "not-a-node", "readme.txt", "t2m/x", "zarr.json"]:
        assert name not in ours
        assert ours.get(name, 3) == 3
        with pytest.raises(KeyError) as caught:
            ours[name]
        assert name in str(caught.value)
        assert str(path) in str(caught.value)
    assert 3 not in ours
    with pytest.raises(TypeError, match="int"):
        ours[3]  # type: ignore[index]
    with pytest.raises(ValueError, match=r"\.\."):
        ours["../h.zarr"]


def test_tree(written: tuple[Path, Any]) -> None:
    tree = ringio_zarr.open_group(written[0]).tree()
    assert str(tree).splitlines() == [
        "/",
        "├── mask (3,) bool",
        "├── surface",
        "│   ├── deep",
        "│   │   └── t2m (6, 4) float32",
        "│   └── t2m (6, 4) float32",
        "└── t2m (6, 4) float32",
    ]
    assert repr(tree) == str(tree)
    assert str(ringio_zarr.open_group(written[0]).tree(level=0)).count("\n") == 4


def test_opening_what_it_is_not(written: tuple[Path, Any]) -> None:
    path, _ = written
    with pytest.raises(ringio_zarr.MetadataError, match=r"h.zarr/.*: this is a group"):
        ringio_zarr.open_array(path)
    with pytest.raises(ringio_zarr.MetadataError, match=r"t2m/.*: this is an array"):
        ringio_zarr.open_group(path, path="t2m")


def test_pickles_and_compares_by_place(written: tuple[Path, Any]) -> None:
    path, _ = written
    group = ringio_zarr.open_group(path)["surface"]
    assert pickle.loads(pickle.dumps(group)) == group
    assert hash(pickle.loads(pickle.dumps(group))) == hash(group)
    assert group != ringio_zarr.open_group(path)
    assert "h.zarr/surface" in repr(group)
    array = group["t2m"]
    data = pickle.dumps(array)
    (path / "surface" / "t2m").rename(path / "surface" / "moved")
    with pytest.raises(FileNotFoundError, match="t2m"):
        pickle.loads(data)


def test_options_are_handed_down(written: tuple[Path, Any]) -> None:
    reader = ringio.Reader("threads", workers=1)
    group = ringio_zarr.open_group(written[0], reader=reader, shard_index_cache_bytes=1000)
    group["surface/deep/t2m"][...]
    assert reader.statistics().tasks == 3
    again = pickle.loads(pickle.dumps(group["surface"]))
    assert again == group["surface"]
    assert again != ringio_zarr.open_group(written[0])["surface"]


def test_consolidated_groups_open(tmp_path: Path) -> None:
    for zarr_format in (2, 3):
        path = tmp_path / str(zarr_format)
        root = zarr.create_group(str(path), zarr_format=zarr_format)
        root.create_array("x", shape=(3,), dtype="i4")[...] = 7
        zarr.consolidate_metadata(str(path))
        assert ringio_zarr.open_group(path)["x"][...].tolist() == [7, 7, 7]


def test_which_format_is_taken(tmp_path: Path) -> None:
    for zarr_format in (2, 3):
        zarr.create_group(str(tmp_path / "both"), zarr_format=zarr_format, attributes={"format": zarr_format})
    assert ringio_zarr.open_group(tmp_path / "both").attrs["format"] == 3
    assert ringio_zarr.open_group(tmp_path / "both", zarr_format=2).attrs["format"] == 2
    zarr.create_group(str(tmp_path / "two"), zarr_format=2)
    with pytest.raises(FileNotFoundError, match=r"looked for zarr.json\)"):
        ringio_zarr.open(tmp_path / "two", zarr_format=3)


def test_ways_to_say_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "with a space" / "g"
    zarr.create_group(str(place)).create_array("x", shape=(2,), dtype="i4")
    monkeypatch.chdir(tmp_path)
    url = place.as_uri()
    assert "%20" in url
    spellings = [place, str(place), url, url.replace("file://", "file://localhost"), "with a space/g", f"{place}/"]
    groups = [ringio_zarr.open_group(spelling) for spelling in spellings]
    assert all(group == groups[0] for group in groups)
    monkeypatch.chdir("/")
    assert groups[4]["x"].shape == (2,)  # a relative path is that of the moment
    assert ringio_zarr.open(place, path="x") == groups[0]["x"]
    assert ringio_zarr.open(groups[0].store, path="/x/") == groups[0]["x"]


def test_a_broken_member_does_not_hide_the_others(written: tuple[Path, Any]) -> None:
    path, _ = written
    document = path / "surface" / ("zarr.json" if (path / "zarr.json").exists() else ".zgroup")
    document.write_text("{")
    ours = ringio_zarr.open_group(path)
    assert sorted(ours) == ["mask", "surface", "t2m"]
    assert ours["t2m"].shape == (6, 4)
    with pytest.raises(ringio_zarr.MetadataError, match="surface"):
        ours["surface"]
    assert "surface (cannot be read)" in str(ours.tree())
    in_memory = obstore.store.MemoryStore()
    for file in path.rglob("*"):
        if file.is_file():
            in_memory.put(str(file.relative_to(path)), file.read_bytes())
    for group in (ours, ringio_zarr.open_group(in_memory)):
        with pytest.warns(UserWarning, match="left out: .*surface.*not valid JSON"):
            assert [name for name, _ in group.members(max_depth=None)] == ["mask", "t2m"]
        with pytest.warns(UserWarning, match="left out"):
            assert [name for name, _ in group.arrays()] == ["mask", "t2m"]


def test_links_that_go_round(tmp_path: Path) -> None:
    """A link that leads back up is a member, and opens; nobody goes round it, which with two of them takes for ever."""
    for name in ("g", "g/a", "g/b"):
        zarr.create_group(str(tmp_path / name))
    for link in ("self", "again", "a/over", "b/over"):
        (tmp_path / "g" / link).symlink_to(tmp_path / "g" / {"a/over": "b", "b/over": "a"}.get(link, ""))
    ours = ringio_zarr.open_group(tmp_path / "g")
    assert sorted(ours) == ["a", "again", "b", "self"]
    below = {"a", "a/over", "a/over/over", "b", "b/over", "b/over/over", "again", "self"}
    assert {path for path, _ in ours.members(max_depth=None)} == below
    assert ours.nmembers(max_depth=None) == len(below)
    assert str(ours.tree()).count("over") == 4
    assert ours["self/again/self"].attrs == {}


def test_links_in_an_array_that_go_round(tmp_path: Path) -> None:
    """What is stored is counted behind links to other places, and once each; links back, and to nothing, are none."""
    array = zarr.create_array(str(tmp_path / "g/a"), shape=(4,), chunks=(1,), dtype="u1", compressors=None)
    array[:] = 1
    folder = tmp_path / "g/a"
    nbytes = ringio_zarr.open_array(folder).nbytes_stored()
    (folder / "c").rename(tmp_path / "elsewhere")
    (folder / "c").symlink_to(tmp_path / "elsewhere")
    (folder / "up").symlink_to("..")
    (folder / "self").symlink_to("self")
    (tmp_path / "elsewhere/back").symlink_to(folder)
    (tmp_path / "elsewhere/round").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/none").symlink_to("nothing")
    ours = ringio_zarr.open_array(folder)
    assert (ours.nbytes_stored(), ours.nchunks_initialized) == (nbytes, 4)


def test_links_alone_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of deep hierarchies not each directory above each group is asked whether it is a link."""
    zarr.create_group(str(tmp_path / "g/a/b/c/d"))
    for name in ("g", "g/a", "g/a/b", "g/a/b/c"):
        zarr.create_group(str(tmp_path / name))
    (tmp_path / "g/a/b/up").symlink_to(tmp_path / "g")
    followed: list[str] = []
    real_path = LocalStore.real_path
    monkeypatch.setattr(LocalStore, "real_path", lambda self, key: followed.append(key) or real_path(self, key))  # type: ignore[func-returns-value]
    group = ringio_zarr.open_group(tmp_path / "g")
    assert len(group.members(max_depth=None)) == 5
    assert followed == ["", "a/b/up"]
    followed.clear()
    assert len(str(group.tree()).splitlines()) == 6
    assert followed == ["", "a/b/up"]


def test_documents_that_are_damaged(tmp_path: Path) -> None:
    zarr.create_group(str(tmp_path / "g"), zarr_format=2)
    (tmp_path / "g" / ".zattrs").write_text("[1]")
    with pytest.raises(ringio_zarr.MetadataError, match=r"g/\.zattrs"):
        ringio_zarr.open(tmp_path / "g")
    zarr.create_group(str(tmp_path / "h"))
    file = tmp_path / "h" / "zarr.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "attributes": 3}))
    with pytest.raises(ringio_zarr.MetadataError, match=r"h/zarr.json: attributes"):
        ringio_zarr.open(tmp_path / "h")


def test_members_that_are_not_supported(tmp_path: Path) -> None:
    """An array of a kind that cannot be read costs its group a warning, not the listing; by name it says why."""
    group = zarr.open_group(tmp_path / "g", mode="w", zarr_format=3)
    group.create_array("good", shape=4, dtype="i4")
    group.create_group("below")
    document = json.loads((tmp_path / "g" / "good" / "zarr.json").read_text())
    document["data_type"] = "float256"
    (tmp_path / "g" / "text").mkdir()
    (tmp_path / "g" / "text" / "zarr.json").write_text(json.dumps(document))
    ours = ringio_zarr.open_group(tmp_path / "g")
    assert list(ours) == ["below", "good", "text"]
    with pytest.warns(UserWarning, match="left out.*'float256' is not supported"):
        assert [name for name, _ in ours.arrays()] == ["good"]
    with pytest.warns(UserWarning, match="left out"):
        assert [name for name, _ in ours.groups()] == ["below"]
    assert "text (data type 'float256' is not supported)" in str(ours.tree())
    with pytest.raises(ringio_zarr.UnsupportedError, match="float256"):
        ours["text"]


def test_groups_are_no_arrays(tmp_path: Path) -> None:
    """Who takes a group for an array is told so."""
    zarr.open_group(tmp_path / "g", mode="w")
    group: Any = ringio_zarr.open(tmp_path / "g")
    with pytest.raises(TypeError, match="is a group"):
        group[0:4]
    with pytest.raises(TypeError, match="is a group"):
        np.asarray(group)


@pytest.mark.parametrize("consolidated", [False, True])
def test_groups_nested_deeper_than_python_calls_may_be(consolidated: bool) -> None:
    depth = sys.getrecursionlimit() + 50
    paths = ["/".join("a" * k) for k in range(1, depth + 1)]
    group: dict[str, Any] = {"zarr_format": 3, "node_type": "group", "attributes": {}}
    root = dict(group)
    if consolidated:
        documents = dict.fromkeys(paths, group)
        root["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": documents}
    store = {"zarr.json": json.dumps(root).encode()}
    if not consolidated:
        store |= {f"{path}/zarr.json": json.dumps(group).encode() for path in paths}
    top = ringio_zarr.open_group(store)
    assert [path for path, _ in top.members(max_depth=None)] == paths
    assert [path for path, _ in top.members(max_depth=2)] == paths[:3]
    assert top.nmembers(max_depth=2) == 3
    if consolidated:
        assert top.nmembers(max_depth=None) == depth
    assert len(str(top.tree(max_nodes=None)).splitlines()) == depth + 1
    assert str(top.tree(level=1)).splitlines() == ["/", "└── a", "    └── a"]
    assert isinstance(top[paths[-1]], ringio_zarr.Group)


def test_deep_groups_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are verified; nobody could read the JSON of them."""
    folder = tmp_path / "g.zarr"
    folder.mkdir()
    for path in [folder, *(folder.joinpath(*["a"] * k) for k in range(1, 400))]:
        path.mkdir(exist_ok=True)
        (path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    assert main(["verify", str(folder)]) == 0
    assert main(["tree", "--json", "--level", "3", str(folder)]) == 0
    capsys.readouterr()
    assert main(["tree", "--json", str(folder)]) != 0
    assert "groups are nested deeper than 200; --level" in capsys.readouterr().err
