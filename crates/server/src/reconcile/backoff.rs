//! How long to wait before the next try: longer each time, with full jitter, so that what failed together does not come
//! back together.

use std::time::Duration;

use ring::rand::{SecureRandom as _, SystemRandom};

/// Longest wait before the second try, in milliseconds; doubles with each further one.
const FIRST_MILLIS: u64 = 500;
/// Longest wait of all, in milliseconds.
const MAX_MILLIS: u64 = 30_000;
/// Shortest wait, in milliseconds: never a busy loop.
const MIN_MILLIS: u64 = 100;

/// The wait after the `attempt`th failure (from 1).
pub(super) fn delay(random: &SystemRandom, attempt: u32) -> Duration {
    let mut bytes = [0; 8];
    // Without random numbers the wait is the longest one, which is safe.
    let share = match random.fill(&mut bytes) {
        Ok(()) => u64::from_le_bytes(bytes),
        Err(_) => u64::MAX,
    };
    Duration::from_millis(millis(attempt, share))
}

fn millis(attempt: u32, share: u64) -> u64 {
    let longest = FIRST_MILLIS.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(MAX_MILLIS);
    MIN_MILLIS + share % (longest - MIN_MILLIS + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stay_within_their_bounds() {
        for attempt in 0..100 {
            for share in [0, 1, 499, 12_345, u64::MAX] {
                assert!((MIN_MILLIS..=MAX_MILLIS).contains(&millis(attempt, share)));
            }
        }
        assert!(millis(1, u64::MAX) <= FIRST_MILLIS);
        assert!((0..1_000).any(|share| millis(5, share * 97) > FIRST_MILLIS));
    }
}
