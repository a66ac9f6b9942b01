//! Reads a tar, plain or in gzip, strictly: one header, at most one long name, at most one pax record with
//! exactly the keys that matter, and a proper end.
//!
//! The blocks are walked here and not by the `tar` crate, which reads long names of any length into memory and
//! lets several sources of a name or a size override each other; the crate still reads and writes the headers
//! themselves. Refused: sparse files, hard links, devices, sizes in pax records that differ from the header's,
//! anything but zeros after the end, a missing end.
//!
//! A tar in gzip whose names all lie in one folder is unpacked twice, because only its last name tells whether
//! that folder is the root; all others are settled after a few entries.

use std::{
    io::{self, BufRead, Read, Write},
    str,
};

use ::tar::{EntryType, Header};
use flate2::bufread::GzDecoder;

use super::{
    Context, Job, Limits,
    emit::{Content, Emitter, Entry},
    error::{ArchiveError, Shown},
    meter::{Meter, Sink},
    root::RootFinder,
    rules::{clean_name, is_clutter},
    window::Reader,
};

/// The unit of a tar.
pub(super) const BLOCK: usize = 512;
/// How large a record may be that only extends a header.
const MAX_EXTENSION_BYTES: u64 = 64 * 1024;
/// How many zeros may follow the end; `tar` fills up to its blocking factor.
const MAX_END_BYTES: u64 = 8 << 20;
/// How many gzip members may follow each other: enough for 4 GiB in the 64 KiB blocks of bgzip.
const MAX_GZIP_MEMBERS: u32 = 100_000;
const SKIP_BYTES: usize = 64 * 1024;

/// What a gzip file of something else is.
const NO_TAR: ArchiveError = ArchiveError::NotAnArchive { found: "a gzip file without a tar in it" };

/// Whether a block is a tar header, or the first of the zeros that end an empty tar.
pub(super) fn looks_like_tar(block: &[u8]) -> bool {
    let Ok(block) = <&[u8; BLOCK]>::try_from(block) else { return false };
    is_zero(block) || has_checksum(block)
}

/// Reads the tar and writes the context. `open` starts reading at the beginning of the upload.
pub(super) fn transcode<'a>(
    job: &Job<'a>,
    open: impl Fn() -> Result<Source<'a>, ArchiveError>,
    out: &'a mut dyn Write,
) -> Result<Context, ArchiveError> {
    let folder = find_root(job, open()?)?;

    let mut walker = Walker::new(job, open()?);
    let mut emitter = Emitter::new(job, folder, out);
    while let Some(member) = walker.next()? {
        let clean = clean_name(&member.name, job.limits)?;
        let content = member.content(clean.is_folder)?;
        let entry = Entry { path: clean.path, content, mtime: member.mtime };
        if emitter.begin(&entry)? {
            walker.copy(&mut emitter)?;
            emitter.end()?;
        }
    }
    emitter.finish()
}

/// The first pass: which folder is the root.
fn find_root<'a>(job: &Job<'a>, source: Source<'a>) -> Result<Option<String>, ArchiveError> {
    let Some(dockerfile) = job.dockerfile else { return Ok(None) };
    let mut walker = Walker::new(job, source);
    let mut root = RootFinder::new(dockerfile);
    while let Some(member) = walker.next()? {
        let clean = clean_name(&member.name, job.limits)?;
        if !is_clutter(clean.path) {
            root.see(clean.path, member.content(clean.is_folder)?.kind());
        }
        if root.is_settled() {
            return Ok(None);
        }
    }
    root.decide()
}

/// The bytes of a tar.
pub(super) enum Source<'a> {
    /// The upload itself.
    Plain(Reader<'a>),
    /// What is packed in the upload.
    Gzip {
        /// Where the reader is.
        state: GzipState<'a>,
        /// How many more members there may be.
        members_left: u32,
    },
}

/// Where a gzip reader is.
pub(super) enum GzipState<'a> {
    Member(Box<GzDecoder<Reader<'a>>>),
    Ended { packed: u64 },
}

impl<'a> Source<'a> {
    pub(super) fn gzip(reader: Reader<'a>) -> Self {
        let state = GzipState::Member(Box::new(GzDecoder::new(reader)));
        Self::Gzip { state, members_left: MAX_GZIP_MEMBERS }
    }

    /// How many bytes of the upload have been taken.
    fn packed(&self) -> u64 {
        match self {
            Self::Plain(reader) => reader.position(),
            Self::Gzip { state: GzipState::Member(member), .. } => member.get_ref().position(),
            Self::Gzip { state: GzipState::Ended { packed }, .. } => *packed,
        }
    }

    /// Reads some bytes; none at the end.
    fn read(&mut self, into: &mut [u8]) -> Result<usize, ArchiveError> {
        loop {
            let (state, members_left) = match self {
                Self::Plain(reader) => return reader.read(into).map_err(ArchiveError::Read),
                Self::Gzip { state, members_left } => (state, members_left),
            };
            let GzipState::Member(member) = state else { return Ok(0) };
            let count = member.read(into).map_err(gzip_error)?;
            if count > 0 || into.is_empty() {
                return Ok(count);
            }

            // One member has ended and its check sum was right. Another may follow, as if they were one.
            let rest = member.get_mut();
            let magic = rest.fill_buf().map_err(ArchiveError::Read)?;
            match magic {
                [] => *state = GzipState::Ended { packed: rest.position() },
                [0x1f, 0x8b, ..] | [0x1f] => {
                    *members_left = members_left.checked_sub(1).ok_or_else(|| ArchiveError::Corrupt {
                        name: Shown::new("gzip"),
                        what: "it has too many members",
                    })?;
                    let GzipState::Member(member) = std::mem::replace(state, GzipState::Ended { packed: 0 })
                    else {
                        return Ok(0);
                    };
                    *state = GzipState::Member(Box::new(GzDecoder::new(member.into_inner())));
                }
                _ => return Err(ArchiveError::ExtraData { what: "bytes after its gzip end" }),
            }
        }
    }
}

/// Tells a file that ends early from one that is wrong and from a disk that fails.
fn gzip_error(error: io::Error) -> ArchiveError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ArchiveError::Truncated,
        _ if error.raw_os_error().is_some() => ArchiveError::Read(error),
        _ => ArchiveError::Corrupt { name: Shown::new("gzip"), what: "its compressed content is invalid" },
    }
}

/// An entry as the tar gives it.
struct Member {
    name: String,
    target: Option<String>,
    kind: EntryType,
    size: u64,
    mode: u32,
    mtime: i64,
}

impl Member {
    fn shown(&self) -> Shown {
        Shown::new(&self.name)
    }

    /// What the entry is.
    fn content(&self, is_folder: bool) -> Result<Content<'_>, ArchiveError> {
        let name = || self.shown();
        let without_content = |content| match self.size {
            0 => Ok(content),
            _ => Err(ArchiveError::HeaderMismatch { name: name(), field: "size" }),
        };
        let device = |kind| Err(ArchiveError::Device { name: name(), kind });
        match self.kind {
            // Before there was a type for folders, the slash was all.
            EntryType::Regular | EntryType::Continuous if is_folder => without_content(Content::Folder),
            EntryType::Regular | EntryType::Continuous => {
                Ok(Content::File { size: self.size, is_executable: self.mode & 0o111 != 0 })
            }
            EntryType::Directory => without_content(Content::Folder),
            EntryType::Symlink if is_folder => {
                Err(ArchiveError::HeaderMismatch { name: name(), field: "kind" })
            }
            EntryType::Symlink => {
                without_content(Content::Link { target: self.target.as_deref().unwrap_or_default() })
            }
            EntryType::Link => Err(ArchiveError::HardLink { name: name() }),
            EntryType::Char => device("character device"),
            EntryType::Block => device("block device"),
            EntryType::Fifo => device("pipe"),
            EntryType::GNUSparse => Err(ArchiveError::Sparse { name: name() }),
            _ => Err(ArchiveError::EntryType { name: name() }),
        }
    }
}

/// Records that come before a header and extend it.
#[derive(Default)]
struct Extensions {
    long_name: Option<Vec<u8>>,
    long_target: Option<Vec<u8>>,
    pax: Option<Pax>,
}

impl Extensions {
    fn is_empty(&self) -> bool {
        self.long_name.is_none() && self.long_target.is_none() && self.pax.is_none()
    }
}

/// Goes through a tar entry by entry. What is not copied of a content is passed over.
struct Walker<'a> {
    source: Source<'a>,
    meter: Meter<'a>,
    limits: &'a Limits,
    /// What is still to come of the current content, and of the zeros after it.
    remaining: u64,
    padding: u64,
    has_begun: bool,
    scratch: Vec<u8>,
}

impl<'a> Walker<'a> {
    fn new(job: &Job<'a>, source: Source<'a>) -> Self {
        Self {
            source,
            meter: Meter::new(job),
            limits: job.limits,
            remaining: 0,
            padding: 0,
            has_begun: false,
            scratch: Vec::new(),
        }
    }

    /// The next entry, with the extensions before it applied.
    fn next(&mut self) -> Result<Option<Member>, ArchiveError> {
        let mut extensions = Extensions::default();
        loop {
            self.skip_content()?;
            let Some(header) = self.header()? else {
                if extensions.is_empty() {
                    return Ok(None);
                }
                let name = Shown::new("tar");
                return Err(ArchiveError::Corrupt { name, what: "it ends after the extension of a header" });
            };
            self.meter.add_record()?;
            let size = Self::size(&header)?;
            self.remaining = size;
            self.padding = size.next_multiple_of(BLOCK as u64) - size;

            let again = |name: &str, what| Err(ArchiveError::Corrupt { name: Shown::new(name), what });
            match header.entry_type() {
                EntryType::GNULongName => {
                    let name = self.extension(size)?;
                    if extensions.long_name.replace(without_end(name)).is_some() {
                        return again("tar", "a header has two long names");
                    }
                }
                EntryType::GNULongLink => {
                    let target = self.extension(size)?;
                    if extensions.long_target.replace(without_end(target)).is_some() {
                        return again("tar", "a header has two long link targets");
                    }
                }
                EntryType::XHeader => {
                    let pax = Pax::parse(&self.extension(size)?)?;
                    if extensions.pax.replace(pax).is_some() {
                        return again("tar", "a header has two pax records");
                    }
                }
                EntryType::XGlobalHeader => {
                    // git puts the commit there. What would apply to all entries that follow is another matter.
                    if Pax::parse(&self.extension(size)?)?.is_about_content() {
                        return again("tar", "a global pax record changes names or sizes");
                    }
                }
                _ => {
                    self.meter.check_announced(size)?;
                    return self.member(&header, size, extensions).map(Some);
                }
            }
        }
    }

    /// Reads one header; nothing at the end.
    fn header(&mut self) -> Result<Option<Header>, ArchiveError> {
        let mut block = [0; BLOCK];
        self.fill(&mut block).map_err(|error| {
            let is_complete = matches!(self.source, Source::Gzip { state: GzipState::Ended { .. }, .. });
            if is_complete && !self.has_begun { NO_TAR } else { error }
        })?;
        if is_zero(&block) {
            self.expect_end()?;
            return Ok(None);
        }
        if !has_checksum(&block) {
            if !self.has_begun {
                return Err(NO_TAR);
            }
            let what = "a header has the wrong check sum";
            return Err(ArchiveError::Corrupt { name: Shown::new("tar"), what });
        }
        self.has_begun = true;
        Ok(Some(Header::from_byte_slice(&block).clone()))
    }

    /// After the end there are only zeros, and not too many.
    fn expect_end(&mut self) -> Result<(), ArchiveError> {
        self.scratch.resize(SKIP_BYTES, 0);
        let mut seen = 0;
        loop {
            let count = self.source.read(&mut self.scratch)?;
            seen += count as u64;
            if count == 0 {
                return Ok(());
            }
            if seen > MAX_END_BYTES || self.scratch[..count].iter().any(|&byte| byte != 0) {
                return Err(ArchiveError::ExtraData { what: "bytes after its end" });
            }
        }
    }

    /// The size in a header. In its binary form only what fits into 63 bits is a size.
    fn size(header: &Header) -> Result<u64, ArchiveError> {
        let wrong = || ArchiveError::Corrupt {
            name: Shown::from_bytes(&header.path_bytes()),
            what: "its size is not a number",
        };
        let field = &header.as_old().size;
        if field[0] & 0x80 != 0 && (field[0] != 0x80 || field[1..5].iter().any(|&byte| byte != 0)) {
            return Err(wrong());
        }
        header.entry_size().map_err(|_| wrong())
    }

    fn member(&self, header: &Header, size: u64, extensions: Extensions) -> Result<Member, ArchiveError> {
        let pax = extensions.pax.unwrap_or_default();
        let raw_name = match (extensions.long_name, pax.path) {
            (Some(long), Some(path)) if long != path => {
                let name = Shown::from_bytes(&long);
                return Err(ArchiveError::HeaderMismatch { name, field: "name" });
            }
            (Some(name), _) | (None, Some(name)) => name,
            (None, None) => header.path_bytes().into_owned(),
        };
        let raw_target = match (extensions.long_target, pax.target) {
            (Some(long), Some(target)) if long != target => {
                let name = Shown::from_bytes(&raw_name);
                return Err(ArchiveError::HeaderMismatch { name, field: "link target" });
            }
            (Some(target), _) | (None, Some(target)) => Some(target),
            (None, None) => header.link_name_bytes().map(std::borrow::Cow::into_owned),
        };

        let shown = Shown::from_bytes(&raw_name);
        let text = |bytes: Vec<u8>| {
            String::from_utf8(bytes).map_err(|_| ArchiveError::NameEncoding { name: shown.clone() })
        };
        if pax.is_sparse {
            return Err(ArchiveError::Sparse { name: shown });
        }
        if pax.size.is_some_and(|there| there != size) {
            return Err(ArchiveError::HeaderMismatch { name: shown, field: "size" });
        }
        if raw_name.len() > self.limits.name_bytes {
            return Err(ArchiveError::NameTooLong { name: shown, limit: self.limits.name_bytes });
        }
        Ok(Member {
            name: text(raw_name)?,
            target: raw_target.map(text).transpose()?,
            kind: header.entry_type(),
            size,
            mode: header.mode().unwrap_or_default(),
            mtime: header.mtime().ok().and_then(|mtime| i64::try_from(mtime).ok()).unwrap_or_default(),
        })
    }

    /// Reads a whole extension record.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>, ArchiveError> {
        if size > MAX_EXTENSION_BYTES {
            let limit = self.limits.name_bytes;
            return Err(ArchiveError::NameTooLong { name: Shown::new("tar extension"), limit });
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        self.fill(&mut bytes)?;
        self.meter.add(bytes.len(), 0)?;
        self.remaining = 0;
        Ok(bytes)
    }

    /// Fills `into` to the last byte. Headers and padding are not counted as content: their number is bounded,
    /// and they pack so well that an honest archive of tiny files would look like a bomb.
    fn fill(&mut self, into: &mut [u8]) -> Result<(), ArchiveError> {
        let mut filled = 0;
        let before = self.source.packed();
        while filled < into.len() {
            let count = self.source.read(&mut into[filled..])?;
            if count == 0 {
                return Err(ArchiveError::Truncated);
            }
            filled += count;
        }
        self.meter.add(0, self.source.packed() - before)
    }

    /// Copies the content of the current entry.
    fn copy(&mut self, sink: &mut dyn Sink) -> Result<(), ArchiveError> {
        while self.remaining > 0 {
            let space = sink.space()?;
            let count = self.read_content(space)?;
            sink.advance(count)?;
        }
        Ok(())
    }

    fn read_content(&mut self, into: &mut [u8]) -> Result<usize, ArchiveError> {
        let most = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(into.len());
        let before = self.source.packed();
        let count = self.source.read(&mut into[..most])?;
        if count == 0 {
            return Err(ArchiveError::Truncated);
        }
        self.remaining -= count as u64;
        self.meter.add(count, self.source.packed() - before)?;
        Ok(count)
    }

    fn skip_content(&mut self) -> Result<(), ArchiveError> {
        if let Source::Plain(reader) = &mut self.source {
            let rest = self.remaining.checked_add(self.padding).ok_or(ArchiveError::Truncated)?;
            reader.skip(rest)?;
            (self.remaining, self.padding) = (0, 0);
            return Ok(());
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.resize(SKIP_BYTES, 0);
        while self.remaining > 0 {
            self.read_content(&mut scratch)?;
        }
        let padding = usize::try_from(self.padding).unwrap_or_default();
        self.fill(&mut scratch[..padding])?;
        self.padding = 0;
        self.scratch = scratch;
        Ok(())
    }
}

/// The keys of a pax record that say what an entry is. Times, owners, attributes and comments are dropped.
#[derive(Default)]
struct Pax {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    is_sparse: bool,
}

impl Pax {
    /// Splits records of the form `length key=value\n`. The length decides, not the line: a value may hold
    /// lines of its own.
    fn parse(mut bytes: &[u8]) -> Result<Self, ArchiveError> {
        let damaged = |what| ArchiveError::Corrupt { name: Shown::new("pax record"), what };
        let mut pax = Self::default();
        while !bytes.is_empty() {
            let malformed = || damaged("it does not add up");
            let space = bytes.iter().position(|&byte| byte == b' ').ok_or_else(malformed)?;
            let length = decimal(&bytes[..space]).and_then(|length| usize::try_from(length).ok());
            let length = length.filter(|&length| length > space + 1).ok_or_else(malformed)?;
            let record = bytes.get(space + 1..length).ok_or_else(malformed)?;
            let record = record.strip_suffix(b"\n").ok_or_else(malformed)?;
            let equals = record.iter().position(|&byte| byte == b'=').ok_or_else(malformed)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            bytes = &bytes[length..];

            let is_repeated = match key {
                b"path" => pax.path.replace(value.to_vec()).is_some(),
                b"linkpath" => pax.target.replace(value.to_vec()).is_some(),
                b"size" => {
                    let size = decimal(value).ok_or_else(|| damaged("its size is not a number"))?;
                    pax.size.replace(size).is_some()
                }
                _ => {
                    pax.is_sparse |= key.starts_with(b"GNU.sparse.");
                    false
                }
            };
            if is_repeated {
                return Err(damaged("it has a key twice"));
            }
        }
        Ok(pax)
    }

    fn is_about_content(&self) -> bool {
        self.path.is_some() || self.target.is_some() || self.size.is_some() || self.is_sparse
    }
}

/// A number of nothing but digits.
fn decimal(digits: &[u8]) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()
}

/// Takes off the zero that ends a GNU long name; one inside stays and is refused with the name.
fn without_end(mut name: Vec<u8>) -> Vec<u8> {
    if name.last() == Some(&0) {
        name.pop();
    }
    name
}

fn is_zero(block: &[u8; BLOCK]) -> bool {
    block.iter().all(|&byte| byte == 0)
}

/// Whether the check sum of a header is right: that of all bytes, its own field taken as blanks.
fn has_checksum(block: &[u8; BLOCK]) -> bool {
    const FIELD: std::ops::Range<usize> = 148..156;
    let others = block[..FIELD.start].iter().chain(&block[FIELD.end..]);
    let sum = others.map(|&byte| u32::from(byte)).sum::<u32>() + 8 * u32::from(b' ');
    Header::from_byte_slice(block).cksum().is_ok_and(|expected| expected == sum)
}
