"""What there is at a location, and below it: sizes, times and names, for the parts of ringio that show whole objects.

The rest of ringio reads ranges and asks for nothing here.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from ._entries import Entry, Kind, is_remote, join
from ._errors import slash_hint
from ._reader import Reader, default_reader

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def look_up(location: str, reader: Reader | None = None) -> Entry:
    """What is there.

    Args:
        location: a normalised one.
        reader: whose stores have it, where it is a URL; None: the shared one.

    Raises:
        FileNotFoundError, NotADirectoryError, PermissionError, OSError: as the system or the server says.
    """
    if is_remote(location):
        from . import _remote_locations

        return _remote_locations.look_up(location, reader or default_reader())
    with _hints(location):
        return _local_entry(location, Path(location).stat())


def list_folder(location: str, reader: Reader | None = None) -> list[Entry]:
    """What is in a folder, ordered by name; see :func:`look_up`.

    Raises:
        FileNotFoundError, NotADirectoryError, PermissionError, OSError: as the system or the server says.
    """
    if is_remote(location):
        from . import _remote_locations

        return _remote_locations.list_folder(location, reader or default_reader())
    entries = []
    with _hints(location), os.scandir(location) as found:
        for item in found:
            name = join(location, item.name)
            try:
                entries.append(_local_entry(name, item.stat()))
            except OSError:  # a link that leads nowhere or in circles, or a file that was just removed
                if item.is_symlink():
                    entries.append(Entry(name, "other"))
    return sorted(entries, key=_in_order_of_paths)


def walk(location: str, reader: Reader | None = None) -> Iterator[Entry]:
    """All files below a folder, local ones in the order of their paths; see :func:`look_up`.

    Raises:
        OSError: as for :func:`list_folder`; ELOOP where a link leads to a folder that it is in.
    """
    if is_remote(location):
        from . import _remote_locations

        yield from _remote_locations.walk(location, reader or default_reader())
        return
    yield from _walk_local(location, frozenset())


def _walk_local(folder: str, above: frozenset[tuple[int, int]]) -> Iterator[Entry]:
    status = Path(folder).stat()
    own = (status.st_dev, status.st_ino)
    if own in above:
        raise OSError(errno.ELOOP, "a link leads to a folder that it is in", folder)
    for entry in list_folder(folder):
        if entry.kind == "file":
            yield entry
        elif entry.kind == "directory":
            yield from _walk_local(entry.name, above | {own})


@contextmanager
def _hints(location: str) -> Iterator[None]:
    """Say what may have been meant by a location where there is nothing."""
    try:
        yield
    except FileNotFoundError as error:
        if hint := slash_hint(location):
            error.strerror = f"{error.strerror}{hint}"
        raise


def _in_order_of_paths(entry: Entry) -> str:
    # As if all paths below were written out: "a.txt" comes before "a/b".
    return f"{entry.name}/" if entry.kind == "directory" else entry.name


def _local_entry(name: str, status: os.stat_result) -> Entry:
    if stat.S_ISDIR(status.st_mode):
        kind: Kind = "directory"
    else:
        kind = "file" if stat.S_ISREG(status.st_mode) else "other"
    modified = _EPOCH + timedelta(microseconds=status.st_mtime_ns // 1000)
    return Entry(name, kind, status.st_size if kind == "file" else 0, modified, local_e_tag(status))


def local_e_tag(status: os.stat_result) -> str:
    """What obstore's ``LocalStore`` gives: inode, modification time in microseconds, size, all hexadecimal."""
    return f'"{status.st_ino:x}-{status.st_mtime_ns // 1000:x}-{status.st_size:x}"'
