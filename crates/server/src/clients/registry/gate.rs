//! Who writes into the registry, and keeping writers out while what nothing needs is removed from it. Distribution cannot do
//! that while somebody pushes: between a layer's upload and the manifest that names it, the layer looks like garbage.
//!
//! Whoever writes enters. When the gate closes, pushes that have begun go on to their ends, new ones wait, and no token is
//! given any more that opens a push. One server owns a registry, so memory is enough.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::Repository;
use super::access::leeway_secs;
use super::unavailable;
use crate::error::Result;

/// How long a newcomer waits before it is told to come again.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is looked for pushes that have ended by saying nothing.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Pushes that are remembered; one more than that is an attack, and takes the place of the oldest.
const PUSHES_MAX: usize = 10_000;

/// A push: whose, and into which repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PushKey {
    /// Who pushes, as in the token.
    pub subject: String,
    /// Into which repository.
    pub repository: Repository,
}

#[derive(Default)]
struct State {
    /// No new push may begin.
    is_closing: bool,
    /// Nobody writes.
    is_closed: bool,
    /// Writers that are inside, of whatever push.
    writers: usize,
    pushes: HashMap<PushKey, Push>,
    /// When the last token was given that opens a push.
    push_token_at: Option<Instant>,
}

struct Push {
    writers: usize,
    seen_at: Instant,
}

impl Push {
    /// Nothing may be heard of it for so long between two requests.
    fn is_on(&self, silence: Duration) -> bool {
        self.writers > 0 || self.seen_at.elapsed() < silence
    }
}

/// The gate.
#[derive(Clone)]
pub struct Gate {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
    /// How long a client may use a token; a push of which nothing is heard for so long has ended.
    lifetime: Duration,
    /// After this time nobody takes a token any more.
    too_old: Duration,
}

/// Whoever holds this writes.
pub struct Writer {
    gate: Gate,
    push: Option<PushKey>,
    has_ended: bool,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("push", &self.push).finish_non_exhaustive()
    }
}

impl Writer {
    /// The push has ended with this write: nobody needs to wait for more of it.
    pub fn end_push(&mut self) {
        self.has_ended = true;
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.writers -= 1;
        if let Some(key) = &self.push
            && let Some(push) = state.pushes.get_mut(key)
        {
            push.writers -= 1;
            push.seen_at = Instant::now();
            if self.has_ended && push.writers == 0 {
                state.pushes.remove(key);
            }
        }
        drop(state);
        self.gate.changed.notify_waiters();
    }
}

/// The gate is closed as long as this is held.
pub struct Closed {
    gate: Gate,
}

impl Drop for Closed {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        (state.is_closing, state.is_closed) = (false, false);
        drop(state);
        self.gate.changed.notify_waiters();
    }
}

impl Gate {
    /// A gate to which tokens open the way that live so long.
    pub fn new(lifetime_secs: u32) -> Self {
        // Nobody knows what a server gave that ended a moment ago.
        let state = State { push_token_at: Some(Instant::now()), ..State::default() };
        let lifetime = Duration::from_secs(lifetime_secs.into());
        let too_old = lifetime + Duration::from_secs(leeway_secs(lifetime_secs).unsigned_abs() + 1);
        Self { state: Arc::new(Mutex::new(state)), changed: Arc::default(), lifetime, too_old }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to write. None: a write that is whole by itself, and not part of a push. Waits a moment while the gate is
    /// closed; then the caller must come again.
    pub async fn enter(&self, push: Option<PushKey>) -> Result<Writer> {
        self.wait(|| self.try_enter(push.as_ref())).await
    }

    fn try_enter(&self, push: Option<&PushKey>) -> Option<Writer> {
        let mut state = self.lock();
        let is_known =
            push.and_then(|key| state.pushes.get(key)).is_some_and(|push| push.is_on(self.lifetime));
        if state.is_closed || (state.is_closing && !is_known) {
            return None;
        }
        if let Some(key) = push {
            if state.pushes.len() >= PUSHES_MAX && !state.pushes.contains_key(key) {
                state.pushes.retain(|_, push| push.is_on(self.lifetime));
                let oldest = state.pushes.iter().filter(|(_, push)| push.writers == 0);
                let oldest = oldest.min_by_key(|(_, push)| push.seen_at).map(|(key, _)| key.clone());
                oldest.and_then(|key| state.pushes.remove(&key));
            }
            let now = Instant::now();
            let known = state.pushes.entry(key.clone()).or_insert(Push { writers: 0, seen_at: now });
            known.writers += 1;
            known.seen_at = now;
        }
        state.writers += 1;
        Some(Writer { gate: self.clone(), push: push.cloned(), has_ended: false })
    }

    /// Notes that a token is given that opens these pushes; waits as [`Gate::enter`] does.
    pub async fn give_push_token(&self, pushes: &[PushKey]) -> Result<()> {
        self.wait(|| {
            let mut state = self.lock();
            let is_known =
                |key: &PushKey| state.pushes.get(key).is_some_and(|push| push.is_on(self.lifetime));
            if state.is_closed || (state.is_closing && !pushes.iter().all(is_known)) {
                return None;
            }
            state.push_token_at = Some(Instant::now());
            Some(())
        })
        .await
    }

    async fn wait<T>(&self, attempt: impl Fn() -> Option<T>) -> Result<T> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // From here on no change is missed.
            changed.as_mut().enable();
            if let Some(done) = attempt() {
                return Ok(done);
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                let message = "the registry is being tidied up, and takes no new pushes until that is done";
                return Err(crate::error::Error { code: "registry_collecting", ..unavailable(message) });
            }
        }
    }

    /// Closes the gate: lets pushes that have begun end, and waits until every token is too old that opens another. None
    /// when they do not end in time; then everything is as before.
    pub async fn close(&self, patience: Duration) -> Option<Closed> {
        let deadline = Instant::now() + patience;
        {
            let mut state = self.lock();
            if state.is_closing {
                return None;
            }
            state.is_closing = true;
        }
        // From here on, dropping it opens the gate, whatever happens.
        let closed = Closed { gate: self.clone() };
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            {
                let mut state = self.lock();
                state.pushes.retain(|_, push| push.is_on(self.lifetime));
                let is_quiet = state.writers == 0 && state.pushes.is_empty();
                if is_quiet && state.push_token_at.is_none_or(|at| at.elapsed() > self.too_old) {
                    state.is_closed = true;
                    return Some(closed);
                }
            }
            if Instant::now() >= deadline {
                return None;
            }
            // What times out makes no sound.
            tokio::time::timeout(LOOK_EVERY, changed).await.ok();
        }
    }

    /// Whether writers are kept out.
    pub fn is_closed(&self) -> bool {
        self.lock().is_closed
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;

    /// One whose server has run for a while.
    fn quiet() -> Gate {
        let gate = Gate::new(60);
        gate.lock().push_token_at = None;
        gate
    }

    fn key(text: &str) -> PushKey {
        PushKey { subject: "alice".into(), repository: text.parse().unwrap() }
    }

    #[tokio::test]
    async fn a_push_that_has_begun_ends_and_a_new_one_waits() {
        let gate = quiet();
        let first = gate.enter(Some(key("alice/app"))).await.unwrap();
        drop(first);
        let mut closing = JoinSet::new();
        closing.spawn({
            let gate = gate.clone();
            async move { gate.close(Duration::from_secs(30)).await.map(|closed| (gate.is_closed(), closed)) }
        });
        while !gate.lock().is_closing {
            tokio::task::yield_now().await;
        }

        assert!(gate.try_enter(Some(&key("alice/other"))).is_none(), "a new push waits");
        assert!(gate.try_enter(None).is_none());
        let mut second = gate.try_enter(Some(&key("alice/app"))).expect("one that has begun goes on");
        assert!(!gate.is_closed());
        second.end_push();
        drop(second);
        let (is_closed, closed) =
            closing.join_next().await.unwrap().unwrap().expect("it closes when the push has ended");
        assert!(is_closed);
        assert!(gate.try_enter(Some(&key("alice/app"))).is_none(), "nobody writes");
        let mut waiting = JoinSet::new();
        waiting.spawn({
            let gate = gate.clone();
            async move { gate.enter(Some(key("alice/other"))).await.is_ok() }
        });
        drop(closed);

        assert!(waiting.join_next().await.unwrap().unwrap(), "it opens again");
        assert!(gate.lock().pushes.contains_key(&key("alice/other")));
    }

    #[tokio::test]
    async fn a_gate_that_cannot_close_stays_open() {
        let gate = quiet();
        let _writer = gate.enter(None).await.unwrap();

        assert!(gate.close(Duration::from_millis(10)).await.is_none());
        assert!(gate.try_enter(Some(&key("alice/app"))).is_some());
        assert!(!gate.is_closed());
    }

    #[tokio::test]
    async fn it_closes_only_when_every_push_token_is_too_old() {
        assert!(
            Gate::new(60).close(Duration::from_millis(10)).await.is_none(),
            "an earlier server may have given some"
        );
        let gate = quiet();
        gate.give_push_token(&[key("alice/app")]).await.unwrap();

        assert!(gate.close(Duration::from_millis(10)).await.is_none());
        gate.lock().push_token_at = Instant::now().checked_sub(Duration::from_secs(92));
        assert!(gate.close(Duration::from_millis(10)).await.is_some());
    }
}
