"""``AsyncArray``: an array whose reads are awaited, with the names of zarr-python."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._array import Array
from ._fancy import normalise_coordinates, normalise_mask, normalise_orthogonal, normalise_vectorised
from ._fields import pop_fields
from ._info import ArrayInfo
from ._open import open_array
from ._result import check_prototype
from ._selecting import Request
from ._selection import normalise_basic
from ._steps import in_thread


class AsyncArray:
    """A Zarr array, read-only, for event loops; made by :meth:`open` and ``AsyncGroup.getitem``.

    Everything but reads is at hand: ``shape``, ``dtype``, ``attrs`` and all else that an ``Array`` has.

    Args:
        array: the same array for other threads.

    Example:
        >>> a = await AsyncArray.open("temperature.zarr")  # doctest: +SKIP
        >>> (await a.getitem((0, slice(100, 228)))).shape  # doctest: +SKIP
        (128, 1440)
    """

    __slots__ = ("_array",)

    def __init__(self, array: Array) -> None:
        self._array = array

    @classmethod
    async def open(cls, store: Any, **options: Any) -> AsyncArray:
        """Open an array; arguments and errors are those of :func:`ringio_zarr.open_array`."""
        return cls(await in_thread(lambda: open_array(store, **options)))

    @property
    def array(self) -> Array:
        """The same array for other threads."""
        return self._array

    async def getitem(self, selection: Any, *, prototype: Any = None) -> Any:
        """``a[selection]``, but a scalar also where that is an array without dimensions, as in zarr-python."""
        check_prototype(prototype)
        result = await self._array.read_async(selection)
        return result[()] if isinstance(result, np.ndarray) and not result.ndim else result

    async def get_basic_selection(
        self, selection: Any = ..., *, out: Any = None, fields: Any = None, prototype: Any = None
    ) -> Any:
        """As ``Array.get_basic_selection``."""
        check_prototype(prototype)
        array = self._array
        box = normalise_basic(selection, array.shape, array.location)
        return await array._request_async(Request(box, fields or None, not box.shape), out)

    async def get_orthogonal_selection(
        self, selection: Any, *, out: Any = None, fields: Any = None, prototype: Any = None
    ) -> Any:
        """As ``Array.get_orthogonal_selection``."""
        check_prototype(prototype)
        wanted = normalise_orthogonal(selection, self._array.shape, self._array.location)
        return await self._array._request_async(Request(wanted, fields or None), out)

    async def get_coordinate_selection(
        self, selection: Any, *, out: Any = None, fields: Any = None, prototype: Any = None
    ) -> Any:
        """As ``Array.get_coordinate_selection``."""
        check_prototype(prototype)
        wanted = normalise_coordinates(selection, self._array.shape, self._array.location)
        return await self._array._request_async(Request(wanted, fields or None), out)

    async def get_mask_selection(self, mask: Any, *, out: Any = None, fields: Any = None, prototype: Any = None) -> Any:
        """As ``Array.get_mask_selection``."""
        check_prototype(prototype)
        wanted = normalise_mask(mask, self._array.shape, self._array.location)
        return await self._array._request_async(Request(wanted, fields or None), out)

    async def get_block_selection(
        self, selection: Any, *, out: Any = None, fields: Any = None, prototype: Any = None
    ) -> Any:
        """As ``Array.get_block_selection``."""
        check_prototype(prototype)
        wanted = self._array._parse_blocks(selection)
        return await self._array._request_async(Request(wanted, fields or None), out)

    @property
    def oindex(self) -> AsyncOIndex:
        """``await a.oindex.getitem(...)``: lists and masks along each dimension by itself."""
        return AsyncOIndex(self._array)

    @property
    def vindex(self) -> AsyncVIndex:
        """``await a.vindex.getitem(...)``: coordinates, or a mask."""
        return AsyncVIndex(self._array)

    def with_config(self, config: Any) -> AsyncArray:
        """As ``Array.with_config``."""
        return AsyncArray(self._array.with_config(config))

    async def info_complete(self) -> ArrayInfo:
        """As ``Array.info_complete``."""
        return await in_thread(self._array.info_complete)

    async def nchunks_initialized(self) -> int:
        """As ``Array.nchunks_initialized``."""
        return await in_thread(lambda: self._array.nchunks_initialized)

    async def nbytes_stored(self) -> int:
        """As ``Array.nbytes_stored``."""
        return await in_thread(self._array.nbytes_stored)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # the array itself, while it is being unpickled
            raise AttributeError(name)
        return getattr(self._array, name)

    def __eq__(self, other: object) -> bool:
        return self._array == other._array if isinstance(other, AsyncArray) else NotImplemented

    def __hash__(self) -> int:
        return hash((AsyncArray, self._array))

    def __reduce__(self) -> tuple[Any, ...]:
        return AsyncArray, (self._array,)

    def __repr__(self) -> str:
        return f"<AsyncArray {self._array.location} shape={self._array.shape} dtype={self._array.dtype}>"


class AsyncOIndex:
    """``AsyncArray.oindex``."""

    __slots__ = ("array",)

    def __init__(self, array: Array) -> None:
        self.array = array

    async def getitem(self, selection: Any) -> Any:
        """``array.oindex[selection]``."""
        fields, rest = pop_fields(selection)
        wanted = normalise_orthogonal(rest, self.array.shape, self.array.location)
        return await self.array._request_async(Request(wanted, fields))


class AsyncVIndex:
    """``AsyncArray.vindex``."""

    __slots__ = ("array",)

    def __init__(self, array: Array) -> None:
        self.array = array

    async def getitem(self, selection: Any) -> Any:
        """``array.vindex[selection]``."""
        fields, rest = pop_fields(selection)
        wanted = normalise_vectorised(rest, self.array.shape, self.array.location)
        return await self.array._request_async(Request(wanted, fields))
