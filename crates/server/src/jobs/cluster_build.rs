//! Builds in a cluster: a job with one pod, which is given the context and a login to read the registry, builds, and is then given
//! a login that opens one repository for writing. The job goes on when the server does not: whoever takes a build up again finds
//! the job by its name and reads the pod's log on from where it was. A job or a pod that is lost is made anew.

use std::time::Duration;

use futures::TryStreamExt as _;
use serde_json::Value;
use tokio::time::Instant;
use wire::ids::MachineId;
use wire::link::STAGING_TAG_PREFIX;
use wire::names::{Digest, ImageReference};

use super::bases::Bases;
use super::build_image::{Stop, Work};
use super::build_progress::{Log, Progress};
use super::executor::Executor;
use super::pod_command::logins;
use super::pod_log::PodLog;
use super::pod_stage::{STOPPED, Stage, can_push, clip, stage_of};
use super::veil::Veil;
use crate::app::App;
use crate::blobs::blocking;
use crate::clients::kube::build_objects::{
    BUILD_CONTAINER, BUILD_LABEL, BuildJob, PUSH_CONTAINER, job_name, push_image,
};
use crate::clients::kube::{As, Failure};
use crate::domain::cluster_builds::{self, Place};
use crate::domain::{git_repo_secrets, registry};
use crate::error::{Error, ErrorKind, Result};

/// How often a pod is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(400);
/// How often it is looked at while its log is read.
const LOOK_WHILE_READING: Duration = Duration::from_secs(5);
/// How long a cluster that does not answer is given before the next try.
pub(super) const AWAY_PAUSE: Duration = Duration::from_secs(1);
/// How long a pod may wait for a node, for its image, and for being made at all.
const START_PATIENCE: Duration = Duration::from_mins(5);
/// How long the reading of a log may go on after its container has ended.
const DRAIN_PATIENCE: Duration = Duration::from_secs(10);
/// Tries to read the rest of a log whose container has ended.
const DRAINS: u32 = 3;
/// Seconds that a job outlives the build that it was made for.
const JOB_GRACE_SECS: u64 = 120;
/// Image repositories that fill the cache when all of them have as much as they may.
const CACHE_PARTS: u64 = 4;

/// A cluster's namespace of builds.
pub(super) struct InCluster {
    pub(super) place: Place,
}

impl Executor for InCluster {
    fn machine(&self) -> Option<&MachineId> {
        None
    }

    async fn build(&self, work: &Work<'_>, log: &mut Log) -> Result<Option<ImageReference>, Stop> {
        let mut pod_log = self.job(work, log).await?;
        let pod = self.started(work).await?;
        let of_build = git_repo_secrets::of_build(work.app, work.build.id).await?;
        let secrets = of_build.map(|of_build| of_build.secrets).unwrap_or_default();
        let veil = Veil::over(&secrets);
        self.give(work, &pod, &secrets).await?;
        let names = [Some(work.app.config.registry_listen.to_string()), Some(registry_name(work.app))];
        let mut bases = Bases::new(names.into_iter().flatten());
        let mut drains = 0;
        loop {
            let stage = self.stage(work, &pod).await?;
            if let Stage::Lost(why) = stage {
                return Err(self.lose(work, &why).await);
            }
            let is_over = !matches!(stage, Stage::Building | Stage::Waiting(_));
            let is_whole =
                self.read(work, &pod, &mut pod_log, &mut Hears { bases: &mut bases, veil: &veil, log }).await;
            if !is_over {
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
            drains += 1;
            if !is_whole && drains < DRAINS {
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
            return match stage {
                Stage::Failed(STOPPED, message) if !pod_log.is_error() => {
                    Err(self.lose(work, &message).await)
                }
                Stage::Failed(reason, message) => {
                    let reason = if reason == STOPPED { "build_failed" } else { reason };
                    let said = pod_log.said().filter(|_| reason == "build_failed");
                    let message = said.map_or(message, |said| veil.cover(said).into_owned());
                    Err(Stop::Failed(refine(reason, &message), message))
                }
                _ => Ok(bases.last()),
            };
        }
    }

    async fn push(&self, work: &Work<'_>, log: &mut Log) -> Result<Digest, Stop> {
        let (app, build) = (work.app, work.build);
        let pod = loop {
            match self.find_pod(work).await? {
                None => return Err(self.lose(work, "its pod is gone").await),
                Some(pod) => match stage_of(&pod) {
                    Stage::Built if can_push(&pod) => break name_of(&pod),
                    Stage::Built | Stage::Building | Stage::Waiting(_) => {
                        tokio::time::sleep(LOOK_EVERY).await;
                    }
                    Stage::Failed(STOPPED, why) | Stage::Lost(why) => {
                        return Err(self.lose(work, &why).await);
                    }
                    Stage::Failed(reason, message) => return Err(Stop::Failed(reason, message)),
                },
            }
        };
        let credential = registry::push_credential(
            app,
            build.account_id,
            &build.account,
            &build.image,
            work.credential_secs(),
        )?;
        let logins = logins(app, &credential);
        let tag = format!("{STAGING_TAG_PREFIX}{}", build.id);
        let destination = format!("{}/{}:{tag}", registry_name(app), build.image.repository());
        let command = push_image(logins.len(), &destination);
        let mut last = String::new();
        let mut hear = |text: &str| {
            log.write(text);
            if let Some(line) = text.lines().rfind(|line| !line.trim().is_empty()) {
                line.strip_prefix("Error: ").unwrap_or(line).clone_into(&mut last);
            }
        };
        let container = (PUSH_CONTAINER, None);
        let ended = self.command(app, &pod, container, command, logins.as_bytes(), &mut hear).await;
        let ended = ended.map_err(|stop| match stop {
            // Pushing again does no harm, and what was built is there.
            Stop::Lost(error) => Stop::Failed("push_failed", error.to_string()),
            stop => stop,
        })?;
        if ended.code != 0 {
            return Err(Stop::Failed("push_failed", clip(&last)));
        }
        ended.output.trim().parse().map_err(|_| {
            Stop::failed("push_failed", "what pushed did not say what it pushed: is it another buildah?")
        })
    }
}

/// Where what a pod says goes.
struct Hears<'a> {
    bases: &'a mut Bases,
    veil: &'a Veil,
    log: &'a mut Log,
}

impl InCluster {
    /// The cluster for a build, once it answers and its namespace is in order.
    pub(super) async fn open(work: &Work<'_>) -> Result<Self, Stop> {
        loop {
            let furnished = async {
                let place = cluster_builds::place(work.app).await?;
                place.furnish(work.app).await?;
                Ok::<_, Error>(place)
            };
            match furnished.await {
                Ok(place) => return Ok(Self { place }),
                Err(error) if error.kind == ErrorKind::Unavailable => {
                    if work.is_over() {
                        return Err(Stop::Lost(error));
                    }
                    tracing::debug!(%error, "a build waits for its cluster");
                    tokio::time::sleep(AWAY_PAUSE).await;
                }
                Err(error) => return Err(Stop::Failed("no_cluster", with_hint(&error))),
            }
        }
    }

    fn who(&self) -> As<'_> {
        As::Tenant(&self.place.namespace)
    }

    pub(super) fn lost(why: &str) -> Stop {
        Stop::Lost(Error::unavailable(
            "build_lost",
            format!("the build's job in the cluster was lost: {why}"),
        ))
    }

    /// The job is of no use any more: it is removed, so that the next attempt makes another one.
    async fn lose(&self, work: &Work<'_>, why: &str) -> Stop {
        let path = format!("{}/{}", self.place.jobs(), job_name(work.build.id));
        match self.ask(|| self.place.cluster.delete(self.who(), &path, None)).await {
            Ok(_) => Self::lost(why),
            Err(failure) => stop(failure),
        }
    }

    /// Asks the cluster until it answers: while it is away, what runs there goes on.
    pub(super) async fn ask<T, F>(&self, question: impl Fn() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        loop {
            match question().await {
                Err(failure @ (Failure::Unreachable(_) | Failure::Refused)) => {
                    tracing::debug!(%failure, "a build's cluster does not answer");
                    tokio::time::sleep(AWAY_PAUSE).await;
                }
                Err(Failure::Said { code: 429 | 500..=599, message, .. }) => {
                    tracing::debug!(message, "a build's cluster cannot answer");
                    tokio::time::sleep(AWAY_PAUSE).await;
                }
                answer => return answer,
            }
        }
    }

    /// Finds the build's job, or makes it; its log, after what was read of it before.
    async fn job(&self, work: &Work<'_>, log: &mut Log) -> Result<PodLog, Stop> {
        let (app, build) = (work.app, work.build);
        let room = self.place.room(app, &[]);
        let jobs = self.place.jobs();
        let path = format!("{jobs}/{}", job_name(build.id));
        let marker = format!(
            "[job `{}` in namespace `{}` of cluster `{}`]\n",
            job_name(build.id),
            self.place.namespace,
            self.place.name
        );
        loop {
            if let Some(job) = self.ask(|| self.place.cluster.find(self.who(), &path)).await.map_err(stop)? {
                let is_ours = room.is_ours(&job)
                    && job["metadata"]["labels"][BUILD_LABEL].as_str() == Some(&build.id.to_string());
                if !is_ours {
                    let message = format!("the cluster has a job `{}` already", job_name(build.id));
                    return Err(Stop::Failed("job_taken", message));
                }
                if !has_ended(&job) && !job["metadata"]["deletionTimestamp"].is_string() {
                    return Ok(PodLog::after(text_after(app, build.id, &marker).await?));
                }
                self.ask(|| async {
                    let path = format!("{jobs}/{}", name_of(&job));
                    self.place.cluster.delete(self.who(), &path, job["metadata"]["uid"].as_str()).await
                })
                .await
                .map_err(stop)?;
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
            let config = &app.config;
            let object = BuildJob {
                room: &room,
                build: build.id,
                account: build.account_id,
                image: &config.pipelines.builder_image,
                registry: &registry_name(app),
                registries: &cluster_builds::registries(app),
                dockerfile: &build.dockerfile,
                memory_bytes: config.builds.memory_bytes,
                cpu_millis: config.builds.cpu_millis,
                storage_bytes: config.pipelines.storage_bytes,
                cache: (config.pipelines.cache_bytes > 0)
                    .then(|| (build.image.repo.as_str(), config.pipelines.cache_bytes / CACHE_PARTS)),
                deadline_secs: work.secs_left() + JOB_GRACE_SECS,
            }
            .object();
            // First: what is read of the job's log is counted from here.
            log.write(&marker);
            match self.ask(|| self.place.cluster.create(self.who(), &jobs, &object)).await {
                Ok(_) => return Ok(PodLog::after(0)),
                Err(failure) if failure.is_exists() => {}
                Err(failure) => return Err(stop(failure)),
            }
        }
    }

    /// The newest pod of the build's job.
    async fn find_pod(&self, work: &Work<'_>) -> Result<Option<Value>, Stop> {
        let selector = format!("{BUILD_LABEL}%3D{}", work.build.id);
        let path = format!("/api/v1/namespaces/{}/pods?labelSelector={selector}", self.place.namespace);
        let mut listed = self.ask(|| self.place.cluster.get(self.who(), &path)).await.map_err(stop)?;
        let Value::Array(pods) = listed["items"].take() else { return Ok(None) };
        // Those that go are of a job before.
        let staying = pods.into_iter().filter(|pod| !pod["metadata"]["deletionTimestamp"].is_string());
        Ok(staying.max_by_key(|pod| pod["metadata"]["creationTimestamp"].as_str().map(str::to_owned)))
    }

    pub(super) async fn stage(&self, work: &Work<'_>, pod: &str) -> Result<Stage, Stop> {
        Ok(match self.find_pod(work).await? {
            Some(found) if name_of(&found) == pod => stage_of(&found),
            _ => Stage::Lost("its pod was removed".to_owned()),
        })
    }

    /// Waits until the pod has begun; its name.
    async fn started(&self, work: &Work<'_>) -> Result<String, Stop> {
        let until = Instant::now() + START_PATIENCE;
        loop {
            let waits_for = match self.find_pod(work).await? {
                None => {
                    let path = format!("{}/{}", self.place.jobs(), job_name(work.build.id));
                    match self.ask(|| self.place.cluster.find(self.who(), &path)).await.map_err(stop)? {
                        None => return Err(Self::lost("somebody removed it")),
                        Some(job) if has_ended(&job) => {
                            return Err(self.lose(work, &why_ended(&job)).await);
                        }
                        Some(_) => self.last_event(&job_name(work.build.id)).await?,
                    }
                }
                Some(pod) => match stage_of(&pod) {
                    Stage::Waiting(why) => why,
                    Stage::Failed("builder_unavailable", message) => {
                        let image = &work.app.config.pipelines.builder_image;
                        let message = format!("the builder's image `{image}` cannot be used: {message}");
                        return Err(Stop::Failed("builder_unavailable", clip(&message)));
                    }
                    Stage::Lost(why) => return Err(self.lose(work, &why).await),
                    _ => return Ok(name_of(&pod)),
                },
            };
            if Instant::now() >= until {
                let message =
                    format!("the build did not begin in {} seconds: {waits_for}", START_PATIENCE.as_secs());
                return Err(Stop::Failed("not_started", clip(&message)));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// What the cluster said last of an object.
    async fn last_event(&self, name: &str) -> Result<String, Stop> {
        let selector = format!("involvedObject.name%3D{name}");
        let path = format!("/api/v1/namespaces/{}/events?fieldSelector={selector}", self.place.namespace);
        let listed = self.ask(|| self.place.cluster.get(self.who(), &path)).await.map_err(stop)?;
        let events = listed["items"].as_array().into_iter().flatten();
        let last = events.max_by_key(|event| event["lastTimestamp"].as_str().map(str::to_owned));
        let said = last.and_then(|event| event["message"].as_str());
        Ok(said.unwrap_or("the cluster has made no pod yet").to_owned())
    }

    /// Reads the log of what builds until it ends; whether it did by itself.
    async fn read(
        &self,
        work: &Work<'_>,
        pod: &str,
        pod_log: &mut PodLog,
        Hears { bases, veil, log }: &mut Hears<'_>,
    ) -> bool {
        let since = pod_log.since().map(|since| format!("&sinceTime={since}")).unwrap_or_default();
        let path = format!(
            "/api/v1/namespaces/{}/pods/{pod}/log?container={BUILD_CONTAINER}&follow=true&timestamps=true{since}",
            self.place.namespace
        );
        pod_log.begin_again();
        let stream = match self.place.cluster.stream(self.who(), &path).await {
            Ok(stream) => stream,
            Err(failure) => {
                tracing::debug!(%failure, "the log of a build cannot be read now");
                return false;
            }
        };
        let mut stream = std::pin::pin!(stream);
        let mut progress = Progress::new(work.app, work.build.id);
        let mut look_at = Instant::now() + LOOK_WHILE_READING;
        let mut until = None;
        loop {
            let piece = tokio::select! {
                piece = stream.try_next() => piece,
                () = tokio::time::sleep_until(progress.store_at()) => {
                    progress.store(log.written()).await;
                    continue;
                }
                () = tokio::time::sleep_until(look_at) => {
                    look_at = Instant::now() + LOOK_WHILE_READING;
                    // A node that is lost ends no stream.
                    let is_over = !matches!(self.stage(work, pod).await, Ok(Stage::Building | Stage::Waiting(_)));
                    if is_over && until.is_none() {
                        until = Some(Instant::now() + DRAIN_PATIENCE);
                    }
                    if until.is_some_and(|until| Instant::now() >= until) {
                        return false;
                    }
                    continue;
                }
            };
            let mut text = |text: &str| log.gather(&veil.cover(text));
            let mut step = |(step, steps, text): (u32, u32, String)| {
                bases.take(&text);
                progress.step = Some((step, steps, text));
            };
            let is_end = match &piece {
                Ok(Some(bytes)) => {
                    pod_log.take(bytes, &mut text, &mut step);
                    false
                }
                Ok(None) => {
                    pod_log.finish(&mut text, &mut step);
                    true
                }
                Err(_) => true,
            };
            log.flush();
            progress.note_log();
            if is_end {
                progress.store(log.written()).await;
                return piece.is_ok();
            }
            progress.store_when_due(log.written()).await;
        }
    }
}

pub(super) fn registry_name(app: &App) -> String {
    cluster_builds::registry_name(app)
}

/// What is not the cluster's fault is the request's: it says so at every try.
fn stop(failure: Failure) -> Stop {
    match failure {
        Failure::Unreachable(_) | Failure::Refused => Stop::Lost(failure.into()),
        failure @ Failure::Said { .. } => {
            Stop::Failed("cluster_refuses", format!("the cluster says: {failure}"))
        }
    }
}

fn with_hint(error: &Error) -> String {
    match &error.hint {
        Some(hint) => format!("{}; {hint}", error.detail),
        None => error.detail.clone(),
    }
}

/// How much text stands behind a line's last appearance in a build's log.
async fn text_after(app: &App, build: wire::ids::BuildId, marker: &str) -> Result<u64, Stop> {
    let (logs, marker) = (app.clone(), marker.to_owned());
    Ok(blocking(move || logs.operation_logs.bytes_after(build, &marker)).await?)
}

fn name_of(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

fn has_ended(job: &Value) -> bool {
    let conditions = job["status"]["conditions"].as_array().into_iter().flatten();
    let mut ended = conditions.filter(|condition| condition["status"] == "True");
    ended.any(|condition| condition["type"] == "Failed" || condition["type"] == "Complete")
}

fn why_ended(job: &Value) -> String {
    let conditions = job["status"]["conditions"].as_array().into_iter().flatten();
    let mut said = conditions.filter_map(|condition| condition["message"].as_str());
    said.next().unwrap_or("it has ended").to_owned()
}

/// A base image that cannot be had is no fault of the Dockerfile's steps.
fn refine(reason: &'static str, message: &str) -> &'static str {
    let about_images = ["initializing source docker://", "unable to pull", "pinging container registry"];
    let is_about_images = about_images.iter().any(|part| message.contains(part));
    if reason == "build_failed" && is_about_images { "base_image_unavailable" } else { reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_image_that_is_missing_is_told_apart() {
        let missing = "creating build container: initializing source docker://x/y:1: unauthorized";
        assert_eq!(refine("build_failed", missing), "base_image_unavailable");
        assert_eq!(refine("build_failed", "exit status 1"), "build_failed");
    }
}
