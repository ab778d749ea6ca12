"""What others have registered with zarr-python: chunk key encodings and data types of their own."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pytest
import zarr

import ringio_zarr
from ringio_zarr import MetadataError, UnsupportedError

try:
    from zarr.core.chunk_key_encodings import ChunkKeyEncoding
    from zarr.dtype import Int16, data_type_registry
    from zarr.errors import DataTypeValidationError
    from zarr.registry import register_chunk_key_encoding
except ImportError as error:
    pytest.skip(f"zarr-python {zarr.__version__}: {error}", allow_module_level=True)

pytestmark = [pytest.mark.zarr_3_4, pytest.mark.filterwarnings("ignore::Warning:zarr")]

VALUES = np.arange(40 * 30, dtype="<i4").reshape(40, 30)


@dataclass(frozen=True)
class Mirrored(ChunkKeyEncoding):
    """The last coordinate comes first."""

    name: ClassVar[str] = "ringio.mirrored"
    prefix: str = "x"

    def encode_chunk_key(self, chunk_coords: tuple[int, ...]) -> str:
        return "/".join((self.prefix, *map(str, reversed(chunk_coords))))


class Celsius(Int16):
    """An integer whose fill value is a string with a unit."""

    _zarr_v3_name: ClassVar[Any] = "ringio.celsius"
    _zarr_v2_names: ClassVar[Any] = ("ringio.celsius",)

    @classmethod
    def from_native_dtype(cls, dtype: Any) -> Self:
        raise DataTypeValidationError("never guessed")

    @classmethod
    def _from_json_v2(cls, data: Any) -> Self:
        if cls._check_json_v2(data):
            return cls()
        raise DataTypeValidationError("another one")

    def to_json(self, zarr_format: Any) -> Any:
        name = self._zarr_v3_name
        return {"name": name, "object_codec_id": None} if zarr_format == 2 else name

    def to_json_scalar(self, data: Any, *, zarr_format: Any) -> Any:
        return f"{data} °C"

    def from_json_scalar(self, data: Any, *, zarr_format: Any) -> Any:
        return np.int16(data.removesuffix(" °C"))


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    register_chunk_key_encoding(Mirrored.name, Mirrored)
    data_type_registry.register(Celsius._zarr_v3_name, Celsius)
    with zarr.config.set({"array.rectilinear_chunks": True}):
        yield
    data_type_registry.unregister(Celsius._zarr_v3_name)


LAYOUTS: dict[str, dict[str, Any]] = {
    "chunks": {"chunks": (10, 10)},
    "shards": {"chunks": (5, 5), "shards": (20, 10)},
    "rectilinear": {"chunks": ((10, 30), (10, 20))},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_chunk_keys(tmp_path: Path, layout: str) -> None:
    """Local, in memory and in zip files; crops and elements; what is stored."""
    theirs = zarr.create_array(
        tmp_path / "a", shape=(40, 30), dtype="i4", chunk_key_encoding=Mirrored(prefix="y"), **LAYOUTS[layout]
    )
    theirs[:10] = VALUES[:10]
    assert (tmp_path / "a/y/1/0").exists()  # the chunk (0, 1)
    expected = np.asarray(theirs[...])
    data = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for key, value in data.items():
            archive.writestr(key, value)
    for store in (tmp_path, data, tmp_path / "a.zip"):
        array = ringio_zarr.open_array(store, path="a")
        np.testing.assert_array_equal(array[...], expected)
        assert array[13, 27] == expected[13, 27]
        np.testing.assert_array_equal(array[3:5, ::7], expected[3:5, ::7])
        np.testing.assert_array_equal(array.read_crops([[0, 0], [15, 7]], (9, 9))[1], expected[15:24, 7:16])
        np.testing.assert_array_equal(array.oindex[[39, 2], [3, 21]], theirs.oindex[[39, 2], [3, 21]])
    local = ringio_zarr.open_array(tmp_path / "a")
    assert local.nchunks_initialized == theirs.nchunks_initialized
    with pytest.raises(ringio_zarr.errors.ChunkNotFoundError, match="'y/0/"):
        local.with_config({"read_missing_chunks": False})[...]


class Wrong(Mirrored):
    """Leads out of the array."""

    name: ClassVar[str] = "ringio.wrong"

    def encode_chunk_key(self, chunk_coords: tuple[int, ...]) -> str:
        return f"../{super().encode_chunk_key(chunk_coords)}"


def test_chunk_keys_that_are_none(tmp_path: Path) -> None:
    """Keys that leave the array, encodings that make no sense of what they are given, and unknown ones."""
    register_chunk_key_encoding(Wrong.name, Wrong)
    zarr.create_array(tmp_path / "a", shape=(4,), chunks=(2,), dtype="i4", chunk_key_encoding=Mirrored())
    document = (tmp_path / "a/zarr.json").read_text()
    (tmp_path / "a/zarr.json").write_text(document.replace("ringio.mirrored", "ringio.wrong"))
    with pytest.raises(MetadataError, match=r"a/zarr\.json: chunk_key_encoding: no key for chunk \(0,\)"):
        ringio_zarr.open_array(tmp_path / "a")[...]
    (tmp_path / "a/zarr.json").write_text(document.replace("prefix", "suffix"))
    with pytest.raises(MetadataError, match=r"chunk_key_encoding: chunk key encoding 'ringio.mirrored': TypeError"):
        ringio_zarr.open_array(tmp_path / "a")
    (tmp_path / "a/zarr.json").write_text(document.replace("mirrored", "turned"))
    with pytest.raises(UnsupportedError, match=r"'ringio.turned' is not supported: install"):
        ringio_zarr.open_array(tmp_path / "a")


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_data_types(tmp_path: Path, zarr_format: Any) -> None:
    """Its values, its fill value, and its name where zarr-python is asked for it."""
    options: dict[str, Any] = {"shape": (40,), "chunks": (10,), "dtype": Celsius(), "fill_value": np.int16(-40)}
    theirs = zarr.create_array(tmp_path / "a", zarr_format=zarr_format, **options)
    theirs[:20] = np.arange(20)
    ours = ringio_zarr.open_array(tmp_path / "a")
    theirs = zarr.open_array(tmp_path / "a", mode="r")
    assert (ours.dtype, ours.fill_value) == (theirs.dtype, theirs.fill_value) == (np.dtype("<i2"), -40)
    np.testing.assert_array_equal(ours[5:30], theirs[5:30])
    assert type(ours.metadata.data_type if zarr_format == 3 else Celsius()) is Celsius


def test_data_types_that_are_none(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a", shape=(4,), dtype=Celsius(), fill_value=np.int16(0))
    document = (tmp_path / "a/zarr.json").read_text()
    (tmp_path / "a/zarr.json").write_text(document.replace("0 °C", "warm").replace("0 \\u00b0C", "warm"))
    with pytest.raises(MetadataError, match=r"a/zarr\.json: fill_value: 'warm': ValueError"):
        ringio_zarr.open_array(tmp_path / "a")
    (tmp_path / "a/zarr.json").write_text(document.replace("celsius", "kelvin"))
    with pytest.raises(UnsupportedError, match=r"data type 'ringio.kelvin' is not supported"):
        ringio_zarr.open_array(tmp_path / "a")


def test_without_zarr_python_nothing_is_registered(tmp_path: Path, run_child: Any) -> None:
    """The errors are those for what nobody has registered."""
    zarr.create_array(tmp_path / "a", shape=(4,), dtype=Celsius(), fill_value=np.int16(0))
    zarr.create_array(tmp_path / "b", shape=(4,), dtype="i4", chunk_key_encoding=Mirrored())
    run_child(
        f"""
        import sys
        sys.modules["zarr"] = None
        import ringio_zarr
        for name, word in (("a", "'ringio.celsius'"), ("b", "'ringio.mirrored'")):
            try:
                ringio_zarr.open_array({str(tmp_path)!r} + "/" + name)
            except ringio_zarr.UnsupportedError as error:
                assert word in str(error), error
            else:
                raise AssertionError(name)
        """
    )
