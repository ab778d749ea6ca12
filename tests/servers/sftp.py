"""A folder mounted over the network: sshfs, and OpenSSH's sftp-server behind a TCP connection that is slow, or cut."""

from __future__ import annotations

import os
import queue
import socket
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from servers.base import HOST, find_program

# Of Debian, Fedora and Arch.
PLACES = [Path("/usr/lib/openssh"), Path("/usr/libexec/openssh"), Path("/usr/lib/ssh")]
HINT = "install sshfs and OpenSSH's sftp-server"
MOUNT_TIMEOUT_S = 10.0


class SftpMount:
    """A folder of this machine, mounted by sshfs as if it were another's.

    Args:
        root: what is mounted.
        folder: where.
        options: of sshfs.

    Attributes:
        delay_s: how much later each answer comes; those that are on their way do not wait for each other.

    Raises:
        UnavailableServerError: a program is missing.
        OSError: nothing can be mounted here.
    """

    def __init__(self, root: Path, folder: Path, *options: str) -> None:
        self.root, self.folder = root, folder
        self.delay_s = 0.0
        self._options = options
        self._connection: socket.socket | None = None
        self._sshfs: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        sshfs = find_program("sshfs", hint=HINT)
        server = find_program("sftp-server", *[place / "sftp-server" for place in PLACES], hint=HINT)
        self.folder.mkdir(exist_ok=True)
        with socket.create_server((HOST, 0)) as listener:
            options = [f"directport={listener.getsockname()[1]}", *self._options]
            command = [sshfs, "-f", f"{HOST}:{self.root}", str(self.folder), *(f"-o{option}" for option in options)]
            self._sshfs = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
            listener.settimeout(MOUNT_TIMEOUT_S)
            try:
                self._connection, _ = listener.accept()
            except TimeoutError:
                self._fail()
        threading.Thread(target=self._serve, args=(self._connection, server), daemon=True).start()
        deadline_s = time.monotonic() + MOUNT_TIMEOUT_S
        while not self.folder.is_mount():
            if self._sshfs.poll() is not None or time.monotonic() > deadline_s:
                self._fail()
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        command = ["umount", "-l"] if os.geteuid() == 0 else ["fusermount3", "-uz"]
        subprocess.run([*command, str(self.folder)], check=False, capture_output=True)
        if self._sshfs is not None:
            self._sshfs.kill()
            self._sshfs.communicate()

    def cut(self) -> None:
        """The connection breaks; sshfs makes no other."""
        if self._connection is not None:
            with suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)

    def _fail(self) -> None:
        assert self._sshfs is not None
        self._sshfs.kill()
        _, text = self._sshfs.communicate()
        self.__exit__()
        raise OSError(f"sshfs cannot mount here: {text.decode(errors='replace').strip()}")

    def _serve(self, connection: socket.socket, server: str) -> None:
        """Requests go straight to the server, answers by way of a line in which each waits for its time."""
        line: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

        def send() -> None:
            with connection, suppress(OSError):
                while (answer := line.get())[1]:
                    time.sleep(max(0.0, answer[0] - time.monotonic()))
                    connection.sendall(answer[1])

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        with subprocess.Popen(
            [server], stdin=connection.fileno(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            assert process.stdout is not None
            while data := os.read(process.stdout.fileno(), 1 << 16):
                line.put((time.monotonic() + self.delay_s, data))
        line.put((0.0, b""))
        sender.join()
