"""What all servers share: a process that is started, waited for, and stopped again; its log."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

HOST, HOST_IPV6 = "127.0.0.1", "::1"
INSTALLED = Path(__file__).resolve().parents[2] / "build" / "servers"  # by scripts/install_servers.sh
START_TIMEOUT_S, STOP_TIMEOUT_S = 60.0, 10.0
PORT_TRIES = 3
LOG_TAIL_LINES = 40


class UnavailableServerError(Exception):
    """This machine lacks the program; the message says what was looked for and how to get it."""


def free_port(host: str = HOST) -> int:
    """A port that nobody listens on. Somebody else may take it before it is used: start again then."""
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        return int(listener.getsockname()[1])


def has_ipv6() -> bool:
    """Whether the loopback interface has an IPv6 address."""
    try:
        free_port(HOST_IPV6)
    except OSError:
        return False
    return True


class Server:
    """A server in a process of its own.

    A subclass says in :meth:`command` what to run; it is asked anew for each try, and chooses its ports there.
    ``folder`` is the server's own: its log, and whatever it writes.
    """

    name = "server"
    ready_path = "/"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """The program and its arguments; raises UnavailableServerError where it is not installed."""
        raise NotImplementedError

    @property
    def base_url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def log_path(self) -> Path:
        return self.folder / f"{self.name}.log"

    def log_tail(self) -> str:
        """The last lines of what the server wrote."""
        if not self.log_path.exists():
            return ""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in reversed(range(PORT_TRIES)):
            self.start()
            try:
                ready = self.wait_until_ready()
            except BaseException:
                self.stop()
                raise
            if ready:
                return self
            self.stop()
            if left == 0 or "in use" not in self.log_tail():  # somebody took the port between our look and its use
                break
        raise RuntimeError(f"{self.name} did not start; its log ends so:\n{self.log_tail()}")

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Starts the process, which is told to end when this one dies."""
        command = self.command()
        if setpriv := shutil.which("setpriv"):  # of util-linux; preexec_fn would not do in a process with threads
            command = [setpriv, "--pdeathsig", "TERM", "--", *command]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def wait_until_ready(self) -> bool:
        """Waits for the first answer; False: the process has ended instead."""
        assert self._process is not None
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s:
            if self._process.poll() is not None:
                return False
            connection = http.client.HTTPConnection(HOST, self.port, timeout=5)
            try:
                connection.request("GET", self.ready_path)
                connection.getresponse().read()
            except (OSError, http.client.HTTPException):
                time.sleep(0.02)
            else:
                return True
            finally:
                connection.close()
        return False

    def stop(self) -> None:
        """Ends the process, by force where it takes its time."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def find_program(name: str, *places: Path, hint: str) -> str:
    """The program's path: on the PATH, among the administrator's programs, or in one of ``places``."""
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which(name, path=search)
    if found is not None:
        return found
    for place in places:
        if os.access(place, os.X_OK):
            return str(place)
    raise UnavailableServerError(f"no {name} here: {hint}")
