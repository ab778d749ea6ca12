"""Goal: every example in a docstring of the installed packages, and in a page of docs/, runs and gives what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import ringio
import ringio_zarr

MODULES = [
    module.name
    for package in (ringio, ringio_zarr)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if module.name != "ringio._core"
]
PAGES = sorted(
    path for path in (Path(__file__).parent.parent / "docs").rglob("*.md") if re.search("^>>> ", path.read_text(), re.M)
)


@pytest.mark.parametrize("name", ["ringio", "ringio_zarr", *MODULES])
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0, f"{result.failed} of {result.attempted} examples failed; their output is above"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_examples_of_pages(path, tmp_path, monkeypatch):
    """All examples of a page are one session, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    # A fence is no output: without them each block ends with an empty line.
    text = re.sub("^```.*$", "", path.read_text(), flags=re.M)
    test = doctest.DocTestParser().get_doctest(text, {}, path.name, str(path), 0)
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test)
    assert result.failed == 0, f"{result.failed} of {result.attempted} examples failed; their output is above"


def test_there_are_examples():
    """The modules are found: an empty list would pass the test above."""
    assert "ringio.codecs" in MODULES
    assert "ringio_zarr._grid" in MODULES
    assert {
        "async.md",
        "byte-ranges.md",
        "cloud.md",
        "errors.md",
        "faces.md",
        "fork-and-threads.md",
        "from-zarr-python.md",
        "other-formats.md",
        "tracing.md",
        "tuning.md",
    } <= {p.name for p in PAGES}
