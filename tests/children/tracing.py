"""Faults and delays in the system calls of this process, made by strace's ``--inject``.

Strace is attached only when it is wanted, so that the import of Python's modules is not counted.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_PR_SET_PTRACER = 0x59616D61
_ANYBODY = ctypes.c_ulong(-1)

CANNOT = 77
"""Exit status of a child that cannot do here what its test is about."""


@contextmanager
def injected(*expressions: str) -> Iterator[None]:
    """Inside, system calls go wrong: ``injected("pread64:error=EIO:when=2")``. Each thread counts its own calls.

    Source: strace(1), "Tampering".
    """
    ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _ANYBODY, 0, 0, 0)  # where Yama allows parents only
    names = ",".join(expression.partition(":")[0] for expression in expressions)
    command = ["strace", "-f", "-o", "/dev/null", "-p", str(os.getpid()), "-e", f"trace={names}"]
    for expression in expressions:
        command += ["-e", f"inject={expression}"]
    tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    said = tracer.stderr.readline()  # no look into /proc: that takes system calls, which may be those that go wrong
    if "attached" not in said:
        print(f"strace cannot be attached here: {said}{tracer.communicate()[1]}")
        sys.exit(CANNOT)
    try:
        yield
    finally:
        tracer.terminate()  # it lets go of us, then ends
        tracer.communicate()
