//! A server in this process, on free ports, with a data folder of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use server::Server;
use server::app::App;
use server::config::{self, Layer};
use tempfile::TempDir;

use super::api::Api;

/// The admin's password in tests.
pub(crate) const ADMIN_PASSWORD: &str = "admin password of the tests";

/// A client without a token.
pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().expect("a client")
}

/// A client that recognises a server by its own authority.
fn recognising_client(fingerprint: Option<&str>) -> reqwest::Client {
    let tls = agent::tls::client_config(fingerprint).expect("the server has a fingerprint");
    reqwest::Client::builder().no_proxy().tls_backend_preconfigured(tls).build().expect("a client")
}

/// A running server. Stop it with [`TestServer::stop`]; a test that fails leaves it to the end of its runtime.
pub(crate) struct TestServer {
    pub(crate) app: App,
    pub(crate) url: String,
    /// `host:port` of the registry's door.
    pub(crate) registry: String,
    pub(crate) api: Api,
    server: Server,
    folder: Arc<TempDir>,
    settings: Layer,
}

impl TestServer {
    /// A server with its own registry and the test engine as its machine.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with other settings (`key`, `value` as on the command line).
    pub(crate) async fn start_with(settings: &[(&str, &str)]) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a temporary folder"));
        let mut layer = Layer::new();
        match super::engine() {
            Some(engine) => layer.insert("machine.docker".into(), engine),
            None => layer.insert("machine.enabled".into(), "false".into()),
        };
        for (key, value) in settings {
            layer.insert((*key).to_owned(), (*value).to_owned());
        }
        Self::start_in(folder, layer).await
    }

    /// A server without a machine: for what needs no engine.
    pub(crate) async fn without_engine(settings: &[(&str, &str)]) -> Self {
        let settings: Vec<_> =
            [("machine.enabled", "false")].into_iter().chain(settings.iter().copied()).collect();
        let folder = Arc::new(tempfile::tempdir().expect("a temporary folder"));
        let layer = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Self::start_in(folder, layer).await
    }

    async fn start_in(folder: Arc<TempDir>, settings: Layer) -> Self {
        super::print_log();
        let mut layer = settings.clone();
        let defaults = [
            ("data_dir", folder.path().join("data").display().to_string()),
            ("listen", "127.0.0.1:0".to_owned()),
            ("registry_listen", "127.0.0.1:0".to_owned()),
            ("admin_password", ADMIN_PASSWORD.to_owned()),
            // However full the disk of the tests is.
            ("images.disk_high_percent", "0".to_owned()),
        ];
        for (key, value) in defaults {
            layer.entry(key.to_owned()).or_insert(value);
        }
        let loaded = config::load(None, |_| None, &layer).expect("the test's settings are valid");
        let server = longshore::run::start(loaded.config).await.expect("the server starts");
        let (scheme, http) = match server.app.tls.fingerprint() {
            None => ("http", client()),
            some => ("https", recognising_client(some)),
        };
        let url = format!("{scheme}://{}", server.address);
        Self {
            app: server.app.clone(),
            registry: server.registry_address.to_string(),
            api: Api { url: url.clone(), token: None, http },
            url,
            server,
            folder,
            settings,
        }
    }

    /// Where the server keeps its things.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.app.config.data_dir.clone()
    }

    /// A folder of the test's own, beside the data folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Stops the server in order.
    pub(crate) async fn stop(self) {
        self.server.stop().await.expect("the server stops");
    }

    /// Stops the server and starts another on the same data folder (other ports).
    pub(crate) async fn restart(self) -> Self {
        let (folder, settings) = (Arc::clone(&self.folder), self.settings.clone());
        self.stop().await;
        Self::start_in(folder, settings).await
    }

    /// Registers an account with the password `<name> password` and logs it in.
    pub(crate) async fn account(&self, name: &str) -> Api {
        let credentials = json!({"account": name, "password": format!("{name} password")});
        self.api.post("/api/auth/register", credentials).await.expect(200);
        self.login(name, &format!("{name} password")).await
    }

    /// Logs in.
    pub(crate) async fn login(&self, name: &str, password: &str) -> Api {
        let answer = self
            .api
            .post("/api/auth/login", json!({"account": name, "password": password}))
            .await
            .expect(200);
        let token = answer.json()["access_token"].as_str().expect("a token").to_owned();
        self.api.with_token(token)
    }

    /// The admin.
    pub(crate) async fn admin(&self) -> Api {
        self.login("admin", ADMIN_PASSWORD).await
    }
}
