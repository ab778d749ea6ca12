"""Who takes part where whole processes are timed, as the public zarr_benchmarks do: start, imports, reading, exit.

python bench/_suite_contenders.py ringio '{"path": ...}' [--check]      # what is timed
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import limits
from _common import Entry, UnavailableError, peak_rss_bytes

ReadBox = Callable[[tuple[slice, ...]], npt.NDArray[Any]]
NOT_THERE = 77  # exit status: this library cannot take part


@dataclass(frozen=True)
class SuiteTask:
    """An array, read in boxes one after the other until it is through."""

    path: str
    truth: str
    shape: tuple[int, ...]
    box_shape: tuple[int, ...]

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        axes = [range(0, length, step) for length, step in zip(self.shape, self.box_shape)]
        return np.array(list(itertools.product(*axes)), np.int64)

    def boxes(self) -> list[tuple[slice, ...]]:
        return [
            tuple(slice(first, first + count) for first, count in zip(start, self.box_shape))
            for start in self.starts.tolist()
        ]


def ringio(path: str) -> ReadBox:
    import ringio_zarr

    return ringio_zarr.open_array(path).__getitem__


def tensorstore(path: str) -> ReadBox:
    from _zarr_contenders import open_tensorstore

    array = open_tensorstore(path)
    return lambda box: array[box].read().result()


def zarrista(path: str) -> ReadBox:
    import zarrista as library
    from zarrista.store import FilesystemStore

    array = library.Array.open(FilesystemStore(path))
    return lambda box: np.asarray(array.retrieve_array_subset(box))


def zarr_python(path: str, pipeline: str | None = None) -> ReadBox:
    import zarr

    if pipeline is not None:
        zarr.config.set({"codec_pipeline.path": pipeline, "codec_pipeline.strict": True})
    array: Any = zarr.open_array(path, mode="r")
    return lambda box: array[box]


def zarrs_python(path: str) -> ReadBox:
    import zarrs  # noqa: F401  (registers its pipeline)

    return zarr_python(path, "zarrs.ZarrsCodecPipeline")


def zarr_fused(path: str) -> ReadBox:
    from zarr.core import codec_pipeline

    if not hasattr(codec_pipeline, "FusedCodecPipeline"):
        raise UnavailableError("this zarr-python has no fused pipeline (3.4 has)")
    return zarr_python(path, "zarr.core.codec_pipeline.FusedCodecPipeline")


LIBRARIES: dict[str, Callable[[str], ReadBox]] = {
    "ringio": ringio,
    "TensorStore": tensorstore,
    "zarrista": zarrista,
    "zarrs-python": zarrs_python,
    "zarr-python, fused pipeline": zarr_fused,
    "zarr-python": zarr_python,
}
CONTENDERS = (limits.DECODER, limits.MEMORY, *LIBRARIES)


def entry(contender: str, task: SuiteTask) -> Entry:
    """Makes a contender that starts a process per run, or a limit; called in its own process."""
    if contender == limits.DECODER:
        return after_python(limits.decoder_limit(task.path, [start[None] for start in task.starts], task.box_shape))
    if contender == limits.MEMORY:
        box_nbytes = 2 * int(np.prod(task.box_shape))
        return after_python(limits.memory_limit([box_nbytes] * len(task.starts), box_nbytes))
    command = [sys.executable, __file__, contender, json.dumps(asdict(task))]
    peaks: list[int] = []

    def run() -> None:
        finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        peaks.append(int(finished.stdout))

    def check() -> None:
        finished = subprocess.run([*command, "--check"], capture_output=True, text=True)
        if finished.returncode == NOT_THERE:
            raise UnavailableError(finished.stderr.strip())
        assert finished.returncode == 0, f"{contender}: {finished.stderr}"

    return Entry(run, check, lambda: max(peaks))


def after_python(limit: Entry) -> Entry:
    """The limit of a whole process: Python starts and imports numpy, which everybody needs, and then the limit."""

    def run() -> None:
        subprocess.run([sys.executable, "-c", "import numpy"], check=True)
        limit.run()

    return Entry(run, limit.check)


def main() -> None:
    """The process that is timed."""
    contender = sys.argv[1]
    fields: dict[str, Any] = json.loads(sys.argv[2])
    task = SuiteTask(**fields)
    truth = np.load(task.truth, mmap_mode="r") if "--check" in sys.argv else None
    try:
        read = LIBRARIES[contender](task.path)
    except (UnavailableError, ImportError) as error:
        print(error, file=sys.stderr)
        sys.exit(NOT_THERE)
    for box in task.boxes():
        values = read(box)
        assert truth is None or np.array_equal(values, truth[box]), f"{contender}: {box} is wrong"
    print(peak_rss_bytes())


if __name__ == "__main__":
    main()
