//! Images: what is in the registry under which name, and what depends on what. Tags are rows here; the registry keeps
//! content by digest. Every change of a tag is one transaction; content is removed afterwards, by a job.

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _};
use store::images::{self, Row};
use store::{Conn, Tx, accounts, containers, jobs};
use wire::accounts::AccountState;
use wire::ids::{AccountId, BuildId, ImageId};
use wire::images::{
    CreateParameters, DependentContainer, DependentImage, Dependents, ImageSource, ImageState, ImageTag,
    ImageUpdate, ImageView, LayerView, RepositoryView,
};
use wire::names::{AccountName, Digest, ImageName, ImageReference, Owner, RepoName, Tag};
use wire::page::{MAX_LIMIT, Page, PageQuery};

use super::accounts::Named;
use super::audit::{self, Event};
use super::chart_pushes;
use super::hosted_charts;
use crate::app::App;
use crate::caller::{Caller, Proof, RequestContext, Subject};
use crate::clients::registry::client::{self, StoredManifest};
use crate::clients::registry::manifest::{self, ChartManifest, Descriptor, Manifest};
use crate::clients::registry::{Hold, Repository};
use crate::error::{Error, ErrorKind, Result};

/// Longest name to show, in characters.
const MAX_DISPLAY_NAME: usize = 100;
/// Longest description, in characters.
const MAX_DESCRIPTION: usize = 2_000;
/// Blobs that are asked for at the same time.
const PARALLEL: usize = 8;
/// Dependents that a refusal lists.
const MAX_LISTED: usize = 100;
/// Rows of a repository that are looked at for an index that still needs a manifest.
const MAX_SIBLINGS: u64 = 512;

/// What the registry has of an image, verified: the manifest and every blob, with the sizes that the manifest names.
#[derive(Debug)]
pub struct ImageFacts {
    /// Compressed size in bytes: configurations and layers.
    pub size_bytes: u64,
    /// The layers, base first; of an index, those of the image for our kind of machine.
    pub layers: Vec<LayerView>,
    /// How containers of it are made by default.
    pub create_parameters: CreateParameters,
    /// The chart that it is, when it is no image.
    pub chart: Option<ChartManifest>,
    /// Keeps the content where it is; to be held until the transaction with the image's row is committed.
    pub hold: Hold,
}

/// What makes an image's row.
#[derive(Clone, Debug)]
pub struct NewImage {
    /// Owner part of the name.
    pub owner: Owner,
    /// Repository part of the name.
    pub repo: RepoName,
    /// Tag part of the name; one that exists is moved.
    pub tag: Option<Tag>,
    /// The manifest's digest.
    pub digest: Digest,
    /// Compressed size in bytes.
    pub size_bytes: u64,
    /// The layers, base first.
    pub layers: Vec<LayerView>,
    /// How containers of it are made by default.
    pub create_parameters: CreateParameters,
    /// What made it.
    pub source: ImageSource,
    /// The build that made it.
    pub build_id: Option<BuildId>,
    /// Who made it.
    pub account: Option<AccountId>,
    /// The image that it is known to be built on, by the name that its Dockerfile gave; else its layers tell.
    pub base: Option<ImageReference>,
    /// The image that it was saved from, which is known for sure.
    pub parent: Option<ImageId>,
    /// What is said of this content; without it a tag that moves keeps what was said of it.
    pub description: Option<String>,
}

/// Which images to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only this account's own (for others than the caller: admins).
    pub account: Option<String>,
    /// Only of this owner.
    pub owner: Option<Owner>,
    /// Only of this repository.
    pub repo: Option<RepoName>,
    /// Name or display name contains this.
    pub search: Option<String>,
    /// Also images whose tag moved on.
    pub untagged: bool,
}

/// Lists images, newest first: the caller's own and the public ones; for admins all.
pub async fn list(app: &App, caller: &Caller, filter: Filter, page: PageQuery) -> Result<Page<ImageView>> {
    let owners = match &filter.account {
        Some(name) => {
            Some(vec![super::accounts::subject(app, caller, Some(Named::Account(name))).await?.owner()])
        }
        None if caller.is_admin() => None,
        None => Some(vec![caller.owner(), Owner::public()]),
    };
    let owners = narrowed(owners, filter.owner);
    let search = filter.search.as_deref().map(str::trim).filter(|text| !text.is_empty());
    let wanted = images::Filter {
        owners: owners.as_deref(),
        repo: filter.repo.as_ref(),
        search,
        untagged: filter.untagged,
        ..images::Filter::default()
    };
    let found = images::list(&app.db, wanted, page).await?;
    Ok(super::page_of(found, page, |row| view(app, row)))
}

/// Of these owners only the wanted one; none of them when it is not among them.
fn narrowed(owners: Option<Vec<Owner>>, wanted: Option<Owner>) -> Option<Vec<Owner>> {
    match (owners, wanted) {
        (owners, None) => owners,
        (None, Some(wanted)) => Some(vec![wanted]),
        (Some(owners), Some(wanted)) => Some(owners.into_iter().filter(|owner| *owner == wanted).collect()),
    }
}

/// An account's own images with a tag, newest first; all of them when no page is given.
pub async fn list_of(
    app: &App,
    subject: &Subject,
    repo: Option<&RepoName>,
    page: Option<PageQuery>,
) -> Result<Vec<ImageView>> {
    let owners = [subject.owner()];
    let filter = images::Filter { owners: Some(&owners), repo, ..images::Filter::default() };
    let mut views = Vec::new();
    loop {
        let offset = Some(views.len() as u64);
        let one = page.unwrap_or(PageQuery { limit: Some(MAX_LIMIT), offset });
        let found = images::list(&app.db, filter, one).await?;
        let count = found.rows.len() as u64;
        views.extend(found.rows.into_iter().map(|row| view(app, row)));
        if page.is_some() || count < MAX_LIMIT {
            return Ok(views);
        }
    }
}

/// Lists repositories by name: the caller's own and the public ones; for admins all.
pub async fn repositories(
    app: &App,
    caller: &Caller,
    account: Option<&str>,
    page: PageQuery,
) -> Result<Page<RepositoryView>> {
    let owners = match account {
        Some(name) => {
            Some(vec![super::accounts::subject(app, caller, Some(Named::Account(name))).await?.owner()])
        }
        None if caller.is_admin() => None,
        None => Some(vec![caller.owner(), Owner::public()]),
    };
    let found = images::repositories(&app.db, owners.as_deref(), page).await?;
    Ok(super::page_of(found, page, |row| row))
}

/// An account's own repositories by name; all of them when no page is given.
pub async fn repositories_of(
    app: &App,
    subject: &Subject,
    page: Option<PageQuery>,
) -> Result<Vec<RepositoryView>> {
    let owners = [subject.owner()];
    let mut views = Vec::new();
    loop {
        let offset = Some(views.len() as u64);
        let one = page.unwrap_or(PageQuery { limit: Some(MAX_LIMIT), offset });
        let found = images::repositories(&app.db, Some(&owners), one).await?;
        let count = found.rows.len() as u64;
        views.extend(found.rows);
        if page.is_some() || count < MAX_LIMIT {
            return Ok(views);
        }
    }
}

/// One image.
pub async fn get(app: &App, caller: &Caller, id: ImageId) -> Result<ImageView> {
    Ok(view(app, visible(&app.db, caller, id).await?))
}

/// The image that has this name now. Somebody else's does not exist for the caller.
pub async fn by_name(app: &App, caller: &Caller, name: &ImageName) -> Result<ImageView> {
    let row = if caller.may_pull(&name.owner) { ready(&app.db, name).await? } else { None };
    row.map(|row| view(app, row)).ok_or_else(|| Error::not_found("image", name))
}

/// The digest under which nodes of clusters pull the image that has this name now, or the one that is asked for when its repository
/// has it; whoever asks has to be allowed to.
pub(super) async fn for_cluster(
    app: &App,
    name: &ImageName,
    digest: Option<Digest>,
) -> Result<Option<Digest>> {
    let Some(digest) = digest else { return Ok(ready(&app.db, name).await?.map(|row| row.digest)) };
    let count = images::count_by_digest(&app.db, &name.owner, &name.repo, &digest).await?;
    Ok((count > 0).then_some(digest))
}

/// Changes what is shown of an image.
pub async fn update(app: &App, caller: &Caller, id: ImageId, change: &ImageUpdate) -> Result<ImageView> {
    let display_name = checked(change.display_name.as_ref(), "display_name", MAX_DISPLAY_NAME, false)?;
    let description = checked(change.description.as_ref(), "description", MAX_DESCRIPTION, true)?;
    let tx = app.db.begin().await?;
    let row = visible(&tx, caller, id).await?;
    may_change(caller, &row.owner)?;
    images::update_texts(&tx, id, display_name, description, app.now()).await?;
    let row = images::get(&tx, id).await?.ok_or_else(|| Error::not_found("image", id))?;
    let event = Event { action: "image.update", target: &shown_name(&row), acting_for: row.account_id };
    audit::record(app, caller, &tx, event).await?;
    tx.commit().await?;
    Ok(view(app, row))
}

/// A text to show: absent stays, null and empty empty it. Control characters could forge a terminal's lines.
#[expect(clippy::option_option, reason = "absent and null mean different things in a partial update")]
fn checked<'a>(
    given: Option<&'a Option<String>>,
    field: &str,
    most: usize,
    lines: bool,
) -> Result<Option<Option<&'a str>>> {
    let Some(given) = given else { return Ok(None) };
    let text = given.as_deref().map(str::trim).filter(|text| !text.is_empty());
    if let Some(text) = text {
        let is_allowed = |c: char| !c.is_control() || (lines && matches!(c, '\n' | '\t' | '\r'));
        if text.chars().count() > most || !text.chars().all(is_allowed) {
            return Err(Error::invalid(
                field,
                format!("`{field}` has at most {most} characters, none of them control characters"),
            ));
        }
    }
    Ok(Some(text))
}

/// Gives an image another name. Within its repository that is a row; into another repository the registry mounts the
/// content, without moving a byte.
pub async fn tag(app: &App, caller: &Caller, id: ImageId, wanted: &ImageTag) -> Result<ImageView> {
    let source = visible(&app.db, caller, id).await?;
    let name = &wanted.name;
    may_change(caller, &name.owner)?;
    if source.source == ImageSource::Chart {
        return Err(Error::conflict(
            "is_a_chart",
            format!("`{}` is a chart; its tag is its version", shown_name(&source)),
        )
        .hint("push it under another version with `helm push`"));
    }
    let owner_account = account_of(app, &name.owner, caller.account).await?;
    let from = Repository::new(&source.owner, &source.repo);
    let to = Repository::from(name);
    // Until the row is there, what is copied looks like something that nobody needs.
    let _writer = app.registry.gate().enter(None).await?;
    let copying = app.registry.hold_to_copy(&to).await;
    // Also within one repository: the content must be there and stay until the row is.
    let facts = match inspect(app, &name.owner, &name.repo, &source.digest).await {
        Ok(facts) => facts,
        // What is there already is not copied again: somebody may be reading it.
        Err(_) if from != to => {
            copy(app, &from, &to, &source.digest).await?;
            inspect(app, &name.owner, &name.repo, &source.digest).await?
        }
        Err(error) => return Err(error),
    };
    drop(copying);
    let new = NewImage {
        owner: name.owner.clone(),
        repo: name.repo.clone(),
        tag: Some(name.tag.clone()),
        digest: source.digest.clone(),
        size_bytes: facts.size_bytes,
        layers: facts.layers.clone(),
        create_parameters: facts.create_parameters.clone(),
        source: ImageSource::Tag,
        build_id: source.build_id,
        account: Some(owner_account),
        base: None,
        parent: None,
        description: None,
    };
    let tx = app.db.begin().await?;
    // What was visible a moment ago may have been deleted meanwhile.
    visible(&tx, caller, id).await?;
    let row = insert_ready(app, &tx, new).await?;
    let event = Event { action: "image.tag", target: &name.to_string(), acting_for: row.account_id };
    audit::record(app, caller, &tx, event).await?;
    tx.commit().await?;
    drop(facts.hold);
    app.signals.jobs.any();
    Ok(view(app, row))
}

/// Deletes an image, unless others were built on it or containers were made from it: 409 with what depends on it. A chart goes
/// from its account's charts, too.
pub async fn delete(app: &App, caller: &Caller, id: ImageId) -> Result<()> {
    let row = visible(&app.db, caller, id).await?;
    if row.source == ImageSource::Chart
        && let Some(tag) = &row.tag
        && may_change(caller, &row.owner).is_ok()
    {
        let version = manifest::version_of(tag.as_str());
        match hosted_charts::delete(app, caller, row.owner.as_str(), row.repo.as_str(), &version).await {
            // Its repository was deleted: what is left is the row here.
            Err(error) if error.kind == ErrorKind::NotFound => {}
            done => return done,
        }
    }
    let tx = app.db.begin().await?;
    let row = visible(&tx, caller, id).await?;
    may_change(caller, &row.owner)?;
    let (images, containers) = images::dependents(&tx, id).await?;
    if !images.is_empty() || !containers.is_empty() {
        return Err(has_dependents(caller, &row, &images, &containers));
    }
    remove(app, &tx, &row).await?;
    let event = Event { action: "image.delete", target: &shown_name(&row), acting_for: row.account_id };
    audit::record(app, caller, &tx, event).await?;
    tx.commit().await?;
    app.signals.jobs.any();
    Ok(())
}

/// Deletes the image that has this name now.
pub async fn delete_by_name(app: &App, caller: &Caller, name: &ImageName) -> Result<()> {
    delete(app, caller, by_name(app, caller, name).await?.id).await
}

/// What still needs an image.
pub async fn dependents(app: &App, caller: &Caller, id: ImageId) -> Result<Dependents> {
    visible(&app.db, caller, id).await?;
    let (images, containers) = images::dependents(&app.db, id).await?;
    Ok(dependents_view(caller, &images, &containers, usize::MAX))
}

fn dependents_view(
    caller: &Caller,
    images: &[Row],
    containers: &[containers::Row],
    most: usize,
) -> Dependents {
    let image =
        |row: &Row| DependentImage { id: row.id, name: caller.may_pull(&row.owner).then(|| shown_name(row)) };
    let container = |row: &containers::Row| DependentContainer {
        id: row.id,
        name: caller.may_act_for(row.account_id).then(|| row.name.to_string()),
    };
    Dependents {
        images: images.iter().take(most).map(image).collect(),
        containers: containers.iter().take(most).map(container).collect(),
    }
}

fn has_dependents(caller: &Caller, row: &Row, images: &[Row], containers: &[containers::Row]) -> Error {
    let of = |count: usize, one: &str, many: &str| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    };
    let parts = [
        (images.len(), of(images.len(), "image was built on it", "images were built on it")),
        (
            containers.len(),
            of(containers.len(), "container was made from it", "containers were made from it"),
        ),
    ];
    let parts: Vec<String> =
        parts.into_iter().filter(|(count, _)| *count > 0).map(|(_, text)| text).collect();
    let listed = dependents_view(caller, images, containers, MAX_LISTED);
    let listed = serde_json::to_value(listed).unwrap_or_default();
    Error::conflict("has_dependents", format!("`{}` is still needed: {}", shown_name(row), parts.join(", ")))
        .hint("delete those first")
        .with("dependents", listed)
}

pub(super) async fn visible(conn: &dyn Conn, caller: &Caller, id: ImageId) -> Result<Row> {
    let row = images::get(conn, id).await?.filter(|row| caller.may_pull(&row.owner));
    row.ok_or_else(|| Error::not_found("image", id))
}

async fn ready(conn: &dyn Conn, name: &ImageName) -> Result<Option<Row>> {
    Ok(images::by_name(conn, name).await?.filter(|row| row.state == ImageState::Ready))
}

fn may_change(caller: &Caller, owner: &Owner) -> Result<()> {
    if caller.may_push(owner) {
        return Ok(());
    }
    if owner.is_public() {
        return Err(Error::forbidden("public_admin_only", "only an admin can change public images"));
    }
    Err(Error::forbidden("not_yours", "this names another account's images; you can change your own only"))
}

/// Whose number an image of this owner carries: the owner's; of public images, the maker's.
async fn account_of(app: &App, owner: &Owner, maker: AccountId) -> Result<AccountId> {
    if owner.is_public() {
        return Ok(maker);
    }
    let name: AccountName = owner.as_str().parse().map_err(|_| Error::not_found("account", owner))?;
    let row = accounts::by_name(&app.db, &name).await?;
    row.map(|row| row.id).ok_or_else(|| Error::not_found("account", owner))
}

/// The name with its tag, or with its digest when the tag has moved on.
pub(super) fn shown_name(row: &Row) -> String {
    match &row.tag {
        Some(tag) => format!("{}/{}:{tag}", row.owner, row.repo),
        None => format!("{}/{}@{}", row.owner, row.repo, row.digest),
    }
}

fn view(app: &App, row: Row) -> ImageView {
    let name = shown_name(&row);
    ImageView {
        pull: format!("{}/{name}", app.config.registry_name()),
        name,
        id: row.id,
        owner: row.owner,
        repo: row.repo,
        tag: row.tag,
        digest: row.digest,
        size_bytes: row.size_bytes,
        layers: row.layers,
        parent_image_id: row.parent_image_id,
        display_name: row.display_name,
        description: row.description,
        create_parameters: row.create_parameters,
        source: row.source,
        build_id: row.build_id,
        state: row.state,
        created_at: row.created_at,
    }
}

/// Writes the row of an image whose content was verified by [`inspect`], in the caller's transaction. A tag that exists
/// moves: the image that had it keeps a row without a tag while something depends on it, and is removed otherwise.
/// Writing the same content under the same tag again finds the first row. Wake the job workers after the commit.
pub async fn insert_ready(app: &App, tx: &Tx, new: NewImage) -> Result<Row> {
    let now = app.now();
    check_is_of_a_kind(tx, &new).await?;
    let old = match &new.tag {
        Some(tag) => {
            let name = ImageName { owner: new.owner.clone(), repo: new.repo.clone(), tag: tag.clone() };
            images::by_name(tx, &name).await?
        }
        None => None,
    };
    if let Some(old) = &old {
        if old.digest == new.digest && old.state == ImageState::Ready {
            return Ok(old.clone());
        }
        images::untag(tx, old.id, now).await?;
    }
    let owners = [new.owner.clone(), Owner::public()];
    let named = match new.base {
        Some(base) => ready(tx, &base.with_default_owner(&new.owner)).await?,
        None => None,
    };
    let named = named.filter(|base| owners.contains(&base.owner) && base.digest != new.digest);
    let saved_from = match new.parent {
        // Its container, which kept it, may be gone, and then it may be, too.
        Some(parent) => images::get(tx, parent).await?.filter(|parent| parent.digest != new.digest),
        None => None,
    };
    let parent_image_id = match saved_from.or(named) {
        Some(base) => Some(base.id),
        None => images::parent_of_layers(tx, &owners, &new.layers).await?,
    };
    let (display_name, description) =
        old.as_ref().map(|old| (old.display_name.clone(), old.description.clone())).unwrap_or_default();
    let row = images::New {
        account_id: new.account,
        owner: new.owner,
        repo: new.repo,
        tag: new.tag,
        digest: new.digest,
        size_bytes: new.size_bytes,
        layers: new.layers,
        parent_image_id,
        // These describe the name as much as the content.
        display_name,
        description: new.description.or(description),
        create_parameters: new.create_parameters,
        source: new.source,
        build_id: new.build_id,
        state: ImageState::Ready,
        now,
    };
    let row = images::insert(tx, &row).await?;
    if let Some(old) = old {
        release(app, tx, old.id).await?;
    }
    Ok(row)
}

/// A repository holds images or versions of one chart, never both: who may pull a public chart pulls nothing else.
async fn check_is_of_a_kind(tx: &Tx, new: &NewImage) -> Result<()> {
    let is_chart = new.source == ImageSource::Chart;
    let there = images::sources(tx, &new.owner, &new.repo).await?;
    if there.iter().all(|source| (*source == ImageSource::Chart) == is_chart) {
        return Ok(());
    }
    let name = format!("{}/{}", new.owner, new.repo);
    let detail = if is_chart {
        format!("`{name}` holds images, and no charts beside them")
    } else {
        format!("`{name}` holds a chart, and no images beside it")
    };
    Err(Error::conflict("repository_of_another_kind", detail)
        .hint("give it another name, or delete what is there"))
}

/// Removes an image that has no tag once nothing depends on it any more, and then what it was built on if the same holds
/// there. To be called, in the same transaction, by whoever removes a dependent.
pub async fn release(app: &App, tx: &Tx, id: ImageId) -> Result<()> {
    let Some(row) = images::get(tx, id).await? else { return Ok(()) };
    if row.tag.is_some() {
        return Ok(());
    }
    let (images, containers) = images::dependents(tx, id).await?;
    if images.is_empty() && containers.is_empty() {
        remove(app, tx, &row).await?;
    }
    Ok(())
}

/// Removes a row on which nothing depends, leaves the content to a job when it was the last row of it, and goes on to
/// the parent.
async fn remove(app: &App, tx: &Tx, row: &Row) -> Result<()> {
    let in_use = |error| match error {
        store::Error::InUse => {
            Error::conflict("has_dependents", format!("`{}` is needed by something new", shown_name(row)))
                .hint("try again to see by what")
        }
        other => other.into(),
    };
    images::delete(tx, row.id).await.map_err(in_use)?;
    if images::count_by_digest(tx, &row.owner, &row.repo, &row.digest).await? == 0 {
        let now = app.now();
        let target = format!("{}/{}@{}", row.owner, row.repo, row.digest);
        let job = jobs::New {
            kind: jobs::Kind::DeleteImage,
            target: &target,
            account_id: row.account_id,
            run_at: now,
            now,
        };
        jobs::enqueue(tx, &job).await?;
    }
    if let Some(parent) = row.parent_image_id {
        Box::pin(release(app, tx, parent)).await?;
    }
    Ok(())
}

/// Takes a version of a chart out of the registry, if it was pushed there. Wake the job workers after the commit.
pub(super) async fn remove_chart(
    app: &App,
    tx: &Tx,
    owner: &AccountName,
    chart: &str,
    version: &str,
) -> Result<()> {
    let parts = (owner.as_str().parse(), chart.parse(), manifest::tag_of(version).parse());
    // What has no name in the registry is not in it.
    let (Ok(owner), Ok(repo), Ok(tag)) = parts else { return Ok(()) };
    let row = images::by_name(tx, &ImageName { owner, repo, tag }).await?;
    match row.filter(|row| row.source == ImageSource::Chart) {
        Some(row) => remove(app, tx, &row).await,
        None => Ok(()),
    }
}

/// Takes all charts of an account out of the registry. Wake the job workers after the commit.
pub(super) async fn remove_charts(app: &App, tx: &Tx, owner: &AccountName) -> Result<()> {
    let Ok(owner) = owner.as_str().parse() else { return Ok(()) };
    for row in images::charts(tx, &owner).await? {
        remove(app, tx, &row).await?;
    }
    Ok(())
}

/// Removes a manifest from the registry when no image of its repository uses it any more. `target` is what
/// [`remove`] wrote: `owner/repo@digest`.
pub async fn delete_content(app: &App, target: &str) -> Result<()> {
    let broken = || Error::internal(format!("`{target}` is not a repository and a digest"));
    let (repository, digest) = target.split_once('@').ok_or_else(broken)?;
    let (repository, digest): (Repository, Digest) = (repository.parse()?, digest.parse()?);
    let _hold = app.registry.hold(&repository, &digest).await;
    if images::count_by_digest(&app.db, &repository.owner, &repository.repo, &digest).await? > 0 {
        return Ok(());
    }
    if is_in_an_index(app, &repository, &digest).await? {
        tracing::debug!(target, "kept: an index of the repository names it");
        return Ok(());
    }
    client::delete_manifest(app, &repository, &digest).await
}

/// Whether an index that has a row names this manifest. When there are too many rows to look at, it is taken to be so:
/// keeping too much costs room, keeping too little costs an image.
async fn is_in_an_index(app: &App, repository: &Repository, digest: &Digest) -> Result<bool> {
    let owners = [repository.owner.clone()];
    let filter = images::Filter {
        owners: Some(&owners),
        repo: Some(&repository.repo),
        untagged: true,
        ..images::Filter::default()
    };
    let page = PageQuery { limit: Some(MAX_SIBLINGS), offset: None };
    let found = images::list(&app.db, filter, page).await?;
    if found.total > MAX_SIBLINGS {
        return Ok(true);
    }
    let digests: std::collections::BTreeSet<Digest> = found.rows.into_iter().map(|row| row.digest).collect();
    for other in digests {
        let Some(stored) = client::manifest(app, repository, &other).await? else { continue };
        if let Ok(Manifest::Index(children)) = Manifest::parse(&stored.bytes)
            && children.iter().any(|child| child.manifest.digest == *digest)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Verifies that the registry has an image: the manifest and every blob that it names, with the right sizes.
pub async fn inspect(app: &App, owner: &Owner, repo: &RepoName, digest: &Digest) -> Result<ImageFacts> {
    let repository = Repository::new(owner, repo);
    let hold = app.registry.hold(&repository, digest).await;
    inspect_held(app, &repository, digest, hold).await
}

/// [`inspect`] for whoever holds the manifest already.
async fn inspect_held(app: &App, repository: &Repository, digest: &Digest, hold: Hold) -> Result<ImageFacts> {
    let stored = stored_manifest(app, repository, digest).await?;
    let manifest = Manifest::parse(&stored.bytes).map_err(unusable)?;
    let chart = ChartManifest::of(&manifest).map_err(unusable)?;
    let (blobs, chosen) = match manifest {
        Manifest::Image { config, layers } => {
            let chosen = Chosen { config: config.clone(), layers: layers.clone() };
            (layers.into_iter().chain([config]).collect::<Vec<_>>(), chosen)
        }
        Manifest::Index(children) => {
            let preferred = manifest::preferred(&children);
            let mut blobs = Vec::new();
            let mut chosen = None;
            for (i, child) in children.iter().enumerate() {
                let stored = stored_manifest(app, repository, &child.manifest.digest).await?;
                if stored.bytes.len() as u64 != child.manifest.size_bytes {
                    return Err(unusable("the index names a wrong size of one of its images".to_owned()));
                }
                let Manifest::Image { config, layers } = Manifest::parse(&stored.bytes).map_err(unusable)?
                else {
                    return Err(unusable("the index names another index".to_owned()));
                };
                if i == preferred {
                    chosen = Some(Chosen { config: config.clone(), layers: layers.clone() });
                }
                blobs.extend(layers.into_iter().chain([config]));
            }
            (blobs, chosen.ok_or_else(|| unusable("the index is empty".to_owned()))?)
        }
    };
    let size_bytes = verify_blobs(app, repository, blobs).await?;
    let create_parameters = if chosen.config.is_container_config() {
        let config = client::config(app, repository, &chosen.config.digest).await?;
        let config =
            config.ok_or_else(|| unusable("the image's configuration is missing or too long".to_owned()))?;
        manifest::create_parameters(&config).map_err(unusable)?
    } else {
        CreateParameters::default()
    };
    let layer = |layer: Descriptor| LayerView { digest: layer.digest, size_bytes: layer.size_bytes };
    let layers = chosen.layers.into_iter().map(layer).collect();
    Ok(ImageFacts { size_bytes, layers, create_parameters, chart, hold })
}

/// The image whose parameters count.
struct Chosen {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

pub(super) fn unusable(reason: String) -> Error {
    Error::new(ErrorKind::Invalid, "image_unusable", reason)
}

pub(super) async fn stored_manifest(
    app: &App,
    repository: &Repository,
    digest: &Digest,
) -> Result<StoredManifest> {
    let found = client::manifest(app, repository, digest).await?;
    found.ok_or_else(|| unusable(format!("the registry does not have the manifest `{digest}`")))
}

/// Asks for every blob once; the sum of their sizes.
async fn verify_blobs(app: &App, repository: &Repository, blobs: Vec<Descriptor>) -> Result<u64> {
    let mut wanted: BTreeMap<Digest, u64> = BTreeMap::new();
    for blob in blobs {
        if *wanted.entry(blob.digest.clone()).or_insert(blob.size_bytes) != blob.size_bytes {
            return Err(unusable(format!("the manifest names two sizes of `{}`", blob.digest)));
        }
    }
    let size_bytes = wanted.values().fold(0_u64, |sum, size| sum.saturating_add(*size));
    futures::stream::iter(wanted)
        .map(|(digest, wanted)| async move {
            match client::blob_size(app, repository, &digest).await? {
                Some(size) if size == wanted => Ok(()),
                Some(size) => Err(unusable(format!(
                    "`{digest}` has {size} bytes in the registry and {wanted} in the manifest"
                ))),
                None => Err(unusable(format!("the registry does not have `{digest}`"))),
            }
        })
        .buffer_unordered(PARALLEL)
        .try_collect::<()>()
        .await?;
    Ok(size_bytes)
}

/// Makes an image's content part of another repository.
async fn copy(app: &App, from: &Repository, to: &Repository, digest: &Digest) -> Result<()> {
    let gone = || Error::conflict("image_gone", "the registry does not have the image's content any more");
    let Some(stored) = client::manifest(app, from, digest).await? else { return Err(gone()) };
    match Manifest::parse(&stored.bytes).map_err(unusable)? {
        Manifest::Image { config, layers } => copy_image(app, from, to, layers, config).await?,
        Manifest::Index(children) => {
            for child in children {
                let child = client::manifest(app, from, &child.manifest.digest).await?.ok_or_else(gone)?;
                let Manifest::Image { config, layers } = Manifest::parse(&child.bytes).map_err(unusable)?
                else {
                    return Err(unusable("the index names another index".to_owned()));
                };
                copy_image(app, from, to, layers, config).await?;
                if !client::put_manifest(app, to, &child).await? {
                    return Err(gone());
                }
            }
        }
    }
    if client::put_manifest(app, to, &stored).await? { Ok(()) } else { Err(gone()) }
}

async fn copy_image(
    app: &App,
    from: &Repository,
    to: &Repository,
    layers: Vec<Descriptor>,
    config: Descriptor,
) -> Result<()> {
    let digests: std::collections::BTreeSet<Digest> =
        layers.into_iter().chain([config]).map(|blob| blob.digest).collect();
    futures::stream::iter(digests)
        .map(|digest| async move {
            if client::mount(app, from, to, &digest).await? {
                return Ok(());
            }
            Err(Error::conflict("image_gone", format!("the registry does not have `{digest}` any more")))
        })
        .buffer_unordered(PARALLEL)
        .try_collect::<()>()
        .await
}

/// What a push through the door is about.
#[derive(Debug)]
pub struct Push {
    /// The name that the client gave.
    pub name: ImageName,
    /// What it pushed.
    pub digest: Digest,
    /// The account that pushes and the account that the image will count for.
    pusher: accounts::Row,
    account: AccountId,
    hold: Hold,
}

/// Admits a push, before the registry hears of it: the account must still be in use and the owner must exist. Holds the
/// manifest until the push is recorded.
pub async fn begin_push(app: &App, pusher: &str, name: ImageName, digest: Digest) -> Result<Push> {
    let refused = || Error::forbidden("denied", "this account may not push here");
    let pusher: AccountName = pusher.parse().map_err(|_| refused())?;
    let pusher = accounts::by_name(&app.db, &pusher).await?;
    let pusher = pusher.filter(|account| account.state == AccountState::Active).ok_or_else(refused)?;
    let account = account_of(app, &name.owner, pusher.id).await?;
    let hold = app.registry.hold(&Repository::from(&name), &digest).await;
    Ok(Push { name, digest, pusher, account, hold })
}

/// Records a push that the registry has taken: verified, then one transaction. Nothing is acknowledged to the client
/// before; a push whose record failed can simply be done again.
pub async fn record_push(app: &App, context: &RequestContext, push: Push) -> Result<()> {
    let Push { name, digest, pusher, account, hold } = push;
    let facts = inspect_held(app, &Repository::from(&name), &digest, hold).await?;
    let caller = Caller {
        account: pusher.id,
        name: pusher.account,
        role: pusher.role,
        proof: Proof::Password,
        ip: context.ip,
        request_id: Some(context.id.clone()),
    };
    let new = NewImage {
        owner: name.owner.clone(),
        repo: name.repo.clone(),
        tag: Some(name.tag.clone()),
        digest,
        size_bytes: facts.size_bytes,
        layers: facts.layers,
        create_parameters: facts.create_parameters,
        source: ImageSource::Push,
        build_id: None,
        account: Some(account),
        base: None,
        parent: None,
        description: None,
    };
    if let Some(chart) = &facts.chart {
        Box::pin(chart_pushes::record(app, &caller, &name, chart, new)).await?;
        drop(facts.hold);
        app.signals.jobs.any();
        return Ok(());
    }
    let mut tries = 0;
    loop {
        tries += 1;
        match record_push_once(app, &caller, &name, new.clone()).await {
            Ok(()) => break,
            // Two pushes of one tag at once: the later sees the earlier's row now.
            Err(error) if error.code == "exists" && tries < 3 => {}
            Err(error) => return Err(error),
        }
    }
    drop(facts.hold);
    app.signals.jobs.any();
    Ok(())
}

async fn record_push_once(app: &App, caller: &Caller, name: &ImageName, new: NewImage) -> Result<()> {
    let tx = app.db.begin().await?;
    let row = insert_ready(app, &tx, new).await?;
    let event = Event { action: "image.push", target: &name.to_string(), acting_for: row.account_id };
    audit::record(app, caller, &tx, event).await?;
    Ok(tx.commit().await?)
}

/// What a tag points at, for the door, which has checked the client's token.
pub async fn resolve(app: &App, name: &ImageName) -> Result<Option<Digest>> {
    Ok(ready(&app.db, name).await?.map(|row| row.digest))
}

/// The tags of a repository by name, for the door, which has checked the client's token.
pub async fn tags(app: &App, repository: &Repository) -> Result<Vec<Tag>> {
    let found = images::tags(&app.db, &repository.owner, &repository.repo).await?;
    Ok(found.into_iter().map(|(tag, _)| tag).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_trimmed_bounded_and_free_of_control_characters() {
        let text = |text: &str| Some(text.to_owned());

        assert_eq!(checked(None, "f", 5, false).unwrap(), None);
        assert_eq!(checked(Some(&None), "f", 5, false).unwrap(), Some(None));
        assert_eq!(checked(Some(&text("  ")), "f", 5, false).unwrap(), Some(None));
        assert_eq!(checked(Some(&text(" 镜像 ")), "f", 5, false).unwrap(), Some(Some("镜像")));
        assert_eq!(checked(Some(&text("a\nb")), "f", 5, true).unwrap(), Some(Some("a\nb")));
        for bad in ["a\nb", "a\u{1b}[1m", "123456"] {
            assert!(checked(Some(&text(bad)), "f", 5, false).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_owner_narrows_what_may_be_seen_and_never_widens_it() {
        let owner = |name: &str| name.parse::<Owner>().unwrap();
        let seen = Some(vec![owner("alice"), Owner::public()]);

        assert_eq!(narrowed(seen.clone(), None), seen);
        assert_eq!(narrowed(seen.clone(), Some(Owner::public())), Some(vec![Owner::public()]));
        assert_eq!(narrowed(seen, Some(owner("bob"))), Some(vec![]));
        assert_eq!(narrowed(None, Some(owner("bob"))), Some(vec![owner("bob")]));
    }
}
