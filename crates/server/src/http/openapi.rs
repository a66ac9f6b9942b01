//! The description of every route: as a document, and as a page to browse.

use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use utoipa::OpenApi;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};

use crate::error::{Error, Result};

/// The frame of the document; the routes add themselves.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Longshore",
        description = "One private cloud from your Docker machines and Kubernetes clusters. Errors are `application/problem+json` (RFC 9457) with a stable `code`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(wire::problem::Problem, wire::images::Dependents, wire::builds::LogChunk)),
    modifiers(&Security),
    security(("token" = []), ("session" = []))
)]
pub struct Document;

struct Security;

impl utoipa::Modify for Security {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_with(Default::default);
        let token = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A JWT from a login, or an API token `ls_…`"));
        components.add_security_scheme("token", SecurityScheme::Http(token.build()));
        let secret = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
        let secret = secret.description(Some(
            "What the registry shows; a machine that joins shows its invitation in the body instead",
        ));
        components.add_security_scheme("secret", SecurityScheme::Http(secret.build()));
        let cookie = ApiKeyValue::with_description(super::auth::SESSION_COOKIE, "The console's session");
        components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    }
}

/// The whole document as JSON, as `docs/openapi.json` keeps it.
pub fn openapi_json() -> String {
    let mut text = super::router::openapi().to_pretty_json().expect("the document is made of plain values");
    text.push('\n');
    text
}

/// The description of this API.
#[utoipa::path(get, path = "/api/openapi.json", tag = "about", security(()), responses((status = 200, description = "OpenAPI 3.1")))]
pub async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], openapi_json()).into_response()
}

/// A page to browse the description.
#[utoipa::path(get, path = "/api/docs", tag = "about", security(()), responses((status = 200, description = "HTML")))]
pub async fn page() -> Response {
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'";
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(include_str!("assets/docs.html"))).into_response()
}

/// Script and style of that page.
#[utoipa::path(get, path = "/api/docs/{file}", tag = "about", security(()), params(("file" = String, Path)),
    responses((status = 200, description = "A file"), (status = 404, description = "No such file", body = wire::problem::Problem)))]
pub async fn asset(axum::extract::Path(file): axum::extract::Path<String>) -> Result<Response> {
    let (kind, content) = match file.as_str() {
        "docs.js" => ("text/javascript; charset=utf-8", include_str!("assets/docs.js")),
        "docs.css" => ("text/css; charset=utf-8", include_str!("assets/docs.css")),
        _ => return Err(Error::not_found("file", file)),
    };
    Ok(([(header::CONTENT_TYPE, kind)], content).into_response())
}
