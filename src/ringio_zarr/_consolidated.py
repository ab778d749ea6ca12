"""Consolidated metadata: the documents of all nodes below a group, in one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ._document import copied, parse_object, require
from ._errors import Place, excerpt
from ._metadata import ArrayMetadata, GroupMetadata, parse_array_metadata, parse_group_metadata


class Consolidated:
    """The documents of the nodes below a group. Each is checked when its node is opened.

    Args:
        documents: of v3 by the path of the node, of v2 by the path of the document; relative to the group that has
            them.
        zarr_format: 2 or 3.
        place: of them, for messages.
        top: of these nodes only those below this path are meant.

    Raises:
        MetadataError: a key that is no path.
    """

    __slots__ = ("_children", "_documents", "_place", "_top", "zarr_format")

    def __init__(
        self, documents: Mapping[str, Any], zarr_format: int, place: Place, top: str = "", children: Any = None
    ) -> None:
        self._documents = documents
        self._place = place
        self._top = top
        self.zarr_format = zarr_format
        self._children: dict[str, list[str]] = (
            _children(documents, zarr_format, place) if children is None else children
        )

    def below(self, path: str) -> Consolidated:
        """The same for a group below."""
        return Consolidated(self._documents, self.zarr_format, self._place, self._full(path), self._children)

    def names(self) -> list[str]:
        """The names of the members, sorted."""
        return self._children.get(self._top, [])

    def count(self, max_depth: int | None) -> int:
        """How many nodes there are, down to a depth."""
        count, paths = 0, [self._top]
        while paths and (max_depth is None or max_depth >= 0):
            paths = [_join(path, name) for path in paths for name in self._children.get(path, ())]
            count += len(paths)
            max_depth = None if max_depth is None else max_depth - 1
        return count

    def paths(self) -> Iterator[str]:
        """The paths of all that is below."""
        rest = self.names()[::-1]
        while rest:
            path = rest.pop()
            yield path
            rest += [_join(path, name) for name in self._children.get(self._full(path), [])[::-1]]

    def has(self, path: str) -> bool:
        """Whether there is a node at a path below the group."""
        full = self._full(path)
        parent, _, name = full.rpartition("/")
        return name in self._children.get(parent, ())

    def metadata(self, path: str) -> ArrayMetadata | GroupMetadata | None:
        """The metadata of the node at a path below the group; None: there is none.

        Raises:
            MetadataError, UnsupportedError: it cannot be read; the message names the document and the key.
        """
        full = self._full(path)
        return self._v3(full) if self.zarr_format == 3 else self._v2(full)

    def _v3(self, path: str) -> ArrayMetadata | GroupMetadata | None:
        document = self._document(path)
        if document is None:
            return None
        place = self._place.at(path)
        where = f"{place.path}: {place.key}"
        node_type = require(document, "node_type", Place(where))
        if node_type == "array":
            return parse_array_metadata(document, zarr_format=3, path=where)
        if node_type == "group":
            return parse_group_metadata(document, zarr_format=3, path=where)
        raise Place(where, "node_type").error(f"expected 'array' or 'group', got {excerpt(node_type)}")

    def _v2(self, path: str) -> ArrayMetadata | GroupMetadata | None:
        attributes = self._document(_join(path, ".zattrs"))
        for name, parse in ((".zarray", parse_array_metadata), (".zgroup", parse_group_metadata)):
            if (document := self._document(_join(path, name))) is not None:
                place = self._place.at(_join(path, name))
                return parse(document, zarr_format=2, attributes=attributes, path=f"{place.path}: {place.key}")
        return None

    def _document(self, key: str) -> dict[str, Any] | None:
        value = self._documents.get(key)
        # A copy: users may change what is in their attributes.
        return None if value is None else parse_object(copied(value), self._place.at(key))

    def _full(self, path: str) -> str:
        return _join(self._top, path) if path else self._top


class ConsolidatedMetadata:
    """Consolidated metadata as zarr-python has it: ``group.metadata.consolidated_metadata``.

    Args:
        known: the documents, of all that is below the group.
    """

    __slots__ = ("_known",)

    kind: Final = "inline"
    must_understand: Final = False

    def __init__(self, known: Consolidated) -> None:
        self._known = known

    @property
    def metadata(self) -> dict[str, ArrayMetadata | GroupMetadata]:
        """The metadata of the members by their names; that of groups has that of theirs."""
        return {name: self._of(name) for name in self._known.names()}

    @property
    def flattened_metadata(self) -> dict[str, ArrayMetadata | GroupMetadata]:
        """The metadata of all that is below by its path."""
        return {path: self._of(path) for path in self._known.paths()}

    def _of(self, path: str) -> ArrayMetadata | GroupMetadata:
        found = self._known.metadata(path)
        if isinstance(found, GroupMetadata):
            return found._replace(consolidated_metadata=ConsolidatedMetadata(self._known.below(path)))
        assert found is not None  # it is one of its own paths
        return found

    def __repr__(self) -> str:
        return f"ConsolidatedMetadata({list(self.flattened_metadata)})"


def consolidated_v2(document: Mapping[str, Any], path: str) -> Consolidated:
    """What a ``.zmetadata`` has.

    Args:
        document: the object in it.
        path: where it is, for messages.

    Raises:
        MetadataError: it is not of the one kind that there is.
    """
    top = Place(path)
    if (kind := document.get("zarr_consolidated_format", 1)) != 1:
        raise top.at("zarr_consolidated_format").unsupported(f"{excerpt(kind)} is not supported")
    metadata = top.at("metadata")
    return Consolidated(_object(require(document, "metadata", top), metadata), 2, metadata)


def consolidated_v3(metadata: GroupMetadata) -> Consolidated | None:
    """What the ``zarr.json`` of a group has; None: it has none."""
    if metadata.consolidated is None:
        return None
    return Consolidated(metadata.consolidated, 3, Place(metadata.path, "consolidated_metadata.metadata"))


def _object(value: object, place: Place) -> dict[str, Any]:
    if value is None:
        raise place.error("expected an object, got None")
    return parse_object(value, place)


def _children(documents: Mapping[str, Any], zarr_format: int, place: Place) -> dict[str, list[str]]:
    """The names below each path, sorted."""
    if zarr_format == 3:
        paths = {_checked(key, place) for key in documents if key}
    else:
        keys = [key for key in documents if key.rpartition("/")[2] in (".zarray", ".zgroup")]
        paths = {_checked(key, place).rpartition("/")[0] for key in keys} - {""}
    children: dict[str, list[str]] = {}
    for path in sorted(paths):
        parent, _, name = path.rpartition("/")
        children.setdefault(parent, []).append(name)
    return children


def _checked(key: str, place: Place) -> str:
    """A key whose parts are names."""
    if not {"", ".", ".."}.isdisjoint(key.split("/")):
        raise place.error(f"{excerpt(key)} is no path: it has an empty part, '.' or '..'")
    return key


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name
