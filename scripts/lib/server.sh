# shellcheck shell=bash
# Builds Longshore, and starts and stops the one server of this checkout. Uses STATE_DIR (what ./run remembers),
# DATA_DIR (the server's own) and BINARY.

server_pid() { pid_in "$STATE_DIR/server.pid"; }

# Ours only when the process with that id is a Longshore server on our data folder.
server_is_ours() { process_runs "$(server_pid)" server "$DATA_DIR"; }

# build_longshore PROFILE: sets BINARY. Cargo's progress is shown: a first build takes minutes.
build_longshore() {
  local arguments=(--package longshore)
  if [ "$1" = release ]; then arguments+=(--release); fi
  cargo build "${arguments[@]}" || die "Longshore did not build; the compiler's words are above"
  BINARY=$CARGO_TARGET_DIR/$1/longshore
}

# The build has a new stamp when the binary is another one, so a second ./run knows whether to restart.
binary_stamp() { stat -c '%n %i %s %Y' "$BINARY"; }

server_runs_this_binary() {
  server_is_ours && [ "$(cat "$STATE_DIR/server.stamp" 2>/dev/null)" = "$(binary_stamp) $LISTEN $REGISTRY_LISTEN $APP_LISTEN" ]
}

# choose_address NAME WISH DEFAULT_PORT: the caller's wish, else the one of last time, else the default, else the next
# port that is free. Remembered, so that addresses stay the same from run to run.
choose_address() {
  local file=$STATE_DIR/$1 wish=$2 port=$3 remembered
  if [ -n "$wish" ]; then
    printf '%s\n' "$wish" | tee "$file"
    return
  fi
  remembered=$(cat "$file" 2>/dev/null || true)
  if [ -n "$remembered" ] && { server_is_ours || port_is_free 127.0.0.1 "${remembered##*:}"; }; then
    printf '%s\n' "$remembered"
    return
  fi
  if port_is_taken 127.0.0.1 "$port"; then
    say "port $port is taken by somebody else; taking the next free one"
    port=$(free_port 127.0.0.1 "$port")
  fi
  printf '127.0.0.1:%s\n' "$port" | tee "$file"
}

choose_addresses() {
  LISTEN=$(choose_address listen "${LONGSHORE_LISTEN:-}" 8080)
  REGISTRY_LISTEN=$(choose_address registry-listen "${LONGSHORE_REGISTRY_LISTEN:-}" 5000)
  APP_LISTEN=$(choose_address app-listen "${LONGSHORE_APP_LISTEN:-}" 8081)
  # From here the server can be called, also when it listens on every address.
  SERVER_URL=http://127.0.0.1:${LISTEN##*:}
}

start_server() {
  local log=$STATE_DIR/server.log
  if server_runs_this_binary; then
    say "server: already running, unchanged (process $(server_pid))"
  else
    if server_is_ours; then
      say "server: the binary or an address changed, restarting (containers keep running)"
      stop_server
    fi
    if [ -e "$log" ]; then mv "$log" "$log.old"; fi
    rm -f "$STATE_DIR/server.pid"
    start_detached "$STATE_DIR/server.pid" "$log" "$BINARY" server \
      --data-dir "$DATA_DIR" --listen "$LISTEN" --registry-listen "$REGISTRY_LISTEN" --app-listen "$APP_LISTEN"
    wait_for_process "$STATE_DIR/server.pid" 5 "the server's process" server_is_ours ||
      server_failed "the server ended at once"
    printf '%s %s %s %s\n' "$(binary_stamp)" "$LISTEN" "$REGISTRY_LISTEN" "$APP_LISTEN" >"$STATE_DIR/server.stamp"
    say "server: started (process $(server_pid), log: $log)"
  fi
  wait_until 120 "the server to be ready" server_is_ready_or_gone || server_failed "not ready within 120 seconds"
  server_is_ours || server_failed "the server ended"
}

server_is_ready() { curl -fs --max-time 5 -o /dev/null "$SERVER_URL/readyz"; }
server_is_ready_or_gone() { ! server_is_ours || server_is_ready; }

server_failed() {
  say "--- the last lines of $STATE_DIR/server.log"
  tail -n 30 "$STATE_DIR/server.log" >&2 || true
  say "--- what GET /readyz says"
  curl -s --max-time 5 "$SERVER_URL/readyz" >&2 || true
  say ""
  hint "correct what the lines above name, then ./run again; $BINARY doctor looks at the whole machine"
  die "$1"
}

# Containers are the engine's: they keep running.
stop_server() {
  server_is_ours || return 1
  end_process "$(server_pid)" 30
  rm -f "$STATE_DIR/server.pid" "$STATE_DIR/server.stamp"
}
