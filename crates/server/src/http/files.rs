//! `/api/v1/containers/{id}/files`.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use utoipa::IntoParams;
use wire::files::{FilePath, FileView, FolderView, UnpackedView};
use wire::problem::Problem;

use super::extract::{self, Params, Path};
use crate::app::App;
use crate::caller::Caller;
use crate::domain::files;
use crate::error::{Error, Result};

/// Which folder, and how much of it.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Absolute, without `..`; `/` when absent.
    path: Option<String>,
    /// Entries at most; 100 by default, 500 at most.
    limit: Option<u64>,
    /// Entries to pass over.
    offset: Option<u64>,
}

/// Which file.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PathQuery {
    /// Absolute, without `..`.
    path: String,
}

fn path_of(text: &str) -> Result<FilePath> {
    text.parse().map_err(|error| Error::invalid("path", format!("`path` cannot be used: {error}")))
}

/// What is in a folder of a container, by name; of a file what is known of it. Links are followed, inside the container. A
/// container that does not run, or has no shell, is read the long way, which may cut off large folders (`is_complete`).
#[utoipa::path(get, path = "/api/v1/containers/{id}/files", tag = "files", params(("id" = String, Path, description = "The container's number, or its name among the caller's own"), ListQuery),
    responses((status = 200, body = FolderView), (status = 401, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Params(query): Params<ListQuery>,
) -> Result<axum::Json<FolderView>> {
    let path = path_of(query.path.as_deref().unwrap_or("/"))?;
    files::list(&app, &caller, &id, &path, query.limit, query.offset).await.map(axum::Json)
}

/// What to read.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ReadQuery {
    /// Absolute, without `..`.
    path: String,
    /// A file as a tar, too; a folder always is one.
    archive: Option<bool>,
}

/// The content of a file, or a folder with everything in it as a tar. Always as a file to save.
#[utoipa::path(get, path = "/api/v1/containers/{id}/files/content", tag = "files", params(("id" = String, Path, description = "The container's number, or its name among the caller's own"), ReadQuery),
    responses((status = 200, content((Vec<u8> = "application/octet-stream"), (Vec<u8> = "application/x-tar"))), (status = 401, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
pub async fn read(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Params(query): Params<ReadQuery>,
) -> Result<Response> {
    let path = path_of(&query.path)?;
    let download = files::read(&app, &caller, &id, &path, query.archive.unwrap_or(false)).await?;
    let (kind, end) = match download.bytes {
        Some(_) => ("application/octet-stream", ""),
        None => ("application/x-tar", ".tar"),
    };
    let bytes = download.bytes;
    let name = if download.name.is_empty() { "root" } else { &download.name };
    let attachment = attachment(&format!("{name}{end}"))?;
    let mut response = Response::new(Body::from_stream(download.pieces(&app)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_DISPOSITION, attachment);
    // What somebody put into a container must never become a page of ours.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
    if let Some(bytes) = bytes {
        headers.insert(header::CONTENT_LENGTH, bytes.into());
    }
    Ok(response)
}

/// A name that a browser saves as: plain for old ones, exact for the others.
fn attachment(name: &str) -> Result<HeaderValue> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ' ');
    let plain: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let encoded = |byte: u8| {
        let is_itself = byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if is_itself { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    let exact: String = name.bytes().map(encoded).collect();
    let text = format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}");
    HeaderValue::from_str(&text).map_err(Error::internal)
}

/// What to write.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WriteQuery {
    /// Absolute, without `..`.
    path: String,
    /// Whether it can be run; as before by default, and not when it is new.
    executable: Option<bool>,
}

/// Writes a file, whose folder must be there. A file that is there is replaced once all of the new one has arrived.
#[utoipa::path(put, path = "/api/v1/containers/{id}/files/content", tag = "files", params(("id" = String, Path, description = "The container's number, or its name among the caller's own"), WriteQuery),
    request_body(content((Vec<u8> = "application/octet-stream"))),
    responses((status = 201, body = FileView), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 413, body = Problem), (status = 422, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem), (status = 507, body = Problem)))]
pub async fn write(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Params(query): Params<WriteQuery>,
    request: Request,
) -> Result<(StatusCode, axum::Json<FileView>)> {
    let limit = app.config.uploads.max_bytes;
    extract::check_length(request.headers(), limit)?;
    let path = path_of(&query.path)?;
    let to = files::admit_file(&app, &caller, &id, &path, query.executable).await?;
    let upload = extract::spool(&app, request.into_body().into_data_stream(), limit).await?;
    let file = files::write(&app, &caller, &to, upload).await?;
    Ok((StatusCode::CREATED, axum::Json(file)))
}

/// Unpacks an archive (zip, tar or tar.gz, recognised by its content) into a folder that is there. All of it is checked
/// first, by the rules of build contexts.
#[utoipa::path(post, path = "/api/v1/containers/{id}/files/archive", tag = "files", params(("id" = String, Path, description = "The container's number, or its name among the caller's own"), PathQuery),
    request_body(content((Vec<u8> = "application/octet-stream"))),
    responses((status = 200, body = UnpackedView), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 413, body = Problem), (status = 422, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem), (status = 507, body = Problem)))]
pub async fn unpack(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Params(query): Params<PathQuery>,
    request: Request,
) -> Result<axum::Json<UnpackedView>> {
    let limit = app.config.uploads.max_bytes;
    extract::check_length(request.headers(), limit)?;
    let path = path_of(&query.path)?;
    let to = files::admit_archive(&app, &caller, &id, &path).await?;
    let upload = extract::spool(&app, request.into_body().into_data_stream(), limit).await?;
    files::unpack(&app, &caller, &to, upload).await.map(axum::Json)
}

/// Makes a folder, and those that it is in. One that is there already stays as it is (200).
#[utoipa::path(post, path = "/api/v1/containers/{id}/files/folders", tag = "files", params(("id" = String, Path, description = "The container's number, or its name among the caller's own"), PathQuery),
    responses((status = 201, body = FileView), (status = 200, body = FileView), (status = 401, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn make_folder(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Params(query): Params<PathQuery>,
) -> Result<Response> {
    let (file, was_there) = files::make_folder(&app, &caller, &id, &path_of(&query.path)?).await?;
    let status = if was_there { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, axum::Json(file)).into_response())
}

/// What to remove.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RemoveQuery {
    /// Absolute, without `..`.
    path: String,
    /// A folder that is not empty, too, with everything in it.
    recursive: Option<bool>,
}

/// Removes a file or a folder; of a link the link. The container must run and have `rm`.
#[utoipa::path(delete, path = "/api/v1/containers/{id}/files", tag = "files", params(("id" = String, Path, description = "The container's number, or its name among the caller's own"), RemoveQuery),
    responses((status = 204), (status = 401, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn remove(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Params(query): Params<RemoveQuery>,
) -> Result<StatusCode> {
    let is_recursive = query.recursive.unwrap_or(false);
    files::remove(&app, &caller, &id, &path_of(&query.path)?, is_recursive).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_add_to_the_header() {
        let shown = |name: &str| attachment(name).unwrap().to_str().unwrap().to_owned();

        assert_eq!(shown("a.txt"), "attachment; filename=\"a.txt\"; filename*=UTF-8''a.txt");
        assert_eq!(shown("ü\";x"), "attachment; filename=\"___x\"; filename*=UTF-8''%C3%BC%22%3Bx");
    }
}
