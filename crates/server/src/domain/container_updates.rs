//! Changes of containers that are there: what they are called, and what they may use. A name is changed at once. New limits
//! are a wish like any other: the reconciler has the machine apply them, at once where the engine can, otherwise as soon as
//! the container does not run.

use store::containers::{self, Desired, Placement, Row};
use store::{accounts, gpu_leases, machines};
use wire::containers::{ContainerUpdate, ContainerView};
use wire::limits::{Limits, WishedLimits};
use wire::policy::{Policy, Violation};

use super::audit::{self, Event};
use super::containers::{beyond_machine, display_name_violation, find, name_violation, not_allowed, shown};
use super::quotas::{self, Needs};
use crate::app::App;
use crate::caller::Caller;
use crate::error::{Error, Result};

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
