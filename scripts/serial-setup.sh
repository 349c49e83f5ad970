#!/usr/bin/env bash
# Installs what the serial suite needs: socat and Python from Debian, and Python's smpclient (.cache/serial/venv) from the index this
# machine is configured with. Quick when all is there.
#   --check   installs nothing: names what is missing, and fails if anything is
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/debian-packages.sh
venv="${MALLORN_SERIAL_CACHE:-$PWD/.cache/serial}/venv"
wanted=(smpclient[serial]==7.3.0 smp==4.2.0)

missing_packages() {
  command -v socat > /dev/null || echo socat
  python3 -c 'import ensurepip, venv' 2> /dev/null || echo python3-venv
}

# The folder says that it is whole, and of which versions.
has_peers() { [ "$(cat "$venv/versions" 2> /dev/null)" = "${wanted[*]}" ]; }

install_peers() {
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check "${wanted[@]}"
  echo "${wanted[*]}" > "$venv/versions"
}

if [ "${1:-}" = --check ]; then
  mapfile -t missing < <(missing_packages)
  has_peers || missing+=("Python's smpclient")
  report_missing "${missing[@]}"
fi
mapfile -t missing < <(missing_packages)
install_packages "${missing[@]}"
has_peers || install_peers
echo "smpclient: $venv"
