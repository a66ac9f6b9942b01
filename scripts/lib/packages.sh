# shellcheck shell=bash
# Installs what is missing from the distribution's own packages, and says what and why.

APT_LISTS_ARE_FRESH=no

# install_packages WHY PACKAGE…: never removes a package in order to install one (`--no-remove`): that decision is
# the machine owner's.
install_packages() {
  local why=$1
  shift
  has apt-get || die "missing: $* ($why); there is no apt-get here, please install them by hand"
  say "installing $* ($why)"
  if [ "$APT_LISTS_ARE_FRESH" = no ]; then
    apt_get update || warn "the package lists could not be renewed; trying with those at hand"
    APT_LISTS_ARE_FRESH=yes
  fi
  apt_get install -y --no-install-recommends --no-remove "$@" || die "could not install $* ($why)"
}

# Shows apt's words only when it fails. Waits for another apt instead of failing at its lock.
apt_get() {
  local log
  log=$(mktemp)
  if as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@" >"$log" 2>&1; then
    rm -f "$log"
    return 0
  fi
  tail -n 25 "$log" >&2
  rm -f "$log"
  return 1
}

package_exists() { apt-cache show "$1" >/dev/null 2>&1; }

# need_command COMMAND PACKAGE WHY
need_command() { has "$1" || install_packages "$3" "$2"; }

# Debian's packages start a service of their own at once. We start our own processes with our own settings, so a
# service that came only because of us is stopped again. One that was there before is not ours to touch.
stop_service_of_new_package() {
  [ -d /run/systemd/system ] || return 0
  say "stopping the system service $1 that came with the package: Longshore starts its own process"
  as_root systemctl disable --now "$1" >/dev/null 2>&1 || true
}

need_base_tools() {
  need_command git git "the build records its revision, pipelines clone with it"
  need_command curl curl "talks to the server and to the engine"
  need_command jq jq "reads the answers of the command line"
  [ -e /etc/ssl/certs/ca-certificates.crt ] || install_packages "trusted certificates" ca-certificates
}

need_compiler() {
  has cc && [ -e /usr/include/stdlib.h ] && return 0
  install_packages "SQLite and the cryptography are compiled from C" gcc libc6-dev
}

need_registry_binary() {
  has docker-registry && return 0
  install_packages "the image registry that the server supervises" docker-registry
  stop_service_of_new_package docker-registry
}

# Pipelines fetch over SSH, and their tests from a server of their own.
need_ssh_server() {
  need_command ssh openssh-client "pipelines fetch from git servers over SSH"
  [ -x /usr/sbin/sshd ] && return 0
  install_packages "the tests fetch over SSH" openssh-server
  stop_service_of_new_package ssh
}

# The engine's programs. Newer releases keep the client in a package of its own.
need_engine_programs() {
  if ! has dockerd || ! has containerd; then
    install_packages "the container engine" docker.io iptables
  fi
  if ! has docker && package_exists docker-cli; then
    install_packages "the engine's client" docker-cli
  fi
}
