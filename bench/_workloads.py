"""The workloads of ``bench/run.py``: what is read, and who takes part.  Nothing here does anything."""

from __future__ import annotations

from dataclasses import dataclass, replace

from _arrays import ArraySpec
from _common import GIB, KIB, MIB

COLD_LIMITS = ("decoder limit", "memory limit")
LIMITS = (*COLD_LIMITS, "page cache limit")
TENSORSTORE = (
    "TensorStore, all futures at once",
    "TensorStore, `ts.Batch`",
    "TensorStore, `ts.Batch` into `ts.array(out)`",
)
THREADED = ("zarrista, in threads", "zarrs-python, in threads", "zarr-python, fused pipeline, in threads")
SINGLE = ("zarrista, one by one", "zarrs-python, one by one", "zarr-python, fused pipeline, one by one", "zarr-python")

CROPS = (*LIMITS, "ringio", "ringio, `out=`", *TENSORSTORE, *THREADED)
COLD_CROPS = (*COLD_LIMITS, "ringio", "ringio, `direct=True`", 'ringio, `direct="auto"`', *TENSORSTORE, *THREADED)
EVERYBODY = (
    *LIMITS,
    "ringio",
    "ringio, `out=`",
    "TensorStore, one by one",
    *TENSORSTORE,
    "TensorStore, all futures into `ts.array(out)`",
    *THREADED,
    *SINGLE,
)
POINTS = (
    *LIMITS,
    "ringio",
    "ringio, `out=`",
    *TENSORSTORE,
    "TensorStore, `vindex`",
    "zarrista, in threads",
    "zarr-python, fused pipeline, `vindex`",
    "zarr-python, `vindex`",
)
VINDEX = (
    *LIMITS,
    "ringio, `vindex`",
    "TensorStore, `vindex`",
    "zarr-python, fused pipeline, `vindex`",
)
OINDEX = (
    *LIMITS,
    "ringio, `oindex`",
    "TensorStore, `oindex`",
    "zarr-python, fused pipeline, `oindex`",
)
ONE_BY_ONE = (*LIMITS, "ringio, `out=`", "ringio, `array[...]`", "TensorStore, one by one", *SINGLE)
# TensorStore's `out` mode takes part here too: one box has nothing to put into a batch.
WHOLE = (
    *LIMITS,
    "ringio, `array[...]`",
    "ringio, `out=`",
    "TensorStore, one by one",
    "TensorStore, all futures into `ts.array(out)`",
    *SINGLE,
)
FILTERED = (
    *LIMITS,
    "ringio",
    "ringio, `out=`",
    "TensorStore, all futures at once",
    *THREADED,
    "zarr-python, fused pipeline, one by one",
)
STRINGS = ("ringio, `array[...]`", *SINGLE)  # TensorStore has no such data types


@dataclass(frozen=True)
class ZarrWorkload:
    """Boxes of one shape out of an array, in batches."""

    name: str
    title: str
    array: ArraySpec
    crop_shape: tuple[int, ...]
    crop_count: int = 256
    batch_size: int = 32
    aligned: bool = False  # crops start where chunks start
    cold: bool = False
    unit: str = "crops"
    contenders: tuple[str, ...] = CROPS


@dataclass(frozen=True)
class RangeWorkload:
    """Ranges of one length at random places, multiples of nothing, of one file."""

    name: str
    title: str
    range_nbytes: int
    range_count: int
    cold: bool = False
    file_nbytes: int = 2 * GIB


@dataclass(frozen=True)
class FilesWorkload:
    """Many small files, each read whole, in random order."""

    name: str
    title: str
    file_count: int = 20_000
    file_nbytes: int = 16 * KIB
    cold: bool = False


@dataclass(frozen=True)
class SuiteWorkload:
    """What the public zarr_benchmarks measure: whole processes, from start to exit."""

    name: str
    title: str
    array: ArraySpec
    box_shape: tuple[int, ...]  # read one after the other until the array is through


Workload = ZarrWorkload | RangeWorkload | FilesWorkload | SuiteWorkload


def satellite(codec: str, *, steps: int = 48, sharded: bool = True, zarr_format: int = 3) -> ArraySpec:
    shape, chunk = (steps, 1024, 1024, 10), (1, 64, 64, 10)
    return ArraySpec("satellite", codec, shape, chunk, (4, 512, 512, 10) if sharded else None, zarr_format)


def tiny(side: int) -> ArraySpec:
    return ArraySpec("satellite", "lz4", (16, 1024, 1024, 4), (1, 16, side, 4), (4, 512, 512, 4))


def whole(name: str, title: str, array: ArraySpec, contenders: tuple[str, ...] = WHOLE) -> ZarrWorkload:
    return ZarrWorkload(name, title, array, array.shape, 1, 1, aligned=True, unit="arrays", contenders=contenders)


CUBES = ArraySpec("satellite", "lz4", (256, 512, 512, 1), (32, 32, 32, 1), (256, 256, 256, 1))
CHUNK_FILES = satellite("lz4", steps=16, sharded=False)
# A chunk of 2 MiB for each time, as archives of weather have them.
MAPS = ArraySpec("satellite", "lz4", (32, 1024, 1024, 1), (1, 1024, 1024, 1))
V2 = satellite("zlib", steps=16, sharded=False, zarr_format=2)
# One band in chunks of 128 KiB, as gridded data in netCDF-4 files has them.
NETCDF, DELTA, SCALED = (
    ArraySpec(content, codec, (32, 1024, 1024, 1), (1, 256, 256, 1), zarr_format=2)
    for content, codec in (("satellite", "shuffle-zlib"), ("satellite", "delta-zstd"), ("reflectance", "scale-blosc"))
)
NAMES, NAME_BYTES = (ArraySpec(content, "zstd", (1_000_000,), (10_000,)) for content in ("stations", "station-bytes"))
CROP, ONE, CHUNK = (4, 128, 128, 10), (1, 1, 1, 1), (1, 64, 64, 10)
TABLE = ArraySpec("formula", "lz4", (65536, 8, 64), (32, 8, 64), (4096, 8, 64))
LZ4, ZSTD, RAW = (satellite(codec) for codec in ("lz4", "zstd", "raw"))

ZARR_WORKLOADS = (
    ZarrWorkload("crops-lz4", "Crops, blosc-lz4, 80 KiB inner chunks", LZ4, CROP, contenders=EVERYBODY),
    ZarrWorkload("crops-zstd", "Crops, zstd, 80 KiB inner chunks", ZSTD, CROP),
    ZarrWorkload("crops-raw", "Crops, raw, 80 KiB inner chunks", RAW, CROP),
    ZarrWorkload("crops-2k", "Crops, blosc-lz4, 2 KiB inner chunks", tiny(16), (4, 64, 64, 4)),
    ZarrWorkload("crops-4k", "Crops, blosc-lz4, 4 KiB inner chunks", tiny(32), (4, 64, 64, 4)),
    ZarrWorkload("crops-cubes", "64³ crops, blosc-lz4, 32³ inner chunks in 256³ shards", CUBES, (64, 64, 64, 1)),
    ZarrWorkload("crops-files", "Crops, blosc-lz4, a file per 80 KiB chunk", CHUNK_FILES, CROP),
    ZarrWorkload("crops-maps", "64² crops, blosc-lz4, a file per 2 MiB chunk", MAPS, (1, 64, 64, 1), 256, 8),
    ZarrWorkload("crops-v2", "Crops, Zarr v2, zlib, a file per 80 KiB chunk", V2, CROP, 64),
    ZarrWorkload("filters-netcdf", "Crops, Zarr v2, shuffle and zlib", NETCDF, (4, 128, 128, 1), contenders=FILTERED),
    whole("filters-delta", "Zarr v2, delta, shuffle, zstd", DELTA),
    whole("filters-scale", "Zarr v2, fixedscaleoffset, blosc", SCALED),
    whole("strings", "A million names, `string`", NAMES, STRINGS),
    whole("strings-bytes", "A million names, `variable_length_bytes`", NAME_BYTES, STRINGS),
    ZarrWorkload("points-batch", "2,000 points in one batch", LZ4, ONE, 2000, 2000, unit="points", contenders=POINTS),
    ZarrWorkload("vindex", "20,000 points, `vindex`", LZ4, ONE, 20_000, 20_000, unit="points", contenders=VINDEX),
    ZarrWorkload(
        "oindex", "10,000 rows of a table, `oindex`", TABLE, (1, 8, 64), 10_000, 10_000, unit="rows", contenders=OINDEX
    ),
    ZarrWorkload("points-single", "Points, one at a time", LZ4, ONE, 500, 1, unit="points", contenders=ONE_BY_ONE),
    ZarrWorkload(
        "chunks-single", "Chunks, one at a time", LZ4, CHUNK, 500, 1, True, unit="chunks", contenders=ONE_BY_ONE
    ),
    whole("whole", "One array read whole", satellite("lz4", steps=16)),
    ZarrWorkload("crops-lz4-cold", "Crops, blosc-lz4, cold", LZ4, CROP, cold=True, contenders=COLD_CROPS),
    ZarrWorkload("crops-raw-cold", "Crops, raw, cold", RAW, CROP, cold=True, contenders=COLD_CROPS),
    ZarrWorkload(
        "crops-files-cold", "Crops, a file per chunk, cold", CHUNK_FILES, CROP, 64, cold=True, contenders=COLD_CROPS
    ),
)
FILE_WORKLOADS: tuple[Workload, ...] = (
    RangeWorkload("ranges-4k", "Ranges of 4 KiB", 4 * KIB, 50_000),
    RangeWorkload("ranges-64k", "Ranges of 64 KiB", 64 * KIB, 8_000),
    RangeWorkload("ranges-1m", "Ranges of 1 MiB", MIB, 500),
    RangeWorkload("ranges-4k-cold", "Ranges of 4 KiB, cold", 4 * KIB, 20_000, cold=True),
    RangeWorkload("ranges-64k-cold", "Ranges of 64 KiB, cold", 64 * KIB, 4_000, cold=True),
    RangeWorkload("ranges-1m-cold", "Ranges of 1 MiB, cold", MIB, 500, cold=True),
    FilesWorkload("files", "20,000 files of 16 KiB"),
    FilesWorkload("files-cold", "20,000 files of 16 KiB, cold", cold=True),
)


def suite(side: int) -> tuple[SuiteWorkload, ...]:
    """Three arrays of ``side``³ uint16 (a multiple of 256) and what is read of them."""
    shape, chunk, inner = (side,) * 3, (256,) * 3, (64,) * 3
    raw, zstd = ArraySpec("formula", "raw", shape, chunk), ArraySpec("formula", "zstd", shape, chunk)
    sharded = ArraySpec("formula", "zstd", shape, inner, chunk)
    return (
        SuiteWorkload("suite-raw-all", f"zarr_benchmarks, {side}³, raw 256³ chunks, all at once", raw, shape),
        SuiteWorkload("suite-raw-chunks", f"zarr_benchmarks, {side}³, raw, chunk by chunk", raw, chunk),
        SuiteWorkload("suite-zstd-all", f"zarr_benchmarks, {side}³, zstd 256³ chunks, all at once", zstd, shape),
        SuiteWorkload("suite-zstd-chunks", f"zarr_benchmarks, {side}³, zstd, chunk by chunk", zstd, chunk),
        SuiteWorkload("suite-shards-all", f"zarr_benchmarks, {side}³, 256³ shards, all at once", sharded, shape),
        SuiteWorkload("suite-shards-chunks", f"zarr_benchmarks, {side}³, shard by shard", sharded, chunk),
        SuiteWorkload("suite-shards-inner", f"zarr_benchmarks, {side}³, inner chunk by inner chunk", sharded, inner),
    )


def all_workloads(suite_side: int) -> list[Workload]:
    return [*ZARR_WORKLOADS, *FILE_WORKLOADS, *suite(suite_side)]


def quick(workload: Workload) -> Workload:
    """The same with little data: everything runs, and the figures mean nothing."""
    if isinstance(workload, RangeWorkload):
        count = max(16, workload.range_count // 50)
        return replace(workload, range_count=count, file_nbytes=64 * MIB)
    if isinstance(workload, FilesWorkload):
        return replace(workload, file_count=500)
    array, whole = workload.array, workload.array.shape
    shape = array.shard or tuple(min(length, 4 * chunk) for length, chunk in zip(whole, array.chunk))
    if isinstance(workload, SuiteWorkload):
        shape = (256, 256, 256)
        box = shape if workload.box_shape == whole else workload.box_shape
        return replace(workload, array=replace(array, shape=shape), box_shape=box)
    crop_shape = shape if workload.crop_shape == whole else workload.crop_shape
    count = min(workload.crop_count, 16)
    batch_size = min(workload.batch_size, max(count // 2, 1))
    return replace(
        workload,
        array=replace(array, shape=shape),
        crop_shape=crop_shape,
        crop_count=count,
        batch_size=batch_size,
    )
