"""Hierarchies in memory: mappings from keys to bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ringio import Reader, planning

from ._errors import Place, excerpt
from ._parts import Parts, PartStore, files_in_memory
from ._store_base import MAX_DOCUMENT_NBYTES, child_names

_EMPTY: Final = np.empty(0, np.uint8)


class Below(Mapping[str, Any]):
    """What is below a key of a mapping, by its keys from there on.

    Args:
        mapping: from keys to bytes.
        path: a key, without a slash at either end.
    """

    __slots__ = ("_mapping", "_prefix")

    def __init__(self, mapping: Mapping[str, Any], path: str) -> None:
        self._mapping = mapping
        self._prefix = f"{path}/"

    def __getitem__(self, key: str) -> Any:
        return self._mapping[self._prefix + key]

    def __iter__(self) -> Iterator[str]:
        start = len(self._prefix)
        return (key[start:] for key in [*self._mapping] if key.startswith(self._prefix))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class MappingStore(PartStore):
    """A mapping from keys to bytes. Nothing is copied: chunks are decoded where they are.

    Args:
        mapping: its values are ``bytes``, anything else with the buffer protocol, or buffers of zarr-python.
        original: what the user gave, where the mapping was taken from that.
    """

    __slots__ = ("mapping", "original", "root")

    def __init__(self, mapping: Mapping[str, Any], original: Any = None) -> None:
        self.mapping = mapping
        self.original = mapping if original is None else original
        self.root = f"<{type(self.original).__name__}>"

    def location(self, key: str) -> str:
        """The name of the mapping, a slash, and the key."""
        return f"{self.root}/{key}" if key else self.root

    def read(self, key: str, reader: Reader | None = None, limit_nbytes: int = MAX_DOCUMENT_NBYTES) -> bytes | None:
        """The bytes of a document, or None where there is none."""
        del reader, limit_nbytes  # it is there already
        value = self._find(key)
        return None if value is None else self._array(value, key).tobytes()

    def child_directories(self, key: str, reader: Reader | None = None) -> list[str]:
        """The names directly below a key that have something below them, sorted."""
        del reader
        return child_names([*self.mapping], key)

    def files_below(self, key: str, reader: Reader | None = None) -> Iterator[tuple[str, int]]:
        """The paths of all values below a key, from there on, and their sizes in bytes."""
        del reader
        prefix = f"{key}/" if key else ""
        for name in [*self.mapping]:
            if name.startswith(prefix) and (value := self._find(name)) is not None:
                yield name[len(prefix) :], self._array(value, name).nbytes

    def is_file(self, key: str) -> bool:
        """Whether a document has this key."""
        return key in self.mapping

    def parts(self, keys: Sequence[str], limit_nbytes: int, reader: Reader) -> Parts:
        """Where in memory the values are."""
        del limit_nbytes, reader  # they are there already
        count = len(keys)
        arrays: list[npt.NDArray[np.uint8]] = [_EMPTY] * count
        offsets, nbytes = np.full(count, planning.MISSING, np.uint64), np.zeros(count, np.uint64)
        errors: dict[int, Exception] = {}
        for number, key in enumerate(keys):
            try:
                value = self._find(key)
                if value is None:
                    continue
                arrays[number] = self._array(value, key)
            except Exception as error:  # mappings may do as they like
                errors[number] = error
                continue
            offsets[number], nbytes[number] = 0, arrays[number].nbytes
        return Parts(
            paths=[self.location(key) for key in keys],
            files=files_in_memory(arrays),
            identities=[b""] * count,
            file_numbers=np.arange(count, dtype=np.uint32),
            offsets=offsets,
            nbytes=nbytes,
            errors=errors,
            keep=arrays,
        )

    def _find(self, key: str) -> Any:
        try:
            return self.mapping[key]
        except KeyError:
            return None
        except Exception as error:  # mappings may do as they like
            error.add_note(f"while reading {self.location(key)}")
            raise

    def _array(self, value: Any, key: str) -> npt.NDArray[np.uint8]:
        if callable(as_array := getattr(value, "as_numpy_array", None)):  # a buffer of zarr-python
            value = as_array()
        try:
            array = np.frombuffer(value, np.uint8)
        except (TypeError, ValueError, BufferError) as error:
            if isinstance(value, np.ndarray) and not value.flags.c_contiguous:
                return np.ascontiguousarray(value).reshape(-1).view(np.uint8)
            raise Place(self.location(key)).error(f"expected bytes, got {excerpt(value)}") from error
        return array

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MappingStore):
            return False
        return self.mapping is other.mapping or bool(self.original == other.original)

    def __hash__(self) -> int:
        return hash(MappingStore)  # what is in it may change

    def __reduce__(self) -> tuple[Any, ...]:
        return MappingStore, (self.mapping, self.original)

    def __repr__(self) -> str:
        return f"MappingStore({self.root})"
