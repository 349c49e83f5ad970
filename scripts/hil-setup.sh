#!/usr/bin/env bash
# Installs what the emulated board needs and builds it: Debian packages, QuickJS for this machine (.cache/hil/host: qjs, qjsc) and
# the firmware's objects are left to targets/firmware/build.sh. Quick when all is there. QUICKJS_DIR names a local source tree instead.
set -euo pipefail
cd "$(dirname "$0")/.."
cache="${MALLORN_HIL_CACHE:-$PWD/.cache/hil}"
# Debian source package quickjs 2025.04.26-1 (trixie); the hash of its orig.tar.xz.
quickjs_version=2025.04.26
quickjs_sha256=ec81da5b3249ed648dbc7df4a1654988910e66a118d9b71cb63534216efcfbbe

install_packages() {
  local missing=() package
  for package in gcc make libc6-dev qemu-system-arm gcc-arm-none-eabi picolibc-arm-none-eabi; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  echo "installing ${missing[*]}"
  local sudo=()
  [ "$(id -u)" -eq 0 ] || sudo=(sudo)
  "${sudo[@]}" apt-get update -q
  DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -q -y --no-install-recommends "${missing[@]}"
}

# The mirror this machine already uses for Debian itself; any other archive has no trixie.
mirror() {
  apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(COMPONENT)' 'Created-By: Packages' \
    | awk '$2 == "Debian" && $3 == "main" && $1 !~ /security/ { print $1; exit }'
}

# A private apt configuration: the machine's own sources, lists and caches stay as they are.
fetch_quickjs() {
  local apt="$cache/apt" keyring=/usr/share/keyrings/debian-archive-keyring.gpg uri
  uri="$(mirror)"
  [ -n "$uri" ] || { echo "no Debian mirror in this machine's apt sources; set QUICKJS_DIR" >&2; exit 1; }
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/download"
  echo "deb-src [signed-by=$keyring] $uri trixie main" > "$apt/sources.list"
  local options=(-o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$apt/lists"
    -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root)
  apt-get "${options[@]}" update -q
  (cd "$apt/download" && apt-get "${options[@]}" source -q --download-only "quickjs=$quickjs_version-1")
  local archive="$apt/download/quickjs_$quickjs_version.orig.tar.xz"
  echo "$quickjs_sha256  $archive" | sha256sum --check --quiet
  rm -rf "$cache/quickjs.tmp" "$cache/quickjs"
  mkdir -p "$cache/quickjs.tmp"
  tar -xJf "$archive" -C "$cache/quickjs.tmp" --strip-components=1
  mv "$cache/quickjs.tmp" "$cache/quickjs"
  rm -rf "$apt"
}

build_host() {
  rm -rf "$cache/host.tmp" "$cache/host"
  cp -r "$quickjs" "$cache/host.tmp"
  make -C "$cache/host.tmp" -s CONFIG_LTO= qjs qjsc > "$cache/host-build.log" 2>&1 || { tail -20 "$cache/host-build.log" >&2; exit 1; }
  mv "$cache/host.tmp" "$cache/host"
}

mkdir -p "$cache"
install_packages
if [ -n "${QUICKJS_DIR:-}" ]; then
  quickjs="$QUICKJS_DIR"
else
  quickjs="$cache/quickjs"
  [ -e "$quickjs/quickjs.c" ] || fetch_quickjs
fi
[ -x "$cache/host/qjsc" ] || build_host
echo "QuickJS: $quickjs"
echo "host tools: $cache/host"
