//! Syncs chart repositories when their time has come, and those for which somebody asked. When that is, is known in memory; the
//! database is read again only when something in it changed, so that an idle server leaves it alone.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use store::chart_repos::{self, Row};
use store::{Versions, chart_syncs};
use wire::chart_repos::SyncCause;
use wire::ids::{ChartRepoId, ChartSyncId};

use crate::app::App;
use crate::chart_syncs::SyncFailure;
use crate::domain::{chart_sync, hosted_packages};
use crate::error::Result;

/// How often the clock is looked at.
const TICK: Duration = Duration::from_secs(5);
/// How often the database is read without a change of ours: for what another server wrote.
const REFRESH_EVERY: Duration = Duration::from_mins(10);
/// Indexes that are fetched at the same time.
const PARALLEL: usize = 2;
/// How long one that was just tried is left alone, when trying it wrote nothing.
const PAUSE: Duration = Duration::from_mins(1);

/// What the database said when it was last read.
#[derive(Default)]
struct Seen {
    marks: [Option<u64>; 2],
    read_at: Option<Instant>,
    rows: Vec<Row>,
    /// Syncs for which somebody asked.
    asked: BTreeMap<ChartRepoId, ChartSyncId>,
    /// What was tried, when, in which state.
    tried: BTreeMap<ChartRepoId, (Instant, i64, Option<ChartSyncId>)>,
}

/// Runs until the server ends.
pub(super) async fn run(app: App) {
    // Packages that an earlier server stored without their version, or took the version of and not the package.
    match hosted_packages::sweep(&app).await {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "packages of charts that nothing names were removed"),
        Err(error) => tracing::warn!(%error, "packages of charts are looked at with the next start"),
    }
    let mut versions = app.db.versions();
    let mut seen = Seen::default();
    loop {
        // Marked before it is read: what changes meanwhile is read again.
        let marks = marks(&versions.borrow_and_update());
        if marks != seen.marks || seen.read_at.is_none_or(|at| at.elapsed() > REFRESH_EVERY) {
            match seen.read(&app).await {
                Ok(()) => seen.marks = marks,
                Err(error) => tracing::warn!(%error, "cannot read which chart repositories there are"),
            }
        }
        let groups = seen.due(&app);
        let is_idle = groups.is_empty();
        let work = futures::stream::iter(groups.into_iter().map(|group| sync_group(&app, group)))
            .buffer_unordered(PARALLEL)
            .for_each(|()| std::future::ready(()));
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            () = work => {}
        }
        if is_idle {
            tokio::select! {
                () = app.shutdown.cancelled() => return,
                () = app.signals.chart_repos.notified() => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }
}

fn marks(versions: &Versions) -> [Option<u64>; 2] {
    ["chart_repos", "chart_syncs"].map(|table| versions.get(table).copied())
}

impl Seen {
    async fn read(&mut self, app: &App) -> Result<()> {
        self.rows = chart_repos::all(&app.db).await?;
        let open = chart_syncs::open(&app.db).await?;
        self.asked = open.into_iter().map(|sync| (sync.repo_id, sync.id)).collect();
        self.read_at = Some(Instant::now());
        Ok(())
    }

    /// Repositories whose time has come, those together that have their index in common.
    fn due(&mut self, app: &App) -> Vec<Vec<(Row, SyncCause)>> {
        let now = app.now();
        let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for row in &self.rows {
            let asked = self.asked.get(&row.id).copied();
            let is_due = asked.is_some() || chart_sync::next_at(app, row).is_some_and(|at| at <= now);
            let is_tried = self.tried.get(&row.id).is_some_and(|(at, revision, sync)| {
                at.elapsed() < PAUSE && *revision == row.revision && *sync == asked
            });
            // A moved clock is another time.
            let is_paused =
                is_tried && app.chart_syncs.last_look(row.id).is_none_or(|at| at.plus_secs(60) > now);
            if !is_due || is_paused {
                continue;
            }
            self.tried.insert(row.id, (Instant::now(), row.revision, asked));
            let cause = match row.last_sync_at {
                _ if asked.is_some() => SyncCause::Manual,
                None => SyncCause::Create,
                Some(_) => SyncCause::Timer,
            };
            let in_common = chart_sync::in_common(app, row);
            let alone = in_common.is_none().then_some(row.id);
            groups.entry((in_common, alone)).or_default().push((row.clone(), cause));
        }
        groups.into_values().collect()
    }
}

async fn sync_group(app: &App, mut group: Vec<(Row, SyncCause)>) {
    let told = |row: &Row, result: Result<(), SyncFailure>| match result {
        Ok(()) => tracing::debug!(chart_repo.id = %row.id, "synced a chart repository"),
        Err(failure) => {
            tracing::debug!(chart_repo.id = %row.id, code = failure.code, "could not sync a chart repository");
        }
    };
    if group.len() == 1
        && let Some((row, cause)) = group.pop()
    {
        let done = chart_sync::sync(app, &row, cause).await;
        return told(&row, done.map(drop));
    }
    for (row, done) in chart_sync::sync_together(app, group).await {
        told(&row, done.map_err(SyncFailure::from));
    }
}
