//! Contexts of commits that were fetched, kept for the next run of the same commit: what a commit holds never changes, so it is fetched
//! once. The files are a cache with a bound; which of them are whole, and what is in them, only this process knows.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;
use sha2::{Digest as _, Sha256};
use store::git_repos;
use wire::ids::BuildId;

use crate::app::App;
use crate::blobs::{BlobKind, blocking};

/// A file has at most this part of the space of all.
const SHARE: u64 = 4;
/// Contexts that are known at a time; with more all are forgotten, and their files go when they are the oldest.
const KNOWN_MAX: usize = 4_096;

/// What is kept.
#[derive(Default)]
pub(super) struct CommitContexts {
    known: Mutex<HashMap<String, Known>>,
}

/// A context that is kept.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// The commit; of a tag that was asked for, the one that it is of.
    pub(super) commit: String,
    /// The Dockerfile in it.
    pub(super) dockerfile: String,
}

/// All that a context is made of, as a name.
#[derive(Clone, Debug)]
pub(super) struct Key(String);

impl Key {
    /// The context of this commit of a repository, as it is taken from `url`.
    pub(super) fn of(
        repo: &git_repos::Row,
        url: &str,
        commit: &str,
        build_path: &str,
        dockerfile: &str,
    ) -> Self {
        let options = &repo.content.options;
        let parts = json!([
            repo.account_id,
            repo.id,
            url,
            commit,
            build_path,
            dockerfile,
            options.submodules,
            options.lfs
        ]);
        Self(hex::encode(Sha256::digest(parts.to_string())))
    }
}

impl CommitContexts {
    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes what is kept the context of a build; none when nothing is.
    pub(super) async fn take(&self, app: &App, key: &Key, build: BuildId) -> Option<Known> {
        let found = self.known().get(&key.0).cloned()?;
        let (blobs, name) = (app.blobs.clone(), key.0.clone());
        let now = UNIX_EPOCH + Duration::from_micros(u64::try_from(app.now().0).unwrap_or(0));
        let shared = blocking(move || {
            let is_there =
                blobs.share((BlobKind::CommitContext, &name), (BlobKind::Context, &build.to_string()))?;
            if is_there {
                // The least recently used goes first.
                let file = std::fs::File::open(blobs.path(BlobKind::CommitContext, &name))?;
                file.set_modified(now)?;
            }
            Ok(is_there)
        });
        match shared.await {
            Ok(true) => Some(found),
            Ok(false) => {
                self.known().remove(&key.0);
                None
            }
            Err(error) => {
                tracing::warn!(%error, "a context that was kept cannot be used; the commit is fetched again");
                None
            }
        }
    }

    /// Keeps the context of a build, unless it is too large. Without it the next run fetches again.
    pub(super) async fn keep(&self, app: &App, key: Key, build: BuildId, known: Known) {
        let limit = app.config.pipelines.commit_bytes;
        let (blobs, name) = (app.blobs.clone(), key.0.clone());
        let kept = blocking(move || {
            let build = build.to_string();
            if std::fs::metadata(blobs.path(BlobKind::Context, &build))?.len() > limit / SHARE {
                return Ok(false);
            }
            let is_kept = blobs.share((BlobKind::Context, &build), (BlobKind::CommitContext, &name))?;
            blobs.bound(BlobKind::CommitContext, limit)?;
            Ok(is_kept)
        });
        match kept.await {
            Ok(true) => {
                let mut all = self.known();
                if all.len() >= KNOWN_MAX {
                    all.clear();
                }
                all.insert(key.0, known);
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "a commit's context is not kept"),
        }
    }
}
