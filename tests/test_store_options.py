"""Names in ``store_options`` that nobody knows are errors, which say what may have been meant."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import ringio
from ringio import _store_options
from servers import Rule


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"s3:/bucket": {}}, "'s3:/bucket', with ':'"),
        ({"https//host": {"headers": {}}}, "'https//host', with '/'"),
        ({"htps://host": {}}, "'https'"),
        ({"S3://bucket": {}}, "'s3'"),
        ({"ftp://host": {}}, "no URL that is read begins so"),
        ({"https://host": {"retrys": 1}}, "https://host: store_options: 'retrys' is not known here; 'retries' is"),
        ({"http://host": {"region": "x"}}, "'region' is not known here"),
        ({"s3://bucket": {"s4://other": {}}}, "'s4://other'"),
    ],
    ids=str,
)
def test_keys_that_are_said_at_once(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match="store_options") as caught:
        ringio.Reader(store_options=options)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    "beginning", [f"{scheme}://x" for scheme in _store_options.SCHEMES] + ["s3://", "https://h/a?b"]
)
def test_beginnings_of_urls(beginning: str) -> None:
    ringio.Reader(store_options={beginning: {"retries": 1}}).close()


@pytest.mark.parametrize(
    ("name", "near"),
    [("regoin", "region"), ("retrys", "retries"), ("acount_name", "account_name"), ("annonymous", "anonymous")],
)
@pytest.mark.parametrize("place", ["http", "s3"])
def test_names_that_no_store_knows(latency: Any, name: str, near: str, place: str) -> None:
    latency.put("bucket/key", bytes(10))
    url = latency.url("bucket/key") if place == "http" else "s3://bucket/key"
    options = {"endpoint": latency.base_url, "anonymous": True, "region": "us-east-1", name: "x"}
    with ringio.Reader(store_options=options) as reader:
        with pytest.raises(ValueError, match=f"'{name}' is not known here; .*'{near}'") as caught:
            reader.read_ranges([(url, 0, 5)])
        assert latency.seen().requests == 0
    assert str(caught.value).startswith(url.rpartition("/")[0][:8])


def test_settings_of_other_stores_do_no_harm(latency: Any) -> None:
    url = latency.put("key", bytes(range(10)))
    options = {"region": "eu-west-1", "AWS_ENDPOINT": "https://s3", "account_name": "ours", "base_url": "https://gs"}
    with ringio.Reader(store_options=options | {"service_account": "/none", "s3://x": {"region": "y"}}) as reader:
        assert bytes(reader.read_ranges([(url, 2, 3)])[0]) == bytes([2, 3, 4])


@pytest.mark.parametrize("place", ["http", "s3"])
def test_names_that_the_http_client_does_not_know(latency: Any, place: str) -> None:
    url = latency.url("bucket/key") if place == "http" else "s3://bucket/key"
    text = "client_options: store_options: 'proxy' is not known here; 'proxy_url'"
    options = {"region": "x", "client_options": {"proxy": "http://proxy"}}
    with ringio.Reader(store_options=options) as reader, pytest.raises(ValueError, match=text):
        reader.read_ranges([(url, 0, 5)])


@pytest.mark.parametrize("place", ["http", "s3"])
def test_options_of_the_http_client_need_no_mapping_of_their_own(latency: Any, place: str) -> None:
    url = latency.put("bucket/key", bytes(10)) if place == "http" else "s3://bucket/key"
    latency.rules(Rule(delay_s=3.0))
    options = {"endpoint": latency.base_url, "anonymous": True, "region": "x", "timeout": "300ms", "retries": 0}
    with ringio.Reader(store_options=options) as reader, pytest.raises(ringio.StoreError, match="timed out"):
        reader.read_ranges([(url, 0, 5)])


def test_what_may_be_meant_is_known() -> None:
    """Also to the version of obstore that is installed."""
    import obstore
    from obstore.store import HTTPStore

    from ringio._stores import _is_setting

    assert [name for name in _store_options._SETTINGS if not _is_setting(name)] == []
    for name in _store_options._CLIENT_OPTIONS:
        with pytest.raises(Exception) as caught:  # whatever it says of the value
            HTTPStore.from_url("https://host", client_options={name: object()})
        assert "Invalid key" not in str(caught.value)
    stubs = Path(obstore.__file__).parent / "_store" / "_client.pyi"
    names = re.findall(r"^    (\w+): ", stubs.read_text(), re.MULTILINE)
    assert "timeout" in names
    assert set(names) <= set(_store_options._CLIENT_OPTIONS)
