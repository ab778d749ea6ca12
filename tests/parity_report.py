"""The parity matrix as a table: what is tried, what matches zarr-python and TensorStore, what is refused and why.

    python tests/parity_report.py                 # all of it, some minutes
    python tests/parity_report.py --only string   # cases whose name has this in it
    python tests/parity_report.py --verbose       # and each case that does not match

The exit status is 1 when a read differs, or when something is refused that zarr-python reads.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from parity.cases import Case, attempt_write, cases
from parity.compare import Outcome, Result, compare, compare_with_tensorstore, open_both
from parity.selections import selections

UNWRITTEN = "zarr-python cannot write it"
TENSORSTORE = {Outcome.MATCHES: "as TensorStore", Outcome.UNREADABLE: "TensorStore cannot"}


def check(case: Case, root: Path) -> list[tuple[str, Result]] | None:
    """Every selection of one case and how it went; None where there is nothing to read."""
    path = root / "array.zarr"
    if not attempt_write(case, path):
        return None
    ours, theirs, problem = open_both(path)
    if problem is not None:
        return [("open", problem)]
    results = [(name, compare(read, ours, theirs)) for name, read in selections(case.shape).items()]
    return [*results, ("TensorStore", compare_with_tensorstore(ours, path, case.zarr_format))]


def main() -> int:
    """Run the matrix and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose name has this in it")
    parser.add_argument("--verbose", action="store_true", help="print each read that does not match")
    arguments = parser.parse_args()
    table: dict[tuple[str, str], Counter[str]] = {}
    problems: list[str] = []
    for case in cases():
        if arguments.only not in case.name:
            continue
        with tempfile.TemporaryDirectory() as directory:
            results = check(case, Path(directory))
        for axis, value in _axes(case):
            row = table.setdefault((axis, value), Counter())
            if results is None:
                row[UNWRITTEN] += 1
                continue
            row.update(_column(name, result) for name, result in results)
        for name, result in results or ():
            if result.outcome in (Outcome.DIFFERS, Outcome.REFUSED):
                detail = result.detail.replace(directory, "")
                problems.append(f"{result.outcome}: {case.name}: {name}: {detail}")
                if arguments.verbose:
                    print(problems[-1], flush=True)
    _print_table(table)
    _print_problems(problems)
    return 1 if problems else 0


def _column(name: str, result: Result) -> str:
    if name == "TensorStore":
        return TENSORSTORE.get(result.outcome, result.outcome.value)
    return result.outcome.value


def _axes(case: Case) -> Iterable[tuple[str, str]]:
    yield "format", f"v{case.zarr_format}"
    yield "data type", case.kind.name
    yield "codecs", case.codec
    yield "layout", case.layout
    yield "fill value", "default" if case.fill is None else "given"
    yield "missing chunks", case.missing
    yield "all", ""


def _print_table(table: dict[tuple[str, str], Counter[str]]) -> None:
    columns = [outcome.value for outcome in Outcome] + [*TENSORSTORE.values(), UNWRITTEN]
    print(f"| {'':41} | " + " | ".join(columns) + " |")
    print(f"|{'-' * 43}|" + "|".join("-" * (len(column) + 1) + ":" for column in columns) + "|")
    for axis, value in sorted(table, key=lambda key: (key[0] == "all", key[0])):
        counts = table[axis, value]
        cells = " | ".join(f"{counts[column] or '':>{len(column)}}" for column in columns)
        print(f"| {axis + ': ' + value if value else axis:41} | {cells} |")


def _print_problems(problems: list[str]) -> None:
    reasons = Counter(problem.split(": ", 3)[-1][:120] for problem in problems)
    if reasons:
        print(f"\n{len(problems)} reads are not as they should be:")
    for reason, count in reasons.most_common(40):
        print(f"{count:6} {reason}")


if __name__ == "__main__":
    sys.exit(main())
