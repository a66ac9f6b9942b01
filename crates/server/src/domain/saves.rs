//! Containers as images: who may save one, what it would make, and what the image says of itself. The machine copies what
//! the container changed; what its creator told it (variables, arguments) is its own and must not be in the image, where
//! everybody who may pull it could read it. So the image's configuration is that of the image it was made from.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use store::containers::{Desired, Row};
use store::{builds, images};
use wire::builds::BuildView;
use wire::images::CreateParameters;
use wire::names::{AccountName, Digest, ImageName, ImageReference};
use wire::saves::{ContainerSave, LAYERS_MANY, LAYERS_MAX, MESSAGE_CHARS_MAX, PreviewSave, SavePreview};

use super::accounts::{Named, subject};
use super::containers::find;
use super::images::{ImageFacts, inspect, stored_manifest, unusable};
use crate::app::App;
use crate::caller::Caller;
use crate::clients::registry::manifest::{self, Manifest};
use crate::clients::registry::{Repository, client};
use crate::error::{Error, Result};

/// How long a machine may take to look at everything that a container changed.
const PREVIEW_TIMEOUT: Duration = Duration::from_mins(2);

/// A container that can be saved, and the image that it was made from.
async fn admit(app: &App, caller: &Caller, id: &str) -> Result<(Row, images::Row)> {
    let row = find(app, caller, id).await?;
    if row.desired == Desired::Deleted {
        return Err(Error::conflict("being_deleted", format!("container `{}` is being deleted", row.name)));
    }
    if row.engine_id.is_none() {
        let detail = format!("container `{}` has not been made yet", row.name);
        return Err(Error::conflict("not_running", detail));
    }
    let image = images::get(&app.db, row.image_id).await?;
    let image = image.ok_or_else(|| Error::internal("a container's image is missing"))?;
    Ok((row, image))
}

/// What saving a container would make.
pub async fn preview(app: &App, caller: &Caller, id: &str) -> Result<SavePreview> {
    let (row, image) = admit(app, caller, id).await?;
    let call = PreviewSave { instance: app.instance, container: row.id };
    let found = app.hub.call(&row.machine_id, &call, PREVIEW_TIMEOUT).await?;
    let layers = image.layers.len() + 1;
    let max_bytes = app.config.containers.save_bytes;
    let mut warnings = Vec::new();
    if found.size_bytes > max_bytes {
        warnings.push(format!("it has written more than the {} MiB that may be saved", max_bytes >> 20));
    }
    if layers > LAYERS_MAX {
        warnings.push(format!("it would have {layers} layers, and engines take {LAYERS_MAX}: build it anew"));
    } else if layers > LAYERS_MANY {
        warnings.push(format!("it would have {layers} layers, of {LAYERS_MAX} that engines take"));
    }
    let of_image = image.create_parameters.volumes.iter().map(String::as_str);
    let own = row.spec.volumes.iter().map(|volume| volume.target.as_str());
    for volume in of_image.chain(own).collect::<BTreeSet<_>>() {
        warnings.push(format!("what is in the volume `{volume}` is not saved"));
    }
    Ok(SavePreview {
        size_bytes: found.size_bytes,
        max_bytes,
        changes: found.changes,
        biggest: found.biggest,
        is_complete: found.is_complete,
        layers: layers as u64,
        max_layers: LAYERS_MAX as u64,
        warnings,
        parent_image_id: image.id,
        parent_image: row.image_name,
        parameters: image.create_parameters,
    })
}

/// Accepts the saving of a container: it is done when its build has succeeded.
pub async fn create(app: &App, caller: &Caller, id: &str, wanted: &ContainerSave) -> Result<BuildView> {
    let (row, image) = admit(app, caller, id).await?;
    let reference: ImageReference = wanted.image.parse().map_err(|error| {
        let error: wire::names::NameError = error;
        Error { field: Some("image".into()), ..Error::from(error) }
    })?;
    let note = wanted.message.as_deref().map(str::trim).filter(|note| !note.is_empty());
    if let Some(note) = note
        && (note.chars().count() > MESSAGE_CHARS_MAX || note.chars().any(|c| c.is_control() && c != '\n'))
    {
        let detail =
            format!("`message` has at most {MESSAGE_CHARS_MAX} characters, and no control characters");
        return Err(Error::invalid("message", detail));
    }
    let keep = wanted.parameters.as_ref().map(|kept| kept.of(&image.create_parameters));
    if let Some(keep) = &keep {
        check_narrower(keep, &image.create_parameters)?;
    }
    if image.layers.len() + 1 > LAYERS_MAX {
        let detail = format!("the image would have more than the {LAYERS_MAX} layers that engines take");
        return Err(Error::conflict("too_many_layers", detail)
            .hint("build it anew from a Dockerfile, which can do in one layer what was saved in many"));
    }
    let account = store::accounts::get(&app.db, row.account_id).await?;
    let account = account.ok_or_else(|| Error::internal("a container's account is missing"))?;
    let owner = subject(app, caller, Some(Named::Account(account.account.as_str()))).await?;
    let admission = super::builds::admit(app, caller, Some(owner), reference).await?;
    let save = builds::Save {
        container_id: row.id,
        note: note.map(str::to_owned),
        options: builds::SaveOptions { is_paused: wanted.pause.unwrap_or(true), keep },
    };
    super::builds::create_save(app, caller, admission, &save).await
}

/// Parameters may be left out, and nothing else.
fn check_narrower(wanted: &CreateParameters, inherited: &CreateParameters) -> Result<()> {
    let refuse = |field: &str, what: &str| {
        let detail = format!("{what} is not among those of the image that the container was made from");
        Err(Error { code: "not_narrower", ..Error::invalid(format!("parameters.{field}"), detail) }
            .hint("what is inherited can be left out; nothing can be added or changed"))
    };
    let is_pair_of =
        |map: &BTreeMap<String, String>, (name, value): (&String, &String)| map.get(name) == Some(value);
    if let Some(port) = wanted.exposed_ports.iter().find(|port| !inherited.exposed_ports.contains(port)) {
        return refuse("exposed_ports", &format!("port `{port}`"));
    }
    if let Some((name, _)) = wanted.env.iter().find(|pair| !is_pair_of(&inherited.env, *pair)) {
        return refuse("env", &format!("variable `{name}` with this value"));
    }
    if let Some(volume) = wanted.volumes.iter().find(|volume| !inherited.volumes.contains(volume)) {
        return refuse("volumes", &format!("volume `{volume}`"));
    }
    if let Some((name, _)) = wanted.labels.iter().find(|pair| !is_pair_of(&inherited.labels, *pair)) {
        return refuse("labels", &format!("label `{name}` with this value"));
    }
    for (field, is_same) in [
        ("entrypoint", wanted.entrypoint == inherited.entrypoint),
        ("command", wanted.command == inherited.command),
        ("working_dir", wanted.working_dir == inherited.working_dir),
        ("user", wanted.user == inherited.user),
    ] {
        if !is_same {
            return refuse(field, &format!("this `{field}`"));
        }
    }
    Ok(())
}

/// What is known of an image that is being saved.
#[derive(Clone, Copy, Debug)]
pub struct Saved<'a> {
    /// The image to make.
    pub image: &'a ImageName,
    /// What the machine has pushed.
    pub staged: &'a Digest,
    /// The image that the container was made from: where it is, and its content.
    pub base: (&'a Repository, &'a Digest),
    /// What of its parameters is kept; none = all.
    pub keep: Option<&'a CreateParameters>,
    /// Who saved it.
    pub author: &'a AccountName,
    /// What was said of it.
    pub note: Option<&'a str>,
}

/// Makes the layers of an image known in the repository where it will be built on, so that nobody pushes them again. What
/// cannot be done here costs only that.
pub async fn mount_base(app: &App, base: &images::Row, to: &ImageName) {
    let (from, to) = (Repository::new(&base.owner, &base.repo), Repository::from(to));
    if from == to {
        return;
    }
    for layer in &base.layers {
        if let Err(error) = client::mount(app, &from, &to, &layer.digest).await {
            tracing::debug!(%error, "a layer is pushed again");
            return;
        }
    }
}

/// Gives what was pushed the configuration of the image that it was made from; the new image's digest, verified.
pub async fn rewrite(app: &App, saved: &Saved<'_>) -> Result<(Digest, ImageFacts)> {
    let repository = Repository::from(saved.image);
    let stored = stored_manifest(app, &repository, saved.staged).await?;
    let config = read_config(app, &repository, &stored.bytes).await?;
    let base = base_config(app, saved.base).await?;
    let bytes = saved_config(&config, &base, saved).map_err(unusable)?;
    let length = bytes.len();
    let digest = client::put_blob(app, &repository, bytes).await?;

    let broken = || unusable("the manifest that was pushed cannot be read".to_owned());
    let mut manifest: Value = serde_json::from_slice(&stored.bytes).map_err(|_| broken())?;
    let descriptor = manifest.get_mut("config").and_then(Value::as_object_mut).ok_or_else(broken)?;
    descriptor.insert("digest".to_owned(), digest.as_str().into());
    descriptor.insert("size".to_owned(), length.into());
    let bytes = Bytes::from(manifest.to_string());
    let digest = client::digest_of(&bytes);
    let manifest = client::StoredManifest { media_type: stored.media_type, bytes };
    if !client::put_manifest(app, &repository, &manifest).await? {
        return Err(unusable("the registry did not take the image's manifest".to_owned()));
    }
    let facts = inspect(app, &saved.image.owner, &saved.image.repo, &digest).await?;
    Ok((digest, facts))
}

/// Takes what was pushed out of the repository: its configuration holds what the container's creator told it. Only the
/// layers stay, which the image has.
pub async fn forget_staged(app: &App, image: &ImageName, staged: &Digest) -> Result<()> {
    let repository = Repository::from(image);
    let Some(stored) = client::manifest(app, &repository, staged).await? else { return Ok(()) };
    let Ok(Manifest::Image { config, .. }) = Manifest::parse(&stored.bytes) else { return Ok(()) };
    super::images::delete_content(app, &format!("{repository}@{staged}")).await?;
    client::delete_blob(app, &repository, &config.digest).await
}

async fn read_config(app: &App, repository: &Repository, bytes: &[u8]) -> Result<Value> {
    let Manifest::Image { config, .. } = Manifest::parse(bytes).map_err(unusable)? else {
        return Err(unusable("what was pushed is an index and no image".to_owned()));
    };
    let bytes = client::config(app, repository, &config.digest).await?;
    let bytes = bytes.ok_or_else(|| unusable("the image's configuration is missing".to_owned()))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| unusable(format!("the image's configuration cannot be read: {error}")))
}

/// The configuration of the image that a container was made from: of an index, of the image for our kind of machine.
async fn base_config(app: &App, (repository, digest): (&Repository, &Digest)) -> Result<Value> {
    let gone = |_| {
        let detail = "the registry does not have the image any more that the container was made from";
        Error::conflict("image_gone", detail)
    };
    let mut stored = stored_manifest(app, repository, digest).await.map_err(gone)?;
    if let Manifest::Index(children) = Manifest::parse(&stored.bytes).map_err(unusable)? {
        let child = &children[manifest::preferred(&children)];
        stored = stored_manifest(app, repository, &child.manifest.digest).await.map_err(gone)?;
    }
    read_config(app, repository, &stored.bytes).await
}

/// The configuration of a saved image: what describes its layers is that of the copy, what describes its containers that of
/// the image it was made from.
fn saved_config(copy: &Value, base: &Value, saved: &Saved<'_>) -> std::result::Result<Bytes, String> {
    let mut config = Map::new();
    for name in ["architecture", "os", "os.version", "os.features", "variant", "created", "rootfs"] {
        if let Some(value) = copy.get(name) {
            config.insert(name.to_owned(), value.clone());
        }
    }
    if !config.contains_key("rootfs") {
        return Err("the image's configuration names no layers".to_owned());
    }
    // Of each copy the engine notes the container's command, which is its creator's: what is told of the layers comes from
    // the image. A container that was made anew on another graphics processor has more than one layer of its own.
    let mut history = base.get("history").and_then(Value::as_array).cloned().unwrap_or_default();
    let created = copy.get("created").cloned().unwrap_or_default();
    let added = layer_count(copy).saturating_sub(layer_count(base));
    for _ in 1..added {
        history.push(json!({ "created": created, "created_by": "longshore container copy" }));
    }
    let mut own =
        json!({ "created": created, "created_by": "longshore container save", "author": saved.author });
    if let Some(note) = saved.note {
        own["comment"] = note.into();
        config.insert("comment".to_owned(), note.into());
    }
    history.push(own);
    config.insert("history".to_owned(), history.into());
    config.insert("author".to_owned(), saved.author.as_str().into());
    let mut parameters = base.get("config").cloned().unwrap_or_else(|| json!({}));
    if let (Some(keep), Some(parameters)) = (saved.keep, parameters.as_object_mut()) {
        narrow(parameters, keep);
    }
    config.insert("config".to_owned(), parameters);
    serde_json::to_vec(&config).map(Bytes::from).map_err(|error| error.to_string())
}

fn layer_count(config: &Value) -> usize {
    config.pointer("/rootfs/diff_ids").and_then(Value::as_array).map_or(0, Vec::len)
}

/// Leaves out what is not to be kept.
fn narrow(parameters: &mut Map<String, Value>, keep: &CreateParameters) {
    let keep_keys = |parameters: &mut Map<String, Value>, name: &str, is_kept: &dyn Fn(&str) -> bool| {
        if let Some(map) = parameters.get_mut(name).and_then(Value::as_object_mut) {
            map.retain(|key, _| is_kept(key));
        }
    };
    keep_keys(parameters, "ExposedPorts", &|port| keep.exposed_ports.iter().any(|kept| kept == port));
    keep_keys(parameters, "Volumes", &|volume| keep.volumes.iter().any(|kept| kept == volume));
    keep_keys(parameters, "Labels", &|label| keep.labels.contains_key(label));
    if let Some(env) = parameters.get_mut("Env").and_then(Value::as_array_mut) {
        env.retain(|line| {
            let name = line.as_str().map(|line| line.split('=').next().unwrap_or_default());
            name.is_some_and(|name| keep.env.contains_key(name))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inherited() -> CreateParameters {
        CreateParameters {
            exposed_ports: vec!["80/tcp".into(), "443/tcp".into()],
            env: BTreeMap::from([("PATH".into(), "/bin".into()), ("MODE".into(), "a".into())]),
            entrypoint: vec!["/run".into()],
            command: vec!["serve".into()],
            working_dir: Some("/srv".into()),
            user: None,
            volumes: vec!["/data".into()],
            labels: BTreeMap::from([("team".into(), "red".into())]),
        }
    }

    type Change = fn(&mut CreateParameters);

    #[test]
    fn parameters_can_be_left_out_and_nothing_else() {
        let narrower = |change: fn(&mut CreateParameters)| {
            let mut wanted = inherited();
            change(&mut wanted);
            check_narrower(&wanted, &inherited()).map_err(|error| error.field.unwrap_or_default())
        };

        assert_eq!(narrower(|_| {}), Ok(()));
        assert_eq!(
            narrower(|wanted| {
                wanted.exposed_ports.clear();
                wanted.env.clear();
                wanted.volumes.clear();
                wanted.labels.clear();
            }),
            Ok(())
        );
        let refused: [(Change, &str); 8] = [
            (|wanted| wanted.exposed_ports.push("22/tcp".into()), "parameters.exposed_ports"),
            (|wanted| drop(wanted.env.insert("LD_PRELOAD".into(), "x".into())), "parameters.env"),
            (|wanted| drop(wanted.env.insert("MODE".into(), "b".into())), "parameters.env"),
            (|wanted| wanted.volumes.push("/".into()), "parameters.volumes"),
            (
                |wanted| drop(wanted.labels.insert("longshore.instance".into(), "x".into())),
                "parameters.labels",
            ),
            (|wanted| wanted.command.clear(), "parameters.command"),
            (|wanted| wanted.user = Some("root".into()), "parameters.user"),
            (|wanted| wanted.entrypoint = vec!["/bin/sh".into()], "parameters.entrypoint"),
        ];
        for (change, field) in refused {
            assert_eq!(narrower(change), Err(field.to_owned()));
        }
    }

    #[test]
    fn nothing_of_the_container_is_in_the_image() {
        let copy = json!({
            "architecture": "amd64", "os": "linux", "created": "2026-01-01T00:00:00Z",
            "container": "abc", "docker_version": "20.10", "author": "x", "comment": "y",
            "config": {"Env": ["PATH=/bin", "SECRET=hunter22"], "Labels": {"longshore.instance": "i"}, "Cmd": ["--token=s"]},
            "container_config": {"Env": ["SECRET=hunter22"]},
            "history": [
                {"created_by": "COPY hello"},
                {"created_by": "/run --token=s", "comment": "x"},
                {"created_by": "/run --token=s", "comment": "y"},
            ],
            "rootfs": {"type": "layers", "diff_ids": ["sha256:a", "sha256:b", "sha256:c"]},
        });
        let base = json!({
            "config": {
                "Env": ["PATH=/bin", "MODE=a"], "Cmd": ["serve"], "ExposedPorts": {"80/tcp": {}, "443/tcp": {}},
                "Labels": {"team": "red"}, "StopSignal": "SIGINT", "Volumes": {"/data": {}},
            },
            "history": [{"created_by": "COPY hello"}],
            "rootfs": {"type": "layers", "diff_ids": ["sha256:a"]},
        });
        let keep = CreateParameters {
            exposed_ports: vec!["80/tcp".into()],
            env: BTreeMap::from([("PATH".into(), "/bin".into())]),
            ..CreateParameters::default()
        };
        let author = "alice".parse().unwrap();
        let image = "alice/app:v2".parse().unwrap();
        let repository = Repository::from(&image);
        let digest = client::digest_of(b"");
        let saved = |keep, note| Saved {
            image: &image,
            staged: &digest,
            base: (&repository, &digest),
            keep,
            author: &author,
            note,
        };
        let read = |bytes: Bytes| serde_json::from_slice::<Value>(&bytes).unwrap();

        let whole = read(saved_config(&copy, &base, &saved(None, Some("with data"))).unwrap());
        let narrowed = read(saved_config(&copy, &base, &saved(Some(&keep), None)).unwrap());

        assert_eq!(whole["config"], base["config"]);
        assert_eq!(whole["rootfs"], copy["rootfs"]);
        assert_eq!((&whole["author"], &whole["comment"]), (&json!("alice"), &json!("with data")));
        assert_eq!(whole["history"][0], copy["history"][0]);
        assert_eq!(whole["history"][1]["created_by"], "longshore container copy");
        assert_eq!(whole["history"][2]["created_by"], "longshore container save");
        assert_eq!(whole["history"].as_array().unwrap().len(), 3, "one for each layer");
        assert_eq!(
            narrowed["config"],
            json!({
                "Env": ["PATH=/bin"], "Cmd": ["serve"], "ExposedPorts": {"80/tcp": {}}, "Labels": {}, "StopSignal": "SIGINT",
                "Volumes": {},
            })
        );
        for image in [&whole, &narrowed] {
            let text = image.to_string();
            for secret in ["hunter22", "token", "longshore.instance", "\"container"] {
                assert!(!text.contains(secret), "{secret} is in {text}");
            }
        }
        assert!(saved_config(&json!({}), &base, &saved(None, None)).is_err());
    }
}
