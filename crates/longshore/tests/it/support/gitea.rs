//! A real Gitea on loopback, with an account and a repository, for webhooks as people get them.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::api::Api;
use super::git::git;
use super::machine::free_port;
use super::{Wait, eventually, is_skipped, setting};

/// Whose repository it is.
pub(crate) const OWNER: &str = "alice";
/// What opens it for git.
pub(crate) const PASSWORD: &str = "correct horse battery";

/// Ends with the test.
pub(crate) struct Gitea {
    /// Its interface, as the owner.
    pub(crate) api: Api,
    /// `host:port`.
    address: String,
    child: Child,
    folder: TempDir,
}

impl Drop for Gitea {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Gitea {
    /// None when it is skipped.
    pub(crate) async fn start() -> Option<Self> {
        if is_skipped("gitea") {
            return None;
        }
        let message = "LONGSHORE_TEST_GITEA names the folder of `gitea` and of what it reads; or LONGSHORE_TEST_SKIP must hold `gitea`";
        let program = PathBuf::from(setting("LONGSHORE_TEST_GITEA").expect(message));
        let folder = tempfile::tempdir().unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let config = folder.path().join("app.ini");
        std::fs::write(&config, settings(&program, folder.path(), &address)).unwrap();
        let log = std::fs::File::create(folder.path().join("gitea.log")).unwrap();
        let child = command(&program, &config)
            .arg("web")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let api = Api { url: format!("http://{address}"), token: None, http };
        let mut gitea = Self { api, address, child, folder };
        let wait = Wait::new("Gitea answers");
        eventually(&wait, 60, || async {
            wait.saw(&gitea.log());
            let answer = gitea.api.http.get(format!("{}/api/healthz", gitea.api.url)).send().await;
            answer.is_ok_and(|answer| answer.status().is_success()).then_some(())
        })
        .await;
        let run = |words: &[&str]| {
            let done = command(&program, &config).args(words).output().unwrap();
            let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
            assert!(done.status.success(), "gitea {words:?}: {out}{err}");
            out.trim().to_owned()
        };
        run(&[
            "admin",
            "user",
            "create",
            "--username",
            OWNER,
            "--password",
            PASSWORD,
            "--email",
            "alice@example.org",
            "--must-change-password=false",
        ]);
        let token = run(&[
            "admin",
            "user",
            "generate-access-token",
            "--username",
            OWNER,
            "--token-name",
            "test",
            "--scopes",
            "all",
            "--raw",
        ]);
        gitea.api.token = Some(token.lines().last().unwrap().to_owned());
        Some(gitea)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("gitea.log")).unwrap_or_default()
    }

    /// Makes a private repository; its address, with what opens it.
    pub(crate) async fn repository(&self, name: &str) -> String {
        let body = json!({"name": name, "private": true, "default_branch": "main"});
        self.api.post("/api/v1/user/repos", body).await.expect(201);
        let password = PASSWORD.replace(' ', "%20");
        format!("http://{OWNER}:{password}@{}/{OWNER}/{name}.git", self.address)
    }

    /// Makes a webhook of a repository for everything that can be told of branches and tags.
    pub(crate) async fn webhook(&self, name: &str, url: &str, secret: &str) -> Value {
        let config = json!({"url": url, "content_type": "json", "secret": secret});
        let events = ["push", "create", "delete"];
        let body = json!({"type": "gitea", "active": true, "events": events, "config": config});
        self.api.post(&format!("/api/v1/repos/{OWNER}/{name}/hooks"), body).await.expect(201).json()
    }

    /// With which status the last deliveries of a webhook were answered, as Gitea's page shows them; in ascending order.
    pub(crate) async fn answers(&self, name: &str, hook: &Value) -> Vec<u16> {
        let url = format!("{}/{OWNER}/{name}/settings/hooks/{}", self.api.url, hook["id"]);
        let answer = self.api.http.get(url).header("x-webauth-user", OWNER).send().await.unwrap();
        let page = answer.error_for_status().unwrap().text().await.unwrap();
        let labels = page.split("<span class=\"ui ").skip(1);
        let mut answers: Vec<u16> = labels
            .filter_map(|part| part.split_once("label\">")?.1.split_once('<')?.0.trim().parse().ok())
            .collect();
        answers.sort_unstable();
        answers
    }

    /// How a commit fares, as Gitea shows it.
    pub(crate) async fn status_of(&self, name: &str, commit: &str) -> Value {
        self.api
            .get(&format!("/api/v1/repos/{OWNER}/{name}/commits/{commit}/status"))
            .await
            .expect(200)
            .json()
    }
}

/// Pushes from a working copy.
pub(crate) fn push(work: &Path, url: &str, what: &[&str]) {
    git(work, &[&["push", "--quiet", url], what].concat());
}

fn command(program: &Path, config: &Path) -> Command {
    let mut command = Command::new(program.join("gitea"));
    command.arg("--config").arg(config).env("HOME", config.parent().unwrap());
    command
}

/// Nothing that reaches further than this machine. Where tests are root, so is it: it is as much at risk as the test.
fn settings(program: &Path, folder: &Path, address: &str) -> String {
    let (program, folder) = (program.display(), folder.display());
    let port = address.rsplit(':').next().unwrap();
    format!(
        "I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true\nWORK_PATH = {folder}\nRUN_MODE = prod\n\
         [server]\nHTTP_ADDR = 127.0.0.1\nHTTP_PORT = {port}\nROOT_URL = http://{address}/\nSTATIC_ROOT_PATH = {program}\n\
         APP_DATA_PATH = {folder}/data\nDISABLE_SSH = true\nOFFLINE_MODE = true\nLFS_START_SERVER = false\n\
         [database]\nDB_TYPE = sqlite3\nPATH = {folder}/gitea.db\n\
         [repository]\nROOT = {folder}/repositories\n\
         [security]\nINSTALL_LOCK = true\n\
         [service]\nDISABLE_REGISTRATION = true\nENABLE_REVERSE_PROXY_AUTHENTICATION = true\n\
         [webhook]\nALLOWED_HOST_LIST = loopback\n\
         [queue]\nTYPE = channel\n[session]\nPROVIDER = memory\n[indexer]\nISSUE_INDEXER_TYPE = db\n\
         [actions]\nENABLED = false\n[packages]\nENABLED = false\n[mirror]\nENABLED = false\n\
         [log]\nMODE = console\nLEVEL = Warn\nROOT_PATH = {folder}/log\n"
    )
}
