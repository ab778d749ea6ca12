"""Names of fields in selections of structured data types."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._selection import index_error


def pop_fields(selection: Any) -> tuple[Any, Any]:
    """The names of fields that stand between the brackets (None, one, or a list), and what is left of the selection."""
    if isinstance(selection, str):
        return selection, ()
    if isinstance(selection, list) and selection and all(isinstance(item, str) for item in selection):
        return selection, ()
    if not isinstance(selection, tuple):
        return None, selection
    names = [item for item in selection if isinstance(item, str)]
    rest = tuple([item for item in selection if not isinstance(item, str)]) if names else selection
    # One item is the same as a tuple of it, also where it is a mask of the array's shape.
    rest = rest[0] if len(rest) == 1 else rest
    return names[0] if len(names) == 1 else names or None, rest


def fields_dtype(fields: Any, dtype: np.dtype[Any], path: str = "") -> np.dtype[Any]:
    """The dtype of the result where only some fields are wanted.

    Args:
        fields: one name, or a list or tuple of them.
        dtype: of the array.
        path: of the array, for messages.

    Returns:
        That of the field; of several, a structured one without gaps.

    Raises:
        IndexError: no name, no such field, or an array without fields.
    """
    if not isinstance(fields, str | list | tuple):
        raise index_error(f"'fields' argument must be a string or list of strings; found {type(fields)!r}", path)
    if dtype.names is None:
        raise index_error("invalid 'fields' argument, array does not have any fields", path)
    unknown = [name for name in ([fields] if isinstance(fields, str) else fields) if name not in dtype.names]
    if unknown:
        raise index_error(f"invalid 'fields' argument, field not found: {unknown[0]!r}", path)
    return dtype[fields] if isinstance(fields, str) else np.dtype([(name, dtype[name]) for name in fields])
