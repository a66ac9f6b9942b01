//! The last step of a run: what it made is brought into what runs, and taken out again when it does not come up. What it goes
//! back to is stored before anything is changed, and that it goes back before that begins, so that a server that is killed
//! anywhere goes on where it was.

use std::time::Duration;

use store::git_repos;
use wire::deploys::{DeployProgress, DeployTarget};
use wire::names::Digest;
use wire::runs::RunStepName;

use super::Shared;
use super::run_pipeline::{Stop, Work, is_final, until_cancelled, with_hint};
use super::turns::Turn;
use crate::caller::Caller;
use crate::domain;
use crate::domain::deploys::{self, Rollout};

/// How often it is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long something must be seen to fail until it is given up: what crashes once may come up.
const FAILING_SECS: i64 = 10;
/// How long going back may take until it is left alone.
const UNDO_SECS: i64 = 120;

impl Work<'_> {
    /// Brings what the repository names up to date; nothing when it names nothing.
    pub(super) async fn deploy(&mut self, shared: &Shared, digest: &Digest) -> Result<(), Stop> {
        let app = self.app;
        let Some(caller) = domain::runs::worker(app, self.run.account_id).await? else {
            return Err(failed("the account cannot be used at the moment"));
        };
        let known = self.deploy_progress();
        let target = if let Some(progress) = &known {
            Some(progress.target.clone())
        } else {
            let repo = git_repos::get(&app.db, self.run.git_repo_id).await?;
            repo.and_then(|repo| repo.content.options.deploy)
        };
        let Some(target) = target else { return Ok(()) };
        // Whoever comes later begins when this is over, and sees what came of it.
        let _turn = self.turn(shared, &caller, &target, known.is_some()).await?;
        let image = deploys::image_of(&self.run, digest);
        let mut progress = match known {
            None => self.begin_deploy(&caller, &target).await?,
            Some(progress) => {
                self.check_superseded(&caller, &progress, &image).await?;
                progress
            }
        };
        if progress.undone_because.is_none() {
            progress.undone_because = self.bring_up(&caller, &progress, &image).await?;
            if progress.undone_because.is_none() {
                return Ok(());
            }
            self.enter_deploy(&progress).await?;
        }
        self.undo(&caller, &progress).await
    }

    /// Waits until no other run has to do with the target.
    async fn turn(
        &self,
        shared: &Shared,
        caller: &Caller,
        target: &DeployTarget,
        has_begun: bool,
    ) -> Result<Turn, Stop> {
        let key = match deploys::key(self.app, caller, target).await {
            Err(error) if is_final(&error) => return Err(failed(&with_hint(&error))),
            key => key?,
        };
        if let Some(turn) = shared.deploying.try_enter(&key) {
            return Ok(turn);
        }
        self.say(&format!("\n[waiting: another run deploys to {}]\n", deploys::shown(target))).await;
        tokio::select! {
            turn = shared.deploying.enter(&key) => Ok(turn),
            // What has begun must be brought back first.
            () = until_cancelled(self.app, &self.run), if !has_begun => Err(Stop::Cancelled),
        }
    }

    /// Leaves a target alone that another run, or somebody, gave another image while no server looked.
    async fn check_superseded(
        &self,
        caller: &Caller,
        progress: &DeployProgress,
        image: &str,
    ) -> Result<(), Stop> {
        match deploys::is_superseded(self.app, caller, progress, image).await {
            Ok(true) => Err(superseded(&progress.target)),
            Ok(false) => Ok(()),
            // What is wrong with it shows when it is changed.
            Err(error) if is_final(&error) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Looks at what is to be brought up to date, and notes it.
    async fn begin_deploy(&mut self, caller: &Caller, target: &DeployTarget) -> Result<DeployProgress, Stop> {
        let app = self.app;
        if self.is_cancelled().await? {
            return Err(Stop::Cancelled);
        }
        let progress = match deploys::plan(app, caller, &self.run, target).await {
            Err(error) if is_final(&error) => return Err(failed(&with_hint(&error))),
            progress => progress?,
        };
        self.enter_deploy(&progress).await?;
        self.say(&format!("\n[deploying to {}]\n", deploys::shown(&progress.target))).await;
        Ok(progress)
    }

    fn deploy_progress(&self) -> Option<DeployProgress> {
        let step = self.steps.iter().find(|step| step.name == RunStepName::Deploy)?;
        step.deploy.clone()
    }

    /// Sets the image and waits until all of it is up; else why not.
    async fn bring_up(
        &self,
        caller: &Caller,
        progress: &DeployProgress,
        image: &str,
    ) -> Result<Option<String>, Stop> {
        let app = self.app;
        let target = &progress.target;
        match deploys::set_image(app, caller, target, image).await {
            Err(error) if is_final(&error) => return Ok(Some(with_hint(&error))),
            set => set?,
        }
        let began = self.steps.last().map_or_else(|| app.now(), |step| step.started_at);
        let deadline = began.plus_secs(deploys::patience_secs(target).into());
        let mut failing_since = None;
        loop {
            let now = app.now();
            let (is_failing, message) = match deploys::rollout(app, caller, target, image).await {
                Ok(Rollout::Done) => return Ok(None),
                Ok(Rollout::Superseded) => return Err(superseded(target)),
                Ok(Rollout::Failing(message)) => (true, message),
                Ok(Rollout::Going(message)) => (false, message),
                Err(error) if is_final(&error) => return Ok(Some(with_hint(&error))),
                // Whoever does not answer may do so in a moment.
                Err(error) => (false, error.to_string()),
            };
            let since = *failing_since.get_or_insert(now);
            if !is_failing {
                failing_since = None;
            } else if now >= since.plus_secs(FAILING_SECS) {
                return Ok(Some(message));
            }
            if now >= deadline {
                let secs = deploys::patience_secs(target);
                return Ok(Some(format!("it is not up after {secs} seconds: {message}")));
            }
            if self.is_cancelled().await? {
                return Ok(Some(CANCELLED.to_owned()));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Goes back to the image that was there, and ends the run.
    async fn undo(&self, caller: &Caller, progress: &DeployProgress) -> Result<(), Stop> {
        let app = self.app;
        let (target, before) = (&progress.target, &progress.before);
        let why = progress.undone_because.as_deref().unwrap_or_default();
        self.say(&format!("\n[{why}; going back to {before}]\n")).await;
        let shown = deploys::shown(target);
        let end = |more: String| {
            if why == CANCELLED && more.is_empty() {
                Stop::Cancelled
            } else {
                failed(&format!("{why}; {shown} {more}"))
            }
        };
        match deploys::set_image(app, caller, target, before).await {
            Err(error) if is_final(&error) => {
                return Err(end(format!("could not go back to `{before}`: {}", with_hint(&error))));
            }
            set => set?,
        }
        let deadline = app.now().plus_secs(UNDO_SECS);
        loop {
            let message = match deploys::rollout(app, caller, target, before).await {
                Ok(Rollout::Done) if why == CANCELLED => return Err(Stop::Cancelled),
                Ok(Rollout::Done) => return Err(end(format!("runs `{before}` again"))),
                Ok(Rollout::Superseded) => return Err(end("was given another image meanwhile".to_owned())),
                Ok(Rollout::Failing(message) | Rollout::Going(message)) => message,
                Err(error) => error.to_string(),
            };
            if app.now() >= deadline {
                return Err(end(format!("has `{before}` again, which is not up yet: {message}")));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Why a deploy is undone that somebody gave up.
const CANCELLED: &str = "the run was cancelled";

fn superseded(target: &DeployTarget) -> Stop {
    let detail = format!("{} was given another image meanwhile", deploys::shown(target));
    Stop::Failed("deploy_superseded", detail)
}

fn failed(message: &str) -> Stop {
    Stop::Failed("deploy_failed", message.to_owned())
}
