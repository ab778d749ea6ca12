"""Data types of zarr-python's registry, which ringio_zarr does not have itself; imported late."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ._dtypes import MAX_ITEM_NBYTES
from ._errors import MetadataError, Place, excerpt
from ._fill import Fill


def find_items(
    data_type: object, fill_value: object, zarr_format: int, place: Place, problem: MetadataError
) -> tuple[np.dtype[Any], Fill]:
    """The dtype and the fill value of an array whose data type somebody has registered with zarr-python.

    Args:
        data_type: what the document says of it.
        fill_value: likewise.
        zarr_format: 2 or 3.
        place: of the fill value.
        problem: what ringio_zarr has to say of the data type.

    Raises:
        MetadataError: it is ``problem`` where nobody has registered such a data type, or its items are no plain numbers
            and bytes to numpy; else about the fill value.
    """
    found = _find(data_type, zarr_format) if isinstance(data_type, str | Mapping) else None
    if found is None:
        raise problem
    try:
        dtype = np.dtype(found.to_native_dtype())
    except Exception as error:  # it is the code of somebody else
        raise problem from error
    is_plain = dtype.isbuiltin != 2 and dtype.kind != "T"  # 2: of a package, which knows what its bytes mean
    if dtype.hasobject or not is_plain or not 1 <= dtype.itemsize <= MAX_ITEM_NBYTES:
        raise problem
    cell = np.zeros((1,), dtype)
    try:
        if fill_value is None and zarr_format == 2:
            cell[0] = found.default_scalar()
            return dtype, Fill(None, cell.tobytes())
        cell[0] = found.from_json_scalar(fill_value, zarr_format=zarr_format)
    except Exception as error:
        raise place.error(f"{excerpt(fill_value)}: {type(error).__name__}: {error}") from error
    return dtype, Fill(cell[0], cell.tobytes())


def _find(data_type: object, zarr_format: int) -> Any:
    """The data type as zarr-python has it; None: it does not know it, or has it itself."""
    try:
        from zarr.dtype import data_type_registry

        if zarr_format == 2:
            data_type = {"name": data_type, "object_codec_id": None}
        found = data_type_registry.match_json(data_type, zarr_format=zarr_format)  # type: ignore[arg-type]  # any JSON
    except Exception:  # not installed, or older than the registry, or nobody knows it
        return None
    # What zarr-python has itself and is refused here is refused for a reason.
    return None if type(found).__module__.partition(".")[0] == "zarr" else found
