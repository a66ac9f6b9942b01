//! The API's description: committed, complete, and the same as what is served.

use server::http::rights::{Access, RIGHTS};

fn repository_root() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

#[test]
fn the_committed_document_is_the_served_one() {
    let path = repository_root().join("docs/openapi.json");
    let served = server::openapi_json();
    if crate::support::setting("LONGSHORE_UPDATE").is_some() {
        std::fs::write(&path, &served).unwrap();
    }

    let committed = std::fs::read_to_string(path).unwrap_or_default();

    assert!(committed == served, "docs/openapi.json is out of date: `longshore openapi > docs/openapi.json`");
}

#[test]
fn every_route_has_a_row_in_the_rights_matrix_and_every_row_a_route() {
    let document: serde_json::Value = serde_json::from_str(&server::openapi_json()).unwrap();
    let mut served = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item
            .as_object()
            .unwrap()
            .keys()
            .filter(|key| !matches!(key.as_str(), "parameters" | "summary" | "description"))
        {
            served.push((method.to_uppercase(), path.clone()));
        }
    }
    let mut listed: Vec<_> =
        RIGHTS.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
    served.sort();
    listed.sort();

    assert_eq!(listed, served);
}

#[test]
fn routes_without_a_token_are_marked_so_in_the_document() {
    let document: serde_json::Value = serde_json::from_str(&server::openapi_json()).unwrap();
    for (method, path, access) in RIGHTS {
        let security = &document["paths"][path][method.to_lowercase()]["security"];
        let is_marked_open =
            security.as_array().is_some_and(|list| list.iter().all(|entry| entry == &serde_json::json!({})));
        assert_eq!(is_marked_open, *access == Access::Public, "{method} {path}: {security}");
    }
}

#[test]
fn what_routes_refuse_alike_is_described_for_each() {
    let document: serde_json::Value = serde_json::from_str(&server::openapi_json()).unwrap();
    for (method, path, access) in RIGHTS {
        let operation = &document["paths"][path][method.to_lowercase()];
        let says = |status: &str| {
            let is_described = operation["responses"][status].is_object();
            assert!(is_described, "{method} {path} does not describe {status}");
        };
        let is_portal = server::http::compat::ci_portal::is_ours(path);
        let is_seed_000 = operation["tags"][0] == "seed 000";
        if operation["requestBody"].is_object() || ((is_portal || is_seed_000) && *method != "GET") {
            ["400", "413"].into_iter().for_each(says);
        }
        if is_portal && *method != "GET" {
            says("415");
        }
        if path.contains('{') || (is_seed_000 && *access != Access::Public) {
            says("404");
        }
        if *access == Access::Admin {
            says("403");
        }
    }
}

#[test]
fn every_operation_has_a_summary_and_a_unique_id() {
    let document: serde_json::Value = serde_json::from_str(&server::openapi_json()).unwrap();
    let mut ids = std::collections::BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(operation["summary"].is_string(), "{method} {path} has no summary");
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{method} {path} has the id of another: {id}");
        }
    }
}

#[test]
fn every_answer_says_what_it_means_and_every_error_is_a_problem() {
    let document: serde_json::Value = serde_json::from_str(&server::openapi_json()).unwrap();
    for (method, path, access) in RIGHTS {
        let operation = &document["paths"][path][method.to_lowercase()];
        let responses = operation["responses"].as_object().unwrap();
        for (status, response) in responses {
            assert!(!response["description"].as_str().unwrap().is_empty(), "{method} {path} {status}");
            for (kind, content) in response["content"].as_object().into_iter().flatten() {
                if server::http::compat::ci_portal::is_ours(path) {
                    let is_error = content["schema"]["$ref"] == "#/components/schemas/PortalError";
                    assert_eq!(is_error, status.starts_with('4'), "{method} {path} {status}");
                    assert_eq!(kind, "application/json", "{method} {path} {status}");
                    continue;
                }
                // Seed 004 has errors of its own shape.
                let (schema, its_kind) = if path.starts_with("/api/repos") || path.starts_with("/api/charts")
                {
                    ("#/components/schemas/HelmError", "application/json")
                } else {
                    ("#/components/schemas/Problem", "application/problem+json")
                };
                let is_problem = content["schema"]["$ref"] == schema;
                // Readiness is the same whether it is good or not.
                let is_error = status.starts_with(['4', '5']) && *path != "/readyz";
                assert_eq!(is_problem, is_error, "{method} {path} {status}");
                if is_error {
                    assert_eq!(kind, its_kind, "{method} {path} {status}");
                } else {
                    assert_ne!(kind, "application/problem+json", "{method} {path} {status}");
                }
            }
        }
        if !matches!(access, Access::Public | Access::Secret) {
            assert!(
                responses.contains_key("401"),
                "{method} {path} does not say what happens without a token"
            );
        }
    }
}
