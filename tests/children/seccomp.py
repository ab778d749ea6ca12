"""Seccomp filters by prctl(2): what a container's profile does to a process, done to ourselves.

Constants: linux/seccomp.h, linux/filter.h (classic BPF), linux/prctl.h. The numbers of io_uring's calls are the same on
all machines.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

IO_URING_SETUP = 425
IO_URING_ENTER = 426
IO_URING_REGISTER = 427
CACHESTAT = 451
IO_SETUP = {"x86_64": 206, "aarch64": 0}.get(platform.machine(), -1)
IO_SUBMIT = {"x86_64": 209, "aarch64": 2}.get(platform.machine(), -1)
IO_GETEVENTS = {"x86_64": 208, "aarch64": 4}.get(platform.machine(), -1)
STATX = {"x86_64": 332, "aarch64": 291}.get(platform.machine(), -1)
PREADV2 = {"x86_64": 327, "aarch64": 286}.get(platform.machine(), -1)

_SECCOMP = {"x86_64": 317, "aarch64": 277}.get(platform.machine(), -1)
_SET_MODE_FILTER = 1
_TO_ALL_THREADS = 1
_PR_SET_NO_NEW_PRIVS = 38
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000

CANNOT = 77
"""Exit status of a child that cannot do here what its test is about."""


class _Program(ctypes.Structure):
    _fields_ = [("count", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def refuse(number: int, *calls: int) -> None:
    """From now on these system calls fail with this errno, in every thread of this process."""
    code = [(_LOAD_WORD, 0, 0, 0)]  # struct seccomp_data begins with the call's number
    for i, call in enumerate(calls):
        code.append((_JUMP_IF_EQUAL, len(calls) - i, 0, call))
    code += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ERRNO | number)]
    packed = b"".join(struct.pack("=HBBI", *instruction) for instruction in code)
    memory = ctypes.create_string_buffer(packed, len(packed))
    program = _Program(len(code), ctypes.addressof(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if min(calls) < 0 or libc.syscall(_SECCOMP, _SET_MODE_FILTER, _TO_ALL_THREADS, ctypes.byref(program)):
        print(f"no seccomp filter can be set here: {os.strerror(ctypes.get_errno())}")
        sys.exit(CANNOT)
