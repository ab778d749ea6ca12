"""The core's records of one plan, and how they become its struct."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ._core import ffi
from ._errors import PlanError
from ._named import NamedTuple
from ._records import CHAIN, CODEC, FILE, MAX_U64
from .codecs import CompiledChain

Records: TypeAlias = NDArray[np.void]

_RAW_CHAIN: Final = np.array([(MAX_U64, MAX_U64, 0, 0)], CHAIN)
_NO_CODECS: Final = np.zeros(0, CODEC)


class Recorded(Protocol):
    """What a plan asks of the core's records, its own or those of a draft."""

    @property
    def paths(self) -> bytes: ...
    @property
    def files(self) -> Records: ...
    @property
    def requests(self) -> Records: ...
    @property
    def tasks(self) -> Records: ...
    @property
    def chains(self) -> Records: ...
    @property
    def fill_values(self) -> bytes: ...
    @property
    def task_count(self) -> int: ...
    @property
    def may_have_urls(self) -> bool: ...

    def bind(self, targets: Any) -> Any:
        """``struct ringio_plan *`` with these targets, ``struct ringio_target[]``."""


class PlanRecords(NamedTuple):
    """Arrays as ``struct ringio_plan`` has them, but for the targets."""

    paths: bytes
    files: Records
    requests: Records
    tasks: Records
    projections: Records
    counts: NDArray[np.int64]
    layouts: Records
    chains: Records
    codecs: Records
    fill_values: bytes

    @property
    def task_count(self) -> int:
        """How many chunks are decoded."""
        return len(self.tasks)

    @property
    def may_have_urls(self) -> bool:
        """Whether some of the files may be named by URLs, which is found out fast."""
        return b"://" in self.paths

    def bind(self, targets: Any) -> Any:
        """``struct ringio_plan *`` with these targets, ``struct ringio_target[]``."""
        plan = ffi.new("struct ringio_plan *")
        plan.paths, plan.paths_nbytes = ffi.from_buffer(self.paths), len(self.paths)
        plan.files, plan.file_count = ffi.from_buffer("struct ringio_file[]", self.files), len(self.files)
        plan.requests = ffi.from_buffer("struct ringio_request[]", self.requests)
        plan.request_count = len(self.requests)
        plan.tasks, plan.task_count = ffi.from_buffer("struct ringio_task[]", self.tasks), len(self.tasks)
        plan.projections = ffi.from_buffer("struct ringio_projection[]", self.projections)
        plan.projection_count = len(self.projections)
        plan.counts, plan.dim_count = ffi.from_buffer("int64_t[]", self.counts), self.counts.shape[1]
        plan.chains, plan.chain_count = ffi.from_buffer("struct ringio_chain[]", self.chains), len(self.chains)
        plan.codecs, plan.codec_count = ffi.from_buffer("struct ringio_codec[]", self.codecs), len(self.codecs)
        plan.layouts, plan.layout_count = ffi.from_buffer("struct ringio_layout[]", self.layouts), len(self.layouts)
        plan.fill_values = ffi.from_buffer("uint8_t[]", self.fill_values)
        plan.fill_values_nbytes = len(self.fill_values)
        plan.targets, plan.target_count = targets, len(targets)
        return plan


def path_at(blob: bytes, start: int) -> str:
    """The path that begins there, and ends with a NUL."""
    return os.fsdecode(blob[start : blob.index(b"\0", start)])


def checked(name: str, records: Records, dtype: np.dtype[Any]) -> Records:
    """A caller's records; raises PlanError where they are none."""
    if records.dtype != dtype or records.ndim != 1:
        raise PlanError(f"{name} have dtype {records.dtype} and {records.ndim} dimensions; ringio.planning has theirs")
    return np.ascontiguousarray(records)


def file_records(path_offsets: NDArray[np.uint64], files: Records | None) -> Records:
    """FILE[n] with these paths; what the files must be is as in ``files``."""
    if files is None:
        files = np.zeros(len(path_offsets), FILE)
    elif len(files) != len(path_offsets):
        raise PlanError(f"{len(files)} files, but {len(path_offsets)} paths")
    else:
        files = checked("files", files, FILE).copy()
    files["path_offset"] = path_offsets
    return files


def chain_records(chains: Sequence[CompiledChain]) -> tuple[Records, Records]:
    """CHAIN[n] and the codecs that they point into, CODEC[m]; without chains one that leaves the bytes as they are."""
    if not chains:
        return _RAW_CHAIN, _NO_CODECS
    first = 0
    rows = []
    for chain in chains:
        rows.append((chain.decoded_nbytes, chain.encoded_nbytes_max, first, len(chain.records)))
        first += len(chain.records)
    return np.array(rows, CHAIN), np.concatenate([chain.records for chain in chains])
