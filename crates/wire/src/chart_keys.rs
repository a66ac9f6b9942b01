//! Signed charts: the keys by which they are verified, and what came of it.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::ids::{ChartKeyId, ChartRepoId};
use crate::names::AccountName;
use crate::time::Timestamp;

/// A public key by which signed charts are verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChartKeyView {
    /// The key.
    pub id: ChartKeyId,
    /// The repository whose charts it signs; none when it counts for every repository.
    pub repo_id: Option<ChartRepoId>,
    /// Whose it says that it is. Nobody has checked that but who added it.
    pub identity: String,
    /// Its fingerprint in hex.
    pub fingerprint: String,
    /// Who added it.
    pub added_by: Option<AccountName>,
    /// When it was added.
    pub created_at: Timestamp,
}

/// Adds public keys.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChartKeyCreate {
    /// The keys as `gpg --armor --export` writes them.
    pub key: String,
    /// The repository whose charts they sign, by id or name; for every repository when absent, which admins may say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
}

/// Which keys.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ChartKeyQuery {
    /// Those that count for this repository, by id or name; those that count for every one when absent.
    pub repo: Option<String>,
}

/// What is known of the signature of a version of a chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProvenanceState {
    /// It was signed with a key that is trusted here, and the package is what was signed.
    Verified,
    /// It has no signature.
    Unsigned,
    /// It was signed with a key that is not known here.
    UnknownKey,
    /// The signature is broken, or that of something else.
    Bad,
}

/// Who signed a version of a chart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChartProvenanceView {
    /// What came of verifying it.
    pub state: ProvenanceState,
    /// Whether the repository's charts must be signed.
    pub is_required: bool,
    /// Who signed it, as the key says.
    pub signed_by: Vec<String>,
    /// The fingerprint of the key in hex.
    pub fingerprint: Option<String>,
    /// What is wrong and what to do, in plain words; none when nothing is.
    pub message: Option<String>,
}
