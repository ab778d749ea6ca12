"""What the benchmarks share: contenders in processes of their own, interleaved rounds, medians, tables.

Every contender lives in its own process for the whole contest, so thread pools, codec settings, allocators and peak
memory of one do not touch another; while one is timed the others sleep on a pipe.  Each first has its output checked,
then is timed once per round, the order rotating from round to round, so that a slow minute of the machine hits all.
"""

from __future__ import annotations

import gc
import importlib
import importlib.metadata
import json
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

PACKAGES = (
    "ringio",
    "numpy",
    "zarr",
    "tensorstore",
    "zarrs",
    "zarrista",
    "obstore",
    "fsspec",
    "s3fs",
    "aiohttp",
    "numcodecs",
)
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


class UnavailableError(Exception):
    """This contender cannot take part here; the message says why."""


class ContestError(Exception):
    """A contender's process has ended before it was told to: the contest has no results."""


@dataclass
class Entry:
    """A contender that is ready to run."""

    run: Callable[[], object]  # what is timed
    check: Callable[[], None]  # the same work, every result compared with the truth; raises AssertionError
    peak_rss_bytes: Callable[[], int | None] | None = None  # of the child processes that do the work, if any do


class EntryFactory(Protocol):
    """Makes a contender in its own process."""

    def __call__(self, contender: str, task: Any, /) -> Entry: ...


@dataclass
class Timing:
    """What a contender needed, one item per round; a slow one takes part in the first rounds only."""

    contender: str
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    peak_rss_bytes: int | None = None
    unavailable: str | None = None

    @property
    def median_s(self) -> float:
        return statistics.median(self.wall_s)

    @property
    def median_cpu_s(self) -> float:
        return statistics.median(self.cpu_s)


def peak_rss_bytes() -> int | None:
    """This process's peak resident memory, in bytes; not ``ru_maxrss``, which a child inherits from its parent."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * KIB
    return None


def reset_peak_rss() -> None:
    """Forgets the peak so far: the truth that the check looked at is not the contender's memory."""
    gc.collect()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError as error:
        print(f"peak memory includes the check: {error}", file=sys.stderr)


def serve(connection: Connection, module: str, contender: str, task: Any) -> None:
    """Runs in the contender's process: makes the entry, checks it, then times it whenever it is told to."""
    try:
        factory: EntryFactory = importlib.import_module(module).entry
        entry = factory(contender, task)
        entry.check()
    except UnavailableError as error:
        connection.send(("unavailable", str(error)))
        return
    except Exception as error:
        if isinstance(error, AssertionError) or contender.startswith("ringio"):
            raise  # wrong results, or ours to mend
        words = (str(error).splitlines() or [""])[0].replace(f"{Path.cwd()}/", "")
        connection.send(("unavailable", f"{type(error).__name__}: {words}"))
        return
    reset_peak_rss()
    connection.send(("ready", None))
    while connection.recv() == "run":
        connection.send(run_timed(entry))
    peak = peak_rss_bytes() if entry.peak_rss_bytes is None else entry.peak_rss_bytes()
    connection.send(peak)


def run_timed(entry: Entry) -> tuple[float, float]:
    """Wall time and CPU time of one run, its child processes included, in seconds."""
    gc.collect()
    wall_ns, cpu_s = time.perf_counter_ns(), cpu_time_s()
    result = entry.run()
    wall_ns, cpu_s = time.perf_counter_ns() - wall_ns, cpu_time_s() - cpu_s
    del result
    return wall_ns / 1e9, cpu_s


def cpu_time_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


class Contender:
    """The parent's side of a contender."""

    def __init__(self, module: str, contender: str, task: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, far_end = context.Pipe()
        # Not daemonic: a contender may want child processes of its own.  run_contest() stops it in any case.
        self.process = context.Process(target=serve, args=(far_end, module, contender, task))
        self.process.start()
        far_end.close()
        self.timing = Timing(contender)
        self.rounds_left = 0

    def receive(self) -> Any:
        try:
            return self.connection.recv()
        except EOFError:
            self.process.join()
            raise ContestError(
                f"{self.timing.contender}: its process ended with status {self.process.exitcode}"
            ) from None

    def measure(self) -> None:
        self.connection.send("run")
        wall_s, cpu_s = self.receive()
        self.timing.wall_s.append(wall_s)
        self.timing.cpu_s.append(cpu_s)

    def take_turn(self) -> None:
        if self.rounds_left > 0:
            self.rounds_left -= 1
            self.measure()

    def settle_rounds(self, rounds: int, patience_s: float) -> None:
        """After the first timing: how often there is time for another."""
        self.rounds_left = min(rounds, max(1, int(patience_s / self.timing.wall_s[0]))) - 1

    def warm_up(self, rounds: int, patience_s: float) -> None:
        """Times a run that counts only where there is no time for another: it has no place among the others' rounds."""
        self.measure()
        self.settle_rounds(rounds, patience_s)
        if self.rounds_left > 0:
            self.rounds_left += 1
            self.timing.wall_s.clear()
            self.timing.cpu_s.clear()

    def stop(self) -> None:
        if self.process.is_alive() and self.timing.unavailable is None:
            self.connection.send("end")
            self.timing.peak_rss_bytes = self.receive()
        self.process.join()


CHECKED_AT_ONCE = 2  # contenders: that is not timed, and most of it is on one core


def run_contest(
    module: str,
    contenders: Sequence[str],
    task: Any,
    rounds: int,
    before_each: Callable[[str], object] | None = None,
    patience_s: float = 3600.0,
) -> list[Timing]:
    """Times every contender once per round and returns their timings, in the order given.

    ``module`` names the module whose ``entry(contender, task)`` makes one.  ``before_each``, given its name, runs in
    this process before every timing: it drops the page cache for cold reads, and then nobody is warmed up.  Nobody is
    timed in more rounds than fit into ``patience_s``, and everybody in one.
    """
    started: list[Contender] = []
    running: list[Contender] = []
    timings: list[Timing] = []
    try:
        for index, name in enumerate(contenders):
            coming = contenders[len(started) : index + CHECKED_AT_ONCE]
            started.extend(Contender(module, later, task) for later in coming)
            say(f"  checking {name}")
            contender = started[index]
            state, answer = contender.receive()
            timings.append(contender.timing)
            if state == "unavailable":
                contender.timing.unavailable = answer
                contender.process.join()
                continue
            running.append(contender)
        if before_each is None:
            for contender in running:
                contender.warm_up(rounds, patience_s)
        for index in range(rounds):
            say(f"  round {index + 1} of {rounds}")
            first = index % max(len(running), 1)
            for contender in running[first:] + running[:first]:
                if before_each is None:
                    contender.take_turn()
                elif index == 0:
                    before_each(contender.timing.contender)
                    contender.measure()
                    contender.settle_rounds(rounds, patience_s)
                elif contender.rounds_left > 0:
                    before_each(contender.timing.contender)
                    contender.take_turn()
        for contender in running:
            contender.stop()
    except BaseException:
        for contender in started:
            contender.process.terminate()
        raise
    return timings


def ratio(other: Timing, reference: Timing) -> float:
    """How many times faster ``reference`` is: the median of the quotients, over the rounds that both took part in."""
    return statistics.median(theirs / ours for theirs, ours in zip(other.wall_s, reference.wall_s))


def matches(name: str, texts: Sequence[str] | None) -> bool:
    """Whether a name has one of the texts; without texts every name has."""
    return not texts or any(text in name for text in texts)


def say(line: str) -> None:
    """Reports progress, out of the way of the tables on stdout."""
    print(line, file=sys.stderr, flush=True)


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    versions: dict[str, str] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "date": date.today().isoformat(),
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB, 1),
        "kernel": platform.release().split("-")[0],  # what follows is the distribution's
        "versions": versions,
    }


def machine_line(facts: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return (
        f"{facts['date']}, {facts['cores']} cores of {facts['cpu']}, {facts['memory_gib']} GiB, "
        f"Linux {facts['kernel']}; {versions}"
    )


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns line up: the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))]
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    return "\n".join([line(header), rule, *(line(row) for row in rows)])


def write_json(path: Path, facts: dict[str, Any], results: Sequence[dict[str, Any]]) -> None:
    """Writes everything that was measured, every round of it."""
    path.write_text(json.dumps({"machine": facts, "results": list(results)}, indent=1) + "\n")


def timing_json(timing: Timing) -> dict[str, Any]:
    return asdict(timing)
