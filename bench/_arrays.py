"""The arrays of the benchmarks: what is in them, how they are chunked and encoded, and writing them once.

    python bench/_arrays.py '{"content": "satellite", ...}' build/bench      # what write_array() runs

zarr-python writes them, in a process of its own: its threads and memory should not be in a benchmark's.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from _common import say

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@dataclass(frozen=True)
class ArraySpec:
    """An array on disk."""

    content: str  # "satellite": examples/satellite.py, int16; "formula": (x + y·y/32 + z³) mod 65536, uint16
    codec: str  # "lz4" (blosc with byte shuffle), "zstd", "zlib" (v2 only) or "raw"
    shape: tuple[int, ...]
    chunk: tuple[int, ...]  # the innermost
    shard: tuple[int, ...] | None = None
    zarr_format: int = 3

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.int16 if self.content == "satellite" else np.uint16)

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape)) * self.dtype.itemsize

    @property
    def name(self) -> str:
        parts = [self.content, self.codec, sizes(self.shape), sizes(self.chunk)]
        parts += ["in", sizes(self.shard)] if self.shard else []
        return "-".join(parts) + (f"-v{self.zarr_format}" if self.zarr_format != 3 else "") + ".zarr"

    @property
    def truth_name(self) -> str:
        return f"{self.content}-{sizes(self.shape)}.npy"


def sizes(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def write_array(directory: Path, spec: ArraySpec) -> tuple[Path, Path]:
    """Gives the paths of the array and of its values as ``.npy``; both are written where they are not there yet."""
    path, truth = (directory / spec.name).resolve(), (directory / spec.truth_name).resolve()
    if not (path.exists() and truth.exists()):
        say(f"  writing {path.name}")
        directory.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, __file__, json.dumps(asdict(spec)), str(directory)], check=True)
    return path, truth


def slabs(spec: ArraySpec) -> Iterator[npt.NDArray[Any]]:
    """The array's content, a few planes of the first dimension at a time."""
    if spec.content == "satellite":
        sys.path.insert(0, str(EXAMPLES))
        from satellite import frames

        yield from (frame[None] for frame in frames(spec.shape))
        return
    length, height, width = spec.shape
    y, z = np.arange(height, dtype=np.uint64)[:, None], np.arange(width, dtype=np.uint64)[None, :]
    plane = y * y // 32 + z**3
    for x in range(length):
        yield ((plane + np.uint64(x)) % 65536).astype(np.uint16)[None]


def write_truth(path: Path, spec: ArraySpec) -> None:
    unfinished = path.with_suffix(".unfinished")
    plain = np.lib.format.open_memmap(unfinished, "w+", spec.dtype, spec.shape)
    first = 0
    for slab in slabs(spec):
        plain[first : first + len(slab)] = slab
        first += len(slab)
    plain.flush()
    unfinished.replace(path)


def create(path: Path, spec: ArraySpec) -> Any:
    import zarr
    from zarr.codecs import BloscCodec, ZstdCodec

    options: dict[str, Any] = {"shape": spec.shape, "dtype": spec.dtype, "chunks": spec.chunk, "shards": spec.shard}
    if spec.zarr_format == 2:
        import numcodecs

        return zarr.create_array(
            str(path), **options, zarr_format=2, compressors=numcodecs.Zlib(1) if spec.codec == "zlib" else None
        )
    compressors: dict[str, Any] = {
        "lz4": BloscCodec(cname="lz4", clevel=5, shuffle="shuffle", typesize=spec.dtype.itemsize),
        "zstd": ZstdCodec(level=3),
        "raw": None,
    }
    return zarr.create_array(str(path), **options, compressors=compressors[spec.codec])


def write(directory: Path, spec: ArraySpec) -> None:
    """Writes what is missing; both appear under their names only once they are whole."""
    path, truth = directory / spec.name, directory / spec.truth_name
    if not truth.exists():
        write_truth(truth, spec)
    values = np.load(truth, mmap_mode="r")
    unfinished = path.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    array = create(unfinished, spec)
    step = (spec.shard or spec.chunk)[0]  # whole shards: a shard is written once
    for first in range(0, spec.shape[0], step):
        array[first : first + step] = values[first : first + step]
    shutil.rmtree(path, ignore_errors=True)
    unfinished.replace(path)


def parse_spec(text: str) -> ArraySpec:
    fields: dict[str, Any] = json.loads(text)
    for key in ("shape", "chunk", "shard"):
        fields[key] = None if fields[key] is None else tuple(fields[key])
    return ArraySpec(**fields)


if __name__ == "__main__":
    write(Path(sys.argv[2]), parse_spec(sys.argv[1]))
