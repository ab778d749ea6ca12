"""backend="object_store": files are read through obstore's LocalStore; what is read, and what fails, is the same."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest

import ringio
import ringio_zarr


@pytest.fixture
def reader():
    with ringio.Reader("object_store", workers=2) as reader:
        yield reader


def test_it_says_so(reader):
    assert reader.backend == "object_store"
    assert "obstore" in reader.backend_reason
    assert "object_store" in repr(reader)


def test_the_environment_may_ask_for_it(monkeypatch, make_file):
    path, data = make_file(1000)
    monkeypatch.setenv("RINGIO_BACKEND", "object_store")
    with ringio.Reader() as reader:
        assert reader.backend == "object_store"
        assert bytes(reader.read_ranges([(path, 5, 10)])[0]) == data[5:15]
        assert reader.statistics().opens == 0


def test_direct_is_of_no_effect_where_the_environment_asks_and_that_is_said(monkeypatch, make_file):
    path, data = make_file(1 << 20)
    monkeypatch.setenv("RINGIO_BACKEND", "object_store")
    for direct in (True, "auto"):
        with ringio.Reader(direct=direct) as reader:
            assert f"direct={direct!r} is of no effect" in reader.backend_reason
            assert reader.direct is False
            assert "direct" not in repr(reader)
            assert bytes(reader.read_ranges([(path, 0, 1 << 20)])[0]) == data


def test_direct_is_refused_as_nothing_is_opened_here():
    for direct in (True, "auto"):
        with pytest.raises(ValueError, match="object_store"):
            ringio.Reader("object_store", direct=direct)


def test_statistics_count_what_was_read(reader, make_file):
    path, _ = make_file(1 << 20)
    reader.read_ranges([(path, i * 100_000, 1000) for i in range(10)])
    statistics = reader.statistics()
    assert statistics.requests == 10
    assert statistics.bytes_asked == 10_000
    assert statistics.opens == 0
    assert 1 <= statistics.peak_in_flight <= 10


def test_all_spellings_of_a_path(reader, make_file, tmp_path, monkeypatch):
    _, data = make_file(1000, "a b%20ü#x")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    names = ["a b%20ü#x", "./a b%20ü#x", "link/../" + tmp_path.name + "/link/a b%20ü#x", str(tmp_path / "a b%20ü#x")]
    for name in [*names, os.fsencode(names[0]), tmp_path / names[0], f"file://{tmp_path}/a%20b%2520%C3%BC%23x"]:
        assert bytes(reader.read_ranges([(name, -7, None)])[0]) == data[-7:], name


@pytest.mark.parametrize("name", ["new\nline", b"no text \xff", "staged#12"])
def test_a_name_that_obstore_does_not_have_is_an_error(reader, tmp_path, name):
    path = os.path.join(os.fsencode(tmp_path), os.fsencode(name))  # noqa: PTH118
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(b"abc")
    with pytest.raises(ValueError, match="obstore has no name"):
        reader.read_ranges([(path, 0, 1)])
    with ringio.Reader() as other:
        assert bytes(other.read_ranges([(path, 0, 1)])[0]) == b"a"


def test_what_is_no_file_is_refused_and_not_waited_for(reader, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="not a regular file"):
        reader.read_ranges([(tmp_path / "fifo", 0, 1)])
    with pytest.raises(IsADirectoryError) as caught:
        reader.read_ranges([(tmp_path, 0, 1)])
    assert caught.value.filename == str(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        reader.read_ranges([(tmp_path / "none", 0, 1)])
    assert caught.value.filename == str(tmp_path / "none")
    with pytest.raises(NotADirectoryError):
        reader.read_ranges([(tmp_path / "fifo" / "x", 0, 1)])


def test_one_bad_range_does_not_spoil_another(reader, make_file, tmp_path):
    path, data = make_file(1000)
    got = reader.read_ranges([(path, 0, 5), (tmp_path / "none", 0, 1), (path, 990, 20)], on_error="return")
    assert bytes(got[0]) == data[:5]
    assert isinstance(got[1], FileNotFoundError)
    assert isinstance(got[2], ringio.RangeError)
    assert "the object has 1000 bytes" in str(got[2])


def test_zarr_arrays_are_the_same(reader, tmp_path):
    zarr = pytest.importorskip("zarr")
    values = np.arange(60 * 70).reshape(60, 70)
    for name, options in {"plain": {}, "shards": {"shards": (40, 40)}}.items():
        made = zarr.create_array(
            tmp_path / name, shape=values.shape, dtype="i4", chunks=(20, 10), fill_value=7, **options
        )
        made[:50] = values[:50]
        array = ringio_zarr.open(tmp_path / name, reader=reader)
        assert np.array_equal(array[...], made[...])
        assert np.array_equal(array[3:5, 7], made[3:5, 7])
        assert np.array_equal(array[55], made[55])
        # A chunk that is replaced is seen.
        made[:50] = values[:50] + 1
        assert np.array_equal(array[3:45], made[3:45])


@pytest.mark.skipif(sys.platform != "linux", reason="fork")
def test_after_fork_it_says_what_to_do(run_child, make_file):
    path, _ = make_file(1000)
    out = run_child(
        """
        import os, sys
        import ringio
        reader = ringio.Reader("object_store")
        reader.read_ranges([(sys.argv[1], 0, 10)])
        child = os.fork()
        if not child:
            try:
                reader.read_ranges([(sys.argv[1], 0, 10)])
            except ringio.RingioError as error:
                print(error, flush=True)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        """,
        path,
    )
    assert "forkserver" in out
