//! Rows and queries for SQLite, MySQL/MariaDB and PostgreSQL: one schema, one set of queries, no rules. The only crate
//! that names the ORM; nothing of it is in the public interface.
//!
//! - `db`: opening, migrating, transactions; `connect`: connection strings and the settings of each engine
//! - `error`: what can go wrong, told apart by the engines' codes; `sql`, `pages`: shared by the nouns
//! - `accounts`, `sessions`, `tokens`, `audit`, `images`, `builds`, `jobs`, `machines`, `invites`, `machine_keys`,
//!   `containers`, `container_events`, `chart_repos`, `charts`, `chart_syncs`, `releases`, `release_operations`, `volumes`, `gpu_leases`, `git_repos`, `runs`, `runners`, `run_log`, `webhook_deliveries`,
//!   `notification_targets`, `git_repo_secrets`,
//!   `kept_logs`, `machine_images`, `quotas`, `settings`, `registry_events`,
//!   `collections`, `clusters`, `namespaces`, `workloads`: one file per noun, rows and queries
//! - `schema`: the tables as data; `backup`: an archive that every engine writes and reads; `migrations`: never edited
//!   once released
//!
//! Every function takes `c: &dyn Conn`: a [`Db`] (each call stands alone) or a [`Tx`]. After an error inside a
//! transaction the transaction must be dropped: PostgreSQL accepts nothing more in it.

pub mod accounts;
pub mod audit;
pub mod backup;
pub mod builds;
pub mod chart_keys;
pub mod chart_repos;
pub mod chart_syncs;
pub mod charts;
pub mod clusters;
pub mod collections;
mod connect;
pub mod container_events;
pub mod containers;
mod db;
mod error;
pub mod filtered;
pub mod git_repo_secrets;
pub mod git_repos;
pub mod gpu_leases;
pub mod images;
pub mod invites;
pub mod jobs;
pub mod kept_logs;
pub mod machine_images;
pub mod machine_keys;
pub mod machines;
mod migrations;
pub mod namespaces;
pub mod notification_targets;
mod pages;
pub mod quotas;
pub mod registry_events;
pub mod release_operations;
pub mod releases;
pub mod run_log;
pub mod runners;
pub mod runs;
mod schema;
pub mod sessions;
pub mod settings;
mod sql;
pub mod tokens;
pub mod volumes;
pub mod webhook_deliveries;
pub mod workloads;

pub use connect::sqlite_path;
pub use db::{Backend, Conn, Db, MigrationStatus, Tx, Versions};
pub use error::{Cause, Error, Result};
pub use pages::PageOf;
