"""The C core, as cffi generates it from ``csrc/ringio_api.h``: see that file for every struct and function."""

from typing import Any

ffi: Any
lib: Any
