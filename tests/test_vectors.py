"""Raw chunks with long rows: the kernel puts each row where it goes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ringio
from ringio import Plan, Task
from ringio.testing import faulty_reader

CHUNK = (2, 3, 9600)  # uint8, so a row of 9,600 bytes
CHUNK_COUNT = 4
CHUNK_NBYTES = int(np.prod(CHUNK))


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A file of raw chunks with 100 bytes between them, and their values."""
    chunks = np.random.default_rng(1).integers(0, 256, (CHUNK_COUNT, *CHUNK), np.uint8)
    path = tmp_path_factory.mktemp("raw") / "chunks"
    path.write_bytes(b"".join(chunk.tobytes() + bytes(100) for chunk in chunks))
    ranges = [(path, i * (CHUNK_NBYTES + 100), CHUNK_NBYTES) for i in range(CHUNK_COUNT)]
    return ranges, chunks


@st.composite
def boxes(draw):
    """For each chunk a box, whose rows are above and below the length from which they are placed by the kernel."""
    found = []
    for chunk in draw(st.permutations(range(CHUNK_COUNT))):
        counts = (draw(st.integers(1, 2)), draw(st.integers(1, 3)), draw(st.sampled_from([9600, 8500, 90])))
        starts = tuple(draw(st.integers(0, extent - count)) for extent, count in zip(CHUNK, counts, strict=True))
        found.append((chunk, starts, counts))
    return found


def execute(reader, stored, drawn, out, gap, **options):
    ranges, chunks = stored
    tasks = [Task(chunk, CHUNK, start, counts, (4 * i, 1, 1)) for i, (chunk, start, counts) in enumerate(drawn)]
    expected = out.copy()
    for task in tasks:
        target = tuple(slice(a, a + n) for a, n in zip(task.target_start, task.counts, strict=True))
        source = tuple(slice(a, a + n) for a, n in zip(task.source_start, task.counts, strict=True))
        expected[target] = chunks[task.range_index][source]
    errors = reader.execute(Plan(ranges, tasks, dtype="u1", max_gap_bytes=gap), out, **options)
    return expected, errors


def new_target():
    return np.full((4 * CHUNK_COUNT + 1, 7, 9603), 0xEE, np.uint8)


@given(boxes(), st.sampled_from([0, 4096, 1 << 20]), st.booleans())
def test_rows_land_where_they_belong(reader, stored, drawn, gap, reverse):
    out = new_target()
    out = out[:, ::-1] if reverse else out
    expected, _ = execute(reader, stored, drawn, out, gap)
    assert np.array_equal(out, expected)


def test_no_byte_is_read_before_the_first_or_behind_the_last_that_is_wanted(stored):
    with ringio.Reader("threads", workers=1) as reader:
        execute(reader, stored, [(1, (1, 1, 100), (1, 2, 9000))], new_target(), 0)
        assert reader.statistics().bytes_read == 9000 + 600 + 9000


@pytest.mark.parametrize("backend_name", ["io_uring", "threads"])
@given(drawn=boxes(), seed=st.integers(0, 1 << 30))
def test_faults_that_pass_are_not_seen(backend_name, stored, drawn, seed):
    faults = {"short": 2, "zero": 4, "eintr": 3, "eagain": 3, "late": 2, "submit": 3}
    with faulty_reader(backend_name, seed=seed, workers=1, **faults) as reader:
        out = new_target()
        expected, _ = execute(reader, stored, drawn, out, 4096)
        assert np.array_equal(out, expected)


def test_a_read_that_fails_is_done_again_chunk_by_chunk(stored):
    drawn = [(chunk, (0, 0, 0), (2, 3, 9000)) for chunk in range(CHUNK_COUNT)]
    with faulty_reader("threads", seed=1, eio=1, workers=1) as reader:
        out = new_target()
        expected, _ = execute(reader, stored, drawn, out, 1 << 20)
        assert np.array_equal(out, expected)
        assert reader.statistics().requests == 1


def test_a_file_that_was_cut_short(tmp_path):
    path = tmp_path / "short"
    path.write_bytes(bytes(CHUNK_NBYTES - 1))
    plan = Plan([(path, 0, CHUNK_NBYTES)], [Task(0, CHUNK, (0, 0, 0), (1, 2, 9000), (0, 0, 0))], dtype="u1")
    with pytest.raises(ringio.RangeError, match=f"{CHUNK_NBYTES - 1}"):
        ringio.Reader(workers=1).execute(plan, np.zeros(CHUNK, np.uint8))
