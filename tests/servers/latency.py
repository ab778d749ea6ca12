"""The latency server as tests see it: what it serves, its rules, its counts. The server itself is a process."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from servers.base import HOST, HOST_IPV6, Server, has_ipv6
from servers.rules import PATTERN_PERIOD, Rule, Seen, SeenRequest


class LatencyServer(Server):
    """Serves the files below ``folder/root`` over HTTP/1.1, as well and as badly as its rules say.

    Without rules it answers correctly and at once: ``GET`` and ``HEAD``, ranges, ``If-Match``. The same URLs are those
    of a read-only S3 endpoint in path style: the first part of a path is the bucket.
    """

    name = "latency"

    def __init__(self, folder: Path, rules: Iterable[Rule] = ()) -> None:
        super().__init__(folder)
        self.root = folder / "root"
        self.root.mkdir(parents=True, exist_ok=True)
        self.ipv6 = has_ipv6()
        self._rules = list(rules)
        self._lock = threading.Lock()

    def command(self) -> list[str]:
        return [sys.executable, "-m", "servers.latency_process", str(self.root), HOST, *[HOST_IPV6][: self.ipv6]]

    def start(self) -> None:
        """Starts the process; it ends when the pipe to it is closed, however that comes about."""
        command = self.command()
        if setpriv := shutil.which("setpriv"):  # a forked child may hold the pipe open
            command = [setpriv, "--pdeathsig", "TERM", "--", *command]
        paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )

    def wait_until_ready(self) -> bool:
        try:
            self.port = self._receive()["port"]
        except RuntimeError:
            return False
        self.rules(*self._rules)
        return True

    def stop(self) -> None:
        process = self._process
        super().stop()
        if process is not None:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            process.stdout.close()

    # ------------------------------------------------------------------------------------------- what it serves

    def put(self, path: str, data: bytes) -> str:
        """Writes a file below ``root``, whole or not at all; gives its URL."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(target.name + ".new")
        temporary.write_bytes(data)
        temporary.replace(target)
        return self.url(path)

    def put_pattern(self, path: str, nbytes: int) -> str:
        """Serves ``pattern(0, nbytes)`` under a path; this takes no room, however large it is. Gives its URL."""
        self._ask("put_pattern", path="/" + path, nbytes=nbytes)
        return self.url(path)

    def url(self, path: str, *, ipv6: bool = False) -> str:
        """The URL of a path below ``root``, percent-encoded where needed."""
        return f"http://{f'[{HOST_IPV6}]' if ipv6 else HOST}:{self.port}/{quote(path)}"

    @property
    def s3_options(self) -> dict[str, object]:
        """What obstore's ``S3Store(bucket, ...)`` needs to read from here."""
        return {
            "endpoint": self.base_url,
            "region": "us-east-1",
            "skip_signature": True,
            "virtual_hosted_style_request": False,
            "client_options": {"allow_http": True},
        }

    # ------------------------------------------------------------------------------------------- rules and counts

    def rules(self, *rules: Rule, seed: int = 0) -> None:
        """From now on these rules are obeyed, and no others; ``seed`` is that of jitter and probabilities."""
        self._ask("rules", rules=[dataclasses.asdict(rule) for rule in rules], seed=seed)

    def seen(self) -> Seen:
        """What was counted so far."""
        return Seen.from_json(self._ask("seen"))

    def requests(self) -> list[SeenRequest]:
        """The last requests, at most 10,000, in the order in which they came."""
        return [SeenRequest(**fields) for fields in self._ask("requests")["requests"]]

    def reset(self) -> None:
        """Takes rules, patterns, counts and the list of requests back; files stay, and so do connections."""
        self._ask("reset")

    def disconnect(self) -> None:
        """Closes all connections, as a server does that has waited long enough for the next request."""
        self._ask("disconnect")

    def _ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        with self._lock:
            assert self._process is not None, "the server is not running"
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps({"command": command, **arguments}).encode() + b"\n")
            self._process.stdin.flush()
            return self._receive()

    def _receive(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the latency server has ended; its log ends so:\n{self.log_tail()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"the latency server: {answer['error']}")
        return answer


@functools.cache
def pattern_twice() -> memoryview:
    """Two periods of the pattern: each range that is no longer than a period is a slice of this."""
    return memoryview(random.Random(PATTERN_PERIOD).randbytes(PATTERN_PERIOD) * 2)


def pattern(offset: int, nbytes: int) -> bytes:
    """The bytes of every object that ``put_pattern`` makes: ``pattern(a, b)`` is its range of b bytes from a on."""
    first = offset % PATTERN_PERIOD
    if nbytes <= PATTERN_PERIOD:
        return bytes(pattern_twice()[first : first + nbytes])
    return (bytes(pattern_twice()) * ((first + nbytes) // (2 * PATTERN_PERIOD) + 1))[first : first + nbytes]
