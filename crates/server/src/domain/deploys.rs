//! Deploys: what is brought up to date with the images that a pipeline makes. Each function is one look or one change that can be
//! done again; `jobs/deploy.rs` makes an order of them that survives the end of the server.

use store::runs;
use wire::deploys::{DEPLOY_SECS, DeployProgress, DeployTarget};
use wire::names::Digest;
use wire::workloads::WorkloadKind;

use super::git_repos::Wrong;
use super::{container_updates, workloads};
use crate::app::App;
use crate::caller::Caller;
use crate::error::{Error, Result};

pub use super::workloads::Rollout;

/// The shortest time that something may be given to come up.
const MIN_SECS: u32 = 10;
/// The longest.
const MAX_SECS: u32 = 3_600;
/// Longest name in characters.
const NAME_CHARS: usize = 253;

/// What a target names.
enum Named<'a> {
    Workload { kind: WorkloadKind, name: &'a str, namespace: &'a str, pod_container: &'a str },
    Container(&'a str),
}

/// Everything that is wrong with a target, by its field in `options`.
pub(super) fn check(wrong: &mut Wrong, target: &DeployTarget) {
    if let Err((field, detail)) = named(target) {
        wrong.add(field, detail);
    }
    let names = [
        ("options.deploy.namespace", &target.namespace),
        ("options.deploy.pod_container", &target.pod_container),
        ("options.deploy.container", &target.container),
    ];
    for (field, name) in names {
        let is_letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        let is_good = |name: &String| (1..=NAME_CHARS).contains(&name.len()) && name.bytes().all(is_letter);
        if !name.as_ref().is_none_or(is_good) {
            wrong.add(field, format!("`{field}` is a name of letters, digits, `-`, `.` and `_`"));
        }
    }
    if target.timeout_secs.is_some_and(|secs| !(MIN_SECS..=MAX_SECS).contains(&secs)) {
        wrong.add("options.deploy.timeout_secs", format!("`timeout_secs` is {MIN_SECS} to {MAX_SECS}"));
    }
}

fn named(target: &DeployTarget) -> Result<Named<'_>, (&'static str, String)> {
    let wrong = || {
        let detail = "`workload` is `deployment/NAME`, `statefulset/NAME` or `daemonset/NAME`".to_owned();
        ("options.deploy.workload", detail)
    };
    let workload = match (&target.workload, &target.container) {
        (Some(workload), None) => workload,
        (None, Some(name)) if target.namespace.is_none() && target.pod_container.is_none() => {
            return Ok(Named::Container(name));
        }
        _ => {
            let detail = "a deploy names a `workload` and its `namespace`, or a `container` alone".to_owned();
            return Err(("options.deploy", detail));
        }
    };
    let (kind, name) = workload.split_once('/').ok_or_else(wrong)?;
    let kind: WorkloadKind = kind.parse().map_err(|_| wrong())?;
    let has_pods =
        matches!(kind, WorkloadKind::Deployment | WorkloadKind::StatefulSet | WorkloadKind::DaemonSet);
    if !has_pods || name.is_empty() || name.len() > NAME_CHARS {
        return Err(wrong());
    }
    let Some(namespace) = target.namespace.as_deref() else {
        return Err(("options.deploy.namespace", "`namespace` says where the workload is".to_owned()));
    };
    let pod_container = target.pod_container.as_deref().unwrap_or_default();
    Ok(Named::Workload { kind, name, namespace, pod_container })
}

fn checked(target: &DeployTarget) -> Result<Named<'_>> {
    named(target).map_err(|(field, detail)| Error::invalid(field, detail))
}

/// A target in words.
pub(crate) fn shown(target: &DeployTarget) -> String {
    match (&target.container, &target.workload) {
        (Some(container), _) => format!("the container `{container}`"),
        (None, workload) => {
            let namespace = target.namespace.as_deref().unwrap_or_default();
            format!("`{}` in `{namespace}`", workload.as_deref().unwrap_or_default())
        }
    }
}

/// Seconds that a target may take.
pub(crate) fn patience_secs(target: &DeployTarget) -> u32 {
    target.timeout_secs.unwrap_or(DEPLOY_SECS)
}

/// Looks at what is to be brought up to date, and what it goes back to. Changes nothing.
pub(crate) async fn plan(
    app: &App,
    caller: &Caller,
    run: &runs::Row,
    target: &DeployTarget,
) -> Result<DeployProgress> {
    let (target, before) = match checked(target)? {
        Named::Container(name) => (target.clone(), container_updates::image(app, caller, name).await?),
        Named::Workload { kind, name, namespace, .. } => {
            let id = workloads::named(app, caller, namespace, kind, name).await?;
            let wanted = target.pod_container.as_deref();
            let (container, before) = workloads::image(app, caller, id, wanted, &run.image).await?;
            (DeployTarget { pod_container: Some(container), ..target.clone() }, before)
        }
    };
    Ok(DeployProgress { target, before, undone_because: None })
}

/// The image of a run as a target is given it.
pub(crate) fn image_of(run: &runs::Row, digest: &Digest) -> String {
    format!("{}:{}@{digest}", run.image, run.image_tag)
}

/// What stands for a target wherever somebody wants it for himself.
pub(crate) async fn key(app: &App, caller: &Caller, target: &DeployTarget) -> Result<String> {
    Ok(match checked(target)? {
        Named::Container(name) => format!("container {} {name}", caller.account),
        Named::Workload { kind, name, namespace, .. } => {
            format!("workload {}", workloads::named(app, caller, namespace, kind, name).await?)
        }
    })
}

/// Whether somebody gave the target an image that is neither the one from before nor this one.
pub(crate) async fn is_superseded(
    app: &App,
    caller: &Caller,
    progress: &DeployProgress,
    image: &str,
) -> Result<bool> {
    let current = match checked(&progress.target)? {
        Named::Container(name) => container_updates::image(app, caller, name).await?,
        Named::Workload { kind, name, namespace, pod_container } => {
            let id = workloads::named(app, caller, namespace, kind, name).await?;
            workloads::image(app, caller, id, Some(pod_container), "").await?.1
        }
    };
    let digest = image.rsplit('@').next().unwrap_or(image);
    Ok(current != progress.before && !current.ends_with(digest))
}

/// Gives the target an image, unless it has it already.
pub(crate) async fn set_image(app: &App, caller: &Caller, target: &DeployTarget, image: &str) -> Result<()> {
    match checked(target)? {
        Named::Container(name) => container_updates::set_image(app, caller, name, image).await,
        Named::Workload { kind, name, namespace, pod_container } => {
            let id = workloads::named(app, caller, namespace, kind, name).await?;
            workloads::set_image(app, caller, id, pod_container, image).await.map(drop)
        }
    }
}

/// How the target takes an image.
pub(crate) async fn rollout(
    app: &App,
    caller: &Caller,
    target: &DeployTarget,
    image: &str,
) -> Result<Rollout> {
    let digest = image.rsplit('@').next().unwrap_or(image);
    match checked(target)? {
        Named::Container(name) => container_updates::rollout(app, caller, name, digest).await,
        Named::Workload { kind, name, namespace, pod_container } => {
            let id = workloads::named(app, caller, namespace, kind, name).await?;
            workloads::rollout(app, caller, id, pod_container, digest).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_whole() {
        let good = DeployTarget {
            workload: Some("deployment/web".into()),
            namespace: Some("test".into()),
            ..DeployTarget::default()
        };
        let problems = |target: &DeployTarget| {
            let mut wrong = Wrong::default();
            check(&mut wrong, target);
            wrong.done().err().map(|error| error.detail)
        };
        assert_eq!(problems(&good), None);
        for workload in ["", "web", "deployment/", "service/web", "job/x", "pod/x"] {
            let bad = DeployTarget { workload: Some(workload.into()), ..good.clone() };
            assert!(problems(&bad).is_some(), "{workload}");
        }
        assert!(problems(&DeployTarget { namespace: None, ..good.clone() }).is_some());
        assert!(problems(&DeployTarget::default()).is_some());
        assert!(problems(&DeployTarget { container: Some("web".into()), ..good.clone() }).is_some());
        let container = DeployTarget { container: Some("web".into()), ..DeployTarget::default() };
        assert_eq!(problems(&container), None);
        assert!(problems(&DeployTarget { timeout_secs: Some(1), ..good.clone() }).is_some());
        assert!(problems(&DeployTarget { pod_container: Some("a b".into()), ..good }).is_some());
    }
}
