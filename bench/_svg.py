"""Horizontal bars as SVG, made by hand: a benchmark's plot needs no plotting library."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

WIDTH, LEFT, RIGHT, TOP, ROW, BAR = 860, 320, 90, 44, 26, 18  # pixels
OWN_COLOUR, PEER_COLOUR, LIMIT_COLOUR = "#1f77b4", "#b8bec6", "#d62728"
# Readable on light and on dark pages.
STYLE = (
    "text{font:13px sans-serif;fill:#24292f}.title{font-weight:bold}.background{fill:#fff}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.background{fill:#0d1117}}"
)


def bars(title: str, values: Mapping[str, float], own: str, limit: tuple[str, float] | None) -> str:
    """A bar for each value, the longest first; names that start with ``own`` stand out; the limit is a line."""
    ordered = sorted(values.items(), key=lambda item: -item[1])
    top = max([value for _, value in ordered] + ([limit[1]] if limit else []), default=1.0)
    scale = (WIDTH - LEFT - RIGHT) / top
    bottom = TOP + ROW * len(ordered)
    height = bottom + (30 if limit else 12)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">',
        f"<style>{STYLE}</style>",
        f'<rect class="background" width="{WIDTH}" height="{height}"/>',
        f'<text class="title" x="12" y="24">{escape(title)}</text>',
    ]
    for row, (name, value) in enumerate(ordered):
        y = TOP + ROW * row
        colour = OWN_COLOUR if name.startswith(own) else PEER_COLOUR
        middle = y + BAR - 4
        parts += [
            f'<text x="{LEFT - 8}" y="{middle}" text-anchor="end">{escape(name.replace("`", ""))}</text>',
            f'<rect x="{LEFT}" y="{y}" width="{max(value * scale, 1):.1f}" height="{BAR}" fill="{colour}"/>',
            f'<text x="{LEFT + value * scale + 6:.1f}" y="{middle}">{short(value)}</text>',
        ]
    if limit is not None:
        x = LEFT + limit[1] * scale
        parts += [
            f'<line x1="{x:.1f}" y1="{TOP - 8}" x2="{x:.1f}" y2="{bottom}" stroke="{LIMIT_COLOUR}" stroke-width="2"/>',
            f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="end">{escape(limit[0])}: {short(limit[1])}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2f}"
