"""A first look: 1,000 random crops of a satellite-like array through ringio, and the same through zarr-python.

    make demo                                   # installs what is missing, then runs this
    .venv/bin/python examples/demo.py --quick   # a small array and few crops

Writes the array on the first run and keeps it; checks every value; saves a contact sheet of crops as a PNG.
"""

from __future__ import annotations

import argparse
import math
import platform
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import satellite
import zarr
from PIL import Image
from tqdm import tqdm

import ringio
import ringio_zarr

Crops = npt.NDArray[np.int16]  # (crop, time, y, x, channel)
Starts = npt.NDArray[np.int64]  # (crop, dimension)

SHAPE, QUICK_SHAPE = (24, 1024, 1024, 10), (8, 512, 512, 10)
SHARD, INNER_CHUNK = (4, 512, 512, 10), (1, 64, 64, 10)
CROP_SHAPE = (4, 128, 128, 10)
CROP_NBYTES = 2 * math.prod(CROP_SHAPE)
BAR_INTERVAL_S = 0.1 if sys.stderr.isatty() else 10.0  # seldom enough for a log
SHEET_COLUMNS, SHEET_ROWS, MARGIN_PIXELS = 10, 6, 4
RED_GREEN_BLUE = (2, 1, 0)  # channels of the picture

OWN_DATA = """
Your own data, in five lines:

    import numpy as np, ringio_zarr
    array = ringio_zarr.open("path/to/your.zarr")            # a group: ringio_zarr.open("path")["its/array"]
    crop_shape = tuple(min(128, length) for length in array.shape)
    starts = np.random.default_rng().integers(0, np.subtract(array.shape, crop_shape) + 1, (100, array.ndim))
    crops = array.read_crops(starts, crop_shape)             # ndarray (100, *crop_shape)

Run it with .venv/bin/python.
"""


def write_array(directory: Path, shape: Sequence[int]) -> Path:
    """Gives the path of the array, and writes it where it is not there yet."""
    path = directory / f"satellite-{'x'.join(map(str, shape))}.zarr"
    if not path.exists():
        with tqdm(total=shape[0], desc="writing the array", unit="time step", mininterval=BAR_INTERVAL_S) as bar:
            satellite.write(path, shape, inner_chunk=INNER_CHUNK, shard=SHARD, progress=bar.update)
    return path


def load_into_page_cache(path: Path) -> int:
    """Reads every file once, so that both contenders find the same; returns how many bytes those were."""
    return sum(len(file.read_bytes()) for file in path.rglob("*") if file.is_file())


def affordable_crop_count(wanted: int) -> int:
    """``wanted``, or fewer where the machine's free memory would not hold them twice."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            available_nbytes = int(line.split()[1]) * 1024
            return max(1, min(wanted, available_nbytes // (2 * CROP_NBYTES)))
    return wanted


def random_starts(shape: Sequence[int], count: int) -> Starts:
    highest = np.subtract(shape, CROP_SHAPE) + 1
    return np.random.default_rng(1).integers(0, highest, (count, len(shape)))


def read_through_ringio(path: Path, starts: Starts) -> tuple[Crops, float]:
    """Returns the crops and the seconds that they took, opening the array included.

    The memory is there before, as it is in a training loop from its second batch on: to get more than a gigabyte from
    the system takes longer than to read it, and a virtual machine may first have to ask its host.
    """
    crops: Crops = np.full((len(starts), *CROP_SHAPE), -1, np.int16)
    start_s = time.perf_counter()
    array: Any = ringio_zarr.open(path)
    array.read_crops(starts, CROP_SHAPE, out=crops, progress=True)
    return crops, time.perf_counter() - start_s


def check_through_zarr(path: Path, starts: Starts, crops: Crops) -> float:
    """Reads the crops one after the other with zarr-python, compares each, and returns the seconds of reading."""
    start_s = time.perf_counter()
    array: Any = zarr.open_array(path, mode="r")
    seconds = time.perf_counter() - start_s
    bar = tqdm(starts.tolist(), desc="the same through zarr-python", unit="crop", mininterval=BAR_INTERVAL_S)
    for index, start in enumerate(bar):
        box = tuple(slice(low, low + count) for low, count in zip(start, CROP_SHAPE, strict=True))
        start_s = time.perf_counter()
        expected = array[box]
        seconds += time.perf_counter() - start_s
        if not np.array_equal(crops[index], expected):
            sys.exit(f"crop {index} at {start} differs from what zarr-python reads")
    return seconds


def save_contact_sheet(crops: Crops, path: Path) -> None:
    """Saves the first time step of the first crops as one picture, contrast stretched between two percentiles."""
    tiles = crops[: SHEET_COLUMNS * SHEET_ROWS, 0][..., RED_GREEN_BLUE].astype(np.float32)
    low, high = np.percentile(tiles, (2, 98), axis=(0, 1, 2))
    # The square root brightens what is not cloud.
    tiles = np.sqrt(((tiles - low) / (high - low).clip(min=1)).clip(0, 1)) * 255
    height, width = tiles.shape[1:3]
    row_count = math.ceil(len(tiles) / SHEET_COLUMNS)
    sheet = np.full(
        (row_count * (height + MARGIN_PIXELS), SHEET_COLUMNS * (width + MARGIN_PIXELS), 3), 255, dtype=np.uint8
    )
    for index, tile in enumerate(tiles):
        row, column = divmod(index, SHEET_COLUMNS)
        top, left = row * (height + MARGIN_PIXELS), column * (width + MARGIN_PIXELS)
        sheet[top : top + height, left : left + width] = tile
    Image.fromarray(sheet).save(path)


def table(crop_count: int, rows: Sequence[tuple[str, float]]) -> str:
    """Lines of (name, seconds); the last is what the others are compared with."""
    gigabytes = crop_count * CROP_NBYTES / 1e9
    lines = [f"{'':<36} {'seconds':>8} {'crops/s':>9} {'GB/s':>6}"]
    for name, seconds in rows:
        line = f"{name:<36} {seconds:>8.2f} {crop_count / seconds:>9,.0f} {gigabytes / seconds:>6.2f}"
        ratio = rows[-1][1] / seconds
        lines.append(line if name == rows[-1][0] else f"{line}   {ratio:.0f} times as fast")
    return "\n".join(lines)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, default=Path("build/demo"), help="where the array and the picture go")
    parser.add_argument("--crops", type=int, default=1000, help="how many to read")
    parser.add_argument("--quick", action="store_true", help="a small array and 50 crops")
    options = parser.parse_args()
    if options.crops < 1:
        parser.error("--crops must be at least 1")
    return options


def main() -> None:
    """Runs the demonstration."""
    options = parse_options()
    shape, wanted = (QUICK_SHAPE, 50) if options.quick else (SHAPE, options.crops)
    path = write_array(options.dir, shape)
    stored_nbytes = load_into_page_cache(path)
    count = affordable_crop_count(wanted)
    if count < wanted:
        print(f"Memory is short: {count} crops instead of {wanted}.")
    starts = random_starts(shape, count)
    reader = ringio.default_reader()
    print(f"array    {path}")
    print(f"         {shape} int16, {2 * math.prod(shape) / 1e6:,.0f} MB, stored as {stored_nbytes / 1e6:,.0f} MB")
    print(f"         shards {SHARD}, inner chunks {INNER_CHUNK}, blosc with LZ4")
    print(f"crops    {count:,} of {CROP_SHAPE}, {count * CROP_NBYTES / 1e9:.2f} GB")
    print(f"backend  {reader.backend}")
    print(f"         {reader.backend_reason}", flush=True)

    crops, ringio_s = read_through_ringio(path, starts)
    zarr_s = check_through_zarr(path, starts, crops)
    picture = options.dir / "crops.png"
    save_contact_sheet(crops, picture)

    ours, theirs = f"ringio {version('ringio')}", f"zarr-python {version('zarr')}"
    rows = [
        (f"{ours}, one batch", ringio_s),
        (f"{theirs}, one by one", zarr_s),
    ]
    print(f"\nPage cache hot, Python {platform.python_version()}, every value compared:\n")
    print(table(count, rows), end="\n\n")
    print(f"Contact sheet of the first crops: {picture}")
    print(OWN_DATA, end="")


if __name__ == "__main__":
    main()
