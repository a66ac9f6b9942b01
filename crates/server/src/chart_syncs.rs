//! What is known in memory of the syncs of chart repositories: which are going on, so that two who ask get one answer, and when
//! one that found nothing new was last looked at, because that is not worth a write.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared, WeakShared};
use wire::chart_repos::ChartSyncView;
use wire::ids::ChartRepoId;
use wire::time::Timestamp;

use crate::error::{Error, ErrorKind};

/// A failure that several can be told.
#[derive(Clone, Debug)]
pub struct SyncFailure {
    /// What kind.
    pub kind: ErrorKind,
    /// Stable name for programs.
    pub code: &'static str,
    /// What happened, in plain words.
    pub detail: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl From<Error> for SyncFailure {
    fn from(error: Error) -> Self {
        Self { kind: error.kind, code: error.code, detail: error.detail, hint: error.hint }
    }
}

impl From<SyncFailure> for Error {
    fn from(failure: SyncFailure) -> Self {
        Self { hint: failure.hint, ..Self::new(failure.kind, failure.code, failure.detail) }
    }
}

/// How a sync ended.
pub type SyncResult = Result<ChartSyncView, SyncFailure>;

type Flight = BoxFuture<'static, Arc<SyncResult>>;

/// The syncs.
#[derive(Default)]
pub struct ChartSyncs {
    /// Weak: one that nobody waits for any more is given up, not left standing.
    flights: Mutex<HashMap<ChartRepoId, WeakShared<Flight>>>,
    looked: Mutex<HashMap<ChartRepoId, Timestamp>>,
    /// Held while a package that somebody keeps here gets its row, and while one without a row is removed.
    pub(crate) packages: tokio::sync::Mutex<()>,
}

impl ChartSyncs {
    /// Joins the sync of a repository that is going on, or begins one.
    pub async fn join(
        &self,
        repo: ChartRepoId,
        begin: impl FnOnce() -> BoxFuture<'static, SyncResult>,
    ) -> SyncResult {
        let flight: Shared<Flight> = {
            let mut flights = lock(&self.flights);
            flights.retain(|_, flight| flight.upgrade().is_some_and(|flight| flight.peek().is_none()));
            if let Some(flight) = flights.get(&repo).and_then(WeakShared::upgrade) {
                flight
            } else {
                let flight = begin().map(Arc::new).boxed().shared();
                flights.extend(flight.downgrade().map(|weak| (repo, weak)));
                flight
            }
        };
        let result = flight.await;
        (*result).clone()
    }

    /// Notes that a repository was looked at and had nothing new.
    pub fn looked_at(&self, repo: ChartRepoId, at: Timestamp) {
        lock(&self.looked).insert(repo, at);
    }

    /// When a repository was last looked at without anything new.
    pub fn last_look(&self, repo: ChartRepoId) -> Option<Timestamp> {
        lock(&self.looked).get(&repo).copied()
    }

    /// Forgets a repository.
    pub fn forget(&self, repo: ChartRepoId) {
        lock(&self.looked).remove(&repo);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Both maps are whole after every single change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
