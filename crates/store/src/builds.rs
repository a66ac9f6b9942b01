//! Builds: from an uploaded archive to an image in the registry.

use sea_orm::QueryResult;
use sea_orm::sea_query::{Cond, Condition, Expr, ExprTrait, Order, SelectStatement, UpdateStatement};
use serde::{Deserialize, Serialize};
use wire::builds::{BuildPhase, OperationState};
use wire::ids::{AccountId, BuildId, ContainerId, ImageId, MachineId};
use wire::images::CreateParameters;
use wire::names::{AccountName, Digest, ImageName, Owner, RepoName};
use wire::page::PageQuery;
use wire::time::Timestamp;

use crate::db::Conn;
use crate::error::{Error, Result};
use crate::pages::{KeyKind, List, PageOf};
use crate::sql::{
    Cell, Cells, Word, count_of, count_query, insert as insert_row, int, json, select, update, words,
};

const TABLE: &str = "builds";
const COLUMNS: &[&str] = &[
    "id",
    "account_id",
    "owner",
    "repo",
    "tag",
    "state",
    "reason",
    "message",
    "phase",
    "step",
    "steps",
    "step_text",
    "pushed_bytes",
    "push_total_bytes",
    "context_bytes",
    "log_bytes",
    "machine_id",
    "image_id",
    "digest",
    "size_bytes",
    "dockerfile",
    "context_blob",
    "cancel_requested",
    "container_id",
    "note",
    "parameters",
    "created_at",
    "started_at",
    "ended_at",
];

words!(OperationState {
    Queued = "queued",
    Running = "running",
    Succeeded = "succeeded",
    Failed = "failed",
    Cancelled = "cancelled",
});
words!(BuildPhase {
    Waiting = "waiting",
    Building = "building",
    Pushing = "pushing",
    Verifying = "verifying",
    Done = "done",
});

/// A build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The build.
    pub id: BuildId,
    /// Who asked for it.
    pub account_id: AccountId,
    /// Who asked for it, by name.
    pub account: AccountName,
    /// The image it makes.
    pub image: ImageName,
    /// Where it is.
    pub state: OperationState,
    /// Why it failed, for programs.
    pub reason: Option<String>,
    /// Why it failed, in plain words.
    pub message: Option<String>,
    /// What it is doing.
    pub phase: BuildPhase,
    /// The step of the Dockerfile that runs or failed, from 1.
    pub step: Option<u32>,
    /// Steps in the Dockerfile.
    pub steps: Option<u32>,
    /// The text of that step.
    pub step_text: Option<String>,
    /// Bytes pushed so far.
    pub pushed_bytes: u64,
    /// Bytes to push, as far as known.
    pub push_total_bytes: u64,
    /// Size of the unpacked context in bytes.
    pub context_bytes: u64,
    /// Length of the log so far in bytes.
    pub log_bytes: u64,
    /// Where it is built.
    pub machine_id: Option<MachineId>,
    /// The image made, while it exists.
    pub image_id: Option<ImageId>,
    /// The image's digest.
    pub digest: Option<Digest>,
    /// The image's compressed size in bytes.
    pub size_bytes: Option<u64>,
    /// The Dockerfile's path in the context.
    pub dockerfile: String,
    /// Where the context is kept until the build has ended.
    pub context_blob: Option<String>,
    /// Whether somebody asked for its end.
    pub cancel_requested: bool,
    /// What is saved, when that is a container; else an archive is built.
    pub save: Option<Save>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When a worker first took it.
    pub started_at: Option<Timestamp>,
    /// When it reached a final state.
    pub ended_at: Option<Timestamp>,
}

/// What makes an image of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Save {
    /// Which container; it may be gone.
    pub container_id: ContainerId,
    /// What its owner says of it.
    pub note: Option<String>,
    /// How.
    pub options: SaveOptions,
}

/// How a container is saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaveOptions {
    /// Whether it stands still meanwhile.
    pub is_paused: bool,
    /// What of its image's parameters is kept; none = all.
    pub keep: Option<CreateParameters>,
}

/// What makes a build.
#[derive(Clone, Debug)]
pub struct New<'a> {
    /// The build; its UUIDv7 orders the list.
    pub id: BuildId,
    /// Who asks for it.
    pub account_id: AccountId,
    /// The image it makes.
    pub image: &'a ImageName,
    /// The Dockerfile's path in the context.
    pub dockerfile: &'a str,
    /// Where the context is kept.
    pub context_blob: Option<&'a str>,
    /// Size of the unpacked context in bytes.
    pub context_bytes: u64,
    /// What is saved instead of built.
    pub save: Option<&'a Save>,
    /// The time.
    pub now: Timestamp,
}

/// Which builds; what is none does not narrow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    /// Only of this account.
    pub account: Option<AccountId>,
    /// Only in this state.
    pub state: Option<OperationState>,
    /// Only for images of this owner.
    pub owner: Option<&'a Owner>,
    /// Only for images of this repository.
    pub repo: Option<&'a RepoName>,
}

/// How a build ended.
#[derive(Clone, Debug)]
pub struct Outcome<'a> {
    /// The final state.
    pub state: OperationState,
    /// Why it failed, for programs.
    pub reason: Option<&'a str>,
    /// Why it failed, in plain words.
    pub message: Option<&'a str>,
    /// The image made.
    pub image_id: Option<ImageId>,
    /// The image's digest.
    pub digest: Option<&'a Digest>,
    /// The image's compressed size in bytes.
    pub size_bytes: Option<u64>,
}

fn row(row: &QueryResult) -> Result<Row> {
    let cells = Cells(row);
    Ok(Row {
        id: BuildId(cells.parsed("id")?),
        account_id: AccountId(cells.int("account_id")?),
        account: cells.parsed("account")?,
        image: ImageName {
            owner: cells.parsed("owner")?,
            repo: cells.parsed("repo")?,
            tag: cells.parsed("tag")?,
        },
        state: cells.word("state")?,
        reason: cells.opt_text("reason")?,
        message: cells.opt_text("message")?,
        phase: cells.word("phase")?,
        step: cells.opt_count("step")?,
        steps: cells.opt_count("steps")?,
        step_text: cells.opt_text("step_text")?,
        pushed_bytes: cells.count("pushed_bytes")?,
        push_total_bytes: cells.count("push_total_bytes")?,
        context_bytes: cells.count("context_bytes")?,
        log_bytes: cells.count("log_bytes")?,
        machine_id: cells.opt_parsed("machine_id")?,
        image_id: cells.opt_int("image_id")?.map(ImageId),
        digest: cells.opt_parsed("digest")?,
        size_bytes: cells.opt_count("size_bytes")?,
        dockerfile: cells.text("dockerfile")?,
        context_blob: cells.opt_text("context_blob")?,
        cancel_requested: cells.bool("cancel_requested")?,
        save: save(&cells)?,
        created_at: cells.time("created_at")?,
        started_at: cells.opt_time("started_at")?,
        ended_at: cells.opt_time("ended_at")?,
    })
}

fn save(cells: &Cells<'_>) -> Result<Option<Save>> {
    let Some(container) = cells.opt_int("container_id")? else { return Ok(None) };
    let options = cells.json("parameters")?;
    Ok(Some(Save { container_id: ContainerId(container), note: cells.opt_text("note")?, options }))
}

fn select_rows() -> SelectStatement {
    let mut query = select(TABLE, COLUMNS);
    query
        .column(("accounts", "account"))
        .inner_join("accounts", Expr::col(("accounts", "id")).equals((TABLE, "account_id")));
    query
}

fn is_unfinished() -> Expr {
    let words = [OperationState::Queued.text(), OperationState::Running.text()];
    Expr::col((TABLE, "state")).is_in(words)
}

fn update_of(id: BuildId, cells: impl IntoIterator<Item = Cell>) -> UpdateStatement {
    let mut query = update(TABLE, cells);
    query.and_where(Expr::col("id").eq(id.to_string()));
    query
}

/// Stores a queued build.
pub async fn insert(c: &dyn Conn, new: &New<'_>) -> Result<()> {
    let parameters = new.save.map(|save| json(&save.options)).transpose()?;
    insert_row(
        &c.on(),
        TABLE,
        [
            ("id", new.id.to_string().into()),
            ("account_id", new.account_id.0.into()),
            ("owner", new.image.owner.as_str().into()),
            ("repo", new.image.repo.as_str().into()),
            ("tag", new.image.tag.as_str().into()),
            ("state", OperationState::Queued.text().into()),
            ("phase", BuildPhase::Waiting.text().into()),
            ("pushed_bytes", 0_i64.into()),
            ("push_total_bytes", 0_i64.into()),
            ("context_bytes", int(new.context_bytes)?.into()),
            ("log_bytes", 0_i64.into()),
            ("dockerfile", new.dockerfile.into()),
            ("context_blob", new.context_blob.into()),
            ("cancel_requested", false.into()),
            ("container_id", new.save.map(|save| save.container_id.0).into()),
            ("note", new.save.and_then(|save| save.note.as_deref()).into()),
            ("parameters", parameters.into()),
            ("created_at", new.now.0.into()),
            ("updated_at", new.now.0.into()),
        ],
    )
    .await
}

/// A build.
pub async fn get(c: &dyn Conn, id: BuildId) -> Result<Option<Row>> {
    let mut query = select_rows();
    query.and_where(Expr::col((TABLE, "id")).eq(id.to_string()));
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// Builds, newest first.
pub async fn list(c: &dyn Conn, filter: Filter<'_>, page: PageQuery) -> Result<PageOf<Row>> {
    let narrowed = Cond::all()
        .add_option(filter.account.map(|id| Expr::col("account_id").eq(id.0)))
        .add_option(filter.state.map(|state| Expr::col("state").eq(state.text())))
        .add_option(filter.owner.map(|owner| Expr::col("owner").eq(owner.as_str())))
        .add_option(filter.repo.map(|repo| Expr::col("repo").eq(repo.as_str())));
    let branches = if narrowed.is_empty() { Vec::new() } else { vec![narrowed] };
    let list = List { table: TABLE, key: "id", kind: KeyKind::Text, newest_first: true, branches };
    list.page(&c.on(), page, select_rows(), row).await
}

/// How many of an account's builds wait.
pub async fn count_queued(c: &dyn Conn, account: AccountId) -> Result<u64> {
    count_of(&c.on(), count_query(TABLE).cond_where(is_queued_of(account))).await
}

/// Which builds of an account wait.
pub(crate) fn is_queued_of(account: AccountId) -> Condition {
    Cond::all()
        .add(Expr::col("account_id").eq(account.0))
        .add(Expr::col("state").eq(OperationState::Queued.text()))
}

/// Notes that a worker has the build, also again after a restart; false when it has ended. What is built in a cluster is on no
/// machine.
pub async fn set_running(
    c: &dyn Conn,
    id: BuildId,
    machine: Option<&MachineId>,
    now: Timestamp,
) -> Result<bool> {
    let mut query = update_of(
        id,
        [
            ("state", OperationState::Running.text().into()),
            ("machine_id", machine.map(MachineId::as_str).into()),
            ("updated_at", now.0.into()),
        ],
    );
    query.value("started_at", Expr::col("started_at").if_null(now.0)).and_where(is_unfinished());
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// Notes what the build is doing, before it does it; false when it has ended.
pub async fn set_phase(c: &dyn Conn, id: BuildId, phase: BuildPhase, now: Timestamp) -> Result<bool> {
    let mut query = update_of(id, [("phase", phase.text().into()), ("updated_at", now.0.into())]);
    query.and_where(is_unfinished());
    Ok(c.on().change_telling(TABLE, &query).await? > 0)
}

/// Notes the step of the Dockerfile that runs.
pub async fn set_step(c: &dyn Conn, id: BuildId, step: u32, steps: u32, text: &str) -> Result<()> {
    let cells =
        [("step", i64::from(step).into()), ("steps", i64::from(steps).into()), ("step_text", text.into())];
    c.on().change_telling(TABLE, &update_of(id, cells)).await?;
    Ok(())
}

/// Notes how much was pushed.
pub async fn set_push_progress(c: &dyn Conn, id: BuildId, pushed_bytes: u64, total_bytes: u64) -> Result<()> {
    let cells = [("pushed_bytes", int(pushed_bytes)?.into()), ("push_total_bytes", int(total_bytes)?.into())];
    c.on().change_telling(TABLE, &update_of(id, cells)).await?;
    Ok(())
}

/// Notes how long the log is.
pub async fn set_log_bytes(c: &dyn Conn, id: BuildId, log_bytes: u64) -> Result<()> {
    quietly(c, id, [("log_bytes", int(log_bytes)?.into())]).await
}

/// Notes that the context is no longer kept.
pub async fn clear_context(c: &dyn Conn, id: BuildId) -> Result<()> {
    quietly(c, id, [("context_blob", sea_orm::Value::String(None))]).await
}

async fn quietly(c: &dyn Conn, id: BuildId, cells: impl IntoIterator<Item = Cell>) -> Result<()> {
    c.on().change_quietly(&update_of(id, cells)).await?;
    Ok(())
}

/// Ends a build that has not ended; true when this call did it.
pub async fn finish(c: &dyn Conn, id: BuildId, outcome: &Outcome<'_>, now: Timestamp) -> Result<bool> {
    if !outcome.state.is_final() {
        return Err(Error::other("a build ends in a final state only"));
    }
    let mut query = update_of(
        id,
        [
            ("state", outcome.state.text().into()),
            ("phase", BuildPhase::Done.text().into()),
            ("reason", outcome.reason.into()),
            ("message", outcome.message.into()),
            ("image_id", outcome.image_id.map(|id| id.0).into()),
            ("digest", outcome.digest.map(Digest::as_str).into()),
            ("size_bytes", outcome.size_bytes.map(int).transpose()?.into()),
            ("updated_at", now.0.into()),
            ("ended_at", now.0.into()),
        ],
    );
    query.and_where(is_unfinished());
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// Asks for the end of a build; false when it has ended.
pub async fn request_cancel(c: &dyn Conn, id: BuildId) -> Result<bool> {
    let mut query = update_of(id, [("cancel_requested", true.into())]);
    query.and_where(is_unfinished());
    Ok(c.on().change_telling(TABLE, &query).await? > 0)
}

/// How many builds will be taken before a queued one; none when it is not queued.
pub async fn queue_position(c: &dyn Conn, id: BuildId) -> Result<Option<u64>> {
    let on = c.on();
    let mut query = select(TABLE, &["created_at"]);
    query.cond_where(is_queued().add(Expr::col("id").eq(id.to_string())));
    let Some(found) = on.row(&query).await? else { return Ok(None) };
    let created_at = Cells(&found).int("created_at")?;
    let is_same_time_but_before =
        Cond::all().add(Expr::col("created_at").eq(created_at)).add(Expr::col("id").lt(id.to_string()));
    let is_before = Cond::any().add(Expr::col("created_at").lt(created_at)).add(is_same_time_but_before);
    let mut query = count_query(TABLE);
    query.cond_where(is_queued().add(is_before));
    count_of(&on, &query).await.map(Some)
}

fn is_queued() -> Condition {
    Cond::all().add(Expr::col("state").eq(OperationState::Queued.text()))
}

/// Builds that have not ended, oldest first.
pub async fn unfinished(c: &dyn Conn) -> Result<Vec<Row>> {
    let mut query = select_rows();
    query
        .and_where(is_unfinished())
        .order_by((TABLE, "created_at"), Order::Asc)
        .order_by((TABLE, "id"), Order::Asc);
    c.on().rows(&query).await?.iter().map(row).collect()
}

/// How many of an account's builds have not ended.
pub async fn count_unfinished(c: &dyn Conn, account: AccountId) -> Result<u64> {
    let mut query = count_query(TABLE);
    query.and_where(is_unfinished()).and_where(Expr::col("account_id").eq(account.0));
    count_of(&c.on(), &query).await
}
