//! Ids as types, so that one noun's id cannot be passed for another's. Tables that the seed documents number have
//! integers; everything else has UUIDv7.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

macro_rules! integer_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(transparent)]
        #[schema(value_type = i64)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(transparent)]
        #[schema(value_type = String, format = Uuid)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

integer_id!(
    /// An account's number, `user_id` in the seed documents.
    AccountId
);
integer_id!(
    /// An image's number.
    ImageId
);
integer_id!(
    /// A container's number; the engine's own id never identifies a container to users.
    ContainerId
);
integer_id!(
    /// A row of the audit log.
    AuditId
);
uuid_id!(
    /// A build.
    BuildId
);
uuid_id!(
    /// An API token (its row, not its secret).
    TokenId
);
uuid_id!(
    /// A login session; the `sid` claim of the JWT that a login returns.
    SessionId
);
uuid_id!(
    /// A job: one-shot work that survives a restart.
    JobId
);
uuid_id!(
    /// An invitation for a machine (its row, not its secret).
    InviteId
);
uuid_id!(
    /// A process of an agent; another one after each of its starts.
    AgentProcessId
);
uuid_id!(
    /// A terminal: a command that runs in a container and can be looked at by several.
    TerminalId
);
uuid_id!(
    /// This installation of Longshore; labels what it made in engines and clusters.
    InstanceId
);

impl InstanceId {
    /// Twelve hex digits for names in engines, where a whole id is too long to read. The last ones: the first ones of a
    /// UUIDv7 are a time, which two installations made together would share.
    pub fn short(&self) -> String {
        let hex = self.0.simple().to_string();
        hex[hex.len() - 12..].to_owned()
    }
}

/// A machine's id, given by the machine itself (its `/etc/machine-id`): 1 to 64 of `0-9a-z-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String)]
pub struct MachineId(String);

impl MachineId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for MachineId {
    type Err = crate::names::NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_valid = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !is_valid {
            return Err(crate::names::NameError::new("machine id", text, "1 to 64 of `a-z`, `0-9` and `-`"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for MachineId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
