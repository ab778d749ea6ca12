"""Plans against numpy: boxes of encoded chunks, put together in arrays of any strides, once per backend."""

from __future__ import annotations

import gzip
import signal
import threading
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ringio
from ringio import Plan, Task, Tasks, planning
from ringio._kernels import call_kernel
from ringio.codecs import chain

DTYPES = ["u1", "<i2", ">i4", "<f8", "<c16", "S3", "<M8[s]"]


@dataclass
class Case:
    """Chunks in a file, tasks over them, and what they should give."""

    path: str
    ranges: list
    tasks: list
    dtype: np.dtype
    chunks: list
    shape: tuple
    codecs: object

    def assemble(self, out, fill):
        """Do all tasks with numpy."""
        for task in self.tasks:
            place = tuple(
                slice(start, start + count) for start, count in zip(task.target_start, task.counts, strict=True)
            )
            if task.range_index is None:
                out[place] = fill
                continue
            steps = task.source_step or (1,) * len(task.counts)
            box = tuple(
                slice(start, start + count * step, step)
                for start, count, step in zip(task.source_start, task.counts, steps, strict=True)
            )
            out[place] = self.chunks[task.range_index][box]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("chunks")


@st.composite
def cases(draw):
    """Arrays cut into chunks, each chunk with boxes that are put at disjoint places of a target."""
    ndim = draw(st.integers(0, 4))
    chunk_shape = tuple(draw(st.integers(1, 6)) for _ in range(ndim))
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    codec = draw(st.sampled_from([None, "bytes", "zlib", "gzip", "transpose"])) if ndim else None
    rng = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    chunk_count = draw(st.integers(1, 5))
    chunks = [
        np.frombuffer(rng.bytes(int(np.prod(chunk_shape)) * dtype.itemsize), dtype).reshape(chunk_shape)
        for _ in range(chunk_count)
    ]
    tasks = []
    row = 0  # places follow each other along the first dimension, so that they are disjoint
    for _ in range(draw(st.integers(0, 8))):
        chunk = draw(st.one_of(st.none(), st.integers(0, chunk_count - 1)))
        start, counts, steps = [], [], []
        for extent in chunk_shape:
            start.append(draw(st.integers(0, extent - 1)))
            steps.append(draw(st.integers(1, 3)))
            counts.append(draw(st.integers(0, (extent - 1 - start[-1]) // steps[-1] + 1)))
        target = [draw(st.integers(0, 3)) for _ in chunk_shape]
        if ndim:
            target[0] = row
            row += counts[0]
        elif tasks:
            break
        tasks.append(Task(chunk, chunk_shape, tuple(start), tuple(counts), tuple(target), tuple(steps)))
    shape = tuple(max([1] + [task.target_start[i] + task.counts[i] for task in tasks]) for i in range(ndim))
    return chunks, tasks, dtype, shape, codec


def write_case(folder: Path, drawn) -> Case:
    chunks, tasks, dtype, shape, codec = drawn
    blob, ranges = b"head", []
    path = str(folder / "chunks")
    for chunk in chunks:
        if codec == "transpose":
            encoded = np.ascontiguousarray(chunk.transpose()).tobytes()
        else:
            encoded = {"zlib": zlib.compress, "gzip": gzip.compress}.get(codec, bytes)(chunk.tobytes())
        ranges.append((path, len(blob), len(encoded)))
        blob += encoded + b"gap"
    Path(path).write_bytes(blob)
    endian = "big" if dtype.byteorder == ">" else "little"
    stored = {"name": "bytes", "configuration": {"endian": endian}}
    order = list(reversed(range(len(shape))))
    codecs = {
        None: None,
        "bytes": chain([stored]),
        "zlib": chain([stored, "zlib"]),
        "gzip": chain([stored, "gzip"]),
        "transpose": chain([{"name": "transpose", "configuration": {"order": order}}, stored]),
    }[codec]
    return Case(path, ranges, tasks, dtype, chunks, shape, codecs)


class TestAgainstNumpy:
    @given(cases(), st.sampled_from(["C", "F", "negative", "every second"]), st.sampled_from([0, 4096]))
    def test_boxes_in_arrays_of_any_strides(self, reader, folder, drawn, layout, gap):
        case = write_case(folder, drawn)
        fill = np.frombuffer(b"\x05" * case.dtype.itemsize, case.dtype)[0]
        shape = [2 * extent + 4 for extent in case.shape]
        room = bytearray(b"\xee" * (int(np.prod(shape)) * case.dtype.itemsize))
        memory = np.ndarray(shape, case.dtype, room, order="F" if layout == "F" else "C")
        inner = tuple(slice(2, 2 + extent) for extent in case.shape)
        if layout == "every second":
            inner = tuple(slice(2, 2 + 2 * extent, 2) for extent in case.shape)
        if layout == "negative":
            inner = tuple(slice(1 + extent, 1, -1) for extent in case.shape)
        expected = memory.copy(order="K")
        case.assemble(expected[inner] if case.shape else expected, fill)
        out = memory[inner] if case.shape else memory
        plan = Plan(case.ranges, case.tasks, codecs=case.codecs, dtype=case.dtype, fill_value=fill, max_gap_bytes=gap)
        assert reader.execute(plan, out) is out
        assert memory.tobytes() == expected.tobytes()

    def test_each_chunk_is_decoded_once(self, reader, make_file):
        path, data = make_file(64)
        tasks = [Task(0, (64,), (i,), (8,), (8 * k,)) for k, i in enumerate([0, 30, 3, 56, 0])]
        before = reader.statistics()
        out = np.zeros(40, "u1")
        reader.execute(Plan([(path, 0, 64)], tasks, dtype="u1"), out)
        assert bytes(out) == b"".join(data[i : i + 8] for i in [0, 30, 3, 56, 0])
        done = reader.statistics() - before
        assert (done.requests, done.tasks, done.projections, done.bytes_decoded) == (1, 1, 5, 64)

    def test_several_targets(self, reader, make_file):
        path, data = make_file(100)
        tasks = Tasks([0, 0, 1], [50], [[0], [10], [5]], [[10], [3], [45]], [[0], [1], [4]], target_index=[0, 1, 1])
        first, second = np.zeros(10, "u1"), np.zeros(60, "u1")[::-1]
        reader.execute(Plan([(path, 0, 50), (path, 50, 50)], tasks, dtype="u1"), [first, second])
        assert bytes(first) == data[:10]
        assert bytes(second[1:4]) == data[10:13]
        assert bytes(second[4:49]) == data[55:100]

    def test_chunks_of_different_shapes(self, reader, make_file):
        path, data = make_file(36)
        tasks = [Task(0, (2, 3), (0, 0), (2, 3), (0, 0)), Task(1, (3, 4), (1, 1), (2, 3), (2, 0))]
        out = np.zeros((4, 3), "<u2")
        reader.execute(Plan([(path, 0, 12), (path, 12, 24)], tasks, dtype="<u2"), out)
        assert (out[:2] == np.frombuffer(data[:12], "<u2").reshape(2, 3)).all()
        assert (out[2:] == np.frombuffer(data[12:], "<u2").reshape(3, 4)[1:, 1:]).all()

    def test_whole_files(self, reader, tmp_path):
        """A range to the end of its file holds an encoded chunk of whatever size."""
        for i in range(5):
            (tmp_path / str(i)).write_bytes(zlib.compress(bytes([i]) * 10))
        tasks = [Task(i, (10,), (0,), (10,), (10 * i,)) for i in range(7)]
        ranges = [(tmp_path / str(i), 0, None) for i in range(7)]
        plan = Plan(ranges, tasks, codecs=chain(["zlib"]), dtype="u1", fill_value=99, missing_fills=True)
        out = reader.execute(plan, np.zeros(70, "u1"))
        assert out.tolist() == [i if i < 5 else 99 for i in range(7) for _ in range(10)]
        with pytest.raises(FileNotFoundError) as caught:
            reader.execute(Plan(ranges, tasks, codecs=chain(["zlib"]), dtype="u1", fill_value=99), out)
        assert caught.value.filename == str(tmp_path / "5")

    @pytest.mark.opens_files
    def test_a_request_above_2_gib(self, reader, sparse_file):
        """Longer than what any system call reads at once, straight into the target."""
        if reader.backend == "memory":
            pytest.skip("the memory backend would hold the whole file")
        nbytes = sparse_file.stat().st_size - 1
        out = np.empty(nbytes, "u1")
        reader.execute(Plan([(sparse_file, 1, nbytes)], [Task(0, (nbytes,), (0,), (nbytes,), (0,))], dtype="u1"), out)
        assert bytes(out[:3]) == b"\0\0\0"
        assert bytes(out[-3:]) == b"end"


@pytest.fixture(scope="module")
def sparse_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("sparse") / "huge"
    with path.open("wb") as file:
        file.truncate((2 << 30) + 5000)
        file.seek((2 << 30) + 4997)
        file.write(b"end")
    yield path
    path.unlink()


class TestErrors:
    @pytest.fixture
    def chunk_file(self, tmp_path):
        """Four zlib chunks of ten bytes, the second one damaged."""
        encoded = [zlib.compress(bytes([i]) * 10) for i in range(4)]
        encoded[1] = encoded[1][:-1] + b"?"
        path = tmp_path / "chunks"
        path.write_bytes(b"".join(encoded))
        ends = np.cumsum([len(part) for part in encoded]).tolist()
        return [(path, end - len(part), len(part)) for end, part in zip(ends, encoded, strict=True)]

    def test_one_bad_chunk_leaves_the_others_intact(self, reader, chunk_file):
        tasks = [Task(i, (10,), (0,), (10,), (10 * i,)) for i in range(4)]
        plan = Plan(chunk_file, tasks, codecs=chain(["zlib"]), dtype="u1")
        out = np.full(40, 0xEE, "u1")
        [(_, error)] = reader.execute(plan, out, on_error="return")
        assert isinstance(error, ringio.DecodeError)
        assert out[:10].tolist() == [0] * 10
        assert out[20:].tolist() == [2] * 10 + [3] * 10
        path, offset, length = chunk_file[1]
        with pytest.raises(
            ringio.DecodeError, match=f"zlib: task 1 in {path}, bytes {offset}-{offset + length}"
        ) as caught:
            reader.execute(plan, out)
        assert (caught.value.path, caught.value.offset, caught.value.length) == (str(path), offset, length)

    def test_wrong_size_says_both(self, reader, chunk_file):
        plan = Plan(chunk_file[:1], [Task(0, (11,), (0,), (11,), (0,))], codecs=chain(["zlib"]), dtype="u1")
        with pytest.raises(ringio.DecodeError, match=r"10.*11"):
            reader.execute(plan, np.zeros(11, "u1"))

    def test_range_past_the_end(self, reader, make_file):
        path, _ = make_file(100)
        plan = Plan([(path, 90, 20)], [Task(0, (20,), (0,), (20,), (0,))], dtype="u1")
        with pytest.raises(ringio.RangeError, match=r"110.*100 bytes"):
            reader.execute(plan, np.zeros(20, "u1"))

    def test_missing_chunk_without_fill_value(self, reader):
        plan = Plan([], [Task(None, (2,), (0,), (2,), (0,))], dtype="u1")
        with pytest.raises(ringio.PlanError, match=r"task 0.*no fill value"):
            reader.execute(plan, np.zeros(2, "u1"))

    @pytest.mark.parametrize(
        ("out", "error", "text"),
        [
            (np.zeros(9, "u1"), ringio.PlanError, r"ends at \[10\].*\(9,\)"),
            (np.zeros(10, "i1"), ringio.PlanError, "int8.*uint8"),
            (np.zeros((10, 1), "u1"), ringio.PlanError, "2 dimensions"),
            (bytes(10), ValueError, "read-only"),
            (7, TypeError, "int"),
            ([], ringio.PlanError, "0 targets"),
        ],
    )
    def test_target_that_does_not_fit(self, reader, make_file, out, error, text):
        plan = Plan([(make_file(10)[0], 0, 10)], [Task(0, (10,), (0,), (10,), (0,))], dtype="u1")
        with pytest.raises(error, match=text):
            reader.execute(plan, out)

    @pytest.mark.parametrize(
        ("task", "text"),
        [
            (Task(1, (4,), (0,), (4,), (0,)), "task 0: range 1"),
            (Task(-2, (4,), (0,), (4,), (0,)), "range_index"),
            (Task(0, (4,), (0,), (5,), (0,)), "outside"),
            (Task(0, (4,), (3,), (2,), (0,)), "outside"),
            (Task(0, (4,), (0,), (3,), (0,), (2,)), "outside"),
            (Task(0, (4,), (0,), (1 << 62,), (0,), (1 << 62,)), "outside"),
            (Task(0, (4,), (-1,), (1,), (0,)), "outside"),
            (Task(0, (4,), (0,), (-1,), (0,)), "counts"),
            (Task(0, (4,), (0,), (1,), (-1,)), "target_starts"),
            (Task(0, (4,), (0,), (1,), (0,), (0,)), "source_steps"),
            (Task(0, (4,), (0,), (1,), (0,), None, -1), "target_index"),
            (Task(0, (0,), (0,), (0,), (0,)), "positive"),
            (Task(0, (1 << 62, 2), (0, 0), (1, 1), (0, 0)), "bytes"),
            (Task(0, (4,), (0, 0), (1,), (0,)), "dimensions"),
            (Task(0, (1,) * 33, (0,) * 33, (1,) * 33, (0,) * 33), "33 dimensions"),
        ],
    )
    def test_task_that_makes_no_sense(self, task, text):
        with pytest.raises(ringio.PlanError, match=text):
            Plan([("file", 0, 4)], [task], dtype="u1")

    @pytest.mark.parametrize(
        ("task", "options", "error", "text"),
        [
            (Task(0, (4.5,), (0,), (4,), (0,)), {}, TypeError, "chunk_shape"),
            (Task(0, (1 << 70,), (0,), (4,), (0,)), {}, TypeError, "chunk_shape"),
            (Task((1 << 64) - 1, (4,), (0,), (4,), (0,)), {}, ValueError, "range_index"),
            ((0, (4,), (0,), (4,), (0,)), {}, TypeError, r"task 0.*ringio\.Task"),
            (Task(0, (4,), (0,), (4,), (0,)), {"fill_value": [1, 2]}, ringio.PlanError, "2 elements"),
            (Task(0, (4,), (0,), (4,), (0,)), {"max_gap_bytes": -1}, ValueError, "max_gap_bytes"),
            (Task(0, (4,), (0,), (4,), (0,)), {"max_request_bytes": 1 << 64}, ValueError, "max_request_bytes"),
        ],
    )
    def test_arguments_of_the_wrong_kind(self, task, options, error, text):
        """No number is rounded, cut off or wrapped around to one that makes sense."""
        with pytest.raises(error, match=text):
            Plan([("a", 0, 4)], [task], dtype="u1", **options)

    def test_suffix_range_is_refused(self):
        with pytest.raises(ringio.PlanError, match="range 0"):
            Plan([("file", -4, None)], [Task(0, (4,), (0,), (4,), (0,))], dtype="u1")


class TestRecords:
    """Plan.from_records: whatever records say, the core never leaves the buffers."""

    def records(self, path, nbytes=100):
        layout = planning.layout(source_strides=(1,), target_strides=(1,), itemsize=1)
        projections = np.zeros(1, planning.PROJECTION)
        requests, tasks, _ = planning.coalesce(
            np.zeros(1, np.uint32), np.zeros(1, np.uint64), np.array([nbytes], np.uint64), np.array([0, 1], np.uint64)
        )
        return {
            "paths": [path],
            "requests": requests,
            "tasks": tasks,
            "projections": projections,
            "counts": np.array([[nbytes]]),
            "layouts": layout,
        }

    def test_straight(self, reader, make_file):
        path, data = make_file(100)
        out = np.zeros(100, "u1")
        reader.execute(Plan.from_records(**self.records(path)), out)
        assert bytes(out) == data

    @pytest.mark.parametrize(
        ("array", "field", "value"),
        [
            ("requests", "file", 1),
            ("requests", "first_task", 1),
            ("requests", "task_count", 2),
            ("tasks", "first_projection", 1),
            ("tasks", "projection_count", 2),
            ("tasks", "chain", 1),
            ("tasks", "source_offset", 1),
            ("tasks", "source_offset", 1 << 63),
            ("tasks", "source_nbytes", 101),
            ("projections", "layout", 1),
            ("projections", "source_offset", 1),
            ("projections", "source_offset", -1),
            ("projections", "target_offset", 1),
            ("projections", "target_offset", -1),
            ("layouts", "itemsize", 2),
            ("layouts", "itemsize", 0),
            ("layouts", "fill_offset", 0),
            ("counts", None, 101),
            ("counts", None, 1 << 62),
        ],
    )
    def test_every_number_is_checked(self, reader, make_file, array, field, value):
        records = self.records(make_file(100)[0])
        if field is None:
            records[array][...] = value
        else:
            records[array][field] = value
        memory = np.full(300, 0xEE, "u1")
        with pytest.raises(ringio.PlanError):
            reader.execute(Plan.from_records(**records), memory[100:200])
        assert (memory[:100] == 0xEE).all()
        assert (memory[200:] == 0xEE).all()

    def test_layout_of_a_target_that_is_not_there(self, reader, make_file):
        records = self.records(make_file(100)[0])
        records["layouts"]["target"] = 1
        with pytest.raises(ringio.PlanError, match="1 targets, the plan writes to 2"):
            reader.execute(Plan.from_records(**records), np.zeros(100, "u1"))

    def test_wrong_arrays(self, make_file):
        records = self.records(make_file(100)[0])
        for name, bad in [
            ("requests", np.zeros(1)),
            ("counts", np.ones((2, 1), np.int64)),
            ("counts", np.ones(1, np.int64)),
            ("files", np.zeros(2, planning.FILE)),
        ]:
            with pytest.raises(ringio.PlanError):
                Plan.from_records(**{**records, name: bad})

    def test_identity(self, reader, make_file):
        """A plan made for one file is not executed on another."""
        path, data = make_file(100)
        identity = planning.stat([path])
        files = np.zeros(1, planning.FILE)
        for field in ("nbytes", "device", "inode", "mtime_ns"):
            files[field] = identity[field]
        plan = Plan.from_records(files=files, **self.records(path))
        out = np.zeros(100, "u1")
        reader.execute(plan, out)
        assert bytes(out) == data
        Path(path).write_bytes(data + b"more")
        with pytest.raises(ringio.FileChangedError, match="file-1") as caught:
            reader.execute(plan, out)
        assert caught.value.filename == path

    def test_bytes_in_memory(self, reader):
        """A file may be bytes that are in memory already."""
        data = np.arange(100, dtype="u1")
        files = np.zeros(1, planning.FILE)
        files["data"], files["nbytes"] = data.ctypes.data, 100
        records = self.records("in memory")
        out = np.zeros(100, "u1")
        reader.execute(Plan.from_records(files=files, keep=data, **records), out)
        assert (out == data).all()

    def test_describe_names_the_chunk(self, reader, make_file):
        records = self.records(make_file(99)[0])
        plan = Plan.from_records(describe=lambda task: f"chunk ({task}, 3) of 'temp'", **records)
        with pytest.raises(ringio.RangeError, match=r"chunk \(0, 3\) of 'temp' in "):
            reader.execute(plan, np.zeros(100, "u1"))


class TestPlanning:
    @given(st.data())
    def test_intersect(self, data):
        """The projections of boxes, done with plain loops, give what slicing gives."""
        ndim = data.draw(st.integers(1, 3))
        chunk = [data.draw(st.integers(1, 4)) for _ in range(ndim)]
        grid_shape = [data.draw(st.integers(1, 4)) for _ in range(ndim)]
        shape = [c * g for c, g in zip(chunk, grid_shape, strict=True)]
        array = np.arange(int(np.prod(shape)), dtype="<i4").reshape(shape)
        chunk_strides = np.array(np.empty(chunk, "<i4").strides)
        id_strides = [int(np.prod(grid_shape[i + 1 :])) for i in range(ndim)]
        grid = planning.Grid(chunk, chunk_strides, [(1,) * ndim], [id_strides])
        boxes = data.draw(st.integers(0, 4))
        starts = np.array([[data.draw(st.integers(0, n - 1)) for n in shape] for _ in range(boxes)]).reshape(-1, ndim)
        step = [data.draw(st.integers(1, 3)) for _ in range(ndim)]
        room = min(
            [(n - 1 - s) // k + 1 for row in starts for n, s, k in zip(shape, row, step, strict=True)], default=1
        )
        counts = [data.draw(st.integers(0, room)) for _ in range(ndim)]
        out = np.full([boxes, *counts], -1, "<i4")
        layout = planning.layout(
            source_strides=[int(s * k) for s, k in zip(chunk_strides, step, strict=True)],
            target_strides=out.strides[1:],
            itemsize=4,
        )
        part = grid.intersect(starts, [counts], [step], layout, np.arange(boxes) * out.strides[0])
        assert (np.diff(part.chunk_ids.astype(int)) > 0).all()
        for i, number in enumerate(part.chunk_ids.tolist()):
            corner = np.unravel_index(number, grid_shape)
            block = array[tuple(slice(p * c, p * c + c) for p, c in zip(corner, chunk, strict=True))]
            block = np.ascontiguousarray(block)
            for p in range(int(part.first_projections[i]), int(part.first_projections[i + 1])):
                source = np.ndarray(
                    part.counts[p],
                    "<i4",
                    block,
                    int(part.projections[p]["source_offset"]),
                    [int(s * k) for s, k in zip(chunk_strides, step, strict=True)],
                )
                target = np.ndarray(
                    part.counts[p], "<i4", out.data, int(part.projections[p]["target_offset"]), out.strides[1:]
                )
                target[...] = source
        for box, start in zip(out, starts, strict=True):
            inside = tuple(slice(s, s + n * k, k) for s, n, k in zip(start, counts, step, strict=True))
            assert (box == array[inside]).all()

    def test_grid_pickles_and_compares(self):
        import pickle

        grid = planning.Grid((2, 3), (6, 2), [(4, 4), (1, 1)], [(100, 10), (4, 1)])
        assert pickle.loads(pickle.dumps(grid)) == grid
        assert hash(pickle.loads(pickle.dumps(grid))) == hash(grid)

    @pytest.mark.parametrize(
        "arguments",
        [
            ((0,), (1,), [(1,)], [(1,)]),
            ((2,), (1, 1), [(1,)], [(1,)]),
            ((2,), (1,), [], []),
            ((2,), (1,), [(1,)] * 9, [(1,)] * 9),
            ((2,), (1,), [(0,)], [(1,)]),
            ((2,), (1,), [(1,)], [(1,), (1,)]),
            ((2,), (1,), [(1,)], [(1 << 64,)]),
            ((2,) * 33, (1,) * 33, [(1,) * 33], [(1,) * 33]),
        ],
    )
    def test_grid_that_makes_no_sense(self, arguments):
        with pytest.raises(ValueError):
            planning.Grid(*arguments)

    @pytest.mark.parametrize(
        "boxes",
        [
            ([[0, 0]], [[1]], [[1]], [0]),
            ([[-1]], [[1]], [[1]], [0]),
            ([[0]], [[-1]], [[1]], [0]),
            ([[0]], [[1]], [[0]], [0]),
            ([[0], [1], [2]], [[1], [1]], [[1]], [0, 0, 0]),
            ([[0]], [[1]], [[1]], [0, 0]),
        ],
    )
    def test_boxes_that_make_no_sense(self, boxes):
        grid = planning.Grid((2,), (1,), [(1,)], [(1,)])
        layout = planning.layout(source_strides=(1,), target_strides=(1,), itemsize=1)
        starts, counts, steps, targets = boxes
        with pytest.raises(ValueError):
            grid.intersect(starts, counts, steps, layout, targets)

    def test_locate(self):
        index = np.array([100, 10, planning.MISSING, planning.MISSING, 190, 11, 0, 10, 1 << 63, 1 << 63], np.uint64)
        ids = np.arange(5, dtype=np.uint64)
        offsets, nbytes, bad = planning.locate(
            ids,
            np.array([0, 5], np.uint64),
            ids_per_segment=5,
            ids_per_entry=1,
            indexes=np.array([index.ctypes.data], np.uint64),
            bases=np.array([1000], np.uint64),
            sizes=np.array([200], np.uint64),
            index_starts=np.array([0], np.uint64),
            index_ends=np.array([80], np.uint64),
        )
        assert offsets.tolist() == [1100, planning.MISSING, 190, 0, 1 << 63]
        assert nbytes.tolist() == [10, 0, planning.MISSING, planning.MISSING, planning.MISSING]
        assert bad == 3

    def test_stat(self, make_file, tmp_path):
        path, _ = make_file(10)
        found = planning.stat([path, tmp_path, str(tmp_path / "none")])
        info = Path(path).stat()
        assert found[0]["nbytes"] == 10
        assert (found[0]["inode"], found[0]["mtime_ns"]) == (info.st_ino, info.st_mtime_ns)
        assert found["status"].tolist() == [0, -21, -2]


class TestLongKernels:
    """A kernel with millions of items to work on does not keep Ctrl-C waiting."""

    def test_it_is_interrupted(self):
        class Interrupted(Exception):
            pass

        def interrupt(*_):
            raise Interrupted

        before = signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        start = time.monotonic()
        try:
            with pytest.raises(Interrupted):
                call_kernel(10_000_000, None, lambda: time.sleep(2) or 7)
            assert time.monotonic() - start < 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        while any(thread.name == "ringio-plan" for thread in threading.enumerate()):
            time.sleep(0.05)

    def test_it_gives_the_same_result(self):
        assert call_kernel(10_000_000, None, lambda number: number + 1, 41) == 42
        assert call_kernel(1, None, lambda number: number + 1, 41) == 42

    def test_a_batch_of_many_pairs(self):
        """A million pairs, planned beside the calling thread, are those of the definition."""
        grid = planning.Grid((1,), (1,), [(1,)], [(1,)])
        unit = planning.layout(source_strides=(1,), target_strides=(1,), itemsize=1)
        starts = np.random.default_rng(0).integers(0, 5000, (400_000, 1))
        found = grid.intersect(starts, [[2]], [[1]], unit, np.arange(len(starts)) * 2)
        ids, counts = np.unique(np.concatenate([starts, starts + 1]), return_counts=True)
        assert np.array_equal(found.chunk_ids, ids)
        assert np.array_equal(np.diff(found.first_projections), counts)
