//! Real git servers on loopback: git's own HTTP back end behind a small server, and OpenSSH.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

use super::tls;

/// Runs git for a test, with nothing of this machine's settings.
pub(crate) fn git(folder: &Path, words: &[&str]) -> String {
    let output = Command::new("git")
        .args([
            "-c",
            "user.name=Alice",
            "-c",
            "user.email=alice@example.org",
            "-c",
            "init.defaultBranch=main",
        ])
        .args(words)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A repository with a working copy, to be served.
pub(crate) struct Repository {
    folder: TempDir,
}

impl Repository {
    /// With these files in its first commit; a path that ends with `+x` is executable.
    pub(crate) fn new(files: &[(&str, &[u8])]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        git(folder.path(), &["init", "--quiet", "work"]);
        git(folder.path(), &["init", "--quiet", "--bare", "app.git"]);
        let repository = Self { folder };
        repository.commit(files);
        repository
    }

    /// A program and a Dockerfile that starts it.
    pub(crate) fn hello(dockerfile: &str) -> Self {
        let probe = std::fs::read(super::machine::probe()).unwrap();
        Self::new(&[("Dockerfile", dockerfile.as_bytes()), ("probe+x", &probe)])
    }

    /// The working copy.
    pub(crate) fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// Where the bare repositories are.
    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    /// Commits files and pushes; the commit.
    pub(crate) fn commit(&self, files: &[(&str, &[u8])]) -> String {
        for (name, content) in files {
            let path = self.work().join(name.trim_end_matches("+x"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, content).unwrap();
            if name.ends_with("+x") {
                use std::os::unix::fs::PermissionsExt as _;
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
        self.push()
    }

    /// Commits what is in the working copy and pushes; the commit.
    pub(crate) fn push(&self) -> String {
        let work = self.work();
        git(&work, &["add", "--all"]);
        git(&work, &["commit", "--quiet", "--allow-empty", "-m", "a commit"]);
        git(&work, &["push", "--quiet", "--tags", "../app.git", "HEAD"]);
        git(&work, &["rev-parse", "HEAD"])
    }
}

/// Who is let in.
#[derive(Clone, Default)]
pub(crate) struct Access {
    /// User and password; none for everybody.
    pub(crate) login: Option<(String, String)>,
    /// Where every request is sent on to.
    pub(crate) redirect: Option<String>,
    /// Where large files are said to lie; here when none is given.
    pub(crate) large_files: Option<String>,
}

/// What was asked: each path, and what came with it for authorisation.
pub(crate) type Requests = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// What was told of commits: the path, the token, and the state.
pub(crate) type Statuses = Arc<Mutex<Vec<(String, Option<String>, String)>>>;

/// A git server over HTTP. Ends with the test's runtime.
pub(crate) struct HttpServer {
    /// `http://127.0.0.1:port`.
    pub(crate) url: String,
    /// Every request: its path, and what it carried for authorisation.
    pub(crate) requests: Requests,
    /// What it was told of commits, as Gitea takes it.
    pub(crate) statuses: Statuses,
}

#[derive(Clone)]
struct Served {
    root: PathBuf,
    access: Access,
    requests: Requests,
    statuses: Statuses,
}

impl Served {
    fn new(root: &Path, access: Access) -> Self {
        let (requests, statuses) = (Requests::default(), Statuses::default());
        Self { root: root.to_owned(), access, requests, statuses }
    }

    fn router(&self) -> Router {
        Router::new()
            .fallback(answer)
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(self.clone())
    }

    fn server(self, url: String) -> HttpServer {
        HttpServer { url, requests: self.requests, statuses: self.statuses }
    }
}

impl HttpServer {
    /// Serves the repositories of a folder.
    #[expect(clippy::disallowed_methods, reason = "a test's server ends with the test's runtime")]
    pub(crate) async fn start(root: &Path, access: Access) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served = Served::new(root, access);
        let router = served.router();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        served.server(url)
    }

    /// The same over TLS, with a certificate of an authority of its own; the authority's certificate.
    pub(crate) async fn start_tls(root: &Path) -> (Self, String) {
        Self::start_tls_with(root, Access::default()).await
    }

    /// The same, and not for everybody.
    pub(crate) async fn start_tls_with(root: &Path, access: Access) -> (Self, String) {
        let served = Served::new(root, access);
        let (port, pem) = tls::serve(served.router()).await;
        (served.server(format!("https://localhost:{port}")), pem)
    }
}

async fn answer(State(served): State<Served>, headers: HeaderMap, request: Request) -> Response {
    let authorisation =
        headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    served.requests.lock().unwrap().push((request.uri().to_string(), authorisation.clone()));
    if let Some(target) = &served.access.redirect {
        return (StatusCode::FOUND, [(header::LOCATION, format!("{target}{}", request.uri()))])
            .into_response();
    }
    // Its interface is opened by a token of its own.
    let is_status = request.uri().path().contains("/statuses/");
    if let Some((user, password)) = served.access.login.as_ref().filter(|_| !is_status) {
        let expected = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        if authorisation.as_deref() != Some(&format!("Basic {expected}")) {
            return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Basic realm=\"git\"")])
                .into_response();
        }
    }
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
    if is_status {
        let told: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let state = told["state"].as_str().unwrap().to_owned();
        served.statuses.lock().unwrap().push((parts.uri.path().to_owned(), authorisation, state));
        return StatusCode::CREATED.into_response();
    }
    if parts.uri.path().ends_with("/info/lfs/objects/batch") {
        return large_files(&served, &headers, &body);
    }
    if let Some(oid) = parts.uri.path().strip_prefix("/large-files/") {
        return std::fs::read(served.root.join("large-files").join(oid)).unwrap().into_response();
    }
    backend(&served.root, &parts, &headers, body).await
}

/// Where large files lie: each is in `large-files` under its hash.
fn large_files(served: &Served, headers: &HeaderMap, body: &[u8]) -> Response {
    let here = format!("http://{}/large-files", headers[header::HOST].to_str().unwrap());
    let place = served.access.large_files.as_ref().unwrap_or(&here);
    let asked: serde_json::Value = serde_json::from_slice(body).unwrap();
    assert_eq!((&asked["operation"], &asked["transfers"][0]), (&"download".into(), &"basic".into()));
    let objects = asked["objects"].as_array().unwrap().iter().map(|object| {
        let (oid, size) = (object["oid"].as_str().unwrap(), &object["size"]);
        if !served.root.join("large-files").join(oid).exists() {
            return serde_json::json!({"oid": oid, "size": size, "error": {"code": 404, "message": "none"}});
        }
        let mut header = serde_json::json!({"x-large": "yes"});
        // Whoever came over SSH has nothing else that opens them.
        if headers.contains_key("x-by-ssh") {
            header["Authorization"] = headers[header::AUTHORIZATION].to_str().unwrap().into();
        }
        let download = serde_json::json!({"href": format!("{place}/{oid}"), "header": header});
        serde_json::json!({"oid": oid, "size": size, "actions": {"download": download}})
    });
    let body = serde_json::json!({"transfer": "basic", "objects": objects.collect::<Vec<_>>()});
    ([(header::CONTENT_TYPE, "application/vnd.git-lfs+json")], body.to_string()).into_response()
}

/// git-http-backend as a CGI program.
async fn backend(root: &Path, parts: &http::request::Parts, headers: &HeaderMap, body: Bytes) -> Response {
    let text =
        |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let mut child = tokio::process::Command::new("git")
        .arg("http-backend")
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .env("PATH_INFO", parts.uri.path())
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("CONTENT_TYPE", text("content-type"))
        .env("HTTP_CONTENT_ENCODING", text("content-encoding"))
        .env("GIT_PROTOCOL", text("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A back end that refuses does not read what it was sent.
    let ((), output) = tokio::join!(
        async move {
            stdin.write_all(&body).await.ok();
            drop(stdin);
        },
        child.wait_with_output()
    );
    let output = output.unwrap().stdout;
    let split =
        output.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(output.len().saturating_sub(4));
    let mut response = Response::builder();
    let mut status = 200;
    for line in String::from_utf8_lossy(&output[..split]).lines() {
        let Some((name, value)) = line.split_once(": ") else { continue };
        if name == "Status" {
            status = value.split(' ').next().unwrap().parse().unwrap();
        } else {
            response = response.header(name, value);
        }
    }
    response.status(status).body(Body::from(output[split + 4..].to_vec())).unwrap()
}

/// An SSH server that lets one key in, for git alone. Ends when dropped.
pub(crate) struct SshServer {
    /// `ssh://user@127.0.0.1:port`.
    pub(crate) url: String,
    /// The private key that it lets in.
    pub(crate) key: String,
    child: std::process::Child,
    folder: TempDir,
}

impl SshServer {
    /// Serves the repositories of a folder; none where there is no OpenSSH server.
    pub(crate) fn start() -> Self {
        let sshd = Path::new("/usr/sbin/sshd");
        assert!(sshd.exists(), "openssh-server is missing (`./test` installs it)");
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        for name in ["host", "user"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f", &path(name)])
                .status()
                .unwrap();
            assert!(made.success());
        }
        std::fs::copy(path("user.pub"), path("authorized_keys")).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\n\
             UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n\
             AllowTcpForwarding no\nX11Forwarding no\nForceCommand {}\n",
            path("host"),
            path("authorized_keys"),
            path("command"),
        );
        std::fs::write(path("config"), config).unwrap();
        // What git servers with large files understand besides git.
        let command = format!(
            "case $SSH_ORIGINAL_COMMAND in\ngit-lfs-authenticate*) printf '%s\\n' \"$SSH_ORIGINAL_COMMAND\" >>'{}'; exec cat '{}';;\nesac\n\
             exec git-shell -c \"$SSH_ORIGINAL_COMMAND\"",
            path("asked"),
            path("large-files"),
        );
        super::registry::write_script(&folder.path().join("command"), &command);
        std::fs::create_dir_all("/run/sshd").ok();
        let child = Command::new(sshd)
            .args(["-D", "-e", "-f", &path("config")])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let key = std::fs::read_to_string(path("user")).unwrap();
        Self { url: format!("ssh://root@127.0.0.1:{port}"), key, child, folder }
    }

    /// Says where large files are asked for.
    pub(crate) fn answer_large_files(&self, answer: &serde_json::Value) {
        std::fs::write(self.folder.path().join("large-files"), answer.to_string()).unwrap();
    }

    /// What was asked of large files.
    pub(crate) fn asked(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("asked")).unwrap_or_default()
    }

    /// Gives the server another key of its own, as somebody in between would show.
    pub(crate) fn change_host_key(&self) {
        let path = self.folder.path().join("host");
        std::fs::remove_file(&path).unwrap();
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&path)
            .status()
            .unwrap();
        assert!(made.success());
        // Connections are served by what it reads anew.
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
    }
}

impl Drop for SshServer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
