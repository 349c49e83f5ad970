#!/usr/bin/env bash
# Makes what scripts/test-home-assistant.ts wants: Home Assistant in a virtual environment in a Debian in a folder, because its newest
# releases want a newer Python than this machine's; and mosquitto. As root; 1.5 GB, five minutes; quick when all is there.
#
#   scripts/home-assistant-setup.sh FOLDER [VERSION]      VERSION of Home Assistant; default: the newest, where there is none yet
#   rm -rf FOLDER                                         undoes it
set -euo pipefail
here=$(dirname "$0")
[ $# -ge 1 ] || { sed -n '2,/^set/s/^# \?//p' "$0"; exit 2; }
root=$1
version=${2:-}

"$here/fleet-setup.sh"
# The suite that has Python 3.14.
"$here/debian-root.sh" "$root" forky systemd systemd-sysv mosquitto python3 python3-venv python3-dev gcc g++ libc6-dev
if [ ! -e "$root/ha/bin/hass" ] || [ -n "$version" ]; then
  chroot "$root" python3 -m venv /ha
  chroot "$root" /ha/bin/pip install --quiet "homeassistant${version:+==$version}"
fi
echo "Home Assistant $(chroot "$root" /ha/bin/hass --version), $(chroot "$root" python3 --version)"
