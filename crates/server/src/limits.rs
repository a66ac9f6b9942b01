//! How many tries an account or address has left: a token bucket per key, with a bound on the number of keys. A try is
//! taken before the work and given back when it turned out well, so that parallel guesses cannot slip through.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;

/// Keys that are remembered; beyond, the fullest buckets (those that matter least) are forgotten.
const MAX_KEYS: usize = 50_000;

/// Buckets of one kind.
pub struct Limiter<K> {
    per_minute: f64,
    buckets: Mutex<HashMap<K, Bucket>>,
}

#[derive(Clone, Copy)]
struct Bucket {
    left: f64,
    at_micros: i64,
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    /// Each key may try `per_minute` times at once and then as often as that per minute.
    pub fn new(per_minute: u32) -> Self {
        Self { per_minute: f64::from(per_minute.max(1)), buckets: Mutex::new(HashMap::new()) }
    }

    /// Takes a try; otherwise says how many seconds to wait.
    pub fn take(&self, key: &K, now_micros: i64) -> Result<(), u64> {
        let mut buckets = self.buckets.lock().expect("no code panics while it holds this lock");
        if buckets.len() >= MAX_KEYS && !buckets.contains_key(key) {
            let full = self.per_minute;
            buckets.retain(|_, bucket| self.refilled(*bucket, now_micros) < full);
            if buckets.len() >= MAX_KEYS {
                return Err(60);
            }
        }
        let bucket =
            buckets.entry(key.clone()).or_insert(Bucket { left: self.per_minute, at_micros: now_micros });
        bucket.left = self.refilled(*bucket, now_micros);
        bucket.at_micros = now_micros;
        if bucket.left < 1.0 {
            let seconds = (1.0 - bucket.left) * 60.0 / self.per_minute;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 60")]
            return Err(seconds.ceil() as u64);
        }
        bucket.left -= 1.0;
        Ok(())
    }

    /// Gives a try back.
    pub fn give_back(&self, key: &K) {
        let mut buckets = self.buckets.lock().expect("no code panics while it holds this lock");
        if let Some(bucket) = buckets.get_mut(key) {
            bucket.left = (bucket.left + 1.0).min(self.per_minute);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "minutes need no more than 52 bits")]
    fn refilled(&self, bucket: Bucket, now_micros: i64) -> f64 {
        let minutes = now_micros.saturating_sub(bucket.at_micros).max(0) as f64 / 60e6;
        (bucket.left + minutes * self.per_minute).min(self.per_minute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_run_out_and_come_back_with_time() {
        let limiter = Limiter::new(3);

        for _ in 0..3 {
            assert_eq!(limiter.take(&"alice", 0), Ok(()));
        }
        assert_eq!(limiter.take(&"alice", 0), Err(20));
        assert_eq!(limiter.take(&"bob", 0), Ok(()), "each key has its own");
        assert_eq!(limiter.take(&"alice", 20_000_000), Ok(()));
        assert!(limiter.take(&"alice", 20_000_000).is_err());
    }

    #[test]
    fn a_try_given_back_can_be_used_again() {
        let limiter = Limiter::new(1);

        for _ in 0..100 {
            assert_eq!(limiter.take(&"alice", 0), Ok(()));
            limiter.give_back(&"alice");
        }
    }

    #[test]
    fn the_number_of_keys_is_bounded() {
        let limiter = Limiter::new(1);
        for key in 0..MAX_KEYS {
            assert!(limiter.take(&key, 0).is_ok());
        }

        assert!(limiter.take(&MAX_KEYS, 0).is_err(), "all remembered keys still matter");
        assert!(limiter.take(&MAX_KEYS, 120_000_000).is_ok(), "full buckets are forgotten");
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing_away() {
        let limiter = Limiter::new(1);

        assert!(limiter.take(&"alice", 1_000_000_000).is_ok());
        assert!(limiter.take(&"alice", 0).is_err());
    }
}
