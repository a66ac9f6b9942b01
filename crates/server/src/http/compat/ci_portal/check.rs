//! `/check/`: everything for one repository with one request, by whoever shows a token in the body.

use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use store::filtered::{Filter, Wanted};
use utoipa::ToSchema;
use wire::ids::{BuildId, GitRepoId, RunnerUuid};

use super::failure::PortalError;
use super::input::Input;
use super::status;
use crate::app::App;
use crate::caller::Caller;
use crate::clients::git::GitUrl;
use crate::domain::runs::{self, Start};
use crate::domain::{git_repos, sessions};
use crate::error::{Error, Result};
use crate::http::request::RequestContext;

/// How long the answer waits for the git server to tell the commit.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who asks for what.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes the parameters in the OpenAPI document")]
pub struct PortalCheckForm {
    /// The repository's `repo_name`, or its address.
    repo: String,
    /// The account's name.
    user: String,
    /// One of its tokens: an API token `ls_…`, or that of a login.
    token: String,
}

/// The run that was started.
#[derive(Debug, Serialize, ToSchema)]
pub struct PortalCheck {
    /// The repository's `repo_name`.
    repo: String,
    /// The event's name.
    event: String,
    /// By which `/log/` names it.
    event_uuid: BuildId,
    /// The job's name.
    job: String,
    /// By which `/log/` names it.
    #[serde(rename = "Runner_uuid")]
    runner_uuid: RunnerUuid,
    /// The image, without its tag.
    image: String,
    /// The image's tag.
    #[serde(rename = "Image_tag")]
    image_tag: String,
    /// `1`: queued.
    status: &'static str,
    /// The commit; empty when the git server did not tell it at once.
    commit: String,
}

/// Resolves the commit, makes event, job and log, builds and pushes: answers as soon as that is accepted for good.
#[utoipa::path(post, path = "/check", tag = "seed 002", security(("secret" = [])),
    request_body(content((PortalCheckForm = "application/json"), (PortalCheckForm = "application/x-www-form-urlencoded"), (PortalCheckForm = "multipart/form-data"))),
    responses((status = 201, body = PortalCheck), (status = 400, body = PortalError), (status = 401, body = PortalError), (status = 403, body = PortalError, description = "The repository, or the image that it makes, is somebody else's"),
        (status = 404, body = PortalError), (status = 429, body = PortalError)))]
pub async fn check(
    State(app): State<App>,
    Extension(context): Extension<RequestContext>,
    input: Input,
) -> Result<(StatusCode, axum::Json<PortalCheck>)> {
    input.check(&["repo", "user", "token"], &[("repo", 200), ("user", 50), ("token", 4096)])?;
    let value = |name| input.given(name).unwrap_or_default();
    let caller = identify(&app, value("user"), value("token")).await?;
    let caller = Caller { ip: context.ip, request_id: Some(context.id), ..caller };
    let repo = find(&app, &caller, value("repo")).await?;
    let commit = match git_repos::current_commit(&app, &caller, repo, PATIENCE).await {
        Ok(commit) => Some(commit),
        // The run itself says what is wrong with the git server.
        Err(error) => {
            tracing::debug!(%error, "the commit is not known at once");
            None
        }
    };
    let start = Start { commit: commit.as_deref(), ..Start::MANUAL };
    let started = runs::start(&app, &caller, repo, start).await?;
    let answer = PortalCheck {
        repo: started.run.repo_name,
        event: started.run.name,
        event_uuid: started.run.uuid,
        job: started.run.job,
        runner_uuid: started.runner_uuid,
        image: started.run.image,
        image_tag: started.run.image_tag,
        status: status(wire::builds::OperationState::Queued),
        commit: started.run.commit.unwrap_or_default(),
    };
    Ok((StatusCode::CREATED, axum::Json(answer)))
}

/// One answer, whatever is wrong with the two.
async fn identify(app: &App, user: &str, token: &str) -> Result<Caller> {
    let refused = || Error::unauthenticated("bad_token", "this is not a token of this user");
    let caller = match sessions::caller_of_token(app, token).await {
        Err(error) if error.kind == crate::error::ErrorKind::Unauthenticated => return Err(refused()),
        caller => caller?,
    };
    let is_named = user.parse::<wire::names::AccountName>().is_ok_and(|user| user == caller.name);
    if is_named { Ok(caller) } else { Err(refused()) }
}

/// By name, or by address. That a name is taken is no secret; what is behind it is.
async fn find(app: &App, caller: &Caller, named: &str) -> Result<GitRepoId> {
    let unknown = match git_repos::by_name(app, caller, named).await {
        Err(error) if error.code == "not_found" => error,
        found => return found,
    };
    if let Ok(url) = named.parse::<GitUrl>() {
        let wanted = vec![("url", Wanted::Text(url.as_str().to_owned()))];
        let filter = Filter { wanted, account: Some(caller.account), limit: Some(1), ..Filter::default() };
        if let Some(row) = git_repos::list(app, caller, filter).await?.rows.first() {
            return Ok(row.id);
        }
    }
    if git_repos::is_anybodys(app, named).await? {
        return Err(Error::forbidden("not_yours", "this user may not build this repository"));
    }
    Err(unknown)
}
