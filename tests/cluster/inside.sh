#!/usr/bin/env bash
# Starts the parts of the cluster, in order, and waits until the node is ready. `up` calls it inside the cluster's own
# network, mount and process namespaces, with CLUSTER_DIR, CLUSTER_PROGRAMS and CLUSTER_NUMBER set.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR
{
  . "$HERE/settings.sh"
  . "$HERE/certificates.sh"
}

# start NAME COMMAND…: in the background, with a log of its own.
start() {
  local name=$1
  shift
  setsid "$@" >"$LOGS/$name.log" 2>&1 </dev/null &
}

# wait_for SECONDS WHAT COMMAND…
wait_for() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    if [ "$SECONDS" -ge "$deadline" ]; then
      echo "$what is not ready" >&2
      return 1
    fi
    sleep 0.1
  done
}

kubectl() { "$CLUSTER_DIR/bin/kubectl" "$@"; }

make_folders() {
  local part
  mkdir -p "$LOGS" "$CLUSTER_DIR/bin" "$CLUSTER_DIR/cni" "$CLUSTER_DIR/registries" "$CLUSTER_DIR/manifests"
  for part in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy netpol forward kubectl; do
    ln -sf "$CLUSTER_PROGRAMS/kubernetes" "$CLUSTER_DIR/bin/$part"
  done
  : >"$CLUSTER_DIR/resolv.conf"
}

make_network() {
  ip link add "$NODE_LINK" type bridge
  ip addr add "$NODE_IP/32" dev "$NODE_LINK"
  ip link set "$NODE_LINK" up
  sysctl -qw net.ipv4.ip_forward=1
  # Traffic between pods stays on one bridge; policies and services see it only with this.
  sysctl -qw net.bridge.bridge-nf-call-iptables=1
}

start_containerd() {
  # Registries that are not reached by TLS have a folder HOST:PORT with a hosts.toml below `registries`; it is read at each pull.
  # No negative oom_score_adj: without CAP_SYS_RESOURCE, as in many containers, runc dies of it.
  cat >"$CLUSTER_DIR/containerd.toml" <<EOF
version = 2
root = "$CLUSTER_DIR/containerd"
state = "$CLUSTER_DIR/containerd-state"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "$CONTAINERD"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$CLUSTER_DIR/cni"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "$CLUSTER_DIR/registries"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
EOF
  cat >"$CLUSTER_DIR/cni/10-bridge.conflist" <<EOF
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "lscni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$CLUSTER_DIR/addresses", "ranges": [[{"subnet": "$PODS"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}},
  {"type": "firewall"},
  {"type": "loopback"}]}
EOF
  start containerd containerd -c "$CLUSTER_DIR/containerd.toml"
}

start_api_server() {
  start etcd "$CLUSTER_DIR/bin/etcd" --data-dir "$CLUSTER_DIR/etcd" --name etcd --unsafe-no-fsync \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
    --initial-cluster etcd=http://127.0.0.1:2380
  local c=$CERTIFICATES
  start kube-apiserver "$CLUSTER_DIR/bin/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 \
    --secure-port=$API_PORT --bind-address=0.0.0.0 --advertise-address="$NODE_IP" \
    --service-cluster-ip-range="$SERVICES" --allow-privileged=true \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --anonymous-auth=true \
    --client-ca-file="$c/ca.crt" --tls-cert-file="$c/apiserver.crt" --tls-private-key-file="$c/apiserver.key" \
    --kubelet-client-certificate="$c/apiserver-kubelet-client.crt" --kubelet-client-key="$c/apiserver-kubelet-client.key" \
    --kubelet-certificate-authority="$c/ca.crt" --kubelet-preferred-address-types=InternalIP,Hostname \
    --service-account-issuer=https://kubernetes.default.svc.cluster.local \
    --service-account-key-file="$c/sa.pub" --service-account-signing-key-file="$c/sa.key" \
    --requestheader-client-ca-file="$c/front-proxy-ca.crt" --requestheader-allowed-names=front-proxy-client \
    --requestheader-extra-headers-prefix=X-Remote-Extra- --requestheader-group-headers=X-Remote-Group \
    --requestheader-username-headers=X-Remote-User \
    --proxy-client-cert-file="$c/front-proxy-client.crt" --proxy-client-key-file="$c/front-proxy-client.key" \
    --profiling=false
}

# With the ordinary 20 requests a second the controllers alone take five seconds to start.
start_controllers() {
  local c=$CERTIFICATES k=$CLUSTER_DIR/controller-manager.kubeconfig
  start kube-controller-manager "$CLUSTER_DIR/bin/kube-controller-manager" --kubeconfig="$k" \
    --authentication-kubeconfig="$k" --authorization-kubeconfig="$k" \
    --bind-address=127.0.0.1 --leader-elect=false --use-service-account-credentials=true \
    --root-ca-file="$c/ca.crt" --service-account-private-key-file="$c/sa.key" \
    --cluster-signing-cert-file="$c/ca.crt" --cluster-signing-key-file="$c/ca.key" --client-ca-file="$c/ca.crt" \
    --requestheader-client-ca-file="$c/front-proxy-ca.crt" \
    --allocate-node-cidrs=false --kube-api-qps=300 --kube-api-burst=400 --profiling=false
  k=$CLUSTER_DIR/scheduler.kubeconfig
  start kube-scheduler "$CLUSTER_DIR/bin/kube-scheduler" --kubeconfig="$k" \
    --authentication-kubeconfig="$k" --authorization-kubeconfig="$k" \
    --bind-address=127.0.0.1 --leader-elect=false --kube-api-qps=300 --kube-api-burst=400 --profiling=false
}

# A part of the control groups of its own, so that clusters on one machine do not share `kubepods`.
make_cgroups() {
  local hierarchy file
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    mkdir -p "/sys/fs/cgroup/$NAME"
    return
  fi
  for hierarchy in $CGROUP_HIERARCHIES; do
    [ ! -d "/sys/fs/cgroup/$hierarchy" ] || mkdir -p "/sys/fs/cgroup/$hierarchy/$NAME"
  done
  for file in cpus mems; do
    cat "/sys/fs/cgroup/cpuset/cpuset.$file" >"/sys/fs/cgroup/cpuset/$NAME/cpuset.$file"
  done
}

start_node() {
  make_cgroups
  cat >"$CLUSTER_DIR/kubelet.yaml" <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 0.0.0.0
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $CERTIFICATES/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $CERTIFICATES/kubelet-server.crt
tlsPrivateKeyFile: $CERTIFICATES/kubelet-server.key
containerRuntimeEndpoint: unix://$CONTAINERD
cgroupDriver: cgroupfs
cgroupRoot: /$NAME
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
resolvConf: $CLUSTER_DIR/resolv.conf
clusterDomain: cluster.local
clusterDNS: ["$DNS_SERVICE"]
staticPodPath: $CLUSTER_DIR/manifests
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: "200Mi", nodefs.available: "1%", imagefs.available: "1%", nodefs.inodesFree: "1%"}
serializeImagePulls: false
maxPods: 110
podLogsDir: $CLUSTER_DIR/pod-logs
nodeStatusUpdateFrequency: 5s
kubeAPIQPS: 300
kubeAPIBurst: 400
syncFrequency: 10s
EOF
  start kubelet "$CLUSTER_DIR/bin/kubelet" --config="$CLUSTER_DIR/kubelet.yaml" \
    --kubeconfig="$CLUSTER_DIR/kubelet.kubeconfig" --root-dir="$CLUSTER_DIR/kubelet" \
    --hostname-override=$NODE_NAME --node-ip="$NODE_IP"
  kubectl create clusterrolebinding kube-proxy --clusterrole=system:node-proxier --user=system:kube-proxy
  # No conntrack limits: they belong to the whole machine.
  cat >"$CLUSTER_DIR/kube-proxy.yaml" <<EOF
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
bindAddress: 0.0.0.0
metricsBindAddress: 127.0.0.1:10249
healthzBindAddress: 127.0.0.1:10256
clusterCIDR: $PODS
hostnameOverride: $NODE_NAME
clientConnection: {kubeconfig: $CLUSTER_DIR/proxy.kubeconfig}
oomScoreAdj: 0
conntrack: {maxPerCore: 0, min: 0}
iptables: {minSyncPeriod: 100ms}
EOF
  start kube-proxy "$CLUSTER_DIR/bin/kube-proxy" --config="$CLUSTER_DIR/kube-proxy.yaml"
  # The bridge enforces no NetworkPolicy; this does, on one node.
  start netpol "$CLUSTER_DIR/bin/netpol" --kubeconfig "$CLUSTER_DIR/admin.kubeconfig"
}

node_is_ready() {
  local ready='{.status.conditions[?(@.type=="Ready")].status}'
  [ "$(kubectl get node $NODE_NAME -o jsonpath="$ready")" = True ]
}

make_folders
make_network
make_certificates
start_containerd
start_api_server
wait_for 60 containerd ctr -a "$CONTAINERD" version
ctr -a "$CONTAINERD" -n k8s.io images import "$CLUSTER_PROGRAMS/pause.tar" >/dev/null
wait_for 120 "the API server" kubectl get --raw /readyz
start_controllers
start_node
wait_for 120 "the node" node_is_ready
wait_for 60 "the first service account" kubectl get serviceaccount default
