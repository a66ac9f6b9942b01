//! Runs of pipelines (the table `event` of seed 002). A run's uuid is the id of its build.

use sea_orm::QueryResult;
use sea_orm::sea_query::{Expr, ExprTrait, Order, Query, UpdateStatement};
use wire::builds::OperationState;
use wire::ids::{AccountId, BuildId, GitRepoId, RunId};
use wire::names::Digest;
use wire::runs::{RunCause, RunExecutor, RunStep};
use wire::time::Timestamp;

use crate::db::{Backend, Conn, Tx};
use crate::error::{Error, Result};
use crate::filtered::{self, Filter};
use crate::pages::PageOf;
use crate::sql::{Cell, Cells, Word, count_of, count_query, insert_numbered, json, select, update, words};
use crate::{builds, git_repos, runners};

const TABLE: &str = "runs";
const COLUMNS: &[&str] = &[
    "id",
    "uuid",
    "account_id",
    "git_repo_id",
    "name",
    "state",
    "reason",
    "message",
    "repo_name",
    "job",
    "kind",
    "image",
    "image_tag",
    "git_ref",
    "commit_id",
    "description",
    "cause",
    "executor",
    "steps",
    "cancel_requested",
    "retry_of",
    "digest",
    "created_at",
    "started_at",
    "ended_at",
];

words!(RunCause {
    Manual = "manual",
    Webhook = "webhook",
    Poll = "poll",
    Retry = "retry",
    Schedule = "schedule",
    Upload = "upload",
});
words!(RunExecutor { Docker = "docker", Kubernetes = "kubernetes" });

/// A run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The run.
    pub id: RunId,
    /// Its second name, and its build's id.
    pub uuid: BuildId,
    /// Whose it is.
    pub account_id: AccountId,
    /// What is built.
    pub git_repo_id: GitRepoId,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub state: OperationState,
    /// Why it ended badly, for programs.
    pub reason: Option<String>,
    /// Why it ended badly, in plain words.
    pub message: Option<String>,
    /// What is built, by name.
    pub repo_name: String,
    /// The name of its job.
    pub job: String,
    /// A word of the owner's own.
    pub kind: String,
    /// The image, without the tag.
    pub image: String,
    /// The image's tag.
    pub image_tag: String,
    /// The branch, tag or commit that was asked for.
    pub git_ref: String,
    /// The commit, once it is known.
    pub commit: Option<String>,
    /// What it is for.
    pub description: String,
    /// Why it was started.
    pub cause: RunCause,
    /// Where it is executed.
    pub executor: RunExecutor,
    /// What was begun.
    pub steps: Vec<RunStep>,
    /// Whether somebody asked for its end.
    pub cancel_requested: bool,
    /// The run that it repeats.
    pub retry_of: Option<RunId>,
    /// The image's digest.
    pub digest: Option<Digest>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When a worker first took it.
    pub started_at: Option<Timestamp>,
    /// When it reached a final state.
    pub ended_at: Option<Timestamp>,
}

/// What makes a run.
#[derive(Clone, Debug)]
pub struct New<'a> {
    /// Its second name.
    pub uuid: BuildId,
    /// Whose it is.
    pub account_id: AccountId,
    /// What is built.
    pub git_repo_id: GitRepoId,
    /// Its name, unique for its account.
    pub name: &'a str,
    /// What is built, by name.
    pub repo_name: &'a str,
    /// The name of its job.
    pub job: &'a str,
    /// A word of the owner's own.
    pub kind: &'a str,
    /// The image, without the tag.
    pub image: &'a str,
    /// The image's tag.
    pub image_tag: &'a str,
    /// The branch, tag or commit that is asked for.
    pub git_ref: &'a str,
    /// The commit, if it is known.
    pub commit: Option<&'a str>,
    /// What it is for.
    pub description: &'a str,
    /// Why it is started.
    pub cause: RunCause,
    /// Where it is executed.
    pub executor: RunExecutor,
    /// The run that it repeats.
    pub retry_of: Option<RunId>,
    /// The time.
    pub now: Timestamp,
}

impl New<'_> {
    /// The run that [`insert`] makes of it.
    pub fn stored(&self, id: RunId) -> Row {
        Row {
            id,
            uuid: self.uuid,
            account_id: self.account_id,
            git_repo_id: self.git_repo_id,
            name: self.name.to_owned(),
            state: OperationState::Queued,
            reason: None,
            message: None,
            repo_name: self.repo_name.to_owned(),
            job: self.job.to_owned(),
            kind: self.kind.to_owned(),
            image: self.image.to_owned(),
            image_tag: self.image_tag.to_owned(),
            git_ref: self.git_ref.to_owned(),
            commit: self.commit.map(str::to_owned),
            description: self.description.to_owned(),
            cause: self.cause,
            executor: self.executor,
            steps: Vec::new(),
            cancel_requested: false,
            retry_of: self.retry_of,
            digest: None,
            created_at: self.now,
            started_at: None,
            ended_at: None,
        }
    }
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome<'a> {
    /// The final state.
    pub state: OperationState,
    /// Why it ended badly, for programs.
    pub reason: Option<&'a str>,
    /// Why it ended badly, in plain words.
    pub message: Option<&'a str>,
    /// The image's digest.
    pub digest: Option<&'a Digest>,
    /// What was begun, all of it ended.
    pub steps: &'a [RunStep],
}

fn row(row: &QueryResult) -> Result<Row> {
    let cells = Cells(row);
    Ok(Row {
        id: RunId(cells.int("id")?),
        uuid: BuildId(cells.parsed("uuid")?),
        account_id: AccountId(cells.int("account_id")?),
        git_repo_id: GitRepoId(cells.int("git_repo_id")?),
        name: cells.text("name")?,
        state: cells.word("state")?,
        reason: cells.opt_text("reason")?,
        message: cells.opt_text("message")?,
        repo_name: cells.text("repo_name")?,
        job: cells.text("job")?,
        kind: cells.text("kind")?,
        image: cells.text("image")?,
        image_tag: cells.text("image_tag")?,
        git_ref: cells.text("git_ref")?,
        commit: cells.opt_text("commit_id")?,
        description: cells.text("description")?,
        cause: cells.word("cause")?,
        executor: cells.word("executor")?,
        steps: cells.json("steps")?,
        cancel_requested: cells.bool("cancel_requested")?,
        retry_of: cells.opt_int("retry_of")?.map(RunId),
        digest: cells.opt_parsed("digest")?,
        created_at: cells.time("created_at")?,
        started_at: cells.opt_time("started_at")?,
        ended_at: cells.opt_time("ended_at")?,
    })
}

fn is_unfinished() -> Expr {
    Expr::col((TABLE, "state")).is_in([OperationState::Queued.text(), OperationState::Running.text()])
}

fn update_of(id: RunId, cells: impl IntoIterator<Item = Cell>) -> UpdateStatement {
    let mut query = update(TABLE, cells);
    query.and_where(Expr::col("id").eq(id.0));
    query
}

/// Stores a queued run. [`Error::Duplicate`] when its account has one of this name.
pub async fn insert(c: &dyn Conn, new: &New<'_>) -> Result<RunId> {
    let cells = [
        ("uuid", new.uuid.to_string().into()),
        ("account_id", new.account_id.0.into()),
        ("git_repo_id", new.git_repo_id.0.into()),
        ("name", new.name.into()),
        ("state", OperationState::Queued.text().into()),
        ("repo_name", new.repo_name.into()),
        ("job", new.job.into()),
        ("kind", new.kind.into()),
        ("image", new.image.into()),
        ("image_tag", new.image_tag.into()),
        ("git_ref", new.git_ref.into()),
        ("commit_id", new.commit.into()),
        ("description", new.description.into()),
        ("cause", new.cause.text().into()),
        ("executor", new.executor.text().into()),
        ("steps", "[]".into()),
        ("cancel_requested", false.into()),
        ("retry_of", new.retry_of.map(|id| id.0).into()),
        ("created_at", new.now.0.into()),
    ];
    insert_numbered(&c.on(), TABLE, cells).await.map(RunId)
}

/// What decides whether and as what another run may wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How many of the account's runs wait.
    pub queued: u64,
    /// How many of its builds do, apart from those runs.
    pub queued_builds: u64,
    /// The name of the repository's latest run.
    pub latest_name: Option<String>,
}

/// How things stand for another run of a repository, which is held for the rest of the transaction; none when it is not
/// there.
pub async fn line(tx: &Tx, account: AccountId, repo: GitRepoId) -> Result<Option<Line>> {
    // On SQLite nobody else writes during a transaction.
    if tx.on().backend() != Backend::Sqlite && !git_repos::lock(tx, repo).await? {
        return Ok(None);
    }
    let mut queued = Query::select();
    queued
        .expr(Expr::col("id").count())
        .from(TABLE)
        .and_where(Expr::col("account_id").eq(account.0))
        .and_where(Expr::col("state").eq(OperationState::Queued.text()));
    let queued_builds = count_query("builds").cond_where(builds::is_queued_of(account)).take();
    let mut latest = select(TABLE, &["name"]);
    latest.and_where(Expr::col("git_repo_id").eq(repo.0)).order_by("id", Order::Desc).limit(1);
    let mut query = Query::select();
    query
        .expr_as(Expr::SubQuery(None, Box::new(queued.into())), "queued")
        .expr_as(Expr::SubQuery(None, Box::new(queued_builds.into())), "queued_builds")
        .expr_as(Expr::SubQuery(None, Box::new(latest.into())), "latest_name")
        .from("git_repos")
        .and_where(Expr::col("id").eq(repo.0));
    let Some(row) = tx.on().row(&query).await? else { return Ok(None) };
    let cells = Cells(&row);
    Ok(Some(Line {
        queued: cells.count("queued")?,
        queued_builds: cells.count("queued_builds")?,
        latest_name: cells.opt_text("latest_name")?,
    }))
}

/// Notes that a worker has the run, also again after a restart; false when it has ended.
pub async fn set_running(tx: &Tx, id: RunId, now: Timestamp) -> Result<bool> {
    let mut query = update_of(id, [("state", OperationState::Running.text().into())]);
    query.value("started_at", Expr::col("started_at").if_null(now.0)).and_where(is_unfinished());
    if tx.on().change(TABLE, &query).await? == 0 {
        return Ok(false);
    }
    runners::set_state_of_run(tx, id, OperationState::Running).await?;
    Ok(true)
}

/// Notes what was begun; false when the run has ended.
pub async fn set_steps(c: &dyn Conn, id: RunId, steps: &[RunStep]) -> Result<bool> {
    let mut query = update_of(id, [("steps", json(&steps)?.into())]);
    query.and_where(is_unfinished());
    Ok(c.on().change_telling(TABLE, &query).await? > 0)
}

/// Notes which commit is built; false when the run has ended.
pub async fn set_commit(c: &dyn Conn, id: RunId, commit: &str) -> Result<bool> {
    let mut query = update_of(id, [("commit_id", commit.into())]);
    query.and_where(is_unfinished());
    Ok(c.on().change_telling(TABLE, &query).await? > 0)
}

/// Changes what a run is for, and its owner's word.
pub async fn set_words(c: &dyn Conn, id: RunId, description: &str, kind: &str) -> Result<()> {
    let query = update_of(id, [("description", description.into()), ("kind", kind.into())]);
    c.on().change(TABLE, &query).await?;
    Ok(())
}

/// Asks for the end of a run; false when it has ended.
pub async fn request_cancel(c: &dyn Conn, id: RunId) -> Result<bool> {
    let mut query = update_of(id, [("cancel_requested", true.into())]);
    query.and_where(is_unfinished());
    Ok(c.on().change_telling(TABLE, &query).await? > 0)
}

/// Ends a run that has not ended; true when this call did it.
pub async fn finish(tx: &Tx, id: RunId, outcome: &Outcome<'_>, now: Timestamp) -> Result<bool> {
    if !outcome.state.is_final() {
        return Err(Error::other("a run ends in a final state only"));
    }
    let mut query = update_of(
        id,
        [
            ("state", outcome.state.text().into()),
            ("reason", outcome.reason.into()),
            ("message", outcome.message.into()),
            ("digest", outcome.digest.map(Digest::as_str).into()),
            ("steps", json(&outcome.steps)?.into()),
            ("ended_at", now.0.into()),
        ],
    );
    query.and_where(is_unfinished());
    if tx.on().change(TABLE, &query).await? == 0 {
        return Ok(false);
    }
    runners::set_state_of_run(tx, id, outcome.state).await?;
    Ok(true)
}

/// A run.
pub async fn get(c: &dyn Conn, id: RunId) -> Result<Option<Row>> {
    one(c, Expr::col("id").eq(id.0)).await
}

/// The run with a uuid.
pub async fn by_uuid(c: &dyn Conn, uuid: BuildId) -> Result<Option<Row>> {
    one(c, Expr::col("uuid").eq(uuid.to_string())).await
}

async fn one(c: &dyn Conn, condition: Expr) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(condition);
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// Runs with a name: one of each account at most.
pub async fn by_name(c: &dyn Conn, account: Option<AccountId>, name: &str) -> Result<Vec<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("name").eq(name)).order_by((TABLE, "id"), Order::Asc).limit(100);
    if let Some(account) = account {
        query.and_where(Expr::col("account_id").eq(account.0));
    }
    c.on().rows(&query).await?.iter().map(row).collect()
}

/// Runs, narrowed and ordered.
pub async fn list(c: &dyn Conn, filter: &Filter) -> Result<PageOf<Row>> {
    filtered::list(c, TABLE, COLUMNS, filter, row).await
}

/// How many of a repository's runs have not ended.
pub async fn count_unfinished(c: &dyn Conn, repo: GitRepoId) -> Result<u64> {
    let mut query = count_query(TABLE);
    query.and_where(is_unfinished()).and_where(Expr::col("git_repo_id").eq(repo.0));
    count_of(&c.on(), &query).await
}

/// The run of a repository that builds a commit and has not ended.
pub async fn unfinished_of_commit(c: &dyn Conn, repo: GitRepoId, commit: &str) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query
        .and_where(is_unfinished())
        .and_where(Expr::col("git_repo_id").eq(repo.0))
        .and_where(Expr::col("commit_id").eq(commit))
        .order_by((TABLE, "id"), Order::Asc)
        .limit(1);
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// Whether a repository has had a run of a commit.
pub async fn has_commit(c: &dyn Conn, repo: GitRepoId, commit: &str) -> Result<bool> {
    let mut query = count_query(TABLE);
    query.and_where(Expr::col("git_repo_id").eq(repo.0)).and_where(Expr::col("commit_id").eq(commit));
    Ok(count_of(&c.on(), &query).await? > 0)
}

/// The runs of a repository that ended before a time, oldest first.
pub async fn ended_before(c: &dyn Conn, before: Timestamp, limit: u64) -> Result<Vec<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("ended_at").lt(before.0)).order_by((TABLE, "id"), Order::Asc).limit(limit);
    c.on().rows(&query).await?.iter().map(row).collect()
}

/// Removes a run with its runner and its log; whether there was one.
pub async fn delete(c: &dyn Conn, id: RunId) -> Result<bool> {
    let query = Query::delete().from_table(TABLE).and_where(Expr::col("id").eq(id.0)).take();
    let on = c.on();
    let is_gone = on.change(TABLE, &query).await? > 0;
    for table in ["runners", "run_log"] {
        on.touch(table);
    }
    Ok(is_gone)
}
