# shellcheck shell=bash
# The machine's own container engine: found, or installed and started. An engine that is there is left as it is.

DOCKER_SOCKET=/var/run/docker.sock

# Asks over the socket and not with the client, which may be missing where an engine is running.
engine_answers_at() { [ "$(curl -fs --max-time 5 --unix-socket "$1" http://engine/_ping 2>/dev/null)" = OK ]; }

engine_answers_root_at() {
  [ "$(as_root curl -fs --max-time 5 --unix-socket "$1" http://engine/_ping 2>/dev/null)" = OK ]
}

systemd_runs() { [ -d /run/systemd/system ]; }
systemd_has_docker() { systemd_runs && systemctl cat docker.service >/dev/null 2>&1; }

# ensure_engine STATE_DIR: afterwards this account can use an engine.
ensure_engine() {
  local state=$1 installed=no

  if [ -n "${DOCKER_HOST:-}" ]; then
    use_named_engine
    return
  fi
  if engine_answers_at "$DOCKER_SOCKET"; then
    say "engine: the one at $DOCKER_SOCKET is used as it is"
    return
  fi
  if [ -S "$DOCKER_SOCKET" ] && engine_answers_root_at "$DOCKER_SOCKET"; then
    enter_docker_group "$installed"
    return
  fi

  if ! has dockerd && ! systemd_has_docker; then
    need_engine_programs
    installed=yes
  fi
  start_engine "$state"
  engine_answers_at "$DOCKER_SOCKET" || enter_docker_group "$installed"
}

# DOCKER_HOST is the caller's own choice: checked, never replaced.
use_named_engine() {
  case $DOCKER_HOST in
    unix://*)
      engine_answers_at "${DOCKER_HOST#unix://}" || die "DOCKER_HOST is $DOCKER_HOST, and no engine answers there"
      # The server knows its engine by a setting of its own.
      export LONGSHORE_MACHINE_DOCKER=${LONGSHORE_MACHINE_DOCKER:-$DOCKER_HOST}
      ;;
  esac
  say "engine: the one that DOCKER_HOST names ($DOCKER_HOST)"
}

start_engine() {
  if systemd_has_docker; then
    say "engine: starting docker.service"
    as_root systemctl start docker.service || die "docker.service did not start; see: journalctl -u docker.service"
  else
    start_engine_without_systemd "$1"
  fi
  wait_until 60 "the engine" engine_answers_root_at "$DOCKER_SOCKET" ||
    die "the engine did not answer within 60 seconds; its log: $1/dockerd.log, or journalctl -u docker.service"
}

start_engine_without_systemd() {
  local log=$1/dockerd.log
  say "engine: no service manager runs here, so dockerd is started directly (log: $log)"
  mount_cgroups_when_missing
  remove_stale_engine_pidfile /var/run/docker.pid
  start_detached_as_root "$1/dockerd.pid" "$log" dockerd
}

# dockerd refuses to start over the pidfile of one that was killed.
remove_stale_engine_pidfile() {
  local pidfile=$1 pid
  [ -e "$pidfile" ] || return 0
  pid=$(pid_in "$pidfile")
  if process_is_alive "$pid" && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ]; then
    return 0
  fi
  say "engine: removing $pidfile, which a dockerd left that no longer lives"
  as_root rm -f "$pidfile"
}

# A bare virtual machine without systemd may have nothing mounted there; runc cannot work without it.
mount_cgroups_when_missing() {
  [ -e /sys/fs/cgroup/cgroup.controllers ] && return 0
  [ -d /sys/fs/cgroup/memory ] && return 0
  as_root mount -t cgroup2 none /sys/fs/cgroup || warn "no control groups are mounted; containers may not start"
}

# The engine answers root, but not this account. Membership in `docker` is as good as root, so it is given only when
# the engine came with us; on an engine that was there before, its owner decides.
enter_docker_group() {
  local installed=$1 account
  account=$(id -un)
  if [ "$installed" = yes ]; then
    say "engine: adding $account to the group docker, which the built-in agent needs (this is as good as root)"
    as_root usermod -aG docker "$account"
  fi
  if id -nG "$account" | tr ' ' '\n' | grep -qx docker && [ -z "${LONGSHORE_IN_DOCKER_GROUP:-}" ]; then
    # The membership counts from the next login on; `sg` gives it to this run already. The lock goes, or the new run
    # would find it taken.
    exec 9>&-
    LONGSHORE_IN_DOCKER_GROUP=yes exec sg docker -c "$(printf '%q ' "$0" "${SCRIPT_ARGUMENTS[@]}")"
  fi
  hint "sudo usermod -aG docker $account   (as good as root), then ./run again"
  die "an engine runs here, but the account $account may not use it"
}
