//! The rules, one file per noun. Every public function takes `&App, &Caller` first (or `&App` alone where there is no
//! caller yet, such as a login) and decides by itself what the caller may do: denied unless allowed. Nothing here knows
//! HTTP, engines, Kubernetes or SQL.
//!
//! - `accounts`, `sessions`, `tokens`: who is who
//! - `images`, `builds`, `registry`: from an archive to an image that can be pulled; `build_contexts`: from an upload to what is built; `image_tree`: what was made from what
//! - `containers`, `machines`, `gpus`, `invites`: what runs where, and how machines join; `terminals`: commands in containers;
//!   `logs`: what they print; `stats`: what they use; `events`: what happens to everything; `files`: files in containers;
//!   `saves`: containers as images; `container_updates`: changing what is there; `volumes`: folders that outlive them
//! - `machine_images`: which machines hold which images
//! - `git_repos`, `runs`, `runners`, `run_log`: from a commit to an image; `git_repo_secrets`: what steps of builds may read; `run_destinations`: where images of runs go; `run_retention`: how long runs are kept; `webhooks`: git servers that tell of pushes;
//!   `notifications`: who is told of runs; `deploys`: what is brought up to date with what they made
//! - `leases`, `placement`: who gets which graphics processors, and who waits for them; `quotas`: how much an account may have
//! - `collections`: tidying up the registry
//! - `clusters`, `namespaces`, `namespace_views`, `workloads`: Kubernetes; `manifests`: what a file may say;
//!   `port_forwards`: ways to ports of pods and services; `cluster_builds`: where images are built in clusters
//! - `chart_repos`, `chart_sync`, `charts`: Helm repositories, and the charts in them; `hosted_charts`: those that accounts keep here
//! - `releases`: charts that are installed into namespaces
//! - `operation_log`: what builds, runs and operations on releases print, for whoever may read it
//! - `settings`: how the installation is set, and what can be set while it runs
//! - `audit`: who changed what; `readiness`: whether the server can work

pub mod accounts;
pub mod audit;
pub(crate) mod build_contexts;
pub mod builds;
pub mod chart_keys;
pub mod chart_pushes;
pub mod chart_repos;
pub(crate) mod chart_sync;
pub mod charts;
pub(crate) mod cluster_builds;
pub mod clusters;
pub mod collections;
mod container_names;
pub mod container_updates;
pub mod containers;
pub mod deploys;
pub mod events;
pub mod files;
pub mod git_repo_secrets;
pub mod git_repos;
pub mod gpus;
pub mod hosted_charts;
pub(crate) mod hosted_packages;
pub mod image_tree;
pub mod images;
pub mod invites;
pub(crate) mod leases;
pub mod logs;
pub mod machine_images;
pub mod machines;
pub mod manifests;
pub mod namespace_views;
pub mod namespaces;
pub mod notifications;
mod oci_sync;
pub mod operation_log;
mod placement;
pub mod port_forwards;
pub mod provenance;
pub mod quotas;
pub mod readiness;
pub mod registry;
pub mod releases;
mod run_destinations;
pub mod run_log;
pub(crate) mod run_retention;
pub mod runners;
pub mod runs;
pub mod saves;
pub mod sessions;
pub mod settings;
pub mod stats;
pub mod terminals;
pub mod tokens;
pub mod volumes;
pub mod webhooks;
pub mod workloads;

use store::PageOf;
use wire::page::{Page, PageQuery};

/// A page of rows as a page of views.
fn page_of<R, V>(found: PageOf<R>, page: PageQuery, view: impl FnMut(R) -> V) -> Page<V> {
    let data = found.rows.into_iter().map(view).collect();
    Page { data, total: found.total, limit: page.limit(), offset: page.offset() }
}
