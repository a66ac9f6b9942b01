//! From a wish to a row and a job. Everything that can be said of a wish is said here, before anything is stored: rights, the
//! chart and its digest, the values, every rule that what it makes would break.

use std::time::Duration;

use serde_json::{Map, Value, json};
use store::namespaces::Row as Namespace;
use store::release_operations::{self, Row as Operation};
use store::releases::{self, Place, Row};
use wire::builds::OperationState;
use wire::chart_repos::ChartRepoKind;
use wire::ids::{ReleaseId, ReleaseOperationId};
use wire::names::NamespaceName;
use wire::namespaces::{NamespaceCreate, NamespaceState};
use wire::releases::{
    NAME_CHARS_MAX, ReleaseAction, ReleaseInstall, ReleasePlan, ReleaseRollback, ReleaseState,
    ReleaseUpgrade, ReleaseView, VALUES_BYTES_MAX,
};

use super::render::{Prepared, Wish, content_of, prepare};
use super::{After, Payload, find, look, namespace_of, operations, plan, records, sealed, view, workplace};
use crate::app::App;
use crate::caller::{Caller, Subject};
use crate::domain::audit::{self, Event};
use crate::domain::charts::{self, Fetched};
use crate::domain::manifests::{self, Rights, document, rendered};
use crate::domain::{namespaces, provenance, workloads};
use crate::error::{Error, ErrorKind, Result};

/// Releases of one namespace: Helm keeps secrets of each, and a namespace has a quota of those.
const RELEASES_MAX: u64 = 20;
/// The namespace of an account's virtual-machine applications, without the account.
const SYSTEM_NAMESPACE: &str = "system";
/// Seconds that a step may take.
const TIMEOUT_SECS: std::ops::RangeInclusive<u64> = 10..=3_600;
/// Seconds that a step may take when nobody says.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(5);

/// What became of a wish.
#[derive(Debug)]
pub enum Admitted {
    /// It was only asked what would come of it.
    Plan(Box<ReleasePlan>),
    /// It will be done.
    Accepted(Box<ReleaseView>),
}

/// Installs a chart.
pub async fn install(app: &App, caller: &Caller, new: &ReleaseInstall) -> Result<Admitted> {
    check_name(&new.name)?;
    let timeout_secs = timeout_of(new.timeout_secs)?;
    let values = values_of(new.values.as_deref(), new.values_json.as_ref())?;
    let (repo, chart) = chart_of(&new.chart, new.repo.as_deref())?;
    let version = new.version.as_deref().filter(|version| !version.is_empty()).unwrap_or("latest");
    let fetched = provenance::check(app, charts::package(app, caller, repo, chart, version).await?).await?;
    let namespace = place_of(app, caller, new.namespace.as_deref(), fetched.repo.settings.kind).await?;
    let cluster = workloads::usable(app, &namespace).await?;
    let place = Place {
        cluster: namespace.cluster.clone(),
        namespace: namespace.name.clone(),
        name: new.name.clone(),
    };
    if records::of_release(&cluster, &namespace, &new.name).await?.last().is_some() {
        return Err(exists(&place));
    }
    let id = ReleaseId(uuid::Uuid::now_v7());
    let wish = Wish {
        release: id,
        name: &new.name,
        namespace: &namespace,
        fetched,
        values,
        is_upgrade: false,
        skips_crds: new.skip_crds,
    };
    let prepared = prepare(app, caller, wish).await?;
    if new.dry_run {
        return Ok(planned(plan::of(app, &new.name, prepared, None).await?));
    }
    let Prepared { chart, after, .. } = prepared;
    let now = app.now();
    let operation_id = ReleaseOperationId(uuid::Uuid::now_v7());
    let row = Row {
        id,
        account_id: namespace.account_id,
        place,
        chart: after.chart(),
        revision: 0,
        state: ReleaseState::PendingInstall,
        reason: None,
        message: None,
        resources: Some(after.resources()?),
        operation_id: Some(operation_id),
        created_at: now,
        updated_at: now,
    };
    let payload = Payload {
        namespace_id: namespace.id,
        is_waiting: new.wait.unwrap_or(true),
        timeout_secs,
        chart: Some(chart),
        target: None,
        after: Some(after),
    };
    let tx = app.db.begin().await?;
    if releases::count_in(&tx, &row.place.cluster, &row.place.namespace).await? >= RELEASES_MAX {
        let detail = format!("a namespace has {RELEASES_MAX} releases at most");
        return Err(
            Error::conflict("too_many_releases", detail).hint("uninstall one, or make another namespace")
        );
    }
    releases::insert(&tx, &row).await.map_err(|error| match error {
        store::Error::Duplicate => exists(&row.place),
        other => other.into(),
    })?;
    let enqueued = enqueue(app, caller, &tx, &row, ReleaseAction::Install, operation_id, &payload, 0);
    enqueued.await?;
    tx.commit().await?;
    accepted(app, row).await
}

fn exists(place: &Place) -> Error {
    let detail = format!("there is a release `{}` in `{}` already", place.name, place.namespace);
    Error::conflict("exists", detail).hint("upgrade it, or choose another name")
}

fn planned(plan: ReleasePlan) -> Admitted {
    Admitted::Plan(Box::new(plan))
}

async fn accepted(app: &App, row: Row) -> Result<Admitted> {
    tracing::info!(release.id = %row.id, release = %row.place.name, namespace = %row.place.namespace, state = ?row.state, "a release is to be changed");
    metrics::counter!("longshore_release_operations_accepted_total").increment(1);
    app.signals.jobs.any();
    Ok(Admitted::Accepted(Box::new(view(app, row).await?)))
}

/// Gives a release another chart or other values; installs it again when the cluster has nothing of it.
pub async fn upgrade(
    app: &App,
    caller: &Caller,
    id_or_name: &str,
    change: &ReleaseUpgrade,
) -> Result<Admitted> {
    let timeout_secs = timeout_of(change.timeout_secs)?;
    let given = match (&change.values, &change.values_json) {
        (None, None) => None,
        (text, json) => Some(values_of(text.as_deref(), json.as_ref())?),
    };
    if change.reuse_values && change.reset_values {
        return Err(Error::invalid("reset_values", "`reuse_values` and `reset_values` exclude each other"));
    }
    let row = find(app, caller, id_or_name).await?;
    let namespace = namespace_of(app, &row).await?;
    let cluster = workloads::usable(app, &namespace).await?;
    let fetched = wanted(app, caller, &row, change).await?;
    if fetched.repo.settings.kind != row.chart.kind {
        let detail = "a chart for virtual machines cannot take the place of one for containers, nor the other way round";
        return Err(Error::invalid("chart", detail));
    }
    let (work, _) = workplace(app, &namespace, row.id).await?;
    let newest = records::of_release(&cluster, &namespace, &row.place.name)
        .await?
        .last()
        .map(|record| record.revision);
    let has_any = newest.is_some();
    let values = match given {
        Some(given) if !change.reuse_values => given,
        _ if change.reset_values || !has_any => given.unwrap_or_else(|| json!({})),
        given => {
            let mut current = look::values_of(app, &work, &row.place.name, None).await?;
            merge(&mut current, given.unwrap_or_else(|| json!({})));
            current
        }
    };
    let wish = Wish {
        release: row.id,
        name: &row.place.name,
        namespace: &namespace,
        fetched,
        values,
        is_upgrade: has_any,
        skips_crds: change.skip_crds,
    };
    let prepared = prepare(app, caller, wish).await?;
    if change.dry_run {
        let current = if has_any { Some(plan::kept(app, &work, &row.place.name, None).await?) } else { None };
        let current = current.map(|(manifest, hooks)| format!("{manifest}\n{hooks}"));
        return Ok(planned(plan::of(app, &row.place.name, prepared, current.as_deref()).await?));
    }
    let Prepared { chart, after, .. } = prepared;
    let payload = Payload {
        namespace_id: namespace.id,
        is_waiting: change.wait.unwrap_or(true),
        timeout_secs,
        chart: Some(chart),
        target: None,
        after: Some(after),
    };
    begin(app, caller, row, ReleaseAction::Upgrade, &payload, newest.unwrap_or(0)).await
}

/// The package that an upgrade is to install.
async fn wanted(app: &App, caller: &Caller, row: &Row, change: &ReleaseUpgrade) -> Result<Fetched> {
    let version = change.version.as_deref().filter(|version| !version.is_empty());
    if let Some(chart) = change.chart.as_deref().filter(|chart| !chart.is_empty()) {
        let (repo, chart) = chart_of(chart, None)?;
        let fetched = charts::package(app, caller, repo, chart, version.unwrap_or("latest")).await?;
        return provenance::check(app, fetched).await;
    }
    let gone = || {
        Error::conflict("chart_repo_gone", "the repository that the chart came from is gone")
            .hint("name the chart: `chart`, as `repository/chart`")
    };
    let repo = row.chart.repo_id.ok_or_else(gone)?.to_string();
    let version = version.unwrap_or(&row.chart.version);
    provenance::check(app, charts::package(app, caller, &repo, &row.chart.name, version).await?).await
}

/// Puts values over others, as Helm does: mappings are merged, `null` takes away.
fn merge(current: &mut Value, given: Value) {
    match (current, given) {
        (Value::Object(current), Value::Object(given)) => {
            for (key, value) in given {
                if value.is_null() {
                    current.remove(&key);
                } else {
                    merge(current.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (current, given) => *current = given,
    }
}

/// Goes back to an earlier revision.
pub async fn rollback(
    app: &App,
    caller: &Caller,
    id_or_name: &str,
    to: &ReleaseRollback,
) -> Result<Admitted> {
    let timeout_secs = timeout_of(to.timeout_secs)?;
    let row = find(app, caller, id_or_name).await?;
    let namespace = namespace_of(app, &row).await?;
    workloads::usable(app, &namespace).await?;
    let revisions = look::revisions(app, &namespace, &row).await?;
    let newest = revisions.first().map_or(0, |revision| revision.revision);
    let wanted = match to.revision {
        Some(revision) => revision,
        None => revisions
            .iter()
            .skip(1)
            .find(|revision| revision.status == "superseded")
            .map(|revision| revision.revision)
            .ok_or_else(|| {
                Error::conflict("no_earlier_revision", "there is no earlier revision to go back to")
            })?,
    };
    let found = revisions.iter().find(|revision| revision.revision == wanted);
    let found = found.ok_or_else(|| {
        Error::not_found("revision", wanted)
            .hint("see `longshore release history`; only the newest ones are kept")
    })?;
    let (work, _) = workplace(app, &namespace, row.id).await?;
    let (manifest, hooks) = plan::kept(app, &work, &row.place.name, Some(wanted)).await?;
    let kept = format!("{manifest}\n{hooks}");
    let made = checked(app, caller, &namespace, row.id, &kept)?;
    let notes = plan::asked(app, &work, &["get", "notes", &row.place.name], Some(wanted)).await?;
    let notes = notes.trim().strip_prefix("NOTES:").unwrap_or(&notes).trim().to_owned();
    let (chart, version) = split_chart(&found.chart, &row.chart.name);
    let is_same = chart == row.chart.name;
    let after = After {
        repo_id: row.chart.repo_id.filter(|_| is_same),
        repo_name: if is_same { row.chart.repo_name.clone() } else { String::new() },
        kind: row.chart.kind,
        chart,
        version,
        app_version: (!found.app_version.is_empty()).then(|| found.app_version.clone()),
        content: content_of(&made, (!notes.is_empty()).then_some(notes))?,
    };
    if to.dry_run {
        let (manifest, hooks) = plan::kept(app, &work, &row.place.name, None).await?;
        let (changes, diff, manifest) = plan::between(&format!("{manifest}\n{hooks}"), &kept)?;
        return Ok(planned(ReleasePlan {
            name: row.place.name,
            namespace: namespace.name,
            chart: after.chart,
            chart_version: after.version,
            manifest,
            diff,
            changes,
            notes: after.content.notes,
            warnings: Vec::new(),
        }));
    }
    let payload = Payload {
        namespace_id: namespace.id,
        is_waiting: to.wait.unwrap_or(true),
        timeout_secs,
        chart: None,
        target: Some(wanted),
        after: Some(after),
    };
    begin(app, caller, row, ReleaseAction::Rollback, &payload, newest).await
}

/// What Helm keeps of a revision lies where the account can write. It passes the same rules as what is new.
fn checked(
    app: &App,
    caller: &Caller,
    namespace: &Namespace,
    release: ReleaseId,
    kept: &str,
) -> Result<Vec<rendered::Made>> {
    let release = release.to_string();
    let rights = Rights::of(app, caller.is_admin(), &namespace.account);
    let room = rendered::Room { rights: &rights, namespace: &namespace.name, release: &release, notes: None };
    let found = rendered::read(kept, room)?;
    manifests::refuse_as("that revision cannot be installed here", found.violations)?;
    Ok(found.made)
}

/// `chart-version` as a chart and a version; neither says where the other begins.
fn split_chart(text: &str, known: &str) -> (String, String) {
    if let Some(version) = text.strip_prefix(known).and_then(|rest| rest.strip_prefix('-'))
        && version.starts_with(|c: char| c.is_ascii_digit())
    {
        return (known.to_owned(), version.to_owned());
    }
    let begins = |(at, _): &(usize, &str)| text[at + 1..].starts_with(|c: char| c.is_ascii_digit());
    match text.match_indices('-').find(begins) {
        Some((at, _)) => (text[..at].to_owned(), text[at + 1..].to_owned()),
        None => (text.to_owned(), String::new()),
    }
}

/// Removes a release and everything of it.
pub async fn uninstall(app: &App, caller: &Caller, id_or_name: &str) -> Result<ReleaseView> {
    simple(app, caller, id_or_name, ReleaseAction::Uninstall).await
}

/// Brings a release out of a pending state that nobody works on: back to what was there before, or away when nothing was.
pub async fn recover(app: &App, caller: &Caller, id_or_name: &str) -> Result<ReleaseView> {
    simple(app, caller, id_or_name, ReleaseAction::Recover).await
}

async fn simple(app: &App, caller: &Caller, id_or_name: &str, action: ReleaseAction) -> Result<ReleaseView> {
    let row = find(app, caller, id_or_name).await?;
    let namespace = namespace_of(app, &row).await?;
    let payload = Payload {
        namespace_id: namespace.id,
        is_waiting: true,
        timeout_secs: DEFAULT_TIMEOUT.as_secs(),
        chart: None,
        target: None,
        after: None,
    };
    let base = row.revision;
    match begin(app, caller, row, action, &payload, base).await? {
        Admitted::Accepted(view) => Ok(*view),
        Admitted::Plan(_) => Err(Error::internal("what was to be done was only planned")),
    }
}

/// Takes a release for an operation, unless another one goes on.
async fn begin(
    app: &App,
    caller: &Caller,
    row: Row,
    action: ReleaseAction,
    payload: &Payload,
    base_revision: u64,
) -> Result<Admitted> {
    let operation_id = ReleaseOperationId(uuid::Uuid::now_v7());
    let state = match action {
        ReleaseAction::Install => ReleaseState::PendingInstall,
        ReleaseAction::Upgrade => ReleaseState::PendingUpgrade,
        ReleaseAction::Rollback | ReleaseAction::Recover => ReleaseState::PendingRollback,
        ReleaseAction::Uninstall => ReleaseState::Uninstalling,
    };
    let tx = app.db.begin().await?;
    if !releases::begin(&tx, row.id, operation_id, state, app.now()).await? {
        let now = releases::get(&tx, row.id).await?.ok_or_else(|| Error::not_found("release", row.id))?;
        let detail = format!("something is being done to the release `{}` already", row.place.name);
        let mut error = Error::conflict("release_busy", detail)
            .hint("wait until it has ended, or cancel it: `longshore release cancel`");
        if let Some(operation) = now.operation_id {
            error = error.with("operation_id", operation.to_string());
        }
        return Err(error);
    }
    enqueue(app, caller, &tx, &row, action, operation_id, payload, base_revision).await?;
    tx.commit().await?;
    let row = releases::get(&app.db, row.id).await?.ok_or_else(|| Error::not_found("release", row.id))?;
    accepted(app, row).await
}

#[expect(clippy::too_many_arguments, reason = "each is a part of one row, written once")]
async fn enqueue(
    app: &App,
    caller: &Caller,
    tx: &store::Tx,
    release: &Row,
    action: ReleaseAction,
    id: ReleaseOperationId,
    payload: &Payload,
    base_revision: u64,
) -> Result<()> {
    let chart = match &payload.after {
        Some(after) => format!("{}-{}", after.chart, after.version),
        None => format!("{}-{}", release.chart.name, release.chart.version),
    };
    let row = Operation {
        id,
        release_id: release.id,
        account_id: release.account_id,
        place: release.place.clone(),
        action,
        chart,
        state: OperationState::Queued,
        reason: None,
        message: None,
        payload: Some(sealed(app, id, payload)?),
        base_revision,
        revision: payload.target,
        cancel_requested: false,
        created_at: app.now(),
        started_at: None,
        ended_at: None,
    };
    release_operations::insert(tx, &row).await?;
    store::jobs::enqueue(tx, &operations::job(&id.to_string(), &row)).await?;
    let name = match action {
        ReleaseAction::Install => "release.install",
        ReleaseAction::Upgrade => "release.upgrade",
        ReleaseAction::Rollback => "release.rollback",
        ReleaseAction::Uninstall => "release.uninstall",
        ReleaseAction::Recover => "release.recover",
    };
    let target = format!("{}/{}", release.place.namespace, release.place.name);
    audit::record(
        app,
        caller,
        tx,
        Event { action: name, target: &target, acting_for: Some(release.account_id) },
    )
    .await
}

/// Helm's rule for names, without dots: objects are called after it.
fn check_name(name: &str) -> Result<()> {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    let is_valid = (1..=NAME_CHARS_MAX).contains(&name.len())
        && bytes.iter().all(|byte| is_word(*byte) || *byte == b'-')
        && is_word(bytes[0])
        && is_word(bytes[name.len() - 1]);
    if is_valid && name.parse::<uuid::Uuid>().is_err() {
        return Ok(());
    }
    Err(Error::invalid(
        "name",
        format!(
            "the name of a release is 1 to {NAME_CHARS_MAX} of `a-z`, `0-9` and `-`, beginning and ending with a letter or digit"
        ),
    ))
}

fn timeout_of(given: Option<u64>) -> Result<u64> {
    let secs = given.unwrap_or(DEFAULT_TIMEOUT.as_secs());
    if TIMEOUT_SECS.contains(&secs) {
        return Ok(secs);
    }
    let (least, most) = (TIMEOUT_SECS.start(), TIMEOUT_SECS.end());
    Err(Error::invalid("timeout_secs", format!("`timeout_secs` is {least} to {most} seconds")))
}

/// `repository/chart`, or a chart with its repository beside it.
fn chart_of<'a>(chart: &'a str, repo: Option<&'a str>) -> Result<(&'a str, &'a str)> {
    let repo = repo.filter(|repo| !repo.is_empty());
    match (repo, chart.split_once('/')) {
        (Some(repo), None) if !chart.is_empty() => Ok((repo, chart)),
        (None, Some((repo, chart))) if !repo.is_empty() && !chart.is_empty() && !chart.contains('/') => {
            Ok((repo, chart))
        }
        (Some(repo), Some((same, chart))) if repo == same && !chart.is_empty() => Ok((repo, chart)),
        _ => Err(Error::invalid("chart", "name the chart as `repository/chart`")
            .hint("see `longshore chart list`")),
    }
}

/// Values as they are given, within bounds.
fn values_of(text: Option<&str>, json: Option<&Map<String, Value>>) -> Result<Value> {
    let too_large = || {
        let detail = format!("values have at most {} KiB", VALUES_BYTES_MAX >> 10);
        Error { field: Some("values".to_owned()), ..Error::new(ErrorKind::TooLarge, "too_large", detail) }
    };
    match (text, json) {
        (Some(_), Some(_)) => Err(Error::invalid("values_json", "give `values` or `values_json`, not both")),
        (None, None) => Ok(json!({})),
        (None, Some(map)) => {
            let value = Value::Object(map.clone());
            if value.to_string().len() > VALUES_BYTES_MAX { Err(too_large()) } else { Ok(value) }
        }
        (Some(text), None) => {
            if text.len() > VALUES_BYTES_MAX {
                return Err(too_large());
            }
            let is_empty =
                text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
            if is_empty {
                return Ok(json!({}));
            }
            let value = document(text).map_err(|error| {
                Error::invalid("values", format!("the values cannot be read as YAML: {error}"))
            })?;
            match value {
                Value::Object(_) => Ok(value),
                Value::Null => Ok(json!({})),
                _ => Err(Error::invalid("values", "values are a mapping, such as `replicaCount: 2`")),
            }
        }
    }
}

/// Where a chart goes: container applications into a namespace of the account's, virtual-machine applications into the one
/// that the account has for all of those.
async fn place_of(app: &App, caller: &Caller, named: Option<&str>, kind: ChartRepoKind) -> Result<Namespace> {
    let named = named.filter(|name| !name.is_empty());
    match (kind, named) {
        (ChartRepoKind::External, Some(name)) => namespaces::find(app, caller, name).await,
        (ChartRepoKind::External, None) => {
            let subject = Subject { account: caller.account, name: caller.name.clone() };
            namespaces::only_one(app, &subject).await
        }
        (ChartRepoKind::Internal, Some(_)) => Err(Error::invalid(
            "namespace",
            "a virtual-machine application goes into the account's own system namespace; leave `namespace` out",
        )),
        (ChartRepoKind::Internal, None) => system_namespace(app, caller).await,
    }
}

async fn system_namespace(app: &App, caller: &Caller) -> Result<Namespace> {
    let name: NamespaceName = SYSTEM_NAMESPACE.parse()?;
    if let Some(found) = namespaces::of_account(app, caller.account, &name).await? {
        return Ok(found);
    }
    let new = NamespaceCreate { name: name.clone(), cluster: None, account: None };
    match namespaces::create(app, caller, &new).await {
        Ok(made) if made.state == NamespaceState::Ready => {}
        Ok(made) => {
            let detail = format!("the namespace `{}` is not ready yet", made.name);
            return Err(Error::conflict("namespace_not_ready", detail).hint("try again in a moment"));
        }
        // Another request was faster.
        Err(error) if error.code == "exists" => {}
        Err(error) => return Err(error),
    }
    let found = namespaces::of_account(app, caller.account, &name).await?;
    found.ok_or_else(|| Error::not_found("namespace", &name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_helm_and_objects_take() {
        for good in ["a", "web-1", &"x".repeat(53)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        let uuid = "22e3d2e4-9230-4380-8a6f-a378fe730625";
        for bad in ["", "-a", "a-", "A", "a.b", "a b", "--set", "ä", &"x".repeat(54), uuid] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn charts_are_named_with_their_repository() {
        assert_eq!(chart_of("bitnami/nginx", None).unwrap(), ("bitnami", "nginx"));
        assert_eq!(chart_of("nginx", Some("bitnami")).unwrap(), ("bitnami", "nginx"));
        assert_eq!(chart_of("bitnami/nginx", Some("bitnami")).unwrap(), ("bitnami", "nginx"));
        for (chart, repo) in [
            ("nginx", None),
            ("a/b/c", None),
            ("/a", None),
            ("a/", None),
            ("a/b", Some("c")),
            ("", Some("c")),
        ] {
            assert!(chart_of(chart, repo).is_err(), "{chart} {repo:?}");
        }
    }

    #[test]
    fn values_are_a_mapping_within_bounds() {
        assert_eq!(values_of(None, None).unwrap(), json!({}));
        assert_eq!(values_of(Some("# nothing\n"), None).unwrap(), json!({}));
        assert_eq!(values_of(Some("a: {b: 1}\n"), None).unwrap(), json!({"a": {"b": 1}}));
        for bad in ["- a", "a: [", "text", "a: &a [*a]"] {
            assert!(values_of(Some(bad), None).is_err(), "{bad}");
        }
        let large = format!("a: {}", "x".repeat(VALUES_BYTES_MAX));
        assert_eq!(values_of(Some(&large), None).unwrap_err().kind, ErrorKind::TooLarge);
        assert!(values_of(Some("a: 1"), Some(&Map::new())).is_err());
    }

    #[test]
    fn values_are_put_over_others_as_helm_does() {
        let mut current = json!({"a": {"b": 1, "c": [1, 2]}, "d": 1, "e": 1});

        merge(&mut current, json!({"a": {"c": [3]}, "d": {"x": 1}, "e": null, "f": 2}));

        assert_eq!(current, json!({"a": {"b": 1, "c": [3]}, "d": {"x": 1}, "f": 2}));
    }

    #[test]
    fn a_chart_with_its_version_is_taken_apart() {
        for (text, known, chart, version) in [
            ("web-1.2.3", "web", "web", "1.2.3"),
            ("web-2-server-0.1.0-rc.1", "web-2-server", "web-2-server", "0.1.0-rc.1"),
            ("other-app-1.0.0", "web", "other-app", "1.0.0"),
            ("odd", "web", "odd", ""),
        ] {
            assert_eq!(split_chart(text, known), (chart.to_owned(), version.to_owned()), "{text}");
        }
    }
}
