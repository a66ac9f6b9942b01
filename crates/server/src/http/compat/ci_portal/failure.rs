//! Errors as Django REST Framework writes them: `{"field": ["…"]}` with 400 for what is wrong with a field, `{"detail": "…"}` for
//! everything else.

use axum::http::{Method, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use wire::problem::Problem;

/// What is wrong: a list of sentences per field, or `detail` alone.
#[derive(Debug, Serialize, ToSchema)]
pub struct PortalError {
    /// What is wrong with the request as a whole.
    detail: Option<String>,
    /// What is wrong with a field, under its name.
    #[serde(flatten)]
    fields: std::collections::BTreeMap<String, Vec<String>>,
}

/// The domain's name of a field, and the seed's.
type Names = &'static [(&'static str, &'static str)];

const REPO: Names = &[("url", "repo"), ("kind", "type"), ("description", "desc"), ("account", "user")];
const EVENT: Names = &[("kind", "type"), ("description", "Desc"), ("git_repo", "repo")];
const JOB: Names = &[
    ("kind", "type"),
    ("description", "desc"),
    ("registry_address", "REGISTORY_ADD"),
    ("registry_name", "REGISTRY_NAME"),
    ("registry_password", "REGISTRY_PASS"),
    ("image_repo", "IMAGE_REPO"),
    ("image_name", "IMAGE_NAME"),
    ("image_tag", "IMAGE_TAG"),
    ("repo_path", "REPO_PATH"),
    ("repo_dockerfile", "REPO_DOCKERFILE"),
    ("build_path", "BUILD_PATH"),
];
const LOG: Names = &[("repo_name", "Repo_name"), ("runner_uuid", "Runner_uuid")];

fn names(path: &str) -> Option<Names> {
    match path.trim_start_matches('/').split('/').next()? {
        "repo" => Some(REPO),
        "event" => Some(EVENT),
        "job" => Some(JOB),
        "log" => Some(LOG),
        "check" => Some(&[]),
        _ => None,
    }
}

/// Whether a route, as the router names it, answers in these shapes.
pub fn is_ours(path: &str) -> bool {
    names(path).is_some()
}

/// A failure of one of these routes.
pub fn failure(method: &Method, path: &str, problem: &Problem) -> (StatusCode, Value) {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let names = names(path).unwrap_or_default();
    let seed_name = |field: &str| {
        names.iter().find(|(ours, _)| *ours == field).map_or(field, |(_, seed)| *seed).to_owned()
    };
    // Sentences name a field as the domain does.
    let in_seed_names =
        |field: &str, text: &str| text.replace(&format!("`{field}`"), &format!("`{}`", seed_name(field)));
    if let Some(errors) = problem.extra.get("errors").and_then(Value::as_object) {
        let sentences = |field: &str, list: &Value| -> Value {
            let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
            list.iter().filter_map(Value::as_str).map(|text| in_seed_names(field, text)).collect()
        };
        let fields: Map<String, Value> =
            errors.iter().map(|(field, list)| (seed_name(field), sentences(field, list))).collect();
        return (StatusCode::BAD_REQUEST, Value::Object(fields));
    }
    let is_about_value = matches!(status, StatusCode::UNPROCESSABLE_ENTITY | StatusCode::BAD_REQUEST);
    if let Some(field) = &problem.field {
        if is_about_value {
            return (
                StatusCode::BAD_REQUEST,
                json!({ seed_name(field): [in_seed_names(field, &problem.detail)] }),
            );
        }
        if problem.code == "exists" {
            let sentence = format!("gitstat with this {} already exists.", field.replace('_', " "));
            return (StatusCode::BAD_REQUEST, json!({ seed_name(field): [sentence] }));
        }
    }
    let detail = match status {
        StatusCode::NOT_FOUND if problem.code != "invalid_page" => "Not found.".to_owned(),
        StatusCode::METHOD_NOT_ALLOWED => format!("Method \"{method}\" not allowed."),
        StatusCode::UNAUTHORIZED if problem.code == "unauthenticated" => {
            "Authentication credentials were not provided.".to_owned()
        }
        _ => match &problem.hint {
            Some(hint) => format!("{}; {hint}", problem.detail),
            None => problem.detail.clone(),
        },
    };
    let status = match (status, problem.code.as_str()) {
        (_, "unknown_content_type") => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        (StatusCode::UNPROCESSABLE_ENTITY, _) => StatusCode::BAD_REQUEST,
        (status, _) => status,
    };
    (status, json!({ "detail": detail }))
}
