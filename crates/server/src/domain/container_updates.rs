//! Changes of containers that are there: what they are called, and what they may use. A name is changed at once. New limits
//! are a wish like any other: the reconciler has the machine apply them, at once where the engine can, otherwise as soon as
//! the container does not run.

use store::containers::{self, Desired, NewImage, Placement, Row};
use store::{accounts, gpu_leases, images, machines};
use wire::containers::{ContainerState, ContainerUpdate, ContainerView};
use wire::images::ImageState;
use wire::limits::{Limits, WishedLimits};
use wire::names::{Digest, ImageReference};
use wire::policy::{Policy, Violation};

use super::audit::{self, Event};
use super::containers::{beyond_machine, display_name_violation, find, name_violation, not_allowed, shown};
use super::deploys::Rollout;
use super::quotas::{self, Needs};
use crate::app::App;
use crate::caller::Caller;
use crate::error::{Error, Result};

/// Seconds that a container must have run to count as up.
const SETTLED_SECS: i64 = 5;

/// Changes a container; what is absent stays.
pub async fn update(app: &App, caller: &Caller, id: &str, change: &ContainerUpdate) -> Result<ContainerView> {
    let found = find(app, caller, id).await?;
    let machine = machines::get(&app.db, &found.machine_id).await?;
    let tx = app.db.begin().await?;
    accounts::locked(&tx, found.account_id).await?;
    // Whoever is given a machine has its specification written anew.
    gpu_leases::lock(&tx).await?;
    let absent = || Error::not_found("container", id);
    let row = containers::locked(&tx, found.id).await?.ok_or_else(absent)?;
    if row.desired == Desired::Deleted {
        return Err(Error::conflict("being_deleted", format!("container `{}` is being deleted", row.name)));
    }
    let limits = changed_limits(&row, change);
    let violations = violations(&row, change, limits.as_ref(), machine.as_ref());
    if !violations.is_empty() {
        return Err(not_allowed("this change", &violations));
    }
    let now = app.now();
    if let Some(display_name) = &change.display_name {
        let text = display_name.as_deref().map(str::trim).filter(|text| !text.is_empty());
        containers::set_display_name(&tx, row.id, text, now).await?;
    }
    if let Some(limits) = limits {
        if row.desired == Desired::Running {
            let spec = row.spec.with_limits(limits);
            let needs = Needs::of(&Row { spec, wished_limits: None, ..row.clone() });
            // What it has of graphics processors does not change, and it cannot wait for memory.
            let gpus = if row.queued_at.is_some() { needs.gpus } else { 0 };
            let needs = Needs { gpus, ..needs };
            quotas::require(app, &tx, row.account_id, &needs, Some(row.id)).await?;
        }
        match row.placement {
            Placement::Fixed if limits == row.spec.limits() => {
                containers::set_wished_limits(&tx, row.id, None, now).await?;
            }
            Placement::Fixed => {
                let wished = WishedLimits { limits, message: None };
                containers::set_wished_limits(&tx, row.id, Some(&wished), now).await?;
            }
            // Nothing was made yet.
            Placement::Named | Placement::Any => containers::set_limits(&tx, row.id, limits, now).await?,
        }
    }
    let name = change.name.as_ref().filter(|name| **name != row.name);
    let target = name.unwrap_or(&row.name);
    if let Some(name) = name {
        containers::rename(&tx, row.id, name, now).await.map_err(|error| match error {
            store::Error::Duplicate => {
                let detail = format!("there is a container named `{name}` already");
                Error { field: Some("name".into()), ..Error::conflict("container_exists", detail) }
            }
            other => other.into(),
        })?;
    }
    let event =
        Event { action: "container.update", target: target.as_str(), acting_for: Some(row.account_id) };
    audit::record(app, caller, &tx, event).await?;
    let row = containers::get(&tx, row.id).await?.ok_or_else(absent)?;
    tx.commit().await?;
    app.signals.containers.notify_one();
    app.signals.line.notify_one();
    shown(app, row).await
}

/// Gives a container another image, named `owner/repo:tag@digest`: it stops, and is made anew from that. Done twice it changes
/// nothing.
pub(crate) async fn set_image(app: &App, caller: &Caller, id: &str, image: &str) -> Result<()> {
    let image = pinned(app, caller, image).await?;
    let found = find(app, caller, id).await?;
    let name = match &image.tag {
        Some(tag) => format!("{}/{}:{tag}", image.owner, image.repo),
        None => format!("{}/{}@{}", image.owner, image.repo, image.digest),
    };
    if found.image_digest != image.digest {
        let tx = app.db.begin().await?;
        let absent = || Error::not_found("container", id);
        let row = containers::locked(&tx, found.id).await?.ok_or_else(absent)?;
        if row.desired == Desired::Deleted {
            let detail = format!("container `{}` is being deleted", row.name);
            return Err(Error::conflict("being_deleted", detail));
        }
        let repository = format!("{}/{}", image.owner, image.repo);
        let digest = &image.digest;
        let new_image = NewImage { id: image.id, name: &name, repository: &repository, digest };
        containers::set_image(&tx, &row, new_image, app.now()).await?;
        let target = row.name.as_str();
        let event = Event { action: "container.set_image", target, acting_for: Some(row.account_id) };
        audit::record(app, caller, &tx, event).await?;
        tx.commit().await?;
    }
    let row = find(app, caller, id).await?;
    if row.is_outdated() && !row.restart_requested {
        super::containers::restart(app, caller, id, None).await?;
    }
    Ok(())
}

/// The image that a text names by its digest; what the caller may not pull does not exist.
async fn pinned(app: &App, caller: &Caller, text: &str) -> Result<images::Row> {
    let absent = || Error::not_found("image", text);
    let (name, digest) = text.split_once('@').ok_or_else(absent)?;
    let name: ImageReference = name.parse().map_err(|_| absent())?;
    let digest: Digest = digest.parse().map_err(|_| absent())?;
    let name = name.with_default_owner(&caller.owner());
    if !caller.may_pull(&name.owner) {
        return Err(absent());
    }
    // Under the name that was given, as long as it still means this.
    let named = images::by_name(&app.db, &name).await?.filter(|image| image.digest == digest);
    let found = match named {
        None => images::by_digest(&app.db, &name.owner, &name.repo, &digest).await?,
        some => some,
    };
    found.filter(|image| image.state == ImageState::Ready).ok_or_else(absent)
}

/// What a container runs and how it takes an image that it was given.
pub(crate) async fn rollout(app: &App, caller: &Caller, id: &str, digest: &str) -> Result<Rollout> {
    let row = find(app, caller, id).await?;
    if row.image_digest.as_str() != digest {
        return Ok(Rollout::Superseded);
    }
    let message = row.message.clone().unwrap_or_default();
    let is_new = !row.is_outdated() && !row.restart_requested;
    let has_settled = row.state_since.plus_secs(SETTLED_SECS) <= app.now();
    Ok(match row.state {
        ContainerState::Running if is_new && has_settled => Rollout::Done,
        ContainerState::Running if is_new => Rollout::Going("it has just started".to_owned()),
        ContainerState::Failed => Rollout::Failing(message),
        ContainerState::Stopped if is_new => {
            let code = row.exit_code.map(|code| format!(" with exit code {code}")).unwrap_or_default();
            Rollout::Failing(format!("its process ended{code}; its log says why"))
        }
        _ => Rollout::Going("it is being made anew".to_owned()),
    })
}

/// The image of a container that is wanted running, in a text that [`set_image`] takes.
pub(crate) async fn image(app: &App, caller: &Caller, id: &str) -> Result<String> {
    let row = find(app, caller, id).await?;
    if row.desired != Desired::Running && row.state != ContainerState::Failed {
        let detail = format!("container `{}` is stopped, and stays so", row.name);
        return Err(Error::conflict("container_stopped", detail).hint("start it first"));
    }
    Ok(format!("{}@{}", row.image_repository, row.image_digest))
}

/// The limits that the container is to have, when any is named.
fn changed_limits(row: &Row, change: &ContainerUpdate) -> Option<Limits> {
    if change.memory_bytes.is_none() && change.cpu_millis.is_none() && change.pids.is_none() {
        return None;
    }
    let last = row.wished_limits.as_ref().map_or_else(|| row.spec.limits(), |wished| wished.limits);
    Some(Limits {
        memory_bytes: change.memory_bytes.unwrap_or(last.memory_bytes),
        cpu_millis: change.cpu_millis.unwrap_or(last.cpu_millis),
        pids: change.pids.unwrap_or(last.pids),
    })
}

/// Everything that is wrong with a change.
fn violations(
    row: &Row,
    change: &ContainerUpdate,
    limits: Option<&Limits>,
    machine: Option<&machines::Row>,
) -> Vec<Violation> {
    let mut violations = Vec::new();
    violations.extend(change.name.as_ref().and_then(name_violation));
    violations.extend(change.display_name.as_ref().and_then(|name| display_name_violation(name.as_deref())));
    let Some(limits) = limits else { return violations };
    violations.extend(Policy::default().check_limits(limits));
    violations.extend(Policy::default().check_shm(row.spec.shm_bytes, limits.memory_bytes));
    let spec = row.spec.with_limits(*limits);
    violations.extend(machine.into_iter().flat_map(|machine| beyond_machine(&spec, machine)));
    violations
}
