"""Drafts give the plans that the single steps give, batch after batch in the same memory."""

from __future__ import annotations

import gc
import signal
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ringio
from ringio import Plan, _draft, _kernels, planning
from ringio._core import lib
from ringio.codecs import chain

CHUNK = (2, 3)
GRID = (4, 5)  # chunks in a file along each dimension
FILES = (2, 2)
SHAPE = tuple(chunk * inner * outer for chunk, inner, outer in zip(CHUNK, GRID, FILES, strict=True))
PER_FILE = GRID[0] * GRID[1]
NUMBERS = np.arange(SHAPE[0] * SHAPE[1], dtype="<u2").reshape(SHAPE)
CHUNK_NBYTES = 12


def make_grid() -> planning.Grid:
    """Of chunks in shards: files of 4 x 5 chunks of 2 x 3 items."""
    return planning.Grid(CHUNK, (6, 2), [GRID, (1, 1)], [(2 * PER_FILE, PER_FILE), (GRID[1], 1)])


def make_draft() -> planning.Draft:
    return planning.Draft(make_grid(), chain(["bytes"]).compile(CHUNK, np.dtype("<u2")), b"\xff\xff")


def layout_of(out: np.ndarray) -> np.ndarray:
    return planning.layout(source_strides=(6, 2), target_strides=out.strides[1:], itemsize=2, fill_offset=0)


class Files:
    """Shards with their index at the end, or files of one chunk each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.missing = {(0, 3), (2, 7), *((3, entry) for entry in range(PER_FILE))}  # (file, entry)
        self.indexes: list[np.ndarray] = []
        self.paths = [bytes(folder / f"shard{file}") for file in range(4)]
        for file, path in enumerate(self.paths):
            self._write(file, Path(path.decode()))
        self.truth = NUMBERS.copy()
        for chunk_file, entry in self.missing:
            self.truth[self.place(chunk_file * PER_FILE + entry)] = 0xFFFF

    @staticmethod
    def place(chunk_id: int) -> tuple[slice, slice]:
        file, entry = divmod(chunk_id, PER_FILE)
        row = (file // 2 * GRID[0] + entry // GRID[1]) * CHUNK[0]
        column = (file % 2 * GRID[1] + entry % GRID[1]) * CHUNK[1]
        return slice(row, row + CHUNK[0]), slice(column, column + CHUNK[1])

    def _write(self, file: int, path: Path) -> None:
        entries = np.full((PER_FILE, 2), planning.MISSING, np.uint64)
        data = b""
        for entry in np.random.default_rng(file).permutation(PER_FILE).tolist():
            if (file, entry) not in self.missing:
                entries[entry] = len(data), CHUNK_NBYTES
                data += NUMBERS[self.place(file * PER_FILE + entry)].tobytes()
        path.write_bytes(data + entries.tobytes())
        index = np.zeros(planning.INDEX_HEAD_NBYTES // 8 + 2 * PER_FILE, np.uint64)
        index[:5] = planning.stat([path])[:1].view(np.uint64)
        index[-2 * PER_FILE :] = entries.ravel()
        self.indexes.append(index)

    def find(self, draft: planning.Draft) -> bool:
        shards = draft.shards()
        return draft.find(
            [self.paths[shard] for shard in shards],
            [self.indexes[shard].ctypes.data if self.indexes[shard].size else 0 for shard in shards],
            16 * PER_FILE,
        )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("draft"))


@pytest.fixture(scope="module")
def draft() -> planning.Draft:
    return make_draft()


CROPS = st.lists(st.tuples(st.integers(0, SHAPE[0] - 5), st.integers(0, SHAPE[1] - 8)), min_size=1, max_size=12)


@given(starts=CROPS, gap=st.sampled_from([0, 12, 4096]), spaced=st.booleans())
def test_a_draft_reads_what_the_boxes_want(
    files: Files, draft: planning.Draft, starts: list[tuple[int, int]], gap: int, spaced: bool
) -> None:
    out = np.zeros((len(starts), 5, 8), "<u2")
    offsets = (0, out.strides[0]) if spaced else np.arange(len(starts)) * out.strides[0]
    draft.cut(starts, [[5, 8]], [[1, 1]], layout_of(out), offsets, ids_per_shard=PER_FILE)
    found = make_grid().intersect(starts, [[5, 8]], [[1, 1]], layout_of(out), np.arange(len(starts)) * out.strides[0])
    for got, want in zip(draft.intersection(), found, strict=True):
        np.testing.assert_array_equal(got, want)
    assert draft.chunk_count == len(found.chunk_ids)
    assert draft.shards() == sorted(set((found.chunk_ids // np.uint64(PER_FILE)).tolist()))
    assert files.find(draft)
    draft.finish(gap, 1 << 20)
    with ringio.Reader(workers=1) as reader:
        reader.execute(Plan.from_draft(draft), out)
    for crop, (row, column) in zip(out, starts, strict=True):
        np.testing.assert_array_equal(crop, files.truth[row : row + 5, column : column + 8])


@given(starts=CROPS)
def test_files_of_one_chunk(tmp_path_factory: pytest.TempPathFactory, starts: list[tuple[int, int]]) -> None:
    folder = tmp_path_factory.mktemp("files")
    truth = np.full(SHAPE, 0xFFFF, "<u2")
    grid = (SHAPE[0] // CHUNK[0], SHAPE[1] // CHUNK[1])
    for row in range(grid[0]):
        for column in range(0, grid[1], 1 + row % 2):
            place = slice(row * 2, row * 2 + 2), slice(column * 3, column * 3 + 3)
            truth[place] = NUMBERS[place]
            (folder / f"c.{row}.{column}").write_bytes(NUMBERS[place].tobytes())
    out = np.zeros((len(starts), 5, 8), "<u2")
    flat = planning.Grid(CHUNK, (6, 2), [(1, 1)], [(grid[1], 1)])
    draft = planning.Draft(flat, chain(["bytes"]).compile(CHUNK, np.dtype("<u2")), b"\xff\xff")
    draft.cut(starts, [[5, 8]], [[1, 1]], layout_of(out), (0, out.strides[0]))
    draft.name_files(bytes(folder / "c."), b".", (grid[1], 1))
    draft.finish(0, 1 << 20, missing_fills=True)
    plan = Plan.from_draft(draft)
    ids = draft.intersection().chunk_ids.tolist()
    assert plan.paths() == [f"{folder}/c.{number // grid[1]}.{number % grid[1]}" for number in ids]
    assert [draft.chunk_of(task) for task in range(plan.task_count)] == ids
    with ringio.Reader(workers=1) as reader:
        reader.execute(plan, out)
    for crop, (row, column) in zip(out, starts, strict=True):
        np.testing.assert_array_equal(crop, truth[row : row + 5, column : column + 8])


def test_an_array_without_dimensions(tmp_path: Path) -> None:
    draft = planning.Draft(planning.Grid((), (), [()], [()]), chain(["bytes"]).compile((), np.dtype("<u2")))
    out = np.zeros((), "<u2")
    layout = planning.layout(source_strides=(), target_strides=(), itemsize=2)
    draft.cut(np.zeros((1, 0)), np.zeros((1, 0)), np.zeros((1, 0)), layout, [0])
    draft.name_files(bytes(tmp_path / "c"), b"/", ())
    draft.finish(0, 100)
    (tmp_path / "c").write_bytes(b"\x05\x01")
    ringio.default_reader().execute(Plan.from_draft(draft), out)
    assert out == 0x105


def change(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data + b"\0")


@pytest.mark.parametrize("how", [change, Path.unlink])
@pytest.mark.parametrize("open_already", [False, True])
def test_a_file_that_is_another_one(tmp_path: Path, how, open_already: bool) -> None:
    files, draft = Files(tmp_path), make_draft()
    out = np.zeros((1, 2, 3), "<u2")
    with ringio.Reader(workers=1) as reader:
        if open_already:
            reader.read_ranges([(path, 0, 1) for path in files.paths])
        how(tmp_path / "shard1")
        draft.cut([[0, 15]], [[2, 3]], [[1, 1]], layout_of(out), [0], ids_per_shard=PER_FILE)
        assert files.find(draft)  # nobody has looked yet
        draft.finish(0, 1 << 20)
        with pytest.raises((ringio.FileChangedError, FileNotFoundError)) as caught:
            reader.execute(Plan.from_draft(draft, lambda task: f"chunk {draft.chunk_of(task)}"), out)
        assert "shard1" in str(caught.value)
        assert "chunk 20" in str(caught.value.__notes__ if hasattr(caught.value, "__notes__") else caught.value)


@pytest.mark.parametrize("how", [change, Path.unlink])
def test_a_file_of_which_nothing_is_read(tmp_path: Path, how) -> None:
    """All its chunks are missing: is that still so?"""
    files, draft = Files(tmp_path), make_draft()
    out = np.zeros((1, 2, 3), "<u2")
    draft.cut([[10, 15]], [[2, 3]], [[1, 1]], layout_of(out), [0], ids_per_shard=PER_FILE)
    assert draft.shards() == [3]
    assert files.find(draft)
    how(tmp_path / "shard3")
    assert not files.find(draft)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    files, draft = Files(tmp_path), make_draft()
    out = np.zeros((1, 2, 3), "<u2")
    (tmp_path / "shard1").rename(tmp_path / "elsewhere")
    files.indexes[1] = np.zeros(0)
    draft.cut([[0, 15]], [[2, 3]], [[1, 1]], layout_of(out), [0], ids_per_shard=PER_FILE)
    assert files.find(draft)
    draft.finish(0, 1 << 20)
    ringio.default_reader().execute(Plan.from_draft(draft), out)
    assert (out == 0xFFFF).all()
    (tmp_path / "elsewhere").rename(tmp_path / "shard1")
    assert not files.find(draft)


@pytest.mark.parametrize(
    "entry",
    [(0, 0), (0, 1 << 62), (1 << 63, 1 << 63), (planning.MISSING, 1), (0, planning.MISSING), (230, 11), (551, 9)],
)
def test_entries_that_cannot_be_right(tmp_path: Path, entry: tuple[int, int]) -> None:
    files, draft = Files(tmp_path), make_draft()
    out = np.zeros((1, 2, 3), "<u2")
    files.indexes[1][-2 * PER_FILE : -2 * PER_FILE + 2] = entry
    draft.cut([[0, 15]], [[2, 3]], [[1, 1]], layout_of(out), [0], ids_per_shard=PER_FILE)
    assert not files.find(draft)


def test_boxes_that_make_no_sense() -> None:
    draft, out = make_draft(), np.zeros((1, 2, 3), "<u2")
    layout = layout_of(out)
    for starts, counts, steps, offsets, chosen in [
        ([[-1, 0]], [[1, 1]], [[1, 1]], [0], None),
        ([[0, 0]], [[1, -1]], [[1, 1]], [0], None),
        ([[0, 0]], [[1, 1]], [[0, 1]], [0], None),
        ([[0]], [[1, 1]], [[1, 1]], [0], None),
        ([[0, 0]], [[1, 1], [1, 1]], [[1, 1]], [0], None),
        ([[0, 0]], [[1, 1]], [[1, 1]], [0, 0], None),
        ([[0, 0]], [[1, 1]], [[1, 1]], [0], [1]),
        ([[0, 0]], [[1, 1]], [[1, 1]], [0], [0, 0]),
    ]:
        with pytest.raises(ValueError):
            draft.cut(starts, counts, steps, layout, offsets, chosen)
    with pytest.raises(ValueError):
        draft.cut([[0, 0]], [[1, 1]], [[1, 1]], layout, [0], ids_per_shard=0)
    with pytest.raises(ValueError):
        draft.cut([[0, 0]], [[1, 1]], [[1, 1]], np.zeros(1), [0])
    with pytest.raises(MemoryError):
        draft.cut([[0, 0]], [[1 << 61, 1 << 61]], [[1, 1]], layout, [0])
    draft.cut([[0, 0]], [[1, 1]], [[1, 1]], layout, [0], ids_per_shard=PER_FILE)
    with pytest.raises(ValueError):
        draft.find([], [], 0)
    for names in [(b"a\0b", b"/", (1, 1)), (b"a", b"", (1, 1)), (b"a", b"/", (0, 1))]:
        with pytest.raises(ValueError):
            draft.name_files(*names)


def test_outside() -> None:
    rows = np.array([[0, 5], [3, 6], [-1, 0]])
    assert planning.outside(rows, (3, 6)) == 2
    assert planning.outside(rows[:2], (3, 6)) is None
    assert planning.outside(rows[:0], (0, 0)) is None
    for bad in [rows.astype("i4"), rows[:, :1], np.asfortranarray(rows)]:
        with pytest.raises(ValueError):
            planning.outside(bad, (1, 2))


@given(points=st.lists(st.tuples(st.integers(0, SHAPE[0] - 1), st.integers(0, SHAPE[1] - 1)), max_size=30))
def test_points(files: Files, draft: planning.Draft, points: list[tuple[int, int]]) -> None:
    out = np.zeros(len(points), "<u2")
    columns = np.array(points, np.int64).reshape(-1, 2).T
    layout = planning.layout(source_strides=(2,), target_strides=out.strides, itemsize=2, fill_offset=0)
    draft.cut_points(columns, layout, 0, ids_per_shard=PER_FILE)
    for got, want in zip(draft.intersection(), make_grid().intersect_points(columns, layout, 0), strict=True):
        np.testing.assert_array_equal(got, want)
    assert files.find(draft) or not points
    draft.finish(4096, 1 << 20)
    if points:
        ringio.default_reader().execute(Plan.from_draft(draft), out)
    np.testing.assert_array_equal(out, files.truth[tuple(columns)])


def test_points_that_make_no_sense() -> None:
    draft = make_draft()
    layout = planning.layout(source_strides=(2,), target_strides=(2,), itemsize=2)
    for columns, layouts, per_shard in [
        ([[-1], [0]], layout, 1),
        ([[0]], layout, 1),
        ([[0], [0, 1]], layout, 1),
        ([[0], [0]], layout, 0),
        ([[0], [0]], np.concatenate([layout, layout]), 1),
    ]:
        with pytest.raises(ValueError):
            draft.cut_points(columns, layouts, 0, ids_per_shard=per_shard)


def test_a_last_element_without_a_number_is_refused() -> None:
    """Numbers that overflow are an error, never a write behind what was counted."""
    grid = planning.Grid((8,), (1,), [(1,)], [(1,)])
    layout = planning.layout(source_strides=[1], target_strides=[1], itemsize=1)
    boxes = ([[0]], [[2**62 + 1]], [[4]], layout, [0])
    with pytest.raises((ringio.PlanError, OverflowError, ValueError, MemoryError)):
        grid.intersect(*boxes)
    with pytest.raises((ringio.PlanError, OverflowError, ValueError, MemoryError)):
        planning.Draft(grid, chain(["bytes"]).compile((8,), "u1"), b"\0").cut(*boxes)


def test_a_draft_of_raw_chunks_may_be_finished_again(tmp_path: Path) -> None:
    """What was narrowed to the wanted bytes is wide again when chunks are named once more."""
    (tmp_path / "c0").write_bytes(bytes(range(8)))
    grid = planning.Grid((8,), (1,), [(1,)], [(1,)])
    layout = planning.layout(source_strides=[1], target_strides=[1], itemsize=1)
    draft = planning.Draft(grid, chain(["bytes"]).compile((8,), "u1"), b"\0")
    draft.cut([[3]], [[4]], [[1]], layout, [0])
    for _ in range(2):
        draft.name_files(bytes(tmp_path / "c"), b"/", [1])
        draft.finish(0, 1 << 20, parts_of_files=True)
        out = np.zeros(4, "u1")
        ringio.Reader().execute(ringio.Plan.from_draft(draft), out)
        assert out.tolist() == [3, 4, 5, 6]


def test_a_draft_finished_twice_still_looks_at_the_size_of_files(tmp_path: Path) -> None:
    """Narrowed chunks are narrowed anew, or not at all if that is asked for; the plan is the same each time."""
    (tmp_path / "c0").write_bytes(bytes(range(8)))
    (tmp_path / "c1").write_bytes(bytes(range(9)))  # 8 are due
    grid = planning.Grid((8,), (1,), [(1,)], [(1,)])
    layout = planning.layout(source_strides=[1], target_strides=[1], itemsize=1)
    draft = planning.Draft(grid, chain(["bytes"]).compile((8,), "u1"), b"\0")
    reader = ringio.Reader()
    for start, is_good in ((3, True), (11, False)):
        draft.cut([[start]], [[4]], [[1]], layout, [0])
        draft.name_files(bytes(tmp_path / "c"), b"/", [1])
        requests = {}
        for parts_of_files in (True, True, False, False, True):
            draft.finish(0, 1 << 20, parts_of_files=parts_of_files)
            requests.setdefault(parts_of_files, draft.requests)
            assert (draft.requests == requests[parts_of_files]).all()
            out = np.zeros(4, "u1")
            plan = ringio.Plan.from_draft(draft)
            if is_good:
                assert reader.execute(plan, out).tolist() == [3, 4, 5, 6]
                continue
            with pytest.raises(ringio.DecodeError):
                reader.execute(plan, out)
        assert requests[True]["nbytes"].tolist() == [4]
        assert requests[False]["nbytes"].tolist() == [planning.TO_END]


# --------------------------------------------------------------------------------------------------------------- Ctrl-C


class Owner:
    """Owns memory that a kernel uses."""


class StoppedKernels:
    """The core, whose kernels do not begin before they are let go."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self.results: list[object] = []

    def __getattr__(self, name: str):
        kernel = getattr(lib, name)

        def run(*arguments):
            self.begun.set()
            assert self.go.wait(10)
            self.results.append(kernel(*arguments))
            return self.results[-1]

        return run


def wait_until(is_so: Callable[[], bool]) -> None:
    for _ in range(1000):
        if is_so():
            return
        time.sleep(0.01)
    pytest.fail("it did not come to be")


def interrupt_soon() -> None:
    """Ctrl-C in a tenth of a second."""
    main = threading.main_thread().ident
    assert main is not None
    threading.Timer(0.1, signal.pthread_kill, (main, signal.SIGINT)).start()


def test_ctrl_c_leaves_the_kernel_what_it_uses(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller is gone, and with it whatever held the indexes, but for what was given as ``keep``."""
    monkeypatch.setattr(_kernels, "_ITEMS_MAX", 0)
    out = np.zeros((1, 5, 8), "<u2")
    draft = make_draft()
    draft.cut([[0, 0]], [[5, 8]], [[1, 1]], layout_of(out), [0], ids_per_shard=PER_FILE)
    shards = draft.shards()
    stopped = StoppedKernels()
    owner = Owner()
    held = weakref.ref(owner)
    monkeypatch.setattr(_draft, "lib", stopped)
    interrupt_soon()
    with pytest.raises(KeyboardInterrupt):
        draft.find(
            [files.paths[shard] for shard in shards],
            [files.indexes[shard].ctypes.data for shard in shards],
            16 * PER_FILE,
            keep=owner,
        )
    del owner, draft
    gc.collect()
    assert stopped.begun.is_set()
    assert held() is not None
    stopped.go.set()
    wait_until(lambda: held() is None)
    assert stopped.results == [1]


# Where an exception comes out of Thread.start() itself, CPython says of the thread that it ignores a KeyError there.
@pytest.mark.filterwarnings("ignore:Exception ignored in thread started:pytest.PytestUnraisableExceptionWarning")
def test_storms_of_signals_while_planning(tmp_path: Path) -> None:
    """Wherever Ctrl-C comes between the calls and in them, what a kernel uses lives until it is done."""
    grid = planning.Grid((1,), (1,), [(1000,), (1,)], [(1000,), (1,)])
    count = 400_000  # more than are planned by the calling thread
    compiled = chain(["bytes"]).compile((1,), np.dtype("u1"))
    layout = planning.layout(source_strides=(1,), target_strides=(1,), itemsize=1)

    def plan() -> int:
        draft = planning.Draft(grid, compiled)
        starts = np.arange(count).reshape(-1, 1)
        ones = np.ones((1, 1), np.int64)
        draft.cut(starts, ones, ones, layout, (0, 1), ids_per_shard=1000)
        indexes = [np.zeros(planning.INDEX_HEAD_NBYTES // 8 + 2000, np.uint64) for _ in draft.shards()]
        for index in indexes:
            index[2] = 1 << 40  # bytes of the file
            index[-2000:] = (5, 1) * 1000
        addresses = [index.ctypes.data for index in indexes]
        assert draft.find([b"a"] * len(indexes), addresses, 16_000, keep=indexes)
        draft.finish(0, 1 << 20)
        return draft.task_count

    class Alarm(Exception):
        pass

    def ring(number: int, frame: object) -> None:
        raise Alarm

    before = signal.signal(signal.SIGALRM, ring)
    rung = 0
    try:
        for delay_ms in range(1, 120, 4):
            try:
                signal.setitimer(signal.ITIMER_REAL, delay_ms / 1000)
                plan()
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Alarm:
                rung += 1
        assert plan() == count
    finally:
        signal.signal(signal.SIGALRM, before)
    assert rung


def test_what_a_kernel_raises_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it runs beside the calling thread, or where the system gives no thread for that, too."""
    monkeypatch.setattr(_kernels, "_ITEMS_MAX", 0)
    draft, out = make_draft(), np.zeros((1, 2, 3), "<u2")
    draft.cut([[0, 0]], [[1, 1]], [[1, 1]], layout_of(out), [0], ids_per_shard=PER_FILE)
    with pytest.raises(OverflowError):
        draft.finish(1 << 64, 1)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    draft.cut([[0, 0]], [[1, 1]], [[1, 1]], layout_of(out), [0], ids_per_shard=PER_FILE)
    assert draft.chunk_count == 1
