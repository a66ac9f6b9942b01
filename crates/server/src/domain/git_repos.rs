//! Git repositories: adding and changing them, and opening what is sealed in them for whoever fetches. What is wrong with a
//! request is told all at once, each field with its sentence.

use store::filtered::Filter;
use store::git_repos::{self, Content, Row};
use store::{PageOf, runs};
use wire::git_repos::{
    GitRepoCreate, GitRepoOptions, GitRepoTested, GitRepoUpdate, GitRepoView, MASK, lengths,
};
use wire::ids::{AccountId, GitRepoId};
use wire::names::AccountName;
use wire::secret::Secret;
use wire::time::Timestamp;

use super::accounts::{self, Named};
use super::audit::{self, Event};
use crate::app::App;
use crate::blobs::blocking;
use crate::caller::Caller;
use crate::clients::git::{self, Credential, GitError, GitUrl, Given, Remote};
use crate::clients::http_out::Trust;
use crate::error::{Error, ErrorKind, Result};
use crate::schedule::Schedule;

/// Repositories that one account may have.
const PER_ACCOUNT: u64 = 1_000;
/// How long a git server may take to tell its refs.
const TEST_PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);
/// Filters of one kind.
const MAX_FILTERS: usize = 50;
/// The most minutes between two looks: a month.
const MAX_POLL_MINUTES: u32 = 31 * 24 * 60;

/// What is wrong with a request, field by field.
#[derive(Debug, Default)]
pub(super) struct Wrong(Vec<(&'static str, String)>);

impl Wrong {
    pub(super) fn add(&mut self, field: &'static str, what: impl Into<String>) {
        self.0.push((field, what.into()));
    }

    /// One line without control characters, at most so long.
    pub(super) fn text(&mut self, field: &'static str, value: &str, max: usize) -> String {
        let value = value.trim();
        if value.chars().count() > max {
            self.add(field, format!("`{field}` has more than {max} characters"));
        } else if value.chars().any(char::is_control) {
            self.add(field, format!("`{field}` is one line of text"));
        }
        value.to_owned()
    }

    pub(super) fn done(self) -> Result<()> {
        let Some((field, detail)) = self.0.first() else { return Ok(()) };
        let mut errors = serde_json::Map::new();
        for (field, what) in &self.0 {
            let list = errors.entry(*field).or_insert_with(|| serde_json::Value::Array(Vec::new()));
            if let Some(list) = list.as_array_mut() {
                list.push(what.as_str().into());
            }
        }
        Err(Error::invalid(*field, detail).with("errors", errors))
    }
}

/// Adds a git repository.
pub async fn create(app: &App, caller: &Caller, new: &GitRepoCreate) -> Result<GitRepoView> {
    let subject = accounts::subject(app, caller, new.account.as_deref().map(Named::Account)).await?;
    let uuid = uuid::Uuid::now_v7().to_string();
    let change = GitRepoUpdate {
        repo_name: Some(new.repo_name.clone()),
        url: Some(new.url.clone().unwrap_or_else(|| Secret::new(""))),
        branch: Some(new.branch.clone()),
        tag: Some(new.tag.clone()),
        build_path: Some(new.build_path.clone()),
        dockerfile: Some(new.dockerfile.clone()),
        image: Some(new.image.clone()),
        job: Some(new.job.clone()),
        kind: Some(new.kind.clone()),
        name: Some(new.name.clone()),
        description: Some(new.description.clone()),
        ca_secret: new.ca_secret.clone(),
        ssh_key: new.ssh_key.clone(),
        webhook_secret: new.webhook_secret.clone(),
        status_token: new.status_token.clone(),
        options: new.options.clone(),
    };
    let content = changed(app, &uuid, &Content::default(), &change)?;
    let own = Filter { account: Some(subject.account), limit: Some(0), ..Filter::default() };
    let now = app.now();
    let tx = app.db.begin().await?;
    store::accounts::locked(&tx, subject.account).await?;
    if git_repos::list(&tx, &own).await?.total >= PER_ACCOUNT {
        let detail = format!("an account has at most {PER_ACCOUNT} git repositories");
        return Err(Error::conflict("too_many_git_repos", detail).hint("delete those that are not needed"));
    }
    let row = git_repos::New { uuid: &uuid, account_id: subject.account, content: &content, now };
    let id = git_repos::insert(&tx, &row).await.map_err(|error| taken(error, &content.repo_name))?;
    plan_look(app, &tx, id, None, &content.options).await?;
    let target = id.to_string();
    let event = Event { action: "git_repo.create", target: &target, acting_for: Some(subject.account) };
    audit::record(app, caller, &tx, event).await?;
    tx.commit().await?;
    get(app, caller, id).await
}

fn taken(error: store::Error, name: &str) -> Error {
    match error {
        store::Error::Duplicate => {
            let detail = format!("there is a git repository `{name}` already");
            Error { field: Some("repo_name".into()), ..Error::conflict("exists", detail) }
        }
        error => error.into(),
    }
}

/// A repository's schedule, when it has one.
pub(crate) fn schedule_of(options: &GitRepoOptions) -> Option<Schedule> {
    if options.schedule.is_empty() { None } else { Schedule::parse(&options.schedule).ok() }
}

/// When the git server is looked at or a run starts next, after a change of how often.
async fn plan_look(
    app: &App,
    tx: &store::Tx,
    id: GitRepoId,
    from: Option<Timestamp>,
    options: &GitRepoOptions,
) -> Result<()> {
    let now = app.now();
    let minutes = i64::from(options.poll_minutes);
    let look = (minutes > 0).then(|| now.plus_secs(minutes * 60));
    let run = schedule_of(options).and_then(|schedule| schedule.next_after(now));
    let to = look.into_iter().chain(run).min();
    if from.is_some() || to.is_some() {
        git_repos::set_next_look(tx, id, from, to).await?;
    }
    Ok(())
}

/// A git repository: one's own, or any for an admin.
pub async fn get(app: &App, caller: &Caller, id: GitRepoId) -> Result<GitRepoView> {
    let row = find(app, caller, id).await?;
    let account = account_name(app, row.account_id).await?;
    Ok(view(row, account))
}

/// Git repositories, narrowed and ordered; one's own, everybody's for an admin.
pub async fn list(app: &App, caller: &Caller, filter: Filter) -> Result<PageOf<GitRepoView>> {
    let filter = visible(caller, filter);
    let found = git_repos::list(&app.db, &filter).await?;
    let mut names = Names::default();
    let mut rows = Vec::with_capacity(found.rows.len());
    for row in found.rows {
        let account = names.of(app, row.account_id).await?;
        rows.push(view(row, account));
    }
    Ok(PageOf { rows, total: found.total })
}

/// Others than admins see what is their own.
pub(super) fn visible(caller: &Caller, filter: Filter) -> Filter {
    let account = if caller.is_admin() { filter.account } else { Some(caller.account) };
    Filter { account, ..filter }
}

/// Names of accounts, each asked for once.
#[derive(Default)]
pub(super) struct Names(std::collections::HashMap<AccountId, AccountName>);

impl Names {
    pub(super) async fn of(&mut self, app: &App, id: AccountId) -> Result<AccountName> {
        if let Some(name) = self.0.get(&id) {
            return Ok(name.clone());
        }
        let name = account_name(app, id).await?;
        self.0.insert(id, name.clone());
        Ok(name)
    }
}

pub(super) async fn account_name(app: &App, id: AccountId) -> Result<AccountName> {
    let account = store::accounts::get(&app.db, id).await?;
    Ok(account.ok_or_else(|| Error::internal("a row names an account that is not there"))?.account)
}

/// The row, for its owner or an admin.
pub(super) async fn find(app: &App, caller: &Caller, id: GitRepoId) -> Result<Row> {
    let row = git_repos::get(&app.db, id).await?;
    row.filter(|row| caller.may_act_for(row.account_id)).ok_or_else(|| Error::not_found("git repository", id))
}

/// The repository of a name: one's own, else, for an admin, the only one of that name.
pub async fn by_name(app: &App, caller: &Caller, name: &str) -> Result<GitRepoId> {
    let unknown = || Error::not_found("git repository", name);
    let whose = if caller.is_admin() { None } else { Some(caller.account) };
    let found = git_repos::by_name(&app.db, whose, name).await?;
    let own = found.iter().find(|row| row.account_id == caller.account);
    match (own, found.as_slice()) {
        (Some(row), _) | (None, [row]) => Ok(row.id),
        (None, []) => Err(unknown()),
        (None, _) => {
            let detail = format!("several accounts have a git repository `{name}`; name one by its number");
            Err(Error::conflict("ambiguous", detail))
        }
    }
}

/// Whether anybody has a repository of this name.
pub async fn is_anybodys(app: &App, name: &str) -> Result<bool> {
    Ok(!git_repos::by_name(&app.db, None, name).await?.is_empty())
}

/// Changes a git repository.
pub async fn update(
    app: &App,
    caller: &Caller,
    id: GitRepoId,
    change: &GitRepoUpdate,
) -> Result<GitRepoView> {
    let found = find(app, caller, id).await?;
    let tx = app.db.begin().await?;
    let row = git_repos::locked(&tx, id).await?.ok_or_else(|| Error::not_found("git repository", id))?;
    let content = changed(app, &row.uuid, &row.content, change)?;
    let name = content.repo_name.clone();
    git_repos::update_content(&tx, id, &content, app.now()).await.map_err(|error| taken(error, &name))?;
    let times = |options: &GitRepoOptions| (options.poll_minutes, options.schedule.clone());
    if times(&content.options) != times(&row.content.options) {
        plan_look(app, &tx, id, row.next_look_at, &content.options).await?;
    }
    let target = id.to_string();
    let event = Event { action: "git_repo.update", target: &target, acting_for: Some(found.account_id) };
    audit::record(app, caller, &tx, event).await?;
    tx.commit().await?;
    get(app, caller, id).await
}

/// Deletes a git repository with its runs and their log; 409 while a run goes on.
pub async fn delete(app: &App, caller: &Caller, id: GitRepoId) -> Result<()> {
    let found = find(app, caller, id).await?;
    let tx = app.db.begin().await?;
    if !git_repos::lock(&tx, id).await? {
        return Err(Error::not_found("git repository", id));
    }
    let unfinished = runs::count_unfinished(&tx, id).await?;
    if unfinished > 0 {
        let detail = format!("{unfinished} runs of this git repository have not ended");
        return Err(Error::conflict("runs_unfinished", detail).hint("cancel them, or wait for their end"));
    }
    git_repos::delete(&tx, id).await?;
    let target = id.to_string();
    let event = Event { action: "git_repo.delete", target: &target, acting_for: Some(found.account_id) };
    audit::record(app, caller, &tx, event).await?;
    Ok(tx.commit().await?)
}

/// What a change makes of a repository, checked as a whole.
fn changed(app: &App, uuid: &str, old: &Content, change: &GitRepoUpdate) -> Result<Content> {
    let mut wrong = Wrong::default();
    let mut new = old.clone();
    let text = |wrong: &mut Wrong, field, value: &Option<String>, into: &mut String, max| {
        if let Some(value) = value {
            *into = wrong.text(field, value, max);
        }
    };
    text(&mut wrong, "repo_name", &change.repo_name, &mut new.repo_name, lengths::NAME);
    text(&mut wrong, "branch", &change.branch, &mut new.branch, lengths::BRANCH);
    text(&mut wrong, "tag", &change.tag, &mut new.tag, lengths::TAG);
    text(&mut wrong, "build_path", &change.build_path, &mut new.build_path, lengths::PATH);
    text(&mut wrong, "dockerfile", &change.dockerfile, &mut new.dockerfile, lengths::PATH);
    text(&mut wrong, "image", &change.image, &mut new.image, lengths::IMAGE);
    text(&mut wrong, "job", &change.job, &mut new.job, lengths::JOB);
    text(&mut wrong, "kind", &change.kind, &mut new.kind, lengths::KIND);
    text(&mut wrong, "name", &change.name, &mut new.name, lengths::LABEL);
    text(&mut wrong, "description", &change.description, &mut new.description, lengths::DESCRIPTION);
    if new.repo_name.is_empty() {
        wrong.add("repo_name", "`repo_name` is missing");
    } else if new.repo_name.bytes().all(|b| b.is_ascii_digit()) {
        wrong.add("repo_name", "`repo_name` is not a number alone: numbers name repositories already");
    }
    if !new.branch.is_empty() && !git::is_commit_id(&new.branch) && !git::is_ref(&new.branch) {
        wrong.add("branch", "`branch` is not the name of a branch, a tag or a whole commit id");
    }
    if !new.tag.is_empty() && new.tag.parse::<wire::names::Tag>().is_err() {
        wrong.add(
            "tag",
            "`tag` has 1 to 128 letters, digits, `_`, `.` and `-`, and begins with none of the last two",
        );
    }
    if git::inner_path(&new.build_path).is_none() {
        wrong.add("build_path", "`build_path` is a folder inside the repository");
    }
    // From the folder it may lead up, as long as it stays in the repository.
    let from_folder = format!("{}/{}", new.build_path, new.dockerfile);
    if git::inner_path(&new.dockerfile).is_none() && git::inner_path(&from_folder).is_none() {
        wrong.add("dockerfile", "`dockerfile` is a file inside the repository");
    }
    if !new.image.is_empty() && !is_image(&new.image) {
        wrong.add("image", "`image` is not the name of an image, such as `app` or `owner/app`");
    }
    if let Some(options) = &change.options {
        check_options(&mut wrong, options, app.now());
        new.options = options.clone();
    }
    let seal = |column: &'static str, secret: &Secret| seal(app, uuid, column, secret);
    if let Some(url) = &change.url {
        change_url(&mut wrong, &mut new, old, url, &seal)?;
    }
    if let Some(pem) = &change.ca_secret
        && pem.expose() != MASK
    {
        let text = pem.expose().trim();
        let is_pem = text.contains("-----BEGIN CERTIFICATE-----");
        let is_name =
            text.chars().count() <= lengths::CERTIFICATE_NAME && !text.chars().any(char::is_control);
        if text.len() > lengths::PEM || !(is_pem || is_name) {
            let what =
                "`ca_secret` is a certificate (PEM), or the name of one that an admin has put on the server";
            wrong.add("ca_secret", what);
        }
        new.ca_secret = optional(text).map(|text| seal("ca_secret", &text)).transpose()?;
    }
    if let Some(key) = &change.ssh_key
        && key.expose() != MASK
    {
        let text = key.expose().trim();
        let is_key = text.starts_with("-----BEGIN ") && text.contains("PRIVATE KEY-----");
        if !text.is_empty() && (text.len() > lengths::PEM || !is_key) {
            wrong
                .add("ssh_key", "`ssh_key` is a private key without a passphrase, as `ssh-keygen` writes it");
        }
        new.ssh_key = optional(text).map(|text| seal("ssh_key", &text)).transpose()?;
    }
    for (field, given, kept) in [
        ("webhook_secret", &change.webhook_secret, &mut new.webhook_secret),
        ("status_token", &change.status_token, &mut new.status_token),
    ] {
        let Some(given) = given.as_ref().filter(|given| given.expose() != MASK) else { continue };
        let is_good = given.expose().chars().count() <= 200 && !given.expose().chars().any(char::is_control);
        if !is_good {
            wrong.add(field, format!("`{field}` has at most 200 characters, in one line"));
        }
        *kept = optional(given.expose()).map(|text| seal(field, &text)).transpose()?;
    }
    wrong.done()?;
    Ok(new)
}

fn optional(text: &str) -> Option<Secret> {
    (!text.is_empty()).then(|| Secret::new(text))
}

/// An address takes its user and password with it: they are for its host, and no other one hears them.
fn change_url(
    wrong: &mut Wrong,
    new: &mut Content,
    old: &Content,
    given: &Secret,
    seal: &impl Fn(&'static str, &Secret) -> Result<String>,
) -> Result<()> {
    let text = given.expose().trim();
    if text.is_empty() {
        wrong.add("url", "`url` is missing");
        return Ok(());
    }
    if text.chars().count() > lengths::URL {
        wrong.add("url", format!("`url` has more than {} characters", lengths::URL));
        return Ok(());
    }
    let (url, given) = match GitUrl::parse(text) {
        Ok(parsed) => parsed,
        Err(error) => {
            wrong.add("url", error.to_string());
            return Ok(());
        }
    };
    let before = old.url.parse::<GitUrl>().ok();
    let is_same_place = before.as_ref().is_some_and(|before| before.origin() == url.origin());
    url.as_str().clone_into(&mut new.url);
    match given {
        Given::Kept if is_same_place && old.credential.is_some() => {}
        Given::Kept => {
            wrong.add(
                "url",
                "user and password are not known for this host; type them again instead of `***`",
            );
        }
        Given::Nothing => new.credential = None,
        Given::New(credential) => {
            let text = serde_json::to_string(&credential).map_err(Error::internal)?;
            new.credential = Some(seal("credential", &Secret::new(text))?);
        }
    }
    if !is_same_place || before.as_ref() != Some(&url) {
        new.known_hosts = None;
    }
    if !is_same_place {
        // What one server was told in confidence, another one never hears.
        new.status_token = None;
    }
    Ok(())
}

fn check_options(wrong: &mut Wrong, options: &GitRepoOptions, now: Timestamp) {
    for (field, list) in [("options.branches", &options.branches), ("options.paths", &options.paths)] {
        let is_good = |text: &String| {
            (1..=lengths::BRANCH).contains(&text.chars().count()) && !text.chars().any(char::is_control)
        };
        if list.len() > MAX_FILTERS || !list.iter().all(is_good) {
            wrong.add(field, format!("`{field}` has at most {MAX_FILTERS} lines of at most 150 characters"));
        }
    }
    if !options.schedule.is_empty() {
        match Schedule::parse(&options.schedule) {
            Ok(schedule) if schedule.next_after(now).is_some() => {}
            Ok(_) => wrong.add("options.schedule", "`options.schedule` never comes"),
            Err(error) => {
                let what =
                    format!("`options.schedule` is not cron's five fields, such as `30 2 * * 1-5`: {error}");
                wrong.add("options.schedule", what);
            }
        }
    }
    if let Some(target) = &options.deploy {
        super::deploys::check(wrong, target);
    }
    if options.poll_minutes > MAX_POLL_MINUTES {
        wrong.add("options.poll_minutes", format!("`options.poll_minutes` is at most {MAX_POLL_MINUTES}"));
    }
}

/// `[host[:port]/]part[/part…][:tag]`, as engines read it. Whose it is is decided when it is built.
fn is_image(text: &str) -> bool {
    let (name, tag) = match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (text, None),
    };
    let mut parts = name.split('/');
    let first = parts.next().unwrap_or_default();
    let is_host = first.contains(['.', ':']) || first == "localhost";
    let is_host_good = !first.starts_with('-')
        && first.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b':' | b'-'));
    let is_part = |part: &str| part.parse::<wire::names::RepoName>().is_ok();
    let mut rest = parts.peekable();
    let is_first_good = if is_host && rest.peek().is_some() { is_host_good } else { is_part(first) };
    is_first_good && rest.all(is_part) && tag.is_none_or(|tag| tag.parse::<wire::names::Tag>().is_ok())
}

/// What a secret of a repository is sealed for.
fn purpose(uuid: &str, column: &str) -> String {
    format!("git_repos.{column} {uuid}")
}

/// Seals a secret of a repository.
pub(super) fn seal(app: &App, uuid: &str, column: &str, secret: &Secret) -> Result<String> {
    app.keys.sealing.seal(&purpose(uuid, column), secret)
}

/// Opens a secret of a repository.
pub(super) fn open(app: &App, row: &Row, column: &str, sealed: Option<&str>) -> Result<Option<Secret>> {
    sealed.map(|sealed| app.keys.sealing.open(&purpose(&row.uuid, column), sealed)).transpose()
}

/// User and password of a repository.
pub(super) fn credential(app: &App, row: &Row) -> Result<Option<Credential>> {
    let opened = open(app, row, "credential", row.content.credential.as_deref())?;
    opened.map(|text| serde_json::from_str(text.expose()).map_err(Error::internal)).transpose()
}

/// A repository as git reaches it: with its secrets opened, and held to addresses that the caller may reach.
pub(crate) async fn remote(app: &App, caller: &Caller, row: &Row) -> Result<Remote> {
    let content = &row.content;
    let url: GitUrl = content.url.parse().map_err(Error::internal)?;
    let addresses = app.outbound.addresses(&url.endpoint()?, Trust::from(caller)).await?;
    Ok(Remote {
        addresses: addresses.into_iter().map(|address| address.ip()).collect(),
        credential: credential(app, row)?,
        ca_pem: authority(app, row).await?,
        ssh_key: open(app, row, "ssh_key", content.ssh_key.as_deref())?,
        known_hosts: content.known_hosts.clone(),
        url,
    })
}

/// The certificate of the authority that a repository's git server is signed by, when it has one of its own.
pub(super) async fn authority(app: &App, row: &Row) -> Result<Option<String>> {
    Ok(match open(app, row, "ca_secret", row.content.ca_secret.as_deref())? {
        None => None,
        Some(text) if text.expose().contains("-----BEGIN") => Some(text.expose().to_owned()),
        Some(name) => Some(named_certificate(app, name.expose()).await?),
    })
}

/// A certificate that an admin has put on the server, by name.
async fn named_certificate(app: &App, name: &str) -> Result<String> {
    let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    let unknown = || {
        Error::invalid("ca_secret", "`ca_secret` is the name of a certificate that is not on the server")
            .hint("give the certificate itself (PEM), or ask an admin to put it into the folder `certificates` of the server's data as `NAME.pem`")
    };
    if !is_name || name.starts_with('.') {
        return Err(unknown());
    }
    let path = app.config.data_dir.join("certificates").join(format!("{name}.pem"));
    match tokio::fs::read_to_string(path).await {
        Ok(pem) if pem.len() <= lengths::PEM => Ok(pem),
        Ok(_) => Err(unknown()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(unknown()),
        Err(error) => Err(error.into()),
    }
}

/// Looks whether a repository can be fetched, and which commit a run would build now.
pub async fn test(app: &App, caller: &Caller, id: GitRepoId) -> Result<GitRepoTested> {
    let row = find(app, caller, id).await?;
    let name = row.content.branch.clone();
    let commit = resolve(app, caller, &row, &name, TEST_PATIENCE).await?;
    Ok(GitRepoTested { commit: commit.id, git_ref: commit.git_ref })
}

/// The commit that a run would build now.
pub async fn current_commit(
    app: &App,
    caller: &Caller,
    id: GitRepoId,
    patience: std::time::Duration,
) -> Result<String> {
    let row = find(app, caller, id).await?;
    let name = row.content.branch.clone();
    Ok(resolve(app, caller, &row, &name, patience).await?.id)
}

/// The commit of a branch, tag or id, as the git server says now.
pub(crate) async fn resolve(
    app: &App,
    caller: &Caller,
    row: &Row,
    name: &str,
    patience: std::time::Duration,
) -> Result<git::Commit> {
    let remote = remote(app, caller, row).await?;
    let blobs = app.blobs.clone();
    let folder = blocking(move || blobs.folder()).await?;
    git::resolve(folder.path(), &remote, name, patience).await.map_err(|error| {
        let code = match &error {
            GitError::Refused => "git_refused",
            GitError::NoRepository => "git_no_repository",
            GitError::NoRef(_) | GitError::Empty => "git_no_ref",
            GitError::Certificate | GitError::HostKey => "git_untrusted",
            _ => "git_failed",
        };
        Error { field: Some("url".into()), ..Error::new(ErrorKind::BadGateway, code, error.to_string()) }
    })
}

fn view(row: Row, account: AccountName) -> GitRepoView {
    let content = row.content;
    let has_credential = content.credential.is_some();
    let shown = content.url.parse::<GitUrl>().map(|url| url.shown(has_credential));
    let name: String = form_urlencoded::byte_serialize(content.repo_name.as_bytes()).collect();
    GitRepoView {
        id: row.id,
        account,
        url: shown.unwrap_or_else(|_| content.url.clone()),
        webhook_path: format!("/hook/{}", if name == content.repo_name { name } else { row.id.to_string() }),
        repo_name: content.repo_name,
        branch: content.branch,
        tag: content.tag,
        build_path: content.build_path,
        dockerfile: content.dockerfile,
        image: content.image,
        job: content.job,
        kind: content.kind,
        name: content.name,
        description: content.description,
        has_credential,
        has_ca: content.ca_secret.is_some(),
        has_ssh_key: content.ssh_key.is_some(),
        has_webhook_secret: content.webhook_secret.is_some(),
        has_status_token: content.status_token.is_some(),
        options: content.options,
        last_commit: row.last_commit,
        created_at: row.created_at,
        updated_at: row.updated_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_images_are_told_from_options() {
        for text in [
            "app",
            "alice/app",
            "alice/app:v1",
            "10.0.0.1:5000/team/app",
            "registry.example.org/a/b/c:v1",
            "localhost/app",
        ] {
            assert!(is_image(text), "{text}");
        }
        for text in [
            "",
            "-app",
            "--privileged",
            "app --x",
            "App",
            "a//b",
            "/app",
            "app/",
            "app:",
            "app:v 1",
            "-h.x/app",
            "a$(b)",
            "a`b`",
        ] {
            assert!(!is_image(text), "{text}");
        }
    }
}
