"""``config={"read_missing_chunks": False}``: chunks that are not stored are the error that they are in zarr-python."""

from __future__ import annotations

import asyncio
import pickle
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.codecs import BytesCodec, GzipCodec, ShardingCodec
from zarr.storage import LocalStore, MemoryStore

import ringio
import ringio_zarr
from ringio_zarr.errors import ChunkNotFoundError

pytestmark = [
    pytest.mark.zarr_3_4,
    pytest.mark.filterwarnings("ignore::Warning:zarr", "ignore::Warning:numcodecs"),
]

SHAPE = (24, 12)
VALUES = np.arange(1, 24 * 12 + 1).reshape(SHAPE)
STRICT: dict[str, Any] = {"read_missing_chunks": False}
INNER = ShardingCodec(chunk_shape=(4, 4), codecs=[BytesCodec()])
# The chunks of the outer grid are 8 by 4 and 8 by 12, and never stored is what lies in rows 8 to 15.
LAYOUTS: dict[str, dict[str, Any]] = {
    "v2": {"zarr_format": 2, "chunks": (8, 4), "dtype": "<i4"},
    "v2, nested keys": {"zarr_format": 2, "chunks": (8, 4), "dtype": "<i4", "chunk_key_encoding": "/"},
    "v3": {"chunks": (8, 4), "dtype": "<i4"},
    "raw": {"chunks": (8, 4), "dtype": "<i4", "compressors": None},
    "shards": {"chunks": (4, 4), "shards": (8, 12), "dtype": "<i4"},
    "shards in shards": {
        "chunks": (8, 12),
        "dtype": "<i4",
        "serializer": ShardingCodec(chunk_shape=(8, 4), codecs=[INNER]),
        "compressors": None,
    },
    "encoded shards": {"chunks": (8, 12), "dtype": "<i4", "serializer": INNER, "compressors": GzipCodec()},
    "a codec of Python": {"chunks": (8, 4), "dtype": "<i4", "compressors": zarr.codecs.numcodecs.LZMA()},
    "strings": {"chunks": (8, 4), "dtype": "string"},
    "rectilinear": {"chunks": ((8, 8, 8), (4, 4, 4)), "dtype": "<i4"},
    "rectilinear, of several shapes": {"chunks": ((8, 3, 5, 8), (2, 4, 4, 2)), "dtype": "<i4"},
}
SELECTIONS: dict[str, Callable[[Any], Any]] = {
    "what is there": lambda a: a[:8],
    "what is there and an empty part of a shard": lambda a: a[4:8, 4:8],
    "a chunk that is there": lambda a: a[1:3, 1:3],
    "all": lambda a: a[...],
    "one missing chunk": lambda a: a[9:11, 1:3],
    "one missing element": lambda a: a[9, 1],
    "some of both": lambda a: a[6:18, 3:6],
    "with steps": lambda a: a[::5, ::3],
    "nothing": lambda a: a[9:9],
    "rows": lambda a: a.oindex[[1, 9, 23], 2:7],
    "points": lambda a: a.vindex[[1, 9, 23], [1, 5, 2]],
    "points that are there": lambda a: a.vindex[[1, 23], [1, 2]],
    "a mask": lambda a: a.get_mask_selection(VALUES % 7 == 0),
    "a block": lambda a: a.blocks[1],
    "a block that is there": lambda a: a.blocks[2],
}


def write(store: Any, layout: dict[str, Any], path: str = "a") -> None:
    layout = dict(layout)
    if layout.get("chunk_key_encoding") == "/":
        layout["chunk_key_encoding"] = {"name": "v2", "separator": "/"}
    array = zarr.create_array(store, name=path, shape=SHAPE, **layout)
    values = VALUES.astype(array.dtype)
    array[:4], array[16:] = values[:4], values[16:]  # of a shard, rows 4 to 7 are inner chunks that it does not have


@pytest.fixture(autouse=True)
def rectilinear() -> Iterator[None]:
    with zarr.config.set({"array.rectilinear_chunks": True}):
        yield


@pytest.fixture(params=LAYOUTS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    write(LocalStore(tmp_path), LAYOUTS[request.param])
    return str(tmp_path / "a")


def outcome(read: Callable[[Any], Any], array: Any) -> Any:
    """What is read, or the error: class, first line, and the chunks in any order."""
    try:
        values = read(array)
    except (ChunkNotFoundError, zarr.errors.ChunkNotFoundError) as error:
        lines = re.sub(r"np\.int64\((\d+)\)", r"\1", str(error)).splitlines()  # in the words of zarr-python
        return type(error).__name__, *sorted(lines)
    return np.asarray(values).tolist()


@pytest.mark.parametrize("name", SELECTIONS)
def test_as_in_zarr_python(path: str, name: str) -> None:
    """The same values where all is there, else the same error with the same text."""
    ours = ringio_zarr.open_array(path, config=STRICT)
    theirs = zarr.open_array(path, mode="r", config=STRICT)
    for _ in range(2):  # indexes of shards are known then
        assert outcome(SELECTIONS[name], ours) == outcome(SELECTIONS[name], theirs)


def stores(tmp_path: Path, latency: Any) -> dict[str, Any]:
    """One hierarchy in stores of all kinds."""
    memory = MemoryStore()
    for name in ("v3", "shards", "shards in shards", "encoded shards"):
        write(memory, LAYOUTS[name], name.replace(" ", "_"))
    data = {key: value.to_bytes() for key, value in memory._store_dict.items()}
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(tmp_path / f"{compression}.zip", "w", compression) as archive:
            for key, value in data.items():
                archive.writestr(key, value)
    for key, value in data.items():
        latency.put(f"h.zarr/{key}", value)
    latency.put("stored.zip", (tmp_path / "0.zip").read_bytes())
    return {
        "stored zip": tmp_path / "0.zip",
        "deflated zip": tmp_path / "8.zip",
        "dict": data,
        "zarr-python's": memory,
        "remote": latency.url("h.zarr"),
        "remote zip": latency.url("stored.zip"),
    }


def test_stores_of_all_kinds(tmp_path: Path, latency: Any) -> None:
    with ringio.Reader(workers=2) as reader:
        for kind, store in stores(tmp_path, latency).items():
            for name in ("v3", "shards", "shards_in_shards", "encoded_shards"):
                array = ringio_zarr.open_array(store, path=name, config=STRICT, reader=reader)
                lenient = array.with_config({"read_missing_chunks": True})
                for rows in (slice(0, 4), slice(4, 8), slice(16, 24), 3, 17):
                    assert np.array_equal(array[rows], lenient[rows]), (kind, name, rows)
                with pytest.raises(ChunkNotFoundError) as caught:
                    array[2:20]
                chunks = re.findall(r"chunk '(.*)' \(grid position \((.*)\)\)", str(caught.value))
                columns = 3 if name == "v3" else 1
                assert chunks == [(f"c/1/{column}", f"1, {column}") for column in range(columns)], (kind, name)


def test_every_way_to_read(path: str) -> None:
    """Crops, many selections, event loops, explain; what is there has been read, and nothing else is touched."""
    array = ringio_zarr.open_array(path, config=STRICT)
    lenient = ringio_zarr.open_array(path)
    here, both = np.array([[0, 0], [18, 2]]), np.array([[0, 0], [6, 0]])
    assert np.array_equal(array.read_crops(here, (4, 4)), lenient.read_crops(here, (4, 4)))
    assert all(map(np.array_equal, array.read_many([0, [1, 20]]), lenient.read_many([0, [1, 20]])))
    out = np.full((24, 12), lenient[0, 0], array.dtype)
    reads: list[Callable[[], Any]] = [
        lambda: array.read_crops(both, (4, 4)),
        lambda: array.read_crops(both[1:], (4, 4)),
        lambda: array.read_many([slice(0, 2), 9]),
        lambda: array.get_basic_selection(..., out=out),
        lambda: asyncio.run(array.read_async(9)),
        lambda: asyncio.run(array.read_many_async([[9, 10]])),
        lambda: asyncio.run(array.read_crops_async(both, (4, 4))),
        lambda: asyncio.run(array.async_array.getitem(slice(9, 11))),
    ]
    for read in reads:
        with pytest.raises(ChunkNotFoundError, match="not found in store"):
            read()
    assert (out[16:] == lenient[16:]).all()
    assert (out[8:16] == lenient[0, 0]).all()
    assert np.array_equal(asyncio.run(array.read_async(slice(0, 8))), lenient[:8])
    explained = array.explain()
    assert explained.missing or explained.bad


def test_who_insists(tmp_path: Path) -> None:
    """Options stay with an array through ``with_config``, ``pickle`` and its group, and tell it from others."""
    write(LocalStore(tmp_path), LAYOUTS["v3"], "g/a")
    group = ringio_zarr.open_group(tmp_path / "g", config=STRICT)
    opened = ringio_zarr.open(tmp_path / "g", config=STRICT)
    lenient = ringio_zarr.open_array(tmp_path / "g", path="a")
    strict = [
        group["a"],
        opened["a"],
        pickle.loads(pickle.dumps(group["a"])),
        lenient.with_config(STRICT),
        lenient.with_config(STRICT).with_config({"order": "F"}),
        lenient.with_config(STRICT).with_config({"order": "F"}).with_config(None),
        lenient.with_config(zarr.open_array(tmp_path / "g/a", config=STRICT).config),
    ]
    for array in strict:
        with pytest.raises(ChunkNotFoundError):
            array[...]
    assert strict[0] == strict[1] == strict[2] != lenient
    assert strict[5].order == "F"
    for array in (lenient, strict[0].with_config({"read_missing_chunks": True})):
        assert not array[8:16].any()


def test_of_many_missing_chunks_some_are_named(tmp_path: Path) -> None:
    zarr.create_array(tmp_path, shape=(1000,), chunks=(2,), dtype="i1")
    with pytest.raises(ChunkNotFoundError, match=r"^500 chunk\(s\) not found(.*\n)*  and 400 more$"):
        ringio_zarr.open_array(tmp_path, config=STRICT)[:]


@pytest.mark.parametrize("inner", [None, (5, 5)])
def test_of_chunks_of_all_shapes(inner: tuple[int, int] | None, tmp_path: Path) -> None:
    """However they are read; the chunks are in the order of the grid, and no more are named than of one shape."""
    lengths = [10, 20, 10, 30, 10, 20]
    codec = {} if inner is None else {"serializer": ShardingCodec(chunk_shape=inner), "compressors": None}
    store = LocalStore(tmp_path)
    zarr.create_array(store, name="a", shape=(100, 100), chunks=(lengths, lengths), dtype="i1", **codec)[0:10] = 1
    array = ringio_zarr.open_array(tmp_path / "a", config=STRICT)
    reads: list[Callable[[], Any]] = [
        lambda: array[...],
        lambda: array.read_many([slice(None), slice(None)]),
        lambda: asyncio.run(array.read_async()),
    ]
    for read in reads:
        with pytest.raises(ChunkNotFoundError, match=r"^30 chunk\(s\) not found") as caught:
            read()
        places = re.findall(r"grid position \((\d), (\d)\)", str(caught.value))
        assert places == [(str(row), str(column)) for row in range(1, 6) for column in range(6)]
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    zarr.create_array(store, name="b", shape=(100, 100), chunks=([2, 3] * 20, [4, 6] * 10), dtype="i1")
    with pytest.raises(ChunkNotFoundError, match=r"^800 chunk\(s\) not found(.*\n)*  and 700 more$") as caught:
        ringio_zarr.open_array(tmp_path / "b", config=STRICT)[...]
    assert re.findall(r"chunk '(.*?)'", str(caught.value)) == [
        f"c/{row}/{column}" for row in range(5) for column in range(20)
    ]


def test_of_several_batches_all_are_named(tmp_path: Path) -> None:
    """What has to be decoded before it is read from is read in as many batches as memory takes."""
    codecs = {"serializer": ShardingCodec(chunk_shape=(1, 1 << 18)), "compressors": GzipCodec()}
    shape, chunks = (32, 1 << 20), (1, 1 << 20)
    zarr.create_array(tmp_path, shape=shape, chunks=chunks, dtype="i1", fill_value=0, **codecs)[::2] = 1
    with ringio.Reader(memory_limit_bytes=8 << 20, workers=2) as reader:
        array = ringio_zarr.open_array(tmp_path, config=STRICT, reader=reader)
        with pytest.raises(ChunkNotFoundError, match=r"^16 chunk\(s\) not found") as caught:
            array[...]
    assert re.findall(r"chunk '(.*?)'", str(caught.value)) == [f"c/{row}/0" for row in range(1, 32, 2)]


def test_a_damaged_chunk_is_no_missing_one(tmp_path: Path) -> None:
    """It is the error that it always is, and so is a chunk that may not be read."""
    write(LocalStore(tmp_path), LAYOUTS["v3"])
    (tmp_path / "a/c/0/0").write_bytes(b"damage")
    (tmp_path / "a/c/2/0").unlink()
    (tmp_path / "a/c/2/0").mkdir()
    array = ringio_zarr.open_array(tmp_path / "a", config=STRICT)
    with pytest.raises(ringio.DecodeError, match="c/0/0"):
        array[:4]
    with pytest.raises(OSError, match="c/2/0") as caught:
        array[16:]
    assert not isinstance(caught.value, ChunkNotFoundError)


def test_config_that_makes_no_sense(tmp_path: Path) -> None:
    """What zarr-python refuses with ``TypeError`` and ``ValueError``."""
    zarr.create_array(tmp_path, shape=(3,), dtype="i1")
    wrong: list[tuple[dict[str, Any], type[Exception]]] = [
        ({"read_missing": False}, TypeError),
        ({"read_missing_chunks": "no"}, ValueError),
        ({"order": "K"}, ValueError),
    ]
    for config, error in wrong:
        for open_array in (zarr.open_array, ringio_zarr.open_array):
            with pytest.raises(error, match=r"read_missing|bool|K"):
                open_array(tmp_path, config=config)
