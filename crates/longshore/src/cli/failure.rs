//! A command that did not do what it was asked: what to say, what to do next, and the exit status.

use std::fmt;

use server::error::ErrorKind;

/// Exit status of a command that failed.
pub(crate) const FAILED: u8 = 1;
/// Exit status of a command that was typed wrongly.
pub(crate) const USAGE: u8 = 2;

/// Ends the process with the exit status of a command that it ran for somebody, and without a word.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("exit {0}")]
pub(crate) struct ExitWith(pub(crate) u8);

/// Why a command failed, ready to be shown.
#[derive(Debug)]
pub(crate) struct Failure {
    /// One line: what happened.
    pub(crate) message: String,
    /// Further lines, such as the end of a log.
    pub(crate) details: Vec<String>,
    /// What to do next, where that is known.
    pub(crate) hint: Option<String>,
    /// The process's exit status.
    pub(crate) exit: u8,
    /// What the server answered, for `--json`.
    pub(crate) body: Option<String>,
    /// The HTTP status, when the server answered.
    pub(crate) status: Option<u16>,
}

impl Failure {
    /// A command that failed.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            details: Vec::new(),
            hint: None,
            exit: FAILED,
            body: None,
            status: None,
        }
    }

    /// A command that was typed wrongly, in a way the parser cannot see.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { exit: USAGE, ..Self::new(message) }
    }

    /// Says what to do next.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The failure inside an error, if it is one.
    pub(crate) fn of(error: &anyhow::Error) -> Option<&Self> {
        error.downcast_ref()
    }
}

impl From<server::error::Error> for Failure {
    /// A failure of what the command line shares with the server: its database, its start.
    fn from(error: server::error::Error) -> Self {
        let message = match (error.kind, &error.source) {
            // There is no log with more than this.
            (ErrorKind::Internal, Some(source)) => source.to_string(),
            (_, Some(source)) => format!("{error}: {source}"),
            (_, None) => error.to_string(),
        };
        Self { hint: error.hint, ..Self::new(message) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
