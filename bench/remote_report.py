"""Turns the results of ``bench/remote.py`` into tables, and into the page docs/benchmarks-remote.md.

python bench/remote_report.py build/bench/remote/results.json docs/benchmarks-remote.md
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from _common import MIB, Timing, machine_line, markdown_table, ratio
from _remote_contenders import IN_FLIGHT, LIMIT, THREADS
from report import fastest, rate_text, seconds_text

HEADER = f"""\
# Benchmarks of remote reads

Written by `make bench-remote` (`bench/remote_report.py`): do not edit. {{machine}}.

Servers run on the same machine, so what they need the contenders cannot have, and nothing is limited by a network: what
counts is the processor time of a request, and whether enough of them are in flight. "20 ms away" is a server of our own
that waits 20 ms ± 2 ms before each answer. Each contender runs in a process of its own, has its results checked, and
then takes turns with the others; times are medians over the rounds, ratios medians of the quotients within a round. CPU
is that of the contender's process, all threads. Whoever lets us choose has {IN_FLIGHT} requests in flight. The *limit*
asks from {IN_FLIGHT} bare sockets and does nothing with what comes.

obstore's `get_ranges` is called as its documentation shows, once with all ranges; it keeps ten requests in flight. All
peers give each range in memory of its own. ringio does so from 256 KiB on, and puts shorter ranges into one block; with
`out=` all of them are copied into the caller's array.
"""


def own_of(timings: Sequence[Timing]) -> Timing | None:
    """The fastest of ringio's."""
    return fastest([timing for timing in timings if timing.wall_s and timing.contender.startswith("ringio")])


def table(title: str, count: int, length: int, timings: Sequence[Timing]) -> str:
    """One row for each contender, the fastest first; the limit above all."""
    took_part = [timing for timing in timings if timing.wall_s]
    own = own_of(timings)
    rows = [
        [
            timing.contender,
            rate_text(count / timing.median_s),
            f"{count * length / timing.median_s / MIB:,.0f}",
            seconds_text(timing.median_s),
            seconds_text(timing.median_cpu_s / count),
            "" if own is None or timing is own else f"{ratio(timing, own):.2f}×",
            str(len(timing.wall_s)),
        ]
        for timing in sorted(took_part, key=lambda timing: (timing.contender != LIMIT, timing.median_s))
    ]
    faster = f"{own.contender} is faster by" if own is not None else ""
    lines = [markdown_table(["", "ranges/s", "MiB/s", "wall", "CPU per range", faster, "rounds"], rows)]
    absent = [timing for timing in timings if timing.unavailable is not None]
    lines += [f"\nNot taking part: {timing.contender}: {timing.unavailable}" for timing in absent]
    return "\n".join([f"## {title}", "", *lines])


def summary(results: Sequence[dict[str, Any]]) -> str:
    """ringio's fastest against what people use, and against the fastest of all."""
    rows = []
    for result in results:
        timings = {timing.contender: timing for timing in map(_timing, result["timings"]) if timing.wall_s}
        own = own_of(list(timings.values()))
        if own is None:
            continue
        peers = [each for name, each in timings.items() if name != LIMIT and not name.startswith("ringio")]
        best = fastest(peers)
        against = [timings.get("obstore `get_ranges`"), timings.get(f"obstore `get_range` in {THREADS} threads"), best]
        rows.append(
            [
                result["title"],
                own.contender,
                *["" if other is None else f"{ratio(other, own):.2f}×" for other in against],
                "" if best is None else best.contender,
                "" if best is None else f"{own.median_cpu_s / best.median_cpu_s:.2f}",
            ]
        )
    header = ["", "fastest of ringio", "obstore `get_ranges`", f"obstore in {THREADS} threads", "best peer", "which is"]
    return markdown_table([*header, "CPU, share of the best peer's"], rows)


def write_page(path: Path, facts: dict[str, Any], results: Sequence[dict[str, Any]]) -> None:
    """Write the page."""
    tables = [
        table(result["title"], result["range_count"], result["length"], list(map(_timing, result["timings"])))
        for result in results
    ]
    machine = machine_line(facts)
    parts = [HEADER.format(machine=machine), "## ringio is faster by", summary(results), *tables]
    path.write_text("\n\n".join(part.strip("\n") for part in parts) + "\n")


def _timing(fields: dict[str, Any]) -> Timing:
    return Timing(**fields)


if __name__ == "__main__":
    found = json.loads(Path(sys.argv[1]).read_text())
    write_page(Path(sys.argv[2]), found["machine"], found["results"])
