# shellcheck shell=bash
# What the scripts of this folder agree on. CLUSTER_DIR is the cluster's folder: everything that it writes lies there.
# CLUSTER_PROGRAMS is where `build` left the programs, CLUSTER_NUMBER tells clusters on one machine apart: addresses
# are made of it. `up` remembers both in the folder.
# shellcheck disable=SC2034,SC2153 # who sources this uses them

NAME=lsk8s$CLUSTER_NUMBER
NODE_NAME=node1
# A bridge without ports: an address of the node's own, because Kubernetes refuses loopback addresses as endpoints.
NODE_LINK=lsnode0
NODE_IP=10.240.$CLUSTER_NUMBER.1
# The ends of the cable between the cluster and the host; what listens on HOST_IP is reached by pods and by the node.
HOST_IP=10.241.$CLUSTER_NUMBER.1
CLUSTER_IP=10.241.$CLUSTER_NUMBER.2
PODS=10.244.$CLUSTER_NUMBER.0/24
SERVICES=10.245.$CLUSTER_NUMBER.0/24
API_SERVICE=10.245.$CLUSTER_NUMBER.1
DNS_SERVICE=10.245.$CLUSTER_NUMBER.10
API_PORT=6443
CERTIFICATES=$CLUSTER_DIR/certificates
LOGS=$CLUSTER_DIR/logs
CONTAINERD=$CLUSTER_DIR/containerd.sock
export KUBECONFIG=$CLUSTER_DIR/admin.kubeconfig
CGROUP_HIERARCHIES="cpu cpuacct cpuset memory devices freezer blkio pids systemd unified"
