//! Pages of the catalogue that were looked at a moment ago: many look at the same ones, and a search reads every chart. Forgotten
//! when a chart or a repository changes through this server, and after a second, for changes of another.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use store::Db;
use wire::charts::ChartView;
use wire::page::Page;

/// How long a page is kept.
const LIFETIME: Duration = Duration::from_secs(1);
/// Pages that are kept.
const MAX_PAGES: usize = 128;
/// Charts on a page that is kept.
const MAX_ROWS: usize = 100;

/// How often the tables were changed of which the catalogue is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State(u64);

impl State {
    /// As it is now; to be read before what is kept is.
    pub fn now(db: &Db) -> Self {
        Self(db.changes(&["charts", "chart_repos"]))
    }
}

/// The pages, by what was asked for and by whom.
#[derive(Debug, Default)]
pub struct ChartPages {
    known: Mutex<HashMap<String, Known>>,
}

/// A page as it was.
#[derive(Debug)]
struct Known {
    state: State,
    since: Instant,
    page: Page<ChartView>,
}

impl ChartPages {
    /// A page, if it is still as it was.
    pub fn get(&self, question: &str, state: State) -> Option<Page<ChartView>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.get(question)?;
        (found.state == state && found.since.elapsed() < LIFETIME).then(|| found.page.clone())
    }

    /// Keeps a page for the next who asks.
    pub fn put(&self, question: String, state: State, page: &Page<ChartView>) {
        if page.data.len() > MAX_ROWS {
            return;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_PAGES {
            known.clear();
        }
        known.insert(question, Known { state, since: Instant::now(), page: page.clone() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_kept_until_something_changes_and_only_some_are() {
        let pages = ChartPages::default();
        let page = Page { data: Vec::new(), total: 7, limit: 20, offset: 0 };
        let (now, later) = (State(1), State(2));

        pages.put("alice".to_owned(), now, &page);

        assert_eq!(pages.get("alice", now).map(|page| page.total), Some(7));
        assert!(pages.get("alice", later).is_none() && pages.get("bob", now).is_none());
        for number in 0..1000 {
            pages.put(number.to_string(), now, &page);
        }
        assert!(pages.known.lock().unwrap().len() <= MAX_PAGES);
    }
}
