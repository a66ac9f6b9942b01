//! Deploys: what is brought up to date with the images that a pipeline makes. Each function is one look or one change that can be
//! done again; `jobs/deploy.rs` makes an order of them that survives the end of the server.

use store::runs;
use wire::deploys::{DEPLOY_SECS, DeployProgress, DeployTarget};
use wire::ids::WorkloadId;
use wire::names::Digest;
use wire::workloads::WorkloadKind;

use super::git_repos::Wrong;
use super::workloads;
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

/// Everything that is wrong with a target, by its field in `options`.
pub(super) fn check(wrong: &mut Wrong, target: &DeployTarget) {
    if let Err(detail) = workload_of(target) {
        wrong.add("options.deploy.workload", detail);
    }
    let names = [
        ("options.deploy.namespace", &target.namespace),
        ("options.deploy.pod_container", &target.pod_container),
    ];
    for (field, name) in names {
        let is_good = |name: &String| {
            (1..=NAME_CHARS).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
        };
        if !name.as_ref().is_none_or(is_good) {
            wrong.add(field, format!("`{field}` is a name as Kubernetes has them"));
        }
    }
    if target.namespace.is_none() {
        wrong.add("options.deploy.namespace", "`namespace` says where the workload is");
    }
    if target.timeout_secs.is_some_and(|secs| !(MIN_SECS..=MAX_SECS).contains(&secs)) {
        wrong.add("options.deploy.timeout_secs", format!("`timeout_secs` is {MIN_SECS} to {MAX_SECS}"));
    }
}

fn workload_of(target: &DeployTarget) -> Result<(WorkloadKind, &str), String> {
    let wrong = || "`workload` is `deployment/NAME`, `statefulset/NAME` or `daemonset/NAME`".to_owned();
    let (kind, name) = target.workload.as_deref().unwrap_or_default().split_once('/').ok_or_else(wrong)?;
    let kind: WorkloadKind = kind.parse().map_err(|_| wrong())?;
    let has_pods =
        matches!(kind, WorkloadKind::Deployment | WorkloadKind::StatefulSet | WorkloadKind::DaemonSet);
    if !has_pods || name.is_empty() || name.len() > NAME_CHARS {
        return Err(wrong());
    }
    Ok((kind, name))
}

/// A target in words.
pub(crate) fn shown(target: &DeployTarget) -> String {
    let namespace = target.namespace.as_deref().unwrap_or_default();
    format!("`{}` in `{namespace}`", target.workload.as_deref().unwrap_or_default())
}

/// Seconds that a target may take.
pub(crate) fn patience_secs(target: &DeployTarget) -> u32 {
    target.timeout_secs.unwrap_or(DEPLOY_SECS)
}

async fn find(app: &App, caller: &Caller, target: &DeployTarget) -> Result<WorkloadId> {
    let (kind, name) =
        workload_of(target).map_err(|detail| Error::invalid("options.deploy.workload", detail))?;
    workloads::named(app, caller, target.namespace.as_deref().unwrap_or_default(), kind, name).await
}

/// Looks at what is to be brought up to date, and what it goes back to. Changes nothing.
pub(crate) async fn plan(
    app: &App,
    caller: &Caller,
    run: &runs::Row,
    target: &DeployTarget,
) -> Result<DeployProgress> {
    let id = find(app, caller, target).await?;
    let (container, before) =
        workloads::image(app, caller, id, target.pod_container.as_deref(), &run.image).await?;
    let target = DeployTarget { pod_container: Some(container), ..target.clone() };
    Ok(DeployProgress { target, before, undone_because: None })
}

/// The image of a run as a workload is given it.
pub(crate) fn image_of(run: &runs::Row, digest: &Digest) -> String {
    format!("{}:{}@{digest}", run.image, run.image_tag)
}

/// Gives the target an image, unless it has it already.
pub(crate) async fn set_image(app: &App, caller: &Caller, target: &DeployTarget, image: &str) -> Result<()> {
    let id = find(app, caller, target).await?;
    let container = target.pod_container.as_deref().unwrap_or_default();
    workloads::set_image(app, caller, id, container, image).await.map(drop)
}

/// How the target takes an image.
pub(crate) async fn rollout(
    app: &App,
    caller: &Caller,
    target: &DeployTarget,
    image: &str,
) -> Result<Rollout> {
    let id = find(app, caller, target).await?;
    let container = target.pod_container.as_deref().unwrap_or_default();
    let end = image.rsplit('@').next().unwrap_or(image);
    workloads::rollout(app, caller, id, container, end).await
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
        assert!(problems(&DeployTarget { timeout_secs: Some(1), ..good.clone() }).is_some());
        assert!(problems(&DeployTarget { pod_container: Some("a b".into()), ..good }).is_some());
    }
}
