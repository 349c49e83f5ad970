#!/usr/bin/env bash
# Makes a folder with a Debian of another suite than this machine's, with this machine's Node and npm, for what wants a newer system.
# As root; a minute or two, and quick when it is there. `rm -rf FOLDER` undoes it.
#
#   scripts/debian-root.sh FOLDER [SUITE] [PACKAGE...]
#
# SUITE: default forky. Without packages: those for `npm run test:systemd -- --root FOLDER`.
set -euo pipefail
. "$(dirname "$0")/debian-packages.sh"
[ $# -ge 1 ] || { sed -n '2,/^set/s/^# \?//p' "$0"; exit 2; }
root=$1
suite=${2:-forky}
packages=("${@:3}")
[ ${#packages[@]} -gt 0 ] || packages=(systemd systemd-sysv mosquitto)

command -v debootstrap > /dev/null || install_packages debootstrap
if [ ! -e "$root/.complete" ]; then
  include=$(IFS=, && echo "ca-certificates,${packages[*]}")
  # The script of sid makes every suite that this machine's debootstrap does not know yet.
  debootstrap --variant=minbase --include="$include" "$suite" "$root" '' /usr/share/debootstrap/scripts/sid
  touch "$root/.complete"
fi
# Resolves names and trusts certificates as this machine does.
install -m 644 /etc/resolv.conf "$root/etc/resolv.conf"
install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
# Debian's own npm is four hundred packages.
modules=$(npm root --global)
install -m 755 "$(readlink -f "$(command -v node)")" "$root/usr/bin/node"
mkdir -p "$root/usr/lib/node_modules"
cp -rT "$modules/npm" "$root/usr/lib/node_modules/npm"
ln -sf ../lib/node_modules/npm/bin/npm-cli.js "$root/usr/bin/npm"
