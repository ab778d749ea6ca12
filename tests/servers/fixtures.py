"""A fixture for each server, started at first use and shared by all tests; and its log with a test that fails."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import TypeVar

import pytest

from servers import AzuriteServer, LatencyServer, MotoServer, NginxServer, Server, UnavailableServerError
from servers.sftp import SftpMount

AnyServer = TypeVar("AnyServer", Server, SftpMount)


def enter_or_skip(server: AnyServer) -> AnyServer:
    """Starts the server; skips the test where the machine has no such program, which CI does not let pass."""
    try:
        return server.__enter__()
    except UnavailableServerError as error:
        if os.environ.get("RINGIO_TEST_SERVERS") == "required":
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """nginx; its files stay for the whole session, so give them names of your own."""
    server = enter_or_skip(NginxServer(tmp_path_factory.mktemp("nginx")))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """moto, S3; buckets stay for the whole session."""
    server = enter_or_skip(MotoServer(tmp_path_factory.mktemp("moto")))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """azurite, Azure's blobs; containers stay for the whole session."""
    server = enter_or_skip(AzuriteServer(tmp_path_factory.mktemp("azurite")))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def latency_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LatencyServer]:
    """The latency server that ``latency`` gives to one test at a time."""
    with LatencyServer(tmp_path_factory.mktemp("latency")) as server:
        yield server


@pytest.fixture
def latency(latency_process: LatencyServer) -> Iterator[LatencyServer]:
    """The latency server, without rules, counts and connections of tests before."""
    latency_process.disconnect()
    latency_process.reset()
    yield latency_process
    latency_process.disconnect()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds the ends of the servers' logs to the report of a test that used them and failed."""
    report = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Server):
                report.sections.append((f"log of {value.name}, {value.log_path}", value.log_tail()))
    return report
