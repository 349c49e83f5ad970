#!/usr/bin/env bash
# Installs what `npm run test:fleet` needs beside Node: Debian's mosquitto, and openssl for its certificates. The service that the
# package brings is not needed and not started by the test. Quick when all is there.
#   --check   installs nothing: names what is missing, and fails if anything is
set -euo pipefail
. "$(dirname "$0")/debian-packages.sh"

missing=()
command -v mosquitto > /dev/null || [ -x /usr/sbin/mosquitto ] || missing+=(mosquitto)
command -v openssl > /dev/null || missing+=(openssl)
[ "${1:-}" != --check ] || report_missing "${missing[@]}"
install_packages "${missing[@]}"
