//! A run's first step: fetches a commit and packs a folder of it.

use std::time::Duration;

use store::jobs::Row;
use store::{git_repos, runners, runs};

use super::Shared;
use super::commit_contexts::{Key, Known};
use super::run_pipeline::{MAX_FETCHES, Stop, admitted, say, with_hint};
use crate::app::App;
use crate::blobs::{Upload, blocking};
use crate::caller::Caller;
use crate::clients::git::{self, Commit, GitError, Limits, Reach, Wanted};
use crate::clients::http_out::Trust;
use crate::domain;
use crate::domain::builds::Admission;
use crate::error::{Error, ErrorKind};

/// What goes to the build.
pub(super) struct Handed {
    pub(super) caller: Caller,
    pub(super) admission: Admission,
    /// What was fetched, and under what it is kept; none when it was kept before and is the build's context already.
    pub(super) upload: Option<(Key, Upload)>,
    pub(super) dockerfile: String,
    pub(super) commit: String,
}

/// Fetches the commit and packs the folder, unless an earlier run did. Everything else that it leaves on the disk goes with it.
pub(super) async fn fetch(app: &App, shared: &Shared, job: &Row, run: &runs::Row) -> Result<Handed, Stop> {
    let repo = git_repos::get(&app.db, run.git_repo_id).await?;
    let Some(repo) = repo else {
        return Err(Stop::Failed("lost", "the git repository is gone".to_owned()));
    };
    let (caller, admission) = admitted(app, run).await?;
    let config = &app.config.pipelines;
    let limits = Limits {
        time: Duration::from_secs(config.fetch_secs),
        fetched_bytes: config.fetch_bytes,
        packed_bytes: app.config.uploads.unpacked_bytes,
    };
    let fetched = async {
        let remote = domain::git_repos::remote(app, &caller, &repo).await?;
        say(app, run.uuid, format!("[fetching {}]\n", remote.url)).await;
        let blobs = app.blobs.clone();
        let (folder, archive) = blocking(move || Ok((blobs.folder()?, blobs.scratch()?))).await?;
        let commit = match &run.commit {
            Some(id) => {
                let git_ref = if git::is_commit_id(&run.git_ref) { "" } else { run.git_ref.as_str() };
                Commit { id: id.clone(), git_ref: full_ref(git_ref) }
            }
            None => git::resolve(folder.path(), &remote, &run.git_ref, limits.time).await?,
        };
        let reach = Reach { outbound: &app.outbound, trust: Trust::from(&caller) };
        // As it was when the run was asked for: the runner has it from the repository, or from the one that it names.
        let runner =
            runners::of_run(&app.db, run.id).await.map_err(Error::from)?.map(|runner| runner.content);
        let runner = runner.unwrap_or_default();
        let (path, dockerfile) = (&runner.build_path, &runner.repo_dockerfile);
        let key = Key::of(&repo, remote.url.as_str(), &commit.id, path, dockerfile);
        let known = shared.commit_contexts.take(app, &key, run.uuid).await;
        let kept = if known.is_some() { ", kept since it was fetched" } else { "" };
        say(app, run.uuid, format!("[commit {}{}{kept}]\n", commit.id, shown_ref(&commit.git_ref))).await;
        if let Some(known) = known {
            return Ok(Found::Kept(known));
        }
        let wanted = Wanted {
            build_path: &runner.build_path,
            dockerfile: &runner.repo_dockerfile,
            submodules: repo.content.options.submodules.then_some(reach),
            lfs: repo.content.options.lfs.then_some(reach),
        };
        let fetched = git::fetch(folder.path(), &remote, &commit, wanted, archive, &limits).await?;
        Ok::<_, FetchError>(Found::Fetched(key, fetched))
    };
    match fetched.await {
        Ok(Found::Kept(known)) => {
            let Known { commit, dockerfile } = known;
            Ok(Handed { caller, admission, upload: None, dockerfile, commit })
        }
        Ok(Found::Fetched(key, fetched)) => {
            if let Some(known_hosts) = &fetched.known_hosts {
                git_repos::set_known_hosts(&app.db, repo.id, known_hosts).await?;
            }
            let upload = Some((key, Upload { file: fetched.archive, bytes: fetched.bytes }));
            Ok(Handed { caller, admission, upload, dockerfile: fetched.dockerfile, commit: fetched.commit })
        }
        Err(FetchError::Git(error)) if error.is_passing() && job.attempt < MAX_FETCHES => {
            say(app, run.uuid, format!("[{error}; trying again]\n")).await;
            Err(Stop::Again(Error::unavailable("git_server", error.to_string())))
        }
        Err(FetchError::Git(error)) => Err(match error {
            GitError::TimedOut(_) => Stop::Failed("timeout", error.to_string()),
            GitError::NoPath(_) => Stop::Failed("build_failed", error.to_string()),
            error => Stop::Failed("clone_failed", error.to_string()),
        }),
        Err(FetchError::Ours(error))
            if matches!(
                error.kind,
                ErrorKind::Invalid | ErrorKind::BadGateway | ErrorKind::GatewayTimeout
            ) =>
        {
            Err(Stop::Failed("clone_failed", with_hint(&error)))
        }
        Err(FetchError::Ours(error)) => Err(Stop::Again(error)),
    }
}

/// Where a commit's folder is.
enum Found {
    /// It is the build's context already.
    Kept(Known),
    Fetched(Key, git::Fetched),
}

/// What a short name may stand for, so that a server that gives no commits by their id is asked for a ref.
fn full_ref(name: &str) -> String {
    match name {
        "" => String::new(),
        name if name.starts_with("refs/") => name.to_owned(),
        name => format!("refs/heads/{name}"),
    }
}

fn shown_ref(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!(", {name}") }
}

/// Git's failures and our own.
enum FetchError {
    Git(GitError),
    Ours(Error),
}

impl From<GitError> for FetchError {
    fn from(error: GitError) -> Self {
        Self::Git(error)
    }
}

impl From<Error> for FetchError {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}
