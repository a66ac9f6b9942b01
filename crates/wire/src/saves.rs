//! Saving a container as an image: what is asked for, what is shown before, and the link calls that do it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{BuildId, ContainerId, ImageId, InstanceId};
use crate::images::CreateParameters;
use crate::link::{Call, Channel, LinkError, StreamCall};
use crate::names::AccountName;

/// Layers of an image that is saved at most, with the new one: engines stop a little above.
pub const LAYERS_MAX: usize = 120;
/// Layers from which on it is said that the end is near.
pub const LAYERS_MANY: usize = 100;
/// Characters of a message at most.
pub const MESSAGE_CHARS_MAX: usize = 500;

/// Which of an image's parameters the new one keeps; what is absent it keeps whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KeptParameters {
    /// Ports that the image offers, such as `8000/tcp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposed_ports: Option<Vec<String>>,
    /// Environment of the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<BTreeMap<String, String>>,
    /// What runs; the inherited one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Its arguments; the inherited ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Working directory; the inherited one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// User inside the container; the inherited one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Paths that the image declares as volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volumes: Option<Vec<String>>,
    /// Labels of the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
}

impl KeptParameters {
    /// All of them, with what is inherited where nothing is said.
    pub fn of(&self, inherited: &CreateParameters) -> CreateParameters {
        fn kept<T: Clone>(said: Option<&T>, inherited: &T) -> T {
            said.unwrap_or(inherited).clone()
        }
        CreateParameters {
            exposed_ports: kept(self.exposed_ports.as_ref(), &inherited.exposed_ports),
            env: kept(self.env.as_ref(), &inherited.env),
            entrypoint: kept(self.entrypoint.as_ref(), &inherited.entrypoint),
            command: kept(self.command.as_ref(), &inherited.command),
            working_dir: self.working_dir.clone().or_else(|| inherited.working_dir.clone()),
            user: self.user.clone().or_else(|| inherited.user.clone()),
            volumes: kept(self.volumes.as_ref(), &inherited.volumes),
            labels: kept(self.labels.as_ref(), &inherited.labels),
        }
    }
}

/// Saves a container as an image.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ContainerSave {
    /// The image to make: `[owner/]repo[:tag]`; without an owner the container's account, without a tag `latest`. A tag that
    /// exists is moved.
    #[schema(example = "app:with-data")]
    pub image: String,
    /// What was changed, at most 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How containers of it are made by default: those of the image that the container was made from when absent. Ports,
    /// variables, volumes and labels may be left out; nothing may be added or changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<KeptParameters>,
    /// Whether the container stands still meanwhile, so that no file is half-written; true by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<bool>,
}

/// What saving a container would make.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SavePreview {
    /// Bytes that the container has written on its disk; volumes are not among them.
    pub size_bytes: u64,
    /// Bytes that may be saved.
    pub max_bytes: u64,
    /// Files and folders that were made, changed or removed.
    pub changes: u64,
    /// The biggest files among them.
    pub biggest: Vec<ChangedFile>,
    /// Whether all of them were looked at.
    pub is_complete: bool,
    /// Layers that the image would have.
    pub layers: u64,
    /// Layers that it may have.
    pub max_layers: u64,
    /// What should be known before, in plain words.
    pub warnings: Vec<String>,
    /// The image that it would be made from.
    pub parent_image_id: ImageId,
    /// Its name.
    pub parent_image: String,
    /// How containers of it would be made by default.
    pub parameters: CreateParameters,
}

/// A file that a container made or changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangedFile {
    /// Where it is.
    pub path: String,
    /// Its length.
    pub size_bytes: u64,
}

/// Asks what a container changed on its disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreviewSave {
    /// This installation.
    pub instance: InstanceId,
    /// Which container.
    pub container: ContainerId,
}

impl Call for PreviewSave {
    const PATH: &'static str = "/link/v2/containers/changes";
    const CHANNEL: Channel = Channel::Bulk;
    type Reply = PreviewSaveDone;
}

/// What a container changed on its disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewSaveDone {
    /// Bytes that it has written.
    pub size_bytes: u64,
    /// Files and folders that were made, changed or removed.
    pub changes: u64,
    /// The biggest files among them.
    pub biggest: Vec<ChangedFile>,
    /// Whether all of them were looked at.
    pub is_complete: bool,
}

/// Makes an image of a container on its machine, under the build's own tag. Doing it twice finds the first.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommitContainer {
    /// This installation.
    pub instance: InstanceId,
    /// Which container.
    pub container: ContainerId,
    /// Names what it leaves on the machine.
    pub build: BuildId,
    /// Who asks for it.
    pub author: AccountName,
    /// Whether the container stands still meanwhile.
    pub pause: bool,
    /// Bytes on the container's disk at most.
    pub bytes_max: u64,
}

impl StreamCall for CommitContainer {
    const PATH: &'static str = "/link/v2/containers/commit";
    const CHANNEL: Channel = Channel::Control;
    type Event = CommitEvent;
}

/// How saving went; the last event is `Done`, `TooLarge` or `Failed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommitEvent {
    /// It begins; the container has so many bytes on its disk.
    Begun {
        /// How many.
        size_bytes: u64,
    },
    /// The image is on the machine under the build's own tag.
    Done,
    /// The container has more bytes on its disk than may be saved.
    TooLarge {
        /// How many.
        size_bytes: u64,
    },
    /// It failed.
    Failed(LinkError),
}
