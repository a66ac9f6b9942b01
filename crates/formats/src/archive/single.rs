//! One file as a tar, and back: engines know no other way to carry a file.

use bytes::{Bytes, BytesMut};

use super::Owner;
use super::emit::{named, padding};
use super::tar::BLOCK;

/// Bytes of extensions before the first file's header at most; engines write some for long names and exact times.
const EXTENSIONS_MAX: u64 = 64 << 10;

/// What stands around a file's content in a tar of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Before it.
    pub head: Vec<u8>,
    /// After it.
    pub tail: Vec<u8>,
}

/// A tar with one file of this name and length, without the content.
pub fn frame(name: &str, bytes: u64, is_executable: bool, owner: Owner, mtime: i64) -> Frame {
    let mode = if is_executable { 0o755 } else { 0o644 };
    let head = entry(name, ::tar::EntryType::Regular, mode, bytes, mtime, owner);
    Frame { head, tail: vec![0; padding(bytes) + 2 * BLOCK] }
}

/// A tar with these folders, each in one that is there or comes before it.
pub fn folders(paths: &[String], owner: Owner, mtime: i64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for path in paths {
        bytes.extend(entry(&format!("{path}/"), ::tar::EntryType::Directory, 0o755, 0, mtime, owner));
    }
    bytes.resize(bytes.len() + 2 * BLOCK, 0);
    bytes
}

fn entry(path: &str, kind: ::tar::EntryType, mode: u32, size: u64, mtime: i64, owner: Owner) -> Vec<u8> {
    let (mut bytes, mut header) = named(path, kind, mode, size, mtime, owner);
    header.set_cksum();
    bytes.extend_from_slice(header.as_bytes());
    bytes
}

/// Finds the first file in a tar that arrives in pieces.
#[derive(Debug, Default)]
pub struct FirstFile {
    buffer: BytesMut,
    /// What an extension says that the header has no room for.
    size: Option<u64>,
    seen: u64,
}

/// What the first entry of a tar is.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// More is needed.
    Nothing,
    /// An ordinary file of this length, and what has come of its content and what follows.
    File {
        /// Its length.
        bytes: u64,
        /// The beginning of its content, or more than that.
        rest: Bytes,
    },
    /// Something else, or no tar.
    Other,
}

impl FirstFile {
    /// Takes the next piece. Nothing may be given any more once something was found.
    pub fn push(&mut self, piece: &[u8]) -> Found {
        use ::tar::EntryType::{Continuous, GNULongLink, GNULongName, Regular, XGlobalHeader, XHeader};

        self.buffer.extend_from_slice(piece);
        loop {
            let Some(block) = self.buffer.get(..BLOCK) else { return Found::Nothing };
            let header = ::tar::Header::from_byte_slice(block);
            let (kind, Ok(size)) = (header.entry_type(), header.entry_size()) else { return Found::Other };
            match kind {
                Regular | Continuous => {
                    let bytes = self.size.unwrap_or(size);
                    let rest = self.buffer.split_off(BLOCK).freeze();
                    return Found::File { bytes, rest };
                }
                XHeader | XGlobalHeader | GNULongName | GNULongLink => {}
                _ => return Found::Other,
            }
            if self.seen.saturating_add(size) > EXTENSIONS_MAX {
                return Found::Other;
            }
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            let whole = BLOCK + size + padding(size as u64);
            if self.buffer.len() < whole {
                return Found::Nothing;
            }
            self.seen += size as u64;
            let extension = self.buffer.split_to(whole);
            if kind == XHeader {
                self.size = exact_size(&extension[BLOCK..BLOCK + size]).or(self.size);
            }
        }
    }
}

/// The length of a file that is larger than a header can say.
fn exact_size(records: &[u8]) -> Option<u64> {
    let mut found = None;
    for record in ::tar::PaxExtensions::new(records).flatten() {
        if record.key_bytes() == b"size" {
            found = record.value().ok()?.parse().ok();
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn owner() -> Owner {
        Owner { uid: 1000, gid: 1001 }
    }

    #[test]
    fn one_file_becomes_a_tar_that_others_read() {
        for name in ["a", &"ü".repeat(127), &"n".repeat(255)] {
            for bytes in [0, 1, 511, 512, 513] {
                let Frame { head, tail } = frame(name, bytes, true, owner(), 1_700_000_000);
                let content = vec![b'x'; usize::try_from(bytes).unwrap()];
                let whole = [head, content.clone(), tail].concat();
                assert_eq!(whole.len() % BLOCK, 0);

                let mut archive = ::tar::Archive::new(whole.as_slice());
                let mut entries = archive.entries().unwrap();
                let mut file = entries.next().unwrap().unwrap();
                assert_eq!(file.path().unwrap().to_str(), Some(name));
                let header = file.header();
                let numbers = (header.uid().unwrap(), header.gid().unwrap(), header.mode().unwrap());
                assert_eq!(numbers, (1000, 1001, 0o755));
                let mut read = Vec::new();
                file.read_to_end(&mut read).unwrap();
                assert_eq!(read, content);
                assert!(entries.next().is_none());

                // And back, in any pieces.
                for size in [1, 100, 512, 5000] {
                    let mut first = FirstFile::default();
                    let mut pieces = whole.chunks(size);
                    let found =
                        pieces.by_ref().map(|piece| first.push(piece)).find(|it| *it != Found::Nothing);
                    let Some(Found::File { bytes: length, rest }) = found else {
                        panic!("{found:?} {name} {bytes} {size}")
                    };
                    let rest = [rest.to_vec(), pieces.collect::<Vec<_>>().concat()].concat();
                    assert_eq!((length, &rest[..content.len()]), (bytes, content.as_slice()));
                }
            }
        }
    }

    #[test]
    fn folders_become_a_tar() {
        let bytes = folders(&["a".to_owned(), "a/b".to_owned()], owner(), 0);

        let mut archive = ::tar::Archive::new(bytes.as_slice());
        let found: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                (entry.path().unwrap().display().to_string(), entry.header().entry_type().is_dir())
            })
            .collect();
        assert_eq!(found, [("a/".to_owned(), true), ("a/b/".to_owned(), true)]);
    }

    #[test]
    fn what_is_no_file_is_told_apart() {
        let first = |bytes: &[u8]| FirstFile::default().push(bytes);

        assert_eq!(first(&[0; BLOCK]), Found::Other);
        assert_eq!(first(&[b'x'; BLOCK]), Found::Other);
        assert_eq!(first(&folders(&["a".to_owned()], owner(), 0)), Found::Other);
        assert_eq!(first(&[]), Found::Nothing);
        // An extension that never ends.
        let mut header = ::tar::Header::new_gnu();
        header.set_entry_type(::tar::EntryType::XHeader);
        header.set_size(1 << 40);
        header.set_cksum();
        assert_eq!(first(header.as_bytes()), Found::Other);
    }

    #[test]
    fn a_file_may_be_longer_than_a_header_can_say() {
        let record = "20 size=10000000000\n";
        let mut header = ::tar::Header::new_ustar();
        header.set_entry_type(::tar::EntryType::XHeader);
        header.set_size(record.len() as u64);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend(record.bytes());
        bytes.resize(2 * BLOCK, 0);
        bytes.extend(frame("big", 0, false, owner(), 0).head);

        assert_eq!(
            FirstFile::default().push(&bytes),
            Found::File { bytes: 10_000_000_000, rest: Bytes::new() }
        );
    }
}
