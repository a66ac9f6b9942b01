//! Files on their way between the engine and the server, kept on disk meanwhile. An engine holds a container while it reads
//! or writes its files: nobody can stop it or look at it, and on some engines at any other. So the engine is given and
//! asked for bytes as fast as the disk is, however slow the other side may be.

use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Bytes;
use futures::{Stream, StreamExt};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use uuid::Uuid;
use wire::link::{LinkError, LinkErrorCode};

/// Bytes of one transfer at most, and of all together.
const BYTES_MAX: u64 = 4 << 30;
const TOTAL_BYTES_MAX: u64 = 16 << 30;
/// What the disk must have left.
const FREE_BYTES_MIN: u64 = 1 << 30;
/// Bytes that are written and read together.
const CHUNK_BYTES: usize = 1 << 20;

/// Where such files are, without names.
pub(crate) struct Spool {
    folder: PathBuf,
    used: Arc<AtomicU64>,
}

/// Room that is taken; it is given back when this is dropped.
struct Room {
    used: Arc<AtomicU64>,
    bytes: u64,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A file that is being written.
struct Scratch {
    file: Arc<File>,
    written: u64,
    pending: Vec<u8>,
    room: Room,
}

/// A file that is there as a whole.
pub(crate) struct Spooled {
    file: Arc<File>,
    bytes: u64,
    _room: Room,
}

/// How far a writer is, and how it ended.
#[derive(Clone, Debug, Default)]
struct Progress {
    written: u64,
    ended: Option<Result<(), LinkError>>,
}

impl Spool {
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self { folder: state_dir.join("spool"), used: Arc::default() }
    }

    async fn open(&self) -> Result<Scratch, LinkError> {
        let folder = self.folder.clone();
        let make = move || -> io::Result<File> {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
            let path = folder.join(Uuid::now_v7().to_string());
            let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
            std::fs::remove_file(&path)?;
            Ok(file)
        };
        let file = Arc::new(blocking(make).await?);
        let room = Room { used: Arc::clone(&self.used), bytes: 0 };
        Ok(Scratch { file, written: 0, pending: Vec::with_capacity(CHUNK_BYTES), room })
    }

    /// Takes all of it.
    pub(crate) async fn keep(
        &self,
        pieces: impl Stream<Item = Result<Bytes, LinkError>>,
    ) -> Result<Spooled, LinkError> {
        let mut scratch = self.open().await?;
        let mut pieces = std::pin::pin!(pieces);
        while let Some(piece) = pieces.next().await {
            scratch.push(&piece?).await?;
        }
        scratch.flush().await?;
        Ok(Spooled { file: scratch.file, bytes: scratch.written, _room: scratch.room })
    }

    /// Passes it on. It is taken as fast as it comes, also when the reader is slow; an error comes after what came before it.
    /// When the reader is gone, so is everything.
    pub(crate) async fn pass_on<S>(
        &self,
        tasks: &TaskTracker,
        pieces: S,
    ) -> Result<impl Stream<Item = Result<Bytes, LinkError>> + Send + use<S>, LinkError>
    where
        S: Stream<Item = Result<Bytes, LinkError>> + Send + 'static,
    {
        let scratch = self.open().await?;
        let file = Arc::clone(&scratch.file);
        let (sender, receiver) = watch::channel(Progress::default());
        tasks.spawn(async move { take(scratch, pieces, &sender).await });
        Ok(read(file, receiver))
    }
}

async fn take(
    mut scratch: Scratch,
    pieces: impl Stream<Item = Result<Bytes, LinkError>> + Send,
    progress: &watch::Sender<Progress>,
) {
    let all = async {
        let mut pieces = std::pin::pin!(pieces);
        while let Some(piece) = pieces.next().await {
            scratch.push(&piece?).await?;
            progress.send_if_modified(|now| {
                std::mem::replace(&mut now.written, scratch.written) != scratch.written
            });
        }
        scratch.flush().await
    };
    let ended = tokio::select! {
        ended = all => ended,
        () = progress.closed() => return,
    };
    progress.send_replace(Progress { written: scratch.written, ended: Some(ended) });
    // The room is taken as long as the file is.
    progress.closed().await;
}

fn read(
    file: Arc<File>,
    mut progress: watch::Receiver<Progress>,
) -> impl Stream<Item = Result<Bytes, LinkError>> + Send {
    async_stream::try_stream! {
        let mut at = 0;
        loop {
            let now = progress.borrow_and_update().clone();
            if at < now.written {
                let piece = read_at(&file, at, now.written).await?;
                at += piece.len() as u64;
                yield piece;
                continue;
            }
            match now.ended {
                Some(ended) => {
                    ended?;
                    return;
                }
                None => progress.changed().await.map_err(|_| broken("the agent stops"))?,
            }
        }
    }
}

async fn read_at(file: &Arc<File>, at: u64, end: u64) -> Result<Bytes, LinkError> {
    let file = Arc::clone(file);
    let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(CHUNK_BYTES);
    let read = move || -> io::Result<Bytes> {
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, at)?;
        Ok(bytes.into())
    };
    blocking(read).await
}

impl Scratch {
    async fn push(&mut self, piece: &[u8]) -> Result<(), LinkError> {
        self.pending.extend_from_slice(piece);
        if self.pending.len() >= CHUNK_BYTES { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), LinkError> {
        let bytes = std::mem::take(&mut self.pending);
        let (count, at) = (bytes.len() as u64, self.written);
        if at + count > BYTES_MAX {
            let limit = BYTES_MAX >> 30;
            return Err(broken(format!("it is larger than the {limit} GiB that are carried at once")));
        }
        let used = self.room.used.fetch_add(count, Ordering::Relaxed) + count;
        self.room.bytes += count;
        if used > TOTAL_BYTES_MAX {
            return Err(broken("too many files are on their way on this machine; try again later"));
        }
        let file = Arc::clone(&self.file);
        let write = move || -> io::Result<bool> {
            let disk = rustix::fs::fstatvfs(&*file)?;
            if disk.f_bavail.saturating_mul(disk.f_frsize) < FREE_BYTES_MIN {
                return Ok(false);
            }
            file.write_all_at(&bytes, at).map(|()| true)
        };
        if !blocking(write).await? {
            return Err(broken("the machine's disk is full"));
        }
        self.written += count;
        self.pending = Vec::with_capacity(CHUNK_BYTES);
        Ok(())
    }
}

impl Spooled {
    /// From its beginning to its end.
    pub(crate) fn stream(self) -> impl Stream<Item = Result<Bytes, LinkError>> + Send {
        async_stream::try_stream! {
            let all = self;
            let mut at = 0;
            while at < all.bytes {
                let piece = read_at(&all.file, at, all.bytes).await?;
                at += piece.len() as u64;
                yield piece;
            }
        }
    }
}

fn broken(why: impl Into<String>) -> LinkError {
    LinkError::new(LinkErrorCode::Conflict, why)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, LinkError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(io::Error::other);
    done.and_then(|done| done).map_err(|error| broken(format!("the agent's disk: {error}")))
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    fn spool() -> (tempfile::TempDir, Spool) {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::new(folder.path());
        (folder, spool)
    }

    async fn collect(pieces: impl Stream<Item = Result<Bytes, LinkError>>) -> Result<Vec<u8>, LinkError> {
        let mut pieces = std::pin::pin!(pieces);
        let mut all = Vec::new();
        while let Some(piece) = pieces.next().await {
            all.extend_from_slice(&piece?);
        }
        Ok(all)
    }

    fn pieces(count: usize) -> impl Stream<Item = Result<Bytes, LinkError>> + Send {
        stream::iter(
            (0..count).map(|number| Ok(Bytes::from(vec![u8::try_from(number % 251).unwrap(); 100_000]))),
        )
    }

    #[tokio::test]
    async fn what_is_kept_is_given_back_whole_and_leaves_nothing() {
        let (folder, spool) = spool();

        for count in [0, 1, 33] {
            let kept = spool.keep(pieces(count)).await.unwrap();
            assert_eq!(spool.used.load(Ordering::Relaxed), count as u64 * 100_000);
            assert_eq!(collect(kept.stream()).await.unwrap(), collect(pieces(count)).await.unwrap());
        }
        let failing = stream::iter([Ok(Bytes::from_static(b"x")), Err(broken("gone"))]);
        assert_eq!(spool.keep(failing).await.err().unwrap().message, "gone");

        assert_eq!(spool.used.load(Ordering::Relaxed), 0);
        assert_eq!(std::fs::read_dir(folder.path().join("spool")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn it_is_taken_as_fast_as_it_comes_however_slow_the_reader_is() {
        let (_folder, spool) = spool();
        let (taken, mut all_taken) = watch::channel(false);
        let source = pieces(200).chain(stream::once(async move {
            taken.send_replace(true);
            Ok(Bytes::from_static(b"end"))
        }));
        let tasks = TaskTracker::new();

        let passed = spool.pass_on(&tasks, source).await.unwrap();
        all_taken.wait_for(|is_taken| *is_taken).await.unwrap();

        let all = collect(passed).await.unwrap();
        assert_eq!(all.len(), 200 * 100_000 + 3);
        assert!(all.ends_with(b"end"));
        tasks.close();
        tasks.wait().await;
        assert_eq!(spool.used.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn errors_come_after_what_came_before_them() {
        let (_folder, spool) = spool();
        let tasks = TaskTracker::new();
        let source = stream::iter([Ok(Bytes::from_static(b"before")), Err(broken("gone"))]);

        let passed = spool.pass_on(&tasks, source).await.unwrap();
        let error = collect(passed).await.unwrap_err();

        assert_eq!(error.message, "gone");
        // Nobody reads: it is let go.
        let endless = stream::repeat_with(|| Ok(Bytes::from_static(b"x"))).then(|piece| async {
            tokio::task::yield_now().await;
            piece
        });
        drop(spool.pass_on(&tasks, endless).await.unwrap());
        tasks.close();
        tasks.wait().await;
        assert_eq!(spool.used.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn all_together_are_bounded() {
        let (_folder, spool) = spool();
        spool.used.store(TOTAL_BYTES_MAX - 50_000, Ordering::Relaxed);

        assert!(spool.keep(pieces(1)).await.is_err());

        assert_eq!(spool.used.load(Ordering::Relaxed), TOTAL_BYTES_MAX - 50_000, "it is given back");
    }
}
