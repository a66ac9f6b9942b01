//! Releases: what was installed from charts, where, and whether something is being done to it.

use sea_orm::QueryResult;
use sea_orm::sea_query::{Cond, Expr, ExprTrait, Order, Query};
use wire::chart_repos::ChartRepoKind;
use wire::ids::{AccountId, ChartRepoId, ReleaseId, ReleaseOperationId};
use wire::names::{ClusterName, NamespaceName};
use wire::page::PageQuery;
use wire::releases::ReleaseState;
use wire::time::Timestamp;

use crate::db::Conn;
use crate::error::Result;
use crate::pages::PageOf;
use crate::sql::{
    Cell, Cells, Word, contains, count_of, count_query, insert as insert_row, int, select, shortened, update,
    words,
};

const TABLE: &str = "releases";
const COLUMNS: &[&str] = &[
    "id",
    "account_id",
    "cluster",
    "namespace",
    "name",
    "kind",
    "repo_id",
    "repo_name",
    "chart",
    "chart_version",
    "app_version",
    "revision",
    "state",
    "reason",
    "message",
    "wish_details",
    "operation_id",
    "created_at",
    "updated_at",
];

words!(ReleaseState {
    PendingInstall = "pending-install",
    PendingUpgrade = "pending-upgrade",
    PendingRollback = "pending-rollback",
    Uninstalling = "uninstalling",
    Deployed = "deployed",
    Failed = "failed",
});

/// A release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The release.
    pub id: ReleaseId,
    /// Whose it is.
    pub account_id: AccountId,
    /// Where it is.
    pub place: Place,
    /// What was installed.
    pub chart: Chart,
    /// Helm's number of what is there.
    pub revision: u64,
    /// Where it is.
    pub state: ReleaseState,
    /// Why it is not as wished, for programs.
    pub reason: Option<String>,
    /// Why it is not as wished, in plain words.
    pub message: Option<String>,
    /// What it consists of, as the domain writes it.
    pub resources: Option<String>,
    /// What is being done to it; nothing else may be meanwhile.
    pub operation_id: Option<ReleaseOperationId>,
    /// When it was wished.
    pub created_at: Timestamp,
    /// When something was last done to it.
    pub updated_at: Timestamp,
}

/// Where a release is: unique.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// In which cluster.
    pub cluster: ClusterName,
    /// In which namespace, as the cluster knows it.
    pub namespace: NamespaceName,
    /// Its name.
    pub name: String,
}

/// What was installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chart {
    /// What the chart is.
    pub kind: ChartRepoKind,
    /// Its repository.
    pub repo_id: Option<ChartRepoId>,
    /// Its repository, by name.
    pub repo_name: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The version of what it installs.
    pub app_version: Option<String>,
}

/// How a release is after something was done to it.
#[derive(Clone, Debug)]
pub struct Outcome<'a> {
    /// Where it is.
    pub state: ReleaseState,
    /// Helm's number of what is there.
    pub revision: u64,
    /// What is there.
    pub chart: &'a Chart,
    /// What it consists of.
    pub resources: Option<&'a str>,
    /// Why it is not as wished, for programs.
    pub reason: Option<&'a str>,
    /// Why it is not as wished, in plain words.
    pub message: Option<&'a str>,
}

/// Which releases.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    /// Only of this account.
    pub account: Option<AccountId>,
    /// Only there: cluster and namespace.
    pub place: Option<(&'a ClusterName, &'a NamespaceName)>,
    /// Only from this repository.
    pub repo: Option<ChartRepoId>,
    /// Only of charts of this kind.
    pub kind: Option<ChartRepoKind>,
    /// Only whose name or chart has this in it.
    pub search: Option<&'a str>,
}

fn row(row: &QueryResult) -> Result<Row> {
    let cells = Cells(row);
    Ok(Row {
        id: ReleaseId(cells.parsed("id")?),
        account_id: AccountId(cells.int("account_id")?),
        place: Place {
            cluster: cells.parsed("cluster")?,
            namespace: cells.parsed("namespace")?,
            name: cells.text("name")?,
        },
        chart: Chart {
            kind: cells.word("kind")?,
            repo_id: cells.opt_parsed("repo_id")?.map(ChartRepoId),
            repo_name: cells.text("repo_name")?,
            name: cells.text("chart")?,
            version: cells.text("chart_version")?,
            app_version: cells.opt_text("app_version")?,
        },
        revision: cells.count("revision")?,
        state: cells.word("state")?,
        reason: cells.opt_text("reason")?,
        message: cells.opt_text("message")?,
        resources: cells.opt_text("wish_details")?,
        operation_id: cells.opt_parsed("operation_id")?.map(ReleaseOperationId),
        created_at: cells.time("created_at")?,
        updated_at: cells.time("updated_at")?,
    })
}

fn chart_cells(chart: &Chart) -> [Cell; 6] {
    [
        ("kind", chart.kind.text().into()),
        ("repo_id", chart.repo_id.map(|id| id.to_string()).into()),
        ("repo_name", shortened(&chart.repo_name, 128).into()),
        ("chart", shortened(&chart.name, 250).into()),
        ("chart_version", shortened(&chart.version, 128).into()),
        ("app_version", chart.app_version.as_deref().map(|text| shortened(text, 128)).into()),
    ]
}

/// Stores a release that is to be installed; [`crate::Error::Duplicate`] when its place is taken.
pub async fn insert(c: &dyn Conn, new: &Row) -> Result<()> {
    let cells = [
        ("id", new.id.to_string().into()),
        ("account_id", new.account_id.0.into()),
        ("cluster", new.place.cluster.as_str().into()),
        ("namespace", new.place.namespace.as_str().into()),
        ("name", new.place.name.as_str().into()),
        ("revision", int(new.revision)?.into()),
        ("state", new.state.text().into()),
        ("wish", "installed".into()),
        ("wish_details", new.resources.as_deref().into()),
        ("operation_id", new.operation_id.map(|id| id.to_string()).into()),
        ("created_at", new.created_at.0.into()),
        ("updated_at", new.updated_at.0.into()),
    ];
    insert_row(&c.on(), TABLE, cells.into_iter().chain(chart_cells(&new.chart))).await
}

/// A release.
pub async fn get(c: &dyn Conn, id: ReleaseId) -> Result<Option<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("id").eq(id.to_string()));
    c.on().row(&query).await?.as_ref().map(row).transpose()
}

/// Releases of a name, of one account or of all.
pub async fn named(c: &dyn Conn, account: Option<AccountId>, name: &str) -> Result<Vec<Row>> {
    let mut query = select(TABLE, COLUMNS);
    query
        .and_where(Expr::col("name").eq(name))
        .and_where_option(account.map(|id| Expr::col("account_id").eq(id.0)))
        .order_by((TABLE, "id"), Order::Asc)
        .limit(100);
    c.on().rows(&query).await?.iter().map(row).collect()
}

/// Releases, newest first.
pub async fn list(c: &dyn Conn, filter: Filter<'_>, page: PageQuery) -> Result<PageOf<Row>> {
    let on = c.on();
    let mut narrowed = Cond::all()
        .add_option(filter.account.map(|id| Expr::col("account_id").eq(id.0)))
        .add_option(filter.repo.map(|id| Expr::col("repo_id").eq(id.to_string())))
        .add_option(filter.kind.map(|kind| Expr::col("kind").eq(kind.text())))
        .add_option(filter.search.map(|text| contains(&["name", "chart"], text)));
    if let Some((cluster, namespace)) = filter.place {
        narrowed = narrowed
            .add(Expr::col("cluster").eq(cluster.as_str()))
            .add(Expr::col("namespace").eq(namespace.as_str()));
    }
    let mut counting = count_query(TABLE);
    let total = count_of(&on, counting.cond_where(narrowed.clone())).await?;
    let mut query = select(TABLE, COLUMNS);
    query.cond_where(narrowed).order_by((TABLE, "id"), Order::Desc).limit(page.limit()).offset(page.offset());
    let rows = on.rows(&query).await?.iter().map(row).collect::<Result<_>>()?;
    Ok(PageOf { rows, total })
}

/// How many releases a namespace has.
pub async fn count_in(c: &dyn Conn, cluster: &ClusterName, namespace: &NamespaceName) -> Result<u64> {
    let mut query = count_query(TABLE);
    query
        .and_where(Expr::col("cluster").eq(cluster.as_str()))
        .and_where(Expr::col("namespace").eq(namespace.as_str()));
    count_of(&c.on(), &query).await
}

/// Notes that something is done to a release; false when something else is being done, or when it is gone.
pub async fn begin(
    c: &dyn Conn,
    id: ReleaseId,
    operation: ReleaseOperationId,
    state: ReleaseState,
    now: Timestamp,
) -> Result<bool> {
    let wish = if state == ReleaseState::Uninstalling { "gone" } else { "installed" };
    let mut query = update(
        TABLE,
        [
            ("operation_id", operation.to_string().into()),
            ("state", state.text().into()),
            ("wish", wish.into()),
            ("reason", None::<String>.into()),
            ("message", None::<String>.into()),
            ("updated_at", now.0.into()),
        ],
    );
    query.and_where(Expr::col("id").eq(id.to_string())).and_where(Expr::col("operation_id").is_null());
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// Notes how a release is after an operation; false when that is not the one that goes on.
pub async fn finish(
    c: &dyn Conn,
    id: ReleaseId,
    operation: ReleaseOperationId,
    outcome: &Outcome<'_>,
    now: Timestamp,
) -> Result<bool> {
    let cells = [
        ("operation_id", None::<String>.into()),
        ("state", outcome.state.text().into()),
        ("revision", int(outcome.revision)?.into()),
        ("wish_details", outcome.resources.into()),
        ("reason", outcome.reason.map(|text| shortened(text, 64)).into()),
        ("message", outcome.message.map(|text| shortened(text, 1000)).into()),
        ("updated_at", now.0.into()),
    ];
    let mut query = update(TABLE, cells.into_iter().chain(chart_cells(outcome.chart)));
    query
        .and_where(Expr::col("id").eq(id.to_string()))
        .and_where(Expr::col("operation_id").eq(operation.to_string()));
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// Removes a release; whether there was one.
pub async fn delete(c: &dyn Conn, id: ReleaseId) -> Result<bool> {
    let query = Query::delete().from_table(TABLE).and_where(Expr::col("id").eq(id.to_string())).take();
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// Removes the releases of a namespace that is gone with everything in it.
pub async fn delete_in(c: &dyn Conn, cluster: &ClusterName, namespace: &NamespaceName) -> Result<u64> {
    let query = Query::delete()
        .from_table(TABLE)
        .and_where(Expr::col("cluster").eq(cluster.as_str()))
        .and_where(Expr::col("namespace").eq(namespace.as_str()))
        .take();
    c.on().change(TABLE, &query).await
}
