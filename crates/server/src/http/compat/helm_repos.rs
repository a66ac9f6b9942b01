//! Seed 004: chart repositories as its document and the system that it documents spell them: bodies bare or wrapped in `repo`,
//! success always 200, errors as `{"code","class","details"}`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use wire::chart_repos::{ChartRepoKind, ChartRepoQuery, ChartRepoView, ChartSyncView};
use wire::page::{MAX_LIMIT, Page};
use wire::problem::Problem;
use wire::time::Timestamp;

use crate::app::App;
use crate::caller::Caller;
use crate::domain::chart_repos;
use crate::error::{Error, ErrorKind, Result};
use crate::http::extract::{Json, Params, Path};

/// What bodies may be wrapped in.
const ENVELOPE: &str = "repo";

/// A failure as the seed's system answers it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct HelmError {
    /// The HTTP status.
    code: u16,
    /// What kind of failure.
    class: &'static str,
    /// What happened, in plain words.
    details: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    /// Joins this answer to the server's log.
    request_id: Option<String>,
}

/// Whether an address is answered in the seed's way.
pub fn is_ours(path: &str) -> bool {
    ["/api/repos", "/api/charts"]
        .iter()
        .any(|ours| path.strip_prefix(ours).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// A failure in the seed's way, and the status that goes with it.
pub fn reshaped(problem: Problem, time: Timestamp) -> (StatusCode, HelmError) {
    let (status, class) = match (problem.status, problem.code.as_str()) {
        (409 | 422, "chart_repo_unusable" | "chart_repo_in_use" | "invalid_url" | "address_refused") => {
            (406, "NotAcceptableError")
        }
        (_, "missing_repo") => (406, "NotEmptyError"),
        (_, "not_json") => (400, "BadRequestError"),
        (400, "nothing_to_change") => (400, "MissingParameterError"),
        (409, "exists") => (409, "DuplicateNameError"),
        (409, _) => (409, "ConflictError"),
        (400 | 422, _) => (400, "InputParameterError"),
        (401, _) => (401, "UnauthorizedError"),
        (403, _) => (403, "ForbiddenError"),
        (404, _) => (404, "ResourceNotFoundError"),
        (405, _) => (405, "UnsupportOperationError"),
        (413, _) => (413, "RequestEntityTooLargeError"),
        (429, _) => (429, "TooManyRequestsError"),
        (502, _) => (502, "BadGatewayError"),
        (504, _) => (504, "TimeoutError"),
        (500, _) => (500, "InternalServerError"),
        (other, _) => (other, "ServerStatusError"),
    };
    let details = match problem.hint {
        Some(hint) => format!("{}; {hint}", problem.detail),
        None => problem.detail,
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, HelmError { code: status.as_u16(), class, details, time, request_id: problem.request_id })
}

/// What lists are asked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Whether to count charts and their versions; yes when absent.
    details: Option<bool>,
    /// Rows at most; 20 by default, 2048 at most.
    limit: Option<u64>,
    /// Rows to pass over.
    offset: Option<u64>,
    /// `external` or `internal`.
    #[serde(rename = "type")]
    #[param(rename = "type")]
    kind: Option<String>,
    /// Only those whose name, address or description contains this.
    search: Option<String>,
    /// The field that decides over the order.
    #[serde(alias = "order-by")]
    order_by: Option<String>,
    /// `desc` (default) or `asc`.
    order: Option<String>,
    /// Whether to answer wrapped: `repos` instead of `data`.
    envelope: Option<String>,
}

/// How an answer is wanted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ShapeQuery {
    /// `1` to have the answer wrapped in `repo`.
    envelope: Option<String>,
    /// For `sync`: whether to answer at once.
    #[serde(rename = "async")]
    #[param(rename = "async")]
    is_async: Option<String>,
}

fn is_yes(text: Option<&str>) -> bool {
    matches!(text, Some("1" | "true" | "yes"))
}

/// A body, unwrapped, and whether it was wrapped.
fn unwrapped(mut body: Map<String, Value>) -> Result<(Map<String, Value>, bool)> {
    match body.remove(ENVELOPE) {
        Some(Value::Object(inner)) if body.is_empty() => Ok((inner, true)),
        Some(_) => Err(Error::invalid(ENVELOPE, "`repo` must be an object, and nothing may be beside it")),
        None => Ok((body, false)),
    }
}

/// A body with the seed's spellings, as a request of ours.
fn request<T: serde::de::DeserializeOwned>(mut body: Map<String, Value>) -> Result<T> {
    if let Some(value) = body.remove("public") {
        body.entry("is_public").or_insert(value);
    }
    // There is one kind of backend; whoever names it means what there is.
    match body.remove("backend") {
        None | Some(Value::Null) => {}
        Some(Value::String(backend)) if backend.is_empty() || backend == "common" => {}
        Some(_) => return Err(Error::invalid("backend", "`backend` is `common`")),
    }
    if let Some(Value::String(kind)) = body.get("type")
        && parse_kind(kind).is_err()
    {
        return Err(not_a_kind(kind));
    }
    body.retain(|_, value| !value.is_null());
    serde_path_to_error::deserialize(Value::Object(body)).map_err(|error| {
        let path = error.path().to_string();
        let message = error.into_inner().to_string();
        if path == "." {
            Error::new(ErrorKind::Invalid, "invalid", message)
        } else {
            Error::invalid(path.clone(), format!("`{path}` is not valid: {message}"))
        }
    })
}

fn parse_kind(text: &str) -> Result<ChartRepoKind> {
    match text {
        "external" => Ok(ChartRepoKind::External),
        "internal" => Ok(ChartRepoKind::Internal),
        other => Err(not_a_kind(other)),
    }
}

fn not_a_kind(text: &str) -> Error {
    let shown: String = text.chars().take(50).flat_map(char::escape_debug).collect();
    Error::invalid("type", format!("Not support type \"{shown}\"; it is `external` or `internal`"))
}

/// An answer in its envelope.
#[derive(Serialize)]
struct Wrapped<'a, T> {
    repo: &'a T,
}

/// A repository with what its sync found.
#[derive(Serialize)]
struct Synced<'a> {
    #[serde(flatten)]
    repo: &'a ChartRepoView,
    sync: &'a ChartSyncView,
}

/// A list under the name that the seed's system gives it behind its gateway.
#[derive(Serialize)]
struct WrappedList<'a> {
    total: u64,
    limit: u64,
    offset: u64,
    repos: &'a [ChartRepoView],
}

/// A repository, bare or wrapped, its fields in their order.
fn answer<T: Serialize>(value: &T, is_wrapped: bool) -> Response {
    if is_wrapped {
        axum::Json(Wrapped { repo: value }).into_response()
    } else {
        axum::Json(value).into_response()
    }
}

/// Lists the repositories that the caller sees.
#[utoipa::path(get, path = "/api/repos", tag = "seed 004", params(ListQuery),
    responses((status = 200, body = Page<ChartRepoView>), (status = 400, body = HelmError)))]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<ListQuery>,
) -> Result<Response> {
    let kind = query.kind.as_deref().filter(|text| !text.is_empty()).map(parse_kind).transpose()?;
    let asked = ChartRepoQuery {
        // As there: none at all means as many as there may be.
        limit: query.limit.map(|limit| if limit == 0 { MAX_LIMIT } else { limit }),
        offset: query.offset,
        kind,
        search: query.search,
        order_by: query.order_by,
        order: query.order,
    };
    let page = chart_repos::list(&app, &caller, &asked, query.details.unwrap_or(true)).await?;
    if is_yes(query.envelope.as_deref()) {
        let list =
            WrappedList { total: page.total, limit: page.limit, offset: page.offset, repos: &page.data };
        return Ok(axum::Json(list).into_response());
    }
    Ok(axum::Json(page).into_response())
}

/// Makes a repository; its index is read first.
#[utoipa::path(post, path = "/api/repos", tag = "seed 004", params(ShapeQuery), request_body = wire::chart_repos::ChartRepoCreate,
    responses((status = 200, body = ChartRepoView), (status = 400, body = HelmError), (status = 406, description = "The index cannot be read", body = HelmError),
        (status = 409, description = "The name is taken", body = HelmError)))]
pub async fn create(
    State(app): State<App>,
    caller: Caller,
    Params(shape): Params<ShapeQuery>,
    Json(body): Json<Map<String, Value>>,
) -> Result<Response> {
    let (body, is_wrapped) = unwrapped(body)?;
    for (field, words) in [("name", "Missing name"), ("url", "Missing repo url")] {
        if body.get(field).is_none_or(|value| value.is_null() || value == "") {
            return Err(Error::invalid(field, words));
        }
    }
    let view = chart_repos::create(&app, &caller, request(body)?).await?;
    Ok(answer(&view, is_wrapped || is_yes(shape.envelope.as_deref())))
}

/// Shows a repository.
#[utoipa::path(get, path = "/api/repos/{id}", tag = "seed 004", params(("id" = String, Path, description = "Its id or name"), ShapeQuery),
    responses((status = 200, body = ChartRepoView), (status = 404, body = HelmError)))]
pub async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Params(shape): Params<ShapeQuery>,
) -> Result<Response> {
    let view = chart_repos::get(&app, &caller, &id).await?;
    Ok(answer(&view, is_yes(shape.envelope.as_deref())))
}

/// Changes name, address or more of a repository.
#[utoipa::path(put, path = "/api/repos/{id}", tag = "seed 004", params(("id" = String, Path, description = "Its id or name"), ShapeQuery),
    request_body = wire::chart_repos::ChartRepoUpdate,
    responses((status = 200, body = ChartRepoView), (status = 400, body = HelmError), (status = 403, description = "It is somebody else's", body = HelmError),
        (status = 404, body = HelmError), (status = 406, description = "The address cannot be used", body = HelmError),
        (status = 409, description = "The name is taken", body = HelmError)))]
pub async fn update(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Params(shape): Params<ShapeQuery>,
    Json(body): Json<Map<String, Value>>,
) -> Result<Response> {
    let (mut body, is_wrapped) = unwrapped(body)?;
    // What a program read it writes back: the kind of a repository stays what it is.
    if let Some(Value::String(kind)) = body.get("type") {
        let kind = parse_kind(kind)?;
        if chart_repos::get(&app, &caller, &id).await?.kind != kind {
            return Err(Error::invalid("type", "the type of a repository cannot be changed"));
        }
        body.remove("type");
    }
    let view = chart_repos::update(&app, &caller, &id, request(body)?).await?;
    Ok(answer(&view, is_wrapped || is_yes(shape.envelope.as_deref())))
}

/// Changes name, address or more of a repository.
#[utoipa::path(patch, path = "/api/repos/{id}", tag = "seed 004", params(("id" = String, Path, description = "Its id or name"), ShapeQuery),
    request_body = wire::chart_repos::ChartRepoUpdate,
    responses((status = 200, body = ChartRepoView), (status = 400, body = HelmError), (status = 403, description = "It is somebody else's", body = HelmError),
        (status = 404, body = HelmError), (status = 406, description = "The address cannot be used", body = HelmError),
        (status = 409, description = "The name is taken", body = HelmError)))]
pub async fn patch(
    app: State<App>,
    caller: Caller,
    id: Path<String>,
    shape: Params<ShapeQuery>,
    body: Json<Map<String, Value>>,
) -> Result<Response> {
    update(app, caller, id, shape, body).await
}

/// Deletes a repository, unless something was installed from it; answers what it was.
#[utoipa::path(delete, path = "/api/repos/{id}", tag = "seed 004", params(("id" = String, Path, description = "Its id or name"), ShapeQuery),
    responses((status = 200, body = ChartRepoView), (status = 403, description = "It is somebody else's", body = HelmError), (status = 404, body = HelmError),
        (status = 406, description = "It has releases", body = HelmError)))]
pub async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Params(shape): Params<ShapeQuery>,
) -> Result<Response> {
    let view = chart_repos::delete(&app, &caller, &id).await?;
    Ok(answer(&view, is_yes(shape.envelope.as_deref())))
}

/// Reads the index of a repository now. The answer is the repository, with `sync`, which says what was found.
#[utoipa::path(post, path = "/api/repos/{id}/sync", tag = "seed 004", params(("id" = String, Path, description = "Its id or name"), ShapeQuery),
    responses((status = 200, body = ChartRepoView), (status = 202, description = "It will be read", body = ChartSyncView),
        (status = 403, description = "It is somebody else's", body = HelmError), (status = 404, body = HelmError),
        (status = 409, description = "It was changed at the same time", body = HelmError),
        (status = 502, description = "The index cannot be read", body = HelmError), (status = 504, description = "It took too long", body = HelmError)))]
pub async fn sync(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Params(shape): Params<ShapeQuery>,
) -> Result<Response> {
    if is_yes(shape.is_async.as_deref()) {
        let sync = chart_repos::request_sync(&app, &caller, &id).await?;
        return Ok((StatusCode::ACCEPTED, axum::Json(sync)).into_response());
    }
    let (repo, sync) = chart_repos::sync(&app, &caller, &id).await?;
    Ok(answer(&Synced { repo: &repo, sync: &sync }, is_yes(shape.envelope.as_deref())))
}
