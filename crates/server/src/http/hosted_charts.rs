//! `/charts/{account}`: an account's own charts, as Helm and its plugins speak to a repository: `index.yaml`, packages, and
//! `ChartMuseum`'s way to add and remove them. Name and password are shown as Helm sends them, or a token as everywhere.

use axum::body::Body;
use axum::extract::{FromRequest as _, Multipart, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;
use serde::Serialize;
use tokio_util::io::ReaderStream;
use utoipa::ToSchema;
use wire::problem::Problem;

use super::extract::{self, Path};
use super::registry::basic_login;
use super::request::RequestContext;
use crate::app::App;
use crate::blobs::Upload;
use crate::caller::Caller;
use crate::clients::registry::manifest::MAX_PROVENANCE_BYTES;
use crate::domain::{hosted_charts, registry, sessions};
use crate::error::{Error, ErrorKind, Result};

/// What `ChartMuseum` answers to an upload, with what was stored.
#[derive(Debug, Serialize, ToSchema)]
pub struct Stored {
    /// Always true.
    #[serde(rename = "saved")]
    is_saved: bool,
    /// The chart's name.
    name: String,
    /// Its version.
    version: String,
    /// The SHA-256 of the package.
    digest: Option<String>,
}

/// What `ChartMuseum` answers to a removal.
#[derive(Debug, Serialize, ToSchema)]
pub struct Removal {
    /// Always true.
    #[serde(rename = "deleted")]
    is_deleted: bool,
}

/// Who is asking: by a token, or by name and password as Helm sends them; nobody when neither is there.
async fn caller(app: &App, context: &RequestContext, headers: &HeaderMap) -> Result<Option<Caller>> {
    let Some(given) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let text = given.to_str().unwrap_or_default();
    let mut caller = match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
            sessions::caller_of_token(app, token.trim()).await?
        }
        _ => match basic_login(headers)? {
            Some((name, secret)) => registry::caller_of_login(app, context, &name, &secret).await?,
            None => return Ok(None),
        },
    };
    caller.ip = context.ip;
    caller.request_id = Some(context.id.clone());
    Ok(Some(caller))
}

async fn needed(app: &App, context: &RequestContext, headers: &HeaderMap) -> Result<Caller> {
    caller(app, context, headers).await?.ok_or_else(|| {
        Error::unauthenticated("unauthenticated", "log in with an account and its password or API token")
    })
}

/// Asks for name and password in the way in which Helm can give them.
fn challenged(result: Result<Response>) -> Response {
    match result {
        Ok(response) => response,
        Err(error) => {
            let is_unknown = error.kind == ErrorKind::Unauthenticated;
            let mut response = error.into_response();
            if is_unknown {
                let challenge = HeaderValue::from_static("Basic realm=\"longshore\", charset=\"UTF-8\"");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            }
            response
        }
    }
}

/// The index of an account's charts.
#[utoipa::path(get, path = "/charts/{account}/index.yaml", tag = "hosted charts", security(("secret" = [])), params(("account" = String, Path, description = "Whose charts")),
    responses((status = 200, description = "The index", content_type = "application/yaml", body = String), (status = 401, description = "It is not public", body = Problem), (status = 404, body = Problem)))]
pub async fn index(
    State(app): State<App>,
    context: axum::Extension<RequestContext>,
    headers: HeaderMap,
    Path(account): Path<String>,
) -> Response {
    let result = async {
        let caller = caller(&app, &context, &headers).await?;
        let text = hosted_charts::index(&app, caller.as_ref(), &account).await?;
        let etag = format!("\"{}\"", hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&text)));
        let is_known =
            headers.get(header::IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == etag.as_bytes());
        let answer = [(header::CONTENT_TYPE, "application/yaml".to_owned()), (header::ETAG, etag)];
        Ok::<Response, Error>(if is_known {
            (StatusCode::NOT_MODIFIED, answer).into_response()
        } else {
            (answer, text).into_response()
        })
    };
    challenged(result.await)
}

/// A package of an account's charts.
#[utoipa::path(get, path = "/charts/{account}/{file}", tag = "hosted charts", security(("secret" = [])), params(("account" = String, Path, description = "Whose charts"), ("file" = String, Path, description = "`NAME-VERSION.tgz`, or its signature `NAME-VERSION.tgz.prov`")),
    responses((status = 200, description = "The package", content_type = "application/gzip", body = Vec<u8>), (status = 401, description = "It is not public", body = Problem), (status = 404, body = Problem),
        (status = 422, description = "It must be signed, and is not, or not by a key that counts", body = Problem)))]
pub async fn package(
    State(app): State<App>,
    context: axum::Extension<RequestContext>,
    headers: HeaderMap,
    Path((account, file)): Path<(String, String)>,
) -> Response {
    let result = async {
        let caller = caller(&app, &context, &headers).await?;
        let (file, bytes) = hosted_charts::package(&app, caller.as_ref(), &account, &file).await?;
        let stream = ReaderStream::new(tokio::fs::File::from_std(file));
        let answer = [
            (header::CONTENT_TYPE, HeaderValue::from_static("application/gzip")),
            (header::CONTENT_LENGTH, HeaderValue::from(bytes)),
        ];
        Ok::<Response, Error>((answer, Body::from_stream(stream)).into_response())
    };
    challenged(result.await)
}

/// Adds a chart to one's own: its package as the body, or as `chart` of a multipart form, with its signature as `prov`.
#[utoipa::path(post, path = "/charts/{account}/api/charts", tag = "hosted charts", security(("secret" = [])), params(("account" = String, Path, description = "Whose charts")),
    request_body(content = Vec<u8>, content_type = "application/gzip"),
    responses((status = 201, body = Stored), (status = 401, body = Problem), (status = 403, description = "They are somebody else's", body = Problem),
        (status = 404, description = "No such account", body = Problem), (status = 409, description = "The version is there", body = Problem), (status = 413, body = Problem), (status = 422, description = "It is no chart", body = Problem)))]
pub async fn upload(
    State(app): State<App>,
    context: axum::Extension<RequestContext>,
    Path(account): Path<String>,
    request: Request,
) -> Response {
    let result = async {
        let caller = needed(&app, &context, request.headers()).await?;
        let (package, provenance) = read(&app, request).await?;
        let saved = hosted_charts::upload(&app, &caller, &account, package, provenance).await?;
        let answer = Stored {
            is_saved: true,
            name: saved.name,
            version: saved.version.version,
            digest: saved.version.digest,
        };
        Ok::<Response, Error>((StatusCode::CREATED, axum::Json(answer)).into_response())
    };
    challenged(result.await)
}

/// The package, and its signature if one came with it.
async fn read(app: &App, request: Request) -> Result<(Upload, Option<Vec<u8>>)> {
    let limit = app.config.charts.package_bytes;
    extract::check_length(request.headers(), limit)?;
    if extract::content_type(request.headers()) != "multipart/form-data" {
        return Ok((extract::spool(app, request.into_body().into_data_stream(), limit).await?, None));
    }
    let broken = |detail: String| {
        Error::new(ErrorKind::Malformed, "form_broken", format!("the form cannot be read: {detail}"))
    };
    let mut form = Multipart::from_request(request, app).await.map_err(|error| broken(error.body_text()))?;
    let (mut package, mut provenance) = (None, None);
    while let Some(mut field) = form.next_field().await.map_err(|error| broken(error.body_text()))? {
        match field.name() {
            Some("chart") if package.is_none() => {
                let stream = futures::stream::poll_fn(|cx| field.poll_next_unpin(cx));
                package = Some(extract::spool(app, stream, limit).await?);
            }
            Some("prov") if provenance.is_none() => {
                let mut text = Vec::new();
                while let Some(chunk) = field.chunk().await.map_err(|error| broken(error.body_text()))? {
                    text.extend_from_slice(&chunk);
                    if text.len() as u64 > MAX_PROVENANCE_BYTES {
                        return Err(Error::new(
                            ErrorKind::TooLarge,
                            "too_large",
                            "the signature is larger than 1 MiB",
                        ));
                    }
                }
                provenance = Some(text);
            }
            _ => {}
        }
    }
    let package = package.ok_or_else(|| Error::invalid("chart", "the form has no file `chart`"))?;
    Ok((package, provenance))
}

/// Removes a version of a chart of one's own.
#[utoipa::path(delete, path = "/charts/{account}/api/charts/{name}/{version}", tag = "hosted charts", security(("secret" = [])),
    params(("account" = String, Path, description = "Whose charts"), ("name" = String, Path, description = "The chart's name"), ("version" = String, Path, description = "The version")),
    responses((status = 200, body = Removal), (status = 401, body = Problem), (status = 403, description = "They are somebody else's", body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn delete(
    State(app): State<App>,
    context: axum::Extension<RequestContext>,
    headers: HeaderMap,
    Path((account, name, version)): Path<(String, String, String)>,
) -> Response {
    let result = async {
        let caller = needed(&app, &context, &headers).await?;
        hosted_charts::delete(&app, &caller, &account, &name, &version).await?;
        Ok::<Response, Error>(axum::Json(Removal { is_deleted: true }).into_response())
    };
    challenged(result.await)
}
