//! Builds: a context into an image under the build's own local tag, and cleaning up behind builds that went wrong.
//!
//! The classic builder reads any image that the engine has, and its cache holds the steps of every account. So `pull` is
//! always on (each `FROM` is asked of the registry, with the building account's rights; by digest we ask) and the cache is taken from the
//! given images alone; with none given there is no cache. What has secrets goes to `buildkit`.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::Body;
use bollard::query_parameters::{
    InspectContainerOptions, ListContainersOptions, ListImagesOptions, RemoveImageOptions,
};
use tokio::sync::mpsc::Sender;
use wire::ids::{BuildId, InstanceId};
use wire::link::{BuildEvent, BuildImage, CleanBuilds, CleanBuildsDone, LinkError, LinkErrorCode};
use wire::names::Digest;

use super::raw::{Credential, Message};
use super::{
    CALL_TIMEOUT, Engine, build_repository, build_tag, buildkit, cgroup, clip, containers, engine_down,
    images, is_not_found, within,
};

/// The argument by which a Dockerfile can name our registry: `FROM ${LONGSHORE_REGISTRY}/alice/base:1`.
pub(super) const REGISTRY_ARG: &str = "LONGSHORE_REGISTRY";
/// Longer pieces of log are cut.
const LOG_BYTES_MAX: usize = 64 << 10;
/// No build may take longer, whatever the server says.
const BUILD_SECS_MAX: u64 = 24 * 3600;
/// How long an engine may take to end the step of a build that was given up.
const CLEAN_TIMEOUT: Duration = Duration::from_secs(30);
const CLEAN_POLL: Duration = Duration::from_millis(200);

/// Builds to the end. When nobody waits any more (`is_abandoned`), the engine is told to stop and what it leaves is
/// removed before this returns.
pub(crate) async fn build(
    engine: &Engine,
    call: BuildImage,
    context: Body,
    events: &Sender<BuildEvent>,
    is_abandoned: impl Future<Output = ()>,
) -> BuildEvent {
    let mut trace = Trace::default();
    let mut group = None;
    let limit = Duration::from_secs(call.timeout_secs.min(BUILD_SECS_MAX));
    let outcome = tokio::select! {
        outcome = run(engine, &call, context, events, &mut trace, &mut group) => outcome,
        () = is_abandoned => Err(LinkError::new(LinkErrorCode::Timeout, "the build was cancelled")),
        () = tokio::time::sleep(limit) => {
            let message = format!("the build took longer than {} seconds", limit.as_secs());
            Err(LinkError::new(LinkErrorCode::Timeout, message))
        }
    };
    if call.secrets.is_some() {
        buildkit::end(engine, call.instance, group, outcome.is_err()).await;
    } else if outcome.is_err()
        && let Err(error) = remove_steps_of(engine, call.instance, call.build).await
    {
        tracing::warn!(build.id = %call.build, "steps of the build stay until builds are cleaned: {error}");
    }
    remove_unnamed_images(engine, trace, outcome.is_ok()).await;
    let of = call.build;
    cgroup::clear(call.instance, move |build| build == of).await;
    match outcome {
        Ok(engine_image_id) => BuildEvent::Built { engine_image_id },
        Err(error) => BuildEvent::Failed(error),
    }
}

async fn run(
    engine: &Engine,
    call: &BuildImage,
    context: Body,
    events: &Sender<BuildEvent>,
    trace: &mut Trace,
    group: &mut Option<buildkit::Group>,
) -> Result<String, LinkError> {
    let dockerfile = &call.dockerfile;
    let leaves = |part: &str| part == "..";
    if dockerfile.is_empty() || dockerfile.starts_with('/') || dockerfile.split('/').any(leaves) {
        let message = format!("`{}` is not a path in the context", dockerfile.escape_debug());
        return Err(LinkError::new(LinkErrorCode::Invalid, message));
    }
    if let Some(secrets) = &call.secrets {
        return buildkit::run(engine, call, secrets, context, events, group).await;
    }
    let parent = cgroup::parent(call.instance, call.build, engine.client().await?.is_systemd);
    cgroup::limit(&parent).await;

    let query = query(engine, call, &parent)?;
    let credential = Credential::ByRegistry(&call.credential);
    let mut messages = engine.post("/build", &query, credential, context).await.map_err(build_failed)?;
    let mut image = None;
    while let Some(message) = messages.next().await {
        let message = message?;
        if let Some(error) = message.error {
            return Err(failed(&error));
        }
        check_pulled(engine, call, &message).await?;
        for event in trace.take(&message) {
            events.send(event).await.map_err(|_| engine_down("nobody waits for the build any more"))?;
        }
        image = message.aux.and_then(|aux| aux.id).or(image);
    }
    // The engine closes the connection in good order even when it is being stopped.
    image.ok_or_else(|| engine_down("it ended the build without a result"))
}

/// Docker 20.10 takes a manifest by digest from what it has stored, whoever stored it, and asks no registry: `pull` does
/// not help there. So the registry is asked here as soon as the engine says that it pulls by digest. The engine says so in
/// a message of its own kind, which the output of a step cannot forge.
async fn check_pulled(engine: &Engine, call: &BuildImage, message: &Message) -> Result<(), LinkError> {
    let (Some(_), Some(reference)) = (&message.status, &message.id) else { return Ok(()) };
    if !reference.contains("@sha256:") {
        return Ok(());
    }
    ask_for(engine, call, reference).await
}

/// What an engine has of our registry's images is no one's right to them, and what it has by digest of others' neither.
pub(super) async fn check_readable(
    engine: &Engine,
    call: &BuildImage,
    reference: &str,
) -> Result<(), LinkError> {
    let is_ours = reference.strip_prefix(engine.registry()).is_some_and(|rest| rest.starts_with('/'));
    if is_ours || reference.contains("@sha256:") {
        return ask_for(engine, call, reference).await;
    }
    Ok(())
}

async fn ask_for(engine: &Engine, call: &BuildImage, reference: &str) -> Result<(), LinkError> {
    let asked = tokio::time::timeout(CALL_TIMEOUT, engine.ask_registry(reference, &call.credential)).await;
    match asked {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            let message = format!("`{reference}` cannot be pulled: {}", error.message);
            Err(build_failed(LinkError::new(error.code, message)))
        }
        Err(_) => Err(super::timed_out(CALL_TIMEOUT)),
    }
}

fn query(engine: &Engine, call: &BuildImage, parent: &str) -> Result<Vec<(&'static str, String)>, LinkError> {
    let json = |value: serde_json::Value| value.to_string();
    let mut args = call.build_args.clone();
    args.insert(REGISTRY_ARG.to_owned(), engine.registry().to_owned());
    let mut query = vec![
        ("version", "1".to_owned()),
        ("dockerfile", call.dockerfile.clone()),
        ("t", format!("{}:{}", build_repository(call.instance), build_tag(call.build))),
        ("pull", "1".to_owned()),
        ("rm", "1".to_owned()),
        ("forcerm", "1".to_owned()),
        ("cgroupparent", parent.to_owned()),
        ("memory", call.memory_bytes.to_string()),
        ("memswap", call.memory_bytes.to_string()),
        ("cpuperiod", "100000".to_owned()),
        ("cpuquota", (u64::from(call.cpu_millis) * 100).to_string()),
        ("buildargs", json(serde_json::to_value(args).expect("text can be written as JSON"))),
    ];
    // An empty list would mean every image on the machine.
    if call.cache_from.is_empty() {
        query.push(("nocache", "1".to_owned()));
    } else {
        let sources: Result<Vec<String>, LinkError> =
            call.cache_from.iter().map(|image| engine.reference(image)).collect();
        query.push(("cachefrom", json(sources?.into())));
    }
    Ok(query)
}

/// What the registry says of an image that the builder may not use is one word, and the same as for one that is not there.
fn plain(error: &str) -> String {
    // BuildKit says where it asked, too.
    let is_refused = error.contains("pulling from host") && error.contains("401 Unauthorized");
    if is_refused || error.contains("failed to authorize") || error.contains("insufficient_scope") {
        return format!("an image that it names is not in the registry, or is not yours to use: {error}");
    }
    if error.trim_end() == "unauthorized"
        || error.starts_with("unauthorized: ")
        || error.ends_with(": unauthorized")
    {
        return "an image that it names is not in the registry, or is not yours to use".to_owned();
    }
    error.to_owned()
}

/// What the engine says a build failed of. That the result of a step is gone before the next one is not the builder's to mend:
/// somebody removed an image that shares it, and building again helps.
pub(super) fn failed(error: &str) -> LinkError {
    let lost = error.strip_prefix("unable to find image \"").and_then(|rest| rest.strip_suffix('"'));
    if lost.is_some_and(|image| image.parse::<Digest>().is_ok()) {
        return LinkError::new(
            LinkErrorCode::EngineDown,
            "what a step had made was removed before the next one began",
        );
    }
    LinkError::new(LinkErrorCode::BuildFailed, clip(&plain(error)))
}

/// What the engine refuses at once (a Dockerfile that cannot be read, a context that is not one) is the builder's to mend.
pub(super) fn build_failed(error: LinkError) -> LinkError {
    match error.code {
        LinkErrorCode::EngineDown | LinkErrorCode::Timeout => error,
        _ => LinkError::new(LinkErrorCode::BuildFailed, error.message),
    }
}

/// Reads a build's output: which step it is at, and which unnamed images it has made.
#[derive(Default)]
struct Trace {
    step: u32,
    is_after_step: bool,
    is_cached: bool,
    last_image: Option<String>,
    /// The last image of each stage and of the build: removing one removes the unnamed ones under it.
    images: Vec<String>,
}

impl Trace {
    /// A Dockerfile of a mebibyte of `FROM` lines still ends.
    const IMAGES_MAX: usize = 256;

    fn take(&mut self, message: &Message) -> Vec<BuildEvent> {
        if let Some(text) = &message.stream {
            return self.take_text(text);
        }
        // A base image is being pulled; its progress bars are not for the log.
        let Some(status) = message.status.as_ref().filter(|_| message.progress.total == 0) else {
            return Vec::new();
        };
        let line = match &message.id {
            Some(id) => format!("{id}: {status}\n"),
            None => format!("{status}\n"),
        };
        vec![BuildEvent::Log(line)]
    }

    fn take_text(&mut self, text: &str) -> Vec<BuildEvent> {
        if std::mem::take(&mut self.is_after_step) && text == "\n" {
            return Vec::new();
        }
        if let Some(event) = self.step(text) {
            return vec![event];
        }
        if let Some(result) = text.strip_prefix(" ---> ") {
            self.result(result.trim());
        }
        if text.starts_with("[Warning] One or more build-args") && text.contains(&format!("[{REGISTRY_ARG}]"))
        {
            // We gave it, not the user.
            return Vec::new();
        }
        if text.starts_with("Successfully tagged ls-b/") {
            // The name by which we find it; the user gave another one.
            return Vec::new();
        }
        pieces(text).map(BuildEvent::Log).collect()
    }

    /// `Step 2/5 : RUN make`. Output of a step can look the same; that it counts on by one tells most of it apart, and
    /// nothing but what is shown depends on it.
    fn step(&mut self, text: &str) -> Option<BuildEvent> {
        let (numbers, instruction) = text.strip_prefix("Step ")?.split_once(" : ")?;
        let (step, steps) = numbers.split_once('/')?;
        let (step, steps): (u32, u32) = (step.parse().ok()?, steps.parse().ok()?);
        if step != self.step + 1 || step > steps {
            return None;
        }
        if instruction.trim_start().get(..4).is_some_and(|word| word.eq_ignore_ascii_case("FROM")) {
            self.end_stage();
        }
        self.step = step;
        self.is_after_step = !text.ends_with('\n');
        let text = clip(instruction.trim_end());
        Some(BuildEvent::Step { step, steps, text })
    }

    fn result(&mut self, result: &str) {
        if result == "Using cache" {
            self.is_cached = true;
        } else if result.len() == 12 && result.bytes().all(|b| b.is_ascii_hexdigit()) {
            // What came from the cache belongs to the image that it came from.
            self.last_image = (!std::mem::take(&mut self.is_cached)).then(|| result.to_owned());
        }
    }

    fn end_stage(&mut self) {
        if let Some(image) = self.last_image.take()
            && self.images.len() < Self::IMAGES_MAX
        {
            self.images.push(image);
        }
    }
}

/// A text in pieces that fit in an event.
pub(super) fn pieces(text: &str) -> impl Iterator<Item = String> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, after) = rest.split_at(rest.floor_char_boundary(LOG_BYTES_MAX));
        rest = after;
        Some(piece.to_owned())
    })
}

/// Removes what the engine keeps as cache but we never use as such: the last images of stages, and of a build that failed.
/// An image with a name stays (a base image looks the same in the output), and so does one that others are made from.
async fn remove_unnamed_images(engine: &Engine, mut trace: Trace, is_built: bool) {
    if is_built {
        trace.last_image = None;
    }
    trace.end_stage();
    let removal = async {
        let docker = engine.docker().await?;
        for image in trace.images.into_iter().rev() {
            let found = within(CALL_TIMEOUT, docker.inspect_image(&image)).await;
            let Some(found) = containers::gone_is_none(found)? else { continue };
            let has_no = |names: Option<Vec<String>>| names.unwrap_or_default().is_empty();
            if has_no(found.repo_tags) && has_no(found.repo_digests) {
                let removed =
                    within(CALL_TIMEOUT, docker.remove_image(&image, None::<RemoveImageOptions>, None)).await;
                match removed {
                    Err(error) if !is_not_found(&error) && error.code != LinkErrorCode::Conflict => {
                        return Err(error);
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    };
    if let Err(error) = removal.await {
        tracing::debug!("unnamed images of a build stay: {error}");
    }
}

/// Removes the containers of a build's steps. The engine removes them too once it has noticed that the build was given
/// up, so this goes on until it finds none twice.
async fn remove_steps_of(engine: &Engine, instance: InstanceId, build: BuildId) -> Result<(), LinkError> {
    let removal = async {
        let mut was_empty = false;
        loop {
            let left = steps(engine, instance).await?;
            let ours: Vec<_> = left.into_iter().filter(|(_, of)| *of == build).collect();
            if ours.is_empty() && was_empty {
                return Ok(());
            }
            was_empty = ours.is_empty();
            for (container, _) in ours {
                containers::remove(engine, &container).await?;
            }
            tokio::time::sleep(CLEAN_POLL).await;
        }
    };
    match tokio::time::timeout(CLEAN_TIMEOUT, removal).await {
        Ok(done) => done,
        Err(_) => Err(super::timed_out(CLEAN_TIMEOUT)),
    }
}

/// Containers of steps of this installation's builds.
async fn steps(engine: &Engine, instance: InstanceId) -> Result<Vec<(String, BuildId)>, LinkError> {
    let docker = engine.docker().await?;
    let options = ListContainersOptions { all: true, ..Default::default() };
    let mut found = Vec::new();
    for row in within(CALL_TIMEOUT, docker.list_containers(Some(options))).await? {
        let Some(id) = row.id else { continue };
        let inspected = docker.inspect_container(&id, None::<InspectContainerOptions>);
        let Some(container) = containers::gone_is_none(within(CALL_TIMEOUT, inspected).await)? else {
            continue;
        };
        let parent = container.host_config.and_then(|config| config.cgroup_parent).unwrap_or_default();
        if let Some(build) = cgroup::build_of(instance, &parent) {
            found.push((id, build));
        }
    }
    Ok(found)
}

/// Removes what builds of this installation left, except those that go on.
pub(crate) async fn clean(engine: &Engine, call: CleanBuilds) -> Result<CleanBuildsDone, LinkError> {
    let keep: BTreeSet<BuildId> = call.keep.iter().copied().collect();
    let mut done = CleanBuildsDone::default();
    for (container, build) in steps(engine, call.instance).await? {
        if !keep.contains(&build) {
            containers::remove(engine, &container).await?;
            done.containers += 1;
        }
    }
    for (name, build) in build_names(engine, call.instance).await? {
        if !keep.contains(&build) {
            // One that a container runs from stays until the container is gone.
            match images::untag(engine, &name).await {
                Ok(was_there) => done.tags += u64::from(was_there),
                Err(error) if error.code == LinkErrorCode::Conflict => {}
                Err(error) => return Err(error),
            }
        }
    }
    cgroup::clear(call.instance, move |build| !keep.contains(&build)).await;
    buildkit::clean(call.instance).await;
    Ok(done)
}

/// The names that builds of this installation have on the machine: their own and those under which they are pushed.
async fn build_names(engine: &Engine, instance: InstanceId) -> Result<Vec<(String, BuildId)>, LinkError> {
    let docker = engine.docker().await?;
    let list = docker.list_images(None::<ListImagesOptions>);
    let own = build_repository(instance);
    let staging = images::staging_prefix(instance);
    let build = |name: &str| -> Option<BuildId> {
        let (repository, tag) = name.rsplit_once(':')?;
        if repository == own {
            return tag.parse().ok();
        }
        tag.strip_prefix(&staging)?.parse().ok()
    };
    let names = within(CALL_TIMEOUT, list).await?.into_iter().flat_map(|image| image.repo_tags);
    Ok(names.filter_map(|name| build(&name).map(|build| (name, build))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: u32, steps: u32, text: &str) -> BuildEvent {
        BuildEvent::Step { step, steps, text: text.to_owned() }
    }

    #[test]
    fn a_step_whose_result_was_removed_is_no_fault_of_the_build() {
        let lost = format!("unable to find image \"sha256:{}\"", "e6".repeat(32));

        assert_eq!(failed(&lost).code, LinkErrorCode::EngineDown);
        for error in ["unable to find image \"x\"", "The command '/bin/false' returned a non-zero code: 1"] {
            assert_eq!(failed(error).code, LinkErrorCode::BuildFailed, "{error}");
        }
    }

    #[test]
    fn steps_are_told_from_output_that_looks_like_one() {
        let mut trace = Trace::default();

        assert_eq!(trace.take_text("Step 1/2 : FROM scratch"), [step(1, 2, "FROM scratch")]);
        assert_eq!(trace.take_text("\n"), []);
        assert_eq!(
            trace.take_text("Step 7/9 : rm -rf /\n"),
            [BuildEvent::Log("Step 7/9 : rm -rf /\n".into())]
        );
        assert_eq!(trace.take_text("Step 2/2 : RUN x"), [step(2, 2, "RUN x")]);
    }

    #[test]
    fn the_unnamed_images_of_stages_are_remembered_but_not_the_cached_ones() {
        let mut trace = Trace::default();
        let lines = [
            "Step 1/4 : FROM scratch",
            " ---> \n",
            "Step 2/4 : COPY a /",
            " ---> 111111111111\n",
            "Step 3/4 : FROM scratch",
            "Step 4/4 : COPY b /",
            " ---> Using cache\n",
            " ---> 222222222222\n",
        ];

        for line in lines {
            trace.take_text(line);
        }
        trace.end_stage();

        assert_eq!(trace.images, ["111111111111"]);
    }

    #[test]
    fn long_output_is_cut_between_characters() {
        let text = "ä".repeat(LOG_BYTES_MAX);

        let pieces: Vec<String> = pieces(&text).collect();

        assert!(pieces.iter().all(|piece| piece.len() <= LOG_BYTES_MAX));
        assert_eq!(pieces.concat(), text);
    }
}
