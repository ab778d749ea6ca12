"""Goal: the page on codecs lists those that there are. ``python tests/test_codec_docs.py`` brings it up to date."""

from __future__ import annotations

import re
from pathlib import Path

from numcodecs.registry import codec_registry

from ringio import codecs

PAGE = Path(__file__).parent.parent / "docs/codecs.md"
NOT_IN_NUMCODECS = {"zfpy", "pcodec"}  # where their packages are not installed


def native_table():
    """What the docstring of ringio.codecs says of each codec."""
    rows = re.findall(r"^``([\w-]+)`` +(.+)$", codecs.__doc__, re.MULTILINE)
    assert {name for name, _ in rows} == set(codecs.NAMES)
    lines = ["| codec | |", "|---|---|"]
    return "\n".join([*lines, *[f"| `{name}` | {text.replace('``', '`')} |" for name, text in rows]])


def python_list():
    names = sorted((set(codec_registry) | NOT_IN_NUMCODECS) - set(codecs.NAMES))
    return ", ".join(f"`{name}`" for name in names) + "."


def up_to_date(text):
    for mark, made in (("test_codec_docs.py", native_table()), ("test_codec_docs.py: python", python_list())):
        start = f"<!-- made by tests/{mark} -->\n"
        before, rest = text.split(start)
        text = f"{before}{start}\n{made}\n\n<!-- end -->{rest.partition('<!-- end -->')[2]}"
    return text


def test_the_page_is_up_to_date():
    assert PAGE.read_text() == up_to_date(PAGE.read_text())


if __name__ == "__main__":
    PAGE.write_text(up_to_date(PAGE.read_text()))
