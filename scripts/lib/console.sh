# shellcheck shell=bash
# Builds the web console with Node.js. Uses ROOT. What npm fetches is kept in the cache folder, outside the checkout.

CONSOLE_NODE=20.19

node_is_new_enough() {
  has node && has npm && [ "$(printf '%s\n' "$CONSOLE_NODE" "$(node --version | tr -d v)" | sort -V | head -n 1)" = "$CONSOLE_NODE" ]
}

# The distribution's own, where it is new enough (Debian 13, Ubuntu 25.10).
package_of_node_is_new_enough() {
  local version
  version=$(apt-cache policy nodejs 2>/dev/null | sed -n 's/^ *Candidate: \([0-9.]*\).*/\1/p')
  [ -n "$version" ] && [ "$(printf '%s\n' "$CONSOLE_NODE" "$version" | sort -V | head -n 1)" = "$CONSOLE_NODE" ]
}

# have_node: whether there is a Node.js that can build the console, after installing one where that is possible.
have_node() {
  node_is_new_enough && return 0
  if has apt-get && package_of_node_is_new_enough; then
    install_packages "builds the web console" nodejs npm
  fi
  node_is_new_enough
}

console_npm() { npm --prefix "$ROOT/console" --cache "$LONGSHORE_CACHE/npm" --prefer-offline --loglevel error "$@"; }

# Exactly what the lock file names, and only when it changed.
console_install() {
  local lock=$ROOT/console/package-lock.json installed=$ROOT/console/node_modules/.package-lock.json
  if [ -e "$installed" ] && [ ! "$lock" -nt "$installed" ]; then return 0; fi
  console_npm ci
}

# Of everything that the console is made from; the types come from the API's document.
console_stamp() {
  (cd "$ROOT" && find console docs/openapi.json \( -name node_modules -o -name dist -o -name schema.ts \) -prune -o -type f -print0 |
    sort -z | xargs -0 sha256sum | sha256sum | cut -d ' ' -f 1)
}

# build_console: makes console/dist, unless it is there and nothing changed.
build_console() {
  local stamp
  stamp=$(console_stamp)
  if [ "$(cat "$ROOT/console/dist/stamp" 2>/dev/null)" = "$stamp" ]; then return 0; fi
  console_install && console_npm run types >/dev/null && console_npm run build >/dev/null || return 1
  printf '%s\n' "$stamp" >"$ROOT/console/dist/stamp"
}

# For ./run: a server without its console is better than none, and says so itself.
build_console_if_possible() {
  if ! have_node; then
    warn "Node.js $CONSOLE_NODE or newer is not here and not among this system's packages: the web console is left out"
    hint "install it (https://nodejs.org), then ./run again; the command line and the API do not need it"
    return 0
  fi
  say "the web console (npm and Vite)"
  build_console || die "the web console did not build; the words of npm are above"
}

# Debian's own browser; the fonts are for what it is asked to show.
need_browser() {
  if ! has chromium; then install_packages "uses the web console as people do" chromium; fi
  if [ -z "$(fc-list :lang=zh 2>/dev/null)" ]; then install_packages "shows Chinese in the pictures of the console" fonts-noto-cjk; fi
}

# What people do, in a real browser against the server that was just built.
check_journeys() {
  local built=$CARGO_TARGET_DIR/debug driver
  # Where cargo leaves the simulated driver depends on whether it was asked for, or needed.
  driver=$built/libnvidia_ml.so
  [ -e "$driver" ] || driver=$built/deps/libnvidia_ml.so
  LONGSHORE_TEST_BINARY=$built/longshore LONGSHORE_TEST_NVML=$driver \
    LONGSHORE_TEST_PICTURES=${LONGSHORE_TEST_PICTURES:-$LONGSHORE_CACHE/pictures} console_npm run journeys
}

check_console_sources() { console_install && console_npm run types >/dev/null && console_npm run check; }
