"""Chunk keys against zarr-python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from zarr.core.chunk_key_encodings import parse_chunk_key_encoding

from ringio_zarr._errors import MetadataError, Place, UnsupportedError
from ringio_zarr._keys import parse_key_encoding

PLACE = Place("a/zarr.json", "chunk_key_encoding")
DOCUMENTS: list[dict[str, Any]] = [
    {"name": name, **configuration}
    for name in ("default", "v2")
    for configuration in ({}, {"configuration": {"separator": "/"}}, {"configuration": {"separator": "."}})
]
coordinate = st.integers(0, 12) | st.integers(0, 2**62)


@pytest.mark.parametrize("document", DOCUMENTS)
@given(data=st.data())
def test_keys_are_those_of_zarr_python(document: dict[str, Any], data: st.DataObject) -> None:
    """One key and many keys, for any number of dimensions down to none, far apart or close together, both the same."""
    dim_count = data.draw(st.integers(0, 4))
    rows = data.draw(st.lists(st.lists(coordinate, min_size=dim_count, max_size=dim_count), max_size=8))
    encoding = parse_key_encoding(document, PLACE)
    expected = [parse_chunk_key_encoding(document).encode_chunk_key(tuple(row)) for row in rows]
    assert [encoding.encode(row) for row in rows] == expected
    for dtype in (np.int64, np.uint64):
        assert encoding.encode_many(np.array(rows, dtype=dtype).reshape(len(rows), dim_count)) == expected


def test_a_bare_name_is_an_encoding() -> None:
    """ "default" and "v2" as bare strings have their own separators."""
    assert parse_key_encoding("default", PLACE).encode((1, 2)) == "c/1/2"
    assert parse_key_encoding("v2", PLACE).encode((1, 2)) == "1.2"


@pytest.mark.parametrize(
    ("document", "error", "word"),
    [
        ({"name": "suffix"}, UnsupportedError, "'suffix'"),
        ({"name": "v2", "configuration": {"separator": "-"}}, MetadataError, "separator"),
        ({"name": "v2", "configuration": {"separator": None}}, MetadataError, "separator"),
        ({"name": "v2", "configuration": {"separator": ["/"]}}, MetadataError, "separator"),
        ({"name": "v2", "configuration": {"order": "C"}}, MetadataError, "'order'"),
        (None, MetadataError, "chunk_key_encoding"),
        (7, MetadataError, "chunk_key_encoding"),
    ],
)
def test_encodings_that_are_none(document: Any, error: type[MetadataError], word: str) -> None:
    """An unknown name is unsupported; a separator or member that makes no sense is an error that names it."""
    with pytest.raises(error, match=word):
        parse_key_encoding(document, PLACE)
