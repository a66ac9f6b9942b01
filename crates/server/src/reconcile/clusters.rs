//! Asks every cluster now and then whether it can be used, and follows what there is in those that can.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use store::clusters::{self, Row};
use tokio_util::sync::CancellationToken;
use wire::clusters::ClusterState;
use wire::ids::ClusterId;

use crate::app::App;
use crate::clients::kube::{KEPT, Mirrors, News, PODS};
use crate::domain::clusters::{client, look};

/// How often.
const INTERVAL: Duration = Duration::from_secs(15);
/// How often while one of them cannot be used.
const SOON: Duration = Duration::from_secs(5);

/// Those that are followed, and how to stop that.
type Followed = HashMap<ClusterId, (Arc<Mirrors>, CancellationToken)>;

/// Works until the server ends.
pub(super) async fn run(app: App) {
    let mut followed = Followed::new();
    loop {
        let mut pause = INTERVAL;
        match clusters::all(&app.db).await {
            Ok(rows) => {
                if rows.iter().any(|row| row.state != ClusterState::Ready) {
                    pause = SOON;
                }
                // One that does not answer keeps nobody else waiting.
                let app = &app;
                let looks = rows.iter().map(|row| async move { (row, look(app, row).await) });
                for (row, seen) in join_all(looks).await {
                    if let Err(error) = seen {
                        tracing::warn!(cluster = %row.name, %error, "a cluster cannot be looked at");
                    }
                }
                follow(app, &rows, &mut followed).await;
            }
            Err(error) => tracing::warn!(%error, "clusters are looked at later"),
        }
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            () = app.signals.clusters.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Begins to follow what is new, and lets go of what is gone or opened in another way now.
async fn follow(app: &App, rows: &[Row], followed: &mut Followed) {
    followed.retain(|id, (_, stop)| {
        let is_there = rows.iter().any(|row| row.id == *id);
        if !is_there {
            stop.cancel();
        }
        is_there
    });
    for row in rows.iter().filter(|row| row.state == ClusterState::Ready) {
        let Ok(cluster) = client(app, row).await else { continue };
        let mirrors = Arc::clone(&cluster.mirrors);
        if followed.get(&row.id).is_some_and(|(known, _)| Arc::ptr_eq(known, &mirrors)) {
            continue;
        }
        let stop = app.shutdown.child_token();
        if let Some((_, before)) = followed.insert(row.id, (Arc::clone(&mirrors), stop.clone())) {
            before.cancel();
        }
        for kept in KEPT.iter().chain([&PODS]) {
            let (told, cluster, stop) = (app.clone(), cluster.clone(), stop.clone());
            app.spawn(async move {
                let tell = |news| {
                    if kept.is_shown {
                        told.clusters.changed();
                    }
                    // Whoever looks shall soon read since when nothing is known.
                    if news == News::Broken {
                        told.signals.clusters.notify_one();
                    }
                };
                cluster.follow(kept, &stop, tell).await;
            });
        }
    }
}
