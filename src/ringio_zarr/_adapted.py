"""Arguments of zarr-python's ``open`` that have another name here, or that reading has no use for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from ringio.planning import NamedTuple

# Of readers zarr-python ignores these, too.
_IDLE: Final = frozenset(("cache_attrs", "meta_array", "synchronizer", "zarr_version"))
# What zarr-python's ``config`` has; of these ``order`` and ``read_missing_chunks`` mean something to who reads here.
_CONFIG: Final = (
    "order",
    "write_empty_chunks",
    "read_missing_chunks",
    "sharding_coalesce_max_gap_bytes",
    "sharding_coalesce_max_bytes",
)
# None of these says nothing; anything else is to write something, or to read from two places.
_REFUSED: Final = frozenset(("attributes", "chunk_store"))


class ArrayConfig(NamedTuple):
    """Of zarr-python's ``ArrayConfig`` what means something to who reads here.

    Attributes:
        order: of results of v3 arrays in memory.
        read_missing_chunks: whether chunks that are not stored are fill value; else they are an error.
    """

    order: Literal["C", "F"] = "C"
    read_missing_chunks: bool = True


_S3: Final = {
    "anon": "anonymous",
    "key": "access_key_id",
    "secret": "secret_access_key",
    "token": "session_token",
    "endpoint_url": "endpoint",
}
_AZURE: Final = {
    "anon": "anonymous",
    "account_name": "account_name",
    "account_key": "account_key",
    "sas_token": "sas_key",
}
_HTTP: Final = {"headers": "headers"}
_WORDS: Final[dict[str, dict[str, str]]] = {
    "s3": _S3,
    "s3a": _S3,
    "az": _AZURE,
    "azure": _AZURE,
    "abfs": _AZURE,
    "abfss": _AZURE,
    "adl": _AZURE,
    "http": _HTTP,
    "https": _HTTP,
}
_CLIENT_WORDS: Final = {"endpoint_url": "endpoint", "region_name": "region"}


def adapt(
    store: Any,
    store_options: Mapping[str, object] | None,
    storage_options: Mapping[str, object] | None,
    others: Mapping[str, Any],
) -> tuple[Any, Mapping[str, object] | None, dict[str, Any]]:
    """What ``open`` goes on with.

    Args:
        store: as given.
        store_options: as given.
        storage_options: the options of fsspec that zarr-python takes.
        others: arguments that have no name here.

    Returns:
        The store, its ``store_options``, and of ``config`` what is asked for, by the names that ``Options`` has for it.

    Raises:
        TypeError: an argument that nobody knows, or one for writing; options for what is no URL.
        ValueError: options of both kinds; what they say makes no sense.
    """
    settings = settings_of(others.pop("config", None)) if (others := dict(others)) else {}
    for name, value in others.items():
        if name not in _IDLE and (name not in _REFUSED or value is not None):
            raise TypeError(f"{name}={value!r:.100}: there is no such argument, or none for reading")
    if not storage_options:
        return store, store_options, settings
    if store_options:
        raise ValueError("store_options and storage_options say the same thing in other words: give one or the other")
    if not isinstance(store, str) or "://" not in store or store.startswith("file://"):
        raise TypeError("storage_options was provided but unused: it is for URLs")
    ours = _translate(store.partition("://")[0].lower(), storage_options)
    return (_of_fsspec(store, storage_options), None, settings) if ours is None else (store, ours, settings)


def settings_of(config: Any) -> dict[str, Any]:
    """Of zarr-python's ``config`` what reading has a use for, as far as it is said.

    Raises:
        TypeError: there is no such key.
        ValueError: there is no such order, or what should be a bool is none.

    >>> settings_of({"order": "F", "write_empty_chunks": True})
    {'order': 'F'}
    """
    if config is None:
        return {}
    if isinstance(config, ArrayConfig):
        config = config._asdict()
    values = config if isinstance(config, Mapping) else vars(config)
    if unknown := sorted(map(str, values.keys() - set(_CONFIG))):
        raise TypeError(f"config: unknown keys {unknown}, expected some of {list(_CONFIG)}")
    settings = {name: values[name] for name in ("order", "read_missing_chunks") if values.get(name) is not None}
    if settings.get("order", "C") not in ("C", "F"):
        raise ValueError(f"config: order is {settings['order']!r}, expected 'C' or 'F'")
    if not isinstance(settings.get("read_missing_chunks", True), bool):
        raise ValueError(f"config: read_missing_chunks is {settings['read_missing_chunks']!r}, expected a bool")
    return settings


def _translate(scheme: str, options: Mapping[str, object]) -> dict[str, object] | None:
    """The options in our words; None where one has none.

    >>> _translate("s3", {"anon": True, "client_kwargs": {"region_name": "eu-west-1"}})
    {'anonymous': True, 'region': 'eu-west-1'}
    """
    options = _said(options)
    if scheme == "gs" and options == {"token": "anon"}:
        return {"anonymous": True}
    words, made = _WORDS.get(scheme, {}), {}
    for name, value in options.items():
        if name == "client_kwargs" and scheme in ("s3", "s3a") and isinstance(value, Mapping):
            if not (inner := _said(value)).keys() <= _CLIENT_WORDS.keys():
                return None
            made.update({_CLIENT_WORDS[name]: each for name, each in inner.items()})
        elif name in words:
            made[words[name]] = value
        else:
            return None
    return made


def _said(options: Mapping[str, object]) -> dict[str, object]:
    """Without those that are None, which is how fsspec's file systems have it that nothing is said."""
    return {name: value for name, value in options.items() if value is not None}


def _of_fsspec(url: str, options: Mapping[str, object]) -> Any:
    try:
        import fsspec
    except ImportError:
        raise ImportError(
            f"storage_options {sorted(options)} are options of fsspec, which is not installed (pip install fsspec); "
            "store_options= needs none"
        ) from None
    return fsspec.get_mapper(url, **options)
