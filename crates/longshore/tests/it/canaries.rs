//! Whether what is secret about a pipeline is seen anywhere: canaries are planted in everything that is secret, and looked for in whatever
//! the server, its database and its backups, the engine, the cluster, processes and images say.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::support::api::Api;
use crate::support::canaries::{Sweep, canary, spellings};
use crate::support::eventually;
use crate::support::git::{Access, HttpServer, Repository, git};
use crate::support::machine::{self, Registry};
use crate::support::process::{ProcessWatch, ServerProcess};
use crate::support::runs::{RUN_SECS, cancel, ended, log_of, start, succeeded};
use crate::support::site::Site;

/// What servers are told: all git servers and registries here, and to say all that they can.
const SETTINGS: [(&str, &str); 2] = [("outbound.allow", "127.0.0.0/8,::1/128"), ("log.filter", "debug")];

/// A step that reads the secret `token`.
const READING: &str = "FROM scratch\nCOPY probe /\nRUN --mount=type=secret,id=token,required=true [\"/probe\", \"print\", \"had it\"]\n";

/// A pipeline with a secret wherever one can be.
struct Planted {
    code: Repository,
    git_server: HttpServer,
    authority: String,
    _elsewhere: Registry,
    repo: Value,
    of_url: String,
    of_build: String,
    of_hook: String,
    of_status: String,
}

impl Planted {
    async fn new(alice: &Api, dockerfile: &str) -> Self {
        let (of_url, of_build) = (canary("url"), canary("build"));
        let (of_hook, of_status) = (canary("hook"), canary("status"));
        let code = Repository::hello(dockerfile);
        let login = Some(("robot".to_owned(), of_url.clone()));
        let (git_server, authority) =
            HttpServer::start_tls_with(code.root(), Access { login, ..Access::default() }).await;
        let elsewhere = Registry::start().await;
        let url =
            format!("{}/app.git", git_server.url.replace("https://", &format!("https://robot:{of_url}@")));
        let job = json!({
            "name": "job", "REGISTORY_ADD": format!("http://{}", elsewhere.address), "REGISTRY_NAME": machine::USER,
            "REGISTRY_PASS": machine::PASSWORD, "IMAGE_REPO": "team/web", "IMAGE_NAME": "app",
        });
        alice.post("/job/", job).await.expect(201);
        let repo = json!({"repo_name": "app", "repo": url, "job": "job", "ca_secret": ""});
        let repo = alice.post("/repo/", repo).await.expect(201).json();
        let path = format!("/api/v1/git-repos/{}", repo["id"]);
        let more = json!({"ca_secret": authority, "webhook_secret": of_hook, "status_token": of_status,
                          "options": {"provider": "gitea"}});
        alice.patch(&path, more).await.expect(200);
        alice.put(&format!("{path}/secrets/token"), json!({"value": of_build})).await.expect(200);
        Self {
            code,
            git_server,
            authority,
            _elsewhere: elsewhere,
            repo,
            of_url,
            of_build,
            of_hook,
            of_status,
        }
    }

    fn path(&self) -> String {
        format!("/api/v1/git-repos/{}", self.repo["id"])
    }

    /// The canaries, however they are spelt.
    fn spelt(&self) -> Vec<String> {
        [&self.of_url, &self.of_build, &self.of_hook, &self.of_status]
            .into_iter()
            .flat_map(|word| spellings(word))
            .collect()
    }

    /// Looks again and again whether a process knows one of them.
    fn watch(&self) -> ProcessWatch {
        let spelt = self.spelt();
        ProcessWatch::start(&spelt.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// A run that must succeed, and one with another password, which cannot: what goes wrong is told at length.
    async fn run(&self, alice: &Api) -> [Value; 2] {
        let run = start(alice, &self.repo).await;
        let run = succeeded(alice, &run).await;
        let log = log_of(alice, &run).await;
        assert!(log.contains("had it"), "{log}");
        assert_eq!(git(&self.code.work(), &["log", "-1", "--format=%H"]), run["commit"]);
        let bad = self.git_server.url.replace("https://", &format!("https://robot:{}@", self.of_build));
        let change = json!({"url": format!("{bad}/app.git"), "ca_secret": self.authority});
        alice.patch(&self.path(), change).await.expect(200);
        let failed = start(alice, &self.repo).await;
        let failed = ended(alice, &failed).await;
        assert_eq!(failed["reason"], "clone_failed", "{failed:#}");
        eventually("the git server is told", RUN_SECS, || async {
            let told = self.git_server.statuses.lock().unwrap().clone();
            told.iter()
                .any(|(_, token, _)| token.as_ref().is_some_and(|token| token.contains(&self.of_status)))
                .then_some(())
        })
        .await;
        [run, failed]
    }

    /// What a server shows, keeps and says, and the image that came out.
    async fn sweep(&self, server: &ServerProcess, runs: &[&Value], sweep: &mut Sweep) {
        let of_run = |run: &&Value| {
            let (id, uuid) = (&run["id"], run["uuid"].as_str().unwrap());
            [
                format!("/api/v1/runs/{id}"),
                format!("/api/v1/runs/{id}/log"),
                format!("/api/v1/builds/{uuid}/log"),
            ]
        };
        let mut pages: Vec<String> = runs.iter().flat_map(of_run).collect();
        pages.extend([
            self.path(),
            format!("{}/deliveries", self.path()),
            format!("{}/secrets", self.path()),
        ]);
        sweep.shown(&server.admin().await, &pages).await;
        // Everything that is kept, images as the registry has them too.
        sweep.folder(&server.data_dir);
        let backup = sweep.backup(&server.data_dir);
        // It is whole, and has what belongs to them: they are sealed in it.
        let host = self.git_server.url.trim_start_matches("https://");
        assert!(backup.contains(host) && backup.contains(runs[0]["uuid"].as_str().unwrap()), "{backup}");
        let said = std::fs::read_to_string(server.log_file()).unwrap();
        assert!(said.contains("DEBUG"), "it says all that it can: {said}");
        sweep.take("what the server says", said);
        assert!(sweep.has("longshore.db") && sweep.has("what the server says") && sweep.has("a backup"));
    }

    /// Fails where one of them is.
    fn is_nowhere_in(&self, sweep: &Sweep) {
        let login = spellings(&format!("{}:{}", machine::USER, machine::PASSWORD));
        let (spelt, password) = (self.spelt(), spellings(machine::PASSWORD));
        // The authority's certificate is nobody's business either; its middle is in nothing else.
        let of_authority = self.authority.lines().nth(4).unwrap();
        sweep.is_without(
            spelt.iter().chain(&login).chain(&password).map(String::as_str).chain([of_authority]),
        );
        // The control: what is looked for so is found where it may be.
        let hidden = BASE64_STANDARD.encode(format!("robot:{}", self.of_url));
        assert!(spellings(&self.of_url).iter().any(|spelling| hidden.contains(spelling.as_str())));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_secret_about_a_pipeline_is_seen_nowhere() {
    let Some(server) = ServerProcess::start(&SETTINGS).await else { return };
    let docker = crate::support::engine().unwrap();
    let alice = server.account("alice").await;
    let planted = Planted::new(&alice, READING).await;

    let watch = planted.watch();
    let [run, failed] = planted.run(&alice).await;
    assert_eq!(watch.end(), Vec::<String>::new());

    let mut sweep = Sweep::default();
    planted.sweep(&server, &[&run, &failed], &mut sweep).await;
    let images = machine::docker(&docker, &["images", "-q", "--no-trunc"]);
    for image in images.lines() {
        // Other tests remove theirs meanwhile.
        for words in [["history", "--no-trunc", image], ["inspect", "--type=image", image]] {
            let output =
                std::process::Command::new("docker").args(["-H", &docker]).args(words).output().unwrap();
            sweep.take(words.join(" "), output.stdout);
        }
    }
    planted.is_nowhere_in(&sweep);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_secret_about_a_pipeline_is_in_no_object_of_the_cluster_that_builds() {
    let Some(site) = Site::open().await else { return };
    let mut server = site.process_with(&SETTINGS).await;
    let alice = server.account("alice").await;
    let planted = Planted::new(&alice, &format!("{READING}RUN [\"/probe\", \"sleep\"]\n")).await;
    let mut sweep = Sweep::default();

    // What the cluster knows while a step could read the secret, and what its pod says.
    let watch = planted.watch();
    let held = start(&alice, &planted.repo).await;
    eventually("the secret was read, and the next step runs", RUN_SECS, || async {
        let log = log_of(&alice, &held).await;
        (log.contains("had it\n") && log.contains("\"sleep\"]")).then_some(())
    })
    .await;
    let objects = sweep.objects(&site.cluster, Some(&site.namespace));
    let pod = site.objects("pods").pop().unwrap()["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(objects.contains(&pod));
    let logs = ["-n", &site.namespace, "logs", &pod, "-c", "build"];
    sweep.take("what the pod says", site.cluster.kubectl(&logs));
    cancel(&alice, &held).await;
    assert_eq!(ended(&alice, &held).await["state"], "cancelled");

    planted.code.commit(&[("Dockerfile", READING.as_bytes())]);
    let [run, failed] = planted.run(&alice).await;
    assert_eq!(watch.end(), Vec::<String>::new());
    planted.sweep(&server, &[&run, &failed, &held], &mut sweep).await;
    let objects = sweep.objects(&site.cluster, None);
    assert!(objects.contains(&site.namespace), "the events of the builds are still there");
    assert!(sweep.has("what the pod says"));
    planted.is_nowhere_in(&sweep);
    site.close().await;
    server.stop();
}
