# shellcheck shell=bash
# Runs the steps of ./test and counts: a step is one test, except for cargo's tests, which are counted one by one.

PASSED=0
FAILED=0
SKIPPED=0
FAILURES=()
# What passed alone after it had failed among all others, and how much of that is tried at most: more is no accident.
SECOND_TRIES=()
SECOND_TRIES_MOST=5
# Why tests failed, for the end: the beginning of what each one said.
REASONS=$(mktemp)
# How long each of cargo's tests took, for the end: seconds and name.
TIMES=$(mktemp)
SLOWEST=10

# left_out NAME: the caller named this part in LONGSHORE_TEST_SKIP (separated by commas or spaces).
left_out() { [[ " ${LONGSHORE_TEST_SKIP//,/ } " == *" $1 "* ]]; }

# Loudly, because a part that is silently missing looks like one that works.
skipped() {
  warn "SKIPPED: $*"
  SKIPPED=$((SKIPPED + 1))
}

failed() {
  say "FAILED: $*"
  FAILED=$((FAILED + 1))
  FAILURES+=("$*")
}

# check WHAT COMMAND…
check() {
  local what=$1 started=$SECONDS
  shift
  step "$what"
  if "$@"; then
    PASSED=$((PASSED + 1))
    say "ok ($((SECONDS - started)) s)"
  else
    failed "$what"
  fi
}

# check_cargo_tests ARGUMENT…: shows cargo's output as it comes and adds up its `test result:` lines. A few tests that failed
# are tried once more, alone: these machines are shared and slow, and one moment of theirs is no verdict on a thousand
# tests. What needs it is named at the end with what it said, and is a defect to be mended all the same.
check_cargo_tests() {
  local log status=0 names=() again=()
  log=$(mktemp)
  step "cargo test $*"
  cargo_test_timed "$@" 2>&1 | tee "$log" || status=$?
  read -r passed wrong ignored < <(count_tests "$log")
  mapfile -t names < <(failed_tests "$log")
  reasons "$log" >>"$REASONS"
  test_times "$log" >>"$TIMES"
  # Something that does not compile, or dies, fails without a line of its own.
  if [ "$status" -ne 0 ] && [ "$wrong" -eq 0 ]; then failed "cargo test (exit status $status)"; fi
  if [ "${#names[@]}" -gt 0 ] && [ "${#names[@]}" -eq "$wrong" ] && [ "$wrong" -le "$SECOND_TRIES_MOST" ]; then
    step "a second try, alone: ${names[*]}"
    if cargo test --workspace --no-fail-fast -- --exact --test-threads 1 "${names[@]}" 2>&1 | tee "$log"; then
      again=("${names[@]}")
    else
      mapfile -t again < <(comm -23 <(printf '%s\n' "${names[@]}" | sort) <(failed_tests "$log" | sort))
      mapfile -t names < <(failed_tests "$log")
      reasons "$log" >>"$REASONS"
    fi
    [ "${#again[@]}" -ne "$wrong" ] || names=()
    SECOND_TRIES+=("${again[@]}")
    passed=$((passed + ${#again[@]}))
    wrong=$((wrong - ${#again[@]}))
  fi
  PASSED=$((PASSED + passed))
  SKIPPED=$((SKIPPED + ignored))
  FAILED=$((FAILED + wrong))
  FAILURES+=("${names[@]}")
  rm -f "$log"
}

# cargo_test_timed ARGUMENT…, with `--` among them. Times are an unstable option of the tests' own harness, so it is told that it may
# only when it runs: a compiler that is told so would compile some libraries anew.
cargo_test_timed() {
  local host
  host=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
  env "CARGO_TARGET_${host}_RUNNER=env RUSTC_BOOTSTRAP=1" cargo test "$@" -Z unstable-options --report-time
}

# Of cargo's output: seconds and name of each test.
test_times() { sed -n 's/^test \(.*\) \.\.\. .* <\([0-9.]*\)s>$/\2 \1/p' "$1"; }

# Of cargo's output: tests passed, failed and left out.
count_tests() {
  awk '
    /^test result: / { for (i = 2; i <= NF; i++) {
      if ($i ~ /^passed/) passed += $(i - 1)
      if ($i ~ /^failed/) failed += $(i - 1)
      if ($i ~ /^ignored/) ignored += $(i - 1) } }
    END { print passed + 0, failed + 0, ignored + 0 }' "$1"
}

failed_tests() { sed -n 's/^test \(.*\) \.\.\. FAILED\( <[0-9.]*s>\)\{0,1\}$/\1/p' "$1"; }

# What failed tests said, without the way to where they said it.
reasons() {
  awk '
    /^---- .* ----$/ { shown = 1; lines = 0 }
    /^stack backtrace:/ || /^failures:/ { shown = 0 }
    shown && NF && lines++ < 12 { print substr($0, 1, 1000) }' "$1"
}

# The closing line stands alone, for people and programs alike.
finish() {
  local name
  printf '\n'
  cat "$REASONS"
  # Not `head`: it would end `sort` before its time, and with it the script.
  sort -rn "$TIMES" | sed -n "1,${SLOWEST}p" | while read -r seconds name; do printf 'slow: %s s, %s\n' "$seconds" "$name"; done
  rm -f "$REASONS" "$TIMES"
  for name in "${SECOND_TRIES[@]}"; do printf 'only at the second try: %s\n' "$name"; done
  for name in "${FAILURES[@]}"; do printf 'failed: %s\n' "$name"; done
  printf '%d passed, %d failed' "$PASSED" "$FAILED"
  if [ "${#SECOND_TRIES[@]}" -gt 0 ]; then printf ', %d only at the second try' "${#SECOND_TRIES[@]}"; fi
  if [ "$SKIPPED" -gt 0 ]; then printf ', %d skipped' "$SKIPPED"; fi
  printf '\n'
  [ "$FAILED" -eq 0 ]
}
