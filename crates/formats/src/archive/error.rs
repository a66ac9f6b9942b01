//! What can be wrong with an uploaded archive, each with a stable code and a sentence for the person who sent it.

use std::{fmt, io};

/// A name from an upload, safe to show: control and direction characters escaped, long ones shortened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown(String);

impl Shown {
    /// How many characters of a name are shown.
    const MAX_CHARS: usize = 100;
    /// How many of them come from its end, where names differ most.
    const TAIL_CHARS: usize = 30;

    /// Makes a name showable.
    pub fn new(name: &str) -> Self {
        let count = name.chars().count();
        let mut shown = String::new();
        if count <= Self::MAX_CHARS {
            name.chars().for_each(|c| Self::push(&mut shown, c));
        } else {
            name.chars().take(Self::MAX_CHARS - Self::TAIL_CHARS).for_each(|c| Self::push(&mut shown, c));
            shown.push('…');
            name.chars().skip(count - Self::TAIL_CHARS).for_each(|c| Self::push(&mut shown, c));
        }
        Self(shown)
    }

    /// Makes bytes showable that may be no text.
    pub(super) fn from_bytes(name: &[u8]) -> Self {
        Self::new(&String::from_utf8_lossy(name))
    }

    fn push(shown: &mut String, c: char) {
        let reorders =
            matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || c == '`' || reorders {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why an upload did not become a build context.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// Not a single byte arrived.
    #[error("the upload is empty; send a zip, tar or tar.gz file")]
    UploadEmpty,
    /// The content is of some other kind.
    #[error("the upload is {found}, not an archive; send a zip, tar or tar.gz file")]
    NotAnArchive {
        /// What it seems to be.
        found: &'static str,
    },
    /// An archive, but of a kind that is not read here.
    #[error("the upload is {format}; send a zip, tar or tar.gz file instead")]
    FormatUnsupported {
        /// What it is.
        format: &'static str,
    },
    /// An archive without entries, or with nothing but clutter of the packing system.
    #[error("the archive is empty; pack the folder that holds the Dockerfile")]
    Empty,
    /// One part of an archive that spans several files.
    #[error("the archive is one part of several; pack it as a single file")]
    Split,
    /// The archive ends before its end.
    #[error("the archive is cut off; upload it again")]
    Truncated,
    /// Something stands before or after the archive, or hides between its parts.
    #[error("the archive has {what}; pack it again without extra data")]
    ExtraData {
        /// Where the bytes are.
        what: &'static str,
    },
    /// A part of the archive cannot be understood, or its check sum is wrong.
    #[error("the archive is damaged at `{name}`: {what}; pack it again")]
    Corrupt {
        /// The entry, or the part of the archive.
        name: Shown,
        /// What is wrong there.
        what: &'static str,
    },
    /// Two places in the archive say different things about one entry.
    #[error(
        "the archive contradicts itself about the {field} of `{name}`; pack it again with another program"
    )]
    HeaderMismatch {
        /// The entry.
        name: Shown,
        /// What differs.
        field: &'static str,
    },
    /// The 64-bit fields of a zip do not agree with the 32-bit ones.
    #[error(
        "the archive contradicts itself in its zip64 fields at `{name}`; pack it again with another program"
    )]
    Zip64Mismatch {
        /// The entry, or the part of the archive.
        name: Shown,
    },
    /// Two entries of a zip share bytes of the file.
    #[error("entry `{name}` overlaps another part of the archive; pack it again")]
    Overlap {
        /// The entry.
        name: Shown,
    },
    /// An entry needs a password.
    #[error("entry `{name}` is encrypted; pack the archive without a password")]
    Encrypted {
        /// The entry.
        name: Shown,
    },
    /// An entry is packed with something other than store or deflate.
    #[error(
        "entry `{name}` uses compression method {method}; pack the archive with deflate, the usual method"
    )]
    MethodUnsupported {
        /// The entry.
        name: Shown,
        /// The number of the method in the zip format.
        method: u16,
    },
    /// A name leads out of the context.
    #[error("entry `{name}` leads out of the archive; names must be relative and without `..`")]
    PathEscapes {
        /// The entry.
        name: Shown,
    },
    /// A name holds a backslash.
    #[error("entry `{name}` has a backslash in its name; use `/` between folders")]
    PathBackslash {
        /// The entry.
        name: Shown,
    },
    /// A name holds a control character.
    #[error("entry `{name}` has a control character in its name; rename it")]
    PathControl {
        /// The entry.
        name: Shown,
    },
    /// A name has an empty component or a `.` in the middle.
    #[error("entry `{name}` has an empty or `.` component in its name; pack the archive again")]
    PathUnclean {
        /// The entry.
        name: Shown,
    },
    /// A name is neither UTF-8 nor, in a zip that allows it, GB18030.
    #[error("entry `{name}` has a name in an unknown encoding; use UTF-8 names")]
    NameEncoding {
        /// The entry.
        name: Shown,
    },
    /// A name or a component of it is too long.
    #[error("entry `{name}` has a name that is too long; {limit} bytes are allowed")]
    NameTooLong {
        /// The entry.
        name: Shown,
        /// What would be allowed.
        limit: usize,
    },
    /// A name has too many components.
    #[error("entry `{name}` lies too deep; {limit} levels are allowed")]
    TooDeep {
        /// The entry.
        name: Shown,
        /// What would be allowed.
        limit: usize,
    },
    /// A symbolic link leads out of the context or cannot be judged.
    #[error(
        "symbolic link `{name}` points to `{target}`; links must be relative, stay inside the context and have `..` only at the start"
    )]
    Link {
        /// The link.
        name: Shown,
        /// Where it points.
        target: Shown,
    },
    /// A hard link.
    #[error("entry `{name}` is a hard link; pack with `tar --hard-dereference`")]
    HardLink {
        /// The entry.
        name: Shown,
    },
    /// A device, pipe or socket.
    #[error("entry `{name}` is a {kind}; only files, folders and symbolic links are allowed")]
    Device {
        /// The entry.
        name: Shown,
        /// What it is.
        kind: &'static str,
    },
    /// An entry whose folder is a symbolic link elsewhere in the archive, or the other way round.
    #[error("entry `{name}` passes through a symbolic link; pack the real folder")]
    ThroughLink {
        /// The entry.
        name: Shown,
    },
    /// A name that was there before.
    #[error("entry `{name}` is in the archive twice; pack it again")]
    Duplicate {
        /// The entry.
        name: Shown,
    },
    /// A name that differs from an earlier one only by case or by Unicode form.
    #[error(
        "entry `{name}` differs from another one only by upper and lower case or by accent form; rename one"
    )]
    CaseTwin {
        /// The entry.
        name: Shown,
    },
    /// A name that is a file here and a folder there.
    #[error("entry `{name}` is both a file and a folder; rename one")]
    Clash {
        /// The entry.
        name: Shown,
    },
    /// A sparse file.
    #[error("entry `{name}` is a sparse file; pack without `--sparse`")]
    Sparse {
        /// The entry.
        name: Shown,
    },
    /// A kind of entry that has no place in a build context.
    #[error("entry `{name}` is of an unknown kind; only files, folders and symbolic links are allowed")]
    EntryType {
        /// The entry.
        name: Shown,
    },
    /// The content is longer or shorter than the archive says.
    #[error("entry `{name}` does not have the size that the archive says; pack it again")]
    SizeMismatch {
        /// The entry.
        name: Shown,
    },
    /// The contents are too large once unpacked.
    #[error("the archive unpacks to more than {limit} bytes; leave out what the build does not need")]
    TooLarge {
        /// What would be allowed.
        limit: u64,
    },
    /// There are too many entries.
    #[error("the archive has more than {limit} entries; leave out what the build does not need")]
    TooManyEntries {
        /// What would be allowed.
        limit: u32,
    },
    /// The contents are suspiciously much larger than their packed form.
    #[error(
        "the archive unpacks to more than {limit} times its size, like a bomb; leave out files that are mostly empty"
    )]
    Ratio {
        /// What would be allowed.
        limit: u32,
    },
    /// No Dockerfile where it was looked for.
    #[error(
        "there is no `{path}` at the root of the archive or in its only folder{}",
        .found.as_ref().map(|found| format!("; found `{found}`, so pass that as `dockerfile` or move it")).unwrap_or_default()
    )]
    DockerfileMissing {
        /// The path that was looked for.
        path: Shown,
        /// A file of nearly that name.
        found: Option<Shown>,
    },
    /// The path given for the Dockerfile leads out of the context.
    #[error("`{path}` is no path inside the archive; give the Dockerfile as a relative path without `..`")]
    DockerfileOutside {
        /// The path that was given.
        path: Shown,
    },
    /// The Dockerfile is a folder or a link.
    #[error("`{path}` is not a plain file; the Dockerfile must be one")]
    DockerfileNotAFile {
        /// The path that was looked for.
        path: Shown,
    },
    /// The caller gave up.
    #[error("the upload was cancelled")]
    Cancelled,
    /// The stored upload could not be read: our fault, not the sender's.
    #[error("could not read the stored upload: {0}")]
    Read(#[source] io::Error),
    /// The context could not be written: our fault, not the sender's.
    #[error("could not write the build context: {0}")]
    Write(#[source] io::Error),
}

impl ArchiveError {
    /// The stable name of this error for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UploadEmpty => "upload_empty",
            Self::NotAnArchive { .. } => "not_an_archive",
            Self::FormatUnsupported { .. } => "archive_format_unsupported",
            Self::Empty => "archive_empty",
            Self::Split => "archive_split",
            Self::Truncated => "archive_truncated",
            Self::ExtraData { .. } => "archive_extra_data",
            Self::Corrupt { .. } => "archive_corrupt",
            Self::HeaderMismatch { .. } => "archive_header_mismatch",
            Self::Zip64Mismatch { .. } => "archive_zip64_mismatch",
            Self::Overlap { .. } => "archive_overlap",
            Self::Encrypted { .. } => "archive_encrypted",
            Self::MethodUnsupported { .. } => "archive_method_unsupported",
            Self::PathEscapes { .. } => "archive_path_escapes",
            Self::PathBackslash { .. } => "archive_path_backslash",
            Self::PathControl { .. } => "archive_path_control",
            Self::PathUnclean { .. } => "archive_path_unclean",
            Self::NameEncoding { .. } => "archive_name_encoding",
            Self::NameTooLong { .. } => "archive_name_too_long",
            Self::TooDeep { .. } => "archive_too_deep",
            Self::Link { .. } => "archive_link",
            Self::HardLink { .. } => "archive_hard_link",
            Self::Device { .. } => "archive_device",
            Self::ThroughLink { .. } => "archive_through_link",
            Self::Duplicate { .. } => "archive_duplicate",
            Self::CaseTwin { .. } => "archive_case_twin",
            Self::Clash { .. } => "archive_name_clash",
            Self::Sparse { .. } => "archive_sparse",
            Self::EntryType { .. } => "archive_entry_type",
            Self::SizeMismatch { .. } => "archive_size_mismatch",
            Self::TooLarge { .. } => "archive_too_large",
            Self::TooManyEntries { .. } => "archive_too_many_entries",
            Self::Ratio { .. } => "archive_ratio",
            Self::DockerfileMissing { .. } => "dockerfile_missing",
            Self::DockerfileOutside { .. } => "dockerfile_outside",
            Self::DockerfileNotAFile { .. } => "dockerfile_not_a_file",
            Self::Cancelled => "archive_cancelled",
            Self::Read(_) => "archive_read_failed",
            Self::Write(_) => "archive_write_failed",
        }
    }

    /// Whether the sender can mend this by sending something else. Otherwise it is a cancellation or our own
    /// storage that failed.
    pub fn is_bad_upload(&self) -> bool {
        !matches!(self, Self::Cancelled | Self::Read(_) | Self::Write(_))
    }

    /// Whether the disk that the context goes to is full.
    pub fn is_storage_full(&self) -> bool {
        matches!(self, Self::Write(error) if matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ))
    }
}
