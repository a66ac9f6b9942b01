//! The architecture's rules that no compiler keeps: who may name whom.

use std::path::{Path, PathBuf};

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
    found
}

/// Lines of code, without comments.
fn naming(sources: &[(PathBuf, String)], words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in sources {
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if words.iter().any(|word| code.contains(word)) {
                found.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    found
}

const CRATES: [&str; 7] = ["wire", "websocket", "formats", "store", "agent", "server", "longshore"];

#[test]
fn crates_depend_only_along_the_arrows() {
    let allowed: [(&str, &[&str]); 7] = [
        ("websocket", &[]),
        ("wire", &[]),
        ("formats", &["wire"]),
        ("store", &["wire"]),
        ("agent", &["websocket", "wire"]),
        ("server", &["formats", "store", "websocket", "wire"]),
        ("longshore", &["agent", "server", "wire"]),
    ];
    for (name, allowed) in allowed {
        let manifest: toml::Table =
            std::fs::read_to_string(crates().join(name).join("Cargo.toml")).unwrap().parse().unwrap();
        let dependencies = manifest["dependencies"].as_table().unwrap();
        for ours in CRATES {
            assert!(
                !dependencies.contains_key(ours) || allowed.contains(&ours),
                "`{name}` must not depend on `{ours}`"
            );
        }
    }
}

#[test]
fn only_the_store_names_the_database_library_and_only_the_agent_the_engine_library() {
    for (library, home) in [("sea_orm", "store"), ("bollard", "agent")] {
        for name in CRATES.into_iter().filter(|name| *name != home) {
            let found = naming(&sources(&crates().join(name).join("src")), &[library]);
            assert!(found.is_empty(), "{found:#?}");
        }
    }
}

#[test]
fn the_server_never_opens_an_engine_socket() {
    let found = naming(&sources(&crates().join("server/src")), &["docker.sock", "UnixStream", "DOCKER_HOST"]);
    let found: Vec<_> =
        found.into_iter().filter(|line| !line.contains("help") && !line.contains("setting(")).collect();

    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_domain_does_not_know_http_libraries() {
    let found = naming(
        &sources(&crates().join("server/src/domain")),
        &["axum", "hyper", "StatusCode", "HeaderMap", "crate::http"],
    );

    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_module_says_what_it_is_for() {
    for name in CRATES {
        for (path, text) in sources(&crates().join(name).join("src")) {
            assert!(text.starts_with("//!"), "{} does not open with `//!`", path.display());
        }
    }
}

#[test]
fn no_task_is_started_that_nobody_waits_for() {
    let found = naming(&sources(&crates().join("server/src")), &["tokio::spawn(", "tokio::task::spawn("]);

    assert!(found.is_empty(), "{found:#?}");
}
