//! Archives of uploads.

use std::sync::atomic::AtomicBool;

use formats::archive::{Limits, Owner, transcode_files};

use super::{file_of, mended};

const LIMITS: Limits = Limits {
    unpacked_bytes: 1 << 20,
    entries: 100,
    ratio: 20,
    ratio_after_bytes: 4096,
    name_bytes: 300,
    depth: 8,
};

/// What is taken is a tar that is taken again, and is then the same.
pub(super) fn feed(data: &[u8]) {
    taken(data);
    if !data.starts_with(b"PK") && data.len() >= 512 {
        taken(&mended(data));
    }
}

fn taken(data: &[u8]) {
    let Some(tar) = transcoded(data) else { return };
    assert_eq!(transcoded(&tar).as_deref(), Some(tar.as_slice()), "what was taken once is not taken again");
}

fn transcoded(data: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    match transcode_files(&file_of(data), Owner::default(), &mut out, &LIMITS, &AtomicBool::new(false)) {
        Ok(context) => {
            assert!(context.entries <= LIMITS.entries && context.unpacked_bytes <= LIMITS.unpacked_bytes);
            Some(out)
        }
        Err(error) => {
            assert!(error.is_bad_upload(), "{error}");
            None
        }
    }
}
