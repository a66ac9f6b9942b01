//! Charts, and an account that installs them into a real cluster by the real Helm.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use reqwest::Method;
use serde_json::{Value, json};
use server::clients::registry::client::digest_of;

use super::api::{Answer, Api};
use super::charts::{hex_of, package, packed};
use super::cluster::{Cluster, Gate, cluster, unique};
use super::registry::{MANIFEST, RawImage};
use super::server::TestServer;
use super::{eventually, is_skipped, setting};

/// Seconds that something in the cluster may take.
pub(crate) const CLUSTER_SECS: u64 = 90;

/// The real Helm; none when it is skipped.
pub(crate) fn helm_program() -> Option<PathBuf> {
    if is_skipped("helm") {
        return None;
    }
    let message = "LONGSHORE_TEST_HELM must name Helm's program (`./test` builds it), or LONGSHORE_TEST_SKIP must hold `helm`";
    Some(setting("LONGSHORE_TEST_HELM").expect(message).into())
}

/// Helm with a home of its own, for what needs no cluster; none when it is skipped.
pub(crate) fn helm_at(home: &Path) -> Option<impl Fn(&[&str]) -> Output + use<>> {
    let program = helm_program()?;
    let home = home.to_owned();
    Some(move |arguments: &[&str]| {
        let mut command = Command::new(&program);
        for (name, folder) in
            [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")]
        {
            command.env(name, home.join(folder));
        }
        command.args(arguments).current_dir(&home).env_remove("KUBECONFIG").output().unwrap()
    })
}

/// A server with the cluster, Helm, and an account that has a namespace.
pub(crate) struct Harbour {
    pub(crate) cluster: Cluster,
    pub(crate) server: TestServer,
    pub(crate) henry: Api,
    pub(crate) name: String,
    pub(crate) namespace: String,
}

impl Harbour {
    /// None when the cluster or Helm is skipped.
    pub(crate) async fn open(settings: &[(&str, &str)]) -> Option<Self> {
        let (cluster, helm) = (cluster()?, helm_program()?);
        let helm = helm.display().to_string();
        let settings: Vec<(&str, &str)> =
            [("charts.helm", helm.as_str())].into_iter().chain(settings.iter().copied()).collect();
        let server = TestServer::without_engine(&settings).await;
        Some(Self::furnish(cluster, server).await)
    }

    /// With a registry that the nodes reach; none also for a cluster whose nodes reach nothing here.
    pub(crate) async fn with_registry() -> Option<Self> {
        let gate = Gate::open(&cluster()?.host_ip()?).await;
        let address = gate.address().to_owned();
        let harbour = Self::open(&[("registry_advertise", &address)]).await?;
        harbour.cluster.trust_registry(&address);
        gate.lead_to(harbour.server.registry.clone());
        eventually("the registry answers", CLUSTER_SECS, || async {
            let parts = harbour.server.api.get("/readyz").await.json()["parts"].clone();
            let is_up = |part: &Value| part["name"] == "registry" && part["ready"] == true;
            parts.as_array().is_some_and(|parts| parts.iter().any(is_up)).then_some(())
        })
        .await;
        Some(harbour)
    }

    async fn furnish(cluster: Cluster, server: TestServer) -> Self {
        cluster.add_to(&server.admin().await).await;
        let name = unique("henry");
        let henry = server.account(&name).await;
        henry.post("/api/v1/namespaces", json!({"name": "test"})).await.expect(201);
        let namespace = format!("{name}-test");
        Self { cluster, server, henry, name, namespace }
    }

    pub(crate) async fn close(self) {
        self.henry.delete("/api/v1/namespaces/test").await;
        self.server.stop().await;
    }

    /// Puts an image with a static busybox into the registry, without any engine.
    pub(crate) async fn push_busybox(&self, repo: &str) {
        let repository = format!("{}/{repo}", self.name);
        let door = self.server.door_of(&self.name, &repository).await;
        door.push(&repository, "v1", &busybox()).await.expect(201);
    }

    /// Puts a chart into henry's own repository.
    pub(crate) async fn upload(&self, bytes: Vec<u8>) {
        upload(&self.henry, &self.name, bytes).await.expect(201);
    }

    /// Waits for the end of what an accepted request asks for.
    pub(crate) async fn ended(&self, accepted: &Value) -> Value {
        ended(&self.henry, accepted).await
    }

    /// Installs and waits until that has ended.
    pub(crate) async fn installed(&self, body: Value) -> Value {
        let accepted = self.henry.post("/api/releases", body).await.expect(202).json();
        let operation = self.ended(&accepted).await;
        assert_eq!(operation["state"], "succeeded", "{operation:#} {}", self.log(&operation).await);
        operation
    }

    /// What Helm said.
    pub(crate) async fn log(&self, operation: &Value) -> String {
        let path = format!("/api/release-operations/{}/log", operation["id"].as_str().unwrap());
        self.henry.get(&path).await.expect(200).text
    }

    /// A release as it is shown.
    pub(crate) async fn release(&self, name: &str) -> Value {
        self.henry.get(&format!("/api/releases/{name}")).await.expect(200).json()
    }

    /// Helm as henry himself calls it, with a kubeconfig of his own.
    pub(crate) async fn own_helm(&self) -> OwnHelm {
        let made = self.henry.post("/api/v1/namespaces/test/kubeconfig", json!({})).await.expect(201).json();
        let kubeconfig = self.server.folder().join("henrys.kubeconfig");
        std::fs::write(&kubeconfig, made["kubeconfig"].as_str().unwrap()).unwrap();
        OwnHelm { kubeconfig, folder: self.server.folder().to_owned(), namespace: self.namespace.clone() }
    }

    /// What the secrets of Helm say of a release: revision and status, oldest first.
    pub(crate) fn records(&self, name: &str) -> Vec<(u64, String)> {
        records(&self.cluster, &self.namespace, name)
    }
}

/// What the secrets of Helm say of a release: revision and status, oldest first.
pub(crate) fn records(cluster: &Cluster, namespace: &str, name: &str) -> Vec<(u64, String)> {
    let selector = format!("owner=helm,name={name}");
    let found = cluster.object(&["-n", namespace, "secrets", "-l", &selector]).unwrap();
    let mut records: Vec<_> = found["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|secret| {
            let label = |name: &str| secret["metadata"]["labels"][name].as_str().unwrap().to_owned();
            (label("version").parse().unwrap(), label("status"))
        })
        .collect();
    records.sort();
    records
}

/// Sends a chart into somebody's own repository.
pub(crate) async fn upload(api: &Api, owner: &str, bytes: Vec<u8>) -> Answer {
    api.send(api.request(Method::POST, &format!("/charts/{owner}/api/charts")).body(bytes)).await
}

/// Waits for the end of what an accepted request asks for.
pub(crate) async fn ended(api: &Api, accepted: &Value) -> Value {
    let path = format!("/api/release-operations/{}", accepted["operation"]["id"].as_str().unwrap());
    eventually("the operation has ended", CLUSTER_SECS, || async {
        let operation = api.get(&path).await.expect(200).json();
        matches!(operation["state"].as_str(), Some("succeeded" | "failed" | "cancelled")).then_some(operation)
    })
    .await
}

/// Helm as an account calls it.
pub(crate) struct OwnHelm {
    kubeconfig: PathBuf,
    folder: PathBuf,
    namespace: String,
}

impl OwnHelm {
    fn command(&self, arguments: &[&str]) -> Command {
        command(&self.kubeconfig, &self.folder, &self.namespace, arguments)
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }
}

/// Helm with a kubeconfig and a home of its own.
pub(crate) fn command(kubeconfig: &Path, home: &Path, namespace: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(helm_program().unwrap());
    for (name, folder) in
        [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")]
    {
        command.env(name, home.join(folder));
    }
    command.args(arguments).args(["--namespace", namespace]).env("KUBECONFIG", kubeconfig).current_dir(home);
    command
}

/// An image of one layer: a static busybox.
fn busybox() -> RawImage {
    let program = std::fs::read("/bin/busybox").expect("busybox-static is installed");
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(program.len() as u64);
    header.set_mode(0o755);
    builder.append_data(&mut header, "bin/busybox", program.as_slice()).unwrap();
    let tar = builder.into_inner().unwrap();
    let layer = packed(&tar);
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/busybox", "sleep", "3600"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex_of(&tar))]},
    });
    let config = config.to_string().into_bytes();
    let descriptor = |bytes: &[u8], kind: &str| json!({"mediaType": format!("application/vnd.docker.{kind}"), "size": bytes.len(), "digest": digest_of(bytes)});
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": descriptor(&config, "container.image.v1+json"),
        "layers": [descriptor(&layer, "image.rootfs.diff.tar.gzip")],
    });
    let manifest = manifest.to_string().into_bytes();
    let digest = digest_of(&manifest).to_string();
    RawImage { media_type: MANIFEST, manifest, digest, blobs: vec![layer, config] }
}

/// A chart of these templates, with these values.
pub(crate) fn chart(name: &str, version: &str, values: &str, templates: &[(&str, &str)]) -> Vec<u8> {
    let about = format!("apiVersion: v2\nname: {name}\nversion: {version}\nappVersion: \"{version}\"\n");
    let mut files = vec![
        (format!("{name}/Chart.yaml"), about.into_bytes()),
        (format!("{name}/values.yaml"), values.as_bytes().to_vec()),
    ];
    files.extend(templates.iter().map(|(path, text)| (format!("{name}/{path}"), text.as_bytes().to_vec())));
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    package(&files)
}

/// A map with a text.
pub(crate) const MAP: (&str, &str) = (
    "templates/map.yaml",
    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\ndata:\n  text: {{ .Values.text | quote }}\n",
);

/// A pod that never answers, because there is no such image.
pub(crate) const STUCK: (&str, &str) = (
    "templates/stuck.yaml",
    "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {{ .Release.Name }}-stuck\nspec:\n  replicas: {{ .Values.stuck }}\n  selector: {matchLabels: {app: stuck}}\n  template:\n    metadata: {labels: {app: stuck}}\n    spec:\n      terminationGracePeriodSeconds: 0\n      containers: [{name: c, image: 'registry.invalid/nothing:1'}]\n",
);
