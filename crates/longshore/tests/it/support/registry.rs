//! A registry client that does exactly what a test says, and a stock Docker client.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use server::clients::registry::client::digest_of;

use super::api::{Answer, Api};
use super::server::TestServer;

/// The content type of image manifests.
pub(crate) const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// The content type of indexes.
pub(crate) const INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// An image made of bytes: the registry does not look into layers.
#[derive(Clone)]
pub(crate) struct RawImage {
    pub(crate) media_type: &'static str,
    pub(crate) manifest: Vec<u8>,
    pub(crate) digest: String,
    /// Configuration and layers.
    pub(crate) blobs: Vec<Vec<u8>>,
}

impl RawImage {
    /// An image with these layers, base first, and this `config`.
    pub(crate) fn of(layers: &[&str], config: &Value) -> Self {
        let config =
            json!({"architecture": "amd64", "os": "linux", "config": config}).to_string().into_bytes();
        let layers: Vec<Vec<u8>> = layers.iter().map(|text| text.as_bytes().to_vec()).collect();
        let descriptor = |bytes: &[u8], media_type: &str| json!({"mediaType": media_type, "size": bytes.len(), "digest": digest_of(bytes)});
        let layer = |bytes: &Vec<u8>| descriptor(bytes, "application/vnd.docker.image.rootfs.diff.tar.gzip");
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(&config, "application/vnd.docker.container.image.v1+json"),
            "layers": layers.iter().map(layer).collect::<Vec<_>>(),
        });
        let manifest = manifest.to_string().into_bytes();
        let digest = digest_of(&manifest).to_string();
        Self { media_type: MANIFEST, manifest, digest, blobs: layers.into_iter().chain([config]).collect() }
    }

    /// An image with one layer.
    pub(crate) fn new(layer: &str) -> Self {
        Self::of(&[layer], &json!({"Cmd": [layer]}))
    }

    /// An index of images for these platforms; its blobs are none of its own.
    pub(crate) fn index(images: &[(&Self, &str)]) -> Self {
        let child = |(image, architecture): &(&Self, &str)| {
            json!({
                "mediaType": image.media_type,
                "size": image.manifest.len(),
                "digest": image.digest,
                "platform": {"os": "linux", "architecture": architecture},
            })
        };
        let manifests: Vec<Value> = images.iter().map(child).collect();
        let manifest = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
        let manifest = manifest.to_string().into_bytes();
        let digest = digest_of(&manifest).to_string();
        Self { media_type: INDEX, manifest, digest, blobs: Vec::new() }
    }

    /// Compressed size of its own blobs.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.len() as u64).sum()
    }
}

/// Speaks to a door (or past it) with somebody's registry token.
#[derive(Clone)]
pub(crate) struct RawClient {
    pub(crate) base: String,
    pub(crate) token: Option<String>,
    pub(crate) http: reqwest::Client,
}

impl RawClient {
    /// A request to extend.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub(crate) async fn send(&self, request: RequestBuilder) -> Answer {
        let api = Api { url: self.base.clone(), token: None, http: self.http.clone() };
        api.send(request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path).header("accept", format!("{MANIFEST}, {INDEX}"))).await
    }

    /// Uploads one blob in one piece.
    pub(crate) async fn put_blob(&self, repository: &str, blob: Vec<u8>) -> Answer {
        let begun = self.send(self.request(Method::POST, &format!("/v2/{repository}/blobs/uploads/"))).await;
        if begun.status != 202 {
            return begun;
        }
        let location = begun.headers["location"].to_str().unwrap().to_owned();
        let digest = digest_of(&blob);
        let separator = if location.contains('?') { '&' } else { '?' };
        let path = format!("{location}{separator}digest={digest}");
        let path = path.strip_prefix(&self.base).unwrap_or(&path).to_owned();
        self.send(self.request(Method::PUT, &path).body(blob)).await
    }

    /// Uploads a manifest under a tag or digest.
    pub(crate) async fn put_manifest(&self, repository: &str, reference: &str, image: &RawImage) -> Answer {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let request = self.request(Method::PUT, &path).header("content-type", image.media_type);
        self.send(request.body(image.manifest.clone())).await
    }

    /// Pushes a whole image; the answer to its manifest.
    pub(crate) async fn push(&self, repository: &str, reference: &str, image: &RawImage) -> Answer {
        for blob in &image.blobs {
            self.put_blob(repository, blob.clone()).await.expect(201);
        }
        self.put_manifest(repository, reference, image).await
    }

    /// The manifest of a tag or digest.
    pub(crate) async fn manifest(&self, repository: &str, reference: &str) -> Answer {
        self.get(&format!("/v2/{repository}/manifests/{reference}")).await
    }

    /// The same door with another token.
    pub(crate) fn with_token(&self, token: impl Into<String>) -> Self {
        Self { token: Some(token.into()), ..self.clone() }
    }
}

impl TestServer {
    /// The door, as nobody.
    pub(crate) fn door(&self) -> RawClient {
        RawClient { base: format!("http://{}", self.registry), token: None, http: self.api.http.clone() }
    }

    /// Distribution itself, past the door.
    pub(crate) async fn distribution(&self) -> RawClient {
        let base = self.app.registry.base().await.unwrap();
        RawClient { base: base.to_string(), token: None, http: self.api.http.clone() }
    }

    /// What the token server answers to this name and secret.
    pub(crate) async fn ask_token(&self, login: Option<(&str, &str)>, scopes: &[&str]) -> Answer {
        let query: Vec<(&str, &str)> = [("service", "longshore-registry")]
            .into_iter()
            .chain(scopes.iter().map(|scope| ("scope", *scope)))
            .collect();
        let mut request =
            self.api.http.get(format!("http://{}/api/registry/token", self.registry)).query(&query);
        if let Some((name, secret)) = login {
            request = request
                .header("authorization", format!("Basic {}", STANDARD.encode(format!("{name}:{secret}"))));
        }
        self.api.send(request).await
    }

    /// A token for an account made by [`TestServer::account`].
    pub(crate) async fn token_of(&self, name: &str, scopes: &[&str]) -> String {
        let answer = self.ask_token(Some((name, &format!("{name} password"))), scopes).await.expect(200);
        answer.json()["token"].as_str().unwrap().to_owned()
    }

    /// The door with an account's token for one repository.
    pub(crate) async fn door_of(&self, name: &str, repository: &str) -> RawClient {
        let token = self.token_of(name, &[&format!("repository:{repository}:pull,push")]).await;
        self.door().with_token(token)
    }

    /// What a token opens, as the token itself says.
    pub(crate) fn access_in(token: &str) -> Value {
        let payload = token.split('.').nth(1).unwrap();
        let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap();
        serde_json::from_slice::<Value>(&payload).unwrap()["access"].clone()
    }

    /// The process of the server's registry.
    pub(crate) fn registry_process(&self) -> Option<i32> {
        let config = self.data_dir().join("registry/config.yml").canonicalize().ok()?;
        let config = config.into_os_string().into_encoded_bytes();
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let mut ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        ids.find(|id| {
            let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).any(|word| word == config)
        })
    }

    /// Kills the server's registry as a crash would.
    pub(crate) async fn kill_registry(&self) -> i32 {
        let id = super::eventually("the registry runs", 30, || async { self.registry_process() }).await;
        assert!(Command::new("kill").args(["-9", &id.to_string()]).status().unwrap().success());
        let path = PathBuf::from(format!("/proc/{id}/cmdline"));
        let is_gone = || async { std::fs::read(&path).unwrap_or_default().is_empty().then_some(()) };
        super::eventually("the killed registry is gone", 30, is_gone).await;
        id
    }
}

/// A stock Docker client with a configuration of its own, on the test engine.
pub(crate) struct Docker {
    engine: String,
    config: tempfile::TempDir,
}

impl Docker {
    /// None when the engine is skipped.
    pub(crate) fn new() -> Option<Self> {
        Some(Self { engine: super::engine()?, config: tempfile::tempdir().unwrap() })
    }

    /// Runs `docker ARGUMENTS…` with this on its standard input.
    pub(crate) async fn run(&self, arguments: &[&str], input: Vec<u8>) -> Output {
        use std::io::Write as _;

        let mut command = Command::new("docker");
        command.args(["-H", &self.engine, "--config"]).arg(self.config.path()).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let run = move || {
            let mut child = command.spawn().unwrap();
            let mut stdin = child.stdin.take().unwrap();
            // A client that fails early does not read it.
            drop(stdin.write_all(&input));
            drop(stdin);
            child.wait_with_output().unwrap()
        };
        tokio::task::spawn_blocking(run).await.unwrap()
    }

    /// The same, and it must succeed; what it printed.
    pub(crate) async fn ok(&self, arguments: &[&str], input: &[u8]) -> String {
        let output = self.run(arguments, input.to_vec()).await;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "docker {arguments:?}: {error}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The same, and it must fail; what it complained of.
    pub(crate) async fn fails(&self, arguments: &[&str], input: &[u8]) -> String {
        let output = self.run(arguments, input.to_vec()).await;
        assert!(!output.status.success(), "docker {arguments:?} succeeded");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Makes an image of one file on the engine.
    pub(crate) async fn import(&self, name: &str, content: &str, changes: &[&str]) {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, "content", content.as_bytes()).unwrap();
        let tar = tar.into_inner().unwrap();
        let mut arguments = vec!["import"];
        for change in changes {
            arguments.extend(["--change", change]);
        }
        arguments.extend(["-", name]);
        self.ok(&arguments, &tar).await;
    }

    /// Logs in.
    pub(crate) async fn login(&self, registry: &str, name: &str, secret: &str) {
        self.ok(&["login", "-u", name, "--password-stdin", registry], secret.as_bytes()).await;
    }
}

/// A program that runs Distribution until it is told to fail instead.
pub(crate) fn breakable_registry(folder: &Path) -> PathBuf {
    let path = folder.join("registry.sh");
    write_script(&path, "exec docker-registry \"$@\"");
    path
}

/// Rewrites such a program.
pub(crate) fn write_script(path: &Path, line: &str) {
    use std::os::unix::fs::PermissionsExt as _;

    // Another file each time: one that runs cannot be written to.
    let aside = path.with_extension("new");
    std::fs::write(&aside, format!("#!/bin/sh\n{line}\n")).unwrap();
    std::fs::set_permissions(&aside, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(aside, path).unwrap();
}
