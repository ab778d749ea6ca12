"""The command ``ringio-zarr``: what it understands, and what its subcommands print.

Exit status: 0 all went well, 1 something is damaged, cannot be read or is not there, 2 the command makes no sense;
others as in ``ringio.command_line``.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any, Final

import numpy as np

from ringio import Reader, __version__, progress_bar
from ringio.command_line import FAILED, one_line, printable, run, write_all, write_json

from . import _cli_show
from ._array import Array
from ._group import Group
from ._open import open as open_node
from ._selection import normalise_basic
from ._verify import ArrayCheck, Bad, arrays_below

_PRINTED_NBYTES_MAX: Final = 16 << 20  # more is not for a terminal


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says, and return the exit status.

    Args:
        arguments: without the program's name; None: those of this process.
    """
    parser = _parser()
    options = parser.parse_args(_joined(sys.argv[1:] if arguments is None else arguments))
    if options.json and getattr(options, "output", None) is not None:
        parser.error(
            "read: --json prints the elements, and --output writes them in the format of numpy: one of them is due"
        )

    def command() -> int:
        with _warnings_told(), Reader(options.backend) as reader:
            node = open_node(options.url, zarr_format=options.zarr_format, reader=reader)
            options.reader = reader
            status: int = options.run(node, options)
        return status

    return run("ringio-zarr", command)


@contextmanager
def _warnings_told() -> Iterator[None]:
    """What is left out is said in the words of errors, not with a line of source."""

    def tell(message: Warning | str, *_: object, **__: object) -> None:
        sys.stderr.write(f"ringio-zarr: {printable(str(message))}\n")

    with warnings.catch_warnings():
        warnings.showwarning = tell
        yield


def _joined(arguments: Sequence[str]) -> list[str]:
    """``--select -1,:`` as one word: argparse would take the second for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--select":
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ringio-zarr",
        description="Zarr arrays and groups: what they are, what is in them, and whether all of it can be read.",
        epilog="Exit status: 0 done, 1 damaged, not found or not readable, 2 wrong usage, 130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"ringio-zarr {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    info = commands.add_parser("info", help="shape, data type, chunks, codecs and attributes")
    info.add_argument("--complete", action="store_true", help="count what is stored, too")
    info.set_defaults(run=_info)

    tree = commands.add_parser("tree", help="all arrays and groups below")
    tree.add_argument("--level", type=_level, metavar="N", help="no deeper than that")
    tree.set_defaults(run=_tree)

    read = commands.add_parser("read", help="elements of an array, printed or as a .npy file")
    read.add_argument(
        "--select", type=parse_selection, default=(), metavar="SELECTION", help='as between brackets: "0:4,:,10"'
    )
    read.add_argument("-o", "--output", metavar="FILE", help="write them there in the format of numpy; - for stdout")
    read.set_defaults(run=_read)

    verify = commands.add_parser("verify", help="read and decode every chunk, and name each bad one")
    verify.add_argument("--no-progress", action="store_true", help="no bar, on a terminal either")
    verify.set_defaults(run=_verify)

    for command in (info, tree, read, verify):
        command.add_argument("url", metavar="URL", help="of an array or group: a path, or whatever can be opened")
        command.add_argument("--zarr-format", type=int, choices=(2, 3), help="where both are (default: 3)")
        command.add_argument("--backend", choices=("auto", "io_uring", "threads"), default="auto")
        command.add_argument("--json", action="store_true", help="for machines")
    return parser


def _level(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: a number of levels, 0 or more, is due")
    return int(text)


def parse_selection(text: str) -> tuple[Any, ...]:
    """What stands between brackets, from the command line.

    Raises:
        argparse.ArgumentTypeError: something that is neither an integer, a slice nor an ellipsis.

    >>> parse_selection("0:4,:,-10,...")
    (slice(0, 4, None), slice(None, None, None), -10, Ellipsis)
    """
    text = text.strip().removeprefix("[").removesuffix("]").strip()
    items = text.removesuffix(",").split(",") if text else []
    return tuple(_parse_item(item.strip()) for item in items)


def _parse_item(text: str) -> Any:
    if text == "...":
        return ...
    parts = text.split(":")
    try:
        if len(parts) == 1:
            return int(parts[0])
        if len(parts) <= 3:
            return slice(*(int(part) if part.strip() else None for part in parts))
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is no integer, slice or ellipsis")


# --------------------------------------------------------------------------------------------- subcommands


def _info(node: Array | Group, options: argparse.Namespace) -> int:
    if options.json:
        write_json(_cli_show.info_json(node, complete=options.complete))
    else:
        sys.stdout.write(_cli_show.info_text(node, complete=options.complete))
    return 0


def _tree(node: Array | Group, options: argparse.Namespace) -> int:
    if options.json:
        write_json(_cli_show.tree_json(node, options.level))
    else:
        sys.stdout.write(_cli_show.tree_text(node, options.level))
    return 0


def _read(node: Array | Group, options: argparse.Namespace) -> int:
    if isinstance(node, Group):
        raise ValueError(f"{node.location} is a group; name one of its arrays to read it")
    if options.output is not None:
        _save(node, options.select, options.output)
        return 0
    box = normalise_basic(options.select, node.shape, node.location)
    nbytes = int(np.prod(box.shape, dtype=object)) * node.dtype.itemsize
    if nbytes > _PRINTED_NBYTES_MAX:
        raise ValueError(f"the selection has {nbytes:,} bytes, which is no use on a screen: write it to a file with -o")
    result = np.asarray(node[options.select])
    if options.json:
        data = _cli_show.plain(result.tolist())
        write_json({"shape": result.shape, "dtype": str(result.dtype), "data": data})
    else:
        sys.stdout.write(f"{result}\n")
    return 0


def _save(array: Array, selection: Any, path: str) -> None:
    if path == "-":
        np.save(_Pipe(), _savable(array[selection]), allow_pickle=False)
        return
    shape = normalise_basic(selection, array.shape, array.location).shape
    with _new_file(path) as (name, file):
        if array.dtype.hasobject or array.dtype.kind == "T" or 0 in shape or not shape:
            np.save(file, _savable(array[selection]), allow_pickle=False)
            return
        # Straight into the file: the result need not fit into memory.
        target = np.lib.format.open_memmap(name, "w+", array.dtype, shape)
        array.get_basic_selection(selection, out=target)
        target.flush()


def _savable(result: Any) -> np.ndarray[Any, Any]:
    """A result as numpy's format can have it: strings of any length become strings of one length."""
    found = np.asarray(result)
    is_text = found.dtype.kind == "T" or (found.dtype.hasobject and all(isinstance(one, str) for one in found.flat))
    # By way of a list: numpy does not cast strings of any length to those of one length that it would have to find.
    return np.array(found.tolist(), str).reshape(found.shape) if is_text else found


class _Pipe:
    """Standard output as numpy can write to it: whose errors it would swallow if it knew that there is a file."""

    def write(self, data: bytes) -> None:
        write_all(sys.stdout.buffer, data)


@contextmanager
def _new_file(path: str) -> Iterator[tuple[str, IO[bytes]]]:
    """A file that takes its name once it is whole: what was there stays, if something goes wrong."""
    folder = os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=folder)  # noqa: PTH119
    except OSError as error:
        error.filename = folder  # it names the file that it could not make, which nobody asked for
        raise
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield name, file
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)  # noqa: PTH101  # mkstemp's are for their owner alone
        os.replace(name, path)  # noqa: PTH105
    except BaseException:
        with suppress(OSError):
            os.unlink(name)  # noqa: PTH108
        raise


def _verify(node: Array | Group, options: argparse.Namespace) -> int:
    found = list(arrays_below(node, options.reader))
    checks = [one for one in found if isinstance(one, ArrayCheck)]
    bad = [one for one in found if isinstance(one, Bad)]
    if not options.json:
        _print_bad(bad)
    nbytes_total = sum(check.stored.nbytes_total for check in checks)
    show = sys.stderr.isatty() and not options.no_progress
    bar = progress_bar(nbytes_total) if show and nbytes_total else None
    done = 0

    def report(nbytes: int) -> None:
        nonlocal done
        done += nbytes
        if bar is not None and done < nbytes_total:  # the end takes it down
            bar(done, nbytes_total)

    for check in checks:
        for one in check.run(report):
            bad.append(one)
            if not options.json:
                _print_bad([one])
    if bar is not None:
        bar(nbytes_total, nbytes_total)
    count = sum(check.stored.chunk_count for check in checks)
    if options.json:
        write_json(
            {
                "location": node.location,
                "arrays": len(checks),
                "chunks": count,
                "bytes": nbytes_total,
                "bad": [_bad_json(one) for one in bad],
            }
        )
    else:
        verdict = f"{len(bad)} bad" if bad else "all good"
        sys.stdout.write(f"arrays: {len(checks)}, chunk files: {count}, bytes: {nbytes_total}: {verdict}\n")
    return FAILED if bad else 0


# --------------------------------------------------------------------------------------------- output


def _print_bad(bad: Sequence[Bad]) -> None:
    for one in bad:
        place = f"/{one.array}"
        if one.shard is not None:
            place += f" shard {one.shard}"
        elif one.chunk is not None:
            place += f" chunk {one.chunk}"
        sys.stdout.write(f"{printable(place)}: {type(one.error).__name__}: {one_line(one.error)}\n")
    sys.stdout.flush()


def _bad_json(bad: Bad) -> dict[str, Any]:
    path = getattr(bad.error, "path", None) or getattr(bad.error, "filename", None)
    return {
        "array": f"/{bad.array}",
        "chunk": bad.chunk,
        "shard": bad.shard,
        "path": None if path is None else os.fsdecode(path),
        "kind": type(bad.error).__name__,
        "error": str(bad.error),
    }
