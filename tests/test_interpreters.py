"""Sub-interpreters: ringio works in one where numpy does, and says so where it does not."""

from __future__ import annotations

import sys

import pytest

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
