//! Claims jobs and sees them through: a lease that is renewed while the work goes on, tries with growing pauses, and an
//! end. One dispatcher waits for everybody, so that a signal never wakes the wrong one.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ring::rand::SecureRandom as _;
use store::jobs::{self, Kind, Row, Turns};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tracing::Instrument as _;
use wire::time::Timestamp;

use super::signal::Told;
use super::{
    BUILD_KINDS, CLUSTER_BUILD_KINDS, CLUSTER_RUN_KINDS, OTHER_KINDS, RELEASE_KINDS, RELEASES,
    RELEASES_OF_ACCOUNT, RUN_KINDS, Shared, TELL_KINDS, change_release, clean_builds, max_attempts, run,
};
use crate::app::App;
use crate::domain;
use crate::error::{Error, ErrorKind, Result};

/// How long a claim is good without being renewed.
const LEASE_SECS: i64 = 30;
/// How often it is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// How often the queue is looked at without a signal: for what another server enqueued, and for what is due again.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The pause after the first failure in milliseconds; doubles with each, up to [`MAX_PAUSE_MILLIS`].
const FIRST_PAUSE_MILLIS: u64 = 1_000;
/// The longest pause between tries in milliseconds.
const MAX_PAUSE_MILLIS: u64 = 60_000;
/// How long the store may take to note that a job was given back at the end of the server.
const RELEASE_PATIENCE: Duration = Duration::from_secs(2);
/// How often what is done and left over is swept away.
const SWEEP_EVERY: Duration = Duration::from_hours(6);
/// How long jobs that are done are kept, in seconds.
const KEEP_DONE_SECS: i64 = 24 * 3600;

/// Starts the workers.
pub fn start(app: &App) {
    let shared = Arc::new(Shared::default());
    app.spawn(dispatch(app.clone(), Arc::clone(&shared)));
    app.spawn(sweep(app.clone()));
}

/// A pool of workers for some kinds of jobs.
struct Pool {
    kinds: &'static [Kind],
    slots: Arc<Semaphore>,
    per_account: u32,
    turns: Turns,
}

async fn dispatch(app: App, shared: Arc<Shared>) {
    let owner = format!("{}-{}", std::process::id(), uuid::Uuid::now_v7().simple());
    let config = &app.config.builds;
    let pool = |kinds, places, per_account| Pool {
        kinds,
        slots: Arc::new(Semaphore::new(places)),
        per_account,
        turns: Turns::default(),
    };
    let of_builds = |kinds, places: u32| pool(kinds, places as usize, config.per_account);
    let in_clusters = app.config.pipelines.cluster_workers;
    let mut pools = [
        pool(OTHER_KINDS, 1, 1),
        of_builds(BUILD_KINDS, config.workers),
        of_builds(CLUSTER_BUILD_KINDS, in_clusters),
        of_builds(RUN_KINDS, config.workers),
        of_builds(CLUSTER_RUN_KINDS, in_clusters),
        pool(RELEASE_KINDS, RELEASES, RELEASES_OF_ACCOUNT),
        pool(TELL_KINDS, 4, 4),
    ];
    take_back(&app).await;
    let mut told = Told::all();
    let mut next_look = Instant::now() + LOOK_EVERY;
    loop {
        let asked =
            pools.iter().filter(|pool| pool.slots.available_permits() > 0 && told.concerns(pool.kinds));
        let kinds: Vec<_> = asked.flat_map(|pool| pool.kinds).copied().collect();
        let due = due(&app, &kinds).await;
        for pool in pools.iter_mut().filter(|pool| pool.kinds.iter().any(|kind| due.contains(kind))) {
            claim_all(&app, &shared, pool, &owner).await;
        }
        told = tokio::select! {
            () = app.shutdown.cancelled() => return,
            told = app.signals.jobs.told() => told,
            () = tokio::time::sleep_until(next_look) => {
                next_look = Instant::now() + LOOK_EVERY;
                Told::all()
            }
        };
    }
}

/// For which of these kinds there is anything to do: one question for all, because most of the time there is nothing.
async fn due(app: &App, kinds: &[Kind]) -> Vec<Kind> {
    if kinds.is_empty() {
        return Vec::new();
    }
    jobs::due(&app.db, kinds, app.now()).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot look for jobs");
        Vec::new()
    })
}

/// What an earlier process of ours left running need not wait for its lease to end, when nobody else can have it.
async fn take_back(app: &App) {
    if app.db.backend() != store::Backend::Sqlite {
        return;
    }
    let taken = persist(app, || async { Ok(jobs::requeue_running(&app.db, app.now()).await?) });
    let taken = tokio::select! {
        () = app.shutdown.cancelled() => return,
        taken = taken => taken,
    };
    match taken {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "took up again what was running when the server stopped"),
        Err(error) => {
            tracing::error!(%error, "cannot take up again what was running when the server stopped");
        }
    }
}

async fn claim_all(app: &App, shared: &Arc<Shared>, pool: &mut Pool, owner: &str) {
    while !app.shutdown.is_cancelled()
        && let Ok(slot) = Arc::clone(&pool.slots).try_acquire_owned()
    {
        let claimed =
            jobs::claim(&app.db, pool.kinds, owner, LEASE_SECS, pool.per_account, &pool.turns, app.now());
        let job = match claimed.await {
            Ok(Some(job)) => job,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "cannot look for jobs");
                return;
            }
        };
        pool.turns.note(job.account_id);
        let span =
            tracing::info_span!("job", job.id = %job.id, job.kind = ?job.kind, job.target = %job.target);
        app.spawn(work(app.clone(), Arc::clone(shared), job, slot).instrument(span));
    }
}

async fn work(app: App, shared: Arc<Shared>, job: Row, slot: OwnedSemaphorePermit) {
    tracing::debug!(attempt = job.attempt, "job begins");
    tokio::select! {
        () = app.shutdown.cancelled() => release(&app, &job).await,
        () = lease_lost(&app, &job) => tracing::warn!("another worker has this job now; stopping it here"),
        result = run(&app, &shared, &job) => settle(&app, &job, result).await,
    }
    drop(slot);
    app.signals.jobs.any();
}

/// Renews the lease until it is lost.
async fn lease_lost(app: &App, job: &Row) {
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        match jobs::renew(&app.db, job.id, job.epoch, app.now().plus_secs(LEASE_SECS)).await {
            Ok(true) => {}
            Ok(false) => {
                // A job may note its own end together with its effect, a moment before it returns.
                match jobs::get(&app.db, job.id).await {
                    Ok(Some(row)) if row.epoch == job.epoch => {}
                    _ => return,
                }
            }
            // Nobody else can claim it either while the store does not answer.
            Err(error) => tracing::warn!(%error, "cannot renew a job's lease"),
        }
    }
}

/// Gives a job back at the end of the server, so that the next one takes it at once.
async fn release(app: &App, job: &Row) {
    let given_back = jobs::retry(&app.db, job.id, job.epoch, app.now(), "the server stopped");
    match tokio::time::timeout(RELEASE_PATIENCE, given_back).await {
        Ok(Ok(_)) => tracing::debug!("job given back"),
        // Its lease ends by itself.
        Ok(Err(error)) => tracing::warn!(%error, "cannot give a job back"),
        Err(_) => tracing::warn!("cannot give a job back in time"),
    }
}

async fn settle(app: &App, job: &Row, result: Result<()>) {
    let kind = format!("{:?}", job.kind);
    let (what, noted) = match result {
        Ok(()) => {
            ("done", persist(app, || async { Ok(jobs::done(&app.db, job.id, job.epoch).await?) }).await)
        }
        Err(error) if job.attempt >= max_attempts(job.kind) => {
            let text = chain(&error);
            tracing::error!(error = text, attempt = job.attempt, "job given up; a person must look");
            (
                "parked",
                persist(app, || async { Ok(jobs::park(&app.db, job.id, job.epoch, &text).await?) }).await,
            )
        }
        Err(error) => {
            let text = chain(&error);
            let run_at = after(app.now(), pause_millis(app, job.attempt));
            tracing::warn!(error = text, attempt = job.attempt, "job failed and is tried again");
            (
                "retried",
                persist(app, || async { Ok(jobs::retry(&app.db, job.id, job.epoch, run_at, &text).await?) })
                    .await,
            )
        }
    };
    metrics::counter!("longshore_jobs_total", "kind" => kind, "result" => what).increment(1);
    if let Err(error) = noted {
        tracing::error!(%error, "cannot note how a job went; it is done again when its lease ends");
    }
}

/// An error for the log and the row: what was said, and why.
fn chain(error: &Error) -> String {
    match &error.source {
        Some(source) => format!("{error}: {}", crate::http::error::chain(source.as_ref())),
        None => error.to_string(),
    }
}

fn after(now: Timestamp, millis: u64) -> Timestamp {
    Timestamp(now.0.saturating_add(i64::try_from(millis).unwrap_or(i64::MAX).saturating_mul(1_000)))
}

/// Half of the pause is fixed, half is chance, so that what failed together is not tried together.
fn pause_millis(app: &App, attempt: u32) -> u64 {
    let doubled = FIRST_PAUSE_MILLIS << attempt.saturating_sub(1).min(16);
    let pause = doubled.min(MAX_PAUSE_MILLIS);
    let mut byte = [0];
    if app.random.fill(&mut byte).is_err() {
        return pause;
    }
    pause / 2 + pause / 2 * u64::from(byte[0]) / 255
}

/// Does something to the store until it is done: a database that is busy, full or away is waited for. Whoever calls it
/// is stopped from outside, by the end of the server or of the lease.
pub(super) async fn persist<T, F: Future<Output = Result<T>>>(
    app: &App,
    mut change: impl FnMut() -> F,
) -> Result<T> {
    let mut tries = 0;
    loop {
        match change().await {
            Err(error) if matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Full) => {
                tries += 1;
                tracing::warn!(%error, tries, "the store did not take a change; trying again");
                tokio::time::sleep(Duration::from_millis(pause_millis(app, tries).min(10_000))).await;
            }
            result => return result,
        }
    }
}

/// Removes what nobody needs any more: jobs that are done, contexts of builds that have ended.
async fn sweep(app: App) {
    // Contexts that appear later belong to requests of this process.
    let mut begun_before = app.now();
    loop {
        let old = app.now().plus_secs(-KEEP_DONE_SECS);
        match jobs::delete_done(&app.db, old).await {
            Ok(0) => {}
            Ok(count) => tracing::debug!(count, "removed jobs that are done"),
            Err(error) => tracing::warn!(%error, "cannot remove jobs that are done"),
        }
        if let Err(error) = clean_builds::sweep_contexts(&app, begun_before).await {
            tracing::warn!(%error, "cannot remove contexts of builds that have ended");
        }
        if let Err(error) = change_release::sweep(&app).await {
            tracing::warn!(%error, "cannot remove what is known of old operations on releases");
        }
        if let Err(error) = domain::run_retention::sweep(&app).await {
            tracing::warn!(%error, "cannot remove runs that ended long ago");
        }
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            () = tokio::time::sleep(SWEEP_EVERY) => {}
        }
        begun_before = old;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_added_to_the_time() {
        assert_eq!(after(Timestamp(5), 2), Timestamp(2_005));
        assert_eq!(after(Timestamp(i64::MAX), 2), Timestamp(i64::MAX));
    }
}
