# shellcheck shell=bash
# The demonstration: as an ordinary account, from a folder with a Dockerfile to a running container that answers.
# One function for each thing asked of Longshore. Uses STATE_DIR, BINARY, SERVER_URL, ROOT.

DEMO_ACCOUNT=demo
DEMO_CONTAINER=hello
DEMO_IMAGE=hello:1

run_demo() {
  DEMO_DIR=$STATE_DIR/demo
  mkdir -p "$DEMO_DIR"
  demo_make_password
  demo_register
  demo_login

  if ! demo_find_container || ! demo_container_answers; then
    "$ROOT/examples/hello/build.sh"
    say "demo: uploading examples/hello as $DEMO_IMAGE"
    demo_upload
    demo_start_container
  fi
  demo_print_answer
}

# Not 64 hexadecimal digits: that would be taken for the hash of a password.
demo_make_password() {
  [ -s "$DEMO_DIR/password" ] && return 0
  (umask 077 && head -c 18 /dev/urandom | base64 | tr '+/' 'xy' >"$DEMO_DIR/password")
}

# The command line, with a sign-in of its own, so that yours stays as it is.
demo_cli() { LONGSHORE_CONFIG_DIR=$DEMO_DIR/config "$BINARY" "$@"; }

# The password travels over standard input: arguments can be read by everybody on the machine.
demo_register() {
  local status
  status=$(jq -n --arg account "$DEMO_ACCOUNT" --rawfile password "$DEMO_DIR/password" \
    '{account: $account, password: ($password | rtrimstr("\n"))}' |
    curl -s -o "$DEMO_DIR/register.json" -w '%{http_code}' --max-time 30 -H 'Content-Type: application/json' \
      --data-binary @- "$SERVER_URL/api/auth/register") || true
  case $status in
    200) say "demo: account $DEMO_ACCOUNT registered (password: $DEMO_DIR/password)" ;;
    409) ;; # from an earlier run
    *)
      cat "$DEMO_DIR/register.json" >&2 2>/dev/null || true
      die "the account $DEMO_ACCOUNT could not be registered (HTTP $status)"
      ;;
  esac
}

demo_login() {
  demo_cli login "$SERVER_URL" --account "$DEMO_ACCOUNT" --password-stdin <"$DEMO_DIR/password" >/dev/null && return 0
  hint "if the account has another password: ./run --no-demo, or remove $STATE_DIR and $DATA_DIR to begin anew"
  die "the account $DEMO_ACCOUNT could not sign in"
}

demo_upload() { demo_cli image upload "$ROOT/examples/hello" --name "$DEMO_IMAGE" >&2 || die "the upload failed"; }
demo_create_container() { demo_cli container run "$DEMO_IMAGE" --name "$DEMO_CONTAINER" -p 8000 --json; }
demo_get_container() { demo_cli container show "$DEMO_CONTAINER" --json; }
demo_delete_container() { demo_cli container delete "$DEMO_CONTAINER" --yes >/dev/null; }

# Sets DEMO_STATE and DEMO_URL from what the container says of itself.
demo_find_container() {
  local container
  container=$(demo_get_container 2>/dev/null) || return 1
  DEMO_STATE=$(jq -r '.state' <<<"$container")
  DEMO_URL=$(jq -r '.port // empty | "http://127.0.0.1:\(.)/"' <<<"$container")
}

demo_is_running() { demo_find_container && [ "$DEMO_STATE" = running ] && [ -n "$DEMO_URL" ]; }
demo_container_answers() { [ -n "${DEMO_URL:-}" ] && curl -fs --max-time 5 -o "$DEMO_DIR/answer" "$DEMO_URL"; }

# A container of that name that does not answer is from an earlier image: replaced.
demo_start_container() {
  if demo_find_container; then demo_delete_container || die "the old container $DEMO_CONTAINER could not be deleted"; fi
  say "demo: starting the container $DEMO_CONTAINER"
  demo_create_container >"$DEMO_DIR/container.json" || die "the container could not be created"
  wait_until 60 "the container to run" demo_is_running ||
    die "the container is ${DEMO_STATE:-unknown} after 60 seconds; see: $BINARY container log $DEMO_CONTAINER"
  wait_until 30 "the container to answer" demo_container_answers || die "nothing answers at $DEMO_URL"
}

demo_print_answer() {
  printf '\nThe sample answers at %s\n\n' "$DEMO_URL"
  sed 's/^/    /' "$DEMO_DIR/answer"
}
