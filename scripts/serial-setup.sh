#!/usr/bin/env bash
# Installs what the serial suite needs: socat and Python from Debian, Python's smpclient (.cache/serial/venv) from the index this
# machine is configured with, and mcumgrctl (.cache/serial/rust) by cargo, in one to two minutes. Quick when all is there. Where cargo is
# not or is too old, the suite says that it skips mcumgrctl; in CI (CI=true) that fails.
#   --check   installs nothing: names what is missing (but for mcumgrctl), and fails if anything is
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/debian-packages.sh
cache="${MALLORN_SERIAL_CACHE:-$PWD/.cache/serial}"
venv="$cache/venv"
rust="$cache/rust"
mcumgrctl=0.20.0
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

has_mcumgrctl() { [ "$(cat "$rust/version" 2> /dev/null)" = "$mcumgrctl" ]; }

# Serial ports alone: what Bluetooth needs is not on every machine.
install_mcumgrctl() {
  rm -rf "$rust"
  cargo install mcumgrctl --version "$mcumgrctl" --locked --no-default-features --quiet --root "$rust" --target-dir "$rust/target" &&
    rm -rf "$rust/target" &&
    echo "$mcumgrctl" > "$rust/version"
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
if ! has_mcumgrctl && ! install_mcumgrctl; then
  echo "mcumgrctl $mcumgrctl was not built: the suite skips it"
  [ "${CI:-}" != true ]
fi
