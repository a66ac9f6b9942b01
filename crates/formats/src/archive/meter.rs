//! Counts what an archive has unpacked to so far and stops it at the limits. It sees real bytes, never what
//! a header says.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{
    Job, Limits,
    error::{ArchiveError, Shown},
};

/// How many raw records there may be for each allowed entry: a tar needs up to three extension records for
/// one file, a zip from a Mac two entries.
const RECORDS_PER_ENTRY: u64 = 4;

/// The count for one pass over an archive.
pub(super) struct Meter<'a> {
    limits: &'a Limits,
    cancelled: &'a AtomicBool,
    unpacked: u64,
    packed: u64,
    records: u64,
}

impl<'a> Meter<'a> {
    pub(super) fn new(job: &Job<'a>) -> Self {
        Self { limits: job.limits, cancelled: job.cancelled, unpacked: 0, packed: 0, records: 0 }
    }

    /// The largest number of raw records that an archive may have.
    pub(super) fn max_records(limits: &Limits) -> u64 {
        u64::from(limits.entries) * RECORDS_PER_ENTRY + 16
    }

    /// Counts a raw record, whatever becomes of it.
    pub(super) fn add_record(&mut self) -> Result<(), ArchiveError> {
        self.records += 1;
        if self.records > Self::max_records(self.limits) {
            return Err(ArchiveError::TooManyEntries { limit: self.limits.entries });
        }
        self.check_cancelled()
    }

    /// Counts bytes that came out, given how many of the upload have gone in since the last call.
    pub(super) fn add(&mut self, unpacked: usize, packed: u64) -> Result<(), ArchiveError> {
        self.check_cancelled()?;
        self.unpacked += unpacked as u64;
        self.packed += packed;
        if self.unpacked > self.limits.unpacked_bytes {
            return Err(ArchiveError::TooLarge { limit: self.limits.unpacked_bytes });
        }
        let allowed = self.packed.saturating_mul(u64::from(self.limits.ratio));
        if self.unpacked > self.limits.ratio_after_bytes && self.unpacked > allowed {
            return Err(ArchiveError::Ratio { limit: self.limits.ratio });
        }
        Ok(())
    }

    /// Refuses early what would by its own account exceed the limit.
    pub(super) fn check_announced(&self, size: u64) -> Result<(), ArchiveError> {
        if self.unpacked.saturating_add(size) > self.limits.unpacked_bytes {
            return Err(ArchiveError::TooLarge { limit: self.limits.unpacked_bytes });
        }
        Ok(())
    }

    fn check_cancelled(&self) -> Result<(), ArchiveError> {
        if self.cancelled.load(Ordering::Relaxed) { Err(ArchiveError::Cancelled) } else { Ok(()) }
    }
}

/// Where the bytes of one entry go.
pub(super) trait Sink {
    /// Room for the next bytes, never empty.
    fn space(&mut self) -> Result<&mut [u8], ArchiveError>;

    /// Takes the first `count` bytes of `space`.
    fn advance(&mut self, count: usize) -> Result<(), ArchiveError>;
}

/// Collects something short, such as the target of a link.
pub(super) struct Short {
    bytes: Vec<u8>,
    used: usize,
    name: Shown,
}

impl Short {
    /// Takes at most `limit` bytes for `name`.
    pub(super) fn new(limit: usize, name: Shown) -> Self {
        // One more than allowed, so that there is always room and too much shows.
        Self { bytes: vec![0; limit + 1], used: 0, name }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.used]
    }
}

impl Sink for Short {
    fn space(&mut self) -> Result<&mut [u8], ArchiveError> {
        Ok(&mut self.bytes[self.used..])
    }

    fn advance(&mut self, count: usize) -> Result<(), ArchiveError> {
        self.used += count;
        if self.used == self.bytes.len() {
            let limit = self.bytes.len() - 1;
            return Err(ArchiveError::NameTooLong { name: self.name.clone(), limit });
        }
        Ok(())
    }
}
