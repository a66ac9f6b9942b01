//! Long uploads: a folder packed on the way or a file as it is, with a bar.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use futures::TryStreamExt as _;
use indicatif::ProgressBar;
use reqwest::Method;
use tokio::time::Instant;
use tokio_util::io::ReaderStream;

use super::client::{Answer, Route};
use super::ignore::Ignore;
use super::session::Session;
use super::{human, pack, words};

/// How often a running upload says how far it is where no bar can be drawn.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// How often a bar is drawn.
const BAR_EVERY: Duration = Duration::from_millis(100);

/// What is uploaded: a folder packed on the way, or a file as it is.
pub(crate) enum Source {
    Folder { path: PathBuf, ignore: Ignore, bytes: u64 },
    File { path: PathBuf, bytes: u64 },
}

impl Source {
    /// A file as it is.
    pub(crate) fn file(path: PathBuf) -> anyhow::Result<Self> {
        let metadata =
            std::fs::metadata(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        Ok(Self::File { bytes: metadata.len(), path })
    }

    /// A folder; what cannot be packed of it is said.
    pub(crate) fn folder(session: &Session, path: PathBuf, ignore: Ignore) -> anyhow::Result<Self> {
        let printer = &session.printer;
        let survey = pack::survey(&path, &ignore)?;
        for left_out in survey.left_out.iter().take(10) {
            printer.warn(words::LEFT_OUT, &[&left_out.display().to_string()]);
        }
        if survey.left_out.len() > 10 {
            printer.warn(words::LEFT_OUT_MORE, &[&(survey.left_out.len() - 10).to_string()]);
        }
        Ok(Self::Folder { path, ignore, bytes: survey.bytes })
    }

    /// Sends it to a route while showing how far it is.
    pub(crate) async fn send(
        self,
        session: &Session,
        method: Method,
        path_of_route: &[&str],
        query: &[(&str, String)],
    ) -> anyhow::Result<Answer> {
        let route = Route { method, path: path_of_route, query };
        let moved = Arc::new(AtomicU64::new(0));
        match self {
            Self::Folder { path, ignore, bytes } => {
                let (pieces, packing) = pack::stream(path, ignore, Arc::clone(&moved));
                let body = reqwest::Body::wrap_stream(futures::stream::unfold(pieces, |mut pieces| async {
                    let piece = pieces.recv().await?;
                    Some((piece, pieces))
                }));
                let sent = send_shown(session, &route, body, None, bytes, &moved).await;
                // When packing failed, the request broke off because of it: that is the reason to show.
                if sent.is_err() && packing.is_finished() {
                    let packed = packing.await.context("packing ended badly")?;
                    let is_own_doing = packed.as_ref().is_err_and(|error| !is_broken_pipe(error));
                    if is_own_doing {
                        packed?;
                    }
                }
                sent
            }
            Self::File { path, bytes } => {
                let file = open_file(&path).await?;
                let counter = Arc::clone(&moved);
                let pieces = ReaderStream::with_capacity(file, 64 << 10).inspect_ok(move |piece| {
                    counter.fetch_add(piece.len() as u64, Ordering::Relaxed);
                });
                let body = reqwest::Body::wrap_stream(pieces);
                send_shown(session, &route, body, Some(bytes), bytes, &moved).await
            }
        }
    }
}

async fn open_file(path: &Path) -> anyhow::Result<tokio::fs::File> {
    tokio::fs::File::open(path).await.with_context(|| format!("cannot read `{}`", path.display()))
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Sends the body while showing how far it is.
async fn send_shown(
    session: &Session,
    route: &Route<'_>,
    body: reqwest::Body,
    length: Option<u64>,
    total_bytes: u64,
    moved: &Arc<AtomicU64>,
) -> anyhow::Result<Answer> {
    let bar = session.printer.bytes_bar(total_bytes);
    bar.set_message(session.printer.language.pick(words::UPLOADING));
    let showing = show_progress(session, &bar, total_bytes, moved);
    let sending = session.client.upload(route, body, length, moved);
    let answer = tokio::select! {
        answer = sending => answer,
        () = showing => unreachable!("the progress is shown until the upload ends"),
    };
    bar.finish_and_clear();
    if answer.is_ok() {
        session.printer.say(words::UPLOADED, &[&human::size(moved.load(Ordering::Relaxed))]);
    }
    answer
}

/// Shows how far an upload is, for ever.
async fn show_progress(session: &Session, bar: &ProgressBar, total_bytes: u64, moved: &AtomicU64) {
    let begin = Instant::now();
    let every = if bar.is_hidden() { PROGRESS_EVERY } else { BAR_EVERY };
    let mut is_checking = false;
    loop {
        tokio::time::sleep(every).await;
        let bytes = moved.load(Ordering::Relaxed);
        bar.set_position(bytes);
        if bytes >= total_bytes && !is_checking {
            is_checking = true;
            bar.set_message(session.printer.language.pick(words::CHECKING));
            if bar.is_hidden() {
                session.printer.say(words::CHECKING, &[]);
            }
        }
        if bar.is_hidden() && !is_checking {
            let rate = bytes / begin.elapsed().as_secs().max(1);
            let values = [human::size(bytes), human::size(total_bytes), human::size(rate)];
            session.printer.say(words::UPLOAD_PROGRESS, &[&values[0], &values[1], &values[2]]);
        }
    }
}
