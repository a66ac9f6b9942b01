//! What is heard of a build while it is made: how far it is, what it prints, and whether somebody gave it up.

use std::time::Duration;

use store::builds;
use tokio::time::Instant;
use wire::ids::BuildId;

use crate::app::App;
use crate::blobs::blocking;
use crate::error::Result;
use crate::operation_logs::LogWriter;

/// Progress is stored at most this often.
const STORE_EVERY: Duration = Duration::from_millis(500);
/// How often it is asked whether somebody gave a build up, besides when its row changes.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Bytes of log that are gathered before they are written.
const GATHER_BYTES: usize = 64 << 10;

/// Waits until the build's end is asked for, or has come otherwise.
pub(super) async fn until_cancelled(app: &App, id: BuildId) {
    let mut progress = app.operation_logs.follow(id);
    let mut revision = progress.borrow_and_update().revision;
    let mut look_at = Instant::now() + LOOK_EVERY;
    loop {
        tokio::select! {
            changed = progress.changed() => {
                let now = progress.borrow_and_update().revision;
                if changed.is_ok() && now == revision {
                    continue;
                }
                revision = now;
                if changed.is_err() {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            }
            () = tokio::time::sleep_until(look_at) => {}
        }
        look_at = Instant::now() + LOOK_EVERY;
        match builds::get(&app.db, id).await {
            Ok(Some(row)) if !row.cancel_requested && !row.state.is_final() => {}
            Ok(_) => return,
            Err(error) => tracing::debug!(%error, "cannot look whether the build was cancelled"),
        }
    }
}

/// What is shown of a running build, stored now and then.
pub(super) struct Progress<'a> {
    app: &'a App,
    build: BuildId,
    pub(super) step: Option<(u32, u32, String)>,
    pub(super) pushed: Option<(u64, u64)>,
    has_log: bool,
    stored_at: Option<Instant>,
}

impl<'a> Progress<'a> {
    pub(super) fn new(app: &'a App, build: BuildId) -> Self {
        Self { app, build, step: None, pushed: None, has_log: false, stored_at: None }
    }

    pub(super) fn note_log(&mut self) {
        self.has_log = true;
    }

    fn is_dirty(&self) -> bool {
        self.step.is_some() || self.pushed.is_some() || self.has_log
    }

    /// When something is to be stored next; far away when there is nothing.
    pub(super) fn store_at(&self) -> Instant {
        match self.stored_at {
            _ if !self.is_dirty() => Instant::now() + Duration::from_hours(1),
            Some(stored_at) => stored_at + STORE_EVERY,
            None => Instant::now(),
        }
    }

    pub(super) async fn store_when_due(&mut self, log_bytes: u64) {
        if self.is_dirty() && self.store_at() <= Instant::now() {
            self.store(log_bytes).await;
        }
    }

    /// Progress is for those who watch: a store that does not take it now gets the next.
    pub(super) async fn store(&mut self, log_bytes: u64) {
        if !self.is_dirty() {
            return;
        }
        let (step, pushed) = (self.step.take(), self.pushed.take());
        self.has_log = false;
        self.stored_at = Some(Instant::now());
        let stored = async {
            let tx = self.app.db.begin().await?;
            if let Some((step, steps, text)) = &step {
                builds::set_step(&tx, self.build, *step, *steps, text).await?;
            }
            if let Some((current, total)) = pushed {
                builds::set_push_progress(&tx, self.build, current, total).await?;
            }
            builds::set_log_bytes(&tx, self.build, log_bytes).await?;
            tx.commit().await
        };
        match stored.await {
            Ok(()) => self.app.operation_logs.touched(self.build),
            Err(error) => tracing::debug!(%error, "cannot store a build's progress"),
        }
    }
}

/// A build's log while it is written. A disk that takes no more loses lines, never the build.
pub(super) struct Log {
    writer: LogWriter,
    pending: String,
}

impl Log {
    pub(super) async fn open(app: &App, build: BuildId) -> Result<Self> {
        let (app, limit) = (app.clone(), app.config.builds.log_bytes);
        let writer = blocking(move || app.operation_logs.writer(build, limit)).await?;
        Ok(Self { writer, pending: String::new() })
    }

    pub(super) fn written(&self) -> u64 {
        self.writer.written()
    }

    pub(super) fn write(&mut self, text: &str) {
        self.gather(text);
        self.flush();
    }

    pub(super) fn gather(&mut self, text: &str) {
        self.pending.push_str(text);
        if self.pending.len() >= GATHER_BYTES {
            self.flush();
        }
    }

    pub(super) fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        if let Err(error) = self.writer.write(&self.pending) {
            tracing::debug!(%error, "cannot write to a build's log");
        }
        self.pending.clear();
    }

    /// Ends the log for now; how long it is.
    pub(super) fn finish(mut self) -> u64 {
        self.flush();
        let written = self.writer.written();
        self.writer.finish().unwrap_or_else(|error| {
            tracing::debug!(%error, "cannot finish a build's log");
            written
        })
    }
}
