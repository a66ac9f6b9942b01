//! Builds: from an uploaded archive to an image in the registry.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{BuildId, ContainerId, ImageId, MachineId};
use crate::names::{AccountName, Digest, ImageName};
use crate::time::Timestamp;

/// The states of every long operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperationState {
    /// Accepted and stored; waits for its turn. Written in the transaction that accepts it.
    Queued,
    /// A worker has it. A restart of the server takes it up again.
    Running,
    /// Ended well; its result is verified.
    Succeeded,
    /// Ended badly; `reason` and `message` say why.
    Failed,
    /// Ended because somebody asked for it.
    Cancelled,
}

impl OperationState {
    /// Whether nothing will happen any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// What an image is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BuildKind {
    /// An uploaded archive with a Dockerfile.
    #[default]
    Archive,
    /// A container.
    Container,
}

/// A build.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BuildView {
    /// The build.
    pub id: BuildId,
    /// Who asked for it.
    pub account: AccountName,
    /// The image it makes.
    #[schema(value_type = String, example = "alice/app:v1")]
    pub image: ImageName,
    /// What it is made of.
    #[serde(default)]
    pub kind: BuildKind,
    /// The container that is saved; it may be gone.
    pub container_id: Option<ContainerId>,
    /// What was said of the image.
    pub note: Option<String>,
    /// Where it is.
    pub state: OperationState,
    /// Why it failed, for programs: `build_failed`, `push_failed`, `timeout`, `engine_lost`, `registry_down` …
    pub reason: Option<String>,
    /// Why it failed, in plain words.
    pub message: Option<String>,
    /// What it is doing: `waiting`, `building`, `pushing`, `verifying`, `done`.
    pub phase: BuildPhase,
    /// The step of the Dockerfile that runs or failed, from 1.
    pub step: Option<u32>,
    /// Steps in the Dockerfile.
    pub steps: Option<u32>,
    /// The text of that step.
    pub step_text: Option<String>,
    /// Bytes pushed so far.
    pub pushed_bytes: u64,
    /// Bytes to push, as far as known.
    pub push_total_bytes: u64,
    /// Builds of any account that will be taken before this one; null once it runs.
    pub queue_position: Option<u64>,
    /// Size of the unpacked context in bytes.
    pub context_bytes: u64,
    /// Length of the log so far in bytes.
    pub log_bytes: u64,
    /// Where it is built.
    pub machine_id: Option<MachineId>,
    /// The image made, when it succeeded and the image still exists.
    pub image_id: Option<ImageId>,
    /// The image's digest.
    pub digest: Option<Digest>,
    /// The image's compressed size in bytes.
    pub size_bytes: Option<u64>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When a worker first took it.
    pub started_at: Option<Timestamp>,
    /// When it reached a final state.
    pub ended_at: Option<Timestamp>,
}

/// What a build is doing. Each phase is stored before its first effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BuildPhase {
    /// In the queue.
    Waiting,
    /// The engine runs the Dockerfile, or copies what a container changed.
    Building,
    /// Layers go to the registry.
    Pushing,
    /// Digest and blob sizes are compared with the registry's.
    Verifying,
    /// Nothing more to do.
    Done,
}

/// One piece of a log, as the event stream sends it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LogChunk {
    /// Offset in bytes of the first byte of `text`; ask again from `offset + the bytes of text`.
    pub offset: u64,
    /// The text; bytes that are not UTF-8 are replaced.
    pub text: String,
}
