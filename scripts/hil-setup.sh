#!/usr/bin/env bash
# Installs what the emulated board needs: Debian packages, QuickJS's source and its tools for this machine (.cache/hil/host: qjs, qjsc),
# Closure Compiler. The firmware is left to scripts/build-firmware.ts. Quick when all is there. QUICKJS_DIR names a local source tree.
#   --check   installs nothing: names what is missing, and fails if anything is
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/debian-packages.sh
cache="${MALLORN_HIL_CACHE:-$PWD/.cache/hil}"
# Debian source package quickjs 2025.04.26-1 (trixie); the hash of its orig.tar.xz.
quickjs_version=2025.04.26
quickjs_sha256=ec81da5b3249ed648dbc7df4a1654988910e66a118d9b71cb63534216efcfbbe
# 85 MB, and only the firmware needs it: not a dependency of the package.
closure=google-closure-compiler@20260830.0.0

missing_packages() {
  local package
  for package in socat gcc make libc6-dev qemu-system-arm gcc-arm-none-eabi picolibc-arm-none-eabi; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
  done
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

install_closure() {
  rm -rf "$cache/closure.tmp" "$cache/closure"
  mkdir -p "$cache/closure.tmp"
  npm install --no-save --no-audit --no-fund --ignore-scripts --prefix "$cache/closure.tmp" "$closure"
  # Its folder says that it is whole, and of which version.
  echo "$closure" > "$cache/closure.tmp/version"
  mv "$cache/closure.tmp" "$cache/closure"
}

has_quickjs() { [ -e "$quickjs/quickjs.c" ]; }
has_host() { [ -x "$cache/host/qjs" ] && [ -x "$cache/host/qjsc" ]; }
has_closure() { [ "$(cat "$cache/closure/version" 2>/dev/null)" = "$closure" ]; }

quickjs="${QUICKJS_DIR:-$cache/quickjs}"
if [ "${1:-}" = --check ]; then
  mapfile -t missing < <(missing_packages)
  has_quickjs || missing+=("QuickJS's source")
  has_host || missing+=("QuickJS's tools")
  has_closure || missing+=("Closure Compiler")
  report_missing "${missing[@]}"
fi
mkdir -p "$cache"
mapfile -t missing < <(missing_packages)
install_packages "${missing[@]}"
if ! has_quickjs; then
  [ -z "${QUICKJS_DIR:-}" ] || { echo "no QuickJS in QUICKJS_DIR, $QUICKJS_DIR" >&2; exit 1; }
  fetch_quickjs
fi
has_host || build_host
has_closure || install_closure
echo "QuickJS: $quickjs"
echo "tools: $cache/host, $cache/closure"
