"""Directory trees on a local file system, and the files in them that chunks live in."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from ringio import Reader, planning

from ._grid import c_strides
from ._keys import ChunkKeyEncoding
from ._store_base import MAX_DOCUMENT_NBYTES, Store, too_large

# Up to here Python integers are faster than numpy, whose calls cost about a microsecond each.
_FEW: Final = 16


class LocalStore(Store):
    """A directory and all below it.

    Args:
        root: the directory, which need not exist. A relative path is made absolute here and now.
    """

    __slots__ = ("root",)

    root: str

    def __init__(self, root: str | os.PathLike[str]) -> None:
        from pathlib import Path  # here and below, not with this module: it takes 3 ms to import

        self.root = str(Path(root).absolute())

    def file_path(self, key: str) -> str:
        """The path of what has this key; the root's for the empty key.

        >>> LocalStore("/data/a.zarr").file_path("x/zarr.json")
        '/data/a.zarr/x/zarr.json'
        """
        return f"{self.root.rstrip('/')}/{key}" if key else self.root

    location = file_path

    def read(self, key: str, reader: Reader | None = None, limit_nbytes: int = MAX_DOCUMENT_NBYTES) -> bytes | None:
        """The bytes of a small file, or None where there is none.

        Raises:
            OSError: anything but absence: a directory, a FIFO, no permission; ``filename`` is set.
            MetadataError, DecodeError: larger than the limit.
        """
        del reader  # a small file is read sooner than a batch is made
        path = self.file_path(key)
        try:
            # Without O_NONBLOCK a FIFO would be waited for until somebody writes.
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            status = os.fstat(descriptor)
            if stat.S_ISDIR(status.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "not a regular file", path)
            if status.st_size > limit_nbytes:
                raise too_large(path, status.st_size, limit_nbytes)
            pieces = []
            while piece := os.read(descriptor, 1 << 20):
                pieces.append(piece)
            return b"".join(pieces)
        except OSError as error:
            error.filename = path  # read() knows none
            raise
        finally:
            os.close(descriptor)

    def is_file(self, key: str) -> bool:
        """Whether a file has this key."""
        from pathlib import Path

        return Path(self.file_path(key)).is_file()

    def exists(self, key: str, reader: Reader | None = None) -> bool:
        """Whether there is anything at the path."""
        del reader
        from pathlib import Path

        return Path(self.file_path(key)).exists()

    def child_directories(self, key: str, reader: Reader | None = None) -> list[str]:
        """The names of the directories directly below, and of links to directories, sorted."""
        del reader
        from pathlib import Path

        with os.scandir(self.file_path(key)) as entries:
            return sorted(
                entry.name
                for entry in entries
                # Path.is_dir() says no where links go round in circles, which is an error for entry.is_dir().
                if entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and Path(entry.path).is_dir())
            )

    def files_below(self, key: str, reader: Reader | None = None) -> Iterator[tuple[str, int]]:
        """The paths of all files below a key, from there on, in the order of their names, and their sizes in bytes."""
        return ((path, nbytes) for path, nbytes in self.entries_below(key, reader) if nbytes is not None)

    def entries_below(self, key: str, reader: Reader | None = None) -> Iterator[tuple[str, int | None]]:
        """The same with all directories, whose size is None.

        Links to directories are followed, but for those that lead back to where we come from, or above that.
        """
        del reader
        directory = self.file_path(key)
        pending: list[tuple[str, tuple[str, ...]]] = [("", ())]
        while pending:
            below, way = pending.pop()  # the real paths of the directories whose links were followed
            try:
                with os.scandir(f"{directory}/{below}") as entries:
                    found = sorted(entries, key=lambda entry: entry.name)
            except FileNotFoundError:
                continue  # removed meanwhile
            inner = []
            for entry in found:
                if entry.is_dir(follow_symlinks=False):
                    yield below + entry.name, None
                    inner.append((f"{below}{entry.name}/", way))
                elif not (entry.is_symlink() and _is_directory(entry.path)):
                    yield below + entry.name, _nbytes(entry)
                else:
                    yield below + entry.name, None
                    if not _leads_back(entry.path, longer := (*way, os.path.realpath(f"{directory}/{below}"))):
                        inner.append((f"{below}{entry.name}/", longer))
            pending += reversed(inner)

    def real_path(self, key: str) -> str:
        """The path of what has this key with all links followed: one for each directory, whatever ways lead there."""
        return os.path.realpath(self.file_path(key))

    def real_path_below(self, above: str, key: str) -> str:
        """The same for a member of what has the real path ``above``: all directories above it need not be asked."""
        if os.path.islink(self.file_path(key)):  # noqa: PTH114  # pathlib takes 3 ms to import
            return self.real_path(key)
        return f"{above.rstrip('/')}/{key.rpartition('/')[2]}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LocalStore) and self.root == other.root

    def __hash__(self) -> int:
        return hash((LocalStore, self.root))

    def __repr__(self) -> str:
        return f"LocalStore({self.root!r})"


def _nbytes(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ELOOP):
            raise
        return 0  # removed meanwhile; a link to nowhere, or to itself


def _is_directory(link: str) -> bool:
    return os.path.isdir(link)  # noqa: PTH112  # pathlib takes 3 ms to import


def _leads_back(link: str, way: tuple[str, ...]) -> bool:
    """Whether a link leads to one of these real paths, or to what is above one."""
    above = os.path.realpath(link).rstrip("/") + "/"
    return any(f"{place}/".startswith(above) for place in way)


class ChunkFiles:
    """The files of an array: one for each chunk of its outer grid, that is for each shard where there are shards.

    Args:
        directory: of the array; its URL; its key in a store, which may be empty.
        chunk_keys: how the files are named.
        grid_shape: outer chunks along each dimension. They are numbered in C order.
    """

    __slots__ = ("_chunk_keys", "_names", "_pattern", "_prefix", "_strides")

    def __init__(self, directory: str, chunk_keys: ChunkKeyEncoding, grid_shape: Sequence[int]) -> None:
        self._prefix = f"{directory.rstrip('/')}/" if directory else ""
        self._chunk_keys = chunk_keys
        self._strides = c_strides(grid_shape)
        pattern = chunk_keys.pattern(len(self._strides))
        self._pattern = None if pattern is None else os.fsencode(self._prefix.replace("%", "%%") + pattern)
        beginning = chunk_keys.beginning(len(self._strides))
        self._names = (
            None if beginning is None else (os.fsencode(self._prefix + beginning), chunk_keys.separator.encode())
        )

    def coordinates(self, number: int) -> tuple[int, ...]:
        """Where in the grid a chunk is."""
        coordinates = []
        for stride in self._strides:
            coordinate, number = divmod(number, stride)
            coordinates.append(coordinate)
        return tuple(coordinates)

    def path(self, number: int) -> str:
        """The path of a chunk."""
        return self._prefix + self._chunk_keys.encode(self.coordinates(number))

    def encoded_path(self, coordinates: tuple[int, ...]) -> bytes:
        """The path of the chunk with these coordinates, as the system takes it."""
        if self._pattern is None:
            return os.fsencode(self._prefix + self._chunk_keys.encode(coordinates))
        return self._pattern % coordinates

    def name(self, draft: planning.Draft) -> bool:
        """Let each chunk of a draft be a file, if their names are so simple that a draft can make them."""
        if self._names is None:
            return False
        draft.name_files(*self._names, self._strides)
        return True

    def paths(self, numbers: npt.NDArray[np.uint64]) -> list[str]:
        """The paths of some chunks."""
        if len(numbers) <= _FEW:
            return [self.path(number) for number in numbers.tolist()]
        return [self._prefix + key for key in self._chunk_keys.encode_many(self._many_coordinates(numbers))]

    def _many_coordinates(self, numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        rest = numbers.astype(np.int64)
        coordinates = np.empty((len(rest), len(self._strides)), np.int64)
        for dimension, stride in enumerate(self._strides):
            coordinates[:, dimension], rest = np.divmod(rest, stride)
        return coordinates
