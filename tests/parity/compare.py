"""What ringio_zarr makes of an array of the matrix, next to what others make of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

import ringio_zarr


class Outcome(StrEnum):
    """How a read went."""

    MATCHES = "matches"
    DIFFERS = "differs"
    REFUSED = "refused"
    UNREADABLE = "unreadable by the other one"


class Result(NamedTuple):
    """One read: of a case, or of one of its selections."""

    outcome: Outcome
    detail: str = ""


def same(ours: Any, theirs: Any) -> str:
    """What is different about two results, down to the bits of NaNs; "" if nothing is."""
    if not isinstance(ours, np.ndarray):
        theirs = _unwrap(theirs)
    if type(ours) is not type(theirs):
        return f"type {type(ours).__name__}, expected {type(theirs).__name__}"
    left, right = np.asarray(ours), np.asarray(theirs)
    if left.shape != right.shape:
        return f"shape {left.shape}, expected {right.shape}"
    if left.dtype != right.dtype:
        return f"dtype {left.dtype!r}, expected {right.dtype!r}"
    if left.dtype.kind in "OT":
        equal = all(_same_item(a, b) for a, b in zip(left.ravel().tolist(), right.ravel().tolist(), strict=True))
    else:
        equal = left.tobytes() == right.tobytes()
    return "" if equal else f"values {left.ravel()[:4]!r}, expected {right.ravel()[:4]!r}"


def _unwrap(item: Any) -> Any:
    """zarr-python 3.4 gives a single item of dtype object in an array without dimensions, or in two."""
    while isinstance(item, np.ndarray) and item.ndim == 0 and item.dtype == object:
        item = item.item()
    return item


def _same_item(ours: Any, theirs: Any) -> bool:
    theirs = _unwrap(theirs)
    if isinstance(ours, np.ndarray):
        return same(ours, theirs) == ""
    return type(ours) is type(theirs) and bool(ours == theirs)


def attempt(read: Callable[[], Any]) -> tuple[Any, Exception | None]:
    """The result, or the exception."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read(), None
    except Exception as error:
        return None, error


REFUSALS = (ringio_zarr.UnsupportedError, NotImplementedError)


def compare(read: Callable[[Any], Any], ours: Any, theirs: Any) -> Result:
    """One read of two arrays."""
    expected, their_error = attempt(lambda: read(theirs))
    got, our_error = attempt(lambda: read(ours))
    if their_error is not None:
        if our_error is None:
            return Result(Outcome.UNREADABLE, f"{type(their_error).__name__}: {their_error}")
        return Result(Outcome.MATCHES if _alike(our_error, their_error) else Outcome.DIFFERS, f"{our_error!r:.200}")
    if our_error is not None:
        return Result(Outcome.REFUSED if isinstance(our_error, REFUSALS) else Outcome.DIFFERS, f"{our_error!r:.200}")
    problem = same(got, expected)
    return Result(Outcome.DIFFERS if problem else Outcome.MATCHES, problem)


def _alike(ours: Exception, theirs: Exception) -> bool:
    """Whether who catches the one catches the other."""
    kinds = (IndexError, ValueError, TypeError, KeyError, OSError)
    return any(isinstance(ours, kind) and isinstance(theirs, kind) for kind in kinds)


def in_memory(path: Path) -> MemoryStore:
    """What is below a folder, where zarr-python reads it in half the time."""
    make = default_buffer_prototype().buffer.from_bytes
    files = (file for file in path.rglob("*") if file.is_file())
    return MemoryStore({file.relative_to(path).as_posix(): make(file.read_bytes()) for file in files})


def open_both(path: Path) -> tuple[Any, Any, Result | None]:
    """The array as ringio_zarr has it, as zarr-python has it, and a result if one of them does not have it."""
    theirs, their_error = attempt(lambda: zarr.open_array(in_memory(path), mode="r"))
    ours, our_error = attempt(lambda: ringio_zarr.open_array(path))
    if their_error is not None:
        return ours, theirs, Result(Outcome.UNREADABLE, f"{type(their_error).__name__}: {their_error!s:.200}")
    if our_error is not None:
        outcome = Outcome.REFUSED if isinstance(our_error, REFUSALS) else Outcome.DIFFERS
        return ours, theirs, Result(outcome, f"{our_error!r:.300}")
    return ours, theirs, None


def read_by_tensorstore(path: Path, zarr_format: int) -> Any:
    """All of an array; None where TensorStore cannot read it, or cannot give it to Python."""
    import tensorstore

    driver = {"driver": "zarr" if zarr_format == 2 else "zarr3", "kvstore": {"driver": "file", "path": str(path)}}
    try:
        array = tensorstore.open(driver, open=True).result().read().result()
    except (ValueError, NotImplementedError):  # what it calls INVALID_ARGUMENT, UNIMPLEMENTED, FAILED_PRECONDITION
        return None
    return None if array.dtype.itemsize == 0 else array  # its "byte" becomes numpy's "S0", which has no bytes


def compare_with_tensorstore(ours: Any, path: Path, zarr_format: int) -> Result:
    """The whole array, next to what TensorStore makes of it."""
    theirs = read_by_tensorstore(path, zarr_format)
    if theirs is None:
        return Result(Outcome.UNREADABLE)
    got = np.asarray(ours[...])
    if theirs.ndim > got.ndim and got.dtype.kind in "SV":  # bytes are a dimension of their own there
        return Result(Outcome.MATCHES if theirs.tobytes() == got.tobytes() else Outcome.DIFFERS, "bytes")
    if theirs.dtype.kind != got.dtype.kind:
        return Result(Outcome.DIFFERS, f"dtype {got.dtype!r}, TensorStore has {theirs.dtype!r}")
    # It gives native byte order.
    problem = same(np.ascontiguousarray(got.astype(theirs.dtype)).reshape(got.shape), np.asarray(theirs))
    return Result(Outcome.DIFFERS if problem else Outcome.MATCHES, problem)
