//! A cluster that builds: its pods reach the registry of a server of the test.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::time::Duration;

use serde_json::Value;

use super::cluster::{Cluster, Gate, cluster, unique};
use super::process::ServerProcess;
use super::runs::RUN_SECS;
use super::server::TestServer;
use super::{eventually, setting};

/// A cluster whose pods reach the registry of a server to come, and the namespace of its builds.
pub(crate) struct Site {
    pub(crate) cluster: Cluster,
    gate: Gate,
    pub(crate) namespace: String,
}

impl Site {
    /// None when the cluster is skipped, or is not of our recipe.
    pub(crate) async fn open() -> Option<Self> {
        let cluster = cluster()?;
        let gate = Gate::open(&cluster.host_ip()?).await;
        Some(Self { cluster, gate, namespace: unique("builds") })
    }

    /// What a server is told of it.
    fn settings(&self) -> Vec<(String, String)> {
        let builder = setting("LONGSHORE_TEST_BUILDER");
        let builder = builder.unwrap_or_else(|| "localhost/longshore-builder:1".to_owned());
        [
            ("machine.enabled", "false"),
            ("outbound.allow", "127.0.0.0/8"),
            ("registry_advertise", self.gate.address()),
            ("pipelines.namespace", &self.namespace),
            ("pipelines.builder_image", &builder),
            ("pipelines.executor", "kubernetes"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }

    /// A server in this process, with the cluster.
    pub(crate) async fn server(&self, more: &[(&str, &str)]) -> TestServer {
        let server = self.server_alone(more).await;
        self.cluster.add_to(&server.admin().await).await;
        server
    }

    /// A server in this process that does not know the cluster yet.
    pub(crate) async fn server_alone(&self, more: &[(&str, &str)]) -> TestServer {
        let settings = self.settings();
        let settings = settings.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let settings: Vec<_> = settings.chain(more.iter().copied()).collect();
        let server = TestServer::without_engine(&settings).await;
        self.gate.lead_to(server.registry.clone());
        server
    }

    /// A server in a process of its own, with the cluster.
    pub(crate) async fn process_with(&self, more: &[(&str, &str)]) -> ServerProcess {
        let server = self.process_alone(more).await;
        self.cluster.add_to(&server.admin().await).await;
        server
    }

    /// A server in a process of its own that does not know the cluster yet.
    pub(crate) async fn process_alone(&self, more: &[(&str, &str)]) -> ServerProcess {
        let settings = self.settings();
        let settings = settings.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let settings: Vec<_> = settings.chain(more.iter().copied()).collect();
        let server = ServerProcess::start_on(&settings).await;
        self.gate.lead_to(server.registry.clone());
        server
    }

    /// Objects of a kind in the namespace of builds.
    pub(crate) fn objects(&self, kind: &str) -> Vec<Value> {
        let listed = self.cluster.object(&["-n", &self.namespace, kind]).unwrap();
        listed["items"].as_array().unwrap().clone()
    }

    /// Waits until nothing is left of the builds, and takes their namespace away.
    pub(crate) async fn close(&self) {
        eventually("nothing is left of the builds", RUN_SECS, || async {
            let left = self.objects("jobs").len() + self.objects("pods").len();
            tokio::time::sleep(Duration::from_millis(200)).await;
            (left == 0).then_some(())
        })
        .await;
        self.cluster.kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]);
    }
}
