"""Codecs that ringio does not have itself: those of numcodecs, and of zarr-python's registry; imported late."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final

import numpy as np

from ._errors import Place

# What is to be installed for a codec, where that is not numcodecs alone.
_PACKAGES: Final = {
    "crc32c": "numcodecs[crc32c]",
    "msgpack2": "numcodecs[msgpack]",
    "pcodec": "numcodecs[pcodec]",
    "zfpy": "numcodecs[zfpy]",
    "grib": "kerchunk",
    "FITSAscii": "kerchunk",
    "FITSVarBintable": "kerchunk",
    "fill_hdf_strings": "kerchunk",
    "record_member": "kerchunk",
    "rawgrib": "gribscan",
    "wavpack": "wavpack-numcodecs",
    "n5_default": "zarr-n5",
}
_MODULES: Final = {"zfpy": "zfpy", "pcodec": "pcodec", "msgpack2": "msgpack"}
_LZMA_RAW: Final = 3
_LZMA_KEYS: Final = {"format", "check", "preset", "filters"}  # GDAL writes what it has done besides, as "delta"


def find_codec(
    name: str, configuration: Mapping[str, Any], zarr_format: int, place: Place, *, allow_pickle: bool
) -> Any:
    """A codec that is a Python object, for ``ringio.codecs.chain``.

    Args:
        name: as the document has it.
        configuration: of the codec.
        zarr_format: 2: it is a codec of numcodecs; 3: only where its name says so.
        place: where it stands.
        allow_pickle: run what pickled data says.

    Raises:
        UnsupportedError: it is not installed; the message says what would have to be.
        MetadataError: the codec makes no sense of its configuration.
    """
    stem = name.removeprefix("numcodecs.")
    if stem == "pickle":
        if not allow_pickle:
            raise place.unsupported(
                "codec 'pickle' is not decoded unless ringio_zarr.open() is given allow_pickle=True: "
                "pickled data can run any code"
            )
        return Pickle()
    if zarr_format == 2 or stem != name:
        return _make(stem, place, "numcodecs", lambda: _numcodec(stem, configuration))
    return _make(name, place, "zarr", lambda: ZarrCodec(name, configuration))


def _make(name: str, place: Place, package: str, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except ImportError as error:
        package = _PACKAGES.get(name, package)
        raise place.unsupported(f"codec {name!r} is not supported without a package: pip install {package}") from error
    except Exception as error:
        if type(error).__name__ in ("UnknownCodecError", "KeyError"):
            known = _PACKAGES.get(name) or ("imagecodecs" if name.startswith("imagecodecs_") else None)
            hint = f"pip install {known}" if known else f"install a package that registers it with {package}"
            raise place.unsupported(
                f"codec {name!r} is not supported: {hint}, or give it to ringio.codecs.register()"
            ) from error
        raise place.error(f"codec {name!r}: {type(error).__name__}: {error}") from error


def _numcodec(name: str, configuration: Mapping[str, Any]) -> Any:
    import numcodecs

    if name in _MODULES:  # numcodecs makes the codec without them
        import_module(_MODULES[name])
    if name == "lzma":
        # The filters stand in the data too, but for the raw format; and then they must not be given.
        known = _LZMA_KEYS if configuration.get("format") == _LZMA_RAW else _LZMA_KEYS - {"filters"}
        configuration = {key: value for key, value in configuration.items() if key in known}
    return numcodecs.get_codec({**configuration, "id": name})


class Pickle:
    """Codec ``pickle`` of numcodecs, for data that is trusted."""

    codec_id = "pickle"

    def decode(self, data: Any) -> Any:
        """The object: an array, in a chunk."""
        import pickle

        return pickle.loads(data)  # who opened the array has said that it may be done

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pickle)

    def __hash__(self) -> int:
        return hash(Pickle)


class ZarrCodec:
    """A codec of zarr-python's registry.

    Args:
        name: as it is registered.
        configuration: of the codec.

    Raises:
        ImportError: zarr-python is not installed.
        Exception: it does not know the codec, or the codec its configuration.
    """

    def __init__(self, name: str, configuration: Mapping[str, Any]) -> None:
        from zarr.registry import get_codec_class

        self.codec_id = name
        self._configuration = dict(configuration)
        self._codec = get_codec_class(name).from_dict({"name": name, "configuration": self._configuration})

    def for_chunk(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        """What decodes chunks of one shape and dtype."""
        from zarr.core.array_spec import ArrayConfig, ArraySpec
        from zarr.core.buffer import default_buffer_prototype
        from zarr.dtype import parse_dtype

        data_type = parse_dtype(dtype, zarr_format=3)
        config, prototype = ArrayConfig.from_dict({}), default_buffer_prototype()
        spec = ArraySpec(shape, data_type, data_type.default_scalar(), config, prototype)
        codec = self._codec.evolve_from_array_spec(spec)
        return lambda data: _decode(codec, data, spec)

    def decode(self, _data: Any) -> Any:
        """Not without a shape and a dtype."""
        raise TypeError(f"codec {self.codec_id!r} has to know what it decodes to")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ZarrCodec):
            return NotImplemented
        return (self.codec_id, self._configuration) == (other.codec_id, other._configuration)

    def __hash__(self) -> int:
        return hash(self.codec_id)

    def __reduce__(self) -> tuple[Any, ...]:
        return ZarrCodec, (self.codec_id, self._configuration)


def _decode(codec: Any, data: Any, spec: Any) -> Any:
    """One chunk by a codec of zarr-python, whose way to do it is a coroutine."""
    from zarr.abc.codec import ArrayArrayCodec, BytesBytesCodec
    from zarr.core.sync import sync

    raw = np.frombuffer(data, np.uint8) if not isinstance(data, np.ndarray) else data
    if isinstance(codec, ArrayArrayCodec):
        inner = codec.resolve_metadata(spec)
        items = raw.reshape(-1).view(np.uint8).view(inner.dtype.to_native_dtype()).reshape(inner.shape)
        source = spec.prototype.nd_buffer.from_numpy_array(items)
    else:
        source = spec.prototype.buffer.from_bytes(raw.tobytes())
    decode_sync = getattr(codec, "_decode_sync", None)
    decoded = decode_sync(source, spec) if decode_sync else sync(codec._decode_single(source, spec))
    return decoded.to_bytes() if isinstance(codec, BytesBytesCodec) else decoded.as_numpy_array()
