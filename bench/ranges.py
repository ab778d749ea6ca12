"""Random byte ranges of one big file: ``ringio.read_ranges`` against its peers, page cache hot and cold.

    python bench/ranges.py                      # 4 KiB, 64 KiB and 1 MiB ranges of a 2 GiB file
    python bench/ranges.py --cold               # with the page cache dropped before every timing
    python bench/ranges.py --quick              # small file: does everything run?

The file is written on first use and kept in ``--dir``.  What is timed is exactly what was checked.
"""

from __future__ import annotations

import argparse
import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from _common import (
    GIB,
    KIB,
    MIB,
    Timing,
    machine,
    machine_line,
    markdown_table,
    ratio,
    run_contest,
    say,
    timing_json,
    write_json,
)
from _range_contenders import CONTENDERS, RangeTask

DROP_CACHES = Path("/proc/sys/vm/drop_caches")
PAGE_CACHE_AND_INODES = "3"

# (bytes in a range, ranges per round): enough of each that a round takes tens of milliseconds or more
SIZES = ((4 * KIB, 50_000), (64 * KIB, 8_000), (MIB, 500))
QUICK_SIZES = ((4 * KIB, 2_000), (64 * KIB, 200), (MIB, 20))


def write_file(path: Path, nbytes: int) -> None:
    """Writes incompressible bytes, always the same; no longer than the file is there already, does nothing."""
    if path.exists() and path.stat().st_size == nbytes:
        return
    say(f"writing {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    rng = np.random.default_rng(11)
    with unfinished.open("wb") as file:
        for _ in range(0, nbytes, 64 * MIB):
            file.write(rng.bytes(64 * MIB))
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def make_cold(path: Path) -> str:
    """Drops the file from the page cache and says how: all caches when we may, else only this file's pages."""
    os.sync()
    try:
        DROP_CACHES.write_text(PAGE_CACHE_AND_INODES)
        return str(DROP_CACHES)
    except OSError:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
        return "POSIX_FADV_DONTNEED"


def make_hot(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        while file.read(8 * MIB):
            pass


def size_name(nbytes: int) -> str:
    return f"{nbytes // MIB} MiB" if nbytes >= MIB else f"{nbytes // KIB} KiB"


def report(task: RangeTask, state: str, file_nbytes: int, timings: Sequence[Timing]) -> str:
    """The Markdown section of one contest."""
    count = len(task.offsets)
    reference = next((timing for timing in timings if timing.wall_s), None)
    loop = next((timing for timing in timings if timing.contender == "`os.pread` loop" and timing.wall_s), None)
    rows = []
    for timing in timings:
        if not timing.wall_s or reference is None:
            continue
        rows.append(
            [
                timing.contender,
                f"{count / timing.median_s:,.0f}",
                f"{count * task.length / timing.median_s / 1e9:.2f}",
                f"{timing.median_s * 1e3:,.1f}",
                f"{timing.median_cpu_s * 1e3:,.1f}",
                "" if timing.peak_rss_bytes is None else f"{timing.peak_rss_bytes / MIB:,.0f}",
                "" if loop is None or timing is loop else f"{ratio(loop, timing):.2f}x",
            ]
        )
    header = ["", "ranges/s", "GB/s", "wall ms", "CPU ms", "peak RSS MiB", "faster than `os.pread` loop by"]
    lines = [
        f"### {count:,} random ranges of {size_name(task.length)}, {state}",
        "",
        f"One file of {file_nbytes / GIB:.2g} GiB.",
        "",
        markdown_table(header, rows),
        "",
    ]
    lines += [f"Not there: {timing.contender} ({timing.unavailable})." for timing in timings if timing.unavailable]
    return "\n".join(lines)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, default=Path("build/bench"), help="where the file is kept")
    parser.add_argument("--cold", action="store_true", help="drop the page cache before every timing")
    parser.add_argument("--hot", action="store_true", help="with --cold: hot, too")
    parser.add_argument("--range-kib", type=int, action="append", help="again for more; default 4, 64 and 1024")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--only", action="append", metavar="TEXT", help="contenders whose names have it; again for more"
    )
    parser.add_argument("--json", type=Path, help="write every round of every contender here")
    parser.add_argument("--markdown", type=Path, help="write the tables here, too")
    parser.add_argument("--quick", action="store_true", help="small file, two rounds: a smoke test, not a measurement")
    options = parser.parse_args()
    if options.quick:
        options.rounds = 2
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


def main() -> None:
    """Runs the contests that the command line asks for."""
    options = parse_options()
    facts = machine()
    file_nbytes = 128 * MIB if options.quick else 2 * GIB
    path = (options.dir / f"ranges-{file_nbytes // MIB}MiB.bin").resolve()
    write_file(path, file_nbytes)
    contenders = [name for name in CONTENDERS if not options.only or any(text in name for text in options.only)]
    results: list[dict[str, Any]] = []
    sections = [machine_line(facts)]
    print(sections[0], end="\n\n", flush=True)
    for cold in [False] * (options.hot or not options.cold) + [True] * options.cold:
        for length, count in QUICK_SIZES if options.quick else SIZES:
            if options.range_kib and length // KIB not in options.range_kib:
                continue
            # Anywhere, not at multiples of the page size: bytes in files have no such manners.
            offsets = np.random.default_rng(13).integers(0, file_nbytes - length, count, dtype=np.int64)
            task = RangeTask(str(path), offsets, length)
            state = f"cold ({make_cold(path)})" if cold else "page cache hot"
            say(f"{size_name(length)}, {state}")
            if not cold:
                make_hot(path)
            before_each = functools.partial(make_cold, path) if cold else None
            timings = run_contest("_range_contenders", contenders, task, options.rounds, before_each)
            sections.append(report(task, state, file_nbytes, timings))
            print(sections[-1], end="\n\n", flush=True)
            results += [{"range_bytes": length, "cold": cold, **timing_json(timing)} for timing in timings]
    if options.markdown:
        options.markdown.write_text("\n\n".join(sections) + "\n")
    if options.json:
        write_json(options.json, facts, results)


if __name__ == "__main__":
    main()
