"""Every option that people can set is on the page about it, with the default that it has."""

from __future__ import annotations

import argparse
import inspect
import re
from pathlib import Path

import pytest

import ringio
from ringio import _cli, _costs, _limits, _options, _store_options

DOCS = Path(__file__).parent.parent / "docs"
READER = inspect.signature(ringio.Reader.__init__).parameters
# Of the one that the machine has no say in.
DEFAULTS = {
    "backend": ['"auto"'],
    "queue_depth": [_options._QUEUE_DEPTH],
    "max_gap_bytes": [each.max_gap_bytes for each in (_costs.LOCAL, _options._DIRECT_COSTS)],
    "max_request_bytes": [each.max_request_bytes for each in (_costs.LOCAL, _options._DIRECT_COSTS)],
    "direct": ["`False`"],
    "open_files": [_limits._OPEN_FILES_MAX],
}
CALLS = ["read_ranges", "read_ranges_async", "iter_ranges", "iter_ranges_async"]


def page(name: str) -> str:
    return (DOCS / name).read_text()


def section(name: str) -> str:
    """What the page on tuning says about an option of Reader."""
    found = re.search(rf"^## [^\n]*`{name}`.*?(?=^## |\Z)", page("tuning.md"), re.M | re.S)
    assert found, f"docs/tuning.md has no heading for {name}"
    return found[0]


def as_text(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


@pytest.mark.parametrize("name", [name for name in READER if name != "self"])
def test_options_of_readers(name):
    assert "Default" in section(name)
    for value in DEFAULTS.get(name, []):
        assert as_text(value) in section(name)
    assert f"| `{name}` |" in page("byte-ranges.md")


def test_signature():
    """The defaults that are in the signature are those of the table above."""
    assert [each.default for name, each in READER.items() if name in ("backend", "direct")] == ["auto", False]
    assert {each.default for name, each in READER.items() if name not in ("self", "backend", "direct")} == {None}


@pytest.mark.parametrize("call", CALLS)
def test_options_of_calls(call):
    said = "".join(page(name) for name in ("byte-ranges.md", "async.md", "cloud.md"))
    options = set(inspect.signature(getattr(ringio, call)).parameters) - {"ranges", "reader"}
    assert options
    for name in options:
        assert f"`{name}=" in said


@pytest.mark.parametrize("name", _store_options._OURS)
def test_options_of_stores(name):
    row = re.search(rf"^\| [^|\n]*`{name}`.*$", page("cloud.md"), re.M)
    assert row
    constant = name.upper()
    if hasattr(_store_options, constant):
        assert f"| {getattr(_store_options, constant):g}" in row[0]


def test_commands():
    """Each command and each of its options is on the page; what it says of the exit status is what --help says."""
    text = page("command-line.md")
    (commands,) = [each for each in _cli._parser()._actions if isinstance(each, argparse._SubParsersAction)]
    assert set(commands.choices) == {"info", "read", "bench", "ls", "head"}
    for name, parser in commands.choices.items():
        assert re.search(rf"^\| `ringio {name} ", text, re.M)
        for action in parser._actions:
            if action.option_strings and action.dest != "help":
                assert any(f"`{option}" in text for option in action.option_strings), (name, action.option_strings)
