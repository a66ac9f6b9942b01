//! Charts of repositories: what lists and searches need in columns, their versions in pages of JSON, because there are hundreds
//! of them and they are always read together.

use std::collections::BTreeMap;

use sea_orm::QueryResult;
use sea_orm::sea_query::{CaseStatement, Cond, Expr, ExprTrait, Func, LikeExpr, Order, Query};
use wire::ids::ChartRepoId;
use wire::page::PageQuery;
use wire::time::Timestamp;

use crate::chart_repos::Viewer;
use crate::db::{Conn, On};
use crate::error::Result;
use crate::pages::PageOf;
use crate::sql::{
    Cell, Cells, Word, count_of, insert as insert_row, insert_numbered, int, select, shortened, update,
};

const TABLE: &str = "charts";
const VERSIONS: &str = "chart_versions";
const COLUMNS: &[&str] = &[
    "id",
    "repo_id",
    "name",
    "version",
    "app_version",
    "description",
    "category",
    "published_at",
    "is_deprecated",
    "version_count",
    "metadata",
    "updated_at",
];

/// A chart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its number.
    pub id: i64,
    /// Of which repository.
    pub repo_id: ChartRepoId,
    /// The repository's name.
    pub repo_name: String,
    /// What the repository's charts are.
    pub repo_kind: wire::chart_repos::ChartRepoKind,
    /// Its name.
    pub name: String,
    /// Its best version.
    pub version: String,
    /// The version of what is in that.
    pub app_version: Option<String>,
    /// What it is for.
    pub description: String,
    /// What it is filed under.
    pub category: Option<String>,
    /// When its best version was made.
    pub published_at: Option<Timestamp>,
    /// Whether its maintainers no longer want it to be used.
    pub is_deprecated: bool,
    /// How many versions it has.
    pub version_count: u64,
    /// What its best version says of it, as JSON.
    pub metadata: String,
    /// When we last saw something new of it.
    pub updated_at: Timestamp,
}

/// A chart to store.
#[derive(Clone, Debug)]
pub struct New<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its best version.
    pub version: &'a str,
    /// The version of what is in that.
    pub app_version: Option<&'a str>,
    /// What it is for.
    pub description: &'a str,
    /// Words to find it by.
    pub keywords: &'a str,
    /// What it is filed under.
    pub category: Option<&'a str>,
    /// When its best version was made.
    pub published_at: Option<Timestamp>,
    /// Whether its maintainers no longer want it to be used.
    pub is_deprecated: bool,
    /// How many versions it has.
    pub version_count: u64,
    /// Tells whether anything changed.
    pub content_hash: &'a str,
    /// What its best version says of it, as JSON.
    pub metadata: &'a str,
    /// Its versions: pages of JSON, the greatest version first.
    pub pages: &'a [String],
}

/// Which charts; what is none does not narrow.
#[derive(Clone, Copy, Debug)]
pub struct Filter<'a> {
    /// Whose eyes look.
    pub viewer: Viewer,
    /// Only of these repositories.
    pub repos: Option<&'a [ChartRepoId]>,
    /// Only this one.
    pub name: Option<&'a str>,
    /// Only those whose name, description or keywords contain one of each of these.
    pub words: &'a [Vec<String>],
    /// Only of repositories of this kind.
    pub kind: Option<wire::chart_repos::ChartRepoKind>,
    /// Only filed under this.
    pub category: Option<&'a str>,
}

fn row(row: &QueryResult) -> Result<Row> {
    let cells = Cells(row);
    Ok(Row {
        id: cells.int("id")?,
        repo_id: ChartRepoId(cells.parsed("repo_id")?),
        repo_name: cells.text("repo_name")?,
        repo_kind: cells.word("repo_kind")?,
        name: cells.text("name")?,
        version: cells.text("version")?,
        app_version: cells.opt_text("app_version")?,
        description: cells.text("description")?,
        category: cells.opt_text("category")?,
        published_at: cells.opt_time("published_at")?,
        is_deprecated: cells.bool("is_deprecated")?,
        version_count: cells.count("version_count")?,
        metadata: cells.text("metadata")?,
        updated_at: cells.time("updated_at")?,
    })
}

fn cells(new: &New<'_>, now: Timestamp) -> Result<[Cell; 11]> {
    Ok([
        ("version", new.version.into()),
        ("app_version", new.app_version.into()),
        ("description", shortened(new.description, 2000).into()),
        ("keywords", new.keywords.into()),
        ("category", new.category.map(|text| shortened(text, 100)).into()),
        ("published_at", new.published_at.map(|time| time.0).into()),
        ("is_deprecated", new.is_deprecated.into()),
        ("version_count", int(new.version_count)?.into()),
        ("content_hash", new.content_hash.into()),
        ("metadata", new.metadata.into()),
        ("updated_at", now.0.into()),
    ])
}

/// The charts that are stored of a repository: number and hash by name.
pub async fn hashes(c: &dyn Conn, repo: ChartRepoId) -> Result<BTreeMap<String, (i64, String)>> {
    let mut query = select(TABLE, &["id", "name", "content_hash"]);
    query.and_where(Expr::col("repo_id").eq(repo.to_string()));
    let pair = |row: &QueryResult| {
        let cells = Cells(row);
        Ok((cells.text("name")?, (cells.int("id")?, cells.text("content_hash")?)))
    };
    c.on().rows(&query).await?.iter().map(pair).collect()
}

/// Stores a chart, in the place of an earlier state of it if there is one.
pub async fn put(
    c: &dyn Conn,
    repo: ChartRepoId,
    known: Option<i64>,
    new: &New<'_>,
    now: Timestamp,
) -> Result<()> {
    let on = c.on();
    let scope = on.scope().await?;
    let on = scope.on();
    let id = if let Some(id) = known {
        let mut query = update(TABLE, cells(new, now)?);
        query.and_where(Expr::col("id").eq(id));
        on.change(TABLE, &query).await?;
        let query = Query::delete().from_table(VERSIONS).and_where(Expr::col("chart_id").eq(id)).take();
        on.change(VERSIONS, &query).await?;
        id
    } else {
        let keys = [("repo_id", repo.to_string().into()), ("name", new.name.into())];
        insert_numbered(&on, TABLE, keys.into_iter().chain(cells(new, now)?)).await?
    };
    for (page, versions) in (0_i64..).zip(new.pages) {
        let cells = [("chart_id", id.into()), ("page", page.into()), ("versions", versions.as_str().into())];
        insert_row(&on, VERSIONS, cells).await?;
    }
    scope.commit().await
}

/// Removes charts.
pub async fn delete(c: &dyn Conn, ids: &[i64]) -> Result<()> {
    for ids in ids.chunks(500) {
        let query =
            Query::delete().from_table(TABLE).and_where(Expr::col("id").is_in(ids.iter().copied())).take();
        c.on().change(TABLE, &query).await?;
    }
    Ok(())
}

/// The pages of a chart's versions.
pub async fn versions(c: &dyn Conn, id: i64) -> Result<Vec<String>> {
    let mut query = select(VERSIONS, &["versions"]);
    query.and_where(Expr::col("chart_id").eq(id)).order_by("page", Order::Asc);
    c.on().rows(&query).await?.iter().map(|row| Cells(row).text("versions")).collect()
}

/// Charts that somebody sees, by name.
pub async fn list(c: &dyn Conn, filter: Filter<'_>, page: PageQuery) -> Result<PageOf<Row>> {
    let on = c.on();
    let condition = narrowed(&filter);
    let mut query = select(TABLE, COLUMNS);
    query
        .expr_as(Expr::col(("chart_repos", "name")), "repo_name")
        .expr_as(Expr::col(("chart_repos", "kind")), "repo_kind")
        .inner_join("chart_repos", Expr::col(("chart_repos", "id")).equals((TABLE, "repo_id")))
        .cond_where(condition.clone());
    if let Some(word) = filter.words.first().and_then(|word| word.first()) {
        // Whose name is or begins with what was asked for comes first.
        let word = word.to_ascii_lowercase();
        let rank = CaseStatement::new()
            .case(Expr::col((TABLE, "name")).eq(word.as_str()), 0)
            .case(like("name", &word), 1)
            .finally(2);
        query.order_by_expr(rank.into(), Order::Asc);
    }
    query
        .order_by((TABLE, "name"), Order::Asc)
        .order_by((TABLE, "id"), Order::Asc)
        .limit(page.limit())
        .offset(page.offset());
    let rows = on.rows(&query).await?.iter().map(row).collect::<Result<Vec<_>>>()?;
    // A page that is not full is the last one: nothing has to be counted.
    let shown = rows.len() as u64;
    let is_last = shown < page.limit() && (shown > 0 || page.offset() == 0);
    let total = if is_last { page.offset() + shown } else { count(&on, &condition).await? };
    Ok(PageOf { rows, total })
}

async fn count(on: &On<'_>, condition: &Cond) -> Result<u64> {
    let mut query = Query::select();
    query
        .expr_as(Expr::col((TABLE, "id")).count(), "n")
        .from(TABLE)
        .inner_join("chart_repos", Expr::col(("chart_repos", "id")).equals((TABLE, "repo_id")))
        .cond_where(condition.clone());
    count_of(on, &query).await
}

fn narrowed(filter: &Filter<'_>) -> Cond {
    let mut all = match filter.viewer {
        Viewer::Admin => Cond::all(),
        Viewer::Account(account) => Cond::all().add(
            Cond::any()
                .add(Expr::col(("chart_repos", "is_public")).eq(true))
                .add(Expr::col(("chart_repos", "account_id")).eq(account.0)),
        ),
    };
    all = all
        .add_option(
            filter.repos.map(|ids| Expr::col((TABLE, "repo_id")).is_in(ids.iter().map(ToString::to_string))),
        )
        .add_option(filter.name.map(|name| Expr::col((TABLE, "name")).eq(name)))
        .add_option(filter.kind.map(|kind| Expr::col(("chart_repos", "kind")).eq(kind.text())))
        .add_option(filter.category.map(|category| Expr::col((TABLE, "category")).eq(category)));
    for word in filter.words {
        all = all.add(word.iter().fold(Cond::any(), |any, word| any.add(contains_word(word))));
    }
    all
}

/// Whether name, description or keywords contain a text.
fn contains_word(word: &str) -> Cond {
    Cond::any().add(like("name", word)).add(like("description", word)).add(like("keywords", word))
}

fn like(column: &'static str, word: &str) -> Expr {
    let mut pattern = String::from("%");
    for character in word.chars() {
        if matches!(character, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(character.to_ascii_lowercase());
    }
    pattern.push('%');
    Expr::expr(Func::lower(Expr::col((TABLE, column)))).like(LikeExpr::new(pattern).escape('!'))
}

/// The digest that a package had when it was first fetched. Notes this one when there was none.
pub async fn first_digest(
    c: &dyn Conn,
    repo: ChartRepoId,
    chart: &str,
    version: &str,
    digest: &str,
    now: Timestamp,
) -> Result<String> {
    let on = c.on();
    let mut query = select("chart_packages", &["digest"]);
    query
        .and_where(Expr::col("repo_id").eq(repo.to_string()))
        .and_where(Expr::col("chart").eq(chart))
        .and_where(Expr::col("version").eq(version));
    let known = async || on.row(&query).await?.map(|row| Cells(&row).text("digest")).transpose();
    if let Some(known) = known().await? {
        return Ok(known);
    }
    let cells = [
        ("repo_id", repo.to_string().into()),
        ("chart", chart.into()),
        ("version", version.into()),
        ("digest", digest.into()),
        ("first_seen_at", now.0.into()),
    ];
    match insert_row(&on, "chart_packages", cells).await {
        Ok(()) => Ok(digest.to_owned()),
        // Somebody else was first.
        Err(crate::error::Error::Duplicate) => Ok(known().await?.unwrap_or_else(|| digest.to_owned())),
        Err(error) => Err(error),
    }
}
