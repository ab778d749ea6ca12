"""Names of zarr-python that are not here, and why."""

from __future__ import annotations

from typing import Final


def why_not(name: str) -> str:
    """What an ``AttributeError`` says beside the name.

    >>> why_not("append"), why_not("apend")
    (': ringio_zarr only reads; open it with zarr-python to write', '')
    """
    if name in _WRITING:
        return ": ringio_zarr only reads; open it with zarr-python to write"
    return ": it is zarr-python's own: import zarr for it" if name in _OF_ZARR else ""


# Modules and settings of zarr-python.
_OF_ZARR: Final = frozenset(("abc", "api", "codecs", "config", "dtype", "experimental", "print_debug_info", "registry"))
# What zarr-python, its arrays and groups have for writing.
_WRITING: Final = frozenset(
    (
        "append",
        "array",
        "consolidate_metadata",
        "copy",
        "copy_all",
        "copy_store",
        "create",
        "create_array",
        "create_dataset",
        "create_group",
        "create_hierarchy",
        "empty",
        "empty_like",
        "from_array",
        "from_store",
        "full",
        "full_like",
        "group",
        "move",
        "ones",
        "ones_like",
        "open_like",
        "require_array",
        "require_dataset",
        "require_group",
        "require_groups",
        "resize",
        "save",
        "save_array",
        "save_group",
        "set_basic_selection",
        "set_block_selection",
        "set_coordinate_selection",
        "set_mask_selection",
        "set_orthogonal_selection",
        "update_attributes",
        "update_attributes_async",
        "zeros",
        "zeros_like",
    )
)
