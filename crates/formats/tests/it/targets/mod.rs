//! What readers are fed with anything, and what must hold of what they say: each function takes bytes and panics when something does not.
//! Shared by the tests, which feed a corpus and mutations of it, and by the fuzzers in `fuzz/`, which are guided by what they reach.

#![expect(clippy::unwrap_used, reason = "a target that fails is what is looked for")]

mod archive;
mod chart_index;
mod chart_package;
mod key_ring;
mod yaml;

use std::fs::File;
use std::io::Write as _;

/// A target: it takes bytes, and panics when something does not hold.
pub(crate) type Target = fn(&[u8]);

/// All of them, by the names of their folders in the corpus.
pub(crate) const ALL: [(&str, Target); 5] = [
    ("archive", archive::feed),
    ("chart_index", chart_index::feed),
    ("chart_package", chart_package::feed),
    ("key_ring", key_ring::feed),
    ("yaml", yaml::feed),
];

/// A file that is gone when it is closed.
fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// Bytes, packed.
fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A tar whose headers have the checksums that they should have, so that what is behind them is read.
fn mended(bytes: &[u8]) -> Vec<u8> {
    let mut tar = bytes.to_vec();
    let mut at = 0;
    while let Some(block) = tar.get_mut(at..at + 512) {
        if block.iter().all(|byte| *byte == 0) {
            break;
        }
        let mut header = tar::Header::new_old();
        header.as_mut_bytes().copy_from_slice(block);
        header.set_cksum();
        block.copy_from_slice(header.as_bytes());
        let size = header.entry_size().unwrap_or(0).min(bytes.len() as u64);
        at += 512 + usize::try_from(size.next_multiple_of(512)).unwrap();
    }
    tar
}
