"""The command ``ringio``: what it understands, and its short subcommands.

Exit status: 0 all went well, 1 something could not be read or is not there, 2 the command makes no sense; others as in
``command_line``.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, BinaryIO, Final

from . import _locations
from ._entries import Entry, normalise
from ._errors import FileChangedError, RangeError
from ._options import BACKENDS
from ._reader import Reader
from ._version import __version__
from .command_line import FAILED, complain, printable, run, write_all, write_json

# Long ranges are read and written in pieces of this size: a file need not fit into memory.
_PIECE_NBYTES: Final = 64 << 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says, and return the exit status.

    Args:
        arguments: without the program's name; None: those of this process.
    """
    options = _parser().parse_args(arguments)

    def command() -> int:
        status: int | None = options.run(options)
        return status or 0

    return run("ringio", command)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ringio",
        description="Byte ranges of files and objects: read them, list them, measure how fast they come.",
        epilog="Exit status: 0 done, 1 not found or not readable, 2 wrong usage, 130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"ringio {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    info = commands.add_parser("info", help="what ringio uses here, why, and the limits it found")
    info.add_argument("paths", nargs="*", metavar="PATH", help="also say what can be done on its file system")
    info.set_defaults(run=_info)

    read = commands.add_parser("read", help="write a byte range to standard output")
    read.add_argument("path", metavar="PATH", help="file or URL")
    read.add_argument("offset", type=int, metavar="OFFSET", help="in bytes; negative: counted back from the end")
    read.add_argument("length", type=_length, metavar="LENGTH", help='in bytes, or "end"')
    read.add_argument("-o", "--output", metavar="FILE", help="write there instead")
    read.add_argument("--allow-short", action="store_true", help="give what is there of a range that ends too late")
    read.set_defaults(run=_read)

    bench = commands.add_parser("bench", help="read a file of yours with every backend, cached and from the disk")
    bench.add_argument("path", metavar="PATH", help="a file, of 64 MiB or more if possible; it is only read")
    bench.add_argument("--seconds", type=_seconds, default=0.3, help="for each measurement (default: %(default)s)")
    bench.set_defaults(run=_bench)

    listing = commands.add_parser("ls", help="list a folder, or what is below a URL")
    listing.add_argument("path", metavar="URL", help="folder or URL")
    listing.add_argument("-r", "--recursive", action="store_true", help="all files below it")
    listing.set_defaults(run=_ls)

    head = commands.add_parser("head", help="size, time and ETag of a file or object")
    head.add_argument("path", metavar="URL", help="file or URL")
    head.set_defaults(run=_head)

    for command in (info, read):
        command.add_argument("--backend", choices=sorted(set(BACKENDS) - {"memory"}), default="auto")
    for command in (info, bench, listing, head):
        command.add_argument("--json", action="store_true", help="for machines")
    return parser


def _length(text: str) -> int | None:
    if text == "end":
        return None
    try:
        length = int(text)
    except ValueError:
        length = -1
    if length < 0:
        raise argparse.ArgumentTypeError(f'{text!r}: a number of bytes or "end" is due')
    return length


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r}: a number of seconds above 0 is due")
    return seconds


# --------------------------------------------------------------------------------------------- subcommands


def _info(options: argparse.Namespace) -> int:
    from . import _cli_info

    with Reader(options.backend) as reader:
        facts, errors = _cli_info.facts(reader, options.paths)
    if options.json:
        write_json(facts)
    else:
        sys.stdout.write(_cli_info.as_text(facts))
    sys.stdout.flush()  # what is known comes before what is wrong, where both go to one place
    for error in errors:
        complain("ringio", error)
    return FAILED if errors else 0


def _bench(options: argparse.Namespace) -> None:
    from . import _cli_bench

    results = {**_cli_bench.measure(normalise(options.path), options.seconds), "path": options.path}
    if options.json:
        write_json(results)
    else:
        sys.stdout.write(_cli_bench.as_text(results))


def _read(options: argparse.Namespace) -> None:
    with Reader(options.backend) as reader:
        pieces = _pieces(reader, normalise(options.path), options.offset, options.length, options.allow_short)
        first = next(pieces)  # before the output is opened: an error leaves a file that is there as it is
        if options.output is None:
            _write(sys.stdout.buffer, first, pieces)
        else:
            _check_output(options.output, options.path)
            with open(options.output, "wb") as target:  # noqa: PTH123
                _write(target, first, pieces)


def _check_output(output: str, path: str) -> None:
    """That what is read is not what is written over."""
    try:
        is_same = os.path.samefile(output, path)  # noqa: PTH121
    except OSError:  # one of them is not there, or is a URL
        return
    if is_same:
        raise ValueError(f"{output} is the file that is read: nothing is written to it")


def _pieces(reader: Reader, location: str, offset: int, length: int | None, allow_short: bool) -> Iterator[memoryview]:
    if offset >= 0 and length is not None and length <= _PIECE_NBYTES:
        yield reader.read_ranges([(location, offset, length)], allow_short=allow_short)[0]
        return
    entry = _locations.look_up(location, reader)
    if entry.kind == "directory":
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), location)
    start, end = _inside(entry, offset, length, allow_short)
    yield reader.read_ranges([(location, start, min(end - start, _PIECE_NBYTES))])[0]
    for position in range(start + _PIECE_NBYTES, end, _PIECE_NBYTES):
        yield reader.read_ranges([(location, position, min(end - position, _PIECE_NBYTES))])[0]
    if _locations.look_up(location, reader) != entry:
        raise FileChangedError("it was replaced or written to while it was read", location)


def _inside(entry: Entry, offset: int, length: int | None, allow_short: bool) -> tuple[int, int]:
    """Where a range begins and ends."""
    nbytes = entry.nbytes
    start = offset + nbytes if offset < 0 else offset
    end = max(start, nbytes) if length is None else start + length
    if allow_short:
        start = min(max(start, 0), nbytes)
        return start, max(start, min(end, nbytes))
    if start < 0 or end > nbytes:
        raise RangeError(f"{entry.name}: bytes {start}-{end} are not inside its {nbytes} bytes")
    return start, end


def _write(target: BinaryIO, first: memoryview, rest: Iterable[memoryview]) -> None:
    for piece in chain((first,), rest):
        write_all(target, piece)
    target.flush()


def _ls(options: argparse.Namespace) -> None:
    location = normalise(options.path)
    entries: Iterable[Entry]
    if options.recursive:
        entries = _locations.walk(location)
    else:
        try:
            entries = _locations.list_folder(location)
        except NotADirectoryError:
            entries = [_locations.look_up(location)]
    if not options.json:
        for entry in entries:
            sys.stdout.write(_line(entry))
        return
    separator = "["
    for entry in entries:
        sys.stdout.write(f"{separator}{json.dumps(_as_json(entry))}")
        separator = ",\n "
    sys.stdout.write("[]\n" if separator == "[" else "]\n")


def _head(options: argparse.Namespace) -> None:
    fields = _as_json(_locations.look_up(normalise(options.path)))
    if options.json:
        write_json(fields)
        return
    for name, value in fields.items():
        if value is not None:
            sys.stdout.write(f"{name:9} {printable(str(value))}\n")


# --------------------------------------------------------------------------------------------- output


def _as_json(entry: Entry) -> dict[str, Any]:
    modified = None if entry.modified is None else entry.modified.isoformat()
    return {
        "name": entry.name,
        "type": entry.kind,
        "size": entry.nbytes,
        "modified": modified,
        "etag": entry.e_tag,
        "version": entry.version,
    }


def _line(entry: Entry) -> str:
    size = str(entry.nbytes) if entry.kind == "file" else "-"
    modified = "" if entry.modified is None else f"{entry.modified:%Y-%m-%d %H:%M:%S}"
    slash = "/" if entry.kind == "directory" else ""
    return f"{size:>14}  {modified:19}  {printable(entry.name)}{slash}\n"
