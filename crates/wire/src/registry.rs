//! The registry: tidying it up.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::builds::OperationState;
use crate::ids::CollectionId;
use crate::time::Timestamp;

/// What a collection is doing. Each phase is stored before its first effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CollectionPhase {
    /// In the queue.
    Waiting,
    /// Pushes that have begun end; new ones wait.
    Closing,
    /// What nothing needs is removed; nobody can push, everybody can pull.
    Sweeping,
    /// Nothing more to do.
    Done,
}

/// A collection: content that no image needs is removed from the registry.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CollectionView {
    /// The collection.
    pub id: CollectionId,
    /// Where it is.
    pub state: OperationState,
    /// What it is doing.
    pub phase: CollectionPhase,
    /// Why it failed, for programs.
    pub reason: Option<String>,
    /// Why it failed, in plain words.
    pub message: Option<String>,
    /// Bytes of content before.
    pub bytes_before: Option<u64>,
    /// Bytes of content after.
    pub bytes_after: Option<u64>,
    /// Bytes that it freed.
    pub freed_bytes: Option<u64>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}
