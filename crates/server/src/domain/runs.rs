//! Runs: from a wish to a row in the queue, and everything that can be asked of a run afterwards. The work itself is
//! `jobs/run_pipeline.rs`.

use store::filtered::Filter;
use store::runs::Row;
use store::{PageOf, git_repos, jobs, run_log, runners, runs, webhook_deliveries};
use wire::accounts::AccountState;
use wire::builds::OperationState;
use wire::ids::{AccountId, BuildId, GitRepoId, RunId, RunnerUuid};
use wire::names::{AccountName, ImageReference, Tag};
use wire::runs::{RunCause, RunExecutor, RunView};

use super::audit::{self, Event};
use super::git_repos::{Names, account_name, visible};
use super::operation_log::OperationLog;
use super::run_destinations::{
    Destination, Elsewhere, RunNames, destination, elsewhere, named_runner, own_name,
};
use super::{builds as build_rules, run_log as log_rules};
use crate::app::App;
use crate::caller::{Caller, Proof, Subject};
use crate::clients::git;
use crate::error::{Error, ErrorKind, Result};

/// Runs of one name that are told apart by a number.
const MAX_TWINS: u32 = 99;
/// Longest name of a branch, a tag or a commit in characters.
pub(crate) const REF_CHARS: usize = 300;
/// Longest words of a run in characters.
const DESCRIPTION_CHARS: usize = 300;
/// Longest words of an owner's own for a run in characters.
const KIND_CHARS: usize = 50;
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

    /// Somebody sends a working copy.
    pub const UPLOAD: Self = Self { cause: RunCause::Upload, ..Self::MANUAL };
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
    let plan = plan(app, caller, repo, &start).await?;
    accept(app, caller, &plan, &start, BuildId(uuid::Uuid::now_v7())).await
}

/// Accepts a run of a working copy that somebody sent.
pub async fn start_upload(
    app: &App,
    caller: &Caller,
    mut plan: Plan,
    start: Start<'_>,
    source: build_rules::Source<'_>,
) -> Result<Started> {
    let uuid = BuildId(uuid::Uuid::now_v7());
    let context = build_rules::keep_context(app, uuid, source).await?;
    plan.sent = Some(context.dockerfile);
    let started = accept(app, caller, &plan, &start, uuid).await;
    // After a failed commit nobody knows whether the row is there: only when it is not, the context may go.
    if started.is_err() && matches!(runs::by_uuid(&app.db, uuid).await, Ok(None)) {
        build_rules::drop_context(app, uuid).await;
    }
    started
}

/// A run that may be started: the answer to everything that can be decided before anything is sent.
pub struct Plan {
    row: git_repos::Row,
    subject: Subject,
    runner: Option<runners::Row>,
    elsewhere: Option<Elsewhere>,
    destination: Destination,
    executor: RunExecutor,
    /// The image, without the tag.
    image: String,
    /// The Dockerfile in a working copy that was sent.
    sent: Option<String>,
}

/// Decides whether the caller may start this run now.
pub async fn plan(app: &App, caller: &Caller, repo: GitRepoId, start: &Start<'_>) -> Result<Plan> {
    let row = super::git_repos::find(app, caller, repo).await?;
    let git_ref = ref_of(&row, start);
    if git_ref.chars().count() > REF_CHARS {
        return Err(Error::invalid("git_ref", format!("`git_ref` has more than {REF_CHARS} characters")));
    }
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
    let name = if row.account_id == caller.account {
        caller.name.clone()
    } else {
        account_name(app, row.account_id).await?
    };
    let subject = Subject { account: row.account_id, name };
    let runner = named_runner(app, &row).await?;
    let elsewhere = runner.as_ref().map(|runner| elsewhere(app, &row, runner)).transpose()?.flatten();
    let destination = match &elsewhere {
        Some(elsewhere) => {
            let tag = if row.content.tag.is_empty() {
                elsewhere.tag.clone()
            } else {
                Some(row.content.tag.parse()?)
            };
            Destination { owner: Some(subject.owner()), repo: own_name(&row.content.repo_name)?, tag }
        }
        None => destination(app, &row, runner.as_ref().map(|runner| &runner.content), &subject)?,
    };
    let executor = row.content.options.executor.unwrap_or(app.config.pipelines.executor);
    if executor == RunExecutor::Kubernetes {
        super::cluster_builds::place(app).await?;
    }
    // Rights and places in line are those of a build.
    let reference = destination.reference("latest")?;
    let of_build = if start.cause == RunCause::Upload {
        build_rules::admit(app, caller, Some(subject.clone()), reference).await?
    } else {
        // The line is looked at when the run gets in it, a moment from now.
        build_rules::check_rights(app, caller, Some(subject.clone()), reference).await?
    };
    let image = of_build.image().repository();
    Ok(Plan { row, subject, runner, elsewhere, destination, executor, image, sent: None })
}

fn ref_of<'a>(row: &'a git_repos::Row, start: &Start<'a>) -> &'a str {
    match start.cause {
        RunCause::Upload => "",
        _ => start.git_ref.unwrap_or(&row.content.branch).trim(),
    }
}

async fn accept(
    app: &App,
    caller: &Caller,
    plan: &Plan,
    start: &Start<'_>,
    uuid: BuildId,
) -> Result<Started> {
    let Plan { row, subject, destination, executor, image, .. } = plan;
    let now = app.now();
    let names = RunNames::new(&row.content.repo_name, now);
    let mut twin = 1;
    loop {
        let tx = app.db.begin().await?;
        let latest = admit(app, &tx, row, start).await?;
        twin = latest.map_or(1, |latest| names.after(&latest, MAX_TWINS)).max(twin);
        if twin > MAX_TWINS {
            let detail = format!("this repository has had {MAX_TWINS} runs within this minute");
            return Err(Error::new(ErrorKind::TooMany(60), "too_many_runs", detail).hint("wait a minute"));
        }
        let (event, job, time_tag) = names.of(twin);
        let image_tag = destination.tag.as_ref().map_or(time_tag, |tag| tag.as_str().to_owned());
        let kind = if start.kind.is_empty() { &row.content.kind } else { start.kind };
        let new = runs::New {
            uuid,
            account_id: row.account_id,
            git_repo_id: row.id,
            name: &event,
            repo_name: &row.content.repo_name,
            job: &job,
            kind,
            image,
            image_tag: &image_tag,
            git_ref: ref_of(row, start),
            commit: start.commit,
            description: start.description,
            cause: start.cause,
            executor: *executor,
            retry_of: start.retry_of,
            now,
        };
        let runner = told(app, plan, &new)?;
        if let Some((id, runner_uuid)) = insert(app, caller, tx, row, &runner, &new, start.delivery).await? {
            tracing::info!(run.id = %id, account = %subject.name, image = %image, "run accepted");
            metrics::counter!("longshore_runs_accepted_total").increment(1);
            app.signals.jobs.of(kind_of_job(*executor));
            return Ok(Started { run: view(new.stored(id), subject.name.clone()), runner_uuid });
        }
        // A repository with a name like this one has the name.
        twin += 1;
    }
}

/// Whether another run of a repository may wait now, for the rest of the transaction; the name of its latest.
async fn admit(
    app: &App,
    tx: &store::Tx,
    repo: &git_repos::Row,
    start: &Start<'_>,
) -> Result<Option<String>> {
    let line = runs::line(tx, repo.account_id, repo.id).await?;
    let line = line.ok_or_else(|| Error::not_found("git repository", repo.id))?;
    // Two programs may tell of one push at the same time: the repository is held, so that one of them is first.
    if matches!(start.cause, RunCause::Webhook | RunCause::Poll)
        && let Some(commit) = start.commit
        && let Some(run) = runs::unfinished_of_commit(tx, repo.id, commit).await?
    {
        let detail = format!("`{}` builds this commit already", run.name);
        return Err(Error::conflict("run_exists", detail).with("event", run.name));
    }
    build_rules::check_line(app, line.queued_builds)?;
    let limit = u64::from(app.config.builds.queued_per_account);
    if line.queued >= limit {
        let detail = format!("{} runs of this account are waiting, and {limit} may", line.queued);
        return Err(Error::new(ErrorKind::TooMany(30), "too_many_runs", detail)
            .hint("wait until one has ended, or cancel one"));
    }
    Ok(line.latest_name)
}

fn kind_of_job(executor: RunExecutor) -> jobs::Kind {
    match executor {
        RunExecutor::Docker => jobs::Kind::RunPipeline,
        RunExecutor::Kubernetes => jobs::Kind::RunInCluster,
    }
}

/// The run, its runner, the first line of its log and its job, together; none when the name is taken.
async fn insert(
    app: &App,
    caller: &Caller,
    tx: store::Tx,
    repo: &git_repos::Row,
    (uuid, content): &(RunnerUuid, runners::Content),
    new: &runs::New<'_>,
    delivery: Option<&webhook_deliveries::New<'_>>,
) -> Result<Option<(RunId, RunnerUuid)>> {
    let id = match runs::insert(&tx, new).await {
        Err(store::Error::Duplicate) => return Ok(None),
        inserted => inserted?,
    };
    if let Some(delivery) = delivery {
        let delivery = webhook_deliveries::New { run_id: delivery.run_id.or(Some(id)), ..*delivery };
        webhook_deliveries::insert(&tx, &delivery).await.map_err(|error| match error {
            store::Error::Duplicate => Error::conflict("delivery_seen", "this delivery was handled already"),
            error => error.into(),
        })?;
    }
    let (uuid, run_id) = (*uuid, Some(id));
    let runner = runners::New { uuid, account_id: repo.account_id, run_id, content, now: new.now };
    runners::insert_later(&tx, &runner).await?;
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
    run_log::insert_later(&tx, &line).await?;
    let job = jobs::New {
        kind: kind_of_job(new.executor),
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
fn told(app: &App, plan: &Plan, new: &runs::New<'_>) -> Result<(RunnerUuid, runners::Content)> {
    let Plan { row: repo, runner: named, elsewhere, .. } = plan;
    let (named, account) = (named.as_ref(), &plan.subject.name);
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
    if let Some(dockerfile) = &plan.sent {
        dockerfile.clone_into(&mut content.repo_dockerfile);
        content.build_path.clear();
    }
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
        build_rules::drop_context(app, found.uuid).await;
        app.operation_logs.ended(found.uuid);
        app.signals.jobs.any();
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
    // It went with its run.
    if row.cause == RunCause::Upload {
        return Err(Error::conflict("not_kept", "the working copy that was sent is not kept")
            .hint("send it again: `longshore run start FOLDER`"));
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
