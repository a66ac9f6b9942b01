//! The command line from outside: its words, its exit status, and what it says to a server.

mod fake;
mod views;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use axum::response::{IntoResponse as _, Response};
use fake::{Seen, Server};
use flate2::read::GzDecoder;
use serde_json::{Value, json};

/// Longest wait for anything.
const DEADLINE: Duration = Duration::from_mins(1);

/// A person with a folder of their own, on a machine without Docker.
struct Person {
    folder: tempfile::TempDir,
}

/// What a command did.
struct Done {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Person {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.folder.path())
            .env("PATH", self.folder.path())
            .env("LONGSHORE_CONFIG_DIR", self.folder.path().join("config"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Done {
        finish(self.command(arguments))
    }

    /// Runs as somebody whose token is in the environment.
    fn run_at(&self, server: &Server, arguments: &[&str]) -> Done {
        finish(self.command_at(server, arguments))
    }

    fn command_at(&self, server: &Server, arguments: &[&str]) -> Command {
        let mut command = self.command(arguments);
        command.env("LONGSHORE_URL", &server.url).env("LONGSHORE_TOKEN", "ls_token");
        command
    }

    fn run_with_stdin(&self, arguments: &[&str], input: &str) -> Done {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that fails early does not read its input.
        child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
        output(child)
    }

    fn credentials(&self) -> PathBuf {
        self.folder.path().join("config/credentials.json")
    }

    /// A folder with a Dockerfile.
    fn code(&self) -> String {
        let code = self.folder.path().join("code");
        fs::create_dir_all(code.join("src")).unwrap();
        fs::create_dir_all(code.join(".git")).unwrap();
        fs::write(code.join("Dockerfile"), "FROM scratch\n").unwrap();
        fs::write(code.join("src/main.c"), "int main(void) { return 0; }\n").unwrap();
        fs::write(code.join(".git/HEAD"), "ref: refs/heads/main\n").unwrap();
        fs::write(self.folder.path().join("app.yaml"), "{}\n").unwrap();
        code.to_str().unwrap().to_owned()
    }
}

fn finish(mut command: Command) -> Done {
    output(command.spawn().unwrap())
}

fn output(child: Child) -> Done {
    let output = child.wait_with_output().unwrap();
    Done {
        code: output.status.code().expect("the command was not killed"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Waits for something to become true.
fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_true() {
        assert!(begin.elapsed() < DEADLINE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// An address where nobody listens.
fn closed_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// A server on which everything works.
fn platform() -> Server {
    Server::start(answer_as_platform)
}

fn answer_as_platform(seen: &Seen) -> Response {
    let build = format!("/api/v1/builds/{}", views::BUILD);
    let path = seen.path.strip_prefix(&build).map_or(seen.path.clone(), |rest| format!("BUILD{rest}"));
    match (seen.method.as_str(), path.as_str()) {
        ("GET", "/api/auth/params") => fake::ok(
            &json!({ "password_transform": "sha256-hex", "registration": "open", "reauth_minutes": 10 }),
        ),
        (
            "POST",
            "/api/auth/register" | "/api/auth/logout" | "/api/user/set_password" | "/api/user/set_profile",
        ) => fake::ok(&json!({})),
        ("POST", "/api/auth/login") => fake::ok(&json!({ "access_token": "aaa.bbb.ccc" })),
        ("GET", "/api/v1/me") => fake::ok(&views::account("alice")),
        ("GET", "/api/v1/accounts") => fake::page(&[views::account("alice"), views::account("bob")]),
        ("POST", "/api/v1/accounts") | ("GET" | "PATCH", "/api/v1/accounts/bob") => {
            fake::ok(&views::account("bob"))
        }
        ("GET", "/api/v1/tokens") => fake::page(&[views::token()]),
        ("POST", "/api/v1/tokens") => {
            fake::ok(&json!({ "id": views::TOKEN, "name": "ci", "token": "ls_new", "expires_at": null }))
        }
        ("GET", "/api/v1/audit") => fake::page(&[views::audit()]),
        ("GET", "/api/v1/charts") => fake::page(&[views::chart()]),
        ("POST", "/api/v1/charts") => fake::raw_json(201, &views::chart().to_string()),
        ("GET", "/api/v1/charts/bitnami/nginx/versions") => fake::page(&[json!({
            "version": "1.1.0", "app_version": "1.27", "created_at": views::ago(3600), "digest": "a".repeat(64), "urls": ["nginx-1.1.0.tgz"], "deprecated": false,
        })]),
        ("GET", "/api/v1/charts/bitnami/nginx/versions/latest") => fake::ok(&json!({
            "repo_id": views::TOKEN, "repo": "bitnami", "name": "nginx", "version": "1.1.0", "app_version": "1.27", "description": "Serves pages",
            "type": "application", "kube_version": ">=1.25", "readme": "# nginx", "values": "replicas: 1", "schema": null,
            "dependencies": [{ "name": "common", "version": "2.x.x", "repository": null, "condition": null }],
            "files": [{ "path": "Chart.yaml", "bytes": 10 }], "digest": "a".repeat(64), "digest_check": "index", "digest_changed": false,
        })),
        ("GET", "/api/v1/charts/bitnami/nginx/versions/latest/provenance") => fake::ok(&json!({
            "state": "verified", "is_required": true, "signed_by": ["Signer <signer@example.org>"], "fingerprint": "AB".repeat(20), "message": null,
        })),
        ("PATCH", "/api/v1/chart-repos/bitnami") => fake::ok(&json!({ "name": "bitnami" })),
        ("GET", "/api/v1/chart-keys") => fake::page(&[views::chart_key()]),
        ("POST", "/api/v1/chart-keys") => fake::raw_json(201, &json!([views::chart_key()]).to_string()),
        ("GET", "/api/releases") => fake::page(&[views::release()]),
        ("GET", "/api/releases/web") => fake::ok(&views::release_status()),
        ("GET", path) if path == format!("/api/releases/{}", views::BUILD) => fake::ok(&views::release_status()),
        ("POST", "/api/releases" | "/api/releases/web/upgrade" | "/api/releases/web/rollback")
            if seen.json()["dry_run"] == true =>
        {
            fake::ok(&views::release_plan())
        }
        (
            "POST",
            "/api/releases"
            | "/api/releases/web/upgrade"
            | "/api/releases/web/rollback"
            | "/api/releases/web/recover",
        )
        | ("DELETE", "/api/releases/web") => fake::raw_json(202, &views::release().to_string()),
        ("GET", "/api/releases/web/history") => fake::page(&[json!({
            "revision": 2, "status": "deployed", "chart": "nginx-1.1.0", "app_version": "1.27",
            "description": "Upgrade complete", "updated": "2026-01-02T03:04:05.678Z",
        })]),
        ("GET", "/api/releases/web/values") => {
            fake::ok(&json!({ "values": "replicas: 2\n", "values_json": { "replicas": 2 } }))
        }
        ("GET", "/api/releases/web/manifest") => fake::ok(
            &json!({ "manifest": "---\napiVersion: v1\n\u{1b}[2J", "hooks": "---\nkind: Job\n", "notes": null }),
        ),
        ("GET", "/api/release-operations") => fake::page(&[views::release_operation("install", "running")]),
        ("POST", path) if path.starts_with("/api/release-operations/") => {
            fake::raw_json(202, &views::release_operation("install", "running").to_string())
        }
        ("GET", path) if path.starts_with("/api/release-operations/") => {
            let event = |name: &str, value: &Value| format!("event: {name}\ndata: {value}\n\n");
            let state = event("state", &views::release_operation("install", "running"));
            let ended = event("end", &views::release_operation("install", "succeeded"));
            fake::events(&[state, fake::log_event(0, "creating 2 resource(s)\n"), ended], false)
        }
        ("GET", "/api/v1/images") => {
            fake::page(&[views::image(12, "alice/app:v1"), views::image(3, "public/base:1")])
        }
        ("POST", "/api/v1/registry/collections") => {
            fake::raw_json(202, &views::collection("queued", "waiting").to_string())
        }
        ("POST", path) if path.starts_with("/api/v1/registry/collections/") => {
            fake::ok(&views::collection("cancelled", "done"))
        }
        ("GET", "/api/v1/registry/collections") => fake::page(&[views::collection("succeeded", "done")]),
        ("GET", path) if path.starts_with("/api/v1/registry/collections/") => {
            fake::ok(&views::collection("succeeded", "done"))
        }
        ("GET", "/api/v1/volumes") => fake::page(&[views::volume()]),
        ("GET", "/api/v1/volumes/5") => fake::ok(&views::volume()),
        ("GET" | "PATCH", "/api/v1/images/12") | ("POST", "/api/v1/images/12/tags") => {
            fake::ok(&views::image(12, "alice/app:v1"))
        }
        ("GET", "/api/v1/images/12/machines") => {
            fake::page(&[views::held("m1", "held"), views::held("m2", "pulling"), views::held("m3", "failed")])
        }
        ("PUT", "/api/v1/images/12/machines/m1") => fake::ok(&views::held("m1", "wanted")),
        ("GET", "/api/v1/images/12/dependents") => fake::ok(
            &json!({ "images": [{ "id": 13, "name": "alice/app:v2" }], "containers": [{ "id": 5, "name": null }] }),
        ),
        ("GET", "/api/v1/images/12/tree") => fake::ok(&views::image_tree()),
        ("GET", "/api/v1/repositories") => fake::page(&[
            json!({ "owner": "alice", "repo": "app", "tags": 2, "updated_at": views::ago(3600) }),
        ]),
        ("DELETE", "/api/v1/machines/m1") => {
            fake::ok(&json!({ "machine_id": "m1", "stays": "its engine keeps the images that it pulled" }))
        }
        ("GET", "/api/v1/clusters") => fake::page(&[views::cluster()]),
        ("POST", "/api/v1/clusters") => fake::raw_json(201, &views::cluster().to_string()),
        ("GET" | "PATCH", "/api/v1/clusters/lab") => fake::ok(&views::cluster()),
        ("GET", "/api/v1/nodes") => fake::ok(&json!([views::node()])),
        ("GET", "/api/v1/namespaces") => fake::page(&[views::namespace()]),
        ("POST", "/api/v1/namespaces") => fake::raw_json(201, &views::namespace().to_string()),
        ("GET", "/api/v1/namespaces/test") => fake::ok(&views::namespace()),
        ("POST", "/api/v1/namespaces/test/kubeconfig") => fake::raw_json(
            201,
            &json!({ "kubeconfig": "{}", "namespace": "alice-test", "expires_at": views::ago(-28_800) }).to_string(),
        ),
        ("GET", "/api/v1/namespaces/test/quota") => {
            fake::ok(&json!([{ "resource": "pods", "used": "3", "limit": "20" }]))
        }
        ("GET", "/api/v1/namespaces/test/events") => fake::ok(&json!([{
            "at": "2026-01-02T03:04:05Z", "is_warning": true, "reason": "BackOff", "message": "it fails\u{1b}[2J",
            "kind": "Pod", "name": "web-1", "count": 7,
        }])),
        ("GET", "/api/v1/namespaces/test/pods") => fake::ok(&json!([views::pod()])),
        ("GET", "/api/v1/namespaces/test/pods/web-1/log") => "hello\n".into_response(),
        ("POST", "/api/v1/namespaces/test/pods/web-1/terminal-tickets") => fake::raw_json(
            201,
            &json!({ "ticket": "t", "expires_at": views::ago(-30), "path": "/api/v1/namespaces/test/pods/web-1/terminal?ticket=t" })
                .to_string(),
        ),
        ("GET", "/api/v1/workloads") => fake::page(&[views::workload()]),
        ("POST", "/api/v1/workloads") => fake::ok(&json!([views::applied()])),
        ("POST", path) if path.ends_with("/rollback") => fake::ok(&views::applied()),
        ("GET", path) if path.ends_with("/revisions") => fake::ok(&json!([
            { "revision": 2, "file": "web.yaml", "manifest": "kind: Deployment", "created_at": views::ago(60) },
        ])),
        ("GET" | "POST", path) if path.starts_with("/api/v1/workloads/") => fake::ok(&views::workload()),
        ("GET", "/api/v1/settings") => fake::ok(&json!([
            views::setting("listen", "127.0.0.1:8080", &[]),
            views::setting("auth.registration", "open", &["open", "closed"]),
        ])),
        ("PUT" | "DELETE", "/api/v1/settings/auth.registration") => {
            fake::ok(&views::setting("auth.registration", "closed", &["open", "closed"]))
        }
        ("DELETE", _) | ("POST", "/api/v1/machines/m1/release") => {
            axum::http::StatusCode::NO_CONTENT.into_response()
        }
        ("POST", "/api/v1/builds") => fake::raw_json(202, &views::build("queued", "waiting").to_string()),
        ("GET", "/api/v1/builds") => fake::page(&[views::succeeded(0), views::failed(0)]),
        ("GET", "BUILD") => fake::ok(&views::failed(9)),
        ("POST", "BUILD/cancel") => fake::ok(&views::build("running", "building")),
        ("GET", "BUILD/log") if seen.header("accept") == Some("text/event-stream") => fake::events(
            &[fake::log_event(0, "Step 1/1 : FROM scratch\n"), fake::state_event(&views::succeeded(24))],
            false,
        ),
        ("GET", "BUILD/log") => "the log\n".into_response(),
        ("GET", "/api/v1/containers") => fake::page(&[views::container("running")]),
        ("POST", "/api/v1/containers") => fake::raw_json(201, &views::container("pending").to_string()),
        ("PATCH", "/api/v1/containers/web") | ("GET", "/api/v1/containers/31" | "/api/v1/containers/web") => fake::ok(&views::container("running")),
        ("POST", "/api/v1/containers/web/save") => {
            fake::raw_json(202, &views::build("queued", "waiting").to_string())
        }
        ("POST", path) if path.starts_with("/api/v1/containers/web/") && !path.ends_with("-tickets") => {
            fake::ok(&views::container("running"))
        }
        ("GET", "/api/v1/containers/web/log") => "hello\n".into_response(),
        ("GET", "/api/v1/containers/web/save") => fake::ok(&views::save_preview()),
        ("GET", "/api/v1/containers/web/stats") => {
            let sample = json!({
                "at": views::ago(0), "cpu_millis": 1500, "memory_bytes": 50 << 20, "memory_limit_bytes": 512 << 20,
                "network_received_bytes": 2048, "network_sent_bytes": 100, "disk_read_bytes": 0,
                "disk_written_bytes": 4096, "pids": 3,
            });
            if seen.header("accept") == Some("text/event-stream") {
                let sample = format!("event: sample\ndata: {sample}\n\n");
                let (first, end) = ("event: history\ndata: []\n\n", "event: end\ndata: {}\n\n");
                fake::events(&[first.to_owned(), sample.clone(), sample, end.to_owned()], false)
            } else {
                fake::ok(&json!({ "state": "running", "history": [sample], "current": sample }))
            }
        }
        ("GET", "/api/v1/containers/web/files") => {
            let file = |name: &str, kind: &str, bytes: u64, target: Option<&str>| {
                json!({
                    "name": name, "kind": kind, "size_bytes": bytes, "mode": "644", "modified_at": views::ago(120),
                    "target": target,
                })
            };
            fake::ok(&json!({
                "path": "/srv", "file": file("srv", "folder", 0, None), "total": 3, "limit": 500, "offset": 0,
                "is_complete": false, "data": [
                    file("app", "folder", 0, None), file("data.bin", "file", 2048, None),
                    file("now", "link", 0, Some("/srv/app")),
                ],
            }))
        }
        ("POST", "/api/v1/containers/web/files/archive") => fake::ok(&json!({ "entries": 2, "bytes": 41 })),
        ("GET", "/api/v1/containers/web/events") => fake::ok(&json!([
            { "at": views::ago(60), "state": "failed", "reason": "exited", "message": "it ended\u{1b}[2J", "exit_code": 137 },
            { "at": views::ago(120), "state": "running", "reason": null, "message": null, "exit_code": null },
        ])),
        ("GET", "/api/v1/kept-logs") => fake::page(&[json!({
            "container_id": 30, "name": "old", "account": "alice", "image": "alice/app:v1", "machine_id": "m1",
            "bytes": 2048, "dropped_bytes": 0, "removed_at": views::ago(3600), "kept_until": views::ago(-86_430),
        })]),
        ("POST", "/api/v1/containers/web/terminal-tickets") => fake::raw_json(
            201,
            &json!({ "ticket": "t", "expires_at": views::ago(-30), "path": "/api/v1/containers/31/terminal?ticket=t" })
                .to_string(),
        ),
        ("GET", "/api/v1/containers/web/terminals") => fake::ok(&json!([{
            "id": views::TOKEN, "container_id": 31, "command": ["bash"], "tty": true, "opened_by": "alice",
            "opened_at": views::ago(60), "viewers": 1, "columns": 80, "rows": 24, "exit_code": null,
        }])),
        ("GET", "/api/v1/machines") => fake::page(&[views::machine("online")]),
        ("GET" | "PATCH", "/api/v1/machines/m1") => fake::ok(&views::machine("online")),
        ("GET", "/api/v1/invites") => fake::page(&[
            json!({ "id": views::TOKEN, "created_at": views::ago(60), "expires_at": views::ago(-3570) }),
        ]),
        ("POST", "/api/v1/invites") => fake::raw_json(
            201,
            &json!({
                "id": views::TOKEN, "token": "lsj_secret.ff", "url": "https://longshore.example.org",
                "expires_at": views::ago(-3570),
            })
            .to_string(),
        ),
        ("GET", "/api/v1/events") => fake::events(
            &[
                format!("event: machine\ndata: {}\n\n", views::machine("online")),
                format!("event: container\ndata: {}\n\n", views::container("running")),
                "event: listed\ndata: {}\n\n".to_owned(),
                format!("event: build\ndata: {}\n\n", views::build("running", "building")),
                "event: removed\ndata: {\"kind\":\"container\",\"id\":\"31\"}\n\n".to_owned(),
                "event: end\ndata: {}\n\n".to_owned(),
            ],
            false,
        ),
        ("GET" | "PUT", "/api/v1/accounts/bob/quota" | "/api/v1/accounts/alice/quota") => {
            fake::ok(&views::quota())
        }
        ("GET", "/api/v1/container-uses") => fake::ok(&json!([{ "container_id": 31, "name": "web", "sample": {
            "at": views::ago(3), "cpu_millis": 1500, "memory_bytes": 50 << 20, "memory_limit_bytes": 512 << 20,
            "network_received_bytes": 2048, "network_sent_bytes": 100, "disk_read_bytes": 0,
            "disk_written_bytes": 4096, "pids": 3,
        } }])),
        ("GET", "/api/v1/queue") => fake::page(&[views::place(1, false), views::place(2, true)]),
        ("GET", "/api/v1/git-repos") => fake::page(&[views::git_repo()]),
        ("POST", "/api/v1/git-repos") | ("GET" | "PATCH", "/api/v1/git-repos/4") => {
            fake::ok(&views::git_repo())
        }
        ("POST", "/api/v1/git-repos/4/test") => {
            fake::ok(&json!({ "commit": "0".repeat(40), "git_ref": "refs/heads/main" }))
        }
        ("GET", "/api/v1/git-repos/4/secrets") => fake::ok(&json!([views::git_repo_secret()])),
        ("PUT", "/api/v1/git-repos/4/secrets/token") => fake::ok(&views::git_repo_secret()),
        ("GET", "/api/v1/git-repos/4/notifications") => fake::ok(&json!([views::notification_target()])),
        ("POST", "/api/v1/git-repos/4/notifications" | "/api/v1/git-repos/4/notifications/2/test") => {
            fake::ok(&views::notification_target())
        }
        ("GET", "/api/v1/runs") => fake::page(&[views::run("running"), views::run("succeeded")]),
        ("GET", "/api/v1/runs/5") => fake::ok(&views::run("succeeded")),
        ("POST", "/api/v1/runs" | "/api/v1/runs/upload" | "/api/v1/runs/5/cancel" | "/api/v1/runs/5/retry") => {
            fake::ok(&views::run("queued"))
        }
        ("GET", "/api/v1/runs/5/log") if seen.header("accept") == Some("text/event-stream") => {
            let event = |name: &str, data: &Value| format!("event: {name}\ndata: {data}\n\n");
            let ended = event("end", &views::run("succeeded"));
            fake::events(&[event("state", &views::run("running")), fake::log_event(0, "hello\n"), ended], false)
        }
        ("GET", "/api/v1/runs/5/log") => "fetching\n".into_response(),
        ("GET", "/api/v1/gpus") => fake::page(&[views::gpu("0", "leased"), views::gpu("1", "outside")]),
        ("GET", "/healthz") => fake::ok(&json!({ "version": env!("CARGO_PKG_VERSION") })),
        ("GET", "/readyz") => fake::ok(&json!({
            "ready": true,
            "parts": [
                { "name": "database", "ready": true, "message": null },
                { "name": "registry", "ready": true, "message": null },
            ],
        })),
        _ => fake::not_found(),
    }
}

/// Every command with arguments that are right.
fn commands(code: &str) -> Vec<Vec<String>> {
    let lines = [
        "whoami",
        "logout",
        "account list",
        "account create bob --password-stdin",
        "account show",
        "account show bob",
        "account update bob --role admin",
        "account approve bob",
        "account disable bob",
        "account enable bob",
        "account password bob --password-stdin",
        "account quota",
        "account quota bob --gpus 4 --memory 64g --class low",
        "account quota bob --reset",
        "account profile --nickname Al",
        "setting list",
        "setting set auth.registration closed",
        "setting reset auth.registration",
        "token list",
        "token create ci --expires-in 30d",
        "token delete TOKEN",
        "audit list",
        "audit list --search quota",
        "chart list database --repo bitnami",
        "chart versions bitnami/nginx --range ^1",
        "chart show bitnami/nginx",
        "chart upload FILE",
        "chart delete alice/web 1.0.0 --yes",
        "chart verify bitnami/nginx",
        "chart key list --repo bitnami",
        "chart key add FILE --repo bitnami",
        "chart key delete TOKEN",
        "chart key require bitnami",
        "chart key require bitnami --off",
        "release list --namespace test --repo bitnami",
        "release show web",
        "release install web bitnami/nginx --set replicas=2",
        "release install web bitnami/nginx --detach",
        "release upgrade web --version 1.1.0 --dry-run",
        "release rollback web --to 1",
        "release history web",
        "release values web",
        "release manifest web --hooks",
        "release log web",
        "release cancel web",
        "release recover web",
        "release uninstall web --yes",
        "image list",
        "image repositories",
        "image show alice/app:v1",
        "image upload CODE --name app:v1",
        "image tag 12 app:v2",
        "image update 12 --description text",
        "image dependents 12",
        "image tree 12",
        "image prefetch app:v1 --machine m1",
        "image delete app:v1",
        "image build-log BUILD",
        "build list",
        "build show BUILD",
        "build log BUILD",
        "build log BUILD --follow",
        "build cancel BUILD",
        "registry gc",
        "registry cancel 019a0000-0000-7000-8000-000000000002",
        "registry collections",
        "volume list",
        "volume show data",
        "volume delete 5 --yes",
        "git-repo list",
        "git-repo show app",
        "git-repo add app https://git.example.org/team/app.git --branch main --on-branch main --poll 10",
        "git-repo set app --description text",
        "git-repo remove app --yes",
        "git-repo test app",
        "git-repo set app --schedule @daily --deploy deployment/web --deploy-namespace test",
        "git-repo set app --provider gitlab --status-token FILE --runner ours",
        "git-repo secret list app",
        "git-repo secret set app token --file FILE",
        "git-repo secret remove app token",
        "notification list app",
        "notification add app feishu --secret FILE",
        "notification test app 2",
        "notification remove app 2",
        "run list --repo app",
        "run show 5",
        "run start app --ref v1",
        "run start app --follow",
        "run start CODE --image app:v1",
        "run start CODE --repo app",
        "run watch 5",
        "run log 5",
        "run log 5 --follow",
        "run cancel 5",
        "run retry 5",
        "container list",
        "container run app:v1 --name web -p 8000",
        "container run app:v1 -v data:/data:ro --home --shm-size 1g",
        "container run app:v1 --gpus 2 --gpu-model a100 --gpu-memory 24g --max-duration 12h --restart on-failure",
        "container show web",
        "container start web",
        "container stop web",
        "container restart web",
        "container delete web",
        "container log web",
        "container log web --grep he.*o --regex -I",
        "container cp CODE web:/srv",
        "container file list web /srv",
        "container file mkdir web /srv/new",
        "container file delete web /srv/app --recursive",
        "container update web --memory 2g --cpus 1.5",
        "container rename web web2",
        "container save web --preview",
        "container save web work:v2 -m words --drop-env MODE --detach",
        "container events web",
        "container stats",
        "container stats web",
        "container stats web --follow",
        "container kept-log list",
        "container kept-log delete web",
        "container exec web -- /hello",
        "container terminal list web",
        "container terminal end web TOKEN",
        "machine list",
        "machine show m1",
        "machine invite --expires-in 15m",
        "machine invites",
        "machine uninvite TOKEN",
        "machine label m1 rack",
        "machine drain m1 --reason disk",
        "machine resume m1",
        "machine release m1",
        "machine delete m1",
        "cluster add lab --kubeconfig FILE --default",
        "cluster list",
        "cluster show lab",
        "cluster renew lab --kubeconfig FILE",
        "cluster default lab",
        "cluster nodes",
        "cluster remove lab",
        "namespace create test",
        "namespace list",
        "namespace show test",
        "namespace quota test",
        "namespace events test",
        "namespace kubeconfig test --expires-in 8h",
        "namespace delete test --yes",
        "workload apply -f FILE",
        "deploy -f FILE --dry-run",
        "kubeconfig test",
        "workload list",
        "workload show deployment/web",
        "workload pods test",
        "workload logs test web-1",
        "workload logs test web-1 --all-containers --follow",
        "workload exec test web-1 -- /hello",
        "workload scale deployment/web --replicas 2",
        "workload restart deployment/web",
        "workload revisions deployment/web",
        "workload undo deployment/web",
        "workload delete deployment/web",
        "watch",
        "watch --new",
        "gpu list",
        "queue list",
        "doctor",
    ];
    let filled = |word: &str| match word {
        "CODE" => code.to_owned(),
        "FILE" => format!("{code}/../app.yaml"),
        "BUILD" => views::BUILD.to_owned(),
        "TOKEN" => views::TOKEN.to_owned(),
        _ => word.to_owned(),
    };
    lines.iter().map(|line| line.split(' ').map(filled).collect()).collect()
}

/// Where further options can stand: what is behind `--` is not ours.
fn end_of_options(words: &[&str]) -> usize {
    words.iter().position(|word| *word == "--").unwrap_or(words.len())
}

/// The commands of this machine, which talk to no server.
const LOCAL: [&[&str]; 14] = [
    &["server"],
    &["agent", "join"],
    &["agent", "status"],
    &["agent", "doctor"],
    &["agent", "run"],
    &["db", "status"],
    &["db", "migrate"],
    &["db", "backup"],
    &["db", "restore"],
    &["config", "example"],
    &["cluster", "role"],
    &["openapi"],
    &["completions"],
    &["version"],
];

fn shown(arguments: &[String], code: &str) -> String {
    arguments.join(" ").replace(code, "CODE")
}

/// The verbs that a help text lists.
fn verbs(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            let name = line.strip_prefix("  ")?.split_whitespace().next()?;
            line.chars().nth(2).is_some_and(|c| c != ' ').then(|| name.to_owned())
        })
        .collect()
}

fn collect_help(person: &Person, command: &[String], out: &mut String, leaves: &mut BTreeSet<String>) {
    let mut arguments: Vec<&str> = command.iter().map(String::as_str).collect();
    arguments.push("--help");
    let done = person.run(&arguments);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{arguments:?}");
    writeln!(out, "$ longshore {}\n{}", arguments.join(" "), done.stdout).unwrap();
    let verbs = verbs(&done.stdout);
    if verbs.is_empty() {
        leaves.insert(command.join(" "));
    }
    for verb in verbs {
        collect_help(person, &[command, &[verb]].concat(), out, leaves);
    }
}

#[test]
fn every_command_explains_itself() {
    let person = Person::new();
    let top = person.run(&["--help"]);
    let mut leaves = BTreeSet::new();

    insta::assert_snapshot!("help", top.stdout);
    for noun in verbs(&top.stdout) {
        let mut text = String::new();
        collect_help(&person, std::slice::from_ref(&noun), &mut text, &mut leaves);
        insta::assert_snapshot!(format!("help_{noun}"), text);
    }

    // Whoever adds a command adds its failure and its success below.
    let tested: Vec<String> = commands("CODE").iter().map(|arguments| arguments.join(" ")).collect();
    for leaf in leaves {
        let is_local = LOCAL.iter().any(|command| command.join(" ") == leaf);
        let is_tested = tested.iter().any(|line| *line == leaf || line.starts_with(&format!("{leaf} ")));
        assert!(
            // The first two need words of people, the last one a cluster: `applications::a_port_here_leads_to_one_of_a_pod`.
            is_local || is_tested || matches!(leaf.as_str(), "login" | "register" | "workload port-forward"),
            "`{leaf}` has no test"
        );
    }
}

#[test]
fn every_command_says_when_the_server_is_not_there() {
    let person = Person::new();
    let code = person.code();
    let server = closed_port();
    let mut all = commands(&code);
    all.retain(|arguments| arguments[0] != "logout");
    all.push(vec![
        "login".into(),
        server.clone(),
        "--account".into(),
        "alice".into(),
        "--password-stdin".into(),
    ]);
    all.push(vec![
        "register".into(),
        server.clone(),
        "--account".into(),
        "alice".into(),
        "--password-stdin".into(),
    ]);
    let mut text = String::new();

    for arguments in all {
        let mut words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let end = end_of_options(&words);
        words.splice(end..end, ["--server", &server]);
        let done = person.run_with_stdin(&words, "hunter22\nhunter23\n");
        let config = person.folder.path().to_str().unwrap();
        let said = format!("{}{}", done.stdout, done.stderr);
        let said = said.replace(&server, "SERVER").replace(config, "FOLDER");
        let command = shown(&arguments, &code).replace(&server, "SERVER");
        writeln!(text, "$ longshore {command}\n[exit {}]\n{said}", done.code).unwrap();
    }

    insta::assert_snapshot!("failures", text);
}

#[test]
fn every_command_works_on_a_server_that_works() {
    let person = Person::new();
    let code = person.code();
    let server = platform();
    let mut text = String::new();

    for arguments in commands(&code) {
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut command = person.command_at(&server, &words);
        command.stdin(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that needs no password may have ended without reading.
        child.stdin.take().unwrap().write_all(b"hunter22\nhunter23\n").ok();
        let done = output(child);
        let config = person.folder.path().to_str().unwrap();
        let clean = |text: &str| text.replace(&server.url, "SERVER").replace(config, "FOLDER");
        writeln!(text, "$ longshore {}\n[exit {}]", shown(&arguments, &code), done.code).unwrap();
        writeln!(text, "[stdout]\n{}[stderr]\n{}", clean(&done.stdout), clean(&done.stderr)).unwrap();
    }

    insta::assert_snapshot!("successes", text);
}

#[test]
fn a_settings_file_is_found_in_the_data_folder_and_in_the_current_one() {
    let person = Person::new();
    let here = person.folder.path().join("here");
    let data = person.folder.path().join("data");
    let file = |folder: &Path, text: String| {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("longshore.toml"), text).unwrap();
    };
    let status = |more: &[&str]| {
        let mut command = person.command(&[&["db", "status"], more].concat());
        command.current_dir(&here);
        finish(command).stderr
    };

    file(&here, "data_dir = \"/nowhere/of/the/file\"\n".to_owned());
    assert!(status(&[]).contains("`/nowhere/of/the/file/longshore.db`"), "{}", status(&[]));
    let named = ["--data-dir", data.to_str().unwrap()];
    assert!(status(&named).contains(&format!("`{}/longshore.db`", data.display())), "{}", status(&named));
    file(&data, "nonsense = 1\n".to_owned());
    assert!(status(&named).contains("`nonsense`"), "{}", status(&named));
    let other = person.folder.path().join("other.toml");
    fs::write(&other, "odd = 1\n").unwrap();
    assert!(status(&["--config", other.to_str().unwrap()]).contains("`odd`"));
}

#[test]
fn every_command_answers_json_when_asked() {
    let person = Person::new();
    let code = person.code();
    let server = platform();

    for arguments in commands(&code) {
        let mut words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        words.insert(end_of_options(&words), "--json");
        let mut command = person.command_at(&server, &words);
        command.stdin(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"hunter22\nhunter23\n").ok();
        let done = output(child);

        assert_eq!(done.code, 0, "{words:?} {}", done.stderr);
        let documents: Result<Vec<Value>, _> =
            serde_json::Deserializer::from_str(&done.stdout).into_iter().collect();
        let documents = documents.unwrap_or_else(|error| panic!("{words:?}: {error}: {}", done.stdout));
        assert!(!documents.is_empty(), "{words:?}");
    }
}

#[test]
fn json_is_what_the_server_answered() {
    let answer = "{\"zeta\":1.50,\"alpha\":{\"new\":[]},\"text\":\"\\u4e2d\"}";
    let server = Server::start(move |_| fake::raw_json(200, answer));

    let done = Person::new().run_at(&server, &["whoami", "--json"]);

    assert_eq!(
        done.stdout,
        "{\n  \"zeta\": 1.50,\n  \"alpha\": {\n    \"new\": []\n  },\n  \"text\": \"\\u4e2d\"\n}\n"
    );
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
}

#[test]
fn wrong_commands_end_with_two() {
    let person = Person::new();
    let server = platform();
    let wrong: [&[&str]; 14] = [
        &[],
        &["image"],
        &["imag", "list"],
        &["image", "show", "../../etc"],
        &["image", "upload", ".", "--name", "UPPER"],
        &["container", "show", ".."],
        &["container", "run", "app", "-p", "99999"],
        &["container", "run", "app", "--memory", "lots"],
        &["container", "run", "app", "-e", "s3cret", "--server", &server.url],
        &["account", "profile"],
        &["image", "list", "--limit", "0"],
        &["build", "show", "1"],
        &["login", "ftp://host"],
        &["login", &server.url, "--password-stdin"],
    ];
    let mut text = String::new();

    for arguments in wrong {
        let done = person.run(arguments);
        assert_eq!(done.stdout, "", "{arguments:?}");
        let command = arguments.join(" ").replace(&server.url, "SERVER");
        writeln!(text, "$ longshore {command}\n[exit {}]\n{}", done.code, done.stderr).unwrap();
        assert_eq!(done.code, 2, "{arguments:?}");
    }

    let repeated = text.replace("$ longshore container run app -e s3cret --server SERVER\n", "");
    assert!(!repeated.contains("s3cret"), "{text}");
    insta::assert_snapshot!("wrong", text);
}

#[test]
fn without_a_server_the_next_step_is_named() {
    let done = Person::new().run(&["image", "list"]);

    assert_eq!(done.code, 1);
    assert_eq!(
        done.stderr,
        "error: no server is known\nhint: log in with `longshore login URL`, or set LONGSHORE_URL and LONGSHORE_TOKEN\n"
    );
}

#[test]
fn words_are_chinese_for_those_who_read_chinese() {
    let person = Person::new();
    let mut command = person.command(&["image", "list"]);
    command.env("LANG", "zh_CN.UTF-8");

    let done = finish(command);

    assert!(done.stderr.starts_with("错误: 尚未指定服务器\n提示: "), "{}", done.stderr);
}

#[test]
fn a_login_keeps_the_token_and_shows_no_secret() {
    let person = Person::new();
    let server = platform();
    let digest = "20d2fe5e369db54ec7090639a9dc30ec4d608604936239d39e2de07fda09eb0b";
    let arguments = ["login", &server.url, "--account", "Alice", "--password-stdin", "--json"];

    let done = person.run_with_stdin(&arguments, "hunter22\n");

    assert_eq!(done.code, 0, "{}", done.stderr);
    let sent = server.seen_at("POST /api/auth/login")[0].json();
    assert_eq!(sent, json!({ "account": "Alice", "password": digest }));
    for secret in ["hunter22", digest, "aaa.bbb.ccc"] {
        assert!(!done.stdout.contains(secret) && !done.stderr.contains(secret), "{secret}");
    }
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(person.credentials()), 0o600);
    assert_eq!(mode(person.credentials().parent().unwrap().to_owned()), 0o700);
    let kept: Value = serde_json::from_str(&fs::read_to_string(person.credentials()).unwrap()).unwrap();
    assert_eq!(kept["current"], server.url.as_str());
    assert_eq!(kept["servers"][&server.url], json!({ "account": "alice", "token": "aaa.bbb.ccc" }));

    let done = person.run(&["whoami"]);

    assert_eq!(done.code, 0, "{}", done.stderr);
    let last = server.seen().pop().unwrap();
    assert_eq!(last.header("authorization"), Some("Bearer aaa.bbb.ccc"));

    let done = person.run(&["logout"]);

    assert_eq!((done.code, done.stderr), (0, format!("logged out of {}\n", server.url)));
    assert_eq!(server.seen_at("POST /api/auth/logout").len(), 1);
    assert!(!fs::read_to_string(person.credentials()).unwrap().contains("aaa.bbb.ccc"));
}

#[test]
fn a_loose_folder_is_closed_before_a_token_is_kept() {
    let person = Person::new();
    let server = platform();
    let folder = person.credentials().parent().unwrap().to_owned();
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();

    let done =
        person.run_with_stdin(&["login", &server.url, "--account", "alice", "--password-stdin"], "x\n");

    assert_eq!(done.code, 0, "{}", done.stderr);
    assert_eq!(fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn several_logins_live_side_by_side() {
    let person = Person::new();
    let (first, second) = (platform(), platform());
    let log_in = |server: &Server| {
        let done =
            person.run_with_stdin(&["login", &server.url, "--account", "alice", "--password-stdin"], "x\n");
        assert_eq!(done.code, 0, "{}", done.stderr);
    };

    log_in(&first);
    log_in(&second);
    let before = (first.seen().len(), second.seen().len());
    person.run(&["whoami"]);
    person.run(&["whoami", "--server", &first.url]);

    let tokens: Vec<_> =
        [&first, &second].map(|s| s.seen().last().unwrap().header("authorization").map(str::to_owned)).into();
    assert_eq!((first.seen().len(), second.seen().len()), (before.0 + 1, before.1 + 1));
    assert_eq!(tokens, [Some("Bearer aaa.bbb.ccc".to_owned()), Some("Bearer aaa.bbb.ccc".to_owned())]);
}

#[test]
fn a_stored_token_is_never_sent_to_another_server() {
    let person = Person::new();
    let (known, other) = (platform(), platform());
    person.run_with_stdin(&["login", &known.url, "--account", "alice", "--password-stdin"], "x\n");

    person.run(&["whoami", "--server", &other.url]);

    assert_eq!(other.seen()[0].header("authorization"), None);
}

#[test]
fn the_environment_stands_above_the_file() {
    let person = Person::new();
    let (known, other) = (platform(), platform());
    person.run_with_stdin(&["login", &known.url, "--account", "alice", "--password-stdin"], "x\n");

    let done = person.run_at(&other, &["whoami"]);

    assert_eq!(done.code, 0, "{}", done.stderr);
    assert_eq!(other.seen()[0].header("authorization"), Some("Bearer ls_token"));
}

#[test]
fn no_password_goes_to_what_is_no_longshore_server() {
    let server = Server::start(|_| axum::response::Html("<html>hello</html>").into_response());

    let done = Person::new()
        .run_with_stdin(&["login", &server.url, "--account", "alice", "--password-stdin"], "hunter22\n");

    assert_eq!(done.code, 1);
    assert!(done.stderr.contains("is not a Longshore server"), "{}", done.stderr);
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn a_redirect_does_not_take_the_password_along() {
    let other = platform();
    let target = other.url.clone();
    let server = Server::start(move |_| axum::response::Redirect::temporary(&target).into_response());

    let done = Person::new()
        .run_with_stdin(&["login", &server.url, "--account", "alice", "--password-stdin"], "hunter22\n");

    assert_eq!(done.code, 1);
    assert!(done.stderr.contains("sends us on to"), "{}", done.stderr);
    assert_eq!(other.seen().len(), 0);
}

#[test]
fn a_refused_login_does_not_advise_to_log_in() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/api/auth/login" => fake::problem(401, "wrong_password", "the password is wrong", &json!({})),
        _ => answer_as_platform(seen),
    });

    let person = Person::new();
    let done =
        person.run_with_stdin(&["login", &server.url, "--account", "alice", "--password-stdin"], "x\n");

    assert_eq!((done.code, done.stderr.as_str()), (1, "error: the password is wrong\n"));
    assert!(!person.credentials().exists());
}

#[test]
fn a_refused_token_leads_to_the_login() {
    let refuse = |_: &Seen| fake::problem(401, "unauthorized", "a login is needed", &json!({}));
    let server = Server::start(refuse);
    let person = Person::new();

    let stored = person.run(&["image", "list", "--server", &server.url]);
    let given = person.run_at(&server, &["image", "list"]);

    let expected = format!("error: a login is needed\nhint: log in with `longshore login {}`\n", server.url);
    assert_eq!((stored.code, stored.stderr), (1, expected));
    assert!(given.stderr.contains("LONGSHORE_TOKEN is not accepted"), "{}", given.stderr);
}

#[test]
fn a_problem_is_told_with_its_hint_and_its_facts() {
    let server = Server::start(|seen| match seen.method.as_str() {
        "DELETE" => {
            let dependents = json!({ "images": [{ "id": 13, "name": "alice/app:v2" }], "containers": [{ "id": 5, "name": null }] });
            let more = json!({ "hint": "delete them first", "dependents": dependents, "request_id": "r-1" });
            fake::problem(409, "has_dependents", "the image is still needed", &more)
        }
        _ => answer_as_platform(seen),
    });
    let person = Person::new();

    let words = person.run_at(&server, &["image", "delete", "12", "--yes"]);
    let json = person.run_at(&server, &["image", "delete", "12", "--yes", "--json"]);

    assert_eq!(words.code, 1);
    assert_eq!(
        words.stderr,
        "error: the image is still needed\n  image 13 alice/app:v2\n  container 5 (somebody else's)\n  request: \
         r-1\nhint: delete them first\n"
    );
    let problem: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((json.code, problem["code"].as_str()), (1, Some("has_dependents")));
}

#[test]
fn words_of_others_cannot_drive_the_terminal() {
    let server = Server::start(|_| fake::problem(422, "bad", "no \u{1b}]0;owned\u{7} way", &json!({})));

    let done = Person::new().run_at(&server, &["image", "list"]);

    assert!(!done.stderr.contains('\u{1b}') && !done.stderr.contains('\u{7}'), "{:?}", done.stderr);
}

#[test]
fn a_folder_arrives_as_an_archive_of_it() {
    let person = Person::new();
    let code = person.code();
    let server = platform();

    let done =
        person.run_at(&server, &["image", "upload", &code, "--name", "app:v1", "--dockerfile", "Dockerfile"]);

    assert_eq!((done.code, done.stdout.as_str()), (0, "alice/app:v1\n"), "{}", done.stderr);
    let upload = &server.seen_at("POST /api/v1/builds")[0];
    assert_eq!(upload.query, "image=app%3Av1&dockerfile=Dockerfile");
    assert_eq!(upload.header("content-type"), Some("application/octet-stream"));
    let mut archive = tar::Archive::new(GzDecoder::new(upload.body.as_slice()));
    let names: Vec<String> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert_eq!(names, ["Dockerfile", "src", "src/main.c"]);
    assert!(done.stderr.contains("Step 1/1 : FROM scratch"), "{}", done.stderr);
}

#[test]
fn a_file_arrives_as_it_is() {
    let person = Person::new();
    let file = person.folder.path().join("code.zip");
    fs::write(&file, b"PK\x05\x06 and so on").unwrap();
    let server = platform();

    let done = person.run_at(&server, &["image", "upload", file.to_str().unwrap(), "-n", "app", "--detach"]);

    assert_eq!((done.code, done.stdout), (0, format!("{}\n", views::BUILD)), "{}", done.stderr);
    let upload = &server.seen_at("POST /api/v1/builds")[0];
    assert_eq!(upload.body, b"PK\x05\x06 and so on");
    assert_eq!(upload.header("content-length"), Some("14"));
}

#[test]
fn a_folder_without_a_dockerfile_is_not_uploaded() {
    let person = Person::new();
    let server = platform();

    let done =
        person.run_at(&server, &["image", "upload", person.folder.path().to_str().unwrap(), "-n", "app"]);

    assert_eq!(done.code, 1);
    assert!(done.stderr.contains("has no `Dockerfile`"), "{}", done.stderr);
    assert!(done.stderr.contains("hint: "), "{}", done.stderr);
    assert_eq!(server.seen().len(), 0);
}

#[test]
fn a_file_that_cannot_be_packed_breaks_the_upload_off() {
    let person = Person::new();
    let code = person.code();
    let server = Server::start(answer_as_platform);
    // Longer when it is counted than when it is read: files of the kernel have no true size.
    std::os::unix::fs::symlink("/nowhere", format!("{code}/out")).unwrap();
    let growing = PathBuf::from(&code).join("big");
    fs::File::create(&growing).unwrap().set_len(64 << 20).unwrap();
    let mut child = person.command_at(&server, &["image", "upload", &code, "-n", "app"]).spawn().unwrap();
    let mut said = [0; 8];
    // The first word on stderr (the link that is left out) comes before the first byte of the archive.
    child.stderr.as_mut().unwrap().read_exact(&mut said).unwrap();
    fs::File::options().write(true).open(&growing).unwrap().set_len(10).unwrap();

    let done = output(child);

    // The file may have been read before it was cut: then the upload is whole.
    if done.code != 0 {
        assert!(done.stderr.contains("became shorter while it was read"), "{}", done.stderr);
        assert_eq!(server.seen_at("POST /api/v1/builds").len(), 0);
    }
}

/// The most memory that a process had, in KiB.
fn peak_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn an_upload_needs_little_memory_whatever_its_size() {
    let person = Person::new();
    let code = person.code();
    let big = PathBuf::from(&code).join("big");
    fs::File::create(&big).unwrap().set_len(512 << 20).unwrap();
    let (arrived, wait) = mpsc::channel();
    let (go, held) = mpsc::channel::<()>();
    let (arrived, held) = (Mutex::new(arrived), Mutex::new(held));
    let server = Server::start(move |seen| {
        if seen.route() == "POST /api/v1/builds" {
            arrived.lock().unwrap().send(seen.body_bytes).unwrap();
            held.lock().unwrap().recv().unwrap();
        }
        answer_as_platform(seen)
    });

    for path in [code.as_str(), big.to_str().unwrap()] {
        let child =
            person.command_at(&server, &["image", "upload", path, "-n", "app", "--detach"]).spawn().unwrap();
        let bytes = wait.recv_timeout(DEADLINE).unwrap();
        let peak = peak_kib(child.id());
        go.send(()).unwrap();
        let done = output(child);

        assert_eq!(done.code, 0, "{}", done.stderr);
        assert!(bytes > 400_000, "{bytes}");
        assert!(peak < 64 << 10, "{path}: {peak} KiB for {bytes} bytes");
    }
}

#[test]
fn a_broken_log_is_taken_up_where_it_broke() {
    let tries = AtomicUsize::new(0);
    let server = Server::start(move |seen| {
        if !seen.path.ends_with("/log") {
            return answer_as_platform(seen);
        }
        let running = fake::state_event(&views::build("running", "building"));
        match tries.fetch_add(1, Ordering::SeqCst) {
            0 => fake::events(&[running, fake::log_event(0, "one\n"), fake::log_event(4, "tw")], true),
            1 => fake::problem(503, "starting", "the server starts", &json!({})),
            2 => fake::events(&[fake::log_event(6, "o\n")], false),
            _ => fake::events(
                &[fake::state_event(&views::succeeded(14)), fake::log_event(8, "three\n")],
                false,
            ),
        }
    });

    let done = Person::new().run_at(&server, &["build", "log", views::BUILD, "--follow"]);

    assert_eq!((done.code, done.stdout.as_str()), (0, "one\ntwo\nthree\n"), "{}", done.stderr);
    let offsets: Vec<String> = server.seen().into_iter().map(|seen| seen.query).collect();
    assert_eq!(offsets, ["offset=0", "offset=6", "offset=6", "offset=8"]);
    assert!(done.stderr.contains("the connection was lost"), "{}", done.stderr);
}

#[test]
fn a_failed_build_is_a_failure_with_step_and_log() {
    let person = Person::new();
    let code = person.code();
    let server = Server::start(|seen| {
        if seen.path.ends_with("/log") {
            let log = fake::log_event(0, "Step 2/3 : RUN make\nmake: *** no rule\n");
            return fake::events(&[log, fake::state_event(&views::failed(38))], false);
        }
        answer_as_platform(seen)
    });

    let loud = person.run_at(&server, &["image", "upload", &code, "-n", "app:v1"]);
    let quiet = person.run_at(&server, &["image", "upload", &code, "-n", "app:v1", "--quiet"]);

    let why = "error: the build of `alice/app:v1` failed at step 2 of 3: RUN make: the command returned 2\n";
    assert_eq!((loud.code, loud.stdout.as_str()), (1, ""));
    assert!(loud.stderr.contains(why) && loud.stderr.contains("make: *** no rule\n"), "{}", loud.stderr);
    assert!(
        quiet.stderr.contains(&format!("{why}  Step 2/3 : RUN make\n  make: *** no rule\n")),
        "{}",
        quiet.stderr
    );
    assert!(
        quiet.stderr.ends_with(&format!("hint: the whole log: `longshore build log {}`\n", views::BUILD))
    );
}

#[test]
fn a_build_goes_on_when_nobody_watches() {
    let person = Person::new();
    let code = person.code();
    let server = Server::start(|seen| {
        if seen.path.ends_with("/log") {
            return fake::endless_events(&[fake::state_event(&views::build("running", "building"))]);
        }
        answer_as_platform(seen)
    });
    let child = person.command_at(&server, &["image", "upload", &code, "-n", "app:v1"]).spawn().unwrap();
    eventually("the log is followed", || server.seen().iter().any(|seen| seen.path.ends_with("/log")));

    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let done = output(child);

    assert!(kill.success());
    assert_eq!(done.code, 1, "{}", done.stderr);
    assert!(
        done.stderr.contains(&format!("longshore build log --follow {}", views::BUILD)),
        "{}",
        done.stderr
    );
    assert!(done.stderr.contains(&format!("longshore build cancel {}", views::BUILD)), "{}", done.stderr);
    assert!(!server.seen().iter().any(|seen| seen.path.ends_with("/cancel")));
}

#[test]
fn a_container_is_waited_for_and_its_address_told() {
    let looks = AtomicUsize::new(0);
    let server = Server::start(move |seen| match seen.route().as_str() {
        "GET /api/v1/containers/31" => {
            let states = ["pending", "pulling", "starting", "running"];
            fake::ok(&views::container(states[looks.fetch_add(1, Ordering::SeqCst).min(3)]))
        }
        _ => answer_as_platform(seen),
    });
    let arguments = [
        "container",
        "run",
        "app:v1",
        "--name",
        "web",
        "-p",
        "8080:8000",
        "-e",
        "A=1",
        "--memory",
        "512m",
        "--cpus",
        "1.5",
        "--pids",
        "64",
        "--machine",
        "m1",
        "--",
        "serve",
        "--port",
        "8000",
    ];

    let done = Person::new().run_at(&server, &arguments);

    assert_eq!((done.code, done.stdout.as_str()), (0, "http://127.0.0.1:30001\n"), "{}", done.stderr);
    assert_eq!(
        done.stderr,
        "container `web`: pending\ncontainer `web`: pulling\ncontainer `web`: starting\ncontainer `web`: \
         running\ncontainer `web` runs\n"
    );
    assert_eq!(
        server.seen()[0].json(),
        json!({
            "image": "app:v1", "name": "web", "machine": "m1", "env": { "A": "1" },
            "ports": [{ "container": 8000, "protocol": "tcp", "host": 8080, "bind": "loopback" }],
            "memory_bytes": 536_870_912, "cpu_millis": 1500, "pids": 64, "command": ["serve", "--port", "8000"],
        })
    );
}

#[test]
fn a_container_that_ends_at_once_is_a_failure_with_its_log() {
    let server = Server::start(|seen| match seen.route().as_str() {
        "GET /api/v1/containers/31" => {
            let mut container = views::container("stopped");
            container["exit_code"] = 3.into();
            fake::ok(&container)
        }
        "GET /api/v1/containers/31/log" => "cannot open config\n".into_response(),
        _ => answer_as_platform(seen),
    });

    let done = Person::new().run_at(&server, &["container", "run", "app:v1"]);

    assert_eq!((done.code, done.stdout.as_str()), (1, ""));
    assert!(
        done.stderr.contains("error: container `web` does not run: exit 3\n  cannot open config\n"),
        "{}",
        done.stderr
    );
}

#[test]
fn a_container_that_does_not_come_is_not_waited_for_for_ever() {
    let server = Server::start(|seen| match seen.route().as_str() {
        "GET /api/v1/containers/31" => fake::ok(&views::container("pulling")),
        _ => answer_as_platform(seen),
    });

    let done = Person::new().run_at(&server, &["container", "run", "app:v1", "--timeout", "1s"]);

    assert_eq!(done.code, 1);
    assert!(done.stderr.contains("error: container `web` is still `pulling`\nhint: "), "{}", done.stderr);
}

#[test]
fn a_log_goes_out_byte_by_byte() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/api/v1/containers/web/log" => b"a\xff\x1b[31mb".as_slice().into_response(),
        _ => answer_as_platform(seen),
    });
    let person = Person::new();
    let since = "2026-01-31T12:00:00Z";
    let arguments = ["container", "log", "web", "-f", "-n", "5", "-t", "--since", since];

    let output = person.command_at(&server, &arguments).output().unwrap();

    assert_eq!(output.stdout, b"a\xff\x1b[31mb");
    assert_eq!(
        server.seen()[0].query,
        "follow=true&timestamps=true&tail=5&since=2026-01-31T12%3A00%3A00.000000Z"
    );
}

#[test]
fn a_reader_who_has_seen_enough_is_no_failure() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/api/v1/containers/web/log" => vec![b'x'; 4 << 20].into_response(),
        _ => answer_as_platform(seen),
    });
    let person = Person::new();
    let mut child = person.command_at(&server, &["container", "log", "web"]).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 10]).unwrap();

    drop(stdout);
    let done = output(child);

    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
}

#[test]
fn the_doctor_names_what_is_broken() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/readyz" => fake::raw_json(
            503,
            &json!({ "ready": false, "parts": [
                { "name": "database", "ready": true, "message": null },
                { "name": "registry", "ready": false, "message": "the registry does not answer" },
            ] })
            .to_string(),
        ),
        "/healthz" => fake::ok(&json!({ "version": "9.9.9" })),
        "/api/v1/machines" => fake::page(&[views::machine("engine_down"), views::machine("unknown")]),
        _ => answer_as_platform(seen),
    });
    let person = Person::new();
    let data = person.folder.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(person.credentials().parent().unwrap()).unwrap();
    fs::write(person.credentials(), "{}").unwrap();
    fs::set_permissions(person.credentials(), fs::Permissions::from_mode(0o644)).unwrap();

    let done = person.run_at(&server, &["doctor", "--data-dir", data.to_str().unwrap()]);

    assert_eq!(done.code, 1);
    let folder = person.folder.path().to_str().unwrap();
    let text = format!("{}[stderr]\n{}", done.stdout, done.stderr)
        .replace(folder, "FOLDER")
        .replace(&server.url, "SERVER");
    insta::assert_snapshot!("doctor", text);
}

#[test]
fn passwords_are_no_arguments() {
    let person = Person::new();

    for command in [&["login"] as &[&str], &["register"], &["account", "create"], &["account", "password"]] {
        let help = person.run(&[command, &["--help"]].concat()).stdout;
        assert!(!help.contains("--password <"), "{help}");
        assert!(help.contains("--password-stdin"), "{help}");
    }
}

/// A server in a process of its own; stopped when the test ends.
struct OwnServer {
    child: Child,
    url: String,
}

impl OwnServer {
    fn start(person: &Person) -> Self {
        let data = person.folder.path().join("data");
        let arguments = ["server", "--data-dir", data.to_str().unwrap(), "--listen", "127.0.0.1:0"];
        let mut command = person.command(&arguments);
        command.args(["--registry-listen", "127.0.0.1:0", "--log", "warn"]);
        command.env("LONGSHORE_MACHINE_ENABLED", "false").stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        let url = first.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
        // Whatever else the server says is read, so that it never waits for a reader.
        std::thread::spawn(move || lines.count());
        Self { child, url }
    }

    /// Asks the server to stop and waits until it has.
    fn stop(mut self) -> i32 {
        let stopped = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(stopped.success());
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn the_whole_way_works_with_a_true_server() {
    let admin = Person::new();
    let server = OwnServer::start(&admin);
    let password = fs::read_to_string(admin.folder.path().join("data/admin-password")).unwrap();
    let works = |person: &Person, arguments: &[&str], input: &str| {
        let done = person.run_with_stdin(arguments, input);
        assert_eq!(done.code, 0, "{arguments:?}: {}", done.stderr);
        done.stdout
    };
    let fails = |person: &Person, arguments: &[&str], input: &str| {
        let done = person.run_with_stdin(arguments, input);
        assert_eq!(done.code, 1, "{arguments:?}: {}", done.stdout);
        done.stderr
    };

    works(&admin, &["login", &server.url, "--account", "admin", "--password-stdin"], &password);
    works(&admin, &["account", "create", "bob", "--password-stdin"], "first\n");
    let bob = Person::new();
    works(&bob, &["login", &server.url, "--account", "Bob", "--password-stdin"], "first\n");
    works(&bob, &["account", "profile", "--nickname", "Robert"], "");
    works(&bob, &["account", "password", "--password-stdin"], "first\nsecond\n");
    works(&bob, &["login", &server.url, "--account", "bob", "--password-stdin"], "second\n");
    let token = works(&bob, &["token", "create", "ci", "--expires-in", "1d"], "");
    let me: Value = serde_json::from_str(&works(&bob, &["whoami", "--json"], "")).unwrap();
    let mut with_token = bob.command(&["whoami", "--json"]);
    with_token.env("LONGSHORE_TOKEN", token.trim());
    let same: Value = serde_json::from_str(&finish(with_token).stdout).unwrap();
    let refused = fails(&bob, &["account", "list"], "");
    let accounts = works(&admin, &["account", "list"], "");
    works(&admin, &["account", "disable", "bob"], "");
    let shut_out = fails(&bob, &["whoami"], "");
    works(&admin, &["account", "enable", "bob"], "");
    works(&admin, &["account", "password", "bob", "--password-stdin"], "third\n");
    let wrong = fails(&bob, &["login", &server.url, "--account", "bob", "--password-stdin"], "second\n");
    works(&bob, &["login", &server.url, "--account", "bob", "--password-stdin"], "third\n");
    let carol = Person::new();
    works(&carol, &["register", &server.url, "--account", "carol", "--password-stdin"], "x\n");
    let audit = works(&admin, &["audit", "list", "--actor", "bob"], "");
    let status = works(
        &admin,
        &["db", "status", "--data-dir", admin.folder.path().join("data").to_str().unwrap()],
        "",
    );
    works(&admin, &["logout"], "");

    assert_eq!((me["account"].as_str(), me["nickname"].as_str()), (Some("bob"), Some("Robert")));
    assert_eq!(same, me);
    assert!(refused.contains("error: ") && accounts.contains("Robert"), "{refused}{accounts}");
    assert!(shut_out.contains("error: ") && wrong.contains("error: "), "{shut_out}{wrong}");
    assert!(!wrong.contains("longshore login"), "{wrong}");
    assert!(audit.contains("bob") && !audit.contains("admin"), "{audit}");
    assert!(status.contains("applied") && !status.contains("waiting"), "{status}");
    assert_eq!(server.stop(), 0);
}

#[test]
fn documents_of_this_version_need_no_server() {
    let person = Person::new();

    let document = person.run(&["openapi"]);
    let settings = person.run(&["config", "example"]);

    assert_eq!((document.code, document.stdout == server::openapi_json()), (0, true));
    assert_eq!((settings.code, settings.stdout), (0, server::config::example()));
}

#[test]
fn commands_of_this_machine_need_no_server() {
    let person = Person::new();

    let version = person.run(&["version"]);
    let completions = person.run(&["completions", "bash"]);

    assert_eq!((version.code, version.stdout), (0, format!("longshore {}\n", env!("CARGO_PKG_VERSION"))));
    assert!(completions.stdout.contains("_longshore()"));
}
