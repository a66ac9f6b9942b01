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
    /// A volume's number.
    VolumeId
);
integer_id!(
    /// A row of the audit log.
    AuditId
);
integer_id!(
    /// A git repository's number.
    GitRepoId
);
integer_id!(
    /// A run's number; a run's uuid is the id of its build.
    RunId
);
integer_id!(
    /// A runner's number.
    RunnerId
);
integer_id!(
    /// The number of a line of a run's log of events.
    RunLogId
);
integer_id!(
    /// The number of somebody or something that hears how runs end.
    NotificationTargetId
);
integer_id!(
    /// The number of a webhook's delivery.
    DeliveryId
);
uuid_id!(
    /// A collection: tidying up the registry.
    CollectionId
);
uuid_id!(
    /// A build.
    BuildId
);
uuid_id!(
    /// A runner's second name, by which lines of the log refer to it.
    RunnerUuid
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
    /// A key by which signed charts are verified.
    ChartKeyId
);
uuid_id!(
    /// A chart repository.
    ChartRepoId
);
uuid_id!(
    /// One time that a chart repository was synced.
    ChartSyncId
);
uuid_id!(
    /// A release: a chart that was installed.
    ReleaseId
);
uuid_id!(
    /// Something that is done to a release.
    ReleaseOperationId
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
    /// A Kubernetes cluster.
    ClusterId
);
uuid_id!(
    /// A namespace in a cluster (its row; the cluster gives the object an id of its own).
    NamespaceId
);
uuid_id!(
    /// A workload: an object that an account has in a namespace.
    WorkloadId
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

/// The driver's id of a graphics processor or of an instance of one: `GPU-` or `MIG-` and at most 76 of `0-9a-zA-Z-/`. The
/// driver's words for several at once (`all`, `0,1`) are not ids and do not parse.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String)]
pub struct GpuId(String);

impl GpuId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for GpuId {
    type Err = crate::names::NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix("GPU-").or_else(|| text.strip_prefix("MIG-"));
        let is_valid = rest.is_some_and(|rest| {
            (1..=76).contains(&rest.len())
                && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'/')
        });
        if !is_valid {
            let rule = "`GPU-` or `MIG-` and at most 76 of `0-9`, `a-z`, `A-Z`, `-` and `/`";
            return Err(crate::names::NameError::new("graphics processor's id", text, rule));
        }
        Ok(Self(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for GpuId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_graphics_processors_id_names_exactly_one() {
        for id in [
            "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6",
            "MIG-3d5e3f5b-7d3e-5a8c-9f2e-0f1b2c3d4e5f",
            "MIG-GPU-8932f937-d72c-4106-c12f-20bd9faed9f6/1/0",
        ] {
            assert_eq!(id.parse::<GpuId>().unwrap().as_str(), id);
        }
        for id in [
            "all",
            "none",
            "void",
            "0",
            "0,1",
            "",
            "GPU-",
            "GPU-a,GPU-b",
            "GPU-a b",
            "gpu-a",
            "GPU-a\n",
            "GPU-\u{e9}",
        ] {
            assert!(id.parse::<GpuId>().is_err(), "{id}");
        }
        assert!(format!("GPU-{}", "a".repeat(77)).parse::<GpuId>().is_err());
    }
}
