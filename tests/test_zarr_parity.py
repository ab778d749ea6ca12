"""ringio_zarr gives what zarr-python gives, bit for bit, for each array of the parity matrix."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity.cases import V2_CHECKSUMS, V2_COMPRESSORS, V3_COMPRESSORS, Case, attempt_write, cases
from parity.compare import Outcome, compare, compare_with_tensorstore, open_both
from parity.selections import FEW, selections

# Compressors see bytes: all of them with these, a few with the others.  parity_report.py has every pair.
THOROUGH = {"bool", "int16", "float64", "struct", "string"}
FAMILIES = ("zstd", "lz4", "blosc lz4 1", "blosc zstd bitshuffle", "numcodecs.zlib", "numcodecs.bz2", "fletcher32")
SELDOM = {codec for codec in V2_COMPRESSORS | V3_COMPRESSORS | V2_CHECKSUMS if codec not in FAMILIES}
CASES = [case for case in cases() if case.kind.name in THOROUGH or case.codec not in SELDOM]


@pytest.mark.zarr_3_4
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_array_reads_as_with_zarr_python(case: Case, tmp_path: Path) -> None:
    path = tmp_path / "array.zarr"
    if not attempt_write(case, path):
        return  # zarr-python cannot write it; parity_report.py counts these
    ours, theirs, problem = open_both(path)
    if problem is not None:
        assert problem.outcome is Outcome.UNREADABLE, problem.detail
        return
    for name, read in selections(case.shape).items():
        # Where the point of a case is its codec, a few reads show as much as all.
        if name in FEW or case.codec == "default":
            result = compare(read, ours, theirs)
            assert result.outcome in (Outcome.MATCHES, Outcome.UNREADABLE), f"{name}: {result.detail}"
    result = compare_with_tensorstore(ours, path, case.zarr_format)
    assert result.outcome in (Outcome.MATCHES, Outcome.UNREADABLE), f"TensorStore: {result.detail}"
