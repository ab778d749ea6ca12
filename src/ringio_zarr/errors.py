"""The errors of ``ringio_zarr``, with the names that zarr-python's have in ``zarr.errors``.

Where zarr-python tells more kinds apart than there are here, several names mean one class: ``except`` catches what it
would catch there. What ``zarr.errors`` has for writing is not here.
"""

from __future__ import annotations

from typing import Final

from ringio import RingioError

from ._errors import (
    ArrayNotFoundError,
    ContainsArrayError,
    ContainsGroupError,
    GroupNotFoundError,
    MetadataError,
    NodeNotFoundError,
    UnsupportedError,
)
from ._selection import BoundsCheckError, VindexInvalidSelectionError

__all__ = [
    "ArrayNotFoundError",
    "BaseZarrError",
    "BoundsCheckError",
    "ContainsArrayError",
    "ContainsGroupError",
    "DataTypeValidationError",
    "GroupNotFoundError",
    "MetadataError",
    "MetadataValidationError",
    "NegativeStepError",
    "NodeNotFoundError",
    "NodeTypeValidationError",
    "PickleCodecDisabledError",
    "UnknownCodecError",
    "UnsupportedError",
    "VindexInvalidSelectionError",
]

BaseZarrError: Final = RingioError
DataTypeValidationError: Final = MetadataError
MetadataValidationError: Final = MetadataError
NodeTypeValidationError: Final = MetadataError
PickleCodecDisabledError: Final = UnsupportedError
UnknownCodecError: Final = UnsupportedError


class NegativeStepError(IndexError):
    """Never raised here: steps below 0 are read as in numpy."""
