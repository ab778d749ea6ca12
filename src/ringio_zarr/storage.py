"""The stores of zarr-python, which ``open`` takes: ``ringio_zarr.storage.LocalStore`` is ``zarr.storage.LocalStore``.

They need zarr-python. A path, URL, mapping, or store of obstore does without.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from zarr import storage
    except ImportError:
        raise ImportError(
            f"{__name__}.{name} is a store of zarr-python, which is not installed (pip install zarr); "
            "ringio_zarr.open takes paths, URLs, mappings, and stores of obstore without it"
        ) from None
    return getattr(storage, name)
