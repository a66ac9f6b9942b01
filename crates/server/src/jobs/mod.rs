//! Work that outlives a request and a restart. A row is written in the transaction of its cause; a worker claims it
//! with a lease, and whoever loses the lease stops. Doing a job twice finds what the first time did.
//!
//! - `worker.rs`: claims, leases, tries again, gives up; `signal.rs`: wakes it
//! - `build_image.rs`: from a context to an image; `build_progress.rs`: what is heard meanwhile; `executor.rs`: what builds it; `cluster_build.rs`, `pod_command.rs`, `pod_log.rs`, `pod_stage.rs`: when that is a pod;
//!   `build_secrets.rs`, `veil.rs`: what its steps may read;
//!   `bases.rs`: what it builds on; `clean_builds.rs`: what ended builds leave behind
//! - `save_container.rs`: from a container to an image, where that differs
//! - `delete_manifest.rs`: removes an image from the registry; `collect_registry.rs`: removes from it what no image needs
//! - `run_pipeline.rs`: from a commit to a build and to its end; `fetch.rs`: its first step; `commit_contexts.rs`: what was fetched before; `deploy.rs`: its last; `tell.rs`: notifications, and how commits fare
//! - `turns.rs`: who comes first where only one may
//! - `change_release.rs`: installs, changes and removes releases, through Helm

mod bases;
mod build_image;
mod build_progress;
mod build_secrets;
mod change_release;
mod clean_builds;
mod cluster_build;
mod collect_registry;
mod commit_contexts;
mod delete_manifest;
mod deploy;
mod executor;
mod fetch;
mod pod_command;
mod pod_log;
mod pod_stage;
mod run_pipeline;
mod save_container;
mod signal;
mod tell;
mod turns;
mod veil;
mod worker;

use store::jobs::{Kind, Row};

use crate::app::App;
use crate::error::Result;

pub use signal::JobSignal;
pub use worker::start;

/// Kinds of which only `builds.workers` run at a time.
const BUILD_KINDS: &[Kind] = &[Kind::BuildImage];
/// Kinds of which only `pipelines.cluster_workers` run at a time.
const CLUSTER_BUILD_KINDS: &[Kind] = &[Kind::BuildInCluster];
/// Kinds of which as many run at a time as builds: each waits for a build of its own. Those of one executor never wait for a
/// place of the other's.
const RUN_KINDS: &[Kind] = &[Kind::RunPipeline];
const CLUSTER_RUN_KINDS: &[Kind] = &[Kind::RunInCluster];
/// Kinds that wait for clusters most of their time.
const RELEASE_KINDS: &[Kind] = &[Kind::ChangeRelease];
/// How many of those run at a time, of all accounts and of one.
const RELEASES: usize = 8;
const RELEASES_OF_ACCOUNT: u32 = 3;
/// Kinds that wait for others than us.
const TELL_KINDS: &[Kind] = &[Kind::Notify, Kind::ReportStatus];
/// Kinds that share one worker.
const OTHER_KINDS: &[Kind] = &[Kind::DeleteImage, Kind::CleanBuilds, Kind::CollectRegistry];

/// Fetches at the same time.
const FETCHES: usize = 4;

/// What the jobs of one server share.
struct Shared {
    /// Held while a build is noted as running, and while builds are cleaned: a cleaning must not take what a build that
    /// has just begun makes for a leftover.
    cleaning: tokio::sync::Mutex<()>,
    /// Places of those who fetch from git servers.
    fetching: tokio::sync::Semaphore,
    /// Turns of runs that bring the same up to date.
    deploying: turns::Turns,
    /// What was fetched before.
    commit_contexts: commit_contexts::CommitContexts,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            cleaning: tokio::sync::Mutex::default(),
            fetching: tokio::sync::Semaphore::new(FETCHES),
            deploying: turns::Turns::default(),
            commit_contexts: commit_contexts::CommitContexts::default(),
        }
    }
}

/// Does one job.
async fn run(app: &App, shared: &Shared, job: &Row) -> Result<()> {
    match job.kind {
        Kind::BuildImage | Kind::BuildInCluster => build_image::run(app, shared, job).await,
        Kind::CleanBuilds => clean_builds::run(app, shared, job).await,
        Kind::RunPipeline | Kind::RunInCluster => Box::pin(run_pipeline::run(app, shared, job)).await,
        Kind::ChangeRelease => change_release::run(app, job).await,
        Kind::Notify => tell::notify(app, job).await,
        Kind::ReportStatus => tell::report_status(app, job).await,
        Kind::DeleteImage => delete_manifest::run(app, job).await,
        Kind::CollectRegistry => collect_registry::run(app, job).await,
    }
}

/// How often a job is tried before a person must look. Builds, runs, releases and collections count for themselves: they must end in a final
/// state.
fn max_attempts(kind: Kind) -> u32 {
    match kind {
        Kind::BuildImage
        | Kind::BuildInCluster
        | Kind::RunPipeline
        | Kind::RunInCluster
        | Kind::ChangeRelease
        | Kind::CollectRegistry => u32::MAX,
        Kind::DeleteImage | Kind::CleanBuilds | Kind::Notify | Kind::ReportStatus => 5,
    }
}
