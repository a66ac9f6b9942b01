//! The console. Until it exists, a page that says where things are, in both languages.

use axum::http::header;
use axum::response::{Html, IntoResponse, Response};

const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'";

/// The console's first page.
#[utoipa::path(get, path = "/", tag = "console", security(()), responses((status = 200, description = "HTML")))]
pub async fn index() -> Response {
    ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(include_str!("assets/console.html"))).into_response()
}

/// Any page of the console: the same document, which looks at its address itself.
#[utoipa::path(get, path = "/ui/{*path}", tag = "console", security(()), params(("path" = String, Path)), responses((status = 200, description = "HTML")))]
pub async fn page() -> Response {
    index().await
}
