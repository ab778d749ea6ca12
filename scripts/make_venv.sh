#!/usr/bin/env bash
# Makes a fresh virtual environment: scripts/make_venv.sh .venv
set -euo pipefail
here=$(dirname "$0")
if ! python=$("$here/find_python.sh"); then
  echo "No CPython >= 3.11 with pip and Python.h was found (set PYTHON to name one)." >&2
  exit 1
fi
echo "Making $1 with $("$python" --version) ($python)"
"$python" -m venv --clear "$1"
