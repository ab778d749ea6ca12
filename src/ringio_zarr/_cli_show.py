"""What ``ringio-zarr info`` and ``tree`` show, as text and as JSON."""

from __future__ import annotations

from typing import Any, Final

from ._array import Array
from ._errors import MetadataError, UnsupportedError
from ._group import Group
from ._tree import draw

_MAX_DEPTH: Final = 200  # Python's own limit for objects in objects, when they are written as JSON, is 1,000 or so


def info_text(node: Array | Group, *, complete: bool) -> str:
    """An array or group for people."""
    lines = [str(node.info_complete() if complete else node.info)]
    if isinstance(node, Array) and node.dimension_names is not None:
        lines.append(f"Dimension names    : {node.dimension_names}")
    if len(node.attrs):
        lines += ["", "Attributes", *(f"  {key}: {value!r}" for key, value in node.attrs.items())]
    return "\n".join(lines) + "\n"


def info_json(node: Array | Group, *, complete: bool) -> dict[str, Any]:
    """The same for machines."""
    info = node.info_complete() if complete else node.info
    fields = {"type": "array" if isinstance(node, Array) else "group", "location": node.location, **info._asdict()}
    if isinstance(node, Array):
        fields["dtype"] = str(node.dtype)
        fields["fill_value"] = None if node.fill_value is None else plain(node.fill_value)
        fields["dimension_names"] = node.dimension_names
    return {**fields, "attributes": dict(node.attrs)}


def tree_text(node: Array | Group, level: int | None) -> str:
    """All that is below, as lines."""
    if isinstance(node, Array):
        return f"{node.name} {node.shape} {node.dtype}\n"
    return str(draw(node, level, None))


def tree_json(node: Array | Group, level: int | None, above: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The same as nested objects.

    Args:
        node: at the top.
        level: how deep; None for all.
        above: locations that were passed on the way, to which links may lead back.

    Raises:
        ValueError: groups nested so deep that nobody could read the JSON.
    """
    if len(above) > _MAX_DEPTH:
        raise ValueError(f"{node.name}: groups are nested deeper than {_MAX_DEPTH}; --level says how deep to look")
    if isinstance(node, Array):
        return {
            "type": "array",
            "shape": node.shape,
            "dtype": str(node.dtype),
            "chunks": node.info.chunk_shape,
            "shards": node.info.shard_shape,
        }
    place = node.store.real_path(node.path)
    tree: dict[str, Any] = {"type": "group"}
    if level == 0 or place in above:
        return tree
    members: dict[str, Any] = {}
    for name in node.keys():  # noqa: SIM118  # __iter__ of a group is the same
        try:
            member = node[name]
        except UnsupportedError as error:
            members[name] = {"type": "unsupported", "error": str(error)}
        except MetadataError as error:
            members[name] = {"type": "unreadable", "error": str(error)}
        else:
            members[name] = tree_json(member, None if level is None else level - 1, above | {place})
    return {**tree, "members": members}


def plain(value: Any) -> Any:
    """A scalar, or nested lists of them, as JSON has it; text where it has no such thing."""
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "dtype") and value.dtype.kind in "mMcV":
        return str(value)
    item = value.item() if hasattr(value, "item") else value
    if isinstance(item, float) and not -float("inf") < item < float("inf"):
        return str(item)  # JSON has neither NaN nor infinity
    return item if isinstance(item, str | int | float | bool | None) else str(item)
