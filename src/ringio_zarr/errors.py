"""The errors of ``ringio_zarr``, with the names that zarr-python's have in ``zarr.errors``.

Where zarr-python tells more kinds apart than there are here, several names mean one class: ``except`` catches what it
would catch there. What is never raised here has its name all the same, for the code that names it.
"""

from __future__ import annotations

from typing import Final

from ringio import RingioError

from ._errors import (
    ArrayNotFoundError,
    ChunkNotFoundError,
    ContainsArrayError,
    ContainsGroupError,
    GroupNotFoundError,
    MetadataError,
    NodeNotFoundError,
    UnsupportedError,
    ZarrUserWarning,
)
from ._selection import BoundsCheckError, VindexInvalidSelectionError

__all__ = [
    "ArrayIndexError",
    "ArrayNotFoundError",
    "BaseZarrError",
    "BoundsCheckError",
    "ChunkNotFoundError",
    "ContainsArrayAndGroupError",
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
    "UnstableSpecificationWarning",
    "UnsupportedError",
    "VindexInvalidSelectionError",
    "ZarrDeprecationWarning",
    "ZarrFutureWarning",
    "ZarrRuntimeWarning",
    "ZarrUserWarning",
]

BaseZarrError: Final = RingioError
DataTypeValidationError: Final = MetadataError
MetadataValidationError: Final = MetadataError
NodeTypeValidationError: Final = MetadataError
PickleCodecDisabledError: Final = UnsupportedError
UnknownCodecError: Final = UnsupportedError


class NegativeStepError(IndexError):
    """Never raised here: steps below 0 are read as in numpy."""


class ArrayIndexError(IndexError):
    """Never raised here, nor by what reads in zarr-python."""


class ContainsArrayAndGroupError(RingioError, ValueError):
    """Never raised here: where there is an array, nobody looks for a group."""


class ZarrFutureWarning(FutureWarning):
    """Never given here."""


class UnstableSpecificationWarning(ZarrFutureWarning):
    """Never given here."""


class ZarrDeprecationWarning(DeprecationWarning):
    """Never given here."""


class ZarrRuntimeWarning(RuntimeWarning):
    """Never given here."""
