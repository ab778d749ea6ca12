"""File systems unlike the usual one: the bytes are right in each way of reading, or an error names the file."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import ringio

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mounts")
CHILDREN = Path(__file__).parent / "children"
NBYTES = 300_000
DIRECT = [False, True, "auto"]


def byte_pattern(start: int, end: int) -> bytes:
    return bytes(i * 7 % 251 for i in range(start, end))


def unmount(folder: Path) -> None:
    subprocess.run(["umount", "-l", folder], check=False, capture_output=True)


@contextmanager
def fuse(folder: Path, rules: dict[str, dict[str, Any]]) -> Iterator[Path]:
    """A file system by the rules of ``children/fuse.py``."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, str(CHILDREN / "fuse.py"), str(folder), json.dumps(rules)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        if server.stdout.readline() != "ready\n":
            pytest.skip(f"no FUSE here: {server.communicate()[1][-200:]}")
        yield folder
    finally:
        unmount(folder)
        server.kill()
        server.communicate()


@pytest.fixture(scope="module")
def on_loop(tmp_path_factory) -> Callable[[str], Path]:
    """Mounts a file system of its own in a file, which is ``folder.with_suffix(".img")``; gives its folder."""
    mounted: list[Path] = []

    def make(kind: str) -> Path:
        if os.geteuid() or shutil.which(f"mkfs.{kind}", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
            pytest.skip(f"no {kind} can be made here")
        folder = tmp_path_factory.mktemp("loop") / kind
        folder.mkdir()
        image = folder.with_suffix(".img")
        with image.open("wb") as file:
            file.truncate(320 << 20 if kind == "xfs" else 32 << 20)
        environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
        subprocess.run([f"mkfs.{kind}", "-q", image], check=True, capture_output=True, env=environment)
        if subprocess.run(["mount", "-o", "loop", image, folder], check=False, capture_output=True).returncode:
            pytest.skip("nothing can be mounted here")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        unmount(folder)


def check(backend: str, direct: Any, path: Path, data: bytes) -> ringio.Statistics:
    """Ranges of all kinds, each byte as it should be."""
    ranges = [(path, 0, None), (path, 4096, 8192), (path, 5000, 70_000), (path, -5, None), (path, len(data) - 1, 1)]
    with ringio.Reader(backend, workers=2, direct=direct, max_gap_bytes=0) as reader:
        got = reader.read_ranges(ranges)
        whole, blocks, crooked, tail, last = map(bytes, got)
        assert whole == data
        assert blocks == data[4096:12288]
        assert crooked == data[5000:75_000]
        assert tail == data[-5:]
        assert last == data[-1:]
        with pytest.raises(ringio.RangeError, match=f"{len(data)} bytes"):
            reader.read_ranges([(path, len(data) - 5, 10)])
        return reader.statistics()


@pytest.mark.parametrize("direct", DIRECT)
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_disk_in_a_file(backend, direct, kind, on_loop):
    folder = on_loop(kind)
    data = byte_pattern(0, NBYTES)
    (folder / "file").write_bytes(data)
    os.sync()
    statistics = check(backend, direct, folder / "file", data)
    if direct is True and backend != "memory":
        assert statistics.direct_requests > 0


def test_a_disk_that_lost_its_end(on_loop, backend):
    """A read error of a disk is the system's, names the file, and does not harm other ranges."""
    folder = on_loop("ext4")
    good, bad = folder / "good", folder / "bad"
    good.write_bytes(byte_pattern(0, NBYTES))
    bad.write_bytes(byte_pattern(0, 16 << 20))
    subprocess.run(["sync", "-f", folder], check=True)
    with bad.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    good.read_bytes()
    os.truncate(folder.with_suffix(".img"), 6 << 20)
    ranges = [(bad, i << 20, 1 << 20) for i in range(16)] + [(good, 0, NBYTES)]
    with ringio.Reader(backend, workers=2) as reader:
        got = reader.read_ranges(ranges, on_error="return")
    if backend != "memory":
        assert bytes(got[16]) == byte_pattern(0, NBYTES)
    failed = [each for each in got[:16] if isinstance(each, Exception)]
    for error in failed:
        assert isinstance(error, OSError)
        assert error.errno == errno.EIO
        assert error.filename == str(bad)
    for i, each in enumerate(got[:16]):
        if not isinstance(each, Exception):
            assert bytes(each) == byte_pattern(i << 20, (i + 1) << 20)


@pytest.mark.parametrize("direct", DIRECT)
def test_overlay_and_tmpfs(backend, direct, tmp_path):
    """Files of the lower and the upper layer, and one that is copied up while it is kept open."""
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    options = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    (tmp_path / "lower" / "a").write_bytes(byte_pattern(0, NBYTES))
    mount = ["mount", "-t", "overlay", "overlay", "-o", options, tmp_path / "merged"]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no overlay can be mounted here")
    try:
        path = tmp_path / "merged" / "a"
        check(backend, direct, path, byte_pattern(0, NBYTES))
        with ringio.Reader(backend, workers=1, direct=direct) as reader:
            assert bytes(reader.read_ranges([(path, 7, 5)])[0]) == byte_pattern(7, 12)
            with path.open("ab") as file:
                file.write(b"more")
            assert bytes(reader.read_ranges([(path, -6, None)])[0]) == byte_pattern(NBYTES - 2, NBYTES) + b"more"
        (tmp_path / "merged" / "b").write_bytes(byte_pattern(0, NBYTES))
        check(backend, direct, tmp_path / "merged" / "b", byte_pattern(0, NBYTES))
    finally:
        unmount(tmp_path / "merged")
    shared = Path("/dev/shm") / f"ringio-{os.getpid()}"
    shared.write_bytes(byte_pattern(0, NBYTES))
    try:
        check(backend, direct, shared, byte_pattern(0, NBYTES))
    finally:
        shared.unlink()


def test_what_is_said_of_a_file_is_what_a_reader_does(tmp_path):
    """``ringio info`` of a tmpfs, which is not read past the page cache, though it can be opened so; and of a name."""
    folder = tmp_path / "ü b"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=False, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        (folder / "a").write_bytes(bytes(5000))
        command = [sys.executable, "-m", "ringio", "info", "--json", str(folder / "a"), str(folder)]
        told = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["paths"]
        assert [each["filesystem"] for each in told] == ["tmpfs", "tmpfs"]
        with ringio.Reader(workers=1, direct=True) as reader:
            reader.read_ranges([(folder / "a", 0, 4096)] * 20)
            assert [each["direct"] for each in told] == [reader.statistics().direct_requests > 0] * 2
        assert "memory" in told[0]["direct_reason"]
    finally:
        unmount(folder)


class TestFuse:
    @pytest.mark.parametrize("direct", DIRECT)
    def test_bytes(self, backend, direct, tmp_path):
        rules = {
            "whole": {"nbytes": NBYTES},
            "short": {"nbytes": NBYTES, "short_nbytes": 3000},
            "cached": {"nbytes": NBYTES, "refuses_direct": True},
        }
        with fuse(tmp_path / "fuse", rules) as folder:
            for name in rules:
                check(backend, direct, folder / name, byte_pattern(0, NBYTES))

    def test_why_it_is_not_read_past_the_cache_can_be_asked(self, tmp_path):
        with fuse(tmp_path / "fuse", {"a": {"nbytes": 5000, "refuses_direct": True}}) as folder:
            command = [sys.executable, "-m", "ringio", "info", str(folder / "a")]
            told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert "through it (open with O_DIRECT: Invalid argument)" in told

    def test_short_direct_reads(self, backend, tmp_path):
        """io_uring goes on at the wrong place after them: so FUSE is never read past the page cache."""
        with fuse(tmp_path / "fuse", {"a": {"nbytes": NBYTES, "short_nbytes": 3000}}) as folder:
            assert check(backend, True, folder / "a", byte_pattern(0, NBYTES)).direct_requests == 0

    @pytest.mark.parametrize("direct", DIRECT)
    def test_errors_and_ends(self, backend, direct, tmp_path):
        rules = {
            "bad": {"nbytes": NBYTES, "fails_at": 150_000, "errno": errno.EIO},
            "stale": {"nbytes": NBYTES, "fails_at": 0, "errno": errno.ESTALE},
            "cut": {"nbytes": NBYTES, "ends_at": 100_000},
            "good": {"nbytes": NBYTES},
        }
        with fuse(tmp_path / "fuse", rules) as folder, ringio.Reader(backend, workers=2, direct=direct) as reader:
            ranges = [
                (folder / "bad", 0, 1000),
                (folder / "bad", 149_999, 10),
                (folder / "stale", 0, 10),
                (folder / "cut", 5, 10),
                (folder / "cut", 200_000, 10),
                (folder / "good", 5, 10),
            ]
            first, bad, stale, before, cut, good = reader.read_ranges(ranges, on_error="return")
            assert bytes(good) == byte_pattern(5, 15)
            assert isinstance(bad, OSError)
            assert (bad.errno, bad.filename) == (errno.EIO, str(folder / "bad"))
            assert isinstance(stale, OSError)
            assert (stale.errno, stale.filename) == (errno.ESTALE, str(folder / "stale"))
            assert isinstance(cut, ringio.RangeError | ringio.FileChangedError | OSError)
            if backend != "memory":  # which reads whole files
                assert bytes(first) == byte_pattern(0, 1000)
                assert bytes(before) == byte_pattern(5, 15)

    def test_a_file_that_changes_between_the_reads_of_a_batch(self, backend, tmp_path):
        """Old bytes, or an error; never a mix of both."""
        rules = {"a": {"nbytes": 4 << 20, "changes_after": 7}}
        old, new = byte_pattern(0, 4 << 20), bytes(255 - byte for byte in byte_pattern(0, 4 << 20))
        with fuse(tmp_path / "fuse", rules) as folder, ringio.Reader(backend, workers=2) as reader:
            ranges = [(folder / "a", i << 18, 1 << 18) for i in range(16)]
            got = reader.read_ranges(ranges, on_error="return")
            for (_, offset, nbytes), each in zip(ranges, got, strict=True):
                if isinstance(each, Exception):
                    assert isinstance(each, ringio.FileChangedError)
                else:
                    assert bytes(each) in (old[offset : offset + nbytes], new[offset : offset + nbytes])
            is_new = {
                bytes(each) == new[offset : offset + nbytes]
                for (_, offset, nbytes), each in zip(ranges, got, strict=True)
                if not isinstance(each, Exception)
            }
            assert len(is_new) <= 1

    def test_a_cancelled_batch_ends_soon_however_slow_the_file(self, tmp_path):
        """Of the backend "threads", too, which reads one after the other what it has taken."""
        rules = {"a": {"nbytes": 64 << 20, "delay_s": 0.05}}

        def stop(_done: int, _total: int) -> None:
            raise KeyError("enough")

        for backend in ("io_uring", "threads"):
            with fuse(tmp_path / backend, rules) as folder:
                try:
                    reader = ringio.Reader(backend, workers=1, max_gap_bytes=0)
                except ringio.BackendError:
                    continue
                ranges = [(folder / "a", i << 18, 1000) for i in range(200)]  # 10 s one after the other
                with pytest.raises(KeyError):
                    reader.read_ranges(ranges, progress=stop)
                begin = time.monotonic()
                reader.close()
                assert time.monotonic() - begin < 1.0

    def test_a_slow_file_does_not_keep_others_waiting(self, backend, tmp_path, make_file):
        path, data = make_file(1000)
        rules = {"a": {"nbytes": NBYTES, "delay_s": 1.0}}
        with fuse(tmp_path / "fuse", rules) as folder, ringio.Reader(backend, workers=2) as reader:
            slow = threading.Thread(target=lambda: reader.read_ranges([(folder / "a", 0, 10)]))
            slow.start()
            time.sleep(0.1)
            begin = time.monotonic()
            for _ in range(10):
                assert bytes(reader.read_ranges([(path, 0, 1000)])[0]) == data
            assert time.monotonic() - begin < 0.8
            slow.join()
