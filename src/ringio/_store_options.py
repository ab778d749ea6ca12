"""``store_options``: what a reader tells the stores that it opens for URLs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

RETRIES: Final = 6
TIMEOUT_S: Final = 30.0
CONNECT_TIMEOUT_S: Final = 5.0
# With 20 ms to a store 256 requests in flight are 12,800 a second, more than two cores can take in; each of them may be
# a connection, and an open file.
REQUESTS_IN_FLIGHT: Final = 256

# What obstore looks at in the environment, by the first letter of the scheme: s3 and s3a; az, abfs, ...
_ENDPOINTS: Final = {
    "s": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "a": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}

# Options of ours; every other name is a setting of obstore's own store for the URL: region, endpoint, ...
_OURS: Final = (
    "anonymous",
    "client_options",
    "connect_timeout_s",
    "credential_provider",
    "headers",
    "requests_in_flight",
    "retries",
    "timeout_s",
)


def check(options: object) -> dict[str, Any]:
    """The options, copied, if they make sense as far as that can be said without a store.

    Raises:
        TypeError, ValueError: they make none.
    """
    if not isinstance(options, Mapping):
        raise TypeError(
            f"store_options is {type(options).__name__}; a mapping is due, such as {{'region': 'eu-west-1'}}"
        )
    checked: dict[str, Any] = {}
    for name, value in options.items():
        if not isinstance(name, str):
            raise TypeError(f"store_options has the key {name!r}; names, or URLs that begin as those meant, are due")
        if "://" in name:
            checked[name] = check(value)
            if "requests_in_flight" in checked[name]:
                raise ValueError("store_options: requests_in_flight is of the whole reader, not of some of its URLs")
        else:
            _check_value(name, value)
            checked[name] = value
    return checked


def _check_value(name: str, value: object) -> None:
    if name in ("retries", "requests_in_flight"):
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"store_options: {name} is {value!r}, an integer is due")
        if value < (name == "requests_in_flight"):
            raise ValueError(f"store_options: {name} is {value}")
    elif name.endswith("timeout_s"):
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise TypeError(f"store_options: {name} is {value!r}, seconds are due")
        if not 0 < value < 1e9:
            raise ValueError(f"store_options: {name} is {value}")
    elif name == "anonymous" and not isinstance(value, bool):
        raise TypeError(f"store_options: anonymous is {value!r}; True or False is due")
    elif name in ("headers", "client_options") and not isinstance(value, Mapping):
        raise TypeError(f"store_options: {name} is {value!r:.100}, a mapping is due")


def for_url(options: Mapping[str, Any], url: str) -> dict[str, Any]:
    """The options that hold for a URL: the general ones, and over them those of the beginnings that it has.

    >>> for_url({"retries": 2, "s3://public": {"anonymous": True}}, "s3://public/key")
    {'retries': 2, 'anonymous': True}
    """
    chosen = {name: value for name, value in options.items() if "://" not in name}
    for beginning in sorted((name for name in options if "://" in name), key=len):
        if is_below(url, beginning):
            chosen |= options[beginning]
    return chosen


def is_below(url: str, beginning: str) -> bool:
    """Whether a URL begins so, and not just with a longer name.

    >>> is_below("s3://bucket/key", "s3://bucket"), is_below("s3://buckets/key", "s3://bucket")
    (True, False)
    """
    if not url.startswith(beginning):
        return False
    return not beginning or beginning.endswith("/") or url[len(beginning) : len(beginning) + 1] in ("", "/", "?")


def _endpoint_of_environment(url: str) -> str:
    """The address that obstore takes from the environment, where nobody gives one."""
    names = _ENDPOINTS.get(url[:1], ())
    return next((os.environ[name] for name in names if os.environ.get(name)), "")


def obstore_arguments(options: Mapping[str, Any], url: str, *, takes_config: bool) -> dict[str, Any]:
    """The keyword arguments of obstore's ``from_url``.

    Args:
        options: that hold for the URL.
        url: of the store.
        takes_config: it is one with settings, which plain HTTP has not.
    """
    from datetime import timedelta  # late: only who reads URLs needs it

    endpoint = str(options.get("endpoint") or options.get("base_url") or _endpoint_of_environment(url))
    client: dict[str, Any] = {
        "timeout": timedelta(seconds=options.get("timeout_s", TIMEOUT_S)),
        "connect_timeout": timedelta(seconds=options.get("connect_timeout_s", CONNECT_TIMEOUT_S)),
        # Whoever writes http:// means it.
        "allow_http": url.startswith("http://") or endpoint.startswith("http://") or bool(options.get("use_emulator")),
    }
    if headers := options.get("headers"):
        client["default_headers"] = dict(headers)
    client |= options.get("client_options", {})
    # We try again ourselves: so that it can be stopped, and is counted.
    arguments: dict[str, Any] = {"client_options": client, "retry_config": {"max_retries": 0}}
    if takes_config:
        arguments |= {name: value for name, value in options.items() if name not in _OURS}
        if options.get("anonymous"):
            arguments["skip_signature"] = True
        if provider := options.get("credential_provider"):
            arguments["credential_provider"] = provider
    return arguments
