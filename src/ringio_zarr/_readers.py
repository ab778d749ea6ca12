"""Readers for ``store_options``: one for all that is opened with the same ones."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from ringio import Reader


class OptionsReader(Reader):
    """A reader with ``store_options``, shared by all that is opened with the same ones in a process."""

    def __init__(self, store_options: Mapping[str, object]) -> None:
        super().__init__(store_options=store_options)
        self.store_options = dict(store_options)

    def __reduce__(self) -> tuple[Any, ...]:
        return reader_with, (self.store_options,)


def reader_with(store_options: Mapping[str, object]) -> Reader:
    """The reader that has these options: one that is in use already, or a new one.

    Raises:
        TypeError, ValueError: options that make no sense.
    """
    for known in tuple(_readers):
        reader = known()
        if reader is None:
            with suppress(ValueError):  # another thread has done it
                _readers.remove(known)
        elif not reader.closed and reader.store_options == store_options:
            return reader
    reader = OptionsReader(store_options)
    _readers.append(weakref.ref(reader))
    return reader


_readers: Final[list[weakref.ref[OptionsReader]]] = []
