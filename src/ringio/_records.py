"""The C core's records as numpy structured dtypes: the same fields, in the same order, as ``csrc/ringio_api.h``.

``tests/test_tidy.py`` compares every size and offset with what cffi read from the header.
"""

from __future__ import annotations

from typing import Final

import numpy as np

MAX_DIMS: Final = 32
NO_FILE: Final = 0xFFFF_FFFF
MAX_U64: Final = 0xFFFF_FFFF_FFFF_FFFF  # RINGIO_NO_FILL, RINGIO_MISSING, RINGIO_TO_END, RINGIO_SAME_SIZE

FILE: Final = np.dtype(
    [
        ("path_offset", "<u8"),
        ("data", "<u8"),
        ("nbytes", "<u8"),
        ("device", "<u8"),
        ("inode", "<u8"),
        ("mtime_ns", "<i8"),
    ]
)
REQUEST: Final = np.dtype(
    [
        ("offset", "<u8"),
        ("nbytes", "<u8"),
        ("file", "<u4"),
        ("first_task", "<u4"),
        ("task_count", "<u4"),
        ("flags", "<u4"),
    ]
)
TASK: Final = np.dtype(
    [
        ("source_offset", "<u8"),
        ("source_nbytes", "<u8"),
        ("first_projection", "<u8"),
        ("projection_count", "<u4"),
        ("chain", "<u4"),
    ]
)
PROJECTION: Final = np.dtype([("source_offset", "<i8"), ("target_offset", "<i8"), ("layout", "<u8")])
LAYOUT: Final = np.dtype(
    [
        ("target", "<u4"),
        ("itemsize", "<u4"),
        ("fill_offset", "<u8"),
        ("source_strides", "<i8", (MAX_DIMS,)),
        ("target_strides", "<i8", (MAX_DIMS,)),
    ]
)
TARGET: Final = np.dtype([("data", "<u8"), ("nbytes", "<u8")])
CODEC: Final = np.dtype(
    [
        ("kind", "<u4"),
        ("itemsize", "<u4"),
        ("decoded_nbytes", "<u8"),
        ("flags", "<u4"),
        ("types", "<u4"),
        ("scale", "<u8"),
        ("offset", "<u8"),
    ]
)
CHAIN: Final = np.dtype(
    [("decoded_nbytes", "<u8"), ("encoded_nbytes_max", "<u8"), ("first_codec", "<u4"), ("codec_count", "<u4")]
)
IDENTITY: Final = np.dtype(
    [
        ("device", "<u8"),
        ("inode", "<u8"),
        ("nbytes", "<u8"),
        ("mtime_ns", "<i8"),
        ("status", "<i4"),
        ("reserved", "<u4"),
    ]
)
