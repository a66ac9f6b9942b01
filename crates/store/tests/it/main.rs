//! Every test of the store runs on SQLite, MariaDB (or MySQL) and PostgreSQL, each with a database of its own.
//!
//! `LONGSHORE_TEST_MYSQL` and `LONGSHORE_TEST_POSTGRES` are the addresses of servers where databases may be made. A
//! missing one fails the tests, unless `LONGSHORE_TEST_SKIP` names `mysql` or `postgres`.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test that cannot go on fails, and says so")]

mod accounts;
mod backup;
mod builds;
mod chart_repos;
mod collections;
mod containers;
mod engines;
mod git_repo_secrets;
mod gpu_leases;
mod images;
mod jobs;
mod kept_logs;
mod kubernetes;
mod lists;
mod machine_images;
mod machines;
mod quotas;
mod releases;
mod runs;
mod support;
mod volumes;
