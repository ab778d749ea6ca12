"""The C core, as cffi generates it from ``csrc/ringio_api.h`` and ``planning_api.h``: see there."""

from typing import Any

ffi: Any
lib: Any
