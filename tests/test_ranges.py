"""read_ranges against plain reads of files, once per backend."""

from __future__ import annotations

import array
import mmap
import os
import pickle
import stat
import subprocess
import sys
from multiprocessing import shared_memory
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ringio
from ringio import Ranges

FILE_NBYTES = [0, 1, 5000, 3 << 20]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files of several sizes, and their bytes."""
    folder = tmp_path_factory.mktemp("files")
    made = []
    for nbytes in FILE_NBYTES:
        path = folder / f"{nbytes}.bin"
        data = np.random.default_rng(nbytes).bytes(nbytes)
        path.write_bytes(data)
        made.append((str(path), data))
    return made


def plain(data: bytes, offset: int, length: int | None) -> bytes | None:
    """What a range should give; None: it is not inside."""
    if length == 0:
        return b""
    start = offset if offset >= 0 else len(data) + offset
    end = len(data) if length is None else start + length
    if start < 0 or start > len(data) or end > len(data):
        return None
    return data[start:end]


def clipped(data: bytes, offset: int, length: int | None) -> bytes:
    """What ``allow_short`` should give."""
    if length == 0:
        return b""
    start = offset if offset >= 0 else len(data) + offset
    end = max(len(data), start) if length is None else start + length
    return data[max(start, 0) : max(end, 0)]


edges = st.sampled_from([0, 1, 4095, 4096, 4097, 5000, 1 << 20, (1 << 20) + 1, 2 << 20, 3 << 20])
offsets = st.one_of(st.integers(0, 6000), st.integers(0, 4 << 20), st.integers(-6000, -1), edges)
lengths = st.one_of(st.none(), st.just(0), st.integers(1, 300), st.integers(1, 2 << 20), edges)
ranges_of_files = st.lists(st.tuples(st.integers(0, len(FILE_NBYTES) - 1), offsets, lengths), max_size=25)
options = st.fixed_dictionaries(
    {"max_gap_bytes": st.sampled_from([0, 1, 4096, 1 << 20]), "max_request_bytes": st.sampled_from([1, 5000, 1 << 18])}
)


class TestAgainstPlainReads:
    @given(ranges_of_files, st.booleans())
    def test_each_slot_has_its_bytes_or_its_error(self, reader, files, asked, columnar):
        """Any mix of ranges: inside ones give their bytes whatever their neighbours do, others a RangeError."""
        ranges = [(files[i][0], offset, length) for i, offset, length in asked]
        got = reader.read_ranges(Ranges.from_tuples(ranges) if columnar else ranges, on_error="return")
        assert len(got) == len(ranges)
        for (i, offset, length), buffer in zip(asked, got, strict=True):
            due = plain(files[i][1], offset, length)
            if due is None:
                assert isinstance(buffer, ringio.RangeError)
                assert buffer.path == files[i][0]
                assert (buffer.offset, buffer.length) == (offset, length)
                assert buffer.nbytes == len(files[i][1])
            else:
                assert bytes(buffer) == due
                assert buffer.readonly

    @given(ranges_of_files)
    def test_allow_short_gives_what_is_there(self, reader, files, asked):
        ranges = [(files[i][0], offset, length) for i, offset, length in asked]
        got = reader.read_ranges(ranges, allow_short=True)
        assert [bytes(buffer) for buffer in got] == [clipped(files[i][1], *rest) for i, *rest in asked]

    @settings(max_examples=20)
    @given(ranges_of_files, options)
    def test_coalescing_changes_nothing(self, backend, files, asked, options):
        asked = [(i, *rest) for i, *rest in asked if plain(files[i][1], *rest) is not None]
        with ringio.Reader(backend, workers=2, **options) as reader:
            got = reader.read_ranges([(files[i][0], *rest) for i, *rest in asked])
        assert [bytes(buffer) for buffer in got] == [plain(files[i][1], *rest) for i, *rest in asked]

    def test_many_small_ranges(self, reader, files):
        path, data = files[3]
        offsets = np.random.default_rng(3).integers(0, len(data) - 100, 20_000)
        got = reader.read_ranges(Ranges([path], 0, offsets, 100))
        assert [bytes(buffer) for buffer in got] == [data[o : o + 100] for o in offsets.tolist()]

    def test_many_files(self, reader, tmp_path):
        """More files than are kept open."""
        for i in range(700):
            (tmp_path / str(i)).write_bytes(b"%d" % i)
        got = reader.read_ranges([(tmp_path / str(i), 0, None) for i in range(700)])
        assert [bytes(buffer) for buffer in got] == [b"%d" % i for i in range(700)]


class TestResult:
    def test_empty_batch(self, reader):
        got = reader.read_ranges([])
        assert len(got) == 0
        assert list(got) == []
        assert got.nbytes == 0

    def test_length_zero_costs_no_io(self, reader):
        before = reader.statistics()
        got = reader.read_ranges([("/does/not/exist", 5, 0), ("/does/not/exist", -5, 0)])
        assert [bytes(buffer) for buffer in got] == [b"", b""]
        assert (reader.statistics() - before).opens == 0

    def test_is_a_sequence(self, reader, files):
        path, data = files[2]
        got = reader.read_ranges([(path, i, 2) for i in range(10)])
        assert bytes(got[-1]) == data[9:11]
        assert [bytes(buffer) for buffer in got[2:8:3]] == [data[2:4], data[5:7]]
        assert [bytes(buffer) for buffer in got[::-1]] == [data[i : i + 2] for i in reversed(range(10))]
        assert [bytes(buffer) for buffer in reversed(got)] == [data[i : i + 2] for i in reversed(range(10))]
        assert got.nbytes == 20
        with pytest.raises(IndexError):
            got[10]

    def test_slice_keeps_errors(self, reader, files):
        path, _ = files[2]
        got = reader.read_ranges([(path, 0, 1), ("/does/not/exist", 0, 1), (path, 1, 1)], on_error="return")
        part = got[1:]
        assert isinstance(part[0], FileNotFoundError)
        assert isinstance(part[-1], memoryview)
        assert list(part.errors) == [0]

    def test_errors_are_in_order(self, reader, files):
        """Those of ranges that were looked up are found before the others."""
        path, _ = files[2]
        ranges = [("/none", 0, 1), (path, 0, 1), ("/none/x", -1, None), (path, 1 << 50, 1)]
        assert list(reader.read_ranges(ranges, on_error="return").errors) == [0, 2, 3]

    def test_buffers_outlive_the_reader(self, backend, files):
        path, data = files[2]
        with ringio.Reader(backend, workers=1) as reader:
            buffer = reader.read_ranges([(path, 0, 100)])[0]
        assert bytes(buffer) == data[:100]

    def test_duplicates_are_read_once(self, reader, files):
        path, data = files[3]
        before = reader.statistics()
        got = reader.read_ranges([(path, 0, 1 << 20)] * 5)
        assert all(bytes(buffer) == data[: 1 << 20] for buffer in got)
        assert (reader.statistics() - before).bytes_read == 1 << 20


class TestOut:
    @pytest.mark.parametrize(
        "make",
        [
            bytearray,
            lambda nbytes: np.zeros(nbytes, np.uint8),
            lambda nbytes: np.zeros((nbytes // 4, 2), "<i2"),
            lambda nbytes: memoryview(bytearray(nbytes)),
            lambda nbytes: array.array("b", bytes(nbytes)),
            lambda nbytes: mmap.mmap(-1, nbytes),
            lambda nbytes: np.zeros(nbytes // 8, "datetime64[s]"),
        ],
    )
    def test_any_writable_buffer(self, reader, files, make):
        path, data = files[2]
        out = make(400)
        got = reader.read_ranges([(path, 100, 300), (path, 0, 100)], out=out)
        assert (out if isinstance(out, np.ndarray) else np.asarray(memoryview(out))).tobytes() == data[100:400] + data[
            :100
        ]
        assert bytes(got[1]) == data[:100]

    def test_shared_memory(self, reader, files):
        path, data = files[2]
        memory = shared_memory.SharedMemory(create=True, size=4096)
        try:
            reader.read_ranges([(path, 0, 4096)], out=memory.buf)
            assert bytes(memory.buf) == data[:4096]
        finally:
            memory.close()
            memory.unlink()

    def test_torch_like_tensor(self, reader, files):
        """What is not a buffer, but says where its memory is and gives an array of it, as a torch tensor does."""

        class Tensor:
            def __init__(self) -> None:
                self.memory = np.zeros(10, np.uint8)

            def numpy(self) -> np.ndarray:
                return self.memory

            def data_ptr(self) -> int:
                return self.memory.ctypes.data

        tensor = Tensor()
        reader.read_ranges([(files[2][0], 0, 10)], out=tensor)
        assert bytes(tensor.memory) == files[2][1][:10]

    def test_bytes_around_it_are_untouched(self, reader, files):
        path, data = files[3]
        memory = np.full((2 << 20) + 200, 0xEE, np.uint8)
        reader.read_ranges([(path, 10, 2 << 20)], out=memory[100:-100])
        assert bytes(memory[100:-100]) == data[10 : 10 + (2 << 20)]
        assert (memory[:100] == 0xEE).all()
        assert (memory[-100:] == 0xEE).all()

    def test_a_failed_range_keeps_its_place(self, reader, files):
        path, data = files[2]
        out = bytearray(b"." * 30)
        got = reader.read_ranges([(path, 0, 10), ("/none", 0, 10), (path, 10, 10)], out=out, on_error="return")
        assert out[:10] == data[:10]
        assert out[20:] == data[10:20]
        assert bytes(got[2]) == data[10:20]

    @pytest.mark.parametrize(
        ("out", "error", "text"),
        [
            (bytearray(9), ValueError, "9 bytes.*10"),
            (bytes(10), ValueError, "read-only"),
            (np.zeros(20, np.uint8)[::2], ValueError, "contiguous"),
            ([0] * 10, TypeError, "list"),
            (np.array([None] * 10), TypeError, "objects"),
            (5, TypeError, "int"),
        ],
    )
    def test_others_are_refused(self, reader, files, out, error, text):
        with pytest.raises(error, match=text):
            reader.read_ranges([(files[2][0], 0, 10)], out=out)


class TestPaths:
    @pytest.mark.opens_files
    def test_every_spelling(self, reader, tmp_path, monkeypatch):
        """str, bytes, Path, file:// URLs; relative; odd names."""
        monkeypatch.chdir(tmp_path)
        for name in ["plain", "with space", "ünïcödé", "new\nline", "100%25", "a;b&c", os.fsdecode(b"not-\xff-utf8")]:
            path = tmp_path / name
            path.write_bytes(os.fsencode(name))
            for spelling in [path, str(path), os.fsencode(path), name, Path(name), path.as_uri()]:
                assert bytes(reader.read_ranges([(spelling, 0, None)])[0]) == os.fsencode(name)

    def test_file_url_of_this_machine(self, reader, files):
        assert len(reader.read_ranges([("file://localhost" + files[2][0], 0, None)])[0]) == 5000

    @pytest.mark.parametrize(
        ("path", "error", "text"),
        [
            ("file://other/x", ValueError, "other"),
            ("file:///a?b", ValueError, "%3F"),
            ("file:///a%00b", ValueError, "NUL"),
            ("a\0b", ValueError, "NUL"),
            (b"a\0b", ValueError, "NUL"),
            (7, TypeError, "7 is not a path"),
            (None, TypeError, "None"),
        ],
    )
    def test_others_are_refused(self, path, error, text):
        with pytest.raises(error, match=text):
            Ranges.from_tuples([("fine", 0, 1), (path, 0, 1)])


class TestErrors:
    @pytest.mark.parametrize("length", [1, None, 3 << 20])
    def test_the_system_says_why(self, reader, tmp_path, length):
        os.mkfifo(tmp_path / "fifo")
        (tmp_path / "loop").symlink_to("loop")
        for path, error in [
            (tmp_path / "none", FileNotFoundError),
            (tmp_path, IsADirectoryError),
            (tmp_path / "fifo", OSError),
            (tmp_path / "loop", OSError),
            ("/dev/zero", OSError),
            ("/dev/null", OSError),
            ("", FileNotFoundError),
            (tmp_path / ("x" * 300), OSError),
        ]:
            with pytest.raises(error) as caught:
                reader.read_ranges([(path, 0, length)])
            assert caught.value.filename == str(path)
            assert caught.value.errno

    @pytest.mark.opens_files
    def test_permission(self, reader, tmp_path):
        path = tmp_path / "secret"
        path.write_bytes(b"secret")
        path.chmod(0)
        if os.geteuid() == 0:
            code = (
                # What is imported late may be where the user nobody cannot read.
                "import os, ringio\n"
                "ringio.read_ranges([('/proc/self/exe', 0, 1), ('/nowhere', 0, 1)], on_error='return')\n"
                f"ringio.Reader({reader.backend!r}); os.setgid(65534); os.setuid(65534)\n"
                f"try: ringio.Reader({reader.backend!r}).read_ranges([({str(path)!r}, 0, 1)])\n"
                "except PermissionError as error: print(error.filename)"
            )
            for folder in [tmp_path, *tmp_path.parents]:
                if folder.stat().st_uid == os.getuid() and folder != Path("/"):
                    folder.chmod(folder.stat().st_mode | stat.S_IXOTH)
            result = run_python(code)
            if "Permission" in result.stderr and "ringio" not in result.stderr.splitlines()[-1]:
                pytest.skip("the user nobody cannot import ringio here")
            assert result.stdout.strip() == str(path), result.stderr
        else:
            with pytest.raises(PermissionError):
                reader.read_ranges([(path, 0, 1)])

    def test_others_are_unharmed(self, reader, files):
        """One bad range never spoils another, even one that is read by the same request."""
        path, data = files[2]
        good = [(path, i * 10, 10) for i in range(500)]
        ranges = [*good, (path, 4995, 10), ("/none", 0, 1), (path, 9000, 1)]
        order = np.random.default_rng(0).permutation(len(ranges))
        got = reader.read_ranges([ranges[i] for i in order], on_error="return")
        for i, buffer in zip(order.tolist(), got, strict=True):
            if i < len(good):
                assert bytes(buffer) == data[i * 10 : i * 10 + 10]
            else:
                assert isinstance(buffer, ringio.RangeError | FileNotFoundError)

    def test_the_first_one_is_raised_and_the_rest_counted(self, reader, files):
        path, _ = files[2]
        with pytest.raises(FileNotFoundError) as caught:
            reader.read_ranges([(path, 0, 1), ("/none-1", 0, 1), (path, 0, 1), ("/none-2", 0, 1), (path, 5000, 1)])
        assert caught.value.filename == "/none-1"
        assert "range 1; and 2 more of 5 ranges failed" in caught.value.__notes__
        assert "while reading /none-1, bytes 0-1" in caught.value.__notes__

    def test_past_the_end_says_the_size(self, reader, files):
        path, _ = files[2]
        far = (1 << 63) - 1
        for bad in [
            (path, 4999, 2),
            (path, 0, 1 << 61),
            (path, -5001, None),
            (path, 5001, None),
            (path, 1 << 62, 9),
            (path, far, 1),
            (path, far, far),
            (path, 1, far),
            (path, -far, far),
        ]:
            with pytest.raises(ringio.RangeError, match="5000 bytes") as caught:
                reader.read_ranges([bad])
            assert (caught.value.path, caught.value.offset, caught.value.length) == bad
            assert caught.value.nbytes == 5000
        cut = reader.read_ranges([(path, far, far), (path, 4999, far), (path, -far, None)], allow_short=True)
        assert [len(buffer) for buffer in cut] == [0, 1, 5000]

    def test_shorter_file_than_before(self, reader, make_file):
        """A reader keeps files open; when one is truncated or replaced that must be seen."""
        path, data = make_file(10_000)
        assert bytes(reader.read_ranges([(path, 0, 10_000)])[0]) == data
        os.truncate(path, 5000)
        with pytest.raises(ringio.RangeError, match="5000"):
            reader.read_ranges([(path, 0, 10_000)])
        Path(path).unlink()
        with pytest.raises(FileNotFoundError):
            reader.read_ranges([(path, 0, 10)])
        Path(path).write_bytes(b"new")
        assert bytes(reader.read_ranges([(path, 0, None)])[0]) == b"new"

    @pytest.mark.parametrize("changes", [1, 2])
    @pytest.mark.opens_files
    def test_file_that_grows_between_stat_and_read(self, reader, make_file, monkeypatch, changes):
        """Found out: the batch is read once more, with the new size; the second time it is an error."""
        path, data = make_file(1000)
        left = changes
        stat_of = ringio.planning.stat

        def stat_then_grow(paths):
            nonlocal left
            found = stat_of(paths)
            if left:
                left -= 1
                with Path(path).open("ab") as file:
                    file.write(b"more")
            return found

        monkeypatch.setattr(ringio.planning, "stat", stat_then_grow)
        if changes == 1:
            assert bytes(reader.read_ranges([(path, -8, None)])[0]) == data[-4:] + b"more"
        else:
            with pytest.raises(ringio.FileChangedError) as caught:
                reader.read_ranges([(path, -8, None)])
            assert caught.value.filename == path

    @pytest.mark.parametrize(
        ("row", "error"),
        [
            (("a", 0), TypeError),
            (("a", 0, 1, 2), TypeError),
            ("abc", TypeError),
            (("a", 0.5, 1), TypeError),
            (("a", 0, 0.5), TypeError),
            (("a", "0", 1), TypeError),
            (("a", None, 1), TypeError),
            (("a", 0, -1), ValueError),
            (("a", 1 << 64, 1), ValueError),
            (("a", 0, 1 << 63), ValueError),
            ((["a"], 0, 1), TypeError),
            ((3, 0, 1), TypeError),
        ],
    )
    def test_rows_that_make_no_sense(self, row, error):
        with pytest.raises(error, match=r"range 0|a"):
            Ranges.from_tuples([row])
        with pytest.raises(error):
            Ranges.from_tuples([("a", -1, None), row])

    def test_what_is_no_path_is_named(self):
        with pytest.raises(TypeError, match="range 1: 3 is not a path"):
            Ranges.from_tuples([("a", 0, 1), (3, 0, 1)])
        with pytest.raises(TypeError, match="range 0: 3 is not a path"):
            Ranges.from_tuples([(3, 0, 1)] * 2)

    @pytest.mark.parametrize("path", ["a.grib", b"a.grib", Path("a.grib")])
    def test_one_path_is_no_ranges(self, reader, path):
        with pytest.raises(TypeError, match=r"ranges is one path, .*; a sequence of"):
            reader.read_ranges(path)
        with pytest.raises(TypeError, match=r"ranges is (one path|a PosixPath)"):
            list(reader.iter_ranges(path))

    def test_on_error_is_checked(self, reader):
        with pytest.raises(ValueError, match="on_error"):
            reader.read_ranges([], on_error="ignore")


class TestRanges:
    def test_columns_and_tuples_are_equal(self):
        columns = Ranges(["a", "b"], [0, 1, 0], [0, 5, -3], [4, 4, -1])
        tuples = Ranges.from_tuples([("a", 0, 4), ("b", 5, 4), ("a", -3, None)])
        assert columns == tuples
        assert list(columns) == [("a", 0, 4), ("b", 5, 4), ("a", -3, None)]
        assert columns != Ranges(["a", "b"], [0, 1, 0], [0, 5, -3], [4, 4, 3])
        assert pickle.loads(pickle.dumps(columns)) == columns

    def test_right_dtypes_are_not_copied(self):
        offsets = np.arange(10)
        ranges = Ranges(["a"], 0, offsets, 5)
        assert np.shares_memory(ranges.offsets, offsets)
        assert not ranges.offsets.flags.writeable
        assert offsets.flags.writeable

    @pytest.mark.parametrize("dtype", ["u1", "<i2", ">i4", "<u8"])
    def test_any_integers(self, dtype):
        ranges = Ranges(["a"], np.zeros(3, dtype), np.arange(3, dtype=dtype), np.ones(3, dtype))
        assert list(ranges) == [("a", 0, 1), ("a", 1, 1), ("a", 2, 1)]

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            ((["a"], [1], [0], [1]), ValueError),
            ((["a"], [-1], [0], [1]), ValueError),
            ((["a"], [0], [0], [-2]), ValueError),
            ((["a"], [0], [0, 1], [1]), ValueError),
            ((["a"], [0, 0], [0], [1]), ValueError),
            ((["a"], [0], [[0]], [1]), ValueError),
            ((["a"], [0], 0, [1]), ValueError),
            ((["a"], [0], [0.0], [1]), TypeError),
            ((["a"], [False], [0], [1]), TypeError),
            (("a", [0], [0], [1]), TypeError),
            ((["a"], [0], np.array([1 << 63], np.uint64), [1]), ValueError),
        ],
    )
    def test_columns_that_make_no_sense(self, arguments, error):
        with pytest.raises(error):
            Ranges(*arguments)

    def test_generators_are_taken(self, reader, files):
        path, data = files[2]
        got = reader.read_ranges((path, i, 1) for i in range(3))
        assert b"".join(got) == data[:3]


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
