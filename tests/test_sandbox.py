"""Sandboxes that refuse system calls: what a reader does then, and what it says."""

from __future__ import annotations

import platform
import sys

import pytest

import ringio

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's"),
    pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="the numbers of its system calls"),
]


@pytest.fixture(scope="module", autouse=True)
def has_io_uring():
    """Without io_uring there is nothing to refuse."""
    try:
        ringio.Reader("io_uring", workers=1).close()
    except ringio.BackendError as error:
        pytest.skip(f"no io_uring here: {error}")


class TestNoRing:
    @pytest.mark.parametrize("call", ["io_uring_setup", "io_uring_enter"])
    @pytest.mark.parametrize(
        ("number", "text"),
        [
            (
                "EPERM",
                "(Operation not permitted); likely the container's seccomp profile or sysctl kernel.io_uring_disabled",
            ),
            (
                "ENOSYS",
                "(Function not implemented); the kernel was built without io_uring, or a seccomp profile hides it",
            ),
            ("EACCES", "(Permission denied); likely a security module such as SELinux or AppArmor"),
        ],
    )
    def test_falls_back_and_says_why(self, run_child, make_file, call, number, text):
        """Auto takes threads and keeps the reason; io_uring by name is an error that says the same; reads are right."""
        path, _ = make_file(3 << 20)
        script = """
            import errno, sys
            import ringio, seccomp

            path, call, number = sys.argv[1:]
            data = open(path, "rb").read()
            seccomp.refuse(getattr(errno, number), getattr(seccomp, call.upper()))
            with ringio.Reader(workers=2) as reader:
                assert reader.backend == "threads"
                reason = reader.backend_reason
                ranges = [(path, i * 7000, 5000) for i in range(400)] + [(path, 0, None)]
                got = reader.read_ranges(ranges)
                assert [bytes(one) for one in got[:-1]] == [data[i * 7000 : i * 7000 + 5000] for i in range(400)]
                assert bytes(got[-1]) == data
            try:
                ringio.Reader("io_uring")
            except ringio.BackendError as error:
                assert reason == f"{error}; using 'threads'", (reason, str(error))
            else:
                raise SystemExit("io_uring by name did not fail")
            assert bytes(ringio.read_ranges([(path, 5, 5)])[0]) == data[5:10]
            print(reason)
            """
        reason = run_child(script, path, call, number, RINGIO_BACKEND="")
        assert reason.startswith(f"{call} returned {number} {text}")

    def test_environment_asks_by_name(self, run_child):
        """RINGIO_BACKEND=io_uring where it is refused is an error too, and an option goes before the variable."""
        script = """
            import errno
            import ringio, seccomp

            seccomp.refuse(errno.EPERM, seccomp.IO_URING_SETUP)
            try:
                ringio.Reader()
            except ringio.BackendError as error:
                assert "io_uring_setup returned EPERM" in str(error), error
            else:
                raise SystemExit("no error")
            assert ringio.Reader("threads").backend == "threads"
            """
        run_child(script, RINGIO_BACKEND="io_uring")

    def test_environment_avoids_the_ring(self, run_child):
        """With RINGIO_BACKEND=threads no ring is tried, so nothing is said about one that is refused."""
        script = """
            import errno
            import ringio, seccomp

            seccomp.refuse(errno.EPERM, seccomp.IO_URING_SETUP)
            reader = ringio.Reader()
            print(reader.backend, reader.backend_reason)
            """
        assert run_child(script, RINGIO_BACKEND="threads") == "threads asked for by name\n"


class TestPartOfIt:
    def test_no_registration(self, run_child, make_file):
        """Where io_uring_register is refused the ring is used all the same: registering only saves time."""
        path, _ = make_file(1 << 20)
        script = """
            import errno, sys
            import ringio, seccomp

            path = sys.argv[1]
            data = open(path, "rb").read()
            seccomp.refuse(errno.EPERM, seccomp.IO_URING_REGISTER)
            with ringio.Reader("io_uring", workers=2) as reader:
                got = reader.read_ranges([(path, i * 10_000, 5000) for i in range(100)])
                assert [bytes(one) for one in got] == [data[i * 10_000 : i * 10_000 + 5000] for i in range(100)]
            """
        run_child(script, path)

    @pytest.mark.parametrize("number", ["EPERM", "ENOSYS"])
    def test_closed_around_a_reader_in_use(self, run_child, make_file, number):
        """A sandbox that closes when the rings are there already costs the rings, not the bytes."""
        path, _ = make_file(4 << 20)
        script = """
            import errno, sys
            import ringio, seccomp

            path, number = sys.argv[1:]
            data = open(path, "rb").read()
            ranges = [(path, i * 8192, 5000) for i in range(500)]
            with ringio.Reader("io_uring", workers=2, max_gap_bytes=0) as reader:
                for attempt in range(3):
                    got = reader.read_ranges(ranges)
                    assert [bytes(one) for one in got] == [data[i * 8192 : i * 8192 + 5000] for i in range(500)]
                    if attempt == 0:
                        seccomp.refuse(getattr(errno, number), seccomp.IO_URING_SETUP, seccomp.IO_URING_ENTER)
            """
        run_child(script, path, number)

    @pytest.mark.parametrize("backend", ["io_uring", "threads"])
    @pytest.mark.parametrize("number", ["EPERM", "ENOSYS"])
    def test_no_preadv2(self, run_child, make_file, backend, number):
        """Without preadv2, as old profiles have it, nobody can ask what is cached: reads are right all the same."""
        path, _ = make_file(1 << 20)
        script = """
            import errno, sys
            import ringio, seccomp

            path, backend, number = sys.argv[1:]
            data = open(path, "rb").read()
            seccomp.refuse(getattr(errno, number), seccomp.PREADV2)
            with ringio.Reader(backend, workers=2) as reader:
                for count in (1, 100):
                    got = reader.read_ranges([(path, i * 10_000, 5000) for i in range(count)])
                    assert [bytes(one) for one in got] == [data[i * 10_000 : i * 10_000 + 5000] for i in range(count)]
            """
        run_child(script, path, backend, number)


class TestDirect:
    @pytest.mark.parametrize("call", ["io_setup", "io_submit", "io_getevents", "statx", "cachestat"])
    @pytest.mark.parametrize("direct", [True, "auto"])
    def test_refused(self, run_child, make_file, call, direct):
        """Whatever a sandbox takes away of what direct reads are made of, the bytes come."""
        path, _ = make_file(4 << 20)
        script = """
            import errno, os, sys
            import ringio, seccomp

            path, call, direct = sys.argv[1:]
            data = open(path, "rb").read()
            if getattr(seccomp, call.upper()) < 0:
                print("no number for", call)
                raise SystemExit(seccomp.CANNOT)
            seccomp.refuse(errno.EPERM, getattr(seccomp, call.upper()))
            os.sync()
            ranges = [(path, i * 100_003, 100_000) for i in range(40)]
            for backend in ("threads", "auto"):
                with open(path, "rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                with ringio.Reader(backend, workers=2, direct=direct if direct == "auto" else True) as reader:
                    got = reader.read_ranges(ranges)
                    assert [bytes(one) for one in got] == [data[o : o + n] for _, o, n in ranges]
            """
        run_child(script, path, call, direct, RINGIO_BACKEND="")
