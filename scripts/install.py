"""Installs ringio, or what it needs, into the virtual environment whose Python runs this.

    .venv/bin/python scripts/install.py requirements test dev    # of the package, of its build, and of these extras
    .venv/bin/python scripts/install.py package                  # the package itself, built from this folder

The two are apart so that a changed C or Python file costs one incremental build and no download: requirements are
asked for again only when pyproject.toml changes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOG_TAIL_LINES = 40
LONGEST_STATUS_CHARS = 100


def say(text: str, end: str = "\n") -> None:
    """Writes progress to stderr at once."""
    sys.stderr.write(text + end)
    sys.stderr.flush()


def run_pip(title: str, arguments: Sequence[str]) -> None:
    """Runs pip and shows one line of progress instead of its many; the many come when it fails."""
    live = sys.stderr.isatty()
    rewrite = "\r\033[K" if live else ""
    say(f"{title} ...", end="" if live else "\n")
    start_s = time.monotonic()
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", *arguments]
    # Without build isolation, meson and ninja are looked up on the PATH; those of this environment are meant.
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    lines: list[str] = []
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip())
            if live:
                say(f"{rewrite}{title} ... {line.strip()[:LONGEST_STATUS_CHARS]}", end="")
    elapsed = f"{time.monotonic() - start_s:.0f} s"
    if process.returncode != 0:
        say("\n".join(["", *lines[-LOG_TAIL_LINES:], f"{title}: pip failed after {elapsed}"]))
        raise SystemExit(1)
    say(f"{rewrite}{title}: done in {elapsed}")


def install_requirements(extras: Sequence[str]) -> None:
    """Installs what pyproject.toml lists for the build, for the package and for ``extras``."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    optional = document["project"]["optional-dependencies"]
    requirements = [*document["build-system"]["requires"], *document["project"]["dependencies"]]
    for extra in extras:
        requirements += optional[extra]
    title = "Installing Python packages" + (f" for {', '.join(extras)}" if extras else "")
    run_pip(title, sorted(set(requirements)))


def install_package(meson_options: Sequence[str]) -> None:
    """Builds and installs the package; the build folder is kept, so the next time only what changed is compiled."""
    tag = f"{sys.implementation.cache_tag}-{Path(sys.prefix).name.lstrip('.')}"
    settings = [f"--config-settings=build-dir=build/wheel-{tag}"]
    settings += [f"--config-settings=setup-args={option}" for option in meson_options]
    run_pip("Building and installing ringio", ["--no-build-isolation", "--no-deps", *settings, "."])


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Install ringio, or what it needs, into this virtual environment.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("requirements").add_argument("extras", nargs="*")
    commands.add_parser("package")
    options, meson_options = parser.parse_known_args()
    if sys.prefix == sys.base_prefix:
        parser.error("not a virtual environment")
    if options.command == "requirements":
        if meson_options:
            parser.error(f"unknown options: {meson_options}")
        install_requirements(options.extras)
    else:
        install_package(meson_options)


if __name__ == "__main__":
    main()
