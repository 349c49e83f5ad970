# Sourced by the setup scripts.

# Installs the Debian packages that it is given; quick when it is given none.
install_packages() {
  [ $# -gt 0 ] || return 0
  echo "installing $*"
  local sudo=()
  [ "$(id -u)" -eq 0 ] || sudo=(sudo)
  "${sudo[@]}" apt-get update -q
  DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -q -y --no-install-recommends "$@"
}

# Ends the script: fails with the names of what is missing, if anything is.
report_missing() {
  [ $# -gt 0 ] || exit 0
  (IFS=, && echo "missing: $*")
  exit 1
}
