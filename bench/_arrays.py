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
REFLECTANCE_SCALE = 10000  # as of Sentinel-2

# What is in the arrays, and the dtype of the ``.npy`` file with their values.
CONTENTS = {
    "satellite": "<i2",  # examples/satellite.py
    "reflectance": "<f4",  # the same, divided by REFLECTANCE_SCALE
    "formula": "<u2",  # (x + y·y/32 + z³) mod 65536
    "stations": "<U30",  # names of places, texts of any length: see station_names()
    "station-bytes": "S40",  # the same in UTF-8, as bytes of any length
}
VLEN_DTYPES = {"stations": "string", "station-bytes": "variable_length_bytes"}

# Filters and compressor of v2 arrays, as archives have them: plain zlib; what netCDF-4 files have, read by kerchunk or
# converted; filters of numcodecs; the compressor of zarr-python's tutorial.
V2_CODECS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "zlib": ([], {"id": "zlib", "level": 1}),
    "shuffle-zlib": ([{"id": "shuffle", "elementsize": 2}], {"id": "zlib", "level": 4}),
    "delta-zstd": ([{"id": "delta", "dtype": "<i2"}, {"id": "shuffle", "elementsize": 2}], {"id": "zstd", "level": 3}),
    "scale-blosc": (
        [{"id": "fixedscaleoffset", "scale": REFLECTANCE_SCALE, "offset": 0, "dtype": "<f4", "astype": "<i2"}],
        {"id": "blosc", "cname": "zstd", "clevel": 1, "shuffle": 1},
    ),
}


@dataclass(frozen=True)
class ArraySpec:
    """An array on disk."""

    content: str  # a key of CONTENTS
    codec: str  # "lz4" (blosc with byte shuffle), "zstd" or "raw"; v2: "raw", or a key of V2_CODECS
    shape: tuple[int, ...]
    chunk: tuple[int, ...]  # the innermost
    shard: tuple[int, ...] | None = None
    zarr_format: int = 3

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(CONTENTS[self.content])

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
    if spec.content in ("satellite", "reflectance"):
        sys.path.insert(0, str(EXAMPLES))
        from satellite import frames

        scale = REFLECTANCE_SCALE if spec.content == "reflectance" else 1
        yield from ((frame[None] / scale if scale != 1 else frame[None]) for frame in frames(spec.shape))
        return
    if spec.content in VLEN_DTYPES:
        names = station_names(spec.shape[0])
        yield names if spec.content == "stations" else np.char.encode(names, "utf-8")
        return
    length, height, width = spec.shape
    y, z = np.arange(height, dtype=np.uint64)[:, None], np.arange(width, dtype=np.uint64)[None, :]
    plane = y * y // 32 + z**3
    for x in range(length):
        yield ((plane + np.uint64(x)) % 65536).astype(np.uint16)[None]


def station_names(count: int) -> npt.NDArray[np.str_]:
    """Names such as "Wien Hohe Warte" or "Île de Bréhat 0417": 5 to 30 characters, the mean is 17, some not ASCII."""
    coasts = ["Aberdeen", "Ålesund", "Cape Town", "Île de Bréhat", "Lagos", "Port Moresby", "Punta Arenas", "Reykjavík"]
    plains = ["Bogotá", "Chiang Mai", "Edmonton", "Kraków", "Nairobi", "Salt Lake City", "São Paulo", "Ulaanbaatar"]
    others = ["Genève", "Mount Washington", "Novosibirsk", "Oslo", "Quito", "Tōkyō", "Wien", "Zürich"]
    sites = ["", "", "", " Airport", " Coast Guard", " Harbour", " Hohe Warte", " Observatory", " University"]
    rng = np.random.default_rng(17)
    texts = np.char.add(rng.choice(coasts + plains + others, count), rng.choice(sites, count))
    numbers = np.char.mod(" %04d", rng.integers(0, 10_000, count))
    # Names that would be too short alone, and a third of the others, have a number.
    numbered = (np.char.str_len(texts) < 5) | (rng.random(count) < 1 / 3)
    return np.where(numbered, np.char.add(texts, numbers), texts).astype("<U30")


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

    options: dict[str, Any] = {"shape": spec.shape, "chunks": spec.chunk, "shards": spec.shard}
    options["dtype"] = VLEN_DTYPES.get(spec.content, spec.dtype)
    if spec.zarr_format == 2:
        from numcodecs import get_codec

        filters, compressor = V2_CODECS.get(spec.codec, ([], None))
        encoders = [get_codec(filter_) for filter_ in filters] or None
        return zarr.create_array(
            str(path),
            **options,
            zarr_format=2,
            filters=encoders,
            compressors=None if compressor is None else get_codec(compressor),
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
        part = values[first : first + step]
        array[first : first + step] = part.astype(object) if spec.content == "station-bytes" else part
    shutil.rmtree(path, ignore_errors=True)
    unfinished.replace(path)


def parse_spec(text: str) -> ArraySpec:
    fields: dict[str, Any] = json.loads(text)
    for key in ("shape", "chunk", "shard"):
        fields[key] = None if fields[key] is None else tuple(fields[key])
    return ArraySpec(**fields)


if __name__ == "__main__":
    write(Path(sys.argv[2]), parse_spec(sys.argv[1]))
