"""Goal: Python codecs stand anywhere in a chain and in a plan, for files and objects, and give what numpy gives;
whatever they raise names the chunk.
"""

from __future__ import annotations

import asyncio
import bz2
import lzma
import pickle
import threading
import time
import zlib

import numcodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore.store import MemoryStore

import ringio
from ringio import DecodeError, PlanError, Reader, Task, _execute, _python_place, codecs

DATA = np.arange(24, dtype="<i4").reshape(4, 6)
STRINGS = np.array([f"item {i} " * (i % 4) for i in range(24)], dtype=object).reshape(4, 6)
BZ2 = codecs.chain(["bytes", bz2.decompress])
VLEN = codecs.chain([numcodecs.VLenUTF8(), "zstd"])


def encode_strings(array):
    return bytes(numcodecs.Zstd().encode(numcodecs.VLenUTF8().encode(array.reshape(-1))))


@pytest.fixture(scope="module", params=["threads", "io_uring"])
def reader(request):
    try:
        with Reader(request.param, workers=2) as reader:
            yield reader
    except ringio.BackendError as error:
        pytest.skip(str(error))


# ---------------------------------------------------------------------------------------------------- chains in memory


@pytest.mark.parametrize(
    ("chain", "encode"),
    [
        (["bytes", bz2.decompress], bz2.compress),
        (["bytes", numcodecs.BZ2(), "zlib"], lambda data: zlib.compress(bz2.compress(data))),
        (["bytes", "gzip", numcodecs.LZMA()], lambda data: lzma.compress(zlib.compress(data))),
        (["bytes", "zstd", lzma.decompress, "gzip", bz2.decompress], None),
        ([numcodecs.Delta("<i4"), "zstd"], lambda data: numcodecs.Zstd().encode(numcodecs.Delta("<i4").encode(data))),
        ([{"name": "bytes", "configuration": {"endian": "big"}}, bz2.decompress], None),
    ],
)
def test_python_codecs_stand_anywhere(chain, encode):
    data = DATA.tobytes()
    if encode is None and isinstance(chain[0], dict):
        encoded = bz2.compress(DATA.astype(">i4").tobytes())
    elif encode is None:
        encoded = bz2.compress(zlib.compress(lzma.compress(bytes(numcodecs.Zstd().encode(data)))))
    else:
        encoded = encode(np.frombuffer(data, "<i4") if chain[0] != "bytes" else data)
    out = codecs.chain(chain).decode(encoded, DATA.shape, "<i4")
    np.testing.assert_array_equal(out, DATA)
    assert out.dtype == DATA.dtype
    assert out.flags.writeable


def test_what_a_codec_of_the_core_gives_need_not_be_known():
    """More than there is room for at first, with and without a header that says how much it will be."""
    data = b"x" * 3_000_000
    count = len(data)
    encoders = {"gzip": zlib.compress, "zstd": numcodecs.Zstd().encode, "blosc": numcodecs.Blosc().encode}
    for name, encode in encoders.items():
        out = codecs.chain([lambda data: bytes(data), name, "crc32c"]).decode(
            numcodecs.CRC32C().encode(encode(data)), (count,), "S1"
        )
        assert (out == b"x").all()


def test_a_transpose_in_front_costs_nothing():
    chain = codecs.chain([{"name": "transpose", "configuration": {"order": [1, 0]}}, "bytes", bz2.decompress])
    compiled = chain.compile((4, 6), "<i4")
    assert compiled.strides == (4, 16)
    out = chain.decode(bz2.compress(DATA.T.tobytes()), (4, 6), "<i4")
    np.testing.assert_array_equal(out, DATA)


@pytest.mark.parametrize("dtype", [object, np.dtypes.StringDType()])
def test_strings_of_any_length(dtype):
    out = VLEN.decode(encode_strings(STRINGS), (4, 6), dtype)
    assert out.dtype == dtype
    assert (out == STRINGS).all()


def test_a_chain_of_the_core_alone_cannot_give_objects():
    with pytest.raises(ValueError, match="no fixed size"):
        codecs.chain(["bytes", "zstd"]).compile((2,), object)


@pytest.mark.parametrize(
    ("codec", "shape", "dtype", "message"),
    [
        (lambda data: 1 / 0, (2,), "u1", "ZeroDivisionError"),
        (lambda data: b"abc", (2,), "u1", "decodes to 3 bytes, expected 2"),
        (lambda data: 7, (2,), "u1", "TypeError"),
        (lambda data: b"ab", (2,), object, "decodes to bytes, expected an array"),
        (lambda data: np.arange(2), (2,), object, "decodes to ndarray, expected an array"),
        (lambda data: np.array(["a"], object), (2,), object, "decodes to 1 items, expected 2"),
        (lambda data: np.array([1.5, "a"], object), (2,), np.dtypes.StringDType(coerce=False), "ValueError"),
        (lambda data: np.array([1, 2], object), (16,), "u1", "TypeError|decodes to 2 items"),
    ],
)
def test_a_codec_that_fails_is_a_decode_error(codec, shape, dtype, message):
    with pytest.raises(DecodeError, match=message) as caught:
        codecs.chain([codec]).decode(b"xy", shape, dtype)
    assert caught.value.__cause__ is not None


def test_objects_between_codecs_of_the_core_are_refused():
    with pytest.raises(TypeError, match="array of dtype object came where bytes were due"):
        codecs.chain(["zlib", lambda data: np.array(["a"], object)]).decode(b"", (2,), "u1")


def test_chains_are_compared_hashed_and_pickled():
    first, second = (codecs.chain(["bytes", numcodecs.BZ2(level=level)]) for level in (1, 1))
    assert first == second
    assert hash(first) == hash(second)
    assert first != codecs.chain(["bytes", numcodecs.BZ2(level=2)])
    assert pickle.loads(pickle.dumps(first)) == first
    with pytest.raises(ValueError, match="got 7"):
        codecs.chain([7])


def test_registered_codecs_are_found_first():
    try:
        codecs.register("test.xor", lambda configuration: lambda data: bytes(b ^ configuration["key"] for b in data))
        for item in ({"id": "test.xor", "key": 1}, {"name": "test.xor", "configuration": {"key": 1}}):
            assert codecs.chain([item]).decode(b"\x00\x03", (2,), "u1").tolist() == [1, 2]
        codecs.register("zstd", lambda configuration: bz2.decompress)
        assert codecs.chain(["zstd"]).decode(bz2.compress(b"a"), (1,), "S1").tolist() == [b"a"]
    finally:
        from ringio import _python_codecs

        _python_codecs._factories.clear()
    with pytest.raises(TypeError, match="no function"):
        codecs.register("x", 7)


def test_a_codec_may_ask_what_it_decodes_to():
    class Zeros:
        def for_chunk(self, shape, dtype):
            return lambda data: np.zeros(shape, dtype)

        def decode(self, data):
            raise AssertionError

    assert codecs.chain([Zeros()]).decode(b"", (2, 3), "<f4").tolist() == [[0.0] * 3] * 2


# --------------------------------------------------------------------------------------------------------------- plans


def make_plan(path, chain, chunks, dtype, **options):
    """Four chunks of 2 x 3, the last one missing, in one file; and a target of 4 x 6."""
    ranges, tasks, offset = [], [], 0
    for number in range(4):
        row, column = divmod(number, 2)
        if number < 3:
            ranges.append((path, offset, len(chunks[number])))
            offset += len(chunks[number])
        tasks.append(Task(number if number < 3 else None, (2, 3), (0, 0), (2, 3), (2 * row, 3 * column)))
    return ringio.Plan(ranges, tasks, codecs=chain, dtype=dtype, **options)


def chunks_of(array, encode):
    return [encode(np.ascontiguousarray(array[i : i + 2, j : j + 3])) for i in (0, 2) for j in (0, 3)]


@pytest.mark.parametrize("dtype", ["<i4", object, np.dtypes.StringDType()], ids=str)
def test_a_plan_is_fetched_decoded_and_placed(reader, tmp_path, dtype):
    numbers = dtype == "<i4"
    array = DATA if numbers else STRINGS
    chain = BZ2 if numbers else VLEN
    chunks = chunks_of(array, (lambda chunk: bz2.compress(chunk.tobytes())) if numbers else encode_strings)
    (tmp_path / "a").write_bytes(b"".join(chunks[:3]))
    expected = array.astype(dtype)
    expected[2:, 3:] = 7 if numbers else "none"
    plan = make_plan(tmp_path / "a", chain, chunks, dtype, fill_value=7 if numbers else "none")
    for strides in ("C", "F", "negative"):
        if strides == "negative":
            out = np.zeros((6, 4), dtype)[::-1].T[::-1]
        else:
            out = np.zeros((4, 6), dtype, order=strides)
        assert reader.execute(plan, out) is out
        assert (out == expected).all()
    out = np.zeros((4, 6), dtype)
    asyncio.run(reader.execute_async(plan, out))
    assert (out == expected).all()


@pytest.mark.parametrize("dtype", ["<i4", object], ids=str)
def test_objects_in_stores(reader, dtype):
    store = MemoryStore()
    chunks = chunks_of(DATA, lambda chunk: bz2.compress(chunk.tobytes()))
    chain = BZ2
    if dtype is object:
        chain, chunks = VLEN, chunks_of(STRINGS, encode_strings)
    array = STRINGS if dtype is object else DATA
    for number in range(3):
        store.put(f"c{number}", chunks[number])
    tasks = [Task(number, (2, 3), (0, 0), (2, 3), (2 * (number // 2), 3 * (number % 2))) for number in range(4)]
    ranges = [(f"c{number}", 0, None) for number in range(4)]
    plan = (
        ringio.Plan(ranges, tasks, codecs=chain, dtype=dtype, fill_value="", missing_fills=True)
        if (dtype is object)
        else ringio.Plan(ranges, tasks, codecs=chain, dtype=dtype, fill_value=0, missing_fills=True)
    )
    expected = array.copy()
    expected[2:, 3:] = "" if dtype is object else 0
    for execute in (reader.execute, lambda *args, **kw: asyncio.run(reader.execute_async(*args, **kw))):
        out = np.full((4, 6), 1).astype(dtype)
        execute(plan, out, store=store)
        assert (out == expected).all()
    store.put("c1", b"nonsense")
    with pytest.raises(DecodeError, match=r"task 1 in c1, bytes 0"):
        reader.execute(plan, out, store=store)


def test_missing_files(reader, tmp_path):
    (tmp_path / "0").write_bytes(bz2.compress(DATA.tobytes()))
    tasks = [Task(i, (24,), (0,), (24,), (24 * i,)) for i in range(2)]
    ranges = [(tmp_path / str(i), 0, None) for i in range(2)]
    out = np.zeros(48, "<i4")
    with pytest.raises(FileNotFoundError) as caught:
        reader.execute(ringio.Plan(ranges, tasks, codecs=BZ2, dtype="<i4"), out)
    assert any("task 1" in note for note in caught.value.__notes__)
    np.testing.assert_array_equal(out[:24], DATA.ravel())
    reader.execute(ringio.Plan(ranges, tasks, codecs=BZ2, dtype="<i4", fill_value=5, missing_fills=True), out)
    assert (out[24:] == 5).all()
    plan = ringio.Plan(ranges, tasks, codecs=BZ2, dtype="<i4", missing_fills=True)
    with pytest.raises(PlanError, match="no fill value"):
        reader.execute(plan, out)


def test_errors_name_the_chunk(reader, tmp_path):
    chunks = chunks_of(DATA, lambda chunk: bz2.compress(chunk.tobytes()))
    chunks[1] = chunks[1][:-9] + b"\x55" * 9
    (tmp_path / "a").write_bytes(b"".join(chunks))
    plan = make_plan(tmp_path / "a", BZ2, chunks, "<i4", fill_value=0)
    out = np.zeros((4, 6), "<i4")
    start = len(chunks[0])
    with pytest.raises(DecodeError, match=rf"decompress: task 1 in .*a, bytes {start}-") as caught:
        reader.execute(plan, out)
    assert isinstance(caught.value.__cause__, OSError)
    assert (caught.value.offset, caught.value.length) == (start, len(chunks[1]))
    np.testing.assert_array_equal(out[:2, :3], DATA[:2, :3])
    np.testing.assert_array_equal(out[2:, :3], DATA[2:, :3])
    assert [task for task, _ in reader.execute(plan, out, on_error="return")] == [1]


def test_one_range_many_boxes_and_steps(reader, tmp_path):
    (tmp_path / "a").write_bytes(encode_strings(STRINGS))
    tasks = [
        Task(0, (4, 6), (1, 0), (2, 3), (0, 0), source_step=(2, 2)),
        Task(0, (4, 6), (0, 5), (4, 1), (0, 3)),
        *[Task(0, (4, 6), (i % 4, i), (1, 1), (0, i), target=1) for i in range(6)],
    ]
    plan = ringio.Plan([(tmp_path / "a", 0, None)], tasks, codecs=VLEN, dtype=object)
    first, second = np.zeros((4, 4), object), np.zeros((1, 6), object)
    reader.execute(plan, [first, second])
    assert (first[:2, :3] == STRINGS[1::2, ::2]).all()
    assert (first[:, 3] == STRINGS[:, 5]).all()
    assert second[0].tolist() == [STRINGS[i % 4, i] for i in range(6)]


@given(st.data())
def test_any_box_of_any_layout(data):
    """Axes are found again from strides and offsets, whatever the memory order, the signs and the steps."""
    from ringio._python_place import Axes, _view

    dim_count = data.draw(st.integers(0, 4))
    shape = data.draw(st.tuples(*[st.integers(1, 5)] * dim_count))
    order = data.draw(st.permutations(range(dim_count)))
    array = np.arange(int(np.prod(shape))).reshape([shape[i] for i in order]).transpose(np.argsort(order))
    array = array[(*(slice(None, None, data.draw(st.sampled_from([1, -1, 2, -2]))) for _ in range(dim_count)), ...)]
    box = tuple(slice(data.draw(st.integers(0, n - 1)), None, data.draw(st.integers(1, 3))) for n in array.shape)
    expected = array[(*box, ...)]
    axes = Axes.of(array.shape, array.strides)
    low = array.__array_interface__["data"][0] + sum(min(0, (n - 1) * s) for n, s in zip(array.shape, array.strides))
    offset = expected.__array_interface__["data"][0] - low
    (start,) = axes.positions(np.array([offset])).tolist()
    view = _view(array, start, expected.shape, [axes.along(stride) for stride in expected.strides])
    np.testing.assert_array_equal(view, expected.reshape(view.shape))


def test_memory_is_bounded(reader, tmp_path, monkeypatch):
    from ringio import _python_plan

    monkeypatch.setattr(_python_plan, "_BATCH_NBYTES", 1000)
    chunk = bz2.compress(DATA.tobytes())
    (tmp_path / "a").write_bytes(chunk * 100)
    tasks = [Task(i, (24,), (0,), (24,), (24 * i,)) for i in range(100)]
    ranges = [(tmp_path / "a", i * len(chunk), len(chunk)) for i in range(100)]
    plan = ringio.Plan(ranges, tasks, codecs=BZ2, dtype="<i4", max_request_bytes=len(chunk))
    seen = []
    out = np.zeros(2400, "<i4")
    reader.execute(plan, out, progress=lambda done, total: seen.append((done, total)))
    np.testing.assert_array_equal(out.reshape(100, 24), np.broadcast_to(DATA.ravel(), (100, 24)))
    assert seen == sorted(seen)
    assert len(seen) > 5
    assert seen[-1] == (100 * len(chunk),) * 2


def test_encoded_bytes_are_held_against_the_limit(tmp_path):
    """Also where a Python codec is the first to decode them. Files are not read for that; other chunks are."""
    limit, chunk = 8 << 20, bz2.compress(DATA.tobytes())
    with (tmp_path / "0").open("wb") as file:
        file.truncate(limit + 1)
    (tmp_path / "1").write_bytes(chunk)
    store = MemoryStore()
    for name in "01":
        store.put(name, (tmp_path / name).read_bytes())
    given = []

    def decompress(data):
        given.append(len(data))
        return bz2.decompress(data)

    tasks = [Task(i, (24,), (0,), (24,), (24 * i,)) for i in range(2)]
    words = rf"task 0 in .*0, bytes 0-the end: needs {limit + 1} bytes at once, .* memory limit leaves {limit}"
    with Reader("threads", workers=1, memory_limit_bytes=limit) as reader:
        for paths, source in (([tmp_path / "0", tmp_path / "1"], None), (["0", "1"], store)):
            ranges = [(path, 0, None) for path in paths]
            plan = ringio.Plan(ranges, tasks, codecs=codecs.chain([decompress]), dtype="<i4")
            out = np.zeros(48, "<i4")
            ((task, error),) = reader.execute(plan, out, on_error="return", store=source)
            assert task == 0
            with pytest.raises(ringio.MemoryLimitError, match=words):
                raise error
            np.testing.assert_array_equal(out[24:], DATA.ravel())
    assert given == [len(chunk)] * 2


def test_a_keyboard_interrupt_passes(reader, tmp_path):
    def interrupt(data):
        raise KeyboardInterrupt

    (tmp_path / "a").write_bytes(b"abcd")
    tasks = [Task(i, (2,), (0,), (2,), (2 * i,)) for i in range(2)]
    ranges = [(tmp_path / "a", 2 * i, 2) for i in range(2)]
    plan = ringio.Plan(ranges, tasks, codecs=codecs.chain([interrupt]), dtype="u1", max_request_bytes=2)
    with pytest.raises(KeyboardInterrupt):
        reader.execute(plan, np.zeros(4, "u1"))


def test_threads_decode(tmp_path):
    barrier = threading.Barrier(2, timeout=10)

    def meet(data):
        barrier.wait()
        return data

    (tmp_path / "a").write_bytes(b"abcd")
    tasks = [Task(i, (2,), (0,), (2,), (2 * i,)) for i in range(2)]
    ranges = [(tmp_path / "a", 2 * i, 2) for i in range(2)]
    plan = ringio.Plan(ranges, tasks, codecs=codecs.chain([meet]), dtype="u1", max_request_bytes=2)
    out = np.zeros(4, "u1")
    with Reader("threads", workers=2) as reader:
        reader.execute(plan, out)
    assert out.tobytes() == b"abcd"


class Slow:
    """A codec that takes until it is let go, and says when it has begun and ended."""

    def __init__(self):
        self.begun, self.go = threading.Event(), threading.Event()
        self.decoded = threading.Semaphore(0)

    def decode(self, data):
        self.begun.set()
        assert self.go.wait(10)
        self.decoded.release()
        return data


async def cancel_in_the_midst(codec, coroutine):
    """Cancel a read while its codec is at work, and let that end."""
    reading = asyncio.create_task(coroutine)
    while not codec.begun.is_set():
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    codec.go.set()
    assert await asyncio.to_thread(codec.decoded.acquire, timeout=10)
    await asyncio.sleep(0.1)


def plan_of_six(path, codec):
    """Six chunks of two bytes."""
    tasks = [Task(i, (2,), (0,), (2,), (2 * i,)) for i in range(6)]
    ranges = [(path, 2 * i, 2) for i in range(6)]
    return ringio.Plan(ranges, tasks, codecs=codecs.chain([codec]), dtype="u1", max_request_bytes=2)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("store", [False, True])
def test_a_slow_codec_writes_nothing_once_it_was_cancelled(tmp_path, workers, store):
    """However long it takes: whoever was told that the read is over may have given the memory to others."""
    codec, memory = Slow(), MemoryStore()
    (tmp_path / "a").write_bytes(b"abcdefghijkl")
    memory.put("a", b"abcdefghijkl")
    plan = plan_of_six("a" if store else tmp_path / "a", codec)
    options = {"store": memory} if store else {}
    out = np.zeros(12, "u1")
    with Reader("threads", workers=workers, store_options={"requests_in_flight": workers}) as reader:
        asyncio.run(cancel_in_the_midst(codec, reader.execute_async(plan, out, **options)))
        assert not out.any()
        reader.execute(plan, out, **options)
    assert out.tobytes() == b"abcdefghijkl"


def test_a_slow_codec_writes_nothing_after_ctrl_c(tmp_path):
    codec = Slow()
    (tmp_path / "a").write_bytes(b"abcdefghijkl")
    plan = plan_of_six(tmp_path / "a", codec)
    out = np.zeros(12, "u1")

    def interrupt(done, total):
        if codec.begun.wait(10):
            raise KeyboardInterrupt

    with Reader("threads", workers=2) as reader:
        with pytest.raises(KeyboardInterrupt):
            reader.execute(plan, out, progress=interrupt)
        codec.go.set()
        assert codec.decoded.acquire(timeout=10)
        time.sleep(0.1)
        assert not out.any()


def test_strings_are_not_put_down_once_it_was_cancelled(tmp_path):
    """Those that the last codec puts to their places itself, without a chunk in between."""
    codec = Slow()
    (tmp_path / "a").write_bytes(numcodecs.VLenUTF8().encode(STRINGS.reshape(-1)))
    dtype = np.dtypes.StringDType()
    plan = ringio.Plan(
        [(tmp_path / "a", 0, None)],
        [Task(0, (4, 6), (0, 0), (4, 6), (0, 0))],
        codecs=codecs.chain(["vlen-utf8", codec]),
        dtype=dtype,
    )
    out = np.full((4, 6), "none", dtype)

    with Reader("threads", workers=2) as reader:
        asyncio.run(cancel_in_the_midst(codec, reader.execute_async(plan, out)))
        assert (out == "none").all()
        reader.execute(plan, out)
    assert (out == STRINGS).all()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("file", 7, "a file that is not there"), ("first_task", 9, "tasks"), ("task_count", 2**32 - 1, "tasks")],
)
def test_records_that_name_what_is_not_there(reader, tmp_path, field, value, message):
    """As in plans of the core alone; nothing is begun."""
    called = []
    plan = plan_of_six(tmp_path / "a", called.append)
    plan.requests[field][3] = value
    with pytest.raises(PlanError, match=f"a request names {message}"):
        reader.execute(plan, np.zeros(12, "u1"))
    with pytest.raises(PlanError, match=f"a request names {message}"):
        reader.execute(plan, np.zeros(12, "u1"), store=MemoryStore())
    assert not called


@pytest.mark.parametrize("name", ["_LocalRequests", "Watcher"])
def test_objects_are_not_begun_where_the_rest_cannot_be(reader, tmp_path, monkeypatch, name):
    from ringio import _python_plan

    def fail(*_arguments):
        raise MemoryError("none left")

    begun = []
    monkeypatch.setattr(_python_plan, name, fail)
    monkeypatch.setattr(_python_plan.Begun, "begin", lambda *arguments: begun.append(arguments))
    store = MemoryStore() if name == "_LocalRequests" else None
    plan = plan_of_six(tmp_path / "a", Slow())
    with pytest.raises(MemoryError, match="none left"):
        reader.execute(plan, np.zeros(12, "u1"), progress=lambda done, total: None, store=store)
    assert not begun


def test_targets_that_do_not_fit(reader, tmp_path):
    (tmp_path / "a").write_bytes(encode_strings(STRINGS))
    plan = ringio.Plan(
        [(tmp_path / "a", 0, None)], [Task(0, (4, 6), (0, 0), (4, 6), (0, 0))], codecs=VLEN, dtype=object
    )
    with pytest.raises(PlanError, match="dtype"):
        reader.execute(plan, np.zeros((4, 6), "<i4"))
    with pytest.raises(PlanError, match="shape"):
        reader.execute(plan, np.zeros((4, 5), object))
    plain = ringio.Plan([(tmp_path / "a", 0, 8)], [Task(0, (1,), (0,), (1,), (0,))], dtype="<i8")
    with pytest.raises(TypeError, match="Python objects"):
        reader.execute(plain, np.zeros(1, object))


def test_a_codec_that_is_told_the_limit():
    class Bomb:
        codec_id = "bomb"

        def decode(self, data):
            pytest.fail("without a limit")

        def decode_within(self, data, limit_nbytes):
            if limit_nbytes < 100:
                raise ringio.MemoryLimitError(f"100 bytes, and there are {limit_nbytes}")
            return bytes(data)

    chain = codecs.chain([Bomb()])
    assert chain.decode(b"ab", (2,), "u1").tolist() == [97, 98]
    with pytest.raises(ringio.MemoryLimitError, match=r"^bomb: <buffer>, bytes 0-2: 100 bytes, and there are 99$"):
        chain.decode(b"ab", (2,), "u1", limit_nbytes=99)


def test_memory_that_runs_out_in_a_codec_names_the_chunk(reader, tmp_path):
    def greedy(data):
        raise MemoryError

    (tmp_path / "a").write_bytes(b"abcd")
    plan = ringio.Plan(
        [(tmp_path / "a", 0, 4)], [Task(0, (4,), (0,), (4,), (0,))], codecs=codecs.chain(["bytes", greedy]), dtype="u1"
    )
    with pytest.raises(MemoryError) as caught:
        reader.execute(plan, np.zeros(4, "u1"))
    assert any("task 0" in note and str(tmp_path) in note for note in caught.value.__notes__)


def test_who_writes_is_not_waited_for_at_the_end_of_the_process(monkeypatch, tmp_path):
    """Daemon threads are frozen then, wherever they are."""
    (tmp_path / "a").write_bytes(b"abcd")
    plan = ringio.Plan([(tmp_path / "a", 0, 4)], [Task(0, (4,), (0,), (4,), (0,))], codecs=BZ2, dtype="u1")
    decoder = _python_place.Decoder(plan.bind(np.zeros(4, "u1")), 1 << 20)
    decoder._writers.add(-1)
    monkeypatch.setattr(_execute._state, "exiting", True)
    thread = threading.Thread(target=decoder.stop, daemon=True)
    thread.start()
    thread.join(5)
    is_done = not thread.is_alive()
    decoder._writers.clear()
    assert is_done
