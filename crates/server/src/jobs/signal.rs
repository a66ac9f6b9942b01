//! Wakes the dispatcher of jobs, and says for which kinds.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use store::jobs::Kind;
use tokio::sync::Notify;

/// Tells of jobs that may be taken. What is told while nobody waits is kept.
#[derive(Debug, Default)]
pub struct JobSignal {
    notify: Notify,
    told: Mutex<Told>,
}

/// What jobs there may be to take.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Of any kind.
    pub(super) any: bool,
    /// Else, of these.
    pub(super) kinds: HashSet<Kind>,
}

impl Told {
    /// Everything may be there to take.
    pub(super) fn all() -> Self {
        Self { any: true, kinds: HashSet::new() }
    }

    /// Whether there may be a job of one of these kinds.
    pub(super) fn concerns(&self, kinds: &[Kind]) -> bool {
        self.any || kinds.iter().any(|kind| self.kinds.contains(kind))
    }
}

impl JobSignal {
    /// Jobs were enqueued, or a worker is free.
    pub fn any(&self) {
        self.change(|told| told.any = true);
    }

    /// A job of this kind was enqueued, and nothing else changed: nobody looks for it while all of its workers are busy.
    pub fn of(&self, kind: Kind) {
        self.change(|told| {
            told.kinds.insert(kind);
        });
    }

    fn change(&self, change: impl FnOnce(&mut Told)) {
        change(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner));
        self.notify.notify_one();
    }

    /// Waits for a signal; all that was told since the last one.
    pub(super) async fn told(&self) -> Told {
        self.notify.notified().await;
        std::mem::take(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_told_while_nobody_waits_is_kept_and_told_once() {
        let signal = JobSignal::default();
        signal.of(Kind::RunPipeline);
        signal.of(Kind::Notify);

        let told = signal.told().await;
        assert!(told.concerns(&[Kind::BuildImage, Kind::Notify]) && told.concerns(&[Kind::RunPipeline]));
        assert!(!told.concerns(&[Kind::BuildImage, Kind::RunInCluster]));
        signal.any();
        assert!(signal.told().await.concerns(&[Kind::BuildImage]));
        signal.of(Kind::RunPipeline);
        assert!(!signal.told().await.concerns(&[Kind::BuildImage]));
    }
}
