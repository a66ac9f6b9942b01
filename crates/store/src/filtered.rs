//! Lists that are narrowed and ordered by any of their columns, as seed 002's routes let their callers do.

use sea_orm::QueryResult;
use sea_orm::sea_query::{CaseStatement, Cond, Condition, Expr, ExprTrait, Order};
use wire::ids::AccountId;

use crate::db::Conn;
use crate::error::{Error, Result};
use crate::pages::PageOf;
use crate::sql::{contains, count_of, count_query, select};

/// Words of one search: each is a condition of its own, and engines bound how deep those may lie.
const MAX_WORDS: usize = 32;

/// What a column must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// This text; an empty one is also where nothing is.
    Text(String),
    /// This number.
    Number(i64),
    /// A number from the first up to, and without, the second.
    Between(i64, i64),
    /// One of these words; none of them matches nothing.
    AnyOf(Vec<&'static str>),
    /// Something, or nothing.
    Filled(bool),
}

/// What rows are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A column.
    Column(&'static str),
    /// What each word of a column stands for; other words come last.
    Number(&'static str, &'static [(&'static str, i32)]),
}

impl By {
    fn column(self) -> &'static str {
        match self {
            Self::Column(column) | Self::Number(column, _) => column,
        }
    }

    fn value(self, table: &'static str) -> Expr {
        let column = Expr::col((table, self.column()));
        match self {
            Self::Column(_) => column,
            Self::Number(_, numbers) => {
                let case = numbers.iter().fold(CaseStatement::new(), |case, (word, number)| {
                    case.case(column.clone().eq(*word), *number)
                });
                case.finally(i32::MAX).into()
            }
        }
    }
}

/// Which rows, in which order.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only of this account.
    pub account: Option<AccountId>,
    /// What columns must hold.
    pub wanted: Vec<(&'static str, Wanted)>,
    /// Words, separated by blanks or commas: each is contained in one of these columns.
    pub search: Option<(&'static [&'static str], String)>,
    /// What to order by, true for the greatest first; the newest first when empty.
    pub order: Vec<(By, bool)>,
    /// Rows at most; all when absent.
    pub limit: Option<u64>,
    /// Rows to pass over.
    pub offset: u64,
}

impl Filter {
    fn condition(&self, table: &'static str) -> Condition {
        let mut all =
            Cond::all().add_option(self.account.map(|id| Expr::col((table, "account_id")).eq(id.0)));
        for (column, wanted) in &self.wanted {
            let column = Expr::col((table, *column));
            all = all.add(match wanted {
                Wanted::Text(text) if text.is_empty() => column.clone().eq("").or(column.is_null()),
                Wanted::Text(text) => column.eq(text.as_str()),
                Wanted::Number(number) => column.eq(*number),
                Wanted::Between(from, to) => column.clone().gte(*from).and(column.lt(*to)),
                Wanted::AnyOf(words) => column.is_in(words.iter().copied()),
                Wanted::Filled(true) => column.is_not_null(),
                Wanted::Filled(false) => column.is_null(),
            });
        }
        let columns = self.search.as_ref().map_or(&[][..], |(columns, _)| *columns);
        self.words().fold(all, |all, word| all.add(contains(columns, word)))
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        let text = self.search.as_ref().map_or("", |(_, text)| text);
        text.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty())
    }

    fn check(&self, columns: &[&'static str]) -> Result<()> {
        let named =
            self.wanted.iter().map(|(name, _)| *name).chain(self.order.iter().map(|(by, _)| by.column()));
        let named = named.chain(self.search.iter().flat_map(|(names, _)| names.iter().copied()));
        for name in named {
            if !columns.contains(&name) {
                return Err(Error::other(format!("there is no column `{name}` to filter by")));
            }
        }
        if self.words().nth(MAX_WORDS).is_some() {
            return Err(Error::TooManyWords(MAX_WORDS));
        }
        Ok(())
    }
}

/// The rows, and how many there are without the page.
pub(crate) async fn list<T>(
    c: &dyn Conn,
    table: &'static str,
    columns: &'static [&'static str],
    filter: &Filter,
    row: impl Fn(&QueryResult) -> Result<T>,
) -> Result<PageOf<T>> {
    filter.check(columns)?;
    let on = c.on();
    let total = match filter.limit {
        None if filter.offset == 0 => None,
        _ => {
            let mut query = count_query(table);
            query.cond_where(filter.condition(table));
            Some(count_of(&on, &query).await?)
        }
    };
    let mut query = select(table, columns);
    query.cond_where(filter.condition(table));
    for (by, is_descending) in &filter.order {
        query.order_by_expr(by.value(table), if *is_descending { Order::Desc } else { Order::Asc });
    }
    // What is equal in every other way keeps one order, so that pages do not overlap.
    query.order_by((table, "id"), Order::Desc);
    if let Some(limit) = filter.limit {
        query.limit(limit).offset(filter.offset);
    }
    let rows = on.rows(&query).await?.iter().map(row).collect::<Result<Vec<_>>>()?;
    let total = total.unwrap_or(rows.len() as u64);
    Ok(PageOf { rows, total })
}
