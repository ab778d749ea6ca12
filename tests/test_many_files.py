"""Batches of many files: the order in which they are opened, what is looked up, errors among them, what stays open."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ringio
from ringio import Ranges, planning
from ringio._paths import encode_paths, object_path, object_paths, path_order
from ringio.testing import faulty_reader

COUNT = 700  # more than a reader keeps open

names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
alike = st.builds("/data/{}/{:04}".format, st.sampled_from(["a", "b", "bb"]), st.integers(0, 9999))


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Paths in random order, and the bytes of each file; some files are empty."""
    folder = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(3)
    found = {}
    for number in rng.permutation(COUNT).tolist():
        path = folder / f"{number // 100}" / f"{number:04}"
        path.parent.mkdir(exist_ok=True)
        data = rng.bytes(int(rng.integers(0, 9000)))
        path.write_bytes(data)
        found[str(path)] = data
    return found


class TestOrder:
    @given(st.one_of(st.lists(names, max_size=30), st.lists(alike, max_size=200)))
    def test_by_the_first_bytes_that_differ(self, paths):
        """A stable sort by 16 bytes behind the common beginning; None says that nothing moves."""
        encoded = [os.fsencode(path) for path in paths]
        columns = zip(*encoded, strict=False)
        alike_nbytes = next((i for i, column in enumerate(columns) if len(set(column)) > 1), None)
        common = min(map(len, encoded), default=0) if alike_nbytes is None else alike_nbytes
        expected = sorted(range(len(paths)), key=lambda i: encoded[i][common : common + 16])
        order = path_order(encode_paths(paths))
        assert expected == (list(range(len(paths))) if order is None else order.tolist())
        assert order is None or order.tolist() != list(range(len(paths)))

    @given(st.lists(st.one_of(names, st.builds(os.fsencode, names), st.builds(Path, names)), max_size=20))
    def test_many_paths_are_what_each_is(self, paths):
        def outcome(function):
            try:
                return function()
            except Exception as error:
                return type(error), str(error)

        assert outcome(lambda: object_paths(paths)) == outcome(lambda: tuple(map(object_path, paths)))


class TestStat:
    def test_of_many_files_at_a_time(self, many, tmp_path):
        """In the order asked, whatever the threads do; what is not there says so in its place."""
        paths = list(many)
        paths[100:100] = [str(tmp_path / "none"), str(tmp_path)]
        identities = planning.stat(paths)
        status = dict.fromkeys(range(len(paths)), 0) | {100: -errno.ENOENT, 101: -errno.EISDIR}
        assert identities["status"].tolist() == list(status.values())
        for i, path in enumerate(paths):
            if i != 100:
                info = Path(path).stat()
                identity = identities[i]
                assert (identity["inode"], identity["device"]) == (info.st_ino, info.st_dev)
                assert (identity["nbytes"], identity["mtime_ns"]) == (info.st_size, info.st_mtime_ns)


class TestReading:
    @pytest.mark.parametrize("open_files", [None, 1, 5])
    @pytest.mark.parametrize("known", [True, False])
    def test_every_file_once(self, backend, many, open_files, known, our_files):
        """Whole files, their sizes known or not; no more descriptors stay than are allowed."""
        folder = Path(next(iter(many))).parent.parent
        with ringio.Reader(backend, workers=2, open_files=open_files) as reader:
            for _ in range(2):
                ranges = [(path, 0, len(data) if known else None) for path, data in many.items()]
                assert [bytes(buffer) for buffer in reader.read_ranges(ranges)] == list(many.values())
            still_open = [path for path in our_files(folder) if path.startswith(str(folder))]
            assert len(still_open) <= (open_files or COUNT)

    def test_places_of_pieces(self, reader, many):
        """Long files, cut into pieces, among short ones, and out= in the order asked."""
        large = Path(next(iter(many))).parent / "a large one"
        large.write_bytes(np.random.default_rng(4).bytes((5 << 20) + 3))
        paths = [*many, str(large), *reversed(many)]
        expected = b"".join(Path(path).read_bytes() for path in paths)
        out = bytearray(len(expected))
        reader.read_ranges([(path, 0, None) for path in paths], out=out)
        assert out == expected
        large.unlink()

    def test_a_file_that_serves_many_ranges_is_opened_once(self, backend, many):
        """Where a file has two ranges that are not merged, all go through the files that are kept open."""
        with ringio.Reader(backend, workers=2, open_files=4, max_gap_bytes=0) as reader:
            paths = [path for path, data in many.items() if len(data) > 100]
            ranges = [(path, offset, 10) for offset in (0, 90) for path in paths]
            for buffer, (path, offset, _) in zip(reader.read_ranges(ranges), ranges, strict=True):
                assert bytes(buffer) == many[path][offset : offset + 10]

    @pytest.mark.parametrize("length", [1, None])
    def test_errors_stand_in_their_places(self, reader, many, tmp_path, length):
        """A FIFO makes nobody wait, and the files around it are read."""
        os.mkfifo(tmp_path / "fifo")
        bad = [(tmp_path / "fifo", OSError), (tmp_path / "none", FileNotFoundError), (tmp_path, IsADirectoryError)]
        rows = [(path, 0, length) for path, data in many.items() if data]
        for number, (path, _) in enumerate(bad):
            rows.insert(50 + 200 * number, (str(path), 0, length))
        buffers = reader.read_ranges(rows, on_error="return")
        assert sorted(buffers.errors) == [50, 250, 450]
        for number, (path, error) in enumerate(bad):
            found = buffers.errors[50 + 200 * number]
            assert isinstance(found, error)
            assert found.filename == str(path)
        for i, (path, _, _) in enumerate(rows):
            if i not in buffers.errors:
                assert bytes(buffers[i]) == many[path][:length]

    @pytest.mark.parametrize("name", ["io_uring", "threads"])
    @given(seed=st.integers(0, 1 << 32))
    def test_faults(self, many, name, seed):
        """What can be recovered from is not seen."""
        with faulty_reader(name, seed=seed, short=3, eintr=5, eagain=5, zero=7, late=4, submit=9, workers=2) as reader:
            buffers = reader.read_ranges(Ranges(list(many), np.arange(COUNT), np.zeros(COUNT, int), -1))
            assert [bytes(buffer) for buffer in buffers] == list(many.values())

    def test_few_descriptors(self, run_child, many):
        """A limit below what the reader would keep open."""
        folder = Path(next(iter(many))).parent.parent
        run_child(
            """
            import os, resource, sys
            from pathlib import Path
            import ringio

            paths = sorted(str(path) for path in Path(sys.argv[1]).glob("*/0*"))
            soft = len(os.listdir("/proc/self/fd")) + 12
            reader = ringio.Reader("threads", workers=2, open_files=8)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, soft))
            for _ in range(3):
                assert len(reader.read_ranges([(path, 0, None) for path in paths])) == len(paths) > 600
            """,
            folder,
        )

    def test_a_child_inherits_no_file_in_use(self, run_child, many, tmp_path):
        """fork() in the midst of a batch: the child has no descriptor that nobody would close."""
        folder = Path(next(iter(many))).parent.parent
        run_child(
            """
            import os, sys, threading, time
            from pathlib import Path
            import ringio

            folder = sys.argv[1]
            paths = [str(path) for path in Path(folder).glob("*/*")]
            reader = ringio.Reader("threads", workers=2, open_files=200)
            ranges = [(path, 0, 1) for path in paths if Path(path).stat().st_size]
            stop = []

            def read():
                while not stop:
                    reader.read_ranges(ranges)

            thread = threading.Thread(target=read, daemon=True)
            thread.start()
            for _ in range(20):
                time.sleep(0.003)
                child = os.fork()
                if child == 0:
                    own = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
                           if os.path.islink(f"/proc/self/fd/{fd}")]
                    # One that a thread was about to open or to close may be left.
                    os._exit(sum(path.startswith(folder) for path in own) > 2)
                assert os.waitpid(child, 0)[1] == 0
            stop.append(1)
            thread.join()
            """,
            folder,
        )


def test_a_few_of_many_named_files_stay_open(many):
    """What decides is how many files a batch reads, not how many its ranges could name."""
    paths = list(many)
    some = [path for path in paths if many[path]][:4]
    ranges = Ranges(paths, [paths.index(path) for path in some], [0] * 4, [1] * 4)
    with ringio.Reader(workers=1, open_files=100) as reader:
        for _ in range(5):
            assert [bytes(buffer) for buffer in reader.read_ranges(ranges)] == [many[path][:1] for path in some]
        assert reader.statistics().opens == 4
