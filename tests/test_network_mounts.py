"""A folder that is another machine's, as far as can be told: sshfs over TCP. What it can do is found out by trying."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import ringio
from servers.fixtures import enter_or_skip
from servers.sftp import SftpMount

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mounts")
DATA = np.random.default_rng(0).bytes(5 << 20)


@pytest.fixture
def mount(tmp_path) -> Iterator[Callable[..., SftpMount]]:
    """Mounts ``tmp_path / "root"``, with options of sshfs."""
    mounts: list[SftpMount] = []
    (tmp_path / "root").mkdir()

    def make(*options: str) -> SftpMount:
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            pytest.skip("no FUSE here")
        made = SftpMount(tmp_path / "root", tmp_path / f"mount-{len(mounts)}", *options)
        try:
            enter_or_skip(made)
        except OSError as error:
            pytest.skip(str(error))
        mounts.append(made)
        return made

    yield make
    for each in mounts:
        each.__exit__()


@pytest.mark.parametrize("options", [(), ("direct_io",), ("cache=no",)], ids=str)
@pytest.mark.parametrize("direct", [False, True])
def test_bytes(backend, direct, options, mount):
    there = mount(*options)
    (there.root / "a").write_bytes(DATA)
    (there.root / "empty").touch()
    rng = np.random.default_rng(1)
    pairs = [
        (int(offset), int(nbytes))
        for offset, nbytes in zip(rng.integers(0, 4 << 20, 300), rng.integers(0, 70_000, 300))
    ]
    with ringio.Reader(backend, workers=2, direct=direct) as reader:
        got = reader.read_ranges([(there.folder / "a", *pair) for pair in pairs])
        assert all(bytes(each) == DATA[offset : offset + nbytes] for each, (offset, nbytes) in zip(got, pairs))
        whole, tail, none = reader.read_ranges(
            [(there.folder / "a", 0, None), (there.folder / "a", -9, None), (there.folder / "empty", 0, None)]
        )
        assert (bytes(whole), bytes(tail), bytes(none)) == (DATA, DATA[-9:], b"")
        with pytest.raises(ringio.RangeError, match=f"{len(DATA)} bytes"):
            reader.read_ranges([(there.folder / "a", len(DATA) - 5, 10)])
        with pytest.raises(FileNotFoundError):
            reader.read_ranges([(there.folder / "b", 0, 10)])
        assert reader.statistics().direct_requests == 0


def test_what_was_found_by_trying_can_be_asked(mount):
    there = mount()
    (there.root / "a").write_bytes(DATA)
    command = [sys.executable, "-m", "ringio", "info", str(there.folder / "a"), "--json"]
    (facts,) = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["paths"]
    assert facts["filesystem"] == "fuse.sshfs"
    assert facts["nowait"] is False
    assert facts["direct"] is False


def test_many_files(backend, mount):
    there = mount()
    for i in range(300):
        (there.root / f"{i}").write_bytes(DATA[i * 3000 : i * 3000 + i])
    with ringio.Reader(backend, workers=2) as reader:
        got = reader.read_ranges([(there.folder / f"{i}", 0, None) for i in range(300)])
    assert all(bytes(each) == DATA[i * 3000 : i * 3000 + i] for i, each in enumerate(got))


def test_a_file_that_is_replaced(backend, mount):
    """Without the caches of the mount, which are allowed to be late: the new bytes, or an error."""
    there = mount("dir_cache=no", "attr_timeout=0", "entry_timeout=0")
    path, other = there.root / "a", bytes(255 - byte for byte in DATA[: 1 << 20])
    path.write_bytes(DATA[: 1 << 20])
    ranges = [(there.folder / "a", i << 16, 1 << 16) for i in range(16)]
    with ringio.Reader(backend, workers=2) as reader:
        assert b"".join(map(bytes, reader.read_ranges(ranges))) == DATA[: 1 << 20]
        (there.root / "new").write_bytes(other)
        os.utime(there.root / "new", (1, 1))
        (there.root / "new").replace(path)
        assert b"".join(map(bytes, reader.read_ranges(ranges))) == other
        path.write_bytes(DATA[: 1 << 19])
        got = reader.read_ranges(ranges, on_error="return")
        for i, each in enumerate(got):
            if i < 8:
                assert bytes(each) == DATA[i << 16 : (i + 1) << 16]
            else:
                assert isinstance(each, ringio.RangeError)
        path.unlink()
        with pytest.raises(FileNotFoundError):
            reader.read_ranges(ranges)


def test_a_connection_that_is_cut(backend, mount, make_file):
    """An error that names the file, soon; other files, and the reader, are unharmed.

    Not through the page cache: sshfs answers what it has lost with no bytes, which the kernel may keep as zeros.
    """
    there = mount("direct_io")
    (there.root / "a").write_bytes(DATA)
    local, data = make_file(1000)
    with ringio.Reader(backend, workers=2) as reader:
        assert bytes(reader.read_ranges([(there.folder / "a", 0, 10)])[0]) == DATA[:10]
        there.delay_s = 0.05
        timer = threading.Timer(0.3, there.cut)
        timer.start()
        begin = time.monotonic()
        ranges = [(there.folder / "a", i * 50_000, 4096) for i in range(1, 100)] + [(local, 0, 1000)]
        if backend == "memory":
            ranges = [(there.folder / "b", 0, 10), *ranges]
        got = reader.read_ranges(ranges, on_error="return")
        timer.join()
        got = reader.read_ranges(ranges, on_error="return")
        assert time.monotonic() - begin < 10
        assert bytes(got[-1]) == data
        for (path, offset, nbytes), each in zip(ranges[:-1], got):
            if isinstance(each, Exception):
                assert isinstance(each, OSError)
                assert each.filename == str(path)
            else:
                assert bytes(each) == DATA[offset : offset + nbytes]
        assert bytes(reader.read_ranges([(local, 0, 1000)])[0]) == data


def test_many_reads_are_on_their_way(backend, mount):
    """20 ms to the server: the kernel is told what comes next, and workers do not wait for one read after the other."""
    there = mount()
    (there.root / "a").write_bytes(DATA)
    ranges = [(there.folder / "a", i * 25_000, 4096) for i in range(200)]
    with ringio.Reader(backend, workers=2, max_gap_bytes=0) as reader:
        reader.read_ranges([(there.folder / "a", len(DATA) - 10, 10)])
        there.delay_s = 0.02
        begin = time.monotonic()
        got = reader.read_ranges(ranges)
        taken = time.monotonic() - begin
    assert all(bytes(each) == DATA[offset : offset + 4096] for each, (_, offset, _) in zip(got, ranges))
    # 4 s one after the other, 2 s by two workers; FUSE lets 12 be on their way, so 0.4 s.
    assert taken < 200 * 0.02 / 2 / 2
