//! What happens, for those who show it: first everything that they may see, then what changes. A change is found by looking
//! at the lists again and never by what others said of it, so that nobody is told of what they could not list, and whoever
//! reads slowly gets the newest state instead of every one before it.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use futures::Stream;
use serde::Serialize;
use serde_json::{Value, json};
use store::Versions;
use store::filtered::Filter;
use tokio::sync::watch;
use tokio::time::Instant;
use wire::namespaces::NamespaceQuery;
use wire::page::{Page, PageQuery};
use wire::releases::ReleaseQuery;

use super::{builds, containers, images, logs, machines, namespaces, releases, runs, sessions, workloads};
use crate::app::App;
use crate::caller::{Caller, Subject};
use crate::error::{Error, Result};
use crate::streams::Place;

/// Rows of a list that are watched: the first ones. Nobody looks at more.
const ROWS_MAX: u64 = 500;
/// Rows that are read together.
const PAGE_ROWS: u64 = 50;
/// How long it is waited for further changes after one, so that a busy table is not read for each of them.
const GATHER: Duration = Duration::from_millis(250);
/// How often everything is read in any case: changes through another server are not told of.
const READ_EVERY: Duration = Duration::from_secs(10);
/// How often it is looked whether the reader may still read.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// What of a row changes all the time and is no news.
const NO_NEWS: &[&str] = &["updated_at", "log_bytes"];

/// One thing that happened.
#[derive(Clone, Debug)]
pub struct Happening {
    /// What kind of thing, or `removed`, or `listed`.
    pub name: &'static str,
    /// The thing as it is now.
    pub data: Value,
}

/// Somebody who may watch.
pub struct Watch {
    caller: Caller,
    is_all: bool,
    versions: watch::Receiver<Versions>,
    /// What changes in clusters, which no table knows of.
    clusters: watch::Receiver<u64>,
    _place: Place,
}

/// Decides about watching. What can be said at once is said here.
pub fn open(app: &App, caller: &Caller, is_all: bool) -> Result<Watch> {
    if is_all && !caller.is_admin() {
        return Err(Error::forbidden("admin_only", "only an admin can watch every account's containers"));
    }
    let place = logs::follow(app, caller)?;
    // From before the first look on.
    let versions = app.db.versions();
    let clusters = app.clusters.changes();
    Ok(Watch { caller: caller.clone(), is_all, versions, clusters, _place: place })
}

/// A list that is watched.
#[derive(Clone, Copy)]
enum Kind {
    Container,
    Build,
    Image,
    Machine,
    Namespace,
    Workload,
    Run,
    Release,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Machine,
        Self::Image,
        Self::Container,
        Self::Build,
        Self::Namespace,
        Self::Workload,
        Self::Run,
        Self::Release,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Build => "build",
            Self::Image => "image",
            Self::Machine => "machine",
            Self::Namespace => "namespace",
            Self::Workload => "workload",
            Self::Run => "run",
            Self::Release => "release",
        }
    }

    /// Which of a row's fields names it.
    fn key(self) -> &'static str {
        match self {
            Self::Machine => "machine_id",
            _ => "id",
        }
    }

    /// The tables whose changes may change the list.
    fn tables(self) -> &'static [&'static str] {
        match self {
            Self::Container => &["containers"],
            Self::Build => &["builds"],
            Self::Image => &["images"],
            Self::Machine => &["machines", "machine_keys"],
            Self::Namespace => &["namespaces"],
            Self::Workload => &["workloads", "namespaces", "clusters"],
            Self::Run => &["runs"],
            Self::Release => &["releases", "release_operations"],
        }
    }

    /// As its own route lists it: the same rights, the same words.
    async fn page(self, app: &App, caller: &Caller, is_all: bool, page: PageQuery) -> Result<Page<Value>> {
        match self {
            Self::Container => {
                let filter = containers::Filter { is_all, ..Default::default() };
                values(containers::list(app, caller, &filter, page).await?)
            }
            Self::Build => values(builds::list(app, caller, &builds::Filter::default(), page).await?),
            Self::Image => values(images::list(app, caller, images::Filter::default(), page).await?),
            Self::Machine => values(machines::list(app, caller, page).await?),
            Self::Namespace => values(namespaces::list(app, caller, &NamespaceQuery::default(), page).await?),
            Self::Workload => {
                let subject = Subject { account: caller.account, name: caller.name.clone() };
                values(workloads::list(app, caller, &subject, None, page).await?)
            }
            Self::Run => {
                let (limit, offset) = (page.limit(), page.offset());
                let filter =
                    Filter { account: Some(caller.account), limit: Some(limit), offset, ..Filter::default() };
                let found = runs::list(app, caller, filter).await?;
                values(Page { data: found.rows, total: found.total, limit, offset })
            }
            Self::Release => {
                let query =
                    ReleaseQuery { limit: page.limit, offset: page.offset, ..ReleaseQuery::default() };
                values(releases::list(app, caller, &query).await?)
            }
        }
    }
}

fn values<T: Serialize>(page: Page<T>) -> Result<Page<Value>> {
    let data = page.data.into_iter().map(serde_json::to_value).collect::<Result<_, _>>();
    let data = data.map_err(Error::internal)?;
    Ok(Page { data, total: page.total, limit: page.limit, offset: page.offset })
}

/// What was told of a list.
struct Told {
    kind: Kind,
    /// By key: a fingerprint of the row, and in which look it was last seen.
    rows: HashMap<String, (u64, u64)>,
    looks: u64,
    /// The sum of the tables' versions before the last look; none before the first.
    version: Option<u64>,
    looked_at: Instant,
}

impl Told {
    fn new(kind: Kind) -> Self {
        Self { kind, rows: HashMap::new(), looks: 0, version: None, looked_at: Instant::now() }
    }

    fn is_due(&self, versions: &Versions, clusters: u64) -> bool {
        let is_changed = self.version != Some(version_of(self.kind, versions, clusters));
        (is_changed && self.may_look()) || self.looked_at.elapsed() >= READ_EVERY
    }

    /// Clusters are never still. What they are told to do is seen at once, and what they do by themselves once a second.
    fn may_look(&self) -> bool {
        !matches!(self.kind, Kind::Workload)
            || self.version.is_none()
            || self.looked_at.elapsed() >= GATHER * 4
    }

    /// Takes a page of the look that goes on; what is new in it.
    fn take(&mut self, rows: Vec<Value>) -> VecDeque<Happening> {
        let mut news = VecDeque::new();
        for row in rows {
            let Some(key) = key_of(self.kind, &row) else { continue };
            let print = fingerprint(&row);
            let before = self.rows.insert(key, (print, self.looks));
            if before.is_none_or(|(before, _)| before != print) {
                news.push_back(Happening { name: self.kind.name(), data: row });
            }
        }
        news
    }

    /// Ends a look; what was there before and is not any more.
    fn end(&mut self) -> VecDeque<Happening> {
        let (kind, looks) = (self.kind.name(), self.looks);
        let gone = self.rows.extract_if(|_, (_, look)| *look != looks);
        gone.map(|(id, _)| Happening { name: "removed", data: json!({"kind": kind, "id": id}) }).collect()
    }
}

fn version_of(kind: Kind, versions: &Versions, clusters: u64) -> u64 {
    let of_tables: u64 = kind.tables().iter().filter_map(|table| versions.get(table)).sum();
    if matches!(kind, Kind::Workload) { of_tables + clusters } else { of_tables }
}

fn key_of(kind: Kind, row: &Value) -> Option<String> {
    let key = row.get(kind.key())?;
    Some(key.as_str().map_or_else(|| key.to_string(), str::to_owned))
}

fn fingerprint(row: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (name, value) in row.as_object().into_iter().flatten() {
        if !NO_NEWS.contains(&name.as_str()) {
            (name, value.to_string()).hash(&mut hasher);
        }
    }
    hasher.finish()
}

impl Watch {
    /// Everything, and then what happens, until the reader may not read any more. Nothing is read while nobody takes what
    /// was found.
    pub fn happenings(self, app: &App) -> impl Stream<Item = Result<Happening>> + Send + use<> {
        let app = app.clone();
        async_stream::try_stream! {
            let Self { mut caller, is_all, mut versions, mut clusters, _place } = self;
            let mut lists = Kind::ALL.map(Told::new);
            let mut is_listed = false;
            let mut asked_at = Instant::now();
            loop {
                for told in &mut lists {
                    let now = versions.borrow_and_update().clone();
                    let then = *clusters.borrow_and_update();
                    if !told.is_due(&now, then) {
                        continue;
                    }
                    told.looks += 1;
                    let mut offset = 0;
                    loop {
                        let page = PageQuery { limit: Some(PAGE_ROWS), offset: Some(offset) };
                        let found = told.kind.page(&app, &caller, is_all, page).await?;
                        offset += PAGE_ROWS;
                        for happening in told.take(found.data) {
                            yield happening;
                        }
                        if offset >= found.total.min(ROWS_MAX) {
                            break;
                        }
                    }
                    // A row that moved from one page to another meanwhile is not gone; it is read again soon.
                    if version_of(told.kind, &versions.borrow(), then) == version_of(told.kind, &now, then) {
                        for happening in told.end() {
                            yield happening;
                        }
                    }
                    told.version = Some(version_of(told.kind, &now, then));
                    told.looked_at = Instant::now();
                }
                if !std::mem::replace(&mut is_listed, true) {
                    yield Happening { name: "listed", data: json!({}) };
                }

                // Until something is due.
                while lists.iter().all(|told| !told.is_due(&versions.borrow(), *clusters.borrow())) {
                    tokio::select! {
                        changed = versions.changed() => if changed.is_err() { return },
                        changed = clusters.changed() => if changed.is_err() { return },
                        () = tokio::time::sleep(GATHER * 4) => {}
                        () = app.shutdown.cancelled() => return,
                    }
                    if asked_at.elapsed() >= LOOK_INTERVAL {
                        asked_at = Instant::now();
                        match sessions::still(&app, &caller).await {
                            Ok(Some(now)) => caller = now,
                            Ok(None) => return,
                            // A store that does not answer ends nothing.
                            Err(_) => {}
                        }
                    }
                }
                tokio::time::sleep(GATHER).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(news: VecDeque<Happening>) -> Vec<String> {
        news.into_iter().map(|it| format!("{} {}", it.name, it.data["id"])).collect()
    }

    #[test]
    fn what_changed_is_told_once_and_what_is_no_news_not_at_all() {
        let mut told = Told::new(Kind::Build);
        let row = |id: &str, state: &str, log: u64| json!({"id": id, "state": state, "log_bytes": log});

        told.looks = 1;
        assert_eq!(
            names(told.take(vec![row("a", "queued", 0), row("b", "queued", 0)])),
            ["build \"a\"", "build \"b\""]
        );
        assert_eq!(names(told.end()), [""; 0]);
        told.looks = 2;
        assert_eq!(names(told.take(vec![row("a", "queued", 9), row("b", "running", 9)])), ["build \"b\""]);
        assert_eq!(names(told.end()), [""; 0]);
        told.looks = 3;
        assert_eq!(names(told.take(vec![row("b", "running", 9)])), [""; 0]);
        assert_eq!(names(told.end()), ["removed \"a\""]);
        told.looks = 4;
        assert_eq!(names(told.take(vec![row("a", "queued", 0)])), ["build \"a\""], "it is told again");
    }

    #[test]
    fn a_list_is_read_again_when_one_of_its_tables_changed() {
        let mut told = Told::new(Kind::Machine);
        let mut versions = Versions::from([("machines", 3), ("machine_keys", 1), ("images", 9)]);

        assert!(told.is_due(&versions, 0));
        told.version = Some(version_of(Kind::Machine, &versions, 0));
        assert!(!told.is_due(&versions, 0));
        versions.insert("images", 10);
        assert!(!told.is_due(&versions, 7));
        versions.insert("machine_keys", 2);
        assert!(told.is_due(&versions, 0));
    }
}
