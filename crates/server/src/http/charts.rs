//! `/api/v1/charts`: the catalogue, and what is in a version of a chart.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use tokio_util::io::ReaderStream;
use utoipa::IntoParams;
use wire::chart_keys::ChartProvenanceView;
use wire::charts::{ChartContentView, ChartQuery, ChartVersionQuery, ChartVersionView, ChartView};
use wire::page::Page;
use wire::problem::Problem;
use wire::values_form::ValuesFormView;

use super::extract::{self, Params, Path};
use crate::app::App;
use crate::caller::Caller;
use crate::domain::{charts, hosted_charts, provenance};
use crate::error::{Error, Result};

/// Which file of a package.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct FileQuery {
    /// Its path below the chart's folder.
    path: String,
}

/// Whose own charts.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct OwnerQuery {
    /// The caller's when absent; another account's for admins.
    account: Option<String>,
}

/// Adds a chart to one's own: its package is the body. A version that is there is not replaced.
#[utoipa::path(post, path = "/api/v1/charts", tag = "charts", params(OwnerQuery), request_body(content = Vec<u8>, content_type = "application/gzip"),
    responses((status = 201, body = ChartView), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, description = "They are somebody else's", body = Problem),
        (status = 404, description = "No such account", body = Problem), (status = 409, description = "The version is there", body = Problem),
        (status = 413, body = Problem), (status = 422, description = "It is no chart", body = Problem)))]
pub async fn upload(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<OwnerQuery>,
    request: Request,
) -> Result<(StatusCode, axum::Json<ChartView>)> {
    let limit = app.config.charts.package_bytes;
    extract::check_length(request.headers(), limit)?;
    let package = extract::spool(&app, request.into_body().into_data_stream(), limit).await?;
    let owner = query.account.unwrap_or_else(|| caller.name.to_string());
    let saved = hosted_charts::upload(&app, &caller, &owner, package, None).await?;
    let view = charts::get(&app, &caller, &saved.repo.to_string(), &saved.name).await?;
    Ok((StatusCode::CREATED, axum::Json(view)))
}

/// Removes a version of a chart that is kept on this server.
#[utoipa::path(delete, path = "/api/v1/charts/{repo}/{chart}/versions/{version}", tag = "charts", params(("repo" = String, Path, description = "The repository's id or name"), ("chart" = String, Path, description = "The chart's name"), ("version" = String, Path, description = "The version")),
    responses((status = 204), (status = 401, body = Problem), (status = 403, description = "They are somebody else's", body = Problem), (status = 404, body = Problem),
        (status = 409, description = "The chart is kept elsewhere", body = Problem)))]
pub async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path((repo, chart, version)): Path<(String, String, String)>,
) -> Result<StatusCode> {
    hosted_charts::delete_from(&app, &caller, &repo, &chart, &version).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the charts of the repositories that the caller sees.
#[utoipa::path(get, path = "/api/v1/charts", tag = "charts", params(ChartQuery),
    responses((status = 200, body = Page<ChartView>), (status = 401, body = Problem), (status = 404, description = "No such repository", body = Problem),
        (status = 422, body = Problem)))]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<ChartQuery>,
) -> Result<axum::Json<Page<ChartView>>> {
    charts::list(&app, &caller, &query).await.map(axum::Json)
}

/// Shows a chart.
#[utoipa::path(get, path = "/api/v1/charts/{repo}/{chart}", tag = "charts", params(("repo" = String, Path, description = "The repository's id or name"), ("chart" = String, Path, description = "The chart's name")),
    responses((status = 200, body = ChartView), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn get(
    State(app): State<App>,
    caller: Caller,
    Path((repo, chart)): Path<(String, String)>,
) -> Result<axum::Json<ChartView>> {
    charts::get(&app, &caller, &repo, &chart).await.map(axum::Json)
}

/// Lists the versions of a chart, the greatest first.
#[utoipa::path(get, path = "/api/v1/charts/{repo}/{chart}/versions", tag = "charts", params(("repo" = String, Path, description = "The repository's id or name"), ("chart" = String, Path, description = "The chart's name"), ChartVersionQuery),
    responses((status = 200, body = Page<ChartVersionView>), (status = 401, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub async fn versions(
    State(app): State<App>,
    caller: Caller,
    Path((repo, chart)): Path<(String, String)>,
    Params(query): Params<ChartVersionQuery>,
) -> Result<axum::Json<Page<ChartVersionView>>> {
    charts::versions(&app, &caller, &repo, &chart, &query).await.map(axum::Json)
}

/// Shows what is in a version of a chart: README, values, schema, files. The package's digest is checked.
#[utoipa::path(get, path = "/api/v1/charts/{repo}/{chart}/versions/{version}", tag = "charts", params(("repo" = String, Path, description = "The repository's id or name"), ("chart" = String, Path, description = "The chart's name"), ("version" = String, Path, description = "A version, or `latest`")),
    responses((status = 200, body = ChartContentView), (status = 401, body = Problem), (status = 404, body = Problem),
        (status = 502, description = "The package cannot be fetched, or is another one", body = Problem), (status = 504, description = "It took too long", body = Problem)))]
pub async fn content(
    State(app): State<App>,
    caller: Caller,
    Path((repo, chart, version)): Path<(String, String, String)>,
) -> Result<axum::Json<ChartContentView>> {
    charts::content(&app, &caller, &repo, &chart, &version).await.map(axum::Json)
}

/// Shows what can be set of a version of a chart, prepared for a form: the values with what their comments and the schema say of
/// them, in sections.
#[utoipa::path(get, path = "/api/v1/charts/{repo}/{chart}/versions/{version}/values-form", tag = "charts", params(("repo" = String, Path, description = "The repository's id or name"), ("chart" = String, Path, description = "The chart's name"), ("version" = String, Path, description = "A version, or `latest`")),
    responses((status = 200, body = ValuesFormView), (status = 401, body = Problem), (status = 404, body = Problem),
        (status = 502, description = "The package cannot be fetched, or is another one", body = Problem), (status = 504, description = "It took too long", body = Problem)))]
pub async fn values_form(
    State(app): State<App>,
    caller: Caller,
    Path((repo, chart, version)): Path<(String, String, String)>,
) -> Result<axum::Json<ValuesFormView>> {
    charts::values_form(&app, &caller, &repo, &chart, &version).await.map(axum::Json)
}

/// Shows who signed a version of a chart, verified with the keys that count for its repository.
#[utoipa::path(get, path = "/api/v1/charts/{repo}/{chart}/versions/{version}/provenance", tag = "charts", params(("repo" = String, Path, description = "The repository's id or name"), ("chart" = String, Path, description = "The chart's name"), ("version" = String, Path, description = "A version, or `latest`")),
    responses((status = 200, body = ChartProvenanceView), (status = 401, body = Problem), (status = 404, body = Problem),
        (status = 502, description = "The package cannot be fetched, or is another one", body = Problem), (status = 503, description = "Helm is not installed on the server's host", body = Problem), (status = 504, description = "It took too long", body = Problem)))]
pub async fn provenance(
    State(app): State<App>,
    caller: Caller,
    Path((repo, chart, version)): Path<(String, String, String)>,
) -> Result<axum::Json<ChartProvenanceView>> {
    provenance::show(&app, &caller, &repo, &chart, &version).await.map(axum::Json)
}

/// Reads one file of a version of a chart.
#[utoipa::path(get, path = "/api/v1/charts/{repo}/{chart}/versions/{version}/file", tag = "charts", params(("repo" = String, Path, description = "The repository's id or name"), ("chart" = String, Path, description = "The chart's name"), ("version" = String, Path, description = "A version, or `latest`"), FileQuery),
    responses((status = 200, description = "Its text", content_type = "text/plain", body = String), (status = 401, body = Problem), (status = 404, body = Problem),
        (status = 502, description = "The package cannot be fetched, or is another one", body = Problem), (status = 504, description = "It took too long", body = Problem)))]
pub async fn file(
    State(app): State<App>,
    caller: Caller,
    Path((repo, chart, version)): Path<(String, String, String)>,
    Params(query): Params<FileQuery>,
) -> Result<Response> {
    let text = charts::file(&app, &caller, &repo, &chart, &version, &query.path).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

/// Downloads the package of a version of a chart, its digest checked.
#[utoipa::path(get, path = "/api/v1/charts/{repo}/{chart}/versions/{version}/package", tag = "charts", params(("repo" = String, Path, description = "The repository's id or name"), ("chart" = String, Path, description = "The chart's name"), ("version" = String, Path, description = "A version, or `latest`")),
    responses((status = 200, description = "The package", content_type = "application/gzip", body = Vec<u8>), (status = 401, body = Problem), (status = 404, body = Problem),
        (status = 422, description = "It must be signed, and is not, or not well", body = Problem), (status = 502, description = "The package cannot be fetched, or is another one", body = Problem), (status = 503, description = "It must be signed, and Helm is not installed on the server's host", body = Problem), (status = 504, description = "It took too long", body = Problem)))]
pub async fn package(
    State(app): State<App>,
    caller: Caller,
    Path((repo, chart, version)): Path<(String, String, String)>,
) -> Result<Response> {
    let (file, bytes, name) = charts::download(&app, &caller, &repo, &chart, &version).await?;
    let stream = ReaderStream::new(tokio::fs::File::from_std(file));
    let disposition =
        HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")).map_err(Error::internal)?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/gzip")),
        (header::CONTENT_LENGTH, HeaderValue::from(bytes)),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    Ok((headers, Body::from_stream(stream)).into_response())
}

/// Shows a chart's picture, fetched by the server and made harmless.
#[utoipa::path(get, path = "/api/v1/charts/{repo}/{chart}/icon", tag = "charts", params(("repo" = String, Path, description = "The repository's id or name"), ("chart" = String, Path, description = "The chart's name")),
    responses((status = 200, description = "A PNG picture or an SVG drawing", content_type = "image/png", body = Vec<u8>), (status = 401, body = Problem), (status = 404, body = Problem),
        (status = 502, description = "The picture cannot be fetched or used", body = Problem), (status = 504, description = "It took too long", body = Problem)))]
pub async fn icon(
    State(app): State<App>,
    caller: Caller,
    Path((repo, chart)): Path<(String, String)>,
) -> Result<Response> {
    let (bytes, kind) = charts::icon(&app, &caller, &repo, &chart).await?;
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "private, max-age=86400"),
        // A drawing that is opened by itself runs nothing and fetches nothing.
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; sandbox"),
    ];
    Ok((headers, bytes).into_response())
}
