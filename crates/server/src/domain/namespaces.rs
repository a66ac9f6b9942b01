//! Namespaces: an account's rooms in Kubernetes clusters. Whose one is says a row of ours, and labels on the object say which
//! row that is; both are checked before anything is changed, and what was there without our labels is never taken over.

use std::time::Duration;

use serde_json::Value;
use store::namespaces::{self, Row};
use store::workloads;
use wire::ids::NamespaceId;
use wire::names::NamespaceName;
use wire::namespaces::{
    KubeconfigCreate, KubeconfigCreated, NamespaceCreate, NamespaceQuery, NamespaceState, NamespaceView,
};
use wire::page::{MAX_LIMIT, Page, PageQuery};

use super::accounts::{self, Named};
use super::audit::{self, Event};
use super::manifests::Rights;
use super::{clusters, page_of, quotas, registry};
use crate::app::App;
use crate::caller::{Caller, Subject};
use crate::clients::kube::objects::{Ingress, Quota, Room};
use crate::clients::kube::{As, Cluster, Failure, OWN_NAME, PULL_SECRET, kubeconfig, role};
use crate::error::{Error, Result};

/// How long a request waits for the cluster to do what was wished; it is done later otherwise.
const PATIENCE: Duration = Duration::from_secs(45);
/// How often is looked meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// How long the credential in a pull secret is good, and how much of that may be left when it is renewed.
const PULL_SECRET_SECS: u64 = 24 * 3600;
const PULL_SECRET_LEFT_SECS: i64 = 14 * 3600;
/// How long a kubeconfig can be good.
const KUBECONFIG_SECS: std::ops::RangeInclusive<u64> = 600..=86_400;
/// What clusters keep for themselves.
const RESERVED: [&str; 3] = ["kube-", "openshift-", "longshore-"];
/// What runs, in the order in which it is stopped: who would start the next pod goes before the pods.
const WORKLOADS: [&str; 5] = [
    "/apis/batch/v1 cronjobs",
    "/apis/apps/v1 deployments",
    "/apis/apps/v1 statefulsets",
    "/apis/batch/v1 jobs",
    "/api/v1 pods",
];

/// Makes a namespace for an account, and answers when it can be used.
pub async fn create(app: &App, caller: &Caller, new: &NamespaceCreate) -> Result<NamespaceView> {
    let subject = new.account.as_ref().map(|name| Named::Account(name.as_str()));
    let subject = accounts::subject(app, caller, subject).await?;
    let name = NamespaceName::of_account(&subject.name, &new.name).map_err(|_| {
        let most = 62_usize.saturating_sub(subject.name.as_str().len());
        Error::invalid(
            "name",
            format!(
                "the name is too long: with your account's name before it a cluster takes {most} characters"
            ),
        )
    })?;
    if RESERVED.iter().any(|reserved| name.as_str().starts_with(reserved)) {
        return Err(Error::invalid("name", format!("`{name}` is a name that clusters keep for themselves")));
    }
    let cluster = clusters::pick(app, new.cluster.as_ref()).await?;
    let limit = app.config.kubernetes.namespaces_per_account;
    let row = namespaces::New {
        id: NamespaceId(uuid::Uuid::now_v7()),
        cluster_id: cluster.id,
        account_id: subject.account,
        name: &name,
        short_name: &new.name,
        created_at: app.now(),
    };
    let tx = app.db.begin().await?;
    store::accounts::locked(&tx, subject.account).await?;
    if namespaces::count_of_account(&tx, subject.account).await? >= limit {
        return Err(Error::conflict(
            "too_many_namespaces",
            format!("an account has {limit} namespaces at most"),
        )
        .hint("delete one, or ask an admin for more"));
    }
    namespaces::insert(&tx, &row).await.map_err(|error| match error {
        store::Error::Duplicate => exists(&name, &cluster.name),
        other => other.into(),
    })?;
    let event =
        Event { action: "namespace.create", target: name.as_str(), acting_for: Some(subject.account) };
    audit::record(app, caller, &tx, event).await?;
    tx.commit().await?;

    match settled(app, row.id).await? {
        // Nobody has to tidy up after a name that was not free.
        Some(found) if found.state == NamespaceState::Failed => {
            namespaces::delete(&app.db, row.id).await?;
            let detail = found.message.unwrap_or_else(|| "the cluster refuses it".to_owned());
            Err(Error::conflict("exists", detail).hint("choose another name"))
        }
        Some(found) => Ok(view(found)),
        None => Err(Error::conflict("deleted", "it was deleted meanwhile")),
    }
}

fn exists(name: &NamespaceName, cluster: &wire::names::ClusterName) -> Error {
    Error::conflict("exists", format!("there is a namespace `{name}` in cluster `{cluster}` already"))
}

/// Works on a namespace until there is nothing to do, or for as long as a request may wait.
async fn settled(app: &App, id: NamespaceId) -> Result<Option<Row>> {
    let work = async {
        loop {
            let Some(row) = namespaces::get(&app.db, id).await? else { return Ok(None) };
            if matches!(row.state, NamespaceState::Ready | NamespaceState::Failed) {
                return Ok(Some(row));
            }
            if let Err(error) = settle(app, &row).await {
                namespaces::set_state(&app.db, id, row.state, Some(&error.detail), app.now()).await?;
                if !matches!(
                    error.kind,
                    crate::error::ErrorKind::Conflict | crate::error::ErrorKind::NotFound
                ) {
                    // Whoever keeps namespaces in order goes on with it, and soon.
                    app.signals.namespaces.notify_one();
                    return namespaces::get(&app.db, id).await.map_err(Error::from);
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    if let Ok(found) = tokio::time::timeout(PATIENCE, work).await {
        return found;
    }
    app.signals.namespaces.notify_one();
    Ok(namespaces::get(&app.db, id).await?)
}

/// Lists namespaces, oldest first: the caller's own; an admin may ask for others.
pub async fn list(
    app: &App,
    caller: &Caller,
    query: &NamespaceQuery,
    page: PageQuery,
) -> Result<Page<NamespaceView>> {
    if query.all && !caller.is_admin() {
        return Err(Error::forbidden("admin_only", "only an admin can list every account's namespaces"));
    }
    let account = match (query.all, &query.account) {
        (true, None) => None,
        (_, name) => {
            let named = name.as_ref().map(|name| Named::Account(name.as_str()));
            Some(accounts::subject(app, caller, named).await?.account)
        }
    };
    let cluster = match &query.cluster {
        None => None,
        some => Some(clusters::pick(app, some.as_ref()).await?.id),
    };
    let found = namespaces::list(&app.db, account, cluster, page).await?;
    Ok(page_of(found, page, view))
}

/// One namespace, by its id or, among the caller's own, by name.
pub async fn get(app: &App, caller: &Caller, named: &str) -> Result<NamespaceView> {
    find(app, caller, named).await.map(view)
}

/// A kubeconfig for one's own `kubectl`, good for a while and in this namespace alone.
pub async fn kubeconfig(
    app: &App,
    caller: &Caller,
    named: &str,
    wanted: &KubeconfigCreate,
) -> Result<KubeconfigCreated> {
    let lifetime_secs = wanted.expires_in.unwrap_or(*KUBECONFIG_SECS.start() * 6);
    if !KUBECONFIG_SECS.contains(&lifetime_secs) {
        let (least, most) = (KUBECONFIG_SECS.start(), KUBECONFIG_SECS.end());
        return Err(Error::invalid("expires_in", format!("`expires_in` is {least} to {most} seconds")));
    }
    let row = find(app, caller, named).await?;
    if row.state != NamespaceState::Ready {
        return Err(Error::conflict(
            "namespace_not_ready",
            format!("the namespace `{}` cannot be used now", row.name),
        ));
    }
    let cluster = clusters::client_of(app, row.cluster_id).await?;
    // What comes from there is read by nobody but the cluster.
    role::ensure_tenant_policy(&cluster).await?;
    let way = clusters::way_for_others(app, row.cluster_id).await?;
    let request = serde_json::json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {"expirationSeconds": lifetime_secs},
    });
    let path = format!("/api/v1/namespaces/{}/serviceaccounts/{OWN_NAME}/token", row.name);
    let event =
        Event { action: "namespace.kubeconfig", target: row.name.as_str(), acting_for: Some(row.account_id) };
    audit::record(app, caller, &app.db, event).await?;
    let made = cluster.create(As::Longshore, &path, &request).await?.body;
    let text = |name: &str| made["status"][name].as_str().unwrap_or_default().to_owned();
    let kubeconfig = kubeconfig::for_others(way, row.name.as_str(), &text("token"))?;
    Ok(KubeconfigCreated { kubeconfig, namespace: row.name, expires_at: text("expirationTimestamp") })
}

/// Deletes a namespace: what runs in it first, then what is kept in it. Answers what became of it: none when it is gone.
pub async fn delete(app: &App, caller: &Caller, named: &str) -> Result<Option<NamespaceView>> {
    let row = find(app, caller, named).await?;
    let tx = app.db.begin().await?;
    namespaces::set_state(&tx, row.id, NamespaceState::Deleting, None, app.now()).await?;
    let event =
        Event { action: "namespace.delete", target: row.name.as_str(), acting_for: Some(row.account_id) };
    audit::record(app, caller, &tx, event).await?;
    tx.commit().await?;
    Ok(settled(app, row.id).await?.map(view))
}

/// The namespace of an id or, among the caller's own, of a name; with or without the account in front.
pub(super) async fn find(app: &App, caller: &Caller, named: &str) -> Result<Row> {
    let missing = || Error::not_found("namespace", named);
    if let Ok(id) = named.parse::<NamespaceId>() {
        let found = namespaces::get(&app.db, id).await?.filter(|row| caller.may_act_for(row.account_id));
        return found.ok_or_else(missing);
    }
    let name: NamespaceName = named.parse().map_err(|_| missing())?;
    of_account(app, caller.account, &name).await?.ok_or_else(missing)
}

/// An account's namespace of a name, whole or without the account. Its whole name wins over another's short one.
pub(super) async fn of_account(
    app: &App,
    account: wire::ids::AccountId,
    name: &NamespaceName,
) -> Result<Option<Row>> {
    let found = namespaces::named(&app.db, account, name, None).await?;
    let (whole, short): (Vec<_>, Vec<_>) = found.into_iter().partition(|row| row.name == *name);
    let mut candidates = if whole.is_empty() { short } else { whole };
    match candidates.len() {
        0 | 1 => Ok(candidates.pop()),
        _ => {
            let places: Vec<_> = candidates.iter().map(|row| format!("`{}`", row.cluster)).collect();
            Err(Error::conflict(
                "ambiguous",
                format!("there is a namespace `{name}` in several clusters: {}", places.join(", ")),
            )
            .hint("use its id"))
        }
    }
}

/// The only namespace of an account, for requests that name none.
pub(crate) async fn only_one(app: &App, subject: &Subject) -> Result<Row> {
    let page = PageQuery { limit: Some(MAX_LIMIT), offset: None };
    let mut all = namespaces::list(&app.db, Some(subject.account), None, page).await?.rows;
    match all.len() {
        0 => Err(Error::invalid("namespace", "you have no namespace yet")
            .hint("make one first: `longshore namespace create NAME`")),
        1 => Ok(all.remove(0)),
        _ => {
            let names: Vec<_> = all.iter().map(|row| format!("`{}`", row.name)).collect();
            Err(Error::invalid("namespace", format!("say in which namespace: {}", names.join(", "))))
        }
    }
}

/// Does the next step for a namespace: makes what is missing and puts right what is not as it should be, or takes away what is
/// to go.
pub(crate) async fn settle(app: &App, row: &Row) -> Result<()> {
    let cluster = clusters::client_of(app, row.cluster_id).await?;
    let pod_ranges = store::clusters::get(&app.db, row.cluster_id).await?.map(|row| row.pod_ranges);
    let pod_ranges = pod_ranges.unwrap_or_default();
    let quota = quota(app, row, &cluster).await?;
    let domain = Rights::of(app, false, &row.account).hosts.map(|hosts| hosts.domain);
    let room = Room {
        id: row.id,
        instance: app.instance,
        account_id: row.account_id,
        name: &row.name,
        quota: &quota,
        pod_ranges: &pod_ranges,
        ingress: Ingress {
            domain: domain.as_deref(),
            class: app.config.kubernetes.ingress_class.as_deref(),
            controller: app.config.kubernetes.ingress_namespace.as_deref(),
        },
    };
    match row.state {
        NamespaceState::Deleting => unmake(app, row, &cluster, &room).await,
        _ => make(app, row, &cluster, &room).await,
    }
}

async fn quota(app: &App, row: &Row, cluster: &Cluster) -> Result<Quota> {
    let config = &app.config.kubernetes;
    Ok(Quota {
        cpu_millis: config.cpu_millis,
        memory_bytes: config.memory_bytes,
        pods: config.pods,
        storage_bytes: config.storage_bytes,
        gpus: gpus_for(app, row).await?,
        gpu_resources: clusters::gpu_resources(cluster),
    })
}

/// How many graphics processors the pods of a namespace may have: what the settings give a namespace, and no more than is
/// left of the account's quota by its containers on machines and its pods in other namespaces.
pub(crate) async fn gpus_for(app: &App, row: &Row) -> Result<u64> {
    let most = app.config.kubernetes.gpus;
    if most == 0 {
        return Ok(0);
    }
    let left = quotas::gpus_left(app, row.account_id, gpus_of(app, row)).await?;
    Ok(left.map_or(most, |left| most.min(left)))
}

/// The graphics processors that the pods of a namespace have or wait for, as far as was last known.
pub(crate) fn gpus_of(app: &App, row: &Row) -> u64 {
    let Some(cluster) = app.clusters.get(row.cluster_id) else { return 0 };
    let pods = cluster.mirrors.pods.last_known(row.name.as_str());
    pods.iter().flat_map(|pod| clusters::gpus_of_pod(pod).into_values()).sum()
}

/// Brings a namespace's quota up to date, and nothing else of it.
pub(crate) async fn settle_quota(app: &App, row: &Row) -> Result<()> {
    let cluster = clusters::client_of(app, row.cluster_id).await?;
    let quota = quota(app, row, &cluster).await?;
    let room = Room {
        id: row.id,
        instance: app.instance,
        account_id: row.account_id,
        name: &row.name,
        quota: &quota,
        pod_ranges: &[],
        ingress: Ingress::default(),
    };
    let (path, object) = room.quota();
    cluster.apply(As::Longshore, &path, &object, true, false).await?;
    Ok(())
}

async fn make(app: &App, row: &Row, cluster: &Cluster, room: &Room<'_>) -> Result<()> {
    let set = async |state, message: Option<&str>| {
        namespaces::set_state(&app.db, row.id, state, message, app.now()).await.map(drop).map_err(Error::from)
    };
    let found = match cluster.find(As::Longshore, &room.path()).await? {
        Some(found) => found,
        None => match cluster.create(As::Longshore, "/api/v1/namespaces", &room.namespace()).await {
            Ok(made) => made.body,
            // Somebody was faster: perhaps another server of ours.
            Err(failure) if failure.is_exists() => cluster.get(As::Longshore, &room.path()).await?,
            Err(failure) => return Err(failure.into()),
        },
    };
    if !room.is_ours(&found) {
        let message = format!(
            "cluster `{}` has a namespace `{}` that is not Longshore's; it is left alone",
            row.cluster, row.name
        );
        return set(NamespaceState::Failed, Some(&message)).await;
    }
    if found["metadata"]["deletionTimestamp"].is_string() {
        let message = "somebody deletes it in the cluster; it is made anew when that has ended";
        return set(NamespaceState::Creating, Some(message)).await;
    }
    let uid = found["metadata"]["uid"].as_str().unwrap_or_default();
    let is_another = row.uid.as_deref().is_some_and(|known| known != uid);
    if row.uid.as_deref() != Some(uid) {
        let tx = app.db.begin().await?;
        namespaces::set_uid(&tx, row.id, uid).await?;
        // What was in the one that we knew went with it, as when a cluster loses its store.
        if is_another {
            workloads::set_all_unapplied(&tx, row.id).await?;
            tracing::warn!(namespace = %row.name, cluster = %row.cluster, "a namespace was made anew; its workloads are applied again");
        }
        tx.commit().await?;
    }
    let mut namespace = room.namespace();
    // Only this very object: one that took its place meanwhile is somebody's.
    namespace["metadata"]["uid"] = uid.into();
    cluster.apply(As::Longshore, &room.path(), &namespace, true, false).await?;
    let pull_secret = pull_secret(app, row, cluster, room).await?;
    for (path, object) in room.content(pull_secret.as_ref().map(|(secret, _)| secret)) {
        cluster.apply(As::Longshore, &path, &object, true, false).await?;
    }
    if let Some((_, until)) = pull_secret {
        namespaces::set_pull_secret_until(&app.db, row.id, until).await?;
    }
    set(NamespaceState::Ready, None).await?;
    if is_another {
        app.signals.workloads.notify_one();
    }
    Ok(())
}

/// A new pull secret with the time when it ends, when the one that is there ends soon or is gone.
async fn pull_secret(
    app: &App,
    row: &Row,
    cluster: &Cluster,
    room: &Room<'_>,
) -> Result<Option<(Value, wire::time::Timestamp)>> {
    let now = app.now();
    let is_fresh = row.pull_secret_until.is_some_and(|until| until > now.plus_secs(PULL_SECRET_LEFT_SECS));
    let path = format!("{}/secrets/{PULL_SECRET}", room.path());
    if is_fresh && cluster.find(As::Longshore, &path).await?.is_some() {
        return Ok(None);
    }
    let credential = registry::build_credential(app, row.account_id, &row.account, PULL_SECRET_SECS)?;
    let secret = room.pull_secret(&registry_address(app), &credential);
    Ok(Some((secret, now.plus_secs(i64::try_from(PULL_SECRET_SECS).map_err(Error::internal)?))))
}

/// The registry's name for the nodes of clusters.
pub(super) fn registry_address(app: &App) -> String {
    let advertised = app.config.registry_advertise.clone();
    advertised.unwrap_or_else(|| app.config.registry_listen.to_string())
}

async fn unmake(app: &App, row: &Row, cluster: &Cluster, room: &Room<'_>) -> Result<()> {
    let note = async |message: &str| {
        namespaces::set_state(&app.db, row.id, NamespaceState::Deleting, Some(message), app.now()).await
    };
    let found = cluster.find(As::Longshore, &room.path()).await?;
    let Some(found) = found.filter(|found| room.is_ours(found)) else {
        // Gone, or somebody else's from the beginning: nothing of ours is there.
        let tx = app.db.begin().await?;
        store::releases::delete_in(&tx, &row.cluster, &row.name).await?;
        namespaces::delete(&tx, row.id).await?;
        tx.commit().await?;
        tracing::info!(namespace = %row.name, cluster = %row.cluster, "a namespace is gone");
        return Ok(());
    };
    if found["metadata"]["deletionTimestamp"].is_string() {
        note(&what_blocks(&found)).await?;
        return Ok(());
    }
    // While a namespace is torn down its policies may go before its pods; so pods go first.
    match stop_workloads(row, cluster).await {
        Ok(0) => {}
        Ok(pods) => {
            note(&format!("waits for {pods} pods to end")).await?;
            return Ok(());
        }
        // Somebody took our rights in it away. Deleting the namespace takes everything with it.
        Err(failure) if failure.is_forbidden() => {}
        Err(failure) => return Err(failure.into()),
    }
    let uid = found["metadata"]["uid"].as_str();
    cluster.delete(As::Longshore, &room.path(), uid).await?;
    note("the cluster removes what is kept in it").await?;
    Ok(())
}

/// How many pods are left.
async fn stop_workloads(row: &Row, cluster: &Cluster) -> Result<usize, Failure> {
    let who = As::Tenant(&row.name);
    for place in WORKLOADS {
        let (group, plural) = place.split_once(' ').unwrap_or((place, ""));
        cluster.delete(who, &format!("{group}/namespaces/{}/{plural}", row.name), None).await?;
    }
    let pods = cluster.get(who, &format!("/api/v1/namespaces/{}/pods", row.name)).await?;
    Ok(pods["items"].as_array().map_or(0, Vec::len))
}

/// What a namespace that is torn down waits for, as the cluster says.
fn what_blocks(namespace: &Value) -> String {
    let conditions = namespace["status"]["conditions"].as_array().into_iter().flatten();
    let blocking: Vec<_> = conditions
        .filter(|condition| condition["status"] == "True")
        .filter_map(|condition| condition["message"].as_str())
        .collect();
    if blocking.is_empty() {
        return "the cluster removes what is kept in it".to_owned();
    }
    format!("the cluster waits: {}", blocking.join("; "))
}

pub(super) fn view(row: Row) -> NamespaceView {
    NamespaceView {
        id: row.id,
        name: row.name,
        short_name: row.short_name,
        cluster: row.cluster,
        account_id: row.account_id,
        account: row.account,
        state: row.state,
        state_since: row.state_since,
        message: row.message,
        uid: row.uid,
        created_at: row.created_at,
    }
}
