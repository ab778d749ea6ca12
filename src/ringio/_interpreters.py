"""Sub-interpreters: what can be said about an import that failed in one."""

from __future__ import annotations

import importlib
from typing import Final

# By that name from Python 3.13 on; before that by the other one.
_MODULES: Final = ("_interpreters", "_xxsubinterpreters")


def in_sub_interpreter() -> bool:
    """Whether this is another interpreter than the one that the process began with."""
    for name in _MODULES:
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        return bool(module.get_current() != module.get_main())
    return False


def refusal(error: ImportError) -> ImportError:
    """The error to raise where ringio's first import failed."""
    if not in_sub_interpreter():
        return error
    return ImportError(
        f"ringio cannot be imported in a sub-interpreter where numpy and cffi cannot be ({_reason(error)}); "
        "use threads, for ringio reads without the GIL, or processes"
    )


def _reason(error: BaseException) -> str:
    while error.__cause__ is not None:  # numpy's own message is a page about broken installations
        error = error.__cause__
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
