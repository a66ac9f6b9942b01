//! What every noun's queries are made of: reading columns, writing rows, searching.

use std::fmt::Display;
use std::str::FromStr;

use sea_orm::sea_query::{
    Asterisk, Cond, Condition, Expr, ExprTrait, Func, LikeExpr, Query, SelectStatement, UpdateStatement,
};
use sea_orm::{DbBackend, QueryResult, Statement, TryGetable, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::time::Timestamp;

use crate::db::{Backend, On};
use crate::error::{Error, Result};

/// What is longer is in no column that is searched, and engines bound the length of patterns.
const MAX_CONTAINED_BYTES: usize = 10_000;

/// A column's name and what to write into it.
pub(crate) type Cell = (&'static str, Value);

/// Reads the columns of one row; whatever does not parse is [`Error::Corrupt`].
pub(crate) struct Cells<'a>(pub(crate) &'a QueryResult);

impl Cells<'_> {
    fn get<T: TryGetable>(&self, column: &str) -> Result<T> {
        self.0.try_get("", column).map_err(|error| {
            tracing::error!(%error, column, "a stored value cannot be read");
            Error::corrupt(format!("column `{column}` cannot be read"))
        })
    }

    pub(crate) fn int(&self, column: &str) -> Result<i64> {
        self.get(column)
    }

    pub(crate) fn opt_int(&self, column: &str) -> Result<Option<i64>> {
        self.get(column)
    }

    pub(crate) fn bool(&self, column: &str) -> Result<bool> {
        self.get(column)
    }

    pub(crate) fn text(&self, column: &str) -> Result<String> {
        self.get(column)
    }

    pub(crate) fn opt_text(&self, column: &str) -> Result<Option<String>> {
        self.get(column)
    }

    pub(crate) fn time(&self, column: &str) -> Result<Timestamp> {
        self.int(column).map(Timestamp)
    }

    pub(crate) fn opt_time(&self, column: &str) -> Result<Option<Timestamp>> {
        Ok(self.opt_int(column)?.map(Timestamp))
    }

    /// A number that cannot be negative.
    pub(crate) fn count<T: TryFrom<i64>>(&self, column: &str) -> Result<T> {
        let number = self.int(column)?;
        T::try_from(number).map_err(|_| Error::corrupt(format!("column `{column}` holds {number}")))
    }

    pub(crate) fn opt_count<T: TryFrom<i64>>(&self, column: &str) -> Result<Option<T>> {
        match self.opt_int(column)? {
            None => Ok(None),
            Some(_) => self.count(column).map(Some),
        }
    }

    pub(crate) fn parsed<T: FromStr<Err: Display>>(&self, column: &str) -> Result<T> {
        parse(column, &self.text(column)?)
    }

    pub(crate) fn opt_parsed<T: FromStr<Err: Display>>(&self, column: &str) -> Result<Option<T>> {
        self.opt_text(column)?.map(|text| parse(column, &text)).transpose()
    }

    pub(crate) fn word<T: Word>(&self, column: &str) -> Result<T> {
        let text = self.text(column)?;
        T::from_text(&text).ok_or_else(|| Error::corrupt(format!("column `{column}` holds an unknown word")))
    }

    pub(crate) fn opt_word<T: Word>(&self, column: &str) -> Result<Option<T>> {
        match self.opt_text(column)? {
            None => Ok(None),
            Some(_) => self.word(column).map(Some),
        }
    }

    pub(crate) fn opt_json<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>> {
        match self.opt_text(column)? {
            None => Ok(None),
            Some(_) => self.json(column).map(Some),
        }
    }

    pub(crate) fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T> {
        serde_json::from_str(&self.text(column)?).map_err(|error| {
            Error::corrupt(format!("column `{column}` holds other JSON than expected: {error}"))
        })
    }
}

fn parse<T: FromStr<Err: Display>>(column: &str, text: &str) -> Result<T> {
    text.parse().map_err(|error| Error::corrupt(format!("column `{column}`: {error}")))
}

/// An enum that is stored as a word.
pub(crate) trait Word: Sized + Copy {
    /// The word.
    fn text(self) -> &'static str;
    /// The value of a word.
    fn from_text(text: &str) -> Option<Self>;
}

/// Says which word each variant is stored as. The compiler asks for a line per variant.
macro_rules! words {
    ($type:ty { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl $crate::sql::Word for $type {
            fn text(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            fn from_text(text: &str) -> Option<Self> {
                match text { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}
pub(crate) use words;

/// A number as databases keep it.
pub(crate) fn int(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|_| Error::other(format!("{number} is too large to store")))
}

/// A value as JSON text.
pub(crate) fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::other(format!("a value cannot be written as JSON: {error}")))
}

/// The longest beginning of a text that has at most `max` characters.
pub(crate) fn shortened(text: &str, max: usize) -> &str {
    text.char_indices().nth(max).map_or(text, |(end, _)| &text[..end])
}

/// Writes one row.
pub(crate) async fn insert(
    on: &On<'_>,
    table: &'static str,
    cells: impl IntoIterator<Item = Cell>,
) -> Result<()> {
    on.run(insert_statement(on.backend(), table, cells)).await?;
    on.touch(table);
    Ok(())
}

/// Writes one row together with the transaction's next statement; see [`On::run_later`].
pub(crate) async fn insert_later(
    on: &On<'_>,
    table: &'static str,
    cells: impl IntoIterator<Item = Cell>,
) -> Result<()> {
    on.run_later(insert_statement(on.backend(), table, cells)).await?;
    on.touch(table);
    Ok(())
}

/// Writes one row and answers the number that the database gave it.
pub(crate) async fn insert_numbered(
    on: &On<'_>,
    table: &'static str,
    cells: impl IntoIterator<Item = Cell>,
) -> Result<i64> {
    let mut statement = insert_statement(on.backend(), table, cells);
    let id = if on.backend() == Backend::Postgres {
        statement.sql.push_str(r#" RETURNING "id""#);
        let rows = on.run_returning(statement).await?;
        let row = rows.first().ok_or_else(|| Error::other("an insert answered no id"))?;
        Cells(row).int("id")?
    } else {
        // Not `RETURNING` on SQLite: its row would come before the commit, and hide the commit's failure.
        int(on.run(statement).await?.last_insert_id())?
    };
    on.touch(table);
    Ok(id)
}

/// `INSERT INTO table (columns) VALUES (values)`. The most frequent statement with the most values: the query builder would
/// copy each of them.
fn insert_statement(
    backend: Backend,
    table: &'static str,
    cells: impl IntoIterator<Item = Cell>,
) -> Statement {
    let (columns, values): (Vec<_>, Vec<_>) = cells.into_iter().unzip();
    let database = match backend {
        Backend::Sqlite => DbBackend::Sqlite,
        Backend::MySql => DbBackend::MySql,
        Backend::Postgres => DbBackend::Postgres,
    };
    let mut sql = format!(r#"INSERT INTO "{table}" ("#);
    sql.reserve(columns.len() * 24);
    for (number, column) in columns.iter().enumerate() {
        sql.push_str(if number == 0 { "\"" } else { ", \"" });
        sql.push_str(column);
        sql.push('"');
    }
    sql.push_str(") VALUES (");
    for number in 1..=columns.len() {
        sql.push_str(if number == 1 { "" } else { ", " });
        match backend {
            Backend::Postgres => sql.extend(["$", &number.to_string()]),
            Backend::Sqlite | Backend::MySql => sql.push('?'),
        }
    }
    sql.push(')');
    Statement::from_sql_and_values(database, sql, values)
}

/// `UPDATE table SET cells`; the caller adds which rows.
pub(crate) fn update(table: &'static str, cells: impl IntoIterator<Item = Cell>) -> UpdateStatement {
    let mut query = Query::update();
    query.table(table);
    for (column, value) in cells {
        query.value(column, value);
    }
    query
}

/// `SELECT columns FROM table`; the caller adds which rows. The columns are one text: the query builder would take each apart
/// and together again.
pub(crate) fn select(table: &'static str, columns: &[&'static str]) -> SelectStatement {
    let mut list = String::with_capacity(columns.len() * (table.len() + 20));
    for (number, column) in columns.iter().enumerate() {
        list.extend([if number == 0 { "\"" } else { ", \"" }, table, "\".\"", column, "\""]);
    }
    Query::select().expr(Expr::cust(list)).from(table).take()
}

/// `SELECT COUNT(*) AS n FROM table`; the caller adds which rows.
pub(crate) fn count_query(table: &'static str) -> SelectStatement {
    Query::select().expr_as(Expr::col(Asterisk).count(), "n").from(table).take()
}

/// The one number of a `SELECT COUNT(*) AS n`.
pub(crate) async fn count_of(on: &On<'_>, query: &SelectStatement) -> Result<u64> {
    match on.row(query).await? {
        Some(row) => Cells(&row).count("n"),
        None => Ok(0),
    }
}

/// Rows where a column contains a text, without regard to case (of ASCII letters everywhere); `%` and `_` in it mean
/// themselves.
pub(crate) fn contains(columns: &[&'static str], text: &str) -> Condition {
    if text.len() > MAX_CONTAINED_BYTES {
        return Cond::any().add(Expr::val(1).eq(0));
    }
    let mut pattern = String::with_capacity(text.len() + 8);
    pattern.push('%');
    for character in text.chars() {
        if matches!(character, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(character.to_ascii_lowercase());
    }
    pattern.push('%');
    let mut any = Cond::any();
    for column in columns {
        let like = LikeExpr::new(pattern.clone()).escape('!');
        any = any.add(Expr::expr(Func::lower(Expr::col(*column))).like(like));
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_shortened_between_characters() {
        assert_eq!(shortened("äöü", 2), "äö");
        assert_eq!(shortened("äöü", 3), "äöü");
        assert_eq!(shortened("", 3), "");
    }

    #[test]
    fn numbers_that_no_database_keeps_are_refused() {
        assert!(int(u64::MAX).is_err());
        assert_eq!(int(i64::MAX.unsigned_abs()).unwrap(), i64::MAX);
    }
}
