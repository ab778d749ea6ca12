"""Which chunks of an array are stored, by looking at the names of its files; none of them is opened."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

from ringio import Reader
from ringio.planning import NamedTuple

from ._keys import ChunkKeyEncoding
from ._store_base import Store

_NUMBER = "(0|[1-9][0-9]*)"


class StoredFile(NamedTuple):
    """A file below an array.

    Attributes:
        coordinates: of the chunk of the outer grid that it holds; None: it holds none.
        nbytes: its size.
    """

    coordinates: tuple[int, ...] | None
    nbytes: int


class KeyParser:
    """From the keys of an array's files to chunk coordinates.

    Args:
        chunk_keys: how chunks are named.
        grid_shape: chunks along each dimension. A name outside of it is no chunk's.

    >>> parser = KeyParser(ChunkKeyEncoding("default", "/"), (3, 20))
    >>> parser.parse("c/2/10"), parser.parse("c/3/0"), parser.parse("c/02/0"), parser.parse("zarr.json")
    ((2, 10), None, None, None)
    """

    def __init__(self, chunk_keys: ChunkKeyEncoding, grid_shape: tuple[int, ...]) -> None:
        self._grid_shape = grid_shape
        self._places: dict[str, tuple[int, ...]] | None = None
        pattern = chunk_keys.pattern(len(grid_shape))
        if pattern is None:
            self._places = {chunk_keys.encode(place): place for place in product(*map(range, grid_shape))}
            return
        self._match = re.compile(re.escape(pattern).replace("%d", _NUMBER)).fullmatch

    def parse(self, key: str) -> tuple[int, ...] | None:
        """Where in the grid the chunk with this key is; None where there is no such chunk."""
        if self._places is not None:
            return self._places.get(key)
        match = self._match(key)
        if match is None:
            return None
        coordinates = tuple(map(int, match.groups()))
        inside = all(place < count for place, count in zip(coordinates, self._grid_shape, strict=True))
        return coordinates if inside else None


def stored_files(store: Store, path: str, parser: KeyParser, reader: Reader) -> Iterator[StoredFile]:
    """All files below an array.

    Args:
        store: that has them.
        path: of the array in the store.
        parser: of its keys.
        reader: lists them, where the store needs one.

    Raises:
        OSError: they cannot be listed.
    """
    for key, nbytes in store.files_below(path, reader):
        yield StoredFile(parser.parse(key), nbytes)


def stored_chunks(store: Store, path: str, parser: KeyParser, reader: Reader) -> Iterator[tuple[tuple[int, ...], int]]:
    """Coordinates and sizes of those that hold chunks; a folder that has the name of one, and cannot be read, is one.

    See :func:`stored_files`.
    """
    for key, nbytes in store.entries_below(path, reader):
        if (coordinates := parser.parse(key)) is not None:
            yield coordinates, nbytes or 0
