"""What arrays read by selections: ``a[...]``, ``oindex``, ``vindex``, ``blocks``, and the methods behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ringio.planning import NamedTuple

from ._fancy import (
    Mask,
    Points,
    Product,
    Wanted,
    is_orthogonal,
    is_vectorised,
    normalise_blocks,
    normalise_coordinates,
    normalise_mask,
    normalise_orthogonal,
    normalise_vectorised,
)
from ._fields import fields_dtype, pop_fields
from ._grid import grid_shape
from ._masked import read_mask
from ._metadata import ArrayMetadata
from ._node import Options
from ._placed import is_large, place_all, place_points
from ._planner import Boxes, PlacedPoints, Planner, Progress
from ._result import check_out, check_prototype, new_result, pick_fields
from ._selection import Box, normalise_basic
from ._staged import read_product

_INT: Final = {int}


class Request(NamedTuple):
    """A selection, understood.

    Attributes:
        wanted: which elements.
        fields: names of fields; None: all of them.
        is_scalar: the result is a scalar and no array.
    """

    wanted: Wanted
    fields: Any = None
    is_scalar: bool = False


class Begun(NamedTuple):
    """Requests on their way.

    Attributes:
        requests: what was asked for.
        results: where the results are in the end.
        targets: where they are read to.
        placed: what is to be read; None: nothing.
        places: the targets of that, which are not empty.
        gathers: to be called when that has been read.
        apart: what is read by itself, because it would be too many boxes, with its targets.
    """

    requests: Sequence[Request]
    results: list[npt.NDArray[Any]]
    targets: list[npt.NDArray[Any]]
    placed: Boxes | PlacedPoints | None
    places: list[npt.NDArray[Any]]
    gathers: Sequence[Callable[[], None]]
    apart: Sequence[tuple[Wanted, npt.NDArray[Any]]]

    def gather(self) -> None:
        """Bring what has been read to where it belongs."""
        for gather in self.gathers:
            gather()

    def finish(self) -> list[Any]:
        """The results, once all is read."""
        return [_finish(*parts) for parts in zip(self.requests, self.targets, self.results, strict=True)]


class Selecting:
    """The reading of selections; an ``Array`` has the rest."""

    __slots__ = ()

    dtype: np.dtype[Any]
    _metadata: ArrayMetadata
    _location: str
    _options: Options
    _planner: Planner
    _shape: tuple[int, ...]
    _order: str

    def __getitem__(self, selection: Any) -> Any:
        """The elements of a selection, as zarr-python gives them.

        Args:
            selection: what stands between the brackets: integers, slices with steps of either sign, an ellipsis; one
                list of indices or mask beside those, or one for each dimension (as ``oindex``); integers and arrays of
                them for all dimensions, or a mask of the array's shape (as ``vindex``); names of fields.

        Returns:
            A new array; where no dimension is left, a scalar, or for plain integers (``a[0, 0]``) an array without
            dimensions, as zarr-python has it.

        Raises:
            IndexError: out of bounds, too many indices, or something that selects nothing.
            ringio.DecodeError, OSError: a chunk cannot be read; the message names array, chunk, file and offset.
        """
        try:
            box = normalise_basic(selection, self._shape, self._location)
        except IndexError as error:
            return self._read_request(self._parse_fancy(selection, error))
        result = self._read_box(box)
        if box.shape or _is_plain(selection):
            return result
        # zarr-python takes an array without dimensions for coordinates, and one point has the shape (1,).
        return result.reshape(1) if is_vectorised(selection, len(self._shape)) else result[()]

    @property
    def oindex(self) -> OIndex:
        """``a.oindex[...]``: lists and masks along each dimension by itself, as ``get_orthogonal_selection``."""
        return OIndex(self)

    @property
    def vindex(self) -> VIndex:
        """``a.vindex[...]``: coordinates, as ``get_coordinate_selection``, or a mask, as ``get_mask_selection``."""
        return VIndex(self)

    @property
    def blocks(self) -> BlockIndex:
        """``a.blocks[...]``: whole chunks by their numbers, as ``get_block_selection``."""
        return BlockIndex(self)

    def get_basic_selection(
        self, selection: Any = ..., *, out: Any = None, fields: Any = None, prototype: Any = None
    ) -> Any:
        """Integers, slices with steps of either sign, and an ellipsis.

        Args:
            selection: what would stand between the brackets.
            out: a writable array of any strides with the shape and dtype of the result, or a buffer like that.
            fields: of a structured data type, the name of one or a list of names.
            prototype: the kind of buffers, where zarr-python has more than one: those in the memory of the host.

        Returns:
            ``out``, or without it a new array, or a scalar where no dimension is left.

        Raises:
            IndexError: as ``a[selection]``; a field that is not there.
            TypeError, ValueError: ``out`` is not as it should be.
        """
        box = normalise_basic(selection, self._shape, self._location)
        check_prototype(prototype)
        return self._read_request(Request(box, fields or None, not box.shape), out)

    def get_orthogonal_selection(
        self, selection: Any, *, out: Any = None, fields: Any = None, prototype: Any = None
    ) -> Any:
        """Along each dimension by itself an integer, a slice, a list of indices in any order, or a mask.

        Args:
            selection: what would stand between the brackets of ``a.oindex[...]``.
            out: as in ``get_basic_selection``.
            fields: as in ``get_basic_selection``.
            prototype: as in ``get_basic_selection``.

        Returns:
            ``out``, or a new array: element (i, j) is the one at the i-th index along the first dimension and the j-th
            along the second. Integers drop their dimension.
        """
        wanted = normalise_orthogonal(selection, self._shape, self._location)
        check_prototype(prototype)
        return self._read_request(Request(wanted, fields or None), out)

    def get_coordinate_selection(
        self, selection: Any, *, out: Any = None, fields: Any = None, prototype: Any = None
    ) -> Any:
        """Single elements, by an array of indices for each dimension.

        Args:
            selection: integers of any shape for each dimension, which are broadcast against each other.
            out: as in ``get_basic_selection``.
            fields: as in ``get_basic_selection``.
            prototype: as in ``get_basic_selection``.

        Returns:
            ``out``, or a new array of the shape that the indices have together; (1,) where they are integers.
        """
        wanted = normalise_coordinates(selection, self._shape, self._location)
        check_prototype(prototype)
        return self._read_request(Request(wanted, fields or None), out)

    def get_mask_selection(self, mask: Any, *, out: Any = None, fields: Any = None, prototype: Any = None) -> Any:
        """The elements where a mask is true.

        Args:
            mask: truth values, of the array's shape.
            out: as in ``get_basic_selection``.
            fields: as in ``get_basic_selection``.
            prototype: as in ``get_basic_selection``.

        Returns:
            ``out``, or a new array of one dimension.
        """
        check_prototype(prototype)
        return self._read_request(Request(normalise_mask(mask, self._shape, self._location), fields or None), out)

    def get_block_selection(self, selection: Any, *, out: Any = None, fields: Any = None, prototype: Any = None) -> Any:
        """Whole chunks (shards, where there are any), by their numbers in the grid.

        Args:
            selection: an integer, or a slice without steps, for each dimension.
            out: as in ``get_basic_selection``.
            fields: as in ``get_basic_selection``.
            prototype: as in ``get_basic_selection``.

        Returns:
            ``out``, or a new array with the elements of those chunks; no dimension is dropped.
        """
        check_prototype(prototype)
        return self._read_request(Request(self._parse_blocks(selection), fields or None), out)

    def read_many(
        self, selections: Iterable[Any], out: Sequence[Any] | None = None, progress: Progress = None
    ) -> list[Any]:
        """Many selections in one batch: every chunk is read and decoded once, however many of them want it.

        Lists, coordinates and masks are part of that batch while they all come to no more than 500,000 separate pieces
        and 64 MiB of what lies between these. What is more than that is read before it, one by one, as ``a[selection]``
        reads it, and ``progress`` does not count it.

        Args:
            selections: each as it would stand between the brackets.
            out: as many writable arrays, each with the shape and dtype of its result.
            progress: True for a progress bar, or a function of (bytes done, bytes in all).

        Returns:
            The results in the order of the selections, each as ``a[selection]`` gives it; or the items of ``out``.

        Raises:
            IndexError, TypeError, ValueError: as ``a[selection]``, and as ``get_basic_selection`` for ``out``.
        """
        begun = self._begin(self._parse_all(listed(selections)), out)
        for wanted, target in begun.apart:
            self._read(wanted, target)
        if begun.placed is not None:
            self._planner.read(begun.placed, begun.places, self._options.get_reader(), progress)
        begun.gather()
        finished = begun.finish()
        return finished if out is None else list(out)

    def _begin(self, requests: Sequence[Request], out: Sequence[Any] | None) -> Begun:
        """What is to be read for requests, and where it goes."""
        if out is not None and len(out) != len(requests):
            raise ValueError(f"out has {len(out)} arrays for {len(requests)} selections")
        results = [
            self._result_for(request, None if out is None else out[number], f"out[{number}]")
            for number, request in enumerate(requests)
        ]
        targets = [
            self._target_for(request, result, is_new=out is None)
            for request, result in zip(requests, results, strict=True)
        ]
        filled: Any = [(one.wanted, target) for one, target in zip(requests, targets, strict=True) if target.size]
        gathers: Sequence[Callable[[], None]] = ()
        apart: Sequence[tuple[Wanted, npt.NDArray[Any]]] = ()
        # Points alone are no boxes.
        if any(is_large(wanted) and not (len(filled) == 1 and isinstance(wanted, Points)) for wanted, _ in filled):
            from ._joined import join  # late: few selections are large

            filled, gathers, apart = join(filled, self._planner, is_regular=self._metadata.axes is None)
        places = [target for _, target in filled]
        placed = place_all([wanted for wanted, _ in filled], places, self._planner) if filled else None
        return Begun(requests, results, targets, placed, places, gathers, apart)

    def _parse_all(self, selections: Sequence[Any]) -> list[Request]:
        """The same for many; an error says in a note which of them it is about."""
        requests: list[Request] = []
        try:
            for selection in selections:
                requests.append(self._parse(selection))  # noqa: PERF401  # how many there are says which one failed
        except (IndexError, TypeError, ValueError) as error:
            error.add_note(f"selection {len(requests)} of {len(selections)}")
            raise
        return requests

    def _parse(self, selection: Any) -> Request:
        """What ``a[selection]`` means."""
        try:
            box = normalise_basic(selection, self._shape, self._location)
        except IndexError as error:
            return self._parse_fancy(selection, error)
        if not box.shape and is_vectorised(selection, len(self._shape)):
            return Request(normalise_vectorised(selection, self._shape, self._location))
        return Request(box, None, not box.shape and not _is_plain(selection))

    def _parse_fancy(self, selection: Any, error: IndexError) -> Request:
        """The same where it is no basic selection, for which there is an error."""
        fields, rest = pop_fields(selection)
        wanted: Wanted
        if is_vectorised(rest, len(self._shape)):
            wanted = normalise_vectorised(rest, self._shape, self._location)
        elif is_orthogonal(rest, len(self._shape)):
            wanted = normalise_orthogonal(rest, self._shape, self._location)
        elif fields is None:
            raise error
        else:
            fields_dtype(fields, self.dtype, self._location)
            wanted = normalise_basic(rest, self._shape, self._location)
        return Request(wanted, fields, fields is not None and not wanted.shape and not _is_plain(rest))

    def _parse_blocks(self, selection: Any) -> Box:
        lengths, axes = self._metadata.chunk_shape, self._metadata.axes
        counts: Sequence[int] = grid_shape(self._shape, lengths)

        def first_of(dimension: int, number: int) -> int:
            return lengths[dimension] * number if axes is None else axes[dimension].chunk_start(number)

        if axes is not None:
            counts = [axis.chunk_count for axis in axes]
        return normalise_blocks(selection, self._shape, counts, first_of, self._location)

    def _read_box(self, box: Box) -> npt.NDArray[Any]:
        result = new_result(box.shape, self.dtype, self._order)
        if 0 not in box.counts:
            self._planner.read_box(box, result, self._options.get_reader(), is_new=self._order == "C")
        return result

    def _read_request(self, request: Request, out: Any = None) -> Any:
        result = self._result_for(request, out)
        target = self._target_for(request, result, is_new=out is None)
        if target.size:
            self._read(request.wanted, target)
        finished = _finish(request, target, result)
        return finished if out is None else out

    def _read(self, wanted: Wanted, target: npt.NDArray[Any]) -> None:
        reader = self._options.get_reader()
        if isinstance(wanted, Box):
            self._planner.read_box(wanted, target, reader)
        elif isinstance(wanted, Product):
            read_product(wanted, target, self._planner, reader)
        elif isinstance(wanted, Mask) and self._metadata.axes is None:
            read_mask(wanted, target, self._planner, reader)
        else:
            self._planner.read(place_points(wanted, target), target, reader)

    def _result_for(self, request: Request, out: Any, name: str = "out") -> npt.NDArray[Any]:
        """Where the result of a request is in the end."""
        shape, fields = request.wanted.shape, request.fields
        dtype = self.dtype if fields is None else fields_dtype(fields, self.dtype, self._location)
        if out is not None:
            # The dtype of a field may have dimensions of its own, which are the last ones of the array.
            return check_out(out, shape + dtype.shape, dtype.base, name)
        return new_result(shape, dtype, "C" if _is_flat(request.wanted) else self._order)

    def _target_for(self, request: Request, result: npt.NDArray[Any], *, is_new: bool) -> npt.NDArray[Any]:
        """Where it is read to: the same memory where that can be."""
        wanted = request.wanted
        is_flat = _is_flat(wanted)
        if request.fields is not None or (is_flat and not (is_new or result.ndim == 1 or result.flags.c_contiguous)):
            return new_result(wanted.target_shape, self.dtype, "C" if is_flat else self._order)
        return result.reshape(-1) if is_flat and result.ndim != 1 else result


def listed(selections: Iterable[Any]) -> list[Any]:
    """The selections of a ``read_many``.

    Raises:
        TypeError: one integer, say, in place of many selections.
    """
    try:
        return list(selections)
    except TypeError:
        if isinstance(selections, Iterable):
            raise
        raise TypeError(f"selections is {selections!r:.100}; a sequence of selections is due") from None


def _is_flat(wanted: Wanted) -> bool:
    """Whether it is read to an array of one dimension, whatever shape the result has."""
    return isinstance(wanted, Points | Mask)


def _finish(request: Request, target: npt.NDArray[Any], result: npt.NDArray[Any]) -> Any:
    """The result of a request that has been read to its target."""
    if request.fields is not None:
        pick_fields(target.reshape(request.wanted.shape), request.fields, result)
    elif not np.may_share_memory(target, result):
        result[...] = target.reshape(result.shape)
    return result[()] if request.is_scalar else result


class _Index:
    """Something that takes brackets."""

    __slots__ = ("array",)

    def __init__(self, array: Selecting) -> None:
        self.array = array


class OIndex(_Index):
    """``a.oindex``."""

    __slots__ = ()

    def __getitem__(self, selection: Any) -> Any:
        fields, rest = pop_fields(selection)
        return self.array.get_orthogonal_selection(rest, fields=fields)


class VIndex(_Index):
    """``a.vindex``."""

    __slots__ = ()

    def __getitem__(self, selection: Any) -> Any:
        fields, rest = pop_fields(selection)
        array = self.array
        return array._read_request(Request(normalise_vectorised(rest, array._shape, array._location), fields))


class BlockIndex(_Index):
    """``a.blocks``."""

    __slots__ = ()

    def __getitem__(self, selection: Any) -> Any:
        fields, rest = pop_fields(selection)
        return self.array.get_block_selection(rest, fields=fields)


def _is_plain(selection: Any) -> bool:
    """Whether a selection is made of plain integers alone, for which zarr-python gives an array and not a scalar."""
    if type(selection) is not tuple:
        return isinstance(selection, int)
    return set(map(type, selection)) == _INT or (bool(selection) and all(isinstance(item, int) for item in selection))
