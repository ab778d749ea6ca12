"""Code that reads with zarr-python reads with ringio_zarr, once ``import zarr`` is ``import ringio_zarr as zarr``."""

from __future__ import annotations

import pickle
import re
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.core.buffer import default_buffer_prototype

import ringio_zarr

pytestmark = [
    pytest.mark.zarr_3_4,
    pytest.mark.filterwarnings("ignore::Warning:zarr", "ignore:Use Array.compressors"),
]

# What a program may say of a group g, an array a and a field f in it, scalar zero, and a consolidated group c.
EXPRESSIONS = """
z.open(G, mode='r')
z.open(G)
z.open(G, mode=None)
z.open(G, path='foo')
z.open(G, path='/foo/bar/')
z.open(G, mode='r', path=None)
z.open(store=G, mode='r')
z.open(G + '/foo/bar/baz', mode='r')
z.open_group(store=G, mode='r')
z.open_group(G, mode='r', path=None)
z.open_group(G, mode='r', storage_options=None)
z.open_group(G, mode='r', synchronizer=None, chunk_store=None, cache_attrs=None, meta_array=None, attributes=None)
z.open_array(store=G, path='f', mode='r')
z.open_array(G, path='f', mode='r', zarr_format=fmt)
z.open_array(G + '/f', mode='r', path=None)
z.open_array(G + '/f', mode='r', config=None)
z.open_array(G + '/f', mode='r', config={'order': 'F'})[...]
z.open_array(G + '/f', mode='r', config={'order': 'F'})[1:3]
z.open_array(G + '/f', mode='r', config={'order': 'F'}).order
z.open_array(G + '/f', mode='r', config={'write_empty_chunks': True}).order
a.with_config({'order': 'F'}).order
a.with_config({'order': 'F'})[:]
a.metadata.dimension_names
hasattr(a.metadata, 'dimension_names')
a.config.order, a.config.read_missing_chunks
a.with_config({'order': 'F'}).with_config({'read_missing_chunks': False}).config.order
a.with_config(a.with_config({'order': 'F'}).config).config.order
f.with_config(f.with_config({'read_missing_chunks': False}).config).config.read_missing_chunks
z.open_array(G + '/f', mode='r', config={'read_missing_chunks': False})[:3]
z.open_array(G + '/f', mode='r', config={'read_missing_chunks': False})[...]
f.with_config({'read_missing_chunks': False})[4]
z.open_consolidated(C)
z.open_consolidated(store=C)
z.open_consolidated(C, mode='r')
z.open_group(C, use_consolidated=False)
z.load(G + '/f')
z.load(G, path='f')
z.load(G, 'f', fmt)
z.load(G + '/zero')
z.storage.LocalStore(G)
z.open_group(z.storage.LocalStore(G), mode='r')
z.open_group(z.storage.StorePath(z.storage.LocalStore(G), 'foo'), mode='r')
z.open_group(g['foo'].store_path, mode='r')
str(z.tree(g))
str(z.tree(g, level=0))
str(g.tree())
str(g.tree(None, 1))
str(g.tree(level=0))
str(g.tree(level=1))
str(g.tree(plain=True))
str(g['foo/bar'].tree())
str(g['foo/bar/..'].tree())
g.tree()._repr_mimebundle_()
str(g.info), str(g.info_complete())
str(a.info), str(a.info_complete())
a.shape, a.ndim, a.size, a.nbytes, a.nchunks, a.cdata_shape, a.chunks, a.shards, a.order
a.nchunks_initialized, f.nchunks_initialized, a.nbytes_stored()
a.filters, a.compressors, a.serializer
a.compressor
a.fill_value, f.fill_value, zero.fill_value
a.dtype == np.dtype('i4')
a.store_path
str(a.store_path), a.store_path.path, str(g.store_path), g.store_path.path
a.store_path / 'x'
a.path, a.name, a.basename, g.path, g.name, g.basename, g['foo'].path, g['foo'].name, g['foo'].basename
a.read_only, g.read_only, a.read_chunk_sizes, a.write_chunk_sizes
a.metadata.zarr_format, a.metadata.shape, a.metadata.fill_value, a.metadata.attributes, a.metadata.ndim
a.metadata.chunks, a.metadata.shards
a.metadata.chunk_grid
a.metadata.data_type
a.metadata.chunk_key_encoding
a.metadata.storage_transformers
a.metadata.dimension_separator
a.metadata.compressor
a.metadata.filters
json(a.metadata.to_dict())
g.metadata.attributes, g.metadata.zarr_format, g.metadata.node_type, g.metadata.consolidated_metadata
c.metadata.consolidated_metadata.kind
sorted(c.metadata.consolidated_metadata.metadata)
sorted(c.metadata.consolidated_metadata.flattened_metadata)
sorted(c['child'].metadata.consolidated_metadata.metadata)
sorted(c.metadata.consolidated_metadata.metadata['child'].consolidated_metadata.metadata)
c.metadata.consolidated_metadata.flattened_metadata['child/grand/t'].shape
c['child/grand/t']
list(c.members(max_depth=None))
c.attrs.asdict()
len(g), sorted(g), sorted(g.keys()), sorted(dict(g.arrays())), sorted(dict(g.groups()))
sorted(g.members())
sorted(g.members(max_depth=None))
sorted(g.members(1))
sorted(g.members(max_depth=1, use_consolidated_for_children=False))
sorted(k for k, _ in c.members(max_depth=None, use_consolidated_for_children=False))
sorted(g.array_keys()), sorted(g.group_keys()), sorted(g.array_values(), key=str), sorted(g.group_values(), key=str)
g.nmembers(), g.nmembers(max_depth=None)
'f' in g, 'foo/bar' in g, 'nope' in g, '' in g, 'foo/bar/nope' in g
g.get('f'), g.get('nope'), g.get('nope', 3)
g['foo']['bar']['baz'], g['/foo/bar/baz/'], g['']
g.get_array('foo/bar/baz')
g.get_group('foo')
g.get_array('foo')
g.get_array('nope')
g.get_group('f')
g.get_group('nope')
g['nope']
g.members(max_depth=-1)
g['foo'] == g['foo'], a == g['foo/bar/baz'], a == f, a != f
bool(g), bool(a), bool(zero), bool(empty)
g.synchronizer
dict(g.attrs), sorted(g.attrs), 'x' in g.attrs, len(g.attrs), g.attrs.get('nope', 2), list(g.attrs.items())
g.attrs.asdict(), a.attrs.asdict(), g.attrs == {'x': 1, 'l': [1, 2]}
g.attrs['nope']
next(iter(a))
list(iter(a))[9]
sum(1 for _ in a)
np.asarray(a)
np.array(a, dtype='f4')
np.asarray(a, dtype='>i8')
np.asarray(a, copy=True)
np.array(a, copy=False)
a.__array__()
a.__array__('f8')
np.sum(a), np.array_equal(a, a[:])
np.stack([a, a])
np.zeros_like(a, dtype=bool)
np.empty_like(a).shape
a[()]
a[...]
a[:]
a[1:9:3]
a[1:9:3, ::2]
a[-3:]
a[:, 0]
a[0, 0]
a[-1, -1]
a[0]
a[0, ...]
a[..., 0]
a[..., 0, 0]
a[0, 0, ...]
a[0:0]
a[5:2]
a[100:200]
a[np.int32(3)]
a[np.uint8(3), np.int64(2)]
a[slice(np.int64(1), np.int64(4))]
a[[1, 2], [3, 4]]
a[[1, 2]]
a[1, [1, 3]]
a[a[:] > 70]
a.vindex[a[:] > 70]
a.oindex[[0, 2], [1, 3]]
a.oindex[:, a[0] > 3]
a.oindex[0]
a.oindex[0, [1, 2]]
a.oindex[...]
a.vindex[[0, 1], [2, 3]]
a.vindex[0, [2, 3]]
a.vindex[-1, -1]
a.blocks[0]
a.blocks[-1, -1]
a.blocks[1:3, 0]
a.blocks[...]
a.get_basic_selection()
a.get_basic_selection(slice(2, 4), prototype=None)
a.get_basic_selection(slice(2, 4), prototype=prototype())
a.get_orthogonal_selection(([0, 2], slice(None)), prototype=prototype())
a.get_coordinate_selection(([0, 2], [1, 3]), prototype=prototype())
a.get_mask_selection(a[:] > 75, prototype=prototype())
a.get_block_selection((1, 0), prototype=prototype())
zero[()]
zero[...]
zero.get_basic_selection()
np.asarray(zero)
float(zero)
zero.shape, zero.chunks, zero.size, zero.nbytes, zero.nchunks
a.T
pickle.loads(pickle.dumps(a)) == a
pickle.loads(pickle.dumps(a))[3]
pickle.loads(pickle.dumps(g))['foo/bar/baz']
isinstance(a, z.Array), isinstance(g, z.Group)
"""


class Pair:
    """The same hierarchy for each package, and what expressions may name."""

    def __init__(self, root: Path, zarr_format: int) -> None:
        self.root = root
        self.names: list[dict[str, Any]] = []
        for module in (zarr, ringio_zarr):
            group = module.open_group(str(root / "g"), mode="r")
            self.names.append(
                {
                    "z": module,
                    "np": np,
                    "pickle": pickle,
                    "json": _as_json,
                    "prototype": default_buffer_prototype,
                    "G": str(root / "g"),
                    "C": str(root / "c"),
                    "fmt": zarr_format,
                    "g": group,
                    "a": group["foo/bar/baz"],
                    "f": group["f"],
                    "zero": group["zero"],
                    "empty": group["empty"],
                    "c": module.open_group(str(root / "c"), mode="r"),
                }
            )

    def outcomes(self, expression: str) -> list[str]:
        """What it is in each package, as text."""
        return [_outcome(expression, names) for names in self.names]


@pytest.fixture(scope="module", params=[2, 3])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    root = tmp_path_factory.mktemp("drop_in")
    made: dict[str, Any] = {"zarr_format": request.param}
    group = zarr.create_group(root / "g", attributes={"x": 1, "l": [1, 2]}, **made)
    table = np.arange(80, dtype="i4").reshape(10, 8)
    group.create_array("foo/bar/baz", shape=(10, 8), chunks=(3, 4), dtype="i4", attributes={"u": "m"})[...] = table
    group.create_array("f", shape=(10, 8), chunks=(3, 4), dtype="f8", fill_value=float("nan"))[:3] = 1.5
    group.create_array("zero", shape=(), dtype="i4")[()] = 7
    group.create_array("empty", shape=(0,), chunks=(1,), dtype="i4")
    consolidated = zarr.create_group(root / "c", **made)
    consolidated.create_array("a", shape=(3,), dtype="i4", attributes={"q": 1})
    consolidated.create_group("child/grand").create_array("t", shape=(4,), dtype="f4")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(root / "c")
        yield Pair(root, request.param)


@pytest.mark.parametrize("expression", EXPRESSIONS.strip().splitlines())
def test_an_expression_means_the_same(pair: Pair, expression: str) -> None:
    theirs, ours = pair.outcomes(expression)
    assert ours == theirs


def _outcome(expression: str, names: dict[str, Any]) -> str:
    try:
        return _text(eval(expression, names))
    except Exception as error:  # of which the class is compared, by its name
        return type(error).__name__


def _text(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype.str} {value.shape} {value.flags.c_contiguous} {value.tolist()}"
    if isinstance(value, tuple | list):
        return f"{type(value).__name__}({', '.join(map(_text, value))})"
    if isinstance(value, dict):
        return str({name: _text(item) for name, item in value.items()})
    # The repr of arrays and groups: zarr-python has a URL, and ringio_zarr the chunks.
    text = re.sub(r"<(ringio_zarr\.)?(Array|Group) '?(?:file://)?(/[^' >]*)'?[^>]*>", r"<\2 \3>", repr(value))
    return f"{type(value).__name__} {text}"


def _as_json(value: Any) -> Any:
    """Metadata without what need not be written, and lists for tuples."""
    if isinstance(value, dict):
        silent = ("storage_transformers", "dimension_names")
        return {name: _as_json(value[name]) for name in sorted(value) if name not in silent}
    return [_as_json(item) for item in value] if isinstance(value, tuple | list) else value


def test_what_is_given_beside(tmp_path: Path) -> None:
    """Arguments that reading has no use for are taken; those that would write, or read elsewhere, are not."""
    path = str(tmp_path)
    zarr.create_array(path, shape=(3,), dtype="i1")
    assert ringio_zarr.open_array(path, synchronizer=object(), cache_attrs=True).shape == (3,)
    for given in ({"attributes": {"a": 1}}, {"chunk_store": {}}, {"shape": (3,)}, {"moed": "r"}):
        with pytest.raises(TypeError, match=next(iter(given))):
            ringio_zarr.open(path, **given)
    with pytest.raises(TypeError, match="storage_options was provided but unused"):
        ringio_zarr.open(path, storage_options={"anon": True})
    with pytest.raises(ValueError, match="one or the other"):
        ringio_zarr.open("s3://b/k", storage_options={"anon": True}, store_options={"anonymous": True})
    with pytest.raises(ValueError, match="'K'"):
        ringio_zarr.open_array(path, config={"order": "K"})
    array = ringio_zarr.open_array(path)
    with pytest.raises(ValueError, match="prototype"):
        array.get_basic_selection(prototype="gpu")
    gpu = types.SimpleNamespace(nd_buffer=type("NDBuffer", (), {"__module__": "zarr.core.buffer.gpu"}))
    with pytest.raises(ValueError, match="memory of the host"):
        array.get_basic_selection(prototype=gpu)
    zarr.create_group(tmp_path / "g")
    with pytest.raises(NotImplementedError, match="is a group"):
        ringio_zarr.load(tmp_path / "g")


def test_storage_options_in_the_words_of_fsspec(tmp_path: Path) -> None:
    """They become ``store_options``, or fsspec has them."""
    from ringio_zarr._adapted import adapt

    url, s3 = "s3://bucket/a", {"anon": True, "endpoint_url": "http://h", "client_kwargs": {"region_name": "r"}}
    ours = {"anonymous": True, "endpoint": "http://h", "region": "r"}
    assert adapt(url, None, s3, {}) == (url, ours, {})
    assert adapt("gs://b/a", None, {"token": "anon"}, {})[1] == {"anonymous": True}
    assert adapt("abfs://b/a", None, {"account_name": "n", "sas_token": "t"}, {})[1] == {
        "account_name": "n",
        "sas_key": "t",
    }
    unsaid = {"key": None, "client_kwargs": {"endpoint_url": None}, "profile": None, "anon": True}
    assert adapt(url, None, unsaid, {}) == (url, {"anonymous": True}, {})
    assert adapt("gs://b/a", None, {"token": "anon", "project": None}, {})[1] == {"anonymous": True}
    zarr.create_array(tmp_path / "a", data=np.arange(4))
    mapper, options, _ = adapt(f"local://{tmp_path}", None, {"auto_mkdir": False}, {})
    assert options is None
    assert ringio_zarr.open_array(mapper, path="a")[:].tolist() == [0, 1, 2, 3]


def test_trees_are_cut_level_by_level(tmp_path: Path) -> None:
    group = zarr.create_group(tmp_path)
    for number in range(600):
        group.create_group(f"g{number:03}")
    group.create_array("g000/x", shape=(1,), dtype="i1")
    ours = ringio_zarr.open_group(tmp_path)
    lines = str(ours.tree()).splitlines()
    assert lines[0].startswith("Truncated at max_nodes=500")
    assert (len(lines), lines[-1]) == (502, "└── g499")
    assert str(ours.tree(max_nodes=None)) == str(zarr.open_group(tmp_path, mode="r").tree(max_nodes=1000))
    with pytest.raises(NotImplementedError):
        ours.tree(expand=True)


def test_what_writes_says_so(pair: Pair) -> None:
    for name in ("save", "group", "create_array", "consolidate_metadata"):
        with pytest.raises(AttributeError, match="only reads"):
            getattr(ringio_zarr, name)
    with pytest.raises(AttributeError, match="import zarr for it"):
        ringio_zarr.config  # noqa: B018  # it is what is tested
    with pytest.raises(AttributeError, match=r"'opne'$"):
        ringio_zarr.opne  # noqa: B018
    array = pair.names[1]["a"]
    with pytest.raises(AttributeError, match="only reads"):
        array.resize((1, 1))
    with pytest.raises(TypeError, match="does not support item assignment"):
        array[0] = 1


async def test_async_arrays_and_groups(pair: Pair) -> None:
    ours, theirs = pair.names[1], pair.names[0]
    array = ours["a"].async_array
    expected = await theirs["a"].async_array.getitem((slice(2, 5), 1), prototype=default_buffer_prototype())
    assert (await array.getitem((slice(2, 5), 1), prototype=default_buffer_prototype())).tolist() == expected.tolist()
    for selection in (3, (4, 2), (-1, ...), slice(2, 4)):
        read = await theirs["a"].async_array.getitem(selection)
        assert _text(await array.getitem(selection)) == _text(read)
    for made in (np.array(b"seven"), np.array(7), np.array("seven")):
        theirs_zero = zarr.create_array({}, data=made).async_array
        ours_zero = ringio_zarr.open_array(theirs_zero.store).async_array
        for selection in (..., ()):
            assert _text(await ours_zero.getitem(selection)) == _text(await theirs_zero.getitem(selection))
    assert array.with_config({"order": "C"}) == array.with_config({"order": "C"})
    assert isinstance(array.with_config({"order": "F"}), ringio_zarr.AsyncArray)
    group = await ringio_zarr.AsyncGroup.open(ours["G"])
    assert (await group.get_array("f")).shape == (10, 8)
    assert (await group.get_group("foo")).name == "/foo"
    assert str(await group.tree(level=0)) == str(theirs["g"].tree(level=0))
    found = [name async for name, _ in group.members(None, use_consolidated_for_children=False)]
    assert "foo/bar/baz" in found
