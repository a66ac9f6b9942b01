#!/usr/bin/env bash
# The first process of the cluster's namespaces: hides what the parts would share with the host, waits for the cable,
# starts the parts, and then stays for as long as the cluster shall live, because all others die with it.
set -u

# The kubelet and the network's plugins write below these whatever they are told.
for folder in /run/netns /var/lib/cni /var/lib/kubelet /var/log/containers /var/log/pods; do
  mkdir -p "$folder"
  mount -t tmpfs none "$folder"
done
ip link set lo up
echo $$ >"$CLUSTER_DIR/init.pid"
until [ -e "$CLUSTER_DIR/connected" ]; do sleep 0.05; done
if bash "$(dirname "${BASH_SOURCE[0]}")/inside.sh"; then
  touch "$CLUSTER_DIR/started"
else
  touch "$CLUSTER_DIR/failed"
fi
while :; do
  sleep 3600 &
  wait
done
