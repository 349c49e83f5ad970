#!/usr/bin/env bash
# Installs what the serial suite needs: socat and Python from Debian, and Python's smpclient (.cache/serial/venv) from the index this
# machine is configured with. Quick when all is there.
#   --check   installs nothing: names what is missing, and fails if anything is
set -euo pipefail
cd "$(dirname "$0")/.."
venv="${MALLORN_SERIAL_CACHE:-$PWD/.cache/serial}/venv"
wanted=(smpclient[serial]==7.3.0 smp==4.2.0)

missing_packages() {
  command -v socat > /dev/null || echo socat
  python3 -c 'import ensurepip, venv' 2> /dev/null || echo python3-venv
}

install_packages() {
  local missing
  mapfile -t missing < <(missing_packages)
  [ ${#missing[@]} -gt 0 ] || return 0
  echo "installing ${missing[*]}"
  local sudo=()
  [ "$(id -u)" -eq 0 ] || sudo=(sudo)
  "${sudo[@]}" apt-get update -q
  DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -q -y --no-install-recommends "${missing[@]}"
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
  [ ${#missing[@]} -gt 0 ] || exit 0
  (IFS=, && echo "missing: ${missing[*]}")
  exit 1
fi
install_packages
has_peers || install_peers
echo "smpclient: $venv"
