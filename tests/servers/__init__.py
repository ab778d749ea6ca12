"""Real servers on loopback for the tests and the benchmarks of remote reads.

========================  ========================================================================================
:class:`NginxServer`      a folder over HTTP with byte ranges, and the same folder as a read-only S3 endpoint
:class:`MotoServer`       S3, with buckets, credentials and its own error documents
:class:`AzuriteServer`    Azure's blob service: block blobs, and no suffix ranges
:class:`LatencyServer`    our own: delays, bandwidth, and every wrong answer that a server can give
========================  ========================================================================================

Each is a context manager that starts a process on a free port, waits until it answers, and stops it again. The process
also ends when the one that started it is killed. ``fixtures.py`` has a pytest fixture for each. In ``sftp.py`` is
something else: a folder that is mounted over the network.
"""

from servers.azurite import AzuriteServer
from servers.base import Server, UnavailableServerError
from servers.latency import LatencyServer
from servers.moto import MotoServer
from servers.nginx import NginxServer
from servers.rules import Rule, Seen

__all__ = [
    "AzuriteServer",
    "LatencyServer",
    "MotoServer",
    "NginxServer",
    "Rule",
    "Seen",
    "Server",
    "UnavailableServerError",
]
