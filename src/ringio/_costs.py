"""What requests cost, by where objects are: how far apart ranges may be that are read by one, and how large it gets.

A gap is worth reading where that takes no longer than a request of its own: up to bandwidth times the cost of a
request. That cost is not the latency of a server, which requests in flight share, but the time that a request keeps a
core busy: 100 to 200 us. With a network of 500 MB/s that makes some 64 KiB; in a cloud, where networks are faster and
requests have a price, twice that. Requests of 4 MiB take a connection of 100 MB/s twice the usual latency, so larger
ones would gain little, and smaller ones share the connections more evenly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from . import planning
from ._kernels import U64
from ._named import NamedTuple
from ._paths import scheme_of


class Costs(NamedTuple):
    """How ranges are merged.

    Attributes:
        max_gap_bytes: two ranges no further apart than this are read by one request.
        max_request_bytes: requests grow no further than this by merging.
    """

    max_gap_bytes: int
    max_request_bytes: int


LOCAL: Final = Costs(planning.LOCAL_MAX_GAP_BYTES, planning.LOCAL_MAX_REQUEST_BYTES)
HTTP: Final = Costs(64 << 10, 4 << 20)
CLOUD: Final = Costs(128 << 10, 4 << 20)
MEMORY: Final = Costs(4 << 10, 4 << 20)
_BY_SCHEME: Final = {"http": HTTP, "https": HTTP, "memory": MEMORY}


def of_object(path: str) -> Costs:
    """What requests for an object cost: by its URL; a key in a store of the caller's is as a URL of plain HTTP.

    >>> of_object("s3://bucket/key").max_gap_bytes
    131072
    """
    scheme = scheme_of(path)
    return _BY_SCHEME.get(scheme, CLOUD) if scheme else HTTP


def of_files(
    paths: Sequence[str],
    are_objects: NDArray[np.bool_] | None,
    max_gap_bytes: int | None,
    max_request_bytes: int | None,
    local: Costs = LOCAL,
) -> Sequence[Costs]:
    """The costs of each file; of one only, where all have the same.

    Args:
        paths: of the files.
        are_objects: which of them are in stores; None: none.
        max_gap_bytes: for all of them; None: what suits each.
        max_request_bytes: the same.
        local: of those that are in no store.
    """
    if are_objects is None and max_gap_bytes is None and max_request_bytes is None:
        return (local,)

    def chosen(costs: Costs) -> Costs:
        return Costs(
            costs.max_gap_bytes if max_gap_bytes is None else max_gap_bytes,
            costs.max_request_bytes if max_request_bytes is None else max_request_bytes,
        )

    if are_objects is None:
        return (chosen(local),)
    return [chosen(of_object(path) if there else local) for path, there in zip(paths, are_objects, strict=True)]


def coalesce(
    files: NDArray[np.uint32],
    offsets: U64,
    nbytes: U64,
    first_projections: U64,
    costs: Sequence[Costs],
    **options: Any,
) -> tuple[NDArray[np.void], NDArray[np.void], U64]:
    """``planning.coalesce`` for files of different costs.

    Args:
        files: uint32[n].
        offsets: uint64[n].
        nbytes: uint64[n].
        first_projections: uint64[n + 1].
        costs: of each file; one where all have the same.
        options: ``chains`` and ``missing_fills``.
    """
    kinds = {cost: number for number, cost in enumerate(dict.fromkeys(costs))}
    if len(kinds) == 1:
        return planning.coalesce(files, offsets, nbytes, first_projections, **costs[0]._asdict(), **options)
    kind_of_file = np.array([kinds[cost] for cost in costs], np.int64)
    # Missing pieces may name any file.
    kind = kind_of_file.take(files, mode="clip")
    chains = options.pop("chains", None)
    all_requests, all_tasks, all_pieces = [], [], []
    task_count = 0
    for cost, number in kinds.items():
        chosen = np.flatnonzero(kind == number)
        requests, tasks, pieces = planning.coalesce(
            files[chosen],
            offsets[chosen],
            nbytes[chosen],
            np.arange(len(chosen) + 1, dtype=np.uint64),
            chains=None if chains is None else chains[chosen],
            max_gap_bytes=cost.max_gap_bytes,
            max_request_bytes=cost.max_request_bytes,
            **options,
        )
        pieces = chosen[pieces.astype(np.int64)].astype(np.uint64)
        tasks["first_projection"] = first_projections[pieces]
        tasks["projection_count"] = (first_projections[pieces + np.uint64(1)] - first_projections[pieces]).astype(
            np.uint32
        )
        requests["first_task"] += np.uint32(task_count)
        task_count += len(tasks)
        all_requests.append(requests)
        all_tasks.append(tasks)
        all_pieces.append(pieces)
    return np.concatenate(all_requests), np.concatenate(all_tasks), np.concatenate(all_pieces)
