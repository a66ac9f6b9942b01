# shellcheck shell=bash
# What every script of this folder uses: words for people, root rights, waiting, ports and processes.
# This file and its neighbours only define functions and defaults; sourcing them changes nothing on the machine.

LONGSHORE_CACHE="${LONGSHORE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/longshore}"
export LONGSHORE_CACHE

# An ordinary account on Debian does not have the folders where dockerd, mariadbd and others live.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

say() { printf '%s\n' "$*" >&2; }
step() { printf '\n== %s\n' "$*" >&2; }
warn() { printf 'warning: %s\n' "$*" >&2; }
hint() { printf 'hint: %s\n' "$*" >&2; }

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# or_die MESSAGE COMMAND…: ends with the message when a step of the command fails. `COMMAND || die` would go on after it: what
# `||` follows is exempt from `set -e`, to the innermost command.
or_die() {
  local message=$1 status
  shift
  set +e
  (
    set -e
    "$@"
  )
  status=$?
  set -e
  [ "$status" -eq 0 ] || die "$message"
}

has() { command -v "$1" >/dev/null 2>&1; }

# Runs a command with root rights, and says why when that means sudo.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif has sudo; then
    sudo "$@"
  else
    die "this needs root rights and there is no sudo here: $*"
  fi
}

# wait_until SECONDS WHAT COMMAND…: repeats the command until it succeeds; fails after the deadline.
# Says every five seconds what it waits for, so that nobody stares at a silent screen.
wait_until() {
  local deadline=$((SECONDS + $1)) what=$2 spoken=$SECONDS
  shift 2
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    if [ $((SECONDS - spoken)) -ge 5 ]; then
      say "   waiting for $what …"
      spoken=$SECONDS
    fi
    sleep 0.1
  done
}

# Somebody listens there when a connection is taken.
port_is_taken() { (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null; }
port_is_free() { ! port_is_taken "$1" "$2"; }

# free_port HOST FIRST: the first port from FIRST upwards on which nobody listens.
free_port() {
  local port=$2
  while port_is_taken "$1" "$port"; do
    port=$((port + 1))
    [ "$port" -le 65535 ] || die "no free port on $1 from $2 upwards"
  done
  printf '%s\n' "$port"
}

# A port that is free now, far from the well-known ones; two runs at a time start at different places.
random_free_port() { free_port 127.0.0.1 $((20000 + RANDOM % 10000)); }

# A zombie has ended; only its parent has not asked yet.
process_is_alive() { [ -n "${1:-}" ] && grep -q '^State:[[:space:]]*[^ZX]' "/proc/$1/status" 2>/dev/null; }
process_is_gone() { ! process_is_alive "$1"; }

# process_runs PID WORD…: the process lives and each word is one of its arguments. A process id alone proves
# nothing: the kernel gives ids out again.
process_runs() {
  local pid=$1 word
  shift
  process_is_alive "$pid" || return 1
  for word in "$@"; do
    tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | grep -Fxq -- "$word" || return 1
  done
}

# process_stamp PID: its id and when it started, which no other process has; nothing when there is none.
process_stamp() { sed -E "s/^.*\) (\S+ ){19}(\S+) .*/$1 \2/" "/proc/$1/stat" 2>/dev/null || true; }

# The process id in a file, or nothing.
pid_in() { if [ -s "$1" ]; then head -n 1 "$1"; fi; }

# wait_for_process PIDFILE SECONDS WHAT COMMAND…: like wait_until, but fails at once when the process has ended.
wait_for_process() {
  local pidfile=$1 seconds=$2 what=$3
  shift 3
  wait_until "$seconds" "$what" succeeds_or_ended "$pidfile" "$@" && "$@"
}

succeeds_or_ended() {
  local pid
  pid=$(pid_in "$1")
  if [ -n "$pid" ] && process_is_gone "$pid"; then return 0; fi
  shift
  "$@"
}

# end_process PID SECONDS [SIGNAL]: asks, waits, and only then kills.
end_process() {
  local pid=$1 seconds=$2 signal=${3:-TERM}
  process_is_alive "$pid" || return 0
  as_root kill "-$signal" "$pid" 2>/dev/null || return 0
  if ! wait_until "$seconds" "process $pid to end" process_is_gone "$pid"; then
    warn "process $pid did not end within $seconds seconds and is killed"
    as_root kill -KILL "$pid" 2>/dev/null || true
  fi
}

# start_detached PIDFILE LOG COMMAND…: starts a process that lives on after this script and no longer belongs to its
# terminal. The process writes its own id, because behind sudo and setsid `$!` would be another one. Descriptor 9 is the
# lock of ./run, which must not live as long as the process.
# shellcheck disable=SC2016 # the inner shell expands its own arguments
DETACHED='echo $$ >"$1"; log=$2; shift 2; exec "$@" >>"$log" 2>&1 </dev/null 9>&-'
start_detached() { setsid --fork sh -c "$DETACHED" sh "$@"; }
start_detached_as_root() { as_root setsid --fork sh -c "$DETACHED" sh "$@"; }
