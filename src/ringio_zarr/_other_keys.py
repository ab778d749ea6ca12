"""Chunk key encodings of zarr-python's registry, which ringio_zarr does not have itself; imported late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ._errors import Place, excerpt
from ._store_base import normalise_path


class OtherKeys:
    """A chunk key encoding that somebody has registered, with the methods of ``ChunkKeyEncoding``.

    Args:
        encoding: of zarr-python's kind.
        place: where the document names it.
    """

    __slots__ = ("_encoding", "_place")

    separator: Final = "/"

    def __init__(self, encoding: Any, place: Place) -> None:
        self._encoding = encoding
        self._place = place

    def encode(self, coordinates: Sequence[Any]) -> str:
        """The key of one chunk.

        Raises:
            MetadataError: the encoding gives none.
        """
        whole = tuple(map(int, coordinates))
        try:
            key = normalise_path(self._encoding.encode_chunk_key(whole))
        except Exception as error:  # it is the code of somebody else
            raise self._place.error(f"no key for chunk {whole}: {type(error).__name__}: {error}") from error
        if not key:
            raise self._place.error(f"no key for chunk {whole}")
        return key

    def pattern(self, dim_count: int) -> None:
        """None: there is no rule."""
        del dim_count

    def beginning(self, dim_count: int) -> None:
        """None: what follows are not the coordinates."""
        del dim_count

    def outer(self, coordinates: Sequence[int]) -> tuple[int, ...]:
        """Coordinates in the array's grid of outer chunks: these."""
        return tuple(coordinates)

    def encode_many(self, coordinates: npt.NDArray[np.integer[Any]]) -> list[str]:
        """The keys of many chunks, shape (n, ndim)."""
        return [self.encode(row) for row in coordinates.tolist()]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OtherKeys) and bool(self._encoding == other._encoding)

    def __hash__(self) -> int:
        return hash(OtherKeys)


def find_keys(name: str, configuration: Mapping[str, Any], place: Place) -> OtherKeys:
    """A chunk key encoding that is registered with zarr-python.

    Raises:
        UnsupportedError: none of this name is, or zarr-python is not installed.
        MetadataError: it makes no sense of its configuration.
    """
    try:
        from zarr.registry import get_chunk_key_encoding_class

        kind = get_chunk_key_encoding_class(name)
    except (ImportError, KeyError) as error:  # ImportError also where zarr-python is older than the registry
        raise place.unsupported(
            f"chunk key encoding {excerpt(name)} is not supported: install a package that registers it with zarr-python"
        ) from error
    try:
        return OtherKeys(kind.from_dict({"name": name, "configuration": dict(configuration)}), place)
    except Exception as error:
        raise place.error(f"chunk key encoding {excerpt(name)}: {type(error).__name__}: {error}") from error
