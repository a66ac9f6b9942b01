#!/usr/bin/env bash
# Compiles hello.rs into a program that needs no library, so that the image can begin FROM scratch.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

if [ hello -nt hello.rs ] && [ hello -nt build.sh ]; then exit 0; fi

if ! rustc --version >/dev/null 2>&1; then
  echo "rustc, the Rust compiler, is missing: see https://rustup.rs. Or try examples/hello-web, which needs none." >&2
  exit 1
fi
# Written under another name first: a half-written program must not look finished.
rustc --edition 2024 -O -C target-feature=+crt-static -C strip=symbols -o hello.new hello.rs
mv hello.new hello
