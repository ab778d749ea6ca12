"""Trees of groups as text, as zarr-python draws them."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from ._array import Array
from ._errors import MetadataError, UnsupportedError

_STYLE: Final = (
    "white-space:pre;overflow-x:auto;line-height:normal;font-family:Menlo,'DejaVu Sans Mono',consolas,"
    "'Courier New',monospace"
)


class Tree:
    """A tree as text, which notebooks and consoles show as it is.

    Args:
        lines: of each what comes before a name, the name, and what comes after it.
        note: stands above them; empty: nothing does.
        plain: names are not bold anywhere.
    """

    __slots__ = ("_lines", "_note", "_plain")

    def __init__(self, lines: Sequence[tuple[str, str, str]], note: str = "", *, plain: bool = False) -> None:
        self._lines = lines
        self._note = note
        self._plain = plain

    def __str__(self) -> str:
        bold, end = ("", "") if self._plain or not sys.stdout.isatty() else ("\x1b[1m", "\x1b[0m")
        return self._note + "".join([f"{before}{bold}{name}{end}{after}\n" for before, name, after in self._lines])

    __repr__ = __str__

    def _repr_mimebundle_(self, *_: object, **__: object) -> dict[str, str]:
        """What Jupyter shows."""
        from html import escape

        bold, end = ("", "") if self._plain else ("<b>", "</b>")
        lines = [f"{before}{bold}{escape(name)}{end}{escape(after)}\n" for before, name, after in self._lines]
        return {
            "text/plain": str(self),
            "text/html": f'<pre style="{_STYLE}">{self._note}{"".join(lines)}</pre>\n',
        }


def draw(top: Any, levels: int | None, max_nodes: int | None, *, plain: bool = False) -> Tree:
    """The tree of a group.

    Args:
        top: the group.
        levels: how many levels of members; None for all.
        max_nodes: how many members are looked at, level by level; None for all.
        plain: names are not bold anywhere.
    """
    members, is_cut = _members(top, levels, max_nodes)
    note = f"Truncated at max_nodes={max_nodes}, some nodes and their children may be missing\n" if is_cut else ""
    lines = [("", top.name, "")]
    stack = [("", deque(members.get("", ())))]  # no recursion: groups may be nested deeper than Python calls may be
    while stack:
        indent, rest = stack[-1]
        if not rest:
            stack.pop()
            continue
        path, name, text = rest.popleft()
        lines.append((indent + ("├── " if rest else "└── "), name, text))
        if path in members:
            stack.append((indent + ("│   " if rest else "    "), deque(members[path])))
    return Tree(lines, note, plain=plain)


def _members(top: Any, levels: int | None, max_nodes: int | None) -> tuple[dict[str, list[tuple[str, str, str]]], bool]:
    """By the path of each group path, name and text of its members; and whether there are more."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    count = 0
    groups: deque[tuple[str, Any, Any, int]] = deque([("", top, None, 0)])
    while groups:
        path, group, above, depth = groups.popleft()
        if levels is not None and depth >= levels:
            break  # and so are all that come after it
        place = (
            group.store.real_path(group.path) if above is None else group.store.real_path_below(above[0], group.path)
        )
        way = place, above
        for name, member in group._open_all():
            if count == max_nodes:
                return found, True
            count += 1
            below = f"{path}/{name}"
            found.setdefault(path, []).append((below, name, _text(member)))
            if not isinstance(member, Array | MetadataError) and not _is_on(way, member):
                groups.append((below, member, way, depth + 1))
    return found, False


def _is_on(way: Any, member: Any) -> bool:
    """Whether a link leads back to where we come from."""
    place = member.store.real_path_below(way[0], member.path)
    while way is not None:
        if way[0] == place:
            return True
        way = way[1]
    return False


def _text(member: Any) -> str:
    if isinstance(member, MetadataError):
        return f" ({str(member).rpartition(': ')[2] if isinstance(member, UnsupportedError) else 'cannot be read'})"
    return f" {member.shape} {member.dtype}" if isinstance(member, Array) else ""
