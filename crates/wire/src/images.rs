//! Images: one table for everything that ends in the registry, whatever made it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::double_option;
use crate::ids::{BuildId, ContainerId, ImageId};
use crate::names::{Digest, ImageName, Owner, RepoName, Tag};
use crate::time::Timestamp;

/// What made an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImageSource {
    /// A build from an uploaded archive.
    Build,
    /// `docker push` by a person.
    Push,
    /// A container saved as an image.
    Save,
    /// Another tag of an image that was here.
    Tag,
    /// `helm push`: it is a version of a chart, and no image.
    Chart,
}

/// Whether an image can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImageState {
    /// In the registry, digest and blob sizes verified.
    Ready,
    /// Deletion was accepted; the registry's copy is being removed.
    Deleting,
}

/// How a container of this image is made unless its creator says otherwise; read from the image's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct CreateParameters {
    /// Ports that the image offers, such as `8000/tcp`.
    pub exposed_ports: Vec<String>,
    /// Environment of the image.
    pub env: BTreeMap<String, String>,
    /// What runs.
    pub entrypoint: Vec<String>,
    /// Arguments of the entry point, or the command when there is none.
    pub command: Vec<String>,
    /// Working directory.
    pub working_dir: Option<String>,
    /// User inside the container.
    pub user: Option<String>,
    /// Paths that the image declares as volumes.
    pub volumes: Vec<String>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
}

/// One layer, as the manifest lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LayerView {
    /// The compressed layer's digest.
    pub digest: Digest,
    /// Its compressed size in bytes.
    pub size_bytes: u64,
}

/// An image.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ImageView {
    /// The image's number.
    pub id: ImageId,
    /// `owner/repo:tag`; an image whose tag moved on is shown as `owner/repo@sha256:…`.
    pub name: String,
    /// Owner part of the name.
    pub owner: Owner,
    /// Repository part of the name.
    pub repo: RepoName,
    /// Tag part of the name; null when the tag has moved to a newer image.
    pub tag: Option<Tag>,
    /// The name to pull, with this registry's address.
    pub pull: String,
    /// The manifest's digest.
    pub digest: Digest,
    /// Compressed size in bytes: configuration and layers.
    pub size_bytes: u64,
    /// The layers, base first.
    pub layers: Vec<LayerView>,
    /// The image that this one was built on or saved from, if it is one of ours.
    pub parent_image_id: Option<ImageId>,
    /// The name to show.
    pub display_name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// How containers of it are made by default.
    pub create_parameters: CreateParameters,
    /// What made it.
    pub source: ImageSource,
    /// The build that made it, if a build did.
    pub build_id: Option<BuildId>,
    /// Whether it can be used.
    pub state: ImageState,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Changes what is shown of an image; absent fields stay, null empties.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageUpdate {
    /// At most 100 characters.
    #[serde(default, with = "double_option", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub display_name: Option<Option<String>>,
    /// At most 2,000 characters.
    #[serde(default, with = "double_option", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub description: Option<Option<String>>,
}

/// Gives an image another name, in the registry, without moving a byte.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageTag {
    /// The new name; a tag that exists is moved.
    #[schema(value_type = String, example = "alice/app:v2")]
    pub name: ImageName,
}

/// A repository and its size.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RepositoryView {
    /// Owner part of the name.
    pub owner: Owner,
    /// Repository part of the name.
    pub repo: RepoName,
    /// Tagged images in it.
    pub tags: u64,
    /// When its newest image was made.
    pub updated_at: Timestamp,
}

/// What still needs an image; the answer to a refused deletion.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Dependents {
    /// Images built on it or saved from it.
    pub images: Vec<DependentImage>,
    /// Containers made from it.
    pub containers: Vec<DependentContainer>,
}

impl Dependents {
    /// Whether nothing depends on the image.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty() && self.containers.is_empty()
    }
}

/// An image that depends on another. Somebody else's is counted with its id and without its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DependentImage {
    /// Its number.
    pub id: ImageId,
    /// Its name, if the caller may see it.
    pub name: Option<String>,
}

/// A container that depends on an image. Somebody else's is counted with its id and without its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DependentContainer {
    /// Its number.
    pub id: ContainerId,
    /// Its name, if the caller may see it.
    pub name: Option<String>,
}

/// Images of a family that are shown at most.
pub const TREE_IMAGES_MAX: usize = 500;

/// An image's family: what it was made from, and what was made from it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ImageTree {
    /// The image that was asked for.
    pub id: ImageId,
    /// What it was made from, oldest first, then it, then what was made from it: each after its parent. Somebody else's
    /// are not among them.
    pub images: Vec<TreeImage>,
    /// Whether all of them are here: at most 500 are.
    pub is_complete: bool,
}

/// An image in its family.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TreeImage {
    /// Its number.
    pub id: ImageId,
    /// Its name.
    pub name: String,
    /// What it was made from, if that is one of ours.
    pub parent_image_id: Option<ImageId>,
    /// What made it.
    pub source: ImageSource,
    /// What it is for; of one that was saved, what was said of it.
    pub description: Option<String>,
    /// Compressed size in bytes.
    pub size_bytes: u64,
    /// Bytes of it that its parent does not have.
    pub added_bytes: u64,
    /// Layers from the bottom.
    pub layers: u64,
    /// Containers that were made from it.
    pub containers: Vec<DependentContainer>,
    /// Images and containers of others that were made from it.
    pub others: u64,
    /// When it was made.
    pub created_at: Timestamp,
}
