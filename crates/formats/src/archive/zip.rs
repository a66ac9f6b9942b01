//! Reads a zip strictly: the central directory decides, and everything else in the file must agree with it.
//!
//! The structure is read here and not by the `zip` crate, because that loads the whole directory, keeps only
//! the last of several equal names and never looks at the local headers; the rules need the opposite of all
//! three. The tests hold this reader against the crate.
//!
//! Methods: store and deflate. Data descriptors and zip64 are understood. Refused: encryption, several parts,
//! overlapping entries, anything before the first entry or after the end.

use std::{borrow::Cow, io::Write};

use chrono::{NaiveDate, NaiveDateTime, NaiveTime};
use encoding_rs::GB18030;
use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::{
    Context, Job, Limits,
    emit::{Content, Emitter, Entry},
    error::{ArchiveError, Shown},
    meter::{Meter, Short, Sink},
    root::RootFinder,
    rules::{NodeKind, clean_name, is_clutter},
    window::Window,
};

const END_SIGNATURE: u32 = 0x0605_4b50;
const END_BYTES: usize = 22;
const END64_LOCATOR_SIGNATURE: u32 = 0x0706_4b50;
const END64_LOCATOR_BYTES: usize = 20;
const END64_SIGNATURE: u32 = 0x0606_4b50;
const END64_BYTES: usize = 56;
const CENTRAL_SIGNATURE: u32 = 0x0201_4b50;
const CENTRAL_BYTES: usize = 46;
const LOCAL_SIGNATURE: u32 = 0x0403_4b50;
const LOCAL_BYTES: usize = 30;
const DESCRIPTOR_SIGNATURE: u32 = 0x0807_4b50;

/// The part of a zip's structure that is no entry, for messages.
const DIRECTORY: &str = "central directory";

const FLAG_ENCRYPTED: u16 = 1;
const FLAG_DESCRIPTOR: u16 = 1 << 3;
const FLAG_PATCH: u16 = 1 << 5;
const FLAG_STRONG_ENCRYPTION: u16 = 1 << 6;
const FLAG_UTF8: u16 = 1 << 11;
const FLAG_MASKED_HEADERS: u16 = 1 << 13;
/// The flags on which both headers must agree; the others are hints of the compressor.
const FLAGS_COMPARED: u16 =
    FLAG_ENCRYPTED | FLAG_DESCRIPTOR | FLAG_PATCH | FLAG_STRONG_ENCRYPTION | FLAG_UTF8 | FLAG_MASKED_HEADERS;

const METHOD_STORE: u16 = 0;
const METHOD_DEFLATE: u16 = 8;

const EXTRA_ZIP64: u16 = 1;
const EXTRA_TIME: u16 = 0x5455;
const EXTRA_UNICODE_PATH: u16 = 0x7075;

const HOST_UNIX: u8 = 3;
const HOST_MAC: u8 = 19;

const MODE_KIND: u32 = 0o170_000;

/// Reads the zip and writes the context.
pub(super) fn transcode(
    job: &Job<'_>,
    mut window: Window<'_>,
    out: &mut dyn Write,
) -> Result<Context, ArchiveError> {
    let directory = Directory::find(&mut window, job.limits)?;
    let layout = Layout::survey(job, &directory)?;

    let mut extractor = Extractor {
        window,
        layout: &layout.spans,
        directory_start: directory.start,
        inflater: Decompress::new(false),
        meter: Meter::new(job),
    };
    let mut emitter = Emitter::new(job, layout.folder.clone(), out);
    let mut records = Records::new(job, &directory)?;
    while let Some(record) = records.next()? {
        extractor.meter.add_record()?;
        let name = record.name()?;
        let clean = clean_name(&name, job.limits)?;
        let kind = record.kind(clean.is_folder)?;
        if is_clutter(clean.path) {
            continue;
        }

        let data_start = extractor.open(&record)?;
        let target;
        let content = match kind {
            NodeKind::Folder => Content::Folder,
            NodeKind::File => Content::File { size: record.size, is_executable: record.is_executable() },
            NodeKind::Link => {
                let mut short = Short::new(job.limits.name_bytes, record.shown());
                extractor.unpack(&record, data_start, &mut short)?;
                target = String::from_utf8(short.bytes().to_vec())
                    .map_err(|_| ArchiveError::NameEncoding { name: record.shown() })?;
                Content::Link { target: &target }
            }
        };
        if emitter.begin(&Entry { path: clean.path, content, mtime: record.mtime })? {
            extractor.unpack(&record, data_start, &mut emitter)?;
            emitter.end()?;
        }
    }
    emitter.finish()
}

/// Where the central directory lies.
struct Directory {
    start: u64,
    end: u64,
    count: u64,
}

impl Directory {
    /// Finds the directory through the record at the very end of the file, and requires that the two touch.
    fn find(window: &mut Window<'_>, limits: &Limits) -> Result<Self, ArchiveError> {
        let end_at = find_end(window)?;
        let end = Fields(window.exact(end_at, END_BYTES)?);
        let (disk, directory_disk) = (end.u16(4), end.u16(6));
        let (count_here, count) = (end.u16(8), end.u16(10));
        let (size, start) = (end.u32(12), end.u32(16));

        let locator_at = end_at.checked_sub(END64_LOCATOR_BYTES as u64);
        let locator = match locator_at {
            Some(at) => {
                let fields = Fields(window.exact(at, END64_LOCATOR_BYTES)?);
                (fields.u32(0) == END64_LOCATOR_SIGNATURE)
                    .then(|| (at, fields.u32(4), fields.u64(8), fields.u32(16)))
            }
            None => None,
        };

        let directory = if let Some((locator_at, end64_disk, end64_at, disks)) = locator {
            if end64_disk != 0 || disks > 1 {
                return Err(ArchiveError::Split);
            }
            let mismatch = || ArchiveError::Zip64Mismatch { name: Shown::new(DIRECTORY) };
            if end64_at.checked_add(END64_BYTES as u64).is_none_or(|after| after > locator_at) {
                return Err(mismatch());
            }
            let end64 = Fields(window.exact(end64_at, END64_BYTES)?);
            let record_end = end64.u64(4).checked_add(12).and_then(|length| end64_at.checked_add(length));
            if end64.u32(0) != END64_SIGNATURE || record_end != Some(locator_at) {
                return Err(mismatch());
            }
            if end64.u32(16) != 0 || end64.u32(20) != 0 || end64.u64(24) != end64.u64(32) {
                return Err(ArchiveError::Split);
            }
            let (count64, size64, start64) = (end64.u64(32), end64.u64(40), end64.u64(48));
            let agrees = (count == u16::MAX || u64::from(count) == count64)
                && (size == u32::MAX || u64::from(size) == size64)
                && (start == u32::MAX || u64::from(start) == start64);
            if !agrees || start64.checked_add(size64) != Some(end64_at) {
                return Err(mismatch());
            }
            Self { start: start64, end: end64_at, count: count64 }
        } else {
            if disk != 0 || directory_disk != 0 || count_here != count {
                return Err(ArchiveError::Split);
            }
            let (size, start) = (u64::from(size), u64::from(start));
            if start + size != end_at {
                return Err(ArchiveError::ExtraData { what: "bytes between the directory and the end" });
            }
            Self { start, end: start + size, count: u64::from(count) }
        };

        if directory.count > Meter::max_records(limits) {
            return Err(ArchiveError::TooManyEntries { limit: limits.entries });
        }
        Ok(directory)
    }
}

/// Finds the end record. Only its comment may follow it, and only one place may look like it: programs search
/// from different sides.
fn find_end(window: &mut Window<'_>) -> Result<u64, ArchiveError> {
    let len = window.len();
    let search = len.min((END_BYTES + usize::from(u16::MAX)) as u64);
    let start = len - search;
    let tail = window.exact(start, usize::try_from(search).unwrap_or(usize::MAX))?;

    let mut found = None;
    let mut has_early_end = false;
    for (index, candidate) in tail.windows(END_BYTES).enumerate() {
        let candidate = Fields(candidate);
        if candidate.u32(0) != END_SIGNATURE {
            continue;
        }
        let after = index + END_BYTES + usize::from(candidate.u16(20));
        if after == tail.len() && found.replace(index).is_some() {
            return Err(ArchiveError::ExtraData { what: "two ends" });
        }
        has_early_end |= after < tail.len();
    }
    match found {
        Some(index) => Ok(start + index as u64),
        None if has_early_end => Err(ArchiveError::ExtraData { what: "bytes after its end" }),
        None => Err(ArchiveError::Truncated),
    }
}

/// The first pass: where the entries lie, and which folder is the root. No content is read.
struct Layout {
    /// Start of each entry, ascending.
    spans: Vec<u64>,
    folder: Option<String>,
}

impl Layout {
    fn survey(job: &Job<'_>, directory: &Directory) -> Result<Self, ArchiveError> {
        let mut records = Records::new(job, directory)?;
        let mut meter = Meter::new(job);
        let mut root = job.dockerfile.map(RootFinder::new);
        let mut announced = 0_u64;
        let mut spans = Vec::with_capacity(usize::try_from(directory.count).unwrap_or_default());
        while let Some(record) = records.next()? {
            meter.add_record()?;
            let name = record.name()?;
            let clean = clean_name(&name, job.limits)?;
            let kind = record.kind(clean.is_folder)?;
            if let Some(root) = &mut root {
                root.see(clean.path, kind);
            }

            announced = announced.saturating_add(record.size);
            meter.check_announced(announced)?;
            let shortest = (LOCAL_BYTES + record.raw_name.len()) as u64;
            let end = record.offset.saturating_add(shortest).saturating_add(record.packed);
            spans.push((record.offset, end));
        }
        if records.position != directory.end {
            return Err(ArchiveError::ExtraData { what: "more in its directory than it counts" });
        }

        spans.sort_unstable();
        if spans.first().is_some_and(|&(start, _)| start != 0) {
            return Err(ArchiveError::ExtraData { what: "bytes before its first entry" });
        }
        let nexts = spans.iter().skip(1).map(|&(start, _)| start).chain([directory.start]);
        if let Some((&(start, _), _)) = spans.iter().zip(nexts).find(|&(&(_, end), next)| end > next) {
            return Err(Self::overlap(job, directory, start)?);
        }
        let spans = spans.into_iter().map(|(start, _)| start).collect();
        let folder = root.map(RootFinder::decide).transpose()?.flatten();
        Ok(Self { spans, folder })
    }

    /// Names the entry at `offset`, which overlaps the next.
    fn overlap(job: &Job<'_>, directory: &Directory, offset: u64) -> Result<ArchiveError, ArchiveError> {
        let mut records = Records::new(job, directory)?;
        while let Some(record) = records.next()? {
            if record.offset == offset {
                return Ok(ArchiveError::Overlap { name: record.shown() });
            }
        }
        Ok(ArchiveError::Overlap { name: Shown::new(DIRECTORY) })
    }
}

/// One entry of the central directory.
struct Record {
    raw_name: Vec<u8>,
    unicode_name: Option<Vec<u8>>,
    flags: u16,
    method: u16,
    crc: u32,
    packed: u64,
    size: u64,
    offset: u64,
    host: u8,
    mode: u32,
    mtime: i64,
}

impl Record {
    fn shown(&self) -> Shown {
        match self.name() {
            Ok(name) => Shown::new(&name),
            Err(_) => Shown::from_bytes(&self.raw_name),
        }
    }

    fn mismatch(&self, field: &'static str) -> ArchiveError {
        ArchiveError::HeaderMismatch { name: self.shown(), field }
    }

    /// The name as text. Without the flag for UTF-8 a zip says nothing about its encoding; what is not UTF-8
    /// then is in practice from a Chinese Windows, and the decoder refuses what cannot be that.
    fn name(&self) -> Result<Cow<'_, str>, ArchiveError> {
        let unknown = || ArchiveError::NameEncoding { name: Shown::from_bytes(&self.raw_name) };
        let raw = self.unicode_name.as_deref().unwrap_or(&self.raw_name);
        match std::str::from_utf8(raw) {
            Ok(name) => Ok(Cow::Borrowed(name)),
            Err(_) if self.flags & FLAG_UTF8 != 0 || self.unicode_name.is_some() => Err(unknown()),
            Err(_) => GB18030.decode_without_bom_handling_and_without_replacement(raw).ok_or_else(unknown),
        }
    }

    /// What the entry is, by its Unix mode and the slash at the end of its name.
    fn kind(&self, is_folder: bool) -> Result<NodeKind, ArchiveError> {
        let device = |kind| Err(ArchiveError::Device { name: self.shown(), kind });
        let kind = match (self.mode & MODE_KIND, is_folder) {
            (0, true) | (0o040_000, _) => NodeKind::Folder,
            (0 | 0o100_000, false) => NodeKind::File,
            (0o120_000, false) => NodeKind::Link,
            (0o100_000 | 0o120_000, true) => return Err(self.mismatch("kind")),
            (0o010_000, _) => return device("pipe"),
            (0o020_000, _) => return device("character device"),
            (0o060_000, _) => return device("block device"),
            (0o140_000, _) => return device("socket"),
            _ => return Err(ArchiveError::EntryType { name: self.shown() }),
        };
        if kind == NodeKind::Folder && self.size != 0 {
            return Err(self.mismatch("size"));
        }
        Ok(kind)
    }

    /// Whether the file may be run. A zip from Windows does not say, and then, as the docker client does
    /// there, every file may.
    fn is_executable(&self) -> bool {
        let knows_mode = self.mode != 0 || matches!(self.host, HOST_UNIX | HOST_MAC);
        !knows_mode || self.mode & 0o111 != 0
    }
}

/// Walks through the central directory.
struct Records<'a> {
    window: Window<'a>,
    limits: &'a Limits,
    position: u64,
    end: u64,
    left: u64,
}

impl<'a> Records<'a> {
    fn new(job: &Job<'a>, directory: &Directory) -> Result<Self, ArchiveError> {
        let (position, end) = (directory.start, directory.end);
        Ok(Self {
            window: Window::new(job.upload)?,
            limits: job.limits,
            position,
            end,
            left: directory.count,
        })
    }

    fn next(&mut self) -> Result<Option<Record>, ArchiveError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;

        let damaged = |what| ArchiveError::Corrupt { name: Shown::new(DIRECTORY), what };
        let short = || damaged("it is shorter than it says");
        let name_at = self.position + CENTRAL_BYTES as u64;
        if name_at > self.end {
            return Err(short());
        }
        let fixed = Fields(self.window.exact(self.position, CENTRAL_BYTES)?);
        if fixed.u32(0) != CENTRAL_SIGNATURE {
            return Err(damaged("an entry does not begin where it should"));
        }
        let host = fixed.0[5];
        let (flags, method) = (fixed.u16(8), fixed.u16(10));
        let dos_time = (fixed.u16(12), fixed.u16(14));
        let (crc, packed, size) = (fixed.u32(16), fixed.u32(20), fixed.u32(24));
        let (name_len, extra_len, comment_len) = (fixed.u16(28), fixed.u16(30), fixed.u16(32));
        let (disk, mode, offset) = (fixed.u16(34), fixed.u32(38) >> 16, fixed.u32(42));

        let (name_len, extra_len) = (usize::from(name_len), usize::from(extra_len));
        let extra_at = name_at + name_len as u64;
        let next_at = extra_at + extra_len as u64 + u64::from(comment_len);
        if next_at > self.end {
            return Err(short());
        }
        let raw_name = self.window.exact(name_at, name_len)?;
        if name_len > self.limits.name_bytes {
            let name = Shown::from_bytes(raw_name);
            return Err(ArchiveError::NameTooLong { name, limit: self.limits.name_bytes });
        }
        let mut record = Record {
            raw_name: raw_name.to_vec(),
            unicode_name: None,
            flags,
            method,
            crc,
            packed: u64::from(packed),
            size: u64::from(size),
            offset: u64::from(offset),
            host,
            mode,
            mtime: dos_mtime(dos_time),
        };
        let extra = Extra::parse(self.window.exact(extra_at, extra_len)?).ok_or_else(|| {
            ArchiveError::Corrupt { name: record.shown(), what: "its extra fields do not add up" }
        })?;
        if let Some(name) = extra.unicode_name(&record.raw_name) {
            if name.len() > self.limits.name_bytes {
                let name = Shown::from_bytes(name);
                return Err(ArchiveError::NameTooLong { name, limit: self.limits.name_bytes });
            }
            record.unicode_name = Some(name.to_vec());
        }
        if let Some(mtime) = extra.mtime {
            record.mtime = i64::from(mtime);
        }
        widen(extra.zip64, &mut [&mut record.size, &mut record.packed, &mut record.offset])
            .ok_or_else(|| ArchiveError::Zip64Mismatch { name: record.shown() })?;
        self.position = next_at;

        if disk != 0 {
            return Err(ArchiveError::Split);
        }
        if flags & (FLAG_ENCRYPTED | FLAG_STRONG_ENCRYPTION | FLAG_MASKED_HEADERS) != 0 {
            return Err(ArchiveError::Encrypted { name: record.shown() });
        }
        if flags & FLAG_PATCH != 0 || !matches!(method, METHOD_STORE | METHOD_DEFLATE) {
            return Err(ArchiveError::MethodUnsupported { name: record.shown(), method });
        }
        if method == METHOD_STORE && record.packed != record.size {
            return Err(record.mismatch("size"));
        }
        Ok(Some(record))
    }
}

/// Reads contents.
struct Extractor<'a> {
    window: Window<'a>,
    layout: &'a [u64],
    directory_start: u64,
    inflater: Decompress,
    meter: Meter<'a>,
}

impl Extractor<'_> {
    /// Checks the local header of an entry, and that the whole entry ends before the next one begins; says
    /// where the content starts.
    fn open(&mut self, record: &Record) -> Result<u64, ArchiveError> {
        let local = Fields(self.window.exact(record.offset, LOCAL_BYTES)?);
        if local.u32(0) != LOCAL_SIGNATURE {
            return Err(record.mismatch("place"));
        }
        let (flags, method) = (local.u16(6), local.u16(8));
        let (crc, packed, size) = (local.u32(14), local.u32(18), local.u32(22));
        let (name_len, extra_len) = (usize::from(local.u16(26)), usize::from(local.u16(28)));
        if (flags ^ record.flags) & FLAGS_COMPARED != 0 {
            return Err(record.mismatch("flags"));
        }
        if method != record.method {
            return Err(record.mismatch("compression method"));
        }

        let name_at = record.offset + LOCAL_BYTES as u64;
        if self.window.exact(name_at, name_len)? != record.raw_name {
            return Err(record.mismatch("name"));
        }
        let extra_at = name_at + name_len as u64;
        let extra = Extra::parse(self.window.exact(extra_at, extra_len)?).ok_or_else(|| {
            ArchiveError::Corrupt { name: record.shown(), what: "its extra fields do not add up" }
        })?;
        let (mut size, mut packed) = (u64::from(size), u64::from(packed));
        widen(extra.zip64, &mut [&mut size, &mut packed])
            .ok_or_else(|| ArchiveError::Zip64Mismatch { name: record.shown() })?;
        // With a descriptor the true values come after the content, and here may stand zeros.
        let has_descriptor = flags & FLAG_DESCRIPTOR != 0;
        let agrees = |here: u64, there: u64| here == there || (has_descriptor && here == 0);
        if !agrees(size, record.size) || !agrees(packed, record.packed) {
            return Err(record.mismatch("size"));
        }
        if !agrees(u64::from(crc), u64::from(record.crc)) {
            return Err(record.mismatch("check sum"));
        }

        let start = extra_at + extra_len as u64;
        let after = self.layout.partition_point(|&other| other <= record.offset);
        let next = self.layout.get(after).copied().unwrap_or(self.directory_start);
        let overlap = || ArchiveError::Overlap { name: record.shown() };
        let data_end = start.checked_add(record.packed).filter(|&end| end <= next).ok_or_else(overlap)?;
        if has_descriptor {
            self.check_descriptor(record, data_end, next)?;
        }
        Ok(start)
    }

    /// Checks the descriptor after a content. Four forms are in use: with or without a signature, with sizes
    /// of 32 or 64 bits.
    fn check_descriptor(&mut self, record: &Record, at: u64, next: u64) -> Result<(), ArchiveError> {
        let room = self.window.chunk(at, (next - at).min(24))?;
        let narrow =
            |fields: &Fields<'_>| (fields.u32(0), u64::from(fields.u32(4)), u64::from(fields.u32(8)));
        let wide = |fields: &Fields<'_>| (fields.u32(0), fields.u64(4), fields.u64(12));
        let expected = (record.crc, record.packed, record.size);

        let bodies = [(room.starts_with(&DESCRIPTOR_SIGNATURE.to_le_bytes()), 4), (true, 0)];
        let is_found = bodies.into_iter().filter(|&(applies, _)| applies).any(|(_, skip)| {
            let body = Fields(room.get(skip..).unwrap_or_default());
            (body.0.len() >= 12 && narrow(&body) == expected)
                || (body.0.len() >= 20 && wide(&body) == expected)
        });
        if is_found { Ok(()) } else { Err(record.mismatch("data descriptor")) }
    }

    /// Unpacks the content of an entry into `sink`, which gets no more than the announced size.
    fn unpack(&mut self, record: &Record, data_start: u64, sink: &mut dyn Sink) -> Result<(), ArchiveError> {
        let size_mismatch = || ArchiveError::SizeMismatch { name: record.shown() };
        let corrupt = |what| ArchiveError::Corrupt { name: record.shown(), what };
        let mut crc = Crc::new();
        let (mut consumed, mut produced) = (0_u64, 0_u64);
        self.inflater.reset(false);
        loop {
            let input = self.window.chunk(data_start + consumed, record.packed - consumed)?;
            let space = sink.space()?;
            let (taken, given, is_end) = if record.method == METHOD_STORE {
                let count = input.len().min(space.len());
                space[..count].copy_from_slice(&input[..count]);
                (count, count, consumed + count as u64 == record.packed)
            } else {
                let (total_in, total_out) = (self.inflater.total_in(), self.inflater.total_out());
                let status = self
                    .inflater
                    .decompress(input, space, FlushDecompress::None)
                    .map_err(|_| corrupt("its compressed content is invalid"))?;
                let taken = self.inflater.total_in() - total_in;
                let given = self.inflater.total_out() - total_out;
                let count = |number| usize::try_from(number).unwrap_or(usize::MAX);
                (count(taken), count(given), status == Status::StreamEnd)
            };
            consumed += taken as u64;
            produced += given as u64;
            if produced > record.size {
                return Err(size_mismatch());
            }
            crc.update(&space[..given]);
            self.meter.add(given, taken as u64)?;
            sink.advance(given)?;
            if is_end {
                break;
            }
            if taken == 0 && given == 0 {
                return Err(corrupt("its compressed content has no end"));
            }
        }
        if consumed != record.packed {
            return Err(record.mismatch("compressed size"));
        }
        if produced != record.size {
            return Err(size_mismatch());
        }
        if crc.sum() != record.crc {
            return Err(corrupt("its check sum is wrong"));
        }
        Ok(())
    }
}

/// The extra fields of an entry that matter here.
#[derive(Default)]
struct Extra<'a> {
    zip64: Option<&'a [u8]>,
    unicode_path: Option<&'a [u8]>,
    mtime: Option<i32>,
}

impl<'a> Extra<'a> {
    /// Splits the extra fields; nothing if they do not add up. Up to three zeros at the end are what
    /// `zipalign` leaves.
    fn parse(mut bytes: &'a [u8]) -> Option<Self> {
        let mut extra = Self::default();
        while bytes.len() >= 4 {
            let head = Fields(bytes);
            let (id, len) = (head.u16(0), usize::from(head.u16(2)));
            let field = bytes.get(4..4 + len)?;
            bytes = &bytes[4 + len..];
            match id {
                EXTRA_ZIP64 if extra.zip64.replace(field).is_some() => return None,
                EXTRA_UNICODE_PATH if extra.unicode_path.replace(field).is_some() => return None,
                EXTRA_TIME if field.len() >= 5 && field[0] & 1 != 0 => {
                    extra.mtime = Some(Fields(field).u32(1).cast_signed());
                }
                _ => {}
            }
        }
        bytes.iter().all(|&byte| byte == 0).then_some(extra)
    }

    /// The name in UTF-8 that some programs add to one in another encoding; it counts only if it was made
    /// for this very name.
    fn unicode_name(&self, raw_name: &[u8]) -> Option<&'a [u8]> {
        let field = self.unicode_path.filter(|field| field.len() > 5 && field[0] == 1)?;
        let mut crc = Crc::new();
        crc.update(raw_name);
        (Fields(field).u32(1) == crc.sum()).then_some(&field[5..])
    }
}

/// Replaces values that did not fit into 32 bits by the ones in the zip64 field, which holds only those, in
/// order. Some programs repeat values there that did fit: then they must be the same. Nothing if it is wrong.
fn widen(zip64: Option<&[u8]>, values: &mut [&mut u64]) -> Option<()> {
    let is_saturated = |value: &u64| *value == u64::from(u32::MAX);
    let mut rest = zip64.unwrap_or_default();
    if values.iter().any(|value| is_saturated(value)) {
        for value in values.iter_mut().filter(|value| is_saturated(value)) {
            let (wide, after) = rest.split_first_chunk::<8>()?;
            **value = u64::from_le_bytes(*wide);
            rest = after;
        }
        // What may remain is the number of the disk, and there is only one.
        return (rest.is_empty() || rest == [0; 4]).then_some(());
    }
    for value in values {
        let Some((wide, after)) = rest.split_first_chunk::<8>() else { break };
        if u64::from_le_bytes(*wide) != **value {
            return None;
        }
        rest = after;
    }
    (rest.is_empty() || rest == [0; 4]).then_some(())
}

/// Little-endian numbers at fixed places of a slice whose length was checked.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.array(at))
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.array(at))
    }
}

/// A time as DOS writes it, two seconds exact and in no particular zone, here taken as UTC.
fn dos_mtime((time, date): (u16, u16)) -> i64 {
    let (time, date) = (u32::from(time), u32::from(date));
    let year = 1980 + (date >> 9).cast_signed();
    let day = NaiveDate::from_ymd_opt(year, date >> 5 & 15, date & 31);
    let second = NaiveTime::from_hms_opt(time >> 11, time >> 5 & 63, (time & 31) * 2);
    match (day, second) {
        (Some(day), Some(second)) => NaiveDateTime::new(day, second).and_utc().timestamp(),
        _ => 0,
    }
}
