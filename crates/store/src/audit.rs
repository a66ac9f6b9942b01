//! The audit log: who changed what. Rows are only ever added.

use sea_orm::QueryResult;
use sea_orm::sea_query::{Cond, Expr, ExprTrait};
use wire::audit::AuditView;
use wire::ids::{AccountId, AuditId};
use wire::page::PageQuery;
use wire::time::Timestamp;

use crate::db::Conn;
use crate::error::Result;
use crate::pages::{KeyKind, List, PageOf};
use crate::sql::{Cells, contains, insert_later, select, shortened};

const TABLE: &str = "audit";
const COLUMNS: &[&str] = &["id", "at", "action", "target", "result", "ip", "request_id"];

/// One change, or one refused attempt.
#[derive(Clone, Copy, Debug)]
pub struct New<'a> {
    /// When it happened.
    pub at: Timestamp,
    /// Who did it; none for anonymous attempts and for the server itself.
    pub actor: Option<AccountId>,
    /// In whose name, when an admin acted for another account.
    pub acting_for: Option<AccountId>,
    /// What was done, as `noun.verb`.
    pub action: &'a str,
    /// What it was done to; shortened to 500 characters.
    pub target: &'a str,
    /// `done` or `denied`.
    pub result: &'a str,
    /// The address that the request came from.
    pub ip: Option<&'a str>,
    /// Joins the row to the server's log; shortened to 100 characters.
    pub request_id: Option<&'a str>,
}

/// Which rows of the log; what is none does not narrow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    /// Who did it.
    pub actor: Option<AccountId>,
    /// What was done.
    pub action: Option<&'a str>,
    /// What it was done to, exactly.
    pub target: Option<&'a str>,
    /// What was done, or what it was done to, contains this.
    pub search: Option<&'a str>,
    /// `done` or `denied`.
    pub result: Option<&'a str>,
    /// Not before this time.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
}

fn view(row: &QueryResult) -> Result<AuditView> {
    let cells = Cells(row);
    Ok(AuditView {
        id: AuditId(cells.int("id")?),
        at: cells.time("at")?,
        actor: cells.opt_parsed("actor")?,
        acting_for: cells.opt_parsed("acting_for")?,
        action: cells.text("action")?,
        target: cells.text("target")?,
        result: cells.text("result")?,
        ip: cells.opt_text("ip")?,
        request_id: cells.opt_text("request_id")?,
    })
}

/// Adds a row. In a transaction it goes with the next statement or the commit.
pub async fn insert(c: &dyn Conn, new: &New<'_>) -> Result<()> {
    insert_later(
        &c.on(),
        TABLE,
        [
            ("at", new.at.0.into()),
            ("actor_id", new.actor.map(|id| id.0).into()),
            ("acting_for_id", new.acting_for.map(|id| id.0).into()),
            ("action", new.action.into()),
            ("target", shortened(new.target, 500).into()),
            ("result", new.result.into()),
            ("ip", new.ip.map(|ip| shortened(ip, 64)).into()),
            ("request_id", new.request_id.map(|id| shortened(id, 100)).into()),
        ],
    )
    .await
}

/// Rows with the names of the accounts in them, newest first.
pub async fn list(c: &dyn Conn, filter: Filter<'_>, page: PageQuery) -> Result<PageOf<AuditView>> {
    let narrowed = Cond::all()
        .add_option(filter.actor.map(|id| Expr::col("actor_id").eq(id.0)))
        .add_option(filter.action.map(|action| Expr::col("action").eq(action)))
        .add_option(filter.target.map(|target| Expr::col("target").eq(target)))
        .add_option(filter.search.map(|text| contains(&["action", "target"], text)))
        .add_option(filter.result.map(|result| Expr::col("result").eq(result)))
        .add_option(filter.since.map(|time| Expr::col("at").gte(time.0)))
        .add_option(filter.until.map(|time| Expr::col("at").lt(time.0)));
    let branches = if narrowed.is_empty() { Vec::new() } else { vec![narrowed] };
    let list = List { table: TABLE, key: "id", kind: KeyKind::Number, newest_first: true, branches };
    let mut query = select(TABLE, COLUMNS);
    query
        .expr_as(Expr::col(("actors", "account")), "actor")
        .expr_as(Expr::col(("owners", "account")), "acting_for")
        .join_as(
            sea_orm::JoinType::LeftJoin,
            "accounts",
            "actors",
            Expr::col(("actors", "id")).equals((TABLE, "actor_id")),
        )
        .join_as(
            sea_orm::JoinType::LeftJoin,
            "accounts",
            "owners",
            Expr::col(("owners", "id")).equals((TABLE, "acting_for_id")),
        );
    list.page(&c.on(), page, query, view).await
}
