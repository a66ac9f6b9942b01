//! Jobs: one-shot work that outlives a request and a restart. A row is written in the transaction of its cause and
//! claimed by one worker at a time; every claim raises the epoch, and whoever holds an older one is refused.

use std::collections::HashMap;

use sea_orm::sea_query::{Cond, Condition, Expr, ExprTrait, Order, Query, UpdateStatement};
use sea_orm::{QueryResult, Value};
use uuid::{NoContext, Timestamp as UuidTimestamp, Uuid};
use wire::ids::{AccountId, JobId};
use wire::time::Timestamp;

use crate::db::{Conn, On};
use crate::error::Result;
use crate::sql::{Cell, Cells, Word, count_of, count_query, insert_later, select, update, words};

const TABLE: &str = "jobs";
const COLUMNS: &[&str] = &[
    "id",
    "kind",
    "target",
    "account_id",
    "state",
    "run_at",
    "attempt",
    "lease_owner",
    "lease_until",
    "epoch",
    "last_error",
    "created_at",
];

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Builds, pushes and verifies an image by a machine's engine; the target is the build.
    BuildImage,
    /// The same in a cluster.
    BuildInCluster,
    /// Removes an image from the registry and then its row; the target is the image.
    DeleteImage,
    /// Removes what ended builds left behind.
    CleanBuilds,
    /// Removes from the registry what no image needs; the target is the collection.
    CollectRegistry,
    /// Sees a run of a pipeline through that is built by a machine's engine; the target is the run's uuid.
    RunPipeline,
    /// The same of one that is built in a cluster.
    RunInCluster,
    /// Does something to a release; the target is the operation.
    ChangeRelease,
    /// Tells somebody how a run ended; the target is the run's uuid and the number of who is told.
    Notify,
    /// Tells the git server how a run's commit fares; the target is the run's uuid.
    ReportStatus,
}

words!(Kind {
    BuildImage = "build_image",
    BuildInCluster = "build_in_cluster",
    DeleteImage = "delete_image",
    CleanBuilds = "clean_builds",
    CollectRegistry = "collect_registry",
    RunPipeline = "run_pipeline",
    RunInCluster = "run_in_cluster",
    ChangeRelease = "change_release",
    Notify = "notify",
    ReportStatus = "report_status",
});

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Waits for its time and a worker. Written by its cause, and by a failure that is tried again.
    Queued,
    /// A worker has it until its lease ends. Written by the claim.
    Running,
    /// Its effect is there. Written by its worker.
    Done,
    /// Given up; a person must look. Written by its worker.
    Parked,
}

words!(State { Queued = "queued", Running = "running", Done = "done", Parked = "parked" });

/// A job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The job.
    pub id: JobId,
    /// What it does.
    pub kind: Kind,
    /// To what.
    pub target: String,
    /// For whom.
    pub account_id: Option<AccountId>,
    /// Where it is.
    pub state: State,
    /// Not before this time.
    pub run_at: Timestamp,
    /// How many times it was claimed.
    pub attempt: u32,
    /// The worker that has or had it.
    pub lease_owner: Option<String>,
    /// When another worker may take it.
    pub lease_until: Option<Timestamp>,
    /// Raised by every claim; a worker shows its own with every change.
    pub epoch: i64,
    /// What went wrong the last time.
    pub last_error: Option<String>,
    /// When it was written.
    pub created_at: Timestamp,
}

/// What makes a job.
#[derive(Clone, Copy, Debug)]
pub struct New<'a> {
    /// What it does.
    pub kind: Kind,
    /// To what, at most 300 characters.
    pub target: &'a str,
    /// For whom.
    pub account_id: Option<AccountId>,
    /// Not before this time.
    pub run_at: Timestamp,
    /// The time.
    pub now: Timestamp,
}

fn row(row: &QueryResult) -> Result<Row> {
    let cells = Cells(row);
    Ok(Row {
        id: JobId(cells.parsed("id")?),
        kind: cells.word("kind")?,
        target: cells.text("target")?,
        account_id: cells.opt_int("account_id")?.map(AccountId),
        state: cells.word("state")?,
        run_at: cells.time("run_at")?,
        attempt: cells.count("attempt")?,
        lease_owner: cells.opt_text("lease_owner")?,
        lease_until: cells.opt_time("lease_until")?,
        epoch: cells.int("epoch")?,
        last_error: cells.opt_text("last_error")?,
        created_at: cells.time("created_at")?,
    })
}

/// Writes a job. In a transaction it goes with the next statement or the commit.
pub async fn enqueue(c: &dyn Conn, new: &New<'_>) -> Result<JobId> {
    let secs = u64::try_from(new.now.unix_secs()).unwrap_or(0);
    let micros = u32::try_from(new.now.0.rem_euclid(1_000_000)).unwrap_or(0);
    let id = JobId(Uuid::new_v7(UuidTimestamp::from_unix(NoContext, secs, micros * 1000)));
    insert_later(
        &c.on(),
        TABLE,
        [
            ("id", id.to_string().into()),
            ("kind", new.kind.text().into()),
            ("target", new.target.into()),
            ("account_id", new.account_id.map(|id| id.0).into()),
            ("state", State::Queued.text().into()),
            ("run_at", new.run_at.0.into()),
            ("attempt", 0_i64.into()),
            ("epoch", 0_i64.into()),
            ("created_at", new.now.0.into()),
        ],
    )
    .await?;
    Ok(id)
}

/// A job.
pub async fn get(c: &dyn Conn, id: JobId) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("id").eq(id.to_string()));
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// Takes a job that is due, of one of these kinds: a queued one, or a running one whose lease has ended. Accounts that already
/// have `per_account_limit` jobs of its kind running are passed over. Of the others the one comes first whose turn was longest
/// ago (`turns`), then the one that has waited longest: who asks for a hundred at once holds up nobody. Writes nothing when
/// there is nothing to take.
pub async fn claim(
    c: &dyn Conn,
    kinds: &[Kind],
    owner: &str,
    lease_secs: i64,
    per_account_limit: u32,
    turns: &Turns,
    now: Timestamp,
) -> Result<Option<Row>> {
    let on = c.on();
    if next(&on, kinds, per_account_limit, turns, now).await?.is_none() {
        return Ok(None);
    }
    // One claim at a time, or two workers could each take an account's last place.
    let scope = on.scope().await?;
    let lock = Query::select()
        .column("value")
        .from("settings")
        .and_where(Expr::col("name").eq("jobs.lock"))
        .lock_exclusive()
        .take();
    scope.on().rows(&lock).await?;
    let Some(found) = next(&scope.on(), kinds, per_account_limit, turns, now).await? else {
        return Ok(None);
    };

    let lease_until = now.plus_secs(lease_secs);
    let claimed = Row {
        state: State::Running,
        attempt: found.attempt.saturating_add(1),
        lease_owner: Some(owner.to_owned()),
        lease_until: Some(lease_until),
        epoch: found.epoch + 1,
        ..found
    };
    let mut query = update(
        TABLE,
        [
            ("state", State::Running.text().into()),
            ("attempt", i64::from(claimed.attempt).into()),
            ("lease_owner", owner.into()),
            ("lease_until", lease_until.0.into()),
            ("epoch", claimed.epoch.into()),
        ],
    );
    query
        .and_where(Expr::col("id").eq(claimed.id.to_string()))
        .and_where(Expr::col("epoch").eq(found.epoch))
        .and_where(Expr::col("state").eq(found.state.text()));
    if scope.on().change(TABLE, &query).await? != 1 {
        return Ok(None);
    }
    scope.commit().await?;
    Ok(Some(claimed))
}

/// Of which of these kinds there is something to do now.
pub async fn due(c: &dyn Conn, kinds: &[Kind], now: Timestamp) -> Result<Vec<Kind>> {
    let of_kinds = Expr::col("kind").is_in(kinds.iter().map(|kind| kind.text()));
    let mut query = Query::select();
    query.distinct().column("kind").from(TABLE).cond_where(Cond::all().add(of_kinds).add(is_due(now)));
    c.on().rows(&query).await?.iter().map(|row| Cells(row).word("kind")).collect()
}

/// When accounts had their last turn, by a count of turns; kept by whoever claims, in memory.
#[derive(Debug, Default)]
pub struct Turns {
    count: u64,
    last: HashMap<Option<AccountId>, u64>,
}

/// Accounts that are remembered; with more all are forgotten, and who has waited longest comes first once.
const ACCOUNTS_REMEMBERED: usize = 4_096;

impl Turns {
    /// Notes that a job of an account was taken.
    pub fn note(&mut self, account: Option<AccountId>) {
        if self.last.len() >= ACCOUNTS_REMEMBERED && !self.last.contains_key(&account) {
            self.last.clear();
        }
        self.count += 1;
        self.last.insert(account, self.count);
    }

    fn of(&self, account: Option<AccountId>) -> u64 {
        self.last.get(&account).copied().unwrap_or(0)
    }
}

/// Whose turn it is, and with what; read by account, however many jobs wait.
async fn next(
    on: &On<'_>,
    kinds: &[Kind],
    per_account_limit: u32,
    turns: &Turns,
    now: Timestamp,
) -> Result<Option<Row>> {
    let of_kinds = || Expr::col("kind").is_in(kinds.iter().map(|kind| kind.text()));
    let mut waiting = Query::select();
    waiting
        .columns(["account_id", "kind"])
        .expr_as(Expr::col("created_at").min(), "oldest")
        .from(TABLE)
        .cond_where(Cond::all().add(of_kinds()).add(is_due(now)))
        .group_by_columns(["account_id", "kind"]);
    let waiting = on.rows(&waiting).await?;
    if waiting.is_empty() {
        return Ok(None);
    }
    let mut running = Query::select();
    running
        .columns(["account_id", "kind"])
        .expr_as(Expr::col("id").count(), "places")
        .from(TABLE)
        .and_where(Expr::col("state").eq(State::Running.text()))
        .and_where(of_kinds())
        .and_where(Expr::col("lease_until").gte(now.0))
        .group_by_columns(["account_id", "kind"]);
    let whose = |cells: &Cells<'_>| -> Result<(Option<AccountId>, Kind)> {
        Ok((cells.opt_int("account_id")?.map(AccountId), cells.word("kind")?))
    };
    let mut places = HashMap::new();
    for row in &on.rows(&running).await? {
        let cells = Cells(row);
        places.insert(whose(&cells)?, cells.int("places")?);
    }
    let mut first: Option<((u64, i64), Option<AccountId>, Kind)> = None;
    for row in &waiting {
        let cells = Cells(row);
        let (account, kind) = whose(&cells)?;
        let taken = places.get(&(account, kind)).copied().unwrap_or(0);
        if account.is_some() && taken >= i64::from(per_account_limit) {
            continue;
        }
        let place = (turns.of(account), cells.int("oldest")?);
        if first.as_ref().is_none_or(|(before, ..)| place < *before) {
            first = Some((place, account, kind));
        }
    }
    let Some((_, account, kind)) = first else { return Ok(None) };
    let of_account = match account {
        Some(account) => Expr::col("account_id").eq(account.0),
        None => Expr::col("account_id").is_null(),
    };
    let mut query = select(TABLE, COLUMNS);
    query
        .cond_where(Cond::all().add(Expr::col("kind").eq(kind.text())).add(of_account).add(is_due(now)))
        .order_by("created_at", Order::Asc)
        .order_by("id", Order::Asc)
        .limit(1);
    on.row(&query).await?.as_ref().map(row).transpose()
}

fn is_due(now: Timestamp) -> Condition {
    let state = || Expr::col("state");
    Cond::any()
        .add(Cond::all().add(state().eq(State::Queued.text())).add(Expr::col("run_at").lte(now.0)))
        .add(Cond::all().add(state().eq(State::Running.text())).add(Expr::col("lease_until").lt(now.0)))
}

/// Rows that a worker still holds.
fn held(id: JobId, epoch: i64, cells: impl IntoIterator<Item = Cell>) -> UpdateStatement {
    let mut query = update(TABLE, cells);
    query
        .and_where(Expr::col("id").eq(id.to_string()))
        .and_where(Expr::col("epoch").eq(epoch))
        .and_where(Expr::col("state").eq(State::Running.text()));
    query
}

/// Keeps a job for longer; false when it is no longer this worker's.
pub async fn renew(c: &dyn Conn, id: JobId, epoch: i64, lease_until: Timestamp) -> Result<bool> {
    Ok(c.on().change_quietly(&held(id, epoch, [("lease_until", lease_until.0.into())])).await? > 0)
}

/// Ends a job well; false when it is no longer this worker's, whose work must then be thrown away.
pub async fn done(c: &dyn Conn, id: JobId, epoch: i64) -> Result<bool> {
    let cells = [("state", State::Done.text().into()), ("last_error", Value::String(None))];
    Ok(c.on().change(TABLE, &held(id, epoch, cells)).await? > 0)
}

/// Gives a job back to be tried again later; false when it is no longer this worker's.
pub async fn retry(c: &dyn Conn, id: JobId, epoch: i64, run_at: Timestamp, error: &str) -> Result<bool> {
    let cells = [
        ("state", State::Queued.text().into()),
        ("run_at", run_at.0.into()),
        ("last_error", error.into()),
        ("lease_until", Value::BigInt(None)),
    ];
    Ok(c.on().change(TABLE, &held(id, epoch, cells)).await? > 0)
}

/// Gives a job up; false when it is no longer this worker's.
pub async fn park(c: &dyn Conn, id: JobId, epoch: i64, error: &str) -> Result<bool> {
    let cells = [("state", State::Parked.text().into()), ("last_error", error.into())];
    Ok(c.on().change(TABLE, &held(id, epoch, cells)).await? > 0)
}

/// Gives all running jobs back, for the start of a server that is the only one; how many there were.
pub async fn requeue_running(c: &dyn Conn, now: Timestamp) -> Result<u64> {
    let mut query = update(
        TABLE,
        [
            ("state", State::Queued.text().into()),
            ("run_at", now.0.into()),
            ("lease_until", Value::BigInt(None)),
        ],
    );
    query.and_where(Expr::col("state").eq(State::Running.text()));
    c.on().change(TABLE, &query).await
}

/// How many jobs are in a state.
pub async fn count(c: &dyn Conn, state: State) -> Result<u64> {
    let mut query = count_query(TABLE);
    query.and_where(Expr::col("state").eq(state.text()));
    count_of(&c.on(), &query).await
}

/// Whether a job of a kind for a target waits or runs.
pub async fn is_pending(c: &dyn Conn, kind: Kind, target: &str) -> Result<bool> {
    let mut query = count_query(TABLE);
    query
        .and_where(Expr::col("kind").eq(kind.text()))
        .and_where(Expr::col("target").eq(target))
        .and_where(Expr::col("state").is_in([State::Queued.text(), State::Running.text()]));
    Ok(count_of(&c.on(), &query).await? > 0)
}

/// Removes jobs that are done and were written before a time; how many there were.
pub async fn delete_done(c: &dyn Conn, before: Timestamp) -> Result<u64> {
    let mut query = Query::delete();
    query
        .from_table(TABLE)
        .and_where(Expr::col("state").eq(State::Done.text()))
        .and_where(Expr::col("created_at").lt(before.0));
    c.on().change(TABLE, &query).await
}
