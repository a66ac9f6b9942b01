//! Waits between tries: longer each time, and by a random part of it ("full jitter"), so that a thousand agents that lost
//! one server do not come back in one moment.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// How long to wait before the next try.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    ceiling: Duration,
}

impl Backoff {
    /// The wait is at most `first`, then twice that, and so on up to `longest`.
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, ceiling: first }
    }

    /// The next wait. Never quite zero, so that a loop that fails at once does not spin.
    pub(crate) fn next(&mut self) -> Duration {
        let ceiling = self.ceiling;
        self.ceiling = (ceiling * 2).min(self.longest);
        (ceiling.mul_f64(random_fraction())).max(self.first / 8)
    }

    /// Begins again with the short waits, after something worked.
    pub(crate) fn reset(&mut self) {
        self.ceiling = self.first;
    }
}

/// From 0 to 1. The standard library seeds its hashers from the system; a wait needs no better randomness.
fn random_fraction() -> f64 {
    let bits = RandomState::new().hash_one(0_u8);
    f64::from(u32::try_from(bits >> 32).expect("32 bits are left")) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_longest_and_start_over() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(1));
        let mut backoff = Backoff::new(first, longest);

        let waits: Vec<_> = (0..50).map(|_| backoff.next()).collect();

        assert!(waits[0] <= first);
        assert!(waits.iter().all(|wait| *wait >= first / 8 && *wait <= longest));
        assert!(waits.iter().max() > Some(&first), "{waits:?}");
        backoff.reset();
        assert!(backoff.next() <= first);
    }
}
