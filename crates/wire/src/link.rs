//! The calls between server and agent. A call is a `POST` of its JSON to its path over the link's HTTP/2; the compiler
//! pairs each with its reply. A streaming call answers newline-delimited JSON, one event a line; a call that carries a
//! body sends its own JSON in the header [`CALL_HEADER`] (base64) and the bytes as the body.
//!
//! Dropping a reply cancels the work on the other side, where the work can be cancelled.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::containers::{ContainerSample, ContainerSpec};
use crate::frames::Frame;
use crate::gpus::GpuReading;
use crate::ids::{AgentProcessId, BuildId, ContainerId, GpuId, InstanceId, MachineId};
use crate::machines::MachineFacts;
use crate::names::{AccountName, Digest, Tag};
use crate::secret::Secret;
use crate::terminals::{ExecSpec, TerminalSize};
use crate::time::Timestamp;

/// Where an agent opens a WebSocket to the server; `?channel=` says which [`Channel`] it will be.
pub const SOCKET_PATH: &str = "/api/v1/link";
/// Header of the WebSocket's request with the id of the machine that calls.
pub const MACHINE_HEADER: &str = "longshore-machine";
/// The level of this protocol. Different levels refuse each other and say which side to upgrade.
pub const LINK_LEVEL: u32 = 2;
/// Header with the sender's [`LINK_LEVEL`].
pub const LEVEL_HEADER: &str = "longshore-link-level";
/// Header of a [`Watch`] whose server takes whatever comes over the connection for a sign of life. One that does not send it waits
/// for [`WatchEvent::Alive`], whatever else it hears.
pub const HEARS_HEADER: &str = "longshore-hears";
/// Header with the call's JSON in base64, for calls whose body is something else.
pub const CALL_HEADER: &str = "longshore-call";
/// The first path segment of every call; the last number is the level.
pub const LINK_PATH: &str = "/link/v2/";

/// Bytes in one line of a streaming answer at most; a longer one breaks the stream.
pub const LINE_BYTES_MAX: usize = 1 << 20;
/// The tag under which an engine pushes what a build made begins so. The registry's door files such a manifest by its
/// digest alone, because an engine cannot push without a tag.
pub const STAGING_TAG_PREFIX: &str = "ls-stage-";

/// The connections of an agent. HTTP/2 knows no priorities, so that what moves many bytes has one of its own and
/// never stands in the way of a call. Only control is there all the time; the others are opened when they are needed, since a
/// thousand idle machines would pay for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// Calls, the watch, terminals.
    Control,
    /// Build contexts, pushes, pulls, logs. Opened when the server asks for it, see [`OpenBulk`].
    Bulk,
    /// The other way round: what the machine's engine asks of the registry. Opened with the engine's first connection; the
    /// agent opens a stream for each. See [`DOOR_PATH`].
    Registry,
}

impl Channel {
    /// As `?channel=` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Bulk => "bulk",
            Self::Registry => "registry",
        }
    }
}

/// Where the agent posts on its registry connection: the body is what its engine sends to the registry's door, the answer
/// what the door says, byte for byte.
pub const DOOR_PATH: &str = "/link/v2/door";

/// The first message on an agent's socket, from the server. Whoever calls must show that it is the machine that it
/// claims to be, before anything else is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    /// 64 hex digits, never twice the same.
    pub nonce: String,
}

/// The second message, from the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// Which process of the agent speaks: two that live at the same time are two machines with one key.
    pub process: AgentProcessId,
    /// The signature of [`proof_statement`] by the machine's key, 128 hex digits.
    pub signature: String,
}

/// The third message, from the server; after `Welcome` the socket carries HTTP/2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is the machine.
    Welcome,
    /// It is not, or may not connect now.
    Refused {
        /// For programs, as in an error's body.
        code: String,
        /// For people, in plain words.
        message: String,
    },
}

/// What an agent signs to prove who it is: this nonce, for this connection of this machine, by this process.
pub fn proof_statement(
    nonce: &str,
    machine: &MachineId,
    channel: Channel,
    process: AgentProcessId,
) -> Vec<u8> {
    format!("longshore link 1\n{nonce}\n{machine}\n{}\n{process}\n", channel.as_str()).into_bytes()
}

/// A call that answers once.
pub trait Call: Serialize + DeserializeOwned {
    /// Where it is posted.
    const PATH: &'static str;
    /// Which connection carries it.
    const CHANNEL: Channel = Channel::Control;
    /// What it answers.
    type Reply: Serialize + DeserializeOwned;
}

/// A call that answers with a stream of events.
pub trait StreamCall: Serialize + DeserializeOwned {
    /// Where it is posted.
    const PATH: &'static str;
    /// Which connection carries it.
    const CHANNEL: Channel;
    /// One line of the answer.
    type Event: Serialize + DeserializeOwned;
}

/// A call that answers with bytes of its own form, and may carry some.
pub trait ByteCall: Serialize + DeserializeOwned {
    /// Where it is posted.
    const PATH: &'static str;
    /// Which connection carries it.
    fn channel(&self) -> Channel;
}

/// Why a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkErrorCode {
    /// What the call names does not exist on the machine.
    NotFound,
    /// It clashes with what is there: a name, a port.
    Conflict,
    /// A host port is taken by something else.
    PortTaken,
    /// The engine cannot give the container its graphics processors.
    GpuUnavailable,
    /// The machine's policy does not allow it.
    Denied,
    /// The registry refused the credentials or does not know the image.
    ImageUnavailable,
    /// The call itself is wrong.
    Invalid,
    /// The other side speaks another [`LINK_LEVEL`]; the message says which side to upgrade.
    WrongLevel,
    /// The Dockerfile, one of its steps or an image that it names failed: the builder's to mend, not the machine's.
    BuildFailed,
    /// The engine does not answer.
    EngineDown,
    /// The engine answered with an error of its own.
    Engine,
    /// It took too long.
    Timeout,
    /// The engine has no way to do this.
    Unsupported,
}

/// A failed call, as the agent answers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct LinkError {
    /// For programs.
    pub code: LinkErrorCode,
    /// For people, in plain words.
    pub message: String,
}

impl LinkError {
    /// Makes an error.
    pub fn new(code: LinkErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// An image in our registry, without the registry's address: each machine knows it under its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryImage {
    /// `owner/repo`.
    pub repository: String,
    /// Which image of it.
    pub reference: RegistryReference,
}

/// By tag or by content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegistryReference {
    /// By tag.
    Tag(Tag),
    /// By content.
    Digest(Digest),
}

/// What an engine shows to our registry. Lives minutes; opens only what the work needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryCredential {
    /// The account in whose name the engine asks.
    pub username: String,
    /// A short-lived signed credential.
    #[serde(serialize_with = "Secret::serialize_exposed")]
    pub password: Secret,
}

/// Asks what the machine is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GetFacts {}

impl Call for GetFacts {
    const PATH: &'static str = "/link/v2/facts";
    type Reply = MachineFacts;
}

/// Has the agent open a connection for [`Channel::Bulk`]. Answered once the server has said on it that the machine is welcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenBulk {}

/// It is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenBulkDone {}

impl Call for OpenBulk {
    const PATH: &'static str = "/link/v2/bulk/open";
    type Reply = OpenBulkDone;
}

/// Watches the machine: first everything, then changes. The server holds one per machine; a reconnect starts over and
/// so repairs whatever was missed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// Only what carries this installation's label is reported.
    pub instance: InstanceId,
}

impl StreamCall for Watch {
    const PATH: &'static str = "/link/v2/watch";
    const CHANNEL: Channel = Channel::Control;
    type Event = WatchEvent;
}

/// What a watch reports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WatchEvent {
    /// The machine's facts: at the beginning, then when they change noticeably.
    Facts(Box<MachineFacts>),
    /// All our containers; sent at the beginning and whenever the engine comes back.
    Containers(Vec<ObservedContainer>),
    /// One container changed or appeared.
    Changed(ObservedContainer),
    /// One container is gone from the engine.
    Removed {
        /// Which.
        container: ContainerId,
        /// The engine's id of it.
        engine_id: String,
    },
    /// The engine stopped answering; a new `Containers` follows when it is back.
    EngineDown {
        /// In plain words.
        message: String,
    },
    /// Sent every few seconds, so that a dead link is noticed; to servers that hear everything only where nothing else was sent.
    Alive,
    /// What the machine's graphics processors do: at the beginning if there are any, then when it changes.
    Gpus(Box<GpuReading>),
}

/// A container of ours as the engine shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedContainer {
    /// Our number, from its label.
    pub container: ContainerId,
    /// The engine's 64-digit id.
    pub engine_id: String,
    /// What it does.
    pub state: ObservedState,
    /// How its process ended, when it has.
    pub exit_code: Option<i64>,
    /// Whether the kernel ended it for want of memory.
    pub is_oom_killed: bool,
    /// The engine's word on why it could not start.
    pub error: Option<String>,
    /// Counts the agent's looks at its engine, from the moment each begins: of two looks at one container the one with the
    /// larger number is the newer, whichever way and in whatever order they arrive. Starts over with the agent's process.
    pub look: u64,
    /// The graphics processors that it was made with; an engine cannot change them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuId>,
    /// When its process was started, the last time, by the engine's clock: it tells one process from the next. Long ago = never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
}

impl ObservedContainer {
    /// Whether two looks saw the same.
    pub fn is_as(&self, other: &Self) -> bool {
        Self { look: other.look, ..self.clone() } == *other
    }
}

/// The engine's states, as far as they matter to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObservedState {
    /// Made, never started.
    Created,
    /// Its process runs (also when paused).
    Running,
    /// Its process has ended.
    Exited,
    /// The engine is removing it or failed to.
    Dead,
}

/// Makes sure that the machine has an image.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PullImage {
    /// Which.
    pub image: RegistryImage,
    /// Shown to the registry.
    pub credential: RegistryCredential,
}

impl StreamCall for PullImage {
    const PATH: &'static str = "/link/v2/images/pull";
    const CHANNEL: Channel = Channel::Bulk;
    type Event = TransferEvent;
}

/// Progress of a pull or push; the last event is `Done` or `Failed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferEvent {
    /// Bytes over all layers, as far as the engine knows them.
    Progress {
        /// Moved so far.
        current_bytes: u64,
        /// To move.
        total_bytes: u64,
        /// Layers of which something is known.
        #[serde(default)]
        layers: u32,
    },
    /// A line for the log.
    Log(String),
    /// Moved. For a push the manifest's digest; for a pull none when it was there already.
    Done {
        /// Of the manifest.
        digest: Option<Digest>,
    },
    /// Not moved.
    Failed(LinkError),
}

/// Makes a container (not started). Doing it twice finds the first.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateContainer {
    /// This installation; becomes a label.
    pub instance: InstanceId,
    /// Our number; becomes a label and, with the instance, the engine's name for it.
    pub container: ContainerId,
    /// Whose it is; becomes a label.
    pub account: AccountName,
    /// From which image; must be on the machine.
    pub image: RegistryImage,
    /// Everything else.
    pub spec: ContainerSpec,
    /// Whether it is made from the machine's copy of its disk (see [`CopyContainer`]) and not from the image.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_from_copy: bool,
}

impl Call for CreateContainer {
    const PATH: &'static str = "/link/v2/containers/create";
    type Reply = ObservedContainer;
}

/// Something to do to one container of ours. The agent finds it by its labels, never by a name that a user chose.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerAction {
    /// This installation.
    pub instance: InstanceId,
    /// Which container.
    pub container: ContainerId,
    /// What to do.
    pub verb: ContainerVerb,
}

/// What can be done to a container; each is without effect when it is done already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContainerVerb {
    /// Starts its process.
    Start,
    /// Asks its process to end, then ends it.
    Stop {
        /// Seconds between asking and ending.
        timeout_secs: u32,
    },
    /// Stop and start in one.
    Restart {
        /// As in `Stop`.
        timeout_secs: u32,
        /// The process that is to end, by when it was started. If there is another one by now it is done already.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<Timestamp>,
    },
    /// Ends and removes it with its disk, its volumes and its copy.
    Remove,
    /// Ends and removes it, and leaves what it is made anew from: its copy and its volumes.
    Replace,
    /// Nothing: only says how it is.
    Look,
}

impl Call for ContainerAction {
    const PATH: &'static str = "/link/v2/containers/action";
    type Reply = ContainerActionDone;
}

/// What an action left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerActionDone {
    /// The container as it is now; none when it is gone.
    pub container: Option<ObservedContainer>,
}

/// Keeps the disk of a container that does not run as an image of the machine's own, under a name that belongs to the
/// container: an engine cannot give a container that is made other graphics processors, so that it is made anew from this. A
/// later copy replaces an earlier one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopyContainer {
    /// This installation.
    pub instance: InstanceId,
    /// Which container.
    pub container: ContainerId,
    /// The engine's id of it: never another one's disk.
    pub engine_id: String,
}

impl Call for CopyContainer {
    const PATH: &'static str = "/link/v2/containers/copy";
    type Reply = CopyContainerDone;
}

/// The copy is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyContainerDone {
    /// Layers that it has.
    pub layers: u64,
}

/// Reads a container's output.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerLogs {
    /// This installation.
    pub instance: InstanceId,
    /// Which container.
    pub container: ContainerId,
    /// Go on as it grows.
    pub follow: bool,
    /// Begin with the last so many lines; none = all.
    pub tail: Option<u64>,
    /// Only what was written at or after this time (seconds since 1970).
    pub since: Option<i64>,
    /// Put the time before each line.
    pub timestamps: bool,
}

impl StreamCall for ContainerLogs {
    const PATH: &'static str = "/link/v2/containers/logs";
    const CHANNEL: Channel = Channel::Bulk;
    type Event = LogEvent;
}

/// A piece of output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogEvent {
    /// Text from standard output; bytes that are not UTF-8 are replaced.
    Out(String),
    /// Text from standard error.
    Err(String),
    /// The output could not be read on.
    Failed(LinkError),
}

/// Looks at what a container uses: what is known of the last hour, then once a second.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerStats {
    /// This installation.
    pub instance: InstanceId,
    /// Which container.
    pub container: ContainerId,
}

impl StreamCall for ContainerStats {
    const PATH: &'static str = "/link/v2/containers/stats";
    const CHANNEL: Channel = Channel::Control;
    type Event = StatsEvent;
}

/// What a container uses. A reader that is slow misses samples.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatsEvent {
    /// The first: what was seen in the last hour, oldest first. The agent looks every 15 seconds.
    History(Vec<ContainerSample>),
    /// Each second while it runs.
    Sample(ContainerSample),
    /// It cannot be looked at any more.
    Failed(LinkError),
}

/// Builds an image; the body is the context, a tar that the server has made safe.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildImage {
    /// This installation.
    pub instance: InstanceId,
    /// Names everything that the build leaves on the machine.
    pub build: BuildId,
    /// The Dockerfile's path in the context.
    pub dockerfile: String,
    /// Repositories of the account whose images the engine may take steps from: never another account's cache.
    pub cache_from: Vec<RegistryImage>,
    /// Shown to our registry for `FROM` and `COPY --from`: the building account's rights, not the machine's.
    pub credential: RegistryCredential,
    /// Values for `ARG`.
    pub build_args: BTreeMap<String, String>,
    /// Memory limit of a step in bytes.
    pub memory_bytes: u64,
    /// Processor limit of a step in thousandths of a core.
    pub cpu_millis: u32,
    /// Seconds for the whole build.
    pub timeout_secs: u64,
    /// What its steps may read, where that is anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<BuildSecrets>,
}

/// Secrets of a build. They lie at the beginning of its body, because calls are short.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildSecrets {
    /// The body's first bytes, so many, are a JSON object of names and values; the context follows.
    pub bytes: u64,
    /// Results of steps are shared by builds of the same scope alone: hexadecimal digits.
    pub scope: String,
    /// Whether steps may run without bounds where the machine cannot bound them. Left out unless it is so: agents of before do not know it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_be_unbounded: bool,
}

impl StreamCall for BuildImage {
    const PATH: &'static str = "/link/v2/images/build";
    const CHANNEL: Channel = Channel::Bulk;
    type Event = BuildEvent;
}

/// What a build reports; the last event is `Built` or `Failed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildEvent {
    /// A step of the Dockerfile begins.
    Step {
        /// From 1.
        step: u32,
        /// In all.
        steps: u32,
        /// The instruction.
        text: String,
    },
    /// Text for the log.
    Log(String),
    /// The image is on the machine under the build's own tag.
    Built {
        /// The engine's id of it, `sha256:…`.
        engine_image_id: String,
    },
    /// It failed; the log says more.
    Failed(LinkError),
}

/// Pushes what a build made, by content only: no tag appears in the registry.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushBuild {
    /// This installation.
    pub instance: InstanceId,
    /// Whose image.
    pub build: BuildId,
    /// `owner/repo` to push into.
    pub repository: String,
    /// Shown to the registry; opens just that repository.
    pub credential: RegistryCredential,
}

impl StreamCall for PushBuild {
    const PATH: &'static str = "/link/v2/images/push";
    const CHANNEL: Channel = Channel::Bulk;
    type Event = TransferEvent;
}

/// Forgets an image of our registry on the machine. Layers that other images or containers use stay.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveImage {
    /// Which; by content.
    pub image: RegistryImage,
}

impl Call for RemoveImage {
    const PATH: &'static str = "/link/v2/images/remove";
    type Reply = RemoveImageDone;
}

/// What became of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveImageDone {
    /// Whether the machine had it.
    pub was_there: bool,
}

/// Removes what builds left on the machine: running steps, their containers, the build's own tags.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CleanBuilds {
    /// This installation.
    pub instance: InstanceId,
    /// Builds that go on; what belongs to any other build of this installation goes.
    pub keep: Vec<BuildId>,
}

impl Call for CleanBuilds {
    const PATH: &'static str = "/link/v2/builds/clean";
    type Reply = CleanBuildsDone;
}

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CleanBuildsDone {
    /// Containers of steps.
    pub containers: u64,
    /// Tags of builds.
    pub tags: u64,
}

/// Runs a command in a container that runs. The body is frames of [`ExecInput`], the answer frames of [`ExecOutput`]; when
/// either side lets go of its half, the command is ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    /// This installation.
    pub instance: InstanceId,
    /// Which container.
    pub container: ContainerId,
    /// What to run.
    pub exec: ExecSpec,
}

impl ByteCall for Exec {
    const PATH: &'static str = "/link/v2/containers/exec";

    /// A terminal must not wait behind a pull; output that is not looked at by a person may be large.
    fn channel(&self) -> Channel {
        if self.exec.is_tty { Channel::Control } else { Channel::Bulk }
    }
}

/// What goes to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecInput {
    /// Bytes for its standard input.
    Bytes(Bytes),
    /// No more will come; its standard input is closed.
    End,
    /// Its terminal has another size now.
    Resize(TerminalSize),
}

impl Frame for ExecInput {
    fn parts(&self) -> (u8, Cow<'_, [u8]>) {
        match self {
            Self::Bytes(bytes) => (0, Cow::Borrowed(bytes)),
            Self::End => (1, Cow::Borrowed(&[])),
            Self::Resize(size) => {
                let [a, b] = size.columns.to_be_bytes();
                let [c, d] = size.rows.to_be_bytes();
                (2, vec![a, b, c, d].into())
            }
        }
    }

    fn read(kind: u8, bytes: Bytes) -> Option<Self> {
        match (kind, &*bytes) {
            (0, _) => Some(Self::Bytes(bytes)),
            (1, []) => Some(Self::End),
            (2, &[a, b, c, d]) => Some(Self::Resize(TerminalSize {
                columns: u16::from_be_bytes([a, b]),
                rows: u16::from_be_bytes([c, d]),
            })),
            _ => None,
        }
    }
}

/// What comes from a command; the last is `Exited` or `Failed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecOutput {
    /// From its standard output, or what its terminal shows.
    Out(Bytes),
    /// From its standard error.
    Err(Bytes),
    /// It has ended.
    Exited(i64),
    /// It could not be started or followed.
    Failed(LinkError),
}

impl ExecOutput {
    /// The kinds of frames that carry output: standard output, and standard error.
    pub const OUTPUT_KINDS: [u8; 2] = [0, 1];
}

impl Frame for ExecOutput {
    fn parts(&self) -> (u8, Cow<'_, [u8]>) {
        match self {
            Self::Out(bytes) => (0, Cow::Borrowed(bytes)),
            Self::Err(bytes) => (1, Cow::Borrowed(bytes)),
            Self::Exited(code) => (2, code.to_be_bytes().to_vec().into()),
            Self::Failed(error) => {
                (3, serde_json::to_vec(error).expect("errors can be written as JSON").into())
            }
        }
    }

    fn read(kind: u8, bytes: Bytes) -> Option<Self> {
        match kind {
            0 => Some(Self::Out(bytes)),
            1 => Some(Self::Err(bytes)),
            2 => Some(Self::Exited(i64::from_be_bytes((*bytes).try_into().ok()?))),
            3 => serde_json::from_slice(&bytes).ok().map(Self::Failed),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::FrameReader;

    #[test]
    fn what_goes_to_a_command_and_comes_from_it_survives_the_way() {
        let inputs = [
            ExecInput::Bytes(Bytes::from_static(b"ls\n")),
            ExecInput::Resize(TerminalSize { columns: 132, rows: 50 }),
            ExecInput::End,
        ];
        let outputs = [
            ExecOutput::Out(vec![0xff, 0].into()),
            ExecOutput::Err(Bytes::new()),
            ExecOutput::Exited(-1),
            ExecOutput::Failed(LinkError::new(LinkErrorCode::Conflict, "no")),
        ];

        let mut reader = FrameReader::default();
        for input in inputs {
            reader.push(input.encode().into());
            assert_eq!(reader.next_frame().unwrap(), Some(input));
        }
        let mut reader = FrameReader::default();
        for output in outputs {
            reader.push(output.encode().into());
            assert_eq!(reader.next_frame().unwrap(), Some(output));
        }
    }
}
