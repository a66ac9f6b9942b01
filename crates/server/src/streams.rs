//! How many streams an account follows at the same time: logs, statistics, events. Each costs a connection here and may
//! cost one on a machine.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wire::ids::AccountId;

/// The streams of all accounts. Cheap to clone.
#[derive(Clone)]
pub struct Streams {
    inner: Arc<Inner>,
}

struct Inner {
    per_account: u64,
    open: Mutex<HashMap<AccountId, u64>>,
}

impl Inner {
    fn open(&self) -> MutexGuard<'_, HashMap<AccountId, u64>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The account follows as many streams as it may: this many.
#[derive(Debug, PartialEq, Eq)]
pub struct TooMany(pub u64);

/// One stream's place; dropping it gives it back.
pub struct Place {
    inner: Arc<Inner>,
    account: AccountId,
}

impl Streams {
    /// Each account may follow so many.
    pub fn new(per_account: u64) -> Self {
        Self { inner: Arc::new(Inner { per_account, open: Mutex::default() }) }
    }

    /// Takes a place.
    pub fn enter(&self, account: AccountId) -> Result<Place, TooMany> {
        let mut open = self.inner.open();
        let count = open.entry(account).or_default();
        if *count >= self.inner.per_account {
            return Err(TooMany(self.inner.per_account));
        }
        *count += 1;
        drop(open);
        Ok(Place { inner: Arc::clone(&self.inner), account })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.inner.open();
        if let Some(count) = open.get_mut(&self.account) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_for_each_account_and_given_back() {
        let streams = Streams::new(2);
        let (alice, bob) = (AccountId(1), AccountId(2));

        let places = [streams.enter(alice).unwrap(), streams.enter(alice).unwrap()];
        assert_eq!(streams.enter(alice).err(), Some(TooMany(2)));
        assert!(streams.enter(bob).is_ok());
        drop(places);
        assert!(streams.enter(alice).is_ok());
        assert!(streams.inner.open().is_empty());
    }
}
