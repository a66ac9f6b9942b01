//! Sees a run through: fetch a commit, hand a folder of it to a build, follow the build to its end, and then, in one
//! transaction, the run's one final state. The build is a job of its own under the run's uuid, so that a server that is
//! killed anywhere in between finds what it had begun.

use std::time::Duration;

use store::jobs::{self, Row};
use store::{builds, git_repos, runners, runs};
use wire::builds::{BuildPhase, OperationState};
use wire::deploys::DeployProgress;
use wire::ids::BuildId;
use wire::images::ImageTag;
use wire::names::{Digest, ImageName};
use wire::runs::{RunCause, RunStep, RunStepName};
use wire::time::Timestamp;

use super::Shared;
use super::commit_contexts::Known;
use super::fetch::{Handed, fetch};
use super::worker::persist;
use crate::app::App;
use crate::blobs::blocking;
use crate::caller::{Caller, Subject};
use crate::domain::builds::{Admission, Source};
use crate::domain::{self, run_log};
use crate::error::{Error, ErrorKind, Result};
use crate::operation_logs::LogWriter;

/// Attempts after which a run has failed whatever the reason: it may be what ends the server.
const MAX_ATTEMPTS: u32 = 30;
/// Attempts after which a git server that does not answer has failed the run.
pub(super) const MAX_FETCHES: u32 = 3;
/// How often the build and the run's own row are looked at without a sign.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Why a run ended otherwise than well.
pub(super) enum Stop {
    /// A reason for programs, words for people.
    Failed(&'static str, String),
    /// Somebody gave it up, or it had ended before.
    Cancelled,
    /// Another attempt may do better.
    Again(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Again(error)
    }
}

impl From<store::Error> for Stop {
    fn from(error: store::Error) -> Self {
        Self::Again(error.into())
    }
}

pub(super) async fn run(app: &App, shared: &Shared, job: &Row) -> Result<()> {
    let Ok(uuid) = job.target.parse::<BuildId>() else {
        tracing::error!("this job names no run");
        return Ok(());
    };
    let found = persist(app, || async { Ok(runs::by_uuid(&app.db, uuid).await?) }).await?;
    let Some(row) = found.filter(|run| !run.state.is_final()) else {
        app.operation_logs.ended(uuid);
        return Ok(());
    };
    let mut work = Work { app, job, steps: row.steps.clone(), run: row };
    let result = if job.attempt > MAX_ATTEMPTS {
        Err(Stop::Failed("lost", format!("the run was cut off {} times", job.attempt - 1)))
    } else {
        work.execute(shared).await
    };
    match result {
        Ok(digest) => work.end(OperationState::Succeeded, None, None, Some(&digest)).await,
        Err(Stop::Failed(reason, message)) => {
            work.end(OperationState::Failed, Some(reason), Some(&message), None).await
        }
        Err(Stop::Cancelled) => {
            let message = "the run was cancelled";
            work.end(OperationState::Cancelled, Some("cancelled"), Some(message), None).await
        }
        Err(Stop::Again(error)) => Err(error),
    }
}

/// One attempt.
pub(super) struct Work<'a> {
    pub(super) app: &'a App,
    job: &'a Row,
    pub(super) run: runs::Row,
    pub(super) steps: Vec<RunStep>,
}

impl Work<'_> {
    async fn execute(&mut self, shared: &Shared) -> Result<Digest, Stop> {
        let (app, uuid) = (self.app, self.run.uuid);
        let is_built = persist(app, || async { Ok(builds::get(&app.db, uuid).await?.is_some()) }).await?;
        if !is_built {
            if self.is_cancelled().await? {
                return Err(Stop::Cancelled);
            }
            self.begin().await?;
            if self.run.cause == RunCause::Upload {
                self.enter(RunStepName::Fetch, app.now()).await?;
                self.take_upload().await?;
            } else {
                let place =
                    shared.fetching.acquire().await.map_err(|error| Stop::Again(Error::internal(error)))?;
                self.enter(RunStepName::Fetch, app.now()).await?;
                let fetched = tokio::select! {
                    fetched = fetch(app, shared, self.job, &self.run) => fetched,
                    () = until_cancelled(app, &self.run) => Err(Stop::Cancelled),
                };
                drop(place);
                let fetched = fetched?;
                self.hand_over(shared, fetched).await?;
            }
        }
        let build = self.follow().await?;
        match build.state {
            OperationState::Succeeded => {
                let missing = || Stop::Failed("lost", "the build did not say what it made".to_owned());
                let digest = build.digest.clone().ok_or_else(missing)?;
                self.tag_commit(&build).await;
                self.copy(&digest).await?;
                self.deploy(shared, &digest).await?;
                Ok(digest)
            }
            OperationState::Cancelled => Err(Stop::Cancelled),
            _ => {
                let message = build.message.unwrap_or_else(|| "the build failed".to_owned());
                let told = match (build.step, &build.step_text) {
                    (Some(step), Some(text)) if build.reason.as_deref() == Some("build_failed") => {
                        format!("step {step} (`{text}`) failed: {message}")
                    }
                    _ => message,
                };
                Err(Stop::Failed(reason_of(build.reason.as_deref()), told))
            }
        }
    }

    /// Whether somebody gave the run up.
    pub(super) async fn is_cancelled(&self) -> Result<bool> {
        let row = runs::get(&self.app.db, self.run.id).await?;
        Ok(row.is_none_or(|row| row.cancel_requested || row.state.is_final()))
    }

    /// Notes that the run runs.
    async fn begin(&self) -> Result<(), Stop> {
        let (app, run) = (self.app, &self.run);
        let runs_now = persist(app, || async {
            let tx = app.db.begin().await?;
            let now = app.now();
            if !runs::set_running(&tx, run.id, now).await? {
                return Ok(false);
            }
            if run.state == OperationState::Queued {
                run_log::note(&tx, run, "running", now).await?;
            }
            tx.commit().await?;
            Ok(true)
        });
        if !runs_now.await? {
            return Err(Stop::Cancelled);
        }
        app.operation_logs.touched(run.uuid);
        Ok(())
    }

    /// Notes that a step begins, and that those before it have ended.
    async fn enter(&mut self, name: RunStepName, began: Timestamp) -> Result<(), Stop> {
        if self.steps.last().is_some_and(|step| step.name == name && step.ended_at.is_none()) {
            return Ok(());
        }
        self.push_step(name, began, None);
        self.store_steps().await
    }

    /// Notes how bringing something up to date goes. What is done is known before it is done.
    pub(super) async fn enter_deploy(&mut self, progress: &DeployProgress) -> Result<(), Stop> {
        let now = self.app.now();
        match self.steps.iter_mut().find(|step| step.name == RunStepName::Deploy) {
            Some(step) => step.deploy = Some(progress.clone()),
            None => self.push_step(RunStepName::Deploy, now, Some(progress.clone())),
        }
        self.store_steps().await
    }

    fn push_step(&mut self, name: RunStepName, began: Timestamp, deploy: Option<DeployProgress>) {
        close(&mut self.steps, OperationState::Succeeded, began);
        self.steps.retain(|step| step.name != name);
        let (state, started_at) = (OperationState::Running, began);
        self.steps.push(RunStep { name, state, started_at, ended_at: None, deploy });
    }

    async fn store_steps(&self) -> Result<(), Stop> {
        let (app, run, steps) = (self.app, &self.run, &self.steps);
        if !persist(app, || async { Ok(runs::set_steps(&app.db, run.id, steps).await?) }).await? {
            return Err(Stop::Cancelled);
        }
        app.operation_logs.touched(run.uuid);
        Ok(())
    }

    /// Turns what was fetched into a build under the run's uuid.
    async fn hand_over(&mut self, shared: &Shared, fetched: Handed) -> Result<(), Stop> {
        let (app, run) = (self.app, &self.run);
        let commit = fetched.commit.clone();
        persist(app, || async {
            let tx = app.db.begin().await?;
            if runs::set_commit(&tx, run.id, &commit).await? {
                let building = runs::Row { commit: Some(commit.clone()), ..run.clone() };
                domain::notifications::enqueue(app, &tx, &building, false).await?;
                run_log::note(&tx, run, &format!("building commit {commit}"), app.now()).await?;
            }
            tx.commit().await?;
            Ok(())
        })
        .await?;
        let uuid = self.run.uuid;
        self.run.commit = Some(commit.clone());
        let mut dockerfile = fetched.dockerfile;
        if let Some((key, upload)) = fetched.upload {
            let source = Source { dockerfile: Some(&dockerfile), upload };
            let context = match domain::builds::keep_context(app, uuid, source).await {
                Ok(context) => context,
                Err(error) => return as_made(Err(error)),
            };
            dockerfile = context.dockerfile;
            // Before the build can end, and its context with it.
            let known = Known { commit, dockerfile: dockerfile.clone() };
            shared.commit_contexts.keep(app, key, uuid, known).await;
        }
        let made =
            domain::builds::create_of_context(app, &fetched.caller, fetched.admission, &dockerfile).await;
        // After a failed commit nobody knows whether the row is there: only when it is not, the context may go.
        if made.is_err() && matches!(builds::get(&app.db, uuid).await, Ok(None)) {
            domain::builds::drop_context(app, uuid).await;
        }
        as_made(made)
    }

    /// Turns the working copy that was sent into a build under the run's uuid.
    async fn take_upload(&self) -> Result<(), Stop> {
        let (app, run) = (self.app, &self.run);
        let (caller, admission) = admitted(app, run).await?;
        let runner = runners::of_run(&app.db, run.id).await?.map(|runner| runner.content);
        let dockerfile = runner.unwrap_or_default().repo_dockerfile;
        say(app, run.uuid, "[a working copy that was sent]\n".to_owned()).await;
        if self.job.attempt == 1 {
            run_log::note(&app.db, run, "building a working copy", app.now()).await?;
        }
        let made = domain::builds::create_of_context(app, &caller, admission, &dockerfile).await;
        as_made(made)
    }

    /// Follows the build to its end, and passes on that the run was given up.
    async fn follow(&mut self) -> Result<builds::Row, Stop> {
        let (app, uuid) = (self.app, self.run.uuid);
        let mut progress = app.operation_logs.follow(uuid);
        loop {
            progress.mark_unchanged();
            let found = persist(app, || async { Ok(builds::get(&app.db, uuid).await?) }).await?;
            let Some(build) = found else {
                return Err(Stop::Failed("lost", "the run's build is gone".to_owned()));
            };
            let is_past_building = match build.phase {
                BuildPhase::Waiting | BuildPhase::Building => false,
                BuildPhase::Pushing | BuildPhase::Verifying => true,
                BuildPhase::Done => build.state == OperationState::Succeeded,
            };
            if build.phase != BuildPhase::Waiting
                && !self.steps.iter().any(|step| step.name == RunStepName::Build)
                && let Some(started_at) = build.started_at
            {
                self.enter(RunStepName::Build, started_at).await?;
            }
            // A later attempt finds the build ended long ago.
            let is_later = |step: &RunStep| matches!(step.name, RunStepName::Copy | RunStepName::Deploy);
            if is_past_building && !self.steps.iter().any(is_later) {
                self.enter(RunStepName::Push, app.now()).await?;
            }
            if build.state.is_final() {
                return Ok(build);
            }
            if !build.cancel_requested && self.is_cancelled().await? {
                self.cancel_build(&build).await?;
                continue;
            }
            if tokio::time::timeout(LOOK_EVERY, progress.changed()).await.is_ok_and(|heard| heard.is_err()) {
                // The build has ended, or nobody here writes.
                tokio::time::sleep(Duration::from_millis(100)).await;
                progress = app.operation_logs.follow(uuid);
            }
        }
    }

    async fn cancel_build(&self, build: &builds::Row) -> Result<(), Stop> {
        let Some(caller) = domain::runs::worker(self.app, self.run.account_id).await? else {
            // Whose account is shut out hears nothing; the build may end by itself.
            builds::request_cancel(&self.app.db, build.id).await?;
            self.app.operation_logs.touched(build.id);
            return Ok(());
        };
        match domain::builds::cancel(self.app, &caller, build.id).await {
            Ok(_) => Ok(()),
            Err(error) if error.code == "build_ended" => Ok(()),
            Err(error) => Err(Stop::Again(error)),
        }
    }

    /// The image's second tag tells its commit. Without it the image is as good.
    async fn tag_commit(&self, build: &builds::Row) {
        let (Some(image), Some(commit)) = (build.image_id, self.run.commit.as_deref()) else { return };
        let tagged = async {
            let caller = domain::runs::worker(self.app, self.run.account_id).await?;
            let Some(caller) = caller else { return Ok(()) };
            let name = ImageName { tag: domain::runs::commit_tag(commit)?, ..build.image.clone() };
            domain::images::tag(self.app, &caller, image, &ImageTag { name }).await.map(drop)
        };
        if let Err(error) = tagged.await {
            tracing::warn!(%error, run.id = %self.run.id, "an image does not get its commit as a tag");
        }
    }

    /// Copies the image to where the runner says, when that is another registry. What is there already is not sent again.
    async fn copy(&mut self, digest: &Digest) -> Result<(), Stop> {
        let (app, run) = (self.app, self.run.clone());
        let has_begun_later = self.steps.iter().any(|step| step.name == RunStepName::Deploy);
        let Some(runner) = domain::runners::copies_elsewhere(app, run.id).await?.filter(|_| !has_begun_later)
        else {
            return Ok(());
        };
        let Some(caller) = domain::runs::worker(app, run.account_id).await? else {
            return Err(Stop::Failed("lost", "the account cannot be used at the moment".to_owned()));
        };
        self.enter(RunStepName::Copy, app.now()).await?;
        let destination = domain::runners::shown_destination(&runner.content);
        self.say(&format!("\n[copying to {destination}]\n")).await;
        let copied = tokio::select! {
            copied = domain::runners::copy_image(app, &caller, &run, &runner, digest) => copied,
            () = until_cancelled(app, &run) => return Err(Stop::Cancelled),
        };
        match copied {
            Ok(()) => {
                run_log::note(&app.db, &run, &format!("copied to {destination}"), app.now()).await?;
                Ok(())
            }
            Err(error) if is_passing(&error) && self.job.attempt < MAX_FETCHES => Err(Stop::Again(error)),
            Err(error) if is_passing(&error) || is_final(&error) => {
                let message = format!("the image does not get to {destination}: {}", with_hint(&error));
                Err(Stop::Failed("push_failed", message))
            }
            Err(error) => Err(Stop::Again(error)),
        }
    }

    /// The run's one final state, together with the job's end.
    async fn end(
        &mut self,
        state: OperationState,
        reason: Option<&str>,
        message: Option<&str>,
        digest: Option<&Digest>,
    ) -> Result<()> {
        let now = self.app.now();
        close(&mut self.steps, state, now);
        let (app, run, job) = (self.app, &self.run, self.job);
        let outcome = runs::Outcome { state, reason, message, digest, steps: &self.steps };
        let line = match (state, message) {
            (OperationState::Succeeded, _) => {
                format!("succeeded: {}:{} {}", run.image, run.image_tag, digest.map_or("", Digest::as_str))
            }
            (OperationState::Cancelled, _) => "cancelled".to_owned(),
            (_, message) => {
                format!("failed ({}): {}", reason.unwrap_or("failed"), message.unwrap_or_default())
            }
        };
        let ended = persist(app, || async {
            let tx = app.db.begin().await?;
            let is_ours = jobs::done(&tx, job.id, job.epoch).await?;
            if !is_ours {
                return Err(Error::conflict("job_lost", "another worker has this run now"));
            }
            let ended = runs::finish(&tx, run.id, &outcome, now).await?;
            if ended {
                run_log::note(&tx, run, &line, now).await?;
                domain::notifications::enqueue(app, &tx, run, true).await?;
                if let (OperationState::Succeeded, Some(commit)) = (state, run.commit.as_deref()) {
                    git_repos::set_last_commit(&tx, run.git_repo_id, commit).await?;
                }
            }
            tx.commit().await?;
            Ok(ended)
        });
        if ended.await? {
            tracing::info!(run.id = %run.id, image = %run.image, reason, "run ended: {}", message.unwrap_or("succeeded"));
            let state = if state == OperationState::Succeeded { "succeeded" } else { "failed" };
            metrics::counter!("longshore_runs_ended_total", "state" => state).increment(1);
        }
        if state == OperationState::Failed && !self.steps.iter().any(|step| step.name == RunStepName::Build) {
            self.say(&format!("\n[failed: {}]\n", message.unwrap_or_default())).await;
        }
        // What was sent and never became a build.
        if run.cause == RunCause::Upload {
            domain::builds::drop_context(app, run.uuid).await;
        }
        app.operation_logs.ended(run.uuid);
        app.signals.jobs.any();
        Ok(())
    }

    /// Writes into the run's log. A disk that takes no more loses lines, never the run.
    pub(super) async fn say(&self, text: &str) {
        say(self.app, self.run.uuid, text.to_owned()).await;
    }
}

/// How the making of a run's build went.
fn as_made(made: Result<()>) -> Result<(), Stop> {
    let Err(error) = made else { return Ok(()) };
    // An earlier attempt did it and was cut off before it heard so.
    if error.code == "exists" {
        return Ok(());
    }
    if error.code == "context_lost" {
        return Err(Stop::Failed("lost", with_hint(&error)));
    }
    if matches!(error.kind, ErrorKind::Invalid | ErrorKind::TooLarge | ErrorKind::Malformed) {
        return Err(Stop::Failed("build_failed", with_hint(&error)));
    }
    Err(Stop::Again(error))
}

pub(super) async fn say(app: &App, uuid: BuildId, text: String) {
    let (logs, limit) = (app.clone(), app.config.builds.log_bytes);
    let written = blocking(move || {
        let mut writer: LogWriter = logs.operation_logs.writer(uuid, limit)?;
        writer.write(&text)
    });
    if let Err(error) = written.await {
        tracing::debug!(%error, "cannot write to a run's log");
    }
}

pub(super) fn with_hint(error: &Error) -> String {
    match &error.hint {
        Some(hint) => format!("{error}; {hint}"),
        None => error.to_string(),
    }
}

/// Whether another try may do better, because somebody outside of us did not answer well.
fn is_passing(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::BadGateway | ErrorKind::GatewayTimeout | ErrorKind::Unavailable)
}

/// Whether another try is of no use.
pub(super) fn is_final(error: &Error) -> bool {
    matches!(
        error.kind,
        ErrorKind::Malformed
            | ErrorKind::Invalid
            | ErrorKind::Forbidden
            | ErrorKind::NotFound
            | ErrorKind::Conflict
            | ErrorKind::TooLarge
    )
}

/// Ends the step that runs, if one does.
fn close(steps: &mut [RunStep], state: OperationState, now: Timestamp) {
    if let Some(step) = steps.last_mut().filter(|step| step.ended_at.is_none()) {
        step.state = state;
        step.ended_at = Some(now);
    }
}

/// A build's reason in the words of runs.
fn reason_of(reason: Option<&str>) -> &'static str {
    match reason {
        Some("push_failed" | "verify_failed" | "registry_down") => "push_failed",
        Some("timeout") => "timeout",
        Some("lost" | "engine_lost" | "context_lost") => "lost",
        Some("builder_unavailable") => "builder_unavailable",
        Some("not_started") => "not_started",
        Some("out_of_memory") => "out_of_memory",
        Some("too_large") => "too_large",
        Some("no_build_secrets") => "no_build_secrets",
        Some("no_cluster" | "job_taken" | "cluster_refuses") => "no_cluster",
        _ => "build_failed",
    }
}

/// Waits until the end of a run is asked for, or has come otherwise.
pub(super) async fn until_cancelled(app: &App, run: &runs::Row) {
    let mut progress = app.operation_logs.follow(run.uuid);
    let id = run.id;
    loop {
        if tokio::time::timeout(LOOK_EVERY, progress.changed()).await.is_ok_and(|heard| heard.is_err()) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        match runs::get(&app.db, id).await {
            Ok(Some(row)) if !row.cancel_requested && !row.state.is_final() => {}
            Ok(_) => return,
            Err(error) => tracing::debug!(%error, "cannot look whether a run was cancelled"),
        }
    }
}

/// In whose name a run goes on, and that it may make its image. An admin's run of somebody's repository is that account's
/// from here on.
pub(super) async fn admitted(app: &App, run: &runs::Row) -> Result<(Caller, Admission), Stop> {
    let caller = domain::runs::worker(app, run.account_id).await?;
    let Some(caller) = caller else {
        return Err(Stop::Failed("lost", "the account cannot be used at the moment".to_owned()));
    };
    let subject = Subject { account: caller.account, name: caller.name.clone() };
    let image = domain::runs::image_of(run)?;
    match domain::builds::admit(app, &caller, Some(subject), image).await {
        Ok(admission) => Ok((caller, admission.for_run(run.uuid, run.executor))),
        Err(error) if error.kind == ErrorKind::Forbidden => {
            Err(Stop::Failed("build_failed", with_hint(&error)))
        }
        Err(error) => Err(Stop::Again(error)),
    }
}
