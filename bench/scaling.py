"""How throughput grows with cores: a few workloads of ``bench/run.py`` again, on the first 1, 2, 4, ... cores.

    python bench/scaling.py                     # up to all cores; then bench/report.py writes the curve, too
    python bench/scaling.py --cores 1 2 --only crops-lz4

The processes of all contenders are bound to the cores, and choose their number of threads by themselves.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import limits
from _common import Timing, machine, machine_line, markdown_table, matches, run_contest, say, timing_json, write_json
from _contests import make_contest
from _workloads import TENSORSTORE, all_workloads, quick

WORKLOADS = ("crops-lz4", "crops-zstd", "crops-raw", "crops-2k")
CONTENDERS = (limits.DECODER, limits.MEMORY, "ringio", "ringio, `out=`", *TENSORSTORE, "zarrista, in threads")


def powers_of_two(limit: int) -> list[int]:
    """1, 2, 4, ... and the limit itself.

    >>> powers_of_two(6)
    [1, 2, 4, 6]
    """
    return [1 << power for power in range(limit.bit_length()) if 1 << power < limit] + [limit]


def section(results: Sequence[dict[str, Any]], facts: dict[str, Any]) -> str:
    """The Markdown section: a table for each workload, one column for each number of cores."""
    lines = ["## Cores", "", f"{machine_line(facts)}. The processes are bound to the first so many cores.", ""]
    for title in dict.fromkeys(result["title"] for result in results):
        mine = [result for result in results if result["title"] == title]
        rates: dict[str, list[str]] = {}
        for result in mine:
            for fields in result["timings"]:
                timing = Timing(**fields)
                rate = f"{result['unit_count'] / timing.median_s:,.0f}" if timing.wall_s else ""
                rates.setdefault(timing.contender, []).append(rate)
        rows = [[name, *cells] for name, cells in rates.items() if any(cells)]
        header = [f"{mine[0]['unit']}/s", *(f"{result['cores']} core{'s'[: result['cores'] > 1]}" for result in mine)]
        lines += [f"### {title}, by cores", "", markdown_table(header, rows), ""]
    return "\n".join(lines)


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, default=Path("build/bench"), help="where the data is kept")
    parser.add_argument("--cores", type=int, nargs="+", help="default 1, 2, 4, ... up to all")
    parser.add_argument("--only", action="append", metavar="TEXT", help="workloads whose names have it; again for more")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="little data: a smoke test, not a measurement")
    options = parser.parse_args()
    available = sorted(os.sched_getaffinity(0))
    facts = machine()
    results: list[dict[str, Any]] = []
    for workload in all_workloads(256):
        if workload.name not in WORKLOADS or not matches(workload.name, options.only):
            continue
        contest = make_contest(quick(workload) if options.quick else workload, options.dir)
        names = [name for name in contest.contenders if name in CONTENDERS]
        for cores in options.cores or powers_of_two(len(available)):
            say(f"{contest.name} on {cores} cores")
            os.sched_setaffinity(0, available[:cores])
            timings = run_contest(contest.module, names, contest.task, options.rounds, patience_s=5)
            os.sched_setaffinity(0, available)
            fields = {"title": contest.title, "unit": contest.unit, "unit_count": contest.unit_count, "cores": cores}
            results.append(fields | {"timings": [timing_json(timing) for timing in timings]})
            write_json(options.dir / "scaling.json", facts, results)
    print(section(results, facts))


def read_section(path: Path) -> str:
    """The section of what was measured into the file ``path``."""
    document = json.loads(path.read_text())
    return section(document["results"], document["machine"])


if __name__ == "__main__":
    main()
