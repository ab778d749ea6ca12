"""All benchmarks: every workload, ringio against its peers and against the machine's limits.

    python bench/run.py                         # everything, below 20 minutes on 2 cores; writes docs/benchmarks.md
    python bench/run.py --only crops-lz4 --only points      # workloads whose names have one of these texts
    python bench/run.py --quick                 # little data: does everything run?
    python bench/run.py --list

Data is written on first use and kept in ``--dir``.  Every contender has its results checked before it is timed; the
contenders of a workload take turns.  Every round of everybody goes to ``--json``, which ``bench/report.py`` turns into
``docs/benchmarks.md``.
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import imports
import limits
import report
from _common import ContestError, machine, machine_line, matches, run_contest, say, timing_json, write_json
from _contests import Contest, Disk, make_contest
from _disk import fio_bytes_per_s, make_cold
from _workloads import all_workloads, quick

ROUNDS, COLD_ROUNDS, QUICK_ROUNDS = 9, 5, 2
PATIENCE_S = 1.25
COLD_PATIENCE = 2  # times as much: the disk varies more than memory does
SUITE_PATIENCE = 3  # and so do whole processes, which take a second
FIO_SECONDS = 2.0


def measure_disk(disk: Disk, seconds: float) -> dict[str, float]:
    """The disk limits: seconds that fio would need for what the contest reads, direct and through the page cache."""
    floors: dict[str, float] = {}
    for name, direct in (("disk limit, O_DIRECT", True), ("disk limit, buffered", False)):
        rate = fio_bytes_per_s(disk.paths, disk.request_nbytes, direct=direct, seconds=seconds)
        if rate is not None:
            floors[name] = disk.total_nbytes / rate
    return floors


def drop_files(paths: Sequence[str], contender: str) -> None:
    """Makes files cold for a contender; a limit that takes part reads none."""
    if contender not in limits.NAMES:
        make_cold(paths)


def run_workload(contest: Contest, options: argparse.Namespace) -> dict[str, Any]:
    """Runs one contest and gives all that was measured."""
    names = [name for name in contest.contenders if name in limits.NAMES or matches(name, options.contender)]
    before_each = functools.partial(drop_files, contest.disk.paths) if contest.cold else None
    rounds = min(options.rounds, COLD_ROUNDS) if contest.cold else options.rounds
    is_suite = contest.name.startswith("suite-")
    patience_s = options.patience * (COLD_PATIENCE if contest.cold else SUITE_PATIENCE if is_suite else 1)
    timings = run_contest(contest.module, names, contest.task, rounds, before_each, patience_s)
    disk: dict[str, float] = {}
    if contest.cold and not options.no_fio:
        disk = measure_disk(contest.disk, options.fio_seconds)
    return {
        "name": contest.name,
        "title": contest.title,
        "description": contest.description,
        "unit": contest.unit,
        "unit_count": contest.unit_count,
        "chunk_count": contest.chunk_count,
        "result_nbytes": contest.result_nbytes,
        "cold": contest.cold,
        "request_nbytes": contest.disk.request_nbytes,
        "disk_limits_s": disk,
        "timings": [timing_json(timing) for timing in timings],
    }


def warn_of_editable_install() -> None:
    """An editable install looks for changed sources at each import: whole processes then look slow."""
    url = json.loads(importlib.metadata.distribution("ringio").read_text("direct_url.json") or "{}")
    if url.get("dir_info", {}).get("editable"):
        say("ringio is an editable install: its import, and so zarr_benchmarks, is slower than what users have")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, default=Path("build/bench"), help="where the data is kept")
    parser.add_argument("--only", action="append", metavar="TEXT", help="workloads whose names have it; again for more")
    parser.add_argument(
        "--contender", action="append", metavar="TEXT", help="contenders whose names have it, and limits"
    )
    parser.add_argument("--rounds", type=int, help=f"at most, of each contender; default {ROUNDS}, cold {COLD_ROUNDS}")
    parser.add_argument("--patience", type=float, default=PATIENCE_S, help="seconds for the rounds of one contender")
    parser.add_argument("--suite-side", type=int, default=512, help="of the cubes of zarr_benchmarks, which has 1024")
    parser.add_argument("--no-fio", action="store_true", help="do without the disk limit")
    parser.add_argument("--json", type=Path, help="where results go; default results.json in --dir")
    parser.add_argument("--report", type=Path, metavar="FILE.md", help="default docs/benchmarks.md after a full run")
    parser.add_argument("--quick", action="store_true", help="little data, two rounds: a smoke test, not a measurement")
    parser.add_argument("--list", action="store_true", help="say which workloads there are")
    options = parser.parse_args()
    options.fio_seconds = 0.5 if options.quick else FIO_SECONDS
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    options.json = options.json or options.dir / ("quick.json" if options.quick else "results.json")
    if options.rounds < 1 or options.suite_side < 256 or options.suite_side % 256:
        parser.error("--rounds must be at least 1, --suite-side a multiple of 256")
    return options


def main() -> None:
    """Runs what the command line asks for."""
    options = parse_options()
    workloads = [workload for workload in all_workloads(options.suite_side) if matches(workload.name, options.only)]
    if options.list:
        print(*(f"{workload.name:22} {workload.title}" for workload in workloads), sep="\n")
        return
    facts = machine()
    warn_of_editable_install()
    print(machine_line(facts), end="\n\n", flush=True)
    results: list[dict[str, Any]] = []
    failed: list[str] = []
    started_s = time.monotonic()
    for workload in workloads:
        say(f"{workload.name}, after {time.monotonic() - started_s:.0f} s")
        contest = make_contest(quick(workload) if options.quick else workload, options.dir)
        try:
            results.append(run_workload(contest, options))
        except ContestError as error:
            say(f"{workload.name} has no results: {error}")
            failed.append(workload.name)
            continue
        write_json(options.json, facts, results)
        print(report.text_section(results[-1]), end="\n\n", flush=True)
    full = not (options.quick or options.only or options.contender)
    if full:
        imports.write(options.json.with_name("imports.json"))
    target = options.report or (Path("docs/benchmarks.md") if full else None)
    if target is not None:
        report.write_report(options.json, target)
    say(f"done after {time.monotonic() - started_s:.0f} s")
    if failed:
        raise SystemExit(f"no results of {', '.join(failed)}: see above")


if __name__ == "__main__":
    main()
