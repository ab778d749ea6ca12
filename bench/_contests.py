"""Makes contests of workloads: writes the data, draws the places, and says what the figures are to be divided by."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import _file_contenders
import _range_contenders
import _suite_contenders
from _arrays import VLEN_DTYPES, write_array
from _common import GIB, KIB, MIB, say
from _encoded import Extents, encoded_array, locate, wanted_chunks
from _workloads import FilesWorkload, RangeWorkload, SuiteWorkload, Workload, ZarrWorkload
from _zarr_contenders import CropTask

Starts = npt.NDArray[np.int64]
COALESCED_GAP_NBYTES = 4 * KIB  # the disk limit: chunks no further apart count as one request
COALESCED_NBYTES_MAX = MIB


@dataclass(frozen=True)
class Disk:
    """What the workload wants of the disk."""

    paths: tuple[str, ...]
    request_nbytes: int
    total_nbytes: int


@dataclass(frozen=True)
class Contest:
    """All that the runner needs to know about a workload."""

    name: str
    title: str
    description: str
    module: str  # has ``entry(contender, task)``
    task: Any
    contenders: tuple[str, ...]
    unit: str
    unit_count: int
    chunk_count: int  # what CPU time is divided by: distinct chunks, ranges or files
    result_nbytes: int
    cold: bool
    disk: Disk


def make_contest(workload: Workload, directory: Path) -> Contest:
    """Writes the workload's data to ``directory`` where it is not there yet."""
    directory = directory.resolve()
    if isinstance(workload, ZarrWorkload):
        return zarr_contest(workload, directory)
    if isinstance(workload, RangeWorkload):
        return range_contest(workload, directory)
    if isinstance(workload, FilesWorkload):
        return files_contest(workload, directory)
    return suite_contest(workload, directory)


def random_batches(workload: ZarrWorkload) -> tuple[Starts, ...]:
    rng = np.random.default_rng(7)
    unit = np.array(workload.array.chunk if workload.aligned else (1,) * len(workload.crop_shape))
    places = (np.array(workload.array.shape) - np.array(workload.crop_shape)) // unit + 1
    count, size = workload.crop_count, workload.batch_size
    return tuple(rng.integers(0, places, (size, places.size)) * unit for _ in range(count // size))


def zarr_contest(workload: ZarrWorkload, directory: Path) -> Contest:
    path, truth = write_array(directory, workload.array)
    batches = random_batches(workload)
    task = CropTask(str(path), str(truth), workload.crop_shape, batches)
    array = encoded_array(path)
    wanted = [wanted_chunks(array, starts, workload.crop_shape) for starts in batches]
    pair_count = sum(len(chunks) for crops in wanted for chunks in crops)
    distinct = [np.unique(np.concatenate(crops)) for crops in wanted]
    chunk_count = sum(map(len, distinct))
    extents = locate(array, np.concatenate(distinct))
    request_nbytes = coalesced_nbytes(
        extents, np.repeat(np.arange(len(distinct)), [len(chunks) for chunks in distinct])
    )
    encoded_nbytes = int(extents.nbytes.sum())
    crop_count = sum(map(len, batches))
    is_vlen = workload.array.content in VLEN_DTYPES
    chunk_size = f"{prod(array.inner_chunk):,} items" if is_vlen else size_name(array.chunk_nbytes)
    description = (
        f"{crop_count:,} {workload.unit} of {times(workload.crop_shape)} {array_dtype(workload)} out of "
        f"{times(workload.array.shape)}, {len(batches[0]):,} in a batch. They touch {pair_count:,} inner chunks of "
        f"{chunk_size}, {chunk_count:,} of them distinct in their batch, "
        f"{encoded_nbytes / MIB:,.0f} MiB as they are stored."
    )
    return Contest(
        name=workload.name,
        title=workload.title,
        description=description,
        module="_zarr_contenders",
        task=task,
        contenders=workload.contenders,
        unit=workload.unit,
        unit_count=crop_count,
        chunk_count=chunk_count,
        result_nbytes=crop_count * prod(workload.crop_shape) * array.itemsize,
        cold=workload.cold,
        disk=Disk(tuple(map(str, extents.paths)), request_nbytes, encoded_nbytes),
    )


def coalesced_nbytes(extents: Extents, batch: npt.NDArray[Any]) -> int:
    """Mean size of a request when chunks of one batch that lie side by side are read by one."""
    order = np.lexsort((extents.offsets, extents.path_index, batch))
    offsets, nbytes = extents.offsets[order], extents.nbytes[order]
    gaps = offsets[1:] - offsets[:-1] - nbytes[:-1]
    same_file = (np.diff(extents.path_index[order]) == 0) & (np.diff(batch[order]) == 0)
    request_count = 1 + int(np.count_nonzero(~(same_file & (gaps >= 0) & (gaps <= COALESCED_GAP_NBYTES))))
    return min(int(nbytes.sum()) // request_count, COALESCED_NBYTES_MAX)


def range_contest(workload: RangeWorkload, directory: Path) -> Contest:
    path = directory / f"ranges-{workload.file_nbytes // MIB}MiB.bin"
    write_bytes(path, workload.file_nbytes)
    # Anywhere, not at multiples of the page size: bytes in files have no such manners.
    places = workload.file_nbytes - workload.range_nbytes
    offsets = np.random.default_rng(13).integers(0, places, workload.range_count, dtype=np.int64)
    nbytes = workload.range_count * workload.range_nbytes
    return Contest(
        name=workload.name,
        title=workload.title,
        description=f"{workload.range_count:,} ranges at random places, multiples of nothing, of a file of "
        f"{workload.file_nbytes / GIB:.2g} GiB, in one batch.",
        module="_range_contenders",
        task=_range_contenders.RangeTask(str(path), offsets, workload.range_nbytes),
        contenders=_range_contenders.COLD_NAMES if workload.cold else _range_contenders.HOT_NAMES,
        unit="ranges",
        unit_count=workload.range_count,
        chunk_count=workload.range_count,
        result_nbytes=nbytes,
        cold=workload.cold,
        disk=Disk((str(path),), workload.range_nbytes, nbytes),
    )


def files_contest(workload: FilesWorkload, directory: Path) -> Contest:
    folder = directory / f"files-{workload.file_count}x{workload.file_nbytes // KIB}KiB"
    paths = _file_contenders.write_files(folder, workload.file_count, workload.file_nbytes)
    nbytes = workload.file_count * workload.file_nbytes
    return Contest(
        name=workload.name,
        title=workload.title,
        description=f"{workload.file_count:,} files of {size_name(workload.file_nbytes)} in "
        f"{len({Path(path).parent for path in paths})} folders, read whole in random order, in one batch.",
        module="_file_contenders",
        task=_file_contenders.FilesTask(paths, workload.file_nbytes),
        contenders=_file_contenders.COLD_NAMES if workload.cold else _file_contenders.HOT_NAMES,
        unit="files",
        unit_count=workload.file_count,
        chunk_count=workload.file_count,
        result_nbytes=nbytes,
        cold=workload.cold,
        disk=Disk(paths, workload.file_nbytes, nbytes),
    )


def suite_contest(workload: SuiteWorkload, directory: Path) -> Contest:
    path, truth = write_array(directory, workload.array)
    task = _suite_contenders.SuiteTask(str(path), str(truth), workload.array.shape, workload.box_shape)
    return Contest(
        name=workload.name,
        title=workload.title,
        description=f"{times(workload.array.shape)} uint16 in boxes of {times(workload.box_shape)}, one after the "
        "other. Timed are whole processes: start, imports, opening, reading, exit.",
        module="_suite_contenders",
        task=task,
        contenders=_suite_contenders.CONTENDERS,
        unit="boxes",
        unit_count=len(task.starts),
        chunk_count=int(np.prod(encoded_array(path).inner_grid)),
        result_nbytes=workload.array.nbytes,
        cold=False,
        disk=Disk((), 0, 0),
    )


def write_bytes(path: Path, nbytes: int) -> None:
    """Writes incompressible bytes, always the same; where the file is there already, does nothing."""
    if path.exists() and path.stat().st_size == nbytes:
        return
    say(f"  writing {path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    rng = np.random.default_rng(11)
    with unfinished.open("wb") as file:
        for _ in range(0, nbytes, 64 * MIB):
            file.write(rng.bytes(64 * MIB))
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def times(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))


def array_dtype(workload: ZarrWorkload) -> str:
    return VLEN_DTYPES.get(workload.array.content, str(workload.array.dtype))


def size_name(nbytes: int) -> str:
    return f"{nbytes // MIB} MiB" if nbytes >= MIB else f"{nbytes / KIB:g} KiB"
