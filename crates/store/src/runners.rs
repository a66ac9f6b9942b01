//! Runners: what executes a run and where its image goes (the table `runner` of seed 002). A runner without a run is one
//! that repositories name as theirs, for its registry.

use sea_orm::QueryResult;
use sea_orm::sea_query::{Expr, ExprTrait, Order, Query};
use wire::builds::OperationState;
use wire::ids::{AccountId, RunId, RunnerId, RunnerUuid};
use wire::time::Timestamp;

use crate::db::Conn;
use crate::error::Result;
use crate::filtered::{self, Filter};
use crate::pages::PageOf;
use crate::sql::{self, Cell, Cells, Word, insert_numbered, select, update};

const TABLE: &str = "runners";
const COLUMNS: &[&str] = &[
    "id",
    "uuid",
    "account_id",
    "run_id",
    "name",
    "state",
    "kind",
    "registry_address",
    "registry_name",
    "registry_password",
    "image_repo",
    "image_name",
    "image_tag",
    "repo_path",
    "repo_dockerfile",
    "build_path",
    "description",
    "created_at",
];

/// A runner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The runner.
    pub id: RunnerId,
    /// Its second name.
    pub uuid: RunnerUuid,
    /// Whose it is.
    pub account_id: AccountId,
    /// What it executes; none for one that repositories name.
    pub run_id: Option<RunId>,
    /// Where its run is; `queued` when it has none.
    pub state: OperationState,
    /// The rest.
    pub content: Content,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What a runner is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Its name.
    pub name: String,
    /// A word of the owner's own.
    pub kind: String,
    /// The registry's address.
    pub registry_address: String,
    /// The user at the registry.
    pub registry_name: String,
    /// The password at the registry, sealed.
    pub registry_password: Option<String>,
    /// The project in the registry.
    pub image_repo: String,
    /// The image's name.
    pub image_name: String,
    /// The image's tag.
    pub image_tag: String,
    /// Where the code is, without user and password.
    pub repo_path: String,
    /// The Dockerfile.
    pub repo_dockerfile: String,
    /// The folder to build.
    pub build_path: String,
    /// What it is.
    pub description: String,
}

/// What makes a runner.
#[derive(Clone, Debug)]
pub struct New<'a> {
    /// Its second name.
    pub uuid: RunnerUuid,
    /// Whose it is.
    pub account_id: AccountId,
    /// What it executes.
    pub run_id: Option<RunId>,
    /// The rest.
    pub content: &'a Content,
    /// The time.
    pub now: Timestamp,
}

fn row(row: &QueryResult) -> Result<Row> {
    let cells = Cells(row);
    Ok(Row {
        id: RunnerId(cells.int("id")?),
        uuid: RunnerUuid(cells.parsed("uuid")?),
        account_id: AccountId(cells.int("account_id")?),
        run_id: cells.opt_int("run_id")?.map(RunId),
        state: cells.word("state")?,
        content: Content {
            name: cells.text("name")?,
            kind: cells.text("kind")?,
            registry_address: cells.text("registry_address")?,
            registry_name: cells.text("registry_name")?,
            registry_password: cells.opt_text("registry_password")?,
            image_repo: cells.text("image_repo")?,
            image_name: cells.text("image_name")?,
            image_tag: cells.text("image_tag")?,
            repo_path: cells.text("repo_path")?,
            repo_dockerfile: cells.text("repo_dockerfile")?,
            build_path: cells.text("build_path")?,
            description: cells.text("description")?,
        },
        created_at: cells.time("created_at")?,
    })
}

fn cells(content: &Content) -> Vec<Cell> {
    vec![
        ("name", content.name.as_str().into()),
        ("kind", content.kind.as_str().into()),
        ("registry_address", content.registry_address.as_str().into()),
        ("registry_name", content.registry_name.as_str().into()),
        ("registry_password", content.registry_password.as_deref().into()),
        ("image_repo", content.image_repo.as_str().into()),
        ("image_name", content.image_name.as_str().into()),
        ("image_tag", content.image_tag.as_str().into()),
        ("repo_path", content.repo_path.as_str().into()),
        ("repo_dockerfile", content.repo_dockerfile.as_str().into()),
        ("build_path", content.build_path.as_str().into()),
        ("description", content.description.as_str().into()),
    ]
}

/// Stores a runner.
pub async fn insert(c: &dyn Conn, new: &New<'_>) -> Result<RunnerId> {
    insert_numbered(&c.on(), TABLE, row_of(new)).await.map(RunnerId)
}

/// Stores a runner whose number nobody asks for. In a transaction it goes with the next statement or the commit.
pub async fn insert_later(c: &dyn Conn, new: &New<'_>) -> Result<()> {
    sql::insert_later(&c.on(), TABLE, row_of(new)).await
}

fn row_of(new: &New<'_>) -> Vec<Cell> {
    let mut row = cells(new.content);
    row.extend([
        ("uuid", new.uuid.to_string().into()),
        ("account_id", new.account_id.0.into()),
        ("run_id", new.run_id.map(|id| id.0).into()),
        ("state", OperationState::Queued.text().into()),
        ("created_at", new.now.0.into()),
    ]);
    row
}

/// Changes a runner.
pub async fn update_content(c: &dyn Conn, id: RunnerId, content: &Content) -> Result<()> {
    let mut query = update(TABLE, cells(content));
    query.and_where(Expr::col("id").eq(id.0));
    c.on().change(TABLE, &query).await?;
    Ok(())
}

/// Notes where a run is on its runner.
pub(crate) async fn set_state_of_run(c: &dyn Conn, run: RunId, state: OperationState) -> Result<()> {
    let mut query = update(TABLE, [("state", state.text().into())]);
    query.and_where(Expr::col("run_id").eq(run.0));
    c.on().change(TABLE, &query).await?;
    Ok(())
}

/// A runner.
pub async fn get(c: &dyn Conn, id: RunnerId) -> Result<Option<Row>> {
    one(c, Expr::col("id").eq(id.0)).await
}

/// The runner with a uuid.
pub async fn by_uuid(c: &dyn Conn, uuid: RunnerUuid) -> Result<Option<Row>> {
    one(c, Expr::col("uuid").eq(uuid.to_string())).await
}

/// The runner that executes a run.
pub async fn of_run(c: &dyn Conn, run: RunId) -> Result<Option<Row>> {
    one(c, Expr::col("run_id").eq(run.0)).await
}

async fn one(c: &dyn Conn, condition: Expr) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(condition);
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// Runners with a name, newest first; of any account when none is given.
pub async fn by_name(c: &dyn Conn, account: Option<AccountId>, name: &str) -> Result<Vec<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("name").eq(name)).order_by((TABLE, "id"), Order::Desc).limit(100);
    if let Some(account) = account {
        query.and_where(Expr::col("account_id").eq(account.0));
    }
    c.on().rows(&query).await?.iter().map(row).collect()
}

/// Runners, narrowed and ordered.
pub async fn list(c: &dyn Conn, filter: &Filter) -> Result<PageOf<Row>> {
    filtered::list(c, TABLE, COLUMNS, filter, row).await
}

/// Removes a runner; whether there was one.
pub async fn delete(c: &dyn Conn, id: RunnerId) -> Result<bool> {
    let query = Query::delete().from_table(TABLE).and_where(Expr::col("id").eq(id.0)).take();
    Ok(c.on().change(TABLE, &query).await? > 0)
}
