"""``python -m ringio_zarr``: the same as the command ``ringio-zarr``."""

from __future__ import annotations

import sys

from ._cli import main

if __name__ == "__main__":
    sys.exit(main())
