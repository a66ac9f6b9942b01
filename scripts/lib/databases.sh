# shellcheck shell=bash
# A MariaDB and a PostgreSQL for tests: private, on free loopback ports, in a temporary folder, without fsync.
# Both refuse to run as root, so root runs them as `nobody`. User, password and database are all `longshore`.

AS_NOBODY=(setpriv --reuid nobody --regid nogroup --clear-groups --)

# database_start PIDFILE LOG COMMAND…
database_start() {
  local pidfile=$1 log=$2
  shift 2
  if [ "$(id -u)" -eq 0 ]; then
    start_detached "$pidfile" "$log" "${AS_NOBODY[@]}" "$@"
  else
    start_detached "$pidfile" "$log" "$@"
  fi
}

database_command() { if [ "$(id -u)" -eq 0 ]; then "${AS_NOBODY[@]}" "$@"; else "$@"; fi; }

# database_folder DIR: made, and owned by whoever will run the database.
database_folder() {
  mkdir -p "$1"
  if [ "$(id -u)" -eq 0 ]; then chown nobody:nogroup "$1"; fi
}

# --- MariaDB

need_mariadb() {
  # The -core packages bring the programs without a system service.
  has mariadbd && has mariadb-install-db && has mariadb && return 0
  install_packages "the tests run on MariaDB, too" mariadb-server-core mariadb-client-core
}

# mariadb_start DIR: prints its URL.
mariadb_start() {
  local dir=$1 port
  database_folder "$dir"
  database_command mariadb-install-db --no-defaults --datadir="$dir/data" --auth-root-authentication-method=normal \
    --skip-test-db >"$dir.install.log" 2>&1 || database_failed mariadb "$dir.install.log"
  cat >"$dir/init.sql" <<'SQL'
CREATE DATABASE longshore CHARACTER SET utf8mb4;
CREATE USER longshore@'%' IDENTIFIED BY 'longshore';
GRANT ALL ON *.* TO longshore@'%' WITH GRANT OPTION;
SQL
  port=$(random_free_port)
  database_start "$dir.pid" "$dir.log" mariadbd --no-defaults --datadir="$dir/data" --socket="$dir/socket" \
    --pid-file="$dir/pid" --bind-address=127.0.0.1 --port="$port" --init-file="$dir/init.sql" --skip-name-resolve \
    --innodb-flush-method=nosync --innodb-flush-log-at-trx-commit=0 --innodb-buffer-pool-size=128M \
    --max-connections=500 --character-set-server=utf8mb4
  wait_for_process "$dir.pid" 60 "MariaDB" mariadb_answers "$port" || database_failed mariadb "$dir.log"
  printf 'mysql://longshore:longshore@127.0.0.1:%s\n' "$port"
}

mariadb_answers() {
  mariadb --no-defaults --protocol=tcp -h 127.0.0.1 -P "$1" -u longshore -plongshore -e 'select 1' >/dev/null 2>&1
}

mariadb_stop() { end_process "$(pid_in "$1.pid")" 20; }

# --- PostgreSQL

# Debian keeps the server's programs out of PATH, one folder for each version: the newest is taken.
postgres_programs() {
  local folder
  folder=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
  if [ -x "$folder/initdb" ]; then printf '%s\n' "$folder"; fi
}

need_postgres() {
  [ -n "$(postgres_programs)" ] && return 0
  install_packages "the tests run on PostgreSQL, too" postgresql
  stop_service_of_new_package postgresql
}

# postgres_start DIR: prints its URL.
postgres_start() {
  local dir=$1 port programs
  programs=$(postgres_programs)
  database_folder "$dir"
  printf 'longshore\n' >"$dir.password"
  chmod 0644 "$dir.password"
  database_command "$programs/initdb" --pgdata="$dir/data" --username=longshore --pwfile="$dir.password" \
    --auth=scram-sha-256 --encoding=UTF8 --locale=C --no-sync >"$dir.install.log" 2>&1 ||
    database_failed postgresql "$dir.install.log"
  port=$(random_free_port)
  database_start "$dir.pid" "$dir.log" "$programs/postgres" -D "$dir/data" -c listen_addresses=127.0.0.1 \
    -c port="$port" -c unix_socket_directories="$dir" -c fsync=off -c synchronous_commit=off \
    -c full_page_writes=off -c max_connections=500
  wait_for_process "$dir.pid" 60 "PostgreSQL" postgres_answers "$port" || database_failed postgresql "$dir.log"
  postgres_query "$port" 'create database longshore' >/dev/null
  printf 'postgres://longshore:longshore@127.0.0.1:%s\n' "$port"
}

postgres_query() {
  PGPASSWORD=longshore "$(postgres_programs)/psql" -X -q -t -h 127.0.0.1 -p "$1" -U longshore -d postgres -c "$2"
}

postgres_answers() { postgres_query "$1" 'select 1' >/dev/null 2>&1; }

# SIGINT is PostgreSQL's "fast" stop: it does not wait for clients.
postgres_stop() { end_process "$(pid_in "$1.pid")" 20 INT; }

database_failed() {
  tail -n 20 "$2" >&2 || true
  die "the private $1 did not start; its log is above"
}
