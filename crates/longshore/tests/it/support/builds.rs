//! Builds over the API, and whether what they made can be pulled.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use wire::ids::InstanceId;

use super::api::{Answer, Api};
use super::eventually;

/// Seconds that a build may take on a loaded machine.
pub(crate) const BUILD_SECS: u64 = 300;

impl Api {
    /// Uploads an archive to the platform's own route.
    pub(crate) async fn build(&self, image: &str, archive: Vec<u8>) -> Answer {
        let request = self.request(Method::POST, &format!("/api/v1/builds?image={image}"));
        self.send(request.header("content-type", "application/octet-stream").body(archive)).await
    }

    /// Uploads an archive that must be accepted; the build's id.
    pub(crate) async fn accepted(&self, image: &str, archive: Vec<u8>) -> String {
        let answer = self.build(image, archive).await.expect(202);
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// Uploads a zip as seed 000 does.
    pub(crate) async fn upload_image(&self, fields: &[(&str, &str)], archive: Vec<u8>) -> Answer {
        let mut form = Form::new();
        for (name, value) in fields {
            form = form.text((*name).to_owned(), (*value).to_owned());
        }
        form = form.part("file", Part::bytes(archive).file_name("context.zip"));
        let request = self.request(Method::POST, "/image/upload_image");
        self.send(request.timeout(Duration::from_secs(BUILD_SECS)).multipart(form)).await
    }

    /// A build as it is now.
    pub(crate) async fn build_now(&self, id: &str) -> Value {
        self.get(&format!("/api/v1/builds/{id}")).await.expect(200).json()
    }

    /// Waits for a build's end.
    pub(crate) async fn ended(&self, id: &str) -> Value {
        self.build_where(id, "the build ends", |build| {
            matches!(build["state"].as_str(), Some("succeeded" | "failed" | "cancelled"))
        })
        .await
    }

    /// Waits until a build is in some way.
    pub(crate) async fn build_where(&self, id: &str, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        eventually(what, BUILD_SECS, || async {
            let build = self.build_now(id).await;
            is_it(&build).then_some(build)
        })
        .await
    }

    /// Waits for a build that must succeed.
    pub(crate) async fn succeeded(&self, id: &str) -> Value {
        let build = self.ended(id).await;
        if build["state"] != "succeeded" {
            let log = self.get(&format!("/api/v1/builds/{id}/log")).await.text;
            panic!("{build:#}\n{log}");
        }
        build
    }
}

/// Pulls an image by its digest as a client of the registry does: manifest, configuration and every layer, each compared
/// with its digest.
pub(crate) async fn pull(
    registry: &str,
    account: &str,
    password: &str,
    repository: &str,
    digest: &str,
) -> Result<(), String> {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let token = http
        .get(format!("http://{registry}/api/registry/token"))
        .query(&[("service", "longshore-registry"), ("scope", &format!("repository:{repository}:pull"))])
        .basic_auth(account, Some(password))
        .send()
        .await
        .map_err(|error| error.to_string())?;
    let token: Value = token.json().await.map_err(|error| error.to_string())?;
    let token = token["token"].as_str().ok_or("no token")?.to_owned();
    let get = async |kind: &str, digest: &str| -> Result<Vec<u8>, String> {
        let accept = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json";
        let url = format!("http://{registry}/v2/{repository}/{kind}/{digest}");
        let request = http.get(url).bearer_auth(&token).header("accept", accept);
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let bytes = answer.bytes().await.map_err(|error| error.to_string())?;
        if !status.is_success() {
            return Err(format!("{kind} {digest}: {status} {}", String::from_utf8_lossy(&bytes)));
        }
        let found = format!("sha256:{}", hex::encode(Sha256::digest(&bytes)));
        if found != digest {
            return Err(format!("{kind} {digest} has the content {found}"));
        }
        Ok(bytes.into())
    };
    let manifest: Value =
        serde_json::from_slice(&get("manifests", digest).await?).map_err(|error| error.to_string())?;
    let layers = manifest["layers"].as_array().cloned().unwrap_or_default();
    for blob in layers.iter().chain([&manifest["config"]]) {
        get("blobs", blob["digest"].as_str().ok_or("a blob without a digest")?).await?;
    }
    Ok(())
}

/// What builds of an installation have left: containers of steps, tags of their own and for pushing, contexts, and what
/// was uploaded for them.
pub(crate) fn leftovers(docker: &str, instance: InstanceId, data_dir: &Path) -> Vec<String> {
    let short = instance.short();
    let names = super::machine::docker(docker, &["images", "-a", "--format", "{{.Repository}}:{{.Tag}}"]);
    let is_ours = |name: &&str| {
        name.starts_with(&format!("ls-b/{short}:")) || name.contains(&format!(":ls-stage-{short}-"))
    };
    let mut left: Vec<String> = names.lines().filter(is_ours).map(str::to_owned).collect();
    for container in super::machine::docker(docker, &["ps", "-aq"]).lines() {
        // Other tests remove theirs meanwhile.
        let words = ["-H", docker, "inspect", "--format", "{{.HostConfig.CgroupParent}}", container];
        let output = std::process::Command::new("docker").args(words).output().unwrap();
        let parent = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if parent.contains(&short) {
            left.push(format!("{container} in {parent}"));
        }
    }
    for folder in ["contexts", "incoming"] {
        let files = std::fs::read_dir(data_dir.join("blobs").join(folder)).unwrap();
        left.extend(files.map(|file| file.unwrap().path().display().to_string()));
    }
    left
}
