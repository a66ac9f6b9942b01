//! From a context to an image: build on a machine, push, verify, and then, in one transaction, the image and the build's
//! success. Each phase is stored before its first effect. An attempt that is cut off leaves a build that is not ended;
//! the next one begins anew, and the engine's cache makes that quick.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use store::jobs::{self, Row};
use store::{builds, machines};
use tokio::time::Instant;
use wire::builds::{BuildPhase, OperationState};
use wire::ids::{BuildId, ImageId, MachineId};
use wire::images::{ImageSource, ImageState};
use wire::link::{GetFacts, LinkError, LinkErrorCode, RegistryImage, RegistryReference};
use wire::machines::MachineState;
use wire::names::{Digest, ImageReference};
use wire::page::PageQuery;
use wire::runs::RunExecutor;

use super::Shared;
use super::build_progress::{Log, until_cancelled};
use super::cluster_build::InCluster;
use super::executor::{Executor, OnMachine};
use super::worker::persist;
use crate::app::App;
use crate::blobs::BlobKind;
use crate::clients::registry::gate::{PushKey, Writer};
use crate::domain;
use crate::domain::images::{ImageFacts, NewImage};
use crate::error::{Error, ErrorKind, Result};
use crate::link::CallError;

/// Attempts after which a build whose engine was lost each time has failed.
const MAX_LOSSES: u32 = 3;
/// Attempts of any kind after which a build has failed: it may be what ends the server.
const MAX_ATTEMPTS: u32 = 30;
/// Tries of a push that the registry refuses although it is up.
const MAX_PUSHES: u32 = 3;
/// Times that the build's tag is taken by somebody else between looking and writing.
const MAX_CLASHES: u32 = 5;
/// How often it is asked whether an engine that was away is back.
const ENGINE_PAUSE: Duration = Duration::from_millis(500);
/// How long a machine may take to say what it is.
const FACTS_PATIENCE: Duration = Duration::from_secs(10);
/// The machine ends a build by itself at the time-out; this is what it may take to say so.
const GRACE: Duration = Duration::from_secs(15);
/// How long a registry that does not answer is given before the next try, at most.
const MAX_REGISTRY_PAUSE: Duration = Duration::from_secs(15);
/// How long asking for the registry may take.
const PING_PATIENCE: Duration = Duration::from_secs(3);
/// Bytes of a context per read.
pub(super) const READ_BYTES: usize = 256 << 10;
/// Images whose steps a build may take over.
const CACHE_IMAGES: u64 = 3;
/// Events of the engine that are handled together.
pub(super) const EVENTS_AT_ONCE: usize = 256;
/// Seconds that a credential outlives the build that it was made for.
const CREDENTIAL_GRACE_SECS: u64 = 60;

/// Why an attempt ended without an image.
pub(super) enum Stop {
    /// The build has failed: a reason for programs, words for people.
    Failed(&'static str, String),
    /// Somebody gave it up, or it had ended before.
    Cancelled,
    /// What it ran on was lost; another attempt may do better.
    Lost(Error),
    /// Our own store failed in a way that waiting does not mend.
    Broken(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Broken(error)
    }
}

impl From<store::Error> for Stop {
    fn from(error: store::Error) -> Self {
        Self::Broken(error.into())
    }
}

impl Stop {
    pub(super) fn failed(reason: &'static str, message: impl Into<String>) -> Self {
        Self::Failed(reason, message.into())
    }

    /// A call that did not come through says nothing about the build.
    pub(super) fn of_call(error: CallError) -> Self {
        match error {
            CallError::Refused(refused) => Self::of_refusal(refused, "build_failed"),
            other => Self::Lost(other.into()),
        }
    }

    pub(super) fn of_refusal(refused: LinkError, reason: &'static str) -> Self {
        match refused.code {
            LinkErrorCode::EngineDown => Self::Lost(refused.into()),
            LinkErrorCode::Timeout => Self::Failed("timeout", refused.message),
            _ => Self::Failed(reason, refused.message),
        }
    }
}

pub(super) async fn run(app: &App, shared: &Shared, job: &Row) -> Result<()> {
    let Ok(id) = job.target.parse::<BuildId>() else {
        tracing::error!("this job names no build");
        return Ok(());
    };
    let found = persist(app, || async { Ok(builds::get(&app.db, id).await?) }).await?;
    let Some(build) = found.filter(|build| !build.state.is_final()) else {
        domain::builds::ended(app, id).await;
        return Ok(());
    };
    // What an archive or a container becomes is made on machines; only a run chooses.
    let of_run = persist(app, || async { Ok(store::runs::by_uuid(&app.db, id).await?) }).await?;
    let executor = of_run.map_or(RunExecutor::Docker, |run| run.executor);
    let timeout = Duration::from_secs(app.config.builds.timeout_secs.max(1));
    let work = Work {
        app,
        job,
        build: &build,
        deadline: Instant::now() + timeout,
        needs_registry: AtomicBool::new(false),
        executor,
    };
    let result = if build.cancel_requested {
        Err(Stop::Cancelled)
    } else if job.attempt > MAX_ATTEMPTS {
        Err(Stop::failed("lost", format!("the build was cut off {} times", job.attempt - 1)))
    } else {
        tokio::select! {
            result = work.make(shared) => result,
            () = until_cancelled(app, id) => Err(Stop::Cancelled),
            () = tokio::time::sleep_until(work.deadline + GRACE) => Err(work.timed_out().await),
        }
    };
    match result {
        Ok(made) => work.succeed(made).await,
        Err(Stop::Broken(error)) => Err(error),
        Err(Stop::Lost(error)) if job.attempt < MAX_LOSSES => Err(error),
        Err(Stop::Lost(error)) => {
            let message = format!("what built was lost {} times: {error}", job.attempt);
            work.end(OperationState::Failed, "engine_lost", message).await
        }
        Err(Stop::Failed(reason, message)) => work.end(OperationState::Failed, reason, message).await,
        Err(Stop::Cancelled) => {
            work.end(OperationState::Cancelled, "cancelled", "the build was cancelled".to_owned()).await
        }
    }
}

/// One attempt.
pub(super) struct Work<'a> {
    pub(super) app: &'a App,
    job: &'a Row,
    pub(super) build: &'a builds::Row,
    deadline: Instant,
    needs_registry: AtomicBool,
    executor: RunExecutor,
}

/// What an attempt has made: in the registry, and verified.
pub(super) struct Made {
    pub(super) digest: Digest,
    pub(super) facts: ImageFacts,
    /// On which of our images it was built.
    pub(super) base: Option<ImageReference>,
    /// From which of our images it was saved.
    pub(super) parent: Option<ImageId>,
    pub(super) log_bytes: u64,
    /// Held until the image is recorded: before that, its content looks like something that nobody needs.
    pub(super) writer: Writer,
}

impl Work<'_> {
    async fn make(&self, shared: &Shared) -> Result<Made, Stop> {
        match self.executor {
            RunExecutor::Docker => {
                let machine = self.machine().await?;
                self.begin(shared, Some(&machine)).await?;
                self.make_with(&OnMachine(machine)).await
            }
            RunExecutor::Kubernetes => {
                let cluster = InCluster::open(self).await?;
                self.begin(shared, None).await?;
                self.make_with(&cluster).await
            }
        }
    }

    async fn make_with(&self, executor: &impl Executor) -> Result<Made, Stop> {
        let mut log = Log::open(self.app, self.build.id).await?;
        // What a cluster builds goes on without us, and so does its log.
        if self.job.attempt > 1 && executor.machine().is_some() {
            log.write(&format!("\n[cut off; attempt {} begins anew]\n", self.job.attempt));
        }
        let result = self.make_by(executor, &mut log).await;
        if let Err(Stop::Lost(error) | Stop::Broken(error)) = &result {
            log.write(&format!("\n[cut off: {error}]\n"));
        }
        let log_bytes = log.finish();
        result.map(|made| Made { log_bytes, ..made })
    }

    async fn make_by(&self, executor: &impl Executor, log: &mut Log) -> Result<Made, Stop> {
        let saving = self.build.save.as_ref().zip(executor.machine());
        let subject = match saving {
            Some((save, machine)) => Some((self.commit(save, machine, log).await?, machine)),
            None => None,
        };
        let base = match subject {
            Some(_) => None,
            None => self.build(executor, log).await?,
        };
        let writer = self.begin_to_write(log).await?;
        self.phase(BuildPhase::Pushing).await?;
        let mut digest = self.push(executor, log).await?;
        self.phase(BuildPhase::Verifying).await?;
        for is_last in [false, true] {
            match self.verify(&digest).await? {
                Ok(facts) => {
                    let made = Made { digest, facts, base, parent: None, log_bytes: 0, writer };
                    return match &subject {
                        Some((subject, machine)) => self.finish_save(subject, machine, made).await,
                        None => Ok(made),
                    };
                }
                Err(problem) if is_last => return Err(Stop::failed("verify_failed", problem)),
                Err(problem) => {
                    log.write(&format!("{problem}; pushing again\n"));
                    digest = self.push(executor, log).await?;
                }
            }
        }
        unreachable!("the last turn of the loop returns")
    }

    /// The machine that builds: this host's own when its engine answers, else the first one that does and takes new work.
    /// Waited for here, with the build still in the queue, so that an engine that is away uses up no attempts.
    async fn machine(&self) -> Result<MachineId, Stop> {
        if let Some(save) = &self.build.save {
            return self.machine_of(save).await;
        }
        loop {
            let host = self.app.hub.host();
            let mut connected = self.app.hub.connected();
            connected.sort_by_key(|id| host.as_ref() != Some(id));
            for id in connected {
                if self.has_engine(&id).await {
                    return Ok(id);
                }
            }
            if Instant::now() >= self.deadline {
                return Err(Stop::Lost(Error::unavailable(
                    "no_machine",
                    "no machine can build at the moment",
                )));
            }
            tokio::time::sleep(ENGINE_PAUSE).await;
        }
    }

    /// Whether a machine takes builds and its engine answers. What its agent reported last is enough for a first attempt;
    /// after a loss the engine is asked itself.
    pub(super) async fn has_engine(&self, id: &MachineId) -> bool {
        let reported = machines::get(&self.app.db, id).await;
        if matches!(&reported, Ok(Some(row)) if row.drained_at.is_some()) {
            return false;
        }
        if !matches!(&reported, Ok(Some(row)) if row.state == MachineState::EngineDown)
            && self.job.attempt == 1
        {
            return true;
        }
        let facts = self.app.hub.call(id, &GetFacts {}, FACTS_PATIENCE).await;
        facts.is_ok_and(|facts| facts.engine_version.is_some())
    }

    /// Notes that the build runs here. False turns up when it has ended meanwhile.
    async fn begin(&self, shared: &Shared, machine: Option<&MachineId>) -> Result<(), Stop> {
        let _guard = shared.cleaning.lock().await;
        let runs = persist(self.app, || async {
            let tx = self.app.db.begin().await?;
            let now = self.app.now();
            let runs = builds::set_running(&tx, self.build.id, machine, now).await?
                && builds::set_phase(&tx, self.build.id, BuildPhase::Building, now).await?;
            tx.commit().await?;
            Ok(runs)
        });
        if !runs.await? {
            return Err(Stop::Cancelled);
        }
        self.app.operation_logs.touched(self.build.id);
        Ok(())
    }

    async fn phase(&self, phase: BuildPhase) -> Result<(), Stop> {
        self.needs_registry.store(true, Ordering::Relaxed);
        let (app, id) = (self.app, self.build.id);
        if !persist(app, || async { Ok(builds::set_phase(&app.db, id, phase, app.now()).await?) }).await? {
            return Err(Stop::Cancelled);
        }
        app.operation_logs.touched(id);
        Ok(())
    }

    /// Seconds until the time-out.
    pub(super) fn secs_left(&self) -> u64 {
        self.deadline.saturating_duration_since(Instant::now()).as_secs().max(1)
    }

    /// An engine tries a registry that is away for minutes before it says so: whoever waited only for that is told.
    async fn timed_out(&self) -> Stop {
        if self.needs_registry.load(Ordering::Relaxed) && !self.registry_answers().await {
            return Stop::failed(
                "registry_down",
                "the registry did not answer until the build's time was over",
            );
        }
        let secs = self.app.config.builds.timeout_secs;
        Stop::failed("timeout", format!("the build took longer than the {secs} seconds that it may"))
    }

    async fn build(&self, executor: &impl Executor, log: &mut Log) -> Result<Option<ImageReference>, Stop> {
        let mut pause = Duration::from_secs(1);
        loop {
            let stop = match executor.build(self, log).await {
                Ok(base) => return Ok(base),
                Err(stop) => stop,
            };
            // A base image of ours cannot be read while the registry is away: that is not the Dockerfile's fault.
            let is_about_images = matches!(&stop, Stop::Failed("build_failed" | "base_image_unavailable", _));
            if !is_about_images || self.registry_answers().await {
                return Err(stop);
            }
            log.write("[the registry does not answer; building again when it does]\n");
            self.wait_for_registry(&mut pause).await?;
        }
    }

    /// The context, from its beginning, and its length in bytes.
    pub(super) async fn context(&self) -> Result<(tokio::fs::File, u64), Stop> {
        let path = self.app.blobs.path(BlobKind::Context, &self.build.id.to_string());
        let opened = async {
            let file = tokio::fs::File::open(path).await?;
            let bytes = file.metadata().await?.len();
            Ok((file, bytes))
        };
        match opened.await {
            Ok(opened) => Ok(opened),
            Err(error) if std::io::Error::kind(&error) == std::io::ErrorKind::NotFound => {
                Err(Stop::failed("context_lost", "the uploaded archive is gone; upload it again"))
            }
            Err(error) => Err(Stop::Broken(error.into())),
        }
    }

    /// The account's own newest images of this repository: never another account's steps.
    pub(super) async fn cache_from(&self) -> Result<Vec<RegistryImage>, Stop> {
        let image = &self.build.image;
        let owners = std::slice::from_ref(&image.owner);
        let filter = store::images::Filter {
            owners: Some(owners),
            repo: Some(&image.repo),
            state: Some(ImageState::Ready),
            untagged: true,
            ..store::images::Filter::default()
        };
        let page = PageQuery { limit: Some(CACHE_IMAGES), offset: None };
        let found = store::images::list(&self.app.db, filter, page).await?;
        Ok(found
            .rows
            .into_iter()
            .map(|row| RegistryImage {
                repository: image.repository(),
                reference: RegistryReference::Digest(row.digest),
            })
            .collect())
    }

    /// Waits, until the build's time is over, for a registry that is being tidied up.
    async fn begin_to_write(&self, log: &mut Log) -> Result<Writer, Stop> {
        let build = self.build;
        let push = PushKey { subject: build.account.to_string(), repository: (&build.image).into() };
        let mut is_told = false;
        loop {
            match self.app.registry.gate().enter(Some(push.clone())).await {
                Ok(writer) => return Ok(writer),
                Err(_) if self.is_over() => return Err(self.timed_out().await),
                Err(error) if !is_told => log.write(&format!("[{error}; waiting]\n")),
                Err(_) => {}
            }
            is_told = true;
        }
    }

    pub(super) fn credential_secs(&self) -> u64 {
        self.secs_left() + CREDENTIAL_GRACE_SECS
    }

    async fn push(&self, executor: &impl Executor, log: &mut Log) -> Result<Digest, Stop> {
        let mut tries = 0;
        let mut pause = Duration::from_secs(1);
        loop {
            tries += 1;
            let stop = match executor.push(self, log).await {
                Ok(digest) => return Ok(digest),
                Err(stop) => stop,
            };
            let Stop::Failed(_, message) = &stop else { return Err(stop) };
            if !self.registry_answers().await {
                log.write("[the registry does not answer; pushing again when it does]\n");
                self.wait_for_registry(&mut pause).await?;
            } else if tries < MAX_PUSHES {
                log.write(&format!("[the push failed: {message}; trying again]\n"));
                tokio::time::sleep(pause).await;
            } else {
                return Err(stop);
            }
        }
    }

    /// What the registry says of the image. `Ok(Err)` is what it lacks, in words; a registry that is away is waited for.
    async fn verify(&self, digest: &Digest) -> Result<Result<ImageFacts, String>, Stop> {
        let image = &self.build.image;
        let mut pause = Duration::from_secs(1);
        loop {
            let error = match domain::images::inspect(self.app, &image.owner, &image.repo, digest).await {
                Ok(facts) => return Ok(Ok(facts)),
                Err(error) => error,
            };
            if error.kind != ErrorKind::Unavailable {
                return Ok(Err(format!("the registry does not have the whole image: {error}")));
            }
            self.wait_for_registry(&mut pause).await?;
        }
    }

    async fn registry_answers(&self) -> bool {
        let answers = tokio::time::timeout(PING_PATIENCE, self.app.registry.ping(self.app)).await;
        matches!(answers, Ok(Ok(())))
    }

    /// Waits until the registry answers, with growing pauses, until the build's time is over.
    async fn wait_for_registry(&self, pause: &mut Duration) -> Result<(), Stop> {
        self.needs_registry.store(true, Ordering::Relaxed);
        loop {
            tokio::time::sleep((*pause).min(self.deadline.saturating_duration_since(Instant::now()))).await;
            *pause = (*pause * 2).min(MAX_REGISTRY_PAUSE);
            if Instant::now() >= self.deadline {
                return Err(self.timed_out().await);
            }
            if self.registry_answers().await {
                return Ok(());
            }
        }
    }

    /// The image and the build's success, together.
    async fn succeed(&self, made: Made) -> Result<()> {
        let app = self.app;
        let mut tries = 0;
        let recorded = loop {
            match persist(app, || self.record(&made)).await {
                // Another build or push has just taken the tag: now its row is there to be moved aside.
                Err(error) if error.code == "exists" && tries < MAX_CLASHES => tries += 1,
                recorded => break recorded?,
            }
        };
        if recorded {
            tracing::info!(build.id = %self.build.id, image = %self.build.image, digest = %made.digest, "build succeeded");
            metrics::counter!("longshore_builds_ended_total", "state" => "succeeded").increment(1);
        }
        domain::builds::ended(app, self.build.id).await;
        Ok(())
    }

    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }

    async fn record(&self, made: &Made) -> Result<bool> {
        let (app, build) = (self.app, self.build);
        let tx = app.db.begin().await?;
        if !self.is_ours(&tx).await? {
            return Ok(false);
        }
        let new = NewImage {
            owner: build.image.owner.clone(),
            repo: build.image.repo.clone(),
            tag: Some(build.image.tag.clone()),
            digest: made.digest.clone(),
            size_bytes: made.facts.size_bytes,
            layers: made.facts.layers.clone(),
            create_parameters: made.facts.create_parameters.clone(),
            source: if build.save.is_some() { ImageSource::Save } else { ImageSource::Build },
            build_id: Some(build.id),
            account: Some(build.account_id),
            base: made.base.clone(),
            parent: made.parent,
            description: build.save.as_ref().and_then(|save| save.note.clone()),
        };
        let image = domain::images::insert_ready(app, &tx, new).await?;
        let outcome = builds::Outcome {
            state: OperationState::Succeeded,
            reason: None,
            message: None,
            image_id: Some(image.id),
            digest: Some(&made.digest),
            size_bytes: Some(made.facts.size_bytes),
        };
        builds::set_log_bytes(&tx, build.id, made.log_bytes).await?;
        builds::finish(&tx, build.id, &outcome, app.now()).await?;
        self.end_job(&tx).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// A build's end without an image.
    async fn end(&self, state: OperationState, reason: &'static str, message: String) -> Result<()> {
        let (app, build) = (self.app, self.build);
        let log_bytes = match Log::open(app, build.id).await {
            Ok(mut log) => {
                let what = if state == OperationState::Cancelled { "cancelled" } else { "failed" };
                log.write(&format!("\n[{what}: {message}]\n"));
                log.finish()
            }
            Err(error) => {
                tracing::debug!(%error, "cannot write the end of a build's log");
                build.log_bytes
            }
        };
        let recorded = persist(app, || async {
            let tx = app.db.begin().await?;
            if !self.is_ours(&tx).await? {
                return Ok(false);
            }
            builds::set_log_bytes(&tx, build.id, log_bytes).await?;
            let outcome = builds::Outcome {
                state,
                reason: Some(reason),
                message: Some(&message),
                image_id: None,
                digest: None,
                size_bytes: None,
            };
            builds::finish(&tx, build.id, &outcome, app.now()).await?;
            self.end_job(&tx).await?;
            tx.commit().await?;
            Ok(true)
        });
        if recorded.await? {
            tracing::info!(build.id = %build.id, image = %build.image, reason, "build ended without an image: {message}");
            let state = if state == OperationState::Cancelled { "cancelled" } else { "failed" };
            metrics::counter!("longshore_builds_ended_total", "state" => state).increment(1);
        }
        domain::builds::ended(app, build.id).await;
        Ok(())
    }

    /// Whether this attempt may still end the build: not when it has ended, and not when another worker has the job.
    async fn is_ours(&self, tx: &store::Tx) -> Result<bool> {
        let build = builds::get(tx, self.build.id).await?;
        let job = jobs::get(tx, self.job.id).await?;
        let has_job = job.is_some_and(|job| job.epoch == self.job.epoch && job.state == jobs::State::Running);
        Ok(has_job && build.is_some_and(|build| !build.state.is_final()))
    }

    /// Ends the job in the same transaction, and has the machine cleaned if it may hold anything.
    async fn end_job(&self, tx: &store::Tx) -> Result<()> {
        if !jobs::done(tx, self.job.id, self.job.epoch).await? {
            return Err(Error::conflict("job_lost", "another worker has this build now"));
        }
        if self.executor == RunExecutor::Kubernetes
            && let Ok(place) = domain::cluster_builds::place(self.app).await
        {
            domain::cluster_builds::enqueue_cleaning(self.app, tx, place.id).await?;
        }
        let machine = builds::get(tx, self.build.id).await?.and_then(|build| build.machine_id);
        if let Some(machine) = machine {
            domain::builds::enqueue_cleaning(self.app, tx, &machine).await?;
        }
        Ok(())
    }
}
