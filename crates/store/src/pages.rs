//! Pages of long lists. A page is found through an index of ids, from the nearest place already known, so that a late
//! page costs no more than an early one; totals and places are remembered until the table changes. It is read in one query,
//! because every row that a driver hands over has its price.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sea_orm::sea_query::{Cond, Condition, Expr, ExprTrait, Order, Query, SelectStatement, UnionType};
use sea_orm::{JoinType, QueryResult, Value};
use wire::page::PageQuery;

use crate::db::On;
use crate::error::Result;
use crate::sql::{Cells, count_of, count_query};

/// Some rows of a list, and how many the whole list has.
#[derive(Clone, Debug)]
pub struct PageOf<T> {
    /// The rows of the page.
    pub rows: Vec<T>,
    /// Rows in the whole list.
    pub total: u64,
}

/// A list that can be paged: a table, its key, its order and which rows are in it.
pub(crate) struct List {
    /// The table.
    pub(crate) table: &'static str,
    /// Its key, whose order is the list's order.
    pub(crate) key: &'static str,
    /// How its key is read back.
    pub(crate) kind: KeyKind,
    /// Whether the greatest key comes first.
    pub(crate) newest_first: bool,
    /// Which rows; each branch is disjoint from the others and served by an index of its own.
    pub(crate) branches: Vec<Condition>,
}

/// How the keys of a list are read back.
#[derive(Clone, Copy)]
pub(crate) enum KeyKind {
    Number,
    Text,
}

impl KeyKind {
    /// A row's key.
    pub(crate) fn read(self, row: &QueryResult, column: &str) -> Result<Value> {
        match self {
            Self::Number => Cells(row).int(column).map(Value::from),
            Self::Text => Cells(row).text(column).map(Value::from),
        }
    }
}

/// Lists remembered at most: a few MiB, whatever is asked for.
const MAX_LISTS: usize = 64;
/// Places remembered per list.
const MAX_PLACES: usize = 512;
/// Places this near to each other are not worth remembering: walking between them costs less than the rows of a page.
const STRIDE: u64 = 250;

/// What is known of lists that were looked at. A list is forgotten when its table changes through this process, and
/// after `lifetime`, which bounds how long the changes of another process stay unseen.
#[derive(Debug)]
pub(crate) struct Lists {
    lifetime: Duration,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    changes: HashMap<&'static str, u64>,
    lists: HashMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    changes: u64,
    since: Instant,
    total: u64,
    /// The key of the last row before an offset.
    places: BTreeMap<u64, Value>,
}

impl Lists {
    pub(crate) fn new(lifetime: Duration) -> Self {
        Self { lifetime, known: Mutex::default() }
    }

    /// Notes that a table changed: what is known of its lists is out of date.
    pub(crate) fn changed(&self, table: &'static str) {
        *self.lock().changes.entry(table).or_default() += 1;
    }

    fn changes(&self, table: &'static str) -> u64 {
        self.lock().changes.get(table).copied().unwrap_or(0)
    }

    /// The total of a list and the nearest known place at or before an offset.
    fn find(&self, table: &'static str, list: &str, offset: u64) -> Option<(u64, Option<(u64, Value)>)> {
        let known = self.lock();
        let entry = known.lists.get(list)?;
        let is_fresh = entry.changes == known.changes.get(table).copied().unwrap_or(0)
            && entry.since.elapsed() < self.lifetime;
        if !is_fresh {
            return None;
        }
        let place = entry.places.range(..=offset).next_back().map(|(at, key)| (*at, key.clone()));
        Some((entry.total, place))
    }

    fn remember_total(&self, list: String, changes: u64, total: u64) {
        let mut known = self.lock();
        if known.lists.len() >= MAX_LISTS && !known.lists.contains_key(&list) {
            known.lists.clear();
        }
        known.lists.insert(list, Entry { changes, since: Instant::now(), total, places: BTreeMap::new() });
    }

    fn remember_place(&self, list: &str, changes: u64, offset: u64, key: Value) {
        let mut known = self.lock();
        let Some(entry) = known.lists.get_mut(list) else { return };
        let is_near = entry.places.range(..=offset).next_back().is_some_and(|(at, _)| offset - at < STRIDE);
        if entry.changes == changes && !is_near && entry.places.len() < MAX_PLACES {
            entry.places.insert(offset, key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // What is remembered can be thrown away at any time, so a panic elsewhere does not spoil it.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A way along an index: after the key `after`, `skip` keys are passed over, and `limit` are on the page.
struct Walk {
    after: Option<Value>,
    skip: u64,
    limit: u64,
    greatest_first: bool,
}

impl List {
    /// One page: `query` names the columns (and what is joined to them), `read` reads a row. Inside a transaction it sees that
    /// one's own changes and remembers nothing.
    pub(crate) async fn page<T>(
        &self,
        on: &On<'_>,
        page: PageQuery,
        query: SelectStatement,
        read: impl Fn(&QueryResult) -> Result<T>,
    ) -> Result<PageOf<T>> {
        let (limit, offset) = (page.limit(), page.offset());
        let Some(lists) = on.lists() else {
            let total = self.count(on).await?;
            let walk = Walk { after: None, skip: offset, limit, greatest_first: self.newest_first };
            let rows = on.rows(&self.rows(walk, query)).await?;
            return Ok(PageOf { rows: rows.iter().map(read).collect::<Result<_>>()?, total });
        };

        let name = self.name(on);
        // Read before the database is: a change in between makes what we remember out of date at once.
        let changes = lists.changes(self.table);
        let found = lists.find(self.table, &name, offset);
        let (total, place) = if let Some(found) = found {
            found
        } else {
            let total = self.count(on).await?;
            lists.remember_total(name.clone(), changes, total);
            (total, None)
        };
        if limit == 0 || offset >= total {
            return Ok(PageOf { rows: Vec::new(), total });
        }

        let rows = std::cmp::min(limit, total - offset);
        let from_end = total - offset - rows;
        let distance = offset - place.as_ref().map_or(0, |(at, _)| *at);
        let walk = if from_end < distance {
            Walk { after: None, skip: from_end, limit: rows, greatest_first: !self.newest_first }
        } else {
            let after = place.map(|(_, key)| key);
            Walk { after, skip: distance, limit, greatest_first: self.newest_first }
        };
        let rows = on.rows(&self.rows(walk, query)).await?;
        if let Some(last) = rows.last() {
            let next = offset.saturating_add(u64::try_from(rows.len()).unwrap_or(u64::MAX));
            lists.remember_place(&name, changes, next, self.kind.read(last, self.key)?);
        }
        Ok(PageOf { rows: rows.iter().map(read).collect::<Result<_>>()?, total })
    }

    /// The rows whose keys a walk finds, in the list's order: the keys come from an index alone, and only the page's rows are read.
    /// Their order is that of the page's keys, so that a page is where an engine begins that does not know how few they are.
    fn rows(&self, walk: Walk, mut query: SelectStatement) -> SelectStatement {
        let key = ("page", self.key);
        query
            .join_subquery(
                JoinType::InnerJoin,
                self.walk(walk),
                "page",
                Expr::col(key).equals((self.table, self.key)),
            )
            .order_by(key, if self.newest_first { Order::Desc } else { Order::Asc });
        query
    }

    /// What tells this list from others.
    fn name(&self, on: &On<'_>) -> String {
        let statement = on.build(&self.count_query());
        format!("{}{:?}", statement.sql, statement.values)
    }

    fn count_query(&self) -> SelectStatement {
        let any = self.branches.iter().cloned().fold(Cond::any(), Condition::add);
        let mut query = count_query(self.table);
        if !self.branches.is_empty() {
            query.cond_where(any);
        }
        query
    }

    async fn count(&self, on: &On<'_>) -> Result<u64> {
        count_of(on, &self.count_query()).await
    }

    /// Walks the index and selects the keys it meets.
    fn walk(&self, Walk { after, skip, limit, greatest_first }: Walk) -> SelectStatement {
        let order = if greatest_first { Order::Desc } else { Order::Asc };
        let branch = |condition: Option<&Condition>| {
            let mut query = Query::select();
            query.column(self.key).from(self.table);
            if let Some(condition) = condition {
                query.cond_where(condition.clone());
            }
            if let Some(after) = &after {
                let key = Expr::col(self.key);
                query.and_where(if greatest_first { key.lt(after.clone()) } else { key.gt(after.clone()) });
            }
            query.order_by(self.key, order.clone());
            query.take()
        };
        let mut query = match self.branches.as_slice() {
            [] => branch(None),
            [only] => branch(Some(only)),
            // Each branch walks its own index; only what can be on the page is then sorted together.
            [first, others @ ..] => {
                let enough = skip.saturating_add(limit);
                let bounded = |condition| {
                    let inner = branch(Some(condition)).limit(enough).take();
                    Query::select().column(self.key).from_subquery(inner, "branch").take()
                };
                let mut all = bounded(first);
                for other in others {
                    all.union(UnionType::All, bounded(other));
                }
                all.order_by(self.key, order.clone()).take()
            }
        };
        query.limit(limit).offset(skip).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{Conn as _, Db};
    use crate::sql::select;

    /// The engine is not told how few rows a page has: it may not read the whole table instead.
    #[tokio::test]
    async fn a_page_is_read_from_its_keys() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&format!("sqlite:{}", folder.path().join("db").display())).await.unwrap();
        db.migrate().await.unwrap();
        let on = db.on();

        for (table, kind) in [("builds", KeyKind::Text), ("audit", KeyKind::Number)] {
            for (newest_first, greatest_first) in [(true, true), (true, false), (false, true), (false, false)]
            {
                let list = List { table, key: "id", kind, newest_first, branches: Vec::new() };
                let walk = Walk { after: None, skip: 7, limit: 50, greatest_first };
                let mut statement = on.build(&list.rows(walk, select(table, &["id"])));
                statement.sql.insert_str(0, "EXPLAIN QUERY PLAN ");

                let plan = on.run_returning(statement).await.unwrap();
                let steps: Vec<_> = plan.iter().map(|row| Cells(row).text("detail").unwrap()).collect();

                let keys = steps.iter().position(|step| step == "SCAN page").expect("a scan of the keys");
                assert!(steps[keys + 1].starts_with(&format!("SEARCH {table} USING ")), "{steps:?}");
            }
        }
    }
}
