//! Builds: from an uploaded archive to a row in the queue, and everything that can be asked of a build afterwards. The
//! work itself is `jobs/build_image.rs`.

use store::{builds, jobs};
use wire::builds::{BuildKind, BuildView, OperationState};
use wire::ids::{BuildId, MachineId};
use wire::names::{ImageName, ImageReference, RepoName};
use wire::page::{MAX_LIMIT, Page, PageQuery};
use wire::runs::RunExecutor;

use super::accounts::{self, Named};
use super::audit::{self, Event};
use super::build_contexts::transcode;
use super::operation_log::OperationLog;
use crate::app::App;
use crate::archive;
use crate::blobs::{BlobKind, Upload, blocking};
use crate::caller::{Caller, Subject};
use crate::error::{Error, ErrorKind, Result};

/// Bytes of log that go along with a failure.
const TAIL_BYTES: u64 = 4 << 10;
/// A build that its caller may make: the answer to everything that can be decided before the archive is there.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Whose build it is: its rights decide what `FROM` may name, its limits count it.
    subject: Subject,
    /// The image that it makes.
    image: ImageName,
    /// The build's id.
    id: BuildId,
    /// What builds it.
    executor: RunExecutor,
}

impl Admission {
    /// The image that it makes.
    pub fn image(&self) -> &ImageName {
        &self.image
    }

    /// The same as the build of a run.
    pub(crate) fn for_run(self, id: BuildId, executor: RunExecutor) -> Self {
        Self { id, executor, ..self }
    }
}

/// What is built.
#[derive(Debug)]
pub struct Source<'a> {
    /// The Dockerfile's path in the archive; `Dockerfile` when none is given.
    pub dockerfile: Option<&'a str>,
    /// The archive.
    pub upload: Upload,
}

/// Which builds to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only of this account (for admins; others see their own only).
    pub account: Option<String>,
    /// Only in this state.
    pub state: Option<OperationState>,
    /// Only for this repository.
    pub repo: Option<RepoName>,
}

/// Decides whether the caller may build this image now, before a byte of the archive is read: by its rights, and by what
/// waits already.
pub async fn admit(
    app: &App,
    caller: &Caller,
    subject: Option<Subject>,
    image: ImageReference,
) -> Result<Admission> {
    let admission = check_rights(app, caller, subject, image).await?;
    check_line(app, builds::count_queued(&app.db, admission.subject.account).await?)?;
    Ok(admission)
}

/// Decides whether the caller may build this image at all. Without a subject, an image of somebody else's is built in that
/// account's name, which only admins may do; `public/…` is theirs too.
pub(super) async fn check_rights(
    app: &App,
    caller: &Caller,
    subject: Option<Subject>,
    image: ImageReference,
) -> Result<Admission> {
    let subject = match (subject, &image.owner) {
        (Some(subject), _) => subject,
        (None, Some(owner)) if !owner.is_public() => {
            accounts::subject(app, caller, Some(Named::Account(owner.as_str()))).await?
        }
        (None, _) => accounts::subject(app, caller, None).await?,
    };
    let image = image.with_default_owner(&subject.owner());
    if image.owner.is_public() && !caller.is_admin() {
        return Err(Error::forbidden("public_admin_only", "only an admin can make public images")
            .hint(format!("build it as `{}/{}:{}`", subject.name, image.repo, image.tag)));
    }
    if !caller.may_push(&image.owner) || (!image.owner.is_public() && image.owner != subject.owner()) {
        return Err(Error::forbidden(
            "not_yours",
            "this names another account's image; you can build your own only",
        ));
    }
    // What an archive or a container becomes is made on machines; only a run chooses.
    Ok(Admission { subject, image, id: BuildId(uuid::Uuid::now_v7()), executor: RunExecutor::Docker })
}

/// Decides whether another build of an account may wait, beside those that do.
pub(super) fn check_line(app: &App, waiting: u64) -> Result<()> {
    let limit = u64::from(app.config.builds.queued_per_account);
    if waiting < limit {
        return Ok(());
    }
    let detail = format!("{waiting} builds of this account are waiting, and {limit} may");
    Err(Error::new(ErrorKind::TooMany(30), "too_many_builds", detail)
        .hint("wait until one has ended, or cancel one"))
}

/// Accepts a build: the archive becomes a safe context, and a row in the queue says so. The build survives a power cut
/// from the moment this returns.
pub async fn create(
    app: &App,
    caller: &Caller,
    admission: Admission,
    source: Source<'_>,
) -> Result<BuildView> {
    let id = admission.id;
    let synced = accept(app, caller, admission, source, true).await?;
    debug_assert!(synced.is_none(), "a durable context is synced before its row");
    view(app, get_row(app, id).await?).await
}

/// Accepts a build whose caller waits for its end. The context reaches the disk while the build already runs: nothing
/// was promised before the end, and a context that a power cut spoiled makes the build fail.
pub async fn create_and_wait(
    app: &App,
    caller: &Caller,
    admission: Admission,
    source: Source<'_>,
) -> Result<BuildView> {
    let id = admission.id;
    let synced = accept(app, caller, admission, source, false).await?;
    let ended = wait_for_end(app, id).await;
    if let Some(synced) = synced
        && let Ok(Err(error)) = synced.await
    {
        tracing::debug!(%error, build.id = %id, "a context was not synced; it is not needed any more");
    }
    ended
}

/// Makes the archive of a run the context of its build to come.
pub(crate) async fn keep_context(app: &App, id: BuildId, source: Source<'_>) -> Result<archive::Context> {
    Ok(transcode(app, id, source, true).await?.0)
}

/// Accepts the build of a run whose context is there: whoever does it twice finds that it exists.
pub(crate) async fn create_of_context(
    app: &App,
    caller: &Caller,
    admission: Admission,
    dockerfile: &str,
) -> Result<()> {
    let Admission { subject, image, id, executor } = admission;
    let blobs = app.blobs.clone();
    let bytes = blocking(move || match std::fs::metadata(blobs.path(BlobKind::Context, &id.to_string())) {
        Ok(found) => Ok(Some(found.len())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    });
    let Some(bytes) = bytes.await? else {
        let detail = "the working copy that was sent is gone";
        return Err(Error::conflict("context_lost", detail).hint("send it again"));
    };
    let source = NewSource::Archive { dockerfile, bytes };
    insert(app, caller, &New { id, subject: &subject, image: &image, source, executor }).await?;
    tracing::info!(build.id = %id, account = %subject.name, %image, "build accepted");
    metrics::counter!("longshore_builds_accepted_total").increment(1);
    app.signals.jobs.any();
    Ok(())
}

/// Removes a context that no build needs.
pub(crate) async fn drop_context(app: &App, id: BuildId) {
    let blobs = app.blobs.clone();
    if let Err(error) = blocking(move || blobs.delete(BlobKind::Context, &id.to_string())).await {
        tracing::warn!(%error, build.id = %id, "a context stays until the next start");
    }
}

type Synced = tokio::task::JoinHandle<std::io::Result<()>>;

async fn accept(
    app: &App,
    caller: &Caller,
    admission: Admission,
    source: Source<'_>,
    is_durable: bool,
) -> Result<Option<Synced>> {
    let Admission { subject, image, id, executor } = admission;
    let (context, file) = transcode(app, id, source, is_durable).await?;

    let archive = NewSource::Archive { dockerfile: &context.dockerfile, bytes: context.unpacked_bytes };
    let new = New { id, subject: &subject, image: &image, source: archive, executor };
    if let Err(error) = insert(app, caller, &new).await {
        // After a failed commit nobody knows whether the row is there: only when it is not, the context may go. What
        // stays here by mistake is swept away later.
        if let Ok(None) = builds::get(&app.db, id).await {
            let blobs = app.blobs.clone();
            blocking(move || blobs.delete(BlobKind::Context, &id.to_string())).await?;
        }
        return Err(error);
    }
    let synced = (!is_durable).then(|| tokio::task::spawn_blocking(move || file.sync_all()));
    tracing::info!(build.id = %id, account = %subject.name, %image, "build accepted");
    metrics::counter!("longshore_builds_accepted_total").increment(1);
    app.signals.jobs.any();
    Ok(synced)
}

struct New<'a> {
    id: BuildId,
    subject: &'a Subject,
    image: &'a ImageName,
    source: NewSource<'a>,
    executor: RunExecutor,
}

enum NewSource<'a> {
    Archive { dockerfile: &'a str, bytes: u64 },
    Container(&'a builds::Save),
}

/// Accepts the saving of a container, which is a build without an archive: it waits, is logged, is cancelled and survives
/// as they do.
pub(super) async fn create_save(
    app: &App,
    caller: &Caller,
    admission: Admission,
    save: &builds::Save,
) -> Result<BuildView> {
    let Admission { subject, image, id, executor } = admission;
    let new = New { id, subject: &subject, image: &image, source: NewSource::Container(save), executor };
    insert(app, caller, &new).await?;
    tracing::info!(build.id = %id, container.id = %save.container_id, account = %subject.name, %image, "a container is to be saved");
    metrics::counter!("longshore_builds_accepted_total").increment(1);
    app.signals.jobs.any();
    view(app, get_row(app, id).await?).await
}

async fn insert(app: &App, caller: &Caller, new: &New<'_>) -> Result<()> {
    let now = app.now();
    let target = new.id.to_string();
    let tx = app.db.begin().await?;
    // Again, where nobody else can come in between.
    check_line(app, builds::count_queued(&tx, new.subject.account).await?)?;
    let empty = builds::New {
        id: new.id,
        account_id: new.subject.account,
        image: new.image,
        dockerfile: "",
        context_blob: None,
        context_bytes: 0,
        save: None,
        now,
    };
    let (row, action) = match new.source {
        NewSource::Archive { dockerfile, bytes } => {
            let (context_blob, context_bytes) = (Some(target.as_str()), bytes);
            (builds::New { dockerfile, context_blob, context_bytes, ..empty }, "build.create")
        }
        NewSource::Container(save) => (builds::New { save: Some(save), ..empty }, "container.save"),
    };
    builds::insert(&tx, &row).await?;
    let job = jobs::New {
        kind: match new.executor {
            RunExecutor::Docker => jobs::Kind::BuildImage,
            RunExecutor::Kubernetes => jobs::Kind::BuildInCluster,
        },
        target: &target,
        account_id: Some(new.subject.account),
        run_at: now,
        now,
    };
    jobs::enqueue(&tx, &job).await?;
    let event = Event { action, target: &target, acting_for: Some(new.subject.account) };
    audit::record(app, caller, &tx, event).await?;
    Ok(tx.commit().await?)
}

/// A build: one's own, or any for an admin.
pub async fn get(app: &App, caller: &Caller, id: BuildId) -> Result<BuildView> {
    view(app, find(app, caller, id).await?).await
}

/// Lists builds, newest first: one's own; everybody's for an admin.
pub async fn list(app: &App, caller: &Caller, filter: &Filter, page: PageQuery) -> Result<Page<BuildView>> {
    let account = match &filter.account {
        Some(name) => Some(accounts::subject(app, caller, Some(Named::Account(name))).await?.account),
        None if caller.is_admin() => None,
        None => Some(caller.account),
    };
    let filter = builds::Filter { account, state: filter.state, repo: filter.repo.as_ref(), owner: None };
    let found = builds::list(&app.db, filter, page).await?;
    let mut queue = Queue::default();
    if found.rows.iter().any(|row| row.state == OperationState::Queued) {
        queue = Queue::read(app).await?;
    }
    Ok(super::page_of(found, page, |row| {
        let position = queue.position(row.id);
        to_view(row, position)
    }))
}

/// The waiting builds, to tell many of them their place with one query.
#[derive(Default)]
struct Queue {
    newest_first: Vec<BuildId>,
    total: u64,
}

impl Queue {
    async fn read(app: &App) -> Result<Self> {
        let filter = builds::Filter { state: Some(OperationState::Queued), ..builds::Filter::default() };
        let found = builds::list(&app.db, filter, PageQuery { limit: Some(MAX_LIMIT), offset: None }).await?;
        Ok(Self { newest_first: found.rows.into_iter().map(|row| row.id).collect(), total: found.total })
    }

    fn position(&self, id: BuildId) -> Option<u64> {
        let from_end = self.newest_first.iter().position(|queued| *queued == id)?;
        Some(self.total.saturating_sub(1).saturating_sub(from_end as u64))
    }
}

/// Asks for the end of a build. A waiting one ends at once; a running one when the engine has let go of it.
pub async fn cancel(app: &App, caller: &Caller, id: BuildId) -> Result<BuildView> {
    let found = find(app, caller, id).await?;
    if found.state == OperationState::Cancelled || found.cancel_requested {
        return view(app, found).await;
    }
    let tx = app.db.begin().await?;
    if !builds::request_cancel(&tx, id).await? {
        return Err(Error::conflict("build_ended", "the build has ended already"));
    }
    let is_waiting = builds::get(&tx, id).await?.is_some_and(|row| row.state == OperationState::Queued);
    if is_waiting {
        builds::finish(&tx, id, &cancelled(), app.now()).await?;
    }
    let target = id.to_string();
    let event = Event { action: "build.cancel", target: &target, acting_for: Some(found.account_id) };
    audit::record(app, caller, &tx, event).await?;
    tx.commit().await?;
    if is_waiting {
        ended(app, id).await;
        // Its job has nothing left to do but to say so.
        app.signals.jobs.any();
    } else {
        app.operation_logs.touched(id);
    }
    view(app, get_row(app, id).await?).await
}

/// How a build ends that somebody gave up.
pub fn cancelled() -> builds::Outcome<'static> {
    builds::Outcome {
        state: OperationState::Cancelled,
        reason: Some("cancelled"),
        message: Some("the build was cancelled"),
        image_id: None,
        digest: None,
        size_bytes: None,
    }
}

/// What is to do once a build's final state is stored: those who follow it hear of it, and its context goes.
pub async fn ended(app: &App, id: BuildId) {
    app.operation_logs.ended(id);
    drop_context(app, id).await;
}

/// Waits until a build has ended; an error when the server ends before.
async fn wait_for_end(app: &App, id: BuildId) -> Result<BuildView> {
    let log = Log { app: app.clone(), id };
    let (mut build, mut changes) = log.follow().await?;
    while !build.state.is_final() {
        tokio::select! {
            () = changes.of_row() => build = log.view().await?,
            () = app.shutdown.cancelled() => {
                return Err(Error::unavailable("server_stopping", "the server is stopping; the build goes on when it is back")
                    .hint(format!("look at the build later: GET /api/v1/builds/{id}"))
                    .with("build_id", id.to_string()));
            }
        }
    }
    Ok(build)
}

/// A failed or cancelled build as the answer to a request that waited for it.
pub async fn failure(app: &App, build: &BuildView) -> Error {
    let id = build.id;
    let app_for_tail = app.clone();
    let tail = blocking(move || app_for_tail.operation_logs.tail(id, TAIL_BYTES)).await;
    let message = build.message.as_deref().unwrap_or("the build did not succeed");
    let reason = build.reason.as_deref().unwrap_or("failed");
    let detail = match (build.step, &build.step_text) {
        (Some(step), Some(text)) if reason == "build_failed" => {
            format!("step {step} (`{text}`) failed: {message}")
        }
        _ => message.to_owned(),
    };
    Error::new(ErrorKind::Invalid, "build_failed", detail)
        .hint(format!("the whole log: GET /api/v1/builds/{id}/log, or `longshore image build-log {id}`"))
        .with("build_id", id.to_string())
        .with("reason", reason)
        .with("step", build.step)
        .with("step_text", build.step_text.clone())
        .with("log_tail", tail.unwrap_or_default())
}

/// Opens a build's log for its owner or an admin.
pub async fn log(app: &App, caller: &Caller, id: BuildId) -> Result<Log> {
    find(app, caller, id).await?;
    Ok(Log { app: app.clone(), id })
}

/// A build's log. Holds nothing of it: every read goes to the file.
pub struct Log {
    app: App,
    id: BuildId,
}

impl OperationLog for Log {
    type View = BuildView;

    fn app(&self) -> &App {
        &self.app
    }

    fn id(&self) -> BuildId {
        self.id
    }

    async fn view(&self) -> Result<BuildView> {
        view(&self.app, get_row(&self.app, self.id).await?).await
    }

    fn state(view: &BuildView) -> OperationState {
        view.state
    }

    /// The log's length followers see themselves.
    fn is_same(before: &BuildView, after: &BuildView) -> bool {
        let shown = |build: &BuildView| {
            let build = BuildView { log_bytes: 0, ..build.clone() };
            serde_json::to_string(&build).unwrap_or_default()
        };
        shown(before) == shown(after)
    }
}

async fn find(app: &App, caller: &Caller, id: BuildId) -> Result<builds::Row> {
    let row = builds::get(&app.db, id).await?;
    row.filter(|row| caller.may_act_for(row.account_id)).ok_or_else(|| Error::not_found("build", id))
}

async fn get_row(app: &App, id: BuildId) -> Result<builds::Row> {
    builds::get(&app.db, id).await?.ok_or_else(|| Error::not_found("build", id))
}

async fn view(app: &App, row: builds::Row) -> Result<BuildView> {
    let position = match row.state {
        OperationState::Queued => builds::queue_position(&app.db, row.id).await?,
        _ => None,
    };
    Ok(to_view(row, position))
}

fn to_view(row: builds::Row, queue_position: Option<u64>) -> BuildView {
    BuildView {
        id: row.id,
        account: row.account,
        image: row.image,
        kind: if row.save.is_some() { BuildKind::Container } else { BuildKind::Archive },
        container_id: row.save.as_ref().map(|save| save.container_id),
        note: row.save.and_then(|save| save.note),
        state: row.state,
        reason: row.reason,
        message: row.message,
        phase: row.phase,
        step: row.step,
        steps: row.steps,
        step_text: row.step_text,
        pushed_bytes: row.pushed_bytes,
        push_total_bytes: row.push_total_bytes,
        queue_position,
        context_bytes: row.context_bytes,
        log_bytes: row.log_bytes,
        machine_id: row.machine_id,
        image_id: row.image_id,
        digest: row.digest,
        size_bytes: row.size_bytes,
        created_at: row.created_at,
        started_at: row.started_at,
        ended_at: row.ended_at,
    }
}

/// Asks that what ended builds left on a machine be removed. Each end asks for itself: a cleaning that runs already may
/// have looked before.
pub async fn enqueue_cleaning(app: &App, conn: &impl store::Conn, machine: &MachineId) -> Result<()> {
    let now = app.now();
    let job = jobs::New {
        kind: jobs::Kind::CleanBuilds,
        target: machine.as_str(),
        account_id: None,
        run_at: now,
        now,
    };
    jobs::enqueue(conn, &job).await?;
    Ok(())
}
