//! Buffered positional reads of the upload: the file's own cursor is never touched, small neighbouring reads
//! cost one system call.

use std::{
    fs::File,
    io::{self, BufRead, Read},
    os::unix::fs::FileExt,
};

use super::error::ArchiveError;

/// How much is read at once.
const WINDOW_BYTES: usize = 128 * 1024;

/// A part of the upload in memory, moved on demand.
pub(super) struct Window<'a> {
    file: &'a File,
    len: u64,
    buffer: Box<[u8]>,
    base: u64,
    filled: usize,
}

impl<'a> Window<'a> {
    pub(super) fn new(file: &'a File) -> Result<Self, ArchiveError> {
        let len = file.metadata().map_err(ArchiveError::Read)?.len();
        Ok(Self { file, len, buffer: vec![0; WINDOW_BYTES].into(), base: 0, filled: 0 })
    }

    /// The length of the whole upload.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Exactly `count` bytes at `position`; `count` must not exceed the window.
    pub(super) fn exact(&mut self, position: u64, count: usize) -> Result<&[u8], ArchiveError> {
        let offset = self.move_to(position, count).map_err(ArchiveError::Read)?;
        self.buffer[..self.filled].get(offset..offset + count).ok_or(ArchiveError::Truncated)
    }

    /// Up to `most` bytes at `position`: at least one, except at the end of the upload or if `most` is 0.
    pub(super) fn chunk(&mut self, position: u64, most: u64) -> Result<&[u8], ArchiveError> {
        self.chunk_io(position, most).map_err(ArchiveError::Read)
    }

    fn chunk_io(&mut self, position: u64, most: u64) -> io::Result<&[u8]> {
        let offset = self.move_to(position, 1)?;
        let rest = self.buffer[..self.filled].get(offset..).unwrap_or_default();
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Ok(&rest[..rest.len().min(most)])
    }

    /// Makes the window hold `count` bytes at `position`, if the upload has them; returns where they are.
    fn move_to(&mut self, position: u64, count: usize) -> io::Result<usize> {
        if let Some(offset) = position.checked_sub(self.base).and_then(|offset| usize::try_from(offset).ok())
            && offset.saturating_add(count) <= self.filled
        {
            return Ok(offset);
        }
        self.base = position;
        self.filled = 0;
        while self.filled < self.buffer.len() {
            let at = position.saturating_add(self.filled as u64);
            match self.file.read_at(&mut self.buffer[self.filled..], at) {
                Ok(0) => break,
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(0)
    }
}

/// Reads the upload from its beginning.
pub(super) struct Reader<'a> {
    window: Window<'a>,
    position: u64,
}

impl<'a> Reader<'a> {
    pub(super) fn new(window: Window<'a>) -> Self {
        Self { window, position: 0 }
    }

    /// How many bytes have been taken.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Passes over `count` bytes without reading them.
    pub(super) fn skip(&mut self, count: u64) -> Result<(), ArchiveError> {
        let end = self.position.checked_add(count).ok_or(ArchiveError::Truncated)?;
        if end > self.window.len() {
            return Err(ArchiveError::Truncated);
        }
        self.position = end;
        Ok(())
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let chunk = self.window.chunk_io(self.position, into.len() as u64)?;
        let count = chunk.len();
        into[..count].copy_from_slice(chunk);
        self.position += count as u64;
        Ok(count)
    }
}

impl BufRead for Reader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.window.chunk_io(self.position, u64::MAX)
    }

    fn consume(&mut self, count: usize) {
        self.position += count as u64;
    }
}
