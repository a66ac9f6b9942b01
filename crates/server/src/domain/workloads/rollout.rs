//! Another image in a workload that is there, and how its pods take it: for pipelines, which roll out what they built and go
//! back when it does not come up. The file that is kept is changed with it, as a revision like any other.

use serde_json::Value;
use store::workloads;
use wire::ids::WorkloadId;
use wire::workloads::WorkloadKind;

use super::{As, apply, find, is_ours, kind_of, look, namespaces, not_ours, path_of, usable};
use crate::app::App;
use crate::caller::{Caller, Subject};
use crate::domain::manifests::{self, ImageAt, Manifest, Rights};
use crate::error::{Error, Result};

/// How the pods of a workload take an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rollout {
    /// All of them have it and answer.
    Done,
    /// They are on their way; what is missing, in words.
    Going(String),
    /// One of them does not come up, and why.
    Failing(String),
    /// The workload was given another image meanwhile.
    Superseded,
}

/// The container of a workload's pods that has an image of a repository, or the named one, and its image as the cluster has it.
pub async fn image(
    app: &App,
    caller: &Caller,
    id: WorkloadId,
    container: Option<&str>,
    repository: &str,
) -> Result<(String, String)> {
    let (row, namespace) = find(app, caller, id).await?;
    let kind = kind_of(row.kind)?;
    if !matches!(row.kind, WorkloadKind::Deployment | WorkloadKind::StatefulSet | WorkloadKind::DaemonSet) {
        return Err(Error::invalid("workload", format!("a {} has no pods that are rolled out", kind.name)));
    }
    let cluster = usable(app, &namespace).await?;
    let object = cluster.find(As::Tenant(&namespace.name), &path_of(kind, &namespace, &row.name)).await?;
    let object = object.ok_or_else(|| {
        let detail = format!("the cluster does not have the {} `{}`", kind.name, row.name);
        Error::conflict("missing", detail).hint("apply its file again")
    })?;
    if !is_ours(&object, row.id) {
        return Err(not_ours(kind, &row.name));
    }
    let containers = containers_of(&object);
    let registry = namespaces::registry_address(app);
    let has_repository = |(_, image): &&(&str, &str)| repository_of(image, &registry) == repository;
    let found = match container {
        Some(name) => containers.iter().find(|(known, _)| *known == name),
        None => containers.iter().find(has_repository).or(match containers.as_slice() {
            [only] => Some(only),
            _ => None,
        }),
    };
    let found = found.map(|(name, image)| ((*name).to_owned(), (*image).to_owned()));
    found.ok_or_else(|| {
        let names: Vec<String> = containers.iter().map(|(name, _)| format!("`{name}`")).collect();
        let detail = format!("which container of its pods is meant? It has {}", names.join(", "));
        Error::invalid("pod_container", detail)
    })
}

fn containers_of(object: &Value) -> Vec<(&str, &str)> {
    fn both(container: &Value) -> Option<(&str, &str)> {
        Some((container["name"].as_str()?, container["image"].as_str()?))
    }
    let containers = object["spec"]["template"]["spec"]["containers"].as_array();
    containers.into_iter().flatten().filter_map(both).collect()
}

/// `registry/owner/repo:tag@digest` → `owner/repo`.
fn repository_of<'a>(image: &'a str, registry: &str) -> &'a str {
    let image = image.strip_prefix(registry).and_then(|rest| rest.strip_prefix('/')).unwrap_or(image);
    let image = image.split_once('@').map_or(image, |(name, _)| name);
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    }
}

/// Gives a container of a workload's pods an image; `false` when its file says so already.
pub async fn set_image(
    app: &App,
    caller: &Caller,
    id: WorkloadId,
    container: &str,
    image: &str,
) -> Result<bool> {
    let (row, namespace) = find(app, caller, id).await?;
    let kept = workloads::revisions(&app.db, row.id).await?;
    let current = kept.into_iter().find(|kept| kept.revision == row.revision);
    let current = current.ok_or_else(|| Error::internal("a workload has no current revision"))?;
    let kind = kind_of(row.kind)?;
    let rights = Rights::of(app, caller.is_admin(), &namespace.account);
    let mut manifest = manifests::read_one(current.content.as_bytes(), kind.name, &rights)?;
    let place = place_of(&manifest, container).ok_or_else(|| {
        Error::conflict(
            "missing",
            format!("the file of the {} `{}` has no container `{container}`", kind.name, row.name),
        )
    })?;
    if place.image == image {
        return Ok(false);
    }
    manifests::set_image(&mut manifest.object, &place, image);
    let subject = Subject { account: namespace.account_id, name: namespace.account.clone() };
    let text = apply::to_text(&manifest.object)?;
    let application = apply::Application {
        subject: &subject,
        namespace: Some(namespace.name.as_str()),
        file: Some(&row.file),
        text: text.as_bytes(),
        mode: apply::Mode::Update(row.kind),
        is_dry_run: false,
    };
    apply::apply(app, caller, application).await?;
    Ok(true)
}

fn place_of(manifest: &Manifest, container: &str) -> Option<ImageAt> {
    manifests::images(manifest.kind, &manifest.object).into_iter().find(|at| {
        let is_plain = at.pointer.contains("/containers/");
        let owner = at.pointer.strip_suffix("/image").and_then(|pointer| manifest.object.pointer(pointer));
        is_plain && owner.is_some_and(|owner| owner["name"] == container)
    })
}

/// How the pods take the image that was set. `digest` tells it from others.
pub async fn rollout(
    app: &App,
    caller: &Caller,
    id: WorkloadId,
    container: &str,
    digest: &str,
) -> Result<Rollout> {
    let (row, namespace) = find(app, caller, id).await?;
    let cluster = usable(app, &namespace).await?;
    let path = path_of(kind_of(row.kind)?, &namespace, &row.name);
    Ok(look::rollout_of(&cluster, &namespace, row.kind, &path, container, digest).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_told_from_registries_tags_and_digests() {
        for (image, repository) in [
            ("r:5000/alice/app:v1@sha256:0", "alice/app"),
            ("alice/app:v1", "alice/app"),
            ("alice/app", "alice/app"),
            ("other:5000/alice/app:v1", "other:5000/alice/app"),
            ("nginx@sha256:0", "nginx"),
        ] {
            assert_eq!(repository_of(image, "r:5000"), repository, "{image}");
        }
    }
}
