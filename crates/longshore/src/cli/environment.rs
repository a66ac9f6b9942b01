//! What the command line takes from the process around it: variables and the clock. Nothing else here reads either.

use std::ffi::OsString;
use std::path::PathBuf;

use wire::time::Timestamp;

/// A variable's value; an empty one counts as not set.
#[expect(
    clippy::disallowed_methods,
    reason = "the command line has no `Config`; this is its one reader of variables"
)]
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// A variable's value as text.
pub(crate) fn text(name: &str) -> Option<String> {
    variable(name)?.into_string().ok()
}

/// A variable's value as a path.
pub(crate) fn path(name: &str) -> Option<PathBuf> {
    variable(name).map(PathBuf::from)
}

/// The time now.
#[expect(clippy::disallowed_methods, reason = "the command line has no `App`; this is its one clock")]
pub(crate) fn now() -> Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
}
