//! Releases: charts that are installed into accounts' namespaces. The real Helm does it, as a job, in the name of the
//! namespace's own account. What a chart makes is rendered first, read by the rules of manifests and written anew; Helm then
//! gets a chart that holds just that, so that what is there is what was checked, hooks and all.
//!
//! - `admit`: from a wish to a row and a job; `render`: from a chart and values to what it makes; `frozen`: what was checked, as
//!   a chart of its own; `plan`: what would come of a wish
//! - `records`: what Helm keeps in the cluster; `look`: what is there of a release
//! - `operations`: what is done to releases, with its log

mod admit;
pub(crate) mod frozen;
pub(crate) mod look;
pub(crate) mod operations;
mod plan;
pub(crate) mod records;
mod render;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use store::namespaces::Row as Namespace;
use store::release_operations::{self, Row as Operation};
use store::releases::{self, Row};
use wire::chart_repos::ChartRepoKind;
use wire::ids::{ChartRepoId, NamespaceId, ReleaseId, ReleaseOperationId};
use wire::page::{Page, PageQuery};
use wire::releases::{ReleaseOperationView, ReleaseQuery, ReleaseView};
use wire::secret::Secret;
use wire::workloads::WorkloadKind;

pub use admit::{Admitted, install, recover, rollback, uninstall, upgrade};
pub use look::{get, history, manifest, values};
pub use operations::{Log, cancel, get as operation, list as operations, log};

use super::accounts::{self, Named};
use super::chart_repos;
use super::git_repos::Names;
use super::{clusters, namespaces};
use crate::app::App;
use crate::caller::Caller;
use crate::clients::helm::Workplace;
use crate::error::{Error, Result};
use frozen::FrozenChart;

/// What a job is to do, sealed beside its operation.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Payload {
    /// In which namespace.
    pub(crate) namespace_id: NamespaceId,
    /// Whether it ends only when everything answers.
    pub(crate) is_waiting: bool,
    /// Seconds that each step may take.
    pub(crate) timeout_secs: u64,
    /// What is installed.
    pub(crate) chart: Option<FrozenChart>,
    /// Which revision it goes back to.
    pub(crate) target: Option<u64>,
    /// How the release's row is afterwards.
    pub(crate) after: Option<After>,
}

/// What a release consists of once a wish has come about.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct After {
    /// The chart's repository.
    pub(crate) repo_id: Option<ChartRepoId>,
    /// The chart's repository, by name.
    pub(crate) repo_name: String,
    /// What the chart is.
    pub(crate) kind: ChartRepoKind,
    /// The chart.
    pub(crate) chart: String,
    /// Its version.
    pub(crate) version: String,
    /// The version of what it installs.
    pub(crate) app_version: Option<String>,
    /// Its objects.
    pub(crate) content: Content,
}

/// What is remembered of a release beside its row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Content {
    /// Its objects.
    pub(crate) resources: Vec<ObjectName>,
    /// What the chart's author says to whoever installed it.
    pub(crate) notes: Option<String>,
}

/// An object by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ObjectName {
    /// What it is.
    pub(crate) kind: WorkloadKind,
    /// What it is called.
    pub(crate) name: String,
    /// When Helm makes it, if not with the release.
    pub(crate) hook: Option<String>,
}

impl After {
    /// As the store has it.
    pub(crate) fn chart(&self) -> releases::Chart {
        releases::Chart {
            kind: self.kind,
            repo_id: self.repo_id,
            repo_name: self.repo_name.clone(),
            name: self.chart.clone(),
            version: self.version.clone(),
            app_version: self.app_version.clone(),
        }
    }

    /// The objects, as the store has them.
    pub(crate) fn resources(&self) -> Result<String> {
        serde_json::to_string(&self.content).map_err(Error::internal)
    }
}

fn purpose(id: ReleaseOperationId) -> String {
    format!("release operation {id}")
}

/// What an operation is to do.
pub(crate) fn payload_of(app: &App, operation: &Operation) -> Result<Payload> {
    let sealed =
        operation.payload.as_deref().ok_or_else(|| Error::internal("an operation lost what it is to do"))?;
    let text = app.keys.sealing.open(&purpose(operation.id), sealed)?;
    serde_json::from_str(text.expose()).map_err(Error::internal)
}

fn sealed(app: &App, id: ReleaseOperationId, payload: &Payload) -> Result<String> {
    let text = serde_json::to_string(payload).map_err(Error::internal)?;
    app.keys.sealing.seal(&purpose(id), &Secret::new(text))
}

/// A folder in which Helm works on a release, and the cluster's version.
pub(crate) async fn workplace(
    app: &App,
    namespace: &Namespace,
    release: ReleaseId,
) -> Result<(Workplace, Option<String>)> {
    let (kubeconfig, version) = clusters::kubeconfig_as(app, namespace.cluster_id, &namespace.name).await?;
    Ok((app.helm.workplace(release, &namespace.name, kubeconfig).await?, version))
}

/// The release with this id, or else the one with this name. Somebody else's does not exist.
async fn find(app: &App, caller: &Caller, id_or_name: &str) -> Result<Row> {
    let missing = || Error::not_found("release", id_or_name);
    if let Ok(id) = id_or_name.parse::<ReleaseId>() {
        let found = releases::get(&app.db, id).await?;
        return found.filter(|row| caller.may_act_for(row.account_id)).ok_or_else(missing);
    }
    let mut found = releases::named(&app.db, Some(caller.account), id_or_name).await?;
    match (found.pop(), found.len()) {
        (Some(row), 0) => Ok(row),
        (Some(last), _) => {
            let mut places: Vec<String> =
                found.iter().map(|row| format!("`{}`", row.place.namespace)).collect();
            places.push(format!("`{}`", last.place.namespace));
            let detail =
                format!("you have a release `{id_or_name}` in several namespaces: {}", places.join(", "));
            Err(Error::conflict("ambiguous", detail).hint("name it by its id, from `longshore release list`"))
        }
        (None, _) => Err(missing()),
    }
}

/// The namespace of a release.
pub(crate) async fn namespace_of(app: &App, row: &Row) -> Result<Namespace> {
    let found = store::namespaces::named(&app.db, row.account_id, &row.place.namespace, None).await?;
    let mut found = found
        .into_iter()
        .filter(|namespace| namespace.name == row.place.namespace && namespace.cluster == row.place.cluster);
    found.next().ok_or_else(|| Error::not_found("namespace", &row.place.namespace))
}

/// Lists releases, newest first: the caller's own; an admin may ask for others.
pub async fn list(app: &App, caller: &Caller, query: &ReleaseQuery) -> Result<Page<ReleaseView>> {
    if query.all && !caller.is_admin() {
        return Err(Error::forbidden("admin_only", "only an admin can list every account's releases"));
    }
    let account = match (query.all, &query.account) {
        (true, None) => None,
        (_, name) => {
            let named = name.as_ref().map(|name| Named::Account(name.as_str()));
            Some(accounts::subject(app, caller, named).await?.account)
        }
    };
    let namespace = match query.namespace.as_deref().filter(|name| !name.is_empty()) {
        None => None,
        Some(name) => Some(namespaces::find(app, caller, name).await?),
    };
    let repo = match query.repo.as_deref().filter(|name| !name.is_empty()) {
        None => None,
        Some(name) => Some(chart_repos::find(app, caller, name).await?.id),
    };
    if query.search.as_ref().is_some_and(|text| text.chars().count() > 200) {
        return Err(Error::invalid("search", "a search has at most 200 characters"));
    }
    let filter = releases::Filter {
        account,
        place: namespace.as_ref().map(|namespace| (&namespace.cluster, &namespace.name)),
        repo,
        kind: query.kind,
        search: query.search.as_deref().filter(|text| !text.is_empty()),
    };
    let page = PageQuery { limit: query.limit, offset: query.offset };
    let found = releases::list(&app.db, filter, page).await?;
    let data = views(app, found.rows).await?;
    Ok(Page { data, total: found.total, limit: page.limit(), offset: page.offset() })
}

/// Rows as they are shown, each with what was done to it last.
async fn views(app: &App, rows: Vec<Row>) -> Result<Vec<ReleaseView>> {
    let ids: Vec<ReleaseId> = rows.iter().map(|row| row.id).collect();
    let newest = release_operations::newest_of(&app.db, &ids).await?;
    let mut newest: HashMap<ReleaseId, Operation> =
        newest.into_iter().map(|operation| (operation.release_id, operation)).collect();
    let mut names = Names::default();
    let mut views = Vec::with_capacity(rows.len());
    for row in rows {
        let account = names.of(app, row.account_id).await?;
        let operation = newest.remove(&row.id).map(operation_view);
        views.push(ReleaseView {
            id: row.id,
            name: row.place.name,
            account,
            cluster: row.place.cluster,
            namespace: row.place.namespace,
            kind: row.chart.kind,
            repo_id: row.chart.repo_id,
            repo: row.chart.repo_name,
            chart: row.chart.name,
            chart_version: row.chart.version,
            app_version: row.chart.app_version,
            revision: row.revision,
            state: row.state,
            reason: row.reason,
            message: row.message,
            operation,
            created_at: row.created_at,
            updated_at: row.updated_at,
        });
    }
    Ok(views)
}

async fn view(app: &App, row: Row) -> Result<ReleaseView> {
    let mut views = views(app, vec![row]).await?;
    views.pop().ok_or_else(|| Error::internal("a release was not shown"))
}

fn operation_view(row: Operation) -> ReleaseOperationView {
    ReleaseOperationView {
        id: row.id,
        release_id: row.release_id,
        release: row.place.name,
        namespace: row.place.namespace,
        action: row.action,
        state: row.state,
        reason: row.reason,
        message: row.message,
        chart: row.chart,
        revision: row.revision,
        cancel_requested: row.cancel_requested,
        created_at: row.created_at,
        started_at: row.started_at,
        ended_at: row.ended_at,
    }
}
