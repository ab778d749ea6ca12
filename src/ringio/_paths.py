"""Paths of objects: what users may write, and how the C core wants them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ._core import ffi, lib
from ._named import NamedTuple

_SCHEME: Final = r"([A-Za-z][A-Za-z0-9+.-]*)://"  # compiled when there may be one


def object_path(path: object) -> str:
    """The path of a local file, or the URL of an object, from whatever names it.

    Args:
        path: ``str``, ``bytes``, ``os.PathLike``, a ``file://`` URL, which becomes a path, or another URL, which stays
            as it is. A file whose name begins like a URL is written as ``"./s3://name"``.

    Raises:
        TypeError: not a path.
        ValueError: a NUL in the path, or a ``file://`` URL that names another host, a query or a fragment.

    >>> object_path("file:///data/a%20b.grib"), object_path("s3://bucket/key")
    ('/data/a b.grib', 's3://bucket/key')
    """
    text = os.fsdecode(path)  # type: ignore[arg-type]  # raises TypeError, which says what it got
    if "\0" in text:
        raise ValueError(f"path {text!r} has a NUL in it")
    return _from_file_url(text) if scheme_of(text) == "file" else text


def object_paths(paths: Sequence[object]) -> tuple[str, ...]:
    """The same for many paths; raises what :func:`object_path` raises for the first that is none.

    >>> object_paths(["a", b"b", "file:///c"])
    ('a', 'b', '/c')
    """
    try:
        text = "\0".join(paths)  # type: ignore[arg-type]  # raises TypeError where they are not all str
    except TypeError:
        text = "://"
    # 0.1 us a path where none needs a closer look, instead of 0.4.
    if "://" not in text and text.count("\0") == max(len(paths) - 1, 0):
        return tuple(paths)  # type: ignore[arg-type]
    return tuple(map(object_path, paths))


def scheme_of(path: str) -> str:
    """The scheme of a URL in lower case; nothing for a path.

    >>> scheme_of("S3://bucket/key"), scheme_of("./s3://key")
    ('s3', '')
    """
    if "://" in path and (scheme := re.match(_SCHEME, path)):
        return scheme[1].lower()
    return ""


def are_urls(paths: Sequence[str]) -> NDArray[np.bool_] | None:
    """Which paths are URLs, bool[n]; None: none of them is, which is found out fast.

    >>> are_urls(["a", "s3://bucket/key"]), are_urls(["a", "./s3://key"])
    (array([False,  True]), None)
    """
    if "://" not in (paths[0] if len(paths) == 1 else "\0".join(paths)):
        return None
    urls = np.fromiter((scheme_of(path) != "" for path in paths), bool, len(paths))
    return urls if urls.any() else None


def _from_file_url(url: str) -> str:
    from urllib.parse import unquote_to_bytes  # imported late: it costs more than the rest of this module

    host, slash, path = url[len("file://") :].partition("/")
    if host.lower() not in ("", "localhost"):
        raise ValueError(f"{url}: a file:// URL of the host {host!r}, only files of this machine can be read")
    if "?" in path or "#" in path:
        raise ValueError(f"{url}: '?' and '#' of a file name are written %3F and %23 in a URL")
    return local_path_of_bytes(unquote_to_bytes(slash + path))


def local_path_of_bytes(path: bytes) -> str:
    """The same for bytes that are no URL; raises ValueError for a NUL."""
    if b"\0" in path:
        raise ValueError(f"path {path!r} has a NUL in it")
    return os.fsdecode(path)


class EncodedPaths(NamedTuple):
    """Paths as the C core takes them.

    Attributes:
        blob: all of them, each ended by a NUL.
        starts: uint64[n], where in it each begins.
    """

    blob: bytes
    starts: NDArray[np.uint64]


def encode_paths(paths: Sequence[str | bytes]) -> EncodedPaths:
    r"""Paths as the C core takes them.

    Raises:
        ValueError: a path has a NUL in it.

    >>> encode_paths(["a", b"/b/c"])
    EncodedPaths(blob=b'a\x00/b/c\x00', starts=array([0, 2], dtype=uint64))
    """
    if not paths:
        return EncodedPaths(b"", np.empty(0, np.uint64))
    blob = _join(paths) + b"\0"
    if len(paths) == 1 and blob.count(0) == 1:
        return EncodedPaths(blob, np.zeros(1, np.uint64))
    ends = np.flatnonzero(np.frombuffer(blob, np.uint8) == 0)
    if len(ends) != len(paths):
        bad = next(path for path in paths if b"\0" in os.fsencode(path))
        raise ValueError(f"path {bad!r} has a NUL in it")
    starts = np.zeros(len(paths), np.uint64)
    starts[1:] = ends[:-1] + 1
    return EncodedPaths(blob, starts)


def path_order(paths: EncodedPaths) -> NDArray[np.uint64] | None:
    """The numbers of the paths in about the order of their names, which is mostly that on the disk.

    Returns:
        uint64[n], or None where the paths stand like that already.

    >>> path_order(encode_paths(["/d/c", "/d/a", "/d/b"])), path_order(encode_paths(["a", "b"]))
    (array([1, 2, 0], dtype=uint64), None)
    """
    if len(paths.starts) < 2:
        return None
    order = np.empty(len(paths.starts), np.uint64)
    starts, places = ffi.from_buffer("uint64_t[]", paths.starts), ffi.from_buffer("uint64_t[]", order)
    moved = lib.ringio_plan_order_paths(ffi.from_buffer(paths.blob), starts, len(order), places)
    if moved < 0:
        raise MemoryError("out of memory while planning")
    return order if moved else None


def _join(paths: Sequence[Any]) -> bytes:
    # One join and one encoding for a million paths: 0.03 s instead of 0.3 s.
    if isinstance(paths[0], str):
        try:
            return os.fsencode("\0".join(paths))
        except TypeError:  # of both kinds
            pass
    return b"\0".join([os.fsencode(path) for path in paths])
