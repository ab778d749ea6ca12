"""Fill values: what stands in JSON for one item of an array."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from ringio.planning import NamedTuple

from ._dtypes import is_ml_dtype
from ._errors import Place, excerpt

Cell: TypeAlias = np.ndarray[Any, Any]  # one item, as an array of shape (1,)


class Fill(NamedTuple):
    """A fill value.

    Attributes:
        value: a numpy scalar, as zarr-python's ``Array.fill_value`` gives it; None where v2 says null.
        data: the bytes of one item of a missing chunk, in the array's dtype. Zeros for null, NaT for times, as in
            zarr-python. Empty for Python objects and strings of any length.
        item: of these, what is in a missing chunk.
    """

    value: Any
    data: bytes
    item: Any = None


def parse_fill(
    value: object, dtype: np.dtype[Any], place: Place, *, zarr_format: int, object_codec: str | None = None
) -> Fill:
    """The fill value of an array.

    Args:
        value: what the document has under ``fill_value``.
        dtype: the array's.
        place: where the value stands.
        zarr_format: 2 or 3. Only v2 knows null, and 0 for every type; only v3 knows the bits of a NaN ("0x7fc00001").
        object_codec: what makes the objects of a v2 array, if its items are objects.

    Raises:
        MetadataError: this is no value of that data type.

    Source: Zarr v2 specification, "Fill value encoding"; Zarr core specification 3.1, "Fill value list".

    >>> parse_fill("0x7fc00001", np.dtype("<f4"), Place("zarr.json", "fill_value"), zarr_format=3).data.hex()
    '0100c07f'
    """
    if dtype.kind in "TO":
        return _parse_item(value, dtype, place, zarr_format, object_codec)
    cell = np.zeros((1,), dtype)
    if value is None and zarr_format == 2:
        _set_default(cell)
        return Fill(None, cell.tobytes())
    _set(cell, value, place, zarr_format)
    return Fill(cell[0], cell.tobytes())


def _parse_item(value: object, dtype: np.dtype[Any], place: Place, zarr_format: int, object_codec: str | None) -> Fill:
    """Strings and bytes of any length, as zarr-python has them; of other objects, what stands there."""
    is_null = value is None and zarr_format == 2
    if dtype.kind == "T":
        if is_null:
            return Fill(None, b"", "")
        if not isinstance(value, str | int | float):
            raise place.error(f"expected a string, got {excerpt(value)}")
        return Fill(str(value), b"", str(value))  # zarr-python 2 wrote 0
    if object_codec in (None, "vlen-bytes"):
        if is_null:
            return Fill(None, b"", b"")
        raw = b"" if zarr_format == 2 and value == 0 else _decode_base64(value, place)
        return Fill(raw, b"", raw)
    return Fill(value, b"", value)


def _set_default(cell: Cell) -> None:
    """What zarr-python calls the default of a data type: zeros, and NaT for times that are not in a struct."""
    if cell.dtype.kind in "Mm":
        cell[0] = np.array("NaT", cell.dtype)


def _set(cell: Cell, value: object, place: Place, zarr_format: int) -> None:
    dtype = cell.dtype
    if is_ml_dtype(dtype):
        _set_ml(cell, value, place, zarr_format)
        return
    zero = zarr_format == 2 and not isinstance(value, bool) and isinstance(value, int) and value == 0
    match dtype.kind:
        case "b":
            cell[0] = _parse_bool(value, place)
        case "i" | "u":
            cell[0] = _parse_int(value, np.iinfo(dtype), place)
        case "M" | "m":
            moment = "NaT" if value == "NaT" else _parse_int(value, np.iinfo("i8"), place)
            cell.view(dtype.str[0] + "i8")[0] = np.iinfo("i8").min if moment == "NaT" else moment
        case "f":
            _set_float(cell, value, place, zarr_format)
        case "c":
            parts = cell.view(dtype.str[0] + f"f{dtype.itemsize // 2}")
            _set_complex(parts, value, place, zarr_format)
        case "U" if not zero:
            if not isinstance(value, str):
                raise place.error(f"expected a string, got {excerpt(value)}")
            cell[0] = value
        case "V" if dtype.names is not None and isinstance(value, Mapping):
            _set_fields(cell, value, place, zarr_format)
        case "S" | "V" if not zero:
            raw = _parse_bytes(value, dtype, place)
            cell.view("u1")[: len(raw)] = np.frombuffer(raw, "u1")


def _set_fields(cell: Cell, members: Mapping[str, object], place: Place, zarr_format: int) -> None:
    """A struct as an object. Fields that it lacks get their default, and what is no field is passed over."""
    for name in cell.dtype.names or ():
        item = np.zeros((1,), cell.dtype[name])
        if item.ndim > 1:
            raise place.at(name).unsupported("a field with a shape has its fill value in base64, with all of the item")
        if name in members:
            _set(item, members[name], place.at(name), zarr_format)
        else:
            _set_default(item)
        cell[name] = item


def _set_ml(cell: Cell, value: object, place: Place, zarr_format: int) -> None:
    name = cell.dtype.name
    if "int" not in name:
        _set_float(cell, value, place, zarr_format)
        return
    from ml_dtypes import iinfo

    info: Any = iinfo  # untyped in some versions of ml_dtypes, not in others
    cell[0] = _parse_int(value, info(cell.dtype), place)


def _parse_bool(value: object, place: Place) -> bool:
    """Of any number or string what zarr-python makes of it: all but zero and the empty string is true."""
    if isinstance(value, int | float | str):
        return bool(value)
    raise place.error(f"expected true or false, got {excerpt(value)}")


def _parse_int(value: object, info: Any, place: Place) -> int:
    """Whole numbers also come as 1.0 and as "1"; ``info`` is what ``np.iinfo`` gives."""
    number: int | None = None
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        number = int(value)
    elif isinstance(value, str):
        try:
            number = int(value)
        except ValueError:
            number = None
    if number is None:
        raise place.error(f"expected an integer, got {excerpt(value)}")
    if not info.min <= number <= info.max:
        raise place.error(f"{excerpt(number)} is out of range for data type {info.dtype}")
    return number


def _set_float(cell: Cell, value: object, place: Place, zarr_format: int) -> None:
    """A number, "NaN", "Infinity", "-Infinity", a numeric string, or in v3 the bits of one item, "0x7fc00001"."""
    dtype = cell.dtype
    if isinstance(value, str) and value.startswith("0x") and zarr_format == 3:
        _set_bits(cell, value, place)
        return
    if not isinstance(value, int | float | str):
        raise place.error(f'expected a number, "NaN", "Infinity" or "-Infinity", got {excerpt(value)}')
    try:
        number = float(value)
    except (ValueError, OverflowError) as error:
        raise place.error(f"{excerpt(value)} is no number of data type {dtype.name}") from error
    with np.errstate(over="ignore"):  # 1e300 as a float32 is infinity, as in zarr-python
        cell[0] = number


def _set_bits(cell: Cell, value: str, place: Place) -> None:
    """The bits of one item; or, as in zarr-python, of a float of another size with the same value."""
    dtype = cell.dtype
    nbytes = (len(value) - 2) // 2
    is_other = nbytes != dtype.itemsize and dtype.kind == "f" and nbytes in (2, 4, 8)
    if len(value) % 2 or not (is_other or nbytes == dtype.itemsize):
        raise place.error(f"{excerpt(value)} does not have the {2 * dtype.itemsize} hex digits of a {dtype.name}")
    target = np.zeros((1,), f"f{nbytes}") if is_other else cell
    try:
        target.view(target.dtype.str[0] + f"u{nbytes}")[0] = int(value, 16)
    except ValueError as error:
        raise place.error(f"{excerpt(value)} is no hex number") from error
    if is_other:
        with np.errstate(over="ignore", invalid="ignore"):
            cell[0] = target[0]


def _set_complex(parts: Cell, value: object, place: Place, zarr_format: int) -> None:
    if isinstance(value, list | tuple) and len(value) == 2:
        for i in range(2):
            _set_float(parts[i : i + 1], value[i], place.at(i), zarr_format)
    elif zarr_format == 2 and isinstance(value, int | float):
        _set_float(parts[:1], value, place, zarr_format)
    else:
        raise place.error(f"expected [real, imaginary], got {excerpt(value)}")


def _parse_bytes(value: object, dtype: np.dtype[Any], place: Place) -> bytes:
    """Base64, or a list with each byte of the item. What is short is padded with zeros, what is long is cut off.

    Of structs it is whole items, of which the first one counts. All that as in zarr-python.
    """
    if isinstance(value, list):
        if len(value) != dtype.itemsize or not all(type(item) is int and 0 <= item <= 255 for item in value):
            raise place.error(f"expected a list of {dtype.itemsize} bytes (0 to 255), got {excerpt(value)}")
        return bytes(value)
    raw = _decode_base64(value, place)
    is_whole = len(raw) == dtype.itemsize or (raw and dtype.itemsize and len(raw) % dtype.itemsize == 0)
    if dtype.names is not None and not is_whole:
        raise place.error(f"{len(raw)} bytes for a struct of {dtype.itemsize}")
    return raw[: dtype.itemsize]


def _decode_base64(value: object, place: Place) -> bytes:
    if not isinstance(value, str):
        raise place.error(f"expected bytes in base64, got {excerpt(value)}")
    try:
        from base64 import b64decode  # late: few arrays need it

        return b64decode(value.encode("ascii"), validate=True)
    except ValueError as error:  # binascii.Error, UnicodeEncodeError
        raise place.error(f"{excerpt(value)} is not base64: {error}") from error
