"""Some of the chunks that boxes touch, with what is to be done with them."""

from __future__ import annotations

import numpy as np

from ringio import planning

from ._locate import Located


def part_of(found: planning.Intersection, first: int, end: int) -> planning.Intersection:
    """The chunks from the first to the one before the end, or as many as there are."""
    if first == 0 and end >= len(found.chunk_ids):
        return found
    firsts = found.first_projections[first : end + 1]
    pairs = slice(int(firsts[0]), int(firsts[-1]))
    chunk_ids = found.chunk_ids[first:end]
    return planning.Intersection(chunk_ids, firsts - firsts[0], found.projections[pairs], found.counts[pairs])


def drop_bad(found: planning.Intersection, located: Located) -> tuple[planning.Intersection, Located]:
    """The same without the chunks that cannot be found."""
    assert located.bad is not None
    good = ~located.bad
    pair_counts = np.diff(found.first_projections)
    pairs = np.repeat(good, pair_counts.view(np.int64))
    first_projections = np.zeros(int(good.sum()) + 1, np.uint64)
    np.cumsum(pair_counts[good], out=first_projections[1:])
    kept = located._replace(
        file_numbers=located.file_numbers[good],
        offsets=located.offsets[good],
        nbytes=located.nbytes[good],
        bad=None,
    )
    return (
        planning.Intersection(found.chunk_ids[good], first_projections, found.projections[pairs], found.counts[pairs]),
        kept,
    )
