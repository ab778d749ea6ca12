"""System calls that fail, are interrupted or say less than the truth: right bytes, or an exception that says why.

Whatever happens, nothing crashes or hangs, and readers are usable afterwards. In strace's language ``when=2+3`` means
that the 2nd such call of each thread is tampered with, and every 3rd after that.
"""

from __future__ import annotations

import json
import re
import shutil
import sys

import pytest

import ringio

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="strace is Linux's"),
    pytest.mark.skipif(shutil.which("strace") is None, reason="no strace"),
]

# Two readers: the threads and rings of the one, and all of the other, are made while system calls go wrong.
SCRIPT = """
    import json, sys
    import ringio
    from tracing import injected

    small, large, backend, *batches = sys.argv[1:]
    data = open(small, "rb").read()
    ranges = [(small, i * 16_384, 6000) for i in range(60)] + [(large, 0, None)]
    rights = [data[i * 16_384 : i * 16_384 + 6000] for i in range(60)] + [open(large, "rb").read()]


    def run(batch):
        errors = set()
        readers = [ringio.Reader(backend, workers=2, max_gap_bytes=0)]
        with injected(*batch.split()):
            for _ in range(2):
                try:
                    for one, right in zip(readers[-1].read_ranges(ranges, on_error="return"), rights):
                        if isinstance(one, Exception):
                            errors.add(f"{type(one).__name__}: {one}")
                        else:
                            assert bytes(one) == right, f"wrong bytes: {batch}"
                    if len(readers) == 1:
                        readers.append(ringio.Reader(backend, workers=2, max_gap_bytes=0))
                except (OSError, MemoryError, ringio.RingioError) as error:
                    errors.add(f"{type(error).__name__}: {error}")
        for reader in readers:
            assert [bytes(one) for one in reader.read_ranges(ranges)] == rights, f"wrong bytes afterwards: {batch}"
            reader.close()
        return sorted(errors)


    print(json.dumps([run(batch) for batch in batches]))
    """


@pytest.fixture
def run(run_child, make_file):
    """Reads while system calls go wrong, a batch for each string of expressions; gives the errors met in each."""
    small, large = make_file(1 << 20)[0], make_file(300_000)[0]

    def run(backend: str, batches: list[str]) -> list[list[str]]:
        try:
            ringio.Reader(backend, workers=1).close()
        except ringio.BackendError as error:
            pytest.skip(f"no {backend} here: {error}")
        return json.loads(run_child(SCRIPT, small, large, backend, *batches, RINGIO_BACKEND=""))

    return run


def assert_only(errors: list[str], *patterns: str) -> None:
    """At least one error, and each of them is one of these."""
    assert errors
    for error in errors:
        assert any(re.match(pattern, error) for pattern in patterns), error


NO_THREADS = "RingioError: a batch could not be started: the system gives no more threads"


class TestRing:
    @pytest.mark.parametrize("number", ["EINTR", "EAGAIN", "EBUSY"])
    def test_passing_refusals_are_not_seen(self, run, number):
        """A submission or a wait that is interrupted or refused for the moment is done again."""
        batches = [f"io_uring_enter:error={number}:when={when}" for when in ("2", "2+2", "3+3")]
        assert run("io_uring", batches) == [[]] * 3

    def test_interrupted_self_test(self, run):
        """A signal during the self-test of the first ring is no reason to have no ring."""
        assert run("io_uring", ["io_uring_enter:error=EINTR:when=1"]) == [[]]

    @pytest.mark.parametrize("number", ["EPERM", "EBADF", "EFAULT", "ENOMEM"])
    def test_ring_that_breaks(self, run, number):
        """A ring that is of no use any more costs at most the reads that are in it; later ones go without it."""
        for errors in run("io_uring", [f"io_uring_enter:error={number}:when={when}" for when in ("1+", "2+", "3+")]):
            if errors:
                assert_only(errors, r"OSError: \[Errno 5\]", "BackendError: io_uring_enter returned (errno|E)")

    def test_ring_that_cannot_be_made(self, run):
        """Auto does without; asked by name it is an error; and a worker that gets no ring reads without one."""
        numbers = ["ENOMEM", "EPERM", "EMFILE", "EINVAL"]
        batches = [f"io_uring_setup:error={number}" for number in numbers]
        assert run("auto", batches) == [[]] * 4
        for number, errors in zip(numbers, run("io_uring", batches), strict=True):
            assert_only(errors, f"BackendError: io_uring_setup returned {number}")

    def test_lesser_ring(self, run):
        """Where memory is short, or flags are unknown, a lesser ring does."""
        makings = [f"io_uring_setup:error={number}:when=1" for number in ("ENOMEM", "EINVAL")]
        batches = [*makings, "io_uring_register:error=EPERM"]
        assert run("io_uring", batches) == [[]] * 3


class TestReads:
    @pytest.mark.parametrize("backend", ["threads", "io_uring"])
    def test_half_truths_are_not_believed(self, run, backend):
        """Interrupted, "would wait", "not known here", no bytes although there are some: they come all the same."""
        batches = [
            "preadv2:error=EINTR:when=2+2",
            "preadv2:error=EAGAIN",
            "preadv2:error=EOPNOTSUPP",
            "preadv2:error=EOPNOTSUPP:when=5",
            "preadv2:retval=0:when=2+3",
            "preadv2:error=EOPNOTSUPP pread64:error=EINTR:when=1+2",
            "preadv2:error=EOPNOTSUPP pread64:retval=0:when=2+4",
            "preadv2:error=EAGAIN fadvise64:error=EINVAL",
        ]
        assert run(backend, batches) == [[]] * len(batches)

    def test_failed_reads(self, run):
        """EIO is an OSError of the ranges that it hits, and of no others."""
        batches = [f"preadv2:error=EAGAIN pread64:error=EIO:when={when}" for when in ("1", "3", "5+7", "1+")]
        for errors in run("threads", batches):
            assert_only(errors, r"OSError: \[Errno 5\] Input/output error: '/.*file-[12]'$")


class TestFiles:
    @pytest.mark.parametrize("backend", ["io_uring", "threads", "memory"])
    def test_passing_refusals_are_not_seen(self, run, backend):
        """An open that finds no free descriptor, or is interrupted, is tried again once files are closed."""
        batches = [f"openat:error={number}:when=1" for number in ("EMFILE", "ENFILE", "EINTR")]
        assert run(backend, batches) == [[]] * 3

    @pytest.mark.parametrize("backend", ["threads", "memory"])
    def test_the_system_says_why(self, run, backend):
        """Other refusals are OSErrors with errno and filename."""
        due = {
            "openat:error=EMFILE": r"OSError: \[Errno 24\] Too many open files: '/.*file-[12]'$",
            "openat:error=EACCES": r"PermissionError: \[Errno 13\] Permission denied: '/.*file-[12]'$",
            "openat:error=EIO": r"OSError: \[Errno 5\] Input/output error: '/.*file-[12]'$",
            "/^(newfstatat|fstat|stat|statx)$:error=EIO": r"OSError: \[Errno 5\] Input/output error: '/.*file-[12]'$",
            "fcntl:error=EBADF": r"OSError: \[Errno 9\] Bad file descriptor: '/.*file-[12]'$",
        }
        for pattern, errors in zip(due.values(), run(backend, list(due)), strict=True):
            assert_only(errors, pattern)


class TestMemoryAndThreads:
    @pytest.mark.parametrize("backend", ["io_uring", "threads"])
    @pytest.mark.parametrize("call", ["mmap", "munmap", "mprotect", "madvise"])
    def test_no_memory(self, run, backend, call):
        """Wherever the kernel has no memory for us: the read succeeds, or it is a MemoryError or an OSError."""
        whens = ("1", "2", "3", "4", "5", "6", "8", "1+")
        allowed = ("MemoryError", r"OSError: \[Errno 12\]", NO_THREADS, "BackendError: io_uring")
        for errors in run(backend, [f"{call}:error=ENOMEM:when={when}" for when in whens]):
            if errors:
                assert_only(errors, *allowed)

    @pytest.mark.parametrize("backend", ["io_uring", "threads"])
    def test_fewer_threads(self, run, backend):
        """Workers that cannot be started are done without; with none at all the batch is refused."""
        some, none = run(backend, ["/^clone:error=EAGAIN:when=2", "/^clone:error=EAGAIN"])
        assert some == []
        assert_only(none, NO_THREADS)
