//! Images between this machine and our registry: pull, push, forget.
//!
//! Measured on Docker 20.10: a push leaves the image with a digest reference (`door/owner/repo@sha256:…`), but removing
//! the last tag of that repository removes the digest reference too, and with the last reference goes the image. What was
//! built here therefore keeps a local tag in its repository, `ls-keep-<digest>`; so `create` by digest needs no pull.

use std::collections::HashMap;
use std::time::Duration;

use axum::body::Body;
use bollard::query_parameters::{RemoveImageOptions, TagImageOptions};
use tokio::sync::mpsc::Sender;
use tokio::time::Instant;
use wire::ids::{BuildId, InstanceId};
use wire::link::{
    LinkError, LinkErrorCode, PullImage, PushBuild, RegistryReference, RemoveImage, RemoveImageDone,
    STAGING_TAG_PREFIX, TransferEvent,
};
use wire::names::Digest;

use super::raw::{Credential, Message, Messages};
use super::{
    CALL_TIMEOUT, Engine, build_repository, build_tag, clip, engine_down, is_not_found, timed_out, within,
};

/// A transfer of which nothing is heard for so long is stuck.
const SILENCE_MAX: Duration = Duration::from_mins(5);
/// Progress is told at most this often.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);
const KEEP_TAG_PREFIX: &str = "ls-keep-";

/// Makes sure that the machine has the image.
pub(crate) async fn pull(engine: &Engine, call: PullImage, events: &Sender<TransferEvent>) -> TransferEvent {
    match pull_image(engine, call, events).await {
        Ok(digest) => TransferEvent::Done { digest },
        Err(error) => TransferEvent::Failed(error),
    }
}

async fn pull_image(
    engine: &Engine,
    call: PullImage,
    events: &Sender<TransferEvent>,
) -> Result<Option<Digest>, LinkError> {
    let repository = engine.repository(&call.image.repository)?;
    let tag = match &call.image.reference {
        RegistryReference::Tag(tag) => tag.to_string(),
        RegistryReference::Digest(digest) => {
            if has_image(engine, &format!("{repository}@{digest}")).await? {
                return Ok(None);
            }
            digest.to_string()
        }
    };
    let query = [("fromImage", repository), ("tag", tag)];
    let credential = Credential::One(&call.credential);
    let mut messages = engine
        .post("/images/create", &query, credential, Body::empty())
        .await
        .map_err(|error| told_by_registry(error.code, &error.message))?;
    follow(&mut messages, events, SILENCE_MAX).await?;
    Ok(match call.image.reference {
        RegistryReference::Digest(digest) => Some(digest),
        RegistryReference::Tag(_) => None,
    })
}

pub(super) async fn has_image(engine: &Engine, reference: &str) -> Result<bool, LinkError> {
    let docker = engine.docker().await?;
    match within(CALL_TIMEOUT, docker.inspect_image(reference)).await {
        Ok(_) => Ok(true),
        Err(error) if is_not_found(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Pushes what a build made. The staging tag goes afterwards on every path, also when nobody waits any more: the caller
/// lets this future end by itself and `is_abandoned` says when to hurry.
pub(crate) async fn push(
    engine: &Engine,
    call: PushBuild,
    events: &Sender<TransferEvent>,
    is_abandoned: impl Future<Output = ()>,
) -> TransferEvent {
    let repository = match engine.repository(&call.repository) {
        Ok(repository) => repository,
        Err(error) => return TransferEvent::Failed(error),
    };
    let staging = staging_tag(call.instance, call.build);
    let pushed = tokio::select! {
        pushed = push_staged(engine, &call, &repository, &staging, events) => pushed,
        () = is_abandoned => Err(LinkError::new(LinkErrorCode::Timeout, "the push was cancelled")),
    };
    if let Err(error) = untag(engine, &format!("{repository}:{staging}")).await {
        tracing::warn!(build.id = %call.build, "the staging tag stays until builds are cleaned: {error}");
    }
    match pushed {
        Ok(digest) => TransferEvent::Done { digest: Some(digest) },
        Err(error) => TransferEvent::Failed(error),
    }
}

async fn push_staged(
    engine: &Engine,
    call: &PushBuild,
    repository: &str,
    staging: &str,
    events: &Sender<TransferEvent>,
) -> Result<Digest, LinkError> {
    let source = format!("{}:{}", build_repository(call.instance), build_tag(call.build));
    tag(engine, &source, repository, staging).await.map_err(|error| {
        if !is_not_found(&error) {
            return error;
        }
        let message = format!("what build `{}` made is not on the machine: build it again", call.build);
        LinkError::new(LinkErrorCode::NotFound, message)
    })?;
    let path = format!("/images/{repository}/push");
    let query = [("tag", staging.to_owned())];
    let credential = Credential::One(&call.credential);
    let mut messages = engine
        .post(&path, &query, credential, Body::empty())
        .await
        .map_err(|error| told_by_registry(error.code, &error.message))?;
    let digest = follow(&mut messages, events, SILENCE_MAX).await?;
    let digest: Digest = digest.and_then(|digest| digest.parse().ok()).ok_or_else(|| {
        LinkError::new(LinkErrorCode::Engine, "the engine ended the push without naming a digest")
    })?;
    tag(engine, &source, repository, &keep_tag(&digest)).await?;
    Ok(digest)
}

/// Forgets an image; what others use stays.
pub(crate) async fn remove(engine: &Engine, call: RemoveImage) -> Result<RemoveImageDone, LinkError> {
    let RegistryReference::Digest(digest) = &call.image.reference else {
        let message = "images are forgotten by digest: a tag may have moved";
        return Err(LinkError::new(LinkErrorCode::Invalid, message));
    };
    let repository = engine.repository(&call.image.repository)?;
    let reference = engine.reference(&call.image)?;
    let was_there = has_image(engine, &reference).await?;
    untag(engine, &format!("{repository}:{}", keep_tag(digest))).await?;
    untag(engine, &reference).await?;
    Ok(RemoveImageDone { was_there })
}

/// The tag under which a build is pushed.
pub(super) fn staging_tag(instance: InstanceId, build: BuildId) -> String {
    format!("{}{}", staging_prefix(instance), build_tag(build))
}

/// What the staging tags of one installation begin with.
pub(super) fn staging_prefix(instance: InstanceId) -> String {
    format!("{STAGING_TAG_PREFIX}{}-", instance.short())
}

fn keep_tag(digest: &Digest) -> String {
    format!("{KEEP_TAG_PREFIX}{}", digest.as_str().trim_start_matches("sha256:"))
}

async fn tag(engine: &Engine, image: &str, repository: &str, tag: &str) -> Result<(), LinkError> {
    let docker = engine.docker().await?;
    let options = TagImageOptions { repo: Some(repository.to_owned()), tag: Some(tag.to_owned()) };
    within(CALL_TIMEOUT, docker.tag_image(image, Some(options))).await
}

/// Removes a name, and the image with the last one; true when there was one.
pub(super) async fn untag(engine: &Engine, reference: &str) -> Result<bool, LinkError> {
    let docker = engine.docker().await?;
    let removal = docker.remove_image(reference, None::<RemoveImageOptions>, None);
    match within(CALL_TIMEOUT, removal).await {
        Ok(_) => Ok(true),
        Err(error) if is_not_found(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads a transfer to its end, however long that takes, as long as it is not silent for so long; the digest, when the engine names
/// one.
async fn follow(
    messages: &mut Messages,
    events: &Sender<TransferEvent>,
    silence: Duration,
) -> Result<Option<String>, LinkError> {
    let mut progress = LayerProgress::default();
    let mut digest = None;
    loop {
        let message = match tokio::time::timeout(silence, messages.next()).await {
            Err(_) => return Err(timed_out(silence)),
            Ok(None) => break,
            Ok(Some(message)) => message?,
        };
        if let Some(error) = message.error {
            return Err(told_by_registry(LinkErrorCode::Engine, &error));
        }
        if let Some(event) = progress.take(&message) {
            send(events, event).await?;
        }
        digest = message.aux.and_then(|aux| aux.digest).or(digest);
    }
    send(events, progress.event()).await?;
    Ok(digest)
}

async fn send(events: &Sender<TransferEvent>, event: TransferEvent) -> Result<(), LinkError> {
    events.send(event).await.map_err(|_| engine_down("nobody waits for the transfer any more"))
}

/// Sums over layers. A layer is counted twice by the engine (downloaded, then unpacked): what is highest counts, so that
/// the sum never goes back.
#[derive(Default)]
struct LayerProgress {
    layers: HashMap<String, (u64, u64)>,
    told: Option<Instant>,
}

impl LayerProgress {
    /// Images have at most some hundred layers; what an engine says beyond is not kept.
    const LAYERS_MAX: usize = 1_024;

    fn take(&mut self, message: &Message) -> Option<TransferEvent> {
        let layer = message.id.as_ref()?;
        if message.progress.total == 0
            || (self.layers.len() >= Self::LAYERS_MAX && !self.layers.contains_key(layer))
        {
            return None;
        }
        let (current, total) = self.layers.entry(layer.clone()).or_default();
        *total = (*total).max(message.progress.total);
        *current = (*current).max(message.progress.current).min(*total);
        if self.told.is_some_and(|told| told.elapsed() < PROGRESS_EVERY) {
            return None;
        }
        self.told = Some(Instant::now());
        Some(self.event())
    }

    fn event(&self) -> TransferEvent {
        let sum = |part: fn(&(u64, u64)) -> u64| self.layers.values().map(part).sum();
        TransferEvent::Progress {
            current_bytes: sum(|(current, _)| *current),
            total_bytes: sum(|(_, total)| *total),
            layers: u32::try_from(self.layers.len()).unwrap_or(u32::MAX),
        }
    }
}

/// The engine passes the registry's refusal on as text. These words are the registry protocol's own error codes; this is
/// the one place that reads them.
fn told_by_registry(code: LinkErrorCode, message: &str) -> LinkError {
    const UNAVAILABLE: [&str; 6] =
        ["manifest unknown", "name unknown", "unauthorized", "denied", "not found", "no basic auth"];
    let lower = message.to_lowercase();
    let is_unavailable = UNAVAILABLE.iter().any(|words| lower.contains(words));
    let code = match code {
        LinkErrorCode::EngineDown | LinkErrorCode::Timeout => code,
        _ if is_unavailable => LinkErrorCode::ImageUnavailable,
        _ => LinkErrorCode::Engine,
    };
    LinkError::new(code, clip(message))
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::super::raw::Progress;
    use super::*;

    #[test]
    fn progress_is_summed_over_layers_and_never_goes_back() {
        let mut progress = LayerProgress::default();
        let message = |layer: &str, current, total| Message {
            id: Some(layer.to_owned()),
            progress: Progress { current, total },
            ..Message::default()
        };

        progress.take(&message("a", 10, 100));
        progress.take(&message("b", 50, 50));
        progress.take(&message("a", 90, 100));
        progress.take(&message("a", 5, 100));

        assert_eq!(
            progress.event(),
            TransferEvent::Progress { current_bytes: 140, total_bytes: 150, layers: 2 }
        );
    }

    #[tokio::test]
    async fn a_transfer_is_stuck_when_nothing_is_heard_and_not_when_it_takes_long() {
        let line =
            |number: u32| format!(r#"{{"id":"a","progressDetail":{{"current":{number},"total":10}}}}"#);
        let slow = futures::stream::unfold(0, move |number| async move {
            tokio::time::sleep(Duration::from_millis(600)).await;
            (number < 10).then(|| (line(number), number + 1))
        });
        let stuck = futures::stream::iter([line(1)]).chain(futures::stream::pending());
        let (events, _told) = tokio::sync::mpsc::channel(100);

        let patience = Duration::from_secs(5);
        let (mut slow, mut stuck) = (Messages::of(slow), Messages::of(stuck));
        let began = Instant::now();
        let (whole, given_up) = tokio::join!(
            follow(&mut slow, &events, patience),
            follow(&mut stuck, &events, Duration::from_secs(1))
        );

        assert_eq!(whole, Ok(None));
        assert!(began.elapsed() > patience, "it took longer than it may be silent");
        assert_eq!(given_up.unwrap_err().code, LinkErrorCode::Timeout);
    }

    #[test]
    fn an_engine_that_is_down_is_not_an_image_that_is_missing() {
        let down = told_by_registry(LinkErrorCode::EngineDown, "socket not found");
        let unknown = told_by_registry(LinkErrorCode::NotFound, "manifest for x not found: manifest unknown");

        assert_eq!(down.code, LinkErrorCode::EngineDown);
        assert_eq!(unknown.code, LinkErrorCode::ImageUnavailable);
    }
}
