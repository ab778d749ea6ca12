"""Who takes part where boxes of a Zarr array are read: each in its library's own way, with its best settings."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import limits
from _common import GIB, Entry, UnavailableError

Starts = npt.NDArray[np.int64]  # (crop, dimension)
Crops = npt.NDArray[Any] | Sequence[npt.NDArray[Any]]
ReadCrops = Callable[[Starts], Crops]

CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class CropTask:
    """Crops of one shape out of one array, in batches; points, single chunks and whole arrays are crops, too."""

    path: str
    truth: str  # the same values as a .npy file
    crop_shape: tuple[int, ...]
    batches: tuple[Starts, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = np.load(self.truth, mmap_mode="r").dtype
        return dtype

    @property
    def crop_nbytes(self) -> int:
        return int(np.prod(self.crop_shape)) * self.dtype.itemsize


def selection(start: npt.NDArray[np.int64], shape: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(first, first + count) for first, count in zip(start.tolist(), shape, strict=True))


def new_output(task: CropTask) -> npt.NDArray[Any]:
    output = np.empty((max(map(len, task.batches)), *task.crop_shape), task.dtype)
    output.fill(0)  # touched: who reads into it does not pay for its pages
    return output


def ringio(task: CropTask, way: str) -> ReadCrops:
    import ringio_zarr
    from ringio import Reader

    reader = {"direct": lambda: Reader(direct=True), "auto": lambda: Reader(direct="auto")}.get(way, lambda: None)()
    array = ringio_zarr.open_array(task.path, reader=reader)
    if way == "points":
        return lambda starts: array.vindex[tuple(starts.T)].reshape(len(starts), *task.crop_shape)
    if way == "rows":
        return lambda starts: array.oindex[starts[:, 0]].reshape(len(starts), *task.crop_shape)
    if way == "getitem":
        return lambda starts: [array[selection(start, task.crop_shape)] for start in starts]
    if way == "out":
        output = new_output(task)
        return lambda starts: array.read_crops(starts, task.crop_shape, out=output[: len(starts)])
    return lambda starts: array.read_crops(starts, task.crop_shape)


def open_tensorstore(path: str) -> Any:
    import tensorstore as ts

    # Decoded chunks are not kept (nobody here keeps them), shard indexes are: TensorStore holds those in the metadata
    # cache, and "open" spares it a stat of every shard before every read.
    return ts.open(
        {
            "driver": "zarr" if (Path(path) / ".zarray").exists() else "zarr3",
            "kvstore": {"driver": "file", "path": path},
            "recheck_cached_data": "open",
            "metadata_cache_pool": "cache_pool#metadata",
        },
        open=True,
        read=True,
        context=ts.Context(
            {"cache_pool": {"total_bytes_limit": 0}, "cache_pool#metadata": {"total_bytes_limit": GIB}},
        ),
    ).result()


def tensorstore(task: CropTask, way: str) -> ReadCrops:
    import tensorstore as ts

    array = open_tensorstore(task.path)

    def crop(start: npt.NDArray[np.int64]) -> Any:
        return array[selection(start, task.crop_shape)]

    def one_by_one(starts: Starts) -> Crops:
        return [crop(start).read().result() for start in starts]

    def futures(starts: Starts) -> Crops:
        pending = [crop(start).read() for start in starts]
        return [future.result() for future in pending]

    def batch(starts: Starts) -> Crops:
        with ts.Batch() as group:
            pending = [crop(start).read(batch=group) for start in starts]
        return [future.result() for future in pending]

    def points(starts: Starts) -> Crops:
        values: npt.NDArray[Any] = array.vindex[tuple(starts.T)].read().result()
        return values.reshape(len(starts), *task.crop_shape)

    def rows(starts: Starts) -> Crops:
        values: npt.NDArray[Any] = array.oindex[starts[:, 0]].read().result()
        return values.reshape(len(starts), *task.crop_shape)

    output = new_output(task)
    targets = ts.array(output)

    def out(starts: Starts) -> Crops:
        pending = [targets[index].write(crop(start)) for index, start in enumerate(starts)]
        for future in pending:
            future.result()
        return output[: len(starts)]

    def out_batch(starts: Starts) -> Crops:
        with ts.Batch() as group:
            pending = [targets[index].write(crop(start), batch=group) for index, start in enumerate(starts)]
        for future in pending:
            future.result()
        return output[: len(starts)]

    ways = {"one by one": one_by_one, "futures": futures, "Batch": batch, "points": points, "rows": rows}
    return (ways | {"out": out, "out, Batch": out_batch})[way]


def spread(read_one: Callable[[npt.NDArray[np.int64]], npt.NDArray[Any]], way: str) -> ReadCrops:
    """Reads crops one by one, or as many at a time as there are cores."""
    if way == "threads":
        pool = ThreadPoolExecutor(CORES)
        return lambda starts: list(pool.map(read_one, starts))
    return lambda starts: [read_one(start) for start in starts]


def zarrista(task: CropTask, way: str) -> ReadCrops:
    import zarrista
    from zarrista.store import FilesystemStore

    # Its cache of shard indexes serves calls for single inner chunks only; putting crops together from those in Python
    # is slower (0.7 times on 80 KiB and on 2 KiB inner chunks) than letting it read the index again for every crop.
    array = zarrista.Array.open(FilesystemStore(task.path))

    def read_one(start: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        return np.asarray(array.retrieve_array_subset(selection(start, task.crop_shape)))

    return spread(read_one, way)


def zarr_python(task: CropTask, way: str, pipeline: str | None = None) -> ReadCrops:
    import zarr

    if pipeline is not None:
        zarr.config.set({"codec_pipeline.path": pipeline, "codec_pipeline.strict": True})
    array: Any = zarr.open_array(task.path, mode="r")
    if way == "points":
        return lambda starts: array.vindex[tuple(starts.T)].reshape(len(starts), *task.crop_shape)
    if way == "rows":
        return lambda starts: array.oindex[starts[:, 0]].reshape(len(starts), *task.crop_shape)
    return spread(lambda start: array[selection(start, task.crop_shape)], way)


def zarrs_python(task: CropTask, way: str) -> ReadCrops:
    import zarrs  # noqa: F401  (registers its pipeline)

    return zarr_python(task, way, "zarrs.ZarrsCodecPipeline")


def zarr_fused(task: CropTask, way: str) -> ReadCrops:
    from zarr.core import codec_pipeline

    if not hasattr(codec_pipeline, "FusedCodecPipeline"):
        raise UnavailableError("this zarr-python has no fused pipeline (3.4 has)")
    return zarr_python(task, way, "zarr.core.codec_pipeline.FusedCodecPipeline")


CONTENDERS: dict[str, tuple[Callable[[CropTask, str], ReadCrops], str]] = {
    "ringio": (ringio, "new"),
    "ringio, `out=`": (ringio, "out"),
    "ringio, `direct=True`": (ringio, "direct"),
    'ringio, `direct="auto"`': (ringio, "auto"),
    "ringio, `array[...]`": (ringio, "getitem"),
    "ringio, `vindex`": (ringio, "points"),
    "ringio, `oindex`": (ringio, "rows"),
    "TensorStore, one by one": (tensorstore, "one by one"),
    "TensorStore, all futures at once": (tensorstore, "futures"),
    "TensorStore, `ts.Batch`": (tensorstore, "Batch"),
    "TensorStore, all futures into `ts.array(out)`": (tensorstore, "out"),
    "TensorStore, `ts.Batch` into `ts.array(out)`": (tensorstore, "out, Batch"),
    "TensorStore, `vindex`": (tensorstore, "points"),
    "TensorStore, `oindex`": (tensorstore, "rows"),
    "zarrista, one by one": (zarrista, "one by one"),
    "zarrista, in threads": (zarrista, "threads"),
    "zarrs-python, one by one": (zarrs_python, "one by one"),
    "zarrs-python, in threads": (zarrs_python, "threads"),
    "zarr-python, fused pipeline, one by one": (zarr_fused, "one by one"),
    "zarr-python, fused pipeline, in threads": (zarr_fused, "threads"),
    "zarr-python, fused pipeline, `vindex`": (zarr_fused, "points"),
    "zarr-python, fused pipeline, `oindex`": (zarr_fused, "rows"),
    "zarr-python": (zarr_python, "one by one"),
    "zarr-python, `vindex`": (zarr_python, "points"),
}


def same(crop: npt.NDArray[Any], expected: npt.NDArray[Any]) -> bool:
    """Whether all items are equal; looked at in parts, since what numpy finds takes memory, too."""
    if crop.shape != expected.shape:
        return False
    return all(np.array_equal(part, expected_part) for part, expected_part in zip(crop, expected, strict=True))


def entry(contender: str, task: CropTask) -> Entry:
    """Makes a contender, or a limit that takes part like one; called in its own process."""
    if contender == limits.DECODER:
        return limits.decoder_limit(task.path, task.batches, task.crop_shape)
    if contender == limits.MEMORY:
        return limits.memory_limit([len(starts) * task.crop_nbytes for starts in task.batches], task.crop_nbytes)
    if contender == limits.PAGE_CACHE:
        return limits.page_cache_limit_crops(task.path, task.batches, task.crop_shape)
    make, way = CONTENDERS[contender]
    read_crops = make(task, way)

    def run() -> None:
        for starts in task.batches:
            read_crops(starts)

    def check() -> None:
        truth = np.load(task.truth, mmap_mode="r")
        for starts in task.batches:
            crops = read_crops(starts)
            assert len(crops) == len(starts), contender
            for start, crop in zip(starts, crops, strict=True):
                expected = truth[selection(start, task.crop_shape)]
                assert same(crop, expected), f"{contender}: crop at {start.tolist()} is wrong"

    return Entry(run, check)
