//! Archives that are unpacked into a container: everything in them, as it lies, and nothing that a build context could not
//! have.

use std::{io, sync::atomic::AtomicBool};

use super::{
    super::{Limits, Owner, transcode_files},
    file_with,
};

const OWNER: Owner = Owner { uid: 1000, gid: 1001 };

fn tar_of(add: impl FnOnce(&mut ::tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = ::tar::Builder::new(Vec::new());
    add(&mut builder);
    builder.into_inner().unwrap()
}

fn entry(builder: &mut ::tar::Builder<Vec<u8>>, kind: ::tar::EntryType, name: &str, target: &str) {
    let mut header = ::tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o6755);
    header.set_uid(0);
    header.set_size(0);
    if target.is_empty() {
        builder.append_data(&mut header, name, io::empty()).unwrap();
    } else {
        builder.append_link(&mut header, name, target).unwrap();
    }
}

fn transcoded(bytes: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut out = Vec::new();
    transcode_files(&file_with(bytes), OWNER, &mut out, &Limits::default(), &AtomicBool::new(false))
        .map(|_| out)
        .map_err(|error| error.code())
}

#[test]
fn everything_is_kept_where_it_lies_and_given_to_its_owner() {
    use ::tar::EntryType::{Directory, Regular, Symlink};

    let bytes = tar_of(|builder| {
        entry(builder, Directory, "only", "");
        entry(builder, Regular, "only/run", "");
        entry(builder, Symlink, "only/link", "run");
    });

    let out = transcoded(&bytes).unwrap();

    let mut found = Vec::new();
    for item in ::tar::Archive::new(out.as_slice()).entries().unwrap() {
        let item = item.unwrap();
        let header = item.header();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (1000, 1001));
        found.push((item.path().unwrap().display().to_string(), header.mode().unwrap()));
    }
    let expected = [("only/", 0o755), ("only/run", 0o755), ("only/link", 0o777)];
    assert_eq!(found, expected.map(|(name, mode)| (name.to_owned(), mode)), "no set-uid bits");
}

#[test]
fn what_has_no_place_in_a_context_has_none_here() {
    use ::tar::EntryType::{Block, Char, Fifo, Link, Regular, Symlink};

    for (kind, name, target, code) in [
        (Symlink, "out", "../../etc", "archive_link"),
        (Symlink, "out", "/etc/passwd", "archive_link"),
        (Link, "hard", "run", "archive_hard_link"),
        (Char, "null", "", "archive_device"),
        (Block, "disk", "", "archive_device"),
        (Fifo, "pipe", "", "archive_device"),
    ] {
        let bytes = tar_of(|builder| {
            entry(builder, Regular, "run", "");
            entry(builder, kind, name, target);
        });
        assert_eq!(transcoded(&bytes), Err(code), "{name} {target}");
    }
    assert_eq!(transcoded(&tar_of(|_| {})), Err("archive_empty"));
    assert_eq!(transcoded(b"plain text"), Err("not_an_archive"));
    assert_eq!(transcoded(b""), Err("upload_empty"));
}

/// The bytes of a tar with one name that the library would not write.
fn raw(name: &str) -> Vec<u8> {
    let mut header = ::tar::Header::new_gnu();
    header.set_entry_type(::tar::EntryType::Regular);
    header.set_size(0);
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.resize(3 * 512, 0);
    bytes
}

#[test]
fn names_that_lead_out_are_refused() {
    for name in ["../x", "a/../../x", "/etc/passwd", "a/.."] {
        assert_eq!(transcoded(&raw(name)), Err("archive_path_escapes"), "{name}");
    }
}
