//! The writer alone: it keeps the frame of the tar even if a reader announces one size and brings another.

use std::sync::atomic::AtomicBool;

use super::{
    super::{
        Job, Limits, Owner,
        emit::{Content, Emitter, Entry},
        meter::Sink,
    },
    DOCKERFILE, file_with,
};

/// Announces ten bytes, brings `given`, and says which error came.
fn write(given: usize) -> Option<&'static str> {
    let (upload, limits, cancelled) = (file_with(b""), Limits::default(), AtomicBool::new(false));
    let job = Job {
        upload: &upload,
        dockerfile: Some(DOCKERFILE.0),
        owner: Owner::default(),
        limits: &limits,
        cancelled: &cancelled,
    };
    let mut out = Vec::new();
    let mut emitter = Emitter::new(&job, None, &mut out);
    let content = Content::File { size: 10, is_executable: false };
    emitter.begin(&Entry { path: DOCKERFILE.0, content, mtime: 0 }).unwrap();
    let result = emitter.space().map(drop).and_then(|()| emitter.advance(given)).and_then(|()| emitter.end());
    result.err().map(|error| error.code())
}

#[test]
fn content_must_have_the_announced_size() {
    assert_eq!(write(10), None);
    assert_eq!(write(9), Some("archive_size_mismatch"));
    assert_eq!(write(11), Some("archive_size_mismatch"));
}
