"""From a place in a store to what the metadata documents there say."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from ringio import Reader
from ringio.planning import NamedTuple

from ._document import parse_json, require
from ._errors import MetadataError, Place, excerpt
from ._metadata import ArrayMetadata, GroupMetadata, parse_array_metadata, parse_group_metadata
from ._store_base import Store

if TYPE_CHECKING:
    from ._consolidated import Consolidated

ZarrFormat = Literal[2, 3]
V2_KEY: Final = ".zmetadata"  # of consolidated metadata


class Loaded(NamedTuple):
    """What the documents at a path say.

    Attributes:
        metadata: of the array or group.
        consolidated: that of the nodes below a group, where it is there and wanted.
    """

    metadata: ArrayMetadata | GroupMetadata
    consolidated: Consolidated | None = None


def load(
    store: Store,
    path: str,
    zarr_format: ZarrFormat | None,
    reader: Reader | None = None,
    use_consolidated: bool | str | None = False,
) -> Loaded | None:
    """What the documents at a path say, None where there are none. A v3 document comes first.

    Args:
        store: that has them.
        path: in the store.
        zarr_format: 2, 3, or None for either.
        reader: does it, where the store needs one.
        use_consolidated: True: it is an error where there is none; False: it is ignored; None: it is used where it is
            there; a string: the key of that of a v2 group.

    Raises:
        MetadataError, UnsupportedError: what stands there cannot be read; the message names document and key.
        OSError: a document is there and cannot be opened.
        ValueError: there is no consolidated metadata.
    """
    found = _Documents(store, path, zarr_format, _v2_key(use_consolidated), reader)
    return _parse(found, zarr_format, use_consolidated)


def load_many(
    store: Store, paths: Sequence[str], zarr_format: ZarrFormat | None, reader: Reader | None
) -> list[Loaded | Exception | None]:
    """The same for many nodes, whose documents are read at once; what cannot be read is an exception in its place."""
    found = _Documents.many(store, paths, zarr_format, reader)
    loaded: list[Loaded | Exception | None] = []
    for each in found:
        try:
            loaded.append(_parse(each, zarr_format, None))
        except (MetadataError, OSError) as error:
            loaded.append(error)
    return loaded


def load_metadata(
    store: Store, path: str, zarr_format: ZarrFormat | None, reader: Reader | None = None
) -> ArrayMetadata | GroupMetadata | None:
    """The metadata of the array or group at a path, None where there is neither; see :func:`load`."""
    loaded = load(store, path, zarr_format, reader)
    return None if loaded is None else loaded.metadata


def find(
    store: Store,
    path: str,
    zarr_format: ZarrFormat | None,
    reader: Reader | None = None,
    use_consolidated: bool | str | None = False,
) -> Loaded:
    """The same, but it is an error where there are none; see :func:`load`.

    Raises:
        FileNotFoundError: there is no document; the message says which were looked for.
    """
    loaded = load(store, path, zarr_format, reader, use_consolidated)
    if loaded is None:
        where = store.location(path)
        if not store.exists(path):
            hint = "; ~ stands for your home only in a shell: os.path.expanduser()" if "~" in where else ""
            raise FileNotFoundError(errno.ENOENT, f"there is nothing at this path{hint}", where)
        names = ", ".join(documents(zarr_format))
        raise FileNotFoundError(errno.ENOENT, f"no Zarr array or group here (looked for {names})", where)
    return loaded


def find_metadata(
    store: Store, path: str, zarr_format: ZarrFormat | None, reader: Reader | None = None
) -> ArrayMetadata | GroupMetadata:
    """The metadata of the array or group at a path; see :func:`find`."""
    return find(store, path, zarr_format, reader).metadata


def documents(zarr_format: ZarrFormat | None) -> tuple[str, ...]:
    """The names of the documents that make a directory an array or a group."""
    return {3: ("zarr.json",), 2: (".zarray", ".zgroup"), None: ("zarr.json", ".zarray", ".zgroup")}[zarr_format]


def join(path: str, name: str) -> str:
    """A path below a path."""
    return f"{path}/{name}" if path else name


class _Documents:
    """The documents at a path, read when they are wanted; where that takes a while, all at once."""

    __slots__ = ("_data", "_path", "_store")

    def __init__(
        self,
        store: Store,
        path: str,
        zarr_format: ZarrFormat | None,
        consolidated_key: str | None,
        reader: Reader | None,
        data: dict[str, bytes | None] | None = None,
    ) -> None:
        self._store = store
        self._path = path
        self._data = data
        if store.is_remote and data is None:
            names = _names(zarr_format)
            if consolidated_key is not None and zarr_format != 3:
                names = (*names, consolidated_key)
            self._data = dict(zip(names, store.read_many([join(path, name) for name in names], reader), strict=True))

    @staticmethod
    def many(
        store: Store, paths: Sequence[str], zarr_format: ZarrFormat | None, reader: Reader | None
    ) -> list[_Documents]:
        """Those at many paths."""
        names = _names(zarr_format)
        data = iter(store.read_many([join(path, name) for path in paths for name in names], reader))
        return [
            _Documents(store, path, zarr_format, None, reader, {name: next(data) for name in names}) for path in paths
        ]

    def json(self, name: str) -> tuple[dict[str, Any], str] | None:
        """A document, and where it is."""
        key = join(self._path, name)
        data = self._store.read(key) if self._data is None else self._data[name]
        where = self._store.location(key)
        return None if data is None else (parse_json(data, where), where)

    def has(self, name: str) -> bool:
        """Whether a document of this name is among those that are looked for."""
        return self._data is None or name in self._data

    @property
    def location(self) -> str:
        """Where they are."""
        return self._store.location(self._path)


def _names(zarr_format: ZarrFormat | None) -> tuple[str, ...]:
    names = documents(zarr_format)
    return names if zarr_format == 3 else (*names, ".zattrs")


def _v2_key(use_consolidated: bool | str | None) -> str | None:
    if isinstance(use_consolidated, str):
        return use_consolidated
    return None if use_consolidated is False else V2_KEY


def _parse(found: _Documents, zarr_format: ZarrFormat | None, use_consolidated: bool | str | None) -> Loaded | None:
    if zarr_format in (None, 3) and (document := found.json("zarr.json")) is not None:
        if use_consolidated is False:
            document[0].pop("consolidated_metadata", None)
        metadata = _parse_v3(*document)
        if isinstance(metadata, ArrayMetadata):
            return Loaded(metadata)
        if isinstance(use_consolidated, str):
            raise TypeError("use_consolidated must be a bool or None for Zarr format 3.")
        consolidated = None
        if metadata.consolidated is not None:
            from ._consolidated import consolidated_v3  # late: most groups have none

            consolidated = consolidated_v3(metadata)
        if use_consolidated and consolidated is None:
            raise _no_consolidated(found, "zarr.json")
        return Loaded(metadata, consolidated)
    if zarr_format in (None, 2):
        if (document := found.json(".zarray")) is not None:
            attributes = found.json(".zattrs")
            return Loaded(
                parse_array_metadata(
                    document[0], zarr_format=2, attributes=attributes and attributes[0], path=document[1]
                )
            )
        if (document := found.json(".zgroup")) is not None:
            attributes = found.json(".zattrs")
            group = parse_group_metadata(
                document[0], zarr_format=2, attributes=attributes and attributes[0], path=document[1]
            )
            return Loaded(group, _parse_consolidated_v2(found, use_consolidated))
    return None


def _parse_consolidated_v2(found: _Documents, use_consolidated: bool | str | None) -> Consolidated | None:
    key = _v2_key(use_consolidated)
    if key is None or not found.has(key):
        return None
    document = found.json(key)
    if document is None:
        if use_consolidated:
            raise _no_consolidated(found, key)
        return None
    from ._consolidated import consolidated_v2  # late: most groups have none

    return consolidated_v2(*document)


def _no_consolidated(found: _Documents, key: str) -> ValueError:
    return ValueError(
        "Consolidated metadata requested with 'use_consolidated=True' but not found in "
        f"{found.location!r} (looked into {key})"
    )


def _parse_v3(document: dict[str, Any], where: str) -> ArrayMetadata | GroupMetadata:
    node_type = require(document, "node_type", Place(where))
    if node_type == "array":
        return parse_array_metadata(document, zarr_format=3, path=where)
    if node_type == "group":
        return parse_group_metadata(document, zarr_format=3, path=where)
    raise Place(where, "node_type").error(f"expected 'array' or 'group', got {excerpt(node_type)}")
