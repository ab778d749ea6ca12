#!/usr/bin/env bash
# install_servers.sh [PYTHON]: puts the servers that tests of remote reads talk to into build/servers: nginx, azurite from
# npm, and moto in a virtual environment of its own; and zarrita, which writes arrays that ringio_zarr must read.  Nothing outside of that folder is touched, and no service is started,
# as installing nginx's package would; an nginx or azurite of this machine is taken as it is.  Says what could not be had,
# and fails then: the tests that want it are skipped.
set -uo pipefail
cd "$(dirname "$0")/.."
target=build/servers
python=${1:-python3}
# The last that runs on Node.js before 21.
azurite_version=3.35.0
zarrita_version=0.7.5
failed=0

have() { PATH=$PATH:/usr/sbin:/usr/local/sbin command -v "$1" > /dev/null; }

run() { # run LOG COMMAND...: shows its output only when it fails
  local log=$1
  shift
  "$@" > "$log" 2>&1 || { tail -n 15 "$log" >&2; return 1; }
}

# Debian's package, unpacked: the libraries that nginx needs are those that dpkg, apt and Python need.
unpack_nginx() {
  rm -rf "$target/nginx" "$target/nginx-package"
  mkdir -p "$target/nginx-package"
  (
    cd "$target/nginx-package" || exit
    # A fresh container has no package lists.
    apt-get download -q nginx || { [ "$(id -u)" = 0 ] && apt-get update -q && apt-get download -q nginx; }
  ) && dpkg -x "$target"/nginx-package/nginx_*.deb "$target/nginx" && "$target/nginx/usr/sbin/nginx" -v
}

install_nginx() {
  have nginx || "$target/nginx/usr/sbin/nginx" -v 2> /dev/null && return
  have apt-get || { echo "No nginx here: please install it under the name that your system has for it." >&2; return 1; }
  echo "Unpacking Debian's nginx into $target" >&2
  run "$target/nginx.log" unpack_nginx
}

install_azurite() {
  have azurite-blob || [ -x "$target/azurite/node_modules/.bin/azurite-blob" ] && return
  have npm || { echo "No npm here, so no azurite, Azure's blob service." >&2; return 1; }
  echo "Installing azurite $azurite_version into $target" >&2
  run "$target/azurite.log" npm install --prefix "$target/azurite" --no-audit --no-fund --omit=dev --ignore-scripts \
    "azurite@$azurite_version"
}

install_zarrita() {
  [ -d "$target/zarrita/node_modules/zarrita" ] && return
  have npm || { echo "No npm here, so no zarrita." >&2; return 1; }
  echo "Installing zarrita $zarrita_version into $target" >&2
  run "$target/zarrita.log" npm install --prefix "$target/zarrita" --no-audit --no-fund --omit=dev --ignore-scripts \
    "zarrita@$zarrita_version"
}

# Apart from the tests' own environment: what moto needs of botocore is not what s3fs needs of it.
make_moto() {
  rm -rf "$target/moto"
  "$python" -m venv "$target/moto" && "$target/moto/bin/python" -m pip install -q 'moto[server]>=5'
}

install_moto() {
  [ -x "$target/moto/bin/moto_server" ] && return
  echo "Installing moto into $target" >&2
  run "$target/moto.log" make_moto || { rm -rf "$target/moto"; return 1; }
}

mkdir -p "$target"
# At once: each waits for its download or for its one core.
jobs=()
for install in install_moto install_nginx install_azurite install_zarrita; do
  "$install" &
  jobs+=($!)
done
for job in "${jobs[@]}"; do
  wait "$job" || failed=1
done
exit "$failed"
