"""What zarr-python, where it is installed, makes of a metadata document: its own objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

# What the metadata of its arrays has that there is no other object for.
OBJECTS_OF_ZARR: Final = frozenset(
    (
        "chunk_grid",
        "chunk_key_encoding",
        "compressor",
        "data_type",
        "dimension_separator",
        "extra_fields",
        "filters",
        "inner_codecs",
        "storage_transformers",
    )
)


def zarr_metadata(document: Mapping[str, Any], zarr_format: int) -> Any:
    """The metadata of an array as zarr-python has it.

    Raises:
        ImportError: it is not installed.
        Exception: it cannot read the document.
    """
    import warnings

    try:
        from zarr.core.metadata import ArrayV2Metadata, ArrayV3Metadata
    except ImportError as error:
        raise ImportError(f"for this zarr-python is needed (pip install zarr): {error}") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of data types without a specification, say
        kind: Any = ArrayV2Metadata if zarr_format == 2 else ArrayV3Metadata
        return kind.from_dict(dict(document))
