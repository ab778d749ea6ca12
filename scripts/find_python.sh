#!/usr/bin/env bash
# Prints the path of a Python that can build and run ringio: new enough, with pip (ensurepip) and with Python.h.
#
#   scripts/find_python.sh            the first that works
#   scripts/find_python.sh 3.13       the first that works and is a Python 3.13
#   scripts/find_python.sh --bare     one that is new enough; pip and Python.h may be missing
#
# $PYTHON, where set, is the only candidate.  Each candidate is run, not only looked for: on a machine with pyenv,
# "python3.13" may be a stub that ends with an error.
set -uo pipefail

minor=${1:-}
bare=0
if [ "$minor" = --bare ]; then
  bare=1 minor=
fi

candidates() {
  if [ -n "${PYTHON:-}" ]; then
    echo "$PYTHON"
    return
  fi
  printf '%s\n' python3.13 python3.12 python3.11 python3
  printf '%s\n' /usr/bin/python3.1[1-9] /usr/local/bin/python3.1[1-9] /usr/bin/python3
  printf '%s\n' "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python3.1[1-9] | sort --version-sort --reverse
}

check='
import sys
minor, bare = sys.argv[1], sys.argv[2] == "1"
assert sys.version_info >= (3, 11) and sys.implementation.name == "cpython"
assert minor in ("", "%d.%d" % sys.version_info[:2])
if not bare:
    import ensurepip, os, sysconfig, venv
    assert os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h"))
print(sys.executable)
'

while read -r candidate; do
  command -v "$candidate" > /dev/null || continue
  if path=$("$candidate" -c "$check" "$minor" "$bare" 2> /dev/null) && [ -n "$path" ]; then
    echo "$path"
    exit 0
  fi
done < <(candidates)
exit 1
