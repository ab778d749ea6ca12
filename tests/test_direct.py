"""Reads past the page cache: the same bytes as through it, wherever a file can be read so, and wherever it cannot."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ringio
from ringio import _blocks
from ringio.testing import faulty_reader

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="O_DIRECT is Linux's")

PAGE = mmap.PAGESIZE
KIB = 1024
SIZES = [0, 1, 100, 511, 512, 513, 4095, 4096, 4097, 65_536, 100_000, 3_000_001]


def supports_direct(folder: Path) -> bool:
    path = folder / "probe"
    path.write_bytes(bytes(PAGE))
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT))
    except OSError:
        return False
    return b"tmpfs" not in subprocess.run(["stat", "-f", "-c", "%T", path], capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder whose files can be read past the page cache."""
    folder = tmp_path_factory.mktemp("direct")
    if not supports_direct(folder):
        pytest.skip("the temporary folder's filesystem knows no O_DIRECT")
    return folder


@pytest.fixture(scope="module")
def files(folder) -> dict[int, tuple[str, bytes]]:
    """A file of each size."""
    made = {}
    for nbytes in SIZES:
        data = np.random.default_rng(nbytes).bytes(nbytes)
        path = folder / f"file-{nbytes}"
        path.write_bytes(data)
        made[nbytes] = (str(path), data)
    os.sync()
    return made


@pytest.fixture(scope="module", params=["io_uring", "threads"])
def reader(request):
    """A reader past the page cache on each backend that reads files."""
    try:
        with ringio.Reader(request.param, workers=2, direct=True) as reader:
            yield reader
    except ringio.BackendError as error:
        pytest.skip(str(error))


def evict(path: str) -> None:
    """Writes a file out and drops it from the page cache."""
    with Path(path).open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def cached_pages(path: str) -> int:
    """How many pages of a file the page cache has: mincore(2)."""
    mincore = ctypes.CDLL(None, use_errno=True).mincore
    mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    nbytes = Path(path).stat().st_size
    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), nbytes, prot=mmap.PROT_READ) as view:
        pages = ctypes.create_string_buffer(-(-nbytes // PAGE))
        data = np.frombuffer(view, np.uint8)
        failed = mincore(data.ctypes.data, nbytes, pages)
        del data
        assert not failed, os.strerror(ctypes.get_errno())
    return sum(byte & 1 for byte in pages.raw)


def knows_cache(folder: Path) -> bool:
    """Whether this kernel has cachestat(2): Linux 6.5."""
    path = folder / "cachestat"
    path.write_bytes(b"x")
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    with path.open("rb") as file:
        found = (ctypes.c_uint64 * 5)()
        return syscall(451, file.fileno(), (ctypes.c_uint64 * 2)(0, 1), found, 0) == 0


class TestOptions:
    @pytest.mark.parametrize("direct", [False, True, "auto"])
    def test_kept_and_pickled(self, direct):
        with ringio.Reader("threads", direct=direct) as reader, pickle.loads(pickle.dumps(reader)) as copy:
            assert reader.direct == copy.direct == direct
            assert ("direct" in repr(reader)) == bool(direct)

    @pytest.mark.parametrize(("direct", "error"), [("always", ValueError), (None, TypeError), (2, TypeError)])
    def test_others_are_refused(self, direct, error):
        with pytest.raises(error, match="direct"):
            ringio.Reader(direct=direct)

    def test_defaults(self):
        """A gap costs less and a request more than in the page cache; what is given counts."""
        with ringio.Reader("threads") as buffered, ringio.Reader("threads", direct=True) as direct:
            assert direct.max_gap_bytes > buffered.max_gap_bytes
            assert direct.max_request_bytes > buffered.max_request_bytes
        with ringio.Reader("threads", direct=True, max_gap_bytes=1, max_request_bytes=2) as reader:
            assert (reader.max_gap_bytes, reader.max_request_bytes) == (1, 2)


class TestBytes:
    @pytest.mark.parametrize("nbytes", SIZES)
    def test_every_alignment(self, reader, files, nbytes):
        """Starts and ends at, before and behind multiples of 512 and 4096, and the ends of files."""
        path, data = files[nbytes]
        places = {0, 1, 511, 512, 513, 4095, 4096, 4097, nbytes // 2, nbytes - 513, nbytes - 1, nbytes}
        places = sorted(place for place in places if 0 <= place <= nbytes)
        ranges = [(path, start, end - start) for start in places for end in places if start <= end]
        ranges += [(path, start, None) for start in places] + [(path, -place, None) for place in places if place]
        expected = [data[start : None if length is None else start + length] for _, start, length in ranges]
        for one_by_one in (False, True):
            batches = [[asked] for asked in ranges] if one_by_one else [ranges]
            got = [bytes(buffer) for batch in batches for buffer in reader.read_ranges(batch)]
            assert got == expected
        out = bytearray(sum(map(len, expected)))
        reader.read_ranges(ranges, out=out)
        assert bytes(out) == b"".join(expected)

    @given(
        st.lists(st.tuples(st.integers(0, 3_000_001), st.integers(0, 1 << 20)), max_size=30),
        st.booleans(),
        st.integers(0, 70_000),
    )
    def test_as_through_the_cache(self, reader, files, pairs, with_out, gap):
        path, data = files[3_000_001]
        ranges = [(path, offset, min(length, len(data) - offset)) for offset, length in pairs]
        expected = [data[offset : offset + length] for _, offset, length in ranges]
        if with_out:
            out = np.zeros(sum(map(len, expected)), np.uint8)
            reader.read_ranges(ranges, out=out)
            assert out.tobytes() == b"".join(expected)
        with ringio.Reader(reader.backend, workers=1, direct=True, max_gap_bytes=gap) as other:
            assert [bytes(buffer) for buffer in other.read_ranges(ranges)] == expected

    @pytest.mark.parametrize("shift", [0, 512, 4096, 1, 100])
    def test_out_aligned_and_not(self, reader, files, shift):
        """Where offset, size and address are multiples of the block, the disk writes to ``out``; else it is copied."""
        path, data = files[3_000_001]
        memory = mmap.mmap(-1, (2 << 20) + PAGE)
        out = memoryview(memory)[shift : shift + (1 << 20)]
        for offset in (0, 4096, 512, 77):
            reader.read_ranges([(path, offset, 1 << 20)], out=out)
            assert bytes(out) == data[offset : offset + (1 << 20)]
        assert not any(memory[:shift])
        assert not any(memory[shift + (1 << 20) :])

    def test_errors_are_those_of_any_read(self, reader, files, folder):
        path, data = files[3_000_001]
        missing = str(folder / "missing")
        asked = [(path, 2_999_000, 2_000), (missing, 0, 100_000), (path, 1 << 62, 1 << 20), (path, 0, 100_000)]
        got = reader.read_ranges(asked, on_error="return")
        assert isinstance(got[0], ringio.RangeError)
        assert got[0].nbytes == len(data)
        assert isinstance(got[1], FileNotFoundError)
        assert isinstance(got[2], ringio.RangeError)
        assert bytes(got[3]) == data[:100_000]

    def test_allow_short(self, reader, files):
        path, data = files[100_000]
        got = reader.read_ranges([(path, 50, 200_000), (path, 100_000, 5), (path, 99_999, 70_000)], allow_short=True)
        assert [bytes(buffer) for buffer in got] == [data[50:], b"", data[-1:]]

    def test_plans(self, reader, files):
        """Chunks that are decoded in the buffers that the disk wrote to."""
        import zlib

        path = Path(files[0][0]).with_name("chunks")
        values = np.arange(40_000, dtype="<i4").reshape(8, 5_000)
        encoded = [zlib.compress(row.tobytes()) for row in values]
        path.write_bytes(b"?" * 333 + b"".join(encoded))
        ends = 333 + np.cumsum(list(map(len, encoded)))
        ranges = [(path, int(end) - len(chunk), len(chunk)) for end, chunk in zip(ends, encoded, strict=True)]
        tasks = [ringio.Task(i, (5_000,), (7,), (4_000,), (i * 4_000,)) for i in range(8)]
        for gap in (0, 4096):
            plan = ringio.Plan(
                ranges, tasks, codecs=ringio.codecs.chain(["zlib"]), dtype="<i4", max_gap_bytes=gap, max_request_bytes=1
            )
            out = np.zeros(32_000, "<i4")
            reader.execute(plan, out)
            assert (out.reshape(8, 4_000) == values[:, 7:4_007]).all()

    def test_a_file_that_changes_size(self, reader, folder):
        path = folder / "changes"
        for data in (bytes(range(256)) * 1000, b"short", b"x" * 300_001):
            path.write_bytes(data)
            assert bytes(reader.read_ranges([(path, 0, None)])[0]) == data
        os.truncate(path, 70_000)
        with pytest.raises(ringio.RangeError, match="70000 bytes"):
            reader.read_ranges([(path, 0, 100_000)])
        assert bytes(reader.read_ranges([(path, 0, 70_000)])[0]) == b"x" * 70_000

    def test_bytes_that_are_not_written_out_yet(self, reader, folder):
        path = folder / "dirty"
        for number in range(5):
            path.write_bytes(bytes([number]) * 200_000)
            assert bytes(reader.read_ranges([(path, 1, 150_000)])[0]) == bytes([number]) * 150_000

    def test_little_memory(self, reader, files):
        """Whole blocks take more room than the bytes in them: no read fails for that."""
        path, data = files[3_000_001]
        with ringio.Reader(reader.backend, workers=1, direct=True, memory_limit_bytes=8 << 20) as small:
            rng = np.random.default_rng(0)
            ranges = [(path, int(offset), 1_900_000) for offset in rng.integers(0, 1_000_000, 20)]
            out = np.zeros(20 * 1_900_000, np.uint8)
            small.read_ranges(ranges, out=out)
            assert out.tobytes() == b"".join(data[offset : offset + length] for _, offset, length in ranges)
            assert small.statistics().peak_buffer_bytes <= 8 << 20

    def test_many_files_and_few_descriptors(self, reader, folder, our_files):
        few_files = folder / "few"
        few_files.mkdir(exist_ok=True)
        for i in range(100):
            (few_files / f"{i}").write_bytes(b"%d" % i)
        with ringio.Reader(reader.backend, workers=2, open_files=6, direct=True) as few:
            got = few.read_ranges([(few_files / f"{i}", 0, None) for i in range(100)])
            assert [int(bytes(buffer)) for buffer in got] == list(range(100))
            assert len([name for name in our_files(few_files) if "io_uring" not in name]) <= 6


class TestFaults:
    @given(seed=st.integers(0, 1 << 32), queue_depth=st.sampled_from([1, 3, 128]), with_out=st.booleans())
    def test_what_can_be_recovered_is_not_seen(self, reader, files, seed, queue_depth, with_out):
        path, data = files[3_000_001]
        rng = np.random.default_rng(seed)
        lengths = rng.integers(0, 300_000, 30)
        ranges = [(path, int(rng.integers(0, len(data) - n + 1)), int(n)) for n in lengths]
        faults = {"short": 3, "zero": 7, "eintr": 5, "eagain": 5, "late": 3, "submit": 5}
        out = np.zeros(int(lengths.sum()), np.uint8) if with_out else None
        with faulty_reader(
            reader.backend, seed=seed, workers=2, queue_depth=queue_depth, direct=True, **faults
        ) as faulty:
            got = faulty.read_ranges(ranges, out=out)
            assert faulty.statistics().direct_requests
        for (_, offset, length), buffer in zip(ranges, got, strict=True):
            assert bytes(buffer) == data[offset : offset + length]

    @given(seed=st.integers(0, 1 << 32))
    def test_eio_is_an_oserror_and_harms_nobody(self, reader, files, seed):
        path, data = files[3_000_001]
        rng = np.random.default_rng(seed)
        ranges = [(path, int(offset), 100_000) for offset in rng.integers(0, 2_900_000, 30)]
        with faulty_reader(reader.backend, seed=seed, eio=4, short=3, workers=2, direct=True) as faulty:
            got = faulty.read_ranges(ranges, on_error="return")
        for (_, offset, length), buffer in zip(ranges, got, strict=True):
            if isinstance(buffer, Exception):
                assert isinstance(buffer, OSError)
                assert buffer.errno == errno.EIO
            else:
                assert bytes(buffer) == data[offset : offset + length]


class TestWays:
    """Which way the bytes came."""

    def test_always(self, reader, files):
        path, _ = files[3_000_001]
        evict(path)
        before = reader.statistics()
        reader.read_ranges([(path, 100, 2_000_000), (path, 2_500_000, 10)])
        done = reader.statistics() - before
        assert done.direct_requests == done.requests > 1
        assert cached_pages(path) == 0

    def test_off(self, reader, files):
        path, _ = files[3_000_001]
        evict(path)
        with ringio.Reader(reader.backend, workers=1) as buffered:
            buffered.read_ranges([(path, 0, None)])
            assert buffered.statistics().direct_requests == 0
        assert cached_pages(path) > 700

    def test_auto(self, reader, files, folder):
        """Large and not cached: past the cache. Small, or cached: through it."""
        if not knows_cache(folder):
            pytest.skip("no cachestat(2) here")
        path, data = files[3_000_001]
        with ringio.Reader(reader.backend, workers=1, direct="auto") as auto:

            def direct_requests(offset: int, length: int) -> int:
                before = auto.statistics().direct_requests
                (got,) = auto.read_ranges([(path, offset, length)])
                assert bytes(got) == data[offset : offset + length]
                return auto.statistics().direct_requests - before

            evict(path)
            assert direct_requests(1_000_001, 800_000) == 1
            assert cached_pages(path) == 0
            assert direct_requests(0, 1_000) == 0
            with Path(path).open("rb") as file:
                file.seek(1 << 20)
                file.read(1 << 20)
            assert direct_requests((1 << 20) + 1, 800_000) == 0

    def test_files_that_are_nowhere_but_in_memory(self, reader):
        if not os.access("/dev/shm", os.W_OK):
            pytest.skip("no /dev/shm")
        data = np.random.default_rng(1).bytes(300_000)
        with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
            file.write(data)
            file.flush()
            before = reader.statistics().direct_requests
            ranges = [(file.name, 0, None), (file.name, 77, 200_000)]
            got = [bytes(buffer) for buffer in reader.read_ranges(ranges)]
            assert got == [data, data[77:200_077]]
            assert reader.statistics().direct_requests == before

    def test_files_without_a_size(self, reader):
        """What the kernel makes up cannot be read in blocks."""
        with pytest.raises(ringio.RangeError):
            reader.read_ranges([("/proc/version", 0, 10)])
        assert bytes(reader.read_ranges([("/proc/version", 0, None)])[0]) == b""

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting is for root")
    def test_overlay(self, reader, folder):
        """The root of containers."""
        lower, upper, work, merged = (folder / name for name in ("lower", "upper", "work", "merged"))
        for place in (lower, upper, work, merged):
            place.mkdir(exist_ok=True)
        data = np.random.default_rng(2).bytes(1_000_001)
        (lower / "file").write_bytes(data)
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        if subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, merged], check=False).returncode:
            pytest.skip("no overlayfs here")
        try:
            with ringio.Reader(reader.backend, workers=2, direct=True) as other:
                for _ in range(2):
                    got = other.read_ranges([(merged / "file", 0, None), (merged / "file", 4097, 100_000)])
                    assert [bytes(buffer) for buffer in got] == [data, data[4097:104_097]]
        finally:
            subprocess.run(["umount", merged], check=True)

    def test_memory_has_no_way_past_the_cache(self, files):
        path, data = files[100_000]
        with ringio.Reader("memory", direct=True) as memory:
            assert bytes(memory.read_ranges([(path, 5, 90_000)])[0]) == data[5:90_005]
            assert memory.statistics().direct_requests == 0


class TestZarr:
    def test_crops(self, folder, reader):
        import zarr

        import ringio_zarr

        values = np.random.default_rng(3).integers(0, 1 << 60, (8, 128, 128))
        path = folder / f"{reader.backend}.zarr"
        zarr.create_array(path, data=values, chunks=(1, 64, 64), shards=(4, 128, 128), compressors=None)
        starts = np.random.default_rng(4).integers(0, [5, 65, 65], (20, 3))
        for direct in (True, "auto"):
            with ringio.Reader(reader.backend, workers=2, direct=direct) as other:
                array = ringio_zarr.open_array(path, reader=other)
                for start, crop in zip(starts, array.read_crops(starts, (4, 64, 64)), strict=True):
                    expected = values[tuple(slice(s, s + n) for s, n in zip(start, (4, 64, 64), strict=True))]
                    assert (crop == expected).all()
                assert (array[...] == values).all()


@pytest.fixture
def ranges_of(files) -> Callable[..., ringio.Ranges]:
    def make(offsets: list[int], lengths: list[int]) -> ringio.Ranges:
        return ringio.Ranges([files[3_000_001][0]], 0, offsets, lengths)

    return make


class TestBlocks:
    """The layout of results, as numbers."""

    @given(st.lists(st.tuples(st.integers(0, 3_000_001), st.integers(0, 3_000_001)), min_size=1, max_size=20))
    def test_law(self, files, pairs):
        """Every range lies inside what is read for it; nothing overlaps; pieces begin at blocks and cover it all."""
        path, data = files[3_000_001]
        ranges = ringio.Ranges([path], 0, *map(list, zip(*pairs, strict=True)))
        blocks = _blocks.widen(ranges, ranges.offsets, ranges.lengths)
        inside = ranges.offsets + ranges.lengths <= len(data)
        long = ranges.lengths >= 64 * KIB
        if blocks is None:
            assert not long.any()
            return
        assert (blocks.widened == (long & inside)).all()
        leads = ranges.offsets - blocks.offsets
        assert (blocks.starts - blocks.targets == leads).all()
        assert (leads >= 0).all()
        assert (blocks.offsets + blocks.nbytes >= ranges.offsets + ranges.lengths).all()
        assert (blocks.offsets + blocks.nbytes)[blocks.widened].max(initial=0) <= len(data)
        assert not (blocks.offsets[blocks.widened] % PAGE).any()
        assert not (blocks.targets[blocks.widened] % PAGE).any()
        order = np.lexsort((blocks.nbytes, blocks.targets))
        ends = (blocks.targets + blocks.nbytes)[order]
        assert (ends[:-1] <= blocks.targets[order][1:]).all()
        assert ends[-1] <= blocks.target_nbytes
        index, offsets, nbytes, targets = _blocks.cut(blocks)
        assert (nbytes > 0).all()
        assert (np.bincount(index, nbytes, len(pairs)) == blocks.nbytes).all()
        assert (targets - blocks.targets[index] == offsets - blocks.offsets[index]).all()
        assert not (offsets[blocks.widened[index]] % PAGE).any()

    def test_short_ranges_stay_as_they_are(self, ranges_of):
        ranges = ranges_of([0, 1_000], [1_000, 60_000])
        assert _blocks.widen(ranges, ranges.offsets, ranges.lengths) is None

    def test_far_offsets(self, ranges_of):
        """Ends that would overflow are left to the errors that they are."""
        ranges = ranges_of([(1 << 62) + 1, 1 << 62, 0], [1 << 62, (1 << 63) - 1, 70_000])
        blocks = _blocks.widen(ranges, ranges.offsets, np.array([0, 0, 70_000]))
        assert blocks is not None
        assert blocks.widened.tolist() == [False, False, True]
