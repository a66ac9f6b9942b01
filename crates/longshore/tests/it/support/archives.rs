//! Archives for uploads: the probe and a Dockerfile, packed in every way that the server takes.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::io::{Cursor, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::machine::{context, probe};

/// An image whose program prints a line.
pub(crate) const HELLO: &str =
    "FROM scratch\nCOPY probe /probe\nENTRYPOINT [\"/probe\"]\nCMD [\"print\", \"hello\"]\n";

/// A Dockerfile that copies the probe and then runs it with these words.
pub(crate) fn running(words: &[&str]) -> String {
    let words: Vec<String> = ["/probe"].iter().chain(words).map(|word| format!("{word:?}")).collect();
    format!("FROM scratch\nCOPY probe /probe\nRUN [{}]\n", words.join(", "))
}

/// The probe and this Dockerfile as a zip.
pub(crate) fn zip(dockerfile: &str) -> Vec<u8> {
    zip_of(&[("Dockerfile", dockerfile.as_bytes()), ("probe", &std::fs::read(probe()).unwrap())])
}

/// Any files as a zip, all of them executable.
pub(crate) fn zip_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        zip.start_file(*name, SimpleFileOptions::default().unix_permissions(0o755)).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// The probe and this Dockerfile as a tar.
pub(crate) fn tar(dockerfile: &str) -> Vec<u8> {
    context(dockerfile)
}

/// The same, compressed.
pub(crate) fn tar_gz(dockerfile: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&tar(dockerfile)).unwrap();
    encoder.finish().unwrap()
}

/// A tar of one entry of any kind, with a Dockerfile before it.
pub(crate) fn tar_with(kind: tar::EntryType, name: &str, target: Option<&str>) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(HELLO.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "Dockerfile", HELLO.as_bytes()).unwrap();

    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(0);
    // Written past the library, which refuses such names.
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    if let Some(target) = target {
        header.as_mut_bytes()[157..157 + target.len()].copy_from_slice(target.as_bytes());
    }
    header.set_cksum();
    tar.append(&header, std::io::empty()).unwrap();
    tar.into_inner().unwrap()
}

/// Bytes that do not compress, always the same for a seed.
pub(crate) fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut noise = Vec::with_capacity(bytes + 8);
    while noise.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend_from_slice(&state.to_le_bytes());
    }
    noise.truncate(bytes);
    noise
}
