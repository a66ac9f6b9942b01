//! The server: rules, HTTP, agent link, jobs and reconcilers.
//!
//! - `http/`: parses, calls one function of the domain, renders; `http/router.rs` lists every route
//! - `domain/`: the rules, one file per noun
//! - `link/`: which machines are connected and how to call them
//! - `clients/`: one file or folder per outside system
//! - `jobs/`: one-shot work that survives a restart
//! - `reconcile/`: makes the world match the store
//! - `log_lines`, `picture`, `passwords`, `jwt`, `limits`, `network`, `schedule`, `sealing`: pieces without knowledge of the rest
//! - `database`: the database from outside a running server, for `longshore db`
//! - `acme`, `app`, `config`, `portal_config`, `keys`, `blobs`, `caller`, `error`, `chart_pages`, `chart_syncs`, `disk_uses`, `gpu_readings`, `operation_logs`, `pulls`, `streams`, `terminals`, `start`, `tls`: what
//!   everything shares

pub mod acme;
pub mod app;
pub mod blobs;
pub mod caller;
pub mod chart_pages;
pub mod chart_syncs;
pub mod clients;
pub mod config;
pub mod database;
pub mod disk_uses;
pub mod domain;
pub mod error;
pub mod gpu_readings;
pub mod http;
pub mod jobs;
pub mod jwt;
pub mod keys;
pub mod limits;
pub mod link;
pub mod log_lines;
pub mod network;
pub mod operation_logs;
pub mod passwords;
pub mod picture;
pub mod portal_config;
pub mod pulls;
pub mod reconcile;
pub mod schedule;
pub mod sealing;
pub mod start;
pub mod streams;
pub mod terminals;
pub mod tls;

pub use formats::{archive, chart_index, chart_package, key_ring, values_form};
pub use http::openapi::openapi_json;
pub use start::Server;
