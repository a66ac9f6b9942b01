//! From a file to the cluster: understood, placed, its images found, tried without effect, stored, applied. A server that dies
//! after it has stored leaves a row that says what is missing, and the next one goes on there.

use serde_json::Value;
use store::namespaces::Row as Namespace;
use store::workloads::{self, Desired, Revision, Row};
use wire::ids::WorkloadId;
use wire::names::{Digest, ImageName, ImageReference, NamespaceName};
use wire::time::Timestamp;
use wire::workloads::{WorkloadApplied, WorkloadKind};

use super::{changes, files, find, is_ours, kind_of, not_ours, path_of, record, remove, usable};
use crate::app::App;
use crate::caller::{Caller, Subject};
use crate::clients::kube::{As, Cluster};
use crate::domain::manifests::{self, Manifest, Rights, Violation};
use crate::domain::{images, namespaces};
use crate::error::{Error, ErrorKind, Result};

/// Revisions that are kept of a workload.
const REVISIONS_KEPT: u64 = 20;
/// Workloads of one namespace.
const WORKLOADS_MAX: usize = 200;
/// Applying may take some seconds; before that nobody else takes a workload up.
const HANDS_OFF_SECS: i64 = 60;

/// What may be there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Either: what is there is changed, what is not is made.
    Apply,
    /// One workload of this kind that is not there yet.
    Create(WorkloadKind),
    /// One workload of this kind that is there.
    Update(WorkloadKind),
}

/// A file to apply.
#[derive(Debug)]
pub struct Application<'a> {
    /// Whose namespaces are meant.
    pub subject: &'a Subject,
    /// In which namespace, if it is said.
    pub namespace: Option<&'a str>,
    /// The file's name as given.
    pub file: Option<&'a str>,
    /// What is in it.
    pub text: &'a [u8],
    /// What may be there already.
    pub mode: Mode,
    /// Only says what would come of it.
    pub is_dry_run: bool,
}

/// What somebody has to know whose file is stored and not yet in the cluster.
const STORED: &str = "the file is stored, and applied as soon as the cluster answers; `longshore workload list` shows how far it is";

/// One document on its way.
struct Item {
    manifest: Manifest,
    namespace: Namespace,
    cluster: Cluster,
    row: Option<Row>,
    id: WorkloadId,
    content: String,
    images: Vec<String>,
    tried: Value,
    was: Option<Value>,
    warnings: Vec<String>,
}

/// Applies a file, or says everything that is wrong with it and changes nothing.
pub async fn apply(app: &App, caller: &Caller, application: Application<'_>) -> Result<Vec<WorkloadApplied>> {
    let rights = Rights::of(app, caller.is_admin(), &application.subject.name);
    let manifests = match application.mode {
        Mode::Apply => manifests::read(application.text, &rights)?,
        Mode::Create(kind) | Mode::Update(kind) => {
            vec![manifests::read_one(application.text, kind.as_str(), &rights)?]
        }
    };
    let file = match application.file {
        Some(given) => files::checked_name(given)?,
        None => format!("{}-{}.yaml", manifests[0].kind.name.to_ascii_lowercase(), manifests[0].name),
    };
    let text = String::from_utf8(application.text.to_vec()).map_err(Error::internal)?;
    let is_one = manifests.len() == 1;
    let texts = if is_one { Some(vec![text.clone()]) } else { manifests::texts(&text, &manifests, &rights) };
    let contents = match texts {
        Some(texts) => texts,
        None => manifests.iter().map(|manifest| to_text(&manifest.object)).collect::<Result<_>>()?,
    };
    let mut items = Vec::with_capacity(manifests.len());
    for (manifest, content) in manifests.into_iter().zip(contents) {
        items.push(prepare(app, &application, manifest, content).await?);
    }
    let mut wrong = Vec::new();
    for item in &mut items {
        wrong.extend(find_images(app, application.subject, item, is_one).await?);
    }
    manifests::refuse(wrong)?;
    for item in &mut items {
        attempt(item).await?;
    }
    if application.is_dry_run {
        return items.iter().map(|item| applied(item, &file, None, &item.tried)).collect();
    }
    files::write(app, &application.subject.name, &file, text).await?;
    // Stored together, so that of a file there is everything or nothing, whenever the server dies.
    let tx = app.db.begin().await?;
    let mut stored = Vec::with_capacity(items.len());
    for item in items {
        let revision = keep(app, caller, &tx, &item, &file).await?;
        stored.push((item, revision));
    }
    tx.commit().await?;
    let mut done = Vec::with_capacity(stored.len());
    for (item, revision) in stored {
        match carry_out(app, &item, revision, &file).await {
            // One that does not answer is not waited for again for each of the others.
            Err(error) if matches!(error.kind, ErrorKind::Unavailable) => {
                app.signals.workloads.notify_one();
                return Err(error.hint(STORED));
            }
            outcome => done.push(outcome),
        }
    }
    done.into_iter().collect()
}

pub(super) fn to_text(object: &Value) -> Result<String> {
    serde_json::to_string_pretty(object).map_err(Error::internal)
}

/// Finds the namespace and what is there already.
async fn prepare(
    app: &App,
    application: &Application<'_>,
    manifest: Manifest,
    content: String,
) -> Result<Item> {
    let subject = application.subject;
    let namespace = place_of(app, subject, application.namespace, manifest.namespace.as_ref()).await?;
    let cluster = usable(app, &namespace).await?;
    let kind: WorkloadKind = manifest.kind.name.parse()?;
    let found = workloads::named(&app.db, namespace.id, kind, &manifest.name).await?;
    let row = found.filter(|row| row.desired == Desired::Applied);
    let id = row.as_ref().map_or_else(|| WorkloadId(uuid::Uuid::now_v7()), |row| row.id);
    let path = path_of(manifest.kind, &namespace, &manifest.name);
    let was = cluster.find(As::Tenant(&namespace.name), &path).await?;
    let what = format!("{} `{}`", manifest.kind.name, manifest.name);
    match application.mode {
        Mode::Create(_) if row.is_some() || was.is_some() => {
            return Err(Error::conflict(
                "exists",
                format!("there is a {what} in `{}` already", namespace.name),
            )
            .hint("update it, or choose another name"));
        }
        Mode::Update(_) if row.is_none() => {
            return Err(Error::new(
                ErrorKind::NotFound,
                "not_found",
                format!("there is no {what} in `{}`", namespace.name),
            )
            .hint("create it first"));
        }
        _ => {}
    }
    let mut manifest = manifest;
    manifests::place(&mut manifest.object, &namespace.name, &id.to_string());
    Ok(Item {
        manifest,
        namespace,
        cluster,
        row,
        id,
        content,
        images: Vec::new(),
        tried: Value::Null,
        was,
        warnings: Vec::new(),
    })
}

/// The namespace is the parameter, else the document's, else the account's only one.
async fn place_of(
    app: &App,
    subject: &Subject,
    parameter: Option<&str>,
    document: Option<&NamespaceName>,
) -> Result<Namespace> {
    let own = async |field: &str, name: &str| {
        let parsed = name.parse::<NamespaceName>().map_err(|error| Error::invalid(field, error))?;
        let found = namespaces::of_account(app, subject.account, &parsed).await?;
        Ok::<_, Error>(found)
    };
    let named = match parameter {
        None => None,
        Some(name) => Some(own("namespace", name).await?.ok_or_else(|| Error::not_found("namespace", name))?),
    };
    let written = match document {
        None => None,
        Some(name) => Some(own("metadata.namespace", name.as_str()).await?.ok_or_else(|| {
            Error::invalid(
                "metadata.namespace",
                format!("`metadata.namespace` names `{name}`, and you have no such namespace"),
            )
        })?),
    };
    match (named, written) {
        (Some(named), Some(written)) if named.id != written.id => Err(Error::invalid(
            "namespace",
            format!("the request names the namespace `{}`, and the file `{}`", named.name, written.name),
        )),
        (Some(found), _) | (None, Some(found)) => Ok(found),
        (None, None) => namespaces::only_one(app, subject).await,
    }
}

/// Puts what the nodes pull in the place of images of our registry, by their digest, so that a tag that moves later changes
/// nothing until the file is applied again. Other images stay as they are written.
async fn find_images(app: &App, subject: &Subject, item: &mut Item, is_one: bool) -> Result<Vec<Violation>> {
    let registry = namespaces::registry_address(app);
    let mut wrong = Vec::new();
    for at in manifests::images(item.manifest.kind, &item.manifest.object) {
        let path = if is_one { at.path.clone() } else { format!("{}: {}", item.manifest.name, at.path) };
        match resolved(app, subject, &registry, &at.image).await? {
            Ok(image) => {
                manifests::set_image(&mut item.manifest.object, &at, &image);
                item.images.push(image);
            }
            Err(message) => wrong.push(Violation { path, message }),
        }
    }
    Ok(wrong)
}

/// What nodes pull for an image as it is written, or what is wrong with it.
pub(in crate::domain) async fn resolved(
    app: &App,
    subject: &Subject,
    registry: &str,
    written: &str,
) -> Result<std::result::Result<String, String>> {
    let is_clean = written.len() <= 500 && written.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_clean {
        return Ok(Err("is no name of an image".to_owned()));
    }
    // Nodes know the registry by one name, this machine's engine by another.
    let own_names = [registry, &app.config.registry_listen.to_string()];
    let local = own_names.iter().find_map(|own| written.strip_prefix(*own)?.strip_prefix('/'));
    // As our own answers have it: a name and what it meant then.
    let (plain, digest) = match local.unwrap_or(written).split_once('@') {
        Some((plain, digest)) => (plain, Some(digest.parse::<Digest>())),
        None => (local.unwrap_or(written), None),
    };
    let (Ok(reference), Ok(digest)) = (plain.parse::<ImageReference>(), digest.transpose()) else {
        return Ok(match local {
            Some(_) => Err(format!("is no image of this registry: use `{registry}/ACCOUNT/NAME:TAG`")),
            None => Ok(written.to_owned()),
        });
    };
    let has_owner = reference.owner.is_some();
    let name = reference.with_default_owner(&subject.owner());
    let is_reachable = name.owner.is_public() || name.owner == subject.owner();
    let found = if is_reachable { images::for_cluster(app, &name, digest).await? } else { None };
    Ok(match found {
        Some(digest) => Ok(format!("{registry}/{name}@{digest}")),
        // What names this registry or an owner in it means it; a bare name may mean a public one elsewhere.
        None if local.is_some() || (has_owner && is_reachable) => Err(missing(&name)),
        None => Ok(written.to_owned()),
    })
}

fn missing(name: &ImageName) -> String {
    format!("there is no image `{name}` that you may use")
}

/// Asks the cluster what would come of it.
async fn attempt(item: &mut Item) -> Result<()> {
    let who = As::Tenant(&item.namespace.name);
    let path = path_of(item.manifest.kind, &item.namespace, &item.manifest.name);
    let answer = item.cluster.apply(who, &path, &item.manifest.object, true, true).await?;
    item.tried = answer.body;
    item.warnings = answer.warnings;
    Ok(())
}

/// Stores a workload's new revision; its number.
async fn keep(app: &App, caller: &Caller, tx: &store::Tx, item: &Item, file: &str) -> Result<u64> {
    let now = app.now();
    let kind: WorkloadKind = item.manifest.kind.name.parse()?;
    let revision = if let Some(row) = &item.row {
        workloads::set_unapplied(tx, row.id).await?;
        row.revision + 1
    } else {
        insert(tx, item, kind, file, now).await?;
        1
    };
    let stored = Revision {
        revision,
        account_id: caller.account,
        file: file.to_owned(),
        content: item.content.clone(),
        created_at: now,
    };
    workloads::add_revision(tx, item.id, &stored, REVISIONS_KEPT).await.map_err(|error| match error {
        store::Error::Duplicate => {
            let what = format!("the {} `{}`", kind.as_str(), item.manifest.name);
            Error::conflict("changed_meanwhile", format!("somebody else has just changed {what}"))
                .hint("look at it, and apply the file again")
        }
        other => other.into(),
    })?;
    record(app, caller, tx, "workload.apply", item.manifest.kind, &item.namespace, &item.manifest.name)
        .await?;
    Ok(revision)
}

/// Brings a stored revision into the cluster.
async fn carry_out(app: &App, item: &Item, revision: u64, file: &str) -> Result<WorkloadApplied> {
    let who = As::Tenant(&item.namespace.name);
    let path = path_of(item.manifest.kind, &item.namespace, &item.manifest.name);
    let made = item.cluster.apply(who, &path, &item.manifest.object, true, false).await?;
    if let Some(uid) = made.body["metadata"]["uid"].as_str() {
        workloads::set_applied(&app.db, item.id, revision, uid).await?;
    }
    applied(item, file, Some(revision), &made.body)
}

/// A workload that is not there yet.
async fn insert(tx: &store::Tx, item: &Item, kind: WorkloadKind, file: &str, now: Timestamp) -> Result<()> {
    if workloads::of_namespaces(tx, &[item.namespace.id]).await?.len() >= WORKLOADS_MAX {
        let detail = format!("a namespace holds {WORKLOADS_MAX} workloads at most");
        return Err(Error::conflict("too_many_workloads", detail));
    }
    let row = Row {
        id: item.id,
        namespace_id: item.namespace.id,
        kind,
        name: item.manifest.name.clone(),
        file: file.to_owned(),
        desired: Desired::Applied,
        revision: 1,
        uid: None,
        created_at: now,
        updated_at: now,
    };
    workloads::insert(tx, &row).await.map_err(|error| match error {
        store::Error::Duplicate => {
            let what = format!("{} `{}`", kind.as_str(), row.name);
            Error::conflict("exists", format!("there is a {what} already, or it is being deleted"))
        }
        other => other.into(),
    })
}

fn applied(item: &Item, file: &str, revision: Option<u64>, object: &Value) -> Result<WorkloadApplied> {
    let status = match &item.was {
        None => "created",
        Some(was)
            if was["metadata"]["generation"] == object["metadata"]["generation"]
                && was["metadata"]["resourceVersion"] == object["metadata"]["resourceVersion"] =>
        {
            "unchanged"
        }
        Some(_) => "updated",
    };
    Ok(WorkloadApplied {
        namespace: item.namespace.name.clone(),
        name: item.manifest.name.clone(),
        uid: object["metadata"]["uid"].as_str().map(str::to_owned),
        kind: item.manifest.kind.name.parse()?,
        revision,
        replicas: object["spec"]["replicas"].as_u64(),
        images: item.images.clone(),
        file: file.to_owned(),
        status: status.to_owned(),
        warnings: item.warnings.clone(),
        changes: changes::between(item.was.as_ref(), object),
    })
}

/// Applies an earlier revision again, as a new one.
pub async fn rollback(
    app: &App,
    caller: &Caller,
    id: WorkloadId,
    revision: Option<u64>,
) -> Result<WorkloadApplied> {
    let (row, namespace) = find(app, caller, id).await?;
    let kept = workloads::revisions(&app.db, id).await?;
    let wanted = revision.unwrap_or_else(|| row.revision.saturating_sub(1));
    if wanted == 0 {
        let detail = format!("there is nothing before revision 1 of `{}`", row.name);
        return Err(
            Error::new(ErrorKind::NotFound, "not_found", detail).hint("change the file and apply it again")
        );
    }
    let Some(found) = kept.into_iter().find(|kept| kept.revision == wanted) else {
        return Err(Error::not_found("revision", wanted).hint("only the newest ones are kept"));
    };
    let subject = Subject { account: namespace.account_id, name: namespace.account.clone() };
    let application = Application {
        subject: &subject,
        namespace: Some(namespace.name.as_str()),
        file: Some(&found.file),
        text: found.content.as_bytes(),
        mode: Mode::Update(row.kind),
        is_dry_run: false,
    };
    let done = apply(app, caller, application).await?;
    done.into_iter().next().ok_or_else(|| Error::internal("an applied file answered nothing"))
}

/// Finishes what a server that died left half done: applies what is stored, takes away what is to go. What was stored since
/// this server `began` may still be in the hands of whoever stored it.
pub async fn settle(app: &App, row: &Row, began: Timestamp) -> Result<()> {
    let is_fresh = row.updated_at >= began && row.updated_at > app.now().plus_secs(-HANDS_OFF_SECS);
    if is_fresh && row.desired == Desired::Applied {
        return Ok(());
    }
    let Some(namespace) = store::namespaces::get(&app.db, row.namespace_id).await? else { return Ok(()) };
    let Ok(cluster) = usable(app, &namespace).await else { return Ok(()) };
    if row.desired == Desired::Deleted {
        return remove(app, &cluster, &namespace, row).await;
    }
    let kind = kind_of(row.kind)?;
    let kept = workloads::revisions(&app.db, row.id).await?;
    let Some(current) = kept.into_iter().find(|kept| kept.revision == row.revision) else { return Ok(()) };
    let subject = Subject { account: namespace.account_id, name: namespace.account.clone() };
    // Its writer may have been an admin, and was allowed what it says when it was stored.
    let rights = Rights::of(app, true, &subject.name);
    let manifest = manifests::read_one(current.content.as_bytes(), kind.name, &rights)?;
    let (who, path) = (As::Tenant(&namespace.name), path_of(kind, &namespace, &row.name));
    let was = cluster.find(who, &path).await?;
    if was.as_ref().is_some_and(|was| !is_ours(was, row.id)) {
        return Err(not_ours(kind, &row.name));
    }
    let mut item = Item {
        manifest,
        cluster,
        row: Some(row.clone()),
        id: row.id,
        content: current.content,
        images: Vec::new(),
        tried: Value::Null,
        was,
        warnings: Vec::new(),
        namespace,
    };
    manifests::place(&mut item.manifest.object, &item.namespace.name, &row.id.to_string());
    manifests::refuse(find_images(app, &subject, &mut item, true).await?)?;
    let made = item
        .cluster
        .apply(As::Tenant(&item.namespace.name), &path, &item.manifest.object, true, false)
        .await?;
    if let Some(uid) = made.body["metadata"]["uid"].as_str() {
        workloads::set_applied(&app.db, row.id, row.revision, uid).await?;
    }
    Ok(())
}
