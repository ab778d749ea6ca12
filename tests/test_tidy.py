"""The shape of the code: floors, records that C and numpy agree on, files that can be held in the head."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import ringio
from ringio import _records
from ringio._core import ffi, lib

ROOT = Path(__file__).parent.parent

# A module imports only from floors below its own: docs/architecture.md.
RINGIO_FLOORS = [
    ["_exit", "_flag", "_named", "_object_loop"],
    ["_core", "_records", "_columns", "_limits", "_statistics", "_buffers", "_interpreters", "_version", "_spans"],
    ["_errors", "_failures", "_memory", "_object_pool", "_object_store", "_strings"],
    ["_progress", "_states", "_store_options", "_targets"],
    ["_native_steps", "_python_codecs", "_vlen"],
    ["_array_codecs", "_codec_steps", "_stages"],
    ["_codec_walk"],
    ["_forked", "_trace", "_paths", "_kernels", "_store_errors", "_tasks", "codecs"],
    ["_ranges", "_grid", "_stores"],
    ["_draft", "_object_work", "_single"],
    ["_object_care"],
    ["_object_lookup"],
    ["planning"],
    ["_costs", "_plan_records"],
    ["_placing"],
    ["_plan"],
    ["_execute", "_options", "_blocks"],
    ["_batch"],
    ["_handle"],
    ["_object_kept", "_object_one", "_object_place", "_python_place"],
    ["_object_decode", "_object_outcome"],
    ["_object_fetch"],
    ["_objects"],
    ["_object_finder"],
    ["_reading"],
    ["_looking", "_stream", "_python_plan"],
    ["_loops"],
    ["_async", "_streaming"],
    ["_reader"],
    ["_twins"],
    ["_awaited", "_entries", "_gather", "exceptions"],
    ["_remote_locations"],
    ["_locations"],
    ["_get"],
    ["_store", "fsspec"],
    ["testing", "command_line", "__init__"],
    ["_cli_info", "_cli_bench"],
    ["_cli"],
    ["__main__"],
]
RINGIO_ZARR_FLOORS = [
    ["_absent", "_adapted", "_grid", "_known", "_result", "_selection", "_zarr_python", "storage"],
    ["_cache", "_errors", "_fancy", "_fields"],
    ["errors", "_bridge", "_document", "_readers", "_store_base"],
    ["_axes", "_codecs", "_dtypes", "_other_keys", "_parts", "_remote", "_zip_members"],
    ["_fill", "_keys", "_mapping", "_zip"],
    ["_other_dtypes"],
    ["_zip_remote"],
    ["_metadata", "_store"],
    ["_consolidated", "_foreign"],
    ["_load", "_stores"],
    ["_stored", "_info", "_other_codecs", "_whole_shards"],
    ["_described"],
    ["_chain", "_node"],
    ["_sharding"],
    ["_locate"],
    ["_locate_parts", "_subsets"],
    ["_locate_objects"],
    ["_insisting", "_wrapped"],
    ["_locators"],
    ["_single"],
    ["_steps"],
    ["_planner"],
    ["_planned"],
    ["_explain", "_placed", "_rectilinear"],
    ["_masked", "_staged"],
    ["_joined", "_outline"],
    ["_selecting"],
    ["_awaiting"],
    ["_array"],
    ["_tree"],
    ["_group"],
    ["_open"],
    ["_async_array", "_open_async"],
    ["_async_group"],
    ["__init__"],
    ["_verify", "_cli_show"],
    ["_cli"],
    ["__main__"],
]
C_FLOORS = [
    ["ringio_api", "planning_api", "trace_api"],
    ["ringio", "sort", "parts", "planes", "sums", "clock", "thread"],
    ["direct"],
    ["trace", "bell", "cffi_prelude", "plan", "plan_points", "scatter", "strings", "slab", "files", "codec"],
    ["codec_private", "task", "job", "paths", "narrow"],
    [
        "draft",
        "codec_blosc",
        "codec_blosclz",
        "codec_checksum",
        "codec_crc32c",
        "codec_deflate",
        "codec_items",
        "codec_lz4",
        "codec_packbits",
        "codec_shuffle",
        "codec_swap",
        "codec_zstd",
        "ahead",
        "vectors",
    ],
    ["codec_blosc_header", "backend", "held"],
    ["backend_private", "aligned"],
    ["backend_aio", "work"],
    ["work_private"],
    ["work_prepare", "work_parts", "backend_faulty", "backend_memory", "backend_pread", "backend_uring"],
    ["pump"],
    ["reader"],
    ["worker", "fork", "chunk"],
]
# A header that is private to a few files of one module, and may be included by those alone.
PRIVATE_HEADERS = {"codec_private": "codec", "backend_private": "backend", "work_private": "work"}

LINES_MAX = 450

PYTHON_FILES = sorted((ROOT / "src").rglob("*.py"))
C_FILES = sorted((ROOT / "csrc").glob("*.[ch]"))
SOURCES = [*PYTHON_FILES, *C_FILES]


def floor_of(floors: list[list[str]], name: str) -> int:
    found = [number for number, names in enumerate(floors) if name in names]
    assert len(found) == 1, f"{name} needs a place among the floors in this file"
    return found[0]


def imports(path: Path) -> list[tuple[int, str, str]]:
    """(level, module, name) of every import in a file, wherever it stands."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(0, alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [(node.level, node.module or "", alias.name) for alias in node.names]
    return found


def identify(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", PYTHON_FILES, ids=identify)
def test_a_module_imports_from_floors_below(path):
    package = path.parent.name
    floors = {"ringio": RINGIO_FLOORS, "ringio_zarr": RINGIO_ZARR_FLOORS}[package]
    own = floor_of(floors, path.stem)
    for level, module, name in imports(path):
        assert level <= 1, f"from {'.' * level}{module}"
        if level == 1:
            imported = module.split(".")[0] or name
            assert floor_of(floors, imported) < own, f"{path.stem} imports {imported}"


@pytest.mark.parametrize("path", PYTHON_FILES, ids=identify)
def test_packages_know_only_public_names_of_each_other(path):
    public = {*ringio.__all__, "planning", "codecs", "testing"}
    for level, module, name in imports(path):
        if level:
            continue
        if path.parent.name == "ringio":
            assert not module.startswith("ringio_zarr")
        elif module == "ringio":
            assert name in public or not name, name
        elif module.startswith("ringio."):
            assert module.split(".")[1] in ("planning", "codecs", "command_line", "testing"), module


@pytest.mark.parametrize("path", C_FILES, ids=identify)
def test_a_c_file_includes_from_floors_below(path):
    own = floor_of(C_FLOORS, path.stem)
    for included in re.findall(r'^#include "(\w+)\.h"', path.read_text(), re.MULTILINE):
        if included == path.stem or (included in PRIVATE_HEADERS and path.stem == PRIVATE_HEADERS[included]):
            continue
        assert floor_of(C_FLOORS, included) < own, f"{path.name} includes {included}.h"


def test_one_file_knows_io_uring():
    assert [path.name for path in C_FILES if "#include <liburing.h>" in path.read_text()] == ["backend_uring.c"]


def test_one_file_knows_obstore():
    found = [path.name for path in PYTHON_FILES if any(name.startswith("obstore") for _, name, _ in imports(path))]
    assert found == ["_stores.py"]


def test_the_core_knows_no_python():
    assert not [path.name for path in C_FILES if "Python.h" in path.read_text()]


@pytest.mark.parametrize(
    ("dtype", "struct"),
    [
        ("FILE", "file"),
        ("REQUEST", "request"),
        ("TASK", "task"),
        ("PROJECTION", "projection"),
        ("LAYOUT", "layout"),
        ("TARGET", "target"),
        ("CODEC", "codec"),
        ("CHAIN", "chain"),
        ("IDENTITY", "identity"),
    ],
)
def test_records_are_the_structs_of_the_core(dtype, struct):
    dtype = getattr(_records, dtype)
    c_type = ffi.typeof(f"struct ringio_{struct}")
    assert dtype.itemsize == ffi.sizeof(c_type)
    assert [name for name, _ in c_type.fields] == list(dtype.names)
    for name, field in c_type.fields:
        assert dtype.fields[name][1] == field.offset
        assert dtype.fields[name][0].itemsize == ffi.sizeof(field.type)


def test_constants_are_those_of_the_core():
    assert _records.MAX_DIMS == lib.RINGIO_MAX_DIMS
    assert _records.NO_FILE == lib.RINGIO_NO_FILE
    for name in ("NO_FILL", "MISSING", "TO_END", "SAME_SIZE"):
        assert getattr(lib, f"RINGIO_{name}") == _records.MAX_U64


def test_statistics_have_all_fields_of_the_core():
    names = [name for name, _ in ffi.typeof("struct ringio_statistics").fields]
    assert names == list(ringio.Statistics._fields)


@pytest.mark.parametrize("path", SOURCES, ids=identify)
def test_files_are_short_and_clean(path):
    text = path.read_text()
    lines = text.splitlines()
    assert len(lines) <= LINES_MAX
    assert text.endswith("\n") or not text
    for number, line in enumerate(lines, 1):
        assert len(line) <= 120, f"line {number} has {len(line)} columns"
        assert line == line.rstrip(), f"line {number} ends in blanks"
        assert "\t" not in line, f"line {number} has a tab"


@pytest.mark.parametrize("path", C_FILES, ids=identify)
def test_source_and_target_are_written_out(path):
    assert not re.findall(r"\b(?:src|dst|dest)\b", path.read_text())


def test_no_file_names_a_place_on_somebodys_machine():
    place = re.compile(r"""(?<![\w.~)}])/(?:home|root|work|Users|opt)/\w""")
    folders = ("src", "csrc", "tests", "bench", "docs", "examples")
    texts = [
        path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".c", ".h", ".md")
    ]
    assert [str(path) for path in texts if place.search(path.read_text())] == []
