# shellcheck shell=bash
# Finds the Rust tools, also under a changed HOME, and keeps what they build in the cache folder.

CARGO_DENY_VERSION=0.20.2

need_rust() {
  local home
  home=$(getent passwd "$(id -u)" | cut -d: -f6)
  PATH=$PATH:$HOME/.cargo/bin:$home/.cargo/bin:$LONGSHORE_CACHE/bin
  export PATH CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$LONGSHORE_CACHE/target}"
  # rustup looks for its toolchains below HOME; with another HOME it has to be told where they are.
  if ! cargo --version >/dev/null 2>&1 && [ -d "$home/.rustup" ]; then
    export RUSTUP_HOME="$home/.rustup"
  fi
  if ! cargo --version >/dev/null 2>&1; then
    hint "https://rustup.rs installs it, for this account only"
    die "cargo, Rust's build tool, is missing or does not work"
  fi
}

# need_component CARGO_COMMAND COMPONENT
need_component() {
  cargo "$1" --version >/dev/null 2>&1 && return 0
  has rustup || die "cargo $1 is missing, and there is no rustup that could add it"
  say "adding the Rust component $2"
  rustup component add "$2" || die "could not add the Rust component $2"
}

# From here on cargo compiles this workspace with clippy, which is the compiler with more lints: what it finds does not
# compile. `cargo clippy` beside `cargo test` would read every dependency twice.
lint_while_compiling() {
  RUSTC_WORKSPACE_WRAPPER=$(rustc --print sysroot)/bin/clippy-driver
  export RUSTC_WORKSPACE_WRAPPER CLIPPY_ARGS=-Dwarnings__CLIPPY_HACKERY__
}

need_cargo_deny() {
  [ "$(cargo-deny --version 2>/dev/null)" = "cargo-deny $CARGO_DENY_VERSION" ] && return 0
  say "installing cargo-deny $CARGO_DENY_VERSION into $LONGSHORE_CACHE/bin (licences, sources, known holes); once"
  # Not optimised and without what a debugger needs: less to compile, and a tree is still checked in seconds.
  # Without our target folder, because cargo would leave what it compiled there.
  env -u CARGO_TARGET_DIR CARGO_PROFILE_DEV_DEBUG=none cargo install --debug --locked --quiet --version "$CARGO_DENY_VERSION" \
    --root "$LONGSHORE_CACHE" cargo-deny
}
