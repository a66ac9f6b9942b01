# shellcheck shell=bash
# Gitea, whose webhooks are the real ones in the tests; tests/gitea has its version. Needs common.sh, packages.sh and cluster.sh.

GITEA_RECIPE=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../tests/gitea" && pwd)

# Kept under a hash of what it is made of, so that only a changed recipe compiles again.
gitea_folder() {
  local key
  key=$(cat "$GITEA_RECIPE"/{main.go,go.mod,go.sum} | sha256sum | cut -c 1-16)
  printf '%s/gitea/%s\n' "$LONGSHORE_CACHE" "$key"
}

# The program and the files that it reads come into place at once, so that a run that was cut off leaves no half of them.
need_gitea() {
  local folder made
  folder=$(gitea_folder)
  [ -x "$folder/gitea" ] && return 0
  need_go "compiles Gitea, with which webhooks are tested"
  say "compiling Gitea (webhooks are tested with it); once, some minutes on two cores"
  mkdir -p "${folder%/*}"
  made=$(mktemp -d "$folder.XXXXXX")
  gitea_compile "$made" || die "Gitea could not be compiled (LONGSHORE_TEST_SKIP=gitea leaves it out)"
  rm -rf "$folder"
  mv "$made" "$folder"
}

# SQLite is C. Templates and the like are read from files, which are in the module.
gitea_compile() (
  local out=$1 module
  export CGO_ENABLED=1 GOFLAGS="-buildvcs=false -mod=readonly"
  cd "$GITEA_RECIPE" &&
    go build -trimpath -tags "sqlite sqlite_unlock_notify" -ldflags "-s -w" -o "$out/gitea" . &&
    module=$(go list -m -f '{{.Dir}}' code.gitea.io/gitea) &&
    cp -R "$module/templates" "$module/options" "$module/public" "$out" &&
    chmod -R u+w "$out"
)
