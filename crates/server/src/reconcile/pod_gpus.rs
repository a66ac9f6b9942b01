//! Keeps the one ledger of graphics processors: what an account's containers on machines leave of its quota is what the
//! cluster lets its pods have, and what pods gave back the line may give to containers.

use std::collections::HashMap;
use std::time::Duration;

use store::{clusters, namespaces};
use wire::clusters::ClusterState;
use wire::ids::{AccountId, NamespaceId};
use wire::namespaces::NamespaceState;

use crate::app::App;
use crate::domain::namespaces::{gpus_for, gpus_of, settle_quota};
use crate::error::Result;

/// How soon after a change is looked, and how often in any case.
const GATHER: Duration = Duration::from_secs(1);
const INTERVAL: Duration = Duration::from_mins(1);
/// The tables that say what containers have, and what an account may.
const TABLES: [&str; 4] = ["containers", "gpu_leases", "quotas", "namespaces"];

/// What was told to clusters, and what pods had then.
#[derive(Default)]
struct Ledger {
    allowed: HashMap<NamespaceId, u64>,
    held: HashMap<AccountId, u64>,
}

/// Works until the server ends. Where no pod may have any, there is nothing to do.
pub(super) async fn run(app: App) {
    if app.config.kubernetes.gpus == 0 {
        return;
    }
    let (mut versions, mut changes) = (app.db.versions(), app.clusters.changes());
    let mut ledger = Ledger::default();
    loop {
        let seen: u64 =
            TABLES.iter().filter_map(|table| versions.borrow_and_update().get(table).copied()).sum();
        changes.borrow_and_update();
        if let Err(error) = pass(&app, &mut ledger).await {
            tracing::warn!(%error, "what pods may have of graphics processors is looked at later");
        }
        let is_same = |versions: &store::Versions| {
            TABLES.iter().filter_map(|table| versions.get(table).copied()).sum::<u64>() == seen
        };
        let told = async {
            tokio::select! {
                told = versions.wait_for(|versions| !is_same(versions)) => told.is_ok(),
                told = changes.changed() => told.is_ok(),
            }
        };
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            is_there = told => if !is_there { return },
            () = tokio::time::sleep(INTERVAL) => {}
        }
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            () = tokio::time::sleep(GATHER) => {}
        }
    }
}

async fn pass(app: &App, ledger: &mut Ledger) -> Result<()> {
    let mut held: HashMap<AccountId, u64> = HashMap::new();
    for cluster in clusters::all(&app.db).await?.iter().filter(|row| row.state == ClusterState::Ready) {
        for row in namespaces::all_of_cluster(&app.db, cluster.id).await? {
            *held.entry(row.account_id).or_default() += gpus_of(app, &row);
            if row.state != NamespaceState::Ready {
                continue;
            }
            let allowed = gpus_for(app, &row).await?;
            if ledger.allowed.get(&row.id) == Some(&allowed) {
                continue;
            }
            match settle_quota(app, &row).await {
                Ok(()) => drop(ledger.allowed.insert(row.id, allowed)),
                Err(error) => tracing::warn!(namespace = %row.name, %error, "a quota is not as it should be"),
            }
        }
    }
    let gave_back =
        ledger.held.iter().any(|(account, before)| held.get(account).is_none_or(|now| now < before));
    ledger.held = held;
    if gave_back {
        app.signals.line.notify_one();
    }
    Ok(())
}
