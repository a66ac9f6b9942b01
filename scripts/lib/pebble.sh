# shellcheck shell=bash
# Pebble: Let's Encrypt's own server for tests, and the resolver that goes with it. Needs common.sh, packages.sh and cluster.sh.

PEBBLE_VERSION=v2.10.1

pebble_folder() { printf '%s/pebble-%s\n' "$LONGSHORE_CACHE" "$PEBBLE_VERSION"; }

# Both programs come into place at once, so that a run that was cut off leaves no half of them.
need_pebble() {
  local folder made
  folder=$(pebble_folder)
  [ -x "$folder/pebble" ] && [ -x "$folder/pebble-challtestsrv" ] && return 0
  need_go "compiles Pebble, with which ACME is tested"
  say "compiling Pebble $PEBBLE_VERSION (ACME is tested with it); once, a minute on two cores"
  mkdir -p "${folder%/*}"
  made=$(mktemp -d "$folder.XXXXXX")
  (cd / && CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOBIN=$made go install -trimpath \
    "github.com/letsencrypt/pebble/v2/cmd/pebble@$PEBBLE_VERSION" \
    "github.com/letsencrypt/pebble/v2/cmd/pebble-challtestsrv@$PEBBLE_VERSION") ||
    die "Pebble could not be compiled (LONGSHORE_TEST_SKIP=acme leaves it out)"
  rm -rf "$folder"
  mv "$made" "$folder"
}
