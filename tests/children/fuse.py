"""A file system of one folder, spoken to the kernel through /dev/fuse without a library: it does what it is told wrong.

Run as ``python fuse.py MOUNTPOINT RULES``, by root. RULES is JSON, ``{name: rule}``, the files and what they do:

* ``nbytes``: how large they say they are; byte ``i`` is ``i * 7 % 251``.
* ``ends_at``: reads see no byte from here on.
* ``fails_at``, ``errno``: a read that touches this byte fails.
* ``delay_s``: each read takes so long.
* ``changes_after``: so many reads later it has another time of modification, and other bytes.
* ``refuses_direct``: an open with O_DIRECT fails with EINVAL.
* ``short_nbytes``: a read gives no more than this.

It writes "ready" when it is mounted, and ends when it is unmounted.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import stat
import struct
import sys
import threading
import time

HEADER = struct.Struct("<IIQQIIII")
REPLY = struct.Struct("<IiQ")
ATTRIBUTES = struct.Struct("<QQQQQQIIIIIIIIII")
LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS, RELEASE, FLUSH, INIT = 1, 2, 3, 14, 15, 17, 18, 25, 26
OPENDIR, READDIR, RELEASEDIR, ACCESS, BATCH_FORGET = 27, 28, 29, 34, 42
DIRECT_IO = 1  # of an open file: the kernel caches nothing of it
BUFFER_NBYTES = 1 << 21


def byte_pattern(start: int, end: int) -> bytes:
    """Bytes [start, end) of every file."""
    period = bytes(i * 7 % 251 for i in range(251))
    first = start % 251
    return (period * ((end - start) // 251 + 2))[first : first + end - start]


class FileSystem:
    def __init__(self, fd: int, rules: dict) -> None:
        self.fd = fd
        self.names = list(rules)
        self.rules = [rules[name] for name in rules]
        self.read_counts = [0] * len(rules)
        self.lock = threading.Lock()

    def reply(self, unique: int, data: bytes = b"", error: int = 0) -> None:
        try:
            os.write(self.fd, REPLY.pack(REPLY.size + len(data), -error, unique) + data)
        except OSError as failure:
            if failure.errno not in (errno.ENOENT, errno.ENODEV, errno.EINVAL):  # interrupted meanwhile, or unmounted
                raise

    def has_changed(self, i: int) -> bool:
        return self.read_counts[i] >= self.rules[i].get("changes_after", 1 << 60)

    def attributes(self, node: int) -> bytes:
        if node == 1:
            return ATTRIBUTES.pack(1, 0, 0, 0, 0, 0, 0, 0, 0, stat.S_IFDIR | 0o755, 2, 0, 0, 0, 4096, 0)
        nbytes = self.rules[node - 2]["nbytes"]
        seconds = 1_000_000 + self.has_changed(node - 2)
        return ATTRIBUTES.pack(
            node, nbytes, nbytes // 512, seconds, seconds, seconds, 0, 0, 0, stat.S_IFREG | 0o644, 1, 0, 0, 0, 4096, 0
        )

    def read(self, unique: int, node: int, offset: int, nbytes: int) -> None:
        rule = self.rules[node - 2]
        time.sleep(rule.get("delay_s", 0))
        end = min(offset + min(nbytes, rule.get("short_nbytes", nbytes)), rule["nbytes"], rule.get("ends_at", 1 << 60))
        with self.lock:
            self.read_counts[node - 2] += 1
            changed = self.has_changed(node - 2)
        if offset <= rule.get("fails_at", -1) < offset + nbytes:
            return self.reply(unique, error=rule.get("errno", errno.EIO))
        data = byte_pattern(offset, max(offset, end))
        return self.reply(unique, data.translate(bytes(range(255, -1, -1))) if changed else data)

    def open(self, unique: int, node: int, flags: int) -> None:
        if self.rules[node - 2].get("refuses_direct") and flags & os.O_DIRECT:
            return self.reply(unique, error=errno.EINVAL)
        return self.reply(unique, struct.pack("<QII", 0, DIRECT_IO, 0))

    def answer(self, request: bytes) -> None:
        _, operation, unique, node, *_ = HEADER.unpack_from(request)
        body = request[HEADER.size :]
        if operation == INIT:
            _, minor, ahead, _ = struct.unpack_from("<IIII", body)
            self.reply(unique, struct.pack("<IIIIHHIIHHI28x", 7, min(minor, 31), ahead, 0, 16, 12, 1 << 17, 1, 0, 0, 0))
        elif operation == LOOKUP:
            name = os.fsdecode(body.rstrip(b"\0"))
            if name not in self.names:
                return self.reply(unique, error=errno.ENOENT)
            node = self.names.index(name) + 2
            self.reply(unique, struct.pack("<QQQQII", node, 0, 0, 0, 0, 0) + self.attributes(node))
        elif operation == GETATTR:
            self.reply(unique, struct.pack("<QII", 0, 0, 0) + self.attributes(node))
        elif operation == OPEN:
            self.open(unique, node, struct.unpack_from("<I", body)[0])
        elif operation == READ:
            _, offset, nbytes = struct.unpack_from("<QQI", body)
            threading.Thread(target=self.read, args=(unique, node, offset, nbytes), daemon=True).start()
        elif operation == OPENDIR:
            self.reply(unique, struct.pack("<QII", 0, 0, 0))
        elif operation in (RELEASE, RELEASEDIR, FLUSH, ACCESS, READDIR):
            self.reply(unique)
        elif operation == STATFS:
            self.reply(unique, bytes(80))
        elif operation not in (FORGET, BATCH_FORGET):
            self.reply(unique, error=errno.ENOSYS)
        return None

    def serve(self) -> None:
        while True:
            try:
                self.answer(os.read(self.fd, BUFFER_NBYTES))
            except OSError as error:
                if error.errno == errno.ENODEV:  # unmounted
                    return
                if error.errno not in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                    raise


def main() -> None:
    folder, rules = sys.argv[1], json.loads(sys.argv[2])
    fd = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other,max_read=131072"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"ringio-test", os.fsencode(folder), b"fuse", 0, options.encode()):
        sys.exit(f"mount: {os.strerror(ctypes.get_errno())}")
    print("ready", flush=True)
    FileSystem(fd, rules).serve()


if __name__ == "__main__":
    main()
