//! The registry: CNCF Distribution, which keeps image content by digest. Tags are ours, in the database.
//!
//! - `supervisor`: runs Distribution, restarts it when it dies, ends it with the server
//! - `client`: what the server itself asks it
//! - `access`: the tokens that it accepts, signed by us
//! - `gate`: who writes into it, and keeping writers out; `collect`: removes what nothing needs
//! - `manifest`: reads manifests and image configurations

pub mod access;
pub mod client;
mod collect;
pub mod gate;
pub mod manifest;
mod supervisor;

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedMutexGuard, watch};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use wire::names::{Digest, ImageName, NameError, Owner, RepoName};
use wire::secret::Secret;

use self::gate::Gate;
use crate::app::App;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::keys::Keys;

/// How long a request waits for a registry that is just starting.
const START_PATIENCE: Duration = Duration::from_secs(5);
/// How long the registry may take to say that it is there.
const PING_PATIENCE: Duration = Duration::from_secs(2);

/// A repository: where an image's content lives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    /// Whose it is.
    pub owner: Owner,
    /// Its name.
    pub repo: RepoName,
}

impl Repository {
    /// The repository of these names.
    pub fn new(owner: &Owner, repo: &RepoName) -> Self {
        Self { owner: owner.clone(), repo: repo.clone() }
    }
}

impl From<&ImageName> for Repository {
    fn from(name: &ImageName) -> Self {
        Self::new(&name.owner, &name.repo)
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.repo)
    }
}

impl FromStr for Repository {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((owner, repo)) = text.split_once('/') else {
            return Err(NameError::new("repository", text, "`owner/repository`"));
        };
        Ok(Self { owner: owner.parse()?, repo: repo.parse()? })
    }
}

/// Whether the registry can be asked.
#[derive(Clone, Debug)]
enum Upstream {
    /// The supervisor has not got so far yet.
    Starting,
    /// It answers at this address (`http://127.0.0.1:port`).
    Up(Arc<str>),
    /// It does not, and this is why.
    Down(Arc<str>),
}

/// The registry, own or external.
pub struct Registry {
    upstream: watch::Sender<Upstream>,
    own: Option<OwnRegistry>,
    /// For requests that are answered soon.
    http: reqwest::Client,
    /// For content: an upload may take hours, so nothing but the connection has a time-out here.
    transfer: reqwest::Client,
    locks: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
    /// Held by whoever serves requests that need the registry; it is ended after them.
    users: TaskTracker,
    gate: Gate,
}

/// Where the registry reports what happens in it.
pub const REPORTS_PATH: &str = "/api/registry/events";

/// What the supervisor needs to run Distribution.
#[derive(Clone, Debug)]
struct OwnRegistry {
    program: String,
    folder: PathBuf,
    certificate: PathBuf,
    events_secret: Secret,
}

/// Keeps others from a manifest, or from copying into a repository, while somebody makes an image of it.
#[derive(Debug)]
pub struct Hold {
    _guard: OwnedMutexGuard<()>,
}

impl Registry {
    /// The registry that the settings name, or our own. Nothing is started yet.
    pub fn new(config: &Config, keys: &Keys) -> Result<Self> {
        let (own, upstream) = if let Some(url) = &config.registry.url {
            (None, Upstream::Up(url.trim_end_matches('/').into()))
        } else {
            let own = OwnRegistry {
                program: config.registry.program.clone(),
                folder: config.data_dir.join("registry"),
                certificate: keys.registry_certificate.clone(),
                events_secret: keys.registry_events.clone(),
            };
            (Some(own), Upstream::Starting)
        };
        let builder = || {
            let builder = reqwest::Client::builder()
                .connect_timeout(Duration::from_secs(5))
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy();
            // Our own is on loopback in the clear; a client that could do more would keep all the system's authorities in memory.
            if own.is_some() { builder.tls_certs_only([]) } else { builder }
        };
        let http = builder().read_timeout(Duration::from_mins(1)).build().map_err(Error::internal)?;
        let transfer =
            builder().pool_idle_timeout(Duration::from_secs(30)).build().map_err(Error::internal)?;
        Ok(Self {
            upstream: watch::Sender::new(upstream),
            own,
            http,
            transfer,
            locks: Mutex::default(),
            users: TaskTracker::new(),
            gate: Gate::new(config.registry.token_secs),
        })
    }

    /// Starts the supervisor, unless the registry is an external one. It reports at `reports`, an address of this host
    /// that takes requests in the clear, whatever the server's own port speaks.
    pub fn start(&self, app: &App, reports: SocketAddr) {
        if let Some(own) = self.own.clone() {
            app.spawn(supervisor::run(app.clone(), own, reports));
        }
    }

    /// Whether the registry answers; why not, in plain words.
    pub async fn ping(&self, app: &App) -> Result<(), String> {
        let base = match &*self.upstream.borrow() {
            Upstream::Up(base) => Arc::clone(base),
            Upstream::Starting => return Err("the registry is starting".to_owned()),
            Upstream::Down(reason) => return Err(reason.to_string()),
        };
        let answer = self.http.get(format!("{base}/v2/")).timeout(PING_PATIENCE).send();
        let answer = tokio::select! {
            () = app.shutdown.cancelled() => return Err("the server is ending".to_owned()),
            answer = answer => answer,
        };
        match answer {
            Ok(answer) if matches!(answer.status().as_u16(), 200 | 401) => Ok(()),
            Ok(answer) => Err(format!("the registry answers with status {}", answer.status().as_u16())),
            Err(_) => Err("the registry does not answer".to_owned()),
        }
    }

    /// The registry's address; waits a moment for one that is starting.
    pub async fn base(&self) -> Result<Arc<str>> {
        if let Upstream::Up(base) = &*self.upstream.borrow() {
            return Ok(Arc::clone(base));
        }
        let mut upstream = self.upstream.subscribe();
        let up =
            tokio::time::timeout(START_PATIENCE, upstream.wait_for(|state| matches!(state, Upstream::Up(_))))
                .await;
        if let Ok(Ok(state)) = up
            && let Upstream::Up(base) = &*state
        {
            return Ok(Arc::clone(base));
        }
        let reason = match &*self.upstream.borrow() {
            Upstream::Down(reason) => reason.to_string(),
            _ => "the registry is starting".to_owned(),
        };
        Err(unavailable(reason))
    }

    /// Who writes into it.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The client for content; see the door.
    pub fn transfer(&self) -> &reqwest::Client {
        &self.transfer
    }

    /// Keeps the registry running until this is dropped or the server's end becomes urgent.
    pub fn in_use(&self) -> TaskTrackerToken {
        self.users.token()
    }

    /// Waits until nobody else writes or removes this manifest, and keeps others from it until the hold is dropped.
    /// Between "no image uses this digest" and its removal nobody may make an image of it. One server owns a registry,
    /// so a lock in memory is enough.
    pub async fn hold(&self, repository: &Repository, digest: &Digest) -> Hold {
        self.lock(format!("{repository}@{digest}")).await
    }

    /// Waits until nobody else copies content into this repository, and keeps others from it until the hold is dropped. The
    /// registry writes its links in place: who reads one meanwhile finds it empty, or not at all.
    pub async fn hold_to_copy(&self, to: &Repository) -> Hold {
        self.lock(to.to_string()).await
    }

    async fn lock(&self, key: String) -> Hold {
        let lock = {
            let mut locks = self.locks.lock().expect("no code panics while it holds this lock");
            locks.retain(|_, lock| lock.strong_count() > 0);
            let known = locks.get(&key).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let lock = Arc::new(tokio::sync::Mutex::new(()));
                locks.insert(key, Arc::downgrade(&lock));
                lock
            })
        };
        Hold { _guard: lock.lock_owned().await }
    }

    fn set(&self, state: Upstream) {
        self.upstream.send_replace(state);
    }
}

/// 503 with why.
pub fn unavailable(reason: impl Into<String>) -> Error {
    Error::unavailable("registry_down", reason)
        .hint("try again in a few seconds; `GET /readyz` says how the registry is")
}

/// A secret of the registry's own, the same at every start, so that uploads survive a restart.
fn derived(secret: &Secret, purpose: &str) -> String {
    hex::encode(
        Sha256::new().chain_update(purpose).chain_update([0]).chain_update(secret.expose()).finalize(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_have_an_owner_and_one_name() {
        assert_eq!("alice/app".parse::<Repository>().unwrap().to_string(), "alice/app");
        for text in [
            "app",
            "alice/",
            "/app",
            "alice/a/b",
            "Alice/app",
            "alice/../bob",
            "alice/app ",
            "alice/*",
            "*/*",
            "",
        ] {
            assert!(text.parse::<Repository>().is_err(), "{text}");
        }
    }
}
