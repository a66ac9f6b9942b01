//! Logs of long operations: appended to a file, followed live from any offset by any number of readers, read later as
//! long as the file is kept.

use std::collections::HashMap;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::sync::Mutex;

use tokio::sync::watch;
use wire::ids::BuildId;

use crate::blobs::{BlobKind, Blobs};

/// Bytes that one read returns at most.
const MAX_CHUNK_BYTES: u64 = 64 << 10;

/// All logs of operations of this server.
pub struct OperationLogs {
    blobs: Blobs,
    live: Mutex<HashMap<BuildId, watch::Sender<Progress>>>,
}

/// How far an operation has come, as far as followers need to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes in the log.
    pub log_bytes: u64,
    /// Grows with every change of the operation's row.
    pub revision: u64,
    /// Nothing more will come.
    pub has_ended: bool,
}

/// Appends to one log.
pub struct LogWriter {
    file: std::fs::File,
    written: u64,
    limit: u64,
    dropped: u64,
    progress: watch::Sender<Progress>,
}

impl OperationLogs {
    /// Logs in these folders.
    pub fn new(blobs: Blobs) -> Self {
        Self { blobs, live: Mutex::default() }
    }

    fn sender(&self, id: BuildId) -> watch::Sender<Progress> {
        let mut live = self.live.lock().expect("no code panics while it holds this lock");
        live.entry(id).or_insert_with(|| watch::Sender::new(Progress::default())).clone()
    }

    /// Opens a log to append; at most `limit` bytes are kept, the rest is counted.
    pub fn writer(&self, id: BuildId, limit: u64) -> std::io::Result<LogWriter> {
        let path = self.blobs.path(BlobKind::BuildLog, &id.to_string());
        let mut file = std::fs::File::options().create(true).append(true).open(path)?;
        let written = file.seek(SeekFrom::End(0))?;
        let progress = self.sender(id);
        progress.send_modify(|p| p.log_bytes = written);
        Ok(LogWriter { file, written, limit, dropped: 0, progress })
    }

    /// Follows an operation: the receiver changes with its log and its row.
    pub fn follow(&self, id: BuildId) -> watch::Receiver<Progress> {
        self.sender(id).subscribe()
    }

    /// Tells followers that the operation's row has changed.
    pub fn touched(&self, id: BuildId) {
        self.sender(id).send_modify(|p| p.revision += 1);
    }

    /// Tells followers that nothing more will come, and forgets the operation.
    pub fn ended(&self, id: BuildId) {
        let sender = {
            let mut live = self.live.lock().expect("no code panics while it holds this lock");
            live.remove(&id)
        };
        if let Some(sender) = sender {
            sender.send_modify(|p| {
                p.revision += 1;
                p.has_ended = true;
            });
        }
    }

    /// Reads on from an offset; whole UTF-8 characters only, unless the log itself ends inside one. Returns the bytes
    /// consumed and the text. A log that does not exist (yet) is empty.
    pub fn read(&self, id: BuildId, offset: u64) -> std::io::Result<(u64, String)> {
        let mut file = match std::fs::File::open(self.blobs.path(BlobKind::BuildLog, &id.to_string())) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((0, String::new())),
            Err(error) => return Err(error),
        };
        // No file system seeks as far as a number goes.
        if offset >= file.metadata()?.len() {
            return Ok((0, String::new()));
        }
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        file.take(MAX_CHUNK_BYTES).read_to_end(&mut bytes)?;
        let whole = match std::str::from_utf8(&bytes) {
            Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => error.valid_up_to(),
            _ => bytes.len(),
        };
        Ok((whole as u64, String::from_utf8_lossy(&bytes[..whole]).into_owned()))
    }

    /// How many bytes stand behind a text's last appearance; none when it does not appear.
    pub fn bytes_after(&self, id: BuildId, text: &str) -> std::io::Result<u64> {
        let log = match std::fs::read(self.blobs.path(BlobKind::BuildLog, &id.to_string())) {
            Ok(log) => log,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error),
        };
        let found = log.windows(text.len().max(1)).rposition(|window| window == text.as_bytes());
        Ok(found.map_or(0, |at| (log.len() - at - text.len()) as u64))
    }

    /// The last bytes of a log, from the beginning of a line.
    pub fn tail(&self, id: BuildId, bytes: u64) -> std::io::Result<String> {
        let length = match std::fs::metadata(self.blobs.path(BlobKind::BuildLog, &id.to_string())) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        let start = length.saturating_sub(bytes.min(MAX_CHUNK_BYTES));
        let (_, text) = self.read(id, start)?;
        Ok(match text.split_once('\n') {
            Some((_, rest)) if start > 0 => rest.to_owned(),
            _ => text,
        })
    }
}

impl LogWriter {
    /// Appends text.
    pub fn write(&mut self, text: &str) -> std::io::Result<()> {
        let room = self.limit.saturating_sub(self.written);
        let keep = text.floor_char_boundary(usize::try_from(room).unwrap_or(usize::MAX).min(text.len()));
        self.file.write_all(&text.as_bytes()[..keep])?;
        self.written += keep as u64;
        self.dropped += (text.len() - keep) as u64;
        let written = self.written;
        self.progress.send_modify(|p| p.log_bytes = written);
        Ok(())
    }

    /// Says what was dropped, if anything was, and how long the log is.
    pub fn finish(mut self) -> std::io::Result<u64> {
        if self.dropped > 0 {
            let note = format!("\n[{} more bytes of log were dropped]\n", self.dropped);
            self.limit = u64::MAX;
            self.dropped = 0;
            self.write(&note)?;
        }
        Ok(self.written)
    }

    /// Length of the log so far.
    pub fn written(&self) -> u64 {
        self.written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs() -> (tempfile::TempDir, OperationLogs, BuildId) {
        let folder = tempfile::tempdir().unwrap();
        let logs = OperationLogs::new(Blobs::open(folder.path()).unwrap());
        (folder, logs, BuildId(uuid::Uuid::now_v7()))
    }

    #[test]
    fn a_log_can_be_read_from_any_offset() {
        let (_folder, logs, id) = logs();
        let mut writer = logs.writer(id, 1_000).unwrap();
        writer.write("one\n").unwrap();
        writer.write("two 二\n").unwrap();

        assert_eq!(logs.read(id, 0).unwrap(), (12, "one\ntwo 二\n".to_owned()));
        assert_eq!(logs.read(id, 4).unwrap().1, "two 二\n");
        assert_eq!(logs.read(id, 12).unwrap(), (0, String::new()));
        for behind in [9_999, 1 << 53, 1 << 63, u64::MAX] {
            assert_eq!(logs.read(id, behind).unwrap(), (0, String::new()));
        }
        assert_eq!(logs.tail(id, 10).unwrap(), "two 二\n");
    }

    #[test]
    fn a_log_is_bounded_and_says_what_was_dropped() {
        let (_folder, logs, id) = logs();
        let mut writer = logs.writer(id, 5).unwrap();
        writer.write("abc二def").unwrap();

        writer.finish().unwrap();

        assert_eq!(logs.read(id, 0).unwrap().1, "abc\n[6 more bytes of log were dropped]\n");
    }

    #[tokio::test]
    async fn followers_hear_of_text_and_end() {
        let (_folder, logs, id) = logs();
        let mut follower = logs.follow(id);
        let mut writer = logs.writer(id, 1_000).unwrap();

        writer.write("abc").unwrap();
        follower.changed().await.unwrap();
        assert_eq!(follower.borrow_and_update().log_bytes, 3);
        logs.ended(id);
        follower.changed().await.unwrap();
        assert!(follower.borrow_and_update().has_ended);
    }
}
