"""Any damage to a store is an exception that names the path, or is harmless, and takes no memory to speak of."""

from __future__ import annotations

import copy
import json
import resource
import shutil
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

import ringio
import ringio_zarr
from parity.cases import DOCUMENTS, Case, attempt_write, cases

# One of each kind of chunk and document.
CORPUS = (
    "v2, int32, blosc lz4 1, box, missing none",
    "v2, int16, zlib, box, missing none",
    "v2, float32, delta, zstd, box, missing none",
    "v2, bool, packbits, box, missing none",
    "v2, struct, default, box, missing none",
    "v2, string, default, box, missing none",
    "v2, datetime64[10us], default, order F, missing none",
    "v3, uint16, zstd, checksum, box, missing none",
    "v3, float64, blosc zstd bitshuffle, box, missing none",
    "v3, int8, gzip, shards, missing none",
    "v3, int64, nested shards, shards, missing none",
    "v3, uint32, index at start, shards, missing none",
    "v3, complex64, transpose, box, missing none",
    "v3, U3, default, shards, missing none",
    "v3, string, default, shards, missing none",
    "v3, bytes, default, box, missing none",
    "v3, struct, default, box, missing none",
    "v3, float16, numcodecs.fixedscaleoffset, box, missing none",
    "v3, uint8, numcodecs.fletcher32, box, missing none",
    "v3, uint8, numcodecs.lzma, box, missing none",
)
FEW_ELEMENTS = 40
GROWTH_MAX_KIB = 600 << 10


@cache
def _cases() -> dict[str, Case]:
    return {case.name: case for case in cases()}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The corpus, sound."""
    root = tmp_path_factory.mktemp("corpus")
    made = {}
    for number, name in enumerate(CORPUS):
        path = root / str(number)
        assert attempt_write(_cases()[name], path), name
        made[name] = path
    return made


def read_some(path: Path) -> None:
    """Open whatever is there, and read a corner of it."""
    node = ringio_zarr.open(path)
    if isinstance(node, ringio_zarr.Array):
        corner = tuple(slice(0, min(length, FEW_ELEMENTS // max(node.ndim, 1))) for length in node.shape)
        node[corner]
    else:
        list(node)
        node.tree()


def failure(path: Path) -> BaseException | None:
    """What comes out of reading a store."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read_some(path)
    except Exception as error:
        return error
    return None


def check(path: Path) -> None:
    """Nothing but our exceptions comes out, and they say where."""
    error = failure(path)
    note(repr(error))
    # A document may say that a chunk has terabytes; there is no memory for one, and that is said.
    if error is not None and not isinstance(error, MemoryError):
        if not isinstance(error, ringio.RingioError | OSError):
            raise error
        assert str(path) in str(error)


ODD_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 70),
    st.sampled_from([2**31, 2**32 + 1, 2**63 - 1, 2**63, 2**64, -(2**63), 10**30, 1.5, -0.0, 1e308]),
    st.text(max_size=6),
    st.sampled_from(
        ["NaN", "Infinity", "0x7fc00001", "<i4", ">f8", "|O", "|V0", "bytes", "zstd", "C", "F", "/", "M8[ns]"]
    ),
    st.lists(st.integers(-1, 9), max_size=4),
    st.just({}),
    st.just({"name": "bytes"}),
    st.just({"id": "blosc"}),
    st.just([["a", "<i2"], ["b", "|S0"]]),
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a document."""
    found: list[tuple[Any, Any]] = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found.append((value, key))
        found += places(item)
    return found


def mutate_document(data: st.DataObject, text: bytes) -> bytes:
    """A document with one or two values that are others, gone, or there twice."""
    document = json.loads(text)
    for _ in range(data.draw(st.integers(1, 2))):
        container, key = data.draw(st.sampled_from(places(document)))
        how = data.draw(st.sampled_from(["replace", "remove", "wrap", "copy"]))
        if how == "replace":
            container[key] = copy.deepcopy(data.draw(ODD_VALUES))  # a second change must not be to the strategy's own
        elif how == "remove":
            del container[key]
        elif how == "wrap":
            container[key] = [container[key]]
        elif isinstance(container, list):
            container.append(container[key])
        else:
            container[data.draw(st.text(max_size=5))] = container[key]
        if not places(document):
            break
    return json.dumps(document).encode()


def mutate_bytes(data: st.DataObject, encoded: bytes) -> bytes:
    """Encoded bytes with some flipped, cut, repeated, or replaced by extremes."""
    changed = bytearray(encoded)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, max(len(changed) - 1, 0)))
        how = data.draw(st.sampled_from(["flip", "cut", "grow", "extreme", "swap"]))
        if how == "flip" and changed:
            changed[at] ^= 1 << data.draw(st.integers(0, 7))
        elif how == "cut":
            del changed[at:]
        elif how == "grow":
            changed[at:at] = data.draw(st.binary(max_size=20))
        elif how == "extreme":
            count = data.draw(st.sampled_from([1, 4, 8, 16]))
            changed[at : at + count] = data.draw(st.sampled_from([b"\xff", b"\x00", b"\x7f", b"\x80"])) * count
        else:
            half = at // 2
            changed = changed[half:at] + changed[:half] + changed[at:]
    return bytes(changed)


@pytest.mark.parametrize("name", CORPUS)
@settings(max_examples=40, suppress_health_check=list(HealthCheck), deadline=None)
@given(data=st.data())
def test_a_damaged_store(
    stores: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, name: str, data: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(stores[name], path)
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.name != ".zattrs")
    documents = [file for file in files if file.name in DOCUMENTS]
    chunks = [file for file in files if file.name not in DOCUMENTS]
    which = data.draw(st.sampled_from(["document", "chunk", "chunk"]))
    target = data.draw(st.sampled_from(documents if which == "document" else chunks))
    mutate = mutate_document if which == "document" else mutate_bytes
    target.write_bytes(mutate(data, target.read_bytes()))
    check(path)


@pytest.fixture(scope="module", autouse=True)
def memory_stays() -> Any:
    """Whatever sizes the damaged stores claim, this process never gets much larger."""
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    after_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after_kib - before_kib < GROWTH_MAX_KIB
