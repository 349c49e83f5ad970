#!/usr/bin/env bash
# Installs what `npm run test:fleet` needs beside Node: Debian's mosquitto, and openssl for its certificates. The service that the
# package brings is not needed and not started by the test. Quick when all is there.
#   --check   installs nothing: names what is missing, and fails if anything is
set -euo pipefail

missing=()
command -v mosquitto > /dev/null || [ -x /usr/sbin/mosquitto ] || missing+=(mosquitto)
command -v openssl > /dev/null || missing+=(openssl)
[ ${#missing[@]} -gt 0 ] || exit 0
if [ "${1:-}" = --check ]; then
  (IFS=, && echo "missing: ${missing[*]}")
  exit 1
fi
sudo=()
[ "$(id -u)" -eq 0 ] || sudo=(sudo)
"${sudo[@]}" apt-get update -q
DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -q -y --no-install-recommends "${missing[@]}"
