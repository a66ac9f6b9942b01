//! The log of what is done in the background, for whoever may read it: one way for builds, runs and operations on releases.

use std::future::Future;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use wire::builds::OperationState;
use wire::ids::BuildId;

use crate::app::App;
use crate::blobs::blocking;
use crate::error::Result;
use crate::operation_logs::Progress;

/// How long a follower waits for a sign before it looks for itself.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A log that was opened by somebody who may read it. It holds nothing of it: every read goes to the file.
pub trait OperationLog: Send + Sync + 'static {
    /// What is shown of the operation.
    type View: Serialize + Send + Sync;

    /// The server.
    fn app(&self) -> &App;

    /// The id under which the log is kept.
    fn id(&self) -> BuildId;

    /// The operation now.
    fn view(&self) -> impl Future<Output = Result<Self::View>> + Send;

    /// How far the operation is.
    fn state(view: &Self::View) -> OperationState;

    /// Whether followers need not hear of a difference.
    fn is_same(before: &Self::View, after: &Self::View) -> bool {
        serde_json::to_string(before).ok() == serde_json::to_string(after).ok()
    }

    /// Reads on from an offset: the bytes consumed and the text. Nothing at the end of what is there.
    fn read(&self, offset: u64) -> impl Future<Output = Result<(u64, String)>> + Send {
        let (app, id) = (self.app().clone(), self.id());
        blocking(move || app.operation_logs.read(id, offset))
    }

    /// The operation now, and what happens to it from now on.
    fn follow(&self) -> impl Future<Output = Result<(Self::View, Changes)>> + Send {
        async {
            let mut progress = self.app().operation_logs.follow(self.id());
            let seen = *progress.borrow_and_update();
            let view = self.view().await?;
            if Self::state(&view).is_final() {
                // Asking left an entry behind that nobody else would remove.
                self.app().operation_logs.ended(self.id());
            }
            Ok((view, Changes { progress, seen }))
        }
    }
}

/// Hears of changes to an operation and its log.
pub struct Changes {
    progress: watch::Receiver<Progress>,
    seen: Progress,
}

impl Changes {
    /// Waits until there may be something new; true when the operation's row may have changed too.
    pub async fn next(&mut self) -> bool {
        match tokio::time::timeout(LOOK_EVERY, self.progress.changed()).await {
            // Nobody writes any more, here at least.
            Ok(Err(_)) => {
                tokio::time::sleep(LOOK_EVERY).await;
                true
            }
            Err(_) => true,
            Ok(Ok(())) => {
                let now = *self.progress.borrow_and_update();
                let is_row = now.revision != self.seen.revision || now.has_ended != self.seen.has_ended;
                self.seen = now;
                is_row
            }
        }
    }

    /// Waits until the operation's row may have changed.
    pub async fn of_row(&mut self) {
        while !self.next().await {}
    }
}
