"""Locations: absolute paths of this machine and URLs, as one kind of name; and what can be known of one.

Nothing here looks at a disk or a server.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias

from ._paths import object_path

Kind: TypeAlias = Literal["file", "directory", "other"]

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a folder, or one object.

    Attributes:
        name: its location.
        kind: what it is, links followed; "other": a FIFO, a device, a link that leads nowhere.
        nbytes: of a file; 0 of everything else.
        modified: when it was last written to; None where nobody knows.
        e_tag: changes with the object; None where there is none.
        version: of an object in a bucket that keeps versions.
    """

    name: str
    kind: Kind
    nbytes: int = 0
    modified: datetime | None = None
    e_tag: str | None = None
    version: str | None = None


def is_remote(location: str) -> bool:
    """Whether it is a URL.

    >>> is_remote("s3://bucket/key"), is_remote("/data/s3:/x")
    (True, False)
    """
    return "://" in location and _SCHEME.match(location) is not None


def normalise(location: str | os.PathLike[str]) -> str:
    """The one location that a user means: an absolute path without ``..``, or a URL without a slash at its end.

    Raises:
        ValueError: a NUL, or a ``file://`` URL of another machine.

    >>> normalise("/data/../data//x/"), normalise("file:///data/a%20b"), normalise("s3://bucket/folder/")
    ('/data/x', '/data/a b', 's3://bucket/folder')
    """
    text = os.fsdecode(location)
    scheme = _SCHEME.match(text)
    if scheme is not None and scheme[1].lower() != "file":
        return text if text.endswith("://") else text.rstrip("/")
    return os.path.abspath(object_path(text))  # noqa: PTH100  # resolve() would follow links


def join(folder: str, path: str) -> str:
    """The location of ``path`` in a folder.

    Args:
        folder: a normalised location.
        path: ``a/b``, never percent-encoded; "" is the folder itself.

    >>> join("/", "a/b"), join("https://host/x", "a b#1"), join("s3://bucket", "a b#1")
    ('/a/b', 'https://host/x/a%20b%231', 's3://bucket/a b#1')
    """
    if not path:
        return folder
    if is_quoted(folder):
        from urllib.parse import quote

        path = quote(path)
    return folder + path if folder.endswith("/") else f"{folder}/{path}"


def relative(folder: str, name: str) -> str:
    """What :func:`join` was given to make ``name``.

    >>> relative("https://host/x", "https://host/x/a%20b")
    'a b'
    """
    path = name[len(folder) :].lstrip("/")
    if is_quoted(folder):
        from urllib.parse import unquote

        return unquote(path)
    return path


def is_quoted(location: str) -> bool:
    """Whether ``%20`` is a space: in URLs of HTTP. Keys of buckets stand in theirs as they are."""
    return location[:8].lower().startswith(("http://", "https://"))
