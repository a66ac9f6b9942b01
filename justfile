# The commands people use, for those who have `just`. Each is also one line without it.

export CARGO_TARGET_DIR := env("CARGO_TARGET_DIR", env("LONGSHORE_CACHE", env("XDG_CACHE_HOME", env("HOME") / ".cache") / "longshore") / "target")

# the list of commands
default:
    @just --list

# build, start, and show a sample running
run *arguments:
    ./run {{arguments}}

# stop the server; containers keep running
stop:
    ./run stop

# every check; `just test FILTER` for some tests, `just test --quick` without databases
test *arguments:
    ./test {{arguments}}

# format and let clippy correct what it can
fix:
    cargo fmt --all
    cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged

# the API's document, after a change of routes
openapi:
    cargo run --quiet --package longshore -- openapi > docs/openapi.json

# feed what reads strangers' bytes with whatever reaches new ways through it; `just fuzz SECONDS TARGET…`
fuzz *arguments:
    scripts/fuzz {{arguments}}

# measure beside plain Docker and others, and write docs/BENCHMARKS.md; on a machine that has nothing else to do
bench *names:
    ./bench {{names}}
