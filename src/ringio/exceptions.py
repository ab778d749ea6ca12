"""Exceptions of :class:`ringio.Store`, by the names that obspec gives them.

obspec knows exceptions by the names of their classes, so that nobody has to import it: ``obspec.exceptions`` has
``map_exception`` for code that reads from any store. Where Python has a word for it, they are that too::

    RingioError
    └── BaseError
        ├── NotFoundError (FileNotFoundError)          no object at this path
        ├── PermissionDeniedError (PermissionError)    the system, or the server, does not let us
        ├── UnauthenticatedError (PermissionError)     the server wants other credentials, or any
        ├── InvalidPathError (ValueError)              a path that leaves the store, or is none
        ├── NotSupportedError                          what this store cannot do
        ├── PreconditionError                          ``if_match`` or ``if_unmodified_since`` does not hold
        └── NotModifiedError                           ``if_none_match`` or ``if_modified_since`` does not hold

A range that is empty or begins behind the end is a :class:`ringio.RangeError`. Other errors are the system's.
"""

from __future__ import annotations

from ._errors import RingioError

__all__ = [
    "BaseError",
    "NotFoundError",
    "PermissionDeniedError",
    "UnauthenticatedError",
    "InvalidPathError",
    "NotSupportedError",
    "PreconditionError",
    "NotModifiedError",
]


class BaseError(RingioError):
    """Every error of a store that has a name in obspec."""


class NotFoundError(BaseError, FileNotFoundError):
    """There is no object at this path."""


class PermissionDeniedError(BaseError, PermissionError):
    """The system, or the server, does not let us read it."""


class UnauthenticatedError(BaseError, PermissionError):
    """The server wants other credentials, or any at all."""


class InvalidPathError(BaseError, ValueError):
    """A path that leaves the store, or is none."""


class NotSupportedError(BaseError):
    """What this store cannot do."""


class PreconditionError(BaseError):
    """``if_match`` or ``if_unmodified_since`` does not hold for the object."""


class NotModifiedError(BaseError):
    """``if_none_match`` or ``if_modified_since`` does not hold for the object."""
