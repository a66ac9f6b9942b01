//! Named values that belong to the installation, such as its id.

use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Query};

use crate::db::{Conn, Tx};
use crate::error::{Error, Result};
use crate::sql::{Cells, select};

const TABLE: &str = "settings";

/// The value of a setting.
pub async fn get(c: &dyn Conn, name: &str) -> Result<Option<String>> {
    let mut query = select(TABLE, &["value"]);
    query.and_where(Expr::col("name").eq(name));
    c.on().row(&query).await?.map(|row| Cells(&row).text("value")).transpose()
}

/// Sets a setting.
pub async fn set(c: &dyn Conn, name: &str, value: &str) -> Result<()> {
    write(c, name, value, OnConflict::column("name").update_column("value").to_owned()).await
}

/// Forgets a setting; whether there was one.
pub async fn delete(c: &dyn Conn, name: &str) -> Result<bool> {
    let query = Query::delete().from_table(TABLE).and_where(Expr::col("name").eq(name)).take();
    Ok(c.on().change(TABLE, &query).await? > 0)
}

/// The value of a setting; when there is none, `value` becomes it. However many ask at once, all get the same answer.
pub async fn get_or_insert(c: &dyn Conn, name: &str, value: &str) -> Result<String> {
    if let Some(found) = get(c, name).await? {
        return Ok(found);
    }
    write(c, name, value, OnConflict::column("name").do_nothing_on(["name"]).to_owned()).await?;
    get(c, name).await?.ok_or(Error::NotFound)
}

/// Waits until nobody else has this lock; until the end of the transaction nobody else gets it.
pub async fn lock(c: &Tx, name: &str) -> Result<()> {
    get_or_insert(c, name, "").await?;
    let mut query = select(TABLE, &["value"]);
    query.and_where(Expr::col("name").eq(name)).lock_exclusive();
    c.on().rows(&query).await.map(drop)
}

async fn write(c: &dyn Conn, name: &str, value: &str, on_conflict: OnConflict) -> Result<()> {
    let query = Query::insert()
        .into_table(TABLE)
        .columns(["name", "value"])
        .values_panic([Expr::val(name), Expr::val(value)])
        .on_conflict(on_conflict)
        .take();
    c.on().change_quietly(&query).await?;
    Ok(())
}
