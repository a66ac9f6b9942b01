//! Chart repositories: Helm repositories whose charts are kept at hand.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::builds::OperationState;
use crate::ids::{ChartRepoId, ChartSyncId};
use crate::names::AccountName;
use crate::secret::Secret;
use crate::time::Timestamp;

/// What the charts of a repository are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChartRepoKind {
    /// Container applications, for namespaces of their users.
    #[default]
    External,
    /// Virtual-machine applications, for the system namespace of their users' project.
    Internal,
}

/// Where the charts of a repository come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChartRepoBackend {
    /// From an index elsewhere.
    #[default]
    Common,
    /// From this server: what its owner uploads.
    Hosted,
}

/// How a chart repository is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChartRepoState {
    /// Its index was never read yet. Written when it is made or gets another address and the first reading takes long.
    Syncing,
    /// Its charts are those of the last index.
    Ready,
    /// The last sync failed; the charts are those of the index before.
    Failed,
}

/// A chart repository. The first seven fields are those that the seed document fixes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChartRepoView {
    /// The repository.
    pub id: ChartRepoId,
    /// Whether every account sees it.
    pub is_public: bool,
    /// Its name.
    pub name: String,
    /// The domain that it belongs to; there is one.
    pub project_domain: String,
    /// Releases that were made from its charts.
    pub release_count: u64,
    /// What its charts are.
    #[serde(rename = "type")]
    pub kind: ChartRepoKind,
    /// Where it is.
    pub url: String,
    /// Where its charts come from.
    pub backend: ChartRepoBackend,
    /// How it is.
    pub status: ChartRepoState,
    /// Whose it is.
    pub owner: AccountName,
    /// What it is for.
    pub description: Option<String>,
    /// The name by which its server knows us; for its owner and admins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Whether a password is kept for it; for its owner and admins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub has_password: Option<bool>,
    /// Minutes between two syncs; 0 for never.
    pub sync_minutes: u32,
    /// Whether its charts must be signed with a key that is trusted here.
    #[serde(default)]
    pub requires_signature: bool,
    /// Charts in it. Only with details.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart_count: Option<u64>,
    /// Versions of all of them. Only with details.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart_version_count: Option<u64>,
    /// Entries of its index that were left out because they are wrong. Only with details.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped_count: Option<u64>,
    /// When its index was last looked at.
    pub last_sync_at: Option<Timestamp>,
    /// How that ended.
    pub last_sync_status: Option<OperationState>,
    /// Why it failed, in plain words.
    pub last_sync_error: Option<String>,
    /// When it is looked at next by itself.
    pub next_sync_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// Makes a chart repository.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChartRepoCreate {
    /// Its name: 1 to 128 characters, unique among the public ones and among one's own.
    pub name: String,
    /// Where it is: the folder of an `index.yaml`, or that file.
    pub url: String,
    /// What its charts are; `external` when absent.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ChartRepoKind>,
    /// Whether every account sees it; as the server is set up when absent, and it says yes by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_public: Option<bool>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The name by which its server knows us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password for that.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "exposed")]
    #[schema(value_type = Option<String>, format = Password)]
    pub password: Option<Secret>,
    /// Certificates (PEM) of authorities to believe besides the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_certificate: Option<String>,
    /// Minutes between two syncs: 0 for never, otherwise 5 to 43,200; as the server is set up when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync_minutes: Option<u32>,
    /// Whether its charts must be signed with a key that is trusted here: others are neither installed nor handed out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requires_signature: Option<bool>,
}

/// Changes a chart repository; what is absent stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChartRepoUpdate {
    /// Another name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Another address; the charts stay until its index was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Whether every account sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_public: Option<bool>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The name by which its server knows us; empty for none, which forgets the password too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password for that.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "exposed")]
    #[schema(value_type = Option<String>, format = Password)]
    pub password: Option<Secret>,
    /// Certificates (PEM) of authorities; empty for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_certificate: Option<String>,
    /// Minutes between two syncs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync_minutes: Option<u32>,
    /// Whether its charts must be signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requires_signature: Option<bool>,
}

impl ChartRepoUpdate {
    /// Whether nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        self.name.is_none()
            && self.url.is_none()
            && self.is_public.is_none()
            && self.description.is_none()
            && self.username.is_none()
            && self.password.is_none()
            && self.ca_certificate.is_none()
            && self.sync_minutes.is_none()
            && self.requires_signature.is_none()
    }
}

#[expect(clippy::ref_option, reason = "the shape that the attribute asks for")]
fn exposed<S: serde::Serializer>(secret: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    match secret {
        Some(secret) => Secret::serialize_exposed(secret, serializer),
        None => serializer.serialize_none(),
    }
}

/// Which chart repositories.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ChartRepoQuery {
    /// Rows at most; 20 by default, 2048 at most.
    pub limit: Option<u64>,
    /// Rows to pass over.
    pub offset: Option<u64>,
    /// Only with charts of this kind.
    #[serde(rename = "type")]
    #[param(rename = "type", value_type = Option<String>)]
    pub kind: Option<ChartRepoKind>,
    /// Only those whose name, address or description contains this.
    pub search: Option<String>,
    /// By which field they are ordered: `created_at` (default), `updated_at`, `name`, `url`, `type`, `id`.
    pub order_by: Option<String>,
    /// `desc` (default) or `asc`.
    pub order: Option<String>,
}

/// Why a chart repository was synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SyncCause {
    /// Somebody asked for it.
    Manual,
    /// Its time had come.
    Timer,
    /// It was made.
    Create,
    /// Its address, or what is shown to it, was changed.
    Change,
}

/// One time that a chart repository was synced. Syncs by the clock that found nothing new are not kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChartSyncView {
    /// The sync; none when it found nothing new and was not kept.
    pub id: Option<ChartSyncId>,
    /// Why.
    pub cause: SyncCause,
    /// Where it is.
    pub state: OperationState,
    /// Why it failed, for programs.
    pub reason: Option<String>,
    /// Why it failed, in plain words.
    pub message: Option<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How long it took.
    pub duration_ms: u64,
    /// Whether the index is the one that was known.
    pub not_modified: bool,
    /// Bytes that came over the network.
    pub fetched_bytes: u64,
    /// Bytes of the index, unpacked.
    pub index_bytes: u64,
    /// Charts in it.
    pub chart_count: u64,
    /// Versions of all of them.
    pub version_count: u64,
    /// Charts that were new, different or gone.
    pub changed_count: u64,
    /// Entries that were left out because they are wrong.
    pub skipped_count: u64,
    /// Versions whose package is not the one that it was: their bytes changed under the same name.
    pub replaced_count: u64,
    /// What was wrong or should be looked at, for the first of them.
    pub problems: Vec<String>,
}
