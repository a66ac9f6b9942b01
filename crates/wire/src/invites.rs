//! How a machine becomes one of ours: an admin's invitation, and the request by which an agent uses it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{InstanceId, InviteId, MachineId};
use crate::secret::Secret;
use crate::time::Timestamp;

/// What every invitation begins with.
pub const INVITE_PREFIX: &str = "lsj_";
/// Where an agent uses an invitation.
pub const JOIN_PATH: &str = "/api/v1/machines/join";

/// Makes an invitation for one machine (admin).
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InviteCreate {
    /// Seconds until it ends: 60 to 86,400; an hour by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
}

/// A new invitation. What `token` holds besides the secret lets the agent recognise the server.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct InviteCreated {
    /// The invitation.
    pub id: InviteId,
    /// What to give to `longshore agent join`; shown once.
    pub token: String,
    /// The server's address as machines reach it.
    pub url: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// An invitation that was not used yet.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct InviteView {
    /// The invitation.
    pub id: InviteId,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// Uses an invitation: the agent names its machine and the key by which it will prove itself from now on.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// The invitation's token, whole or without what follows its dot.
    #[serde(serialize_with = "Secret::serialize_exposed")]
    #[schema(value_type = String, format = Password)]
    pub token: Secret,
    /// The machine's own id.
    pub machine_id: MachineId,
    /// Its Ed25519 public key, 64 hex digits.
    pub public_key: String,
    /// The signature of [`join_statement`] by that key, 128 hex digits.
    pub signature: String,
}

/// The machine has joined.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Joined {
    /// The machine that joined.
    pub machine_id: MachineId,
    /// The installation that it belongs to now.
    pub instance: InstanceId,
}

/// What an agent signs when it joins: that this key wants to be this machine's, by this invitation. The token is the
/// part before the dot.
pub fn join_statement(token: &str, machine: &MachineId) -> Vec<u8> {
    format!("longshore join 1\n{}\n{machine}\n", secret_part(token)).into_bytes()
}

/// The part of a token that is secret; what may follow the dot is the fingerprint of the server's certificate.
pub fn secret_part(token: &str) -> &str {
    token.split_once('.').map_or(token, |(secret, _)| secret)
}

/// The fingerprint in a token: the SHA-256 of the certificate by which the server is recognised, 64 hex digits; none when
/// the server is reached without TLS or has a certificate that the public trusts.
pub fn fingerprint_part(token: &str) -> Option<&str> {
    token.split_once('.').map(|(_, fingerprint)| fingerprint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_a_secret_and_perhaps_a_fingerprint() {
        assert_eq!((secret_part("lsj_a"), fingerprint_part("lsj_a")), ("lsj_a", None));
        assert_eq!((secret_part("lsj_a.ff"), fingerprint_part("lsj_a.ff")), ("lsj_a", Some("ff")));
    }

    #[test]
    fn statements_of_other_machines_and_invitations_differ() {
        let (one, other) = ("m1".parse().unwrap(), "m2".parse().unwrap());

        assert_eq!(join_statement("lsj_a.ff", &one), join_statement("lsj_a", &one));
        assert_ne!(join_statement("lsj_a", &one), join_statement("lsj_a", &other));
        assert_ne!(join_statement("lsj_a", &one), join_statement("lsj_b", &one));
    }
}
