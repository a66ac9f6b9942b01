//! The audit log: who changed what.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::AuditId;
use crate::names::AccountName;
use crate::time::Timestamp;

/// One change, or one refused attempt.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditView {
    /// The row's number; grows with time.
    pub id: AuditId,
    /// When it happened.
    pub at: Timestamp,
    /// Who did it; null for anonymous attempts and for the server itself.
    pub actor: Option<AccountName>,
    /// In whose name, when an admin acted for another account.
    pub acting_for: Option<AccountName>,
    /// What was done, as `noun.verb`: `image.delete`.
    pub action: String,
    /// What it was done to, by name or id.
    pub target: String,
    /// `done` or `denied`.
    pub result: String,
    /// The address that the request came from.
    pub ip: Option<String>,
    /// Joins the row to the server's log.
    pub request_id: Option<String>,
}
