//! The one error of the server. Free of transport: `http/error.rs` turns it into a status and a body.

use std::fmt;

use serde_json::{Map, Value};

/// What kind of failure; decides the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request cannot be read.
    Malformed,
    /// Nobody is known to have sent it.
    Unauthenticated,
    /// The caller may not do it.
    Forbidden,
    /// It does not exist, or the caller may not see it.
    NotFound,
    /// It does not fit what is there.
    Conflict,
    /// It is larger than allowed.
    TooLarge,
    /// A value is wrong.
    Invalid,
    /// Too many tries; seconds until the next.
    TooMany(u64),
    /// Our own mistake; details are in the log only.
    Internal,
    /// Something we need does not answer now.
    Unavailable,
    /// A disk is full.
    Full,
    /// Something outside of us, which somebody named, answered badly.
    BadGateway,
    /// It did not answer in time.
    GatewayTimeout,
}

/// A failure with everything that a person and a program need to know of it.
#[derive(Debug)]
pub struct Error {
    /// What kind.
    pub kind: ErrorKind,
    /// Stable name for programs.
    pub code: &'static str,
    /// What happened, in plain words.
    pub detail: String,
    /// What to do next.
    pub hint: Option<String>,
    /// The field that is wrong.
    pub field: Option<String>,
    /// Further facts.
    pub extra: Map<String, Value>,
    /// For the log, never shown.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Shorthand.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Makes an error.
    pub fn new(kind: ErrorKind, code: &'static str, detail: impl Into<String>) -> Self {
        Self { kind, code, detail: detail.into(), hint: None, field: None, extra: Map::new(), source: None }
    }

    /// 404; also for what exists but is not the caller's to see.
    pub fn not_found(kind: &str, name: impl fmt::Display) -> Self {
        let shown: String = name.to_string().chars().take(200).flat_map(char::escape_debug).collect();
        Self::new(ErrorKind::NotFound, "not_found", format!("there is no {kind} `{shown}`"))
    }

    /// 422 for one field.
    pub fn invalid(field: impl Into<String>, detail: impl fmt::Display) -> Self {
        Self { field: Some(field.into()), ..Self::new(ErrorKind::Invalid, "invalid", detail.to_string()) }
    }

    /// 409.
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, code, detail)
    }

    /// 401.
    pub fn unauthenticated(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unauthenticated, code, detail)
    }

    /// 403.
    pub fn forbidden(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Forbidden, code, detail)
    }

    /// 503.
    pub fn unavailable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, code, detail)
    }

    /// 500; the cause goes to the log only.
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let detail = "something went wrong on the server; its log has the details under this request's id";
        Self { source: Some(source.into()), ..Self::new(ErrorKind::Internal, "internal", detail) }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a fact.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(name.to_owned(), value.into());
        self
    }

    /// Adds the cause, for the log.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<wire::names::NameError> for Error {
    fn from(error: wire::names::NameError) -> Self {
        Self::new(ErrorKind::Invalid, "invalid_name", error.to_string())
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                let detail = "the server's disk is full; nothing was changed";
                Self::new(ErrorKind::Full, "disk_full", detail)
                    .hint("free some space in the data folder and try again")
                    .caused_by(error)
            }
            _ => Self::internal(error),
        }
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Duplicate => Self::conflict("exists", "it exists already"),
            store::Error::NotFound => Self::new(ErrorKind::NotFound, "not_found", "it does not exist"),
            store::Error::TooManyWords(_) => Self::invalid("search", error),
            store::Error::Locked => {
                Self::unavailable("database_busy", "the database is busy; nothing was changed")
                    .hint("try again in a few seconds")
            }
            store::Error::Full => {
                Self::new(ErrorKind::Full, "disk_full", "the database's disk is full; nothing was changed")
                    .hint("free some space and try again")
            }
            store::Error::Unavailable(_) => {
                Self::unavailable("database_down", "the database does not answer")
                    .hint("try again in a moment")
                    .caused_by(error)
            }
            other => Self::internal(other),
        }
    }
}

impl From<crate::link::CallError> for Error {
    fn from(error: crate::link::CallError) -> Self {
        use crate::link::CallError;
        match error {
            CallError::NotConnected => {
                Self::unavailable("machine_unreachable", "the machine's agent is not connected")
                    .hint("see `longshore machine list`")
            }
            CallError::TimedOut => Self::unavailable("machine_slow", "the machine did not answer in time"),
            CallError::Broken(_) => {
                Self::unavailable("machine_unreachable", "the connection to the machine broke")
                    .caused_by(error)
            }
            CallError::Refused(refused) => refused.into(),
        }
    }
}

impl From<wire::link::LinkError> for Error {
    fn from(error: wire::link::LinkError) -> Self {
        use wire::link::LinkErrorCode as Code;
        let (kind, code) = match error.code {
            Code::NotFound => (ErrorKind::NotFound, "not_found_on_machine"),
            Code::Conflict => (ErrorKind::Conflict, "conflict_on_machine"),
            Code::PortTaken => (ErrorKind::Conflict, "port_taken"),
            Code::GpuUnavailable => (ErrorKind::Conflict, "gpu_unavailable"),
            Code::Denied => (ErrorKind::Invalid, "denied_by_machine"),
            Code::ImageUnavailable => (ErrorKind::Conflict, "image_unavailable"),
            Code::Invalid => (ErrorKind::Invalid, "invalid"),
            Code::WrongLevel => (ErrorKind::Unavailable, "agent_version"),
            Code::BuildFailed => (ErrorKind::Invalid, "build_failed"),
            Code::EngineDown => (ErrorKind::Unavailable, "engine_down"),
            Code::Engine => (ErrorKind::Conflict, "engine_error"),
            Code::Timeout => (ErrorKind::Unavailable, "machine_slow"),
            Code::Unsupported => (ErrorKind::Invalid, "unsupported_by_machine"),
        };
        Self::new(kind, code, error.message)
    }
}
