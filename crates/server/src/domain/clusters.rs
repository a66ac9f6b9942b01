//! Kubernetes clusters: adding and removing them, whether they can be used, and their nodes. What opens a cluster is sealed
//! before it is stored, and never shown.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;
use store::clusters::{self, Row};
use wire::clusters::{ClusterCreate, ClusterState, ClusterUpdate, ClusterView, NodeView};
use wire::ids::ClusterId;
use wire::names::{ClusterName, NamespaceName};
use wire::page::{Page, PageQuery};
use wire::secret::Secret;

use super::audit::{self, Event};
use super::page_of;
use crate::app::App;
use crate::caller::Caller;
use crate::clients::kube::kubeconfig::{self, Way};
use crate::clients::kube::{As, Cluster, Container, Failure, Mirror, Pod, role};
use crate::error::{Error, Result};
use crate::network::Range;

/// Ranges of pods' addresses of one cluster.
const POD_RANGES_MAX: usize = 8;
/// Clusters of one installation; what each costs is a watch or two.
const CLUSTERS_MAX: u64 = 64;
/// Nodes that are shown of one cluster.
const NODES_MAX: usize = 5_000;

/// Adds a cluster (admin), after it has answered, taken our credentials and allowed what we need.
pub async fn create(app: &App, caller: &Caller, new: &ClusterCreate) -> Result<ClusterView> {
    require_admin(caller)?;
    if clusters::by_name(&app.db, &new.name).await?.is_some() {
        return Err(exists(&new.name));
    }
    let page = PageQuery { limit: Some(0), offset: None };
    if clusters::list(&app.db, page).await?.total >= CLUSTERS_MAX {
        return Err(Error::conflict(
            "too_many_clusters",
            format!("there are {CLUSTERS_MAX} clusters already"),
        ));
    }
    check_ranges(&new.pod_ranges)?;
    let (server, credentials) = match (&new.kubeconfig, new.in_cluster) {
        (Some(_), true) => {
            return Err(Error::invalid("in_cluster", "give a kubeconfig or `in_cluster`, not both"));
        }
        (None, false) => return Err(Error::invalid("kubeconfig", "`kubeconfig` is missing")),
        (None, true) => (kubeconfig::in_cluster_server()?, None),
        (Some(text), false) => {
            let access = kubeconfig::read(text, new.context.as_deref())?;
            (access.server, Some(access.credentials))
        }
    };
    let cluster = Cluster::open(credentials.as_ref()).await?;
    let version = check(&cluster).await?;
    let pod_ranges = if new.pod_ranges.is_empty() {
        pod_ranges_of(&nodes_of(&cluster).await?)
    } else {
        new.pod_ranges.clone()
    };

    let id = ClusterId(uuid::Uuid::now_v7());
    let sealed = credentials.map(|secret| app.keys.sealing.seal(&purpose(id), &secret)).transpose()?;
    let now = app.now();
    let row = Row {
        id,
        name: new.name.clone(),
        server,
        credentials: sealed,
        pod_ranges,
        is_default: new.is_default,
        state: ClusterState::Ready,
        state_since: now,
        message: None,
        version: Some(version),
        created_at: now,
    };
    let tx = app.db.begin().await?;
    clusters::insert(&tx, &row).await.map_err(|error| match error {
        store::Error::Duplicate => exists(&new.name),
        other => other.into(),
    })?;
    let event = Event { action: "cluster.create", target: new.name.as_str(), acting_for: None };
    audit::record(app, caller, &tx, event).await?;
    tx.commit().await?;
    app.clusters.put(id, cluster);
    app.signals.clusters.notify_one();
    get(app, caller, new.name.as_str()).await
}

fn exists(name: &ClusterName) -> Error {
    Error::conflict("exists", format!("there is a cluster `{name}` already"))
}

/// What credentials are sealed for.
fn purpose(id: ClusterId) -> String {
    format!("cluster {id}")
}

fn check_ranges(ranges: &[String]) -> Result<()> {
    if ranges.len() > POD_RANGES_MAX {
        return Err(Error::invalid("pod_ranges", format!("at most {POD_RANGES_MAX} ranges")));
    }
    for range in ranges {
        // In a policy only IPv4 ranges stand beside `0.0.0.0/0`.
        let is_valid =
            range.len() <= 32 && range.contains('/') && !range.contains(':') && Range::parse(range).is_some();
        if !is_valid {
            let shown: String = range.chars().take(50).flat_map(char::escape_debug).collect();
            return Err(Error::invalid(
                "pod_ranges",
                format!("`{shown}` is no IPv4 range such as `10.244.0.0/16`"),
            ));
        }
    }
    Ok(())
}

fn pod_ranges_of(nodes: &[Value]) -> Vec<String> {
    let mut ranges: Vec<String> = Vec::new();
    for node in nodes {
        let listed = node["spec"]["podCIDRs"].as_array().into_iter().flatten();
        for range in listed.filter_map(Value::as_str).filter(|range| !range.contains(':')) {
            // Every node has a part of one range; written out one by one they would fill each policy of each namespace.
            let wide = range.split('.').take(2).collect::<Vec<_>>().join(".") + ".0.0/16";
            if !ranges.contains(&wide) {
                ranges.push(wide);
            }
        }
    }
    ranges.truncate(POD_RANGES_MAX);
    ranges
}

/// Lists clusters. Every account may: it has to choose one.
pub async fn list(app: &App, caller: &Caller, page: PageQuery) -> Result<Page<ClusterView>> {
    let found = clusters::list(&app.db, page).await?;
    Ok(page_of(found, page, |row| view(caller, row)))
}

/// One cluster, by name.
pub async fn get(app: &App, caller: &Caller, name: &str) -> Result<ClusterView> {
    Ok(view(caller, find(app, name).await?))
}

/// Changes a cluster (admin): makes it the default one, or opens it with another kubeconfig from now on.
pub async fn update(app: &App, caller: &Caller, name: &str, change: &ClusterUpdate) -> Result<ClusterView> {
    require_admin(caller)?;
    let row = find(app, name).await?;
    if change.is_default == Some(false) {
        return Err(Error::invalid("is_default", "there is always a default cluster")
            .hint("make another one the default"));
    }
    let opened = match &change.kubeconfig {
        None => None,
        Some(text) => {
            let access = kubeconfig::read(text, change.context.as_deref())?;
            let cluster = Cluster::open(Some(&access.credentials)).await?;
            check(&cluster).await?;
            Some((cluster, app.keys.sealing.seal(&purpose(row.id), &access.credentials)?, access.server))
        }
    };
    let tx = app.db.begin().await?;
    if let Some((_, sealed, server)) = &opened {
        clusters::set_credentials(&tx, row.id, server, sealed).await?;
        let event = Event { action: "cluster.credentials", target: name, acting_for: None };
        audit::record(app, caller, &tx, event).await?;
    }
    if change.is_default == Some(true) {
        clusters::set_default(&tx, row.id).await?;
        let event = Event { action: "cluster.default", target: name, acting_for: None };
        audit::record(app, caller, &tx, event).await?;
    }
    tx.commit().await?;
    if let Some((cluster, ..)) = opened {
        app.clusters.put(row.id, cluster);
        app.signals.clusters.notify_one();
        look(app, &find(app, name).await?).await?;
    }
    get(app, caller, name).await
}

/// Whether a cluster answers, takes our credentials and allows what we need; its version.
async fn check(cluster: &Cluster) -> Result<String> {
    let version = version(cluster).await?;
    let missing = role::missing(cluster).await?;
    if !missing.is_empty() {
        let detail = format!("the cluster does not allow these credentials to: {}", missing.join(", "));
        return Err(Error::conflict("cluster_forbids", detail)
            .hint("an admin of the cluster runs: longshore cluster role | kubectl apply -f -"));
    }
    role::ensure_tenant_role(cluster).await?;
    Ok(version)
}

/// Removes a cluster in which no namespace is left (admin). The cluster itself stays as it is.
pub async fn delete(app: &App, caller: &Caller, name: &str) -> Result<()> {
    require_admin(caller)?;
    let row = find(app, name).await?;
    let tx = app.db.begin().await?;
    clusters::delete(&tx, row.id).await.map_err(|error| match error {
        store::Error::InUse => {
            Error::conflict("has_namespaces", format!("accounts have namespaces in cluster `{}`", row.name))
                .hint(format!(
                    "`longshore namespace list --all --cluster {}` shows them; delete them first",
                    row.name
                ))
        }
        other => other.into(),
    })?;
    let event = Event { action: "cluster.delete", target: row.name.as_str(), acting_for: None };
    audit::record(app, caller, &tx, event).await?;
    tx.commit().await?;
    app.clusters.forget(row.id);
    Ok(())
}

/// The nodes of a cluster, or of all that answer. Every account may see what there is; where it is, admins.
pub async fn nodes(app: &App, caller: &Caller, cluster: Option<&ClusterName>) -> Result<Vec<NodeView>> {
    let rows = match cluster {
        Some(name) => vec![find(app, name.as_str()).await?],
        None => clusters::all(&app.db).await?,
    };
    let mut nodes = Vec::new();
    for row in &rows {
        match nodes_of_row(app, row).await {
            Ok((found, used)) => {
                nodes.extend(found.iter().map(|node| node_view(caller, row, node, &used)));
            }
            // One that is away must not hide the others, but whoever names it, or has no other, hears of it.
            Err(error) if rows.len() == 1 => return Err(error),
            Err(error) => tracing::warn!(cluster = %row.name, %error, "the nodes of a cluster are not shown"),
        }
    }
    Ok(nodes)
}

/// The nodes of a cluster, from what a watch keeps where it does, and the graphics processors that pods have on them.
async fn nodes_of_row(app: &App, row: &Row) -> Result<(Vec<Arc<Value>>, GpusByNode)> {
    check_answers(row)?;
    let cluster = client(app, row).await?;
    let nodes = match cluster.mirrors.of("Node").and_then(Mirror::all) {
        Some(nodes) => nodes,
        None => nodes_of(&cluster).await?.into_iter().map(Arc::new).collect(),
    };
    let mut used = GpusByNode::new();
    for pod in cluster.mirrors.pods.all().iter().flatten() {
        let Some(node) = &pod.spec.node_name else { continue };
        for (resource, count) in gpus_of_pod(pod) {
            *used.entry(node.to_string()).or_default().entry(resource).or_default() += count;
        }
    }
    Ok((nodes, used))
}

/// How many graphics processors of which kind pods have, by node.
type GpusByNode = HashMap<String, BTreeMap<String, u64>>;

/// The graphics processors that a pod has or waits for, by the name of the resource; none once it has ended.
pub(super) fn gpus_of_pod(pod: &Pod) -> BTreeMap<String, u64> {
    let mut gpus = BTreeMap::new();
    if matches!(pod.status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return gpus;
    }
    let of = |containers: &[Container]| {
        let mut sums: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for container in containers {
            // What is limited is requested: the cluster takes no graphics processor that it could share.
            let limits = container.resources.limits.iter();
            for (resource, amount) in limits.filter(|(resource, _)| is_gpu(resource)) {
                let count = quantity(amount).unwrap_or_default() / 1_000;
                sums.entry(resource.to_string()).or_default().push(count);
            }
        }
        sums
    };
    for (resource, counts) in of(&pod.spec.containers) {
        *gpus.entry(resource).or_default() = counts.iter().sum();
    }
    // Those that come before run one after the other, and before the rest.
    for (resource, counts) in of(&pod.spec.init_containers) {
        let most = counts.into_iter().max().unwrap_or_default();
        let held: &mut u64 = gpus.entry(resource).or_default();
        *held = (*held).max(most);
    }
    gpus
}

async fn nodes_of(cluster: &Cluster) -> Result<Vec<Value>, Failure> {
    let path = format!("/api/v1/nodes?limit={NODES_MAX}");
    let mut list = cluster.get(As::Longshore, &path).await?;
    Ok(match list["items"].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    })
}

async fn version(cluster: &Cluster) -> Result<String, Failure> {
    let answer = cluster.get(As::Longshore, "/version").await?;
    Ok(answer["gitVersion"].as_str().unwrap_or("unknown").to_owned())
}

/// Asks a cluster whether it can be used, and notes what has changed.
pub(crate) async fn look(app: &App, row: &Row) -> Result<()> {
    let (state, message, version) = match client(app, row).await {
        Ok(client) => match version(&client).await {
            Ok(version) => (ClusterState::Ready, None, Some(version)),
            Err(Failure::Refused) => (ClusterState::Refused, Some(Failure::Refused.to_string()), None),
            Err(failure) => (ClusterState::Unreachable, Some(failure.to_string()), None),
        },
        Err(error) => (ClusterState::Unreachable, Some(error.detail), None),
    };
    let now = app.now();
    if clusters::set_state(&app.db, row.id, state, message.as_deref(), version.as_deref(), now).await? {
        if state == ClusterState::Ready {
            tracing::info!(cluster = %row.name, "a cluster answers");
            app.signals.workloads.notify_one();
        } else {
            tracing::warn!(cluster = %row.name, message, "a cluster cannot be used");
        }
        app.signals.namespaces.notify_one();
    } else if let Some(version) = version.filter(|version| row.version.as_ref() != Some(version)) {
        clusters::set_version(&app.db, row.id, &version).await?;
    }
    Ok(())
}

/// The client of a cluster.
pub(crate) async fn client(app: &App, row: &Row) -> Result<Cluster> {
    if let Some(known) = app.clusters.get(row.id) {
        return Ok(known);
    }
    let sealed = row.credentials.as_deref();
    let credentials = sealed.map(|sealed| app.keys.sealing.open(&purpose(row.id), sealed)).transpose()?;
    let cluster = Cluster::open(credentials.as_ref()).await?;
    app.clusters.put(row.id, cluster.clone());
    Ok(cluster)
}

/// The way to a cluster for people: the one that we have or, from outside, the one that an admin has set.
pub(super) async fn way_for_others(app: &App, id: ClusterId) -> Result<Way> {
    let row = clusters::get(&app.db, id).await?.ok_or_else(|| Error::not_found("cluster", id))?;
    if let Some(sealed) = &row.credentials {
        return Way::of(&app.keys.sealing.open(&purpose(row.id), sealed)?);
    }
    let config = &app.config.kubernetes;
    let Some(server) = &config.public_server else {
        let detail = "the server reaches this cluster from inside, by a way that others do not have";
        return Err(Error::conflict("no_way_from_outside", detail).hint(
            "an admin sets `kubernetes.public_server` to the address by which people reach the API server",
        ));
    };
    Way::from_outside(server, config.public_authority.as_deref()).await
}

/// A kubeconfig for a program of ours that acts in the name of a namespace's account, and the cluster's version.
pub(crate) async fn kubeconfig_as(
    app: &App,
    id: ClusterId,
    namespace: &NamespaceName,
) -> Result<(Secret, Option<String>)> {
    let row = clusters::get(&app.db, id).await?.ok_or_else(|| Error::not_found("cluster", id))?;
    let sealed = row.credentials.as_deref();
    let access = sealed.map(|sealed| app.keys.sealing.open(&purpose(row.id), sealed)).transpose()?;
    Ok((kubeconfig::as_tenant(access.as_ref(), namespace)?, row.version))
}

/// The client of a cluster for those who only look: one that did not answer when it was last asked keeps nobody waiting.
pub(super) async fn client_to_look(app: &App, id: ClusterId) -> Result<Cluster> {
    let row = clusters::get(&app.db, id).await?.ok_or_else(|| Error::not_found("cluster", id))?;
    check_answers(&row)?;
    client(app, &row).await
}

fn check_answers(row: &Row) -> Result<()> {
    if row.state == ClusterState::Ready {
        return Ok(());
    }
    let (name, since) = (&row.name, row.state_since);
    Err(if row.state == ClusterState::Refused {
        let detail = format!("cluster `{name}` has not taken our credentials since {since}");
        Error::unavailable("cluster_refused", detail).hint(format!(
            "what runs there goes on; an admin gives new ones: `longshore cluster renew {name} --kubeconfig FILE`"
        ))
    } else {
        let detail = format!("cluster `{name}` has not answered since {since}");
        Error::unavailable("cluster_unreachable", detail)
            .hint("what runs there goes on; try again, or see `longshore cluster list`")
    })
}

/// The client of the cluster with this id.
pub(crate) async fn client_of(app: &App, id: ClusterId) -> Result<Cluster> {
    let row = clusters::get(&app.db, id).await?.ok_or_else(|| Error::not_found("cluster", id))?;
    client(app, &row).await
}

/// The cluster of a name, or the default one.
pub(super) async fn pick(app: &App, name: Option<&ClusterName>) -> Result<Row> {
    let Some(name) = name else {
        return clusters::default_one(&app.db).await?.ok_or_else(|| {
            Error::conflict("no_cluster", "there is no Kubernetes cluster yet")
                .hint("an admin adds one: longshore cluster add NAME --kubeconfig FILE")
        });
    };
    let row = clusters::by_name(&app.db, name).await?;
    row.ok_or_else(|| Error::invalid("cluster", format!("there is no cluster `{name}`")))
}

async fn find(app: &App, name: &str) -> Result<Row> {
    let parsed: ClusterName = name.parse().map_err(|_| Error::not_found("cluster", name))?;
    clusters::by_name(&app.db, &parsed).await?.ok_or_else(|| Error::not_found("cluster", name))
}

fn require_admin(caller: &Caller) -> Result<()> {
    if caller.is_admin() { Ok(()) } else { Err(Error::forbidden("admin_only", "only an admin can do this")) }
}

fn view(caller: &Caller, row: Row) -> ClusterView {
    let for_admin = |text: String| caller.is_admin().then_some(text);
    ClusterView {
        id: row.id,
        name: row.name,
        is_default: row.is_default,
        state: row.state,
        state_since: row.state_since,
        message: row.message.and_then(for_admin),
        version: row.version,
        pod_ranges: row.pod_ranges,
        server: for_admin(row.server),
        created_at: row.created_at,
    }
}

fn node_view(caller: &Caller, row: &Row, node: &Value, used: &GpusByNode) -> NodeView {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let for_admin = |value: Option<String>| value.filter(|_| caller.is_admin());
    let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    let ready = conditions.into_iter().find(|condition| condition["type"] == "Ready");
    let (status, message) = match ready.map(|ready| (&ready["status"], &ready["message"])) {
        Some((status, _)) if status == "True" => ("Ready", None),
        Some((status, message)) if status == "False" => ("NotReady", text(message)),
        Some((_, message)) => ("Unknown", text(message)),
        None => ("Unknown", None),
    };
    let allocatable = &node["status"]["allocatable"];
    let quantity = |name: &str| allocatable[name].as_str().and_then(quantity);
    let mut gpus = BTreeMap::new();
    for (name, _) in allocatable.as_object().into_iter().flatten().filter(|(name, _)| is_gpu(name)) {
        gpus.insert(name.clone(), quantity(name).unwrap_or_default() / 1_000);
    }
    let roles = node["metadata"]["labels"].as_object().into_iter().flatten();
    let roles =
        roles.filter_map(|(name, _)| name.strip_prefix("node-role.kubernetes.io/")).map(str::to_owned);
    let addresses = node["status"]["addresses"].as_array().into_iter().flatten();
    let address = addresses.into_iter().find(|address| address["type"] == "InternalIP");
    let info = &node["status"]["nodeInfo"];
    let os =
        [&info["osImage"], &info["kernelVersion"]].map(|part| part.as_str().unwrap_or_default()).join(" ");
    NodeView {
        cluster: row.name.clone(),
        name: text(&node["metadata"]["name"]).unwrap_or_default(),
        status: status.to_owned(),
        message: for_admin(message),
        is_schedulable: node["spec"]["unschedulable"] != true,
        roles: roles.collect(),
        cpu_millis: quantity("cpu").unwrap_or_default(),
        memory_bytes: quantity("memory").unwrap_or_default() / 1_000,
        pods: quantity("pods").unwrap_or_default() / 1_000,
        gpus,
        gpus_used: used
            .get(node["metadata"]["name"].as_str().unwrap_or_default())
            .cloned()
            .unwrap_or_default(),
        address: for_admin(address.and_then(|address| text(&address["address"]))),
        kubelet_version: for_admin(text(&info["kubeletVersion"])),
        os: for_admin(Some(os)),
    }
}

/// The names under which nodes of a cluster may have graphics processors, those of now and the usual ones.
pub(super) fn gpu_resources(cluster: &Cluster) -> Vec<String> {
    let mut names = std::collections::BTreeSet::from(["nvidia.com/gpu".to_owned(), "amd.com/gpu".to_owned()]);
    for node in cluster.mirrors.of("Node").and_then(Mirror::all).iter().flatten() {
        let there = node["status"]["allocatable"].as_object().into_iter().flatten();
        names.extend(there.map(|(name, _)| name.clone()).filter(|name| is_gpu(name)));
    }
    names.into_iter().collect()
}

/// Resources that are graphics processors, or parts of them.
fn is_gpu(resource: &str) -> bool {
    matches!(resource, "nvidia.com/gpu" | "amd.com/gpu")
        || resource.starts_with("nvidia.com/mig-")
        || resource.starts_with("gpu.intel.com/")
}

/// Kubernetes' way to write amounts (`500m`, `1.5`, `128Mi`, `2k`), in thousandths; none when it is not written so or is
/// negative.
pub(crate) fn quantity(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor: u128 = match unit {
        "n" => return scaled(number, 1).map(|nano| nano.div_ceil(1_000_000)),
        "u" => return scaled(number, 1).map(|micro| micro.div_ceil(1_000)),
        "m" => 1,
        "" => 1_000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "T" => 1_000_000_000_000_000,
        "P" => 1_000_000_000_000_000_000,
        "Ki" => 1_000 << 10,
        "Mi" => 1_000 << 20,
        "Gi" => 1_000 << 30,
        "Ti" => 1_000 << 40,
        "Pi" => 1_000 << 50,
        _ => return None,
    };
    scaled(number, factor)
}

/// A decimal number times a factor, rounded up, in whole numbers.
fn scaled(number: &str, factor: u128) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if number.len() > 30 || whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let below = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    u64::try_from(digits.checked_mul(factor)?.div_ceil(below)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_kubernetes_writes_them() {
        for (text, expected) in [
            ("1", Some(1_000)),
            ("500m", Some(500)),
            ("0.5", Some(500)),
            (".5", Some(500)),
            ("1.5Gi", Some(1_610_612_736_000)),
            ("128Mi", Some(134_217_728_000)),
            ("2k", Some(2_000_000)),
            ("1500000n", Some(2)),
            ("1u", Some(1)),
            ("0", Some(0)),
            ("", None),
            (".", None),
            ("-1", None),
            ("1.2.3", None),
            ("1e3", None),
            ("1Zi", None),
            ("9999999999999999999999999999999999", None),
        ] {
            assert_eq!(quantity(text), expected, "{text}");
        }
    }

    #[test]
    fn graphics_processors_of_pods_are_counted_by_what_they_hold() {
        let container =
            |count: &str| serde_json::json!({"resources": {"limits": {"nvidia.com/gpu": count, "cpu": "1"}}});
        let pod = serde_json::json!({"spec": {"containers": [container("1"), container("2"), {}], "initContainers": [container("2"), container("5")]}, "status": {"phase": "Pending"}});
        let mut ended = pod.clone();
        ended["status"]["phase"] = "Succeeded".into();
        let gpus_of_pod = |pod| gpus_of_pod(&serde_json::from_value(pod).unwrap());

        assert_eq!(gpus_of_pod(pod), BTreeMap::from([("nvidia.com/gpu".to_owned(), 5)]));
        assert!(gpus_of_pod(ended).is_empty());
    }

    #[test]
    fn ranges_of_nodes_are_gathered() {
        let node = |range: &str| serde_json::json!({"spec": {"podCIDRs": [range, "fd00::/64"]}});

        let ranges = pod_ranges_of(&[node("10.244.0.0/24"), node("10.244.1.0/24"), node("10.200.0.0/24")]);

        assert_eq!(ranges, ["10.244.0.0/16", "10.200.0.0/16"]);
        assert!(check_ranges(&ranges).is_ok());
        for wrong in ["10.0.0.1", "fd00::/8", "0.0.0.0/33", "a/b", ""] {
            assert!(check_ranges(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}
