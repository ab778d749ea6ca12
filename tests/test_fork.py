"""Processes made from a process that reads: children read on, none hangs, and the parent is undisturbed."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import zarr

import ringio
import ringio_zarr

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork() here"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning", "ignore::Warning:zarr"),
]

SHAPE = (64, 96)
CROPS = np.random.default_rng(0).integers(0, (48, 80), (50, 2))


@pytest.fixture(scope="module")
def truth() -> np.ndarray[Any, Any]:
    return np.random.default_rng(1).integers(-999, 999, SHAPE).astype("<i2")


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory, truth: np.ndarray[Any, Any]) -> str:
    """A sharded array: reads go through the cache of shard indexes too."""
    path = str(tmp_path_factory.mktemp("fork") / "a.zarr")
    zarr.create_array(path, shape=SHAPE, dtype="<i2", chunks=(8, 8), shards=(32, 32))[...] = truth
    return path


@pytest.fixture
def own_reader(backend: str):
    """A reader that a test may spoil."""
    with ringio.Reader(backend, workers=2) as reader:
        yield reader


@pytest.fixture
def array(location: str, own_reader: ringio.Reader):
    """An open array that has been read from."""
    array = ringio_zarr.open_array(location, reader=own_reader)
    array[...]
    return array


def is_right(array: ringio_zarr.Array, truth: np.ndarray[Any, Any]) -> bool:
    """Large and small reads, by the workers and by the calling thread, against numpy."""
    crops = array.read_crops(CROPS, (16, 16))
    return (
        np.array_equal(array[...], truth)
        and array[3, 5] == truth[3, 5]
        and all(np.array_equal(crop, truth[y : y + 16, x : x + 16]) for crop, (y, x) in zip(crops, CROPS, strict=True))
    )


def start(function: Callable[[], bool]) -> int:
    """A child of fork() that exits with 0 where the function gives True, 1 where not; killed when it hangs."""
    pid = os.fork()
    if pid:
        return pid
    status = 2
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(30)
        status = 0 if function() else 1
    except BaseException as error:  # a child must never come back into pytest
        os.write(2, f"in the child: {error!r}\n".encode())
    finally:
        os._exit(status)


def ends_well(pid: int) -> bool:
    """Whether a child exits with 0."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


class TestChild:
    def test_at_rest(self, array, truth):
        """Parent and child go on with the same open array, one after the other and at the same time."""
        children = [start(lambda: is_right(array, truth)) for _ in range(3)]
        assert is_right(array, truth)
        assert all(map(ends_well, children))
        assert is_right(array, truth)

    def test_reader_never_used_before(self, location, backend, truth):
        """A reader that had no threads and no ring yet gets them in the child."""
        with ringio.Reader(backend, workers=2) as reader:
            array = ringio_zarr.open_array(location, reader=reader)
            assert ends_well(start(lambda: is_right(array, truth)))
            assert is_right(array, truth)

    def test_grandchild(self, array, truth):
        """A child of a child reads too, and the child goes on after it."""

        def child() -> bool:
            before = is_right(array, truth)
            return before and ends_well(start(lambda: is_right(array, truth))) and is_right(array, truth)

        assert ends_well(start(child))
        assert is_right(array, truth)

    def test_grandchild_of_a_child_that_never_read(self, array, truth):
        """Forked twice in a row, as a daemon does."""
        assert ends_well(start(lambda: ends_well(start(lambda: is_right(array, truth)))))

    def test_child_closes_the_reader(self, array, own_reader, location, truth):
        """What a child closes stays open in the parent."""

        def child() -> bool:
            own_reader.close()
            with ringio.Reader(own_reader.backend) as reader:
                return is_right(ringio_zarr.open_array(location, reader=reader), truth)

        assert ends_well(start(child))
        assert is_right(array, truth)

    def test_child_closes_a_reader_that_it_used(self, array, own_reader, location, truth, our_threads, our_files):
        """The threads, rings and files that a child has got end with its reader."""

        def child() -> bool:
            right = is_right(array, truth)
            own_reader.close()
            return right and our_threads() == 0 and our_files(location) == []

        assert ends_well(start(child))
        assert is_right(array, truth)

    def test_many_threads_in_the_child(self, array, truth):
        """A child may read from many threads, as its parent may."""

        def child() -> bool:
            right = []
            threads = [threading.Thread(target=lambda: right.append(is_right(array, truth))) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return right == [True] * 8

        assert ends_well(start(child))


class TestWhileOthersRead:
    def test_threads_that_read(self, array, truth):
        """A child of a process whose threads are in the midst of reads: it has none of them, and reads all the same."""
        stop = threading.Event()
        wrong = []

        def work() -> None:
            while not stop.is_set():
                if not is_right(array, truth):
                    wrong.append(1)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(5):
                assert ends_well(start(lambda: is_right(array, truth)))
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert not wrong

    def test_threads_that_open_and_close_readers(self, backend, location, truth):
        """The list of all readers, which fork() goes through, may change at the same time."""
        stop = threading.Event()

        def work() -> None:
            while not stop.is_set():
                with ringio.Reader(backend, workers=1) as reader:
                    assert ringio_zarr.open_array(location, reader=reader)[0, 0] == truth[0, 0]

        def child() -> bool:
            with ringio.Reader(backend, workers=1) as reader:
                return is_right(ringio_zarr.open_array(location, reader=reader), truth)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            for _ in range(8):
                assert ends_well(start(child))
        finally:
            stop.set()
            thread.join()

    @pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
    def test_another_program(self, array):
        """A program that is started meanwhile inherits no ring and no file of ours."""
        listing = subprocess.check_output(["ls", "-l", "/proc/self/fd"], text=True, close_fds=False)
        assert "io_uring" not in listing
        assert "a.zarr" not in listing


class TestExit:
    @pytest.mark.parametrize("way", ["sys.exit(0)", "os._exit(0)", "pass"])
    def test_ways_to_end(self, run_child, location, way):
        """A child may end in any way, having read or not, with handlers at exit or without; so may the parent."""
        script = f"""
            import os, signal, sys
            import ringio, ringio_zarr

            array = ringio_zarr.open_array(sys.argv[1])
            total = int(array[...].sum())
            for reads in (False, True):
                pid = os.fork()
                if pid == 0:
                    signal.alarm(30)
                    if reads:
                        assert int(array[...].sum()) == total
                    {way}
                    if {way == "pass"}:
                        sys.exit(0)
                assert os.waitpid(pid, 0)[1] == 0
            assert int(array[...].sum()) == total
            {way}
            """
        run_child(script, location)

    def test_parent_ends_first(self, run_child, location):
        """A child whose parent has ended, and with it the workers and rings of before, reads on."""
        script = """
            import os, signal, sys, time
            import ringio_zarr

            array = ringio_zarr.open_array(sys.argv[1])
            total = int(array[...].sum())
            parent = os.getpid()
            if os.fork() == 0:
                signal.alarm(30)
                while os.getppid() == parent:
                    time.sleep(0.01)
                print(int(array[...].sum()) == total)
            """
        assert run_child(script, location) == "True\n"


class TestMultiprocessing:
    @pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
    def test_pool(self, run_child, location, method):
        """Pools of every kind take arrays and readers as arguments, while the parent has them open and in use."""
        script = """
            import multiprocessing, sys
            import ringio, ringio_zarr


            def total(array, row):
                return int(array[row].sum())


            def head(reader, path):
                return bytes(reader.read_ranges([(path, 0, 20)])[0])


            if __name__ == "__main__":
                location, method = sys.argv[1:]
                array = ringio_zarr.open_array(location)
                rows = [total(array, row) for row in range(64)]
                reader = ringio.Reader("threads", workers=1)
                path = location + "/zarr.json"
                with multiprocessing.get_context(method).Pool(2) as pool:
                    job = pool.starmap_async(total, [(array, row) for row in range(64)], chunksize=8)
                    assert [total(array, row) for row in range(64)] == rows
                    assert job.get(30) == rows
                    assert pool.starmap(head, [(reader, path)] * 3) == [head(reader, path)] * 3
                    pool.close()
                    pool.join()
            """
        run_child(script, location, method)

    @pytest.mark.parametrize("method", ["fork", "spawn"])
    def test_data_loader(self, run_child, location, method):
        """Like torch's DataLoader: workers that stay for some epochs, get indices and send crops, with the dataset from
        the parent, which reads too."""
        script = """
            import multiprocessing, sys
            import numpy as np
            import ringio_zarr


            class Crops:
                def __init__(self, location):
                    self.array = ringio_zarr.open_array(location)
                    self.starts = np.random.default_rng(0).integers(0, (48, 80), (96, 2))

                def batch(self, indices):
                    return self.array.read_crops(self.starts[indices], (16, 16))


            def work(dataset, indices, batches):
                for number, chosen in iter(indices.get, None):
                    batches.put((number, dataset.batch(chosen)))


            if __name__ == "__main__":
                location, method = sys.argv[1:]
                context = multiprocessing.get_context(method)
                dataset = Crops(location)
                dataset.batch([0, 1])
                batches = context.Queue()
                queues = [context.Queue() for _ in range(2)]
                workers = [context.Process(target=work, args=(dataset, queue, batches)) for queue in queues]
                for worker in workers:
                    worker.start()
                for epoch in range(3):
                    order = np.random.default_rng(epoch).permutation(96).reshape(12, 8)
                    for number, chosen in enumerate(order):
                        queues[number % 2].put((number, chosen))
                    got = dict(batches.get(timeout=30) for _ in order)
                    for number, chosen in enumerate(order):
                        assert np.array_equal(got[number], dataset.batch(chosen))
                for queue in queues:
                    queue.put(None)
                for worker in workers:
                    worker.join(30)
                    assert worker.exitcode == 0
            """
        run_child(script, location, method)

    def test_default_reader_across(self, location, truth):
        """An array on the shared reader, sent to a child by pickle, is on the shared reader there."""
        array = ringio_zarr.open_array(location)
        sent = pickle.dumps(array)
        assert is_right(array, truth)
        assert ends_well(start(lambda: is_right(pickle.loads(sent), truth)))
        assert pickle.loads(sent) == array
