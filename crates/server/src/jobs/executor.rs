//! What builds images and pushes them: a machine's engine, or a job in a cluster, behind one interface. An executor knows neither
//! rows nor states; it is asked again after whatever was cut off, and finds what it had begun.

use std::future::Future;

use axum::body::Body;
use futures::StreamExt as _;
use store::machines;
use tokio_util::io::ReaderStream;
use wire::ids::MachineId;
use wire::link::{BuildEvent, BuildImage, LinkError, LinkErrorCode, PushBuild, TransferEvent};
use wire::names::{Digest, ImageReference};

use super::bases::Bases;
use super::build_image::{EVENTS_AT_ONCE, READ_BYTES, Stop, Work};
use super::build_progress::{Log, Progress};
use super::build_secrets;
use super::veil::Veil;
use crate::domain::registry;
use crate::error::Error;
use crate::link::CallError;

/// What somebody can do whose build's steps cannot be bounded.
const WITHOUT_BOUNDS: &str = "build it in a cluster, or let an administrator set `builds.unbounded_secrets`";

/// Builds and pushes.
pub(super) trait Executor: Sync {
    /// Builds the context of a build; on which of our images, if it is on one.
    fn build(
        &self,
        work: &Work<'_>,
        log: &mut Log,
    ) -> impl Future<Output = Result<Option<ImageReference>, Stop>> + Send;

    /// Pushes what was built under the build's staging tag. May be asked several times.
    fn push(&self, work: &Work<'_>, log: &mut Log) -> impl Future<Output = Result<Digest, Stop>> + Send;

    /// The machine, for what only machines do.
    fn machine(&self) -> Option<&MachineId>;
}

/// A machine's engine.
pub(super) struct OnMachine(pub(super) MachineId);

impl Executor for OnMachine {
    fn machine(&self) -> Option<&MachineId> {
        Some(&self.0)
    }

    async fn build(&self, work: &Work<'_>, log: &mut Log) -> Result<Option<ImageReference>, Stop> {
        let (app, build, machine) = (work.app, work.build, &self.0);
        let there = machines::get(&app.db, machine).await?.map(|row| row.facts.registry);
        let advertised = app.config.registry_advertise.clone();
        let here = [Some(app.config.registry_listen.to_string()), advertised, there];
        let mut bases = Bases::new(here.into_iter().flatten());
        let sealed = build_secrets::with_context(work).await?;
        let config = &app.config.builds;
        let call = BuildImage {
            instance: app.instance,
            build: build.id,
            dockerfile: build.dockerfile.clone(),
            cache_from: work.cache_from().await?,
            credential: registry::build_credential(
                app,
                build.account_id,
                &build.account,
                work.credential_secs(),
            )?,
            build_args: std::collections::BTreeMap::new(),
            memory_bytes: config.memory_bytes,
            cpu_millis: config.cpu_millis,
            timeout_secs: work.secs_left(),
            secrets: sealed.as_ref().map(|sealed| sealed.secrets.clone()),
        };
        let has_secrets = sealed.is_some();
        let (body, veil) = if let Some(sealed) = sealed {
            sealed.dockerfile.lines().for_each(|line| bases.take(line));
            (sealed.body, sealed.veil)
        } else {
            let (context, _) = work.context().await?;
            (Body::from_stream(ReaderStream::with_capacity(context, READ_BYTES)), Veil::default())
        };
        let events = app.hub.stream(machine, &call, Some(body)).await.map_err(Stop::of_call)?;
        let mut events = std::pin::pin!(events.into_stream().ready_chunks(EVENTS_AT_ONCE));
        let mut progress = Progress::new(app, build.id);
        loop {
            let batch = tokio::select! {
                batch = events.next() => batch,
                () = tokio::time::sleep_until(progress.store_at()) => {
                    progress.store(log.written()).await;
                    continue;
                }
            };
            let Some(batch) = batch else {
                return Err(silent());
            };
            for event in batch {
                match event.map_err(Stop::of_call)? {
                    BuildEvent::Step { step, steps, text } => {
                        if !has_secrets {
                            bases.take(&text);
                        }
                        let text = veil.cover(&text).into_owned();
                        log.gather(&format!("Step {step}/{steps} : {text}\n"));
                        progress.step = Some((step, steps, text));
                    }
                    BuildEvent::Log(text) => log.gather(&veil.cover(&text)),
                    BuildEvent::Built { .. } => {
                        log.flush();
                        progress.store(log.written()).await;
                        return Ok(bases.last());
                    }
                    BuildEvent::Failed(refused) => {
                        log.flush();
                        progress.store(log.written()).await;
                        let refused = LinkError::new(refused.code, veil.cover(&refused.message));
                        return Err(match refused.code {
                            LinkErrorCode::Unsupported => {
                                let message = format!("{}; {WITHOUT_BOUNDS}", refused.message);
                                Stop::Failed("no_build_secrets", message)
                            }
                            LinkErrorCode::ImageUnavailable => {
                                Stop::Failed("base_image_unavailable", refused.message)
                            }
                            _ => Stop::of_refusal(refused, "build_failed"),
                        });
                    }
                }
            }
            log.flush();
            progress.note_log();
            progress.store_when_due(log.written()).await;
        }
    }

    async fn push(&self, work: &Work<'_>, log: &mut Log) -> Result<Digest, Stop> {
        let (app, build) = (work.app, work.build);
        let call = PushBuild {
            instance: app.instance,
            build: build.id,
            repository: build.image.repository(),
            credential: registry::push_credential(
                app,
                build.account_id,
                &build.account,
                &build.image,
                work.credential_secs(),
            )?,
        };
        let refused = |error: LinkError| match error.code {
            // What was built is gone from the machine: only building helps.
            LinkErrorCode::NotFound => Stop::Lost(error.into()),
            _ => Stop::of_refusal(error, "push_failed"),
        };
        let events = app.hub.stream(&self.0, &call, None).await;
        let mut events = events.map_err(|error| match error {
            CallError::Refused(error) => refused(error),
            other => Stop::of_call(other),
        })?;
        let mut progress = Progress::new(app, build.id);
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = tokio::time::sleep_until(progress.store_at()) => {
                    progress.store(log.written()).await;
                    continue;
                }
            };
            let Some(event) = event else {
                return Err(silent());
            };
            match event.map_err(Stop::of_call)? {
                TransferEvent::Progress { current_bytes, total_bytes, .. } => {
                    progress.pushed = Some((current_bytes, total_bytes));
                }
                TransferEvent::Log(line) => log.write(&line),
                TransferEvent::Done { digest: Some(digest) } => {
                    progress.store(log.written()).await;
                    return Ok(digest);
                }
                TransferEvent::Done { digest: None } => {
                    return Err(Stop::failed("push_failed", "the engine did not say what it pushed"));
                }
                TransferEvent::Failed(error) => return Err(refused(error)),
            }
            progress.store_when_due(log.written()).await;
        }
    }
}

fn silent() -> Stop {
    Stop::Lost(Error::unavailable("machine_unreachable", "the machine said nothing more"))
}
