//! Builds whose steps read secrets. The classic builder cannot give any, so these are built by the engine's BuildKit, which asks for a
//! secret when a step names it, over a connection beside the build: it is in no argument, no layer and no row.
//!
//! BuildKit's cache is one for all who build on the engine, and it sets no bounds. So every step gets a host name of its build's *scope*,
//! which is part of what a step's result is known by; folders that outlive steps (`--mount=type=cache`) are the scope's; front ends
//! from elsewhere (`# syntax=`) are not run; images are asked of the registry with the building account's rights whatever the engine has
//! of them; and one build at a time has the control group of all of BuildKit's steps, bounded as a step of ours may be.
//!
//! - `group`: bounds; `protobuf`: messages; `session`: what is asked of us; `trace`: what is told us

mod group;
mod protobuf;
mod session;
mod trace;

use std::collections::BTreeMap;

use axum::body::{Body, Bytes};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures::{StreamExt as _, stream};
use serde::Deserialize;
use tokio::sync::mpsc::Sender;
use wire::ids::InstanceId;
use wire::link::{BuildEvent, BuildImage, BuildSecrets, LinkError, LinkErrorCode};
use wire::names::SecretName;
use wire::secret::Secret;

use super::raw::Credential;
use super::{Engine, build, build_repository, build_tag, engine_down};
pub(super) use group::Group;
use session::{Given, Session};
use trace::Trace;

/// Fifty secrets of 48 KiB, each byte written as six characters.
const SECRETS_BYTES_MAX: u64 = 16 << 20;
const SCOPE_CHARS_MAX: usize = 40;
/// What BuildKit may keep of steps between builds, on this engine.
const CACHE_BYTES: u64 = 10 << 30;

/// One line of the answer.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Line {
    id: Option<String>,
    error: Option<String>,
    aux: serde_json::Value,
}

/// What the name of a host begins with that every step of this installation knows: by it, processes are known that a killed engine
/// has lost sight of.
fn host_prefix(instance: InstanceId) -> String {
    format!("longshore-b-{}-", instance.short())
}

/// Builds to the end; the engine's id of the image. The group stays with the caller until [`end`], however this ends.
pub(super) async fn run(
    engine: &Engine,
    call: &BuildImage,
    secrets: &BuildSecrets,
    body: Body,
    events: &Sender<BuildEvent>,
    held: &mut Option<Group>,
) -> Result<String, LinkError> {
    let is_scope = |scope: &str| {
        (1..=SCOPE_CHARS_MAX).contains(&scope.len()) && scope.bytes().all(|b| b.is_ascii_hexdigit())
    };
    if !is_scope(&secrets.scope) || secrets.bytes > SECRETS_BYTES_MAX {
        return Err(LinkError::new(
            LinkErrorCode::Invalid,
            "the build's secrets are not described as they should be",
        ));
    }
    let (names, context) = split(body, secrets.bytes).await?;
    match group(engine, call, events).await {
        Err(refused) if refused.code == LinkErrorCode::Unsupported && secrets.may_be_unbounded => {
            let text = format!("[without bounds, as the server's settings allow: {}]\n", refused.message);
            events.send(BuildEvent::Log(text)).await.map_err(nobody_waits)?;
        }
        group => *held = Some(group?),
    }
    let given =
        Given { secrets: names, registry: engine.registry().to_owned(), credential: call.credential.clone() };
    with_session(engine, call, &secrets.scope, given, context, events).await
}

/// What follows a build: its steps end if it failed, before another build may have the group, and BuildKit's cache is cut back.
pub(super) async fn end(engine: &Engine, instance: InstanceId, held: Option<Group>, has_failed: bool) {
    match held {
        Some(group) if has_failed => group.end_steps(host_prefix(instance)).await,
        Some(group) => drop(group),
        None if has_failed => clean(instance).await,
        None => {}
    }
    prune(engine).await;
}

/// Removes what BuildKit keeps beyond its share. Whatever is used stays.
async fn prune(engine: &Engine) {
    let query = [("keep-storage", CACHE_BYTES.to_string())];
    if let Err(error) = engine.post_json("/build/prune", &query).await {
        tracing::debug!("BuildKit's cache is not cut back: {error}");
    }
}

/// The group of all steps of BuildKit, for this build alone, and bounded.
async fn group(engine: &Engine, call: &BuildImage, events: &Sender<BuildEvent>) -> Result<Group, LinkError> {
    if engine.uses_systemd().await? {
        let message = "steps that read secrets cannot be bounded on this engine, because systemd makes its control groups";
        return Err(LinkError::new(LinkErrorCode::Unsupported, message));
    }
    let mut is_told = false;
    loop {
        match Group::take(call.memory_bytes, call.cpu_millis).await {
            Ok(Some(group)) => return Ok(group),
            Ok(None) => {}
            Err(error) => {
                let message = format!("steps that read secrets cannot be bounded on this machine: {error}");
                return Err(LinkError::new(LinkErrorCode::Unsupported, message));
            }
        }
        if !is_told {
            let text = "[waiting for another build with secrets on this machine]\n".to_owned();
            events.send(BuildEvent::Log(text)).await.map_err(nobody_waits)?;
            is_told = true;
        }
        tokio::time::sleep(group::TAKE_EVERY).await;
    }
}

async fn with_session(
    engine: &Engine,
    call: &BuildImage,
    scope: &str,
    given: Given,
    context: Body,
    events: &Sender<BuildEvent>,
) -> Result<String, LinkError> {
    let session = Session::open(engine, given).await?;
    let query = query(engine, call, scope, &session.id);
    let mut lines =
        engine.post("/build", &query, Credential::None, context).await.map_err(build::build_failed)?;
    let mut trace = Trace::default();
    let mut image = None;
    while let Some(line) = lines.next_as::<Line>().await {
        let line = line?;
        if let Some(error) = line.error {
            send_all(trace.rest(), events).await?;
            return Err(build::failed(&error));
        }
        match line.id.as_deref() {
            Some("moby.buildkit.trace") => {
                let report = line.aux.as_str().and_then(|text| BASE64_STANDARD.decode(text).ok());
                let told = trace.take(&report.unwrap_or_default());
                if let Some(front_end) = told.front_end {
                    let message = format!(
                        "the Dockerfile asks to be read by `{front_end}`: front ends from elsewhere are not run; remove the `syntax` line"
                    );
                    return Err(LinkError::new(LinkErrorCode::BuildFailed, message));
                }
                for reference in told.images {
                    build::check_readable(engine, call, &reference).await?;
                }
                send_all(told.events, events).await?;
            }
            Some("moby.image.id") => {
                image = line.aux.get("ID").and_then(|id| id.as_str()).map(str::to_owned);
            }
            _ => {}
        }
    }
    send_all(trace.rest(), events).await?;
    image.ok_or_else(|| engine_down("it ended the build without a result"))
}

fn query(engine: &Engine, call: &BuildImage, scope: &str, session: &str) -> Vec<(&'static str, String)> {
    let mut args = call.build_args.clone();
    args.insert(build::REGISTRY_ARG.to_owned(), engine.registry().to_owned());
    // Folders that outlive steps are the scope's.
    args.insert("BUILDKIT_CACHE_MOUNT_NS".to_owned(), format!("{}{scope}", host_prefix(call.instance)));
    let args = serde_json::to_string(&args).expect("text can be written as JSON");
    let mut query = vec![
        ("version", "2".to_owned()),
        ("session", session.to_owned()),
        ("dockerfile", call.dockerfile.clone()),
        ("t", format!("{}:{}", build_repository(call.instance), build_tag(call.build))),
        ("pull", "1".to_owned()),
        ("extrahosts", format!("{}{scope}.invalid:127.0.0.1", host_prefix(call.instance))),
        ("buildargs", args),
    ];
    if call.cache_from.is_empty() {
        query.push(("nocache", "1".to_owned()));
    }
    query
}

/// The secrets at the beginning of a body, and the context after them.
async fn split(body: Body, length: u64) -> Result<(BTreeMap<SecretName, Secret>, Body), LinkError> {
    let length = usize::try_from(length).expect("it was checked to be small");
    let broken = |problem: String| LinkError::new(LinkErrorCode::Invalid, problem);
    let mut pieces = body.into_data_stream();
    let mut head = Vec::with_capacity(length);
    let mut rest = Bytes::new();
    while head.len() < length {
        let piece = match pieces.next().await {
            Some(Ok(piece)) => piece,
            Some(Err(error)) => return Err(broken(format!("the build's secrets broke off: {error}"))),
            None => return Err(broken("the build's secrets broke off".to_owned())),
        };
        let missing = (length - head.len()).min(piece.len());
        head.extend_from_slice(&piece[..missing]);
        rest = piece.slice(missing..);
    }
    // What is wrong with them is not said in the parser's words, which may quote them.
    let secrets =
        serde_json::from_slice(&head).map_err(|_| broken("the build's secrets cannot be read".to_owned()))?;
    let context = stream::once(std::future::ready(Ok(rest))).chain(pieces);
    Ok((secrets, Body::from_stream(context)))
}

/// Ends what a killed engine left of this installation's builds, unless one of them goes on.
pub(super) async fn clean(instance: InstanceId) {
    match Group::take_unbounded().await {
        Ok(Some(group)) => group.end_steps(host_prefix(instance)).await,
        Ok(None) => {}
        Err(error) => tracing::debug!("steps of BuildKit are not looked at: {error}"),
    }
}

async fn send_all(told: Vec<BuildEvent>, events: &Sender<BuildEvent>) -> Result<(), LinkError> {
    for event in told {
        events.send(event).await.map_err(nobody_waits)?;
    }
    Ok(())
}

fn nobody_waits<T>(_: T) -> LinkError {
    engine_down("nobody waits for the build any more")
}
