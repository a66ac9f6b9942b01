//! The seed's command lines for chart repositories (seed 004), and what they print, word for word.

use std::process::Command;

use crate::support::charts::{ChartServer, index};
use crate::support::server::TestServer;

fn bitnami() -> String {
    index(&[("nginx", &["2.0.0", "1.1.0", "1.0.0"]), ("redis", &["7.0.0"])])
}

/// The program under its other name, without a server: how it ended, what it printed, and what it said.
fn climc(folder: &std::path::Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let program = folder.join("climc");
    if !program.exists() {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_longshore"), &program).unwrap();
    }
    let output = Command::new(&program)
        .args(arguments)
        .env("LONGSHORE_CONFIG_DIR", folder.join("config"))
        .env("LONGSHORE_LANG", "en")
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// As the seed has it, without its remarks.
const CREATE: &str =
    "Usage: climc k8s-repo-create [--public] [--help] [--type {internal,external}] <NAME> <URL>

Create repo

Positional arguments:
    <NAME>
        ID or name of the repo
    <URL>
        Repository url

Optional arguments:
    [--public]
        Make repostitory public
    [--help]
        Print usage and this help message and exit.
    [--type {internal,external}]
        Repository type
";

/// As the seed has it, without its remarks.
const UPDATE: &str = "Usage: climc k8s-repo-update [--url URL] [--help] [--name NAME] <NAME>

Update repo

Positional arguments:
    <NAME>
        ID or name of the repo

Optional arguments:
    [--url URL]
        Repository url to change
    [--help]
        Print usage and this help message and exit.
    [--name NAME]
        Repository name to change
";

/// As the seed has it, which leaves the line with the usage away here.
const LIST: &str = "
List repos

Optional arguments:
    [--offset OFFSET]
        Page offset
    [--order-by ORDER_BY]
        Name of the field to be ordered by
    [--order {desc,asc}]
        List order
    [--details]
        Show more details
    [--search SEARCH]
        Filter results by a simple keyword search
    [--type {internal,external}]
        Helm repostitory type
    [--help]
        Print usage and this help message and exit.
    [--limit LIMIT]
        Page limit
";

/// As the seed has it.
const SYNC: &str = "Usage: climc k8s-repo-sync [--help] <NAME>

Not enough arguments, missing <NAME>
";

#[test]
fn the_seeds_usage_texts_are_printed_word_for_word() {
    let folder = tempfile::tempdir().unwrap();
    let help = |command: &str| {
        let (code, out, said) = climc(folder.path(), &[command, "--help"]);
        assert_eq!((code, said.as_str()), (Some(0), ""), "{command}");
        out
    };

    assert_eq!(help("k8s-repo-create"), CREATE);
    assert_eq!(help("k8s-repo-update"), UPDATE);
    let list = help("k8s-repo-list");
    assert!(list.starts_with("Usage: climc k8s-repo-list ") && list.ends_with(LIST), "{list}");
    assert_eq!(climc(folder.path(), &["k8s-repo-sync"]), (Some(2), String::new(), SYNC.to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seeds_command_lines_work_word_for_word() {
    let server = TestServer::without_engine(&[("outbound.allow", "127.0.0.0/8")]).await;
    let alice = server.account("alice").await;
    let charts = ChartServer::start(&bitnami()).await;
    let program = server.folder().join("climc");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_longshore"), &program).unwrap();
    let (url, token) = (server.url.clone(), alice.token.clone().unwrap());
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(&program)
            .args(arguments)
            .env("LONGSHORE_URL", &url)
            .env("LONGSHORE_TOKEN", &token)
            .env("LONGSHORE_CONFIG_DIR", server.folder().join("config"))
            .env("LONGSHORE_LANG", "en")
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };

    let (code, out, said) =
        run(&["--debug", "k8s-repo-create", "--type", "external", "bitnami", &charts.url]);
    assert_eq!(code, Some(0), "{said}");
    assert!(out.contains("bitnami") && out.contains(&charts.url), "{out}");
    assert!(said.contains("POST") && said.contains("/api/repos") && said.contains("Response: 200"), "{said}");
    assert!(!said.contains(&token), "secrets are not shown");
    let (code, out, said) = run(&["--debug", "k8s-repo-update", "--name", "bitnami-new", "bitnami"]);
    assert!(code == Some(0) && out.contains("bitnami-new"), "{said}");
    let (code, out, said) = run(&["--debug", "k8s-repo-list", "--type", "external"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        out.contains("bitnami-new")
            && out.contains("***  Total: 1 Pages: 1 Limit: 20 Offset: 0 Page: 1  ***"),
        "{out}"
    );
    let (code, out, said) = run(&["--debug", "k8s-repo-sync", "bitnami-new"]);
    assert!(code == Some(0) && out.contains("not_modified"), "{out}{said}");
    let (code, _, said) = run(&["k8s-repo-sync"]);
    assert_eq!(code, Some(2));
    assert_eq!(said, "Usage: climc k8s-repo-sync [--help] <NAME>\n\nNot enough arguments, missing <NAME>\n");
    let (code, out, _) = run(&["k8s-repo-create", "--help"]);
    assert_eq!(code, Some(0));
    assert!(out.starts_with("Usage: climc k8s-repo-create [--public] [--help] [--type {internal,external}] <NAME> <URL>\n\nCreate repo\n\nPositional arguments:\n    <NAME>\n        ID or name of the repo\n"), "{out}");
    let (code, _, said) = run(&["--debug", "k8s-repo-delete", "bitnami-new"]);
    assert_eq!(code, Some(0), "{said}");
    let (code, _, said) = run(&["k8s-repo-show", "bitnami-new"]);
    assert!(code == Some(1) && said.contains("ResourceNotFoundError"), "{said}");
    server.stop().await;
}
