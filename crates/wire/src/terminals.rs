//! Terminals: a command that runs in a container beside its main process, and those who look at it. `docs/API.md` has the
//! protocol of the WebSocket in words.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{ContainerId, TerminalId};
use crate::names::AccountName;
use crate::time::Timestamp;

/// The WebSocket's subprotocol; a client that names it gets it back.
pub const SUBPROTOCOL: &str = "longshore.terminal.v1";
/// The last bytes of a terminal that a viewer who comes (back) is shown.
pub const REPLAY_BYTES: usize = 256 << 10;
/// The longest message of a viewer in bytes.
pub const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// First byte of a binary message with input.
pub const CHANNEL_INPUT: u8 = 0;
/// First byte of a binary message with standard output, or with what a terminal shows.
pub const CHANNEL_OUTPUT: u8 = 1;
/// First byte of a binary message with standard error; never with a terminal, which has only one.
pub const CHANNEL_ERROR: u8 = 2;

/// Columns and rows of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TerminalSize {
    /// Characters in a row, 1 to 1000.
    pub columns: u16,
    /// Rows, 1 to 1000.
    pub rows: u16,
}

impl Default for TerminalSize {
    fn default() -> Self {
        Self { columns: 80, rows: 24 }
    }
}

/// The most columns or rows.
pub const SIZE_MAX: u16 = 1000;

impl TerminalSize {
    /// Whether a terminal can have it.
    pub fn is_valid(self) -> bool {
        (1..=SIZE_MAX).contains(&self.columns) && (1..=SIZE_MAX).contains(&self.rows)
    }
}

/// A command to run in a container, as the machine is told. There is no user, no privilege and no device to ask for: it
/// runs as the image's user with what the container has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecSpec {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Whether it gets a terminal.
    pub is_tty: bool,
    /// Whether it can be given input.
    pub has_input: bool,
    /// Variables besides the container's.
    pub env: BTreeMap<String, String>,
    /// Where it runs; none = where the container does.
    pub working_dir: Option<String>,
    /// The terminal's size at the beginning.
    pub size: TerminalSize,
}

/// Which terminal is wanted: a new one, or with `session` one that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TerminalCreate {
    /// The program and its arguments; a shell of the container when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Whether the command gets a terminal (true by default). Without one, standard output and standard error are kept
    /// apart, nothing is ever left out, and the command ends with its one viewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tty: Option<bool>,
    /// Whether the command can be given input (true by default).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<bool>,
    /// Variables besides the container's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Where the command runs; where the container does when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Of a pod: in which of its containers; the first one when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Characters in a row; 80 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<u16>,
    /// Rows; 24 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u16>,
    /// Look at this terminal instead of opening one; `command`, `tty`, `input`, `env` and `working_dir` are its own then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<TerminalId>,
    /// Begin the replay at this offset in what the terminal has shown; what is not kept any more is told as dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// Only look: input and sizes of this viewer are refused.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
}

impl TerminalCreate {
    /// The size to begin with; what is not given has its default.
    pub fn size(&self) -> TerminalSize {
        let default = TerminalSize::default();
        TerminalSize {
            columns: self.columns.unwrap_or(default.columns),
            rows: self.rows.unwrap_or(default.rows),
        }
    }
}

/// Opens one WebSocket, once, within seconds, for what was asked with it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TerminalTicket {
    /// The ticket; goes into the query of the WebSocket's address.
    pub ticket: String,
    /// When it is no good any more.
    pub expires_at: Timestamp,
    /// The address to open, on this server, ticket included.
    pub path: String,
}

/// A terminal that is there.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TerminalView {
    /// The terminal.
    pub id: TerminalId,
    /// In which container.
    pub container_id: ContainerId,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Whether the command has a terminal.
    pub tty: bool,
    /// Who opened it.
    #[schema(value_type = String)]
    pub opened_by: AccountName,
    /// When.
    pub opened_at: Timestamp,
    /// How many look at it.
    pub viewers: usize,
    /// Its size.
    pub columns: u16,
    /// Its size.
    pub rows: u16,
    /// How its command ended, once it has.
    pub exit_code: Option<i64>,
}

/// What a viewer says in a text message. Input is a binary message: [`CHANNEL_INPUT`] and the bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ViewerMessage {
    /// The terminal shall have this size.
    Resize {
        /// Characters in a row.
        columns: u16,
        /// Rows.
        rows: u16,
    },
    /// No more input will come. A terminal is sent an end of file.
    EndOfInput,
    /// Ends the command, whoever else looks.
    End,
}

/// What the server says in a text message. Output is a binary message: [`CHANNEL_OUTPUT`] or [`CHANNEL_ERROR`] and the
/// bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage {
    /// First of all: what this is.
    Opened {
        /// Names the terminal, to come back to it.
        session: TerminalId,
        /// Whether the command has a terminal.
        tty: bool,
        /// Offset of the first byte that follows, in all that the terminal has shown.
        offset: u64,
        /// Where it stands now. What comes before has been shown once: a screen does not answer again what programs ask in it.
        #[serde(default)]
        live_offset: u64,
        /// Its size.
        columns: u16,
        /// Its size.
        rows: u16,
    },
    /// This viewer was too slow: so many bytes before the next were left out.
    Dropped {
        /// How many.
        bytes: u64,
    },
    /// Somebody changed the size.
    Resized {
        /// Characters in a row.
        columns: u16,
        /// Rows.
        rows: u16,
    },
    /// Somebody came or went.
    Viewers {
        /// How many look now.
        count: usize,
    },
    /// Something that this viewer sent was not done.
    Refused {
        /// Why, in plain words.
        message: String,
    },
    /// The last message.
    Ended {
        /// Why.
        reason: EndReason,
        /// How the command ended, if it did by itself.
        exit_code: Option<i64>,
        /// In plain words.
        message: String,
    },
}

/// Why a terminal ended, or one viewer's look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The command ended by itself; `exit_code` says how.
    Exited,
    /// The command could not be started, or its machine said that something went wrong.
    Failed,
    /// Nobody typed and nothing was shown for too long.
    Idle,
    /// It was open for as long as a terminal may be.
    TimeLimit,
    /// Nobody looked at it for too long.
    Left,
    /// Somebody asked for its end.
    Closed,
    /// The viewer may not look any more: logged out, disabled, password changed.
    Revoked,
    /// The connection to the machine broke.
    MachineLost,
    /// The server stops.
    ServerStopping,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_look_as_they_are_documented() {
        let json = |message: &ServerMessage| serde_json::to_string(message).unwrap();

        assert_eq!(
            serde_json::from_str::<ViewerMessage>(r#"{"type":"resize","columns":100,"rows":30}"#).unwrap(),
            ViewerMessage::Resize { columns: 100, rows: 30 }
        );
        assert_eq!(
            serde_json::from_str::<ViewerMessage>(r#"{"type":"end_of_input"}"#).unwrap(),
            ViewerMessage::EndOfInput
        );
        assert_eq!(json(&ServerMessage::Dropped { bytes: 7 }), r#"{"type":"dropped","bytes":7}"#);
        assert_eq!(
            json(&ServerMessage::Ended {
                reason: EndReason::Exited,
                exit_code: Some(3),
                message: "m".into()
            }),
            r#"{"type":"ended","reason":"exited","exit_code":3,"message":"m"}"#
        );
    }

    #[test]
    fn options_that_are_not_ours_do_not_parse() {
        for option in
            ["Privileged", "privileged", "user", "User", "Env", "tty ", "AttachStdin", "detach_keys"]
        {
            let text = format!("{{\"{option}\": true}}");
            assert!(serde_json::from_str::<TerminalCreate>(&text).is_err(), "{option}");
        }
        assert!(
            serde_json::from_str::<ViewerMessage>(r#"{"type":"resize","columns":1,"rows":1,"x":1}"#).is_err()
        );
        assert!(serde_json::from_str::<ViewerMessage>(r#"{"type":"resize","columns":-1,"rows":1}"#).is_err());
        assert!(serde_json::from_str::<ViewerMessage>(r#"{"type":"kill","pid":1}"#).is_err());
    }
}
