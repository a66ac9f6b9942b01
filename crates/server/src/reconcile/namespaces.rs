//! Keeps namespaces in clusters as they should be: makes and removes what is wished at once, and looks now and then whether
//! somebody changed what stands between accounts.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream;
use store::namespaces::Row;
use store::{clusters, namespaces};
use wire::clusters::ClusterState;
use wire::ids::ClusterId;
use wire::namespaces::NamespaceState;
use wire::time::Timestamp;

use crate::app::App;
use crate::domain::namespaces::settle;
use crate::error::Result;

/// How soon a step that was not the last one is followed by the next.
const SOON: Duration = Duration::from_secs(2);
/// How often everything is looked at.
const INTERVAL: Duration = Duration::from_mins(1);
/// Namespaces of one cluster that are worked on at a time.
const AT_A_TIME: usize = 4;

/// Works until the server ends.
pub(super) async fn run(app: App) {
    let mut looked: Option<Instant> = None;
    let mut ready = HashMap::new();
    loop {
        let is_whole = looked.is_none_or(|at| at.elapsed() >= INTERVAL);
        if is_whole {
            looked = Some(Instant::now());
        }
        let is_pending = match pass(&app, is_whole, &mut ready).await {
            Ok(is_pending) => is_pending,
            Err(error) => {
                tracing::warn!(%error, "namespaces are looked at later");
                true
            }
        };
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            () = app.signals.namespaces.notified() => {}
            () = tokio::time::sleep(if is_pending { SOON } else { INTERVAL }) => {}
        }
    }
}

/// Looks at what is moving, and at everything where it is time for that or where a cluster is `ready` again since another time: who
/// knows what happened meanwhile. Whether something is left to do.
async fn pass(app: &App, is_whole: bool, ready: &mut HashMap<ClusterId, Timestamp>) -> Result<bool> {
    let mut is_pending = false;
    for cluster in clusters::all(&app.db).await? {
        let rows = namespaces::all_of_cluster(&app.db, cluster.id).await?;
        let is_moving = |row: &Row| matches!(row.state, NamespaceState::Creating | NamespaceState::Deleting);
        is_pending |= rows.iter().any(is_moving);
        if cluster.state != ClusterState::Ready {
            continue;
        }
        let is_back = ready.insert(cluster.id, cluster.state_since) != Some(cluster.state_since);
        let rows: Vec<_> = rows.into_iter().filter(|row| is_whole || is_back || is_moving(row)).collect();
        stream::iter(rows).for_each_concurrent(AT_A_TIME, |row| async move { one(app, &row).await }).await;
    }
    Ok(is_pending)
}

async fn one(app: &App, row: &Row) {
    let Err(error) = settle(app, row).await else { return };
    tracing::warn!(namespace = %row.name, cluster = %row.cluster, %error, "a namespace is not as it should be");
    let noted = namespaces::set_state(&app.db, row.id, row.state, Some(&error.detail), app.now()).await;
    if let Err(error) = noted {
        tracing::warn!(namespace = %row.name, %error, "this cannot be noted");
    }
}
