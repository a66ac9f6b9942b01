//! The calls of the link, served as HTTP/2 on any pipe. A stream's work runs in a task of the agent that notices when its
//! reader is gone, so that it can clean behind itself.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Router};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::{self, Sender};
use tokio::time::Instant;
use tokio_util::io::InspectWriter;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use wire::container_uses::{ReadUses, ReadUsesDone};
use wire::disk_uses::{MeasureDisk, MeasureDiskDone};
use wire::files::{
    FileOwner, FolderListing, GetFileOwner, ListFolder, ReadFiles, RemoveFile, RemoveFileDone, StatFile,
    StatFileDone, WriteFiles, WriteFilesEvent,
};
use wire::limits::{LimitContainer, LimitContainerDone};
use wire::link::{
    BuildImage, ByteCall, CALL_HEADER, Call, Channel, CleanBuilds, CleanBuildsDone, ContainerAction,
    ContainerActionDone, ContainerLogs, ContainerStats, CopyContainer, CopyContainerDone, CreateContainer,
    Exec, GetFacts, HEARS_HEADER, LEVEL_HEADER, LINK_LEVEL, LinkError, LinkErrorCode, ObservedContainer,
    OpenBulk, OpenBulkDone, PullImage, PushBuild, RemoveImage, RemoveImageDone, StatsEvent, StreamCall,
    Watch,
};
use wire::machine_images::{CleanImages, CleanImagesDone, ListImages, ListImagesDone};
use wire::machines::MachineFacts;
use wire::saves::{CommitContainer, PreviewSave, PreviewSaveDone};
use wire::volumes::{RemoveVolume, RemoveVolumeDone};

use crate::engine::{
    build, containers, copies, disk_uses, exec, files, held, images, limits, logs, save, stats, volumes,
    watch,
};
use crate::{Agent, facts};

/// A call is at most the text of one container and some numbers.
const CALL_BYTES_MAX: usize = 1 << 20;
/// Events that wait for a slow reader before the work itself waits.
const EVENTS_WAITING: usize = 8;
/// What the server may send ahead of our reading: a build context on its way to the engine. A large window makes an upload
/// over a slow line fast.
const STREAM_WINDOW: u32 = 2 << 20;
/// The same of all bodies. Builds that wait for another one leave theirs unread for as long as that takes, and when they have
/// all of it nobody's body comes any more: so it holds 64 of them, and costs memory only when there are as many.
const CONNECTION_WINDOW: u32 = 64 * STREAM_WINDOW;
/// What a stream may hold of its answer while its reader is slow.
const SEND_BUFFER: usize = 256 << 10;
const FRAME_BYTES: u32 = 64 << 10;
/// A call that travels in a header is longer than headers usually are.
const HEADER_BYTES: u32 = 256 << 10;
const STREAMS_MAX: u32 = 1024;
/// How often a server is asked whether it still hears us, and how long it may take, where little is ever on its way. It is this
/// machine's sign of life, too: a server that hears nothing for fifteen seconds takes the machine for lost.
pub(crate) const CONTROL_PING_EVERY: Duration = Duration::from_secs(6);
pub(crate) const CONTROL_PING_TIMEOUT: Duration = Duration::from_secs(6);
/// The same where what was sent before may take long on a slow line.
const BULK_PING_EVERY: Duration = Duration::from_secs(10);
const BULK_PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How long answers may take to end at shutdown.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(5);

impl Agent {
    /// Serves the server's calls on one connection until it ends or the agent is told to stop.
    pub async fn serve_pipe<IO>(&self, channel: Channel, io: IO)
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (ping_every, ping_timeout) = match channel {
            Channel::Control => (CONTROL_PING_EVERY, CONTROL_PING_TIMEOUT),
            Channel::Bulk | Channel::Registry => (BULK_PING_EVERY, BULK_PING_TIMEOUT),
        };
        let said = Said::default();
        let io = InspectWriter::new(io, said.noting());
        let service = TowerToHyperService::new(self.router().layer(Extension(said)));
        let mut builder = hyper::server::conn::http2::Builder::new(Tracked(self.tasks().clone()));
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_frame_size(FRAME_BYTES)
            .max_header_list_size(HEADER_BYTES)
            .max_concurrent_streams(STREAMS_MAX)
            .keep_alive_interval(ping_every)
            .keep_alive_timeout(ping_timeout);
        let shutdown = self.shutdown().clone();
        let serving = async move {
            let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = shutdown.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    tokio::time::timeout(GOODBYE_TIMEOUT, connection).await.unwrap_or(Ok(()))
                }
            };
            if let Err(error) = ended {
                tracing::debug!("the link ended: {error}");
            }
        };
        // A task of its own: what it is woken for concerns no other connection, and waking a program's main future costs a
        // call of the system.
        if let Err(error) = AbortOnDropHandle::new(self.tasks().spawn(serving)).await {
            tracing::warn!("the link ended: {error}");
        }
    }

    fn router(&self) -> Router {
        Router::new()
            .route(GetFacts::PATH, post(get_facts))
            .route(OpenBulk::PATH, post(open_bulk))
            .route(Watch::PATH, post(watch_machine))
            .route(PullImage::PATH, post(pull_image))
            .route(PushBuild::PATH, post(push_build))
            .route(RemoveImage::PATH, post(remove_image))
            .route(ListImages::PATH, post(list_images))
            .route(CleanImages::PATH, post(clean_images))
            .route(BuildImage::PATH, post(build_image))
            .route(CleanBuilds::PATH, post(clean_builds))
            .route(CreateContainer::PATH, post(create_container))
            .route(ContainerAction::PATH, post(act_on_container))
            .route(ContainerLogs::PATH, post(read_logs))
            .route(Exec::PATH, post(run_command))
            .route(ContainerStats::PATH, post(read_stats))
            .route(ReadUses::PATH, post(read_uses))
            .route(CopyContainer::PATH, post(copy_container))
            .route(LimitContainer::PATH, post(limit_container))
            .route(RemoveVolume::PATH, post(remove_volume))
            .route(MeasureDisk::PATH, post(measure_disk))
            .route(PreviewSave::PATH, post(preview_save))
            .route(CommitContainer::PATH, post(commit_container))
            .route(StatFile::PATH, post(stat_file))
            .route(ListFolder::PATH, post(list_folder))
            .route(ReadFiles::PATH, post(read_files))
            .route(WriteFiles::PATH, post(write_files))
            .route(RemoveFile::PATH, post(remove_file))
            .route(GetFileOwner::PATH, post(get_file_owner))
            .fallback(unknown_call)
            .layer(middleware::from_fn(check_level))
            .with_state(self.clone())
    }
}

/// When something was last sent over a connection. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Said(Arc<Mutex<Instant>>);

impl Default for Said {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }
}

impl Said {
    pub(crate) fn at(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that something is sent.
    fn noting(&self) -> impl FnMut(&[u8]) + Send + use<> {
        let said = self.clone();
        move |_: &[u8]| *said.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now()
    }
}

/// Runs hyper's own tasks among the agent's, so that they end with it.
#[derive(Clone)]
pub(crate) struct Tracked(pub(crate) TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

/// A call that was refused or failed before its answer began.
struct Refusal(LinkError);

impl From<LinkError> for Refusal {
    fn from(error: LinkError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self.0.code {
            LinkErrorCode::NotFound | LinkErrorCode::ImageUnavailable => StatusCode::NOT_FOUND,
            LinkErrorCode::Conflict | LinkErrorCode::PortTaken => StatusCode::CONFLICT,
            LinkErrorCode::Denied => StatusCode::FORBIDDEN,
            LinkErrorCode::Invalid | LinkErrorCode::WrongLevel => StatusCode::BAD_REQUEST,
            LinkErrorCode::BuildFailed => StatusCode::UNPROCESSABLE_ENTITY,
            LinkErrorCode::EngineDown => StatusCode::SERVICE_UNAVAILABLE,
            LinkErrorCode::Engine | LinkErrorCode::GpuUnavailable => StatusCode::BAD_GATEWAY,
            LinkErrorCode::Unsupported => StatusCode::NOT_IMPLEMENTED,
            LinkErrorCode::Timeout => StatusCode::GATEWAY_TIMEOUT,
        };
        (status, axum::Json(self.0)).into_response()
    }
}

async fn check_level(request: Request, next: Next) -> Response {
    let theirs = request.headers().get(LEVEL_HEADER).and_then(|level| level.to_str().ok()?.parse().ok());
    match level_error(theirs) {
        Some(error) => Refusal(error).into_response(),
        None => next.run(request).await,
    }
}

fn level_error(theirs: Option<u32>) -> Option<LinkError> {
    let theirs = match theirs {
        Some(LINK_LEVEL) => return None,
        Some(theirs) => theirs,
        None => {
            return Some(LinkError::new(LinkErrorCode::WrongLevel, "the call names no link level"));
        }
    };
    let side = if theirs > LINK_LEVEL { "agent on this machine" } else { "server" };
    let message = format!(
        "the server speaks link level {theirs}, the agent (version {}) level {LINK_LEVEL}: upgrade the {side}",
        env!("CARGO_PKG_VERSION")
    );
    Some(LinkError::new(LinkErrorCode::WrongLevel, message))
}

async fn unknown_call(request: Request) -> Refusal {
    let message =
        format!("the agent knows no call `{}`: {}", request.uri().path().escape_debug(), upgrade_agent());
    Refusal(LinkError::new(LinkErrorCode::Invalid, message))
}

async fn read_call<C: DeserializeOwned>(body: Body) -> Result<C, Refusal> {
    let bytes = axum::body::to_bytes(body, CALL_BYTES_MAX).await.map_err(invalid)?;
    Ok(serde_json::from_slice(&bytes).map_err(not_understood)?)
}

fn read_call_header<C: DeserializeOwned>(headers: &HeaderMap) -> Result<C, Refusal> {
    let Some(value) = headers.get(CALL_HEADER) else {
        return Err(invalid(format!("header `{CALL_HEADER}` is missing")).into());
    };
    let json = BASE64_STANDARD.decode(value).map_err(invalid)?;
    Ok(serde_json::from_slice(&json).map_err(not_understood)?)
}

/// What is well formed and still not understood comes from a server that knows more.
fn not_understood(problem: serde_json::Error) -> LinkError {
    if problem.is_data() { invalid(format!("{problem}; {}", upgrade_agent())) } else { invalid(problem) }
}

fn upgrade_agent() -> String {
    format!(
        "its server is newer than it is (version {}): upgrade the agent on this machine",
        env!("CARGO_PKG_VERSION")
    )
}

fn invalid(problem: impl std::fmt::Display) -> LinkError {
    LinkError::new(LinkErrorCode::Invalid, format!("the call cannot be read: {problem}"))
}

/// Answers with the events of a task. The task gets a sender that is closed once the reader is gone.
fn stream<E, F>(agent: &Agent, work: impl FnOnce(Agent, Sender<E>) -> F) -> Response
where
    E: Serialize + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel::<E>(EVENTS_WAITING);
    agent.tasks().spawn(work(agent.clone(), sender));
    let lines = futures::stream::unfold(receiver, |mut receiver| async {
        let event = receiver.recv().await?;
        let mut line = serde_json::to_vec(&event).expect("events can be written as JSON");
        line.push(b'\n');
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(line)), receiver))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

/// Answers with the bytes of a task. The task gets a sender that is closed once the reader is gone.
fn stream_bytes<F>(agent: &Agent, work: impl FnOnce(Agent, Sender<Bytes>) -> F) -> Response
where
    F: Future<Output = ()> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel::<Bytes>(EVENTS_WAITING);
    agent.tasks().spawn(work(agent.clone(), sender));
    let bytes = futures::stream::unfold(receiver, |mut receiver| async {
        Some((Ok::<_, std::convert::Infallible>(receiver.recv().await?), receiver))
    });
    ([(header::CONTENT_TYPE, "application/octet-stream")], Body::from_stream(bytes)).into_response()
}

/// Ends when nobody reads any more or the agent stops.
async fn abandoned<E>(agent: &Agent, events: &Sender<E>) {
    tokio::select! {
        () = events.closed() => {}
        () = agent.shutdown().cancelled() => {}
    }
}

/// The last word of a stream; it may find that nobody listens.
async fn finish<E>(events: &Sender<E>, last: E) {
    if events.send(last).await.is_err() {
        tracing::debug!("a stream ended after its reader");
    }
}

async fn get_facts(State(agent): State<Agent>, body: Body) -> Result<axum::Json<MachineFacts>, Refusal> {
    let GetFacts {} = read_call(body).await?;
    Ok(axum::Json(facts::gather(&agent).await))
}

async fn open_bulk(State(agent): State<Agent>, body: Body) -> Result<axum::Json<OpenBulkDone>, Refusal> {
    let OpenBulk {} = read_call(body).await?;
    let opener = agent.opener().ok_or_else(|| invalid("this agent is in the server's own process"))?;
    opener.bulk().await?;
    Ok(axum::Json(OpenBulkDone {}))
}

async fn watch_machine(
    State(agent): State<Agent>,
    Extension(said): Extension<Said>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let call: Watch = read_call(body).await?;
    let said = headers.contains_key(HEARS_HEADER).then_some(said);
    Ok(stream(&agent, |agent, events| async move {
        tokio::select! {
            () = watch::watch(&agent, call, &events, said.as_ref()) => {}
            () = abandoned(&agent, &events) => {}
        }
    }))
}

async fn pull_image(State(agent): State<Agent>, body: Body) -> Result<Response, Refusal> {
    let call: PullImage = read_call(body).await?;
    Ok(stream(&agent, |agent, events| async move {
        tokio::select! {
            last = images::pull(agent.engine(), call, &events) => finish(&events, last).await,
            () = abandoned(&agent, &events) => {}
        }
    }))
}

async fn push_build(State(agent): State<Agent>, body: Body) -> Result<Response, Refusal> {
    let call: PushBuild = read_call(body).await?;
    Ok(stream(&agent, |agent, events| async move {
        let is_abandoned = abandoned(&agent, &events);
        let last = images::push(agent.engine(), call, &events, is_abandoned).await;
        finish(&events, last).await;
    }))
}

async fn remove_image(
    State(agent): State<Agent>,
    body: Body,
) -> Result<axum::Json<RemoveImageDone>, Refusal> {
    let call: RemoveImage = read_call(body).await?;
    Ok(axum::Json(images::remove(agent.engine(), call).await?))
}

async fn list_images(State(agent): State<Agent>, body: Body) -> Result<axum::Json<ListImagesDone>, Refusal> {
    let call: ListImages = read_call(body).await?;
    Ok(axum::Json(held::list(agent.engine(), call).await?))
}

async fn clean_images(
    State(agent): State<Agent>,
    body: Body,
) -> Result<axum::Json<CleanImagesDone>, Refusal> {
    let call: CleanImages = read_call(body).await?;
    Ok(axum::Json(held::clean(agent.engine(), call).await?))
}

async fn build_image(
    State(agent): State<Agent>,
    headers: HeaderMap,
    context: Body,
) -> Result<Response, Refusal> {
    let call: BuildImage = read_call_header(&headers)?;
    Ok(stream(&agent, |agent, events| async move {
        let is_abandoned = abandoned(&agent, &events);
        let last = build::build(agent.engine(), call, context, &events, is_abandoned).await;
        finish(&events, last).await;
    }))
}

async fn clean_builds(
    State(agent): State<Agent>,
    body: Body,
) -> Result<axum::Json<CleanBuildsDone>, Refusal> {
    let call: CleanBuilds = read_call(body).await?;
    Ok(axum::Json(build::clean(agent.engine(), call).await?))
}

async fn create_container(
    State(agent): State<Agent>,
    body: Body,
) -> Result<axum::Json<ObservedContainer>, Refusal> {
    let call: CreateContainer = read_call(body).await?;
    Ok(axum::Json(containers::create(agent.engine(), agent.policy(), call).await?))
}

async fn act_on_container(
    State(agent): State<Agent>,
    body: Body,
) -> Result<axum::Json<ContainerActionDone>, Refusal> {
    let call: ContainerAction = read_call(body).await?;
    Ok(axum::Json(containers::act(agent.engine(), call).await?))
}

async fn copy_container(
    State(agent): State<Agent>,
    body: Body,
) -> Result<axum::Json<CopyContainerDone>, Refusal> {
    let call: CopyContainer = read_call(body).await?;
    Ok(axum::Json(copies::copy(agent.engine(), call).await?))
}

async fn read_logs(State(agent): State<Agent>, body: Body) -> Result<Response, Refusal> {
    let call: ContainerLogs = read_call(body).await?;
    Ok(stream(&agent, |agent, events| async move {
        tokio::select! {
            last = logs::read(agent.engine(), call, &events) => {
                if let Some(last) = last {
                    finish(&events, last).await;
                }
            }
            () = abandoned(&agent, &events) => {}
        }
    }))
}

async fn read_stats(State(agent): State<Agent>, body: Body) -> Result<Response, Refusal> {
    let call: ContainerStats = read_call(body).await?;
    let subject = stats::find(agent.engine(), call).await?;
    Ok(stream(&agent, |agent, events| async move {
        tokio::select! {
            done = stats::follow(&agent, subject, &events) => {
                if let Err(error) = done {
                    finish(&events, StatsEvent::Failed(error)).await;
                }
            }
            () = abandoned(&agent, &events) => {}
        }
    }))
}

async fn limit_container(
    State(agent): State<Agent>,
    body: Body,
) -> Result<axum::Json<LimitContainerDone>, Refusal> {
    let call: LimitContainer = read_call(body).await?;
    Ok(axum::Json(limits::change(agent.engine(), agent.policy(), call).await?))
}

async fn remove_volume(
    State(agent): State<Agent>,
    body: Body,
) -> Result<axum::Json<RemoveVolumeDone>, Refusal> {
    let call: RemoveVolume = read_call(body).await?;
    Ok(axum::Json(volumes::remove(agent.engine(), call).await?))
}

async fn measure_disk(
    State(agent): State<Agent>,
    body: Body,
) -> Result<axum::Json<MeasureDiskDone>, Refusal> {
    let call: MeasureDisk = read_call(body).await?;
    Ok(axum::Json(disk_uses::measure(agent.engine(), call).await?))
}

async fn read_uses(State(agent): State<Agent>, body: Body) -> Result<axum::Json<ReadUsesDone>, Refusal> {
    // There is one past for each installation's agent.
    let _: ReadUses = read_call(body).await?;
    Ok(axum::Json(stats::uses(&agent)))
}

async fn preview_save(
    State(agent): State<Agent>,
    body: Body,
) -> Result<axum::Json<PreviewSaveDone>, Refusal> {
    let call: PreviewSave = read_call(body).await?;
    Ok(axum::Json(save::preview(&agent, call).await?))
}

async fn commit_container(State(agent): State<Agent>, body: Body) -> Result<Response, Refusal> {
    let call: CommitContainer = read_call(body).await?;
    Ok(stream(&agent, |agent, events| async move {
        let last = save::commit(&agent, call, &events).await;
        finish(&events, last).await;
    }))
}

async fn stat_file(State(agent): State<Agent>, body: Body) -> Result<axum::Json<StatFileDone>, Refusal> {
    let call: StatFile = read_call(body).await?;
    Ok(axum::Json(files::stat(agent.engine(), call).await?))
}

async fn list_folder(State(agent): State<Agent>, body: Body) -> Result<axum::Json<FolderListing>, Refusal> {
    let call: ListFolder = read_call(body).await?;
    Ok(axum::Json(files::list(&agent, call).await?))
}

async fn read_files(State(agent): State<Agent>, headers: HeaderMap) -> Result<Response, Refusal> {
    let call: ReadFiles = read_call_header(&headers)?;
    let body = files::read(&agent, call).await?;
    Ok(([(header::CONTENT_TYPE, "application/x-tar")], body).into_response())
}

async fn write_files(
    State(agent): State<Agent>,
    headers: HeaderMap,
    content: Body,
) -> Result<Response, Refusal> {
    let call: WriteFiles = read_call_header(&headers)?;
    Ok(stream(&agent, |agent, events| async move {
        tokio::select! {
            done = files::write(&agent, call, content) => {
                let last = done.map_or_else(WriteFilesEvent::Failed, |()| WriteFilesEvent::Done);
                finish(&events, last).await;
            }
            () = abandoned(&agent, &events) => {}
        }
    }))
}

async fn remove_file(State(agent): State<Agent>, body: Body) -> Result<axum::Json<RemoveFileDone>, Refusal> {
    let call: RemoveFile = read_call(body).await?;
    Ok(axum::Json(files::remove(&agent, call).await?))
}

async fn get_file_owner(State(agent): State<Agent>, body: Body) -> Result<axum::Json<FileOwner>, Refusal> {
    let call: GetFileOwner = read_call(body).await?;
    Ok(axum::Json(files::owner(agent.engine(), call).await?))
}

async fn run_command(
    State(agent): State<Agent>,
    headers: HeaderMap,
    input: Body,
) -> Result<Response, Refusal> {
    let call: Exec = read_call_header(&headers)?;
    // Only made here: whoever asked may be gone before it is answered, and then nobody would end what was started.
    let made = exec::make(agent.engine(), agent.policy(), call).await?;
    Ok(stream_bytes(&agent, |agent, output| async move {
        let is_abandoned = abandoned(&agent, &output);
        made.run(agent.engine(), agent.execs(), input, &output, is_abandoned).await;
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_level_is_refused_with_the_side_to_upgrade() {
        let older = level_error(Some(LINK_LEVEL - 1)).unwrap();
        let newer = level_error(Some(LINK_LEVEL + 1)).unwrap();

        assert!(level_error(Some(LINK_LEVEL)).is_none());
        assert!(older.message.ends_with("upgrade the server"), "{older}");
        assert!(newer.message.ends_with("upgrade the agent on this machine"), "{newer}");
        assert_eq!(level_error(None).unwrap().code, LinkErrorCode::WrongLevel);
    }
}
