//! Runs: from a wish to a row in the queue, and everything that can be asked of a run afterwards. The work itself is
//! `jobs/run_pipeline.rs`.

use sha2::{Digest as _, Sha256};
use store::filtered::Filter;
use store::runs::Row;
use store::{PageOf, git_repos, jobs, run_log, runners, runs, webhook_deliveries};
use wire::accounts::AccountState;
use wire::builds::OperationState;
use wire::ids::{AccountId, BuildId, GitRepoId, RunId, RunnerUuid};
use wire::names::{AccountName, ImageReference, RepoName, Tag};
use wire::runs::{RunCause, RunExecutor, RunView};
use wire::time::Timestamp;

use super::audit::{self, Event};
use super::git_repos::{Names, account_name, visible};
use super::operation_log::OperationLog;
use super::{builds as build_rules, run_log as log_rules};
use crate::app::App;
use crate::blobs::{BlobKind, blocking};
use crate::caller::{Caller, Proof, Subject};
use crate::clients::{foreign_registry, git};
use crate::error::{Error, ErrorKind, Result};

/// The longest name of an image repository.
const IMAGE_REPO_CHARS: usize = 128;
/// The longest name of a job, as Kubernetes has it.
const JOB_CHARS: usize = 63;
/// Runs of one name that are told apart by a number.
const MAX_TWINS: u32 = 99;
/// Longest words of a run in characters.
const DESCRIPTION_CHARS: usize = 300;
/// Longest words of an owner's own for a run in characters.
const KIND_CHARS: usize = 50;
/// Runs that are removed together.
const SWEPT_AT_ONCE: u64 = 200;
/// Days for which deliveries of webhooks are kept.
const KEEP_DELIVERIES_DAYS: u32 = 30;
/// Digits of a commit that an image is tagged with.
const SHORT_COMMIT: usize = 12;

/// A run to start.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// Why.
    pub cause: RunCause,
    /// Another branch, tag or commit than the repository's own.
    pub git_ref: Option<&'a str>,
    /// The commit, when it is known.
    pub commit: Option<&'a str>,
    /// What it is for.
    pub description: &'a str,
    /// A word of the owner's own; the repository's when empty.
    pub kind: &'a str,
    /// The run that it repeats.
    pub retry_of: Option<RunId>,
    /// The webhook's delivery that is its cause, to be stored together with it.
    pub delivery: Option<&'a webhook_deliveries::New<'a>>,
}

impl Start<'_> {
    /// Somebody says so.
    pub const MANUAL: Self = Self {
        cause: RunCause::Manual,
        git_ref: None,
        commit: None,
        description: "",
        kind: "",
        retry_of: None,
        delivery: None,
    };
}

/// A run that was accepted.
#[derive(Clone, Debug)]
pub struct Started {
    /// The run.
    pub run: RunView,
    /// Its runner.
    pub runner_uuid: RunnerUuid,
}

/// Accepts a run: from the moment this returns it survives a power cut, and will end in one final state.
pub async fn start(app: &App, caller: &Caller, repo: GitRepoId, start: Start<'_>) -> Result<Started> {
    let row = super::git_repos::find(app, caller, repo).await?;
    let git_ref = start.git_ref.unwrap_or(&row.content.branch).trim();
    if !git_ref.is_empty() && !git::is_commit_id(git_ref) && !git::is_ref(git_ref) {
        return Err(Error::invalid(
            "git_ref",
            "`git_ref` is not the name of a branch, a tag or a whole commit id",
        ));
    }
    for (field, text, max) in
        [("description", start.description, DESCRIPTION_CHARS), ("kind", start.kind, KIND_CHARS)]
    {
        if text.chars().count() > max || text.chars().any(char::is_control) {
            return Err(Error::invalid(field, format!("`{field}` is one line of at most {max} characters")));
        }
    }
    let account = account_name(app, row.account_id).await?;
    let subject = Subject { account: row.account_id, name: account };
    let runner = named_runner(app, &row).await?;
    let elsewhere = runner.as_ref().map(|runner| elsewhere(app, &row, runner)).transpose()?.flatten();
    let destination = match &elsewhere {
        Some(elsewhere) => {
            let tag = if row.content.tag.is_empty() {
                elsewhere.tag.clone()
            } else {
                Some(row.content.tag.parse()?)
            };
            let repo = cut(&slug(&row.content.repo_name), IMAGE_REPO_CHARS).parse()?;
            Destination { owner: Some(subject.owner()), repo, tag }
        }
        None => destination(app, &row, runner.as_ref().map(|runner| &runner.content), &subject)?,
    };
    let executor = row.content.options.executor.unwrap_or(app.config.pipelines.executor);
    if executor == RunExecutor::Kubernetes {
        super::cluster_builds::place(app).await?;
    }
    // Rights and quota are those of a build.
    let reference = destination.reference("latest")?;
    let image = build_rules::admit(app, caller, Some(subject.clone()), reference).await?;
    let image = image.image().repository();
    let now = app.now();
    let names = RunNames::new(&row.content.repo_name, now);
    for twin in 1..=MAX_TWINS {
        let (event, job, time_tag) = names.of(twin);
        let image_tag = destination.tag.as_ref().map_or(time_tag, |tag| tag.as_str().to_owned());
        let kind = if start.kind.is_empty() { &row.content.kind } else { start.kind };
        let new = runs::New {
            uuid: BuildId(uuid::Uuid::now_v7()),
            account_id: row.account_id,
            git_repo_id: row.id,
            name: &event,
            repo_name: &row.content.repo_name,
            job: &job,
            kind,
            image: &image,
            image_tag: &image_tag,
            git_ref,
            commit: start.commit,
            description: start.description,
            cause: start.cause,
            executor,
            retry_of: start.retry_of,
            now,
        };
        let runner = told(app, &row, runner.as_ref(), elsewhere.as_ref(), &subject.name, &new)?;
        match insert(app, caller, &row, &runner, &new, start.delivery).await {
            Ok(Some((id, runner_uuid))) => {
                tracing::info!(run.id = %id, account = %subject.name, image = %image, "run accepted");
                metrics::counter!("longshore_runs_accepted_total").increment(1);
                app.signals.jobs.notify_one();
                return Ok(Started { run: get(app, caller, id).await?, runner_uuid });
            }
            // Somebody took the name in this very minute.
            Ok(None) => {}
            Err(error) => return Err(error),
        }
    }
    let detail = format!("this repository has had {MAX_TWINS} runs within this minute");
    Err(Error::new(ErrorKind::TooMany(60), "too_many_runs", detail).hint("wait a minute"))
}

/// The run, its runner, the first line of its log and its job, together; none when the name is taken.
async fn insert(
    app: &App,
    caller: &Caller,
    repo: &git_repos::Row,
    (uuid, content): &(RunnerUuid, runners::Content),
    new: &runs::New<'_>,
    delivery: Option<&webhook_deliveries::New<'_>>,
) -> Result<Option<(RunId, RunnerUuid)>> {
    let tx = app.db.begin().await?;
    git_repos::locked(&tx, repo.id).await?.ok_or_else(|| Error::not_found("git repository", repo.id))?;
    // Two programs may tell of one push at the same time: the repository's row is held, so that one of them is first.
    if matches!(new.cause, RunCause::Webhook | RunCause::Poll)
        && let Some(commit) = new.commit
        && let Some(run) = runs::unfinished_of_commit(&tx, repo.id, commit).await?
    {
        let detail = format!("`{}` builds this commit already", run.name);
        return Err(Error::conflict("run_exists", detail).with("event", run.name));
    }
    let waiting = runs::count_queued(&tx, repo.account_id).await?;
    let limit = u64::from(app.config.builds.queued_per_account);
    if waiting >= limit {
        let detail = format!("{waiting} runs of this account are waiting, and {limit} may");
        return Err(Error::new(ErrorKind::TooMany(30), "too_many_runs", detail)
            .hint("wait until one has ended, or cancel one"));
    }
    if runs::has_name(&tx, repo.account_id, new.name).await? {
        return Ok(None);
    }
    let id = match runs::insert(&tx, new).await {
        Err(store::Error::Duplicate) => return Ok(None),
        inserted => inserted?,
    };
    if let Some(delivery) = delivery {
        let delivery = webhook_deliveries::New { run_id: Some(id), ..*delivery };
        webhook_deliveries::insert(&tx, &delivery).await.map_err(|error| match error {
            store::Error::Duplicate => Error::conflict("delivery_seen", "this delivery was handled already"),
            error => error.into(),
        })?;
    }
    let (uuid, run_id) = (*uuid, Some(id));
    let runner = runners::New { uuid, account_id: repo.account_id, run_id, content, now: new.now };
    runners::insert(&tx, &runner).await?;
    let target = new.uuid.to_string();
    let line = run_log::New {
        account_id: repo.account_id,
        git_repo_id: repo.id,
        run_id: Some(id),
        repo_name: &repo.content.repo_name,
        event_uuid: &target,
        runner_uuid: &uuid.to_string(),
        msg: &format!("queued: {}", new.name),
        now: new.now,
    };
    run_log::insert(&tx, &line).await?;
    let job = jobs::New {
        kind: jobs::Kind::RunPipeline,
        target: &target,
        account_id: Some(repo.account_id),
        run_at: new.now,
        now: new.now,
    };
    jobs::enqueue(&tx, &job).await?;
    let event = Event { action: "run.start", target: &target, acting_for: Some(repo.account_id) };
    audit::record(app, caller, &tx, event).await?;
    tx.commit().await?;
    Ok(Some((id, uuid)))
}

/// What a run's runner is told: all that a change of the repository or of the named runner must not change while it runs. What
/// a repository says itself wins over the runner that it names.
fn told(
    app: &App,
    repo: &git_repos::Row,
    named: Option<&runners::Row>,
    elsewhere: Option<&Elsewhere>,
    account: &AccountName,
    new: &runs::New<'_>,
) -> Result<(RunnerUuid, runners::Content)> {
    let own_or = |own: &str, named: Option<&String>| {
        let named = named.map(String::as_str).unwrap_or_default();
        if own.is_empty() { named.to_owned() } else { own.to_owned() }
    };
    let uuid = RunnerUuid(uuid::Uuid::now_v7());
    let of_named = named.map(|named| &named.content);
    let (owner, name) = new.image.split_once('/').unwrap_or(("", new.image));
    let mut content = runners::Content {
        name: new.job.to_owned(),
        kind: new.kind.to_owned(),
        registry_address: app.config.registry_name(),
        registry_name: account.to_string(),
        registry_password: None,
        image_repo: owner.to_owned(),
        image_name: name.to_owned(),
        image_tag: new.image_tag.to_owned(),
        repo_path: repo.content.url.clone(),
        repo_dockerfile: own_or(&repo.content.dockerfile, of_named.map(|named| &named.repo_dockerfile)),
        build_path: own_or(&repo.content.build_path, of_named.map(|named| &named.build_path)),
        description: String::new(),
    };
    if let (Some(elsewhere), Some(named)) = (elsewhere, named) {
        let (image_repo, name) = elsewhere.repository.rsplit_once('/').unwrap_or(("", &elsewhere.repository));
        elsewhere.address.clone_into(&mut content.registry_address);
        named.content.registry_name.clone_into(&mut content.registry_name);
        content.registry_password = super::runners::password_for(app, named, uuid)?;
        image_repo.clone_into(&mut content.image_repo);
        name.clone_into(&mut content.image_name);
    }
    Ok((uuid, content))
}

/// Where a repository's images go.
struct Destination {
    owner: Option<wire::names::Owner>,
    repo: RepoName,
    /// The tag that the owner chose.
    tag: Option<Tag>,
}

impl Destination {
    fn reference(&self, tag: &str) -> Result<ImageReference> {
        let tag = match &self.tag {
            Some(tag) => tag.clone(),
            None => tag.parse()?,
        };
        Ok(ImageReference { owner: self.owner.clone(), repo: self.repo.clone(), tag })
    }
}

/// The runner that a repository names as its `job`, when there is one: it may say where the image goes.
async fn named_runner(app: &App, row: &git_repos::Row) -> Result<Option<runners::Row>> {
    if row.content.job.is_empty() {
        return Ok(None);
    }
    let found = runners::by_name(&app.db, Some(row.account_id), &row.content.job).await?;
    Ok(found.into_iter().find(|runner| runner.run_id.is_none()))
}

/// Where an image is copied to, when the runner names another registry than this server's.
struct Elsewhere {
    address: String,
    repository: String,
    tag: Option<Tag>,
}

fn elsewhere(app: &App, row: &git_repos::Row, runner: &runners::Row) -> Result<Option<Elsewhere>> {
    let content = &runner.content;
    let address = content.registry_address.trim_end_matches('/');
    if address.is_empty() || super::runners::is_own_registry(app, address) {
        return Ok(None);
    }
    let wrong = |error: Error| {
        let detail = format!("the runner `{}`: {}", content.name, error.detail);
        Error { field: Some("job".to_owned()), ..Error::new(ErrorKind::Invalid, error.code, detail) }
    };
    foreign_registry::base_of(address).map_err(wrong)?;
    let host = address.split_once("://").map_or(address, |(_, host)| host);
    let image = row.content.image.as_str();
    let image = image.strip_prefix(host).and_then(|rest| rest.strip_prefix('/')).unwrap_or(image);
    let (image, image_tag) = match image.rsplit_once(':') {
        Some((image, tag)) if !tag.contains('/') => (image, tag),
        _ => (image, content.image_tag.as_str()),
    };
    let name =
        if content.image_name.is_empty() { slug(&row.content.repo_name) } else { content.image_name.clone() };
    let of_runner = if content.image_repo.is_empty() {
        name
    } else {
        format!("{}/{name}", content.image_repo.trim_matches('/'))
    };
    let repository = if image.is_empty() { of_runner } else { image.to_owned() };
    if !foreign_registry::is_repository(&repository) {
        let detail = format!("`{repository}` (IMAGE_REPO, IMAGE_NAME) is no name of an image in a registry");
        return Err(wrong(Error::invalid("job", detail)));
    }
    let tag = (!image_tag.is_empty()).then(|| image_tag.parse::<Tag>()).transpose()?;
    Ok(Some(Elsewhere { address: address.to_owned(), repository, tag }))
}

fn destination(
    app: &App,
    row: &git_repos::Row,
    runner: Option<&runners::Content>,
    subject: &Subject,
) -> Result<Destination> {
    let wrong = |detail: String| Error::invalid("image", detail);
    // What the repository says itself wins over its runner.
    let of_runner = runner.filter(|runner| !runner.image_name.is_empty()).map(|runner| {
        let owner =
            if runner.image_repo.is_empty() { String::new() } else { format!("{}/", runner.image_repo) };
        let tag = if runner.image_tag.is_empty() { String::new() } else { format!(":{}", runner.image_tag) };
        format!("{owner}{}{tag}", runner.image_name)
    });
    let image = match &of_runner {
        Some(image) if row.content.image.is_empty() => image.as_str(),
        _ => row.content.image.as_str(),
    };
    let own_names = super::runners::own_registries(app);
    let stripped = own_names.iter().find_map(|name| image.strip_prefix(name.as_str())?.strip_prefix('/'));
    let name = stripped.unwrap_or(image);
    let (name, tag) = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (name, None),
    };
    let chosen = if row.content.tag.is_empty() { tag } else { Some(row.content.tag.as_str()) };
    let tag = chosen.map(str::parse::<Tag>).transpose()?;
    if name.is_empty() {
        return Ok(Destination {
            owner: Some(subject.owner()),
            repo: cut(&slug(&row.content.repo_name), IMAGE_REPO_CHARS).parse()?,
            tag,
        });
    }
    let (owner, repo) = match name.split_once('/') {
        Some((owner, repo)) => (Some(owner), repo),
        None => (None, name),
    };
    let advice = format!("name it `{}` or `{}/{}`", slug(repo), subject.name, slug(repo));
    let parsed = |text: &str| format!("`{text}` is not an image of this server's registry; {advice}");
    let owner = owner.map(|owner| owner.parse().map_err(|_| wrong(parsed(image)))).transpose()?;
    let repo = repo.parse().map_err(|_| wrong(parsed(image)))?;
    Ok(Destination { owner: Some(owner.unwrap_or_else(|| subject.owner())), repo, tag })
}

/// Lower-case letters, digits and single hyphens between them; never empty.
pub fn slug(text: &str) -> String {
    let mut slug = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { format!("repo-{}", short_hash(text)) } else { slug.to_owned() }
}

/// A slug that fits; one that was cut stays apart from others that begin alike.
fn cut(slug: &str, room: usize) -> String {
    if slug.len() <= room {
        return slug.to_owned();
    }
    let hash = short_hash(slug);
    format!("{}-{hash}", slug[..room - hash.len() - 1].trim_end_matches('-'))
}

fn short_hash(text: &str) -> String {
    hex::encode(&Sha256::digest(text)[..3])
}

/// The names of a run of a minute.
struct RunNames {
    slug: String,
    minute: String,
}

impl RunNames {
    fn new(repo_name: &str, now: Timestamp) -> Self {
        let minute = chrono::DateTime::from_timestamp_micros(now.0).unwrap_or_default();
        Self { slug: slug(repo_name), minute: minute.format("%Y%m%d%H%M").to_string() }
    }

    /// Name, job and tag of the first, second … run of the minute.
    fn of(&self, twin: u32) -> (String, String, String) {
        let twin = if twin == 1 { String::new() } else { format!("-{twin}") };
        let tag = format!("v{}{twin}", self.minute);
        let room = JOB_CHARS - "-build".len() - tag.len();
        let job = format!("{}-build{tag}", cut(&self.slug, room));
        (format!("event-{job}"), job, tag)
    }
}

/// A run: one's own, or any for an admin.
pub async fn get(app: &App, caller: &Caller, id: RunId) -> Result<RunView> {
    let row = find(app, caller, id).await?;
    let account = account_name(app, row.account_id).await?;
    Ok(view(row, account))
}

/// The run of a name: one's own, else, for an admin, the only one of that name.
pub async fn by_name(app: &App, caller: &Caller, name: &str) -> Result<RunId> {
    let whose = if caller.is_admin() { None } else { Some(caller.account) };
    let found = runs::by_name(&app.db, whose, name).await?;
    let own = found.iter().find(|row| row.account_id == caller.account);
    match (own, found.as_slice()) {
        (Some(row), _) | (None, [row]) => Ok(row.id),
        (None, []) => Err(Error::not_found("run", name)),
        (None, _) => {
            let detail = format!("several accounts have a run `{name}`; name one by its number");
            Err(Error::conflict("ambiguous", detail))
        }
    }
}

/// Runs, narrowed and ordered; one's own, everybody's for an admin.
pub async fn list(app: &App, caller: &Caller, filter: Filter) -> Result<PageOf<RunView>> {
    let found = runs::list(&app.db, &visible(caller, filter)).await?;
    let mut names = Names::default();
    let mut rows = Vec::with_capacity(found.rows.len());
    for row in found.rows {
        let account = names.of(app, row.account_id).await?;
        rows.push(view(row, account));
    }
    Ok(PageOf { rows, total: found.total })
}

pub(super) async fn find(app: &App, caller: &Caller, id: RunId) -> Result<Row> {
    let row = runs::get(&app.db, id).await?;
    row.filter(|row| caller.may_act_for(row.account_id)).ok_or_else(|| Error::not_found("run", id))
}

/// Changes what a run is for, and its owner's word for it.
pub async fn update(
    app: &App,
    caller: &Caller,
    id: RunId,
    description: Option<&str>,
    kind: Option<&str>,
) -> Result<RunView> {
    let row = find(app, caller, id).await?;
    let mut wrong = super::git_repos::Wrong::default();
    let description = wrong.text("description", description.unwrap_or(&row.description), DESCRIPTION_CHARS);
    let kind = wrong.text("kind", kind.unwrap_or(&row.kind), KIND_CHARS);
    wrong.done()?;
    let tx = app.db.begin().await?;
    runs::set_words(&tx, id, &description, &kind).await?;
    let target = id.to_string();
    let event = Event { action: "run.update", target: &target, acting_for: Some(row.account_id) };
    audit::record(app, caller, &tx, event).await?;
    tx.commit().await?;
    get(app, caller, id).await
}

/// Deletes a run that has ended, with its runner and its log; its image stays.
pub async fn delete(app: &App, caller: &Caller, id: RunId) -> Result<()> {
    let row = find(app, caller, id).await?;
    if !row.state.is_final() {
        return Err(Error::conflict("run_unfinished", "the run has not ended").hint("cancel it first"));
    }
    let tx = app.db.begin().await?;
    runs::delete(&tx, id).await?;
    let target = row.uuid.to_string();
    let event = Event { action: "run.delete", target: &target, acting_for: Some(row.account_id) };
    audit::record(app, caller, &tx, event).await?;
    Ok(tx.commit().await?)
}

/// Asks for the end of a run. A waiting one ends at once; a running one when git or the engine has let go of it.
pub async fn cancel(app: &App, caller: &Caller, id: RunId) -> Result<RunView> {
    let found = find(app, caller, id).await?;
    if found.state == OperationState::Cancelled || found.cancel_requested {
        return get(app, caller, id).await;
    }
    let now = app.now();
    let tx = app.db.begin().await?;
    if !runs::request_cancel(&tx, id).await? {
        return Err(Error::conflict("run_ended", "the run has ended already"));
    }
    let is_waiting = runs::get(&tx, id).await?.is_some_and(|row| row.state == OperationState::Queued);
    if is_waiting {
        runs::finish(&tx, id, &cancelled(&found.steps), now).await?;
        log_rules::note(&tx, &found, "cancelled", now).await?;
        super::notifications::enqueue(app, &tx, &found, true).await?;
    }
    let target = found.uuid.to_string();
    let event = Event { action: "run.cancel", target: &target, acting_for: Some(found.account_id) };
    audit::record(app, caller, &tx, event).await?;
    tx.commit().await?;
    app.operation_logs.touched(found.uuid);
    if is_waiting {
        app.operation_logs.ended(found.uuid);
        app.signals.jobs.notify_one();
    }
    get(app, caller, id).await
}

/// How a run ends that somebody gave up.
pub fn cancelled(steps: &[wire::runs::RunStep]) -> runs::Outcome<'_> {
    runs::Outcome {
        state: OperationState::Cancelled,
        reason: Some("cancelled"),
        message: Some("the run was cancelled"),
        digest: None,
        steps,
    }
}

/// The same commit again.
pub async fn retry(app: &App, caller: &Caller, id: RunId) -> Result<Started> {
    let row = find(app, caller, id).await?;
    if !row.state.is_final() {
        return Err(Error::conflict("run_unfinished", "the run has not ended").hint("cancel it first"));
    }
    let again = Start {
        cause: RunCause::Retry,
        git_ref: Some(&row.git_ref),
        commit: row.commit.as_deref(),
        description: &row.description,
        kind: &row.kind,
        retry_of: Some(id),
        delivery: None,
    };
    start(app, caller, row.git_repo_id, again).await
}

/// An account as the one in whose name work goes on; none when it cannot be used any more.
pub async fn worker(app: &App, account: AccountId) -> Result<Option<Caller>> {
    let found = store::accounts::get(&app.db, account).await?;
    Ok(found.filter(|account| account.state == AccountState::Active).map(|account| Caller {
        account: account.id,
        name: account.account,
        role: account.role,
        proof: Proof::Job,
        ip: None,
        request_id: None,
    }))
}

/// Removes runs that ended long ago, with their logs, and deliveries of webhooks that nobody looks at any more.
pub(crate) async fn sweep(app: &App) -> Result<()> {
    let ago = |days: u32| app.now().plus_secs(-i64::from(days) * 24 * 3600);
    webhook_deliveries::delete_before(&app.db, ago(KEEP_DELIVERIES_DAYS)).await?;
    if app.config.pipelines.keep_days == 0 {
        return Ok(());
    }
    loop {
        let old = runs::ended_before(&app.db, ago(app.config.pipelines.keep_days), SWEPT_AT_ONCE).await?;
        for run in &old {
            // The file first: a row without its log says so, a log without its row would stay for ever.
            let (blobs, name) = (app.blobs.clone(), run.uuid.to_string());
            blocking(move || blobs.delete(BlobKind::BuildLog, &name)).await?;
            runs::delete(&app.db, run.id).await?;
        }
        if (old.len() as u64) < SWEPT_AT_ONCE {
            return Ok(());
        }
    }
}

/// The image of a run, whole.
pub fn image_of(row: &Row) -> Result<ImageReference> {
    Ok(format!("{}:{}", row.image, row.image_tag).parse()?)
}

/// The tag by which an image tells its commit.
pub fn commit_tag(commit: &str) -> Result<Tag> {
    Ok(commit.chars().take(SHORT_COMMIT).collect::<String>().parse()?)
}

/// Opens a run's log for its owner or an admin.
pub async fn log(app: &App, caller: &Caller, id: RunId) -> Result<Log> {
    let row = find(app, caller, id).await?;
    let account = account_name(app, row.account_id).await?;
    Ok(Log { app: app.clone(), id, uuid: row.uuid, account })
}

/// A run's log: what git and the engine said. Holds nothing of it: every read goes to the file.
pub struct Log {
    app: App,
    id: RunId,
    uuid: BuildId,
    account: AccountName,
}

impl OperationLog for Log {
    type View = RunView;

    fn app(&self) -> &App {
        &self.app
    }

    fn id(&self) -> BuildId {
        self.uuid
    }

    async fn view(&self) -> Result<RunView> {
        let row = runs::get(&self.app.db, self.id).await?;
        row.map(|row| view(row, self.account.clone())).ok_or_else(|| Error::not_found("run", self.id))
    }

    fn state(view: &RunView) -> OperationState {
        view.state
    }
}

fn view(row: Row, account: AccountName) -> RunView {
    RunView {
        id: row.id,
        uuid: row.uuid,
        account,
        git_repo_id: row.git_repo_id,
        repo_name: row.repo_name,
        name: row.name,
        job: row.job,
        kind: row.kind,
        state: row.state,
        reason: row.reason,
        message: row.message,
        cause: row.cause,
        executor: row.executor,
        git_ref: row.git_ref,
        commit: row.commit,
        image: row.image,
        image_tag: row.image_tag,
        digest: row.digest,
        steps: row.steps,
        retry_of: row.retry_of,
        description: row.description,
        created_at: row.created_at,
        started_at: row.started_at,
        ended_at: row.ended_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_seed() {
        // 2021-11-25 15:17:00
        let names = RunNames::new("prometh_exporter", Timestamp(1_637_853_420_000_000));

        let (event, job, tag) = names.of(1);
        assert_eq!(event, "event-prometh-exporter-buildv202111251517");
        assert_eq!((job.as_str(), tag.as_str()), ("prometh-exporter-buildv202111251517", "v202111251517"));
        let (event, job, tag) = names.of(2);
        assert_eq!(event, "event-prometh-exporter-buildv202111251517-2");
        assert_eq!(
            (job.as_str(), tag.as_str()),
            ("prometh-exporter-buildv202111251517-2", "v202111251517-2")
        );
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let long = "a".repeat(150);
        let other = format!("{}b", "a".repeat(149));

        let jobs: Vec<String> =
            [&long, &other].iter().map(|name| RunNames::new(name, Timestamp(0)).of(99).1).collect();

        assert!(jobs.iter().all(|job| job.len() <= JOB_CHARS), "{jobs:?}");
        assert_ne!(jobs[0], jobs[1]);
        let repos: Vec<String> =
            [&long, &other].iter().map(|name| cut(&slug(name), IMAGE_REPO_CHARS)).collect();
        assert!(repos.iter().all(|repo| repo.parse::<RepoName>().is_ok()), "{repos:?}");
        assert_ne!(repos[0], repos[1]);
    }

    #[test]
    fn slugs_are_never_empty() {
        assert_eq!(slug("My App__v2!"), "my-app-v2");
        assert!(slug("仓库").starts_with("repo-"));
        assert_ne!(slug("仓库"), slug("代码"));
    }
}
