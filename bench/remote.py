"""Ranges of remote objects: ringio and its peers against nginx on this machine, and against a server 20 ms away.

    python bench/remote.py                              # all four workloads, a quarter of an hour on 2 cores
    python bench/remote.py --only 16k --contender ringio --contender obstore
    python bench/remote.py --quick                      # few ranges, two rounds: does everything run?

Both servers are processes of this machine: what they need, the contenders cannot have. The first row of each table
shows what a server gives to a client that does nothing with it.  Every contender has its results checked before it is
timed; all take turns.  The tables go to stdout, every round of everybody to ``--json``; a full run writes
docs/benchmarks-remote.md.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from _common import (
    GIB,
    KIB,
    MIB,
    machine,
    machine_line,
    matches,
    run_contest,
    say,
    timing_json,
    write_json,
)
from _remote_contenders import CONTENDERS, IN_FLIGHT, RemoteTask
from remote_report import table, write_page
from servers import LatencyServer, NginxServer, Rule, UnavailableServerError
from servers.latency import pattern

ROUNDS, QUICK_ROUNDS = 5, 2
PATIENCE_S = 60.0
BUCKET = "bucket"
# So sparse that whoever joins near ranges, as obstore does within 1 MiB, reads few bytes for nothing.
OBJECT_NBYTES = 64 * GIB
DELAY_S, JITTER_S = 0.02, 0.002


@dataclass(frozen=True)
class Workload:
    """So many ranges of one length from one server."""

    server: str
    range_count: int
    length: int

    @property
    def name(self) -> str:
        return f"{self.server}-{self.length // KIB}k" if self.length < MIB else f"{self.server}-{self.length // MIB}m"

    @property
    def title(self) -> str:
        size = f"{self.length // KIB} KiB" if self.length < MIB else f"{self.length // MIB} MiB"
        where = "nginx" if self.server == "nginx" else f"a server {DELAY_S * 1e3:.0f} ms away"
        return f"{self.range_count:,} ranges of {size} from {where}"

    def offsets(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Where the ranges are: anywhere, in no order, not over each other."""
        generator = np.random.default_rng(self.length)
        slots = generator.choice(OBJECT_NBYTES // (2 * self.length), self.range_count, replace=False)
        return slots * (2 * self.length) + generator.integers(0, self.length, self.range_count)


WORKLOADS = [
    Workload(server, range_count, length)
    for server in ("nginx", "latency")
    for range_count, length in ((10_000, 16 * KIB), (1_000, MIB))
]


def quick(workload: Workload) -> Workload:
    return replace(workload, range_count=workload.range_count // 20)


def write_sparse(path: Path, workload: Workload) -> None:
    """Writes an object that has its bytes only where they will be asked for; what is there already is kept."""
    if path.exists() and path.stat().st_size == OBJECT_NBYTES:
        return
    say(f"  writing {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    with temporary.open("wb") as file:
        for offset in workload.offsets().tolist():
            os.pwrite(file.fileno(), pattern(offset, workload.length), offset)
        os.truncate(file.fileno(), OBJECT_NBYTES)
    temporary.replace(path)


@contextmanager
def serve(workload: Workload, folder: Path) -> Iterator[RemoteTask]:
    """Starts the workload's server; gives the task."""
    key = f"{workload.range_count}-of-{workload.length}"
    with ExitStack() as stack:
        if workload.server == "nginx":
            # As many workers as there are cores is what nginx's own documentation starts from.
            nginx = NginxServer(folder / "nginx", workers=os.cpu_count() or 1, access_log=False)
            write_sparse(nginx.root / BUCKET / key, workload)
            stack.enter_context(nginx)
            base_url, s3_endpoint = nginx.base_url, nginx.s3_endpoint
        else:
            latency = stack.enter_context(LatencyServer(folder / "latency"))
            latency.put_pattern(f"{BUCKET}/{key}", OBJECT_NBYTES)
            latency.rules(Rule(delay_s=DELAY_S, jitter_s=JITTER_S))
            base_url = s3_endpoint = latency.base_url
        yield RemoteTask(base_url, s3_endpoint, BUCKET, key, workload.offsets(), workload.length)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, default=Path("build/bench/remote"), help="where the data is kept")
    parser.add_argument("--only", action="append", metavar="TEXT", help="workloads whose names have it; again for more")
    parser.add_argument("--contender", action="append", metavar="TEXT", help="contenders whose names have it")
    parser.add_argument("--rounds", type=int, help=f"at most, of each contender; default {ROUNDS}")
    parser.add_argument("--patience", type=float, default=PATIENCE_S, help="seconds for the rounds of one contender")
    parser.add_argument("--json", type=Path, help="where results go; default results.json in --dir")
    parser.add_argument("--quick", action="store_true", help="few ranges, two rounds: a smoke test, not a measurement")
    parser.add_argument("--list", action="store_true", help="say which workloads there are")
    options = parser.parse_args()
    options.dir = options.dir.resolve()  # servers run in folders of their own
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    options.json = options.json or options.dir / ("quick.json" if options.quick else "results.json")
    return options


def main() -> None:
    """Runs what the command line asks for."""
    options = parse_options()
    workloads = [workload for workload in WORKLOADS if matches(workload.name, options.only)]
    if options.list:
        print(*(f"{workload.name:14} {workload.title}" for workload in workloads), sep="\n")
        return
    facts, results = machine(), []
    print(f"{machine_line(facts)}; {IN_FLIGHT} requests in flight for whoever lets us choose", end="\n\n", flush=True)
    options.dir.mkdir(parents=True, exist_ok=True)
    names = [name for name in CONTENDERS if matches(name, options.contender)]
    for workload in workloads:
        workload = quick(workload) if options.quick else workload
        say(workload.name)
        try:
            with serve(workload, options.dir) as task:
                timings = run_contest("_remote_contenders", names, task, options.rounds, patience_s=options.patience)
        except UnavailableServerError as error:
            print(f"{workload.name} is left out: {error}", end="\n\n")
            continue
        results.append({"name": workload.name, "title": workload.title, "range_count": workload.range_count})
        results[-1] |= {"length": workload.length, "timings": [timing_json(timing) for timing in timings]}
        write_json(options.json, facts, results)
        print(table(workload.title, workload.range_count, workload.length, timings), end="\n\n", flush=True)
    if len(results) == len(WORKLOADS) and not options.quick and not options.contender:
        write_page(Path("docs/benchmarks-remote.md"), facts, results)


if __name__ == "__main__":
    main()
