"""The command ``ringio``: what it prints, for people and for machines, and the exit status that scripts see."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import ringio
from ringio import _cli

DATA = np.random.default_rng(0).bytes(3 << 20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("command")
    (folder / "data").write_bytes(DATA)
    (folder / "sub").mkdir()
    (folder / "sub/x.txt").write_bytes(b"x")
    (folder / "empty").touch()
    return folder


@pytest.fixture
def run(capfdbinary) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Runs the command in this process, which is ten times faster than in one of its own."""

    def run(*arguments):
        try:
            status = _cli.main([*map(str, arguments)])
        except SystemExit as ended:
            status = ended.code
        output = capfdbinary.readouterr()
        return subprocess.CompletedProcess(arguments, status, output.out, output.err)

    return run


@pytest.fixture
def good(run) -> Callable[..., bytes]:
    """What a command prints that has nothing to complain about."""

    def good(*arguments):
        result = run(*arguments)
        assert (result.returncode, result.stderr) == (0, b"")
        return result.stdout

    return good


@pytest.fixture
def bad(run) -> Callable[..., str]:
    """What a command that fails says on standard error: one line, unless it is about usage."""

    def bad(*arguments, status=1):
        result = run(*arguments)
        assert (result.returncode, result.stdout) == (status, b"")
        text = result.stderr.decode()
        assert "Traceback" not in text
        if status == 1:
            assert text.startswith("ringio: ")
            assert text.count("\n") == 1
        return text

    return bad


class TestRead:
    @pytest.mark.parametrize(
        ("offset", "length", "part"),
        [
            (0, 10, DATA[:10]),
            (5, "end", DATA[5:]),
            (-20, "end", DATA[-20:]),
            (-20, 5, DATA[-20:-15]),
            (0, 0, b""),
            (len(DATA), "end", b""),
        ],
    )
    def test_bytes(self, folder, offset, length, part, good):
        assert good("read", folder / "data", offset, length) == part

    def test_to_a_file(self, folder, tmp_path, good, bad):
        assert good("read", f"file://{folder}/data", 7, 100, "-o", tmp_path / "x", "--backend", "threads") == b""
        assert (tmp_path / "x").read_bytes() == DATA[7:107]
        bad("read", folder / "data", 0, 10 * len(DATA), "-o", tmp_path / "x")
        assert (tmp_path / "x").read_bytes() == DATA[7:107]  # what was there is left alone
        assert "is the file that is read" in bad("read", tmp_path / "x", 0, 10, "-o", tmp_path / "x")
        assert (tmp_path / "x").read_bytes() == DATA[7:107]

    def test_long_ranges_come_in_pieces(self, folder, monkeypatch):
        monkeypatch.setattr(_cli, "_PIECE_NBYTES", 1000)
        with ringio.Reader() as reader:
            for offset, length, part in [(0, None, DATA), (-5000, 4999, DATA[-5000:-1]), (17, 1000, DATA[17:1017])]:
                pieces = list(_cli._pieces(reader, f"{folder}/data", offset, length, False))
                assert b"".join(pieces) == part
                assert all(len(piece) == 1000 for piece in pieces[:-1])

    def test_a_file_that_changes_meanwhile(self, tmp_path, monkeypatch):
        monkeypatch.setattr(_cli, "_PIECE_NBYTES", 1000)
        path = tmp_path / "x"
        path.write_bytes(DATA[:5000])
        with ringio.Reader() as reader:
            pieces = _cli._pieces(reader, str(path), 0, None, False)
            next(pieces)
            path.write_bytes(DATA[1:5001])
            os.utime(path, ns=(0, 0))
            with pytest.raises(ringio.FileChangedError):
                list(pieces)

    def test_errors(self, folder, good, bad):
        assert bad("read", folder / "nowhere", 0, 5) == f"ringio: {folder}/nowhere: No such file or directory\n"
        assert "Is a directory" in bad("read", folder, 0, 5)
        assert "Is a directory" in bad("read", folder, 0, "end")
        for arguments in [(len(DATA) - 1, 2), (-len(DATA) - 1, 2), (len(DATA) + 1, "end")]:
            assert str(len(DATA)) in bad("read", folder / "data", *arguments)
        assert good("read", folder / "data", len(DATA) - 1, 5, "--allow-short") == DATA[-1:]
        assert good("read", folder / "data", -len(DATA) - 5, 10, "--allow-short") == DATA[:5]
        assert "a\\nb" in bad("read", "/nowhere/a\nb", 0, 5)

    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["nothing"],
            ["read"],
            ["read", "x", "y", "1"],
            ["read", "x", "0", "-1"],
            ["read", "x", "0", "all"],
            ["read", "x", "0", "1", "--backend", "memory"],
            ["bench", "x", "--seconds", "0"],
            ["ls"],
        ],
    )
    def test_usage(self, arguments, bad):
        assert "usage: ringio" in bad(*arguments, status=2)


class TestNames:
    def test_ls(self, folder, good):
        lines = good("ls", folder).decode().splitlines()
        assert [line.split()[-1] for line in lines] == [f"{folder}/data", f"{folder}/empty", f"{folder}/sub/"]
        assert lines[0].split()[0] == str(len(DATA))
        assert f"{folder}/sub/x.txt" in good("ls", "-r", folder).decode()
        assert good("ls", folder / "data").decode().split()[0] == str(len(DATA))

    def test_ls_for_machines(self, folder, tmp_path, good):
        entries = json.loads(good("ls", folder, "--json"))
        assert [(entry["name"], entry["type"], entry["size"]) for entry in entries] == [
            (f"{folder}/data", "file", len(DATA)),
            (f"{folder}/empty", "file", 0),
            (f"{folder}/sub", "directory", 0),
        ]
        assert [entry["name"] for entry in json.loads(good("ls", "-r", folder, "--json"))][-1] == f"{folder}/sub/x.txt"
        assert json.loads(good("ls", tmp_path, "--json")) == []

    def test_strange_names(self, tmp_path, good):
        for name in ("a\nb", "é", os.fsdecode(b"\xff")):
            (tmp_path / name).touch()
        lines = good("ls", tmp_path).splitlines()
        assert sorted(line.rpartition(b"/")[2] for line in lines) == sorted([b"a\\nb", "é".encode(), b"\xff"])
        names = [Path(entry["name"]).name for entry in json.loads(good("ls", tmp_path, "--json"))]
        assert sorted(names) == sorted(["a\nb", "é", os.fsdecode(b"\xff")])

    def test_head(self, folder, good):
        fields = json.loads(good("head", folder / "data", "--json"))
        assert (fields["type"], fields["size"]) == ("file", len(DATA))
        assert fields["etag"] == ringio.Store(folder).head("data")["e_tag"]
        assert f"size      {len(DATA)}\n" in good("head", folder / "data").decode()

    def test_a_url_with_one_slash(self, run):
        for arguments in (["ls", "s3:/bucket/x"], ["head", "s3:/bucket/x"], ["info", "s3:/x"], ["read", "s3:/x", 0, 1]):
            result = run(*arguments)
            assert result.returncode == 1
            assert result.stderr.endswith(b"No such file or directory; a URL begins with s3://, with two slashes\n")

    def test_missing(self, folder, bad):
        for command in ("ls", "head", "bench"):
            assert "No such file" in bad(command, folder / "nowhere")


class TestInfo:
    def test_for_machines(self, folder, good):
        facts = json.loads(good("info", folder, folder / "data", "https://host/x", "--json"))
        with ringio.Reader() as reader:
            assert (facts["backend"], facts["backend_reason"]) == (reader.backend, reader.backend_reason)
            assert facts["workers"] == reader.workers
            assert facts["memory_bytes"]["reader_limit"] == reader.memory_limit_bytes
        assert facts["ringio"] == ringio.__version__
        one, two, three = facts["paths"]
        assert one | {"path": ""} == two | {"path": ""}
        assert one["filesystem"]
        assert isinstance(one["nowait"], bool)
        assert isinstance(one["direct"], bool)
        assert three["remote"]

    def test_for_people(self, folder, good):
        text = good("info", folder, "--backend", "threads").decode()
        for word in ("ringio ", "backend     threads: ", "workers", "RLIMIT_NOFILE", "RLIMIT_MEMLOCK", "NOWAIT"):
            assert word in text
        assert "NOWAIT      unknown" in good("info", "/proc/self/task").decode()

    def test_paths_that_cannot_be_looked_at(self, folder, run):
        """The rest is shown all the same."""
        paths = [folder / "nowhere", folder / "data", "file://elsewhere/x", folder / "data/x"]
        result = run("info", *paths)
        assert result.returncode == 1
        text, said = result.stdout.decode(), result.stderr.decode().splitlines()
        assert "backend " in text
        assert f"path        {folder}/data\n" in text
        assert "nowhere" not in text
        assert said[0] == f"ringio: {folder}/nowhere: No such file or directory"
        assert said[2] == f"ringio: {folder}/data/x: Not a directory"
        assert len(said) == 3
        result = run("info", *paths, "--json")
        assert [each["path"] for each in json.loads(result.stdout)["paths"]] == [f"{folder}/data"]
        assert (result.returncode, result.stderr.count(b"\n")) == (1, 3)

    def test_a_backend_that_is_not_there(self, bad, monkeypatch):
        monkeypatch.setenv("RINGIO_BACKEND", "abacus")
        assert "RINGIO_BACKEND=abacus" in bad("info")


class TestBench:
    def test_table_and_json(self, folder, tmp_path, good):
        results = json.loads(good("bench", folder / "data", "--seconds", "0.01", "--json"))
        assert results["size"] == len(DATA)
        rows = results["results"]
        assert {(row["state"], row["range_bytes"]) for row in rows} >= {("hot", 4096), ("cold", 4096), ("hot", 65536)}
        for row in rows:
            assert set(row["ranges_per_s"]) | set(results["absent"]) >= {"threads", "os.pread loop", "io_uring"}
            assert row["state"] == "cold" or all(value > 0 for value in row["ranges_per_s"].values())
        assert results["path"] == str(folder / "data")
        text = good("bench", f"{folder}/./data", "--seconds", "0.01").decode()
        assert text.startswith(f"{folder}/./data, ")
        assert "hot       4 KiB" in text
        assert "cold     64 KiB" in text
        assert results["left_out"] == [1 << 20]
        assert "\n1 MiB: left out, the file has less than 16 ranges of this size\n" in text
        (tmp_path / "x").touch()
        os.truncate(tmp_path / "x", 16 << 20)
        assert "left out" not in good("bench", tmp_path / "x", "--seconds", "0.01").decode()

    def test_what_cannot_be_measured(self, folder, bad):
        assert "at least 65536" in bad("bench", folder / "empty")
        assert f"{folder}: Is a directory" in bad("bench", folder)
        assert "only local files" in bad("bench", "https://host/x")


class TestEnds:
    def test_broken_pipe_is_quiet(self, folder):
        command = f"{sys.executable} -m ringio read {folder}/data 0 end; echo $? >&2"
        result = subprocess.run(
            ["bash", "-c", f"( {command} ) | head -c 10"], capture_output=True, timeout=60, check=False
        )
        assert result.stdout == DATA[:10]
        assert result.stderr == b"141\n"

    def test_ctrl_c(self, tmp_path):
        """Interrupted while it waits for whoever should read its output."""
        path = tmp_path / "x"
        path.write_bytes(DATA)
        reading, writing = os.pipe()
        process = subprocess.Popen(
            [sys.executable, "-m", "ringio", "read", path, "0", "end"], stdout=writing, stderr=subprocess.PIPE
        )
        os.close(writing)
        assert os.read(reading, 1) == DATA[:1]  # it is running
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, text = process.communicate(timeout=30)
        os.close(reading)
        assert (process.returncode, text) == (130, b"")

    def test_as_a_module_and_as_a_script(self, folder):
        script = Path(sys.executable).parent / "ringio"
        if not script.exists():
            pytest.skip("ringio is not installed with its command")
        for command in ([sys.executable, "-m", "ringio"], [str(script)]):
            for arguments, status, output in [
                (["--version"], 0, f"ringio {ringio.__version__}\n".encode()),
                (["read", f"{folder}/data", "-3", "end"], 0, DATA[-3:]),
                (["read", f"{folder}/nowhere", "0", "5"], 1, b""),
                (["read"], 2, b""),
            ]:
                result = subprocess.run([*command, *arguments], capture_output=True, timeout=60, check=False)
                assert (result.returncode, result.stdout) == (status, output)
                assert b"Traceback" not in result.stderr
