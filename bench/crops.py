"""Random crops of a sharded array in batches, as a training loop reads them: ringio against its peers.

    python bench/crops.py                       # blosc-lz4, 80 KiB and 2 KiB inner chunks, page cache hot
    python bench/crops.py --codec zstd --json build/bench/crops.json
    python bench/crops.py --quick               # a minute, small data: does everything run?

The arrays are written by zarr-python on first use and kept in ``--dir``.  What is timed is exactly what was checked.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from _common import MIB, Timing, machine, machine_line, markdown_table, ratio, run_contest, say, timing_json, write_json
from _crop_contenders import CONTENDERS, CropTask, Starts

WRITER = Path(__file__).resolve().parent.parent / "examples" / "satellite.py"


@dataclass(frozen=True)
class Workload:
    """An array and the crops that are read from it."""

    name: str
    shape: tuple[int, ...]
    inner_chunk: tuple[int, ...]
    shard: tuple[int, ...]
    crop_shape: tuple[int, ...]

    @property
    def crop_nbytes(self) -> int:
        return 2 * math.prod(self.crop_shape)


WORKLOADS = {
    "80KiB": Workload("80KiB", (48, 1024, 1024, 10), (1, 64, 64, 10), (4, 512, 512, 10), (4, 128, 128, 10)),
    "2KiB": Workload("2KiB", (16, 1024, 1024, 4), (1, 16, 16, 4), (4, 512, 512, 4), (4, 64, 64, 4)),
}
QUICK_WORKLOADS = {
    "80KiB": Workload("80KiB", (8, 512, 512, 10), (1, 64, 64, 10), (4, 256, 256, 10), (4, 128, 128, 10)),
    "2KiB": Workload("2KiB", (8, 256, 256, 4), (1, 16, 16, 4), (4, 256, 256, 4), (4, 64, 64, 4)),
}


def write_array(directory: Path, workload: Workload, codec: str) -> tuple[Path, Path]:
    """Gives the paths of the array and of its values as ``.npy``; both are written when they are not there yet.

    A process of its own writes them: zarr-python's threads and memory should not be in ours.
    """
    directory.mkdir(parents=True, exist_ok=True)
    name = f"{codec}-{'x'.join(map(str, workload.shape))}-{'x'.join(map(str, workload.inner_chunk))}"
    path, truth = directory / f"{name}.zarr", directory / f"{name}.npy"
    if not (path.exists() and truth.exists()):
        say(f"writing {path}")
        command: list[str] = [sys.executable, str(WRITER), str(path), "--codec", codec, "--truth", str(truth)]
        command += ["--shape", *map(str, workload.shape), "--inner-chunk", *map(str, workload.inner_chunk)]
        command += ["--shard", *map(str, workload.shard)]
        subprocess.run(command, check=True)
    return path, truth


def random_batches(workload: Workload, crop_count: int, batch_size: int) -> tuple[Starts, ...]:
    rng = np.random.default_rng(7)
    places = np.array(workload.shape) - np.array(workload.crop_shape) + 1
    return tuple(rng.integers(0, places, (batch_size, places.size)) for _ in range(crop_count // batch_size))


def count_chunks(workload: Workload, batches: Sequence[Starts]) -> tuple[int, int]:
    """How many (crop, inner chunk) pairs there are, and how many distinct inner chunks the batches hold in total."""
    pairs, distinct = 0, 0
    chunk = np.array(workload.inner_chunk)
    for starts in batches:
        seen: set[tuple[int, ...]] = set()
        for start in starts:
            first, last = start // chunk, (start + workload.crop_shape - 1) // chunk
            boxes = [range(low, high + 1) for low, high in zip(first.tolist(), last.tolist(), strict=True)]
            coordinates = np.stack(np.meshgrid(*boxes, indexing="ij"), -1).reshape(-1, chunk.size)
            pairs += len(coordinates)
            seen.update(map(tuple, coordinates.tolist()))
        distinct += len(seen)
    return pairs, distinct


def report(workload: Workload, codec: str, task: CropTask, timings: Sequence[Timing]) -> str:
    """The Markdown section of one workload."""
    crop_count = sum(map(len, task.batches))
    pairs, distinct = count_chunks(workload, task.batches)
    reference = next((timing for timing in timings if timing.wall_s), None)
    rows = []
    for timing in timings:
        if not timing.wall_s or reference is None:
            continue
        seconds = timing.median_s
        rows.append(
            [
                timing.contender,
                f"{crop_count / seconds:,.0f}",
                f"{crop_count * workload.crop_nbytes / seconds / 1e9:.2f}",
                f"{pairs / seconds:,.0f}",
                f"{seconds * 1e3:,.0f}",
                f"{timing.median_cpu_s * 1e3:,.0f}",
                "" if timing.peak_rss_bytes is None else f"{timing.peak_rss_bytes / MIB:,.0f}",
                "" if timing is reference else f"{ratio(timing, reference):.2f}x",
            ]
        )
    first = reference.contender if reference else "nobody"
    header = ["", "crops/s", "GB/s", "chunks/s", "wall ms", "CPU ms", "peak RSS MiB", f"{first} is faster by"]
    shape = " x ".join(map(str, workload.crop_shape))
    lines = [
        f"### {crop_count} crops of {shape} int16, {workload.name} inner chunks, {codec}, sharded",
        "",
        f"Array {' x '.join(map(str, workload.shape))}; batches of {len(task.batches[0])} crops, which want "
        f"{pairs:,} inner chunks, {distinct:,} of them distinct. Page cache hot.",
        "",
        markdown_table(header, rows),
        "",
    ]
    lines += [f"Not there: {timing.contender} ({timing.unavailable})." for timing in timings if timing.unavailable]
    others = [timing for timing in timings if timing.wall_s and not timing.contender.startswith("ringio")]
    if reference is not None and reference.contender.startswith("ringio") and others:
        best = min(others, key=lambda timing: timing.median_s)
        ours = [timing for timing in timings if timing.wall_s and timing.contender.startswith("ringio")]
        ratios = ", ".join(f"{timing.contender} {ratio(best, timing):.2f}x" for timing in ours)
        lines.append(f"Against the fastest other ({best.contender}): {ratios}.")
    return "\n".join(lines)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, default=Path("build/bench"), help="where the arrays are kept")
    parser.add_argument("--codec", choices=["lz4", "zstd", "raw"], action="append", help="again for more; default lz4")
    parser.add_argument("--workload", choices=list(WORKLOADS), action="append", help="again for more; default all")
    parser.add_argument("--crops", type=int, default=256, help="per round")
    parser.add_argument("--batch", type=int, default=32, help="crops per batch")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--only", action="append", metavar="TEXT", help="contenders whose names have it; again for more"
    )
    parser.add_argument("--json", type=Path, help="write every round of every contender here")
    parser.add_argument("--markdown", type=Path, help="write the tables here, too")
    parser.add_argument("--quick", action="store_true", help="small data, two rounds: a smoke test, not a measurement")
    options = parser.parse_args()
    if options.quick:
        options.crops, options.batch, options.rounds = 16, 8, 2
    if not 1 <= options.batch <= options.crops or options.rounds < 1:
        parser.error("--crops must be at least --batch, and all of them at least 1")
    return options


def main() -> None:
    """Runs the contests that the command line asks for."""
    options = parse_options()
    facts = machine()
    contenders = [name for name in CONTENDERS if not options.only or any(text in name for text in options.only)]
    results: list[dict[str, Any]] = []
    sections = [machine_line(facts)]
    print(sections[0], end="\n\n", flush=True)
    for codec in options.codec or ["lz4"]:
        for name in options.workload or WORKLOADS:
            workload = (QUICK_WORKLOADS if options.quick else WORKLOADS)[name]
            path, truth = write_array(options.dir, workload, codec)
            batches = random_batches(workload, options.crops, options.batch)
            task = CropTask(str(path), str(truth), workload.crop_shape, batches)
            say(f"{codec}, {name}")
            timings = run_contest("_crop_contenders", contenders, task, options.rounds)
            sections.append(report(workload, codec, task, timings))
            print(sections[-1], end="\n\n", flush=True)
            results += [{"codec": codec, "workload": name, **timing_json(timing)} for timing in timings]
    if options.markdown:
        options.markdown.write_text("\n\n".join(sections) + "\n")
    if options.json:
        write_json(options.json, facts, results)


if __name__ == "__main__":
    main()
