//! `/hook/…`: webhooks of git servers, and what came of them.

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use wire::ids::GitRepoId;
use wire::problem::Problem;
use wire::webhooks::{DeliveryAnswer, DeliveryView};

use super::extract::{self, Path};
use super::request::RequestContext;
use crate::app::App;
use crate::caller::Caller;
use crate::domain::webhooks::{self, Delivery};
use crate::error::Result;

/// The largest delivery, as GitHub has it.
const MAX_BYTES: usize = 25 << 20;
/// The longest header that is looked at.
const MAX_HEADER_BYTES: usize = 4096;

/// Takes a webhook of Gitea, Forgejo, GitHub, GitLab or Bitbucket. It proves itself by its signature with the repository's
/// secret, which is checked before the body is understood.
#[utoipa::path(post, path = "/hook/{repo}", tag = "git-repos", security(("secret" = [])),
    params(("repo" = String, Path, description = "The repository's name or number")),
    request_body(content((serde_json::Value = "application/json"), (String = "application/x-www-form-urlencoded"))),
    responses((status = 202, body = DeliveryAnswer, description = "A run was started"), (status = 200, body = DeliveryAnswer, description = "Nothing is to be done; `ignored` says why"),
        (status = 401, body = Problem, description = "Not signed with the secret of a repository of this name"), (status = 413, body = Problem), (status = 429, body = Problem)))]
pub async fn receive(
    State(app): State<App>,
    Extension(context): Extension<RequestContext>,
    Path(repo): Path<String>,
    request: Request,
) -> Result<(StatusCode, axum::Json<DeliveryAnswer>)> {
    let (parts, body) = request.into_parts();
    let body = extract::read_all(body, MAX_BYTES).await?;
    let mut headers = BTreeMap::new();
    for (name, value) in &parts.headers {
        if let Some(text) = value.to_str().ok().filter(|text| text.len() <= MAX_HEADER_BYTES) {
            headers.entry(name.as_str().to_owned()).or_insert_with(|| text.to_owned());
        }
    }
    let delivery = Delivery { headers, body: &body };
    let (is_started, answer) = webhooks::receive(&app, &context, &repo, &delivery).await?;
    let status = if is_started { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, axum::Json(answer)))
}

/// The last webhooks that were signed right, newest first, with what was answered: for whoever sets them up.
#[utoipa::path(get, path = "/api/v1/git-repos/{id}/deliveries", tag = "git-repos", params(("id" = i64, Path, description = "The repository's number")),
    responses((status = 200, body = Vec<DeliveryView>), (status = 404, body = Problem)))]
pub async fn deliveries(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<GitRepoId>,
) -> Result<axum::Json<Vec<DeliveryView>>> {
    webhooks::list(&app, &caller, id).await.map(axum::Json)
}
