"""What ringio does when the interpreter ends.

``atexit`` runs the functions that were registered last first. The one here is registered when ringio is imported, and
not only when something of it is first used: what a program registers in between may still read.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable
from typing import Final

_functions: Final[list[Callable[[], None]]] = []


def at_exit(function: Callable[[], None]) -> None:
    """Call a function at exit; those of modules that were imported last come first, as with ``atexit``."""
    _functions.append(function)


def _run() -> None:
    errors: list[BaseException] = []
    for function in reversed(_functions):
        try:
            function()
        except BaseException as error:  # the others are called all the same
            errors.append(error)
    if errors:
        raise errors[0]


atexit.register(_run)
