//! What the tests share: a server in this process and a client that speaks to it, a machine with its agent, a server with
//! an image to make containers of, and waiting for conditions.

pub(crate) mod api;
pub(crate) mod archives;
pub(crate) mod builds;
pub(crate) mod canaries;
pub(crate) mod charts;
pub(crate) mod cluster;
pub(crate) mod control_plane;
pub(crate) mod disk;
pub(crate) mod engine;
pub(crate) mod git;
pub(crate) mod gitea;
pub(crate) mod gpus;
pub(crate) mod machine;
pub(crate) mod meddler;
pub(crate) mod names;
pub(crate) mod network;
pub(crate) mod nvidia_smi;
pub(crate) mod process;
pub(crate) mod registry;
pub(crate) mod releases;
pub(crate) mod remote;
pub(crate) mod room;
pub(crate) mod runs;
pub(crate) mod server;
pub(crate) mod shell;
pub(crate) mod shop;
pub(crate) mod site;
pub(crate) mod socket;
pub(crate) mod tls;

use std::fmt::{self, Display};
use std::future::Future;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A setting of the test run.
#[expect(
    clippy::disallowed_methods,
    reason = "tests have no `Config`: the runner tells them by the environment"
)]
pub(crate) fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Whether `LONGSHORE_TEST_SKIP` names a part that this machine does not have.
pub(crate) fn is_skipped(part: &str) -> bool {
    let skipped = setting("LONGSHORE_TEST_SKIP").unwrap_or_default();
    skipped.split([',', ' ']).any(|name| name == part)
}

/// The test engine's address; none when the engine is skipped.
pub(crate) fn engine() -> Option<String> {
    if is_skipped("engine") {
        return None;
    }
    let message = "LONGSHORE_TEST_DOCKER must name the test engine (`./test` starts one), or LONGSHORE_TEST_SKIP must hold `engine`";
    Some(setting("LONGSHORE_TEST_DOCKER").expect(message))
}

/// Machines that are shared can be several times slower for a while than those on which a wait was measured.
const SLOWNESS: u64 = 4;

/// A look waits so many times as long as the one before took.
const LOOKING_SHARE: u32 = 5;

/// What is waited for and what was seen instead, for whoever reads that it was in vain.
pub(crate) struct Wait {
    what: String,
    seen: Mutex<String>,
}

impl Wait {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), seen: Mutex::default() }
    }

    /// Notes what is there instead.
    pub(crate) fn saw(&self, what: &impl Display) {
        *self.seen.lock().expect("no test panics while it holds this lock") = what.to_string();
    }
}

impl Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = self.seen.lock().expect("no test panics while it holds this lock");
        write!(f, "{}; last seen: {seen}", self.what)
    }
}

/// Waits until a condition holds; fails after `secs` with what was waited for, on a slow machine some times that.
pub(crate) async fn eventually<F, T>(what: impl Display, secs: u64, mut check: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + Duration::from_secs(secs * SLOWNESS);
    loop {
        let began = Instant::now();
        if let Some(value) = check().await {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {secs} s in vain: {what}");
        // Looking must not take the time of what is waited for.
        tokio::time::sleep(Duration::from_millis(20).max(began.elapsed() * LOOKING_SHARE)).await;
    }
}

/// Prints the servers' log when `LONGSHORE_TEST_LOUD` holds a filter such as `info` or `server=debug`.
pub(crate) fn print_log() {
    if let Some(filter) = setting("LONGSHORE_TEST_LOUD") {
        let log =
            tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr);
        // Done already when another test was first.
        drop(log.try_init());
    }
}
