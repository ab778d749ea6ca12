"""Arrays: attributes and crops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ._adapted import ArrayConfig, settings_of
from ._awaiting import Awaiting
from ._chain import build_pipeline
from ._described import Described
from ._fancy import Points
from ._metadata import ArrayMetadata
from ._node import Node, Options
from ._placed import is_large, place_all
from ._planner import Boxes, PlacedPoints, Planner, Progress
from ._result import check_out, new_result
from ._selection import Box, few_crops, normalise_basic, normalise_crop_shape, normalise_crops
from ._single import FEW_CHUNKS
from ._store_base import Store

if TYPE_CHECKING:
    from ringio_zarr import AsyncArray

    from ._explain import Explanation
    from ._info import ArrayInfo


class Array(Awaiting, Described, Node):
    """A Zarr array, read-only; made by :func:`ringio_zarr.open`.

    Reads go to the files each time: nothing but shard indexes and open files is remembered. Any number of threads may
    read at once. It pickles as its place, so child processes and data-loader workers can have it.

    Example:
        >>> import numpy as np, ringio_zarr
        >>> a = ringio_zarr.open("temperature.zarr")  # doctest: +SKIP
        >>> a[0, 100:228, ::2].shape  # doctest: +SKIP
        (128, 640)
        >>> a.read_crops(np.array([[0, 0, 0], [3, 64, 64]]), (1, 128, 128)).shape  # doctest: +SKIP
        (2, 1, 128, 128)
    """

    __slots__ = ("_location", "_metadata", "_order", "_planner", "_shape", "dtype")

    metadata_type = ArrayMetadata

    def __init__(self, store: Store, path: str, metadata: ArrayMetadata, options: Options) -> None:
        if options.allow_pickle:
            metadata = metadata._replace(allow_pickle=True)
        if options.order and metadata.zarr_format == 3:  # v2 says itself what it is
            metadata = metadata._replace(order=options.order)
        if options.read_missing_chunks != metadata.read_missing_chunks:
            metadata = metadata._replace(read_missing_chunks=options.read_missing_chunks)
        super().__init__(store, path, metadata, options)
        self._metadata = metadata
        self._location = self.location
        if metadata.axes is None:
            self._planner = Planner(metadata, build_pipeline(metadata), store, path, options.cache)
        else:
            from ._rectilinear import RectilinearPlanner  # late: few arrays have chunks of different shapes

            self._planner = RectilinearPlanner(metadata, store, path, options.cache)
        self._shape = metadata.shape
        # zarr-python gives the results of v2 in the order of the chunks.
        self._order = metadata.order if len(metadata.shape) > 1 else "C"
        self.dtype = metadata.dtype

    @property
    def metadata(self) -> ArrayMetadata:
        """The metadata document, checked."""
        return self._metadata

    @property
    def shape(self) -> tuple[int, ...]:
        """Elements along each dimension."""
        return self._shape

    @property
    def ndim(self) -> int:
        """How many dimensions there are."""
        return len(self._shape)

    @property
    def size(self) -> int:
        """How many elements there are."""
        return prod(self._shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.dtype.itemsize

    @property
    def chunks(self) -> tuple[int, ...]:
        """Elements of a chunk along each dimension; of an inner chunk where there are shards."""
        return self._metadata.chunks

    @property
    def shards(self) -> tuple[int, ...] | None:
        """Elements of a shard along each dimension; None where there are none."""
        return self._metadata.shards

    @property
    def cdata_shape(self) -> tuple[int, ...]:
        """How many chunks (inner chunks where there are shards) there are along each dimension."""
        return self._metadata.grid_shape

    @property
    def nchunks(self) -> int:
        """How many chunks (inner chunks where there are shards) there are."""
        return prod(self.cdata_shape)

    @property
    def fill_value(self) -> Any:
        """What missing chunks are full of, a numpy scalar; None where v2 says null, which reads as zeros."""
        return self._metadata.fill_value

    @property
    def order(self) -> str:
        """The order of elements in the chunks of v2, "C" or "F", and of results; of v3 that of results alone."""
        return self._metadata.order

    @property
    def dimension_names(self) -> tuple[str | None, ...] | None:
        """A name, or None, for each dimension; None where the document has no names."""
        return self._metadata.dim_names

    @classmethod
    def open(cls, store: Any, **options: Any) -> Array:
        """:func:`ringio_zarr.open_array`."""
        from ringio_zarr import open_array  # by its public name: it stands above this module

        return open_array(store, **options)

    @property
    def async_array(self) -> AsyncArray:
        """The same array for event loops."""
        from ringio_zarr import AsyncArray

        return AsyncArray(self)

    @property
    def config(self) -> ArrayConfig:
        """How it is read; :meth:`with_config` gives the same array, read in another way."""
        return ArrayConfig(self._options.order or "C", self._options.read_missing_chunks)

    def with_config(self, config: Any) -> Array:
        """The same array, read in another way.

        Args:
            config: a dict, or the ``config`` of an array, here or of zarr-python. Of it ``order`` (of v3:
                v2 says itself what it is) and ``read_missing_chunks`` are used; what it does not say stays as it is.
        """
        settings = settings_of(config)
        if not settings:
            return self
        return Array(self._store, self._path, self._metadata, self._options._replace(**settings))

    def __bool__(self) -> bool:
        return True  # as zarr-python's arrays, which have no length

    def __len__(self) -> int:
        if not self._shape:
            raise TypeError("len() of an array without dimensions")
        return self._shape[0]

    def __repr__(self) -> str:
        dtype = self.dtype if self.dtype.kind == "V" else self.dtype.str
        return (
            f"<ringio_zarr.Array {self._location!r} shape={self._shape} dtype={dtype} "
            f"{self._metadata.describe_chunks()}>"
        )

    def read_crops(
        self, starts: npt.ArrayLike, shape: Sequence[int], out: Any = None, progress: Progress = None
    ) -> npt.NDArray[Any]:
        """Many boxes of one shape in one batch: every chunk is read and decoded once, however many of them want it.

        Args:
            starts: integers, shape (n, ndim): crop ``i`` is ``a[starts[i] : starts[i] + shape]`` in every dimension.
            shape: of each crop, in elements.
            out: a writable array of shape (n, *shape) and the array's dtype, of any strides, or a buffer like that.
            progress: True for a progress bar, or a function of (bytes done, bytes in all).

        Returns:
            An array of shape (n, *shape); ``out`` where that is given.

        Raises:
            IndexError: a crop is not wholly inside the array; the message names the first one.
            TypeError, ValueError: ``starts``, ``shape`` or ``out`` are not as they should be.
            ringio.DecodeError, OSError: a chunk cannot be read; the message names array, chunk, file and offset.
        """
        crop_shape = normalise_crop_shape(shape, len(self._shape))
        plain = progress is None or progress is False
        few = few_crops(starts, crop_shape, self._shape, FEW_CHUNKS) if plain else None
        rows = normalise_crops(starts, crop_shape, self._shape, self._location) if few is None else None
        count = len(few or rows)  # type: ignore[arg-type]  # one of them is there
        if out is None:
            result = new_result((count, *crop_shape), self.dtype)
        else:
            result = check_out(out, (count, *crop_shape), self.dtype)
        reader = self._options.get_reader()
        if few and self._planner.read_few_crops(few, result, reader, is_new=out is None):
            return result if out is None else out
        if rows is None:
            rows = normalise_crops(starts, crop_shape, self._shape, self._location)
        if result.size:
            boxes = self._planner.crops(rows, crop_shape, result)
            self._planner.read(boxes, result, reader, progress)
        return result if out is None else out

    def explain(self, selection: Any = ...) -> Explanation:
        """What reading a selection would do: chunks, bytes, requests, codecs, backend. No chunk is read for it.

        Indexes of shards that are not known are read, and kept as usual. What is said is true of ``read_many``; of
        ``a[selection]`` too, but that reads up to eight small chunks in the page cache one by one. Lists and masks that
        come to more than 20,000 separate pieces are read in several batches: what is said is true of all their chunks
        in one, and of chunks that are not encoded the bytes from the first to the last one wanted are counted.

        Args:
            selection: what would stand between the brackets.

        Raises:
            IndexError: as ``a[selection]``.

        Example:
            >>> print(a.explain((0, slice(100, 228))))  # doctest: +SKIP
            Array         : /data/temperature.zarr
            Result        : (128, 1440), 720.0 KiB (737,280 bytes)
            Chunks        : 1, 0 missing
            ...
        """
        wanted = self._parse(selection).wanted
        if is_large(wanted) and not isinstance(wanted, Box | Points):
            from ._outline import outline

            chunks, count = outline(wanted, self.dtype, self._planner)
            return self._explain(chunks, wanted.shape)._replace(selections=count)
        target = np.broadcast_to(np.zeros((), self.dtype), wanted.target_shape)
        boxes = place_all([wanted], [target], self._planner) if target.size else None
        return self._explain(boxes, wanted.shape)

    def explain_crops(self, starts: npt.ArrayLike, shape: Sequence[int]) -> Explanation:
        """The same for :meth:`read_crops`, whose arguments these are."""
        crop_shape = normalise_crop_shape(shape, len(self._shape))
        rows = normalise_crops(starts, crop_shape, self._shape, self._location)
        target = np.broadcast_to(np.zeros((), self.dtype), (len(rows), *crop_shape))
        return self._explain(self._planner.crops(rows, crop_shape, target), target.shape)

    def _explain(self, boxes: Boxes | PlacedPoints | None, shape: tuple[int, ...]) -> Explanation:
        from ._explain import explain  # late, as the next ones: most programs never ask

        reader = self._options.get_reader()
        return explain(
            boxes, shape, metadata=self._metadata, location=self._location, planner=self._planner, reader=reader
        )

    @property
    def info(self) -> ArrayInfo:
        """What the metadata says, as zarr-python shows it."""
        from ._info import array_info

        return array_info(self._metadata, type(self._store).__name__, self.nbytes)

    def info_complete(self) -> ArrayInfo:
        """The same, with the number of chunks (shards, where there are shards) that are stored, and their bytes."""
        files = self._stored()
        return self.info._replace(
            count_bytes_stored=sum(file.nbytes for file in files),
            count_chunks_initialized=sum(file.coordinates is not None for file in files),
        )

    def __iter__(self) -> Iterator[Any]:
        for index in range(len(self)):
            yield self[index]

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("the elements of a Zarr array are in files: there is no way to have them without a copy")
        result = self._read_box(normalise_basic(..., self._shape, self._location))
        return result if dtype is None else result.astype(dtype, copy=False)
