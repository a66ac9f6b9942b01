//! Runners: what executes a run, and registries by name, for repositories that name one.

use store::PageOf;
use store::filtered::Filter;
use store::runners::{self, Content, Row};
use store::{git_repos, runs};
use wire::git_repos::{MASK, lengths};
use wire::ids::{RunId, RunnerId, RunnerUuid};
use wire::names::{AccountName, Digest, Tag};
use wire::runs::{RunnerUpdate, RunnerView};
use wire::secret::Secret;

use super::audit::{self, Event};
use super::git_repos::{Names, Wrong, account_name, visible};
use crate::app::App;
use crate::caller::Caller;
use crate::clients::foreign_registry::{self, ForeignRegistry};
use crate::clients::git::{GitUrl, Given};
use crate::clients::http_out::{Credential, Trust};
use crate::clients::registry::Repository;
use crate::error::{Error, Result};

/// Longest words of a runner in characters.
const TEXT_CHARS: usize = 150;
/// Runners without a run that one account may have.
const PER_ACCOUNT: u64 = 1_000;

/// Makes a runner that repositories can name.
pub async fn create(app: &App, caller: &Caller, new: &RunnerUpdate) -> Result<RunnerView> {
    let uuid = RunnerUuid(uuid::Uuid::now_v7());
    let content = changed(app, uuid, &Content::default(), new)?;
    let own = Filter { account: Some(caller.account), limit: Some(0), ..Filter::default() };
    if runners::list(&app.db, &own).await?.total >= PER_ACCOUNT.saturating_mul(100) {
        return Err(Error::conflict("too_many_runners", "this account has too many runners; delete some"));
    }
    let tx = app.db.begin().await?;
    let row =
        runners::New { uuid, account_id: caller.account, run_id: None, content: &content, now: app.now() };
    let id = runners::insert(&tx, &row).await?;
    let target = id.to_string();
    audit::record(app, caller, &tx, Event { action: "runner.create", target: &target, acting_for: None })
        .await?;
    tx.commit().await?;
    get(app, caller, id).await
}

/// A runner: one's own, or any for an admin.
pub async fn get(app: &App, caller: &Caller, id: RunnerId) -> Result<RunnerView> {
    let row = find(app, caller, id).await?;
    let account = account_name(app, row.account_id).await?;
    Ok(view(row, account))
}

/// The runner of a uuid: one's own, or any for an admin.
pub async fn by_uuid(app: &App, caller: &Caller, uuid: RunnerUuid) -> Result<RunnerView> {
    let row = runners::by_uuid(&app.db, uuid).await?;
    let row = row.ok_or_else(|| Error::not_found("runner", uuid))?;
    get(app, caller, row.id).await
}

/// The only runner of a name: one's own, else, for an admin, that of another account.
pub async fn by_name(app: &App, caller: &Caller, name: &str) -> Result<RunnerId> {
    let whose = if caller.is_admin() { None } else { Some(caller.account) };
    let found = runners::by_name(&app.db, whose, name).await?;
    let (own, others): (Vec<Row>, Vec<Row>) =
        found.into_iter().partition(|row| row.account_id == caller.account);
    match (own.as_slice(), others.as_slice()) {
        ([row], _) | ([], [row]) => Ok(row.id),
        ([], []) => Err(Error::not_found("runner", name)),
        _ => {
            let detail = format!("there are several runners `{name}`; name one by its number");
            Err(Error::conflict("ambiguous", detail))
        }
    }
}

/// Runners, narrowed and ordered; one's own, everybody's for an admin.
pub async fn list(app: &App, caller: &Caller, filter: Filter) -> Result<PageOf<RunnerView>> {
    let found = runners::list(&app.db, &visible(caller, filter)).await?;
    let mut names = Names::default();
    let mut rows = Vec::with_capacity(found.rows.len());
    for row in found.rows {
        let account = names.of(app, row.account_id).await?;
        rows.push(view(row, account));
    }
    Ok(PageOf { rows, total: found.total })
}

async fn find(app: &App, caller: &Caller, id: RunnerId) -> Result<Row> {
    let row = runners::get(&app.db, id).await?;
    row.filter(|row| caller.may_act_for(row.account_id)).ok_or_else(|| Error::not_found("runner", id))
}

/// Changes a runner. One that executes a run keeps what it was told; only its description changes.
pub async fn update(app: &App, caller: &Caller, id: RunnerId, change: &RunnerUpdate) -> Result<RunnerView> {
    let row = find(app, caller, id).await?;
    let only_words = RunnerUpdate { description: change.description.clone(), ..RunnerUpdate::default() };
    let change = if row.run_id.is_some() { &only_words } else { change };
    let content = changed(app, row.uuid, &row.content, change)?;
    let tx = app.db.begin().await?;
    runners::update_content(&tx, id, &content).await?;
    let target = id.to_string();
    let event = Event { action: "runner.update", target: &target, acting_for: Some(row.account_id) };
    audit::record(app, caller, &tx, event).await?;
    tx.commit().await?;
    get(app, caller, id).await
}

/// Deletes a runner; 409 while its run goes on.
pub async fn delete(app: &App, caller: &Caller, id: RunnerId) -> Result<()> {
    let row = find(app, caller, id).await?;
    if row.run_id.is_some() && !row.state.is_final() {
        return Err(
            Error::conflict("run_unfinished", "the runner's run has not ended").hint("cancel it first")
        );
    }
    let tx = app.db.begin().await?;
    runners::delete(&tx, id).await?;
    let target = id.to_string();
    let event = Event { action: "runner.delete", target: &target, acting_for: Some(row.account_id) };
    audit::record(app, caller, &tx, event).await?;
    Ok(tx.commit().await?)
}

fn changed(app: &App, uuid: RunnerUuid, old: &Content, change: &RunnerUpdate) -> Result<Content> {
    let mut wrong = Wrong::default();
    let mut new = old.clone();
    let fields: [(&'static str, &Option<String>, &mut String, usize); 10] = [
        ("name", &change.name, &mut new.name, lengths::JOB),
        ("kind", &change.kind, &mut new.kind, 50),
        ("registry_address", &change.registry_address, &mut new.registry_address, TEXT_CHARS),
        ("registry_name", &change.registry_name, &mut new.registry_name, TEXT_CHARS),
        ("image_repo", &change.image_repo, &mut new.image_repo, TEXT_CHARS),
        ("image_name", &change.image_name, &mut new.image_name, TEXT_CHARS),
        ("image_tag", &change.image_tag, &mut new.image_tag, TEXT_CHARS),
        ("repo_dockerfile", &change.repo_dockerfile, &mut new.repo_dockerfile, TEXT_CHARS),
        ("build_path", &change.build_path, &mut new.build_path, TEXT_CHARS),
        ("description", &change.description, &mut new.description, lengths::DESCRIPTION),
    ];
    for (field, value, into, max) in fields {
        if let Some(value) = value {
            *into = wrong.text(field, value, max);
        }
    }
    if new.name.is_empty() {
        wrong.add("name", "`name` is missing");
    }
    // Another registry never hears the password of the first.
    if new.registry_address != old.registry_address {
        new.registry_password = None;
    }
    if let Some(path) = &change.repo_path {
        new.repo_path = masked(&wrong.text("repo_path", path.expose(), TEXT_CHARS));
    }
    if let Some(password) = change.registry_password.as_ref().filter(|given| given.expose() != MASK) {
        let text = password.expose();
        if text.chars().count() > TEXT_CHARS || text.chars().any(char::is_control) {
            wrong.add("registry_password", format!("the password has at most {TEXT_CHARS} characters"));
        }
        new.registry_password =
            if text.is_empty() { None } else { Some(app.keys.sealing.seal(&purpose(uuid), password)?) };
    }
    wrong.done()?;
    Ok(new)
}

/// What opens a repository is the repository's to keep: here it is forgotten.
fn masked(path: &str) -> String {
    if let Ok((url, given)) = GitUrl::parse(path) {
        return url.shown(!matches!(given, Given::Nothing));
    }
    match path.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?))) {
        Some((scheme, (_, rest))) => format!("{scheme}://{MASK}@{rest}"),
        None => path.to_owned(),
    }
}

/// What the password of a runner is sealed for.
pub(super) fn purpose(uuid: RunnerUuid) -> String {
    format!("runners.registry_password {uuid}")
}

/// The names by which this server's registry is known.
pub(super) fn own_registries(app: &App) -> [String; 2] {
    [app.config.registry_name(), app.config.registry_listen.to_string()]
}

/// Whether an address is that of this server's registry.
pub(super) fn is_own_registry(app: &App, address: &str) -> bool {
    own_registries(app).iter().any(|own| own == address)
}

/// The password of a runner, sealed for another one.
pub(super) fn password_for(app: &App, from: &Row, to: RunnerUuid) -> Result<Option<String>> {
    let Some(password) = password(app, from)? else { return Ok(None) };
    app.keys.sealing.seal(&purpose(to), &password).map(Some)
}

fn password(app: &App, row: &Row) -> Result<Option<Secret>> {
    let sealed = row.content.registry_password.as_deref();
    sealed.map(|sealed| app.keys.sealing.open(&purpose(row.uuid), sealed)).transpose()
}

/// The runner of a run whose image goes to another registry too.
pub(crate) async fn copies_elsewhere(app: &App, run: RunId) -> Result<Option<Row>> {
    let runner = runners::of_run(&app.db, run).await?;
    Ok(runner.filter(|runner| !is_own_registry(app, runner.content.registry_address.trim_end_matches('/'))))
}

/// Where a runner's image goes, in words.
pub(crate) fn shown_destination(content: &Content) -> String {
    let address = content.registry_address.trim_end_matches('/');
    let host = address.split_once("://").map_or(address, |(_, host)| host);
    format!("{host}/{}:{}", repository(content), content.image_tag)
}

fn repository(content: &Content) -> String {
    match content.image_repo.as_str() {
        "" => content.image_name.clone(),
        project => format!("{project}/{}", content.image_name),
    }
}

/// Copies a run's image to the registry that its runner names, under the run's tag and its commit's.
pub(crate) async fn copy_image(
    app: &App,
    caller: &Caller,
    run: &runs::Row,
    runner: &Row,
    digest: &Digest,
) -> Result<()> {
    let content = &runner.content;
    let base = foreign_registry::base_of(content.registry_address.trim_end_matches('/'))?;
    let credential = password(app, runner)?
        .map(|password| Credential { username: content.registry_name.clone(), password });
    let authority = match git_repos::get(&app.db, run.git_repo_id).await? {
        Some(repo) => super::git_repos::authority(app, &repo).await?,
        None => None,
    };
    let to = ForeignRegistry {
        base,
        repository: repository(content),
        credential,
        authority: authority.as_deref(),
        trust: Trust::from(caller),
    };
    let mut tags: Vec<Tag> = vec![run.image_tag.parse()?];
    if let Some(commit) = &run.commit {
        tags.push(super::runs::commit_tag(commit)?);
    }
    let from: Repository = run.image.parse()?;
    foreign_registry::copy(app, &from, digest, &to, &tags).await
}

fn view(row: Row, account: AccountName) -> RunnerView {
    let content = row.content;
    RunnerView {
        id: row.id,
        uuid: row.uuid,
        account,
        run_id: row.run_id,
        name: content.name,
        state: row.state,
        kind: content.kind,
        registry_address: content.registry_address,
        registry_name: content.registry_name,
        has_registry_password: content.registry_password.is_some(),
        image_repo: content.image_repo,
        image_name: content.image_name,
        image_tag: content.image_tag,
        repo_path: content.repo_path,
        repo_dockerfile: content.repo_dockerfile,
        build_path: content.build_path,
        description: content.description,
        created_at: row.created_at,
    }
}
