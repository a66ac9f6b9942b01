//! Large files that Git LFS keeps beside a repository: real pointers in real commits, and a server that speaks the protocol.

use serde_json::{Value, json};

use crate::support::api::Api;
use crate::support::charts::hex_of;
use crate::support::git::{Access, HttpServer, Repository, SshServer};
use crate::support::runs::{LOOPBACK, ended, log_of, start};
use crate::support::server::TestServer;

/// What is kept of a commit is good whatever becomes of its server; here the server's answers are what is tried.
const FETCHED_EACH_TIME: (&str, &str) = ("pipelines.commit_bytes", "0");

fn pointer(content: &[u8]) -> String {
    let (oid, size) = (hex_of(content), content.len());
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n")
}

/// Puts a file beside the repository.
fn keep(code: &Repository, oid: &str, content: &[u8]) {
    let folder = code.root().join("large-files");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(oid), content).unwrap();
}

async fn run(api: &Api, repo: &Value) -> (Value, String) {
    let run = start(api, repo).await;
    let run = ended(api, &run).await;
    let log = log_of(api, &run).await;
    (run, log)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_files_come_along_when_they_are_wanted_and_only_from_where_they_may() {
    if crate::support::engine().is_none() {
        return;
    }
    let server = TestServer::start_with(&[LOOPBACK, FETCHED_EACH_TIME]).await;
    let alice = server.account("alice").await;
    let (one, two) = (b"the first large file\n".as_slice(), "x".repeat(70_000) + " the second\n");
    let dockerfile = "FROM scratch\nCOPY probe /probe\nCOPY one deep/two /\nRUN [\"/probe\", \"cat\", \"/one\"]\n\
                      RUN [\"/probe\", \"cat\", \"/two\"]\n";
    let code = Repository::hello(dockerfile);
    let pointers = [("one", pointer(one)), ("deep/two", pointer(two.as_bytes()))];
    let files = pointers.each_ref().map(|(name, text)| (*name, text.as_bytes()));
    code.commit(&[&files[..], &[("zlast", b"an ordinary file\n")]].concat());
    keep(&code, &hex_of(one), one);
    keep(&code, &hex_of(two.as_bytes()), two.as_bytes());
    let login = Some(("robot".to_owned(), "CANARY-lfs".to_owned()));
    let git_server = HttpServer::start(code.root(), Access { login, ..Access::default() }).await;
    let add = async |name: &str, address: &str, lfs: bool| {
        let url = format!("{}/app.git", address.replace("http://", "http://robot:CANARY-lfs@"));
        let body = json!({"repo_name": name, "url": url, "options": {"lfs": lfs}});
        alice.post("/api/v1/git-repos", body).await.expect(201).json()
    };

    let with = add("with", &git_server.url, true).await;
    let (ended, log) = run(&alice, &with).await;
    assert_eq!(ended["state"], "succeeded", "{ended:#}\n{log}");
    assert!(log.contains("the first large file") && log.contains(" the second"), "{log}");
    let without = add("without", &git_server.url, false).await;
    let (ended, log) = run(&alice, &without).await;
    assert_eq!(ended["state"], "succeeded", "{ended:#}\n{log}");
    assert!(log.contains("oid sha256:") && !log.contains("the first large file"), "{log}");

    // What is another file than the pointer says, what is not there, and what lies where nobody may go.
    keep(&code, &hex_of(one), b"the first large fils\n");
    let (other, _) = run(&alice, &with).await;
    std::fs::remove_file(code.root().join("large-files").join(hex_of(one))).unwrap();
    let (missing, _) = run(&alice, &with).await;
    keep(&code, &hex_of(one), one);
    let elsewhere = HttpServer::start(code.root(), Access::default()).await;
    let mut refused = Vec::new();
    for (name, place) in
        [("inside", "http://169.254.169.254/latest".to_owned()), ("file", "file:///etc".to_owned())]
    {
        let large_files = Some(place);
        let login = Some(("robot".to_owned(), "CANARY-lfs".to_owned()));
        let bad = HttpServer::start(code.root(), Access { login, large_files, ..Access::default() }).await;
        let repo = add(name, &bad.url, true).await;
        refused.push(run(&alice, &repo).await.0);
    }
    for (run, said) in [
        (&other, "another file"),
        (&missing, "does not have it"),
        (&refused[0], "inside a network"),
        (&refused[1], "not valid"),
    ] {
        assert_eq!((&run["state"], &run["reason"]), (&json!("failed"), &json!("clone_failed")), "{run:#}");
        let message = run["message"].as_str().unwrap();
        assert!(message.contains("the large file `") && message.contains(said), "{run:#}");
        assert!(!message.contains("CANARY"), "{message}");
    }

    // They may lie at another server, which never hears what opens the first.
    let large_files = Some(format!("{}/large-files", elsewhere.url));
    let login = Some(("robot".to_owned(), "CANARY-lfs".to_owned()));
    let pointing = HttpServer::start(code.root(), Access { login, large_files, ..Access::default() }).await;
    let repo = add("elsewhere", &pointing.url, true).await;
    let (ended, log) = run(&alice, &repo).await;
    assert_eq!(ended["state"], "succeeded", "{ended:#}\n{log}");
    let asked = elsewhere.requests.lock().unwrap().clone();
    assert!(asked.len() == 2 && asked.iter().all(|(_, authorisation)| authorisation.is_none()), "{asked:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_ssh_the_server_says_where_they_are_and_that_place_is_held_to_the_rule() {
    if crate::support::engine().is_none() {
        return;
    }
    let server = TestServer::start_with(&[LOOPBACK, FETCHED_EACH_TIME]).await;
    let alice = server.account("alice").await;
    let large = b"the large file\n".as_slice();
    let code = Repository::hello("FROM scratch\nCOPY probe large /\nRUN [\"/probe\", \"cat\", \"/large\"]\n");
    code.commit(&[("large", pointer(large).as_bytes())]);
    keep(&code, &hex_of(large), large);
    let login = Some(("robot".to_owned(), "CANARY-lfs".to_owned()));
    let http = HttpServer::start(code.root(), Access { login, ..Access::default() }).await;
    let ssh = SshServer::start();
    let root = code.root().display();
    let body = json!({"repo_name": "app", "url": format!("{}{root}/app.git", ssh.url), "ssh_key": ssh.key,
                      "options": {"lfs": true}});
    let repo = alice.post("/api/v1/git-repos", body).await.expect(201).json();
    let place = format!("{}/app.git/info/lfs", http.url);
    // `robot:CANARY-lfs`
    let header = json!({"Authorization": "Basic cm9ib3Q6Q0FOQVJZLWxmcw==", "X-By-Ssh": "yes"});

    ssh.answer_large_files(&json!({"href": place, "header": header, "expires_in": 60}));
    let (ended, log) = run(&alice, &repo).await;

    assert_eq!(ended["state"], "succeeded", "{ended:#}\n{log}");
    assert!(log.contains("the large file"), "{log}");
    assert_eq!(ssh.asked(), format!("git-lfs-authenticate '{root}/app.git' download\n"));
    for (answer, said) in [
        (json!({"href": "http://169.254.169.254/latest", "header": header}), "inside a network"),
        (json!({"href": "file:///etc/passwd"}), "not valid"),
        (json!({"href": place, "header": {"Host": "elsewhere"}}), "headers that are refused"),
        (json!({"place": "CANARY"}), "something else"),
    ] {
        ssh.answer_large_files(&answer);
        let (run, _) = run(&alice, &repo).await;
        assert_eq!((&run["state"], &run["reason"]), (&json!("failed"), &json!("clone_failed")), "{run:#}");
        let message = run["message"].as_str().unwrap();
        assert!(message.contains("the large file `large`") && message.contains(said), "{message}");
        assert!(!message.contains("CANARY"), "{message}");
    }
    server.stop().await;
}
