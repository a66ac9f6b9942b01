//! Which machines hold which images: what is shown of it, and the calls with which a machine is asked.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::MachineId;
use crate::link::{Call, RegistryImage};
use crate::names::Digest;
use crate::time::Timestamp;

/// Images that an agent tells of at most; the rest is looked at when these are gone.
pub const HELD_IMAGES_MAX: usize = 4_096;

/// Whether a machine has an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MachineImageState {
    /// It is to be fetched: an admin asked for it.
    Wanted,
    /// It is being fetched.
    Pulling,
    /// The machine has it.
    Held,
    /// It could not be fetched; `message` says why.
    Failed,
}

/// An image on a machine.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct MachineImageView {
    /// Which machine.
    pub machine_id: MachineId,
    /// Whether it has the image.
    pub state: MachineImageState,
    /// What it takes there, unpacked, with what it shares with other images.
    pub size_bytes: Option<u64>,
    /// When a container was made from it there last, or it was fetched: what was used least recently goes first when the disk gets full.
    pub last_used_at: Timestamp,
    /// How far a fetch has come.
    pub pull: Option<PullProgress>,
    /// Why it could not be fetched, in plain words.
    pub message: Option<String>,
}

/// How far the fetch of an image has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PullProgress {
    /// Moved so far, over all layers.
    pub current_bytes: u64,
    /// To move, as far as the engine knows by now.
    pub total_bytes: u64,
    /// How many in a second, over the last seconds.
    pub bytes_per_sec: u64,
    /// Layers of which something is known.
    pub layers: u32,
}

/// Asks which images of our registry a machine has.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListImages {}

impl Call for ListImages {
    const PATH: &'static str = "/link/v2/images/list";
    type Reply = ListImagesDone;
}

/// What a machine has of our registry, and the disk that it lies on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListImagesDone {
    /// At most [`HELD_IMAGES_MAX`].
    pub images: Vec<HeldImage>,
    /// Size of the file system of the engine's data folder in bytes; 0 = not known.
    pub disk_total_bytes: u64,
    /// What is left of it.
    pub disk_free_bytes: u64,
}

/// An image that a machine has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldImage {
    /// `owner/repo`.
    pub repository: String,
    /// The manifest's digest.
    pub digest: Digest,
    /// What it takes there, unpacked, with what it shares.
    pub size_bytes: u64,
    /// Whether a container, running or not, was made from it; anybody's container.
    pub is_used: bool,
}

/// Forgets images, in this order, until enough is freed. One that a container was made from, that has a name outside our
/// registry, or that another image was built on stays, whoever asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CleanImages {
    /// By digest; the first goes first.
    pub candidates: Vec<RegistryImage>,
    /// How much is to be freed.
    pub bytes: u64,
}

impl Call for CleanImages {
    const PATH: &'static str = "/link/v2/images/clean";
    type Reply = CleanImagesDone;
}

/// What was forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CleanImagesDone {
    /// These are not there any more.
    pub removed: Vec<RegistryImage>,
    /// What they took, with what they shared with others that are left.
    pub freed_bytes: u64,
}
