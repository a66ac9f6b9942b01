# shellcheck shell=bash
# Helm, which tests and benchmarks use as people do. Needs common.sh and packages.sh.

HELM_VERSION=v3.19.5

helm_program() { printf '%s/bin/helm-%s\n' "$LONGSHORE_CACHE" "$HELM_VERSION"; }

need_helm() {
  local program folder
  program=$(helm_program)
  [ -x "$program" ] && return 0
  has go || [ ! -x /usr/local/go/bin/go ] || PATH=$PATH:/usr/local/go/bin
  need_command go golang-go "compiles Helm"
  say "compiling Helm $HELM_VERSION; once, some minutes on two cores"
  mkdir -p "${program%/*}"
  folder=$(mktemp -d)
  (cd "$folder" && CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOBIN=$folder go install "helm.sh/helm/v3/cmd/helm@$HELM_VERSION") ||
    die "Helm could not be compiled (LONGSHORE_TEST_SKIP=helm leaves it out)"
  mv "$folder/helm" "$program"
  rm -rf "$folder"
}
