# shellcheck shell=bash
# An authority and a certificate for each part, by openssl, on elliptic curves: all of them take less than a second.

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }

# authority NAME
authority() {
  key "$1"
  openssl req -x509 -new -key "$1.key" -subj "/CN=$1" -days 30 -out "$1.crt" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign,digitalSignature
}

# certificate NAME AUTHORITY SUBJECT USAGE [ALTERNATIVE_NAMES]
certificate() {
  key "$1"
  openssl req -new -key "$1.key" -subj "$3" -out "$1.csr"
  {
    echo "basicConstraints=CA:FALSE"
    echo "keyUsage=digitalSignature,keyEncipherment"
    echo "extendedKeyUsage=$4"
    [ -z "${5:-}" ] || echo "subjectAltName=$5"
  } >"$1.ext"
  openssl x509 -req -in "$1.csr" -CA "$2.crt" -CAkey "$2.key" -CAcreateserial -days 30 -extfile "$1.ext" \
    -out "$1.crt" 2>/dev/null
}

# kubeconfig NAME: with everything in it, so that it can be copied elsewhere.
kubeconfig() {
  cat >"$CLUSTER_DIR/$1.kubeconfig" <<EOF
apiVersion: v1
kind: Config
clusters: [{name: cluster, cluster: {server: "https://$NODE_IP:$API_PORT", certificate-authority-data: $(base64 -w 0 ca.crt)}}]
users: [{name: $1, user: {client-certificate-data: $(base64 -w 0 "$1.crt"), client-key-data: $(base64 -w 0 "$1.key")}}]
contexts: [{name: $1, context: {cluster: cluster, user: $1}}]
current-context: $1
EOF
}

make_certificates() (
  set -e
  mkdir -p "$CERTIFICATES"
  cd "$CERTIFICATES" || exit
  authority ca
  authority front-proxy-ca
  key sa
  openssl ec -in sa.key -pubout -out sa.pub 2>/dev/null
  certificate apiserver ca "/CN=kube-apiserver" serverAuth \
    "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:localhost,IP:127.0.0.1,IP:$NODE_IP,IP:$API_SERVICE"
  certificate apiserver-kubelet-client ca "/O=system:masters/CN=kube-apiserver-kubelet-client" clientAuth
  certificate front-proxy-client front-proxy-ca "/CN=front-proxy-client" clientAuth
  certificate admin ca "/O=system:masters/CN=admin" clientAuth
  certificate controller-manager ca "/CN=system:kube-controller-manager" clientAuth
  certificate scheduler ca "/CN=system:kube-scheduler" clientAuth
  certificate proxy ca "/CN=system:kube-proxy" clientAuth
  certificate kubelet ca "/O=system:nodes/CN=system:node:$NODE_NAME" clientAuth
  certificate kubelet-server ca "/O=system:nodes/CN=system:node:$NODE_NAME" serverAuth "DNS:$NODE_NAME,IP:$NODE_IP,IP:127.0.0.1"
  local name
  for name in admin controller-manager scheduler proxy kubelet; do kubeconfig "$name"; done
)
