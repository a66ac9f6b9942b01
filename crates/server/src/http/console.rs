//! The console: the files that `console/` was built into, and a page that says how to build them where they are missing. A
//! release carries them inside the binary; a development build reads them from the folder, so that building the console anew
//! shows at once.

use std::io::Read;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use flate2::read::GzDecoder;

use crate::error::{Error, Result};

/// Nothing from elsewhere, nothing written into the page, and no text that becomes markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
    connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";
/// Files there have their content's digest in their name.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

#[derive(rust_embed::Embed)]
#[folder = "../../console/dist"]
#[allow_missing = true]
struct Files;

/// The console's first page.
#[utoipa::path(get, path = "/", tag = "console", security(()), responses((status = 200, description = "HTML")))]
pub async fn index() -> Response {
    let Some(file) = Files::get("index.html") else {
        return ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(include_str!("assets/console.html")))
            .into_response();
    };
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
    ];
    (headers, file.data).into_response()
}

/// The same: what people type who know that the console's pages are below `/ui/`.
#[utoipa::path(get, path = "/ui", tag = "console", security(()), responses((status = 200, description = "HTML")))]
pub async fn ui() -> Response {
    index().await
}

/// The same, with a slash at its end.
#[utoipa::path(get, path = "/ui/", tag = "console", security(()), responses((status = 200, description = "HTML")))]
pub async fn ui_folder() -> Response {
    index().await
}

/// Any page of the console: the same document, which looks at its address itself. Below `/ui/assets/` are the files that
/// it is made of.
#[utoipa::path(get, path = "/ui/{*path}", tag = "console", security(()), params(("path" = String, Path)),
    responses((status = 200, description = "HTML, or a file of the console"), (status = 404, description = "No such file", body = wire::problem::Problem)))]
pub async fn page(
    super::extract::Path(path): super::extract::Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    if path.starts_with("assets/") { asset(&path, &headers) } else { Ok(index().await) }
}

fn asset(path: &str, headers: &HeaderMap) -> Result<Response> {
    // What gets smaller by it is there packed only.
    let (content, is_packed) = match Files::get(&format!("{path}.gz")) {
        Some(packed) if takes_gzip(headers) => (packed.data, true),
        Some(packed) => {
            let mut content = Vec::new();
            GzDecoder::new(&*packed.data).read_to_end(&mut content).map_err(Error::internal)?;
            (content.into(), false)
        }
        None => (Files::get(path).ok_or_else(|| Error::not_found("file", path))?.data, false),
    };
    let kind = mime_guess::from_path(path).first_or_octet_stream();
    let kind = if kind.type_() == mime_guess::mime::TEXT {
        format!("{kind}; charset=utf-8")
    } else {
        kind.to_string()
    };
    let mut response = (StatusCode::OK, content).into_response();
    let answer = response.headers_mut();
    answer.insert(header::CONTENT_TYPE, kind.parse().map_err(Error::internal)?);
    answer.insert(header::CACHE_CONTROL, header::HeaderValue::from_static(FOR_EVER));
    answer.insert(header::VARY, header::HeaderValue::from_static("accept-encoding"));
    if is_packed {
        answer.insert(header::CONTENT_ENCODING, header::HeaderValue::from_static("gzip"));
    }
    Ok(response)
}

/// Whether gzip is named, and not with a weight of nothing.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|item| {
        let mut parts = item.split(';').map(str::trim);
        let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Ok(1.0), str::parse::<f32>);
        is_gzip && weight.is_ok_and(|weight| weight > 0.0)
    })
}
