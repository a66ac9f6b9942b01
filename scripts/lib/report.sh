# shellcheck shell=bash
# Runs the steps of ./test and counts: a step is one test, except for cargo's tests, which are counted one by one.

PASSED=0
FAILED=0
SKIPPED=0
FAILURES=()

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

# check_cargo_tests ARGUMENT…: shows cargo's output as it comes and adds up its `test result:` lines.
check_cargo_tests() {
  local log status=0 failed_before=$FAILED counts
  log=$(mktemp)
  step "cargo test $*"
  cargo test "$@" 2>&1 | tee "$log" || status=$?
  counts=$(awk '
    /^test result: / { for (i = 2; i <= NF; i++) {
      if ($i ~ /^passed/) passed += $(i - 1)
      if ($i ~ /^failed/) failed += $(i - 1)
      if ($i ~ /^ignored/) ignored += $(i - 1) } }
    END { print passed + 0, failed + 0, ignored + 0 }' "$log")
  read -r passed wrong ignored <<<"$counts"
  PASSED=$((PASSED + passed))
  SKIPPED=$((SKIPPED + ignored))
  FAILED=$((FAILED + wrong))
  while read -r name; do FAILURES+=("$name"); done < <(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log")
  rm -f "$log"
  # Something that does not compile, or dies, fails without a line of its own.
  if [ "$status" -ne 0 ] && [ "$FAILED" -eq "$failed_before" ]; then failed "cargo test (exit status $status)"; fi
}

# The closing line stands alone, for people and programs alike.
finish() {
  local failure
  printf '\n'
  for failure in "${FAILURES[@]}"; do printf 'failed: %s\n' "$failure"; done
  printf '%d passed, %d failed' "$PASSED" "$FAILED"
  if [ "$SKIPPED" -gt 0 ]; then printf ', %d skipped' "$SKIPPED"; fi
  printf '\n'
  [ "$FAILED" -eq 0 ]
}
