#!/usr/bin/env bash
# Installs the system packages that are missing for building ringio, and only those.  With nothing missing it does and
# says nothing.  Debian and Ubuntu only; elsewhere it names what is missing and fails.
set -euo pipefail
here=$(dirname "$0")

packages=() reasons=()
need() { # need PACKAGE REASON
  packages+=("$1")
  reasons+=("$(printf '  %-18s %s' "$1" "$2")")
}

have() { command -v "$1" > /dev/null; }
have_library() { have pkg-config && pkg-config --exists "$1"; }

python_packages() {
  local version
  if [ -n "${PYTHON:-}" ] && ! "$here/find_python.sh" --bare > /dev/null; then
    echo "PYTHON=$PYTHON is not a CPython >= 3.11 that runs" >&2
    exit 1
  fi
  "$here/find_python.sh" > /dev/null && return
  if path=$("$here/find_python.sh" --bare); then
    version=$("$path" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
    "$path" -c 'import ensurepip' 2> /dev/null || need "$version-venv" "pip and venv for $path"
    need "$version-dev" "Python.h for $path"
    return
  fi
  for version in python3.13 python3.12 python3.11; do
    if have apt-cache && [ -n "$(apt-cache search --names-only "^$version-venv\$")" ]; then
      need "$version" "Python >= 3.11"
      need "$version-venv" "its pip and venv"
      need "$version-dev" "its Python.h"
      return
    fi
  done
  need "python3 (>= 3.11)" "Python >= 3.11, with python3-venv and python3-dev"
}

# nginx is not here: its package would start a service.  scripts/install_servers.sh unpacks it.
tests_packages() {
  [ "$(uname -s)" != Linux ] || have strace || need strace "tests: system calls that fail"
  have node || need nodejs "tests: runs azurite, Azure's blob service"
  have npm || need npm "tests: installs azurite"
  # A folder over the network, where something can be mounted by who is not the kernel.
  if [ -w /dev/fuse ]; then
    have sshfs || need sshfs "tests: a network mount"
    have sftp-server || [ -x /usr/lib/openssh/sftp-server ] || need openssh-sftp-server "tests: its other end"
  fi
  # Only root can mount what it makes.
  [ "$(uname -s)" != Linux ] || [ "$(id -u)" != 0 ] || PATH=$PATH:/usr/sbin:/sbin have mkfs.xfs ||
    need xfsprogs "tests: another file system"
}

find_missing() {
  packages=() reasons=()
  have cc || need build-essential "C compiler"
  have pkg-config || need pkg-config "finds libraries"
  [ "$(uname -s)" != Linux ] || have_library liburing || need liburing-dev "io_uring: reads in batches"
  have_library libzstd || need libzstd-dev "decodes zstd"
  have_library liblz4 || need liblz4-dev "decodes LZ4"
  have_library libdeflate || need libdeflate-dev "decodes gzip and zlib"
  [ "${1:-}" != tests ] || tests_packages
  python_packages
}

report_missing() {
  echo "Missing system packages:" >&2
  printf '%s\n' "${reasons[@]}" >&2
}

install_packages() {
  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    have sudo || { echo "Neither root nor sudo here. As root, run: apt-get install ${packages[*]}" >&2; exit 1; }
    as_root=(sudo)
  fi
  echo "Installing them: ${as_root[*]:+sudo }apt-get install ${packages[*]}" >&2
  local log
  log=$(mktemp)
  # A fresh container has no package lists; elsewhere they may be stale.
  if ! { "${as_root[@]}" apt-get update -q > "$log" 2>&1 &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
      "${packages[@]}" >> "$log" 2>&1; }; then
    tail -n 30 "$log" >&2
    echo "apt-get failed; its whole output is in $log" >&2
    exit 1
  fi
  rm -f "$log"
}

find_missing "$@"
if [ ${#packages[@]} != 0 ]; then
  report_missing
  if ! have apt-get; then
    echo "This is no Debian or Ubuntu: please install them under the names that your system has for them." >&2
    echo "  Fedora: gcc pkgconf liburing-devel libzstd-devel lz4-devel libdeflate-devel python3-devel" >&2
    echo "  Arch: base-devel liburing zstd lz4 libdeflate python" >&2
    exit 1
  fi
  install_packages
  find_missing "$@"
  if [ ${#packages[@]} != 0 ]; then
    report_missing
    echo "They are still missing after the installation." >&2
    exit 1
  fi
fi
if have pkg-config && pkg-config --exists 'liburing < 2.3'; then
  echo "liburing is older than 2.3 here: building without io_uring, the 'threads' backend takes its place." >&2
fi
