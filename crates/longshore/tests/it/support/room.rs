//! A server with the cluster and an account that has a namespace in it: what tests of workloads begin with.

use std::time::Duration;

use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use super::api::{Answer, Api};
use super::archives::zip_of;
use super::cluster::{Cluster, Gate, cluster, unique};
use super::eventually;
use super::server::TestServer;

/// Seconds that a pod may take.
pub(crate) const POD_SECS: u64 = 60;

/// A server with the cluster and an account that has a namespace.
pub(crate) struct Room {
    pub(crate) cluster: Cluster,
    pub(crate) server: TestServer,
    pub(crate) henry: Api,
    pub(crate) name: String,
    pub(crate) namespace: String,
    gate: Option<Gate>,
}

impl Room {
    /// Without an engine: for what is refused, and for what runs nothing.
    pub(crate) async fn small() -> Option<Self> {
        Self::small_with(&[]).await
    }

    /// The same, with settings.
    pub(crate) async fn small_with(settings: &[(&str, &str)]) -> Option<Self> {
        let cluster = cluster()?;
        let server = TestServer::without_engine(settings).await;
        Some(Self::furnish(cluster, server).await)
    }

    /// With an engine that builds and a registry that the nodes reach; none when either is skipped, or when the cluster is one
    /// whose nodes reach nothing here.
    pub(crate) async fn whole() -> Option<Self> {
        Self::whole_with(&[]).await
    }

    /// The same, with settings.
    pub(crate) async fn whole_with(settings: &[(&str, &str)]) -> Option<Self> {
        let cluster = cluster()?;
        crate::support::engine()?;
        let gate = Gate::open(&cluster.host_ip()?).await;
        cluster.trust_registry(gate.address());
        let address = gate.address().to_owned();
        let settings = [&[("registry_advertise", address.as_str())], settings].concat();
        let server = TestServer::start_with(&settings).await;
        gate.lead_to(server.registry.clone());
        eventually("the server is ready", POD_SECS, || async {
            (server.api.get("/readyz").await.status == 200).then_some(())
        })
        .await;
        let room = Self::furnish(cluster, server).await;
        Some(Self { gate: Some(gate), ..room })
    }

    /// The same with a server that was stopped and started again.
    pub(crate) async fn restarted(self) -> Self {
        let server = self.server.restart().await;
        if let Some(gate) = &self.gate {
            gate.lead_to(server.registry.clone());
        }
        let henry = server.login(&self.name, &format!("{} password", self.name)).await;
        Self { server, henry, ..self }
    }

    /// Without an engine, and with the cluster as `lab`, opened by this kubeconfig: for what happens on the way to it.
    pub(crate) async fn by_way_of(cluster: Cluster, kubeconfig: &Value) -> Self {
        let server = TestServer::without_engine(&[]).await;
        let lab = json!({"name": "lab", "kubeconfig": kubeconfig.to_string()});
        server.admin().await.post("/api/v1/clusters", lab).await.expect(201);
        Self::with_account(cluster, server).await
    }

    pub(crate) async fn furnish(cluster: Cluster, server: TestServer) -> Self {
        cluster.add_to(&server.admin().await).await;
        Self::with_account(cluster, server).await
    }

    async fn with_account(cluster: Cluster, server: TestServer) -> Self {
        let name = unique("henry");
        let henry = server.account(&name).await;
        henry
            .post("/deploy/create_namespace", json!({"username": name, "namespace": "test"}))
            .await
            .expect(200);
        let namespace = format!("{name}-test");
        Self { cluster, server, henry, name, namespace, gate: None }
    }

    pub(crate) async fn close(self) {
        self.henry.post("/deploy/delete_namespace", json!({"namespace": "test"})).await;
        self.server.stop().await;
    }

    /// Uploads the image of the tests as seed 000 does: a web server that shows a word.
    pub(crate) async fn upload(&self, tag: &str, word: &str) {
        let busybox = std::fs::read("/bin/busybox").expect("busybox-static is installed");
        let dockerfile = "FROM scratch\nCOPY busybox /bin/busybox\nCOPY www /www\nCMD [\"/bin/busybox\", \"httpd\", \"-f\", \"-v\", \"-p\", \"8000\", \"-h\", \"/www\"]\n";
        self.upload_with(tag, dockerfile, &[("www/index.html", word.as_bytes()), ("busybox", &busybox)])
            .await;
    }

    /// Uploads any image under a tag.
    pub(crate) async fn upload_with(&self, tag: &str, dockerfile: &str, files: &[(&str, &[u8])]) {
        let archive = zip_of(&[&[("Dockerfile", dockerfile.as_bytes())], files].concat());
        let fields = [("username", self.name.as_str()), ("repo", "app"), ("tag", tag)];
        self.henry.upload_image(&fields, archive).await.expect(200);
    }

    pub(crate) fn deployment(&self, tag: &str) -> String {
        deployment(&format!("{}/app:{tag}", self.name), "")
    }

    pub(crate) async fn rolled_out(&self) -> Value {
        eventually("the deployment is ready", POD_SECS, || async {
            let listed =
                self.henry.get("/deploy/list_all_developments?namespace=test").await.expect(200).json();
            (listed[0]["status"] == "ready").then(|| listed[0].clone())
        })
        .await
    }
}

/// A deployment `web` of an image whose port is 8000, with more in its pods.
pub(crate) fn deployment(image: &str, pod: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, labels: {{app: web}}}}\nspec:\n  replicas: 1\n  \
         selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    spec:\n      {pod}\n      \
         terminationGracePeriodSeconds: 0\n      containers:\n      - name: web\n        image: {image}\n        \
         ports: [{{containerPort: 8000}}]\n        readinessProbe: {{httpGet: {{path: /, port: 8000}}, periodSeconds: 1}}\n"
    )
}

/// Its service.
pub(crate) const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  type: NodePort\n  selector: {app: web}\n  ports: [{port: 80, targetPort: 8000}]\n";

/// Sends a file as the seed's front end does.
pub(crate) async fn send(api: &Api, route: &str, fields: &[(&str, &str)], file: &str, text: &str) -> Answer {
    let mut form = Form::new();
    for (name, value) in fields {
        form = form.text((*name).to_owned(), (*value).to_owned());
    }
    form = form.part("file", Part::bytes(text.as_bytes().to_vec()).file_name(file.to_owned()));
    api.send(api.request(Method::POST, route).timeout(Duration::from_mins(2)).multipart(form)).await
}

pub(crate) async fn page(url: &str) -> Option<String> {
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(3)).build().ok()?;
    http.get(url).send().await.ok()?.text().await.ok()
}
