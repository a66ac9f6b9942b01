//! A container as an image: what it changed on its disk is copied under a tag of the build's own. Also what it changed, for
//! those who want to know before.

use std::collections::HashSet;
use std::time::Duration;

use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::InspectContainerOptions;
use futures::TryStreamExt;
use serde::Deserialize;
use tokio::sync::mpsc::Sender;
use wire::files::{FileKind, FilePath};
use wire::link::{LinkError, LinkErrorCode};
use wire::saves::{ChangedFile, CommitContainer, CommitEvent, PreviewSave, PreviewSaveDone};

use super::exec::run_helper;
use super::files::{self, find};
use super::images::{has_image, untag};
use super::{CALL_TIMEOUT, Engine, build_repository, build_tag, within};
use crate::Agent;

/// Counting the bytes of a container's disk takes the engine a while.
const COUNT_TIMEOUT: Duration = Duration::from_mins(5);
/// Bytes of the list of changes that are read, and files that are looked at.
const CHANGES_BYTES_MAX: usize = 32 << 20;
const LOOKS_MAX: usize = 300;
/// Files that are shown.
const BIGGEST: usize = 20;
/// Names of large files that are read from the container.
const NAMES_BYTES_MAX: usize = 1 << 20;

/// Copies what a container changed. The engine does it to its end, whoever is gone meanwhile; then nobody needs it.
pub(crate) async fn commit(
    agent: &Agent,
    call: CommitContainer,
    events: &Sender<CommitEvent>,
) -> CommitEvent {
    let last = copy(agent, &call, events).await.unwrap_or_else(CommitEvent::Failed);
    if events.is_closed() && last == CommitEvent::Done {
        let tag = tag_of(&call);
        if let Err(error) = untag(agent.engine(), &tag).await {
            tracing::debug!("a copy of a container stays until builds are cleaned: {error}");
        }
    }
    last
}

fn tag_of(call: &CommitContainer) -> String {
    format!("{}:{}", build_repository(call.instance), build_tag(call.build))
}

async fn copy(
    agent: &Agent,
    call: &CommitContainer,
    events: &Sender<CommitEvent>,
) -> Result<CommitEvent, LinkError> {
    let engine = agent.engine();
    let id = find(engine, call.instance, call.container).await?;
    if has_image(engine, &tag_of(call)).await? {
        return Ok(CommitEvent::Done);
    }
    let size_bytes = inspect(engine, &id, true).await?.size_rw.and_then(|bytes| u64::try_from(bytes).ok());
    let size_bytes = size_bytes.unwrap_or_default();
    if size_bytes > call.bytes_max {
        return Ok(CommitEvent::TooLarge { size_bytes });
    }
    if events.send(CommitEvent::Begun { size_bytes }).await.is_err() {
        return Err(LinkError::new(LinkErrorCode::Timeout, "nobody waits for it any more"));
    }
    // An engine that died while it copied has left it standing still.
    go_on(engine, &id).await?;
    let query = [
        ("container", id.clone()),
        ("repo", build_repository(call.instance)),
        ("tag", build_tag(call.build)),
        ("author", call.author.to_string()),
        ("pause", u8::from(call.pause).to_string()),
    ];
    let done = engine.post_json("/commit", &query).await;
    if call.pause {
        go_on(engine, &id).await?;
    }
    done.map(|()| CommitEvent::Done)
}

async fn inspect(engine: &Engine, id: &str, with_size: bool) -> Result<ContainerInspectResponse, LinkError> {
    let docker = engine.docker().await?.with_timeout(COUNT_TIMEOUT);
    let options = InspectContainerOptions { size: with_size };
    let limit = if with_size { COUNT_TIMEOUT } else { CALL_TIMEOUT };
    within(limit, docker.inspect_container(id, Some(options))).await
}

/// Nobody but a saving lets a container of ours stand still.
async fn go_on(engine: &Engine, id: &str) -> Result<(), LinkError> {
    let state = inspect(engine, id, false).await?.state.unwrap_or_default();
    if state.paused == Some(true) {
        within(CALL_TIMEOUT, engine.docker().await?.unpause_container(id)).await?;
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Change {
    path: String,
    /// 0: changed, 1: made, 2: removed.
    kind: u8,
}

/// What a container changed on its disk.
pub(crate) async fn preview(agent: &Agent, call: PreviewSave) -> Result<PreviewSaveDone, LinkError> {
    let engine = agent.engine();
    let id = find(engine, call.instance, call.container).await?;
    let size_bytes = inspect(engine, &id, true).await?.size_rw.and_then(|bytes| u64::try_from(bytes).ok());
    let size_bytes = size_bytes.unwrap_or_default();
    let Some(all) = changes(engine, &id).await? else {
        return Ok(PreviewSaveDone { size_bytes, changes: 0, biggest: Vec::new(), is_complete: false });
    };
    let mut candidates: Vec<&str> =
        all.iter().filter(|change| change.kind < 2).map(|change| change.path.as_str()).collect();
    let mut is_complete = true;
    if candidates.len() > LOOKS_MAX {
        match large_files(agent, &id).await {
            Some(large) => candidates.retain(|path| large.contains(*path)),
            None => is_complete = false,
        }
        is_complete &= candidates.len() <= LOOKS_MAX;
    }
    let mut biggest = Vec::new();
    for path in candidates.into_iter().take(LOOKS_MAX) {
        let Ok(path) = path.parse::<FilePath>() else { continue };
        if let Some(file) = files::look(engine, &id, &path).await?
            && file.kind == FileKind::File
        {
            biggest.push(ChangedFile { path: path.to_string(), size_bytes: file.size_bytes });
        }
    }
    biggest.sort_by_key(|file| std::cmp::Reverse(file.size_bytes));
    biggest.truncate(BIGGEST);
    Ok(PreviewSaveDone { size_bytes, changes: all.len() as u64, biggest, is_complete })
}

/// None when there are too many to be read.
async fn changes(engine: &Engine, id: &str) -> Result<Option<Vec<Change>>, LinkError> {
    let pieces = engine.get(&format!("/containers/{id}/changes"), &[]).await?;
    let mut pieces = std::pin::pin!(pieces);
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.try_next().await? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > CHANGES_BYTES_MAX {
            return Ok(None);
        }
    }
    // Without changes some engines say null.
    let changes: Option<Vec<Change>> = serde_json::from_slice(&bytes).map_err(super::engine_down)?;
    Ok(Some(changes.unwrap_or_default()))
}

/// The files of more than a MiB, by the container's own `find`; none when it has none, or does not run.
async fn large_files(agent: &Agent, id: &str) -> Option<HashSet<String>> {
    let words = ["find", "/", "-xdev", "-type", "f", "-size", "+1024k", "-print0"];
    let command = words.map(str::to_owned).to_vec();
    let outcome = run_helper(agent, id, command, NAMES_BYTES_MAX).await.ok()?;
    // What it may not look into gives another status, and what it found counts for all that.
    if matches!(outcome.code, Some(126 | 127)) || outcome.is_cut {
        return None;
    }
    let names = outcome.out.split(|byte| *byte == 0);
    Some(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
}
