//! What can come of a request to a cluster, told apart by what the API server says in its own codes, never by its words.

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, ErrorKind};

/// Longest message of an API server that is passed on, in characters.
const MESSAGE_CHARS_MAX: usize = 2_000;

/// Why a request to a cluster came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nobody answers, or not in time, or not as the one we know.
    #[error("the cluster does not answer: {0}")]
    Unreachable(String),
    /// It does not take our credentials.
    #[error("the cluster does not take our credentials any more")]
    Refused,
    /// It says no.
    #[error("{message}")]
    Said {
        /// The HTTP status.
        code: u16,
        /// Its word for why, such as `AlreadyExists`.
        reason: String,
        /// What it says.
        message: String,
        /// What is wrong where, as far as it says: path and message.
        causes: Vec<(String, String)>,
    },
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    reason: String,
    message: String,
    details: Details,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    causes: Vec<Cause>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Cause {
    field: String,
    message: String,
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::Unreachable(format!("what answers is no API server: {error}"))
    }
}

impl Failure {
    /// Reads an answer that is no success.
    pub(super) fn of_answer(code: u16, body: &[u8]) -> Self {
        if code == 401 {
            return Self::Refused;
        }
        let status: Status =
            serde_json::from_slice::<Value>(body).and_then(serde_json::from_value).unwrap_or_default();
        let shown = |text: &str| -> String { text.chars().take(MESSAGE_CHARS_MAX).collect() };
        let message = match status.message.as_str() {
            "" => format!("it answered with status {code}"),
            text => shown(text),
        };
        let causes = status.details.causes.iter().take(100);
        let causes = causes.map(|cause| (shown(&cause.field), shown(&cause.message))).collect();
        Self::Said { code, reason: status.reason, message, causes }
    }

    fn is(&self, wanted: u16) -> bool {
        matches!(self, Self::Said { code, .. } if *code == wanted)
    }

    /// It has no such thing.
    pub fn is_not_found(&self) -> bool {
        self.is(404)
    }

    /// It has one of this name already.
    pub fn is_exists(&self) -> bool {
        matches!(self, Self::Said { code: 409, reason, .. } if reason == "AlreadyExists")
    }

    /// Somebody may not do this.
    pub fn is_forbidden(&self) -> bool {
        self.is(403)
    }

    /// It cannot do this as things are, such as show the log of a container that has not started.
    pub fn is_impossible_now(&self) -> bool {
        self.is(400)
    }

    /// What is watched from is too long ago.
    pub fn is_gone(&self) -> bool {
        self.is(410)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let detail = failure.to_string();
        match failure {
            Failure::Unreachable(_) => Self::unavailable("cluster_unreachable", detail)
                .hint("what runs there goes on; try again, or see `longshore cluster list`"),
            Failure::Refused => Self::unavailable("cluster_refused", detail)
                .hint("an admin gives new ones: `longshore cluster renew NAME --kubeconfig FILE`"),
            Failure::Said { code, causes, .. } => {
                let kind = match code {
                    400 | 413 | 415 | 422 => ErrorKind::Invalid,
                    403 => ErrorKind::Forbidden,
                    404 => ErrorKind::NotFound,
                    409 => ErrorKind::Conflict,
                    429 => ErrorKind::TooMany(5),
                    _ => ErrorKind::Unavailable,
                };
                let code = match kind {
                    ErrorKind::Invalid => "cluster_says_invalid",
                    ErrorKind::Forbidden => "cluster_forbids",
                    ErrorKind::NotFound => "not_found_in_cluster",
                    ErrorKind::Conflict => "conflict_in_cluster",
                    ErrorKind::TooMany(_) => "cluster_busy",
                    _ => "cluster_failed",
                };
                let error = Self::new(kind, code, format!("the cluster says: {detail}"));
                if causes.is_empty() {
                    return error;
                }
                let causes = causes.into_iter();
                let listed: Vec<Value> = causes
                    .map(|(path, message)| serde_json::json!({"path": path, "message": message}))
                    .collect();
                error.with("violations", listed)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_by_code_and_reason() {
        let exists = Failure::of_answer(409, br#"{"reason":"AlreadyExists","message":"x exists"}"#);
        let conflict = Failure::of_answer(409, br#"{"reason":"Conflict","message":"AlreadyExists"}"#);

        assert!(exists.is_exists() && !conflict.is_exists());
        assert!(Failure::of_answer(404, b"nonsense").is_not_found());
        assert!(matches!(Failure::of_answer(401, b""), Failure::Refused));
    }

    #[test]
    fn what_is_wrong_where_is_passed_on() {
        let body = br#"{"message":"bad","details":{"causes":[{"field":"spec.replicas","message":"must be a number"}]}}"#;

        let error = Error::from(Failure::of_answer(422, body));

        assert_eq!((error.kind, error.detail.as_str()), (ErrorKind::Invalid, "the cluster says: bad"));
        assert_eq!(error.extra["violations"][0]["path"], "spec.replicas");
    }
}
