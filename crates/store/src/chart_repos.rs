//! Chart repositories: where their indexes are, and how they were when they were last read.

use sea_orm::QueryResult;
use sea_orm::sea_query::{Cond, Condition, Expr, ExprTrait, Order, Query, SelectStatement};
use wire::chart_repos::{ChartRepoBackend, ChartRepoKind, ChartRepoState};
use wire::ids::{AccountId, ChartRepoId};
use wire::names::AccountName;
use wire::page::PageQuery;
use wire::time::Timestamp;

use crate::db::Conn;
use crate::error::Result;
use crate::pages::PageOf;
use crate::sql::{
    Cell, Cells, Word, contains, count_of, count_query, insert as insert_row, int, select, shortened, update,
    words,
};

const TABLE: &str = "chart_repos";
/// What stands in `signatures` where charts must be signed.
const REQUIRED: &str = "required";
const COLUMNS: &[&str] = &[
    "id",
    "account_id",
    "name",
    "url",
    "kind",
    "backend",
    "is_public",
    "description",
    "username",
    "password",
    "ca_certificate",
    "sync_minutes",
    "revision",
    "state",
    "error_code",
    "error",
    "failures",
    "last_sync_at",
    "etag",
    "last_modified",
    "body_hash",
    "index_bytes",
    "chart_count",
    "version_count",
    "skipped_count",
    "created_at",
    "updated_at",
    "signatures",
];

words!(ChartRepoKind { External = "external", Internal = "internal" });
words!(ChartRepoBackend { Common = "common", Hosted = "hosted" });
words!(ChartRepoState { Syncing = "syncing", Ready = "ready", Failed = "failed" });

/// A chart repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The repository.
    pub id: ChartRepoId,
    /// Whose it is.
    pub account_id: AccountId,
    /// Whose it is, by name.
    pub account: AccountName,
    /// What people may set.
    pub settings: Settings,
    /// Raised by every change of the settings and by every sync that is written: whoever holds an older one is late.
    pub revision: i64,
    /// How it is.
    pub state: ChartRepoState,
    /// Why the last sync failed, for programs.
    pub error_code: Option<String>,
    /// Why the last sync failed, in plain words.
    pub error: Option<String>,
    /// Syncs that failed since the last good one.
    pub failures: u32,
    /// When its index was last looked at with something to note.
    pub last_sync_at: Option<Timestamp>,
    /// What is known of its index.
    pub known: Known,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its settings were last changed.
    pub updated_at: Timestamp,
}

/// What people may set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// What its charts are.
    pub kind: ChartRepoKind,
    /// Where they come from; fixed when it is made.
    pub backend: ChartRepoBackend,
    /// Whether every account sees it.
    pub is_public: bool,
    /// What it is for.
    pub description: Option<String>,
    /// The name by which its server knows us.
    pub username: Option<String>,
    /// The password for that, sealed.
    pub password: Option<String>,
    /// Certificates of authorities to believe.
    pub ca_certificate: Option<String>,
    /// Minutes between two syncs; 0 for never.
    pub sync_minutes: u32,
    /// Whether its charts must be signed.
    pub requires_signature: bool,
}

/// What is known of an index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Its server's mark for this state of it.
    pub etag: Option<String>,
    /// When its server last changed it, in the server's words.
    pub last_modified: Option<String>,
    /// The SHA-256 of it in hex.
    pub body_hash: Option<String>,
    /// Its length in bytes.
    pub index_bytes: u64,
    /// Charts in it.
    pub chart_count: u64,
    /// Versions of all of them.
    pub version_count: u64,
    /// Entries that were left out.
    pub skipped_count: u64,
}

/// How a sync ended.
#[derive(Clone, Debug)]
pub enum Outcome<'a> {
    /// The index was read.
    Read(&'a Known),
    /// It could not be read.
    Failed {
        /// Why, for programs.
        code: &'a str,
        /// Why, in plain words.
        message: &'a str,
    },
}

/// Whose eyes look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Viewer {
    /// Sees everything.
    Admin,
    /// Sees what is public and what is its own.
    Account(AccountId),
}

/// Which chart repositories; what is none does not narrow.
#[derive(Clone, Copy, Debug)]
pub struct Filter<'a> {
    /// Whose eyes look.
    pub viewer: Viewer,
    /// Only of this kind.
    pub kind: Option<ChartRepoKind>,
    /// Only those whose name, address or description contains this.
    pub search: Option<&'a str>,
    /// The column that decides over the order, one of [`ORDERS`].
    pub order_by: &'a str,
    /// Whether the smallest comes first.
    pub ascending: bool,
}

/// What lists can be ordered by: columns, whose it is, and how many releases come from it.
pub const ORDERS: &[&str] = &[
    "created_at",
    "updated_at",
    "name",
    "url",
    "kind",
    "id",
    "is_public",
    "state",
    "owner",
    "release_count",
];

fn row(row: &QueryResult) -> Result<Row> {
    let cells = Cells(row);
    Ok(Row {
        id: ChartRepoId(cells.parsed("id")?),
        account_id: AccountId(cells.int("account_id")?),
        account: cells.parsed("account")?,
        settings: Settings {
            name: cells.text("name")?,
            url: cells.text("url")?,
            kind: cells.word("kind")?,
            backend: cells.word("backend")?,
            is_public: cells.bool("is_public")?,
            description: cells.opt_text("description")?,
            username: cells.opt_text("username")?,
            password: cells.opt_text("password")?,
            ca_certificate: cells.opt_text("ca_certificate")?,
            sync_minutes: cells.count("sync_minutes")?,
            requires_signature: cells.opt_text("signatures")?.as_deref() == Some(REQUIRED),
        },
        revision: cells.int("revision")?,
        state: cells.word("state")?,
        error_code: cells.opt_text("error_code")?,
        error: cells.opt_text("error")?,
        failures: cells.count("failures")?,
        last_sync_at: cells.opt_time("last_sync_at")?,
        known: Known {
            etag: cells.opt_text("etag")?,
            last_modified: cells.opt_text("last_modified")?,
            body_hash: cells.opt_text("body_hash")?,
            index_bytes: cells.count("index_bytes")?,
            chart_count: cells.count("chart_count")?,
            version_count: cells.count("version_count")?,
            skipped_count: cells.count("skipped_count")?,
        },
        created_at: cells.time("created_at")?,
        updated_at: cells.time("updated_at")?,
    })
}

fn query() -> SelectStatement {
    let mut query = select(TABLE, COLUMNS);
    query
        .column(("accounts", "account"))
        .inner_join("accounts", Expr::col(("accounts", "id")).equals((TABLE, "account_id")));
    query
}

fn settings_cells(account: AccountId, settings: &Settings) -> Result<[Cell; 12]> {
    Ok([
        ("scope", scope(account, settings.is_public).into()),
        ("name", settings.name.as_str().into()),
        ("url", settings.url.as_str().into()),
        ("kind", settings.kind.text().into()),
        ("backend", settings.backend.text().into()),
        ("is_public", settings.is_public.into()),
        ("description", settings.description.as_deref().into()),
        ("username", settings.username.as_deref().into()),
        ("password", settings.password.as_deref().into()),
        ("ca_certificate", settings.ca_certificate.as_deref().into()),
        ("sync_minutes", int(settings.sync_minutes.into())?.into()),
        ("signatures", settings.requires_signature.then_some(REQUIRED).into()),
    ])
}

/// Where a name is unique.
fn scope(account: AccountId, is_public: bool) -> String {
    if is_public { String::new() } else { account.0.to_string() }
}

/// Stores a repository; [`crate::Error::Duplicate`] when its name is taken.
pub async fn insert(
    c: &dyn Conn,
    id: ChartRepoId,
    account: AccountId,
    settings: &Settings,
    now: Timestamp,
) -> Result<()> {
    let cells = [
        ("id", id.to_string().into()),
        ("account_id", account.0.into()),
        ("revision", 0_i64.into()),
        ("state", ChartRepoState::Syncing.text().into()),
        ("failures", 0_i64.into()),
        ("index_bytes", 0_i64.into()),
        ("chart_count", 0_i64.into()),
        ("version_count", 0_i64.into()),
        ("skipped_count", 0_i64.into()),
        ("created_at", now.0.into()),
        ("updated_at", now.0.into()),
    ];
    insert_row(&c.on(), TABLE, cells.into_iter().chain(settings_cells(account, settings)?)).await
}

/// The repository with an id.
pub async fn get(c: &dyn Conn, id: ChartRepoId) -> Result<Option<Row>> {
    let mut query = query();
    query.and_where(Expr::col((TABLE, "id")).eq(id.to_string()));
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// Repositories of a name, as somebody sees them: its own first, then the public one, then others'.
pub async fn by_name(c: &dyn Conn, viewer: Viewer, name: &str) -> Result<Vec<Row>> {
    let mut query = query();
    query
        .cond_where(seen_by(viewer).add(Expr::col((TABLE, "name")).eq(name)))
        .order_by((TABLE, "id"), Order::Asc);
    c.on().rows(&query).await?.iter().map(row).collect()
}

/// Whether an account has a repository of this name already.
pub async fn has_name(
    c: &dyn Conn,
    account: AccountId,
    name: &str,
    except: Option<ChartRepoId>,
) -> Result<bool> {
    let mut query = count_query(TABLE);
    query
        .and_where(Expr::col("name").eq(name))
        .and_where(Expr::col("account_id").eq(account.0))
        .and_where_option(except.map(|id| Expr::col("id").ne(id.to_string())));
    Ok(count_of(&c.on(), &query).await? > 0)
}

/// How many an account has.
pub async fn count(c: &dyn Conn, account: AccountId) -> Result<u64> {
    let mut query = count_query(TABLE);
    query.and_where(Expr::col("account_id").eq(account.0));
    count_of(&c.on(), &query).await
}

fn seen_by(viewer: Viewer) -> Condition {
    match viewer {
        Viewer::Admin => Cond::all(),
        Viewer::Account(account) => Cond::all().add(
            Cond::any()
                .add(Expr::col((TABLE, "is_public")).eq(true))
                .add(Expr::col((TABLE, "account_id")).eq(account.0)),
        ),
    }
}

/// Repositories that somebody sees.
pub async fn list(c: &dyn Conn, filter: Filter<'_>, page: PageQuery) -> Result<PageOf<Row>> {
    let on = c.on();
    let narrowed = seen_by(filter.viewer)
        .add_option(filter.kind.map(|kind| Expr::col((TABLE, "kind")).eq(kind.text())))
        .add_option(filter.search.map(|text| contains(&["name", "url", "description"], text)));
    let mut counting = count_query(TABLE);
    let total = count_of(&on, counting.cond_where(narrowed.clone())).await?;
    let by = ORDERS.iter().find(|column| **column == filter.order_by).copied().unwrap_or("created_at");
    let order = if filter.ascending { Order::Asc } else { Order::Desc };
    let of_repo = |column: SelectStatement| Expr::SubQuery(None, Box::new(column.into()));
    let by = match by {
        "owner" => {
            let mut owner = select("accounts", &["account"]);
            owner.and_where(Expr::col(("accounts", "id")).equals((TABLE, "account_id")));
            of_repo(owner)
        }
        "release_count" => {
            let mut releases = count_query("releases");
            releases.and_where(Expr::col(("releases", "repo_id")).equals((TABLE, "id")));
            of_repo(releases)
        }
        column => Expr::col((TABLE, column)),
    };
    let mut keys = Query::select();
    keys.column("id")
        .from(TABLE)
        .cond_where(narrowed)
        .order_by_expr(by, order.clone())
        .order_by("id", order)
        .limit(page.limit())
        .offset(page.offset());
    let keys: Vec<String> =
        on.rows(&keys).await?.iter().map(|row| Cells(row).text("id")).collect::<Result<_>>()?;
    let mut query = query();
    query.and_where(Expr::col((TABLE, "id")).is_in(keys.clone()));
    let mut rows: Vec<Row> = on.rows(&query).await?.iter().map(row).collect::<Result<_>>()?;
    rows.sort_by_key(|row| keys.iter().position(|key| *key == row.id.to_string()));
    Ok(PageOf { rows, total })
}

/// The repositories of an account whose charts come from there.
pub async fn of_account(c: &dyn Conn, account: AccountId, backend: ChartRepoBackend) -> Result<Vec<Row>> {
    let mut query = query();
    query
        .and_where(Expr::col((TABLE, "account_id")).eq(account.0))
        .and_where(Expr::col((TABLE, "backend")).eq(backend.text()));
    c.on().rows(&query).await?.iter().map(row).collect()
}

/// All repositories, for whoever syncs them.
pub async fn all(c: &dyn Conn) -> Result<Vec<Row>> {
    c.on().rows(&query()).await?.iter().map(row).collect()
}

/// Changes the settings of a repository; false when somebody else changed it meanwhile. With `reread` what is known of its
/// index is forgotten, because the index may be another one; its charts stay until that was read.
pub async fn set(
    c: &dyn Conn,
    before: &Row,
    settings: &Settings,
    reread: bool,
    now: Timestamp,
) -> Result<bool> {
    let mut cells: Vec<Cell> = settings_cells(before.account_id, settings)?.into();
    cells.push(("updated_at", now.0.into()));
    if reread {
        let none = || sea_orm::Value::String(None);
        cells.extend([
            ("etag", none()),
            ("last_modified", none()),
            ("body_hash", none()),
            ("failures", 0_i64.into()),
        ]);
        cells.push(("state", ChartRepoState::Syncing.text().into()));
    }
    change(c, before, cells).await
}

/// Notes how a sync ended; false when somebody else changed the repository meanwhile.
pub async fn synced(c: &dyn Conn, before: &Row, outcome: &Outcome<'_>, now: Timestamp) -> Result<bool> {
    let mut cells: Vec<Cell> = vec![("last_sync_at", now.0.into())];
    match outcome {
        Outcome::Read(known) => cells.extend([
            ("state", ChartRepoState::Ready.text().into()),
            ("error_code", sea_orm::Value::String(None)),
            ("error", sea_orm::Value::String(None)),
            ("failures", 0_i64.into()),
            ("etag", known.etag.as_deref().into()),
            ("last_modified", known.last_modified.as_deref().into()),
            ("body_hash", known.body_hash.as_deref().into()),
            ("index_bytes", int(known.index_bytes)?.into()),
            ("chart_count", int(known.chart_count)?.into()),
            ("version_count", int(known.version_count)?.into()),
            ("skipped_count", int(known.skipped_count)?.into()),
        ]),
        Outcome::Failed { code, message } => cells.extend([
            ("state", ChartRepoState::Failed.text().into()),
            ("error_code", shortened(code, 64).into()),
            ("error", shortened(message, 1000).into()),
            ("failures", i64::from(before.failures.saturating_add(1)).into()),
        ]),
    }
    change(c, before, cells).await
}

async fn change(c: &dyn Conn, before: &Row, cells: Vec<Cell>) -> Result<bool> {
    let mut query = update(TABLE, cells);
    query
        .value("revision", before.revision + 1)
        .and_where(Expr::col("id").eq(before.id.to_string()))
        .and_where(Expr::col("revision").eq(before.revision));
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// Removes a repository with its charts; whether there was one. [`crate::Error`] when releases refer to it.
pub async fn delete(c: &dyn Conn, id: ChartRepoId) -> Result<bool> {
    let query = Query::delete().from_table(TABLE).and_where(Expr::col("id").eq(id.to_string())).take();
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// How many releases were made from the charts of repositories.
pub async fn release_counts(
    c: &dyn Conn,
    ids: &[ChartRepoId],
) -> Result<std::collections::BTreeMap<ChartRepoId, u64>> {
    let mut query = Query::select();
    query
        .column("repo_id")
        .expr_as(Expr::col("id").count(), "n")
        .from("releases")
        .and_where(Expr::col("repo_id").is_in(ids.iter().map(ToString::to_string)))
        .group_by_col("repo_id");
    let pair = |row: &QueryResult| {
        let cells = Cells(row);
        Ok((ChartRepoId(cells.parsed("repo_id")?), cells.count("n")?))
    };
    c.on().rows(&query).await?.iter().map(pair).collect()
}
