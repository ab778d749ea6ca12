"""What the commands of this package, and those of packages on top of it, have in common: exit status, errors, output.

Exit status: what the command says, 1 an error, 130 Ctrl-C, 141 nobody reads the output any more. An error is one line
on standard error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import BinaryIO, Final

__all__ = ["FAILED", "run", "complain", "printable", "one_line", "write_json", "write_all"]

FAILED: Final = 1
"""Exit status: something could not be read, or is not there."""

_INTERRUPTED: Final = 130  # as a shell says of a process that SIGINT ended
_BROKEN_PIPE: Final = 141  # and SIGPIPE


def run(program: str, command: Callable[[], int]) -> int:
    """Do what a command line says.

    Args:
        program: its name, for messages.
        command: does it, and returns the exit status.

    Returns:
        The exit status.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="surrogateescape")  # a name need not be text
    try:
        status = command()
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes standard output once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except KeyboardInterrupt:
        return _INTERRUPTED
    except Exception as error:
        complain(program, error)
        return FAILED
    return status


def complain(program: str, error: Exception) -> None:
    """Say on standard error what went wrong, in one line."""
    sys.stderr.write(f"{program}: {one_line(error)}\n")


def printable(text: str) -> str:
    r"""One line, whatever a name has in it.

    >>> printable("two\nlines")
    'two\\nlines'
    """
    return "".join(char if char.isprintable() or "\udc80" <= char <= "\udcff" else repr(char)[1:-1] for char in text)


def one_line(error: Exception) -> str:
    """What an exception says, in one line.

    >>> one_line(FileNotFoundError(2, "No such file or directory", "a.bin"))
    'a.bin: No such file or directory'
    """
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        text = f"{os.fsdecode(error.filename)}: {error.strerror}"
    else:
        text = str(error).partition("\n")[0] or type(error).__name__
    return printable(text)


def write_json(value: object) -> None:
    """Write a value to standard output as JSON; what JSON has no word for as text."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def write_all(target: BinaryIO, data: bytes | memoryview) -> None:
    """Write all of the data: without a buffer (PYTHONUNBUFFERED) a pipe takes what it has room for."""
    left = memoryview(data)
    while left:
        left = left[target.write(left) :]
