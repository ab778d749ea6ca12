"""Writes a sharded Zarr v3 array that looks like a satellite's counts: time x y x x x channel, int16.

    python examples/satellite.py build/scene.zarr --shape 16 1024 1024 10

Land with relief at every scale, clouds that drift, and sensor noise: as smooth and as noisy as real counts, so that
compressed sizes and decoding speeds are the ones of real data.  The same arguments always give the same array.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec, ZstdCodec

SEED = 20240229
NOISE_COUNTS = 6.0  # standard deviation: what a 12-bit sensor of a good signal-to-noise ratio shows


def compressors(name: str) -> Sequence[Any] | None:
    """Gives the compressors called ``lz4`` (blosc with byte shuffle), ``zstd`` or ``raw`` for ``zarr.create_array``."""
    if name == "lz4":
        return (BloscCodec(cname="lz4", clevel=5, shuffle="shuffle", typesize=2),)
    if name == "zstd":
        return (ZstdCodec(level=3),)
    return None


def smooth(length: int, knots: int, shift: float = 0.0) -> npt.NDArray[np.float32]:
    """Weights (length, knots + 2) that interpolate values at ``knots + 2`` knots with raised cosines."""
    position = np.linspace(0, knots, length, endpoint=False) + shift % 1.0
    distance = np.abs(position[:, None] - np.arange(knots + 2)[None, :]).clip(max=1)
    return ((1 + np.cos(np.pi * distance)) / 2).astype(np.float32)


def relief(
    rng: np.random.Generator, height: int, width: int, smallest: int, shift: float = 0.0
) -> npt.NDArray[np.float32]:
    """A fractal surface (height, width) of about unit variance, with structures down to ``smallest`` pixels."""
    surface = np.zeros((height, width), np.float32)
    knots, amplitude = 3, 1.0
    while knots * smallest <= max(height, width):
        rows, columns = smooth(height, knots, shift), smooth(width, knots, shift)
        values = rng.standard_normal((knots + 2, knots + 2), dtype=np.float32)
        surface += amplitude * (rows @ values @ columns.T)
        knots, amplitude = knots * 2, amplitude * 0.58
    return surface


def frames(shape: Sequence[int], seed: int = SEED) -> Iterator[npt.NDArray[np.int16]]:
    """Yields the array's frames (y, x, channel) one time step after the other."""
    time_count, height, width, channel_count = shape
    rng = np.random.default_rng(seed)
    land = relief(rng, height, width, 4)
    moisture = relief(rng, height, width, 16)
    brightness = rng.uniform(500, 2200, channel_count).astype(np.float32)
    land_gain = rng.uniform(80, 420, channel_count).astype(np.float32)
    moisture_gain = rng.uniform(-300, 300, channel_count).astype(np.float32)
    surface = brightness + land[..., None] * land_gain + moisture[..., None] * moisture_gain
    for time in range(time_count):
        # The same clouds a little further on: the generator is made anew, only the shift differs.
        clouds = relief(np.random.default_rng(seed + 1 + time // 4), height, width, 8, shift=0.07 * time)
        cover = (clouds - 0.7).clip(0, 1.2)[..., None]
        counts = surface * (1 - cover / 1.5) + cover * 4200
        counts += NOISE_COUNTS * rng.standard_normal(counts.shape, dtype=np.float32)
        yield counts.clip(0, 32767).astype(np.int16)


def write(
    path: str | os.PathLike[str],
    shape: Sequence[int],
    *,
    inner_chunk: Sequence[int] = (1, 64, 64, 10),
    shard: Sequence[int] = (4, 512, 512, 10),
    codec: str = "lz4",
    truth: str | os.PathLike[str] | None = None,
    progress: Callable[[int], object] | None = None,
) -> None:
    """Writes the array to ``path`` and, as a plain ``.npy`` file, to ``truth``.

    ``progress`` is told after each slab how many time steps it held.  Both appear under their names only once they
    are whole, so an interrupted run leaves nothing half written.
    """
    unfinished = Path(f"{path}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    array = zarr.create_array(
        str(unfinished),
        shape=tuple(shape),
        chunks=tuple(inner_chunk),
        shards=tuple(shard),
        dtype="int16",
        compressors=compressors(codec),
        dimension_names=["time", "y", "x", "channel"],
        attributes={"title": "synthetic satellite counts", "seed": SEED},
    )
    plain = None
    if truth is not None:
        plain = np.lib.format.open_memmap(f"{truth}.unfinished", "w+", np.dtype(np.int16), tuple(shape))
    slab: list[npt.NDArray[np.int16]] = []
    for time, frame in enumerate(frames(shape), start=1):
        slab.append(frame)
        if len(slab) == shard[0] or time == shape[0]:  # whole shards only: a shard is written once
            first = time - len(slab)
            array[first:time] = np.stack(slab)
            if plain is not None:
                plain[first:time] = slab
            if progress is not None:
                progress(len(slab))
            slab = []
    if plain is not None:
        plain.flush()
        Path(f"{truth}.unfinished").replace(Path(f"{truth}"))
    shutil.rmtree(path, ignore_errors=True)
    unfinished.replace(path)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Write an array that looks like a satellite's counts.")
    parser.add_argument("path", type=Path)
    parser.add_argument(
        "--shape", type=int, nargs=4, default=[16, 1024, 1024, 10], metavar=("TIME", "Y", "X", "CHANNEL")
    )
    parser.add_argument("--inner-chunk", type=int, nargs=4, default=[1, 64, 64, 10], metavar="N")
    parser.add_argument("--shard", type=int, nargs=4, default=[4, 512, 512, 10], metavar="N")
    parser.add_argument("--codec", choices=["lz4", "zstd", "raw"], default="lz4")
    parser.add_argument("--truth", type=Path, help="write the values to this .npy file, too")
    options = parser.parse_args()
    write(
        options.path,
        options.shape,
        inner_chunk=options.inner_chunk,
        shard=options.shard,
        codec=options.codec,
        truth=options.truth,
    )


if __name__ == "__main__":
    main()
