"""Sub-interpreters and free-threaded Python: what can be said about an import that failed in one."""

from __future__ import annotations

import importlib
import sys
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


def is_free_threaded() -> bool:
    """Whether this Python was built without a GIL, and does not load extensions of the stable ABI (before 3.15)."""
    return "t" in getattr(sys, "abiflags", "") and sys.version_info < (3, 15)


def refusal(error: ImportError) -> ImportError:
    """The error to raise where ringio's first import failed."""
    if is_free_threaded():
        return ImportError(
            "ringio cannot be imported in a free-threaded Python before 3.15, which does not load extensions of the "
            f"stable ABI ({_reason(error)}); use a Python with a GIL: ringio reads and decodes without it"
        )
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
