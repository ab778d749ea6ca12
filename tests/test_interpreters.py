"""Sub-interpreters: ringio works in one where numpy does, and says so where it does not; so in free-threaded Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

SCRIPT = """
    import sys, textwrap
    try:
        import _interpreters as interpreters
        create, run = interpreters.create, interpreters.exec
    except ImportError:
        import _xxsubinterpreters as interpreters
        create = lambda kind: interpreters.create(isolated=kind == "isolated")
        run = interpreters.run_string

    kind, main_first = sys.argv[1:]
    if main_first == "yes":
        import ringio
    interpreter = create(kind)
    run(interpreter, textwrap.dedent('''
        import warnings
        warnings.simplefilter("ignore")
        try:
            import ringio
        except ImportError as error:
            print("refused:", error)
        else:
            path = ringio.__file__
            data = open(path, "rb").read()
            buffers = ringio.read_ranges([(path, i, 5) for i in range(1000)])
            assert [bytes(buffer) for buffer in buffers] == [data[i : i + 5] for i in range(1000)]
            print("works")
    '''))
    interpreters.destroy(interpreter)
    import ringio
    """


@pytest.mark.parametrize("kind", ["isolated", "legacy"])
def test_beside_the_main_interpreter(run_child, kind):
    """numpy can be in one interpreter of a process: the second is refused in words, and the first goes on."""
    script = SCRIPT + "print(len(ringio.read_ranges([(ringio.__file__, 0, 5)])[0]))\n"
    first, second = run_child(script, kind, "yes").splitlines()
    assert first.startswith("refused: ringio cannot be imported in a sub-interpreter")
    assert "threads" in first
    assert second == "5"


def test_alone(run_child):
    """As under mod_wsgi: the main interpreter imports nothing."""
    script = SCRIPT.rsplit("    import ringio", 1)[0]
    assert run_child(script, "legacy", "no") == "works\n"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="no interpreter has a GIL of its own there")
def test_with_a_gil_of_its_own(run_child):
    script = SCRIPT.rsplit("    import ringio", 1)[0]
    assert run_child(script, "isolated", "no").startswith("refused: ringio cannot be imported in a sub-interpreter")


class TestFreeThreaded:
    """Python without a GIL is pretended: what is asked is the same."""

    def test_a_build_stops_and_says_why(self, tmp_path):
        """What pip runs, as far as it gets: no wheel is made that such a Python could not load."""
        pytest.importorskip("mesonpy")
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        if not shutil.which("ninja", path=path) or not shutil.which("meson", path=path):
            pytest.skip("no meson or ninja to build with")
        script = """
            import sys, sysconfig
            ask = sysconfig.get_config_var
            sysconfig.get_config_var = lambda name: 1 if name == "Py_GIL_DISABLED" else ask(name)
            import mesonpy
            mesonpy.build_wheel(sys.argv[1], {"builddir": sys.argv[2]})
        """
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "\n".join(line.strip() for line in script.splitlines()),
                tmp_path,
                tmp_path / "build",
            ],
            cwd=ROOT,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode
        assert "Limited API, which is not supported by free-threaded" in said, said[-2000:]
        assert not list(tmp_path.glob("*.whl"))

    def test_an_import_is_refused_in_words(self, run_child):
        said = run_child(
            """
            import sys
            sys.abiflags = "t"
            sys.version_info = (3, 14, 0, "final", 0)
            sys.modules["ringio._core"] = None  # as where the finder knows no name that ends in .abi3.so
            try:
                import ringio
            except ImportError as error:
                print(error)
            """
        )
        assert said.startswith("ringio cannot be imported in a free-threaded Python before 3.15")
        assert "GIL" in said
