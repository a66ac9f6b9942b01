//! The Kubernetes cluster that the tests share, and what they do to it as its administrator.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::api::Api;

/// The cluster of the test run.
#[derive(Clone)]
pub(crate) struct Cluster {
    kubeconfig: PathBuf,
}

/// None when the cluster is skipped.
pub(crate) fn cluster() -> Option<Cluster> {
    if super::is_skipped("cluster") {
        return None;
    }
    let message = "LONGSHORE_TEST_KUBECONFIG must name an administrator's kubeconfig of the test cluster (`./test` starts one), or LONGSHORE_TEST_SKIP must hold `cluster`";
    let kubeconfig = super::setting("LONGSHORE_TEST_KUBECONFIG").expect(message).into();
    Some(Cluster { kubeconfig })
}

/// A name that no other test has: all of them share the cluster.
pub(crate) fn unique(prefix: &str) -> String {
    let id = uuid::Uuid::now_v7().simple().to_string();
    format!("{prefix}{}", &id[id.len() - 8..])
}

impl Cluster {
    /// Another one than that of the test run, by its administrator's kubeconfig.
    pub(super) fn at(kubeconfig: PathBuf) -> Self {
        Self { kubeconfig }
    }

    /// Where the programs are that a cluster of our recipe was made of; none for another.
    pub(super) fn programs(&self) -> Option<PathBuf> {
        Some(std::fs::read_to_string(self.folder().join("programs")).ok()?.trim().into())
    }

    /// The folder of a cluster that the recipe made.
    fn folder(&self) -> &Path {
        self.kubeconfig.parent().unwrap()
    }

    /// An address of this machine that pods and nodes reach; none for a cluster that is not of our recipe.
    pub(crate) fn host_ip(&self) -> Option<String> {
        Some(std::fs::read_to_string(self.folder().join("host_ip")).ok()?.trim().to_owned())
    }

    /// Where the runtime of a cluster of our recipe listens.
    pub(crate) fn runtime(&self) -> Option<String> {
        let socket = self.folder().join("containerd.sock");
        socket.exists().then(|| socket.display().to_string())
    }

    /// The administrator's kubeconfig.
    pub(crate) fn kubeconfig_path(&self) -> String {
        self.kubeconfig.display().to_string()
    }

    /// Which of this machine's clusters it is: its addresses are made of it.
    pub(crate) fn number(&self) -> String {
        std::fs::read_to_string(self.folder().join("number")).unwrap().trim().to_owned()
    }

    /// Makes the nodes reach a registry without TLS.
    pub(crate) fn trust_registry(&self, address: &str) {
        let folder = self.folder().join("registries").join(address);
        std::fs::create_dir_all(&folder).unwrap();
        let text = format!(
            "server = \"http://{address}\"\n[host.\"http://{address}\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
        );
        std::fs::write(folder.join("hosts.toml"), text).unwrap();
    }

    fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let own = self.folder().join("bin/kubectl");
        let program = if own.exists() { own } else { "kubectl".into() };
        let mut command = Command::new(program);
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(arguments);
        command
    }

    /// What `kubectl` says as administrator, or what it complains of.
    pub(crate) fn try_kubectl(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut child = self
            .kubectl_command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    /// What `kubectl` says as administrator; it must not complain.
    #[track_caller]
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        self.try_kubectl(arguments, "").unwrap()
    }

    /// Applies a file as administrator.
    #[track_caller]
    pub(crate) fn apply(&self, yaml: &str) {
        self.try_kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "-"], yaml).unwrap();
    }

    /// An object as JSON.
    pub(crate) fn object(&self, arguments: &[&str]) -> Option<Value> {
        let arguments = [&["get", "-o", "json"], arguments].concat();
        Some(serde_json::from_str(&self.try_kubectl(&arguments, "").ok()?).unwrap())
    }

    /// A kubeconfig of a service account. The one that `longshore cluster role` is for can be made again and again.
    pub(crate) fn kubeconfig_of(&self, namespace: &str, account: &str) -> Value {
        let token = self.kubectl(&["-n", namespace, "create", "token", account, "--duration=2h"]);
        let admin = self.admin_kubeconfig();
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "c", "cluster": admin["clusters"][0]["cluster"]}],
            "users": [{"name": "u", "user": {"token": token.trim()}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        })
    }

    fn admin_kubeconfig(&self) -> Value {
        let text = self.kubectl(&["config", "view", "--raw", "--flatten", "-o", "json"]);
        serde_json::from_str(&text).unwrap()
    }

    /// The kubeconfig with the least rights that we need, as `longshore cluster role` has it.
    pub(crate) fn least_kubeconfig(&self) -> Value {
        self.apply(server::clients::kube::role::ROLE);
        self.kubeconfig_of("longshore-system", "longshore")
    }

    /// What an admin sends to add this cluster to a server under a name, with the least rights.
    pub(crate) fn addition(&self, name: &str) -> Value {
        let kubeconfig = self.least_kubeconfig().to_string();
        json!({"name": name, "kubeconfig": kubeconfig, "pod_ranges": ["10.244.0.0/16"]})
    }

    /// Adds this cluster to a server.
    pub(crate) async fn add_to(&self, admin: &Api) {
        admin.post("/api/v1/clusters", self.addition("test")).await.expect(201);
    }

    /// The API server's `host:port`.
    pub(crate) fn server(&self) -> String {
        let admin = self.admin_kubeconfig();
        let server = admin["clusters"][0]["cluster"]["server"].as_str().unwrap();
        server.strip_prefix("https://").unwrap().to_owned()
    }
}

/// An address that pods and nodes reach, for a server that listens on this machine alone.
pub(crate) struct Gate {
    address: String,
    listener: Mutex<Option<TcpListener>>,
    target: Target,
}

/// Where connections are carried, which may change.
type Target = Arc<Mutex<String>>;

/// Carries every connection of a listener to a target until told to stop.
fn carry(listener: TcpListener, target: Target, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    let further = tasks.clone();
    tasks.spawn(async move {
        loop {
            let mut client = tokio::select! {
                () = stop.cancelled() => return,
                client = listener.accept() => client.unwrap().0,
            };
            let (stop, target) = (stop.clone(), target.lock().unwrap().clone());
            further.spawn(async move {
                if let Ok(mut server) = TcpStream::connect(target).await {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                    }
                }
            });
        }
    });
}

impl Gate {
    pub(crate) async fn open(ip: &str) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        Self { address, listener: Mutex::new(Some(listener)), target: Target::default() }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Carries every connection there from now on, until the test ends.
    pub(crate) fn lead_to(&self, target: String) {
        *self.target.lock().unwrap() = target;
        if let Some(listener) = self.listener.lock().unwrap().take() {
            carry(listener, Arc::clone(&self.target), CancellationToken::new());
        }
    }
}

/// A way to the API server that can be taken away: what a cluster looks like that went.
pub(crate) struct Cable {
    address: std::net::SocketAddr,
    target: String,
    open: CancellationToken,
}

impl Cable {
    pub(crate) async fn to(cluster: &Cluster) -> Self {
        let target = cluster.server();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let open = CancellationToken::new();
        carry(listener, Arc::new(Mutex::new(target.clone())), open.clone());
        Self { address, target, open }
    }

    /// The same kubeconfig with this way.
    pub(crate) fn through(&self, mut kubeconfig: Value) -> Value {
        kubeconfig["clusters"][0]["cluster"]["server"] = format!("https://{}", self.address).into();
        kubeconfig["clusters"][0]["cluster"]["tls-server-name"] = "kubernetes".into();
        kubeconfig
    }

    pub(crate) fn cut(&self) {
        self.open.cancel();
    }

    /// Breaks every connection and takes new ones without ever answering: what an API server looks like that hangs.
    pub(crate) async fn hang(&mut self) {
        self.cut();
        let listener = self.listen().await;
        self.open = CancellationToken::new();
        let stop = self.open.clone();
        TaskTracker::new().spawn(async move {
            let mut held = Vec::new();
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    client = listener.accept() => held.push(client.unwrap().0),
                }
            }
        });
    }

    async fn listen(&self) -> TcpListener {
        super::eventually("the address is free again", 10, || async {
            TcpListener::bind(self.address).await.ok()
        })
        .await
    }

    pub(crate) async fn mend(&mut self) {
        self.cut();
        let listener = self.listen().await;
        self.open = CancellationToken::new();
        carry(listener, Arc::new(Mutex::new(self.target.clone())), self.open.clone());
    }
}
