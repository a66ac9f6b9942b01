//! Turns: of those who want the same, one at a time, in the order in which they came.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

/// Who has his turn, and who waits for it, by what they want.
#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>);

/// A turn; it ends when this is dropped.
pub(super) type Turn = OwnedMutexGuard<()>;

impl Turns {
    /// Waits for a turn.
    pub(super) async fn enter(&self, what: &str) -> Turn {
        self.of(what).lock_owned().await
    }

    /// A turn, if nobody has one.
    pub(super) fn try_enter(&self, what: &str) -> Option<Turn> {
        self.of(what).try_lock_owned().ok()
    }

    fn of(&self, what: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = known.get(what).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        known.insert(what.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_turn_is_ones_own_and_what_is_over_is_forgotten() {
        let turns = Turns::default();
        let first = turns.enter("a").await;
        assert!(turns.try_enter("a").is_none());
        let other = turns.try_enter("b");
        assert!(other.is_some());
        drop(first);
        assert!(turns.try_enter("a").is_some());
        drop(other);
        let last = turns.enter("c").await;
        assert_eq!(turns.0.lock().unwrap().len(), 1);
        drop(last);
    }
}
