//! Secrets of git repositories: kept sealed, opened only for a build of the repository, and given to the steps that name them.

use store::git_repo_secrets::{self as secrets, Row};
use store::git_repos;
use wire::git_repo_secrets::{GitRepoSecretSet, GitRepoSecretView, VALUE_BYTES};
use wire::ids::{BuildId, GitRepoId};
use wire::names::SecretName;
use wire::secret::Secret;

use super::audit::{self, Event};
use crate::app::App;
use crate::caller::Caller;
use crate::error::{Error, Result};

/// Secrets of one repository.
const PER_REPO: usize = 50;

fn purpose(uuid: &str) -> String {
    format!("git_repo_secrets.value {uuid}")
}

fn view(row: Row) -> GitRepoSecretView {
    GitRepoSecretView { name: row.name, created_at: row.created_at, updated_at: row.updated_at }
}

/// The secrets of a repository, without their values.
pub async fn list(app: &App, caller: &Caller, repo: GitRepoId) -> Result<Vec<GitRepoSecretView>> {
    super::git_repos::find(app, caller, repo).await?;
    Ok(secrets::of_repo(&app.db, repo).await?.into_iter().map(view).collect())
}

/// Adds a secret, or gives it another value.
pub async fn set(
    app: &App,
    caller: &Caller,
    repo: GitRepoId,
    name: &SecretName,
    new: &GitRepoSecretSet,
) -> Result<GitRepoSecretView> {
    let found = super::git_repos::find(app, caller, repo).await?;
    let bytes = new.value.expose().len();
    if bytes == 0 || bytes > VALUE_BYTES {
        let detail = format!("`value` has 1 to {VALUE_BYTES} bytes; this one has {bytes}");
        return Err(Error::invalid("value", detail));
    }
    let uuid = uuid::Uuid::now_v7().to_string();
    let value = app.keys.sealing.seal(&purpose(&uuid), &new.value)?;
    let now = app.now();
    let tx = app.db.begin().await?;
    if !git_repos::lock(&tx, repo).await? {
        return Err(Error::not_found("git repository", repo));
    }
    let known = secrets::of_repo(&tx, repo).await?;
    let before = known.iter().find(|row| row.name == *name);
    if before.is_none() && known.len() >= PER_REPO {
        let detail = format!("a git repository has at most {PER_REPO} secrets");
        return Err(Error::conflict("too_many_secrets", detail).hint("delete one first"));
    }
    let created_at = before.map_or(now, |row| row.created_at);
    let row = Row { uuid, git_repo_id: repo, name: name.clone(), value, created_at, updated_at: now };
    secrets::put(&tx, &row).await?;
    let target = format!("{repo}/{name}");
    let event = Event { action: "git_repo_secret.set", target: &target, acting_for: Some(found.account_id) };
    audit::record(app, caller, &tx, event).await?;
    tx.commit().await?;
    Ok(view(row))
}

/// Forgets a secret.
pub async fn delete(app: &App, caller: &Caller, repo: GitRepoId, name: &SecretName) -> Result<()> {
    let found = super::git_repos::find(app, caller, repo).await?;
    let tx = app.db.begin().await?;
    if !secrets::delete(&tx, repo, name).await? {
        return Err(Error::not_found("secret", name));
    }
    let target = format!("{repo}/{name}");
    let event =
        Event { action: "git_repo_secret.delete", target: &target, acting_for: Some(found.account_id) };
    audit::record(app, caller, &tx, event).await?;
    Ok(tx.commit().await?)
}

/// What the steps of a run's build may read.
pub(crate) struct OfBuild {
    /// Whose they are.
    pub(crate) git_repo: GitRepoId,
    /// By name.
    pub(crate) secrets: Vec<(SecretName, Secret)>,
    /// Another one for each value that a secret is given.
    pub(crate) versions: Vec<String>,
}

/// The secrets that the steps of a run's build may read; none where there are none, and none of a build that is no run's.
pub(crate) async fn of_build(app: &App, build: BuildId) -> Result<Option<OfBuild>> {
    let Some(run) = store::runs::by_uuid(&app.db, build).await? else { return Ok(None) };
    let rows = secrets::of_repo(&app.db, run.git_repo_id).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let mut of_build = OfBuild { git_repo: run.git_repo_id, secrets: Vec::new(), versions: Vec::new() };
    for row in rows {
        let value = app.keys.sealing.open(&purpose(&row.uuid), &row.value)?;
        of_build.secrets.push((row.name, value));
        of_build.versions.push(row.uuid);
    }
    Ok(Some(of_build))
}
