"""``store_options``: what a reader tells the stores that it opens for URLs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Final

HTTP: Final = ("http", "https")
CLOUDS: Final = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "adl")
SCHEMES: Final = (*HTTP, *CLOUDS, "memory")

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

# Settings that may have been meant by one that nobody knows. Obstore's stores have more, and say which they know.
_SETTINGS: Final = (
    "access_key_id",
    "account_key",
    "account_name",
    "application_credentials",
    "base_url",
    "bearer_token",
    "client_id",
    "client_secret",
    "endpoint",
    "imdsv1_fallback",
    "metadata_endpoint",
    "region",
    "request_payer",
    "role_arn",
    "sas_key",
    "secret_access_key",
    "service_account",
    "service_account_key",
    "session_token",
    "skip_signature",
    "tenant_id",
    "token",
    "use_azure_cli",
    "use_emulator",
    "virtual_hosted_style_request",
)
_CLIENT_OPTIONS: Final = (
    "allow_http",
    "allow_invalid_certificates",
    "connect_timeout",
    "default_content_type",
    "default_headers",
    "http1_only",
    "http2_keep_alive_interval",
    "http2_keep_alive_timeout",
    "http2_keep_alive_while_idle",
    "http2_max_frame_size",
    "http2_only",
    "pool_idle_timeout",
    "pool_max_idle_per_host",
    "proxy_ca_certificate",
    "proxy_excludes",
    "proxy_url",
    "randomize_addresses",
    "read_timeout",
    "root_certificate",
    "timeout",
    "user_agent",
)
# What obstore says of a name that it does not know.
_UNKNOWN: Final = re.compile(r"^(?:Configuration key: '([^']*)' is not valid|Invalid key: (.*)\.$)")


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
            checked[name] = _check_of_url(name, value)
            if "requests_in_flight" in checked[name]:
                raise ValueError("store_options: requests_in_flight is of the whole reader, not of some of its URLs")
        elif found := re.search(r"[:/]", name):
            raise ValueError(f"store_options has the key {name!r}, with {found[0]!r}: a URL begins like s3://bucket")
        else:
            _check_value(name, value)
            checked[name] = value
    return checked


def _check_of_url(beginning: str, options: object) -> dict[str, Any]:
    scheme = beginning.partition("://")[0]
    if scheme not in SCHEMES:
        hint = _near(scheme, SCHEMES) or f"; {', '.join(SCHEMES)} are read"
        raise ValueError(f"store_options has the key {beginning!r}: no URL that is read begins so{hint}")
    checked = check(options)
    if scheme in HTTP:
        for name in checked.keys() - {*_OURS, *_CLIENT_OPTIONS}:
            raise not_known(name, beginning)
    return checked


def settings(options: Mapping[str, Any]) -> list[str]:
    """The names that are options neither of ours nor of the HTTP client, but settings of obstore's stores."""
    return [name for name in options if name not in _OURS and name not in _CLIENT_OPTIONS]


def not_known(name: str, url: str, known: tuple[str, ...] = _OURS + _SETTINGS) -> ValueError:
    """The error for an option that a store does not know."""
    return ValueError(f"{url}: store_options: {name!r} is not known here{_near(name, known)}")


def of_obstore(error: Exception, url: str) -> Exception:
    """An exception that came while a store was made; one that says which option is not known, if that is why."""
    found = _UNKNOWN.search(str(error).partition("\n")[0])
    if found is None:
        return error
    return not_known(found[1], url) if found[1] else not_known(found[2], f"{url}: client_options", _CLIENT_OPTIONS)


def _near(name: str, known: tuple[str, ...]) -> str:
    """What may have been meant, for a message.

    >>> _near("regoin", ("endpoint", "region"))
    "; 'region' is"
    """
    from difflib import get_close_matches

    names = get_close_matches(name.lower(), known, 3)
    return f"; {', '.join(map(repr, names))} {'is' if len(names) == 1 else 'are'}" if names else ""


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
    # HTTP has no settings, and the stores of clouds may panic where these are among theirs.
    client |= {name: options[name] for name in _CLIENT_OPTIONS if name in options}
    client |= options.get("client_options", {})
    # We try again ourselves: so that it can be stopped, and is counted.
    arguments: dict[str, Any] = {"client_options": client, "retry_config": {"max_retries": 0}}
    if takes_config:
        arguments |= {name: options[name] for name in settings(options)}
        if options.get("anonymous"):
            arguments["skip_signature"] = True
        if provider := options.get("credential_provider"):
            arguments["credential_provider"] = provider
    return arguments
