"""Goal: every example in a docstring of the installed packages runs, and gives what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import ringio
import ringio_zarr

MODULES = [
    module.name
    for package in (ringio, ringio_zarr)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if module.name != "ringio._core"
]


@pytest.mark.parametrize("name", ["ringio", "ringio_zarr", *MODULES])
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0, f"{result.failed} of {result.attempted} examples failed; their output is above"


def test_there_are_examples():
    """The modules are found: an empty list would pass the test above."""
    assert "ringio.codecs" in MODULES
    assert "ringio_zarr._grid" in MODULES
