//! Seed 002: `/repo/`, `/event/`, `/job/`, `/log/` and `/check/`, with the conventions of Django REST Framework. Names are those
//! of the seed's tables, odd spellings included; what they mean is decided in the domain.
//!
//! - `input.rs`: what comes in: names in any case, the row that is meant, filters, pages
//! - `failure.rs`: errors in the shapes that such clients know
//! - `repo.rs`, `event.rs`, `job.rs`, `log.rs`, `check.rs`: one file per route

mod check;
mod event;
mod failure;
mod input;
mod job;
mod log;
mod repo;

pub use check::*;
pub use event::*;
pub use failure::{PortalError, failure, is_ours};
pub use job::*;
pub use log::*;
pub use repo::*;

use wire::builds::OperationState;
use wire::time::Timestamp;

/// `%Y%m%d %H%M%S`, in UTC.
fn shown_time(time: Timestamp) -> String {
    let time = chrono::DateTime::from_timestamp_micros(time.0).unwrap_or_default();
    time.format("%Y%m%d %H%M%S").to_string()
}

/// The seed's number of a state, as text.
fn status(state: OperationState) -> &'static str {
    match state {
        OperationState::Queued => "1",
        OperationState::Running => "2",
        OperationState::Succeeded => "3",
        OperationState::Failed | OperationState::Cancelled => "4",
    }
}

/// The words that the store has for states, and the seed's numbers of them.
const STATUSES: &[(&str, i32)] =
    &[("queued", 1), ("running", 2), ("succeeded", 3), ("failed", 4), ("cancelled", 4)];

/// The same in a word.
fn status_text(state: OperationState) -> &'static str {
    match state {
        OperationState::Queued => "queued",
        OperationState::Running => "running",
        OperationState::Succeeded => "succeeded",
        OperationState::Failed => "failed",
        OperationState::Cancelled => "cancelled",
    }
}

/// What stands for a secret that is kept.
fn masked(is_kept: bool) -> &'static str {
    if is_kept { wire::git_repos::MASK } else { "" }
}
