//! What is there of a release: its objects as the cluster has them now, and what Helm keeps of its revisions.

use futures::future::join_all;
use serde::Deserialize;
use serde_json::Value;
use store::namespaces::Row as Namespace;
use store::releases::Row;
use wire::page::{Page, PageQuery};
use wire::releases::{
    ReleaseManifestView, ReleaseResource, ReleaseRevisionView, ReleaseStatusView, ReleaseValuesView,
};
use wire::workloads::WorkloadState;

use super::plan::{asked, kept, not_told};
use super::{Content, ObjectName, find, namespace_of, view, workplace};
use crate::app::App;
use crate::caller::Caller;
use crate::clients::kube::{As, Cluster, Failure};
use crate::domain::{clusters, workloads};
use crate::error::{Error, Result};

/// Objects that are asked for at the same time.
const QUESTIONS: usize = 8;
/// Revisions that are listed.
const REVISIONS_MAX: &str = "100";
/// Seconds that reading may take.
const READ_SECS: u64 = 30;

/// A release with what is there of it now.
pub async fn get(app: &App, caller: &Caller, id_or_name: &str) -> Result<ReleaseStatusView> {
    let row = find(app, caller, id_or_name).await?;
    let content = content_of(&row)?;
    let namespace = namespace_of(app, &row).await;
    let resources = match &namespace {
        Ok(namespace) => match clusters::client_to_look(app, namespace.cluster_id).await {
            Ok(cluster) => Some(resources(&cluster, namespace, &content.resources).await?),
            Err(_) => None,
        },
        Err(_) => None,
    };
    let is_known =
        resources.as_ref().is_some_and(|all| all.iter().all(|one| one.state != WorkloadState::Unknown));
    let resources = resources.unwrap_or_else(|| content.resources.iter().map(unknown).collect());
    let is_ready = is_known.then(|| {
        let mut staying = resources.iter().filter(|resource| resource.hook.is_none());
        staying.all(|resource| resource.state == WorkloadState::Ready)
    });
    Ok(ReleaseStatusView { release: view(app, row).await?, resources, is_ready, notes: content.notes })
}

/// What is remembered of a release beside its row.
pub(crate) fn content_of(row: &Row) -> Result<Content> {
    let text = row.resources.as_deref();
    text.map_or_else(|| Ok(Content::default()), |text| serde_json::from_str(text).map_err(Error::internal))
}

/// Objects as the cluster has them now.
pub(crate) async fn resources(
    cluster: &Cluster,
    namespace: &Namespace,
    names: &[ObjectName],
) -> Result<Vec<ReleaseResource>> {
    let mut all = Vec::with_capacity(names.len());
    for some in names.chunks(QUESTIONS) {
        let looks: Vec<_> = some.iter().map(|name| resource(cluster, namespace, name)).collect();
        for (name, looked) in some.iter().zip(join_all(looks).await) {
            all.push(match looked? {
                Ok(resource) => resource,
                Err(failure) => ReleaseResource { message: Some(failure.to_string()), ..unknown(name) },
            });
        }
    }
    Ok(all)
}

async fn resource(
    cluster: &Cluster,
    namespace: &Namespace,
    name: &ObjectName,
) -> Result<Result<ReleaseResource, Failure>> {
    let kind = workloads::kind_of(name.kind)?;
    let path = format!("{}/{}", kind.path(namespace.name.as_str()), name.name);
    let looked = async {
        let Some(object) = cluster.find(As::Tenant(&namespace.name), &path).await? else {
            let message = match &name.hook {
                // Helm itself removes some, and makes others only later.
                Some(_) => None,
                None => Some("the cluster does not have it".to_owned()),
            };
            return Ok(ReleaseResource { state: WorkloadState::Missing, message, ..unknown(name) });
        };
        let seen = workloads::seen(cluster, namespace, name.kind, &object).await?;
        Ok(ReleaseResource {
            state: seen.state,
            message: seen.message,
            replicas: seen.replicas,
            ports: seen.ports,
            ..unknown(name)
        })
    };
    Ok(looked.await)
}

fn unknown(name: &ObjectName) -> ReleaseResource {
    ReleaseResource {
        kind: name.kind,
        name: name.name.clone(),
        hook: name.hook.clone(),
        state: WorkloadState::Unknown,
        message: None,
        replicas: None,
        ports: Vec::new(),
    }
}

/// A revision as Helm lists it.
#[derive(Debug, Deserialize)]
pub(crate) struct HistoryEntry {
    /// Its number.
    pub(crate) revision: u64,
    /// When.
    #[serde(default)]
    pub(crate) updated: String,
    /// What became of it.
    #[serde(default)]
    pub(crate) status: String,
    /// `chart-version`.
    #[serde(default)]
    pub(crate) chart: String,
    /// The version of what it installs.
    #[serde(default)]
    pub(crate) app_version: String,
    /// What was done.
    #[serde(default)]
    pub(crate) description: String,
}

/// The revisions that Helm keeps of a release, newest first.
pub(crate) async fn revisions(app: &App, namespace: &Namespace, row: &Row) -> Result<Vec<HistoryEntry>> {
    let (work, _) = workplace(app, namespace, row.id).await?;
    let words = ["history", row.place.name.as_str(), "--output", "json", "--max", REVISIONS_MAX];
    let ended = app.helm.ask(&work, &words, READ_SECS).await?;
    if !ended.is_success {
        return Err(not_told(&ended.complaint, None));
    }
    let mut all: Vec<HistoryEntry> = serde_json::from_str(&ended.printed).map_err(Error::internal)?;
    all.sort_by_key(|revision| std::cmp::Reverse(revision.revision));
    Ok(all)
}

/// The revisions of a release, newest first. One that was never there has none.
pub async fn history(
    app: &App,
    caller: &Caller,
    id_or_name: &str,
    page: PageQuery,
) -> Result<Page<ReleaseRevisionView>> {
    let row = find(app, caller, id_or_name).await?;
    let namespace = namespace_of(app, &row).await?;
    let all = match revisions(app, &namespace, &row).await {
        Ok(all) => all,
        Err(error) if error.code == "not_installed" => Vec::new(),
        Err(error) => return Err(error),
    };
    let total = all.len() as u64;
    let (skip, take) = (
        usize::try_from(page.offset()).unwrap_or(usize::MAX),
        usize::try_from(page.limit()).unwrap_or(usize::MAX),
    );
    let view = |revision: HistoryEntry| ReleaseRevisionView {
        revision: revision.revision,
        status: revision.status,
        chart: revision.chart,
        app_version: (!revision.app_version.is_empty()).then_some(revision.app_version),
        description: revision.description,
        updated: revision.updated,
    };
    let data = all.into_iter().skip(skip).take(take).map(view).collect();
    Ok(Page { data, total, limit: page.limit(), offset: page.offset() })
}

/// What a revision of a release consists of.
pub async fn manifest(
    app: &App,
    caller: &Caller,
    id_or_name: &str,
    revision: Option<u64>,
) -> Result<ReleaseManifestView> {
    let row = find(app, caller, id_or_name).await?;
    let namespace = namespace_of(app, &row).await?;
    let (work, _) = workplace(app, &namespace, row.id).await?;
    let (manifest, hooks) = kept(app, &work, &row.place.name, revision).await?;
    let notes = asked(app, &work, &["get", "notes", &row.place.name], revision).await?;
    let notes = notes.trim().strip_prefix("NOTES:").unwrap_or(&notes).trim().to_owned();
    Ok(ReleaseManifestView { manifest, hooks, notes: (!notes.is_empty()).then_some(notes) })
}

/// What differs from the chart's values in a revision of a release.
pub async fn values(
    app: &App,
    caller: &Caller,
    id_or_name: &str,
    revision: Option<u64>,
) -> Result<ReleaseValuesView> {
    let row = find(app, caller, id_or_name).await?;
    let namespace = namespace_of(app, &row).await?;
    let (work, _) = workplace(app, &namespace, row.id).await?;
    let values_json = values_of(app, &work, &row.place.name, revision).await?;
    let is_empty = values_json.as_object().is_none_or(serde_json::Map::is_empty);
    let words = ["get", "values", &row.place.name, "--output", "yaml"];
    let values = if is_empty { String::new() } else { asked(app, &work, &words, revision).await? };
    Ok(ReleaseValuesView { values, values_json })
}

/// The same as JSON alone.
pub(super) async fn values_of(
    app: &App,
    work: &crate::clients::helm::Workplace,
    name: &str,
    revision: Option<u64>,
) -> Result<Value> {
    let printed = asked(app, work, &["get", "values", name, "--output", "json"], revision).await?;
    let values: Value = serde_json::from_str(&printed).map_err(Error::internal)?;
    // Helm writes `null` for none.
    Ok(if values.is_object() { values } else { serde_json::json!({}) })
}
