//! Canaries: secrets that nobody else has, and everything that is searched for them.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use uuid::Uuid;

use super::api::Api;
use super::cluster::Cluster;
use super::registry::RawClient;

/// What is shown around a canary that was found.
const AROUND_BYTES: usize = 120;

/// A word that is nowhere else.
pub(crate) fn canary(what: &str) -> String {
    format!("CANARY{what}{}", &Uuid::now_v7().simple().to_string()[20..])
}

/// A word as it is, in hexadecimal, and in base64 wherever it begins in what is encoded.
pub(crate) fn spellings(word: &str) -> Vec<String> {
    let hex = word.bytes().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    });
    let within = (0..3).map(|before| {
        let encoded = BASE64_STANDARD.encode(format!("{}{word}...", "x".repeat(before)));
        // What is mixed with what stands around it is left out.
        encoded[4 * usize::from(before > 0)..encoded.len() - 8].to_owned()
    });
    // What is short is somewhere by chance.
    [word.to_owned(), hex].into_iter().chain(within.filter(|text| text.len() >= 8)).collect()
}

/// Everything that was seen: what it is, and its content.
#[derive(Default)]
pub(crate) struct Sweep {
    seen: Vec<(String, Vec<u8>)>,
}

impl Sweep {
    /// Takes a content along.
    pub(crate) fn take(&mut self, what: impl Into<String>, content: impl Into<Vec<u8>>) {
        self.seen.push((what.into(), content.into()));
    }

    /// Every file below a folder, what is compressed in it too.
    pub(crate) fn folder(&mut self, folder: &Path) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                self.folder(&path);
                continue;
            }
            let bytes = std::fs::read(&path).unwrap_or_default();
            if let Some(content) = unpacked(&bytes) {
                self.take(format!("in {}", path.display()), content);
            }
            self.take(path.display().to_string(), bytes);
        }
    }

    /// Everything that an admin can read without naming a thing, and these pages.
    pub(crate) async fn shown(&mut self, admin: &Api, pages: &[String]) {
        let document = admin.get("/api/openapi.json").await.expect(200).json();
        let paths = document["paths"].as_object().unwrap();
        let plain = paths.iter().filter(|(path, verbs)| {
            // A stream of events has no end.
            !path.contains('{') && verbs["get"].is_object() && !path.ends_with("/events")
        });
        let mut count = 0;
        for path in plain.map(|(path, _)| path.clone()).chain(pages.iter().cloned()) {
            let answer = admin.get(&path).await;
            count += usize::from(answer.status == 200);
            self.take(path, answer.text);
        }
        assert!(count > 20, "much was read: {count}");
    }

    /// A backup of the database as an operator takes it from a server that runs, unpacked; its text.
    pub(crate) fn backup(&mut self, data_dir: &Path) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("backup");
        let taken = Command::new(env!("CARGO_BIN_EXE_longshore"))
            .args(["db", "backup"])
            .arg(&file)
            .arg("--data-dir")
            .arg(data_dir)
            .output()
            .unwrap();
        assert!(taken.status.success(), "{}", String::from_utf8_lossy(&taken.stderr));
        self.take("what was said of the backup", [taken.stdout, taken.stderr].concat());
        let content = unpacked(&std::fs::read(&file).unwrap()).expect("a backup is compressed");
        let text = String::from_utf8(content.clone()).unwrap();
        self.take("a backup", content);
        text
    }

    /// An image in our registry: its manifest, its configuration with its history, and every file in it; the configuration.
    pub(crate) async fn image(&mut self, door: &RawClient, repository: &str, digest: &str) -> String {
        let manifest = door.manifest(repository, digest).await.expect(200);
        let layers = manifest.json()["layers"].as_array().unwrap().clone();
        let config = manifest.json()["config"]["digest"].as_str().unwrap().to_owned();
        self.take(format!("the manifest of {repository}"), manifest.text);
        let config = door.get(&format!("/v2/{repository}/blobs/{config}")).await.expect(200).text;
        self.take(format!("the configuration of {repository}"), config.clone());
        for layer in layers {
            let digest = layer["digest"].as_str().unwrap();
            let path = format!("/v2/{repository}/blobs/{digest}");
            let answer = door.request(reqwest::Method::GET, &path).send().await.unwrap();
            let bytes = answer.error_for_status().unwrap().bytes().await.unwrap();
            let content = unpacked(&bytes).expect("layers are compressed");
            self.take(format!("the layer {digest} of {repository}"), content);
        }
        config
    }

    /// The objects of a cluster's own kinds, with what is remembered of who wrote what: those of a namespace, or all there are; their text.
    pub(crate) fn objects(&mut self, cluster: &Cluster, namespace: Option<&str>) -> String {
        let kinds = cluster.kubectl(&["api-resources", "--verbs=list", "-o", "name"]);
        // Other tests make kinds of their own, and take them away again.
        let is_own = |kind: &&str| {
            let group = kind.split_once('.').map_or("", |(_, group)| group);
            let is_known = matches!(group, "" | "apps" | "batch" | "policy") || group.ends_with(".k8s.io");
            // What these say is asked of all nodes anew, and is no object.
            is_known && !kind.starts_with("componentstatuses") && !group.starts_with("metrics")
        };
        let kinds: Vec<&str> = kinds.lines().filter(is_own).collect();
        assert!(
            ["secrets", "pods", "events", "jobs.batch"].iter().all(|kind| kinds.contains(kind)),
            "{kinds:?}"
        );
        let place = namespace.map_or(vec!["--all-namespaces"], |namespace| vec!["-n", namespace]);
        let kinds = kinds.join(",");
        let words = ["get", &kinds, "-o", "json", "--show-managed-fields"];
        let objects = cluster.kubectl(&[&words[..], &place[..]].concat());
        self.take(format!("objects of {}", namespace.unwrap_or("the cluster")), objects.clone());
        objects
    }

    /// Whether something of such a name was seen that is not empty.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.seen.iter().any(|(what, content)| what.ends_with(name) && !content.is_empty())
    }

    /// Fails where one of these words is.
    #[track_caller]
    pub(crate) fn is_without<'a>(&self, words: impl IntoIterator<Item = &'a str>) {
        for word in words {
            let finder = memchr::memmem::Finder::new(word);
            for (what, content) in &self.seen {
                let around = finder.find(content).map(|at| {
                    let part =
                        &content[at.saturating_sub(AROUND_BYTES)..(at + AROUND_BYTES).min(content.len())];
                    String::from_utf8_lossy(part).into_owned()
                });
                assert!(around.is_none(), "`{word}` is in {what}: {around:?}");
            }
        }
    }
}

/// What gzip has packed, up to where it is cut off; none for anything else.
fn unpacked(bytes: &[u8]) -> Option<Vec<u8>> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return None;
    }
    let mut content = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut content).ok();
    Some(content)
}
