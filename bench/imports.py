"""How long ``import`` takes: each library in interpreters of its own, which take turns.

    python bench/imports.py                     # 15 rounds; then bench/report.py writes the table, too
    python bench/imports.py --rounds 5

Everybody imports numpy first, whose time is the floor: what a library adds to it is the median of the differences
within a round. Compiled bytecode is there (the first round is not counted), files are in the page cache.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from _common import markdown_table, say

FLOOR = "numpy"
LIBRARIES = (FLOOR, "ringio", "ringio_zarr", "zarr", "tensorstore", "zarrista")
ROUNDS = 15

_PROGRAM = """\
import time
started_s = time.perf_counter()
import numpy, {library}
print(time.perf_counter() - started_s)
"""


def import_s(library: str) -> float | None:
    """Seconds that importing numpy and a library takes in a new interpreter; None where it cannot be imported."""
    # -I: nothing of the folder that we are in.
    command = [sys.executable, "-I", "-c", _PROGRAM.format(library=library)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode == 0:
        return float(result.stdout)
    if "ModuleNotFoundError" not in result.stderr:
        raise SystemExit(result.stderr)
    return None


def measure(rounds: int) -> dict[str, list[float]]:
    """Seconds of each library in each round."""
    there = [library for library in LIBRARIES if import_s(library) is not None]
    seconds: dict[str, list[float]] = {library: [] for library in there}
    for index in range(rounds):
        say(f"  imports, round {index + 1} of {rounds}")
        first = index % len(there)
        for library in there[first:] + there[:first]:
            seconds[library].append(import_s(library) or 0.0)
    return seconds


def table(seconds: Mapping[str, Sequence[float]]) -> str:
    """One row for each library."""
    floor = seconds[FLOOR]
    rows = []
    for library, taken in seconds.items():
        added = statistics.median(one - other for one, other in zip(taken, floor, strict=True))
        rows.append([f"`{library}`", f"{statistics.median(taken) * 1e3:.0f} ms", f"{added * 1e3:.1f} ms"])
    return markdown_table(["", f"with {FLOOR}", "above it"], rows)


def section(seconds: dict[str, Sequence[float]]) -> str:
    """The Markdown section of the benchmarks page."""
    rounds = len(seconds[FLOOR])
    words = f"In a new interpreter, files in the page cache; medians of {rounds} rounds."
    return "\n".join(["## Imports", "", words, "", table(seconds), ""])


def read_section(source: Path) -> str:
    """The same for what :func:`write` has written."""
    return section(json.loads(source.read_text()))


def write(target: Path, rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Measures, and writes every round of it."""
    seconds = measure(rounds)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(seconds, indent=1) + "\n")
    return seconds


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("build/bench/imports.json"), help="where results go")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    print(table(write(options.json, options.rounds)))


if __name__ == "__main__":
    main()
