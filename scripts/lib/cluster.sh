# shellcheck shell=bash
# A Kubernetes cluster of one node for tests; tests/cluster has its recipe. Needs common.sh and packages.sh.

# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/builder.sh"

CLUSTER_RECIPE=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../tests/cluster" && pwd)
# The oldest Go that compiles this Kubernetes, and Pebble.
CLUSTER_GO=1.24.0
CLUSTER_KUBERNETES=1.34.4

cluster_kubeconfig() { printf '%s/admin.kubeconfig\n' "$1"; }

need_cluster() {
  need_command containerd containerd "runs the cluster's pods"
  need_command runc runc "runs the cluster's pods"
  [ -x /usr/lib/cni/bridge ] || install_packages "the cluster's network" containernetworking-plugins
  need_command iptables iptables "the cluster's services"
  need_command nft nftables "the cluster's network policies"
  need_command conntrack conntrack "the cluster's services"
  need_command ip iproute2 "the cluster's network"
  need_command openssl openssl "the cluster's certificates"
  [ -x /bin/busybox ] || install_packages "a web server and its client in the tests' pods" busybox-static
  need_builder
  need_cluster_programs
}

# The programs are kept under a hash of what they are made of, so that only a changed recipe compiles again.
cluster_programs() {
  local key
  key=$(cd "$CLUSTER_RECIPE/program" && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c 1-16)
  printf '%s/cluster/%s\n' "$LONGSHORE_CACHE" "$key"
}

need_cluster_programs() {
  local programs
  programs=$(cluster_programs)
  [ -e "$programs/done" ] && return 0
  need_go "compiles the test cluster"
  say "compiling Kubernetes $CLUSTER_KUBERNETES for the tests; once, some minutes on two cores"
  mkdir -p "$programs"
  or_die "the test cluster could not be compiled" cluster_compile "$programs"
  touch "$programs/done"
}

# Go knows how to get a newer Go by itself, unless it is told not to, or is older than 1.21. An older one can still fetch the
# archive that a newer one would, which is a module like any other.
need_go() {
  local purpose=$1
  has go || [ ! -x /usr/local/go/bin/go ] || PATH=$PATH:/usr/local/go/bin
  need_command go golang-go "$purpose"
  local version folder
  version=$(go env GOVERSION)
  go_is_new_enough "$version" && return 0
  if [ "$(printf '%s\n' 1.21 "${version#go}" | sort -V | head -n 1)" = 1.21 ]; then
    export GOTOOLCHAIN=go$CLUSTER_GO+auto
    return 0
  fi
  say "fetching Go $CLUSTER_GO: this machine's $version is too old for what the tests need"
  folder=$(cd / && GOFLAGS=-mod=mod go mod download -json "golang.org/toolchain@v0.0.1-go$CLUSTER_GO.linux-$(go env GOARCH)" | jq -r .Dir)
  chmod -R u+w "$folder"
  chmod -R u+x "$folder/bin" "$folder/pkg/tool"
  PATH=$folder/bin:$PATH
}

go_is_new_enough() { [ "$(printf '%s\n' "$CLUSTER_GO" "${1#go}" | sort -V | head -n 1)" = "$CLUSTER_GO" ]; }

# Without the version that is written into it, an API server says that it is 0.0.0.
cluster_compile() (
  local out=$1 flags="" package
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    flags+=" -X $package.gitVersion=v$CLUSTER_KUBERNETES -X $package.gitMajor=1 -X $package.gitMinor=34"
    flags+=" -X $package.gitTreeState=clean -X $package.gitCommit=0000000 -X $package.buildDate=1970-01-01T00:00:00Z"
  done
  export CGO_ENABLED=0 GOFLAGS="-buildvcs=false -mod=readonly"
  cd "$CLUSTER_RECIPE/program" || exit 1
  go build -trimpath -ldflags "-s -w$flags" -o "$out/kubernetes" .
  go build -trimpath -ldflags "-s -w" -o "$out/pause" ./pause
  cluster_pause_image "$out"
)

# An image of one layer as `docker save` writes it.
cluster_pause_image() {
  local out=$1 folder layer
  folder=$(mktemp -d)
  tar -C "$out" --owner=0 --group=0 --mtime=@0 -cf "$folder/layer.tar" pause
  layer=$(sha256sum "$folder/layer.tar" | cut -d ' ' -f 1)
  printf '{"architecture":"%s","os":"linux","config":{"Entrypoint":["/pause"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$(go env GOARCH)" "$layer" >"$folder/config.json"
  printf '[{"Config":"config.json","RepoTags":["localhost/pause:1"],"Layers":["layer.tar"]}]' >"$folder/manifest.json"
  tar -C "$folder" -cf "$out/pause.tar" manifest.json config.json layer.tar
  rm -rf "$folder"
}

# cluster_settings DIR: what the recipe's scripts agree on.
cluster_settings() {
  CLUSTER_DIR=$1
  CLUSTER_NUMBER=$(cat "$1/number")
  CLUSTER_PROGRAMS=$(cat "$1/programs")
  export CLUSTER_DIR CLUSTER_NUMBER CLUSTER_PROGRAMS
  # shellcheck source-path=SCRIPTDIR/../../tests/cluster
  . "$CLUSTER_RECIPE/settings.sh"
}

# The kubelet sets some of the whole machine's settings; the last cluster to stop puts them back.
CLUSTER_SYSCTLS=(vm.overcommit_memory kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys kernel.keys.root_maxbytes)

# cluster_start DIR
cluster_start() {
  local dir=$1 number saved=$LONGSHORE_CACHE/cluster/sysctls init
  mkdir -p "$dir"
  cluster_programs >"$dir/programs"
  # Whoever makes the cable has the number.
  for ((number = 0; number < 16; number++)); do
    as_root ip link add "lsk8s$number-h" type veth peer name "lsk8s$number-c" 2>/dev/null && break
  done
  [ "$number" -lt 16 ] || die "sixteen clusters run on this machine already"
  echo "$number" >"$dir/number"
  cluster_settings "$dir"
  [ -s "$saved" ] || sysctl -e "${CLUSTER_SYSCTLS[@]}" >"$saved" 2>/dev/null || true

  rm -f "$dir/connected" "$dir/started" "$dir/failed"
  start_detached_as_root "$dir/namespaces.pid" "$dir/namespaces.log" env CLUSTER_DIR="$CLUSTER_DIR" \
    CLUSTER_NUMBER="$CLUSTER_NUMBER" CLUSTER_PROGRAMS="$CLUSTER_PROGRAMS" PATH="$PATH" \
    unshare --net --mount --pid --fork --kill-child=KILL --mount-proc bash "$CLUSTER_RECIPE/namespaces.sh"
  wait_until 20 "the cluster's namespaces" test -s "$dir/init.pid" || cluster_failed "$dir"
  init=$(cluster_init "$dir")
  cluster_connect "$init"
  touch "$dir/connected"
  wait_until 300 "the cluster" cluster_has_started "$dir" || cluster_failed "$dir"
  [ -e "$dir/started" ] || cluster_failed "$dir"
  builder_import "$dir/containerd.sock" || cluster_failed "$dir"
}

# The first process inside, as the host numbers it.
cluster_init() {
  local children
  read -r children _ <"/proc/$(pid_in "$1/namespaces.pid")/task/$(pid_in "$1/namespaces.pid")/children"
  printf '%s\n' "$children"
}

cluster_has_started() { [ -e "$1/started" ] || [ -e "$1/failed" ]; }

cluster_failed() {
  tail -n 20 "$1/namespaces.log" "$1"/logs/*.log >&2 2>/dev/null || true
  die "the test cluster did not start; its logs are above and in $1"
}

# cluster_connect INIT: the cable, and the ways to the node, to pods and to services.
cluster_connect() {
  local range
  as_root ip link set "$NAME-c" netns "$1"
  as_root ip addr add "$HOST_IP/30" dev "$NAME-h"
  as_root ip link set "$NAME-h" up
  as_root nsenter -t "$1" -n ip addr add "$CLUSTER_IP/30" dev "$NAME-c"
  as_root nsenter -t "$1" -n ip link set "$NAME-c" up
  as_root nsenter -t "$1" -n ip route add default via "$HOST_IP"
  for range in "$NODE_IP/32" "$PODS" "$SERVICES"; do as_root ip route replace "$range" via "$CLUSTER_IP"; done
  echo "$HOST_IP" >"$CLUSTER_DIR/host_ip"
}

# cluster_stop DIR: everything inside dies with the first process; then what the kernel keeps is removed.
cluster_stop() {
  local dir=$1 hierarchy saved=$LONGSHORE_CACHE/cluster/sysctls
  [ -s "$dir/number" ] || return 0
  cluster_settings "$dir"
  local pid
  pid=$(pid_in "$dir/namespaces.pid")
  if process_runs "$pid" unshare "$CLUSTER_RECIPE/namespaces.sh"; then
    as_root kill -KILL "$pid"
    wait_until 20 "the cluster to end" process_is_gone "$pid" || true
  fi
  as_root ip link del "$NAME-h" 2>/dev/null || true
  for hierarchy in $CGROUP_HIERARCHIES .; do
    cluster_remove_cgroups "/sys/fs/cgroup/$hierarchy/$NAME"
  done
  if [ -s "$saved" ] && ! ip -o link show | grep -q 'lsk8s[0-9]*-h'; then
    as_root sysctl -qp "$saved" || true
    rm -f "$saved"
  fi
  as_root rm -rf "$dir"
}

cluster_remove_cgroups() {
  local tries
  [ -d "$1" ] || return 0
  # A process that was killed leaves its group a moment later.
  for ((tries = 0; tries < 100; tries++)); do
    as_root find "$1" -depth -type d -exec rmdir {} + 2>/dev/null || true
    [ -d "$1" ] || return 0
    sleep 0.1
  done
  warn "the control group $1 is still in use"
}
