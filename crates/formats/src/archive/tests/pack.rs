//! Packs zips and tars byte by byte, with every lie a test needs.

use std::io::Write;

use flate2::{Compression, Crc, write::DeflateEncoder, write::GzEncoder};

/// The kind bits of a Unix mode.
pub(super) const REGULAR: u32 = 0o100_000;
pub(super) const LINK: u32 = 0o120_000;
pub(super) const FOLDER: u32 = 0o040_000;

/// How the local header of a zip entry states sizes and check sum.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Descriptor {
    None,
    Signed32,
    Bare32,
    Signed64,
    Bare64,
    /// Announced, but with wrong numbers in it.
    Wrong,
}

/// One entry of a zip. What begins with `local_` stands only in the local header.
#[derive(Clone)]
pub(super) struct ZipEntry {
    pub(super) name: Vec<u8>,
    pub(super) method: u16,
    pub(super) flags: u16,
    pub(super) crc: u32,
    pub(super) packed: Vec<u8>,
    pub(super) packed_size: u32,
    pub(super) size: u32,
    pub(super) host: u8,
    pub(super) mode: u32,
    pub(super) time: (u16, u16),
    pub(super) extra: Vec<u8>,
    pub(super) disk: u16,
    pub(super) descriptor: Descriptor,
    pub(super) offset: Option<u32>,
    pub(super) local_name: Option<Vec<u8>>,
    pub(super) local_method: Option<u16>,
    pub(super) local_flags: Option<u16>,
    pub(super) local_size: Option<u32>,
    pub(super) local_packed_size: Option<u32>,
    pub(super) local_crc: Option<u32>,
    pub(super) local_extra: Vec<u8>,
    pub(super) local_signature: u32,
    /// Only a central record, no bytes of its own.
    pub(super) is_phantom: bool,
}

pub(super) fn crc(content: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(content);
    crc.sum()
}

pub(super) fn deflate(content: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn len32(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap()
}

fn len16(bytes: &[u8]) -> u16 {
    u16::try_from(bytes.len()).unwrap()
}

impl ZipEntry {
    pub(super) fn stored(name: impl Into<Vec<u8>>, content: &[u8]) -> Self {
        Self {
            name: name.into(),
            method: 0,
            flags: 0,
            crc: crc(content),
            packed: content.to_vec(),
            packed_size: len32(content),
            size: len32(content),
            host: 3,
            mode: REGULAR | 0o644,
            time: (0x6000, 0x5821),
            extra: Vec::new(),
            disk: 0,
            descriptor: Descriptor::None,
            offset: None,
            local_name: None,
            local_method: None,
            local_flags: None,
            local_size: None,
            local_packed_size: None,
            local_crc: None,
            local_extra: Vec::new(),
            local_signature: 0x0403_4b50,
            is_phantom: false,
        }
    }

    pub(super) fn deflated(name: impl Into<Vec<u8>>, content: &[u8]) -> Self {
        let packed = deflate(content);
        Self { method: 8, packed_size: len32(&packed), packed, ..Self::stored(name, content) }
    }

    pub(super) fn link(name: impl Into<Vec<u8>>, target: &str) -> Self {
        Self { mode: LINK | 0o777, ..Self::stored(name, target.as_bytes()) }
    }

    pub(super) fn folder(name: impl Into<Vec<u8>>) -> Self {
        Self { mode: FOLDER | 0o755, ..Self::stored(name, b"") }
    }

    fn local(&self, out: &mut Vec<u8>) {
        let has_descriptor = self.descriptor != Descriptor::None;
        let flags = self.flags | if has_descriptor { 8 } else { 0 };
        let shown = |value: u32| if has_descriptor { 0 } else { value };
        let name = self.local_name.as_ref().unwrap_or(&self.name);
        out.extend(self.local_signature.to_le_bytes());
        out.extend(20_u16.to_le_bytes());
        out.extend(self.local_flags.unwrap_or(flags).to_le_bytes());
        out.extend(self.local_method.unwrap_or(self.method).to_le_bytes());
        out.extend(self.time.0.to_le_bytes());
        out.extend(self.time.1.to_le_bytes());
        out.extend(self.local_crc.unwrap_or_else(|| shown(self.crc)).to_le_bytes());
        out.extend(self.local_packed_size.unwrap_or_else(|| shown(self.packed_size)).to_le_bytes());
        out.extend(self.local_size.unwrap_or_else(|| shown(self.size)).to_le_bytes());
        out.extend(len16(name).to_le_bytes());
        out.extend(len16(&self.local_extra).to_le_bytes());
        out.extend(name);
        out.extend(&self.local_extra);
        out.extend(&self.packed);

        let signature = 0x0807_4b50_u32.to_le_bytes();
        let narrow = [self.crc, self.packed_size, self.size].map(u32::to_le_bytes).concat();
        let mut wide = self.crc.to_le_bytes().to_vec();
        wide.extend(u64::from(self.packed_size).to_le_bytes());
        wide.extend(u64::from(self.size).to_le_bytes());
        match self.descriptor {
            Descriptor::None => {}
            Descriptor::Signed32 => out.extend([&signature[..], &narrow].concat()),
            Descriptor::Bare32 => out.extend(narrow),
            Descriptor::Signed64 => out.extend([&signature[..], &wide].concat()),
            Descriptor::Bare64 => out.extend(wide),
            Descriptor::Wrong => out.extend([&signature[..], &[7; 12]].concat()),
        }
    }

    fn central(&self, offset: u32, out: &mut Vec<u8>) {
        let flags = self.flags | if self.descriptor == Descriptor::None { 0 } else { 8 };
        out.extend(0x0201_4b50_u32.to_le_bytes());
        out.extend([20, self.host]);
        out.extend(20_u16.to_le_bytes());
        out.extend(flags.to_le_bytes());
        out.extend(self.method.to_le_bytes());
        out.extend(self.time.0.to_le_bytes());
        out.extend(self.time.1.to_le_bytes());
        out.extend(self.crc.to_le_bytes());
        out.extend(self.packed_size.to_le_bytes());
        out.extend(self.size.to_le_bytes());
        out.extend(len16(&self.name).to_le_bytes());
        out.extend(len16(&self.extra).to_le_bytes());
        out.extend(0_u16.to_le_bytes());
        out.extend(self.disk.to_le_bytes());
        out.extend(0_u16.to_le_bytes());
        out.extend((self.mode << 16).to_le_bytes());
        out.extend(self.offset.unwrap_or(offset).to_le_bytes());
        out.extend(&self.name);
        out.extend(&self.extra);
    }
}

/// A zip64 end record and what may be wrong in it.
#[derive(Clone, Copy, Default)]
pub(super) struct End64 {
    pub(super) count_delta: u64,
    pub(super) start_delta: u64,
    pub(super) size_delta: u64,
    pub(super) record_size_delta: u64,
    pub(super) disks: u32,
    /// Whether count, size and start in the ordinary end record refer to it by being saturated.
    pub(super) saturated: [bool; 3],
}

/// A whole zip.
#[derive(Clone, Default)]
pub(super) struct Zip {
    pub(super) entries: Vec<ZipEntry>,
    pub(super) prefix: Vec<u8>,
    /// Between the last entry and the directory.
    pub(super) gap: Vec<u8>,
    /// Between the directory and its end record.
    pub(super) directory_gap: Vec<u8>,
    pub(super) suffix: Vec<u8>,
    pub(super) comment: Vec<u8>,
    pub(super) count: Option<u16>,
    pub(super) disk: u16,
    pub(super) end64: Option<End64>,
}

impl Zip {
    pub(super) fn of(entries: impl IntoIterator<Item = ZipEntry>) -> Self {
        Self { entries: entries.into_iter().collect(), ..Self::default() }
    }

    /// With a Dockerfile before the entries.
    pub(super) fn with_dockerfile(entries: impl IntoIterator<Item = ZipEntry>) -> Self {
        let (name, content) = super::DOCKERFILE;
        Self::of([ZipEntry::stored(name, content)].into_iter().chain(entries))
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = self.prefix.clone();
        let mut directory = Vec::new();
        for entry in &self.entries {
            entry.central(len32(&out), &mut directory);
            if !entry.is_phantom {
                entry.local(&mut out);
            }
        }
        out.extend(&self.gap);
        let start = len32(&out);
        let size = len32(&directory);
        out.extend(directory);
        out.extend(&self.directory_gap);

        let count = self.count.unwrap_or_else(|| u16::try_from(self.entries.len()).unwrap());
        let mut saturated = [false; 3];
        if let Some(end64) = self.end64 {
            saturated = end64.saturated;
            let end64_at = out.len() as u64;
            out.extend(0x0606_4b50_u32.to_le_bytes());
            out.extend(44_u64.wrapping_add(end64.record_size_delta).to_le_bytes());
            out.extend([45, 0, 45, 0]);
            out.extend([0; 8]);
            let count = u64::from(count).wrapping_add(end64.count_delta);
            out.extend(count.to_le_bytes());
            out.extend(count.to_le_bytes());
            out.extend(u64::from(size).wrapping_add(end64.size_delta).to_le_bytes());
            out.extend(u64::from(start).wrapping_add(end64.start_delta).to_le_bytes());
            out.extend(0x0706_4b50_u32.to_le_bytes());
            out.extend(0_u32.to_le_bytes());
            out.extend(end64_at.to_le_bytes());
            out.extend(end64.disks.max(1).to_le_bytes());
        }
        out.extend(0x0605_4b50_u32.to_le_bytes());
        out.extend(self.disk.to_le_bytes());
        out.extend(self.disk.to_le_bytes());
        let count = if saturated[0] { u16::MAX } else { count };
        out.extend(count.to_le_bytes());
        out.extend(count.to_le_bytes());
        out.extend(if saturated[1] { u32::MAX } else { size }.to_le_bytes());
        out.extend(if saturated[2] { u32::MAX } else { start }.to_le_bytes());
        out.extend(len16(&self.comment).to_le_bytes());
        out.extend(&self.comment);
        out.extend(&self.suffix);
        out
    }
}

/// One extra field of a zip.
pub(super) fn extra(id: u16, content: &[u8]) -> Vec<u8> {
    [&id.to_le_bytes()[..], &len16(content).to_le_bytes(), content].concat()
}

/// One record of a tar.
#[derive(Clone)]
pub(super) struct TarEntry {
    pub(super) name: Vec<u8>,
    pub(super) kind: u8,
    pub(super) mode: u32,
    pub(super) size: u64,
    pub(super) mtime: u64,
    pub(super) target: Vec<u8>,
    pub(super) content: Vec<u8>,
    pub(super) is_ustar: bool,
    /// Written over the header before the check sum is made.
    pub(super) patch: Option<(usize, Vec<u8>)>,
}

impl TarEntry {
    pub(super) fn new(kind: u8, name: impl Into<Vec<u8>>, content: &[u8]) -> Self {
        Self {
            name: name.into(),
            kind,
            mode: 0o644,
            size: content.len() as u64,
            mtime: 1_700_000_000,
            target: Vec::new(),
            content: content.to_vec(),
            is_ustar: true,
            patch: None,
        }
    }

    pub(super) fn file(name: impl Into<Vec<u8>>, content: &[u8]) -> Self {
        Self::new(b'0', name, content)
    }

    pub(super) fn folder(name: impl Into<Vec<u8>>) -> Self {
        Self { mode: 0o755, ..Self::new(b'5', name, b"") }
    }

    pub(super) fn link(name: impl Into<Vec<u8>>, target: impl Into<Vec<u8>>) -> Self {
        Self { target: target.into(), ..Self::new(b'2', name, b"") }
    }

    /// A pax record that extends the next header.
    pub(super) fn pax(records: &[(&str, &[u8])]) -> Self {
        Self::new(b'x', "pax", &pax_records(records))
    }

    pub(super) fn long_name(name: &[u8]) -> Self {
        Self::new(b'L', "././@LongLink", &[name, &[0]].concat())
    }

    fn bytes(&self, out: &mut Vec<u8>) {
        let mut header = if self.is_ustar { ::tar::Header::new_ustar() } else { ::tar::Header::new_old() };
        let old = header.as_old_mut();
        let count = self.name.len().min(100);
        old.name[..count].copy_from_slice(&self.name[..count]);
        let count = self.target.len().min(100);
        old.linkname[..count].copy_from_slice(&self.target[..count]);
        old.linkflag[0] = self.kind;
        header.set_mode(self.mode);
        header.set_uid(1000);
        header.set_gid(1000);
        header.set_mtime(self.mtime);
        header.set_size(self.size);
        if let Some((at, bytes)) = &self.patch {
            header.as_mut_bytes()[*at..*at + bytes.len()].copy_from_slice(bytes);
        }
        header.set_cksum();
        out.extend(header.as_bytes());
        out.extend(&self.content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
}

pub(super) fn pax_records(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in records {
        let body = key.len() + value.len() + 3;
        let mut length = body + 1;
        while length != body + length.to_string().len() {
            length = body + length.to_string().len();
        }
        out.extend(format!("{length} {key}=").into_bytes());
        out.extend(*value);
        out.push(b'\n');
    }
    out
}

/// Tar records without an end.
pub(super) fn tar_without_end(entries: impl IntoIterator<Item = TarEntry>) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        entry.bytes(&mut out);
    }
    out
}

/// A whole tar.
pub(super) fn tar(entries: impl IntoIterator<Item = TarEntry>) -> Vec<u8> {
    let mut out = tar_without_end(entries);
    out.resize(out.len() + 1024, 0);
    out
}

/// A whole tar with a Dockerfile before the entries.
pub(super) fn tar_with_dockerfile(entries: impl IntoIterator<Item = TarEntry>) -> Vec<u8> {
    let (name, content) = super::DOCKERFILE;
    tar([TarEntry::file(name, content)].into_iter().chain(entries))
}
