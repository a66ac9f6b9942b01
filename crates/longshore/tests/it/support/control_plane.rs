//! A cluster of a test's own without nodes: etcd, an API server and the controllers of what it holds, as processes that may be
//! killed and started again, with what etcd keeps or without. No other test feels it.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::json;
use tempfile::TempDir;

use super::cluster::{Cluster, cluster};
use super::eventually;

/// Seconds that an API server may take to be ready.
const START_SECS: u64 = 60;
/// The controllers that namespaces and what is in them need.
const CONTROLLERS: &str = "--controllers=namespace-controller,serviceaccount-controller,resourcequota-controller,deployment-controller,replicaset-controller";

/// A process that is killed with its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A cluster's control plane.
pub(crate) struct ControlPlane {
    /// The way to it, as its administrator.
    pub(crate) cluster: Cluster,
    program: PathBuf,
    etcd: String,
    etcd_peer: String,
    server: String,
    http: reqwest::Client,
    // Killed in this order.
    controllers: Option<Process>,
    api_server: Option<Process>,
    store: Option<Process>,
    folder: TempDir,
}

impl ControlPlane {
    /// None when clusters are skipped, or when that of the test run is not of our recipe, which has the programs.
    pub(crate) async fn start() -> Option<Self> {
        let program = cluster()?.programs()?.join("kubernetes");
        let folder = tempfile::tempdir().unwrap();
        let ip = own_ip();
        let address = || free_address(&ip);
        let server = address();
        let authority = make_certificates(folder.path(), &server);
        std::fs::create_dir(folder.path().join("bin")).unwrap();
        std::os::unix::fs::symlink(&program, folder.path().join("bin/kubectl")).unwrap();
        // No server of this process may have chosen it yet.
        rustls::crypto::ring::default_provider().install_default().ok();
        let authority = reqwest::Certificate::from_pem(authority.as_bytes()).unwrap();
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([authority])
            .timeout(Duration::from_secs(5))
            .build()
            .unwrap();
        let mut plane = Self {
            cluster: Cluster::at(folder.path().join("admin.kubeconfig")),
            program,
            etcd: format!("http://{}", address()),
            etcd_peer: format!("http://{}", address()),
            server,
            http,
            controllers: None,
            api_server: None,
            store: None,
            folder,
        };
        plane.start_store();
        plane.start_api_server().await;
        let kubeconfig = plane.file("admin.kubeconfig");
        plane.controllers = Some(plane.process(
            "kube-controller-manager",
            &[
                &format!("--kubeconfig={kubeconfig}"),
                "--leader-elect=false",
                "--secure-port=0",
                "--kube-api-qps=300",
                "--kube-api-burst=400",
                CONTROLLERS,
            ],
        ));
        Some(plane)
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// One program is all of them: it does what its name says.
    fn process(&self, name: &str, arguments: &[&str]) -> Process {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join(format!("{name}.log")))
            .unwrap();
        let mut command = Command::new(&self.program);
        command.arg0(name).args(arguments).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        Process(command.spawn().unwrap())
    }

    fn start_store(&mut self) {
        let (etcd, peer) = (&self.etcd, &self.etcd_peer);
        self.store = Some(self.process(
            "etcd",
            &[
                "--name=etcd",
                "--unsafe-no-fsync",
                &format!("--data-dir={}", self.file("etcd")),
                &format!("--listen-client-urls={etcd}"),
                &format!("--advertise-client-urls={etcd}"),
                &format!("--listen-peer-urls={peer}"),
                &format!("--initial-advertise-peer-urls={peer}"),
                &format!("--initial-cluster=etcd={peer}"),
            ],
        ));
    }

    /// Starts the API server and waits until it is ready.
    pub(crate) async fn start_api_server(&mut self) {
        let (ip, port) = self.server.split_once(':').unwrap();
        let file = |flag: &str, name: &str| format!("--{flag}={}", self.file(name));
        self.api_server = Some(self.process(
            "kube-apiserver",
            &[
                &format!("--etcd-servers={}", self.etcd),
                &format!("--bind-address={ip}"),
                &format!("--secure-port={port}"),
                // Nothing here is reached by its service.
                "--advertise-address=10.255.255.1",
                "--endpoint-reconciler-type=none",
                "--service-cluster-ip-range=10.255.0.0/24",
                "--authorization-mode=RBAC",
                "--profiling=false",
                "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
                &file("client-ca-file", "ca.crt"),
                &file("tls-cert-file", "server.crt"),
                &file("tls-private-key-file", "server.key"),
                &file("service-account-key-file", "accounts.pub"),
                &file("service-account-signing-key-file", "accounts.key"),
            ],
        ));
        let url = format!("https://{}/readyz", self.server);
        eventually("the API server is ready", START_SECS, || async {
            let answer = self.http.get(&url).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }

    /// Kills the API server; what it has stored stays.
    pub(crate) fn kill_api_server(&mut self) {
        self.api_server = None;
    }

    /// Kills the API server and loses everything that it has stored.
    pub(crate) fn lose_everything(&mut self) {
        self.api_server = None;
        self.store = None;
        std::fs::remove_dir_all(self.folder.path().join("etcd")).unwrap();
        self.start_store();
    }
}

/// An address of this machine's own that nobody else uses: while the API server is down, its port must stay free.
fn own_ip() -> String {
    let [.., a, b, c] = uuid::Uuid::now_v7().into_bytes();
    format!("127.{}.{b}.{}", 64 + a % 128, 1 + c % 254)
}

fn free_address(ip: &str) -> String {
    std::net::TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap().to_string()
}

/// An authority, the API server's certificate, an administrator's kubeconfig and the key by which service accounts are known; the
/// authority's certificate.
fn make_certificates(folder: &Path, server: &str) -> String {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    let (authority, mut params) = (KeyPair::generate().unwrap(), CertificateParams::default());
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&authority).unwrap().pem();
    let issuer = Issuer::new(params, authority);

    let (ip, _) = server.split_once(':').unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![ip.to_owned(), "kubernetes".to_owned()]).unwrap();
    write("ca.crt", &pem);
    write("server.crt", &params.signed_by(&key, &issuer).unwrap().pem());
    write("server.key", &key.serialize_pem());

    let (key, mut params) = (KeyPair::generate().unwrap(), CertificateParams::default());
    params.distinguished_name.push(DnType::OrganizationName, "system:masters");
    params.distinguished_name.push(DnType::CommonName, "admin");
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    let base64 = |text: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
    let user = json!({"client-certificate-data": base64(&certificate), "client-key-data": base64(&key.serialize_pem())});
    let cluster = json!({"server": format!("https://{server}"), "certificate-authority-data": base64(&pem)});
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "c", "cluster": cluster}], "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    });
    write("admin.kubeconfig", &kubeconfig.to_string());

    let accounts = KeyPair::generate().unwrap();
    write("accounts.key", &accounts.serialize_pem());
    write("accounts.pub", &accounts.public_key_pem());
    pem
}
