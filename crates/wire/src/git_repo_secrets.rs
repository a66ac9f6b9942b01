//! Secrets of git repositories: what steps of a build may read, and what never becomes part of an image.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::names::SecretName;
use crate::secret::Secret;
use crate::time::Timestamp;

/// The longest value in bytes.
pub const VALUE_BYTES: usize = 48 << 10;

/// A secret of a git repository. Its value is never shown.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct GitRepoSecretView {
    /// Its name; a step reads it with `RUN --mount=type=secret,id=NAME`, from the file `/run/secrets/NAME`.
    pub name: SecretName,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it got its value.
    pub updated_at: Timestamp,
}

/// A secret's value.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GitRepoSecretSet {
    /// Text of at most 48 KiB; sealed, and never shown again.
    #[schema(value_type = String)]
    pub value: Secret,
}
