# shellcheck shell=bash
# A container engine for tests, apart from the machine's own: its own containerd, data, socket and bridge.
# It writes no firewall rules: a second dockerd would flush the chains of the first. Ports are therefore published
# by the userland proxy, on 127.0.0.1, and containers have no way out of the machine.
#
# Everything is remembered in one folder, so that a later process can stop what a killed one left:
#   RUN_DIR/docker.sock        the engine
#   RUN_DIR/bin                first on the engine's PATH; holds what stands in for NVIDIA's container toolkit
#   RUN_DIR/gpus.log           what that was called with: one JSON object for each container that got GPUs
#   RUN_DIR/cdi                descriptions of devices (CDI), for engines that know such
#   RUN_DIR/{containerd,dockerd}.{pid,log}, RUN_DIR/bridge, RUN_DIR/data-root (the path of the image store)

private_engine_url() { printf 'unix://%s/docker.sock\n' "$1"; }

need_private_engine() {
  need_engine_programs
  need_command ip iproute2 "the private engine's bridge"
  need_command jq jq "reads the engine's answers"
}

# private_engine_start RUN_DIR DATA_DIR: also brings back one of which a part was killed.
private_engine_start() {
  local run=$1 data=$2
  # A Unix socket's path has at most 107 bytes, and the engine makes sockets below its run folder.
  [ "${#run}" -le 48 ] || die "the path $run is too long for the engine's sockets (48 characters at most)"
  mkdir -p "$run" "$data"
  printf '%s\n' "$data" >"$run/data-root"
  mount_cgroups_when_missing
  private_config_create "$run"
  private_toolkit_create "$run"
  private_bridge_create "$run"
  private_containerd_start "$run" "$data"
  private_dockerd_start "$run" "$data"
}

# Nothing of the machine's /etc/docker/daemon.json reaches into the tests. Engines before version 25 do not start when they are
# told of descriptions of devices.
private_config_create() {
  local run=$1 version
  mkdir -p "$run/cdi"
  version=$(dockerd --version | sed -n 's/^Docker version \([0-9]*\).*/\1/p')
  if [ "${version:-0}" -ge 25 ]; then
    printf '{"features": {"cdi": true}, "cdi-spec-dirs": ["%s/cdi"]}\n' "$run" >"$run/daemon.json"
  else
    printf '{}\n' >"$run/daemon.json"
  fi
}

# The engine has a driver for GPUs when it finds this program, and has runc call it before each container that got some. It
# writes down for which GPUs, and refuses those whose name says that they are broken, as the real one does with unknown ones.
# PRIVATE_ENGINE_GPUS=no leaves it out, and =own too, for a real one that is installed here.
private_toolkit_create() {
  local run=$1 hook=$1/bin/nvidia-container-runtime-hook
  mkdir -p "$run/bin"
  as_root rm -f "$hook"
  [ "${PRIVATE_ENGINE_GPUS:-yes}" = yes ] || return 0
  cat >"$hook" <<EOF
#!/bin/sh
bundle=\$(jq -r .bundle)
said=\$(jq -c --arg verb "\$1" '{verb: \$verb, root: .root.path, devices: [.process.env[] | select(startswith("NVIDIA_VISIBLE_DEVICES=")) | sub("^[^=]*="; "")]}' "\$bundle/config.json")
printf '%s\n' "\$said" >>"$run/gpus.log"
case \$said in
  *GPU-broken*)
    echo "nvidia-container-cli: device error: GPU-broken: unknown device" >&2
    exit 1
    ;;
esac
EOF
  chmod 0755 "$hook"
}

private_containerd_start() {
  local run=$1 data=$2
  process_runs "$(pid_in "$run/containerd.pid")" containerd "$run/containerd.sock" && return 0
  as_root rm -f "$run/containerd.pid" "$run/containerd.sock"
  printf 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n' >"$run/containerd.toml"
  start_detached_as_root "$run/containerd.pid" "$run/containerd.log" containerd --config "$run/containerd.toml" \
    --root "$data/containerd" --state "$run/containerd" --address "$run/containerd.sock"
  wait_for_process "$run/containerd.pid" 30 "the private containerd" test -S "$run/containerd.sock" ||
    private_engine_failed "$run" containerd
}

private_dockerd_start() {
  local run=$1 data=$2
  process_runs "$(pid_in "$run/dockerd.pid")" dockerd "unix://$run/docker.sock" && return 0
  as_root rm -f "$run/dockerd.pid" "$run/docker.pid" "$run/docker.sock"
  start_detached_as_root "$run/dockerd.pid" "$run/dockerd.log" env PATH="$run/bin:$PATH" dockerd \
    --containerd "$run/containerd.sock" --data-root "$data/docker" --exec-root "$run/exec" \
    --pidfile "$run/docker.pid" --host "unix://$run/docker.sock" --group "$(id -gn)" --config-file "$run/daemon.json" \
    --bridge "$(cat "$run/bridge")" --iptables=false --ip-forward=false --ip-masq=false
  wait_for_process "$run/dockerd.pid" 60 "the private engine" engine_answers_at "$run/docker.sock" ||
    private_engine_failed "$run" dockerd
}

private_engine_failed() {
  tail -n 20 "$1/$2.log" >&2 || true
  die "the private $2 did not start; its log is above"
}

# A bridge with an address range that no route of this machine uses.
private_bridge_create() {
  local run=$1 name third tries
  if [ -s "$run/bridge" ] && ip link show "$(cat "$run/bridge")" >/dev/null 2>&1; then
    return 0
  fi
  name=lst$$
  third=$((RANDOM % 256))
  for ((tries = 0; tries < 256; tries++)); do
    ip -4 route show | grep -q "10\.213\.$third\." || break
    third=$(((third + 1) % 256))
  done
  as_root ip link add "$name" type bridge
  printf '%s\n' "$name" >"$run/bridge"
  as_root ip addr add "10.213.$third.1/24" dev "$name"
  as_root ip link set "$name" up
}

# private_engine_stop RUN_DIR: containers first, then the daemons, then what they leave mounted.
private_engine_stop() {
  local run=$1 data=""
  [ -d "$run" ] || return 0
  if [ -s "$run/data-root" ]; then
    data=$(cat "$run/data-root")
    # Only dockerd knows its containers and networks, so a dead one is woken to take them away.
    engine_answers_at "$run/docker.sock" || (private_engine_start "$run" "$data") 2>/dev/null || true
  fi
  private_engine_remove_containers "$run"
  private_engine_end "$run" dockerd "unix://$run/docker.sock" 20
  private_engine_end "$run" containerd "$run/containerd.sock" 10
  private_engine_end_shims "$run"
  private_engine_unmount "$run"
  [ -z "$data" ] || private_engine_unmount "$data"
  if [ -s "$run/bridge" ]; then
    as_root ip link del "$(cat "$run/bridge")" 2>/dev/null || true
  fi
  [ -z "$data" ] || as_root rm -rf "$data"
  as_root rm -rf "$run"
}

# private_engine_end RUN_DIR NAME ARGUMENT SECONDS
private_engine_end() {
  local pid
  pid=$(pid_in "$1/$2.pid")
  if process_runs "$pid" "$2" "$3"; then end_process "$pid" "$4"; fi
}

# Networks go with them: their bridges would stay on the machine.
private_engine_remove_containers() {
  local api=(curl -fs --max-time 30 --unix-socket "$1/docker.sock") id
  engine_answers_at "$1/docker.sock" || return 0
  for id in $("${api[@]}" 'http://engine/containers/json?all=1' | jq -r '.[].Id'); do
    "${api[@]}" -X DELETE "http://engine/containers/$id?force=1&v=1" >/dev/null || true
  done
  for id in $("${api[@]}" 'http://engine/networks?filters=%7B%22type%22%3A%5B%22custom%22%5D%7D' | jq -r '.[].Id'); do
    "${api[@]}" -X DELETE "http://engine/networks/$id" >/dev/null || true
  done
}

# After a killed dockerd its containers live on under their shims; each names our containerd as an argument.
private_engine_end_shims() {
  local run=$1 process pid children
  for process in /proc/[0-9]*; do
    pid=${process#/proc/}
    if [[ "$(cat "$process/comm" 2>/dev/null)" == containerd-shim* ]] && process_runs "$pid" "$run/containerd.sock"; then
      read -r -a children <"$process/task/$pid/children" || true
      as_root kill -KILL "$pid" "${children[@]}" 2>/dev/null || true
    fi
  done
}

private_engine_unmount() {
  local mount
  awk -v below="$1/" 'index($2, below) == 1 { print $2 }' /proc/self/mounts | sort -r | while read -r mount; do
    as_root umount -l "$mount" 2>/dev/null || true
  done
}
