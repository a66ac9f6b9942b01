//! The description of every route: as a document, and as a page to browse.

use axum::http::{Method, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{self, RefOr};

use super::extract::Path;
use super::rights;
use crate::error::{Error, Result};

/// The frame of the document; the routes add themselves.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Longshore",
        description = "One private cloud from your Docker machines and Kubernetes clusters. Errors are `application/problem+json` (RFC 9457) with a stable `code`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(super::compat::helm_repos::HelmError, wire::problem::Problem, wire::images::Dependents, wire::builds::LogChunk)),
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

/// The kinds of bodies: of answers, and of errors.
const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";

/// Fills in what every route has in common, and what the routes themselves therefore do not repeat.
pub fn complete(document: &mut utoipa::openapi::OpenApi) {
    for (path, item) in &mut document.paths.paths {
        let portal = super::compat::ci_portal::is_ours(path);
        let is_seed_004 = super::compat::helm_repos::is_ours(path);
        let problem = || match (portal, is_seed_004) {
            (true, _) => portal_error(),
            (_, true) => helm_error(),
            _ => problem(),
        };
        for (method, operation) in operations(item) {
            name(method, operation);
            let needs_token = operation.security.is_none();
            let is_seed_000 = is_tagged(operation, "seed 000");
            let is_admins = Method::from_bytes(method.to_uppercase().as_bytes())
                .is_ok_and(|method| rights::access(&method, path) == Some(rights::Access::Admin));
            // The seeds' routes read forms and JSON wherever there may be a body.
            let has_body = operation.request_body.is_some() || ((portal || is_seed_000) && method != "get");
            let reads = operation.request_body.is_some()
                || operation.parameters.as_ref().is_some_and(|list| !list.is_empty());
            let responses = &mut operation.responses.responses;
            if needs_token {
                responses.entry("401".to_owned()).or_insert_with(problem);
            }
            let mut add = |status: &str| {
                responses.entry(status.to_owned()).or_insert_with(problem);
            };
            if has_body {
                ["400", "413"].into_iter().for_each(&mut add);
            }
            if has_body && portal {
                add("415");
            }
            // An admin may name an account that there is not, anybody a path that cannot be one.
            if (is_seed_000 && needs_token) || path.contains('{') {
                add("404");
            }
            if is_admins {
                add("403");
            }
            if reads && !portal && !is_seed_004 {
                responses.entry("422".to_owned()).or_insert_with(problem);
            }
            for (status, response) in responses {
                if let RefOr::T(response) = response {
                    describe(status, response);
                }
            }
        }
    }
}

fn is_tagged(operation: &Operation, tag: &str) -> bool {
    operation.tags.iter().flatten().any(|one| one == tag)
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let all = [
        ("get", &mut item.get),
        ("post", &mut item.post),
        ("put", &mut item.put),
        ("patch", &mut item.patch),
        ("delete", &mut item.delete),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// Names an operation for generators of clients: its noun, what it does, and the method where two do the same.
fn name(method: &str, operation: &mut Operation) {
    let noun =
        operation.tags.as_ref().and_then(|tags| tags.first()).map_or("", String::as_str).replace(' ', "_");
    let verb = operation.operation_id.take().unwrap_or_default();
    operation.operation_id = Some(format!("{noun}_{verb}_{method}"));
}

fn problem_schema() -> openapi::Ref {
    openapi::Ref::from_schema_name("Problem")
}

fn helm_error() -> RefOr<openapi::Response> {
    let content = openapi::Content::new(Some(openapi::Ref::from_schema_name("HelmError")));
    openapi::ResponseBuilder::new().content(JSON, content).build().into()
}

fn problem() -> RefOr<openapi::Response> {
    let content = openapi::Content::new(Some(problem_schema()));
    let response = openapi::ResponseBuilder::new().content(JSON, content);
    response.build().into()
}

/// What seed 002's routes answer instead.
fn portal_error() -> RefOr<openapi::Response> {
    let schema = openapi::Ref::from_schema_name("PortalError");
    openapi::ResponseBuilder::new().content(JSON, openapi::Content::new(Some(schema))).build().into()
}

/// Says what a status means where the route does not, and of which kind the body of an error is.
fn describe(status: &str, response: &mut openapi::Response) {
    if response.description.is_empty() {
        let meaning = status.parse().ok().and_then(|code| StatusCode::from_u16(code).ok());
        let meaning = meaning.and_then(|code| code.canonical_reason()).unwrap_or_default();
        meaning.clone_into(&mut response.description);
    }
    let is_problem = |content: &RefOr<openapi::Content>| match content {
        RefOr::T(openapi::Content { schema: Some(RefOr::Ref(schema)), .. }) => *schema == problem_schema(),
        _ => false,
    };
    if response.content.get(JSON).is_some_and(is_problem)
        && let Some(content) = response.content.shift_remove(JSON)
    {
        response.content.insert(PROBLEM.to_owned(), content);
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
pub async fn asset(Path(file): Path<String>) -> Result<Response> {
    let (kind, content) = match file.as_str() {
        "docs.js" => ("text/javascript; charset=utf-8", include_str!("assets/docs.js")),
        "docs.css" => ("text/css; charset=utf-8", include_str!("assets/docs.css")),
        _ => return Err(Error::not_found("file", file)),
    };
    Ok(([(header::CONTENT_TYPE, kind)], content).into_response())
}
