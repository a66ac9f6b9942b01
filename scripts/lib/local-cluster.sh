# shellcheck shell=bash
# The Kubernetes cluster of `./run --with-cluster`: the one of the tests, beside the server of this checkout, which it knows by
# the name `local`. Uses what ./run has chosen: STATE_DIR, DATA_DIR, BINARY, SERVER_URL, REGISTRY_LISTEN.

# Its folder is not in the checkout, because the paths of sockets have to be short.
local_cluster_dir() { cat "$STATE_DIR/cluster" 2>/dev/null || true; }

local_cluster_runs() {
  local dir
  dir=$(local_cluster_dir)
  [ -n "$dir" ] && process_runs "$(pid_in "$dir/namespaces.pid")" unshare "$CLUSTER_RECIPE/namespaces.sh"
}

# Before the server, which has to know by which address the cluster's node reaches its registry.
local_cluster_start() {
  local dir address
  need_cluster
  if local_cluster_runs; then
    dir=$(local_cluster_dir)
    say "cluster: already running"
  else
    local_cluster_stop
    dir=$(mktemp -d /tmp/longshore-cluster.XXXXXX)
    printf '%s\n' "$dir" >"$STATE_DIR/cluster"
    cluster_start "$dir"
    say "cluster: started in $dir"
  fi
  address=$(cat "$dir/host_ip"):${REGISTRY_LISTEN##*:}
  mkdir -p "$dir/registries/$address"
  printf 'server = "http://%s"\n[host."http://%s"]\n  capabilities = ["pull", "resolve"]\n' "$address" "$address" \
    >"$dir/registries/$address/hosts.toml"
  if ! process_runs "$(pid_in "$dir/forward.pid")" "$address"; then
    start_detached "$dir/forward.pid" "$dir/logs/forward.log" "$dir/bin/forward" "$address" "127.0.0.1:${REGISTRY_LISTEN##*:}"
  fi
  export LONGSHORE_REGISTRY_ADVERTISE=$address LONGSHORE_PIPELINES_BUILDER_IMAGE=$BUILDER_IMAGE
}

# With the rights of `longshore cluster role`, and no more.
local_cluster_add() {
  local dir token answer body kubectl
  dir=$(local_cluster_dir)
  kubectl=("$dir/bin/kubectl" --kubeconfig "$dir/admin.kubeconfig")
  answer=$(curl -fsS --max-time 30 -H 'Content-Type: application/json' "$SERVER_URL/api/auth/login" --data \
    "$(jq -n --rawfile password "$DATA_DIR/admin-password" '{account: "admin", password: ($password | rtrimstr("\n"))}')")
  token=$(jq -r .access_token <<<"$answer")
  local call=(curl -fsS --max-time 60 -o /dev/null -H "Authorization: Bearer $token" -H 'Content-Type: application/json')
  "$BINARY" cluster role | "${kubectl[@]}" apply --server-side -f - >/dev/null
  body=$("${kubectl[@]}" config view --raw --flatten -o json |
    jq --arg token "$("${kubectl[@]}" -n longshore-system create token longshore --duration=720h)" \
      '.users[0].user = {token: $token} | {kubeconfig: tojson}')
  if "${call[@]}" "$SERVER_URL/api/v1/clusters/local" 2>/dev/null; then
    "${call[@]}" -X PATCH "$SERVER_URL/api/v1/clusters/local" --data "$body"
    return
  fi
  "${call[@]}" "$SERVER_URL/api/v1/clusters" --data \
    "$(jq --arg pods "10.244.$(cat "$dir/number").0/24" '. + {name: "local", pod_ranges: [$pods]}' <<<"$body")"
  say "cluster: added as \`local\`"
}

# What runs in it goes with it.
local_cluster_stop() {
  local dir
  dir=$(local_cluster_dir)
  [ -n "$dir" ] && [ -d "$dir" ] || return 0
  end_process "$(pid_in "$dir/forward.pid")" 5
  cluster_stop "$dir"
  rm -f "$STATE_DIR/cluster"
  say "cluster: stopped"
}
