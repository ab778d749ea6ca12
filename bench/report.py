"""Turns the results of ``bench/run.py`` into ``docs/benchmarks.md``: tables, plots, and where ringio loses.

    python bench/report.py build/bench/results.json docs/benchmarks.md

``scaling.json`` of ``bench/scaling.py`` and ``imports.json`` of ``bench/imports.py`` are added where they lie beside
the results.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _svg
import imports
import limits
import scaling
from _common import MIB, Timing, machine_line, markdown_table, ratio

OWN, TENSORSTORE = "ringio", "TensorStore"
LOST_SHARE = 0.8  # of the limit: below, something else than the machine stands in the way
SAME = 0.03  # ratios within this of 1 are called equal
SAME_MEMORY = 0.1

INTRODUCTION = """\
# Benchmarks

Written by `make bench` (`bench/report.py`): do not edit. {machine}

Each contender runs in a process of its own at its best settings, has all its results checked, and then takes turns with
the others; figures are medians over the rounds, ratios medians of the quotients within a round. *Hot* means that the
page cache holds the files; before each *cold* timing it was dropped. CPU is that of all threads, kernel included, for
each {chunk}; peak memory is that of the process, libraries included.

A limit is what the machine needs at least: for the *decoder limit* the bare C library decodes the distinct encoded
chunks from memory on every core and does nothing else, for the *memory limit* as many bytes are copied, and the *disk
limit* is fio's rate for requests of the same size, 128 in flight. The share is of the slowest of them. The *page cache
limit* is how long bare `pread` calls on every core need for the bytes that are wanted, into a buffer that stays in the
core's cache: nobody who reads them is faster, and whoever decodes does so after that on the same cores. What is reached
of both together is said besides ("of reading and decoding"). Encoded chunks count as a whole in both limits, but for
single points in blosc chunks, of which only the blocks that hold them are decoded: who reads or decodes less of a chunk
can be faster. Where whole processes are timed, starting Python and importing numpy counts as part of the limits.

To run them again: `make bench`, or `python bench/run.py --only crops`; `--help` says more. An otherwise idle machine is
due. Below {rounds} rounds a contender was too slow for more.
"""


@dataclass(frozen=True)
class Result:
    """What was measured of one workload."""

    facts: dict[str, Any]
    timings: list[Timing]  # of those who took part, limits left out
    floors_s: dict[str, float]

    @property
    def own(self) -> list[Timing]:
        return [timing for timing in self.timings if timing.contender.startswith(OWN)]

    @property
    def peers(self) -> list[Timing]:
        return [timing for timing in self.timings if not timing.contender.startswith(OWN)]

    @property
    def best_own(self) -> Timing | None:
        return fastest(self.own)

    @property
    def best_peer(self) -> Timing | None:
        return fastest(self.peers)

    @property
    def best_tensorstore(self) -> Timing | None:
        return fastest([timing for timing in self.peers if timing.contender.startswith(TENSORSTORE)])

    @property
    def floor(self) -> tuple[str, float] | None:
        """The limit that takes longest, and how long."""
        disk = {name: seconds for name, seconds in self.floors_s.items() if name.startswith("disk")}
        others = {name: self.floors_s[name] for name in self.floors_s.keys() - disk.keys() - {limits.PAGE_CACHE}}
        if disk:  # whichever way to the disk is the faster one counts
            name = min(disk, key=disk.__getitem__)
            others[name] = disk[name]
        return max(others.items(), key=lambda item: item[1]) if others else None

    def share(self, timing: Timing) -> float | None:
        return None if self.floor is None else self.floor[1] / timing.median_s

    def cached_share(self, timing: Timing) -> float | None:
        """Of the time that reading from the page cache and decoding take: the same cores do one after the other."""
        if limits.PAGE_CACHE not in self.floors_s:
            return None
        return (self.floors_s[limits.PAGE_CACHE] + self.floors_s.get(limits.DECODER, 0.0)) / timing.median_s


def fastest(timings: list[Timing]) -> Timing | None:
    return min(timings, key=lambda timing: timing.median_s, default=None)


def parse_result(facts: dict[str, Any]) -> Result:
    everybody = [Timing(**fields) for fields in facts["timings"]]
    took_part = [timing for timing in everybody if timing.wall_s]
    floors_s = {timing.contender: timing.median_s for timing in took_part if timing.contender in limits.NAMES}
    return Result(
        facts,
        [timing for timing in took_part if timing.contender not in limits.NAMES],
        floors_s | facts["disk_limits_s"],
    )


def seconds_text(seconds: float) -> str:
    """Three digits and a unit."""
    unit, factor = ("s", 1.0) if seconds >= 1 else ("ms", 1e3) if seconds >= 1e-3 else ("µs", 1e6)
    value = seconds * factor
    return f"{value:.{max(0, 3 - len(str(int(value))))}f} {unit}"


def table(result: Result) -> str:
    """One row for each contender, then one for each limit."""
    unit, count, chunks = (result.facts[key] for key in ("unit", "unit_count", "chunk_count"))
    own = result.best_own
    rows = []
    for timing in sorted(result.timings, key=lambda timing: timing.median_s):
        share = result.share(timing)
        rows.append(
            [
                timing.contender,
                rate_text(count / timing.median_s),
                f"{result.facts['result_nbytes'] / timing.median_s / 1e9:.2f}",
                seconds_text(timing.median_s),
                seconds_text(timing.median_cpu_s / chunks),
                "" if timing.peak_rss_bytes is None else f"{timing.peak_rss_bytes / MIB:,.0f} MiB",
                "" if share is None else f"{share:.2f}",
                "" if own is None or timing is own else f"{ratio(timing, own):.2f}×",
                str(len(timing.wall_s)),
            ]
        )
    for name, seconds in result.floors_s.items():
        rate = rate_text(count / seconds)
        rows.append([f"*{name}*", rate, "", seconds_text(seconds), "", "", "", "", ""])
    header = ["", f"{unit}/s", "GB/s", "wall", "CPU per chunk", "peak memory", "share of limit", "", "rounds"]
    header[-2] = f"{own.contender} is faster by" if own else ""
    return markdown_table(header, rows)


def rate_text(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2f}"


def verdict(result: Result) -> str:
    """One line: the ratios that matter."""
    own, parts = result.best_own, []
    if own is None:
        return ""
    for label, peer in (("TensorStore's best mode", result.best_tensorstore), ("the fastest peer", result.best_peer)):
        if peer is not None:
            parts.append(f"{ratio(peer, own):.2f}× {label} ({peer.contender})")
    if result.floor is not None:
        parts.append(f"{result.share(own):.2f} of the {result.floor[0]}")
    cached_share = result.cached_share(own)
    if cached_share is not None:
        decoded = " and the decoder limit, one after the other" if limits.DECODER in result.floors_s else ""
        parts.append(f"{cached_share:.2f} of the {limits.PAGE_CACHE}{decoded}")
    return f"{own.contender}: " + ", ".join(parts) + "."


def brief(reason: str) -> str:
    """Why a contender is not there, without what TensorStore adds in brackets, nor the folder that the data is in here.

    >>> brief("Error reading local file \\"/data/a.zarr/.zarray\\": filters are not supported [tensorstore_spec='{}']")
    'Error reading local file "a.zarr/.zarray": filters are not supported'
    """
    return re.sub(r'"/[^"]*?/([^/"]+\.zarr)', r'"\1', reason.partition(" [")[0])


def text_section(facts: dict[str, Any]) -> str:
    """The section of one workload, without a plot."""
    result = parse_result(facts)
    state = "Page cache dropped before each timing." if facts["cold"] else "Page cache hot."
    lines = [f"### {facts['title']}", "", f"{facts['description']} {state}", "", table(result), "", verdict(result)]
    absent = [
        f"{fields['contender']} ({brief(fields['unavailable'])})"
        for fields in facts["timings"]
        if fields["unavailable"]
    ]
    absent = [text for text in absent if not text.startswith(limits.NAMES)]
    if absent:
        lines += ["", f"Not there: {'; '.join(absent)}."]
    return "\n".join(lines)


def losses(result: Result) -> list[str]:
    """Where somebody else is better, or the limit is far."""
    own, found = result.best_own, []
    if own is None:
        return ["nothing was measured"]
    best = result.best_peer
    if best is not None and ratio(best, own) < 1 - SAME:
        found.append(f"{best.contender} is {1 / ratio(best, own):.2f} times as fast")
    thrifty = min(result.peers, key=lambda peer: peer.median_cpu_s, default=None)
    if thrifty is not None and thrifty.median_cpu_s < own.median_cpu_s * (1 - SAME):
        found.append(f"{thrifty.contender} needs {thrifty.median_cpu_s / own.median_cpu_s:.2f} of the CPU time")
    memory = [(peer.peak_rss_bytes, peer.contender) for peer in result.peers if peer.peak_rss_bytes]
    if memory and own.peak_rss_bytes and min(memory)[0] < own.peak_rss_bytes * (1 - SAME_MEMORY):
        nbytes, name = min(memory)
        found.append(f"{name} peaks at {nbytes / MIB:,.0f} MiB, {own.contender} at {own.peak_rss_bytes / MIB:,.0f} MiB")
    share = result.share(own)
    if result.floor is not None and share is not None and share < LOST_SHARE:
        cached_share = result.cached_share(own)
        also = "" if cached_share is None else f" ({cached_share:.2f} of reading and decoding)"
        found.append(f"only {share:.2f} of the {result.floor[0]} is reached{also}")
    return found


def summary(results: list[Result]) -> str:
    rows = []
    for result in results:
        own, tensorstore, peer = result.best_own, result.best_tensorstore, result.best_peer
        if own is None:
            continue
        share, cached_share = result.share(own), result.cached_share(own)
        rows.append(
            [
                f"[{result.facts['title']}](#{anchor(result.facts['title'])})",
                f"{rate_text(result.facts['unit_count'] / own.median_s)} {result.facts['unit']}/s",
                "" if tensorstore is None else f"{ratio(tensorstore, own):.2f}×",
                "" if peer is None else f"{ratio(peer, own):.2f}×",
                "" if share is None or result.floor is None else f"{share:.2f} ({result.floor[0]})",
                "" if cached_share is None else f"{cached_share:.2f}",
                seconds_text(own.median_cpu_s / result.facts["chunk_count"]),
            ]
        )
    header = [
        "",
        "ringio",
        "against TensorStore's best",
        "against the best peer",
        "share of the limit",
        "of reading and decoding",
        "CPU per chunk",
    ]
    return markdown_table(header, rows)


def anchor(title: str) -> str:
    """As GitHub makes it of a heading."""
    return "".join(c for c in title.lower().replace(" ", "-") if c.isalnum() or c in "-_")


def write_report(source: Path, target: Path) -> None:
    """Writes ``target`` and its plots, which go to a folder of the same name without suffix."""
    document = json.loads(source.read_text())
    results = [parse_result(facts) for facts in document["results"]]
    plots = target.with_suffix("")
    plots.mkdir(parents=True, exist_ok=True)
    rounds = max((len(timing.wall_s) for result in results for timing in result.timings), default=0)
    introduction = INTRODUCTION.format(
        machine=machine_line(document["machine"]) + ".", chunk="distinct chunk (or range, or file)", rounds=rounds
    )
    lines = [introduction, "## Summary", "", summary(results), "", "## Where ringio loses", ""]
    lost = [f"* {result.facts['title']}: {'; '.join(found)}." for result in results if (found := losses(result))]
    lines += [*(lost or ["Nowhere in these workloads."]), "", "## Workloads", ""]
    for result in results:
        plot = plots / f"{result.facts['name']}.svg"
        rate = {timing.contender: result.facts["unit_count"] / timing.median_s for timing in result.timings}
        floor = None if result.floor is None else (result.floor[0], result.facts["unit_count"] / result.floor[1])
        plot.write_text(_svg.bars(f"{result.facts['title']}: {result.facts['unit']}/s", rate, OWN, floor))
        section = text_section(result.facts)
        lines += [section, "", f"![{result.facts['title']}]({plots.name}/{plot.name})", ""]
    curve = source.with_name("scaling.json")
    if curve.exists():
        lines.append(scaling.read_section(curve))
    times = source.with_name("imports.json")
    if times.exists():
        lines.append(imports.read_section(times))
    target.write_text("\n".join(lines).rstrip("\n") + "\n")


if __name__ == "__main__":
    write_report(Path(sys.argv[1]), Path(sys.argv[2]))
