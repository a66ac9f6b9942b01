//! `longshore deploy` in the hands of somebody new: what it says while one waits, and when something was written wrongly.

use std::process::Command;

use serde_json::json;

use crate::support::room::{Room, SERVICE, deployment};

/// What a command printed: its exit status, and the words.
fn longshore(room: &Room, words: &[&str]) -> (Option<i32>, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_longshore"))
        .args(words)
        .env_clear()
        .env("LONGSHORE_URL", &room.henry.url)
        .env("LONGSHORE_TOKEN", room.henry.token.as_deref().unwrap())
        .env("LONGSHORE_CONFIG_DIR", "/nonexistent")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (done.status.code(), text(&done.stdout) + &text(&done.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deploying_waits_until_it_runs_or_says_why_it_does_not() {
    let Some(room) = Room::small().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.yaml");
    let deploy = |text: &str, wait: &str| {
        std::fs::write(&file, text).unwrap();
        longshore(&room, &["deploy", "-f", file.to_str().unwrap(), wait])
    };

    let (code, said) = deploy(SERVICE, "--wait");
    assert_eq!((code, said.contains("service/web is ready")), (Some(0), true), "{said}");
    // Somebody who asks for no pod has all of them.
    let none = deployment("nowhere.invalid/x:1", "").replace("replicas: 1", "replicas: 0");
    let (code, said) = deploy(&none, "--wait=2m");
    assert_eq!((code, said.contains("deployment/web is ready")), (Some(0), true), "{said}");
    let lost = deployment("10.241.0.1:1/nobody/nothing:1", "");
    let (code, said) = deploy(&lost, "--wait");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("deployment/web is not ready") && said.contains("cannot be pulled"), "{said}");
    assert!(said.contains("longshore workload show deployment/web --namespace"), "{said}");
    // A deployment is not its pods, and of a first revision there is nothing before.
    for (command, words) in [
        (&["workload", "logs", "test", "web"][..], "`longshore workload pods test`"),
        (&["workload", "undo", "service/web"], "nothing before revision 1 of `web`"),
    ] {
        let (code, said) = longshore(&room, command);
        assert_eq!((code, said.contains(words)), (Some(1), true), "{command:?}: {said}");
    }
    room.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_new_writes_wrongly_is_said_in_plain_words() {
    let Some(room) = Room::small().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.yaml");
    let plain = deployment("nowhere.invalid/x:1", "");
    let own = format!("{}/app:v9", room.name);

    for (text, words) in [
        (plain.replace("  replicas", "\treplicas"), &["tab"][..]),
        (plain.replace("kind: Deployment", "kind: Deploymnt"), &["`Deploymnt`", "Deployment"]),
        (plain.replace("apps/v1", "v1"), &["apiVersion", "`apps/v1`"]),
        (plain.replace("replicas: 1", "replica: 1"), &["spec.replica", "replicas"]),
        (deployment(&own, ""), &["there is no image", own.as_str()]),
        (plain.replace("metadata: {name: web,", "metadata: {name: web, namespace: other,"), &["`other`"]),
        ("hello".to_owned(), &["kind"]),
    ] {
        std::fs::write(&file, &text).unwrap();
        let (code, said) = longshore(&room, &["deploy", "-f", file.to_str().unwrap()]);
        assert_eq!(code, Some(1), "{text}\n{said}");
        for word in words {
            assert!(said.contains(word), "`{word}` is not in: {said}");
        }
    }
    for (command, code, words) in [
        (&["workload", "show", "web"][..], 2, "deployment/web"),
        (&["workload", "show", "pod/web"], 2, "`deployment`"),
        (&["workload", "show", "deploy/web"], 1, "longshore workload list"),
        (&["workload", "pods", "other"], 1, "other"),
        (&["kubeconfig", "other"], 1, "other"),
    ] {
        let (found, said) = longshore(&room, command);
        assert_eq!((found, said.contains(words)), (Some(code), true), "{command:?}: {said}");
    }
    assert_eq!(room.henry.get("/api/v1/workloads").await.expect(200).json()["total"], json!(0));
    room.close().await;
}
