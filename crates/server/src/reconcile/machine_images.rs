//! Follows which images the machines have, fetches those that admins want there, and makes room where the disk gets full:
//! what was used least recently goes first, and only what no container was made from and our registry still has.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use store::machine_images::{self, Key, Row};
use store::{accounts, containers, images};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use wire::accounts::{AccountState, Role};
use wire::ids::MachineId;
use wire::link::{PullImage, RegistryCredential, RegistryImage, RegistryReference};
use wire::machine_images::{
    CleanImages, HELD_IMAGES_MAX, HeldImage, ListImages, ListImagesDone, MachineImageState,
};
use wire::names::Digest;
use wire::time::Timestamp;

use super::backoff;
use super::effects::{self, Failure};
use crate::app::App;
use crate::domain::registry;
use crate::error::Result;

/// How often a machine is asked what it has.
const LOOK_EVERY: Duration = Duration::from_mins(5);
/// The same where room was just made and more is needed, or where its engine failed.
const LOOK_AGAIN: Duration = Duration::from_secs(15);
/// How often it is seen who is due.
const INTERVAL: Duration = Duration::from_secs(10);
/// How long the engine may take to list or to remove.
const CALL_TIMEOUT: Duration = Duration::from_mins(10);
/// Machines that are asked at the same time: all of them come back together after a restart of the server.
const TOGETHER: usize = 8;
/// Fetches for admins at the same time; those of containers do not wait for them.
const FETCHED_TOGETHER: usize = 4;
/// Tries to fetch an image.
const TRIES: u32 = 5;

struct Tender {
    app: App,
    /// When each machine is looked at next; none while it is being looked at.
    due: Mutex<HashMap<MachineId, Option<Instant>>>,
    /// Machines on which something became different while they were being looked at.
    again: Mutex<HashSet<MachineId>>,
    /// Machines to which something is being fetched.
    fetching: Mutex<HashSet<MachineId>>,
    /// When something is tried again that failed, by machine.
    paused: Mutex<HashMap<MachineId, Instant>>,
    looks: Semaphore,
    fetches: Semaphore,
}

/// Works until the server ends.
pub(super) async fn run(app: App) {
    let tender = Arc::new(Tender {
        app,
        due: Mutex::default(),
        again: Mutex::default(),
        fetching: Mutex::default(),
        paused: Mutex::default(),
        looks: Semaphore::new(TOGETHER),
        fetches: Semaphore::new(FETCHED_TOGETHER),
    });
    let app = &tender.app;
    let mut connections = app.hub.subscribe();
    loop {
        connections.borrow_and_update();
        tender.look_at_due();
        if let Err(error) = tender.fetch_wanted().await {
            tracing::warn!(%error, "cannot see which images are wanted on machines; trying again");
        }
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            changed = connections.changed() => if changed.is_err() { return },
            () = app.signals.machine_images.notified() => {}
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

impl Tender {
    fn look_at_due(self: &Arc<Self>) {
        let connected: HashSet<MachineId> = self.app.hub.connected().into_iter().collect();
        let now = Instant::now();
        let mut due = lock(&self.due);
        due.retain(|machine, next| next.is_none() || connected.contains(machine));
        for machine in connected {
            let next = due.entry(machine.clone()).or_insert(Some(now));
            if next.is_some_and(|next| next <= now) {
                *next = None;
                self.app.spawn(Arc::clone(self).look_at(machine));
            }
        }
    }

    async fn look_at(self: Arc<Self>, machine: MachineId) {
        let looked = tokio::select! {
            looked = self.look(&machine) => looked,
            () = self.app.shutdown.cancelled() => return,
        };
        let pause = looked.unwrap_or_else(|error| {
            tracing::debug!(machine.id = %machine, %error, "a machine does not say which images it has");
            // An engine fails at a list of which something is removed at that moment; one that is down says so with its machine.
            let is_passing = matches!(error.code, "engine_error" | "not_found_on_machine" | "machine_slow");
            if is_passing { LOOK_AGAIN } else { LOOK_EVERY }
        });
        // Not all in the same moment.
        let pause =
            pause + pause / 8 * u32::from(machine.as_str().bytes().last().unwrap_or_default() % 8) / 8;
        let mut due = lock(&self.due);
        let is_different = lock(&self.again).remove(&machine);
        let next = if is_different { Instant::now() } else { Instant::now() + pause };
        due.insert(machine, Some(next));
    }

    /// Has a machine looked at at the next opportunity.
    fn look_soon(&self, machine: &MachineId) {
        let mut due = lock(&self.due);
        match due.get_mut(machine) {
            Some(Some(next)) => *next = Instant::now(),
            Some(None) => {
                lock(&self.again).insert(machine.clone());
            }
            None => {}
        }
    }

    /// After how long it is to be looked at again.
    async fn look(&self, machine: &MachineId) -> Result<Duration> {
        let _permit = self.looks.acquire().await;
        let asked_at = self.app.now();
        let listed = self.app.hub.call(machine, &ListImages {}, CALL_TIMEOUT).await?;
        self.note(machine, &listed.images, asked_at).await?;
        let config = &self.app.config.images;
        let Some(bytes) = too_much(&listed, config.disk_high_percent, config.disk_low_percent) else {
            return Ok(LOOK_EVERY);
        };
        let candidates = self.candidates(machine, &listed.images).await?;
        if candidates.is_empty() {
            return Ok(LOOK_EVERY);
        }
        let call = CleanImages { candidates, bytes };
        let done = self.app.hub.call(machine, &call, CALL_TIMEOUT).await?;
        for image in &done.removed {
            if let RegistryReference::Digest(digest) = &image.reference {
                let key = Key { machine, repository: &image.repository, digest };
                machine_images::delete(&self.app.db, key).await?;
            }
        }
        if done.removed.is_empty() {
            return Ok(LOOK_EVERY);
        }
        tracing::info!(machine.id = %machine, images = done.removed.len(), bytes = done.freed_bytes, "made room on a machine");
        Ok(LOOK_AGAIN)
    }

    /// Writes down what a machine has, as far as it is news.
    async fn note(&self, machine: &MachineId, held: &[HeldImage], asked_at: Timestamp) -> Result<()> {
        let (db, now) = (&self.app.db, self.app.now());
        let known = machine_images::of_machine(db, machine).await?;
        let by_key: HashMap<(&str, &Digest), &Row> =
            known.iter().map(|row| ((row.repository.as_str(), &row.digest), row)).collect();
        let mut there = HashSet::new();
        for image in held.iter().take(HELD_IMAGES_MAX) {
            let key = (image.repository.as_str(), &image.digest);
            there.insert(key);
            let size_bytes = Some(image.size_bytes);
            let row = match by_key.get(&key) {
                Some(row) if row.state == MachineImageState::Held && row.size_bytes == size_bytes => continue,
                Some(row) => Row {
                    state: MachineImageState::Held,
                    size_bytes,
                    attempt: 0,
                    message: None,
                    ..(*row).clone()
                },
                None => Row {
                    machine_id: machine.clone(),
                    repository: image.repository.clone(),
                    digest: image.digest.clone(),
                    state: MachineImageState::Held,
                    size_bytes,
                    last_used_at: now,
                    account_id: None,
                    attempt: 0,
                    message: None,
                },
            };
            machine_images::put(db, &row).await?;
        }
        for row in &known {
            let is_there = there.contains(&(row.repository.as_str(), &row.digest));
            // What came while the machine answered is not in its answer.
            let is_older = row.last_used_at < asked_at;
            if row.state == MachineImageState::Held && !is_there && is_older {
                machine_images::delete(db, row.key()).await?;
            }
        }
        Ok(())
    }

    /// What may go, the least recently used first. What a container of this machine was or will be made from is none of it,
    /// whether the engine knows of that container or not, nor what our registry has not: that could not be fetched again.
    async fn candidates(&self, machine: &MachineId, held: &[HeldImage]) -> Result<Vec<RegistryImage>> {
        let db = &self.app.db;
        let needed: HashSet<(String, Digest)> = containers::all_of_machine(db, machine)
            .await?
            .into_iter()
            .map(|row| (row.image_repository, row.image_digest))
            .collect();
        let unused: HashSet<(&str, &Digest)> = held
            .iter()
            .filter(|image| !image.is_used)
            .map(|image| (image.repository.as_str(), &image.digest))
            .collect();
        let mut candidates = Vec::new();
        for row in machine_images::of_machine(db, machine).await? {
            let is_held = row.state == MachineImageState::Held
                && unused.contains(&(row.repository.as_str(), &row.digest));
            if !is_held || needed.contains(&(row.repository.clone(), row.digest.clone())) {
                continue;
            }
            let Some((owner, repo)) = row.repository.split_once('/') else { continue };
            let (Ok(owner), Ok(repo)) = (owner.parse(), repo.parse()) else { continue };
            if images::count_by_digest(db, &owner, &repo, &row.digest).await? > 0 {
                let reference = RegistryReference::Digest(row.digest);
                candidates.push(RegistryImage { repository: row.repository, reference });
            }
        }
        Ok(candidates)
    }

    /// Begins what admins want, one image at a time on each machine.
    async fn fetch_wanted(self: &Arc<Self>) -> Result<()> {
        let connected: HashSet<MachineId> = self.app.hub.connected().into_iter().collect();
        let now = Instant::now();
        lock(&self.paused).retain(|_, until| *until > now);
        for row in machine_images::to_fetch(&self.app.db).await? {
            let is_free = connected.contains(&row.machine_id)
                && !lock(&self.paused).contains_key(&row.machine_id)
                && lock(&self.fetching).insert(row.machine_id.clone());
            if is_free {
                self.app.spawn(Arc::clone(self).fetch_one(row));
            }
        }
        Ok(())
    }

    async fn fetch_one(self: Arc<Self>, row: Row) {
        let machine = row.machine_id.clone();
        let fetched = tokio::select! {
            fetched = self.fetch(row) => fetched,
            () = self.app.shutdown.cancelled() => return,
        };
        if let Err(error) = fetched {
            tracing::warn!(machine.id = %machine, %error, "cannot note how the fetch of an image went; it begins anew");
            lock(&self.paused).insert(machine.clone(), Instant::now() + LOOK_AGAIN);
        }
        lock(&self.fetching).remove(&machine);
        self.app.signals.machine_images.notify_one();
    }

    async fn fetch(&self, row: Row) -> Result<()> {
        let _permit = self.fetches.acquire().await;
        let db = &self.app.db;
        let mut row =
            Row { state: MachineImageState::Pulling, attempt: row.attempt.saturating_add(1), ..row };
        machine_images::put(db, &row).await?;
        let pulled = match self.credential(&row).await? {
            Some(credential) => {
                let reference = RegistryReference::Digest(row.digest.clone());
                let image = RegistryImage { repository: row.repository.clone(), reference };
                let call = PullImage { image, credential };
                effects::pull_to(&self.app, &row.machine_id, &row.digest, &call).await
            }
            None => Err(Failure::Final(
                "not_found",
                "who asked for it is no active admin any more; ask for it again".to_owned(),
            )),
        };
        let machine = &row.machine_id;
        match pulled {
            Ok(()) => {
                tracing::info!(machine.id = %machine, "fetched `{}` for later", row.repository);
                row.last_used_at = self.app.now();
                (row.state, row.attempt, row.message) = (MachineImageState::Held, 0, None);
                // Its size is read with everything else.
                self.look_soon(machine);
            }
            Err(Failure::Unreachable(message)) => {
                tracing::debug!(machine.id = %machine, message, "a fetch waits for its machine");
                lock(&self.paused).insert(machine.clone(), Instant::now() + LOOK_AGAIN);
                row.attempt = row.attempt.saturating_sub(1);
            }
            Err(Failure::Overtaken) => row.attempt = row.attempt.saturating_sub(1),
            Err(Failure::Passing(_, message) | Failure::Final(_, message) | Failure::PortTaken(message)) => {
                tracing::warn!(machine.id = %machine, attempt = row.attempt, message, "could not fetch `{}`", row.repository);
                if row.attempt >= TRIES {
                    row.state = MachineImageState::Failed;
                } else {
                    let pause = backoff::delay(&self.app.random, row.attempt);
                    lock(&self.paused).insert(machine.clone(), Instant::now() + pause);
                }
                row.message = Some(message);
            }
        }
        machine_images::put(db, &row).await?;
        Ok(())
    }

    /// With the right of the admin who asked for it, as long as that is one.
    async fn credential(&self, row: &Row) -> Result<Option<RegistryCredential>> {
        let Some(id) = row.account_id else { return Ok(None) };
        let admin = accounts::get(&self.app.db, id)
            .await?
            .filter(|account| account.role == Role::Admin && account.state == AccountState::Active);
        let Some(admin) = admin else { return Ok(None) };
        registry::pull_credential(&self.app, admin.id, &admin.account, &row.repository).map(Some)
    }
}

/// How much is to be freed on a machine's disk; none while it is not fuller than `high` percent. Then it is emptied to `low`.
fn too_much(listed: &ListImagesDone, high: u32, low: u32) -> Option<u64> {
    let total = listed.disk_total_bytes;
    if total == 0 || high == 0 {
        return None;
    }
    let used = total.saturating_sub(listed.disk_free_bytes);
    let share = |percent: u32| total / 100 * u64::from(percent.min(100));
    (used > share(high)).then(|| used.saturating_sub(share(low)).max(1))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_made_from_the_high_mark_down_to_the_low_one() {
        let disk =
            |free| ListImagesDone { images: Vec::new(), disk_total_bytes: 1_000, disk_free_bytes: free };

        assert_eq!(too_much(&disk(200), 85, 75), None);
        assert_eq!(too_much(&disk(150), 85, 75), None);
        assert_eq!(too_much(&disk(149), 85, 75), Some(101));
        assert_eq!(too_much(&disk(0), 85, 75), Some(250));
        assert_eq!(too_much(&disk(0), 0, 0), None, "0 = never");
        let unknown = ListImagesDone { images: Vec::new(), disk_total_bytes: 0, disk_free_bytes: 0 };
        assert_eq!(too_much(&unknown, 85, 75), None);
    }
}
