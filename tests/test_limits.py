"""Too little of everything: descriptors, locked memory, address space, buffers; and files that change meanwhile."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import ringio

linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux's limits")


@linux
class TestDescriptors:
    def test_thousands_of_files(self, run_child, tmp_path, backend):
        """A batch of far more files than may be open is read, whatever reads are in flight at the same time."""
        folder = tmp_path / "many"
        folder.mkdir()
        for i in range(1500):
            (folder / str(i)).write_bytes(b"%d." % i * 100)
        script = """
            import os, resource, sys
            import ringio

            folder, backend = sys.argv[1:]
            resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
            ranges = [(f"{folder}/{i}", 0, None) for i in range(1500)]
            for workers in (1, 2, 4):
                with ringio.Reader(backend, workers=workers) as reader:
                    for _ in range(2):
                        got = reader.read_ranges(ranges)
                        assert all(bytes(one) == b"%d." % i * 100 for i, one in enumerate(got))
            """
        run_child(script, folder, backend, RINGIO_BACKEND="")

    def test_none_left(self, run_child, make_file, backend):
        """Where the program has used up all descriptors, that is what the error says; later it works."""
        script = """
            import errno, os, resource, sys
            import ringio

            path, backend = sys.argv[1:]
            data = open(path, "rb").read()
            reader = ringio.Reader(backend, workers=2)
            hogs = []
            resource.setrlimit(resource.RLIMIT_NOFILE, (50, 50))
            try:
                while True:
                    hogs.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                pass
            try:
                reader.read_ranges([(path, i, 10) for i in range(0, 90_000, 9_000)])
            except OSError as error:
                assert error.errno == errno.EMFILE and error.filename == path, error
            else:
                raise SystemExit("no error")
            if backend == "io_uring":
                try:
                    ringio.Reader(backend)
                except ringio.BackendError as error:
                    assert "EMFILE" in str(error) and "RLIMIT_NOFILE" in str(error), error
            assert ringio.Reader("threads").backend == "threads"
            for fd in hogs[:10]:
                os.close(fd)
            assert bytes(reader.read_ranges([(path, 0, None)])[0]) == data
            # Workers that were refused a ring read all the same, and it is said.
            assert (" of 2 workers use pread" in reader.backend_reason) == (backend == "io_uring")
            """
        run_child(script, make_file(100_000)[0], backend, RINGIO_BACKEND="")


@linux
class TestMemory:
    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become somebody else")
    @pytest.mark.parametrize("nbytes", [0, 64 << 10])
    def test_no_locked_memory(self, run_child, nbytes):
        """A user who may lock no memory, or 64 KiB as in many containers, reads: with small rings or without."""
        folder = Path(tempfile.mkdtemp())
        try:
            folder.chmod(0o755)
            (folder / "file").write_bytes(np.random.default_rng(0).bytes(1 << 20))
            script = """
                import os, resource, sys
                import ringio

                path, nbytes = sys.argv[1], int(sys.argv[2])
                data = open(path, "rb").read()
                ringio.read_ranges([(path, 0, 1)])
                ringio.default_reader().close()
                resource.setrlimit(resource.RLIMIT_MEMLOCK, (nbytes, nbytes))
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
                readers = [ringio.Reader(workers=4) for _ in range(4)]
                for reader in readers:
                    assert reader.backend in ("io_uring", "threads") and reader.backend_reason
                    got = reader.read_ranges([(path, i * 5000, 4000) for i in range(200)])
                    assert [bytes(one) for one in got] == [data[i * 5000 : i * 5000 + 4000] for i in range(200)]
                """
            run_child(script, folder / "file", nbytes, RINGIO_BACKEND="")
        finally:
            shutil.rmtree(folder)

    def test_address_space(self, run_child, make_file, backend):
        """Wherever the address space ends, a read is a MemoryError or an OSError; with enough of it, it succeeds."""
        script = """
            import resource, sys
            import ringio

            path, backend = sys.argv[1:]
            data = open(path, "rb").read()
            ringio.Reader  # imported while there is memory: it is about reads
            ranges = [(path, i * 5000, 4000) for i in range(400)] + [(path, 0, None)]
            rights = [data[i * 5000 : i * 5000 + 4000] for i in range(400)] + [data]
            failed = succeeded = 0
            for room in [0, 64, 256, 512, *range(1024, 48 << 10, 2048)]:  # KiB
                with open("/proc/self/statm") as file:
                    used = int(file.read().split()[0]) * 4096
                resource.setrlimit(resource.RLIMIT_AS, (used + (room << 10), resource.RLIM_INFINITY))
                try:
                    with ringio.Reader(backend, workers=2) as reader:
                        right = all(map(bytes.__eq__, map(bytes, reader.read_ranges(ranges)), rights))
                    succeeded += 1
                except (MemoryError, OSError, ringio.RingioError):
                    failed += 1
                    right = True
                finally:
                    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
                assert right, room
            assert failed and succeeded, (failed, succeeded)
            """
        run_child(script, make_file(4 << 20)[0], backend, RINGIO_BACKEND="")

    @pytest.mark.parametrize("limit", [8 << 20, 24 << 20])
    def test_limit_of_buffers(self, backend, make_file, limit):
        """Buffers stay below memory_limit_bytes, whatever the sizes of the requests, and all bytes are right."""
        path, data = make_file(12 << 20)
        rng = np.random.default_rng(1)
        with ringio.Reader(backend, workers=3, memory_limit_bytes=limit, max_gap_bytes=1 << 20) as reader:
            for most in (5_000, 300_000, limit // 8):
                lengths = rng.integers(1, most, 60)
                offsets = rng.integers(0, len(data) - most, 60)
                # Two ranges with a gap between them are one request, which needs a buffer.
                ranges = [(path, int(o), int(n) // 3) for o, n in zip(offsets, lengths, strict=True)]
                ranges += [(path, int(o) + int(n) // 2, int(n) // 3) for o, n in zip(offsets, lengths, strict=True)]
                got = reader.read_ranges(ranges)
                assert all(bytes(one) == data[o : o + n] for one, (_, o, n) in zip(got, ranges, strict=True))
            assert 0 < reader.statistics().peak_buffer_bytes <= limit

    def test_chunk_above_the_limit(self, backend, make_file):
        """A chunk that needs more than the limit is a MemoryLimitError that says so, and the others are read."""
        import zlib

        values = np.arange(6 << 20, dtype=np.uint8)
        encoded = zlib.compress(values.tobytes(), 1)
        path, _ = make_file(0)
        Path(path).write_bytes(encoded + zlib.compress(b"small"))
        tasks = [
            ringio.Task(0, (6 << 20,), (5,), (1000,), (0,)),  # a piece of it: there must be a buffer for the whole
            ringio.Task(1, (5,), (0,), (5,), (1000,)),
        ]
        ranges = [(path, 0, len(encoded)), (path, len(encoded), Path(path).stat().st_size - len(encoded))]
        plan = ringio.Plan(ranges, tasks, codecs=ringio.codecs.chain(["zlib"]), dtype="u1", max_request_bytes=1)
        out = np.zeros(1005, np.uint8)
        with ringio.Reader(backend, workers=1, memory_limit_bytes=8 << 20) as reader:
            ((number, error),) = reader.execute(plan, out, on_error="return")
            assert number == 0
            assert isinstance(error, ringio.MemoryLimitError)
            assert "bytes at once, the reader's memory limit leaves" in str(error)
            assert out[1000:].tobytes() == b"small"
        with ringio.Reader(backend, workers=1, memory_limit_bytes=32 << 20) as reader:
            reader.execute(plan, out)
            assert (out[:1000] == values[5:1005]).all()


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    """The compiled ``children/failing.c``."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    library = tmp_path_factory.mktemp("shim") / "failing.so"
    source = Path(__file__).parent / "children" / "failing.c"
    built = subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], capture_output=True)
    if built.returncode:
        pytest.skip(f"children/failing.c needs glibc: {built.stderr.decode()}")
    return library


OUT_OF_MEMORY = """
    import ctypes, sys, zlib
    import numpy as np
    import ringio

    path, backend = sys.argv[1:3]
    shim = ctypes.CDLL(None)
    data = open(path, "rb").read()
    ranges = [(path, i * 5000, 4000) for i in range(100)] + [(path, 0, None)] + [("/none", 0, 1)] * 50
    rights = [data[i * 5000 : i * 5000 + 4000] for i in range(100)] + [data] + [None] * 50


    def check(got):
        # The errors of the files that are not there are to be noted as well: that takes memory.
        for one, right in zip(got, rights):
            assert isinstance(one, (OSError, MemoryError)) or bytes(one) == right, "wrong bytes"


    def attempt(reader, n, forever):
        shim.failing_arm(n, forever)
        try:
            if reader:
                check(reader.read_ranges(ranges, on_error="return"))
            else:
                with ringio.Reader(backend, workers=2) as reader:
                    check(reader.read_ranges(ranges, on_error="return"))
                    check(reader.read_ranges(ranges[:2], on_error="return"))
        except (MemoryError, OSError, ringio.RingioError):
            pass
        finally:
            count = shim.failing_disarm()
        return count


    """


@linux
class TestOutOfMemory:
    def test_reads(self, run_child, shim, make_file, backend):
        """Each allocation, mapping and thread of a reader's life fails in turn: right bytes, MemoryError or OSError."""
        script = f"""{OUT_OF_MEMORY}
    for forever in (0, 1):
        old = ringio.Reader(backend, workers=2)
        n = 0
        while True:
            n += 1
            most = max(attempt(None, n, forever), attempt(old, n, forever))
            check(old.read_ranges(ranges, on_error="return"))
            if most < n:
                break
        assert bytes(old.read_ranges([(path, 0, None)])[0]) == data
        assert n > 10, n
    """
        run_child(script, make_file(1 << 20)[0], backend, LD_PRELOAD=str(shim), RINGIO_BACKEND="")

    @pytest.mark.parametrize("codec", ["blosc", "zstd", "gzip", "lz4", "zlib"])
    def test_decoding(self, run_child, shim, tmp_path, codec):
        """The same for each codec's own memory: right values, or an error of the chunks that had none."""
        import numcodecs

        values = np.random.default_rng(0).integers(0, 50, 40_000).astype("<i2")
        encoder = {"blosc": numcodecs.Blosc(shuffle=2), "zstd": numcodecs.Zstd(), "gzip": numcodecs.GZip()}
        encoder |= {"lz4": numcodecs.LZ4(), "zlib": numcodecs.Zlib()}
        encoded = bytes(encoder[codec].encode(values))
        path = tmp_path / "chunks"
        path.write_bytes(encoded * 12)
        script = f"""{OUT_OF_MEMORY}
    values = np.random.default_rng(0).integers(0, 50, 40_000).astype("<i2")
    nbytes = len(data) // 12
    tasks = [ringio.Task(i, (40_000,), (7,), (1000,), (i * 1000,)) for i in range(12)]
    codecs = ringio.codecs.chain([{{"id": sys.argv[3]}}])
    plan = ringio.Plan([(path, i * nbytes, nbytes) for i in range(12)], tasks, codecs=codecs, dtype="<i2")
    n, forever, most = 0, 0, 1
    while most >= n or not forever:
        n, forever = (n + 1, forever) if most >= n else (1, 1)
        out = np.zeros(12_000, "<i2")
        shim.failing_arm(n, forever)
        try:
            with ringio.Reader(backend, workers=2) as reader:
                failed = reader.execute(plan, out, on_error="return")
        except (MemoryError, OSError, ringio.RingioError) as error:
            failed = [(i, error) for i in range(12)]
        most = shim.failing_disarm()
        for i, error in failed:
            assert isinstance(error, (MemoryError, OSError)) or type(error) is ringio.RingioError, error
        for i in set(range(12)) - {{i for i, _ in failed}}:
            assert (out[i * 1000 : i * 1000 + 1000] == values[7:1007]).all(), "wrong values"
    assert not failed and n > 10, n
    """
        run_child(script, path, "threads", codec, LD_PRELOAD=str(shim), RINGIO_BACKEND="")


class TestPlaces:
    @linux
    @pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no /dev/shm")
    def test_tmpfs(self, backend):
        """Files in memory, of which no kernel says whether they are cached."""
        with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
            data = np.random.default_rng(0).bytes(1 << 20)
            file.write(data)
            file.flush()
            with ringio.Reader(backend, workers=2, max_gap_bytes=0) as reader:
                for _ in range(3):
                    got = reader.read_ranges([(file.name, i * 1000, 900) for i in range(1000)])
                    assert all(bytes(one) == data[i * 1000 : i * 1000 + 900] for i, one in enumerate(got))
                    assert bytes(reader.read_ranges([(file.name, 0, None)])[0]) == data

    @linux
    @pytest.mark.parametrize("name", ["/proc/version", "/proc/cpuinfo", "/sys/kernel/mm/transparent_hugepage/enabled"])
    def test_files_without_a_size(self, backend, name):
        """Files that the kernel makes up say that they are empty, or a page long: nothing comes that is not there."""
        if not Path(name).exists():
            pytest.skip(f"no {name}")
        with ringio.Reader(backend, workers=1) as reader:
            for asked in [(name, 0, None), (name, 0, 10), (name, 0, 4096)]:
                (got,) = reader.read_ranges([asked], on_error="return")
                assert isinstance(got, ringio.RangeError | OSError) or Path(name).read_bytes()[: len(got)] == bytes(got)


class TestFilesThatChange:
    """A writer works while a reader reads: what comes is of one version, or it is an error."""

    NBYTES = 300_000

    @pytest.fixture
    def path(self, tmp_path):
        path = tmp_path / "file"
        path.write_bytes(self.version(0))
        return path

    def version(self, number: int, nbytes: int = NBYTES) -> bytes:
        """Bytes that say of which version they are: each 4 of them are its number."""
        return np.full(nbytes // 4, number, "<u4").tobytes()

    def read_while(self, reader, path, write, *, rounds=100) -> tuple[int, int]:
        """Reads in a loop while ``write(0)``, ``write(1)`` ... run; gives how many batches came and how many failed."""
        stop = threading.Event()

        def work() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                write(number)

        writer = threading.Thread(target=work)
        writer.start()
        whole = failed = 0
        rng = np.random.default_rng(0)
        try:
            for i in range(rounds):
                offsets = rng.integers(0, self.NBYTES // 4 - 3000, 50) * 4
                ranges = [(path, int(offset), 12_000) for offset in offsets] if i % 2 else [(path, 0, None)]
                try:
                    got = reader.read_ranges(ranges)
                except (ringio.RangeError, ringio.FileChangedError, FileNotFoundError):
                    failed += 1
                    continue
                numbers = np.unique(np.concatenate([np.frombuffer(one, "<u4") for one in got]))
                assert len(numbers) <= 1, f"versions {numbers} in one batch"
                whole += 1
        finally:
            stop.set()
            writer.join()
        return whole, failed

    def test_replaced(self, reader, path):
        """Replaced by rename, as careful writers do: a batch is all of one version."""

        def write(number: int) -> None:
            new = path.with_name("new")
            new.write_bytes(self.version(number))
            new.replace(path)
            time.sleep(0.001)

        whole, _ = self.read_while(reader, path, write)
        assert whole

    def test_replaced_by_one_of_another_size(self, reader, path):
        """The same, now longer, now shorter."""

        def write(number: int) -> None:
            new = path.with_name("new")
            new.write_bytes(self.version(number, self.NBYTES + (number % 3 - 1) * 100_000))
            new.replace(path)

        self.read_while(reader, path, write)

    def test_appended(self, reader, path):
        """What was there is there, however much is added meanwhile."""

        def write(number: int) -> None:
            if number < 50:
                with path.open("ab") as file:
                    file.write(self.version(0, 4096))
            time.sleep(0.001)

        whole, _ = self.read_while(reader, path, write)
        assert whole

    def test_truncated_and_filled_up(self, reader, path):
        """Bytes that are there are right, bytes that are gone are an error: no zeros in between, and no SIGBUS."""

        def write(number: int) -> None:
            os.truncate(path, 40_000)
            with path.open("ab") as file:
                file.write(self.version(0)[40_000:])

        self.read_while(reader, path, write)
        assert bytes(reader.read_ranges([(path, 0, None)])[0]) == self.version(0)

    def test_deleted_and_made_again(self, reader, path):
        """It is there or it is not."""

        def write(number: int) -> None:
            new = path.with_name("new")
            new.write_bytes(self.version(number))
            path.unlink()
            new.replace(path)

        self.read_while(reader, path, write)

    def test_truncated_before_the_read(self, reader, path):
        """A file that has been cut since it was opened is seen to be short; grown again, it is read to its new end."""
        assert len(reader.read_ranges([(path, 0, None)])[0]) == self.NBYTES
        os.truncate(path, 100)
        with pytest.raises(ringio.RangeError, match="100 bytes"):
            reader.read_ranges([(path, 0, 1000)])
        assert len(reader.read_ranges([(path, 0, None)])[0]) == 100
        path.write_bytes(self.version(7))
        assert bytes(reader.read_ranges([(path, 0, None)])[0]) == self.version(7)
