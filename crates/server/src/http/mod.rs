//! The HTTP interface: parse, call one function of the domain, render. No rule about rights or states lives here.
//!
//! - `router.rs` lists every route; `rights.rs` says for each who may call it
//! - `serve.rs` accepts connections; `request.rs` gives each request its id, span and metrics
//! - `sse.rs`, `feed.rs`: what goes on: event streams, and the same as WebSockets
//! - `auth.rs` finds out who is calling; `extract.rs` reads bodies, queries and uploads; `error.rs` renders failures
//! - `door.rs` is what Docker's clients speak to, on a port of its own; `machine_door.rs` is the same for the engines of
//!   other machines
//! - `applications.rs`: what services in clusters show, on an origin apart; `port_forwards.rs`: their ports as WebSockets
//! - one file per noun; `compat/` holds the routes of the seed documents, over the same functions

pub mod accounts;
pub mod applications;
pub mod audit;
pub mod auth;
pub mod builds;
pub mod chart_keys;
pub mod chart_repos;
pub mod charts;
pub mod clusters;
pub mod collections;
pub mod compat;
pub mod console;
pub mod containers;
pub mod door;
pub mod error;
pub mod events;
pub mod extract;
pub mod feed;
pub mod files;
pub mod git_repo_secrets;
pub mod git_repos;
pub mod gpus;
pub mod health;
pub mod hooks;
pub mod hosted_charts;
pub mod images;
pub mod invites;
pub mod linger;
pub mod link;
pub mod machine_door;
pub mod machines;
pub mod namespaces;
pub mod notifications;
pub mod openapi;
pub mod operation_log;
pub mod port_forwards;
pub mod queue;
pub mod registry;
pub mod releases;
pub mod request;
pub mod rights;
pub mod router;
mod routes;
pub mod runs;
pub mod serve;
pub mod settings;
pub mod sse;
pub mod terminals;
pub mod tokens;
pub mod volumes;
pub mod workloads;
