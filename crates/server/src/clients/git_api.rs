//! Tells git servers how a commit fared, each by its own interface.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use reqwest::Url;
use serde_json::json;
use wire::builds::OperationState;
use wire::git_repos::GitProvider;
use wire::secret::Secret;

use super::git::GitUrl;
use super::http_out::{Outbound, Request, Trust};
use crate::error::{Error, ErrorKind, Result};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// The name under which a commit shows how it fared.
const CONTEXT: &str = "longshore";

/// Where it is told.
#[derive(Clone, Copy, Debug)]
pub struct Receiver<'a> {
    /// The repository at its git server.
    pub repo: &'a GitUrl,
    /// The kind of the git server; guessed from its name when it is not known.
    pub provider: Option<GitProvider>,
    /// What opens it.
    pub token: &'a Secret,
    /// Who signs its certificate, when it is not one that everybody trusts.
    pub authority: Option<&'a str>,
}

/// How a commit fares.
#[derive(Clone, Copy, Debug)]
pub struct CommitStatus<'a> {
    /// The commit.
    pub commit: &'a str,
    /// How it fares.
    pub state: OperationState,
    /// In words.
    pub description: &'a str,
    /// Where there is more to see.
    pub target_url: Option<&'a str>,
}

/// Tells it.
pub async fn report(
    outbound: &Outbound,
    trust: Trust,
    receiver: &Receiver<'_>,
    status: &CommitStatus<'_>,
) -> Result<()> {
    let provider = receiver.provider.unwrap_or_else(|| guessed(receiver.repo));
    let token = receiver.token;
    let (url, body) = request_of(provider, receiver.repo, status)?;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let (name, text) = match provider {
        GitProvider::Gitea => (header::AUTHORIZATION, format!("token {}", token.expose())),
        GitProvider::Gitlab => (header::HeaderName::from_static("private-token"), token.expose().to_owned()),
        GitProvider::Github | GitProvider::Bitbucket => {
            (header::AUTHORIZATION, format!("Bearer {}", token.expose()))
        }
    };
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| Error::invalid("status_token", "the token has characters that no token has"))?;
    value.set_sensitive(true);
    headers.insert(name, value);
    let request = Request {
        method: Method::POST,
        headers,
        body: Some(Bytes::from(body.to_string())),
        authorities: receiver.authority,
        ..Request::get(&url, trust)
    };
    let timed_out =
        |_| Error::new(ErrorKind::GatewayTimeout, "status_failed", "the git server does not answer in time");
    let answer = tokio::time::timeout(PATIENCE, outbound.send(request)).await.map_err(timed_out)??;
    if answer.status().is_success() {
        return Ok(());
    }
    let status = answer.status();
    let detail = format!("the git server answered {} to the commit's status", status.as_u16());
    let is_final = status.is_client_error() && !matches!(status.as_u16(), 408 | 429);
    let kind = if is_final { ErrorKind::Invalid } else { ErrorKind::BadGateway };
    Err(Error::new(kind, "status_failed", detail))
}

fn guessed(repo: &GitUrl) -> GitProvider {
    let host = repo.host.as_str();
    if host == "github.com" || host.starts_with("github.") {
        GitProvider::Github
    } else if host == "gitlab.com" || host.starts_with("gitlab.") {
        GitProvider::Gitlab
    } else if host == "bitbucket.org" {
        GitProvider::Bitbucket
    } else {
        GitProvider::Gitea
    }
}

fn request_of(
    provider: GitProvider,
    repo: &GitUrl,
    status: &CommitStatus<'_>,
) -> Result<(Url, serde_json::Value)> {
    use OperationState as S;

    let base = repo.web_base();
    let (project, commit) = (repo.project(), status.commit);
    let word = |running, succeeded, failed, cancelled| match status.state {
        S::Queued | S::Running => running,
        S::Succeeded => succeeded,
        S::Failed => failed,
        S::Cancelled => cancelled,
    };
    let (path, body) = match provider {
        GitProvider::Gitea => (
            format!("{base}/api/v1/repos/{project}/statuses/{commit}"),
            json!({"state": word("pending", "success", "failure", "warning"), "context": CONTEXT,
                "description": status.description, "target_url": status.target_url}),
        ),
        GitProvider::Github => {
            let api = if repo.host == "github.com" {
                "https://api.github.com".to_owned()
            } else {
                format!("{base}/api/v3")
            };
            (
                format!("{api}/repos/{project}/statuses/{commit}"),
                json!({"state": word("pending", "success", "failure", "error"), "context": CONTEXT,
                    "description": status.description, "target_url": status.target_url}),
            )
        }
        GitProvider::Gitlab => {
            let encoded: String = form_urlencoded::byte_serialize(project.as_bytes()).collect();
            (
                format!("{base}/api/v4/projects/{encoded}/statuses/{commit}"),
                json!({"state": word("running", "success", "failed", "canceled"), "name": CONTEXT,
                    "description": status.description, "target_url": status.target_url}),
            )
        }
        GitProvider::Bitbucket => {
            let api = if repo.host == "bitbucket.org" {
                "https://api.bitbucket.org/2.0".to_owned()
            } else {
                format!("{base}/rest/build-status/1.0")
            };
            let url = status.target_url.unwrap_or("https://longshore.invalid/");
            let body = json!({"state": word("INPROGRESS", "SUCCESSFUL", "FAILED", "FAILED"), "key": CONTEXT, "name": CONTEXT,
                "description": status.description, "url": url});
            if repo.host == "bitbucket.org" {
                (format!("{api}/repositories/{project}/commit/{commit}/statuses/build"), body)
            } else {
                (format!("{api}/commits/{commit}"), body)
            }
        }
    };
    Ok((path.parse().map_err(Error::internal)?, body))
}
