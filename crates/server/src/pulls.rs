//! How far fetches of images have come, in memory: what is under way when the server ends begins anew with it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wire::ids::MachineId;
use wire::machine_images::PullProgress;
use wire::names::Digest;

/// Over how long a rate is taken.
const WINDOW: Duration = Duration::from_secs(5);
/// Readings in that time at most; agents tell five in a second.
const READINGS_MAX: usize = 64;

/// A machine, a repository, a digest.
type Key = (MachineId, String, Digest);

/// All fetches that are under way.
#[derive(Clone, Debug, Default)]
pub struct Pulls {
    pulls: Arc<Mutex<HashMap<Key, Pull>>>,
}

#[derive(Debug, Default)]
struct Pull {
    /// Containers that wait for it, and admins.
    holders: usize,
    current_bytes: u64,
    total_bytes: u64,
    layers: u32,
    readings: VecDeque<(Instant, u64)>,
}

/// One who waits for a fetch; when the last one goes, it is forgotten.
#[derive(Debug)]
pub struct PullHandle {
    pulls: Pulls,
    key: Key,
}

impl Pulls {
    /// Begins to follow a fetch.
    pub fn begin(&self, machine: &MachineId, repository: &str, digest: &Digest) -> PullHandle {
        let key = (machine.clone(), repository.to_owned(), digest.clone());
        self.lock().entry(key.clone()).or_default().holders += 1;
        PullHandle { pulls: self.clone(), key }
    }

    /// How far a fetch has come; none when there is none, or nothing is known of it yet.
    pub fn progress(&self, machine: &MachineId, repository: &str, digest: &Digest) -> Option<PullProgress> {
        let pulls = self.lock();
        let pull = pulls.get(&(machine.clone(), repository.to_owned(), digest.clone()))?;
        (pull.total_bytes > 0).then(|| PullProgress {
            current_bytes: pull.current_bytes,
            total_bytes: pull.total_bytes,
            bytes_per_sec: pull.rate(Instant::now()),
            layers: pull.layers,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Pull>> {
        self.pulls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PullHandle {
    /// Notes what the machine says.
    pub fn progressed(&self, current_bytes: u64, total_bytes: u64, layers: u32) {
        if let Some(pull) = self.pulls.lock().get_mut(&self.key) {
            pull.note(Instant::now(), current_bytes, total_bytes, layers);
        }
    }
}

impl Drop for PullHandle {
    fn drop(&mut self) {
        let mut pulls = self.pulls.lock();
        if let Some(pull) = pulls.get_mut(&self.key) {
            pull.holders -= 1;
            if pull.holders == 0 {
                pulls.remove(&self.key);
            }
        }
    }
}

impl Pull {
    fn note(&mut self, now: Instant, current_bytes: u64, total_bytes: u64, layers: u32) {
        (self.current_bytes, self.total_bytes, self.layers) = (current_bytes, total_bytes, layers);
        while self.readings.len() >= READINGS_MAX
            || self.readings.front().is_some_and(|(at, _)| now.duration_since(*at) > WINDOW)
        {
            self.readings.pop_front();
        }
        self.readings.push_back((now, current_bytes));
    }

    /// From the oldest reading of the window until now: a fetch that stands still gets slower and slower.
    fn rate(&self, now: Instant) -> u64 {
        let Some((at, then)) = self.readings.front() else { return 0 };
        let millis = u64::try_from(now.duration_since(*at).as_millis()).unwrap_or(u64::MAX).max(1);
        self.current_bytes.saturating_sub(*then).saturating_mul(1_000) / millis
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_taken_over_the_last_seconds() {
        let begin = Instant::now();
        let at = |secs| begin + Duration::from_secs(secs);
        let mut pull = Pull::default();

        pull.note(at(0), 0, 1_000, 1);
        assert_eq!(pull.rate(at(0)), 0);
        pull.note(at(2), 200, 1_000, 2);
        assert_eq!(pull.rate(at(2)), 100);
        pull.note(at(100), 300, 1_000, 2);
        assert_eq!(pull.rate(at(100)), 0, "what was long ago does not count");
        pull.note(at(101), 350, 1_000, 2);
        assert_eq!(pull.rate(at(101)), 50);
        for _ in 0..1_000 {
            pull.note(at(102), 400, 1_000, 2);
        }
        assert!(pull.readings.len() <= READINGS_MAX);
    }

    #[test]
    fn a_fetch_is_known_as_long_as_somebody_waits_for_it() {
        let pulls = Pulls::default();
        let (machine, digest) =
            ("m1".parse().unwrap(), format!("sha256:{}", "a".repeat(64)).parse().unwrap());
        let first = pulls.begin(&machine, "alice/app", &digest);
        let second = pulls.begin(&machine, "alice/app", &digest);
        let known = || pulls.progress(&machine, "alice/app", &digest);

        assert_eq!(known(), None);
        first.progressed(1, 10, 1);
        assert_eq!(known().map(|progress| progress.total_bytes), Some(10));
        drop(first);
        assert!(known().is_some());
        drop(second);
        assert_eq!(known(), None);
        assert!(pulls.lock().is_empty());
    }
}
