//! Quotas: what admins have set for single accounts.

use sea_orm::QueryResult;
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use wire::ids::AccountId;
use wire::quotas::{AccountClass, QuotaLimits};

use crate::db::Conn;
use crate::error::Result;
use crate::sql::{Cells, Word, insert, int, select, words};

const TABLE: &str = "quotas";
const COLUMNS: &[&str] =
    &["account_id", "class", "gpus", "cpu_millis", "memory_bytes", "running_containers", "disk_bytes"];

words!(AccountClass { High = "high", Normal = "normal", Low = "low" });

/// What is set for an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Whose.
    pub account_id: AccountId,
    /// Who is served before it.
    pub class: AccountClass,
    /// What is none is as the settings say.
    pub limits: QuotaLimits,
}

/// What is set for these accounts; nothing for those for which nothing is.
pub async fn of_accounts(c: &dyn Conn, accounts: &[AccountId]) -> Result<Vec<Row>> {
    if accounts.is_empty() {
        return Ok(Vec::new());
    }
    let mut query = select(TABLE, COLUMNS);
    query.and_where(Expr::col("account_id").is_in(accounts.iter().map(|account| account.0)));
    c.on().rows(&query).await?.iter().map(row).collect()
}

/// Sets an account's quota, whatever it was before.
pub async fn set(c: &dyn Conn, row: &Row) -> Result<()> {
    let on = c.on();
    let scope = on.scope().await?;
    let query =
        Query::delete().from_table(TABLE).and_where(Expr::col("account_id").eq(row.account_id.0)).take();
    scope.on().change(TABLE, &query).await?;
    let limits = &row.limits;
    let cells = [
        ("account_id", row.account_id.0.into()),
        ("class", row.class.text().into()),
        ("gpus", limits.gpus.map(i64::from).into()),
        ("cpu_millis", limits.cpu_millis.map(int).transpose()?.into()),
        ("memory_bytes", limits.memory_bytes.map(int).transpose()?.into()),
        ("running_containers", limits.running_containers.map(i64::from).into()),
        ("disk_bytes", limits.disk_bytes.map(int).transpose()?.into()),
    ];
    insert(&scope.on(), TABLE, cells).await?;
    scope.commit().await
}

fn row(row: &QueryResult) -> Result<Row> {
    let cells = Cells(row);
    Ok(Row {
        account_id: AccountId(cells.int("account_id")?),
        class: cells.word("class")?,
        limits: QuotaLimits {
            gpus: cells.opt_count("gpus")?,
            cpu_millis: cells.opt_count("cpu_millis")?,
            memory_bytes: cells.opt_count("memory_bytes")?,
            running_containers: cells.opt_count("running_containers")?,
            disk_bytes: cells.opt_count("disk_bytes")?,
        },
    })
}
