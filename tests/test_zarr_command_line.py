"""The command ``ringio-zarr``: what it prints, for people and for machines, and the exit status that scripts see."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr.codecs import GzipCodec, ShardingCodec

import ringio_zarr
from ringio_zarr import _cli, _verify

DATA = np.random.default_rng(0).integers(0, 50, (60, 50)).astype("<i4")
COMMAND = [sys.executable, "-m", "ringio_zarr"]


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("command") / "h.zarr"
    group = zarr.open_group(path, mode="w", attributes={"title": "x"})
    group.create_array("plain", shape=DATA.shape, chunks=(10, 20), dtype="<i4")[:] = DATA
    sharded = group.create_array("sub/sharded", shape=DATA.shape, chunks=(5, 10), shards=(20, 30), dtype="<i4")
    sharded[:35] = DATA[:35]
    group.create_array("scalar", shape=(), dtype="f8")[...] = 2.5
    group.create_array("empty", shape=(0, 3), dtype="f8")
    zarr.open_group(path / "v2", mode="w", zarr_format=2).create_array("a", shape=(7,), chunks=(3,), dtype=">i2")[:] = 7
    return path


@pytest.fixture
def path(original, tmp_path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(original, tmp_path / "h.zarr"))


@pytest.fixture
def run(capfdbinary):
    """Runs the command in this process, which is ten times faster than in one of its own."""

    def run(*arguments):
        try:
            status = _cli.main([*map(str, arguments)])
        except SystemExit as ended:
            status = ended.code
        output = capfdbinary.readouterr()
        return subprocess.CompletedProcess(arguments, status, output.out.decode(), output.err.decode())

    return run


@pytest.fixture
def good(run):
    def good(*arguments):
        result = run(*arguments)
        assert (result.returncode, result.stderr) == (0, "")
        return result.stdout

    return good


def test_info(good, original):
    text = good("info", original / "plain")
    assert text.startswith(repr(ringio_zarr.open(original / "plain").info))
    assert "title: 'x'" in good("info", original)
    assert "Chunks Initialized : 18" in good("info", "--complete", original / "plain")
    assert "No. arrays  : 4" in good("info", "--complete", original)
    fields = json.loads(good("info", "--json", original / "sub/sharded"))
    assert (fields["shape"], fields["shard_shape"], fields["dtype"]) == ([60, 50], [20, 30], "int32")
    assert json.loads(good("info", "--json", original))["attributes"] == {"title": "x"}


def test_tree(good, original):
    assert good("tree", original) == str(ringio_zarr.open(original).tree())
    assert "sharded" not in good("tree", "--level", "1", original)
    assert good("tree", original / "plain") == "/ (60, 50) int32\n"
    members = json.loads(good("tree", "--json", original))["members"]
    assert members["sub"]["members"]["sharded"]["shards"] == [20, 30]


@pytest.mark.parametrize("selection", ["0:4,:,", "...", "-1", "::-7,3", "4, 5", "[10:12, ...]", ""])
def test_read(good, original, selection, tmp_path):
    expected = DATA[eval(f"np.s_[{selection.strip('[]') or '...'}]")]
    good("read", original / "plain", "--select", selection, "-o", tmp_path / "out.npy")
    found = np.load(tmp_path / "out.npy")
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected)
    assert [one.name for one in tmp_path.iterdir()] == ["out.npy"]
    printed = json.loads(good("read", original / "plain", "--select", selection, "--json"))
    assert np.array_equal(printed["data"], expected)


def test_read_prints(good, original):
    assert good("read", original / "plain", "--select", "0,:3") == f"{DATA[0, :3]}\n"
    assert good("read", original / "scalar") == "2.5\n"
    assert good("read", original / "empty") == "[]\n"


def test_read_to_standard_output(original):
    done = subprocess.run([*COMMAND, "read", original / "plain", "-o", "-"], capture_output=True, check=True)
    assert np.array_equal(np.load(io.BytesIO(done.stdout)), DATA)


def test_what_was_there_stays_if_the_read_fails(run, path, tmp_path):
    (tmp_path / "out.npy").write_text("mine")
    (path / "plain/c/0/0").write_bytes(b"nonsense")
    result = run("read", path / "plain", "-o", tmp_path / "out.npy")
    assert result.returncode == 1
    assert "chunk (0, 0)" in result.stderr
    assert (tmp_path / "out.npy").read_text() == "mine"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["h.zarr", "out.npy"]


def test_too_much_to_print(run, tmp_path):
    zarr.create_array(tmp_path / "a", shape=(1 << 40,), chunks=(1 << 30,), dtype="i1")
    result = run("read", tmp_path / "a")
    assert result.returncode == 1
    assert "-o" in result.stderr


def test_all_good(good, original):
    text = good("verify", original)
    assert text.endswith(": all good\n")
    fields = json.loads(good("verify", "--json", original))
    assert (fields["arrays"], fields["bad"]) == (4, [])
    stored = [ringio_zarr.open(original)[name].info_complete().count_chunks_initialized for name in ARRAYS]
    assert fields["chunks"] == sum(stored)
    assert good("verify", original / "v2").startswith("arrays: 1, chunk files: 3")


ARRAYS = ["plain", "sub/sharded", "scalar", "empty"]


def test_each_bad_chunk_is_named(run, path):
    (path / "plain/c/2/1").write_bytes(b"nonsense")
    (path / "plain/c/5/2").write_bytes((path / "plain/c/5/2").read_bytes()[:-3])
    result = run("verify", path)
    assert result.returncode == 1
    bad = result.stdout.splitlines()
    assert [line.split(":")[0] for line in bad[:-1]] == ["/plain chunk (2, 1)", "/plain chunk (5, 2)"]
    assert bad[-1].endswith(": 2 bad")
    fields = json.loads(run("verify", "--json", path).stdout)["bad"]
    assert [one["chunk"] for one in fields] == [[2, 1], [5, 2]]
    assert [one["path"] for one in fields] == [str(path / "plain/c/2/1"), str(path / "plain/c/5/2")]
    assert {one["kind"] for one in fields} == {"DecodeError"}


def test_a_bad_inner_chunk_and_a_bad_shard(run, path):
    array = ringio_zarr.open(path / "sub/sharded")
    shard = path / "sub/sharded/c/0/0"
    data = bytearray(shard.read_bytes())
    index = np.frombuffer(data[-4 - 16 * 12 : -4], "<u8").reshape(4, 3, 2)
    offset, nbytes = index[1, 2].tolist()
    data[offset : offset + nbytes] = bytes(nbytes)
    shard.write_bytes(data)
    (path / "sub/sharded/c/1/1").write_bytes(b"far too short")
    bad = json.loads(run("verify", "--json", path / "sub").stdout)["bad"]
    assert [(one["array"], one["chunk"], one["shard"]) for one in bad] == [
        ("/sharded", [1, 2], None),
        ("/sharded", None, [1, 1]),
    ]
    with pytest.raises(ValueError, match=r"chunk \(1, 2\)"):
        array[5:10, 20:30]


def test_a_folder_in_the_place_of_a_chunk(run, path, tmp_path):
    """It cannot be read, whatever is in it; folders in which chunks are to be are none."""
    for chunk in ("plain/c/2/1", "sub/sharded/c/1/1", "scalar/c", "v2/a/0"):
        (path / chunk).unlink()
        (path / chunk).mkdir()
    (path / "plain/c/2/1/x").write_bytes(b"x")
    (path / "plain/c/3/1").unlink()
    (path / "plain/c/3/1").symlink_to(tmp_path)  # it leads back, too
    (path / "plain/c/77").mkdir()
    bad = json.loads(run("verify", "--json", path).stdout)["bad"]
    found = {one["path"]: (one["array"], one["chunk"], one["shard"]) for one in bad}
    assert found == {
        f"{path}/plain/c/2/1": ("/plain", [2, 1], None),
        f"{path}/plain/c/3/1": ("/plain", [3, 1], None),
        f"{path}/sub/sharded/c/1/1": ("/sub/sharded", None, [1, 1]),
        f"{path}/scalar/c": ("/scalar", [], None),
    }
    (bad,) = json.loads(run("verify", "--json", path / "v2").stdout)["bad"]
    assert (bad["path"], bad["chunk"]) == (f"{path}/v2/a/0", [0])
    result = run("verify", path)
    assert result.returncode == 1
    assert f"/plain chunk (2, 1): IsADirectoryError: {path}/plain/c/2/1: Is a directory" in result.stdout.splitlines()
    assert ringio_zarr.open_array(path / "plain").info_complete()  # what is stored is counted, no folders


def test_a_shard_larger_than_a_batch_is_named_once(run, path, monkeypatch):
    monkeypatch.setattr(_verify, "_BATCH_NBYTES", 400)
    (path / "sub/sharded/c/0/0").write_bytes(b"far too short")
    result = run("verify", path)
    assert len(result.stdout.splitlines()) == 2
    assert "shard (0, 0)" in result.stdout


@pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning")
def test_strings_become_strings_of_one_length(good, tmp_path):
    zarr.create_array(tmp_path / "a", shape=(3,), dtype=str)[:] = ["a", "bcd", ""]
    good("read", tmp_path / "a", "-o", tmp_path / "out.npy")
    assert np.load(tmp_path / "out.npy").tolist() == ["a", "bcd", ""]


def test_codecs_around_shards(run, tmp_path):
    serializer, compressors = ShardingCodec(chunk_shape=(5, 10)), [GzipCodec()]
    array = zarr.create_array(
        tmp_path / "a", shape=DATA.shape, chunks=(20, 30), dtype="i4", serializer=serializer, compressors=compressors
    )
    array[:] = DATA
    assert run("verify", tmp_path / "a").returncode == 0
    assert ringio_zarr.open(tmp_path / "a").explain().decoder == ("gzip", "bytes")
    (tmp_path / "a/c/0/1").write_bytes(b"bad")
    result = run("verify", tmp_path / "a")
    assert result.stdout.startswith("/ shard (0, 1): DecodeError")
    assert result.stdout.endswith(": 1 bad\n")


def test_zip_files(run, path, tmp_path):
    (path / "plain/c/2/1").write_bytes(b"nonsense")
    shutil.make_archive(str(tmp_path / "h"), "zip", path)
    result = run("verify", tmp_path / "h.zip")
    assert result.returncode == 1
    assert result.stdout.startswith("/plain chunk (2, 1): DecodeError")
    assert result.stdout.count("\n") == 2
    assert "sharded" in run("tree", tmp_path / "h.zip").stdout


@pytest.mark.zarr_3_4
def test_rectilinear_grids(run, tmp_path):
    with zarr.config.set({"array.rectilinear_chunks": True}):
        zarr.create_array(tmp_path / "a", shape=(10, 8), chunks=[[3, 3, 4], [5, 3]], dtype="i4")[:] = 1
    assert run("verify", tmp_path / "a").returncode == 0
    (tmp_path / "a/c/2/1").write_bytes(b"nonsense")
    assert run("verify", tmp_path / "a").stdout.startswith("/ chunk (2, 1): DecodeError")


def test_what_cannot_be_opened_is_bad(run, path):
    (path / "plain/zarr.json").write_text('{"zarr_format": 3, "node_type": "array"}')
    result = run("verify", path)
    assert result.returncode == 1
    assert result.stdout.startswith("/plain: MetadataError: ")
    (bad,) = json.loads(run("verify", "--json", path).stdout)["bad"]
    assert (bad["array"], bad["path"]) == ("/plain", str(path / "plain/zarr.json"))
    tree = run("tree", "--json", path)
    member = json.loads(tree.stdout)["members"]["plain"]
    assert (tree.returncode, member["type"]) == (0, "unreadable")
    assert "plain/zarr.json" in member["error"]
    assert "plain (cannot be read)" in run("tree", path).stdout


def test_what_is_left_out_is_said_in_a_line(path):
    (path / "plain/zarr.json").write_text("{")
    command = [*COMMAND, "info", "--complete", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stderr.startswith("ringio-zarr: left out: ")
    assert len(result.stderr.splitlines()) == 1
    assert "plain/zarr.json" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tree", "--level", "x"), "'x': a number of levels, 0 or more, is due"),
        (("tree", "--level", "-1"), "is due"),
        (("read", "-o", "x.npy", "--json"), "one of them is due"),
    ],
)
def test_usage(run, original, arguments, message):
    result = run(*arguments, original)
    assert result.returncode == 2
    assert message in result.stderr


def test_a_folder_that_is_not_there_is_named(run, original, tmp_path):
    result = run("read", original / "plain", "-o", tmp_path / "none/x.npy")
    assert result.returncode == 1
    assert result.stderr == f"ringio-zarr: {tmp_path / 'none'}: No such file or directory\n"


def test_links_that_lead_back(run, path):
    (path / "sub/loop").symlink_to(path)
    result = run("verify", path)
    assert result.returncode == 0
    assert run("tree", "--json", path).returncode == 0


def test_few_chunks_of_a_huge_array(good, tmp_path):
    zarr.create_array(tmp_path / "a", shape=(1 << 50,), chunks=(1 << 10,), dtype="i1")[1 << 40] = 1
    assert good("verify", tmp_path / "a").startswith("arrays: 1, chunk files: 1")


def test_memory_is_bounded(tmp_path):
    """512 MiB are verified in far less: a batch of 64 MiB, and what the interpreter takes."""
    zarr.create_array(tmp_path / "a", shape=(512 << 20,), chunks=(8 << 20,), dtype="i1", compressors=[])[:] = 1
    code = f"""
import resource, sys
from ringio_zarr._cli import main
main(["info", {str(tmp_path / "a")!r}])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert main(["verify", {str(tmp_path / "a")!r}]) == 0
sys.exit(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before > 250 << 10)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ([], 2),
        (["info"], 2),
        (["read", "x", "--select", "a:b"], 2),
        (["tree", "x", "--level", "-1"], 2),
        (["info", "/no/such/place"], 1),
        (["verify", "unknown://x/y"], 1),
    ],
)
def test_wrong_usage_and_unknown_paths(run, arguments, status):
    result = run(*arguments)
    assert result.returncode == status
    assert "Traceback" not in result.stderr
    assert result.stderr.count("\n") == 1 or status == 2


def test_selections_that_do_not_fit(run, original):
    for selection in ["0,0,0", "60"]:
        result = run("read", original / "plain", "--select", selection)
        assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert run("read", original).returncode == 1


def test_as_a_command_of_its_own(original):
    command = Path(sysconfig.get_path("scripts")) / "ringio-zarr"
    done = subprocess.run([command, "verify", original], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert subprocess.run([*COMMAND, "--version"], capture_output=True, check=True).stdout.startswith(b"ringio-zarr ")


def test_whoever_reads_closes_the_pipe(tmp_path):
    zarr.create_array(tmp_path / "a", shape=(1 << 20,), dtype="i4")[:] = 1
    with subprocess.Popen(
        [*COMMAND, "read", tmp_path / "a", "-o", "-"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.read(10)
        process.stdout.close()
        assert process.wait(60) == 141
        assert process.stderr.read() == b""


def test_ctrl_c(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    code = f"""
import sys, time
from ringio_zarr import _cli, _verify
def forever(*_):
    open({str(tmp_path / "fifo")!r}, "w").write("x")
    time.sleep(60)
_verify.ArrayCheck._check_once = forever
sys.exit(_cli.main(["verify", {str(tmp_path / "a")!r}]))
"""
    zarr.create_array(tmp_path / "a", shape=(10,), dtype="i4")[:] = 1
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) as process:
        (tmp_path / "fifo").read_text()
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert time.monotonic() - begun < 2
        assert process.stderr.read() == b""
